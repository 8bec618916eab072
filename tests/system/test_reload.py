"""``gatepass serve`` while its rules change: SIGHUP, signed rules, and words for whoever has to act."""

import json
import signal

from tests.support import demo_rules
from tests.support.upstream import Upstream
from tests.system.deployed import CLOSED, configure, deployed, read_log, seen
from tests.system.process import Sidecar, gatepass, until

NEVER = {"reload": 86_400}


def loads(log) -> list[dict]:
    return [record.raw["body"] for record in read_log(log) if record.kind == "rules.load"]


async def test_sighup_makes_it_look_and_the_next_call_goes_by_the_new_rules(tmp_path):
    async with deployed(tmp_path, policy=NEVER) as w:
        assert (await w.agent("curl", "-sS", "-o", "out", "--fail", w.url("/a"))).status == 0
        policies = tmp_path / "rules" / "policies" / "test.cedar"
        policies.write_text(policies.read_text() + demo_rules.forbid("stop", actions=("read",)))
        w.sidecar.signal(signal.SIGHUP)
        await until(lambda: len(loads(w.log)) == 2)
        assert (await w.agent("curl", "-sS", "-o", "out", "--fail", w.url("/b"))).status != 0
        policies.write_text("permit(")
        w.sidecar.signal(signal.SIGHUP)
        await w.sidecar.until_said("stay in force")
        before, after = loads(w.log)
        assert after["previous_sha256"] == before["ruleset_sha256"]
        assert seen(w.upstream, "/a")
        assert not seen(w.upstream, "/b")
        refusal = await w.refused_once("stop")
        assert refusal.raw["why"]["ruleset_sha256"] == after["ruleset_sha256"]


async def test_it_starts_with_rules_that_were_signed_and_with_no_others(tmp_path):
    home = tmp_path / "home"
    made = (await gatepass("policy", "keygen", "--out", tmp_path / "keys", "--json", home=home)).json()
    async with Upstream("api.test", "closed.test") as up:
        config = configure(tmp_path, up, policy={"signer": made["signer"]})
        refused = await gatepass("serve", "--config", config, home=home)
        assert refused.status == 2
        assert "MANIFEST" in refused.stderr
        assert "gatepass policy sign" in refused.stderr
        signed = await gatepass(
            "policy", "sign", "--rules", tmp_path / "rules", "--key", made["key"], "--json", home=home
        )
        assert json.loads(signed.stdout)["files"] == 4
        sidecar = await Sidecar.start(config, home=home, API_TOKEN="x")
        assert await sidecar.stop() == 0
        (load,) = loads(tmp_path / "state" / "log")
        assert load["signed_by"]
        policies = tmp_path / "rules" / "policies" / "test.cedar"
        policies.write_text(policies.read_text().replace(CLOSED, "reopened"))
        refused = await gatepass("serve", "--config", config, home=home)
        assert (refused.status, "changed after it was signed" in refused.stderr) == (2, True)
