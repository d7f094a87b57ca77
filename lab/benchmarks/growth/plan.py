# SPDX-License-Identifier: Apache-2.0
"""What a federation is by the size of its model, computed: ``python -m benchmarks.growth.plan``.

Sizes and depths follow from the formats. Gas is a straight line through the two depths at which it was measured
(``contracts/snapshots``). The tables are those of docs/scaling.md.
"""

from __future__ import annotations

import json
from pathlib import Path

from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import MAX_LEAVES
from folkmoot.protocol.merkle import depth_of
from folkmoot.protocol.packing import WIDTHS, file_size

MODELS = (1_000_000, 100_000_000, 1_000_000_000, MAX_LEAVES * LEAF, 10_000_000_000)
"""Parameters."""
UPDATES = (5, 20, 100)
"""Of a round, for the gas of a proof of its mean."""
LINK = 20e6
"""Bits a second of a contributor's line, in each direction."""
_SNAPSHOT = Path(__file__).resolve().parents[3] / "contracts" / "snapshots" / "FraudProofs.json"
_MEASURED = {"1 M": 1_000_000, "100 M": 100_000_000}
_CAP = 16_777_216
"""Gas that a transaction may have (EIP-7825)."""


def leaves_of(parameters: int) -> int:
    """Leaves of a model without padding."""
    return -(-parameters // LEAF)


def sizes() -> list[str]:
    """Lines of the table of sizes."""
    lines = [
        "| parameters | leaves | depth | state file | update and mean, width 8 | 4 | 2 | both ways at width 4 |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for parameters in MODELS:
        leaves = leaves_of(parameters)
        files = [file_size(leaves, width) for width in WIDTHS]
        minutes = 8 * 2 * files[1] / LINK / 60
        cells = [f"{parameters:,}", f"{leaves:,}", f"{depth_of(leaves)}", _bytes(16 * LEAF * leaves)]
        lines.append("| " + " | ".join([*cells, *map(_bytes, files), f"{minutes:,.1f} min"]) + " |")
    return lines


def proofs() -> list[str]:
    """Lines of the table of proofs."""
    measured = json.loads(_SNAPSHOT.read_text())
    lines = [
        "| parameters | a leaf of an update, bytes | gas: proveOuterStep | "
        + " | ".join(f"proveMean, {count} updates" for count in UPDATES)
        + " |",
        "| ---: | ---: | ---: |" + " ---: |" * len(UPDATES),
    ]
    for parameters in MODELS:
        depth = depth_of(leaves_of(parameters))
        costs = [_at(depth, "proveOuterStep", "", measured)]
        costs += [_at(depth, "proveMean", f", {count}", measured) for count in UPDATES]
        cells = [f"{parameters:,}", f"{LEAF + 48 * depth:,}", *(f"{cost:,}" for cost in costs)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def deepest() -> int:
    """Return the depth up to which the dearest proof fits into a transaction.

    That is `proveMean` of 256 updates of a model in 4,096 tensors, with 255 rounds above. It was measured at the depth
    of the largest model that a manifest may have; a level costs what it costs between the two depths at which the proof
    was measured with one tensor.
    """
    measured = json.loads(_SNAPSHOT.read_text())
    low, high, dearest = (
        int(measured[f"proveMean, {name}, 256, 255 rounds above"])
        for name in ("100 M", "4.3 B", "4.3 B in 4096 tensors, clamped")
    )
    below, depth = depth_of(leaves_of(_MEASURED["100 M"])), depth_of(MAX_LEAVES)
    return depth + (_CAP - dearest) * (depth - below) // (high - low)


def _at(depth: int, function: str, end: str, measured: dict[str, str]) -> int:
    """Gas at a depth, on the line through the measured ones."""
    (low, below), (high, above) = (
        (depth_of(leaves_of(size)), int(measured[f"{function}, {name}{end}"]))
        for name, size in _MEASURED.items()
    )
    return below + (above - below) * (depth - low) // (high - low)


def _bytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def main() -> None:
    """Print the tables."""
    print("\n".join([*sizes(), "", *proofs(), "", f"The dearest proof fits up to depth {deepest()}."]))


if __name__ == "__main__":
    main()
