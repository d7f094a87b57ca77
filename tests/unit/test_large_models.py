# SPDX-License-Identifier: Apache-2.0
"""What a round with a large model takes of memory: at most 20 bytes a parameter (docs/scaling.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from benchmarks.growth import large, plan, training
from benchmarks.growth.language import Text3
from flwr.supercore.task_identity import TaskIdentity

from folkmoot.protocol.manifest import MAX_LEAVES
from folkmoot.protocol.merkle import depth_of

PARAMETERS = 4_000_000
MOST = 20.0
"""Bytes a parameter, buffers of a fixed size included. A state in memory alone would take 16 more."""


def test_a_round_streams(tmp_path: Path) -> None:
    parts = large.by_library(tmp_path, PARAMETERS, 3, "clamped_mean")
    assert [part.name for part in parts] == list(large.PARTS)
    for part in parts:
        grown = (part.peak - part.held) * large.MEBIBYTE / PARAMETERS
        assert 0 < grown < MOST, part.line(PARAMETERS)


class Small(Text3):
    """65,000 weights."""

    name = "text-small"
    training: ClassVar[dict[str, Any]] = {**Text3.training, "width": 32, "layers": 2}


def test_the_memory_of_training_is_measured_in_two_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    reference = f"{__name__}:{Small.__name__}"
    manifest = training.begin(tmp_path, reference)
    parts = training.rounds(tmp_path, reference, manifest)
    assert [part.name for part in parts] == ["round 1", "round 2"]
    assert all(0 < part.held <= part.peak for part in parts), parts
    memories = sorted((tmp_path / "memory").iterdir())
    assert [path.name[:2] for path in memories] == ["1-", "2-"]
    moments = 2 * 4 * manifest.elements  # of AdamW, in float32
    assert all(path.stat().st_size > moments for path in memories)


def test_the_sizes_of_the_plan_are_those_of_the_formats() -> None:
    text = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    for line in plan.sizes():
        assert line in text, (
            "run `python -m benchmarks.growth.plan`, and put its first table into docs/scaling.md"
        )
    assert [line.count("|") for line in plan.proofs()] == [7] * (2 + len(plan.MODELS))


def test_the_dearest_proof_fits_at_the_largest_model_and_the_page_says_up_to_where() -> None:
    assert depth_of(MAX_LEAVES) <= plan.deepest(), "a lie about the mean of the largest model can't be proven"
    text = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    assert f"fits up to depth {plan.deepest()}" in text, "run `python -m benchmarks.growth.plan`"
