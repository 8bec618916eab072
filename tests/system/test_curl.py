"""curl through TLS interception, with the variables of a task and no options about proxy or CA."""

import json
import shutil

import pytest

from tests.system.deployed import SECRET, Deployed, is_refusal, problem, seen

CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="there is no curl on this machine")


async def test_a_get_arrives_with_the_real_credential(w: Deployed):
    bearer = f"Authorization: Bearer {w.placeholder}"
    done = await w.agent("curl", "-sS", "--fail", "-H", bearer, w.url("/user"))

    assert (done.status, done.stderr) == (0, "")
    assert json.loads(done.stdout)["method"] == "GET"
    assert [got["authorization"] for got in seen(w.upstream, "/user")] == [f"Bearer {SECRET}"]
    assert "proxy-authorization" not in seen(w.upstream, "/user")[0]
    assert await w.governed() == []


async def test_a_post_arrives_whole(w: Deployed):
    done = await w.agent("curl", "-sS", "--fail", "--data-binary", "x" * 3000, w.url("/things"))

    told = json.loads(done.stdout)
    assert (told["method"], told["length"]) == ("POST", 3000)
    assert await w.governed() == []


async def test_an_upload_waits_for_100_continue(w: Deployed):
    file = w.home / "large"
    file.write_bytes(bytes(range(256)) * 8192)
    # A long wait for the 100, so that it can only have come from gatepass.
    patient = ("--expect100-timeout", "50", "-H", "Expect: 100-continue")
    done = await w.agent("curl", "-sS", "--fail", "-v", *patient, "-T", file, w.url("/upload"))

    assert json.loads(done.stdout)["length"] == 256 * 8192, done
    assert "< HTTP/1.1 100 Continue" in done.stderr
    assert await w.governed() == []


async def test_a_refused_upload_never_starts(w: Deployed):
    file = w.home / "large"
    file.write_bytes(b"x" * 1_000_000)
    patient = ("--expect100-timeout", "50", "-H", "Expect: 100-continue", "-w", "\n%{size_upload}")
    done = await w.agent("curl", "-sS", *patient, "-T", file, w.url("/upload", "closed.test"))

    body, _, sent = done.stdout.rpartition("\n")
    assert is_refusal(problem(body))
    assert sent == "0"
    await w.refused_once()
    assert w.upstream.requests == []


async def test_several_urls_share_one_connection_and_are_decided_each(w: Deployed):
    urls = [w.url(f"/page/{number}") for number in range(5)]
    done = await w.agent("curl", "-sS", "--fail", "-w", "\n%{num_connects}\n", *urls)

    connects = done.stdout.splitlines()[1::2]
    assert connects == ["1", "0", "0", "0", "0"], done
    assert await w.governed() == []
    assert [received.path for received in w.upstream.requests] == [f"/page/{number}" for number in range(5)]


async def test_a_refusal_is_a_403_that_curl_shows(w: Deployed):
    done = await w.agent("curl", "-sS", "-w", "\n%{http_code} %{content_type}", w.url("/", "closed.test"))

    body, _, status = done.stdout.rpartition("\n")
    assert (done.status, status) == (0, "403 application/problem+json")
    refusal = await w.refused_once()
    assert is_refusal(problem(body))
    assert problem(body)["record"] == refusal.id
    assert w.upstream.requests == []


async def test_curl_without_the_token_is_asked_for_one(w: Deployed):
    bare = "http://{}:{}".format(*w.sidecar.address)
    done = await w.agent("curl", "-sS", "-v", w.url(), HTTPS_PROXY=bare, https_proxy=bare)

    assert done.status == 56  # CURLE_RECV_ERROR: the proxy refused the tunnel
    assert "407" in done.stderr
    assert [record.code for record in await w.settled()] == ["identity_missing"]
    assert w.upstream.requests == []


async def test_a_placeholder_for_one_service_does_not_go_to_another(w: Deployed):
    bearer = f"Authorization: Bearer {w.placeholder}"
    done = await w.agent("curl", "-sS", "-H", bearer, w.url("/", "closed.test"))

    assert problem(done.stdout)["status"] == 403
    assert len(await w.governed()) == 1
    assert w.upstream.requests == []
