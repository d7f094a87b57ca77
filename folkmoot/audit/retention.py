# SPDX-License-Identifier: Apache-2.0
"""Which files may be missing at the audited block (docs/protocol.md sections 12.1 to 12.3)."""

from __future__ import annotations

from bisect import bisect_right
from enum import StrEnum

from folkmoot.artifacts.retention import Retention
from folkmoot.audit.history import History
from folkmoot.audit.ledger_state import Ledger, Round
from folkmoot.rpc.client import Phase

_OVER = frozenset({Phase.FINAL, Phase.CANCELLED, Phase.SLASHED})


class Expired(StrEnum):
    """Why a round was not recomputed."""

    RETENTION = "retention"
    """Update files were deleted after the time that the voters set."""
    WISH = "wish"
    """Update files were deleted because their contributors wanted it."""
    WINDOW = "window"
    """Its rule compares its updates with those of earlier rounds, of which files were deleted."""


class Retentions:
    """The retention of each round.

    Args:
        history: The history.
        ledger: The replayed rounds.
    """

    def __init__(self, history: History, ledger: Ledger) -> None:
        self._unbonding = history.storage.unbonding_period
        self._finals = sorted(n for n, one in ledger.rounds.items() if one.phase is Phase.FINAL)

    def of(self, replayed: Round) -> Retention:
        """Return what the deletion of a round's files depends on."""
        return Retention(
            replayed.number,
            replayed.phase in _OVER,
            replayed.opened_at + self._unbonding,
            len(self._finals) - bisect_right(self._finals, replayed.number),
            replayed.policy.retain_rounds,
        )
