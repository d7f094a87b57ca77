# SPDX-License-Identifier: Apache-2.0
"""Read the folder of a Flower app without importing its code."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from folkmoot.errors import InputError
from folkmoot.runtime.flower_internals import flatten, parse_pairs

PROJECT = "pyproject.toml"
"""File that describes a Flower app."""

MAX_NAME = 64
"""Maximum length in characters of a name in a manifest."""

DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "datasets": "datasets",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
"""Distributions of modules with another name."""

_TREES = "and an app that trains trees can't be anchored"
_NOISE = "and an app that adds noise on the server can't be anchored"
_MASKS = "and an app that masks its updates can't be anchored"
DOUBTS = {
    "xgboost": _TREES,
    "catboost": _TREES,
    "FedXgb": _TREES,
    "DifferentialPrivacy": _NOISE,
    "DPFedAvg": _NOISE,
    "SecAgg": _MASKS,
    "secagg": _MASKS,
}
"""Beginnings of imported names, and what an app that uses them is refused for."""

FORKABLE = frozenset(
    {
        "PIL",
        "datasets",
        "flwr_datasets",
        "lightning",
        "mlxtend",
        "monai",
        "pandas",
        "peft",
        "pytorch_lightning",
        "scipy",
        "sklearn",
        "torch",
        "torchvision",
        "transformers",
    }
)
"""Libraries that work in a process that was forked after their import. TensorFlow, JAX and MLX do not."""

ON_TORCH = frozenset(
    {"lightning", "monai", "peft", "pytorch_lightning", "torch", "torchvision", "transformers"}
)
"""Those of them that train with torch."""

TORCH = ("torch", "torch._dynamo")
"""Modules to import before the messages of an app that trains with torch. The first optimizer of each process imports
torch's compiler, whether it compiles or not: two seconds of the processor."""


@dataclass(frozen=True)
class AppFolder:
    """A Flower app, as its ``pyproject.toml`` describes it."""

    path: Path
    """The folder, absolute."""
    name: str
    """Name of the project."""
    serverapp: str
    """Reference to its ServerApp, ``module:attribute``."""
    clientapp: str
    """Reference to its ClientApp, ``module:attribute``."""
    run_config: Mapping[str, Any]
    """Run config: the app's defaults with the values of the command line. Nested keys are joined by dots."""
    overrides: Mapping[str, Any]
    """Values of the command line."""
    dependencies: tuple[str, ...]
    """Dependencies of the project, as in its ``pyproject.toml``."""

    @classmethod
    def read(cls, path: Path, run_config: Sequence[str] = ()) -> AppFolder:
        """Read the folder of an app.

        Args:
            run_config: Overrides as Flower's ``--run-config`` takes them: ``key=value`` pairs, or one TOML file.

        Raises:
            InputError: The folder has no Flower app, or the app does not have a key of the overrides.
        """
        path = path.expanduser().resolve()
        document = _document(path)
        app = document.get("tool", {}).get("flwr", {}).get("app")
        if not isinstance(app, dict):
            raise InputError(
                f"{path / PROJECT} describes no Flower app: it has no [tool.flwr.app].",
                remedy="Give the folder of a Flower app, like the one that `flwr new` makes.",
                code="no-app",
            )
        named = app.get("components")
        components = named if isinstance(named, dict) else {}
        for kind in ("serverapp", "clientapp"):
            reference = components.get(kind)
            if not isinstance(reference, str) or not all(reference.partition(":")):
                raise InputError(
                    f"{path / PROJECT} names no {kind} in [tool.flwr.app.components].",
                    remedy=f'Write {kind} = "package.module:app".',
                    code="no-app",
                )
        project = document.get("project", {})
        name = project.get("name") if isinstance(project, dict) else None
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
            raise InputError(
                f"{path / PROJECT} has no project name of 1 to {MAX_NAME} characters.",
                remedy="Write name, version and license under [project].",
                code="no-app",
            )
        defaults = _flat(app.get("config", {}), path)
        overrides = read_pairs(run_config, "run config")
        _check_known(overrides, defaults)
        return cls(
            path,
            name,
            components["serverapp"],
            components["clientapp"],
            {**defaults, **overrides},
            overrides,
            tuple(str(one) for one in project.get("dependencies", [])),
        )

    def with_overrides(self, overrides: Mapping[str, Any]) -> AppFolder:
        """Return the same app with other values in its run config. Only keys of the app are allowed."""
        return replace(self, run_config={**self.run_config, **overrides}, overrides=dict(overrides))

    def imports(self) -> list[str]:
        """Return the modules that the app's files import, sorted, without its own and the standard library's."""
        own = {path.stem for path in self.path.glob("*.py")} | {
            path.name for path in self.path.iterdir() if path.is_dir()
        }
        modules: set[str] = set()
        for path in sorted(self.path.rglob("*.py")):
            if not any(part.startswith(".") for part in path.relative_to(self.path).parts):
                modules.update(_imported(path))
        left_out = own | set(sys.stdlib_module_names)
        return sorted(name for name in modules if name.partition(".")[0] not in left_out)

    def preloads(self) -> list[str]:
        """Return the libraries of the app that a node may import once, before all messages."""
        names = {name for name in self.imports() if name.partition(".")[0] in FORKABLE}
        if any(name.partition(".")[0] in ON_TORCH for name in names):
            names.update(TORCH)
        return sorted(name for name in names if importlib.util.find_spec(name.partition(".")[0]) is not None)

    def doubts(self) -> list[str]:
        """Return why Folkmoot may refuse the app, as far as its source says it: a clause for each reason.

        An app may have a strategy in its source that it does not use, so this is no refusal.
        """
        reasons: dict[str, str] = {}
        for path in sorted(self.path.rglob("*.py")):
            for name in _names(path):
                for start, reason in DOUBTS.items():
                    if name.startswith(start):
                        reasons.setdefault(reason, f"{path.relative_to(self.path)} imports {name}, {reason}")
        return list(reasons.values())

    def missing(self, module: str) -> tuple[list[str], list[str]]:
        """Return the packages to install after a module could not be imported.

        Args:
            module: Name of the missing module.

        Returns:
            The module's own requirement, and those of the project's requirements that are not installed.
        """
        top = module.partition(".")[0]
        distribution = DISTRIBUTIONS.get(top, top)
        lacking = [text for text in self.dependencies if not _installed(text)]
        named = [text for text in lacking if _same(distribution_of(text), distribution)]
        variants = [text for text in lacking if _like(distribution_of(text)).startswith(f"{_like(top)}-")]
        return named or variants[:1] or [distribution], lacking


def _document(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise InputError(
            f"There is no folder {path}.", remedy="Give the folder of a Flower app.", code="no-app"
        )
    try:
        return tomllib.loads((path / PROJECT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        inside = sorted(file.parent.name for file in path.glob(f"*/{PROJECT}"))
        raise InputError(
            f"The folder {path} has no {PROJECT}, so it is not a Flower app.",
            remedy=f"Its folder {inside[0]} has one: give {path / inside[0]}."
            if inside
            else "Give the folder that you would give to `flwr run`.",
            code="no-app",
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{path / PROJECT} can't be read: {error}.", remedy="Correct the file.", code="no-app"
        ) from error


def toml_pairs(values: Mapping[str, Any]) -> str:
    """Format settings for Flower's ``--node-config`` and ``--run-config``.

    Raises:
        InputError: A string holds both kinds of quotes, or a value is of another type.
    """
    pairs = []
    for key, value in values.items():
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, int | float):
            text = repr(value)
        elif isinstance(value, str) and not ('"' in value and "'" in value) and "\n" not in value:
            text = f"'{value}'" if set(value) & {'"', "\\"} else f'"{value}"'
        else:
            raise InputError(
                f"The setting {key}={value!r} can't be written for Flower.",
                remedy="Use numbers, booleans, and strings with one kind of quotes on one line.",
            )
        pairs.append(f"{key}={text}")
    return " ".join(pairs)


def read_pairs(texts: Sequence[str], what: str) -> dict[str, Any]:
    """Parse settings as Flower does: ``key=value`` pairs, or one TOML file.

    Args:
        texts: Values of the option.
        what: Name of the settings for error messages, for example ``run config``.
    """
    import click

    given = [text for text in texts if text.strip()]
    example = f"Write it as Flower does: --{what.replace(' ', '-')} 'number=0.1 name=\"text\"'."
    try:
        pairs = parse_pairs(given) if given else {}
    except (click.ClickException, ValueError, OSError) as error:
        reason = error.message if isinstance(error, click.ClickException) else str(error)
        raise InputError(
            f"The {what} {' '.join(given)} can't be read: {reason}", remedy=example, code="run-config"
        ) from error
    if given and not pairs:
        raise InputError(
            f"The {what} {' '.join(given)} has no key=value pair.", remedy=example, code="run-config"
        )
    return pairs


def of_partition(values: Mapping[str, Any], partition: int) -> dict[str, Any]:
    """Return a node's configuration with ``{partition}`` in its texts replaced by the node's partition number.

    One option can then give each node its own data folder: ``data-path="data/part_{partition}"``.
    """
    return {
        key: value.replace("{partition}", str(partition)) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _flat(values: Any, path: Path) -> dict[str, Any]:
    try:
        return flatten(values)
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"[tool.flwr.app.config] of {path / PROJECT} can't be used: {error}",
            remedy="Use strings, numbers and booleans.",
            code="no-app",
        ) from error


def _check_known(overrides: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    for key in overrides:
        if key in defaults:
            continue
        near = difflib.get_close_matches(key, defaults, 1)
        known = ", ".join(sorted(defaults)) or "none"
        raise InputError(
            f"The app has no run config key {key!r}.",
            remedy=f"Did you mean {near[0]}? Its keys are {known}." if near else f"Its keys are {known}.",
            code="run-config",
        )


def _parsed(path: Path) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, SyntaxError):
        return  # The import itself reports this mistake.


def _names(path: Path) -> Iterator[str]:
    """Yield the modules and names that a file imports."""
    for node in _parsed(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def _imported(path: Path) -> Iterator[str]:
    for node in _parsed(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def distribution_of(requirement: str) -> str:
    """Return the name of the distribution that a requirement is for; empty if it is none."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return match.group(0) if match else ""


def _same(first: str, second: str) -> bool:
    return _like(first) == _like(second)


def _like(name: str) -> str:
    """Return the normalised name of a distribution, as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(requirement: str) -> bool:
    """Return whether a requirement is installed in any version, or does not apply to this machine."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        marker = Requirement(requirement).marker
        if marker is not None and not marker.evaluate():
            return True
        metadata.version(distribution_of(requirement))
    except (InvalidRequirement, metadata.PackageNotFoundError, ValueError):
        return False
    return True
