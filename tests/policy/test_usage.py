from proxy.policy.usage import Thing, Usage, scopes_of
from tests.policy import worlds
from tests.policy.recordings import TIME, call

LIST = "https://tickets.example.org/v1/tickets"
RULES = worlds.rules()


def usage(*calls) -> dict[tuple[str, str], tuple[int, int]]:
    counted = Usage(RULES.catalogue, RULES.policies, worlds.AGENTS)
    for recorded in calls:
        counted.add(recorded)
    return {tuple(thing): (use.calls, use.last) for thing, use in counted.table().items()}


def test_nothing_is_used_at_first():
    found = usage()
    assert set(found.values()) == {(0, 0)}
    assert [kind for kind, _ in found] == sorted(
        (kind for kind, _ in found), key=("service", "operation", "permit", "scope", "agent").index
    )
    assert {name for kind, name in found if kind == "permit"} == {"tickets.read", "tickets.reply"}
    assert ("scope", "reply") in found
    assert ("operation", "tickets.export") in found


def test_what_an_allowed_call_took_is_used():
    found = usage(
        call(RULES, "GET", LIST, scopes=["reply"]),
        call(RULES, "GET", LIST),
        call(RULES, "POST", f"{LIST}/7/replies", scopes=["reply", "other"]),
        call(RULES, "POST", "https://tickets.example.org/v1/export/x"),
    )
    used = {name: count for name, (count, last) in found.items() if last == TIME}
    assert used == {
        ("service", "tickets"): 3,
        ("operation", "tickets.list"): 2,
        ("operation", "tickets.reply"): 1,
        ("permit", "tickets.read"): 2,
        ("permit", "tickets.reply"): 1,
        ("scope", "reply"): 1,
        ("agent", "coder"): 3,
    }
    assert list(found)[:3] == [
        ("operation", "tickets.export"),
        ("operation", "tickets.get"),
        ("agent", "intern"),
    ]


def test_scopes_of_a_policy():
    rules = worlds.rules(
        b"""@id("a") permit (principal, action, resource)
        when { context.task.scopes.containsAll(["x", "y"]) || ["z"].containsAny(context.task.scopes) };"""
    )
    assert scopes_of(next(policy for policy in rules.policies if policy.id == "a")) == {"x", "y", "z"}
    assert Thing("a", "b") == ("a", "b")
