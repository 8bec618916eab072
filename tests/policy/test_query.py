"""A query is read as everybody reads it, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.canonical import query_pairs
from proxy.policy.builtin import POLICIES
from proxy.policy.query import OVERRIDES, method_override, parameters
from tests.policy.worlds_calls import service

API = service()
OVERRIDING = [
    *(
        "_METHOD=DELETE",
        "_Method=x",
        "_method[]=DELETE",
        "_method%5B%5D=DELETE",
        "_method[x]=DELETE",
        "+_method=x",
    ),
    *(
        "_method%00=DELETE",
        "%5fMETHOD=x",
        "_HttpMethod=PATCH",
        "_httpmethod=x",
        "X-HTTP-Method=PUT",
        "x-http-method=x",
    ),
    *(
        "X-Http-Method-Override=PUT",
        "X_HTTP_METHOD_OVERRIDE=PUT",
        "X-Method-Override=PUT",
        "a=1&_METHOD=DELETE",
    ),
]


def refused(found):
    assert isinstance(found, Refusal)
    return found.code is Code.AMBIGUOUS_INPUT


@pytest.mark.parametrize("at", [None, API])
@pytest.mark.parametrize("query", OVERRIDING)
def test_no_parameter_asks_for_another_method(query, at):
    assert refused(parameters(query, at))


def test_the_names_themselves_are_left_to_the_rule_that_forbids_them():
    for name in OVERRIDES:
        assert parameters(f"{name}=x", None) == ((name, "x"),)
        assert f'"{name}"'.encode() in POLICIES
        assert method_override([name]) is not None


@pytest.mark.parametrize(
    "query", ["method=GET", "a_method=x", "_methods=1", "x-http=1", "HttpMethod=x", "_=1"]
)
def test_other_names_pass(query):
    assert parameters(query, API) == query_pairs(query)


def test_a_semicolon_separates_for_some_and_is_refused_where_a_service_is():
    assert refused(parameters("state=open;state=all", API))
    assert refused(parameters("a;b", API))
    assert parameters("state=open%3Bstate=all", API) == (("state", "open;state=all"),)
    assert parameters("p=x.git;a=summary", None) == (("p", "x.git;a=summary"),)


@pytest.mark.parametrize(
    "query", ["a=1;_method=DELETE", "a;_METHOD=x", "a=1;+_method[]=x", ";X-HTTP-Method=x"]
)
def test_no_semicolon_hides_another_method_anywhere(query):
    assert refused(parameters(query, None))


def test_what_does_not_decode_is_refused_as_ever():
    for query in ("%", "%zz=1", "a=%ff", "a=%c3;%a9"):
        found = parameters(query, None)
        assert isinstance(found, Refusal)
        assert found.code is Code.TARGET_MALFORMED


@given(st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_what_passes_is_what_a_form_would_say(query):
    for at in (None, API):
        found = parameters(query, at)
        assert isinstance(found, Refusal) or found == query_pairs(query)
