from pathlib import Path

from proxy.cli.state import state_dir


def test_where_the_state_is(monkeypatch, tmp_path):
    monkeypatch.delenv("GATEPASS_STATE", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_dir() == tmp_path / ".local" / "state" / "gatepass"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_dir() == tmp_path / ".local" / "state" / "gatepass"
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert state_dir() == Path("/var/state/gatepass")
    monkeypatch.setenv("GATEPASS_STATE", "/here")
    assert state_dir() == Path("/here")
