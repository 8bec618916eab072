"""The client variables: what leads past gatepass is found, and no token is shown."""

import pytest

from proxy.cli.check_clients import check_clients
from proxy.cli.environment import BUNDLE, NO_PROXY, POINTING, PROXY, proxy_url, variables
from proxy.cli.finding import Health
from proxy.credential.placeholder import mint

HERE = {("127.0.0.1", 8470)}
CA = b"-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n"
TOKEN = "eyJ.token.sig"


@pytest.fixture
def environment(tmp_path):
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"theirs\n" + CA)
    return variables("127.0.0.1", 8470, TOKEN, bundle=bundle, truststore=None, placeholders={})


def look(environment, programs=("node", "java"), listeners=HERE, ca=CA):
    found = list(check_clients(environment, listeners, ca, programs))
    assert TOKEN not in repr(found)
    return [(finding.health, finding.what) for finding in found if finding.health is not Health.OK]


def test_what_task_start_prints_is_in_order(environment):
    assert look(environment) == []
    assert look(environment, listeners=()) == [], "as under `run`, which listens elsewhere"


def test_nothing_is_set():
    (finding,) = check_clients({}, HERE, CA, ["node"])
    assert finding.health is Health.OK


@pytest.mark.parametrize("name", PROXY)
def test_a_proxy_that_is_another(environment, name):
    found = look(environment | {name: "http://user:eyJ.token.sig@proxy.corp:3128"})
    assert found == [(Health.WARN, "proxy variables")]


@pytest.mark.parametrize("value", ["http://127.0.0.1:9999", "http://[bad", "proxy.corp"])
def test_what_is_not_gatepass(environment, value):
    assert look(environment | {"http_proxy": value}) == [(Health.WARN, "proxy variables")]


def test_one_spelling_is_not_enough(environment):
    del environment["http_proxy"]
    assert look(environment) == [(Health.WARN, "proxy variables")]


@pytest.mark.parametrize("name", NO_PROXY)
def test_exceptions_lead_around(environment, name):
    assert look(environment | {name: "corp.example"}) == [(Health.WARN, "NO_PROXY")]


def test_node_and_java_need_their_own_and_only_where_they_are(environment):
    del environment["NODE_USE_ENV_PROXY"], environment["JAVA_TOOL_OPTIONS"]
    assert look(environment) == [(Health.WARN, "NODE_USE_ENV_PROXY"), (Health.WARN, "JAVA_TOOL_OPTIONS")]
    assert look(environment, programs=()) == []


def test_a_bundle_without_our_ca(environment, tmp_path):
    other = tmp_path / "other.pem"
    other.write_text("theirs")
    assert look(environment | {"SSL_CERT_FILE": str(other)}) == [(Health.FAIL, "trust variables")]
    assert look(environment | {"SSL_CERT_FILE": str(other)}, ca=None) == []
    assert look(environment | {"SSL_CERT_FILE": str(tmp_path / "none")}) == [(Health.FAIL, "trust variables")]


def test_a_bundle_that_is_not_named(environment):
    del environment[BUNDLE[0]]
    assert look(environment) == [(Health.WARN, "trust variables")]


def test_the_variables_of_a_listener_with_an_identity_hold_no_credentials(tmp_path):
    found = variables("::1", 1, None, bundle=tmp_path, truststore=tmp_path / "t", placeholders={"A": "b"})
    assert found["HTTP_PROXY"] == "http://[::1]:1"
    assert "proxyPassword" not in found["JAVA_TOOL_OPTIONS"]
    assert f"trustStore={tmp_path / 't'} " in found["JAVA_TOOL_OPTIONS"]
    assert found["A"] == "b"
    assert set(found) >= POINTING


def test_placeholders_win():
    value = mint(bytes(24))
    found = variables("h", 1, "t", bundle="b", truststore=None, placeholders={"CURL_CA_BUNDLE": value})
    assert found["CURL_CA_BUNDLE"] == value


def test_a_token_is_quoted():
    assert proxy_url("h", 1, "a@b/c") == "http://task:a%40b%2Fc@h:1"
