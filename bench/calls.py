"""One call over a non-blocking socket, and the loop that drives many of them on one thread.

A caller is a generator: it yields a file descriptor once, when it has opened it, and ``None`` whenever
it waits for that descriptor. The loop is edge-triggered epoll, so waiting costs one system call and no
bookkeeping; the client is not what is measured. TLS sessions are never resumed.
"""

import contextlib
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.machine import LOOPBACK, Failed

STALL_S = 20.0  # nobody makes progress for so long: the row fails
BUFFER = 256 * 1024
SYN_SENT = b"\x02"  # include/net/tcp_states.h
EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
TUNNELLED = re.compile(rb"HTTP/1\.[01] 200[ \r]")
WOULD_BLOCK = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)

Caller = Generator[int | None, None, None]


@dataclass(frozen=True, slots=True)
class Route:
    """How a call gets to the API: whom to connect to, what to say there, whom to trust, whom to ask for."""

    port: int
    tunnel: bytes | None  # the CONNECT head; None: the port is the API's own
    server_name: str
    trust: ssl.SSLContext
    headers: bytes  # every request's header lines, each with its CRLF

    def request(self, target: str = "/") -> bytes:
        return b"GET %s HTTP/1.1\r\n%s\r\n" % (target.encode(), self.headers)

    def post(self, body: bytes) -> bytes:
        described = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        return b"POST / HTTP/1.1\r\n%s%s\r\n%s" % (self.headers, described, body)


def trusting(ca: Path) -> ssl.SSLContext:
    """A client's context that trusts this CA alone, checks the name, and speaks HTTP/1.1."""
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["http/1.1"])
    return context


class Tally:
    """Counts the calls that *end* inside a window: of time, or of a number of calls.

    With ``seconds``: the window opens ``warm`` seconds after the start. With ``calls``: after ``warm``
    calls. What ends before or after the window is made and checked like the rest, but not counted.
    """

    def __init__(self, *, warm: float, seconds: float | None = None, calls: int | None = None) -> None:
        assert (seconds is None) != (calls is None)
        self._seconds = seconds
        self._calls = calls
        self._warm = warm
        self._ended = 0
        self._start = time.perf_counter()
        self.durations: list[float] = []

    def note(self, began: float) -> bool:
        """A call that began then has ended now. False: the window is over, make no more calls."""
        now = time.perf_counter()
        self._ended += 1
        if self._seconds is not None:
            since = now - self._start - self._warm
            if 0 <= since < self._seconds:
                self.durations.append(now - began)
            return since < self._seconds
        assert self._calls is not None
        if self._warm < self._ended and len(self.durations) < self._calls:
            self.durations.append(now - began)
        return len(self.durations) < self._calls

    @property
    def per_second(self) -> float:
        """Calls that ended in the window, per second of it.

        :raises Failed: if there were none.
        """
        assert self._seconds is not None
        if not self.durations:
            raise Failed("no call ended inside the window")
        return len(self.durations) / self._seconds

    @property
    def p50_ms(self) -> float:
        """The median duration of the calls counted, in milliseconds.

        :raises Failed: if there were none.
        """
        if not self.durations:
            raise Failed("no call ended inside the window")
        return median(self.durations) * 1000


def drive(callers: Iterable[Caller]) -> None:
    """Run callers side by side to their end.

    :raises Failed: when one of them does, or when none makes progress for ``STALL_S``.
    """
    running = list(callers)
    owners: dict[int, Caller] = {}
    left = len(running)
    with select.epoll() as poll:
        ready = running
        try:
            while left:
                for caller in ready:
                    fd = next(caller, -1)
                    if fd == -1:
                        left -= 1
                    elif fd is not None:
                        owners[fd] = caller
                        poll.register(fd, EVENTS)
                if left:
                    ready = [owners[fd] for fd, _ in poll.poll(STALL_S)]
                    if not ready:
                        raise Failed(f"no answer for {STALL_S:.0f} s")
        except (OSError, EOFError) as error:
            raise Failed(f"{type(error).__name__}: {error}") from error
        finally:
            for caller in running:
                caller.close()


def kept_alive(route: Route, tally: Tally, body: bytes = b"") -> Caller:
    """Calls on one connection, one after the other; with a ``body``, which is JSON, they post it."""
    sock = yield from opened(route)
    request = route.post(body) if body else route.request()
    with sock:
        more = True
        while more:
            began = time.perf_counter()
            sock.send(request)
            yield from _answer(sock)
            more = tally.note(began)


def paced(route: Route, pace: float, more: Callable[[float], bool]) -> Caller:
    """Calls on one connection, ``pace`` seconds apart; ``more`` hears how long each took, in seconds."""
    sock = yield from opened(route)
    request = route.request()
    with sock:
        due = time.perf_counter()
        going = True
        while going:
            time.sleep(max(0.0, due - time.perf_counter()))  # nobody tells that it is time
            began = time.perf_counter()
            due = max(due, began) + pace
            sock.send(request)
            yield from _answer(sock)
            going = more(time.perf_counter() - began)


def fresh(route: Route, tally: Tally) -> Caller:
    """Calls on a new connection each: TCP, CONNECT, TLS, one request, close."""
    request = route.request()
    more = True
    while more:
        began = time.perf_counter()
        sock = yield from opened(route)
        with sock:
            sock.send(request)
            yield from _answer(sock)
            more = tally.note(began)
            _say_goodbye(sock)


def download(route: Route, size: int, seconds: list[float]) -> Caller:
    """One download of ``size`` octets; appends the seconds from the request to the last octet."""
    sock = yield from opened(route)
    with sock:
        began = time.perf_counter()
        sock.send(route.request(f"/download?bytes={size}"))
        left = yield from _head(sock, size)
        buffer = bytearray(BUFFER)
        while left:
            try:
                got = sock.recv_into(buffer)
            except WOULD_BLOCK:
                yield None
                continue
            if not got:
                raise Failed(f"the download ends {left} octets early")
            left -= got
        if left < 0:
            raise Failed("the download is too long")
        seconds.append(time.perf_counter() - began)


def opened(route: Route) -> Generator[int | None, None, ssl.SSLSocket]:
    """Connect, tunnel if there is a proxy, and shake hands; part of a caller."""
    with contextlib.ExitStack() as undo:
        plain = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        plain.settimeout(0)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield from _connected(plain, route.port)
        if route.tunnel is not None:
            plain.send(route.tunnel)
            yield from _tunnelled(plain)
        name = route.server_name
        secure = undo.enter_context(
            route.trust.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
        )
        yield from _shaken(secure)
        undo.pop_all()
        return secure


def _connected(sock: socket.socket, port: int) -> Generator[int | None, None, None]:
    sock.connect_ex((LOOPBACK, port))
    yield sock.fileno()
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == SYN_SENT:
        yield None
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, "cannot connect")


def _shaken(secure: ssl.SSLSocket) -> Generator[None, None, None]:
    while True:
        try:
            secure.do_handshake()
        except WOULD_BLOCK:
            yield None
        else:
            return


def _tunnelled(sock: socket.socket) -> Generator[None, None, None]:
    said = b""
    while b"\r\n\r\n" not in said:
        try:
            piece = sock.recv(4096)
        except BlockingIOError:
            yield None
            continue
        if not piece:
            raise Failed(f"CONNECT was not answered: {said!r}")
        said += piece
    if not TUNNELLED.match(said) or not said.endswith(b"\r\n\r\n"):
        raise Failed(f"CONNECT was answered {said[:200]!r}")


def _answer(sock: ssl.SSLSocket) -> Generator[None, None, None]:
    """Wait for one whole answer of 1 KiB and check it."""
    left = yield from _head(sock, 1024)
    while left > 0:
        try:
            piece = sock.recv(BUFFER)
        except WOULD_BLOCK:
            yield None
            continue
        if not piece:
            raise Failed(f"the answer ends {left} octets early")
        left -= len(piece)
    if left:
        raise Failed(f"{-left} octets more than the answer")


def _head(sock: ssl.SSLSocket, length: int) -> Generator[None, None, int]:
    """Wait for a head and check its status and length; how many octets of the body are still to come."""
    said = b""
    yield None
    while (end := said.find(b"\r\n\r\n")) < 0:
        try:
            piece = sock.recv(BUFFER)
        except WOULD_BLOCK:
            yield None
            continue
        if not piece:
            raise Failed(f"closed without an answer: {said!r}")
        said = said + piece if said else piece
    told = LENGTH.search(said, 0, end + 2)
    if not said.startswith(b"HTTP/1.1 200") or told is None or int(told[1]) != length:
        raise Failed(f"answered {said[: min(end, 300)]!r}")
    return length - (len(said) - end - 4)


def _say_goodbye(sock: ssl.SSLSocket) -> None:
    """Send close_notify, as clients do, and do not wait for the other one."""
    try:
        sock.unwrap()
    except (OSError, ValueError):
        return
