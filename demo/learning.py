"""The last part: why a call was refused, the least rules for what was used, and what they would change."""

import json
from pathlib import Path

from demo.stage import check, gatepass, heading, quoted

SUGGESTED = "suggested"
CHANGES = ("newly allowed", "newly denied", "newly held", "unreplayable")
KEPT = ("other rule", "same")


def show(directory: Path, port: int) -> None:
    """What an operator does with the log."""
    heading(12, "Why was the yacht refused, and what would it have taken?")
    yacht = ["policy", "explain", "POST", f"https://orders.demo.test:{port}/v1/orders"]
    yacht += ["--agent", "buyer", "--scope", "orders:read"]
    gatepass(directory, *yacht, expect=1)
    told = json.loads(gatepass(directory, *yacht, "--json", quiet=True, expect=1))
    check("orders:write" in json.dumps(told["changes"]), "one more scope is the smallest change")

    heading(13, "The least rules for what was used, learnt from the log")
    log = ["--log", "state/log"]
    gatepass(directory, "policy", "suggest", *log, "--write", SUGGESTED, keep=True)
    permits = (directory / SUGGESTED / "policies" / "suggested.cedar").read_text().split("\n\n")
    print("\n  one of them:")
    quoted(next(permit for permit in permits if "orders.refund" in permit))

    heading(14, "They change nothing that happened, and they come with their tests")
    replayed = gatepass(directory, "policy", "replay", *log, "--rules", SUGGESTED, "--json", keep=True)
    summary = json.loads(replayed.splitlines()[-1])
    print("  " + ", ".join(f"{summary[kind]} {kind}" for kind in (*CHANGES, *KEPT)))
    check(not any(summary[kind] for kind in CHANGES), "what was allowed, refused or held still is")
    gatepass(directory, "policy", "test", "--rules", SUGGESTED)
