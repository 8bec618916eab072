"""The TLS of an ``https://`` proxy listener: who we are, whom we believe, and the handshake of each client.

Both sides change while the sidecar runs: certificates and trust bundles rotate. Each connection gets the
context that is right when it begins, and is turned away if the trust has changed by the end of its
handshake; connections that stand are ``identity``'s to judge, for each request, and are cut when a new
revocation list names their client.

Decided: the wire terminates this TLS itself, as it does inside CONNECT, instead of the event loop. So the
context is chosen for each connection, which is what rotation needs; both loops behave alike; directions
end one by one; and a handshake that fails is an error that says why, instead of noise on the loop.
"""

import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from proxy.engine.client_trust import ClientTrust, demand, named_by, revocation_lists
from proxy.engine.counted_alarm import CountedAlarm
from proxy.engine.leaf import Leaf
from proxy.engine.leaf_cache import Spill, anonymous_files, lent, server_context
from proxy.engine.own_certificate import OwnCertificate
from proxy.engine.reply import linger
from proxy.engine.watched import Watched
from proxy.engine.wire import Wire
from proxy.engine.wire_error import Cut, Expired, Gone
from proxy.identity.arrival import Certificate


class _Offer(NamedTuple):
    context: ssl.SSLContext
    own: Leaf
    trust: ClientTrust


class ListenerTls:
    """See the module. ``update`` must be called with the bundle's authorities before anybody can connect.

    ``crl`` is a PEM file, read again when it changes; without it a client's certificate may live for
    ``max_life`` seconds. ``spill`` is needed where there are no files in memory. ``now`` is in seconds and
    the clock of the wires' deadlines.

    :raises OSError: ``crl`` cannot be read. :raises ValueError: it holds no revocation list.
    """

    def __init__(
        self,
        trust_domain: str,
        own: OwnCertificate,
        *,
        crl: Path | None,
        spill: Spill,
        alarm: Callable[[str], None],
        now: Callable[[], float],
        max_life: int = 86_400,
    ) -> None:
        self._trust_domain = trust_domain
        self._max_life = max_life
        self._own = own
        self._authorities: tuple[bytes, ...] = ()
        self._crl = None if crl is None else Watched((crl,), lambda pem: revocation_lists(*pem), alarm)
        self._lists = None if self._crl is None else self._crl.current()
        self._spill = spill
        self._anonymous = anonymous_files()
        self._alarm = alarm
        self._refusals = CountedAlarm(alarm, now)
        self._now = now
        self._latest: _Offer | None = None

    def update(self, authorities: tuple[bytes, ...] | None) -> None:
        """From now on believe these authorities (DER) of the trust domain, and no others.

        None: the bundle was withdrawn; nobody can connect any more.
        """
        self._authorities = authorities or ()

    async def welcome(self, wire: Wire) -> Certificate | None:
        """Run the handshake; None: it failed, the client has its alert and the wire is closed.

        The caller sets the wire's deadline.
        """
        offer = self._offer()
        if offer is None:
            self._refusals.tell(f"{wire.peer} turned away: there is no certificate to show to it yet")
            wire.abort()
            return None
        try:
            await wire.secure(offer.context)
        except ssl.SSLError as error:
            self._refuse(wire, _words(error))
            await linger(wire, self._now)  # with what it sent unread, the alert would be lost
            return None
        except Expired:
            self._refuse(wire, "it took too long")
            wire.abort()
            return None
        except Gone:
            if wire.received:  # who connects and leaves only looks whether somebody listens
                self._refuse(wire, "the client left in the middle of it")
            wire.abort()
            return None
        except Cut:
            wire.abort()
            return None
        return self._believed(wire, offer.trust)

    def sweep(self) -> None:
        """Tell the operator what was counted; to be called now and then."""
        self._refusals.sweep()

    def newly_listed(self) -> Callable[[bytes], bool] | None:
        """Whom (DER) the revocation list names, if it is not what it was when this was last asked."""
        if self._crl is None or (lists := self._crl.current()) is self._lists:
            return None
        self._lists = lists
        return named_by(lists)

    def _believed(self, wire: Wire, trust: ClientTrust) -> Certificate | None:
        der = wire.tls.getpeercert(binary_form=True) if wire.tls is not None else None
        if der is None or self._trust() != trust:
            self._refuse(wire, "the trust bundle has changed in the meantime")
            wire.abort()
            return None
        with_crl = trust.crl is not None
        return Certificate(der, self._trust_domain, with_crl, self._max_life, trust.authorities)

    def _refuse(self, wire: Wire, why: str) -> None:
        self._refusals.tell(f"{wire.peer}: the TLS handshake failed: {why}")

    def _trust(self) -> ClientTrust:
        return ClientTrust(self._authorities, None if self._crl is None else self._crl.current())

    def _offer(self) -> _Offer | None:
        own, trust, latest = self._own.current(), self._trust(), self._latest
        if own is None:
            return None
        if latest is None or latest.own is not own or latest.trust != trust:
            context = server_context(own, self._spill, anonymous=self._anonymous)
            for unusable in demand(context, trust, self._lend):
                self._alarm(f"the bundle of {self._trust_domain}: cannot be used: {unusable}")
            self._latest = latest = _Offer(context, own, trust)
        return latest

    def _lend(self, data: bytes) -> AbstractContextManager[str]:
        return lent(data, self._spill, anonymous=self._anonymous)


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate is not accepted: {error.verify_message}"
    return (error.reason or "unknown").lower().replace("_", " ")
