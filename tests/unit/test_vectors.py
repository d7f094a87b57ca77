# SPDX-License-Identifier: Apache-2.0
"""The vectors, which the library wrote, are what the second implementation says too."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import eth_abi.abi
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak

from tests.unit import reference, reference_stages

ROOT = Path(__file__).resolve().parents[2]
VECTORS: dict[str, Any] = json.loads(
    (ROOT / "tests" / "vectors" / "protocol.json").read_text(encoding="utf-8")
)


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def raws(texts: list[str]) -> list[bytes]:
    return [raw(text) for text in texts]


def ints(texts: list[str]) -> list[int]:
    return [int(text) for text in texts]


def leaves_of(data: bytes) -> list[bytes]:
    return [data[at : at + 256] for at in range(0, len(data), 256)]


def test_file_is_what_the_tool_writes() -> None:
    command = [sys.executable, str(ROOT / "tools" / "make_vectors.py"), "--check"]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert result.returncode == 0, result.stderr


def test_arrays_hold_values_of_one_kind() -> None:
    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            assert all(isinstance(part, str) for part in value)
            assert len({part.startswith("0x") for part in value}) <= 1
        else:
            assert isinstance(value, str)

    walk(VECTORS)


def test_fixed_point() -> None:
    import struct
    from fractions import Fraction

    section = VECTORS["fixedPoint"]
    for theta, expected in zip(ints(section["theta"]), raws(section["float32"]), strict=True):
        (value,) = struct.unpack(">f", expected)
        exact = Fraction(theta, 2**26)
        (bits,) = struct.unpack(">I", expected)
        distance = abs(Fraction(value) - exact)
        for neighbour in (bits - 1, bits + 1):
            if bits & 0x7FFFFFFF:
                (other,) = struct.unpack(">f", struct.pack(">I", neighbour & 0xFFFFFFFF))
                rival = abs(Fraction(other) - exact)
                assert distance < rival or (distance == rival and bits % 2 == 0), theta
    for given, expected_integer in zip(raws(section["float64"]), ints(section["fromFloat"]), strict=True):
        (weight,) = struct.unpack(">d", given)
        scaled = weight * 2.0**26 + 0.5
        assert reference.clamp(int(scaled // 1)) == expected_integer, weight


def trained(manifest: Any) -> list[Any]:
    return [entry for entry in manifest["arrays"] if "data" not in entry]


def test_manifest() -> None:
    section = VECTORS["manifest"]
    data = section["json"].encode()
    value = json.loads(data)
    again = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert again == data
    sizes = []
    for tensor in trained(value):
        elements = 1
        for size in tensor["shape"]:
            elements *= size
        sizes.append(elements)
    assert [-(-elements // 256) for elements in sizes] == ints(section["leafCounts"])
    layout = b"".join(elements.to_bytes(8, "big") for elements in sizes)
    assert layout == raw(section["layout"])
    assert keccak(b"\x10" + keccak(layout) + keccak(data)) == raw(section["manifestHash"])
    assert 2 ** int(section["depth"]) >= int(section["leaves"]) > 2 ** (int(section["depth"]) - 1)


@pytest.mark.parametrize("case", ["one", "three", "five"])
def test_update_tree(case: str) -> None:
    section = VECTORS["updateTree"][case]
    leaves = raws(section["leaves"])
    root = reference.update_root(leaves)
    assert root == (raw(section["root"]), int(section["sumAbsolute"]), int(section["sumSquares"]))
    depth = int(section["depth"])
    siblings = list(
        zip(
            raws(section["proofHashes"]),
            ints(section["proofAbsolute"]),
            ints(section["proofSquares"]),
            strict=True,
        )
    )
    for index, leaf in enumerate(leaves):
        node = reference.update_leaf(leaf)
        assert node == (
            raw(section["leafHashes"][index]),
            int(section["leafAbsolute"][index]),
            int(section["leafSquares"][index]),
        )
        for level in range(depth):
            sibling = siblings[depth * index + level]
            right = (index >> level) & 1
            node = reference.sum_node(sibling, node) if right else reference.sum_node(node, sibling)
        assert node == root


PREFIXES = {"meanTree": (2, 3), "theta": (4, 5), "momentum": (6, 7), "thetaThree": (4, 5)}


@pytest.mark.parametrize(
    ("section", "case", "prefixes"),
    [("meanTree", case, (2, 3)) for case in ("one", "three", "five")]
    + [("state", case, PREFIXES[case]) for case in ("theta", "momentum", "thetaThree")],
)
def test_plain_trees(section: str, case: str, prefixes: tuple[int, int]) -> None:
    values = VECTORS[section][case]
    leaves = raws(values["leaves"])
    root = reference.plain_root(leaves, *prefixes)
    assert root == raw(values["root"])
    depth = int(values["depth"])
    siblings = raws(values["proofHashes"])
    for index, leaf in enumerate(leaves):
        node = keccak(bytes([prefixes[0]]) + leaf)
        assert node == raw(values["leafHashes"][index])
        for level in range(depth):
            sibling = siblings[depth * index + level]
            pair = sibling + node if (index >> level) & 1 else node + sibling
            node = keccak(bytes([prefixes[1]]) + pair)
        assert node == root


def test_mean_leaf() -> None:
    section = VECTORS["meanTree"]
    assert reference.mean_leaf(ints(section["values"])) == raw(section["one"]["leaves"][0])


def test_state_root() -> None:
    section = VECTORS["state"]
    roots = raw(section["theta"]["root"]) + raw(section["momentum"]["root"])
    assert keccak(b"\x08" + raw(section["manifestHash"]) + roots) == raw(section["stateRoot"])
    data = b"FMS1"
    for tree in ("theta", "momentum"):
        for leaf in raws(section[tree]["leaves"]):
            data += b"".join(leaf[at : at + 8][::-1] for at in range(0, 2048, 8))
    assert hashlib.sha256(data).digest() == raw(section["fileSha256"])


def test_header() -> None:
    section = VECTORS["header"]
    number = int(section["round"])
    base = raw(section["baseStateRoot"])
    seed = keccak(
        b"\x11"
        + reference.word(int(section["chainId"]))
        + raw(section["ledger"])
        + number.to_bytes(8, "big")
        + base
    )
    assert seed == raw(section["seed"])
    exponents = bytes(e % 256 for e in ints(section["exponents"]))
    encoded = b"".join(
        [
            reference.word(number),
            raw(section["manifestHash"]),
            base,
            reference.word(int(section["policyId"])),
            reference.word(int(section["width"])),
            seed,
            reference.word(7 * 32),
            reference.word(len(exponents)),
            exponents.ljust(32, b"\0"),
        ]
    )
    assert encoded == raw(section["encoded"])
    assert keccak(encoded) == raw(section["headerHash"])


def test_commitments() -> None:
    section = VECTORS["commitment"]
    folded = bytes(32)
    for i, key in enumerate(raws(section["privateKeys"])):
        typed = {
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                "Commitment": [
                    {"name": "contributor", "type": "address"},
                    {"name": "round", "type": "uint64"},
                    {"name": "baseStateRoot", "type": "bytes32"},
                    {"name": "updateRoot", "type": "bytes32"},
                    {"name": "sumSquares", "type": "uint64"},
                    {"name": "memoryHash", "type": "bytes32"},
                    {"name": "bundleHash", "type": "bytes32"},
                ],
            },
            "primaryType": "Commitment",
            "domain": {
                "name": "Folkmoot",
                "version": "2",
                "chainId": int(section["chainId"]),
                "verifyingContract": section["verifyingContract"],
            },
            "message": {
                "contributor": section["contributors"][i],
                "round": int(section["rounds"][i]),
                "baseStateRoot": raw(section["baseStateRoots"][i]),
                "updateRoot": raw(section["updateRoots"][i]),
                "sumSquares": int(section["sumSquares"][i]),
                "memoryHash": raw(section["memoryHashes"][i]),
                "bundleHash": raw(section["bundleHashes"][i]),
            },
        }
        message = encode_typed_data(full_message=typed)
        assert message.header == raw(section["domainSeparator"])
        assert message.body == raw(section["commitmentHashes"][i])
        assert keccak(b"\x19\x01" + message.header + message.body) == raw(section["digests"][i])
        account = Account.from_key(key)
        assert account.address == section["contributors"][i]
        assert bytes(account.sign_message(message).signature) == raw(section["signatures"][i])
        assert folded == raw(section["entriesHashes"][i])
        folded = keccak(folded + bytes(12) + raw(account.address) + message.body)
    assert folded == raw(section["entriesHashes"][-1])


def test_places() -> None:
    section = VECTORS["places"]
    names = ("totals", "maxContributors", "minStakes", "nows", "quotas")
    for total, most, least, now, quota in zip(*(ints(section[name]) for name in names), strict=True):
        room = most - 1 if most > 1 else 1
        at_basis, at_opening = (Fraction(amount, least) > room for amount in (total, now))
        three_quarters = Fraction(3 * room, 4)
        assert quota == (math.floor(total / three_quarters) if at_basis else int(at_opening))
    seed, quota = int(section["seed"]), int(section["quota"])
    assert seed == int.from_bytes(raw(section["blockHash"])[17:], "big")
    accounts, enrolled = section["accounts"], ints(section["enrolled"])
    for i, account in enumerate(accounts):
        lot = int.from_bytes(keccak(eth_abi.abi.encode(["uint120", "address"], [seed, account]))[:12], "big")
        assert lot == int(section["lots"][i])
        wins = Fraction(lot, 2**96) < Fraction(enrolled[i], quota)
        assert wins == (section["places"][i] == "1")
    assert len(set(section["places"])) == 2


def test_budget() -> None:
    section = VECTORS["budget"]
    rows = zip(*(ints(section[name]) for name in ("noise1024", "steps", "costs")), strict=True)
    for noise, steps, cost in rows:
        assert cost == math.ceil(Fraction(steps, 2) / Fraction(noise, 1024) ** 2 * 2**32)


def test_rounding() -> None:
    section = VECTORS["rounding"]
    key = int.from_bytes(keccak(raw(section["seed"]) + raw(section["contributor"]))[:8], "big")
    assert key == int(section["key"])
    assert [reference.offset(key, place) for place in ints(section["places"])] == ints(section["units"])


def test_encoding() -> None:
    section = VECTORS["encoding"]
    key = int.from_bytes(keccak(raw(section["seed"]) + raw(section["contributor"]))[:8], "big")
    starts, ends = (reference.float32_values(raw(section[name])) for name in ("start", "end"))
    tensors = trained(json.loads(VECTORS["manifest"]["json"]))
    counts = ints(VECTORS["manifest"]["leafCounts"])
    data = bytearray()
    for tensor, count, exponent in zip(tensors, counts, ints(section["exponents"]), strict=True):
        elements = 1
        for size in tensor["shape"]:
            elements *= size
        for within in range(256 * count):
            place = len(data)
            q = reference.encode(starts[place], ends[place], exponent, reference.offset(key, place))
            data.append((q if within < elements else 0) + 128)
    assert bytes(data) == raw(section["data"])
    root = reference.update_root(leaves_of(bytes(data)))
    assert root == (raw(section["updateRoot"]), int(section["sumAbsolute"]), int(section["sumSquares"]))


def test_packing() -> None:
    for width in (8, 4, 2):
        section = VECTORS["packing"][f"width{width}"]
        bits = "".join(f"{byte - 128 + 2 ** (width - 1):0{width}b}" for byte in raw(section["leaves"]))
        assert int(bits, 2).to_bytes(64 * width, "big") == raw(section["data"])


def test_encoding_that_is_fitted() -> None:
    section = VECTORS["encoding"]
    values = [byte - 128 for byte in raw(section["data"])]
    assert [sum(abs(q) == size for q in values) for size in range(128)] == ints(section["magnitudes"])
    cap, bound = int(section["maxSumSquares"]), int(section["fittedBound"])
    assert reference.fitting_bound(values, cap) == bound
    fitted = bytes(min(max(q, -bound), bound) + 128 for q in values)
    assert fitted == raw(section["fittedData"])
    assert sum(abs(q) > bound for q in values) == int(section["fittedClamped"])
    root, _, squares = reference.update_root(leaves_of(fitted))
    assert (root, squares) == (raw(section["fittedUpdateRoot"]), int(section["fittedSumSquares"]))


@pytest.mark.parametrize("case", [name for name in VECTORS["fitting"] if name != "about"])
def test_fitting(case: str) -> None:
    section = VECTORS["fitting"][case]
    cap, bound = int(section["maxSumSquares"]), int(section["bound"])
    pairs = zip(ints(section["sizes"]), ints(section["counts"]), strict=True)
    sizes = [size for size, count in pairs for _ in range(count)]
    assert reference.fitting_bound(sizes, cap) == bound
    assert sum(min(size, bound) ** 2 for size in sizes) == int(section["sumSquares"]) <= cap


def test_encoding_ties() -> None:
    section = VECTORS["encoding"]
    values = [byte - 128 for byte in raw(section["data"])]
    integers = [0, 1, -1, 5, -5, 126, -126, 127, -127, 127, -127, 127, -127, 127, -127]
    assert values[: len(integers)] == integers, "an integer is never rounded away"
    halves = [0.5, -0.5, 1.5, -1.5, 7.5, -7.5, 126.5, -126.5]
    rounded = zip(halves, values[len(integers) :], strict=False)
    assert all(abs(q - y) == 0.5 for y, q in rounded), "a half goes up or down by the offset"


def test_gram() -> None:
    section = VECTORS["gram"]
    counts = ints(VECTORS["manifest"]["leafCounts"])
    assert reference.gram(raws(section["updates"]), ints(section["exponents"]), counts) == ints(
        section["gram"]
    )


def test_gram_tree() -> None:
    section = VECTORS["gramTree"]
    updates, exponents, counts = raws(section["updates"]), ints(section["exponents"]), [2, 31, 1]
    assert reference.gram_root(updates, exponents, counts) == raw(section["gramRoot"])
    assert reference.gram(updates, exponents, counts) == ints(section["gram"])
    matrix = reference.triangle(ints(section["gram"]), 3)
    assert reference.matrix_bytes(matrix) == raw(section["rootMatrix"])
    leaves = raws(section["leafMatrices"])
    assert [keccak(b"\x12" + leaf) for leaf in leaves] == raws(section["leafHashes"])
    children = [*raws(section["leafHashes"]), bytes(32)]
    for index, node in enumerate(raws(section["nodeMatrices"])):
        assert keccak(b"\x13" + children[2 * index] + children[2 * index + 1] + keccak(node)) == raw(
            section["nodeHashes"][index]
        )
    places = [(place, update) for place in range(3) for update in updates]
    for (place, update), block in zip(places, raws(section["blockLeaves"]), strict=True):
        assert block == update[4096 * place : 4096 * (place + 1)]


def test_references() -> None:
    section = VECTORS["references"]
    counts = ints(VECTORS["manifest"]["leafCounts"])
    flat = ints(section["referenceExponents"])
    others = [flat[at : at + len(counts)] for at in range(0, len(flat), len(counts))]
    products, squares = reference.references(
        raws(section["updates"]), ints(section["exponents"]), raws(section["references"]), others, counts
    )
    assert products == ints(section["products"])
    assert squares == ints(section["squares"])


def test_trajectory() -> None:
    section = VECTORS["references"]
    counts = ints(VECTORS["manifest"]["leafCounts"])
    places = [
        exponent
        for exponent, count in zip(ints(section["exponents"]), counts, strict=True)
        for _ in range(256 * count)
    ]
    before, base = ints(section["thetaBefore"]), ints(section["thetaBase"])
    trajectory = raw(section["trajectory"])
    assert list(trajectory) == [
        128 + reference.trajectory(*one) for one in zip(before, base, places, strict=True)
    ]
    assert len(set(trajectory)) > 100, "not all of it is clamped"


def test_compared_leaves() -> None:
    section = VECTORS["references"]
    found = reference.compared(int(section["leaves"]), raw(section["entriesHash"]))
    assert [*found[:20], *found[-5:]] == ints(section["compared"])
    assert len(found) == int(section["comparedCount"])


@pytest.mark.parametrize("case", [name for name in VECTORS["weights"] if name != "about"])
def test_weights(case: str) -> None:
    section = VECTORS["weights"][case]
    count = int(section["count"])
    if section["rule"] == "mean":
        assert ints(section["weights"]) == [1] * count
        return
    f, m = ints(section["parameters"])
    weights, scores = reference.multi_krum(ints(section["gram"]), count, f, m)
    assert weights == ints(section["weights"])
    assert scores == ints(section["scores"])
    threshold = max(score for score, weight in zip(scores, weights, strict=True) if weight)
    assert threshold == int(section["threshold"])


@pytest.mark.parametrize("case", [name for name in VECTORS["stages"] if name != "about"])
def test_stages(case: str) -> None:
    section = VECTORS["stages"][case]
    count, elements = int(section["count"]), ints(section["elements"])

    def rows(name: str, size: int) -> list[list[int]]:
        values = ints(section[name])
        return [values[size * i : size * (i + 1)] for i in range(count)]

    def reference(name: str) -> reference_stages.Products | None:
        products = ints(section[f"{name}Products"])
        return (products, int(section[f"{name}Square"])) if products else None

    found = reference_stages.clamped_mean(
        rows("gram", count),
        (rows("windowGram", count), ints(section["windowRounds"])),
        elements,
        rows("sumAbsolute", len(elements)),
        reference("trajectory"),
        reference("root"),
        int(section["rootShare"]),
    )
    assert found == (ints(section["weights"]), section["reasons"])


def test_weighted_sum() -> None:
    section = VECTORS["weightedSum"]
    updates, weights = raws(section["updates"]), ints(section["weights"])
    lanes = [sum(w * x[j] for w, x in zip(weights, updates, strict=True)) for j in range(256)]
    assert lanes == ints(section["lanes"])
    sums = [lane - 128 * sum(weights) for lane in lanes]
    assert sums == ints(section["aggregate"])
    assert max(lanes) < 2**32
    assert reference.mean_leaf([reference.mean(a, sum(weights), 1) for a in sums]) == raw(section["leaf"])


@pytest.mark.parametrize("case", [name for name in VECTORS["clampedSum"] if name != "about"])
def test_clamped_sum(case: str) -> None:
    section = VECTORS["clampedSum"][case]
    weights = ints(section["weights"])
    pairs = [(w, x) for w, x in zip(weights, raws(section["updates"]), strict=True) if w]
    columns = list(zip(*([byte - 128 for byte in update] for _, update in pairs), strict=True))
    ranked = [sorted(map(abs, column), reverse=True)[len(pairs) // 2] for column in columns]
    assert bytes(ranked) == raw(section["magnitudes"])
    sums = []
    for column, magnitude in zip(columns, ranked, strict=True):
        bound = max(1, 8 * magnitude)
        sums.append(sum(w * min(max(q, -bound), bound) for (w, _), q in zip(pairs, column, strict=True)))
    assert sums == ints(section["aggregate"])
    assert [a + 128 * sum(weights) for a in sums] == ints(section["lanes"])
    means = [reference.mean(a, sum(weights), int(section["meanScale"])) for a in sums]
    assert reference.mean_leaf(means) == raw(section["leaf"])


def test_mean() -> None:
    section = VECTORS["mean"]
    names = ("aggregate", "weightSum", "meanScale")
    rows = list(zip(*(ints(section[name]) for name in names), strict=True))
    found = [reference.mean(*row) for row in rows]
    assert found == ints(section["mean"])
    assert min(found) == -127
    assert max(found) == 127
    ties = [
        (row, b) for row, b in zip(rows, found, strict=True) if 2 * row[2] * row[0] == (2 * b - 1) * row[1]
    ]
    assert {row[0] > 0 for row, _ in ties} == {True, False}, "halves go up on both sides of 0"


def test_outer_step() -> None:
    section = VECTORS["outerStep"]
    names = ("theta", "momentum", "mean", "meanScale", "exponent", "rate", "decay")
    rows = zip(*(ints(section[name]) for name in names), strict=True)
    results = [reference.outer_step(*row) for row in rows]
    assert [theta for theta, _ in results] == ints(section["newTheta"])
    assert [momentum for _, momentum in results] == ints(section["newMomentum"])


def test_eager_start() -> None:
    section = VECTORS["eagerStart"]
    names = ("theta", "momentum", "update", "meanScale", "exponent", "rate", "decay")
    rows = list(zip(*(ints(section[name]) for name in names), strict=True))
    alone = [
        reference.outer_step(theta, momentum, scale * update, scale, *rest)[0]
        for theta, momentum, update, scale, *rest in rows
    ]
    assert alone == ints(section["start"])
    assert any(start != row[0] for start, row in zip(alone, rows, strict=True))


def test_exponents() -> None:
    section = VECTORS["exponents"]
    sums = list(zip(*(ints(section[name]) for name in ("absolute", "squares", "largest")), strict=True))
    assert [reference.exponent_vote(*one) for one in sums] == ints(section["vote"])
    assert set(ints(section["vote"])) == set(range(-4, 5)), "every vote is there"
    pairs = zip(ints(section["exponent"]), sums, strict=True)
    assert [reference.next_exponent(exponent, [one]) for exponent, one in pairs] == ints(section["next"])
    parts = ("entriesAbsolute", "entriesSquares", "entriesLargest")
    entries = list(zip(*(ints(section[name]) for name in parts), strict=True))
    assert [reference.exponent_vote(*one) for one in entries] == ints(section["entriesVotes"])
    assert sorted(ints(section["entriesVotes"]))[2] == int(section["entriesNext"]) + 20
    assert reference.next_exponent(-20, entries) == int(section["entriesNext"])


def test_anchor() -> None:
    section = VECTORS["anchor"]
    roots = [
        raw(section[name])
        for name in ("meanRoot", "stateRoot", "gramRoot", "verdictHash", "artifactsHash", "entriesRoot")
    ]
    weights, pays = ints(section["weights"]), ints(section["pays"])
    assert keccak(b"".join(map(reference.word, weights))) == raw(section["weightsHash"])
    assert keccak(b"".join(map(reference.word, pays))) == raw(section["paysHash"])
    for given, paid, expected in (
        (weights, pays, "anchorHash"),
        (weights, [], "unpaidAnchorHash"),
        ([], [], "emptyAnchorHash"),
    ):
        assert reference.anchor_hash(given, paid, int(section["delivered"]), roots) == raw(section[expected])


def test_entries_tree() -> None:
    section = VECTORS["entriesTree"]
    leaves = [
        bytes.fromhex(contributor[2:]) + commitment + weight.to_bytes(4, "big")
        for contributor, commitment, weight in zip(
            section["contributors"], raws(section["commitmentHashes"]), ints(section["weights"]), strict=True
        )
    ]
    roots = [reference.plain_root(leaves[:count], 0x14, 0x15) for count in range(1, 6)]
    assert roots == raws(section["roots"])
    paths = raws(section["proofs"])
    for index, leaf in enumerate(leaves):
        node, place = keccak(b"\x14" + leaf), index
        for sibling in paths[3 * index : 3 * index + 3]:
            node = keccak(b"\x15" + (sibling + node if place & 1 else node + sibling))
            place >>= 1
        assert node == roots[-1]


def test_round() -> None:
    section = VECTORS["round"]
    updates, exponents = raws(section["updates"]), ints(section["exponents"])
    counts = [2, 1]
    for update, root, squares in zip(
        updates, raws(section["updateRoots"]), ints(section["sumSquares"]), strict=True
    ):
        assert reference.update_root(leaves_of(update))[::2] == (root, squares)

    weights, _ = reference.multi_krum(
        reference.gram(updates[:4], exponents, counts), 4, *ints(section["parameters"])
    )
    assert [*weights, 0] == ints(section["weights"])
    assert reference.gram_root(updates[:4], exponents, counts) == raw(section["gramRoot"])

    lanes = [sum(w * x[j] for w, x in zip(weights, updates[:4], strict=True)) for j in range(768)]
    total, scale = sum(weights), int(section["meanScale"])
    means = [reference.mean(lane - 128 * total, total, scale) for lane in lanes]
    mean = [reference.mean_leaf(means[at : at + 256]) for at in range(0, 768, 256)]
    assert b"".join(mean) == raw(section["mean"])
    assert reference.plain_root(mean, 2, 3) == raw(section["meanRoot"])

    def integers(leaves: list[str]) -> list[int]:
        data = b"".join(raws(leaves))
        return [int.from_bytes(data[at : at + 8], "big", signed=True) for at in range(0, len(data), 8)]

    theta, momentum = integers(section["baseTheta"]), integers(section["baseMomentum"])
    rate, decay = int(section["rate"]), int(section["momentum"])
    stepped = [
        reference.outer_step(theta[j], momentum[j], means[j], scale, exponents[j >= 512], rate, decay)
        for j in range(768)
    ]
    new_theta = [reference.state_leaf([t for t, _ in stepped[at : at + 256]]) for at in (0, 256, 512)]
    new_momentum = [reference.state_leaf([m for _, m in stepped[at : at + 256]]) for at in (0, 256, 512)]
    assert new_theta == raws(section["newTheta"])
    assert new_momentum == raws(section["newMomentum"])
    state_root = keccak(
        b"\x08"
        + raw(section["manifestHash"])
        + reference.plain_root(new_theta, 4, 5)
        + reference.plain_root(new_momentum, 6, 7)
    )
    assert state_root == raw(section["stateRoot"])

    chosen = [update for update, weight in zip(updates, weights, strict=False) if weight]
    nexts = [
        reference.next_exponent(exponent, [reference.tensor_sums(update[place]) for update in chosen])
        for exponent, place in zip(exponents, (slice(0, 512), slice(512, 768)), strict=True)
    ]
    assert nexts == ints(section["nextExponents"]) != exponents
    assert "privacy" in json.loads(section["privateManifest"])["training"]
    assert ints(section["privateNextExponents"]) == exponents

    verdicts, artifacts = section["verdicts"].encode(), section["artifacts"].encode()
    assert keccak(verdicts) == raw(section["verdictHash"])
    assert keccak(artifacts) == raw(section["artifactsHash"])
    named = json.loads(artifacts)
    assert named["verdicts"] == hashlib.sha256(verdicts).hexdigest()
    assert named["mean"] == hashlib.sha256(b"".join(mean)).hexdigest()
    assert named["updates"] == [*(hashlib.sha256(update).hexdigest() for update in updates[:4]), None]
    leaves = [
        bytes.fromhex(contributor[2:]) + commitment + weight.to_bytes(4, "big")
        for contributor, commitment, weight in zip(
            section["contributors"], raws(section["commitmentHashes"]), ints(section["weights"]), strict=True
        )
    ]
    assert reference.plain_root(leaves, 0x14, 0x15) == raw(section["entriesRoot"])
    names = ("meanRoot", "stateRoot", "gramRoot", "verdictHash", "artifactsHash", "entriesRoot")
    roots = [raw(section[name]) for name in names]
    anchor = reference.anchor_hash(ints(section["weights"]), [], int(section["delivered"]), roots)
    assert anchor == raw(section["anchorHash"])
    assert keccak(section["genesis"].encode()) == raw(section["genesisHash"])
