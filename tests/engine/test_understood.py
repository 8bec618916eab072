"""Rules in the shadow that read content: they learn what they can, and nobody is refused for their sake."""

import json

from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.shadow import ShadowPdp
from tests.engine.ports import AGENTS, engine
from tests.support import demo_rules
from tests.support.upstream import Upstream

PAY = {
    "method": "POST",
    "path": "/pay",
    "group": "write",
    "facts": {"body": {"amount": "long"}, "query": {"to?": "string"}},
}
ANY = '@id("any") permit(principal, action in Action::"write", resource);'
CHEAP = (
    '@id("cheap") permit(principal, action == Action::"api.pay", resource)'
    " when { context.facts.body.amount <= 100 };"
)


def ruleset(up: Upstream, policy: str) -> RuleSet:
    service = demo_rules.service("api", *up.hosts, ports=[up.port], schemes=["http"], operations={"pay": PAY})
    files = {"services/api.yaml": json.dumps(service).encode(), "policies/x.cedar": policy.encode()}
    rules = load_rules(files, None)
    assert isinstance(rules, RuleSet), [str(problem) for problem in rules]
    return rules


async def paid(
    body: bytes,
    *headers: str,
    chunked: bool = False,
    limit: int = 1024,
    path: str = "/pay",
    enforced: str = ANY,
    shadow: str = CHEAP,
):
    """What became of one call, with rules in the shadow: its status, and what its record says of them."""
    async with Upstream("api.test", tls=False) as up:
        other = ruleset(up, shadow)
        pdp = ShadowPdp(ruleset(up, enforced), other, other.sha256)
        async with (
            engine(upstream=Stays(up), pdp=pdp, content=limit) as e,
            await e.client(AGENTS[0]) as client,
        ):
            framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
            head = e.head(path, "Content-Type: application/json", framing, *headers, method="POST")
            await client.send(head + (b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body))
            answer = await client.read_response()
            (decision,) = [record for record in e.records if record.kind == "decision"]
            assert [request.length for request in up.requests] == [len(body)]
            return answer.status, decision.raw["why"].get("shadow")


class Stays:
    """An upstream that is running already, as something to enter."""

    def __init__(self, up: Upstream) -> None:
        self._up = up

    async def __aenter__(self) -> Upstream:
        return self._up

    async def __aexit__(self, *_: object) -> None:
        return None


async def test_the_shadow_sees_what_it_reads():
    status, shadow = await paid(b'{"amount": 7}')
    assert (status, shadow["effect"], shadow["rules"]) == (200, "allow", ["cheap"])
    assert shadow["input"]["context"]["facts"] == {"body": {"amount": 7}}
    status, shadow = await paid(b'{"amount": 700}')
    assert (status, shadow["effect"], shadow["code"]) == (200, "deny", "default_deny")


async def test_what_it_cannot_make_sense_of_refuses_nobody():
    for body in (b'{"amount": 1, "amount": 2}', b"{}", b"not json", b'{"amount": "x"}'):
        status, shadow = await paid(body)
        assert (status, shadow["effect"]) == (200, "deny")


async def test_what_is_too_long_or_of_no_known_length_is_not_read_for_it():
    for body, chunked in ((b'{"amount": 1%s}' % (b" " * 2000), False), (b'{"amount": 1}', True)):
        status, shadow = await paid(body, chunked=chunked)
        assert (status, shadow["code"]) == (200, "policy_error")


async def test_what_it_alone_reads_of_the_query_refuses_nobody_whose_content_has_to_be_read():
    curious = CHEAP.replace("context.facts.body.amount <= 100", "context.facts.query has to")
    status, shadow = await paid(b'{"amount": 7}', path="/pay?to=a&to=b", enforced=CHEAP, shadow=curious)
    assert (status, shadow["effect"]) == (200, "deny")
