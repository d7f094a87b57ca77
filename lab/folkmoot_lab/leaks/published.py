# SPDX-License-Identifier: Apache-2.0
"""Read what a running federation has published of one contributor, and attack it.

The chain says which files belong to a round; their hashes are checked. Nothing is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.inventory import Commitments
from folkmoot.artifacts.sources import EXPIRED, ArtifactSource
from folkmoot.artifacts.states import RebuildingSource, fetch_state
from folkmoot.errors import ArtifactError, InputError
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Artifacts
from folkmoot.rpc.client import LedgerReader, Rpc
from folkmoot.tasks import Data, Task, root
from folkmoot_lab.leaks import inversion, membership
from folkmoot_lab.leaks.learner import Learner, canaries, joined, pick
from folkmoot_lab.leaks.measures import Interval, Separation, separation, share
from folkmoot_lab.leaks.rounds import decoded

MOST_CANDIDATES = 200
"""Most records of a group on the attacker's list."""


@dataclass(frozen=True, eq=False)
class OwnRound:
    """A round with an update of the contributor."""

    number: int
    """Its number."""
    base: F32
    """float32[size], the weights that it trained from."""
    exponents: tuple[int, ...]
    """One a tensor."""
    update: F32
    """float32[size], start minus end."""


@dataclass(frozen=True)
class Own:
    """What a contributor has published."""

    account: str
    """The contributor's account."""
    manifest: Manifest
    """The federation's manifest."""
    rounds: tuple[OwnRound, ...] = field(repr=False)
    """Rounds with an update of the account that is still there, ascending."""
    deleted: tuple[int, ...] = ()
    """Rounds whose update of the account was deleted by rule or by wish."""


@dataclass(frozen=True)
class OwnFinding:
    """What a contributor's published updates give away."""

    account: str
    """The account."""
    rounds: tuple[int, ...]
    """Rounds with an update of the account that is still there."""
    deleted: tuple[int, ...]
    """Rounds whose update of the account was deleted by rule or by wish: it is not attacked."""
    records: int
    """Records that the contributor has now."""
    unseen: Separation | None
    """The contributor's own records against records of the task that nobody trains on; None if there are none."""
    canaries: Separation
    """The contributor's own records against the same with wrong labels, which nobody trained on."""
    found: Interval | None
    """Share of the own records that inversion found; None if the model has no dense layer first."""

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "account": self.account,
            "rounds": list(self.rounds),
            "deleted": list(self.deleted),
            "records": self.records,
            "unseen": None if self.unseen is None else self.unseen.to_json(),
            "canaries": self.canaries.to_json(),
            "inverted": None if self.found is None else self.found.to_json(),
        }


def read_own(rpc: Rpc, deployment: Deployment, source: ArtifactSource, account: str) -> Own:
    """Read all updates of an account in anchored rounds that are not deleted.

    Args:
        rpc: An endpoint. It is trusted.
        deployment: Addresses of the contracts.
        source: Where the files are. It is not trusted.
        account: The contributor's account.

    Raises:
        InputError: The account has published no update that is still there (``no-updates``).
        ArtifactError: A file is missing or damaged.
        RpcError: The endpoint failed.
    """
    ledger = LedgerReader(rpc, deployment.ledger)
    federation = Federation.open(deployment, source, ledger)
    genesis, manifest = federation.genesis, federation.manifest
    commitments = Commitments(rpc, deployment)
    commitments.look()
    places = {
        number: place
        for number in commitments.rounds
        for place, contributor in enumerate(commitments.contributors(number))
        if contributor.lower() == account.lower()
    }
    deleted: list[int] = []
    with RebuildingSource(source) as states:
        rounds = [
            found
            for number, place in places.items()
            if (found := _own_round(commitments, states, genesis, manifest, number, place, deleted))
        ]
    if not rounds:
        raise InputError(
            f"The account {account} has no update in an anchored round that is still there ({len(deleted)} deleted).",
            remedy="Check --account, --deployment and --artifacts; `folkmoot status` lists the rounds.",
            code="no-updates",
        )
    return Own(account, manifest, tuple(rounds), tuple(deleted))


def _own_round(
    commitments: Commitments,
    states: RebuildingSource,
    genesis: Genesis,
    manifest: Manifest,
    number: int,
    place: int,
    deleted: list[int],
) -> OwnRound | None:
    """Read the entry at a place of a round; None if its update was not delivered, or is deleted.

    If it is deleted, the number of the round is added to ``deleted``.
    """
    anchored = commitments.rounds[number]
    artifacts = Artifacts.from_json(states.document(anchored.artifacts_hash.hex()))
    header = RoundHeader.decode(artifacts.header)
    exponents = tuple(header.exponents)
    if place >= len(artifacts.updates) or len(exponents) != len(manifest.tensors):
        raise ArtifactError(
            f"The files of round {number} do not fit the federation: too few updates or exponents are listed.",
            remedy="Run `folkmoot audit`: the coordinator has anchored a wrong list.",
        )
    sha256 = artifacts.updates[place]
    if sha256 is None:
        return None
    try:
        data = states.fetch(sha256, manifest.update_file_size(header.width)).read_bytes()
    except ArtifactError as error:
        if error.code != EXPIRED and not (error.code == "artifact-missing" and number in commitments.free()):
            raise
        deleted.append(number)
        return None
    if anchored.base:
        path = fetch_state(states, commitments, manifest, anchored.base)
    else:
        path = states.fetch(genesis.state, manifest.state_file_size)
    base = State.open(path, manifest).to_float32()
    states.discard(artifacts.base_state)
    return OwnRound(number, base, exponents, decoded(data, manifest, exponents, header.width))


def attack_own(task: Task, own: Own, data: Data, seed: int) -> OwnFinding:
    """Attack a contributor's published updates with its own data as the truth.

    Args:
        task: The federation's task.
        own: What the contributor has published.
        data: The contributor's records.
        seed: Chooses candidates and wrong labels.

    Raises:
        InputError: The task is not the federation's (``wrong-task``).
    """
    learner = Learner(task, own.manifest.training)
    if learner.manifest.layout != own.manifest.layout or task.name != own.manifest.task:
        raise InputError(
            f"The federation trains {own.manifest.task!r}, and the model of the task {task.name!r} is another one.",
            remedy="Give the federation's task.",
            code="wrong-task",
        )
    rng = np.random.default_rng([seed, 3])
    mine = pick(data, rng.permutation(len(data))[:MOST_CANDIDATES])
    unseen = _unseen(task)
    groups = [mine, canaries(mine, learner, rng)]
    if unseen is not None:
        groups.append(pick(unseen, rng.permutation(len(unseen))[:MOST_CANDIDATES]))
    seen = [(one.base, one.update) for one in own.rounds]
    found = membership.scores(learner, seen, joined(*groups))
    ends = np.cumsum([len(group) for group in groups])
    parts = np.split(found, ends[:-1])
    return OwnFinding(
        own.account,
        tuple(one.number for one in own.rounds),
        own.deleted,
        len(data),
        separation(parts[0], parts[2], rng) if unseen is not None else None,
        separation(parts[0], parts[1], rng),
        _inverted(learner, own.rounds, data),
    )


def _unseen(task: Task) -> Data | None:
    """Return the task's root set, on which no contributor trains; None if it has none."""
    loaded = root.load(task, "good", 0) if root.has_sets(task) else None
    return loaded if isinstance(loaded, Data) and len(loaded) else None


def _inverted(learner: Learner, rounds: Sequence[OwnRound], data: Data) -> Interval | None:
    """Return the share of the records that are found in any round."""
    dense = inversion.dense_layer(learner, data)
    if dense is None:
        return None
    name, inputs = dense
    records = inputs.numpy()
    hit = np.zeros(len(records), dtype=bool)
    for one in rounds:
        rebuilt = inversion.closed_form(learner, name, one.update, one.exponents)
        hit |= np.array([match.found for match in inversion.matches(records, rebuilt, records)])
    return share(int(hit.sum()), len(records))
