# SPDX-License-Identifier: Apache-2.0
"""Who has a place in a round: enrolments, the list of members, and the draw of places, under the ledger's rules."""

from __future__ import annotations

from folkmoot.audit.failure import Subject, require, require_that
from folkmoot.audit.history import History
from folkmoot.audit.ledger_state import CHECK, MAX_MISSED, Ledger, Missable, missed_in_a_row
from folkmoot.audit.stakes import Stakes
from folkmoot.chain.terms import ZERO_ADDRESS
from folkmoot.ledger.admission import LeaveReason
from folkmoot.ledger.entries import UpdateCommitted
from folkmoot.ledger.events import Left, PlacesDrawn, Redrawn, RoundAnchored
from folkmoot.ledger.replay import Round
from folkmoot.protocol.places import REDRAW_BLOCKS, has_place, is_crowd, seed_of
from folkmoot.rpc.client import Basis, Phase


def draw_places(ledger: Ledger, replayed: Round, event: PlacesDrawn) -> None:
    """Check a draw of places. All of it is recomputed from its basis."""
    subject = Subject(check=CHECK, round=event.round, event=event)
    require(subject, "an earlier draw of places", None, replayed.drawn)
    require(subject, "the transaction of the draw of places", replayed.opened.transaction, event.transaction)
    require(subject, "the quota of a place", ledger.quota, event.quota)
    if ledger.basis is not None:
        require(subject, "the time of the draw's basis", ledger.basis.at, event.at)
        require(subject, "the seed of the draw", seed_of(ledger.basis_hash), event.seed)
        policy = replayed.policy
        if is_crowd(ledger.basis.total, policy.max_contributors, policy.min_stake):
            ledger.drawn_on = ledger.basis


def note_basis(ledger: Ledger, stakes: Stakes, event: RoundAnchored | Redrawn, time: int) -> None:
    """Note what the next draw rests on."""
    ledger.basis = Basis(stakes.total_enrolled_before(event), time, event.block)
    ledger.basis_hash = event.block_hash


def redraw(history: History, ledger: Ledger, stakes: Stakes, event: Redrawn) -> None:
    """Apply a new basis without an anchor: only if the last one is too old, and longer if places were drawn on it."""
    subject = Subject(check=CHECK, event=event)
    if ledger.basis is not None:
        least = ledger.basis.block + REDRAW_BLOCKS
        require_that(event.block >= least, subject, "the block of the redraw", f"from {least}", event.block)
        kept_until, time = ledger.basis.at + history.storage.unbonding_period, history.time(event)
        if ledger.drawn_on is not None and ledger.drawn_on.block == ledger.basis.block:
            require_that(time >= kept_until, subject, "the time of the redraw", f"from {kept_until}", time)
    require(subject, "the sum of all enrolled stake", stakes.total_enrolled_before(event), event.total)
    note_basis(ledger, stakes, event, history.time(event))


def require_place(subject: Subject, replayed: Round, stakes: Stakes, event: UpdateCommitted) -> None:
    """Check that an account has a place in a round, and that one is left.

    The coordinator needs the minimum stake alone. Everybody else must have enrolled before the opening, with at least
    the minimum stake, and in a crowd with a quota or with a lot that gives a place.
    """
    account, least, own = event.contributor, replayed.policy.min_stake, False
    if account == replayed.opened.coordinator:
        own = True
        stake = stakes.stake_before(account, event)
        require_that(stake >= least, subject, f"the stake of {account}", f"at least {least}", stake)
    else:
        enrolled = stakes.enrolled_before(account, event)
        require_that(
            enrolled >= least, subject, f"the enrolled stake of {account}", f"at least {least}", enrolled
        )
        since = stakes.since_before(account, event)
        require_that(
            since < replayed.enrolled_by,
            subject,
            f"since when {account} is enrolled",
            f"before {replayed.enrolled_by}",
            since,
        )
        quota, _, seed = replayed.draw
        require_that(
            has_place(quota, seed, account, enrolled),
            subject,
            f"the place of {account}",
            f"a quota of {quota}, or a lot that gives a place",
            enrolled,
        )
    limit = replayed.policy.max_contributors if own else replayed.places
    require_that(event.index < limit, subject, "the number of entries", f"at most {limit}", event.index + 1)


def leave(
    history: History,
    ledger: Ledger,
    stakes: Stakes,
    event: Left,
    time: int,
) -> None:
    """Apply a leave or a removal: for too little stake at any time, for the rest only while no round is open."""
    subject = Subject(check=CHECK, event=event)
    last = ledger.rounds.get(len(ledger.rounds))
    taking = last if last is not None and last.phase == Phase.OPEN and time < last.commit_deadline else None
    stake = stakes.enrolled_before(event.account, event)
    since = stakes.since_before(event.account, event)
    rounds = (
        _missable(ledger.rounds[number], event.account, since, stake)
        for number in range(len(ledger.rounds), 0, -1)
    )
    missed = missed_in_a_row(event.account, since, rounds)
    reason = ledger.roll.leave(subject, event)
    if reason == LeaveReason.OWN:
        return
    least = (taking.policy if taking else ledger.policies[ledger.policy]).min_stake
    what = f"the enrolled stake of {event.account}"
    if reason == LeaveReason.STAKE_TOO_LOW:
        require_that(stake < least, subject, what, f"below {least}", stake)
        return
    require_that(stake >= least, subject, what, f"at least {least}", stake)
    require_that(taking is None, subject, "the commit window", "over", "still open")
    if reason == LeaveReason.NOT_ADMITTED:
        # What another admission contract than a list of members said at that block can't be read back from its events.
        require_membership(history, ledger, subject, event.account, False)
        require_that(
            history.storage.limits.admission != ZERO_ADDRESS,
            subject,
            "the contract that admits accounts",
            "one",
            "none",
        )
        return
    require(subject, f"the rounds that {event.account} missed in a row", MAX_MISSED, missed)


def require_membership(
    history: History, ledger: Ledger, subject: Subject, account: str, member: bool
) -> None:
    """Check whether an account is a member, in a federation with a list of members."""
    if history.deployment.members is not None:
        what = f"whether {account} is a member"
        require(subject, what, member, ledger.admitted.get(account, False))


def _missable(replayed: Round, account: str, since: int, enrolled: int) -> Missable:
    """Return whether an account could miss a round: a place was left for it, in a crowd because it was drawn."""
    quota, _, seed = replayed.draw
    counts = (
        replayed.stands
        and since < replayed.enrolled_by
        and has_place(quota, seed, account, enrolled)
        and len(replayed.commits) < replayed.places
    )
    return Missable(replayed.number, replayed.opened_at, counts, replayed.contributors.keys())
