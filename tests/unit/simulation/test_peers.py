# SPDX-License-Identifier: Apache-2.0
"""The peers' own code aggregates a drill's rounds, and attackers try out that very code."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.robustness import __main__ as program
from benchmarks.robustness import contenders, flower
from benchmarks.robustness.peer import PeerRun
from benchmarks.robustness.results import Found, Key, Setting, load, markdown, picture, rows, to_json
from flwr.supercore.task_identity import TaskIdentity
from folkmoot_lab.simulation import kept
from folkmoot_lab.simulation.attacks import ATTACKS
from folkmoot_lab.simulation.federation import Plan, Run, Workload
from folkmoot_lab.simulation.scene import Scene

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import F32

PLAN = Plan(contributors=11, malicious=2, rounds=3)
SETTING = Setting("mnist", 20, 6, 25)
BYZFL = ("NNM+TrMean", "ARC+NNM+TrMean", "GeometricMedian", "CenteredClipping", "MultiKrum")

needs_byzfl = pytest.mark.skipif(
    importlib.util.find_spec("byzfl") is None, reason="byzfl is not installed; it comes with folkmoot[bench]"
)


@pytest.fixture(autouse=True)
def _process() -> Iterator[None]:
    """Give other tests back the process as it was: no Flower task. Bulyan collects garbage for every reply."""
    names = ("_run_id", "_node_id", "_task_id")
    before = {name: getattr(TaskIdentity, name) for name in names}
    gc.freeze()
    yield
    gc.unfreeze()
    for name, value in before.items():
        setattr(TaskIdentity, name, value)


def start(name: str, workload: Workload, plan: Plan) -> Run:
    return contenders.chosen([name])[0].start(workload, plan)


@pytest.mark.parametrize("attack", ["none", "sign-flip", "adaptive"])
@pytest.mark.parametrize(
    "name",
    [
        *(f"flower:{name}" for name in flower.STRATEGIES),
        *(pytest.param(f"byzfl:{name}", marks=needs_byzfl) for name in BYZFL),
    ],
)
def test_each_peer_aggregates_under_attack(workload: Workload, name: str, attack: str) -> None:
    run = start(name, workload, replace(PLAN, attack=attack))
    before = run.model
    run.round(0)
    run.round(1)
    assert isinstance(run, PeerRun)
    assert np.isfinite(run.model).all()
    assert np.linalg.norm(run.model - before) > 0.01
    assert len(run.curve) == 2


@pytest.mark.parametrize(("ours", "theirs"), [("mean", "FedAvg"), ("trimmed_mean:f", "FedTrimmedAvg")])
def test_flowers_mean_is_our_mean_but_for_the_encoding(workload: Workload, ours: str, theirs: str) -> None:
    run = start(f"folkmoot:{ours}", workload, replace(PLAN, attack="alie"))
    peer = flower.make(theirs, PLAN.contributors, PLAN.malicious)
    plain = run.aggregate
    compared = 0

    def both(number: int, updates: F32, root: F32 | None) -> F32:
        nonlocal compared
        base, manifest = run.model, run.manifest
        leaves = [256 * count for count in manifest.leaf_counts]
        unit = np.repeat(np.ldexp(1.0, np.array(run.exponents)), leaves)
        mine, other = plain(number, updates, root), peer(manifest, base, updates)
        fits = (np.abs(updates) <= 127 * unit).all(axis=0)  # the others were cut by the encoding
        assert (np.abs(mine - other)[fits] <= unit[fits] + 1e-6).all()
        compared += int((np.abs(other - base)[fits] > 4 * unit[fits]).sum())
        return mine

    run.aggregate = both  # type: ignore[method-assign]
    run.policy = replace(run.policy, max_sum_squares=1 << 60)  # fitting to the cap would cut more of them
    for number in range(PLAN.rounds):
        run.round(number)
    assert compared > 100  # coordinates that moved by far more than an error


@pytest.mark.parametrize(
    "name",
    ["flower:FedAvg", "flower:Krum", pytest.param("byzfl:CenteredClipping(tau=0.3)", marks=needs_byzfl)],
)
@pytest.mark.parametrize("attack", ["ipm", "copy-noise"])
def test_attackers_try_out_the_peers_own_aggregate(workload: Workload, name: str, attack: str) -> None:
    run = start(name, workload, replace(PLAN, attack=attack))
    seen: list[tuple[float, Scene]] = []
    plain = run.attack.send

    def send(scene: Scene) -> F32:
        sent = plain(scene)
        scene.objective(sent * 2)  # trying leaves nothing behind
        seen.append((scene.objective(sent), scene))
        return sent

    run.attack = replace(run.attack, send=send)
    for number in range(3):
        run.round(number)
        progress, scene = seen[-1]
        moved = run.last_mean
        assert moved is not None
        assert progress == pytest.approx(float(moved @ scene.mean / (scene.mean @ scene.mean)), abs=1e-4)


def test_strategies_are_told_the_attackers() -> None:
    made = {name: flower.make(name, 20, 6).strategy for name in flower.STRATEGIES}
    assert int(vars(made["FedTrimmedAvg"])["beta"] * 20) == 6
    assert vars(made["Krum"])["num_malicious_nodes"] == 6
    assert vars(made["MultiKrum"])["num_nodes_to_select"] == 14
    assert vars(made["Bulyan"])["num_malicious_nodes"] == 4  # 20 >= 4 f + 3
    assert flower.bulyan_f(12, 3) == 2
    assert flower.bulyan_f(20, 2) == 2


def test_a_strategy_that_refuses_is_no_result(workload: Workload) -> None:
    run = start("flower:Bulyan", workload, replace(PLAN, contributors=11, malicious=2))
    assert isinstance(run, PeerRun)
    run.peer.strategy.num_malicious_nodes = 3  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="did not aggregate"):
        run.round(0)


def test_any_rule_of_ours_can_take_part(workload: Workload) -> None:
    plan = start("folkmoot:root_veto:f@biased", workload, PLAN).plan
    assert (plan.rule, plan.parameters, plan.root) == ("root_veto", (2,), "biased")
    assert start("folkmoot:multi_krum:3,0", workload, PLAN).plan.parameters == (3, 0)


@pytest.mark.parametrize(
    "name", ["flower:Best", "folkmoot:best", "folkmoot:mean:", "folkmoot:mean@huge", "folkmoot:nnm:x", "mean"]
)
def test_unknown_contenders_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"no contender '{name}'"):
        contenders.chosen([name])


def test_without_byzfl_the_others_remain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "byzfl", None)
    monkeypatch.delitem(sys.modules, "benchmarks.robustness.byzfl_rules", raising=False)
    monkeypatch.setattr(sys, "argv", ["robustness", "--list"])
    program.main()
    printed = capsys.readouterr()
    assert "pip install 'folkmoot[bench]'" in printed.err
    assert "flower:Bulyan" in printed.out
    assert "byzfl" not in printed.out
    with pytest.raises(InputError, match="byzfl can't be imported"):
        contenders.chosen(["byzfl:MultiKrum"])


def result(contender: str, attack: str, seed: int, accuracy: float) -> tuple[Key, Found]:
    backdoor = 0.5 if ATTACKS[attack].goal == "backdoor" else None
    return Key(SETTING, contender, attack, seed), Found("x 1", accuracy, backdoor)


def test_results_survive_the_file(tmp_path: Path) -> None:
    results = dict([result("a:b", "none", 0, 0.9), result("a:b", "backdoor-live", 1, 0.8)])
    kept.write(tmp_path / "results.jsonl", [to_json(*one) for one in results.items()])
    assert load(tmp_path / "results.jsonl") == results


def test_the_table_ranks_by_the_worst_attack() -> None:
    every = [
        result(who, attack, seed, accuracy - (0.3 if attack == hurts else 0) + 0.02 * seed)
        for who, accuracy, hurts in (("one:low", 0.7, "ipm"), ("two:high", 0.8, "stale"))
        for attack in ATTACKS
        for seed in range(2)
    ]
    found = dict(every)
    made = rows(found, SETTING)
    assert [(row.contender, row.under, row.seeds) for row in made] == [
        ("two:high", "stale", 2),
        ("one:low", "ipm", 2),
    ]
    assert made[0].worst == pytest.approx(0.51)
    assert made[0].calm == pytest.approx(0.81)
    assert made[0].mean == pytest.approx(0.81 - 0.3 / (len(ATTACKS) - 1))
    text = markdown(made)
    assert "| `high` | x 1 | 81.0 | 51.0 | stale |" in text
    assert "50 / 50 / 50 | 2 |" in text
    assert (
        rows({**found, **dict([result("two:high", "ipm", 2, 0.0)])}, SETTING) == made
    )  # a seed that is not whole
    del found[Key(SETTING, "two:high", "sybil", 0)], found[Key(SETTING, "two:high", "sybil", 1)]
    assert f"2 ({len(ATTACKS) - 2} of {len(ATTACKS) - 1} attacks)" in markdown(rows(found, SETTING))
    assert rows(found, replace(SETTING, rounds=1)) == []
    drawn = picture(found, SETTING)
    assert drawn.index("two:high") < drawn.index("one:low")
    assert ">51</text>" in drawn


def test_the_program_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "r.jsonl", tmp_path / "r.svg"

    def call(*arguments: str) -> tuple[str, str]:
        common = ["robustness", "--task", "digits", "--rounds", "1", "--seeds", "1", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", [*common, *arguments])
        program.main()
        printed = capsys.readouterr()
        return printed.out, printed.err

    both = ("--rules", "flower:FedAvg folkmoot:mean")
    _, first = call(*both, "--attacks", "none")
    assert "2/2 folkmoot:mean none seed 0" in first
    table, second = call(*both, "--attacks", "none ipm", "--plot", str(plot))
    assert "1/2 flower:FedAvg ipm seed 0" in second
    assert "none seed" not in second
    assert "| `FedAvg` | flwr " in table
    assert "flower:FedAvg" in plot.read_text(encoding="utf-8")
    before = load(out)
    assert len(before) == 4
    _, third = call("--rules", "flower:FedAvg", "--attacks", "ipm", "--again")
    assert "1/1 flower:FedAvg ipm seed 0" in third
    assert {key: found for key, found in before.items() if key in load(out)} == load(
        out
    )  # the same drills again
    for bad, message in (
        (("--rules", "flower:Best"), "no contender"),
        (("--malicious", "6"), "honest majority"),
    ):
        with pytest.raises(SystemExit, match=message):
            call(*bad)
