"""JWTs of OpenID Connect issuers: hostile case D2, and what a small real issuer means."""

import ast
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import proxy
from proxy.errors import Code, Refusal
from proxy.identity.assertion import (
    SKEW_S,
    Issuer,
    KeysWanted,
    Peek,
    SignedAssertion,
    out_of_time,
    peek,
    verify_oidc,
)
from proxy.identity.keyset import KeySet, parse_jwks
from proxy.identity.principal import Actor, Evidence, Method
from tests.support.issuer import ALGORITHMS, SmallIssuer, b64, compact, jwk, jwks

NOW = 1_800_000_000
SMALL = SmallIssuer(now=NOW)
ISSUER = Issuer("acme", SMALL.url, ("other", SMALL.audience), frozenset({"RS256", "ES256"}), 86_400)
KEYS = parse_jwks(SMALL.document())


def verify(token: bytes, now: int = NOW, issuer: Issuer = ISSUER, keys: KeySet | None = KEYS):
    return verify_oidc(token, issuer, keys, now)


def code(token: bytes, now: int = NOW, issuer: Issuer = ISSUER, keys: KeySet | None = KEYS) -> object:
    """The code of the refusal, the key that is wanted, or None for a token that holds."""
    result = verify(token, now, issuer, keys)
    if isinstance(result, Refusal):
        assert result.status == 407
        return result.code
    return None if isinstance(result, SignedAssertion) else result


def test_what_was_signed_is_what_is_asserted():
    token = SMALL.mint(act={"sub": "ci", "act": {"sub": "alice", "iss": "https://idp.example"}})
    found = verify(token)
    assert isinstance(found, SignedAssertion)
    assert (found.method, found.issuer, found.issuer_name) == (Method.OIDC, SMALL.url, "acme")
    assert (found.subject, found.not_before, found.expires_at) == (SMALL.subject, NOW, NOW + 600)
    assert found.claims["aud"] == SMALL.audience
    assert found.actors == (Actor("ci", None), Actor("alice", "https://idp.example"))
    assert found.evidence == Evidence(
        Method.OIDC,
        SMALL.url,
        key_id="ES256-0",
        token_id="token-1",
        token_sha256=hashlib.sha256(token.rpartition(b".")[0]).hexdigest(),
        keys_sha256=hashlib.sha256(SMALL.document()).hexdigest(),
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_that_is_allowed_and_no_other(algorithm):
    small = replace(SMALL, algorithm=algorithm)
    keys = parse_jwks(small.document())
    assert code(small.mint(), issuer=replace(ISSUER, algorithms=frozenset({algorithm})), keys=keys) is None
    others = frozenset(ALGORITHMS) - {algorithm}
    assert code(small.mint(), issuer=replace(ISSUER, algorithms=others), keys=keys) is Code.IDENTITY_INVALID


def test_the_key_says_too_which_algorithm_it_is_for():
    small = replace(SMALL, algorithm="RS256")
    bound = parse_jwks(jwks(jwk(small.private.public_key(), kid=small.key_id, alg="RS512")))
    assert code(small.mint(), keys=bound) is Code.IDENTITY_INVALID


FORGERIES, WRONG = SMALL.forgeries(), SMALL.wrong()


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_and_malformed_tokens_are_invalid(name):
    assert code(FORGERIES[name]) is Code.IDENTITY_INVALID


@pytest.mark.parametrize("name", [name for name in FORGERIES if "HS256" in name or "none" in name.lower()])
def test_no_configuration_makes_shared_secrets_or_no_signature_hold(name):
    careless = replace(ISSUER, algorithms=frozenset({"HS256", "none", "nOnE", "ES256"}))
    assert code(FORGERIES[name], issuer=careless) is Code.IDENTITY_INVALID


@pytest.mark.parametrize("name", WRONG)
def test_honest_signatures_on_claims_that_do_not_hold_are_invalid(name):
    assert code(WRONG[name]) is Code.IDENTITY_INVALID


@pytest.mark.parametrize("name", [*FORGERIES, *WRONG])
def test_refusals_quote_nothing_of_the_token(name):
    token = (FORGERIES | WRONG)[name]
    refusal = verify(token)
    assert isinstance(refusal, Refusal)
    for part in token.split(b"."):
        assert len(part) < 8 or part.decode(errors="replace")[:8] not in refusal.detail
    assert "\n" not in refusal.detail


@pytest.mark.parametrize(
    "header",
    [
        {"typ": ...},
        {"typ": "jwt"},
        {"typ": "at+jwt"},
        {"typ": "AT+JWT"},
        {"typ": "application/at+jwt"},
        {"typ": "Application/JWT"},
        {"b64": True},
        {"x5t": "AAAA", "cty": "x", "jku": "https://evil.example/", "x5u": "https://evil.example/"},
    ],
    ids=repr,
)
def test_headers_that_change_nothing(header):
    assert code(SMALL.mint(SMALL.header(**header))) is None


@pytest.mark.parametrize("typ", ["", "JWT ", "application/", "application/application/jwt", "wit+jwt", None])
def test_other_types_are_other_tokens(typ):
    assert code(SMALL.mint(SMALL.header(typ=typ))) is Code.IDENTITY_INVALID


@pytest.mark.parametrize("audience", ["other", ["other"], ["x", SMALL.audience], ["other", "other"]])
def test_one_of_the_audiences_is_enough(audience):
    assert code(SMALL.mint(aud=audience)) is None


def test_without_audiences_or_algorithms_there_is_no_token():
    assert code(SMALL.mint(), issuer=replace(ISSUER, audiences=())) is Code.IDENTITY_INVALID
    assert code(SMALL.mint(), issuer=replace(ISSUER, algorithms=frozenset())) is Code.IDENTITY_INVALID


@pytest.mark.parametrize("claims", [{"jti": ...}, {"jti": ""}])
def test_a_token_id_is_optional(claims):
    assert verify(SMALL.mint(**claims)).evidence.token_id == ""


class TestKeys:
    """Which key, and when to ask for more of them."""

    def test_an_unknown_key_is_wanted(self):
        wanted = KeysWanted(SMALL.url, "ES256-1")
        assert code(SMALL.rotated().mint()) == wanted
        assert code(SMALL.rotated().mint(), keys=None) == wanted
        assert code(SMALL.mint(), keys=parse_jwks(jwks())) == KeysWanted(SMALL.url, "ES256-0")

    def test_a_token_that_names_no_key_wants_any(self):
        token = SMALL.mint(SMALL.header(kid=...))
        assert code(token, keys=None) == KeysWanted(SMALL.url, "")

    def test_rotation(self):
        rotated = SMALL.rotated()
        keys = parse_jwks(rotated.document())
        assert code(rotated.mint(), keys=keys) is None
        assert code(SMALL.mint(), keys=keys) is None
        gone = parse_jwks(SMALL.rotated(keep=False).document())
        assert code(SMALL.mint(), keys=gone) == KeysWanted(SMALL.url, "ES256-0")

    def test_a_token_that_names_no_key_is_verified_by_the_only_one(self):
        token = SMALL.mint(SMALL.header(kid=...))
        assert verify(token).evidence.key_id == "ES256-0"
        nameless = parse_jwks(jwks(jwk(SMALL.private.public_key())))
        assert verify(token, keys=nameless).evidence.key_id == ""
        several = parse_jwks(SMALL.rotated().document())
        assert code(token, keys=several) is Code.IDENTITY_INVALID

    def test_the_wrong_key_of_two(self):
        keys = parse_jwks(SMALL.rotated().document())
        assert code(SMALL.mint(SMALL.header(kid="ES256-1")), keys=keys) is Code.IDENTITY_INVALID

    @pytest.mark.parametrize(
        "name", [name for name in (FORGERIES | WRONG) if "issuer" in name and "other" in name]
    )
    def test_nobody_fetches_keys_for_a_token_of_another_issuer(self, name):
        assert code((FORGERIES | WRONG)[name], keys=None) is Code.IDENTITY_INVALID

    def test_nobody_fetches_keys_for_an_algorithm_that_is_not_allowed(self):
        token = compact(SMALL.header(alg="HS256", kid="new"), SMALL.claims())
        assert code(token, keys=None) is Code.IDENTITY_INVALID


class TestTimes:
    """From when until when, with at most a minute of skew."""

    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            (NOW - SKEW_S - 1, Code.IDENTITY_INVALID),
            (NOW - SKEW_S, None),
            (NOW + 600 + SKEW_S - 1, None),
            (NOW + 600 + SKEW_S, Code.IDENTITY_EXPIRED),
        ],
    )
    def test_skew(self, now, expected):
        assert code(SMALL.mint(), now=now) is expected
        refusal = out_of_time(verify(SMALL.mint()), now)
        assert (refusal.code if refusal else None) is expected

    @pytest.mark.parametrize("lifetime", [1, 86_400])
    def test_lifetimes_at_their_bounds(self, lifetime):
        assert code(SMALL.mint(exp=NOW + lifetime)) is None

    def test_not_before_is_the_later_of_two(self):
        assert verify(SMALL.mint(nbf=NOW + 30)).not_before == NOW + 30
        assert verify(SMALL.mint(nbf=NOW - 30)).not_before == NOW

    def test_a_lifetime_is_the_issuer_s(self):
        assert code(SMALL.mint(), issuer=replace(ISSUER, max_lifetime=599)) is Code.IDENTITY_INVALID


class TestTheSeal:
    """A decoded but unverified token cannot be mistaken for an assertion."""

    def test_nobody_else_makes_one(self):
        fields = (Method.OIDC, SMALL.url, "acme", "sub", {}, 0, NOW, Evidence(Method.OIDC, SMALL.url), ())
        with pytest.raises(TypeError):
            SignedAssertion(*fields, seal=object())
        with pytest.raises(TypeError):
            SignedAssertion(*fields)

    def test_nobody_changes_one(self):
        found = verify(SMALL.mint())
        with pytest.raises((TypeError, ValueError)):
            replace(found, subject="admin")
        with pytest.raises(TypeError):
            found.claims["sub"] = "admin"

    def test_only_the_verifiers_know_the_seal(self):
        users = {
            path.name
            for path in Path(proxy.__path__[0]).rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if (isinstance(node, ast.ImportFrom) and any(alias.name == "_SEAL" for alias in node.names))
            or (isinstance(node, ast.Attribute) and node.attr == "_SEAL")
            or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SignedAssertion")
        }
        assert users == {"assertion.py", "svid.py"}

    def test_repr_shows_no_claims(self):
        assert "token-secret" not in repr(verify(SMALL.mint(x="token-secret")))


class TestPeek:
    """A look that decides who verifies, and nothing else."""

    def test_what_a_token_says_of_itself(self):
        assert peek(SMALL.mint()) == Peek(
            typ="JWT",
            issuer=SMALL.url,
            subject=SMALL.subject,
            key_id="ES256-0",
            algorithm="ES256",
            header_names=frozenset({"alg", "kid", "typ"}),
        )

    def test_what_it_does_not_say_is_empty(self):
        assert peek(compact({"alg": "none"}, {})) == Peek("", "", "", "", "none", frozenset({"alg"}))

    @pytest.mark.parametrize(
        "token",
        [
            compact({"alg": "x", "typ": 1}, {}),
            compact({"alg": "x"}, {"iss": None}),
            compact({"alg": "x"}, {"sub": ["a"]}),
            compact({}, {}),
            b"",
            b"a.b.c",
        ],
    )
    def test_what_is_no_token_is_invalid(self, token):
        refusal = peek(token)
        assert isinstance(refusal, Refusal)
        assert refusal.code is Code.IDENTITY_INVALID

    @given(st.binary(max_size=90) | st.lists(st.binary(max_size=30).map(b64), max_size=4).map(b".".join))
    def test_anything_gets_an_answer(self, data):
        assert isinstance(peek(data), Peek | Refusal)
        assert isinstance(verify(data), Refusal)


HONEST = {algorithm: replace(SMALL, algorithm=algorithm).mint() for algorithm in ("ES256", "RS256", "EdDSA")}
ALL = replace(ISSUER, algorithms=frozenset(ALGORITHMS))


@given(st.sampled_from(sorted(HONEST)), st.data())
def test_no_token_with_one_changed_octet_holds(algorithm, data):
    token, keys = HONEST[algorithm], parse_jwks(replace(SMALL, algorithm=algorithm).document())
    assert code(token, issuer=ALL, keys=keys) is None
    position = data.draw(st.integers(0, len(token) - 1))
    octet = data.draw(st.integers(0, 255).filter(lambda octet: octet != token[position]))
    broken = token[:position] + bytes([octet]) + token[position + 1 :]
    assert not isinstance(verify(broken, issuer=ALL, keys=keys), SignedAssertion)


@given(st.sampled_from(sorted(HONEST)), st.data())
def test_no_token_that_is_shorter_or_longer_holds(algorithm, data):
    token, keys = HONEST[algorithm], parse_jwks(replace(SMALL, algorithm=algorithm).document())
    cut = data.draw(st.integers(0, len(token) - 1))
    more = data.draw(st.binary(min_size=1, max_size=4))
    for broken in (
        token[:cut],
        token[cut + 1 :],
        token + more,
        more + token,
        token[:cut] + more + token[cut:],
    ):
        if broken != token:
            assert not isinstance(verify(broken, issuer=ALL, keys=keys), SignedAssertion)
