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
from proxy.identity.gaps import unknown_issuers
from proxy.settings import Listen
from proxy.store.log import LogInUse
from proxy.wiring import Sidecar
from proxy.wiring_control import token_path


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
    SIGHUP looks at once whether the rules have changed, which is else done every policy.reload seconds.

    Example: gatepass serve --config gatepass.yaml
    """
    loaded = load_config(config, state=state, rules=rules)
    if isinstance(loaded, list):
        stop_for(loaded)
    prepared = prepare(loaded, observe=observe)
    if prepared.rules.ruleset is None:
        tell("OBSERVING: there are no rules; every call is allowed, but to private and metadata addresses")
    issuers = {issuer.name for issuer in loaded.settings.identity.issuers}
    unknown = unknown_issuers(prepared.rules.registry, issuers)
    if unknown:
        stop_for(unknown)
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
    running: list[Sidecar] = []  # a hang-up that comes before there is one is too early, and no reason to die
    loop.add_signal_handler(signal.SIGHUP, _look_again, running)
    fixed = standing_tasks(prepared, listen)
    try:
        sidecar = await start(prepared, listen, fixed)
    except LogInUse:
        stop(f"another gatepass uses {prepared.config.state}; stop it, or give this one its own --state")
    running.append(sidecar)
    _announce(prepared, sidecar, json=json)
    await stopping.wait()
    tell(f"draining for at most {prepared.config.settings.drain:g} s")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)  # a second signal ends it at once
    await sidecar.drain()
    return 0


def _look_again(running: list[Sidecar]) -> None:
    for sidecar in running:
        reloader = sidecar.parts.reloader
        if reloader is None:
            tell("there are no rules to look at: observing goes on until a restart")
        else:
            tell("looking for changed rules")
            reloader.look()


def _announce(prepared: Prepared, sidecar: Sidecar, *, json: bool) -> None:
    """Say where agents reach it, and operators."""
    state, control = prepared.config.state, _control(prepared, sidecar)
    places, token = sidecar.server.places, token_path(state)
    if json:
        operators = None if control is None else {"url": f"http://{control}", "token_file": str(token)}
        print_json({"listening": places, "state": str(state), "control": operators})
        sys.stdout.flush()  # whoever reads it through a pipe waits for this line, and nothing follows it
        return
    tell(f"listening on {', '.join(places)}; state in {state}")
    if control is not None:
        tell(f"operators: http://{control}, with the token in {token}")


def _control(prepared: Prepared, sidecar: Sidecar) -> str | None:
    """Where the control API listens, if there is one; its port may have been the system's to choose."""
    address = prepared.config.settings.control.address
    if address is None or sidecar.control_port is None:
        return None
    return f"{address.rpartition(':')[0]}:{sidecar.control_port}"
