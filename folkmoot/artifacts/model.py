# SPDX-License-Identifier: Apache-2.0
"""The model files that people download, made from states that have the root on the chain (docs/protocol.md section 14).

A coordinator's model file is compared with that file by its hash: so one that hands out another model is found. Files
are made in pieces, so that no model is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from folkmoot.artifacts.federation import Federation, Start, files_of
from folkmoot.artifacts.inventory import Commitments
from folkmoot.artifacts.sources import ArtifactSource, CoordinatorSource
from folkmoot.artifacts.states import RebuildingSource, fetch_state
from folkmoot.errors import ArtifactError, InputError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.event import Event
from folkmoot.ledger.events import VersionRegistered
from folkmoot.protocol.genesis import WIDTH_SETTING, Genesis, width_settings
from folkmoot.protocol.hashing import sha256_of
from folkmoot.protocol.parent import Parent
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Artifacts
from folkmoot.rpc.client import Phase, RegistryReader, Rpc
from folkmoot.tasks import root

WRONG = "wrong-model"
"""Code of the error that a coordinator hands out another model."""


@dataclass(frozen=True)
class Model:
    """A version of the model, checked against the chain."""

    number: int
    state_root: bytes
    """Root of its state on the chain, 32 bytes."""
    sha256: str
    """Name of the safetensors file."""
    size: int
    """Bytes of the safetensors file."""
    chunks: Callable[[], Iterator[bytes]]
    """Makes the safetensors file, in pieces, while the source of the state is open. Raises ArtifactError if a carried
    file can't be had."""
    final: bool
    """Whether its round is final; until then it may still be challenged."""


@dataclass(frozen=True)
class VersionState:
    """The state of a version, whose root is the one on the chain."""

    federation: Federation
    number: int
    state: State
    root: bytes
    """Its root, 32 bytes."""
    final: bool
    """Whether its round is final; until then it may still be challenged."""
    commitments: Commitments
    """What the chain commits to. Nothing was read for version 0."""


def state_of(rpc: Rpc, deployment: Deployment, source: ArtifactSource, number: int) -> VersionState:
    """Fetch the state of a version, or make it anew, and check it; arguments and errors as of `model_of`."""
    commitments = Commitments(rpc, deployment)
    ledger = commitments.ledger
    view = ledger.round(number)
    if number and view.phase not in (Phase.ANCHORED, Phase.FINAL):
        raise InputError(
            f"There is no version {number}: its round is {view.phase.name.lower()}.",
            remedy="Give 0, or the number of an anchored round; `folkmoot status` shows the newest.",
            code="unknown-version",
        )
    federation = Federation.open(deployment, source, ledger)
    manifest = federation.manifest
    if number:
        commitments.look()
    with RebuildingSource(source) as states:
        path = (
            fetch_state(states, commitments, manifest, number)
            if number
            else source.fetch(federation.genesis.state, manifest.state_file_size)
        )
        state = State.open(path, manifest)
    root = state.root(manifest.hash)
    if root != view.state_root:
        raise ArtifactError(
            f"The state of version {number} has the root 0x{root.hex()}, and the chain has 0x{view.state_root.hex()}.",
            remedy="Run `folkmoot audit`: the coordinator anchored one state and published another.",
            code=WRONG,
        )
    return VersionState(
        federation, number, state, root, number == 0 or view.phase is Phase.FINAL, commitments
    )


def model_of(rpc: Rpc, deployment: Deployment, source: ArtifactSource, number: int) -> Model:
    """Make the file of a version from its state.

    Args:
        rpc: An endpoint. It is trusted for the root.
        deployment: Addresses of the contracts.
        source: Where the carried files are, and the state, or what it is rebuilt from. It is not trusted.
        number: Number of the version: 0 for the first state, or an anchored round.

    Raises:
        InputError: There is no such version (`unknown-version`).
        ArtifactError: A file is missing or damaged, or the state has another root (`wrong-model`).
    """
    version = state_of(rpc, deployment, source, number)
    manifest, root = version.federation.manifest, version.root
    chunks = partial(version.state.safetensors_chunks, manifest, number, root, files_of(source))
    return Model(number, root, *sha256_of(chunks()), chunks, version.final)


def version_number(text: str, rpc: Rpc, deployment: Deployment) -> int:
    """Return the number of a version that a command names: a number, or `active`.

    Raises:
        InputError: The text is neither, or no version is active (`no-active-version`).
    """
    if text == "active":
        return active_version(rpc, deployment)
    if not text.isdecimal():
        raise InputError(f"{text!r} is no version.", remedy="Give a number, or `active`.")
    return int(text)


def active_version(rpc: Rpc, deployment: Deployment) -> int:
    """Return the number of the active version.

    Raises:
        InputError: No version is active (`no-active-version`).
    """
    active = RegistryReader(rpc, deployment.registry).active()
    if active is not None:
        return active.version
    raise InputError(
        "No version is active: no vote has made one active, or all that were are recalled.",
        remedy="Give a number.",
        code="no-active-version",
    )


def check_handed_out(coordinator: CoordinatorSource, number: int, expected: str, size: int) -> bool:
    """Download a coordinator's file of a version, and compare it with the right one.

    Args:
        expected: sha256 of the right file.

    Returns:
        False if this is a web server with files, which hands out no models.

    Raises:
        ArtifactError: It hands out another file (`wrong-model`), none, or gave no answer.
    """
    path = coordinator.model(number, size)
    if path is None:
        return False
    offered = path.name
    coordinator.discard(offered)
    if offered != expected:
        raise ArtifactError(
            f"The coordinator {coordinator.url} hands out another model as version {number}: its safetensors file has "
            f"the sha256 {offered}, and that of the state on the chain has {expected}.",
            remedy="Do not use its file, and tell the others. `folkmoot model` makes the right one.",
            code=WRONG,
            details={"file": expected, "source": coordinator.url, "found": offered, "version": number},
        )
    return True


def child_of(
    version: VersionState, events: Iterable[Event], source: ArtifactSource, content_policy: str | None = None
) -> tuple[Parent, Start]:
    """Return a version as the parent of a child, and the child's genesis (docs/protocol.md section 2.3).

    The child has the parent's task, settings and arrays, and the state and the exponents that the version left.

    Args:
        version: Version of the parent, checked.
        events: Events of the parent's registry.
        source: Where the parent's files are. It is not trusted. It must be open while the genesis is written.
        content_policy: Content policy of the child, empty for none; None for the parent's.

    Raises:
        InputError: The version is not in the registry, as its round is not final (`version-not-final`).
        ArtifactError: The artifacts file of the version's round is missing or damaged.
    """
    number, manifest, deployment = version.number, version.federation.manifest, version.federation.deployment
    registered = next((e for e in events if isinstance(e, VersionRegistered) and e.version == number), None)
    if registered is None:
        raise InputError(
            f"Version {number} is not final: its round may still be challenged and voided.",
            remedy="Wait until the round is final, `folkmoot status` shows it; or give an earlier version.",
            code="version-not-final",
        )
    parent = Parent(
        deployment.chain_id,
        deployment.ledger,
        number,
        manifest.hash,
        version.root,
        registered.block,
        registered.block_hash,
    )
    training = {key: value for key, value in manifest.training.items() if key != root.SETTING}
    exponents = version.federation.genesis.exponents
    if number:
        anchored = version.commitments.rounds[number]
        exponents = Artifacts.from_json(source.document(anchored.artifacts_hash.hex())).next_exponents
        training.pop(WIDTH_SETTING, None)
        training |= width_settings(anchored.width)
    own = replace(
        manifest,
        training=training,
        parent=parent,
        content_policy=manifest.content_policy if content_policy is None else content_policy,
    )
    genesis = Genesis.of(own, version.state, exponents)
    start = Start(own, version.state, genesis, version.state.root(own.hash), "", files_of(source))
    return parent, start
