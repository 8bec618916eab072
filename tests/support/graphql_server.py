"""A real GraphQL server: strawberry, at ``/graphql``, which writes down what its fields did."""

from collections.abc import Iterator, Mapping

import strawberry
from strawberry.asgi import GraphQL
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig

from tests.support.asgi import App


@strawberry.type
class User:
    login: str

    @strawberry.field
    def friends(self) -> list["User"]:
        """One friend, who has one, and so on."""
        return [User(login=f"{self.login}'s friend")]


class Tracker:
    """``done`` is what was resolved at the root, in order; ``persisted`` are texts by their SHA-256."""

    def __init__(self, persisted: Mapping[str, str] | None = None) -> None:
        self.done: list[str] = []
        self._persisted = persisted or {}

    def app(self) -> App:
        """The ASGI application."""
        schema = strawberry.Schema(
            query=self._query(),
            mutation=self._mutation(),
            extensions=[self._known()],
            config=StrawberryConfig(batching_config={"max_operations": 10}),
        )
        return GraphQL(schema, graphql_ide=None)

    def _query(self) -> type:
        done = self.done

        @strawberry.type
        class Query:
            @strawberry.field
            def viewer(self) -> User:
                done.append("viewer")
                return User(login="ada")

            @strawberry.field
            def issue(self, number: int) -> str:
                done.append(f"issue {number}")
                return f"issue {number}"

            @strawberry.field
            def secrets(self) -> list[str]:
                done.append("secrets")
                return ["hunter2"]

        return Query

    def _mutation(self) -> type:
        done = self.done

        @strawberry.type
        class Mutation:
            @strawberry.mutation
            def create_issue(self, title: str) -> str:
                done.append(f"create {title}")
                return title

            @strawberry.mutation
            def delete_repository(self, name: str) -> str:
                done.append(f"delete {name}")
                return name

        return Mutation

    def _known(self) -> type[SchemaExtension]:
        persisted = self._persisted

        class Known(SchemaExtension):
            def on_operation(self) -> Iterator[None]:
                context = self.execution_context
                if context.query is None:
                    asked = (context.operation_extensions or {})["persistedQuery"]
                    context.query = persisted[asked["sha256Hash"]]
                yield

        return Known
