"""Whether those can be believed who say who is calling: keys of issuers, bundles, orders, operators."""

import asyncio
import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from proxy.broker.guarded_http import GuardedHttp
from proxy.broker.key_document import Document, discover, read_file
from proxy.cli.config import Config
from proxy.cli.finding import Finding, fail, ok
from proxy.engine.dial import SystemResolver
from proxy.errors import Code, Refusal
from proxy.http.address import AllowPrivate
from proxy.identity.revocation_file import parse_revocations
from proxy.settings import IssuerSettings, Settings, TrustDomain
from proxy.wiring_control import token_path
from proxy.wiring_parts import upstream_context

_LONGEST_S = 10.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SOCKET = "unix://"


def check_control(settings: Settings, state: Path) -> Iterator[Finding]:
    """Whether operators are known, and the local admin token is nobody else's."""
    if settings.control.address is None:
        return
    known = {issuer.name for issuer in settings.identity.issuers}
    for operator in settings.control.operators:
        if operator.issuer not in known:
            words = f"identity.issuers has no {operator.issuer}, whose operators may use it"
            yield fail("control", words, "describe the issuer, or correct its name")
    file = token_path(state)
    try:
        exposed = [path for path in (file.parent, file) if path.stat().st_mode & _OTHERS]
    except FileNotFoundError:
        yield ok("control", f"no token yet; the first start makes {file}")
    except OSError as error:
        words = f"{error.filename} cannot be read: {error.strerror}"
        yield fail("control", words, f"run gatepass as the user who owns {state}")
    else:
        words = f"{exposed[0]} can be read by others: its token is known" if exposed else ""
        fix = f"remove {file.parent} and restart: a new token is made"
        yield fail("control", words, fix) if exposed else ok("control", f"the token is in {file}")


def check_revocations(settings: Settings) -> Iterator[Finding]:
    """Whether the revocation file can be read: a sidecar does not start without it."""
    if settings.identity.revocations is None:
        return
    file = Path(settings.identity.revocations)
    try:
        orders = parse_revocations(file.read_bytes(), str(file), 0)
    except OSError as error:
        yield fail(
            "revocations", f"{file} cannot be read: {error.strerror}", f"echo 'revocations: []' > {file}"
        )
        return
    if isinstance(orders, list):
        yield from (fail("revocations", str(problem), "correct the file") for problem in orders)
    else:
        yield ok("revocations", f"{file} holds {len(orders)} orders")


def check_workload_api(settings: Settings) -> Iterator[Finding]:
    """Whether there is something to ask for gatepass's own SVID and for bundles."""
    identity, what = settings.identity, "workload API"
    if identity.workload_api is not None:
        path = Path(identity.workload_api.removeprefix(_SOCKET))
        if find_spec("grpc") is None or find_spec("google.protobuf") is None:
            yield fail(what, "gatepass was installed without gRPC", "install gatepass[spiffe]")
        elif identity.workload_api.startswith(_SOCKET) and not path.is_socket():
            yield fail(what, f"there is no socket {path}", "start the SPIFFE agent, or correct the path")
        else:
            yield ok(what, identity.workload_api)
    for domain in identity.trust_domains:
        if domain.bundle is None and identity.workload_api is None:
            words = "it has no bundle, and identity.workload_api is not set: nobody of it is believed"
            yield fail(f"trust domain {domain.name}", words, "name its bundle, or set identity.workload_api")


async def check_keys_of_issuers(config: Config, *, offline: bool) -> list[Finding]:
    """Look for the keys of every issuer and trust domain as a sidecar does, behind the same guard.

    ``offline``: only those that are files.

    :raises OSError: the roots cannot be read. :raises ssl.SSLError: the roots cannot be used.
    """
    settings = config.settings
    sources: list[IssuerSettings | TrustDomain] = [
        *settings.identity.issuers,
        *settings.identity.trust_domains,
    ]
    wanted = [one for one in sources if _file(one) or (isinstance(one, IssuerSettings) and not offline)]
    if not wanted:
        return []
    allowed = [AllowPrivate(rule.host, rule.cidr, rule.port) for rule in settings.upstream.allow_private]
    http = GuardedHttp(SystemResolver(settings.upstream.hosts), upstream_context(config.roots), allowed)
    return list(await asyncio.gather(*(_keys(one, http) for one in wanted)))


def _file(source: IssuerSettings | TrustDomain) -> str | None:
    return source.keys if isinstance(source, IssuerSettings) else source.bundle


async def _keys(source: IssuerSettings | TrustDomain, http: GuardedHttp) -> Finding:
    what = f"{'issuer' if isinstance(source, IssuerSettings) else 'trust domain'} {source.name}"
    file = _file(source)
    found: Document | Refusal | None
    if file is not None:
        found = await read_file(file, bundle=isinstance(source, TrustDomain), known=None)
    else:
        assert isinstance(source, IssuerSettings), "a trust domain without a file is not asked for"
        found = await discover(source.issuer, http, asyncio.get_running_loop().time() + _LONGEST_S)
    assert found is not None, "no version of a file is known"
    if isinstance(found, Refusal):
        return fail(what, found.detail, _fix(found, file))
    keys, authorities = len(found.keys.keys), len(found.keys.authorities)
    words = f"{keys} keys" + (f", {authorities} authorities" if authorities else "")
    if not keys and not authorities:
        return fail(what, "it has no key that gatepass can verify with", "publish RSA, EC or Ed25519 keys")
    return ok(what, words)


def _fix(refusal: Refusal, file: str | None) -> str:
    if file is not None:
        return f"put a good copy at {file}"
    if refusal.meaning.proxy_status == "destination_ip_prohibited":
        return "if that is meant, list host, CIDR and port in upstream.allow_private"
    if refusal.code is Code.TLS_CERT:
        return "if that is its certificate, put the root into certs/upstream/"
    return "check identity.issuers, and the network between here and there"
