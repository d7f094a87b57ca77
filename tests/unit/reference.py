# SPDX-License-Identifier: Apache-2.0
"""The protocol once more, straight from docs/protocol.md, in plain Python integers and without the library.

Slow on purpose: it has no vectors, no chunks and no cleverness, so that it can be read beside the page. The library
and the contracts are tested against what it says.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction

from eth_hash.auto import keccak

LEAF = 256
STATE_BOUND = 2**48 - 1

SumNode = tuple[bytes, int, int]


def word(value: int) -> bytes:
    """A uint256."""
    return value.to_bytes(32, "big")


def anchor_hash(weights: Sequence[int], pays: Sequence[int], delivered: int, roots: Sequence[bytes]) -> bytes:
    """Section 11."""
    lists = b"".join(keccak(b"".join(map(word, one))) for one in (weights, pays))
    return keccak(lists + word(delivered) + b"".join(roots))


# Section 3


def update_leaf(data: bytes) -> SumNode:
    values = [byte - 128 for byte in data]
    return keccak(b"\x00" + data), sum(abs(q) for q in values), sum(q * q for q in values)


def sum_node(left: SumNode, right: SumNode) -> SumNode:
    packed = b"".join(h + a.to_bytes(8, "big") + s.to_bytes(8, "big") for h, a, s in (left, right))
    return keccak(b"\x01" + packed), left[1] + right[1], left[2] + right[2]


def places(leaves: int) -> int:
    count = 1
    while count < leaves:
        count *= 2
    return count


def update_root(leaves: Sequence[bytes]) -> SumNode:
    nodes = [update_leaf(leaf) for leaf in leaves]
    nodes += [(bytes(32), 0, 0)] * (places(len(leaves)) - len(leaves))
    while len(nodes) > 1:
        nodes = [sum_node(nodes[i], nodes[i + 1]) for i in range(0, len(nodes), 2)]
    return nodes[0]


def plain_root(leaves: Sequence[bytes], leaf_prefix: int, node_prefix: int) -> bytes:
    nodes = [keccak(bytes([leaf_prefix]) + leaf) for leaf in leaves]
    nodes += [bytes(32)] * (places(len(leaves)) - len(leaves))
    while len(nodes) > 1:
        nodes = [keccak(bytes([node_prefix]) + nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
    return nodes[0]


def mean_leaf(values: Sequence[int]) -> bytes:
    return bytes(value + 128 for value in values)


def state_leaf(values: Sequence[int]) -> bytes:
    return b"".join(value.to_bytes(8, "big", signed=True) for value in values)


# Section 5


def offset(key: int, place: int) -> int:
    """``u * 2^24``."""
    mask = 2**64 - 1
    z = (key + (place + 1) * 0x9E3779B97F4A7C15) & mask
    z ^= z >> 30
    z = (z * 0xBF58476D1CE4E5B9) & mask
    z ^= z >> 27
    z = (z * 0x94D049BB133111EB) & mask
    z ^= z >> 31
    return z >> 40


def unpacked(data: bytes, width: int) -> bytes:
    """Leaves of an update file."""
    bits = "".join(f"{byte:08b}" for byte in data)
    codes = (int(bits[at : at + width], 2) for at in range(0, len(bits), width))
    return bytes(code - 2 ** (width - 1) + 128 for code in codes)


def encode(start: float, end: float, exponent: int, units: int, width: int = 8) -> int:
    """One coordinate; Python's float is the binary64 that the page asks for."""
    edge = 2.0 ** (width - 1)
    y = min(max((start - end) * 2.0**-exponent, -edge), edge)
    shifted = y + units * 2.0**-24
    floor = int(shifted // 1)
    return min(max(floor, 1 - int(edge)), int(edge) - 1)


def float32_values(data: bytes) -> list[float]:
    return list(struct.unpack(f">{len(data) // 4}f", data))


# Sections 8 to 10


def gram(updates: Sequence[bytes], exponents: Sequence[int], leaf_counts: Sequence[int]) -> list[int]:
    of_leaf = [exponent for exponent, count in zip(exponents, leaf_counts, strict=True) for _ in range(count)]
    least = min(exponents)
    return [
        sum(4 ** (of_leaf[c // LEAF] - least) * (x[c] - 128) * (y[c] - 128) for c in range(len(x)))
        for x in updates
        for y in updates
    ]


def triangle(product: Sequence[int], count: int) -> list[int]:
    """The lower half of a symmetric matrix that is given row by row."""
    return [product[count * a + b] for a in range(count) for b in range(a + 1)]


def gram_root(updates: Sequence[bytes], exponents: Sequence[int], leaf_counts: Sequence[int]) -> bytes:
    """Section 3, the Gram tree: every block and every node, the empty ones included."""
    leaves = sum(leaf_counts)
    width = min(16, places(leaves))
    tensors = [tensor for tensor, count in enumerate(leaf_counts) for _ in range(count)]
    size = len(updates) * (len(updates) + 1) // 2
    nodes: list[tuple[bytes, list[int]]] = []
    for first in range(0, LEAF * leaves, LEAF * width):
        block = range(first, min(first + LEAF * width, LEAF * leaves))
        matrix = [
            sum(
                4 ** (exponents[tensors[j // LEAF]] - min(exponents))
                * (updates[a][j] - 128)
                * (updates[b][j] - 128)
                for j in block
            )
            for a in range(len(updates))
            for b in range(a + 1)
        ]
        nodes.append((keccak(b"\x12" + matrix_bytes(matrix)), matrix))
    nodes += [(bytes(32), [0] * size)] * (places(len(nodes)) - len(nodes))
    while len(nodes) > 1:
        above = []
        for left, right in zip(nodes[::2], nodes[1::2], strict=True):
            matrix = [x + y for x, y in zip(left[1], right[1], strict=True)]
            above.append((keccak(b"\x13" + left[0] + right[0] + keccak(matrix_bytes(matrix))), matrix))
        nodes = above
    return nodes[0][0]


def matrix_bytes(matrix: Sequence[int]) -> bytes:
    """Entries of 192 bits in two's complement."""
    return b"".join((value % 2**192).to_bytes(24, "big") for value in matrix)


def references(
    updates: Sequence[bytes],
    exponents: Sequence[int],
    others: Sequence[bytes],
    other_exponents: Sequence[Sequence[int]],
    leaf_counts: Sequence[int],
    bound: int = 127,
) -> tuple[list[int], list[int]]:
    """Products, by reference and by update, and squares."""

    def values(update: bytes, ours: Sequence[int], theirs: Sequence[int]) -> list[int]:
        """In the finer of both units of each tensor, clamped there, times 2^(m_b - m_min)."""
        finer = [min(pair) for pair in zip(ours, theirs, strict=True)]
        places = [tensor for tensor, count in enumerate(leaf_counts) for _ in range(256 * count)]
        found = []
        for byte, tensor in zip(update, places, strict=True):
            value = min(max((byte - 128) * 2 ** (ours[tensor] - finer[tensor]), -bound), bound)
            found.append(value * 2 ** (finer[tensor] - min(finer)))
        return found

    products, squares = [], []
    for other, theirs in zip(others, other_exponents, strict=True):
        b = values(other, theirs, exponents)
        squares.append(sum(y * y for y in b))
        products += [
            sum(x * y for x, y in zip(values(a, exponents, theirs), b, strict=True)) for a in updates
        ]
    return products, squares


def trajectory(before: int, base: int, exponent: int, width: int = 8) -> int:
    """One integer of the trajectory: the quotient in units of 2^(exponent - 8 + width), rounded half up."""
    exact = Fraction(before - base) / Fraction(2) ** (26 + exponent - 8 + width)
    return min(max(math.floor(exact + Fraction(1, 2)), -127), 127)


def compared(leaves: int, entries_hash: bytes) -> list[int]:
    s = (leaves + 4095) // 4096
    drawn = [
        k * s + int.from_bytes(keccak(entries_hash + k.to_bytes(4, "big")), "big") % s for k in range(4096)
    ]
    return [leaf for leaf in drawn if leaf < leaves]


def multi_krum(product: Sequence[int], count: int, f: int, m: int) -> tuple[list[int], list[int]]:
    """Weights and scores from a row-by-row Gram matrix."""
    if count < 2 * f + 3:
        f = max(0, (count - 3) // 2)
    m = count - f if m == 0 or count <= 2 else min(m, count - f)
    scores = []
    for i in range(count):
        distances = [
            product[i * count + i] + product[j * count + j] - 2 * product[i * count + j]
            for j in range(count)
            if j != i
        ]
        scores.append(sum(sorted(distances)[: max(1, count - f - 2)]))
    weights = [0] * count
    for _ in range(m):
        best = None
        for i in range(count):
            if weights[i] == 0 and (best is None or scores[i] < scores[best]):
                best = i
        assert best is not None
        weights[best] = 1
    return weights, scores


def clamp(value: int) -> int:
    return min(max(value, -STATE_BOUND), STATE_BOUND)


def mean(aggregate: int, weight_sum: int, scale: int) -> int:
    """The integer nearest to S A / W, halves up."""
    return math.floor(Fraction(scale * aggregate, weight_sum) + Fraction(1, 2))


def outer_step(
    theta: int, momentum: int, mean: int, scale: int, exponent: int, rate: int, decay: int
) -> tuple[int, int]:
    s = 26 + exponent
    n, d = (mean * 2**s, scale) if s >= 0 else (mean, scale * 2**-s)
    g = (2 * n + d) // (2 * d)
    m = clamp((momentum * decay) // 1024 + g)
    return clamp(theta - (rate * (g + (m * decay) // 1024)) // 1024), m


def fitting_bound(values: list[int], cap: int) -> int:
    """0 where not even ±1 fits."""
    return max(c for c in range(128) if sum(min(abs(q), c) ** 2 for q in values) <= cap)


def exponent_vote(absolute: int, squares: int, largest: int, elements: int = 256, *, width: int = 8) -> int:
    if absolute == 0:
        return 0
    if width == 2:
        if 8 * absolute >= 7 * elements:
            return 4
        amplitude = 2 * Fraction(4 * absolute, elements) ** 2
    else:
        target, cut = {8: (16, 64), 4: (3, 4)}[width]
        if largest >= cut and 8 * squares >= 7 * largest * absolute:
            return 4
        # 2 S^2 >= (T A)^2 4^d
        amplitude = Fraction(2 * squares**2, (target * absolute) ** 2)
    return max([d for d in range(-4, 4) if amplitude >= Fraction(4) ** d], default=-4)


def next_exponent(exponent: int, sums: Sequence[Sequence[int]], width: int = 8) -> int:
    if all(one[0] == 0 for one in sums):
        return max(exponent - 1, -12) if exponent > -12 else exponent
    votes = sorted(exponent_vote(*one, width=width) for one in sums)
    return min(max(exponent + votes[(len(votes) - 1) // 2], -40), 4)


def tensor_sums(data: bytes) -> tuple[int, int, int]:
    sizes = [abs(byte - 128) for byte in data]
    return sum(sizes), sum(size**2 for size in sizes), max(sizes)
