import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit import Malformed
from proxy.audit.checkpoint import Checkpoint, opened
from proxy.audit.note import Signer

SIGNER = Signer("log.example/a", b"\x01" * 32)
ROOT = base64.b64encode(b"\x05" * 32).decode()


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_reads_back(size, root):
    checkpoint = Checkpoint(SIGNER.vkey.name, size, root)
    assert Checkpoint.parse(checkpoint.format()) == checkpoint
    assert opened(checkpoint.sign(SIGNER), SIGNER.vkey) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n",
        "o\n1\n",
        f"o\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"o\n01\n{ROOT}\n",
        f"o\n+1\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n\u0661\n{ROOT}\n",
        f"o\n1\n{ROOT}\next\n",
        f"o\n1\n{ROOT}\n\n",
        f"o\n1\n{ROOT[:-4]}\n",
        f"o\n1\n {ROOT}\n",
        f"o\n1\r\n{ROOT}\n",
        f"o\n{'9' * 5000}\n{ROOT}\n",
        "o\n1\né\n",
    ],
)
def test_what_is_no_checkpoint(text):
    with pytest.raises(Malformed):
        Checkpoint.parse(text)


def test_a_checkpoint_of_another_log_is_refused():
    other = Checkpoint("log.example/b", 1, b"\x05" * 32)
    with pytest.raises(Malformed, match="another log"):
        opened(other.sign(SIGNER), SIGNER.vkey)


def test_a_checkpoint_of_another_key_is_refused():
    forged = Checkpoint(SIGNER.vkey.name, 1, b"\x05" * 32).sign(Signer(SIGNER.vkey.name, b"\x02" * 32))
    with pytest.raises(Malformed, match="not valid"):
        opened(forged, SIGNER.vkey)
