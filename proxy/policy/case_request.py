"""The request of a case, as it is written and as it would be sent (RFC 9110; MCP; GraphQL over HTTP)."""

import json
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from proxy.http.message import Headers

_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"

Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=1_024)]
Lines = Line | list[Line]


class Model(BaseModel):
    """Unknown keys are errors, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request is made of, whatever it was written as. ``body`` None: no content."""

    method: str
    url: str
    headers: Headers
    body: bytes | None


class RequestEntry(Model):
    """Any request; ``body`` is text."""

    method: Line
    url: Line
    headers: dict[Line, Lines] = {}
    document: object = Field(default=None, alias="json")
    form: dict[str, str] | None = None
    body: str | None = None
    content_type: Line | None = None

    @field_validator("document")
    @classmethod
    def _printable(cls, value: object) -> object:
        _json(value)
        return value

    @model_validator(mode="after")
    def _one_content(self) -> "RequestEntry":
        if len({"document", "form", "body"} & self.model_fields_set) > 1:
            raise ValueError("one content at most: json, form or body")
        if self.content_type is not None and any(name.lower() == "content-type" for name in self.headers):
            raise ValueError("the content type stands here twice")
        return self

    def sent(self) -> Sent:
        """What would be sent.

        :raises ValueError: if a part has no bytes.
        """
        given: dict[str, tuple[str, bytes]] = {}
        if "document" in self.model_fields_set:
            given["json"] = _JSON, _json(self.document)
        elif self.form is not None:
            given["form"] = _FORM, urlencode(self.form).encode("ascii")
        elif self.body is not None:
            given["body"] = "", self.body.encode("utf-8")
        usual, body = next(iter(given.values()), ("", None))
        headers = [
            (name, value)
            for name, values in self.headers.items()
            for value in ([values] if isinstance(values, str) else values)
        ]
        if not any(name.lower() == "content-type" for name, _ in headers):
            kind = self.content_type or usual
            headers += [("Content-Type", kind)] if kind else []
        return Sent(self.method, self.url, _encoded(headers), body)


class McpEntry(Model):
    """A call of a tool over MCP (streamable HTTP)."""

    url: Line
    tool: Line
    arguments: dict[str, object] = {}

    @field_validator("arguments")
    @classmethod
    def _printable(cls, value: dict[str, object]) -> dict[str, object]:
        _json(value)
        return value

    def sent(self) -> Sent:
        """What would be sent.

        :raises ValueError: if a part has no bytes.
        """
        params = {"name": self.tool, "arguments": self.arguments}
        body = _json({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        accept = ("Accept", f"{_JSON}, text/event-stream")
        return Sent("POST", self.url, _encoded([("Content-Type", _JSON), accept]), body)


class GraphqlEntry(Model):
    """A GraphQL operation over HTTP."""

    url: Line
    query: str
    variables: dict[str, object] = {}
    operation: Line | None = None

    @field_validator("variables")
    @classmethod
    def _printable(cls, value: dict[str, object]) -> dict[str, object]:
        _json(value)
        return value

    def sent(self) -> Sent:
        """What would be sent.

        :raises ValueError: if a part has no bytes.
        """
        document: dict[str, object] = {"query": self.query}
        if self.variables:
            document["variables"] = self.variables
        if self.operation is not None:
            document["operationName"] = self.operation
        return Sent("POST", self.url, _encoded([("Content-Type", _JSON)]), _json(document))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _encoded(headers: list[tuple[str, str]]) -> Headers:
    return tuple((name.encode("utf-8"), value.encode("utf-8")) for name, value in headers)
