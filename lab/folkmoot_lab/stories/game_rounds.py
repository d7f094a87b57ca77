# SPDX-License-Identifier: Apache-2.0
"""Rounds of a game: accounts that train in this process and submit to a real coordinator, without Flower."""

from __future__ import annotations

import functools
import time
from abc import ABC
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from folkmoot.coordinator_api import CoordinatorApi, commitment_to_wire
from folkmoot.errors import LocalError, UpdateRefused
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot_lab.stories.demo import AGAIN
from folkmoot_lab.stories.federation import StoryFederation
from folkmoot_lab.stories.game import Game

if TYPE_CHECKING:
    from folkmoot.protocol.arrays import F32

STALL_SECONDS = 120.0
"""Timeout in seconds of real time for each step of a round."""

T = TypeVar("T")


@dataclass(frozen=True)
class Update:
    """An update with its signed commitment."""

    commitment: Commitment
    """The commitment."""
    signature: bytes
    """Its contributor's signature."""
    data: bytes
    """The update's file."""


@dataclass(frozen=True)
class Opened:
    """A round that is open."""

    number: int
    """Its number."""
    header: RoundHeader
    """Its header."""
    base: State
    """The state that it starts from."""


class RoundGame(Game, ABC):
    """Plays and shows an attack on rounds."""

    def _start(self, federation: StoryFederation, rounds: int, expect: int) -> None:
        """Ask the coordinator for rounds, each with the answers of a number of contributors."""
        self.federation = federation
        self.api = CoordinatorApi(federation.api_url)
        place = self.chain.deployment
        self.domain = Domain(place.chain_id, place.ledger)
        self.manifest = Manifest.from_json(self.plan.layout.read_bytes())
        self.api.start_run(rounds, expect, self.accounts["coordinator"], self.domain)

    def _await(self, condition: Callable[[], T | None], what: str) -> T:
        """Wait until a condition holds while all processes live; return what it gives.

        Raises:
            LocalError: It does not hold in time.
        """
        end = time.monotonic() + STALL_SECONDS
        while not (found := condition()):
            self.federation.supervisor.check()
            if time.monotonic() > end:
                raise LocalError(
                    f"{what} did not happen in {STALL_SECONDS:.0f} seconds.",
                    remedy=AGAIN,
                    code="demo-stalled",
                )
            time.sleep(0.1)  # a chain is asked; what is waited for has no event of its own
        return found

    def _open(self, number: int) -> Opened:
        """Wait until a round is open."""

        def is_open() -> Opened | None:
            found = self.api.current_round()
            if found is None or found.round != number or found.phase != "open":
                return None
            base = State.from_bytes(self.api.files.read(found.base_state), self.manifest)
            return Opened(number, RoundHeader.decode(found.header), base)

        return self._await(is_open, f"the opening of round {number}")

    def _await_step(self, number: int, step: str) -> None:
        """Wait until the coordinator has led a round to a step."""
        self._await(
            lambda: self.api.get(f"/v1/rounds/{number}")["step"] == step or None, f"round {number}: {step}"
        )

    # Updates

    def _train_all(self, opened: Opened, names: Iterable[str]) -> dict[str, Update]:
        """Train an update of each account, on a share of its own of the task's data."""
        with self.console.status(f"round {opened.number}: contributors train"):
            return {name: self._update(opened, name, self._trained(opened, name)) for name in names}

    def _trained(self, opened: Opened, name: str) -> F32:
        """Return the weights after an account's training."""
        import torch

        from folkmoot.tasks.training import train_once

        model = self._task.model()
        values = opened.base.model(self.manifest)
        model.load_state_dict({key: torch.from_numpy(value) for key, value in values.items()})
        names = [*self.plan.names(), *self.attackers]
        data = self._data(names.index(name), len(names), int(self.manifest.training.get("split_seed", 0)))
        train_once(self._task, model, data, self.manifest.training, {}, opened.number)
        return self.manifest.flatten({key: value.numpy() for key, value in model.state_dict().items()})

    @functools.cached_property
    def _task(self) -> Any:
        from folkmoot.tasks import load_task

        return load_task(self.plan.task)

    @functools.cache  # noqa: B019  One game a process.
    def _data(self, partition: int, partitions: int, seed: int) -> Any:
        return self._task.load(partition, partitions, seed)

    def _update(self, opened: Opened, name: str, end: F32) -> Update:
        """Encode and sign an update of an account."""
        account, policy = self.accounts[name], self.chain.ledger.policy(opened.header.policy_id)
        encoded = encode_update(
            opened.base.to_float32(),
            end,
            opened.header.exponents,
            self.manifest,
            opened.header.seed,
            account.address,
            width=opened.header.width,
            max_sum_squares=policy.max_sum_squares,
        )
        commitment = Commitment(
            account.address,
            opened.number,
            opened.header.base_state_root,
            encoded.root,
            encoded.sum_squares,
        )
        return Update(commitment, commitment.sign(account, self.domain), encoded.data)

    def _copy(self, update: Update, name: str) -> Update:
        """Sign somebody's update as another account."""
        account = self.accounts[name]
        commitment = replace(update.commitment, contributor=account.address)
        return Update(commitment, commitment.sign(account, self.domain), update.data)

    def _submit(self, update: Update) -> str:
        """Submit an update to the coordinator; return why it is refused, empty if it is not."""
        try:
            self.api.submit_update(
                update.commitment.round, commitment_to_wire(update.commitment, update.signature), update.data
            )
        except UpdateRefused as refusal:
            return refusal.code
        return ""

    # The pool

    @contextmanager
    def _holding_blocks(self) -> Iterator[None]:
        """Let the chain make no block, so that transactions wait in the pool where everybody sees them."""
        call = self.chain.rpc.call
        call("evm_setIntervalMining", [0])
        try:
            yield
        finally:
            call("evm_setIntervalMining", [1])

    def _pooled(self, sender: str, target: str) -> dict[str, Any] | None:
        """Return a transaction of an account to a contract that waits in the pool."""
        pool = self.chain.rpc.call("txpool_content")["pending"]
        for account, waiting in pool.items():
            for transaction in waiting.values():
                wanted = (sender.lower(), target.lower())
                if (account.lower(), str(transaction["to"]).lower()) == wanted:
                    return dict(transaction)
        return None

    def _send_first(self, name: str, target: str, data: str, than: dict[str, Any]) -> str:
        """Send a transaction that a block builder puts before another one; return its hash."""
        account, w3 = self.accounts[name], self.chain.w3
        tip = 2 * int(than["maxPriorityFeePerGas"], 16) + 10**9
        fields: dict[str, Any] = {
            "to": target,
            "data": data,
            "value": 0,
            "nonce": w3.eth.get_transaction_count(account.address, "pending"),
            "gas": int(than["gas"], 16),
            "chainId": self.chain.deployment.chain_id,
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": int(than["maxFeePerGas"], 16) + 2 * tip,
        }
        signed = account.sign_transaction(fields)
        return w3.eth.send_raw_transaction(signed.raw_transaction).to_0x_hex()
