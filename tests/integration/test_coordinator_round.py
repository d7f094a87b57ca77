# SPDX-License-Identifier: Apache-2.0
"""Whole rounds on a real chain, with contributors whose training is noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import safetensors.numpy

from folkmoot.coordinator_api import Event
from folkmoot.errors import ArtifactError, CoordinatorError, UpdateRefused
from folkmoot.protocol.hashing import sha256_hex
from server.rounds import anchor_window
from tests import factories
from tests.carried import DATA, TABLE
from tests.integration.coordinator_world import (
    MANIFEST,
    Running,
    Signed,
    open_round,
    train,
    until,
)


def start(here: Running, rounds: int, expect: int) -> None:
    here.api.start_run(rounds, expect, here.world.coordinator, here.domain)


def submit(here: Running, signed: Signed) -> None:
    here.api.submit_update(signed.commitment.round, signed.wire, signed.data)


def commit_alone(here: Running, name: str, signed: Signed) -> None:
    chain = here.world.chain
    chain.send(chain.ledger.functions.commitUpdate(signed.commitment.abi_tuple()), here.world[name])


def step_of(here: Running, number: int) -> str:
    return str(here.api.get(f"/v1/rounds/{number}")["step"])


def test_round_ends_with_a_version_rewards_and_the_next_round(here: Running) -> None:
    api, chain = here.api, here.world.chain
    start(here, 2, 3)
    _, header, state = open_round(api, 1)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        submit(here, signed)
        submit(here, signed)
    with pytest.raises(ArtifactError) as early:
        api.files.read(sha256_hex(signed.data))
    assert early.value.details["answer"] == "artifact-embargoed"
    bad = train(here.world, "cleo", header, state)
    with pytest.raises(UpdateRefused) as refused:
        api.submit_update(1, bad.wire, bad.data[:5] + bytes([bad.data[5] ^ 1 or 2]) + bad.data[6:])
    assert refused.value.code == "wrong-root"
    until(lambda: step_of(here, 1) == "settled", what="settlement")
    view = api.get("/v1/rounds/1")
    assert view["weights"] == [1, 1], view
    assert "0x" + chain.ledger.round(1).state_root.hex() == view["stateRoot"]
    assert chain.rewards.claimable(here.world["ada"].address) == 10 * 10**18 // 32
    assert api.files.read(sha256_hex(signed.data)) == signed.data
    assert api.files.document(view["artifactsHash"][2:]) == api.files.read(view["artifacts"])

    _, header2, state2 = open_round(api, 2)
    assert state2.root(MANIFEST.hash) == chain.ledger.round(1).state_root
    for name in ("ada", "ben", "cleo"):
        submit(here, train(here.world, name, header2, state2))
    until(lambda: (run := api.run()) and run.state == "done", what="the run's end")
    assert chain.registry.version(2).parent == 1
    assert [item["version"] for item in api.items("/v1/models")] == [0, 1, 2]
    with pytest.raises(CoordinatorError) as missing:
        api.get("/v1/models/active")
    assert missing.value.code == "no-active-version"

    http = api._client()
    first, again = (http.get("/v1/models/2/download") for _ in range(2))
    assert first.status_code == 200, first.text
    assert first.content == again.content
    assert set(safetensors.numpy.load(first.content)) == {"weight", "table", "bias"}
    assert http.get(f"/v1/artifacts/{TABLE.sha256}", headers={"Range": "bytes=80-"}).content == DATA[80:]
    cached = http.get("/v1/models/2/download", headers={"If-None-Match": first.headers["etag"]})
    assert cached.status_code == 304

    kinds = [event.type for event in _events(here)]
    for kind in ("run-started", "round-opened", "updates-committed", "round-computed", "round-anchored"):
        assert kind in kinds, kinds
    assert kinds.count("round-finalized") == kinds.count("rewards-settled") == 2
    assert kinds.count("update-received") == 5, "the same update twice is one"
    assert kinds.count("update-refused") == 1
    assert kinds[-1] == "run-done"
    ada = api.get(f"/v1/contributors/{here.world['ada'].address}")
    assert (ada["rounds"], ada["weighted"], ada["refusals"]) == (2, 2, 0)
    why = api.get(f"/v1/rounds/1/updates/{here.world['cleo'].address}")
    assert (why["status"], why["reason"]) == ("refused", "wrong-root")


def _events(here: Running) -> list[Event]:
    newest, found = here.api.newest_event(), list[Event]()
    for event in here.api.events(0):
        found.append(event)
        if event.id >= newest:
            break
    return found


@pytest.mark.long
def test_own_transactions_count_and_an_undelivered_file_has_no_weight(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor_window, "TIME_TRAVEL_DELIVERY_SECONDS", 4.0)
    start(here, 1, 1)  # a commitment without its update is no answer
    _, header, state = open_round(here.api, 1)
    late, never = train(here.world, "ben", header, state), train(here.world, "emil", header, state)
    commit_alone(here, "ben", late)
    commit_alone(here, "emil", never)
    submit(here, train(here.world, "ada", header, state))
    until(lambda: step_of(here, 1) == "delivery", what="the end of the window")
    submit(here, late)
    submit(here, late)
    dora = train(here.world, "dora", header, state)
    with pytest.raises(UpdateRefused) as closed:
        submit(here, dora)
    assert closed.value.code == "round-closed"
    until(lambda: step_of(here, 1) == "settled", what="settlement")
    updates = {item["contributor"]: item for item in here.api.items("/v1/rounds/1/updates")}
    assert updates[here.world["ben"].address]["reason"] == "accepted"
    assert updates[here.world["ben"].address]["status"] == "delivered-late"
    assert updates[here.world["emil"].address]["reason"] == "not-delivered"
    assert updates[here.world["emil"].address]["weight"] == 0


def test_who_commits_to_the_root_of_another_before_it_takes_nothing(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roots are public at once, files only after the window: too late for a copier."""
    monkeypatch.setattr(anchor_window, "TIME_TRAVEL_DELIVERY_SECONDS", 4.0)
    start(here, 1, 1)  # a commitment without its update is no answer
    _, header, state = open_round(here.api, 1)
    ada, ben = (train(here.world, name, header, state) for name in ("ada", "ben"))
    copies = [
        Signed(
            replace(
                other.commitment,
                update_root=ada.commitment.update_root,
                sum_squares=ada.commitment.sum_squares,
            ),
            b"",
            ada.data,
        )
        for other in (train(here.world, name, header, state) for name in ("emil", "dora"))
    ]
    commit_alone(here, "emil", copies[0])
    commit_alone(here, "ben", ben)
    commit_alone(here, "dora", copies[1])
    submit(here, ada)
    until(lambda: step_of(here, 1) == "delivery", what="the end of the window")
    stolen = Signed(copies[0].commitment, ada.signature, here.api.files.read(sha256_hex(ada.data)))
    with pytest.raises(UpdateRefused) as refused:
        submit(here, stolen)
    assert refused.value.code == "round-closed"
    submit(here, ben)
    until(lambda: step_of(here, 1) == "settled", what="settlement")
    found = here.api.items("/v1/rounds/1/updates")
    updates = {item["contributor"]: item for item in found if item["status"] != "refused"}
    for name, reason in {
        "ada": "accepted",
        "ben": "accepted",
        "emil": "not-delivered",
        "dora": "not-delivered",
    }.items():
        assert updates[here.world[name].address]["reason"] == reason


def test_contributor_that_unbonds_does_not_spoil_the_batch(here: Running) -> None:
    chain = here.world.chain
    start(here, 1, 3)
    _, header, state = open_round(here.api, 1)
    submit(here, train(here.world, "cleo", header, state))
    chain.send(chain.vault.functions.requestUnbond(factories.STAKE), here.world["cleo"])
    for name in ("ada", "ben"):
        submit(here, train(here.world, name, header, state))
    until(lambda: step_of(here, 1) == "settled", what="settlement")
    assert here.api.get("/v1/rounds/1")["entries"] == 2
    cleo = here.api.get(f"/v1/rounds/1/updates/{here.world['cleo'].address}")
    assert cleo["reason"] == "stake-too-low"


@pytest.mark.long
def test_run_fails_after_too_many_cancelled_rounds(here: Running) -> None:
    start(here, 2, 1)
    for number in (1, 2, 3):
        _, header, state = open_round(here.api, number)
        submit(here, train(here.world, "ada", header, state))
        until(lambda n=number: step_of(here, n) == "cancelled", what="cancellation")
    run = until(lambda: (run := here.api.run()) and run.state == "failed" and run, what="the run's failure")
    assert "1 of at least 2 contributors" in str(run.error)


def test_run_needs_bond_key_and_a_free_coordinator(here: Running) -> None:
    with pytest.raises(CoordinatorError) as other:
        here.api.start_run(1, 1, here.world["ada"], here.domain)
    assert other.value.code == "not-authorised"
    start(here, 1, 3)
    with pytest.raises(CoordinatorError) as twice:
        start(here, 1, 3)
    assert twice.value.code == "run-in-progress"


def test_missing_bond_is_said_with_its_remedy(here: Running) -> None:
    chain = here.world.chain
    chain.send(chain.vault.functions.requestUnbond(factories.BOND), here.world.coordinator)
    with pytest.raises(CoordinatorError) as poor:
        start(here, 1, 3)
    assert poor.value.code == "bond-too-low"
    assert "folkmoot enrol --only-stake" in poor.value.remedy
