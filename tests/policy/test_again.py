"""E10: what was altered (rule set, input, engine, or what the record says of them) never replays as MATCH."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.identity.principal import Agent
from proxy.policy.again import Class, Judged, Opened, again, open_bundle
from proxy.policy.bundle import digest
from proxy.policy.cedar import POLICIES_FILE, SCHEMA_FILE
from proxy.policy.document import canonical
from proxy.policy.observe import observe
from tests.policy import worlds
from tests.policy.recordings import SPENT, call, changed, raw, read

LIST = "https://tickets.example.org/v1/tickets"
REPLY = "https://tickets.example.org/v1/tickets/7/replies"
EXPORT = "https://tickets.example.org/v1/export/all"
ASKED = (
    worlds.POLICIES
    + b"""
@id("asked") permit (principal, action == Action::"tickets.reply", resource) when { context.approved };
"""
)
LEAD = Agent("lead", "development", "standard", "ada@example.org", "grace@example.org")
RULES = worlds.rules()
ASKING = worlds.rules(ASKED)


def judge(whole, rules=RULES) -> Class:
    opened = open_bundle(rules.bundle, rules.sha256)
    assert isinstance(opened, Opened), opened
    return again(read(whole), opened).kind


def words(whole, rules=RULES) -> str:
    return again(read(whole), open_bundle(rules.bundle, rules.sha256)).why


RECORDS = {
    "allow": raw(RULES, "GET", LIST),
    "default deny": raw(RULES, "POST", REPLY),
    "scope": raw(RULES, "POST", REPLY, scopes=["reply"]),
    "forbid": raw(RULES, "POST", EXPORT),
    "elsewhere": raw(RULES, "GET", "https://other.example.org/x?_method=POST"),
    "delegated": raw(RULES, "GET", LIST, agents=(LEAD, worlds.CODER)),
    "spent": raw(RULES, "GET", LIST, otherwise=SPENT),
    "not granted": raw(RULES, "GET", LIST, services=("other",)),
}


@pytest.mark.parametrize("name", RECORDS)
def test_what_was_decided_is_decided_again(name):
    assert judge(RECORDS[name]) is Class.MATCH


def test_holds_and_approvals_too():
    held, approved = raw(ASKING, "POST", REPLY), raw(ASKING, "POST", REPLY, approved=True)
    assert (read(held).effect, read(approved).effect) == ("hold", "allow")
    assert judge(held, ASKING) is Class.MATCH
    assert judge(approved, ASKING) is Class.MATCH
    assert judge(changed(held, "why.held", None), ASKING) is Class.MISMATCH
    assert judge(changed(held, "why.effect", "allow"), ASKING) is Class.MISMATCH


def test_what_was_observed():
    whole = raw(observe(), "GET", LIST)
    assert again(read(whole), Judged(Class.UNREPLAYABLE)).kind is Class.MATCH
    assert (
        again(read(changed(whole, "why.input.action.id", "http.write")), Judged(Class.UNREPLAYABLE)).kind
        is Class.MISMATCH
    )


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        ("why.effect", "deny", Class.MISMATCH),
        ("why.code", "default_deny", Class.MISMATCH),
        ("why.rules", ["no_admin"], Class.MISMATCH),
        ("why.rules", [], Class.MISMATCH),
        ("why.errors", ["boom"], Class.MISMATCH),
        ("why.held", True, Class.MISMATCH),
        ("why.action", "tickets.get", Class.MISMATCH),
        ("why.input_sha256", "0" * 64, Class.MISMATCH),
        ("why.input.action.id", "tickets.get", Class.MISMATCH),
        ("why.input.entities.0.attrs.tier", "low", Class.MISMATCH),
        ("why.input", {"len": 70_000, "sha256": "0" * 64}, Class.UNREPLAYABLE),
        ("why.engine", "cedarpy/0.0.1", Class.UNREPLAYABLE),
        ("why.engine", "https://pdp.example.org/access/v1/evaluation", Class.UNREPLAYABLE),
        ("what.host", "other.example.org", Class.MISMATCH),
        ("what.port", 8443, Class.MISMATCH),
        ("who.agent.id", "intern", Class.MISMATCH),
    ],
)
def test_an_altered_record_does_not_match(path, value, kind):
    assert judge(changed(RECORDS["allow"], path, value)) is kind


def test_an_allow_that_the_rules_refuse_does_not_match():
    for name in ("default deny", "forbid"):
        altered = changed(changed(RECORDS[name], "why.effect", "allow"), "why.code", None)
        assert judge(altered) is Class.MISMATCH
    assert (
        judge(changed(changed(RECORDS["allow"], "why.effect", "deny"), "why.code", "default_deny"))
        is Class.MISMATCH
    )


def test_what_is_said_of_those_above_counts_as_well():
    whole = RECORDS["delegated"]
    for path, value in (("why.above.0.rules", []), ("why.above.0.input.entities.0.attrs.tier", "low")):
        assert judge(changed(whole, path, value)) is Class.MISMATCH


def consistent(whole, path, value, ruling="why"):
    """An input that was altered together with its digest."""
    altered = changed(whole, f"{ruling}.input.{path}", value)
    said = altered["why"] if ruling == "why" else altered["why"]["above"][0]
    said["input_sha256"] = sha256(canonical(said["input"])).hexdigest()
    return altered


READS_ALL = worlds.rules(
    worlds.POLICIES
    + b"""
@id("all") forbid (principal, action, resource) when { context.request.method == "X" && context.request.time < 0 };
@id("more") forbid (principal, action, resource)
when { context.request.path == "/" && context.request.has_body && context.request.content_type == "a/b" };
@id("rest") forbid (principal, action, resource) when { context.request.upgrade == "x" };
"""
)
ALL = raw(READS_ALL, "GET", f"{LIST}?state=open")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("context.request.path", "/v1/tickets/7"),
        ("context.request.method", "POST"),
        ("context.request.query_keys", []),
        ("context.request.has_body", True),
        ("context.request.content_type", "text/plain"),
        ("context.request.upgrade", "websocket"),
        ("context.task.__entity.id", "t-other"),
        ("entities.0.attrs.tier", "trusted"),
        ("entities.0.attrs.environment", "staging"),
        ("entities.2.attrs.scopes", ["reply"]),
    ],
)
def test_an_input_that_tells_of_another_call_than_its_record_does_not_match(path, value):
    assert judge(ALL, READS_ALL) is Class.MATCH
    altered = consistent(ALL, path, value)
    assert judge(altered, READS_ALL) is Class.MISMATCH
    assert words(altered, READS_ALL).startswith("the input is about another")


def test_nobody_is_approved_whom_no_approval_names():
    approved = raw(ASKING, "POST", REPLY, approved=True)
    assert judge(approved, ASKING) is Class.MATCH
    del approved["why"]["approval"]
    assert judge(approved, ASKING) is Class.MISMATCH


def test_everybody_in_the_chain_has_been_asked_about():
    whole = RECORDS["delegated"]
    for altered in (
        changed(whole, "why.above", []),
        changed(whole, "why.above", whole["why"]["above"] * 2 + [{"agent": "x", "task": "y"}]),
        changed(whole, "who.chain", whole["who"]["chain"][:1]),
        consistent(whole, "context.task.__entity.id", "t-coder", "why.above.0"),
    ):
        assert judge(altered) is Class.MISMATCH


def test_what_was_too_long_for_the_record_is_not_replayed_and_no_alarm_either():
    whole = raw(RULES, "GET", f"{LIST}/{'7' * 70_000}")
    assert "len" in whole["why"]["input"]["context"]["request"]["path"]
    assert judge(whole) is Class.UNREPLAYABLE


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_altered_octet_of_an_input_matches(data):
    """Whatever string or number of the input is another one, its digest is."""
    whole = RECORDS["scope"]
    places = list(_leaves(whole["why"]["input"], "why.input"))
    path, value = data.draw(st.sampled_from(places))
    other = data.draw(st.text(max_size=5) | st.integers(0, 9) | st.booleans())
    if other != value:
        assert judge(changed(whole, path, other)) is not Class.MATCH


def _leaves(node, path):
    if isinstance(node, dict | list):
        for name, child in node.items() if isinstance(node, dict) else enumerate(node):
            if "." not in str(name):
                yield from _leaves(child, f"{path}.{name}")
    else:
        yield path, node


def test_an_altered_rule_set_does_not_open():
    files = dict(RULES.bundle)
    for altered in (
        {**files, "policies/tickets.cedar": files["policies/tickets.cedar"] + b" "},
        {**files, POLICIES_FILE: files[POLICIES_FILE].replace(b"no_admin", b"no_edmin")},
        {**files, SCHEMA_FILE: files[SCHEMA_FILE] + b"\n"},
        {name: data for name, data in files.items() if name != "agents.yaml"},
        {**files, "more": b""},
        {**files, "a\0b": b""},
    ):
        found = open_bundle(altered, RULES.sha256)
        assert isinstance(found, Judged)
        assert found.kind is Class.UNREPLAYABLE
        assert again(call(RULES, "GET", LIST), found).kind is Class.UNREPLAYABLE


def test_a_rule_set_that_is_gone_or_empty_does_not_open():
    for files in (
        None,
        {},
        {POLICIES_FILE: b"{}", SCHEMA_FILE: b"entity A;"},
        {POLICIES_FILE: b"x", SCHEMA_FILE: b"y"},
    ):
        found = open_bundle(files, digest(files or {}))
        assert isinstance(found, Judged)
        assert found.kind is Class.UNREPLAYABLE
        assert found.why


def test_other_rules_do_not_match():
    assert judge(RECORDS["allow"], ASKING) is Class.UNREPLAYABLE
    other = worlds.rules(worlds.POLICIES.replace(b"tickets.read", b"tickets.reads"))
    assert judge(RECORDS["allow"], other) is Class.UNREPLAYABLE
    lie = changed(RECORDS["allow"], "why.ruleset_sha256", other.sha256)
    assert judge(lie, other) is Class.MISMATCH
    assert "tickets.reads spoke; recorded is tickets.read" in words(lie, other)
