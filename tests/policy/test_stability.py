"""What a call does and what is decided on it do not depend on its spelling, and evasion is refused or does not help.

The population are the services that ship: a call to each of their operations.
"""

import re
from functools import lru_cache
from random import Random

from graphql.error import GraphQLError
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.policy.fact import Place
from proxy.policy.operation import Operation
from tests.policy import reference
from tests.policy.damage import damaged
from tests.policy.shipped_calls import Judged, Made, calls, files, judged, octets, services, shipped
from tests.policy.spellings import respelled


@lru_cache(maxsize=1)
def every() -> list[tuple[Operation, Made]]:
    return [*calls()]


@lru_cache(maxsize=1)
def requests() -> list[Made]:
    return [made for _, made in every()]


@lru_cache(maxsize=1)
def read() -> list[Made]:
    """Those whose content says what they do."""
    return [
        made
        for operation, made in every()
        if operation.selector or any(one.place is Place.BODY for one in operation.when)
    ]


@lru_cache(maxsize=1)
def written():
    return reference.read_services(services().values())


def of(made: Made, head: bytes | None = None) -> Judged | Refusal:
    return judged(shipped(everything=True), head or octets(made), made.body, made.origin)


def test_a_call_to_every_operation_is_that_operation_and_no_other():
    wrong = {}
    for operation, made in every():
        found = of(made)
        if isinstance(found, Refusal) or [act.action for act in found.actions] != [operation.id]:
            wrong[operation.id] = made.target, found
    assert wrong == {}


def test_the_plain_reading_of_the_files_says_the_same():
    wrong = {}
    for operation, made in every():
        found = of(made)
        assert isinstance(found, Judged)
        told = reference.does(written(), found.sent(made.method, made.body))
        if told != [*found.actions]:
            wrong[operation.id] = told, found.actions
    assert wrong == {}


# -- the same, written otherwise --


CALL = st.deferred(lambda: st.sampled_from(requests()) | st.sampled_from(read()))
DICE = st.integers(0, 2**32).map(Random)


@settings(max_examples=300, deadline=None)
@given(CALL, DICE)
def test_no_spelling_changes_what_is_decided(made, dice):
    plain = of(made)
    assert isinstance(plain, Judged)
    spelled = respelled(dice, made)
    found = judged(shipped(everything=True), *spelled)
    assert isinstance(found, Judged), (spelled, found)
    assert (found.actions, found.documents) == (plain.actions, plain.documents), spelled
    assert found.target.request_target.partition(b"?")[0] == plain.target.request_target.partition(b"?")[0]


@settings(deadline=None)
@given(CALL, st.text(alphabet="qz", min_size=5, max_size=8), st.integers(0, 9))
def test_a_parameter_that_nothing_is_said_about_makes_no_other_operation(made, name, value):
    more = made._replace(query=f"{made.query}&{name}={value}".removeprefix("&"))
    found, plain = of(more), of(made)
    assert isinstance(plain, Judged)
    assert isinstance(found, Judged) or without_query(made), found
    assert isinstance(found, Refusal) or found.actions == plain.actions


def without_query(made: Made) -> bool:
    """Where no parameter may stand: gRPC, and calls to AWS that have everything in the content."""
    return made in read()


# -- not the same --


@settings(max_examples=600, deadline=None)
@given(CALL, DICE)
def test_what_is_not_refused_is_what_every_server_takes_it_for(made, dice):
    """Whichever member or value a server takes where there are two, it does what was decided."""
    made = damaged(dice, made, requests())
    found = of(made)
    if isinstance(found, Refusal):
        return
    sent = found.sent(made.method, made.body)
    for reader in reference.READERS:
        assert set(reference.does(written(), sent, reader)) == set(found.actions), (made, reader)


@settings(max_examples=300, deadline=None)
@given(CALL, DICE)
def test_what_is_sent_is_decided_alike(made, dice):
    """Reading again what leaves changes nothing: who comes after us sees the same call."""
    made = damaged(dice, made, requests())
    found = of(made)
    if isinstance(found, Refusal):
        return
    fields = [(name.decode(), value.decode("latin-1")) for name, value in found.guarded.forward]
    own = tuple((name, value) for name, value in fields if name.lower() not in ("host", "content-length"))
    path, _, query = found.target.request_target.decode().partition("?")
    again = of(Made(made.method, found.target.origin, path, query, own, made.body))
    assert isinstance(again, Judged), (made, again)
    assert (again.actions, again.documents) == (found.actions, found.documents), made
    assert again.target.path == found.target.path


def test_the_damage_is_evasion():
    """It is worth something only if servers would differ on much of what is refused."""
    dice, contested = Random(7), 0
    for _ in range(2000):
        made = damaged(dice, dice.choice(read()), requests())
        if isinstance(of(made), Refusal):
            contested += len({tuple(reading(made, reader)) for reader in reference.READERS}) > 1
    assert contested > 50


UNREADABLE = (reference.Unreadable, GraphQLError, LookupError, TypeError, AttributeError, RuntimeError)


def reading(made: Made, reader: reference.Reader) -> list[reference.Does]:
    """What a server with this reader takes a request for that was refused; nothing if it cannot read it."""
    headers = {name.lower(): value for name, value in made.headers}
    origin = made.origin
    sent = reference.Sent(
        made.method, origin.scheme, origin.host.name, origin.port, made.target, headers, made.body or b""
    )
    try:
        return reference.does(written(), sent, reader)
    except UNREADABLE:
        return []


# -- what lax servers make of slashes --


def scopes() -> tuple[str, ...]:
    """All scopes that the shipped rules know."""
    text = b"".join(files("policies").values()).decode()
    lists = re.findall(r"scopes\.contains(?:Any)?\(([^)]*)\)", text)
    return tuple(sorted(set(re.findall(r'"([a-z0-9:_-]+)"', "".join(lists)))))


def slashed(made: Made) -> set[str]:
    """The path with a slash more, or one of them encoded, or both."""
    path = made.path
    places = [at for at, letter in enumerate(path) if letter == "/"]
    doubled = {f"{path[:at]}/{path[at:]}" for at in places}
    encoded = {f"{path[:at]}%2F{path[at + 1 :]}" for at in places[1:]}
    return {f"{path}/"} | doubled | encoded | {f"{one}/" for one in doubled | encoded}


def test_slashes_get_nothing_allowed_under_the_shipped_rules():
    """A server may take ``//`` and ``%2F`` for ``/``: what it then does would have been allowed anyway."""
    rules, known = shipped(everything=False), scopes()

    def allowed(made: Made, *scopes: str) -> bool:
        found = judged(rules, octets(made), made.body, made.origin, scopes)
        return isinstance(found, Judged) and found.allowed

    assert len(known) > 20
    assert sum(allowed(made, *known) for made in requests()) > 100
    for made in requests():
        if "s3" in made.origin.host.name:
            continue  # where a slash more is another object
        for path in slashed(made):
            other = made._replace(path=path)
            if allowed(other, *known):
                more = [scope for scope in known if allowed(other, scope) and not allowed(made, scope)]
                assert more == [], other
