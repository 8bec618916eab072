"""An agent that pays refunds and uses tools: ``cashier.py API TOOLS WORD...`` does one thing for each word.

A number is a refund of order 7; ``tools`` lists the tools, and any other word calls the one of that name. It
knows nothing of gatepass. With a ``!`` behind the number it says that it will not wait for anybody
(``Prefer: wait=0``, RFC 7240).
"""

import json
import os
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

API, TOOLS, *WORDS = sys.argv[1:]
KEY = f"Bearer {os.environ['ORDERS_API_KEY']}"


def ask(url: str, content: object, headers: dict[str, str]) -> tuple[int, str, str]:
    """POST the content: status, ``Retry-After`` and the content of the answer."""
    sent = Request(url, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})
    try:
        answer = urlopen(sent, timeout=90)
    except HTTPError as refused:
        answer = refused
    with answer:
        return answer.status, answer.headers["Retry-After"] or "", answer.read().decode()


def refund(amount: str) -> None:
    """Ask for a refund."""
    print(f"\n  cashier: let me refund {amount.rstrip('!')}\n         POST {API}/v1/orders/7/refunds")
    wait = {"Prefer": "wait=0"} if amount.endswith("!") else {}
    content = {"amount": int(amount.rstrip("!"))}
    status, _, answer = ask(f"{API}/v1/orders/7/refunds", content, {"Authorization": KEY, **wait})
    if status < 400:  # noqa: PLR2004 - RFC 9110, 15.5
        print(f"         {status} {answer}")
        return
    problem = json.loads(answer)
    print(f"         {status} {problem['title']}\n         {problem['detail']}")


def tool(name: str) -> None:
    """Call a tool, or list them all."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    if name != "tools":
        asked |= {"method": "tools/call", "params": {"name": name, "arguments": {}}}
    print(f"\n  cashier: {name if name != 'tools' else 'which tools are there'}?\n         POST {TOOLS}")
    accepted = {"Accept": "application/json, text/event-stream"}
    status, retry_after, answer = ask(TOOLS, asked, accepted)
    told = json.loads(answer)
    if "error" in told:
        after = f" (Retry-After: {retry_after})" if retry_after else ""
        print(f"         error {told['error']['data']['code']}{after}\n         {told['error']['message']}")
    elif name == "tools":
        print(f"         {status} {[one['name'] for one in told['result']['tools']]}")
    else:
        print(f"         {status} {told['result']['content'][0]['text']}")


for word in WORDS:
    (refund if word.rstrip("!").isdigit() else tool)(word)
