"""Trust, for tests: whom an ``Attributor`` believes."""

from proxy.identity.keyset import KeySet
from proxy.identity.proof import Trust
from proxy.store.keyring import Keyring


class NoForeignKeys:
    """Nobody else issues tokens. Implements ``proof.ForeignKeys``."""

    def get(self, issuer: str) -> KeySet | None:
        return None


def sessions_of(keyring: Keyring) -> Trust:
    """Trust in the session tokens of one sidecar, and in nothing else."""
    return Trust(
        keyring.verifying_keys, keyring.issuer, keyring.audience, {}, frozenset(), "", NoForeignKeys()
    )
