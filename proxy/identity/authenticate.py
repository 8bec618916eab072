"""How an agent may prove who it is: the ``authenticate`` entries of ``rules/agents.yaml``, as written.

::

    authenticate:
      - method: session              # a token that this sidecar issued
      - method: listener             # a listener of gatepass.yaml that names the agent
      - method: oidc
        issuer: github               # a name under identity.issuers in gatepass.yaml
        subject: "repo:acme/app:ref:refs/heads/main"   # exact
        claims: {repository_owner: acme}               # each is equal to it, or a list that has it
      - method: jwt-svid             # or x509-svid
        id: spiffe://example.org/coder
      - method: unix
        uid: 1000
        executable: /usr/bin/python3.11

A key without a value is an error: left out it would mean no limit, and that is rarely what was meant.
"""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)

from proxy.identity import ways
from proxy.identity.principal import Method
from proxy.identity.spiffe import SCHEME, flaw
from proxy.identity.ways import ClaimValue, Way

_NOBODY = 2**32 - 1  # (uid_t) -1


class Model(BaseModel):
    """The strictness of the whole file: unknown keys are errors, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _given(value: object) -> object:
    if value is None:
        raise ValueError("a value is missing; leave the key out if there is none")
    return value


def _spiffe_id(value: str) -> str:
    words = flaw(value)
    if words:
        raise ValueError(words)
    return value


def _path(value: str) -> str:
    first, *segments = value.split("/")
    if first or not segments or any(part in {"", ".", ".."} for part in segments):
        raise ValueError("the absolute path of a file, without empty segments, . and ..")
    return value


def _claim(value: object) -> ClaimValue:
    if not isinstance(value, ClaimValue) or value == "":
        raise ValueError("a text, a whole number, true or false")
    return value


def _claim_name(value: str) -> str:
    if value in {"iss", "sub"}:
        raise ValueError("say issuer and subject instead")
    return value


Given = BeforeValidator(_given)
IssuerName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
# Lengths are not the pattern's to say: Rust writes a repetition of so many characters out, into megabytes.
_PLAIN = r"^[^\x00-\x1f\x7f-\x9f]+$"
Subject = Annotated[str, Field(pattern=_PLAIN, max_length=1024)]
ClaimName = Annotated[str, Field(pattern=_PLAIN, max_length=256), AfterValidator(_claim_name)]
Claims = Annotated[dict[ClaimName, Annotated[ClaimValue, PlainValidator(_claim)]], Field(min_length=1)]
Path = Annotated[str, Field(pattern=_PLAIN, max_length=4096), AfterValidator(_path)]


class PlainEntry(Model):
    """Evidence that names its agent itself."""

    method: Literal["session", "listener"]

    def way(self, own: str) -> Way:
        """What fits, for the agent whose id is ``own``."""
        del own
        return Way(Method(self.method))


class OidcEntry(Model):
    """A JWT of a configured issuer; an entry has to say which of them."""

    method: Literal["oidc"]
    issuer: IssuerName
    subject: Annotated[Subject | None, Given] = None
    claims: Annotated[Claims | None, Given] = None

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if self.subject is None and self.claims is None:
            raise ValueError("name a subject, claims or both; an issuer alone is everybody")
        return self

    def way(self, own: str) -> Way:
        """What fits, for the agent whose id is ``own``."""
        del own
        return ways.token(self.issuer, self.subject, self.claims or {})


class SvidEntry(Model):
    """A SPIFFE ID; the agent's own unless it is named."""

    method: Literal["jwt-svid", "x509-svid"]
    id: Annotated[Annotated[str, AfterValidator(_spiffe_id)] | None, Given] = None

    def way(self, own: str) -> Way | None:
        """What fits, for the agent whose id is ``own``; None if neither is a SPIFFE ID."""
        spiffe_id = self.id or own
        return ways.svid(spiffe_id, Method(self.method)) if spiffe_id.startswith(SCHEME) else None


class UnixEntry(Model):
    """A process that calls through a Unix socket."""

    method: Literal["unix"]
    uid: Annotated[int, Field(ge=0, lt=_NOBODY)]
    executable: Annotated[Path | None, Given] = None

    def way(self, own: str) -> Way:
        """What fits, for the agent whose id is ``own``."""
        del own
        return ways.process(self.uid, self.executable or "")


class _AnyEntry(BaseModel):
    model_config = ConfigDict(strict=True)
    method: Literal["session", "listener", "oidc", "jwt-svid", "x509-svid", "unix"]


WayEntry = PlainEntry | OidcEntry | SvidEntry | UnixEntry
_ENTRIES: dict[str, type[PlainEntry | OidcEntry | SvidEntry | UnixEntry]] = {
    "session": PlainEntry,
    "listener": PlainEntry,
    "oidc": OidcEntry,
    "jwt-svid": SvidEntry,
    "x509-svid": SvidEntry,
    "unix": UnixEntry,
}


def _entry(value: object) -> WayEntry:
    # Chosen by hand, because a union of pydantic's puts a tag into the path that has no line in the file.
    return _ENTRIES[_AnyEntry.model_validate(value).method].model_validate(value)


Entry = Annotated[WayEntry, PlainValidator(_entry)]
