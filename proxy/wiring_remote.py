"""A decision point elsewhere, joined: rules in force say what is known of a call, it whether it may."""

import ssl
from collections.abc import Callable

from proxy.broker.remote_pdp import RemotePdp
from proxy.policy.decision import Pdp
from proxy.policy.elsewhere import Elsewhere
from proxy.settings import PolicySettings
from proxy.wiring_rules import Rulebook


def remote_pdp(
    settings: PolicySettings, rulebook: Rulebook, context: ssl.SSLContext, alarm: Callable[[str], None]
) -> RemotePdp | None:
    """Whoever decides instead of the rules in process, if somebody is configured to and there are rules.

    ``context`` is the TLS towards it. Call it on the event loop.

    :raises ValueError: its URL is none.
    """
    engine, current = settings.engine, rulebook.current.ruleset
    if engine is None or current is None:
        return None
    # Here, not above: a sidecar that decides itself does without it.
    from proxy.broker.pdp_client import PdpClient  # noqa: PLC0415

    client = PdpClient(engine.url, context)
    return RemotePdp(
        engine.kind,
        engine.url,
        client,
        lambda: rulebook.current.ruleset or current,
        alarm,
        timeout=engine.timeout,
        token=engine.token,
    )


def deciding(rulebook: Rulebook, remote: RemotePdp | None) -> Callable[[], Pdp]:
    """The rules that a call is classified, and unless somebody else does it, decided by."""
    if remote is None:
        return lambda: rulebook.current.pdp
    return lambda: Elsewhere(rulebook.current.pdp)
