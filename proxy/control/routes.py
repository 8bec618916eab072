"""The control API's routes: an operator's call, read and handed to ``Operations``. No HTTP library here.

::

    POST   /v1/tasks                     start a task
    GET    /v1/tasks?state=&limit=       the latest tasks
    GET    /v1/tasks/{id}                one of them, its chain and what is left
    POST   /v1/tasks/{id}/end            end it and all below it
    POST   /v1/revocations               revoke
    GET    /v1/revocations               what is revoked
    DELETE /v1/revocations/{kind}/{id}   lift an order; the id is all that follows, percent-encoded or not
    GET    /v1/approvals?state=&limit=   the latest requests that need a person's approval
    GET    /v1/approvals/{id}            one of them
    POST   /v1/approvals/{id}            approve or deny it
    GET    /v1/health                    how the sidecar is
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl, unquote

from proxy.control import render
from proxy.control.body import Flaw, flaw_of_id, parse_answer, parse_reason, parse_revocation, parse_task
from proxy.control.operations import Declined, Operations
from proxy.control.problem import Reply, Why, problem
from proxy.control.render import Members, dumps
from proxy.identity.principal import TaskState
from proxy.identity.revocation import EVERYTHING, Kind
from proxy.policy.approval import Obstacle, State, Unanswered

_MOST = 1_000
_SOME = 100
_LISTS = (["v1", "tasks"], ["v1", "approvals"])
_NO_TASK = "no task with this id is known here"
_NO_REQUEST = "no request for approval with this id is known here"
_OBSTACLES = {Obstacle.UNKNOWN: Why.NOT_FOUND, Obstacle.OVER: Why.OVER, Obstacle.NOT_THEIRS: Why.NOT_YOURS}

_S = TypeVar("_S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated call. ``path`` and ``query`` are as sent; ``operator`` is the caller's name."""

    method: str
    path: str
    query: str
    body: bytes
    operator: str

    @property
    def by(self) -> str:
        """The caller, as records name it."""
        return f"control:{self.operator}"


_Serve = Callable[[Call], Awaitable[Reply]]


class Routes:
    """Serves calls with ``operations``."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def serve(self, call: Call) -> Reply:
        """The answer to a call. Raises whatever the operations raise."""
        try:
            segments = [unquote(segment, errors="strict") for segment in call.path.split("/")[1:]]
        except UnicodeDecodeError:
            return problem(Why.NOT_FOUND, "the path is not UTF-8")
        methods = self._methods(segments)
        if methods is None:
            return problem(Why.NOT_FOUND, f"nothing is at {call.path[:200]}")
        serve = methods.get(call.method)
        if serve is None:
            allowed = ", ".join(sorted(methods))
            return problem(Why.METHOD_NOT_ALLOWED, f"use {allowed}", ("Allow", allowed))
        if call.query and segments not in _LISTS:
            return problem(Why.BAD_REQUEST, "this path takes no parameters")
        if call.body and call.method != "POST":
            return problem(Why.BAD_REQUEST, f"{call.method} takes no body")
        return await serve(call)

    def _methods(self, segments: list[str]) -> Mapping[str, _Serve] | None:
        match segments:
            case ["v1", "tasks"]:
                return {"POST": self._start, "GET": self._tasks}
            case ["v1", "tasks", task_id] if task_id:
                return {"GET": lambda call: self._task(task_id, call)}
            case ["v1", "tasks", task_id, "end"] if task_id:
                return {"POST": lambda call: self._end(task_id, call)}
            case ["v1", "revocations"]:
                return {"POST": self._revoke, "GET": self._revocations}
            case ["v1", "revocations", kind, *rest]:
                return {"DELETE": lambda call: self._lift(kind, "/".join(rest), call)}
            case ["v1", "approvals"]:
                return {"GET": self._approvals}
            case ["v1", "approvals", request_id] if request_id:
                return {
                    "GET": lambda call: self._approval(request_id, call),
                    "POST": lambda call: self._answer(request_id, call),
                }
            case ["v1", "health"]:
                return {"GET": self._health}
            case _:
                return None

    async def _start(self, call: Call) -> Reply:
        if call.query:
            return problem(Why.BAD_REQUEST, "starting a task takes no parameters; send a JSON body")
        asked = parse_task(call.body)
        if isinstance(asked, Flaw):
            return problem(Why.BAD_REQUEST, asked.words)
        if asked.approver is None:
            asked = replace(asked, approver=call.operator)
        started = await self._operations.start_task(asked, call.by)
        if isinstance(started, Declined):
            return problem(Why.DECLINED, started.words)
        return _ok(render.delegated(started), 201, ("Location", f"/v1/tasks/{started.task.id}"))

    async def _tasks(self, call: Call) -> Reply:
        asked = _which(call.query, TaskState)
        if isinstance(asked, Flaw):
            return problem(Why.BAD_REQUEST, asked.words)
        tasks = await self._operations.tasks(*asked)
        return _ok({"tasks": [render.task(task) for task in tasks]})

    async def _task(self, task_id: str, _: Call) -> Reply:
        facts = await self._operations.task(task_id)
        return problem(Why.NOT_FOUND, _NO_TASK) if facts is None else _ok(render.facts(facts))

    async def _end(self, task_id: str, call: Call) -> Reply:
        reason = parse_reason(call.body)
        if isinstance(reason, Flaw):
            return problem(Why.BAD_REQUEST, reason.words)
        ended = await self._operations.end_task(task_id, reason, call.by)
        if ended is None:
            return problem(Why.NOT_FOUND, _NO_TASK)
        return _ok({"task": task_id, "ended_tasks": ended})

    async def _revoke(self, call: Call) -> Reply:
        asked = parse_revocation(call.body)
        if isinstance(asked, Flaw):
            return problem(Why.BAD_REQUEST, asked.words)
        report = await self._operations.revoke(asked.kind, asked.id, asked.reason, call.by)
        if report is None:
            return problem(Why.NOT_FOUND, _NO_TASK)
        return _ok({"kind": asked.kind.value, "id": asked.id, **render.report(report)})

    async def _revocations(self, _: Call) -> Reply:
        return _ok({"revocations": [render.order(order) for order in self._operations.revocations()]})

    async def _lift(self, kind: str, identity: str, call: Call) -> Reply:
        if kind not in set(Kind) or (not identity and kind != Kind.ALL):
            return problem(Why.NOT_FOUND, f"name a kind ({', '.join(Kind)}) and an id")
        asked, which = Kind(kind), identity or EVERYTHING
        if asked is Kind.TASK:
            return problem(Why.BAD_REQUEST, "an order about a task is final; start another task")
        flaw = flaw_of_id(asked, which)
        if flaw is not None:
            return problem(Why.BAD_REQUEST, flaw.words)
        if not await self._operations.lift(asked, which, call.by):
            return problem(Why.NOT_FOUND, "there is no such order")
        return _ok({"kind": asked.value, "id": which, "lifted": True})

    async def _approvals(self, call: Call) -> Reply:
        asked = _which(call.query, State)
        if isinstance(asked, Flaw):
            return problem(Why.BAD_REQUEST, asked.words)
        entries = await self._operations.approvals(*asked)
        return _ok({"approvals": [render.approval(entry) for entry in entries]})

    async def _approval(self, request_id: str, _: Call) -> Reply:
        entry = await self._operations.approval(request_id)
        return problem(Why.NOT_FOUND, _NO_REQUEST) if entry is None else _ok(render.approval(entry))

    async def _answer(self, request_id: str, call: Call) -> Reply:
        said = parse_answer(call.body)
        if isinstance(said, Flaw):
            return problem(Why.BAD_REQUEST, said.words)
        entry = await self._operations.answer(request_id, said, call.operator)
        if isinstance(entry, Unanswered):
            return problem(_OBSTACLES[entry.obstacle], entry.words)
        return _ok(render.approval(entry))

    async def _health(self, _: Call) -> Reply:
        health = self._operations.health()
        return _ok({"ready": health.ready, **health.facts})


def alive(operations: Operations) -> Reply:
    """Whether calls are served, for probes, who are nobody: no more than that."""
    return _ok({"status": "ok"}) if operations.health().ready else _ok({"status": "unavailable"}, 503)


def _which(query: str, states: type[_S]) -> tuple[_S | None, int] | Flaw:
    """One of these states, or none, and the limit; each given once at most."""
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=8
        )
    except ValueError:
        return Flaw("the parameters cannot be read")
    given = dict(pairs)
    if len(given) != len(pairs) or not given.keys() <= {"state", "limit"}:
        return Flaw("the parameters are state and limit, each once")
    state, limit = given.get("state"), given.get("limit", str(_SOME))
    if state is not None and state not in set(states):
        return Flaw(f"state is one of {', '.join(states)}")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4 and 0 < int(limit) <= _MOST):  # noqa: PLR2004 - digits of _MOST
        return Flaw(f"limit is 1 to {_MOST}")
    return None if state is None else states(state), int(limit)


def _ok(members: Members, status: int = 200, *headers: tuple[str, str]) -> Reply:
    return Reply(status, dumps(members), headers)
