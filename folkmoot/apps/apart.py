# SPDX-License-Identifier: Apache-2.0
"""Run an app's code in a separate process, and report its errors.

The child writes its outcome to one JSON file and ends at once, because an app may catch any exception and may have
running threads. An app that exceeds the time limit is ended with all its processes.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import folkmoot
from folkmoot.apps.folder import PROJECT, AppFolder, distribution_of
from folkmoot.apps.limit import LIMIT_OPTION, StepLimit
from folkmoot.errors import FolkmootError, InputError, TaskError
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.processes import Supervisor

OUTCOME = "outcome.json"
"""File with the child's outcome."""

OF_TORCH = frozenset({"torchvision", "torchaudio", "torchtext", "torchdata"})
"""Distributions of which each version demands one version of torch."""

WORK = "work"
"""Folder below the scratch folder in which a ServerApp runs, so that its files do not mix with others."""

GRACE = 3.0
"""Seconds between the signal to end an app and the kill."""

LOOK = 0.05
"""Seconds between two checks whether a step has ended."""

DOING = {"capture": "reading the app", "training": "one training on partition 0"}
"""Description of each step, for people who wait for it."""


class scratch(tempfile.TemporaryDirectory[str]):  # noqa: N801  used as a function
    """A scratch folder. It is kept if an app failed in it, because it has the log."""

    def __init__(self) -> None:
        super().__init__(prefix="folkmoot-app-")

    def __enter__(self) -> Path:  # type: ignore[override]  # a path, not its text
        return Path(self.name)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Remove the folder, unless an error message names its log."""
        if isinstance(error, FolkmootError) and self.name in str(error):
            self._finalizer.detach()  # type: ignore[attr-defined]  # Python 3.11 has no public way to keep it
            return
        super().__exit__(kind, error, trace)


def run_apart(
    module: str,
    app: AppFolder,
    scratch: Path,
    words: Sequence[str],
    what: str,
    limit: StepLimit | None = None,
) -> dict[str, Any]:
    """Run a module of Folkmoot in a separate process. Its first arguments are the app's folder and the scratch folder.

    It begins in the current folder, like the processes that run the app later, so that relative paths of data work.

    The app's output goes to a log in the scratch folder. When this function returns or raises, also by Ctrl-C, the
    process and its session have ended. Call it in the main thread, like a `Supervisor`.

    Args:
        module: Module to run.
        scratch: Folder for all files that the process writes; created if it does not exist.
        words: Further arguments of the command line.
        what: Name of the step in messages and of its log, a key of `DOING`.
        limit: Time limit.

    Returns:
        The outcome of the child.

    Raises:
        FolkmootError: The step failed. Message, remedy and code come from the child.
        TaskError: The app ended its process (``app-ended``), or exceeded the limit (``app-too-slow``).
    """
    limit = limit or StepLimit()
    log = scratch / f"{what}.log"
    try:
        (scratch / WORK).mkdir(parents=True, exist_ok=True)
        (scratch / OUTCOME).unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {scratch} can't be written: {error.strerror or error}.",
            remedy="Give another folder with --home, or free some space there.",
        ) from error
    paths = [str(Path(folkmoot.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    with limit.show(DOING[what], log), Supervisor(scratch, grace=GRACE) as supervisor:
        child = supervisor.start(
            what,
            [sys.executable, "-P", "-m", module, str(app.path), str(scratch), *words],
            folder=Path.cwd(),
            expected_to_end=True,
            environment={
                "OMP_NUM_THREADS": "1",
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "FLWR_TELEMETRY_ENABLED": "0",
                "PYTHONUNBUFFERED": "1",
            },
        )
        if not supervisor.watch(lambda: not child.alive, timeout=limit.seconds, every=LOOK):
            raise _too_slow(app, what, limit.seconds, log)
    try:
        outcome = json.loads((scratch / OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TaskError(
            f"The app {app.name} ended its process during the step {what}, with status {child.process.returncode}.",
            remedy=f"Read its output in {log}.",
            code="app-ended",
        ) from None
    failed = outcome.get("error")
    if failed is None:
        return dict(outcome["found"])
    refusal = InputError(
        failed["message"], remedy=failed["remedy"].replace("{log}", str(log)), code=failed["code"]
    )
    refusal.details = dict(failed["details"])
    raise refusal


def _too_slow(app: AppFolder, what: str, limit: float, log: Path) -> TaskError:
    return TaskError(
        f"The app {app.name} did not end the step {what} ({DOING[what]}) within {limit:g} seconds, so it was ended.",
        remedy=f"Read its output in {log}: it may wait for a download, or repeat something without end. If it needs "
        f"longer, raise the limit, for example with `{LIMIT_OPTION} {2 * limit:g}`.",
        code="app-too-slow",
        details={"step": what, "seconds": limit, "log": str(log)},
    )


def finish(scratch: Path, outcome: dict[str, Any]) -> NoReturn:
    """Write the outcome, in the child, and end the process."""
    _end(scratch, {"found": outcome})


def fail(scratch: Path, error: FolkmootError) -> NoReturn:
    """Write an error as the outcome, in the child, and end the process."""
    failure = {"message": error.message, "remedy": error.remedy, "code": error.code, "details": error.details}
    _end(scratch, {"error": failure})


def _end(scratch: Path, outcome: dict[str, Any]) -> NoReturn:
    write_whole(scratch / OUTCOME, json.dumps(outcome).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def raised(app: AppFolder, error: BaseException, who: str) -> InputError:
    """Return the error for an exception of an app's own code, with file and line. The traceback goes to the log.

    Args:
        who: Component of the app that raised it, for example ``The ServerApp``.
    """
    traceback.print_exception(error)
    if isinstance(error, ModuleNotFoundError) and error.name and not _of_app(app, error.name):
        return _missing(app, error.name, who)
    text = str(error) or "no message"
    remedy = "Correct the app. The whole traceback is in {log}."
    if isinstance(error, ImportError) and error.name and not _of_app(app, error.name):
        top = error.name.partition(".")[0]
        remedy = (
            f"The app is for another version of {top}: correct the import. The whole traceback is in {{log}}."
        )
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        key = error.args[0]
        if key not in app.run_config:
            known = ", ".join(sorted(app.run_config)) or "none"
            remedy = (
                f"If {key} is a run config key: the app's keys are {known}. "
                f"If it is a key of the node config: give it by --node-config. {remedy}"
            )
    if isinstance(error, FileNotFoundError) and not Path(str(error.filename or "/")).is_absolute():
        remedy = f"Relative paths are looked up in {Path.cwd()}: give an absolute path. {remedy}"
    return InputError(
        f"{who} raised {type(error).__name__}: {_sentence(text)} Place: {place(app, error)}.",
        remedy=remedy,
        code="app-raised",
        details={"type": type(error).__name__, "place": place(app, error)},
    )


def place(app: AppFolder, error: BaseException) -> str:
    """Return file and line of the innermost frame in the app's folder; without one, where the exception was raised."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(app, error.filename)}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "unknown"
    own = [frame for frame in frames if _short(app, frame.filename) != frame.filename]
    frame = own[-1] if own else frames[-1]
    return f"{_short(app, frame.filename)}, line {frame.lineno}"


def _short(app: AppFolder, filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(app.path)) if path.is_relative_to(app.path) else filename


def _sentence(text: str) -> str:
    text = " ".join(text.split())[:500]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _of_app(app: AppFolder, module: str) -> bool:
    top = module.partition(".")[0]
    return (app.path / top).is_dir() or (app.path / f"{top}.py").exists()


def _missing(app: AppFolder, module: str, who: str) -> InputError:
    top = module.partition(".")[0]
    if top != module and importlib.util.find_spec(top) is not None:
        return InputError(
            f"{who} imports {module}, which the installed {top} does not have.",
            remedy=f"The app is for another version of {top}: correct the import. The whole traceback is in {{log}}.",
            code="app-dependency",
            details={"module": module, "missing": []},
        )
    first, lacking = app.missing(module)
    others = [text for text in lacking if text not in first]
    more = f" Not installed either: {', '.join(others)}." if others else ""
    wanted, torch = [*first, *others], _version("torch")
    note = ""
    if torch:  # Folkmoot's locked version must stay; pip then chooses a torchvision that fits it.
        tied = [text for text in wanted if distribution_of(text) in OF_TORCH]
        wanted = [distribution_of(text) if text in tied else text for text in wanted] + [f"torch=={torch}"]
        note = " The last word keeps pip from replacing the installed torch."
        if pinned := [text for text in tied if text != distribution_of(text)]:
            note = (
                f" The app asks for {', '.join(pinned)}. The command lets pip choose the version that fits the "
                f"installed torch {torch}."
            )
    quoted = " ".join(f"'{text}'" if set(text) & set("<>[]; *") else text for text in wanted)
    doubt = "".join(f"First decide whether you need it: {reason}. " for reason in app.doubts())
    return InputError(
        f"{who} imports {module}, which is not installed here.{more}",
        remedy=f"{doubt}Install it with `{sys.executable} -m pip install {quoted}`.{note}",
        code="app-dependency",
        details={"module": module, "missing": [*first, *others]},
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def load_component(app: AppFolder, reference: str, who: str) -> Any:
    """Import a component of an app, with the app's folder first on the import path.

    For an app that anchors itself, return the original component, because no coordinator exists yet.

    Raises:
        InputError: The component can't be imported, or does not exist.
    """
    if str(app.path) not in sys.path:
        sys.path.insert(0, str(app.path))
    module, _, attribute = reference.partition(":")
    try:
        loaded: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise InputError(
                f"{who} is {reference} in {app.path / PROJECT}, but there is no module {error.name}.",
                remedy="Correct [tool.flwr.app.components]. Separate module names by dots, not slashes.",
                code="app-component",
            ) from error
        raise raised(app, error, who) from error
    except BaseException as error:
        raise raised(app, error, who) from error
    try:
        for name in attribute.split("."):
            loaded = getattr(loaded, name)
    except AttributeError as error:
        raise InputError(
            f"{who} is {reference} in {app.path / PROJECT}, but the module has no {attribute}.",
            remedy="Correct [tool.flwr.app.components].",
            code="app-component",
        ) from error
    from folkmoot.flower.client_app import AnchoredClientApp
    from folkmoot.flower.relay.server_app import AnchoredServerApp

    return loaded.original if isinstance(loaded, AnchoredClientApp | AnchoredServerApp) else loaded
