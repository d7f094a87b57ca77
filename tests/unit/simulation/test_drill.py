# SPDX-License-Identifier: Apache-2.0
"""A drill is a function of its plan, runs every attack, and counts what it promises to count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folkmoot_lab import rules as laboratory
from folkmoot_lab.simulation import federation
from folkmoot_lab.simulation.attacks import ATTACKS
from folkmoot_lab.simulation.federation import _FIRST_EXPONENT, Plan, Run, Workload, run
from folkmoot_lab.simulation.grid import Cell, Table, grid, load, rule_text
from folkmoot_lab.simulation.network import NAMES, Network
from folkmoot_lab.simulation.scene import Scene

from folkmoot.errors import InputError
from folkmoot.protocol import feedback
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.outer_step import outer_step
from folkmoot.protocol.packing import WIDTHS, ZERO
from folkmoot.protocol.verdict import Reason

SMALL = Plan(contributors=7, malicious=2, rounds=4, rule="guarded_mean")


def test_a_plan_decides_everything(workload: Workload) -> None:
    plan = replace(SMALL, attack="gaussian")
    assert run(workload, plan) == run(workload, plan)
    assert run(workload, plan) != run(workload, replace(plan, seed=1))


def test_a_federation_learns(workload: Workload) -> None:
    outcome = run(workload, replace(SMALL, rounds=12))
    assert outcome.curve[-1] > 0.9
    assert outcome.detected is None
    assert outcome.attacker_reward is outcome.attacker_pay is None


@pytest.mark.parametrize("root", federation.ROOTS)
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_runs(workload: Workload, name: str, root: str) -> None:
    outcome = run(workload, replace(SMALL, attack=name, root=root, rounds=2))
    assert 0 <= outcome.accuracy <= 1
    assert (outcome.backdoor is None) == (ATTACKS[name].goal != "backdoor")
    assert outcome.slashed == 0
    assert outcome.attacker_pay is None or 0 <= outcome.attacker_pay <= 1
    assert json.loads(json.dumps(outcome.to_json()))["accuracy"] == pytest.approx(outcome.accuracy, abs=1e-4)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_eager_start_of_a_lone_contributor_is_the_next_base(workload: Workload, width: int) -> None:
    alone = Plan(contributors=1, malicious=0, rounds=4, width=width, outer_rate=512, outer_momentum=307)
    assert run(workload, replace(alone, start="eager")) == run(workload, alone)


def test_with_eager_start_contributors_go_on_from_their_own_updates(workload: Workload) -> None:
    drill = Run(workload, replace(SMALL, attack="sign-flip", start="eager"))  # rate 1024, momentum 0
    base = drill.model
    drill.round(0)
    assert drill.starts is not None
    step = np.float32(2.0**_FIRST_EXPONENT)
    sent = {
        who: update.read(0, drill.manifest.leaves)
        for who, update in zip(drill.past[0].contributors, drill.past[0].updates, strict=True)
    }
    for start, place in zip(drill.starts, drill.order.tolist(), strict=True):
        moved = (base - start) / step
        update = sent[drill.account_of(place, 0)].astype(np.float32).ravel() - ZERO
        # An attacker sends the reverse of what it trained, and goes on from what it trained.
        assert moved == pytest.approx(update if place in drill.honest_places else -update, abs=1.01)


def test_with_feedback_honest_updates_take_up_what_earlier_ones_left_out(workload: Workload) -> None:
    plan = replace(SMALL, attack="sign-flip", width=2, feedback=True, root="good", rounds=2)
    drill = Run(workload, plan)
    drill.run()
    honest = {drill.account_of(place, 0) for place in drill.honest_places}
    assert set(drill.residuals) == honest | {drill.coordinator}
    (account, residual), flat, header = min(drill.residuals.items()), drill.model, drill.header(2)
    end = flat - np.float32(0.3 * 2.0 ** header.exponents[0])
    given = (flat, end, header.exponents, drill.manifest, header.seed, account)
    fed = feedback.encode(*given, residual=residual)[0].data
    plain = encode_update(*given, width=2).data
    assert fed != feedback.encode(*given)[0].data != plain
    sent = (header, flat, flat - end, account)
    assert [drill.encoded(*sent, honest=honest).data for honest in (False, True)] == [plain, fed]
    without = Run(workload, replace(plan, feedback=False))
    without.run()
    assert not without.residuals
    assert not np.array_equal(without.model, drill.model)


def test_the_mean_pays_everybody_the_same(workload: Workload) -> None:
    outcome = run(workload, replace(SMALL, rule="mean", attack="free-random"))
    assert outcome.attacker_reward == outcome.attacker_pay == 1
    assert outcome.detected == 0
    assert outcome.honest_weight_lost == 0


def test_equal_updates_share_one_share_under_the_mean(workload: Workload) -> None:
    outcome = run(workload, replace(SMALL, rule="mean", attack="free-zero"))
    assert SMALL.malicious == 2
    assert outcome.attacker_reward == outcome.attacker_pay == 1 / 2
    assert outcome.honest_weight_lost == 0


@pytest.mark.parametrize("name", ["free-zero", "mimic", "sybil"])
def test_the_guarded_mean_pays_nothing_or_once(workload: Workload, name: str) -> None:
    outcome = run(workload, replace(SMALL, attack=name))
    assert outcome.attacker_reward is not None
    assert outcome.attacker_reward <= (0.6 if name == "sybil" else 0.0)
    assert outcome.attacker_pay is not None
    assert outcome.attacker_pay <= (0.6 if name == "sybil" else 0.0)


def test_a_commitment_that_the_ledger_refuses_is_refused_and_harms_nobody(workload: Workload) -> None:
    for name, reason in (
        ("wrong-round", Reason.ROUND_UNKNOWN),
        ("wrong-base", Reason.WRONG_BASE),
        ("extreme", Reason.NORM_TOO_LARGE),
    ):
        drill = Run(workload, replace(SMALL, attack=name))
        outcome = drill.run()
        assert outcome.detected == 1
        assert outcome.attacker_reward == 0
        assert outcome.honest_dropped == 0
        assert {drill.results[-1][place].reason for place in drill.attacker_places} == {reason}


def test_a_copy_is_in_the_lineage_as_any_delivered_update(workload: Workload) -> None:
    drill = Run(workload, replace(SMALL, attack="free-zero"))  # both attackers send the same bytes
    drill.round(0)
    assert drill.results[0][drill.attacker_places[1]].reason == Reason.COPY
    (past,) = drill.past
    assert past.contributors == tuple(drill.account_of(place, 0) for place in range(7))
    assert past.published is not None
    assert len(past.published) == 6


def test_a_rare_class_needs_a_split_that_is_so(workload: Workload) -> None:
    with pytest.raises(InputError, match="not held by the first 2 contributors alone"):
        Run(workload, replace(SMALL, rare=(3, 2)))
    labels = workload.train.labels
    parts = np.array_split(np.flatnonzero(labels != 3), 7)
    held = np.array_split(np.flatnonzero(labels == 3), 2)
    split = [np.concatenate([part, *held[place : place + 1]]) for place, part in enumerate(parts)]
    drill = Run(replace(workload, split=lambda _n, _seed: split), replace(SMALL, attack="ipm", rare=(3, 2)))
    outcome = drill.run()
    assert outcome.rare_recall == outcome.recall[3]
    dropped = np.array(drill.weights)[:, [2, 3]] == 0  # the attackers commit first, then the holders
    assert outcome.holders_dropped == dropped.mean()
    assert outcome.holders_pay is not None
    assert outcome.holders_pay <= 1 - dropped.mean()
    plain = run(workload, SMALL)
    assert (plain.rare_recall, plain.holders_pay, plain.holders_dropped) == (None, None, None)
    assert np.average(plain.recall, weights=np.bincount(workload.test.labels)) == pytest.approx(
        plain.accuracy
    )


def test_late_attackers_commit_last(workload: Workload) -> None:
    assert Run(workload, replace(SMALL, attack="mimic")).attacker_places == [5, 6]
    assert Run(workload, replace(SMALL, attack="alie")).attacker_places == [0, 1]
    assert Run(workload, SMALL).attacker_places == []


def test_an_adaptive_attack_does_at_least_what_a_fixed_one_does(workload: Workload) -> None:
    plan = replace(SMALL, rule="mean", rounds=8)
    fixed = run(workload, replace(plan, attack="ipm")).accuracy
    assert run(workload, replace(plan, attack="adaptive")).accuracy <= fixed


@pytest.mark.parametrize(("rule", "parameters"), [("multi_krum", (2, 0)), ("trimmed_mean", (2,))])
def test_the_attackers_model_of_the_round_is_the_round(
    workload: Workload, rule: str, parameters: tuple[int, ...]
) -> None:
    drill = Run(workload, replace(SMALL, rule=rule, parameters=parameters, attack="ipm", root="good"))
    seen: list[tuple[float, Scene]] = []
    plain = drill.attack.send

    def send(scene: Scene) -> Any:
        sent = plain(scene)
        seen.append((scene.objective(sent), scene))
        return sent

    drill.attack = replace(drill.attack, send=send)
    for number in range(4):  # until the exponents fit, updates are cut and the model of them is coarse
        drill.round(number)
    (progress, scene), moved = seen[-1], drill.last_mean
    assert moved is not None
    assert progress == pytest.approx(float(moved @ scene.mean / (scene.mean @ scene.mean)), abs=0.05)


@pytest.mark.parametrize("rule", sorted(laboratory.AGGREGATES))
@pytest.mark.parametrize("width", [8, 2])
def test_a_rule_with_an_aggregate_of_its_own_decides_the_next_state(
    workload: Workload, rule: str, width: int
) -> None:
    """Computed again with plain integers from what everybody sent."""
    plan = replace(SMALL, rule=rule, parameters=(2,), attack="gaussian", width=width, outer_momentum=300)
    drill = Run(workload, plan)
    for number in range(3):
        base, exponents = drill.state, drill.exponents
        drill.round(number)
        pairs = zip(drill.past[-1].updates, drill.weights[-1], strict=True)
        columns = np.sort(
            [one.read(0, drill.manifest.leaves).reshape(-1) for one, weight in pairs if weight], 0
        )
        ends = min(2, (len(columns) - 1) // 2)
        middle = columns[ends : len(columns) - ends].astype(np.int64) - ZERO
        scale, count = drill.policy.mean_scale, len(middle)
        mean = (2 * scale * middle.sum(axis=0) + count) // (2 * count)
        of_leaf = np.array(exponents, dtype=np.int64)[drill.manifest.tensor_of_leaf]
        theta, momentum = outer_step(base.theta, base.momentum, mean, scale, of_leaf, 1024, 300)
        assert (drill.state.theta == theta).all()
        assert (drill.state.momentum == momentum).all()
        assert drill.roots[-1] == drill.state.root(drill.manifest.hash)


def test_a_trigger_is_a_bright_patch(workload: Workload) -> None:
    drill = Run(workload, replace(SMALL, attack="backdoor-live"))
    changed = drill.memory["trigger"].on(workload.test.inputs) != workload.test.inputs
    assert set(np.flatnonzero(changed.any(axis=0))) == {10}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attack": "nuke"}, "no attack"),
        ({"rule": "best"}, "no aggregation rule"),
        ({"root": "huge"}, "no root set"),
        ({"malicious": 7}, "no drill"),
        ({"malicious": -1}, "no drill"),
        ({"rounds": 0}, "no drill"),
        ({"rare": (1, 0)}, "can't be held"),
        ({"rare": (1, 6)}, "can't be held"),
        ({"start": "late"}, "no start 'late'"),
    ],
)
def test_impossible_plans_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SMALL, **changes)


def test_the_network_follows_its_gradient() -> None:
    network = Network(6, 5, 3)
    rng = np.random.default_rng(0)
    inputs = rng.normal(0, 1, (1, 9, 6)).astype(np.float32)
    labels = rng.integers(0, 3, (1, 9))
    start = network.initial(0)

    def loss(model: dict[str, Any]) -> float:
        hidden = np.maximum(inputs[0] @ model[NAMES[0]] + model[NAMES[1]], 0)
        scores = hidden @ model[NAMES[2]] + model[NAMES[3]]
        scores = scores - scores.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(9), labels[0]]).mean())

    trained = network.train(start, [(inputs, labels)], 1e-3)
    precise = {name: value.astype(np.float64) for name, value in start.items()}
    for name in NAMES:
        gradient = (start[name] - trained[name][0]) / 1e-3
        place = np.unravel_index(int(np.abs(gradient).argmax()), gradient.shape)
        up, down = dict(precise), dict(precise)
        up[name], down[name] = precise[name].copy(), precise[name].copy()
        up[name][place] += 1e-5
        down[name][place] -= 1e-5
        assert gradient[place] == pytest.approx((loss(up) - loss(down)) / 2e-5, rel=0.01)


# Grids


def plans() -> list[Plan]:
    return [replace(SMALL, attack=attack, rounds=1) for attack in ("none", "ipm", "backdoor-corner")]


def test_a_grid_goes_on_where_it_was(workload: Workload, tmp_path: Path) -> None:
    path = tmp_path / "grid.jsonl"
    ran: list[int] = []

    def progress(done: int, _count: int, _plan: Plan, outcome: object) -> None:
        if outcome is not None:
            ran.append(done)

    first = grid(workload, plans()[:2], path, progress)
    path.write_text(path.read_text()[:-20])  # the last line was cut off
    again = grid(workload, plans(), path, progress)
    assert ran == [1, 2, 2, 3]
    assert again[:2] == first
    assert load(path) == again
    assert grid(workload, plans(), path, progress) == again
    assert len(ran) == 4
    assert grid(workload, plans(), None) == again


def test_a_file_that_is_no_grid_is_refused(workload: Workload, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello\nworld\n")
    with pytest.raises(InputError, match="Line 1") as caught:
        grid(workload, plans(), path)
    assert caught.value.code == "not-a-grid"
    assert path.read_text() == "hello\nworld\n"


def test_a_table_averages_seeds_and_knows_the_worst() -> None:
    def cell(attack: str, seed: int, accuracy: float, **more: float) -> Cell:
        return Cell("w", replace(SMALL, attack=attack, seed=seed), {"accuracy": accuracy, **more})

    table = Table.of(
        [
            cell("none", 0, 0.8),
            cell("none", 1, 0.9),
            cell("ipm", 0, 0.5),
            cell("backdoor-live", 0, 0.7, backdoor=0.2),
        ]
    )
    assert table.rows("accuracy") == [["guarded_mean", "85", "50", "70"]]
    assert table.rows("backdoor") == [["guarded_mean", "-", "-", "20"]]
    assert table.worst("guarded_mean") == 0.5
    assert table.to_svg().count("<rect") == 4


def test_a_rule_is_written_as_on_the_command_line() -> None:
    plan = replace(SMALL, rule="multi_krum", parameters=(2, 0), root="good")
    assert rule_text(plan) == "multi_krum:2,0@good"
    assert rule_text(SMALL) == "guarded_mean"
