# SPDX-License-Identifier: Apache-2.0
"""Cases of sections 5 to 7 of docs/protocol.md: encoding, signing and checking an update, and its cost."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from eth_account import Account

from folkmoot.protocol import codec, merkle, packing
from folkmoot.protocol.budget import MAX_STEPS
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.fixed_point import LEAF
from tools.cases.group import Group
from tools.cases.values import Values, manifest_of, packed
from tools.vectors.values import CHAIN_ID, KEYS, LEDGER, stream, update_file


def encode_cases() -> Group:
    """Section 5."""
    group = Group(
        "encode", "5", "An update of one tensor; before: elements of a tensor of zeros in front. start and end are "
        "float32, big-endian. units: u * 2^24 by place; y: "
        "the quotient as binary64, big-endian. maxSumSquares empty: no cap. q: leaves, not the file.",
    )  # fmt: skip
    seed, contributor = stream("seed", 32), Account.from_key(KEYS[0]).address
    key = codec.rounding_key(seed, contributor)

    def add(
        comment: str,
        pairs: Sequence[tuple[float, float]],
        exponent: int,
        cap: str = "",
        *,
        before: int = 0,
        width: int = 8,
        valid: bool = True,
    ) -> None:
        start, end = (b"".join(struct.pack(">f", one[side]) for one in pairs) for side in (0, 1))
        given = {
            "before": before, "elements": len(pairs), "start": start, "end": end, "exponent": exponent, "seed": seed,
            "contributor": contributor, "maxSumSquares": cap, "width": width,
        }  # fmt: skip
        if not valid:
            group.invalid(comment, given)
            return
        first = LEAF * -(-before // LEAF)
        places = range(first, first + len(pairs))
        units = [int(codec.rounding_offsets(key, place, place + 1)[0] * 2**24) for place in places]
        y = [(_float32(a) - _float32(b)) * 2.0**-exponent for a, b in pairs]
        group.valid(comment, given, y=[struct.pack(">d", one) for one in y], units=units)

    add("integers are not rounded", [(float(i), 0.0) for i in (0, 1, -1, 126, -126, 127, -127)], 0)
    add("halves go up or down by u", [(i / 2, 0.0) for i in range(-21, 21, 2)], 0)
    add("start - end, not end - start", [(1.5, 4.0), (4.0, 1.5)], -1)
    add(
        "beyond the range",
        [
            (127.25, 0.0),
            (127.9, 0.0),
            (128.0, 0.0),
            (500.0, 0.0),
            (-127.25, 0.0),
            (-128.0, 0.0),
            (-500.0, 0.0),
        ]
        * 3,
        0,
    )
    add("tiny changes", [(2.0**-40, 0.0), (-(2.0**-40), 0.0)] * 4, -12)
    add("the difference is taken in float64", [(1.0, 2.0**-30), (1.0, -(2.0**-30))] * 3, -26 + 20)
    add("places count the tensors in front, with their padding", [(0.5, 0.0), (0.25, 0.0)] * 8, 0, before=300)
    offsets = [float(u) for u in codec.rounding_offsets(key, 0, 24)]
    above = [float(np.nextafter(np.float32(u), np.float32(2))) for u in offsets]
    add("just below the step of u, in float64", [(64.0, u) for u in above], 0)
    add("u has 24 bits", [(1.0, u) for u in above], 0)
    add("fitted to a cap", [(float(i), 0.0) for i in (100, -50, 20, 3, 0)], 0, str(50**2 * 2 + 20**2 + 3**2))
    add("one below", [(float(i), 0.0) for i in (100, -50, 20, 3, 0)], 0, str(50**2 * 2 + 20**2 + 3**2 - 1))
    for width in (4, 2):
        q = packing.largest(width)
        edges = (q - 0.75, q, q + 0.25, q + 0.9, q + 1, 500, -q, -q - 0.25, -q - 1, -500)
        add(f"width {width}: beyond the range", [(float(y), 0.0) for y in edges] * 3, 0, width=width)
        add(f"width {width}: halves", [(i / 2, 0.0) for i in range(-21, 21, 2)], 0, width=width)
    many = [(7.0, 0.0), (-7.0, 0.0), (4.0, 0.0), (-3.0, 0.0), (1.0, 0.0)]
    add("width 4: fitted to a cap", many, 0, str(3 * 4**2 + 3**2 + 1), width=4)
    add("width 4: one below", many, 0, str(3 * 4**2 + 3**2), width=4)
    add("width 2: at the cap", [(1.0, 0.0), (-5.0, 0.0), (0.0, 0.0)], 0, "2", width=2)
    add("width 2: the cap leaves no room", [(1.0, 0.0), (-5.0, 0.0)], 0, "1", width=2, valid=False)
    add("the cap leaves no room", [(5.0, 0.0), (5.0, 0.0)], 0, "1", valid=False)
    add("NaN", [(1.0, float("nan"))], 0, valid=False)
    add("infinity", [(1.0, float("inf"))], 0, valid=False)
    add("the exponent is above 4", [(1.0, 0.0)], 5, valid=False)
    add("the exponent is below -40", [(1.0, 0.0)], -41, valid=False)
    return group


def _float32(value: float) -> float:
    return float(np.float32(value))


def signature_cases() -> Group:
    """Section 6."""
    group = Group("signature", "6", "A commitment, a domain and 65 bytes r || s || v.")
    account = Account.from_key(KEYS[0])
    other = Account.from_key(KEYS[1])
    commitment = Commitment(
        account.address,
        7,
        stream("base", 32),
        stream("root", 32),
        1234,
        stream("memory", 32),
        stream("bundle", 32),
    )
    domain = Domain(CHAIN_ID, LEDGER)
    signed = commitment.sign(account, domain)
    fields = {
        "contributor": commitment.contributor, "round": 7, "baseStateRoot": commitment.base_state_root,
        "updateRoot": commitment.update_root, "sumSquares": 1234, "memoryHash": commitment.memory_hash,
        "bundleHash": commitment.bundle_hash,
        "chainId": CHAIN_ID, "verifyingContract": LEDGER, "signature": signed,
    }  # fmt: skip
    group.valid("the contributor's signature", fields)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high = (order - int.from_bytes(signed[32:64], "big")).to_bytes(32, "big")
    v = signed[64]
    compact = bytearray(signed[32:64])
    compact[0] |= (v - 27) << 7
    bad = {
        "v is 0 or 1": signed[:64] + bytes([v - 27]),
        "v of EIP-155": signed[:64] + bytes([v + 8]),
        "the other v": signed[:64] + bytes([55 - v]),
        "s in the upper half": signed[:32] + high + bytes([55 - v]),
        "the compact form of EIP-2098": signed[:32] + bytes(compact),
        "one byte more": signed + b"\0",
        "empty": b"",
        "r is 0": bytes(32) + signed[32:],
        "s is 0": signed[:32] + bytes(32) + signed[64:],
        "r is the curve's order": order.to_bytes(32, "big") + signed[32:],
    }
    for comment, data in bad.items():
        group.invalid(comment, {**fields, "signature": data})
    theirs = Commitment(
        other.address,
        7,
        stream("base", 32),
        stream("root", 32),
        1234,
        stream("memory", 32),
        stream("bundle", 32),
    )
    group.invalid("another account's signature", {**fields, "signature": theirs.sign(other, domain)})
    group.invalid(
        "ERC-1271: the contributor is a contract, its owner signed; only the chain can check that",
        {**fields, "contributor": LEDGER}, ["ERC1271"],
    )  # fmt: skip
    for name, value in {
        "round": 8, "sumSquares": 1235, "memoryHash": bytes(32), "chainId": 1, "bundleHash": bytes(32),
        "verifyingContract": account.address, "updateRoot": stream("base", 32), "baseStateRoot": bytes(32),
    }.items():  # fmt: skip
        group.invalid(f"another {name}", {**fields, name: value})
    return group


def cost_cases() -> Group:
    """Section 6.3."""
    group = Group("cost", "6.3", "What an update costs of a privacy budget.")
    group.valid("the example of the page", {"noise1024": 2745, "steps": 1})
    group.valid("rounded up", {"noise1024": (1 << 32) - 1, "steps": 1})
    group.valid("the largest cost", {"noise1024": 1, "steps": MAX_STEPS})
    group.valid("no rounding", {"noise1024": 1024, "steps": 3})
    group.invalid("no noise", {"noise1024": 0, "steps": 1})
    group.invalid("noise of 33 bits", {"noise1024": 1 << 32, "steps": 1})
    group.invalid("no step", {"noise1024": 2745, "steps": 0})
    group.invalid("a step too many", {"noise1024": 2745, "steps": MAX_STEPS + 1})
    return group


def bytes_cases() -> Group:
    """Section 7."""
    group = Group(
        "updateBytes",
        "7",
        "A file of this width against updateRoot and sumSquares. tensors: A, S, M and N of each tensor.",
    )
    elements = [300, 5]
    manifest = manifest_of([str(size) for size in elements])
    data = update_file("update bytes", manifest)
    tree = merkle.update_tree(np.frombuffer(data, dtype=np.uint8))

    def given(changed: bytes, **more: Any) -> Values:
        return {
            "elements": elements,
            "width": 8,
            "data": changed,
            "updateRoot": tree.root,
            "sumSquares": tree.sum_squares,
            **more,
        }

    def with_byte(place: int, byte: int) -> bytes:
        return bytes(data[:place]) + bytes([byte]) + bytes(data[place + 1 :])

    group.valid("the update", given(data))
    low = bytes([1]) * 300 + bytes([128]) * 212 + bytes([255]) * 5 + bytes([128]) * 251
    tree_ = merkle.update_tree(np.frombuffer(low, dtype=np.uint8))
    group.valid(
        "the smallest and the largest integers",
        given(low, updateRoot=tree_.root, sumSquares=tree_.sum_squares),
    )
    group.invalid("a byte too few", given(data[:-1]))
    group.invalid("a leaf too many", given(data + bytes([128]) * LEAF))
    group.invalid("empty", given(b""))
    group.invalid("a byte 0x00", given(with_byte(17, 0)))
    group.invalid("padding 0x81", given(with_byte(300, 129)))
    group.invalid("padding 0x7f in the last place", given(with_byte(767, 127)))
    group.invalid("padding 0x00", given(with_byte(600, 0)))
    group.invalid("another byte", given(with_byte(3, 200 if data[3] != 200 else 201)))
    group.invalid("another sum of squares", given(data, sumSquares=tree.sum_squares + 1))
    group.invalid("another root", given(data, updateRoot=bytes(32)))
    for width in (4, 2):
        bound = packing.largest(width)
        leaves = update_file(f"update bytes {width}", manifest, bound)
        tree = merkle.update_tree(np.frombuffer(leaves, dtype=np.uint8))
        group.valid(f"width {width}", given(packed(leaves, width), width=width), ["Width"])
        group.invalid(f"width {width}: unpacked", given(leaves, width=width), ["Width"])
        group.invalid(f"width {width} for a round of width 8", given(packed(leaves, width)), ["Width"])
        group.invalid(
            f"width {width}: the first coordinate in the lowest bits",
            given(bytes(int(f"{b:08b}"[::-1], 2) for b in packed(leaves, width)), width=width),
            ["Width"],
        )
        for comment, place, q in (
            ("the bits 0", 17, -bound - 1),
            ("padding of 1", 300, 1),
            ("padding of the bits 0", 600, -bound - 1),
        ):
            # The commitment is to the wrong integers, so only they can be what is refused.
            wrong = leaves[:place] + bytes([128 + q]) + leaves[place + 1 :]
            false = merkle.update_tree(np.frombuffer(wrong, dtype=np.uint8))
            claim = {"width": width, "updateRoot": false.root, "sumSquares": false.sum_squares}
            group.invalid(f"width {width}: {comment}", given(packed(wrong, width), **claim), ["Width"])
    row = bytes([128]) * 7 + bytes([129]) * 2 + bytes([128]) * 503 + bytes([128, 127]) + bytes([128]) * 254
    tree = merkle.update_tree(np.frombuffer(row, dtype=np.uint8))
    group.valid(
        "N counts blocks of 8 other than 0, without padding", given(packed(row, 2), width=2), ["Width"]
    )
    row = bytes([129]) + bytes([128]) * 16 + bytes([129]) + bytes([128]) * 750
    tree = merkle.update_tree(np.frombuffer(row, dtype=np.uint8))
    group.valid("N: the places 0 and 17 are in two blocks of 8", given(packed(row, 2), width=2), ["Width"])
    return group
