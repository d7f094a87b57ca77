# SPDX-License-Identifier: Apache-2.0
"""What a watcher needs for a round: ``python -m benchmarks.watching [--size 1e7] [--updates 20] [--rule multi_krum]``.

A round of synthetic updates in files is examined, once as it is right and once with one wrong coordinate in the
mean, and again with one in theta; where the rule can be proven, also with an update left out, and with one wrong
product in a Gram tree that is shown. Then the proofs are built from the trees that the examination left.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.worlds import manifest_of, round_of
from folkmoot.aggregation import gram_tree
from folkmoot.aggregation.gram_tree import Triangle, block_matrices, matrix_bytes
from folkmoot.aggregation.lineage import GENESIS
from folkmoot.artifacts.sources import FolderSource
from folkmoot.fraud.proofs.case import Case, Suspicion
from folkmoot.fraud.proofs.examine import examine
from folkmoot.fraud.proofs.finding import Finding
from folkmoot.fraud.proofs.gram import is_judged
from folkmoot.fraud.proofs.proof import prove
from folkmoot.fraud.watcher.round_files import RoundFiles
from folkmoot.protocol import acceleration, merkle
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import MEAN
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from folkmoot.round import compute_leaves, compute_round

CHAIN_ID, LEDGER = 31337, "0x5FbDB2315678afecb367f032d93F642f64180aa3"
COORDINATOR = "0x" + "11" * 20

_T = TypeVar("_T")


class Folder:
    """A mirror."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes, *, document: bool = False) -> str:
        """Store a file; return its sha256."""
        name = self.put_chunks([data])
        if document:
            (self.path / "by-keccak").mkdir(exist_ok=True)
            (self.path / "by-keccak" / keccak(data).hex()).write_text(name)
        return name

    def put_chunks(self, chunks: Iterable[bytes]) -> str:
        """Store a file that comes in pieces; return its sha256."""
        digest, part = hashlib.sha256(), self.path / "part"
        with part.open("wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
        name = digest.hexdigest()
        (self.path / name[:2]).mkdir(exist_ok=True)
        part.rename(self.path / name[:2] / name)
        return name


def build(folder: Folder, size: int, count: int, rule: str) -> tuple[Genesis, Manifest, dict[str, Case]]:
    """Make a round, its files, and three anchors of it: right, wrong in the mean, wrong in theta."""
    manifest, header, policy, state, entries, updates = round_of(manifest_of(size), count)
    policy = replace(policy, rule=rule, parameters=(count // 5, 0) if rule == "multi_krum" else ())
    root = state.root(manifest.hash)
    header = RoundHeader(
        1, manifest.hash, root, 1, 8, derive_seed(CHAIN_ID, LEDGER, 1, root), header.exponents
    )
    collected = BytesIO()
    outcome = compute_round(
        manifest,
        header,
        policy,
        state,
        entries,
        updates,
        coordinator=COORDINATOR,
        lineage=GENESIS,
        mean_sink=collected,
        folder=folder.path,
    )
    for update in updates:
        folder.put(update.read(0, manifest.leaves).tobytes())
    genesis = Genesis.of(manifest, state, header.exponents)
    folder.put(manifest.to_json())
    for one in (state, outcome.state):
        folder.put_chunks(one.chunks())
    folder.put(collected.getvalue())
    folder.put(outcome.artifacts_file, document=True)

    def anchored(anchor: Anchor, **files: Any) -> Case:
        document = replace(outcome.artifacts, **files).to_json()
        folder.put(document, document=True)
        anchor = replace(anchor, artifacts_hash=keccak(document))
        return Case(
            CHAIN_ID, LEDGER, 1, 1, policy, COORDINATOR, 0, root, header.hash, tuple(entries), anchor, 2**40
        )

    rows = np.frombuffer(collected.getvalue(), dtype=np.uint8).reshape(-1, MEAN.leaf_bytes).copy()
    rows[manifest.leaves // 2, 7] ^= 1
    mean_root = merkle.tree(MEAN, merkle.leaf_hashes(MEAN, rows)).root
    lie = replace(outcome.state, theta=outcome.state.theta.copy())
    lie.theta[manifest.size // 3] += 1
    cases = {
        "right": anchored(outcome.anchor),
        "mean": anchored(replace(outcome.anchor, mean_root=mean_root), mean=folder.put(rows.tobytes())),
        "outer-step": anchored(
            replace(outcome.anchor, state_root=lie.root(manifest.hash)), state=folder.put_chunks(lie.chunks())
        ),
    }
    if is_judged(rule):
        weights = list(outcome.weights)
        weights[weights.index(1)] = 0
        part = compute_leaves(manifest, header, policy, state, updates, weights, 0, manifest.leaves)
        after = State(part.theta, part.momentum)
        cases["rule"] = anchored(
            replace(
                outcome.anchor,
                weights=tuple(weights),
                mean_root=merkle.tree(MEAN, merkle.leaf_hashes(MEAN, part.mean)).root,
                state_root=after.root(manifest.hash),
                entries_root=entries_tree(entries, weights).root,
            ),
            mean=folder.put(part.mean.tobytes()),
            state=folder.put(after.to_bytes()),
        )
    if outcome.gram_tree is not None:
        blocks = list(block_matrices(manifest, header.exponents, updates))
        cases["gram-leaf"] = anchored(
            replace(outcome.anchor, gram_root=show_false_tree(folder, blocks, count))
        )
    assert genesis.manifest == sha256_hex(manifest.to_json())
    return genesis, manifest, cases


def show_false_tree(folder: Folder, matrices: list[Triangle], count: int) -> bytes:
    """Add one to a product in a block, and show the nodes that lead to it; return the root of that tree."""
    place = len(matrices) // 3
    matrices[place] = (matrices[place][0] + 1, *matrices[place][1:])
    tree = gram_tree.build(matrices, len(matrices), count)
    folder.put(b"\x12" + matrix_bytes(matrices[place]), document=True)
    for level in range(1, tree.depth + 1):
        nothing = (0,) * len(matrices[0])
        pairs = zip_longest(matrices[::2], matrices[1::2], fillvalue=nothing)
        matrices = [tuple([a + b for a, b in zip(*pair, strict=True)]) for pair in pairs]
        place >>= 1
        digest = matrix_bytes(matrices[place])
        folder.put(digest, document=True)
        folder.put(b"\x13" + b"".join(tree.node(level, place).children) + keccak(digest), document=True)
    return tree.root


def timed(work: Callable[[], _T]) -> tuple[_T, float, float]:
    """Run once; return the result, the seconds, and those that the processor spent."""
    start, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - start, time.process_time() - processor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--size", type=float, default=1e7, help="parameters of the model")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--rule", default="multi_krum", choices=("mean", "clamped_mean", "multi_krum"))
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if left out")
    arguments = parser.parse_args()
    acceleration.load()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        # In a child, so that the memory of making the round is not counted.
        genesis, manifest, cases = _in_child(
            lambda: build(Folder(Path(place)), int(arguments.size), arguments.updates, arguments.rule)
        )
        round_files = RoundFiles(FolderSource(Path(place)), genesis, manifest)
        print(f"{arguments.updates} updates of {manifest.elements:,} parameters, {arguments.rule}")
        print(f"load {os.getloadavg()[0]:.1f}, before: {_peak():.0f} MiB")
        for name, case in cases.items():
            finding, seconds, processor = timed(partial(_examined, round_files, case))
            found = [str(suspicion.kind) for suspicion in finding.suspicions]
            assert found == ([] if name == "right" else [name]), finding.to_json()
            print(
                f"examine, {name:11} {seconds:7.2f} s, processor {processor:7.2f} s, peak {_peak():7.0f} MiB"
            )
            for suspicion in finding.suspicions:
                for which in ("first proof", "second proof"):
                    proof, seconds, processor = timed(partial(_proven, finding, suspicion))
                    print(
                        f"  {which:16} {seconds:7.3f} s, processor {processor:7.3f} s, {len(proof):,} bytes"
                    )
            del finding  # as a watcher lets go of it before the next round


def _proven(finding: Finding, suspicion: Suspicion) -> bytes:
    return prove(finding, suspicion).data


def _examined(round_files: RoundFiles, case: Case) -> Finding:
    round_files._newest = None  # as after a restart: base state and all files are read anew
    return examine(round_files.material(case, {1: case}))


def _in_child(work: Callable[[], Any]) -> Any:
    """Run in a forked process and return what it returned, pickled."""
    import pickle

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writer, "wb") as file:
            pickle.dump(work(), file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        result = pickle.load(file)  # noqa: S301  # it is our own
    os.waitpid(child, 0)
    return result


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
