"""pip through TLS interception, from an index that stands in for the public one."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.support.upstream import Upstream
from tests.system.deployed import SECRET, Deployed, deployed
from tests.system.process import Finished
from tests.system.registries import guarded, index

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None, reason="this Python has no pip to install with"
)

# No configuration of this machine, and no look for a newer pip.
QUIET = {"PIP_CONFIG_FILE": "/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}


async def install(w: Deployed, url: str, *words: str) -> Finished:
    """``pip install tiny`` into a directory of its own."""
    words = (
        "install",
        "--no-input",
        *words,
        "--retries",
        "0",
        "--index-url",
        url,
        "--target",
        w.home / "site",
        "tiny",
    )
    return await w.agent(sys.executable, "-m", "pip", *words, **QUIET)


def installed(w: Deployed) -> Path:
    return w.home / "site" / "tiny.py"


async def test_a_package_is_installed(tmp_path: Path):
    server = Upstream("api.test", "closed.test", default=index("tiny", "answer = 42\n"))
    async with deployed(tmp_path, server) as w:
        done = await install(w, w.url("/simple/"))

        assert done.status == 0, done
        assert installed(w).read_text() == "answer = 42\n"
        assert await w.governed() == []
        assert {received.path.split("/")[1] for received in w.upstream.requests} == {"simple", "files"}


async def test_a_private_index_is_used_with_a_placeholder_for_a_password(tmp_path: Path):
    private = guarded(index("tiny", "answer = 43\n"), "bot", SECRET)
    async with deployed(
        tmp_path, Upstream("api.test", "closed.test", default=private), place={"basic": {}}
    ) as w:
        done = await install(w, w.url("/simple/").replace("https://", f"https://bot:{w.placeholder}@"))

        assert done.status == 0, done
        assert installed(w).read_text() == "answer = 43\n"
        assert SECRET not in done.said
        assert await w.governed() == []


async def test_a_refused_index_is_a_403_that_only_very_verbose_pip_shows(w: Deployed):
    done = await install(w, w.url("/simple/", "closed.test"), "-vv")

    assert done.status == 1
    assert "No matching distribution found for tiny" in done.stderr  # all that pip says without -vv
    assert "403 Client Error: Forbidden" in done.stdout
    assert not installed(w).exists()
    await w.refused_once()
    assert w.upstream.requests == []
