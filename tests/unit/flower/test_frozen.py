# SPDX-License-Identifier: Apache-2.0
"""Carried files reach the app: from the keeper as a mapped file, or in the message of a node without a keeper."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.keeper.keeper import Keeper
from client.keeper.transfers import DOWN, Transfers
from folkmoot.flower import frozen, records
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.mod import folkmoot_mod
from folkmoot.flower.signing import LocalSigner
from folkmoot.protocol.manifest import Manifest
from tests import carried
from tests.unit.flower.conftest import MANIFEST as SMALL
from tests.unit.flower.conftest import MODEL
from tests.unit.flower.grid import context, number
from tests.unit.flower.test_names import Carried
from tests.unit.flower.test_strategy import Join, strategy
from tests.unit.flower.world import World, account

MANIFEST = Manifest("scripted", (*SMALL.arrays, carried.TABLE), SMALL.training)
CODED = len(carried.DATA) + 128
"""Bytes of the table as Flower's array."""


@pytest.fixture
def nodes_without_keepers() -> None:
    """Let the relay find out."""


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
@pytest.mark.parametrize("kept", [True, False])
def test_an_app_gets_the_file_with_and_without_a_keeper(join: Join, kept: bool, whole: bool) -> None:
    transfers, grid = Transfers(bar=False), Carried()
    seen: list[Any] = []
    with federation(rounds=2) as world, contextlib.ExitStack() as stack:
        ada = join(world)
        if kept:
            stack.enter_context(Keeper(ada, MANIFEST, world.genesis, (), transfers))
        grid.add(app(seen, whole=whole), ada)
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
    base = 8 * MANIFEST.size
    downs = [down for _, down, _ in grid.bytes]
    if kept:
        assert downs == [0, 0]
        assert transfers.bytes[DOWN] == MANIFEST.state_file_size + MANIFEST.size + len(carried.DATA), "once"
    else:
        assert downs[0] == 0
        assert all(base + len(carried.DATA) < down < base + CODED + 200 for down in downs[1:])


def answer(world: World, contributor: Contributor, node: ClientApp, sent: bytes | None) -> str:
    """Return why a node without a keeper refuses a round whose message has these bytes of the table."""
    round_message = records.RoundMessage(
        round=1,
        header=world.rounds[1].header.encoded,
        manifest=MANIFEST.to_json(),
        momentum_root=world.states[0].momentum_tree().root,
        chain_id=world.domain.chain_id,
        ledger=world.domain.verifying_contract,
        bundle_hash=b"",
    )
    content = RecordDict(
        {
            records.ROUND: round_message.to_record(),
            records.THETA: records.theta_record(world.states[0].theta),
            records.CONFIG: ConfigRecord({}),
        }
    )
    if sent is not None:
        table = Array(np.frombuffer(sent, dtype=np.uint8))
        content[records.CARRIED] = ArrayRecord({carried.TABLE.sha256: table})
    reply = node(number(Message(content, 1, "train"), "m1"), context(contributor))
    return str(reply.error.reason) if reply.has_error() else ""


@pytest.mark.parametrize(
    ("sent", "change", "said"),
    [
        (carried.DATA, 0.0, ""),
        (carried.DATA, 0.5, "wrong-reply: The app changed the array 'table' of float32"),
        (
            bytes(len(carried.DATA)),
            0.0,
            "malformed-round: The message does not have the values of the array 'table'",
        ),
        (carried.DATA[:-1], 0.0, "malformed-round: The message does not have the values"),
        (None, 0.0, "needs-base: this node has no keeper"),
    ],
    ids=["right", "trained", "other bytes", "cut", "none"],
)
def test_a_message_must_have_the_files(join: Join, sent: bytes | None, change: float, said: str) -> None:
    with federation() as world:
        found = answer(world, join(world), app([], whole=True, change=change), sent)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_keeper_without_room_costs_the_bytes_of_one_round(join: Join) -> None:
    grid = Carried()
    said: list[dict[str, Any]] = []
    with federation(rounds=2) as world, contextlib.ExitStack() as stack:
        ada = join(world)
        keeper = Keeper(ada, MANIFEST, world.genesis, (), Transfers(said.append, bar=False))
        stack.enter_context(keeper)
        grid.add(app([], whole=False), ada)
        full = shutil.disk_usage(ada.home)._replace(free=0)
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        patched.setattr(shutil, "disk_usage", lambda path: full)
        carrier = strategy(world)
        grid.on_push = lambda: patched.undo() if len(grid.sent) == 2 else None
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
        assert [len(report.accepted) for report in carrier.reports] == [1, 1]
    (failed,) = [line for line in said if line["event"] == "keeper-failed"]
    assert failed["code"] == "keeper-disk"
    assert "need 0.0 MB more in" in failed["detail"]
    assert [down > 0 for _, down, _ in grid.bytes] == [False, True, False]
