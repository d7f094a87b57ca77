# SPDX-License-Identifier: Apache-2.0
"""A node trains on while its round is committed and anchored, and commits only to the base that its round has."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message

from folkmoot.coordinator_api import commitment_from_wire
from folkmoot.flower import clock, eager
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.mod import folkmoot_mod
from folkmoot.flower.updates import kept_update
from folkmoot.protocol.codec import decode_update
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.fixed_point import to_float32
from folkmoot.protocol.outer_step import eager_start
from folkmoot.rpc.client import Phase
from folkmoot.runtime import fault_points
from tests.unit.flower.conftest import MANIFEST, MODEL
from tests.unit.flower.grid import context
from tests.unit.flower.test_memory import Counting, Node
from tests.unit.flower.test_mod import App, train_message
from tests.unit.flower.world import CountingSigner, World, account
from tests.unit.privacy.test_settings import GOOD

EAGER = replace(MANIFEST, training={**MANIFEST.training, "start": "eager"})


@dataclass
class Recording(Counting):
    """An app that remembers the weights and the time that each training began with."""

    starts: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __call__(self, message: Message, context: Context) -> Message:
        arrays = message.content["arrays"]
        assert isinstance(arrays, ArrayRecord)
        self.starts.append(EAGER.flatten({name: array.numpy() for name, array in arrays.items()}))
        self.times.append(clock.time_left())
        return super().__call__(message, context)


@dataclass
class EagerNode(Node):
    """A node with a keeper."""

    app: Recording = field(default_factory=Recording)
    ends_round: bool = True

    def play(self) -> Commitment:
        """Train and deliver, which ends the round; return the commitment."""
        number = self.world.rounds[-1].number
        reply = self.train()
        assert not reply.has_error(), reply.error
        kept = kept_update(self.contributor.home, number)
        assert kept is not None
        return commitment_from_wire(kept.commitment)[0]

    def after(self) -> list[str]:
        """Return what lies in the folder of eager trainings."""
        return sorted(
            path.name.partition("-")[0] for path in self.contributor.home.glob("memory/*/eager/*.draft")
        )

    def own_start(self, number: int) -> Any:
        """Return the eager start after a round, from what is public: base, header, policy and update."""
        world, header = self.world, self.world.rounds[number].header
        base = world.states[world.rounds[number].base]
        update = world.rounds[number].updates[self.contributor.account][1]
        start = eager_start(
            base.theta,
            base.momentum,
            decode_update(update, EAGER, header.width),
            world.policy.mean_scale,
            np.full(EAGER.leaves, world.exponent),
            world.policy.rate,
            world.policy.momentum,
        )
        return to_float32(start)


@pytest.fixture
def eager_world() -> Iterator[World]:
    with World(EAGER, dict(MODEL), rounds=9) as running:
        running.policy = replace(running.policy, momentum=512, rate=700)
        yield running


@pytest.fixture
def node(eager_world: World, join: Callable[..., Contributor], monkeypatch: pytest.MonkeyPatch) -> EagerNode:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(eager, "_jobs", [])
    return EagerNode(eager_world, join(eager_world))


def test_the_next_round_is_trained_from_ones_own_eager_start(
    node: EagerNode, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        base = node.world.states[-1]
        assert node.play().base_state_root == base.root(EAGER.hash), "the commitment is to the round's base"
        assert eager.waits()
        eager.train_on()
        assert np.array_equal(node.app.starts[-1], node.own_start(number))
        assert len(node.app.starts) == number + 1, "each training but the first is an eager one"
        assert node.after() == [str(one) for one in (number - 1, number) if one], (
            "what this base had, and the next"
        )
    assert node.app.seen == [0, 1, 2, 3], "what training keeps goes on"
    told = [spent for line in caplog.messages if (spent := clock.TrainingTime.in_line(line)) is not None]
    assert [spent.round for spent in told] == [1, 2, 3]
    assert [spent.since is None for spent in told] == [True, False, False]
    assert all(0 <= spent.seconds <= (spent.since or 60) for spent in told)
    change = to_float32(node.world.states[2].theta) - to_float32(node.world.states[3].theta)
    assert change.any(), "the updates were encoded"


def test_what_was_trained_is_the_update_of_the_next_round(node: EagerNode) -> None:
    node.play()
    eager.train_on()
    node.play()
    header = node.world.rounds[2].header
    sent = decode_update(node.world.rounds[2].updates[node.contributor.account][1], EAGER, header.width)
    shift = sent[sent != 0].mean() * 2.0**node.world.exponent
    assert abs(shift - App.shift) < 1e-3, "start minus end, not base minus end"


def test_a_round_that_starts_from_another_base_drops_the_work(node: EagerNode) -> None:
    node.play()
    eager.train_on()
    node.world.states.pop()  # Round 1 was proven wrong: the next one starts from the genesis again.
    node.world.rounds[1].phase = type(node.world.rounds[1].phase).CANCELLED
    node.world.rounds.pop()
    opened = node.world.open_round()
    assert opened.base == 0
    commitment = node.play()
    assert commitment.base_state_root == node.world.states[0].root(EAGER.hash)
    assert np.array_equal(node.app.starts[-1], to_float32(node.world.states[0].theta))
    assert node.after() == [], "of round 1 nothing is left"


def test_a_node_that_was_away_for_three_rounds_starts_from_the_base(
    node: EagerNode, join: Callable[..., Contributor]
) -> None:
    node.play()
    eager.train_on()
    ben = join(node.world, "ben")
    for _ in range(3):
        mod = folkmoot_mod(signer=CountingSigner(account("ben")))
        assert not mod(train_message(node.world), context(ben), App()).has_error()
        eager._jobs.pop().lock.lock.release()
    base = node.world.states[-1]
    assert node.play().base_state_root == base.root(EAGER.hash)
    assert np.array_equal(node.app.starts[-1], to_float32(base.theta))
    assert node.app.seen == [0, 1, 1], "of the eager training nothing is used"
    assert node.after() == []


def test_a_void_round_uses_the_same_work_again(node: EagerNode) -> None:
    node.play()
    eager.train_on()
    node.world.expect = 2
    first = node.play()
    eager._jobs.pop().lock.lock.release()
    node.world.cancel_round()
    node.world.expect = 1
    again = node.play()
    assert again.base_state_root == first.base_state_root
    assert again.round == first.round + 1
    assert len(node.app.starts) == 2, "nothing was trained twice"


@pytest.mark.parametrize("point", ["node.eager-trained", "node.eager-left"])
def test_a_process_that_is_killed_in_an_eager_training_costs_only_that(
    node: EagerNode, point: str, tmp_path: Path
) -> None:
    node.play()
    child = os.fork()
    if not child:
        fault_points._wanted.update(fault_points._parse(f"{point}@{tmp_path / 'died'}"))
        fault_points._passes[point] = 0
        with contextlib.suppress(BaseException):
            eager.train_on()
        os._exit(1)
    eager._jobs.pop().lock.lock.release()
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    left = point == "node.eager-left"
    base = node.world.states[-1]
    assert node.play().base_state_root == base.root(EAGER.hash)
    assert len(node.app.starts) == (1 if left else 2)
    if not left:
        assert np.array_equal(node.app.starts[-1], to_float32(base.theta)), "it starts from the base"


def test_the_next_message_waits_for_a_training_that_goes_on(node: EagerNode) -> None:
    node.play()
    began = threading.Event()
    usual = Recording.__call__

    class Slow(Recording):
        def __call__(self, message: Message, context: Context) -> Message:
            began.set()
            while clock.time_left() == float("inf"):  # until a round has opened
                time.sleep(0.01)  # a training that lasts
            return usual(self, message, context)

    node.app.__class__ = Slow
    training = threading.Thread(target=eager.train_on)
    training.start()
    assert began.wait(30)
    node.play()
    training.join(30)
    assert not training.is_alive()
    assert len(node.app.starts) == 2
    assert node.app.times[1] < 2**39, "the next round's end is known"


def test_a_training_that_nobody_wants_ends(node: EagerNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.play()
    ended = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda _: ended.set())
    job = eager._jobs.pop()
    threading.Thread(target=eager._watch, args=(job, threading.Event()), daemon=True).start()
    assert not ended.wait(0.1)
    assert job.store.take(7, bytes(32), (0.0, 0.0)) is None
    assert ended.wait(30)
    job.lock.lock.release()


def test_a_training_that_is_too_late_ends(node: EagerNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.play()
    ended = threading.Event()

    def end(_: int) -> None:
        ended.set()
        job.lock.lock.release()

    monkeypatch.setattr(os, "_exit", end)
    job = eager._jobs.pop()
    threading.Thread(target=eager._watch, args=(job, threading.Event()), daemon=True).start()
    past, header = time.monotonic() - 1, node.world.rounds[1].header.hash
    waiting = threading.Thread(target=job.store.take, args=(1, header, (past, past)))
    waiting.start()
    waiting.join(30)
    assert not waiting.is_alive()
    assert ended.is_set()


def test_nothing_is_trained_for_a_round_that_closed_while_it_waited(
    node: EagerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.play()
    eager._jobs.pop().lock.lock.release()

    def take(*_: Any) -> None:
        node.world.rounds[-1].phase = Phase.COMMITTED

    monkeypatch.setattr(eager.EagerStore, "take", take)
    reply = node.train()
    assert (reply.error.reason or "").startswith("round-closed")
    assert len(node.app.starts) == 1


def test_an_app_that_fails_costs_only_the_eager_training(
    node: EagerNode, caplog: pytest.LogCaptureFixture
) -> None:
    node.play()
    counted = node.app.ballast
    node.app.ballast = -1
    eager.train_on()
    assert "The training since round 1 is lost" in caplog.text
    node.app.ballast = counted
    node.play()
    assert len(node.app.seen) == 3


def test_damaged_work_is_not_used(node: EagerNode) -> None:
    node.play()
    eager.train_on()
    (path,) = node.contributor.home.glob("memory/*/eager/*.draft")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    base = node.world.states[-1]
    node.play()
    assert np.array_equal(node.app.starts[-1], to_float32(base.theta))


def test_a_refused_update_starts_nothing(node: EagerNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        World, "accept", lambda *_: (422, {"code": "wrong-root", "detail": "", "status": 422})
    )
    assert not node.train().has_error()
    assert not eager.waits()


@pytest.mark.parametrize("training", [{"start": "base"}, {"start": "eager", "privacy": GOOD}])
def test_no_eager_training_where_the_manifest_does_not_say_so(
    training: dict[str, Any], join: Callable[..., Contributor]
) -> None:
    manifest = replace(MANIFEST, training={**MANIFEST.training, **training})
    with World(manifest, dict(MODEL), rounds=9) as world:
        if "privacy" in training:
            world.policy = replace(
                world.policy, noise1024=GOOD["noise1024"], steps=GOOD["steps"], privacy_cap=2**60
            )
            world.rounds[-1].header = world._header(1, world.states[-1])
        contributor = join(world)
        EagerNode(world, contributor).play()
    assert not eager.waits()
    assert not list(contributor.home.glob("memory/*/eager"))


# The end of a training by the clock


@pytest.mark.parametrize(
    ("window", "seconds", "found"),
    [
        (600, None, 30 + 75),
        (600, 4.0, 30 + 6),
        (600, 500.0, 30 + 300),
        (30, None, 10 + 3.75),
        (3600, 0.0, 30),
    ],
)
def test_the_margin_before_the_end_of_a_window(window: int, seconds: float | None, found: float) -> None:
    assert clock.margin(window, seconds) == found


@pytest.mark.parametrize("value", ["", "[]", "-1", "NaN", "Infinity", "true", '"1"', "null", "1" * 400])
def test_times_that_cant_be_read_count_as_none(value: str, tmp_path: Path) -> None:
    for content in (value, f'{{"ended": {value}, "handing_in": {value}}}'):
        (tmp_path / "times").write_text(content)
        assert clock.read(tmp_path) == clock.Times()


def test_times_are_kept(tmp_path: Path) -> None:
    assert clock.read(tmp_path) == clock.Times()
    for times in (clock.Times(7.5), clock.Times(8.25, 2.0)):
        clock.write(tmp_path / "new", times)
        assert clock.read(tmp_path / "new") == times


@pytest.mark.parametrize(
    ("before", "line"),
    [
        (None, "Round 4: trained 9.0 s, 3.5 s of them on a processor"),
        (98.0, "Round 4: trained 9.0 s of 12.0 s, 3.5 s of them on a processor"),
        (110.0, "Round 4: trained 9.0 s, 3.5 s of them on a processor"),
    ],
)
def test_the_share_of_the_time_is_a_line_of_the_log(before: float | None, line: str) -> None:
    spent = clock.TrainingTime.of(4, clock.Span(101.0, 110.0, 3.5), before)
    assert str(spent) == line
    assert clock.TrainingTime.in_line(f"INFO :      {line}\n") == spent
    assert clock.TrainingTime.in_line(f"{line}, and more") is None


def test_by_the_clock_handing_in_is_measured_without_an_eager_start_too(
    join: Callable[..., Contributor],
) -> None:
    manifest = replace(MANIFEST, training={**MANIFEST.training, "clock": True})
    with World(manifest, dict(MODEL), rounds=9) as world:
        contributor = join(world)
        node = EagerNode(world, contributor)
        node.play()
        (kept,) = contributor.home.glob("memory/*/times")
        first = clock.read(kept.parent)
        node.play()
    assert 0 < (first.handing_in or 0) < 60
    assert (clock.read(kept.parent).ended or 0) > (first.ended or 0) > 0


def test_the_end_follows_the_chains_clock_and_not_the_machines(
    node: EagerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain is a year behind this machine, and its window has 600 seconds, of which 100 are over."""
    usual, now = World._round_abi, int(time.time()) - 31_536_000

    def timed(self: World, known: Any) -> tuple[Any, ...]:
        values = list(usual(self, known))
        values[3:6] = [now - 100, now + 500, now + 1000]
        return tuple(values)

    answer = World.rpc
    block = {"number": "0x1", "hash": f"0x{1:064x}", "timestamp": hex(now)}
    monkeypatch.setattr(World, "_round_abi", timed)
    monkeypatch.setattr(
        World, "rpc", lambda *words: block if words[1] == "eth_getBlockByNumber" else answer(*words)
    )
    node.play()
    assert 500 - 105 - 60 < node.app.times[0] <= 500 - 105
