from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.case_file import Case, parse_cases
from proxy.policy.cases import Ran
from proxy.policy.junit import junit


def ran(name: str, *failures: str, file: str = "cases/a.yaml", detail: str = "") -> Ran:
    text = b'cases: [{name: n, agent: a, expect: allow, request: {method: GET, url: "x"}}]'
    (case,) = parse_cases(text, file)
    assert isinstance(case, Case)
    import dataclasses

    named = dataclasses.replace(case, name=name)
    return Ran(named, None, "deny", ("r",), (), "policy_deny", detail, failures)


def test_a_report():
    root = ET.fromstring(
        junit([ran("fine"), ran("bad", "expected allow", "and more", detail="no"), ran("x", file="b")])
    )
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "3", "1")
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in root] == [
        ("cases/a.yaml", "2", "1"),
        ("b", "1", "0"),
    ]
    fine, bad = root[0]
    assert (fine.get("name"), fine.get("file"), fine.get("line"), len(fine)) == (
        "fine",
        "cases/a.yaml",
        "1",
        0,
    )
    assert bad[0].get("message") == "expected allow; and more"
    assert bad[0].text == "expected allow\nand more\ndeny policy_deny\nr\nno"


@given(st.text(), st.text(), st.text())
def test_whatever_is_said_is_escaped(name, failure, detail):
    data = junit([ran(name, failure or "x", detail=detail)])
    case = ET.fromstring(data)[0][0]
    assert len(case) == 1
    if name.isprintable():
        assert case.get("name") == name
