"""The digest of a request: whatever matters changes it, and what clients write anew each time does not."""

import re
from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.canonical import Target, parse_target
from proxy.policy.request_digest import VOLATILE, VOLATILE_PREFIXES, is_volatile, request_digest

NAMES = [b"accept", b"content-type", b"authorization", b"x-a", b"idempotency-key"]
ODD = [name.title() for name in sorted(VOLATILE)] + [prefix + b"x" for prefix in VOLATILE_PREFIXES]
BODY = sha256(b"body 1").hexdigest()


def target(url: str = "https://api.test/pay?a=1") -> Target:
    host = url.split("/")[2].encode()
    parsed = parse_target("POST", url.encode(), tunnel=None, hosts=[host], version="1.1")
    assert isinstance(parsed, Target), parsed
    return parsed


@dataclass(frozen=True)
class Sent:
    method: str = "POST"
    target: Target = field(default_factory=target)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: str = BODY
    agent: str = "coder"
    task: str = "t-1"
    chain: tuple[str, ...] = ("lead", "coder")
    ruleset: str = "0" * 64

    @property
    def digest(self) -> str:
        return request_digest(
            self.method,
            self.target,
            self.headers,
            self.body,
            agent=self.agent,
            task=self.task,
            chain=self.chain,
            ruleset_sha256=self.ruleset,
        )


fields = st.tuples(st.sampled_from(NAMES), st.binary(max_size=6).map(lambda value: value.strip(b" \t")))
urls = st.builds(
    "https://{}.test/{}{}".format,
    st.sampled_from(["api", "b"]),
    st.sampled_from(["", "pay", "pay/1"]),
    st.sampled_from(["", "?", "?a", "?a=1"]),
)
words = st.text(max_size=4)
requests = st.builds(
    Sent,
    method=st.sampled_from(["GET", "POST"]),
    target=urls.map(target),
    headers=st.lists(fields, max_size=4).map(tuple),
    body=st.sampled_from([BODY, sha256(b"body 2").hexdigest()]),
    agent=words,
    task=words,
    chain=st.lists(words, max_size=3).map(tuple),
    ruleset=st.sampled_from(["0" * 64, "1" * 64]),
)


def meaning(sent: Sent) -> tuple[object, ...]:
    """All that is bound."""
    named = tuple(sorted(sent.headers, key=lambda one: one[0]))
    place = str(sent.target.origin), sent.target.path.text, sent.target.query
    return sent.method, place, named, sent.body, sent.agent, sent.task, sent.chain, sent.ruleset


def test_it_is_what_the_specification_says():
    sent = Sent(headers=((b"X-B", b" 2 "), (b"Date", b"now"), (b"Accept", b"a")))
    written = (
        b"18:gatepass request 1,4:POST,20:https://api.test/pay,6:3:a=1,,31:13:6:accept,1:a,,10:3:x-b,1:2,,,"
        b"64:" + BODY.encode() + b",5:coder,3:t-1,15:4:lead,5:coder,,64:" + b"0" * 64 + b","
    )
    assert sent.digest == sha256(written).hexdigest()


@given(requests, requests)
def test_two_digests_are_the_same_exactly_if_the_requests_are(one, other):
    assert (one.digest == other.digest) == (meaning(one) == meaning(other))
    assert re.fullmatch("[0-9a-f]{64}", one.digest)


CHANGES = {
    "method": "PUT",
    "target": target("https://api.test/pay?a=2"),
    "headers": ((b"x-a", b"1"),),
    "body": sha256(b"body 2").hexdigest(),
    "agent": "coder2",
    "task": "t-2",
    "chain": ("coder",),
    "ruleset": "1" * 64,
}


@given(requests, st.sampled_from(sorted(CHANGES)))
def test_any_change_changes_it(sent, name):
    changed = replace(sent, **{name: CHANGES[name]})
    assert (changed.digest == sent.digest) == (meaning(changed) == meaning(sent))


@pytest.mark.parametrize("url", ["https://api.test/pay", "https://api.test/pay?", "https://api.test/pay?a=1"])
def test_no_query_and_an_empty_one_are_two_requests(url):
    others = {"https://api.test/pay", "https://api.test/pay?", "https://api.test/pay?a=1"} - {url}
    assert Sent(target=target(url)).digest not in {Sent(target=target(other)).digest for other in others}


def test_what_stands_where_is_bound():
    assert Sent(agent="ab", task="c").digest != Sent(agent="a", task="bc").digest
    assert Sent(chain=("a", "b")).digest != Sent(chain=("b", "a")).digest
    assert Sent(chain=("a:1,b",)).digest != Sent(chain=("a", "b")).digest
    assert (
        Sent(headers=((b"a", b"1"), (b"a", b"2"))).digest != Sent(headers=((b"a", b"2"), (b"a", b"1"))).digest
    )


@given(requests, st.lists(st.tuples(st.sampled_from(ODD), st.binary(max_size=4))), st.randoms())
def test_volatile_fields_do_not_matter_wherever_they_stand(sent, volatile, random):
    headers = [(name.upper(), b" " + value + b"\t") for name, value in sent.headers]
    for one in volatile:
        headers.insert(random.randint(0, len(headers)), one)
    assert replace(sent, headers=tuple(headers)).digest == sent.digest


@pytest.mark.parametrize("wish", [b"wait=20", b"WAIT = 3", b" wait=1 ,", b""])
def test_how_long_a_client_waits_does_not_matter(wish):
    assert Sent(headers=((b"Prefer", wish),)).digest == Sent().digest


@pytest.mark.parametrize("wish", [b"resolution=merge-duplicates", b"wait=1;x=y", b"respond-async, wait=20"])
def test_what_else_a_client_prefers_does(wish):
    """PostgREST makes an update of an insert for ``resolution=merge-duplicates``."""
    assert Sent(headers=((b"Prefer", wish),)).digest != Sent().digest
    longer = wish.replace(b"wait=20", b"wait=5")
    assert Sent(headers=((b"Prefer", wish),)).digest == Sent(headers=((b"Prefer", longer),)).digest


@given(st.permutations(NAMES))
def test_the_order_of_other_names_does_not_matter(names):
    fields = {name: b"v" + name for name in NAMES}
    assert Sent(headers=tuple((name, fields[name]) for name in names)).digest == (
        Sent(headers=tuple(fields.items())).digest
    )


@pytest.mark.parametrize(
    "name",
    [
        b"authorization",
        b"content-type",
        b"content-encoding",
        b"cookie",
        b"idempotency-key",
        b"upgrade",
        b"accept",
    ],
)
def test_what_changes_the_call_is_not_volatile(name):
    assert not is_volatile(name)


SIGNED = b"AWS4-HMAC-SHA256 Credential=%b/%b/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=%b"


def signed(
    key: bytes = b"AKID", date: bytes = b"20270115", signature: bytes = b"ab" * 32, prefix: bytes = b""
):
    return Sent(headers=((b"Authorization", prefix + SIGNED % (key, date, signature)),)).digest


def test_of_an_aws_signature_only_the_date_and_the_signature_are_left_out():
    assert signed() == signed(date=b"20270116", signature=b"cd" * 32)
    assert signed() != signed(key=b"AKIE")
    assert signed(signature=b"ab, x") != signed(signature=b"cd, x")  # not such a signature: as it is
    assert signed(prefix=b"x") != signed(prefix=b"x", date=b"20270116")


def test_text_that_has_no_bytes_has_a_digest():
    assert Sent(agent="\ud800").digest != Sent(agent="\ud801").digest
