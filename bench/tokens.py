"""What attribution and decisions cost, in microseconds of processor time of one thread.

Attribution is the whole way from a request's head to a ``Principal``, with the clock that it reads.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from statistics import median
from typing import TypeVar

from bench.callers import FOREIGN, Stand, stand
from bench.machine import Failed
from bench.mint import HOST
from bench.systems import Bed
from proxy.http.canonical import Target, parse_target
from proxy.http.message import Headers
from proxy.identity.arrival import Arrival
from proxy.identity.attribution import Attributor
from proxy.identity.presented import Presented, presented
from proxy.identity.principal import Principal
from proxy.policy.content import Act
from proxy.policy.decision import Allow, RequestFacts
from proxy.policy.operation import by_method

T = TypeVar("T")

ARRIVAL = Arrival("127.0.0.1:50000", "127.0.0.1")
KNOWN = {"cached_token_us": "session", "cached_token_3_us": "delegated", "cached_oidc_us": "RS256"}
FIRST = {f"first_{name.lower()}_us": name for name in ("session", *FOREIGN)}
ASKED = {"decision_us": "session", "decision_3_us": "delegated"}


@dataclass(frozen=True, slots=True)
class Pace:
    """``batches``, of which the median counts: of ``calls`` each, or ``slow`` where a call takes long."""

    batches: int
    calls: int
    slow: int


def measure(bed: Bed, pace: Pace) -> dict[str, float]:
    """Every row."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, bed.cores.proxy)
    try:
        return asyncio.run(_measure(bed, pace))
    finally:
        os.sched_setaffinity(0, before)


async def _measure(bed: Bed, pace: Pace) -> dict[str, float]:
    async with stand(bed) as parts:
        known = parts.attributor()
        principals = {name: _principal(known, head) for name, head in parts.heads.items()}
        numbers = {}
        for row, name in KNOWN.items():
            again = partial(_attribute, known, parts.heads[name])
            numbers[row] = _micros([again] * pace.calls for _ in range(pace.batches))
        for row, name in FIRST.items():
            numbers[row] = _micros(_firsts(parts, parts.heads[name], pace))
        for row, name in ASKED.items():
            ask = _asking(parts, principals[name], f"https://{HOST}:{bed.api_port}/")
            numbers[row] = _micros([ask] * pace.slow for _ in range(pace.batches))
        return numbers


def _micros(batches: Iterable[list[Callable[[], object]]]) -> float:
    spent = []
    for batch in batches:
        began = time.thread_time_ns()
        for job in batch:
            job()
        spent.append((time.thread_time_ns() - began) / len(batch) / 1000)
    return median(spent)


def _attribute(attributor: Attributor, head: Headers) -> object:
    """What the engine asks at every request."""
    shown = presented(head)
    assert isinstance(shown, Presented)
    return attributor.attribute(ARRIVAL, shown, time.time_ns() // 1_000_000_000)


def _principal(attributor: Attributor, head: Headers) -> Principal:
    principal = _attribute(attributor, head)
    if not isinstance(principal, Principal):
        raise Failed(f"not attributed: {principal}")
    return principal


def _firsts(parts: Stand, head: Headers, pace: Pace) -> Iterable[list[Callable[[], object]]]:
    """Whoever is asked remembers nothing."""
    for _ in range(pace.batches):
        yield [partial(_attribute, parts.attributor(), head) for _ in range(pace.slow)]


def _asking(parts: Stand, principal: Principal, url: str) -> Callable[[], object]:
    """A question that has not been asked before, each time: the parameters of its query are others."""
    target = parse_target("GET", url.encode(), tunnel=None, hosts=(), version="1.0", encoded_slash=True)
    assert isinstance(target, Target)
    service = parts.pdp.site(target.origin).service
    acts = (Act(by_method("GET") if service is None else service.by_method("GET")),)
    numbers = count()

    def ask() -> object:
        keys = (f"p{next(numbers)}",)
        facts = RequestFacts(has_body=False, content_type="", query_keys=keys, upgrade="", time=1_000_000_000)
        verdict = at_once(
            parts.panel.judge(parts.pdp, service, principal, "GET", target, facts, acts),
        )
        if not isinstance(verdict.ruling.decision, Allow):
            raise Failed(f"not allowed: {verdict.ruling.decision}")
        return verdict

    return ask


def at_once(work: Coroutine[object, None, T]) -> T:
    """What comes of a coroutine that waits for nothing, as judging without a remote decision point does."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise Failed("it waits for something")
