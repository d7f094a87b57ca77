# SPDX-License-Identifier: Apache-2.0
"""Replay every round from the ledger's events under the ledger's rules.

`replay` repeats the rules of the ledger (contracts/src/RoundLedger.sol): each event is validated against the state
after the previous events, then applied. Finally, all replayed values are compared with the ledger's storage. `places`
and `judgments` have the rules for who may commit and for what the arbiter does.
"""

from __future__ import annotations

from collections.abc import Mapping

from folkmoot.audit.failure import Subject, mismatch, require, require_that
from folkmoot.audit.history import History
from folkmoot.audit.judgments import check_judgments, fault, postpone, slash
from folkmoot.audit.ledger_state import CHECK, Ledger, genesis_view, view_of
from folkmoot.audit.places import draw_places, leave, note_basis, redraw, require_membership, require_place
from folkmoot.audit.stakes import Stakes
from folkmoot.chain.terms import ZERO_ADDRESS
from folkmoot.ledger.entries import UpdateCommitted
from folkmoot.ledger.events import (
    BondLocked,
    BondUnlocked,
    CommitsClosed,
    ContributorSlashed,
    CoordinatorAppointed,
    Enrolled,
    Event,
    Left,
    PlacesDrawn,
    Redrawn,
    RewardCredited,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundPostponed,
    RoundSettled,
    RoundSlashed,
    Slashed,
    UpdatesCommitted,
)
from folkmoot.ledger.replay import CancelReason, Round
from folkmoot.ledger.stakes import MAX_PENDING_ROUNDS
from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.places import quota_of
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.rpc.client import Basis, Head, Phase, RoundView


def replay(history: History, policies: Mapping[int, Policy], stakes: Stakes, genesis_root: bytes) -> Ledger:
    """Replay the ledger's events.

    Args:
        policies: The policies by number.
        stakes: The folded stakes.
        genesis_root: State root of the genesis, from its file.
    """
    created = next(event for event in history.events if event.contract == "ledger")
    ledger = Ledger(policies=dict(policies), genesis_root=genesis_root, created_at=history.time(created))
    block = history.vault_created
    if block is not None:
        ledger.basis, ledger.basis_hash = Basis(0, block.timestamp, block.number), block.hash
    slashes = [event for event in history.events if isinstance(event, Slashed)]
    for event in history.events:
        ledger.bonds.begin(event)
        _require_prompt(ledger, event)
        if isinstance(event, BondLocked | BondUnlocked):
            ledger.bonds.match(event)
        if isinstance(event, Redrawn):
            redraw(history, ledger, stakes, event)
        if event.contract in ("ledger", "rewards"):
            _check(history, ledger, stakes, slashes, event)
        if not isinstance(event, UpdatesCommitted):
            ledger.apply(event)
    ledger.bonds.end()
    _require_prompt(ledger, None)
    for event in slashes:  # Cancelled rounds without a slashing.
        raise mismatch(
            Subject(check=CHECK, event=event),
            "the reason of the slashing",
            "a slashed round or a contributor's fault",
            None,
        )
    check_judgments(history, ledger)
    for account, amount in history.storage.spent.items():
        subject = Subject(check="entries", contributor=account)
        require(subject, "the spent privacy budget", ledger.spent.get(account, 0), amount)
    return ledger


def check_rounds(history: History, ledger: Ledger) -> None:
    """Compare the replayed rounds with the stored ones, field by field."""
    storage, subject = history.storage, Subject(check=CHECK)
    require(subject, "the next round", len(ledger.rounds) + 1, storage.next_round)
    for number, stored in storage.rounds.items():
        expected = genesis_view(ledger) if number == 0 else view_of(ledger, ledger.rounds[number])
        for name in RoundView.__dataclass_fields__:
            if (
                number and name == "entries_hash"
            ):  # A separate check, after the one that names the contributor.
                continue
            require(
                Subject(check=CHECK, round=number),
                f"the stored {name.replace('_', ' ')}",
                getattr(expected, name),
                getattr(stored, name),
            )
        if number:
            require(
                Subject(check=CHECK, round=number),
                "the stored draw of places",
                ledger.rounds[number].draw,
                storage.draws.get(number),
            )
    require(subject, "the head", Head(ledger.head, ledger.state_root(ledger.head)), storage.ledger_head)
    require(subject, "the number of pending rounds", ledger.pending, storage.pending_rounds)
    require(subject, "the coordinator", ledger.coordinator, storage.coordinator)
    require(subject, "the list of members", ledger.admitted, storage.admitted)
    if ledger.basis is not None:
        require(subject, "the basis of the next draw", ledger.basis, storage.basis)


def _check(history: History, ledger: Ledger, stakes: Stakes, slashes: list[Slashed], event: Event) -> None:
    """Check an event against the state before it, and note what the rules need of it. It is applied afterwards."""
    time = history.time(event)
    match event:
        case CoordinatorAppointed():
            if ledger.coordinator:
                subject = Subject(check=CHECK, event=event)
                require(subject, "the previous coordinator", ledger.coordinator, event.previous)
        case RoundOpened():
            _open(history, ledger, stakes, event, time)
        case PlacesDrawn():
            draw_places(ledger, _known(ledger, event, event.round), event)
        case Enrolled():
            least = ledger.policies[ledger.policy].min_stake
            subject = Subject(check=CHECK, event=event)
            require_membership(history, ledger, subject, event.account, True)
            require_that(
                event.amount >= least,
                subject,
                f"the stake that {event.account} enrols",
                f"at least {least}",
                event.amount,
            )
            ledger.roll.members.add(event.account)
        case Left():
            leave(history, ledger, stakes, event, time)
        case CommitsClosed():
            _close(ledger, _known(ledger, event, event.round), stakes, event, time)
        case UpdatesCommitted():
            replayed = _known(ledger, event, event.round)
            before = len(replayed.commits)
            ledger.apply(event)  # At once: the entries of an event are decoded once.
            contributors = replayed.contributors
            for index, entry in enumerate(replayed.commits[before:], before):
                first = contributors[entry.contributor] == index
                _commit(replayed, stakes, index, first, entry, time)
                _charge(ledger, replayed, entry)
        case RoundAnchored():
            _anchor(ledger, _known(ledger, event, event.round), event, time)
            note_basis(ledger, stakes, event, time)
        case RoundFinalized():
            _finalize(ledger, _known(ledger, event, event.round), event, time)
        case RoundCancelled():
            _cancel(ledger, _known(ledger, event, event.round), event, time)
        case RoundSlashed():
            slash(ledger, _known(ledger, event, event.round), slashes, event)
        case ContributorSlashed():
            fault(history, _known(ledger, event, event.round), stakes, slashes, event, time)
        case RoundPostponed():
            postpone(history, _known(ledger, event, event.round), event)
        case RoundSettled():
            replayed = _known(ledger, event, event.round)
            subject = Subject(check=CHECK, round=event.round, event=event)
            require(subject, "the phase", Phase.FINAL.name, replayed.phase.name)
            require(subject, "an earlier settlement", None, replayed.settled)
        case RewardCredited():
            if event.round not in ledger.rounds:
                subject = Subject(check="rewards", round=event.round, event=event)
                raise mismatch(subject, "the round of the reward", "one that was opened", None)
        case _:
            pass  # Other modules check rewards and roles.


def _require_prompt(ledger: Ledger, event: Event | None) -> None:
    """Check that the events follow that must come at once: a draw after an opening, a cancellation after a slashing.

    Args:
        ledger: The ledger before the event.
        event: The next event; None after the last one.
    """
    if ledger.falling is not None and not isinstance(event, RoundCancelled):
        raise mismatch(
            Subject(check=CHECK, round=ledger.falling.round, event=ledger.falling),
            "the cancellation of the open round",
            f"one of round {len(ledger.rounds)}",
            None,
        )
    last = ledger.rounds.get(len(ledger.rounds))
    if last is not None and ledger.quota and last.drawn is None and not isinstance(event, PlacesDrawn):
        raise mismatch(
            Subject(check=CHECK, round=last.number, event=last.opened),
            "the draw of places",
            f"one with the quota {ledger.quota}",
            None,
        )


def _open(
    history: History,
    ledger: Ledger,
    stakes: Stakes,
    event: RoundOpened,
    time: int,
) -> None:
    subject = Subject(check=CHECK, round=event.round, event=event)
    require(subject, "the number of the round", len(ledger.rounds) + 1, event.round)
    previous = ledger.rounds.get(event.round - 1)
    require_that(
        previous is None or previous.phase != Phase.OPEN, subject, "the round before", "over", "still open"
    )
    require(subject, "the base", ledger.head, event.base)
    require(subject, "the base state root", ledger.state_root(ledger.head), event.base_state_root)
    require(subject, "the policy", ledger.policy, event.policy_id)
    require_that(
        event.policy_id in ledger.policies, subject, "the policy", "one that was added", event.policy_id
    )
    require(subject, "the coordinator", ledger.coordinator, event.coordinator)
    require_that(
        ledger.pending < MAX_PENDING_ROUNDS,
        subject,
        "the number of pending rounds",
        f"below {MAX_PENDING_ROUNDS}",
        ledger.pending,
    )
    policy = ledger.policies[event.policy_id]
    if event.base:
        earliest = ledger.rounds[event.base].opened_at + policy.interval
        require_that(time >= earliest, subject, "the time of the opening", f"{earliest} or later", time)
    commit_deadline = time + policy.commit_window
    require(subject, "the commit deadline", commit_deadline, event.commit_deadline)
    require(subject, "the anchor deadline", commit_deadline + policy.anchor_window, event.anchor_deadline)
    ledger.quota = 0
    if history.storage.limits.admission == ZERO_ADDRESS:
        # Before the first anchor, the basis has no enrolled stake, wherever the vault was created.
        total = ledger.basis.total if ledger.basis else 0
        now = stakes.total_enrolled_before(event)
        ledger.quota = quota_of(total, policy.max_contributors, policy.min_stake, now)
    ledger.bonds.lock(event, event.coordinator, policy.bond)


def _commit(
    replayed: Round, stakes: Stakes, index: int, first: bool, event: UpdateCommitted, time: int
) -> None:
    subject = Subject(check="entries", round=event.round, contributor=event.contributor, event=event)
    policy = replayed.policy
    require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
    require_that(
        time < replayed.commit_deadline,
        subject,
        "the time of the commitment",
        f"before {replayed.commit_deadline}",
        time,
    )
    require(subject, "the index of the entry", index, event.index)
    require_that(
        first,
        subject,
        "the commitment",
        "the contributor's only one",
        "a second one",
    )
    require_that(
        event.sum_squares <= policy.max_sum_squares,
        subject,
        "the sum of squares",
        f"at most {policy.max_sum_squares}",
        event.sum_squares,
    )
    require_that(
        event.sum_squares >= policy.min_sum_squares,
        subject,
        "the sum of squares",
        f"at least {policy.min_sum_squares}",
        event.sum_squares,
    )
    require_place(subject, replayed, stakes, event)


def _charge(ledger: Ledger, replayed: Round, event: UpdateCommitted) -> None:
    """Add what an entry costs of its contributor's privacy budget, which stays spent whatever becomes of the round."""
    policy = replayed.policy
    if policy.noise1024 == 0:
        return
    spent = ledger.spent.get(event.contributor, 0) + policy.cost
    require_that(
        spent <= policy.privacy_cap,
        Subject(check="entries", round=event.round, contributor=event.contributor, event=event),
        "the spent privacy budget",
        f"at most {policy.privacy_cap}",
        spent,
    )
    ledger.spent[event.contributor] = spent


def _close(ledger: Ledger, replayed: Round, stakes: Stakes, event: CommitsClosed, time: int) -> None:
    """Apply the early end of a commit window: the round is full, or without a crowd all counted accounts committed."""
    subject = Subject(check=CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
    require_that(
        time < replayed.commit_deadline,
        subject,
        "the time of the closing",
        f"before {replayed.commit_deadline}",
        time,
    )
    policy, entries = replayed.policy, len(replayed.commits)
    if entries < replayed.places:
        least = replayed.places if replayed.drawn else policy.min_contributors
        require_that(entries >= least, subject, "the number of entries", f"at least {least}", entries)
        counted = ledger.roll.counted(lambda account: stakes.since_before(account, event), replayed.opened_at)
        require_that(bool(counted), subject, "the enrolled accounts that count", "at least one", 0)
        require(
            subject,
            "the enrolled accounts without a commitment",
            [],
            sorted(counted - replayed.contributors.keys()),
        )
    require(subject, "the commit deadline", time, event.commit_deadline)
    require(subject, "the anchor deadline", time + policy.anchor_window, event.anchor_deadline)


def _anchor(ledger: Ledger, replayed: Round, event: RoundAnchored, time: int) -> None:
    subject = Subject(check=CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
    policy = replayed.policy
    require_that(
        replayed.commit_deadline <= time < replayed.anchor_deadline,
        subject,
        "the time of the anchor",
        f"from {replayed.commit_deadline} and before {replayed.anchor_deadline}",
        time,
    )
    entries = len(replayed.commits)
    require_that(
        entries >= policy.min_contributors,
        subject,
        "the number of entries",
        f"at least {policy.min_contributors}",
        entries,
    )
    require(subject, "the number of weights", entries, len(event.anchor.weights))
    total = sum(event.anchor.weights)
    require_that(1 <= total <= MAX_WEIGHT_SUM, subject, "the sum of weights", f"1 to {MAX_WEIGHT_SUM}", total)
    require(subject, "the number of pays", entries if policy.has_pays else 0, len(event.anchor.pays))
    for index, (weight, pay) in enumerate(zip(event.anchor.weights, event.anchor.pays, strict=False)):
        most = FULL_PAY if weight else 0
        require_that(pay <= most, subject, f"the pay of entry {index}", f"at most {most}", pay)
    require(subject, "the challenge deadline", time + policy.challenge_window, event.challenge_deadline)
    ledger.positions[event.round] = ledger.length


def _finalize(ledger: Ledger, replayed: Round, event: RoundFinalized, time: int) -> None:
    subject = Subject(check=CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.ANCHORED.name, replayed.phase.name)
    require_that(
        time >= replayed.challenge_deadline,
        subject,
        "the time of the finality",
        f"from {replayed.challenge_deadline}",
        time,
    )
    base = Phase.FINAL if replayed.base == 0 else ledger.rounds[replayed.base].phase
    require(subject, f"the phase of the base, round {replayed.base}", Phase.FINAL.name, base.name)
    require(subject, "the state root", ledger.state_root(event.round), event.state_root)
    ledger.finals += 1
    ledger.bonds.unlock(event, replayed.opened.coordinator, replayed.policy.bond)


def _cancel(ledger: Ledger, replayed: Round, event: RoundCancelled, time: int) -> None:
    subject = Subject(check=CHECK, round=event.round, event=event)
    require_that(event.reason in list(CancelReason), subject, "the reason", "0 to 3", event.reason)
    reason = CancelReason(event.reason)
    falling, ledger.falling = ledger.falling, None
    if falling is not None:
        require(subject, "the transaction of the cancellation", falling.transaction, event.transaction)
        require(subject, "the round that is cancelled", len(ledger.rounds), event.round)
        require(subject, "the reason", CancelReason.BASE_VOIDED.name, reason.name)
    elif reason == CancelReason.BASE_VOIDED:
        # The round is void since the slashing; its bond is released now.
        void = replayed.anchored is not None and replayed.cancelled == CancelReason.BASE_VOIDED
        require_that(void, subject, "the round", "one that is void", replayed.phase.name)
        require(subject, "an earlier release of the bond", None, replayed.cancellation)
    elif reason == CancelReason.EMPTY:
        require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
        require(subject, "the number of entries", 0, len(replayed.commits))
    else:
        require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
        enough = len(replayed.commits) >= replayed.policy.min_contributors
        deadline = replayed.anchor_deadline if enough else replayed.commit_deadline
        expected = CancelReason.ANCHOR_LATE if enough else CancelReason.TOO_FEW_UPDATES
        require(subject, "the reason", expected.name, reason.name)
        require_that(time >= deadline, subject, "the time of the cancellation", f"from {deadline}", time)
    ledger.bonds.unlock(event, replayed.opened.coordinator, replayed.policy.bond)


def _known(ledger: Ledger, event: Event, number: int) -> Round:
    replayed = ledger.rounds.get(number)
    if replayed is None:
        raise mismatch(
            Subject(check=CHECK, round=number, event=event), "the round", "one that was opened", None
        )
    return replayed
