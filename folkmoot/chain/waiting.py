# SPDX-License-Identifier: Apache-2.0
"""What rounds wait for: demands for data that nobody answered yet, and disputes before the voters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from folkmoot.rpc import reverts
from folkmoot.rpc.client import Phase

if TYPE_CHECKING:
    from folkmoot.chain.client import Chain

MOST_DEMANDS = 32
"""How many of the youngest demands are looked at."""

MOST_ROUNDS = 32
"""How many of the youngest anchored rounds are looked at."""

_TREES = ("update", "mean", "theta", "momentum")
_OPEN = 1
"""Open, of `IDataAvailability.Status` and of `IDisputes.Status`."""


@dataclass(frozen=True, slots=True)
class OpenDemand:
    """A demand that waits for an answer."""

    demand: int
    """Its number."""
    round: int
    """Round that it is about."""
    what: str
    """What is demanded, in words."""
    entry: int
    """Number of the entry of an update; zero for everything else."""
    level: int
    """Level of the node; zero for a leaf or file."""
    index: int
    """Index of the node within its level; zero for a file."""
    demander: str
    """Who demands."""
    answer_by: int
    """Unix time until which it can be answered."""

    @property
    def about(self) -> str:
        """What is demanded, with its place in the tree."""
        if self.what not in _TREES:
            return self.what
        at = f"leaf {self.index}" if self.level == 0 else f"node {self.index} of level {self.level}"
        return f"{at} of the {self.what}" + (f" of entry {self.entry}" if self.what == _TREES[0] else "")

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "demand": self.demand,
            "round": self.round,
            "what": self.what,
            "entry": self.entry,
            "level": self.level,
            "index": self.index,
            "demander": self.demander,
            "answerBy": self.answer_by,
        }


@dataclass(frozen=True, slots=True)
class OpenDispute:
    """A dispute that waits for a vote."""

    round: int
    """Round that it is about."""
    challenger: str
    """Who opened it."""
    decide_by: int
    """Unix time until which the round waits."""
    challengers: int
    """How many accounts have a deposit in it."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "round": self.round,
            "challenger": self.challenger,
            "decideBy": self.decide_by,
            "challengers": self.challengers,
        }


def open_demands(chain: Chain) -> list[OpenDemand]:
    """Return the open demands among the youngest `MOST_DEMANDS` about rounds that can still be voided, by number."""
    functions = chain.data_availability.functions
    count = int(chain.read(functions.demandCount()))
    words = reverts.ENUMS["IDataAvailability.What"]
    demands = []
    for number in range(max(1, count - MOST_DEMANDS + 1), count + 1):
        about, answer_by, what, status, entry, _, level, index, demander, _ = chain.read(
            functions.demands(number)
        )
        if status == _OPEN and chain.ledger.round(about).phase == Phase.ANCHORED:
            demands.append(OpenDemand(number, about, words[what], entry, level, index, demander, answer_by))
    return demands


def open_disputes(chain: Chain) -> list[OpenDispute]:
    """Return the open disputes about the youngest `MOST_ROUNDS` rounds that can still be voided, the youngest first."""
    number, disputes = chain.ledger.head().round, []
    for _ in range(MOST_ROUNDS):
        view = chain.ledger.round(number)
        if view.phase != Phase.ANCHORED:
            break
        challenger, decide_by, status, _, challengers = chain.read(chain.disputes.functions.disputes(number))
        if status == _OPEN:
            disputes.append(OpenDispute(number, challenger, decide_by, challengers))
        number = view.base
    return disputes
