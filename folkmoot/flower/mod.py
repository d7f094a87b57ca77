# SPDX-License-Identifier: Apache-2.0
"""The mod that anchors a Flower `ClientApp`: two lines for its author.

    from folkmoot.flower import folkmoot_mod
    app = ClientApp(mods=[folkmoot_mod()])

Before training, it checks the coordinator's data against the chain, which it reads itself. After training, it encodes
the change, has it signed, and replies with the update instead of the weights. The app sees the train message that
Flower would send, with its arrays in its own order and dtypes. The mod never has access to a key. After a failure it
sends the coordinator a code without details of this machine or its data; the details go to the node's own log.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from logging import ERROR, INFO, WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from eth_utils.address import to_checksum_address
from flwr.app import Array, ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.common.constant import ErrorCode
from flwr.supercore import log
from numpy.typing import NDArray

from folkmoot.coordinator_api import REFUSALS, commitment_from_wire, commitment_to_wire
from folkmoot.errors import FolkmootError, InputError, LocalError, sentence
from folkmoot.flower import clock, frozen, records
from folkmoot.flower.bundles import verified_bundle
from folkmoot.flower.checking import (
    NoPlaceError,
    RefusedError,
    check_in_time,
    check_place,
    checked_round,
    read_chain,
    repeat,
)
from folkmoot.flower.contributor import (
    MEMORY_FOLDER,
    MEMORY_VARIABLE,
    Contributor,
    DraftUpdate,
    KeptUpdate,
    draft_update,
    drafted_update,
    keep_update,
    kept_update,
)
from folkmoot.flower.eager import EagerStore, Job, Trained, later
from folkmoot.flower.encoding import encoded, end_of, hide_examples
from folkmoot.flower.keeping import NO_KEEPER, KeeperError, base_momentum, deliver
from folkmoot.flower.memory import (
    SENT_RECORD,
    TASK_RECORDS,
    MemoryStore,
    Owner,
    Sent,
    commit_memory,
)
from folkmoot.flower.reports import plain
from folkmoot.flower.signing import CHAIN_UNAVAILABLE, AgentSigner, Signer
from folkmoot.protocol import feedback
from folkmoot.protocol.arrays import F32, I64
from folkmoot.protocol.codec import EncodedUpdate, decode_update
from folkmoot.protocol.commitment import NO_MEMORY, Commitment, Domain
from folkmoot.protocol.fixed_point import to_float32
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Files, Manifest
from folkmoot.protocol.merkle import MOMENTUM, state_tree
from folkmoot.protocol.outer_step import eager_start
from folkmoot.rpc.client import LedgerReader
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.fault_points import fault_point
from folkmoot.tasks import pace

if TYPE_CHECKING:
    from folkmoot.protocol.policy import Policy
    from folkmoot.rpc.client import RoundView

MAX_CONFIGS = 64 << 10
"""Maximum size in bytes of the config records that are sent with an update: enough for settings, not for weights or
data."""

_CARRIED = "carried"
"""Why a node does not deliver an update: the relay does it."""

Claim = Callable[[Contributor, Commitment], Commitment]
"""Changes the claims of a contributor's commitment before it is signed."""


def folkmoot_mod(
    *,
    contributor: Contributor | None = None,
    signer: Signer | None = None,
    claim: Claim | None = None,
    configs: bool = False,
    show_round: bool = False,
    whole: bool = True,
) -> Mod:
    """Return the mod.

    Args:
        contributor: The contributor; by default the one of the node's ``folkmoot-home``.
        signer: The signer; by default the signer agent of the contributor's folder.
        claim: For drills: makes a false claim about the update. A signer agent refuses it unless its user asked for
            it, with ``folkmoot join --attack``.
        configs: Whether to send the config records of the app's reply too, at most `MAX_CONFIGS` bytes. Otherwise only
            its metric records are sent. In a federation with a privacy budget, neither is.
        show_round: Whether the app sees the record ``folkmoot.round`` in its message.
        whole: Whether the message has all arrays of the model. Otherwise the app takes those that are carried files
            from `folkmoot.flower.frozen`, and leaves them out of its reply.

    Returns:
        A mod for `ClientApp(mods=[...])`. It must be the first, so that no other mod sees the signed reply.
    """
    options = _Options(contributor, signer, claim, configs, show_round, whole)

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
    claim: Claim | None
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
    round_message, header, manifest, theta, files, policy, view = checked_round(message, contributor)
    kept = kept_update(contributor.home, header.round)
    if kept is not None and kept.header_hash == header.hash.hex():
        log(INFO, "Round %d: sending again the update that was signed already", header.round)
        return _reply(message, kept, round_message, contributor)[0]
    signer = options.signer or AgentSigner(contributor.socket, contributor.account)
    fault_point("node.base-checked")
    draft_key = signer.draft_key()
    draft = drafted_update(contributor.home, header.round, draft_key)
    eager: EagerStore | None = None
    span: clock.Span | None = None
    began = time.monotonic()
    if draft is not None and draft.header_hash == header.hash.hex():
        log(INFO, "Round %d: going on with the update that was trained already", header.round)
        commitment = draft.commitment
    else:
        read_chain(lambda: check_place(header.round, contributor))
        bundle = verified_bundle(round_message.bundle_hash)
        memory = None if policy.noise1024 else _memory(contributor, manifest, bundle, draft_key)
        if memory is not None and pace.is_eager(manifest.training):
            eager = EagerStore(
                _memory_folder(contributor, bundle), memory.owner, draft_key, manifest.elements
            )
        timed = eager is not None or pace.by_clock(manifest.training)
        ends = _ends(view, contributor, bundle) if timed else (math.inf, math.inf)
        app = _App(message, context, call_next, contributor, round_message, manifest, theta, files, options)
        del theta  # While the app trains, nothing holds it that does not need it.
        ahead = None if eager is None else eager.take(view.base, _header_hash(view.base, contributor), ends)
        feeds_back = memory is not None and feedback.is_on(manifest.training, header.width)
        earlier, residual = _remembered(
            memory, contributor, manifest, header.round, view.base, load=ahead is None, feeds_back=feeds_back
        )
        if ahead is None:
            if eager is not None:  # It may have waited for a training that was too late.
                check_in_time(header.round, contributor)
            with clock.ends(lambda: ends[0] - time.monotonic()):
                trained = app.train(to_float32(app.base(keep=eager is not None)), header.round, earlier)
            if isinstance(trained, Message):
                return trained
        else:
            log(INFO, "Round %d: training went on since round %d already", header.round, view.base)
            trained = ahead
        if memory is not None:
            span = trained.span
            _tell_time(_memory_folder(contributor, bundle), header.round, span)
        content, left = trained.content, trained.state
        hide_examples(content)
        try:
            end = end_of(content, round_message.arrays_key, manifest, files)
            encode = partial(
                encoded, trained.start, end, header, manifest, signer.account, policy.max_sum_squares
            )
            update, sent_here = encode(feeds_back=feeds_back, residual=residual)
        except RefusedError:
            if eager is not None:
                eager.forget()
            raise
        fault_point("node.trained")
        memory_hash = NO_MEMORY
        if memory is not None and (left or earlier or sent_here is not None):
            keeps = RecordDict(dict(left))
            if sent_here is not None:
                keeps[SENT_RECORD] = sent_here.to_record()
            memory_hash = _stored(memory, header, keeps)
            if memory_hash == NO_MEMORY and sent_here is not None:
                # The earlier memory stays, and its residual must count once.
                update, _ = encode(feeds_back=False, residual=None)
            context.state = RecordDict({n: record for n, record in left.items() if n not in TASK_RECORDS})
        fault_point("node.memory-drafted")
        commitment = _commitment(update, header, signer.account, memory_hash, bundle)
        if options.claim is not None:
            commitment = options.claim(contributor, commitment)
        sent = RecordDict() if policy.noise1024 else _sent_records(content, configs=options.configs)
        leaving = records.pack(sent)
        draft = DraftUpdate(header.hash.hex(), commitment, update.data, leaving)
        draft_update(contributor.home, header.round, draft, draft_key)
        fault_point("node.drafted")
    check_in_time(header.round, contributor)
    domain = Domain(contributor.chain_id, contributor.ledger)
    # The signer reads the chain itself. It refuses while it can't, or while its endpoint is a block behind, and then
    # the same request may be made again.
    signature = repeat(
        lambda: signer.sign(commitment, domain, draft.data), {CHAIN_UNAVAILABLE, "round-ahead"}
    )
    signed = commitment_to_wire(commitment, signature)
    fault_point("node.signed")
    kept = KeptUpdate(header.hash.hex(), signed, draft.data, draft.said)
    keep_update(contributor.home, header.round, kept)
    fault_point("node.kept")
    with contextlib.suppress(OSError):  # The next training does it.
        commit_memory(
            _memory_folder(contributor, commitment.bundle_hash), header.round, commitment.memory_hash
        )
    log(INFO, "Round %d: update %s signed", header.round, commitment.update_root.hex()[:16])
    reply, accepted = _reply(message, kept, round_message, contributor)
    if span is not None and accepted:
        # What was trained before a round opened waited for it.
        times = clock.Times(span.ended, time.monotonic() - max(span.ended, began))
        with contextlib.suppress(OSError):  # The next training then has the margin of this one.
            clock.write(_memory_folder(contributor, commitment.bundle_hash), times)
    if eager is not None and accepted:
        with contextlib.suppress(OSError):  # The next round then starts from its base.
            if (lock := eager.begin(header.round)) is not None:
                work = partial(_train_on, app, header, policy, kept.data, left)
                longest = float(policy.commit_window + policy.anchor_window)
                later(Job(eager, lock, header.round, header.hash, longest, work))
    return reply


class _App:
    """The app behind the mod, which may train more than once.

    Args:
        message: The train message as it came.
        context: Flower's context.
        call_next: Calls the app.
        contributor: The contributor.
        round_message: The coordinator's data on the round.
        manifest: The federation's manifest.
        theta: int64[256 n], the base's weights.
        files: Gives the values of carried files.
        options: Arguments of the mod.
    """

    def __init__(
        self,
        message: Message,
        context: Context,
        call_next: ClientAppCallable,
        contributor: Contributor,
        round_message: records.RoundMessage,
        manifest: Manifest,
        theta: I64,
        files: Files,
        options: _Options,
    ) -> None:
        self._message, self._context, self._call_next = message, context, call_next
        self._options, self._files = options, files
        self._content = RecordDict({**message.content, records.THETA: records.theta_record(None)})
        self._content.pop(records.CARRIED, None)
        self.contributor, self.round_message, self.manifest = contributor, round_message, manifest
        self._base = [theta]

    def base(self, *, keep: bool = False) -> I64:
        """Return the base's weights, int64[256 n]. Without `keep` it is the last time, and they are not held here."""
        return self._base[0] if keep else self._base.pop()

    def train(self, weights: F32, number: int, state: RecordDict) -> Trained | Message:
        """Let the app train; return what it trained, or its error.

        Args:
            weights: float32[256 n], the weights at the start.
            number: The round.
            state: What an earlier training left.

        Raises:
            RefusedError: The app raised an exception, or its state has a record with a reserved name.
        """
        files = self._files if self._options.whole else None
        arrays = self.manifest.unflatten(weights, dtypes=True, files=files)
        del weights
        start = self.manifest.flatten(arrays)  # Half precision: the rounded values that the app sees.
        content = RecordDict(dict(self._content))
        content[records.ROUND] = replace(self.round_message, round=number).to_record()
        self._message.content = _plain_message(
            content, arrays, self.round_message.arrays_key, show_round=self._options.show_round
        )
        del arrays  # The message has a copy.
        before, self._context.state = self._context.state, state
        began, processor = time.monotonic(), time.process_time()
        try:
            with frozen.given(frozen.Frozen(self.manifest, self._files)):
                reply = _train(self._message, self._context, self._call_next, self.contributor)
        finally:
            left, self._context.state = self._context.state, before
            # The arrays that the app started from are not needed any more.
            self._message.content = RecordDict()
        if reply.has_error():
            return reply
        if SENT_RECORD in left:
            raise RefusedError(
                f"the app's state has a record named {SENT_RECORD!r}, a name that Folkmoot uses itself.",
                remedy="Give the record another name.",
                code="wrong-memory",
            )
        span = clock.Span(began, time.monotonic(), time.process_time() - processor)
        return Trained(start, reply.content, left, span)


def _train_on(
    app: _App, header: RoundHeader, policy: Policy, data: bytes, state: RecordDict
) -> Trained | None:
    """Train from the eager start of the next round; return None if the app replied with an error.

    Raises:
        KeeperError: The keeper does not give the base's momentum.
        RefusedError: The app raised an exception.
    """
    trained = app.train(_eager_weights(app, header, policy, data), header.round + 1, state)
    return None if isinstance(trained, Message) else trained


def _eager_weights(app: _App, header: RoundHeader, policy: Policy, data: bytes) -> F32:
    """Return the eager start of the next round, float32[256 n].

    Raises:
        KeeperError: The keeper does not give the base's momentum.
    """
    manifest = app.manifest
    momentum = base_momentum(app.contributor.keeper, header.round, manifest.size)
    if state_tree(MOMENTUM, momentum).root != app.round_message.momentum_root:
        raise KeeperError(
            f"The keeper's momentum of the base of round {header.round} is not the chain's.",
            remedy="Start `folkmoot join` again.",
            code="wrong-base",
        )
    start = eager_start(
        app.base(),
        momentum,
        decode_update(data, manifest, header.width),
        policy.mean_scale,
        np.array(header.exponents, dtype=np.int64)[manifest.tensor_of_leaf],
        policy.rate,
        policy.momentum,
    )
    return to_float32(start)


def _plain_message(
    content: RecordDict, arrays: Mapping[str, NDArray[Any]], arrays_key: str, *, show_round: bool
) -> RecordDict:
    """Return the message as Flower would send it: the app's own records, with its arrays instead of theta."""
    ordinary = RecordDict()
    for name, record in content.items():
        if name == records.THETA:
            ordinary[arrays_key] = ArrayRecord({key: Array(array) for key, array in arrays.items()})
        elif name != records.ROUND or show_round:
            ordinary[name] = record
    return ordinary


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


def _sent_records(content: RecordDict, *, configs: bool) -> RecordDict:
    """Return the records of the app's reply that are sent with the signed update."""
    leaving = RecordDict(dict(content.metric_records))
    settings = RecordDict(dict(content.config_records)) if configs else RecordDict()
    size = len(records.pack(settings))
    if size <= MAX_CONFIGS:
        leaving.update(settings)
    else:
        log(
            WARNING,
            "The config records of the app's reply have %d bytes, more than %d. They stay on this node",
            size,
            MAX_CONFIGS,
        )
    return leaving


def _commitment(
    update: EncodedUpdate,
    header: RoundHeader,
    account: str,
    memory_hash: bytes,
    bundle: bytes,
) -> Commitment:
    return Commitment(
        contributor=account,
        round=header.round,
        base_state_root=header.base_state_root,
        update_root=update.root,
        sum_squares=update.sum_squares,
        memory_hash=memory_hash,
        bundle_hash=bundle,
    )


def _memory_folder(contributor: Contributor, bundle: bytes) -> Path:
    """Return the folder with the memories of a bundle."""
    return Path(os.environ.get(MEMORY_VARIABLE) or contributor.home / MEMORY_FOLDER / bundle.hex())


def _memory(contributor: Contributor, manifest: Manifest, bundle: bytes, key: bytes) -> MemoryStore:
    owner = Owner(
        chain=contributor.chain_id,
        ledger=contributor.ledger.lower(),
        account=contributor.account.lower(),
        manifest=manifest.hash.hex(),
        bundle=bundle.hex(),
    )
    return MemoryStore(_memory_folder(contributor, bundle), owner, key, manifest.elements)


def _header_hash(number: int, contributor: Contributor) -> bytes:
    """Return the hash of a round's header on the chain."""
    with open_rpc(contributor.rpc) as rpc:
        ledger = LedgerReader(rpc, contributor.ledger)
        return read_chain(lambda: ledger.round(number).header_hash)


def _ends(view: RoundView, contributor: Contributor, bundle: bytes) -> tuple[float, float]:
    """Return the monotonic times at which a training by the clock ends, and at which the commit window ends."""
    with open_rpc(contributor.rpc) as rpc:
        now = read_chain(rpc.latest_timestamp)
    over = time.monotonic() + view.commit_deadline - max(now, view.opened_at)
    window = view.commit_deadline - view.opened_at
    return over - clock.margin(window, clock.read(_memory_folder(contributor, bundle)).handing_in), over


def _tell_time(folder: Path, number: int, span: clock.Span) -> None:
    """Log which share of the time the node has trained, and keep the time for the next training."""
    times = clock.read(folder)
    log(INFO, "%s", clock.TrainingTime.of(number, span, times.ended))
    with contextlib.suppress(OSError):  # The next share is then unknown, or too small.
        clock.write(folder, replace(times, ended=span.ended))


def _remembered(
    memory: MemoryStore | None,
    contributor: Contributor,
    manifest: Manifest,
    number: int,
    base: int,
    *,
    load: bool,
    feeds_back: bool,
) -> tuple[RecordDict, F32 | None]:
    """Return what an earlier training left for a round, and the residual of its update.

    There are no records, and no residual, if there is nothing, or nothing that can be used. Without `load`, return no
    records, and without `feeds_back` no residual. Without both, only remove what is too old.
    """
    nothing = RecordDict(), None
    if memory is None:
        return nothing

    def signed(earlier: int) -> bytes | None:
        kept = kept_update(contributor.home, earlier)
        try:
            return None if kept is None else commitment_from_wire(kept.commitment)[0].memory_hash
        except InputError:  # A damaged file.
            return None

    def view(earlier: int) -> RoundView:
        with open_rpc(contributor.rpc) as rpc:
            return LedgerReader(rpc, contributor.ledger).round(earlier)

    def has_committed(earlier: int) -> bool:
        with open_rpc(contributor.rpc) as rpc:
            return LedgerReader(rpc, contributor.ledger).has_committed(
                earlier, to_checksum_address(contributor.account)
            )

    try:
        memory.settle(number, signed)
        kept = read_chain(lambda: memory.choose(base, lambda earlier: view(earlier).base))
        if kept is None or not (load or feeds_back):
            return nothing
        found = memory.load(kept, read_chain(lambda: view(kept.round)).header_hash)
    except (LocalError, OSError) as error:
        log(WARNING, "%s", error)
        return nothing
    sent = found.array_records.get(SENT_RECORD)
    residual = None
    if sent is not None:
        del found[SENT_RECORD]
        if feeds_back:
            delivered = read_chain(lambda: has_committed(kept.round))
            residual = Sent.of_record(sent).residual(manifest, delivered=delivered)
    if not load:
        return RecordDict(), residual
    log(INFO, "Round %d: training goes on with the memory of round %d", number, kept.round)
    return found, residual


def _stored(memory: MemoryStore, header: RoundHeader, left: RecordDict) -> bytes:
    """Store what training left; return its hash, or zero if it can't be stored."""
    try:
        return memory.draft(header.round, header.hash, left)
    except (LocalError, InputError) as error:
        log(WARNING, "%s", error)
        return NO_MEMORY


def _train(
    message: Message, context: Context, call_next: ClientAppCallable, contributor: Contributor
) -> Message:
    """Call the app. Replace an exception, whose text Flower would send to the server and which may hold private data.

    Raises:
        RefusedError: The app raised an exception. The message names only its type; the rest stays on this machine. Or
            it answered with an error of its own, in a federation with a privacy budget: its text stays here, too.
    """
    try:
        reply = call_next(message, context)
    except FolkmootError:
        raise
    except Exception as error:
        log(ERROR, "The app failed", exc_info=error)
        reason = sentence(plain(f"{type(error).__name__}: {error}")) if str(error) else ""
        raise RefusedError(
            f"training raised {type(error).__name__}.",
            remedy=f"{reason} The traceback is in {contributor.log}.",
            code="training-failed",
        ) from error
    if reply.has_error() and contributor.private:
        raise RefusedError(
            "the app answered with an error, whose text stays on this node.",
            remedy=sentence(plain(reply.error.reason or "It gives no reason")),
            code="training-failed",
        )
    return reply


def _reply(
    message: Message, kept: KeptUpdate, round_message: records.RoundMessage, contributor: Contributor
) -> tuple[Message, bool]:
    """Return a reply with the commitment, the app's records that may be sent, and the update if it must be carried.

    Also return whether the coordinator has accepted the update.
    """
    reply = RecordDict({records.COMMITMENT: _config({"commitment": kept.commitment})})
    code = _CARRIED if round_message.update_in_reply else _delivered(round_message.round, contributor)
    # If the coordinator has refused it, the relay asks the coordinator for the reason.
    if code and code not in REFUSALS:
        reply[records.UPDATE] = records.update_record(kept.data)
    for name, record in records.unpack(kept.said).items():
        reply.setdefault(name, record)
    return Message(reply, reply_to=message), not code


def _delivered(number: int, contributor: Contributor) -> str:
    """Let the keeper deliver the update. Return why it was not delivered, as a code; empty if it was accepted."""
    try:
        deliver(contributor.keeper, number)
    except KeeperError as error:
        if error.code != NO_KEEPER:
            log(WARNING, "The keeper did not deliver the update (%s): %s", error.code, error)
        return error.code
    return ""


def _config(values: Mapping[str, Any]) -> Any:
    from flwr.app import ConfigRecord

    return ConfigRecord(dict(values))
