"""Whether each catalogued service can be reached as a call reaches it: resolved, vetted, connected, TLS."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from proxy.cli.finding import Finding, fail, ok
from proxy.engine.deadlines import Deadlines
from proxy.engine.dial import Dialer, SystemResolver, Upstream
from proxy.errors import Code, Refusal
from proxy.http.address import AllowPrivate
from proxy.http.canonical import Host, Origin, parse_host
from proxy.policy.catalogue import Service
from proxy.settings import Settings
from proxy.wiring_parts import upstream_context

_CONNECT_S = 5.0
_LONGEST_S = 12.0  # with a slow resolver
_AT_ONCE = 16
_SWEEP_S = 0.25
_FIX = {
    Code.DNS_ERROR: "check the host in rules/services/, and the resolver",
    Code.TLS_CERT: "if that is its certificate, put the root into certs/upstream/",
}


def origins(services: Iterable[Service]) -> Iterator[tuple[str, Origin]]:
    """Every origin that can be dialled, with its service's name; a wildcard names no host to dial."""
    for service in services:
        for scheme, port, name in service.origins():
            host = parse_host(f"[{name}]".encode() if ":" in name else name.encode())
            if isinstance(host, Host):
                yield service.name, Origin(scheme, host, port)


async def check_reach(
    found: Iterable[tuple[str, Origin]], settings: Settings, roots: Path | None, progress: Callable[[], None]
) -> list[Finding]:
    """Dial every origin once, some at a time; ``progress`` is called after each."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop.time)
    allowed = [AllowPrivate(rule.host, rule.cidr, rule.port) for rule in settings.upstream.allow_private]
    dialer = Dialer(
        SystemResolver(settings.upstream.hosts),
        upstream_context(roots),
        deadlines,
        allowed,
        min(settings.upstream.connect_timeout, _CONNECT_S),
        frozenset,
    )
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(service: str, origin: Origin) -> Finding:
        async with gate:
            finding = await _reach(dialer, service, origin)
        progress()
        return finding

    sweeper = loop.create_task(_sweep(deadlines))
    try:
        return list(await asyncio.gather(*(one(service, origin) for service, origin in found)))
    finally:
        sweeper.cancel()


async def _sweep(deadlines: Deadlines) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        deadlines.sweep()


async def _reach(dialer: Dialer, service: str, origin: Origin) -> Finding:
    what = f"service {service}"
    where = f"{origin.scheme}://{origin.host.bracketed}:{origin.port}"
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(_LONGEST_S):
            dialled = await dialer.dial(origin)
    except TimeoutError:
        return fail(what, f"{where} gave no answer in {_LONGEST_S:g} s", "check the network and the resolver")
    if isinstance(dialled, Refusal):
        return fail(what, f"{where}: {dialled.detail}", _fix(dialled))
    return ok(what, f"{where} {_described(dialled)}, {(loop.time() - began) * 1000:.0f} ms")


def _fix(refusal: Refusal) -> str:
    """What the operator can do; a refusal's own advice is for agents."""
    if refusal.meaning.proxy_status == "destination_ip_prohibited":
        return "if that is meant, list host, CIDR and port in upstream.allow_private"
    return _FIX.get(refusal.code, "check the network between here and there")


def _described(dialled: Upstream) -> str:
    dialled.wire.abort()
    tls = f" with {dialled.link.tls}" if dialled.link.tls else ""
    return f"at {dialled.link.ip}{tls}"
