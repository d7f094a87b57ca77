# SPDX-License-Identifier: Apache-2.0
"""Count tables of sites: what leaves, what an attacker can compute of it, sums to the last count, and lies."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.evaluation import GroupCount, measure
from folkmoot.evaluation.losses import Losses
from folkmoot.evaluation.measuring import crossed
from folkmoot.evaluation.sites import (
    Commitments,
    CountTable,
    Pooled,
    SiteMeasurement,
    TableCommitment,
    added,
    entangled,
    hidden,
    lies_away,
    minus,
)
from folkmoot.protocol.hashing import canonical_json
from folkmoot.protocol.signatures import digest
from tests.unit.worlds import CHAIN_ID, DOMAIN, LEDGER, account

ROOT = b"\7" * 32


def no_contract(*_: object) -> bool:
    return False


def table(classes: dict[str, tuple[int, int]], least: int = 10, groups: Any = None) -> CountTable:
    """A table of classes with (examples, right ones)."""
    labels = [name for name, (support, _) in classes.items() for _ in range(support)]
    given = [
        name if place < right else "wrong"
        for name, (support, right) in classes.items()
        for place in range(support)
    ]
    return CountTable.of(measure({}, labels, given, groups), least, groups=groups is not None)


def signed(name: str, counts: CountTable, number: int = 1, version: int = 3) -> SiteMeasurement:
    site = account(name)
    made = SiteMeasurement(site.address, version, ROOT, number, counts)
    return replace(made, signature=bytes(site.sign_message(made.message(DOMAIN)).signature))


def shown(cells: tuple[GroupCount, ...]) -> dict[str, tuple[int, int | None]]:
    return {cell.name: (cell.support, cell.correct) for cell in cells}


def test_small_cells_stay_and_so_does_a_second_one() -> None:
    made = table({"a": (3, 1), "b": (20, 18), "c": (50, 49)})
    assert shown(made.classes) == {"c": (50, 49)}
    assert (made.total.support, made.total.correct) == (73, 68)
    assert b'"a"' not in canonical_json(made.to_json())  # Not even that somebody is in it.
    assert shown(table({"ill": (5, 5), "well": (95, 90)}).classes) == {}
    assert len(table({"a": (10, 1), "b": (20, 18)}).classes) == 2
    with pytest.raises(InputError) as caught:
        table({"a": (5, 5), "b": (4, 4)})
    assert caught.value.code == "too-few-examples"


@pytest.mark.parametrize(("least", "classes", "most"), [(4, 2, 12), (4, 4, 7), (5, 3, 12), (6, 3, 14)])
def test_who_knows_the_rule_and_tries_all_tables_learns_no_small_cell(
    least: int, classes: int, most: int
) -> None:
    """All tables that give the same view leave at least half of the threshold's values to each hidden small cell."""
    consistent: dict[Any, list[tuple[int, ...]]] = defaultdict(list)
    for counts in itertools.product(range(most + 1), repeat=classes):
        cells = sorted((count, place) for place, count in enumerate(counts) if count)
        left = hidden([count for count, _ in cells], least)
        view = tuple(sorted((place, count) for count, place in cells[left:]))
        if sum(counts) >= least and sum(count for count, _ in cells[:left]) <= most:
            consistent[view, sum(counts)].append(counts)
    tried = 0
    for (view, _), tables in consistent.items():
        for place in set(range(classes)) - {place for place, _ in view}:
            values = {counts[place] for counts in tables}
            if any(0 < value < least for value in values):
                assert 2 * len(values) >= least, (view, tables)
                tried += 1
    assert tried > 5


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8).map(sorted), st.integers(1, 20))
def test_what_is_hidden_is_never_alone_and_never_small_together(sizes: list[int], least: int) -> None:
    count = hidden(sizes, least)
    assert all(size >= least for size in sizes[count:])
    if 0 < count < len(sizes):
        assert count > 1
        assert sum(sizes[:count]) >= least
        assert sizes[count - 1] < sizes[count]
    assert count == 0 or sizes[0] < least


def test_two_models_on_the_same_examples_show_the_same_cells() -> None:
    """So the difference of two tables has no new size in it; one example more is seen before anything is sent."""
    first = table({"a": (3, 1), "b": (20, 18), "c": (50, 49)})
    assert first.same_examples(table({"a": (3, 3), "b": (20, 2), "c": (50, 10)}))
    assert not first.same_examples(table({"a": (4, 1), "b": (20, 18), "c": (50, 49)}))
    assert not first.same_examples(table({"a": (3, 1), "b": (20, 18), "c": (50, 49)}, 5))


def test_groups_that_follow_from_classes_are_seen() -> None:
    """A hidden class would be the difference of a group and the classes in it."""
    labels = ["0"] * 30 + ["1"] * 30 + ["2"] * 3 + ["3"] * 25
    given = labels
    for odd, safe in ((False, False), (True, True)):
        groups = [str(int(label) % 2) for label in labels]
        if odd:
            groups[:15] = ["1"] * 15
            groups[63:75] = ["0"] * 12
            groups[30:42] = ["0"] * 12
        made = CountTable.of(measure({}, labels, given, groups), 10)
        assert {cell.name for cell in made.classes} <= {"0", "1", "3"}
        assert made.classes
        assert entangled(made, crossed(labels, groups)) is safe


def test_the_sums_of_five_sites_are_those_of_all_their_examples() -> None:
    random = np.random.default_rng(5)
    labels, given = random.integers(0, 4, 900), random.integers(0, 4, 900)
    groups = random.choice(["east", "west"], 900)
    shares = np.array_split(random.permutation(900), 5)
    names = ("alice", "bob", "carol", "dave", "erin")
    whole = CountTable.of(measure({}, labels, given, groups), 10)
    pooled = Pooled.of(
        signed(name, CountTable.of(measure({}, labels[some], given[some], groups[some]), 10))
        for name, some in zip(names, shares, strict=True)
    )
    assert pooled.total == whole.total
    assert tuple(cell for cell, _ in pooled.cells("classes")) == whole.classes
    assert pooled.cells("groups") == [(cell, 5) for cell in whole.groups]
    assert pooled.away() == {}
    assert Pooled.from_bytes(pooled.to_bytes()) == pooled


def test_losses_are_added_exactly() -> None:
    random = np.random.default_rng(6)
    losses, tokens = random.gamma(2.0, size=200), random.integers(1, 90, 200)
    shares = np.array_split(np.arange(200), 3)
    parts = [
        CountTable.of(measure({}, losses=losses[s], weights=tokens[s]), 10, groups=False) for s in shares
    ]
    pooled = Pooled.of(
        signed(name, part) for name, part in zip(("alice", "bob", "carol"), parts, strict=True)
    )
    whole = CountTable.of(measure({}, losses=losses, weights=tokens), 10, groups=False)
    assert pooled.total == whole.total
    assert Pooled.from_bytes(pooled.to_bytes()) == pooled
    assert pooled.away() == {}
    bad = CountTable.of(measure({}, losses=losses[shares[0]] + 3, weights=tokens[shares[0]]), 10)
    away = Pooled.of([*pooled.measurements[1:], signed(NAME_OF[pooled.measurements[0].site], bad)]).away()
    assert away[pooled.measurements[0].site] == ["all examples"]


NAME_OF = {str(account(name).address): name for name in ("alice", "bob", "carol")}


def test_a_site_whose_numbers_lie_away_is_named() -> None:
    honest = {name: signed(name, table({"a": (60, 55), "b": (40, 36)})) for name in ("alice", "bob", "carol")}
    liar = signed("dave", table({"a": (60, 30), "b": (40, 36)}))
    away = Pooled.of([*honest.values(), liar]).away()
    assert away == {account("dave").address: ["all examples", "class a"]}
    cell = GroupCount("", 10, 10)
    assert not lies_away(cell, GroupCount("", 0, 0))
    assert not lies_away(cell, cell)
    assert lies_away(GroupCount("", 10**9, 5 * 10**8), GroupCount("", 10**9, 5 * 10**8 + 10**6))
    unmeasured = GroupCount("", 10, losses=Losses(10, 1, 9, 9, 9, 9, 9))
    assert lies_away(unmeasured, GroupCount("", 10, losses=Losses(10, 0, 10, 9, 10, 9, 9)))
    assert minus(added("", [cell, cell]), cell) == cell


def test_what_is_signed_is_what_a_wallet_shows() -> None:
    made = signed("alice", table({"a": (60, 55), "b": (40, 36)}))
    members = [
        ("site", "address"),
        ("version", "uint64"),
        ("stateRoot", "bytes32"),
        ("number", "uint32"),
        ("minCell", "uint32"),
        ("examples", "uint64"),
        ("tableHash", "bytes32"),
        ("salt", "bytes32"),
        ("commitments", "bytes32"),
    ]
    wallet = encode_typed_data(
        {"name": "Folkmoot", "version": "2", "chainId": CHAIN_ID, "verifyingContract": LEDGER},
        {"Measurement": [{"name": name, "type": kind} for name, kind in members]},
        made.typed(),
    )
    assert digest(wallet) == digest(made.message(DOMAIN))
    assert made.is_signed(DOMAIN, no_contract)
    assert SiteMeasurement.from_bytes(made.to_bytes()) == made
    for other in (
        replace(made, version=4),
        replace(made, state_root=bytes(32)),
        replace(made, number=2),
        replace(made, salt=ROOT),
        replace(made, commitments=ROOT),
        replace(made, site=account("bob").address),
        replace(made, table=table({"a": (60, 56), "b": (40, 36)})),
        replace(made, signature=b"\1\2"),
    ):
        assert not other.is_signed(DOMAIN, no_contract)
    assert replace(made, signature=b"\1\2").is_signed(DOMAIN, lambda *_: True)


def changed(value: Any, path: str, new: Any) -> Any:
    *way, last = path.split(".")
    inner = value
    for step in way:
        inner = inner[int(step) if step.isdigit() else step]
    inner[last] = new
    return value


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("format", "folkmoot/measurement/0"),
        ("site", "0x12"),
        ("site", 5),
        ("version", -1),
        ("version", True),
        ("stateRoot", "0x12"),
        ("number", 0),
        ("number", 101),
        ("signature", "0x"),
        ("signature", 7),
        ("more", 1),
        ("table", []),
        ("table.kind", "metrics"),
        ("table.kind", "regression"),
        ("table.minCell", 0),
        ("table.minCell", 41),
        ("table.more", 1),
        ("table.total.examples", 10**9 + 1),
        ("table.total.examples", 99),
        ("table.total.correct", 101),
        ("table.total.correct", 90),
        ("table.total.name", "x"),
        ("table.classes.0.correct", 61),
        ("table.classes.0.examples", 55),
        ("table.classes.0.name", "b"),
        ("table.classes.0.name", ""),
        ("table.classes.0.name", "x" * 201),
        ("table.classes.0.sums", {}),
        ("table.classes", [{"name": f"{n:04}", "examples": 10, "correct": 1} for n in range(501)]),
        ("table.groups", [{"name": "g", "examples": 95, "correct": 50}]),
    ],
)
def test_what_no_site_can_have_made_is_refused(path: str, new: Any) -> None:
    whole = json.loads(signed("alice", table({"a": (60, 55), "b": (40, 36)})).to_bytes())
    with pytest.raises(InputError) as caught:
        SiteMeasurement.from_bytes(canonical_json(changed(whole, path, new)))
    assert caught.value.code == "invalid-measurement"
    assert "folkmoot measure" in caught.value.remedy


def test_files_that_are_none_are_refused() -> None:
    one, two = (signed(name, table({"a": (60, 55), "b": (40, 36)})) for name in ("alice", "bob"))
    pooled = Pooled.of([two, one, replace(one, number=2)])
    assert [each.number for each in pooled.measurements if each.site == one.site] == [2]
    losses = Losses(40, 0, 40, 9, 40, 9, 0)
    value = json.loads(pooled.to_bytes())
    for broken in (
        b"{",
        b" " * 200_000,
        b"[]",
        canonical_json({**value, "measurements": []}),
        canonical_json({**value, "measurements": value["measurements"][::-1]}),
        canonical_json({**value, "sites": 3}),
        canonical_json({**value, "total": {"examples": 200, "correct": 199}}),
    ):
        with pytest.raises(InputError, match="can't be used"):
            Pooled.from_bytes(broken)
        with pytest.raises(InputError, match="can't be used"):
            SiteMeasurement.from_bytes(broken)
    with pytest.raises(InputError, match="one version"):
        Pooled.of([one, replace(two, version=4)])
    with pytest.raises(InputError, match="no losses"):
        CountTable("loss", 10, GroupCount("", 40, losses=losses))
    with pytest.raises(InputError, match="no classes"):
        CountTable("loss", 10, GroupCount("", 40), (GroupCount("a", 40),))
    with pytest.raises(InputError, match="metrics of its own"):
        CountTable.of(measure({"accuracy": 1.0}), 10)


def committed(one: SiteMeasurement, closes: int = 9000) -> TableCommitment:
    made = TableCommitment(one.site, one.version, one.commitment, closes)
    name = next(name for name in ("alice", "bob", "carol") if account(name).address == one.site)
    return replace(made, signature=bytes(account(name).sign_message(made.message(DOMAIN)).signature))


def test_a_table_counts_as_committed_only_if_the_list_that_it_names_has_it() -> None:
    """Each lie is seen in the file alone: another table or salt, another list, none, and silence."""
    one, two, three = (
        replace(signed(name, table({"a": (60, 55), "b": (40, 36)})), salt=bytes([place]) * 32)
        for place, name in enumerate(("alice", "bob", "carol"))
    )
    listed = Commitments(tuple(sorted((committed(one), committed(two)), key=lambda each: each.site)))
    assert all(each.is_signed(DOMAIN, no_contract) for each in listed.entries)
    assert not replace(listed.entries[0], closes=9001).is_signed(DOMAIN, no_contract)
    assert Commitments.from_json(listed.to_json()) == listed
    assert TableCommitment.from_bytes(listed.entries[0].to_bytes()) == listed.entries[0]
    first, second, late = (replace(each, commitments=listed.hash) for each in (one, two, three))
    pooled = Pooled.of([first, second], listed)
    assert (pooled.uncommitted, pooled.silent) == ([], [])
    assert Pooled.from_bytes(pooled.to_bytes()) == pooled
    other = table({"a": (60, 56), "b": (40, 36)})
    for lie in (
        replace(second, table=other),
        replace(second, salt=ROOT),
        replace(second, state_root=first.salt),
        replace(second, commitments=Commitments((committed(two),)).hash),
        two,
    ):
        if lie.state_root == second.state_root:
            assert Pooled.of([first, lie], listed).uncommitted == [two.site]
        assert not listed.binds(lie)
    assert Pooled.of([first, late], listed).uncommitted == [three.site]
    copied = Commitments(tuple(replace(each, hash=one.commitment) for each in listed.entries))
    copy = replace(one, site=two.site, commitments=copied.hash)
    assert not copied.binds(copy), "who copies a commitment can't show the table of the other as its own"
    assert Pooled.of([first], listed).silent == [two.site]
    assert len(Pooled.of([one, two]).uncommitted) == 2
    value = json.loads(pooled.to_bytes())
    for broken in (
        {**value, "silent": [two.site]},
        {**value, "uncommitted": [two.site]},
        {**value, "commitments": {**listed.to_json(), "commitments": []}},
        {**value, "commitments": None},
        changed(json.loads(pooled.to_bytes()), "commitments.commitments.0.closes", 1),
        changed(json.loads(pooled.to_bytes()), "commitments.commitments.0.commitment", "0x12"),
        changed(json.loads(pooled.to_bytes()), "commitments.commitments.0.signature", None),
        changed(json.loads(pooled.to_bytes()), "commitments.commitments.0.site", "nobody"),
        changed(json.loads(pooled.to_bytes()), "commitments.commitments.0.more", 1),
    ):
        with pytest.raises(InputError) as caught:
            Pooled.from_bytes(canonical_json(broken))
        assert caught.value.code == "invalid-measurement"
    with pytest.raises(InputError, match="out of its range"):
        committed(one, closes=0)
    with pytest.raises(InputError, match="more than 256"):
        Commitments(
            tuple(
                sorted(
                    (TableCommitment(f"0x{n:040x}", 3, ROOT, 9) for n in range(257)), key=lambda one: one.site
                )
            )
        )
