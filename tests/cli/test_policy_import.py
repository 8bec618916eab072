import json

import pytest
from typer.testing import CliRunner

from proxy.cli.policy import app
from proxy.policy.catalogue import Service
from proxy.policy.service_file import parse_service

YAML = """\
openapi: 3.1.0
info: &info {title: Pets}
servers: [{url: "https://pets.example.org"}]
paths:
  /pets/{id}:
    get: {operationId: getPet, responses: {200: {description: fine}}}
    trace: {}
x-info: *info
"""


def run(*words, text: str | None = None):
    return CliRunner().invoke(app, ["import-openapi", *map(str, words)], input=text)


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "openapi.yaml"
    path.write_text(YAML)
    return path


def service(text: str) -> Service:
    read = parse_service(text.encode(), "x")
    assert isinstance(read, Service), read
    return read


def test_yaml_as_it_is_written(document):
    result = run(document, "--owner", "ada@example.org")
    assert result.exit_code == 0, result.output
    assert [operation.id for operation in service(result.stdout).operations] == ["pets.get_pet"]
    assert result.stderr.splitlines() == [
        "gatepass: not imported: TRACE /pets/{id}: the method is not relayed",
        "gatepass: 1 operations of pets",
    ]


def test_json_from_standard_input():
    text = json.dumps(
        {"openapi": "3.0.0", "info": {"title": "A"}, "servers": [], "paths": {"/x": {"post": {}}}}
    )
    result = run("-", "--host", "a.example.org", "--name", "a", text=text)
    assert service(result.stdout).hosts == ("a.example.org",)
    assert "nobody is named as owner" in result.stderr


def test_groups_environments_and_the_rest(document):
    result = run(
        document, "--owner", "a", "--data-owner", "b", "--sensitivity", "restricted", "--environment", "staging",
        "--environment", "production", "--group", "get_*=admin",
    )  # fmt: skip
    read = service(result.stdout)
    assert (read.owner, read.data_owner, read.sensitivity) == ("a", "b", "restricted")
    assert (read.environments, read.operations[0].group) == (("staging", "production"), "admin")


def test_into_a_new_file_only(document, tmp_path):
    out = tmp_path / "pets.yaml"
    result = run(document, "--out", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert service(out.read_text()).name == "pets"
    again = run(document, "--out", out)
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)
    nowhere = run(document, "--out", tmp_path / "no" / "x")
    assert (nowhere.exit_code, "No such file" in nowhere.stderr) == (2, True)


def test_as_json(document):
    told = json.loads(run(document, "--json").stdout)
    assert (told["name"], told["operations"], len(told["skipped"])) == ("pets", 1, 1)
    assert service(told["file"]).name == "pets"


def test_what_cannot_be_imported(tmp_path):
    for text, status, line in (
        ("openapi: 2", 1, "not an OpenAPI document of version 3.0 or 3.1"),
        ("a: [", 2, "neither JSON nor YAML"),
        ("openapi: 3.0.0", 1, "it names no server with a host"),
        (YAML.replace("/pets/{id}", "/pets/x{id}"), 1, "a parameter shares its segment"),
    ):
        result = run("-", text=text)
        assert (result.exit_code, line in result.stderr) == (status, True), result.output
    (tmp_path / "latin").write_bytes(b"title: \xe9")
    for words, line in (
        ((tmp_path / "latin",), "not UTF-8"),
        ((tmp_path / "no",), "No such file"),
        (("-", "--group", "x"), "--group takes PATTERN=GROUP"),
        (("-", "--group", "x=y"), "--group takes PATTERN=GROUP"),
        (("-", "--sensitivity", "secret"), "sensitivity"),
        (("-", "--name", "Not A Name"), "name"),
    ):
        result = run(*words, text=YAML)
        assert (result.exit_code, line in result.stderr) == (2, True), result.output
