# SPDX-License-Identifier: Apache-2.0
"""What must be true of a world at its end, read from the chain, the database and the audit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from folkmoot.chain.client import Chain
from folkmoot.ledger.entries import entries_of
from folkmoot.ledger.events import RewardCredited, UpdatesCommitted
from folkmoot.ledger.scan import scan
from folkmoot.rpc.abi import decode_call
from folkmoot.rpc.client import Phase
from server.db.engine import Database
from server.db.models import Artifact, Entry, LogEntry, Round, Run, Transaction, Update
from server.db.steps import ENDED, Step
from tests.chaos.shelves import RoundFiles

ONCE = ("openRound", "anchor", "cancel", "finalize", "settle")
"""Calls that may take effect once a round."""


@dataclass(frozen=True)
class RoundFacts:
    """What a round came to on the chain. Must be the same with faults as without."""

    phase: str
    state_root: str
    settled: bool
    entries: frozenset[tuple[str, str]]
    """Contributor and update root of each entry."""
    rewards: tuple[tuple[str, int], ...]
    """Contributor and amount of each credit; one that was credited twice is here twice."""


def rounds_of(chain: Chain) -> dict[int, RoundFacts]:
    """Every round of the chain, by number."""
    events = list(
        scan(chain, chain.deployment.block, chain.rpc.block_number(), contracts=("ledger", "rewards"))
    )
    found = {}
    for number in range(1, chain.ledger.next_round()):
        view = chain.ledger.round(number)
        mine = [event for event in events if getattr(event, "round", None) == number]
        lists = [entries_of(event) for event in mine if isinstance(event, UpdatesCommitted)]
        entries = [(entry.contributor, entry.update_root.hex()) for listed in lists for entry in listed]
        rewards = sorted((e.contributor, e.amount) for e in mine if isinstance(e, RewardCredited))
        root = view.state_root.hex()
        settled = chain.rewards.is_settled(number)
        found[number] = RoundFacts(view.phase.name, root, settled, frozenset(entries), tuple(rewards))
    return found


def differences(found: dict[int, RoundFacts], wanted: dict[int, RoundFacts]) -> Iterator[str]:
    """In what rounds are not as in the run without faults."""
    if set(found) != set(wanted):
        yield f"the rounds are {sorted(found)}, and without faults {sorted(wanted)}"
    for number in sorted(set(found) & set(wanted)):
        for name, value in vars(wanted[number]).items():
            got = getattr(found[number], name)
            if got != value:
                yield f"round {number}: {name} is {got}, and without faults {value}"


def violations_on_chain(
    chain: Chain, coordinator: str, accepted: dict[tuple[int, str], str]
) -> Iterator[str]:
    """What the chain says against the coordinator.

    Args:
        chain: The federation.
        coordinator: Its address.
        accepted: Update roots that were accepted, by round and contributor.
    """
    rounds = rounds_of(chain)
    for (number, contributor), root in accepted.items():
        found = [entry for entry in rounds[number].entries if entry[0] == contributor]
        if found != [(contributor, root)]:
            yield f"round {number}: the update of {contributor} was accepted, and its entries are {found}"
    effects = Counter(_effects(chain, coordinator))
    for (function, number), count in sorted(effects.items()):
        if count > 1:
            yield f"round {number}: {function} took effect {count} times"
    for number, facts in rounds.items():
        for account, times in Counter(contributor for contributor, _ in facts.rewards).items():
            if times > 1:
                yield f"round {number}: {account} was rewarded {times} times"
        if facts.phase == Phase.FINAL.name and not (facts.settled and facts.rewards):
            yield f"round {number} is final, and its rewards were never credited"


def _effects(chain: Chain, coordinator: str) -> Iterator[tuple[str, int]]:
    """Function and round of the coordinator's transactions that took effect."""
    for block in range(chain.deployment.block, chain.rpc.block_number() + 1):
        for transaction in chain.rpc.call("eth_getBlockByNumber", [hex(block), True])["transactions"]:
            if transaction["from"] != coordinator.lower():
                continue
            call = decode_call("ledger", bytes.fromhex(transaction["input"][2:]))
            if call is None or call.function not in ONCE:
                continue
            receipt = chain.rpc.call("eth_getTransactionReceipt", [transaction["hash"]])
            if int(receipt["status"], 16) == 1:
                yield call.function, int(call.arguments[0])


OVER = {
    Step.ANCHORED: ("round-opened", "round-anchored"),
    Step.FINALIZING: ("round-opened", "round-anchored"),
    Step.SETTLED: ("round-opened", "round-anchored", "round-finalized", "rewards-settled"),
    Step.SLASHED: ("round-opened", "round-anchored", "round-slashed"),
    Step.CANCELLED: ("round-opened", "round-cancelled"),
    Step.COLLECTING: ("round-opened",),
}
"""What is not told again of a round that was restored at a step: the event stream begins anew."""


def violations_in_database(
    database: Database,
    round_files: RoundFiles,
    accepted: dict[tuple[int, str], str],
    rounds: dict[int, RoundFacts],
    told_again: set[tuple[int, str]],
    restored: dict[int, Step],
) -> Iterator[str]:
    """What the coordinator's own books say against it, or where they are not those of the chain.

    Args:
        database: The coordinator's.
        shelf: Its store.
        accepted: Update roots that were accepted, by round and contributor.
        rounds: What the chain has.
        told_again: Those of the accepted ones that were handed in since the database was last restored.
        restored: Steps of the rounds that were there then.
    """
    with database.read() as session:
        for round_ in session.scalars(select(Round)):
            if round_.step not in ENDED:
                yield f"round {round_.number} is still {round_.step}"
            entries = session.scalars(select(Entry.contributor).where(Entry.round == round_.number)).all()
            if sorted(entries) != sorted(name for name, _ in rounds[round_.number].entries):
                yield f"round {round_.number}: the database has the entries {entries}"
        for run in session.scalars(select(Run).where(Run.state == "running")):
            yield f"the run {run.id} still goes on"
        for row in session.scalars(select(Transaction).where(Transaction.state != "confirmed")):
            if row.state != "failed":
                yield f"the transaction {row.purpose} is {row.state}"
        log = session.scalars(select(LogEntry)).all()
        told, again = Counter(_told(log)), _rewound(log)
        for key, count in told.items():
            if count > 1 + again[key[1]]:
                yield f"the event {key} was told {count} times"
        for number, facts in rounds.items():
            wanted = {
                "FINAL": ("round-anchored", "round-finalized", "rewards-settled"),
                "SLASHED": ("round-anchored", "round-slashed"),
            }
            over = OVER[restored[number]] if number in restored else ()
            for kind in ("round-opened", *wanted.get(facts.phase, ("round-cancelled",))):
                if not 0 <= told[kind, number, ""] - (kind not in over) <= again[number]:
                    yield f"round {number}: the event {kind} was told {told[kind, number, '']} times"
        for entry in session.scalars(select(LogEntry).where(LogEntry.type == "rewards-settled")):
            amounts = {name: str(amount) for name, amount in rounds[entry.data["round"]].rewards}
            if entry.data["amounts"] != amounts:
                yield f"round {entry.data['round']}: the amounts told are {entry.data['amounts']}, not {amounts}"
        updates = Counter((row.round, row.contributor) for row in session.scalars(select(Update)))
        for number, contributor in accepted:
            rows = updates[number, contributor]
            own = contributor in session.scalars(select(Entry.contributor).where(Entry.round == number)).all()
            if rows != 1 and not (rows == 0 and own):
                yield f"round {number}: the update of {contributor} is in {rows} rows"
            times = told["update-received", number, contributor]
            if not 0 <= times - ((number, contributor) in told_again) <= again[number]:
                yield f"round {number}: the update of {contributor} was told {times} times"
        for sha256 in session.scalars(select(Artifact.sha256)):
            if not round_files.has(sha256):
                yield f"the artifact {sha256} is not in the store"


def _rewound(log: Sequence[LogEntry]) -> Counter[int]:
    """How often the chain lost something of each round, after which what happens again is told again."""
    entries = (entry.data for entry in log if entry.type == "chain-rewound")
    return Counter(number for data in entries for number in (*data["back"], *data["gone"]))


def _told(log: Sequence[LogEntry]) -> Iterator[tuple[str, int, str]]:
    for entry in log:
        if entry.type in ("update-received", "round-opened", "round-anchored", "round-finalized"):
            yield entry.type, entry.data["round"], entry.data.get("contributor", "")
        elif entry.type in ("rewards-settled", "round-cancelled", "round-slashed"):
            yield entry.type, entry.data["round"], ""


def audit(rpc: str, deployment: Path, artifacts: str) -> str | None:
    """What `folkmoot audit` finds wrong; None if it finds nothing."""
    command = [sys.executable, "-m", "folkmoot", "audit", "--json", "--rpc", rpc]
    done = subprocess.run(
        [*command, "--deployment", str(deployment), "--artifacts", artifacts],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode == 0 and json.loads(done.stdout):
        return None
    return f"the audit ended with {done.returncode}: {(done.stdout + done.stderr).strip()}"
