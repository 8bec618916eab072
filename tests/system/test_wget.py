"""wget through TLS interception.

It finds the proxy in its environment. The CA it does not: built with GnuTLS, as Debian builds it, wget
reads no variable for that, so it must be told with ``--ca-certificate`` what every other client finds.
"""

import json
import shutil
import subprocess

import pytest

from tests.system.deployed import SECRET, Deployed, is_refusal, problem, seen

WGET = shutil.which("wget")
pytestmark = pytest.mark.skipif(WGET is None, reason="there is no wget on this machine")


def has_gnutls() -> bool:
    """Whether this wget is built with GnuTLS."""
    told = subprocess.run([WGET or "wget", "--version"], capture_output=True, text=True, check=True).stdout
    return "ssl/gnutls" in told


def trusting(w: Deployed) -> str:
    return f"--ca-certificate={w.variables['SSL_CERT_FILE']}"


async def test_a_page_is_fetched_with_the_real_credential(w: Deployed):
    bearer = f"--header=Authorization: Bearer {w.placeholder}"
    done = await w.agent("wget", "-nv", "-O", "-", trusting(w), bearer, w.url("/page"))

    assert done.status == 0, done
    assert json.loads(done.stdout)["target"] == "/page"
    assert [got["authorization"] for got in seen(w.upstream, "/page")] == [f"Bearer {SECRET}"]
    assert await w.governed() == []


async def test_a_refusal_is_a_403_that_wget_shows(w: Deployed):
    done = await w.agent(
        "wget", "-nv", "--content-on-error", "-O", "-", trusting(w), w.url("/", "closed.test")
    )

    assert done.status == 8  # the server answered with an error
    assert "403" in done.stderr
    assert is_refusal(problem(done.stdout))
    await w.refused_once()
    assert w.upstream.requests == []


@pytest.mark.skipif(WGET is not None and not has_gnutls(), reason="this wget reads SSL_CERT_FILE")
async def test_without_the_option_it_closes_a_tunnel_that_it_does_not_trust(w: Deployed):
    done = await w.agent("wget", "-nv", "-O", "-", w.url("/page"))

    assert done.status == 5  # the certificate could not be verified
    assert await w.settled() == []
    assert w.upstream.connections == []
