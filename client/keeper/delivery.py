# SPDX-License-Identifier: Apache-2.0
"""Deliver the signed updates of a node: check what the training code left in the folder, and send it by HTTP.

`folkmoot join` and `folkmoot submit` use this module. It holds no key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from client.keeper.transfers import UP, Transfers
from folkmoot.coordinator_api import CoordinatorApi, commitment_from_wire, commitment_to_wire, passing
from folkmoot.errors import EncodingError, FolkmootError, InputError, UpdateRefused
from folkmoot.flower.contributor import KeptUpdate, kept_update
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import update_tree
from folkmoot.protocol.packing import file_size, unpack
from folkmoot.rpc.client import LedgerReader, Rpc
from folkmoot.rpc.quorum import open_rpc
from folkmoot.rpc.wallets import accepts
from folkmoot.runtime.backoff import Backoff, retry

TIMEOUT = 600.0
"""Timeout in seconds for the pauses between tries while the coordinator does not answer, or transfers break."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Pauses in seconds between two tries: the first and the longest."""


class Delivery:
    """Delivers the updates of one node. Several threads may use it.

    Args:
        home: The node's folder.
        account: The contributor.
        deployment: Addresses of the contracts.
        rpc: URLs of the contributor's own RPC endpoints, as `open_rpc` takes them.
        coordinator: URL of the coordinator.
        transfers: Shows the transfers.
        manifest: The model's layout, which limits what is read of the folder.
    """

    def __init__(
        self,
        home: Path,
        account: str,
        deployment: Deployment,
        rpc: str,
        coordinator: str,
        transfers: Transfers,
        manifest: Manifest,
    ) -> None:
        self._home, self._account, self._deployment, self._rpc = home, account, deployment, rpc
        self._coordinator, self._transfers, self._manifest = coordinator, transfers, manifest
        self._lock = threading.Lock()
        self._delivered: set[Commitment] = set()

    def deliver(
        self, number: int, say: Callable[[FolkmootError, float], None] = lambda error, pause: None
    ) -> None:
        """Send the update of a round, and the rest of it if the transfer breaks or the coordinator does not answer.

        Args:
            number: The round.
            say: Called with each failure that passes, and the pause in seconds before the next try.

        Raises:
            InputError: The folder has no update of the round that the signer has signed.
            UpdateRefused: The coordinator refused it.
            CoordinatorError: The coordinator gave no answer until the timeout.
        """
        with self._lock:
            kept = kept_update(self._home, number, self._manifest.size)
            if kept is None:
                raise InputError(
                    f"The node's folder has no update of round {number}.",
                    remedy="Read the log of the SuperNode.",
                    code="no-update",
                )
            commitment, signature = self._signed(kept, number)
            if commitment in self._delivered:
                return
            wire = commitment_to_wire(
                commitment, signature
            )  # The file's own text may hold more than the commitment.

            def send() -> None:
                what = f"update of round {number}"
                with CoordinatorApi(self._coordinator) as api, self._transfers.transfer(what, UP) as at:
                    api.submit_update(number, wire, kept.data, moved=at)

            retry(send, Backoff(FIRST_PAUSE, LONGEST_PAUSE, jitter=0.2), TIMEOUT, passing, say)
            self._delivered.add(commitment)

    def _signed(self, kept: KeptUpdate, number: int) -> tuple[Commitment, bytes]:
        """Return the commitment and its signature; the training code must not send other bytes than signed ones."""
        with open_rpc(self._rpc) as rpc:
            ledger = LedgerReader(rpc, self._deployment.ledger)
            width = ledger.policy(ledger.round(number).policy).width
            try:
                return signed_commitment(kept, number, self._account, self._deployment, width)
            except InputError as error:
                if error.code != "unsigned-update" or not rpc.code(self._account):
                    raise
            return signed_commitment(kept, number, self._account, self._deployment, width, rpc)


def signed_commitment(
    kept: KeptUpdate,
    round_: int,
    account: str,
    deployment: Deployment,
    width: int,
    contract: Rpc | None = None,
) -> tuple[Commitment, bytes]:
    """Return the commitment of a kept update, if the account's signer has signed it and the file is its update.

    The training code can write to the folder of kept updates, so only the signature shows that the signer has checked
    a commitment. The ledger takes this one from the account itself, without a look at the signature.

    Args:
        kept: The update.
        round_: Its round.
        account: Its contributor.
        deployment: Addresses of the contracts.
        width: Bits of an encoded coordinate in the round.
        contract: If the account is a contract, the endpoint on which it is asked whether it accepts the signature.

    Returns:
        The commitment and its signature.

    Raises:
        InputError: ``unsigned-update`` or ``damaged-update``.
    """
    try:
        commitment, signature = commitment_from_wire(kept.commitment)
        if contract is None:
            commitment.check_signature(signature, Domain(deployment.chain_id, deployment.ledger))
        elif not accepts(contract, deployment.ledger, commitment, signature, account):
            raise ValueError("The contract does not accept its signature.")
        if (commitment.round, commitment.contributor) != (round_, account):
            raise ValueError(f"It is a commitment of {commitment.contributor} in round {commitment.round}.")
    except (ValueError, InputError, UpdateRefused) as error:
        raise InputError(
            f"The kept commitment is not one that {account} has signed for round {round_}. "
            f"{error.message if isinstance(error, FolkmootError) else error}",
            remedy="Nothing was sent. Give the --home and --keystore of one node. If they are right, the training "
            "code has changed the file: leave, and tell the others.",
            code="unsigned-update",
        ) from error
    try:
        if not kept.data or len(kept.data) % file_size(1, width):
            raise ValueError(f"It has {len(kept.data)} bytes, which are no whole leaves.")
        tree = update_tree(unpack(np.frombuffer(kept.data, dtype=np.uint8), width))
        if (tree.root, tree.sum_squares) != (commitment.update_root, commitment.sum_squares):
            raise ValueError("It has another root or another sum of squares.")
    except (ValueError, EncodingError) as error:
        raise InputError(
            f"The kept file of round {round_} is not the update that was signed. "
            f"{error.message if isinstance(error, FolkmootError) else error}",
            remedy="Nothing was sent. The file was damaged or changed after it was signed, so this update is lost.",
            code="damaged-update",
        ) from error
    return commitment, signature
