from base64 import b64encode, urlsafe_b64encode
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credential.binding import BasicSurface, Binding, EitherHeader, HeaderSurface, QuerySurface
from proxy.credential.placeholder import Holding, digest, find, mint
from proxy.credential.secret import Secret
from proxy.credential.swap import NoSwap, Plan, apply, plan
from proxy.errors import Code, Refusal
from proxy.http.canonical import parse_target

TASK, OTHER_TASK = "t-" + "a" * 26, "t-" + "b" * 26
MINE, FOREIGN, ELSEWHERE, UNKNOWN = (mint(bytes([index]) * 24).encode() for index in range(1, 5))
HOLDINGS = {
    MINE: Holding(digest(MINE), TASK, "api", "coder"),
    FOREIGN: Holding(digest(FOREIGN), OTHER_TASK, "api", "coder"),
    ELSEWHERE: Holding(digest(ELSEWHERE), TASK, "tickets", "coder"),
}
HEADER = HeaderSurface()
SECRET = Secret("bot", b"s3cr3t+/=& ")
VISIBLE = Secret("bot", b"s3cr3t+/=&")
HOST = (b"Host", b"api.example.org")


def where(rest="/x"):
    target = parse_target(
        "GET", f"https://api.example.org{rest}".encode(), tunnel=None, hosts=[HOST[1]], version="1.1"
    )
    assert not isinstance(target, Refusal), target
    return target


def planned(headers=(), rest="/x", surface=HEADER, service="api", bound="api"):
    binding = None if bound is None else Binding(bound, "env", "KEY", surface, ("KEY",))
    return plan(
        (HOST, *headers),
        where(rest),
        service_name=service,
        binding=binding,
        task_id=TASK,
        holding=HOLDINGS.get,
    )


def basic(username, password):
    return (b"Authorization", b"Basic " + b64encode(username + b":" + password))


def bearer(placeholder=MINE):
    return (b"Authorization", b"Bearer " + placeholder)


def code(result):
    return result.code if isinstance(result, Refusal) else None


EITHER = EitherHeader(
    (HeaderSurface("X-Api-Key", "{secret}"), HEADER, HeaderSurface(format="token {secret}"))
)


@pytest.mark.parametrize(
    ("name", "before", "place"),
    [
        (b"x-api-key", b"", "header x-api-key"),
        (b"Authorization", b"Bearer ", "header authorization"),
        (b"authorization", b"TOKEN ", "header authorization"),
    ],
)
def test_of_several_headers_the_one_that_is_there_is_swapped(name, before, place):
    sent = ((b"Accept", b"*/*"), (name, before + MINE))
    found = planned(sent, surface=EITHER)
    assert isinstance(found, Plan)
    assert found.surface == place
    swapped = apply(found, VISIBLE, sent, where())
    assert not isinstance(swapped, Refusal)
    (_, accepted), (kept, value) = swapped[0]
    assert (accepted, kept, value.lower()) == (b"*/*", name, before.lower() + VISIBLE.reveal())


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        ([(b"X-Api-Key", b"Bearer " + MINE)], Code.PLACEHOLDER_SURFACE),
        ([(b"X-Other", MINE)], Code.PLACEHOLDER_SURFACE),
        ([(b"X-Api-Key", MINE), (b"Authorization", b"Bearer " + MINE)], Code.PLACEHOLDER_AMBIGUOUS),
        (
            [(b"Authorization", b"Bearer x"), (b"Authorization", b"Bearer " + MINE)],
            Code.PLACEHOLDER_AMBIGUOUS,
        ),
    ],
)
def test_several_headers_are_no_more_than_those(sent, refusal):
    found = planned(tuple(sent), surface=EITHER)
    assert code(found) is refusal
    if refusal is Code.PLACEHOLDER_SURFACE:
        assert "'X-Api-Key: PLACEHOLDER' or 'Authorization: Bearer PLACEHOLDER' or" in found.detail


# -- plan --


def test_without_a_placeholder_there_is_nothing_to_swap():
    for headers in ((), ((b"Authorization", b"Bearer own-key"),), (basic(b"a", b"b"),), ((b"X", b"100%"),)):
        assert planned(headers) == NoSwap()
    assert planned((), "/a%20b?q=%67p_&gp_=1") == NoSwap()
    assert planned((), service=None, bound=None) == NoSwap()


@pytest.mark.parametrize(
    ("surface", "headers", "rest", "place"),
    [
        (HEADER, [bearer()], "/x", "header authorization"),
        (HEADER, [(b"AUTHORIZATION", b"bearer " + MINE)], "/x", "header authorization"),
        (HeaderSurface("X-Key", "{secret}"), [(b"x-KEY", MINE)], "/x", "header x-key"),
        (HeaderSurface("X-Key", "k={secret};"), [(b"X-Key", b"k=" + MINE + b";")], "/x", "header x-key"),
        (BasicSurface(), [basic(b"bot", MINE)], "/x", "header authorization, the password of Basic"),
        (BasicSurface("bot"), [basic(b"", MINE)], "/x", "header authorization, the password of Basic"),
        (
            BasicSurface(None, "username"),
            [basic(MINE, b"")],
            "/x",
            "header authorization, the username of Basic",
        ),
        (QuerySurface("key"), [], f"/x?a=1&key={MINE.decode()}", "query key"),
        (QuerySurface("a key"), [], f"/x?a+key={MINE.decode()}", "query a key"),
    ],
)
def test_in_its_declared_place_it_is_planned(surface, headers, rest, place):
    result = planned(headers, rest, surface)
    assert isinstance(result, Plan)
    assert (result.surface, result.holding, result.binding.service) == (place, HOLDINGS[MINE], "api")
    assert MINE.decode() not in repr(result)


PERCENT = b"".join(b"%%%02X" % octet for octet in MINE)
TEXT = MINE.decode()


@pytest.mark.parametrize(
    ("headers", "rest", "named"),
    [
        ([(b"X-Other", MINE)], "/x", "header x-other"),
        ([(b"Cookie", b"session=" + MINE)], "/x", "header cookie"),
        ([(b"Authorization", b"token " + MINE)], "/x", "header authorization"),
        ([(b"Authorization", MINE)], "/x", "header authorization"),
        ([(b"Authorization", b"Bearer " + MINE + b"x")], "/x", "header authorization"),
        ([(b"Authorization", b"Bearer  " + MINE)], "/x", "header authorization"),
        ([(b"Authorization", b"Bearer " + PERCENT)], "/x", "header authorization"),
        ([(b"X-Other", PERCENT)], "/x", "header x-other"),
        ([basic(b"u", MINE)], "/x", "header authorization"),
        ([basic(MINE, b"")], "/x", "header authorization"),
        ([(b"X-Auth", basic(b"u", MINE)[1])], "/x", "header x-auth"),
        (
            [(b"Authorization", b"bAsIc\t" + urlsafe_b64encode(b"u:" + MINE).rstrip(b"="))],
            "/x",
            "header authorization",
        ),
        ([(b"Authorization", b"Basic !" + b64encode(b"uu:" + MINE))], "/x", "header authorization"),
        ([(b"Authorization", b"Basic " + b64encode(b"u:" + PERCENT))], "/x", "header authorization"),
        ([(MINE, b"1")], "/x", "a header name"),
        ([(b"X-" + MINE, b"1")], "/x", "a header name"),
        ([], f"/{TEXT}", "the path"),
        ([], f"/a/{PERCENT.decode()}/b", "the path"),
        ([], f"/x?key={TEXT}", "query key"),
        ([], f"/x?key={PERCENT.decode()}", "query key"),
        ([], f"/x?{TEXT}=1", "a query parameter's name"),
        ([], f"/x?{TEXT}", "a query parameter's name"),
        ([], f"/x?a=1;key={TEXT}", "query a"),
        ([], f"/x?key%3D{TEXT}", "a query parameter's name"),
    ],
)
def test_anywhere_else_it_is_refused_and_the_place_is_named(headers, rest, named):
    result = planned(headers, rest)
    assert isinstance(result, Refusal)
    assert result.code is Code.PLACEHOLDER_SURFACE
    assert f"is in {named};" in result.detail
    assert "'Authorization: Bearer PLACEHOLDER'" in result.detail
    assert not find(result.detail.encode())


@pytest.mark.parametrize(
    ("surface", "headers", "rest"),
    [
        (QuerySurface("key"), [bearer()], "/x"),
        (QuerySurface("key"), [], f"/x?other={TEXT}"),
        (QuerySurface("key"), [], f"/x?key=a{TEXT}"),
        (QuerySurface("key"), [], f"/x?key%3D{TEXT}=1"),
        (QuerySurface("key"), [], f"/x?KEY={TEXT}"),
        (BasicSurface(), [bearer()], "/x"),
        (BasicSurface(), [basic(MINE, b"x")], "/x"),
        (BasicSurface(), [basic(b"u", MINE + b"x")], "/x"),
        (BasicSurface(), [(b"Authorization", b"Basic " + b64encode(MINE))], "/x"),
        (BasicSurface(None, "username"), [basic(b"u", MINE)], "/x"),
    ],
)
def test_the_other_surfaces_are_as_strict(surface, headers, rest):
    assert code(planned(headers, rest, surface)) is Code.PLACEHOLDER_SURFACE


@pytest.mark.parametrize(
    ("headers", "rest"),
    [
        ([bearer(), bearer()], "/x"),
        ([bearer(), (b"X-Key", MINE)], "/x"),
        ([bearer()], f"/x?k={TEXT}"),
        ([bearer()], f"/{TEXT}"),
        ([bearer(), (b"Cookie", UNKNOWN)], "/x"),
        ([(b"Authorization", b"Bearer " + MINE + ELSEWHERE)], "/x"),
        ([bearer(), (b"authorization", b"Bearer own-key")], "/x"),
    ],
)
def test_two_in_one_request_are_ambiguous(headers, rest):
    result = planned(headers, rest)
    assert code(result) is Code.PLACEHOLDER_AMBIGUOUS
    assert not find(result.detail.encode())


def test_a_repeated_query_parameter_is_ambiguous():
    assert code(planned((), f"/x?key={TEXT}&key=2", QuerySurface("key"))) is Code.PLACEHOLDER_AMBIGUOUS


def test_whose_it_is_comes_before_where_it_stands():
    assert code(planned([bearer(UNKNOWN)])) is Code.PLACEHOLDER_UNKNOWN
    assert code(planned([bearer(FOREIGN)])) is Code.PLACEHOLDER_TASK_MISMATCH
    assert code(planned([bearer(ELSEWHERE)])) is Code.PLACEHOLDER_HOST_MISMATCH
    assert code(planned([(b"X", ELSEWHERE)], service=None, bound=None)) is Code.PLACEHOLDER_HOST_MISMATCH
    assert code(planned([bearer()], service=None, bound=None)) is Code.PLACEHOLDER_HOST_MISMATCH
    assert code(planned([bearer()], service="other", bound="other")) is Code.PLACEHOLDER_HOST_MISMATCH
    assert code(planned([bearer()], bound=None)) is Code.PLACEHOLDER_HOST_MISMATCH
    assert code(planned([bearer()], bound="other")) is Code.PLACEHOLDER_HOST_MISMATCH
    detail = planned([bearer()], service=None, bound=None).detail
    assert detail == (
        "the placeholder in header authorization is for api, and https://api.example.org is not a host of it"
    )


def test_what_an_agent_writes_into_a_name_is_made_harmless():
    result = planned((), f"/x?a%1b%5b2J{'b' * 200}={TEXT}")
    assert result.detail.isprintable()
    assert len(result.detail) < 300


# -- apply --


def swapped(headers, rest="/x", surface=HEADER, secret=VISIBLE):
    result = planned(headers, rest, surface)
    assert isinstance(result, Plan), result
    return apply(result, secret, (HOST, *headers), where(rest))


def test_a_header_is_replaced_where_it_stands():
    before = ((b"x-A", b"1"), (b"AuthoriZation", b"bearer " + MINE), (b"x-a", b"2"))
    headers, target = swapped(before)
    assert headers == (HOST, (b"x-A", b"1"), (b"AuthoriZation", b"Bearer s3cr3t+/=&"), (b"x-a", b"2"))
    assert target == b"/x"


@pytest.mark.parametrize(
    ("surface", "sent", "leaves"),
    [
        (BasicSurface(), basic(b"me", MINE), basic(b"me", b"s3cr3t+/=& ")),
        (BasicSurface("bot"), basic(b"me", MINE), basic(b"bot", b"s3cr3t+/=& ")),
        (BasicSurface(None, "username"), basic(MINE, b"x"), basic(b"s3cr3t+/=& ", b"x")),
    ],
)
def test_basic_is_built_anew(surface, sent, leaves):
    assert swapped([sent], surface=surface, secret=SECRET) == ((HOST, leaves), b"/x")


def test_a_query_parameter_is_encoded_and_the_rest_stays_verbatim():
    headers, target = swapped([], f"/p?a=%41&&k%65y={TEXT}&b", QuerySurface("key"), SECRET)
    assert headers == (HOST,)
    assert target == b"/p?a=%41&&k%65y=s3cr3t%2B%2F%3D%26%20&b"


@pytest.mark.parametrize(
    ("secret", "surface", "sent"),
    [
        (b"tab\x01", HEADER, bearer()),
        (b"space ", HEADER, bearer()),
        (b"\x7f", HEADER, bearer()),
        (b"a:b", BasicSurface(None, "username"), basic(MINE, b"")),
    ],
)
def test_a_value_that_does_not_fit_its_place_is_not_sent(secret, surface, sent):
    result = swapped([sent], surface=surface, secret=Secret("bot", secret))
    assert code(result) is Code.CREDENTIAL_UNAVAILABLE
    assert secret.decode() not in result.detail


def test_a_plan_is_for_its_own_request_only():
    ready = planned([bearer()])
    assert isinstance(ready, Plan)
    assert code(apply(ready, VISIBLE, (HOST,), where())) is Code.PLACEHOLDER_SURFACE
    assert code(apply(ready, VISIBLE, (HOST, bearer(FOREIGN)), where())) is Code.PLACEHOLDER_SURFACE


VALUES = st.binary(min_size=1, max_size=40).filter(lambda value: not set(value) & {0, 10, 13})
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(VALUES, NAMES, st.lists(st.tuples(NAMES, st.text("ab+%&=/ ", max_size=6)), max_size=3))
def test_what_the_server_decodes_from_a_query_is_the_credential(value, parameter, others):
    rest = "".join(
        f"{quote(name, safe='')}={quote(text, safe='')}&" for name, text in others if name != parameter
    )
    rest += f"{quote(parameter, safe='')}={TEXT}"
    result = swapped([], f"/x?{rest}", QuerySurface(parameter), Secret("bot", value))
    assert not isinstance(result, Refusal)
    query = result[1].decode().partition("?")[2]
    pairs = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    assert pairs[-1][1].encode("latin-1") == value
    assert query.rpartition("=")[0] == rest.rpartition("=")[0]
    assert not find(result[1])
