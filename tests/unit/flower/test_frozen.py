# SPDX-License-Identifier: Apache-2.0
"""Carried files reach the app from the keeper, as mapped files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.keeper.transfers import DOWN, Transfers
from folkmoot.flower import frozen
from folkmoot.flower.mod import folkmoot_mod
from folkmoot.flower.signing import LocalSigner
from folkmoot.protocol.manifest import Manifest
from tests import carried
from tests.unit.flower.conftest import MANIFEST as SMALL
from tests.unit.flower.conftest import MODEL
from tests.unit.flower.grid import LocalGrid
from tests.unit.flower.test_names import Carried, refusals
from tests.unit.flower.test_strategy import Join, strategy
from tests.unit.flower.world import World, account

MANIFEST = Manifest("scripted", (*SMALL.arrays, carried.TABLE), SMALL.training)


def app(seen: list[Any], *, whole: bool, change: float = 0.0) -> ClientApp:
    """An app that notes what it sees of the table, and may train it."""
    made = ClientApp(mods=[folkmoot_mod(signer=LocalSigner(account("ada")), whole=whole)])

    @made.train()
    def train(message: Message, context: Context) -> Message:
        record = message.content.array_records["arrays"]
        arrays = {name: array.numpy() for name, array in record.items()}
        seen.append((sorted(arrays), sorted(message.content), dict(frozen.arrays())))
        trained = {
            name: Array(value - np.float32(0.01 if name in ("weight", "bias") else change))
            if value.dtype == np.float32
            else Array(value)
            for name, value in arrays.items()
        }
        return Message(RecordDict({"arrays": ArrayRecord(trained)}), reply_to=message)

    return made


@contextlib.contextmanager
def federation(rounds: int = 1) -> Iterator[World]:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=rounds) as world:
        world.publish(carried.DATA)
        yield world


@pytest.mark.parametrize("whole", [True, False])
def test_an_app_gets_the_file(join: Join, whole: bool) -> None:
    transfers, grid = Transfers(bar=False), Carried()
    seen: list[Any] = []
    with federation(rounds=2) as world:
        grid.add(app(seen, whole=whole), join(world, transfers=transfers))
        carrier = strategy(world)
        result = carrier.start(grid=grid, initial_arrays=ArrayRecord())
        assert [len(report.accepted) for report in carrier.reports] == [1, 1]
    for names, content, apart in seen:
        assert content == ["arrays", "config"]
        assert names == sorted({*MODEL, "table"} if whole else MODEL)
        assert np.array_equal(apart["table"], carried.VALUES)
        assert not apart["table"].flags.writeable
    assert len(seen) == 2
    assert frozen.arrays() == {}, "outside of a training there are none"
    assert np.array_equal(result.arrays["table"].numpy(), carried.VALUES)
    assert [down for _, down, _ in grid.bytes] == [0, 0]
    assert transfers.bytes[DOWN] == MANIFEST.state_file_size + MANIFEST.size + len(carried.DATA), "once"


def test_an_app_that_trains_the_file_is_refused(join: Join) -> None:
    with federation() as world:
        grid = LocalGrid()
        grid.add(app([], whole=True, change=0.5), join(world))
        assert refusals(world, grid) == ["wrong-reply"]


def test_a_keeper_without_room_costs_its_node_the_round(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    grid = LocalGrid()
    events: list[dict[str, Any]] = []
    with federation() as world, pytest.MonkeyPatch.context() as patched:
        ada = join(world, transfers=Transfers(events.append, bar=False))
        grid.add(app([], whole=False), ada)
        full = shutil.disk_usage(ada.home)._replace(free=0)
        patched.setattr(shutil, "disk_usage", lambda path: full)
        assert refusals(world, grid) == ["keeper-disk"]
    (failed,) = [event for event in events if event["event"] == "keeper-failed"]
    assert failed["code"] == "keeper-disk"
    assert "need 0.0 MB more in" in failed["detail"]
    assert str(ada.home) not in [record.message for record in caplog.records if "Node " in record.message]
