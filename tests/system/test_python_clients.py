"""Python's HTTP clients through TLS interception: they are given the environment, and no proxy, no CA.

Every script reads the API with its placeholder, writes to it, and asks for what is refused; it prints
what it saw. What a client shows of a refusal is the answer itself: status 403 and the problem document.
"""

import json
import sys

import pytest

from tests.support.upstream import Upstream
from tests.system.deployed import SECRET, Deployed, deployed, is_refusal, seen

REQUESTS = """
import json, os, sys, requests
api, closed = sys.argv[1:]
session = requests.Session()
bearer = {"Authorization": "Bearer " + os.environ["API_TOKEN"]}
got = session.get(api + "/read", headers=bearer)
wrote = session.post(api + "/write", json={"a": 1}, headers=bearer)
no = session.get(closed + "/")
print(json.dumps([got.status_code, got.json(), wrote.json(), no.status_code, no.json()]))
"""

HTTPX = """
import json, os, sys, httpx
api, closed = sys.argv[1:]
bearer = {"Authorization": "Bearer " + os.environ["API_TOKEN"]}
with httpx.Client() as client:
    got = client.get(api + "/read", headers=bearer)
    wrote = client.post(api + "/write", json={"a": 1}, headers=bearer)
    no = client.get(closed + "/")
print(json.dumps([got.status_code, got.json(), wrote.json(), no.status_code, no.json()]))
"""

HTTPX_ASYNC = """
import asyncio, json, os, sys, httpx
api, closed = sys.argv[1:]
bearer = {"Authorization": "Bearer " + os.environ["API_TOKEN"]}
async def main():
    async with httpx.AsyncClient() as client:
        got = await client.get(api + "/read", headers=bearer)
        wrote = await client.post(api + "/write", json={"a": 1}, headers=bearer)
        no = await client.get(closed + "/")
    print(json.dumps([got.status_code, got.json(), wrote.json(), no.status_code, no.json()]))
asyncio.run(main())
"""

AIOHTTP = """
import asyncio, json, os, sys, aiohttp
api, closed = sys.argv[1:]
bearer = {"Authorization": "Bearer " + os.environ["API_TOKEN"]}
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get(api + "/read", headers=bearer) as got:
            status, read = got.status, await got.json()
        async with session.post(api + "/write", json={"a": 1}, headers=bearer) as answer:
            wrote = await answer.json()
        async with session.get(closed + "/") as no:
            refusal = await no.json(content_type="application/problem+json")
            print(json.dumps([status, read, wrote, no.status, refusal]))
asyncio.run(main())
"""

URLLIB = """
import json, os, sys, urllib.error
from urllib.request import Request, urlopen
api, closed = sys.argv[1:]
bearer = {"Authorization": "Bearer " + os.environ["API_TOKEN"]}
with urlopen(Request(api + "/read", headers=bearer)) as got:
    status, read = got.status, json.load(got)
with urlopen(Request(api + "/write", data=b'{"a":1}', headers=bearer)) as answer:
    wrote = json.load(answer)
try:
    urlopen(closed + "/")
except urllib.error.HTTPError as no:
    with no:
        print(json.dumps([status, read, wrote, no.status, json.load(no)]))
"""

SCRIPTS = {
    "requests": REQUESTS,
    "httpx": HTTPX,
    "httpx-async": HTTPX_ASYNC,
    "aiohttp": AIOHTTP,
    "urllib": URLLIB,
}


@pytest.mark.parametrize("client", SCRIPTS)
async def test_an_agent_reads_writes_and_is_refused(w: Deployed, client: str):
    if client not in {"aiohttp", "urllib"}:
        pytest.importorskip(client.partition("-")[0])

    done = await w.agent(sys.executable, "-c", SCRIPTS[client], w.url(""), w.url("", "closed.test"))

    assert done.status == 0, done
    status, read, wrote, refused, why = json.loads(done.stdout)
    assert (status, read["method"], wrote["method"]) == (200, "GET", "POST")
    assert wrote["length"] in {7, 8}
    assert refused == 403
    assert is_refusal(why)
    for path in ("/read", "/write"):
        assert [got["authorization"] for got in seen(w.upstream, path)] == [f"Bearer {SECRET}"]
    assert (await w.refused_once()).id == why["record"]


PLAIN_HTTP = """
import json, os, sys, requests
bearer = {"Authorization": "Bearer " + os.environ["API_TOKEN"]}
got = requests.get(sys.argv[1], headers=bearer)
no = requests.get(sys.argv[2])
print(json.dumps([got.status_code, got.json(), no.status_code, no.json()]))
"""


async def test_plain_http_is_governed_in_the_same_way(tmp_path):
    pytest.importorskip("requests")
    async with deployed(tmp_path, Upstream("api.test", "closed.test", tls=False)) as w:
        urls = [f"http://{host}:{w.upstream.port}/plain" for host in ("api.test", "closed.test")]
        done = await w.agent(sys.executable, "-c", PLAIN_HTTP, *urls)

        assert done.status == 0, done
        status, read, refused, why = json.loads(done.stdout)
        assert (status, read["target"], refused) == (200, "/plain", 403)
        assert is_refusal(why)
        assert seen(w.upstream, "/plain")[0]["authorization"] == f"Bearer {SECRET}"
        await w.refused_once()


WEBSOCKETS = """
import asyncio, json, os, sys
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
api, closed = sys.argv[1:]
async def main():
    bearer = {"Authorization": "Bearer " + os.environ["API_TOKEN"]}
    async with connect(api + "/websocket", additional_headers=bearer) as socket:
        await socket.send("hello")
        await socket.send(b"x" * 200_000)
        said, echoed = await socket.recv(), await socket.recv()
        await (await socket.ping())
    try:
        await connect(closed + "/websocket")
    except InvalidStatus as no:
        print(json.dumps([said, len(echoed), no.response.status_code, json.loads(no.response.body)]))
asyncio.run(main())
"""


async def test_a_websocket_is_opened_and_echoes(w: Deployed):
    library = pytest.importorskip("websockets")
    if int(library.__version__.partition(".")[0]) < 15:
        pytest.skip("websockets uses the proxy of its environment from version 15 on")
    api, closed = (w.url("", host).replace("https", "wss") for host in ("api.test", "closed.test"))

    done = await w.agent(sys.executable, "-c", WEBSOCKETS, api, closed)

    assert done.status == 0, done
    said, length, refused, why = json.loads(done.stdout)
    assert (said, length, refused) == ("hello", 200_000, 403)
    assert is_refusal(why)
    assert seen(w.upstream, "/websocket")[0]["authorization"] == f"Bearer {SECRET}"
    await w.refused_once()


ELSEWHERE = """
import json, os, sys, requests
token = os.environ["API_TOKEN"]
body = requests.post(sys.argv[1], data="my token is " + token)
other = requests.get(sys.argv[2], headers={"Authorization": "Bearer " + token})
print(json.dumps([[no.status_code, no.json()["code"]] for no in (body, other)]))
"""


async def test_a_placeholder_outside_its_place_goes_nowhere(w: Deployed):
    pytest.importorskip("requests")

    done = await w.agent(sys.executable, "-c", ELSEWHERE, w.url("/body"), w.url("/", "closed.test"))

    assert done.status == 0, done
    assert json.loads(done.stdout) == [[403, "placeholder_surface"], [403, "placeholder_host_mismatch"]]
    await w.settled()
    assert w.placeholder.encode() not in w.upstream.received
    assert SECRET.encode() not in w.upstream.received
