"""What is measured of one system, and how it is counted. Every number comes with checked answers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.calls import Tally, download, drive, fresh, kept_alive
from bench.machine import rss_mb
from bench.systems import Bed, Standing

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. ``warm_*`` is done and checked but not counted, the same for every system.

    All systems take their turns ``rounds`` times and the median counts: a machine that is faster in one
    minute than in the next would otherwise decide the ratios.
    """

    seconds: float
    warm_seconds: float
    link_calls: int
    warm_link_calls: int
    download_octets: int
    starts: int
    settle_seconds: float
    rounds: int


FULL = Plan(3.0, 0.5, 24, 4, 1 << 30, 1, 1.0, 3)
QUICK = Plan(0.5, 0.2, 4, 4, 16 * MIB, 1, 0.2, 1)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    name: str
    says: str
    measure: Callable[[Standing, Bed, Plan], float | None]


def keepalive16_rps(standing: Standing, bed: Bed, plan: Plan) -> float:
    tally = Tally(warm=plan.warm_seconds, seconds=plan.seconds)
    drive([kept_alive(standing.route(bed.api_port), tally) for _ in range(16)])
    return tally.per_second


def single_p50_ms(standing: Standing, bed: Bed, plan: Plan) -> float:
    tally = Tally(warm=plan.warm_seconds, seconds=plan.seconds / 2)
    drive([kept_alive(standing.route(bed.api_port), tally)])
    return tally.p50_ms


def newconn_rps(standing: Standing, bed: Bed, plan: Plan) -> float:
    tally = Tally(warm=plan.warm_seconds, seconds=plan.seconds)
    drive([fresh(standing.route(bed.api_port), tally) for _ in range(16)])
    return tally.per_second


def _over_the_link(at_once: int) -> Callable[[Standing, Bed, Plan], float]:
    def measure(standing: Standing, bed: Bed, plan: Plan) -> float:
        tally = Tally(warm=plan.warm_link_calls, calls=plan.link_calls)
        drive([fresh(standing.route(bed.link_port), tally) for _ in range(at_once)])
        return tally.p50_ms

    return measure


def download_mb_s(standing: Standing, bed: Bed, plan: Plan) -> float:
    seconds: list[float] = []
    drive([download(standing.route(bed.api_port), plan.download_octets, seconds)])
    return plan.download_octets / MIB / seconds[0]


def idle_rss_mb(standing: Standing, bed: Bed, plan: Plan) -> float | None:
    """After one call, which pays for what is loaded late, and before any load."""
    drive([fresh(standing.route(bed.api_port), Tally(warm=0, calls=1))])
    if standing.pid is None:
        return None
    time.sleep(plan.settle_seconds)  # idle is what is measured here
    return rss_mb(standing.pid)


ROWS = (
    Row("idle_rss_mb", "resident memory of all its processes, idle after one call, MB", idle_rss_mb),
    Row("keepalive16_rps", "calls/s, 16 connections kept alive", keepalive16_rps),
    Row("single_p50_ms", "p50 of a call on one kept connection, ms", single_p50_ms),
    Row("newconn_rps", "calls/s, a new connection each, 16 at once", newconn_rps),
    Row("newconn_50ms_ms", "p50 of a call on a new connection, API 50 ms away, ms", _over_the_link(1)),
    Row("newconn_50ms_4_ms", "the same, 4 at once, ms", _over_the_link(4)),
    Row("download_mb_s", "one download of 1 GiB, MB/s", download_mb_s),
)
START = "start_ms"
START_SAYS = "spawn to first accepted connection, median of the starts, ms"
