# SPDX-License-Identifier: Apache-2.0
"""Load a command's module when the command is called, or when its help is shown.

A `CommandTable` has the name of each command and the reference to its function. Each part of Folkmoot adds its commands
to the table without importing their modules. `PANELS` has the order of ``folkmoot --help``.
"""

from __future__ import annotations

import re
import sys
from collections import UserDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import click
import typer
from typer.core import TyperGroup

from folkmoot.cli.context import give_options, options
from folkmoot.errors import InputError

T = TypeVar("T")

TYPER_SUGGESTS = not hasattr(click.exceptions, "NoSuchCommand")
"""Whether typer must suggest similar commands. A click version with this error does so itself."""

PANELS = {
    "Start here": "run demo up join federation",
    "Contribute": "account enrol balance withdraw leave submit signer forget measure",
    "Check": "status doctor audit why receipt model export mirror watch demand economics privacy drill",
    "Decide": "console measurements proposals propose vote delegate execute",
    "Operate": "task policy deploy superlink coordinator train close chain",
}
"""Groups of commands in ``folkmoot --help``, and their commands, in the order shown."""

SEPARATE = dict.fromkeys(("demo", "drill", "economics", "privacy"), "folkmoot-lab")
"""Commands that are not part of folkmoot's own distribution, and the distribution that has each."""


@dataclass(frozen=True)
class _Reference:
    """Reference to a command, ``module:function``.

    The function of a group has no arguments and returns a `typer.Typer`.
    """

    target: str
    group: bool

    def _function(self) -> Callable[[], Any]:
        module, _, function = self.target.partition(":")
        loaded: Callable[[], Any] = getattr(import_module(module), function)
        return loaded

    def summary(self) -> str:
        """Return the first sentence of the command's help, without building its options."""
        text = self._function()().info.help if self.group else self._function().__doc__
        return re.split(r"(?<=[.]) (?=[A-Z])", " ".join(str(text).split()), maxsplit=1)[0]

    def load(self, name: str) -> click.Command:
        loaded = self._function()
        if self.group:
            group = typer.main.get_group(loaded())
            group.name = name
            group.suggest_commands = TYPER_SUGGESTS
            give_options(group)
            return group
        holder = typer.Typer(add_completion=False)
        holder.command(name)(loaded)
        command = typer.main.get_command(holder)
        give_options(command)
        return command


class CommandTable(UserDict[str, click.Command]):
    """Commands by name, in the order of `PANELS`. A command is loaded when it is looked up for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._references: dict[str, _Reference] = {}

    def add(self, module: str, *names: str) -> None:
        """Add commands whose functions, in the same module, have the commands' names."""
        for name in names:
            self._add(name, _Reference(f"{module}:{name}", group=False))

    def add_group(self, module: str, name: str) -> None:
        """Add a command with subcommands, which the module's function ``commands`` returns."""
        self._add(name, _Reference(f"{module}:commands", group=True))

    def _add(self, name: str, reference: _Reference) -> None:
        if name in self._references:
            raise ValueError(f"two commands are called {name}")
        self._references[name] = reference

    def __getitem__(self, name: str) -> click.Command:
        """Return a command."""
        if name not in self.data:
            self.data[name] = self._imported(name, lambda reference: reference.load(name))
        return self.data[name]

    def _imported(self, name: str, take: Callable[[_Reference], T]) -> T:
        try:
            return take(self._references[name])
        except ImportError as error:
            del self._references[name]
            print(f"warning: the command {name} is missing: {error}", file=sys.stderr)
            raise KeyError(name) from error

    def __contains__(self, name: object) -> bool:
        return name in self._references

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._references))

    def panels(self) -> dict[str, list[tuple[str, str]]]:
        """Return names and summaries of the commands by panel, those of no panel last."""
        left = dict.fromkeys(self._references)
        panels: dict[str, list[tuple[str, str]]] = {}
        for panel, names in (*PANELS.items(), ("Others", " ".join(left))):
            for name in names.split():
                if name in left:
                    del left[name]
                    with suppress(KeyError):
                        summary = self._imported(name, _Reference.summary)
                        panels.setdefault(panel, []).append((name, summary))
        return panels

    def __len__(self) -> int:
        return len(self._references)


class LazyGroup(TyperGroup):
    """Group of commands that are loaded at the first lookup. A subclass sets the table."""

    table: CommandTable

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = self.table
        self.params += options(hidden=False)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if it is unknown or can't be loaded.

        Raises:
            InputError: The command is part of a distribution that is not installed (`not-installed`).
        """
        if cmd_name in SEPARATE and cmd_name not in self.table:
            raise InputError(
                f"The command `{cmd_name}` is part of {SEPARATE[cmd_name]}, which is not installed.",
                remedy=f"Run `pip install {SEPARATE[cmd_name]}`. In a clone of the repository, run `make install`.",
                code="not-installed",
            )
        try:
            return self.table[cmd_name]
        except KeyError:
            return None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands without loading them."""
        return list(self.table)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by panel, each with its first sentence, and then the options."""
        for panel, rows in self.table.panels().items():
            with formatter.section(panel):
                formatter.write_dl(rows)
        missing = {name: part for name, part in SEPARATE.items() if name not in self.table}
        for part in dict.fromkeys(missing.values()):
            names = ", ".join(name for name in missing if missing[name] == part)
            formatter.write_paragraph()
            formatter.write_text(f"Not installed: {names} (`pip install {part}`).")
        click.Command.format_options(self, ctx, formatter)
