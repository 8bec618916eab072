import json
from pathlib import Path

import cedarpy
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.bundle import digest
from proxy.store.bundles import FOLDER, pack, unpack
from tests.support.world import world

NAMES = st.text(st.characters(categories=["L", "N"], include_characters="._-"), min_size=1, max_size=40)


@given(st.dictionaries(NAMES.filter(lambda name: name.strip(".")), st.binary(max_size=2000), max_size=6))
def test_a_rule_set_comes_back_as_it_was(files: dict[str, bytes]) -> None:
    assert unpack(pack(files)) == files
    assert pack(dict(reversed(files.items()))) == pack(files)


async def test_every_decision_can_be_taken_again_from_the_log_directory_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await w.call("/x")).status == 200
        decisions = w.decisions
        log = w.state / "log"
    for record in decisions:
        why = record.raw["why"]
        files = unpack((log / FOLDER / why["ruleset_sha256"]).read_bytes())
        assert digest(files) == why["ruleset_sha256"]
        seen = why["input"]
        answer = cedarpy.is_authorized(
            {key: seen[key] for key in ("principal", "action", "resource", "context")},
            cedarpy.PolicySet.from_json_str(files["policies.json"].decode()),
            json.dumps(seen["entities"]),
            files["schema.cedarschema"].decode(),
        )
        assert answer.allowed == (why["effect"] == "allow")
        assert sorted(answer.diagnostics.reasons) == why["rules"]
