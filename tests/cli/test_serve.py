"""``gatepass serve``: where it says that it is reached, and what keeps it from starting."""

import asyncio
import json
import signal
import urllib.request

from tests.support import demo_rules

ISSUER = {"name": "github", "issuer": "https://github.test", "audiences": ["gatepass"], "keys": "keys.json"}


def write(gatepass, *agents, **settings):
    """Rules, and a configuration with a relative socket beside it."""
    demo_rules.write_rules(gatepass.cwd / "rules", agents=agents or None, services=[], policies=[])
    written = {"listen": [{"address": "127.0.0.1:0"}, {"unix": "a.sock"}], **settings}
    demo_rules.write_config(
        gatepass.cwd / "gatepass.yaml", state=gatepass.state, rules=gatepass.cwd / "rules", **written
    )


def status(request):
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.status


async def stopped(gatepass, process):
    process.send_signal(signal.SIGTERM)
    return await gatepass.end(process)


async def test_every_place_and_the_control_api_are_said_to_programs(gatepass):
    write(gatepass, control={"address": "127.0.0.1:0"})
    process = await gatepass.start("serve", "--json")
    said = json.loads(await process.stdout.readline())
    tcp, unix = said["listening"]
    assert tcp.startswith("127.0.0.1:")
    assert unix == f"unix:{gatepass.cwd}/a.sock"
    file = gatepass.state / "control" / "admin.token"
    assert said["control"]["token_file"] == str(file)
    request = urllib.request.Request(
        f"{said['control']['url']}/v1/revocations",
        headers={"Authorization": f"Bearer {file.read_text().strip()}"},
    )
    assert await asyncio.to_thread(status, request) == 200
    assert (await stopped(gatepass, process)).status == 0


async def test_every_place_and_the_control_api_are_said_to_people(gatepass):
    write(gatepass, control={"address": "127.0.0.1:0"})
    process = await gatepass.start("serve")
    first = (await process.stderr.readline()).decode()
    second = (await process.stderr.readline()).decode()
    assert f"unix:{gatepass.cwd}/a.sock; state in {gatepass.state}" in first
    assert second.startswith("gatepass: operators: http://127.0.0.1:")
    assert second.endswith(f", with the token in {gatepass.state}/control/admin.token\n")
    assert (await stopped(gatepass, process)).status == 0


async def test_without_a_control_api_none_is_named(gatepass):
    write(gatepass)
    process = await gatepass.start("serve", "--json")
    assert json.loads(await process.stdout.readline())["control"] is None
    done = await stopped(gatepass, process)
    assert "operators" not in done.err
    assert not (gatepass.state / "control").exists()


async def test_an_issuer_that_is_not_configured_stops_it(gatepass):
    way = {"method": "oidc", "issuer": "github", "subject": "repo:acme/app"}
    agent = {**demo_rules.agent(), "authenticate": [way]}
    write(gatepass, agent)
    done = await gatepass("serve")
    assert (done.status, len(done.lines), done.out) == (2, 1, "")
    assert "agents.0.authenticate.0.issuer: gatepass.yaml has no issuer github" in done.err
    (gatepass.cwd / "keys.json").write_text('{"keys": []}')
    write(gatepass, agent, identity={"issuers": [ISSUER]})
    process = await gatepass.start("serve", "--json")
    assert await process.stdout.readline()
    done = await stopped(gatepass, process)
    assert (done.status, "cannot be had" in done.err) == (0, False)  # the file beside gatepass.yaml was read


async def test_a_place_that_cannot_be_had_is_named(gatepass):
    write(gatepass, listen=[{"unix": "none/a.sock"}])
    done = await gatepass("serve")
    assert (done.status, len(done.lines)) == (2, 1)
    assert f"{gatepass.cwd}/none" in done.err


async def test_its_program_s_run_is_no_control_plane(gatepass):
    """``run`` beside ``serve``, with one configuration: the control API's port is taken, and no issuer is asked."""
    (gatepass.cwd / "keys.json").write_text("not read")
    write(gatepass, control={"address": "127.0.0.1:0"}, identity={"issuers": [ISSUER]})
    process = await gatepass.start("serve", "--json")
    control = json.loads(await process.stdout.readline())["control"]["url"].removeprefix("http://")
    write(gatepass, control={"address": control}, identity={"issuers": [ISSUER]})
    done = await gatepass("run", "--", "true")
    assert (done.status, "cannot be had" in done.err) == (0, False)
    assert (await stopped(gatepass, process)).status == 0
