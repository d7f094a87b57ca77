# SPDX-License-Identifier: Apache-2.0
"""Verdicts and the two files that publish a round (docs/protocol.md sections 7 and 11).

A verdict has the weight of an entry, the reason and the numbers behind it; everybody can recompute all of it. This
module knows the reason codes and the formats, not how a weight is computed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.commitment import checksum_address
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json
from folkmoot.protocol.header import check_exponents

VERDICTS_FORMAT = "folkmoot/verdicts/1"
ARTIFACTS_FORMAT = "folkmoot/artifacts/2"


class Reason(StrEnum):
    """Why an update was refused, or an entry got its weight."""

    ROUND_UNKNOWN = "round-unknown"
    """There is no such round."""
    ROUND_CLOSED = "round-closed"
    """The commit window of the round is over."""
    WRONG_BASE = "wrong-base"
    """The base state root is not the round's base."""
    WRONG_SIZE = "wrong-size"
    """The file is not exactly 256 n bytes."""
    INVALID_ENCODING = "invalid-encoding"
    """A byte is 0x00, or a padding byte is not 0x80."""
    WRONG_ROOT = "wrong-root"
    """The update tree's root is not the committed one."""
    WRONG_NORM = "wrong-norm"
    """The update tree's sum of squares is not the committed one."""
    NORM_TOO_LARGE = "norm-too-large"
    """The sum of squares is above the policy's cap."""
    NORM_TOO_SMALL = "norm-too-small"
    """The sum of squares is below the policy's floor."""
    BUDGET_SPENT = "budget-spent"
    """The update would take what the contributor has spent of its privacy budget beyond the policy's cap."""
    INVALID_SIGNATURE = "invalid-signature"
    """The signature is not the contributor's."""
    STAKE_TOO_LOW = "stake-too-low"
    """The contributor's stake is under the policy's minimum."""
    NOT_ENROLLED = "not-enrolled"
    """The contributor is not enrolled, or enrolled too late for this round."""
    NO_PLACE = "no-place"
    """There is a crowd, and the contributor was not drawn for a place."""
    DUPLICATE = "duplicate"
    """The contributor already has a different commitment in this round."""
    ROUND_FULL = "round-full"
    """The round has as many commitments as its policy takes."""
    NOT_DELIVERED = "not-delivered"
    """The file of the entry did not arrive, or arrived damaged."""
    OUTLIER = "outlier"
    """The rule excluded the entry for its distance from the others."""
    ZERO_UPDATE = "zero-update"
    """The update is a zero vector."""
    COPY = "copy"
    """The update is a copy or a near-duplicate of one that was committed earlier, in this round or before."""
    UNCORRELATED = "uncorrelated"
    """The update is about orthogonal to all others, as noise is."""
    AGAINST_CORE = "against-core"
    """The update's cosine with the majority's core is clearly negative."""
    AGAINST_ROOT = "against-root"
    """The update's cosine with the root-set update is not positive."""
    AGAINST_TRAJECTORY = "against-trajectory"
    """The update's cosine with the model's trajectory is clearly negative."""
    ROOT = "root"
    """The coordinator's own entry, the root-set update: it is compared and never summed."""
    ACCEPTED = "accepted"
    """The weight is above 0."""


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
                )
                for entry in value["verdicts"]
            )
            if [verdict.index for verdict in verdicts] != list(range(len(verdicts))):
                raise InputError("The verdicts are not in the order of the entries.")
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


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise InputError(f"{value!r} is no SHA-256.")
    return value
