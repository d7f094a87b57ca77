# SPDX-License-Identifier: Apache-2.0
"""One contributor of Folkmoot, without Flower: training and the way of the bytes are the real ones.

    python -m benchmarks.links.contributor FOLDER NUMBER CONTRIBUTORS COORDINATOR RPC DEVICE

Reads ``base MODE``, ``train`` and ``send`` on standard input, in turn, and answers each with a line of JSON; that of
``send`` has the seconds and the bytes of the round. In the mode ``now`` it gets the base from the keeper and lets it
deliver the update, as a node does. In the mode ``before`` it gets theta as int64 from the coordinator, as each round's
Flower message once carried it. Training is not part of the seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import httpx
import numpy as np
import torch
from eth_account.signers.local import LocalAccount

from benchmarks.links.counters import device_bytes, since
from benchmarks.links.models import task_of
from client.keeper.keeper import KEEPER_FOLDER, Keeper
from client.keeper.kept import KeptStates
from client.keeper.transfers import Transfers
from folkmoot.coordinator_api import CoordinatorApi, CurrentRound, commitment_to_wire
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.keeping import base_theta, deliver
from folkmoot.flower.updates import KeptUpdate, keep_update
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.arrays import F32, I64
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.fixed_point import to_float32
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import MAGIC, State
from folkmoot.tasks.memory import Memory
from folkmoot.tasks.text.task import TextTask

NOW, BEFORE = "now", "before"
"""How a round's bytes travel."""

_PAUSE = 0.5
"""Seconds between two looks for the next round: those of a node that had a message in the last two minutes."""


Train = Callable[[F32, int], F32]
"""Trains in a round: start and round to end, both float32[256 n]."""


@dataclass(frozen=True)
class Played:
    """What a round took, in seconds."""

    base: float
    """From the round's opening to the base."""
    sent: float
    """To send the update, until the coordinator has answered."""
    whole: float
    """From the end of the round before to the answer, without training: both, the chain, the coordinator's work."""


class Player:
    """Plays rounds with an account; a context manager. Call `base`, `train` and `send` in turn.

    Args:
        contributor: Its configuration; its keeper runs.
        manifest: The model's layout.
        account: The account that signs.
        training: Trains.
    """

    def __init__(
        self, contributor: Contributor, manifest: Manifest, account: LocalAccount, training: Train
    ) -> None:
        self._contributor, self._manifest, self._account = contributor, manifest, account
        self._training = training
        self._api = CoordinatorApi(contributor.coordinator, timeout=3600)
        deployment = Deployment.from_json(contributor.deployment)
        self._domain = Domain(deployment.chain_id, deployment.ledger)
        self._last = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def base(self, mode: str) -> None:
        """Wait for the next round and get its base.

        Raises:
            FolkmootError: Something failed.
        """
        began = time.monotonic()
        while (current := self._api.current_round()) is None or current.round == self._last:
            time.sleep(_PAUSE)  # a node looks so too: the looks are part of what the line carries
        opened = time.monotonic()
        header = RoundHeader.decode(current.header)
        size = self._manifest.size
        theta = (
            base_theta(self._contributor.keeper, header.round, size)
            if mode == NOW
            else self._theta(current, size)
        )
        self._mode, self._last, self._start = mode, header.round, to_float32(theta)
        self._header, self._opened, self._based = header, opened - began, time.monotonic() - opened

    def train(self) -> None:
        """Train from the base."""
        self._end = self._training(self._start, self._last)

    def send(self) -> Played:
        """Encode, sign and send the update.

        Raises:
            FolkmootError: Something failed.
        """
        began, header = time.monotonic(), self._header
        update = encode_update(
            self._start,
            self._end,
            header.exponents,
            self._manifest,
            header.seed,
            self._account.address,
            width=header.width,
        )
        made = Commitment(
            self._account.address, header.round, header.base_state_root, update.root, update.sum_squares
        )
        wire = commitment_to_wire(made, made.sign(self._account, self._domain))
        sending = time.monotonic()
        if self._mode == NOW:
            keep_update(
                self._contributor.home, header.round, KeptUpdate(header.hash.hex(), wire, update.data)
            )
            deliver(self._contributor.keeper, header.round)
        else:
            self._api.submit_update(header.round, wire, update.data)
        ended = time.monotonic()
        return Played(self._based, ended - sending, self._opened + self._based + ended - began)

    def _theta(self, current: CurrentRound, size: int) -> I64:
        first = len(MAGIC)
        answer = httpx.get(
            f"{self._contributor.coordinator}/v1/artifacts/{current.base_state}",
            headers={"Range": f"bytes={first}-{first + 8 * size - 1}"},
            timeout=3600,
        )
        answer.raise_for_status()
        return np.frombuffer(answer.content, dtype="<i8").astype(np.int64)


def trained_by(task: TextTask, manifest: Manifest, partition: int, partitions: int) -> Train:
    """Return a training of the task on one contributor's texts, which keeps the optimiser's state."""
    torch.set_num_threads(1)
    model, data = task.model(), task.load(partition, partitions, 0)
    memory: Memory = {}

    def train(start: F32, number: int) -> F32:
        arrays = manifest.unflatten(start, dtypes=True)
        model.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
        task.train(model, data, {**task.training, "round": number}, memory)
        return manifest.flatten({name: value.numpy() for name, value in model.state_dict().items()})

    return train


def main() -> None:
    """Play what the input says until it ends."""
    from benchmarks.growth.federation import contributor as account_of

    folder, number, contributors, coordinator, rpc, device = sys.argv[1:]
    genesis_files = Path(folder) / "genesis"
    manifest = Manifest.from_json((genesis_files / "manifest.json").read_bytes())
    genesis = Genesis.from_json((genesis_files / "genesis.json").read_bytes())
    deployment = Deployment.load(Path(folder) / "coordinator" / "deployment.json")
    home = Path(folder) / f"contributor-{number}"
    # It has the first state already, as one who has been there for a round has: what is measured is the steady state.
    kept = KeptStates(home / KEEPER_FOLDER, manifest)
    state = State.open(genesis_files / "state.bin", manifest)
    kept.link(state.root(manifest.hash).hex(), kept.put_chunks(state.chunks()).sha256)
    account = account_of(int(number))
    contributor = Contributor(
        home, rpc, coordinator, deployment.to_json(), account.address, manifest.task, int(number), 1
    )
    contributor.save()
    training = trained_by(task_of(manifest.task), manifest, int(number), int(contributors))
    keeper = Keeper(contributor, manifest, genesis, (), Transfers(bar=False))
    with keeper, Player(contributor, manifest, account, training) as player:
        print("{}", flush=True)
        before = device_bytes(device)
        for line in sys.stdin:
            part, _, mode = line.strip().partition(" ")
            answer: dict[str, float] = {}
            if part == "base":
                before = device_bytes(device)
                player.base(mode)
            elif part == "train":
                player.train()
            else:
                played = player.send()
                answer = {**asdict(played), **since(before, device_bytes(device))}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
