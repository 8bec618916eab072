"""Who needs a standing task: agents of listeners, and those that can be known to what is configured."""

import pytest

from proxy.cli.standing_agents import Standing, standing_agents
from proxy.identity import ways
from proxy.identity.principal import Agent, Method
from proxy.identity.registry import Registry
from proxy.identity.ways import DEFAULT_WAYS, Way
from proxy.settings import IdentitySettings, Listen

ID = "spiffe://example.org/agents/coder"
OIDC = ways.token("github", "repo:acme/app", {})
JWT, X509 = ways.svid(ID, Method.JWT_SVID), ways.svid(ID, Method.X509_SVID)
UNIX = ways.process(1000, "")
TCP = Listen(address="127.0.0.1:8470")
SOCKET = Listen(unix="/run/a.sock")
TLS = Listen(address="127.0.0.1:8443", tls={"trust_domain": "example.org"})
IDENTITY = IdentitySettings.model_validate(
    {
        "issuers": [{"name": "github", "issuer": "https://github.test", "audiences": ["gatepass"]}],
        "trust_domains": [{"name": "example.org"}],
    }
)
NOTHING = IdentitySettings()


def found(identity: IdentitySettings, listen: list[Listen], *entries: Way) -> list[Standing]:
    agents = [Agent("coder", "development", "low", "ada", "grace")]
    return standing_agents(identity, Registry.of(agents, {"coder": entries or DEFAULT_WAYS}), listen)


@pytest.mark.parametrize(
    ("way", "listen", "named"),
    [(OIDC, TCP, "oidc"), (JWT, TCP, "jwt-svid"), (X509, TLS, "x509-svid"), (UNIX, SOCKET, "unix")],
)
def test_an_agent_that_can_prove_itself(way, listen, named):
    identity = IDENTITY if way is not UNIX else NOTHING
    assert found(identity, [listen], way) == [Standing("coder", f"authenticates by {named}", None)]


@pytest.mark.parametrize(
    ("way", "identity", "listen"),
    [
        (OIDC, NOTHING, TCP),
        (ways.token("gitlab", "s", {}), IDENTITY, TCP),
        (JWT, NOTHING, TCP),
        (ways.svid("spiffe://example.com/a", Method.JWT_SVID), IDENTITY, TCP),
        (X509, IDENTITY, TCP),  # a listener that asks for a certificate is lacking
        (X509, NOTHING, TLS),
        (ways.svid("spiffe://example.com/a", Method.X509_SVID), IDENTITY, TLS),
        (UNIX, IDENTITY, TLS),
        (Way(Method.SESSION), IDENTITY, TLS),
        (Way(Method.LISTENER), IDENTITY, TLS),
    ],
)
def test_an_agent_that_nothing_here_could_know(way, identity, listen):
    assert found(identity, [listen], way) == []


def test_every_way_is_named_once_and_in_order():
    entries = (UNIX, JWT, OIDC, ways.token("github", "other", {}), Way(Method.SESSION))
    (one,) = found(IDENTITY, [TCP, SOCKET], *entries)
    assert one.purpose == "authenticates by jwt-svid, oidc, unix"


def test_a_listener_speaks_for_its_agent_whatever_else_there_is():
    own = TCP.model_copy(update={"agent": "coder"})
    assert found(IDENTITY, [own], OIDC) == [Standing("coder", "listener 127.0.0.1:8470", own)]
    nobody = TCP.model_copy(update={"agent": "nobody"})
    assert [one.agent for one in found(IDENTITY, [nobody], OIDC)] == ["nobody", "coder"]


@pytest.mark.parametrize("listener", [SOCKET, TLS, Listen(address="127.0.0.1:0")])
def test_only_a_plain_listener_on_a_fixed_port_is_a_proxy_for_variables(listener):
    own = [each.model_copy(update={"agent": "coder"}) for each in (listener, TCP)]
    (both,) = found(NOTHING, own)
    assert both.proxy == own[1]
    (alone,) = found(NOTHING, own[:1])
    assert alone.proxy is None
