# SPDX-License-Identifier: Apache-2.0
"""Watcher and challenges on Anvil under policies of other rules and widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import AuditFailure
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.policy import MEAN_SCALES
from folkmoot.rpc.client import Phase
from tests.integration import audit_world
from tests.integration import fraud_world as lies
from tests.integration.audit_world import MANIFEST, World
from tests.integration.fraud_world import judged
from tests.integration.watched import NAMES, QUARTER, Watched, phase, play_lie, won

FIVE = [*NAMES, "dora", "emil"]

pytestmark = pytest.mark.usefixtures("watchers_closed")


@pytest.mark.parametrize(
    ("width", "lie", "kind", "place"),
    [
        (4, play_lie(lies.lie_mean), "mean", 8),
        (4, lambda world: lies.play_out_of_range(world, NAMES), "update", 2),
        (2, play_lie(lies.lie_consistent), "mean", 8),
        (2, play_lie(lies.lie_theta), "outer-step", 3),
        (2, lambda world: lies.play_out_of_range(world, NAMES), "update", 2),
    ],
)
def test_rounds_of_a_smaller_width_are_audited_and_judged(
    chain: Anvil, tmp_path: Path, width: int, lie: Callable[[World], int], kind: str, place: int
) -> None:
    world = judged(chain, tmp_path / "artifacts", width=width, mean_scale=MEAN_SCALES[width])
    for _ in range(3):
        world.play(NAMES)
    assert {len(data) for record in world.rounds.values() for data in record.updates if data is not None} == {
        MANIFEST.size * width // 8
    }
    # Half a byte a coordinate: ±7 at width 4, and seven steps of ±1 at width 2.
    means = {record.outcome.artifacts.mean for record in world.rounds.values() if record.outcome is not None}
    assert {world.folder.place(name).stat().st_size for name in means} == {MANIFEST.size // 2}
    found = audit([chain.url], world.federation.deployment, FolderSource(world.folder.path))
    assert (found.recomputed, found.updates) == (3, 9)
    number = lie(world)
    with pytest.raises(AuditFailure):
        audit([chain.url], world.federation.deployment, FolderSource(world.folder.path))
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [line["round"] for line in seen.said("right")] == [1, 2, 3]
    assert [(line["kind"], line["place"]) for line in seen.said("proven")] == [(kind, place)], seen.lines
    assert len(seen.said("fault-proven")) == (kind == "update")
    assert phase(world, number) == Phase.SLASHED
    assert world.federation.chain.ledger.head().round == 3
    world.federation.chain.close()


def test_an_honest_run_under_references_is_never_challenged(chain: Anvil, tmp_path: Path) -> None:
    """Path and replay check need the files of earlier rounds; found in a fresh start and while following."""
    snapshot = chain.snapshot()
    world = judged(chain, tmp_path / "artifacts", rule="clamped_mean")
    following = Watched(world, tmp_path / "following")
    for _ in range(3):
        world.play(NAMES)
        assert following.watcher.look()
    late = Watched(world, tmp_path / "late")
    assert late.look() == 0
    for seen in (following, late):
        assert [line["round"] for line in seen.said("right")] == [1, 2, 3]
    world.play(NAMES, lies.lie_momentum)
    assert Watched(world, tmp_path / "late").look() == 3
    assert phase(world, 4) == Phase.SLASHED
    world.federation.chain.close()
    chain.revert(snapshot)


def test_a_wrong_sum_is_proven_with_hints(chain: Anvil, tmp_path: Path) -> None:
    snapshot = chain.snapshot()
    world = judged(chain, tmp_path / "artifacts", rule="clamped_mean")
    world.play(FIVE)
    number = world.play(FIVE, lies.lie_mean)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [line["round"] for line in seen.said("right")] == [1]
    assert seen.said("proven")[0]["kind"] == "mean"
    assert phase(world, number) == Phase.SLASHED
    world.federation.chain.close()
    chain.revert(snapshot)


# Under multi_krum


@pytest.fixture(scope="module")
def krum_origin(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A federation under multi_krum with an honest first round, in which one of five is left out."""
    world = judged(chain, tmp_path_factory.mktemp("krum") / "artifacts", rule="multi_krum", parameters=(1, 0))
    world.play([*FIVE, "coordinator"])
    yield world
    world.federation.chain.close()


@pytest.fixture
def krum(krum_origin: World, chain: Anvil, tmp_path: Path) -> Iterator[World]:
    """The same, for one test to go on with."""
    snapshot = chain.snapshot()
    yield krum_origin.copied(tmp_path / "artifacts")
    chain.revert(snapshot)


def test_an_honest_run_under_multi_krum_is_never_challenged(krum: World, tmp_path: Path) -> None:
    krum.play(FIVE)
    lies.play_false_norm(krum, FIVE, count=False)
    krum.play(["ada", "ben"])
    seen = Watched(krum, tmp_path / "watch")
    assert seen.look() == 0
    assert [line["round"] for line in seen.said("right")] == [1, 2, 3, 4]
    assert {line["event"] for line in seen.lines} == {"right"}


@pytest.mark.parametrize(
    ("lie", "kinds"),
    [
        (lies.lie_moved, ["rule"]),
        (lies.lie_no_gram_root, ["gram-root"]),
        (lies.lie_gram_tree, ["gram-leaf"]),
    ],
)
def test_what_the_rule_does_not_yield_is_punished(
    krum: World, tmp_path: Path, lie: Any, kinds: list[str]
) -> None:
    number = krum.play(FIVE, lie)
    seen = Watched(krum, tmp_path / "watch")
    assert seen.look() == 3
    assert [(line["round"], line["kind"]) for line in seen.said("wrong")] == [
        (number, kind) for kind in kinds
    ]
    assert [line["kind"] for line in seen.said("proven")] == kinds, seen.lines
    assert phase(krum, number) == Phase.SLASHED
    assert won(krum) == QUARTER


FALSE_TREES: dict[str, tuple[lies.Changes, str, int]] = {
    "product": ({(0, 1): lies.one_more}, "gram-leaf", 1),
    "sum": ({(1, 1): lies.one_more}, "gram-node", 1),
    "root": ({(2, 0): lies.one_more}, "gram-node", 0),
    "size": ({(0, 2): lambda matrix: matrix[:-24]}, "gram-node", 1),
    "behind the last block": ({(0, 3): lambda matrix: bytes(24 * 15)}, "gram-leaf", 3),
}


@pytest.mark.parametrize("name", FALSE_TREES)
def test_a_false_gram_tree_that_is_shown_is_refuted_where_it_is_false(
    chain: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In a model of 40 leaves, whose tree has three blocks on two levels."""
    changed, kind, place = FALSE_TREES[name]
    snapshot = chain.snapshot()
    manifest = Manifest("small", (Tensor("a", (60, 64)), Tensor("b", (80, 64)), Tensor("c", (1, 1100))))
    monkeypatch.setattr(audit_world, "MANIFEST", manifest)
    world = judged(chain, tmp_path / "artifacts", rule="multi_krum", parameters=(1, 0))
    number = world.play(FIVE, lambda world, outcome: lies.lie_shown_tree(world, outcome, manifest, changed))
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [(line["kind"], line["place"]) for line in seen.said("proven")] == [(kind, place)], seen.lines
    assert phase(world, number) == Phase.SLASHED
    world.federation.chain.close()
    chain.revert(snapshot)


def test_a_gram_tree_that_nobody_shows_is_a_matter_for_a_vote(krum: World, tmp_path: Path) -> None:
    number = krum.play(FIVE, lies.lie_hidden_gram_root)
    seen = Watched(krum, tmp_path / "watch")
    assert seen.look() == 3
    assert [line["what"] for line in seen.said("disputed")] == ["gram-root"]
    assert len(seen.said("dispute-opened")) == 1
    assert phase(krum, number) == Phase.ANCHORED


def test_where_no_judge_knows_the_rule_it_is_disputed(chain: Anvil, tmp_path: Path) -> None:
    """As in a round of a policy whose arbiter is older than GramProofs."""
    snapshot = chain.snapshot()
    world = judged(chain, tmp_path / "artifacts", without="GramProofs")
    number = world.play(NAMES, lies.lie_left_out)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [line["kind"] for line in seen.said("wrong")] == ["rule"]
    assert seen.said("disputed")[0]["what"] == "weight"
    assert len(seen.said("dispute-opened")) == 1
    again = Watched(world, tmp_path / "watch")
    assert again.look() == 3
    assert again.said("dispute-opened") == []
    assert phase(world, number) == Phase.ANCHORED
    world.federation.chain.close()
    chain.revert(snapshot)
