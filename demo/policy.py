"""The third part: rules that read what is sent, people who approve, tools, budgets, rules that change."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from demo import rules
from demo.stage import HERE, check, gatepass, heading, quoted, records, told

PATIENCE_S = 30


def show(directory: Path, port: int, key: str, address: str) -> None:
    """Everything that rules of the content take. ``address`` is that of the sidecar."""
    shutil.copy(HERE / "cashier.py", directory)
    asked = ["--scope", "orders:refund", "--scope", "orders:read", "--proxy", address, "--json"]
    begun = gatepass(directory, "task", "start", "--agent", "cashier", *asked, quiet=True, key=key)
    cashier = Cashier(directory, port, json.loads(begun)["variables"])
    _refunds(directory, cashier)
    _tools(directory, cashier)
    _reload(directory, cashier)


class Cashier:
    """The agent, with the variables of its task."""

    def __init__(self, directory: Path, port: int, variables: dict[str, str]) -> None:
        self._directory = directory
        self._words = [
            *(sys.executable, "-u", "cashier.py"),
            *(f"https://orders.demo.test:{port}", f"https://tools.demo.test:{port}/mcp"),
        ]
        self._environment = os.environ | variables

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Let it do these things."""
        return subprocess.Popen(
            [*self._words, *words],
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def does(self, *words: str) -> str:
        """What it says while it does these things."""
        with self.start(*words) as running:
            said, _ = running.communicate()
        told(said)
        return said


def _refunds(directory: Path, cashier: Cashier) -> None:
    heading(9, "A rule reads the content: a refund up to 100 passes, more waits for a person")
    quoted(rules.REFUNDS.rpartition("\nwhen")[2].join(("when", "")))
    check("201" in cashier.does("100"), "100 passes")
    with cashier.start("500") as running:
        waiting = until(lambda: _waiting(directory))
        gatepass(directory, "approvals", "list")
        gatepass(directory, "approvals", "approve", str(waiting), "--reason", "the order came broken")
        said, _ = running.communicate()
    told(said)
    check("201" in said, "the call that waited went on when a person approved it")
    changed = cashier.does("501!")
    check("waits for a person" in changed, "the approval was for exactly that request: 501 is another")


def _tools(directory: Path, cashier: Cashier) -> None:
    heading(10, "Tools (MCP): the agent sees those it may call, and a budget ends")
    said = cashier.does(
        "tools", "drop_tables", "search_orders", "search_orders", "search_orders", "search_orders"
    )
    check("['search_orders']" in said, "two of the three tools are not even in the list")
    check("error default_deny" in said, "what is called all the same is refused, in words of JSON-RPC")
    check("error rate_limited (Retry-After: " in said, "the budget is spent, and it says until when")
    seen = [json.loads(line) for line in (directory / "seen.jsonl").read_text().splitlines()]
    check(not any("drop_tables" in call["content"] for call in seen), "the server never heard of drop_tables")


def _reload(directory: Path, cashier: Cashier) -> None:
    heading(11, "The operator adds a rule while gatepass runs; a file with a mistake changes nothing")
    policies = directory / "rules" / "policies"
    (policies / "limit.cedar").write_text(rules.LIMIT.replace("amount", "amuont"))
    refused = until(lambda: _recorded(directory, "rules.refused"))
    print(f"  gatepass: {refused}")
    check("100" in cashier.does("100"), "the old rules stay in force")
    print()
    quoted(rules.LIMIT)
    (policies / "limit.cedar").write_text(rules.LIMIT)
    until(lambda: _recorded(directory, "rules.load", 3))
    said = cashier.does("5000!")
    check("ask for a credit note" in said, "the next call goes by the new rules: nobody can approve this")


def _waiting(directory: Path) -> str | None:
    """The request that waits."""
    lines = gatepass(directory, "approvals", "list", "--json", quiet=True).splitlines()
    return json.loads(lines[0])["id"] if lines else None


def _recorded(directory: Path, kind: str, count: int = 1) -> str | None:
    """What the log says of the last event of this kind, once there are so many."""
    found = [record["body"]["detail"] for record in records(directory) if record["type"] == kind]
    return found[-1] if len(found) >= count else None


def until(look: Callable[[], str | None]) -> str:
    """What is there as soon as it is; the demo fails if that takes too long."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
    sys.exit("the demo failed: what it waits for did not come")
