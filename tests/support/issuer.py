"""A small real issuer of JWTs: keys of every type, JWK sets, rotation, and every forgery we know of.

It signs with PyJWT, so that what it makes is not checked by the code that made it.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Self

import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", *CURVES, "EdDSA")


@cache
def private_key(algorithm: str, number: int = 0) -> PrivateKey:
    """The key of this number for an algorithm; RSA keys take long to make, so all of RSA share them."""
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa_key(2048, number)


@cache
def rsa_key(bits: int, number: int) -> rsa.RSAPrivateKey:
    """An RSA key, made once."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def jwk(key: object, **members: object) -> dict[str, object]:
    """A key as a JWK; members that are ``...`` are left out."""
    kinds = {
        (rsa.RSAPublicKey, rsa.RSAPrivateKey): RSAAlgorithm,
        (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey): ECAlgorithm,
        (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey): OKPAlgorithm,
    }
    kind = next(maker for types, maker in kinds.items() if isinstance(key, types))
    document = kind.to_jwk(key, as_dict=True)
    document.pop("key_ops", None)
    return {name: value for name, value in (document | members).items() if value is not ...}


def jwks(*keys: dict[str, object], **members: object) -> bytes:
    """A JWK set."""
    return orjson.dumps({"keys": list(keys)} | members)


def b64(data: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def compact(header: object, payload: object, sign=lambda _: b"sig") -> bytes:
    """A token of any header and payload: objects, or the octets themselves."""
    parts = [part if isinstance(part, bytes) else orjson.dumps(part) for part in (header, payload)]
    signed = b".".join(map(b64, parts))
    return signed + b"." + b64(sign(signed))


def changed(document: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    """The document with changes; ``...`` takes a member away."""
    return {name: value for name, value in (document | changes).items() if value is not ...}


@dataclass(frozen=True)
class SmallIssuer:
    """One issuer with one signing key (``algorithm``, ``number``) and the keys it signed with before."""

    url: str = "https://issuer.example"
    audience: str = "spiffe://example.org/egress/a"
    subject: str = "repo:acme/app"
    now: int = 1_800_000_000
    algorithm: str = "ES256"
    number: int = 0
    use: str = "sig"
    retired: tuple[int, ...] = ()
    headers: dict[str, object] = field(default_factory=dict)

    @property
    def private(self) -> PrivateKey:
        """The key that signs now."""
        return private_key(self.algorithm, self.number)

    @property
    def key_id(self) -> str:
        """Its id."""
        return f"{self.algorithm}-{self.number}"

    def rotated(self, *, keep: bool = True) -> Self:
        """This issuer with a new key; it goes on publishing the old one, unless it does not ``keep`` it."""
        retired = (*self.retired, self.number) if keep else ()
        return replace(self, number=self.number + 1, retired=retired)

    def document(self) -> bytes:
        """What it publishes."""
        numbers = (*self.retired, self.number)
        return jwks(
            *(
                jwk(private_key(self.algorithm, n).public_key(), kid=f"{self.algorithm}-{n}", use=self.use)
                for n in numbers
            )
        )

    def header(self, **changes: object) -> dict[str, object]:
        """The header of an honest token, changed."""
        return changed({"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"} | self.headers, changes)

    def claims(self, **changes: object) -> dict[str, object]:
        """The claims of an honest token, changed."""
        honest = {
            "iss": self.url,
            "sub": self.subject,
            "aud": self.audience,
            "iat": self.now,
            "exp": self.now + 600,
            "jti": "token-1",
        }
        return changed(honest, changes)

    def sign(self, signed: bytes, algorithm: str | None = None) -> bytes:
        """A signature by this issuer's key."""
        return get_default_algorithms()[algorithm or self.algorithm].sign(signed, self.private)

    def mint(self, header: object = None, payload: object = None, **claims: object) -> bytes:
        """A token that is signed as it should be, whatever it says."""
        return compact(
            self.header() if header is None else header,
            self.claims(**claims) if payload is None else payload,
            self.sign,
        )

    def pem(self) -> bytes:
        """The public key as PEM, which some verifiers have taken for the secret of HS256."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def forgeries(self) -> dict[str, bytes]:
        """Tokens that this issuer's key never signed, or that no verifier may take, by what is wrong."""
        honest = self.mint()
        first, payload, last = honest.split(b".")
        shared = {"pem": self.pem(), "jwks": self.document(), "nothing": b""}
        by_secret = {
            f"HS256 with {name}": compact(
                self.header(alg="HS256"),
                self.claims(),
                lambda signed, secret=secret: hmac.digest(secret, signed, hashlib.sha256),
            )
            for name, secret in shared.items()
        }
        stranger = replace(self, number=self.number + 1000)
        return by_secret | {
            "alg none": compact(self.header(alg="none"), self.claims()),
            "alg none, no signature": compact(self.header(alg="none"), self.claims(), lambda _: b""),
            "alg None": compact(self.header(alg="nOnE"), self.claims()),
            "no alg": self.mint(self.header(alg=...)),
            "alg is a list": self.mint(self.header(alg=[self.algorithm])),
            "another key": stranger.mint(self.header()),
            "another key, in the header": stranger.mint(
                self.header(jwk=jwk(stranger.private.public_key()), jku="https://evil.example/", x5c=["AAAA"])
            ),
            "crit": self.mint(self.header(crit=["exp"])),
            "empty crit": self.mint(self.header(crit=[])),
            "b64 false": self.mint(self.header(b64=False)),
            "b64 false and crit": self.mint(self.header(b64=False, crit=["b64"])),
            "kid is a number": self.mint(self.header(kid=7)),
            "typ of something else": self.mint(self.header(typ="dpop+jwt")),
            "typ of ours": self.mint(self.header(typ="gatepass-session+jwt")),
            "typ is a number": self.mint(self.header(typ=1)),
            "a name twice in the header": self.mint(
                orjson.dumps(self.header())[:-1] + b',"alg":"' + self.algorithm.encode() + b'"}'
            ),
            "a name twice in the payload": self.mint(
                payload=orjson.dumps(self.claims())[:-1] + b',"sub":"repo:acme/app"}'
            ),
            "a name twice inside": self.mint(
                payload=orjson.dumps(self.claims())[:-1] + b',"x":{"a":1,"a":1}}'
            ),
            "NaN": self.mint(payload=orjson.dumps(self.claims())[:-1] + b',"x":NaN}'),
            "a lone surrogate": self.mint(payload=orjson.dumps(self.claims())[:-1] + b',"x":"\\ud800"}'),
            "not UTF-8": self.mint(payload=orjson.dumps(self.claims())[:-1] + b',"x":"\xff"}'),
            "endless brackets": self.mint(payload=b"[" * 10_000),
            "deep": self.mint(payload=b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
            "a list": self.mint(payload=[self.claims()]),
            "no payload": self.mint(payload=b""),
            "two parts": first + b"." + payload,
            "four parts": honest + b"." + last,
            "five parts": b".".join([first, payload, last, last, last]),
            "an empty part": first + b".." + last,
            "padding": honest + b"=",
            "white space": honest + b"\n",
            "a part of impossible length": honest + b"A" * ((1 - len(last)) % 4),
            "stray bits in the signature": honest[:-1] + _stray(honest[-1:]),
            "no signature": first + b"." + payload + b".",
            "empty": b"",
            "dots": b"..",
            "too long": self.mint(x="a" * 16_384),
        }

    def wrong(self) -> dict[str, bytes]:
        """Tokens that this issuer signed and that are still not valid for us, by what is wrong."""
        huge = orjson.dumps(self.claims())[:-1] + b',"nbf":' + b"9" * 40 + b"}"
        return {
            "another issuer": self.mint(iss="https://other.example"),
            "issuer with a slash": self.mint(iss=self.url + "/"),
            "issuer in capitals": self.mint(iss=self.url.upper()),
            "issuer with its port": self.mint(iss=self.url + ":443"),
            "issuer in a list": self.mint(iss=[self.url]),
            "no issuer": self.mint(iss=...),
            "another audience": self.mint(aud="https://api.example"),
            "other audiences": self.mint(aud=["a", "b"]),
            "audience in capitals": self.mint(aud=self.audience.upper()),
            "audience with more": self.mint(aud=self.audience + "/x"),
            "no audience": self.mint(aud=...),
            "null audience": self.mint(aud=None),
            "empty audience": self.mint(aud=""),
            "empty audiences": self.mint(aud=[]),
            "audience and a number": self.mint(aud=[self.audience, 1]),
            "audience and nobody": self.mint(aud=[self.audience, ""]),
            "audiences in an object": self.mint(aud={self.audience: True}),
            "no subject": self.mint(sub=...),
            "empty subject": self.mint(sub=""),
            "subject is a number": self.mint(sub=1),
            "subject with a line break": self.mint(sub="repo:acme\napp"),
            "subject too long": self.mint(sub="a" * 2049),
            "jti is a number": self.mint(jti=1),
            "jti too long": self.mint(jti="a" * 2049),
            "jti with a control character": self.mint(jti="a\x1b[2Jb"),
            "no expiry": self.mint(exp=...),
            "null expiry": self.mint(exp=None),
            "expiry as text": self.mint(exp=str(self.now + 600)),
            "expiry as float": self.mint(exp=self.now + 600.0),
            "expiry as bool": self.mint(exp=True),
            "negative expiry": self.mint(exp=-1),
            "expiry is far away": self.mint(exp=1 << 60),
            "no issue time": self.mint(iat=...),
            "issue time as float": self.mint(iat=self.now + 0.5),
            "issued in the future": self.mint(iat=self.now + 61, exp=self.now + 661),
            "not yet valid": self.mint(nbf=self.now + 61),
            "nbf as text": self.mint(nbf=str(self.now)),
            "nbf null": self.mint(nbf=None),
            "a huge nbf": self.mint(payload=huge),
            "no lifetime": self.mint(exp=self.now),
            "negative lifetime": self.mint(iat=self.now, exp=self.now - 1),
            "lives too long": self.mint(exp=self.now + 86_401),
            "act is no object": self.mint(act="repo:acme"),
            "act of nobody": self.mint(act={"iss": self.url}),
        }


def _stray(last: bytes) -> bytes:
    """A character that differs from the last one in its lowest bit alone, which no octet uses."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    index = alphabet.index(last) ^ 1
    return alphabet[index : index + 1]
