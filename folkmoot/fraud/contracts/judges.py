# SPDX-License-Identifier: Apache-2.0
"""Actions of a watcher without a proof: demand data, open a dispute, prove a censored delivery.

The contracts are the judges of the arbiter in a round's policy, identified by their answers. Each function of this
module is one call (contracts/src/interfaces/IDataAvailability.sol, IDisputes.sol, IContributorFaults.sol).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from folkmoot.chain.client import event_of
from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.errors import ContractRefused, RpcError
from folkmoot.fraud.contracts.challenge import judges as judges_of
from folkmoot.fraud.contracts.challenge import transact
from folkmoot.fraud.contracts.record import Replay
from folkmoot.fraud.proofs import proof as proofs
from folkmoot.fraud.proofs.availability import Call, DataKind, Node, Status
from folkmoot.fraud.proofs.case import Case, Committed, Dispute, unopened
from folkmoot.fraud.proofs.finding import Finding
from folkmoot.ledger import packaged
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import Answered, Demanded, Event
from folkmoot.ledger.scan import decode_log
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.policy import NO_VERIFIER, Policy
from folkmoot.rpc.client import Contract, Rpc, TokenReader, wrong_contract

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.types import TxReceipt

MOST_DEMANDS = 16
"""Demands of a watcher about a round, at most: two walks to a leaf of the largest tree. The contract has no limit."""

MOST_REASON = 500
"""Maximum length in characters of a dispute's reason."""

EARLIER_PART = 10
"""A dispute that began a tenth of the time for a decision ago is joined."""

_DISPUTE_NONE, _DISPUTE_OPEN, _DISPUTE_DISMISSED = 0, 1, 3  # of `IDisputes.Status`
_AVAILABILITY, _DISPUTES, _FAULTS = "data_availability", "disputes", "contributor_faults"


@dataclass(frozen=True)
class Asked:
    """A demand that was sent."""

    demand: int
    """Its number."""
    about: Node
    """What is demanded."""
    answer_by: int
    """Unix time until which it can be answered."""
    deposit: int
    """Deposit in units of 1e-18 tokens."""
    transaction: str
    """Hash of its transaction."""
    gas: int
    """Gas used by the transaction."""


@dataclass(frozen=True)
class StoredDemand:
    """A demand, as the contract has it."""

    round: int
    until: int
    """Unix time until which it can be answered; of an answered one, until which one can descend from it at least."""
    about: Node
    """What is demanded."""
    status: Status
    demander: str
    """Account that made it."""
    hash: bytes
    """Hash that the answer must have; of a list that was shown, its keccak256."""


@dataclass(frozen=True)
class Judges:
    """Addresses of a round's judges by task; None if the arbiter has none."""

    availability: str | None = None
    """Judge for demands."""
    disputes: str | None = None
    faults: str | None = None
    """Judge for proofs against contributors."""


def find_judges(rpc: Rpc, policy: Policy) -> Judges:
    """Return the judges of a policy's rounds; none if it has no verifier."""
    if policy.verifier == NO_VERIFIER:
        return Judges()
    by_task: dict[str, str] = {}
    asked = (
        ("availability", _AVAILABILITY, "answerWindow"),
        ("disputes", _DISPUTES, "decisionWindow"),
        ("faults", _FAULTS, "MIN_REPLAY_SQUARES"),
    )
    for judge in judges_of(rpc, policy.verifier):
        for task, role, question in asked:
            try:
                Contract(rpc, judge, role).read(question)
            except ContractRefused:
                continue
            except RpcError as error:
                if error.code == "wrong-contract":
                    continue
                raise
            by_task.setdefault(task, judge)
    return Judges(**by_task)


# Demands


def demand(
    rpc: Rpc,
    deployment: Deployment,
    judge: str,
    call: Call,
    account: LocalAccount,
    notes: TransactionJournal | None = None,
    purpose: str = "",
) -> Asked:
    """Send a demand, with the deposit.

    Args:
        deployment: The addresses.
        judge: Contract for demands.
        call: The demand: a root, a file, or a step down.
        account: Account that demands.
        notes: Journal in which the transaction is recorded before it is sent; None for none.
        purpose: As for `Chain.send`. A demand that an interrupted call sent for the same purpose is returned instead.

    Raises:
        ChainError: It could not be sent, or was refused.
        ChallengeFailed: The round can't be challenged any more.
    """
    deposit = int(Contract(rpc, judge, _AVAILABILITY).read("deposit"))
    _allow(rpc, deployment, judge, deposit, account, notes)
    send = getattr(Contract(rpc, judge, _AVAILABILITY).functions, call.function)(*call.arguments)
    return asked(rpc, judge, transact(rpc, account, send, notes=notes, purpose=purpose), deposit)


def asked(rpc: Rpc, judge: str, receipt: TxReceipt, deposit: int) -> Asked:
    """Return the demand of a transaction.

    Raises:
        RpcError: The endpoint failed, or its receipt has no such event.
    """
    event = event_of(rpc, receipt, {judge: _AVAILABILITY}, Demanded)
    about = Node(DataKind(event.what), event.entry, event.level, event.index)
    transaction = receipt["transactionHash"].to_0x_hex()
    return Asked(event.demand, about, event.answer_by, deposit, transaction, receipt["gasUsed"])


def stored_demand(rpc: Rpc, judge: str, number: int) -> StoredDemand:
    """Return a demand, as the contract has it.

    Raises:
        RpcError: The endpoint failed, or the contract is another one.
    """
    stored = Contract(rpc, judge, _AVAILABILITY).read("demands", number)
    round_, until, what, status, entry, _, level, index, demander, hash_ = stored
    try:
        about = Node(DataKind(what), entry, level, index)
        return StoredDemand(round_, until, about, Status(status), demander, hash_)
    except ValueError as error:
        raise wrong_contract(judge, "demands(uint256)") from error


def demand_of(rpc: Rpc, judge: str, round_: int, about: Node) -> int:
    """Return the number of the demand for a node or file, whoever made it; 0 if there is none."""
    key = (round_, int(about.what), about.entry, about.level, about.index)
    return int(Contract(rpc, judge, _AVAILABILITY).read("demandOf", *key))


def answer(rpc: Rpc, judge: str, number: int, from_block: int) -> tuple[bytes, bytes]:
    """Return the answer to a demand, and the root beside it (`DataAvailability.Answered`).

    Raises:
        RpcError: The endpoint failed, or does not have the event.
    """
    for event in _events(rpc, judge, from_block, ["0x" + _topic("Answered").hex(), f"0x{number:064x}"]):
        if isinstance(event, Answered):
            return event.values, event.other
    raise rpc.nonsense("eth_getLogs", [])


def demands_of(rpc: Rpc, judge: str, round_: int, demander: str, from_block: int) -> list[int]:
    """Return the numbers of an account's demands about a round, from the chain.

    Args:
        judge: Contract for demands.
        demander: The account.
        from_block: Block of the round's anchor, or an earlier one.

    Raises:
        RpcError: The endpoint failed, or its logs are malformed.
    """
    topics = ["0x" + _topic("Demanded").hex(), None, f"0x{round_:064x}", f"0x{int(demander, 16):064x}"]
    events = _events(rpc, judge, from_block, topics)
    return [event.demand for event in events if isinstance(event, Demanded)]


def _events(rpc: Rpc, judge: str, from_block: int, topics: Sequence[str | None]) -> list[Event]:
    query = {"address": judge, "fromBlock": hex(from_block), "toBlock": "latest", "topics": topics}
    decoded = (decode_log(log, {judge: _AVAILABILITY}) for log in rpc.logs(query))
    return [event for event in decoded if event is not None]


def prove_withheld(
    rpc: Rpc, judge: str, number: int, account: LocalAccount, notes: TransactionJournal
) -> str:
    """Void a round whose demand nobody answered; return the transaction's hash."""
    return _send(rpc, account, notes, _AVAILABILITY, judge, "proveWithheld", number, purpose=f"{number}")


def release(rpc: Rpc, judge: str, number: int, account: LocalAccount, notes: TransactionJournal) -> None:
    """Get the deposit of a demand back whose round is closed."""
    _send(rpc, account, notes, _AVAILABILITY, judge, "release", number, purpose=f"{number}")


# Deliveries on the chain


def censored(rpc: Rpc, judge: str, case: Case) -> int | None:
    """Return the first entry that was delivered on the chain but anchored as not delivered."""
    for index, entry in enumerate(case.entries):
        if case.delivered(index):
            continue
        delivery = case.round, entry.contributor, entry.update_root
        parts, missing, squares = Contract(rpc, judge, _AVAILABILITY).read("deliveries", *delivery)
        if parts and not missing and squares == entry.sum_squares:
            return index
    return None


def prove_censored(
    rpc: Rpc, judge: str, finding: Finding, entry: int, account: LocalAccount, notes: TransactionJournal
) -> str:
    """Void a round in which a delivered update was left out; return the transaction's hash."""
    case = finding.case
    arguments = (case.round, case.anchor.abi_tuple(), unopened(case.entries), entry)
    purpose = f"entry {entry} of round {case.round}, anchor {case.anchor.hash.hex()}"
    return _send(rpc, account, notes, _AVAILABILITY, judge, "proveCensored", *arguments, purpose=purpose)


# Disputes and contributors


def dispute(
    rpc: Rpc,
    deployment: Deployment,
    judge: str,
    case: Case,
    what: Dispute,
    account: LocalAccount,
    notes: TransactionJournal,
    now: int,
) -> str | None:
    """Open the dispute about a round, or join it; return the transaction's hash, or None if there is nothing to do.

    One that was opened just now serves as well. One that began earlier may be a sham that leaves voters no time:
    whoever joins gives them the whole time again.

    Raises:
        ChainError: It could not be sent, or was refused.
    """
    disputes = Contract(rpc, judge, _DISPUTES)
    _, decide_by, status, _, _ = disputes.read("disputes", case.round)
    if status == _DISPUTE_OPEN:
        window = disputes.read("decisionWindow")
        began = decide_by - window
        if now - began < window // EARLIER_PART or has_deposit(rpc, judge, case.round, account.address):
            return None
    elif status not in (_DISPUTE_NONE, _DISPUTE_DISMISSED):
        return None
    _allow(rpc, deployment, judge, int(disputes.read("deposit", case.round)), account, notes)
    reason = f"{what.text} Expected: {what.expected}. Anchored: {what.actual}."[:MOST_REASON]
    purpose = f"round {case.round}, anchor {case.anchor.hash.hex()}, until {decide_by}"
    return _send(rpc, account, notes, _DISPUTES, judge, "open", case.round, reason, purpose=purpose)


def release_dispute(
    rpc: Rpc, judge: str, round_: int, account: LocalAccount, notes: TransactionJournal
) -> None:
    """Get a deposit back from the dispute about a round that is over, if it is still there."""
    if has_deposit(rpc, judge, round_, account.address):
        purpose = f"dispute about round {round_}"
        _send(rpc, account, notes, _DISPUTES, judge, "release", round_, account.address, purpose=purpose)


def is_disputed(rpc: Rpc, judge: str, round_: int) -> bool:
    """Return whether a dispute about a round waits for a vote."""
    return bool(Contract(rpc, judge, _DISPUTES).read("disputes", round_)[2] == _DISPUTE_OPEN)


def has_deposit(rpc: Rpc, judge: str, round_: int, account: str) -> bool:
    """Return whether an account has a deposit in the dispute about a round."""
    return bool(Contract(rpc, judge, _DISPUTES).read("hasDeposit", round_, account))


def prove_false_tree(
    rpc: Rpc, judge: str, finding: Finding, entry: int, account: LocalAccount, notes: TransactionJournal
) -> str:
    """Slash a contributor for an invalid update tree; return the transaction's hash."""
    number, _, layout, document = finding.case.brought(finding.material.manifest)
    entries, fault = unopened(finding.case.entries), proofs.fault_of(finding, entry)
    arguments = (number, layout, document, entries, fault)
    purpose = f"entry {entry} of round {number}"
    return _send(rpc, account, notes, _FAULTS, judge, "proveFalseTree", *arguments, purpose=purpose)


def prove_replay(
    rpc: Rpc,
    judge: str,
    replay: Replay,
    copies: Iterable[Committed],
    originals: Iterable[Committed],
    account: LocalAccount,
    notes: TransactionJournal,
) -> str:
    """Slash a contributor for a replayed update of an earlier round; return the transaction's hash.

    Args:
        judge: Contract for proofs against contributors.
        replay: The copy, and where its original is.
        copies: All entries of the copy's round.
        originals: All entries of the earlier round.
        account: Who sends.
        notes: Where it is noted before it is sent.
    """
    earlier = replay.earlier, unopened(originals), replay.earlier_entry
    arguments = (replay.round, unopened(copies), replay.entry, *earlier)
    purpose = f"entry {replay.entry} of round {replay.round}"
    return _send(rpc, account, notes, _FAULTS, judge, "proveReplay", *arguments, purpose=purpose)


def least_replay(rpc: Rpc, judge: str) -> int:
    """Return the sum of squares from which on an equal update is a replay."""
    return int(Contract(rpc, judge, _FAULTS).read("MIN_REPLAY_SQUARES"))


def _send(
    rpc: Rpc,
    account: LocalAccount,
    notes: TransactionJournal,
    contract: str,
    judge: str,
    function: str,
    *arguments: Any,
    purpose: str,
) -> str:
    """Call a judge once for a purpose, and return the transaction's hash."""
    call = getattr(Contract(rpc, judge, contract).functions, function)(*arguments)
    receipt = transact(rpc, account, call, notes=notes, purpose=f"{function}: {purpose}", once=True)
    return str(receipt["transactionHash"].to_0x_hex())


def _allow(
    rpc: Rpc,
    deployment: Deployment,
    judge: str,
    deposit: int,
    account: LocalAccount,
    notes: TransactionJournal | None,
) -> None:
    """Let a judge take its deposit."""
    token = TokenReader(rpc, deployment.token)
    if token.allowance(account.address, judge) < deposit:
        # To allow it twice does no harm, and after the next demand it has to be allowed again.
        transact(rpc, account, token.functions.approve(judge, deposit), notes=notes, harmless=True)


def _topic(name: str) -> bytes:
    entry = next(entry for entry in packaged.contract(_AVAILABILITY).abi if entry.get("name") == name)
    return keccak(packaged.signature_of(entry).encode())
