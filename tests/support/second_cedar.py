"""The same questions to another build of Cedar: npm's ``@cedar-policy/cedar-wasm``, pinned in ``tests/support/cedar``.

``SecondCedar`` asks it. ``second_opinion`` takes every ruling of a log again, given nothing but the log and the
rule sets that are kept beside it, and tells where the other Cedar says something else than was recorded.
"""

import json
import re
import select
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pytest

from proxy.audit.record import Record, parse
from proxy.policy.bundle import digest
from proxy.store import bundles
from proxy.store.reader import entries
from tests.support import from_npm

SOURCE = Path(__file__).parent / "cedar"
WAIT_S = 60.0
_EXACT = 2**53 - 1  # Node reads numbers as doubles
_POLICY = re.compile(r"policy `([^`]*)`")
_BY_RULES = ("default_deny", "policy_deny", "policy_error")

Document = Mapping[str, Any]


class Answer(NamedTuple):
    """``effect`` is allow, deny, hold, or error: the rules could not be evaluated. ``errors`` are ids of policies."""

    effect: str
    rules: tuple[str, ...]
    errors: tuple[str, ...]
    why: str = ""

    def __str__(self) -> str:
        rules, errors = ", ".join(self.rules) or "no rule", ", ".join(self.errors) or "no errors"
        return f"{self.effect} by {rules} with {errors}{self.why and f' ({self.why})'}"


class Rules(NamedTuple):
    """A rule set as it is kept: Cedar's schema, and the policies under their ids."""

    schema: str
    policies: Document


def started(factory: pytest.TempPathFactory) -> Iterator["SecondCedar"]:
    """One for a fixture; skips where it cannot be had."""
    try:
        home = from_npm.installed(factory, SOURCE)
    except subprocess.SubprocessError as error:
        pytest.skip(f"npm does not get @cedar-policy/cedar-wasm: {error}")
    with SecondCedar(home) as second:
        yield second


class SecondCedar:
    """A process of Node; ``home`` is where ``SOURCE`` is installed."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            ("node", "decide.mjs"), cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It ends with its standard input."""
        with self._process:
            self._process.communicate(timeout=WAIT_S)

    def decide(self, jobs: Iterable[tuple[Rules, Sequence[Document]]]) -> list[list[Answer]]:
        """What the other Cedar says to all questions under all these rules."""
        found = []
        for rules, questions in jobs:
            said = self._ask({"schema": rules.schema, "policies": rules.policies, "questions": [*questions]})
            assert len(said) == len(questions)
            found.append([_answer(one) for one in said])
        return found

    def validate(self, rules: Rules) -> list[str]:
        """What the other Cedar's validator, which is strict, finds wrong with these."""
        return self._ask({"validate": True, "schema": rules.schema, "policies": rules.policies})

    def _ask(self, job: Document) -> list[Any]:
        _exact(job)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        answer: list[Any] = json.loads(self._line())
        return answer

    def _line(self) -> bytes:
        """The next line that it prints, within the time."""
        pipe, line, until = self._process.stdout, bytearray(), time.monotonic() + WAIT_S
        assert pipe is not None
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], until - time.monotonic())
            piece = pipe.read(1_048_576) if ready else b""
            assert piece, f"the other Cedar did not answer: {self._process.poll()}"
            line += piece
        return bytes(line)


def _exact(value: object) -> None:
    """The other side must get the very numbers that were decided on."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        for member in value:
            _exact(member)
    assert not isinstance(value, float), value
    assert not isinstance(value, int) or abs(value) <= _EXACT, value


def _answer(said: Document) -> Answer:
    """An allow counts with a reason and without any error; errors and no reason: nothing was evaluated."""
    if said["decision"] == "none":
        return Answer("error", (), (), said["why"])
    rules, errors = tuple(said["rules"]), tuple(said["errors"])
    if errors and (said["decision"] == "allow" or not rules):
        return Answer("error", (), errors)
    return Answer("allow" if said["decision"] == "allow" and rules else "deny", rules, errors)


# -- the log --


class Said(NamedTuple):
    """One ruling of a record. ``effect`` is "" where the record tells only what came of the whole call."""

    record: str
    place: str
    ruleset: str
    effect: str
    rules: tuple[str, ...]
    errors: tuple[str, ...]
    document: Document


@dataclass(frozen=True, slots=True)
class Opinion:
    """What was compared, with the other Cedar's answers; ``problems`` name the record and both sides."""

    compared: tuple[tuple[Said, Answer], ...]
    problems: tuple[str, ...]

    def effects(self, place: str = "") -> set[str]:
        """What the other Cedar said of rulings at such a place."""
        return {answer.effect for said, answer in self.compared if said.place.startswith(place)}


def second_opinion(log: Path, second: SecondCedar) -> Opinion:
    """Every ruling of the log, taken again by the other Cedar."""
    records = [record for entry in entries(log) if (record := parse(entry)).kind == "decision"]
    wanted = [said for record in records for said in rulings(record)]
    return opinion(records, {name: kept(log, name) for name in {said.ruleset for said in wanted}}, second)


def opinion(records: Sequence[Record], sets: Mapping[str, Rules], second: SecondCedar) -> Opinion:
    """The same of these decisions under these rule sets, by their digests."""
    found = compare([said for record in records for said in rulings(record)], sets, second)
    whole = [
        _whole(record, [one for one in found.compared if one[0].record == record.id]) for record in records
    ]
    return Opinion(found.compared, (*found.problems, *(problem for problem in whole if problem)))


def compare(every: Sequence[Said], sets: Mapping[str, Rules], second: SecondCedar) -> Opinion:
    """Each of these rulings alone."""
    by_set = {name: [said for said in every if said.ruleset == name] for name in sets}
    jobs = [
        (rules, [question(said, approved) for said in by_set[name] for approved in (False, True)])
        for name, rules in sets.items()
    ]
    answers = [
        (said, _held(said, found[2 * index], found[2 * index + 1]))
        for name, found in zip(sets, second.decide(jobs), strict=True)
        for index, said in enumerate(by_set[name])
    ]
    assert len(answers) == len(every), "a ruling without its rule set"
    told = [_difference(said, answer, sets[said.ruleset]) for said, answer in answers]
    return Opinion(tuple(answers), tuple(problem for problem in told if problem))


def kept(log: Path, sha256: str) -> Rules:
    """The rule set with this digest, as it is kept beside the log."""
    files = bundles.unpack((log / bundles.FOLDER / sha256).read_bytes())
    assert digest(files) == sha256, f"what is kept as {sha256} is another rule set"
    return bundled(files)


def bundled(files: Mapping[str, bytes]) -> Rules:
    """What it takes to decide, out of the files of a bundle."""
    return Rules(files["schema.cedarschema"].decode(), json.loads(files["policies.json"]))


def rulings(record: Record) -> Iterator[Said]:
    """Every ruling that a record tells of."""
    why: Any = record.raw["why"]
    if "input" not in why:
        return
    effect = "hold" if why.get("held") else "allow" if why["effect"] == "allow" else ""
    yield _said(record, "input", why["ruleset_sha256"], effect, why)
    for part in ("batch", "above"):
        for number, entry in enumerate(why.get(part, ())):
            yield _said(record, f"{part}[{number}]", why["ruleset_sha256"], entry["effect"], entry)
    shadow = why.get("shadow")
    if shadow is not None:
        effect = "error" if shadow["code"] == "policy_error" else shadow["effect"]
        yield _said(record, "shadow", shadow["ruleset_sha256"], effect, shadow)


def _said(record: Record, place: str, ruleset: str, effect: str, told: Document) -> Said:
    errors = {found[1] for text in told.get("errors", ()) if (found := _POLICY.search(text)) is not None}
    document = told["input"]
    assert "entities" in document, f"{record.id}, {place}: the input is not there"
    if effect in ("", "deny") and told.get("errors") and not told["rules"]:
        effect = "error"
    return Said(record.id, place, ruleset, effect, tuple(told["rules"]), tuple(sorted(errors)), document)


def question(said: Said, approved: bool) -> Document:  # noqa: FBT001 - as in Cedar's context
    """The question that was decided, also as if a person had approved it."""
    context = said.document["context"]
    if approved and "approved" in context:
        context = context | {"approved": True}
    return {**said.document, "context": context}


def _held(said: Said, plain: Answer, approved: Answer) -> Answer:
    """A hold is a denial without errors that would be an allow with approval."""
    waits = said.document["context"].get("approved") is False and plain.effect == "deny" and not plain.errors
    return approved._replace(effect="hold") if waits and approved.effect == "allow" else plain


def _effect(said: Said, rules: Rules) -> str:
    """The recorded effect; where there is none it is that of the rules that are said to have determined it."""
    policies = rules.policies["staticPolicies"]
    effects = {policies[rule]["effect"] for rule in said.rules}
    return said.effect or ("allow" if effects == {"permit"} else "deny")


def _difference(said: Said, answer: Answer, rules: Rules) -> str | None:
    recorded = Answer(_effect(said, rules), tuple(sorted(said.rules)), said.errors)
    if said.place == "shadow":  # of a shadow's errors only the code is recorded
        recorded = recorded._replace(errors=answer.errors)
    if recorded == answer._replace(why=""):
        return None
    return f"record {said.record}, {said.place}: recorded is {recorded}; the other Cedar says {answer}"


def _whole(record: Record, answers: Sequence[tuple[Said, Answer]]) -> str | None:
    """What came of the call against what the other Cedar says to all of its parts."""
    effects = {answer.effect for said, answer in answers if said.place != "shadow"}
    denied = bool(effects & {"deny", "error"})
    by_budget = record.code == "rate_limited" and record.rule.startswith("gatepass.budget.")
    if record.effect == "allow":
        fits = effects <= {"allow"}
    elif record.code in _BY_RULES or by_budget:
        fits = denied
    elif record.code.startswith("approval"):
        fits = "hold" in effects and not denied
    else:
        fits = True
    what = f"{record.effect} {record.code}".rstrip()
    return None if fits else f"record {record.id}: recorded is {what}; the other Cedar says {effects}"
