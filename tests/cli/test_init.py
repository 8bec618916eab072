"""``gatepass init``: what it writes is complete, commented, the shipped rules, and accepted."""

import json
import re
import tomllib

import pytest
from pydantic import BaseModel

from proxy.cli.app import invoke
from proxy.cli.config import Config, load_config
from proxy.cli.init import USUAL, chosen, family, templates
from proxy.identity.registry import Registry
from proxy.policy.case_file import parse_cases
from proxy.policy.cases import run
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.schema import schema_text
from proxy.problems import LoadedYaml, load_yaml
from proxy.settings import IssuerSettings, ListenTls, Operator, Settings, TrustDomain
from proxy.store.rule_files import rules_of
from tests.cli.conftest import ROOT

TEMPLATES = dict(templates())
WRITTEN = chosen(TEMPLATES, USUAL)


def names(model: type[BaseModel], value: object, path: str = ""):
    """Every setting's dotted name; a list stands for its only item."""
    for name in model.model_fields:
        yield f"{path}{name}"
        inner = getattr(value, name)
        inner = inner[0] if isinstance(inner, tuple) and inner else inner
        if isinstance(inner, BaseModel):
            yield from names(type(inner), inner, f"{path}{name}.")


def keys(value: object, path: str = ""):
    value = value[0] if isinstance(value, list) and value else value
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield f"{path}{name}"
        yield from keys(inner, f"{path}{name}.")


def test_the_configuration_has_every_setting_with_its_default():
    loaded = load_yaml(TEMPLATES["gatepass.yaml"], "gatepass.yaml")
    assert isinstance(loaded, LoadedYaml)
    assert Settings.model_validate(loaded.data) == Settings()
    assert list(keys(loaded.data)) == sorted(names(Settings, Settings()), key=list(keys(loaded.data)).index)
    assert set(keys(loaded.data)) == set(names(Settings, Settings()))


@pytest.mark.parametrize(
    ("place", "name", "model"),
    [
        ("listen.0.tls", "tls", ListenTls),
        ("identity.issuers", "issuers", IssuerSettings),
        ("identity.trust_domains", "trust_domains", TrustDomain),
        ("control.operators", "operators", Operator),
    ],
)
def test_what_is_left_out_is_explained_in_a_comment_with_its_defaults(place, name, model):
    lines = TEMPLATES["gatepass.yaml"].decode().splitlines()
    start = next(number for number, line in enumerate(lines) if re.match(rf"# +{name}:$", line))
    indent = lines[start].index(name)
    block = []
    for line in lines[start + 1 :]:
        if not line.startswith("#" + " " * indent):
            break
        block.append(line[1:])
    loaded = load_yaml("\n".join(block).encode(), place)
    assert isinstance(loaded, LoadedYaml)
    written = loaded.data[0] if isinstance(loaded.data, list) else loaded.data
    assert list(written) == list(model.model_fields), place
    plain = {key for key, field in model.model_fields.items() if not field.is_required()} - {"subject"}
    needed = {key: value for key, value in written.items() if key not in plain}
    assert model.model_validate(written) == model.model_validate(needed)


def test_every_setting_is_explained():
    lines = TEMPLATES["gatepass.yaml"].decode().splitlines()
    silent = [line for line in lines if line and not line.startswith("#") and not re.search(r" # \w", line)]
    assert silent == []


def test_the_rules_are_the_repository_s():
    folder = ROOT / "rules"
    files = {
        f"rules/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if path.is_file()
    }
    assert {name: path.read_bytes() for name, path in files.items()} == {
        name: data for name, data in TEMPLATES.items() if name != "gatepass.yaml"
    }


async def test_a_first_day(gatepass, tmp_path):
    done = await gatepass("init")
    assert done.status == 0
    assert done.out.splitlines() == list(WRITTEN)
    assert "register your agent" in done.err
    assert {name: (tmp_path / name).read_bytes() for name in WRITTEN} == WRITTEN
    assert (await gatepass("policy", "check")).status == 0
    early = await gatepass("run", "--", "true")
    assert (early.status, len(early.lines)) == (2, 1)
    assert "no agent is registered" in early.err
    example = (tmp_path / "rules" / "agents.yaml").read_text().split("agents: []\n")[1]
    (tmp_path / "rules" / "agents.yaml").write_text(re.sub("^# ?", "", example, flags=re.MULTILINE))
    assert (await gatepass("run", "--", "true")).status == 0


def test_families():
    assert {family(name) for name in TEMPLATES} == {None, *USUAL, "aws", "google", "mcp", "slack"}
    assert {family(name) for name in WRITTEN} == {None, *USUAL}
    assert family("rules/services/aws-s3-path.yaml") == family("rules/policies/aws.cedar") == "aws"
    assert family("rules/cases/default.yaml") is family("gatepass.yaml") is None
    assert chosen(TEMPLATES, {found for found in map(family, TEMPLATES) if found}) == TEMPLATES


@pytest.mark.parametrize("one", [None, *sorted(found for found in set(map(family, TEMPLATES)) if found)])
def test_every_family_loads_and_passes_its_cases_without_the_others(one):
    kept = chosen(TEMPLATES, {one} - {None})
    files = {name.removeprefix("rules/"): data for name, data in kept.items()}
    rules = load_rules(rules_of(files), ())
    assert isinstance(rules, RuleSet), [str(problem) for problem in rules]
    assert schema_text(rules.catalogue.services).encode() == files["schema.cedarschema"]
    known = [policy.id for policy in rules.policies]
    for case in parse_cases(files.get(f"cases/{one}.yaml", b"cases: []"), "cases"):
        assert run(case, rules, Registry.of(()), known).failures == (), case.name


def test_more_families(tmp_path, capsys):
    assert invoke(["init", str(tmp_path / "two"), "--with", "slack", "--with", "aws"]) == 0
    listed = capsys.readouterr().out
    assert "slack.cedar" in listed
    assert "aws-s3.yaml" in listed
    assert "google" not in listed
    assert invoke(["init", str(tmp_path / "all"), "--with", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == list(TEMPLATES)
    assert invoke(["init", str(tmp_path / "none"), "--with", "teams"]) == 2
    assert "there are only anthropic, aws, github, google, mcp" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "agents.yaml").write_text("mine")
    assert invoke(["init", str(tmp_path)]) == 2
    assert f"{tmp_path / 'rules' / 'agents.yaml'} is there already" in capsys.readouterr().err
    assert not (tmp_path / "gatepass.yaml").exists()


def test_json_and_a_directory_of_its_own(tmp_path, capsys):
    directory = tmp_path / "new" / "one"
    assert invoke(["init", str(directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"directory": str(directory), "files": list(WRITTEN)}
    loaded = load_config(directory / "gatepass.yaml")
    assert isinstance(loaded, Config)
    assert loaded.rules == directory / "rules"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert invoke(["init", str(tmp_path / "file")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_installation_has_them():
    """What setuptools puts into the wheel beside modules is what these patterns match."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["proxy.cli"]
    found = {
        path for pattern in patterns for path in (ROOT / "proxy" / "cli").glob(pattern) if path.is_file()
    }
    folder = ROOT / "proxy" / "cli" / "templates"
    assert {path.relative_to(folder).as_posix() for path in found} == set(TEMPLATES)
