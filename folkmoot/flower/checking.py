# SPDX-License-Identifier: Apache-2.0
"""What a node checks on the chain before it trains, and before it signs.

The coordinator's data on a round are compared with the ledger, which the node reads at its own RPC endpoint. This
module trains nothing, and holds no key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from logging import WARNING
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from eth_utils.address import to_checksum_address
from flwr.app import Message
from flwr.supercore import log

from folkmoot.errors import FolkmootError, InputError
from folkmoot.flower import records
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.keeping import NO_KEEPER, KeeperError, base_theta, carried_file
from folkmoot.privacy.floor import check_bounds, check_weights
from folkmoot.privacy.settings import PrivacySettings, check_matches_policy
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.fixed_point import ONE
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Files, Manifest
from folkmoot.protocol.merkle import THETA, state_root, state_tree
from folkmoot.rpc.client import LedgerReader, Phase, VaultReader
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.backoff import Backoff, retry
from folkmoot.runtime.units import format_amount

if TYPE_CHECKING:
    from folkmoot.protocol.policy import Policy
    from folkmoot.rpc.client import RoundView

CHAIN_TIMEOUT = 120.0
"""Timeout in seconds for the node's own RPC endpoint. It covers a restart of the endpoint, so that no round is lost."""

_UNTRAINED = (
    "Nothing was trained. If it happens again, tell the coordinator's operator and the other contributors."
)
"""Remedy for a round that differs from the round on the chain."""

_AWAY = frozenset({"rpc-unreachable", "rpc-behind", "rpc-no-quorum"})
"""Codes of temporary failures of an endpoint."""

T = TypeVar("T")


class RefusedError(FolkmootError):
    """This node refuses a train message. The error's message may be sent to the coordinator."""

    default_code = "refused"


class NoPlaceError(RefusedError):
    """The round takes no update of this account, and nothing is wrong: the account takes part in later rounds."""

    default_code = "no-place"


@dataclass(frozen=True, eq=False)
class CheckedRound:
    """A round whose data match the chain."""

    message: records.RoundMessage
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
    """Check the coordinator's data against the chain.

    Raises:
        RefusedError: A value does not match.
    """
    content = message.content
    if records.ROUND not in content.config_records or records.THETA not in content.array_records:
        raise RefusedError(
            "this train message does not belong to an anchored round.",
            remedy="Anchor the ServerApp too: folkmoot.flower.anchored_server, or FolkmootStrategy.",
            code="not-anchored",
        )
    try:
        round_message = records.RoundMessage.from_record(content.config_records[records.ROUND])
        header = RoundHeader.decode(round_message.header)
        manifest = Manifest.from_json(round_message.manifest)
        sent = content.array_records[records.THETA]
        theta = records.theta_of(sent, manifest.size) if sent else None
    except InputError as error:
        raise RefusedError(error.message, remedy=_UNTRAINED, code="malformed-round") from error
    view, base_root, policy = read_chain(lambda: _chain_view(round_message, header, contributor))
    _check_header(round_message, header, manifest, view, policy, contributor)
    files: Files = partial(carried_file, contributor.keeper)
    if records.CARRIED in content.array_records:
        files = records.carried_of(content.array_records[records.CARRIED])
    if theta is None:
        theta = _from_keeper(lambda: base_theta(contributor.keeper, header.round, manifest.size))
    try:
        _from_keeper(lambda: [files(entry) for entry in manifest.files])
    except InputError as error:
        raise RefusedError(error.message, remedy=_UNTRAINED, code="malformed-round") from error
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
        if declared is not None and _is_number(rate := manifest.training.get("learning_rate")):
            declared.check_model(manifest.elements, rate)
        check_weights(manifest, max(int(theta.max()), -int(theta.min())) / ONE, policy.min_sum_squares)
    except InputError as error:
        raise RefusedError(error.message, remedy=error.remedy, code=error.code) from error
    return CheckedRound(round_message, header, manifest, files, policy, view, [theta])


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float)


def _from_keeper(ask: Callable[[], T]) -> T:
    """Return what a function asks the keeper for.

    Raises:
        RefusedError: There is no keeper (`NEEDS_BASE`), it failed (`NEEDS_BASE_NOW`), or it refuses the round.
    """
    try:
        return ask()
    except KeeperError as error:
        if error.code == NO_KEEPER:
            raise RefusedError(
                "this node has no keeper.",
                remedy="The relay sends it the base.",
                code=records.NEEDS_BASE,
            ) from error
        log(WARNING, "The keeper gave no base (%s): %s", error.code, error)
        if error.code in ("round-closed", "wrong-base"):
            raise RefusedError(error.message, remedy=error.remedy, code=error.code) from error
        raise RefusedError(
            "the node's keeper could not get the base.",
            remedy="The relay sends it the base.",
            code=records.NEEDS_BASE_NOW,
        ) from error


def _chain_view(
    round_message: records.RoundMessage, header: RoundHeader, contributor: Contributor
) -> tuple[RoundView, bytes, Policy]:
    """Read the round, its base's state root and its policy from the contributor's own RPC endpoint."""
    if (
        round_message.chain_id != contributor.chain_id
        or round_message.ledger.lower() != contributor.ledger.lower()
    ):
        raise RefusedError(
            f"the round is on chain {round_message.chain_id}, ledger {round_message.ledger}; "
            "this node has joined another.",
            remedy="Join that federation in a folder of its own.",
            code="wrong-chain",
        )
    with open_rpc(contributor.rpc) as rpc:
        if rpc.chain_id() != contributor.chain_id:
            raise RefusedError(
                "the node's RPC endpoint serves another chain.",
                remedy="Start the node with the right --rpc.",
                code="wrong-chain",
            )
        ledger = LedgerReader(rpc, contributor.ledger)
        # An anchor is not checked when it is made: a false state could bring another manifest with it.
        if header.manifest_hash != ledger.manifest_hash():
            raise RefusedError(
                "the round's manifest is not the federation's.", remedy=_UNTRAINED, code="wrong-manifest"
            )
        view = ledger.round(round_message.round)
        if view.phase is Phase.NONE:
            raise RefusedError(
                f"the ledger has no round {round_message.round}.",
                remedy="Nothing was trained; the coordinator is ahead of the chain, or lies.",
                code="unknown-round",
            )
        if ledger.phase(round_message.round) is not Phase.OPEN:
            raise RefusedError(
                f"round {round_message.round} takes no commitments any more.",
                remedy="The next round comes by itself.",
                code="round-closed",
            )
        return view, ledger.round(view.base).state_root, ledger.policy(view.policy)


def _check_header(
    round_message: records.RoundMessage,
    header: RoundHeader,
    manifest: Manifest,
    view: RoundView,
    policy: Policy,
    contributor: Contributor,
) -> None:
    if keccak(round_message.header) != view.header_hash or header.round != round_message.round:
        raise RefusedError(
            "the round's header is not the one on the chain.", remedy=_UNTRAINED, code="wrong-header"
        )
    if header.manifest_hash != manifest.hash or len(header.exponents) != len(manifest.tensors):
        raise RefusedError(
            "the manifest is not the one of the header.", remedy=_UNTRAINED, code="wrong-manifest"
        )
    # The header is on the chain, but the coordinator wrote it: check each value that can be derived.
    seed = derive_seed(contributor.chain_id, contributor.ledger, header.round, header.base_state_root)
    if header.seed != seed or header.policy_id != view.policy or header.width != policy.width:
        raise RefusedError(
            "the header's seed, policy or width are not those of the round.",
            remedy=_UNTRAINED,
            code="wrong-header",
        )


def check_place(number: int, contributor: Contributor) -> None:
    """Check that the ledger would take a commitment of the contributor: without a place, training is in vain.

    Raises:
        NoPlaceError: The account was not drawn, or enrolled when the round was open already.
        RefusedError: It is not enrolled, or not with enough stake.
        RpcError: The endpoint failed.
    """
    account = to_checksum_address(contributor.account)
    with open_rpc(contributor.rpc) as rpc:
        ledger = LedgerReader(rpc, contributor.ledger)
        if ledger.has_place(number, account):
            return
        view = ledger.round(number)
        least = ledger.policy(view.policy).min_stake
        member = VaultReader(rpc, str(contributor.deployment["vault"])).members([account])[account]
        if view.coordinator == account:
            raise _too_little(account, member.stake, least)
        if not member.enrolled:
            raise RefusedError(
                f"{account} is not enrolled, so round {number} takes no update of it.",
                remedy="Nothing was trained. Run `folkmoot enrol`; it counts from the next round on.",
                code="not-enrolled",
            )
        if member.enrolled < least:
            raise _too_little(account, member.enrolled, least)
        if member.since >= view.opened_at:
            raise NoPlaceError(
                f"round {number} was open already when {account} enrolled, or enrolled more.",
                remedy="Nothing was trained. It takes part from the next round on.",
            )
        quota = ledger.draw(number).quota
        raise NoPlaceError(
            f"{account} was not drawn for round {number}: more stake is enrolled than the round has places, and of "
            f"{format_amount(quota)}, which have one for certain, it has {format_amount(member.enrolled)}.",
            remedy="Nothing was trained. The next round draws again.",
        )


def _too_little(account: str, stake: int, least: int) -> RefusedError:
    return RefusedError(
        f"{account} has {format_amount(stake)} for the round, and its policy asks for {format_amount(least)}.",
        remedy="Nothing was trained. Run `folkmoot stake`, then `folkmoot enrol`.",
        code="stake-too-low",
    )


def check_in_time(round_id: int, contributor: Contributor) -> None:
    """Check again that the round still takes commitments: training may have lasted longer than its window.

    Raises:
        RefusedError: The round takes no more commitments.
    """
    if read_ledger(contributor, lambda ledger: ledger.phase(round_id)) is not Phase.OPEN:
        raise RefusedError(
            f"round {round_id} closed while this node trained, so its update is too late.",
            remedy="It takes part in the next round. If this happens in each round, a training, or a step of one by "
            "the clock, lasts longer than the commit window: make it shorter, or ask the voters for a longer window.",
            code="round-closed",
        )


def read_ledger(contributor: Contributor, look: Callable[[LedgerReader], T]) -> T:
    """Read the ledger as `read_chain` reads the chain."""
    with open_rpc(contributor.rpc) as rpc:
        ledger = LedgerReader(rpc, contributor.ledger)
        return read_chain(lambda: look(ledger))


def read_chain(look: Callable[[], T]) -> T:
    """Read the chain, and try again while the endpoint is unavailable.

    Raises:
        RpcError: The endpoint was unavailable until the timeout, or the failure is permanent.
    """
    return repeat(look, _AWAY)


def repeat(call: Callable[[], T], passing: Collection[str]) -> T:
    """Call, and call again after errors with these codes, until the timeout."""
    return retry(
        call,
        Backoff(0.5, 8.0),
        CHAIN_TIMEOUT,
        lambda error: error.code in passing,
        lambda error, pause: log(WARNING, "The chain is asked again in %g s: %s", pause, error.message),
    )
