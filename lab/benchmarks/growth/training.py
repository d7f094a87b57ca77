# SPDX-License-Identifier: Apache-2.0
"""The memory of a node that trains a large model: ``python -m benchmarks.growth.training [--model 100]``.

Runs two rounds of the task `text` with a larger model, one step each, as the mod runs them on a node: from the base's
int64 weights to the encoded update and the encrypted memory, from which the second round goes on. There is no chain and
no coordinator. Both rounds are in one process, which has loaded torch before.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from benchmarks.growth.large import Part
from benchmarks.growth.usage import Process
from client.app import train
from folkmoot.flower import records
from folkmoot.flower.contributor import HOME, Contributor
from folkmoot.flower.encoding import encoded, end_of
from folkmoot.flower.memory import MemoryStore, Owner, commit_memory
from folkmoot.flower.training import App
from folkmoot.protocol.fixed_point import from_float, to_float32
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest, no_files
from folkmoot.tasks import load_task

MODELS = ("3", "30", "100")
"""Millions of weights."""
_ACCOUNT = "0x" + "11" * 20
_HASH, _KEY = bytes(32), bytes(32)
_WIDTH, _EXPONENT = 4, -11
_NO_CAP = 1 << 63
_THETA = "theta"


def measure(folder: Path, model: str) -> tuple[int, list[Part]]:
    """Return the number of weights, and what each of the two rounds took.

    Args:
        folder: An empty folder for everything.
        model: One of `MODELS`.
    """
    reference = f"{__package__}.language:Text{model}"
    with ProcessPoolExecutor(2, get_context("spawn")) as fresh:
        manifest = fresh.submit(begin, folder, reference).result()
        return manifest.elements, fresh.submit(rounds, folder, reference, manifest).result()


def begin(folder: Path, reference: str) -> Manifest:
    """Write the first weights, as int64, and the contributor's file to a folder; return the manifest.

    Args:
        folder: An empty folder.
        reference: The task, as ``package.module:object``.
    """
    task = load_task(reference)
    values = {name: tensor.numpy() for name, tensor in task.model().state_dict().items()}
    manifest = Manifest.from_arrays(task.name, values, task.training)
    from_float(manifest.flatten(values)).tofile(folder / _THETA)
    Contributor(folder, "", "", {"chainId": 1, "ledger": _ACCOUNT}, _ACCOUNT, reference, 0, 3).save()
    return manifest


def rounds(folder: Path, reference: str, manifest: Manifest) -> list[Part]:
    """Return what each of the two rounds took of this process. Arguments and manifest are those of `begin`."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    load_task(reference).load(0, 3, 0)  # Texts and their encoding do not count.
    own, found = Process(os.getpid()), []
    for round_ in (1, 2):
        held, before = own.forget_peak(), own.seconds()
        _round(folder, manifest, round_)
        found.append(Part(f"round {round_}", own.seconds() - before, own.peak(), held))
    return found


def _round(folder: Path, manifest: Manifest, round_: int) -> None:
    """Do what the mod does, with a base that the keeper would have sent."""
    contributor = Contributor.load(folder)
    header = RoundHeader(round_, manifest.hash, _HASH, 1, _WIDTH, _HASH, (_EXPONENT,) * len(manifest.tensors))
    said = records.RoundMessage(round_, header.encoded, manifest.to_json(), _HASH, 1, contributor.ledger, b"")
    content = RecordDict({records.ARRAYS: ArrayRecord(), records.ROUND: said.to_record()})
    message = Message(content, 1, "train")
    message.metadata.__dict__["_message_id"] = f"message-{round_}"  # Otherwise the SuperLink numbers it.
    context = Context(1, 1, {HOME: str(folder)}, RecordDict(), {}, series_id=1)
    checked: Any = SimpleNamespace(message=said, manifest=manifest, files=no_files)
    app = App(message, context, train, contributor, checked, show_round=True, whole=False)
    owner = Owner(1, contributor.ledger, _ACCOUNT, manifest.hash.hex(), _HASH.hex())
    memory = MemoryStore(folder / "memory", owner, _KEY, manifest.elements)
    kept = memory.choose(round_ - 1, lambda later: later - 1)
    earlier = RecordDict() if kept is None else memory.load(kept, _header_hash(folder))
    trained = app.train_from(to_float32(np.fromfile(folder / _THETA, dtype=np.int64)), round_, earlier)
    assert not isinstance(trained, Message), trained.error
    end = end_of(trained.content, records.ARRAYS, manifest, no_files)
    encoded(trained.start, end, header, manifest, _ACCOUNT, _NO_CAP, feeds_back=False, residual=None)
    commit_memory(folder / "memory", round_, memory.draft(round_, header.hash, trained.state))
    (folder / "header").write_bytes(header.hash)


def _header_hash(folder: Path) -> bytes:
    """Return the hash of the header of the round before."""
    return (folder / "header").read_bytes()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth.training", description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="100", help="millions of weights")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if left out")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as place:
        parameters, parts = measure(Path(place), wanted.model)
    print(f"{parameters:,} parameters, load {os.getloadavg()[0]:.1f}")
    for part in parts:
        print(part.line(parameters), flush=True)


if __name__ == "__main__":
    main()
