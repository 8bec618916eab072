"""Files that others replace while we run (certificates, revocation lists): read again when they change.

A change is seen by the inode, the size or the time of modification (stat(2)), which also sees a
symbolic link that now leads elsewhere, as Kubernetes does it with secrets.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
_Mark = tuple[int, int, int] | None


class Watched(Generic[T]):
    """What ``parse`` makes of the files' content; it raises ``ValueError`` for what it does not take.

    What has become unreadable is told to ``alarm`` once, and what was read before stays.

    :raises OSError: a file cannot be read at the start. :raises ValueError: as ``parse``.
    """

    def __init__(
        self, paths: tuple[Path, ...], parse: Callable[[tuple[bytes, ...]], T], alarm: Callable[[str], None]
    ) -> None:
        self._paths = paths
        self._parse = parse
        self._alarm = alarm
        self._marks = self._look()
        self._value = self._read()

    def current(self) -> T:
        """The newest content that could be read; the same object until it changes."""
        marks = self._look()  # before reading: what changes in between is seen the next time
        if marks != self._marks:
            self._marks = marks
            try:
                self._value = self._read()
            except (OSError, ValueError) as error:
                names = ", ".join(str(path) for path in self._paths)
                self._alarm(f"{names} changed and cannot be used; what was read before stays: {error}")
        return self._value

    def _read(self) -> T:
        return self._parse(tuple(path.read_bytes() for path in self._paths))

    def _look(self) -> tuple[_Mark, ...]:
        return tuple(_mark(path) for path in self._paths)


def _mark(path: Path) -> _Mark:
    try:
        status = path.stat()
    except OSError:
        return None  # reading it says why
    return status.st_ino, status.st_size, status.st_mtime_ns
