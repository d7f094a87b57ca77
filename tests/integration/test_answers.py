# SPDX-License-Identifier: Apache-2.0
"""Demands for data on a real chain, and the coordinator that answers them by itself, or does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from folkmoot.cli import main
from folkmoot.errors import ArtifactError, InputError, UpdateRefused
from folkmoot.fraud.contracts import demands as demanding
from folkmoot.fraud.contracts.follower import Follower
from folkmoot.fraud.proofs.availability import DataKind, Status, delivery_calls, demand_call
from folkmoot.fraud.proofs.case import Case
from folkmoot.fraud.proofs.descent import list_of
from folkmoot.fraud.proofs.trees import raw_update_tree
from folkmoot.ledger.events import Answered, Slashed
from folkmoot.ledger.scan import scan
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.policy import ARBITER
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.rpc.client import Phase
from server.db import events
from server.db.models import Transaction
from tests import factories
from tests.integration.coordinator_world import (
    MANIFEST,
    Running,
    Signed,
    make_home,
    open_round,
    running,
    serving,
    train,
    until,
)

WIDTH = 4
"""Demands and deliveries have leaves of a byte a coordinate, files are packed."""
FEDERATION = {"verifier": ARBITER, "width": WIDTH}


def play(here: Running) -> bytes:
    """Play a round of two up to its anchor; return the bytes of the second update."""
    here.api.start_run(1, 2, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        here.api.submit_update(1, signed.wire, signed.data)
    until(lambda: here.world.chain.ledger.round(1).phase is Phase.ANCHORED, what="the anchor")
    return signed.data


def case_of(world: factories.Federation) -> Case:
    return Follower(world.deployment).read(world.chain.rpc).cases[1]


def status_of(world: factories.Federation, demand: int) -> Status:
    return Status(world.chain.read(world.chain.data_availability.functions.demands(demand))[3])


def ask(world: factories.Federation, who: str, what: DataKind, entry: int = 0) -> int:
    call = demand_call(case_of(world), MANIFEST, what, entry)
    return demanding.ask(world.chain, call, world[who], demanding.purpose(1, what, entry)).demand


def descend(world: factories.Federation, who: str, demand: int, leaf: int) -> int:
    call, _ = demanding.step_down(world.chain, demand, leaf)
    return demanding.ask(world.chain, call, world[who], demanding.step_purpose(demand, leaf)).demand


def answers(world: factories.Federation) -> list[Answered]:
    chain = world.chain
    found = scan(chain, world.deployment.block, chain.rpc.block_number(), contracts=("data_availability",))
    return [event for event in found if isinstance(event, Answered)]


def sent(here: Running) -> list[str]:
    """States of the coordinator's answers."""
    with here.coordinator.storage.database.read() as session:
        found = select(Transaction.state).where(Transaction.purpose.startswith("answer:"))
        return list(session.scalars(found))


def kinds(here: Running) -> list[str]:
    """Types of the coordinator's events so far."""
    with here.coordinator.storage.database.read() as session:
        return [event.type for event in events.after(session, 0)]


def test_a_demand_of_each_kind_is_answered_once(world: factories.Federation, tmp_path: Path) -> None:
    with running(tmp_path / "home", world, time_travel_after=3600) as here:
        data = play(here)
        before = world.chain.token.balance_of(world.coordinator.address)
        last = MANIFEST.leaves - 1
        demands = [
            ask(world, "newcomer", DataKind.UPDATE, 1),
            ask(world, "newcomer", DataKind.UPDATE, 0),
            ask(world, "newcomer", DataKind.MEAN),
            ask(world, "newcomer", DataKind.THETA),
            ask(world, "cleo", DataKind.MOMENTUM),
            ask(world, "cleo", DataKind.HEADER),
            ask(world, "cleo", DataKind.VERDICTS),
            ask(world, "cleo", DataKind.ARTIFACTS),
        ]

        def until_answered() -> None:
            until(
                lambda: {status_of(world, demand) for demand in demands} == {Status.ANSWERED}, what="answers"
            )

        until_answered()
        leaves = ((0, 2), (1, last), (2, last), (3, 1), (4, 0))
        demands += [descend(world, "cleo", demands[root], leaf) for root, leaf in leaves]
        until_answered()
        found = answers(world)
        assert sorted(answer.demand for answer in found) == demands
        assert {answer.answerer for answer in found} == {world.coordinator.address}
        (leaf,) = [answer.values for answer in found if answer.demand == demands[8]]
        assert leaf == MemoryUpdate(data, WIDTH).read(2, 3).tobytes()
        deposits = len(demands) * demanding.deposit_of(world.chain)
        assert world.chain.token.balance_of(world.coordinator.address) == before + deposits
        until(
            lambda: kinds(here).count("demand-answered") == len(demands),
            what="the events",
        )
        until(lambda: sent(here) == ["confirmed"] * len(demands), what="the confirmations")
        assert world.chain.ledger.round(1).phase is Phase.ANCHORED


def test_a_demand_that_came_while_nobody_was_there_is_answered_after_the_start(
    world: factories.Federation, tmp_path: Path
) -> None:
    settings = make_home(tmp_path / "home", world, time_travel_after=3600)
    with serving(settings, world) as here:
        play(here)
    demand = ask(world, "newcomer", DataKind.THETA)
    with serving(settings, world):
        until(lambda: status_of(world, demand) is Status.ANSWERED, what="the answer")
    with serving(settings, world) as here:
        until(lambda: here.worker.status.indexed_block >= world.chain.rpc.block_number(), what="the indexer")
        assert len(answers(world)) == 1


def test_who_withholds_a_round_is_convicted(world: factories.Federation, tmp_path: Path) -> None:
    chain = world.chain
    with running(tmp_path / "home", world, lie="withhold@1") as here:
        data = play(here)
        with pytest.raises(ArtifactError) as hidden:
            here.api.files.read(sha256_hex(data))
        assert hidden.value.details["answer"] == "artifact-unknown"
        call = demand_call(case_of(world), MANIFEST, DataKind.UPDATE, 0)
        made = demanding.ask(chain, call, world["newcomer"], "an update that was never asked for before")
        with pytest.raises(InputError) as early:
            demanding.settle(chain, made.demand, world["newcomer"])
        assert early.value.code == "too-early"
        until(lambda: "data-demanded" in kinds(here), what="the demand's event")
        balance = chain.token.balance_of(world["newcomer"].address)
        world.anvil.advance(made.answer_by - chain.now() + 1)
        assert demanding.settle(chain, made.demand, world["newcomer"]).convicted
        assert chain.phase(1) is Phase.SLASHED
        (slashed,) = [
            e for e in scan(chain, world.deployment.block, chain.rpc.block_number()) if isinstance(e, Slashed)
        ]
        assert slashed.account == world.coordinator.address
        assert 3 * slashed.reward == slashed.burnt
        assert chain.token.balance_of(world["newcomer"].address) == balance + made.deposit + slashed.reward
        assert chain.ledger.head().round == 0
        assert not answers(world)
        with pytest.raises(InputError) as closed:
            demanding.settle(chain, made.demand, world["newcomer"])
        assert closed.value.code == "demand-closed"
        until(lambda: here.api.get("/v1/rounds/1")["phase"] == "slashed", what="the end of the round")


def deliver(here: Running, name: str, signed: Signed) -> None:
    """Commit and deliver an update on the chain, without the coordinator."""
    chain, account = here.world.chain, here.world[name]
    chain.send(chain.ledger.functions.commitUpdate(signed.commitment.abi_tuple()), account)
    number = signed.commitment.round
    width = chain.ledger.policy(chain.ledger.round(number).policy).width
    for call in delivery_calls(number, signed.data, MANIFEST, width):
        chain.send(chain.data_availability.functions.deliver(*call.arguments), account)


def test_an_update_that_came_on_the_chain_alone_counts(world: factories.Federation, tmp_path: Path) -> None:
    with running(tmp_path / "home", world, time_travel_after=3600) as here:
        here.api.start_run(1, 3, world.coordinator, here.domain)
        _, header, state = open_round(here.api, 1)
        made = {name: train(world, name, header, state) for name in ("ada", "ben", "cleo")}
        deliver(here, "cleo", made["cleo"])
        for name in ("ada", "ben"):
            here.api.submit_update(1, made[name].wire, made[name].data)
        until(lambda: world.chain.ledger.round(1).phase is Phase.ANCHORED, what="the anchor")
        case = case_of(world)
        assert case.entries[0].contributor == world["cleo"].address
        assert case.anchor.weights == (1, 1, 1)
        assert here.api.files.read(sha256_hex(made["cleo"].data)) == made["cleo"].data


def test_a_packed_file_is_checked(world: factories.Federation, tmp_path: Path) -> None:
    with running(tmp_path / "home", world) as here:
        here.api.start_run(1, 3, world.coordinator, here.domain)
        _, header, state = open_round(here.api, 1)
        ada = train(world, "ada", header, state)
        assert len(ada.data) == MANIFEST.size // 2
        for data, code in (
            (MemoryUpdate(ada.data, WIDTH).read(0, MANIFEST.leaves).tobytes(), "wrong-size"),
            (bytes([ada.data[0] & 0xF0]) + ada.data[1:], "invalid-encoding"),
            (ada.data[:-1] + b"\x89", "invalid-encoding"),
            (ada.data[::-1], "invalid-encoding"),
        ):
            with pytest.raises(UpdateRefused) as refused:
                here.api.submit_update(1, ada.wire, data)
            assert refused.value.code == code
        here.api.submit_update(1, ada.wire, ada.data)


def test_a_file_that_is_lost_is_said_and_put_back_in_time(
    world: factories.Federation, tmp_path: Path
) -> None:
    with running(tmp_path / "home", world, time_travel_after=3600) as here:
        data = play(here)
        place = here.coordinator.storage.store.path(sha256_hex(data))
        place.unlink()
        demand = ask(world, "newcomer", DataKind.UPDATE, 1)
        until(lambda: "demand-unanswerable" in kinds(here), what="the complaint")
        place.write_bytes(data)
        until(lambda: status_of(world, demand) is Status.ANSWERED, what="the answer")


def test_anybody_demands_by_the_command(
    world: factories.Federation,
    tmp_path: Path,
    keystore: Callable[[str], Path],
    password_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deployment = tmp_path / "deployment.json"
    world.deployment.save(deployment)
    with running(tmp_path / "home", world, lie="withhold@1") as here:
        data = play(here)
        common = ["--rpc", world.anvil.url, "--deployment", str(deployment), "--json"]
        key = ["--keystore", str(keystore("newcomer")), "--password-file", str(password_file)]
        mirror = ["--artifacts", here.api.url]

        def run(*words: str) -> tuple[int, dict[str, Any]]:
            status = main.run(["demand", *words, *common, *key])
            said: dict[str, Any] = json.loads(capsys.readouterr().out)
            return status, said

        status, refused = run("1", "--what", "update", *mirror)
        assert (status, "--entry" in str(refused["error"])) == (1, True)
        status, refused = run("1", "--what", "update", "--entry", "7", *mirror, "--yes")
        assert (status, refused["error"]["code"]) == (1, "no-such-place")
        status, refused = run("2", "--what", "header", "--yes")
        assert (status, refused["error"]["code"]) == (1, "round-not-anchored")
        status, made = run("1", "--what", "update", "--entry", "1", *mirror, "--yes")
        assert (status, made["demand"], made["level"], made["index"]) == (0, 1, MANIFEST.depth, 0)
        for words, code in (
            (("1", "--claim"), "too-early"),
            (("1", "--leaf", "0", "--yes"), "demand-not-answered"),
            (("2", "--leaf", "0", "--yes"), "demand-unknown"),
        ):
            status, early = run(*words)
            assert (status, early["error"]["code"]) == (1, code)
        tree = raw_update_tree(MemoryUpdate(data, WIDTH))
        assert tree is not None
        show = world.chain.data_availability.functions.show
        world.chain.send(show(1, list_of(tree, MANIFEST.depth, 0), bytes(32)), world["cleo"])
        status, beside = run("1", "--leaf", str(1 << MANIFEST.depth), "--yes")
        assert (status, beside["error"]["code"]) == (1, "no-such-place")
        status, made = run("1", "--leaf", "3", "--yes")
        assert (status, made["demand"], made["level"], made["index"]) == (0, 2, 0, 3)
        world.anvil.advance(int(str(made["answerBy"])) - world.chain.now() + 1)
        status, done = run("2", "--claim")
        assert (status, done["convicted"], done["round"]) == (0, True, 1)


def test_a_postponed_end_of_the_window_is_shown(world: factories.Federation, tmp_path: Path) -> None:
    chain = world.chain
    with running(tmp_path / "home", world, time_travel_after=3600) as here:
        play(here)
        before = chain.ledger.round(1).challenge_deadline
        until(lambda: here.api.get("/v1/rounds/1")["challengeDeadline"] == before, what="the first deadline")
        disputes = chain.disputes
        approve = chain.token.functions.approve(disputes.address, chain.read(disputes.functions.deposit(1)))
        chain.send(approve, world["newcomer"])
        chain.send(disputes.functions.open(1, "odd"), world["newcomer"])
        after = chain.ledger.round(1).challenge_deadline
        assert after > before
        until(lambda: here.api.get("/v1/rounds/1")["challengeDeadline"] == after, what="the new deadline")
