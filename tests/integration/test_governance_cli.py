# SPDX-License-Identifier: Apache-2.0
"""The command line against the real contracts on Anvil, in processes of its own where the process matters."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from folkmoot.aggregation import policy_file
from folkmoot.chain import governance
from folkmoot.chain.bonds import least_bond
from folkmoot.cli.main import run
from folkmoot.cli.why import _not_drawn
from folkmoot.devnet.anvil import Anvil
from folkmoot.evaluation import Report, measure
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.places import REDRAW_BLOCKS
from folkmoot.protocol.policy import ARBITER, Policy
from folkmoot.protocol.state import State
from folkmoot.runtime.processes import free_port
from folkmoot.runtime.units import UNIT, format_amount
from tests import factories
from tests.factories import ALLOCATION, BOND, STAKE, Federation
from tests.integration.anchored import anchored_round, open_round, prove_wrong

Command = Callable[..., dict[str, Any]]
MakeKey = Callable[[str], Path]


@pytest.fixture
def folkmoot(
    federation: Federation,
    deployment_file: Path,
    password_file: Path,
    keystore: MakeKey,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run a command as somebody, with --json; return what it prints. `fails` is the expected exit status."""
    monkeypatch.setenv("FOLKMOOT_RPC", federation.anvil.url)
    monkeypatch.setenv("FOLKMOOT_DEPLOYMENT", str(deployment_file))
    monkeypatch.setenv("FOLKMOOT_PASSWORD", factories.PASSWORD)

    def command(*words: str, by: str = "ada", fails: int = 0) -> dict[str, Any]:
        monkeypatch.setenv("FOLKMOOT_KEYSTORE", str(keystore(by)))
        status = run([*words, "--json"])
        printed = capsys.readouterr()
        assert status == fails, printed.out + printed.err
        assert "Traceback" not in printed.err
        document: dict[str, Any] = json.loads(printed.out)
        if fails:
            assert document["error"]["message"]
        return document

    return command


def test_a_version_becomes_active_by_a_vote(
    federation: Federation, folkmoot: Command, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    report.write_text('{"accuracy": "0.97"}')
    assert folkmoot("status")["active"] is None

    made = folkmoot("propose", "--version", "0", "--report", str(report), "--title", "Release the genesis")
    short = made["proposal"]["short"]
    assert made["proposal"]["state"] == "pending"
    assert made["proposal"]["title"] == "Release the genesis"
    assert made["proposal"]["actions"][0]["kind"] == "activate"
    assert made["proposal"]["actions"][0]["reportHash"] == made["reportHash"]
    assert len(short) == 8

    early = folkmoot("vote", short, "for", fails=1)["error"]
    assert early["details"]["error"] == "GovernorUnexpectedProposalState"
    assert early["details"]["arguments"]["current"] == "pending"
    assert early["message"].startswith(f"The vote on {short} has not begun: it opens at 20")

    federation.anvil.advance(11)
    for name, choice in [
        ("ada", "for"),
        ("ben", "for"),
        ("cleo", "for"),
        ("dora", "against"),
        ("emil", "abstain"),
    ]:
        cast = folkmoot("vote", short, choice, "--reason", f"says {name}", by=name)
        assert cast["weight"] == str(STAKE)
    assert cast["proposal"]["votes"] == {
        "for": str(3 * STAKE),
        "against": str(STAKE),
        "abstain": str(STAKE),
    }
    assert cast["proposal"]["quorum"] == str((BOND + 5 * STAKE) * 20 // 100)
    assert cast["proposal"]["quorumReached"] is True

    again = folkmoot("vote", short, "against", fails=1)["error"]
    assert again["details"]["error"] == "GovernorAlreadyCastVote"
    assert folkmoot("execute", short, fails=1)["error"]["code"] == "wrong-proposal-state"

    federation.anvil.advance(600)
    assert folkmoot("proposals", "--open")["proposals"][0]["state"] == "succeeded"
    late = folkmoot("vote", short, "for", by="newcomer", fails=1)["error"]
    assert late["code"] in ("contract-refused", "no-votes")
    over = folkmoot("vote", short, "for", by="ada", fails=1)["error"]
    assert over["message"].startswith(f"The vote on {short} is over since 20")
    assert over["message"].endswith(": it is succeeded.")
    assert over["remedy"] == f"Anybody may queue it now: `folkmoot execute {short}`."
    queued = folkmoot("execute", short, by="outsider")["proposal"]
    assert queued["state"] == "queued"

    too_early = folkmoot("execute", short, fails=1)["error"]
    assert too_early["code"] == "too-early"
    assert too_early["details"]["eta"] == queued["eta"]

    folkmoot("chain", "--advance", "600")
    assert folkmoot("execute", short, by="outsider")["proposal"]["state"] == "executed"
    standing = folkmoot("status")
    assert standing["active"] == {"version": 0, "reportHash": made["reportHash"]}

    shown = folkmoot("proposals", short)["proposal"]
    assert [(ballot["vote"], ballot["reason"]) for ballot in shown["ballots"]] == [
        ("for", "says ada"),
        ("for", "says ben"),
        ("for", "says cleo"),
        ("against", "says dora"),
        ("abstain", "says emil"),
    ]
    assert folkmoot("proposals", "--open")["proposals"] == []


def test_policy_and_coordinator_change_by_a_vote(
    federation: Federation, folkmoot: Command, tmp_path: Path
) -> None:
    stricter = factories.policy(
        rule="multi_krum", parameters=(1, 0), min_contributors=3, verifier=federation.deployment.arbiter
    )
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy_file.to_json(stricter)))
    newcomer = federation["newcomer"].address
    ids = [
        folkmoot("propose", "--policy", str(file))["proposal"]["id"],
        folkmoot("propose", "--appoint", newcomer)["proposal"]["id"],
    ]
    federation.anvil.advance(11)
    for number in ids:
        for name in factories.CONTRIBUTORS:
            folkmoot("vote", number, "for", by=name)
    federation.anvil.advance(600)
    for number in ids:
        folkmoot("execute", number)
    federation.anvil.advance(601)
    for number in ids:
        folkmoot("execute", number)
    standing = folkmoot("status")
    assert standing["policy"] == {"id": 2, **policy_file.to_json(stricter)}
    assert federation.chain.ledger.policy(2) == stricter
    assert standing["coordinator"]["address"] == newcomer


def test_the_word_for_the_arbiter_becomes_its_address(
    federation: Federation, folkmoot: Command, tmp_path: Path
) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy_file.to_json(factories.policy(verifier=ARBITER, rule="clamped_mean"))))
    made = folkmoot("propose", "--policy", str(file))
    assert made["proposal"]["actions"][0]["policy"]["verifier"] == federation.deployment.arbiter
    assert made["warning"] is None
    dear = folkmoot("propose", "--policy", str(file), "--title", "Again", "--gas-price-in-tokens", "100")
    least = least_bond(factories.policy(verifier=ARBITER, rule="clamped_mean"), gas_price=100 * UNIT)
    assert f"the bond should be at least {format_amount(least)}" in dear["warning"]
    narrow = factories.policy(verifier=ARBITER, rule="clamped_mean", width=4)
    file.write_text(json.dumps(policy_file.to_json(narrow)))
    said = folkmoot("propose", "--policy", str(file), "--title", "Narrow")["warning"]
    assert "for updates of 8 bits a coordinate, and the policy has 4" in said
    file.write_text(json.dumps(policy_file.to_json(factories.policy(verifier=federation.deployment.vault))))
    refused = folkmoot("propose", "--policy", str(file), fails=1)["error"]
    assert refused["details"]["arguments"]["field"] == "verifier"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reward": 4 * factories.policy().reward + 1, "bond": 17 * factories.policy().reward}, "reward"),
        ({"min_stake": 4 * factories.policy().min_stake + 1}, "minStake"),
        ({"commit_window": factories.policy().commit_window // 2 - 1}, "commitWindow"),
        ({"challenge_window": factories.policy().challenge_window // 2 - 1}, "challengeWindow"),
        ({"commit_window": factories.GOVERNANCE.unbonding}, "windows"),
        ({"interval": factories.GOVERNANCE.unbonding + 1}, "interval"),
    ],
)
def test_a_policy_that_no_vote_can_add_is_refused_before_the_vote(
    folkmoot: Command, tmp_path: Path, change: dict[str, int], field: str
) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy_file.to_json(factories.policy(verifier=ARBITER, **change))))
    refused = folkmoot("propose", "--policy", str(file), fails=1)["error"]
    assert refused["details"]["error"] == "PoliciesInvalidPolicy"
    assert refused["details"]["arguments"]["field"] == field
    assert folkmoot("proposals") == {"proposals": []}


def test_the_status_of_a_federation_in_which_nothing_waits(federation: Federation, folkmoot: Command) -> None:
    standing = folkmoot("status")
    assert standing["demands"] == standing["disputes"] == []
    assert standing["coordinator"]["bonds"] == "0"
    assert (standing["totalEnrolled"], standing["quota"]) == (str(5 * STAKE), None)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (
            factories.policy(rule="multi_krum", parameters=(1, 0), verifier=ARBITER),
            "no minority of a round with 2",
        ),
        (factories.policy(rule="multi_krum", parameters=(0, 0), verifier=ARBITER), "withstands none"),
        (factories.policy(rule="mean", parameters=(1,), verifier=ARBITER), "has 0 parameters"),
        (factories.policy(rule="median", verifier=ARBITER), "no aggregation rule 'median'"),
    ],
)
def test_voters_are_warned_of_a_policy_that_can_not_work(
    federation: Federation,
    folkmoot: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    policy: Policy,
    why: str,
) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy_file.to_json(policy)))
    refused = folkmoot("propose", "--policy", str(file), fails=1)["error"]
    assert why in refused["message"]
    call = governance.policy_change(federation.chain, policy)  # the chain takes it
    number, _ = governance.propose(federation.chain, federation["ada"], [call], "Trust me")
    shown = folkmoot("proposals", str(number))["proposal"]
    assert why in shown["actions"][0]["warning"]
    federation.anvil.advance(11)
    for words in (["proposals"], ["proposals", str(number)], ["status"]):
        assert run(words) == 0
        assert f"Warning: the policy of proposal {str(number)[:8]} can't work." in capsys.readouterr().err


def test_defeated_proposal_says_so(federation: Federation, folkmoot: Command) -> None:
    number = folkmoot("propose", "--version", "0")["proposal"]["id"]
    federation.anvil.advance(11)
    folkmoot("vote", number, "against")
    federation.anvil.advance(601)
    error = folkmoot("execute", number, fails=1)["error"]
    assert error["details"]["state"] == "defeated"
    assert "Make a new one" in error["remedy"]


def test_texts_of_strangers_are_harmless_on_a_terminal(
    folkmoot: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    number = folkmoot("propose", "--version", "0", "--title", "\x1b[31mred", "--text", "\x1b]0;x\x07")[
        "proposal"
    ]["id"]
    for words in (["proposals"], ["proposals", number], ["status"]):
        assert run(words) == 0
        assert "\x1b]" not in capsys.readouterr().out


def test_a_vote_whose_reason_is_no_text_stops_no_reader(federation: Federation, folkmoot: Command) -> None:
    number = folkmoot("propose", "--version", "0", "--title", "Release")["proposal"]["id"]
    federation.anvil.advance(11)
    selector = keccak(text="castVoteWithReason(uint256,uint8,string)")[:4]
    data = selector + encode(["uint256", "uint8", "bytes"], [int(number), 1, b"\xff\x00\xfe"])
    sender = federation.anvil.call("eth_accounts")[0]
    call = {"from": sender, "to": federation.deployment.governor, "data": "0x" + data.hex()}
    federation.anvil.call("eth_sendTransaction", call)
    federation.anvil.call("evm_mine")

    shown = folkmoot("proposals", number)
    assert [vote["reason"] for vote in shown["proposal"]["ballots"]] == ["\N{REPLACEMENT CHARACTER}" * 3]


def test_a_report_that_can_not_be_published_stops_the_proposal(folkmoot: Command, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("{}")
    url = f"http://127.0.0.1:{free_port()}"
    error = folkmoot("propose", "--version", "0", "--report", str(report), "--coordinator", url, fails=1)[
        "error"
    ]
    assert url in error["message"]
    assert folkmoot("proposals")["proposals"] == []


def test_a_voter_sees_worst_class_and_gap_of_the_report_with_the_right_hash(
    federation: Federation, folkmoot: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = "0x" + federation.chain.registry.version(0).state_root.hex()
    labels = [0] * 50 + [1] * 50
    measured = measure({"loss": 0.5}, labels, [0] * 60 + [1] * 40)
    report = tmp_path / "report.json"
    report.write_bytes(Report("mnist", "ab" * 32, "0", "0x" + "12" * 32, measured).to_bytes())
    error = folkmoot("propose", "--version", "0", "--report", str(report), fails=1)["error"]
    assert error["code"] == "report-differs", "a report on another state"

    report.write_bytes(Report("mnist", "ab" * 32, "0", root, measured).to_bytes())
    words = ("propose", "--version", "0", "--report", str(report), "--title", "With a report")
    short = folkmoot(*words)["proposal"]["short"]
    assert folkmoot("proposals", short, "--report", str(report))["proposal"]["report"] == report.read_text()
    assert run(["proposals", short, "--report", str(report)]) == 0
    shown = capsys.readouterr().out
    assert "worst class" in shown
    assert "1: recall 80.0% of 50 examples" in shown
    assert "20.0 points below the best group, 10.0 below all examples" in shown

    report.write_bytes(report.read_bytes().replace(b'"loss":0.5', b'"loss":0.1'))
    error = folkmoot("proposals", short, "--report", str(report), fails=1)["error"]
    assert error["code"] == "report-differs", "not the file that the proposal names"
    url = f"http://127.0.0.1:{free_port()}"
    assert run(["proposals", short, "--coordinator", url]) == 0
    seen = capsys.readouterr()
    assert "could not be fetched" in seen.err
    assert "With a report" in seen.out


@pytest.mark.parametrize("size", [None, 2**20 + 1])
def test_reports_that_can_not_be_read_or_are_too_large(
    folkmoot: Command, tmp_path: Path, size: int | None
) -> None:
    report = tmp_path / "report.json"
    if size is not None:
        report.write_bytes(bytes(size))
    error = folkmoot("propose", "--version", "0", "--report", str(report), fails=1)["error"]
    assert error["code"] in ("report-missing", "report-too-large")


def test_the_same_proposal_twice(folkmoot: Command) -> None:
    folkmoot("propose", "--version", "0", "--title", "Once")
    error = folkmoot("propose", "--version", "0", "--title", "Once", fails=1)["error"]
    assert error["details"]["error"] == "GovernorUnexpectedProposalState"
    assert "--title" in error["remedy"]


def test_proposal_numbers(federation: Federation, folkmoot: Command) -> None:
    made = [folkmoot("propose", "--version", "0", "--title", str(n))["proposal"]["id"] for n in range(11)]
    assert folkmoot("proposals", hex(int(made[0])))["proposal"]["id"] == made[0]
    first_digits = [number[0] for number in made]
    twice = next(
        digit for digit in first_digits if first_digits.count(digit) > 1
    )  # ten digits, eleven numbers
    assert folkmoot("proposals", twice, fails=1)["error"]["code"] == "ambiguous-proposal"
    assert folkmoot("proposals", "0", fails=1)["error"]["code"] == "unknown-proposal"
    assert folkmoot("proposals", "mine", fails=1)["error"]["code"] == "invalid-proposal"


def test_proposing_needs_stake(folkmoot: Command) -> None:
    error = folkmoot("propose", "--version", "0", by="newcomer", fails=1)["error"]
    assert error["details"]["error"] == "GovernorInsufficientProposerVotes"
    assert "votes 0 MOOT, threshold 10 MOOT" in error["message"]
    assert "folkmoot enrol --stake" in error["remedy"]


def test_voting_needs_stake_at_the_snapshot(federation: Federation, folkmoot: Command) -> None:
    number = folkmoot("propose", "--version", "0")["proposal"]["id"]
    federation.anvil.advance(11)
    folkmoot("enrol", "--only-stake", "500", by="newcomer")
    assert folkmoot("vote", number, "for", by="newcomer", fails=1)["error"]["code"] == "no-votes"


def test_version_that_does_not_exist(folkmoot: Command) -> None:
    error = folkmoot("propose", "--version", "9", fails=1)["error"]
    assert error["details"]["error"] == "ModelRegistryUnknownVersion"


def test_stake_unstake_withdraw(federation: Federation, folkmoot: Command) -> None:
    staked = folkmoot("enrol", "--only-stake", "12.5", by="newcomer")
    assert staked["stake"] == str(25 * UNIT // 2)
    before = folkmoot("balance", by="newcomer")
    assert before["votes"] == before["stake"] == staked["stake"]
    assert before["tokens"] == str(ALLOCATION - 25 * UNIT // 2)

    left = folkmoot("withdraw", "2.5", by="newcomer")
    folkmoot("withdraw", "all", by="newcomer")
    assert folkmoot("balance", by="newcomer")["stake"] == "0"
    assert len(folkmoot("balance", by="newcomer")["unbonding"]) == 2
    error = folkmoot("withdraw", by="newcomer", fails=1)["error"]
    assert error["details"]["error"] == "StakeVaultNothingReleased"
    assert error["details"]["arguments"]["nextReleaseAt"] == str(left["releaseAt"])

    federation.anvil.advance(3_601)
    assert folkmoot("withdraw", by="newcomer")["withdrawn"] == staked["stake"]
    after = folkmoot("balance", by="newcomer")
    assert (after["tokens"], after["unbonding"]) == (str(ALLOCATION), [])


def test_enrol_leave_and_unstake(folkmoot: Command) -> None:
    there = folkmoot("enrol")
    assert (there["transaction"], there["enrolled"], there["from"]) == (None, str(STAKE), 1), "nothing to do"
    assert folkmoot("balance")["enrolled"] == str(STAKE)
    folkmoot("leave")
    left = folkmoot("balance")
    assert (left["enrolled"], left["enrolledSince"]) == (None, None)
    assert folkmoot("leave", fails=1)["error"]["details"]["error"] == "RoundLedgerNotEnrolled"
    again = folkmoot("enrol", "60")
    assert (again["enrolled"], again["quota"]) == (str(60 * UNIT), None)
    assert folkmoot("balance")["enrolledSince"] == again["since"]
    assert folkmoot("withdraw", "30")["enrolled"] == str(60 * UNIT), "it was not enrolled"
    less = folkmoot("withdraw", "15")
    assert (less["enrolled"], less["left"]) == (str(55 * UNIT), False)
    rest = folkmoot("withdraw", "all")
    assert (rest["unbonding"], rest["left"]) == (str(55 * UNIT), True), "it can commit no more"
    assert folkmoot("balance")["enrolled"] is None
    lacking = folkmoot("enrol", fails=1)["error"]
    assert lacking["details"]["error"] == "RoundLedgerStakeTooLow"
    assert "folkmoot enrol --stake" in lacking["remedy"]


def test_enrolment_while_a_round_is_open_counts_from_the_next_one(
    federation: Federation, folkmoot: Command
) -> None:
    open_round(federation)
    folkmoot("enrol", "--only-stake", "10")
    assert folkmoot("enrol", "90")["from"] == 1, "less than before"
    assert folkmoot("enrol")["from"] == 2
    assert folkmoot("balance")["enrolled"] == str(STAKE + 10 * UNIT)


def test_in_a_crowd_the_chance_of_a_place_is_told(
    federation: Federation, folkmoot: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two enrol a lot: there are 31 places for 50 MOOT each, and 2,250 MOOT are enrolled."""
    for name in ("ada", "ben"):
        folkmoot("enrol", "--only-stake", str((ALLOCATION - STAKE) // UNIT), by=name)
        folkmoot("enrol", by=name)
    total = 2 * ALLOCATION + 50 * UNIT + 2 * STAKE
    assert folkmoot("enrol", "50", by="cleo")["quota"] == str(total * 4 // (31 * 3))
    for words, told in (
        (("enrol", "50"), "is enrolled already with 50 MOOT"),
        (("enrol", "50"), "The chance of this account is 51.6 %."),
        (("balance",), "the chance of a place in the next round is 51.6 %"),
        (("status",), "a crowd: an account needs 96.77"),
    ):
        assert run(words) == 0
        assert told in capsys.readouterr().out
    chain = federation.chain
    federation.anvil.advance(1)  # whoever enrols in the second of a basis is not in the draw
    federation.anvil.call("anvil_mine", hex(REDRAW_BLOCKS))
    chain.send(chain.vault.functions.redraw(), federation["ada"])
    federation.anvil.advance(1)
    number = open_round(federation)
    places = {name: chain.ledger.has_place(number, federation[name].address) for name in ("ada", "cleo")}
    assert places["ada"]
    said = _not_drawn(federation["cleo"].address, number, chain)
    asked = re.search(r"asked for ([\d.]+) MOOT .* Now it has 50 MOOT", said)
    assert asked is not None
    assert (float(asked[1]) <= 50) == places["cleo"]


def test_bonds_are_shown_and_can_not_be_taken_out(
    federation: Federation, folkmoot: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    bond = factories.policy().bond
    assert folkmoot("status")["coordinator"]["roundsAffordable"] == BOND // bond
    anchored_round(federation)
    standing = folkmoot("status")["coordinator"]
    assert (standing["bonds"], standing["roundsAffordable"]) == (str(bond), BOND // bond - 1)
    assert run(["status"]) == 0
    assert (
        "stake 500 MOOT, 50 MOOT of it locked as bonds: enough to open 9 more rounds"
        in capsys.readouterr().out
    )
    error = folkmoot("withdraw", "451", by="coordinator", fails=1)["error"]
    assert "unlocked 450 MOOT, requested 451 MOOT" in error["message"]
    rest = folkmoot("withdraw", "all", by="coordinator")
    assert (rest["unbonding"], rest["bonds"]) == (str(BOND - bond), str(bond))
    assert folkmoot("balance", by="coordinator")["bonds"] == str(bond)
    locked = folkmoot("withdraw", "all", by="coordinator", fails=1)["error"]
    assert locked["code"] == "stake-locked"


def test_the_bond_of_a_void_round_is_released_by_anybody(federation: Federation, folkmoot: Command) -> None:
    assert [anchored_round(federation), anchored_round(federation)] == [1, 2]
    early = folkmoot("close", "2", fails=1)["error"]
    assert (early["code"], "can be challenged until" in early["message"]) == ("too-early", True)
    prove_wrong(federation, 1, federation["emil"].address)
    assert folkmoot("status")["coordinator"]["roundsAffordable"] == 8
    released = folkmoot("close", "2", by="outsider")
    assert (released["coordinator"], released["bond"]) == (
        federation.coordinator.address,
        str(factories.policy().bond),
    )
    assert folkmoot("status")["coordinator"] == {
        "address": federation.coordinator.address,
        "stake": str(BOND - factories.policy().bond),
        "bonds": "0",
        "roundsAffordable": 9,
    }
    assert folkmoot("close", "2", fails=1)["error"]["code"] == "bond-released"
    assert folkmoot("close", "1", fails=1)["error"]["code"] == "round-not-open", "it was slashed"
    assert folkmoot("close", "3", fails=1)["error"]["code"] == "round-unknown"


def test_delegation(federation: Federation, folkmoot: Command) -> None:
    ben = federation["ben"].address
    folkmoot("delegate", ben)
    assert folkmoot("balance")["votes"] == "0"
    assert folkmoot("balance", ben)["votes"] == str(2 * STAKE)
    folkmoot("delegate", "self")
    assert folkmoot("balance")["votes"] == str(STAKE)


@pytest.mark.parametrize("amount", ["0", "1e3", "many", "0.0000000000000000001", "9" * 25])
def test_amounts_that_are_none(folkmoot: Command, amount: str) -> None:
    error = folkmoot("enrol", "--only-stake", amount, fails=1)
    assert error["error"]["code"] == "invalid-amount"


def test_more_than_there_is(folkmoot: Command) -> None:
    error = folkmoot("enrol", "--only-stake", "5000", by="newcomer", fails=1)["error"]
    assert error["details"]["error"] == "ERC20InsufficientBalance"
    assert "needed 5000 MOOT" in error["message"]
    error = folkmoot("withdraw", "101", fails=1)["error"]
    assert error["details"]["error"] == "StakeVaultInsufficientStake"


def test_nothing_to_claim(folkmoot: Command) -> None:
    assert folkmoot("withdraw", "--rewards", fails=1)["error"]["details"]["error"] == "RewardsNothingToClaim"


def test_the_clock_of_another_chain_is_left_alone(folkmoot: Command) -> None:
    with Anvil(chain_id=1) as other:
        error = folkmoot("chain", "--advance", "10", "--rpc", other.url, fails=1)["error"]
    assert error["code"] == "not-a-local-chain"


def test_usage_errors_exit_with_2(folkmoot: Command) -> None:
    assert folkmoot("propose", fails=2)["error"]["code"] == "usage"
    assert folkmoot("propose", "--version", "0", "--appoint", "0x", fails=2)["error"]["code"] == "usage"
    assert folkmoot("vote", "1", "maybe", fails=2)["error"]["code"] == "usage"
    assert folkmoot("nonsense", fails=2)["error"]["code"] == "usage"


def test_status_shows_the_round_under_way(federation: Federation, folkmoot: Command) -> None:
    chain = federation.chain
    chain.send(
        chain.ledger.functions.openRound(1, chain.ledger.head().state_root, b"\1" * 32),
        federation.coordinator,
    )
    assert folkmoot("status")["round"]["phase"] == "open"
    federation.anvil.advance(factories.policy().commit_window)
    standing = folkmoot("status")
    assert standing["round"]["phase"] == "committed"
    assert standing["head"]["round"] == 0
    assert standing["totalStaked"] == str(BOND + 5 * STAKE - factories.policy().bond), "bonds do not vote"


def test_every_command_reads_well_without_json(
    federation: Federation, folkmoot: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    number = folkmoot("propose", "--version", "0")["proposal"]["short"]
    for words, expected in {
        ("status",): "head         round 0",
        ("proposals",): "pending",
        ("proposals", number): "would       make version 0 active, no report",
        ("balance",): "stake      100 MOOT",
        ("enrol", "--only-stake", "1"): "is now 101 MOOT",
        ("withdraw", "1"): "can be withdrawn from",
        ("account", "list"): federation["ada"].address,
    }.items():
        assert run(words) == 0
        assert expected in capsys.readouterr().out, words


# Bad surroundings, in a process of its own: one line on stderr, exit status 1, no traceback.


def _process(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "folkmoot", *words],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_endpoint_that_is_down(deployment_file: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    line = _one_line(_process("status", "--rpc", url, "--deployment", str(deployment_file)))
    assert line.startswith(f"error: The RPC endpoint {url} can't be reached")
    assert "node is running" in line


def test_wrong_chain(federation: Federation, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.json"
    replace(federation.deployment, chain_id=1).save(path)
    line = _one_line(_process("status", "--rpc", federation.anvil.url, "--deployment", str(path)))
    assert "serves chain 31337, the deployment is on chain 1" in line


def test_contract_missing(federation: Federation, tmp_path: Path) -> None:
    path = tmp_path / "nowhere.json"
    replace(federation.deployment, governor=federation["nobody"].address).save(path)
    line = _one_line(_process("status", "--rpc", federation.anvil.url, "--deployment", str(path)))
    assert "There is no contract at" in line
    assert "governor" in line


def test_wrong_password(federation: Federation, deployment_file: Path, keystore: MakeKey) -> None:
    done = _process(
        *("enrol", "--only-stake", "1", "--rpc", federation.anvil.url, "--deployment", str(deployment_file)),
        *("--keystore", str(keystore("ada"))),
        environment={"FOLKMOOT_PASSWORD": "wrong"},
    )
    assert "The password of the key file" in _one_line(done)
    assert federation.chain.vault.stake_of(federation["ada"].address) == STAKE


def test_no_password_and_no_terminal(
    federation: Federation, deployment_file: Path, keystore: MakeKey
) -> None:
    done = _process(
        *("enrol", "--only-stake", "1", "--rpc", federation.anvil.url, "--deployment", str(deployment_file)),
        *("--keystore", str(keystore("ada"))),
    )
    assert "FOLKMOOT_PASSWORD" in _one_line(done)


def test_deploying_from_files(anvil: Anvil, keystore: MakeKey, password_file: Path, tmp_path: Path) -> None:
    import numpy as np

    manifest = Manifest.from_arrays("test", {"weight": np.zeros((3, 5), np.float32)}, {"steps": 1})
    state = State.genesis(manifest, {"weight": np.ones((3, 5), np.float32)})
    genesis = Genesis.of(manifest, state, (-10,))
    for name, data in [(genesis.manifest, manifest.to_json()), (genesis.state, state.to_bytes())]:
        (tmp_path / name[:2]).mkdir(exist_ok=True)
        (tmp_path / name[:2] / name).write_bytes(data)
    (tmp_path / "genesis.json").write_bytes(genesis.to_json())
    (tmp_path / "policy.json").write_text(json.dumps(policy_file.to_json(factories.policy())))
    deployer, ada = factories.account("deployer"), factories.account("ada").address
    out = tmp_path / "deployment.json"
    anvil.fund(deployer.address)
    words = [
        *("deploy", "--rpc", anvil.url, "--keystore", str(keystore("deployer"))),
        *("--password-file", str(password_file), "--genesis", str(tmp_path / "genesis.json")),
        *("--policy", str(tmp_path / "policy.json"), "--appoint", ada, "--allocate", f"{ada}=1000"),
        *("--profile", "demo", "--quorum", "30", "--seasoning", "60", "--out", str(out), "--json"),
    ]
    done = _process(*words)
    assert done.returncode == 0, done.stderr + done.stdout
    document = json.loads(done.stdout)
    assert Deployment.load(out).to_json() == document["deployment"]
    assert document["deployment"]["genesisHash"] == "0x" + genesis.hash.hex()
    assert document["governance"]["quorum_percent"] == 30
    assert document["governance"]["seasoning"] == 60
    assert "the seasoning of votes is 60" in document["verified"]
    assert document["deployer"] == deployer.address
    assert "what the deployer holds is no role" in document["verified"]
    assert document["warning"].startswith("The policy has no verifier")
    assert set(document["gasUsed"]) == set(CONTRACTS)

    again = _process(*words)
    assert again.returncode == 1
    assert json.loads(again.stdout)["error"]["code"] == "file-exists"
