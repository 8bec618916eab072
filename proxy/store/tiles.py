"""The directory of one log: reading, atomic writing and durable naming of its files (c2sp.org/tlog-tiles).

A file is either whole under its name or not there. ``publish`` is for what can be made again from
durable bundles (hashes, partial tiles): atomic, not synced. ``publish_durably`` is for what a crash may
not take back. ``Tiles`` is a ``proxy.audit.verify.Source``.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from proxy.audit.tile import WIDTH, Tile, bundle_path

CHECKPOINT: Final = "checkpoint"
PENDING: Final = "pending"
VKEY: Final = "log.vkey"
LOCK: Final = "lock"


class Tiles:
    """The files of the log in ``directory``, named by their path under it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, path: str) -> bytes | None:
        """The octets of a file, or None if there is none."""
        try:
            return (self.directory / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        return (self.directory / path).exists()

    def publish(self, path: str, data: bytes) -> None:
        """Write a file so that readers see all of it or nothing."""
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(target.name + ".tmp")
        draft.write_bytes(data)
        draft.replace(target)

    def publish_durably(self, path: str, data: bytes) -> None:
        """Write a file so that readers, also after a power cut, see all of it or what was there before."""
        target = self.directory / path
        draft = target.with_name(target.name + ".tmp")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        sync_directory(target.parent)

    def rename_durably(self, path: str, to: str) -> None:
        """Give a file at the top its final name below. Durable once the top directory is synced, too."""
        target = self.directory / to
        made = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.directory / path).replace(target)
        sync_directory(target.parent)
        for parent in target.parent.parents if made else ():
            sync_directory(parent)
            if parent == self.directory:
                break

    def drop_partials(self, bundle: int) -> None:
        """Remove the partial tiles that full ones have replaced when bundle number ``bundle`` became full."""
        shutil.rmtree(self.directory / f"{bundle_path(bundle)}.p", ignore_errors=True)
        level = 0
        while True:
            shutil.rmtree(self.directory / f"{Tile(level, bundle).path}.p", ignore_errors=True)
            if (bundle + 1) % WIDTH:
                return
            level, bundle = level + 1, bundle // WIDTH


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
