import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.fact import Dialect
from proxy.policy.llm import MAX_TOOLS, facts

OPENAI, ANTHROPIC = Dialect.OPENAI, Dialect.ANTHROPIC
PARAMETERS = {"type": "object", "properties": {}}


def told(model="m", *, stream=False, tools=(), max_tokens=-1):
    return {"model": model, "stream": stream, "tools": list(tools), "max_tokens": max_tokens}


@pytest.mark.parametrize(
    ("dialect", "document", "expected"),
    [
        (OPENAI, {"model": "m", "messages": []}, told()),
        (OPENAI, {"model": "m", "input": "text", "stream": None, "max_tokens": None}, told()),
        (OPENAI, {"model": "m", "stream": True, "max_tokens": 5}, told(stream=True, max_tokens=5)),
        (OPENAI, {"model": "m", "max_completion_tokens": 0}, told(max_tokens=0)),
        (OPENAI, {"model": "m", "max_output_tokens": 7, "max_tokens": 7}, told(max_tokens=7)),
        (
            OPENAI,  # chat completions
            {
                "model": "m",
                "tools": [
                    {"type": "function", "function": {"name": "b", "parameters": PARAMETERS}},
                    {"type": "custom", "custom": {"name": "a"}},
                ],
                "functions": [{"name": "old"}],
                "web_search_options": {},
            },
            told(tools=["a", "b", "old", "web_search"]),
        ),
        (
            OPENAI,  # responses
            {
                "model": "m",
                "tools": [
                    {"type": "function", "name": "f", "parameters": PARAMETERS},
                    {"type": "web_search_preview"},
                    {"type": "mcp", "server_label": "x", "server_url": "https://x.example"},
                    {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "inner"}]},
                    {"type": "function", "name": "f"},
                ],
            },
            told(tools=["f", "inner", "mcp", "namespace", "web_search_preview"]),
        ),
        (
            ANTHROPIC,
            {
                "model": "m",
                "max_tokens": 10,
                "tools": [
                    {"name": "f", "input_schema": PARAMETERS},
                    {"type": "custom", "name": "g", "input_schema": PARAMETERS},
                    {"type": "bash_20250124", "name": "bash"},
                ],
                "mcp_servers": [{"type": "url", "name": "x", "url": "https://x.example"}],
            },
            told(tools=["bash_20250124", "f", "g", "mcp"], max_tokens=10),
        ),
        (ANTHROPIC, {"model": "m", "prompt": "x", "max_tokens_to_sample": 3}, told(max_tokens=3)),
        (ANTHROPIC, {"model": "m", "functions": 5}, told()),  # means nothing there
    ],
)
def test_what_a_request_asks_for(dialect, document, expected):
    assert facts(dialect, document) == expected


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "object"),
        ("text", "object"),
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"model": ["m"]}, "model"),
        ({"model": "m", "Model": "n"}, "Model"),
        ({"model": "m", "\u017ftream": True}, "stream"),
        ({"model": "m", "stream": "true"}, "stream"),
        ({"model": "m", "stream": 1}, "stream"),
        ({"model": "m", "max_tokens": "5"}, "max_tokens"),
        ({"model": "m", "max_tokens": 5.0}, "max_tokens"),
        ({"model": "m", "max_tokens": True}, "max_tokens"),
        ({"model": "m", "max_tokens": -1}, "max_tokens"),
        ({"model": "m", "max_tokens": 2**53}, "53 bits"),
        ({"model": "m", "max_tokens": 2**63}, "max_tokens"),
        ({"model": "m", "max_tokens": 5, "max_completion_tokens": 6}, "contradict"),
        ({"model": "m", "tools": {}}, "tools"),
        ({"model": "m", "tools": ["f"]}, "tools"),
        ({"model": "m", "tools": [{}]}, "name"),
        ({"model": "m", "tools": [{"type": 5}]}, "type"),
        ({"model": "m", "tools": [{"type": ""}]}, "type"),
        ({"model": "m", "tools": [{"type": ["function"]}]}, "type"),
        ({"model": "m", "tools": [{"type": "function", "function": {"name": 5}}]}, "name"),
        ({"model": "m", "tools": [{"type": "function", "function": "f"}]}, "function"),
        (
            {"model": "m", "tools": [{"type": "function", "name": "a", "function": {"name": "b"}}]},
            "two places",
        ),
        ({"model": "m", "tools": [{"type": "function", "Type": "mcp", "name": "a"}]}, "Type"),
        ({"model": "m", "tools": [{"type": "namespace", "tools": [{"type": "function"}]}]}, "name"),
        ({"model": "m", "functions": [{"name": ""}]}, "name"),
        ({"model": "m", "functions": [{"Name": "a", "name": "b"}]}, "Name"),
        ({"model": "m", "functions": "f"}, "functions"),
    ],
)
def test_what_has_another_type_or_two_meanings_is_refused(document, word):
    found = facts(OPENAI, document)
    assert isinstance(found, Refusal)
    assert found.code is Code.AMBIGUOUS_INPUT
    assert word in found.detail


def test_too_many_tools_are_refused_also_in_namespaces():
    tools = [{"type": "function", "name": f"f{number}"} for number in range(MAX_TOOLS)]
    assert len(facts(OPENAI, {"model": "m", "tools": tools})["tools"]) == MAX_TOOLS
    more = facts(OPENAI, {"model": "m", "tools": [{"type": "namespace", "tools": tools}]})
    assert isinstance(more, Refusal)
    assert more.code is Code.BODY_TOO_LARGE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "type", "tools", "x"]), inner)
    ),
    max_leaves=10,
)
KEYS = ["model", "stream", "tools", "functions", "max_tokens", "max_output_tokens", "web_search_options", "n"]


@given(st.sampled_from(Dialect), st.dictionaries(st.sampled_from(KEYS), JSON), st.randoms())
def test_any_document_has_facts_of_one_shape_whatever_the_order_of_its_members(dialect, document, random):
    found = facts(dialect, document)
    names = list(document)
    random.shuffle(names)
    again = facts(dialect, json.loads(json.dumps({name: document[name] for name in names})))
    assert again == found or (isinstance(again, Refusal) and isinstance(found, Refusal))
    if not isinstance(found, Refusal):
        assert found.keys() == {"model", "stream", "tools", "max_tokens"}
        assert found["tools"] == sorted(set(found["tools"]))
        assert all(isinstance(name, str) and name for name in [found["model"], *found["tools"]])
        assert type(found["stream"]) is bool
        assert type(found["max_tokens"]) is int
