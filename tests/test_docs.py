"""What the READMEs show is what gatepass takes: every example is read by the code that will read it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from demo import rules as demo_rules
from proxy.cli.app import app
from proxy.cli.init import templates
from proxy.identity.gaps import gaps, issuers_named
from proxy.identity.principal import Method
from proxy.identity.registry import Registry, parse_agents
from proxy.problems import LoadedYaml, load_yaml
from proxy.settings import IssuerSettings, Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RULES = "\n".join((ROOT / "rules" / name).read_text() for name in ("README.md", "IDENTITY.md", "CODES.md"))
IDENTITY = (ROOT / "rules" / "IDENTITY.md").read_text()
WAYS = IDENTITY.partition("## Ways to prove who is calling\n")[2].partition("\n## ")[0]
KUBERNETES = WAYS.partition("### Kubernetes\n")[2].partition("\n### ")[0]
ACTIONS = WAYS.partition("### GitHub Actions\n")[2].partition("\n### ")[0]
COMMAND = typer.main.get_command(app)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def named(text: str, name: str) -> list[str]:
    """The examples of one file: their first line says which it is."""
    return [block for block in blocks(text, "yaml") if block.startswith(f"# {name}\n")]


def parsed(example: str) -> object:
    loaded = load_yaml(example.encode(), "example")
    assert isinstance(loaded, LoadedYaml), loaded
    return loaded.data


def settings(text: str) -> list[Settings]:
    return [Settings.model_validate(parsed(example)) for example in named(text, "gatepass.yaml")]


def registry(text: str) -> Registry:
    (example,) = named(text, "agents.yaml")
    agents = parse_agents(example.encode(), "agents.yaml")
    assert isinstance(agents, Registry), agents
    return agents


def issuers(text: str) -> list[IssuerSettings]:
    return [issuer for found in settings(text) for issuer in found.identity.issuers]


def test_every_example_says_which_file_it_is() -> None:
    known = (
        "gatepass.yaml",
        "agents.yaml",
        "services/",
        "cases/",
        "compose.yaml",
        "pod.yaml",
        ".github/workflows/",
    )
    for example in [*blocks(README, "yaml"), *blocks(RULES, "yaml")]:
        assert example.startswith(tuple(f"# {name}" for name in known)), example


@pytest.mark.parametrize("example", named(README, "gatepass.yaml") + named(RULES, "gatepass.yaml"))
def test_every_configuration_is_one(example: str) -> None:
    assert Settings.model_validate(parsed(example)) != Settings()


@pytest.mark.parametrize("example", named(RULES, "agents.yaml"))
def test_every_agent_can_be_registered_and_is_owned(example: str) -> None:
    agents = parse_agents(example.encode(), "agents.yaml")
    assert isinstance(agents, Registry), agents
    assert gaps(agents) == []


def test_the_policy_that_is_shown_is_the_one_of_the_demo() -> None:
    assert blocks(README, "cedar") == [demo_rules.REFUNDS]


def test_every_way_has_a_paragraph() -> None:
    told = {
        Method(name) for name in re.findall(r"^\*\*.*\*\* \(`method: ([a-z0-9-]+)`\)", WAYS, re.MULTILINE)
    }
    assert told == set(Method)


def test_every_setting_has_its_section() -> None:
    assert re.findall(r"^### (.*)$", WAYS, re.MULTILINE) == [
        "Docker",
        "Kubernetes",
        "GitHub Actions",
        "A laptop",
    ]


def test_the_examples_use_what_they_explain() -> None:
    shown = settings(WAYS)
    listeners = [listen for found in shown for listen in found.listen]
    assert any(listen.agent and not listen.unix for listen in listeners)
    assert any(listen.unix for listen in listeners)
    assert any(listen.tls and not listen.tls.workload_api for listen in listeners)
    assert any(listen.tls and listen.tls.workload_api for listen in listeners)
    assert any(found.identity.workload_api for found in shown)
    assert any(found.identity.audience for found in shown)
    assert any(found.control.operators for found in shown)
    for found in shown:
        domains = {domain.name for domain in found.identity.trust_domains}
        assert {listen.tls.trust_domain for listen in found.listen if listen.tls} <= domains
        names = {issuer.name for issuer in found.identity.issuers}
        assert {operator.issuer for operator in found.control.operators} <= names


def test_the_pod_asks_for_the_audience_that_gatepass_demands() -> None:
    (pod,) = named(KUBERNETES, "pod.yaml")
    spec = parsed(pod)["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    token = volumes["token"]["projected"]["sources"][0]["serviceAccountToken"]
    for issuer in issuers(KUBERNETES):
        assert token["audience"] in issuer.audiences
        assert token["expirationSeconds"] <= issuer.max_lifetime
    account = f"system:serviceaccount:{parsed(pod)['metadata']['namespace']}:{spec['serviceAccountName']}"
    for issuer in issuers(KUBERNETES):
        assert [agent.id for agent in registry(KUBERNETES).by_token(issuer.name, account, {})] == ["coder"]
    mounts = {
        mount["name"]: mount["mountPath"]
        for container in (*spec["initContainers"], *spec["containers"])
        for mount in container["volumeMounts"]
    }
    assert mounts.keys() == volumes.keys()
    (agent,) = spec["containers"]
    assert f"$(cat {mounts['token']}/{token['path']})" in agent["command"][-1]


def test_the_state_of_gatepass_is_not_mounted_by_the_agent() -> None:
    (pod,) = named(KUBERNETES, "pod.yaml")
    (agent,) = parsed(pod)["spec"]["containers"]
    assert {mount["name"] for mount in agent["volumeMounts"]} == {"share", "token"}
    (compose,) = named(WAYS, "compose.yaml")
    services = parsed(compose)["services"]
    assert services["agent"]["volumes"] == ["share:/run/gatepass:ro"]
    assert services["agent"]["networks"] == ["agent"]
    assert parsed(compose)["networks"]["agent"] == {"internal": True}


def test_the_workflow_asks_for_the_audience_that_gatepass_demands() -> None:
    (example,) = [block for block in blocks(ACTIONS, "yaml") if block.startswith("# .github/workflows/")]
    workflow = parsed(example)
    assert workflow["permissions"]["id-token"] == "write"
    (script,) = [step["run"] for step in workflow["jobs"]["agent"]["steps"] if "run" in step]
    (asked,) = re.findall(r"&audience=([^\"]+)\"", script)
    for issuer in issuers(ACTIONS):
        assert (asked in issuer.audiences, issuer.issuer) == (
            True,
            "https://token.actions.githubusercontent.com",
        )
    assert set(issuers_named(registry(ACTIONS))) == {issuer.name for issuer in issuers(ACTIONS)}


def test_the_audience_is_the_one_that_the_svid_is_fetched_for() -> None:
    (audience,) = {found.identity.audience for found in settings(WAYS) if found.identity.audience}
    assert f"-audience {audience} " in WAYS


def commands() -> Iterator[list[str]]:
    """Every ``gatepass`` command line in the READMEs: in shell examples, and in the text."""
    for text in (README, RULES):
        for block in blocks(text, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                for found in re.findall(r"(?:^|[\"(] ?)gatepass ([a-z].*?)(?: #.*|\)\"|$)", line):
                    yield shlex.split(found)
        for found in re.findall(r"`gatepass ([a-z][^`]*)`", text.replace("\n", " ")):
            yield shlex.split(found)


@pytest.mark.parametrize("words", [pytest.param(words, id=" ".join(words)) for words in commands()])
def test_every_command_and_option_exists(words: list[str]) -> None:
    command, rest = COMMAND, words
    while isinstance(command, TyperGroup) and rest:
        command, rest = command.get_command(None, rest[0]), rest[1:]
        assert command is not None, f"gatepass has no {' '.join(words)}"
    mine = rest[: rest.index("--")] if "--" in rest else rest
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in mine if word.startswith("--")} <= known


def test_a_new_configuration_comes_with_the_same_words() -> None:
    written = dict(templates())
    for name in ("README.md", "IDENTITY.md", "CODES.md"):
        assert written[f"rules/{name}"] == (ROOT / "rules" / name).read_bytes()
