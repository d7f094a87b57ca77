# SPDX-License-Identifier: Apache-2.0
"""An app that knows nothing of us is anchored as it is, by an entry module beside it: on a real chain, then audited."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from folkmoot.cli.main import run as folkmoot
from folkmoot.flower.records import COORDINATOR, RUN
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from tests import factories
from tests.e2e.moot import Moot, moot

POINTS = Path(__file__).parent / "apps" / "points_app"
NAMES = ("ada", "ben")

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def entry(app: Path, target: Path, serverapp: str, clientapp: str) -> Path:
    """Copy an app, and put entry modules beside it that anchor its two halves."""
    copy = Path(shutil.copytree(app, target / "app", ignore=shutil.ignore_patterns("__pycache__")))
    description = copy / "pyproject.toml"
    text = description.read_text()
    for half, place in (("server", serverapp), ("client", clientapp)):
        module, name = place.split(":")
        (copy / f"anchored_{half}_entry.py").write_text(
            f"from {module} import {name} as ordinary\n\nfrom folkmoot.flower import anchored_{half}\n\n"
            f"app = anchored_{half}(ordinary)\n"
        )
        lines = [line for line in text.splitlines() if not line.startswith(f"{half}app =")]
        at = lines.index("[tool.flwr.app.components]") + 1
        text = "\n".join([*lines[:at], f'{half}app = "anchored_{half}_entry:app"', *lines[at:], ""])
    text = text.replace("fab-include = [", 'fab-include = ["/anchored_*_entry.py", ')
    description.write_text(text + f'{COORDINATOR} = ""\n{RUN} = ""\n')
    return copy


def start() -> tuple[Manifest, State, Genesis]:
    """A federation on the app's model, whose head is not what the app's ServerApp makes."""
    sys.path.insert(0, str(POINTS))
    try:
        from points.task import make_model
    finally:
        sys.path.remove(str(POINTS))
    values = {str(at): array for at, array in enumerate(make_model())}
    manifest = Manifest.from_arrays("points", values)
    trained = {name: value + (0.25 if value.dtype.kind == "f" else 0) for name, value in values.items()}
    state = State.genesis(manifest, trained)
    return manifest, state, Genesis.of(manifest, state, (-6,) * len(manifest.tensors))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moot]:
    with moot(tmp_path_factory.mktemp("moot"), *start(), NAMES) as made:
        yield made


def digests(here: Moot, run: str) -> list[str]:
    """What the app should say of the model before the run and after each of its rounds."""
    manifest = start()[0]
    rounds = sorted(
        (view for view in here.api.items("/v1/rounds") if view["run"] == run),
        key=lambda view: int(view["round"]),
    )
    found = []
    for name in (rounds[0]["baseState"], *(view["state"] for view in rounds)):
        state = State.from_bytes(here.api.files.read(name, manifest.state_file_size), manifest)
        arrays = manifest.unflatten(state.to_float32(), dtypes=True).values()
        data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
        found.append(hashlib.sha256(data).hexdigest()[:16])
    return found


@pytest.mark.parametrize("server", ["listed", "own_start", "averaged"])
def test_an_app_as_it_is(running: Moot, server: str, tmp_path: Path) -> None:
    """Whatever model it sees is the chain's, in its own order and dtypes; its metrics and settings are its own."""
    app = entry(POINTS, tmp_path, f"points.{server}:app", "points.client_app:app")
    rounds = 3 if server == "own_start" else 2
    run = running.api.start_run(rounds, len(NAMES), factories.account("coordinator"), running.domain)
    result, lines = running.flower.run({COORDINATOR: running.api.url, RUN: run.id}, app)
    assert result.completed, "\n".join(lines)
    ended = running.api.run(run.id)
    assert ended is not None
    assert (ended.state, ended.completed) == ("done", rounds)
    said = [line.split() for line in lines]
    expected = digests(running, run.id)
    assert [words[1:] for words in said if words[:1] == ["MODEL"]] == [
        [str(number), digest] for number, digest in enumerate(expected)
    ], "\n".join(lines)
    assert [words[1] for words in said if words[:1] == ["FINAL"]] == expected[-1:]
    losses = [float(word) for words in said if words[:1] == ["LOSSES"] for word in words[1:]]
    assert losses == sorted(losses, reverse=True)
    if server == "own_start":
        assert [words[2] for words in said if words[:1] == ["RATE"]] == ["0.5", "0.25", "0.25"]
    else:
        assert len(losses) == (3 if server == "listed" else 2)


def test_its_history_audits(running: Moot, capsys: pytest.CaptureFixture[str]) -> None:
    """After whatever ran on it."""
    status = folkmoot(
        [
            *("audit", "--rpc", running.federation.anvil.url, "--deployment", str(running.deployment_file)),
            *("--artifacts", running.api.url),
        ]
    )
    assert status == 0, capsys.readouterr()
