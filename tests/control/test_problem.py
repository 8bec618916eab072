import json

import pytest

from proxy.control.problem import Why, problem


@pytest.mark.parametrize("why", list(Why))
def test_a_problem_says_all_that_rfc_9457_has(why):
    reply = problem(why, "words")
    assert reply.media_type == "application/problem+json"
    assert json.loads(reply.body) == {
        "type": f"urn:gatepass:problem:control:{why.name.lower()}",
        "title": why.value.title,
        "status": reply.status,
        "detail": "words",
        "code": why.name.lower(),
    }


def test_what_somebody_sent_is_escaped():
    assert "\x1b" not in json.loads(problem(Why.NOT_FOUND, "\x1b[2J\ud800").body)["detail"]


def test_headers_go_along():
    assert problem(Why.METHOD_NOT_ALLOWED, "", ("Allow", "GET")).headers == (("Allow", "GET"),)
