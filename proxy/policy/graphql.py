"""What a GraphQL call does: one act for each operation of the catalogue among the root fields it runs.

``{"query": "mutation { createIssue(...) {id} }"}`` is ``mutation.createIssue`` to the catalogue. A root field
that no operation names is the built-in operation of its type; introspection (``__schema``, ``__type``,
``__typename``) is ``graphql.query`` wherever it stands. A batch is all of its requests' acts: one that is
denied denies all.
"""

from proxy.errors import Refusal
from proxy.policy.catalogue import Service
from proxy.policy.content import Call, Classified
from proxy.policy.graphql_request import requests
from proxy.policy.needs import Needs


def classify(call: Call, service: Service, needs: Needs) -> Classified | Refusal:
    """The acts of a call to a path where ``service`` speaks GraphQL; its content has been read. Never raises.

    graphql-core is imported by the first call: 150 ms. Whoever knows that there will be one does it before.
    """
    found = requests(call, service.persisted_queries)
    if isinstance(found, Refusal):
        return found
    from proxy.policy.graphql_acts import acts  # noqa: PLC0415 - 16 MB that most gatepasses never need

    return acts(found, service, needs, reading=call.method != "POST")
