# SPDX-License-Identifier: Apache-2.0
"""The rows of past rounds, as a coordinator that led them would have them, from the chain and the imported files.

What only the old coordinator knew is not there: its runs, refusals of updates that never reached the chain, when
updates came in (the time of the block that recorded them stands for it), and what its canary said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from eth_utils.crypto import keccak
from sqlalchemy.orm import Session

from folkmoot.artifacts.gather import header_of
from folkmoot.artifacts.retention import Reason
from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import History
from folkmoot.ledger.events import Event
from folkmoot.ledger.replay import CancelReason
from folkmoot.ledger.replay import Round as Past
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.batch import read_batch
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.verdict import Artifacts, Verdict
from folkmoot.rpc.abi import decode_call
from folkmoot.rpc.client import Phase, RoundView, Rpc
from server.db.models import LASTING, Artifact, Entry, Round, Transaction, Update
from server.db.steps import Step
from server.restore.files import RoundFiles
from server.rounds.outcome import numbers_json

_NO_ROOT = bytes(32)


@dataclass(frozen=True)
class Base:
    """What a round trained from, as far as it is known."""

    state: str
    """sha256 of the state file; empty if its round is void and its files are gone."""
    momentum_root: bytes
    """Root of its momentum, 32 bytes."""
    exponents: tuple[int, ...]
    """Exponents of a round on it."""


UNKNOWN = Base("", _NO_ROOT, ())
"""The base of a void round whose files are gone."""


def base_of(files: RoundFiles | None, base: Base = UNKNOWN) -> Base:
    """Return the base of a round that its own files tell; else the given one."""
    if files is None or files.base_momentum_root is None:
        return base
    exponents = RoundHeader.decode(files.artifacts.header).exponents
    return Base(files.artifacts.base_state, files.base_momentum_root, exponents)


@dataclass
class Rows:
    """Makes rows.

    Args:
        history: What the chain says.
        origin: The genesis.
        rpc: Asked for receipts.
        account: The coordinator that is restored.
    """

    history: History
    origin: Origin
    rpc: Rpc
    account: str

    def header_of(self, past: Past, base: Base, files: RoundFiles | None) -> bytes:
        """The encoded header of a round: the published one, else the one that it must have had; empty if unknown."""
        if files is not None:
            return files.artifacts.header
        if not base.exponents:
            return b""
        return header_of(self.history.deployment, self.origin.manifest, past, base.exponents).encoded

    def add(self, session: Session, past: Past, base: Base, files: RoundFiles | None) -> Round:
        """Write a round with its entries, updates and transactions."""
        header = self.header_of(past, base, files)
        exponents = RoundHeader.decode(header).exponents if header else ()
        step, error = self.standing(past, header)
        kept = (
            step is not Step.COLLECTING
        )  # else the engine fixes the entries itself, when the window is over
        row = Round(
            number=past.number,
            run_id=None,
            step=step,
            base_state_root="0x" + past.base_state_root.hex(),
            base_momentum_root="0x" + base.momentum_root.hex(),
            base_state_sha256=base.state,
            header=header,
            exponents=list(exponents),
            expect=0,
            recomputed=0,
            error=error,
            **stored_values(self.history.storage.rounds[past.number]),
        )
        if not kept:
            row.entries, row.entries_hash = 0, None
        row.anchor = past.anchor.to_json() if past.anchor is not None else None
        if files is not None:
            for name, value in file_values(
                past.known_anchor, files.artifacts, files.artifacts_sha256
            ).items():
                setattr(row, name, value)
        session.add(row)
        session.flush()
        if kept:
            self._entries(session, past, files)
        sent = self._transactions(session, past)
        if files is not None:
            self._updates(session, past, files, sent)
            self._artifacts(session, past, files)
        return row

    def standing(self, past: Past, header: bytes) -> tuple[Step, str | None]:
        """What is left to do in a round with this encoded header, and what is to be said of it."""
        match past.phase:
            case Phase.FINAL:
                return (Step.SETTLED if past.settled else Step.FINALIZING), None
            case Phase.ANCHORED:
                return Step.ANCHORED, None
            case Phase.SLASHED:
                return Step.SLASHED, None
            case Phase.CANCELLED:
                return Step.CANCELLED, _why_cancelled(past)
        if past.opened.coordinator != self.account:
            who = f"It was opened by {past.opened.coordinator}, who may still anchor it"
            return (
                Step.CANCELLING,
                f"{who}; after its deadline it is cancelled.",
            )
        if not header or RoundHeader.decode(header).hash != past.opened.header_hash:
            return (
                Step.COLLECTING,
                "It was opened with another header than the chain asks for; it will be cancelled.",
            )
        return Step.COLLECTING, None

    def _entries(self, session: Session, past: Past, files: RoundFiles | None) -> None:
        for position, (event, commitment) in enumerate(zip(past.commits, past.commitments(), strict=True)):
            verdict = files.verdicts.verdicts[position] if files is not None else None
            values = entry_values(commitment, "0x" + event.transaction.hex(), verdict)
            if past.anchor is not None:
                values["weight"] = past.anchor.weights[position]
                values["pay"] = past.anchor.pays[position] if past.anchor.pays else None
            if files is not None:
                values["sha256"] = files.artifacts.updates[position]
            session.add(Entry(round=past.number, position=position, **values))

    def _transactions(self, session: Session, past: Past) -> Mapping[bytes, tuple[str, dict[str, bytes]]]:
        """Write what the round's coordinator sent for it.

        Returns:
            Purpose of the transactions that recorded entries, and their signatures by contributor, by hash.
        """
        self._transaction(session, past, past.opened, "openRound", f"open:{past.number}")
        sent: dict[bytes, tuple[str, dict[str, bytes]]] = {}
        commitments = iter(past.commitments())
        for hash_, group in groupby(past.commits, key=lambda event: event.transaction):
            events = list(group)
            hashes = [next(commitments).struct_hash for _ in events]
            purpose = f"commit:{past.number}:{keccak(b''.join(hashes)).hex()}"
            for function in ("commitUpdates", "commitUpdateFor"):
                if data := self._transaction(session, past, events[0], function, purpose):
                    sent[hash_] = (purpose, signatures_of(data, events[0].contributor))
        empty = past.cancelled is CancelReason.EMPTY
        for event, function, what in (
            (past.closed, "closeCommits", "close"),
            (past.anchored, "anchor", "anchor"),
            (past.finalized, "finalize", "finalize"),
            (past.settled, "settle", "settle"),
            (
                past.cancellation if past.phase is Phase.CANCELLED else None,
                "cancelEmpty" if empty else "cancel",
                "cancel",
            ),
        ):
            if event is not None:
                self._transaction(session, past, event, function, f"{what}:{past.number}")
        return sent

    def _transaction(self, session: Session, past: Past, event: Event, function: str, purpose: str) -> bytes:
        """Write the transaction behind an event, if it is a call of the function by the round's coordinator.

        Returns:
            Its data; none if it was not written.
        """
        called = getattr(self.history.deployment, event.contract)
        sent = self.history.transaction(event.transaction)
        call = decode_call(event.contract, sent.input) if sent.to == called else None
        if call is None or call.function != function or sent.sender != past.opened.coordinator:
            return b""
        receipt = self.rpc.receipt("0x" + event.transaction.hex())
        session.add(
            Transaction(
                purpose=purpose,
                state="confirmed",
                round=past.number,
                to=called,
                data=sent.input,
                nonce=sent.nonce,
                hash="0x" + event.transaction.hex(),
                attempts=1,
                block_number=event.block,
                block_hash="0x" + event.block_hash.hex(),
                gas_used=receipt.gas_used if receipt is not None else None,
                created_at=self._time(event),
            )
        )
        return sent.input

    def _updates(
        self,
        session: Session,
        past: Past,
        files: RoundFiles,
        sent: Mapping[bytes, tuple[str, dict[str, bytes]]],
    ) -> None:
        for event, commitment, sha256 in zip(
            past.commits, past.commitments(), files.artifacts.updates, strict=True
        ):
            if sha256 is None:
                continue
            purpose, signatures = sent.get(event.transaction, ("own", {}))
            session.add(
                Update(
                    round=past.number,
                    contributor=commitment.contributor,
                    commitment=commitment.to_json(),
                    commitment_hash="0x" + commitment.struct_hash.hex(),
                    signature="0x" + signatures.get(event.contributor, b"").hex(),
                    sha256=sha256,
                    size=files.sizes[sha256],
                    batch=purpose,
                    received_at=self._time(event),
                )
            )

    def _artifacts(self, session: Session, past: Past, files: RoundFiles) -> None:
        listing = listed_files(past.known_anchor, files.artifacts, files.artifacts_sha256)
        for kind, sha256, digest in sorted(listing, key=lambda file: file[0] != "update"):
            deleted = files.deleted.get(sha256) if kind == "update" else None
            if kind == "state" and files.spare:
                deleted = Reason.SPARE
            known = session.get(Artifact, sha256)
            if known is not None and (deleted or (kind == "update" and known.kind in LASTING)):
                continue  # An earlier round has the same file, and decides.
            session.merge(
                Artifact(
                    sha256=sha256,
                    keccak=digest,
                    kind=kind,
                    size=files.sizes[sha256],
                    round=past.number,
                    public_from=past.commit_deadline if kind == "update" else 0,
                    deleted=deleted,
                    gone=False,
                )
            )

    def _time(self, event: Event) -> datetime:
        return datetime.fromtimestamp(self.history.time(event), UTC)


def stored_values(view: RoundView) -> dict[str, Any]:
    """Return the columns of a round that follow from what the ledger stores."""
    return {
        "policy_id": view.policy,
        "base": view.base,
        "entries": view.entries,
        "opened_at": view.opened_at,
        "commit_deadline": view.commit_deadline,
        "anchor_deadline": view.anchor_deadline,
        "challenge_deadline": view.challenge_deadline or None,
        "header_hash": "0x" + view.header_hash.hex(),
        "entries_hash": "0x" + view.entries_hash.hex(),
    }


def file_values(anchor: Anchor, artifacts: Artifacts, document: str) -> dict[str, Any]:
    """Return the columns of a round that follow from its anchor and its artifacts file, which has this sha256."""
    return {
        "anchor": anchor.to_json(),
        "mean_sha256": artifacts.mean,
        "state_sha256": artifacts.state,
        "verdicts_sha256": artifacts.verdicts,
        "artifacts_sha256": document,
    }


def entry_values(commitment: Commitment, transaction_hash: str, verdict: Verdict | None) -> dict[str, Any]:
    """Return the columns of an entry that follow from its commitment and its verdict."""
    values: dict[str, Any] = {
        "contributor": commitment.contributor,
        "commitment": commitment.to_json(),
        "commitment_hash": "0x" + commitment.struct_hash.hex(),
        "transaction_hash": transaction_hash,
    }
    if verdict is not None:
        numbers = numbers_json(verdict)
        values |= {
            "weight": verdict.weight,
            "pay": verdict.pay,
            "reason": str(verdict.reason),
            "numbers": numbers,
        }
    return values


def listed_files(anchor: Anchor, artifacts: Artifacts, document: str) -> list[tuple[str, str, str | None]]:
    """Return kind, sha256 and the keccak256 that the chain has of each file of a round."""
    return [
        ("mean", artifacts.mean, None),
        ("state", artifacts.state, None),
        ("verdicts", artifacts.verdicts, anchor.verdict_hash.hex()),
        ("artifacts", document, anchor.artifacts_hash.hex()),
        *(("update", sha256, None) for sha256 in artifacts.updates if sha256 is not None),
    ]


def signatures_of(data: bytes, contributor: str) -> dict[str, bytes]:
    """Return the signatures by contributor in the data of a transaction that recorded entries.

    Args:
        data: The transaction's data.
        contributor: Whose entry it is, if it recorded only one.
    """
    call = decode_call("ledger", data)
    if call is not None and call.function == "commitUpdateFor":
        return {contributor: call.arguments[1]}
    signatures: dict[str, bytes] = {}
    if call is not None and call.function == "commitUpdates":
        for entry, signature in read_batch(call.arguments[2]):
            signatures.setdefault(entry.contributor, signature)  # of two, the ledger takes the first
    return signatures


def _why_cancelled(past: Past) -> str:
    match past.cancelled:
        case CancelReason.TOO_FEW_UPDATES:
            needed = past.policy.min_contributors
            return f"{len(past.commits)} of at least {needed} contributors committed an update."
        case CancelReason.EMPTY:
            return "Nobody committed an update."
        case CancelReason.BASE_VOIDED:
            return "The round that it was built on was slashed."
        case _:
            return "The anchor window is over."
