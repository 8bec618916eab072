"""A policy decision point elsewhere: OPA, or any that speaks AuthZEN 1.0. Implements ``ports.RemotePdp``.

Only an answer in time, in form, that says yes is an allow. Everything else refuses: a denial as such, and
whatever is no answer (no connection, time-out, another status, a redirect, what cannot be read, too much of
it) with PDP_UNAVAILABLE. What was answered is recorded word for word, but for placeholders and within
MAX_RECORDED octets; from the log alone such a decision cannot be taken again.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

from proxy.broker import authzen, opa
from proxy.broker.answer import Answer, Failure
from proxy.broker.static import LOOK_NS, Stamp, read_if_changed
from proxy.credential.placeholder import redact
from proxy.errors import Code, Refusal
from proxy.policy.catalogue import Service
from proxy.policy.decision import Allow, Deny, Question, Ruling

MAX_RECORDED = 2_048
Kind = Literal["opa", "authzen"]
_SPEAKS = {"opa": opa, "authzen": authzen}
_UNWRITTEN = b"null"


class Described(Protocol):
    """A question, written down: the document, the action's name and the service."""

    @property
    def document(self) -> bytes: ...  # noqa: D102 - see the class
    @property
    def action(self) -> str: ...  # noqa: D102 - see the class
    @property
    def service(self) -> Service | None: ...  # noqa: D102 - see the class


class Rules(Protocol):
    """The rules in force, as far as they are needed to ask somebody else."""

    @property
    def sha256(self) -> str:
        """Their digest: what operations and facts there are, is theirs to say."""
        ...

    def describe(self, question: Question) -> Described:
        """Everything that is known of a call.

        :raises ValueError: if it cannot be written down.
        """
        ...


class Client(Protocol):
    """Whoever carries a question to the decision point and brings the answer."""

    async def ask(self, body: bytes, token: str | None) -> bytes | Failure:
        """The content of the answer. How long that takes is the caller's to bound."""
        ...

    async def close(self) -> None:
        """Close what is kept."""
        ...


class _Case(NamedTuple):
    document: bytes
    action: str
    service: Service | None
    sha256: str


class RemotePdp:
    """See the module. ``timeout`` is in seconds; ``token`` is a file with a bearer token, or None."""

    def __init__(
        self,
        kind: Kind,
        url: str,
        client: Client,
        rules: Callable[[], Rules],
        alarm: Callable[[str], None],
        *,
        timeout: float,
        token: str | None,
    ) -> None:
        self.engine = f"{kind} {_shown(url)}"
        self._kind = kind
        self._speaks = _SPEAKS[kind]
        self._client = client
        self._rules = rules
        self._alarm = alarm
        self._timeout = timeout
        self._token = None if token is None else _Token(token)
        self._failing = False

    async def decide(self, question: Question) -> Ruling:
        """See ``ports.RemotePdp``."""
        case = _Case(_UNWRITTEN, question.act.operation.id, None, "")
        try:
            rules = self._rules()
            described = rules.describe(question)
            case = _Case(described.document, described.action, described.service, rules.sha256)
            found = await self._ask(self._speaks.encode(case.document))
            if isinstance(found, Failure):
                return self._unavailable(case, found)
            answer = self._speaks.read(found)
            if isinstance(answer, str):
                return self._unavailable(case, Failure(answer, found))
            self._works()
            return self._ruling(case, self._decision(answer, case), found)
        except TimeoutError:
            return self._unavailable(case, Failure(f"no answer within {self._timeout:g} s"))
        except Exception as error:  # noqa: BLE001 - fail closed: whatever it is, nobody has allowed anything
            return self._unavailable(case, Failure(f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Close what is kept."""
        await self._client.close()

    async def _ask(self, body: bytes) -> bytes | Failure:
        async with asyncio.timeout(self._timeout):
            token = None if self._token is None else await self._token.read()
            return await self._client.ask(body, token)

    def _decision(self, answer: Answer, case: _Case) -> Allow | Deny:
        if answer.unmet:
            words = f"{self.engine} allows it with obligations, which gatepass does not know"
            return Deny(Refusal(Code.OBLIGATION_UNMET, words), answer.rules, ())
        if answer.allowed:
            return Allow(answer.rules or (self._kind,))
        if answer.allowed is None:
            words = f"{self.engine} has no decision on {case.action}, which is a denial"
            return Deny(Refusal(Code.DEFAULT_DENY, words), (), ())
        rule = answer.rules[0] if answer.rules else None
        words = answer.reason or f"{self.engine} denies {case.action}"
        return Deny(Refusal(Code.POLICY_DENY, words, rule), answer.rules, ())

    def _unavailable(self, case: _Case, failure: Failure) -> Ruling:
        if not self._failing:
            words = f"{self.engine}: {failure.words}"
            self._alarm(f"calls are refused, because nobody decides on them: {words}")
        self._failing = True
        refusal = Refusal(Code.PDP_UNAVAILABLE, "the policy decision point gave no answer that can be used")
        return self._ruling(case, Deny(refusal, (), (redact(failure.words),)), failure.body)

    def _works(self) -> None:
        if self._failing:
            self._failing = False
            self._alarm(f"{self.engine} answers again")

    def _ruling(self, case: _Case, decision: Allow | Deny, body: bytes) -> Ruling:
        return Ruling(
            decision,
            case.document,
            case.service,
            case.action,
            case.sha256,
            self.engine,
            observed=False,
            answer=_recorded(body),
        )


class _Token:
    """A token in a file, looked at again when it may have been replaced."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: tuple[Stamp, bytes] | None = None
        self._looked = 0

    async def read(self) -> str:
        """The token.

        :raises OSError: if there is none. :raises ValueError: if it is not printable ASCII.
        """
        now = time.monotonic_ns()
        if self._known is None or now - self._looked >= LOOK_NS:
            stamp = None if self._known is None else self._known[0]
            self._known = await asyncio.to_thread(read_if_changed, self._path, stamp) or self._known
            self._looked = now
        assert self._known is not None, "a file that was not known has changed"
        try:
            token = self._known[1].decode("ascii").strip()
        except UnicodeDecodeError:
            token = ""
        if not token or not token.isprintable():
            raise ValueError(f"{self._path} does not hold a token")
        return token


def _shown(url: str) -> str:
    """The URL for records: without user, password, parameters and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _recorded(body: bytes) -> bytes:
    """An answer for the record: redacted first, so that no cut leaves half a placeholder."""
    text = redact(body.decode("utf-8", "backslashreplace")).encode("utf-8")
    return text if len(text) <= MAX_RECORDED else text[:MAX_RECORDED].decode("utf-8", "ignore").encode()
