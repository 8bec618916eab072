import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.fact import Dialect
from proxy.policy.json_members import LIMIT
from proxy.policy.llm_usage import UsageMeter
from proxy.policy.service_budget import Used

OPENAI, ANTHROPIC = Dialect.OPENAI, Dialect.ANTHROPIC
JSON, SSE = "application/json", "text/event-stream"
SENT = 401


def used(dialect, kind, content, *, cuts=()):
    meter = UsageMeter(dialect, kind, SENT)
    edges = [0, *sorted(cuts), len(content)]
    for start, end in pairwise(edges):
        meter.feed(content[start:end])
    found = meter.finish()
    assert meter.finish() == found
    return found


def stream(*events, end="\n", named=False):
    lines = []
    for event in events:
        if named:
            lines.append(f"event: {event['type']}")
        lines += ["data: " + (event if isinstance(event, str) else json.dumps(event)), ""]
    return "".join(line + end for line in lines).encode()


def chunk(text=None, **more):
    choices = [] if text is None else [{"index": 0, "delta": {"role": "assistant", "content": text}}]
    return {"id": "c", "object": "chat.completion.chunk", "model": "gpt-x-1", "choices": choices, **more}


CHAT = {
    "id": "c",
    "model": "gpt-x-1",
    "choices": [{"message": {"content": "Hi"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
}
CHAT_STREAM = (
    chunk("Hello", usage=None),
    chunk(" you", usage=None),
    chunk(usage={"prompt_tokens": 9, "completion_tokens": 12}),
    "[DONE]",
)
RESPONSE = {"id": "r", "model": "gpt-x-1", "usage": {"input_tokens": 9, "output_tokens": 12}}
RESPONSE_STREAM = (
    {"type": "response.created", "response": {"id": "r", "model": "gpt-x-1", "usage": None}},
    {"type": "response.output_text.delta", "delta": "Hello"},
    {"type": "response.completed", "response": RESPONSE},
)
MESSAGE_USAGE = {"input_tokens": 4, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 2}
MESSAGE = {"type": "message", "model": "claude-x", "usage": {**MESSAGE_USAGE, "output_tokens": 12}}
MESSAGE_STREAM = (
    {"type": "message_start", "message": {**MESSAGE, "usage": {**MESSAGE_USAGE, "output_tokens": 1}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "ping"},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 12}},
    {"type": "message_stop"},
)
GPT, CLAUDE = Used(0, 9, 12, "gpt-x-1"), Used(0, 9, 12, "claude-x")
REPORTED = [
    (OPENAI, JSON, json.dumps(CHAT).encode(), GPT),
    (OPENAI, JSON, json.dumps(RESPONSE, indent=2).encode(), GPT),
    (OPENAI, SSE, stream(*CHAT_STREAM), GPT),
    (OPENAI, SSE, stream(*CHAT_STREAM, end="\r\n"), GPT),
    (OPENAI, SSE, stream(*RESPONSE_STREAM, end="\r", named=True), GPT),
    (ANTHROPIC, JSON, json.dumps(MESSAGE).encode(), CLAUDE),
    (ANTHROPIC, SSE, stream(*MESSAGE_STREAM, named=True), CLAUDE),
    (ANTHROPIC, SSE, b": hello\n\nretry: 5\nid: 1\n\n" + stream(*MESSAGE_STREAM), CLAUDE),
    (
        OPENAI,
        SSE,
        b'data: {"model":"gpt-x-1",\ndata:"usage":{"prompt_tokens":9,\ndata:"completion_tokens":12}}\n\n',
        GPT,
    ),
    (OPENAI, SSE, stream(*CHAT_STREAM[:3])[:-1], GPT),  # the last event is not finished
]


@pytest.mark.parametrize(("dialect", "kind", "content", "expected"), REPORTED)
def test_what_is_reported_is_counted(dialect, kind, content, expected):
    assert used(dialect, kind, content) == expected


@given(st.sampled_from(REPORTED), st.data())
def test_where_an_answer_is_cut_into_pieces_makes_no_difference(sample, data):
    dialect, kind, content, expected = sample
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=40))
    assert used(dialect, kind, content, cuts=cuts) == expected
    assert used(dialect, kind, content, cuts=range(1, len(content))) == expected


@given(st.sampled_from([OPENAI, ANTHROPIC]), st.sampled_from([JSON, SSE, ""]), st.binary(), st.data())
def test_any_octets_are_counted_alike_however_they_are_cut(dialect, kind, content, data):
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=10))
    found = used(dialect, kind, content, cuts=cuts)
    assert found == used(dialect, kind, content)
    assert found.input_tokens >= 0
    assert found.output_tokens >= 0


@given(st.integers(0, len(stream(*CHAT_STREAM))))
def test_a_stream_that_breaks_off_is_never_free(length):
    found = used(OPENAI, SSE, stream(*CHAT_STREAM)[:length])
    assert found == GPT or (found.estimated and found.input_tokens == 101)


def test_embeddings_have_no_output_and_may_be_large():
    vectors = [{"embedding": [0.125] * 3_000, "index": i, "note": 'a "[{,'} for i in range(8)]
    usage = {"prompt_tokens": 30, "total_tokens": 30}
    content = json.dumps({"data": vectors, "model": "embed-1", "usage": usage}).encode()
    assert len(content) > 2 * LIMIT
    assert used(OPENAI, JSON, content) == Used(0, 30, 0, "embed-1")
    assert used(OPENAI, JSON, content, cuts=range(0, len(content), 997)) == Used(0, 30, 0, "embed-1")


@pytest.mark.parametrize("padding", ["x" * 10, "x" * (LIMIT + 10), '\\"}],{[' * 20_000])
def test_a_large_event_reports_too(padding):
    whole = {"output": [{"text": padding}], **RESPONSE, "metadata": {"usage": {"input_tokens": 1}}}
    content = stream(*RESPONSE_STREAM[:2], {"type": "response.completed", "response": whole})
    assert used(OPENAI, SSE, content) == GPT
    assert used(OPENAI, SSE, content, cuts=range(0, len(content), 1_003)) == GPT


def test_a_stream_without_usage_is_estimated_by_its_text():
    found = used(OPENAI, SSE, stream(chunk("Hello"), chunk(" world"), chunk("é"), "[DONE]"))
    assert found == Used(0, 101, 4, "gpt-x-1", estimated=True)  # 401 and 13 octets


def test_arguments_of_tools_are_text_and_names_of_kinds_are_not():
    delta = {
        "tool_calls": [{"id": "call_1234567890", "type": "function", "function": {"arguments": "12345678"}}]
    }
    content = stream(chunk(choices=[{"delta": delta, "finish_reason": "tool_calls", "logprobs": {"t": "x"}}]))
    assert used(OPENAI, SSE, content).output_tokens == 2


def test_an_anthropic_stream_that_breaks_off_keeps_the_input_it_reported():
    found = used(ANTHROPIC, SSE, stream(*MESSAGE_STREAM[:2]))
    assert found == Used(0, 9, 2, "claude-x", estimated=True)


def test_a_large_event_without_usage_counts_as_it_is():
    content = stream(chunk("x" * 100_000))
    assert used(OPENAI, SSE, content).output_tokens >= 25_000


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"1", b'{"choices":[]}', b'{"usage":{}}', b'{"usage":']
)
def test_an_answer_without_usage_is_estimated_by_its_size(content):
    assert used(OPENAI, JSON, content) == Used(0, 101, -(-len(content) // 4), "", estimated=True)


def test_what_cannot_be_read_is_estimated_by_its_size():
    assert used(OPENAI, "", json.dumps(CHAT).encode()).estimated


def test_an_error_used_nothing():
    content = b'{"type":"error","error":{"type":"overloaded_error","message":"later"}}'
    assert used(ANTHROPIC, JSON, content) == Used()
    assert used(OPENAI, JSON, json.dumps({**RESPONSE, "error": None}).encode()) == GPT


@pytest.mark.parametrize("value", [True, -1, 1.5, "9", None, 2**60])
def test_what_is_no_count_is_not_taken_for_one(value):
    content = json.dumps({"usage": {"prompt_tokens": value, "completion_tokens": value}}).encode()
    assert used(OPENAI, JSON, content).estimated


def test_the_name_of_a_model_is_bounded():
    assert len(used(OPENAI, JSON, json.dumps({**CHAT, "model": "m" * 5_000}).encode()).model) == 256


def test_memory_is_bounded_whatever_an_answer_holds():
    meter = UsageMeter(OPENAI, SSE, 0)
    meter.feed(b'data: {"usage": "')
    for _ in range(64):
        meter.feed(b"x" * LIMIT)
    document = meter._document
    assert len(document._buffer) + len(document._scan._text) <= 3 * LIMIT
