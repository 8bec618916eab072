"""A rules directory, read and looked at: names relative to it and contents, nothing understood.

Hidden files are not there. Links are followed, because Kubernetes mounts files and folders as links into
hidden folders beside them; one that leads nowhere is an error and not a file less, for it may have been a
rule that forbids. A look costs one system call a file, so that it can be had every second.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from proxy.problems import MAX_OCTETS

_FOLDERS = ("policies", "services")
_AGENTS = "agents.yaml"
_RULES = frozenset({_AGENTS, *_FOLDERS})
MAX_FILES = 10_000
MAX_DEPTH = 8
MAX_ALL = 64 * 1_048_576

Look = tuple[tuple[str, int, int, int, int], ...]


def read_rules(directory: Path) -> Mapping[str, bytes]:
    """``agents.yaml`` and every file under ``policies/`` and ``services/``: what rules are made of.

    A directory that is not there has none.

    :raises OSError: if one of them cannot be read, or they are too many or too large.
    """
    return _read(directory, everything=False)


def read_all(directory: Path) -> Mapping[str, bytes]:
    """Every file of the directory, also those that are no rules: what a signature covers.

    :raises OSError: as above.
    """
    return _read(directory, everything=True)


def rules_of(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Those of these files that rules are made of."""
    return {name: data for name, data in files.items() if _is_rule(name)}


def look(directory: Path, *, everything: bool) -> Look | None:
    """What differs when a file has been written or replaced; None if there is no telling.

    ``everything``: also of files that are no rules.
    """
    try:
        found = [(name, status) for name, _, status in _files(str(directory), everything=everything)]
    except OSError:
        return None
    return tuple(
        sorted(
            [
                (name, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
                for name, status in found
            ]
        )
    )


def _is_rule(name: str) -> bool:
    folder, slash, _ = name.partition("/")
    return name == _AGENTS or (bool(slash) and folder in _FOLDERS)


def _read(directory: Path, *, everything: bool) -> Mapping[str, bytes]:
    if not directory.exists():
        return {}
    files: dict[str, bytes] = {}
    left = MAX_ALL
    for name, path, _ in sorted(_files(str(directory), everything=everything)):
        with Path(path).open("rb") as file:
            data = file.read(MAX_OCTETS + 1)
        left -= len(data)
        if len(data) > MAX_OCTETS or left < 0:
            words = f"larger than {MAX_OCTETS} octets, or with the others than {MAX_ALL}"
            raise OSError(errno.EFBIG, words, path)
        files[name] = data
    return files


_File = tuple[str, str, os.stat_result]


def _files(directory: str, *, everything: bool) -> list[_File]:
    """Name, path and status of every file."""
    found: list[_File] = []
    for entry in _visible(directory):
        if not everything and entry.name not in _RULES:
            continue
        status = entry.stat()
        if stat.S_ISDIR(status.st_mode):
            _below(entry, entry.name, 1, found)
        elif stat.S_ISREG(status.st_mode):
            found.append((entry.name, entry.path, status))
    return found


def _below(folder: os.DirEntry[str], name: str, depth: int, found: list[_File]) -> None:
    if depth > MAX_DEPTH:
        raise OSError(errno.ELOOP, f"more than {MAX_DEPTH} folders deep", folder.path)
    for entry in _visible(folder.path):
        status = entry.stat()
        if stat.S_ISDIR(status.st_mode):
            _below(entry, f"{name}/{entry.name}", depth + 1, found)
        elif stat.S_ISREG(status.st_mode):
            found.append((f"{name}/{entry.name}", entry.path, status))
        if len(found) > MAX_FILES:
            raise OSError(errno.EMFILE, f"more than {MAX_FILES} files", folder.path)


def _visible(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not entry.name.isascii():
                _check_name(entry)
            yield entry


def _check_name(entry: os.DirEntry[str]) -> None:
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, "the name is not UTF-8", entry.path) from None
