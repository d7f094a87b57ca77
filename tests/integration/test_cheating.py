# SPDX-License-Identifier: Apache-2.0
"""Lies on demand: each is anchored by a real coordinator and proven by a watcher that has only chain and files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from folkmoot_lab.lies import Kind, Lie
from folkmoot_lab.lies.__main__ import run
from folkmoot_lab.lies.coordinator import LyingCoordinator

import server.coordinator
from folkmoot.artifacts.sources import CoordinatorSource
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import InputError, UpdateRefused
from folkmoot.fraud.watcher.journal import Journal
from folkmoot.fraud.watcher.watch import Options, Watcher
from folkmoot.ledger.events import Slashed
from folkmoot.ledger.scan import scan
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.policy import ARBITER
from folkmoot.rpc.client import Phase
from server.coordinator import Coordinator, open_coordinator
from server.home import open_account
from tests import factories
from tests.integration.coordinator_world import (
    Running,
    Signed,
    federation,
    make_home,
    open_round,
    running,
    train,
    until,
)
from tests.integration.test_answers import deliver
from tests.logged import log_to

FEDERATION = {"verifier": ARBITER, "momentum": 922}


@pytest.fixture
def watch_of(tmp_path: Path) -> Iterator[Callable[[factories.Federation, Running], str]]:
    """Let a watcher look once at a federation, and return what it said."""
    opened: list[Watcher] = []

    def look(world: factories.Federation, here: Running) -> str:
        said = io.StringIO()
        if not opened:
            place = world.deployment
            journal = Journal.open(tmp_path / "watch", place.chain_id, place.ledger)
            source = CoordinatorSource(here.api.url)
            log, options = log_to(said, "text"), Options(world["newcomer"])
            opened.append(Watcher([world.anvil.url], place, {here.api.url: source}, journal, log, options))
        opened[0].log = log_to(said, "text")
        assert opened[0].look()
        return said.getvalue()

    yield look
    for watcher in opened:
        watcher.close()


@pytest.fixture
def watch(
    world: factories.Federation, watch_of: Callable[[factories.Federation, Running], str]
) -> Callable[[Running], str]:
    """The same for the federation of this module."""
    return lambda here: watch_of(world, here)


def claimed_small(world: factories.Federation, signed: Signed, name: str) -> Signed:
    """The same update with a quarter of its sum of squares, signed."""
    commitment = replace(signed.commitment, sum_squares=signed.commitment.sum_squares // 4)
    domain = Domain(world.deployment.chain_id, world.deployment.ledger)
    return Signed(commitment, commitment.sign(factories.account(name), domain), signed.data)


def play(
    here: Running, number: int, false: str = "", names: tuple[str, ...] = ("ada", "ben", "cleo")
) -> None:
    """Play a round up to its anchor; one of the contributors may claim a false norm."""
    here.api.start_run(1, len(names), here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, number)
    for name in names:
        signed = train(here.world, name, header, state)
        if name == false:
            signed = claimed_small(here.world, signed, name)
        here.api.submit_update(number, signed.wire, signed.data)
    until(lambda: here.world.chain.ledger.round(number).phase is Phase.ANCHORED, what="the anchor")


@pytest.mark.long
@pytest.mark.parametrize(
    ("cheat", "proof"),
    [("mean", "mean"), ("weights", "weight"), ("outer-step", "outer-step"), ("norm", "update")],
)
def test_a_lie_costs_half_a_bond_for_the_watcher_and_the_next_round_is_honest(
    world: factories.Federation, tmp_path: Path, watch: Callable[[Running], str], cheat: str, proof: str
) -> None:
    chain, coordinator, watcher = world.chain, world.coordinator.address, world["newcomer"].address
    stake, tokens = chain.vault.stake_of(coordinator), chain.token.balance_of(watcher)
    with running(tmp_path / "home", world, lie=f"{cheat}@1", time_travel_after=3600) as here:
        play(here, 1, "cleo" if cheat == "norm" else "")
        said = watch(here)
        assert f"{proof} " in said
        assert chain.phase(1) is Phase.SLASHED, said
        bond = chain.ledger.policy(1).bond
        assert chain.vault.stake_of(coordinator) == stake - bond
        # Whoever signed a false norm pays as well: its minimum stake.
        fault = chain.ledger.policy(1).min_stake if cheat == "norm" else 0
        assert chain.vault.stake_of(world["cleo"].address) == factories.STAKE - fault
        assert chain.token.balance_of(watcher) == tokens + (bond + fault) // 4
        found = [
            e for e in scan(chain, world.deployment.block, chain.rpc.block_number()) if isinstance(e, Slashed)
        ]
        assert found[0].burnt == bond - bond // 4
        assert chain.ledger.head().round == 0
        until(lambda: (run := here.api.run()) is None or run.state == "failed", what="the end of the run")
        play(here, 2)
        assert "Round 2 is right" in watch(here)
        assert chain.phase(2) is Phase.ANCHORED
        assert chain.ledger.round(2).base == 0


def test_a_weight_that_the_rule_does_not_yield_is_proven_by_the_gram_matrix(
    anvil: Anvil, tmp_path: Path, watch_of: Callable[[factories.Federation, Running], str]
) -> None:
    world = federation(anvil, verifier=ARBITER, rule="multi_krum", parameters=(1, 0))
    with running(tmp_path / "home", world, lie="weights@1", time_travel_after=3600) as here:
        play(here, 1, names=factories.CONTRIBUTORS)
        said = watch_of(world, here)
        assert world.chain.phase(1) is Phase.SLASHED, said
    world.chain.close()


@pytest.mark.long
def test_who_is_censored_delivers_on_the_chain_and_gets_half_of_the_bond(
    world: factories.Federation, tmp_path: Path, watch: Callable[[Running], str]
) -> None:
    chain = world.chain
    with running(tmp_path / "home", world, lie="censor@1", time_travel_after=3600) as here:
        here.api.start_run(1, 3, world.coordinator, here.domain)
        current, header, state = open_round(here.api, 1)
        made = {name: train(world, name, header, state) for name in ("ada", "ben", "cleo")}
        with pytest.raises(UpdateRefused) as refused:
            here.api.submit_update(1, made["ada"].wire, made["ada"].data)
        assert refused.value.code == "round-full"
        for name in ("ben", "cleo"):
            here.api.submit_update(1, made[name].wire, made[name].data)
        deliver(here, "ada", made["ada"])
        tokens = chain.token.balance_of(world["ada"].address)
        until(lambda: chain.ledger.round(1).entries == 3, what="all commitments")
        world.anvil.advance(current.commit_deadline - chain.now() + 1)
        until(lambda: chain.ledger.round(1).phase is Phase.ANCHORED, what="the anchor", seconds=60)
        said = watch(here)
        assert chain.phase(1) is Phase.SLASHED, said
        assert "censored" in said
        assert chain.token.balance_of(world["ada"].address) == tokens + chain.ledger.policy(1).bond // 4


def test_a_false_norm_is_refused_by_an_honest_coordinator(
    world: factories.Federation, tmp_path: Path
) -> None:
    with running(tmp_path / "home", world, lie="norm@2") as here:
        here.api.start_run(1, 3, world.coordinator, here.domain)
        _, header, state = open_round(here.api, 1)
        false = claimed_small(world, train(world, "ada", header, state), "ada")
        with pytest.raises(UpdateRefused) as refused:
            here.api.submit_update(1, false.wire, false.data)
        assert refused.value.code == "wrong-norm"


def test_nobody_can_cheat_but_on_a_local_anvil(world: factories.Federation, tmp_path: Path) -> None:
    settings = make_home(tmp_path / "home", world)
    with contextlib.closing(open_coordinator(settings, open_account(settings))) as honest:
        assert type(honest) is Coordinator
        liar = LyingCoordinator.of(honest, Lie.parse("mean@1"))
        liar.check_chain()
        with pytest.raises(InputError) as elsewhere:
            replace(liar, chain=replace(liar.chain, chain_id=10)).check_chain()
        assert elsewhere.value.code == "lie-not-local"
        engines = [made.make_engine(lambda: None) for made in (honest, liar)]
        for engine in engines:
            engine.close()
        assert vars(engines[1]).keys() - vars(engines[0]).keys() == {"_lie"}, (
            "each part that lies has its place"
        )


def test_the_command_line_makes_a_coordinator_that_lies(
    world: factories.Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.coordinator, "connect", server.coordinator.connect)  # so that it is put back
    settings = make_home(tmp_path / "home", world)
    assert run(["mean@3", "serve", "--help"]) == 0
    with contextlib.closing(open_coordinator(settings, open_account(settings))) as liar:
        assert isinstance(liar, LyingCoordinator)
        assert liar.lie == Lie(Kind.MEAN, 3)
