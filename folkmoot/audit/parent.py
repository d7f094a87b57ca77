# SPDX-License-Identifier: Apache-2.0
"""Check the link between a federation and the one that it came from, from either side."""

from __future__ import annotations

from typing import Any

from folkmoot.audit.failure import Subject, mismatch
from folkmoot.errors import AuditFailure, ContractRefused, RpcError
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.parent import Parent
from folkmoot.protocol.state import State
from folkmoot.rpc.client import LedgerReader, RegistryReader, Rpc
from folkmoot.rpc.reverts import ENUMS

PARENT = Subject(check="parent")
FALSE_PARENT = (
    "Repeat it with another endpoint of the parent's chain. If that says the same, the manifest names a parent that "
    "the federation does not have: do not join it for that parent's sake."
)


def check_first_state(parent: Parent, state: State) -> None:
    """Check that a first state is the one of the version that the manifest names. Needs no chain.

    Raises:
        AuditFailure: It is another one.
    """
    what = f"the first state's root with the manifest of its parent ({parent})"
    _require(what, parent.state_root, state.root(parent.manifest_hash))


def check_parent(rpc: Rpc, parent: Parent) -> str:
    """Check that a parent's chain has the version that a manifest names.

    Args:
        rpc: An endpoint of the parent's chain. It is trusted.

    Returns:
        What votes made of the version, in a word: candidate, released or recalled.

    Raises:
        AuditFailure: It is another chain, or has no such version, or another one.
        RpcError: The endpoint failed.
    """
    block = rpc.block_at(parent.block)
    _require("the parent's chain", parent.chain_id, rpc.chain_id())
    _require(
        f"block {parent.block} of the parent's chain", "0x" + parent.block_hash.hex(), block and block.hash
    )
    ledger = LedgerReader(rpc, parent.ledger)
    try:
        _require("the hash of the parent's manifest", parent.manifest_hash, ledger.manifest_hash())
        registry = RegistryReader(rpc, ledger.read("registry"))
        root, standing = registry.version(parent.version).state_root, registry.standing(parent.version)
    except (ContractRefused, RpcError) as error:
        if error.code not in ("contract-refused", "wrong-contract"):
            raise
        raise _false("the parent", parent, error.message) from error
    _require(f"the root of the parent's version {parent.version}", parent.state_root, root)
    return ENUMS["IModelRegistry.Standing"][standing]


def check_child(rpc: Rpc, deployment: Deployment, manifest: Manifest, state: State) -> tuple[Parent, str]:
    """Check from the parent's side that a federation is a child, by the files of its genesis.

    Args:
        rpc: An endpoint of the parent's chain.
        deployment: Addresses of the parent.
        manifest: Manifest of the child.
        state: First state of the child.

    Returns:
        The version that it came from, and what votes made of it, as `check_parent` says it.

    Raises:
        AuditFailure: It is a child of another federation, of none, or of a version that is not the one it names.
    """
    parent, mine = manifest.parent, (deployment.chain_id, deployment.ledger)
    named = None if parent is None else (parent.chain_id, parent.ledger)
    if parent is None or named != mine:
        raise _false("the chain and the ledger of the child's parent", mine, named)
    check_first_state(parent, state)
    return parent, check_parent(rpc, parent)


def _false(what: str, expected: Any, actual: Any) -> AuditFailure:
    return mismatch(PARENT, what, expected, actual, remedy=FALSE_PARENT)


def _require(what: str, expected: Any, actual: Any) -> None:
    if expected != actual:
        raise _false(what, expected, actual)
