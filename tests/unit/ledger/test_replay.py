# SPDX-License-Identifier: Apache-2.0
"""The state of a federation after its events, on scripted chains; and the same from the rows of a coordinator."""

from __future__ import annotations

import pytest

from folkmoot.errors import RpcError
from folkmoot.ledger.replay import CancelReason, FederationState, read_state
from folkmoot.ledger.scan import ChainSource, scan
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import Phase
from server.chain.indexer import read_log
from server.chain.recorded import event_of
from tests import factories
from tests.scripted_ledger import ScriptedLedger, ScriptedRpc, address_of


@pytest.fixture
def ledger() -> ScriptedLedger:
    return ScriptedLedger()


def state_of(ledger: ScriptedLedger) -> FederationState:
    return read_state(ChainSource(ScriptedRpc(ledger), ledger.deployment))


def test_a_round_has_what_its_events_say(ledger: ScriptedLedger) -> None:
    for _ in range(4):
        ledger.play(3, 2)
    state = state_of(ledger)
    assert (state.head, state.policy, list(state.rounds)) == (4, 1, [1, 2, 3, 4])
    assert [round_.phase for round_ in state.rounds.values()] == [Phase.FINAL] * 2 + [Phase.ANCHORED] * 2
    for number, round_ in state.rounds.items():
        stored = ledger.rounds[number]
        assert round_.known_anchor.hash == stored.view.anchor_hash
        assert round_.commitments() == stored.commitments
        assert list(round_.contributors) == [address_of("contributor", index) for index in range(3)]


def test_what_builds_on_a_slashed_round_is_void(ledger: ScriptedLedger) -> None:
    for _ in range(4):
        ledger.play(3, 9)
    ledger.slash(2)
    state = state_of(ledger)
    assert [round_.phase for round_ in state.rounds.values()] == [
        Phase.ANCHORED,
        Phase.SLASHED,
        Phase.CANCELLED,
        Phase.CANCELLED,
    ]
    assert [round_.voided for round_ in state.rounds.values()] == [False, True, True, True]
    assert state.rounds[3].cancelled is CancelReason.BASE_VOIDED
    assert state.rounds[3].cancellation is None, "its bond is not released"
    assert state.head == 1


def test_a_copy_goes_its_own_way(ledger: ScriptedLedger) -> None:
    number = ledger.open(0)
    before = state_of(ledger)
    ledger.commit(number, 3)
    ledger.anchor(number)
    after = before.copy()
    for event in scan(ChainSource(ScriptedRpc(ledger), ledger.deployment), 1, ledger.block):
        if event.name in ("UpdatesCommitted", "RoundAnchored"):
            after.apply(event)
    assert (len(after.rounds[number].commits), after.head) == (3, number)
    assert (before.rounds[number].commits, before.rounds[number].anchored, before.head) == ([], None, 0)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("RoundFinalized", {"round": 9, "stateRoot": bytes(32)}, "round 9 do not begin with its opening"),
        ("RoundCancelled", {"round": 1, "reason": 7}, "cancels round 1 for an unknown reason, 7"),
    ],
)
def test_events_that_do_not_fit_are_named(
    ledger: ScriptedLedger, name: str, values: dict[str, object], message: str
) -> None:
    ledger.open(0)
    ledger._log(name, **values)
    with pytest.raises(RpcError, match=message) as caught:
        state_of(ledger)
    assert caught.value.code == "bad-log"


def test_a_round_under_an_unknown_policy_is_named(ledger: ScriptedLedger) -> None:
    ledger._logs.clear()
    ledger.open(0)
    with pytest.raises(RpcError, match="no event of policy 1, which round 1 pins"):
        state_of(ledger)


@pytest.mark.parametrize("policy", [factories.policy(), factories.policy(noise1024=1024, steps=3)])
def test_a_row_of_a_coordinator_is_the_event_again(policy: Policy) -> None:
    ledger = ScriptedLedger(policy)
    number = ledger.play(3, 0)
    ledger.slash(ledger.play(65, 1))
    ledger.cancel(ledger.open(number))
    source = ChainSource(ScriptedRpc(ledger), ledger.deployment)
    logs = ledger._found(0, ledger.block)
    roles = {ledger.deployment.ledger: "ledger", ledger.deployment.policies: "policies"}
    rows = [row for log in logs if (row := read_log(roles, log)) is not None]
    assert [event_of(row) for row in rows] == list(
        scan(source, 0, ledger.block, contracts=("policies", "ledger"))
    )
    assert {row.name for row in rows} >= {"PolicyAdded", "UpdatesCommitted", "RoundAnchored", "RoundSlashed"}
