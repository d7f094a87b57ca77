# SPDX-License-Identifier: Apache-2.0
"""Write tests/vectors/contract_cases.json: the cases of cases.json that a contract decides, in columns.

Foundry's JSON reader takes no wildcards, and reads the whole file for each value. So each field of a group is one list
here, for `contracts/test/Cases.t.sol`. With ``--check`` nothing is written, and another file than this one would write
is a failure.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tools import generated

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
SOURCE = VECTORS / "cases.json"
TARGET = VECTORS / "contract_cases.json"

GROUPS = ("layout", "updateProof", "treeProof", "outerStep", "shares")
"""Groups of which a library of contracts/src decides each case, or all but what it is not told."""


def columns(tests: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return a group's tests as one list a field; the fields of what is expected are those of its valid tests."""
    valid = [test for test in tests if test["result"] == "valid"]
    if tests[: len(valid)] != valid and any("newTheta" in test["expected"] for test in valid):
        raise SystemExit(
            f"An invalid case stands before a valid one in {SOURCE}. Remedy: put it behind them."
        )
    found = {name: [test[name] for test in tests] for name in ("result", "comment")}
    for name in tests[0]["input"]:
        found[name] = [test["input"][name] for test in tests]
    for name in valid[0]["expected"]:
        found[name] = [test["expected"][name] for test in valid if name in test["expected"]]
    if isinstance(found.get("siblings", [[""]])[0][0], list):
        found["siblings"] = [
            {name: [one[k] for one in path] for k, name in enumerate(("hash", "absolute", "squares"))}
            for path in found["siblings"]
        ]
    return found


def render() -> str:
    """Return the file's text."""
    groups = {one["group"]: one["tests"] for one in json.loads(SOURCE.read_text())["groups"]}
    about = "Cases of cases.json that a contract decides, in columns, written by tools/contract_cases.py."
    return json.dumps({"about": about, **{name: columns(groups[name]) for name in GROUPS}}, indent=1) + "\n"


if __name__ == "__main__":
    sys.exit(generated.main(TARGET, render, __file__))
