# SPDX-License-Identifier: Apache-2.0
"""What a node checks before it trains: the coordinator's data on a round, the base and the policy against the chain.

This module trains nothing, and holds no key.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from logging import WARNING
from typing import TYPE_CHECKING, Any

from flwr.app import Message
from flwr.supercore import log

from folkmoot.errors import InputError
from folkmoot.flower import chain
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.keeping import NO_KEEPER, KeeperError, base_theta, carried_file
from folkmoot.flower.records import ROUND, UNTRAINED, RefusedError, RoundMessage
from folkmoot.privacy.settings import PrivacySettings, check_bounds, check_matches_policy, check_weights
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.fixed_point import ONE
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Files, Manifest
from folkmoot.protocol.merkle import THETA, state_root, state_tree

if TYPE_CHECKING:
    from folkmoot.protocol.policy import Policy
    from folkmoot.rpc.client import RoundView


@dataclass(frozen=True, eq=False)
class CheckedRound:
    """A round whose data match the chain."""

    message: RoundMessage
    """The coordinator's data."""
    header: RoundHeader
    """Its header."""
    manifest: Manifest
    """The federation's manifest."""
    files: Files
    """Gives the values of carried files."""
    policy: Policy
    """The policy of the round."""
    view: RoundView
    """The round on the chain."""
    weights: list[I64]
    """The base's weights, int64[256 n], until they are taken."""

    def base(self, *, keep: bool = False) -> I64:
        """Return the base's weights, int64[256 n]. Without `keep` it is the last time, and they are not held here."""
        return self.weights[0] if keep else self.weights.pop()


def checked_round(message: Message, contributor: Contributor) -> CheckedRound:
    """Check the coordinator's data against the chain, and get the base from the keeper.

    Raises:
        RefusedError: A value does not match, or the keeper does not give the base.
    """
    record = message.content.config_records.get(ROUND)
    if record is None:
        raise RefusedError(
            "this train message does not belong to an anchored round.",
            remedy="Anchor the ServerApp too: folkmoot.flower.anchored_server, or FolkmootStrategy.",
            code="not-anchored",
        )
    try:
        round_message = RoundMessage.from_record(record)
        header = RoundHeader.decode(round_message.header)
        manifest = Manifest.from_json(round_message.manifest)
        if round_message.arrays_key not in message.content.array_records:
            raise InputError(
                f"The train message has no arrays {round_message.arrays_key!r}.", remedy=UNTRAINED
            )
    except InputError as error:
        raise RefusedError(error.message, remedy=UNTRAINED, code="malformed-round") from error
    view, base_root, policy = chain.read_round(round_message, header, contributor)
    if keccak(round_message.header) != view.header_hash or header.round != round_message.round:
        raise RefusedError(
            "the round's header is not the one on the chain.", remedy=UNTRAINED, code="wrong-header"
        )
    if header.manifest_hash != manifest.hash or len(header.exponents) != len(manifest.tensors):
        raise RefusedError(
            "the manifest is not the one of the header.", remedy=UNTRAINED, code="wrong-manifest"
        )
    # The header is on the chain, but the coordinator wrote it: check each value that can be derived.
    seed = derive_seed(contributor.chain_id, contributor.ledger, header.round, header.base_state_root)
    if header.seed != seed or header.policy_id != view.policy or header.width != policy.width:
        raise RefusedError(
            "the header's seed, policy or width are not those of the round.",
            remedy=UNTRAINED,
            code="wrong-header",
        )
    files: Files = partial(carried_file, contributor.keeper)
    try:
        theta = base_theta(contributor.keeper, header.round, manifest.size)
        for entry in manifest.files:
            files(entry)
    except KeeperError as error:
        raise _without_base(error) from error
    root = state_root(manifest.hash, state_tree(THETA, theta).root, round_message.momentum_root)
    if root != header.base_state_root or root != base_root:
        raise RefusedError(
            f"the base model has the state root {root.hex()}, the round needs {base_root.hex()}.",
            remedy="Nothing was trained. Another coordinator or mirror may have the right one.",
            code="wrong-base",
        )
    try:
        declared = PrivacySettings.of(manifest.training)
        check_matches_policy(declared, noise1024=policy.noise1024, steps=policy.steps)
        check_bounds(
            manifest,
            header.exponents,
            min_sum_squares=policy.min_sum_squares,
            max_sum_squares=policy.max_sum_squares,
            width=policy.width,
        )
        rate: Any = manifest.training.get("learning_rate")
        if declared is not None and type(rate) in (int, float):
            declared.check_model(manifest.elements, rate)
        check_weights(manifest, max(int(theta.max()), -int(theta.min())) / ONE, policy.min_sum_squares)
    except InputError as error:
        raise RefusedError(error.message, remedy=error.remedy, code=error.code) from error
    return CheckedRound(round_message, header, manifest, files, policy, view, [theta])


def _without_base(error: KeeperError) -> RefusedError:
    """Return why nothing is trained if the keeper does not give the base. Its own text may tell of this machine."""
    if error.code == NO_KEEPER:
        return RefusedError("this node has no keeper.", remedy=error.remedy, code=error.code)
    log(WARNING, "The keeper gave no base (%s): %s", error.code, error)
    if error.code in ("round-closed", "wrong-base"):
        return RefusedError(error.message, remedy=error.remedy, code=error.code)
    return RefusedError("the node's keeper could not get the base.", remedy=error.remedy, code=error.code)
