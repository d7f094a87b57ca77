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

from eth_utils.crypto import keccak
from sqlalchemy.orm import Session

from folkmoot.artifacts.retention import Reason
from folkmoot.audit.calls import decode_call
from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import History
from folkmoot.audit.ledger_state import CancelReason
from folkmoot.audit.ledger_state import Round as Past
from folkmoot.ledger.events import Event
from folkmoot.protocol.batch import read_batch
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.rpc.client import Phase
from server.chain.node import Node
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


@dataclass
class Rows:
    """Makes rows.

    Args:
        history: What the chain says.
        origin: The genesis.
        node: Asked for receipts.
        account: The coordinator that is restored.
    """

    history: History
    origin: Origin
    node: Node
    account: str

    def header_of(self, found: Past, base: Base, files: RoundFiles | None) -> bytes:
        """The encoded header of a round: the published one, else the one that it must have had; empty if unknown."""
        if files is not None:
            return files.artifacts.header
        if not base.exponents:
            return b""
        deployment = self.history.deployment
        return RoundHeader(
            found.number,
            self.origin.manifest.hash,
            found.base_state_root,
            found.policy_id,
            found.policy.width,
            derive_seed(deployment.chain_id, deployment.ledger, found.number, found.base_state_root),
            base.exponents,
        ).encoded

    def add(self, session: Session, found: Past, base: Base, files: RoundFiles | None) -> Round:
        """Write a round with its entries, updates and transactions."""
        header = self.header_of(found, base, files)
        exponents = RoundHeader.decode(header).exponents if header else ()
        step, error = self.standing(found, header)
        anchor, opened = found.anchor, found.opened
        kept = (
            step is not Step.COLLECTING
        )  # else the engine fixes the entries itself, when the window is over
        row = Round(
            number=found.number,
            run_id=None,
            step=step,
            policy_id=found.policy_id,
            base=found.base,
            base_state_root="0x" + found.base_state_root.hex(),
            base_momentum_root="0x" + base.momentum_root.hex(),
            base_state_sha256=base.state,
            header=header,
            header_hash="0x" + opened.header_hash.hex(),
            exponents=list(exponents),
            expect=0,
            opened_at=found.opened_at,
            commit_deadline=found.commit_deadline,
            anchor_deadline=found.anchor_deadline,
            challenge_deadline=self.history.storage.rounds[found.number].challenge_deadline or None,
            entries=len(found.commits) if kept else 0,
            entries_hash="0x" + self.history.storage.rounds[found.number].entries_hash.hex()
            if kept
            else None,
            anchor=anchor.to_json() if anchor is not None else None,
            recomputed=0,
            error=error,
        )
        if files is not None:
            row.verdicts_sha256, row.artifacts_sha256 = files.artifacts.verdicts, files.artifacts_sha256
            row.mean_sha256, row.state_sha256 = files.artifacts.mean, files.artifacts.state
        session.add(row)
        session.flush()
        if kept:
            self._entries(session, found, files)
        sent = self._transactions(session, found)
        if files is not None:
            self._updates(session, found, files, sent)
            self._artifacts(session, found, files)
        return row

    def standing(self, found: Past, header: bytes) -> tuple[Step, str | None]:
        """What is left to do in a round with this encoded header, and what is to be said of it."""
        match found.phase:
            case Phase.FINAL:
                return (Step.SETTLED if found.settled else Step.FINALIZING), None
            case Phase.ANCHORED:
                return Step.ANCHORED, None
            case Phase.SLASHED:
                return Step.SLASHED, None
            case Phase.CANCELLED:
                return Step.CANCELLED, _why_cancelled(found)
        if found.opened.coordinator != self.account:
            who = f"It was opened by {found.opened.coordinator}, who may still anchor it"
            return (
                Step.CANCELLING,
                f"{who}; after its deadline it is cancelled.",
            )
        if not header or RoundHeader.decode(header).hash != found.opened.header_hash:
            return (
                Step.COLLECTING,
                "It was opened with another header than the chain asks for; it will be cancelled.",
            )
        return Step.COLLECTING, None

    def _entries(self, session: Session, found: Past, files: RoundFiles | None) -> None:
        anchor = found.anchor
        for position, (event, commitment) in enumerate(zip(found.commits, found.commitments(), strict=True)):
            verdict = files.verdicts.verdicts[position] if files is not None else None
            weight = anchor.weights[position] if anchor is not None else None
            session.add(
                Entry(
                    round=found.number,
                    position=position,
                    contributor=commitment.contributor,
                    commitment=commitment.to_json(),
                    commitment_hash="0x" + commitment.struct_hash.hex(),
                    transaction_hash="0x" + event.transaction.hex(),
                    sha256=files.artifacts.updates[position] if files is not None else None,
                    weight=weight,
                    reason=str(verdict.reason) if verdict is not None else None,
                    numbers=numbers_json(verdict) if verdict is not None else None,
                )
            )

    def _transactions(self, session: Session, found: Past) -> Mapping[bytes, tuple[str, dict[str, bytes]]]:
        """Write what the round's coordinator sent for it.

        Returns:
            Purpose of the transactions that recorded entries, and their signatures by contributor, by hash.
        """
        self._transaction(session, found, found.opened, "openRound", f"open:{found.number}")
        sent: dict[bytes, tuple[str, dict[str, bytes]]] = {}
        commitments = iter(found.commitments())
        for hash_, group in groupby(found.commits, key=lambda event: event.transaction):
            events = list(group)
            hashes = [next(commitments).struct_hash for _ in events]
            purpose = f"commit:{found.number}:{keccak(b''.join(hashes)).hex()}"
            for function in ("commitUpdates", "commitUpdateFor"):
                if data := self._transaction(session, found, events[0], function, purpose):
                    sent[hash_] = (purpose, signatures_of(data, events[0].contributor))
        empty = found.cancelled is CancelReason.EMPTY
        for event, function, what in (
            (found.closed, "closeCommits", "close"),
            (found.anchored, "anchor", "anchor"),
            (found.finalized, "finalize", "finalize"),
            (found.settled, "settle", "settle"),
            (self._cancellation(found), "cancelEmpty" if empty else "cancel", "cancel"),
        ):
            if event is not None:
                self._transaction(session, found, event, function, f"{what}:{found.number}")
        return sent

    def _cancellation(self, found: Past) -> Event | None:
        if found.phase is not Phase.CANCELLED:
            return None
        for event in self.history.events:
            if event.name == "RoundCancelled" and getattr(event, "round", None) == found.number:
                return event
        return None

    def _transaction(self, session: Session, found: Past, event: Event, function: str, purpose: str) -> bytes:
        """Write the transaction behind an event, if it is a call of the function by the round's coordinator.

        Returns:
            Its data; none if it was not written.
        """
        ledger = self.history.deployment.ledger
        sent = self.history.transaction(event.transaction)
        call = decode_call("ledger", sent.input) if sent.to == ledger else None
        if call is None or call.function != function or sent.sender != found.opened.coordinator:
            return b""
        receipt = self.node.receipt("0x" + event.transaction.hex())
        session.add(
            Transaction(
                purpose=purpose,
                state="confirmed",
                round=found.number,
                to=ledger,
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
        found: Past,
        files: RoundFiles,
        sent: Mapping[bytes, tuple[str, dict[str, bytes]]],
    ) -> None:
        for event, commitment, sha256 in zip(
            found.commits, found.commitments(), files.artifacts.updates, strict=True
        ):
            if sha256 is None:
                continue
            purpose, signatures = sent.get(event.transaction, ("own", {}))
            session.add(
                Update(
                    round=found.number,
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

    def _artifacts(self, session: Session, found: Past, files: RoundFiles) -> None:
        anchor, listed = found.known_anchor, files.artifacts
        rows: list[tuple[str, str, str | None]] = [
            ("update", sha256, None) for sha256 in listed.updates if sha256 is not None
        ]
        rows += [
            ("mean", listed.mean, None),
            ("state", listed.state, None),
            ("verdicts", listed.verdicts, anchor.verdict_hash.hex()),
            ("artifacts", files.artifacts_sha256, anchor.artifacts_hash.hex()),
        ]
        for kind, sha256, digest in rows:
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
                    round=found.number,
                    public_from=found.commit_deadline if kind == "update" else 0,
                    deleted=deleted,
                    gone=False,
                )
            )

    def _time(self, event: Event) -> datetime:
        return datetime.fromtimestamp(self.history.time(event), UTC)


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


def _why_cancelled(found: Past) -> str:
    match found.cancelled:
        case CancelReason.TOO_FEW_UPDATES:
            needed = found.policy.min_contributors
            return f"{len(found.commits)} of at least {needed} contributors committed an update."
        case CancelReason.EMPTY:
            return "Nobody committed an update."
        case CancelReason.BASE_VOIDED:
            return "The round that it was built on was slashed."
        case _:
            return "The anchor window is over."
