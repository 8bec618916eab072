"""Rule sets that are valid and questions that fit them, made up: for whoever holds two ways of deciding together."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from hypothesis import strategies as st

from proxy.identity.principal import Agent, Task
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.content import Act
from proxy.policy.decision import Question, RequestFacts
from proxy.policy.document import canonical
from proxy.policy.fact import FactType
from proxy.policy.operation import UNCATALOGUED
from proxy.policy.schema import schema_text
from tests.policy.worlds import AGENTS, right, target, task

SHOP = b"""\
name: shop
hosts: [shop.example.org, "*.shop.example.org"]
owner: sales@example.org
data_owner: privacy@example.org
sensitivity: confidential
environments: [development]
endpoints: {"/mcp": mcp, "/graphql": graphql, "/cart/{m}": grpc}
operations:
  order: {group: write, method: POST, path: "/orders/{id}", facts: {query: {"dry?": bool},
    body: {amount: long, "to.name?": string, tags: [string]}}}
  find: {group: read, tool: find, facts: {input: {query: string, "limit?": long}}}
  ask: {group: read, graphql: query.ask, facts: {input: {"first?": long}}}
  chat: {group: write, method: POST, path: "/chat", llm: openai}
budgets: {calls: {per: task, window: 1h, requests: 10}, cost: {per: agent, window: 1d, cost: 1.5}}
prices: {"*": {input: 1, output: 2}}
"""
PLAIN = b"""\
name: plain
hosts: [plain.example.org]
owner: sales@example.org
data_owner: privacy@example.org
sensitivity: public
environments: [production]
operations:
  get: {group: read, method: GET, path: "/a/{id}"}
"""
SERVICES = {"services/shop.yaml": SHOP, "services/plain.yaml": PLAIN}
WORDS = ["", "a", "GET", "POST", "coder", "development", "/orders/7", "7", "x y", "é", "*"]
SCOPES = ["a", "b", "c"]
HUGE = 2**53 - 1

# -- rules --

WORD = st.sampled_from(WORDS).map(lambda word: json.dumps(word, ensure_ascii=False))
ANYWHERE = {  # attributes that every question has
    FactType.STRING: [
        *("principal.environment", "principal.tier", "resource.host", "resource.sensitivity"),
        *("resource.service", "context.task.id", "context.task.purpose", "context.task.on_behalf_of"),
        *(f"context.request.{name}" for name in ("content_type", "method", "path", "upgrade")),
    ],
    FactType.LONG: ["resource.port", "context.request.time"],
    FactType.BOOL: [
        *("context.approved", "context.task.delegated", "context.request.has_body", "resource.catalogued")
    ],
    FactType.STRINGS: ["context.task.scopes", "context.request.query_keys", "resource.environments"],
}
WHO = [
    *["principal"] * 2,
    "principal is Agent",
    'principal in Tier::"standard"',
    'principal == Agent::"intern"',
]
WIDE = ["action", "action", 'action in Action::"read"', 'action in [Action::"shop", Action::"http.read"]']
IN = ['resource in Service::"shop"', 'resource in Host::"x.example.org"']
WHERE = ["resource", "resource", "resource is Endpoint", *IN]
THERE = {  # those of one service or of one of its actions, and of none other
    "shop": {
        FactType.LONG: ["context.budgets.calls.used", "context.budgets.cost.limit"],
        FactType.BOOL: ["(context.facts has body && context.facts.body.amount > 3)"],
    },
    "shop.order": {
        FactType.STRING: ["context.facts.path.id"],
        FactType.LONG: ["context.facts.body.amount", "context.budgets.calls.used"],
        FactType.BOOL: ["(context.facts.query has dry && context.facts.query.dry)"],
        FactType.STRINGS: ["context.facts.body.tags"],
    },
    "shop.find": {
        FactType.STRING: ["context.facts.input.query", "context.facts.mcp.tool"],
        FactType.LONG: ["context.budgets.calls.used"],
        FactType.BOOL: ["context.facts.mcp.batch", "(context.facts.input has limit)"],
    },
    "shop.ask": {
        FactType.LONG: ["context.facts.graphql.depth"],
        FactType.STRINGS: ["context.facts.graphql.fields"],
        FactType.BOOL: ["(context.facts.input has first && context.facts.input.first > 3)"],
    },
    "shop.chat": {
        FactType.STRING: ["context.facts.llm.model"],
        FactType.LONG: ["context.facts.llm.max_tokens"],
        FactType.STRINGS: ["context.facts.llm.tools"],
    },
}
OFTEN = ["true", "context.approved", f"context.request.time * {HUGE} < {HUGE}"]  # the last may overflow
ENTITIES = [
    *(
        'principal == Agent::"coder"',
        'principal in Tier::"low"',
        "principal is Agent",
        "resource is Endpoint",
    ),
    *('resource in Service::"shop"', 'resource in Host::"*.shop.example.org"', 'action in Action::"read"'),
    'action in [Action::"write", Action::"plain"]',
]


@lru_cache
def condition(action: str) -> st.SearchStrategy[str]:
    """Boolean expressions that are valid for this action; for all of them if it is ""."""
    more = THERE.get(action, {})

    def named(kind: FactType) -> st.SearchStrategy[str]:
        return st.sampled_from(ANYWHERE[kind] + more.get(kind, []))

    text = named(FactType.STRING) | WORD
    number = st.recursive(
        named(FactType.LONG) | st.sampled_from([0, 1, 443, -7, HUGE]).map(str),
        lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner),
        max_leaves=3,
    )
    words = named(FactType.STRINGS) | st.lists(WORD, min_size=1, max_size=3).map(
        lambda members: f"[{', '.join(members)}]"
    )
    single = (
        named(FactType.BOOL)
        | st.sampled_from(OFTEN)
        | st.sampled_from(ENTITIES)
        | st.builds("{} {} {}".format, text, st.sampled_from(["==", "!="]), text)
        | st.builds("{} like {}".format, text, st.sampled_from(['"*"', '"a*"', r'"*\*"', '"/*/7"', '"G*T"']))
        | st.builds("{} {} {}".format, number, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), number)
        | st.builds("{}.contains({})".format, words, text)
        | st.builds("{}.{}({})".format, words, st.sampled_from(["containsAll", "containsAny"]), words)
        | words.map("{}.isEmpty()".format)
    )
    return st.recursive(
        single.map("({})".format),
        lambda inner: (
            inner.map("(!{})".format)
            | st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||"]), inner)
            | st.builds("(if {} then {} else {})".format, inner, inner, inner)
        ),
        max_leaves=4,
    )


@st.composite
def policy(draw: st.DrawFn) -> str:
    about = draw(st.sampled_from(["", "", *THERE]))
    action = "action" if "." not in about else f'action == Action::"{about}"'
    action = draw(st.sampled_from(WIDE)) if not about else action
    where = 'resource in Service::"shop"' if about == "shop" else draw(st.sampled_from(WHERE))
    clauses = draw(st.lists(st.sampled_from(["when", "unless"]), max_size=1))
    bodies = [f"{clause} {{ {draw(condition(about))} }}" for clause in clauses]
    effect = draw(st.sampled_from(["permit"] * 5 + ["forbid"]))
    return f"{effect}({draw(st.sampled_from(WHO))}, {action}, {where}) {' '.join(bodies)};"


def files(policies: list[str]) -> dict[str, bytes]:
    text = "\n".join(f'@id("p{index}") {one}' for index, one in enumerate(policies))
    return {**SERVICES, "policies/all.cedar": text.encode(), "agents.yaml": b"agents: []\n"}


@lru_cache
def whole_schema() -> str:
    """The one that rules are written by."""
    return schema_text(loaded([]).catalogue.services)


# -- questions --

TEXT = st.sampled_from(WORDS) | st.text(max_size=3)
NUMBER = st.sampled_from([0, 1, 3, 4, 7, 100, -1, HUGE, -HUGE])
STRINGS = st.lists(TEXT, max_size=3)
OBJECT = st.fixed_dictionaries
FACTS = {
    "order": OBJECT(
        {
            "path": OBJECT({"id": TEXT}),
            "query": OBJECT({}, optional={"dry": st.booleans()}),
            "body": OBJECT(
                {"amount": NUMBER, "tags": STRINGS}, optional={"to": OBJECT({}, optional={"name": TEXT})}
            ),
        }
    ),
    "find": OBJECT(
        {
            "mcp": OBJECT({"method": TEXT, "tool": TEXT, "uri": TEXT, "batch": st.booleans()}),
            "input": OBJECT({"query": TEXT}, optional={"limit": NUMBER}),
        }
    ),
    "ask": OBJECT(
        {
            "graphql": OBJECT(
                {
                    "operation": TEXT,
                    "name": TEXT,
                    "fields": STRINGS,
                    "depth": NUMBER,
                    "persisted": st.booleans(),
                }
            ),
            "input": OBJECT({}, optional={"first": NUMBER}),
        }
    ),
    "chat": OBJECT(
        {"llm": OBJECT({"model": TEXT, "stream": st.booleans(), "tools": STRINGS, "max_tokens": NUMBER})}
    ),
    "get": OBJECT({"path": OBJECT({"id": TEXT})}),
}
PLACES = [
    *(
        (("https://shop.example.org/orders/7", name))
        for name in ("order", "find", "ask", "chat", "http.write")
    ),
    *(("https://eu.shop.example.org/", "chat"), ("https://plain.example.org/a/b", "get")),
    *(("http://x.example.org/", "http.read"), ("https://[::1]/7", "http.read")),
]


class Asked(NamedTuple):
    """All that a question is made of, whatever the rules are. ``used``: of every budget; None: its limit."""

    url: str
    operation: str
    facts: Mapping[str, object]
    used: int | None
    agent: Agent
    of: Task
    method: str
    request: RequestFacts
    approved: bool


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    url, operation = draw(st.sampled_from(PLACES))
    return Asked(
        url,
        operation,
        draw(FACTS.get(operation, st.just({}))),
        draw(st.sampled_from([0, 3, None])),
        draw(st.sampled_from(AGENTS)),
        task(
            draw(st.sampled_from(["development", "production"])),
            tuple(draw(st.sets(st.sampled_from("abc")))),
            parent=draw(st.sampled_from([None, "t-0"])),
        ),
        draw(st.sampled_from(["GET", "POST"])),
        draw(
            st.builds(
                RequestFacts, st.booleans(), TEXT, STRINGS.map(tuple), st.just(""), st.integers(0, HUGE)
            )
        ),
        draw(st.booleans()),
    )


def question(one: Asked, ruleset: RuleSet) -> Question:
    """What is asked under these rules: with what they need to know of the content."""
    to = target(one.url)
    site = ruleset.site(to.origin)
    service = site.service
    every = UNCATALOGUED if service is None else service.all_operations
    (operation,) = (
        each for each in every if each.id.removeprefix("shop.").removeprefix("plain.") == one.operation
    )
    groups = one.facts.keys() & site.needs.facts & operation.fact_groups
    facts = {group: one.facts[group] for group in groups}
    used = {
        budget.name: {"limit": budget.limit, "used": budget.limit if one.used is None else one.used}
        for budget in (service.budgets if service else ())
    }
    return Question(
        *(one.agent, one.of, right(one.of, *one.of.scopes), one.method, to, one.request),
        *(Act(operation, canonical(facts)), canonical(used), one.approved),
    )


def loaded(policies: list[str]) -> RuleSet:
    ruleset = load_rules(files(policies), AGENTS)
    assert isinstance(ruleset, RuleSet), [str(problem) for problem in ruleset]
    return ruleset
