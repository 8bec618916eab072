"""The verbs, and the one way in which all of them end: a status, and at most a line on standard error.

A verb's module is imported when the verb is used: ``serve`` must not pay for what only people look at.
Tracebacks are for ``GATEPASS_DEBUG=1``, and then plain ones: a traceback with local variables would
print secrets.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from proxy import __version__
from proxy.cli.ending import WRONG_USAGE, tell

PROGRAM = "gatepass"
INTERRUPTED = 130  # what shells give a program that SIGINT ended

# In the order of a first day. The module has a function of the verb's name, or a group ``app``.
_VERBS = {
    "run": "proxy.cli.run",
    "init": "proxy.cli.init",
    "serve": "proxy.cli.serve",
    "task": "proxy.cli.task",
    "revoke": "proxy.cli.revoke",
    "approvals": "proxy.cli.approvals",
    "log": "proxy.cli.log",
    "policy": "proxy.cli.policy",
    "ca": "proxy.cli.ca",
    "doctor": "proxy.cli.doctor",
}
# What follows the program that ``run`` runs is that program's, whatever it looks like.
_SETTINGS = {"run": {"allow_interspersed_args": False}}

# Of whatever is wrong with the words on the command line; typer does not name it.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


class Verbs(TyperGroup):
    """The verbs by name, each imported when it is asked for."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 - the library's signature
        """Every verb, in the order of a first day."""
        return list(_VERBS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | TyperGroup | None:  # noqa: ARG002 - as above
        """The verb, or None."""
        return _load(cmd_name) if cmd_name in _VERBS else None


def _load(verb: str) -> TyperCommand | TyperGroup:
    module = import_module(_VERBS[verb])
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    group = getattr(module, "app", None)
    if isinstance(group, typer.Typer):
        holder.add_typer(group, name=verb)
        whole = get_command(holder)
        assert isinstance(whole, TyperGroup), "a Typer that holds another is a group"
        command = whole.commands[verb]
    else:
        holder.command(verb, context_settings=_SETTINGS.get(verb))(getattr(module, verb))
        command = get_command(holder)
    assert isinstance(command, TyperCommand | TyperGroup), "typer makes no others"
    return command


app = typer.Typer(
    name=PROGRAM,
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The sidecar that every call of an AI agent has to pass.

    Example: gatepass run -- python agent.py
    """


def invoke(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit status. Nothing is raised but ``SystemExit``."""
    try:
        status = get_command(app).main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        return _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last one who can say it in one line
        return _failed(error)
    if status == INTERRUPTED:
        tell("interrupted")
    return status if isinstance(status, int) else 0


def _misused(error: Exception) -> int:
    """Wrong words: one line; or the help, where a verb was named and nothing said."""
    words = str(getattr(error, "format_message", error.__str__)())
    if "\n" in words.strip():
        print(words, file=sys.stderr)
        return WRONG_USAGE
    path = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
    tell(f"{words.rstrip('.')}; see `{path} --help`")
    return WRONG_USAGE


def _failed(error: Exception) -> int:
    if os.environ.get("GATEPASS_DEBUG") == "1":
        traceback.print_exception(error)
    elif isinstance(error, OSError) and error.filename is not None:
        tell(f"{error.filename}: {error.strerror}")
    else:
        name = type(error).__name__
        tell(f"this should not have happened: {name}: {error}; GATEPASS_DEBUG=1 shows where")
    return WRONG_USAGE
