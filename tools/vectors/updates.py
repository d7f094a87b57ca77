# SPDX-License-Identifier: Apache-2.0
"""Section 5 of docs/protocol.md: rounding, encoding, packing and fitting an update."""

from __future__ import annotations

from typing import Any

import numpy as np
from eth_account import Account

from folkmoot.errors import EncodingError
from folkmoot.protocol import codec, packing
from folkmoot.protocol.fixed_point import LEAF
from tools.vectors.formats import vector_manifest
from tools.vectors.values import KEYS, hexed, stream, stream_integers, text


def rounding_section() -> dict[str, Any]:
    """Section 5, offsets."""
    seed = stream("seed", 32)
    contributor = Account.from_key(KEYS[0]).address
    key = codec.rounding_key(seed, contributor)
    places = [0, 1, 2, 255, 256, 65535, 65536, (1 << 32) - 1]
    units = [int(codec.rounding_offsets(key, place, place + 1)[0] * 2**24) for place in places]
    return {
        "about": "Section 5, the offsets of the rounding: u of places[i] is units[i] * 2^-24.",
        "seed": hexed(seed),
        "contributor": contributor,
        "key": str(key),
        "places": text(places),
        "units": text(units),
    }


def encoding_section() -> dict[str, Any]:
    """Section 5."""
    manifest = vector_manifest()
    seed = stream("seed", 32)
    contributor = Account.from_key(KEYS[0]).address
    exponents = (-3, -40, 4)
    size = manifest.size
    steps = np.array(stream_integers("delta", size, 4000), dtype=np.float64) * 2.0**-6
    # Exact ties and edges: y is an integer; y is an integer and a half; y leaves the range; y is tiny.
    edges = [0.0, 1.0, -1.0, 5.0, -5.0, 126.0, -126.0, 127.0, -127.0, 128.0, -128.0, 129.0, -129.0, 1e6, -1e6]
    edges += [0.5, -0.5, 1.5, -1.5, 7.5, -7.5, 126.5, -126.5, 127.5, -127.5, 2.0**-30, -(2.0**-30)] * 2
    steps[: len(edges)] = np.array(edges)
    start, end = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=np.float32)
    for place, exponent in zip(manifest.places, exponents, strict=True):
        end[place] = (-steps[place] * 2.0**exponent).astype(np.float32)
    start[LEAF : LEAF + 40] = np.array(stream_integers("start", 40, 1 << 20), dtype=np.float32) * 2.0**-20
    update = codec.encode_update(start, end, exponents, manifest, seed, contributor)
    cap = update.sum_squares // 3
    fitted = codec.encode_update(start, end, exponents, manifest, seed, contributor, max_sum_squares=cap)
    return {
        "about": "Section 5, for the manifest of section 2. start and end are the weights of all 256 n places as "
        "float32 bytes, big-endian; data is the update file. The first places of the first tensor have y = 0, ±1, ±5, "
        "±126 ... (integers), then integers and a half, with start 0. fitted* is the same update under the cap "
        "maxSumSquares: magnitudes are h_0 to h_127 of data, fittedBound is c.",
        "seed": hexed(seed),
        "contributor": contributor,
        "exponents": text(exponents),
        "start": hexed(start.astype(">f4").tobytes()),
        "end": hexed(end.astype(">f4").tobytes()),
        "data": hexed(update.data),
        "updateRoot": hexed(update.root),
        "sumSquares": str(update.sum_squares),
        "sumAbsolute": str(update.sum_absolute),
        "clamped": str(update.clamped),
        "magnitudes": text(codec.magnitudes(np.frombuffer(update.data, dtype=np.uint8))),
        "maxSumSquares": str(cap),
        "fittedBound": str(fitted.bound),
        "fittedClamped": str(fitted.clamped),
        "fittedData": hexed(fitted.data),
        "fittedUpdateRoot": hexed(fitted.root),
        "fittedSumSquares": str(fitted.sum_squares),
    }


def packing_section() -> dict[str, Any]:
    """Section 5, the update file."""
    section: dict[str, Any] = {
        "about": "Section 5, the update file: the leaves as in the trees and the bytes of their file at each width. "
        "The first coordinates are -Q to Q.",
    }
    for width in packing.WIDTHS:
        bound = packing.largest(width)
        values = np.array(stream_integers(f"packing {width}", 2 * LEAF, bound))
        values[: 2 * bound + 1] = np.arange(-bound, bound + 1)
        leaves = (values + packing.ZERO).astype(np.uint8).reshape(-1, LEAF)
        section[f"width{width}"] = {
            "leaves": hexed(leaves.tobytes()),
            "data": hexed(packing.pack(leaves, width).tobytes()),
        }
    return section


def fitting_section() -> dict[str, Any]:
    """Section 5, fitting to the cap: the edges."""
    spread = {size: 1 + size % 3 for size in range(packing.largest(8) + 1)}
    spiky = {0: 1000, 1: 23, 127: 1}
    whole = sum(count * size**2 for size, count in spread.items())
    cases = {
        "the cap itself": (spread, whole),
        "one below the cap": (spread, whole - 1),
        "half of the energy": (spread, whole // 2),
        "saturated under the default cap": ({127: 500}, 64**2 * 500),
        "one spike": (spiky, 23 + 100**2),
        "one below the spike": (spiky, 23 + 100**2 - 1),
        "room for ±1": (spiky, 24),
        "room for nothing": (spiky, 23),
        "an empty update": ({0: 300}, 1),
    }
    section: dict[str, Any] = {
        "about": "Section 5, fitting to the cap. counts are how many places have |q| = sizes (other h_v are 0); bound "
        "is c, 0 where nothing fits and the encoder refuses; sumSquares is that of the fitted update."
    }
    for name, (sizes, cap) in cases.items():
        try:
            bound = codec.fitting_bound([sizes.get(size, 0) for size in range(packing.largest(8) + 1)], cap)
        except EncodingError:
            bound = 0
        section[name] = {
            "sizes": text(sizes),
            "counts": text(sizes.values()),
            "maxSumSquares": str(cap),
            "bound": str(bound),
            "sumSquares": str(sum(count * min(size, bound) ** 2 for size, count in sizes.items())),
        }
    return section
