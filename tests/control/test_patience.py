import asyncio

from proxy.control.patience import MAX_WAITING, Patience
from proxy.identity.burst import FIRST_DELAY_S, FREE


async def send(patience, peer, times):
    """Wrong tokens, all at once: those that hear so at once, and those that wait."""
    tasks = [asyncio.create_task(patience.wrong(peer)) for _ in range(times)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = [task for task in tasks if not task.done()]
    return len(tasks) - len(waiting), waiting


async def cancel(waiting):
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_few_wrong_tokens_are_answered_at_once_and_more_wait():
    told = []
    patience = Patience(told.append)
    at_once, waiting = await send(patience, "10.0.0.1", FREE)
    assert (at_once, waiting, told) == (FREE, [], [])
    at_once, waiting = await send(patience, "10.0.0.1", 1)
    assert (at_once, len(waiting)) == (0, 1)
    assert "10.0.0.1" in told[0]
    before = asyncio.get_running_loop().time()
    await waiting[0]
    assert asyncio.get_running_loop().time() - before >= FIRST_DELAY_S / 2


async def test_nobody_else_waits_and_the_operator_hears_of_a_burst_twice():
    told = []
    patience = Patience(told.append)
    _, waiting = await send(patience, "10.0.0.1", FREE + 3)
    assert len(waiting) == 3
    assert (await send(patience, "10.0.0.2", FREE))[0] == FREE
    await cancel(waiting)
    patience.close()
    assert len(told) == 2
    assert "10.0.0.1 sent 3" in told[1]


async def test_only_so_many_wait():
    patience = Patience(lambda _: None)
    at_once, waiting = await send(patience, "10.0.0.1", FREE + MAX_WAITING + 10)
    assert (at_once, len(waiting)) == (FREE + 10, MAX_WAITING)
    await cancel(waiting)
    _, waiting = await send(patience, "10.0.0.1", 1)
    assert len(waiting) == 1
    await cancel(waiting)
