"""The list of a directory's files, signed: nothing changed, nothing missing, nothing besides."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.manifest import MANIFEST, SIGNATURE, Signed, check_signed, manifest
from proxy.policy.signature import SecretKey, format_signature, sign

KEY = SecretKey(b"12345678", bytes(range(32)))
FILES = {
    "agents.yaml": b"agents: []\n",
    "policies/a.cedar": b"// a\n",
    "policies/b.cedar": b"",
    "README.md": b"r",
}

names = st.text(st.characters(codec="utf-8", exclude_characters="\n\\"), min_size=1, max_size=20)
sets = st.dictionaries(names, st.binary(max_size=20), max_size=6)


def signed(files, listed=None):
    text = manifest(files) if listed is None else listed
    return {**files, MANIFEST: text, SIGNATURE: format_signature(sign(text, KEY, "timestamp:1"))}


@given(sets)
def test_what_was_signed_is_accepted(files):
    assert check_signed(signed(files), KEY.public) == Signed(KEY.public.name, "timestamp:1")


@given(sets, sets)
def test_files_that_are_not_exactly_those_signed_are_refused(then, now):
    found = signed(then)
    checked = check_signed({**now, MANIFEST: found[MANIFEST], SIGNATURE: found[SIGNATURE]}, KEY.public)
    assert isinstance(checked, Signed) == (then == now)


def test_each_difference_is_named():
    found = signed(FILES)
    found["policies/a.cedar"] = b"// changed"
    found["policies/new.cedar"] = b"permit(principal, action, resource);"
    del found["README.md"]
    told = {problem.file: problem.message for problem in check_signed(found, KEY.public)}
    assert set(told) == {"policies/a.cedar", "policies/new.cedar", "README.md"}
    assert "changed after it was signed" in told["policies/a.cedar"]
    assert "not listed in MANIFEST" in told["policies/new.cedar"]
    assert "not there" in told["README.md"]
    assert all("gatepass policy sign" in words for words in told.values())


@pytest.mark.parametrize("missing", [MANIFEST, SIGNATURE])
def test_without_its_list_or_signature_it_is_refused(missing):
    found = signed(FILES)
    del found[missing]
    (problem,) = check_signed(found, KEY.public)
    assert (problem.file, "gatepass policy sign" in problem.message) == (missing, True)


def test_another_key_a_broken_signature_and_a_changed_list_are_refused():
    found = signed(FILES)
    stranger = SecretKey(b"87654321", bytes(32)).public
    (problem,) = check_signed(found, stranger)
    assert "policy.signer is" in problem.message
    (problem,) = check_signed({**found, SIGNATURE: b"rubbish"}, KEY.public)
    assert "four lines" in problem.message
    (problem,) = check_signed({**found, MANIFEST: found[MANIFEST][:-67]}, KEY.public)
    assert "does not fit" in problem.message


def test_a_list_in_another_order_is_refused_although_it_is_signed():
    lines = manifest(FILES).splitlines(keepends=True)
    (problem,) = check_signed(signed(FILES, b"".join(reversed(lines))), KEY.public)
    assert (problem.file, "order of the names" in problem.message) == (MANIFEST, True)


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "\udcff"])
def test_a_name_that_the_list_cannot_tell_is_refused(name):
    with pytest.raises(ValueError, match=r"neither|surrogates"):
        manifest({name: b""})
    found = signed(FILES)
    (problem,) = check_signed({**found, name: b""}, KEY.public)
    assert problem.file == MANIFEST


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_checks_the_list(tmp_path):
    (tmp_path / "policies").mkdir()
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / MANIFEST).write_bytes(manifest(FILES))
    told = subprocess.run(
        ["sha256sum", "--strict", "-c", MANIFEST], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout.count("OK")) == (0, len(FILES)), told
