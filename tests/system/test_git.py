"""Git over HTTPS through TLS interception: clone, push, a private repository, a refusal."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.upstream import Upstream
from tests.system.deployed import SECRET, Deployed, deployed
from tests.system.process import environment
from tests.system.registries import git, guarded

GIT = shutil.which("git")


def has_backend() -> bool:
    """Whether this Git has the server's half."""
    if GIT is None:
        return False
    where = subprocess.run([GIT, "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    return (Path(where) / "git-http-backend").exists()


pytestmark = pytest.mark.skipif(not has_backend(), reason="there is no git with http-backend on this machine")

NOBODY = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    **{
        f"GIT_{who}_{what}": "tester@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


def repository(directory: Path, name: str) -> None:
    """A bare repository with one commit."""
    told = environment(directory, NOBODY)

    def call(*words: str | Path) -> None:
        subprocess.run(["git", *words], env=told, cwd=directory, check=True, capture_output=True)

    call("init", "-q", "-b", "main", "work")
    (directory / "work" / "README").write_text(f"this is {name}\n")
    call("-C", "work", "add", "README")
    call("-C", "work", "commit", "-qm", "First")
    call("clone", "-q", "--bare", "work", f"{name}.git")


async def test_a_repository_is_cloned_and_pushed_to(tmp_path: Path):
    server = tmp_path / "server"
    server.mkdir()
    repository(server, "public")
    async with deployed(tmp_path, Upstream("api.test", "closed.test", default=git(server))) as w:
        cloned = await w.agent("git", "clone", "-q", w.url("/public.git"), "copy", **NOBODY)
        assert (cloned.status, cloned.stderr) == (0, "")
        copy = w.home / "copy"
        assert (copy / "README").read_text() == "this is public\n"
        assert [received.method for received in w.upstream.requests] == ["GET", "POST", "POST"]

        (copy / "large").write_bytes(bytes(range(256)) * 8000)  # pushed in chunks of unknown length
        for words in (("add", "large"), ("commit", "-qm", "Second"), ("push", "-q", "origin", "main")):
            done = await w.agent("git", *words, cwd=copy, **NOBODY)
            assert done.status == 0, done
        head = (await w.agent("git", "-C", server / "public.git", "log", "--format=%s", **NOBODY)).stdout
        assert head.split() == ["Second", "First"]
        assert await w.governed() == []


async def test_a_private_repository_is_cloned_with_a_placeholder_for_a_password(tmp_path: Path):
    server = tmp_path / "server"
    server.mkdir()
    repository(server, "private")
    upstream = Upstream("api.test", "closed.test", default=guarded(git(server), "bot", SECRET))
    async with deployed(tmp_path, upstream, place={"basic": {}}) as w:
        url = w.url("/private.git").replace("https://", f"https://bot:{w.placeholder}@")
        cloned = await w.agent("git", "clone", "-q", url, "copy", **NOBODY)

        assert (cloned.status, cloned.stderr) == (0, "")
        assert (w.home / "copy" / "README").read_text() == "this is private\n"
        assert SECRET not in (w.home / "copy" / ".git" / "config").read_text()
        assert await w.governed() == []


async def test_a_refused_clone_says_403(w: Deployed):
    done = await w.agent("git", "clone", "-q", w.url("/public.git", "closed.test"), "copy", **NOBODY)

    assert done.status == 128
    assert "The requested URL returned error: 403" in done.stderr
    await w.refused_once()
    assert w.upstream.requests == []
