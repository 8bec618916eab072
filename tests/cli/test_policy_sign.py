"""Rules signed from the command line: what is written, and what is refused."""

import json
import shutil
import stat
import subprocess

import pytest
from typer.testing import CliRunner

from proxy.cli.policy import app
from proxy.policy.manifest import MANIFEST, SIGNATURE, Signed, check_signed
from proxy.policy.signature import PublicKey, parse_public_key, parse_secret_key
from proxy.settings import PolicySettings
from proxy.store.rule_files import read_all
from proxy.wiring_rules import Files, Source, read
from tests.support.demo_rules import permit, write_rules


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def keys(tmp_path):
    made = run("keygen", "--out", tmp_path / "keys", "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    return tmp_path / "keys" / "gatepass-rules.key", told["signer"]


def test_a_key_is_a_private_file_and_a_line_for_the_configuration(tmp_path, keys):
    secret, signer = keys
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    public = parse_public_key(signer)
    assert isinstance(public, PublicKey)
    assert parse_public_key((tmp_path / "keys/gatepass-rules.pub").read_text()) == public
    assert parse_secret_key(secret.read_bytes()).public == public
    assert PolicySettings(signer=signer).signer == signer
    told = run("keygen", "--out", tmp_path / "more")
    assert told.stdout.splitlines()[1] == "policy:"
    assert secret.read_text().splitlines()[1] not in told.output


def test_a_key_is_never_replaced_and_never_made_among_the_rules(tmp_path, keys):
    secret, _ = keys
    before = secret.read_bytes()
    again = run("keygen", "--out", secret.parent)
    assert (again.exit_code, "nothing was replaced" in again.stderr) == (2, True)
    assert secret.read_bytes() == before
    rules = write_rules(tmp_path / "rules")
    for place in (rules, rules / "policies", rules / "new" / "deep"):
        result = run("keygen", "--out", place)
        assert (result.exit_code, "lies in the rules" in result.stderr) == (2, True)
    assert not (rules / "new").exists()
    (tmp_path / "file").touch()
    assert run("keygen", "--out", tmp_path / "file" / "below").exit_code == 2


def test_signed_rules_are_taken_until_something_changes(tmp_path, keys):
    secret, signer = keys
    rules = write_rules(tmp_path / "rules")
    (rules / "README.md").write_text("read me")
    (rules / ".git").mkdir()
    (rules / ".git/HEAD").touch()
    result = run("sign", "--rules", rules, "--key", secret)
    assert result.exit_code == 0, result.output
    source = Source.of(rules, PolicySettings(signer=signer))
    assert isinstance(source, Source)
    files = read(source)
    assert isinstance(files, Files)
    assert isinstance(files.signed, Signed)
    assert files.signed.comment.endswith("file:MANIFEST\thashed")
    assert set(files.rules) == {"agents.yaml", "policies/test.cedar", "services/api.yaml"}
    again = run("sign", "--rules", rules, "--key", secret, "--json")
    assert json.loads(again.stdout) == {"rules": str(rules), "files": 4, "signer": signer}
    (rules / "README.md").write_text("changed")
    assert isinstance(read(source), list)


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed")
def test_minisign_and_sha256sum_check_what_we_sign(tmp_path, keys):
    secret, signer = keys
    rules = write_rules(tmp_path / "rules")
    assert run("sign", "--rules", rules, "--key", secret).exit_code == 0
    for command in (["minisign", "-V", "-P", signer, "-m", MANIFEST], ["sha256sum", "-c", MANIFEST]):
        told = subprocess.run(command, cwd=rules, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told
    (rules / SIGNATURE).unlink()
    signed = subprocess.run(
        ["minisign", "-S", "-H", "-s", secret, "-m", MANIFEST], cwd=rules, capture_output=True, check=False
    )
    assert signed.returncode == 0, signed
    public = parse_public_key(signer)
    assert isinstance(public, PublicKey)
    assert isinstance(check_signed(read_all(rules), public), Signed)


def test_what_cannot_be_loaded_is_not_signed(tmp_path, keys):
    secret, _ = keys
    rules = write_rules(tmp_path / "rules", policies=[permit("a"), permit("a")])
    result = run("sign", "--rules", rules, "--key", secret)
    assert (result.exit_code, "policies/test.cedar" in result.stderr) == (2, True)
    assert not (rules / MANIFEST).exists()
    (tmp_path / "empty").mkdir()
    assert "there are no rules" in run("sign", "--rules", tmp_path / "empty", "--key", secret).stderr
    assert run("sign", "--rules", tmp_path / "none", "--key", secret).exit_code == 2


def test_a_key_that_cannot_be_used_is_told(tmp_path, keys):
    secret, _ = keys
    rules = write_rules(tmp_path / "rules")
    missing = run("sign", "--rules", rules, "--key", tmp_path / "none")
    assert (missing.exit_code, "policy keygen" in missing.stderr) == (2, True)
    secret.chmod(0o644)
    assert "can be read by others" in run("sign", "--rules", rules, "--key", secret).stderr
    secret.chmod(0o600)
    inside = rules / "signing.key"
    shutil.copy(secret, inside)
    assert "lies in what it is to sign" in run("sign", "--rules", rules, "--key", inside).stderr
    inside.unlink()
    secret.write_text("untrusted comment: x\nnothing\n")
    assert "not a minisign secret key" in run("sign", "--rules", rules, "--key", secret).stderr
    assert not (rules / MANIFEST).exists()


def test_a_file_whose_name_cannot_be_listed_is_told(tmp_path, keys):
    secret, _ = keys
    rules = write_rules(tmp_path / "rules")
    (rules / "a\\b").touch()
    assert "neither a line feed nor a backslash" in run("sign", "--rules", rules, "--key", secret).stderr
