# SPDX-License-Identifier: Apache-2.0
"""A chain that behaves as badly as a public one: it makes its own blocks and reorganises.

Anvil under another chain id, so that the coordinator treats it as a stranger's chain: no clock that it may move,
windows that it has to wait for, transactions that count only at depth. Time stands almost still between the steps of
the story, so that a slow machine is never late.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import RpcError
from folkmoot.rpc.local_chain import FUNDS

CHAIN_ID = 31338
"""Not that of a local chain."""
KEPT_STATES = 2_000
"""Number of newest blocks whose state can be read: a story may take so many back."""
BLOCK_SECONDS = 0.25
"""Seconds on the wall between blocks."""
BLOCKS_PER_SECOND = 8
"""Blocks after which the chain's clock has gone on by a second."""


class OtherAnvil(Anvil):
    """An Anvil that does not say that it is local."""

    def __init__(self) -> None:
        super().__init__(chain_id=CHAIN_ID, kept_states=KEPT_STATES)

    def fund(self, address: str, wei: int = FUNDS) -> None:
        """Set a balance."""
        self.call("anvil_setBalance", address, hex(wei))

    def advance(self, seconds: int) -> int:
        """Move the clock and make a block."""
        self.call("evm_increaseTime", seconds)
        self.call("evm_mine")
        return int(self.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)


class Miner:
    """Makes blocks, moves the chain's clock and takes blocks back."""

    def __init__(self, anvil: Anvil) -> None:
        self.anvil = anvil
        self.base_fee: int | None = None
        """Wei for a unit of gas in every block, if it is not left to the chain."""
        self._leapt_to = 0
        self._calm = False
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="miner", daemon=True)

    def __enter__(self) -> Miner:
        self.anvil.call("evm_setAutomine", False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def latest(self) -> tuple[int, int]:
        """Number and time of the newest block."""
        block = self.anvil.call("eth_getBlockByNumber", "latest", False)
        return int(block["number"], 16), int(block["timestamp"], 16)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """No blocks meanwhile."""
        with self._lock:
            yield

    @contextmanager
    def calm(self) -> Iterator[None]:
        """No reorgs meanwhile."""
        with self._lock:
            self._calm = True
        try:
            yield
        finally:
            self._calm = False

    def move_clock(self, to: int) -> None:
        """Make a block at a time, if the chain is not there yet."""
        with self._lock:
            if self.latest()[1] < to:
                self._mine(to)
                self._leapt_to = to

    def reorg(self, depth: int) -> list[dict[str, Any]] | None:
        """Replace the newest blocks by empty ones; what was in them is lost. The clock does not go back.

        Returns:
            The transactions that were in them; None if somebody holds the chain, or there are to be no reorgs.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self._calm:
                return None
            newest = self.latest()[0]
            numbers = range(newest - depth + 1, newest + 1)
            blocks = [self.anvil.call("eth_getBlockByNumber", hex(number), True) for number in numbers]
            self.anvil.call("anvil_reorg", depth, [])
            if self.latest()[1] < self._leapt_to:
                self._mine(self._leapt_to)
            return [transaction for block in blocks for transaction in block["transactions"]]
        finally:
            self._lock.release()

    def mine(self) -> int:
        """Make a block now; return its number."""
        with self._lock:
            number, now = self.latest()
            self._mine(now)
        return number + 1

    def take_back(self, block: int, *, clock: bool = False) -> None:
        """Replace a block and all above it by empty ones, as the story wants it.

        Args:
            block: Number of the block.
            clock: Whether the time goes back, too, to just after the block before it.
        """
        with self._lock:
            newest = self.latest()[0]
            before = int(self.anvil.call("eth_getBlockByNumber", hex(block - 1), False)["timestamp"], 16)
            self.anvil.call("anvil_reorg", newest - block + 1, [])
            if clock:
                self._leapt_to = before
            elif self.latest()[1] < self._leapt_to:
                self._mine(self._leapt_to)

    def newest(self, count: int) -> list[dict[str, Any]]:
        """Transactions of the newest blocks."""
        number = self.latest()[0]
        blocks = [
            self.anvil.call("eth_getBlockByNumber", hex(n), True)
            for n in range(number - count + 1, number + 1)
        ]
        return [transaction for block in blocks for transaction in block["transactions"]]

    def _run(self) -> None:
        while not self._stop.wait(BLOCK_SECONDS):
            with self._lock, suppress(RpcError):
                number, now = self.latest()
                self._mine(now + (number % BLOCKS_PER_SECOND == 0))

    def _mine(self, timestamp: int) -> None:
        if self.base_fee is not None:
            self.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(self.base_fee))
        self.anvil.call("evm_setNextBlockTimestamp", timestamp)
        self.anvil.call("evm_mine")
