"""The README's first command, as it stands in the Makefile; the demo checks itself and exits 1 if it fails."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demo_shows_what_it_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in (
        "policy_deny",
        "placeholder_host_mismatch",
        "dest_metadata",
        "BROKEN at index",
        "OK: all",
        "/delegate",
        "clerk: the stream was cut",
        "code=revoked",
        "buyer > clerk",
        "A person has to approve this call",
        "approved ap-",
        "the approval was for exactly that request",
        "200 ['search_orders']",
        "error default_deny",
        "error rate_limited (Retry-After: ",
        "amuont` in context",
        "ask for a credit note",
        "it would be allowed if\tthe task has the scope orders:write",
        "context.facts.body.amount <= 100 || context.approved };\n",
        "0 newly allowed, 0 newly denied, 0 newly held, 0 unreplayable",
        "cases passed",
    ):
        assert shown in done.stdout
