# SPDX-License-Identifier: Apache-2.0
"""examples/verify_a_round.ipynb, cell by cell, against a real ledger and a mirror."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ArtifactError
from folkmoot.protocol.anchor import Anchor
from folkmoot.round import RoundOutcome
from tests.integration.audit_world import NAMES, ROUNDS, Related, World, build_related

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "verify_a_round.ipynb"


@pytest.fixture(scope="module")
def history(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Related]:
    """Rounds under the default rule, which looks at earlier rounds; some updates were lost, a round was cancelled."""
    world = build_related(chain, tmp_path_factory.mktemp("history") / "artifacts")
    yield world
    world.federation.chain.close()


@pytest.fixture
def world(history: Related, chain: Anvil, tmp_path: Path) -> Iterator[World]:
    snapshot = chain.snapshot()
    yield history.copied(tmp_path / "artifacts")
    chain.revert(snapshot)


def cells() -> list[str]:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert all(not cell["outputs"] for cell in document["cells"] if cell["cell_type"] == "code")
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]


def execute(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int = 0
) -> tuple[dict[str, Any], Exception | None]:
    """Execute the cells in one namespace, as a kernel does; return it, and what the first failing cell raised."""
    deployment = tmp_path / "deployment.json"
    world.federation.deployment.save(deployment)
    monkeypatch.setenv("FOLKMOOT_RPC", world.federation.anvil.url)
    monkeypatch.setenv("FOLKMOOT_DEPLOYMENT", str(deployment))
    monkeypatch.setenv("FOLKMOOT_ARTIFACTS", str(world.folder.path))
    monkeypatch.setenv("FOLKMOOT_ROUND", str(number))
    names: dict[str, Any] = {"__name__": "__main__"}
    failure = None
    for at, source in enumerate(cells()):
        try:
            exec(compile(source, f"cell {at}", "exec"), names)  # noqa: S102  # the project's own notebook
        except (AssertionError, ArtifactError) as error:
            failure = error
            break
    names["rpc"].close()
    return names, failure


@pytest.mark.parametrize("number", [1, 2, 3, ROUNDS, 0])
def test_it_verifies_a_round(
    world: World,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also one with the coordinator's own update, one with a lost update, and the newest one."""
    names, failure = execute(world, monkeypatch, tmp_path, number)
    assert failure is None
    number = number or ROUNDS
    expected = world.rounds[number].outcome
    assert expected is not None
    assert names["outcome"].anchor == expected.anchor
    assert f"Round {number} is right, to the last bit." in capsys.readouterr().out


def lie(world: World, outcome: RoundOutcome) -> Anchor:
    return replace(outcome.anchor, state_root=bytes(31) + b"\1")


def favour(world: World, outcome: RoundOutcome) -> Anchor:
    return replace(outcome.anchor, weights=(1024, *outcome.anchor.weights[1:-1], 1))


@pytest.mark.parametrize(("cheat", "name"), [(lie, "state_root"), (favour, "weights")])
def test_it_finds_a_wrong_anchor(
    world: World, cheat: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    number = world.play(NAMES, cheat)
    names, failure = execute(world, monkeypatch, tmp_path)
    assert isinstance(failure, AssertionError)
    assert f"Round {number} is wrong: {name} is" in str(failure)
    assert "moved" not in names


def test_it_finds_a_damaged_file(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outcome = world.rounds[ROUNDS].outcome
    assert outcome is not None
    update = outcome.artifacts.updates[0]
    assert update is not None
    path = world.folder.place(update)
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] % 255 + 1]) + data[1:])
    names, failure = execute(world, monkeypatch, tmp_path)
    assert isinstance(failure, ArtifactError)
    assert failure.code == "artifact-damaged"
    assert "outcome" not in names


def test_it_finds_another_chain(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deployment = world.federation.deployment
    world.federation = replace(
        world.federation, deployment=replace(deployment, chain_id=deployment.chain_id + 1)
    )
    _, failure = execute(world, monkeypatch, tmp_path)
    assert str(failure) == "The endpoint is of another chain."
