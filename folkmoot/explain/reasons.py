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
from typing import Any

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.registry import PARAMETERS
from folkmoot.aggregation.rules.guarded_mean import CORE_RATIO
from folkmoot.aggregation.stages import copies, core_similarity, likeness, root, trajectory
from folkmoot.protocol.verdict import Reason


@dataclass(frozen=True)
class Case:
    """A verdict with its context: the policy and the round."""

    rule: str
    """Name of the policy's rule."""
    parameters: tuple[int, ...]
    """Its parameters."""
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


@dataclass(frozen=True)
class Words:
    """A reason in words."""

    summary: str
    """What it means, one sentence."""
    advice: str
    """What to do next."""


_REASONS: dict[str, Words] = {
    "round-unknown": Words(
        "Refused on arrival: there is no such round.", "Train for the round that the coordinator has open."
    ),
    "round-closed": Words(
        "Refused on arrival: the commit window of the round was over.",
        "Answer sooner: a faster connection or fewer other programs, or ask for a policy with a longer window.",
    ),
    "wrong-base": Words(
        "Refused on arrival: it was not trained from the round's base.",
        "Train from the state that the chain has as the round's base; `folkmoot join` checks it.",
    ),
    "wrong-size": Words(
        "Refused on arrival: the file has not the model's size.",
        "Check that your task and the federation's manifest are the same.",
    ),
    "invalid-encoding": Words(
        "Refused on arrival: a byte can't be part of an update.",
        "Use this release's encoder; a file damaged on the way can be sent again.",
    ),
    "wrong-root": Words(
        "Refused on arrival: the file is not the one that was signed for.",
        "Send the file that belongs to the commitment; one damaged on the way can be sent again.",
    ),
    "wrong-norm": Words(
        "Refused on arrival: the sum of squares is not the one that was signed for.",
        "Use this release's encoder, which computes it.",
    ),
    "norm-too-large": Words(
        "Refused on arrival: the update is longer than the policy allows.",
        "Install this release of Folkmoot on the node: it fits updates to the policy's cap.",
    ),
    "norm-too-small": Words(
        "Refused on arrival: the update is shorter than the noise that the policy asks for would make it.",
        "Train with the policy's noise; `folkmoot status --json` shows it.",
    ),
    "invalid-signature": Words(
        "Refused on arrival: the signature is not the account's.",
        "Sign with the account's own key, for this chain and ledger; if you sent nothing, somebody used your name.",
    ),
    "stake-too-low": Words(
        "Refused: the account's enrolled stake was below the policy's minimum.",
        "Add stake with `folkmoot stake`, enrol with it (`folkmoot enrol`), and don't unbond during a round.",
    ),
    "not-enrolled": Words(
        "Refused: the account is not enrolled.",
        "Enrol with `folkmoot enrol`; it counts from the next round on.",
    ),
    "budget-spent": Words(
        "Refused: the account has spent its privacy budget under the round's policy.",
        "Nothing is wrong: its records are protected by taking part no more. `folkmoot balance` shows what is left; a "
        "vote can raise the cap.",
    ),
    "no-place": Words(
        "Refused: the account had no place in the round. More stake was enrolled than the round had places and the "
        "account was not drawn, or it enrolled when the round was open already.",
        "Nothing: it takes part in later rounds. With more stake enrolled it is drawn more often.",
    ),
    "duplicate": Words(
        "Refused on arrival: the account already had another commitment in the round.",
        "Run one node an account; the first commitment stands.",
    ),
    "round-full": Words(
        "Refused: the round had as many commitments as its policy takes.",
        "Answer sooner, or ask for a policy with more places.",
    ),
    "invalid-commitment": Words(
        "Refused on arrival: the commitment can't be read.",
        "Send it as `folkmoot submit` and this release's mod do.",
    ),
    "not-delivered": Words(
        "Committed, but its file never arrived, or arrived damaged.",
        "Keep the node online until the round is anchored. Only the coordinator says that the file did not "
        "arrive: keep its answer as proof that you sent it.",
    ),
    "outlier": Words(
        "Excluded: the rule selected other updates. Rare data has this effect too; it is no evidence of an attack.",
        "You lose only the pay of this round. If this continues, ask for a policy with a rule that gives partial "
        "weights, such as guided_mean.",
    ),
    "zero-update": Words(
        "Excluded: all values of the update are 0.",
        "Check that training changes the model: the learning rate, the number of steps, the data.",
    ),
    "copy": Words(
        "Excluded: it is a copy or a near-duplicate of an update that was committed earlier, or of one that another "
        "contributor sent in an earlier round.",
        "Train on your own data from this round's base. Two nodes that send equal updates share one weight.",
    ),
    "uncorrelated": Words(
        "Excluded: it is about orthogonal to all other updates, as noise is.",
        "Check the data, the labels and the learning rate: a model that does not learn sends noise.",
    ),
    "against-core": Words(
        "Excluded: its cosine similarity with the majority's core is clearly negative.",
        "Check the labels first, then the learning rate. You lose only the pay of this round, and a vote can change "
        "the policy if the majority is wrong.",
    ),
    "against-root": Words(
        "Excluded: its cosine similarity with the root-set update, the coordinator's own, is not positive.",
        "Check the labels. If your data is rare, the root set may lack it: ask the coordinator, or for another policy.",
    ),
    "against-trajectory": Words(
        "Excluded: its cosine similarity with the model's trajectory is clearly negative.",
        "Check the labels and that each round trains from the round's base, not from an old model.",
    ),
    "root": Words(
        "The coordinator's own entry, the root-set update: it is compared with the others, neither summed nor paid.",
        "Nothing: contribute from another account to get a weight.",
    ),
    "accepted": Words("Accepted: the weight is above 0.", "Nothing."),
}
"""Every reason code in words."""

_RULES: dict[str, str] = {
    "mean": "every delivered update has the same weight, of equal ones the first",
    "multi_krum": "the updates with the smallest Krum scores (sums of squared distances to the nearest others) have "
    "weight 1, the others 0",
    "clipped_mean": "updates are clipped to the median norm",
    "nnm": "each update is replaced by the mean of its nearest neighbours; the weight of an update is the number of "
    "these means that it is in",
    "geometric_median": "the weights of Weiszfeld's iteration, larger for updates nearer to the geometric median",
    "centered_clipping": "the centre moves by the mean of the differences to the updates, clipped to the median norm",
    "majority": "only the first single-linkage cluster with a majority of the updates, clipped to its median norm",
    "guarded_mean": "without zero updates, copies, replays and noise; outside of the majority's core the multiplier "
    "follows the cosine similarity with the core; clipped to the median norm",
    "guided_mean": "as guarded_mean, but after the first round the core leaves each multiplier a floor of two equal "
    "shares; multipliers also follow the cosine with the model's trajectory, and only a clearly negative cosine "
    "excludes an update",
    "guarded_nnm": "without zero updates, copies, replays and noise; clipped to the median norm; then "
    "nearest-neighbour mixing",
    "fltrust": "the positive part of the cosine with the root-set update, every update at the same norm",
    "root_cosine": "without zero updates, copies, replays and noise; clipped to the median norm; weighted by the "
    "cosine with the root-set update",
    "root_guard": "as guarded_mean, with multipliers also from the cosine with the root-set update",
    "rooted_mean": "as guided_mean, with multipliers also from the cosine with the root-set update, by a quarter to "
    "one, so that it excludes nobody",
    "root_veto": "without zero updates, copies, replays and noise; the root-set update excludes up to f; then "
    "nearest-neighbour mixing",
    "windowed_mean": "without zero updates, copies and replays; multipliers follow the sum of each contributor's "
    "last eight published updates: how alike it is to others, its median cosine with them, its cosine with the model's "
    "trajectory, and how many updates are in it; clipped to the median norm",
    "trimmed_mean": "every update that is not zero has weight 1; in each coordinate the t smallest and t largest "
    "values are trimmed, whoever sent them",
    "guarded_trimmed_mean": "without zero updates, copies, replays and noise; the others have weight 1; in each "
    "coordinate the t smallest and t largest values are trimmed, whoever sent them",
}
"""How each rule weighs."""

_IN_PARTS = frozenset(
    {
        "clipped_mean",
        "majority",
        "guarded_mean",
        "guided_mean",
        "root_cosine",
        "root_guard",
        "rooted_mean",
        "windowed_mean",
    }
)
"""Rules whose verdicts have all factors of the weight among their numbers."""


def words_of(reason: str) -> Words:
    """Return the words for a reason code, also for an unknown one (of a newer release)."""
    return _REASONS.get(
        reason, Words(f"{reason}: this release does not know the reason.", "Update Folkmoot to read it.")
    )


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
    elif "trajectoryCosine" in numbers and share < 0.5:
        reason = f"cosine with the model's trajectory {int(numbers['trajectoryCosine']) / UNIT:.2f}"
    elif "coreSimilarity" in numbers and share < 0.5:
        reason = f"cosine with the majority's core {int(numbers['coreSimilarity']) / UNIT:.2f}"
    return f" ({reason})" if reason else ""


def factor_product(case: Case) -> Fraction | None:
    """Return the product of an update's factors, from 0 to 1; None if the numbers do not have all of them.

    Weights are these products, scaled so that the round's largest is as large as it may be, and rounded down.
    """
    if case.rule not in _IN_PARTS or case.reason in (Reason.NOT_DELIVERED, Reason.ROOT):
        return None
    if case.weight == 0:
        return Fraction(0)
    part = Fraction(1)
    for factor in _FACTORS:
        part *= Fraction(factor(case), UNIT)
    return part


def _weight(case: Case) -> str:
    if case.largest == 0:
        return f"Weight {case.weight}."
    percent = _percent(case.weight, case.largest)
    text = f"Weight {case.weight} of at most {case.largest} in this round: {percent}."
    part = factor_product(case)
    if part is None or case.weight == 0:
        return text
    share = _percent(part.numerator, part.denominator)
    return (
        f"The product of its factors is {share}; the largest product has the round's largest weight. {text}"
    )


def _advice(case: Case, words: Words) -> str:
    if case.reason is not Reason.ACCEPTED or 10 * case.weight >= 9 * case.largest:
        return words.advice
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
    share = f"{case.numbers['squaredCosineRatio']}/{core_similarity.RATIO_UNIT}"
    return (
        f"Its squared cosines with the others add up to {value / UNIT**2:.6f} ({value} of {UNIT**2}): less than "
        f"{share} of the round's median of such sums."
    )


def _core(case: Case) -> str:
    value, median = case.numbers["coreSimilarity"], case.numbers["coreSimilarityMedian"]
    half = CORE_RATIO * median // core_similarity.RATIO_UNIT
    text = (
        f"It is outside of the majority's core: its core similarity, the cosine with the core's sum, is "
        f"{_cosine(value)}; the median of the core's own members is {_cosine(median)}."
    )
    return f"{text} {_ramp('core similarity', value, half, case.numbers.get('multiplierFloor', 0))}"


def _likeness(case: Case) -> str:
    value, median = case.numbers["likeness"], case.numbers["likenessMedian"]
    return (
        f"The sum of its contributor's last updates is more alike to those of others than usual (squared cosines add "
        f"up to {value}, the median is {median}): who is alike shares weight, so its multiplier is multiplied by "
        f"{_percent(_likeness_factor(case), UNIT)}."
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
        f"its multiplier is multiplied by {_percent(_presence_factor(case), UNIT)}."
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
        smallest = f" (the floor of the factors was {floor} of {UNIT}, {_percent(floor, UNIT)})"
        return f"That is not above 0, so it changed nobody's multiplier{smallest if floor else ''}."
    factor = _ramp_factor(value, half, floor)
    lowest = f"{_percent(floor, UNIT)} (the floor)" if floor else "0"
    return (
        f"The factor is {lowest} for a {what} of {-half / UNIT:.3f} or less and 1 from {half / UNIT:.3f} on: "
        f"factor = floor({UNIT} * ({value} + {half}) / (2 * {half})), from {floor} to {UNIT}, = {factor} "
        f"({_percent(factor, UNIT)})."
    )


def _root(case: Case) -> str:
    value = case.numbers["rootCosine"]
    text = f"Its cosine with the root-set update, the coordinator's own, is {_cosine(value)}"
    if case.rule == "root_veto":
        vetoed = "it is one of them" if case.reason is Reason.AGAINST_ROOT else "it is not one of them"
        return (
            f"{text}: of the negative cosines the {case.parameters[0]} smallest are excluded, and {vetoed}."
        )
    if (half := case.numbers.get("rootMedian")) is not None:
        return f"{text}; the round's median is {_cosine(half)}. {_ramp('cosine', value, half, root.FLOOR)}"
    if value > 0:
        return f"{text}: its multiplier is multiplied by {_percent(value, UNIT)}."
    if case.reason is Reason.AGAINST_ROOT:
        return f"{text}: an update with a cosine of 0 or less is excluded."
    return f"{text}: not above 0; but nobody's was, so nobody was excluded for it."


def _clip(case: Case) -> str:
    value = case.numbers["clipFactor"]
    times = f"{UNIT / value:.2f}" if value else f"more than {UNIT}"
    return (
        f"Its norm is {times} times the median of the included updates: it was clipped to {_percent(value, UNIT)} "
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


_NUMBERS: tuple[tuple[tuple[str, ...], Callable[[Case], str]], ...] = (
    (("sumSquares",), _sum_squares),
    (("copyOfEntry",), _equal),
    (("copyCosine", "copyOf", "copyRatio", "copyRepeat", "copySource"), _copy),
    (("squaredCosineSum", "squaredCosineRatio"), _squared_cosines),
    (("coreSimilarity", "coreSimilarityMedian", "multiplierFloor"), _core),
    (("likeness", "likenessMedian"), _likeness),
    (("medianCosine", "medianCosineMedian"), _median_cosine),
    (("trajectoryCosine", "trajectoryMedian", "trajectoryThreshold"), _trajectory),
    (("windowRounds", "windowRoundsMost"), _presence),
    (("rootCosine", "rootMedian"), _root),
    (("clipFactor",), _clip),
    (("krumScore", "krumThreshold"), _score),
)
"""The numbers in the order of the stages."""


def _ramp_factor(value: int, half: int, floor: int = 0) -> int:
    """Return the factor of a ramp, such as that of ``weigh_by_core`` or ``weigh_by_trajectory``, up to UNIT."""
    return max(floor, min(UNIT, UNIT * (value + half) // (2 * half))) if half > 0 else UNIT


def _core_factor(case: Case) -> int:
    if "coreSimilarity" not in case.numbers:
        return UNIT
    half = CORE_RATIO * case.numbers["coreSimilarityMedian"] // core_similarity.RATIO_UNIT
    return _ramp_factor(case.numbers["coreSimilarity"], half, case.numbers.get("multiplierFloor", 0))


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
    value = case.numbers.get("rootCosine", UNIT)
    if "rootMedian" in case.numbers:
        return _ramp_factor(value, case.numbers["rootMedian"], root.FLOOR)
    return value if value > 0 else UNIT


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
    _core_factor,
    _likeness_factor,
    _median_cosine_factor,
    _trajectory_factor,
    _presence_factor,
    _root_factor,
    _clip_factor,
)


def _cosine(value: int) -> str:
    return f"{value / UNIT:.3f} ({value} of {UNIT})"


def _percent(value: int, whole: int) -> str:
    return f"{100 * value / whole:.1f} %"
