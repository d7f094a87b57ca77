# SPDX-License-Identifier: Apache-2.0
"""Demands for anchored data, and answers to them (contracts/src/interfaces/IDataAvailability.sol).

Anybody may demand a leaf or a small file of a round that can be challenged. Whoever has it can answer on the chain. If
nobody answers in time, the round is void. This module builds the calls from records and files;
`folkmoot.fraud.contracts` sends them.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from folkmoot.errors import ArtifactError, InputError
from folkmoot.fraud.proofs.case import Case, unopened
from folkmoot.fraud.proofs.trees import plain_tree, raw_update_tree, sum_siblings
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import AGGREGATE, MOMENTUM, THETA, Tree, state_leaves
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate, MemoryUpdate
from folkmoot.protocol.verdict import Artifacts

PART_DEPTH = 6
"""Binary logarithm of the number of leaves in a part of a delivery (`DataAvailability.PART_DEPTH`)."""
_OWN_UPDATE = "Give the folder of the node that made this update with --home."
_NODE_BYTES = 48  # Size of a sibling in a path of an update's tree.


class DataKind(IntEnum):
    """Kinds of demanded data, with the numbers of the contract."""

    UPDATE = 0
    """A leaf of a delivered update."""
    AGGREGATE = 1
    """A leaf of the aggregate."""
    THETA = 2
    """A leaf of the new model."""
    MOMENTUM = 3
    """A leaf of the new momentum."""
    HEADER = 4
    """The round header."""
    VERDICTS = 5
    """The verdicts file."""
    ARTIFACTS = 6
    """The artifacts file."""

    @property
    def is_leaf(self) -> bool:
        """Whether it is a leaf of a tree, and not a file."""
        return self < DataKind.HEADER


class Status(IntEnum):
    """Status of a demand, with the numbers of the contract."""

    NONE = 0
    """The demand does not exist."""
    OPEN = 1
    """It is not answered yet, and its time may have expired."""
    ANSWERED = 2
    """It was answered. The deposit went to the account that answered."""
    CONVICTED = 3
    """It was not answered, and the round is void."""
    RETURNED = 4
    """The deposit was returned because the round was closed."""


@dataclass(frozen=True)
class Call:
    """A call of the contract."""

    function: str
    """Name of the function."""
    arguments: tuple[Any, ...]
    """Arguments in the form of eth_abi."""


@dataclass(frozen=True)
class Files:
    """Files of a round."""

    artifacts: Artifacts
    """Artifacts file of the anchor."""
    path: Callable[[str], Path]
    """Returns the path of a file by its sha256. Raises ArtifactError."""


def demand_call(
    case: Case, manifest: Manifest | None, what: DataKind, entry: int = 0, place: int = 0
) -> Call:
    """Return the call of a demand.

    Args:
        case: The anchored round.
        manifest: The model's layout; only leaves need it.
        what: Kind of the demanded data.
        entry: Number of the entry, for an update.
        place: Index of the leaf.

    Raises:
        InputError: The entry or leaf does not exist (``no-such-place``), or according to the anchor the update was not
            delivered (``not-delivered``).
    """
    anchor = case.anchor.abi_tuple()
    if not what.is_leaf:
        return Call("demandFile", (case.round, anchor, int(what)))
    if manifest is None:
        raise InputError(
            "The demand of a leaf needs the manifest.",
            remedy="Give a mirror that has it with --artifacts.",
            code="no-such-place",
        )
    if not 0 <= place < manifest.leaves:
        raise InputError(
            f"There is no leaf {place}: the model has {manifest.leaves}.",
            remedy="Leaves are numbered from 0.",
            code="no-such-place",
        )
    brought = case.brought(manifest)
    if what is not DataKind.UPDATE:
        return Call("demandLeaf", (brought, int(what), place))
    if not 0 <= entry < len(case.entries):
        raise InputError(
            f"There is no entry {entry}: round {case.round} has {len(case.entries)}.",
            remedy="Entries are numbered from 0.",
            code="no-such-place",
        )
    if not case.delivered(entry):
        raise InputError(
            f"The update of entry {entry} did not arrive, as the anchor itself says: it can't be demanded.",
            remedy="Choose an entry that was delivered; `folkmoot why` shows them.",
            code="not-delivered",
        )
    return Call("demandUpdate", (brought, unopened(case.entries), entry, place))


def answer_call(
    demand: int,
    what: DataKind,
    entry: int,
    place: int,
    files: Files,
    manifest: Manifest,
    document: bytes = b"",
) -> Call:
    """Return the call that answers a demand.

    Args:
        demand: Number of the demand.
        what: Kind of the demanded data.
        entry: Number of the entry, for an update.
        place: Index of the leaf.
        files: The round's files.
        manifest: The model's layout.
        document: Contents of the file, if the verdicts or the artifacts file is demanded.

    Raises:
        ArtifactError: A file is missing, or has a wrong size.
    """
    artifacts = files.artifacts
    match what:
        case DataKind.UPDATE:
            name = artifacts.updates[entry] if entry < len(artifacts.updates) else None
            if name is None:
                raise ArtifactError(
                    f"The artifacts file lists no file for entry {entry}.",
                    remedy="Restore the update from a mirror before the demand expires.",
                    code="artifact-missing",
                )
            update = FileUpdate(files.path(name))
            tree = raw_update_tree(update)
            if tree is None or place >= tree.leaves:
                raise _other(name)
            _, absolute, squares = tree.levels[0].node(place)
            values = update.read(place, place + 1).tobytes()
            return Call("answerUpdate", (demand, values, absolute, squares, sum_siblings(tree, place)))
        case DataKind.AGGREGATE:
            rows = _rows(files.path(artifacts.aggregate), artifacts.aggregate, manifest)
            aggregate = plain_tree(AGGREGATE, rows.shape[0], lambda first, last: rows[first:last])
            return _leaf(demand, rows[place].tobytes(), aggregate, place, bytes(32))
        case DataKind.THETA | DataKind.MOMENTUM:
            state = State.from_bytes(files.path(artifacts.state).read_bytes(), manifest)
            trees = {THETA: state.theta_tree(), MOMENTUM: state.momentum_tree()}
            kind, other = (THETA, MOMENTUM) if what is DataKind.THETA else (MOMENTUM, THETA)
            whole = state.theta if what is DataKind.THETA else state.momentum
            leaf = state_leaves(whole[LEAF * place : LEAF * (place + 1)]).tobytes()
            return _leaf(demand, leaf, trees[kind], place, trees[other].root)
        case DataKind.HEADER:
            return Call("answerFile", (demand, artifacts.header))
        case _:
            return Call("answerFile", (demand, document))


def delivery_calls(round_: int, data: bytes, manifest: Manifest) -> list[Call]:
    """Return the calls that deliver an update on the chain, part by part.

    Args:
        round_: Number of the round.
        data: The update's bytes.
        manifest: The model's layout.

    Raises:
        InputError: The bytes are not an update of this model.
    """
    if len(data) != manifest.size:
        raise InputError(
            f"The update has {len(data)} bytes; one of this model has {manifest.size}.", remedy=_OWN_UPDATE
        )
    tree = raw_update_tree(MemoryUpdate(data))
    if tree is None:
        raise InputError("The update does not consist of whole leaves.", remedy=_OWN_UPDATE)
    level = min(PART_DEPTH, manifest.depth)
    size = LEAF << level
    layout, document = manifest.layout, keccak(manifest.to_json())
    calls = []
    for part in range(-(-len(data) // size)):
        # The siblings of the part's node are those of its first leaf, from the part's level on.
        siblings = sum_siblings(tree, part << level)[_NODE_BYTES * level :]
        values = data[part * size : (part + 1) * size]
        calls.append(Call("deliver", (round_, tree.root, layout, document, part, values, siblings)))
    return calls


def _leaf(demand: int, values: bytes, tree: Tree, place: int, other: bytes) -> Call:
    return Call("answerLeaf", (demand, values, list(tree.proof(place)), other))


def _rows(path: Path, name: str, manifest: Manifest) -> U8:
    if path.stat().st_size != manifest.leaves * AGGREGATE.leaf_bytes:
        raise _other(name)
    with path.open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    rows: U8 = np.frombuffer(mapped, np.uint8).reshape(-1, AGGREGATE.leaf_bytes)
    return rows


def _other(name: str) -> ArtifactError:
    return ArtifactError(
        f"The file {name} has a wrong size.",
        remedy="Restore it from a mirror.",
        code="artifact-damaged",
    )
