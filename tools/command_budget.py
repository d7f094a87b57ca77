# SPDX-License-Identifier: Apache-2.0
"""Fail if `folkmoot` has more commands or options than its budget, or `join` more than its own.

A command is one that a user can call, hidden ones included; groups are not counted. An option that every command takes
(`folkmoot.cli.context`) counts once, any other once for each command. A new command or option takes one away, or the
number here is raised, with the reason in the commit. ``--table`` prints all commands with their options. What the
laboratory registers (folkmoot-lab) is a distribution of its own: it is counted for the table only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import click
import typer

from folkmoot.cli.context import GlobalOption, options
from folkmoot.cli.loading import SEPARATE
from folkmoot.cli.main import build

COMMANDS = 51
OPTIONS = 295
JOIN = 16


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Yield each command, and the options that are its own."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            child = command.commands[name]
            yield from commands(child, (*path, name))
        return
    own = [
        one for one in command.params if isinstance(one, click.Option) and not isinstance(one, GlobalOption)
    ]
    yield " ".join(path), [one.opts[0] for one in own]


def main() -> int:
    """Compare the counts with the budget; the exit status is 1 if one is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="print all commands with their options")
    arguments = parser.parse_args()
    found = dict(commands(typer.main.get_command(build())))
    product = {name: own for name, own in found.items() if name.split()[0] not in SEPARATE}
    shared = len(options(hidden=False))
    counts = {
        "commands": (len(product), COMMANDS),
        "options": (sum(map(len, product.values())) + shared, OPTIONS),
        "options of join": (len(product["join"]), JOIN),
    }
    if arguments.table:
        for name, own in found.items():
            print(f"{len(own):3} {name:24} {' '.join(own)}")
        print(f"{shared:3} of every command")
        laboratory = [own for name, own in found.items() if name not in product]
        print(f"{len(laboratory)} commands and {sum(map(len, laboratory))} options of the laboratory")
    for what, (count, budget) in counts.items():
        if arguments.table:
            print(f"{what}: {count} of {budget}")
        if count > budget:
            print(f"{count} {what}, and the budget is {budget} (tools/command_budget.py).", file=sys.stderr)
    return int(any(count > budget for count, budget in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
