# SPDX-License-Identifier: Apache-2.0
"""Demands for anchored data, and answers to them (contracts/src/interfaces/IDataAvailability.sol).

Anybody may demand a small file of a round that can be challenged, or the root of a tree, and descend from a root to a
leaf, list by list (`folkmoot.fraud.proofs.descent`). Whoever has it can answer on the chain. If nobody answers in time,
the round is void. This module builds the calls from records and files; `folkmoot.fraud.contracts` sends them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from folkmoot.errors import ArtifactError, InputError
from folkmoot.fraud.proofs.case import Case, unopened
from folkmoot.fraud.proofs.descent import height_of, list_of
from folkmoot.fraud.proofs.trees import raw_update_tree, sum_siblings
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import mean_tree
from folkmoot.protocol.merkle import SumTree, Tree, state_leaves
from folkmoot.protocol.packing import WIDTHS
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
    """The tree of a delivered update."""
    MEAN = 1
    """The tree of the mean."""
    THETA = 2
    """The tree of the new model."""
    MOMENTUM = 3
    """The tree of the new momentum."""
    HEADER = 4
    """The round header."""
    VERDICTS = 5
    """The verdicts file."""
    ARTIFACTS = 6
    """The artifacts file."""

    @property
    def is_tree(self) -> bool:
        """Whether it is a tree, and not a file."""
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
class Node:
    """What a demand is about: a node of a tree, or a file."""

    what: DataKind
    entry: int = 0
    """Number of the entry, for an update."""
    level: int = 0
    """Level of the node: 0 for a leaf or a file."""
    index: int = 0
    """Index of the node within its level."""

    def child(self, place: int) -> Node:
        """Return the node at a place of this node's list."""
        height = height_of(self.level)
        return Node(self.what, self.entry, self.level - height, (self.index << height) + place)

    def __str__(self) -> str:
        name = self.what.name.lower() + (f" of entry {self.entry}" if self.what is DataKind.UPDATE else "")
        if not self.what.is_tree:
            return name
        at = f"leaf {self.index}" if self.level == 0 else f"node {self.index} of level {self.level}"
        return f"{at} of the {name}"


@dataclass(frozen=True)
class Call:
    """A call of the contract."""

    function: str
    arguments: tuple[Any, ...]
    """Arguments in the form of eth_abi."""


@dataclass(frozen=True)
class Files:
    """Files of a round."""

    artifacts: Artifacts
    """Artifacts file of the anchor."""
    path: Callable[[str], Path]
    """Returns the path of a file by its sha256. Raises ArtifactError."""


def demand_call(case: Case, manifest: Manifest | None, what: DataKind, entry: int = 0) -> Call:
    """Return the call of a demand for a file, or for the root of a tree.

    Args:
        case: The anchored round.
        manifest: The model's layout; only trees need it.
        what: Kind of the demanded data.
        entry: Number of the entry, for an update.

    Raises:
        InputError: The entry does not exist, or there is no manifest (``no-such-place``), or according to the anchor
            the update was not delivered (``not-delivered``).
    """
    anchor = case.anchor.abi_tuple()
    if not what.is_tree:
        return Call("demandFile", (case.round, anchor, int(what)))
    if manifest is None:
        raise InputError(
            "The demand of a tree needs the manifest.",
            remedy="Give a mirror that has it with --artifacts.",
            code="no-such-place",
        )
    brought = case.brought(manifest)
    if what is not DataKind.UPDATE:
        return Call("demandTree", (brought, int(what)))
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
    return Call("demandUpdate", (brought, unopened(case.entries), entry))


def root_of(what: DataKind, entry: int, manifest: Manifest | None) -> Node:
    """Return what the first demand for a file or tree is about."""
    return Node(what, entry, manifest.depth if manifest is not None and what.is_tree else 0)


def answer_call(demand: int, about: Node, files: Files, manifest: Manifest, document: bytes = b"") -> Call:
    """Return the call that answers a demand.

    Args:
        demand: Number of the demand.
        about: What is demanded.
        files: The round's files.
        document: Contents of the file, if the verdicts or the artifacts file is demanded.

    Raises:
        ArtifactError: A file is missing, or has a wrong size.
    """
    artifacts = files.artifacts
    nothing = bytes(32)
    match about.what:
        case DataKind.UPDATE:
            name = artifacts.updates[about.entry] if about.entry < len(artifacts.updates) else None
            if name is None:
                raise ArtifactError(
                    f"The artifacts file lists no file for entry {about.entry}.",
                    remedy="Restore the update from a mirror before the demand expires.",
                    code="artifact-missing",
                )
            update = FileUpdate(files.path(name), RoundHeader.decode(artifacts.header).width)
            if update.size != manifest.update_file_size(update.width):
                raise _other(name)
            place = about.index
            return _show(
                demand,
                about,
                lambda: raw_update_tree(update),
                lambda: update.read(place, place + 1).tobytes(),
                nothing,
            )
        case DataKind.MEAN:
            mean = _mean(files.path(artifacts.mean), artifacts.mean, manifest)
            place = about.index
            return _show(
                demand,
                about,
                lambda: mean_tree(mean, manifest.leaves),
                lambda: mean.read(place, place + 1).tobytes(),
                nothing,
            )
        case DataKind.THETA | DataKind.MOMENTUM:
            state = State.open(files.path(artifacts.state), manifest)
            theta, momentum = state.theta_tree, state.momentum_tree
            whole, mine, other = state.theta, theta, momentum
            if about.what is DataKind.MOMENTUM:
                whole, mine, other = state.momentum, momentum, theta
            beside = other().root if about.level == manifest.depth else nothing
            leaf = slice(LEAF * about.index, LEAF * (about.index + 1))
            return _show(demand, about, mine, lambda: state_leaves(whole[leaf]).tobytes(), beside)
        case DataKind.HEADER:
            return Call("show", (demand, artifacts.header, nothing))
        case _:
            return Call("show", (demand, document, nothing))


def delivery_calls(round_: int, data: bytes, manifest: Manifest, width: int) -> list[Call]:
    """Return the calls that deliver an update on the chain, part by part.

    Args:
        round_: Number of the round.
        data: The update file.
        width: Bits of an encoded coordinate in the round.

    Raises:
        InputError: The bytes are not an update of this model.
    """
    needed = manifest.update_file_size(width)
    if len(data) != needed:
        raise InputError(
            f"The update has {len(data)} bytes; one of this model has {needed}.", remedy=_OWN_UPDATE
        )
    update = MemoryUpdate(data, width)
    tree = raw_update_tree(update)
    if tree is None:
        raise InputError("The update does not consist of whole leaves.", remedy=_OWN_UPDATE)
    level = min(PART_DEPTH, manifest.depth)
    size = 1 << level
    layout, document = manifest.layout, keccak(manifest.to_json())
    calls = []
    for part in range(-(-manifest.leaves // size)):
        # The siblings of the part's node are those of its first leaf, from the part's level on.
        siblings = sum_siblings(tree, part << level)[_NODE_BYTES * level :]
        values = update.read(part * size, min((part + 1) * size, manifest.leaves)).tobytes()
        calls.append(Call("deliver", (round_, tree.root, layout, document, part, values, siblings)))
    return calls


def _show(
    demand: int,
    about: Node,
    tree: Callable[[], Tree | SumTree | None],
    leaf: Callable[[], bytes],
    other: bytes,
) -> Call:
    """Return the answer with a leaf, or with the list of a node. A tree is built only for a list."""
    if about.level == 0:
        return Call("show", (demand, leaf(), other))
    built = tree()
    assert built is not None  # noqa: S101  # the file's size was compared with the manifest's
    return Call("show", (demand, list_of(built, about.level, about.index), other))


def _mean(path: Path, name: str, manifest: Manifest) -> FileUpdate:
    """Open a mean file. Its size says its width: it is different at each."""
    size = path.stat().st_size
    for width in WIDTHS:
        if size == manifest.update_file_size(width):
            return FileUpdate(path, width)
    raise _other(name)


def _other(name: str) -> ArtifactError:
    return ArtifactError(
        f"The file {name} has a wrong size.",
        remedy="Restore it from a mirror.",
        code="artifact-damaged",
    )
