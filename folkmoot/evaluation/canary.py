# SPDX-License-Identifier: Apache-2.0
"""The canary: check whether a computed, not yet anchored model is worse than its base.

An evaluator measures both models and signs the result. The coordinator withholds a round whose model is worse
(docs/protocol.md section 11.2). Predictions are floats and differ between machines in the last bit, so nobody is
slashed for them. The verdict is computed exactly from the counts of a report. This module does not depend on tasks,
the steps of rounds or the chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from eth_abi.abi import encode
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount

from folkmoot.errors import InputError
from folkmoot.evaluation import BY_LOSS, Losses, Measurement, rounded
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.hashing import canonical_json, keccak, parse_canonical_json, sha256_hex
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.signatures import recover

FORMAT = "folkmoot/canary/2"

NOISE = 2
"""Number of standard errors by which a loss of quality must exceed the limit."""

INVALID = "Send a report of `folkmoot task evaluate --canary`, in the same release as the coordinator."
"""Remedy for an invalid report."""

NOTHING = "Give the task examine, or an accuracy or a loss in what its evaluate returns."
"""Remedy for a task without a value to compare."""

_CANARY_TYPEHASH = keccak(b"Canary(uint64 round,bytes32 stateRoot,bytes32 report)")
_RELEASE_TYPEHASH = keccak(b"Release(uint64 round,bytes32 stateRoot)")


@dataclass(frozen=True)
class Limits:
    """Limits for a model against its base. Shares are from 0 to 1, rises at least 0.

    Raises:
        InputError: On construction, when a number is out of its range or the number of examples is below 1.
    """

    accuracy_drop: float = 0.05
    """Maximum loss of accuracy."""
    recall_drop: float = 0.4
    """Maximum loss of recall above chance of a class."""
    least_examples: int = 20
    """Minimum number of held-out examples of a class or group for a separate check."""
    loss_rise: float = 0.25
    """Maximum rise of the mean loss, relative to the base's, for tasks without classes."""
    group_loss_rise: float = 1.0
    """Maximum rise of the mean loss of a group, relative to the base's."""
    trigger_rise: float = 0.3
    """Maximum share of other classes' examples that a trigger may draw to a class, unless the share was higher at the
    base."""

    def __post_init__(self) -> None:
        shares = (self.accuracy_drop, self.recall_drop, self.trigger_rise)
        rises = (self.loss_rise, self.group_loss_rise)
        possible = all(0 <= share <= 1 for share in shares) and all(0 <= rise < math.inf for rise in rises)
        if not possible or self.least_examples < 1:
            raise InputError(
                f"{self} are not limits.",
                remedy="Shares are from 0 to 1, rises at least 0, examples at least 1.",
            )


@dataclass(frozen=True)
class Finding:
    """A value in which the model is worse than its base."""

    kind: str
    """accuracy, recall, trigger, loss, group-loss or unmeasured."""
    subject: str
    """The class or group; for a trigger, trigger and class; empty for accuracy, loss and unmeasured."""
    before: float
    """Value of the base, rounded."""
    after: float | None
    """Value of the model, rounded; None if it is not finite."""
    allowed: float
    """Limit: the maximum loss; for a trigger, the maximum value; for a loss, the maximum rise relative to the
    base's."""

    def to_json(self) -> dict[str, Any]:
        """Return the finding in JSON types."""
        return dict(vars(self))

    def __str__(self) -> str:
        if self.kind == "unmeasured":
            return (
                f"{self.after or 0:.0f} examples have no finite loss; at the base {self.before:.0f} had none, and no "
                "more are allowed."
            )
        if self.kind in ("loss", "group-loss"):
            what = "The mean loss" if self.kind == "loss" else f"The mean loss of group {self.subject}"
            now = "no number" if self.after is None else f"{self.after:.6g}"
            return (
                f"{what} went from {self.before:.6g} to {now}; a rise of {100 * self.allowed:g}% is allowed."
            )
        after = "no number" if self.after is None else f"{100 * self.after:.1f}%"
        change = f"went from {100 * self.before:.1f}% to {after}"
        if self.kind == "trigger":
            where, _, name = self.subject.partition(":")
            return (
                f"What the trigger ({where}) draws to class {name} {change}; "
                f"{100 * self.allowed:.1f}% is allowed."
            )
        what = (
            "The accuracy" if self.kind == "accuracy" else f"The recall above chance of class {self.subject}"
        )
        return f"{what} {change}; a loss of {100 * self.allowed:.1f} points is allowed."


@dataclass(frozen=True)
class CanaryReport:
    """An evaluator's measurements of a round's new state and of its base."""

    round: int
    task: str
    """Name of the task."""
    base_state_root: bytes
    """State root of the base, 32 bytes."""
    state_root: bytes
    """State root of the new state, 32 bytes."""
    base: Measurement
    candidate: Measurement
    """Measurement of the new state."""

    def to_bytes(self) -> bytes:
        """Return the report file: canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "round": self.round,
                "task": self.task,
                "baseStateRoot": "0x" + self.base_state_root.hex(),
                "stateRoot": "0x" + self.state_root.hex(),
                "base": self.base.to_json(),
                "candidate": self.candidate.to_json(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> CanaryReport:
        """Read a report file.

        Raises:
            InputError: `invalid-report`: The file is not canonical JSON of this format, its numbers contradict each
                other, its measurements have two kinds, or the base has no value to compare.
        """
        try:
            value = parse_canonical_json(data)
        except InputError as error:
            raise InputError(error.message, remedy=INVALID, code="invalid-report") from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InputError(
                f"This is not a report of the format {FORMAT}.", remedy=INVALID, code="invalid-report"
            )
        try:
            report = cls(
                round=int(value["round"]),
                task=str(value["task"]),
                base_state_root=_root(value["baseStateRoot"]),
                state_root=_root(value["stateRoot"]),
                base=Measurement.from_json(value["base"]),
                candidate=Measurement.from_json(value["candidate"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"The report can't be read: {error!r}.", remedy=INVALID, code="invalid-report"
            ) from error
        if not 0 < report.round < 1 << 64 or report.to_bytes() != data:
            raise InputError(
                "The report has an unknown field or another form.", remedy=INVALID, code="invalid-report"
            )
        if report.base.kind != report.candidate.kind:
            raise InputError(
                f"The report measures the base by {report.base.kind} and the new state by {report.candidate.kind}.",
                remedy="Measure both with the same task.",
                code="invalid-report",
            )
        if not compared(report.base):
            raise InputError(
                "The report measures neither an accuracy nor a loss of the base.",
                remedy=NOTHING,
                code="invalid-report",
            )
        return report


def check_public(manifest: Manifest, public_records: bool) -> None:
    """Check that a canary of a private federation may publish what it counts.

    Args:
        manifest: The federation's.
        public_records: Whether somebody has said that the held-out records are public.

    Raises:
        InputError: Nobody has (``records-not-public``).
    """
    if manifest.private and not public_records:
        raise InputError(
            "This federation declares privacy, and a canary publishes exact counts of the held-out records in each "
            "round, by class and by group, without noise.",
            remedy="Nothing was started. Only if the held-out records are public, or are nobody's: give `folkmoot "
            "canary` --public-records, and set canary_public_records in the coordinator's settings.",
            code="records-not-public",
        )


def compared(base: Measurement) -> str:
    """Return the value by which the canary compares a model with this base: accuracy, loss, or empty for none."""
    if base.kind in BY_LOSS:
        return "loss"
    if base.accuracy is not None:
        return "accuracy"
    return "loss" if base.mean_loss is not None else ""


def findings(base: Measurement, candidate: Measurement, limits: Limits) -> list[Finding]:
    """Return the values in which a model is worse than its base, computed exactly from the counts and sums of both.

    A value is worse if it exceeds the limit by more than NOISE standard errors of the difference of two independent
    shares or means (the same examples are measured twice, so the true error is smaller). The value of a class is its
    recall minus the share of other classes' examples with the same prediction: a model that predicts 3 for every
    example has no knowledge of the class 3 to lose.
    """
    if compared(base) == "loss":
        return _higher_losses(base, candidate, limits)
    worse = []
    before, after = base.accuracy, candidate.accuracy
    allowed = Fraction(str(limits.accuracy_drop))
    if before is not None and (
        after is None
        or _beyond(before - after - allowed, [(before, base.examples), (after, candidate.examples)])
    ):
        worse.append(_finding("accuracy", "", before, after, limits.accuracy_drop))
    worse += _lost_classes(base, candidate, limits)
    rises = {one.trigger: one.rise for one in base.probes}
    for probe in candidate.probes:
        earlier = rises.get(probe.trigger, Fraction(0))
        shares = [
            (Fraction(count, probe.examples), probe.examples) for count in (probe.drawn, probe.drawn_without)
        ]
        # Backdoors grow over many rounds, so the share itself is bounded. A decrease of the share is always allowed.
        if probe.rise > earlier and _beyond(probe.rise - Fraction(str(limits.trigger_rise)), shares):
            subject = f"{probe.trigger}:{probe.name}"
            worse.append(_finding("trigger", subject, earlier, probe.rise, limits.trigger_rise))
    return worse


def _higher_losses(base: Measurement, candidate: Measurement, limits: Limits) -> list[Finding]:
    """Return the findings for tasks that are measured by a loss."""
    if (
        base.losses is None or candidate.losses is None
    ):  # Of the kind METRICS: one number each, without its variance.
        before, after = base.mean_loss, candidate.mean_loss
        if before is None:
            raise AssertionError("a base without a loss has nothing to compare")
        fell = after is None or after - before > Fraction(str(limits.loss_rise)) * abs(before)
        return [_finding("loss", "", before, after, limits.loss_rise)] if fell else []
    worse = []
    lost, lacks = base.losses.unmeasured, candidate.losses.unmeasured
    if lacks > lost:
        worse.append(Finding("unmeasured", "", float(lost), float(lacks), 0.0))
    if _rose(base.losses, candidate.losses, limits.loss_rise):
        worse.append(_finding("loss", "", base.losses.mean, candidate.losses.mean, limits.loss_rise))
    now = {group.name: group for group in candidate.groups}
    for one in base.groups:
        later = now.get(one.name)
        if later is None or later.losses is None or one.losses is None or one.support < limits.least_examples:
            continue
        if later.support == one.support and _rose(one.losses, later.losses, limits.group_loss_rise):
            worse.append(
                _finding("group-loss", one.name, one.mean_loss, later.mean_loss, limits.group_loss_rise)
            )
    return worse


def _rose(before: Losses, after: Losses, allowed: float) -> bool:
    """Return whether a mean loss rose by more than a share of itself plus NOISE standard errors."""
    if before.mean is None or after.mean is None:
        return False
    excess = after.mean - before.mean - Fraction(str(allowed)) * abs(before.mean)
    return excess > 0 and excess**2 > NOISE**2 * (before.squared_error + after.squared_error)


def _lost_classes(base: Measurement, candidate: Measurement, limits: Limits) -> list[Finding]:
    worse = []
    allowed = Fraction(str(limits.recall_drop))
    now = {class_.name: class_ for class_ in candidate.classes}
    for one in base.classes:
        later = now.get(one.name)
        if later is None or later.support != one.support or one.support < limits.least_examples:
            continue
        known, knows = _above_chance(base, one.name), _above_chance(candidate, one.name)
        shares = [(Fraction(some.correct, some.support), some.support) for some in (one, later)]
        if _beyond(known - knows - allowed, shares):
            worse.append(_finding("recall", one.name, known, knows, limits.recall_drop))
    return worse


def _above_chance(measured: Measurement, name: str) -> Fraction:
    """Return a class's recall minus the share of other classes' examples with its prediction, at least 0."""
    one = next(class_ for class_ in measured.classes if class_.name == name)
    others = measured.examples - one.support
    false = Fraction(one.predicted - one.correct, others) if others else Fraction(0)
    return max(Fraction(0), Fraction(one.correct, one.support) - false)


def _beyond(excess: Fraction, shares: list[tuple[Fraction, int]]) -> bool:
    """Return whether an excess is above 0 and above NOISE standard errors of shares, each with a number of examples."""
    variance = sum((share * (1 - share) / count for share, count in shares if count), Fraction(0))
    return excess > 0 and excess**2 > NOISE**2 * variance


def _finding(
    kind: str, subject: str, before: Fraction | None, after: Fraction | None, allowed: float
) -> Finding:
    was = 0.0 if before is None else rounded(before) or 0.0
    return Finding(kind, subject, was, None if after is None else rounded(after), allowed)


# Signatures.


def sign_canary(report: CanaryReport, account: LocalAccount, domain: Domain) -> bytes:
    """Sign a report as the evaluator; return 65 bytes."""
    message = _canary_message(domain, report.round, report.state_root, sha256_hex(report.to_bytes()))
    return bytes(account.sign_message(message).signature)


def canary_signer(report: CanaryReport, signature: bytes, domain: Domain) -> str:
    """Return the account that signed a report.

    Raises:
        InputError: The signature is invalid (`invalid-signature`).
    """
    message = _canary_message(domain, report.round, report.state_root, sha256_hex(report.to_bytes()))
    return _signer(message, signature)


def sign_release(round_number: int, state_root: bytes, account: LocalAccount, domain: Domain) -> bytes:
    """Sign, as the coordinator, the release of a round in spite of the canary; return 65 bytes."""
    return bytes(account.sign_message(_release_message(domain, round_number, state_root)).signature)


def release_signer(round_number: int, state_root: bytes, signature: bytes, domain: Domain) -> str:
    """Return the account that signed a release.

    Raises:
        InputError: The signature is invalid (`invalid-signature`).
    """
    return _signer(_release_message(domain, round_number, state_root), signature)


def _canary_message(domain: Domain, number: int, state_root: bytes, sha256: str) -> SignableMessage:
    types = ("bytes32", "uint64", "bytes32", "bytes32")
    fields = encode(types, (_CANARY_TYPEHASH, number, state_root, bytes.fromhex(sha256)))
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def _release_message(domain: Domain, number: int, state_root: bytes) -> SignableMessage:
    fields = encode(("bytes32", "uint64", "bytes32"), (_RELEASE_TYPEHASH, number, state_root))
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def _signer(message: SignableMessage, signature: bytes) -> str:
    try:
        return recover(message, signature)
    except ValueError as error:
        raise InputError(
            f"The signature is not valid: {error}.",
            remedy="Sign with the right key.",
            code="invalid-signature",
        ) from error


def _root(value: Any) -> bytes:
    if not isinstance(value, str) or not value.startswith("0x"):
        raise ValueError(f"{value!r} is not a root")
    root = bytes.fromhex(value[2:])
    if len(root) != 32:
        raise ValueError(f"{value!r} has not 32 bytes")
    return root
