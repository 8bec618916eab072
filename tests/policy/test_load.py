"""Loading: everything that is wrong is told, with its place."""

import pytest

from proxy.policy.bundle import digest
from proxy.policy.cedar import RuleSet, load_rules
from tests.policy.worlds import AGENTS, FILES, PAY, POLICIES, TICKETS, rules

RULES = rules()


def test_the_digest_is_of_names_and_contents():
    assert digest({}) != digest({"a": b""}) != digest({"a": b"b"})
    assert digest({"a": b"1", "b": b"2"}) == digest({"b": b"2", "a": b"1"})
    assert digest({"a": b"b\x00" + b"1\nc"}) != digest({"a": b"", "b": b"c"})
    with pytest.raises(ValueError, match="NUL"):
        digest({"a\0b": b""})
    assert rules().sha256 == RULES.sha256 == digest(RULES.bundle)
    assert rules(POLICIES + b"\n").sha256 != RULES.sha256


def test_the_bundle_has_everything():
    assert set(RULES.bundle) == {*FILES, "builtin.cedar", "schema.cedarschema", "policies.json"}
    assert RULES.bundle["services/tickets.yaml"] == TICKETS


def complaints(files=None, agents=AGENTS, **changed):
    names = {"policies": "policies/tickets.cedar", "service": "services/tickets.yaml"}
    whole = {**FILES, **{names[key]: value for key, value in changed.items()}, **(files or {})}
    loaded = load_rules(whole, agents)
    assert isinstance(loaded, list)
    return [str(problem) for problem in loaded]


ANY = b"(principal, action, resource);"


@pytest.mark.parametrize(
    ("policies", "complaint"),
    [
        (b"permit " + ANY, 'policies/tickets.cedar:1: a policy needs a name: @id("...")'),
        (
            b'@id("a") permit ' + ANY + b'\n@id("a") forbid ' + ANY,
            '2: @id("a") stands also in policies/tickets.cedar:1',
        ),
        (b'@id("gatepass.x") permit ' + ANY, "names that start with gatepass. are taken"),
        (
            b'\n@id("a") permit (principal == Agent::"codr", action, resource);',
            ':2: a: Agent::"codr" is not in agents.yaml',
        ),
        (b'@id("a") forbid (principal in Tier::"hi", action, resource);', 'Tier::"hi" is not in agents.yaml'),
        (
            b'@id("a") forbid (principal, action, resource in Service::"tick");',
            'Service::"tick" is not in services/',
        ),
        (b'@id("a") forbid (principal, action, resource in Host::"A.example.org");', "can never match"),
        (b'@id("a") forbid (principal, action, resource in Host::"*.");', "can never match"),
        (b'@id("a") forbid (principal, action == Action::"tickets.nope", resource);', ":1: a: "),
        (
            b'@id("a") permit (principal, action, resource)\nwhen { context.scope };',
            ":1: a: attribute `scope`",
        ),
        (b'@id("a") permit (principal, action, resource) when { resource.port == "443" };', ":1: a: "),
        (b'@id("a") permit (principal, action, resource', "policies/tickets.cedar:1: not a Cedar policy"),
    ],
)
def test_a_bad_policy_is_named_with_file_and_line(policies, complaint):
    assert any(complaint in found for found in complaints(policies=policies)), complaints(policies=policies)


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (
            'principal, action == Action::"tickets.nope", resource',
            'Action::"tickets.nope" is no operation, service or group',
        ),
        ('principal, action == Action::"tickets.lst", resource', "did you mean tickets.list?"),
        ('principal, action in [Action::"read", Action::"wirte"], resource', "did you mean write?"),
        ('principal, action, resource in Service::"ticket"', "not in services/; did you mean tickets?"),
        ('principal == Agent::"codr", action, resource', "not in agents.yaml; did you mean coder?"),
        ('principal, action, resource in Host::"*.example.org"', "is not a host of a service"),
        ('principal, action, resource == Endpoint::"https://tickets.example.org/v1"', "is not an origin"),
        ('principal, action, resource == Endpoint::"https://tickets.example.org:443"', "is not an origin"),
    ],
)
def test_a_name_that_is_none_is_a_problem(head, complaint):
    found = complaints(policies=f'@id("a") forbid ({head});'.encode())
    assert any(f":1: a: {complaint}" in line or complaint in line for line in found), found


def test_names_of_every_kind_of_action_and_host_are_known():
    heads = ['action == Action::"http.read", resource in Host::"::1"', 'action in Action::"tickets", resource',
             'action == Action::"tickets.http.admin", resource in Host::"*.tickets.example.org"',
             'action in Action::"admin", resource == Endpoint::"http://[::1]:8080"']  # fmt: skip
    text = "".join(f'@id("p{index}") permit (principal, {head});' for index, head in enumerate(heads))
    assert isinstance(rules(text.encode()), RuleSet)


def test_an_annotation_that_is_not_known_is_a_problem():
    (found,) = complaints(policies=b'@id("a") @drop_header("cookie") permit ' + ANY)
    assert found.endswith("1: the annotation @drop_header is not known; did you mean @drop_headers?")
    (found,) = complaints(policies=b'@id("a") @max_response("1") forbid ' + ANY)
    assert "only what is permitted" in found


def test_budgets_are_rules_of_the_bundle():
    with_budgets = rules(b"", pay=PAY)
    text = with_budgets.bundle["builtin.cedar"].decode()
    assert '@id("gatepass.budget.pay.hourly")' in text
    assert [policy.id for policy in with_budgets.policies] == [
        *("gatepass.environment", "gatepass.method_override"),
        *("gatepass.budget.pay.hourly", "gatepass.budget.pay.daily"),
    ]
    assert with_budgets.homes == {"tickets": "services/tickets.yaml", "pay": "services/pay.yaml"}


def test_the_bundle_has_the_schema_of_what_is_read():
    schema = RULES.bundle["schema.cedarschema"].decode()
    assert "query_keys" in schema
    assert "content_type" not in schema
    assert "content_type" in RULES.schema


def test_positions_lead_back_to_the_right_policy():
    many = b"\n".join(b'@id("ok%d") permit ' % index + ANY for index in range(12))
    wrong = b'\n@id("wrong") permit (principal, action, resource) when { context.nope };'
    found = complaints(policies=many + wrong + b'\n@id("last") permit ' + ANY)
    assert found
    assert all(line.startswith("policies/tickets.cedar:13: wrong: ") for line in found)


def test_all_problems_are_told_at_once():
    found = complaints(
        {
            "services/bad.yaml": b"name: bad\n",
            "services/two.yaml": TICKETS,
            "policies/x.txt": b"",
            "policies/sub/y.cedar": b"",
        },
        policies=b"permit " + ANY,
    )
    text = "\n".join(found)
    for words in ("bad.yaml:1: hosts", "two.yaml: services/tickets.yaml has", "x.txt: not read", "y.cedar: not read",
                  "a policy needs a name"):  # fmt: skip
        assert words in text


def test_two_services_on_one_host_are_a_problem():
    other = TICKETS.replace(b"name: tickets", b"name: other")
    assert complaints({"services/zz.yaml": other}) == [
        "services/zz.yaml: tickets and other both claim https://tickets.example.org:443"
    ]


def test_with_a_broken_registry_agents_are_not_called_unknown():
    named = b'@id("a") permit (principal == Agent::"coder", action, resource);'
    assert isinstance(load_rules({"policies/a.cedar": named}, None), RuleSet)
    assert complaints({}, (), policies=named)[0].endswith("is not in agents.yaml")


def test_readmes_and_hidden_files_are_let_be():
    assert isinstance(
        load_rules({"policies/README.md": b"", "services/.keep": b"", "cases/a.yaml": b"["}, ()), RuleSet
    )
