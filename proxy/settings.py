"""What can be configured, with its defaults: frozen values, read once.

Every setting is documented in the ``gatepass.yaml`` that ``gatepass init`` writes; a test compares
the two. Durations are seconds, sizes are octets. This file reads nothing: bytes are parsed by
``problems.load_yaml`` and handed over as plain values.
"""

from ipaddress import ip_address, ip_network
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from proxy.http.canonical import Host, parse_host

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class Model(BaseModel):
    """The strictness all settings share: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _canonical_host(name: str) -> str:
    host = parse_host(name.encode())
    if not isinstance(host, Host):
        raise ValueError(f"{host.detail}; write it in canonical form")  # noqa: TRY004 - pydantic wants ValueError
    return host.name


class Listen(Model):
    """One listener. With ``agent`` it carries a fixed identity and asks for no credentials."""

    address: str = "127.0.0.1:8470"
    agent: str | None = None

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004 - RFC 9293
            raise ValueError("must be HOST:PORT, such as 127.0.0.1:8470 (port 0 takes a free one)")
        return value

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

    origin: Annotated[str, Field(pattern=r"^[!-*,-~]{1,200}$")] | None = None
    checkpoint_every: Seconds = 1


class Settings(Model):
    """Everything in ``gatepass.yaml``."""

    state: str | None = None
    rules: str = "rules"
    listen: Annotated[tuple[Listen, ...], Field(min_length=1)] = (Listen(),)
    upstream: UpstreamSettings = UpstreamSettings()
    limits: Limits = Limits()
    log: LogSettings = LogSettings()
    drain: Seconds = 20
    correlation_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
