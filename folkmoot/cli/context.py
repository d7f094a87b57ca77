# SPDX-License-Identifier: Apache-2.0
"""What a command is about: options that every command takes, the environment, and the file of a federation.

An option wins over the environment, and the environment over the file. Each setting has one name: ``--rpc``,
``FOLKMOOT_RPC``, and ``rpc`` in the file. The files are in the folder ``federations`` of this user's configuration;
`folkmoot federation` adds and chooses them. The options may stand before the command's name or after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from folkmoot.cli.config_file import Key, read, written
from folkmoot.errors import InputError, LocalError

FEDERATION_VARIABLE = "FOLKMOOT_FEDERATION"

NONE = "none"
"""Name that stands for no federation: only options and the environment count."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

KEYS = (
    Key(
        "rpc",
        "JSON-RPC endpoint of the chain. Give several to use the answer of a majority.",
        "URL",
        many=True,
    ),
    Key("deployment", "Addresses of the federation.", "FILE", Path),
    Key("coordinator", "The coordinator's API.", "URL"),
    Key(
        "artifacts",
        "Mirror or coordinator with the public files. Give several: they are tried in order.",
        "FOLDER_OR_URL",
        many=True,
    ),
    Key("superlink", "The coordinator's Flower SuperLink.", "HOST:PORT"),
    Key("root-certificates", "Certificates for the SuperLink's TLS. Default: the system's.", "FILE", Path),
    Key(
        "keystore", "Key file, or a folder with just one. Default: the folder of `account new`.", "PATH", Path
    ),
    Key(
        "password-file",
        "File whose first line is the password. Default: FOLKMOOT_PASSWORD, else a prompt.",
        "FILE",
        Path,
    ),
    Key(
        "confirmations",
        "Confirmations to wait for. After a reorganisation a transaction is sent again. Default: 1.",
        "N",
        int,
        least=1,
        most=1000,
    ),
    Key("private-rpc", "Send transactions to this endpoint only; read from --rpc.", "URL"),
    Key("log-format", "Form of the log: text or json.", "FORMAT"),
)
"""The settings of a federation, in the order of the help."""

BY_NAME = {key.name: key for key in KEYS}

NOUNS = {
    "rpc": "the chain's endpoint",
    "deployment": "the federation's file of addresses",
    "coordinator": "the coordinator",
    "superlink": "the SuperLink",
    "keystore": "the key file",
    "artifacts": "a place with the public files",
}
"""What is missing without a setting, in words."""


def folder() -> Path:
    """Return the folder of the files of federations."""
    from platformdirs import user_config_path

    return user_config_path("folkmoot") / "federations"


def file_of(name: str) -> Path:
    """Return the file of a federation."""
    if not NAME.fullmatch(name) or name == NONE:
        raise InputError(
            f"{name!r} can't be the name of a federation.",
            remedy=f"Use letters, digits, dots, hyphens and underscores; not the word {NONE}.",
            code="invalid-federation",
        )
    return folder() / f"{name}.toml"


def names() -> list[str]:
    """Return the names of the federations that were added."""
    return sorted(path.stem for path in folder().glob("*.toml") if NAME.fullmatch(path.stem))


def chosen() -> str:
    """Return the federation that commands use without an option, an empty text if there is none."""
    path = folder() / "current"
    try:
        return path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The file {path}, which names the federation in use, can't be read: {error}.",
            remedy="Delete it, and choose a federation with `folkmoot federation use NAME`; or give --federation.",
            code="invalid-federation",
        ) from error


def choose(name: str) -> None:
    """Let commands use a federation; none if the name is empty."""
    from folkmoot.runtime.files import write_whole

    with _writable():
        if name:
            folder().mkdir(parents=True, exist_ok=True)
            write_whole(folder() / "current", f"{name}\n".encode())
        else:
            (folder() / "current").unlink(missing_ok=True)


def save(name: str, values: Mapping[str, Any]) -> Path:
    """Write the file of a federation, which only this user can read: an endpoint's URL may have a key in it."""
    from folkmoot.runtime.files import write_whole

    path = file_of(name)
    comment = f"The federation {name}, for all commands of folkmoot. `folkmoot federation list` shows it."
    with _writable():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, written(values, comment).encode(), mode=0o600)
    return path


@contextmanager
def _writable() -> Iterator[None]:
    """Turn a failure of the folder's disk into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise LocalError(
            f"The folder {folder()} can't be written: {error.strerror}.",
            remedy="Check its permissions, or set XDG_CONFIG_HOME to another folder.",
            code="folder",
        ) from error


class Context:
    """The settings of one command."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        """Options of the command line, by name."""
        self.json = False
        """Whether the command prints JSON."""
        self._file: dict[str, Any] | None = None

    @property
    def federation(self) -> str:
        """The federation whose file counts, an empty text if there is none."""
        name = self.given.get("federation") or os.environ.get(FEDERATION_VARIABLE) or chosen()
        return "" if name == NONE else str(name)

    @property
    def file(self) -> dict[str, Any]:
        """The settings in the federation's file."""
        if self._file is None:
            name = self.federation
            known = ", ".join(names()) or "none yet"
            hint = (
                f"Federations: {known}. Add it with `folkmoot federation add {name}`, or choose another one."
            )
            self._file = read(file_of(name), KEYS, hint) if name else {}
        return self._file

    def source(self, name: str) -> str:
        """Return where a setting comes from: option, environment, file, or an empty text."""
        if name in self.given:
            return "option"
        if os.environ.get(BY_NAME[name].variable):
            return "environment"
        return "file" if name in self.file else ""

    def flag(self, name: str) -> Any:
        """Return a setting if it was given on the command line, else None."""
        return self.given.get(name)

    def find(self, name: str) -> Any:
        """Return a setting, None if there is none."""
        if name in self.given:
            return self.given[name]
        key, text = BY_NAME[name], os.environ.get(BY_NAME[name].variable)
        if text:
            return key.parse(text.split() if key.many else text, key.variable)
        return self.file.get(name)

    def need(self, name: str) -> Any:
        """Return a setting."""
        value = self.find(name)
        if value is None:
            key = BY_NAME[name]
            raise InputError(
                f"This command needs {NOUNS.get(name, name)}.",
                remedy=f"Give --{name} {key.metavar}, set {key.variable}, or add the federation once: "
                f"`folkmoot federation add NAME --{name} {key.metavar} ...`.",
                code="setting-missing",
            )
        return value

    @property
    def rpc(self) -> list[str]:
        """Endpoints of the chain."""
        endpoints: list[str] = self.need("rpc")
        return endpoints

    @property
    def deployment(self) -> Path:
        """File with the addresses of the federation; by default `deployment.json` in the current folder."""
        if self.find("deployment") is None and Path("deployment.json").exists():
            return Path("deployment.json")
        path: Path = self.need("deployment")
        return path

    @property
    def coordinator(self) -> str:
        """URL of the coordinator."""
        return str(self.need("coordinator"))

    @property
    def artifacts(self) -> list[str]:
        """Mirrors, and otherwise the coordinator."""
        places = self.find("artifacts") or [url for url in [self.find("coordinator")] if url]
        return list(places or self.need("artifacts"))

    @property
    def keystore(self) -> Path | None:
        """The key file or its folder; None for this user's folder."""
        path: Path | None = self.find("keystore")
        return path

    @property
    def password_file(self) -> Path | None:
        """File with the password. FOLKMOOT_PASSWORD wins over the one in the federation's file."""
        from folkmoot.runtime.keystore import PASSWORD_VARIABLE

        if self.source("password-file") == "file" and os.environ.get(PASSWORD_VARIABLE):
            return None
        path: Path | None = self.find("password-file")
        return path

    @property
    def confirmations(self) -> int:
        """Confirmations that a transaction needs."""
        return int(self.find("confirmations") or 1)

    @property
    def private_rpc(self) -> str | None:
        """Endpoint that transactions are sent to."""
        return self.find("private-rpc") or None


_current = Context()


def context() -> Context:
    """Return the settings of the command that runs. A process runs one command at a time."""
    return _current


def begin() -> None:
    """Forget the settings of the command before."""
    global _current
    _current = Context()


def leave_environment() -> None:
    """Let only options count, here and in the programs that this one starts: they make a federation of their own.

    The environment and the file in use may be about another one, whose endpoint or confirmations are wrong here.
    """
    for key in KEYS:
        if key.name != "log-format":
            os.environ.pop(key.variable, None)
    os.environ[FEDERATION_VARIABLE] = NONE


class GlobalOption(click.Option):
    """An option that every command takes. Its value is in the `Context`."""


def options(*, hidden: bool) -> list[click.Parameter]:
    """Return the options that every command takes."""

    def keep(_: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is None or value == () or value is False:
            return
        current, name = context(), str(parameter.opts[0])[2:]
        if name == "json":
            current.json = True
        elif name == "federation":
            current.given[name] = value
        else:
            key = BY_NAME[name]
            current.given[name] = key.parse(list(value) if key.many else value, f"--{name}")

    chosen_one = GlobalOption(
        ["--federation"],
        metavar="NAME",
        help="Use the file of this federation, or none.",
        **SHARED,
        callback=keep,
        hidden=hidden,
    )
    as_json = GlobalOption(
        ["--json"], is_flag=True, help="Print one JSON document.", **SHARED, callback=keep, hidden=hidden
    )
    return [
        chosen_one,
        *(
            GlobalOption(
                [f"--{key.name}"],
                metavar=key.metavar,
                multiple=key.many,
                help=key.help,
                type=click.IntRange(int(key.least or 0), int(key.most or 0)) if key.type is int else str,
                callback=keep,
                hidden=hidden,
                **SHARED,
            )
            for key in KEYS
        ),
        as_json,
    ]


SHARED: dict[str, Any] = {"expose_value": False}

SEE_ALSO = "Options of every command, such as --rpc, --keystore and --json: see `folkmoot --help`."


def give_options(command: click.Command) -> None:
    """Let a command, and all commands in a group, take the options that every command takes."""
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params += [option for option in options(hidden=True) if option.opts[0] not in taken]
    if isinstance(command, click.Group):
        for child in command.commands.values():
            give_options(child)
    else:
        command.epilog = SEE_ALSO
