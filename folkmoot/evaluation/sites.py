# SPDX-License-Identifier: Apache-2.0
"""What a version does at the sites where the data are: count tables with small cells left out, signed and added up.

The format is section 11.5 of docs/protocol.md. All numbers are integers. A table has a total and the cells of classes
and groups that are large enough. Cells that are too small are not even named, and neither is as much of the others as
it takes that the small ones can't be computed from the total. This module does not depend on models, tasks or chains.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

from eth_abi.abi import encode
from eth_account.messages import SignableMessage

from folkmoot.errors import InputError
from folkmoot.evaluation.losses import Losses, total
from folkmoot.evaluation.numbers import read_count, read_text
from folkmoot.evaluation.report import BY_LOSS, CLASSIFICATION, LANGUAGE_MODEL, GroupCount, Measurement
from folkmoot.protocol.commitment import Domain, checksum_address
from folkmoot.protocol.hashing import canonical_json, keccak, parse_canonical_json
from folkmoot.protocol.signatures import digest, recover
from folkmoot.protocol.wallets import MAX_SIGNATURE

FORMAT, POOLED_FORMAT = "folkmoot/measurement/1", "folkmoot/measurements/1"
COMMITMENT_FORMAT, LIST_FORMAT = "folkmoot/measurement-commitment/1", "folkmoot/measurement-commitments/1"

MEASUREMENT_TYPE = (
    "Measurement(address site,uint64 version,bytes32 stateRoot,uint32 number,uint32 minCell,uint64 examples,"
    "bytes32 tableHash,bytes32 salt,bytes32 commitments)"
)
TABLE_COMMITMENT_TYPE = "MeasurementCommitment(address site,uint64 version,bytes32 commitment,uint64 closes)"
"""EIP-712 types, in the domain of the ledger."""

NONE = bytes(32)
"""The `commitments` of a table that was not committed before others were shown."""
PAUSE = 60
"""Seconds from the end of a list of commitments to the first table: none that was taken in time is missing then."""
SHORTEST, LONGEST = 3600, 30 * 86_400
"""Seconds for which a list of commitments is open, by the first site's choice."""
MOST_SITES = 256
"""Most sites of a version that are pooled: as many as a round has contributors at most."""

MIN_CELL = 10
"""Examples that a cell has at least, unless the site says otherwise."""

MAX_EXAMPLES, MAX_MIN_CELL, MAX_CELLS, MAX_NUMBER = 10**9, 10**6, 500, 100
MAX_BYTES = 1 << 17
"""Maximum size in bytes of a measurement's file."""

AWAY = Fraction(1083, 100)
"""Chi-squared with one degree of freedom that one in a thousand exceeds by chance (10.83)."""

_TYPEHASH = keccak(MEASUREMENT_TYPE.encode())
_TYPES = (
    "bytes32",
    "address",
    "uint64",
    "bytes32",
    "uint32",
    "uint32",
    "uint64",
    "bytes32",
    "bytes32",
    "bytes32",
)
_COMMITMENT_TYPEHASH = keccak(TABLE_COMMITMENT_TYPE.encode())
_COMMITMENT_TYPES = ("bytes32", "address", "uint64", "bytes32", "uint64")
_SIGNATURE = re.compile(f"0x(?:[0-9a-f]{{2}}){{1,{MAX_SIGNATURE}}}")
_ROOT = re.compile("0x[0-9a-f]{64}")

Accepts = Callable[[str, bytes, bytes], bool]
"""Whether the contract at an address accepts a signature of a hash: (address, hash, signature)."""


def hidden(sizes: Iterable[int], least: int) -> int:
    """Return how many of the smallest cells a table leaves out. Others may show those; nobody must compute them.

    The smallest ones are hidden until no hidden cell is alone, all of them are smaller than those that are shown, they
    are at least ``least`` together, and it follows from none of this that the smallest one has more than half of
    ``least``.

    Args:
        sizes: Numbers of examples, above 0, ascending.
        least: Least number of examples of a cell that is shown.
    """
    cells = list(sizes)
    count = sum(size < least for size in cells)
    while 0 < count < len(cells):
        sum_ = sum(cells[:count])
        largest = cells[count] - 1  # That a hidden cell can have, as cells of one size are hidden together.
        if (
            cells[count - 1] <= largest
            and count > 1
            and sum_ >= least
            and 2 * (sum_ - (count - 1) * largest) <= least
        ):
            break
        count += 1
    return count


@dataclass(frozen=True)
class CountTable:
    """What one site counts: in all, by class and by group.

    Raises:
        InputError: On construction: ``invalid-measurement``: no site with this threshold can have made it.
    """

    kind: str
    """One of the kinds of a report, but `metrics`."""
    min_cell: int
    """Least number of examples of a cell."""
    total: GroupCount
    """All examples; its name is empty."""
    classes: tuple[GroupCount, ...] = ()
    """Classes that are shown, ascending by name; of a classification only."""
    groups: tuple[GroupCount, ...] = ()
    """Groups that are shown, ascending by name."""

    def __post_init__(self) -> None:
        if self.kind not in (CLASSIFICATION, *BY_LOSS):
            raise _invalid(f"its kind is {self.kind!r}")
        if not 1 <= self.min_cell <= MAX_MIN_CELL:
            raise _invalid(f"its minCell is {self.min_cell}, not from 1 to {MAX_MIN_CELL:,}")
        if self.classes and self.kind != CLASSIFICATION:
            raise _invalid(f"a {self.kind} has no classes")
        if self.total.name:
            raise _invalid("its total has a name")
        self._check(self.total, "all examples")
        for what, cells in (("class", self.classes), ("group", self.groups)):
            names = [cell.name for cell in cells]
            if len(cells) > MAX_CELLS or names != sorted(set(names)) or "" in names:
                raise _invalid(f"its {what} names are empty, not ascending, or more than {MAX_CELLS}")
            for cell in cells:
                self._check(cell, f"the {what} {cell.name!r}")
            if cells and (rest := minus(self.total, added("", cells))) != _nothing(rest):
                self._check(rest, f"what is in no {what} shown")

    def _check(self, cell: GroupCount, what: str) -> None:
        if not self.min_cell <= cell.support <= MAX_EXAMPLES:
            raise _invalid(f"{what}: {cell.support} examples, not from {self.min_cell} to {MAX_EXAMPLES:,}")
        if (cell.correct is None) != (self.kind != CLASSIFICATION) or (cell.losses is None) == (
            self.kind != CLASSIFICATION
        ):
            raise _invalid(f"{what}: a classification counts right ones, the other kinds sum losses")
        if cell.correct is not None and not 0 <= cell.correct <= cell.support:
            raise _invalid(f"{what}: {cell.correct} are right of {cell.support}")
        if cell.losses is not None and (
            cell.losses.examples != cell.support or not cell.losses.possible(self.kind == LANGUAGE_MODEL)
        ):
            raise _invalid(f"{what}: no losses have these sums")

    @classmethod
    def of(cls, measured: Measurement, min_cell: int, *, groups: bool = True) -> CountTable:
        """Return what may leave of a site's measurement.

        Args:
            measured: The measurement.
            min_cell: Least number of examples of a cell.
            groups: Whether the groups are shown. Leave them out if they are the classes.

        Raises:
            InputError: ``too-few-examples``: there are fewer than ``min_cell`` in all; or it has no counts.
        """
        classification = measured.kind == CLASSIFICATION
        if classification:
            right = sum(one.correct for one in measured.classes)
            all_ = GroupCount("", measured.examples, right)
        elif measured.losses is not None:
            all_ = GroupCount("", measured.examples, losses=measured.losses)
        else:
            raise InputError(
                "The task counts nothing: it has only metrics of its own.",
                remedy="Return labels, targets or losses from examine_site (docs/measuring.md).",
            )
        if measured.examples < min_cell:
            raise InputError(
                f"There are {measured.examples} held-out examples, and a cell has at least {min_cell}.",
                remedy="Nothing may leave. Measure with more examples.",
                code="too-few-examples",
            )
        by_class = [GroupCount(one.name, one.support, one.correct) for one in measured.classes if one.support]
        by_group = [replace(one, losses=None) if classification else one for one in measured.groups]
        return cls(
            measured.kind,
            min_cell,
            all_,
            _shown(by_class, min_cell),
            _shown(by_group, min_cell) if groups else (),
        )

    @property
    def hash(self) -> bytes:
        """Hash of the table, 32 bytes."""
        return keccak(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return {
            "kind": self.kind,
            "minCell": self.min_cell,
            "total": cell_json(self.total),
            "classes": [cell_json(cell) for cell in self.classes],
            "groups": [cell_json(cell) for cell in self.groups],
        }

    @classmethod
    def from_json(cls, value: Any) -> CountTable:
        """Read the result of ``to_json``; it may come from a stranger.

        Raises:
            InputError: ``invalid-measurement``: it is no table.
        """
        try:
            made = cls(
                read_text(value["kind"]),
                read_count(value["minCell"]),
                _read_cell(value["total"]),
                tuple(_read_cell(one) for one in value["classes"]),
                tuple(_read_cell(one) for one in value["groups"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _invalid(f"its table can't be read: {error!r}") from error
        if made.to_json() != value:
            raise _invalid("its table has an unknown field, or a value in another form")
        return made

    def same_examples(self, earlier: CountTable) -> bool:
        """Return whether two tables can be of the same examples: then the second one shows no size that is new.

        The difference of two tables is a table as well, of the examples that came or went, however few they are.
        """

        def sizes(cells: Iterable[GroupCount]) -> list[tuple[str, int]]:
            return [(cell.name, cell.support) for cell in cells]

        first, second = (
            (one.kind, one.min_cell, one.total.support, sizes(one.classes)) for one in (self, earlier)
        )
        mine, theirs = sizes(self.groups), sizes(earlier.groups)
        return first == second and (mine == theirs or not (mine and theirs))


class Signed(ABC):
    """What a site signs, with its key or as a contract."""

    site: str
    version: int
    signature: bytes

    @abstractmethod
    def message(self, domain: Domain) -> SignableMessage:
        """Return what is signed."""

    def is_signed(self, domain: Domain, accepts: Accepts) -> bool:
        """Return whether the site signed, with its key or as a contract, which ``accepts`` is asked about."""
        message = self.message(domain)
        try:
            if recover(message, self.signature) == self.site:
                return True
        except ValueError:
            pass
        return accepts(self.site, digest(message), self.signature)


@dataclass(frozen=True)
class TableCommitment(Signed):
    """What a site says before tables are shown: the hash of its own, and when no more commitments are taken.

    Raises:
        InputError: On construction: ``invalid-measurement``: a value is out of its range.
    """

    site: str
    """Account that answers for it; kept with its checksum."""
    version: int
    """Number of the version."""
    hash: bytes
    """`SiteMeasurement.commitment`, 32 bytes."""
    closes: int
    """Chain time in seconds from which no more commitments are taken: one of all sites of the version."""
    signature: bytes = b""
    """As of a measurement."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", checksum_address(self.site))
        if not 0 <= self.version < 1 << 53 or not 0 < self.closes < 1 << 53 or len(self.hash) != 32:
            raise _invalid("the version, the hash or the closing time of a commitment is out of its range")

    def message(self, domain: Domain) -> SignableMessage:
        """Return what is signed."""
        values = (_COMMITMENT_TYPEHASH, *self.typed().values())
        return SignableMessage(b"\x01", domain.separator, keccak(encode(_COMMITMENT_TYPES, values)))

    def typed(self) -> dict[str, Any]:
        """Return the members of the signed message, in their order."""
        return {"site": self.site, "version": self.version, "commitment": self.hash, "closes": self.closes}

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "format": COMMITMENT_FORMAT,
            "site": self.site,
            "version": self.version,
            "commitment": "0x" + self.hash.hex(),
            "closes": self.closes,
            "signature": "0x" + self.signature.hex(),
        }

    def to_bytes(self) -> bytes:
        """Return the file: canonical JSON."""
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> TableCommitment:
        """Read a file, as ``from_json``."""
        return cls.from_json(_canonical(data))

    @classmethod
    def from_json(cls, value: Any) -> TableCommitment:
        """Read the result of ``to_json``; it may come from a stranger. The signature is not checked.

        Raises:
            InputError: ``invalid-measurement``: it is no commitment.
        """
        try:
            site, version, closes = (
                read_text(value["site"]),
                read_count(value["version"]),
                read_count(value["closes"]),
            )
            made = cls(
                site, version, _word(value, "commitment"), closes, _hex(value, "signature", _SIGNATURE)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _invalid(f"its commitment can't be read: {error!r}") from error
        except InputError as error:
            raise error if error.code == "invalid-measurement" else _invalid(error.message) from error
        if made.to_json() != value:
            raise _invalid("its commitment has an unknown field, or a value in another form")
        return made


@dataclass(frozen=True)
class Commitments:
    """All commitments to tables of a version.

    Raises:
        InputError: On construction: ``invalid-measurement``: they are not of one version and closing time, or two are
            of one site.
    """

    entries: tuple[TableCommitment, ...] = ()
    """Ascending by site."""

    def __post_init__(self) -> None:
        sites = [one.site for one in self.entries]
        if len({(one.version, one.closes) for one in self.entries}) > 1 or sites != sorted(set(sites)):
            raise _invalid(
                "its commitments are not of one version and closing time, one a site, ascending by site"
            )
        if len(sites) > MOST_SITES:
            raise _invalid(f"it has more than {MOST_SITES} commitments")

    @property
    def hash(self) -> bytes:
        """Hash of the list, which each site signs with its table, 32 bytes; `NONE` of an empty one."""
        return keccak(canonical_json([one.to_json() for one in self.entries])) if self.entries else NONE

    @property
    def closes(self) -> int:
        """Chain time in seconds from which no more are taken; 0 of an empty list."""
        return self.entries[0].closes if self.entries else 0

    def of(self, site: str) -> TableCommitment | None:
        """Return a site's commitment, None if it has none."""
        return next((one for one in self.entries if one.site == site), None)

    def binds(self, one: SiteMeasurement) -> bool:
        """Return whether a table is the one that its site committed, and was signed when this list was whole."""
        committed = self.of(one.site)
        return (
            committed is not None
            and (committed.version, committed.hash) == (one.version, one.commitment)
            and one.commitments == self.hash
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"format": LIST_FORMAT, "commitments": [one.to_json() for one in self.entries]}

    @classmethod
    def from_json(cls, value: Any) -> Commitments:
        """Read the result of ``to_json``; it may come from a stranger. Signatures are not checked.

        Raises:
            InputError: ``invalid-measurement``: it is no list.
        """
        listed = value.get("commitments") if isinstance(value, dict) else None
        if not isinstance(listed, list):
            raise _invalid("it has no list of commitments")
        return cls(tuple(TableCommitment.from_json(one) for one in listed))


@dataclass(frozen=True)
class SiteMeasurement(Signed):
    """What a site says of a version, with its signature.

    Raises:
        InputError: On construction: ``invalid-measurement``: a value is out of its range.
    """

    site: str
    """Account that answers for it; kept with its checksum."""
    version: int
    """Number of the version."""
    state_root: bytes
    """Root of the state that was measured, 32 bytes: it stands for the whole model, and the chain has it."""
    number: int
    """1 for the first of this site and version; a later one replaces those before."""
    table: CountTable
    signature: bytes = b""
    """Signature of the account's key, or one that the account's contract accepts; empty until it is signed."""
    salt: bytes = NONE
    """Random, 32 bytes: without it, the commitment could be found by trying tables."""
    commitments: bytes = NONE
    """`Commitments.hash` of the closed list that has this table's, 32 bytes; or `NONE`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", checksum_address(self.site))
        if not 0 <= self.version < 1 << 53 or not 1 <= self.number <= MAX_NUMBER:
            raise _invalid(f"its version is {self.version}, its number {self.number} (of 1 to {MAX_NUMBER})")

    def message(self, domain: Domain) -> SignableMessage:
        """Return what is signed."""
        return SignableMessage(
            b"\x01", domain.separator, keccak(encode(_TYPES, (_TYPEHASH, *self.typed().values())))
        )

    def typed(self) -> dict[str, Any]:
        """Return the members of the signed message, in their order. Each follows from the measurement itself."""
        return {
            "site": self.site,
            "version": self.version,
            "stateRoot": self.state_root,
            "number": self.number,
            "minCell": self.table.min_cell,
            "examples": self.table.total.support,
            "tableHash": self.table.hash,
            "salt": self.salt,
            "commitments": self.commitments,
        }

    @property
    def commitment(self) -> bytes:
        """What is committed before any table is shown, 32 bytes: keccak of site, salt, table hash and state root.

        Without the site, one that copies the commitment of another could show the table of the other as its own.
        """
        return keccak(bytes.fromhex(self.site[2:]) + self.salt + self.table.hash + self.state_root)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "format": FORMAT,
            "site": self.site,
            "version": self.version,
            "stateRoot": "0x" + self.state_root.hex(),
            "number": self.number,
            "table": self.table.to_json(),
            "salt": "0x" + self.salt.hex(),
            "commitments": "0x" + self.commitments.hex(),
            "signature": "0x" + self.signature.hex(),
        }

    def to_bytes(self) -> bytes:
        """Return the file: canonical JSON."""
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> SiteMeasurement:
        """Read a file; it may come from a stranger. The signature is not checked.

        Raises:
            InputError: ``invalid-measurement``: it is no measurement.
        """
        if len(data) > MAX_BYTES:
            raise _invalid(f"it has {len(data):,} bytes, and at most {MAX_BYTES:,} are allowed")
        return cls.from_json(_canonical(data))

    @classmethod
    def from_json(cls, value: Any) -> SiteMeasurement:
        """Read the result of ``to_json``, as ``from_bytes``."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise _invalid(f"it is not of the format {FORMAT}")
        try:
            made = cls(
                read_text(value["site"]),
                read_count(value["version"]),
                _word(value, "stateRoot"),
                read_count(value["number"]),
                CountTable.from_json(value["table"]),
                _hex(value, "signature", _SIGNATURE),
                _word(value, "salt"),
                _word(value, "commitments"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _invalid(f"it can't be read: {error!r}") from error
        except InputError as error:
            raise error if error.code == "invalid-measurement" else _invalid(error.message) from error
        if made.to_json() != value:
            raise _invalid("it has an unknown field, or a value in another form")
        return made


@dataclass(frozen=True)
class Pooled:
    """The measurements of several sites of one version, and their exact sums.

    Raises:
        InputError: On construction: ``invalid-measurement``: they are not of one version, or two are of one site.
    """

    measurements: tuple[SiteMeasurement, ...]
    """One or more, ascending by site."""
    commitments: Commitments = Commitments()
    """Of the version, as they were when the tables were shown; empty if the tables came as files."""

    def __post_init__(self) -> None:
        of = {(one.version, one.state_root, one.table.kind) for one in self.measurements}
        sites = [one.site for one in self.measurements]
        if len(of) != 1 or sites != sorted(set(sites)):
            raise _invalid("the measurements are not of one version and kind, one a site, ascending by site")

    @classmethod
    def of(cls, measurements: Iterable[SiteMeasurement], commitments: Commitments = Commitments()) -> Pooled:
        """Return the newest measurement of each site, of the kind that most sites have: one liar hides nobody."""
        newest: dict[str, SiteMeasurement] = {}
        for one in measurements:
            if one.site not in newest or newest[one.site].number < one.number:
                newest[one.site] = one
        kinds = Counter(one.table.kind for one in newest.values())
        kind = max(kinds, key=lambda kind: (kinds[kind], kind), default="")
        return cls(
            tuple(newest[site] for site in sorted(newest) if newest[site].table.kind == kind), commitments
        )

    @property
    def uncommitted(self) -> list[str]:
        """Sites whose table was not committed before others were shown, or is another than the committed one."""
        return [one.site for one in self.measurements if not self.commitments.binds(one)]

    @property
    def silent(self) -> list[str]:
        """Sites that committed, and of which no table is counted here: never shown, or of another kind."""
        shown = {one.site for one in self.measurements}
        return [one.site for one in self.commitments.entries if one.site not in shown]

    @property
    def total(self) -> GroupCount:
        """All examples of all sites."""
        return added("", [one.table.total for one in self.measurements])

    def cells(self, what: str) -> list[tuple[GroupCount, int]]:
        """Return each cell with the number of sites that show it. ``what`` is `classes` or `groups`."""
        by_name: dict[str, list[GroupCount]] = {}
        for one in self.measurements:
            for cell in getattr(one.table, what):
                by_name.setdefault(cell.name, []).append(cell)
        return [(added(name, by_name[name]), len(by_name[name])) for name in sorted(by_name)]

    def away(self) -> dict[str, list[str]]:
        """Return the sites whose numbers lie away from those of the others, each with the cells in which they do."""
        sums = {what: {cell.name: cell for cell, _ in self.cells(what)} for what in ("classes", "groups")}
        unlike: dict[str, list[str]] = {}
        for one in self.measurements:
            pairs = [("all examples", one.table.total, self.total)]
            for what, word in (("classes", "class"), ("groups", "group")):
                pairs += [(f"{word} {c.name}", c, sums[what][c.name]) for c in getattr(one.table, what)]
            names = [name for name, cell, sum_ in pairs if lies_away(cell, minus(sum_, cell))]
            if names:
                unlike[one.site] = names
        return unlike

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values: the signed measurements, and what follows from them."""
        first = self.measurements[0]
        return {
            "format": POOLED_FORMAT,
            "version": first.version,
            "stateRoot": "0x" + first.state_root.hex(),
            "kind": first.table.kind,
            "sites": len(self.measurements),
            "total": cell_json(self.total),
            **{
                what: [{**cell_json(cell), "sites": sites} for cell, sites in self.cells(what)]
                for what in ("classes", "groups")
            },
            "away": self.away(),
            "uncommitted": self.uncommitted,
            "silent": self.silent,
            "commitments": self.commitments.to_json(),
            "measurements": [one.to_json() for one in self.measurements],
        }

    def to_bytes(self) -> bytes:
        """Return the file that a proposal can name as its report: canonical JSON."""
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> Pooled:
        """Read a file, and add everything up again. Signatures are not checked.

        Raises:
            InputError: ``invalid-measurement``: it is no such file, or a number does not follow from the measurements.
        """
        value = _canonical(data)
        if not isinstance(value, dict) or value.get("format") != POOLED_FORMAT:
            raise _invalid(f"it is not of the format {POOLED_FORMAT}")
        listed = value.get("measurements")
        if not isinstance(listed, list) or not listed:
            raise _invalid("it has no measurements")
        commitments = Commitments.from_json(value.get("commitments"))
        made = cls(tuple(SiteMeasurement.from_json(one) for one in listed), commitments)
        if made.to_bytes() != data:
            raise _invalid("it has a number that does not follow from the sites' measurements")
        return made


def entangled(table: CountTable, cross: Mapping[tuple[str, str], int]) -> bool:
    """Return whether neither classes nor groups say more of the other than the total does.

    If groups are unions of classes, or nearly so, a class that is not shown is the difference of a group and others.
    It is not if all that is shown hangs together by classes of which a group has at least ``min_cell`` examples: then
    the total is the only sum that both know (the margins of a table have one dependency for each connected part of it).

    Args:
        table: What would be shown.
        cross: Number of examples of each class and group.
    """
    if table.min_cell == 1 or not table.classes or not table.groups:
        return True
    left = {("class", cell.name) for cell in table.classes} | {("group", cell.name) for cell in table.groups}
    edges = [(("class", c), ("group", g)) for (c, g), size in cross.items() if size >= table.min_cell]
    reached = {left.pop()}
    while joined := {
        end for pair in edges for end, other in (pair, pair[::-1]) if end in left and other in reached
    }:
        left -= joined
        reached |= joined
    return not left


def added(name: str, cells: Sequence[GroupCount]) -> GroupCount:
    """Return the exact sums of one or more cells of one kind."""
    rights = [cell.correct for cell in cells if cell.correct is not None]
    losses = [cell.losses for cell in cells if cell.losses is not None]
    return GroupCount(
        name,
        sum(cell.support for cell in cells),
        sum(rights) if rights else None,
        total(losses) if losses else None,
    )


def minus(cell: GroupCount, part: GroupCount) -> GroupCount:
    """Return a cell without a part of it, which may be impossible."""
    losses = None
    if cell.losses is not None and part.losses is not None:
        losses = Losses(
            *(getattr(cell.losses, f.name) - getattr(part.losses, f.name) for f in fields(Losses))
        )
    right = None if cell.correct is None or part.correct is None else cell.correct - part.correct
    return GroupCount("", cell.support - part.support, right, losses)


def lies_away(one: GroupCount, rest: GroupCount) -> bool:
    """Return whether a site's cell differs from that of all others by more than chance, one in a thousand.

    Right ones: Pearson's chi-squared of the two-by-two table with Yates' correction (Yates 1934, Supplement to the
    Journal of the Royal Statistical Society 1, 217), in integers. Losses: the square of the difference of the means
    over the sum of their squared standard errors.
    """
    if not one.support or not rest.support:
        return False
    if one.correct is not None and rest.correct is not None:
        n, m = one.support, rest.support
        both, right = n + m, one.correct + rest.correct
        distance = max(0, 2 * abs(one.correct * m - rest.correct * n) - both)
        return distance**2 * both > 4 * AWAY * n * m * right * (both - right)
    if one.losses is None or rest.losses is None:
        return False
    first, second = one.losses.mean, rest.losses.mean
    if first is None or second is None:
        return (first is None) != (second is None)
    error = one.losses.squared_error + rest.losses.squared_error
    return (first - second) ** 2 > AWAY * error


def cell_json(cell: GroupCount) -> dict[str, Any]:
    """Return a cell as JSON values; a total has no name."""
    document: dict[str, Any] = {"name": cell.name} if cell.name else {}
    document["examples"] = cell.support
    if cell.correct is not None:
        document["correct"] = cell.correct
    if cell.losses is not None:
        whole = cell.losses.to_json()
        document |= {"unmeasured": whole["unmeasured"], "sums": whole["sums"]}
    return document


def _read_cell(value: Any) -> GroupCount:
    support = read_count(value["examples"], 1)
    return GroupCount(
        read_text(value.get("name", "")),
        support,
        read_count(value["correct"]) if "correct" in value else None,
        Losses.from_json(value, support) if "sums" in value else None,
    )


def _shown(cells: Sequence[GroupCount], least: int) -> tuple[GroupCount, ...]:
    ordered = sorted(cells, key=lambda cell: (cell.support, cell.name))
    shown = ordered[hidden((cell.support for cell in ordered), least) :]
    return tuple(sorted(shown, key=lambda cell: cell.name))


def _nothing(like: GroupCount) -> GroupCount:
    """Return a cell without examples."""
    losses = None if like.losses is None else Losses(*(0 for _ in fields(Losses)))
    return GroupCount("", 0, None if like.correct is None else 0, losses)


def _canonical(data: bytes) -> Any:
    try:
        return parse_canonical_json(data)
    except InputError as error:
        raise _invalid(error.message.rstrip(".")) from error


def _word(value: Mapping[str, Any], name: str) -> bytes:
    return _hex(value, name, _ROOT)


def _hex(value: Mapping[str, Any], name: str, form: re.Pattern[str]) -> bytes:
    text = read_text(value[name])
    if not form.fullmatch(text):
        raise ValueError(f"{name} is not lower-case hex of its length")
    return bytes.fromhex(text[2:])


def _invalid(why: str) -> InputError:
    return InputError(
        f"The measurement can't be used: {why}.",
        remedy="Ask the site to make it again with `folkmoot measure`, in the same release.",
        code="invalid-measurement",
    )
