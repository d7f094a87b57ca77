# SPDX-License-Identifier: Apache-2.0
"""Compiled loops (numba) for the few places where numpy is slow. Imported by ``folkmoot.protocol.acceleration`` only.

Each function does exactly what the numpy code of its caller does, and a test compares the two. They know
nothing of files, formats or errors: they get arrays of the right shape and fill arrays. Integer overflow
wraps, floats are IEEE binary64 without contraction into other results (no ``fastmath``), so the machine does
not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from folkmoot.protocol.arrays import F32, I64, U8, U16, U32, U64

_F = TypeVar("_F", bound=Callable[..., Any])

_ZERO = np.uint64(0)
_LANES = 8  # hashes at a time
_RATE = 136  # bytes that one permutation of keccak-256 absorbs


def _compiled(function: _F) -> _F:
    """Compile a function, on disk where a folder for that can be written."""
    try:
        compiled: Any = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to cache in, e.g. a read-only container
        compiled = numba.njit(nogil=True)(function)
    return cast(_F, compiled)


def _inlined(function: _F) -> _F:
    """Compile a helper that the compiler puts into its callers."""
    compiled: Any = numba.njit(inline="always")(function)
    return cast(_F, compiled)


def _generated(function: Callable[..., Any]) -> Any:
    """Give compiled loops a function whose code is written in LLVM's language."""
    return intrinsic(function)


_ROUND_CONSTANTS = np.array(
    [
        0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000, 0x000000000000808B,
        0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008A, 0x0000000000000088,
        0x0000000080008009, 0x000000008000000A, 0x000000008000808B, 0x800000000000008B, 0x8000000000008089,
        0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
        0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
    ],
    dtype=np.uint64,
)  # fmt: skip


@_inlined
def _rotate(value: np.uint64, bits: int) -> np.uint64:
    """Rotate left by 1 to 63 bits."""
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@_compiled
def keccak_rows(rows: U8, prefix: int, out: U64) -> None:
    """Hash ``prefix || row`` for each row of uint8[n, L] into uint64[n, 4], the hash's bytes in memory order.

    Keccak-f[1600] as in FIPS 202 (Bertoni, Daemen, Peeters, Van Assche), with the padding byte 0x01 of keccak-256.
    Eight rows go side by side, so that the compiler can turn the inner loop, one round written out, into vector
    instructions.
    """
    length = rows.shape[1] + 1
    blocks = length // _RATE + 1
    messages = np.zeros((_LANES, blocks * _RATE), dtype=np.uint8)
    for lane in range(_LANES):
        messages[lane, 0] = prefix
        messages[lane, length] = 0x01
        messages[lane, blocks * _RATE - 1] |= 0x80
    words = messages.view(np.uint64)
    state = np.empty((25, _LANES), dtype=np.uint64)
    for row in range(0, rows.shape[0], _LANES):
        used = min(_LANES, rows.shape[0] - row)
        for lane in range(used):
            messages[lane, 1:length] = rows[row + lane]
        state[:] = _ZERO
        for block in range(blocks):
            for word in range(17):
                for lane in range(_LANES):
                    state[word, lane] ^= words[lane, 17 * block + word]
            for constant in _ROUND_CONSTANTS:
                for lane in range(_LANES):
                    s00 = state[0, lane]
                    s01 = state[1, lane]
                    s02 = state[2, lane]
                    s03 = state[3, lane]
                    s04 = state[4, lane]
                    s05 = state[5, lane]
                    s06 = state[6, lane]
                    s07 = state[7, lane]
                    s08 = state[8, lane]
                    s09 = state[9, lane]
                    s10 = state[10, lane]
                    s11 = state[11, lane]
                    s12 = state[12, lane]
                    s13 = state[13, lane]
                    s14 = state[14, lane]
                    s15 = state[15, lane]
                    s16 = state[16, lane]
                    s17 = state[17, lane]
                    s18 = state[18, lane]
                    s19 = state[19, lane]
                    s20 = state[20, lane]
                    s21 = state[21, lane]
                    s22 = state[22, lane]
                    s23 = state[23, lane]
                    s24 = state[24, lane]
                    c0 = s00 ^ s05 ^ s10 ^ s15 ^ s20
                    c1 = s01 ^ s06 ^ s11 ^ s16 ^ s21
                    c2 = s02 ^ s07 ^ s12 ^ s17 ^ s22
                    c3 = s03 ^ s08 ^ s13 ^ s18 ^ s23
                    c4 = s04 ^ s09 ^ s14 ^ s19 ^ s24
                    d0 = c4 ^ _rotate(c1, 1)
                    d1 = c0 ^ _rotate(c2, 1)
                    d2 = c1 ^ _rotate(c3, 1)
                    d3 = c2 ^ _rotate(c4, 1)
                    d4 = c3 ^ _rotate(c0, 1)
                    b00 = s00 ^ d0
                    b16 = _rotate(s05 ^ d0, 36)
                    b07 = _rotate(s10 ^ d0, 3)
                    b23 = _rotate(s15 ^ d0, 41)
                    b14 = _rotate(s20 ^ d0, 18)
                    b10 = _rotate(s01 ^ d1, 1)
                    b01 = _rotate(s06 ^ d1, 44)
                    b17 = _rotate(s11 ^ d1, 10)
                    b08 = _rotate(s16 ^ d1, 45)
                    b24 = _rotate(s21 ^ d1, 2)
                    b20 = _rotate(s02 ^ d2, 62)
                    b11 = _rotate(s07 ^ d2, 6)
                    b02 = _rotate(s12 ^ d2, 43)
                    b18 = _rotate(s17 ^ d2, 15)
                    b09 = _rotate(s22 ^ d2, 61)
                    b05 = _rotate(s03 ^ d3, 28)
                    b21 = _rotate(s08 ^ d3, 55)
                    b12 = _rotate(s13 ^ d3, 25)
                    b03 = _rotate(s18 ^ d3, 21)
                    b19 = _rotate(s23 ^ d3, 56)
                    b15 = _rotate(s04 ^ d4, 27)
                    b06 = _rotate(s09 ^ d4, 20)
                    b22 = _rotate(s14 ^ d4, 39)
                    b13 = _rotate(s19 ^ d4, 8)
                    b04 = _rotate(s24 ^ d4, 14)
                    state[0, lane] = (b00 ^ (~b01 & b02)) ^ constant
                    state[1, lane] = b01 ^ (~b02 & b03)
                    state[2, lane] = b02 ^ (~b03 & b04)
                    state[3, lane] = b03 ^ (~b04 & b00)
                    state[4, lane] = b04 ^ (~b00 & b01)
                    state[5, lane] = b05 ^ (~b06 & b07)
                    state[6, lane] = b06 ^ (~b07 & b08)
                    state[7, lane] = b07 ^ (~b08 & b09)
                    state[8, lane] = b08 ^ (~b09 & b05)
                    state[9, lane] = b09 ^ (~b05 & b06)
                    state[10, lane] = b10 ^ (~b11 & b12)
                    state[11, lane] = b11 ^ (~b12 & b13)
                    state[12, lane] = b12 ^ (~b13 & b14)
                    state[13, lane] = b13 ^ (~b14 & b10)
                    state[14, lane] = b14 ^ (~b10 & b11)
                    state[15, lane] = b15 ^ (~b16 & b17)
                    state[16, lane] = b16 ^ (~b17 & b18)
                    state[17, lane] = b17 ^ (~b18 & b19)
                    state[18, lane] = b18 ^ (~b19 & b15)
                    state[19, lane] = b19 ^ (~b15 & b16)
                    state[20, lane] = b20 ^ (~b21 & b22)
                    state[21, lane] = b21 ^ (~b22 & b23)
                    state[22, lane] = b22 ^ (~b23 & b24)
                    state[23, lane] = b23 ^ (~b24 & b20)
                    state[24, lane] = b24 ^ (~b20 & b21)
        for lane in range(used):
            for word in range(4):
                out[row + lane, word] = state[word, lane]


@_compiled
def leaf_sums(leaves: U8, absolute: U64, square: U64) -> bool:
    """Fill the sums of ``|q|`` and ``q^2`` of each leaf of uint8[n, 256]; return whether a byte is 0x00."""
    invalid = False
    for leaf in range(leaves.shape[0]):
        total = np.int32(0)
        squares = np.int32(0)
        smallest = np.uint8(255)
        for byte in leaves[leaf]:
            value = np.int32(np.int32(byte) - np.int32(128))
            total = np.int32(total + abs(value))
            squares = np.int32(squares + value * value)
            smallest = min(smallest, byte)
        absolute[leaf] = np.uint64(total)
        square[leaf] = np.uint64(squares)
        invalid |= smallest == 0
    return invalid


@_compiled
def leaf_largest(leaves: U8, largest: I64) -> None:
    """Fill the largest ``|q|`` of each leaf of uint8[n, 256]."""
    for leaf in range(leaves.shape[0]):
        lowest, highest = np.uint8(255), np.uint8(0)
        for byte in leaves[leaf]:
            lowest = min(lowest, byte)
            highest = max(highest, byte)
        largest[leaf] = max(np.int64(highest) - 128, 128 - np.int64(lowest))


@_compiled
def add_weighted(a: U8, b: U8, c: U8, d: U8, weights: U32, total: U32) -> None:
    """Add ``weight * byte`` of four rows, uint8[m] each, to uint32[m]: four, so that the sums move less often."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for place in range(total.shape[0]):
        x = np.uint32(a[place]) * w0 + np.uint32(b[place]) * w1
        y = np.uint32(c[place]) * w2 + np.uint32(d[place]) * w3
        total[place] += x + y


_STRIP = 4096  # coordinates that are clamped at a time


@_compiled
def _count_below(row: U8, tried: U8, below: U16) -> None:
    """Add 1 where ``row < tried``. A function of its own, as is the next one: see ``_sum``."""
    for place in range(row.shape[0]):
        below[place] = np.uint16(below[place] + np.uint16(row[place] < tried[place]))


@_compiled
def _keep(below: U16, rank: np.uint16, tried: U8, ranked: U8) -> None:
    """Keep what was tried where at most ``rank`` values are below it."""
    for place in range(ranked.shape[0]):
        if below[place] <= rank:
            ranked[place] = tried[place]


_CAP = np.uint8(16)  # eight times this is beyond every byte: larger magnitudes need not be told apart


@_compiled
def _capped_magnitudes(row: U8, out: U8) -> None:
    """Fill ``min(|q|, _CAP)``, with the bytes ``q + 128``."""
    for place in range(row.shape[0]):
        byte = row[place]
        magnitude = np.uint8(max(byte, np.uint8(128)) - min(byte, np.uint8(128)))
        out[place] = min(magnitude, _CAP)


@_compiled
def _add_weighted_clamped(a: U8, b: U8, c: U8, d: U8, low: U8, high: U8, weights: U32, total: U32) -> None:
    """Do as ``add_weighted``, with the bytes moved into the range from ``low`` to ``high``."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for place in range(total.shape[0]):
        least, most = low[place], high[place]
        x = np.uint32(min(max(a[place], least), most)) * w0 + np.uint32(min(max(b[place], least), most)) * w1
        y = np.uint32(min(max(c[place], least), most)) * w2 + np.uint32(min(max(d[place], least), most)) * w3
        total[place] += x + y


@_compiled
def add_clamped(values: U8, weights: U32, rank: int, total: U32) -> None:
    """Add ``weight * byte`` of each row of uint8[k, m] to uint32[m], k below 2^16, clamped (``clamped_sum``).

    ``rank`` is that of the deciding magnitude of a column, from 0 for the smallest, which is found bit by bit.
    """
    count = values.shape[0]
    magnitudes = np.empty((count, _STRIP), dtype=np.uint8)
    ranked = np.empty(_STRIP, dtype=np.uint8)
    tried = np.empty(_STRIP, dtype=np.uint8)
    below = np.empty(_STRIP, dtype=np.uint16)
    low = np.empty(_STRIP, dtype=np.uint8)
    high = np.empty(_STRIP, dtype=np.uint8)
    factors = np.zeros(4, dtype=np.uint32)
    for first in range(0, values.shape[1], _STRIP):
        size = min(_STRIP, values.shape[1] - first)
        last = first + size
        for i in range(count):
            _capped_magnitudes(values[i, first:last], magnitudes[i, :size])
        ranked[:] = 0
        for shift in range(5):
            bit = np.uint8(_CAP >> shift)
            for place in range(size):
                tried[place] = ranked[place] | bit
            below[:] = 0
            for i in range(count):
                _count_below(magnitudes[i, :size], tried[:size], below[:size])
            _keep(below[:size], np.uint16(rank), tried[:size], ranked[:size])
        for place in range(size):
            bound = np.uint8(min(max(8 * int(ranked[place]), 1), 127))
            low[place] = np.uint8(128) - bound
            high[place] = np.uint8(128) + bound
        for i in range(0, count, 4):
            factors[:] = 0
            factors[: min(4, count - i)] = weights[i : i + 4]
            _add_weighted_clamped(
                values[i, first:last],
                values[min(i + 1, count - 1), first:last],
                values[min(i + 2, count - 1), first:last],
                values[min(i + 3, count - 1), first:last],
                low[:size],
                high[:size],
                factors,
                total[first:last],
            )


_TILE = 4  # rows by rows that are multiplied side by side: each byte that is loaded serves four products
_BLOCK = (
    32768  # bytes of a row that a tile covers at a time, so that its sums stay below 255 * 128 * 32768 < 2^30
)


@_compiled
def _sum(row: U8) -> np.int32:
    """Sum of bytes. A function of its own, as LLVM makes vector code of it only so."""
    total = np.int32(0)
    for byte in row:
        total = np.int32(total + np.int32(byte))
    return total


@_generated
def _pointer(typing: Any, address: Any) -> Any:
    """Point to the bytes at an address."""
    kind = cast(Any, types.CPointer)(types.uint8)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return kind(address), code


@_generated
def _tile(typing: Any, addresses: Any, row: Any, column: Any, start: Any, end: Any, out: Any) -> Any:
    """Fill int32[4, 4] with ``sum_c x_rc (x_sc - 128)`` for four rows r and four rows s of bytes x.

    It is written in LLVM's language, since LLVM makes no use of VNNI in a loop: that instruction multiplies four
    bytes without a sign by four bytes with one and adds the products to a sum. Where the processor lacks it, LLVM
    finds the one that multiplies two pairs of 16-bit integers. Neither saturates here: both are exact.

    Args:
        typing: numba's.
        addresses: int64[k], where the rows are.
        row: The first r. Rows past the last one are the last one again.
        column: The first s, likewise.
        start: The first place c.
        end: One after the last place; ``end - start`` is a multiple of 64.
        out: The sums, C-contiguous.
    """
    return types.void(addresses, types.intp, types.intp, types.intp, types.intp, out), _tile_code


def _tile_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Write the code of ``_tile``."""
    tools: Any = cgutils  # typed in part only
    features = context.codegen().magic_tuple()[2]  # of the machine that numba compiles for
    vnni = "+avx512vnni" in features
    width = 64 if vnni else 32  # bytes of a row at a time
    size, int32 = context.get_value_type(types.intp), ir.IntType(32)
    octets, sums = ir.VectorType(ir.IntType(8), width), ir.VectorType(int32, width // 4)

    def call(name: str, result: Any, *operands: Any) -> Any:
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        return builder.call(tools.get_or_insert_function(builder.module, kind, name), operands)

    def pick(vector: Any, places: range) -> Any:
        mask = ir.Constant(ir.VectorType(int32, len(places)), list(places))
        return builder.shuffle_vector(vector, vector, mask)

    def multiply_add(total: Any, x: Any, y: Any) -> Any:
        if vnni:
            x, y = builder.bitcast(x, sums), builder.bitcast(y, sums)
            return call("llvm.x86.avx512.vpdpbusd.512", sums, total, x, y)
        wide = ir.VectorType(int32, width // 2)
        for half in range(width // 2), range(width // 2, width):
            products = builder.mul(builder.zext(pick(x, half), wide), builder.sext(pick(y, half), wide))
            even, odd = (pick(products, range(parity, width // 2, 2)) for parity in (0, 1))
            total = builder.add(total, builder.add(even, odd))
        return total

    addresses, out = (
        context.make_array(signature.args[index])(context, builder, arguments[index]) for index in (0, 5)
    )
    (count,) = tools.unpack_tuple(builder, addresses.shape)
    last = builder.sub(count, size(1))

    def rows(first: Any) -> list[Any]:
        places = [builder.add(first, size(offset)) for offset in range(_TILE)]
        places = [builder.select(builder.icmp_signed("<", place, last), place, last) for place in places]
        numbers = [builder.load(builder.gep(addresses.data, [place])) for place in places]
        return [builder.inttoptr(number, ir.IntType(8).as_pointer()) for number in numbers]

    _, row, column, start, end, _ = arguments
    left, right = rows(row), rows(column)
    totals = [[tools.alloca_once_value(builder, sums(None)) for _ in right] for _ in left]
    with tools.for_range_slice(builder, start, end, size(width), size) as (place, _):

        def load(base: Any) -> Any:
            return builder.load(builder.bitcast(builder.gep(base, [place]), octets.as_pointer()), align=1)

        xs = [load(base) for base in left]
        ys = [builder.xor(load(base), octets([-128] * width)) for base in right]  # byte - 128 in 8 bits
        for x, line in zip(xs, totals, strict=True):
            for y, total in zip(ys, line, strict=True):
                builder.store(multiply_add(builder.load(total), x, y), total)
    for index, total in enumerate(total for line in totals for total in line):
        result = call(f"llvm.vector.reduce.add.v{width // 4}i32", int32, builder.load(total))
        builder.store(result, builder.gep(out.data, [size(index)]))
    return context.get_dummy_value()


@_compiled
def add_products(addresses: I64, size: int, out: I64) -> None:
    """Add the inner products of k rows of ``byte - 128`` to int64[k, k].

    Args:
        addresses: int64[k], where in memory the rows are. The caller keeps them there.
        size: Bytes of a row, a multiple of 64.
        out: Only the lower triangle is filled.
    """
    count = addresses.shape[0]
    tile = np.empty((_TILE, _TILE), dtype=np.int32)
    sums = np.empty(count, dtype=np.int64)
    for first in range(0, size, _BLOCK):
        last = min(first + _BLOCK, size)
        for i in range(count):
            row = carray(_pointer(addresses[i] + first), last - first)
            sums[i] = _sum(row) - 128 * (last - first)
        for i in range(0, count, _TILE):
            for j in range(0, i + 1, _TILE):
                _tile(addresses, i, j, first, last, tile)
                for r in range(min(_TILE, count - i)):
                    for s in range(min(_TILE, i + r - j + 1)):
                        out[i + r, j + s] += tile[r, s] - 128 * sums[j + s]


@_compiled
def encode(start: F32, end: F32, scale: float, bound: int, key: np.uint64, first: int, out: U8) -> int:
    """Fill out with ``q + 128`` (section 5) for coordinates of one tensor; return how many were clamped.

    Args:
        start: float32[m], the base's weights.
        end: float32[m], the weights after training, finite.
        scale: ``2^-e`` of the tensor.
        bound: ``Q``, the largest integer.
        key: The contributor's key of the round.
        first: Place of the first coordinate, padding included.
        out: uint8[m].
    """
    clamped = 0
    edge = np.float64(bound + 1)
    step = np.uint64(0x9E3779B97F4A7C15)
    counter = key + np.uint64(first) * step
    for place in range(start.shape[0]):
        counter += step
        z = counter
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        offset = np.float64(np.int64(z >> np.uint64(40))) * 5.9604644775390625e-08  # 2^-24
        y = (np.float64(start[place]) - np.float64(end[place])) * scale
        q = int(np.floor(min(max(y, -edge), edge) + offset))
        if q < -bound or q > bound:
            clamped += 1
            q = min(max(q, -bound), bound)
        out[place] = q + 128
    return clamped


@_compiled
def outer_step(
    theta: I64, momentum: I64, mean: I64, scale: int, divisor: int, rate: int, decay: int, bound: int,
    new_theta: I64, new_momentum: I64,
) -> None:  # fmt: skip
    """Section 9 for int64[m] coordinates that share an exponent: ``N = mean * scale``, ``D = divisor``."""
    # The quotient comes from binary64, which is faster than the machine's 64-bit division, and is put right by its
    # remainder: |2 N + D| < 2^63 and |g| < 2^38, so three roundings of 2^-53 each leave an error below 2^-13 before
    # the cut to an integer, and the result is off by at most one.
    double = 2 * divisor
    inverse = 1.0 / double
    for place in range(theta.shape[0]):
        doubled = 2 * scale * mean[place] + divisor
        g = np.int64(np.float64(doubled) * inverse)
        rest = doubled - g * double
        if rest < 0:
            g -= 1
        elif rest >= double:
            g += 1
        old = momentum[place]
        m = (old >> 10) * decay + (((old & 1023) * decay) >> 10) + g
        m = min(max(m, -bound), bound)
        pull = g + (m >> 10) * decay + (((m & 1023) * decay) >> 10)
        t = theta[place] - ((pull >> 10) * rate + (((pull & 1023) * rate) >> 10))
        new_theta[place] = min(max(t, -bound), bound)
        new_momentum[place] = m
