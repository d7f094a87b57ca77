# SPDX-License-Identifier: Apache-2.0
"""Apps of Flower's old interface are read and tried as others are; each runs in a real process of its own."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from folkmoot.apps.capture import Captured, capture
from folkmoot.apps.folder import AppFolder
from folkmoot.apps.trial import start_of_app, try_training, unshared
from folkmoot.errors import FolkmootError
from tests import apps

PARAMETERS = "initial_parameters=parameters,"
FIT = "return moved, 10,"


def captured(
    tmp_path: Path,
    nodes: int = 3,
    *,
    server: str = apps.LEGACY_SERVER,
    client: str = apps.LEGACY_CLIENT,
    node_config: dict[str, Any] | None = None,
) -> Captured:
    folder = AppFolder.read(apps.make(tmp_path, server=server, client=client))
    return capture(folder, tmp_path / "scratch", nodes, node_config=node_config)


def refused(tmp_path: Path, nodes: int = 3, **parts: Any) -> FolkmootError:
    with pytest.raises(FolkmootError) as raised:
        try_training(captured(tmp_path, nodes, **parts), tmp_path / "scratch")
    assert raised.value.remedy.endswith(".")
    assert "{log}" not in str(raised.value)
    return raised.value


def test_an_app_is_read_tried_and_given_a_genesis(tmp_path: Path) -> None:
    found = captured(tmp_path)
    assert (found.strategy, found.base, found.legacy, found.own_start) == ("FedProx", "FedProx", True, False)
    assert (found.num_rounds, found.asked, found.evaluates, found.notes) == (2, 3, False, ())
    assert found.settings["min_available_nodes"] == 2
    assert {name: (a.dtype.name, a.shape) for name, a in found.arrays.items()} == {
        "0": ("float32", (2, 3)),
        "1": ("int64", ()),
        "2": ("float64", (3,)),
    }
    trial = try_training(found, tmp_path / "scratch")
    assert trial.metrics == {"rate": 0.25}, "what the strategy's configure_fit adds has arrived"
    np.testing.assert_allclose(trial.arrays["0"], found.arrays["0"] + 0.25 * (1 - found.arrays["0"]))
    start = start_of_app(found, trial)
    assert [one.name for one in start.manifest.tensors] == ["0", "2"]
    assert unshared(found, trial, start.manifest) == [], "a counter is none of the app's weights"


def test_parameters_come_from_a_client_if_the_strategy_has_none(tmp_path: Path) -> None:
    found = captured(tmp_path, server=apps.LEGACY_SERVER.replace(PARAMETERS, ""))
    assert float(found.arrays["0"][0, 0]) in (5, 6, 7), "Flower asks any of the three"
    assert found.arrays["1"].dtype == np.int64


def test_a_client_that_is_asked_has_its_node_config_and_the_commands_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    for part in range(3):
        np.save(tmp_path / "data" / f"part_{part}.npy", np.full(3, 100.0 + part))
    monkeypatch.chdir(tmp_path)
    client = apps.LEGACY_CLIENT.replace(
        'self.partition = context.node_config["partition-id"]',
        'self.partition = context.node_config["partition-id"]\n'
        '        self.data = np.load(context.node_config["path"])',
    ).replace("np.ones(3)]", "self.data]")
    found = captured(
        tmp_path,
        server=apps.LEGACY_SERVER.replace(PARAMETERS, ""),
        client=client,
        node_config={"path": "data/part_{partition}.npy"},
    )
    assert found.arrays["2"][0] == 100 + found.arrays["0"][0, 0] - 5


def test_a_client_that_fails_when_it_is_asked_is_the_client_of_the_message(tmp_path: Path) -> None:
    client = apps.LEGACY_CLIENT.replace(
        "return [np.full", "raise ValueError('no data')\n        return [np.full"
    )
    error = refused(tmp_path, server=apps.LEGACY_SERVER.replace(PARAMETERS, ""), client=client)
    assert error.code == "app-raised"
    assert "The ClientApp raised ValueError: no data. Place: small/client_app.py" in error.message
    assert "The strategy asks a client for this before the first round (get_parameters)." in error.remedy


def test_arrays_that_clients_keep_to_themselves_are_carried(tmp_path: Path) -> None:
    """FedRep starts from body and head; its clients return the body."""
    found = captured(tmp_path, client=apps.LEGACY_CLIENT.replace(FIT, "return moved[:2], 10,"))
    trial = try_training(found, tmp_path / "scratch")
    start = start_of_app(found, trial)
    assert [one.name for one in start.manifest.tensors] == ["0"]
    assert [one.name for one in start.manifest.carried] == ["1", "2"]
    assert unshared(found, trial, start.manifest) == [
        "The clients do not return the arrays 2: each node keeps its own. The shared model has their first values, "
        "which each train message repeats."
    ]


def test_data_are_read_at_import_from_the_folder_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_text("2")
    read = "with open('here.txt') as file:\n    ROUNDS = int(file.read())\n"
    for text in (apps.SERVER, apps.LEGACY_SERVER):
        name = "old" if text == apps.LEGACY_SERVER else "new"
        client = apps.LEGACY_CLIENT if name == "old" else apps.CLIENT
        server = text.replace("import numpy as np\n", f"import numpy as np\n{read}", 1)
        assert captured(tmp_path / name, server=server, client=client).num_rounds == 2


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        (
            "proximal_mu=0.25,",
            "proximal_mu=0.25, min_available_clients=9,",
            "app-nodes",
            "waits for 9 nodes, but",
        ),
        (
            "def server_fn",
            "class Parts(FedProx):\n    def configure_fit(self, server_round, parameters, client_manager):\n"
            "        found = super().configure_fit(server_round, parameters, client_manager)\n"
            "        for _, ins in found:\n            ins.parameters = ndarrays_to_parameters([np.zeros(1)])\n"
            "        return found\n\n\nFedProx = Parts\n\n\ndef server_fn",
            "unsupported-app",
            "Parts.configure_fit sends a client other arrays than the model (1 arrays; the model has 3)",
        ),
        (
            "server = Saves(",
            "SimpleClientManager().wait_for(7)\n    server = Saves(",
            "app-nodes",
            "waits for 7 nodes",
        ),
        (
            "parameters = ndarrays_to_parameters([",
            "parameters = ndarrays_to_parameters([]) or ([",
            "app-no-arrays",
            "",
        ),
        (
            "import FedProx\n",
            "import FedXgbBagging\nFedProx = lambda **_: FedXgbBagging()\n",
            "app-trees",
            "trees",
        ),
        (
            "import FedProx\n",
            "import DPFedAvgFixed, FedAvg\nFedProx = lambda **_: DPFedAvgFixed(FedAvg(), 2, 1.0)\n",
            "app-server-noise",
            "adds noise on the server (DPFedAvgFixed)",
        ),
        (
            "app = ServerApp(server_fn=server_fn)",
            "app = ServerApp(server_fn=print)",
            "app-raised",
            "AttributeError",
        ),
    ],
)
def test_what_can_not_be_anchored(tmp_path: Path, old: str, new: str, code: str, said: str) -> None:
    assert apps.LEGACY_SERVER.count(old) == 1
    text = apps.LEGACY_SERVER.replace(old, new)
    error = refused(tmp_path, server=text)
    assert error.code == code, error
    assert said in error.message


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"client": apps.CLIENT, "server": apps.LEGACY_SERVER.replace(PARAMETERS, "")},
            "no answer to get_parameters",
        ),
        ({"client": apps.CLIENT}, "its ClientApp uses @app.train() and its ServerApp server_fn"),
        (
            {"server": apps.SERVER},
            "its ClientApp uses client_fn and its ServerApp a strategy of flwr.serverapp",
        ),
    ],
)
def test_an_app_that_mixes_both_interfaces(tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    error = refused(tmp_path, **parts)
    assert error.code == "app-mixed"
    assert said in error.message
    assert "with plain Flower too" in error.message


def test_a_client_that_says_that_it_failed(tmp_path: Path) -> None:
    client = (
        apps.LEGACY_CLIENT.replace("import ClientApp, NumPyClient", "import Client, ClientApp")
        .replace("import Context", "import Code, Context, FitRes, Parameters, Status")
        .replace(
            "return Moves(context).to_client()",
            "return type('Says', (Client,), {'fit': lambda self, ins: "
            "FitRes(Status(Code.FIT_NOT_IMPLEMENTED, 'not today'), Parameters([], ''), 0, {})})()",
        )
        .replace("NumPyClient", "object")
    )
    error = refused(tmp_path, client=client)
    assert (error.code, "returned an error: not today" in error.message) == ("app-reply", True)


def test_an_own_aggregation_is_named_with_what_replaces_it_and_the_choices(tmp_path: Path) -> None:
    own = (
        "class Own(FedProx):\n    def aggregate_fit(self, server_round, results, failures):\n"
        "        return None, {}\n\n\n"
    )
    text = apps.LEGACY_SERVER.replace("def server_fn", own + "def server_fn").replace("= FedProx(", "= Own(")
    (note,) = captured(tmp_path, server=text).notes
    assert note.startswith("The policy's rule replaces Own.aggregate_fit in making the new model")
    assert "--rule" in note


def test_a_workflow_of_the_old_interface_is_read(tmp_path: Path) -> None:
    text = (
        apps.LEGACY_SERVER.replace(
            "def server_fn(context: Context) -> ServerAppComponents:", "def parts(context):"
        )
        .replace("return ServerAppComponents(server=server, config=", "return strategy, (")
        .replace("app = ServerApp(server_fn=server_fn)", "app = ServerApp()")
        + """

@app.main()
def main(grid, context):
    from flwr.server import LegacyContext

    strategy, config = parts(context)
    DefaultWorkflow()(grid, LegacyContext(context, config, strategy))
"""
    ).replace(
        "import numpy as np\n", "import numpy as np\nfrom flwr.server.workflow import DefaultWorkflow\n", 1
    )
    found = captured(tmp_path, server=text)
    assert (found.strategy, found.num_rounds, found.asked) == ("FedProx", 2, 3)


LISTED = '''
class Clusters(FedAvg):
    """Packs several models into one, in a start with another name for its arrays."""

    def start(self, grid, first_models, num_rounds=3, train_config=None):
        packed = ArrayRecord(
            {f"{at}.{name}": array for at, one in enumerate(first_models) for name, array in one.items()}
        )
        LOOP
'''


@pytest.mark.parametrize(
    "loop",
    [
        "return super().start(grid, packed, num_rounds, train_config=train_config)",
        "grid.send_and_receive(self.configure_train(1, packed, train_config, grid))",
    ],
)
def test_a_start_with_other_names_for_its_arrays(tmp_path: Path, loop: str) -> None:
    text = (
        apps.SERVER.replace("app = ServerApp()", LISTED.replace("LOOP", loop) + "\n\napp = ServerApp()")
        .replace("strategy = FedAvg(", "strategy = Clusters(")
        .replace("initial_arrays=ArrayRecord([np", "first_models=2 * [ArrayRecord([np")
        .replace("np.zeros(3, dtype=np.float32)])", "np.zeros(3, dtype=np.float32)])]")
    )
    found = captured(tmp_path, server=text, client=apps.CLIENT)
    assert list(found.arrays) == ["0.0", "0.1", "1.0", "1.1"]
    assert (found.strategy, found.num_rounds, found.train_config) == ("Clusters", 2, {"lr": 0.5})


@pytest.mark.parametrize(
    ("asked", "command", "note"),
    [
        (
            "nothing_of_this_name",
            "nothing_of_this_name 'torch==TORCH'",
            " The last word keeps pip from replacing the installed torch.",
        ),
        (
            "torchvision==0.23.0",
            "nothing_of_this_name torchvision 'torch==TORCH'",
            " The app asks for torchvision==0.23.0. The command lets pip choose the version that fits the installed "
            "torch TORCH.",
        ),
    ],
)
def test_no_advice_replaces_the_installed_torch(tmp_path: Path, asked: str, command: str, note: str) -> None:
    torch = metadata.version("torch")
    text = "import nothing_of_this_name\n" + apps.LEGACY_SERVER
    folder = AppFolder.read(apps.make(tmp_path, server=text, dependencies=f'"{asked}", "torch==2.0.0"'))
    with pytest.raises(FolkmootError) as raised:
        capture(folder, tmp_path / "scratch", 3)
    assert raised.value.code == "app-dependency"
    said = f"Install it with `{sys.executable} -m pip install {command}`.{note}".replace("TORCH", torch)
    assert raised.value.remedy == said.replace(f"'torch=={torch}'", f"torch=={torch}")


def test_the_source_is_read_before_anything_is_advised_to_be_installed(tmp_path: Path) -> None:
    text = (
        "from flwr.server.strategy import FedXgbBagging\nimport nothing_of_this_name\n" + apps.LEGACY_SERVER
    )
    error = refused(tmp_path, server=text)
    assert error.code == "app-dependency"
    assert error.remedy.startswith(
        "First decide whether you need it: small/server_app.py imports FedXgbBagging, and an app that trains trees "
        "can't be anchored. Install it with `"
    )
