"""Results of cases as JUnit XML, the form that CI systems read (https://github.com/testmoapp/junitxml)."""

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from proxy.policy.cases import Ran

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def junit(ran: Sequence[Ran]) -> bytes:
    """The whole report: a suite for each file, in the order of the cases."""
    failed = sum(not one.passed for one in ran)
    root = Element("testsuites", name="gatepass policy test", tests=str(len(ran)), failures=str(failed))
    for file in dict.fromkeys(one.case.file for one in ran):
        here = [one for one in ran if one.case.file == file]
        suite = SubElement(
            root,
            "testsuite",
            name=_legal(file),
            tests=str(len(here)),
            failures=str(sum(not one.passed for one in here)),
        )
        for one in here:
            _case(suite, one)
    text: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _case(suite: Element, one: Ran) -> None:
    place = {"file": _legal(one.case.file), "line": str(one.case.line or 1)}
    case = SubElement(
        suite, "testcase", {"classname": _legal(one.case.file), "name": _legal(one.case.name), **place}
    )
    if one.failures:
        failure = SubElement(case, "failure", message=_legal("; ".join(one.failures)), type="policy")
        spoke = ", ".join(one.rules) or "no rule spoke"
        failure.text = _legal(
            "\n".join((*one.failures, f"{one.effect} {one.code}".rstrip(), spoke, one.detail))
        )


def _legal(text: str) -> str:
    """The text without what XML cannot hold, escaped or not."""
    return _ILLEGAL.sub("\ufffd", text)
