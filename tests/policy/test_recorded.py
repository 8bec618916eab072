from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.principal import Agent
from proxy.policy.observe import observe
from proxy.policy.recorded import read_call
from tests.policy import worlds
from tests.policy.recordings import SPENT, TIME, call, changed, raw, read

RULES = worlds.rules()
LIST = "https://tickets.example.org/v1/tickets"
LEAD = Agent("lead", "development", "standard", "ada@example.org", "grace@example.org")


def test_an_allowed_call():
    found = call(RULES, "GET", f"{LIST}?a=1&b=2", scopes=["x"])
    assert (found.id, found.seconds, found.effect, found.code) == (
        "01HZZZZZZZZZZZZZZZZZZZZZZZ",
        TIME,
        "allow",
        "",
    )
    assert (found.method, found.url, found.query, found.query_keys) == ("GET", LIST, True, ("a", "b"))
    assert (found.has_body, found.content_type, found.upgrade) == (False, "", "")
    assert (found.rules, found.actions) == (("tickets.read",), ("tickets.list",))
    assert [link.agent for link in found.links] == ["coder"]
    assert found.caller.rulings[0].entity("Task")["scopes"] == ["x"]
    assert (found.services, found.approved, found.observed) == (None, False, False)


def test_content():
    found = call(RULES, "POST", f"{LIST}/7/replies", body=b"{}")
    assert (found.has_body, found.content_type) == (True, "application/json")


def test_what_refused_is_told():
    assert call(RULES, "POST", "https://tickets.example.org/v1/export/secret").rules == (
        "no_admin",
        "no_secrets",
    )
    assert call(RULES, "POST", f"{LIST}/7/replies").rules == ()
    spent = call(RULES, "GET", LIST, otherwise=SPENT)
    assert (spent.effect, spent.code, spent.caller.rulings[0].effect) == ("deny", "budget_exceeded", "allow")
    assert call(RULES, "GET", LIST, services=("other",)).rules == ()


def test_a_delegation_has_links():
    found = call(RULES, "GET", LIST, agents=(LEAD, worlds.CODER))
    assert [link.agent for link in found.links] == ["lead", "coder"]
    assert found.caller.rulings[0].entity("Task")["delegated"] is True
    intern = Agent("intern", "development", "low", "ada@example.org", "grace@example.org")
    refused = call(RULES, "GET", LIST, agents=(intern, worlds.CODER))
    assert (refused.effect, refused.rules) == ("deny", ())


def test_what_waits_is_held():
    policies = b'@id("asked") permit (principal, action == Action::"tickets.reply", resource) when { context.approved };'
    rules = worlds.rules(policies)
    held = call(rules, "POST", f"{LIST}/7/replies")
    assert (held.effect, held.code, held.rules) == ("hold", "approval_required", ("asked",))
    assert call(rules, "POST", f"{LIST}/7/replies", approved=True).approved


def test_observed():
    found = call(observe(), "GET", LIST)
    assert (found.observed, found.rules, found.actions) == (True, ("observe",), ("http.read",))


def test_a_call_to_an_address_and_port():
    found = call(RULES, "GET", "http://[2001:db8::1]:8080/x")
    assert found.host == "2001:db8::1"
    assert found.url == "http://[2001:db8::1]:8080/x"


def test_what_is_no_ruling():
    whole = raw(RULES, "GET", LIST)
    assert read_call(changed(whole, "type", "outcome")) is None
    assert read_call(changed(whole, "why", {"effect": "deny", "code": "identity_missing"})) is None
    assert read_call({}) is None


def test_a_digest_in_place_of_the_input_is_no_input():
    found = read(changed(raw(RULES, "GET", LIST), "why.input", {"len": 9, "sha256": "0"}))
    assert found.caller.rulings[0].context == {}
    assert found.caller.rulings[0].entity("Task") == {}


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["engine", "input", "id", "above", "rules", "entities", "uid"]), inner
        )
    ),
    max_leaves=6,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("who", "what", "why", "ts", "id"), junk)))
def test_parts_of_any_type_are_read_as_missing(parts):
    found = read_call({"type": "decision", **parts})
    if found is not None:
        assert found.caller.rulings
        assert isinstance(found.rules, tuple)
