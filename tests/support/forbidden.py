"""A listener that nobody may ever touch: the metadata service, the private host, the wrong API."""

import socket
import threading
from types import TracebackType
from typing import Self


class Forbidden:
    """``with Forbidden() as trap``: accepts on its own thread, so synchronous and asynchronous tests can use it.

    ``assert_untouched()`` is exact: it calls in itself and looks at everything that came before.
    """

    def __init__(self, bind: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = socket.create_server((bind, port), backlog=128)
        self.address: tuple[str, int] = self._listener.getsockname()
        self.host, self.port = self.address
        self.touches: list[tuple[str, int]] = []  # who connected, in order
        self._own: set[tuple[str, int]] = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._accept, name=f"forbidden-{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._thread.join()
        self._listener.close()

    def assert_untouched(self) -> None:
        """Fail if anybody ever connected."""
        with socket.create_connection(self.address) as marker:
            mine: tuple[str, int] = marker.getsockname()
            with self._changed:
                self._own.add(mine)
                marker.shutdown(socket.SHUT_WR)
                # Connections are accepted in order: once mine is seen, so is every earlier one.
                assert self._changed.wait_for(lambda: mine in self.touches, timeout=30)
        others = [touch for touch in self.touches if touch not in self._own]
        assert not others, f"the forbidden listener was touched: {others}"

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:  # closed on the way out
                return
            with sock, self._changed:
                # It is closed at once: whoever came here learns nothing and hangs on nothing.
                self.touches.append(peer)
                self._changed.notify_all()
