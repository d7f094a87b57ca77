# SPDX-License-Identifier: Apache-2.0
"""Train on while a round is committed and anchored (docs/protocol.md section 9.1).

The process that has handed in an update of round t goes on after its reply to Flower. It trains from the eager start,
and leaves what it trained in the folder of the bundle's memories, encrypted as they are. The process of the next train
message waits for it, and takes what it left if its round has the state after t as its base. A process that is killed
leaves nothing, and the round is trained from its base as usual.

The two processes share a folder. A lock says that one trains, `trains` names the round that it goes on from, and
`ends` has the monotonic times at which a training by the clock ends, and at which every training is too late. If
`trains` is gone, it ends at once. The training code can write all of them, as it can its own memory. This module is
part of the app bundle.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from logging import INFO, WARNING
from pathlib import Path
from typing import cast

from filelock import AcquireReturnProxy, FileLock
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.supercore import log

from folkmoot.errors import FolkmootError, LocalError
from folkmoot.flower import clock
from folkmoot.flower.memory import Kept, MemoryStore, Owner
from folkmoot.protocol.arrays import F32
from folkmoot.runtime import locks
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import write_whole

Lock = AcquireReturnProxy[FileLock]

_FOLDER = "eager"
_LOCK, _TRAINS, _ENDS = "lock", "trains", "ends"
_LOOKS = 0.5
"""Seconds between two looks at the files of the folder."""
_START, _SPAN, _REPLY, _STATE = "start", "span", "reply/", "state/"
"""Names of the records in a file: weights at the start, time, and the beginnings of those of reply and state."""


@dataclass(frozen=True)
class Trained:
    """What was trained."""

    start: F32
    """float32[256 n], the weights from which it was trained."""
    content: RecordDict
    """The app's reply."""
    state: RecordDict
    """What training keeps for the next round."""
    span: clock.Span
    """When it was trained."""


class EagerStore:
    """What a bundle's training from eager starts has left.

    Args:
        memories: Folder with the bundle's memories.
        owner: Whose it is.
        key: The signer's key for drafts, 32 bytes.
        weights: Number of the model's weights.
    """

    def __init__(self, memories: Path, owner: Owner, key: bytes, weights: int) -> None:
        self.folder = memories / _FOLDER
        # Beside the memory there are the weights at the start and at the end.
        self._files = MemoryStore(self.folder, owner, key, 2 * weights)

    def take(self, base: int, header_hash: bytes, ends: tuple[float, float]) -> Trained | None:
        """Return what was trained since a round; None if nothing was. Waits for a process that still trains.

        What was trained since other rounds is removed, and a process that trains from another round is ended. What is
        returned is kept as long as rounds start from this base.

        Args:
            base: The round whose state is the base.
            header_hash: Hash of that round's header on the chain.
            ends: Monotonic times at which a training by the clock ends, and at which every training is too late.
        """
        try:
            self._await(base, ends)
            content = None
            for kept in self._files.drafts():
                if kept.round != base:
                    kept.path.unlink(missing_ok=True)
                else:
                    content = self._read(kept, header_hash)
        except (LocalError, OSError) as error:
            log(WARNING, "%s", error)
            return None
        return content

    def _await(self, base: int, ends: tuple[float, float]) -> None:
        """Wait for the process that trains since this round, or end the one that trains since another round."""
        if not self.folder.is_dir():
            return
        lock = locks.try_acquire(self.folder / _LOCK)
        if lock is None:
            if not self.wanted(base):
                (self.folder / _TRAINS).unlink(missing_ok=True)
                return
            write_whole(self.folder / _ENDS, json.dumps(ends).encode())
            log(INFO, "Training goes on since round %d, and this process waits for it", base)
            lock = locks.acquire(self.folder / _LOCK)
        lock.lock.release()

    def _read(self, kept: Kept, header_hash: bytes) -> Trained:
        records = self._files.load(kept, header_hash)

        def named(prefix: str) -> RecordDict:
            return RecordDict(
                {
                    name.removeprefix(prefix): record
                    for name, record in records.items()
                    if name.startswith(prefix)
                }
            )

        start = records.array_records[_START][_START].numpy()
        span = clock.Span(**cast(dict[str, float], dict(records.metric_records[_SPAN])))
        return Trained(start, named(_REPLY), named(_STATE), span)

    def forget(self) -> None:
        """Remove what was trained."""
        for kept in self._files.drafts():
            kept.path.unlink(missing_ok=True)

    def begin(self, number: int) -> Lock | None:
        """Begin a training since a round; return the lock to hold during it. None if another process trains.

        Raises:
            OSError: The folder can't be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = locks.try_acquire(self.folder / _LOCK)
        if lock is not None:
            (self.folder / _ENDS).unlink(missing_ok=True)
            write_whole(self.folder / _TRAINS, str(number).encode())
        return lock

    def left(self) -> tuple[float, float]:
        """Return the seconds that a training by the clock has left, and any training; infinity before a round opens."""
        try:
            end, too_late = json.loads((self.folder / _ENDS).read_bytes())
            return float(end) - time.monotonic(), float(too_late) - time.monotonic()
        except (OSError, ValueError, TypeError):
            return math.inf, math.inf

    def wanted(self, number: int) -> bool:
        """Return whether a training since this round is wanted."""
        try:
            return (self.folder / _TRAINS).read_text(encoding="ascii") == str(number)
        except (OSError, ValueError):
            return False

    def leave(self, number: int, header_hash: bytes, trained: Trained) -> None:
        """Store what was trained since a round.

        Raises:
            LocalError: It is too large, or the disk failed. Nothing was stored.
            InputError: A record can't be stored.
        """
        records = RecordDict(
            {
                _START: ArrayRecord({_START: Array(trained.start)}),
                _SPAN: MetricRecord(asdict(trained.span)),
            }
        )
        for prefix, listed in ((_REPLY, trained.content), (_STATE, trained.state)):
            records.update({prefix + name: record for name, record in listed.items()})
        self._files.draft(number, header_hash, records)


@dataclass(frozen=True)
class Job:
    """A training since a round."""

    store: EagerStore
    """Where to leave what was trained."""
    lock: Lock
    """What `EagerStore.begin` returned."""
    round: int
    """The round."""
    header_hash: bytes
    """Hash of its header."""
    longest: float
    """Seconds after which a training by the clock ends if no round opens."""
    work: Callable[[], Trained | None]
    """Trains; None if the app failed."""


_jobs: list[Job] = []


def later(job: Job) -> None:
    """Let `train_on` do a job after the reply to the train message."""
    _jobs.append(job)


def waits() -> bool:
    """Return whether this process has a job."""
    return bool(_jobs)


def train_on() -> None:
    """Do the job of this process, if there is one. `client.node.task` calls this after Flower has the reply."""
    while _jobs:
        job, done = _jobs.pop(), threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # Flower's handlers would send another reply.
        threading.Thread(target=_watch, args=(job, done), daemon=True).start()
        try:
            with job.lock:
                _do(job)
        except (FolkmootError, OSError) as error:
            log(WARNING, "The training since round %d is lost: %s", job.round, error)
        finally:
            done.set()


def _do(job: Job) -> None:
    began = time.monotonic()
    log(INFO, "Training goes on since round %d", job.round)

    def left() -> float:
        return min(job.store.left()[0], began + job.longest - time.monotonic())

    with clock.ends(left):
        trained = job.work()
    if trained is None:
        log(WARNING, "The app failed in the training since round %d", job.round)
        return
    fault_point("node.eager-trained")
    job.store.leave(job.round, job.header_hash, trained)
    fault_point("node.eager-left")
    log(INFO, "Training since round %d is done after %.1f seconds", job.round, time.monotonic() - began)


def _watch(job: Job, done: threading.Event) -> None:
    """End this process if nobody wants its training any more, or if it is too late."""
    while job.store.wanted(job.round) and job.store.left()[1] > 0:
        if done.wait(_LOOKS):
            return
    log(INFO, "Training since round %d ends: the next round has another base, or is over", job.round)
    os._exit(0)
