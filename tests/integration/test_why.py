# SPDX-License-Identifier: Apache-2.0
"""`folkmoot why` and its API over rounds on a real chain: what counted, what did not, and what never entered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import UpdateRefused
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Verdicts
from folkmoot.round import RoundOutcome
from folkmoot.runtime.units import UNIT
from server.rounds import anchor_window
from tests import factories
from tests.integration import audit_world
from tests.integration.coordinator_world import (
    MANIFEST,
    Running,
    Signed,
    federation,
    open_round,
    running,
    until,
)

HONEST = ("ada", "ben", "cleo", "dora")
SHARE = 10 * UNIT // 32
"""An equal share of a round of five."""


def train(
    here: Running, name: str, header: RoundHeader, state: State, *, like: str = "", sign: int = 1
) -> Signed:
    """What training on related data gives: a direction that all share, and one's own noise."""
    who = factories.account(name)
    start = state.to_float32()
    shared = np.random.default_rng(header.round).normal(scale=0.05, size=start.shape)
    own = np.random.default_rng([header.round, int(factories.account(like or name).address[2:10], 16)])
    end = (start - sign * (shared + own.normal(scale=0.05, size=start.shape))).astype(np.float32)
    encoded = encode_update(
        start, end, header.exponents, MANIFEST, header.seed, who.address, width=header.width
    )
    commitment = Commitment(
        contributor=who.address,
        round=header.round,
        base_state_root=header.base_state_root,
        update_root=encoded.root,
        sum_squares=encoded.sum_squares,
    )
    return Signed(commitment, commitment.sign(who, here.domain), encoded.data)


def submit(here: Running, signed: Signed) -> None:
    here.api.submit_update(signed.commitment.round, signed.wire, signed.data)


def step_of(here: Running, number: int) -> str:
    return str(here.api.get(f"/v1/rounds/{number}")["step"])


def play(here: Running) -> None:
    """Four rounds.

    In round 1 Emil flips the sign and the newcomer's file is not the one that it signed for. In round 2 Emil
    copies Ada, the newcomer commits and delivers nothing, and the coordinator has an entry of its own. Round 3 is
    cancelled for too few updates; round 4 is open.
    """
    chain = here.world.chain
    factories.stake(chain, here.world["newcomer"], factories.STAKE)
    factories.enrol(chain, here.world["newcomer"], factories.STAKE)
    here.world.anvil.advance(1)  # it counts from the second after
    here.api.start_run(2, 6, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    for name in HONEST:
        submit(here, train(here, name, header, state))
    submit(here, train(here, "emil", header, state, sign=-1))
    bad = train(here, "newcomer", header, state)
    with pytest.raises(UpdateRefused):
        here.api.submit_update(1, bad.wire, bad.data[:5] + bytes([bad.data[5] ^ 1 or 2]) + bad.data[6:])

    _, header, state = open_round(here.api, 2)
    never = train(here, "newcomer", header, state)
    chain.send(chain.ledger.functions.commitUpdate(never.commitment.abi_tuple()), here.world["newcomer"])
    for name in HONEST:
        submit(here, train(here, name, header, state))
    submit(here, train(here, "emil", header, state, like="ada"))
    submit(here, train(here, "coordinator", header, state))
    until(lambda: step_of(here, 2) == "settled", what="settlement")
    until(lambda: (run := here.api.run()) and run.state == "done", what="the end of the run")

    here.api.start_run(1, 1, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 3)
    submit(here, train(here, "ada", header, state))
    until(lambda: step_of(here, 3) == "cancelled", what="cancellation")
    open_round(here.api, 4)


@pytest.fixture(scope="module")
def here(anvil_process: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    snapshot = anvil_process.snapshot()
    world = federation(anvil_process, rule="clamped_mean", commit_window=2_400)  # round 4 stays open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anchor_window, "TIME_TRAVEL_DELIVERY_SECONDS", 2.0)
        with running(tmp_path_factory.mktemp("home"), world) as found:
            play(found)
            yield found
    world.chain.close()
    anvil_process.call("anvil_dropAllTransactions")
    anvil_process.revert(snapshot)


@dataclass
class Ask:
    """Runs the command."""

    here: Running
    deployment: Path
    capsys: pytest.CaptureFixture[str]

    def words(self, name: str, *more: str, chain: bool = True, coordinator: bool = True) -> list[str]:
        found = ["why", self.here.world[name].address, *more]
        if chain:
            found += ["--rpc", self.here.world.anvil.url, "--deployment", str(self.deployment)]
        return [*found, "--coordinator", self.here.api.url] if coordinator else found

    def __call__(self, name: str, *more: str, fails: int = 0, **where: bool) -> dict[str, Any]:
        status = run([*self.words(name, *more, **where), "--json"])
        printed = self.capsys.readouterr()
        assert status == fails, printed.out + printed.err
        document: dict[str, Any] = json.loads(printed.out)
        return document["error"] if fails else document

    def text(self, name: str, *more: str, **where: bool) -> str:
        assert run(self.words(name, *more, **where)) == 0
        return self.capsys.readouterr().out


@pytest.fixture
def ask(here: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    path = tmp_path / "deployment.json"
    here.world.deployment.save(path)
    return Ask(here, path, capsys)


def test_accepted(ask: Ask) -> None:
    found = ask("ada", "--round", "1")
    (verdict,) = found["verdicts"]
    assert (verdict["reason"], verdict["rule"], verdict["entries"]) == ("accepted", "clamped_mean", 5)
    expected = 10 * UNIT * verdict["payShare"] // (32 * 65536)
    assert int(verdict["pay"]) == int(verdict["credited"]) == expected > SHARE // 2
    assert found["checked"]
    text = ask.text("ada", "--round", "1")
    assert "Round 1 (final), entry 1 of 5: accepted" in text
    assert f"Weight {verdict['weight']} of at most {verdict['largestWeight']} in this round" in text
    assert f"floor(10 MOOT * {verdict['payShare']} / (32 * 65536))" in text
    assert "credited by the ledger." in text
    assert "Checked: every verdicts file has the hash that its round's anchor on the chain names" in text


def test_against_the_others(ask: Ask) -> None:
    (verdict,) = ask("emil", "--round", "1")["verdicts"]
    assert (verdict["reason"], verdict["weight"]) == ("accepted", 65536 // 8)
    assert int(verdict["numbers"]["medianCosine"]) < 0
    text = ask.text("emil", "--round", "1")
    assert f"({verdict['numbers']['medianCosine']} of 65536)" in text
    assert "= 8192 (12.5 %)" in text
    assert "What you could do: Check the labels first" in text


def test_copy_names_the_original_in_a_round_with_a_root_update(ask: Ask) -> None:
    (verdict,) = ask("emil", "--round", "2")["verdicts"]
    assert (verdict["reason"], verdict["places"], verdict["entries"]) == ("copy", 32, 7)
    assert f"with the update of {ask.here.world['ada'].address}, which was committed earlier" in ask.text(
        "emil", "--round", "2"
    )


def test_not_delivered(ask: Ask) -> None:
    found = ask("newcomer")
    (verdict,) = found["verdicts"]
    assert (verdict["round"], verdict["reason"], verdict["pay"]) == (2, "not-delivered", "0")
    assert found["reputation"]["leftOut"] == {"not-delivered": 1}
    assert [each["reason"] for each in found["refused"]] == ["wrong-root"]
    text = ask.text("newcomer")
    assert "Keep the node online until the round is anchored" in text
    assert "Round 1: refused, wrong-root (it never became an entry)" in text


def test_the_coordinators_own_entry(ask: Ask) -> None:
    found = ask("coordinator", "--round", "2")
    assert (found["verdicts"][0]["reason"], found["verdicts"][0]["pay"]) == ("root", "0")
    assert (found["reputation"]["root"], found["reputation"]["rounds"]) == (1, 0)
    assert "the coordinator's own entry is never paid" in ask.text("coordinator", "--round", "2")


def test_all_rounds_in_a_table_with_totals(ask: Ask) -> None:
    text = ask.text("emil")
    assert "2 rounds, 2 delivered, 1 counted, 1 left out (copy 1); earned " in text
    rows = [
        line.split() for line in text.splitlines() if "/65536" in line and "MOOT" in line and "final" in line
    ]
    assert [row[0] for row in rows] == ["2", "1"]
    assert "Round 2 (final)" in text
    assert "Round 1 (final)" not in text, "only the newest is explained"
    first = ask("ada")
    assert [verdict["round"] for verdict in first["verdicts"]] == [2, 1]
    reputation = first["reputation"]
    assert (reputation["rounds"], reputation["counted"]) == (2, 2)
    assert int(reputation["earned"]) == sum(int(verdict["credited"]) for verdict in first["verdicts"])
    assert 100 < reputation["standing"] <= 240


@pytest.mark.parametrize(
    ("name", "words"),
    [("ada", ()), ("emil", ()), ("newcomer", ()), ("coordinator", ()), ("emil", ("--round", "2"))],
)
def test_the_coordinator_says_the_same_as_the_chain(ask: Ask, name: str, words: tuple[str, ...]) -> None:
    checked, claimed = ask(name, *words), ask(name, *words, chain=False)
    assert (checked.pop("checked"), claimed.pop("checked")) == (True, False)
    assert bool(words) == checked.pop("model", {"checked": False})["checked"], (
        "the model of one round is compared"
    )
    assert checked == claimed


def test_what_is_not_checked_is_said(ask: Ask) -> None:
    assert "Not checked: this is what the coordinator says." in ask.text("ada", chain=False)


def test_a_mirror_and_the_chain_need_no_coordinator(ask: Ask) -> None:
    store = ask.here.coordinator.storage.store.location
    found = ask("emil", "--artifacts", store, coordinator=False)
    assert [verdict["reason"] for verdict in found["verdicts"]] == ["copy", "accepted"]
    assert found["refused"] == []


@pytest.mark.long
def test_a_mirror_that_lies_is_found_out(ask: Ask, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    shutil.copytree(ask.here.coordinator.storage.store.location, mirror)
    view = ask.here.api.get("/v1/rounds/1")
    file = mirror / view["verdicts"][:2] / view["verdicts"]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes().replace(b"8192", b"9192"))
    error = ask("emil", "--artifacts", str(mirror), coordinator=False, fails=1)
    assert error["code"] == "artifact-damaged"


@pytest.mark.parametrize(
    ("name", "words", "code", "says"),
    [
        ("outsider", (), "unknown-contributor", "no entry in any anchored round"),
        ("ada", ("--round", "99"), "round-unknown", "There is no round 99"),
        ("ada", ("--round", "3"), "round-void", "Round 3 was cancelled"),
        ("ada", ("--round", "4"), "round-not-anchored", "Round 4 is not anchored yet"),
        ("outsider", ("--round", "1"), "unknown-update", "no entry in round 1"),
    ],
)
@pytest.mark.parametrize("chain", [True, False])
def test_where_there_is_no_verdict(
    ask: Ask, name: str, words: tuple[str, ...], code: str, says: str, chain: bool
) -> None:
    error = ask(name, *words, fails=1, chain=chain)
    assert error["code"] == code
    assert chain is False or says in error["message"]


def test_refused_and_never_entered(ask: Ask) -> None:
    for chain in (True, False):
        found = ask("newcomer", "--round", "1", chain=chain)
        assert found["verdicts"] == []
        assert [each["reason"] for each in found["refused"]] == ["wrong-root"]
    alone = ask("newcomer", "--round", "1", "--artifacts", ask.here.api.url, coordinator=False, fails=1)
    assert alone["code"] == "unknown-update"
    assert "give --coordinator" in alone["remedy"]


def test_somewhere_to_read_from_is_needed(ask: Ask) -> None:
    assert ask("ada", coordinator=False, fails=1)["code"] == "source-missing"
    assert ask("ada", chain=False, coordinator=False, fails=1)["code"] == "source-missing"


def test_an_account_that_is_none(ask: Ask) -> None:
    assert run(["why", "0x12", "--coordinator", ask.here.api.url, "--json"]) == 1
    assert json.loads(ask.capsys.readouterr().out)["error"]["code"] == "invalid-address"


# The interface


def test_verdicts_are_paged(here: Running) -> None:
    path = f"/v1/contributors/{here.world['emil'].address}/verdicts"
    page = here.api.get(path, limit=1)
    assert [item["round"] for item in page["items"]] == [2]
    rest = here.api.get(path, limit=1, cursor=page["nextCursor"])
    assert ([item["round"] for item in rest["items"]], rest["nextCursor"]) == ([1], None)
    assert [item["round"] for item in here.api.items(path, limit=1)] == [2, 1]
    one = here.api.get(f"/v1/rounds/1/updates/{here.world['emil'].address}/verdict")
    assert rest["items"] == [one]
    outsider = here.world["outsider"].address
    assert here.api.get(f"/v1/contributors/{outsider}/verdicts") == {"items": [], "nextCursor": None}


def test_contributors_have_a_standing(here: Running) -> None:
    def standing(name: str) -> int:
        found = here.api.get(f"/v1/contributors/{here.world[name].address}")
        return int(found["reputation"]["standing"])

    assert all(standing(name) > 0 for name in HONEST)
    assert 0 < standing("emil") < min(standing(name) for name in HONEST) // 4
    assert standing("newcomer") == standing("coordinator") == 0


@pytest.mark.parametrize(
    ("number", "name", "status", "code"),
    [
        (99, "ada", 404, "round-unknown"),
        (1, "outsider", 404, "unknown-update"),
        (3, "ada", 409, "round-void"),
        (4, "ada", 409, "round-not-anchored"),
    ],
)
def test_problems_have_stable_codes(here: Running, number: int, name: str, status: int, code: str) -> None:
    path = f"/v1/rounds/{number}/updates/{here.world[name].address}/verdict"
    answer = here.api._client().get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_interface_is_documented(here: Running) -> None:
    document = here.api.get("/v1/openapi.json")
    for path, name in (
        ("/v1/contributors/{address}/verdicts", "Page_VerdictView_"),
        ("/v1/rounds/{round_number}/updates/{address}/verdict", "VerdictView"),
    ):
        operation = document["paths"][path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert schema.endswith(f"/{name}"), schema
        assert operation["description"]


# A coordinator that anchors what contradicts itself


def test_a_verdicts_file_that_contradicts_the_chain(
    anvil: Anvil, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def flatter(world: audit_world.World, outcome: RoundOutcome) -> Anchor:
        first, *others = outcome.verdicts.verdicts
        file = Verdicts(
            outcome.verdicts.round,
            outcome.verdicts.rule,
            outcome.verdicts.parameters,
            (replace(first, weight=first.weight + 1), *others),
        ).to_json()
        world.folder.put(file, by_keccak=True)
        return replace(outcome.anchor, verdict_hash=keccak(file))

    world = audit_world.World.create(anvil, tmp_path / "artifacts", factories.policy())
    world.play(["ada", "ben"], flatter)
    deployment = tmp_path / "deployment.json"
    world.federation.deployment.save(deployment)
    where = ["--rpc", anvil.url, "--deployment", str(deployment), "--artifacts", str(tmp_path / "artifacts")]
    assert run(["why", factories.account("ada").address, *where, "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["details"]["round"]) == ("artifact-contradicts", 1)
    world.federation.chain.close()
