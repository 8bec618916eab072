"""npm through TLS interception, from a registry that stands in for the public one."""

import shutil
from pathlib import Path

import pytest

from tests.support.call import Call
from tests.support.upstream import Upstream
from tests.system.deployed import SECRET, Deployed, deployed, seen
from tests.system.process import Finished
from tests.system.registries import registry

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm on this machine")

# No configuration of this machine, no calls but those for the packages, no second tries.
QUIET = {
    "npm_config_globalconfig": "/dev/null",
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_update_notifier": "false",
    "npm_config_fetch_retries": "0",
}


async def npm(w: Deployed, *words: str, host: str = "api.test") -> Finished:
    return await w.agent("npm", *words, "--registry", w.url("/", host), **QUIET)


def serving(*names: str) -> Upstream:
    """A registry with these packages; it learns its own address from the request."""

    async def serve(call: Call) -> None:
        host = (call.received.head.get("host") or b"").decode()
        await registry(f"https://{host}", {name: f"module.exports = {name!r};\n" for name in names})(call)

    return Upstream("api.test", "closed.test", default=serve)


async def test_packages_are_viewed_and_installed_with_a_placeholder_for_a_token(tmp_path: Path):
    async with deployed(tmp_path, serving("tiny")) as w:
        w.home.joinpath(".npmrc").write_text(f"//api.test:{w.upstream.port}/:_authToken=${{API_TOKEN}}\n")
        viewed = await npm(w, "view", "tiny", "version")
        assert (viewed.status, viewed.stdout.strip()) == (0, "1.0.0"), viewed

        installed = await npm(w, "install", "tiny")
        assert installed.status == 0, installed
        assert (w.home / "node_modules" / "tiny" / "index.js").read_text() == "module.exports = 'tiny';\n"
        sent = [
            head["authorization"]
            for path in ("/tiny", "/tiny/-/tiny-1.0.0.tgz")
            for head in seen(w.upstream, path)
        ]
        assert set(sent) == {f"Bearer {SECRET}"}
        assert await w.governed() == []


async def test_the_encoded_slash_of_a_scoped_name_is_refused_with_a_reason(tmp_path: Path):
    """npm asks for ``/@scope%2ftiny``; the service has to declare ``encoded_slash``, and this one does not."""
    async with deployed(tmp_path, serving("@scope/tiny")) as w:
        done = await npm(w, "view", "@scope/tiny", "version")

        assert done.status == 1
        assert "the path has an encoded slash" in done.said, done
        assert [record.code for record in await w.governed()] == ["target_malformed"]
        assert w.upstream.requests == []


async def test_a_refusal_is_told_in_its_own_words(w: Deployed):
    done = await npm(w, "view", "tiny", host="closed.test")

    assert done.status == 1
    refusal = await w.refused_once()
    assert "E403" in done.said
    assert refusal.detail in done.said, done
    assert w.upstream.requests == []
