# SPDX-License-Identifier: Apache-2.0
"""`folkmoot receipt`: that an update is in a round is proven by the ledger's hash of the anchor, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import RpcError
from tests import factories
from tests.integration.audit_world import World

Command = Callable[..., dict[str, Any]]


@pytest.fixture
def world(chain: Anvil, tmp_path: Path) -> Iterator[World]:
    snapshot = chain.snapshot()
    policy = factories.policy(verifier=factories.account("verifier").address)
    world = World.create(chain, tmp_path / "artifacts", policy)
    try:
        world.play(["ada", "ben", "cleo"])
        yield world
    finally:
        world.federation.chain.close()
        chain.revert(snapshot)


@pytest.fixture
def folkmoot(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    world.federation.deployment.save(tmp_path / "deployment.json")
    monkeypatch.setenv("FOLKMOOT_RPC", world.federation.anvil.url)
    monkeypatch.setenv("FOLKMOOT_DEPLOYMENT", str(tmp_path / "deployment.json"))

    def call(*words: str, fails: int = 0) -> dict[str, Any]:
        assert run(["receipt", *words, "--json"]) == fails
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return call


def test_a_receipt_is_checked_against_the_ledger(world: World, folkmoot: Command, tmp_path: Path) -> None:
    file, ben = tmp_path / "receipt.json", factories.account("ben").address
    folkmoot("1", ben, "--out", str(file))
    weight = world.rounds[1].outcome.weights[1]  # type: ignore[union-attr]
    shown = folkmoot("--check", str(file))
    assert (shown["contributor"], shown["round"], shown["weight"], shown["final"]) == (ben, 1, weight, False)
    world.finalize(1)
    assert folkmoot("--check", str(file))["final"] is True


def test_receipt_and_balance_say_weight_and_pay_of_what_was_not_paid_out(
    world: World,
    folkmoot: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ben = factories.account("ben").address
    due = folkmoot("1", ben, "--out", str(tmp_path / "receipt.json"))["due"]
    anchor = world.rounds[1].outcome.anchor  # type: ignore[union-attr]
    assert (due["weight"], due["payShare"]) == (anchor.weights[1], anchor.pays[1] if anchor.pays else None)
    assert run(["balance", ben, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unclaimed"] == [due]
    assert run(["balance", ben]) == 0
    assert "`folkmoot why`" in capsys.readouterr().out

    def without_logs(source: object) -> None:
        raise RpcError("Old logs are gone.")

    monkeypatch.setattr("folkmoot.ledger.replay.read_state", without_logs)
    assert run(["balance", ben]) == 0
    assert "not paid out  unknown. Old logs are gone." in capsys.readouterr().out


def test_a_false_receipt_is_refused(folkmoot: Command, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    folkmoot("1", factories.account("ada").address, "--out", str(file))
    honest = json.loads(file.read_text())
    for change in ({"weight": honest["weight"] + 1}, {"index": 2}, {"anchor": honest["anchor"][::-1]}):
        file.write_text(json.dumps(honest | change))
        assert folkmoot("--check", str(file), fails=1)["error"]["code"] == "false-receipt"
    file.write_text("{}")
    assert folkmoot("--check", str(file), fails=1)["error"]["code"] == "invalid-receipt"
    file.write_bytes(b"[" * 100_000)
    assert folkmoot("--check", str(file), fails=1)["error"]["code"] == "invalid-receipt"
    missing = folkmoot("--check", str(tmp_path / "nothing"), fails=1)
    assert missing["error"]["code"] == "receipt-missing"


def test_a_receipt_needs_an_entry_of_an_anchored_round(
    world: World, folkmoot: Command, tmp_path: Path
) -> None:
    out = ("--out", str(tmp_path / "receipt.json"))
    stranger = factories.account("outsider").address
    assert folkmoot("1", stranger, *out, fails=1)["error"]["code"] == "not-in-round"
    assert folkmoot("2", stranger, *out, fails=1)["error"]["code"] == "event-unknown"


def test_a_receipt_that_cannot_be_written_is_an_error(folkmoot: Command, tmp_path: Path) -> None:
    ada = factories.account("ada").address
    refused = folkmoot("1", ada, "--out", str(tmp_path / "missing" / "receipt.json"), fails=1)
    assert refused["error"]["code"] == "file-unwritable"


def test_a_receipt_of_a_void_round_is_refused(world: World, folkmoot: Command, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    folkmoot("1", factories.account("ada").address, "--out", str(file))
    chain, verifier = world.federation.chain, factories.account("verifier")
    world.federation.anvil.fund(verifier.address)
    chain.send(chain.ledger.functions.reportFraud(1, verifier.address), verifier)
    refused = folkmoot("--check", str(file), fails=1)["error"]
    assert refused["code"] == "round-not-anchored"
    assert "slashed" in refused["message"]
