# SPDX-License-Identifier: Apache-2.0
"""Taking in updates (docs/protocol.md section 7).

Nothing is believed of a sender. A submission in somebody else's name fails at the signature, before a byte of its
file is read, and leaves nothing behind but a line in the list of refusals; so it can't keep the real contributor from
being heard. Of that list nobody can make a flood: it has lines for accounts that ever staked, in rounds that there are,
and for each only so many.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from eth_account.signers.local import LocalAccount
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.store import Stored, Writer
from folkmoot.errors import ArtifactError, ChainError, StoreError, UpdateRefused
from folkmoot.protocol.acknowledgement import Acknowledgement
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.update_checks import check_bytes, check_claim
from folkmoot.protocol.updates import FileUpdate
from folkmoot.protocol.verdict import Reason
from folkmoot.protocol.wallets import MAX_SIGNATURE
from folkmoot.rpc.wallets import accepts
from server.chain.view import ChainView
from server.db import events
from server.db.engine import Database
from server.db.models import Account, Artifact, Entry, Refusal, Round, Update
from server.db.steps import Step
from server.rounds import queries
from server.storage import file_row
from server.telemetry.metrics import Metrics

KEPT_REFUSALS = 10
"""Equal refusals (round, claimed contributor, reason) that are kept: a flood is not worth more."""

KEPT_FORGERIES = 500
"""Refusals of a round that are kept although they bear no good signature."""


@dataclass(frozen=True)
class Arrival:
    """A submission that may go on to the checks of its bytes."""

    round: int
    commitment: Commitment
    signature: bytes
    header: RoundHeader
    policy: Policy
    deadline: int
    late: bool
    """Whether it is the file of a commitment that is on the chain or was accepted: no window closes for it."""
    authenticated: bool
    """Whether it bears the contributor's signature: always, unless it is late."""


class Intake:
    """Takes in the updates of one coordinator.

    Args:
        database: Where updates and refusals go.
        chain: Asked for policies, stakes and the time.
        account: The coordinator's, which acknowledges updates.
        metrics: Counts refusals of which no row is kept.
    """

    def __init__(
        self,
        database: Database,
        chain: ChainView,
        federation: Federation,
        metrics: Metrics,
        account: LocalAccount,
    ) -> None:
        self._database = database
        self._chain = chain
        self._manifest = federation.manifest
        self._domain = federation.domain
        self._sender = federation.coordinator
        self._metrics = metrics
        self._account = account

    def begin(self, number: int, commitment: Commitment, signature: bytes) -> Arrival:
        """Check what can be checked before any byte of the update is read; the chain is asked last.

        Raises:
            UpdateRefused: With the code of the first check that fails, up to `round-full`.
        """
        with self._database.read() as session:
            round_ = session.get(Round, number)
            if round_ is None or round_.step == Step.OPENING:
                raise _refused(
                    Reason.ROUND_UNKNOWN, f"There is no round {number}.", "Ask for the current round."
                )
            late = self._accepted_before(session, number, commitment)
            if not late and round_.step == Step.DELIVERY:
                late = self._missing_entry(session, number, commitment) is not None
            if not late and (round_.step != Step.COLLECTING or round_.error is not None):
                raise _closed(round_)
            session.expunge_all()
        if round_.commit_deadline is None:
            raise AssertionError(f"round {number} is open without a deadline")
        header, policy = RoundHeader.decode(round_.header), self._chain.policy(round_.policy_id)
        # A commitment that is on the chain needs no signature; its contributor sent it, or the chain checked.
        claim = None if late else signature
        try:
            check_claim(commitment, claim, header=header, policy=policy, domain=self._domain)
        except UpdateRefused as refusal:
            if refusal.code != Reason.INVALID_SIGNATURE:
                raise
            if not self._contract_accepts(commitment, signature):
                raise _refused(
                    Reason.INVALID_SIGNATURE,
                    refusal.message,
                    "Sign with the contributor's own key. For a contract account that has staked, give --wallet, and "
                    "keys of owners whose signature the contract accepts.",
                ) from refusal
        authenticated = not late or self._signed(commitment, signature)
        arrival = Arrival(
            number, commitment, signature, header, policy, round_.commit_deadline, late, authenticated
        )
        if not late:
            if self._chain.now() >= round_.commit_deadline:
                raise _closed(round_)
            self._chain.check_place(number, commitment.contributor, policy)
            self._check_budget(arrival)
            with self._database.read() as session:
                self._is_new(session, arrival)
        return arrival

    def size(self, arrival: Arrival) -> int:
        """Bytes of an update file of a submission's round."""
        return self._manifest.update_file_size(arrival.header.width)

    def has(self, arrival: Arrival) -> bool:
        """Whether the update was taken in already."""
        with self._database.read() as session:
            return self._accepted_before(session, arrival.round, arrival.commitment)

    def acknowledgement(self, arrival: Arrival) -> str | None:
        """The coordinator's signature that it has an update, 0x-hex; None if it did not come in the commit window."""
        with self._database.read() as session:
            query = select(Update.id).where(
                Update.round == arrival.round,
                Update.commitment_hash == "0x" + arrival.commitment.struct_hash.hex(),
            )
            if session.scalars(query).first() is None:
                return None
        return "0x" + Acknowledgement.of(arrival.commitment, self._account, self._domain).signature.hex()

    def finish(self, arrival: Arrival, writer: Writer) -> bool:
        """Check an update whose bytes have arrived, and take it in.

        Returns:
            Whether it is new; the same update again is fine and changes nothing.

        Raises:
            UpdateRefused: With the code of the first check that fails.
        """
        if writer.size != self.size(arrival):
            raise self.wrong_size(arrival, writer.size)
        try:
            self.check_file(arrival, FileUpdate(writer.path, arrival.header.width))
        except ArtifactError:  # Unfinished uploads are deleted as soon as their round takes no files.
            with self._database.read() as session:
                self._is_new(session, arrival)
            raise
        with self._database.read() as session:
            if not self._is_new(session, arrival):
                writer.discard()
                return False
        stored = writer.keep()
        try:
            return self._accept(arrival, stored)
        except IntegrityError:
            return self._accept(arrival, stored)  # another one of this contributor came first: look again

    def check_file(self, arrival: Arrival, update: FileUpdate) -> None:
        """Make sure that the bytes of an update are what its commitment says.

        Raises:
            UpdateRefused: With the code of the first check that fails.
        """
        check_bytes(update, arrival.commitment, self._manifest)

    def wrong_size(self, arrival: Arrival, size: int) -> UpdateRefused:
        """The refusal of a file that is too short or too long."""
        needed = self.size(arrival)
        return _refused(
            Reason.WRONG_SIZE,
            f"The update has {'more than ' if size > needed else ''}{min(size, needed)} bytes; "
            f"an update of this model has {needed} at width {arrival.header.width}.",
            "Encode the update with the federation's manifest, at the policy's width.",
        )

    def write_down(
        self, number: int, commitment: Commitment, signature: bytes, refusal: UpdateRefused
    ) -> bool:
        """Keep a refusal, with what is known of its author; of many equal ones, the first few.

        Returns:
            Whether it was kept. It is not for a round that there is not, nor for an account that never staked.
        """
        with self._database.read() as session:
            if session.get(Round, number) is None or not self._is_known(session, commitment.contributor):
                return False
        try:
            forged = refusal.code == Reason.INVALID_SIGNATURE
            authenticated = not forged and self._signed(commitment, signature)
        except ChainError:  # A contract can't be asked now, and the refusal is to be kept all the same.
            authenticated = False
        with self._database.write("update-refused") as session:
            same = select(func.count()).where(Refusal.round == number, Refusal.authenticated == authenticated)
            equal = same.where(Refusal.contributor == commitment.contributor, Refusal.reason == refusal.code)
            if (session.scalar(equal) or 0) >= KEPT_REFUSALS:
                self._metrics.refused.labels(refusal.code).inc()
                return False
            if not authenticated and (session.scalar(same) or 0) >= KEPT_FORGERIES:
                return False
            queries.refuse(
                session,
                number,
                commitment.contributor,
                refusal.code,
                refusal.message,
                authenticated=authenticated,
            )
        return True

    # Inside.

    def _signed(self, commitment: Commitment, signature: bytes) -> bool:
        try:
            commitment.check_signature(signature, self._domain)
        except UpdateRefused:
            return self._contract_accepts(commitment, signature)
        return True

    def _contract_accepts(self, commitment: Commitment, signature: bytes) -> bool:
        """Whether the contributor is a contract that accepts a signature. One that never staked is not asked."""
        if not 0 < len(signature) <= MAX_SIGNATURE:
            return False
        with self._database.read() as session:
            if not self._is_known(session, commitment.contributor):
                return False
        ledger = self._domain.verifying_contract
        return accepts(self._chain.rpc, ledger, commitment, signature, self._sender)

    def _is_known(self, session: Session, account: str) -> bool:
        """Whether an account ever staked, as far as events are known."""
        row = session.get(Account, account)
        return row is not None and row.staked

    def _check_budget(self, arrival: Arrival) -> None:
        """Make sure that the update is within the contributor's privacy budget, or a batch with it would revert."""
        contributor, cost, cap = (
            arrival.commitment.contributor,
            arrival.policy.cost,
            arrival.policy.privacy_cap,
        )
        if cost == 0:
            return
        spent = self._chain.ledger.spent(contributor)
        if spent + cost > cap and not self._chain.ledger.has_committed(arrival.round, contributor):
            raise _refused(
                Reason.BUDGET_SPENT,
                f"{contributor} has spent {spent} of its privacy budget of {cap}, and an update costs {cost}.",
                "Take part under a policy with a higher cap, which only a vote can add.",
                spent=str(spent),
                cost=str(cost),
                cap=str(cap),
            )

    def _accept(self, arrival: Arrival, stored: Stored) -> bool:
        commitment = arrival.commitment
        with self._database.write("update-accepted") as session:
            if not self._is_new(session, arrival):
                return False
            if arrival.late:
                entry = self._missing_entry(session, arrival.round, commitment)
                if entry is None:
                    raise AssertionError("a late file is new only if an entry misses it")
                entry.sha256 = stored.sha256
            else:
                session.add(
                    Update(
                        round=arrival.round,
                        contributor=commitment.contributor,
                        commitment=commitment.to_json(),
                        commitment_hash="0x" + commitment.struct_hash.hex(),
                        signature="0x" + arrival.signature.hex(),
                        sha256=stored.sha256,
                        size=stored.size,
                        received_at=datetime.now(UTC),
                    )
                )
                session.flush()
            self._tell(session, arrival, stored)
        return True

    def _is_new(self, session: Session, arrival: Arrival) -> bool:
        """Whether an update that is right in itself is to be taken in; False if it was before."""
        number, commitment = arrival.round, arrival.commitment
        if self._accepted_before(session, number, commitment):
            return False
        round_ = session.get_one(Round, number)
        if arrival.late:
            if round_.step != Step.DELIVERY or self._missing_entry(session, number, commitment) is None:
                raise _closed(round_)
            return True
        if round_.step != Step.COLLECTING:
            raise _closed(round_)
        known = session.scalar(
            select(Update).where(Update.round == number, Update.contributor == commitment.contributor)
        )
        if (
            known is not None
            and known.dropped
            and known.commitment_hash == "0x" + commitment.struct_hash.hex()
        ):
            raise _refused(
                known.dropped, "The chain refused this commitment.", "Take part in the next round."
            )
        on_chain = queries.recorded(session, round_, commitment.contributor)
        if known is not None or any(other.struct_hash != commitment.struct_hash for other, _ in on_chain):
            raise _refused(
                Reason.DUPLICATE,
                f"{commitment.contributor} has another commitment in round {number}.",
                "One update a round is all; a second signed commitment can be slashed.",
            )
        self._check_place(session, round_, commitment.contributor, arrival.policy)
        return True

    def _check_place(self, session: Session, round_: Round, contributor: str, policy: Policy) -> None:
        """Refuse a contributor for whom the round has no place: first come, first served."""
        taken = queries.contributors(session, round_)
        if contributor not in taken and len(taken) >= policy.max_contributors:
            raise _refused(
                Reason.ROUND_FULL,
                f"Round {round_.number} has its {policy.max_contributors} contributors.",
                "Take part in the next round.",
            )

    def _tell(self, session: Session, arrival: Arrival, stored: Stored) -> None:
        row = session.get(Artifact, stored.sha256)
        if row is None:
            session.add(file_row(stored, "update", of=arrival.round, public_from=arrival.deadline))
        elif row.deleted is not None:  # an old update's bytes once more, which this round needs
            if not row.gone:  # Its deletion may have taken the file that has just arrived.
                raise StoreError(
                    f"The file {stored.sha256} is being deleted: it is an old update's.",
                    remedy="Send the update again in a minute.",
                )
            row.deleted, row.gone = None, False
            row.round, row.public_from = arrival.round, arrival.deadline
        elif row.kind == "update" and row.round == arrival.round:
            row.public_from = max(row.public_from, arrival.deadline)
        data = {"round": arrival.round, "contributor": arrival.commitment.contributor, "bytes": stored.size}
        events.append(session, "update-received", data)

    def _missing_entry(self, session: Session, number: int, commitment: Commitment) -> Entry | None:
        """The entry of a commitment, if a late file is taken for it.

        None is taken for a root of which a file has arrived: files are public now, so that whoever sends it may have
        copied it.
        """
        commitment_hash = "0x" + commitment.struct_hash.hex()
        for entry in queries.awaited(session, number):
            if entry.commitment_hash == commitment_hash:
                return entry
        return None

    def _accepted_before(self, session: Session, number: int, commitment: Commitment) -> bool:
        commitment_hash = "0x" + commitment.struct_hash.hex()
        accepted = select(Update.id).where(
            Update.round == number, Update.commitment_hash == commitment_hash, Update.dropped.is_(None)
        )
        delivered = select(Entry.position).where(
            Entry.round == number, Entry.commitment_hash == commitment_hash, Entry.sha256.is_not(None)
        )
        return any(session.scalars(query).first() is not None for query in (accepted, delivered))


def _refused(reason: str, message: str, remedy: str, **details: str) -> UpdateRefused:
    return UpdateRefused(message, remedy=remedy, code=str(reason), details=details)


def _closed(round_: Round) -> UpdateRefused:
    why = round_.error if round_.step == Step.COLLECTING and round_.error else "Its commit window is over."
    return _refused(
        Reason.ROUND_CLOSED,
        f"Round {round_.number} takes no updates. {why}",
        "Take part in the next round.",
    )
