"""Warm upstream connections, shared by nobody: the key holds agent, credential and origin (invariant 10).

A pooled connection on which anything arrived while it was idle (an answer nobody asked for, an end)
is thrown away: it may be desynchronised (hostile case C13).
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from proxy.engine.dial import Dialer, Upstream
from proxy.errors import Refusal
from proxy.http.canonical import Origin


class Key(NamedTuple):
    """Who may use a pooled connection, and for what. ``credential`` is "" where none is used."""

    agent: str
    credential: str
    origin: Origin


class Pool:
    """Idle connections by key, newest first; at most ``size`` a key, at most ``idle`` seconds old."""

    def __init__(self, dialer: Dialer, size: int, idle: float, now: Callable[[], float]) -> None:
        self._dialer = dialer
        self._size = size
        self._idle = idle
        self._now = now
        self._kept: dict[Key, deque[Upstream]] = {}

    async def acquire(self, key: Key, *, fresh: bool = False) -> Upstream | Refusal:
        """A connection for one exchange: a kept one, or (``fresh``, or none is kept) a new one."""
        kept = self._kept.get(key)
        while kept and not fresh:
            upstream = kept.pop()
            if upstream.wire.idle and not upstream.reading.rest:
                upstream.wire.on_gone = None
                return upstream
            upstream.wire.abort()
        return await self._dialer.dial(key.origin)

    def release(self, key: Key, upstream: Upstream) -> None:
        """Take a connection back whose last exchange ended cleanly."""
        kept = self._kept.setdefault(key, deque())
        if not upstream.wire.idle or upstream.reading.rest or len(kept) >= self._size:
            upstream.wire.close()
            return
        upstream.wire.deadline = None
        upstream.idle_since = self._now()
        kept.append(upstream)

    def sweep(self) -> None:
        """Close what has been idle for too long or was closed by the other side."""
        oldest = self._now() - self._idle
        for key, kept in list(self._kept.items()):
            alive = deque(up for up in kept if up.wire.idle and up.idle_since > oldest)
            for upstream in kept:
                if upstream not in alive:
                    upstream.wire.close()
            if alive:
                self._kept[key] = alive
            else:
                del self._kept[key]

    def drop(self, agent: str) -> None:
        """Close every kept connection of one agent."""
        for key in [key for key in self._kept if key.agent == agent]:
            for upstream in self._kept.pop(key):
                upstream.wire.close()

    def close(self) -> None:
        """Close everything."""
        for kept in self._kept.values():
            for upstream in kept:
                upstream.wire.close()
        self._kept.clear()
