# SPDX-License-Identifier: Apache-2.0
"""Write ``docs/gas.md`` from the gas snapshots of the contracts, or check with ``--check`` that it is up to date."""

import json
import sys
from pathlib import Path

from tools import generated, rollup_fees

ROOT = Path(__file__).resolve().parent.parent

SNAPSHOTS = ROOT / "contracts" / "snapshots"
PAGE = ROOT / "docs" / "gas.md"
DELIVERY = "deliver, 16 KiB of 1 M"
"""Snapshot of a delivery: one transaction for one part of an update, a byte a parameter."""
PART = 16 * 1024
"""Parameters in a part (`DataAvailability.PART_DEPTH`)."""
MODELS = (("47 k", 47_000), ("1 M", 1_000_000), ("100 M", 100_000_000))
"""Sizes of models in parameters."""
BLOCK_GAS = 36_000_000
"""Gas of a block on Ethereum, for comparison."""
COUNTS = ("5", "10", "20", "32", "50", "100")
HEAD = """# What transactions cost

For anyone who pays for transactions, sets a bond or sends a proof. After this page you know what each transaction
costs. Gas of whole transactions, call data included, of today's contracts: `make gas` measures it,
`python tools/gas_table.py` makes this page from `contracts/snapshots`, and `make contracts-check` fails when it says
something else. A dash: not measured.

1 M and 100 M are parameters of the model; depth 12 is a model of 1 M, depth 20 one of 268 M.
"""


def split(name: str) -> tuple[str, str]:
    """Return a snapshot's name without its number of contributors, and that number; empty if it has none."""
    what, _, last = name.rpartition(", ")
    return (what, last) if last.isdigit() else (name, "")


def table(figures: dict[str, str]) -> list[str]:
    """Return the tables of one snapshot file: what grows with the contributors, then the rest."""
    rows: dict[str, dict[str, str]] = {}
    for name, gas in sorted(figures.items()):
        what, count = split(name)
        rows.setdefault(what, {})[count if count in COUNTS else ""] = f"{int(gas):,}"
        if count not in COUNTS and count:
            rows.setdefault(name, {})[""] = rows[what].pop("")
    growing = {what: row for what, row in rows.items() if row and "" not in row}
    single = {what: row for what, row in rows.items() if "" in row}
    lines: list[str] = []
    if growing:
        counts = [count for count in COUNTS if any(count in row for row in growing.values())]
        lines += ["", f"| gas, by contributors | {' | '.join(counts)} |", f"| --- |{' --: |' * len(counts)}"]
        lines += [
            f"| {what} | {' | '.join(row.get(c, '-') for c in counts)} |" for what, row in growing.items()
        ]
    if single:
        lines += ["", "| one transaction | gas |", "| --- | --: |"]
        lines += [f"| {what} | {row['']} |" for what, row in single.items()]
    return lines


def delivery(part: int) -> list[str]:
    """Return the section on what it costs to deliver an update on the chain.

    Args:
        part: Gas of a part of 16 KiB.
    """
    lines = [
        "",
        "## Delivery of an update",
        "",
        "`folkmoot submit --on-chain` puts a whole update on the chain, in one transaction for each 16 KiB. A",
        f"parameter is a byte. At {part:,} gas a part (above, Judges), and at 1 token for a million gas as in",
        "[economics.md](economics.md):",
        "",
        f"| model | parts | gas | tokens | whole blocks of {BLOCK_GAS // 10**6} M gas |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name, parameters in MODELS:
        parts = -(-parameters // PART)
        gas = parts * part
        lines.append(f"| {name} | {parts:,} | {gas:,} | {gas / 10**6:,.1f} | {gas / BLOCK_GAS:,.1f} |")
    return lines


def page() -> str:
    """Return the page that the snapshots make."""
    lines = [HEAD.rstrip()]
    for path in sorted(SNAPSHOTS.glob("*.json")):
        lines += ["", f"## {path.stem}", *table(json.loads(path.read_text(encoding="utf-8")))]
    judges = json.loads((SNAPSHOTS / "Judges.json").read_text(encoding="utf-8"))
    return (
        "\n".join(
            [*lines, *delivery(int(judges[DELIVERY])), *rollup_fees.own_commitment(), *rollup_fees.section()]
        )
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(generated.main(PAGE, page, __file__))
