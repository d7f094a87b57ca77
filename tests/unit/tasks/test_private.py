# SPDX-License-Identifier: Apache-2.0
"""The shipped tasks with privacy learn through their noise, and nothing public decides what training draws."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from client.node.node import check_task
from client.tasks import trial
from client.tasks.genesis import start_of
from folkmoot.artifacts.federation import write
from folkmoot.cli.deploy import genesis_roots
from folkmoot.cli.main import run
from folkmoot.errors import InputError, TaskError
from folkmoot.privacy import PrivacySettings, noise_for
from folkmoot.privacy.settings import floor_of
from folkmoot.protocol.budget import cost_of
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.tasks import Data, Task, load_task, supervised
from folkmoot.tasks.features import GradientHistograms
from folkmoot.tasks.memory import Memory
from folkmoot.tasks.private import declaring
from folkmoot.tasks.tabular import TabularTask
from folkmoot.tasks.training import train_once


def trained(task: Task, model: nn.Module, data: Any) -> dict[str, torch.Tensor]:
    copy = task.model()
    copy.load_state_dict(model.state_dict())
    assert train_once(task, copy, data, task.training, {}, 1) == task.training["privacy"]["B0"]
    return copy.state_dict()


@pytest.mark.parametrize(("name", "least"), [("digits-private", 0.7), ("breast-cancer-private", 0.93)])
def test_a_federation_learns_through_the_noise_of_an_epsilon_of_3(name: str, least: float) -> None:
    task, contributors = load_task(name), 8
    settings = PrivacySettings.of(task.training)
    assert settings is not None
    assert settings.epsilon(20) == pytest.approx(3, abs=1e-3)
    data = [task.load(share, contributors, 7) for share in range(contributors)]
    model = task.model()
    for _ in range(6):
        found = [trained(task, model, share) for share in data]
        model.load_state_dict({key: torch.stack([one[key] for one in found]).mean(dim=0) for key in found[0]})
    assert task.evaluate(model)["accuracy"] > least


@pytest.mark.parametrize("name", ["digits", "digits-private"])
def test_no_public_seed_decides_what_training_draws(name: str) -> None:
    """Two trainings with equal settings differ, also if the manifest has a seed and torch was seeded."""
    task = load_task(name)
    data, models = task.load(0, 5, 7), [task.model(), task.model()]
    for model in models:
        torch.manual_seed(3)
        train_once(task, model, data, {**task.training, "seed": 3}, {}, 1)
    first, second = (model.state_dict() for model in models)
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_a_task_is_given_a_secret_seed_of_63_bits() -> None:
    seeds = []

    class Listening:
        name, training = "listening", {"seed": 5}

        def train(self, model: nn.Module, data: Any, settings: dict[str, Any]) -> int:
            seeds.append(settings["seed"])
            return 1

    for _ in range(64):
        train_once(Listening(), nn.Linear(1, 1), None, Listening.training, {}, 1)  # type: ignore[arg-type]
    assert len(set(seeds)) == 64
    assert 2**60 < max(seeds) < 2**63


class Forgetful(TabularTask):
    """Declares privacy, and trains as if it did not."""

    def train(self, model: nn.Module, data: Any, settings: dict[str, Any], memory: Memory) -> int:
        plain = {"local_steps": 1, "batch_size": 8, "learning_rate": 0.1, "seed": 1}
        return super().train(model, data, plain, memory)


class Normalised(TabularTask):
    def model(self) -> nn.Module:
        return supervised.seeded(
            lambda: nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10)), seed=1
        )


def like(kind: type[TabularTask], **privacy: Any) -> TabularTask:
    training = load_task("digits-private").training
    changed = {**training, "privacy": {**training["privacy"], **privacy}}
    return kind(name="x", loader="load_digits", hidden=0, cell=2, scale=16.0, image=(8, 8), training=changed)


def manifest_of(task: Task) -> Manifest:
    values = {name: value.numpy() for name, value in task.model().state_dict().items()}
    return Manifest.from_arrays(task.name, values, task.training)


def test_a_task_that_declares_privacy_and_adds_no_noise_is_refused() -> None:
    task = like(Forgetful)
    with pytest.raises(TaskError) as refused:
        train_once(task, task.model(), task.load(0, 5, 7), task.training, {}, 1)
    assert refused.value.code == "not-private"
    with pytest.raises(TaskError, match="noise 0 times"):
        list(trial.steps(task))


def test_a_layer_that_mixes_records_is_refused_at_the_trial_the_genesis_and_the_training() -> None:
    task = like(Normalised)
    for attempt in (
        lambda: list(trial.steps(task)),
        lambda: start_of(task),
        lambda: check_task(task, manifest_of(task)),
        lambda: train_once(task, task.model(), task.load(0, 5, 7), task.training, {}, 1),
    ):
        with pytest.raises(TaskError, match=r"The layer '1' \(BatchNorm1d\) mixes records") as refused:
            attempt()
        assert refused.value.code == "layer-mixes-records"


def test_a_noise_of_0_is_refused_wherever_a_federation_or_a_training_starts(tmp_path: Path) -> None:
    task = like(TabularTask, noise1024=0)
    start = start_of(load_task("digits-private"))
    manifest = manifest_of(task)
    genesis = Genesis.of(manifest, start.state, start.genesis.exponents)
    write(replace(start, manifest=manifest, genesis=genesis), tmp_path)
    for attempt in (
        lambda: list(trial.steps(task)),
        lambda: start_of(task),
        lambda: check_task(task, manifest_of(task)),
        lambda: genesis_roots(tmp_path / "genesis.json", tmp_path),
        lambda: train_once(task, task.model(), task.load(0, 5, 7), task.training, {}, 1),
    ):
        with pytest.raises(InputError, match="The privacy setting noise1024 is 0"):
            attempt()


def test_a_private_task_passes_its_trial() -> None:
    assert [step.state for step in trial.steps(load_task("breast-cancer-private"))] == [trial.OK] * 5


def test_the_first_exponents_of_a_private_task_are_those_of_its_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are public, so no data may show in them; and the noise is about a dozen steps of the updates' grid."""
    task = load_task("mnist-private")
    monkeypatch.setattr(type(task), "load", lambda *_: pytest.fail("the genesis looked at the data"))
    start = start_of(task)
    settings = PrivacySettings.of(task.training)
    assert settings is not None
    (exponent,) = start.genesis.exponents
    steps = settings.deviation_of_training * task.training["learning_rate"] / 2.0**exponent
    assert 16 / 2**0.5 < steps * (np.pi / 2) ** 0.5 < 16 * 2**0.5
    with pytest.raises(InputError, match="can't have 4 bits a coordinate"):
        start_of(task, width=4)


class HalfFrozen(TabularTask):
    def model(self) -> nn.Module:
        model = nn.Sequential(nn.Linear(64, 40), nn.Tanh(), nn.Linear(40, 10))
        model[0].requires_grad_(requires_grad=False)
        model[1].register_buffer("scale", torch.ones(3))
        model[1].register_buffer("cache", torch.ones(5), persistent=False)
        return model


def test_a_genesis_carries_what_has_no_noise_and_its_floor_counts_the_rest() -> None:
    task = like(HalfFrozen)
    start = start_of(task)
    assert [one.name for one in start.manifest.carried] == ["0.weight", "0.bias", "1.scale"]
    check_task(task, start.manifest)
    floor = floor_of(start.manifest, start.genesis.exponents).least
    whole = replace(start.manifest, arrays=(Tensor("w", (410,)),))
    assert floor == floor_of(whole, start.genesis.exponents[:1]).least > 0


def test_a_bad_learning_rate_is_named() -> None:
    task = load_task("digits-private")
    for rate in (0, None, float("inf"), "fast"):
        with pytest.raises(TaskError, match="The training setting learning_rate is"):
            train_once(
                task, task.model(), task.load(0, 5, 7), {**task.training, "learning_rate": rate}, {}, 1
            )


def test_gradient_histograms_say_where_edges_are_and_which_way_they_go() -> None:
    features = GradientHistograms(8, 8, cell=4)
    image = torch.zeros(1, 1, 8, 8)
    image[..., :4, 2:] = 1.0  # an edge in the upper left cell, where the image gets brighter to the right
    found = features(image).reshape(8, 2, 2)
    assert features.outputs == 32
    assert int(found[:, 0, 0].argmax()) == 0
    assert float(found[0, 0, 0]) == float(found.max())
    assert float(found.norm()) == pytest.approx(1)
    assert torch.isfinite(features(torch.zeros(2, 64))).all()
    assert features(image.flatten(1)).shape == (1, 32)


class Ward:
    """A task of one's own on records of people, which declares no privacy itself."""

    name = "ward"
    training: ClassVar[dict[str, Any]] = {"local_steps": 4, "batch_size": 8, "learning_rate": 2.0}

    def model(self) -> nn.Module:
        return supervised.seeded(lambda: nn.Linear(30, 10), seed=1)

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        generator = torch.Generator().manual_seed(partition)
        inputs = torch.randn(50, 30, generator=generator)
        return Data(inputs, inputs[:, :10].argmax(dim=1))

    def train(self, model: nn.Module, data: Data, settings: dict[str, Any]) -> int:
        return supervised.train(model, data, settings)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return supervised.evaluate(model, self.load(9, 10, 0))


class Own(Ward):
    """Has a training loop of its own, without the mechanism."""

    def train(self, model: nn.Module, data: Data, settings: dict[str, Any]) -> int:
        plain = {name: value for name, value in settings.items() if name != "privacy"}
        return supervised.train(model, data, plain)


class Fixed(Ward):
    """Its settings can't be changed."""

    training = property(lambda self: Ward.training)


def test_a_task_of_one_s_own_trains_privately_with_the_noise_for_an_epsilon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--epsilon", "2", "--budget-rounds", "7", "--records", "40"]
    out = tmp_path / "genesis"
    assert run(["task", "init", "--task", f"{__name__}:Ward", *words, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "with --budget-rounds 7" in shown.err
    said = "B0 40: epsilon 2.00 for whether a record is there, 4.39 for what it says, at delta 1e-05 after 7 rounds"
    assert said in " ".join(shown.out.split())
    genesis = Genesis.from_json((out / "genesis.json").read_bytes())
    manifest = Manifest.from_json((out / genesis.manifest[:2] / genesis.manifest).read_bytes())
    settings = PrivacySettings.of(manifest.training)
    assert settings is not None
    assert (settings.noise1024, settings.divisor) == (noise_for(2, 1e-5, 7, 1), 40)
    # A node trains with the manifest's settings: the release is the mechanism's, and its noise is there.
    task, moved = load_task(f"{__name__}:Ward"), []
    for _ in range(2):
        model = task.model()
        assert train_once(task, model, task.load(0, 5, 0), manifest.training, {}, 1) == 40
        moved.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
    spread = float((moved[0] - moved[1]).std()) / 2**0.5
    assert spread == pytest.approx(2.0 * settings.deviation_of_training, rel=0.25)
    policy = tmp_path / "policy.json"
    assert run(["policy", "--genesis", str(out), "--budget-rounds", "7", "--out", str(policy)]) == 0
    assert "for 7 rounds: epsilon 2.00" in capsys.readouterr().err
    written = json.loads(policy.read_text())
    assert written["noise1024"] == settings.noise1024
    assert int(written["privacyCap"]) == 7 * cost_of(settings.noise1024, 1)


@pytest.mark.parametrize(
    ("task", "words", "said"),
    [
        ("Ward", ["--content"], "--content belongs to --epsilon"),
        ("Ward", ["--epsilon", "3"], "--records"),
        ("Ward", ["--epsilon", "0", "--records", "40"], "epsilon of 0"),
        ("Ward", ["--epsilon", "nan", "--records", "40"], "epsilon of nan"),
        ("Ward", ["--records", "40"], "belongs to --epsilon"),
        ("Own", ["--epsilon", "3", "--records", "40"], "noise 0 times"),
        ("Fixed", ["--epsilon", "3", "--records", "40"], "can't be changed"),
    ],
)
def test_an_epsilon_that_a_task_can_not_keep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, words: list[str], said: str
) -> None:
    assert run(["task", "init", "--task", f"{__name__}:{task}", *words, "--out", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_epsilon_of_what_a_record_says_needs_twice_the_noise() -> None:
    presence, content = (
        PrivacySettings.of(declaring(load_task("digits-private"), 3, 20, None, content=content).training)
        for content in (False, True)
    )
    assert presence is not None
    assert content is not None
    assert abs(content.noise1024 - 2 * presence.noise1024) <= 2
    assert content.described(20) == (
        "epsilon 1.38 for whether a record is there, 3.00 for what it says, at delta 1e-05 after 20 rounds"
    )


def test_an_epsilon_changes_only_the_noise_of_a_task_that_declares_privacy() -> None:
    task = load_task("digits-private")
    changed = declaring(task, 8, 20, None)
    was, now = PrivacySettings.of(task.training), PrivacySettings.of(changed.training)
    assert was is not None
    assert now == replace(was, noise1024=noise_for(8, 1e-5, 20, 1))
    assert PrivacySettings.of(load_task("digits-private").training) == was


def test_records_with_gaps_in_the_task_of_the_clinics_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[3] / "docs" / "start" / "clinic.md"
    (block,) = re.findall("```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "ward.py").write_text(block)
    head, row = "npreg,glu,bp,skin,bmi,ped,age,type\n", "5,86,68,28,30.2,0.364,24,0\n"
    (tmp_path / "test.csv").write_text(head + row + row.replace("24,0", "44,1"))
    (tmp_path / "patients.csv").write_text(head + row + row.replace("86,", ",") + row.replace("24,0", "24,"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATIENTS", str(tmp_path / "patients.csv"))
    monkeypatch.delitem(sys.modules, "ward", raising=False)
    assert run(["task", "check", "--task", "ward:task"]) == 0
    assert "2 examples" in capsys.readouterr().err
    ward = load_task("ward:task")
    declared = PrivacySettings.of(ward.training)
    assert declared is not None
    assert declared.epsilon(20) == pytest.approx(3, abs=0.01)
    data = ward.load(0, 1, 0)
    assert data.inputs[1, 1] == 0, "the gap is in the middle of the range"
    (tmp_path / "patients.csv").write_text(head + row)
    assert len(ward.load(0, 1, 0)) == 1
    sys.modules.pop("ward")
