# SPDX-License-Identifier: Apache-2.0
"""At width 2 a node sends in a round what its earlier updates left out, once, and nothing of a void round."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message

from folkmoot.flower import eager
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.memory import SENT_RECORD
from folkmoot.flower.mod import folkmoot_mod
from folkmoot.protocol import feedback
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import NO_MEMORY
from folkmoot.protocol.fixed_point import to_float32
from folkmoot.protocol.manifest import Manifest
from tests.unit.flower.conftest import MANIFEST, MODEL
from tests.unit.flower.grid import context
from tests.unit.flower.test_eager import EagerNode
from tests.unit.flower.test_memory import POINTS, Counting, Node
from tests.unit.flower.test_mod import App, train_message
from tests.unit.flower.world import CountingSigner, World, account
from tests.unit.privacy.test_settings import GOOD

ADA = account("ada").address


TRAINING = {**MANIFEST.training, "feedback": True}
CHANGES = np.linspace(-0.05, 0.05, 300, dtype=np.float32).reshape(3, 100)
"""What training takes from the weights, beside `App.shift`."""


@pytest.fixture(autouse=True)
def _changes_of_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = App.__call__

    def change(arrays: dict[str, Any]) -> None:
        arrays["weight"] -= CHANGES

    def trains(app: App, message: Message, context: Context) -> Message:
        return usual(replace(app, spoil=change), message, context)

    monkeypatch.setattr(App, "__call__", trains)


class Coarse(World):
    """A federation of width 2 whose updates round changes to multiples of 1/32."""

    def __init__(self, training: Mapping[str, Any] = TRAINING) -> None:
        super().__init__(replace(MANIFEST, training=training), dict(MODEL), exponent=-5, rounds=9)
        self.policy = replace(self.policy, width=2, mean_scale=7)
        self.rounds[-1].header = self._header(1, self.states[-1])

    def update(self, number: int) -> bytes:
        return self.rounds[number].updates[ADA][1]

    def plain(self, number: int) -> bytes:
        """Return the update of a round without feedback."""
        return encode_update(*self._given(number), width=2).data

    def expected(self, number: int, residual: F32 | None, start: F32 | None = None) -> tuple[bytes, F32, F32]:
        """Return the update that takes up a residual in a round, the change that it is of, and the new residual."""
        given = self._given(number, start)
        update, change = feedback.encode(*given, residual=residual)
        return update.data, change, feedback.left_out(change, update.data, given[2], self.manifest)

    def _given(self, number: int, start: F32 | None = None) -> tuple[F32, F32, Any, Manifest, bytes, str]:
        if start is None:
            start = to_float32(self.states[self.rounds[number].base].theta)
        arrays = self.manifest.unflatten(start, dtypes=True)
        shift, header = np.float32(App.shift), self.rounds[number].header
        trained = {name: array - shift for name, array in arrays.items()}
        trained["weight"] -= CHANGES
        end = self.manifest.flatten(trained)
        return start, end, header.exponents, self.manifest, header.seed, ADA


@pytest.fixture
def world() -> Iterator[Coarse]:
    with Coarse() as running:
        yield running


@pytest.fixture
def node(world: Coarse, join: Callable[..., Contributor]) -> Node:
    """A node whose app keeps nothing."""
    return Node(world, join(world), App())  # type: ignore[arg-type]  # it counts nothing


def other_ends_the_round(world: World, join: Callable[..., Contributor]) -> None:
    ben = Node(world, join(world, "ben"))
    mod = folkmoot_mod(signer=CountingSigner(account("ben")))
    ben.commit(mod(train_message(world), context(ben.contributor), App()))


def test_an_update_takes_up_what_the_earlier_ones_left_out(node: Node, world: Coarse) -> None:
    residual = None
    for number in (1, 2, 3):
        commitment = node.round()
        update, _, left = world.expected(number, residual)
        assert world.update(number) == update
        assert commitment.memory_hash != NO_MEMORY
        assert update != world.plain(number)
        assert residual is None or update != world.expected(number, None)[0]
        residual = left
    assert node.context is not None
    assert not node.context.state, "Flower's state has no residual"


class Looking(Counting):
    """An app that looks for the residual in its state."""

    def __call__(self, message: Message, context: Context) -> Message:
        assert SENT_RECORD not in context.state
        return super().__call__(message, context)


def test_an_app_with_a_memory_does_not_see_the_residual(node: Node, world: Coarse) -> None:
    node.app = Looking()
    node.round()
    residual = world.expected(1, None)[2]
    node.round()
    assert world.update(2) == world.expected(2, residual)[0]
    world.policy = replace(world.policy, width=4)
    world.rounds[-1].header = world._header(3, world.states[-1])
    node.round()
    assert node.app.seen == [0, 1, 2]
    world.policy = replace(world.policy, width=2)
    world.rounds[-1].header = world._header(4, world.states[-1])
    node.round()
    assert world.update(4) == world.expected(4, None)[0], "what round 2 left out is lost with another width"


def test_an_app_must_not_use_the_name_of_the_record(node: Node) -> None:
    def clashing(message: Message, context: Context) -> Message:
        context.state[SENT_RECORD] = ConfigRecord({"mine": 1})
        return App()(message, context)

    node.app = clashing  # type: ignore[assignment]  # any app; this one counts nothing
    reply = node.train()
    assert str(reply.error.reason).startswith(
        "wrong-memory: the app's state has a record named 'folkmoot.memory.sent'"
    )


@pytest.mark.parametrize("void", [False, True])
def test_an_update_that_the_chain_does_not_have_is_taken_up_as_a_whole(
    node: Node, world: Coarse, join: Callable[..., Contributor], void: bool
) -> None:
    """Of a void round nothing is taken up: it is trained again from the same base."""
    node.round()
    first = world.expected(1, None)[2]
    assert not node.train().has_error()
    del world.rounds[2].updates[ADA]
    lost = world.expected(2, first)[1]
    if void:
        world.cancel_round()
    else:
        other_ends_the_round(world, join)
    node.round()
    assert world.update(3) == world.expected(3, first if void else lost)[0]


@pytest.mark.parametrize("point", POINTS)
def test_a_node_that_dies_anywhere_takes_up_each_residual_once(
    node: Node, world: Coarse, point: str, tmp_path: Path
) -> None:
    node.round()
    node.die(point, tmp_path / "died")
    residual = world.expected(1, None)[2]
    for number in (2, 3):
        node.round()
        update, _, residual = world.expected(number, residual)
        assert world.update(number) == update


def test_after_damage_there_is_no_residual(node: Node, world: Coarse) -> None:
    node.round()
    (path,) = node.memories
    path.write_bytes(path.read_bytes()[:-1])
    node.round()
    assert world.update(2) == world.expected(2, None)[0]
    residual = world.expected(2, None)[2]
    node.round()
    assert world.update(3) == world.expected(3, residual)[0]


def test_a_residual_that_cant_be_replaced_is_kept_and_not_used(node: Node, world: Coarse) -> None:
    """The disk is full, or the memory too large: the earlier one stays, and its residual must not count twice."""
    node.app = Counting()
    node.round()
    node.app.ballast = 3_000_000
    assert node.round().memory_hash == NO_MEMORY
    assert world.update(2) == world.plain(2)
    node.app.ballast = 3
    residual = world.expected(1, None)[2]
    node.round()
    assert world.update(3) == world.expected(3, residual)[0]


@pytest.mark.parametrize("training", [{}, {"feedback": False}, {"feedback": "true"}])
def test_a_federation_that_does_not_ask_for_it(
    training: Mapping[str, Any], join: Callable[..., Contributor]
) -> None:
    with Coarse(training) as world:
        node = Node(world, join(world), App())  # type: ignore[arg-type]  # it counts nothing
        assert [node.round().memory_hash for _ in range(2)] == [NO_MEMORY] * 2
        assert [world.update(number) for number in (1, 2)] == [world.plain(number) for number in (1, 2)]
        assert not node.memories


@pytest.mark.parametrize("declared", [{}, {"privacy": GOOD}])
def test_a_private_federation_has_none(declared: Mapping[str, Any], join: Callable[..., Contributor]) -> None:
    """Nothing of an earlier round's records may be in an update. A policy with noise is enough to forbid it."""
    with Coarse({**TRAINING, **declared}) as world:
        world.policy = replace(
            world.policy, noise1024=GOOD["noise1024"], steps=GOOD["steps"], privacy_cap=10**9
        )
        world.rounds[-1].header = world._header(1, world.states[-1])
        node = Node(world, join(world, private=True), App())  # type: ignore[arg-type]  # it counts nothing
        reply = node.train()
        if not declared:
            assert reply.has_error()  # No settings say how much noise: the node refuses the round.
        else:
            assert node.commit(reply).memory_hash == NO_MEMORY
            assert node.round().memory_hash == NO_MEMORY
            assert [world.update(number) for number in (1, 2)] == [world.plain(number) for number in (1, 2)]
        assert not node.memories


def test_an_eager_start_takes_up_the_residual_of_its_base(
    join: Callable[..., Contributor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(eager, "_jobs", [])
    with Coarse({**TRAINING, "start": "eager"}) as world:
        contributor = join(world)
        node = EagerNode(world, contributor)
        node.play()
        residual = world.expected(1, None)[2]
        eager.train_on()
        start = node.own_start(1)
        world.expect = 2
        node.play()
        eager._jobs.pop().lock.lock.release()
        world.cancel_round()
        world.expect = 1
        node.play()
        assert world.update(3) == world.expected(3, residual, start)[0], (
            "the void round 2 used it up for nobody"
        )
        assert len(node.app.starts) == 2
        residual = world.expected(3, residual, start)[2]
        eager.train_on()
        start = node.own_start(3)
        node.play()
        assert world.update(4) == world.expected(4, residual, start)[0]
