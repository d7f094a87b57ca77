# SPDX-License-Identifier: Apache-2.0
"""When a model fell: exact in the counts, blind to noise, and never for a model that is no worse."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.evaluation import ClassCount, GroupCount, Measurement, Probe, measure
from folkmoot.evaluation.canary import (
    CanaryReport,
    Limits,
    canary_signer,
    findings,
    release_signer,
    sign_canary,
    sign_release,
)
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.hashing import canonical_json
from tests import factories

DOMAIN = Domain(31337, "0x" + "11" * 20)
STRICT = Limits(accuracy_drop=0, recall_drop=0, least_examples=1, trigger_rise=0)
CLASSES = ("0", "1", "2", "3")
COUNTS = st.lists(st.integers(0, 100), min_size=4, max_size=4)


def model(*correct: int, support: int = 100, probes: tuple[Probe, ...] = ()) -> Measurement:
    """A model that finds so many examples of each class, and gives what it misses to the next class."""
    missed = [support - one for one in correct]
    classes = tuple(
        ClassCount(str(place), support, one + missed[place - 1], one) for place, one in enumerate(correct)
    )
    groups = tuple(GroupCount(one.name, one.support, one.correct) for one in classes)
    return Measurement("classification", {}, classes, groups, probes)


USUAL = Limits()


def kinds(base: Measurement, candidate: Measurement, limits: Limits = USUAL) -> list[tuple[str, str]]:
    return [(one.kind, one.subject) for one in findings(base, candidate, limits)]


@given(COUNTS)
def test_the_same_model_did_not_fall(correct: list[int]) -> None:
    assert kinds(model(*correct), model(*correct), STRICT) == []


@given(COUNTS, st.lists(st.integers(0, 100), min_size=4, max_size=4))
def test_a_fall_is_real_and_more_is_allowed_by_wider_limits(before: list[int], after: list[int]) -> None:
    base, candidate = model(*before), model(*after)
    strict = findings(base, candidate, STRICT)
    for one in strict:
        assert one.after is not None
        assert one.before > one.after, "nothing is reported that grew"
    if sum(after) >= sum(before):
        assert not any(one.kind == "accuracy" for one in strict)
    assert set(kinds(base, candidate)) <= {(one.kind, one.subject) for one in strict}
    assert kinds(base, candidate, Limits(1, 1, 1, 1)) == [], "who allows everything withholds nothing"


def test_the_accuracy_may_go_down_a_little() -> None:
    assert kinds(model(90, 90, 90, 90), model(87, 87, 87, 87)) == []
    assert ("accuracy", "") in kinds(model(90, 90, 90, 90), model(70, 70, 70, 70))


def test_a_fall_within_noise_counts_for_nothing() -> None:
    """Seven points are more than the five allowed; of 40 examples they are chance, of 40,000 they are not."""
    assert kinds(model(9, 9, 9, 9, support=10), model(8, 8, 8, 8, support=10)) == []
    few, many = (
        kinds(model(*[90 * k // 100] * 4, support=k), model(*[82 * k // 100] * 4, support=k))
        for k in (100, 10_000)
    )
    assert (few, many) == ([], [("accuracy", "")])


def test_one_class_that_is_lost_is_found_although_the_accuracy_hardly_moves() -> None:
    before = model(*[95] * 12)
    after = model(*[97] * 11, 20)
    assert kinds(before, after) == [("recall", "11")]
    assert kinds(before, after, replace(Limits(), least_examples=101)) == [], "too few examples to say"


def test_a_model_that_called_everything_three_loses_nothing_by_learning() -> None:
    labels = [number % 4 for number in range(400)]
    dull = measure({}, labels, [3] * 400)
    learnt = measure({}, labels, [label if place % 3 else 0 for place, label in enumerate(labels)])
    assert kinds(dull, learnt) == []
    assert kinds(learnt, dull) != []


def test_a_trigger_is_bounded_and_a_model_may_get_rid_of_one() -> None:
    def drawn(count: int) -> Measurement:
        return model(90, 90, 90, 90, probes=(Probe("corner", "0", 300, count, 6),))

    clean = model(90, 90, 90, 90)
    assert kinds(clean, drawn(80)) == []
    assert kinds(clean, drawn(200)) == [("trigger", "corner:0")]
    assert kinds(drawn(80), drawn(130)) == [("trigger", "corner:0")], "however slowly it grew"
    assert kinds(drawn(200), drawn(150)) == []
    assert kinds(drawn(200), drawn(200)) == [], "no worse than what is already anchored"


def test_a_model_whose_numbers_are_no_numbers_fell() -> None:
    found = findings(measure({"accuracy": 0.5}), measure({"accuracy": float("nan")}), Limits())
    assert str(found[0]) == "The accuracy went from 50.0% to no number; a loss of 5.0 points is allowed."
    assert findings(measure({"accuracy": 0.5}), measure({"accuracy": 0.46}), Limits()) == []
    assert kinds(measure({"accuracy": 0.5}), measure({"accuracy": 0.4})) == [("accuracy", "")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"accuracy_drop": -0.1},
        {"recall_drop": 1.5},
        {"least_examples": 0},
        {"loss_rise": -0.1},
        {"group_loss_rise": float("inf")},
        {"loss_rise": float("nan")},
    ],
)
def test_limits_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Limits(**wrong)


LOSS = st.lists(st.floats(0, 100), min_size=30, max_size=30)


def losses(values: Any, groups: Any = None) -> Measurement:
    return measure({}, losses=values, groups=groups)


@given(LOSS)
def test_losses_that_stay_did_not_rise(values: list[float]) -> None:
    strict = replace(STRICT, loss_rise=0, group_loss_rise=0)
    groups = [place % 2 for place in range(len(values))]
    assert findings(losses(values, groups), losses(values, groups), strict) == []
    better = [value / 2 for value in values]
    assert findings(losses(values, groups), losses(better, groups), strict) == []


@given(LOSS, LOSS)
def test_a_rise_of_losses_is_what_the_formula_says(before: list[float], after: list[float]) -> None:
    """Against floats: two standard errors of the difference of two means, beyond what is allowed."""
    base, candidate = np.array(before), np.array(after)
    excess = candidate.mean() - 1.25 * base.mean()
    error = np.sqrt(base.var() / 30 + candidate.var() / 30)
    assume(abs(excess) > 1e-3 and abs(excess - 2 * error) > 1e-3)
    assert bool(findings(losses(before), losses(after), Limits())) == bool(excess > 2 * error)


def test_a_mean_loss_may_rise_a_little_and_noise_counts_for_nothing() -> None:
    noise = np.random.default_rng(7)
    base, worse = noise.exponential(1.0, 2000), noise.exponential(1.6, 2000)
    assert findings(losses(base), losses(1.2 * base), Limits()) == []
    assert [str(one) for one in findings(losses(np.full(9, 1.0)), losses(np.full(9, 1.5)), Limits())] == [
        "The mean loss went from 1 to 1.5; a rise of 25% is allowed."
    ]
    assert kinds(losses(base), losses(worse)) == [("loss", "")]
    assert kinds(losses(base[:20]), losses(worse[:20])) == [], "of twenty examples it is chance"


def test_a_group_whose_loss_doubles_is_found_although_the_mean_hardly_moves() -> None:
    noise = np.random.default_rng(8)
    values, groups = noise.uniform(0.5, 1.5, 1000), ["few"] * 60 + ["many"] * 940
    lost = values.copy()
    lost[:60] *= 3
    assert kinds(losses(values, groups), losses(lost, groups)) == [("group-loss", "few")]
    assert kinds(losses(values, groups), losses(lost, groups), replace(Limits(), least_examples=61)) == []
    assert kinds(losses(values, groups), losses(lost, groups), replace(Limits(), group_loss_rise=3.0)) == []


def test_a_model_that_predicts_no_numbers_any_more_fell() -> None:
    targets = np.arange(40.0)
    good, bad = targets + 1, np.where(targets < 3, np.nan, targets)
    base, broken = (measure({}, targets=targets, predictions=some) for some in (good, bad))
    assert [str(one) for one in findings(base, broken, Limits())] == [
        "3 examples have no finite loss; at the base 0 had none, and no more are allowed."
    ]
    assert findings(broken, broken, Limits()) == [], "no worse than what is already anchored"
    assert findings(broken, base, Limits()) == []


def test_a_task_with_a_loss_of_its_own_and_nothing_else() -> None:
    base = measure({"loss": 0.8})
    assert findings(base, measure({"loss": 0.99}), Limits()) == []
    assert kinds(base, measure({"loss": 1.01})) == [("loss", "")]
    assert "to no number" in str(findings(base, measure({"loss": float("nan")}), Limits())[0])
    assert kinds(measure({"loss": -2.0}), measure({"loss": -1.4})) == [("loss", "")], "relative to its size"


def test_an_accuracy_comes_before_a_loss() -> None:
    """An honest model that is more certain of what it gets wrong has a higher loss and is no worse."""
    assert kinds(measure({"accuracy": 0.5, "loss": 1.0}), measure({"accuracy": 0.52, "loss": 3.0})) == []
    labels = [0, 1] * 50
    base, after = (measure({}, labels, labels, losses=[loss] * 100) for loss in (0.1, 5.0))
    assert findings(base, after, Limits()) == []


def test_a_report_by_losses_comes_back() -> None:
    before, after = losses([1.0, 2.0], ["a", "b"]), losses([1.5, float("nan")], ["a", "b"])
    report = CanaryReport(7, "task", bytes(32), b"\x01" * 32, before, after)
    assert CanaryReport.from_bytes(report.to_bytes()) == report
    mixed = CanaryReport(7, "task", bytes(32), b"\x01" * 32, before, model(9, 9, 9, 9))
    with pytest.raises(InputError, match="Measure both with the same task"):
        CanaryReport.from_bytes(mixed.to_bytes())


REPORT = CanaryReport(7, "task", bytes(32), b"\x01" * 32, model(9, 9, 9, 9), model(8, 8, 8, 8))


def test_a_report_comes_back_and_its_signature_names_its_author() -> None:
    assert CanaryReport.from_bytes(REPORT.to_bytes()) == REPORT
    account = factories.account("emil")
    signature = sign_canary(REPORT, account, DOMAIN)
    assert canary_signer(REPORT, signature, DOMAIN) == account.address
    for changed in (replace(REPORT, round=8), replace(REPORT, candidate=REPORT.base)):
        assert canary_signer(changed, signature, DOMAIN) != account.address
    assert canary_signer(REPORT, signature, Domain(1, DOMAIN.verifying_contract)) != account.address
    release = sign_release(7, b"\x01" * 32, account, DOMAIN)
    assert release_signer(7, b"\x01" * 32, release, DOMAIN) == account.address
    assert release_signer(8, b"\x01" * 32, release, DOMAIN) != account.address


@pytest.mark.parametrize("signature", [b"", bytes(65), b"\xff" * 65, bytes(64)])
def test_signatures_that_are_none(signature: bytes) -> None:
    with pytest.raises(InputError) as refused:
        canary_signer(REPORT, signature, DOMAIN)
    assert refused.value.code == "invalid-signature"


@pytest.mark.parametrize(
    "changes",
    [
        {"round": "7"},
        {"round": 0},
        {"round": -1},
        {"round": 2**64},
        {"round": True},
        {"stateRoot": "0x12"},
        {"stateRoot": 5},
        {"base": None},
        {"base": measure({"error": 1.0}).to_json(), "candidate": measure({"error": 1.0}).to_json()},
        {"base": measure({"loss": 1.0}).to_json()},
        {"more": 1},
        {"format": "folkmoot/canary/1"},
    ],
)
def test_a_report_that_can_not_be_read(changes: dict[str, Any]) -> None:
    value = json.loads(REPORT.to_bytes()) | changes
    with pytest.raises(InputError) as refused:
        CanaryReport.from_bytes(canonical_json(value))
    assert refused.value.code == "invalid-report"
