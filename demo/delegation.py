"""The second part: an agent hands on part of its task, and the operator takes it back from both."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from demo.stage import HERE, check, gatepass, heading, records, told

STREAMING = "is watching"


def show(directory: Path, port: int, key: str, address: str) -> None:
    """The acts that need a sidecar which stays, at ``address``."""
    shutil.copy(HERE / "team.py", directory)
    heading(6, "The agent hands a narrower task to a helper, which cannot do what the agent can")
    asked = ["--scope", "orders:read", "--scope", "orders:write", "--max-requests", "20"]
    asked += ["--on-behalf-of", "ada@example.org", "--ticket", "SHOP-7", "--proxy", address, "--json"]
    begun = gatepass(directory, "task", "start", "--agent", "buyer", *asked, quiet=True, key=key)
    variables = json.loads(begun)["variables"]
    with _team(directory, variables, f"https://orders.demo.test:{port}") as team:
        _tell(team, until=STREAMING)
        heading(7, "The operator revokes the agent: the helper's stream is cut, and so is its task")
        gatepass(directory, "revoke", "agent", "buyer", "--reason", "it bought a yacht")
        said = _tell(team)
    check("the stream was cut" in said, "the stream that was open is cut")
    check("code=revoked" in said, "the helper's next call is refused")
    heading(8, "The log has the whole chain: who delegated what to whom, and who ended it")
    chain = _chain(directory, "clerk")
    gatepass(directory, "log", "trace", chain[0]["task"], "--log", "state/log")
    names = [link["agent"] for link in chain]
    check(names == ["buyer", "clerk"], "each call of the helper names the chain: buyer > clerk")
    digests = {link["grant_sha256"] for link in chain}
    check(len(digests) == len(chain), "with the digest of what each of them was granted")


@contextlib.contextmanager
def _team(directory: Path, variables: dict[str, str], api: str) -> Iterator["subprocess.Popen[str]"]:
    """The agent, with the variables of its task; it starts the helper."""
    with subprocess.Popen(
        [sys.executable, "-u", "team.py", "buyer", api],
        cwd=directory,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as team:
        try:
            yield team
        finally:
            team.kill()


def _tell(team: "subprocess.Popen[str]", until: str = "") -> str:
    """Print what the agents say, to a line that has ``until`` or to their end; all of it."""
    assert team.stdout is not None
    said = ""
    for line in team.stdout:
        told(line)
        said += line
        if until and until in line:
            return said
    if until:
        sys.exit(f"the demo failed: no agent said that it {until}")
    return said


def _chain(directory: Path, agent: str) -> list[dict[str, str]]:
    """Who stood behind the agent's first call that was allowed, as the log says, the root first."""
    for record in records(directory):
        if record["type"] == "decision" and record["why"]["effect"] == "allow":
            who = record["who"]
            if who["agent"]["id"] == agent:
                chain: list[dict[str, str]] = who["chain"]
                return chain
    sys.exit(f"the demo failed: the log has no call of {agent}")
