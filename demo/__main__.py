"""The demo's script. Exits 1 if anything did not go as shown."""

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from demo import delegation, learning, policy, rules
from demo.stage import HERE, check, gatepass, heading, serving, told


def main(directory: Path) -> None:
    """All of it."""
    key = f"sk-demo-{secrets.token_hex(16)}"
    api = subprocess.Popen(
        [sys.executable, "-m", "demo.api", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert api.stdin is not None
    assert api.stdout is not None
    try:
        api.stdin.write(f"{key}\n")
        api.stdin.flush()
        port = int(api.stdout.readline())
        rules.write(directory, port)
        show(directory, port, key)
        with serving(directory, key) as address:
            delegation.show(directory, port, key, address)
            policy.show(directory, port, key, address)
        learning.show(directory, port)
        search(directory, key)
    finally:
        api.kill()
        api.wait()


def show(directory: Path, port: int, key: str) -> None:
    """The story, step by step."""
    heading(1, "An agent makes four calls, and gatepass decides each one")
    shutil.copy(HERE / "agent.py", directory)
    hosts = [f"https://orders.demo.test:{port}", f"https://collect.demo.test:{port}"]
    agent = [sys.executable, "agent.py", *hosts]
    asked = ["--agent", "buyer", "--purpose", "check the orders", "--scope", "orders:read"]
    said = gatepass(directory, "run", *asked, "--", *agent, keep=True, key=key)
    told(said)
    print()
    seen = [json.loads(line) for line in (directory / "seen.jsonl").read_text().splitlines()]
    check(key not in said, "the real key is nowhere in what the agent saw")
    check(
        [call["authorization"] for call in seen] == [f"Bearer {key}"],
        "the API saw one call, with the real key",
    )

    heading(2, "A security reviewer asks what was blocked")
    gatepass(directory, "log", "blocked", "--log", "state/log")
    heading(3, "and what happened under that task")
    shown = gatepass(directory, "log", "blocked", "--json", "--log", "state/log", quiet=True)
    gatepass(directory, "log", "trace", json.loads(shown.splitlines()[0])["task"], "--log", "state/log")
    heading(4, "An auditor verifies the log, trusting nobody")
    vkey = (directory / "state" / "log" / "log.vkey").read_text().strip()
    gatepass(directory, "log", "verify", "--log", "state/log", "--key", vkey)
    heading(5, "Somebody changes one word in a copy: refused, and the index is named")
    shutil.copytree(directory / "state" / "log", directory / "copy")
    tamper(directory / "copy")
    gatepass(directory, "log", "verify", "--log", "copy", "--key", vkey, expect=1)


def search(directory: Path, key: str) -> None:
    """Look for the real key in everything that was written."""
    print()
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != "seen.jsonl")
    check(
        not [path for path in files if key.encode() in path.read_bytes()],
        "the real key is in no file of gatepass: not in the log, not with the tasks",
    )


def tamper(log: Path) -> None:
    """Make a refusal look like something else, wherever it is written down."""
    for path in log.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            path.write_bytes(data.replace(b"placeholder_host_mismatch", b"placeholder_host_is_fine_"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="gatepass-demo-") as made:
        main(Path(made))
    print("\nThat was gatepass. Next: `gatepass init`, or put `gatepass run --` in front of your own agent.")
