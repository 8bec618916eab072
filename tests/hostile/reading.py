"""Services whose rules read content, calls to them octet by octet, and many refusals held in one world.

As ``assertions``: of every case (a) the answer and its code, (b) the silence upstream, (c) exactly one
decision record which the answer names, (d) no secret in either.
"""

import json
from collections.abc import Awaitable, Callable, Iterable

from proxy.audit.record import Record
from proxy.errors import MEANING, Code
from tests.hostile.assertions import clean, untouched
from tests.support import demo_rules
from tests.support.demo_rules import Entry
from tests.support.rawclient import Response
from tests.support.upstream import Upstream
from tests.support.world import World

JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"


def serving(operations: Entry | None = None, **more: object) -> Callable[[Upstream], list[Entry]]:
    """The one service ``api`` at the upstream, with these operations."""

    def services(up: Upstream) -> list[Entry]:
        credential = demo_rules.from_env("API_TOKEN")
        return [
            demo_rules.service(
                "api", *up.hosts, ports=[up.port], operations=operations, credential=credential, **more
            )
        ]

    return services


def allow(rule: str, *actions: str, when: str = "") -> str:
    """A permit for everybody; ``when`` is a condition in Cedar."""
    named = ", ".join(f'Action::"{action}"' for action in actions)
    condition = f" when {{ {when} }}" if when else ""
    return f'@id("{rule}") permit(principal, action in [{named}], resource){condition};'


async def post(w: World, path: str, body: bytes, *headers: str, method: str = "POST") -> Response:
    """A call with content, inside a tunnel of its own; ``headers`` say of what kind it is."""
    return await w.call(path, method=method, headers=headers, body=body)


def arrived(w: World) -> list[str]:
    """What has reached the API: method and request target of every call."""
    return [f"{request.method} {request.target}" for request in w.upstream.requests]


def acts(record: Record) -> list[str]:
    """The actions that were decided on, the deciding one first."""
    why = record.raw["why"]
    return [why["action"], *(one["action"] for one in why.get("batch", ()))]


async def all_refused(
    w: World, code: Code, cases: Iterable[object], send: Callable[..., Awaitable[Response]]
):
    """Every case, sent by ``send``, is refused with ``code``, has one record of its own, and nothing leaves."""
    shown = []
    for number, case in enumerate(cases, start=1):
        answer = await send(case)
        assert answer.status == MEANING[code].status, (case, answer)
        told = json.loads(answer.body)
        assert (answer.status, told["code"]) == (MEANING[code].status, code), (case, answer)
        records = w.decisions
        assert len(records) == number, case
        last = records[-1]
        assert (last.effect, last.code, last.id) == ("deny", code, told["record"]), case
        shown += [answer.head.raw, answer.body]
    assert shown, "there were no cases"
    assert w.outcomes == []
    clean(w, *shown)
    await untouched(w)
