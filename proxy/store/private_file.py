"""Files that belong to the sidecar's user alone, and the public ones next to them (POSIX, open(2), link(2)).

A file is written under another name, made durable and then given its own, so that it is whole or
absent; ``link`` fails where ``rename`` would replace, so that the first of two writers wins.
"""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PRIVATE = 0o600
_PUBLIC = 0o644


class KeyringError(Exception):
    """The keys cannot be used; the message says which file and what to do."""


class KeyExposed(KeyringError):
    """Somebody else can read or replace a key: it must be considered known."""


def private_directory(path: Path) -> Path:
    """Make ``path`` (0700), or check that it is private.

    :raises KeyExposed: if others can enter it.
    :raises KeyringError: if it lies in ``certs``, which is handed around, or cannot be made.
    """
    if "certs" in path.resolve().parts:
        raise KeyringError(f"{path} lies under a directory named certs, where no private key may be")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        _check(path.stat(), path, "700")
    except OSError as error:
        raise KeyringError(f"{path} cannot be made: {error.strerror}") from error
    return path


def load_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """The private file's content; ``make`` gives it if there is no such file yet.

    :raises KeyExposed: if others can read it.
    :raises KeyringError: if it cannot be read or written.
    """
    try:
        try:
            return _load(path)
        except FileNotFoundError:
            _create(path, make())
            return _load(path)
    except OSError as error:
        raise KeyringError(f"{path} cannot be used: {error.strerror}") from error


def read_private(path: Path) -> bytes:
    """The content of a private file that somebody else has made.

    :raises KeyExposed: if others can read it. :raises OSError: if it cannot be read.
    """
    return _load(path)


def publish(path: Path, data: bytes) -> None:
    """Write a public file (0644), replacing another only if it differs.

    :raises KeyringError: if it cannot be written.
    """
    try:
        if path.is_file() and path.read_bytes() == data:
            return
        draft = _draft(path)
        write_new(draft, data, _PUBLIC)
        draft.replace(path)
    except OSError as error:
        raise KeyringError(f"{path} cannot be written: {error.strerror}") from error


def keep(path: Path, data: bytes) -> None:
    """Write a private file (0600), replacing another.

    :raises KeyringError: if it cannot be written.
    """
    try:
        draft = _draft(path)
        write_new(draft, data)
        draft.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise KeyringError(f"{path} cannot be written: {error.strerror}") from error


def write_new(path: Path, data: bytes, mode: int = _PRIVATE) -> None:
    """Write a file that must not exist yet, durably.

    :raises OSError: if it does, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # the umask may have taken bits away
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _create(path: Path, data: bytes) -> None:
    draft = _draft(path)
    write_new(draft, data)
    try:
        os.link(draft, path)
    except FileExistsError:
        return  # another process was first: its key is the key
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _load(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(descriptor), path, "600")
        return file.read()


def _check(status: os.stat_result, path: Path, mode: str) -> None:
    if status.st_mode & _OTHERS:
        raise KeyExposed(
            f"{path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}): "
            f"replace the key, or `chmod {mode} {path}` if you are sure that nobody did"
        )
    if status.st_uid != os.geteuid():
        raise KeyExposed(f"{path} belongs to user {status.st_uid}, not to the user gatepass runs as")


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}-{secrets.token_hex(8)}")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
