# SPDX-License-Identifier: Apache-2.0
"""Everybody around the coordinator, with a script for each kind of round: contributors, a canary, demanders, strangers.

What they do is a pure function of the round, so a run with faults must end as the run without. They bear with a
coordinator that is away, as a relay does, and with a chain that forgets, as a wallet does: nothing else is done for
the coordinator when it comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from eth_account.signers.local import LocalAccount
from sqlalchemy import select
from web3.exceptions import TransactionNotFound, Web3Exception

from folkmoot.chain.fees import REPLACE_SECONDS
from folkmoot.coordinator_api import CoordinatorApi, sign_run
from folkmoot.errors import ChainError, CoordinatorError, FolkmootError, UpdateRefused
from folkmoot.evaluation.canary import CanaryReport, sign_canary, sign_release
from folkmoot.fraud.contracts.follower import Follower
from folkmoot.fraud.proofs.availability import DataKind, delivery_calls, demand_call
from folkmoot.protocol.commitment import Domain
from folkmoot.rpc.client import Call, Phase
from folkmoot.runtime.units import UNIT
from server.db.engine import Database
from server.db.models import LogEntry, Round, Transaction, Update
from server.db.steps import ENDED, Step
from tests import factories
from tests.chaos.local_chain import Miner
from tests.chaos.shelves import RoundFiles
from tests.chaos.supervisor import PATIENCE, Supervisor
from tests.integration.coordinator_world import MANIFEST, Signed, measured, open_round, train

EVALUATOR = "newcomer"
NO_OUTCOME = ("alone", "fallen", "silent", "forsaken")
"""Rounds that are cancelled."""
LEFT_BEHIND = 49 * UNIT
"""What a coordinator keeps at stake that goes below its bond."""
DEAR = 20 * 10**9
"""A base fee, in wei, that no offer of a quiet time pays."""

_T = TypeVar("_T")


class Stuck(AssertionError):
    """Something that had to happen did not."""


class Wallet:
    """Sends other people's transactions, again when a reorg has taken them, and waits until they are settled."""

    def __init__(self, world: factories.Federation, depth: int) -> None:
        self._w3 = world.chain.w3
        self._depth = depth

    def send(self, function: Call, account: LocalAccount, *, gwei: int = 2, may_fail: bool = False) -> bool:
        """Send a call and wait until it is settled; whether it succeeded.

        Raises:
            Stuck: It did not settle, or it failed and may not.
        """
        end, problem = time.monotonic() + PATIENCE, ""
        while time.monotonic() < end:
            try:
                nonce, raw = self._sign(function, account, gwei)
                digest = self._w3.eth.send_raw_transaction(raw)
                succeeded = self._settled(account, nonce, raw, digest, end)
            except (ChainError, Web3Exception) as error:
                if may_fail:
                    return False
                problem = str(error)
                time.sleep(0.5)
                continue
            if succeeded is None:
                continue  # another transaction took the nonce
            if succeeded or may_fail:
                return succeeded
            problem = "it reverted"
        raise Stuck(f"{function.name} of {account.address} came to nothing: {problem}")

    def post(self, function: Call, account: LocalAccount, *, nonce: int | None = None, gwei: int) -> str:
        """Put a call into the pool, in the place of another one that has its nonce; return its hash.

        Args:
            function: The call.
            account: Who sends it.
            nonce: By default the first that no block has.
            gwei: What is offered beyond the base fee.
        """
        if nonce is None:
            nonce = self._w3.eth.get_transaction_count(account.address)
        return self._w3.eth.send_raw_transaction(self._sign(function, account, gwei, nonce)[1]).to_0x_hex()

    def _sign(
        self, function: Call, account: LocalAccount, gwei: int, nonce: int | None = None
    ) -> tuple[int, bytes]:
        eth, tip = self._w3.eth, gwei * 10**9
        if nonce is None:
            nonce = eth.get_transaction_count(account.address, "pending")
        fields: Any = {
            "from": account.address,
            "nonce": nonce,
            "chainId": eth.chain_id,
            "to": function.to,
            "data": function.data,
            "value": 0,
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": 4 * eth.get_block("latest")["baseFeePerGas"] + tip,
        }
        signed = account.sign_transaction(fields | {"gas": eth.estimate_gas(fields)})
        return nonce, bytes(signed.raw_transaction)

    def _settled(self, account: LocalAccount, nonce: int, raw: bytes, digest: Any, end: float) -> bool | None:
        eth = self._w3.eth
        while time.monotonic() < end:
            time.sleep(0.1)
            try:
                receipt = eth.get_transaction_receipt(digest)
            except TransactionNotFound:
                if eth.get_transaction_count(account.address, "latest") > nonce:
                    if self._is_mined(digest):
                        continue  # it was mined between the two questions
                    return None
                try:
                    eth.send_raw_transaction(raw)
                except (ChainError, Web3Exception):
                    continue  # it is still in the pool
            else:
                if eth.block_number - receipt["blockNumber"] + 1 >= self._depth:
                    return receipt["status"] == 1
        return None

    def _is_mined(self, digest: Any) -> bool:
        try:
            self._w3.eth.get_transaction_receipt(digest)
        except TransactionNotFound:
            return False
        return True


@dataclass
class People:
    """The people of one world.

    Args:
        world: The federation; its chain is reached without the line that fails.
        miner: The chain.
        supervisor: The coordinator's process.
        database: Its database, to look at.
        shelf: Its store.
        depth: Blocks at which a transaction counts as settled.
    """

    world: factories.Federation
    miner: Miner
    supervisor: Supervisor
    database: Database
    round_files: RoundFiles
    depth: int
    accepted: dict[tuple[int, str], str] = field(default_factory=dict)
    """Round and contributor of each update that the coordinator said it accepted, and the root of the update."""
    told: set[tuple[int, str]] = field(default_factory=set)
    """Those of them that its database was told of: one that was lost is told again."""
    restored: dict[int, Step] = field(default_factory=dict)
    """Steps of the rounds in a database that was restored, when it was."""

    def __post_init__(self) -> None:
        self.api = CoordinatorApi(f"http://127.0.0.1:{self.supervisor.port}", timeout=15.0)
        self.wallet = Wallet(self.world, self.depth)
        self.domain = Domain(self.world.deployment.chain_id, self.world.deployment.ledger)
        self._number = 0
        self._later: tuple[str, ...] = ()  # kinds of the rounds that follow in the run
        self._running = False  # whether a run must be there

    def close(self) -> None:
        """Close the connections."""
        self.api.close()

    # The story.

    def run(self, kinds: tuple[str, ...]) -> None:
        """Start a run and play its rounds to their ends; or play a run that is no such thing."""
        if other := getattr(self, f"_run_{kinds[0]}", None):
            other()
            return
        self.start_run(outcomes(kinds))
        for place, kind in enumerate(kinds):
            self._number += 1
            self._later = kinds[place + 1 :]
            getattr(self, f"_play_{kind}")(self._number)
        if self._running:
            self.wait(lambda: (run := self.api.run()) and run.state == "done", "the end of the run")
        self.wait(self._all_ended, "the settlement of all rounds", self._to_challenge_deadlines)

    def start_run(self, rounds: int) -> None:
        """Start a run, again until the coordinator has it."""

        self.wait(lambda: self._asked(rounds), "a run")
        self.wait(self._begun, "the end of its wait for nodes")
        self._running = True

    def _asked(self, rounds: int) -> bool:
        try:
            self.api.send_run(sign_run(rounds, 3, self.world.coordinator, self.domain, wait=600))
        except CoordinatorError as error:
            if error.code != "run-in-progress":
                raise
        return True

    def _begun(self) -> bool:
        run = self.api.run()
        return run is not None and bool(self.api.begin_run(run.id, self.world.coordinator, self.domain))

    def _play_plain(self, number: int) -> None:
        self._contribute(number, ("ada", "ben", "cleo"), own=("dora",))
        self._anchored(number)

    def _play_mixed(self, number: int) -> None:
        """All ways in; then a file is missing when it is demanded; then a stranger makes the round final."""
        self._contribute(number, ("ada", "ben", "cleo"), own=("dora",), on_chain=("emil",), spoil=True)
        self._anchored(number)
        self.wait(lambda: self._download(number), "the model")
        report = b'{"accuracy":1}'
        self.wait(lambda: self.api.upload_report(report, self.world["ben"], self.domain), "the report")
        view = self.world.chain.ledger.round(number)
        self.miner.move_clock(view.challenge_deadline - 60)
        with self.round_files.hidden(str(self.view(number)["mean"])):
            self._demand(number, DataKind.MEAN)
            self.wait(lambda: self._logged("demand-unanswerable"), "the alarm")
        self._demand(number, DataKind.HEADER)
        answered = self.world.chain.data_availability.functions.demands
        self.wait(
            lambda: all(self.world.chain.read(answered(demand))[3] == 2 for demand in (1, 2)), "the answers"
        )
        with self.supervisor.frozen():
            self.miner.move_clock(self.world.chain.ledger.round(number).challenge_deadline)
            function = self.world.chain.ledger.functions.finalize(number)
            self.wallet.send(function, self.world["outsider"], may_fail=True)
        self.wait(lambda: self.step(number) == Step.SETTLED, "the rewards", self._to_challenge_deadlines)

    def _play_alone(self, number: int) -> None:
        """Too few."""
        self._contribute(number, ("ada",))
        self.wait(lambda: self.step(number) == Step.CANCELLED, "the cancellation")

    def _play_fallen(self, number: int) -> None:
        """The canary says that the model fell, and nobody releases it."""
        self._contribute(number, ("ada", "ben", "cleo"))
        self._report(number, 0.5)
        self.wait(lambda: self.step(number) == Step.WITHHELD, "that the round is withheld")
        deadline = self.world.chain.ledger.round(number).anchor_deadline
        self.wait(
            lambda: self.step(number) == Step.CANCELLED,
            "the cancellation",
            lambda: self.miner.move_clock(deadline),
        )

    def _play_released(self, number: int) -> None:
        """The canary says that the model fell, the operator releases it, and two make it final at once."""
        self._contribute(number, ("ada", "ben", "cleo"))
        self._report(number, 0.5)
        self.wait(lambda: self.step(number) != Step.PROBING, "that the round is withheld")
        root = bytes.fromhex(self.view(number)["stateRoot"][2:])
        signature = sign_release(number, root, self.world.coordinator, self.domain)

        def release() -> bool:
            if self.step(number) == Step.WITHHELD:
                try:
                    self.api.release_round(number, signature)
                except CoordinatorError as error:
                    if error.code != "round-not-withheld":
                        raise
            return self.step(number) not in (Step.PROBING, Step.WITHHELD)

        self.wait(release, "the release")
        self.wait(lambda: self._past(number, Step.ANCHORED), "the anchor")
        with self._settling_calmly(), self.miner.hold():
            self.miner.move_clock(self.world.chain.ledger.round(number).challenge_deadline)
            self.wait(lambda: self._signed(f"finalize:{number}") is not None, "the signed final word")
            function = self.world.chain.ledger.functions.finalize(number)
            outsider = self.world["outsider"]
            nonce = self.world.chain.w3.eth.get_transaction_count(outsider.address)
            self.wallet.post(function, outsider, nonce=nonce, gwei=50)
        self.wait(lambda: self._past(number, Step.SETTLING), "the final word", self._to_challenge_deadlines)

    # Stakes.

    def _run_penniless(self) -> None:
        """The stake goes below the bond between the wish for a run and the plan of its round: the run fails."""
        self._run_without_bond("coordinator.run-started.after")

    def _run_unopened(self) -> None:
        """The stake goes between the plan of a round and its opening: the chain refuses that, and the run fails."""
        self._run_without_bond("coordinator.round-planned.after")

    def _run_without_bond(self, point: str) -> None:
        def start() -> None:
            self.wait(lambda: self.supervisor.held or self._asked(1), "a run")

        with self.supervisor.down(at=point, bring=start):
            self._unbond("coordinator", factories.BOND - LEFT_BEHIND)
        self.wait(self._run_failed, "the failure of the run")
        self._stake_for("coordinator", factories.BOND - LEFT_BEHIND)

    def _play_leaving(self, number: int) -> None:
        """A contributor takes its stake away when its update was accepted: the chain refuses the whole batch."""
        made = self._train(number, ("ada", "ben", "cleo"))
        self._submit(number, {name: made[name] for name in ("ada", "ben")})
        self._unbond("ada", factories.STAKE)
        self._submit(number, {"cleo": made["cleo"]})
        ada = self.world["ada"].address
        self.wait(lambda: self._dropped(number, ada), "that the update without a stake is dropped")
        del self.accepted[number, ada]
        self._stake_for("ada", factories.STAKE)
        self._enrol("ada")  # before the anchor: the next round may be opened right after it
        self._close(number, 2)
        self._anchored(number)

    def _play_silent(self, number: int) -> None:
        """Enough commit an update, and nobody delivers one."""
        self._contribute(number, (), own=("ada", "ben"), deliver=False)
        self._given_up(number)

    def _given_up(self, number: int) -> None:
        """Nobody brings the files of a round's entries."""
        view = self.world.chain.ledger.round(number)
        self.wait(
            lambda: self._problem(number),
            "that no outcome can be computed",
            lambda: self.miner.move_clock(
                view.commit_deadline + (view.anchor_deadline - view.commit_deadline) // 2
            ),
        )
        self.wait(
            lambda: self.step(number) == Step.CANCELLED,
            "the cancellation",
            lambda: self.miner.move_clock(view.anchor_deadline),
        )

    def _run_void(self) -> None:
        """A file of an anchored round stays away when it is demanded: the round is void, and the bond is gone."""
        self.start_run(1)
        self._number += 1
        number, contract = self._number, self.world.chain.data_availability
        self._contribute(number, ("ada", "ben", "cleo"))
        self._anchored(number)
        with self.round_files.hidden(str(self.view(number)["mean"])):
            self._demand(number, DataKind.MEAN)
            self.wait(lambda: self._logged("demand-unanswerable"), "the alarm")
            demand = self.world.chain.read(contract.functions.demandCount())
            self.miner.move_clock(self.world.chain.read(contract.functions.demands(demand))[1])
            self.wallet.send(contract.functions.proveWithheld(demand), self.world["newcomer"])
        self.wait(lambda: self.step(number) == Step.SLASHED, "the end of the void round")

    def _run_closing(self) -> None:
        """All who are enrolled answer: the coordinator ends the commit window, whose clock nobody moves."""
        leave = self.world.chain.ledger.functions.leave
        for name in ("dora", "emil"):
            self.wallet.send(leave(), self.world[name])
        self.start_run(1)
        self._number += 1
        number = self._number
        self._submit(number, self._train(number, ("ada", "ben", "cleo")))
        self.wait(lambda: self._past(number, Step.DELIVERY), "the early end of the commit window")
        self._anchored(number)
        for name in ("dora", "emil"):
            self._enrol(name)
        self.wait(lambda: (run := self.api.run()) and run.state == "done", "the end of the run")
        self.wait(self._all_ended, "the settlement of all rounds", self._to_challenge_deadlines)

    # Transactions that do not go their way.

    def _play_crowded(self, number: int) -> None:
        """Fees rise while a batch waits; then the anchor waits for a transaction that is dropped."""
        made = self._train(number, ("ada", "ben", "cleo"))
        self._submit(number, {name: made[name] for name in ("ada", "ben")})
        with self.miner.hold():
            self._submit(number, {"cleo": made["cleo"]})
            self.wait(lambda: self._signed(f"commit:{number}:") is not None, "the signed batch")
            self.miner.base_fee = DEAR
            later = self.miner.latest()[1] + 2 * REPLACE_SECONDS
        self.wait(
            lambda: self._state(f"commit:{number}:") == "confirmed",
            "the batch at a higher fee",
            lambda: self.miner.move_clock(later),
        )
        self.miner.base_fee = None
        self._close(number, len(made))
        self.wait(lambda: self._past(number, Step.PROBING), "the outcome")
        coordinator = self.world.coordinator
        with self.miner.hold():
            foreign = self.wallet.post(self._nothing(), coordinator, gwei=2)
            self._report(number, 0.9)
            self.wait(lambda: self._signed(f"anchor:{number}") is not None, "the signed anchor")
            self.miner.anvil.call("anvil_dropTransaction", foreign)
            later = self.miner.latest()[1] + 2 * REPLACE_SECONDS
        self.wait(
            lambda: self._past(number, Step.ANCHORED), "the anchor", lambda: self.miner.move_clock(later)
        )

    def _play_stolen(self, number: int) -> None:
        """Somebody else who has the key takes the nonce of the anchor."""
        self._contribute(number, ("ada", "ben", "cleo"))
        self.wait(lambda: self._past(number, Step.PROBING), "the outcome")
        with self.miner.hold():
            self._report(number, 0.9)
            nonce = self.wait(lambda: self._signed(f"anchor:{number}"), "the signed anchor")
            self.wallet.post(self._nothing(), self.world.coordinator, nonce=nonce, gwei=60)
        self.wait(lambda: self._past(number, Step.ANCHORED), "the anchor")

    def _play_retaken(self, number: int) -> None:
        """A reorg takes the anchor when the coordinator has seen it in its block."""
        self._contribute(number, ("ada", "ben", "cleo"))
        self.wait(lambda: self._past(number, Step.PROBING), "the outcome")
        with self.miner.hold():
            self._report(number, 0.9)
            self.wait(lambda: self._signed(f"anchor:{number}") is not None, "the signed anchor")
            block = self.wait(lambda: self._sent(f"anchor:{number}") and self.miner.mine(), "a block")
            self.wait(lambda: self._state(f"anchor:{number}") == "mined", "that it is seen")
            self.miner.take_back(block)
        self.wait(lambda: self._past(number, Step.ANCHORED), "the anchor")

    def _play_early(self, number: int) -> None:
        """A reorg turns the clock back, and the final word that was on its way comes too early."""
        self._contribute(number, ("ada", "ben", "cleo"))
        self._anchored(number)
        with self.miner.calm(), self.miner.hold():
            self.miner.move_clock(self.world.chain.ledger.round(number).challenge_deadline)
            self.wait(lambda: self._signed(f"finalize:{number}") is not None, "the signed final word")
            self.wait(lambda: self._sent(f"finalize:{number}"), "that it is sent")
            self.miner.take_back(self.miner.latest()[0], clock=True)
            self.miner.mine()
        self.wait(lambda: self._state(f"finalize:{number}") == "failed", "that it is refused")
        self.wait(lambda: self.step(number) == Step.SETTLED, "the rewards", self._to_challenge_deadlines)

    def _play_lost(self, number: int) -> None:
        """A stranger's final word is taken by a reorg, twice; the second time it comes back while nobody looks."""
        self._contribute(number, ("ada", "ben", "cleo"))
        self._anchored(number)
        with self.miner.hold():
            with self.supervisor.down():
                self.miner.move_clock(self.world.chain.ledger.round(number).challenge_deadline)
                block = self._final_word(number)
            with self.supervisor.down(at="coordinator.settle-queued.after"):
                self.miner.take_back(block)
            with self.supervisor.down(at="coordinator.final-lost.after"):
                block = self._final_word(number)
            with self.supervisor.down(at="coordinator.settle-queued.after"):
                self.miner.take_back(block)
            with self.supervisor.down(at="coordinator.transaction-failed.after"):
                self._final_word(number)
        self.wait(lambda: self.step(number) == Step.SETTLED, "the rewards")

    def _run_deep(self) -> None:
        """A reorg takes a transaction that counted as settled, the newest; nobody else's is above it."""
        with self.database.read() as session:
            query = select(Transaction).where(Transaction.state == "confirmed")
            newest = session.scalars(query.order_by(Transaction.block_number.desc())).first()
            if newest is None or newest.block_number is None:
                raise Stuck("no transaction was confirmed")
            purpose, block, block_hash = newest.purpose, newest.block_number, newest.block_hash
        with self.miner.calm():
            self.miner.take_back(block)

        def back() -> bool:
            with self.database.read() as session:
                query = select(Transaction).where(Transaction.purpose == purpose)
                row = session.scalars(query).one()
                return row.state == "confirmed" and row.block_hash != block_hash

        self.wait(back, f"{purpose} once more")

    def _play_sent(self, number: int) -> None:
        """All updates are handed in, and no contributor commits: the coordinator can commit them again."""
        self._contribute(number, ("ada", "ben", "cleo"))
        self._anchored(number)

    def _play_rolled(self, number: int) -> None:
        """The chain loses everything from the opening of the round on; it is made again, and nobody hands in twice."""
        self._play_sent(number)
        self._lose_from(number)
        self._close(number, 3)
        self._anchored(number)

    def _play_undone(self, number: int) -> None:
        """The same with two rounds, when their run is over: the first is made again, and another run begins."""
        self._play_sent(number)
        self.wait(lambda: (run := self.api.run()) and run.state == "done", "the end of the run")
        self._lose_from(number - 1)
        self._close(number - 1, 3)
        self._anchored(number - 1)
        self.start_run(1)
        self._play_sent(number)

    def _lose_from(self, number: int) -> None:
        """Take back all blocks from the opening of a round on, and wait until the coordinator has noticed."""
        with self.database.read() as session:
            query = select(Transaction.block_number).where(Transaction.purpose == f"open:{number}")
            block = session.scalars(query).one()
        if block is None:
            raise Stuck(f"the opening of round {number} is in no block")
        with self.miner.calm():
            self.supervisor.tell(f"{self.miner.latest()[0] - block + 1} blocks are taken back")
            self.miner.take_back(block)
            self.miner.anvil.call("anvil_dropAllTransactions")
        self.wait(lambda: not self._past(number, Step.ANCHORED), f"that round {number} begins again")

    # What people do.

    def _contribute(
        self,
        number: int,
        by_http: tuple[str, ...],
        *,
        own: tuple[str, ...] = (),
        on_chain: tuple[str, ...] = (),
        spoil: bool = False,
        deliver: bool = True,
    ) -> None:
        """Play the commit window and the delivery of files."""
        made = self._train(number, (*by_http, *own, *on_chain))
        chain = self.world.chain
        for name in (*own, *on_chain):
            commitment = made[name].commitment.abi_tuple()
            self.wallet.send(chain.ledger.functions.commitUpdate(commitment), self.world[name])
        for name in on_chain:
            for call in delivery_calls(number, made[name].data, MANIFEST, 8):
                self.wallet.send(chain.data_availability.functions.deliver(*call.arguments), self.world[name])
        if spoil:
            self._spoil(number, made[by_http[0]])
        self._submit(number, {name: made[name] for name in by_http})
        self._close(number, len(made))
        for name in own if deliver else ():
            self.wait(lambda n=name: self._deliver(number, made[n]), f"the file of {name}")

    def _train(self, number: int, names: tuple[str, ...]) -> dict[str, Signed]:
        _, header, state = self.wait(lambda: open_round(self.api, number), f"round {number}")
        return {name: train(self.world, name, header, state) for name in names}

    def _submit(self, number: int, made: dict[str, Signed]) -> None:
        """Hand in updates, each until it was accepted, and all of them twice."""
        for _ in range(2):
            for signed in made.values():
                self.wait(lambda s=signed: self._accepted(number, s), "the acceptance of an update")

    def _accepted(self, number: int, signed: Signed) -> bool:
        self.api.submit_update(number, signed.wire, signed.data)
        commitment = signed.commitment
        self.accepted[number, commitment.contributor] = commitment.update_root.hex()
        self.told.add((number, commitment.contributor))
        return True

    def _spoil(self, number: int, signed: Signed) -> None:
        def refused() -> bool:
            try:
                self.api.submit_update(number, signed.wire, bytes([1]) + signed.data[1:])
            except UpdateRefused as refusal:
                return refusal.code == "wrong-root"
            raise Stuck("a spoilt update was accepted")

        self.wait(refused, "a refusal")

    def _deliver(self, number: int, signed: Signed) -> bool:
        """Hand in the file of a commitment that is on the chain, once the window is over."""
        step = self.step(number)
        if step == Step.COLLECTING:
            return False
        if step != Step.DELIVERY:
            raise Stuck(f"round {number} waited for no file: it is {step}")
        return self._accepted(number, signed)

    def _close(self, number: int, entries: int) -> None:
        """Let the commit window end when all have their entries, so deep that no reorg takes one beyond the window."""
        self.wait(
            lambda: self._past(number, Step.DELIVERY),
            f"the entries of round {number}",
            lambda: self._end_window(number, entries),
        )

    def _end_window(self, number: int, entries: int) -> None:
        """Move the clock to the end of the commit window, if all entries are so deep."""
        ledger = self.world.chain.ledger
        view = ledger.round(number)
        deep = max(0, self.miner.latest()[0] - self.depth)
        if ledger.round(number, block=deep).entries == entries:
            self.miner.move_clock(view.commit_deadline)
        elif entries == 1:  # nobody else comes: the batch goes shortly before the end
            self.miner.move_clock(view.commit_deadline - (view.commit_deadline - view.opened_at) // 3 + 1)

    def _report(self, number: int, share: float) -> None:
        """Say of a computed round how large a share of examples its model gets right; its base had 90 %."""

        def report() -> bool:
            if self.step(number) != Step.PROBING:
                return self._past(number, Step.WITHHELD)
            view = self.view(number)
            made = CanaryReport(
                round=number,
                task=MANIFEST.task,
                base_state_root=bytes.fromhex(view["baseStateRoot"][2:]),
                state_root=bytes.fromhex(view["stateRoot"][2:]),
                base=measured(0.9),
                candidate=measured(share),
            )
            signature = sign_canary(made, self.world[EVALUATOR], self.domain)
            try:
                self.api.send_canary(number, made.to_bytes(), signature)
            except CoordinatorError as error:
                if error.code != "round-not-probed":
                    raise
            return False

        self.wait(report, f"the canary's report on round {number}")

    def _anchored(self, number: int) -> None:
        self._report(number, 0.9)
        self.wait(lambda: self._past(number, Step.ANCHORED), f"the anchor of round {number}")

    def _unbond(self, name: str, amount: int) -> None:
        self.wallet.send(self.world.chain.vault.functions.requestUnbond(amount), self.world[name])

    def _enrol(self, name: str) -> None:
        self.wallet.send(self.world.chain.ledger.functions.enrol(factories.STAKE), self.world[name])

    def _stake_for(self, name: str, amount: int) -> None:
        """Stake for somebody; with the tokens of another one, whose key nobody else uses."""
        chain, giver = self.world.chain, self.world["newcomer" if name == "coordinator" else name]
        self.wallet.send(chain.token.functions.approve(chain.deployment.vault, amount), giver)
        self.wallet.send(chain.vault.functions.stake(self.world[name].address, amount), giver)

    def _nothing(self) -> Call:
        """A call that changes nothing that anybody looks at."""
        return self.world.chain.token.functions.approve(self.world["outsider"].address, 0)

    def _final_word(self, number: int) -> int:
        """A stranger makes a round final, in a block of its own; return the block's number."""
        self.wallet.post(self.world.chain.ledger.functions.finalize(number), self.world["outsider"], gwei=50)
        return self.miner.mine()

    def _demand(self, number: int, what: DataKind) -> None:
        chain, who = self.world.chain, self.world["newcomer"]
        case = Follower(self.world.deployment).read(chain.rpc).cases[number]
        call = demand_call(case, MANIFEST, what)
        contract = chain.data_availability
        deposit = chain.read(contract.functions.deposit())
        self.wallet.send(chain.token.functions.approve(contract.address, deposit), who)
        self.wallet.send(getattr(contract.functions, call.function)(*call.arguments), who)

    def _download(self, number: int) -> bool:
        response = self.api._client().get(f"/v1/models/{number}/download")
        return response.status_code == 200

    @contextmanager
    def _settling_calmly(self) -> Iterator[None]:
        """No reorg takes what is sent meanwhile: nobody would send it again."""
        with self.miner.calm():
            yield
            settled = self.miner.latest()[0] + self.depth + 1
            self.wait(lambda: self.miner.latest()[0] >= settled, "some blocks")

    # What is seen.

    def wait(
        self, condition: Callable[[], _T], what: str, meanwhile: Callable[[], None] = lambda: None
    ) -> _T:
        """Wait for something; a coordinator that is away is waited for.

        Raises:
            Stuck: It did not happen.
        """
        began, problem = time.monotonic(), ""
        while self.supervisor.waited(began) < PATIENCE:
            if self.supervisor.wrong:
                raise Stuck(self.supervisor.wrong[0])
            try:
                found = condition()
                if found:
                    return found
                meanwhile()
            except UpdateRefused:
                raise
            except (FolkmootError, Web3Exception, OSError, httpx.HTTPError) as error:
                problem = f" {error}"
            except AssertionError as error:
                if isinstance(error, Stuck):
                    raise
                problem = f" {error}"
            time.sleep(0.1)
        raise Stuck(f"{what} did not come in {PATIENCE:g} seconds; {self.supervisor.where()}.{problem}")

    def view(self, number: int) -> dict[str, Any]:
        """A round as the API shows it."""
        return self.api.get(f"/v1/rounds/{number}")

    def step(self, number: int) -> str | None:
        """A round's step; none if it is not there."""
        with self.database.read() as session:
            round_ = session.get(Round, number)
            return None if round_ is None else round_.step

    def _past(self, number: int, step: Step) -> bool:
        """Whether a round is at a step or beyond it."""
        found = self.step(number)
        return found is not None and list(Step).index(Step(found)) >= list(Step).index(step)

    def _signed(self, purpose: str) -> int | None:
        """Nonce of a transaction that is signed and not mined."""
        with self.database.read() as session:
            query = select(Transaction.nonce).where(
                Transaction.purpose.startswith(purpose), Transaction.state == "signed"
            )
            return session.scalar(query)

    def _state(self, purpose: str) -> str | None:
        """State of a transaction; none if there is none."""
        with self.database.read() as session:
            query = select(Transaction.state).where(Transaction.purpose.startswith(purpose))
            return session.scalar(query)

    def _sent(self, purpose: str) -> bool:
        """Whether the node has a transaction."""
        with self.database.read() as session:
            found = session.scalar(select(Transaction.hash).where(Transaction.purpose.startswith(purpose)))
        return found is not None and self.miner.anvil.call("eth_getTransactionByHash", found) is not None

    def _problem(self, number: int) -> str | None:
        """What holds a round up."""
        with self.database.read() as session:
            return session.scalar(select(Round.error).where(Round.number == number))

    def _dropped(self, number: int, contributor: str) -> bool:
        with self.database.read() as session:
            query = select(Update.dropped).where(Update.round == number, Update.contributor == contributor)
            return session.scalar(query) is not None

    def _run_failed(self) -> bool:
        run = self.api.run()
        return run is not None and run.state == "failed"

    def _logged(self, kind: str) -> bool:
        with self.database.read() as session:
            return session.scalar(select(LogEntry.id).where(LogEntry.type == kind)) is not None

    def _all_ended(self) -> bool:
        with self.database.read() as session:
            return all(step in ENDED for step in session.scalars(select(Round.step)))

    def _to_challenge_deadlines(self) -> None:
        """Move the clock to the end of the oldest challenge window."""
        with self.database.read() as session:
            query = select(Round.number).where(Round.step == Step.ANCHORED).order_by(Round.number)
            number = session.scalar(query.limit(1))
        if number is not None:
            view = self.world.chain.ledger.round(number)
            if view.phase is Phase.ANCHORED:
                self.miner.move_clock(view.challenge_deadline)


def outcomes(kinds: tuple[str, ...]) -> int:
    """How many of the rounds have an outcome."""
    return sum(kind not in NO_OUTCOME for kind in kinds)
