"""``gatepass init``: a commented configuration and rules that deny, to begin with.

The rules that ship know more services than one user needs. They come in families: the services in
``aws-s3.yaml`` and ``aws-sts.yaml``, ``aws.cedar`` and the cases in ``aws.yaml`` are of the family ``aws``.
Without being asked, ``init`` writes those of ``USUAL``.
"""

from collections.abc import Collection, Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from proxy.cli.ending import stop, tell
from proxy.cli.rows import harmless, print_json
from proxy.policy.catalogue import Service
from proxy.policy.schema import schema_text
from proxy.policy.service_file import parse_service
from proxy.store.private_file import write_new

USUAL = ("anthropic", "github", "npm", "openai", "pypi")
EVERY = "all"

_PUBLIC = 0o644
_NEXT = (
    "register your agent in rules/agents.yaml, with the people who answer for it",
    "read rules/policies/, which permit by the scopes of a task, and describe your APIs in rules/services/",
    "gatepass policy check",
    "gatepass run --scope github:read -- python agent.py",
)
_OF_FAMILIES = ("cases", "policies", "services")
_GENERAL = "default"
_SCHEMA = "rules/schema.cedarschema"


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write.")] = Path(),
    more: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="FAMILY", help="Also rules for slack, aws, google, mcp, or all."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a commented gatepass.yaml and rules/ that deny everything to tasks without scopes.

    There are rules for Anthropic, GitHub, npm, OpenAI and PyPI, and more with --with. Nothing is overwritten.

    Example: gatepass init

    Example: gatepass init --with slack --with aws
    """
    content = _content(more or [])
    there = [name for name in content if (directory / name).exists()]
    if there:
        others = f" (and {len(there) - 1} more)" if there[1:] else ""
        stop(f"{directory / there[0]} is there already{others}; nothing was written, name an empty directory")
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


def family(name: str) -> str | None:
    """Of which family a template is: ``aws`` for ``rules/services/aws-s3.yaml``; None: for everybody."""
    place = PurePosixPath(name)
    found = place.stem.partition("-")[0]
    return found if place.parent.name in _OF_FAMILIES and found != _GENERAL else None


def chosen(all_templates: Mapping[str, bytes], families: Collection[str]) -> dict[str, bytes]:
    """The templates of these families and those for everybody, with the schema of what there is then."""
    kept = {name: data for name, data in all_templates.items() if family(name) in {None, *families}}
    services = (parse_service(data, name) for name, data in kept.items() if "/services/" in name)
    schema = schema_text(service for service in services if isinstance(service, Service))
    return {**kept, _SCHEMA: schema.encode("utf-8")}


def _content(more: Collection[str]) -> dict[str, bytes]:
    whole = dict(templates())
    known = {found for found in map(family, whole) if found is not None}
    strange = sorted(set(more) - known - {EVERY})
    if strange:
        stop(f"--with {strange[0]}: there are only {', '.join(sorted(known))}, and {EVERY}")
    return chosen(whole, known if EVERY in more else {*USUAL, *more})


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: (entry.is_dir(), entry.name)):
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, f"{name}/")
        else:
            yield name, entry.read_bytes()
