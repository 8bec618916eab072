"""Lists of tools lose what may not be shown; everything else passes octet for octet, or not at all."""

import json
import re
from itertools import pairwise

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.mcp_answer import SseFilter, filter_message

LIMIT = 4096


def keep(name):
    return name.startswith("read")


def answer(*names, **more):
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    return {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools, **more}}


def spaced(document):
    return json.dumps(document, indent=1).encode()


def test_a_list_loses_the_tools_that_may_not_be_shown():
    found = filter_message(spaced(answer("read_a", "write", "read_b", nextCursor="x")), keep)
    assert orjson.loads(found) == answer("read_a", "read_b", nextCursor="x")


def test_nothing_may_be_left():
    assert orjson.loads(filter_message(spaced(answer("write")), keep)) == answer()


def test_every_message_of_a_batch_is_looked_at():
    found = filter_message(
        spaced([answer("write"), {"jsonrpc": "2.0", "id": 2, "result": {}}, answer("write", "read")]), keep
    )
    assert orjson.loads(found) == [answer(), {"jsonrpc": "2.0", "id": 2, "result": {}}, answer("read")]


def test_an_entry_without_a_name_is_not_shown():
    document = {"id": 1, "result": {"tools": [{"name": 1}, {}, "read", None, ["name"], {"name": "read"}]}}
    assert orjson.loads(filter_message(spaced(document), keep)) == {
        "id": 1,
        "result": {"tools": [{"name": "read"}]},
    }


def test_an_escaped_name_is_the_same_name():
    found = filter_message(rb'{"result":{"\u0074ools":[{"\u006eame":"write"},{"name":"\u0072ead"}]}}', keep)
    assert orjson.loads(found) == {"result": {"tools": [{"name": "read"}]}}


@pytest.mark.parametrize(
    "document",
    [
        spaced(answer("read_a", "read_b")),
        b'{"result" : {"tools": []}, "x":1.0}',
        b'{"result": {"content": [{"type": "text", "text": "tools"}]}}',
        b'{"result": {"capabilities": {"tools": [{"name": "write"}]}}}',
        b'{"method": "notifications/tools/list_changed"}',
        b'{"error": {"tools": [{"name": "write"}]}}',
        b'{"result": 18446744073709551616}',
        b'{"result": "\xff"}',
        b"",
        b"[]",
    ],
)
def test_what_loses_nothing_is_untouched(document):
    assert filter_message(document, keep) == document


@pytest.mark.parametrize(
    "document",
    [
        b'{"result":{"tools":[]},"result":{"tools":[{"name":"write"}]}}',
        b'{"result":{"tools":[],"tools":[{"name":"write"}]}}',
        b'{"result":{"tools":[{"name":"write"}]}',
        b'\xef\xbb\xbf{"result":{"tools":[{"name":"write"}]}}',
        b'{"result":{"tools":[{"name":"write"}]}} {}',
        b'{"result":{"tools":{"name":"write"}}}',
        b'{"result":{"tools":null}}',
        b'[[{"result":{"tools":[{"name":"write"}]}}]]',
        b'"tools"',
        '{"result":{"tools":[{"name":"write"}]}}'.encode("utf-16"),
        '{"result":{"tools":[{"name":"write"}]}}'.encode("utf-32-be"),
    ],
)
def test_what_cannot_be_read_is_not_passed_on(document):
    found = filter_message(document, keep)
    assert isinstance(found, Refusal)
    assert found.code is Code.RESPONSE_UNREADABLE


def through(pieces, limit=LIMIT):
    stream = SseFilter(keep, limit)
    out = [stream.feed(piece) for piece in pieces]
    out.append(stream.finish())
    return b"".join(out), stream.refusal


LONG = orjson.dumps(answer("write", "read"))
SHORT = orjson.dumps(answer("read"))


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_only_the_data_of_an_event_is_changed(end):
    before = [b": hello", b"id: 7", b"event: message", b"data: " + LONG, b"retry:5", b"", b"data:x", b"", b""]
    after = [b"data: " + SHORT if line.startswith(b"data: {") else line for line in before]
    assert through([end.join(before)]) == (end.join(after), None)


def test_data_in_several_lines_becomes_one():
    first, second = b'{"result":{"tools":', b'[{"name":"write"}]}}'
    stream = b"data:" + first + b"\r\nid: 1\ndata: " + second + b"\r\n\n"
    assert through([stream]) == (b'data: {"result":{"tools":[]}}\r\nid: 1\n\n', None)


def test_a_byte_order_mark_at_the_start_hides_nothing():
    assert through([b"\xef\xbb\xbfdata: " + LONG + b"\n\n"]) == (
        b"\xef\xbb\xbfdata: " + SHORT + b"\n\n",
        None,
    )
    # Later it is part of a name that nobody knows.
    later = b"data: x\n\n\xef\xbb\xbfdata: " + LONG + b"\n\n"
    assert through([later]) == (later, None)


@pytest.mark.parametrize(
    "event",
    [
        b": ping\n\n",
        b"event: endpoint\ndata: /tools/messages?session=1\n\n",
        b"id: 1\ndata:\n\n",
        b"data: \n\n",
        b"data\n\n",
        b"event: ping\ndata: 2026-01-01 tools\n\n",
        b"datax: " + LONG + b"\n\n",
        b"\n\r\n\r\r",
        b"data: not JSON, and no list\n\n",
    ],
)
def test_events_that_hold_no_list_pass(event):
    assert through([event]) == (event, None)


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("before", ["data: 1", ": words", "event: x", "id: 7", "x"])
def test_no_line_that_ends_in_the_middle_for_some_hides_a_list(before, end):
    events = SseFilter(keep, LIMIT)
    line = f"{before}{end}data: ".encode() + orjson.dumps(answer("write"))
    assert events.feed(line + b"\n\n") == b""
    assert events.refusal is not None
    assert SseFilter(keep, LIMIT).feed(f"{before}{end}data: 7\n\n".encode()) != b""


def test_an_unreadable_event_ends_the_stream_after_those_before_it():
    stream = b"data: 1\n\ndata: {" + LONG + b"\n\ndata: 2\n\n"
    out, refusal = through([stream])
    assert out == b"data: 1\n\n"
    assert refusal is not None
    assert refusal.code is Code.RESPONSE_UNREADABLE


def test_an_event_has_a_longest_size():
    line = b"data: " + b"1" * 20
    assert through([line + b"\n\n" + line + b"\n\n"], limit=len(line) + 1)[1] is None
    out, refusal = through([b"data: 1\n\n" + line + b"\n\n"], limit=len(line))
    assert out == b"data: 1\n\n"
    assert refusal is not None
    # Also if no line and no event ever ends.
    assert through([b"x"] * (LIMIT + 1))[1] is not None
    assert through([b":x\n"] * LIMIT)[1] is not None


def test_nothing_comes_out_after_a_refusal():
    stream = SseFilter(keep, LIMIT)
    assert stream.feed(b"data: {tools\n\r") == b""
    assert stream.refusal is not None
    assert stream.feed(b"\ndata: 1\n\n") == b""
    assert stream.feed(b"data: " + SHORT + b"\n\n") == b""
    assert stream.finish() == b""


def test_an_open_event_at_the_end_is_judged_too():
    assert through([b"data: " + LONG]) == (b"data: " + SHORT, None)
    assert through([b"id: 1\ndata: " + LONG + b"\n"]) == (b"id: 1\ndata: " + SHORT + b"\n", None)
    out, refusal = through([b"data: 1\n\ndata: " + LONG[:-2]])
    assert out == b"data: 1\n\n"
    assert refusal is not None


ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
LINES = st.sampled_from(
    [
        b"", b"", b":c", b"id: 7", b"event: message", b"data: " + LONG, b"data:" + SHORT, b"data: " + LONG[:9],
        b"data: " + LONG[9:], b"data", b"data: /x", b"data: {tools", b"\xef\xbb\xbfdata: " + LONG, b"data:  1",
    ]
)  # fmt: skip
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=14).map(lambda lines: b"".join(a + b for a, b in lines))


@given(STREAMS | st.binary(max_size=60), st.lists(st.integers(0, 2000), max_size=12))
@example(b"data: x\r\n\r\n\r\n", [7, 8, 9, 10, 11, 12])
def test_any_chunking_gives_the_same(stream, cuts):
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(places)]
    whole = through([stream])
    assert through(pieces) == whole
    assert through([stream[i : i + 1] for i in range(len(stream))]) == whole


def read(stream):
    """A plain reader of events, after the letter of the specification: the data of each."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found, data = [], []
    for line in text.split(b"\n"):
        if not line:
            found += [b"\n".join(data)] if data else []
            data = []
        elif match := re.fullmatch(rb"data(?:: ?(.*))?", line, re.DOTALL):
            data.append(match[1] or b"")
    return found


@given(STREAMS)
def test_a_reader_sees_the_same_events_without_hidden_tools(stream):
    out, refusal = through([stream])
    before, after = read(stream), read(out)
    assert len(after) <= len(before)
    assert refusal is not None or len(after) == len(before)
    for old, new in zip(before, after, strict=False):
        assert b'"write"' not in new
        assert new == old or (
            json.loads(old) == answer("write", "read") and json.loads(new) == answer("read")
        )
