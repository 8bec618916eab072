"""Who may say who is calling: foreign issuers, trust domains and the SPIFFE Workload API, from settings."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from proxy.broker.guarded_http import GuardedHttp
from proxy.broker.jwks import IssuerKeys, Source
from proxy.broker.workload_api import WorkloadApi
from proxy.broker.workload_svid import Svid
from proxy.engine.leaf import Mint
from proxy.engine.listener_tls import ListenerTls
from proxy.engine.own_certificate import Minted, OwnCertificate, Pushed, from_files
from proxy.http.address import AllowPrivate
from proxy.identity.assertion import Issuer
from proxy.identity.keyset import KeySet
from proxy.identity.proof import Trust
from proxy.identity.spiffe import SCHEME
from proxy.ports import Clock, Resolver
from proxy.settings import IdentitySettings, Listen, ListenTls
from proxy.store.keyring import Keyring


def trust(settings: IdentitySettings, keyring: Keyring, keys: IssuerKeys) -> Trust:
    """Whom attribution believes."""
    issuers = {
        one.issuer: Issuer(one.name, one.issuer, one.audiences, frozenset(one.algorithms), one.max_lifetime)
        for one in settings.issuers
    }
    return Trust(
        session_keys=keyring.verifying_keys,
        session_issuer=keyring.issuer,
        session_audience=keyring.audience,
        issuers=issuers,
        trust_domains=frozenset(SCHEME + domain.name for domain in settings.trust_domains),
        audience=settings.audience or keyring.audience,
        keys=keys,
    )


def issuer_keys(
    settings: IdentitySettings,
    resolver: Resolver,
    context: ssl.SSLContext,
    allowed: Sequence[AllowPrivate],
    alarm: Callable[[str], None],
    events: Callable[[str, Mapping[str, object]], None],
) -> IssuerKeys:
    """The keys of every issuer and trust domain that is configured; nothing is fetched before ``start``."""
    sources = [Source(one.issuer, one.keys) for one in settings.issuers]
    sources += [Source(SCHEME + one.name, one.bundle, bundle=True) for one in settings.trust_domains]
    return IssuerKeys(
        sources,
        GuardedHttp(resolver, context, allowed),
        now=time.monotonic,
        alarm=alarm,
        events=events,
    )


class Foreign:
    """Everything that comes from other issuers, and the listeners that depend on it."""

    def __init__(
        self,
        keyring: Keyring,
        keys: IssuerKeys,
        identity: IdentitySettings,
        alarm: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self.keys = keys
        self._keyring = keyring
        self._alarm = alarm
        self._tls: list[tuple[str, ListenerTls]] = []  # by the trust domain's SPIFFE ID
        self._shown: list[Pushed] = []
        self._workload: WorkloadApi | None = None
        if identity.workload_api is not None:
            self._workload = WorkloadApi(
                identity.workload_api,
                clock=clock,
                on_identity=self._identity,
                on_bundle=self._bundle,
                alarm=alarm,
            )

    async def start(self) -> None:
        """Fetch what there is, and keep it fresh.

        :raises WorkloadApiMissing: if gatepass was installed without the extra ``spiffe``.
        """
        await self.keys.start()
        if self._workload is not None:
            await self._workload.start()

    async def close(self) -> None:
        """Stop."""
        if self._workload is not None:
            await self._workload.close()
        await self.keys.close()

    def tls(self, listen: Listen) -> ListenerTls | None:
        """The TLS of a listener, if it has any.

        :raises OSError: a file cannot be read. :raises ValueError: a file does not hold what it should.
        """
        wanted = listen.tls
        if wanted is None:
            return None
        domain = SCHEME + wanted.trust_domain
        made = ListenerTls(
            wanted.trust_domain,
            self._own(wanted),
            crl=None if wanted.crl is None else Path(wanted.crl),
            spill=self._keyring.spill,
            alarm=self._alarm,
            now=asyncio.get_running_loop().time,
            max_life=wanted.max_life,
        )
        self._tls.append((domain, made))
        self._refresh(domain)
        return made

    def keys_changed(self, issuer: str) -> None:
        """The keys of an issuer, or the bundle of a trust domain, are new."""
        self._refresh(issuer)

    def _own(self, wanted: ListenTls) -> OwnCertificate:
        if wanted.workload_api:
            shown = Pushed()
            self._shown.append(shown)
            return shown
        if wanted.certificate is not None and wanted.key is not None:
            return from_files(Path(wanted.certificate), Path(wanted.key), self._alarm)
        names = frozenset(wanted.names)
        mint = Mint(self._keyring.ca_key, self._keyring.ca_cert, names.__contains__)
        return Minted(mint, wanted.names, lambda: datetime.now(UTC), x509.random_serial_number)

    def _identity(self, svid: Svid | None) -> None:
        for shown in self._shown:
            if svid is None:
                shown.withdraw()
            else:
                shown.present(svid.chain_der, svid.key_pkcs8_der)

    def _bundle(self, domain: str, keys: KeySet | None) -> None:
        self.keys.put(domain, keys)
        self._refresh(domain)

    def _refresh(self, domain: str) -> None:
        keys = self.keys.get(domain)
        for name, tls in self._tls:
            if name == domain:
                tls.update(None if keys is None else keys.authorities)
