# SPDX-License-Identifier: Apache-2.0
"""The valid and invalid cases: the library passes them, so does the second implementation, and no mutation does."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.unit import reference

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
CASES: dict[str, Any] = json.loads((VECTORS / "cases.json").read_text(encoding="utf-8"))
GROUPS: dict[str, Any] = {group["group"]: group for group in CASES["groups"]}
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def ints(texts: list[str]) -> list[int]:
    return [int(text) for text in texts]


def valid(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Inputs and results of a group's valid cases."""
    return [(one["input"], one["expected"]) for one in GROUPS[name]["tests"] if one["result"] == "valid"]


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / tool), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False
    )


def test_file_is_what_the_tool_writes() -> None:
    result = run("make_cases.py", "--check")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["protocol.json", "cases.json"])
def test_the_page_has_the_digest_of_the_file(name: str) -> None:
    digest = hashlib.sha256((VECTORS / name).read_bytes()).hexdigest()
    assert f"`{name}` `{digest}`" in PAGE, f"docs/protocol.md section 15 must say: `{name}` `{digest}`"


def test_every_group_has_cases_and_the_ids_are_in_order() -> None:
    ids = [int(case["id"]) for group in CASES["groups"] for case in group["tests"]]
    assert ids == list(range(1, int(CASES["numberOfTests"]) + 1))
    assert all(group["tests"] for group in CASES["groups"])
    results = {case["result"] for group in CASES["groups"] for case in group["tests"]}
    assert results == {"valid", "invalid"}


def test_layouts() -> None:
    for case in GROUPS["layout"]["tests"]:
        tensors, elements = int(case["input"]["tensors"]), int(case["input"]["elements"])
        leaves = tensors * -(-elements // 256)
        assert (case["result"] == "valid") == (0 < tensors <= 4096 and leaves <= 1 << 24), case["comment"]
        if case["result"] == "valid":
            expected = case["expected"]
            depth = min(depth for depth in range(25) if 1 << depth >= leaves)
            assert (leaves, depth) == (int(expected["leaves"]), int(expected["depth"]))
            assert keccak(struct.pack(">Q", elements) * tensors) == raw(expected["layoutHash"])


def test_outer_step() -> None:
    names = ("theta", "momentum", "mean", "meanScale", "exponent", "rate", "decay")
    for given, expected in valid("outerStep"):
        found = reference.outer_step(*(int(given[name]) for name in names))
        assert found == (int(expected["newTheta"]), int(expected["newMomentum"])), given


def test_next_exponent() -> None:
    for given, expected in valid("nextExponent"):
        sums, width = [ints(one) for one in given["sums"]], int(given["width"])
        assert [reference.exponent_vote(*one, width=width) for one in sums] == ints(expected["votes"])
        assert reference.next_exponent(int(given["exponent"]), sums, width) == int(expected["next"])


def test_multi_krum() -> None:
    cases = [one for one in valid("weights") if one[0]["rule"] == "multi_krum"]
    assert len(cases) > 10
    for given, expected in cases:
        vectors = [ints(vector) for vector in given["vectors"]]
        gram = [sum(a * b for a, b in zip(x, y, strict=True)) for x in vectors for y in vectors]
        weights, scores = reference.multi_krum(gram, len(vectors), *ints(given["parameters"]))
        assert weights == ints(expected["weights"])
        assert [str(score) for score in scores] == [numbers["krumScore"] for numbers in expected["numbers"]]


def test_compared_leaves() -> None:
    for given, expected in valid("comparedLeaves"):
        leaves = reference.compared(int(given["leaves"]), raw(given["entriesHash"]))
        assert len(leaves) == int(expected["count"])
        assert keccak(b"".join(leaf.to_bytes(4, "big") for leaf in leaves)) == raw(expected["digest"])


def test_products_with_references() -> None:
    for given, expected in valid("compare"):
        counts = [-(-int(size) // 256) for size in given["elements"]]
        widths = (int(given["width"]), int(given["referenceWidth"]))
        updates = [reference.unpacked(raw(update), widths[0]) for update in given["updates"]]
        updates.append(reference.unpacked(raw(given["reference"]), widths[1]))
        if given["sample"]:
            # what is not sampled counts as 0 on both sides
            kept = set(ints(given["sample"]))
            updates = [
                b"".join(
                    update[at : at + 256] if at // 256 in kept else bytes([128]) * 256
                    for at in range(0, len(update), 256)
                )
                for update in updates
            ]
        exponents, others = ints(given["exponents"]), [ints(given["referenceExponents"])]
        bound = 2 ** (max(widths) - 1) - 1
        products, squares = reference.references(updates[:-1], exponents, updates[-1:], others, counts, bound)
        assert (products, squares) == (ints(expected["products"]), [int(expected["square"])])


def test_trajectory() -> None:
    for given, expected in valid("trajectory"):
        names = ("thetaBefore", "thetaBase", "exponent", "width")
        assert reference.trajectory(*(int(given[name]) for name in names)) == int(expected["q"])


def test_encode() -> None:
    for given, expected in valid("encode"):
        key = int.from_bytes(keccak(raw(given["seed"]) + raw(given["contributor"]))[:8], "big")
        first = 256 * -(-int(given["before"]) // 256)
        starts, ends = (reference.float32_values(raw(given[name])) for name in ("start", "end"))
        units = [reference.offset(key, first + j) for j in range(len(starts))]
        assert units == ints(expected["units"])
        exponent = int(given["exponent"])
        y = [struct.pack(">d", (a - b) * 2.0**-exponent) for a, b in zip(starts, ends, strict=True)]
        assert y == [raw(one) for one in expected["y"]]
        width = int(given["width"])
        values = [
            reference.encode(a, b, exponent, u, width) for a, b, u in zip(starts, ends, units, strict=True)
        ]
        if given["maxSumSquares"]:
            bound = reference.fitting_bound(values, int(given["maxSumSquares"]))
            values = [min(max(q, -bound), bound) for q in values]
        assert values == ints(expected["q"]), given


def test_payments_and_standings() -> None:
    for given, expected in valid("payments"):
        weights = ints(given["weights"])
        n, reward = sum(given["paid"]), int(given["reward"])
        shares = [
            reward * w // (n * max(weights)) if p else 0 for w, p in zip(weights, given["paid"], strict=True)
        ]
        assert shares == ints(expected["payments"])
    for given, expected in valid("standing"):
        s, found = 0, []
        for weight, largest in zip(ints(given["weights"]), ints(given["largest"]), strict=True):
            t = -(-1024 * weight // largest)
            s += (1 if t > s else -1) * -(-abs(t - s) // 8)
            found.append(s)
        assert found == ints(expected["standings"])


def test_mean_leaves() -> None:
    for case in GROUPS["meanLeaves"]["tests"]:
        given = case["input"]
        values = [byte - 128 for byte in raw(given["data"])]
        used = [j < int(size) for size in given["elements"] for j in range(-(-int(size) // 256) * 256)]
        used = used[256 * int(given["first"]) :]
        within = all(abs(b) <= int(given["bound"]) for b in values)
        padded = all(b == 0 for b, is_used in zip(values, used, strict=False) if not is_used)
        assert (within and padded) == (case["result"] == "valid"), case["comment"]


def test_costs() -> None:
    for given, expected in valid("cost"):
        noise, steps = int(given["noise1024"]), int(given["steps"])
        assert int(expected["cost"]) == -(-steps * 2**51 // noise**2)


def test_shares() -> None:
    for given, expected in valid("shares"):
        delivered, weighed = int(given["delivered"]), 0
        taken: set[str] = set()
        for i, root in enumerate(given["roots"]):
            if not delivered >> i & 1 or given["contributors"][i] == given["coordinator"] or root in taken:
                continue
            taken.add(root)
            weighed |= 1 << i
        assert weighed == int(expected["weighed"]), given


@pytest.fixture(scope="module")
def mutations() -> list[dict[str, str]]:
    result = run("vector_mutations.py", "--json")
    assert result.returncode in (0, 1), result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_mutation_of_the_library_fails_the_vectors(mutations: list[dict[str, str]]) -> None:
    table = "\n".join(f"{one['name']}: {one.get('caught') or one}" for one in mutations)
    sys.stdout.write(table + "\n")
    assert len(mutations) >= 200
    assert {
        one["name"]: one.get("error", "no case fails") for one in mutations if not one.get("caught")
    } == {}


def test_a_case_that_fails_is_noticed() -> None:
    result = run("vector_mutations.py", "--only", "outer step: theta + ...")
    assert result.returncode == 0, result.stdout
    assert "1 mutations, 1 caught." in result.stdout
