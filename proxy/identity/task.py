"""Tasks: a manifest of what was agreed, and an id that commits to it.

The canonical bytes of a manifest are JSON with sorted keys, no white space and UTF-8 (the subset of
RFC 8785 in which all numbers are integers), and ``id = "t-" + base32(SHA-256(bytes)[:16])`` in lower
case without padding (RFC 4648, section 6). Whoever has the bytes can check the id.

Decided: the id commits to the manifest, because then no store can widen a task behind its id,
instead of a random id with a row of columns.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise
from sys import intern

import orjson

from proxy.identity.principal import NO_BUDGETS, Budgets, Task, TaskState

MAX_TASK_S = 366 * 24 * 3600  # a listener's standing task lives longest
MAX_SCOPES = 64
MAX_SERVICES = 128
MAX_DEPTH = 7  # with the root, a chain has eight links at most
MAX_INTEGER = 2**53 - 1  # RFC 8785, section 3.2.2.3
TASK_ID = re.compile(r"t-[a-z2-7]{26}")
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")  # scope-token, RFC 6749, section 3.3
SERVICE = re.compile(r"[a-z][a-z0-9-]{0,63}")
# No control characters, which could forge a line, and no surrogates, which have no bytes.
PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,1024}")
AGENT_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,2048}")  # SPIFFE-ID, section 2.3
_FORMAT = "gatepass-task/2"
_NONCE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a task is: agreed at its start, never changed. Times are POSIX seconds.

    ``scopes`` and ``services`` are sorted and distinct; ``services`` None is every service that rules
    allow, empty is none. ``parent`` is the id of the task that delegated this one, ``depth`` how many
    delegations may follow below it. ``nonce`` is 16 random octets in hex, so that two tasks with the same
    words are two tasks.
    """

    agent: str
    purpose: str
    scopes: tuple[str, ...]
    environment: str
    issued_at: int
    expires_at: int
    on_behalf_of: str | None
    nonce: str
    services: tuple[str, ...] | None = None
    budgets: Budgets = NO_BUDGETS
    ticket: str | None = None
    approver: str | None = None
    parent: str | None = None
    depth: int = 0


def flaw(manifest: Manifest) -> str | None:
    """What is wrong with the manifest, in words for whoever starts the task, or None."""
    services, budgets = manifest.services or (), manifest.budgets
    checks = (
        (AGENT_ID.fullmatch(manifest.agent), "the agent has no id"),
        (PLAIN.fullmatch(manifest.purpose), "the purpose is too long or not plain text"),
        (manifest.environment and PLAIN.fullmatch(manifest.environment), "the environment has no name"),
        (_words(manifest.on_behalf_of), "on-behalf-of is empty, too long or not plain text"),
        (_words(manifest.ticket), "the ticket is empty, too long or not plain text"),
        (_words(manifest.approver), "the approver is empty, too long or not plain text"),
        (len(manifest.scopes) <= MAX_SCOPES, f"there are more than {MAX_SCOPES} scopes"),
        (
            all(map(SCOPE.fullmatch, manifest.scopes)),
            "a scope holds a space, a quote or a control character",
        ),
        (_ordered(manifest.scopes), "the scopes are not sorted and distinct"),
        (len(services) <= MAX_SERVICES, f"there are more than {MAX_SERVICES} services"),
        (all(map(SERVICE.fullmatch, services)), "a service has a name that no service can have"),
        (_ordered(services), "the services are not sorted and distinct"),
        (_amount(budgets.requests) and _amount(budgets.octets), "a budget is not 1 to 2^53-1"),
        (manifest.issued_at >= 0, "the start is before 1970"),
        (0 < manifest.expires_at - manifest.issued_at <= MAX_TASK_S, "the lifetime is not 1 s to 366 days"),
        (manifest.expires_at <= MAX_INTEGER, "the end is beyond all time"),
        (manifest.parent is None or TASK_ID.fullmatch(manifest.parent), "the parent is not the id of a task"),
        (0 <= manifest.depth <= MAX_DEPTH, f"the depth is not 0 to {MAX_DEPTH}"),
        (_NONCE.fullmatch(manifest.nonce), "the nonce is not 16 octets in hex"),
    )
    return next((words for holds, words in checks if not holds), None)


def manifest_bytes(manifest: Manifest) -> bytes:
    """The canonical bytes.

    :raises ValueError: if the manifest is flawed.
    """
    words = flaw(manifest)
    if words:
        raise ValueError(words)
    document = {field.name: getattr(manifest, field.name) for field in fields(Manifest)}
    budgets = {"octets": manifest.budgets.octets, "requests": manifest.budgets.requests}
    return orjson.dumps({**document, "format": _FORMAT, "budgets": budgets}, option=orjson.OPT_SORT_KEYS)


def parse_manifest(data: bytes) -> Manifest | None:
    """The manifest whose canonical bytes are ``data``, or None: what does not print back is not one."""
    try:
        document: object = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or document.get("format") != _FORMAT or not _typed(document, _TYPES):
        return None
    budgets, services = document["budgets"], document["services"]
    if not _typed(budgets, _BUDGET_TYPES):
        return None
    if any(type(word) is not str for word in (*document["scopes"], *(services or ()))):
        return None
    if orjson.dumps(document, option=orjson.OPT_SORT_KEYS) != data:
        return None
    del document["format"]
    document["scopes"] = tuple(document["scopes"])
    document["services"] = None if services is None else tuple(services)
    document["budgets"] = Budgets(**budgets)
    manifest = Manifest(**document)
    return manifest if flaw(manifest) is None else None


def task_id(data: bytes) -> str:
    """The id of the task whose manifest has the canonical bytes ``data``."""
    return _id(hashlib.sha256(data).digest())


def make_task(manifest: Manifest, state: TaskState = TaskState.OPEN) -> Task:
    """The task of this manifest.

    :raises ValueError: if the manifest is flawed.
    """
    return _task(manifest, manifest_bytes(manifest), state)


def read_task(data: bytes, state: TaskState) -> Task | None:
    """The task whose manifest has the canonical bytes ``data``, or None: the quick way for many tasks.

    What tasks have in common (agent, environment, scopes and so on) they share in memory.
    """
    manifest = parse_manifest(data)
    return None if manifest is None else _task(manifest, data, state)


def _task(manifest: Manifest, data: bytes, state: TaskState) -> Task:
    digest = hashlib.sha256(data)
    return Task(
        id=_id(digest.digest()),
        agent=intern(manifest.agent),
        purpose=manifest.purpose,
        scopes=_shared(manifest.scopes),
        environment=intern(manifest.environment),
        issued_at=manifest.issued_at,
        expires_at=manifest.expires_at,
        manifest_sha256=digest.hexdigest(),
        on_behalf_of=_interned(manifest.on_behalf_of),
        state=state,
        services=None if manifest.services is None else _shared(manifest.services),
        budgets=_same(manifest.budgets),
        ticket=_interned(manifest.ticket),
        approver=_interned(manifest.approver),
        parent=_interned(manifest.parent),
        depth=manifest.depth,
        nonce=manifest.nonce,
    )


def manifest_of(task: Task) -> Manifest:
    """The manifest that the task's id and digest commit to."""
    return Manifest(**{field.name: getattr(task, field.name) for field in fields(Manifest)})


def _id(digest: bytes) -> str:
    return "t-" + base64.b32encode(digest[:16]).decode().rstrip("=").lower()


def _words(text: str | None) -> bool:
    return text is None or (text != "" and PLAIN.fullmatch(text) is not None)


def _ordered(words: tuple[str, ...]) -> bool:
    return all(one < following for one, following in pairwise(words))


def _amount(budget: int | None) -> bool:
    return budget is None or 1 <= budget <= MAX_INTEGER


def _interned(text: str | None) -> str | None:
    return None if text is None else intern(text)


@lru_cache(maxsize=1024)
def _shared(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(intern, words))


@lru_cache(maxsize=256)
def _same(budgets: Budgets) -> Budgets:
    return budgets  # the first of all that are equal


def _typed(document: dict[str, object], types: dict[str, tuple[type, ...]]) -> bool:
    """Exact types: JSON's true is no integer here."""
    return document.keys() == types.keys() and all(
        type(document[name]) in allowed for name, allowed in types.items()
    )


_TYPES: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "agent": (str,),
    "purpose": (str,),
    "scopes": (list,),
    "services": (list, type(None)),
    "environment": (str,),
    "budgets": (dict,),
    "issued_at": (int,),
    "expires_at": (int,),
    "on_behalf_of": (str, type(None)),
    "ticket": (str, type(None)),
    "approver": (str, type(None)),
    "parent": (str, type(None)),
    "depth": (int,),
    "nonce": (str,),
}
_BUDGET_TYPES: dict[str, tuple[type, ...]] = {
    "octets": (int, type(None)),
    "requests": (int, type(None)),
}
