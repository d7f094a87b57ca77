# SPDX-License-Identifier: Apache-2.0
"""What is captured of an app, and why some can't be anchored; each app runs in a real process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from folkmoot.apps.capture import Captured, capture
from folkmoot.apps.folder import AppFolder
from folkmoot.errors import FolkmootError, InputError, TaskError
from folkmoot.protocol.manifest import Manifest
from tests import apps

START = "strategy.start("
OWN_START = '''
class Own(FedAvg):
    """Has a start of its own, as apps have that save each round."""

    def start(self, grid, initial_arrays, num_rounds=3, **more):
        raise AssertionError("it ran")
'''


def captured(tmp_path: Path, nodes: int = 3, overrides: tuple[str, ...] = (), **parts: str) -> Captured:
    return capture(AppFolder.read(apps.make(tmp_path, **parts), overrides), tmp_path / "scratch", nodes)


def refused(tmp_path: Path, nodes: int = 3, **parts: Any) -> FolkmootError:
    with pytest.raises(FolkmootError) as raised:
        captured(tmp_path, nodes, **parts)
    assert raised.value.remedy.endswith(".")
    assert "{log}" not in str(raised.value)
    return raised.value


def server(old: str, new: str, before: str = "") -> str:
    assert old in apps.SERVER
    return apps.SERVER.replace("app = ServerApp()", before + "\napp = ServerApp()").replace(old, new)


def test_a_good_app_is_captured_as_it_is(tmp_path: Path) -> None:
    found = captured(tmp_path)
    assert list(found.arrays) == ["0", "1"]
    assert found.arrays["0"].dtype == np.float32
    assert found.arrays["0"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (found.num_rounds, found.asked, found.strategy, found.base) == (2, 3, "FedAvg", "FedAvg")
    assert (found.own_start, found.evaluates, found.message_type) == (False, False, "train")
    assert found.train_config == {"lr": 0.5}
    assert found.settings["fraction_train"] == 1.0
    assert found.notes == ()


def test_overrides_reach_the_serverapp(tmp_path: Path) -> None:
    found = captured(tmp_path, overrides=("num-server-rounds=9 learning-rate=0.125",))
    assert (found.num_rounds, found.train_config) == (9, {"lr": 0.125})


def test_names_dtypes_and_order_are_the_apps(tmp_path: Path) -> None:
    """Buffers between tensors, as BatchNorm has them, scalars and all float kinds."""
    arrays = (
        "ArrayRecord({n: Array(a) for n, a in {'z': np.ones((2, 2), np.float64), 'count': np.array(3), "
        "'a': np.ones(2, np.float16), 'b': np.float32(1) * np.ones(())}.items()}), num_rounds=1, "
        "train_config=None or ConfigRecord({'lr': 1.0}) if True else ("
    )
    text = server("ArrayRecord([np.arange", arrays + "[np.arange").replace(
        "ArrayRecord,", "Array, ArrayRecord,"
    )
    text = text.replace("num_rounds=context.run_config", "timeout=context.run_config")
    text = text.split("        initial_arrays=")[0] + (
        "        initial_arrays=ArrayRecord({n: Array(a) for n, a in {'z': np.ones((2, 2), np.float64), "
        "'count': np.array(3), 'a': np.ones(2, np.float16), 'b': np.ones((), np.float32)}.items()}),\n    )\n"
    )
    found = captured(tmp_path, server=text)
    assert [(name, array.dtype.name, array.shape) for name, array in found.arrays.items()] == [
        ("z", "float64", (2, 2)),
        ("count", "int64", ()),
        ("a", "float16", (2,)),
        ("b", "float32", ()),
    ]
    assert found.num_rounds == 3, "Flower's own default"


@pytest.mark.parametrize("inside", [False, True])
def test_a_subclass_with_its_own_start_is_captured(tmp_path: Path, inside: bool) -> None:
    """Also a class that is made while the ServerApp runs."""
    if inside:
        indented = OWN_START.replace("\n", "\n    ")
        text = server("    strategy = FedAvg(", f"{indented}\n    strategy = Own(")
    else:
        text = server("strategy = FedAvg(", "strategy = Own(", before=OWN_START)
    found = captured(tmp_path, server=text)
    assert (found.strategy, found.base, found.own_start, found.num_rounds) == ("Own", "FedAvg", True, 2)
    assert found.train_config == {"lr": 0.5}


def test_the_apps_own_configure_train_makes_the_first_message(tmp_path: Path) -> None:
    from flwr.common.serde import recorddict_from_proto
    from flwr.proto.recorddict_pb2 import RecordDict

    own = """
class Own(FedAvg):
    def configure_train(self, server_round, arrays, config, grid):
        config["rate"] = config["lr"] / server_round
        return list(super().configure_train(server_round, arrays, config, grid))[:2]
"""
    found = captured(tmp_path, 5, server=server("strategy = FedAvg(", "strategy = Own(", before=own))
    content = recorddict_from_proto(RecordDict.FromString(found.message))
    assert dict(content.config_records["config"]) == {"lr": 0.5, "rate": 0.5, "server-round": 1}
    assert found.asked == 2
    assert list(content.array_records["arrays"]) == ["0", "1"]


def test_a_configure_train_that_needs_its_start_is_worked_around(tmp_path: Path) -> None:
    own = """
class Own(FedAvg):
    def configure_train(self, server_round, arrays, config, grid):
        return self.made_by_start
"""
    found = captured(tmp_path, server=server("strategy = FedAvg(", "strategy = Own(", before=own))
    assert found.asked == 3
    assert "configure_train raised AttributeError" in found.notes[0]


def test_a_strategy_that_asks_some_is_counted(tmp_path: Path) -> None:
    text = server("FedAvg(fraction_evaluate=0.0)", "FedAvg(fraction_evaluate=0.0, fraction_train=0.5)")
    found = captured(tmp_path, 8, server=text)
    assert found.asked == 4


def test_a_strategy_that_waits_for_more_nodes_is_refused_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, server=server("fraction_evaluate=0.0", "min_available_nodes=12"))
    assert error.code == "app-nodes"
    assert "waits for 12 nodes, but there are 3" in error.message
    assert "--nodes 12" in error.remedy


def test_another_aggregation_is_named(tmp_path: Path) -> None:
    text = apps.SERVER.replace("FedAvg", "FedAdam").replace("fraction_evaluate=0.0", "eta=0.1")
    assert captured(tmp_path, server=text).notes == (
        "The policy's rule and outer step aggregate instead of FedAdam.",
    )


DRIVES = "    replies = grid.send_and_receive([])\n    "
TREES = "ArrayRecord([np.frombuffer(b'', dtype=np.uint8)])"
ARRAYS = "ArrayRecord([np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(3, dtype=np.float32)])"
NOISE = """
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping as Noisy
"""


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (
            server("    strategy = FedAvg", DRIVES + "strategy = FedAvg"),
            "app-drives-grid",
            "small/server_app.py, line",
        ),
        (server(START, "dict("), "app-raised", "AssertionError: start returned."),
        (server(ARRAYS, TREES), "app-trees", "trees"),
        (server(ARRAYS, "ArrayRecord()"), "app-no-arrays", "without arrays"),
        (
            server("FedAvg(fraction_evaluate=0.0)", "Noisy(FedAvg(), 0.1, 1.0, 3)", before=NOISE),
            "app-server-noise",
            "DifferentialPrivacyServerSideFixedClipping",
        ),
        ("app = 5\n", "app-component", "is of the type int, not a ServerApp"),
        ("application = 5\n", "app-component", "has no app"),
        (server("num-server-rounds", "rounds"), "app-raised", "KeyError: 'rounds'."),
        (
            "import nothing_of_this_name\n",
            "app-dependency",
            "imports nothing_of_this_name, which is not installed",
        ),
        ("import flwr.nothing\n", "app-dependency", "which the installed flwr does not have"),
        ("from flwr.app import Nothing\n", "app-raised", "cannot import name 'Nothing' from 'flwr.app'"),
        ("import small.nothing\n", "app-raised", "No module named 'small.nothing'"),
        ("def broken(:\n", "app-raised", "small/server_app.py, line 1"),
        (server(START, "exit(3) or strategy.start("), "app-raised", "SystemExit: 3."),
        (server(START, "__import__('os')._exit(3) or strategy.start("), "app-ended", "with status 3"),
        (server('context.run_config["num-server-rounds"]', "0"), "app-rounds", "asks for 0 rounds"),
    ],
)
def test_what_can_not_be_anchored_is_said_before_anything_starts(
    tmp_path: Path, text: str, code: str, said: str
) -> None:
    error = refused(tmp_path, server=text)
    assert error.code == code, error
    assert said in error.message


def test_what_an_app_raised_has_type_message_place_and_the_traceback(tmp_path: Path) -> None:
    error = refused(tmp_path, server=server(START, 'int("seven") or strategy.start('))
    assert isinstance(error, InputError)
    assert (
        "The ServerApp raised ValueError: invalid literal for int() with base 10: 'seven'." in error.message
    )
    line = 1 + apps.SERVER.splitlines().index("    strategy.start(")
    assert f"small/server_app.py, line {line + 1}" in error.message
    log = tmp_path / "scratch" / "capture.log"
    assert str(log) in error.remedy
    assert "Traceback" in log.read_text()


def test_an_app_that_catches_everything_is_captured_all_the_same(tmp_path: Path) -> None:
    text = server(START, "try:\n        strategy.start(").replace(
        "    raise AssertionError", "    except BaseException:\n        pass\n    raise AssertionError"
    )
    body = text.split("        strategy.start(")
    text = body[0] + "        strategy.start(" + body[1].replace("        grid=grid", "            grid=grid")
    assert captured(tmp_path, server=text).num_rounds == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("from flwr.clientapp import ClientApp\napp = ClientApp()\n", "app-no-train"),
        ("app = None\n", "app-component"),
        (
            "from flwr.client.mod.secure_aggregation.secaggplus_mod import secaggplus_mod\n"
            + apps.CLIENT.replace("app = ClientApp()", "app = ClientApp(mods=[secaggplus_mod])"),
            "app-secure-aggregation",
        ),
    ],
)
def test_a_clientapp_that_can_not_be_anchored(tmp_path: Path, text: str, code: str) -> None:
    assert refused(tmp_path, client=text).code == code


def test_a_component_named_by_path_is_explained(tmp_path: Path) -> None:
    app = apps.make(tmp_path)
    project = app / "pyproject.toml"
    project.write_text(project.read_text().replace("small.server_app:app", "small/server_app.py:app"))
    with pytest.raises(InputError) as raised:
        capture(AppFolder.read(app), tmp_path / "scratch", 3)
    assert raised.value.code == "app-component"
    assert "dots, not slashes" in raised.value.remedy


def test_nothing_of_an_app_lands_in_its_folder_or_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = server("    strategy = FedAvg", "    open('written', 'w').close()\n    strategy = FedAvg")
    captured(tmp_path, server=text)
    assert (tmp_path / "scratch" / "work" / "written").exists()
    assert not (tmp_path / "written").exists()


def test_the_layout_becomes_a_manifest(tmp_path: Path) -> None:
    found = captured(tmp_path)
    manifest = Manifest.from_arrays(found.app.name, found.arrays)
    assert [(one.name, one.shape) for one in manifest.tensors] == [("0", (2, 3)), ("1", (3,))]


def test_a_child_that_dies_is_a_task_error(tmp_path: Path) -> None:
    error = refused(tmp_path, server="import os\nos.kill(os.getpid(), 9)\n")
    assert isinstance(error, TaskError)
    assert str(tmp_path / "scratch" / "capture.log") in error.remedy


WORKFLOW = """\
from flwr.app import Context
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    legacy = LegacyContext(context, ServerConfig(num_rounds=1), FedAvg(min_available_clients=5))
    DefaultWorkflow(FIT)(grid, legacy)
"""


@pytest.mark.parametrize(
    ("fit", "code"),
    [("SecAggPlusWorkflow(3, 2)", "app-secure-aggregation"), ("print", "app-drives-grid"), ("", "app-nodes")],
)
def test_a_workflow_of_the_old_interface_is_read_and_not_run(tmp_path: Path, fit: str, code: str) -> None:
    """Run, it would wait for its five clients for a day."""
    text = WORKFLOW.replace("FIT", fit)
    assert refused(tmp_path, server=text, client=apps.LEGACY_CLIENT).code == code


def test_an_app_that_waits_for_more_nodes_than_there_are(tmp_path: Path) -> None:
    text = server(
        "    strategy = FedAvg",
        "    import time\n"
        "    real, start = time.monotonic, time.monotonic()\n"
        "    time.monotonic = lambda: start + 1000 * (real() - start)\n"
        "    while len(list(grid.get_node_ids())) < 4:\n"
        "        time.sleep(0.01)\n"
        "    strategy = FedAvg",
    )
    error = refused(tmp_path, server=text)
    assert error.code == "app-nodes"
    assert "waits for more nodes than there are (3)" in error.message
    assert captured(tmp_path / "again", nodes=4, server=text).num_rounds == 2


def test_an_app_that_anchors_itself_is_captured_as_without_it(tmp_path: Path) -> None:
    anchored = apps.SERVER + "\n\nfrom folkmoot.flower import anchored_server\n\napp = anchored_server(app)\n"
    found = captured(tmp_path, server=anchored)
    assert (found.num_rounds, found.strategy, found.train_config) == (2, "FedAvg", {"lr": 0.5})
    assert list(found.arrays) == ["0", "1"]
