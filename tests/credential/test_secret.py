import ast
import copy
import pickle
from pathlib import Path

import pytest

from proxy.credential.secret import Secret
from proxy.errors import Code, Refusal

ROOT = Path(__file__).parents[2]
VALUE = b"hunter2hunter2"


def test_its_value_leaves_by_one_method_only():
    secret = Secret("bot", VALUE)
    assert secret.reveal() == VALUE
    assert repr(secret) == "Secret(bot)"
    assert repr([secret]) == "[Secret(bot)]"


@pytest.mark.parametrize(
    "use",
    [str, "{}".format, lambda secret: f"{secret!s}", lambda secret: f"{secret:>9}", lambda secret: "%s" % secret,  # noqa: UP031
     pickle.dumps, copy.copy, copy.deepcopy, bytes, lambda secret: secret.__getstate__(), vars],
)  # fmt: skip
def test_it_has_no_other_form(use):
    with pytest.raises(TypeError) as caught:
        use(Secret("bot", VALUE))
    assert VALUE.decode() not in str(caught.value)


def test_it_compares_by_identity():
    one, other = Secret("bot", VALUE), Secret("bot", VALUE)
    assert one == one  # noqa: PLR0124 - identity is what is tested
    assert one != other
    assert len({one, other}) == 2


@pytest.mark.parametrize("value", [b"", b"a\rb", b"a\n", b"\0"])
def test_what_could_split_a_header_is_no_secret(value):
    refusal = Secret.of("bot", value)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.CREDENTIAL_UNAVAILABLE
    with pytest.raises(ValueError, match="bot is empty or holds CR, LF or NUL"):
        Secret("bot", value)


def test_of_gives_the_secret():
    secret = Secret.of("bot", VALUE)
    assert isinstance(secret, Secret)
    assert (secret.name, secret.reveal()) == ("bot", VALUE)


def test_only_swap_calls_reveal():
    callers = set()
    for path in (ROOT / "proxy").rglob("*.py"):
        names = {
            node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
        }
        if "reveal" in names or ("_value" in names and "credential" in path.parts):
            callers.add(path.relative_to(ROOT).as_posix())
    assert callers == {"proxy/credential/swap.py", "proxy/credential/secret.py"}
