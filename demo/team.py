"""Two agents: ``team.py buyer API`` works, hands on part of its task, and starts ``team.py clerk API``.

The buyer asks the desk of gatepass for a task for the clerk. The clerk knows nothing of gatepass: it gets
its proxy and its key from the environment, as any program does.
"""

import json
import os
import subprocess
import sys
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

DESK = "http://gatepass.internal"
ROLE, API = sys.argv[1:3]


def ask(url: str, data: bytes | None = None, key: str = "") -> bytes:
    """The body of an answer with status 200 or 201."""
    request = Request(url, data=data, headers={"Authorization": f"Bearer {key}"} if key else {})
    with urlopen(request, timeout=20) as answer:
        body: bytes = answer.read()
    return body


def call(says: str, url: str, data: bytes | None = None) -> None:
    """Make one call of the API and print what came back."""
    print(f"\n  {ROLE}: {says}\n         {'POST' if data else 'GET'} {url}")
    try:
        print(f"         200 {ask(url, data, os.environ['ORDERS_API_KEY']).decode()}")
    except HTTPError as refused:
        problem = json.loads(refused.read())
        print(f"         {refused.code} {problem['title']}: {problem['detail']}")
    except URLError as failed:
        print(f"         {failed.reason}")


def buyer() -> None:
    """Order, and let the clerk look after what was ordered."""
    call("I order ink", f"{API}/v1/orders", b'{"item": "ink"}')
    wanted = {"agent": "clerk", "purpose": "watch the orders", "scopes": ["orders:read"], "ttl": 600}
    print(f"\n  buyer: the clerk shall watch them, and no more\n         POST {DESK}/delegate")
    print(f"         {json.dumps(wanted)}")
    given = json.loads(ask(f"{DESK}/delegate", json.dumps(wanted).encode()))
    told = {name: given[name] for name in ("task", "agent", "scopes", "expires_at")}
    print(f"         201 {json.dumps(told)} and a token")
    mine = urlsplit(os.environ["HTTPS_PROXY"])
    proxy = f"http://task:{given['token']}@{mine.hostname}:{mine.port}"
    theirs = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
    subprocess.run(
        [sys.executable, "-u", __file__, "clerk", API],
        env=os.environ | theirs | given["variables"],
        check=True,
    )


def clerk() -> None:
    """Try what the buyer can do, then watch until there is nothing more to see."""
    call("what orders are there?", f"{API}/v1/orders")
    call("let me order, too", f"{API}/v1/orders", b'{"item": "yacht"}')
    request = Request(
        f"{API}/v1/orders/watch", headers={"Authorization": f"Bearer {os.environ['ORDERS_API_KEY']}"}
    )
    with urlopen(request, timeout=20) as stream:
        print(f"\n  clerk: is watching the orders: {stream.readline().decode().strip()}")
        try:
            stream.read()
            print("  clerk: the stream has ended")
        except (OSError, HTTPException) as error:
            print(f"  clerk: the stream was cut ({type(error).__name__})")
    call("once more: what orders are there?", f"{API}/v1/orders")


if __name__ == "__main__":
    {"buyer": buyer, "clerk": clerk}[ROLE]()
