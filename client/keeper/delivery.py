# SPDX-License-Identifier: Apache-2.0
"""Deliver the signed updates of a node: check what the training code left in the folder, and send it by HTTP.

`folkmoot join` and `folkmoot submit` use this module. It holds no key.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from client.keeper.transfers import UP, Transfers
from folkmoot.coordinator_api import CoordinatorApi, commitment_from_wire, commitment_to_wire, passing
from folkmoot.errors import EncodingError, FolkmootError, InputError, UpdateRefused
from folkmoot.flower.chain import AWAY
from folkmoot.flower.updates import KeptUpdate, kept_update
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.acknowledgement import Acknowledgement
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import update_tree
from folkmoot.protocol.packing import file_size, unpack
from folkmoot.rpc.client import LedgerReader, Rpc
from folkmoot.rpc.quorum import open_rpc
from folkmoot.rpc.wallets import accepts
from folkmoot.runtime.backoff import Backoff, retry
from folkmoot.runtime.files import write_whole

TIMEOUT = 3600.0
"""Timeout in seconds for the pauses between tries while the coordinator or the chain does not answer, or transfers
break. The relay waits as long for the coordinator. When it is back, it takes the update or says that it is too late."""

ACKNOWLEDGEMENTS = Path("keeper", "acknowledgements")
"""Folder of the coordinator's acknowledgements in the node's folder, where training code can't write."""

KEPT_ACKNOWLEDGEMENTS = 512
"""Rounds whose acknowledgements are kept: more than can wait for finality."""

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
        self._newest: tuple[Commitment, bytes] | None = None

    def deliver(
        self, number: int, say: Callable[[FolkmootError, float], None] = lambda error, pause: None
    ) -> None:
        """Send the update of a round, and the rest of it if the transfer breaks or the coordinator does not answer.

        Args:
            say: Called with each failure that passes, and the pause in seconds before the next try.

        Raises:
            InputError: The folder has no update of the round that the signer has signed.
            UpdateRefused: The coordinator refused it.
            CoordinatorError, RpcError: The coordinator or the chain gave no answer until the timeout.
        """
        with self._lock:
            kept = self._kept(number)

            def send() -> None:
                commitment, signature, coordinator = self._signed(kept, number)
                if commitment in self._delivered:
                    return
                # The file's own text may hold more than the commitment.
                wire, what = commitment_to_wire(commitment, signature), f"update of round {number}"
                with CoordinatorApi(self._coordinator) as api, self._transfers.transfer(what, UP) as at:
                    acknowledged = api.submit_update(number, wire, kept.data, moved=at)
                self._delivered.add(commitment)
                self._keep(commitment, coordinator, acknowledged)

            retry(
                send,
                Backoff(FIRST_PAUSE, LONGEST_PAUSE, jitter=0.2),
                TIMEOUT,
                lambda error: passing(error) or error.code in AWAY,
                say,
            )

    def signed(self, number: int) -> tuple[Commitment, bytes]:
        """Return the commitment of a round's update and its signature: the training code may remove the file later.

        Raises:
            InputError: The folder has no update of the round that the signer has signed.
            RpcError: The chain gave no answer.
        """
        newest = self._newest
        if newest is not None and newest[0].round == number:
            return newest
        commitment, signature, _ = self._signed(self._kept(number), number)
        return commitment, signature

    def _keep(self, commitment: Commitment, coordinator: str, signature: bytes | None) -> None:
        """Keep the coordinator's acknowledgement, or say that there is none."""
        why = "the coordinator has taken the update, and has not signed that it has it"
        try:
            if keep_acknowledgement(self._home, self._deployment, coordinator, commitment, signature):
                return
        except OSError as error:
            why = f"the coordinator's acknowledgement of the update can't be kept: {error.strerror}"
        detail = (
            f"Round {commitment.round}: {why}. If it leaves the update out, nothing shows that it had it."
        )
        self._transfers.say({"event": "not-acknowledged", "round": commitment.round, "detail": detail})

    def _kept(self, number: int) -> KeptUpdate:
        kept = kept_update(self._home, number, self._manifest.size)
        if kept is None:
            raise InputError(
                f"The node's folder has no update of round {number}.",
                remedy="Read the log of the SuperNode.",
                code="no-update",
            )
        return kept

    def _signed(self, kept: KeptUpdate, number: int) -> tuple[Commitment, bytes, str]:
        """Return the commitment, its signature and the round's coordinator.

        The training code must not send other bytes than signed ones.
        """
        with open_rpc(self._rpc) as rpc:
            ledger = LedgerReader(rpc, self._deployment.ledger)
            view = ledger.round(number)
            width = ledger.policy(view.policy).width
            try:
                signed = signed_commitment(kept, number, self._account, self._deployment, width)
            except InputError as error:
                if error.code != "unsigned-update" or not rpc.code(self._account):
                    raise
                signed = signed_commitment(kept, number, self._account, self._deployment, width, rpc)
        self._newest = signed
        return *signed, view.coordinator


def keep_acknowledgement(
    home: Path, deployment: Deployment, coordinator: str, commitment: Commitment, signature: bytes | None
) -> bool:
    """Keep what a coordinator has signed for an update, and remove those of old rounds.

    Args:
        home: The node's folder.
        coordinator: Account that opened the round.

    Returns:
        Whether the coordinator has signed it, and it is kept.
    """
    made = Acknowledgement(commitment, signature or b"")
    try:
        if made.signer(Domain(deployment.chain_id, deployment.ledger)) != coordinator:
            return False
    except InputError:
        return False
    folder = home / ACKNOWLEDGEMENTS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(folder / f"{commitment.round}.json", json.dumps(made.to_json(), indent=2).encode() + b"\n")
    for path in folder.glob("*.json"):
        if path.stem.isdigit() and int(path.stem) <= commitment.round - KEPT_ACKNOWLEDGEMENTS:
            path.unlink(missing_ok=True)
    return True


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
