# SPDX-License-Identifier: Apache-2.0
"""Check the registry: the versions are exactly the final rounds, with the right parents and roots."""

from __future__ import annotations

from folkmoot.audit.failure import Subject, require
from folkmoot.audit.history import History, VersionView
from folkmoot.audit.ledger_state import Ledger
from folkmoot.ledger.events import VersionActivated, VersionRegistered

_CHECK = "registry"


def check_registry(history: History, ledger: Ledger) -> tuple[int, bytes] | None:
    """Check the lineage of versions and the active version.

    `governance` checks that an activation was voted for.

    Returns:
        The active version and the hash of its report; None before the first vote.

    Raises:
        AuditFailure: A version is not a final round, or the active version differs.
    """
    expected: dict[int, VersionView] = {}
    active: tuple[int, bytes] | None = None
    for event in history.events:
        subject = Subject(check=_CHECK, round=getattr(event, "version", None), event=event)
        if isinstance(event, VersionRegistered):
            _check_version(ledger, subject, event)
            require(subject, "an earlier registration", None, expected.get(event.version))
            expected[event.version] = VersionView(event.parent, history.time(event), event.state_root)
        elif isinstance(event, VersionActivated):
            require(subject, "a version that exists", True, event.version in expected)
            active = (event.version, event.report_hash)
    final = {0, *(number for number, replayed in ledger.rounds.items() if replayed.finalized)}
    subject = Subject(check=_CHECK)
    require(subject, "the registered versions", final, set(expected))
    for number, version in expected.items():
        of_version = Subject(check=_CHECK, round=number)
        require(of_version, "the stored version", version, history.storage.versions.get(number))
    require(subject, "the stored versions", set(expected), set(history.storage.versions))
    require(subject, "the active version", active, history.storage.active)
    return active


def _check_version(ledger: Ledger, subject: Subject, event: VersionRegistered) -> None:
    if event.version == 0:
        parent, root, transaction = 0, ledger.genesis_root, event.transaction
    else:
        replayed = ledger.rounds.get(event.version)
        finalized = replayed.finalized if replayed else None
        require(subject, "a final round", True, finalized is not None)
        assert replayed is not None  # noqa: S101  # checked by the previous call
        assert finalized is not None  # noqa: S101  # checked by the previous call
        parent, root, transaction = replayed.base, finalized.state_root, finalized.transaction
    require(subject, "the parent of the version", parent, event.parent)
    require(subject, "the state root of the version", root, event.state_root)
    require(subject, "the transaction of the registration", transaction, event.transaction)
