# SPDX-License-Identifier: Apache-2.0
"""The valid and invalid cases: the library passes them, so does the second implementation, and no mutation does."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import eth_abi.abi
import pytest
from eth_hash.auto import keccak
from eth_keys.datatypes import Signature

from tests.unit import reference
from tests.unit.aggregation.test_pay import in_plain_integers
from tools.vector_mutations import MUTATIONS

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


def test_pays() -> None:
    for given, expected in valid("publicProducts"):
        tensors = [b for b, size in enumerate(given["elements"]) for _ in range(-(-int(size) // 256) * 256)]
        exponents = [ints(one) for one in given["exponents"]]
        least = [min(column) for column in zip(*exponents, strict=True)]
        rows = [
            [(byte - 128) << min(8, theirs[b] - least[b]) for byte, b in zip(raw(one), tensors, strict=True)]
            for one, theirs in zip(given["vectors"], exponents, strict=True)
        ]
        scales = [4 ** (least[b] - min(least)) for b in tensors]
        assert [
            [sum(s * x * y for s, x, y in zip(scales, a, b, strict=True)) for b in rows] for a in rows
        ] == [ints(row) for row in expected["products"]]
    for given, expected in valid("pays"):
        weights, d = ints(given["weights"]), int(given["dimensions"])
        parts = in_plain_integers([ints(row) for row in given["table"]], len(weights))
        assert parts == [ints(row) for row in expected["newParts"]]
        k = len(parts)
        count = max(0, k - 1 - k // 3)
        along = [
            sorted(65536 * part * part // max(1, parts[j][j]) for j, part in enumerate(row) if j != i)
            for i, row in enumerate(parts)
        ]
        noise = [65536 * max(0, parts[i][i]) * count // max(1, d) for i in range(k)]
        confirmed = [sum(row[:count]) - less for row, less in zip(along, noise, strict=True)]
        assert (confirmed, noise) == (ints(expected["confirmed"]), ints(expected["noise"]))
        weighed = [i for i, w in enumerate(weights) if w]

        def median(values: list[int], of: list[int] = weighed) -> int:
            return sorted(values[i] for i in of)[(len(of) - 1) // 2]

        def part(values: list[int], middle: int) -> list[int]:
            return [65536 if middle <= 0 else max(0, 65536 * x // middle) for x in values]

        half = median(noise) // 2
        shifted = [value + half for value in confirmed]
        sizes = [max(0, parts[i][i]) for i in range(k)]
        new = map(min, part(shifted, median(shifted)), part(sizes, median(sizes)))
        shares = [share if w else 0 for share, w in zip(new, weights, strict=True)]
        assert shares == ints(expected["shares"])
        by_weight = part(weights, median(weights))
        assert [min(65536, 2 * n, 2 * v) for n, v in zip(shares, by_weight, strict=True)] == ints(
            expected["pays"]
        )


def test_payments_and_standings() -> None:
    for given, expected in valid("payments"):
        weights, pays = ints(given["weights"]), ints(given["pays"])
        parts, whole = (pays, 65536) if pays else (weights, max(weights))
        places, reward = int(given["places"]), int(given["reward"])
        shares = [
            reward * part // (places * whole) if p else 0
            for part, p in zip(parts, given["paid"], strict=True)
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


def test_privacy_settings() -> None:
    for given, expected in valid("privacySettings"):
        training = json.loads(given["training"])
        one, rate = training["privacy"], training["learning_rate"]
        s = rate * one["clip"] * one["noise1024"] / (1024 * one["B0"]) * math.sqrt(one["steps"])
        exponent = round(math.log2(s * math.sqrt(math.pi / 2) / 16))
        assert min(max(exponent, -40), 4) == int(expected["exponent"])
        assert -(-one["steps"] * 2**51 // one["noise1024"] ** 2) == int(expected["cost"])


def floor_of(given: dict[str, Any]) -> int:
    """Section 6.3."""
    training = json.loads(given["training"])
    one, d, e = training["privacy"], sum(ints(given["elements"])), ints(given["exponents"])
    size = Fraction(training["learning_rate"]) * Fraction(one["clip"]) * one["noise1024"] / (1024 * one["B0"])
    square = size**2 / Fraction(4) ** e[0]
    if d < 288 or len(set(e)) > 1 or given["dtype"] == "float16" or square > 32**2 or given["width"] != "8":
        return 0
    a, b = square.numerator, square.denominator
    r = math.isqrt(72 * d * a * a)
    r += r * r < 72 * d * a * a
    return max(0, (d * a - r) // b)


def test_floors_and_bounds() -> None:
    for given, expected in valid("floor"):
        assert floor_of(given) == int(expected["floor"]), given
    for case in GROUPS["privateBounds"]["tests"]:
        given = case["input"]
        least, most = int(given["minSumSquares"]), int(given["maxSumSquares"])
        fits = least <= floor_of(given) and most >= max(sum(ints(given["elements"])), 4 * least)
        assert fits == (case["result"] == "valid"), case["comment"]


def test_batches() -> None:
    kinds = ["bytes32", "address", "uint64", "bytes32", "bytes32", "uint64", "bytes32", "bytes32"]
    for given, expected in valid("batch"):
        data, event, hashes = raw(given["batch"]), b"", []
        for at in range(0, len(data), 156):
            entry = data[at : at + 156]
            s = bytes([entry[124] & 127]) + entry[125:]
            fields = ["0x" + entry[:20].hex(), int(given["round"]), raw(given["baseStateRoot"]), entry[20:52]]
            rest = [int.from_bytes(entry[52:60], "big"), entry[60:92], raw(given["bundleHash"])]
            hashes.append(keccak(eth_abi.abi.encode(kinds, [keccak(COMMITMENT), *fields, *rest])))
            chain = [int(given["chainId"]), given["verifyingContract"]]
            words = [keccak(DOMAIN), keccak(b"Folkmoot"), keccak(b"2"), *chain]
            domain = keccak(eth_abi.abi.encode(["bytes32"] * 3 + ["uint256", "address"], words))
            digest = keccak(b"\x19\x01" + domain + hashes[-1])
            signature = Signature(entry[92:124] + s + bytes([entry[124] >> 7]))
            signer = signature.recover_public_key_from_msg_hash(digest).to_canonical_address()
            assert signer == entry[:20]
            event += entry[:92]
        assert hashes == [raw(one) for one in expected["commitmentHashes"]]
        assert event == raw(expected["event"])


COMMITMENT = (
    b"Commitment(address contributor,uint64 round,bytes32 baseStateRoot,bytes32 updateRoot,uint64 sumSquares,"
    b"bytes32 memoryHash,bytes32 bundleHash)"
)
DOMAIN = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"


def may_close(given: dict[str, Any], misread: str = "") -> bool:
    """Section 6.1."""
    since = {who: int(time) for who, time in given["since"].items()}
    opened, entries = int(given["openedAt"]), set(given["committed"])
    late = opened + 1 if misread == "who enrolled at the opening counts" else opened
    counted = {who for who, time in since.items() if time < late or misread == "all who are enrolled count"}
    most = int(given["maxContributors"])
    if given["drawn"] and misread != "drawn places leave none to the coordinator":
        most = max(1 if misread != "no place at all" else 0, most - 1)
    if len(entries) >= most:
        return True
    if given["drawn"] and misread != "all who count, also with a draw":
        return False
    if len(entries) < int(given["minContributors"]) and misread != "fewer than minContributors":
        return False
    return (bool(counted) or misread == "nobody has to count") and counted <= entries


def missed(given: dict[str, Any], misread: str = "") -> int:
    """Section 6.2."""
    count, since = 0, int(given["since"])
    for one in given["rounds"]:
        if count == 3 and misread != "more than three":
            break
        at_once = (
            int(one["openedAt"]) < since if misread == "the round of since" else int(one["openedAt"]) <= since
        )
        if at_once or (one["committed"] and misread != "an entry does not end the row"):
            break
        places, quota = int(one["maxContributors"]), int(one["quota"])
        possible = int(one["phase"]) in ((4,) if misread == "final rounds only" else (3, 4))
        if misread == "cancelled rounds too":
            possible = int(one["phase"]) != 1
        if quota and misread != "without the draw":
            word = int(one["seed"]).to_bytes(32, "big") + bytes(12) + raw(given["account"])
            lot, stake = int.from_bytes(keccak(word), "big") >> 160, int(given["enrolled"])
            possible &= stake >= quota or lot * quota < stake << 96
            possible &= since < int(one["at"]) or misread == "enrolled at the basis"
            places = max(1, places - 1) if misread != "the coordinator's place" else places
        possible &= int(one["entries"]) < places or misread == "full rounds too"
        if not possible and misread == "other rounds end the row":
            break
        count += possible
    return count


def deletion(given: dict[str, Any], misread: str = "") -> dict[str, bool]:
    """Sections 12.1 and 12.2."""
    above, retain, now = int(given["above"]), int(given["retainRounds"]), int(given["now"])
    over = int(given["phase"]) in ((4,) if misread == "final rounds only" else (4, 5, 6))
    late = now > int(given["freeAt"]) if misread == "after freeAt" else now >= int(given["freeAt"])
    free = over and late and above >= (9 if misread == "nine above" else 8)
    kept = retain + (misread == "one more is retained")
    expired = (
        free
        and (retain > 0 or misread == "0 retains nothing")
        and above > kept - (misread == "one less is retained")
    )
    spare = (
        over and above >= (8 if misread == "spare with eight above" else 9) and int(given["round"]) % 8 != 0
    )
    if misread == "spare once it is free":
        spare = spare and free
    if misread == "each fourth state stays":
        spare = spare and int(given["round"]) % 4 != 0
    return {"free": free, "expired": expired, "spare": spare}


MISREADINGS = {
    "closeCommits": (
        "who enrolled at the opening counts", "all who are enrolled count", "no place at all",
        "drawn places leave none to the coordinator", "all who count, also with a draw", "nobody has to count",
        "fewer than minContributors",
    ),
    "missed": (
        "more than three", "the round of since", "an entry does not end the row", "final rounds only",
        "cancelled rounds too", "without the draw", "enrolled at the basis", "the coordinator's place",
        "full rounds too", "other rounds end the row",
    ),
    "retention": (
        "final rounds only", "after freeAt", "nine above", "one more is retained", "one less is retained",
        "0 retains nothing", "spare with eight above", "spare once it is free", "each fourth state stays",
    ),
}  # fmt: skip
"""Misreadings of what contracts decide, or what no module of the library decides alone."""


def wrong(name: str, misread: str = "") -> list[str]:
    """Comments of the cases that a reading of a group's section fails."""
    found = []
    for case in GROUPS[name]["tests"]:
        given, expected = case["input"], case["expected"]
        if name == "closeCommits":
            right = may_close(given, misread) == (case["result"] == "valid")
        elif name == "missed":
            right = missed(given, misread) == int(expected["missed"])
        else:
            right = deletion(given, misread) == expected
        if not right:
            found.append(case["comment"])
    return found


@pytest.mark.parametrize("name", MISREADINGS)
def test_rules_of_the_chain_and_their_misreadings(name: str) -> None:
    assert wrong(name) == []
    assert [misread for misread in MISREADINGS[name] if not wrong(name, misread)] == []


def test_model_files() -> None:
    names = {
        "bool": "BOOL", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint8": "U8", "uint16": "U16",
        "uint32": "U32", "uint64": "U64", "float16": "F16", "float32": "F32", "float64": "F64",
    }  # fmt: skip
    for given, expected in valid("model"):
        manifest, whole = json.loads(given["manifest"]), raw(given["theta"])
        theta = struct.unpack(f">{len(whole) // 8}q", whole)
        files, leaf, data, entries = [raw(one) for one in given["files"]], 0, b"", []
        for array in manifest["arrays"]:
            elements = math.prod(array["shape"])
            if "data" in array:
                kind, values = names[array["dtype"]], base64.b64decode(array["data"])
            elif "hash" in array:
                kind, values = names[array["dtype"]], files.pop(0)
                assert hashlib.sha256(values).hexdigest() == array["hash"]
            else:
                kind, values = "F32", b""
                for x in theta[256 * leaf : 256 * leaf + elements]:
                    values += struct.pack("<f", x * 2.0**-26)
                leaf += -(-elements // 256)
            place = f"[{len(data)},{len(data) + len(values)}]"
            shape = ",".join(map(str, array["shape"]))
            name = json.dumps(array["name"], ensure_ascii=False)
            entries.append(f'{name}:{{"dtype":"{kind}","shape":[{shape}],"data_offsets":{place}}}')
            data += values
        document = given["manifest"].encode()
        sizes = [
            math.prod(one["shape"]) for one in manifest["arrays"] if "data" not in one and "hash" not in one
        ]
        layout = b"".join(struct.pack(">Q", size) for size in sizes)
        manifest_hash = keccak(b"\x10" + keccak(layout) + keccak(document))
        leaves = [struct.pack(">256q", *theta[at : at + 256]) for at in range(0, len(theta), 256)]
        zeros = [bytes(2048)] * len(leaves)
        roots = reference.plain_root(leaves, 4, 5), reference.plain_root(zeros, 6, 7)
        root = keccak(b"\x08" + manifest_hash + b"".join(roots))
        head = f'"__metadata__":{{"folkmoot.version":"{given["version"]}","folkmoot.stateRoot":"0x{root.hex()}"}}'
        header = ("{" + ",".join([head, *entries]) + "}").encode()
        header += b" " * (-len(header) % 8)
        assert struct.pack("<Q", len(header)) + header + data == raw(expected["model"]), manifest


def test_losses_as_integers() -> None:
    for given, expected in valid("lossUnits"):
        data = raw(given["values"])
        for x, unit in zip(struct.unpack(f">{len(data) // 8}d", data), expected["units"], strict=True):
            known = math.isfinite(x) and abs(x) <= 2.0**31
            assert unit == (str(round(Fraction(x) * 2**20)) if known else None)


def test_the_text_of_each_mutation_is_in_the_library_once() -> None:
    for one in MUTATIONS:
        source = ROOT / "folkmoot" / (one.module.replace(".", "/") + ".py")
        assert source.read_text(encoding="utf-8").count(one.old) == 1, one.name


@pytest.fixture(scope="module")
def mutations() -> list[dict[str, str]]:
    result = run("vector_mutations.py", "--json")
    assert result.returncode in (0, 1), result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_mutation_of_the_library_fails_the_vectors(mutations: list[dict[str, str]]) -> None:
    table = "\n".join(f"{one['name']}: {one.get('caught') or one}" for one in mutations)
    sys.stdout.write(table + "\n")
    assert len(mutations) >= 200
    assert {
        one["name"]: one.get("error", "no case fails") for one in mutations if not one.get("caught")
    } == {}


@pytest.mark.long
def test_a_case_that_fails_is_noticed() -> None:
    result = run("vector_mutations.py", "--only", "outer step: theta + ...")
    assert result.returncode == 0, result.stdout
    assert "1 mutations, 1 caught." in result.stdout
