# SPDX-License-Identifier: Apache-2.0
"""A task is tried once before a federation starts, and what is wrong with it is said with file, line and remedy."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from client.tasks import trial
from folkmoot.cli.main import run
from folkmoot.errors import TaskError
from folkmoot.tasks import Data, load_task, names
from folkmoot.tasks.private import warnings_of

GOOD = {
    "training": '{"local_steps": 4, "batch_size": 8, "learning_rate": 0.05}',
    "model": """
        torch.manual_seed(0)
        return torch.nn.Linear(3, 1)
    """,
    "load": """
        torch.manual_seed(1)
        inputs = torch.rand(40, 3)
        return Data(inputs, inputs.sum(dim=1))
    """,
    "train": """
        optimizer = torch.optim.SGD(model.parameters(), lr=settings["learning_rate"])
        for _ in range(settings["local_steps"]):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(data.inputs)[:, 0], data.labels).backward()
            optimizer.step()
        return len(data)
    """,
    "evaluate": """
        return {"loss": 0.5}
    """,
    "examine": """
        return HeldOutPredictions(targets=[1.0, 2.0], predictions=[1.5, 2.0], groups=["a", "b"])
    """,
}
ARGUMENTS = {
    "model": "self",
    "load": "self, partition, partitions, seed",
    "train": "self, model, data, settings",
    "evaluate": "self, model",
    "examine": "self, model",
}


class Written:
    """A module with a task, written into a folder that can be imported from."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "own_task_on_trial.py"

    def steps(self, **changes: str | None) -> list[trial.Step]:
        parts = {**GOOD, **changes}
        lines = [
            "import os",
            "import numpy as np",
            "import torch",
            "from folkmoot.tasks import Data, HeldOutPredictions",
        ]
        lines += ["class Own:", "    name = 'own'", f"    training = {parts.pop('training')}"]
        for method, body in parts.items():
            if body is not None:
                lines.append(f"    def {method}({ARGUMENTS[method]}):")
                lines += [f"        {line}" for line in dedent(body).strip().splitlines()]
        self.file.write_text("\n".join(lines) + "\n")
        sys.modules.pop(self.file.stem, None)
        importlib.invalidate_caches()
        return list(trial.steps(load_task(f"{self.file.stem}:Own")))

    def refusal(self, **changes: str | None) -> str:
        with pytest.raises(TaskError) as refused:
            self.steps(**changes)
        assert refused.value.remedy
        return str(refused.value)

    def line(self, text: str) -> str:
        """How a message names the line with this text."""
        for number, line in enumerate(self.file.read_text().splitlines(), 1):
            if text in line:
                return f"{self.file.name}, line {number}: `{line.strip()}`"
        raise AssertionError(text)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the same file is written several times a second
    yield Written(tmp_path)
    sys.modules.pop("own_task_on_trial", None)


@pytest.mark.parametrize("name", names())
def test_shipped_tasks_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task(name)
    if name == "text":
        monkeypatch.setitem(task.training, "local_steps", 2)
    made = list(trial.steps(task))
    assert [step.name for step in made] == ["model", "data", "train", "evaluate", "predictions"]
    assert {step.state for step in made} == {trial.OK}


def test_a_task_that_works_says_what_it_does(own: Written) -> None:
    said = [step.result for step in own.steps()]
    assert said[0] == "4 values in 2 tensors, the same at two calls."
    assert said[1] == "40 examples, inputs [40, 3], labels [40]."
    assert said[2].startswith("40 examples in ")
    assert said[2].endswith("2 of 2 tensors changed.")
    assert said[3:] == ["loss 0.5.", "regression, 2 examples, 2 groups, the worst is a."]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "return torch.nn.Linear(3, 1)"}, "Two calls of the method model of the task 'own' give different"),
        ({"model": "return torch.nn.Linear(3, 1)"}, "torch.manual_seed(0)"),
        ({"model": "return None"}, "returned None. model() returns the initial torch.nn.Module"),
        ({"model": "return dict(a=1)"}, "returned an object of the type dict"),
        (
            {"model": "made = torch.nn.Linear(3, 1)\nmade.weight.data.fill_(float('nan'))\n"
                      "made.bias.data.fill_(0.0)\nreturn made"},
            "not finite: weight",
        ),
        ({"training": "[('local_steps', 1)]"}, "`training` is a dict"),
        ({"training": "{'local_steps': 4, 'learning_rate': 0.05, 'split_seed': 'x'}"}, "split_seed"),
        ({"load": "return None"}, "load of the task 'own' returned None"),
        ({"load": "return []"}, "no examples"),
        ({"train": "model.weight.data += 1"}, "returned None. It returns the number of examples, an int"),
        ({"train": "model.weight.data += 1\nreturn 40.0"}, "returned 40.0"),
        ({"train": "model.weight.data += 1\nreturn True"}, "returned True"),
        ({"train": "model.weight.data += 1\nreturn np.int64(40)"}, "type int64"),
        ({"train": "model.weight.data += 1\nreturn 0"}, "returned 0"),
        ({"train": "return len(data)"}, "changed nothing in the model. Train the model that is given, not a copy"),
        ({"train": "model.weight.data *= float('nan')\nreturn 1"}, "has values that are not finite: weight"),
        ({"train": "model.more = torch.nn.Linear(1, 1)\nreturn 1"}, "Build every layer in the method model"),
        ({"evaluate": "return 0.5"}, "returned an object of the type float. evaluate(model) returns a dict"),
        ({"evaluate": "return {'loss': torch.tensor(0.5)}"}, "returned 'loss': an object of the type Tensor"),
        ({"evaluate": "return {'loss': torch.tensor(0.5)}"}, ".item()"),
        ({"evaluate": "return {'loss': np.float32(0.5)}"}, ".item()"),
        ({"evaluate": "return {1: 0.5}"}, "Return a dict from str to float"),
        ({"examine": "return {'labels': []}"}, "must return a folkmoot.tasks.HeldOutPredictions"),
        ({"examine": "return HeldOutPredictions([0.5], [0.5])"}, "Give them as targets="),
        ({"examine": "return HeldOutPredictions(targets=[1.0], predictions=[1.0, 2.0])"}, "one of each"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(own: Written, changes: dict[str, str], said: str) -> None:
    assert said in own.refusal(**changes)


@pytest.mark.parametrize(
    ("method", "body", "exception", "culprit", "remedy"),
    [
        ("model", "return torch.nn.Liner(3, 1)", "AttributeError", "Liner", "model() returns"),
        ("load", "return Data(inputs, labels)", "NameError: name 'inputs'", "Data(inputs, labels)", "load(partition"),
        (
            "load", "inputs = torch.rand(40, 5)\nreturn Data(inputs, inputs[:, 0])", "RuntimeError: mat1 and mat2",
            "mse_loss", "must have the shape of the data; load returned 40 examples, inputs [40, 5], labels [40]",
        ),
        (
            "load", "return Data(torch.rand(40, 3).double(), torch.rand(40))", "RuntimeError", "mse_loss",
            "inputs as float32",
        ),
        (
            "train", "size = settings['momentum']\nreturn 1", "KeyError: 'momentum'", "settings['momentum']",
            "add it to the task's `training`, which has batch_size, learning_rate, local_steps",
        ),
        ("train", "raise SystemExit(3)", "SystemExit: 3", "raise SystemExit", "train(model, data, settings, memory)"),
        ("evaluate", "return {'loss': 1 / 0}", "ZeroDivisionError", "1 / 0", "evaluate(model) returns"),
        ("examine", "return np.zeros(3)[7]", "IndexError", "[7]", "examine(model) returns"),
    ],
)  # fmt: skip
def test_an_exception_is_said_with_its_file_and_line(
    own: Written, method: str, body: str, exception: str, culprit: str, remedy: str
) -> None:
    said = own.refusal(**{method: body})
    assert exception in said
    assert own.line(culprit) in said
    assert remedy in said


def test_a_method_with_other_arguments(own: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARGUMENTS, "train", "self, model, data")
    said = own.refusal(train="return 1")
    assert "takes 3 positional arguments but 4 were given" in said
    assert "train(model, data, settings, memory) trains" in said


KEEPING = """
    model.weight.data += 1
    memory["calls"] = memory.get("calls", 0) + 1
    memory["rounds"] = np.append(memory.get("rounds", []), settings["round"])
    if memory["calls"] == 2:
        assert memory["rounds"].tolist() == [1, 2]
        {second}
    return len(data)
"""


def test_a_task_that_keeps_something_is_trained_twice(own: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARGUMENTS, "train", "self, model, data, settings, memory")
    (train,) = (step for step in own.steps(train=KEEPING.format(second="pass")) if step.name == "train")
    assert train.result.endswith("Trained again with the 2 values that it keeps for the next round.")
    assert "raised RuntimeError: second" in own.refusal(
        train=KEEPING.format(second="raise RuntimeError('second')")
    )
    said = own.refusal(train='memory["model"] = model')
    assert "can't keep 'model', an object of the type Linear" in said
    assert "Keep arrays of numbers, tensors, int, float" in said


@pytest.mark.parametrize(
    "body",
    [
        "return open('no/such/file')",
        "return os.environ['NO_SUCH_VARIABLE_HERE']",
        "raise RuntimeError('Dataset not found. You can use download=True to download it')",
        "import no_such_package_here",
    ],
)
def test_without_data_on_this_machine_it_goes_on_with_a_warning(own: Written, body: str) -> None:
    made = own.steps(load=body)
    assert [step.state for step in made] == [trial.OK, trial.WARNING, trial.SKIPPED, trial.OK, trial.OK]
    assert own.line(body) in made[1].result
    both = own.steps(load=body, evaluate=body, examine=body)
    assert [step.state for step in both][3:] == [trial.WARNING, trial.WARNING]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            "torch.utils.data.DataLoader(torch.rand(8, 3))",
            "an object of the type DataLoader and the length 8, dataset [8, 3].",
        ),
        ("(torch.rand(8, 3), torch.rand(8))", "0 [8, 3], 1 [8]."),
        ("torch.rand(8, 3)", "an object of the type Tensor and the length 8, [8, 3]."),
        ("Stream()", "an object of the type Stream."),
        ("iter([1])", "an object of the type list_iterator."),
        ("[torch.rand(3)] * 8", "an object of the type list and the length 8."),
    ],
)
def test_data_of_any_form_are_described(own: Written, data: str, said: str) -> None:
    stream = "class Stream:\n    def __len__(self):\n        raise TypeError('endless')\n"
    made = own.steps(load=f"{stream}return {data}", train="model.weight.data += 1\nreturn 8")
    assert made[1].result == said


def test_a_state_that_is_no_tensor(own: Written) -> None:
    body = """
        class Odd(torch.nn.Linear):
            def get_extra_state(self):
                return {"a": 1}
            def set_extra_state(self, state):
                pass
        torch.manual_seed(0)
        return Odd(3, 1)
    """
    assert "not a tensor: _extra_state" in own.refusal(model=body)


def test_warnings_that_stop_nobody(own: Written) -> None:
    changed = own.steps(evaluate="model.weight.data += 1\nreturn {'loss': 0.5}")[3]
    assert (changed.state, "model.eval()" in changed.result) == (trial.WARNING, True)
    assert own.steps(evaluate="return {'loss': float('nan')}")[3].state == trial.WARNING
    assert "nothing to compare" in own.steps(evaluate="return {'error': 1.0}", examine=None)[4].result
    assert own.steps(examine=None)[4].state == trial.SKIPPED
    tiny = "return HeldOutPredictions(targets=[1e-6, 2e-6], predictions=[0.0, 0.0])"
    assert "smaller unit" in own.steps(examine=tiny)[4].result
    odd = "return HeldOutPredictions(targets=[1.0, 2.0], predictions=[float('nan'), 0.0])"
    assert "1 examples have no finite loss" in own.steps(examine=odd)[4].result


def test_the_commands_try_a_task_and_write_nothing_for_a_broken_one(
    own: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own.steps()
    words = ["--task", "own_task_on_trial:Own"]
    assert run(["task", "init", *words, "--out", str(tmp_path / "genesis")]) == 0
    shown = capsys.readouterr()
    assert [line.split()[1] for line in shown.err.splitlines()] == [
        "model", "data", "train", "evaluate", "predictions",
    ]  # fmt: skip
    assert (tmp_path / "genesis" / "genesis.json").is_file()
    assert run(["task", "check", *words]) == 0
    assert capsys.readouterr().out == "The task own_task_on_trial:Own works here.\n"
    assert run(["task", "check", *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [step["state"] for step in told["tried"]] == [trial.OK] * 5
    own.refusal(train="return len(data)")
    sys.modules.pop(own.file.stem, None)
    assert run(["task", "init", *words, "--out", str(tmp_path / "other")]) == 1
    assert "changed nothing in the model" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_check_against_a_manifest(own: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own.steps()
    words = ["task", "check", "--task", "own_task_on_trial:Own"]
    assert run(["task", "init", *words[2:], "--out", str(tmp_path / "genesis"), "--json"]) == 0
    hash_ = json.loads((tmp_path / "genesis" / "genesis.json").read_bytes())["manifest"]
    manifest = str(tmp_path / "genesis" / hash_[:2] / hash_)
    capsys.readouterr()
    assert run([*words, "--manifest", manifest]) == 0
    assert "has the federation's model" in capsys.readouterr().out
    own.refusal(model="return torch.nn.Liner(3, 1)")
    sys.modules.pop(own.file.stem, None)
    assert run([*words, "--manifest", manifest]) == 1
    assert own.line("Liner") in capsys.readouterr().err
    assert run([*words, "--root", "good"]) == 1
    assert "Add --manifest" in capsys.readouterr().err


def test_copies_of_a_record_and_a_delta_that_is_too_large_are_warned_of() -> None:
    training = load_task("breast-cancer-private").training
    data = load_task("breast-cancer-private").load(0, 5, 7)
    assert warnings_of(data, training) == []
    copied = Data(
        torch.cat([data.inputs, data.inputs[:2], data.inputs[:1]]), data.labels[[*range(len(data)), 0, 1, 0]]
    )
    assert warnings_of(copied, {}) == [], "without privacy"
    (warned,) = warnings_of(copied, training)
    assert warned.startswith(
        f"3 of {len(copied)} records are copies of others, the most frequent one is there 3 times"
    )
    assert "10.98 instead of 3.00" in warned
    loose = {**training, "privacy": {**training["privacy"], "delta": 1e-3}}
    (warned,) = warnings_of(Data(data.inputs.repeat(1, 1), data.labels), loose)
    assert "delta is 0.001, and with" in warned


def test_a_private_task_is_told_of_copies_when_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("breast-cancer-private")
    data = task.load(0, 5, 7)
    twice = Data(data.inputs.repeat(2, 1), data.labels.repeat(2))
    monkeypatch.setattr(type(task), "load", lambda *_: twice)
    (step,) = (step for step in trial.steps(task) if step.name == "data")
    assert step.state == trial.WARNING
    assert "records are copies of others, the most frequent one is there 2 times" in step.result
