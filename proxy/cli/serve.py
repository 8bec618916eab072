"""``gatepass serve``: the sidecar as a service, until SIGTERM."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.config import load_config
from proxy.cli.ending import stop, stop_for, tell
from proxy.cli.rows import print_json
from proxy.cli.serving import Prepared, prepare, run_loop, start
from proxy.cli.standing import standing_tasks
from proxy.settings import Listen
from proxy.store.log import LogInUse


def serve(
    config: Annotated[Path | None, typer.Option(help="The configuration; default ./gatepass.yaml.")] = None,
    observe: Annotated[
        bool, typer.Option("--observe", help="Without rules: allow, and record everything.")
    ] = False,
    state: Annotated[Path | None, typer.Option(help="Directory of keys, tasks and log.")] = None,
    rules: Annotated[Path | None, typer.Option(help="Directory of the rules.")] = None,
    listen: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT", help="Listen here instead; repeatable.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Say where it listens as one JSON line.")] = False,
) -> None:
    """Run the sidecar until it is told to stop.

    SIGTERM drains: no new connections, running calls finish up to a deadline, the log is checkpointed.

    Example: gatepass serve --config gatepass.yaml
    """
    loaded = load_config(config, state=state, rules=rules)
    if isinstance(loaded, list):
        stop_for(loaded)
    prepared = prepare(loaded, observe=observe)
    if prepared.rules.ruleset is None:
        tell("OBSERVING: there are no rules; every call is allowed, but to private and metadata addresses")
    try:
        addresses = tuple(Listen(address=address) for address in listen) if listen else loaded.settings.listen
    except ValueError:
        stop("--listen takes HOST:PORT, such as 127.0.0.1:8470")
    raise typer.Exit(run_loop(lambda: _serve(prepared, addresses, json=json)))


async def _serve(prepared: Prepared, listen: tuple[Listen, ...], *, json: bool) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    fixed = standing_tasks(prepared, listen)
    try:
        sidecar = await start(prepared, listen, fixed)
    except LogInUse:
        stop(f"another gatepass uses {prepared.config.state}; stop it, or give this one its own --state")
    where = [f"{host}:{port}" for host, port in sidecar.addresses]
    if json:
        print_json({"listening": where, "state": str(prepared.config.state)})
        sys.stdout.flush()  # whoever reads it through a pipe waits for this line, and nothing follows it
    else:
        tell(f"listening on {', '.join(where)}; state in {prepared.config.state}")
    await stopping.wait()
    tell(f"draining for at most {prepared.config.settings.drain:g} s")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)  # a second signal ends it at once
    await sidecar.drain()
    return 0
