"""How each system is started: its own CA, trust in the API's CA, and a configuration its manual recommends.

The API's name, ``api.bench.test``, is in no DNS. gatepass and squid get it as a static name; mitmdump
has no such setting, so it is asked for ``localhost``, which the API's certificate names too. Nothing
is resolved over the network for any of them.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench import mint
from bench.calls import Route, trusting
from bench.machine import Cores, Failed, free_port, running

SQUID = Path("/usr/sbin/squid")
CERTGEN = Path("/usr/lib/squid/security_file_certgen")


@dataclass(frozen=True, slots=True)
class Bed:
    """What every system finds: a directory, the API, the link to it, whom to trust, the API's key."""

    directory: Path
    cores: Cores
    api_port: int
    link_port: int
    roots: Path
    api_key: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A system that runs; ``route`` says how a call to one of the API's ports goes. No proxy, no ``pid``."""

    route: Callable[[int], Route]
    pid: int | None
    start_ms: float | None


@dataclass(frozen=True, slots=True)
class System:
    """A system under comparison. ``missing`` says why it cannot run here, or None."""

    name: str
    missing: Callable[[], str | None]
    start: Callable[[Bed], AbstractContextManager[Standing]]


def headers(host: str, port: int, bearer: str) -> bytes:
    return f"Host: {host}:{port}\r\nAuthorization: Bearer {bearer}\r\n".encode()


def tunnel(host: str, port: int, *more: str) -> bytes:
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}", *more, "", ""]
    return "\r\n".join(lines).encode()


@contextlib.contextmanager
def direct(bed: Bed) -> Iterator[Standing]:
    """No proxy."""
    trust = trusting(bed.roots)
    yield Standing(
        lambda port: Route(port, None, mint.HOST, trust, headers(mint.HOST, port, bed.api_key)), None, None
    )


def _mitmdump_program() -> Path:
    return Path(sys.executable).with_name("mitmdump")


@contextlib.contextmanager
def mitmdump(bed: Bed) -> Iterator[Standing]:
    """``mitmdump -q``, no addons of ours; large bodies streamed, or it would hold downloads in memory."""
    directory = bed.directory / "mitmdump"
    directory.mkdir(exist_ok=True)
    listen = free_port()
    command: list[str | Path] = [
        _mitmdump_program(), "-q", "--listen-host", "127.0.0.1", "--listen-port", str(listen),
        "--set", f"confdir={directory}",
        "--set", f"ssl_verify_upstream_trusted_ca={bed.roots}",
        "--set", "connection_strategy=lazy",
        "--set", "stream_large_bodies=1m",
    ]  # fmt: skip
    with running(command, listen, bed.cores.proxy, directory / "log") as started:
        trust = trusting(directory / "mitmproxy-ca-cert.pem")

        def route(port: int) -> Route:
            connect = tunnel("localhost", port)
            return Route(listen, connect, "localhost", trust, headers("localhost", port, bed.api_key))

        yield Standing(route, started.process.pid, started.start_ms)


SQUID_CONF = """\
http_port 127.0.0.1:{listen} ssl-bump tls-cert={ca} generate-host-certificates=on \\
    dynamic_cert_mem_cache_size=4MB
sslcrtd_program {certgen} -s {directory}/leaves -M 4MB
sslcrtd_children 1 startup=1
tls_outgoing_options cafile={roots}
acl hello at_step SslBump1
ssl_bump peek hello
ssl_bump bump all
http_access allow all
hosts_file {directory}/hosts
cache deny all
access_log none
cache_log {directory}/cache.log
pid_filename {directory}/squid.pid
coredump_dir {directory}
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname bench
cache_effective_user {user}
"""


@contextlib.contextmanager
def squid(bed: Bed) -> Iterator[Standing]:
    """Squid with ssl-bump (peek at the hello, then bump), its cache and its access log off."""
    directory = bed.directory / "squid"
    user = "proxy" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if not directory.exists():
        directory.mkdir()
        ca = mint.authority(directory, "squid-ca")
        (directory / "both.pem").write_bytes(ca.both)
        (directory / "hosts").write_text(f"127.0.0.1 {mint.HOST}\n")
        _prepare_squid(directory, user, bed)
    listen = free_port()
    conf = SQUID_CONF.format(
        listen=listen,
        ca=directory / "both.pem",
        certgen=CERTGEN,
        directory=directory,
        roots=bed.roots,
        user=user,
    )
    (directory / "squid.conf").write_text(conf)
    command: list[str | Path] = [SQUID, "-N", "-f", directory / "squid.conf"]
    with running(command, listen, bed.cores.proxy, directory / "log") as started:
        trust = trusting(directory / "squid-ca.pem")

        def route(port: int) -> Route:
            connect = tunnel(mint.HOST, port)
            return Route(listen, connect, mint.HOST, trust, headers(mint.HOST, port, bed.api_key))

        yield Standing(route, started.process.pid, started.start_ms)


def _prepare_squid(directory: Path, user: str, bed: Bed) -> None:
    """Make its store of leaves, and let it read what it needs after it has dropped its privileges."""
    made = subprocess.run(
        [CERTGEN, "-c", "-s", directory / "leaves", "-M", "4MB"], capture_output=True, check=False, timeout=30
    )
    if made.returncode:
        raise Failed(f"security_file_certgen: {(made.stderr or made.stdout).decode()[-300:]}")
    if os.geteuid() == 0:
        bed.directory.chmod(0o711)
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, user)


def _squid_missing() -> str | None:
    absent = [str(path) for path in (SQUID, CERTGEN) if not path.exists()]
    return f"not installed: {', '.join(absent)} (Debian: squid-openssl)" if absent else None


def _mitmdump_missing() -> str | None:
    program = _mitmdump_program()
    return None if program.exists() else f"not installed: {program}"


DIRECT = System("direct", lambda: None, direct)
MITMDUMP = System("mitmdump", _mitmdump_missing, mitmdump)
SQUID_SYSTEM = System("squid", _squid_missing, squid)
