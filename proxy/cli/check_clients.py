"""Whether the variables of this shell lead clients through gatepass: proxy, exceptions, trust.

Nothing that is printed comes from a proxy variable's password: there may be a session token in it.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from proxy.cli.environment import BUNDLE, JAVA, NO_PROXY, NODE, PROXY
from proxy.cli.finding import Finding, fail, ok, warn

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SET = 'eval "$(gatepass task start)" sets them all'


def check_clients(
    environment: Mapping[str, str],
    listeners: Collection[tuple[str, int]],
    ca_pem: bytes | None,
    programs: Collection[str],
) -> Iterator[Finding]:
    """Look at the client variables.

    ``listeners`` are where gatepass listens; ``ca_pem`` is its certificate, None if there is none yet;
    ``programs`` are those of ``node`` and ``java`` that are installed.
    """
    given = {name: environment[name] for name in PROXY if environment.get(name)}
    if not given:
        yield ok("client variables", "none are set here; only an agent's shell needs them")
        return
    yield from _proxies(given, listeners)
    bypass = sorted({value for name in NO_PROXY if (value := environment.get(name))})
    if bypass:
        yield warn("NO_PROXY", f"calls to {', '.join(bypass)} go around gatepass", "unset NO_PROXY no_proxy")
    if "node" in programs and environment.get(NODE) != "1":
        yield warn(NODE, "Node's fetch ignores the proxy variables without it", f"export {NODE}=1")
    if "java" in programs and "proxyHost" not in environment.get(JAVA, ""):
        yield warn(JAVA, "Java ignores the proxy variables", _SET)
    yield from _trust(environment, ca_pem)


def _proxies(given: Mapping[str, str], listeners: Collection[tuple[str, int]]) -> Iterator[Finding]:
    strangers: dict[str, list[str]] = {}
    for name, value in given.items():
        place = _foreign(value, listeners)
        if place is not None:
            strangers.setdefault(place, []).append(name)
    for place, names in strangers.items():
        yield warn("proxy variables", f"{', '.join(names)} lead to {place}, which is not gatepass", _SET)
    absent = [name for name in PROXY if name not in given]
    if absent:
        words = f"{', '.join(absent)} not set: some clients read only that spelling"
        yield warn("proxy variables", words, _SET)
    if not strangers and not absent:
        yield ok("proxy variables", "all lead to gatepass")


def _foreign(url: str, listeners: Collection[tuple[str, int]]) -> str | None:
    """The host and port of a proxy that is not gatepass; None if it is."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return "something that is not a URL"
    # ``gatepass run`` listens on a port of its own; its URLs carry the user name "task".
    if (host, port) in listeners or (host in _LOOPBACK and parts.username == "task"):
        return None
    return f"{host}:{port}"


def _trust(environment: Mapping[str, str], ca_pem: bytes | None) -> Iterator[Finding]:
    missing = [name for name in BUNDLE if not environment.get(name)]
    files: dict[str, list[str]] = {}
    for name in BUNDLE:
        if value := environment.get(name):
            files.setdefault(value, []).append(name)
    bad = False
    for file, names in files.items():
        try:
            trusted = ca_pem is None or ca_pem.strip() in Path(file).read_bytes()
        except OSError as error:
            words, bad = f"{file} cannot be read: {error.strerror}", True
            yield fail("trust variables", f"{', '.join(names)}: {words}", _SET)
            continue
        if not trusted:
            bad = True
            words = f"{', '.join(names)}: {file} does not hold the CA of gatepass"
            yield fail("trust variables", words, "gatepass ca export --bundle --out FILE")
    if missing:
        yield warn("trust variables", f"not set: {', '.join(missing)}", _SET)
    elif not bad:
        yield ok("trust variables", "all name a bundle with the CA of gatepass")
