# SPDX-License-Identifier: Apache-2.0
"""Only the bundle that was checked is loaded, from a folder that no earlier task has seen."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import sys
import time
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from flwr.clientapp import utils
from flwr.supercore.constant import TaskType
from flwr.supercore.exit import exit_handler
from flwr.supercore.superexec.executor import ExecutionSpec
from flwr.supercore.superexec.executor.types import LaunchResultStatus
from flwr.supernode.runtime import run_clientapp as runtime

from client.node import executor as executor_module
from client.node import task as tasks
from client.node.executor import Running, TrainingExecutor
from client.node.task import Task
from folkmoot.errors import InputError
from folkmoot.flower.contributor import MEMORY_VARIABLE
from folkmoot.sandbox.kernel import support
from folkmoot.sandbox.rules import Rules
from folkmoot.tasks.text.texts import WORKS_VARIABLE
from tests import leftovers

ROOT = Path(__file__).resolve().parents[3]

CONTENT = b"a bundle"
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("version", ["1.0.0", "1/../../../evil"])
def test_flower_loads_what_was_unpacked_whatever_the_superlink_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    places: list[Any] = []

    def run_clientapp(**_: Any) -> None:
        runtime.install_from_fab(CONTENT, skip_prompt=True)  # type: ignore[attr-defined]
        places.extend(module.get_project_dir("a/b", version, "cd" * 32) for module in (runtime, utils))

    unpacked = tmp_path / "unpacked"
    monkeypatch.setattr(runtime, "install_from_fab", lambda *_, **__: unpacked)
    monkeypatch.setattr(runtime, "run_clientapp", run_clientapp)
    for module in (runtime, utils):
        monkeypatch.setattr(module, "get_project_dir", module.get_project_dir)
    monkeypatch.setattr(tasks, "BUNDLED", frozenset())
    for name in ("FLWR_HOME", MEMORY_VARIABLE, WORKS_VARIABLE):
        monkeypatch.setitem(os.environ, name, "")
    np.random.seed(1)
    same = np.random.random()
    np.random.seed(1)
    tasks.run(Task("127.0.0.1:9", "token", HASH, HASH, str(tmp_path), "/kept"))
    assert np.random.random() != same, "a fork must not draw what another fork draws"
    assert os.environ[MEMORY_VARIABLE] == "/kept"
    assert Path(os.environ[WORKS_VARIABLE]).is_file(), "a bundle has no texts"
    assert places == [unpacked, unpacked]
    with pytest.raises(InputError, match="runs only"):
        tasks.run(Task("127.0.0.1:9", "token", None, "ef" * 32, str(tmp_path), ""))


@pytest.mark.parametrize("jobs", [0, 1])
@pytest.mark.parametrize("fails", [False, True])
def test_training_that_goes_on_begins_after_the_supernode_knows_that_the_task_has_ended(
    monkeypatch: pytest.MonkeyPatch, jobs: int, fails: bool
) -> None:
    done: list[str] = []

    def leave(code: int) -> NoReturn:
        done.append(f"leave {code}")
        raise SystemExit(code)

    def train_on() -> None:
        done.append("train")
        if fails:
            raise MemoryError

    monkeypatch.setattr(exit_handler, "registered_exit_handlers", [])
    exit_handler.add_exit_handler(lambda: done.append("told"))
    module = SimpleNamespace(waits=lambda: bool(jobs), train_on=train_on)
    monkeypatch.setitem(sys.modules, "folkmoot.flower.eager", module)
    with pytest.raises(SystemExit):
        tasks._after_work(leave)(0)
    assert done == (["told", "train", "leave 0"] if jobs else ["leave 0"])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Tasks that an executor has started; none of them runs."""
    made: list[SimpleNamespace] = []

    def start(_: TrainingExecutor, task: Task) -> Running:
        made.append(SimpleNamespace(folder=Path(task.flower_home), over=False))
        one = made[-1]
        return Running(lambda: one.over, lambda: None)

    monkeypatch.setattr(TrainingExecutor, "_start", start)
    return made


def spec(fab_hash: str | None, word: str = "anything") -> ExecutionSpec:
    return ExecutionSpec(
        TaskType.CLIENT_APP, "127.0.0.1:9", word, True, None, False, None, False, 1, fab_hash
    )


def test_each_task_unpacks_into_a_folder_of_its_own(tmp_path: Path, started: list[SimpleNamespace]) -> None:
    executor = TrainingExecutor(tmp_path, tmp_path / "memory", pinned=HASH, fork=False)
    (tmp_path / HASH / "apps" / "planted").mkdir(parents=True)
    for _ in range(2):
        assert executor.launch(spec(HASH)).status is LaunchResultStatus.ACCEPTED
        assert list(started[-1].folder.iterdir()) == []
    first, second = (one.folder for one in started)
    assert {first, second} == set((tmp_path / HASH).iterdir()), "what is planted is gone, what runs is kept"
    started[0].over = True
    executor.launch(spec(HASH))
    assert {second, started[2].folder} == set((tmp_path / HASH).iterdir())


def test_a_task_gets_the_memory_of_its_own_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Rules] = []

    def start(_: object, task: Task, rules: Rules) -> Running:
        given.append(rules)
        return Running(lambda: True, lambda: None)

    monkeypatch.setattr(executor_module, "_start_in_sandbox", start)
    memories = tmp_path / "memory"
    executor = TrainingExecutor(tmp_path / "bundles", memories, Rules(), fork=False)
    for number, bundle in enumerate((HASH, "ef" * 32, HASH, "01" * 32)):
        assert executor.launch(spec(bundle)).status is LaunchResultStatus.ACCEPTED
        ours = [path for path in given[-1].writable if Path(path).is_relative_to(memories)]
        assert ours == [str(memories / bundle)]
        assert (memories / bundle).stat().st_mode & 0o077 == 0
        (memories / bundle / f"{number}").touch()
    assert {path.name for path in memories.iterdir()} == {HASH, "01" * 32}, "the oldest bundle's are gone"
    assert {path.name for path in (memories / HASH).iterdir()} == {"0", "2"}


def test_a_bundle_can_not_push_the_running_one_out(tmp_path: Path, started: list[SimpleNamespace]) -> None:
    """Training code can set the time of its folder, and a clock may go back."""
    for number in range(3):
        (tmp_path / f"{number:064x}").mkdir()
        os.utime(tmp_path / f"{number:064x}", (2**33 + number, 2**33 + number))
    (tmp_path / HASH).mkdir()
    (tmp_path / HASH / "kept").touch()
    executor = TrainingExecutor(tmp_path / "bundles", tmp_path, fork=False)
    assert executor.launch(spec(HASH)).status is LaunchResultStatus.ACCEPTED
    assert (tmp_path / HASH / "kept").exists()
    assert not (tmp_path / f"{0:064x}").exists()


@pytest.mark.parametrize("limit", ["disk", "files"])
def test_what_several_tasks_pile_up_is_removed(
    tmp_path: Path, started: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    if limit == "files":
        monkeypatch.setattr(executor_module, "FILES", 1)
    executor = TrainingExecutor(
        tmp_path / "bundles", tmp_path, Rules(disk=100_000 if limit == "disk" else 1 << 30), fork=False
    )
    (tmp_path / HASH).mkdir()
    for number, there in ((1, True), (2, False)):
        (tmp_path / HASH / f"{number}.memory").write_bytes(bytes(60_000))
        assert executor.launch(spec(HASH)).status is LaunchResultStatus.ACCEPTED
        assert (tmp_path / HASH / f"{number}.memory").exists() == there


@pytest.mark.parametrize("fab_hash", [None, "", "../evil"])
def test_a_pinned_node_starts_no_bundle_without_a_hash(
    tmp_path: Path, started: list[SimpleNamespace], fab_hash: str | None
) -> None:
    executor = TrainingExecutor(tmp_path, tmp_path / "memory", pinned=HASH, fork=False)
    assert executor.launch(spec(fab_hash)).status is LaunchResultStatus.FAILED
    assert started == []


def run_to_the_end(executor: TrainingExecutor) -> None:
    end = time.monotonic() + 100
    while executor.busy and time.monotonic() < end:
        select.select([], [], [], 0.02)
        executor.reconcile()
    assert not executor.busy


@pytest.mark.skipif(bool(support().missing), reason="there is no sandbox here")
def test_a_message_finds_nothing_that_an_earlier_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "run_in_sandbox", leftovers.run_in_sandbox)
    memories = tmp_path / "memory"
    executor = TrainingExecutor(tmp_path / "bundles", memories, Rules(readable=(str(ROOT),)))

    def found(bundle: str, token: str) -> dict[str, Any]:
        assert executor.launch(spec(bundle, token)).status is LaunchResultStatus.ACCEPTED
        run_to_the_end(executor)
        return dict(json.loads((memories / bundle / leftovers.FOUND).read_text()))

    left = found(HASH, leftovers.LEAVE)
    with pytest.raises(ProcessLookupError):
        os.kill(left["pid"], 0)
    server = vars(forkserver)["_forkserver"]._forkserver_pid
    os.kill(server, signal.SIGKILL)  # The next message starts another.
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    for bundle in (HASH, "ef" * 32):
        seen = found(bundle, leftovers.LOOK)
        assert seen == dict.fromkeys(seen, False)


@pytest.mark.skipif(bool(support().missing), reason="there is no sandbox here")
def test_whatever_a_message_leaves_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "run_in_sandbox", leftovers.run_in_sandbox)
    bundles, memories = tmp_path / "bundles", tmp_path / "memory"
    executor = TrainingExecutor(bundles, memories, Rules(readable=(str(ROOT),)))
    for token in (*(f"{leftovers.RUIN}{seed}" for seed in range(2)), leftovers.LOOK):
        answer = executor.launch(spec(HASH, token))
        assert answer.status is LaunchResultStatus.ACCEPTED, answer
        run_to_the_end(executor)
    assert (memories / HASH / leftovers.FOUND).exists()
    assert len(list((bundles / HASH).iterdir())) == 1, "the folders of the other messages are gone"


def test_no_error_of_a_message_ends_the_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise RecursionError("hostile")

    executor = TrainingExecutor(tmp_path, tmp_path / "memory", fork=False)
    monkeypatch.setattr(TrainingExecutor, "_start", lambda *_: Running(lambda: True, fail))
    assert executor.launch(spec(HASH)).status is LaunchResultStatus.ACCEPTED
    executor.reconcile()
    assert not executor.busy
    monkeypatch.setattr(TrainingExecutor, "_start", fail)
    assert executor.launch(spec(HASH)).status is LaunchResultStatus.FAILED
