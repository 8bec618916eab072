"""Where the rules come from, as configured. Reading them is the store's (``read_rules``)."""

from proxy.cli.config import Config
from proxy.problems import Problem
from proxy.store.rule_files import read_rules
from proxy.wiring_rules import Source

__all__ = ["read_rules", "source_of"]


def source_of(config: Config) -> Source | Problem | None:
    """The directories and the signer; None if there is no directory of rules."""
    if config.rules is None:
        return None
    settings = config.settings
    issuers = (issuer.name for issuer in settings.identity.issuers)
    return Source.of(config.rules.absolute(), settings.policy, issuers)
