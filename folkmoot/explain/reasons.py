# SPDX-License-Identifier: Apache-2.0
"""What the integers of a verdict mean, in plain English: for every reason a sentence, for every number one.

The formulas are those of the stages (docs/protocol.md section 8.1) with the numbers put in, so that a contributor can
follow a weight with a pocket calculator. Everything is taken from the verdict: what the stages looked at and did not
write down, only `folkmoot audit` can say again. A test runs all rules and fails if a reason, a rule or a number has
no explanation here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.registry import PARAMETERS
from folkmoot.aggregation.rules.guarded_mean import CORE
from folkmoot.aggregation.stages import copies
from folkmoot.aggregation.stages import core_similarity as company
from folkmoot.aggregation.stages.root import LEAST
from folkmoot.aggregation.stages.trajectory import LEAST as PATH_LEAST
from folkmoot.protocol.verdict import Reason


@dataclass(frozen=True)
class Case:
    """A verdict, and what it has to be seen beside."""

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
    """How the weight stands to the others."""
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
    "invalid-signature": Words(
        "Refused on arrival: the signature is not the account's.",
        "Sign with the account's own key, for this chain and ledger; if you sent nothing, somebody used your name.",
    ),
    "stake-too-low": Words(
        "Refused: the account's stake was below the policy's minimum.",
        "Add stake with `folkmoot stake`, and don't unbond during a round.",
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
        "Committed, but its file never arrived, or arrived damaged, so that nothing could be counted.",
        "Keep the node online until the round is anchored. Only the coordinator says that the file did not "
        "arrive: keep its answer as proof that you sent it.",
    ),
    "outlier": Words(
        "Left out: the rule kept others. That is no accusation; rare data does this too.",
        "Nothing is lost but the pay of this round. If it goes on, ask for a policy with a rule that counts in part, "
        "such as guided_mean.",
    ),
    "empty": Words(
        "Left out: the update is all zeros, and asks for nothing.",
        "Check that training changes the model: the learning rate, the number of steps, the data.",
    ),
    "copy": Words(
        "Left out: it is nearly the same as an update that was committed earlier.",
        "Train on your own data from this round's base. Two nodes on the same data and seed send the same update.",
    ),
    "unrelated": Words(
        "Left out: it has nothing in common with any other update, as noise has.",
        "Check the data, the labels and the learning rate: a model that does not learn sends noise.",
    ),
    "against-others": Words(
        "Left out: it points away from what the majority agrees on.",
        "Check the labels first, then the learning rate. Nothing is lost but the pay of this round, and a vote can "
        "change the policy if the majority is wrong.",
    ),
    "against-root": Words(
        "Left out: it points away from the coordinator's own update, the root update of the round.",
        "Check the labels. If your data is rare, the root set may lack it: ask the coordinator, or for another policy.",
    ),
    "against-path": Words(
        "Left out: it points back where the model came from.",
        "Check the labels and that each round trains from the round's base, not from an old model.",
    ),
    "root": Words(
        "The coordinator's own entry: others are compared with it, and it is neither summed nor paid.",
        "Nothing: contribute from another account to be counted.",
    ),
    "accepted": Words("Counted.", "Nothing: all is well."),
}
"""Every reason code in words."""

_RULES: dict[str, str] = {
    "mean": "every delivered update counts the same",
    "multi_krum": "the updates with the smallest sums of squared distances to their nearest others count 1, the rest 0",
    "clipped_mean": "every update counts, shortened to the median length",
    "nnm": "each update is replaced by the mean of its nearest neighbours, and weighs as often as it is one",
    "geometric_median": "the nearer to the geometric median of all updates, the larger the weight",
    "centered_clipping": "the centre moves towards the updates, each pull shortened to the median one",
    "majority": "the first cluster that more than half of the updates join counts, shortened to its median length",
    "guarded_mean": "no zeros, copies, replays and noise; outside the majority's core an update counts by how far it "
    "goes along with the core; shortened to the median length",
    "guided_mean": "as guarded_mean, but after the first round the core leaves each update two equal shares of a vote; "
    "votes are multiplied by how far an update goes in the direction in which the model moves, and only an update that "
    "clearly points back loses its vote",
    "guarded_nnm": "no zeros, copies, replays and noise; median length; then the mean of nearest neighbours",
    "fltrust": "the positive part of the cosine with the root update, every update at the same length",
    "root_cosine": "no zeros, copies, replays and noise; median length; weighted by the cosine with the root update",
    "root_guard": "as guarded_mean, and votes are multiplied by the cosine with the root update",
    "rooted_mean": "as guided_mean, and the root update multiplies votes by a quarter to one, so that it leaves nobody "
    "out",
    "root_veto": "no zeros, copies, replays and noise; the root update may veto f; the rest by nearest neighbours",
    "trimmed_mean": "every update that is not zero counts 1; in each coordinate the t smallest and t largest values "
    "are left out, whoever sent them",
    "guarded_trimmed_mean": "no zeros, copies, replays and noise; the others count 1; in each coordinate the t "
    "smallest and t largest values are left out, whoever sent them",
}
"""How each rule weighs."""

_IN_PARTS = frozenset(
    {"clipped_mean", "majority", "guarded_mean", "guided_mean", "root_cosine", "root_guard", "rooted_mean"}
)
"""Rules whose verdicts have every factor of the weight among their numbers."""


def words_of(reason: str) -> Words:
    """A reason code in words; an unknown one (of a newer release) is told as such."""
    return _REASONS.get(
        reason, Words(f"{reason}: this release does not know the reason.", "Update Folkmoot to read it.")
    )


def explain(case: Case) -> Explanation:
    """Say what a verdict means."""
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


def kept(case: Case) -> Fraction | None:
    """Which part of its full vote the stages left of an update; None if the numbers do not say.

    Weights are these parts, scaled so that the round's largest is as large as it may be, and rounded down.
    """
    if case.rule not in _IN_PARTS or case.reason in (Reason.NOT_DELIVERED, Reason.ROOT):
        return None
    if case.weight == 0:
        return Fraction(0)
    factors = [factor(case) for factor in (_company_factor, _path_factor, _root_factor, _clip_factor)]
    part = Fraction(1)
    for factor in factors:
        part *= Fraction(factor, UNIT)
    return part


def _weight(case: Case) -> str:
    if case.largest == 0:
        return f"Weight {case.weight}."
    percent = _percent(case.weight, case.largest)
    text = f"Weight {case.weight} of at most {case.largest} in this round: {percent}."
    part = kept(case)
    if part is None or case.weight == 0:
        return text
    share = _percent(part.numerator, part.denominator)
    return (
        f"The stages left {share} of its full vote; whoever kept most has the round's largest weight. {text}"
    )


def _advice(case: Case, words: Words) -> str:
    if case.reason is not Reason.ACCEPTED or 10 * case.weight >= 9 * case.largest:
        return words.advice
    if 10 * _clip_factor(case) < 9 * UNIT:
        return (
            "Fewer local steps or a smaller learning rate make an update shorter; the federation's settings are "
            "in the manifest."
        )
    return "Nothing need be done: data that is rare in the federation is counted in part."


# Each number, or group of numbers, in words. The first name of a group is what it is found by.


def _sum_squares(case: Case) -> str:
    value = case.numbers["sumSquares"]
    limit = f", the policy allows {case.cap}" if case.cap is not None else ""
    return f"Committed length {isqrt(value)} (sum of squares {value}{limit})."


def _copy(case: Case) -> str:
    value, of = case.numbers["copyCosine"], case.numbers.get("copyOf")
    share = f"{case.numbers['copyRatio']}/{copies.SHARE}"
    if of is None:
        other = "an update of one of the last rounds, all of which are public"
        usual = "the usual one to earlier updates"
    else:
        who = case.delivered[of] if of < len(case.delivered) else f"delivered update {of}, counted from 0"
        other = f"the update of {who}, which was committed earlier"
        usual = "the usual one in this round"
    text = f"Its cosine with {other}, is {_cosine(value)}: its distance from 1 is at most {share} of {usual}"
    if case.reason is Reason.COPY:
        return f"{text}."
    return f"{text}; but that would have left nobody, so it was not left out for it."


def _relatedness(case: Case) -> str:
    value = case.numbers["relatedness"]
    share = f"{case.numbers['relatedShare']}/{company.SHARE}"
    return (
        f"Its squared cosines with the others add up to {value / UNIT**2:.6f} ({value} of {UNIT**2}): less than "
        f"{share} of the round's median of such sums."
    )


def _company(case: Case) -> str:
    value, usual = case.numbers["company"], case.numbers["companyMedian"]
    half = CORE * usual // company.SHARE
    text = (
        f"It is outside the majority's core: its company, the cosine with the core's sum, is {_cosine(value)}; "
        f"the core's own members have {_cosine(usual)} in the median."
    )
    return f"{text} {_ramp('company', value, half, case.numbers.get('companyLeast', 0))}"


def _path(case: Case) -> str:
    value, half = case.numbers["pathCosine"], case.numbers["pathMedian"]
    text = (
        f"Its cosine with the path, what the model moved by in the last rounds, is {_cosine(value)}; "
        f"the round's median is {_cosine(half)}."
    )
    text = f"{text} {_ramp('cosine', value, half, _path_least(case))}"
    limit = case.numbers.get("pathLimit")
    if limit is None:
        return text
    return f"{text} Only a cosine of {_cosine(-limit)} or less leaves an update out: above that it may be chance."


def _ramp(what: str, value: int, half: int, least: int = 0) -> str:
    if half <= 0:
        spared = f" (nobody's vote could have fallen below {_percent(least, UNIT)}, {least} of {UNIT})"
        return f"That is not above 0, so nobody's vote was changed by it{spared if least else ''}."
    vote = _ramp_factor(value, half, least)
    nothing = f"counts {_percent(least, UNIT)}, the least that anybody keeps" if least else "counts nothing"
    return (
        f"A {what} of {-half / UNIT:.3f} or less {nothing}, {half / UNIT:.3f} or more all: "
        f"vote = floor({UNIT} * ({value} + {half}) / (2 * {half})), from {least} to {UNIT}, = {vote} "
        f"({_percent(vote, UNIT)})."
    )


def _root(case: Case) -> str:
    value = case.numbers["rootCosine"]
    text = f"Its cosine with the root update, the coordinator's own, is {_cosine(value)}"
    if case.rule == "root_veto":
        vetoed = "it is one of them" if case.reason is Reason.AGAINST_ROOT else "it is not one of them"
        return f"{text}: of those below 0 the {case.parameters[0]} smallest are left out, and {vetoed}."
    if (half := case.numbers.get("rootMedian")) is not None:
        return f"{text}; the round's median is {_cosine(half)}. {_ramp('cosine', value, half, LEAST)}"
    if value > 0:
        return f"{text}: its vote is multiplied by {_percent(value, UNIT)}."
    if case.reason is Reason.AGAINST_ROOT:
        return f"{text}: what is not above 0 counts nothing."
    return f"{text}: not above 0; but nobody's was, so nobody was left out for it."


def _clip(case: Case) -> str:
    value = case.numbers["clip"]
    times = f"{UNIT / value:.2f}" if value else f"more than {UNIT}"
    return (
        f"Its length is {times} times the median of those that stood: it was shortened to {_percent(value, UNIT)} "
        f"({value} of {UNIT})."
    )


def _score(case: Case) -> str:
    score, threshold = case.numbers["score"], case.numbers["threshold"]
    times = f"{score / threshold:.3f} times" if threshold else "against"
    kept_or_not = "It was kept" if case.weight else "It was not kept"
    return (
        f"Its score, the sum of its smallest squared distances to others, is {score}: {times} the worst score kept, "
        f"{threshold}. {kept_or_not}."
    )


_NUMBERS: tuple[tuple[tuple[str, ...], Callable[[Case], str]], ...] = (
    (("sumSquares",), _sum_squares),
    (("copyCosine", "copyOf", "copyRatio"), _copy),
    (("relatedness", "relatedShare"), _relatedness),
    (("company", "companyMedian", "companyLeast"), _company),
    (("pathCosine", "pathMedian", "pathLimit"), _path),
    (("rootCosine", "rootMedian"), _root),
    (("clip",), _clip),
    (("score", "threshold"), _score),
)
"""The numbers in the order in which the stages come."""


def _ramp_factor(value: int, half: int, least: int = 0) -> int:
    """What ``weigh_by_core``, ``weigh_by_path`` and ``lean_on_root`` make of a cosine, ``least`` to UNIT."""
    return max(least, min(UNIT, UNIT * (value + half) // (2 * half))) if half > 0 else UNIT


def _company_factor(case: Case) -> int:
    if "company" not in case.numbers:
        return UNIT
    half = CORE * case.numbers["companyMedian"] // company.SHARE
    return _ramp_factor(case.numbers["company"], half, case.numbers.get("companyLeast", 0))


def _path_factor(case: Case) -> int:
    if "pathCosine" not in case.numbers:
        return UNIT
    return _ramp_factor(case.numbers["pathCosine"], case.numbers["pathMedian"], _path_least(case))


def _path_least(case: Case) -> int:
    """Return the vote that the path leaves to an update whose cosine is within the scatter."""
    limit = case.numbers.get("pathLimit")
    return PATH_LEAST if limit is not None and case.numbers["pathCosine"] > -limit else 0


def _root_factor(case: Case) -> int:
    value = case.numbers.get("rootCosine", UNIT)
    if "rootMedian" in case.numbers:
        return _ramp_factor(value, case.numbers["rootMedian"], LEAST)
    return value if value > 0 else UNIT


def _clip_factor(case: Case) -> int:
    return case.numbers.get("clip", UNIT)


def _cosine(value: int) -> str:
    return f"{value / UNIT:.3f} ({value} of {UNIT})"


def _percent(value: int, whole: int) -> str:
    return f"{100 * value / whole:.1f} %"
