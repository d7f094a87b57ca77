# SPDX-License-Identifier: Apache-2.0
"""Small federations of honest contributors, through the real codec, rule and sums: nobody is left out by noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.near_convergence import __main__ as program
from benchmarks.near_convergence.federation import Found, measure
from benchmarks.near_convergence.results import Key, load, markdown, to_json
from benchmarks.near_convergence.sets import SPLITS, TABLES, Setting, deal, workload
from folkmoot_lab.simulation import kept
from folkmoot_lab.simulation.federation import Plan

HONEST = Plan("clamped_mean", contributors=5, malicious=0, rounds=20)


@pytest.mark.parametrize(
    ("setting", "seed"),
    [
        (Setting("diabetes", "linear"), 0),
        (Setting("diabetes", "mlp"), 0),
        (Setting("wine", "linear", "skewed"), 0),
        (Setting("wine", "mlp", "skewed"), 2),
    ],
)
def test_nobody_is_left_out_over_twenty_rounds(setting: Setting, seed: int) -> None:
    """In each of these the rule before left somebody out, in up to 14 of the rounds."""
    found = measure(setting, replace(HONEST, seed=seed))
    assert found.rounds == 20
    assert found.entries == 100
    assert found.left_out == found.hit == 0, found.reasons
    assert found.last_loss < found.first_loss / 1.8  # it has been learnt


def test_a_sign_flipper_in_a_small_federation_has_less_to_say_than_an_honest_one() -> None:
    found = measure(
        Setting("diabetes"), Plan("clamped_mean", attack="sign-flip", contributors=5, malicious=1, rounds=20)
    )
    assert found.attackers_share < 0.2
    assert found.last_loss < found.first_loss / 1.8


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("split", SPLITS)
def test_every_set_can_be_trained(name: str, split: str) -> None:
    data = workload(Setting(name, split=split))
    shares = data.split(5, 1)
    rows = np.concatenate(shares)
    assert np.array_equal(np.sort(rows), np.arange(len(data.train.labels)))
    assert min(len(share) for share in shares) >= min(3, len(rows) // 10)
    assert np.isfinite(data.train.inputs).all()
    assert len(data.test.labels) > 0


def test_everybody_has_rows_where_there_are_few() -> None:
    assert min(len(share) for share in deal(np.zeros(11, dtype=np.int64), 5, 0, skewed=True)) >= 1


def test_results_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    keys = [Key(Setting("wine"), "clamped_mean", "none", 5, 0, 20, seed) for seed in range(2)]
    for key in keys:
        found = Found(rounds=20, hit=1, left_out=1, entries=100, reasons={"copy": 1})
        kept.add(path, to_json(key, found))
    assert set(load(path)) == set(keys)
    table = markdown({keys[0]: found}, keys)
    assert "| wine | 5.0 % | 1.0 % | 0 % | - | 0.000 / 0.000 | copy 1 |" in table
    assert "| all |" not in table


def test_the_program_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--sets",
        "linnerud",
        "--seeds",
        "1",
        "--rounds",
        "2",
        "--out",
        str(tmp_path / "found.jsonl"),
    ]
    monkeypatch.setattr("sys.argv", ["near_convergence", *arguments])
    program.main()
    first = capsys.readouterr()
    assert "8/8 linnerud" in first.err
    program.main()
    second = capsys.readouterr()
    assert second.err == ""
    assert second.out == first.out
    monkeypatch.setattr("sys.argv", ["near_convergence", "--sets", "nowhere"])
    with pytest.raises(SystemExit, match="no data set 'nowhere'"):
        program.main()
