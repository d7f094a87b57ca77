# SPDX-License-Identifier: Apache-2.0
"""The folder of a coordinator: the key in it, and the lock that keeps a second process out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eth_account.signers.local import LocalAccount

from folkmoot.errors import LocalError
from folkmoot.runtime import keystore, locks
from server.settings import Settings


def open_account(settings: Settings, prompt: keystore.Prompt | None = None) -> LocalAccount:
    """Unlock the coordinator's account.

    Raises:
        KeystoreError: There is no keystore or no password, or it is wrong.
    """
    password = keystore.read_password(
        password_file=settings.password_file and settings.resolve(settings.password_file),
        prompt=prompt,
        text="Password of the coordinator's keystore: ",
    )
    return keystore.load(settings.resolve(settings.keystore), password)


@contextmanager
def only_process(home: Path) -> Iterator[None]:
    """Hold the home folder: two coordinators on one database would send everything twice."""
    try:
        lock = locks.try_acquire(home / "coordinator.lock")
    except OSError as exc:
        raise LocalError(
            f"The folder {home} can't be used: {exc.strerror}.", remedy="Give another one with --home."
        ) from exc
    if lock is None:
        raise LocalError(
            f"Another coordinator is running in {home}.",
            remedy="Stop it first, or give another folder with --home.",
            code="already-running",
        )
    with lock:
        (home / "coordinator.lock").write_text(f"{os.getpid()}\n")
        yield
