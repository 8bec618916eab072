"""Whether a log is being written."""

import pytest

from proxy.store.in_use import in_use
from proxy.store.log import TiledLog


def test_a_log_is_in_use_while_it_is_open(tmp_path):
    assert not in_use(tmp_path / "none")
    log = TiledLog.open(tmp_path / "log", origin="o", signer_seed=bytes(32))
    assert in_use(tmp_path / "log")
    log.close()
    assert not in_use(tmp_path / "log")


def test_what_cannot_be_found_out_is_said(tmp_path):
    (tmp_path / "log").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        in_use(tmp_path / "log")
