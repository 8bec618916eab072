"""Rules that nobody uses any more are let go piece by piece, and never while somebody does."""

import asyncio
import gc
import weakref

from proxy.policy.decision import Allow
from proxy.wiring_retired import Retired
from tests.policy.worlds import GET, PAY, ask, rules


async def test_nothing_is_taken_from_rules_that_are_in_use():
    ruleset, retired = rules(pay=PAY), Retired()
    retired.watch(ruleset)
    await retired.let_go()
    for path in ("", "/7", "/8"):
        assert isinstance(ruleset.decide(ask("GET", GET + path, within=ruleset)).decision, Allow)


async def test_what_is_left_of_rules_goes_piece_by_piece_and_others_get_their_turn():
    ruleset, retired = rules(pay=PAY), Retired()
    for number in range(5):
        ruleset.decide(ask("GET", f"{GET}/{number}", within=ruleset))
    pieces = len(ruleset.policies) + len(ruleset.catalogue.services)
    known = weakref.ref(ruleset)
    retired.watch(ruleset)
    gc.disable()  # nothing here waits for the collector
    try:
        del ruleset
        assert known() is None
    finally:
        gc.enable()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.get_running_loop().create_task(other())
    await retired.let_go()
    assert turns > pieces + 5
    before = turns
    await retired.let_go()  # there is nothing left
    assert turns == before
    running.cancel()
    await asyncio.wait([running])


def test_the_remains_are_everything_that_there_is_a_lot_of():
    ruleset = rules(pay=PAY)
    ruleset.decide(ask("GET", GET, within=ruleset))
    policies, services, slices = ruleset.policies, ruleset.catalogue.services, list(ruleset._slices)
    remains = [*ruleset.remains()]
    for piece in (*policies, *services, *slices):
        assert any(piece is one for one in remains)
    assert len(remains) == len(policies) + len(services) + len(slices) + 2  # who asked, and the answer
