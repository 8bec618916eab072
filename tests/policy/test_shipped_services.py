"""The services that ship: every operation is what the calls of its API are classified as, and near misses are not.

``tests/vectors/services/SERVICE.txt`` has a call a line: what it is, method, URL, and content (JSON, else a form).
"""

from functools import lru_cache
from pathlib import Path

import pytest

from proxy.errors import Refusal
from proxy.http.canonical import parse_target, query_pairs
from proxy.policy.catalogue import Catalogue, Service
from proxy.policy.classify import classify
from proxy.policy.content import Call, Classified
from proxy.policy.needs import EVERYTHING
from proxy.policy.service_file import parse_service

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "rules" / "services").glob("*.yaml"))
VECTORS = ROOT / "tests" / "vectors" / "services"
LIMIT = 1_048_576
REFUSED = "refused:"


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    services = [parse_service(path.read_bytes(), path.name) for path in FILES]
    assert all(isinstance(service, Service) for service in services), services
    return Catalogue(services)


def named(name: str) -> Service:
    return next(service for service in catalogue().services if service.name == name)


def lines(service: str) -> list[list[str]]:
    text = (VECTORS / f"{service}.txt").read_text()
    return [line.split(" ", 3) for line in text.splitlines() if not line.startswith("#")]


def outcome(service: Service, method: str, url: str, content: str) -> str:
    """The operations that a call is, or why it is refused, when rules read all there is to read."""
    host = url.split("/")[2].encode()
    slash = service.encoded_slash
    target = parse_target(method, url.encode(), tunnel=None, hosts=[host], version="1.1", encoded_slash=slash)
    if isinstance(target, Refusal):
        return f"{REFUSED}{target.code}"
    found = catalogue().find(target.origin)
    assert found is service, f"{url} is not at {service.name}"
    pairs = query_pairs(target.query)
    assert not isinstance(pairs, Refusal)
    kind = b"application/json" if content[:1] in ("{", "[") else b"application/x-www-form-urlencoded"
    headers = ((b"Content-Type", kind),) if content else ()
    call = Call(method, target.path.text, pairs, headers, bool(content), content.encode() or None)
    result = classify(call, service, EVERYTHING, LIMIT)
    if isinstance(result, Refusal):
        return f"{REFUSED}{result.code}"
    assert isinstance(result, Classified)
    return " ".join(act.operation.id for act in result.acts)


def test_each_service_has_its_calls():
    assert {path.stem for path in FILES} == {path.stem for path in VECTORS.glob("*.txt")}
    assert {path.stem for path in FILES} == {service.name for service in catalogue().services}


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_calls_are_what_they_are_meant_to_be(name):
    service, declared = named(name), {operation.id for operation in named(name).operations}
    wrong = []
    for expected, method, url, *content in lines(name):
        own = f"{name}.{expected}"
        is_ = outcome(service, method, url, "".join(content))
        if is_ != (own if own in declared else expected):
            wrong.append(f"{method} {url} {''.join(content)}: {is_}, not {expected}")
    assert wrong == []


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_every_operation_and_method_has_a_call(name):
    called = {(f"{name}.{expected}", method) for expected, method, *_ in lines(name)}
    missing = [
        (operation.id, method)
        for operation in named(name).operations
        for method in operation.methods or ("POST",)
        if (operation.id, method) not in called
    ]
    assert missing == []


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_every_service_has_near_misses(name):
    declared = {operation.id for operation in named(name).operations}
    misses = [expected for expected, *_ in lines(name) if f"{name}.{expected}" not in declared]
    assert misses, "calls that look like an operation and are none"


def test_groups_are_not_milder_than_the_methods():
    """What deletes by its method deletes or administers, but for what is named here."""
    undone = {
        "github.user.star", "github.notifications.read", "github.issues.detach", "github.pulls.detach",
        "google-gmail.drafts.delete", "aws-s3.uploads.abort", "aws-s3-path.uploads.abort",
    }  # fmt: skip
    asked = {  # asks by POST, and changes nothing
        "github.releases.notes", "github-git.fetch.pack", "github-git.lfs.download", "npm.audit.bulk",
        "npm.audit.quick", "npm.audit.full", "openai.responses.count_tokens", "openai.vector_stores.search",
        "anthropic.messages.count_tokens", "google.calendar.free_busy", "aws-s3.object.select",
        "aws-s3-path.object.select",
    }  # fmt: skip
    every = [operation for service in catalogue().services for operation in service.operations]
    deleting = {op.id for op in every if "DELETE" in op.methods and op.group not in ("delete", "admin")}
    assert deleting == undone
    reading = {
        op.id
        for op in every
        if op.group == "read" and set(op.methods) - {"GET"} and not op.id.startswith("slack.")
    }
    assert reading == asked


def test_no_two_services_give_an_agent_the_same_variable():
    variables = [
        variable
        for service in catalogue().services
        if service.credential is not None
        for variable in service.credential.variables
    ]
    assert len(variables) == len(set(variables))
