"""Whether agents can come in: addresses that are free, sockets that can be made, certificates that hold."""

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from proxy.cli.config import where
from proxy.cli.finding import Finding, fail, ok, warn
from proxy.engine.client_trust import revocation_lists
from proxy.engine.own_certificate import from_pem
from proxy.settings import IdentitySettings, Listen, ListenTls
from proxy.store.in_use import in_use

_LONGEST_PATH = 107  # octets: sockaddr_un(7), less the NUL
_SOON = timedelta(days=30)
_END_OF_LIST = b"-----END X509 CRL-----\n"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_listeners(listen: Sequence[Listen], identity: IdentitySettings, state: Path) -> Iterator[Finding]:
    """Whether each listener can be opened, or is open already in a sidecar of this state directory."""
    for listener in listen:
        yield _unix(listener.unix, state) if listener.unix is not None else _tcp(listener, state)
        if listener.tls is not None:
            yield from _tls(f"listen {where(listener)}", listener.tls, identity)


def _tcp(listener: Listen, state: Path) -> Finding:
    what = f"listen {where(listener)}"
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    try:
        with socket.create_server((listener.host, listener.port), family=family):
            return ok(what, "free")
    except OSError as error:
        if error.errno == errno.EADDRINUSE and in_use(state / "log"):
            return ok(what, "taken; a sidecar of this state directory is running")
        words = os.strerror(error.errno) if error.errno else str(error)
        return fail(what, f"cannot be used: {words}", "choose another address in `listen`")


def _unix(name: str, state: Path) -> Finding:
    what, path = f"listen unix:{name}", Path(name)
    if len(os.fsencode(name)) > _LONGEST_PATH:
        return fail(what, f"a socket's path has {_LONGEST_PATH} octets at most", "choose a shorter path")
    if not path.parent.is_dir():
        return fail(what, f"there is no directory {path.parent}", f"mkdir {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return fail(what, f"{path.parent} cannot be written", "choose a directory of gatepass's own user")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return ok(what, "free")
    if not stat.S_ISSOCK(mode):
        return fail(what, "is not a socket, and gatepass does not replace it", "choose another path")
    if in_use(state / "log"):
        return ok(what, "taken; a sidecar of this state directory is running")
    return ok(what, "left behind by a sidecar that ended; the next one replaces it")


def _tls(what: str, tls: ListenTls, identity: IdentitySettings) -> Iterator[Finding]:
    if tls.trust_domain not in {domain.name for domain in identity.trust_domains}:
        words = f"nobody can connect: {tls.trust_domain} is not among identity.trust_domains"
        yield fail(what, words, "describe the trust domain, or correct its name")
    if tls.workload_api:
        if identity.workload_api is None:
            words = "it is to show an SVID, and identity.workload_api is not set"
            yield fail(what, words, "set identity.workload_api, or name a certificate")
    elif tls.certificate is None or tls.key is None:
        yield ok(what, f"gatepass's own CA signs for {', '.join(tls.names)}")
    else:
        yield from _certificate(what, Path(tls.certificate), Path(tls.key))
    if tls.crl is not None:
        yield _crl(what, Path(tls.crl))


def _certificate(what: str, certificate: Path, key: Path) -> Iterator[Finding]:
    try:
        leaf = from_pem(certificate.read_bytes(), key.read_bytes())
        if key.stat().st_mode & _OTHERS:
            yield warn(what, f"{key} can be read by others", f"chmod 600 {key}")
    except OSError as error:
        yield fail(
            what, f"{error.filename} cannot be read: {error.strerror}", "make it readable for gatepass"
        )
        return
    except ValueError as error:
        yield fail(what, f"{certificate} and {key}: {error}", "name a chain and its key, both PEM")
        return
    begin, end, now = leaf.not_before, leaf.not_after, datetime.now(UTC)
    words = f"valid until {end:%Y-%m-%d %H:%M}Z"
    if not begin <= now < end:
        yield fail(
            what, f"its certificate is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d}", f"renew {certificate}"
        )
    elif end - now < min(_SOON, (end - begin) / 3):  # what lives for a day is renewed within it
        yield warn(what, words, f"renew {certificate}")
    else:
        yield ok(what, words)


def _crl(what: str, file: Path) -> Finding:
    """A list that is out of date refuses every client (RFC 5280, 5.1.2.5)."""
    try:
        blocks = revocation_lists(file.read_bytes()).split(_END_OF_LIST)[:-1]
        lists = [x509.load_pem_x509_crl(block + _END_OF_LIST) for block in blocks]
    except OSError as error:
        return fail(what, f"{file} cannot be read: {error.strerror}", "make it readable for gatepass")
    except ValueError as error:
        return fail(what, f"{file}: {error}", "name a PEM file with the lists of every issuer")
    end = min((one.next_update_utc for one in lists if one.next_update_utc is not None), default=None)
    if end is not None and end < datetime.now(UTC):
        return fail(
            what, f"{file} is out of date since {end:%Y-%m-%d %H:%M}Z: nobody can connect", "renew it"
        )
    return ok(what, f"{file} lists {sum(map(len, lists))} certificates that are revoked")
