# SPDX-License-Identifier: Apache-2.0
"""The audit of rounds whose weights follow from the rounds before: from files that earlier anchors commit to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from folkmoot.aggregation.lineage import Lineage
from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.artifacts.sources import ArtifactSource, CoordinatorSource, FolderSource
from folkmoot.audit.audit import Summary, audit
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import AuditFailure
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.verdict import Reason
from folkmoot.round import RoundOutcome
from tests import factories
from tests.integration import fraud_world as lies
from tests.integration.audit_world import MANIFEST, NAMES, ROUNDS, Related, World, build_related


@pytest.fixture(scope="module")
def history(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Related]:
    """The honest history of this module. Never changed."""
    world = build_related(chain, tmp_path_factory.mktemp("lineage") / "artifacts")
    yield world
    world.federation.chain.close()


@pytest.fixture
def world(history: Related, chain: Anvil, tmp_path: Path) -> Iterator[World]:
    """The same history, for one test to go on with."""
    snapshot = chain.snapshot()
    yield history.copied(tmp_path / "artifacts")
    chain.revert(snapshot)


def audited(world: World, source: ArtifactSource | None = None, **options: Any) -> Summary:
    source = source or FolderSource(world.folder.path)
    return audit([world.federation.anvil.url], world.federation.deployment, source, **options)


def failure_of(world: World, **options: Any) -> AuditFailure:
    with pytest.raises(AuditFailure) as caught:
        audited(world, **options)
    return caught.value


def outcome_of(world: World, number: int) -> RoundOutcome:
    outcome = world.rounds[number].outcome
    assert outcome is not None
    return outcome


def test_rounds_are_weighed_by_what_came_before(history: World) -> None:
    first, last = outcome_of(history, 1).verdicts.verdicts, outcome_of(history, ROUNDS).verdicts.verdicts
    assert not any("trajectoryCosine" in verdict.numbers for verdict in first)
    assert all(verdict.numbers["trajectoryCosine"] > 0 for verdict in last)
    own = outcome_of(history, 5).verdicts.verdicts[1]
    assert (own.contributor, own.weight, own.reason) == (
        history.federation.coordinator.address,
        0,
        Reason.ROOT,
    )


def test_an_audit_finds_the_same_references(history: World) -> None:
    found = audited(history)
    assert (found.recomputed, found.updates) == (ROUNDS - 1, 5 * (ROUNDS - 1) + 2 - 1)


@pytest.mark.parametrize("first", [2, ROUNDS])
def test_an_audit_that_starts_later_fetches_what_it_compares_with(history: World, first: int) -> None:
    assert audited(history, from_round=first).recomputed == len(
        [n for n in range(first, ROUNDS + 1) if n != 4]
    )


def test_states_are_computed_where_their_files_are_not_read(world: World) -> None:
    states = {outcome_of(world, number).artifacts.state for number in world.rounds if number != 4}
    for name in states - {outcome_of(world, 1).artifacts.base_state}:
        world.folder.place(name).unlink()
    assert "the state file" in failure_of(world).message
    found = audited(world, reads_states=False)
    assert found.recomputed == ROUNDS - 1
    assert any("was not checked" in note for note in found.notes)


def test_copies_are_kept_as_long_as_the_window_is(history: World) -> None:
    asked: list[str] = []
    kept: list[int] = []

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/v1/models/"):
            return httpx.Response(404)  # a web server with files hands out none
        asked.append(request.url.path)
        kept.append(sum(path.stat().st_size == MANIFEST.size for path in source._store.root.glob("??/*")))
        *_, parent, name = request.url.path.split("/")
        folder = history.folder
        path = folder.document(bytes.fromhex(name)) if parent == "by-keccak" else folder.place(name)
        return httpx.Response(200, content=path.read_bytes())

    with CoordinatorSource("http://coordinator.test", transport=httpx.MockTransport(serve)) as source:
        assert audited(history, source).recomputed == ROUNDS - 1
        updates = outcome_of(history, 1).artifacts.updates
        assert asked.count(f"/v1/artifacts/{updates[0]}") == 1, (
            "it is fetched once, and compared for eight rounds"
        )
        left = {path.name for path in source._store.root.glob("??/*")}
    assert not left & set(updates), "and is let go then"
    assert set(outcome_of(history, 5).artifacts.updates) <= left
    assert max(kept) <= 5 * (WINDOW + 1) + 2


# A coordinator that does not do as the lineage says


def test_a_path_that_was_left_out_is_found_by_the_weights(world: World) -> None:
    number = world.open()
    world.commit(number, NAMES)
    world.anchor(number, lineage=Lineage())
    failure = failure_of(world)
    assert failure.details["round"] == number
    assert failure.details["check"] == "verdicts"
    assert failure.details["contributor"] in [factories.account(name).address for name in NAMES]
    assert "weight" in failure.message


def test_a_replay_that_was_overlooked_is_found(world: World) -> None:
    who = factories.account("newcomer")
    factories.stake(world.federation.chain, who, factories.policy().min_stake)
    factories.enrol(world.federation.chain, who, factories.policy().min_stake)
    world.advance(1)
    number = world.open()
    world.commit(number, NAMES)
    record = world.rounds[number]
    old = world.rounds[number - 1].updates[3]
    assert old is not None
    before = world.rounds[number - 1].commitments[3]
    replayed = replace(
        before, contributor=who.address, round=number, base_state_root=record.header.base_state_root
    )
    world.send("ledger", "commitUpdate", replayed.abi_tuple(), by=who)
    record.commitments.append(replayed)
    record.updates.append(old)
    honest = world.lineage(number)
    blind = replace(
        honest, rounds=tuple(replace(past, updates=(), keys=(), contributors=()) for past in honest.rounds)
    )
    assert world.anchor(number, lineage=blind).weights[5] > 0
    failure = failure_of(world)
    # The replay moves the medians, and so the weights of all: the audit names the first that is wrong.
    assert failure.details["round"] == number
    assert "the weight" in failure.message


def test_a_coordinator_that_rewards_its_own_entry_is_found(world: World) -> None:
    def pay_oneself(_: World, outcome: RoundOutcome) -> Anchor:
        weights = list(outcome.weights)
        weights[0] = max(weights)
        return replace(outcome.anchor, weights=tuple(weights))

    number = world.open()
    world.commit(number, ["coordinator", *NAMES])
    world.anchor(number, pay_oneself)
    failure = failure_of(world)
    assert failure.details["contributor"] == world.federation.coordinator.address
    assert "the weight" in failure.message


def test_a_wrong_pay_is_found(world: World) -> None:
    number = world.open()
    world.commit(number, NAMES)
    world.anchor(number, lies.lie_pay)
    failure = failure_of(world)
    assert (failure.details["round"], failure.details["check"]) == (number, "verdicts")
    assert failure.details["what"] == "the pay"
    verdicts = outcome_of(world, number).verdicts.verdicts
    assert failure.details["contributor"] == next(one.contributor for one in verdicts if one.pay)


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_file_of_the_window_that_is_not_there_is_named(world: World, how: str) -> None:
    """An audit that starts later needs it, though it does not recompute its round."""
    lost = outcome_of(world, 6).artifacts.updates[2]
    assert lost is not None
    if how == "missing":
        world.folder.place(lost).unlink()
    else:
        world.folder.place(lost).write_bytes(bytes(MANIFEST.size))
    failure = failure_of(world, from_round=ROUNDS)
    assert failure.details["round"] == 6
    assert failure.details["contributor"] == factories.account("cleo").address
    assert failure.details["artifact"] == lost
    assert audited(world, from_round=ROUNDS + 1).recomputed == 0
