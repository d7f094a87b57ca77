# SPDX-License-Identifier: Apache-2.0
"""Verdicts and the two files that publish a round (docs/protocol.md sections 7 and 11).

A verdict has the weight and the pay of an entry, the reason and the numbers behind it; everybody can recompute all of
it. This module knows the reason codes and the formats, not how a weight or a pay is computed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar

from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.commitment import checksum_address
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json
from folkmoot.protocol.header import check_exponents
from folkmoot.protocol.rewards import FULL_PAY

VERDICTS_FORMAT = "folkmoot/verdicts/2"
ARTIFACTS_FORMAT = "folkmoot/artifacts/2"


class Reason(StrEnum):
    """Why an update was refused, or an entry got its weight: the one table of reason codes.

    The table of section 7 in docs/protocol/rules.md, the refusals of the coordinator's API, and the words of
    `folkmoot why` are made from it. Refusals come in the order of the checks.
    """

    _value_: str
    summary: str
    """What it means for the contributor, one sentence."""
    advice: str
    """What the contributor can do next."""
    refusal: str
    """Why an update is refused with it, a clause; empty for reasons that only a weight has."""
    status: int
    """HTTP status of the refusal."""

    def __new__(
        cls, code: str, summary: str = "", advice: str = "", refusal: str = "", status: int = 422
    ) -> Self:
        """Make a member from a row of the table."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.summary, member.advice, member.refusal, member.status = summary, advice, refusal, status
        return member

    ROUND_UNKNOWN = (
        "round-unknown",
        "Refused on arrival: there is no such round.",
        "Train for the round that the coordinator has open.",
        "there is no such round",
        404,
    )
    ROUND_CLOSED = (
        "round-closed",
        "Refused on arrival: the commit window of the round was over.",
        "Answer sooner: a faster connection or fewer other programs, or ask for a policy with a longer window.",
        "the commit window of the round is over",
        409,
    )
    WRONG_BASE = (
        "wrong-base",
        "Refused on arrival: it was not trained from the round's base.",
        "Train from the state that the chain has as the round's base; `folkmoot join` checks it.",
        "`baseStateRoot` is not the round's base",
    )
    NORM_TOO_LARGE = (
        "norm-too-large",
        "Refused on arrival: the update is longer than the policy allows.",
        "Install this release of Folkmoot on the node: it fits updates to the policy's cap.",
        "`sumSquares` is above the policy's `maxSumSquares`",
    )
    NORM_TOO_SMALL = (
        "norm-too-small",
        "Refused on arrival: the update is shorter than the noise that the policy asks for would make it.",
        "Train with the policy's noise; `folkmoot status --json` shows it.",
        "`sumSquares` is below the policy's `minSumSquares`",
    )
    INVALID_SIGNATURE = (
        "invalid-signature",
        "Refused on arrival: the signature is not the account's.",
        "Sign with the account's own key, for this chain and ledger; if you sent nothing, somebody used your name.",
        "the signature is not the contributor's (protocol, section 6)",
        403,
    )
    STAKE_TOO_LOW = (
        "stake-too-low",
        "Refused: the account's enrolled stake was below the policy's minimum.",
        "Add stake with `folkmoot enrol --stake`, enrol with it (`folkmoot enrol`), and don't unbond during a round.",
        "the contributor's stake is under the policy's `minStake`",
        403,
    )
    NOT_ENROLLED = (
        "not-enrolled",
        "Refused: the account is not enrolled.",
        "Enrol with `folkmoot enrol`; it counts from the next round on.",
        "the contributor was not enrolled with the minimum stake in time for the round (protocol, section 6.2)",
        403,
    )
    NO_PLACE = (
        "no-place",
        "Refused: the account had no place in the round. More stake was enrolled than the round had places and the"
        " account was not drawn, or it enrolled when the round was open already.",
        "Nothing: it takes part in later rounds. With more stake enrolled it is drawn more often.",
        "more stake is enrolled than the round has places, and the contributor was not drawn (protocol, section "
        "6.2)",
        403,
    )
    BUDGET_SPENT = (
        "budget-spent",
        "Refused: the account has spent its privacy budget under the round's policy.",
        "Nothing is wrong: its records are protected by taking part no more. `folkmoot balance` shows what is "
        "left; a vote can raise the cap.",
        "the update would take what the contributor has spent of its privacy budget above the policy's `privacyCap` "
        "(protocol, section 6.3)",
    )
    DUPLICATE = (
        "duplicate",
        "Refused on arrival: the account already had another commitment in the round.",
        "Run one node an account; the first commitment stands.",
        "the contributor already has a different commitment in this round",
        409,
    )
    ROUND_FULL = (
        "round-full",
        "Refused: the round had as many commitments as its policy takes.",
        "Answer sooner, or ask for a policy with more places.",
        "the round has as many commitments as its policy takes",
        409,
    )
    WRONG_SIZE = (
        "wrong-size",
        "Refused on arrival: the file has not the model's size.",
        "Check that your task and the federation's manifest are the same.",
        "the file is not exactly `32 * n * width` bytes",
    )
    INVALID_ENCODING = (
        "invalid-encoding",
        "Refused on arrival: a byte can't be part of an update.",
        "Use this release's encoder; a file damaged on the way can be sent again.",
        "an integer is not in [-Q, Q], or padding is not 0",
    )
    WRONG_ROOT = (
        "wrong-root",
        "Refused on arrival: the file is not the one that was signed for.",
        "Send the file that belongs to the commitment; one damaged on the way can be sent again.",
        "the update tree's root is not `updateRoot`",
    )
    WRONG_NORM = (
        "wrong-norm",
        "Refused on arrival: the sum of squares is not the one that was signed for.",
        "Use this release's encoder, which computes it.",
        "the update tree's `sq` is not `sumSquares`",
    )
    NOT_DELIVERED = (
        "not-delivered",
        "Committed, but its file never arrived, or arrived damaged.",
        "Keep the node online until the round is anchored. Only the coordinator says that the file did not arrive:"
        " keep its answer as proof that you sent it.",
    )
    OUTLIER = (
        "outlier",
        "Excluded: the rule selected other updates. Rare data has this effect too; it is no evidence of an attack.",
        "You lose only the pay of this round. If this continues, ask for a policy with a rule that gives partial "
        "weights, such as clamped_mean.",
    )
    ZERO_UPDATE = (
        "zero-update",
        "Excluded: all values of the update are 0.",
        "Check that training changes the model: the learning rate, the number of steps, the data.",
    )
    COPY = (
        "copy",
        "Excluded: it is a copy or a near-duplicate of an update that was committed earlier, or of one that "
        "another contributor sent in an earlier round.",
        "Train on your own data from this round's base. Two nodes that send equal updates share one weight; code that "
        "trains nothing yet, as a template's may, sends equal ones.",
    )
    UNCORRELATED = (
        "uncorrelated",
        "Excluded: it is about orthogonal to all other updates, as noise is.",
        "Check the data, the labels and the learning rate: a model that does not learn sends noise.",
    )
    AGAINST_TRAJECTORY = (
        "against-trajectory",
        "Excluded: its cosine similarity with the model's trajectory is clearly negative.",
        "Check the labels and that each round trains from the round's base, not from an old model.",
    )
    ROOT = (
        "root",
        "The coordinator's own entry, the root-set update: it is compared with the others, neither summed nor paid.",
        "Nothing: contribute from another account to get a weight.",
    )
    ACCEPTED = (
        "accepted",
        "Accepted: the weight is above 0.",
        "Nothing.",
    )


@dataclass(frozen=True)
class Verdict:
    """What was decided about one entry."""

    index: int
    """Place of the entry in the round."""
    contributor: str
    """Checksummed address."""
    weight: int
    """Its weight in the aggregate."""
    reason: Reason
    """Why."""
    numbers: dict[str, int] = field(default_factory=dict)
    """The integers behind it, by name."""
    pay: int | None = None
    """The share of a full place that it gets, in 1/FULL_PAY; None under a rule without pays."""


@dataclass(frozen=True)
class Verdicts:
    """The verdicts file: what was decided about every entry of a round."""

    round: int
    """Number of the round."""
    rule: str
    """Name of the aggregation rule."""
    parameters: tuple[int, ...]
    """Its parameters."""
    verdicts: tuple[Verdict, ...]
    """One an entry, in entry order."""

    @property
    def weights(self) -> tuple[int, ...]:
        """One weight an entry."""
        return tuple(verdict.weight for verdict in self.verdicts)

    @property
    def pays(self) -> tuple[int, ...]:
        """One pay an entry; empty under a rule without pays."""
        return tuple(verdict.pay for verdict in self.verdicts if verdict.pay is not None)

    def to_json(self) -> bytes:
        """The verdicts file: canonical JSON."""
        return canonical_json(
            {
                "format": VERDICTS_FORMAT,
                "round": self.round,
                "rule": self.rule,
                "parameters": list(self.parameters),
                "verdicts": [
                    {
                        "index": verdict.index,
                        "contributor": verdict.contributor,
                        "weight": verdict.weight,
                        "pay": verdict.pay,
                        "reason": str(verdict.reason),
                        "numbers": {name: str(number) for name, number in verdict.numbers.items()},
                    }
                    for verdict in self.verdicts
                ],
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> Verdicts:
        """Read a verdicts file.

        Raises:
            ArtifactError: The bytes are no verdicts file.
        """
        value = _read(data, VERDICTS_FORMAT, {"round", "rule", "parameters", "verdicts"})
        try:
            verdicts = tuple(
                Verdict(
                    index=_unsigned(entry["index"], 16),
                    contributor=checksum_address(entry["contributor"]),
                    weight=_unsigned(entry["weight"], 32),
                    reason=Reason(entry["reason"]),
                    numbers={name: int(number) for name, number in entry["numbers"].items()},
                    pay=_pay(entry["pay"]),
                )
                for entry in value["verdicts"]
            )
            if [verdict.index for verdict in verdicts] != list(range(len(verdicts))):
                raise InputError("The verdicts are not in the order of the entries.")
            if len({verdict.pay is None for verdict in verdicts}) > 1:
                raise InputError("Some verdicts have a pay, others none.")
            parameters = tuple(_unsigned(parameter, 32) for parameter in value["parameters"])
            result = cls(_unsigned(value["round"], 64), str(value["rule"]), parameters, verdicts)
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"The verdicts file can't be read: {error}") from error
        return _same(result, data)


@dataclass(frozen=True)
class Artifacts:
    """The artifacts file: the SHA-256 of every public file of a round, and what else an audit needs."""

    round: int
    """Number of the round."""
    header: bytes
    """The encoded ``RoundHeader``."""
    manifest: str
    """SHA-256 of the manifest file."""
    base_state: str
    """SHA-256 of the state file that the round trained from."""
    updates: tuple[str | None, ...]
    """SHA-256 of each update file in entry order; None where it was not delivered."""
    mean: str
    """SHA-256 of the mean file."""
    state: str
    """SHA-256 of the new state file."""
    verdicts: str
    """SHA-256 of the verdicts file."""
    next_exponents: tuple[int, ...]
    """Exponents of a round that builds on this one."""

    def to_json(self) -> bytes:
        """The artifacts file: canonical JSON."""
        return canonical_json(
            {
                "format": ARTIFACTS_FORMAT,
                "round": self.round,
                "header": self.header.hex(),
                "manifest": self.manifest,
                "baseState": self.base_state,
                "updates": list(self.updates),
                "mean": self.mean,
                "state": self.state,
                "verdicts": self.verdicts,
                "nextExponents": list(self.next_exponents),
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> Artifacts:
        """Read an artifacts file.

        Raises:
            ArtifactError: The bytes are no artifacts file.
        """
        names = {
            "round",
            "header",
            "manifest",
            "baseState",
            "updates",
            "mean",
            "state",
            "verdicts",
            "nextExponents",
        }
        value = _read(data, ARTIFACTS_FORMAT, names)
        try:
            result = cls(
                round=_unsigned(value["round"], 64),
                header=bytes.fromhex(value["header"]),
                manifest=_sha256(value["manifest"]),
                base_state=_sha256(value["baseState"]),
                updates=tuple(None if entry is None else _sha256(entry) for entry in value["updates"]),
                mean=_sha256(value["mean"]),
                state=_sha256(value["state"]),
                verdicts=_sha256(value["verdicts"]),
                next_exponents=tuple(_integer(exponent) for exponent in value["nextExponents"]),
            )
            check_exponents(result.next_exponents)
        except (InputError, TypeError, ValueError) as error:
            raise ArtifactError(f"The artifacts file can't be read: {error}") from error
        return _same(result, data)

    def files(self) -> Sequence[str]:
        """SHA-256 of every file that this one names."""
        delivered = [entry for entry in self.updates if entry is not None]
        return [self.manifest, self.base_state, *delivered, self.mean, self.state, self.verdicts]


_File = TypeVar("_File", Verdicts, Artifacts)


def _read(data: bytes, form: str, names: set[str]) -> dict[str, Any]:
    try:
        value = parse_canonical_json(data)
    except InputError as error:
        raise ArtifactError(f"The file is not a {form}. {error.message}") from error
    if not isinstance(value, dict) or value.get("format") != form or set(value) != {"format", *names}:
        raise ArtifactError(f"The file is not a {form}: its format or its fields are others.")
    return value


def _same(result: _File, data: bytes) -> _File:
    if result.to_json() != data:
        raise ArtifactError("The file has fields that its format does not know.")
    return result


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise InputError(f"{value!r} is not an integer.")
    return value


def _unsigned(value: Any, bits: int) -> int:
    if not 0 <= _integer(value) < 1 << bits:
        raise InputError(f"{value} is not a uint{bits}.")
    return int(value)


def _pay(value: Any) -> int | None:
    if value is None:
        return None
    if _integer(value) > FULL_PAY:
        raise InputError(f"{value} is above a full pay.")
    return _unsigned(value, 32)


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise InputError(f"{value!r} is no SHA-256.")
    return value
