"""The orders API, and a server of tools (MCP): HTTPS with a CA of its own. It writes down what it saw.

``python -m demo.api DIRECTORY``: the CA goes to ``DIRECTORY/roots/api.pem``, what was seen to
``DIRECTORY/seen.jsonl``, the port to standard output.
"""

import contextlib
import json
import re
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

HOSTS = ("orders.demo.test", "collect.demo.test", "tools.demo.test")
REFUNDS = re.compile(r"/v1/orders/[0-9]+/refunds")
TOOLS = {
    "search_orders": "Find orders",
    "cancel_order": "Cancel an order",
    "drop_tables": "Delete all orders",
}


class Api(BaseHTTPRequestHandler):
    """Orders, for whoever knows the key."""

    protocol_version = "HTTP/1.1"
    seen: Path
    key: str

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        seen = {
            "host": self.headers["Host"],
            "path": self.path,
            "authorization": self.headers["Authorization"],
            "content": content.decode(),
        }
        with self.seen.open("a") as file:
            file.write(json.dumps(seen) + "\n")
        if self.path == "/mcp":
            self._answer(200, rpc(json.loads(content)))
        elif self.headers["Authorization"] != f"Bearer {self.key}":
            self._answer(401, {"error": "unknown key"})
        elif self.path == "/v1/orders/watch":
            self._watch()
        elif REFUNDS.fullmatch(self.path):
            self._answer(201, {"refunded": json.loads(content)["amount"]})
        else:
            self._answer(200, {"orders": [{"id": 7, "item": "ink"}]})

    do_POST = do_GET

    def _watch(self) -> None:
        """One event, and then nothing for as long as anybody listens."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        event = b"data: order 7 is on its way\n\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        with contextlib.suppress(OSError):
            self.rfile.read(1)
        self.close_connection = True

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Standard error belongs to the demo."""


def rpc(asked: dict[str, Any]) -> dict[str, object]:
    """The answer to a JSON-RPC request: the list of tools, or what one of them did."""
    if asked["method"] == "tools/list":
        tools = [
            {"name": name, "description": does, "inputSchema": {"type": "object"}}
            for name, does in TOOLS.items()
        ]
        return {"jsonrpc": "2.0", "id": asked["id"], "result": {"tools": tools}}
    done = {"type": "text", "text": f"{asked['params']['name']}: done"}
    return {"jsonrpc": "2.0", "id": asked["id"], "result": {"content": [done]}}


def main(directory: Path, key: str) -> None:
    """Serve until killed."""
    authority = trustme.CA(organization_name="the orders API's own CA")
    (directory / "roots").mkdir()
    authority.cert_pem.write_to_path(directory / "roots" / "api.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(context)
    Api.seen, Api.key = directory / "seen.jsonl", key
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.stdin.readline().strip())
