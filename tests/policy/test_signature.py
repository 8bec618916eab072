"""The format of minisign, with minisign itself on the other side where there is one."""

import base64
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.signature import (
    PublicKey,
    SecretKey,
    Signature,
    format_public_key,
    format_secret_key,
    format_signature,
    parse_public_key,
    parse_secret_key,
    parse_signature,
    sign,
    verify,
)

KEY = SecretKey(b"\x01\x02\x03\x04\x05\x06\x07\x08", bytes(range(32)))
needs_minisign = pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed")

seeds = st.binary(min_size=32, max_size=32)
ids = st.binary(min_size=8, max_size=8)
comments = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]) | st.just("\t"), max_size=60).filter(
    lambda text: text.replace("\t", " ").isprintable()
)


@given(ids, seeds)
def test_keys_are_read_as_they_were_written(key_id, seed):
    key = SecretKey(key_id, seed)
    assert parse_secret_key(format_secret_key(key)) == key
    assert parse_public_key(format_public_key(key.public).decode()) == key.public
    assert parse_public_key(key.public.text) == key.public
    assert len(key.public.text) == 56


@given(ids, seeds, st.binary(max_size=200), comments)
def test_what_was_signed_verifies_and_its_file_reads_as_it_was_written(key_id, seed, data, comment):
    key = SecretKey(key_id, seed)
    signature = sign(data, key, comment)
    assert parse_signature(format_signature(signature)) == signature
    assert verify(data, signature, key.public) is None


@given(st.binary(max_size=300))
def test_rubbish_is_no_key_and_no_signature(data):
    assert isinstance(parse_signature(data), str)
    assert isinstance(parse_secret_key(data), str)
    assert isinstance(parse_public_key(data.decode("latin-1")), str)


@given(st.data())
def test_one_changed_bit_anywhere_in_the_signature_counts(data):
    signature = sign(b"rules", KEY, "timestamp:1\tfile:MANIFEST")
    names = ("key_id", "signature", "global_signature")
    name = data.draw(st.sampled_from(names))
    value = bytearray(getattr(signature, name))
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    parts = {part: getattr(signature, part) for part in (*names, "trusted_comment")} | {name: bytes(value)}
    assert verify(b"rules", Signature(**parts), KEY.public) is not None


def test_each_flaw_has_its_words():
    signature = sign(b"rules", KEY, "yes")
    assert "changed after signing" in verify(b"rule", signature, KEY.public)
    other = Signature(signature.key_id, signature.signature, "no", signature.global_signature)
    assert "trusted comment" in verify(b"rules", other, KEY.public)
    stranger = SecretKey(bytes(8), bytes(32)).public
    assert "signed with the key 0807060504030201" in verify(b"rules", signature, stranger)
    same_id = PublicKey(KEY.key_id, stranger.raw)
    assert "does not fit" in verify(b"rules", signature, same_id)


def test_a_signature_over_the_file_itself_is_not_taken():
    lines = format_signature(sign(b"rules", KEY, "x")).decode().splitlines()
    body = base64.b64decode(lines[1])
    lines[1] = base64.b64encode(b"Ed" + body[2:]).decode()
    assert "old kind" in parse_signature("\n".join(lines).encode())
    lines[1] = base64.b64encode(b"XX" + body[2:]).decode()
    assert "unknown algorithm" in parse_signature("\n".join(lines).encode())
    assert "second or fourth" in parse_signature("\n".join([*lines[:3], "AAAA"]).encode())


def test_a_file_may_have_windows_lines_and_nothing_else_besides():
    text = format_signature(sign(b"rules", KEY, "x"))
    assert isinstance(parse_signature(text.replace(b"\n", b"\r\n")), Signature)
    assert isinstance(parse_signature(text + b"more\n"), str)
    assert isinstance(parse_signature(text + b" " * 5_000), str)


def test_a_comment_that_is_more_than_a_line_is_not_signed():
    with pytest.raises(ValueError, match="one printable line"):
        sign(b"", KEY, "a\nb")


def test_a_secret_key_shows_nothing_of_itself():
    assert repr(KEY.seed) not in repr(KEY)
    comment, line = format_secret_key(KEY).decode().splitlines()

    def changed(at, octets):
        raw = bytearray(base64.b64decode(line))
        raw[at : at + len(octets)] = octets
        return f"{comment}\n{base64.b64encode(raw).decode()}\n".encode()

    assert "damaged" in parse_secret_key(changed(62, b"another seed"))
    assert "under a password" in parse_secret_key(changed(2, b"Sc"))


def run(*arguments):
    return subprocess.run(["minisign", *map(str, arguments)], capture_output=True, text=True, check=False)


@needs_minisign
def test_minisign_verifies_what_we_sign(tmp_path):
    data = tmp_path / "MANIFEST"
    data.write_bytes(b"x" * 100_000)
    signature = sign(data.read_bytes(), KEY, "timestamp:1790000000\tfile:MANIFEST\thashed")
    (tmp_path / "MANIFEST.minisig").write_bytes(format_signature(signature))
    (tmp_path / "key.pub").write_bytes(format_public_key(KEY.public))
    for key in (("-P", KEY.public.text), ("-p", tmp_path / "key.pub")):
        told = run("-V", *key, "-m", data)
        assert told.returncode == 0, told
        assert "file:MANIFEST" in told.stdout
    data.write_bytes(b"y")
    assert run("-V", "-P", KEY.public.text, "-m", data).returncode != 0


@needs_minisign
def test_we_verify_what_minisign_signs_and_read_its_keys(tmp_path):
    public, secret, data = tmp_path / "key.pub", tmp_path / "key.sec", tmp_path / "MANIFEST"
    made = run("-G", "-W", "-p", public, "-s", secret)
    assert made.returncode == 0, made
    data.write_bytes(b"rules")
    assert run("-S", "-s", secret, "-m", data, "-t", "hello there").returncode == 0
    key = parse_public_key(public.read_text())
    assert isinstance(key, PublicKey)
    assert key.name in public.read_text()
    signature = parse_signature((tmp_path / "MANIFEST.minisig").read_bytes())
    assert isinstance(signature, Signature), signature
    assert signature.trusted_comment == "hello there"
    assert verify(b"rules", signature, key) is None
    assert verify(b"ruler", signature, key) is not None
    ours = parse_secret_key(secret.read_bytes())
    assert isinstance(ours, SecretKey), ours
    assert ours.public == key
    assert run("-S", "-l", "-s", secret, "-m", data).returncode == 0
    assert "old kind" in parse_signature((tmp_path / "MANIFEST.minisig").read_bytes())


@needs_minisign
def test_minisign_signs_with_our_key(tmp_path):
    secret, data = tmp_path / "key.sec", tmp_path / "MANIFEST"
    secret.write_bytes(format_secret_key(KEY))
    data.write_bytes(b"rules")
    told = run("-S", "-s", secret, "-m", data)
    assert told.returncode == 0, told
    signature = parse_signature((tmp_path / "MANIFEST.minisig").read_bytes())
    assert isinstance(signature, Signature)
    assert verify(b"rules", signature, KEY.public) is None
