"""The program that ``run`` runs: what its environment holds, which signals reach it, how it ended.

Its environment holds no credential that gatepass keeps for it: the variables that a service's credential
comes from hold the placeholder or are gone, and so is every other one in which the same value stands.
Variables of gatepass itself are taken away: an agent has no business with the keys.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence

from proxy.cli.environment import JAVA
from proxy.policy.catalogue import Service

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # POSIX.1-2017, Shell Command Language, 2.8.2
_BY_SIGNAL = 128
_OWN = "GATEPASS_"
_SHORTEST_SECRET = 8  # a shorter value stands in other variables by chance
_FORWARDED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
_FROM_KEYBOARD = frozenset({signal.SIGINT, signal.SIGQUIT})


def child_environment(
    inherited: Mapping[str, str], exports: Mapping[str, str], services: Iterable[Service]
) -> tuple[dict[str, str], list[str]]:
    """The environment of the agent, and the names of other variables taken away because they held a secret.

    ``exports`` are what ``environment.variables`` gives.
    """
    sources = {
        service.credential.name
        for service in services
        if service.credential is not None and service.credential.provider == "env"
    }
    secrets = {inherited[name] for name in sources if len(inherited.get(name, "")) >= _SHORTEST_SECRET}
    kept, taken = {}, []
    for name, value in inherited.items():
        if name in exports or name in sources or name.startswith(_OWN):
            continue
        if any(secret in value for secret in secrets):
            taken.append(name)
        else:
            kept[name] = value
    given = dict(exports)
    own = inherited.get(JAVA, "")
    if own and JAVA in given and not any(secret in own for secret in secrets):
        given[JAVA] = f"{own} {given[JAVA]}"  # the last of two equal options counts
    return kept | given, sorted(taken)


def unusable(command: Sequence[str], environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Why there is no such program to run, in words, and the shell's status for it; None if there is one."""
    program = command[0]
    path = environment.get("PATH", os.defpath)
    if shutil.which(program, path=path) is not None:
        return None
    if shutil.which(program, mode=os.F_OK, path=path) is not None:
        return f"{program} cannot be executed", NOT_EXECUTABLE
    return f"{program}: command not found", NOT_FOUND


async def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run it with our standard streams until it ends; returns its status as a shell would say it.

    Signals are passed on to it, and stay ours when it has ended: the log must be closed in peace.
    """
    loop, passing = asyncio.get_running_loop(), _Passing()
    # Before there is a program: one that is signalled at once must not find us without handlers.
    for number in _FORWARDED:
        loop.add_signal_handler(number, passing.take, number)
    try:
        process = await asyncio.create_subprocess_exec(*command, env=dict(environment))
    except OSError:  # ``unusable`` has found it, so it is the system that does not want to
        return NOT_EXECUTABLE
    passing.begin(process)
    status = await process.wait()
    return status if status >= 0 else _BY_SIGNAL - status


class _Passing:
    """Passes signals on to the program; those that come before it are kept for it."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._early: list[signal.Signals] = []

    def begin(self, process: asyncio.subprocess.Process) -> None:
        """There is a program now."""
        self._process = process
        for number in self._early:
            self.take(number)

    def take(self, number: signal.Signals) -> None:
        """A signal has come."""
        if number in _FROM_KEYBOARD and _in_foreground():
            return  # the terminal has sent it to the program as well
        if self._process is None:
            self._early.append(number)
            return
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            self._process.send_signal(number)


def _in_foreground() -> bool:
    """Whether the keyboard's signals go to our process group, which is the program's too."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
