# SPDX-License-Identifier: Apache-2.0
"""Every reason, rule and number has words, and the words have the numbers right."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from folkmoot.aggregation import registry as rules
from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import Weighted
from folkmoot.aggregation.references import Reference, ReferencedFacts, Windows
from folkmoot.coordinator_api import REFUSALS
from folkmoot.explain.reasons import Case, Explanation, explain, factor_product, why_paid_less, words_of
from folkmoot.protocol.arrays import F64, I64
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.protocol.verdict import Reason

ALL = sorted(module.NAME for module in rules.SHIPPED)
WORDLESS = "no words for it"
NAMES = [f"0x{index:040x}" for index in range(40)]
KINDS = ("honest", "rare", "flipped", "back", "long", "zero", "noise", "copy", "replay")


def parameters_of(name: str) -> tuple[int, ...]:
    return (1, 0) if name == "multi_krum" else ()


@cache
def crowd(seed: int, kinds: tuple[str, ...]) -> ReferencedFacts:
    """Facts of honest updates and of one of each kind, with root, trajectory and an earlier update."""
    rng = np.random.default_rng(seed)
    size = 1024
    shared, gone = rng.normal(0, 12, (2, size))
    before = np.rint(shared + rng.normal(0, 24, size))
    honest = [np.rint(shared + rng.normal(0, 24, size)) for _ in range(6)]
    one: dict[str, Callable[[], F64]] = {
        "honest": lambda: np.rint(shared + rng.normal(0, 24, size)),
        "rare": lambda: np.rint(0.1 * shared + rng.normal(0, 24, size)),
        "flipped": lambda: np.rint(-shared + rng.normal(0, 24, size)),
        "back": lambda: np.rint(0.4 * shared - 2 * gone),
        "long": lambda: 3 * np.rint(shared + rng.normal(0, 24, size)),
        "zero": lambda: np.zeros(size),
        "noise": lambda: np.rint(rng.normal(0, 24, size)),
        "copy": lambda: honest[0],
        "replay": lambda: before,
    }
    vectors = np.vstack([*honest, *(one[kind]() for kind in kinds)]).astype(np.int64)

    def compared(other: I64) -> Reference:
        return Reference(tuple(int(value) for value in vectors @ other), int(other @ other))

    gram = vectors @ vectors.T
    trajectory = compared(np.rint(shared + gone).astype(np.int64))
    products = tuple(tuple(int(value) for value in row) for row in gram)
    return ReferencedFacts(
        products,
        tuple(int(row[index]) for index, row in enumerate(gram)),
        tuple((int(row.sum()),) for row in np.abs(vectors)),
        root=compared(np.rint(shared + rng.normal(0, 24, size)).astype(np.int64)),
        trajectory=trajectory,
        window=Windows(products, trajectory, tuple(1 + index % 8 for index in range(len(vectors)))),
        earlier=(compared(before.astype(np.int64)),),
        elements=(size,),
    )


@cache
def cases(name: str, seed: int, kinds: tuple[str, ...] = KINDS) -> list[Case]:
    facts = crowd(seed, kinds)
    results = rules.rule(name)(facts, parameters_of(name))
    largest = max(result.weight for result in results)
    return [
        case_of(name, result, largest, square)
        for result, square in zip(results, facts.sum_squares, strict=True)
    ]


def case_of(name: str, result: Weighted, largest: int, square: int) -> Case:
    return Case(
        name,
        parameters_of(name),
        result.weight,
        result.reason,
        {"sumSquares": square, **result.numbers},
        largest,
        10**9,
        NAMES,
    )


def text_of(explanation: Explanation) -> str:
    return "\n".join([explanation.summary, *explanation.details, explanation.weight, explanation.advice])


def test_every_reason_has_words_of_its_own() -> None:
    known = [words_of(reason) for reason in Reason]
    assert len({words.summary for words in known}) == len(list(Reason))
    assert all(words.summary.endswith(".") and words.advice.endswith(".") for words in known)
    assert not any("does not know" in words.summary for words in known)
    for code in REFUSALS:
        assert "does not know" not in words_of(code).summary, code
    assert "does not know" in words_of("from-a-newer-release").summary


@pytest.mark.parametrize("name", ALL)
def test_every_rule_and_every_number_has_words(name: str) -> None:
    seen: set[str] = set()
    for seed in range(2):
        for case in cases(name, seed):
            said = text_of(explain(case))
            assert WORDLESS not in said, said
            assert "does not know the rule" not in said
            for number, value in case.numbers.items():
                shown = {"copyOf": NAMES[value] if number == "copyOf" else ""}.get(number, str(value))
                assert shown in said, f"{number} = {value} is not in: {said}"
            seen |= set(case.numbers)
            for parameter in rules.PARAMETERS[name][: len(parameters_of(name))]:
                assert f"{parameter} = " in explain(case).details[0]
    assert "sumSquares" in seen


def test_all_kinds_of_verdicts_are_met_by_the_walk() -> None:
    """Or the test above would walk past words that nobody ever read."""
    found = {
        reason for name in ALL for seed in range(2) for reason in {case.reason for case in cases(name, seed)}
    }
    refused = {Reason(code) for code in REFUSALS if code in set(Reason)}
    assert found == set(Reason) - refused - {Reason.NOT_DELIVERED, Reason.ROOT}


@pytest.mark.parametrize("seed", range(2))
def test_the_parts_that_are_told_are_the_weights(seed: int) -> None:
    """Who follows the formulas with the numbers of all verdicts comes to the weights, but for rounding."""
    found = cases("clamped_mean", seed)
    parts = [factor_product(case) for case in found]
    assert None not in parts
    most = max(part for part in parts if part is not None)
    for case, part in zip(found, parts, strict=True):
        assert part is not None
        assert abs(Fraction(case.weight, case.largest) - part / most) < Fraction(4, UNIT), case


def test_rules_whose_numbers_do_not_say_all_tell_no_part() -> None:
    for name in ("mean", "multi_krum"):
        assert {factor_product(case) for case in cases(name, 1, ())} == {None}


def test_a_rare_update_is_told_its_factors() -> None:
    numbers = {"sumSquares": 2500, "medianCosine": 1966, "medianCosineMedian": 26870, "clipFactor": 36044}
    case = Case("clamped_mean", (), 19342, Reason.ACCEPTED, numbers, UNIT, 10_000)
    said = explain(case)
    assert said.summary == "Accepted: the weight is above 0."
    (norm, cosine, clip) = said.details[1:]
    assert norm == "Committed norm 50 (sum of squares 2500, the policy allows 10000)."
    assert "0.030 (1966 of 65536)" in cosine
    assert "0.410 (26870 of 65536)" in cosine
    assert (
        "The factor is 12.5 % (the floor) for a median cosine of -0.410 or less and 1 from 0.410 on" in cosine
    )
    factor = UNIT * (1966 + 26870) // (2 * 26870)
    assert cosine.endswith(f"= {factor} (53.7 %).")
    assert clip.startswith("Its norm is 1.82 times the median")
    assert "clipped to 55.0 %" in clip
    assert said.weight.startswith("The product of its factors is 29.5 %")
    assert said.weight.endswith("Weight 19342 of at most 65536 in this round: 29.5 %.")
    assert "Fewer local steps" in said.advice


def test_a_stage_that_would_have_excluded_all_is_told_as_such() -> None:
    copy = Case("clamped_mean", (), 5, Reason.ACCEPTED, {"copyCosine": UNIT, "copyRatio": 40}, 5)
    assert "excluded all updates" in explain(copy).details[1]
    trajectory = Case(
        "clamped_mean", (), 5, Reason.ACCEPTED, {"trajectoryCosine": -3, "trajectoryMedian": 0}, 5
    )
    assert "it changed nobody's multiplier" in explain(trajectory).details[1]
    assert factor_product(trajectory) == 1
    bounded = Case("clamped_mean", (), 5, Reason.ACCEPTED, {"rootCosine": -3, "rootMedian": 0}, 5)
    assert "it changed nobody's multiplier" in explain(bounded).details[1]
    assert factor_product(bounded) == 1


def test_a_factor_at_its_floor_is_told_the_floor() -> None:
    numbers = {"medianCosine": -26870, "medianCosineMedian": 26870}
    case = Case("clamped_mean", (), 8192, Reason.ACCEPTED, numbers, UNIT)
    said = explain(case)
    assert "12.5 % (the floor) for a median cosine of -0.410 or less" in said.details[1]
    assert said.details[1].endswith("from 8192 to 65536, = 8192 (12.5 %).")
    assert factor_product(case) == Fraction(1, 8)
    root = Case("clamped_mean", (), 1, Reason.ACCEPTED, {"rootCosine": -500, "rootMedian": 400}, 4)
    assert explain(root).details[1].endswith("from 16384 to 65536, = 16384 (25.0 %).")
    assert factor_product(root) == Fraction(1, 4)


def test_others_are_named_where_they_are_known() -> None:
    case = Case(
        "clamped_mean",
        (),
        0,
        Reason.COPY,
        {"copyOf": 2, "copyCosine": 65500, "copyRatio": 160},
        5,
        None,
        NAMES,
    )
    assert NAMES[2] in explain(case).details[1]
    unknown = Case(
        "clamped_mean", (), 0, Reason.COPY, {"copyOf": 2, "copyCosine": 65500, "copyRatio": 160}, 5
    )
    assert "delivered update 2" in explain(unknown).details[1]


def test_a_copy_at_a_small_width_is_told_with_the_noise_and_without() -> None:
    numbers = {"copyCosine": 61000, "copyRatio": 40, "copyRepeat": 61100}
    said = explain(Case("clamped_mean", (), 0, Reason.COPY, numbers, 5))
    assert "is 0.931 (61000 of 65536), and 0.998 (65428 of 65536) without the noise of rounding:" in text_of(
        said
    )
    assert WORDLESS not in text_of(said)


def test_a_derived_copy_is_told_with_its_source() -> None:
    numbers = {"copyCosine": 61000, "copyRatio": 160, "copyRepeat": UNIT, "copySource": 61000}
    said = text_of(explain(Case("clamped_mean", (), 0, Reason.COPY, numbers, 5, None, NAMES)))
    assert (
        "with another contributor's update of one of the last rounds, all of which are public, is 0.931"
        in said
    )
    assert "at most 160/1024 of the median one in this round" in said
    assert "too different from it to explain that" in said
    numbers |= {"copyOf": 2, "copySource": 62000}
    said = text_of(explain(Case("clamped_mean", (), 0, Reason.COPY, numbers, 5, None, NAMES)))
    assert f"the update of {NAMES[2]}, which was committed later, is 0.931" in said
    assert "what that contributor sent before is 0.946 (62000 of 65536) without the noise of rounding" in said
    assert WORDLESS not in said


def test_an_equal_update_is_told_whose_share_it_has_none_of() -> None:
    said = explain(Case("mean", (), 0, Reason.COPY, {"sumSquares": 9, "copyOfEntry": 2}, 1))
    assert "byte for byte the update of entry 2 of the round" in said.details[2]
    assert WORDLESS not in text_of(said)


def test_what_is_new_in_an_update_is_said_with_what_a_full_pay_takes() -> None:
    said = text_of(
        explain(Case("clamped_mean", (), 7, Reason.ACCEPTED, {"sumSquares": 9, "novelty": 16384}, 7))
    )
    assert "as far as others confirm it, is 0.250 times the median one (16384 of 65536)" in said
    assert "half of the median weight" in said
    said = text_of(explain(Case("clamped_mean", (), 0, Reason.OUTLIER, {"sumSquares": 9, "novelty": 0}, 7)))
    assert "Its weight is 0, so its pay is 0" in said


@pytest.mark.parametrize(
    ("pay", "novelty", "advice"),
    [
        (FULL_PAY, 40_000, "Nothing."),
        (20_000, 10_000, "Nothing. For more pay: pay follows what is new in an update and others confirm."),
        (20_000, 40_000, "Nothing. For more pay: its weight limits the pay"),
        (None, 10_000, "Nothing."),
    ],
)
def test_what_would_raise_a_pay_is_said(pay: int | None, novelty: int, advice: str) -> None:
    numbers = {"sumSquares": 9, "novelty": novelty}
    said = explain(Case("clamped_mean", (), 7, Reason.ACCEPTED, numbers, 7, pay=pay)).advice
    assert said.startswith(advice)
    assert (said == "Nothing.") == (advice == "Nothing.")
    shown = why_paid_less({"weight": 7, "pay": pay, "numbers": {"novelty": str(novelty)}})
    assert bool(shown) == ("For more pay" in advice)
    assert explain(Case("clamped_mean", (), 0, Reason.COPY, numbers, 7, pay=0)).advice == Reason.COPY.advice
    assert why_paid_less({"weight": 0, "pay": 0, "numbers": {"novelty": "0"}}) == ""


def test_a_root_share_is_told_with_what_an_update_has_of_it() -> None:
    case = Case("clamped_mean", (256,), 7, Reason.ACCEPTED, {"sumSquares": 9, "rootShare": 16384}, 7)
    said = explain(case)
    assert said.details[0].startswith("Rule clamped_mean (rootShare = 256): ")
    assert "the root set gives out 25.0 % of the weight" in said.details[2]
    assert "25.0 % (16384 of 65536) of this update's weight is from there" in said.details[2]
    assert factor_product(case) is None


def test_a_newer_release_does_not_break_it() -> None:
    case = Case("from_the_future", (7,), 1, Reason.ACCEPTED, {"foresight": 42}, 1)
    said = text_of(explain(case))
    assert "does not know the rule" in said
    assert re.search(rf"foresight = 42 .*{WORDLESS}", said)
