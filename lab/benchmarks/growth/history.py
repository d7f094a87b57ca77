# SPDX-License-Identifier: Apache-2.0
"""A long history, and what auditing and watching it takes: ``python -m benchmarks.growth.history``.

    python -m benchmarks.growth.history [--rounds 250 1000] [--parameters 2048] [--updates 4] [--folder FOLDER]

Rounds of synthetic updates are played on the real contracts by the library, without a coordinator, and audited at each
number of rounds that is asked for: by `folkmoot audit` with a new journal, once more with that journal, and watched by
`folkmoot watch --once`. Each is a process of its own, whose peak of memory and processor seconds are printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from benchmarks.growth.federation import Trainer, account, contributor, deployed, origin_of, policy_for
from benchmarks.watching import Folder
from benchmarks.worlds import manifest_of
from folkmoot.aggregation.lineage import Lineage, PastRound, window
from folkmoot.chain.client import Chain
from folkmoot.devnet.anvil import Anvil
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.batch import pack_batch
from folkmoot.protocol.commitment import NO_BUNDLE, Commitment, Domain, entries_hash
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.round import compute_round

WAITING = 3
"""Rounds at the end that are not final, so that a watcher has something to examine."""


@dataclass
class Played:
    """A federation whose rounds are played by the library."""

    anvil: Anvil
    chain: Chain
    folder: Folder
    manifest: Manifest
    policy: Policy
    trainer: Trainer

    states: dict[int, State]
    """State after each of the last rounds."""
    exponents: tuple[int, ...]
    """Of the next round."""
    past: dict[int, PastRound] = field(default_factory=dict)
    """The last rounds, as far back as rules look."""
    waiting: list[tuple[int, list[Commitment], Anchor]] = field(default_factory=list)
    """Rounds that are not final."""

    @property
    def head(self) -> int:
        """The newest round."""
        return max(self.states)

    def play(self, updates: int) -> None:
        """Play a round with so many updates, and make an earlier one final."""
        number, deployment = self.head + 1, self.chain.deployment
        base = self.states[self.head]
        root = base.root(self.manifest.hash)
        seed = derive_seed(deployment.chain_id, deployment.ledger, number, root)
        header = RoundHeader(number, self.manifest.hash, root, 1, 8, seed, self.exponents)
        self._send("openRound", number, root, header.hash)
        made = [self.trainer.update(place, header) for place in range(updates)]
        entries = [commitment for commitment, _ in made]
        domain = Domain(deployment.chain_id, deployment.ledger)
        signatures = [entry.sign(contributor(place), domain) for place, entry in enumerate(entries)]
        self._send("commitUpdates", number, NO_BUNDLE, pack_batch(entries, signatures))
        self.anvil.advance(self.policy.commit_window)
        numbers = window(self.head, lambda one: one - 1)
        lineage = Lineage(
            tuple(self.past[one] for one in numbers), self.states[numbers[0] - 1] if numbers else None
        )
        mean, readers = BytesIO(), [MemoryUpdate(data) for _, data in made]
        outcome = compute_round(
            self.manifest,
            header,
            self.policy,
            base,
            entries,
            readers,
            coordinator=account("coordinator").address,
            lineage=lineage,
            mean_sink=mean,
            folder=self.folder.path,
        )
        for data in (*(data for _, data in made), mean.getvalue()):
            self.folder.put(data)
        self.folder.put_chunks(outcome.state.chunks())
        for document in (outcome.verdicts_file, outcome.artifacts_file):
            self.folder.put(document, document=True)
        self._send("anchor", number, entries_hash(entries), outcome.anchor.abi_tuple())
        self.states[number], self.exponents = outcome.state, outcome.next_exponents
        coordinator = account("coordinator").address
        self.past[number] = PastRound.of(header, entries, readers, coordinator)
        self.waiting.append((number, entries, outcome.anchor))
        needed = window(number, lambda one: one - 1)
        self.past = {one: self.past[one] for one in needed}
        self.states = {one: state for one, state in self.states.items() if one >= needed[0] - 1}
        self._finalize()

    def _finalize(self) -> None:
        while len(self.waiting) > WAITING:
            number, entries, anchor = self.waiting.pop(0)
            self.anvil.advance(self.policy.challenge_window)
            self._send("finalize", number)
            self._send(
                "settle",
                number,
                [(entry.contributor, entry.struct_hash) for entry in entries],
                anchor.abi_tuple(),
            )

    def _send(self, function: str, *arguments: object) -> None:
        called = self.chain.rewards if function == "settle" else self.chain.ledger
        self.chain.send(getattr(called.functions, function)(*arguments), account("coordinator"))


@contextmanager
def played(folder: Path, parameters: int, contributors: int, rule: str) -> Iterator[Played]:
    """Deploy a federation on a chain of its own."""
    manifest = manifest_of(parameters)
    state, genesis = origin_of(manifest)
    mirror = Folder(folder / "mirror")
    for data in (manifest.to_json(), state.to_bytes()):
        mirror.put(data)
    mirror.put(genesis.to_json(), document=True)
    with Anvil() as anvil:
        chain = deployed(anvil, manifest, state, genesis, contributors, rule)
        chain.deployment.save(folder / "deployment.json")
        policy = policy_for(manifest, rule).resolved(chain.deployment.arbiter)
        yield Played(anvil, chain, mirror, manifest, policy, Trainer(manifest), {0: state}, genesis.exponents)
        chain.close()


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    processor: float
    """Seconds of the processor."""
    peak: float
    """MiB that it held at most."""


_PROGRAM = """
import os, sys
from benchmarks.growth.usage import Process
from folkmoot.cli.main import run
status = run(sys.argv[1:])
own = Process(os.getpid())
print(own.seconds(), own.peak(), file=sys.stderr)
sys.exit(status)
"""
# It says itself what it took: what the system counts for a child begins with the memory of its parent.


def cost_of(*words: object) -> Cost:
    """Run a command of Folkmoot to its end, in a process of its own.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    command = [sys.executable, "-c", _PROGRAM, *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return Cost(*map(float, result.stderr.splitlines()[-1].split()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth.history", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, nargs="+", default=[250, 1000], help="after which it is measured"
    )
    parser.add_argument("--parameters", type=int, default=2048)
    parser.add_argument("--updates", type=int, default=4, help="a round")
    parser.add_argument("--rule", default="clamped_mean", help="a rule without parameters")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if left out")
    wanted = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=wanted.folder) as place,
        played(Path(place), wanted.parameters, wanted.updates, wanted.rule) as world,
    ):
        print(
            f"{world.manifest.elements:,} parameters, {wanted.updates} updates a round; processor seconds, peak in MiB"
        )
        for rounds in sorted(wanted.rounds):
            while world.head < rounds:
                world.play(wanted.updates)
            _report(world, Path(place), rounds)


def _report(world: Played, place: Path, rounds: int) -> None:
    where = [
        "--rpc",
        world.anvil.url,
        "--deployment",
        place / "deployment.json",
        "--artifacts",
        world.folder.path,
    ]
    journal, memory = place / f"journal-{rounds}", place / f"watch-{rounds}"
    for name, command, options in (
        ("audit", "audit", ("--journal", journal)),
        ("by its journal", "audit", ("--journal", journal)),
        ("watch, one look", "watch", ("--once", "--state", memory)),
    ):
        found = cost_of(command, *where, *options)
        print(
            f"{rounds:6} rounds, {name:15}: {found.processor:7.1f} s, peak {found.peak:5.0f}, "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
