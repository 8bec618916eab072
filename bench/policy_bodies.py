"""What it costs that a rule reads the content of a call: the same calls of 4 KiB, streamed and read.

Both sidecars stand, and are called in turns.
"""

from collections import defaultdict
from statistics import median

from bench import governed
from bench.calls import Tally, drive, kept_alive
from bench.policy_calls import filled
from bench.policy_reload import prepare
from bench.systems import Bed

POST = """\
@id("bench-may-order")
permit(principal == Agent::"bench", action == Action::"bench.order", resource in Service::"bench")
"""
POLICIES = {
    "post_streamed_ms": f"{POST};",
    "post_read_ms": f"{POST}when {{ context.facts.body.amount < 500 }};",
}
OPERATION = {
    "group": "write",
    "method": "POST",
    "path": "/",
    "facts": {"body": {"amount": "long", "currency": "string", "note?": "string"}},
}


def measure(bed: Bed, seconds: float, rounds: int) -> dict[str, float]:
    """The median duration of a call, in milliseconds."""
    order: dict[str, object] = {"amount": 1, "currency": "EUR"}
    body = filled(order, order, "note")
    found: dict[str, list[float]] = defaultdict(list)
    prepared = {
        row: prepare(bed, row, {"policies/order.cedar": text.encode()}, order=OPERATION)
        for row, text in POLICIES.items()
    }
    streamed, read = prepared.values()
    with (
        governed.serving(streamed.directory, bed) as (_, first),
        governed.serving(read.directory, bed) as (_, second),
    ):
        for _ in range(rounds):
            for (row, one), listen in zip(prepared.items(), (first, second), strict=True):
                tally = Tally(warm=seconds / 4, seconds=seconds)
                drive([kept_alive(one.route(listen, bed), tally, body)])
                found[row].append(tally.p50_ms)
    return {row: median(numbers) for row, numbers in found.items()}
