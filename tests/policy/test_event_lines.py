import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.event_lines import EventLines

LINES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"dat", b"datax: c", b"Data: d", b": e", b"event: data:", b"", b"data:"]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def read(pieces):
    events, data = [], []

    def event():
        events.append(b"".join(data))
        data.clear()

    reader = EventLines(data.append, event)
    for piece in pieces:
        reader.feed(piece)
    return events, b"".join(data)


def reference(content):
    """The same, on the whole content, line by line."""
    events, data = [], b""
    *lines, last = re.split(rb"\r\n|\r|\n", content)
    for line in lines:
        if line.startswith(b"data:"):
            data += line[5:] + b"\n"
        elif not line:
            events.append(data)
            data = b""
    return events, data + (last[5:] if last.startswith(b"data:") else b"")


@given(st.lists(st.tuples(LINES, ENDS)), LINES, st.lists(st.integers(0, 200), max_size=30))
def test_events_are_the_same_however_the_stream_is_cut(lines, last, cuts):
    content = b"".join(line + end for line, end in lines) + last
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[start:end] for start, end in pairwise(edges)]
    assert read(pieces) == read([content]) == reference(content)
    assert read([content[i : i + 1] for i in range(len(content))]) == reference(content)
