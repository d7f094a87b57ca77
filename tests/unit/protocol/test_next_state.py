# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from folkmoot.errors import InputError
from folkmoot.protocol import next_state
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.mean import mean_values
from folkmoot.protocol.next_state import write_next_state
from folkmoot.protocol.outer_step import outer_step
from folkmoot.protocol.state import State
from tests import factories

MANIFEST = Manifest("m", (Tensor("a", (LEAF, 3)), Tensor("b", (5,)), Tensor("c", (LEAF + 1,))))
POLICY = factories.policy(rate=512, momentum=307)


@pytest.mark.parametrize("pieces", [1, 4, 2048], ids=["by leaf", "by four", "at once"])
def test_the_file_is_the_outer_step_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    monkeypatch.setattr(next_state, "LEAVES", pieces)
    rng = np.random.default_rng(1)
    theta, momentum = rng.integers(-(1 << 40), 1 << 40, (2, MANIFEST.size))
    mean = rng.integers(1, 256, (MANIFEST.leaves, LEAF), dtype=np.uint8)
    base, target, exponents = tmp_path / "base", tmp_path / "target", (-12, -3, -20)
    base.write_bytes(State(theta, momentum).to_bytes())
    write_next_state(base, lambda first, last: mean[first:last], exponents, POLICY, MANIFEST, target)
    expected = outer_step(
        theta,
        momentum,
        mean_values(mean),
        POLICY.mean_scale,
        np.array(exponents, dtype=np.int64)[MANIFEST.tensor_of_leaf],
        POLICY.rate,
        POLICY.momentum,
    )
    assert target.read_bytes() == State(*expected).to_bytes()


def test_exponents_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 exponents for 3 tensors"):
        write_next_state(
            tmp_path / "base",
            lambda first, last: np.empty(0, np.uint8),
            (-12, -3),
            POLICY,
            MANIFEST,
            tmp_path / "new",
        )
    assert not (tmp_path / "new").exists()
