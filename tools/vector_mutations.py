# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - the table quotes lines of source as they are
"""Change the library in one small way after the other and see whether the vectors notice.

    python tools/vector_mutations.py            print the table
    python tools/vector_mutations.py --json     print it as JSON, for the tests

Each mutation is a misreading of docs/protocol.md: one piece of text in one module is replaced by another. A child
process imports the library with it and runs all cases of tests/vectors/cases.json, then computes all of
tests/vectors/protocol.json again. A mutation that both leave alone has survived: the vectors lack a case.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

VECTORS = Path(__file__).resolve().parents[1] / "tests" / "vectors"
LIMIT = 60
"""Seconds after which a mutated library counts as caught: it does not end."""


class Mutation(NamedTuple):
    """One misreading."""

    name: str
    """What is read wrongly."""
    module: str
    """Module below ``folkmoot``."""
    old: str
    """Text in its source; it must be there exactly once."""
    new: str
    """What stands there instead."""


P, A = "protocol.", "aggregation."
S, R = "aggregation.stages.", "aggregation.rules."
MUTATIONS = [
    Mutation(*one)
    for one in [
        # Section 1
        ("float32: 25 fractional bits", P + "fixed_point", "FRACTION_BITS = 26", "FRACTION_BITS = 25"),
        ("state bound 2^48", P + "fixed_point", "STATE_BOUND = (1 << 48) - 1", "STATE_BOUND = 1 << 48"),
        ("a float enters the state by rounding half to even", P + "fixed_point", "np.floor(scaled + 0.5)", "np.rint(scaled)"),
        # Section 2
        ("manifest hash without the layout", P + "manifest", 'keccak(b"\\x10", keccak(self.layout), ', 'keccak(b"\\x10", '),
        ("manifest prefix 0x11", P + "manifest", 'keccak(b"\\x10"', 'keccak(b"\\x11"'),
        ("layout in little-endian", P + "manifest", 'elements.to_bytes(8, "big")', 'elements.to_bytes(8, "little")'),
        ("names are unique among the tensors only", P + "manifest", "names = [entry.name for entry in self.arrays]", "names = [entry.name for entry in self.tensors]"),
        ("the task's name is counted in UTF-16 units", P + "manifest", "if not 1 <= len(self.task) <= MAX_NAME:", 'if not 1 <= len(self.task.encode("utf-16-le")) // 2 <= MAX_NAME:'),
        ("nesting counts a scalar as a level", P + "hashing", "    depth = deepest = 0", "    depth = deepest = 1 if data.strip(b'[]') else 0"),
        ("a tensor more than the most", P + "manifest", "MAX_TENSORS = 4096", "MAX_TENSORS = 4097"),
        ("a tensor less than the most", P + "manifest", "MAX_TENSORS = 4096", "MAX_TENSORS = 4095"),
        ("twice the leaves", P + "manifest", "self.leaves > MAX_LEAVES", "self.leaves > 2 * MAX_LEAVES"),
        ("a tensor of 256 elements takes two leaves", P + "manifest", "-(-self.elements // LEAF)", "self.elements // LEAF + 1"),
        ("JSON that is not canonical is read", P + "hashing", "if canonical_json(value) != data:", "if False:"),
        ("JSON with white space", P + "hashing", 'separators=(",", ":")', 'separators=(", ", ":")'),
        ("JSON keys in the given order", P + "hashing", "sort_keys=True", "sort_keys=False"),
        ("JSON with ASCII escapes", P + "hashing", "ensure_ascii=False", "ensure_ascii=True"),
        ("JSON with NaN", P + "hashing", "allow_nan=False", "allow_nan=True"),
        ("JSON of 65 levels", P + "hashing", "MAX_NESTING = 64", "MAX_NESTING = 65"),
        ("JSON in Latin-1", P + "hashing", 'data.decode("utf-8")', 'data.decode("latin-1")'),
        ("privacy: noise of all steps adds up without a root", "privacy.settings", "self.step_size * math.sqrt(self.steps)", "self.step_size * self.steps"),
        ("privacy: the first exponent without sqrt(pi / 2)", "protocol.genesis", "deviation * math.sqrt(math.pi / 2)", "deviation"),
        ("privacy: 1,001 steps", "privacy.settings", '("steps", self.steps, 1000)', '("steps", self.steps, 1001)'),
        ("privacy: a grid of 17", "privacy.settings", "not 0 <= self.grid <= 16", "not 0 <= self.grid <= 17"),
        ("privacy: delta whatever B0 is", "privacy.settings", "if self.delta > most_delta(self.divisor):", "if False:"),
        ("privacy: noise beyond 2^26 steps of the grid", "privacy.settings", "if self.deviation > MOST_DEVIATION:", "if False:"),
        ("privacy: unknown settings", "privacy.settings", "set(value) != names", "not set(value) >= names"),
        ("privacy: any unit", "privacy.settings", "if value[name] != only:", "if not value[name]:"),
        ("floor: five deviations", "privacy.settings", "MARGIN = 6", "MARGIN = 5"),
        ("floor: the root is rounded down", "privacy.settings", "math.isqrt(squared - 1) + 1", "math.isqrt(squared)"),
        ("floor: of the noise of all steps", "privacy.settings", "return (self.deviation * size) ** 2", "return (self.deviation * size) ** 2 * self.steps"),
        ("floor: padding has noise", "privacy.settings", "weights = manifest.elements", "weights = manifest.size"),
        ("floor: s below 32 only", "privacy.settings", "if variance > FLOOR_DEVIATION**2:", "if variance >= FLOOR_DEVIATION**2:"),
        ("floor: from 289 weights on", "privacy.settings", "if weights < LEAST_WEIGHTS:", "if weights <= LEAST_WEIGHTS:"),
        ("floor: with different exponents", "privacy.settings", "if len(set(exponents)) > 1:", "if False:"),
        ("floor: with float16", "privacy.settings", "tensor.dtype == HALF", "tensor.dtype == 0"),
        ("private bounds: three times the floor", "privacy.settings", "4 * min_sum_squares)", "3 * min_sum_squares)"),
        ("private bounds: nothing for each weight", "privacy.settings", "max(manifest.elements, 4", "max(0, 4"),
        ("private bounds: a floor above the derived one", "privacy.settings", "if min_sum_squares > floor.least:", "if False:"),
        # Section 3
        ("update leaf without a prefix of its own", P + "merkle", "_UPDATE_LEAF = 0x00", "_UPDATE_LEAF = 0x01"),
        ("update node prefix", P + "merkle", "_UPDATE_NODE = 0x01", "_UPDATE_NODE = 0x00"),
        ("mean tree prefixes swapped", P + "merkle", '"mean", 0x02, 0x03', '"mean", 0x03, 0x02'),
        ("mean leaf without a prefix of its own", P + "merkle", '"mean", 0x02, 0x03', '"mean", 0x00, 0x03'),
        ("mean node without a prefix of its own", P + "merkle", '"mean", 0x02, 0x03', '"mean", 0x02, 0x01'),
        ("mean leaf of 1024 bytes", P + "merkle", "0x02, 0x03, LEAF)", "0x02, 0x03, 4 * LEAF)"),
        ("theta tree prefixes of the momentum", P + "merkle", '"theta", 0x04, 0x05', '"theta", 0x06, 0x07'),
        ("momentum tree prefixes of theta", P + "merkle", '"momentum", 0x06, 0x07', '"momentum", 0x04, 0x05'),
        ("state root prefix", P + "merkle", '_STATE_ROOT = b"\\x08"', '_STATE_ROOT = b"\\x09"'),
        ("state root: momentum first", P + "merkle", "keccak(_STATE_ROOT, manifest_hash, theta_root, momentum_root)", "keccak(_STATE_ROOT, manifest_hash, momentum_root, theta_root)"),
        ("state leaves in little-endian", P + "merkle", 'values.astype(">i8")', 'values.astype("<i8")'),
        ("paths directed from the top", P + "merkle", "node = keccak(prefix, sibling, node) if index & 1", "node = keccak(prefix, sibling, node) if not index & 1"),
        ("paths of any length, plain tree", P + "merkle", "len(siblings) != depth_of(leaves) or len(leaf) != kind.leaf_bytes", "len(leaf) != kind.leaf_bytes"),
        ("leaves of any length, plain tree", P + "merkle", " or len(leaf) != kind.leaf_bytes:", ":"),
        ("paths in an update tree without the sum of squares", P + "merkle", "return node[0] == root and node[2] == sum_squares", "return node[0] == root"),
        ("an update's path may hold a byte 0x00", P + "merkle", "len(leaf) != LEAF or 0 in leaf", "len(leaf) != LEAF"),
        ("sums of the children swapped", P + "merkle", "part[1].to_bytes(8, \"big\") + part[2].to_bytes(8, \"big\") for part", "part[2].to_bytes(8, \"big\") + part[1].to_bytes(8, \"big\") for part"),
        ("sums in little-endian", P + "merkle", 'below.square.astype(">u8")', 'below.square.astype("<u8")'),
        ("empty nodes are not hashed", P + "merkle", "        empty = keccak(bytes([kind.node_prefix]), empty, empty)\n    return Tree", "    return Tree"),
        ("Gram tree: leaf prefix", A + "gram_tree", '_LEAF = b"\\x12"', '_LEAF = b"\\x13"'),
        ("Gram tree: node prefix", A + "gram_tree", '_NODE = b"\\x13"', '_NODE = b"\\x12"'),
        ("Gram tree: exponents count once", A + "gram_tree", "scale = 2 * (exponents[tensor] - smallest)", "scale = exponents[tensor] - smallest"),
        # Section 4
        ("seed without the chain", P + "header", 'chain_id.to_bytes(32, "big")', "bytes(32)"),
        ("seed with a round of 32 bytes", P + "header", 'round_number.to_bytes(8, "big")', 'round_number.to_bytes(32, "big")'),
        ("seed prefix", P + "header", '_SEED = b"\\x11"', '_SEED = b"\\x10"'),
        ("exponents from 5 on are refused", P + "header", "MAX_EXPONENT = 4", "MAX_EXPONENT = 5"),
        ("exponents below -40", P + "header", "MIN_EXPONENT = -40", "MIN_EXPONENT = -41"),
        # Section 5
        ("update: end - start", P + "codec", "y = start[at:to].astype(np.float64)\n        y -= end[at:to]", "y = end[at:to].astype(np.float64)\n        y -= start[at:to]"),
        ("update: the difference in float32", P + "codec", "y = start[at:to].astype(np.float64)\n        y -= end[at:to]", "y = (start[at:to] - end[at:to]).astype(np.float64)"),
        ("update: 2^e in the place of 2^-e", P + "codec", "scale = 2.0**-exponent", "scale = 2.0**exponent"),
        ("update: rounded to the nearest", P + "codec", "y += rounding_offsets(key, first + at, first + to)", "y += 0.5"),
        ("update: places counted from 0", P + "codec", "z += np.uint64(1)\n", "z += np.uint64(0)\n"),
        ("update: places counted in each tensor", P + "codec", "_encode(start[place], end[place], exponent, key, place.start, largest(width), out[place])", "_encode(start[place], end[place], exponent, key, 0, largest(width), out[place])"),
        ("offsets of 25 bits", P + "codec", ">> np.uint64(40)).astype(\n        np.float64\n    ) * 2.0**-24", ">> np.uint64(39)).astype(\n        np.float64\n    ) * 2.0**-25"),
        ("mix: shift of 31 first", P + "codec", "z ^= z >> np.uint64(30)", "z ^= z >> np.uint64(31)"),
        ("mix: shift of 28", P + "codec", "z ^= z >> np.uint64(27)", "z ^= z >> np.uint64(28)"),
        ("key from the last 8 bytes", P + "codec", "canonical_address(contributor))[:8]", "canonical_address(contributor))[-8:]"),
        ("key in little-endian", P + "codec", '[:8], "big")', '[:8], "little")'),
        ("key from the address in front", P + "codec", "keccak(seed, canonical_address(contributor))", "keccak(canonical_address(contributor), seed)"),
        ("clamped to -Q - 1", P + "codec", "np.clip(y, -float(bound), float(bound), out=y)", "np.clip(y, -float(bound + 1), float(bound), out=y)"),
        ("clamped to 127 at each width", P + "packing", "return (1 << width - 1) - 1", "return 127"),
        ("packing: the first coordinate in the lowest bits", P + "packing", "np.arange(8 - width, -1, -width, dtype=np.uint8)", "np.arange(0, 8, width, dtype=np.uint8)"),
        ("packing: two's complement", P + "packing", "words: U8 = (codes + np.uint8(ZERO - (1 << width - 1)))", "words: U8 = ((codes ^ np.uint8(1 << width - 1)) + np.uint8(ZERO - (1 << width - 1)))"),
        ("padding 0x00", P + "codec", "out = np.full(manifest.size, ZERO", "out = np.full(manifest.size, 1"),
        ("fitting: below the cap, not at it", P + "codec", "if total > max_sum_squares:", "if total >= max_sum_squares:"),
        ("fitting: the first bound that is too large", P + "codec", "            return bound - 1\n", "            return bound\n"),
        # Section 6
        ("commitment: fields in another order", P + "commitment", '"uint64 sumSquares,bytes32 memoryHash,bytes32 bundleHash)"', '"bytes32 memoryHash,uint64 sumSquares,bytes32 bundleHash)"'),
        ("domain: another version", P + "commitment", 'DOMAIN_VERSION = "2"', 'DOMAIN_VERSION = "1"'),
        ("digest without 0x1901", P + "commitment", 'keccak(b"\\x19\\x01", domain', 'keccak(b"\\x19\\x00", domain'),
        ("signatures with s in the upper half", P + "signatures", "> _HALF_ORDER:", "> 1 << 256:"),
        ("signatures with v of 0 or 1", P + "signatures", "signature[64] not in (27, 28)", "signature[64] not in (0, 1, 27, 28)"),
        ("signatures with v of EIP-155", P + "signatures", "signature[64] not in (27, 28)", "signature[64] not in (27, 28, 35, 36)"),
        ("signatures of any account (ERC-1271 taken on trust)", P + "commitment", "if signer != self.contributor:", "if False:"),
        ("entries hash: packed", P + "commitment", 'keccak(encode(("bytes32", "address", "bytes32"), (entries_hash, contributor, commitment_hash)))', "keccak(entries_hash, canonical_address(contributor), commitment_hash)"),
        ("batch: the parity is the lowest bit of vs", "protocol.batch", "parity = compact[32] >> 7", "parity = compact[63] & 1"),
        ("batch: s keeps the bit of the parity", "protocol.batch", "bytes([compact[32] & 0x7F])", "bytes([compact[32]])"),
        ("batch: sums of squares in little-endian", "protocol.batch", 'int.from_bytes(entry[52:60], "big")', 'int.from_bytes(entry[52:60], "little")'),
        ("batch: what is behind the last whole entry is passed over", "protocol.batch", "    require_whole(data, size)\n    return [data[start : start + size] for start in range(0, len(data), size)]", "    return [data[start : start + size] for start in range(0, len(data) - size + 1, size)]"),
        ("event: without the memory", "protocol.batch", "        + commitment.memory_hash\n", ""),
        ("close: who enrolled at the opening counts", "audit.ledger_state", "if since(account) < opened_at", "if since(account) <= opened_at"),
        ("close: drawn places leave none to the coordinator", "protocol.places", "return max(1, max_contributors - 1)", "return max_contributors"),
        ("missed: up to four", "audit.ledger_state", "MAX_MISSED = 3", "MAX_MISSED = 4"),
        ("missed: the round of since counts", "audit.ledger_state", "round_.opened_at <= since", "round_.opened_at < since"),
        ("missed: an entry does not end the row", "audit.ledger_state", " or account in round_.contributors:", ":"),
        ("missed: a round that can't be missed ends the row", "audit.ledger_state", "        missed += round_.counts\n", "        if not round_.counts:\n            break\n        missed += 1\n"),
        # Section 7
        ("padding of updates is not checked", P + "update_checks", "check_padding(leaves, manifest, first)", "pass"),
        ("bytes 0x00 of updates are taken", P + "update_checks", "if magnitude.max() > bound:", "if False:"),
        ("the size of updates is not checked", P + "update_checks", "if update.size != needed:", "if update.size < needed:"),
        ("the root of updates is not checked", P + "update_checks", "if summary.root != commitment.update_root:", "if False:"),
        ("the sum of squares is not checked", P + "update_checks", "if summary.sum_squares != commitment.sum_squares:", "if False:"),
        ("the root entry is summed", "round", "if update is not None and summary is not None and not own", "if update is not None and summary is not None"),
        ("an update that arrived damaged is used", "round", "    except UpdateRefused:\n        return None", "    except UpdateRefused:\n        from folkmoot.protocol.update_checks import summarize\n\n        return summarize(update, manifest)"),
        ("root and undelivered entries are not in `delivered`", "round", "sum((summary is not None) << index for", "sum((summary is not None and not root[index]) << index for"),
        ("delivered: the first entry is the highest bit", "round", "sum((summary is not None) << index for index, summary in enumerate(summaries))", "sum((summary is not None) << index for index, summary in enumerate(summaries[::-1]))"),
        ("the mean has the scale 1 in a round", "round", "updates, weights, policy.mean_scale, first", "updates, weights, 1, first"),
        ("the outer step has the scale 1 in a round", "round", "        policy.mean_scale,\n", "        1,\n"),
        ("a round takes a scale that no byte of its width holds", "round", "largest_scale(largest(policy.width))", "127"),
        ("a round at a small width takes the scale of width 8 alone", "round", "largest_scale(largest(policy.width))", "largest_scale(largest(8))"),
        ("the mean file has the width of updates", "round", "pack(part.mean, policy.mean_width)", "pack(part.mean, policy.width)"),
        ("exponents over all delivered entries", "round", "if s is not None and weight],", "if s is not None],"),
        # Section 8
        ("Gram: exponents count once", A + "gram", "2 * (exponent - smallest)", "exponent - smallest"),
        ("Gram: relative to a smaller exponent", A + "gram", "smallest = min(sums)", "smallest = min(sums) - 1"),
        ("cosine without its sign", A + "cosines", "return size if product >= 0 else -size", "return size"),
        ("cosine rounded towards minus infinity", A + "cosines", "return size if product >= 0 else -size", "return size if product >= 0 else -size - 1"),
        ("cosine in units of 2^-15", A + "cosines", "product * product << 32", "product * product << 30"),
        ("cosine not capped", A + "cosines", "min(isqrt((product * product << 32) // (square * other_square)), UNIT)", "isqrt((product * product << 32) // (square * other_square) + 1)"),
        ("upper median", S + "weighting_state", "sorted(values)[(len(values) - 1) // 2]", "sorted(values)[len(values) // 2]"),
        ("a zero update is included", S + "weighting_state", "zero = [facts.gram[i][i] == 0 for", "zero = [False for"),
        ("a stage may exclude all", S + "weighting_state", "if not set(self.included) - set(excluded):", "if False:"),
        ("the unit is not capped by the number of entries", S + "weighting_state", "unit = min(UNIT, MAX_WEIGHT_SUM // len(values))", "unit = UNIT"),
        ("the unit is capped by the number of included entries", S + "weighting_state", "MAX_WEIGHT_SUM // len(values))", "MAX_WEIGHT_SUM // (len(values) - 1 or 1))"),
        ("weights relative to the sum", S + "weighting_state", "weight = value * unit // largest", "weight = value * unit // sum(values)"),
        ("weights rounded up", S + "weighting_state", "weight = value * unit // largest", "weight = -(-value * unit // largest)"),
        ("dimensions: tensors that half of the updates change", A + "interface", "if 2 * movers > count", "if 2 * movers >= count"),
        ("dimensions: the whole model", A + "interface", "if 2 * movers > count", "if True"),
        ("copies: ratio not lowered in small models", S + "copies", "min(ratio, state.facts.dimensions // COORDINATES_PER_RATIO_UNIT)", "ratio"),
        ("copies: 8 coordinates a unit of the ratio", S + "copies", "COORDINATES_PER_RATIO_UNIT = 16", "COORDINATES_PER_RATIO_UNIT = 8"),
        ("copies: ratio in 1/512", S + "copies", "RATIO_UNIT = 1024", "RATIO_UNIT = 512"),
        ("copies: the ratio may be 0", S + "copies", "MIN_RATIO = 1\n", "MIN_RATIO = 0\n"),
        ("copies: above the threshold, not at it", S + "copies", "self.corrected >= threshold", "self.corrected > threshold"),
        ("copies: of one that was excluded as well", S + "copies", "and j not in copies and", "and"),
        ("copies: of replays", S + "copies", "if i not in copies and j not in copies and pair", "if i not in originals and j not in originals and pair"),
        ("copies: the earlier one is excluded", S + "copies", "copy, original, past = i, j,", "copy, original, past = j, i,"),
        ("copies: of what the earlier rounds explain too", S + "copies", "if past >= max(", "if False and past >= max("),
        ("copies: explained by less than a tie", S + "copies", "if past >= max(", "if past > max("),
        ("copies: explained although the pair is more alike", S + "copies", "max(pair.corrected, _past(earlier[i], j))", "_past(earlier[i], j)"),
        ("copies: explained although the later is more alike to what the earlier sent", S + "copies", "max(pair.corrected, _past(earlier[i], j))", "pair.corrected"),
        ("copies: explained, with the noise of rounding in the pair", S + "copies", "max(pair.corrected, _past", "max(pair.cosine, _past"),
        ("copies: the earlier one stays without a past", S + "copies", "if any(other.contributor == j for other, _ in earlier[j]):", "if True:"),
        ("copies: the earlier one never stays", S + "copies", "if any(other.contributor == j for other, _ in earlier[j]):", "if False:"),
        ("copies: explained by what anybody sent", S + "copies", "for other, one in earlier if other.contributor == contributor)", "for other, one in earlier)"),
        ("copies: nothing is derived", S + "copies", "source is not None and source.reaches(threshold)", "False"),
        ("copies: derived ones with the ratio of replays", S + "copies", "source, source.corrected, ratio\n", "source, source.corrected, replay_ratio\n"),
        ("copies: derived unless an own likeness itself explains it", S + "copies", "isqrt(UNIT * max(0, one.corrected))", "one.corrected"),
        ("copies: derived, also without own updates", S + "copies", "(known := [mine for", "(known := [0] + [mine for"),
        ("copies: derived unless all own updates explain it", S + "copies", "max(known)", "min(known)"),
        ("copies: own updates of earlier rounds than the source", S + "copies", "if then <= when", "if then < when"),
        ("copies: own updates of later rounds than the source", S + "copies", "if then <= when", "if True"),
        ("copies: derived at a tie with the own updates", S + "copies", "explained[other.round] + margin < one", "explained[other.round] + margin <= one"),
        ("copies: own updates are compared without the scatter", S + "copies", "explained[other.round] + margin <", "explained[other.round] <"),
        ("copies: two scatters for own updates", S + "copies", "SOURCE_SCATTERS = 3", "SOURCE_SCATTERS = 2"),
        ("earlier rounds: everybody is somebody else", A + "repeats", "(number, index_of.get(who), cosine)", "(number, None, cosine)"),
        ("earlier rounds: all are one", A + "repeats", "(number, index_of.get(who), cosine)", "(0, index_of.get(who), cosine)"),
        ("copies: a negative median is kept", S + "copies", "max(lower_median([one.corrected for one in compared]), 0)", "lower_median([one.corrected for one in compared])"),
        ("no replays", S + "copies", "copies = _replays(state, earlier, replay_ratio)", "copies: dict[int, Likeness] = {}"),
        ("replays: the ratio of copies", S + "copies", "replay_ratio = ratio // REPLAY_DIVISOR if", "replay_ratio = ratio if"),
        ("replays: a ratio also of two updates", S + "copies", "ratio // REPLAY_DIVISOR if several else 0", "ratio // REPLAY_DIVISOR"),
        ("replays: none of two updates", S + "copies", "_replays(state, earlier, replay_ratio)", "_replays(state, earlier, replay_ratio) if replay_ratio else {}"),
        ("replays: the nearest in length, not the largest cosine", S + "copies", "i: max((one", "i: min((one"),
        ("replays: the largest cosine, not the largest corrected one", S + "copies", "return one.corrected, one.cosine", "return one.cosine, one.corrected"),
        ("copies: cosines with the noise of rounding", S + "copies", "return UNIT * self.cosine // self.repeat", "return self.cosine"),
        ("copies: parallel updates are none under noise", S + "copies", "self.cosine == UNIT or (", "(threshold is None and self.cosine == UNIT) or ("),
        ("copies: five scatters above the median", S + "copies", "MEDIAN_SCATTERS = 6", "MEDIAN_SCATTERS = 5"),
        ("copies: two scatters above honest ones", S + "copies", "HONEST_SCATTERS = 3", "HONEST_SCATTERS = 2"),
        ("copies: a third of the own scatter", S + "copies", "OWN_DIVISOR = 2", "OWN_DIVISOR = 3"),
        ("copies: the own scatter is the round's", S + "copies", "max(0, own - self.scatter)", "0"),
        ("copies: the own scatter counts whole", S + "copies", "max(0, own - self.scatter)", "own"),
        ("copies: honest ones are alike to three quarters", S + "copies", "UNIT * 4 // 5", "UNIT * 3 // 4"),
        ("replays: honest ones are alike to 46/47", S + "copies", "UNIT - UNIT // 48", "UNIT - UNIT // 47"),
        ("copies: each coordinate lowers the scatter", S + "copies", "min(state.facts.dimensions, SCATTERED)", "state.facts.dimensions"),
        ("copies: the scatter is not of dequantised updates", S + "copies", " // coordinates) // repeat", " // coordinates) // UNIT"),
        ("repeat cosines: offsets of 7 bits", P + "codec", "np.uint64(56)", "np.uint64(57)"),
        ("repeat cosines: offsets from the next place on", A + "repeats", "+ 255 - 2 *", "+ 257 - 2 *"),
        ("repeat cosines: without the twelfth", A + "repeats", "12 * v * v - (1 << 18)", "12 * v * v"),
        ("repeat cosines: padding counts", A + "repeats", ") * used).sum", ")).sum"),
        ("repeat cosines: all tensors in one unit", A + "repeats", "2 * (exponent - min(exponents)) for", "0 * exponent for"),
        ("repeat cosines: no largest one", A + "repeats", "UNIT - (UNIT - median) // 2", "UNIT"),
        ("repeat cosines: a third below the median", A + "repeats", "median - median // 4", "median - median // 3"),
        ("repeat cosines: updates of zeros have a vote on the median", A + "repeats", "known = [cosine for cosine in cosines if cosine is not None]", "known = [UNIT if cosine is None else cosine for cosine in cosines]"),
        ("replays: absolute cosines", S + "copies", "return UNIT * self.cosine", "return UNIT * abs(self.cosine)"),
        ("replays: squares of whole updates, not of the sample", S + "copies", "facts.gram[index][index] if other.own is None else other.own[index]", "facts.gram[index][index]"),
        ("uncorrelated: cosines, not their squares", S + "uncorrelated", "cosines[i][j] ** 2 for j", "UNIT * abs(cosines[i][j]) for j"),
        ("uncorrelated: four are needed", S + "uncorrelated", "if len(included) < 3:", "if len(included) < 4:"),
        ("uncorrelated: the ratio is not lowered", S + "uncorrelated", "ratio = min(ratio, max(others * others, state.facts.dimensions // COORDINATES_PER_RATIO_UNIT))", "pass"),
        ("uncorrelated: (a - 1), not its square", S + "uncorrelated", "max(others * others,", "max(others,"),
        ("uncorrelated: noise would pass", S + "uncorrelated", "if threshold * state.facts.dimensions < RATIO_UNIT", "if False and threshold * state.facts.dimensions < RATIO_UNIT"),
        ("uncorrelated: what is far from noise", S + "uncorrelated", " and value * state.facts.dimensions < NOISE * noise", ""),
        ("uncorrelated: 17 times noise", S + "uncorrelated", "NOISE = 16", "NOISE = 17"),
        ("clip: to the mean of the squared norms", S + "clipping", "median = lower_median([gram[i][i] for i in included])", "median = sum(gram[i][i] for i in included) // len(included)"),
        ("clip: small norms are scaled up", S + "clipping", "min(UNIT, isqrt((median << 32) // gram[i][i]))", "isqrt((median << 32) // gram[i][i])"),
        ("clip: by the ratio of squares", S + "clipping", "isqrt((median << 32) // gram[i][i])", "(median << 16) // gram[i][i]"),
        ("root: a floor of an eighth", S + "root", "FLOOR = UNIT // 4", "FLOOR = UNIT // 8"),
        ("root: a reference of zeros is used", S + "root", " or facts.root.square == 0:", ":"),
        ("trajectory: a floor of a quarter", S + "trajectory", "FLOOR = UNIT // 8", "FLOOR = UNIT // 4"),
        ("trajectory: two deviations", S + "trajectory", "DEVIATIONS = 4", "DEVIATIONS = 2"),
        ("trajectory: included at the threshold", S + "trajectory", "if value > -threshold else 0", "if value >= -threshold else 0"),
        ("trajectory: no threshold beyond the median", S + "trajectory", "threshold = max(median, _deviation_threshold(list(cosines.values()), median))", "threshold = median"),
        ("trajectory: the median is not clamped at 0", S + "trajectory", "return max(0, lower_median(list(cosines.values()))) if cosines else 0", "return abs(lower_median(list(cosines.values()))) if cosines else 0"),
        ("trajectory: no correction for few", S + "trajectory", "* (count + 3) // (count - 1)", ""),
        ("trajectory: the ramp from 0", S + "trajectory", "UNIT * (value + median) // (2 * median)", "UNIT * value // median"),
        ("likeness: negative cosines count", S + "likeness", "max(0, cosines[i][j]) ** 2", "cosines[i][j] ** 2"),
        ("likeness: itself counts", S + "likeness", "for j in included if j != i) for i in included}\n    median", "for j in included) for i in included}\n    median"),
        ("likeness: no root of the ratio", S + "likeness", "max(1, isqrt((median << 32) // value))", "max(1, (median << 16) // value)"),
        ("likeness: those below the median gain", S + "likeness", "UNIT if value <= median else max", "UNIT << 8 if value <= median else max"),
        ("clamped_mean: ratio of copies 161", R + "clamped_mean", "COPY_RATIO = 160", "COPY_RATIO = 161"),
        ("clamped_mean: private updates must correlate", R + "clamped_mean", "if not facts.noisy:", "if True:"),
        ("clamped_mean: ratio of noise 65", R + "clamped_mean", "UNCORRELATED_RATIO = 64", "UNCORRELATED_RATIO = 65"),
        ("clamped_mean: the trajectory of the updates", R + "clamped_mean", ", trajectory=window.trajectory)", ")"),
        ("clamped_mean: root and clip by windows", R + "clamped_mean", "weigh_by_root_bounded(replace(state, facts=facts))", "weigh_by_root_bounded(state)"),
        ("clamped_mean: copies by windows", R + "clamped_mean", "exclude_copies(WeightingState.of(facts), COPY_RATIO)", "exclude_copies(WeightingState.of(replace(facts, gram=window.gram)), COPY_RATIO)"),
        ("clamped_mean: no root", R + "clamped_mean", "weigh_by_root_bounded(replace(state, facts=facts))", "replace(state, facts=facts)"),
        ("root share: of 1023", P + "policy", "ROOT_SHARE_UNIT = 1024", "ROOT_SHARE_UNIT = 1023"),
        ("root share: up to all", S + "root", "MOST_SHARE = ROOT_SHARE_UNIT // 2", "MOST_SHARE = ROOT_SHARE_UNIT"),
        ("root share: cosines below 0 count", S + "root", "max(0, value) for", "abs(value) for"),
        ("root share: nothing is kept", S + "root", "(ROOT_SHARE_UNIT - share) * multiplier * total", "0"),
        ("root share: on top", S + "root", "(ROOT_SHARE_UNIT - share) * multiplier", "ROOT_SHARE_UNIT * multiplier"),
        ("root share: not of the sum", S + "root", "share * whole * value for", "share * value for"),
        ("root share: 0 is none", R + "clamped_mean", "if not 0 < share <= MOST_SHARE", "if not 0 <= share <= MOST_SHARE"),
        ("root share: it is not used", R + "clamped_mean", "    for share in parameters:\n        state = share_by_root(state, share)\n", ""),
        ("median cosine: the lower median", S + "likeness", "[others // 2]", "[(others - 1) // 2]"),
        ("median cosine: a floor of a quarter", S + "likeness", "FLOOR = UNIT // 8", "FLOOR = UNIT // 4"),
        ("median cosine: the ramp from 0", S + "likeness", "UNIT * (value + half) // (2 * half)", "UNIT * value // half"),
        ("median cosine: the median is not clamped at 0", S + "likeness", "half = max(0, lower_median(list(medians.values())))", "half = abs(lower_median(list(medians.values())))"),
        ("presence: by WINDOW", S + "likeness", "UNIT * rounds[i] // most for", "UNIT * rounds[i] // 8 for"),
        ("presence: over all entries", S + "likeness", "max((rounds[i] for i in included), default=1)", "max(rounds)"),
        ("shares: the last of equal roots counts", A + "shares", "first.setdefault(root, index)", "max(i for i, r in enumerate(roots) if r == root)"),
        ("shares: every copy counts", A + "shares", "if index != original}", "if False}"),
        ("shares: an undelivered or own entry takes the share", A + "shares", "entry.update_root if arrived and entry.contributor != own else None", "entry.update_root"),
        ("shares: the coordinator's own takes the share", A + "shares", "entry.update_root if arrived and entry.contributor != own else None", "entry.update_root if arrived else None"),
        ("shares: a copy of a copy, not of the first", "round", "numbers[\"copyOfEntry\"] = copies[index]", "numbers[\"copyOfEntry\"] = index"),
        ("Krum: f is not lowered", R + "multi_krum", "attackers = max(0, (count - 3) // 2)", "pass"),
        ("Krum: f is lowered below 2 f + 2 only", R + "multi_krum", "2 * attackers + 3:", "2 * attackers + 2:"),
        ("Krum: m above n - f", R + "multi_krum", "min(wanted, count - attackers)", "wanted"),
        ("Krum: one neighbour more", R + "multi_krum", "max(1, count - attackers - 2)", "max(1, count - attackers - 1)"),
        ("Krum: ties by the later entry", R + "multi_krum", "key=lambda i: (scores[i], i)", "key=lambda i: (scores[i], -i)"),
        ("Krum: m = 1 of two", R + "multi_krum", "if wanted == 0 or count <= 2", "if wanted == 0"),
        ("copies: a replay is tried as derived too", "aggregation.stages.copies", "if i not in copies and source is not None and", "if source is not None and"),
        ("copies: of equal likenesses the last counts", "aggregation.stages.copies", "max((one for _, one in compared), key", "max((one for _, one in reversed(compared)), key"),
        ("copies: no numbers where nobody is excluded", "aggregation.stages.copies", "{i: copy_.cosine for i, copy_ in copies.items()}", "{i: copy_.cosine for i, copy_ in copies.items() if set(state.included) - set(copies)}"),
        ("repeat cosines: no least one", "aggregation.repeats", "LEAST = UNIT // 16", "LEAST = 0"),
        ("repeat cosines: the stride is rounded down", A + "references", "leaves[:: -(-len(leaves) // most)]", "leaves[:: max(1, len(leaves) // most)]"),
        ("earlier rounds: without the coordinator's own entry", "aggregation.lineage", "        delivered = tuple(update for", "        own = checksum_address(coordinator)\n        updates = [None if e.contributor == own else u for e, u in zip(entries, updates, strict=True)]\n        delivered = tuple(update for"),
        # Section 8.3
        ("references: not clamped in the finer units", A + "references", "        np.clip(integers, -bound, bound, out=integers)\n", ""),
        ("references: the coarser units", A + "references", "finer = [min(pair) for", "finer = [max(pair) for"),
        ("references: exponents count once", A + "references", "2 * (least - min(finer))", "(least - min(finer))"),
        ("sample: 8192 leaves", A + "references", "COMPARED_LEAVES = 4096", "COMPARED_LEAVES = 8192"),
        ("sample: s rounded down", A + "references", "run = -(-leaves // COMPARED_LEAVES)", "run = max(1, leaves // COMPARED_LEAVES)"),
        ("sample: the first leaf of each run", A + "references", "at + value % run for", "at for"),
        ("sample: k of 8 bytes", A + "references", 'k.to_bytes(4, "big")', 'k.to_bytes(8, "big")'),
        ("sample: leaves behind the last", A + "references", "chosen[chosen < leaves]", "np.minimum(chosen, leaves - 1)"),
        ("trajectory: the base less the state before", A + "trajectory", "moved = before - now", "moved = now - before"),
        ("trajectory: rounded down", A + "trajectory", "(2 * moved + (np.int64(1) << down)) >> (down + 1)", "moved >> down"),
        ("trajectory: s < 0 is not shifted", A + "trajectory", "np.clip(moved, -_LARGEST, _LARGEST) << up", "np.clip(moved, -_LARGEST, _LARGEST)"),
        ("trajectory: as coarse as the updates", A + "trajectory", "- (self.width - width)", "+ 0 * width"),
        ("references: clamped to the width of the round", A + "references", "max(other.width, *(update.width for update in updates))", "updates[0].width"),
        ("windows: rounds of another width", "round", "if one.update.width == header.width", "if True"),
        ("trajectory: 7 rounds", A + "trajectory", "WINDOW = 8", "WINDOW = 7"),
        ("windows: six rounds before", "round", "lineage.rounds[-(WINDOW - 1) :]", "lineage.rounds[-(WINDOW - 2) :]"),
        ("windows: eight rounds before", "round", "lineage.rounds[-(WINDOW - 1) :]", "lineage.rounds"),
        ("windows: not scaled", A + "windows", "min(UNIT, isqrt((median << 32) // one.sum_squares))", "UNIT"),
        ("windows: zero updates set the median", A + "windows", "[one.sum_squares for one in published.values() if one.sum_squares > 0]", "[one.sum_squares for one in published.values()]"),
        ("windows: rounded down", A + "windows", "            values += np.int32(UNIT // 2)\n", ""),
        ("windows: copies are in them", A + "lineage", " and index not in copies\n", "\n"),
        ("windows: the coordinator's own is in them", A + "lineage", "update is not None and entry.contributor != own and", "update is not None and"),
        # Section 8.7
        ("pays: a ridge of 65", A + "pay", "RIDGE = UNIT // 1024", "RIDGE = UNIT // 1024 + 1"),
        ("pays: a pivot of half the ridge", A + "pay", "UNIT * RIDGE // 4", "UNIT * RIDGE * 3"),
        ("pays: entries are not clamped", A + "pay", "np.clip(left, -_LARGEST, _LARGEST)", "left"),
        ("pays: new parts are not clamped", A + "pay", "np.clip(cosines[:count, :count] - (ours @ ours.T) // UNIT, -UNIT, UNIT)", "(cosines[:count, :count] - (ours @ ours.T) // UNIT)"),
        ("pays: half of the others are left out", A + "pay", "count - 1 - count // 3", "count - 1 - count // 2"),
        ("pays: a third of the others, not of all", A + "pay", "count - 1 - count // 3", "count - 1 - (count - 1) // 3"),
        ("pays: noise is not taken off", A + "pay", "sum(along[:added]) - noise", "sum(along[:added])"),
        ("pays: no half of the noise", A + "pay", "part.confirmed + noise for", "part.confirmed for"),
        ("pays: all of the noise", A + "pay", "for part in parts]) // 2", "for part in parts])"),
        ("pays: whatever the size", A + "pay", "map(min, confirmed, sizes)", "confirmed"),
        ("pays: of its own new part", A + "pay", "max(1, parts[j][j])", "max(1, parts[i][i])"),
        ("pays: medians of all", A + "pay", "zip(values, weights, strict=True) if weight]", "zip(values, weights, strict=True)]"),
        ("pays: a full pay takes a third", A + "pay", "FACTOR = 2", "FACTOR = 3"),
        ("pays: paid without a weight", A + "pay", "if weight else Paid(0, 0)", "if weight >= 0 else Paid(0, 0)"),
        ("pays: integers as they are", A + "pay", "np.exp2(np.minimum(exponents - least, MOST_SHIFT))", "np.exp2(np.zeros_like(exponents))"),
        ("pays: shifted by up to 9 bits", A + "pay", "MOST_SHIFT = 8", "MOST_SHIFT = 9"),
        # Section 9
        ("clamped sum: the upper median", A + "clamped_sum", "return (included - 1) // 2", "return included // 2"),
        ("clamped sum: a third is above", A + "clamped_sum", "return (included - 1) // 2", "return included - 1 - included // 3"),
        ("clamped sum: seven times", A + "clamped_sum", "FACTOR = 8", "FACTOR = 7"),
        ("clamped sum: no step", A + "clamped_sum", "* FACTOR, 1, _LARGEST)", "* FACTOR, 0, _LARGEST)"),
        ("clamped sum: of all entries", A + "clamped_sum", "strict=True) if weight]", "strict=True) if update]"),
        ("clamped sum: clamped below only", A + "clamped_sum", "np.clip(row, low, high)", "np.maximum(row, low)"),
        ("clamped sum: not the form of clamped_mean", A + "form", "sum_clamped if rule == CLAMPED_MEAN else sum_lanes", "sum_lanes"),
        ("weighted sum: any sum of weights", A + "weighted_sum", "not 1 <= total <= MAX_WEIGHT_SUM", "not 1 <= total"),
        ("aggregate less 127 W", A + "weighted_sum", "- 128 * weight_sum", "- 127 * weight_sum"),
        ("mean: rounded down", P + "mean", "quotient += weight_sum", "quotient += 0"),
        ("mean: rounded up", P + "mean", "quotient += weight_sum", "quotient += 2 * weight_sum - 1"),
        ("mean: truncated", P + "mean", "np.floor(quotient, out=quotient)", "np.trunc(quotient - 0.5)"),
        ("mean: truncated after the half is added", P + "mean", "np.floor(quotient, out=quotient)", "np.trunc(quotient)"),
        ("mean: halves to even", P + "mean", "np.floor(quotient, out=quotient)", "np.rint(quotient - 0.5)"),
        ("mean: halves away from zero", P + "mean", "np.floor(quotient, out=quotient)", "np.where(quotient < 0.5, np.ceil(quotient - 1), np.floor(quotient))"),
        ("mean: halves down", P + "mean", "np.floor(quotient, out=quotient)", "np.ceil(quotient - 1)"),
        ("mean: the other sign", P + "mean", "aggregate.astype(np.float64)", "-aggregate.astype(np.float64)"),
        ("mean: without its sign", P + "mean", "aggregate.astype(np.float64)", "np.abs(aggregate).astype(np.float64)"),
        ("mean: in float32", P + "mean", "aggregate.astype(np.float64)", "aggregate.astype(np.float32)"),
        ("mean: without the scale", P + "mean", "quotient *= 2 * check_scale(scale)", "quotient *= 2"),
        ("mean: divided by the scale", P + "mean", "quotient *= 2 * check_scale(scale)", "quotient *= 2 / check_scale(scale)"),
        ("mean: the scale a power of two", P + "mean", "quotient *= 2 * check_scale(scale)", "quotient *= 1 << scale.bit_length()"),
        ("mean: the scale after rounding", P + "mean", "    quotient *= 2 * check_scale(scale)\n    quotient += weight_sum\n    quotient /= 2 * weight_sum\n    return np", "    quotient = scale * ((2 * aggregate + weight_sum) // (2 * weight_sum))\n    return np"),
        ("mean: any sum of weights from 1 to 2^24", P + "mean", "MAX_WEIGHT_SUM = 16_843_009", "MAX_WEIGHT_SUM = 1 << 24"),
        ("mean: a scale of 0", P + "mean", "if not 1 <= scale", "if not 0 <= scale"),
        ("mean: a scale of 128", P + "mean", "if not 1 <= scale", "if scale != 128 and not 1 <= scale"),
        ("mean: the largest scale whatever the updates", P + "mean", " // bound\n", "\n"),
        ("mean: bytes in two's complement", P + "mean", "(mean + ZERO).astype(np.uint8)", "mean.astype(np.uint8)"),
        ("mean: bytes B + 127", P + "mean", "(mean + ZERO).astype(np.uint8)", "(mean + ZERO - 1).astype(np.uint8)"),
        ("mean: bytes read as two's complement", P + "mean", "leaves.reshape(-1).astype(np.int64) - ZERO", "leaves.reshape(-1).astype(np.int8).astype(np.int64)"),
        ("mean: -S Q - 1 is taken", P + "mean", "(leaves < ZERO - bound)", "(leaves < ZERO - bound - 1)"),
        ("mean: -S Q is refused", P + "mean", "(leaves < ZERO - bound)", "(leaves <= ZERO - bound)"),
        ("mean: S Q + 1 is taken", P + "mean", "(leaves > ZERO + bound)", "(leaves > ZERO + bound + 1)"),
        ("mean: S Q is refused", P + "mean", "(leaves > ZERO + bound)", "(leaves >= ZERO + bound)"),
        ("mean: within 127 whatever the scale", P + "mean", "wrong = ((leaves", "bound = 127\n    wrong = ((leaves"),
        ("mean: padding is not checked", P + "mean", "    check_padding(leaves, manifest, first)", "    pass"),
        ("mean: padding of the first leaves", P + "mean", "check_padding(leaves, manifest, first)", "check_padding(leaves, manifest, 0)"),
        ("outer step: the quotient truncated", P + "outer_step", "pull = (2 * scale * mean[place] + divisor) // (2 * divisor)", "pull = np.trunc((2 * scale * mean[place] + divisor) / (2 * divisor)).astype(np.int64)"),
        ("outer step: half to even", P + "outer_step", "pull = (2 * scale * mean[place] + divisor) // (2 * divisor)", "pull = np.rint(scale * mean[place] / divisor).astype(np.int64)"),
        ("outer step: the quotient rounded down", P + "outer_step", "(2 * scale * mean[place] + divisor) // (2 * divisor)", "(scale * mean[place]) // divisor"),
        ("outer step: s < 0 is not shifted", P + "outer_step", "(1, mean_scale << -shift)", "(1, mean_scale)"),
        ("outer step: s < 0 without the mean scale", P + "outer_step", "(1, mean_scale << -shift)", "(1, 1 << -shift)"),
        ("outer step: without the mean scale", P + "outer_step", "(1 << shift, mean_scale)", "(1 << shift, 1)"),
        ("outer step: times the mean scale", P + "outer_step", "(1 << shift, mean_scale)", "(mean_scale << shift, 1)"),
        ("outer step: B / S is rounded first", P + "outer_step", "(2 * scale * mean[place] + divisor) // (2 * divisor)", "(2 * scale * mean_scale * ((2 * mean[place] + mean_scale) // (2 * mean_scale)) + divisor) // (2 * divisor)"),
        ("outer step: the mean scale a power of two", P + "outer_step", "shift = FRACTION_BITS + exponent", "shift, mean_scale = FRACTION_BITS + exponent, 1 << mean_scale.bit_length() - 1"),
        ("outer step: s = 25 + e", P + "outer_step", "shift = FRACTION_BITS + exponent", "shift = FRACTION_BITS - 1 + exponent"),
        ("outer step: no momentum", P + "outer_step", "_scaled(momentum[place], decay) + pull", "pull"),
        ("outer step: heavy ball, no Nesterov term", P + "outer_step", "pull + _scaled(moved, decay), rate", "moved, rate"),
        ("outer step: the Nesterov term of the old momentum", P + "outer_step", "pull + _scaled(moved, decay), rate", "pull + _scaled(momentum[place], decay), rate"),
        ("outer step: the rate on the step only", P + "outer_step", "_scaled(pull + _scaled(moved, decay), rate)", "_scaled(pull, rate) - _scaled(moved, decay)"),
        ("outer step: theta + ...", P + "outer_step", "stepped = theta[place] - ", "stepped = theta[place] + "),
        ("outer step: the momentum is not clamped", P + "outer_step", "np.clip(_scaled(momentum[place], decay) + pull, -STATE_BOUND, STATE_BOUND)", "_scaled(momentum[place], decay) + pull"),
        ("outer step: theta is not clamped", P + "outer_step", "np.clip(stepped, -STATE_BOUND, STATE_BOUND, out=new_theta[place])", "new_theta[place] = stepped"),
        ("outer step: 1/1000", P + "outer_step", "(((values & 1023) * factor) >> 10)", "(((values & 1023) * factor) // 1000)"),
        ("outer step: negative products truncated", P + "outer_step", "return (values >> 10) * factor + (((values & 1023) * factor) >> 10)", "return np.trunc(values * (factor / 1024)).astype(np.int64)"),
        # Section 10
        ("exponents: a target of 15", P + "exponents", "TARGETS = {8: 16, 4: 3}", "TARGETS = {8: 15, 4: 3}"),
        ("exponents: a target of 4 at width 4", P + "exponents", "TARGETS = {8: 16, 4: 3}", "TARGETS = {8: 16, 4: 4}"),
        ("exponents: saturated from 63 on", P + "exponents", "CUTS = {8: 64, 4: 4}", "CUTS = {8: 63, 4: 4}"),
        ("exponents: saturated from 3 on at width 4", P + "exponents", "CUTS = {8: 64, 4: 4}", "CUTS = {8: 64, 4: 3}"),
        ("exponents: a density of a third at width 2", P + "exponents", "DENSITY = (1, 4)", "DENSITY = (1, 3)"),
        ("exponents: saturated above 7/8 only at width 2", P + "exponents", "8 * absolute >= 7 * elements", "8 * absolute > 7 * elements"),
        ("exponents: N counts blocks of zeros", P + "update_checks", "np.where(used, sizes, 0)", "sizes"),
        ("exponents: N counts blocks of 16", P + "update_checks", "_BLOCK = 8", "_BLOCK = 16"),
        ("gramRoot for 33 updates", P + "policy", "MAX_KRUM_CONTRIBUTORS = 32", "MAX_KRUM_CONTRIBUTORS = 33"),
        ("gramRoot for 31 updates at most", P + "policy", "MAX_KRUM_CONTRIBUTORS = 32", "MAX_KRUM_CONTRIBUTORS = 31"),
        ("exponents: N counts padding", P + "update_checks", "np.where(used, sizes, 0)", "np.where(used, _BLOCK, 0)"),
        ("exponents: saturated above 7/8 only", P + "exponents", "8 * squares >= 7 * largest * absolute", "8 * squares > 7 * largest * absolute"),
        ("exponents: a rise of 3", P + "exponents", "MAX_RISE = 4", "MAX_RISE = 3"),
        ("exponents: a fall of 3", P + "exponents", "MAX_FALL = 4", "MAX_FALL = 3"),
        ("exponents: rest at -11", P + "exponents", "REST = -12", "REST = -11"),
        ("exponents: the upper median", P + "exponents", "(len(sums) - 1) // 2", "len(sums) // 2"),
        ("exponents: S^2, not 2 S^2", P + "exponents", "2 * squares**2, (TARGETS", "squares**2, (TARGETS"),
        ("exponents: not clamped", P + "exponents", "return min(max(moved, MIN_EXPONENT), MAX_EXPONENT)", "return moved"),
        ("exponents: who did not change the tensor has no vote", P + "exponents", "moved = exponent + sorted(vote(sum_, width) for sum_ in sums)[(len(sums) - 1) // 2]", "sums = [one for one in sums if one.absolute]\n    moved = exponent + sorted(vote(sum_, width) for sum_ in sums)[(len(sums) - 1) // 2]"),
        # Section 11
        ("state file in big-endian", P + "state", '.astype("<i8", copy=False)', '.astype(">i8", copy=False)'),
        ("state file: momentum first", P + "state", "for values in (self.theta, self.momentum):", "for values in (self.momentum, self.theta):"),
        ("state file: values above the bound", P + "state", " or int(leaves.max()) > STATE_BOUND:", ":"),
        ("state file: padding is not checked", P + "state", "if wrong.any():\n", "if False:\n"),
        ("anchor: weights of four bytes", P + "anchor", 'number.to_bytes(HASH_BYTES, "big")', 'number.to_bytes(4, "big")'),
        ("anchor: the pays before the weights", P + "anchor", "(self.weights_hash, self.pays_hash, ", "(self.pays_hash, self.weights_hash, "),
        ("anchor: without the pays", P + "anchor", "self.pays_hash, self.delivered", "self.delivered"),
        ("anchor: the weights after the roots", P + "anchor", "return keccak(*self.words)", "return keccak(*self.words[1:], self.words[0])"),
        ("entries: without the weight", P + "receipt", 'weight.to_bytes(4, "big")', "bytes(4)"),
        ("entries: the aggregate's prefixes", P + "merkle", '"entries", 0x14, 0x15', '"entries", 0x02, 0x03'),
        ("verdicts: negative weights", P + "verdict", 'weight=_unsigned(entry["weight"], 32)', 'weight=_integer(entry["weight"])'),
        ("verdicts: numbers as integers", P + "verdict", "{name: str(number) for", "{name: number for"),
        ("report: classes by their names alone", "evaluation.report", "known = [(one.recall, place) for", "known = [(one.recall, -place) for"),
        ("report: an unknown metric digit", "evaluation.numbers", "DIGITS = 6", "DIGITS = 7"),
        ("report: losses are truncated", "evaluation.losses", "np.rint(np.where", "np.trunc(np.where"),
        ("report: 2^31 is unmeasured", "evaluation.losses", "(np.abs(scaled) <= BOUND)", "(np.abs(scaled) < BOUND)"),
        ("report: groups need not add up", "evaluation.report", "and (not parts or total(parts) == self.losses)", ""),
        ("report: any sums of squares", "evaluation.losses", "self.w2 <= self.w**2", "True"),
        ("canary: one standard error", "evaluation.canary", "NOISE = 2", "NOISE = 1"),
        ("canary: recall as it is", "evaluation.canary", "Fraction(one.correct, one.support) - false", "Fraction(one.correct, one.support)"),
        ("canary: also at the limit", "evaluation.canary", "after - before > Fraction(str(limits.loss_rise))", "after - before >= Fraction(str(limits.loss_rise))"),
        ("canary: triggers that the base had", "evaluation.canary", "if probe.rise > earlier and ", "if "),
        ("canary: a metric that is gone passes", "evaluation.canary", "        after is None\n        or _beyond", "        after is not None\n        and _beyond"),
        ("canary: errors of the candidate alone", "evaluation.canary", "(before.squared_error + after.squared_error)", "after.squared_error"),
        ("canary: weights do not count", "evaluation.losses", "Fraction(self.wl, self.w * UNIT)", "Fraction(self.wl, self.measured * UNIT)"),
        ("canary: small groups", "evaluation.canary", "one.support < limits.least_examples:\n            continue\n        if later", "one.support < 1:\n            continue\n        if later"),
        ("receipt: the eighth word is the root", "protocol.receipt", "_ENTRIES_ROOT = 8", "_ENTRIES_ROOT = 7"),
        ("acknowledgement: the commitment's own hash is signed", "protocol.acknowledgement", "hashed = keccak(encode((\"bytes32\", \"bytes32\"), (_TYPEHASH, commitment.struct_hash)))", "hashed = commitment.struct_hash"),
        ("acknowledgement: for any ledger", "protocol.acknowledgement", "domain.separator, hashed", "bytes(32), hashed"),
        ("acknowledgement: another name of its member", "protocol.acknowledgement", "Acknowledgement(bytes32 commitmentHash)", "Acknowledgement(bytes32 commitment)"),
        ("acknowledgement: numbers in any form", "protocol.acknowledgement", "if made.to_json() != value:", "if False:"),
        ("receipt: numbers in any form", "protocol.receipt", "if receipt.to_json() != value:", "if False:"),
        ("retention: free with nine above", "artifacts.retention", "self.above >= WINDOW", "self.above > WINDOW"),
        ("retention: free after its time", "artifacts.retention", "now >= self.free_at", "now > self.free_at"),
        ("retention: expired with as many above as are retained", "artifacts.retention", "0 < self.retain_rounds < self.above", "0 < self.retain_rounds <= self.above"),
        ("retention: 0 retains nothing", "artifacts.retention", "0 < self.retain_rounds < self.above", "self.retain_rounds < self.above"),
        ("retention: spare with eight above", "artifacts.retention", "self.above > WINDOW", "self.above >= WINDOW"),
        ("retention: every fourth state stays", "artifacts.retention", "KEPT_EVERY = 8", "KEPT_EVERY = 4"),
        ("wish: round 0", "protocol.deletion", "not 1 <= self.last_round < 1 << 53", "not 0 <= self.last_round < 1 << 53"),
        ("wish: rounds from 2^53 on", "protocol.deletion", "self.last_round < 1 << 53:", "self.last_round < 1 << 54:"),
        ("wish: lastRound is a uint256", "protocol.deletion", "uint64 lastRound)", "uint256 lastRound)"),
        ("wishes: in any order", "protocol.deletion", "if any(second <= first for first, second in pairwise(accounts)) or", "if"),
        ("wishes: addresses without checksum", "protocol.deletion", " or to_file(wishes) != data:", ":"),
        ("attestation: the digest is a keccak", "protocol.attestation", "bytes.fromhex(sha256_hex(canonical_json(self._content())))", "keccak(canonical_json(self._content()))"),
        ("attestation: a round in both lists", "protocol.attestation", " or set(self.expired) & set(self.recomputed):", ":"),
        ("model file: the header is sorted", "protocol.state", 'json.dumps(header, separators=(",", ":"), ensure_ascii=False)', 'json.dumps(header, separators=(",", ":"), ensure_ascii=False, sort_keys=True)'),
        ("model file: non-ASCII names are escaped", "protocol.state", 'json.dumps(header, separators=(",", ":"), ensure_ascii=False)', 'json.dumps(header, separators=(",", ":"))'),
        ("model file: tensors have their own dtype", "protocol.state", '"F32" if trained else', '{"float16": "F16", "float64": "F64"}.get(entry.dtype, "F32") if trained else'),
        ("model file: the header is padded to 4 bytes", "protocol.state", "(-len(text) % 8)", "(-len(text) % 4)"),
        ("model file: the length counts no padding", "protocol.state", "        text += b\" \" * (-len(text) % 8)\n        yield len(text).to_bytes(8, \"little\") + text", "        size = len(text)\n        text += b\" \" * (-len(text) % 8)\n        yield size.to_bytes(8, \"little\") + text"),
        # Sections 14, 16 and 17
        ("model file: header not padded", P + "state", 'text += b" " * (-len(text) % 8)', "pass"),
        ("rewards: relative to the sum of weights", P + "rewards", "(weights, max(weights))", "(weights, sum(weights))"),
        ("rewards: a share for each entry", P + "rewards", "whole * places", "whole * len(weights)"),
        ("rewards: a share for each entry that is paid", P + "rewards", "whole * places", "whole * sum(counted)"),
        ("rewards: the maximum over those that are paid", P + "rewards", "(weights, max(weights))", "(weights, max(w for w, c in zip(weights, counted) if c))"),
        ("rewards: pays relative to the largest", P + "rewards", "(pays, FULL_PAY)", "(pays, max(pays))"),
        ("rewards: by weight, whatever the pays", P + "rewards", "if pays else", "if not weights else"),
        ("verdicts: without the pay", P + "verdict", '"pay": verdict.pay', '"pay": None'),
        ("standing: forgets a quarter", "explain.reputation", "MEMORY = 8", "MEMORY = 4"),
    ]
]  # fmt: skip


class _Loader(SourceFileLoader):
    """Load a module with some text replaced."""

    def __init__(self, name: str, path: str, mutation: Mutation) -> None:
        super().__init__(name, path)
        self._mutation = mutation

    def get_code(self, fullname: str) -> Any:
        """Compile the changed source; nothing is read from or written to a cache."""
        source = Path(self.path).read_text(encoding="utf-8")
        if source.count(self._mutation.old) != 1:
            raise LookupError(f"{fullname} has the text {source.count(self._mutation.old)} times, not once.")
        return compile(source.replace(self._mutation.old, self._mutation.new), self.path, "exec")


class _Finder:
    """Find the module that a mutation changes."""

    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation
        self._name = f"folkmoot.{mutation.module}"

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec with the changing loader for that module, and none for others."""
        if name != self._name:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None:
            raise LookupError(f"There is no module {name}.")
        spec.loader = _Loader(name, spec.origin, self._mutation)
        return spec


def caught_by(cases: Any, vectors: Any) -> str:
    """Return the first case that the library of this process fails; empty if it passes all."""
    # Imported in the child, with the library as it is mutated.
    from tools import make_vectors
    from tools.cases.library import failures

    first = next(failures(cases), "")
    if first:
        return first
    try:
        again = make_vectors.vectors()
    except Exception as error:  # a mutated library may raise anything
        return f"protocol.json: {type(error).__name__}"
    return next((f"protocol.json: {name}" for name in vectors if again[name] != vectors[name]), "")


def _child(mutation: Mutation | None, cases: Any, vectors: Any, out: int) -> None:
    try:
        if mutation is not None:
            sys.meta_path.insert(0, _Finder(mutation))
        try:
            importlib.import_module("tools.make_cases")
            importlib.import_module("tools.make_vectors")
        except LookupError:
            raise
        except Exception as error:
            raise LookupError(f"It does not even load: {error}") from error
        if mutation is not None and f"folkmoot.{mutation.module}" not in sys.modules:
            raise LookupError("The module is not loaded by the cases.")
        result = {"caught": caught_by(cases, vectors)}
    except LookupError as error:
        result = {"error": str(error)}
    with os.fdopen(out, "w") as pipe:
        json.dump(result, pipe)


def attempt(mutation: Mutation | None, cases: Any, vectors: Any) -> dict[str, str]:
    """Run the vectors in a child process, with the library changed; None changes nothing.

    Returns:
        ``caught``: the first case that fails, empty if none does; or ``error``: the mutation could not be tried.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(LIMIT)
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - numpy warns of what a mutation overflows
        _child(mutation, cases, vectors, writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if text:
        return dict(json.loads(text))
    stopped = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
    return (
        {"caught": "it does not end"} if stopped else {"error": f"The child ended with the status {status}."}
    )


def run(mutations: Sequence[Mutation], told: Callable[[Mutation, dict[str, str]], None]) -> int:
    """Try mutations; return how many were not caught."""
    for name in ("numpy", "eth_account", "eth_abi", "eth_utils", "Crypto.Hash.keccak"):
        importlib.import_module(name)  # once, before the children; nothing of the library itself
    cases, vectors = (json.loads((VECTORS / f"{name}.json").read_text()) for name in ("cases", "protocol"))
    gc.freeze()
    untouched = attempt(None, cases, vectors)
    if untouched != {"caught": ""}:
        raise SystemExit(f"The library as it is does not pass the vectors: {untouched}")
    missed = 0
    for mutation in mutations:
        result = attempt(mutation, cases, vectors)
        missed += not result.get("caught")
        told(mutation, result)
    return missed


def main() -> int:
    """Print the table; return 1 if a mutation survived."""
    parser = argparse.ArgumentParser(description="Mutate the library and see whether the vectors notice.")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--only", default="", help="only mutations whose name has this text")
    arguments = parser.parse_args()

    def told(mutation: Mutation, result: dict[str, str]) -> None:
        if arguments.json:
            print(json.dumps({"name": mutation.name, **result}), flush=True)
        else:
            said = result.get("caught") or ("ERROR " + result["error"] if "error" in result else "SURVIVED")
            print(f"{mutation.name:62.62} {mutation.module:32.32} {said}", flush=True)

    chosen = [mutation for mutation in MUTATIONS if arguments.only in mutation.name]
    missed = run(chosen, told)
    if not arguments.json:
        print(f"{len(chosen)} mutations, {len(chosen) - missed} caught.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
