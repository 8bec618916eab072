"""A real MCP server: the official SDK's streamable HTTP, with tools that write down how they were called."""

import asyncio

from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel

from tests.support.asgi import App

try:  # from version 2 of the SDK on
    from mcp.server.mcpserver import Context, MCPServer
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer

Done = tuple[str, object]


class Agreed(BaseModel):
    """What a client is asked for."""

    agreed: bool


class Shop:
    """``done`` is what its tools did, in order."""

    def __init__(self) -> None:
        self.done: list[Done] = []
        self._go = asyncio.Event()

    def app(self, **settings: object) -> App:
        """The ASGI application, at ``/mcp``; ``settings`` as ``streamable_http_app`` has them."""
        # Protection against DNS rebinding knows localhost alone; here the name is the test's own.
        told = {
            "transport_security": TransportSecuritySettings(enable_dns_rebinding_protection=False),
            **settings,
        }
        if MCPServer.__name__ == "FastMCP":
            server = MCPServer("shop", log_level="ERROR", **told)
            self._stock(server)
            return server.streamable_http_app()
        server = MCPServer("shop", log_level="ERROR")
        self._stock(server)
        return server.streamable_http_app(**told)

    def _stock(self, server: MCPServer) -> None:
        for tool in (self.pay, self.search, self.drop_tables, self.count, self.go, self.rename, self.agree):
            server.tool()(tool)
        server.tool(name="prüfen")(self.check)
        server.resource("shop://prices")(self.prices)

    def pay(self, amount: int, to: str) -> str:
        """Pay an amount."""
        self.done.append(("pay", amount))
        return f"paid {amount} to {to}"

    def search(self, query: str) -> str:
        """Search the shop."""
        self.done.append(("search", query))
        return f"nothing like {query}"

    def drop_tables(self) -> str:
        """Drop everything."""
        self.done.append(("drop_tables", None))
        return "dropped"

    def check(self) -> str:
        """A tool whose name is not ASCII."""
        self.done.append(("prüfen", None))
        return "gut"

    async def count(self, ctx: Context) -> str:
        """Tell that it is half done, and end, with a long answer, once somebody has called ``go``."""
        await ctx.report_progress(1, 2)
        await self._go.wait()
        await ctx.report_progress(2, 2)
        self.done.append(("count", None))
        return "x" * 100_000

    def go(self) -> str:
        """See ``count``."""
        self._go.set()
        return "gone"

    async def rename(self, ctx: Context) -> str:
        """Tell everybody who listens that there are other tools now."""
        await ctx.session.send_tool_list_changed()
        return "renamed"

    async def agree(self, ctx: Context) -> str:
        """Ask whoever called whether it agrees."""
        answer = await ctx.elicit("Do you agree?", Agreed)
        self.done.append(("agree", answer.action))
        return answer.action

    def prices(self) -> str:
        """All prices."""
        self.done.append(("prices", None))
        return "7"
