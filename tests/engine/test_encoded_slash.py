"""``%2F`` is data inside a segment, and only for a service that declares that it reads it so."""

from pathlib import Path

from tests.support import demo_rules
from tests.support.upstream import Upstream
from tests.support.world import world

SCOPED = "/@scope%2fname"


async def test_an_encoded_slash_is_refused_where_no_service_declares_it(tmp_path: Path):
    async with world(tmp_path) as w:
        answer = await w.call(SCOPED)
        assert (answer.status, answer.json()["code"]) == (400, "target_malformed")
        assert not w.upstream.requests


async def test_a_service_that_declares_it_gets_it_encoded(tmp_path: Path):
    def scoped(up: Upstream):
        return [demo_rules.service("api", "api.test", ports=[up.port], encoded_slash=True)]

    async with world(tmp_path, services=scoped) as w:
        assert (await w.call(SCOPED)).json()["target"] == "/@scope%2Fname"
        assert (await w.call("/a/..%2fadmin")).status == 400
        [decision] = [record for record in w.decisions if record.effect == "allow"]
        assert decision.path == "/@scope%2Fname"


async def test_observing_lets_it_through(tmp_path: Path):
    async with world(tmp_path, observe=True) as w:
        assert (await w.call(SCOPED)).status == 200
