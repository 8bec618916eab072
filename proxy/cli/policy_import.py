"""``gatepass policy import-openapi``: a service file out of an OpenAPI document."""

import sys
import time
from pathlib import Path
from typing import Annotated

import orjson
import typer
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from proxy.cli.ending import NEGATIVE, stop, stop_for, tell
from proxy.cli.rows import print_json
from proxy.policy.catalogue import Service
from proxy.policy.import_openapi import UNNAMED, Imported, Wanted
from proxy.policy.import_openapi import import_openapi as make
from proxy.policy.operation import Group
from proxy.policy.service_file import parse_service

_LARGE = 1_000_000  # octets; beyond that YAML takes seconds


def import_openapi(
    file: Annotated[str, typer.Argument(help="The document, JSON or YAML; - is standard input.")],
    *,
    name: Annotated[str | None, typer.Option(help="Of the service.", show_default="from the title")] = None,
    owner: Annotated[
        str | None, typer.Option(help="Who answers for it.", show_default="the document's contact")
    ] = None,
    data_owner: Annotated[
        str | None, typer.Option(help="Who answers for its data.", show_default="the owner")
    ] = None,
    sensitivity: Annotated[
        str, typer.Option(help="public, internal, confidential or restricted.")
    ] = "internal",
    environment: Annotated[
        list[str] | None,
        typer.Option(help="Where it may be used; may be repeated.", show_default="development"),
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="Where it is; may be repeated.", show_default="the servers")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=GROUP", help="Group of operations, such as '*.search=read'; may be repeated."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it there, a new file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print a service file with the operations of an OpenAPI 3.0 or 3.1 document.

    Groups come from x-gatepass-group, else from the method: GET, HEAD and OPTIONS read, DELETE delete, others
    write. What could not be imported is listed on standard error. Exit status 1 if nothing could be.

    Example: gatepass policy import-openapi openapi.yaml --name tickets --owner support@example.org
    --group '*.search=read' --out rules/services/tickets.yaml
    """
    wanted = Wanted(
        name=name,
        owner=owner,
        data_owner=data_owner,
        sensitivity=sensitivity,
        environments=tuple(environment or ["development"]),
        hosts=tuple(host or []),
        groups=tuple(map(_group, group or [])),
    )
    found = make(_read(file), wanted)
    if isinstance(found, str):
        stop(f"{file}: {found}", NEGATIVE)
    _check(found)
    for line in found.skipped:
        tell(f"not imported: {line}")
    if UNNAMED in found.text:
        tell("nobody is named as owner; say who answers for it with --owner")
    if out is not None:
        _write(out, found.text)
    if json:
        told = {"name": found.name, "operations": found.operations, "skipped": list(found.skipped)}
        print_json(told | {"file": found.text})
    elif out is None:
        print(found.text, end="")
    tell(f"{found.operations} operations of {found.name}" + (f" in {out}" if out is not None else ""))
    if not found.operations:
        raise typer.Exit(NEGATIVE)


def _group(text: str) -> tuple[str, Group]:
    pattern, mark, name = text.rpartition("=")
    if not mark or name not in set(Group):
        stop(f"--group takes PATTERN=GROUP with one of {', '.join(Group)}, such as '*.search=read'")
    return pattern, Group(name)


def _read(file: str) -> object:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        stop(f"{file}: {error.strerror}")
    try:
        document: object = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _yaml(file, data)
    return document


def _yaml(file: str, data: bytes) -> object:
    """A YAML document as such documents are written: with numbers for keys, and with aliases."""
    started = time.monotonic()
    if len(data) > _LARGE:
        tell(f"reading {len(data) // _LARGE} MB of YAML takes a while; JSON is read at once")
    try:
        document: object = YAML(typ="safe").load(data.decode("utf-8"))
    except UnicodeDecodeError:
        stop(f"{file}: not UTF-8")
    except YAMLError as error:
        stop(f"{file}: neither JSON nor YAML: {str(error).splitlines()[0]}")
    except RecursionError:
        stop(f"{file}: nested too deep")
    if time.monotonic() - started > 1:
        tell(f"read {file}")
    return document


def _check(found: Imported) -> None:
    """What is written must be read by the same reader as every other service file."""
    service = parse_service(found.text.encode("utf-8"), found.name)
    if not isinstance(service, Service):
        stop_for(service)


def _write(out: Path, text: str) -> None:
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        stop(f"{out} is there already; name another file with --out, or remove it first")
    except OSError as error:
        stop(f"{out}: {error.strerror}")
