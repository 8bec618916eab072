"""Rule sets kept beside the log by their digest, so that every recorded decision can be taken again.

``policy/<sha256>`` is a tar (POSIX.1-2001) with sorted names and no times or owners; the digest is the
one that decisions name (``policy.bundle.digest``), over names and contents.
"""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from proxy.store.tiles import Tiles

FOLDER = "policy"


def keep(log: Path, sha256: str, files: Mapping[str, bytes]) -> None:
    """Store a rule set under its digest, durably; nothing happens if it is there already.

    :raises OSError: if it cannot be written.
    """
    tiles, name = Tiles(log), f"{FOLDER}/{sha256}"
    if not tiles.exists(name):
        (log / FOLDER).mkdir(exist_ok=True)
        tiles.publish_durably(name, pack(files))


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files: the same files are the same octets, always."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    """Undoes ``pack``.

    :raises tarfile.TarError: if it is no archive.
    """
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        for entry in opened:
            content = opened.extractfile(entry)
            if content is not None:
                files[entry.name] = content.read()
    return files
