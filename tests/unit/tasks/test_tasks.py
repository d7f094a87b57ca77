# SPDX-License-Identifier: Apache-2.0
"""The shipped tasks learn, start from the same model everywhere, and are found by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from folkmoot.errors import TaskError
from folkmoot.tasks import Task, load_task, names, supervised


@pytest.mark.parametrize("name", [name for name in names() if not name.endswith("-private")])
def test_training_lowers_the_loss_on_all_data(name: str) -> None:
    task = load_task(name)
    model = task.model()
    before = task.evaluate(model)
    data = task.load(0, 1, 7)
    few = {"local_steps": 12, "batch_size": 4, "warmup_rounds": 0} if name == "text" else {}
    for seed in range(3):
        assert task.train(model, data, {**task.training, **few, "seed": seed}, {}) == len(data)
    after = task.evaluate(model)
    if name == "text":
        assert after["loss"] < before["loss"] - 0.8
        assert after["perplexity"] < before["perplexity"] / 2
        return
    assert after["loss"] < 0.8 * before["loss"]
    if "accuracy" in after:
        assert after["accuracy"] > before["accuracy"] + 0.2
    else:
        assert after["mae"] < 0.9 * before["mae"]


@pytest.mark.parametrize("name", names())
def test_the_initial_model_is_the_same_at_every_call(name: str) -> None:
    task = load_task(name)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    first, second = task.model().state_dict(), task.model().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state was used up"


@pytest.mark.parametrize("name", names())
def test_a_task_keeps_the_protocol(name: str) -> None:
    task = load_task(name)
    assert isinstance(task, Task)
    assert task.name == name


def test_training_again_gives_the_same_weights() -> None:
    task = load_task("digits")
    data = task.load(1, 3, 7)
    models = [task.model(), task.model()]
    for model in models:
        task.train(model, data, {**task.training, "seed": 5}, {})
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_steps_are_those_of_torch() -> None:
    """The hand-written optimizer is SGD with momentum and weight decay as torch has it."""
    task = load_task("digits")
    data = task.load(0, 1, 7)
    settings = {
        "local_steps": 7,
        "batch_size": 32,
        "learning_rate": 0.05,
        "momentum": 0.8,
        "weight_decay": 0.01,
    }
    ours, theirs = task.model(), task.model()
    supervised.train(ours, data, {**settings, "seed": 3})
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.8, weight_decay=0.01)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(3))
    for step in range(7):
        batch = order[32 * step : 32 * (step + 1)]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(theirs(data.inputs[batch]), data.labels[batch]).backward()
        optimizer.step()
    expected = theirs.state_dict()
    for name, value in ours.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name


def test_shares_of_a_task_are_disjoint_and_the_test_set_is_not_in_them() -> None:
    from folkmoot.tasks.digits import task

    test, train = task._split()
    assert set(test).isdisjoint(train)
    assert sum(len(task.load(share, 4, 7)) for share in range(4)) == len(train) - len(task.root("good"))


def test_training_settings_that_are_missing() -> None:
    task = load_task("digits")
    with pytest.raises(TaskError, match="batch_size"):
        task.train(task.model(), task.load(0, 1, 0), {"local_steps": 1}, {})


def test_an_unknown_task_says_which_there_are() -> None:
    with pytest.raises(
        TaskError,
        match=r"no task 'mnits'.*Did you mean 'mnist'\?.*breast-cancer, breast-cancer-private, diabetes, digits, "
        r"digits-private, mnist, mnist-private",
    ):
        load_task("mnits")


def test_a_task_whose_module_is_missing() -> None:
    with pytest.raises(TaskError, match="can't be imported"):
        load_task("no_such_module_here:task")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("hospital.py:task", "--task hospital:task"),
        ("./hospital.py", "--task hospital:task"),
        ("wards/hospital.py:Stay", "--task wards.hospital:Stay"),
        ("hospital", "--task hospital:task"),
        ("hospitla:task", "Did you mean --task hospital:task?"),
        ("hospital:tsak", "Write --task hospital:task."),
        ("elsewhere_entirely:task", "Start the command in the folder of elsewhere_entirely.py"),
        ("", "Name your own as package.module:object"),
    ],
)
def test_a_name_that_leads_nowhere_says_the_nearest(
    reference: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hospital.py").write_text("task = None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TaskError) as refused:
        load_task(reference)
    assert said in str(refused.value)


def test_an_object_that_is_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "half_a_task", SimpleNamespace(task=SimpleNamespace(name="x")))
    with pytest.raises(TaskError, match="has no training, model, load, train, evaluate"):
        load_task("half_a_task:task")


def test_ones_own_task_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_task_for_test.py").write_text(
        "class Own:\n"
        "    name, training = 'own', {}\n"
        "    def model(self): ...\n"
        "    def load(self, partition, partitions, seed): ...\n"
        "    def train(self, model, data, settings): return 0\n"
        "    def evaluate(self, model): return {}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_task("own_task_for_test:Own").name == "own"
    with pytest.raises(TaskError, match="has no 'Other'"):
        load_task("own_task_for_test:Other")


GOOD = """
class Task:
    name = "mine"
    training = {}
    def model(self): ...
    def load(self, partition, partitions, seed): ...
    def train(self, model, data, settings): ...
    def evaluate(self, model): ...

mine = Task()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a task in `my_task_here.py`; nothing of it is importable yet."""
    (tmp_path / "my_task_here.py").write_text(GOOD)
    (tmp_path / "package_here").mkdir()
    (tmp_path / "package_here" / "part.py").write_text(GOOD)
    (tmp_path / "broken_here.py").write_text("import math\n\ndef train(:\n")
    (tmp_path / "raising_here.py").write_text("import math\n\nmath.sqrt(-1)\n")
    (tmp_path / "needing_here.py").write_text("import no_such_package_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for name in ("my_task_here", "package_here", "package_here.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_a_task_in_the_current_folder(folder: Path) -> None:
    assert load_task("my_task_here:mine").name == "mine"
    assert load_task("package_here.part:Task").name == "mine"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (
            "my_task_here.py",
            "'my_task_here.py' is a file. Name a task by its module. Write --task my_task_here:mine.",
        ),
        ("./my_task_here.py:mine", "Name a task by its module. Write --task my_task_here:mine."),
        ("package_here/part.py", "Write --task package_here.part:mine."),
        ("gone.py", "is a path, but there is no such file. Name a task by its module"),
        ("my_task_here", "names a module without the task in it. Write --task my_task_here:mine."),
        (
            "my_task_her:mine",
            "Did you mean --task my_task_here:mine? Start the command in the folder of my_task_her.py",
        ),
        ("my_task_here:mien", "Module my_task_here has no 'mien'. Write --task my_task_here:mine."),
        ("broken_here:task", "SyntaxError: "),
        ("broken_here:task", "broken_here.py, line 3."),
        ("raising_here:task", "ValueError: math domain error. Correct "),
        ("raising_here:task", "raising_here.py, line 3."),
        ("needing_here:task", "No module named 'no_such_package_at_all'. Install the packages"),
        ("digit", "There is no task 'digit'. Did you mean 'digits'? Shipped tasks are"),
        ("my_task_here:Task.name", "is not a task: it has no "),
    ],
)
def test_a_task_that_is_named_wrongly_is_told_the_right_spelling(
    folder: Path, reference: str, said: str
) -> None:
    with pytest.raises(TaskError) as refused:
        load_task(reference)
    assert said in str(refused.value)


def test_a_file_elsewhere_is_named_with_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "package_here")
    with pytest.raises(TaskError) as refused:
        load_task("../my_task_here.py")
    assert str(refused.value).endswith(f"Write --task my_task_here:mine in the folder {folder}.")


@pytest.mark.parametrize(
    "command", [["task", "evaluate"], ["task", "evaluate", "--canary", "--coordinator", "http://127.0.0.1:9"]]
)
def test_commands_find_a_task_in_the_current_folder(folder: Path, command: list[str]) -> None:
    """Without PYTHONPATH, as a user starts them: what is missing is a model or a key, and not the task."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("folkmoot")), *command, "--task", "my_task_here:mine"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "can't be imported" not in done.stderr
    assert "There is no model." in done.stderr or "key" in done.stderr, done.stderr
