# SPDX-License-Identifier: Apache-2.0
"""Encrypted key files (Web3 Secret Storage, scrypt) and where their passwords come from.

A private key is never written in clear, and a password is never taken from a command line. Knows nothing of the chain.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.errors import InputError, KeystoreError
from folkmoot.protocol.hashing import parse_json
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import write_new

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

PASSWORD_VARIABLE = "FOLKMOOT_PASSWORD"  # noqa: S105  the name of a variable, not a password
"""Environment variable that may hold the password."""

SCRYPT_WORK = 2**18
"""Work factor of scrypt, the value that clients use for keys of worth (about a second and 256 MiB)."""

MAX_SCRYPT_MEMORY = 2**31
"""Bytes of memory that opening a key file may take."""

MAX_SCRYPT_PASSES = 16
"""Times that opening a key file may go through that memory (scrypt's ``p``): half a minute or so."""

MAX_PBKDF2_ROUNDS = 10_000_000
"""Rounds of PBKDF2 that opening a key file may take; clients use up to a million."""

MIN_PASSWORD = 8
"""Fewest characters of a new password."""

Prompt = Callable[[str], str]
"""Asks a person for a password, showing the given text."""


@dataclass(frozen=True, slots=True)
class KeystoreFile:
    """A key file in a folder, without its key."""

    path: Path
    address: str
    """Account, checksummed."""


def read_password(
    *,
    password_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    prompt: Prompt | None = None,
    text: str = "Password: ",
) -> str:
    """Return a password from the first source that is there: file, `FOLKMOOT_PASSWORD`, prompt.

    Args:
        password_file: File whose first line is the password.
        environment: Environment to look in; that of the process if left out.
        prompt: How to ask a person, or None if nobody can be asked.
        text: What to show when asking.

    Raises:
        KeystoreError: no source is there, or the file can't be read or is empty.
    """
    if password_file is not None:
        try:
            lines = password_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise KeystoreError(
                f"The password file {password_file} can't be read: {reason}.",
                remedy="Give a readable text file whose first line is the password.",
                code="password-missing",
            ) from error
        if not lines or not lines[0]:
            raise KeystoreError(
                f"The password file {password_file} is empty.",
                remedy="Put the password on its first line.",
                code="password-missing",
            )
        return lines[0]
    values = os.environ if environment is None else environment
    if PASSWORD_VARIABLE in values:
        return values[PASSWORD_VARIABLE]
    if prompt is None:
        raise KeystoreError(
            "No password was given and nobody can be asked for one.",
            remedy=f"Give --password-file, or set {PASSWORD_VARIABLE}.",
            code="password-missing",
        )
    return prompt(text)


def create(
    path: Path, password: str, *, private_key: bytes | None = None, work: int = SCRYPT_WORK
) -> KeystoreFile:
    """Write a new key file with mode 0600; an existing file is never overwritten.

    Args:
        path: File to write, or an existing folder: the file is then called `<address>.json`.
        password: Password of the file, at least `MIN_PASSWORD` characters.
        private_key: 32 bytes to keep; a random key if left out.
        work: Work factor of scrypt, a power of two. Lower ones are for tests.

    Raises:
        KeystoreError: the password is too short, or the file is there already or can't be written.
    """
    from eth_account import Account

    if len(password) < MIN_PASSWORD:
        raise KeystoreError(
            f"The password has {len(password)} characters.",
            remedy=f"Choose one of at least {MIN_PASSWORD}.",
            code="password-too-short",
        )
    account = Account.from_key(private_key if private_key is not None else secrets.token_bytes(32))
    if path.is_dir():
        path = path / f"{account.address}.json"
    document = Account.encrypt(account.key, password, kdf="scrypt", iterations=work)
    data = (json.dumps(document, indent=2) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fault_point("account.key-written.before")
        write_new(path, data, mode=0o600)  # a key that is already there is never lost
        fault_point("account.key-written.after")
    except FileExistsError as error:
        raise KeystoreError(
            f"There is already a file {path}.",
            remedy="Choose another name; a key file is never overwritten.",
            code="keystore-exists",
        ) from error
    except OSError as error:
        raise KeystoreError(
            f"The key file {path} can't be written: {error.strerror}.", remedy="Choose another place."
        ) from error
    return KeystoreFile(path, account.address)


def address_of(path: Path) -> str:
    """Return the checksummed account of a key file without opening it.

    Raises:
        KeystoreError: the file is missing or damaged, or does not name its account.
    """
    from eth_utils.address import is_address, to_checksum_address

    address = _read(path).get("address")
    if not isinstance(address, str) or not is_address(_prefixed(address)):
        raise _damaged(path, "it names no account")
    return to_checksum_address(_prefixed(address))


def load(path: Path, password: str) -> LocalAccount:
    """Open a key file and return its account.

    Raises:
        KeystoreError: the file is missing or damaged, or the password is wrong.
    """
    from eth_account import Account

    document = _read(path)
    _check_work(path, document)
    try:
        key = Account.decrypt(document, password)
    except ValueError as error:
        if "MAC" in str(error):
            raise KeystoreError(
                f"The password of the key file {path} is wrong.",
                remedy="Try again; a lost password can't be recovered.",
                code="wrong-password",
            ) from error
        raise _damaged(path, str(error)) from error
    # What eth-keyfile raises where a file is not as it expects: it indexes, calls and asserts before it checks.
    except (KeyError, TypeError, NotImplementedError, AttributeError, AssertionError) as error:
        raise _damaged(path, f"{type(error).__name__} {error}") from error
    account: LocalAccount = Account.from_key(key)
    if "address" in document and address_of(path) != account.address:
        raise _damaged(path, f"it names {address_of(path)} and holds the key of {account.address}")
    return account


def files_in(folder: Path) -> list[KeystoreFile]:
    """List the key files in a folder, by name; other files are passed over."""
    if not folder.is_dir():
        raise KeystoreError(
            f"There is no folder {folder}.",
            remedy="Create a key with `folkmoot account new`.",
            code="keystore-missing",
        )
    files = []
    for path in sorted(folder.glob("*.json")):
        try:
            files.append(KeystoreFile(path, address_of(path)))
        except KeystoreError:
            continue  # deployment files and the like live in the same folders
    return files


def _read(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise KeystoreError(
            f"There is no key file {path}.",
            remedy="Give --keystore (or FOLKMOOT_KEYSTORE), or create a key with `folkmoot account new`.",
            code="keystore-missing",
        ) from error
    except OSError as error:
        raise KeystoreError(
            f"The key file {path} can't be read: {error.strerror}.",
            remedy="Check its path and its permissions.",
            code="keystore-missing",
        ) from error
    except InputError as error:
        raise _damaged(path, "it is not JSON") from error
    document = _lower(document)  # as eth-keyfile does: what is checked must be what is used
    if not isinstance(document, dict) or not isinstance(document.get("crypto"), dict):
        raise _damaged(path, "it is not an encrypted key")
    return document


def _lower(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name.lower(): _lower(one) for name, one in value.items()}


def _check_work(path: Path, document: dict[str, Any]) -> None:
    """Refuse parameters with which opening the file would take all memory, or no end of time."""
    crypto: dict[str, Any] = document["crypto"]
    parameters = crypto.get("kdfparams")
    if document.get("version") != 3:
        raise _damaged(path, f"it is of version {document.get('version')!r}, not 3")
    if not isinstance(parameters, dict):
        raise _damaged(path, "it has no parameters for its password")

    def number(name: str, most: int) -> int:
        value = parameters.get(name)
        if type(value) is not int or not 1 <= value <= most:
            raise _damaged(path, f"its {name} is not an integer from 1 to {most}")
        return value

    number("dklen", 1 << 10)
    if crypto.get("kdf") == "scrypt":
        memory = 128 * number("n", 1 << 62) * number("r", 1 << 62)
        number("p", MAX_SCRYPT_PASSES)
        if memory > MAX_SCRYPT_MEMORY:
            raise _damaged(path, f"opening it would take {memory} bytes of memory")
    else:
        number("c", MAX_PBKDF2_ROUNDS)


def _prefixed(address: str) -> str:
    return address if address.startswith("0x") else f"0x{address}"


def _damaged(path: Path, reason: str) -> KeystoreError:
    return KeystoreError(
        f"The key file {path} is damaged: {reason}.",
        remedy="Restore it from a backup.",
        code="keystore-damaged",
    )
