"""Reading a rules directory: names relative to it and contents, nothing understood."""

from collections.abc import Mapping
from pathlib import Path

_FOLDERS = ("policies", "services")
_AGENTS = "agents.yaml"


def read_rules(directory: Path) -> Mapping[str, bytes]:
    """``agents.yaml`` and every file under ``policies/`` and ``services/`` but hidden ones.

    :raises OSError: if one of them cannot be read.
    """
    files = {}
    agents = directory / _AGENTS
    if agents.exists():
        files[_AGENTS] = agents.read_bytes()
    for folder in _FOLDERS:
        for path in sorted((directory / folder).rglob("*")):
            name = path.relative_to(directory)
            # Kubernetes mounts files as links into hidden folders beside them.
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                files[name.as_posix()] = path.read_bytes()
    return files
