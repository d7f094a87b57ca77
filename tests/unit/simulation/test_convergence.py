# SPDX-License-Identifier: Apache-2.0
"""Training through the integers reaches what training in floats reaches, and nobody honest is refused.

These are short forms of ``python -m benchmarks.convergence``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.convergence import __main__ as program
from benchmarks.convergence import attackers, federation, trials
from benchmarks.convergence.federation import Course, Integers, Result, compare
from benchmarks.convergence.results import Key, is_steady, load, markdown, rows, summary, to_json
from benchmarks.convergence.subjects import QUICKSTART, SUBJECTS
from folkmoot_lab.simulation import kept
from folkmoot_lab.simulation.attacks import Attack

from folkmoot.protocol.codec import EncodedUpdate, encode_update
from folkmoot.protocol.policy import MEAN_SCALES


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models gain nothing from more threads, and lose much where other tests run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.long
@pytest.mark.parametrize("name", ["linear regression", "logistic regression", "MLP, AdamW", "embedding, SGD"])
def test_steady_training_is_as_in_floats(name: str) -> None:
    subject = SUBJECTS[name]
    found = compare(subject, Course(subject.rates[1], rounds=8))
    assert (found.refused, found.fitted) == (0, 0)
    assert found.converged
    assert abs(found.above) < 0.02
    assert found.error < 0.25


FASTER = Course(0.03, rounds=6, schedule={3: 5.0})


@pytest.mark.long
def test_a_larger_rate_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = SUBJECTS["embedding, SGD"]
    course = replace(FASTER, rate=subject.rates[0], schedule={3: 40.0})
    found = compare(subject, course)
    assert found.refused == 0
    assert found.fitted > 0

    def unfitted(*given: Any, width: int, max_sum_squares: int) -> EncodedUpdate:
        return encode_update(*given, width=width)

    monkeypatch.setattr(federation, "encode_update", unfitted)
    assert compare(subject, course).refused > 0, "without the fit it does"


@pytest.mark.parametrize("octaves", [-10, 10])
def test_exponents_heal_from_ten_octaves(octaves: int) -> None:
    subject = SUBJECTS["MLP, SGD"]
    right, off = (
        Integers(subject, course, subject.initial(0))
        for course in (Course(0.3), Course(0.3, octaves=octaves))
    )
    for number in range(1, 7):
        right.round(number)
        off.round(number)
    assert off.refused == 0
    assert np.abs(np.subtract(off.exponents, right.exponents)).max() <= 1


def test_a_frozen_layer_goes_on_when_it_is_thawed() -> None:
    subject = SUBJECTS["MLP, SGD"]
    run = Integers(subject, Course(0.3, frozen=("0.",), thawed=5), subject.initial(0))
    before = run.arrays()["0.weight"]
    for number in range(1, 5):
        run.round(number)
    assert (run.arrays()["0.weight"] == before).all()
    for number in range(5, 8):
        run.round(number)
    assert run.refused == 0
    assert (run.arrays()["0.weight"] != before).mean() > 0.5
    assert run.worst_error < 0.5


def test_a_client_with_four_times_the_rate_is_refused_nothing() -> None:
    found = compare(SUBJECTS["MLP, SGD"], Course(0.3, rounds=6, client_rates={2: 4.0}))
    assert found.refused == 0
    assert found.above < 0.02


def test_with_feedback_residuals_do_not_grow() -> None:
    """With stochastic rounding and no bound, the error of an update came to 28 times the change in 24 rounds."""
    subject = SUBJECTS["MLP, SGD"]
    course = Course(0.1, schedule={13: 0.2}, width=2, mean_scale=MEAN_SCALES[2], feedback=True)
    start = subject.initial(0)
    run = Integers(subject, course, start)
    for number in range(1, 25):
        run.round(number)
    assert run.refused == 0
    assert subject.loss(run.arrays()) < 0.7 * subject.loss(start)
    assert run.worst_error < 4


@pytest.mark.long
def test_the_quickstart_at_its_published_rate() -> None:
    start = QUICKSTART.initial(0)
    run = Integers(QUICKSTART, Course(0.1), start)
    for number in range(1, 6):
        run.round(number)
    assert run.refused == 0
    assert QUICKSTART.loss(run.arrays()) < QUICKSTART.loss(start)


@pytest.mark.parametrize("one", attackers.ATTACKS[1:6:2], ids=lambda one: one.name)
def test_a_minority_moves_exponents_by_little(one: Attack) -> None:
    found = attackers.drill(5, 2, one, rounds=8, seeds=1)
    assert -4 <= found.lowest <= found.highest <= 3
    assert abs(found.mean) < 2
    assert "| 5 | 2 |" in attackers.markdown([found])


def test_there_are_fourteen_subjects_at_three_rates() -> None:
    made = list(trials.steady(3))
    assert len({trial.subject.name for trial in made}) == 14
    assert len(made) == 14 * 3 * 3
    keys = [Key.of(trial) for trial in [*made, *trials.scenarios(2)]]
    assert len(set(keys)) == len(keys), "no two have the same name"


GOOD = Result(2.0, 0.5, 0.51, 0.505, 0, 3, 0.06)


def test_results_are_kept(tmp_path: Path) -> None:
    path, key = tmp_path / "r.jsonl", Key("CNN", "steady", 0.1, 0)
    kept.add(path, to_json(key, GOOD))
    assert load(path) == {key: GOOD}


def test_tables_bring_seeds_together() -> None:
    bad = replace(GOOD, integers=0.7, refused=2)
    diverged = replace(GOOD, floats=9.0, integers=20.0)
    results = {
        Key("a", "steady", 0.1, 0): GOOD,
        Key("a", "steady", 0.1, 1): GOOD,
        Key("b", "steady", 0.1, 0): bad,
        Key("c", "steady", 0.1, 0): diverged,
        Key("a", "other", 0.1, 0): GOOD,
    }
    table = rows(results, is_steady)
    assert [(row.subject, row.seeds, row.refused, row.reached) for row in table] == [
        ("a", 2, 0, True),
        ("b", 1, 2, False),
        ("c", 1, 0, True),
    ]
    assert "| a | 0.1 | 2 | 0 | 6 | 0.060 | 0.5000 | 0.5100 | 0.5050 | +1.00 % |" in markdown(table, False)
    assert "3 settings, 2 updates refused; floats converged in 2" in summary(table)
    assert "not in: b at 0.1 (steady)." in summary(table)


@pytest.mark.long
def test_the_program_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.jsonl"
    given = ["x", "--results", str(path), "--only", "linear regression", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", given)
    program.main()
    said = capsys.readouterr()
    assert "3/3 linear regression" in said.err
    assert "3 settings, 0 updates refused; floats converged in 3" in said.out
    program.main()
    said = capsys.readouterr()
    assert not said.err, "nothing is run again"
    path.write_text("{}\n\n")
    with pytest.raises(SystemExit, match="Line 1"):
        program.main()
