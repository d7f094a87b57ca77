# SPDX-License-Identifier: Apache-2.0
"""Starting a Flower run: stage the app, name the SuperLink, `flwr run`, follow it.

Flower bundles the folder that it is given and refuses folder names that are not its own kind (letters,
digits, hyphens), so the files that the bundle lists are copied into a folder with a legal name first. This
module starts programs; it knows no key, no round and no database. It does not travel in the bundle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from folkmoot.errors import InputError, LocalError
from folkmoot.runtime.flower_internals import build_bundle
from folkmoot.runtime.processes import interrupts_deferred, interrupts_held
from folkmoot.runtime.superlink import SuperLink

APP_FOLDER = "folkmoot"
CONNECTION = "folkmoot"
SIMULATED_NODE = "client-resources-num-cpus=1"
"""What each simulated node takes: Flower's default of two cores leaves none to a machine with one."""
STOP = 30.0
"""Seconds for which an interrupted call tries to end its run."""
_STARTED = re.compile(r"Successfully started run (\d+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_KNOWN, _NO_KEY = "[code: 23]", "Exit Code: 500"
"""What Flower says of a key that it has already, and of a file that is no key."""
_STATUS = re.compile(r'"status":\s*"([^"]+)"')


@dataclass(frozen=True)
class RunResult:
    """How a Flower run ended.

    Attributes:
        run_id: Flower's own number of the run.
        status: Flower's words, for example ``finished:completed``.
    """

    run_id: int
    status: str

    @property
    def completed(self) -> bool:
        """Whether the ServerApp came to its end without a failure."""
        return self.status == "finished:completed"


def project_root() -> Path:
    """Return the folder that holds the packages ``server``, ``client`` and ``folkmoot``."""
    return Path(__file__).resolve().parent.parent.parent


def _pyproject(root: Path) -> Path:
    """Find the description of the bundle: the checkout's, or the copy that a wheel installs."""
    installed = Path(sysconfig.get_path("data"), "share", "folkmoot", "bundle.toml")
    for path in (root / "pyproject.toml", installed):
        with contextlib.suppress(OSError, tomllib.TOMLDecodeError):
            if tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"] == "folkmoot":
                return path
    raise InputError(
        f"There is no description of the app bundle under {root}.",
        remedy="Run from a checkout, or reinstall folkmoot.",
        code="no-bundle",
    )


def stage(target: Path, root: Path | None = None) -> Path:
    """Copy what the bundle lists into ``target/folkmoot``.

    Args:
        target: An existing folder.
        root: Where the packages are; this installation's if left out.

    Returns:
        The folder to give to Flower.

    Raises:
        InputError: If the description of the bundle is missing or a pattern in it matches nothing.
    """
    root = root or project_root()
    description = _pyproject(root)
    listed = tomllib.loads(description.read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    app = target / APP_FOLDER
    app.mkdir(parents=True)
    shutil.copyfile(description, app / "pyproject.toml")
    for pattern in listed["fab-include"]:
        matches = [path for path in sorted(root.glob(pattern.lstrip("/"))) if path.is_file()]
        if not matches:
            raise InputError(
                f"The bundle lists {pattern}, and there is no such file under {root}.",
                remedy="Reinstall folkmoot, or correct fab-include in pyproject.toml.",
                code="no-bundle",
            )
        for path in matches:
            copy = app / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return app


def bundle_hash(app: Path) -> bytes:
    """Return the sha256 of a folder's bundle: what contributors sign as ``bundleHash``."""
    return hashlib.sha256(build_bundle(app)).digest()


def configure(flower_home: Path, superlink: SuperLink) -> None:
    """Write ``config.toml`` of a Flower home so that the connection ``folkmoot`` is this SuperLink.

    Args:
        flower_home: Folder for ``FLWR_HOME``.
    """
    flower_home.mkdir(parents=True, exist_ok=True)
    lines = [f"address = {json.dumps(superlink.address)}", f"insecure = {json.dumps(superlink.insecure)}"]
    if superlink.root_certificates is not None:
        lines.append(f"root-certificates = {json.dumps(str(superlink.root_certificates.resolve()))}")
    head = f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
    (flower_home / "config.toml").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def environment(flower_home: Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a Flower program: own home, no telemetry, no look for updates."""
    return {
        **(os.environ if base is None else base),
        "FLWR_HOME": str(flower_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
    }


def run_config(settings: Mapping[str, Any]) -> str:
    """Write settings as Flower's ``--run-config`` wants them (TOML pairs).

    Raises:
        InputError: If a value is not a string, number or boolean, or a string holds a quote.
    """
    pairs = []
    for key, value in settings.items():
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, int | float):
            text = repr(value)
        elif isinstance(value, str) and not set(value) & {'"', "'", "\\", "\n"}:
            text = f'"{value}"'
        else:
            raise InputError(
                f"The run setting {key}={value!r} can't be written for Flower.",
                remedy="Use a number, true, false, or a text without quotes.",
            )
        pairs.append(f"{key}={text}")
    return " ".join(pairs)


def run(
    superlink: SuperLink,
    settings: Mapping[str, Any],
    *,
    app: Path | None = None,
    flower_home: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> RunResult:
    """Start a run on a SuperLink and follow it to its end.

    Args:
        superlink: Where to run.
        settings: Run settings, see ``[tool.flwr.app.config]`` in pyproject.toml.
        app: Folder of the app; ours, staged into a temporary folder, if left out.
        flower_home: Folder for Flower's own files; a temporary one if left out.
        on_line: Called with each line of the run's log.
        on_start: Called with the run's number once it is known.

    Raises:
        LocalError: If Flower does not start the run.
        InputError: If the app can't be staged.
    """
    with (
        _home(superlink, flower_home) as home,
        tempfile.TemporaryDirectory(prefix="folkmoot-run-") as scratch,
    ):
        folder = app or stage(Path(scratch))
        variables = environment(home)
        words = ["run", str(folder), CONNECTION, "--stream", "--run-config", run_config(settings)]
        if superlink.simulated:
            words += ["--federation-config", f"num-supernodes={superlink.simulated} {SIMULATED_NODE}"]
        run_id: int | None = None
        tail: list[str] = []
        with contextlib.closing(_output(words, variables)) as lines:
            with interrupts_deferred():  # Until the number is known by which the run can be ended.
                for line in lines:
                    tail = [*tail[-20:], line]
                    if on_line is not None:
                        on_line(line)
                    if match := _STARTED.search(line):
                        run_id = int(match.group(1))
                        break
            if run_id is None:
                raise LocalError(
                    f"Flower did not start a run on {superlink.address}: {' '.join(tail[-4:]).strip() or 'no output'}.",
                    remedy="Check that the SuperLink runs at that address.",
                    code="flower-run",
                )
            with _ended_with_us(run_id, variables):
                if on_start is not None:
                    on_start(run_id)
                for line in lines:
                    if on_line is not None:
                        on_line(line)
                return RunResult(run_id, _status(run_id, variables))


def follow(
    superlink: SuperLink,
    run_id: int,
    *,
    flower_home: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> RunResult:
    """Wait for the end of a run that was started before.

    Args:
        superlink: Where it runs.
        run_id: Flower's number of it.
        flower_home: Folder for Flower's own files; a temporary one if left out.
        on_line: Called with each line of the run's log, from its beginning.

    Raises:
        LocalError: The SuperLink can't be reached, or does not know the run.
    """
    with _home(superlink, flower_home) as home:
        variables = environment(home)
        words = ["log", str(run_id), CONNECTION, "--stream"]
        with _ended_with_us(run_id, variables), contextlib.closing(_output(words, variables)) as lines:
            for line in lines:
                if on_line is not None:
                    on_line(line)
            return RunResult(run_id, _status(run_id, variables))


def online_nodes(superlink: SuperLink) -> int | None:
    """Count the SuperNodes that are connected to a SuperLink; None if it does not say, e.g. to this account.

    Simulated nodes are not there before a run.
    """
    if superlink.simulated:
        return None
    with _home(superlink, None) as home:
        answer = subprocess.run(
            [_program("flwr"), "supernode", "ls", CONNECTION, "--format", "json"],
            env=environment(home),
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        document = json.loads(answer.stdout)
        return sum(node["status"] == "online" for node in document["nodes"]) if document["success"] else None
    except (ValueError, KeyError, TypeError):
        return None


def register_node(superlink: SuperLink, key: Path) -> bool:
    """Let a SuperLink know a SuperNode's public key.

    Args:
        superlink: The SuperLink, by an address that is open to its operator alone.
        key: Public key file, OpenSSH's form.

    Returns:
        Whether it was new there.

    Raises:
        InputError: The file is no public key that a SuperLink takes.
        LocalError: The SuperLink can't be reached, or refuses.
    """
    with _home(superlink, None) as home:
        words = ["supernode", "register", str(key), CONNECTION, "--format", "json"]
        answer = subprocess.run(
            [_program("flwr"), *words],
            env=environment(home),
            capture_output=True,
            text=True,
            check=False,
        )
    output = answer.stdout + answer.stderr
    if re.search(r'"success":\s*true', answer.stdout):
        return True
    if _KNOWN in output:
        return False
    if _NO_KEY in output or "does not exist" in output:
        raise InputError(
            f"{key} is no public key of a node.",
            remedy="Ask its contributor for the FILE.pub that `folkmoot join --node-key FILE` has made.",
            code="node-key",
        )
    raise LocalError(
        f"The SuperLink at {superlink.address} did not take the key {key}: {' '.join(output.split())[-400:]}",
        remedy="Run this where the SuperLink's Control API can be reached.",
        code="superlink-refused",
    )


@contextlib.contextmanager
def _home(superlink: SuperLink, given: Path | None) -> Iterator[Path]:
    """A Flower home whose connection is this SuperLink: the given one, or one for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="folkmoot-flower-") as scratch:
        home = given or Path(scratch)
        configure(home, superlink)
        yield home


@contextlib.contextmanager
def _ended_with_us(run_id: int, variables: dict[str, str]) -> Iterator[None]:
    """End a Flower run if this call is interrupted: its ServerApp would go on alone."""
    try:
        yield
    except KeyboardInterrupt:
        with interrupts_held(), contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [_program("flwr"), "stop", str(run_id), CONNECTION],
                env=variables,
                capture_output=True,
                check=False,
                timeout=STOP,
            )
        raise


def _output(words: Sequence[str], variables: dict[str, str]) -> Generator[str]:
    """Run `flwr` and yield the lines that it prints; it ends with the iteration."""
    process = subprocess.Popen(
        [_program("flwr"), *words],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield from _lines(process)
        process.wait()
    finally:
        _end(process)


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None  # noqa: S101  it was opened with a pipe
    for line in process.stdout:
        yield _ANSI.sub("", line.rstrip("\n"))


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _status(run_id: int, variables: dict[str, str]) -> str:
    """Ask the SuperLink how the run ended; its log alone does not say."""
    answer = subprocess.run(
        [_program("flwr"), "ls", CONNECTION, "--run-id", str(run_id), "--format", "json"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    match = _STATUS.search(answer.stdout)
    if match is None:
        raise LocalError(
            f"Flower does not say how run {run_id} ended: {(answer.stdout + answer.stderr).strip()[-300:]}",
            remedy="Check that the SuperLink still runs.",
            code="flower-run",
        )
    return match.group(1)


def _program(name: str) -> str:
    """Find a program of the installation that we run in, else on the search path."""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise LocalError(f"The program {name} is not installed.", remedy="Install folkmoot's dependencies.")
    return path
