# SPDX-License-Identifier: Apache-2.0
"""One round through the real coordinator, with as many contributors as are asked for."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.growth.federation import MOST_ENTRIES, Federation, account, federation
from benchmarks.growth.usage import folder_bytes
from folkmoot.protocol.header import RoundHeader

PATIENCE = 3600.0
_AFTER_COLLECTING = ("settled", "cancelled", "slashed")


@dataclass
class Measured:
    """What a round cost."""

    contributors: int
    """That offered an update."""
    parameters: int
    taken: int = 0
    """Updates that were taken."""
    refused: dict[str, int] = field(default_factory=dict)
    """Updates that were refused, by reason."""
    arrival_cpu: float = 0.0
    """Processor seconds of the coordinator for each update that it took, over all of the receiving."""
    arrival_wall: float = 0.0
    """Median seconds from the first byte of an update to the answer, where it was taken."""
    refusal_cpu: float = 0.0
    """Processor seconds of the coordinator for each update that it refused."""
    commit_cpu: float = 0.0
    """Processor seconds from the last update to the end of the commit window."""
    aggregate_cpu: float = 0.0
    """Processor seconds from there to the anchor."""
    settle_cpu: float = 0.0
    """Processor seconds from there until the rewards are credited."""
    peaks: dict[str, float] = field(default_factory=dict)
    """MiB that the coordinator held at most, by part of the round."""
    gas: dict[str, int] = field(default_factory=dict)
    """Gas by transaction."""
    stored: int = 0
    """Bytes that the round added to the store."""
    database: int = 0
    """Bytes that it added to the database's files."""

    @property
    def peak(self) -> float:
        """MiB that the coordinator held at most."""
        return max(self.peaks.values())


def measure(folder: Path, parameters: int, contributors: int, rule: str) -> Measured:
    """Take a round from its opening to its rewards.

    Args:
        folder: An empty folder for everything.
        parameters: Of the model.
        contributors: That offer an update; the ledger takes `MOST_ENTRIES` of them.
        rule: The aggregation rule.

    Raises:
        AssertionError: The round did not end as it should.
    """
    with federation(folder, parameters, contributors, rule) as world:
        return _round(world, contributors)


def _round(world: Federation, contributors: int) -> Measured:
    found = Measured(contributors, world.manifest.elements)
    process, api = world.process, world.api
    api.start_run(1, contributors, account("coordinator"), world.domain)
    current = world.until(api.current_round, 60, "an open round")
    before = _sizes(world)
    process.forget_peak()
    taken_until, mark = min(contributors, MOST_ENTRIES), process.seconds()
    offers = world.offer(range(taken_until), header := RoundHeader.decode(current.header))
    found.arrival_cpu = (process.seconds() - mark) / taken_until
    found.arrival_wall = statistics.median(offer.seconds for offer in offers)
    found.taken = sum(not offer.code for offer in offers)
    found.peaks["receiving"] = process.peak()
    if contributors > taken_until:
        mark = process.seconds()
        late = world.offer(range(taken_until, contributors), header)
        found.refusal_cpu = (process.seconds() - mark) / len(late)
        offers += late
        found.peaks["refusing"] = process.peak()
    found.refused = dict(Counter(offer.code for offer in offers if offer.code))
    steps = (
        ("committing", "commit_cpu", ("computing", "anchoring", "anchored", "finalizing", "settling")),
        ("computing", "aggregate_cpu", ("anchored", "finalizing", "settling")),
        ("settling", "settle_cpu", ()),
    )
    for name, kept, following in steps:
        process.forget_peak()
        mark = process.seconds()
        await_step(world, header.round, (*following, *_AFTER_COLLECTING))
        setattr(found, kept, process.seconds() - mark)
        found.peaks[name] = process.peak()
    view = api.get(f"/v1/rounds/{header.round}")
    assert (view["step"], view["entries"]) == ("settled", found.taken), view
    found.gas = _gas(world, view["transactions"])
    found.stored, found.database = (after - then for after, then in zip(_sizes(world), before, strict=True))
    return found


def await_step(world: Federation, number: int, steps: tuple[str, ...]) -> dict[str, Any]:
    """Wait until a round is in one of some steps; return the coordinator's view of it."""

    def there() -> dict[str, Any] | None:
        view = world.api.get(f"/v1/rounds/{number}")
        return view if view["step"] in steps else None

    found: dict[str, Any] = world.until(there, PATIENCE, f"the step {steps[0]} of round {number}")
    return found


def _gas(world: Federation, transactions: dict[str, str]) -> dict[str, int]:
    """Gas by what a transaction was for; commitments in batches are one after the other."""
    found: dict[str, int] = {}
    for purpose, digest in transactions.items():
        name = purpose.split(":")[0]
        found[f"{name} {sum(key.startswith(name) for key in found) + 1}" if name in found else name] = int(
            world.anvil.call("eth_getTransactionReceipt", digest)["gasUsed"], 16
        )
    return found


def _sizes(world: Federation) -> tuple[int, int]:
    database = sum(path.stat().st_size for path in world.home.glob("coordinator.sqlite3*"))
    return folder_bytes(world.home / "artifacts"), database
