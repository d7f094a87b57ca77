# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run` on an ordinary Flower app that fine-tunes a transformer: only its LoRA adapters travel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from folkmoot.protocol.manifest import Manifest
from tests.e2e.test_demo import left_behind
from tests.e2e.test_run_app import run

LORA = Path(__file__).parent / "lora_app"

LAYERS = [
    f"layers.{layer}.{part}" for layer in (0, 1) for part in ("q_proj", "v_proj", "up_proj", "down_proj")
]
ADAPTERS = [f"{name}.lora_{factor}" for name in (*LAYERS, "lm_head") for factor in "AB"]
"""Names of the arrays that the app sends, in its order."""

pytestmark = pytest.mark.long


@pytest.mark.story
@pytest.mark.timeout(900)
def test_adapters_of_a_frozen_transformer_are_trained_and_audited(tmp_path: Path) -> None:
    """The harder case, factors that alternate: B starts at zero, and no A moves in the first round."""
    from safetensors.numpy import load_file

    app = Path(shutil.copytree(LORA, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__")))
    assert not any("folkmoot" in path.read_text().lower() for path in app.rglob("*_app.py"))
    home = tmp_path / "home"
    status, summary, said = run(app, home, "--run-config", "train.alternate=true")
    assert status == 0, said

    assert (summary["rounds"], summary["nodes"], summary["strategy"]) == (3, 3, "FedAvg")
    assert summary["audit"]["recomputed"] == 3, "every round"
    assert summary["audit"]["updates"] == summary["audit"]["entries"]["signed"] == 9
    assert " refused" not in said
    weights = [weight for found in summary["weights"].values() for weight in found.values()]
    assert len(weights) == 9
    assert min(weights) > max(weights) / 2, summary["weights"]

    written = {Path(path).name: Path(path) for path in summary["output"]}
    loss = {int(number): value for number, value in json.loads(written["losses.json"].read_text()).items()}
    assert set(loss) == {0, 1, 2, 3}
    assert loss[3] < loss[0] - 0.8, loss
    rates = [found["train"]["learning_rate"] for _, found in sorted(summary["metrics"].items())]
    assert rates == pytest.approx([0.00775, 0.00325, 0.001]), "the app got the round's number"

    genesis = json.loads((home / "genesis" / "genesis.json").read_bytes())
    [file] = (home / "genesis").rglob(genesis["manifest"])
    manifest = Manifest.from_json(file.read_bytes())
    assert [one.name for one in manifest.arrays] == ADAPTERS, "nothing of the base travels"
    model = load_file(summary["model"])
    assert set(model) == set(ADAPTERS)
    with np.load(home / "app" / "arrays.npz") as file:
        first = dict(zip(ADAPTERS, file.values(), strict=True))
    assert all(first[name].any() == name.endswith("A") for name in ADAPTERS)
    assert not any(np.allclose(model[name], first[name], atol=1e-4) for name in ADAPTERS), "each was trained"
    assert left_behind(home) == []
