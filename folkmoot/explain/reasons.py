# SPDX-License-Identifier: Apache-2.0
"""Verdicts in plain English: a sentence for every reason and for every number.

The formulas are those of the stages (docs/protocol.md section 8.1) with the numbers inserted, so that a contributor can
recompute a weight by hand. Everything is taken from the verdict; inputs that are not among its numbers only
`folkmoot audit` recomputes. A test runs all rules and fails if a reason, a rule or a number has no explanation here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any, NamedTuple

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.pay import FACTOR
from folkmoot.aggregation.registry import PARAMETERS
from folkmoot.aggregation.rules import clamped_mean
from folkmoot.aggregation.stages import copies, likeness, root, trajectory, uncorrelated
from folkmoot.protocol.policy import ROOT_SHARE_UNIT
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.protocol.verdict import Reason


@dataclass(frozen=True)
class Case:
    """A verdict with its context: the policy and the round."""

    rule: str
    """Name of the policy's rule."""
    parameters: tuple[int, ...]
    weight: int
    """Weight of the entry."""
    reason: Reason
    """Why."""
    numbers: Mapping[str, int]
    """The integers behind it, by name."""
    largest: int
    """Largest weight of the round."""
    cap: int | None = None
    """The policy's largest sum of squares, if known."""
    delivered: Sequence[str] = ()
    """Contributors of the entries that the rule weighed, in their order, if known."""
    pay: int | None = None
    """Its pay in 1/FULL_PAY of a full place; None under a rule without pays."""


@dataclass(frozen=True)
class Explanation:
    """A verdict in words."""

    summary: str
    """The reason, one sentence."""
    details: tuple[str, ...]
    """What the rule does, and each number with what it was compared with."""
    weight: str
    """The weight relative to the round's largest."""
    advice: str
    """What the contributor could do next."""


class Words(NamedTuple):
    """A reason in words."""

    summary: str
    """What it means, one sentence."""
    advice: str
    """What to do next."""


_RULES: dict[str, str] = {
    "mean": "every delivered update has the same weight, of equal ones the first",
    "clamped_mean": "without zero updates, copies, replays and noise; multipliers follow the sum of each contributor's "
    "last eight published updates: how alike it is to others, its median cosine with them, its cosine with the model's "
    "trajectory, and how many updates are in it; and, by a quarter to one, the update's cosine with the root-set "
    "update, if there is one; clipped to the median norm",
    "multi_krum": "the updates with the smallest Krum scores (sums of squared distances to the nearest others) have "
    "weight 1, the others 0",
}
"""How each rule weighs."""


def words_of(code: str) -> Words:
    """Return the words for a reason code, also for one that is not in the table."""
    if code in set(Reason):
        return Words(Reason(code).summary, Reason(code).advice)
    if code == "invalid-commitment":  # it is refused before anybody knows whose update it is
        return Words(
            "Refused on arrival: the commitment can't be read.",
            "Send it as `folkmoot submit` and this release's mod do.",
        )
    return Words(f"{code}: this release does not know the reason.", "Update Folkmoot to read it.")


def explain(case: Case) -> Explanation:
    """Explain a verdict."""
    words = words_of(case.reason)
    names = PARAMETERS.get(case.rule, ())
    parameters = ", ".join(
        f"{names[place]} = {value}" if place < len(names) else str(value)
        for place, value in enumerate(case.parameters)
    )
    how = _RULES.get(case.rule, "this release does not know the rule")
    details = [f"Rule {case.rule}{f' ({parameters})' if parameters else ''}: {how}."]
    left = dict(case.numbers)
    for group, say in _NUMBERS:
        if group[0] in left:
            details.append(say(case))
            for name in group:
                left.pop(name, None)
    details += [f"{name} = {value} (this release has no words for it)." for name, value in left.items()]
    return Explanation(words.summary, tuple(details), _weight(case), _advice(case, words))


def why_low(verdict: Mapping[str, Any], share: float) -> str:
    """Return a short reason for the low weight of an update, in parentheses; nothing if there is none."""
    numbers = verdict.get("numbers") or {}
    reason = ""
    if "krumScore" in numbers and not share:
        ratio = int(numbers["krumScore"]) / max(1, int(numbers["krumThreshold"]))
        reason = f"its Krum score is {ratio:.2f} times the largest selected one"
    elif (
        "medianCosine" in numbers
        and share < 0.5
        and int(numbers["medianCosine"]) < int(numbers["medianCosineMedian"])
    ):
        reason = f"median cosine with the others {int(numbers['medianCosine']) / UNIT:.2f}"
    elif "trajectoryCosine" in numbers and share < 0.5:
        reason = f"cosine with the model's trajectory {int(numbers['trajectoryCosine']) / UNIT:.2f}"
    return f" ({reason})" if reason else ""


def why_paid_less(verdict: Mapping[str, Any]) -> str:
    """Return what limits the pay of an update, in parentheses; nothing if it is paid in full, or for nothing."""
    numbers, pay = verdict.get("numbers") or {}, verdict.get("pay")
    if not int(verdict["weight"]) or pay is None or int(pay) >= FULL_PAY or "novelty" not in numbers:
        return ""
    novelty = int(numbers["novelty"])
    if FACTOR * novelty > int(pay):
        return " (its weight limits it)"
    return f" (what is new in it is {percent_of(novelty, UNIT)} of the median)"


def factor_product(case: Case) -> Fraction | None:
    """Return the product of an update's factors, from 0 to 1; None if the numbers do not have all of them.

    Weights are these products, scaled so that the round's largest is as large as it may be, and rounded down.
    """
    if case.rule != clamped_mean.NAME or case.reason in (Reason.NOT_DELIVERED, Reason.ROOT):
        return None
    if "rootShare" in case.numbers:
        return None  # a sum, not a product
    if case.weight == 0:
        return Fraction(0)
    part = Fraction(1)
    for factor in _FACTORS:
        part *= Fraction(factor(case), UNIT)
    return part


def _weight(case: Case) -> str:
    if case.largest == 0:
        return f"Weight {case.weight}."
    percent = percent_of(case.weight, case.largest)
    text = f"Weight {case.weight} of at most {case.largest} in this round: {percent}."
    part = factor_product(case)
    if part is None or case.weight == 0:
        return text
    share = percent_of(part.numerator, part.denominator)
    return (
        f"The product of its factors is {share}; the largest product has the round's largest weight. {text}"
    )


def _advice(case: Case, words: Words) -> str:
    return f"{_weight_advice(case, words)}{_pay_advice(case)}"


def _pay_advice(case: Case) -> str:
    """Return what would raise the pay of an update that counts, after a space; nothing if its pay is full."""
    novelty = case.numbers.get("novelty")
    if case.weight == 0 or case.pay is None or case.pay >= FULL_PAY or novelty is None:
        return ""
    if FACTOR * novelty > case.pay:
        return " For more pay: its weight limits the pay, so what raises the weight raises both."
    return (
        " For more pay: pay follows what is new in an update and others confirm. Train on your own data, from the "
        "round's base, in each round; one low pay can be chance."
    )


def _weight_advice(case: Case, words: Words) -> str:
    if case.reason is not Reason.ACCEPTED or 10 * case.weight >= 9 * case.largest:
        return words.advice
    if case.numbers.get("medianCosine", 0) < 0 < case.numbers.get("medianCosineMedian", 0):
        return "Check the labels first, then the learning rate: your updates point away from most others."
    if 10 * _clip_factor(case) < 9 * UNIT:
        return (
            "Fewer local steps or a smaller learning rate give an update a smaller norm; the federation's settings are "
            "in the manifest."
        )
    if 10 * _presence_factor(case) < 9 * UNIT:
        return (
            "Take part in more rounds: a contributor's weight grows with the rounds that it can be judged by."
        )
    return "Nothing: data that is rare in the federation gets a partial weight."


# Each number, or group of numbers, in words. The first name of a group is what it is found by.


def _sum_squares(case: Case) -> str:
    value = case.numbers["sumSquares"]
    limit = f", the policy allows {case.cap}" if case.cap is not None else ""
    return f"Committed norm {isqrt(value)} (sum of squares {value}{limit})."


def _equal(case: Case) -> str:
    return (
        f"It is byte for byte the update of entry {case.numbers['copyOfEntry']} of the round, counted from 0. Equal "
        "updates share one share: the first one that was delivered has it."
    )


def _copy(case: Case) -> str:
    value, of = case.numbers["copyCosine"], case.numbers.get("copyOf")
    source = case.numbers.get("copySource")
    share = f"{case.numbers['copyRatio']}/{copies.RATIO_UNIT}"
    if of is None:
        whose = "an update" if source is None else "another contributor's update"
        other = f"{whose} of one of the last rounds, all of which are public"
        median = "the median one to earlier updates" if source is None else "the median one in this round"
    else:
        who = case.delivered[of] if of < len(case.delivered) else f"delivered update {of}, counted from 0"
        order = "earlier" if source is None else "later"
        other = f"the update of {who}, which was committed {order}"
        median = "the median one in this round"
    likeness = copies.Likeness(value, case.numbers.get("copyRepeat", UNIT))
    seen = _cosine(value)
    if likeness.repeat < UNIT:
        seen += f", and {_cosine(likeness.corrected)} without the noise of rounding"
    text = f"Its cosine with {other}, is {seen}: its distance from 1 is at most {share} of {median}"
    if source is not None and of is None:
        text += ". Its contributor's own earlier updates are too different from it to explain that"
    elif source is not None:
        text += (
            f". Its cosine with what that contributor sent before is {_cosine(source)} without the noise of rounding: "
            "it can be made of that, and its own contributor sent nothing before"
        )
    if case.reason is Reason.COPY:
        return f"{text}."
    return f"{text}; but that would have excluded all updates, so it was not excluded for it."


def _squared_cosines(case: Case) -> str:
    value = case.numbers["squaredCosineSum"]
    share = f"{case.numbers['squaredCosineRatio']}/{uncorrelated.RATIO_UNIT}"
    return (
        f"Its squared cosines with the others add up to {value / UNIT**2:.6f} ({value} of {UNIT**2}): less than "
        f"{share} of the round's median of such sums."
    )


def _likeness(case: Case) -> str:
    value, median = case.numbers["likeness"], case.numbers["likenessMedian"]
    return (
        f"The sum of its contributor's last updates is more alike to those of others than usual (squared cosines add "
        f"up to {value}, the median is {median}): who is alike shares weight, so its multiplier is multiplied by "
        f"{percent_of(_likeness_factor(case), UNIT)}."
    )


def _median_cosine(case: Case) -> str:
    value, half = case.numbers["medianCosine"], case.numbers["medianCosineMedian"]
    return (
        f"The median cosine of the sum of its contributor's last updates with those of others is {_cosine(value)}; the "
        f"round's median is {_cosine(half)}. {_ramp('median cosine', value, half, likeness.FLOOR)}"
    )


def _presence(case: Case) -> str:
    value, most = case.numbers["windowRounds"], case.numbers["windowRoundsMost"]
    return (
        f"{value} updates of its contributor are in the sum that it is judged by, and {most} of those who have most: "
        f"its multiplier is multiplied by {percent_of(_presence_factor(case), UNIT)}."
    )


def _trajectory(case: Case) -> str:
    value, half = case.numbers["trajectoryCosine"], case.numbers["trajectoryMedian"]
    text = (
        f"Its cosine with the trajectory, what the model moved by in the last rounds, is {_cosine(value)}; "
        f"the round's median is {_cosine(half)}."
    )
    text = f"{text} {_ramp('cosine', value, half, _trajectory_floor(case))}"
    threshold = case.numbers.get("trajectoryThreshold")
    if threshold is None:
        return text
    return f"{text} Only a cosine of {_cosine(-threshold)} or less excludes an update: above that it may be chance."


def _ramp(what: str, value: int, half: int, floor: int = 0) -> str:
    if half <= 0:
        smallest = f" (the floor of the factors was {floor} of {UNIT}, {percent_of(floor, UNIT)})"
        return f"That is not above 0, so it changed nobody's multiplier{smallest if floor else ''}."
    factor = _ramp_factor(value, half, floor)
    lowest = f"{percent_of(floor, UNIT)} (the floor)" if floor else "0"
    return (
        f"The factor is {lowest} for a {what} of {-half / UNIT:.3f} or less and 1 from {half / UNIT:.3f} on: "
        f"factor = floor({UNIT} * ({value} + {half}) / (2 * {half})), from {floor} to {UNIT}, = {factor} "
        f"({percent_of(factor, UNIT)})."
    )


def _root(case: Case) -> str:
    value, half = case.numbers["rootCosine"], case.numbers["rootMedian"]
    return (
        f"Its cosine with the root-set update, the coordinator's own, is {_cosine(value)}; the round's median is "
        f"{_cosine(half)}. {_ramp('cosine', value, half, root.FLOOR)}"
    )


def _root_share(case: Case) -> str:
    value = case.numbers["rootShare"]
    return (
        f"By the policy the root set gives out {percent_of(case.parameters[0], ROOT_SHARE_UNIT)} of the weight, by the "
        f"cosine with the root-set update: {percent_of(value, UNIT)} ({value} of {UNIT}) of this update's weight is "
        "from there."
    )


def _clip(case: Case) -> str:
    value = case.numbers["clipFactor"]
    times = f"{UNIT / value:.2f}" if value else f"more than {UNIT}"
    return (
        f"Its norm is {times} times the median of the included updates: it was clipped to {percent_of(value, UNIT)} "
        f"({value} of {UNIT})."
    )


def _score(case: Case) -> str:
    score, threshold = case.numbers["krumScore"], case.numbers["krumThreshold"]
    times = f"{score / threshold:.3f} times" if threshold else "against"
    selected = "It was selected" if case.weight else "It was not selected"
    return (
        f"Its Krum score, the sum of its smallest squared distances to others, is {score}: {times} the largest "
        f"selected score, {threshold}. {selected}."
    )


def _novelty(case: Case) -> str:
    value = case.numbers["novelty"]
    if case.weight == 0:
        return "Its weight is 0, so its pay is 0, whatever is new in it."
    return (
        f"What is new in it beside everything public, as far as others confirm it, is {value / UNIT:.3f} times the "
        f"median one ({value} of {UNIT}). A full pay takes half of the median, and half of the median weight."
    )


_NUMBERS: tuple[tuple[tuple[str, ...], Callable[[Case], str]], ...] = (
    (("sumSquares",), _sum_squares),
    (("copyOfEntry",), _equal),
    (("copyCosine", "copyOf", "copyRatio", "copyRepeat", "copySource"), _copy),
    (("squaredCosineSum", "squaredCosineRatio"), _squared_cosines),
    (("likeness", "likenessMedian"), _likeness),
    (("medianCosine", "medianCosineMedian"), _median_cosine),
    (("trajectoryCosine", "trajectoryMedian", "trajectoryThreshold"), _trajectory),
    (("windowRounds", "windowRoundsMost"), _presence),
    (("rootCosine", "rootMedian"), _root),
    (("rootShare",), _root_share),
    (("clipFactor",), _clip),
    (("krumScore", "krumThreshold"), _score),
    (("novelty",), _novelty),
)
"""The numbers in the order of the stages."""


def _ramp_factor(value: int, half: int, floor: int = 0) -> int:
    """Return the factor of a ramp, such as that of ``weigh_by_trajectory``, up to UNIT."""
    return max(floor, min(UNIT, UNIT * (value + half) // (2 * half))) if half > 0 else UNIT


def _trajectory_factor(case: Case) -> int:
    if "trajectoryCosine" not in case.numbers:
        return UNIT
    return _ramp_factor(
        case.numbers["trajectoryCosine"], case.numbers["trajectoryMedian"], _trajectory_floor(case)
    )


def _trajectory_floor(case: Case) -> int:
    """Return the floor of the trajectory's factor: above 0 for a cosine within the scatter."""
    threshold = case.numbers.get("trajectoryThreshold")
    return trajectory.FLOOR if threshold is not None and case.numbers["trajectoryCosine"] > -threshold else 0


def _root_factor(case: Case) -> int:
    if "rootCosine" not in case.numbers:
        return UNIT
    return _ramp_factor(case.numbers["rootCosine"], case.numbers["rootMedian"], root.FLOOR)


def _likeness_factor(case: Case) -> int:
    if "likeness" not in case.numbers:
        return UNIT
    return max(1, isqrt((case.numbers["likenessMedian"] << 32) // case.numbers["likeness"]))


def _median_cosine_factor(case: Case) -> int:
    if "medianCosine" not in case.numbers:
        return UNIT
    return _ramp_factor(case.numbers["medianCosine"], case.numbers["medianCosineMedian"], likeness.FLOOR)


def _presence_factor(case: Case) -> int:
    if "windowRounds" not in case.numbers:
        return UNIT
    return UNIT * case.numbers["windowRounds"] // case.numbers["windowRoundsMost"]


def _clip_factor(case: Case) -> int:
    return case.numbers.get("clipFactor", UNIT)


_FACTORS: tuple[Callable[[Case], int], ...] = (
    _likeness_factor,
    _median_cosine_factor,
    _trajectory_factor,
    _presence_factor,
    _root_factor,
    _clip_factor,
)


def _cosine(value: int) -> str:
    return f"{value / UNIT:.3f} ({value} of {UNIT})"


def percent_of(value: int, whole: int) -> str:
    """Return a part of a whole as text."""
    return f"{100 * value / whole:.1f} %"
