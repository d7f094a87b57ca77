# SPDX-License-Identifier: Apache-2.0
"""The names inside of Flower that Folkmoot uses are where we look for them, and no other module uses such names."""

from __future__ import annotations

import ast
import importlib
import inspect
import time
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import flwr
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common import FitIns, parameters_to_ndarrays

from folkmoot.runtime import flower_internals as internals

ROOT = Path(__file__).resolve().parents[3]

INTERFACE = {
    "flwr",
    "flwr.app",
    "flwr.clientapp",
    "flwr.clientapp.typing",
    "flwr.common",
    "flwr.common.constant",
    "flwr.server.client_manager",
    "flwr.server.server",
    "flwr.server.server_config",
    "flwr.server.workflow",
    "flwr.serverapp",
    "flwr.serverapp.strategy",
    "flwr.supercore",
    "flwr.supercore.constant",
    "flwr.supercore.superexec.executor",
}
"""Modules whose names Flower documents or means to be subclassed."""

RUN_CLIENTAPP = internals._TASK


def there(module: str, name: str, used: Any) -> Any:
    """Return what a module of Flower has under a name."""
    why = (
        f"Flower {flwr.__version__} has no {module}.{name} any more: change flower_internals.{used.__name__}."
    )
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:
        pytest.fail(why)
    assert hasattr(found, name), why
    return getattr(found, name)


def takes(function: Any, used: Any, *names: str) -> None:
    """Check that a function of Flower still has parameters."""
    missing = set(names) - set(inspect.signature(function).parameters)
    assert not missing, (
        f"{function.__module__}.{function.__name__} of Flower {flwr.__version__} has no parameter {missing}: "
        f"change flower_internals.{used.__name__}."
    )


def test_the_loop_that_takes_tasks_asks_a_name_of_its_module_for_the_executor() -> None:
    used = internals.run_superexec
    there(internals.SUPEREXEC, "get_executor", used)
    own = there(internals.SUPEREXEC, "run_superexec", used)
    takes(own, used, "runtime_api_address", "insecure", "superexec_auth_secret", "parent_pid")
    assert "get_executor(" in inspect.getsource(own), "the loop does not ask for its executor by this name"


@pytest.mark.parametrize(
    ("module", "used"),
    [(internals.SUPEREXEC, internals.run_superexec), (internals.SUPERNODE, internals.supernode)],
)
def test_a_loop_sleeps_by_a_clock_of_its_module(module: str, used: Any) -> None:
    """Otherwise nodes are slow again, without any other sign."""
    assert there(module, "time", used) is time
    assert "time.sleep(" in inspect.getsource(importlib.import_module(module))


def test_a_supernode_stores_a_message_by_a_name_of_its_module() -> None:
    there(internals.SUPERNODE, internals._MESSAGE_PULLED, internals.supernode)
    source = inspect.getsource(importlib.import_module(internals.SUPERNODE))
    assert f"run_id = {internals._MESSAGE_PULLED}(" in source, "its result is no longer that of the loop"
    assert callable(there("flwr.supernode.cli.flower_supernode", "flower_supernode", internals.supernode))


def test_a_task_unpacks_its_bundle_and_ends_by_names_of_its_module() -> None:
    used = internals.run_clientapp
    takes(
        there(RUN_CLIENTAPP, "run_clientapp", used),
        used,
        *("runtime_api_address", "token", "insecure", "parent_pid"),
    )
    source = inspect.getsource(importlib.import_module(RUN_CLIENTAPP))
    for name in ("install_from_fab", "flwr_exit"):
        there(RUN_CLIENTAPP, name, used)
        assert f"{name}(" in source, f"it does not call {name}, which holds the check of the bundle"
    there(RUN_CLIENTAPP, "get_project_dir", used)
    there("flwr.clientapp.utils", "get_project_dir", used)


def test_handlers_report_the_end_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    module, used = "flwr.supercore.exit.exit_handler", internals.report_end_of_task
    takes(there(module, "trigger_exit_handlers", used), used, "run_before_force_exit")
    there(module, "registered_exit_handlers", used)
    handlers = importlib.import_module(module)
    monkeypatch.setattr(handlers, "registered_exit_handlers", [])
    done: list[str] = []
    handlers.add_exit_handler(lambda: done.append("told"))
    internals.report_end_of_task()
    assert done == ["told"]


def identified(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the test change the identity of this process's task; return its holder."""
    identity = there("flwr.supercore.task_identity", "TaskIdentity", internals.take_identity)
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(identity, name, None)
    return identity


def test_a_reply_answers_the_message_that_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    identified(monkeypatch)
    internals.take_identity()
    message = Message(RecordDict(), 1, "train")
    reply = Message(Error(0, "none"), reply_to=message)
    internals.answer(reply, "folkmoot-7")
    assert reply.metadata.reply_to_message_id == "folkmoot-7"


def test_a_process_takes_the_identity_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = identified(monkeypatch)
    internals.take_identity()
    assert (identity.task_id, identity.run_id, identity.node_id) == (1, 1, 1)


def test_records_are_the_same_after_packing() -> None:
    content = RecordDict(
        {
            "z": ArrayRecord({"b": Array(np.arange(3)), "a": Array(np.ones(2, np.float32))}),
            "a": ConfigRecord({"text": "ü", "bytes": b"\0", "numbers": [1, 2]}),
        }
    )
    found = internals.unpack(internals.pack(content))
    assert list(found) == ["z", "a"]
    assert list(found.array_records["z"]) == ["b", "a"]
    assert found == content


def test_a_bundle_has_the_files_that_may_be_in_it(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "one"\nversion = "1.0.0"\nlicense = "MIT"\n'
        '[tool.flwr.app]\npublisher = "us"\n'
        '[tool.flwr.app.components]\nserverapp = "one:app"\nclientapp = "one:app"\n'
    )
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("app = 1\n")
    whole = internals.build_bundle(tmp_path)
    part = internals.build_bundle(tmp_path, lambda name: name != "two.py")
    assert b"two.py" in whole
    assert b"two.py" not in part


def test_settings_are_read_as_flower_reads_them() -> None:
    assert internals.parse_pairs(["a=1 b.c='x'"]) == {"a": 1, "b.c": "x"}
    assert internals.flatten({"b": {"c": "x"}}) == {"b.c": "x"}


def test_the_old_interface_gets_parameters_and_content() -> None:
    used = internals.content_of
    there("flwr.compat.common.recorddict_compat", "fitins_to_recorddict", used)
    parameters = internals.parameters_of(ArrayRecord([np.arange(3.0)]))
    content = internals.content_of(FitIns(parameters, {"rate": 0.1}))
    assert set(content) == {"fitins.parameters", "fitins.config"}
    assert np.array_equal(parameters_to_ndarrays(parameters)[0], np.arange(3.0))


def test_a_server_of_the_old_interface_is_run_by_a_name_of_its_module() -> None:
    module, used = "flwr.server.compat.app", internals.servers_run_by
    own = there(module, "run_fl", used)
    assert "run_fl(" in inspect.getsource(there(module, "start_grid", used))
    takes(
        there(module, "start_grid", internals.start_grid),
        internals.start_grid,
        *("grid", "config", "strategy", "client_manager"),
    )

    def run() -> None: ...

    with internals.servers_run_by(run):
        assert there(module, "run_fl", used) is run
    assert there(module, "run_fl", used) is own


def test_no_other_module_looks_into_flower() -> None:
    strange = set()
    for package in ("folkmoot", "client", "server"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name == "flower_internals.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                else:
                    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                strange |= {
                    f"{path.relative_to(ROOT)}: {name}"
                    for name in names
                    if name.partition(".")[0] == "flwr" and name not in INTERFACE
                }
    assert strange == set(), "use folkmoot.runtime.flower_internals"


def test_only_the_clock_of_one_module_is_replaced() -> None:
    module = ModuleType("loop")
    module.time = time  # type: ignore[attr-defined]
    slept: list[float] = []
    assert internals.replace_clock(module, slept.append)
    module.time.sleep(3)
    assert slept == [3]
    assert module.time.monotonic() > 0
    assert time.sleep is not module.time.sleep
    assert not internals.replace_clock(ModuleType("without"), slept.append)


def test_a_function_is_called_after_another_that_returns_something() -> None:
    module = ModuleType("loop")
    runs = iter([None, 7, None, 8])
    module.pull = lambda **_: next(runs)  # type: ignore[attr-defined]
    woken: list[str] = []
    assert internals.call_after(module, "pull", partial(woken.append, "woken"))
    assert [(module.pull(state=None), len(woken)) for _ in range(4)] == [(None, 0), (7, 1), (None, 1), (8, 2)]
    assert not internals.call_after(ModuleType("without"), "pull", partial(woken.append, "woken"))
