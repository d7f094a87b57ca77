# SPDX-License-Identifier: Apache-2.0
"""What a node checks before it joins, and what its processes get to see."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from client.node import node
from client.signer.agent import SignerAgent, linked_signer
from client.signer.checks import SigningRules
from client.signer.keys import LocalKey
from client.tasks.genesis import start_of, write_genesis
from folkmoot.artifacts.sources import open_source
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import (
    CoordinatorError,
    InputError,
    LocalError,
    TaskError,
)
from folkmoot.flower.contributor import CONTRIBUTOR_FILE, Contributor
from folkmoot.flower.signing import account_of_agent
from folkmoot.flower.updates import KeptUpdate, keep_update, kept_update
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import MEAN_SQUARE_CAPS
from folkmoot.protocol.state import State
from folkmoot.runtime.superlink import SuperLink
from folkmoot.tasks import load_task
from tests.unit.flower.world import World, account

if TYPE_CHECKING:
    from folkmoot.tasks import Task


@pytest.fixture
def world() -> Any:
    task = load_task("digits")
    model = {name: value.numpy() for name, value in task.model().state_dict().items()}
    manifest = Manifest.from_arrays(task.name, model, task.training)
    with World(manifest, model) as running:
        yield running


def test_lines_of_a_nodes_log_are_events(world: World, tmp_path: Path) -> None:
    who = Contributor(
        tmp_path, world.url, world.url, world.deployment, account("ada").address, "digits", 0, 1
    )
    log, events = tmp_path / "log", list[dict[str, object]]()
    with node.NodeWatcher(who, log) as watcher:
        log.write_text(
            "INFO : No place: 0x1 was not drawn for round 7.\nERROR : Refused: wrong-base.\n"
            "INFO : Round 8: trained 9.0 s of 12.0 s, 3.5 s of them on a processor\n"
            "INFO : Round 8: trained a lot\n"
        )
        watcher.look(events.append)
    assert events == [
        {"event": "no-place", "detail": "0x1 was not drawn for round 7."},
        {"event": "refused", "detail": "wrong-base."},
        {
            "event": "trained",
            "detail": "Round 8: trained 9.0 s of 12.0 s, 3.5 s of them on a processor.",
            "round": 8,
            "seconds": 9.0,
            "since": 12.0,
            "processor": 3.5,
        },
    ]


def test_the_coordinator_must_serve_the_same_federation(world: World) -> None:
    deployment = Deployment.from_json(world.deployment)
    with CoordinatorApi(world.url) as api:
        node.check_coordinator(api, deployment)
        with pytest.raises(CoordinatorError, match="serves another federation"):
            node.check_coordinator(api, replace(deployment, ledger="0x" + "cc" * 20))


def test_the_task_must_have_the_federations_model(world: World) -> None:
    node.check_task(load_task("digits"), world.manifest)
    with pytest.raises(TaskError, match="works on the task 'digits', not on 'mnist'"):
        node.check_task(load_task("mnist"), world.manifest)
    other = replace(world.manifest, arrays=world.manifest.arrays[:-1])
    with pytest.raises(TaskError, match="not the federation's"):
        node.check_task(load_task("digits"), other)


def test_a_refused_second_join_leaves_the_running_node_as_it_was(tmp_path: Path, world: World) -> None:
    """Both name the same --home: the second is refused and has changed nothing."""
    running = Contributor(
        tmp_path, world.url, world.url, world.deployment, account("ada").address, "digits", 0, 2
    )
    running.save()
    before = (tmp_path / CONTRIBUTOR_FILE).read_bytes()
    second = replace(running, account=account("ben").address, task="mnist", partition=1)
    options = node.NodeOptions(SuperLink("127.0.0.1:9"))
    rules = SigningRules(Deployment.from_json(world.deployment), world.manifest)

    def agent(name: str) -> SignerAgent:
        return SignerAgent(LocalKey(account(name)), rules, world.url, second.socket, tmp_path / "signer")

    with agent("ada"), pytest.raises(LocalError) as refused:
        node.run_node(second, agent("ben"), options, on_event=lambda _: None)
    assert refused.value.code == "home-in-use"
    with linked_signer(tmp_path / "other.sock", tmp_path), pytest.raises(LocalError) as refused:
        node.run_node(
            second, linked_signer(tmp_path / "other.sock", tmp_path), options, on_event=lambda _: None
        )
    assert refused.value.code == "home-in-use"
    assert (tmp_path / CONTRIBUTOR_FILE).read_bytes() == before


def test_a_folder_has_one_node_whatever_agents_they_use(tmp_path: Path, world: World) -> None:
    who = Contributor(
        tmp_path, world.url, world.url, world.deployment, account("ada").address, "digits", 0, 1
    )
    options = node.NodeOptions(SuperLink("127.0.0.1:9"))

    @contextlib.contextmanager
    def second() -> Iterator[None]:
        raise AssertionError("A second node has started its agent.")
        yield

    @contextlib.contextmanager
    def first() -> Iterator[None]:
        node.run_node(who, second(), options, on_event=lambda _: None)
        yield

    with pytest.raises(LocalError) as refused:
        node.run_node(who, first(), options, on_event=lambda _: None)
    assert refused.value.code == "home-in-use"


def test_a_node_uses_the_agent_of_another_process(tmp_path: Path, world: World) -> None:
    rules = SigningRules(Deployment.from_json(world.deployment), world.manifest)
    far, home = tmp_path / "far.sock", tmp_path / "home"
    home.mkdir()
    with SignerAgent(LocalKey(account("ada")), rules, world.url, far, tmp_path / "signer"):
        with linked_signer(far, home):
            assert account_of_agent(home / "signer.sock") == (account("ada").address, world.domain)
        assert not (home / "signer.sock").is_symlink()


@pytest.mark.parametrize(("text", "expected"), [("0/1", (0, 1)), ("3/5", (3, 5))])
def test_partitions(text: str, expected: tuple[int, int]) -> None:
    assert node.parse_partition(text) == expected


@pytest.mark.parametrize("text", ["", "1", "5/5", "-1/5", "1/0", "a/b", "1/2/3", "1.0/2"])
def test_partitions_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="not a partition"):
        node.parse_partition(text)


def test_the_supernode_gets_no_password() -> None:
    environment = node.node_environment(
        Path("/home/x"), {"FOLKMOOT_PASSWORD": "secret", "PATH": "/bin", "X": "1"}
    )
    assert "secret" not in environment.values()
    assert environment["X"] == "1"
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["PATH"].endswith(os.pathsep + "/bin")


@pytest.mark.parametrize(
    ("superlink", "insecure"),
    [
        ("127.0.0.1:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("moot.example:1", False),
        ("10.0.0.1:1", False),
    ],
)
def test_only_this_machine_is_reached_without_tls(tmp_path: Path, superlink: str, insecure: bool) -> None:
    contributor = Contributor(tmp_path, "", "", {}, "", "mnist", 0, 1)
    assert (
        "--insecure" in node.node_command(contributor, node.NodeOptions(SuperLink(superlink)), 1)
    ) is insecure
    forced = node.NodeOptions(SuperLink(superlink, plain=True))
    assert "--insecure" in node.node_command(contributor, forced, 1)


def test_a_contributors_file_reads_back(tmp_path: Path, world: World) -> None:
    who = account("ada").address
    made = Contributor(tmp_path, world.url, world.url, world.deployment, who, "mnist", 1, 5, "good")
    made.save()
    assert Contributor.load(tmp_path) == made
    assert Contributor.of_node({"folkmoot-home": str(tmp_path)}).chain_id == 31337


def test_the_file_of_an_older_version_is_read(tmp_path: Path, world: World) -> None:
    """Nodes of version 0.2 could be told to attack."""
    who = account("ada").address
    made = Contributor(tmp_path, world.url, world.url, world.deployment, who, "mnist", 1, 5)
    made.save()
    file = tmp_path / CONTRIBUTOR_FILE
    document = json.loads(file.read_text())
    assert "attack" not in document
    file.write_text(json.dumps({**document, "attack": "sign-flip:3"}))
    assert Contributor.load(tmp_path) == made


def test_a_simulated_node_finds_its_contributor_by_its_partition(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("ada", "ben"), 1):
        home = tmp_path / f"contributor-{number}"
        home.mkdir()
        deployment = world.deployment
        Contributor(home, world.url, "", deployment, account(name).address, "app", number - 1, 2).save()
    with pytest.raises(InputError, match="no folkmoot-home"):
        Contributor.of_node({"partition-id": 1, "num-partitions": 2})
    monkeypatch.setenv("FOLKMOOT_HOMES", str(tmp_path))
    found = Contributor.of_node({"partition-id": 1, "num-partitions": 2})
    assert (found.account, found.home) == (account("ben").address, tmp_path / "contributor-2")
    own = {"folkmoot-home": str(tmp_path / "contributor-1"), "partition-id": 1}
    assert Contributor.of_node(own).account == account("ada").address, "a folder of its own comes first"
    with pytest.raises(InputError, match=r"contributor-3.*can't be read"):
        Contributor.of_node({"partition-id": 2})
    with pytest.raises(InputError, match="no folkmoot-home"):
        Contributor.of_node({})


@pytest.mark.parametrize("damage", ["", "{}", "[]", "no json", '{"deployment": {"ledger": "x"}}'])
def test_a_damaged_contributors_file(tmp_path: Path, damage: str) -> None:
    (tmp_path / "contributor.json").write_text(damage)
    with pytest.raises(InputError, match="can't be read") as caught:
        Contributor.load(tmp_path)
    assert caught.value.code == "no-contributor"


def test_kept_updates_are_the_last_ones_and_whole(tmp_path: Path) -> None:
    for number in range(1, 7):
        keep_update(tmp_path, number, KeptUpdate("ab", "{}", bytes([number])))
    assert [number for number in range(10) if kept_update(tmp_path, number)] == [4, 5, 6]
    (tmp_path / "updates" / "6.update").unlink()
    assert kept_update(tmp_path, 6) is None
    for text in ("half", "[" * 100_000):
        (tmp_path / "updates" / "5.json").write_text(text)
        assert kept_update(tmp_path, 5) is None


def test_a_genesis_is_a_mirror_and_always_the_same(tmp_path: Path) -> None:
    task = load_task("digits")
    made = write_genesis(task, tmp_path)
    assert start_of(task).genesis == made.genesis
    source = open_source(str(tmp_path))
    assert Genesis.from_json(source.document(made.genesis.hash.hex())) == made.genesis
    manifest = Manifest.from_json(source.fetch(made.genesis.manifest, 1 << 20).read_bytes())
    state = State.from_bytes(source.fetch(made.genesis.state, 1 << 24).read_bytes(), manifest)
    assert state.root(manifest.hash) == made.state_root
    assert (tmp_path / "genesis.json").read_bytes() == made.genesis.to_json()
    assert dict(manifest.training) == json.loads(json.dumps(task.training))


def test_first_exponents_come_from_a_training() -> None:
    """Everybody's first update fits the default norm cap, and uses the eight bits."""
    task = load_task("digits")
    start = start_of(task)
    assert not start.guessed
    for share in range(5):
        model = task.model()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        task.train(model, task.load(share, 5, 0), {**start.manifest.training, "seed": 7}, {})
        after = model.state_dict()
        squares = sum(
            float(((before[tensor.name] - after[tensor.name]) * 2.0**-exponent).square().sum())
            for tensor, exponent in zip(start.manifest.tensors, start.genesis.exponents, strict=True)
        )
        assert 6**2 < squares / start.manifest.elements < MEAN_SQUARE_CAPS[8] / 2


def test_first_exponents_are_guessed_without_data() -> None:
    start = start_of(cast("Task", WithoutData()))
    assert start.guessed == "TaskError: There is no data here."
    assert set(start.genesis.exponents) == {-9}


class WithoutData:
    """The task digits where its data are not."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load_task("digits"), name)

    def load(self, partition: int, partitions: int, seed: int) -> Any:
        raise TaskError("There is no data here.")


def test_the_watcher_reports_the_bundle_and_survives_what_the_training_code_writes(
    tmp_path: Path, world: World
) -> None:
    who = Contributor(
        tmp_path, world.url, world.url, world.deployment, account("ada").address, "digits", 0, 1
    )
    log = tmp_path / "supernode.log"
    log.write_text("")
    running = tmp_path / "flower" / "bundles" / "running"
    running.parent.mkdir(parents=True)
    running.write_text("of an earlier start")
    events: list[dict[str, object]] = []
    updates = tmp_path / "updates"
    updates.mkdir()
    with node.NodeWatcher(who, log) as watcher:
        watcher.look(events.append)
        running.write_text("ab" * 32)
        os.utime(running, ns=(1, 1))
        log.write_text("Bundle: " + "cd" * 32 + "\n")
        (updates / "1.json").write_text('{"commitment": "[]"}')
        (updates / "2.json").write_text("[" * 100_000)
        (updates / "3.json").mkdir()
        (updates / "4.json").write_text("0" * (node.LARGEST_DESCRIPTION + 1))
        watcher.look(events.append)
    assert events == [{"event": "bundle", "hash": "ab" * 32}]


def test_the_newest_updates_are_followed_however_many_there_are(tmp_path: Path, world: World) -> None:
    who = Contributor(
        tmp_path, world.url, world.url, world.deployment, account("ada").address, "digits", 0, 1
    )
    (tmp_path / "updates").mkdir()
    with node.NodeWatcher(who, tmp_path / "log") as watcher:
        watcher._next = float("inf")
        for number in range(1000, 1100):
            (tmp_path / "updates" / f"{number}.json").write_text(
                '{"commitment": "{\\"updateRoot\\": \\"0x\\"}"}'
            )
        watcher.look(lambda event: None)
        assert watcher._under_way == list(range(1100 - node.FOLLOWED, 1100))


def test_a_file_of_any_name_does_not_keep_a_node_from_starting(tmp_path: Path, world: World) -> None:
    who = Contributor(
        tmp_path, world.url, world.url, world.deployment, account("ada").address, "digits", 0, 1
    )
    (tmp_path / "updates").mkdir()
    for name in ("evil", "-1", "²", "٣", "12"):
        (tmp_path / "updates" / f"{name}.json").write_text("{}")
    with node.NodeWatcher(who, tmp_path / "log") as watcher:
        assert watcher._under_way == [12]
