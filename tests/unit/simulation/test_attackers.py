# SPDX-License-Identifier: Apache-2.0
"""Attackers that search do what they promise, with no more than they may know."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from folkmoot_lab.drills import data
from folkmoot_lab.simulation import riders
from folkmoot_lab.simulation.attacks import ATTACKS
from folkmoot_lab.simulation.federation import REWARD, Examples, Plan, Run, Workload, run
from folkmoot_lab.simulation.scene import ALL, LEVELS, OWN, PUBLIC, Scene, Trigger
from folkmoot_lab.simulation.searching import LAST, harm, room, searched, sleeper

from folkmoot.errors import InputError

SMALL = Plan(contributors=7, malicious=2, rounds=5, rule="clamped_mean")
RIDERS = sorted(name for name, one in ATTACKS.items() if one.data == "none")


def scenes(workload: Workload, plan: Plan) -> list[Scene]:
    """The scenes of a drill, as they were before its attackers answered."""
    drill, seen = Run(workload, plan), []
    plain = drill.attack.send

    def send(scene: Scene) -> Any:
        seen.append(replace(scene, rng=copy.deepcopy(scene.rng), memory=copy.deepcopy(scene.memory)))
        return plain(scene)

    drill.attack = replace(drill.attack, send=send)
    drill.run()
    return seen


def with_examples(workload: Workload, change: Any) -> Workload:
    inputs, labels = workload.train.inputs.copy(), workload.train.labels.copy()
    change(inputs, labels)
    return replace(workload, train=Examples(inputs, labels))


@pytest.mark.parametrize("name", RIDERS)
def test_riders_have_no_data(workload: Workload, name: str) -> None:
    plan = replace(SMALL, attack=name)

    def spoil(inputs: Any, labels: Any) -> None:
        for share in workload.split(plan.contributors, plan.seed)[-plan.malicious :]:
            inputs[share], labels[share] = 0.5, 0

    drill, spoilt = Run(workload, plan), Run(with_examples(workload, spoil), plan)
    assert drill.run() == spoilt.run()
    assert drill.earlier_sent is not None
    assert np.array_equal(drill.earlier_sent, np.asarray(spoilt.earlier_sent))
    assert drill.earlier_sent.any(axis=1).all()
    with pytest.raises(InputError, match="has no data"):
        _ = scenes(workload, plan)[0].examples


@pytest.mark.parametrize("name", sorted(name for name, one in ATTACKS.items() if one.knows != ALL))
def test_an_attack_uses_no_more_than_it_knows(workload: Workload, name: str) -> None:
    plan = replace(SMALL, attack=name, rounds=3)
    scene = scenes(workload, plan)[-1]
    send, hidden = ATTACKS[name].send, scene._honest[:, ::-1] + np.float32(1)
    changed = replace(scene, _honest=hidden, rng=copy.deepcopy(scene.rng), memory=copy.deepcopy(scene.memory))
    assert np.array_equal(send(scene), send(changed))


def test_what_is_above_the_level_is_refused(workload: Workload) -> None:
    scene = scenes(workload, replace(SMALL, attack="ascent", rounds=2))[1]
    needs = {
        OWN: ("own", "examples", "norm", "mean"),
        PUBLIC: ("rounds", "trajectory"),
        ALL: ("honest", "root"),
    }
    for level in LEVELS:
        for least, names in needs.items():
            for name in names:
                limited = replace(scene, level=level)
                if LEVELS.index(level) >= LEVELS.index(least):
                    getattr(limited, name)
                    continue
                with pytest.raises(
                    InputError, match=f"does not know '{'rounds' if least == PUBLIC else name}'"
                ):
                    getattr(limited, name)
    with pytest.raises(InputError, match="does not know 'try_out'"):
        replace(scene, level=OWN).try_out(scene.own)


def test_published_rounds_are_what_was_computed(workload: Workload) -> None:
    drill = Run(workload, replace(SMALL, attack="sign-flip"))
    drill.run()
    last = drill.published[-1]
    assert list(last.weights) == [drill.weights[-1][place] for place in drill.order]
    assert max(last.pays) == 1
    assert drill.earlier_sent is not None
    sent, shown = drill.earlier_sent[0], last.updates[-drill.attackers]
    assert sent @ shown > 0.9 * np.linalg.norm(sent) * np.linalg.norm(shown)


def test_an_ascent_does_at_least_the_harm_of_its_search_and_that_of_work(workload: Workload) -> None:
    for scene in scenes(workload, replace(SMALL, attack="ascent")):
        value, rng = harm(scene), copy.deepcopy(scene.rng)
        found = value(searched(replace(scene, rng=rng)))
        assert value(ATTACKS["ascent"].send(scene)) >= found
        assert found > value(scene.own)


def test_a_sleeper_works_until_its_weight_is_whole(workload: Workload) -> None:
    scene = scenes(workload, replace(SMALL, attack="sleeper", rounds=2 + LAST))[1]
    (last,) = scene.rounds

    def works(mine: int, awake: bool, left: int) -> bool:
        weights = [10] * (len(last.weights) - scene.count) + [mine] * scene.count
        before = replace(scene, _rounds=[last._replace(weights=weights)], memory={"awake": awake}, left=left)
        return sleeper(before) is scene.own

    assert works(9, awake=False, left=LAST)
    assert not works(10, awake=False, left=LAST)
    assert not works(5, awake=True, left=LAST)
    assert works(4, awake=True, left=LAST)
    assert not works(4, awake=True, left=LAST - 1)


def test_a_latecomer_is_absent_until_the_middle(workload: Workload) -> None:
    first, *_, last = scenes(workload, replace(SMALL, attack="latecomer"))
    assert not ATTACKS["latecomer"].send(first).any()
    assert ATTACKS["latecomer"].send(last).any()


@pytest.mark.parametrize("name", ["backdoor-search", "backdoor-pair"])
def test_a_backdoor_finds_dark_pixels_and_stays_within_the_clamp(workload: Workload, name: str) -> None:
    def darken(inputs: Any, _labels: Any) -> None:
        inputs[:, [3, 7]] *= np.float32(0.1)

    drill = Run(with_examples(workload, darken), replace(SMALL, rule="mean", attack=name, rounds=8))
    seen: list[Scene] = []
    plain = drill.attack.send

    def send(scene: Scene) -> Any:
        seen.append(scene)
        return plain(scene)

    drill.attack = replace(drill.attack, send=send)
    outcome = drill.run()
    trigger = drill.memory["trigger"]
    assert isinstance(trigger, Trigger)
    assert set(trigger.pixels) <= {3, 7}
    assert (trigger.source is None) == (name == "backdoor-search")
    assert trigger.source != trigger.target
    assert outcome.backdoor is not None
    scene = seen[-1]
    sent = np.asarray(drill.earlier_sent)
    assert (np.abs(sent - scene.own) <= room(scene) + 1e-6).all()
    shown, wanted = trigger.on(workload.test.inputs), np.full(len(workload.test.labels), trigger.target)
    assert scene.loss(scene.model - scene.try_out(sent).moved, shown, wanted) < scene.loss(
        scene.model - scene.try_out(scene.own).moved, shown, wanted
    )


def test_more_heads_leave_more_room(workload: Workload) -> None:
    scene = scenes(workload, replace(SMALL, attack="ascent", rounds=2))[1]
    rooms = [room(replace(scene, _count=count)).sum() for count in (0, 2, 4)]
    assert rooms[0] < rooms[1] < rooms[2]


def test_a_rider_sends_what_was_paid_best(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(riders, "_TRIED", 0.0)
    scene = scenes(workload, replace(SMALL, attack="rider-search", rounds=2))[1]
    (last,) = scene.rounds
    paid = replace(
        scene,
        _rounds=[last._replace(pays=[1.0] * (len(last.pays) - 2) + [0.1, 0.4])],
        memory={"paid": [[0.2] for _ in riders.WAYS], "ways": [1, 2]},
    )
    riders.best_paid(paid)
    assert paid.memory["ways"] == [2, 2]
    assert [len(one) for one in paid.memory["paid"]] == [1, 2, 2, 1, 1, 1]


def test_mixtures_of_what_others_published_are_paid_next_to_nothing() -> None:
    plan = Plan(contributors=12, malicious=3, rounds=12, rule="clamped_mean", attack="rider-mix")
    outcome = run(data.workload("digits"), plan)
    assert outcome.attacker_pay is not None
    assert outcome.attacker_pay < 0.2
    assert outcome.honest_pay > 0.8


def test_attackers_try_out_the_pays_too(workload: Workload) -> None:
    drill, said = Run(workload, replace(SMALL, attack="min-max-noise")), []
    plain = drill.attack.send

    def send(scene: Scene) -> Any:
        sent = plain(scene)
        said.append(scene.try_out(sent).pays)
        return sent

    drill.attack = replace(drill.attack, send=send)
    drill.run()
    place = REWARD // SMALL.contributors
    paid = [[amounts[one] / place for one in drill.order] for amounts in drill.paid]
    assert np.abs(np.array(said) - np.array(paid)).max() < 0.2, (
        "the rounding's randomness is not known before"
    )
    assert np.ptp(paid) > 0.5


def test_who_knows_what_is_public_tries_for_pay_in_the_round_before(workload: Workload) -> None:
    drill = Run(workload, replace(SMALL, attack="rider-noise"))
    found: list[list[float]] = []

    def send(scene: Scene) -> Any:
        if len(scene.rounds) > 1:
            assert len(scene.before.rounds) == len(scene.rounds) - 1
            assert np.array_equal(scene.before.model, scene.rounds[-1].model)
            mine = scene.rounds[-1].updates[-scene.count :]
            paid = [scene.try_out(mine).pays[-scene.count :], scene.rounds[-1].pays[-scene.count :]]
            found.append([float(np.mean(one)) for one in paid])
        return riders.invented(scene)

    drill.attack = replace(drill.attack, send=send)
    drill.run()
    assert len(found) == SMALL.rounds - 2
    assert all(abs(tried - paid) < 0.25 for tried, paid in found), found


def test_a_rule_without_pays_has_none_to_try(workload: Workload) -> None:
    scene = scenes(workload, replace(SMALL, attack="alie-noise", rule="mean", rounds=1))[0]
    assert len(scene.try_out(scene.own).pays) == 0


def test_a_rider_keeps_what_was_paid_best_when_tried(workload: Workload) -> None:
    scene = scenes(workload, replace(SMALL, attack="rider-pay", rounds=5))[4]
    found = scene.memory["blends"]
    blends, tries = len(found), sum(map(len, found.values()))
    assert set(riders.BLENDS) < set(found)
    ATTACKS["rider-pay"].send(scene)
    assert (len(found) - blends, sum(map(len, found.values())) - tries) == (4, 8)
