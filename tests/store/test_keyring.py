"""The keyring: made once, the same for everyone, for no one else's eyes."""

import multiprocessing
import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.identity.claims import SessionClaims
from proxy.identity.jws import SignedClaims, sign_session, verify_session
from proxy.store.keyring import KeyExposed, Keyring, KeyringError, system_roots

KEYS = ("ca.key", "ca.crt", "session.key", "log.seed")


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def content(state: Path) -> dict[str, bytes]:
    return {name: (state / "keys" / name).read_bytes() for name in KEYS}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_the_keys_and_the_next_loads_them(state):
    first, before = Keyring.open(state), content(state)
    second = Keyring.open(state)
    assert content(state) == before
    assert second.ca_cert == first.ca_cert
    assert second.log_seed == first.log_seed
    assert (second.id, second.issuer, second.audience) == (first.id, first.issuer, first.audience)
    assert second.session_key.key_id == first.session_key.key_id


def test_two_sidecars_share_no_key_and_no_name(tmp_path):
    one, other = Keyring.open(tmp_path / "a"), Keyring.open(tmp_path / "b")
    assert one.log_seed != other.log_seed
    assert one.issuer != other.issuer
    assert one.audience not in {one.issuer, other.audience}
    assert not set(content(tmp_path / "a").values()) & set(content(tmp_path / "b").values())


def test_a_token_of_one_sidecar_means_nothing_to_another(tmp_path):
    one, other = Keyring.open(tmp_path / "a"), Keyring.open(tmp_path / "b")
    claims = SessionClaims(one.issuer, "coder", one.audience, "j", "t-a", 1000, 2000, ())
    token = sign_session(claims, one.session_key).encode()
    for keyring, expected in ((one, True), (other, False)):
        found = verify_session(
            token, keyring.verifying_keys, issuer=one.issuer, audience=one.audience, now=1000
        )
        assert isinstance(found, SignedClaims) is expected


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(state, umask):
    before = os.umask(umask)
    try:
        Keyring.open(state).bundle(b"")
    finally:
        os.umask(before)
    assert mode(state / "keys") == 0o700
    assert {mode(state / "keys" / name) for name in KEYS} == {0o600}
    assert mode(state / "ca.pem") == mode(state / "ca-bundle.pem") == 0o644
    assert {path.name for path in (state / "keys").iterdir()} == set(KEYS)
    assert {path.name for path in state.iterdir()} == {"keys", "ca.pem", "ca-bundle.pem"}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602])
def test_a_key_that_others_could_read_or_replace_is_not_used(state, name, bits):
    Keyring.open(state)
    (state / "keys" / name).chmod(bits)
    with pytest.raises(KeyExposed, match=f"{name}.*chmod 600"):
        Keyring.open(state)


def test_a_directory_that_others_can_enter_is_not_used(state):
    Keyring.open(state)
    (state / "keys").chmod(0o750)
    with pytest.raises(KeyExposed, match="chmod 700"):
        Keyring.open(state)


def test_a_link_is_not_a_key(state, tmp_path):
    Keyring.open(state)
    seed = state / "keys" / "log.seed"
    seed.rename(tmp_path / "elsewhere")
    seed.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyringError, match=r"log\.seed"):
        Keyring.open(state)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize(
    "data", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_file_is_said_to_be_and_never_replaced(state, name, data):
    Keyring.open(state)
    path = state / "keys" / name
    path.write_bytes(data)
    with pytest.raises(KeyringError, match=f"{name}.*backup"):
        Keyring.open(state)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ca.key", Ed25519PrivateKey.generate()),
        ("ca.key", ec.generate_private_key(ec.SECP384R1())),
        ("session.key", ec.generate_private_key(ec.SECP256R1())),
    ],
)
def test_a_key_of_another_kind_is_not_used(state, name, key):
    Keyring.open(state)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (state / "keys" / name).write_bytes(pem)
    with pytest.raises(KeyringError, match=name):
        Keyring.open(state)


def test_a_lost_ca_key_is_not_silently_replaced(state):
    Keyring.open(state)
    (state / "keys" / "ca.key").unlink()
    with pytest.raises(KeyringError, match="belongs to another key"):
        Keyring.open(state)


def test_no_private_key_under_certs(tmp_path):
    with pytest.raises(KeyringError, match="certs"):
        Keyring.open(tmp_path / "certs" / "state")
    assert not list(tmp_path.rglob("*.key"))


def test_a_state_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyringError, match="cannot be made"):
        Keyring.open(tmp_path / "file" / "state")


def test_the_ca_certificate(state):
    keyring = Keyring.open(state)
    cert, now = keyring.ca_cert, datetime.now(UTC)
    basic = cert.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = cert.extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical
    assert usage.critical
    assert basic.value == x509.BasicConstraints(ca=True, path_length=0)
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert cert.not_valid_before_utc < now
    assert cert.not_valid_after_utc - cert.not_valid_before_utc <= timedelta(days=3650)
    assert keyring.id in cert.subject.rfc4514_string()
    assert cert.subject.rfc4514_string().startswith("CN=gatepass CA (")
    cert.verify_directly_issued_by(cert)
    assert (state / "ca.pem").read_bytes() == keyring.ca_pem


def test_the_bundle_is_the_system_s_roots_and_ours(state):
    keyring = Keyring.open(state)
    other = Keyring.open(state.with_name("other")).ca_pem
    for roots in (other, other.rstrip(b"\n")):
        bundle = keyring.bundle(roots)
        assert x509.load_pem_x509_certificates(bundle) == [
            x509.load_pem_x509_certificate(other),
            keyring.ca_cert,
        ]
        assert keyring.bundle_path.read_bytes() == bundle
    assert keyring.bundle(bundle) == bundle, "where our own bundle is the system's, it does not grow"
    assert keyring.bundle(b"") == keyring.ca_pem == keyring.bundle_path.read_bytes()


def test_a_public_copy_that_was_changed_is_put_right(state):
    keyring = Keyring.open(state)
    keyring.ca_path.write_bytes(b"another CA")
    Keyring.open(state)
    assert keyring.ca_path.read_bytes() == keyring.ca_pem


def test_the_system_s_roots_are_certificates():
    roots = system_roots()
    if roots:
        context = ssl.create_default_context(cadata=roots.decode())
        assert context.cert_store_stats()["x509_ca"] > 0


def test_a_spilled_file_is_private_and_gone_afterwards(state):
    keyring = Keyring.open(state)
    with keyring.spill(b"secret") as name:
        assert Path(name).read_bytes() == b"secret"
        assert mode(Path(name)) == 0o600
        assert Path(name).parent == state / "keys"
    assert not Path(name).exists()
    with pytest.raises(RuntimeError), keyring.spill(b"secret") as name:
        raise RuntimeError
    assert not Path(name).exists()


def test_repr_shows_no_key(state):
    keyring = Keyring.open(state)
    shown = repr(keyring)
    assert "PrivateKey" not in shown
    assert repr(keyring.log_seed) not in shown


def _open(state: Path, start, answers) -> None:
    start.wait()
    keyring = Keyring.open(state)
    answers.put((keyring.id, keyring.session_key.key_id, keyring.log_seed, keyring.ca_pem))


def test_processes_that_start_together_get_the_same_keys(state):
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(4), spawn.SimpleQueue()
    processes = [spawn.Process(target=_open, args=(state, start, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {answers.get() for _ in processes}
    for process in processes:
        process.join()
        process.close()
    assert len(found) == 1
    assert {path.name for path in (state / "keys").iterdir()} == set(KEYS)
