"""Certificates of connections that stand while the bundle of their trust domain rotates (X509-SVID, 5.1)."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.identity.arrival import Certificate
from proxy.identity.svid import still_believed
from tests.engine.svids import AGENT, DOMAIN, Authority, der, shown


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority()


OTHER = Authority()


def certificate(leaf: bytes, *believed: Authority) -> Certificate:
    return Certificate(leaf, DOMAIN, crl=False, authorities=tuple(map(der, believed)))


def test_a_leaf_of_an_authority_that_stays(root, tmp_path):
    leaf = shown(tmp_path, root).der
    for today in ((root,), (root, OTHER), (OTHER, root)):
        assert still_believed(certificate(leaf, root), list(map(der, today)))
        assert still_believed(certificate(leaf, root, Authority()), list(map(der, today)))


@pytest.mark.parametrize("today", [(), (OTHER,), (Authority("other.example"),)])
def test_a_leaf_of_an_authority_that_has_gone(root, tmp_path, today):
    leaf = shown(tmp_path, root).der
    for then in ((root,), (root, OTHER), ()):
        assert not still_believed(certificate(leaf, *then), list(map(der, today)))


def test_behind_an_intermediate_it_holds_until_an_authority_goes(root, tmp_path):
    below = Authority(name="below", above=root)
    leaf = shown(tmp_path, below, AGENT, below.certificate).der
    assert still_believed(certificate(leaf, root), [der(root), der(OTHER)])
    assert still_believed(certificate(leaf, root, OTHER), [der(below)])
    assert not still_believed(certificate(leaf, root, OTHER), [der(root)])
    assert not still_believed(certificate(leaf, root), [])


def test_rubbish_believes_nobody(root, tmp_path):
    shows = shown(tmp_path, root)
    key = root.certificate.public_bytes(Encoding.PEM)
    assert not still_believed(certificate(shows.der), [b"", b"rubbish", key, shows.der])
    assert not still_believed(certificate(b"rubbish"), [der(root)])
    assert not still_believed(certificate(b"rubbish"), [])
