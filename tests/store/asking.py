"""Requests that wait for a person, and a book to follow them: what the tests of approvals are made of."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from proxy.policy.approval import Approver, Asked, Grant
from proxy.settings import ApprovalSettings
from proxy.store.approvals import ApprovalBook, Terms

NOW = 1_800_000_000
TERMS = Terms(expires=3600, queue=3, separate_owner=False)
ADA = Approver("login:ada", frozenset())
ONCE = Grant(uses=1, seconds=600, reason="fine")


def asked(
    content: str = "body 1",
    *,
    agent: str = "coder",
    task: str = "t-1",
    url: str = "https://api.test/pay",
    method: str = "POST",
    owners: tuple[str, ...] = ("grace@example.org",),
    rules: str = "1" * 64,
    asked_at: int = NOW,
) -> Asked:
    """A held request; the same arguments make the same one."""
    digest = sha256(repr((content, agent, task, url, method, rules)).encode()).hexdigest()
    chain = ("lead", agent)
    return Asked(
        digest,
        agent,
        chain,
        owners,
        task,
        "pay bills",
        method,
        url,
        ("shop.pay",),
        '[{"body":{"amount":500}}]',
        ("pay",),
        rules,
        asked_at,
    )


@asynccontextmanager
async def approving(
    path: Path,
    clock: Callable[[], float],
    alarm: Callable[[str], None],
    *,
    interval: float = 0.005,
    idle: float = 0.005,
    **settings: object,
) -> AsyncIterator[ApprovalBook]:
    """A book that follows the file."""
    given = ApprovalSettings.model_validate(settings)
    book = await ApprovalBook.open(path, given, now=clock, alarm=alarm, interval=interval, idle=idle)
    try:
        yield book
    finally:
        await book.close()
