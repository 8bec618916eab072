"""Java's trust store: whatever the installed library can write, and only when the bundle has changed."""

import os
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from proxy.store.keyring import Keyring, system_roots
from proxy.store.truststore import PASSWORD, java_truststore

CAN = hasattr(pkcs12, "serialize_java_truststore")


@pytest.fixture
def bundle(tmp_path):
    keyring = Keyring.open(tmp_path / "state")
    keyring.bundle(system_roots())
    return keyring.bundle_path


@pytest.mark.skipif(CAN, reason="this cryptography can write one")
def test_without_the_library_there_is_none(bundle):
    assert java_truststore(bundle) is None
    assert not bundle.with_suffix(".p12").exists()


@pytest.mark.skipif(not CAN, reason="this cryptography cannot write one")
def test_it_is_written_anew_with_the_bundle_only(bundle):
    path = java_truststore(bundle)
    first = path.read_bytes()
    assert java_truststore(bundle).read_bytes() == first
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(bundle, ns=(later, later))
    assert java_truststore(bundle).read_bytes() != first
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(
    not CAN or not shutil.which("keytool"), reason="needs keytool and a library that can write one"
)
def test_java_reads_it(bundle):
    path = java_truststore(bundle)
    shown = subprocess.run(
        ["keytool", "-list", "-keystore", path, "-storetype", "PKCS12", "-storepass", PASSWORD],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    count = bundle.read_bytes().count(b"BEGIN CERTIFICATE")
    assert f"Your keystore contains {count} entries" in shown.stdout


def test_what_is_no_certificate_is_left_out(bundle):
    bundle.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert java_truststore(bundle) is None, "nobody is trusted, so there is no store"
