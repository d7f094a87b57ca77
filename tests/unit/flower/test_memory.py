# SPDX-License-Identifier: Apache-2.0
"""What training keeps from round to round."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from folkmoot.coordinator_api import commitment_from_wire
from folkmoot.errors import TaskError
from folkmoot.flower import drafting, records
from folkmoot.flower.client_app import anchored_client
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.memory import OLDEST, MemoryStore, Owner, StateMemory
from folkmoot.flower.mod import folkmoot_mod
from folkmoot.flower.signing import LocalSigner
from folkmoot.protocol.commitment import NO_MEMORY, Commitment
from folkmoot.runtime import fault_points
from folkmoot.tasks.memory import Memory, keep_optimizer, resume_optimizer
from tests.unit.flower.grid import context
from tests.unit.flower.test_mod import App, private_world, train_message
from tests.unit.flower.world import CountingSigner, World, account


def trained(memory: Memory, optimizer_type: type[torch.optim.Optimizer] = torch.optim.AdamW) -> torch.Tensor:
    """Return a weight after two steps, with the optimiser's state in the memory before and after."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_type([weight], lr=0.1)  # type: ignore[call-arg]
    resume_optimizer(memory, optimizer)
    for factor in (1.0, 5.0):
        optimizer.zero_grad()
        (factor * weight**2).sum().backward()
        optimizer.step()
    keep_optimizer(memory, optimizer)
    return weight.detach()


def test_a_state_holds_a_tasks_arrays_and_values() -> None:
    state = RecordDict({"own": ConfigRecord({"seen": 3})})
    memory = StateMemory(state)
    assert dict(memory) == {}
    memory["mean"] = torch.arange(3, dtype=torch.float64)
    memory["seen"], memory["name"], memory["rate"] = np.int64(7), "ada", 0.5
    again = StateMemory(state)
    assert set(again) == {"mean", "seen", "name", "rate"}
    assert len(again) == 4
    assert again["mean"].tolist() == [0.0, 1.0, 2.0]
    assert (again["seen"], again["name"], again["rate"]) == (7, "ada", 0.5)
    again["seen"] = np.zeros((2, 2), np.int8)  # a value may become an array
    del again["name"]
    assert set(memory) == {"mean", "seen", "rate"}
    assert memory["seen"].shape == (2, 2)
    assert state["own"] == ConfigRecord({"seen": 3})
    with pytest.raises(KeyError):
        memory["name"]


@pytest.mark.parametrize("value", [{"a": 1}, None, np.array([object()]), torch.ones(1, dtype=torch.bfloat16)])
def test_what_cannot_be_kept_is_refused_at_once(value: object) -> None:
    memory = StateMemory(RecordDict())
    with pytest.raises(TaskError, match="can't keep 'it'") as refused:
        memory["it"] = value
    assert refused.value.code == "wrong-memory"
    assert list(memory) == []


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("store", [dict, lambda: StateMemory(RecordDict())])
def test_an_optimiser_goes_on_where_it_was(kind: type[torch.optim.Optimizer], store: type[Memory]) -> None:
    memory = store()
    first = trained(memory, kind)
    second = trained(memory, kind)
    if kind is torch.optim.SGD:  # without momentum it has no state
        assert torch.equal(first, second)
    else:
        assert float(np.asarray(memory["optimizer/0/step"])) == 4
        assert not torch.equal(first, second), "the second round had the state of the first"
    other = torch.optim.AdamW([torch.nn.Parameter(torch.ones(4))])
    assert not resume_optimizer(memory, other), "a state of other shapes was loaded"
    assert not other.state_dict()["state"]


# What a node keeps


@dataclass
class Counting:
    """An app that counts its trainings in its state, beside an array."""

    ballast: int = 3
    seen: list[int] = field(default_factory=list)

    def __call__(self, message: Message, context: Context) -> Message:
        count = cast(int, context.state.config_records.get("own", ConfigRecord()).get("count", 0))
        if count:
            moments = context.state.array_records["moments"]["m"].numpy()
            assert moments.tolist() == [float(count)] * len(moments)
        self.seen.append(count)
        context.state["own"] = ConfigRecord({"count": count + 1, "raw": b"\0"})
        context.state["moments"] = ArrayRecord({"m": Array(np.full(self.ballast, count + 1.0))})
        return App()(message, context)


@dataclass
class Node:
    """A contributor's node. Each training has a new context, as after a restart of the SuperNode."""

    world: World
    contributor: Contributor
    app: Counting = field(default_factory=Counting)
    context: Context | None = None
    ends_round: bool = False
    """Whether the delivery of an update ends its round. Otherwise `commit` ends it."""

    def train(self) -> Message:
        if not self.ends_round:
            self.world.expect = 99
        self.context = context(self.contributor)
        mod = folkmoot_mod(signer=CountingSigner(account("ada")))
        return mod(train_message(self.world), self.context, self.app)

    def commit(self, reply: Message) -> Commitment:
        """End the round with the update of a reply, which a keeper has delivered; return its commitment."""
        assert not reply.has_error(), reply.error
        wire = str(reply.content.config_records[records.COMMITMENT]["commitment"])
        commitment = commitment_from_wire(wire)[0]
        assert self.world.rounds[-1].updates[commitment.contributor][0] == commitment
        with self.world.lock:
            self.world.close_round()
        return commitment

    def round(self) -> Commitment:
        return self.commit(self.train())

    def die(self, point: str, mark: Path) -> None:
        """Train in a process of its own, which is killed at a fault point."""
        child = os.fork()
        if not child:
            fault_points._wanted.update(fault_points._parse(f"{point}@{mark}"))
            fault_points._passes[point] = 0
            with contextlib.suppress(BaseException):
                self.train()
            os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        assert mark.exists()

    @property
    def memories(self) -> list[Path]:
        return sorted(self.contributor.home.glob("memory/*/*.memory"))


@pytest.fixture
def node(world: World, join: Callable[..., Contributor]) -> Node:
    world.total = 9
    return Node(world, join(world))


def test_training_goes_on_with_what_the_last_round_left(node: Node) -> None:
    hashes = [node.round().memory_hash for _ in range(4)]
    assert node.app.seen == [0, 1, 2, 3]
    assert len({*hashes, NO_MEMORY}) == 5
    assert [path.name for path in node.memories] == [f"{n}-{hashes[n - 1].hex()}.memory" for n in (3, 4)]
    assert all(b"moments" not in path.read_bytes() for path in node.memories), "they are encrypted"
    assert {path.stat().st_mode & 0o077 for path in node.memories} == {0}
    assert node.context is not None
    assert node.context.state["own"] == ConfigRecord({"count": 4, "raw": b"\0"}), (
        "Flower's state, for evaluations"
    )


def test_a_training_that_keeps_nothing_has_no_hash(node: Node) -> None:
    node.app = App()  # type: ignore[assignment]
    assert node.round().memory_hash == NO_MEMORY
    assert not node.memories


def test_a_void_round_does_not_count_for_the_memory_either(node: Node) -> None:
    node.round()
    for _ in range(3):
        assert not node.train().has_error()
        node.world.cancel_round()
    node.round()
    assert node.app.seen == [0, 1, 1, 1, 1]
    node.round()
    assert node.app.seen[-1] == 2


def test_a_signed_update_that_nobody_got_leaves_its_memory(
    node: Node, join: Callable[..., Contributor]
) -> None:
    """The optimiser's state is of the contributor's own records, whether or not others had its update."""
    ben = Node(node.world, join(node.world, "ben"))
    node.round()
    assert not node.train().has_error()
    mod = folkmoot_mod(signer=CountingSigner(account("ben")))
    ben.commit(mod(train_message(node.world), context(ben.contributor), App()))
    node.round()
    assert node.app.seen == [0, 1, 2]


POINTS = ["node.trained", "node.memory-drafted", "node.drafted", "node.signed", "node.kept"]


@pytest.mark.parametrize("point", POINTS)
def test_a_node_that_dies_anywhere_goes_on_with_the_right_memory(
    node: Node, point: str, tmp_path: Path
) -> None:
    node.round()
    node.die(point, tmp_path / "died")
    commitment = node.round()
    node.round()
    assert node.app.seen[-1] == 2
    assert node.memories[0].name == f"2-{commitment.memory_hash.hex()}.memory"


@pytest.mark.parametrize(("point", "void"), [*((point, False) for point in POINTS[1:]), ("node.kept", True)])
def test_a_node_that_dies_and_misses_the_round(
    node: Node, join: Callable[..., Contributor], point: str, void: bool, tmp_path: Path
) -> None:
    node.round()
    node.die(point, tmp_path / "died")
    if void:
        node.world.cancel_round()
    else:
        ben = Node(node.world, join(node.world, "ben"))
        mod = folkmoot_mod(signer=CountingSigner(account("ben")))
        ben.commit(mod(train_message(node.world), context(ben.contributor), App()))
    node.round()
    signed = point == "node.kept" and not void
    assert node.app.seen[-1] == (2 if signed else 1), "what was not signed is not used"
    assert not list(node.contributor.home.glob("memory/*/*.draft"))


def test_a_description_of_an_update_that_is_damaged(node: Node, tmp_path: Path) -> None:
    """Nobody knows whether the draft's update was signed, so it is not used, and training goes on."""
    node.round()
    node.die("node.kept", tmp_path / "died")
    (node.contributor.home / "updates" / "2.json").write_text(
        json.dumps({"headerHash": "", "commitment": "?", "said": ""})
    )
    assert not node.train().has_error()
    assert node.app.seen == [0, 1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("flipped", "can't be read: MAC check failed"),
        ("truncated", "can't be read"),
        ("large", "this model's may have"),
        ("other header", "is of another federation, model, account or round"),
        ("other key", "can't be read: MAC check failed"),
        ("other hash", "it is not what was signed"),
    ],
)
def test_a_memory_that_can_not_be_used(
    node: Node, caplog: pytest.LogCaptureFixture, damage: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.round()
    (path,) = node.memories
    stored = path.read_bytes()
    match damage:
        case "flipped":
            path.write_bytes(stored[:-1] + bytes([stored[-1] ^ 1]))
        case "truncated":
            path.write_bytes(stored[:20])
        case "large":
            os.truncate(path, 1 << 30)  # a file with a hole
        case "other header":
            header = node.world.rounds[1].header
            node.world.rounds[1].header = replace(header, policy_id=7)
        case "other key":
            monkeypatch.setattr(LocalSigner, "draft_key", lambda _: bytes(32))
        case "other hash":
            path.rename(path.with_name(f"1-{'ab' * 32}.memory"))
    assert node.round().memory_hash != NO_MEMORY
    assert node.app.seen == [0, 0]
    assert f"The memory of round 1 in {path.parent}" in caplog.text
    assert said in caplog.text
    assert "Nothing else is lost: this round starts without a memory" in caplog.text
    node.round()
    assert node.app.seen == [0, 0, 1]


def test_a_memory_of_another_owner_is_not_used(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.round()
    with monkeypatch.context() as patched:
        patched.setattr(drafting, "verified_bundle", lambda _: b"\7" * 32)
        node.round()
    assert node.app.seen == [0, 0], "another bundle"
    assert len({path.parent for path in node.memories}) == 2
    other = next(path for path in node.memories if path.parent.name == "07" * 32)
    (store,) = (path.parent for path in node.memories if path != other)
    for path in store.iterdir():
        path.unlink()
    other.rename(store / other.name)
    node.round()
    assert node.app.seen == [0, 0, 0], "a file that somebody moved"


def test_too_much_to_keep_leaves_the_earlier_memory(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.round()
    node.app.ballast = 3_000_000
    assert node.round().memory_hash == NO_MEMORY
    assert "What training keeps has 24,000" in caplog.text
    node.app.ballast = 3
    node.round()
    assert node.app.seen == [0, 1, 1]


def test_a_full_disk_costs_the_memory_and_not_the_update(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.round()
    node.app.ballast = 100_000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (400_000, limits[1])
    )  # a write beyond it fails, as on a full disk
    try:
        commitment = node.round()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert commitment.memory_hash == NO_MEMORY
    assert re.search(r"What training keeps can't be stored in .*: File too large\. Make room", caplog.text)
    assert not list(node.contributor.home.glob("memory/*/*.part"))
    node.app.ballast = 3
    node.round()
    assert node.app.seen == [0, 1, 1]


def test_a_private_federation_has_no_memory(join: Callable[..., Contributor]) -> None:
    """What an app keeps may be a function of the records, and the noise accounting holds for noised sums only."""
    with private_world() as world:
        world.total = 9
        node = Node(world, join(world, private=True))
        assert [node.round().memory_hash for _ in range(2)] == [NO_MEMORY] * 2
        assert node.app.seen == [0, 0]
        assert node.context is not None
        assert not node.context.state
        assert not node.memories


@pytest.mark.parametrize("shown", [False, True])
def test_an_anchored_app_can_see_the_ledgers_round(
    world: World, join: Callable[..., Contributor], shown: bool
) -> None:
    app, seen = ClientApp(), []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        seen.append(message.content.config_records.get(records.ROUND))
        return App()(message, context)

    signer = CountingSigner(account("ada"))
    contributor = join(world)
    anchored = anchored_client(app, contributor=contributor, signer=signer, show_round=shown)
    assert not anchored(train_message(world), context(contributor)).has_error()
    assert [record and record["round"] for record in seen] == [1 if shown else None]


def test_of_many_rounds_the_newest_that_the_base_was_made_in(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, Owner(1, "", "", "", ""), bytes(32), 1)

    def left(*rounds: int) -> None:
        for number in rounds:
            (tmp_path / f"{number}-{'00' * 32}.memory").touch()

    def chosen(base: int, base_of: Callable[[int], int] = lambda number: number - 1) -> int | None:
        kept = store.choose(base, base_of)
        assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == (
            [str(kept.round)] if kept else []
        )
        return kept.round if kept else None

    assert chosen(0) is None
    left(3, 5)
    assert chosen(9) == 5
    left(3, 5)
    assert chosen(6, lambda number: {6: 4, 4: 3}[number]) == 3, "round 5 was void"
    left(8)
    (tmp_path / f"4-{'00' * 32}.memory").mkdir()
    assert store.choose(7, lambda number: number - 1) is not None, "a folder is no memory"
    (tmp_path / f"4-{'00' * 32}.memory").rmdir()
    assert chosen(7) == 3
    assert chosen(3 + OLDEST - 1) == 3
    assert chosen(3 + OLDEST) is None, "too long ago"
