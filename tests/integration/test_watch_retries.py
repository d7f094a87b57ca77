# SPDX-License-Identifier: Apache-2.0
"""What a watcher tries again ends with the time in which it could have an effect, on Anvil with the real contracts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.errors import RpcError
from folkmoot.fraud.contracts import judges
from folkmoot.fraud.watcher.escalation import DEPOSIT_PATIENCE, Escalation
from folkmoot.fraud.watcher.retries import LONGEST_PAUSE
from folkmoot.rpc.client import Phase
from tests import factories
from tests.integration import fraud_world as lies
from tests.integration.audit_world import World
from tests.integration.fraud_world import CHALLENGER
from tests.integration.watched import NAMES, Watched, close_all

WINDOW = factories.policy().challenge_window

pytestmark = pytest.mark.usefixtures("watchers_closed")


@pytest.fixture
def world(judged_world: World) -> World:
    """A federation with judges and an honest first round, for one test to go on with."""
    return judged_world


def away(*arguments: Any, **named: Any) -> Any:
    """Fail as an endpoint does that is away."""
    raise RpcError("The endpoint is away.")


def looked(seen: Watched, seconds: int) -> None:
    """Look every five seconds of the watcher's clock, as a watcher does."""
    for _ in range(0, seconds, 5):
        seen.now += 5
        assert seen.watcher.look()


def given_up(seen: Watched, what: str) -> list[int]:
    """Return the rounds about which something was given up; the numbers say as many."""
    found = [line["round"] for line in seen.said("given-up") if line["what"] == what]
    registry = seen.watcher.metrics.registry
    assert registry.get_sample_value("folkmoot_watch_given_up_total", {"what": what}) == len(found)
    return found


@pytest.mark.long
def test_a_contributor_whose_update_no_mirror_has_is_blamed_no_longer_than_it_can_be(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = lies.play_false_norm(world, NAMES)
    with monkeypatch.context() as scripted:
        scripted.setattr(Escalation, "blame_contributor", away)
        assert Watched(world, tmp_path / "watch").look() == 3
    assert world.federation.chain.ledger.round(number).phase == Phase.SLASHED
    close_all()
    (tmp_path / "empty").mkdir()
    seen = Watched(world, tmp_path / "watch", mirrors={"empty": FolderSource(tmp_path / "empty")})
    looked(seen, 1_000)
    tries = len(seen.said("fault-failed"))
    assert 6 <= tries <= 10  # after 0, 5, 15, 35, 75, 155, 315, 635 s
    assert given_up(seen, "blame") == []
    assert seen.watcher.journal.rounds[number].blame is not None
    world.advance(factories.GOVERNANCE.unbonding)
    looked(seen, int(LONGEST_PAUSE))
    assert given_up(seen, "blame") == [number]
    assert f"It failed {tries} times" in seen.said("given-up")[0]["text"]
    assert seen.watcher.journal.rounds[number].blame is None
    said = len(seen.lines)
    looked(seen, 100)
    assert len(seen.lines) == said
    assert Watched(world, tmp_path / "watch").look() == 0  # remembered


@pytest.mark.long
def test_a_contributor_is_blamed_when_its_update_is_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies.play_false_norm(world, NAMES)
    seen = Watched(world, tmp_path / "watch")
    with monkeypatch.context() as scripted:
        scripted.setattr(judges, "prove_false_tree", away)
        assert seen.look() == 3
    assert len(seen.said("fault-failed")) == 1
    looked(seen, 5)
    assert len(seen.said("fault-proven")) == 1
    assert given_up(seen, "blame") == []


@pytest.mark.long
def test_a_replay_is_tried_after_its_round_is_final_and_then_no_more(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = lies.play_replay(world, NAMES)
    seen = Watched(world, tmp_path / "watch")
    monkeypatch.setattr(judges, "prove_replay", away)
    looked(seen, 100)
    assert len(seen.said("fault-failed")) == 5  # after 0, 5, 15, 35, 75 s
    world.finalize(1)
    world.send("ledger", "finalize", number)
    looked(seen, 100)
    assert len(seen.said("fault-failed")) == 6
    world.advance(factories.GOVERNANCE.unbonding)
    looked(seen, int(LONGEST_PAUSE))
    assert given_up(seen, "replay") == [number]
    said = len(seen.lines)
    looked(seen, 100)
    assert len(seen.lines) == said


@pytest.mark.long
def test_a_replay_is_proven_after_its_round_is_final(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = lies.play_replay(world, NAMES)
    seen = Watched(world, tmp_path / "watch")
    with monkeypatch.context() as scripted:
        scripted.setattr(judges, "prove_replay", away)
        assert seen.look() == 0
    world.finalize(1)
    world.send("ledger", "finalize", number)
    looked(seen, 5)
    assert [line["round"] for line in seen.said("fault-proven")] == [number]


class Copies(FolderSource):
    """A mirror that tells which copies of its files are needed no more."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.discarded: set[str] = set()

    def discard(self, sha256: str) -> None:
        self.discarded.add(sha256)


@pytest.mark.long
def test_a_round_that_became_final_unchecked_is_told(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES, lies.lie_withheld)
    outcome = world.rounds[number].outcome
    assert outcome is not None
    updates = {name for name in outcome.artifacts.updates if name is not None}
    copies = Copies(world.folder.path)
    seen = Watched(world, tmp_path / "watch", mirrors={"copies": copies}, deposits=False)
    looked(seen, 100)
    assert seen.watcher.metrics.registry.get_sample_value("folkmoot_watch_unchecked_rounds") == 1
    world.advance(WINDOW)
    looked(seen, 1_500)  # nobody makes it final
    assert len(seen.said("withheld")) <= 10
    assert given_up(seen, "check") == []
    assert not updates & copies.discarded
    world.send("ledger", "finalize", 1)
    world.send("ledger", "finalize", number)
    assert seen.watcher.look()
    assert given_up(seen, "check") == [number]
    assert "was not checked: given up, as it is final" in seen.said("given-up")[0]["text"]
    assert updates <= copies.discarded


@pytest.mark.long
def test_a_challenge_that_was_not_made_until_the_round_was_final_is_told(
    world: World, tmp_path: Path
) -> None:
    number = world.play(NAMES, lies.lie_mean)
    dear = Watched(world, tmp_path / "dear", token_value=1e-9)
    assert dear.look() == 3
    world.finalize(1)
    world.send("ledger", "finalize", number)
    assert dear.watcher.look()
    assert given_up(dear, "challenge") == [number]
    assert "It costs more than it wins." in dear.said("given-up")[0]["text"]


@pytest.mark.long
def test_a_challenge_that_somebody_else_made_is_not_given_up(world: World, tmp_path: Path) -> None:
    world.play(NAMES, lies.lie_mean)
    dear = Watched(world, tmp_path / "dear", token_value=1e-9)
    assert dear.look() == 3
    assert Watched(world, tmp_path / "other").look() == 3
    looked(dear, 10)
    assert len(dear.said("void")) == 1
    assert dear.said("given-up") == []


@pytest.mark.long
def test_a_dispute_is_tried_until_none_can_be_opened(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = world.play(NAMES, lies.lie_verdicts)
    seen = Watched(world, tmp_path / "watch")
    monkeypatch.setattr(judges, "dispute", away)
    looked(seen, 40)
    assert 2 <= len(seen.said("dispute-failed")) <= 5
    assert given_up(seen, "dispute") == []
    monkeypatch.undo()
    world.advance(2 * WINDOW)  # nobody makes it final, and the contract takes no dispute any more
    looked(seen, 100)
    assert given_up(seen, "dispute") == [number]
    assert seen.watcher.journal.rounds[number].settled
    tries = len(seen.said("dispute-failed"))
    looked(seen, 700)
    assert len(seen.said("dispute-failed")) == tries


@pytest.mark.long
def test_files_are_demanded_no_later_than_they_can_be(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = world.play(NAMES, lies.lie_withheld)
    seen = Watched(world, tmp_path / "watch")
    world.advance(WINDOW // 4)
    with monkeypatch.context() as scripted:
        scripted.setattr(judges, "demand", away)
        looked(seen, 20)
    failed = len(seen.said("demand-failed"))
    assert 1 <= failed <= 3
    world.advance(2 * WINDOW)
    looked(seen, 700)
    assert given_up(seen, "demand") == [number]
    assert len(seen.said("demand-failed")) == failed


@pytest.mark.long
def test_a_deposit_that_can_not_be_had_back_is_left_to_the_command(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = world.play(NAMES, lies.lie_withheld)
    seen = Watched(world, tmp_path / "watch")
    world.advance(WINDOW // 4)
    assert seen.watcher.look()
    assert len(seen.said("demanded")) == 1
    world.advance(lies.ANSWER_WINDOW)
    monkeypatch.setattr(judges, "prove_withheld", away)
    looked(seen, 100)
    assert 4 <= len(seen.said("demand-failed")) <= 7
    world.finalize(1)
    world.advance(4 * WINDOW)
    world.send("ledger", "finalize", number)
    monkeypatch.setattr(judges, "release", away)
    looked(seen, 700)
    assert given_up(seen, "deposit") == []
    seen.now += DEPOSIT_PATIENCE
    looked(seen, 5)
    assert given_up(seen, "deposit") == [number]
    assert "`folkmoot demand 1 --claim`" in seen.said("given-up")[-1]["text"]
    assert seen.watcher.journal.rounds[number].demands == []
    assert world.federation.chain.token.balance_of(factories.account(CHALLENGER).address) < lies.TOKENS
