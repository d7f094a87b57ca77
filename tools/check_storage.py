# SPDX-License-Identifier: Apache-2.0
"""Fail unless the contracts that hold what people own lay out their storage as committed.

Asks ``forge inspect`` for the storage layout of each contract, leaves out what changes with every compilation (numbers
of syntax nodes), and compares it with ``contracts/snapshots/storage``. With ``--write`` the files are written anew: say
in the commit why the layout changed.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
SNAPSHOTS = CONTRACTS / "snapshots" / "storage"

HELD = (
    "RoundLedger",
    "Policies",
    "Rewards",
    "StakeVault",
    "ModelRegistry",
    "Odometer",
    "DataAvailability",
    "Disputes",
)
"""The contracts whose storage is tokens, stakes, policies, rounds, rewards, warranties, budgets and deposits."""


def inspect(name: str) -> dict[str, Any]:
    """Return the storage layout of a contract, as the compiler gives it."""
    forge = next((ROOT / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge"))
    command = [str(forge), "inspect", name, "storageLayout", "--json"]
    run = subprocess.run(command, cwd=CONTRACTS, check=True, capture_output=True, text=True)
    layout: dict[str, Any] = json.loads(run.stdout)
    return layout


def render(layout: dict[str, Any]) -> str:
    """Return the text of one snapshot: a line a variable, and one a member of each struct that is stored."""
    lines = [_line(layout, variable) for variable in layout["storage"]]
    for key, kind in sorted(layout["types"].items(), key=lambda item: _plain(item[0])):
        if "members" in kind:
            lines.append(f"{_plain(key)}, {kind['numberOfBytes']} bytes")
            lines += [f"  {_line(layout, member)}" for member in kind["members"]]
    return "\n".join(lines) + "\n"


def _line(layout: dict[str, Any], variable: dict[str, Any]) -> str:
    kind = layout["types"][variable["type"]]["label"]
    return f"slot {variable['slot']}, byte {variable['offset']}: {kind} {variable['label']}"


def _plain(key: str) -> str:
    """Return a type's key without the numbers of syntax nodes."""
    return re.sub(r"\)\d+", ")", key)


def main(arguments: list[str] | None = None) -> int:
    """Compare or write the snapshots; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the snapshots anew")
    options = parser.parse_args(arguments)
    SNAPSHOTS.mkdir(parents=True, exist_ok=True)
    same = True
    for name in HELD:
        path = SNAPSHOTS / f"{name}.txt"
        text = render(inspect(name))
        if options.write:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            same = False
            print(f"{name}: the storage layout is not that of {path.relative_to(ROOT)}", file=sys.stderr)
    if not same:
        print("If the change is meant: `python tools/check_storage.py --write`, and commit.", file=sys.stderr)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
