from proxy.policy.compared import Compared, Kind, compared
from proxy.policy.statement import Policy, parse_policies


def found(head: str, condition: str = "true") -> set[Compared]:
    text = f'@id("a") permit ({head}) when {{ {condition} }};'
    (policy,) = parse_policies(text.encode(), "x")
    assert isinstance(policy, Policy), policy
    return set(compared([policy]))


def when(condition: str) -> set[Compared]:
    return found("principal, action, resource", condition)


X = ("context", "x")


def test_heads():
    assert found('principal == Agent::"a", action, resource') == {
        Compared(("principal",), Kind.ENTITY, ("Agent::a",))
    }
    assert found('principal is Agent in Tier::"t", action, resource') == {
        Compared(("principal",), Kind.ENTITY, ("Tier::t",))
    }
    assert found('principal, action == Action::"a", resource in Service::"s"') == set()


def test_comparisons():
    assert when('context.x == "a"') == {Compared(X, Kind.VALUE, ("a",))}
    assert when('"a" != context.x') == {Compared(X, Kind.VALUE, ("a",))}
    assert when("context.x < 5") == {Compared(X, Kind.ORDER, (5,))}
    assert when("5 >= context.x") == {Compared(X, Kind.ORDER, (5,))}
    assert when('context.x.contains("a")') == {Compared(X, Kind.MEMBER, ("a",))}
    assert when('["a", "b"].contains(context.x)') == {
        Compared(X, Kind.VALUE, ("a",)),
        Compared(X, Kind.VALUE, ("b",)),
    }
    assert when('context.x.containsAll(["a", "b"])') == {
        Compared(X, Kind.MEMBER, ("a", "b")),
        Compared(X, Kind.MEMBER, ("a",)),
        Compared(X, Kind.MEMBER, ("b",)),
    }
    assert when('context.x like "*a*b"') == {Compared(X, Kind.PATTERN, ("ab",))}
    assert when('principal in [Tier::"t", Tier::"u"]') == {
        Compared(("principal",), Kind.ENTITY, ("Tier::t",)),
        Compared(("principal",), Kind.ENTITY, ("Tier::u",)),
    }


def test_deep_inside():
    assert when("!(context.x || context.y == 1) && (if context.z then true else false)") == {
        Compared(X, Kind.TRUTH, ()),
        Compared(("context", "y"), Kind.VALUE, (1,)),
        Compared(("context", "z"), Kind.TRUTH, ()),
    }
    assert when("context.x < context.y") == {
        Compared(X, Kind.TRUTH, ()),
        Compared(("context", "y"), Kind.TRUTH, ()),
    }
