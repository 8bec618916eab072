from proxy.audit.record import parse
from proxy.audit.trace import Call, chain, refused, unfinished
from tests.audit.logs import Writer


def story():
    writer = Writer()
    ids, entries = {}, [writer.event("boot"), writer.event("task.open", task="t1", agent="a")]

    def decide(name, **facts):
        ids[name], entry = writer.decide(**facts)
        entries.append(entry)

    decide("ok", task="t1", path="/ok")
    decide("other", task="t2")
    decide("no", task="t1", effect="deny", code="default_deny")
    entries.append(writer.end(ids["other"]))
    decide("late", task="t1", path="/late")
    entries.append(writer.end(ids["ok"]))
    entries.append(writer.end(ids["late"], result="refused", code="dest_private", status=403))
    decide("died", task="t1", path="/died")
    decide("lost", task="t1", path="/lost")
    entries.append(writer.event("outcome.unknown", decision_id=ids["lost"]))
    entries.append(writer.event("task.end", task={"id": "t1"}))
    return ids, entries


IDS, ENTRIES = story()
RECORDS = [parse(entry) for entry in ENTRIES]


def test_the_chain_of_a_task():
    told = [
        (item.decision.path, item.decision.code, item.outcome and (item.outcome.kind, item.outcome.result))
        if isinstance(item, Call)
        else item.kind
        for item in chain(RECORDS, "t1")
    ]
    assert told == [
        "task.open",
        ("/ok", "", ("outcome", "complete")),
        ("/", "default_deny", None),
        ("/late", "", ("outcome", "refused")),
        ("/died", "", None),
        ("/lost", "", ("outcome.unknown", "")),
        "task.end",
    ]


def test_the_chain_of_a_task_goes_on_in_what_was_delegated_from_it():
    writer = Writer()
    links = [
        {"agent": "a", "task": "t1", "grant_sha256": ""},
        {"agent": "b", "task": "t2", "grant_sha256": ""},
    ]
    below, entry = writer.decide(task="t2", agent="b", path="/below", chain=links)
    _, above = writer.decide(task="t0", agent="z", path="/above")
    entries = [
        writer.event("task.open", task="t1", agent="a", parent="t0"),
        writer.event("task.open", task="t2", agent="b", parent="t1"),
        entry,
        above,
        writer.end(below),
        writer.event("task.open", task="t3", agent="c", parent="t2"),
        writer.event("revocation", task="t0", tasks=["t0", "t1", "t2"]),
        writer.event("task.end", task="t0", agent="z"),
        writer.event("revocation", agent="x", tasks=["t9"]),
    ]
    records = [parse(each) for each in entries]
    told = [item.decision.path if isinstance(item, Call) else item.kind for item in chain(records, "t1")]
    assert told == ["task.open", "task.open", "/below", "task.open", "revocation"]
    assert [item.kind for item in chain(records, "t3")] == ["task.open"]


def test_no_chain_of_an_unknown_task():
    assert chain(RECORDS, "t9") == ()


def test_what_was_refused():
    assert [(decision.id, why.code) for decision, why in refused(RECORDS)] == [
        (IDS["no"], "default_deny"),
        (IDS["late"], "dest_private"),
    ]


def test_a_decision_that_does_not_say_allow_is_a_refusal():
    entry = Writer().decide(effect="perhaps")[1]
    assert len(refused([parse(entry)])) == 1


def test_what_is_unfinished():
    assert unfinished(ENTRIES) == [IDS["died"]]
    assert unfinished(ENTRIES[:5]) == [IDS["ok"], IDS["other"]]
    assert unfinished([]) == []
