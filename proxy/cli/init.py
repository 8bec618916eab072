"""``gatepass init``: a commented configuration and rules that deny, to begin with."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.ending import stop, tell
from proxy.cli.rows import harmless, print_json
from proxy.store.private_file import write_new

_PUBLIC = 0o644
_NEXT = (
    "register your agent in rules/agents.yaml, with the people who answer for it",
    "permit something in rules/policies/default.cedar, and describe your APIs in rules/services/",
    "gatepass policy check",
    "gatepass run -- python agent.py",
)


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a commented gatepass.yaml and rules/ that deny everything. Nothing is overwritten.

    Example: gatepass init
    """
    content = dict(templates())
    there = [name for name in content if (directory / name).exists()]
    if there:
        more = f" (and {len(there) - 1} more)" if there[1:] else ""
        stop(f"{directory / there[0]} is there already{more}; nothing was written, name an empty directory")
    try:
        for name, data in content.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_new(path, data, _PUBLIC)
    except OSError as error:
        stop(f"{error.filename} cannot be written: {error.strerror}")
    if json:
        print_json({"directory": str(directory), "files": list(content)})
        return
    for name in content:
        print(harmless(str(directory / name)))
    steps = _NEXT if directory == Path() else (f"cd {directory}", *_NEXT)
    tell("now:")
    for number, step in enumerate(steps, 1):
        tell(f"  {number}. {step}")


def templates() -> Iterator[tuple[str, bytes]]:
    """What ``init`` writes: relative names and contents, as they are in the package."""
    return _walk(files("proxy.cli") / "templates", "")


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: (entry.is_dir(), entry.name)):
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, f"{name}/")
        else:
            yield name, entry.read_bytes()
