# SPDX-License-Identifier: Apache-2.0
"""Load a command's module when the command is called, or when its help is shown.

A `CommandTable` has the name of each command, the reference to its function, and its panel in ``folkmoot --help``. Each
part of Folkmoot adds its commands to the table without importing their modules.
"""

from __future__ import annotations

import sys
from collections import UserDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any

import click
import typer
from typer.core import TyperGroup

TYPER_SUGGESTS = not hasattr(click.exceptions, "NoSuchCommand")
"""Whether typer must suggest similar commands. A click version with this error does so itself."""


class Panel(StrEnum):
    """Groups of commands in ``folkmoot --help``, in the order shown."""

    CONTRIBUTE = "Contribute"
    DECIDE = "Decide"
    CHECK = "Check"
    OPERATE = "Operate"
    LOCAL = "Local"


@dataclass(frozen=True)
class _Reference:
    """Reference to a command, ``module:function``.

    The function of a group has no arguments and returns a `typer.Typer`.
    """

    target: str
    panel: Panel
    group: bool
    hidden: bool

    def load(self, name: str) -> click.Command:
        module, _, function = self.target.partition(":")
        loaded = getattr(import_module(module), function)
        if self.group:
            command = typer.main.get_group(loaded())
            command.name, command.rich_help_panel = name, self.panel.value
            command.suggest_commands = TYPER_SUGGESTS
            return command
        holder = typer.Typer(add_completion=False)
        holder.command(name, hidden=self.hidden, rich_help_panel=self.panel.value)(loaded)
        return typer.main.get_command(holder)


class CommandTable(UserDict[str, click.Command]):
    """Commands by name, sorted by panel. A command is loaded when it is looked up for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._references: dict[str, _Reference] = {}

    def add(self, panel: Panel, module: str, *names: str) -> None:
        """Add commands whose functions, in the same module, have the commands' names."""
        for name in names:
            self._add(name, _Reference(f"{module}:{name}", panel, group=False, hidden=False))

    def add_hidden(self, panel: Panel, module: str, name: str) -> None:
        """Add a command that the help does not list."""
        self._add(name, _Reference(f"{module}:{name}", panel, group=False, hidden=True))

    def add_group(self, panel: Panel, module: str, name: str) -> None:
        """Add a command with subcommands, which the module's function ``commands`` returns."""
        self._add(name, _Reference(f"{module}:commands", panel, group=True, hidden=False))

    def _add(self, name: str, reference: _Reference) -> None:
        if name in self._references:
            raise ValueError(f"two commands are called {name}")
        self._references[name] = reference
        order = list(Panel)
        names = sorted(self._references, key=lambda key: order.index(self._references[key].panel))
        self._references = {key: self._references[key] for key in names}

    def __getitem__(self, name: str) -> click.Command:
        """Return a command.

        Raises:
            KeyError: The command is unknown, or its module can't be imported. In the second case a warning is printed
                and the command is removed from the table.
        """
        if name not in self.data:
            try:
                self.data[name] = self._references[name].load(name)
            except ImportError as error:
                del self._references[name]
                print(f"warning: the command {name} is missing: {error}", file=sys.stderr)
                raise KeyError(name) from error
        return self.data[name]

    def __contains__(self, name: object) -> bool:
        return name in self._references

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._references))

    def __len__(self) -> int:
        return len(self._references)


class LazyGroup(TyperGroup):
    """Group of commands that are loaded at the first lookup. A subclass sets the table."""

    table: CommandTable

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = self.table

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if it is unknown or can't be loaded."""
        try:
            return self.table[cmd_name]
        except KeyError:
            return None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands without loading them."""
        return list(self.table)
