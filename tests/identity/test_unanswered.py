"""Whoever nobody answers for has no standing task: the refusal says what is lacking, not that no task was named."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.errors import Code
from proxy.identity.arrival import Arrival, Fixed
from proxy.identity.attribution import Attributor
from proxy.identity.jws import VerifyingKeys
from proxy.identity.principal import Agent
from proxy.identity.proof import Trust
from proxy.identity.registry import Registry

NOW = 1_800_000_000


class NoForeignKeys:
    def get(self, issuer):
        return None


def refusal(environment: str, business: str, data: str):
    registry = Registry.of([Agent("coder", environment, "2", business, data)])
    keys = VerifyingKeys(Ed25519PrivateKey.generate().public_key())
    trust = Trust(keys, "iss", "aud", {}, frozenset(), "", NoForeignKeys())
    arrival = Arrival("127.0.0.1:40000", "127.0.0.1", fixed=Fixed("coder", ""))
    return Attributor(trust, registry, {}).attribute(arrival, None, NOW).refusal


@pytest.mark.parametrize(
    ("business", "data", "words"),
    [
        ("", "grace", "business owner"),
        ("ada", "", "data owner"),
        ("", "", "business owner and no data owner"),
    ],
)
def test_in_production_the_reason_is_that_nobody_answers(business, data, words):
    told = refusal("production", business, data)
    assert told.code is Code.AGENT_UNOWNED
    assert told.detail.startswith(f"coder has no {words}, and in production")


def test_anywhere_else_and_with_owners_it_is_that_no_task_was_named():
    assert refusal("staging", "", "").code is Code.TASK_UNKNOWN
    assert refusal("production", "ada", "grace").code is Code.TASK_UNKNOWN
