# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from folkmoot.errors import UpdateRefused
from folkmoot.protocol import update_checks as checks
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.exponents import TensorSums
from folkmoot.protocol.merkle import update_tree
from folkmoot.protocol.update_checks import check_bytes, check_claim, summarize
from folkmoot.protocol.updates import MemoryUpdate
from tests.unit import worlds

WORLD = worlds.World(worlds.state(worlds.MANIFEST, 1))
HEADER = WORLD.header
DATA = worlds.update_bytes(worlds.MANIFEST, 3)
ALICE = worlds.account("alice")
COMMITMENT, _ = WORLD.commit("alice", DATA)
SIGNATURE = COMMITMENT.sign(ALICE, worlds.DOMAIN)


def arrive(
    data: bytes = DATA,
    commitment: Commitment = COMMITMENT,
    signature: bytes | None = SIGNATURE,
    cap: int = 1 << 40,
    floor: int = 0,
) -> str:
    """Reason code of an arrival, or 'fine'."""
    policy = replace(worlds.policy(), max_sum_squares=cap, min_sum_squares=floor)
    problem = ""
    try:
        check_claim(commitment, signature, header=HEADER, policy=policy, domain=worlds.DOMAIN)
        check_bytes(MemoryUpdate(data), commitment, worlds.MANIFEST)
    except UpdateRefused as error:
        problem, remedy = error.code, error.remedy
    else:
        return "fine"
    assert remedy, "a refusal says what to do"
    return problem


def with_byte(place: int, byte: int) -> bytes:
    data = bytearray(DATA)
    data[place] = byte
    return bytes(data)


def test_a_good_update_passes() -> None:
    assert arrive() == "fine"
    assert arrive(signature=None) == "fine", "an own transaction needs no signature"
    assert arrive(cap=COMMITMENT.sum_squares) == "fine"


def test_what_fails_has_its_code() -> None:
    assert arrive(commitment=replace(COMMITMENT, round=2)) == "round-unknown"
    assert arrive(commitment=replace(COMMITMENT, base_state_root=bytes(32))) == "wrong-base"
    assert arrive(DATA[:-1]) == "wrong-size"
    assert arrive(DATA + b"\x80") == "wrong-size"
    assert arrive(b"") == "wrong-size"
    assert arrive(with_byte(5, 0)) == "invalid-encoding"
    assert arrive(with_byte(1023, 129)) == "invalid-encoding", "padding"
    assert arrive(with_byte(5, DATA[5] % 255 + 1)) == "wrong-root"
    assert arrive(commitment=replace(COMMITMENT, sum_squares=5), signature=None) == "wrong-norm"
    assert arrive(cap=COMMITMENT.sum_squares - 1) == "norm-too-large"
    assert arrive(floor=COMMITMENT.sum_squares) == "fine"
    assert arrive(floor=COMMITMENT.sum_squares + 1) == "norm-too-small"
    assert arrive(signature=SIGNATURE[:64] + bytes([55 - SIGNATURE[64]])) == "invalid-signature"
    assert arrive(signature=b"") == "invalid-signature"
    assert arrive(commitment=replace(COMMITMENT, memory_hash=b"\x63" * 32)) == "invalid-signature"


def test_the_first_failure_is_named() -> None:
    bad = replace(COMMITMENT, base_state_root=bytes(32), sum_squares=5)
    assert arrive(b"", bad, b"", 0) == "wrong-base"
    assert arrive(b"", COMMITMENT, b"", 0) == "norm-too-large"
    assert arrive(b"", COMMITMENT, b"") == "invalid-signature"
    assert arrive(b"", replace(COMMITMENT, sum_squares=5), None) == "wrong-size"


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_summary_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(checks, "_CHUNK", chunk)
    summary = summarize(MemoryUpdate(DATA), worlds.MANIFEST)
    raw = np.frombuffer(DATA, dtype=np.uint8)
    tree = update_tree(raw)
    assert (summary.root, summary.sum_squares) == (tree.root, tree.sum_squares)
    assert summary.sha256 == hashlib.sha256(DATA).hexdigest()
    values = np.abs(raw.astype(np.int64) - 128)
    parts = (values[:1024], values[1024:1280], values[1280:])
    elements = (tensor.elements for tensor in worlds.MANIFEST.tensors)  # No block of 8 has zeros only.
    assert summary.tensors == tuple(
        TensorSums(int(part.sum()), int((part**2).sum()), int(part.max()), count)
        for part, count in zip(parts, elements, strict=True)
    )
    assert summary.sum_absolute == tuple(int(part.sum()) for part in parts)
