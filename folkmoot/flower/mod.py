# SPDX-License-Identifier: Apache-2.0
"""The mod that anchors a Flower `ClientApp`: two lines for its author.

    from folkmoot.flower import folkmoot_mod
    app = ClientApp(mods=[folkmoot_mod()])

Before training, it checks the coordinator's data against the chain, which it reads itself. A private training is
charged to the account's budget before it begins. After training, the mod encodes the change, has it signed, and replies
with the update instead of the weights. The app sees the train message that Flower would send, with its arrays in its
own order and dtypes. The mod never has access to a key. After a failure it sends the coordinator a code without details
of this machine or its data; the details go to the node's own log.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from logging import ERROR, INFO, WARNING

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.common.constant import ErrorCode
from flwr.supercore import log

from folkmoot.coordinator_api import commitment_to_wire
from folkmoot.errors import FolkmootError
from folkmoot.flower import records
from folkmoot.flower.chain import check_in_time, check_place, repeat
from folkmoot.flower.checking import checked_round
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.drafting import Drafting
from folkmoot.flower.encoding import hide_examples
from folkmoot.flower.keeping import KeeperError, deliver
from folkmoot.flower.memory import commit_memory
from folkmoot.flower.records import NoPlaceError, RefusedError
from folkmoot.flower.signing import CHAIN_UNAVAILABLE, SIGNER_BUSY, AgentSigner, Signer
from folkmoot.flower.training import App
from folkmoot.flower.updates import DraftUpdate, KeptUpdate, drafted_update, keep_update, kept_update
from folkmoot.protocol.budget import UNITS_OF_RHO
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.flower_internals import unpack

_PASSING = frozenset({CHAIN_UNAVAILABLE, SIGNER_BUSY, "round-ahead"})
"""Codes of refusals while the signer can't read the chain or serves others, or while its endpoint is a block behind.
The same request may be made again."""


def folkmoot_mod(
    *,
    contributor: Contributor | None = None,
    signer: Signer | None = None,
    configs: bool = False,
    show_round: bool = False,
    whole: bool = True,
) -> Mod:
    """Return the mod.

    Args:
        contributor: The contributor; by default the one of the node's ``folkmoot-home``.
        signer: The signer; by default the signer agent of the contributor's folder.
        configs: Whether to send the config records of the app's reply too, if they have at most
            `folkmoot.flower.encoding.MAX_CONFIGS` bytes. Otherwise only its metric records are sent. In a federation
            with a privacy budget, neither is.
        show_round: Whether the app sees the record ``folkmoot.round`` in its message.
        whole: Whether the message has all arrays of the model. Otherwise the app takes those that are carried files
            from `folkmoot.flower.frozen`, and leaves them out of its reply.

    Returns:
        A mod for `ClientApp(mods=[...])`. It must be the first, so that no other mod sees the signed reply.
    """
    options = _Options(contributor, signer, configs, show_round, whole)

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        trains = message.metadata.message_type.partition(".")[0] == "train"
        try:
            who = contributor or Contributor.of_node(context.node_config)
            if trains:
                return _anchored(message, context, call_next, who, options)
            _check_may_answer(who)
        except NoPlaceError as refusal:
            log(INFO, "No place: %s", refusal)
            return _error(message, f"{refusal.code}: {refusal.message}")
        except RefusedError as refusal:
            log(ERROR, "Refused: %s", refusal)
            return _error(message, f"{refusal.code}: {refusal.message}")
        except FolkmootError as error:
            log(ERROR, "Refused (%s): %s", error.code, error)
            return _error(message, f"{error.code}: for more, read the node's log.")
        reply = call_next(message, context)
        if reply.has_content():
            hide_examples(reply.content)
        return reply

    return mod


@dataclass(frozen=True)
class _Options:
    """Arguments of `folkmoot_mod`."""

    contributor: Contributor | None
    signer: Signer | None
    configs: bool
    show_round: bool
    whole: bool


def _error(message: Message, reason: str) -> Message:
    return Message(Error(ErrorCode.MOD_FAILED_PRECONDITION, reason), reply_to=message)


def _anchored(
    message: Message,
    context: Context,
    call_next: ClientAppCallable,
    contributor: Contributor,
    options: _Options,
) -> Message:
    checked = checked_round(message, contributor)
    header, drafting = checked.header, None
    kept = kept_update(contributor.home, header.round)
    if kept is not None and kept.header_hash == header.hash.hex():
        log(INFO, "Round %d: sending again the update that was signed already", header.round)
    else:
        signer = options.signer or AgentSigner(contributor.socket, contributor.account)
        fault_point("node.base-checked")
        key = signer.draft_key()
        draft: DraftUpdate | Message | None = drafted_update(contributor.home, header.round, key)
        if isinstance(draft, DraftUpdate) and draft.header_hash == header.hash.hex():
            log(INFO, "Round %d: going on with the update that was trained already", header.round)
        else:
            check_place(header.round, contributor)
            app = App(message, context, call_next, contributor, checked, options.show_round, options.whole)
            drafting = Drafting(app, checked, signer.account, key)
            if checked.policy.noise1024:
                _charge(drafting.untrained, signer, contributor)
            else:
                domain = Domain(contributor.chain_id, contributor.ledger)
                repeat(partial(signer.check_unsigned, drafting.untrained, domain), _PASSING)
            draft = drafting.draft(configs=options.configs)
            if isinstance(draft, Message):
                return draft
        kept = _signed(draft, header.round, signer, contributor)
    accepted = _delivered(header.round, contributor)
    if drafting is not None and accepted:
        drafting.accepted(kept.data)
    reply = RecordDict({records.COMMITMENT: ConfigRecord({"commitment": kept.commitment})})
    for name, record in unpack(kept.reply).items():
        reply.setdefault(name, record)
    return Message(reply, reply_to=message)


def _charge(untrained: Commitment, signer: Signer, contributor: Contributor) -> None:
    """Have a private training charged to the account's budget, before it draws its noise.

    From here on, whatever becomes of the training is counted: also an exception, a refusal and a kill. What can be
    refused without a look at the records must be refused before.

    Raises:
        SignerError: The signer refuses. Then nothing may be trained.
    """
    domain = Domain(contributor.chain_id, contributor.ledger)
    # An agent that can't read the chain has charged nothing. After other failures it may have.
    charged = repeat(lambda: signer.charge(untrained, domain), _PASSING)
    log(
        INFO,
        "Round %d: training is charged %.4f rho; %.4f of at most %.4f rho are spent",
        untrained.round,
        *(units / UNITS_OF_RHO for units in (charged.cost, charged.spent, charged.cap)),
    )


def _signed(draft: DraftUpdate, number: int, signer: Signer, contributor: Contributor) -> KeptUpdate:
    """Have a draft signed, and store the signed update, with the memory that belongs to it.

    Raises:
        RefusedError: The round takes no more commitments.
    """
    check_in_time(number, contributor)
    commitment, domain = draft.commitment, Domain(contributor.chain_id, contributor.ledger)
    signature = repeat(lambda: signer.sign(commitment, domain, draft.data), _PASSING)
    fault_point("node.signed")
    kept = KeptUpdate(draft.header_hash, commitment_to_wire(commitment, signature), draft.data, draft.reply)
    keep_update(contributor.home, number, kept)
    fault_point("node.kept")
    with contextlib.suppress(OSError):  # The next training does it.
        commit_memory(contributor.memories(commitment.bundle_hash), number, commitment.memory_hash)
    log(INFO, "Round %d: update %s signed", number, commitment.update_root.hex()[:16])
    return kept


def _check_may_answer(contributor: Contributor) -> None:
    """Check that results of the app may leave: what an evaluation says of private records is in no budget.

    Raises:
        RefusedError: The federation has a privacy budget.
    """
    if contributor.private:
        raise RefusedError(
            "this federation has a privacy budget, so the app's results of evaluations and queries stay on this node.",
            remedy="Set the strategy's fraction_evaluate to 0, and evaluate on public data at the server.",
            code="private-results",
        )


def _delivered(number: int, contributor: Contributor) -> bool:
    """Let the keeper deliver the update. Return whether the coordinator has accepted it.

    Otherwise the relay, which gets the commitment, asks the coordinator for the reason.
    """
    try:
        deliver(contributor.keeper, number)
    except KeeperError as error:
        log(WARNING, "The keeper did not deliver the update (%s): %s", error.code, error)
        return False
    return True
