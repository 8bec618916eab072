"""What is recorded is what was decided: canonical, without secrets, and enough to decide again."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.credential.placeholder import mint
from proxy.identity.principal import Agent
from proxy.policy.decision import Allow
from tests.policy.worlds import AGENTS, CODER, GET, POLICIES, again, ask, entity, rules, task

RULES = rules()


def test_the_input_is_canonical():
    for url in (GET, "https://x.example.org/%C3%A9"):
        text = RULES.decide(ask("GET", url, keys=("b", "a", "b", "é"), of=task(scopes=("z", "a")))).input
        assert text == orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)
        assert orjson.loads(text)["context"]["request"]["query_keys"] == ["a", "b", "é"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
URLS = st.builds(
    "{}://{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(
        ["tickets.example.org", "a.tickets.example.org", "x.example.org", "127.0.0.1", "[::1]:8443"]
    ),
    st.sampled_from(
        ["/", "/v1/tickets", "/v1/tickets/7", "/v1/tickets/7/replies", "/v1/export/x", "/a%20b/secret", "//"]
    ),
)


@settings(max_examples=150)
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PROPFIND"]),
    URLS,
    st.sampled_from([*AGENTS, Agent('é"\\', "production", "standard", "b", "d")]),
    st.builds(
        task, st.sampled_from(["development", "production"]), st.lists(TEXTS, max_size=3).map(tuple), TEXTS
    ),
    st.lists(TEXTS | st.just("_method"), max_size=3).map(tuple),
    TEXTS,
)
def test_every_decision_can_be_taken_again_from_its_record(method, url, agent, of, keys, content_type):
    ruling = RULES.decide(ask(method, url, agent=agent, of=of, keys=keys, content_type=content_type))
    assert again(ruling, RULES) == (isinstance(ruling.decision, Allow), ruling.decision.rules)


def test_a_placeholder_never_reaches_the_record():
    placeholder = mint(bytes(range(24)))
    question = ask("GET", f"{GET}/{placeholder}", keys=(placeholder,), content_type=placeholder)
    curious = rules(POLICIES + b'@id("q") forbid (principal, action, resource) when { context.request.upgrade == "x" '
                    b'|| context.request.content_type == "x" };')  # fmt: skip
    ruling = curious.decide(question)
    assert ruling.decision == Allow(("tickets.read",))
    assert placeholder.encode() not in ruling.input
    assert ruling.input.count(b"gp_[sha256:") == 3
    assert again(ruling, curious) == (True, ("tickets.read",))
    denied = RULES.decide(ask("GET", f"https://x.example.org/{placeholder}")).decision
    assert placeholder not in denied.refusal.detail


def test_the_agent_of_the_question_is_what_is_recorded():
    agent = entity(RULES.decide(ask("GET", GET)), "Agent")
    assert agent["uid"] == {"type": "Agent", "id": CODER.id}
    assert agent["attrs"]["data_owner"] == CODER.data_owner
