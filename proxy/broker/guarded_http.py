"""HTTPS requests of gatepass itself, behind the guard that agents' calls pass (RFC 9110; SSRF, CWE-918).

One resolution, every answer vetted, the vetted addresses pinned: what was checked is what is dialled.
Only status 200 is an answer. There are no redirects, no cookies, no proxies, no content codings, and no
more than MAX_OCTETS.

``aiohttp`` is imported with the first request, because a sidecar without foreign issuers does without.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import NamedTuple

from proxy.errors import Code, Refusal
from proxy.http.address import AddressClass, AllowPrivate, classify, name_refusal, vet
from proxy.http.canonical import Host, HostKind, Target, parse_target
from proxy.ports import Resolver

MAX_OCTETS = 1_048_576


class Page(NamedTuple):
    """The body of an answer with status 200, and what it says about being kept ("" if nothing)."""

    body: bytes
    cache_control: str
    age: str


def read_url(url: str) -> Target | Refusal:
    """The canonical form of an absolute http or https URL."""
    if not url.isascii():
        return Refusal(Code.TARGET_MALFORMED, "the URL is not ASCII")
    return parse_target("GET", url.encode(), tunnel=None, hosts=(), version="1.0", encoded_slash=True)


def is_loopback(host: Host) -> bool:
    """Whether a host is written as this machine: ``localhost``, or a loopback address."""
    if host.kind is HostKind.NAME:
        return host.name == "localhost"
    return classify(host.name) is AddressClass.LOOPBACK


class GuardedHttp:
    """See the module. ``allowed`` opens destinations that are not public; nothing opens metadata services."""

    def __init__(self, resolver: Resolver, context: ssl.SSLContext, allowed: Sequence[AllowPrivate]) -> None:
        self._resolver = resolver
        self._context = context
        self._allowed = tuple(allowed)

    async def get(self, target: Target, deadline: float) -> Page | Refusal:
        """What is there, or why there is nothing. ``deadline`` is the event loop's time; never raises."""
        host = target.origin.host
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._vetted(host, target.origin.port)
                if isinstance(addresses, Refusal):
                    return addresses
                # Here, not above: see the module.
                from proxy.broker.pinned_get import pinned_get  # noqa: PLC0415

                return await pinned_get(target, addresses, self._context, MAX_OCTETS)
        except TimeoutError:
            return Refusal(Code.UPSTREAM_TIMEOUT, f"{target.origin} did not answer in time")

    async def _vetted(self, host: Host, port: int) -> tuple[str, ...] | Refusal:
        if host.kind is not HostKind.NAME:
            return vet(host, port, (host.name,), self._allowed)
        refused = name_refusal(host, self._allowed)
        if refused is not None:
            return refused
        answers = await self._resolver.resolve(host.name)
        return answers if isinstance(answers, Refusal) else vet(host, port, answers, self._allowed)
