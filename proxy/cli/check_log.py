"""Whether the logs are sound as far as a moment tells: signature, tail, clock, room (c2sp.org/tlog-tiles)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from proxy.audit import Malformed
from proxy.audit.checkpoint import Checkpoint, opened
from proxy.audit.merkle import leaf_hash
from proxy.audit.note import Signer
from proxy.audit.record import parse
from proxy.audit.tile import WIDTH, Tile
from proxy.cli.finding import Finding, fail, ok, warn
from proxy.cli.logs import logs_of
from proxy.settings import Settings
from proxy.store.in_use import in_use
from proxy.store.keyring import Keyring
from proxy.store.reader import read_entries
from proxy.store.tiles import CHECKPOINT, Tiles
from proxy.wiring_parts import log_origin, log_seed

_SKEW_NS = 1_000_000_000
_LITTLE, _TOO_LITTLE = 1_000_000_000, 50_000_000  # octets


def check_logs(state: Path, settings: Settings, keyring: Keyring, now_ns: int) -> Iterator[Finding]:
    """Look at every log of a state directory. ``now_ns`` is the wall clock, in nanoseconds."""
    logs = logs_of(state)
    if not logs:
        yield ok("log", f"none yet under {state}; the first sidecar makes it")
    for directory in logs:
        try:
            yield _tail(directory, settings, keyring)
            yield from _behind(directory, now_ns)
        except OSError as error:
            yield fail(directory.name, f"{error.filename} cannot be read: {error.strerror}", _owner(state))


def check_room(state: Path) -> Finding:
    """Whether the disk has room: a log that cannot be written stops every call."""
    try:
        place = next(path for path in (state, *state.parents) if path.exists())
        free = shutil.disk_usage(place).free
    except OSError as error:
        return fail("disk", f"{error.filename} cannot be read: {error.strerror}", _owner(state))
    words = f"{free / 1e9:.1f} GB free for {state}"
    if free < _TOO_LITTLE:
        return fail("disk", words, "make room: without a log every call gets 503")
    return warn("disk", words, "make room before the log needs it") if free < _LITTLE else ok("disk", words)


def _owner(state: Path) -> str:
    return f"run gatepass as the user who owns {state}"


def _tail(directory: Path, settings: Settings, keyring: Keyring) -> Finding:
    """The checkpoint's signature, and the last entries under it against their hashes."""
    name, tiles, busy = directory.name, Tiles(directory), in_use(directory)
    signer = Signer(log_origin(settings, name), log_seed(keyring, name))
    data = tiles.read(CHECKPOINT)
    if data is None:
        return ok(name, "no checkpoint yet")
    try:
        checkpoint = opened(data, signer.vkey)
    except Malformed as error:
        words = "gatepass log verify; if the machine was renamed, set log.origin to the old name"
        return fail(name, f"the checkpoint does not hold: {error}", words)
    wrong = _differs(directory, checkpoint)
    if wrong is not None and not (busy and tiles.read(CHECKPOINT) != data):
        return fail(name, wrong, "gatepass log verify names the entry; keep a copy before anything else")
    writer = ", a sidecar is writing it" if busy else ""
    return ok(name, f"{checkpoint.size} entries signed, the last ones match{writer}")


def _differs(directory: Path, checkpoint: Checkpoint) -> str | None:
    """What is wrong with the entries of the last tile; a running writer may have just replaced it."""
    number = max(checkpoint.size - 1, 0) // WIDTH
    first, size = number * WIDTH, checkpoint.size
    hashes = b"".join(leaf_hash(entry) for entry in read_entries(directory, first, size))
    tiles, width = Tiles(directory), size - first
    stored = tiles.read(Tile(0, number, width).path) or tiles.read(Tile(0, number).path) or b""
    if len(hashes) < width * 32:
        return "entries that were signed are missing"
    return None if stored.startswith(hashes) else "the last entries are not what was signed"


def _behind(directory: Path, now_ns: int) -> Iterator[Finding]:
    """Whether the clock has been set back since the last record."""
    data = Tiles(directory).read(CHECKPOINT)
    try:
        # only a place to start from, so its signature is not asked for
        size = int(data.split(b"\n")[1]) if data is not None else 0
        entries = list(read_entries(directory, max(size - 1, 0), None))
        last = parse(entries[-1]).time if entries else 0
    except (Malformed, ValueError, IndexError):
        return  # ``_tail`` has said so
    if last > now_ns + _SKEW_NS:
        words = f"{(last - now_ns) / 1e9:.0f} s behind the last record of {directory.name}"
        yield fail("clock", words, "set the clock (NTP); tokens and certificates depend on it")
