"""A call that only a person may let through: it is queued, waits for a while, and is decided again.

Decided: a client that says how long it will wait (``Prefer: wait=N``, RFC 7240) gets ``102 Processing`` now
and then; others wait in silence, because many of them stumble over a 1xx they did not ask for.
"""

import asyncio
import re
from collections.abc import Callable, Sequence

import orjson

from proxy.engine.intake import Intake
from proxy.errors import Code, Refusal
from proxy.http.canonical import Target
from proxy.http.message import Headers, values
from proxy.identity.principal import Principal
from proxy.policy.approval import Approval, Asked, Declined, Waiting
from proxy.policy.content import Act
from proxy.policy.request_digest import request_digest
from proxy.ports import Approvals, Clock

_SLICE_S = 1.0  # how soon it is noticed that nobody waits any more
_PROCESSING_S = 5.0
_RETRY_S = 30
_MAX_FACTS = 8_192  # octets
_WAIT = re.compile(rb"wait=([0-9]{1,5})")


class Holding:
    """See the module. ``wait``: seconds a call is held at most; ``link``: where a person answers.

    ``over`` says why a principal may not go on.
    """

    def __init__(
        self,
        approvals: Approvals,
        clock: Clock,
        *,
        wait: float,
        link: str | None,
        over: Callable[[Principal], Refusal | None],
    ) -> None:
        self._approvals = approvals
        self._clock = clock
        self._wait = wait
        self._link = link
        self._over = over

    async def ask(
        self,
        principal: Principal,
        method: str,
        target: Target,
        headers: Headers,
        content_sha256: str,
        acts: Sequence[Act],
        rules: tuple[str, ...],
        ruleset_sha256: str,
        intake: Intake,
    ) -> Approval | Refusal:
        """One use of an approval of exactly this request, or why there is none.

        ``content_sha256`` is hex over what is approved of its content (``repeatable``).
        """
        asked = self._asked(principal, method, target, headers, content_sha256, acts, rules, ruleset_sha256)
        answer = await self._approvals.redeem(asked)
        if answer is None:
            waiting = await self._approvals.file(asked)
            if isinstance(waiting, Refusal):
                return waiting
            preferred = _preferred(headers)
            seconds = self._wait if preferred is None else min(self._wait, preferred)
            tell = intake.processing if preferred is not None else None
            refusal = await self._answered(principal, waiting, seconds, intake, tell)
            if refusal is not None:
                return refusal
            # Who has left would neither hear the answer nor know that it was sent: no use of it is taken.
            answer = None if intake.gone else await self._approvals.redeem(asked)
            if answer is None:
                return self._unanswered(asked, waiting)
        if isinstance(answer, Declined):
            why = f": {answer.reason}" if answer.reason else ""
            return Refusal(Code.APPROVAL_DENIED, f"{answer.approver} has declined request {answer.id}{why}")
        return answer

    async def _answered(
        self,
        principal: Principal,
        waiting: Waiting,
        seconds: float,
        intake: Intake,
        tell: Callable[[], None] | None,
    ) -> Refusal | None:
        """Wait for a person, as long as somebody waits for the answer and is still allowed to.

        Nobody answers a request that has left the queue, so waiting ends with it.
        """
        loop = asyncio.get_running_loop()
        queued = waiting.expires_at - self._clock.wall_ns() / 1e9
        end, told = loop.time() + min(seconds, queued), loop.time()
        while (left := end - loop.time()) > 0 and not intake.gone:
            if await self._approvals.answered(waiting, min(left, _SLICE_S)):
                break
            refusal = self._over(principal)
            if refusal is not None:
                return refusal
            if tell is not None and loop.time() - told >= _PROCESSING_S:
                tell()
                told = loop.time()
        return self._over(principal)

    def _asked(
        self,
        principal: Principal,
        method: str,
        target: Target,
        headers: Headers,
        content_sha256: str,
        acts: Sequence[Act],
        rules: tuple[str, ...],
        ruleset_sha256: str,
    ) -> Asked:
        chain = tuple(link.agent.id for link in principal.chain)
        owners = {
            owner for link in principal.chain for owner in (link.agent.business_owner, link.agent.data_owner)
        }
        return Asked(
            request_sha256=request_digest(
                method,
                target,
                headers,
                content_sha256,
                agent=principal.agent.id,
                task=principal.task.id,
                chain=tuple(link.task.id for link in principal.chain),
                ruleset_sha256=ruleset_sha256,
            ),
            agent=principal.agent.id,
            chain=chain,
            owners=tuple(sorted(owners - {""})),
            task=principal.task.id,
            purpose=principal.task.purpose,
            method=method,
            url=f"{target.origin}{target.path.text}",
            actions=tuple(act.operation.id for act in acts),
            facts=_facts(acts),
            rules=rules,
            ruleset_sha256=ruleset_sha256,
            asked_at=self._clock.wall_ns() // 1_000_000_000,
        )

    def _unanswered(self, asked: Asked, waiting: Waiting) -> Refusal:
        where = (
            f"{self._link.rstrip('/')}/{waiting.id}"
            if self._link
            else f"gatepass approvals show {waiting.id}"
        )
        note = f"; {waiting.note}" if waiting.note else ""
        detail = f"{asked.method} {asked.url} waits for a person as request {waiting.id} ({where}){note}"
        return Refusal(Code.APPROVAL_REQUIRED, detail, asked.rules[0] if asked.rules else None, _RETRY_S)


def _facts(acts: Sequence[Act]) -> str:
    """What rules read of each act and what its protocol says of it, for a person: JSON, if it is not long."""
    told = [orjson.loads(act.facts) | orjson.loads(act.told or b"{}") for act in acts]
    written = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
    return written.decode("utf-8") if len(written) <= _MAX_FACTS else "[]"


def _preferred(headers: Headers) -> float | None:
    """How many seconds the client says it will wait (RFC 7240, 4.3), or None if it does not say."""
    for value in values(headers, b"prefer"):
        for preference in value.split(b","):
            found = _WAIT.fullmatch(preference.partition(b";")[0].strip().replace(b" ", b"").lower())
            if found is not None:
                return float(found[1])
    return None
