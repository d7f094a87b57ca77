# SPDX-License-Identifier: Apache-2.0
"""A federation starts from a safetensors file as Hugging Face writes it for GPT-2: trained as a whole, or adapted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from client.node import node
from client.tasks import evaluation
from client.tasks.genesis import start_of
from folkmoot.artifacts.federation import Start, write
from folkmoot.artifacts.sources import FolderSource
from folkmoot.cli.main import run
from folkmoot.errors import TaskError
from folkmoot.tasks import pretrained
from folkmoot.tasks.text import gpt
from folkmoot.tasks.text.task import TextTask

WIDTH, LAYERS, HEADS, CONTEXT, VOCABULARY = 24, 2, 3, 16, 1024


class Whole(TextTask):
    """All weights are trained."""

    name = "whole"
    training: ClassVar[dict[str, Any]] = {
        **TextTask.training, "context": CONTEXT, "width": WIDTH, "layers": LAYERS, "heads": HEADS, "local_steps": 3,
    }  # fmt: skip


class Adapted(Whole):
    """Adapters of rank 2 are trained."""

    name = "adapted"
    training: ClassVar[dict[str, Any]] = {**Whole.training, "adapters": 2}


whole, adapted = Whole(), Adapted()


def gpt2_file(prefix: str = "transformer.") -> dict[str, torch.Tensor]:
    """Random weights with the names and shapes of transformers' GPT2LMHeadModel, masks included."""
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.1

    made = {"wte.weight": drawn(VOCABULARY, WIDTH), "wpe.weight": drawn(CONTEXT, WIDTH)}
    for layer in range(LAYERS):
        for name, inputs, outputs in (
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH),
            ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ):
            made[f"h.{layer}.{name}.weight"] = drawn(inputs, outputs)
            made[f"h.{layer}.{name}.bias"] = drawn(outputs)
        for name in ("ln_1", "ln_2"):
            made[f"h.{layer}.{name}.weight"], made[f"h.{layer}.{name}.bias"] = 1 + drawn(WIDTH), drawn(WIDTH)
        made[f"h.{layer}.attn.bias"] = torch.ones(1, 1, CONTEXT, CONTEXT).tril()
    made["ln_f.weight"], made["ln_f.bias"] = 1 + drawn(WIDTH), drawn(WIDTH)
    return {prefix + name: value for name, value in made.items()}


def gpt2_scores(weights: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """GPT-2 as its paper and its first release have it, written out: scores [length, vocabulary] of tokens [length]."""
    w = {name.removeprefix("transformer."): value for name, value in weights.items()}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["wte.weight"][tokens] + w["wpe.weight"][: len(tokens)]
    for layer in range(LAYERS):
        h = f"h.{layer}"
        mixed = norm(x, f"{h}.ln_1") @ w[f"{h}.attn.c_attn.weight"] + w[f"{h}.attn.c_attn.bias"]
        heads = []
        for head in range(HEADS):
            size = WIDTH // HEADS
            q, k, v = (part[:, head * size : (head + 1) * size] for part in mixed.split(WIDTH, dim=1))
            scores = q @ k.T / size**0.5
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
            heads.append(scores.softmax(-1) @ v)
        x = x + torch.cat(heads, 1) @ w[f"{h}.attn.c_proj.weight"] + w[f"{h}.attn.c_proj.bias"]
        wide = norm(x, f"{h}.ln_2") @ w[f"{h}.mlp.c_fc.weight"] + w[f"{h}.mlp.c_fc.bias"]
        wide = 0.5 * wide * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (wide + 0.044715 * wide**3)))
        x = x + wide @ w[f"{h}.mlp.c_proj.weight"] + w[f"{h}.mlp.c_proj.bias"]
    return functional.linear(norm(x, "ln_f"), w["wte.weight"])


@pytest.mark.parametrize("task", [whole, adapted], ids=lambda task: task.name)
@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_a_gpt2_file_gives_the_model_that_it_was_written_from(task: TextTask, prefix: str) -> None:
    file, model = gpt2_file(prefix), task.model()
    pretrained.load(task, model, file)
    tokens = torch.arange(5, 17)
    with torch.no_grad():
        assert torch.allclose(model(tokens[None])[0], gpt2_scores(file, tokens), atol=1e-4)


@pytest.fixture(scope="module")
def start() -> Start:
    """The genesis of the task with adapters."""
    return start_of(adapted, weights=gpt2_file())


def test_only_adapters_are_trained_and_the_manifest_carries_the_base(start: Start) -> None:
    assert not start.guessed
    assert {tensor.name.rpartition(".")[2] for tensor in start.manifest.tensors} == {"down", "up"}
    assert start.manifest.elements == LAYERS * 2 * (WIDTH + 3 * WIDTH + 2 * WIDTH + 2 * 5 * WIDTH)
    carried = start.state.model(start.manifest, start.files)
    assert np.array_equal(carried["blocks.1.back.weight"], gpt2_file()["transformer.h.1.mlp.c_proj.weight"].T)
    assert np.array_equal(carried["tokens.weight"], gpt2_file()["transformer.wte.weight"])
    assert [entry.name for entry in start.manifest.files] == ["tokens.weight"], "the only large array"
    assert len(start.manifest.to_json()) < VOCABULARY * WIDTH * 4
    assert max(start.genesis.exponents) < 0


def test_training_leaves_the_base_alone_and_a_version_is_a_whole_model(start: Start) -> None:
    node.check_task(adapted, start.manifest)
    version = start.state.to_safetensors(start.manifest, 0, files=start.files)
    model = evaluation.model_of(adapted, evaluation.weights_of(version))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted.train(model, adapted.load(0, 50, 0), {**adapted.training, "seed": 1}, {})
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {tensor.name for tensor in start.manifest.tensors}
    start.manifest.flatten({name: value.numpy() for name, value in model.state_dict().items()})


def test_a_node_with_other_adapters_is_refused(start: Start) -> None:
    class Wider(Adapted):
        training: ClassVar[dict[str, Any]] = {**Adapted.training, "adapters": 3}

    with pytest.raises(TaskError, match="not the federation's"):
        node.check_task(Wider(), start.manifest)


def test_all_weights_of_a_file_are_the_start_of_a_model_that_is_trained() -> None:
    made = start_of(whole, weights=gpt2_file())
    assert made.manifest.carried == ()
    values = made.state.model(made.manifest)
    expected = gpt2_file()["transformer.wte.weight"].numpy()
    assert np.abs(values["tokens.weight"] - expected).max() < 2.0**-20


def without(name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in gpt2_file().items() if key != name}


@pytest.mark.parametrize(
    ("task", "file", "said"),
    [
        (whole, without("transformer.h.0.ln_1.bias"), r"lacks blocks\.0\.before_attention\.bias"),
        (adapted, without("transformer.wpe.weight"), r"lacks places\.weight"),
        (whole, {**gpt2_file(), "score.weight": torch.zeros(2)}, r"has the unknown score\.weight"),
        (whole, {"some.weight": torch.zeros(2)}, "lacks .* and 25 more"),
        (whole, {**gpt2_file(), "transformer.wpe.weight": torch.zeros(9, WIDTH)}, r"shape \[9, 24\]"),
        (whole, {**gpt2_file(), "lm_head.weight": torch.zeros(VOCABULARY, WIDTH)}, "not its table of tokens"),
    ],
)
def test_a_file_that_does_not_fit(task: TextTask, file: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        pretrained.load(task, task.model(), file)


def test_the_large_arrays_of_the_base_are_files_of_the_genesis(start: Start, tmp_path: Path) -> None:
    write(start, tmp_path)
    (entry,) = start.manifest.files
    path = FolderSource(tmp_path).fetch(entry.sha256, entry.size)
    assert np.array_equal(entry.open(path), gpt2_file()["transformer.wte.weight"])


def test_a_training_that_changes_the_base_is_refused(tmp_path: Path) -> None:
    class Careless(Adapted):
        def train(self, model: torch.nn.Module, data: Any, settings: dict[str, Any], memory: Any) -> int:
            with torch.no_grad():
                model.state_dict()["tokens.weight"].add_(1)
            return int(super().train(model, data, settings, memory))

    start = start_of(Careless(), weights=gpt2_file())
    with pytest.raises(TaskError, match="is not trained") as caught:
        write(start, tmp_path)
    assert caught.value.code == "base-changed"

    model = adapted.model()
    given = {"tokens.weight": gpt2_file()["transformer.wte.weight"].numpy()}
    pretrained.put_frozen(model, given)
    pretrained.require_frozen(model, given)
    Careless().train(model, adapted.load(0, 50, 0), {**adapted.training, "seed": 1}, {})
    with pytest.raises(TaskError, match="training changed the array") as caught:
        pretrained.require_frozen(model, given)
    assert caught.value.code == "base-changed"
    for wrong in ({"none": given["tokens.weight"]}, {"tokens.weight": given["tokens.weight"][:1]}):
        with pytest.raises(RuntimeError, match="no array"):
            pretrained.put_frozen(model, wrong)


def test_the_command_takes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(
        safetensors.torch.save({**gpt2_file(), "lm_head.weight": gpt2_file()["transformer.wte.weight"]})
    )
    words = ["task", "init", "--task", f"{__name__}:adapted", "--from", str(file)]
    assert run([*words, "--out", str(tmp_path / "genesis"), "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["parameters"] == 1536
    assert told["frozen"] == sum(value.numel() for value in gpt.from_gpt2(gpt2_file()).values())
    assert run([*words[:4], "--from", str(tmp_path / "none"), "--out", str(tmp_path / "other")]) == 1
    assert "can't be read" in capsys.readouterr().err
    assert (
        run(["task", "init", "--app", str(tmp_path), "--from", str(file), "--out", str(tmp_path / "other")])
        == 1
    )
    assert "initial_arrays are the start" in capsys.readouterr().err
