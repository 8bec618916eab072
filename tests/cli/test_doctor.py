"""``gatepass doctor``: each thing that can be wrong is found, and what to do is said."""

import asyncio
import json
import os
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from proxy.cli.check_local import check_clock
from proxy.cli.check_log import check_logs
from proxy.cli.finding import Health
from proxy.settings import Settings
from proxy.store.keyring import Keyring
from tests.support import demo_rules
from tests.support.https_issuer import HttpsIssuer, jwks
from tests.support.upstream import Upstream

SECRET = "sk-live-0123456789abcdef"
SECOND = 1_000_000_000


def write(gatepass, *services, **settings):
    demo_rules.write_rules(gatepass.cwd / "rules", services=services, policies=[])
    settings = {"roots": gatepass.cwd / "roots", **settings}
    return demo_rules.write_config(
        gatepass.cwd / "gatepass.yaml", state=gatepass.state, rules=gatepass.cwd / "rules", **settings
    )


async def look(gatepass, *words, **environment):
    """What is not ok, by what was looked at."""
    done = await gatepass("doctor", "--json", *words, **environment)
    assert done.err == ""
    assert SECRET not in done.out
    found = [json.loads(line) for line in done.out.splitlines()]
    assert done.status == (1 if any(row["health"] == "fail" for row in found) else 0)
    assert all(row["fix"] for row in found if row["health"] != "ok")
    return {row["what"]: (row["health"], row["words"]) for row in found if row["health"] != "ok"}


async def test_a_healthy_installation(gatepass):
    async with Upstream("api.test") as upstream:
        upstream.write_ca(gatepass.cwd / "roots")
        write(
            gatepass,
            demo_rules.service(
                "api", "api.test", "*.api.test", ports=[upstream.port], credential=demo_rules.from_env("T")
            ),
            hosts={"api.test": ["127.0.0.1"]},
            private=[("api.test", upstream.port)],
        )
        assert (await gatepass("run", "--", "true", T=SECRET)).status == 0
        assert await look(gatepass, T=SECRET) == {}
        assert len(upstream.connections) == 1
        assert upstream.requests == []
        assert await look(gatepass, "--offline", T=SECRET) == {}
        assert len(upstream.connections) == 1
    shown = (await gatepass("doctor", "--offline", T=SECRET)).out.splitlines()
    assert shown[0].split("\t") == ["health", "what", "found", "fix"]


async def test_a_service_that_cannot_be_called(gatepass):
    async with Upstream("api.test") as upstream:  # its CA is not among the roots
        (gatepass.cwd / "roots").mkdir()
        service = demo_rules.service("api", "api.test", ports=[upstream.port])
        write(gatepass, service, hosts={"api.test": ["127.0.0.1"]}, private=[("api.test", upstream.port)])
        health, words = (await look(gatepass))["service api"]
        assert health == "fail"
        assert "certificate" in words
        write(gatepass, service, hosts={"api.test": ["127.0.0.1"]})
        assert "loopback" in (await look(gatepass))["service api"][1]
        write(gatepass, service, hosts={"api.test": []})
        assert "service api" in await look(gatepass)


async def test_nothing_is_configured_and_nothing_is_made(gatepass):
    assert set(await look(gatepass, "--offline")) - {"listen 127.0.0.1:8470"} == {"rules"}
    assert not gatepass.state.exists()


async def test_a_configuration_that_cannot_be_read(gatepass):
    (gatepass.cwd / "gatepass.yaml").write_text("listne: []\n")
    found = await look(gatepass, "--offline")
    assert found["configuration"] == ("fail", "gatepass.yaml:1: listne: this key is not known here")


async def test_rules_that_cannot_be_used(gatepass):
    (gatepass.cwd / "roots").mkdir()
    write(gatepass)
    (gatepass.cwd / "rules" / "policies" / "test.cedar").write_text("permit (")
    assert (await look(gatepass, "--offline"))["rules"][0] == "fail"
    demo_rules.write_rules(gatepass.cwd / "rules", agents=[], services=[], policies=[])
    assert "nobody may call" in (await look(gatepass, "--offline"))["rules"][1]
    assert (await look(gatepass, "--offline", "--rules", gatepass.cwd / "none"))["rules"][0] == "fail"


async def test_agents_that_nobody_answers_for(gatepass):
    (gatepass.cwd / "roots").mkdir()
    names = ("environment", "tier", "data_owner")
    agents = [
        dict(zip(("id", *names), row, strict=True))
        for row in (("one", "production", "low", "ada"), ("two", "staging", "low", "ada"))
    ]
    agents[1]["authenticate"] = [{"method": "oidc", "issuer": "github", "subject": "s"}]
    write(gatepass)
    demo_rules.write_rules(gatepass.cwd / "rules", agents=agents, services=[], policies=[])
    found = await look(gatepass, "--offline")
    assert {name: health for name, (health, _) in found.items() if name.startswith("agent")} == {
        "agent one": "fail",
        "agent two": "warn",
        "agents": "fail",
    }
    assert "one has no business_owner: in production its calls are refused" in found["agent one"][1]
    assert "no issuer github" in found["agents"][1]


async def test_keys_that_others_can_read(gatepass):
    Keyring.open(gatepass.state)
    (gatepass.state / "keys" / "ca.key").chmod(0o644)
    assert (await look(gatepass, "--offline"))["keys"][0] == "fail"


def expired():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
    end = datetime.now(UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, end - timedelta(days=9), end)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


async def test_roots(gatepass):
    roots = gatepass.cwd / "certs" / "upstream"
    roots.mkdir(parents=True)
    (roots / "good.pem").write_bytes(trustme.CA().cert_pem.bytes())
    (roots / "old.pem").write_bytes(expired())
    (roots / "odd.pem").write_text("odd")
    found = await look(gatepass, "--offline")
    assert {what: health for what, (health, _) in found.items() if what.startswith("roots")} == {
        "roots old.pem": "fail",
        "roots odd.pem": "fail",
    }


async def test_credentials_that_are_not_there(gatepass):
    (gatepass.cwd / "roots").mkdir()
    write(
        gatepass,
        demo_rules.service("a", credential=demo_rules.from_env("A_TOKEN")),
        demo_rules.service(
            "b", credential={**demo_rules.from_file(gatepass.cwd / "none"), "variables": ["B"]}
        ),
    )
    found = await look(gatepass, "--offline")
    assert {what for what in found if what.startswith("credential")} == {"credential a", "credential b"}


async def test_a_port_that_another_program_has(gatepass):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (gatepass.cwd / "gatepass.yaml").write_text(f"listen: [{{address: '{address}'}}]")
        assert (await look(gatepass, "--offline"))[f"listen {address}"][0] == "fail"


async def test_a_sidecar_that_runs_is_ours(gatepass):
    process = await gatepass.start("serve", "--observe", "--json", "--listen", "127.0.0.1:0")
    address = json.loads(await process.stdout.readline())["listening"][0]
    (gatepass.cwd / "gatepass.yaml").write_text(f"listen: [{{address: '{address}'}}]")
    assert set(await look(gatepass, "--offline")) == {"rules"}
    process.terminate()
    await gatepass.end(process)


async def test_a_log_that_was_changed(gatepass):
    assert (await gatepass("run", "--", "true")).status == 0
    log = gatepass.state / "log"
    pending = (log / "pending").read_bytes()
    (log / "pending").write_bytes(pending.replace(b'"observer"', b'"observed"'))
    assert (await look(gatepass, "--offline"))["log"] == ("fail", "the last entries are not what was signed")
    (log / "pending").write_bytes(b"")
    assert (await look(gatepass, "--offline"))["log"] == ("fail", "entries that were signed are missing")
    (gatepass.cwd / "gatepass.yaml").write_text("log: {origin: another}")
    assert "another log" in (await look(gatepass, "--offline"))["log"][1]


async def test_a_clock_that_went_back(gatepass):
    assert (await gatepass("run", "--", "true")).status == 0
    keyring = Keyring.open(gatepass.state)
    early = time.time_ns() - 3600 * SECOND
    found = await asyncio.to_thread(lambda: list(check_logs(gatepass.state, Settings(), keyring, early)))
    assert [(finding.health, finding.what) for finding in found] == [
        (Health.OK, "log"),
        (Health.FAIL, "clock"),
    ]


@pytest.mark.parametrize(
    ("wall", "mono", "health"),
    [
        ((0, SECOND), (0, SECOND), Health.OK),
        ((0, 3 * SECOND), (0, SECOND), Health.WARN),
        ((SECOND, 0), (0, SECOND), Health.WARN),
    ],
)
def test_a_clock_that_is_set_meanwhile(wall, mono, health):
    now = 1_800_000_000 * SECOND
    assert check_clock((now + wall[0], now + wall[1]), mono).health is health


@pytest.mark.parametrize("wall", [0, 10**19])
def test_a_clock_that_cannot_be_right(wall):
    assert check_clock((wall, wall), (0, 0)).health is Health.FAIL


async def test_where_a_running_agent_is_led(gatepass):
    done = await gatepass("run", "--", *(os.sys.executable, "-m", "proxy", "doctor", "--offline"))
    assert "all lead to gatepass" in done.out


def ca_signed(directory, name, ago, left):
    """A chain and its key for localhost, from days ago and for the days that are left; PEM files."""
    now = datetime.now(UTC)
    begin, end = now - timedelta(days=ago), now + timedelta(days=left)
    leaf = trustme.CA().issue_cert("localhost", not_before=begin, not_after=end)
    (directory / f"{name}.pem").write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
    key = directory / f"{name}.key"
    key.write_bytes(leaf.private_key_pem.bytes())
    key.chmod(0o600)
    return {"certificate": f"{name}.pem", "key": f"{name}.key"}


def revocation_list(days):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(name, now - timedelta(days=9), now + timedelta(days=days))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def listening(gatepass, *listeners, **settings):
    (gatepass.cwd / "roots").mkdir(exist_ok=True)
    write(gatepass, listen=list(listeners), **settings)


DOMAIN = {"trust_domains": [{"name": "example.org", "bundle": "bundle.pem"}]}


async def test_sockets(gatepass):
    (gatepass.cwd / "file").write_text("")
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(gatepass.cwd / "left"))
    left.close()
    names = ["free", "left", "none/a", "file", "n" * 108]
    listening(gatepass, *({"unix": name} for name in names[:4]), {"unix": "n" * 99})
    found = await look(gatepass, "--offline")
    begins = f"listen unix:{gatepass.cwd}/"
    told = {what.removeprefix(begins): said for what, said in found.items() if what.startswith("listen")}
    assert told.pop("none/a") == ("fail", f"there is no directory {gatepass.cwd}/none")
    assert told.pop("file")[1].startswith("is not a socket")
    assert told.pop("n" * 99)[1] == "a socket's path has 107 octets at most"
    assert told == {}


async def test_certificates_of_listeners(gatepass):
    (gatepass.cwd / "bundle.pem").write_bytes(trustme.CA().cert_pem.bytes())
    (gatepass.cwd / "old.crl").write_bytes(revocation_list(-1))
    (gatepass.cwd / "new.crl").write_bytes(revocation_list(1))
    (gatepass.cwd / "odd.crl").write_text("odd")
    lives = {"good": (1, 300), "brief": (0.1, 0.9), "soon": (100, 20), "old": (9, -1), "shown": (1, 300)}
    made = {name: ca_signed(gatepass.cwd, name, *life) for name, life in lives.items()}
    (gatepass.cwd / "shown.key").chmod(0o644)
    tls = {"trust_domain": "example.org"}
    wanted = {
        "ok": {**tls, **made["good"], "crl": "new.crl"},
        "brief": {**tls, **made["brief"]},
        "own": tls,
        "soon": {**tls, **made["soon"]},
        "old": {**tls, **made["old"]},
        "shown": {**tls, **made["shown"]},
        "mixed": {**tls, "certificate": "good.pem", "key": "soon.key"},
        "absent": {**tls, "certificate": "good.pem", "key": "none.key"},
        "stranger": {"trust_domain": "example.com"},
        "svid": {**tls, "workload_api": True},
        "crl": {**tls, "crl": "old.crl"},
        "odd": {**tls, "crl": "odd.crl"},
    }
    ports = {name: str(20_000 + number) for number, name in enumerate(wanted)}  # nobody listens, --json tells
    listening(
        gatepass,
        *({"address": f"127.0.0.1:{ports[name]}", "tls": one} for name, one in wanted.items()),
        identity=DOMAIN,
    )
    found = await look(gatepass, "--offline")
    names = {port: name for name, port in ports.items()}
    told = {
        names[what.rpartition(":")[2]]: said
        for what, said in found.items()
        if what.startswith("listen https://") and said[1][:6] != "cannot"
    }
    assert {name: health for name, (health, _) in told.items()} == {
        "soon": "warn",
        "old": "fail",
        "shown": "warn",
        "mixed": "fail",
        "absent": "fail",
        "stranger": "fail",
        "svid": "fail",
        "crl": "fail",
        "odd": "fail",
    }
    assert "can be read by others" in told["shown"][1]
    assert "the key does not belong" in told["mixed"][1]
    assert "none.key cannot be read" in told["absent"][1]
    assert "example.com is not among identity.trust_domains" in told["stranger"][1]
    assert "workload_api is not set" in told["svid"][1]
    assert "nobody can connect" in told["crl"][1]


async def test_who_may_say_who_is_calling(gatepass):
    (gatepass.cwd / "roots").mkdir()
    (gatepass.cwd / "good.json").write_bytes(jwks("one", "two"))
    (gatepass.cwd / "odd.json").write_text("odd")
    (gatepass.cwd / "empty.json").write_bytes(jwks())
    (gatepass.cwd / "bundle.pem").write_bytes(trustme.CA().cert_pem.bytes())
    (gatepass.cwd / "orders.yaml").write_text("revocations:\n  - agnt: coder\n")
    issuers = [
        {"name": name, "issuer": f"https://{name}.test", "audiences": ["gatepass"], "keys": f"{name}.json"}
        for name in ("good", "odd", "empty", "none")
    ]
    domains = [
        *DOMAIN["trust_domains"],
        {"name": "example.com", "bundle": "odd.json"},
        {"name": "example.net"},
    ]
    write(
        gatepass,
        identity={"issuers": issuers, "trust_domains": domains, "revocations": "orders.yaml"},
        control={"address": "127.0.0.1:0", "operators": [{"issuer": "corp", "subject": "ada"}]},
    )
    found = await look(gatepass, "--offline")
    assert {what: health for what, (health, _) in found.items()} == dict.fromkeys(
        (
            "issuer odd",
            "issuer empty",
            "issuer none",
            "trust domain example.com",
            "trust domain example.net",
            "revocations",
            "control",
        ),
        "fail",
    )
    assert "no key that gatepass can verify with" in found["issuer empty"][1]
    assert f"{gatepass.cwd}/none.json cannot be read" in found["issuer none"][1]
    assert "orders.yaml:2" in found["revocations"][1]
    assert "has no corp" in found["control"][1]


async def test_a_workload_api_that_is_not_there(gatepass):
    (gatepass.cwd / "roots").mkdir()
    write(gatepass, identity={"workload_api": f"unix://{gatepass.cwd}/api.sock", **NO_BUNDLE})
    health, words = (await look(gatepass, "--offline"))["workload API"]
    assert (health, words) == ("fail", f"there is no socket {gatepass.cwd}/api.sock")
    with socket.socket(socket.AF_UNIX) as api:
        api.bind(str(gatepass.cwd / "api.sock"))
        assert await look(gatepass, "--offline") == {}


NO_BUNDLE = {"trust_domains": [{"name": "example.org"}]}


async def test_the_operators_token_is_nobody_else_s(gatepass):
    (gatepass.cwd / "roots").mkdir()
    write(gatepass, control={"address": "127.0.0.1:0"})
    assert await look(gatepass, "--offline") == {}
    (gatepass.state / "control").mkdir(mode=0o700, parents=True)
    token = gatepass.state / "control" / "admin.token"
    token.write_text("secret")
    token.chmod(0o600)
    gatepass.state.chmod(0o700)
    assert await look(gatepass, "--offline") == {}
    token.chmod(0o640)
    assert "its token is known" in (await look(gatepass, "--offline"))["control"][1]


async def test_issuers_are_asked_behind_the_guard(gatepass):
    async with HttpsIssuer() as issuer:
        issuer.publish("one")
        (gatepass.cwd / "roots").mkdir()
        identity = {"issuers": [{"name": "corp", "issuer": issuer.url, "audiences": ["gatepass"]}]}
        place = {"hosts": {"issuer.test": ["127.0.0.1"]}, "identity": identity}
        write(gatepass, **place)
        assert "loopback" in (await look(gatepass))["issuer corp"][1]
        write(gatepass, private=[("issuer.test", issuer.port)], **place)
        assert "certificate" in (await look(gatepass))["issuer corp"][1]
        (gatepass.cwd / "roots" / "issuer.pem").write_bytes(issuer.authority.cert_pem.bytes())
        assert await look(gatepass) == {}
        assert issuer.looks() == 1
        assert await look(gatepass, "--offline") == {}
        assert issuer.looks() == 1
