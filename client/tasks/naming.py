# SPDX-License-Identifier: Apache-2.0
"""What to say to somebody whose name of a task leads nowhere: the nearest name, or how a file is named.

It looks at names and files only, and imports nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

HOW = "name your own as package.module:object."


def is_path(name: str) -> bool:
    """Whether somebody named a file in the place of a module."""
    return name.endswith(".py") or "/" in name or "\\" in name


def remedy(reference: str, shipped: Sequence[str]) -> str:
    """What to do about a reference that names no task."""
    file, _, attribute = reference.partition(":")
    if is_path(file):
        return (
            f"A task is named by its module, not by its file: --task {_module(file)}:{attribute or 'task'}, in the "
            f"folder where {Path(file).parts[0] if file else file} is."
        )
    near = get_close_matches(reference, shipped, n=1)
    if near:
        return f"Did you mean {near[0]}? Shipped are {', '.join(shipped)}; {HOW}"
    if file and Path(f"{file.replace('.', '/')}.py").is_file():
        return f"Name the object in the module too: --task {file}:{attribute or 'task'}."
    return f"Shipped are {', '.join(shipped)}; {HOW}"


def import_remedy(module: str, error: ImportError) -> str:
    """What to do about a module that can't be imported."""
    missing = getattr(error, "name", None) or ""
    if missing and (module == missing or module.startswith(missing + ".")):
        here = sorted(path.stem for path in Path.cwd().glob("*.py"))
        near = get_close_matches(missing.partition(".")[0], here, n=1)
        if near:
            return f"Did you mean {near[0]}? Check the spelling."
        return f"Check the spelling, and start the command in the folder where {missing} is, or install its package."
    return "Install what it needs (for the shipped tasks: folkmoot[tasks])."


def attribute_remedy(module: str, attribute: str, found: object) -> str:
    """What to do about a module without such an object; ``found`` is what was reached of it."""
    names = [name for name in dir(found) if not name.startswith("_")]
    near = get_close_matches(attribute.rpartition(".")[2], names, n=1)
    if near:
        return f"Did you mean {module}:{near[0]}?"
    return "Name the task as package.module:object."


def _module(file: str) -> str:
    """The module that a file in or below the current folder is."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    parts = [part for part in path.with_suffix("").parts if part not in (path.anchor, ".", "..")]
    return path.stem if path.is_absolute() else ".".join(parts)
