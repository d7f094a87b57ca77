# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot`: combine the groups of commands, and turn failures into a line and an exit status.

Exit status: 0 success, 1 failure, 2 invalid command line, 130 interrupted. This module imports no command: the table
has their names, and `folkmoot.cli.loading` imports a command's module when it is called. Client, server and devnet add
their commands through the entry points `folkmoot.commands`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points, version
from typing import NoReturn

import click
import typer

from folkmoot.cli import context, output
from folkmoot.cli.loading import TYPER_SUGGESTS, CommandTable, LazyGroup
from folkmoot.errors import FolkmootError

ENTRY_POINTS = "folkmoot.commands"
"""Group of the entry points. Each is a function that adds commands to a `CommandTable`."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells."""


def command_table() -> CommandTable:
    """Return the table of all commands of all installed parts."""
    table = CommandTable()
    table.add_group("folkmoot.cli.account", "account")
    table.add("folkmoot.cli.stake", "enrol", "leave", "withdraw", "balance")
    table.add("folkmoot.cli.governance", "propose", "vote", "execute", "proposals")
    table.add("folkmoot.cli.stake", "delegate")
    table.add("folkmoot.cli.console", "console")
    table.add_group("folkmoot.cli.federation", "federation")
    table.add("folkmoot.cli.status", "status")
    table.add("folkmoot.cli.doctor", "doctor")
    table.add("folkmoot.cli.audit", "audit")
    table.add("folkmoot.cli.why", "why")
    table.add("folkmoot.cli.receipt", "receipt")
    table.add("folkmoot.cli.watch", "watch")
    table.add("folkmoot.cli.demand", "demand")
    table.add("folkmoot.cli.mirror", "mirror")
    table.add("folkmoot.cli.export", "export")
    table.add("folkmoot.cli.model", "model")
    table.add("folkmoot.cli.measurements", "measurements")
    table.add("folkmoot.cli.policy", "policy")
    table.add("folkmoot.cli.deploy", "deploy")
    table.add("folkmoot.cli.rounds", "close")
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            register = point.load()
        except ImportError as error:
            # A part that can't be loaded must not disable the others, and must be reported.
            print(f"warning: the commands of {point.name} are missing: {error}", file=sys.stderr)
            continue
        register(table)
    return table


def build() -> typer.Typer:
    """Return the app with all commands of all installed parts."""
    known = command_table()

    class Commands(LazyGroup):
        table = known

    app = typer.Typer(
        name="folkmoot",
        cls=Commands,
        rich_markup_mode=None,  # The list of commands is plain text. A command's own help has boxes.
        help="People who do not trust each other train one model together, and anyone can check all of it.",
        no_args_is_help=True,
        add_completion=False,
        suggest_commands=TYPER_SUGGESTS,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def show_version(asked: bool) -> None:
        if asked:
            print(f"folkmoot {version('folkmoot')}")
            raise typer.Exit

    @app.callback()
    def _root(
        version_: bool = typer.Option(
            False, "--version", help="Print the version and exit.", is_eager=True, callback=show_version
        ),
    ) -> None:
        """Handle the options before a command."""

    return app


def run(arguments: Sequence[str], command: click.Command | None = None) -> int:
    """Run a command line and return its exit status. All output has been printed when this returns.

    Args:
        arguments: The words after the program's name.
        command: A program of its own; `folkmoot` with all commands if None.
    """
    as_json = "--json" in arguments
    context.begin()
    try:
        result = (command or typer.main.get_command(build())).main(
            args=list(arguments), prog_name="folkmoot", standalone_mode=False
        )
    except (click.exceptions.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        _usage(error, as_json)
        return error.exit_code
    except FolkmootError as error:
        output.fail(error, as_json)
        return 1
    except BrokenPipeError:
        # The reader of the output has closed the pipe. Nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("FOLKMOOT_DEBUG"):
            raise
        defect = FolkmootError(
            f"Unexpected {type(error).__name__}: {error}.",
            remedy="This is a defect of Folkmoot: please report it, with the output under FOLKMOOT_DEBUG=1.",
            code="defect",
        )
        output.fail(defect, as_json)
        return 1
    finally:
        context.begin()
    return result if isinstance(result, int) else 0


def run_program(function: Callable[..., None]) -> NoReturn:
    """Run the command line of this process, which is that of one function: a program that no user calls."""
    app = typer.Typer(add_completion=False)
    app.command()(function)
    command = typer.main.get_command(app)
    context.give_options(command)
    sys.exit(run(sys.argv[1:], command))


def main() -> NoReturn:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def _usage(error: click.ClickException, as_json: bool) -> None:
    message = error.format_message() + _moved(error)
    if as_json:
        content = {"code": "usage", "message": message, "remedy": "See --help.", "details": {}}
        print(json.dumps({"error": content}, indent=2, ensure_ascii=False))
        return
    context = getattr(error, "ctx", None)
    hint = f" See `{context.command_path} --help`." if context is not None else ""
    print(f"error: {message}{hint}", file=sys.stderr)


def _moved(error: click.ClickException) -> str:
    """Return where an option is now that has become a key of the command's file, an empty text if it has not."""
    context = getattr(error, "ctx", None)
    if not isinstance(error, click.NoSuchOption) or context is None:
        return ""
    module = sys.modules.get(getattr(context.command.callback, "__module__", ""))
    name = error.option_name.lstrip("-")
    if name not in [key.name for key in getattr(module, "FILE_KEYS", ())]:
        return ""
    command = context.command_path
    return f" It is a setting now: `{command} --set {name}=VALUE`, or in the file of `{command} --write-config FILE`."


if __name__ == "__main__":
    main()
