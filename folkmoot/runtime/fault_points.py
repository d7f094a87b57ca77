# SPDX-License-Identifier: Apache-2.0
"""Where a test can kill this process: before and after each step that leaves something behind.

A process that was started with FOLKMOOT_FAULT="NAME@FILE" or "NAME:PASS@FILE" ends itself with SIGKILL when it
reaches the point NAME (for the PASS-th time, the first by default). It makes FILE before it dies and spares itself
if FILE is there: so a supervisor can start it again with the same environment, and processes that Flower starts one
after the other die once in all. Several faults, separated by commas, are so many deaths, each at its own point.
Without that variable a point costs one comparison.

Knows nothing of what the steps do. `make chaos` kills a coordinator, its repair and its restore at each of their points
(docs/reliability.md); a test says for every other point where a process is killed there.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

VARIABLE = "FOLKMOOT_FAULT"

COORDINATOR_WRITES: dict[str, str] = {
    "genesis-recorded": "the genesis's files are known",
    "run-started": "the operator's wish for a run",
    "round-planned": "a new round, and the transaction that opens it",
    "round-opened": "the round takes updates",
    "opening-failed": "the chain refused the opening: the round is gone, and its run has failed",
    "update-refused": "a refusal",
    "update-accepted": "an update that was accepted, or a file that a commitment on the chain waited for",
    "batch-queued": "a batch of commitments",
    "batch-told": "the event that a batch is on the chain",
    "batch-repaired": "the commitment that spoilt a batch is out of it",
    "close-queued": "the transaction that ends a commit window early",
    "window-moved": "the deadlines that the chain has since a commit window was closed early",
    "round-reported": "the operator's report on the nodes of a round",
    "empty-queued": "the transaction that cancels a round without any update before its window ends",
    "run-ended": "the end of a run that its operator gave up",
    "entries-fixed": "the round's entries",
    "delivery-taken": "a file that its contributor delivered on the chain",
    "delivery-over": "the round waits for no more files",
    "outcome-recorded": "the outcome",
    "canary-reported": "the canary's report",
    "canary-judged": "what follows from the canary's report",
    "round-released": "the operator's word that a withheld round is anchored",
    "release-followed": "the anchor of a released round",
    "anchor-again": "an anchor that was refused, once more",
    "round-anchored": "the round is anchored",
    "wait-told": "it is told what the run waits for",
    "answer-queued": "the answer to a demand for data",
    "answer-impossible": "the event that a demand can't be answered",
    "deadline-moved": "a challenge deadline that was postponed",
    "finalize-queued": "the transaction that makes a round final",
    "finalize-refused": "the round waits again for its final word",
    "final-seen": "somebody else made the round final",
    "final-lost": "a reorg took the final word: the round waits for another one",
    "settle-queued": "the transaction that credits the rewards",
    "settle-again": "a settlement that was refused, once more",
    "round-settled": "the round is settled",
    "round-late": "the round is to be cancelled: its anchor is late",
    "cancel-queued": "the transaction that cancels a round",
    "round-ended": "a round that ended without an outcome",
    "problem-noted": "what holds a round up",
    "run-done": "the run is done",
    "run-failed": "the run has failed",
    "transaction-signed": "a transaction's nonce and bytes",
    "transaction-mined": "a transaction's block",
    "transaction-confirmed": "a transaction at depth",
    "transaction-failed": "a transaction that the chain refuses",
    "transaction-reverted": "a transaction that reverted at depth",
    "transaction-unmined": "a reorg took a transaction out of its block",
    "transaction-replaced": "a transaction's bytes with higher fees",
    "nonce-filled": "the bytes of a transaction that does nothing but use up a nonce",
    "transaction-requeued": "a transaction that lost its nonce is to be signed again",
    "events-read": "the events of some blocks",
    "reorg-dropped": "the events of blocks that a reorg took are forgotten",
    "chain-rewound": "rounds and transactions are as a chain has them that lost blocks with their confirmations",
    "model-kept": "the row of a model file",
    "report-kept": "the row of an evaluation report",
    "wish-kept": "the row of a wish to delete update files",
}
"""Each database transaction of the coordinator: its name, and what is there once it is committed."""

POINTS: dict[str, str] = {
    "coordinator.transaction-sent": "the chain has a transaction, and the coordinator knows only that it signed it",
    "coordinator.transaction-sent-again": "the chain has a transaction once more",
    "coordinator.file-kept.before": "a whole file in the store's folder of unfinished ones",
    "coordinator.file-kept.after": "a file in the store that no row names",
    "coordinator.file-sent.before": "a whole file that a bucket has not got",
    "coordinator.file-sent.after": "a file in a bucket that no row names, and no copy of it",
    "coordinator.file-linked.before": "a link by keccak among unfinished files, or on its way to a bucket",
    "coordinator.file-linked.after": "a link by keccak that no row names",
    "coordinator.outcome-computed": "the files of an outcome that no row names",
    "relay.round-loaded": "a round's base is here, and no node was asked",
    "relay.asked": "nodes were asked, and none has answered",
    "relay.reply-taken": "an answer was taken from the SuperLink, which forgets it, and not handed in",
    "relay.handed-in": "an update was handed in, and others were not",
    "node.base-checked": "a round was checked against the chain, and nothing was trained",
    "node.charged": "the signer has counted a private training, and nobody was told",
    "node.trained": "an update was trained, and is nowhere but in memory",
    "node.memory-drafted": "what training keeps is on disk, and its update is nowhere but in memory",
    "node.eager-trained": "the next update was trained from its eager start, and is nowhere but in memory",
    "node.eager-left": "the next update's training is on disk, and no round has opened for it",
    "node.drafted": "an update is on disk, and was not signed",
    "node.remembered": "the signer has noted what it signs, and nobody has the signature",
    "node.signed": "an update was signed, and its signature is nowhere but in memory",
    "cli.run-noted": "`train` has noted the run that it wishes for, and nobody else knows of it",
    "cli.run-started": "the coordinator has begun a run, and `train` does not know its number",
    "cli.relay-started": "a relay is under way, and `train` has not noted its number",
    "audit.round-noted.before": "a round was found right, and the journal does not say so",
    "audit.round-noted.after": "the journal has a round, and the audit goes on to the next",
    "audit.lines-dropped.before": "the journal has lines of rounds that a reorg took",
    "audit.lines-dropped.after": "stale lines are cut off, and nothing stands in their place",
    "node.kept": "a signed update is on disk, and was not sent",
    "account.key-written.before": "nothing yet: a key is nowhere but in memory",
    "account.key-written.after": "a key file that its owner was not told of",
    "operator.settings-written.before": "a coordinator's folder with everything but its settings",
    "operator.settings-written.after": "a coordinator's folder that its operator was not told of",
    "sender.note-written.before": "nothing yet: a transaction is signed, and nowhere but in memory",
    "sender.note-written.after": "a signed transaction is noted, and was not sent",
    "sender.sent": "the chain has a transaction, and who sent it does not know it",
    "sender.mined": "a transaction is mined, and its user was not told",
    "sender.waiting": "a transaction is mined, and not as deep as its user wants",
    "sender.note-removed.before": "the user was told what came of a transaction, and its note is still there",
    "sender.note-removed.after": "a command has done all that it had to do, and has not ended",
    "deploy.plan-written.before": "nothing yet of a deployment, or all of it but the word that it was verified",
    "deploy.plan-written.after": "the plan of a deployment, or the word in it that the contracts were verified",
    "deploy.file-written.before": "the contracts of a federation, verified, and no file that names them",
    "deploy.file-written.after": "a deployment file that its deployer was not told of",
    "deploy.plan-removed.before": "the deployer was told, and the plan is still there",
    "deploy.plan-removed.after": "a deployment is complete",
    "repair.file-replaced.before": "a good file from a mirror, which the store has not got",
    "repair.file-replaced.after": "a good file in the store, and others that are still damaged",
    "repair.link-made.before": "a good file in the store that can't be found by its keccak",
    "repair.link-made.after": "a file that can be found by its keccak again",
    "restore.schema-made.before": "nothing yet: a database without tables",
    "restore.schema-made.after": "an empty database",
    "restore.file-imported.before": "a good file from a mirror, which the store has not got",
    "restore.file-imported.after": "files in the store, and no rounds in the database",
    "restore.events-read.before": "all files in the store, and no events in the database",
    "restore.events-read.after": "all files and events, and no rounds",
    "restore.rows-written.before": "all rounds in a database transaction that is not committed",
    "restore.rows-written.after": "a restored coordinator whose operator was not told",
    "mirror.file-placed.before": "a whole file in a mirror's folder of unfinished ones",
    "mirror.file-placed.after": "a file in a mirror, and not the link by which it is found",
    "mirror.file-deleted.before": "an update file in a mirror whose time is over",
    "mirror.file-deleted.after": "other update files of the same round",
    "states.rebuilt": "a whole rebuilt state in a temporary folder, and the next step of several",
    "keeper.state-written": "a whole state in a keeper's folder that has not its name yet",
    "retention.marked": "update files in the store that nobody gets any more",
    "retention.file-deleted": "a row that says that the store still has a file",
    "watcher.journal-written.before": "a watcher has found or done something that its journal does not have",
    "watcher.journal-written.after": "a watcher's journal has something that was not acted on",
    "watcher.state-kept.before": "a whole state in a watcher's folder, without its name",
    "watcher.state-kept.after": "a state in a watcher's folder that its journal does not name",
    "watcher.answer-kept.before": "a demand was answered, and the answer, or the link to it, is not kept",
    "watcher.answer-kept.after": "an answer is kept, or the link to it, and the journal still has its demand",
}
"""Every point: its name, PROCESS.STEP, and what is left behind when a process dies there. A test compares the names
with the calls in the code."""

for _name, _what in COORDINATOR_WRITES.items():
    POINTS[f"coordinator.{_name}.before"] = f"nothing yet of: {_what}"
    POINTS[f"coordinator.{_name}.after"] = f"{_what}, and nothing that follows from it"


class _Wanted(NamedTuple):
    times: int
    file: Path


def _parse(text: str | None) -> dict[str, _Wanted]:
    wanted = {}
    for fault in text.split(",") if text else ():
        point, _, file = fault.partition("@")
        name, _, times = point.partition(":")
        if not file or (times and not times.isdecimal()):
            raise ValueError(f"{VARIABLE} must be NAME@FILE or NAME:PASS@FILE, and is {fault!r}")
        wanted[name] = _Wanted(int(times or "1"), Path(file))
    return wanted


_wanted = _parse(os.environ.get(VARIABLE))
_passes = dict.fromkeys(_wanted, 0)


def fault_point(name: str) -> None:
    """Die here if this process was told to; see the module.

    Args:
        name: A key of `POINTS`.
    """
    if _wanted and name in _wanted:
        _die(name, _wanted[name])


def _die(name: str, wanted: _Wanted) -> None:
    _passes[name] += 1
    if _passes[name] < wanted.times:
        return
    try:
        with wanted.file.open("x") as file:
            file.write(f"{name} {os.getpid()}\n")
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
