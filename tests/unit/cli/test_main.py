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
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from folkmoot.cli import account, deploy, governance, main, stake, status, why
from folkmoot.errors import FolkmootError
from tests.factories import PASSWORD

HEAVY = {"web3", "torch", "flwr", "numpy", "sqlalchemy", "fastapi", "httpx", "eth_account", "numba"}


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _commands(child, (*path, name))
    else:
        yield " ".join(path), command


def _own() -> list[tuple[str, click.Command]]:
    app = typer.Typer()
    app.callback()(lambda: None)
    for group in (account, deploy, stake, governance, status, why):
        group.register(app)
    return list(_commands(typer.main.get_command(app)))


def test_help_starts_without_the_heavy_packages() -> None:
    code = (
        "import sys\n"
        "from folkmoot.cli.main import run\n"
        "assert run(['--help']) == 0\n"
        f"print(sorted({{n.partition('.')[0] for n in sys.modules}} & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("name", "command"), _own(), ids=[name for name, _ in _own()])
def test_every_command_takes_json_and_shows_an_example(name: str, command: click.Command) -> None:
    assert "--json" in [option for parameter in command.params for option in parameter.opts]
    assert f"Example: folkmoot {name}" in (command.help or "")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name}: {parameter.name} has no help"


def test_the_commands_are_all_there() -> None:
    assert {name for name, _ in _own()} >= {
        *(
            "account new",
            "account list",
            "account show",
            "account pending",
            "deploy",
            "stake",
            "unstake",
            "enrol",
            "leave",
            "withdraw",
            "claim",
        ),
        *(
            "delegate",
            "balance",
            "propose",
            "vote",
            "queue",
            "execute",
            "proposals",
            "status",
            "advance",
            "why",
        ),
    }


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
    assert main.run(["account", "show", "--keystore", str(path)]) == 0
    assert made["address"] in capsys.readouterr().out


def test_the_only_key_of_a_folder_is_found_and_two_are_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], password_file: Path
) -> None:
    show = ["account", "show", "--keystore", str(tmp_path), "--json"]
    assert main.run(show) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "keystore-missing"
    new = ["account", "new", "--out", str(tmp_path), "--password-file", str(password_file), "--json"]
    assert main.run(new) == 0
    made = json.loads(capsys.readouterr().out)
    assert main.run(show) == 0
    assert json.loads(capsys.readouterr().out)["address"] == made["address"]
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
