# SPDX-License-Identifier: Apache-2.0
"""What a watcher holds of a chain's history, on scripted chains: all that still matters, and no more."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.errors import LocalError, RpcError
from folkmoot.fraud.contracts.follower import Follower, commits_of
from folkmoot.fraud.contracts.record import Record, Replay, replays
from folkmoot.fraud.watcher import endpoints
from folkmoot.fraud.watcher.journal import Checked, Journal
from folkmoot.fraud.watcher.watch import FRAUD, Watcher
from folkmoot.ledger import follower
from folkmoot.ledger.follower import REORG_DEPTH
from folkmoot.ledger.pruned import PrunedRounds
from folkmoot.rpc.client import LedgerReader, Phase
from tests import factories
from tests.logged import log_to
from tests.scripted_ledger import BLOCKS, ScriptedLedger, ScriptedRpc, hash_of

EACH = 4
"""Updates of a round."""
PENDING = 3
"""Rounds that are not final."""


@pytest.fixture
def ledger() -> ScriptedLedger:
    return ScriptedLedger()


@pytest.fixture
def rpc(ledger: ScriptedLedger) -> ScriptedRpc:
    return ScriptedRpc(ledger)


@pytest.fixture
def past(tmp_path: Path) -> Iterator[PrunedRounds]:
    made = PrunedRounds.open(tmp_path / "past.sqlite", "me")
    yield made
    made.close()


def play(ledger: ScriptedLedger, rounds: int) -> None:
    for _ in range(rounds):
        ledger.play(EACH, PENDING)


def shown(record: Record) -> dict[int, tuple[Any, ...]]:
    """Return all that a record says of rounds."""
    return {
        n: (one.opened, one.commits, one.anchored, one.phase, record.case(n))
        for n, one in record.rounds.items()
    }


def first_asked(ledger: ScriptedLedger) -> int:
    """Return the first block whose logs were asked for since the last time."""
    blocks = [int(params[0]["fromBlock"], 16) for method, params in ledger.asked if method == "eth_getLogs"]
    ledger.asked.clear()
    return min(blocks)


def test_what_is_held_does_not_grow_with_the_history(
    ledger: ScriptedLedger, rpc: ScriptedRpc, past: PrunedRounds
) -> None:
    bounded, all_of_it = Follower(ledger.deployment, past), Follower(ledger.deployment)
    held = {}
    for rounds in range(1, 61):
        play(ledger, 1)
        record, whole = bounded.read(rpc), all_of_it.read(rpc)
        assert record.waiting() == whole.waiting()
        held[rounds] = bounded.held
    # Those that wait, the newest of those that are final, and as many below the oldest as a rule looks back, and one.
    assert held[30] == held[60] <= (PENDING + 2 + WINDOW + 1) * (1 + EACH)
    assert all_of_it.held > 50 * (1 + EACH)


def test_a_round_is_shown_with_all_that_it_is_examined_with(
    ledger: ScriptedLedger, rpc: ScriptedRpc, past: PrunedRounds
) -> None:
    play(ledger, 40)
    record, whole = Follower(ledger.deployment, past).read(rpc), Follower(ledger.deployment).read(rpc)
    oldest = record.waiting()[0].round
    assert set(range(oldest - WINDOW - 1, 41)) <= record.cases.keys()
    assert {number: whole.cases[number] for number in record.cases} == record.cases
    assert shown(record) == {number: one for number, one in shown(whole).items() if number in record.rounds}
    assert 1 not in record.rounds
    assert 1 in past


def test_a_first_look_at_a_long_history_lets_go_as_it_reads(
    ledger: ScriptedLedger, rpc: ScriptedRpc, past: PrunedRounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(ledger, 200)
    monkeypatch.setattr(follower, "MOST_EVENTS", 100)
    reading = Follower(ledger.deployment, past)
    most = 0
    let_go = past.let_go

    def spied(*arguments: Any) -> None:
        nonlocal most
        most = max(most, reading.held)
        let_go(*arguments)

    monkeypatch.setattr(past, "let_go", spied)
    reading.read(rpc)
    assert 0 < most < 100 + (PENDING + 2 + WINDOW + 1) * (1 + EACH)


def test_a_restart_comes_to_the_same_without_reading_all_again(
    ledger: ScriptedLedger, rpc: ScriptedRpc, tmp_path: Path
) -> None:
    with_old_policy = replace(factories.policy(), rule="clamped_mean")
    play(ledger, 30)
    ledger.add_policy(with_old_policy)
    play(ledger, 30)
    running = PrunedRounds.open(tmp_path / "past.sqlite", "me")
    going_on = Follower(ledger.deployment, running)
    going_on.read(rpc)
    running.close()
    running = PrunedRounds.open(tmp_path / "past.sqlite", "me")
    first_asked(ledger)
    again = Follower(ledger.deployment, running)
    record, whole = again.read(rpc), Follower(ledger.deployment).read(rpc)
    assert record.waiting() == whole.waiting()
    assert record.waiting()[0].policy == with_old_policy  # whose event is before all that was read
    assert again.held == going_on.held
    running.close()
    running = PrunedRounds.open(tmp_path / "past.sqlite", "me")
    ledger.asked.clear()
    Follower(ledger.deployment, running).read(rpc)
    assert first_asked(ledger) > 40 * BLOCKS
    running.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_reorg_behind_what_was_let_go_of_is_read_anew(
    ledger: ScriptedLedger, rpc: ScriptedRpc, past: PrunedRounds, restarted: bool
) -> None:
    play(ledger, 40)
    following = Follower(ledger.deployment, past)
    following.read(rpc)
    assert 5 in past
    ledger.rewind(10 * BLOCKS, "another")
    for number in (8, 9, 10):  # they became final in rounds that were taken back
        ledger._change(number, phase=Phase.ANCHORED)
    ledger.play(EACH + 1, PENDING)
    play(ledger, 35)
    following = Follower(ledger.deployment, past) if restarted else following
    record, whole = following.read(rpc), Follower(ledger.deployment).read(rpc)
    assert record.waiting() == whole.waiting()
    assert first_asked(ledger) <= BLOCKS
    assert past.first(hash_of("update", 11, EACH)) is not None  # the longer round 11 is the one that is known
    assert 5 in past


def test_a_reorg_above_what_was_let_go_of_leaves_that(
    ledger: ScriptedLedger, rpc: ScriptedRpc, past: PrunedRounds
) -> None:
    play(ledger, 40)
    following = Follower(ledger.deployment, past)
    ledger.mine(REORG_DEPTH)
    following.read(rpc)
    place = past.place
    assert place is not None
    ledger.mine(10 * REORG_DEPTH)
    following.read(rpc)
    ledger.rewind(place.block + 1, "another")
    ledger.mine(10 * REORG_DEPTH)
    ledger.asked.clear()
    record = following.read(rpc)
    assert record.waiting() == Follower(ledger.deployment).read(rpc).waiting()
    assert past.place == place


def test_a_round_that_is_wanted_is_kept_with_what_it_rests_on(
    ledger: ScriptedLedger, rpc: ScriptedRpc, past: PrunedRounds
) -> None:
    wanted = {5}
    following = Follower(ledger.deployment, past, lambda: wanted)
    for _ in range(30):
        play(ledger, 1)
        record = following.read(rpc)
    assert {1, 2, 3, 4, 5} <= record.rounds.keys()
    assert 6 not in record.rounds
    wanted.clear()
    play(ledger, 1)
    assert not {1, 2, 3, 4, 5} & following.read(rpc).rounds.keys()


def test_a_look_asks_for_logs_once(ledger: ScriptedLedger, rpc: ScriptedRpc, past: PrunedRounds) -> None:
    play(ledger, 30)
    following = Follower(ledger.deployment, past)
    following.read(rpc)
    play(ledger, 1)
    ledger.asked.clear()
    following.read(rpc)
    following.read(rpc)
    assert sum(method == "eth_getLogs" for method, _ in ledger.asked) == 2


def test_void_rounds_are_let_go_of_and_the_newest_never(
    ledger: ScriptedLedger, rpc: ScriptedRpc, past: PrunedRounds
) -> None:
    base = ledger.play(EACH, PENDING)
    for _ in range(5):
        number = ledger.open(base)
        ledger.commit(number, EACH)
        ledger.anchor(number)
        ledger.slash(number)
        number = ledger.open(base)
        ledger.cancel(number)
        ledger.mine(BLOCKS)
    record = Follower(ledger.deployment, past).read(rpc)
    assert record.rounds.keys() == {base, number}
    assert all(gone in past for gone in range(base + 1, number))


class Failing(ScriptedRpc):
    """Answers no more than so many requests for logs."""

    left = 0

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        if method == "eth_getLogs":
            if self.left == 0:
                raise RpcError("It is away.")
            self.left -= 1
        return super().call(method, params)


def test_what_fails_in_a_long_reading_goes_on_and_counts_nothing_twice(
    ledger: ScriptedLedger, past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("folkmoot.ledger.scan.MAX_BLOCK_STEP", 300)
    play(ledger, 160)
    failing = Failing(ledger)
    following = Follower(ledger.deployment)
    starts = []
    for _ in range(20):
        failing.left = 2
        try:
            record = following.read(failing)
            break
        except RpcError:
            starts.append(first_asked(ledger))
    assert starts == sorted(set(starts))  # always further on
    assert len(starts) > 2
    assert shown(record) == shown(Follower(ledger.deployment).read(ScriptedRpc(ledger)))


def test_half_of_a_block_is_not_taken_in_twice(ledger: ScriptedLedger, rpc: ScriptedRpc) -> None:
    number = ledger.open(0)
    ledger.commit(number, EACH)
    ledger._log("RoundFinalized", round=9, stateRoot=bytes(32))  # of a round that was never opened
    ledger.mine(2 * REORG_DEPTH)
    following = Follower(ledger.deployment)
    with pytest.raises(RpcError, match="round 9 do not begin"):
        following.read(rpc)
    ledger._logs.pop()
    assert len(following.read(rpc).rounds[number].commits) == EACH


def test_a_replay_of_a_round_that_was_let_go_of_is_found(
    ledger: ScriptedLedger, rpc: ScriptedRpc, past: PrunedRounds
) -> None:
    play(ledger, 40)
    following = Follower(ledger.deployment, past)
    following.read(rpc)
    number = ledger.play(EACH, PENDING, roots={2: hash_of("update", 3, 1)})
    ledger.asked.clear()
    record = following.read(rpc)
    assert 3 not in record.rounds
    assert replays(record) == [Replay(number, 2, 3, 1)]
    assert replays(Follower(ledger.deployment).read(rpc)) == replays(record)
    originals = commits_of(rpc, ledger.deployment, record, 3)
    assert [one.update_root for one in originals] == [hash_of("update", 3, entry) for entry in range(EACH)]
    assert commits_of(rpc, ledger.deployment, record, number) is record.rounds[number].commits


@pytest.fixture
def watching(
    ledger: ScriptedLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Watcher]]:
    """Starts a watcher, or starts it again."""
    monkeypatch.setattr(endpoints, "Rpc", lambda url, timeout: ScriptedRpc(ledger, url))
    place, started = ledger.deployment, []

    def start() -> Watcher:
        journal = Journal.open(tmp_path / "watch", place.chain_id, place.ledger)
        started.append(Watcher(["http://scripted"], place, {}, journal, log_to(io.StringIO())))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_a_watcher_forgets_what_is_over_and_nothing_else(
    ledger: ScriptedLedger, watching: Callable[[], Watcher]
) -> None:
    """With a journal as examinations leave it: what they find is not what this is about."""
    watcher = watching()
    journal, reader = watcher.journal, LedgerReader(ScriptedRpc(ledger), ledger.deployment.ledger)
    sizes, held = {}, {}
    for rounds in range(1, 61):
        number = ledger.play(EACH, PENDING)
        anchor = reader.round(number).anchor_hash.hex()
        journal.note(number, Checked(anchor, "right", demands=[7] if number == 2 else []))
        journal.faulted(f"{number} 0x00")
        assert watcher.look()
        entries = watcher.metrics.registry.get_sample_value("folkmoot_watch_held_entries")
        assert entries is not None
        sizes[rounds], held[rounds] = len(journal.rounds), entries
    assert watcher.verdict == 0
    assert sizes[30] == sizes[60] < 20
    assert held[30] == held[60] < 100
    assert len(journal.faults) == sizes[60]
    assert 2 in journal.rounds  # a deposit is to be had
    again = watching()
    assert again.look()
    assert again.metrics.registry.get_sample_value("folkmoot_watch_held_entries") == held[60]
    assert again.verdict == 0


def over_budget(watcher: Watcher) -> float | None:
    return watcher.metrics.registry.get_sample_value("folkmoot_watch_overspent_total")


def test_a_watcher_counts_what_each_account_spends_of_its_privacy_budget(
    ledger: ScriptedLedger, watching: Callable[[], Watcher]
) -> None:
    """The scripted ledger takes what the real one refuses. A round under an older cap is not judged by later ones."""
    noisy = factories.policy(noise1024=1024, steps=3)
    ledger.add_policy(replace(noisy, privacy_cap=5 * noisy.cost))
    watcher = watching()
    for rounds in range(1, 6):
        play(ledger, 1)
        assert watcher.look()
        assert over_budget(watcher) == 0, rounds
    ledger.add_policy(replace(noisy, privacy_cap=45 * noisy.cost))
    play(ledger, 40)
    for one in (watcher, watching()):
        assert one.look()
        assert over_budget(one) == 0
        assert one.verdict != FRAUD
    play(ledger, 1)
    for one in (watcher, watching()):
        assert one.look()
        assert one.look(), "each entry is told once"
        assert (over_budget(one), one.verdict) == (EACH, FRAUD)


def test_a_full_disk_is_no_endpoints_fault(ledger: ScriptedLedger, watching: Callable[[], Watcher]) -> None:
    watcher, reader = watching(), LedgerReader(ScriptedRpc(ledger), ledger.deployment.ledger)
    play(ledger, 60)
    for number in ledger.rounds:
        watcher.journal.note(number, Checked(reader.round(number).anchor_hash.hex(), "right"))
    (past,) = watcher._endpoints._pasts.values()
    pages = past._connection.execute("PRAGMA page_count").fetchone()[0]
    past._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LocalError, match="full") as caught:
        watcher.look()
    assert caught.value.code == "watch-state"
    assert "folkmoot_watch_failures_total{" not in generate_latest(watcher.metrics.registry).decode()
    past._connection.execute("PRAGMA max_page_count = 1000000")
    assert watcher.look()
    assert 5 in past
    assert 5 not in watcher.journal.rounds
