# SPDX-License-Identifier: Apache-2.0
"""The watcher's memory, its lines and its numbers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest

from folkmoot.errors import InputError, LocalError
from folkmoot.fraud.contracts.challenge import Cost
from folkmoot.fraud.proofs.trees import TreeCache, differing, plain_tree, raw_update_tree, sum_siblings
from folkmoot.fraud.watcher.journal import KEPT_STATES, Checked, Journal, held
from folkmoot.fraud.watcher.metrics import Metrics, serve
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.merkle import MEAN, update_tree, verify_update
from folkmoot.protocol.updates import MemoryUpdate
from tests.logged import log_to

LEDGER = "0x5FbDB2315678afecb367f032d93F642f64180aa3"


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "watch", 31337, LEDGER)
    journal.note(7, Checked("ab", "proven", "a leaf", "0x01"))
    journal.note(3, Checked("cd", "right"))
    again = Journal.open(tmp_path / "watch", 31337, LEDGER)
    assert again.rounds == {3: Checked("cd", "right"), 7: Checked("ab", "proven", "a leaf", "0x01")}


def test_a_journal_keeps_the_last_states_only(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, 31337, LEDGER)
    states = [b"state %d" % number for number in range(4)]
    names = [sha256_hex(state) for state in states]
    for name, state in zip(names, states, strict=True):
        journal.keep(name, [state[:1], state[1:]])
        journal.keep(name, [b"not again"])
    assert Journal.open(tmp_path, 31337, LEDGER).states == names[-KEPT_STATES:]
    assert [name for name in names if journal.files.has(name)] == names[-KEPT_STATES:]
    assert journal.files.read(names[-1]) == states[-1]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "other"}', '{"format": "folkmoot/watch/1"}'])
def test_a_damaged_journal_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "watch.json").write_text(text)
    with pytest.raises(InputError, match="damaged") as caught:
        Journal.open(tmp_path, 31337, LEDGER)
    assert caught.value.code == "watch-state"


def test_the_journal_of_another_federation_and_a_file_in_the_way_are_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path / "watch", 1, LEDGER).note(1, Checked("ab", "right"))
    with pytest.raises(InputError, match="on chain 1"):
        Journal.open(tmp_path / "watch", 31337, LEDGER)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be used"):
        Journal.open(tmp_path / "file", 1, LEDGER)


def test_lines_are_for_people_or_machines() -> None:
    people, machines = io.StringIO(), io.StringIO()
    for stream, log_format in ((people, "text"), (machines, "json")):
        log_to(stream, log_format)("wrong", "Leaf 3\x1b[31m\nis wrong", round=4)
    assert people.getvalue().endswith("Z error wrong: Leaf 3�[31m�is wrong [round=4]\n")
    line = json.loads(machines.getvalue())
    assert (line["level"], line["event"], line["round"]) == ("error", "wrong", 4)


def test_numbers_are_in_prometheus_format() -> None:
    metrics = Metrics()
    metrics.rounds.labels("right").inc()
    metrics.rounds.labels("right").inc()
    metrics.failures.labels('a"b\\c\nd').inc()
    metrics.block.set(12)
    text = generate_latest(metrics.registry).decode()
    assert 'folkmoot_watch_rounds_total{result="right"} 2.0\n' in text
    assert 'folkmoot_watch_failures_total{source="a\\"b\\\\c\\nd"} 1.0\n' in text
    assert "# TYPE folkmoot_watch_block gauge\nfolkmoot_watch_block 12.0\n" in text
    assert "folkmoot_watch_held_entries NaN\n" in text, "not read yet"
    assert "_created" not in text


def test_a_taken_port_is_said() -> None:
    server = serve(Metrics(), 0)
    try:
        with pytest.raises(LocalError, match="can't be served"):
            serve(Metrics(), server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def test_a_challenge_pays_if_it_wins_more_than_it_costs() -> None:
    cost = Cost("0x", gas=1_000_000, price=10**9, wins=100 * 10**18)  # 0.001 coins for 100 tokens
    assert cost.pays(0.00002)
    assert not cost.pays(0.000009)


def update(seed: int, leaves: int) -> bytes:
    return np.random.default_rng(seed).integers(1, 256, LEAF * leaves, dtype=np.uint8).tobytes()


def test_trees_of_raw_bytes_are_those_of_valid_updates() -> None:
    data = update(1, 11)
    raw, honest = raw_update_tree(MemoryUpdate(data)), update_tree(np.frombuffer(data, np.uint8))
    assert raw is not None
    assert (raw.root, raw.sum_squares) == (honest.root, honest.sum_squares)
    siblings = [
        (part[:32], int.from_bytes(part[32:40], "big"), int.from_bytes(part[40:], "big"))
        for part in (sum_siblings(raw, 6)[at : at + 48] for at in range(0, 48 * 4, 48))
    ]
    assert verify_update(raw.root, raw.sum_squares, data[6 * LEAF : 7 * LEAF], 6, siblings, 11)
    assert raw_update_tree(MemoryUpdate(bytes(LEAF))) is not None  # a lie need not be well-formed
    assert raw_update_tree(MemoryUpdate(b"")) is None
    assert raw_update_tree(MemoryUpdate(bytes(LEAF + 1))) is None


def test_a_cache_of_trees_holds_no_more_than_it_may() -> None:
    cache = TreeCache([MemoryUpdate(update(seed, 64)) for seed in range(4)], limit=15_000)
    roots = [cache.tree(entry) for entry in (0, 1, 2, 3, 0)]
    assert roots[0] is not roots[4]
    assert roots[0] is not None
    assert roots[4] is not None
    assert roots[0].root == roots[4].root
    assert cache.tree(0) is roots[4]
    assert len(cache._kept) == 2


def test_places_that_only_one_tree_has_differ() -> None:
    rows = np.arange(5 * MEAN.leaf_bytes, dtype=np.uint32).astype(np.uint8).reshape(5, -1)
    other = rows.copy()
    other[1, 0] ^= 1
    mine = plain_tree(MEAN, 5, lambda first, last: rows[first:last])
    theirs = plain_tree(MEAN, 4, lambda first, last: other[first:last])
    assert differing(mine, theirs) == [1, 4]
    assert differing(mine, mine) == []


def test_two_watchers_do_not_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "watch"
    with held(folder):
        with pytest.raises(LocalError, match="Another watcher uses the folder") as caught, held(folder):
            pass
        assert caught.value.code == "already-running"
    with held(folder):
        pass
