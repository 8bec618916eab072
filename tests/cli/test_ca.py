"""``gatepass ca export``: the certificate, never the key."""

import json

import pytest
from cryptography import x509
from typer.testing import CliRunner

from proxy.cli.ca import app
from proxy.store.keyring import Keyring

RUNNER = CliRunner()


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no gatepass.yaml is
    return tmp_path / "state"


def export(state, *arguments):
    return RUNNER.invoke(app, ["export", "--state", str(state), *arguments])


def test_the_certificate_is_printed_and_made_at_need(state):
    first = export(state)
    assert first.exit_code == 0
    assert first.stdout.encode() == Keyring.open(state).ca_pem == export(state).stdout.encode()
    assert "PRIVATE" not in first.stdout


def test_out_writes_a_file_and_prints_nothing(state, tmp_path):
    result = export(state, "--out", str(tmp_path / "ca.pem"))
    assert result.stdout == ""
    assert (tmp_path / "ca.pem").read_bytes() == Keyring.open(state).ca_pem


def test_the_bundle_ends_with_our_certificate(state):
    result = export(state, "--bundle")
    keyring = Keyring.open(state)
    assert result.stdout.encode().endswith(keyring.ca_pem)
    assert result.stdout.encode() == keyring.bundle_path.read_bytes()


def test_json(state, tmp_path):
    out = tmp_path / "ca.pem"
    facts = json.loads(export(state, "--json", "--out", str(out)).stdout)
    certificate = x509.load_pem_x509_certificate(facts["pem"].encode())
    assert certificate == Keyring.open(state).ca_cert
    assert facts["file"] == str(out)
    assert facts["subject"] == certificate.subject.rfc4514_string()
    assert len(facts["sha256"]) == 64
    assert facts["not_after"].endswith("Z")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--out", "/nonexistent/ca.pem"), "cannot be written"), (("--config", "none.yaml"), "cannot be read")],
)
def test_what_cannot_be_done_is_one_line_and_status_2(state, arguments, words):
    result = export(state, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_exposed_key_is_one_line_and_status_2(state):
    Keyring.open(state)
    (state / "keys" / "ca.key").chmod(0o644)
    result = export(state)
    assert result.exit_code == 2
    assert "chmod 600" in result.stderr
    assert len(result.stderr.splitlines()) == 1
