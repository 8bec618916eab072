"""Calls to those 100 services: questions as they reach a decision, and bodies of 4 KiB of every dialect."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.machine import Failed
from bench.policy_rules import SERVICES, host
from proxy.http.canonical import Target, parse_target
from proxy.http.message import Headers
from proxy.identity.principal import Agent, Right, Task
from proxy.policy.classify import classify
from proxy.policy.content import Act, Call, Classified
from proxy.policy.decision import Pdp, Question, RequestFacts

SIZE = 4096  # octets of a body
LIMIT = 1 << 20
_JSON: Headers = ((b"Content-Type", b"application/json"), (b"Accept", b"application/json, text/event-stream"))
_WORDS = "as said in the last meeting, this has to be done before the end of the week. "


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, before anything is known of it."""

    method: str
    url: str
    body: bytes = b""

    def target(self) -> Target:
        """Where it goes."""
        found = parse_target(self.method, self.url.encode(), tunnel=None, hosts=(), version="1.0")
        if not isinstance(found, Target):
            raise Failed(f"{self.url}: {found}")
        return found

    def call(self, target: Target) -> Call:
        """As a classifier sees it."""
        body = self.body or None
        return Call(self.method, target.path.text, (), _JSON if body else (), body is not None, body)


def agreed(asked: Asked, pdp: Pdp, target: Target) -> tuple[Act, ...]:
    """What the call does."""
    site = pdp.site(target.origin)
    found = classify(asked.call(target), site.service, site.needs, LIMIT)
    if not isinstance(found, Classified):
        raise Failed(f"{asked.url}: {found}")
    return found.acts


def question(asked: Asked, pdp: Pdp, agent: Agent, task: Task, right: Right) -> Question:
    """The call as it is decided; it does one thing."""
    target = asked.target()
    (act,) = agreed(asked, pdp, target)
    return Question(agent, task, right, asked.method, target, facts(asked), act)


def facts(asked: Asked) -> RequestFacts:
    """What is known of its head."""
    kind = "application/json" if asked.body else ""
    return RequestFacts(bool(asked.body), kind, (), "", int(time.time()))


def usual(numbers: Iterator[int]) -> Iterator[Asked]:
    """No two alike, as of an agent at work: of ten six read, two write, one is held and one is forbidden."""
    for number in numbers:
        base = f"https://{_at(number * 10)}"
        repo = f"{base}/repos/acme/team-{number}"
        yield Asked("GET", repo)
        yield Asked("GET", f"{repo}/issues")
        yield Asked("GET", f"{repo}/issues/{number}")
        yield Asked("POST", f"{repo}/issues")
        yield Asked("GET", f"{repo}/issues/{number + 1}")
        yield Asked("GET", f"{base}/unknown/{number}")
        yield Asked("POST", f"{base}/orders", b'{"amount":%d,"currency":"EUR","note":"n"}' % (number % 499))
        yield Asked("PUT", f"{repo}/pulls/{number}/merge")
        yield Asked("GET", f"{repo}/issues/{number + 2}")
        yield Asked("DELETE", repo) if number % 2 else Asked("GET", f"{repo}/secrets/{number}")


def mcp(number: int) -> Asked:
    """A tool is called, with nested arguments besides those that rules read."""
    filters = [{"field": f"field-{index}", "is": f"value-{number}"} for index in range(30)]
    arguments = {"query": f"issue {number}", "limit": number % 100, "filters": filters}
    message = {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": "search", "arguments": arguments},
    }
    return Asked("POST", f"https://{_at(number)}/mcp", filled(message, arguments, "note"))


def rest(number: int) -> Asked:
    """An order."""
    order: dict[str, object] = {"amount": number % 499, "currency": "EUR"}
    return Asked("POST", f"https://{_at(number)}/orders", filled(order, order, "note"))


def graphql(number: int) -> Asked:
    """A query with fragments and variables."""
    variables: dict[str, object] = {"owner": "acme", "name": f"team-{number}"}
    text = (
        "query Issues($owner: String!, $name: String!) { repository(owner: $owner, name: $name) "
        "{ ...Head issues(first: 20) { nodes { ...Issue } } } } "
        "fragment Head on Repository { id name description } "
        "fragment Issue on Issue { id title body author { login } labels(first: 5) { nodes { name } } }"
    )
    content: dict[str, object] = {"query": text, "operationName": "Issues", "variables": variables}
    return Asked("POST", f"https://{_at(number)}/graphql", filled(content, variables, "note"))


def chat(number: int) -> Asked:
    """A conversation with a model."""
    said: dict[str, object] = {"role": "user"}
    content = {
        "model": "small",
        "max_tokens": 1024,
        "stream": True,
        "messages": [{"role": "system", "content": "You help."}, said],
        "tools": [{"type": "function", "function": {"name": f"tool-{index}"}} for index in range(5)],
    }
    url = f"https://{_at(number)}/v1/chat/completions"
    return Asked("POST", url, filled(content, said, "content"))


def _at(number: int) -> str:
    """Twenty calls at each service in turn."""
    return host(number // 20 % SERVICES)


def filled(document: object, holder: dict[str, object], member: str) -> bytes:
    """The document as JSON of ``SIZE`` octets; a text is put into ``holder`` for it."""
    holder[member] = ""
    left = SIZE - len(json.dumps(document))
    holder[member] = (_WORDS * (left // len(_WORDS) + 1))[:left]
    return json.dumps(document).encode()
