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

import orjson

from proxy.identity.principal import Task, TaskState

MAX_TASK_S = 366 * 24 * 3600  # a listener's standing task lives longest
MAX_SCOPES = 64
_FORMAT = "gatepass-task/1"
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")  # scope-token, RFC 6749, section 3.3
# No control characters, which could forge a line, and no surrogates, which have no bytes.
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,1024}")
_NONCE = re.compile(r"[0-9a-f]{32}")
TASK_ID = re.compile(r"t-[a-z2-7]{26}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a task is: agreed at its start, never changed. Times are POSIX seconds.

    ``scopes`` are sorted and distinct; ``nonce`` is 16 random octets in hex, so that two tasks with
    the same words are two tasks.
    """

    agent: str
    purpose: str
    scopes: tuple[str, ...]
    environment: str
    issued_at: int
    expires_at: int
    on_behalf_of: str | None
    nonce: str


def flaw(manifest: Manifest) -> str | None:
    """What is wrong with the manifest, in words for whoever starts the task, or None."""
    on_behalf_of = "nobody" if manifest.on_behalf_of is None else manifest.on_behalf_of
    checks = (
        (manifest.agent and _TEXT.fullmatch(manifest.agent), "the agent has no id"),
        (_TEXT.fullmatch(manifest.purpose), "the purpose is too long or not plain text"),
        (manifest.environment and _TEXT.fullmatch(manifest.environment), "the environment has no name"),
        (on_behalf_of and _TEXT.fullmatch(on_behalf_of), "on-behalf-of is empty, too long or not plain text"),
        (len(manifest.scopes) <= MAX_SCOPES, f"there are more than {MAX_SCOPES} scopes"),
        (
            all(map(_SCOPE.fullmatch, manifest.scopes)),
            "a scope holds a space, a quote or a control character",
        ),
        (list(manifest.scopes) == sorted(set(manifest.scopes)), "the scopes are not sorted and distinct"),
        (manifest.issued_at >= 0, "the start is before 1970"),
        (0 < manifest.expires_at - manifest.issued_at <= MAX_TASK_S, "the lifetime is not 1 s to 366 days"),
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
    return orjson.dumps({"format": _FORMAT, **document}, option=orjson.OPT_SORT_KEYS)


def parse_manifest(data: bytes) -> Manifest | None:
    """The manifest whose canonical bytes are ``data``, or None: what does not print back is not one."""
    try:
        document: object = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or document.pop("format", None) != _FORMAT:
        return None
    if document.keys() != _TYPES.keys() or any(
        type(document[name]) not in allowed for name, allowed in _TYPES.items()
    ):
        return None
    if any(type(scope) is not str for scope in document["scopes"]):
        return None
    manifest = Manifest(**{**document, "scopes": tuple(document["scopes"])})
    return manifest if flaw(manifest) is None and manifest_bytes(manifest) == data else None


def task_id(data: bytes) -> str:
    """The id of the task whose manifest has the canonical bytes ``data``."""
    return "t-" + base64.b32encode(hashlib.sha256(data).digest()[:16]).decode().rstrip("=").lower()


def make_task(manifest: Manifest, state: TaskState = TaskState.OPEN) -> Task:
    """The task of this manifest.

    :raises ValueError: if the manifest is flawed.
    """
    data = manifest_bytes(manifest)
    return Task(
        id=task_id(data),
        agent=manifest.agent,
        purpose=manifest.purpose,
        scopes=manifest.scopes,
        environment=manifest.environment,
        issued_at=manifest.issued_at,
        expires_at=manifest.expires_at,
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        on_behalf_of=manifest.on_behalf_of,
        state=state,
    )


_TYPES: dict[str, tuple[type, ...]] = {
    "agent": (str,),
    "purpose": (str,),
    "scopes": (list,),
    "environment": (str,),
    "issued_at": (int,),
    "expires_at": (int,),
    "on_behalf_of": (str, type(None)),
    "nonce": (str,),
}
