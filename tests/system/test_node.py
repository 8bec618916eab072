"""Node's global ``fetch`` through TLS interception.

From 22.21 and 24.5 on Node itself obeys ``NODE_USE_ENV_PROXY``, which gatepass sets. Older ones ignore
every proxy variable; there ``fetch`` is given the one-line dispatcher of the library it is made of
(undici, pinned in ``tests/support/node``), which reads the same variables. The CA is Node's own matter:
``NODE_EXTRA_CA_CERTS``.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.deployed import SECRET, Deployed, is_refusal, seen
from tests.system.process import ROOT, run

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node on this machine")

SCRIPT = """
const [api, closed] = process.argv.slice(2);
const bearer = { Authorization: "Bearer " + process.env.API_TOKEN };
const got = await fetch(api + "/read", { headers: bearer });
const read = await got.json();
const wrote = await (await fetch(api + "/write", { method: "POST", body: "hello", headers: bearer })).json();
const no = await fetch(closed + "/");
console.log(JSON.stringify([got.status, read, wrote, no.status, await no.json()]));
"""

DISPATCHER = """
import { EnvHttpProxyAgent, setGlobalDispatcher } from "undici";
setGlobalDispatcher(new EnvHttpProxyAgent());
"""

BARE = """
try {
  await fetch(process.argv[2]);
} catch (error) {
  console.log(JSON.stringify({ code: error.cause.code }));
}
"""


def obeys_environment() -> bool:
    """Whether this Node's own ``fetch`` reads the proxy variables."""
    found = subprocess.run([NODE or "node", "--version"], capture_output=True, text=True, check=True).stdout
    major, minor, *_ = (int(part) for part in found.strip().removeprefix("v").split("."))
    return (major, minor) >= (24, 5) or (major == 22 and minor >= 21)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the agent's program lies."""
    found = tmp_path / "program"
    found.mkdir()
    return found


async def script(directory: Path, text: str = SCRIPT) -> Path:
    """The agent's program, with the dispatcher where Node needs it."""
    file = directory / "agent.mjs"
    if obeys_environment():
        file.write_text(text)
        return file
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "tests" / "support" / "node" / name, directory)
    install = ("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0")
    if shutil.which("npm") is None:
        pytest.skip("this Node ignores proxy variables, and there is no npm to install undici with")
    done = await run(*install, env=os.environ, cwd=directory)
    if done.status != 0:
        pytest.skip(
            f"this Node ignores proxy variables, and undici cannot be installed: {done.stderr[-200:]}"
        )
    file.write_text(DISPATCHER + text)
    return file


async def test_fetch_reads_writes_and_is_refused(w: Deployed, directory: Path):
    file = await script(directory)

    done = await w.agent("node", file, w.url(""), w.url("", "closed.test"))

    assert done.status == 0, done
    status, read, wrote, refused, why = json.loads(done.stdout)
    assert (status, read["method"], wrote["method"], wrote["length"]) == (200, "GET", "POST", 5)
    assert refused == 403
    assert is_refusal(why)
    for path in ("/read", "/write"):
        assert [got["authorization"] for got in seen(w.upstream, path)] == [f"Bearer {SECRET}"]
    assert (await w.refused_once()).id == why["record"]


@pytest.mark.skipif(NODE is not None and obeys_environment(), reason="this Node obeys the proxy variables")
async def test_bare_fetch_of_an_older_node_never_asks_gatepass(w: Deployed, tmp_path: Path):
    """It tries to go out by itself, which only the network can stop: here the name is known to nobody else."""
    file = tmp_path / "bare.mjs"
    file.write_text(BARE)

    done = await w.agent("node", file, w.url("/"))

    assert done.json()["code"] in {"ENOTFOUND", "EAI_AGAIN"}
    assert await w.settled() == []
    assert w.upstream.connections == []
