# SPDX-License-Identifier: Apache-2.0
"""What the next round trains from: the ledger's head, its files, and the header that follows from them.

Found from the chain's events and the store alone, so that a coordinator whose database is lost can go on.
"""

from __future__ import annotations

from dataclasses import dataclass

from folkmoot.errors import ArtifactError
from folkmoot.protocol import merkle
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Artifacts
from server.chain.indexer import by_name
from server.federation import Federation
from server.storage import Storage


@dataclass(frozen=True)
class BaseState:
    """The state that a round trains from."""

    round: int
    """Round that made it; 0 is the genesis."""
    state_root: bytes
    momentum_root: bytes
    state_sha256: str
    exponents: tuple[int, ...]
    """Exponents of a round on this base."""


def artifacts_of(storage: Storage, round_number: int) -> Artifacts | None:
    """The artifacts file that a round's anchor names; none if there is no anchor (as far as is known).

    Raises:
        ArtifactError: It is not in the store, or damaged.
    """
    with storage.database.read() as session:
        anchored = by_name(session, "RoundAnchored", str(round_number))
        if not anchored:
            return None
        digest = str(anchored[-1].arguments["anchor"]["artifactsHash"]).removeprefix("0x")
    return Artifacts.from_json(storage.store.read(storage.store.by_keccak(digest)))


def read_base(storage: Storage, federation: Federation, round_number: int, state_root: bytes) -> BaseState:
    """The files and roots of a round's outcome, checked against its state root.

    Raises:
        ArtifactError: A file is missing or damaged, or has another root.
    """
    if round_number == 0:
        sha256, exponents = federation.genesis.state, federation.genesis.exponents
    else:
        document = artifacts_of(storage, round_number)
        if document is None:
            raise ArtifactError(f"Nothing is known of the anchor of round {round_number}, the chain's head.")
        sha256, exponents = document.state, document.next_exponents
    state = State.open(storage.store.verified(sha256), federation.manifest)
    momentum_root = state.momentum_tree().root
    if merkle.state_root(federation.manifest.hash, state.theta_tree().root, momentum_root) != state_root:
        raise ArtifactError(
            f"The state file {sha256} of round {round_number} has not the state root that the chain has.",
            remedy="Replace it from a mirror.",
            code="artifact-damaged",
        )
    return BaseState(round_number, state_root, momentum_root, sha256, exponents)


def make_header(
    federation: Federation, round_number: int, base: BaseState, policy_id: int, width: int
) -> RoundHeader:
    """The header of a round (docs/protocol.md section 4)."""
    chain_id, ledger = federation.deployment.chain_id, federation.deployment.ledger
    return RoundHeader(
        round=round_number,
        manifest_hash=federation.manifest.hash,
        base_state_root=base.state_root,
        policy_id=policy_id,
        width=width,
        seed=derive_seed(chain_id, ledger, round_number, base.state_root),
        exponents=base.exponents,
    )
