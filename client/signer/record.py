# SPDX-License-Identifier: Apache-2.0
"""The signing record: what an account has signed in each round, so that it never signs two commitments of a round.

Adapts the slashing-protection interchange format of Ethereum's validators (EIP-3076). For each ledger the record has a
low-water mark and the digests above it. Nothing is signed in rounds up to the mark. A merge keeps all digests and the
higher mark, so it never permits what one of the two records forbids. The file is replaced as a whole before each
signature leaves, so a kill at any point leaves the old record or the new one.

It is also the account's own odometer: it has what private trainings cost, and a cap on the sum that no vote can raise
(folkmoot.protocol.budget has the units). A training is charged before it draws its noise, so it counts whatever becomes
of it; a round may be trained `MOST_TRAININGS` times. Each training has a random name of its own and is never dropped. A
merge is the union of both records' trainings, so it counts each one once, in whatever order records are merged. Knows
no keys, sockets or models.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from folkmoot.errors import InputError, LocalError
from folkmoot.flower.signing import SignerError, already_signed
from folkmoot.protocol.commitment import Domain, checksum_address
from folkmoot.protocol.hashing import canonical_json, parse_json
from folkmoot.runtime import locks
from folkmoot.runtime.files import write_whole

FORMAT = "folkmoot/signing-record/3"
RECORD_FILE = "signing-record.json"
LOCK_FILE = "signing-record.lock"
OLD_FILE = "signed.jsonl"
"""Record of releases before these formats, in the node's folder."""
OLD_FORMAT = "folkmoot/signing-record/2"

KEPT_ROUNDS = 512
"""Digests that a record keeps for each ledger. The mark rises to the newest digest that is dropped."""

MOST_TRAININGS = 2
"""Most trainings of a round that a record charges, so that a bound is known of those that a lost record charged."""

LOST = "lost"
"""Name of what a lost record may have charged in a round at most. It is no less than what is known of the round."""

MAX_NUMBER = 2**64 - 1
"""Largest number of a record: a round, a chain id, a cost or a cap."""


@dataclass(frozen=True)
class SignedRounds:
    """The rounds of one ledger in which an account has signed."""

    mark: int = 0
    """Low-water mark: nothing is signed in this round or an earlier one."""
    signed: Mapping[int, str] = field(default_factory=dict)
    """EIP-712 digests that were signed, hex, by round. All rounds are above the mark."""
    trainings: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """Costs of all private trainings, signed or not, above 0, in units of 2^-32 rho; by round and name."""
    other_costs: int = 0
    """What the ledger has counted beyond the trainings."""
    cap: int | None = None
    """The account's own cap on the sum of all costs; None if there is none yet."""

    @property
    def costs(self) -> dict[int, int]:
        """What each round has cost."""
        return {number: _cost(named) for number, named in self.trainings.items()}

    @property
    def spent(self) -> int:
        """Sum of all costs."""
        return self.other_costs + sum(self.costs.values())

    @property
    def unsure(self) -> int:
        """The first round in which the record may have charged a training after this copy of it was made."""
        return max(self.trainings, default=1)

    def check(self, round_id: int, digest: bytes) -> None:
        """Check that a digest may be signed.

        Raises:
            SignerError: ``below-mark`` or ``already-signed``.
        """
        self._check_mark(round_id)
        known = self.signed.get(round_id)
        if known is not None and known != digest.hex():
            raise already_signed(round_id)

    def check_unsigned(self, round_id: int) -> None:
        """Check that a new update of a round may be trained and signed: otherwise it would be trained in vain.

        Raises:
            SignerError: ``below-mark``, ``already-signed`` or ``trained-before``.
        """
        self._check_mark(round_id)
        if round_id in self.signed:
            raise already_signed(round_id)
        if len(self.trainings.get(round_id, ())) >= MOST_TRAININGS:
            raise SignerError(
                f"The signing record has {MOST_TRAININGS} trainings of round {round_id} already, without a signature.",
                remedy="Nothing to do: the node trains again in the next round. If this happens often, its log says "
                "what ended these trainings.",
                code="trained-before",
            )

    def _check_mark(self, round_id: int) -> None:
        if round_id <= self.mark:
            raise SignerError(
                f"The signing record permits no signature in round {round_id}: its low-water mark is {self.mark}.",
                remedy="Nothing to do: the signer signs again in rounds after the mark.",
                code="below-mark",
            )

    def raised(self, mark: int) -> SignedRounds:
        """Return the same with at least this mark, without the digests up to it. All trainings stay."""
        mark = max(mark, self.mark)
        signed = {number: digest for number, digest in self.signed.items() if number > mark}
        return replace(self, mark=mark, signed=signed)

    def merged(self, other: SignedRounds) -> SignedRounds:
        """Return the union of the trainings and of at most `KEPT_ROUNDS` digests, the higher mark and the lower cap.

        If the two have different digests of a round, the mark rises to that round: two were signed already, and a third
        one must not follow.
        """
        marks = [number for number, one in self.signed.items() if other.signed.get(number, one) != one]
        signed = {**other.signed, **self.signed}
        marks += [self.mark, other.mark, *sorted(signed)[:-KEPT_ROUNDS]]
        trainings = {number: dict(named) for number, named in self.trainings.items()}
        for number, named in other.trainings.items():
            ours = trainings.setdefault(number, {})
            for name, cost in named.items():
                ours[name] = max(cost, ours.get(name, 0))
        costs = max(self.other_costs, other.other_costs)
        caps = [cap for cap in (self.cap, other.cap) if cap is not None]
        return SignedRounds(0, signed, trainings, costs, min(caps, default=None)).raised(max(marks))

    def with_signature(self, round_id: int, digest: bytes, cost: int) -> SignedRounds:
        """Return the same with one more signature, at most `KEPT_ROUNDS`. A round that was charged costs no more."""
        charged = self if self.costs.get(round_id, 0) >= cost else self.with_training(round_id, cost)
        return charged.merged(SignedRounds(0, {round_id: digest.hex()}))

    def with_lost(self, costs: Mapping[int, int]) -> SignedRounds:
        """Return the same with all that a lost record may have charged in some rounds.

        Args:
            costs: What a training costs, by round.
        """
        lost = {number: {LOST: MOST_TRAININGS * cost} for number, cost in costs.items()}
        return self.merged(SignedRounds(trainings=lost))

    def with_training(self, round_id: int, cost: int, name: str | None = None) -> SignedRounds:
        """Return the same with one more private training of a round; by default with a name that no other one has."""
        return self.merged(SignedRounds(trainings={round_id: {name or secrets.token_hex(8): cost}}))


def _cost(named: Mapping[str, int]) -> int:
    """Return what the trainings of a round cost together."""
    return max(named.get(LOST, 0), sum(cost for name, cost in named.items() if name != LOST))


@dataclass(frozen=True)
class SigningRecord:
    """The signing record of an account."""

    account: str
    """The account, checksummed."""
    ledgers: Mapping[tuple[int, str], SignedRounds] = field(default_factory=dict)
    """By chain id and checksummed address of the ledger."""

    def of(self, domain: Domain) -> SignedRounds:
        """Return the rounds of a ledger."""
        return self.ledgers.get((domain.chain_id, domain.verifying_contract), SignedRounds())

    def with_rounds(self, domain: Domain, rounds: SignedRounds) -> SigningRecord:
        """Return the same with other rounds of a ledger."""
        key = (domain.chain_id, domain.verifying_contract)
        return replace(self, ledgers={**self.ledgers, key: rounds})

    def merged(self, other: SigningRecord) -> SigningRecord:
        """Return the merge of two records of one account.

        Raises:
            SignerError: ``record-other-account``.
        """
        _require_account(other, self.account, "The imported record")
        ledgers = dict(self.ledgers)
        for key, rounds in other.ledgers.items():
            ledgers[key] = ledgers.get(key, SignedRounds()).merged(rounds)
        return replace(self, ledgers=ledgers)

    def to_json(self) -> bytes:
        """Return the record as canonical JSON, in the format of `FORMAT`."""
        content = {
            "format": FORMAT,
            "account": self.account,
            "ledgers": [
                {
                    "chainId": str(chain_id),
                    "ledger": ledger,
                    "lowWaterMark": str(rounds.mark),
                    "privacyCap": None if rounds.cap is None else str(rounds.cap),
                    "otherCosts": str(rounds.other_costs),
                    "signed": [
                        {"round": str(number), "digest": "0x" + digest}
                        for number, digest in sorted(rounds.signed.items())
                    ],
                    "trainings": [
                        {"round": str(number), "name": name, "cost": str(cost)}
                        for number, named in sorted(rounds.trainings.items())
                        for name, cost in sorted(named.items())
                    ],
                }
                for (chain_id, ledger), rounds in sorted(self.ledgers.items())
            ],
        }
        return canonical_json({**content, "sha256": hashlib.sha256(canonical_json(content)).hexdigest()})

    @classmethod
    def from_json(cls, data: bytes, source: str) -> SigningRecord:
        """Read what `to_json` wrote.

        Args:
            data: The file's bytes.
            source: Name of the file, for the error.

        Raises:
            SignerError: ``record-damaged``, or ``record-old-format``.
        """
        try:
            document = parse_json(data)
            if document["format"] == OLD_FORMAT:
                raise _old_format(source)
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r}, not {FORMAT!r}")
            ledgers = {}
            for entry in document["ledgers"]:
                signed: dict[int, str] = {}
                trainings: dict[int, dict[str, int]] = {}
                for one in entry["signed"]:
                    digest = one["digest"].removeprefix("0x")
                    if len(bytes.fromhex(digest)) != 32:
                        raise ValueError("a digest has not 32 bytes")
                    signed[_number(one["round"])] = digest
                for one in entry["trainings"]:
                    trainings.setdefault(_number(one["round"]), {})[str(one["name"])] = _number(one["cost"])
                key = (_number(entry["chainId"]), checksum_address(entry["ledger"]))
                cap = None if entry["privacyCap"] is None else _number(entry["privacyCap"])
                ledgers[key] = SignedRounds(
                    _number(entry["lowWaterMark"]), signed, trainings, _number(entry["otherCosts"]), cap
                )
            record = cls(checksum_address(document["account"]), ledgers)
            if record.to_json() != data.rstrip(b"\n"):
                raise ValueError("its checksum does not match its content")
        except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SignerError(
                f"The signing record {source} is damaged: {error}.",
                remedy="Nothing is signed with it. Import a backup with `folkmoot signer restore` into another "
                "--record folder. Without a backup, wait until the open round has closed, and start the new record "
                "with `folkmoot signer restore --raise`.",
                code="record-damaged",
            ) from error
        return record


def _old_format(file: str) -> SignerError:
    return SignerError(
        f"The file {file} is a signing record of an earlier release.",
        remedy="Wait until the open round has closed, and move the file away. Then start a new record with `folkmoot "
        "signer record raise ROUND`: --since counts what the old one may have charged.",
        code="record-old-format",
    )


def _number(text: str) -> int:
    value = int(text)
    if str(value) != text or not 0 <= value <= MAX_NUMBER:
        raise ValueError(f"{text!r} is not a number of the record")
    return value


def _require_account(record: SigningRecord, account: str, name: str) -> None:
    if record.account != account:
        raise SignerError(
            f"{name} is of the account {record.account}, not of {account}.",
            remedy="Give each account a record of its own, with --record.",
            code="record-other-account",
        )


class RecordFolder:
    """The folder with an account's signing record; a context manager. Only one process can have it open.

    A missing record is created, without digests. The signer then compares it with the chain before it signs.

    Args:
        folder: The folder; it is created if it is missing. Only its owner may be able to write to it.
    """

    def __init__(self, folder: Path, account: str) -> None:
        self._folder = folder
        self._account = account
        self._record = SigningRecord(account)
        self._stored = b""
        self._cleanup = ExitStack()

    @property
    def record(self) -> SigningRecord:
        """The record as it is on disk."""
        return self._record

    @property
    def path(self) -> Path:
        """The file."""
        return self._folder / RECORD_FILE

    def __enter__(self) -> RecordFolder:
        """Lock the folder and read the record.

        Raises:
            LocalError: Another process has the folder open, or the folder can't be used.
            SignerError: The record is damaged, of an old format or of another account, or others can write to it.
        """
        with ExitStack() as stack:
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._check_owner()
                lock = locks.try_acquire(self._folder / LOCK_FILE)
                if lock is None:
                    raise LocalError(
                        f"Another node or signer uses the folder {self._folder}.",
                        remedy="End it first, or give this one a --home of its own.",
                        code="home-in-use",
                    )
                stack.enter_context(lock)
                self._read()
            except OSError as error:
                raise LocalError(
                    f"The signing record {self.path} can't be used: {error.strerror}.",
                    remedy="Give another folder with --record, on a local disk.",
                    code="record-unusable",
                ) from error
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Let another process open the folder."""
        self._cleanup.close()

    def _check_owner(self) -> None:
        status = self._folder.stat()
        if status.st_uid not in (os.getuid(), 0) or stat.S_IMODE(status.st_mode) & 0o022:
            raise SignerError(
                f"Other users can write to the folder {self._folder} of the signing record.",
                remedy=f"Make it the signer's own: `chown` it to this user and run `chmod go-w {self._folder}`.",
                code="record-writable",
            )

    def _read(self) -> None:
        old = self._folder.parent / OLD_FILE
        if old.exists() and not self.path.exists():
            raise _old_format(str(old))
        try:
            self._stored = self.path.read_bytes()
        except FileNotFoundError:
            self.store(self._record)
            return
        self._record = SigningRecord.from_json(self._stored, str(self.path))
        _require_account(self._record, self._account, f"The signing record {self.path}")

    def check_unchanged(self) -> None:
        """Check that the file is what this process has written last.

        Raises:
            SignerError: ``record-replaced``.
        """
        try:
            unchanged = self.path.read_bytes() == self._stored
        except OSError:
            unchanged = False
        if not unchanged:
            raise SignerError(
                f"The signing record {self.path} was removed or replaced while the signer was running.",
                remedy="Nothing is signed any more. Find out who can write to that folder, restore the record, and "
                "start the signer again with a --record folder that only the signer's user can write to.",
                code="record-replaced",
            )

    def store(self, record: SigningRecord) -> None:
        """Replace the record; it is on disk when this returns.

        Raises:
            OSError: The file can't be written. The old record is still there.
        """
        data = record.to_json()
        write_whole(self.path, data, mode=0o600)
        self._record, self._stored = record, data

    def remember(
        self,
        domain: Domain,
        round_id: int,
        digest: bytes,
        cost: int = 0,
        cap: int | None = None,
        before: int = 0,
    ) -> None:
        """Store a digest before it is signed. Storing the same digest again changes nothing.

        Args:
            cost: Privacy cost of the update, in units of 2^-32 rho. A round that `charge` has counted costs no more.
            cap: The account's own cap from now on, if it has none yet.
            before: What the account has spent before at least. A record that was lost has less than the chain, and what
                is charged from now on adds to it, also if the chain never records it.

        Raises:
            SignerError: The record does not permit it, has been replaced, or can't be written.
        """
        self.check_unchanged()
        rounds = self._record.of(domain)
        rounds.check(round_id, digest)
        if round_id in rounds.signed:
            return
        rounds = _counted(rounds, cap, before).with_signature(round_id, digest, cost)
        self.change(domain, rounds, "signed")

    def charge(self, domain: Domain, round_id: int, cost: int, cap: int | None, before: int) -> None:
        """Store what a private training costs, before it draws its noise. Each call is another training.

        Args:
            cost: Privacy cost of the training, in units of 2^-32 rho.
            cap: As for `remember`.
            before: As for `remember`.

        Raises:
            SignerError: As `remember`, or a commitment of the round was signed already.
        """
        self.check_unchanged()
        rounds = self._record.of(domain)
        rounds.check_unsigned(round_id)
        self.change(domain, _counted(rounds, cap, before).with_training(round_id, cost), "trained")

    def change(self, domain: Domain, rounds: SignedRounds, what: str) -> None:
        """Replace the rounds of a ledger, as `store`; ``what`` was not done if that fails."""
        try:
            self.store(self._record.with_rounds(domain, rounds))
        except OSError as error:
            raise SignerError(
                f"The signing record {self.path} can't be written: {error.strerror}.",
                remedy=f"Nothing was {what}. Make room on the disk, or move the record.",
                code="record-unusable",
            ) from error


def adopt_cap(folder: Path, account: str, domain: Domain, cap: int) -> SignedRounds:
    """Store the account's own cap if it has none yet, before anything is trained; return what the record then has.

    Raises:
        LocalError: The record's folder is in use, or can't be used.
        SignerError: The signing record can't be used.
    """
    with RecordFolder(folder, account) as opened:
        rounds = opened.record.of(domain)
        if rounds.cap is None:
            rounds = replace(rounds, cap=cap)
            opened.change(domain, rounds, "stored")
    return rounds


def _counted(rounds: SignedRounds, cap: int | None, before: int) -> SignedRounds:
    """Return the same with a cap, if there is none yet, and with at least so much spent."""
    missing = max(0, before - rounds.spent)
    cap = cap if rounds.cap is None else rounds.cap
    return replace(rounds, cap=cap, other_costs=rounds.other_costs + missing)
