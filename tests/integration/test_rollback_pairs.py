# SPDX-License-Identifier: Apache-2.0
"""A chain that goes back to any phase of a federation, noticed in any later phase.

A story is played once: a round that is cancelled, all ways in, a vote, overlapping rounds, a void one. It is saved
after each thing that somebody does: the chain by a snapshot, the coordinator by a copy of its folder. Then, for pairs
of these phases, the chain goes back to the earlier one under the coordinator of the later one, and the same people do
what is missing. Each round must end as it did in the story.

Twelve pairs are a story, with a new seed each time, which is printed; all of them are a long test. `ROLLBACK_PAIRS` is
how many are tried (`all`, or some by name: `3-25,1-16`); `ROLLBACK_SEED` decides which.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url, select

from folkmoot.chain import governance
from folkmoot.devnet.anvil import Anvil
from folkmoot.evaluation.canary import CanaryReport, sign_canary
from folkmoot.fraud.contracts.follower import Follower
from folkmoot.fraud.proofs.availability import DataKind, delivery_calls, demand_call
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.policy import ARBITER
from folkmoot.protocol.state import State
from folkmoot.rpc.client import Phase
from folkmoot.runtime.units import UNIT
from server.chain.outbox import under_way
from server.db.models import Entry, LogEntry, Round, Transaction, Update
from server.db.steps import ENDED, Step
from server.settings import load
from tests import factories
from tests.chaos.shelves import FolderShelf
from tests.integration.coordinator_world import (
    MANIFEST,
    Running,
    Signed,
    federation,
    make_home,
    measured,
    report,
    serving,
    train,
)

logger = logging.getLogger(__name__)
EVALUATOR = "newcomer"
KINDS = {1: "alone", 2: "mixed", 3: "plain", 4: "void", 5: "plain"}
BUSY = (Step.DELIVERY, Step.COMPUTING, Step.ANCHORING, Step.FINALIZING, Step.SETTLING)
"""Steps that end without anybody's help: all files are there."""
RUNS = ((1, 2), (3, 4), (5,))
"""Rounds of each run."""
PATIENCE = 120.0
"""Seconds in which something must happen, on a busy machine."""
BLOCKS = 60
"""Blocks of the other branch: more than a pair of phases can be apart, so that the loss is sure."""
MOST_DEEDS = 60
PAIRS, SEED = "ROLLBACK_PAIRS", "ROLLBACK_SEED"


@dataclass
class Play:
    """The people around one coordinator: they do what is missing, one thing after the other."""

    here: Running

    def __post_init__(self) -> None:
        self.chain, self.api = self.here.world.chain, self.here.api
        self.ledger = self.chain.ledger
        self.shelf = FolderShelf(Path(self.here.coordinator.storage.store.location))

    def last(self) -> int:
        """The newest round of the chain."""
        return self.ledger.next_round() - 1

    def steps(self) -> dict[int, str]:
        """The step of each round in the database."""
        with self.here.coordinator.storage.database.read() as session:
            return {row.number: row.step for row in session.scalars(select(Round))}

    def quiet(self) -> None:
        """Wait until the coordinator has nothing left to do by itself."""
        seen, looks, end = None, 0, time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(0.03)
            status = self.here.worker.status
            database = self.here.coordinator.storage.database
            with database.read() as session:
                rows = list(session.scalars(select(Round).order_by(Round.number)))
                busy = under_way(session) or any(row.step in BUSY for row in rows)
                newest = session.scalar(select(LogEntry.id).order_by(LogEntry.id.desc()))
            now = (self.steps(), newest, status.indexed_block)
            began = status.succeeded_time
            fine = not busy and status.error is None and status.indexed_block >= self.chain.rpc.block_number()
            if not fine or seen is None or seen[0] != now:
                seen, looks = (now, began) if fine else None, 0
            elif began > seen[1]:
                if looks:
                    return  # the first look may have begun before what was done last
                seen, looks = (now, began), 1
        raise AssertionError(f"not quiet: {self.explain()}")

    def explain(self) -> str:
        """What the coordinator and the chain say of themselves."""
        status = self.here.worker.status
        with self.here.coordinator.storage.database.read() as session:
            pending = [
                (row.purpose, row.state, (row.error or {}).get("message"))
                for row in session.scalars(select(Transaction))
                if row.state != "confirmed"
            ]
            errors = {row.number: row.error for row in session.scalars(select(Round)) if row.error}
        phases = {number: self.ledger.round(number).phase.name for number in range(1, self.last() + 1)}
        return f"{self.steps()} on a chain with {phases}; {errors}; {status}; {pending}; {self.api.run()}"

    def act(self) -> str:
        """Do the next thing; return what it was, or nothing if all is done."""
        for name, deed in self._wanted():
            deed()
            return name
        return ""

    def _wanted(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        last, steps = self.last(), self.steps()
        open_ = last > 0 and self.ledger.round(last).phase is Phase.OPEN
        anchored = [number for number in steps if self.ledger.round(number).phase is Phase.ANCHORED]
        for number in anchored:
            if KINDS[number] == "void":
                yield f"withhold {number}", partial(self._withhold, number)
        if open_:
            yield from self._in_round(last, Step(steps[last]))
        for number in anchored:
            deadline = self.ledger.round(number).challenge_deadline
            yield f"challenge window of {number}", partial(self._advance_to, deadline)
        run = self.api.run()
        if open_ or (run is not None and run.state == "running"):
            return
        if last < 2 or last >= 3 or self.ledger.current_policy() == 2:
            for group in RUNS:
                if last + 1 in group:
                    left = sum(KINDS[number] != "alone" for number in group if number > last)
                    yield f"run of {left}", partial(self._start, left)
        elif steps.get(2) == Step.SETTLED:
            yield "vote", self._vote

    def _in_round(self, number: int, step: Step) -> Iterator[tuple[str, Callable[[], Any]]]:
        view = self.ledger.round(number)
        if step is Step.PROBING:
            yield f"canary {number}", lambda: self._canary(number)
            return
        if (
            step is not Step.COLLECTING
        ):  # it is to be cancelled: few have come, or it is another coordinator's
            early = self._now() < view.commit_deadline
            yield (
                f"end of {number}",
                partial(self._advance_to, view.commit_deadline if early else view.anchor_deadline),
            )
            return
        if KINDS[number] == "alone":
            if not self.api.round_report(number):
                yield f"report {number}", lambda: report(self.here, number, {})
            return
        with self.here.coordinator.storage.database.read() as session:
            query = select(Update.contributor).where(Update.round == number, Update.dropped.is_(None))
            accepted = set(session.scalars(query))
            header = session.get_one(Round, number)
            made = self._made(RoundHeader.decode(header.header), header.base_state_sha256)
        for name in ("ada", "ben"):
            if self._account(name) not in accepted:
                yield f"{name} hands in {number}", partial(self._submit, number, made[name])
        if KINDS[number] == "mixed":
            if not self.api.round_report(number):
                yield f"half a report {number}", lambda: report(self.here, number, {}, complete=False)
            for name in ("cleo", "emil"):
                if not self.chain.read(self.chain.ledger.functions.hasCommitted(number, self._account(name))):
                    yield f"{name} commits {number}", partial(self._commit, made[name], name)
            if self._account("cleo") not in accepted:
                yield f"cleo hands in {number}", lambda: self._submit(number, made["cleo"])
            if not self._delivered(number, made["emil"]):
                yield f"emil delivers {number}", lambda: self._deliver(number, made["emil"])
        yield f"commit window of {number}", lambda: self._advance_to(view.commit_deadline)

    # What they do.

    def _account(self, name: str) -> str:
        return str(self.here.world[name].address)

    def _now(self) -> int:
        return int(self.chain.w3.eth.get_block("latest")["timestamp"])

    def _advance_to(self, moment: int) -> None:
        self.here.world.anvil.advance(max(1, moment - self._now()))

    def _start(self, rounds: int) -> None:
        expected = 4 if self.last() < 2 else 2
        self.api.start_run(rounds, expected, self.here.world.coordinator, self.here.domain)

    def _made(self, header: RoundHeader, base_state: str) -> dict[str, Signed]:
        state = State.from_bytes(self.api.files.read(base_state), MANIFEST)
        return {name: train(self.here.world, name, header, state) for name in ("ada", "ben", "cleo", "emil")}

    def _submit(self, number: int, signed: Signed) -> None:
        self.api.submit_update(number, signed.wire, signed.data)

    def _commit(self, signed: Signed, name: str) -> None:
        function = self.chain.ledger.functions.commitUpdate(signed.commitment.abi_tuple())
        self.chain.send(function, self.here.world[name])

    def _deliver(self, number: int, signed: Signed) -> None:
        for call in delivery_calls(number, signed.data, MANIFEST, 8):
            self.chain.send(
                self.chain.data_availability.functions.deliver(*call.arguments), self.here.world["emil"]
            )

    def _delivered(self, number: int, signed: Signed) -> bool:
        contract = self.chain.data_availability.functions
        key = number, signed.commitment.contributor, signed.commitment.update_root
        return bool(self.chain.read(contract.deliveries(*key))[0])

    def _canary(self, number: int) -> None:
        view = self.api.get(f"/v1/rounds/{number}")
        made = CanaryReport(
            round=number,
            task=MANIFEST.task,
            base_state_root=bytes.fromhex(view["baseStateRoot"][2:]),
            state_root=bytes.fromhex(view["stateRoot"][2:]),
            base=measured(0.9),
            candidate=measured(0.9),
        )
        signature = sign_canary(made, self.here.world[EVALUATOR], self.here.domain)
        self.api.send_canary(number, made.to_bytes(), signature)

    def _vote(self) -> None:
        chain, ada, anvil = self.chain, self.here.world["ada"], self.here.world.anvil
        changed = governance.policy_change(chain, factories.policy(verifier=ARBITER, reward=UNIT))
        number, _ = governance.propose(chain, ada, [changed], "A smaller reward")
        anvil.advance(11)
        for name in ("ada", "ben", "cleo"):
            governance.vote(chain, self.here.world[name], governance.find(chain, str(number)), "for")
        for act in (governance.queue, governance.execute):
            anvil.advance(600)
            act(chain, ada, governance.find(chain, str(number)))

    def _withhold(self, number: int) -> None:
        """A file stays away when it is demanded: the round is void."""
        contract, who = self.chain.data_availability, self.here.world[EVALUATOR]
        mean = str(self.api.get(f"/v1/rounds/{number}")["mean"])
        with self.shelf.hidden(mean):
            case = Follower(self.here.world.deployment).read(self.chain.rpc).cases[number]
            call = demand_call(case, MANIFEST, DataKind.MEAN)
            deposit = self.chain.read(contract.functions.deposit())
            self.chain.send(self.chain.token.functions.approve(contract.address, deposit), who)
            self.chain.send(getattr(contract.functions, call.function)(*call.arguments), who)
            demand = self.chain.read(contract.functions.demandCount())
            self._advance_to(self.chain.read(contract.functions.demands(demand))[1])
            self.chain.send(contract.functions.proveWithheld(demand), who)


def outcome(play: Play, last: int) -> dict[int, Any]:
    """How the rounds up to one ended, on the chain and in the database."""
    found: dict[int, Any] = {}
    views = {view["round"]: view for view in play.api.items("/v1/rounds")}
    for number in range(1, last + 1):
        stored, view = play.ledger.round(number), views[number]
        if view["base"] and KINDS[view["base"]] == "void":
            break  # it was opened before its base became void, which it was not in the story
        assert view["step"] in ENDED, f"round {number} is {view['step']}"
        if stored.phase is Phase.FINAL:
            assert view["stateRoot"] == "0x" + stored.state_root.hex()
        with play.here.coordinator.storage.database.read() as session:
            entries = session.scalars(select(Entry).where(Entry.round == number))
            weights = {entry.contributor: entry.weight for entry in entries}
        found[number] = stored.phase.name, view["step"], stored.state_root.hex(), weights
    return found


@dataclass(frozen=True)
class Moment:
    """A phase of the story, as it was saved."""

    name: str
    snapshot: str
    home: Path
    rounds: int
    """Rounds that the database had."""


@dataclass
class Tale:
    """The story, and all phases of it."""

    world: factories.Federation
    moments: list[Moment] = field(default_factory=list)
    outcome: dict[int, Any] = field(default_factory=dict)

    @classmethod
    def told(cls, world: factories.Federation, folder: Path) -> Tale:
        """Play the story without harm, and save each phase."""
        tale, home = cls(world), folder / "home"
        settings = make_home(
            home,
            world,
            time_travel=False,
            poll_interval=0.02,
            commit_margin=60,
            canary=True,
            canary_evaluator=factories.account(EVALUATOR).address,
            requests_per_second=1000,
        )
        with serving(settings, world) as here:
            play, name = Play(here), "beginning"
            while name:
                play.quiet()
                tale._save(name, play, folder)
                name = play.act()
            tale.outcome = outcome(play, play.last())
        return tale

    def _save(self, name: str, play: Play, folder: Path) -> None:
        settings, copy = play.here.coordinator.settings, folder / f"{len(self.moments)}"
        shutil.copytree(settings.home, copy, ignore=shutil.ignore_patterns("*.sqlite*", "*.lock"))
        found = Path(make_url(settings.resolved_database_url).database or "")
        with closing(sqlite3.connect(found)) as source, closing(sqlite3.connect(copy / found.name)) as target:
            source.backup(target)
        self.moments.append(Moment(name, self.world.anvil.snapshot(), copy, len(play.steps())))

    def go_back(self, earlier: int, later: int, folder: Path) -> None:
        """Put the chain at one phase under the coordinator of a later one, and let the people end its rounds."""
        anvil, moment = self.world.anvil, self.moments[earlier]
        known = self.moments[later]
        anvil.revert(moment.snapshot)
        self.moments[earlier] = replace(moment, snapshot=anvil.snapshot())
        anvil.call("anvil_mine", hex(BLOCKS))
        home = folder / f"{earlier}-{later}"
        shutil.copytree(known.home, home)
        try:
            with serving(load(home), self.world) as here:
                play = Play(here)
                play.quiet()
                for _ in range(MOST_DEEDS):
                    steps = play.steps()
                    ended = all(steps.get(number) in ENDED for number in range(1, known.rounds + 1))
                    if ended or not (did := play.act()):
                        break
                    logger.warning("%s", did)
                    play.quiet()
                assert httpx.get(f"{here.api.url}/v1/health", timeout=10).json()["status"] == "ok"
                found = outcome(play, known.rounds)
                assert found == {number: self.outcome[number] for number in found}, play.explain()
        except Exception as error:
            what = (
                f"The chain of {moment.name!r} under the coordinator of {known.name!r} ({earlier}, {later})"
            )
            raise AssertionError(f"{what}: {error}") from error
        shutil.rmtree(home)


@pytest.fixture
def world() -> Iterator[factories.Federation]:
    """A federation on a chain of the test's own, whose rounds a judge may end."""
    with Anvil() as anvil:
        made = federation(anvil, verifier=ARBITER)
        yield made
        made.chain.close()


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param("12", marks=[pytest.mark.story, pytest.mark.timeout(600)]),
        pytest.param("all", marks=[pytest.mark.long, pytest.mark.timeout(7200)]),
    ],
)
def test_a_chain_goes_back_from_any_phase_to_any_other_and_every_round_ends_as_it_did(
    wanted: str, world: factories.Federation, tmp_path: Path
) -> None:
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(10**6))
    wanted = os.environ.get(PAIRS) or wanted
    tale = Tale.told(world, tmp_path)
    assert [facts[0] for facts in tale.outcome.values()] == [
        "CANCELLED",
        "FINAL",
        "FINAL",
        "SLASHED",
        "FINAL",
    ]
    count = len(tale.moments)
    pairs = [(earlier, later) for later in range(count) for earlier in range(later)]
    if "-" in wanted:
        pairs = [(int(one.split("-")[0]), int(one.split("-")[1])) for one in wanted.split(",")]
    elif wanted != "all":
        pairs = random.Random(seed).sample(pairs, int(wanted))  # noqa: S311  no secret
    logger.warning("%d phases, %d pairs, %s=%d", count, len(pairs), SEED, seed)
    broken = []
    for earlier, later in sorted(
        pairs, reverse=True
    ):  # the chain forgets the snapshots above the one that it goes to
        try:
            tale.go_back(earlier, later, tmp_path)
        except AssertionError as error:
            broken.append(str(error))
            logger.warning("BROKEN %s", error)
    assert not broken, f"{len(broken)} of {len(pairs)} pairs with {SEED}={seed}: " + "\n".join(broken)
