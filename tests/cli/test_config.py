"""``gatepass.yaml``: every path in it is relative to it, whoever reads it from wherever."""

import json
from pathlib import Path

from proxy.cli.config import Config, load_config, missing, where
from proxy.settings import Listen, ListenTls, Settings

WRITTEN = {
    "state": "state",
    "listen": [
        {"unix": "run/agent.sock", "agent": "coder"},
        {
            "address": "127.0.0.1:0",
            "tls": {
                "trust_domain": "example.org",
                "certificate": "tls.pem",
                "key": "tls.key",
                "crl": "crl.pem",
            },
        },
        {"address": "[::1]:1", "tls": {"trust_domain": "example.org"}},
    ],
    "identity": {
        "issuers": [
            {"name": "a", "issuer": "https://a.test", "audiences": ["b"], "keys": "keys/a.json"},
            {"name": "b", "issuer": "https://b.test", "audiences": ["b"]},
        ],
        "trust_domains": [{"name": "example.org", "bundle": "bundle.pem"}, {"name": "example.com"}],
        "revocations": "../fleet/revocations.yaml",
    },
    "policy": {
        "shadow": "next",
        "engine": {"kind": "opa", "url": "https://opa.test/v1/data/x", "token": "opa.token"},
    },
}


def read(file: Path) -> Config:
    loaded = load_config(file)
    assert isinstance(loaded, Config), loaded
    return loaded


def test_every_file_it_names_is_relative_to_it(tmp_path, monkeypatch):
    (tmp_path / "deploy").mkdir()
    file = tmp_path / "deploy" / "gatepass.yaml"
    file.write_text(json.dumps(WRITTEN))
    base = str(tmp_path / "deploy")
    monkeypatch.chdir(tmp_path)
    for given in (file, Path("deploy/gatepass.yaml")):
        loaded = read(given)
        settings = loaded.settings
        assert loaded.state == tmp_path / "deploy" / "state"
        socket, tls, plain = settings.listen
        assert socket.unix == f"{base}/run/agent.sock"
        assert tls.tls is not None
        assert (tls.tls.certificate, tls.tls.key, tls.tls.crl) == tuple(
            f"{base}/{name}" for name in ("tls.pem", "tls.key", "crl.pem")
        )
        assert plain.tls is not None
        assert (plain.tls.certificate, plain.tls.key, plain.tls.crl) == (None, None, None)
        identity = settings.identity
        assert [issuer.keys for issuer in identity.issuers] == [f"{base}/keys/a.json", None]
        assert [domain.bundle for domain in identity.trust_domains] == [f"{base}/bundle.pem", None]
        assert identity.revocations == f"{base}/../fleet/revocations.yaml"
        policy = settings.policy
        assert policy.engine is not None
        assert (policy.shadow, policy.engine.token) == (f"{base}/next", f"{base}/opa.token")


def test_a_path_may_be_absolute_or_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    file = tmp_path / "gatepass.yaml"
    file.write_text(
        json.dumps({"listen": [{"unix": "~/a.sock"}], "identity": {"revocations": "/etc/r.yaml"}})
    )
    settings = read(file).settings
    assert settings.listen[0].unix == "/home/ada/a.sock"
    assert settings.identity.revocations == "/etc/r.yaml"


def test_what_is_not_said_stays_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = load_config(None)
    assert isinstance(loaded, Config)
    assert loaded.settings == Settings()
    assert missing(loaded) is None
    (tmp_path / "gatepass.yaml").write_text("rules: none\n")
    assert "there is no directory none" in str(missing(read(tmp_path / "gatepass.yaml")))


def test_where_a_listener_is_for_people():
    tls = ListenTls(trust_domain="example.org")
    assert where(Listen(address="127.0.0.1:1")) == "127.0.0.1:1"
    assert where(Listen(address="[::1]:1", tls=tls)) == "https://[::1]:1"
    assert where(Listen(unix="/run/a.sock")) == "unix:/run/a.sock"
