"""The figures gatepass must reach, each against another system of the same run or against a bound."""

from collections.abc import Mapping
from dataclasses import dataclass

Numbers = Mapping[str, Mapping[str, float]]  # row -> system -> number
US = "gatepass"


@dataclass(frozen=True, slots=True)
class Target:
    """``ours`` must be at least (or at most) ``factor`` times ``against``'s number, or the bound itself."""

    row: str
    says: str
    factor: float
    at_least: bool
    against: str | None = None

    def judge(self, numbers: Numbers) -> tuple[str, bool | None]:
        """The measured figure in words, and whether it is reached; None where it was not measured."""
        row = numbers.get(self.row, {})
        ours = row.get(US)
        base = 1.0 if self.against is None else row.get(self.against)
        if ours is None or not base:
            return "not measured", None
        measured = ours / base
        unit = "" if self.against is None else f"x {self.against}"
        return f"{measured:.2f}{unit}", (
            measured >= self.factor if self.at_least else measured <= self.factor
        )


RELAY = (
    Target("keepalive16_rps", "throughput >= 5x mitmdump", 5, at_least=True, against="mitmdump"),
    Target("single_p50_ms", "one-connection p50 <= 0.5x mitmdump", 0.5, at_least=False, against="mitmdump"),
    Target("newconn_rps", "new connections >= 8x mitmdump", 8, at_least=True, against="mitmdump"),
    Target(
        "newconn_50ms_ms",
        "at 50 ms, a fresh-connection call <= 0.4x of no proxy",
        0.4,
        at_least=False,
        against="direct",
    ),
    Target("download_mb_s", "download >= 0.5x of no proxy", 0.5, at_least=True, against="direct"),
    Target("idle_rss_mb", "idle RSS <= 85 MB", 85, at_least=False),
    Target("start_ms", "start to first accepted connection <= 1,500 ms", 1500, at_least=False),
)
POLICY = (
    Target("decide_p50_us", "a decision, 1,000 policies over 100 services: p50 <= 60 us", 60, at_least=False),
    Target("decide_p99_us", "the same: p99 <= 250 us", 250, at_least=False),
    Target("decide_cached_us", "a decision on what was decided before <= 5 us", 5, at_least=False),
    Target("mcp_us", "an MCP call of 4 KiB, classified and decided <= 150 us", 150, at_least=False),
    Target(
        "reload_stall_ms", "a reload of 1,000 policies stalls no call for more than 5 ms", 5, at_least=False
    ),
)
IDENTITY = (
    Target("cached_token_us", "a token that was verified before <= 15 us", 15, at_least=False),
    Target("revoke_200_ms", "order to last byte, 200 open streams <= 250 ms", 250, at_least=False),
    Target("tasks_10k_start_s", "start with 10,000 open tasks <= 2 s more", 2, at_least=False),
    Target("tasks_10k_mb", "memory with 10,000 open tasks <= 60 MB more", 60, at_least=False),
)
