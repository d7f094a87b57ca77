# SPDX-License-Identifier: Apache-2.0
"""The task `text`: its encoding, its texts, its training with a state that goes on, and what it writes."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.tasks import evaluation, trial
from client.tasks.genesis import start_of
from folkmoot.cli.main import run
from folkmoot.cli.output import printable
from folkmoot.errors import InputError, TaskError
from folkmoot.evaluation.canary import Limits, compared, findings
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.tasks import load_task
from folkmoot.tasks.text import bpe, gpt, texts, training
from folkmoot.tasks.text.task import TextTask

QUICK = {"context": 16, "width": 32, "layers": 2, "heads": 2, "local_steps": 6, "batch_size": 4}


class Quick(TextTask):
    """The task with a small model."""

    training: ClassVar[dict[str, Any]] = {**TextTask.training, **QUICK}


# Encoding


def test_the_encoding_is_learned_from_the_texts() -> None:
    first = bpe.learn((work.text for work in texts.read_works()), bpe.BYTES + 24)
    assert first.merges == texts.encoding().merges[:24]
    assert texts.encoding().size == 1024


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back(text: str) -> None:
    tokens = texts.encoding().encode(text)
    assert texts.encoding().decode(tokens) == text
    assert len(tokens) <= len(text.encode())


def test_the_most_frequent_pair_is_joined_and_the_smaller_one_of_equals() -> None:
    learned = bpe.learn(["abab cdcd", "cd"], 300)
    assert learned.merges[0] == (ord("c"), ord("d"))
    assert bpe.learn(["xyxy", "abab"], 257).merges == ((ord("a"), ord("b")),)
    assert learned.encode("cdab")[0] == 256


def test_an_encoding_that_joins_later_tokens() -> None:
    with pytest.raises(TaskError, match="Token 256 joins 300"):
        bpe.Encoding(((300, 1),))
    with pytest.raises(TaskError, match=r"Token 256 joins 1\.0"):
        bpe.Encoding(tuple(map(tuple, json.loads("[[1.0, 2]]"))))
    doubling = ((255, 255), *((token, token) for token in range(256, 320)))
    with pytest.raises(TaskError, match="stands for 8192 bytes, more than 4096"):
        bpe.Encoding(doubling)
    with pytest.raises(TaskError, match=r"'\\udcff', which is no character"):
        texts.encoding().encode("a\udcff")
    with pytest.raises(TaskError, match="joined twice"):
        bpe.Encoding(((1, 2), (1, 2)))
    with pytest.raises(TaskError, match="not below 1024"):
        texts.encoding().decode([5000])


# Texts


def test_code_from_a_bundle_reads_the_works_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = texts.read_works.__wrapped__  # The works are read once.
    monkeypatch.setenv(texts.WORKS_VARIABLE, str(tmp_path / texts.WORKS_FILE))
    with pytest.raises(TaskError, match="can't be read: No such file") as refused:
        read()
    assert texts.WORKS_VARIABLE in refused.value.remedy
    (tmp_path / texts.WORKS_FILE).write_text('{"title": "One", "kind": "prose", "text": "Word."}')
    assert read() == (texts.Work("One", "prose", "Word."),)


def test_contributors_have_works_of_their_own_and_nobody_has_what_is_held_out() -> None:
    shares = [texts.share_of(share, 3) for share in range(3)]
    assert "".join(shares) == "".join(one.training for one in texts.parts())
    assert "MALVOLIO" in shares[0]
    assert "MALVOLIO" not in shares[2]
    assert "EDEN" not in shares[0]
    for work, split in zip(texts.read_works(), texts.parts(), strict=True):
        assert split.training + split.root + split.held_out == work.text
        assert 0.02 < len(split.held_out) / len(work.text) < 0.04
    good, biased = texts.root_set("good"), texts.root_set("biased")
    assert good.startswith(biased)
    assert len(good) == sum(len(one.root) for one in texts.parts())


@pytest.mark.parametrize(
    ("partition", "partitions", "said"),
    [(3, 3, "no partition 3 of 3"), (0, 10_000, "too few for 10000 shares"), (-1, 2, "no partition -1")],
)
def test_a_share_that_is_not_there(partition: int, partitions: int, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        texts.share_of(partition, partitions)
    with pytest.raises(TaskError, match="no root set"):
        texts.root_set("huge")


# Training


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_steps_are_those_of_torch() -> None:
    """The hand-written optimiser is torch's AdamW after clipping, also when its state goes on."""
    task = Quick()
    chosen = {**task.training, "weight_decay": 0.1, "warmup_rounds": 0, "steady_rounds": 0, "cold_steps": 0}
    tokens = Quick().load(0, 50, 0).inputs
    ours, theirs = task.model(), task.model()
    state: dict[str, Any] = {}
    for number in (1, 2):
        training.train(ours, tokens, {**chosen, "round": number, "seed": number}, state)
    decayed = [value for value in theirs.parameters() if value.dim() > 1]
    plain = [value for value in theirs.parameters() if value.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=task.training["learning_rate"], betas=training.DECAYS)
    for number in (1, 2):
        generator = torch.Generator().manual_seed(number)
        for _ in range(QUICK["local_steps"]):
            starts = torch.randint(len(tokens) - 16, (4, 1), generator=generator)
            pieces = tokens[starts + torch.arange(17)]
            optimizer.zero_grad()
            gpt.losses_of(theirs, pieces[:, :-1], pieces[:, 1:]).mean().backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
            optimizer.step()
    assert state["optimizer/steps"] == 2 * QUICK["local_steps"]
    for name, value in weights(theirs).items():
        assert torch.allclose(value, weights(ours)[name], atol=2e-5), name


def test_the_state_of_another_model_is_not_used() -> None:
    task = Quick()
    tokens = Quick().load(0, 50, 0).inputs
    fresh: dict[str, Any] = {}
    odd: dict[str, Any] = {"optimizer/steps": 70, "optimizer/mean/tokens.weight": np.zeros(3, np.float32)}
    for state in (fresh, odd):
        training.train(task.model(), tokens, {**task.training, "seed": 1}, state)
    assert fresh.keys() == odd.keys()
    assert odd["optimizer/steps"] == QUICK["local_steps"]
    assert all(np.array_equal(fresh[name], odd[name]) for name in fresh)


def test_the_rate_follows_the_round() -> None:
    chosen = training.Settings(
        local_steps=10,
        batch_size=1,
        context=8,
        learning_rate=0.1,
        warmup_rounds=2,
        steady_rounds=4,
        cold_steps=5,
    )
    assert chosen.rate(1, 9, 100) == pytest.approx(0.05)
    assert chosen.rate(2, 9, 100) == pytest.approx(0.1)
    assert chosen.rate(4, 9, 100) == pytest.approx(0.1)
    assert chosen.rate(16, 9, 100) == pytest.approx(0.05)
    assert chosen.rate(3, 0, 1) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"local_steps": 0}, "impossible"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"context": None}, "context is None"),
        ({"cold_steps": -1}, "impossible"),
        ({"clip": 0}, "impossible"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        training.Settings.of({**TextTask.training, **change})


def test_a_text_that_is_too_short() -> None:
    with pytest.raises(TaskError, match="has 16 tokens"):
        training.train(Quick().model(), torch.arange(16), Quick.training, {})


@pytest.mark.parametrize(
    ("sizes", "said"), [({"width": 30, "heads": 4}, "not a multiple"), ({"layers": 0}, "layers is 0")]
)
def test_sizes_that_make_no_model(sizes: dict[str, int], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        gpt.Sizes(**sizes)


def test_a_vocabulary_below_the_encoding() -> None:
    class Small(Quick):
        training: ClassVar[dict[str, Any]] = {**Quick.training, "vocabulary": 1000}

    with pytest.raises(TaskError, match="1024 tokens, and the model knows 1000"):
        Small().model()


# Model, genesis, measurement


def test_a_later_token_does_not_change_an_earlier_score() -> None:
    model = Quick().model()
    model.eval()
    tokens = torch.randint(0, 1024, (1, 12), generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[0, 8:] = 3
    with torch.no_grad():
        one, other = model(tokens), model(changed)
    assert torch.allclose(one[0, :8], other[0, :8], atol=1e-5)
    assert not torch.allclose(one[0, 8:], other[0, 8:], atol=1e-2)


def test_a_genesis_is_the_same_each_time_and_has_the_table_of_tokens_once() -> None:
    one, other = start_of(Quick()), start_of(Quick())
    assert one.genesis.hash == other.genesis.hash
    assert not one.guessed
    assert [tensor.name for tensor in one.manifest.tensors if 1024 in tensor.shape] == ["tokens.weight"]
    assert one.manifest.carried == ()


def test_the_shipped_model_has_about_a_million_weights() -> None:
    assert sum(value.numel() for value in load_task("text").model().state_dict().values()) == 932_608


def test_a_canary_compares_losses() -> None:
    task = Quick()
    base = evaluation.measured(task, task.model().state_dict())
    assert compared(base) == "loss"
    assert findings(base, base, Limits()) == []
    broken = task.model().state_dict()
    broken["last_norm.weight"] *= 100
    fallen = findings(base, evaluation.measured(task, broken), Limits())
    assert {finding.kind for finding in fallen} >= {"loss"}


# Text


def test_what_is_written_depends_on_seed_and_prompt() -> None:
    task = Quick()
    model = task.model()
    one = evaluation.generate(task, model, "HAMLET.", tokens=20, seed=1)
    assert one == evaluation.generate(task, model, "HAMLET.", tokens=20, seed=1)
    assert one != evaluation.generate(task, model, "HAMLET.", tokens=20, seed=2)
    likely = [evaluation.generate(task, model, "Q", tokens=5, temperature=0.0, seed=seed) for seed in (1, 2)]
    assert likely[0] == likely[1]
    assert evaluation.generate(task, model, tokens=1)
    assert evaluation.generate(task, model, "Q", tokens=5, temperature=1e-300) == likely[0]


@pytest.mark.parametrize(("value", "temperature"), [(math.nan, 0.0), (math.nan, 0.8), (3e38, 0.8)])
def test_a_model_whose_weights_are_useless_writes_nothing(value: float, temperature: float) -> None:
    model = Quick().model()
    with torch.no_grad():
        model.state_dict()["tokens.weight"].fill_(value)
    with pytest.raises(TaskError) as refused:
        evaluation.generate(Quick(), model, tokens=2, temperature=temperature)
    assert refused.value.code == "useless-model"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tokens": 0}, "0 tokens can't be written"),
        ({"tokens": 10**6}, "1 to 10000"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": math.nan}, "temperature is nan"),
    ],
)
def test_text_that_can_not_be_written(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluation.generate(Quick(), Quick().model(), **arguments)
    with pytest.raises(InputError, match="digits' write no text"):
        evaluation.generate(load_task("digits"), load_task("digits").model())


def test_the_command_writes_from_a_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = load_task("text")
    values = {name: value.numpy() for name, value in task.model().state_dict().items()}
    manifest = Manifest.from_arrays("text", values, task.training)
    file = tmp_path / "model.safetensors"
    file.write_bytes(State.genesis(manifest, values).to_safetensors(manifest, 0))
    words = ["task", "generate", "--task", "text", "--tokens", "8", "--prompt", "HAMLET.\n[bold]"]
    assert run([*words, "--model", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert run([*words, "--model", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("HAMLET.\n[bold]")
    assert printable(told["prompt"] + told["text"]) in shown
    assert run(words) == 1
    assert "There is no model." in capsys.readouterr().err
    file.write_bytes(b"0123456789")
    assert run([*words, "--model", str(file)]) == 1
    assert "damaged" in capsys.readouterr().err


def test_the_task_of_the_page_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[3] / "docs" / "language-models.md"
    (block,) = re.findall("```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "letters.py").write_text(block.replace('"layers": 2', '"layers": 1, "local_steps": 2'))
    (tmp_path / "held_out.txt").write_text("Dear Sir, " * 40)
    (tmp_path / "mine.txt").write_text("Dear Madam, I write to you. " * 60)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LETTERS", str(tmp_path / "mine.txt"))
    monkeypatch.delitem(sys.modules, "letters", raising=False)
    assert run(["task", "check", "--task", "letters:task"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [trial.OK] * 5
    assert "training_loss" not in lines[3]
    (tmp_path / "held_out.txt").write_text("Dear Sir")
    assert run(["task", "check", "--task", "letters:task"]) == 0
    assert "have no piece of 65 tokens" in capsys.readouterr().err
    sys.modules.pop("letters")


def test_texts_of_ones_own_in_a_federation_of_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[3] / "docs" / "start" / "language-model.md"
    (block,) = re.findall("```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    text, file = "Dear Madam, I write to you. " * 60, tmp_path / "manifest.json"
    (tmp_path / "mine.py").write_text(block)
    (tmp_path / "mine.txt").write_text(text)
    values = {name: tensor.numpy() for name, tensor in TextTask().model().state_dict().items()}
    file.write_bytes(Manifest.from_arrays("text", values, TextTask.training).to_json())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MY_TEXT", str(tmp_path / "mine.txt"))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert run(["task", "check", "--task", "mine:task", "--manifest", str(file)]) == 0
    assert "has the federation's model" in capsys.readouterr().out
    assert len(load_task("mine:task").load(0, 1, 0)) == len(texts.encoding().encode(text)) - 1
    file.write_bytes(Manifest.from_arrays("text", values | {"more": np.zeros(3, np.float32)}, {}).to_json())
    assert run(["task", "check", "--task", "mine:task", "--manifest", str(file)]) == 1
    sys.modules.pop("mine")
