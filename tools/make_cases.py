# SPDX-License-Identifier: Apache-2.0
"""Write the valid and invalid cases of the protocol: tests/vectors/cases.json.

    python tools/make_cases.py            write the file
    python tools/make_cases.py --check    fail if the file is not what this program writes

``protocol.json`` has what fits one section of the page. A case here is one call with one result, valid or invalid, and
has intermediate values where there are some, as the vectors of Project Wycheproof do. The cases are chosen so that each
small misreading of docs/protocol.md fails at least one: ``tools/vector_mutations.py`` tries them.

``tools/cases`` has the cases, one module a part of the page. ``FUNCTIONS`` in its module ``library`` says how the
library computes the result of a case. Intermediate values are computed beside the cases, in plain integers, from the
formulas of the page; the program stops where they lead to another result than the library's.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tools import generated
from tools.cases import (
    comparisons,
    documents,
    files,
    members,
    next_state,
    payments,
    pays,
    rounds,
    trees,
    updates,
    weights,
)
from tools.vectors.values import VECTORS


def cases() -> dict[str, Any]:
    """All groups."""
    groups = [
        *documents.json_cases(),
        *trees.proof_cases(),
        updates.encode_cases(),
        updates.signature_cases(),
        updates.cost_cases(),
        updates.bytes_cases(),
        weights.weights_cases(),
        comparisons.repeat_cases(),
        comparisons.compared_cases(),
        comparisons.compare_cases(),
        comparisons.trajectory_cases(),
        comparisons.window_cases(),
        next_state.weight_sum_cases(),
        next_state.outer_step_cases(),
        next_state.exponent_cases(),
        *pays.pays_cases(),
        *payments.pay_cases(),
        rounds.round_cases(),
        weights.shares_cases(),
        comparisons.window_sum_cases(),
        next_state.mean_leaves_cases(),
        documents.layout_cases(),
        *members.member_cases(),
        *files.file_cases(),
        comparisons.stride_cases(),
    ]
    number = 0
    written = []
    for group in groups:
        for case in group.tests:
            number += 1
            case["id"] = str(number)
        written.append(
            {
                "group": group.name,
                "section": group.section,
                "about": group.about,
                "common": group.common,
                "tests": [
                    {name: case[name] for name in ("id", "comment", "flags", "input", "expected", "result")}
                    for case in group.tests
                ],
            }
        )
    return {
        "about": "Valid and invalid cases of docs/protocol.md, written by tools/make_cases.py. Integers are decimal "
        "strings, bytes are 0x-hex. common holds inputs of all cases of a group. An implementation passes a valid "
        "case if it computes all of expected that it has a name for, and an invalid case if it refuses the input. "
        "code, where there is one, is a reason of section 7 or an error code of this library, which nobody else has to "
        "have.",
        "numberOfTests": str(number),
        "groups": written,
    }


def text() -> str:
    """The text of the file: one line a case, so that a change is seen as one."""
    document = cases()
    groups = ",\n".join(_group(one) for one in document["groups"])
    head = f' "about": {_json(document["about"])},\n "numberOfTests": {_json(document["numberOfTests"])},\n'
    return "{\n" + head + f' "groups": [\n{groups}\n ]\n}}\n'


def _group(group: dict[str, Any]) -> str:
    fields = "".join(
        f'   "{name}": {_json(group[name])},\n' for name in ("group", "section", "about", "common")
    )
    compact = (json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in group["tests"])
    tests = ",\n".join("    " + case for case in compact)
    return f'  {{\n{fields}   "tests": [\n{tests}\n   ]\n  }}'


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(generated.main(VECTORS / "cases.json", text, __file__))
