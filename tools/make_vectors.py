# SPDX-License-Identifier: Apache-2.0
"""Write the test vectors of the protocol: tests/vectors/protocol.json.

    python tools/make_vectors.py            write the file
    python tools/make_vectors.py --check    fail if the file is not what this program writes

The inputs come from keccak streams and from hand-picked edges, so every run on every machine writes the same
bytes. The outputs come from the library; ``tests/unit/test_vectors.py`` recomputes them with a
second, slow implementation in plain Python integers, and the Solidity tests with a third.

Integers are decimal strings, bytes are 0x-hex, and an array holds values of one kind only, so that forge's
``vm.parseJson*`` can read every one of them by its path.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tools import generated
from tools.vectors import formats, next_state, rounds, trees, updates, weights
from tools.vectors.values import VECTORS


def vectors() -> dict[str, Any]:
    """All vectors by section."""
    return {
        "about": "Test vectors of docs/protocol.md, written by tools/make_vectors.py. Integers are decimal strings, "
        "bytes are 0x-hex, arrays hold one kind of value.",
        "fixedPoint": formats.fixed_point_section(),
        "manifest": formats.manifest_section(),
        "updateTree": trees.update_tree_section(),
        "meanTree": trees.mean_tree_section(),
        "state": trees.state_section(),
        "header": formats.header_section(),
        "commitment": formats.commitment_section(),
        "places": formats.places_section(),
        "budget": formats.budget_section(),
        "rounding": updates.rounding_section(),
        "encoding": updates.encoding_section(),
        "packing": updates.packing_section(),
        "fitting": updates.fitting_section(),
        "gram": weights.gram_section(),
        "gramTree": weights.gram_tree_section(),
        "references": weights.references_section(),
        "weights": weights.weights_section(),
        "stages": weights.stages_section(),
        "weightedSum": next_state.weighted_sum_section(),
        "clampedSum": next_state.clamped_sum_section(),
        "mean": next_state.mean_section(),
        "outerStep": next_state.outer_step_section(),
        "eagerStart": next_state.eager_start_section(),
        "exponents": next_state.exponents_section(),
        "entriesTree": trees.entries_tree_section(),
        "anchor": formats.anchor_section(),
        "round": rounds.round_section(),
    }


def text() -> str:
    """The text of the file."""
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(generated.main(VECTORS / "protocol.json", text, __file__))
