# SPDX-License-Identifier: Apache-2.0
"""Compare several RPC endpoints: all must give the same answers, otherwise the differing one is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from folkmoot.audit.failure import Subject, mismatch, shown
from folkmoot.audit.history import History, Storage
from folkmoot.ledger.events import Event

_CHECK = "endpoints"
_REMEDY = "One of the endpoints is lying or faulty: add a third one, preferably your own node."


def compare_histories(urls: Sequence[str], histories: Sequence[History]) -> None:
    """Compare the histories of endpoints at the same block.

    With three or more, those that differ from the majority are named. With two, it is unknown which one is right.

    Args:
        urls: URLs of the endpoints.
        histories: History of each endpoint.

    Raises:
        AuditFailure: An endpoint differs from the others.
    """
    agreeing = [sum(not any(differences(mine, other)) for other in histories) for mine in histories]
    reference = agreeing.index(max(agreeing))
    for url, history in zip(urls, histories, strict=True):
        for what, expected, found in differences(histories[reference], history):
            raise mismatch(
                Subject(check=_CHECK),
                f"{what} at {url}",
                f"{shown(expected)}, as {urls[reference]} says",
                found,
                remedy=_REMEDY,
            )


def differences(one: History, other: History) -> Iterator[tuple[str, object, object]]:
    """Yield the differences of two histories, the most significant first: name and both values."""
    if one.head != other.head:
        yield f"block {one.head.number}", one.head.hash, other.head.hash
    for mine, theirs in zip_longest(one.events, other.events):
        if mine != theirs:
            yield from _event_difference(mine, theirs)
            return  # The following events are only shifted.
    if one.times != other.times:
        yield "the block times", one.times, other.times
    for name in Storage.__dataclass_fields__:
        mine, theirs = getattr(one.storage, name), getattr(other.storage, name)
        if mine != theirs:
            yield f"the stored {name.replace('_', ' ')}", mine, theirs


def _event_difference(one: Event | None, other: Event | None) -> Iterator[tuple[str, object, object]]:
    found = one or other
    assert found is not None  # noqa: S101  # they differ, so one of them exists
    where = f"event {found.log_index} of block {found.block}"
    if one is None or other is None or one.name != other.name:
        yield where, one.name if one else None, other.name if other else None
        return
    for name in type(one).__dataclass_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            transaction = f"({one.name} in transaction 0x{one.transaction.hex()})"
            yield f"the {name.replace('_', ' ')} of {where} {transaction}", mine, theirs
