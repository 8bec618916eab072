"""``gatepass doctor``: what is wrong with this installation, and what to do about it."""

import os
import shutil
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.check_agents import check_agents
from proxy.cli.check_clients import check_clients
from proxy.cli.check_identity import (
    check_control,
    check_keys_of_issuers,
    check_revocations,
    check_workload_api,
)
from proxy.cli.check_listeners import check_listeners
from proxy.cli.check_local import check_clock, check_credentials, check_keys, check_roots, check_rules
from proxy.cli.check_log import check_logs, check_room
from proxy.cli.check_reach import check_reach, origins
from proxy.cli.config import Config, load_config
from proxy.cli.ending import NEGATIVE
from proxy.cli.finding import Finding, Health, fail, ok
from proxy.cli.rows import print_json, print_rows
from proxy.cli.serving import run_loop
from proxy.policy.catalogue import Service

_PROGRAMS = ("node", "java")


def doctor(
    config: Annotated[Path | None, typer.Option(help="The configuration; default ./gatepass.yaml.")] = None,
    state: Annotated[Path | None, typer.Option(help="Directory of keys, tasks and log.")] = None,
    rules: Annotated[Path | None, typer.Option(help="Directory of the rules.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not call the services.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Check everything that gatepass needs, and say what to fix. Exit status 1 if something fails.

    Example: gatepass doctor --offline
    """
    wall, mono = time.time_ns(), time.monotonic_ns()
    loaded = load_config(config, state=state, rules=rules)
    findings: list[Finding] = []
    if isinstance(loaded, Config):
        findings += _installation(loaded, offline=offline)
    else:
        findings += [fail("configuration", str(problem), "correct the file") for problem in loaded]
        findings += check_clients(os.environ, (), None, _programs())
    findings.append(check_clock((wall, time.time_ns()), (mono, time.monotonic_ns())))
    for finding in findings if json else ():
        print_json(
            {
                "health": finding.health.value,
                "what": finding.what,
                "words": finding.words,
                "fix": finding.fix,
            }
        )
    if not json:
        columns = ("health", "what", "found", "fix")
        print_rows(columns, ((f.health.value, f.what, f.words, f.fix) for f in findings))
    if any(finding.health is Health.FAIL for finding in findings):
        raise typer.Exit(NEGATIVE)


def _installation(config: Config, *, offline: bool) -> list[Finding]:
    """Everything but the clock, in the order in which a first call needs it."""
    settings, file = config.settings, config.file
    findings = [ok("configuration", f"{file}" if file else "none: the defaults hold")]
    loaded, found = check_rules(config)
    findings += found
    services: Sequence[Service] = ()
    if loaded is not None and loaded.ruleset is not None:
        findings += check_agents(loaded.registry, config)
        services = loaded.ruleset.catalogue.services
    keyring, found_keys = check_keys(config.state)
    findings.append(found_keys)
    findings += check_roots(config.roots)
    findings += check_credentials(services, os.environ)
    findings.append(check_room(config.state))
    if keyring is not None:
        findings += check_logs(config.state, settings, keyring, time.time_ns())
    findings += check_listeners(settings.listen, settings.identity, config.state)
    findings += check_control(settings, config.state)
    findings += check_revocations(settings)
    findings += check_workload_api(settings)
    findings += _issuers(config, offline=offline)
    if not offline:
        findings += _services(config, services)
    places = {(listener.host, listener.port) for listener in settings.listen if listener.unix is None}
    pem = keyring.ca_pem if keyring is not None else None
    findings += check_clients(os.environ, places, pem, _programs())
    return findings


def _issuers(config: Config, *, offline: bool) -> list[Finding]:
    results: list[Finding] = []

    async def look() -> int:
        results.extend(await check_keys_of_issuers(config, offline=offline))
        return 0

    try:
        run_loop(look)
    except (ssl.SSLError, OSError) as error:  # ``check_roots`` names the file
        results.append(fail("issuers", f"cannot be asked: {error}", "correct the roots first"))
    return results


def _services(config: Config, services: Sequence[Service]) -> list[Finding]:
    wanted = list(origins(services))
    results: list[Finding] = []

    async def dial() -> int:
        results.extend(await check_reach(wanted, config.settings, config.roots, _progress(len(wanted))))
        return 0

    try:
        run_loop(dial)
    except (ssl.SSLError, OSError) as error:  # ``check_roots`` names the file
        results.append(fail("services", f"cannot be called: {error}", "correct the roots first"))
    finally:
        if wanted and sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return results


def _progress(wanted: int) -> Callable[[], None]:
    """Count on a terminal, because a service that is away takes seconds."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            print(f"\rcalling services: {done} of {wanted}", end="", file=sys.stderr, flush=True)

    return step


def _programs() -> list[str]:
    return [name for name in _PROGRAMS if shutil.which(name)]
