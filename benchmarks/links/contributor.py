# SPDX-License-Identifier: Apache-2.0
"""One contributor of Folkmoot, without training: the way of the bytes is the real one.

    python -m benchmarks.links.contributor FOLDER NUMBER COORDINATOR RPC DEVICE

Reads a line a measurement on standard input, ``now TIMES`` or ``before TIMES``, plays so many rounds, and answers with
a line of JSON: the seconds and the bytes of one. ``now`` gets the base from the keeper and lets it deliver the update,
as a node does. ``before`` gets theta as int64 from the coordinator, as each round's Flower message once carried it.
The update is noise; it has the size of a trained one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Self

import httpx
import numpy as np
from eth_account.signers.local import LocalAccount

from benchmarks.links.counters import device_bytes, since
from client.keeper import KEEPER_FOLDER, Keeper
from client.kept_states import STATE
from client.transfers import Transfers
from folkmoot.coordinator_api import CoordinatorApi, CurrentRound, commitment_to_wire
from folkmoot.flower.contributor import Contributor, KeptUpdate, keep_update
from folkmoot.flower.keeping import base_theta, deliver
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.fixed_point import to_float32
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import MAGIC, State

NOW, BEFORE = "now", "before"
MODES = (NOW, BEFORE)

_PAUSE = 0.5
"""Seconds between two looks for the next round: those of a node that had a message in the last two minutes."""
_NOISE = 2.0**-10
"""Deviation of the update's noise."""


@dataclass(frozen=True)
class Played:
    """What a round took."""

    base: float
    """Seconds from the round's opening to the base."""
    sent: float
    """Seconds to send the update, until the coordinator has answered."""
    whole: float
    """Seconds from the end of the round before to the answer: both, the chain, and the coordinator's work."""


class Player:
    """Plays rounds with an account; a context manager.

    Args:
        contributor: Its configuration; its keeper runs.
        manifest: The model's layout.
        account: The account that signs.
    """

    def __init__(self, contributor: Contributor, manifest: Manifest, account: LocalAccount) -> None:
        self._contributor, self._manifest, self._account = contributor, manifest, account
        self._api = CoordinatorApi(contributor.coordinator, timeout=3600)
        deployment = Deployment.from_json(contributor.deployment)
        self._domain = Domain(deployment.chain_id, deployment.ledger)
        self._last = 0
        self._ended = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def play(self, mode: str) -> Played:
        """Play the next round.

        Raises:
            FolkmootError: Something failed.
        """
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
        based = time.monotonic()
        start = to_float32(theta)
        noise = np.random.default_rng([header.round, self._contributor.partition])
        end = start - self._manifest.flatten(
            {
                tensor.name: noise.normal(scale=_NOISE, size=tensor.shape).astype(np.float32)
                for tensor in self._manifest.tensors
            }
        )
        update = encode_update(
            start,
            end,
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
        if mode == NOW:
            keep_update(
                self._contributor.home, header.round, KeptUpdate(header.hash.hex(), wire, update.data)
            )
            deliver(self._contributor.keeper, header.round)
        else:
            self._api.submit_update(header.round, wire, update.data)
        before, self._ended, self._last = self._ended, time.monotonic(), header.round
        return Played(based - opened, self._ended - sending, self._ended - before)

    def _theta(self, current: CurrentRound, size: int) -> I64:
        first = len(MAGIC)
        answer = httpx.get(
            f"{self._contributor.coordinator}/v1/artifacts/{current.base_state}",
            headers={"Range": f"bytes={first}-{first + 8 * size - 1}"},
            timeout=3600,
        )
        answer.raise_for_status()
        return np.frombuffer(answer.content, dtype="<i8").astype(np.int64)


def measured(player: Player, mode: str, times: int, count: Callable[[], dict[str, int]]) -> dict[str, float]:
    """Play some rounds; return the means of seconds and bytes of one."""
    before = count()
    played = [player.play(mode) for _ in range(times)]
    return {
        "baseSeconds": fmean(one.base for one in played),
        "sendSeconds": fmean(one.sent for one in played),
        "roundSeconds": fmean(one.whole for one in played),
        **{name: value / times for name, value in since(before, count()).items()},
    }


def main() -> None:
    """Play what the input says until it ends."""
    from benchmarks.growth.federation import contributor as account_of

    folder, number, coordinator, rpc, device = sys.argv[1:]
    genesis_files = Path(folder) / "genesis"
    manifest = Manifest.from_json((genesis_files / "manifest.json").read_bytes())
    genesis = Genesis.from_json((genesis_files / "genesis.json").read_bytes())
    deployment = Deployment.load(Path(folder) / "coordinator" / "deployment.json")
    home = Path(folder) / f"contributor-{number}"
    # It has the first state already, as one who has been there for a round has: what is measured is the steady state.
    (home / KEEPER_FOLDER).mkdir(parents=True)
    state = (genesis_files / "state.bin").read_bytes()
    root = State.from_bytes(state, manifest).root(manifest.hash)
    (home / KEEPER_FOLDER / f"{root.hex()}{STATE}").write_bytes(state)
    account = account_of(int(number))
    contributor = Contributor(
        home, rpc, coordinator, deployment.to_json(), account.address, manifest.task, int(number), 1
    )
    contributor.save()
    keeper = Keeper(contributor, manifest, genesis, (), Transfers(bar=False))
    with keeper, Player(contributor, manifest, account) as player:
        print("{}", flush=True)
        for line in sys.stdin:
            mode, times = line.split()
            print(json.dumps(measured(player, mode, int(times), lambda: device_bytes(device))), flush=True)


if __name__ == "__main__":
    main()
