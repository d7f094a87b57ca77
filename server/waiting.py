# SPDX-License-Identifier: Apache-2.0
"""What keeps the coordinator from going on, and what ends it: one table of reasons.

A step of the state machine returns `DONE` or a `Waiting`, so that a step that forgets its reason has the wrong type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum, auto
from string import Formatter
from typing import Final, Literal

LAST = 253_402_300_799
"""The last second of a calendar. Contracts may hold later times."""


class Why(StrEnum):
    """Stable codes of what is waited for."""

    # Of a run.
    NO_RUN = "no-run"
    NOT_ANCHORED = "not-anchored"
    CLOCK_TO_MOVE = "clock-to-move"
    NODES = "nodes"
    CANCELLED_ROUNDS = "cancelled-rounds"
    BOND_LOCKED = "bond-locked"
    BOND_TOO_LOW = "bond-too-low"
    BOND_OF_VOID = "bond-of-void"
    TOO_MANY_PENDING = "too-many-pending"
    INTERVAL = "interval"
    OPENING_REFUSED = "opening-refused"
    # Of a round.
    UPDATES = "updates"
    ENROLLED = "enrolled"
    NOT_COMMITTED = "not-committed"
    TO_BE_CANCELLED = "to-be-cancelled"
    DELIVERY = "delivery"
    COMPUTING = "computing"
    STUCK = "stuck"
    CANARY = "canary"
    WITHHELD = "withheld"
    ANCHOR_REFUSED = "anchor-refused"
    CHALLENGES = "challenges"
    BASE_NOT_FINAL = "base-not-final"
    FINAL_REFUSED = "final-refused"
    REWARDS_REFUSED = "rewards-refused"
    WINDOW_OPEN = "window-open"
    CANCEL_REFUSED = "cancel-refused"
    CONFIRMATIONS = "confirmations"
    EVENTS = "events"
    NO_TRANSACTION = "no-transaction"
    # Of a demand for data.
    DEMAND_LATE = "demand-late"
    DEMAND_UNANSWERABLE = "demand-unanswerable"
    DEMAND_RETRIED = "demand-retried"
    # Of a transaction.
    TRANSACTION = "transaction"
    QUEUED = "queued"
    IN_POOL = "in-pool"
    NOT_MINED = "not-mined"
    MINED = "mined"
    NOT_TAKEN = "not-taken"
    FEES = "fees"
    REPLACEMENT_FEES = "replacement-fees"
    # Of everything.
    LOOK_FAILED = "look-failed"


@dataclass(frozen=True)
class Reason:
    """What is told of a reason. `{until}` is when it ends; other fields are the arguments of `wait`."""

    text: str
    remedy: str = ""
    normal: bool = False
    """Whether it belongs to every round and ends by itself: shown where somebody looks, and no warning."""


_UNTIL = "{until:%Y-%m-%d %H:%M:%S} UTC"

REASONS: Mapping[Why, Reason] = {
    Why.NO_RUN: Reason("No run is under way.", "Start one with `folkmoot train`.", normal=True),
    Why.NOT_ANCHORED: Reason(
        "The next round opens once round {round} is anchored or cancelled.", normal=True
    ),
    Why.CLOCK_TO_MOVE: Reason(
        "The next round opens once round {before} is final: this coordinator moves the chain's clock, which would "
        "close an open round.",
        normal=True,
    ),
    Why.NODES: Reason(
        "Waiting for {expect} nodes to connect: the first round opens once they are there, at {until:%H:%M:%S} UTC at "
        "the latest.",
        "Start nodes with `folkmoot join`.",
    ),
    Why.CANCELLED_ROUNDS: Reason(
        "Waiting until {until:%H:%M:%S} UTC for the next round: {cancelled} cancelled."
    ),
    Why.BOND_LOCKED: Reason(
        "The next round can't open: a round needs a bond of {bond}, and of the coordinator's stake of {stake}, "
        "{locked} are locked as bonds. Round {held_by} is final at the earliest at "
        + _UNTIL
        + ", and then frees "
        "its bond.",
        "To go on sooner, stake {missing} more: `folkmoot enrol --only-stake {amount} --keystore ...` with the "
        "coordinator's key.",
    ),
    Why.BOND_TOO_LOW: Reason(
        "The next round can't open: a round needs a bond of {bond}, and the coordinator {account} has {stake} at "
        "stake.",
        "The run goes on once {missing} more are at stake: `folkmoot enrol --only-stake {amount} --keystore ...` "
        "with the "
        "coordinator's key.",
    ),
    Why.BOND_OF_VOID: Reason(
        "The next round can't open: a round needs a bond of {bond}, and of the coordinator's stake of {stake}, "
        "{locked} are locked as bonds, also of void rounds.",
        "Release those with `folkmoot close` (`folkmoot doctor` names them), or stake {missing} more: "
        "`folkmoot enrol --only-stake {amount} --keystore ...` with the coordinator's key.",
    ),
    Why.TOO_MANY_PENDING: Reason(
        "The next round can't open: {pending} anchored rounds are not final, and the ledger takes {most}.",
        "Anybody may make those final whose challenge window is over: `folkmoot close`.",
    ),
    Why.INTERVAL: Reason(
        "The next round can open at "
        + _UNTIL
        + ": the policy's interval from one opening to the next is {interval}, and round {base} was opened at "
        "{opened}.",
    ),
    Why.OPENING_REFUSED: Reason(
        "The chain refused to open round {round}, and it is tried again: {problem}", "{remedy}"
    ),
    Why.UPDATES: Reason(
        "Round {round} takes updates until "
        + _UNTIL
        + ": {answered} of {expect} expected contributors have answered, "
        "{entries} commitments are on the chain.",
        normal=True,
    ),
    Why.ENROLLED: Reason(
        "Round {round} takes updates until "
        + _UNTIL
        + ", or until all enrolled accounts have committed one: "
        "{answered} of {expect} expected contributors have answered, {entries} commitments are on the chain.",
        normal=True,
    ),
    Why.NOT_COMMITTED: Reason(
        "Commitments of round {round} are not sent yet: who has a place can be told once all events are read.",
        normal=True,
    ),
    Why.TO_BE_CANCELLED: Reason(
        "Round {round} will be cancelled once its window is over, at " + _UNTIL + ": {problem}"
    ),
    Why.DELIVERY: Reason(
        "Round {round} waits until "
        + _UNTIL
        + " for update files that are committed and have not arrived: {missing}.",
        normal=True,
    ),
    Why.COMPUTING: Reason("The outcome of round {round} is being computed.", normal=True),
    Why.STUCK: Reason("Round {round} does not go on: {problem}"),
    Why.CANARY: Reason("Round {round} waits until " + _UNTIL + " for the canary's report.", normal=True),
    Why.WITHHELD: Reason(
        "Round {round} is withheld, and is cancelled at " + _UNTIL + ": {problem}",
        "To anchor it: `folkmoot close {round} --anchor`.",
    ),
    Why.ANCHOR_REFUSED: Reason(
        "The chain refused the anchor of round {round}, and it is tried again: {problem}", "{remedy}"
    ),
    Why.CHALLENGES: Reason("Round {round} can be challenged until " + _UNTIL + ".", normal=True),
    Why.BASE_NOT_FINAL: Reason(
        "Round {round} becomes final after round {base}, on which it builds.", normal=True
    ),
    Why.FINAL_REFUSED: Reason(
        "The chain refused to make round {round} final, and it is tried again: {problem}", "{remedy}"
    ),
    Why.REWARDS_REFUSED: Reason(
        "The chain refused to credit the rewards of round {round}: {problem}", "{remedy}"
    ),
    Why.WINDOW_OPEN: Reason(
        "Round {round} is cancelled once the chain allows it, at " + _UNTIL + ": its window still runs.",
        normal=True,
    ),
    Why.CANCEL_REFUSED: Reason(
        "The chain refused to cancel round {round}, and it is tried again: {problem}", "{remedy}"
    ),
    Why.CONFIRMATIONS: Reason(
        "Round {round} waits until what the chain says of it has {confirmations} confirmations.", normal=True
    ),
    Why.EVENTS: Reason("Round {round} waits until all of its events are read from the chain.", normal=True),
    Why.NO_TRANSACTION: Reason(
        "Round {round} is at the step {step}, and there is no transaction that would end it.",
        "Stop the coordinator, and rebuild it from the chain: `folkmoot coordinator rebuild`.",
    ),
    Why.DEMAND_LATE: Reason(
        "Demand {demand} of round {round} was not answered in time, and the bond can be taken."
    ),
    Why.DEMAND_UNANSWERABLE: Reason(
        "Demand {demand} of round {round} can't be answered: {problem}",
        "Put the file back before "
        + _UNTIL
        + ", the bond hangs on it: `folkmoot coordinator rebuild files --mirror ...`.",
    ),
    Why.DEMAND_RETRIED: Reason("The answer to demand {demand} of round {round} is tried again in a moment."),
    Why.TRANSACTION: Reason("Transaction {purpose} is on its way to the chain.", normal=True),
    Why.QUEUED: Reason("Transaction {purpose} is signed and sent at the next look.", normal=True),
    Why.IN_POOL: Reason("Transaction {purpose} is sent, and in no block yet.", normal=True),
    Why.NOT_MINED: Reason(
        "Transaction {purpose} was sent at {sent}, with {fee} gwei a unit of gas, and is in no block yet.",
        "It is sent again at each look. Look for {hash} at another endpoint of the chain.",
    ),
    Why.MINED: Reason(
        "Transaction {purpose} has {depth} of the {confirmations} confirmations that it needs.", normal=True
    ),
    Why.NOT_TAKEN: Reason("Transaction {purpose} is not taken: {problem}", "{remedy}"),
    Why.FEES: Reason(
        "Transaction {purpose} waits: the base fee is {base_fee} gwei a unit of gas, and max_fee_gwei allows "
        "{max_fee}.",
        "Raise it, or wait for the fees to fall.",
    ),
    Why.REPLACEMENT_FEES: Reason(
        "Transaction {purpose} waits with {fee} gwei a unit of gas, and more than max_fee_gwei = {max_fee} would be "
        "needed to replace it (base fee {base_fee}, tip {tip}).",
        "Raise max_fee_gwei, or wait for the fees to fall.",
    ),
    Why.LOOK_FAILED: Reason("{problem}"),
}
"""What is told of each code."""


STOPS_ALL = (Why.NOT_MINED, Why.NOT_TAKEN, Why.FEES, Why.REPLACEMENT_FEES)
"""Of a transaction of any round: those after it have later nonces, and wait for it."""

_PATH = re.compile(r"sqlite:/+[^\s']+|(?<![\w:/.>])/(?!v1/)[\w.@+~-]+(?:/[\w.@+~-]+)*")


def without_paths(text: str) -> str:
    """Return a text without paths of this machine, as everybody may read it; paths of the API and URLs stay."""
    return _PATH.sub("<path>", text)


class _Done(Enum):
    DONE = auto()


DONE: Final = _Done.DONE
"""A step did something: looking again at once makes sense."""


@dataclass(frozen=True)
class Waiting:
    """A step did nothing, and why. Made by `wait`."""

    why: Why
    round: int | None
    until: int | None
    """Unix time at which it ends by itself; None if nobody knows."""
    message: str
    """What is waited for, a sentence or two."""
    remedy: str
    """What ends it, or ends it sooner; empty if nothing is to be done."""

    @property
    def normal(self) -> bool:
        """Whether it belongs to every round."""
        return REASONS[self.why].normal

    @property
    def sentence(self) -> str:
        """Message and remedy."""
        return f"{self.message} {self.remedy}".strip()


Progress = Literal[_Done.DONE] | Waiting
"""What a step of the state machine returns."""


def wait(why: Why, round_: int | None = None, until: int | None = None, **data: str | int) -> Waiting:
    """Say what is waited for.

    Args:
        why: The reason.
        round_: The round that waits, if it is one.
        until: Unix time at which it ends by itself.
        data: What the reason's sentences name.
    """
    reason = REASONS[why]
    clock = datetime.fromtimestamp(min(until or 0, LAST), UTC)
    message, remedy = (
        without_paths(text.format(round=round_, until=clock, **data)).strip()
        for text in (reason.text, reason.remedy)
    )
    return Waiting(why, round_, until, message, remedy)


def fields_of(why: Why) -> set[str]:
    """Return the names of the values that a reason's sentences need."""
    reason = REASONS[why]
    return {
        name for text in (reason.text, reason.remedy) for _, name, _, _ in Formatter().parse(text) if name
    }
