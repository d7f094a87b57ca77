# SPDX-License-Identifier: Apache-2.0
"""The frame of the command line: fast start, one line for a failure, and help with an example everywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from folkmoot.cli import main
from folkmoot.cli.loading import SEPARATE, CommandTable
from folkmoot.errors import FolkmootError
from tests.factories import PASSWORD

HEAVY = {
    *("web3", "torch", "flwr", "numpy", "sqlalchemy", "fastapi", "httpx", "eth_account", "numba"),
    *("eth_abi", "eth_utils", "pydantic"),
}
FRAME = {
    *("folkmoot.cli", "folkmoot.cli.config_file", "folkmoot.cli.context", "folkmoot.cli.loading"),
    *("folkmoot.cli.main", "folkmoot.cli.output"),
}
"""Modules of the command line that are no command's."""


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _commands(child, (*path, name))
    else:
        yield " ".join(path), command


def _all() -> list[tuple[str, click.Command]]:
    return list(_commands(typer.main.get_command(main.build())))


def _imported_by(arguments: list[str]) -> set[str]:
    """Return the names of the modules that a command line imports."""
    code = (
        f"import sys\nfrom folkmoot.cli.main import run\nassert run({arguments!r}) == 0\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def _of_commands(modules: set[str]) -> set[str]:
    """Return the modules that hold commands, or what only commands need."""
    own = {
        name
        for name in modules
        if name.startswith(("folkmoot.cli", "folkmoot.devnet.", "client.", "server."))
    }
    return own - FRAME - {name for name in own if name.endswith((".commands", ".commands.table"))}


def test_help_starts_without_the_heavy_packages() -> None:
    imported = {name.partition(".")[0] for name in _imported_by(["--help"])}
    assert imported & {*HEAVY, "rich", "markdown_it", "pygments"} == set()


def test_the_version_loads_no_command() -> None:
    assert _of_commands(_imported_by(["--version"])) == set()


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["vote", "--help"], {"folkmoot.cli.governance", "folkmoot.cli.options", "folkmoot.cli.reports"}),
        (["export", "csv", "--help"], {"folkmoot.cli.export", "folkmoot.cli.options"}),
        (
            ["submit", "--help"],
            {
                *("client.cli", "client.cli.join", "client.cli.task"),
                *("client.signer", "client.signer.options", "folkmoot.cli.options"),
            },
        ),
        (["superlink", "--help"], {"server.commands.superlink"}),
    ],
    ids=["own", "group", "client", "server"],
)
def test_only_the_called_command_is_loaded(arguments: list[str], needed: set[str]) -> None:
    assert _of_commands(_imported_by(arguments)) == needed


def test_the_help_begins_with_what_a_newcomer_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    shown: dict[str, list[str]] = {}
    panel = ""
    for line in capsys.readouterr().out.splitlines():
        if line[:1].strip() and line.endswith(":"):
            panel = line[:-1]
        elif line.startswith("  ") and line[2:3].strip():
            shown.setdefault(panel, []).append(line.split()[0])
    assert list(shown)[1:] == [
        "Start here",
        "Contribute",
        "Check",
        "Decide",
        "Operate",
        "Options",
    ]
    assert shown["Start here"] == ["run", "demo", "up", "join", "federation"]
    table = main.command_table()
    listed = [name for panel in list(shown)[1:-1] for name in shown[panel]]
    assert sorted(listed) == sorted(table), "each one, once"
    assert "Others" not in shown
    for panel, name in {
        "Check": "audit",
        "Decide": "vote",
        "Operate": "deploy",
    }.items():
        assert name in shown[panel], name


@pytest.mark.parametrize("arguments", [["auditt"], ["coordinator", "serv"]])
def test_a_similar_command_is_suggested_once(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: No such command '{arguments[-1]}'.")
    assert printed.count("Did you mean") == 1
    assert ("'audit'" if len(arguments) == 1 else "'serve'") in printed


def test_two_commands_can_not_have_one_name() -> None:
    table = main.command_table()
    with pytest.raises(ValueError, match="two commands are called vote"):
        table.add("client.cli.join", "vote")


def test_a_command_that_can_not_be_loaded_is_told_and_the_rest_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def register(table: CommandTable) -> None:
        table.add("folkmoot.cli.not_there", "missing_part")

    class Point:
        name = "part"

        def load(self) -> Any:
            return register

    monkeypatch.setattr(main, "entry_points", lambda group: [Point()])
    warning = "warning: the command missing_part is missing: No module named 'folkmoot.cli.not_there'\n"
    assert main.run(["--help"]) == 0
    printed = capsys.readouterr()
    assert "close" in printed.out
    assert printed.err == warning
    assert main.run(["missing_part"]) == 2
    assert (
        capsys.readouterr().err == warning + "error: No such command 'missing_part'. See `folkmoot --help`.\n"
    )
    assert main.run(["vote", "--help"]) == 0
    assert capsys.readouterr().err == ""


@pytest.fixture
def without_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process find no entry point of folkmoot-lab."""
    monkeypatch.setattr(
        main,
        "entry_points",
        lambda group: [one for one in entry_points(group=group) if not one.value.startswith("folkmoot_lab")],
    )


@pytest.mark.usefixtures("without_lab")
@pytest.mark.parametrize("name", SEPARATE)
def test_a_command_of_another_distribution_says_what_to_install(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([name, "--cheat", "mean"]) == 1
    assert capsys.readouterr().err == (
        f"error: The command `{name}` is part of folkmoot-lab, which is not installed. "
        "Run `pip install folkmoot-lab`. In a clone of the repository, run `make install`.\n"
    )
    assert main.run([name, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not-installed"


@pytest.mark.usefixtures("without_lab")
def test_the_help_without_the_laboratory_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"Not installed: {', '.join(SEPARATE)} (`pip install folkmoot-lab`)." in printed.out
    assert "\n  run " in printed.out
    assert "\n  demo " not in printed.out


def test_the_commands_of_other_distributions_are_those_that_they_register() -> None:
    (point,) = entry_points(group=main.ENTRY_POINTS, name="lab")
    table = CommandTable()
    point.load()(table)
    assert set(table) == set(SEPARATE)


@pytest.mark.parametrize(("name", "command"), _all(), ids=[name for name, _ in _all()])
def test_every_command_takes_json_and_shows_an_example(name: str, command: click.Command) -> None:
    assert "--json" in [option for parameter in command.params for option in parameter.opts]
    assert f"Example: folkmoot {name}" in " ".join((command.help or "").split())
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("vote 1 veto --reason no", "takes no --reason"),
        ("model 1 --to a --fork b", "give --to, --fork or --warranty"),
        ("model 1 --account 0x1", "need --fork"),
        ("model 1 --recalled", "needs --to or --fork"),
    ],
)
def test_options_that_do_not_go_together(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(words.split()) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Let `folkmoot fail` raise what is put into the list."""
    raised: list[BaseException] = []

    def build() -> typer.Typer:
        app = typer.Typer()
        app.callback()(lambda: None)

        @app.command()
        def fail(json_: bool = typer.Option(False, "--json")) -> None:
            raise raised[0]

        return app

    monkeypatch.setattr(main, "build", build)
    return raised


def test_a_failure_is_one_line(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(FolkmootError("It broke.", remedy="Mend it.", code="broken", details={"where": "here"}))
    assert main.run(["fail"]) == 1
    assert capsys.readouterr() == ("", "error: It broke. Mend it.\n")
    assert main.run(["fail", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "error": {
            "code": "broken",
            "message": "It broke.",
            "remedy": "Mend it.",
            "details": {"where": "here"},
        }
    }
    assert printed.err == ""


def test_what_strangers_wrote_does_not_move_the_terminal(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(FolkmootError("\x1b[2J\x07caf\u00e9\u202e\r"))
    assert main.run(["fail"]) == 1
    assert capsys.readouterr().err == "error: \ufffd[2J\ufffdcaf\u00e9\ufffd.\n"


def test_a_defect_has_no_traceback_unless_asked(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing.append(ZeroDivisionError("division by zero"))
    assert main.run(["fail"]) == 1
    assert capsys.readouterr().err.startswith("error: Unexpected ZeroDivisionError: division by zero.")
    monkeypatch.setenv("FOLKMOOT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main.run(["fail"])


def test_interrupts(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(KeyboardInterrupt())
    assert main.run(["fail"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_wrong_command_lines(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["fail", "--nonsense"]) == 2
    assert "--nonsense" in capsys.readouterr().err
    assert main.run(["fail", "--nonsense", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"
    assert main.run(["succeed"]) == 2
    assert capsys.readouterr().err.startswith("error: No such command 'succeed'.")


def test_a_part_that_can_not_be_loaded_is_told_and_the_rest_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        name = "broken"

        def load(self) -> Any:
            raise ImportError("No module named 'nothing'")

    monkeypatch.setattr(main, "entry_points", lambda group: [Broken()])
    assert main.run(["--version"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("folkmoot ")
    assert printed.err == "warning: the commands of broken are missing: No module named 'nothing'\n"


def test_account_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], password_file: Path) -> None:
    path = tmp_path / "ada.json"
    words = ["account", "new", "--out", str(path), "--password-file", str(password_file), "--json"]
    assert main.run(words) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["path"] == str(path)
    assert PASSWORD not in path.read_text()
    assert main.run(words) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "keystore-exists"
    assert main.run(["account", "list", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accounts"] == [made]
    assert main.run(["account", "list", str(path)]) == 0
    assert made["address"] in capsys.readouterr().out


def test_the_only_key_of_a_folder_is_found_and_two_are_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], password_file: Path
) -> None:
    show = ["why", "--keystore", str(tmp_path), "--json"]
    assert main.run(show) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "keystore-missing"
    new = ["account", "new", "--out", str(tmp_path), "--password-file", str(password_file), "--json"]
    assert main.run(new) == 0
    capsys.readouterr()
    assert main.run(show) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "source-missing"
    assert main.run(new) == 0
    capsys.readouterr()
    assert main.run(show) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "keystore-ambiguous"


def test_ctrl_c_ends_the_process_with_130() -> None:
    code = (
        "import os, signal, threading, time, typer\n"
        "from folkmoot.cli import main\n"
        "app = typer.Typer()\n"
        "app.callback()(lambda: None)\n"
        "@app.command()\n"
        "def sleep():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(30)\n"
        "main.build = lambda: app\n"
        "raise SystemExit(main.run(['sleep']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in errors
