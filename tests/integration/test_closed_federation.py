# SPDX-License-Identifier: Apache-2.0
"""Federations in which not everybody may enrol: a list of members that votes change, or a contract of somebody's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import Summary, audit
from folkmoot.chain import governance
from folkmoot.chain.client import Chain
from folkmoot.chain.deploy import deploy_and_report
from folkmoot.chain.deploy_plan import Plan
from folkmoot.chain.terms import ZERO_ADDRESS, Admission
from folkmoot.chain.transactions.connection import connect_web3
from folkmoot.cli.deploy import members_of
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import AuditFailure, ContractRefused, InputError
from folkmoot.ledger.admission import MOST_MEMBERS, admits, members
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.ledger.events import Left
from folkmoot.ledger.scan import scan
from folkmoot.rpc.abi import encode_call
from folkmoot.rpc.client import Phase
from folkmoot.runtime.processes import free_port
from tests import factories
from tests.factories import CONTRIBUTORS, STAKE
from tests.integration.audit_world import Alter, World, lying_endpoint
from tests.integration.coordinator_world import Running, open_round, train, until
from tests.integration.test_audit import alter_call, drop_log

PEOPLE = tuple(factories.account(name).address for name in CONTRIBUTORS)
NEWCOMER = factories.account("newcomer").address
CLOSED = Admission(members=PEOPLE)
FEDERATION = {"admission": CLOSED}

Command = Callable[..., dict[str, Any]]

YES, NO, TWO = (bytes.fromhex(f"60{value:02x}60005260206000f3") for value in (1, 0, 2))
REVERTS, BURNS, SPINS = bytes.fromhex("60006000fd"), bytes.fromhex("fe"), bytes.fromhex("5b600056")
SHORT, LONG = bytes.fromhex("6001600052601f6000f3"), bytes.fromhex("6001600052620fffff6000f3")
SILENT = (TWO, REVERTS, BURNS, SPINS, SHORT, LONG)
"""Runtime code of admission contracts: those that answer, and those from whom the ledger takes no answer."""


def nonce_of(chain: Chain, account: str) -> int:
    return chain.w3.eth.get_transaction_count(to_checksum_address(account))


def as_timelock(world: factories.Federation, accounts: list[str], member: bool) -> None:
    """Change the list of members as an executed vote does."""
    timelock = world.deployment.timelock
    data = "0x" + encode_call("members", "setMembers", accounts, member).hex()
    world.anvil.fund(timelock)
    world.anvil.call("anvil_impersonateAccount", timelock)
    call = {"from": timelock, "to": world.deployment.members, "data": data}
    sent = world.anvil.call("eth_sendTransaction", call)
    receipt = until(lambda: world.anvil.call("eth_getTransactionReceipt", sent), what="the receipt")
    assert receipt["status"] == "0x1", receipt
    assert int(receipt["gasUsed"], 16) < 15_000_000
    world.anvil.call("anvil_stopImpersonatingAccount", timelock)


# A list of members


def test_the_list_is_deployed_and_verified(world: factories.Federation) -> None:
    chain, place = world.chain, world.deployment
    assert place.members == chain.ledger.admission()
    assert chain.read(chain.members.functions.governance()) == place.timelock
    assert members(chain, chain.rpc.block_number()) == sorted(PEOPLE)
    assert all(chain.ledger.enrolled(account) for account in PEOPLE)
    saved = place.to_json()
    assert saved["members"] == place.members
    assert "admission" not in saved
    assert Deployment.from_json(saved) == place
    assert place.roles == (*CONTRACTS, "members")


def test_who_is_no_member_is_refused_before_anything_is_sent(
    world: factories.Federation, folkmoot: Command, tmp_path: Path
) -> None:
    factories.stake(world.chain, world["newcomer"], STAKE)
    nonce = nonce_of(world.chain, NEWCOMER)
    error = folkmoot("enrol", by="newcomer", fails=1)["error"]
    assert error["code"] == "not-admitted"
    assert error["message"] == (
        f"The federation is closed: {NEWCOMER} is not on its list of members, {world.deployment.members}."
    )
    assert f"folkmoot propose --admit {NEWCOMER}" in error["remedy"]
    where = ("--superlink", f"127.0.0.1:{free_port()}", "--coordinator", f"http://127.0.0.1:{free_port()}")
    joined = folkmoot("join", "--task", "digits", *where, "--partition", "0/2", by="newcomer", fails=1)[
        "error"
    ]
    assert joined == error
    assert nonce_of(world.chain, NEWCOMER) == nonce
    with pytest.raises(ContractRefused, match="not admitted"):
        world.chain.send(world.chain.ledger.functions.enrol(STAKE), world["newcomer"])


def decide(world: factories.Federation, folkmoot: Command, *words: str) -> dict[str, Any]:
    """Propose, vote, queue and execute; return the proposal's action."""
    made = folkmoot("propose", *words)["proposal"]
    world.anvil.advance(factories.GOVERNANCE.voting_delay + 1)
    for name in ("ada", "ben", "cleo"):
        folkmoot("vote", made["id"], "for", by=name)
    world.anvil.advance(factories.GOVERNANCE.voting_period + 1)
    folkmoot("execute", made["id"])
    world.anvil.advance(factories.GOVERNANCE.timelock_delay + 1)
    folkmoot("execute", made["id"])
    action: dict[str, Any] = made["actions"][0]
    return action


def test_votes_admit_and_remove_members(
    world: factories.Federation, folkmoot: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    chain, emil, dora = world.chain, world["emil"].address, world["dora"].address
    factories.stake(chain, world["newcomer"], STAKE)
    action = decide(world, folkmoot, "--admit", NEWCOMER.lower())
    assert action == {"kind": "admit", "accounts": [NEWCOMER], "text": f"make {NEWCOMER} a member"}
    assert folkmoot("enrol", by="newcomer")["enrolled"] == str(STAKE)

    action = decide(world, folkmoot, "--remove", emil, "--remove", dora)
    assert action["kind"] == "remove"
    assert action["accounts"] == [emil, dora]
    standing = folkmoot("status")
    assert standing["admission"] == world.deployment.members
    assert standing["members"] == sorted({*PEOPLE, NEWCOMER} - {emil, dora})
    assert run(["status"]) == 0
    assert NEWCOMER in capsys.readouterr().out
    assert chain.ledger.enrolled(emil), "until somebody removes it"
    assert folkmoot("leave", emil, by="outsider")["account"] == emil
    assert not chain.ledger.enrolled(emil)
    assert folkmoot("enrol", by="emil", fails=1)["error"]["code"] == "not-admitted"
    still = folkmoot("leave", world["ada"].address, by="outsider", fails=1)["error"]
    assert still["details"]["error"] == "RoundLedgerNotAbsent"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--admit", PEOPLE[0]), "is a member already"),
        (("--remove", NEWCOMER), "is not a member"),
        (("--admit", NEWCOMER, "--admit", NEWCOMER.lower()), "is given 2 times"),
        (("--admit", ZERO_ADDRESS), "zero address"),
        (("--admit", "0x12"), "is not an address"),
    ],
)
def test_changes_of_the_list_that_can_not_be_meant_are_refused(
    folkmoot: Command, words: tuple[str, ...], why: str
) -> None:
    assert why in folkmoot("propose", *words, fails=1)["error"]["message"]
    assert folkmoot("proposals")["proposals"] == []


def test_more_members_than_one_transaction_can_change_are_refused(world: factories.Federation) -> None:
    many = [f"0x{number:040d}" for number in range(1, MOST_MEMBERS + 2)]
    with pytest.raises(InputError, match="one vote can change 500"):
        governance.membership(world.chain, many, True)
    as_timelock(world, many[:MOST_MEMBERS], True)
    assert len(members(world.chain, world.chain.rpc.block_number())) == MOST_MEMBERS + len(PEOPLE), "500 fit"


def test_the_coordinator_removes_who_is_no_member_any_more_though_it_commits(here: Running) -> None:
    world, chain, ada = here.world, here.world.chain, here.world["ada"].address
    assert here.api.deployment() == world.deployment
    here.api.start_run(1, 2, world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    as_timelock(world, [ada], False)
    for name in ("ada", "ben"):
        signed = train(world, name, header, state)
        here.api.submit_update(1, signed.wire, signed.data)
    until(lambda: chain.ledger.round(1).phase is Phase.ANCHORED, what="the anchor")
    until(lambda: not chain.ledger.enrolled(ada), what="the removal")
    left = [
        event
        for event in scan(chain, world.deployment.block, chain.rpc.block_number())
        if isinstance(event, Left)
    ]
    assert [(event.account, event.reason) for event in left] == [(ada, 3)]


def test_the_doctor_knows_closed_federations(
    world: factories.Federation, folkmoot: Command, tmp_path: Path
) -> None:
    def found(*words: str, fails: int = 0) -> dict[str, Any]:
        told = folkmoot("doctor", *words, by="newcomer", fails=fails)
        return {check["check"]: check for check in told["checks"]}

    assert "votes change the list of members" in found()["admission"]["text"]
    factories.stake(world.chain, world["newcomer"], STAKE)
    lacks = found("--join", "--home", str(tmp_path / "node"), fails=1)["your enrolment"]
    assert lacks["state"] == "failed"
    assert "not on its list of members" in lacks["text"]
    assert "--admit" in lacks["remedy"]
    replace(world.deployment, members=None).save(tmp_path / "deployment.json")
    wrong = found(fails=1)["admission"]
    assert wrong["state"] == "failed"
    assert "the file names no contract" in wrong["text"]


def test_an_open_federation_has_no_list_to_change(anvil: Anvil, federation: factories.Federation) -> None:
    with pytest.raises(InputError, match="everybody may enrol") as caught:
        governance.membership(federation.chain, [NEWCOMER], True)
    assert caught.value.code == "no-member-list"


# The audit


@pytest.fixture(scope="module")
def played(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A closed federation in which a vote changed the list twice, and a member left it."""
    policy = factories.policy(verifier=factories.account("verifier").address)
    world = World.create(chain, tmp_path_factory.mktemp("closed") / "artifacts", policy, CLOSED)
    emil, votes = factories.account("emil").address, dict.fromkeys(("ada", "ben", "cleo"), "for")
    world.play(["ada", "ben", "emil"])
    lists = [
        world.call("members", "setMembers", *words)
        for words in (([NEWCOMER], True), ([emil, PEOPLE[3]], False))
    ]
    world.decide(lists, "One in, two out", votes)
    world.send("ledger", "remove", emil)
    factories.stake(world.federation.chain, factories.account("newcomer"), STAKE)
    factories.enrol(world.federation.chain, factories.account("newcomer"), STAKE)
    world.advance(1)
    world.play(["ada", "ben", "newcomer"])
    yield world
    world.federation.chain.close()


def audited(world: World, url: str = "") -> Summary:
    source = FolderSource(world.folder.path)
    return audit([url or world.federation.anvil.url], world.federation.deployment, source)


def test_a_closed_history_passes_the_audit(played: World) -> None:
    assert audited(played).recomputed == 2


@pytest.mark.parametrize(
    ("alter", "check", "what"),
    [
        (drop_log("members", "MemberSet"), "rounds", "the list of members"),
        (alter_call("members", "admits(address)", 0, 0), "rounds", "the list of members"),
        (alter_call("members", "governance()", 0, 1), "contracts", "who changes the list of members"),
    ],
)
def test_a_lie_about_the_list_is_found(played: World, alter: Alter, check: str, what: str) -> None:
    with lying_endpoint(played.federation.anvil.url, alter) as url, pytest.raises(AuditFailure) as caught:
        audited(played, url)
    assert caught.value.details["check"] == check
    assert caught.value.details["what"].startswith(what)


def test_the_deployment_file_must_name_the_contract(played: World) -> None:
    source = FolderSource(played.folder.path)
    other = replace(played.federation.deployment, members=None)
    with pytest.raises(AuditFailure, match="Who admits accounts, by the deployment file"):
        audit([played.federation.anvil.url], other, source)


# A contract of somebody's


def put_code(anvil: Anvil, code: bytes, name: str = "admission contract") -> str:
    """Put code at an address; return it."""
    address = factories.account(name).address
    anvil.call("anvil_setCode", address, "0x" + code.hex())
    return address


def deployed(anvil: Anvil, admission: Admission, plan: Plan | None = None) -> Deployment:
    deployer = factories.account("deployer")
    anvil.fund(deployer.address)
    return deploy_and_report(
        connect_web3(anvil.url),
        deployer,
        factories.genesis_roots(),
        factories.policy(),
        factories.account("coordinator").address,
        {NEWCOMER: 2 * STAKE},
        factories.GOVERNANCE,
        plan=plan,
        admission=admission,
    ).deployment


def test_a_contract_of_ones_own_decides(anvil: Anvil) -> None:
    contract = put_code(anvil, NO)
    deployment = deployed(anvil, Admission(contract=contract))
    assert (deployment.members, deployment.admission) == (None, contract)
    assert Deployment.from_json(deployment.to_json()) == deployment
    chain, newcomer = Chain.connect(anvil.url, deployment), factories.account("newcomer")
    anvil.fund(NEWCOMER)
    factories.stake(chain, newcomer, STAKE)
    assert admits(chain.rpc, contract, NEWCOMER) is False
    with pytest.raises(ContractRefused, match="not admitted"):
        factories.enrol(chain, newcomer, STAKE)
    put_code(anvil, YES)
    assert admits(chain.rpc, contract, NEWCOMER) is True
    factories.enrol(chain, newcomer, STAKE)
    with pytest.raises(InputError, match="says who may enrol") as caught:
        governance.membership(chain, [NEWCOMER], True)
    assert caught.value.code == "no-member-list"
    chain.close()


@pytest.mark.parametrize("code", SILENT)
def test_a_contract_that_gives_no_answer_is_not_deployed_with(anvil: Anvil, code: bytes) -> None:
    contract = put_code(anvil, code)
    before = anvil.rpc.block_number()
    with pytest.raises(InputError, match="does not answer") as caught:
        deployed(anvil, Admission(contract=contract))
    assert caught.value.code == "invalid-admission"
    assert anvil.rpc.block_number() == before


def test_an_address_without_a_contract_is_not_deployed_with(anvil: Anvil) -> None:
    with pytest.raises(InputError, match="There is no contract at"):
        deployed(anvil, Admission(contract=factories.account("nobody").address))


def test_the_command_asks_a_contract_as_the_ledger_does(
    anvil: Anvil, keystore: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = deployed(anvil, Admission(contract=put_code(anvil, YES)))
    deployment.save(tmp_path / "deployment.json")
    chain, newcomer = Chain.connect(anvil.url, deployment), factories.account("newcomer")
    anvil.fund(NEWCOMER)
    factories.stake(chain, newcomer, STAKE)
    words = ["--rpc", anvil.url, "--deployment", str(tmp_path / "deployment.json"), "--json"]
    for code, why in [*((code, "gives no answer") for code in SILENT), (NO, "does not admit")]:
        put_code(anvil, code)
        nonce = nonce_of(chain, NEWCOMER)
        assert run(["enrol", "--keystore", str(keystore("newcomer")), *words]) == 1
        error = json.loads(capsys.readouterr().out)["error"]
        assert error["code"] == "not-admitted"
        assert why in error["message"]
        assert nonce_of(chain, NEWCOMER) == nonce
        run(["doctor", *words])
        checks = {check["check"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
        assert checks["admission"]["state"] == ("ok" if code == NO else "warning")
    assert run(["status", *words]) == 0
    standing = json.loads(capsys.readouterr().out)
    assert (standing["admission"], standing["members"]) == (deployment.admission, None)
    chain.close()


# What is given


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"members": PEOPLE, "contract": NEWCOMER}, "asks one contract"),
        ({"members": (*PEOPLE, PEOPLE[0])}, "is given 2 times"),
        ({"members": (ZERO_ADDRESS,)}, "zero address"),
        ({"contract": ZERO_ADDRESS}, "zero address"),
        ({"members": tuple(f"0x{number:040d}" for number in range(1, MOST_MEMBERS + 2))}, "can list 500"),
    ],
)
def test_who_may_enrol_must_be_clear(given: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        Admission(**given)
    assert caught.value.code == "invalid-admission"


def test_members_are_read_from_files_and_addresses(tmp_path: Path) -> None:
    file = tmp_path / "members.txt"
    file.write_text(f"# the first ones\n{PEOPLE[0].lower()}  # Ada\n\n  {PEOPLE[1]}\n")
    assert members_of([str(file), f"{PEOPLE[2]},{PEOPLE[3]}", NEWCOMER]) == (*PEOPLE[:4], NEWCOMER)
    assert members_of([]) == ()
    file.write_text("# nobody yet\n")
    for given, why in [
        (str(file), "has no address"),
        (str(tmp_path / "none.txt"), "can't be read: No such file"),
        ("0x12", "is not an address"),
    ]:
        with pytest.raises(InputError, match=why):
            members_of([given])
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="it is no text"):
        members_of([str(file)])


def test_a_deployment_file_with_two_kinds_of_admission_is_refused() -> None:
    document = {"chainId": 1, "block": 1, "members": NEWCOMER, "admission": NEWCOMER}
    with pytest.raises(InputError, match="both members and admission"):
        Deployment.from_json(document)


def test_a_closed_deployment_goes_on_with_the_same_members_only(anvil: Anvil, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(role: str) -> None:
        if role in ("registry", "members"):
            raise Stopped

    def go_on(admission: Admission, progress: Callable[[str], None] = lambda role: None) -> Deployment:
        plan = Plan.of(tmp_path / "deployment.json")
        try:
            return deploy_and_report(
                connect_web3(anvil.url),
                deployer,
                factories.genesis_roots(),
                factories.policy(),
                factories.account("coordinator").address,
                {NEWCOMER: STAKE},
                factories.GOVERNANCE,
                progress,
                plan,
                admission,
            ).deployment
        finally:
            plan.notes.close()

    deployer = factories.account("deployer")
    anvil.fund(deployer.address)
    with pytest.raises(Stopped):
        go_on(CLOSED, stop)
    with pytest.raises(InputError, match="another admission") as caught:
        go_on(Admission(members=(NEWCOMER,)))
    assert caught.value.code == "other-deployment"
    with pytest.raises(Stopped):
        go_on(CLOSED, lambda role: None if role == "registry" else stop(role))
    chain = Chain.connect(anvil.url, go_on(CLOSED))
    assert members(chain, chain.rpc.block_number()) == sorted(PEOPLE)
    chain.close()
