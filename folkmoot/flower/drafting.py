# SPDX-License-Identifier: Apache-2.0
"""Make the draft of a round's update: train, encode, and store what the next round needs.

Nothing is signed here. What training leaves is stored before the draft, so that a draft always has its memory.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import sys
import time
import tomllib
from dataclasses import replace
from functools import partial
from logging import INFO, WARNING
from pathlib import Path
from typing import cast

import numpy as np
from eth_utils.address import to_checksum_address
from flwr.app import Message, RecordDict
from flwr.supercore import log

from folkmoot.coordinator_api import commitment_from_wire
from folkmoot.errors import InputError, LocalError
from folkmoot.flower import clock
from folkmoot.flower.chain import check_in_time, read_chain, read_ledger
from folkmoot.flower.checking import CheckedRound
from folkmoot.flower.contributor import HOMES
from folkmoot.flower.eager import EagerStore, Job, Trained, later
from folkmoot.flower.encoding import encoded, end_of, hide_examples, sent_records
from folkmoot.flower.keeping import KeeperError, base_momentum
from folkmoot.flower.memory import SENT_RECORD, TASK_RECORDS, MemoryStore, Owner, Sent
from folkmoot.flower.records import RefusedError
from folkmoot.flower.training import App
from folkmoot.flower.updates import DraftUpdate, draft_update, kept_update
from folkmoot.protocol import feedback
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.codec import EncodedUpdate, decode_update
from folkmoot.protocol.commitment import NO_BUNDLE, NO_MEMORY, Commitment
from folkmoot.protocol.fixed_point import to_float32
from folkmoot.protocol.merkle import MOMENTUM, state_tree
from folkmoot.protocol.outer_step import eager_start
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.flower_internals import pack
from folkmoot.tasks import pace


class Drafting:
    """The training for a round's update, with what it takes from earlier rounds and leaves for later ones.

    Args:
        app: The app.
        checked: The round.
        account: Who signs the update.
        key: The signer's key for drafts, 32 bytes.
    """

    def __init__(self, app: App, checked: CheckedRound, account: str, key: bytes) -> None:
        self._app, self._round, self._account, self._key = app, checked, account, key
        self._contributor, manifest = app.contributor, checked.manifest
        self._began = time.monotonic()
        self._span: clock.Span | None = None
        self._left = RecordDict()
        self._bundle = verified_bundle(checked.message.bundle_hash)
        self._folder = self._contributor.memories(self._bundle)
        self._memory: MemoryStore | None = None
        self._eager: EagerStore | None = None
        if checked.policy.noise1024:
            return
        owner = Owner(
            chain=self._contributor.chain_id,
            ledger=self._contributor.ledger.lower(),
            account=self._contributor.account.lower(),
            manifest=manifest.hash.hex(),
            bundle=self._bundle.hex(),
        )
        self._memory = MemoryStore(self._folder, owner, key, manifest.elements)
        if pace.is_eager(manifest.training):
            self._eager = EagerStore(self._folder, owner, key, manifest.elements)

    @property
    def untrained(self) -> Commitment:
        """What the update's commitment says before it is trained; root, sum of squares and memory are zero."""
        header = self._round.header
        return Commitment(
            contributor=self._account,
            round=header.round,
            base_state_root=header.base_state_root,
            update_root=bytes(32),
            sum_squares=0,
            bundle_hash=self._bundle,
        )

    def draft(self, *, configs: bool) -> DraftUpdate | Message:
        """Train, and store the draft of the update; return it, or the app's error.

        Args:
            configs: As for `folkmoot.flower.folkmoot_mod`.

        Raises:
            RefusedError: The app raised an exception, what it trained is no update, or the round closed meanwhile.
        """
        header, policy, base = self._round.header, self._round.policy, self._round.view.base
        ends, ahead = self._ends(), None
        if self._eager is not None:
            since = read_ledger(self._contributor, lambda ledger: ledger.round(base).header_hash)
            ahead = self._eager.take(base, since, ends)
        feeds_back = self._memory is not None and feedback.is_on(self._round.manifest.training, header.width)
        earlier, residual = self._remembered(load=ahead is None, feeds_back=feeds_back)
        if ahead is not None:
            log(INFO, "Round %d: training went on since round %d already", header.round, base)
        trained = self._train(earlier, ends[0]) if ahead is None else ahead
        if isinstance(trained, Message):
            return trained
        self._left = trained.state
        if self._memory is not None:
            self._tell_time(trained.span)
        hide_examples(trained.content)
        update, memory_hash = self._encoded(trained, earlier, residual, feeds_back=feeds_back)
        fault_point("node.memory-drafted")
        commitment = replace(
            self.untrained, update_root=update.root, sum_squares=update.sum_squares, memory_hash=memory_hash
        )
        sent = RecordDict() if policy.noise1024 else sent_records(trained.content, configs=configs)
        draft = DraftUpdate(header.hash.hex(), commitment, update.data, pack(sent))
        draft_update(self._contributor.home, header.round, draft, self._key)
        fault_point("node.drafted")
        return draft

    def accepted(self, update: bytes) -> None:
        """Do what follows once the coordinator has accepted the update: keep the time, and train on from eager starts.

        Args:
            update: The update file.
        """
        if self._span is not None:
            # What was trained before a round opened waited for it.
            ended = self._span.ended
            times = clock.Times(ended, time.monotonic() - max(ended, self._began))
            with contextlib.suppress(OSError):  # The next training then has the margin of this one.
                clock.write(self._folder, times)
        if self._eager is not None:
            header, policy = self._round.header, self._round.policy
            with contextlib.suppress(OSError):  # The next round then starts from its base.
                if (lock := self._eager.begin(header.round)) is not None:
                    work = partial(self._train_on, update)
                    longest = float(max(policy.commit_window + policy.anchor_window, policy.interval))
                    later(Job(self._eager, lock, header.round, header.hash, longest, work))

    # Training

    def _ends(self) -> tuple[float, float]:
        """Return the monotonic times at which a training by the clock ends, and at which the commit window ends."""
        if self._eager is None and not pace.by_clock(self._round.manifest.training):
            return math.inf, math.inf
        with open_rpc(self._contributor.rpc) as rpc:
            now = read_chain(rpc.latest_timestamp)
        view = self._round.view
        over = time.monotonic() + view.commit_deadline - max(now, view.opened_at)
        window = view.commit_deadline - view.opened_at
        return over - clock.margin(window, clock.read(self._folder).handing_in), over

    def _train(self, earlier: RecordDict, end: float) -> Trained | Message:
        """Train from the round's base, by the clock until a monotonic time."""
        number = self._round.header.round
        if self._eager is not None:  # It may have waited for a training that was too late.
            check_in_time(number, self._contributor)
        with clock.ends(lambda: end - time.monotonic()):
            base = to_float32(self._round.base(keep=self._eager is not None))
            return self._app.train_from(base, number, earlier)

    def _train_on(self, update: bytes) -> Trained | None:
        """Train from the eager start of the next round; return None if the app replied with an error.

        Raises:
            KeeperError: The keeper does not give the base's momentum.
            RefusedError: The app raised an exception.
        """
        trained = self._app.train_from(self._eager_weights(update), self._round.header.round + 1, self._left)
        return None if isinstance(trained, Message) else trained

    def _eager_weights(self, update: bytes) -> F32:
        """Return the eager start of the next round, float32[256 n].

        Raises:
            KeeperError: The keeper does not give the base's momentum.
        """
        header, manifest, policy = self._round.header, self._round.manifest, self._round.policy
        momentum = base_momentum(self._contributor.keeper, header.round, manifest.size)
        if state_tree(MOMENTUM, momentum).root != self._round.message.momentum_root:
            raise KeeperError(
                f"The keeper's momentum of the base of round {header.round} is not the chain's.",
                remedy="Start `folkmoot join` again.",
                code="wrong-base",
            )
        start = eager_start(
            self._round.base(),
            momentum,
            decode_update(update, manifest, header.width),
            policy.mean_scale,
            np.array(header.exponents, dtype=np.int64)[manifest.tensor_of_leaf],
            policy.rate,
            policy.momentum,
        )
        return to_float32(start)

    def _tell_time(self, span: clock.Span) -> None:
        """Log which share of the time the node has trained, and keep the time for the next training."""
        self._span, times = span, clock.read(self._folder)
        log(INFO, "%s", clock.TrainingTime.of(self._round.header.round, span, times.ended))
        with contextlib.suppress(OSError):  # The next share is then unknown, or too small.
            clock.write(self._folder, replace(times, ended=span.ended))

    # The update and what is kept

    def _encoded(
        self, trained: Trained, earlier: RecordDict, residual: F32 | None, *, feeds_back: bool
    ) -> tuple[EncodedUpdate, bytes]:
        """Encode the update, and store what training left; return the update and the memory's hash.

        Raises:
            RefusedError: What was trained is no update.
        """
        checked, left = self._round, trained.state
        try:
            end = end_of(trained.content, checked.message.arrays_key, checked.manifest, checked.files)
            encode = partial(
                encoded,
                trained.start,
                end,
                checked.header,
                checked.manifest,
                self._account,
                checked.policy.max_sum_squares,
            )
            update, sent = encode(feeds_back=feeds_back, residual=residual)
        except RefusedError:
            if self._eager is not None:
                self._eager.forget()
            raise
        fault_point("node.trained")
        if self._memory is None or not (left or earlier or sent is not None):
            return update, NO_MEMORY
        keeps = RecordDict(dict(left))
        if sent is not None:
            keeps[SENT_RECORD] = sent.to_record()
        memory_hash = NO_MEMORY
        try:
            memory_hash = self._memory.draft(checked.header.round, checked.header.hash, keeps)
        except (LocalError, InputError) as error:
            log(WARNING, "%s", error)
            if sent is not None:  # The earlier memory stays, and its residual must count once.
                update, _ = encode(feeds_back=False, residual=None)
        self._app.context.state = RecordDict(
            {n: record for n, record in left.items() if n not in TASK_RECORDS}
        )
        return update, memory_hash

    def _remembered(self, *, load: bool, feeds_back: bool) -> tuple[RecordDict, F32 | None]:
        """Return what an earlier training left for the round, and the residual of its update.

        There are no records, and no residual, if there is nothing, or nothing that can be used. Without `load`, return
        no records, and without `feeds_back` no residual. Without both, only remove what is too old.
        """
        nothing, memory, contributor = (RecordDict(), None), self._memory, self._contributor
        if memory is None:
            return nothing
        number, base = self._round.header.round, self._round.view.base

        def signed(earlier: int) -> bytes | None:
            kept = kept_update(contributor.home, earlier)
            try:
                return None if kept is None else commitment_from_wire(kept.commitment)[0].memory_hash
            except InputError:  # A damaged file.
                return None

        try:
            memory.settle(number, signed)
            kept = read_ledger(
                contributor, lambda ledger: memory.choose(base, lambda earlier: ledger.round(earlier).base)
            )
            if kept is None or not (load or feeds_back):
                return nothing
            state = memory.load(
                kept, read_ledger(contributor, lambda ledger: ledger.round(kept.round).header_hash)
            )
        except (LocalError, OSError) as error:
            log(WARNING, "%s", error)
            return nothing
        sent = state.array_records.get(SENT_RECORD)
        residual = None
        if sent is not None:
            del state[SENT_RECORD]
            if feeds_back:
                account = to_checksum_address(contributor.account)
                delivered = read_ledger(contributor, lambda ledger: ledger.has_committed(kept.round, account))
                residual = Sent.of_record(sent).residual(self._round.manifest, delivered=delivered)
        if not load:
            return RecordDict(), residual
        log(INFO, "Round %d: training goes on with the memory of round %d", number, kept.round)
        return state, residual


def verified_bundle(claimed: bytes) -> bytes:
    """Return the claimed bundle hash if the running app was unpacked from that bundle, else zero.

    Flower checks a bundle's files, unpacks it to a folder with the first digits of its hash in the name, and loads the
    app from there.
    """
    if len(claimed) != len(NO_BUNDLE):
        return NO_BUNDLE
    for entry in sys.path:
        folder = Path(entry)
        if folder.parent.name == "apps" and folder.name.endswith("." + claimed.hex()[:8]):
            if _client_module_in(folder):
                return claimed
            break
    log(WARNING, "The running app is not the bundle that the coordinator names; signing without a bundle")
    return NO_BUNDLE


def _client_module_in(folder: Path) -> bool:
    """Return whether the ClientApp of the bundle in this folder was imported from this folder."""
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        name = str(document["tool"]["flwr"]["app"]["components"]["clientapp"]).partition(":")[0]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError):
        return False
    if os.environ.get(HOMES) and name not in sys.modules:
        # Ray's workers get the ClientApp pickled: they import the modules that it refers to, but not its own module.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    module = sys.modules.get(name)
    origin = cast(str | None, getattr(module, "__file__", None))
    return origin is not None and Path(origin).resolve().is_relative_to(folder.resolve())
