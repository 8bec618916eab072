"""What can be configured, with its defaults: frozen values, read once.

Every setting is documented in the ``gatepass.yaml`` that ``gatepass init`` writes; a test compares
the two. Durations are seconds, sizes are octets. This file reads nothing: bytes are parsed by
``problems.load_yaml`` and handed over as plain values.
"""

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from proxy.http.canonical import Host, parse_host

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # RFC 7518 and RFC 8037, without those that share a secret
Port = Annotated[int, Field(ge=1, le=65_535)]


class Model(BaseModel):
    """The strictness all settings share: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _canonical_host(name: str) -> str:
    host = parse_host(name.encode())
    if not isinstance(host, Host):
        raise ValueError(f"{host.detail}; write it in canonical form")  # noqa: TRY004 - pydantic wants ValueError
    return host.name


def _host_and_port(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004 - RFC 9293
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8470 (port 0 takes a free one)")
    return value


Address = Annotated[str, AfterValidator(_host_and_port)]


class ListenTls(Model):
    """TLS on a listener: clients present an X.509-SVID of ``trust_domain``, and no other certificate.

    Without ``certificate`` and ``key`` (PEM files) gatepass's own CA signs one for ``names``; with
    ``workload_api`` it is the sidecar's own SVID. Without ``crl`` (a PEM file) a client's certificate may
    live for ``max_life`` seconds at most.
    """

    trust_domain: str
    names: Annotated[tuple[str, ...], Field(min_length=1)] = ("localhost", "127.0.0.1")
    certificate: str | None = None
    key: str | None = None
    workload_api: bool = False
    crl: str | None = None
    max_life: Annotated[int, Field(gt=0, le=366 * 86_400)] = 86_400

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.certificate is not None and self.workload_api:
            raise ValueError("the certificate is either a file or the Workload API's")
        return self


class Listen(Model):
    """One listener, at ``address`` or at the path ``unix``. With ``agent`` it carries a fixed identity."""

    address: Address = "127.0.0.1:8470"
    unix: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = "0600"
    tls: ListenTls | None = None
    agent: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.unix is not None and (self.tls is not None or "address" in self.model_fields_set):
            raise ValueError("a listener at a Unix socket has neither an address nor TLS")
        return self

    @property
    def host(self) -> str:
        """The address without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; 0 asks the system for a free one."""
        return int(self.address.rpartition(":")[2])


class AllowPrivateRule(Model):
    """Opens one private destination: host, network and port must all match."""

    host: str
    cidr: str
    port: Port

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        return _canonical_host(value)

    @field_validator("cidr")
    @classmethod
    def _cidr(cls, value: str) -> str:
        return str(ip_network(value))


class UpstreamSettings(Model):
    """How gatepass reaches the APIs."""

    roots: str | None = None
    hosts: dict[str, list[str]] = {}
    ports: frozenset[Port] = frozenset({80, 443})
    ip_literals: bool = False
    allow_private: tuple[AllowPrivateRule, ...] = ()
    connect_timeout: Seconds = 10
    first_byte_timeout: Seconds = 300
    idle_timeout: Seconds = 300
    pool_idle: Seconds = 90
    pool_size: Annotated[int, Field(ge=0, le=10_000)] = 64

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for text in (answer for answers in value.values() for answer in answers):
            ip_address(text)  # its error says which text is no address
        return {_canonical_host(name): answers for name, answers in value.items()}


class Limits(Model):
    """What one client may take."""

    head: Annotated[int, Field(ge=1_024, le=1_048_576)] = 65_536
    header_count: Annotated[int, Field(ge=1, le=10_000)] = 200
    header_line: Annotated[int, Field(ge=256, le=1_048_576)] = 32_768
    target: Annotated[int, Field(ge=256, le=65_536)] = 16_384
    head_timeout: Seconds = 15
    handshake_timeout: Seconds = 10
    idle_timeout: Seconds = 120
    body_timeout: Seconds = 120
    connections_per_agent: Annotated[int, Field(ge=1)] = 1_024
    connections: Annotated[int, Field(ge=1)] = 8_192


class LogSettings(Model):
    """The audit log. ``origin`` names it in checkpoints; default ``gatepass/<host name>``."""

    origin: Annotated[str, Field(pattern=r"^[!-*,-~]+$", max_length=200)] | None = None
    checkpoint_every: Seconds = 1


_LOCAL = re.compile(r"http://(127\.0\.0\.1|localhost)(:[0-9]+)?(/|$)")


class IssuerSettings(Model):
    """A foreign issuer of identity tokens. ``keys`` is a file with its JWK set, instead of discovery."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    issuer: Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=2_000)]
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]
    algorithms: Annotated[frozenset[Algorithm], Field(min_length=1)] = frozenset({"RS256", "ES256"})
    max_lifetime: Annotated[int, Field(gt=0, le=366 * 86_400)] = 86_400
    keys: str | None = None

    @field_validator("issuer")
    @classmethod
    def _secure(cls, value: str) -> str:
        if not value.startswith("https://") and not _LOCAL.match(value):
            raise ValueError("an issuer is an https URL")
        return value


class TrustDomain(Model):
    """A SPIFFE trust domain; ``bundle`` is a file (SPIFFE bundle, or PEM), else the Workload API has it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9._-]+$", max_length=255)]
    bundle: str | None = None


class IdentitySettings(Model):
    """Who may say who is calling, besides this sidecar. ``audience`` is what JWT-SVIDs must name."""

    audience: Annotated[str, Field(pattern=r"^[!-~]+$", max_length=2_048)] | None = None
    issuers: tuple[IssuerSettings, ...] = ()
    trust_domains: tuple[TrustDomain, ...] = ()
    workload_api: Annotated[str, Field(pattern=r"^(unix:///|tcp://)[!-~]+$")] | None = None
    revocations: str | None = None
    delegation_depth: Annotated[int, Field(ge=0, le=7)] = 3


class Operator(Model):
    """Who may use the control API: tokens of an issuer with this subject and all these claims."""

    issuer: str
    subject: str | None = None
    claims: dict[str, str | int | bool] = {}

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if self.subject is None and not self.claims:
            raise ValueError("name a subject or claims; an issuer alone is everybody")
        return self


class ControlSettings(Model):
    """The control API; it listens only if ``address`` is set. ``operators`` besides the local admin token."""

    address: Address | None = None
    operators: tuple[Operator, ...] = ()


class RemoteEngine(Model):
    """A policy decision point that is asked instead of Cedar. ``token`` is a file with a bearer token."""

    kind: Literal["opa", "authzen"]
    url: Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=2_000)]
    timeout: Annotated[float, Field(gt=0, le=60)] = 2
    token: str | None = None

    @field_validator("url")
    @classmethod
    def _secure(cls, value: str) -> str:
        if not value.startswith("https://") and not _LOCAL.match(value):
            raise ValueError("an https URL, or http on this machine")
        return value


class PolicySettings(Model):
    """How the rules are kept and applied.

    ``reload`` is how often they are looked at for changes. ``shadow`` is a second directory of rules that
    is decided too and never enforced. ``signer`` is the minisign public key that must have signed them.
    ``content`` is how many octets of a request rules may read.
    """

    reload: Seconds = 1
    shadow: str | None = None
    signer: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{56}$")] | None = None
    content: Annotated[int, Field(ge=1_024, le=64 * 1_048_576)] = 1_048_576
    engine: RemoteEngine | None = None


class ApprovalSettings(Model):
    """Calls that wait for a person: how long a call is kept waiting, and how many may wait for one agent.

    An unanswered request leaves the queue after ``expires``. With ``separate_owner`` the owners of the
    agents concerned may not approve. ``link`` is where a person answers, shown to the agent.
    """

    wait: Annotated[float, Field(ge=0, le=3_600)] = 20
    expires: Annotated[int, Field(ge=10, le=7 * 86_400)] = 3_600
    queue: Annotated[int, Field(ge=1, le=1_000)] = 20
    separate_owner: bool = False
    link: Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=500)] | None = None


class Settings(Model):
    """Everything in ``gatepass.yaml``."""

    state: str | None = None
    rules: str = "rules"
    listen: Annotated[tuple[Listen, ...], Field(min_length=1)] = (Listen(),)
    upstream: UpstreamSettings = UpstreamSettings()
    limits: Limits = Limits()
    log: LogSettings = LogSettings()
    identity: IdentitySettings = IdentitySettings()
    control: ControlSettings = ControlSettings()
    policy: PolicySettings = PolicySettings()
    approvals: ApprovalSettings = ApprovalSettings()
    drain: Seconds = 20
    correlation_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
