# SPDX-License-Identifier: Apache-2.0
"""Find a custom task by its name, ``module:object``, in the current folder or among the installed modules.

The errors suggest the right spelling after a file name, a missing object or a typo. This module imports no task.
"""

from __future__ import annotations

import ast
import difflib
import sys
import traceback
from pathlib import Path

from folkmoot.errors import TaskError

OBJECT = "task"
"""Usual name of the object."""


def make_importable() -> None:
    """Make modules of the current folder importable, as `python -m` does. Do nothing if they already are."""
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)


def check_spelling(reference: str, shipped: list[str]) -> None:
    """Check that a custom task is named as ``module:object``.

    Args:
        reference: Name of the task, as the user gave it.
        shipped: Names of the shipped tasks.

    Raises:
        TaskError: The name has another form. The remedy has the right spelling.
    """
    name, _, attribute = reference.partition(":")
    if name.endswith(".py") or "/" in name or "\\" in name:
        raise _a_file(reference, Path(name), attribute)
    if name and attribute:
        return
    file = Path(*name.split(".")[:-1], f"{name.rpartition('.')[2]}.py")
    if name and file.is_file():
        raise TaskError(
            f"{reference!r} names a module without the task in it.",
            remedy=f"Write --task {name}:{object_in(file)}.",
        )
    known = [*shipped, *(path.stem for path in Path().glob("*.py"))]
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    raise TaskError(
        f"There is no task {reference!r}.",
        remedy=f"{guess}Shipped tasks are {', '.join(shipped)}. Name your own as package.module:object.",
    )


def not_importable(reference: str, error: BaseException) -> TaskError:
    """Return the error for a task whose module can't be imported, with the file and line of the mistake."""
    module = reference.partition(":")[0]
    if isinstance(error, ModuleNotFoundError) and error.name and module.split(".")[0] == error.name:
        near = difflib.get_close_matches(module, [path.stem for path in Path().glob("*.py")], n=1)
        guess = f"Did you mean --task {near[0]}:{object_in(Path(near[0] + '.py'))}? " if near else ""
        return TaskError(
            f"Task {reference!r} can't be imported: there is no module {error.name!r} here or installed.",
            remedy=f"{guess}Start the command in the folder of {module.split('.')[0]}.py, or check the spelling.",
        )
    if isinstance(error, ImportError):
        return TaskError(
            f"Task {reference!r} can't be imported: {error}.",
            remedy="Install the packages that it needs (for shipped tasks: folkmoot[tasks]), and check the spelling.",
        )
    place = f"{error.filename}, line {error.lineno}" if isinstance(error, SyntaxError) else _place(error)
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return TaskError(
        f"Task {reference!r} can't be imported: {type(error).__name__}: {reason}.",
        remedy=f"Correct {place}." if place else "Correct the module.",
    )


def no_such_object(reference: str, module: str, attribute: str, there: list[str]) -> TaskError:
    """Return the error for a module that has no object of that name."""
    near = difflib.get_close_matches(attribute, there, n=1)
    right = near[0] if near else OBJECT if OBJECT in there else "OBJECT"
    return TaskError(f"Module {module} has no {attribute!r}.", remedy=f"Write --task {module}:{right}.")


def object_in(file: Path) -> str:
    """Return the name of the task object in a file: `task` if it exists, otherwise the last object with a `name`."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return OBJECT
    names = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Call)
    ]
    return OBJECT if OBJECT in names or not names else names[-1]


def _a_file(reference: str, path: Path, attribute: str) -> TaskError:
    """Return the error for a task that was named by its file."""
    if not path.is_file():
        module = ".".join(part for part in path.with_suffix("").parts if part not in (path.anchor, ".", ".."))
        return TaskError(
            f"{reference!r} is a path, but there is no such file.",
            remedy=f"Name a task by its module: --task {module}:{attribute or OBJECT} for the file {path}.",
        )
    name = attribute or object_in(path)
    inside = path.resolve().is_relative_to(Path.cwd())
    dotted = ".".join(
        path.resolve().relative_to(Path.cwd() if inside else path.resolve().parent).with_suffix("").parts
    )
    where = "" if inside else f" in the folder {path.resolve().parent}"
    return TaskError(
        f"{reference!r} is a file. Name a task by its module.",
        remedy=f"Write --task {dotted}:{name}{where}.",
    )


def _place(error: BaseException) -> str:
    """Return file and line of the innermost frame of an exception outside Python's import system."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
