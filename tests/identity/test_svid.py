"""SPIFFE identities: hostile cases D2 and D3, and the reject list of SPIFFE IDs."""

import datetime as dt
import hashlib
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.identity.arrival import Certificate
from proxy.identity.assertion import SKEW_S, KeysWanted, SignedAssertion
from proxy.identity.keyset import KeySet, parse_bundle
from proxy.identity.principal import Actor, Evidence, Method
from proxy.identity.svid import MAX_SVID_S, trust_domain_of, verify_certificate, verify_jwt_svid
from tests.support.certificates import SpiffeAuthority, key_usage
from tests.support.issuer import ALGORITHMS, SmallIssuer, compact

NOW = 1_800_000_000
DOMAIN = "spiffe://example.org"
NAME = "spiffe://example.org/agent/coder"
AUDIENCE = "spiffe://example.org/egress/a"
SMALL = SmallIssuer(url=DOMAIN, audience=AUDIENCE, subject=NAME, now=NOW, use="jwt-svid")
BUNDLE = parse_bundle(SMALL.document())
REJECTED = [
    "spiffe://EXAMPLE.org/x",
    "SPIFFE://example.org/x",
    "spiffe://example.org",
    "spiffe://example.org/",
    "spiffe://example.org//x",
    "spiffe://example.org/x/",
    "spiffe://example.org/%41",
    "spiffe://u@example.org/x",
    "spiffe://example.org:8/x",
    "spiffe://example.org/x?y",
    "spiffe://example.org/x#y",
    "spiffe://example.org/./x",
    "spiffe://example.org/../x",
    "spiffe://example.org/" + "a" * (2049 - len("spiffe://example.org/")),
    "spiffe:///x",
    "https://example.org/x",
    "example.org/x",
    "",
]
FOREIGN = [
    "spiffe://other.org/agent/coder",
    "spiffe://example.org.evil.org/agent/coder",
    "spiffe://example.or/agent/coder",
    "spiffe://sub.example.org/agent/coder",
]


def verify(
    token: bytes, now: int = NOW, keys: KeySet | None = BUNDLE, domain: str = DOMAIN, audience=AUDIENCE
):
    return verify_jwt_svid(token, domain, keys, audience, now)


def code(result: object) -> object:
    """The code of the refusal, the key that is wanted, or None for an identity that holds."""
    if isinstance(result, Refusal):
        assert result.status == 407
        return result.code
    return None if isinstance(result, SignedAssertion) else result


def test_the_trust_domain_of_a_name():
    assert trust_domain_of(NAME) == DOMAIN
    assert [trust_domain_of(name) for name in REJECTED] == [""] * len(REJECTED)


class TestJwt:
    """JWT-SVIDs."""

    @pytest.mark.parametrize("domain", [DOMAIN, "example.org"])
    def test_what_was_signed_is_what_is_asserted(self, domain):
        token = SMALL.mint(iss=..., act={"sub": "alice"})
        found = verify(token, domain=domain)
        assert isinstance(found, SignedAssertion)
        assert (found.method, found.issuer, found.issuer_name) == (Method.JWT_SVID, DOMAIN, "example.org")
        assert (found.subject, found.not_before, found.expires_at) == (NAME, NOW, NOW + 600)
        assert found.actors == (Actor("alice", None),)
        assert found.claims["aud"] == AUDIENCE
        assert found.evidence == Evidence(
            Method.JWT_SVID,
            DOMAIN,
            key_id="ES256-0",
            token_id="token-1",
            token_sha256=hashlib.sha256(token.rpartition(b".")[0]).hexdigest(),
            keys_sha256=hashlib.sha256(SMALL.document()).hexdigest(),
        )

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_the_algorithms_of_the_specification(self, algorithm):
        small = replace(SMALL, algorithm=algorithm)
        expected = Code.IDENTITY_INVALID if algorithm == "EdDSA" else None
        assert code(verify(small.mint(), keys=parse_bundle(small.document()))) is expected

    FORGERIES = SMALL.forgeries()
    WRONG = SMALL.wrong()

    @pytest.mark.parametrize("name", FORGERIES)
    def test_forgeries_and_malformed_tokens_are_invalid(self, name):
        assert code(verify(self.FORGERIES[name])) is Code.IDENTITY_INVALID

    # The issuer of a JWT-SVID is its trust domain, iss says nothing, and iat may be absent.
    UNLIKE_OIDC = frozenset(name for name in WRONG if "issuer" in name) | {"no issue time"}

    @pytest.mark.parametrize("name", sorted(set(WRONG) - UNLIKE_OIDC))
    def test_honest_signatures_on_claims_that_do_not_hold_are_invalid(self, name):
        assert code(verify(self.WRONG[name])) is Code.IDENTITY_INVALID

    @pytest.mark.parametrize("name", sorted(UNLIKE_OIDC))
    def test_what_is_not_asked_of_a_jwt_svid(self, name):
        assert code(verify(self.WRONG[name])) is None

    @pytest.mark.parametrize(
        "header", [{"typ": "JWT"}, {"typ": "JOSE"}, {"typ": ...}, {"kid": ...}], ids=repr
    )
    def test_headers_of_the_specification(self, header):
        assert code(verify(SMALL.mint(SMALL.header(**header)))) is None

    @pytest.mark.parametrize(
        "header",
        [
            {"typ": "jwt"},
            {"typ": "at+jwt"},
            {"typ": ""},
            {"typ": None},
            {"typ": []},
            {"x5t": "AAAA"},
            {"jku": "https://evil.example/"},
            {"b64": True},
            {"cty": "JWT"},
            {"x": 1},
        ],
        ids=repr,
    )
    def test_headers_beyond_the_specification(self, header):
        assert code(verify(SMALL.mint(SMALL.header(**header)))) is Code.IDENTITY_INVALID

    @pytest.mark.parametrize("name", REJECTED + FOREIGN)
    def test_names_that_are_none_or_of_another_trust_domain(self, name):
        assert code(verify(SMALL.mint(sub=name))) is Code.IDENTITY_INVALID
        assert code(verify(SMALL.mint(sub=name), keys=None)) is Code.IDENTITY_INVALID

    def test_a_trust_domain_speaks_for_itself_alone(self):
        """The right bundle for the name, and a key of another bundle."""
        other = replace(SMALL, number=7, subject=FOREIGN[0])
        assert code(verify(other.mint(), keys=parse_bundle(other.document()))) is Code.IDENTITY_INVALID
        assert code(verify(replace(SMALL, number=7).mint())) == KeysWanted(DOMAIN, "ES256-7")
        assert code(verify(replace(SMALL, number=7).mint(SMALL.header()))) is Code.IDENTITY_INVALID
        assert code(verify(SMALL.mint(), domain="")) is Code.IDENTITY_INVALID

    @pytest.mark.parametrize(
        "audience",
        [
            [AUDIENCE, "other"],
            ["production", AUDIENCE],
            [AUDIENCE, AUDIENCE],
            "production",
            "spiffe://example.org/",
            [],
            [[AUDIENCE]],
        ],
        ids=repr,
    )
    def test_a_token_that_could_be_presented_elsewhere_is_not_for_us(self, audience):
        assert code(verify(SMALL.mint(aud=audience))) is Code.IDENTITY_INVALID

    def test_the_one_audience_may_be_in_a_list(self):
        assert code(verify(SMALL.mint(aud=[AUDIENCE]))) is None

    @pytest.mark.parametrize("audience", ["", None, []])
    def test_without_an_audience_of_our_own_nothing_is_for_us(self, audience):
        assert code(verify(SMALL.mint(aud=audience), audience="")) is Code.IDENTITY_INVALID
        assert code(verify(SMALL.mint(aud=...), audience="")) is Code.IDENTITY_INVALID

    def test_without_keys_they_are_wanted(self):
        assert code(verify(SMALL.mint(), keys=None)) == KeysWanted(DOMAIN, "ES256-0")
        assert code(verify(SMALL.mint(), keys=parse_bundle(b'{"keys":[]}'))) == KeysWanted(DOMAIN, "ES256-0")
        assert code(verify(SMALL.mint(), keys=None, domain="example.org")) == KeysWanted(DOMAIN, "ES256-0")

    @pytest.mark.parametrize(
        ("claims", "expected"),
        [
            ({"iat": ..., "exp": NOW + MAX_SVID_S}, None),
            ({"iat": ..., "exp": NOW + MAX_SVID_S + 1}, Code.IDENTITY_INVALID),
            ({"iat": ..., "exp": NOW - SKEW_S}, Code.IDENTITY_EXPIRED),
            ({"iat": ..., "exp": NOW - SKEW_S + 1}, None),
            ({"iat": ..., "nbf": NOW + SKEW_S}, None),
            ({"iat": ..., "nbf": NOW + SKEW_S + 1}, Code.IDENTITY_INVALID),
            ({"iat": ..., "nbf": True}, Code.IDENTITY_INVALID),
            ({"iat": ..., "exp": ...}, Code.IDENTITY_INVALID),
            ({"iat": ..., "exp": NOW + 600.0}, Code.IDENTITY_INVALID),
            ({"iat": ..., "exp": True}, Code.IDENTITY_INVALID),
            ({"iat": None}, Code.IDENTITY_INVALID),
            ({"iat": NOW - MAX_SVID_S, "exp": NOW}, None),
            ({"iat": NOW - MAX_SVID_S, "exp": NOW + 1}, Code.IDENTITY_INVALID),
            ({"iat": NOW - 900, "exp": NOW - SKEW_S}, Code.IDENTITY_EXPIRED),
        ],
    )
    def test_times(self, claims, expected):
        assert code(verify(SMALL.mint(**claims))) is expected

    def test_a_token_that_does_not_say_since_when_holds_since_ever(self):
        assert verify(SMALL.mint(iat=...)).not_before == 0

    @given(st.data())
    def test_no_token_with_one_changed_octet_holds(self, data):
        token = SMALL.mint()
        position = data.draw(st.integers(0, len(token) - 1))
        octet = data.draw(st.integers(0, 255).filter(lambda octet: octet != token[position]))
        broken = token[:position] + bytes([octet]) + token[position + 1 :]
        assert not isinstance(verify(broken), SignedAssertion)

    @given(st.binary(max_size=90))
    def test_anything_gets_an_answer(self, data):
        assert isinstance(verify(data), Refusal)
        assert isinstance(
            verify(compact({"alg": "ES256", "kid": "ES256-0"}, {"sub": NAME}, lambda _: data)), Refusal
        )


AUTHORITY = SpiffeAuthority("example.org")
LIFE = 3600


def moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def leaf(*uris: str, begins: int = NOW, life: int = LIFE, **changes: object) -> x509.Certificate:
    return AUTHORITY.sign(
        *(uris or [NAME]), not_before=moment(begins), not_after=moment(begins + life), **changes
    )


def judge(
    certificate: x509.Certificate | bytes, now: int = NOW, *, crl: bool = False, domain: str = "example.org"
):
    der = certificate if isinstance(certificate, bytes) else certificate.public_bytes(Encoding.DER)
    return verify_certificate(Certificate(der, domain, crl), now, LIFE)


SUBJECT = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "coder")])


class TestCertificate:
    """The leaf of an X.509-SVID."""

    @pytest.mark.parametrize("domain", [DOMAIN, "example.org"])
    def test_what_the_leaf_names_is_what_is_asserted(self, domain):
        certificate = leaf()
        found = judge(certificate, domain=domain)
        assert isinstance(found, SignedAssertion)
        assert (found.method, found.issuer, found.issuer_name) == (Method.X509_SVID, DOMAIN, "example.org")
        assert (found.subject, found.not_before, found.expires_at) == (NAME, NOW, NOW + LIFE)
        assert (found.actors, found.claims) == ((), {})
        authority = x509.SubjectKeyIdentifier.from_public_key(AUTHORITY.key.public_key())
        assert found.evidence == Evidence(
            Method.X509_SVID,
            DOMAIN,
            key_id=authority.digest.hex(),
            token_id=f"{certificate.serial_number:x}",
            token_sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        )

    @pytest.mark.parametrize(
        "changes",
        [
            {"dns": ("coder.example.org",)},
            {"constraints": None},
            {"purposes": ()},
            {"subject": SUBJECT, "names_critical": False},
            {"subject": SUBJECT},
            {
                "purposes": (
                    x509.ExtendedKeyUsageOID.CLIENT_AUTH,
                    x509.ExtendedKeyUsageOID.EMAIL_PROTECTION,
                    x509.ExtendedKeyUsageOID.SERVER_AUTH,
                )
            },
        ],
        ids="+".join,
    )
    def test_what_the_specification_leaves_open(self, changes):
        assert code(judge(leaf(**changes))) is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"names_critical": False},
            {"constraints": x509.BasicConstraints(ca=True, path_length=0)},
            {"has_usage": False},
            {"usage_critical": False},
            {"usage": key_usage(digital_signature=False)},
            {"usage": key_usage(key_cert_sign=True)},
            {"usage": key_usage(crl_sign=True)},
            {"purposes": (x509.ExtendedKeyUsageOID.SERVER_AUTH,)},
            {"purposes": (x509.ExtendedKeyUsageOID.CLIENT_AUTH,)},
            {"purposes": (x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)},
        ],
        ids=lambda changes: repr(changes)[:70],
    )
    def test_what_may_not_authenticate(self, changes):
        assert code(judge(leaf(**changes))) is Code.IDENTITY_INVALID

    @pytest.mark.parametrize("name", [name for name in REJECTED if name] + FOREIGN)
    def test_names_that_are_none_or_of_another_trust_domain(self, name):
        assert code(judge(leaf(name))) is Code.IDENTITY_INVALID

    def test_exactly_one_name(self):
        assert code(judge(leaf(NAME, NAME + "2"))) is Code.IDENTITY_INVALID
        assert code(judge(leaf(NAME, NAME))) is Code.IDENTITY_INVALID
        assert code(judge(leaf(NAME, "https://example.org/"))) is Code.IDENTITY_INVALID
        window = {"not_before": moment(NOW), "not_after": moment(NOW + LIFE)}
        assert code(judge(AUTHORITY.sign(**window, subject=SUBJECT))) is Code.IDENTITY_INVALID
        only_dns = AUTHORITY.sign(**window, subject=SUBJECT, dns=("example.org",))
        assert code(judge(only_dns)) is Code.IDENTITY_INVALID

    def test_a_signing_certificate_never_authenticates(self):
        assert code(judge(AUTHORITY.certificate, crl=True)) is Code.IDENTITY_INVALID
        named = leaf(
            constraints=x509.BasicConstraints(ca=True, path_length=None),
            usage=key_usage(key_cert_sign=True),
        )
        assert code(judge(named)) is Code.IDENTITY_INVALID

    @pytest.mark.parametrize("domain", ["", "other.org", "example.or", "example.org.", "EXAMPLE.ORG"])
    def test_of_the_trust_domain_whose_bundle_verified_it_and_no_other(self, domain):
        assert code(judge(leaf(), domain=domain)) is Code.IDENTITY_INVALID

    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            (NOW - SKEW_S - 1, Code.IDENTITY_INVALID),
            (NOW - SKEW_S, None),
            (NOW + LIFE, None),
            (NOW + LIFE + SKEW_S, Code.IDENTITY_EXPIRED),
        ],
    )
    def test_times(self, now, expected):
        assert code(judge(leaf(), now)) is expected

    def test_without_a_crl_a_short_life_is_what_ends_a_certificate(self):
        assert code(judge(leaf(life=LIFE + 1))) is Code.IDENTITY_INVALID
        assert code(judge(leaf(life=LIFE + 1), crl=True)) is None

    def test_a_certificate_may_not_say_which_authority_key_signed_it(self):
        assert judge(leaf(has_authority=False)).evidence.key_id == ""

    @pytest.mark.parametrize("der", [b"", b"\x30\x00", b"certificate"])
    def test_what_cannot_be_read_is_invalid(self, der):
        assert code(judge(der)) is Code.IDENTITY_INVALID

    def test_extensions_that_cannot_be_read_are_invalid(self):
        der = leaf().public_bytes(Encoding.DER)
        broken = der.replace(bytes.fromhex("0603551d0f0101ff"), bytes.fromhex("0603551d0f0101fe"))
        assert broken != der
        assert code(judge(broken)) is Code.IDENTITY_INVALID
        twice = der.replace(bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d11"))
        assert code(judge(twice)) is Code.IDENTITY_INVALID

    @pytest.mark.filterwarnings("ignore:Parsed a")  # cryptography's own word about the same serial number
    def test_a_serial_number_is_positive(self):
        certificate = leaf()
        der, serial = certificate.public_bytes(Encoding.DER), certificate.serial_number
        octets = serial.to_bytes(serial.bit_length() // 8 + 1)
        assert code(judge(der.replace(octets, b"\x80" + octets[1:]))) is Code.IDENTITY_INVALID
        assert code(judge(der.replace(octets, b"\1" + octets[1:]))) is None

    @pytest.mark.filterwarnings("ignore:Parsed a")
    @given(st.data())
    def test_any_changed_octet_gets_an_answer(self, data):
        der = LEAF
        position = data.draw(st.integers(0, len(der) - 1))
        broken = der[:position] + bytes([data.draw(st.integers(0, 255))]) + der[position + 1 :]
        assert isinstance(judge(broken), SignedAssertion | Refusal)


LEAF = leaf().public_bytes(Encoding.DER)
