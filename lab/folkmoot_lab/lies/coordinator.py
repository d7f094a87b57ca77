# SPDX-License-Identifier: Apache-2.0
"""The coordinator that lies: subclasses of the product's, each of which changes what its lie needs.

In every other round, and for every other kind of lie, each does what its base does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from folkmoot.errors import InputError, UpdateRefused
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.updates import FileUpdate
from folkmoot.protocol.verdict import Reason
from folkmoot.rpc.client import Rpc
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot_lab.lies import FALSE_OUTCOME, Kind, Lie
from folkmoot_lab.lies.outcome import falsify
from server.api.parts import AppState
from server.coordinator import Coordinator
from server.db.models import Artifact, ChainEvent, Round
from server.intake.intake import Arrival, Intake
from server.rounds.answers import Answers
from server.rounds.challenge_window import ChallengeWindow
from server.rounds.commit_window import CommitWindow, Seen
from server.rounds.engine import Engine
from server.rounds.inputs import Deliveries, gather
from server.rounds.outcome import Outcome, keep
from server.waiting import Progress, Why, wait
from server.worker import Worker


def require_anvil(chain_id: int, rpc: Rpc) -> None:
    """Make sure that a lie is told only where it costs nobody anything.

    Raises:
        InputError: The chain is not a local Anvil (`lie-not-local`).
    """
    client = str(rpc.call("web3_clientVersion"))
    if chain_id != LOCAL_CHAIN_ID or not client.lower().startswith("anvil"):
        raise InputError(
            f"The coordinator that lies is for a local Anvil only; this is chain {chain_id}, {client}.",
            remedy="Start the honest one: `folkmoot coordinator serve`.",
            code="lie-not-local",
        )


@dataclass(frozen=True)
class LyingCoordinator(Coordinator):
    """A coordinator that tells one lie."""

    lie: Lie = field(kw_only=True)

    @classmethod
    def of(cls, honest: Coordinator, lie: Lie) -> LyingCoordinator:
        """Return a coordinator with the parts of an honest one, which is not to be used any more."""
        return cls(**_parts(honest), lie=lie)

    def check_chain(self) -> None:
        """Make sure that the endpoint serves the right chain, and that it is a local Anvil.

        Raises:
            RpcError: As for a coordinator.
            FolkmootError: It is the wrong chain, or no local Anvil.
        """
        super().check_chain()
        require_anvil(self.chain.chain_id, self.chain.rpc)

    def make_engine(self, wake: Callable[[], None]) -> Engine:
        """Make an engine that lies."""
        return LyingEngine(self, wake)

    def make_intake(self) -> Intake:
        """Make an intake that lies."""
        return LyingIntake(self)

    def make_state(self, worker: Worker) -> AppState:
        """Make what the routes work with, without the files that are withheld."""
        return LyingState(**_parts(super().make_state(worker)), lie=self.lie)


class LyingIntake(Intake):
    """Takes an update with a false norm from a colluding contributor, or nothing from the round's first one."""

    def __init__(self, parts: LyingCoordinator) -> None:
        made = parts.storage.database, parts.chain, parts.federation, parts.metrics, parts.account
        super().__init__(*made)
        self._lie = parts.lie
        self._censored: dict[int, str] = {}

    def begin(self, number: int, commitment: Commitment, signature: bytes) -> Arrival:
        """Check a submission; refuse that of whoever comes first with a false reason."""
        if self._lie.told(Kind.CENSOR, number):
            first = self._censored.setdefault(number, commitment.contributor)
            if first == commitment.contributor:
                raise UpdateRefused(
                    f"Round {number} has no place left.",
                    code=str(Reason.ROUND_FULL),
                    remedy="Take part in the next round.",
                )
        return super().begin(number, commitment, signature)

    def check_file(self, arrival: Arrival, update: FileUpdate) -> None:
        """Check the bytes of an update; overlook a false norm."""
        try:
            super().check_file(arrival, update)
        except UpdateRefused as refusal:
            if refusal.code != Reason.WRONG_NORM or not self._lie.told(Kind.NORM, arrival.round):
                raise


@dataclass
class LyingState(AppState):
    """Knows nothing of the updates of a round that is withheld."""

    lie: Lie = field(kw_only=True)

    def artifact(self, sha256: str) -> Artifact | None:
        """Return the row of a file that is not withheld."""
        row = super().artifact(sha256)
        hidden = row is not None and row.kind == "update" and self.lie.told(Kind.WITHHOLD, row.round)
        return None if hidden else row


class LyingEngine(Engine):
    """Leads the round of a lie in another way, and anchors a false outcome."""

    def __init__(self, parts: LyingCoordinator, wake: Callable[[], None]) -> None:
        super().__init__(parts.settings, parts.federation, parts.chain, parts.storage, parts.metrics, wake)
        self._lie = parts.lie
        self._commit_window = LyingCommitWindow(parts)
        self._deliveries = LyingDeliveries(parts)
        self._challenge_window = LyingChallengeWindow(parts)
        self._answers = LyingAnswers(parts)

    def compute(self, number: int, policy: Policy) -> Outcome:
        """Compute a round, and change what comes out."""
        if number != self._lie.round or self._lie.kind not in FALSE_OUTCOME:
            return super().compute(number, policy)
        store = self._storage.store
        inputs = gather(self._storage, self._manifest, policy, number)
        with store.writer() as mean:
            outcome, packed = falsify(
                self._lie.kind, inputs, inputs.compute(mean_sink=mean, folder=mean.path.parent)
            )
        return keep(store, outcome, store.put(packed))


class LyingCommitWindow(CommitWindow):
    """Leaves the whole window to whoever is censored or left out, as a chain whose clock nobody moves would.

    Records nobody's commitment but those of friends, if others are left out.
    """

    def __init__(self, parts: LyingCoordinator) -> None:
        super().__init__(parts.storage.database, parts.chain, parts.settings.commit_margin)
        self._lie = parts.lie

    def _look(self, round_: Round) -> Seen:
        seen = super()._look(round_)
        if not self._lie.told(Kind.LEFT_OUT, round_.number):
            return seen
        known = seen.on_chain.union(self._lie.friends)
        return replace(seen, pending=[update for update in seen.pending if update.contributor in known])

    def _skip_window(self, round_: Round) -> bool:
        patient = any(self._lie.told(kind, round_.number) for kind in (Kind.CENSOR, Kind.LEFT_OUT))
        return not patient and super()._skip_window(round_)

    def _end_window(self, number: int) -> bool:
        return not self._lie.told(Kind.CENSOR, number) and super()._end_window(number)


class LyingDeliveries(Deliveries):
    """Takes nothing from the chain in the round in which somebody is censored."""

    def __init__(self, parts: LyingCoordinator) -> None:
        super().__init__(parts.storage, parts.federation.manifest)
        self._lie = parts.lie

    def take(self, round_: Round) -> bool:
        """Take in what nobody censored."""
        return not self._lie.told(Kind.CENSOR, round_.number) and super().take(round_)


class LyingChallengeWindow(ChallengeWindow):
    """Leaves the whole window to watchers in the round of the lie, unless what is anchored is true."""

    def __init__(self, parts: LyingCoordinator) -> None:
        super().__init__(parts.storage.database, parts.chain, parts.settings.time_travel_after)
        self._lie = parts.lie

    def _may_travel(self, number: int) -> bool:
        patient = number == self._lie.round and self._lie.kind is not Kind.LEFT_OUT
        return not patient and super()._may_travel(number)


class LyingAnswers(Answers):
    """Answers no demand for the data of a round that is withheld."""

    def __init__(self, parts: LyingCoordinator) -> None:
        super().__init__(parts.storage, parts.chain, parts.federation)
        self._lie = parts.lie

    def _answer(self, event: ChainEvent) -> Progress:
        demand, number = int(event.arguments["demand"]), int(event.arguments["round"])
        if self._lie.told(Kind.WITHHOLD, number):
            return wait(Why.DEMAND_RETRIED, number, demand=demand)  # This is not true either.
        return super()._answer(event)


def _parts(made: Coordinator | AppState) -> dict[str, Any]:
    return {part.name: getattr(made, part.name) for part in fields(made)}
