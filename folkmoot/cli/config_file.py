# SPDX-License-Identifier: Apache-2.0
"""Files with settings, as TOML: the file of a federation, and the file of `folkmoot join`.

A file is checked against a list of its keys. An unknown key is an error that names the nearest one.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from folkmoot.errors import InputError

SECRETS = ("password", "private-key", "key", "mnemonic", "seed", "secret")
"""Names under which people put secrets into a file. No such key exists."""

KINDS = {str: "a text", Path: "a path", int: "a whole number", float: "a number", bool: "true or false"}
"""The types of values, in words."""


@dataclass(frozen=True)
class Key:
    """A key of a file."""

    name: str
    help: str
    metavar: str = "TEXT"
    type: type = str
    many: bool = False
    """Whether its value is a list."""
    default: Any = None
    least: float | None = None
    most: float | None = None

    @property
    def variable(self) -> str:
        """The environment variable of the same setting."""
        return "FOLKMOOT_" + self.name.replace("-", "_").upper()

    def parse(self, value: Any, where: str, folder: Path | None = None) -> Any:
        """Return a value of a file or of a command line, as the type that the key has."""
        if self.many:
            values = value if isinstance(value, list) else [value]
            return [self._parse_one(part, where, folder) for part in values]
        return self._parse_one(value, where, folder)

    def _parse_one(self, value: Any, where: str, folder: Path | None) -> Any:
        try:
            parsed = self._converted(value, folder)
        except (ValueError, TypeError, KeyError) as error:
            kind = KINDS[self.type]
            raise InputError(
                f"{where}: {self.name} must be {'a list, each of it ' if self.many else ''}{kind}, not {value!r}.",
                remedy=f"{self.name}: {self.help}",
                code="invalid-setting",
            ) from error
        if not isinstance(parsed, (int, float)):
            return parsed
        least, most = self.least, self.most
        if (least is not None and parsed < least) or (most is not None and parsed > most):
            limits = f"at least {least:g}" if most is None else f"{least or 0:g} to {most:g}"
            raise InputError(
                f"{where}: {self.name} must be {limits}, not {value!r}.",
                remedy=f"{self.name}: {self.help}",
                code="invalid-setting",
            )
        return parsed

    def _converted(self, value: Any, folder: Path | None) -> Any:
        if self.type is bool:
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise TypeError
        if self.type in (str, Path):
            if not isinstance(value, str) or not value:
                raise TypeError
            return value if self.type is str else (folder or Path()) / Path(value).expanduser()
        number = self.type(value)
        if isinstance(value, float) and number != value:
            raise ValueError
        return number


def read(path: Path, keys: Sequence[Key], hint: str = "") -> dict[str, Any]:
    """Read a file of settings."""
    import tomllib

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"The file {path} can't be read: {error.strerror}.", remedy=hint, code="settings-missing"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"The file {path} is not TOML: {error}.", remedy="Correct it.", code="invalid-settings"
        ) from error
    return checked(values, keys, str(path), path.absolute().parent)


def checked(
    values: Mapping[str, Any], keys: Sequence[Key], where: str, folder: Path | None = None
) -> dict[str, Any]:
    """Return settings with their types, by name."""
    by_name = {key.name: key for key in keys}
    for name in values:
        if name not in by_name:
            raise unknown(name, by_name, where)
    return {name: by_name[name].parse(value, where, folder) for name, value in values.items()}


def unknown(name: str, names: Iterable[str], where: str) -> InputError:
    """Return the error for an unknown key. It names the nearest one."""
    known = list(names)
    if name.replace("_", "-") in SECRETS:
        return InputError(
            f"{where} has the key {name}. Secrets never lie in this file.",
            remedy="Put the password into a file that only you can read, and name that file with --password-file.",
            code="unknown-setting",
        )
    (*_, nearest) = difflib.get_close_matches(name.replace("_", "-"), known, n=1, cutoff=0.5) or [""]
    guess = f"Did you mean {nearest}? " if nearest else ""
    return InputError(
        f"{where} has an unknown key: {name}.",
        remedy=f"{guess}The keys are {', '.join(known)}.",
        code="unknown-setting",
    )


def written(values: Mapping[str, Any], comment: str = "") -> str:
    """Return a file with settings."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    return "\n".join([*lines, *(f"{name} = {_toml(value)}" for name, value in values.items())]) + "\n"


def template(keys: Sequence[Key], comment: str) -> str:
    """Return a file with all keys, each with its meaning, as comments."""
    import textwrap

    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    for key in keys:
        example = key.default if key.default is not None else [key.metavar] if key.many else key.metavar
        lines += ["", *textwrap.wrap(key.help, 100, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"#{key.name} = {_toml(example)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else json.dumps(str(value), ensure_ascii=False)
