# SPDX-License-Identifier: Apache-2.0
"""The small parts of the audit: code, policies, registry, roles, endpoints, failures, the report."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_utils.crypto import keccak

from folkmoot.audit.audit import Summary
from folkmoot.audit.entries import EntryCounts
from folkmoot.audit.failure import Subject, mismatch, require, shown
from folkmoot.audit.governance import check_registry, check_roles, designed_roles
from folkmoot.audit.history import Block, VersionView, compare_histories, differences
from folkmoot.audit.policies import check_policies
from folkmoot.audit.report import rows, shown_progress
from folkmoot.chain.terms import Bounds
from folkmoot.errors import AuditFailure
from folkmoot.ledger.events import (
    PolicyAdded,
    RoleGranted,
    RoleRevoked,
    VersionActivated,
    VersionRecalled,
    VersionRegistered,
)
from folkmoot.ledger.packaged import is_runtime_of
from folkmoot.ledger.releases import Releases
from folkmoot.protocol.policy import Policy
from tests import factories
from tests.unit.audit.records import ADA, BEN, DEPLOYMENT, GENESIS_TIME, LIMITS, Script
from tests.unit.audit.test_audit_rounds import GENESIS_ROOT, Play, root

# Code

RUNTIME = bytes.fromhex("6080604052348015600e575f5ffd5b50") + b"\x7f" + bytes(32) + b"\x00"


def test_code_is_found_in_its_creation_code_with_any_immutables() -> None:
    creation = b"\x60\x80" + RUNTIME + b"data"
    filled = RUNTIME[:17] + b"\x11" * 32 + RUNTIME[49:]
    assert is_runtime_of(creation, RUNTIME)
    assert is_runtime_of(creation, filled)
    assert is_runtime_of(RUNTIME[:16] + creation, filled), "the first match is not always the right one"


@pytest.mark.parametrize(
    "other",
    [RUNTIME[:-1] + b"\x01", RUNTIME + b"\x00" * 9, b"\x60" * 50, RUNTIME[:20] + b"\x11" * 30],
)
def test_other_code_is_not(other: bytes) -> None:
    assert not is_runtime_of(b"\x60\x80" + RUNTIME + b"data", other)


# Policies


def test_policies_are_numbered_without_gaps_and_stored_as_announced() -> None:
    script, policy = Script(), factories.policy()
    for number in (1, 2):
        script.block().add(PolicyAdded, "policies", policy_id=number, policy=policy)
    assert check_policies(script.history(policies={1: policy, 2: policy}, current_policy=2)) == {
        1: policy,
        2: policy,
    }
    other = replace(policy, rate=5)
    with pytest.raises(AuditFailure, match="policy 2"):
        check_policies(script.history(policies={1: policy, 2: other}, current_policy=2))
    with pytest.raises(AuditFailure, match="newest policy"):
        check_policies(script.history(policies={1: policy, 2: policy}, current_policy=3))
    script.block().add(PolicyAdded, "policies", policy_id=4, policy=policy)
    with pytest.raises(AuditFailure, match=r"number of the policy.*Expected: 3. Found: 4"):
        check_policies(script.history(policies={1: policy, 2: policy}, current_policy=4))


ALLOWED = factories.policy(bond=200, reward=50, min_stake=10, interval=30, verifier=LIMITS.verifier)
"""A policy at the limits of `_BOUNDS`."""
_BOUNDS = Bounds(
    max_reward=50,
    min_bond=200,
    max_min_stake=10,
    min_commit_window=ALLOWED.commit_window,
    min_challenge_window=ALLOWED.challenge_window,
    min_interval=ALLOWED.interval,
)
_WINDOWS = ALLOWED.commit_window + ALLOWED.anchor_window + ALLOWED.challenge_window


def checked(policy: Policy) -> None:
    script = Script()
    script.block().add(PolicyAdded, "policies", policy_id=1, policy=policy)
    limits = replace(LIMITS, bounds=_BOUNDS, max_windows=_WINDOWS)
    check_policies(script.history(policies={1: policy}, current_policy=1, limits=limits))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"parameters": (1,) * 33}, "number of parameters"),
        ({"max_sum_squares": 0}, "max sum squares"),
        ({"min_contributors": 0}, "min contributors"),
        ({"min_contributors": 33}, "min contributors"),
        ({"max_contributors": 257}, "max contributors"),
        ({"rule": "multi_krum", "max_contributors": 33}, "max contributors"),
        ({"width": 7}, "width"),
        ({"rate": 0}, "rate"),
        ({"rate": 4097}, "rate"),
        ({"momentum": 1025}, "momentum"),
        ({"reward": 51, "bond": 204}, "reward"),
        ({"bond": 199}, "bond"),
        ({"bond": 199, "reward": 10}, "bond"),
        ({"min_stake": 0}, "min stake"),
        ({"min_stake": 11}, "min stake"),
        ({"commit_window": ALLOWED.commit_window - 1}, "commit window"),
        ({"anchor_window": 0}, "anchor window"),
        ({"challenge_window": ALLOWED.challenge_window - 1}, "challenge window"),
        ({"anchor_window": ALLOWED.anchor_window + 1}, "windows together"),
        ({"interval": _WINDOWS + 1}, "interval"),
        ({"interval": 29}, "interval"),
        ({"verifier": ADA}, "verifier"),
        ({"min_sum_squares": ALLOWED.max_sum_squares + 1}, "min sum squares"),
        ({"steps": 1}, "steps"),
        ({"privacy_cap": 1}, "privacy cap"),
        ({"noise1024": 2745, "privacy_cap": 298_844_372}, "steps"),
        ({"noise1024": 2745, "steps": 8192, "privacy_cap": 2**64 - 1}, "steps"),
        ({"noise1024": 2745, "steps": 1, "privacy_cap": 298_844_371}, "privacy cap"),
    ],
)
def test_a_policy_beyond_a_limit_is_named(changes: dict[str, Any], what: str) -> None:
    checked(replace(ALLOWED, interval=_WINDOWS))
    checked(replace(ALLOWED, rule="multi_krum", max_contributors=32, rate=4096, momentum=1024))
    with pytest.raises(AuditFailure) as caught:
        checked(replace(ALLOWED, **changes))
    assert caught.value.details["what"] == f"the policy's {what}"


# Registry


class Registered(Play):
    """A final round 1 whose version is registered as a test likes."""

    def __init__(self) -> None:
        super().__init__()
        first = next(event for event in self.events if event.contract == "registry")
        now, self.number, self.logs = self.number, first.block, 1
        self.add(VersionRegistered, "registry", version=0, parent=0, state_root=GENESIS_ROOT)
        self.number = now
        self.events.sort(key=lambda event: (event.block, event.log_index))
        self.play(1)
        self.finalize(1)

    def activate(self, version: int) -> None:
        self.add(VersionActivated, "registry", version=version, report_hash=b"\1" * 32)

    def recall(self, version: int, *, has_active: bool = False, active: int = 0) -> None:
        fields = {"version": version, "report_hash": bytes(32), "has_active": has_active, "active": active}
        self.add(VersionRecalled, "registry", **fields)

    def register(self, **wrong: Any) -> None:
        fields = {"version": 1, "parent": 0, "state_root": root(1)}
        self.add(VersionRegistered, "registry", **{**fields, **wrong})

    def checked(self, standing: int = 0, standing_of_0: int = 0, **storage: Any) -> Releases:
        right = {
            0: VersionView(0, GENESIS_TIME, GENESIS_ROOT, standing_of_0),
            1: VersionView(0, self.times[self.number], root(1), standing),
        }
        history = self.history(**{"versions": right, **storage})
        return check_registry(history, self.replayed())


def test_each_final_round_is_a_version_and_one_is_active() -> None:
    play = Registered()
    play.register()
    assert play.checked().active is None
    play.add(VersionActivated, "registry", version=1, report_hash=b"\1" * 32)
    assert play.checked(1, active=(1, b"\1" * 32)).active == (1, b"\1" * 32)
    with pytest.raises(AuditFailure, match="he active version"):
        play.checked(1, active=(0, b"\1" * 32))
    with pytest.raises(AuditFailure, match="Round 1: the stored version"):
        play.checked(
            versions={0: VersionView(0, GENESIS_TIME, GENESIS_ROOT), 1: VersionView(0, 5, root(1))},
            active=(1, b"\1" * 32),
        )


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lambda p: None, "the registered versions"),
        (lambda p: p.register(version=2), "a final round"),
        (lambda p: p.register(parent=1), "the parent of the version"),
        (lambda p: p.register(state_root=bytes(32)), "the state root of the version"),
        (lambda p: p.block() and p.register(), "the transaction of the registration"),
        (lambda p: (p.register(), p.register()), "an earlier registration"),
        (lambda p: p.activate(9), "a version that exists"),
        (lambda p: p.recall(9), "a version that exists"),
        (lambda p: (p.register(), p.recall(1)), "a version that was active"),
        (lambda p: (p.activate(0), p.recall(0), p.recall(0)), "a version that is not recalled"),
        (lambda p: (p.activate(0), p.recall(0), p.activate(0)), "a version that is not recalled"),
        (
            lambda p: (p.activate(0), p.recall(0, has_active=True)),
            "whether a version is active after the recall",
        ),
        (
            lambda p: (p.register(), p.activate(0), p.activate(1), p.recall(1, has_active=True, active=1)),
            "the version that is active after the recall",
        ),
    ],
)
def test_a_wrong_version_is_named(run: Callable[[Registered], Any], what: str) -> None:
    play = Registered()
    run(play)
    with pytest.raises(AuditFailure) as caught:
        play.checked()
    assert caught.value.details["what"] == what


def test_a_recall_brings_the_earlier_version_back() -> None:
    play = Registered()
    play.register()
    play.activate(0)
    play.activate(1)
    play.recall(1, has_active=True)
    found = play.checked(2, standing_of_0=1, active=(0, b"\1" * 32))
    assert (found.active, found.recalled) == ((0, b"\1" * 32), {1: bytes(32)})
    with pytest.raises(AuditFailure, match="Round 1: the stored version"):
        play.checked(1, standing_of_0=1, active=(0, b"\1" * 32))
    with pytest.raises(AuditFailure, match="he active version"):
        play.checked(2, standing_of_0=1, active=(1, b"\1" * 32))


# Roles


class Deployed(Script):
    """The deployment's own grants."""

    def __init__(self, *extra: tuple[str, bytes, str]) -> None:
        super().__init__()
        made = [event for event in self.events if not isinstance(event, RoleGranted)]
        first = {event.contract: event.block for event in self.events}
        self.events = made
        now = self.number
        for contract, role, account in [*designed_roles(DEPLOYMENT), *extra]:
            self.number = first[contract]
            self.add(RoleGranted, contract, role=role, account=account, sender=ADA)
        self.number = now
        self.events.sort(key=lambda event: (event.block, event.log_index))


def test_the_designed_roles_pass() -> None:
    script = Deployed()
    stored = dict.fromkeys(designed_roles(DEPLOYMENT), True)
    check_roles(script.history(roles=stored))


def test_a_role_that_the_deployment_should_not_give_is_named() -> None:
    with pytest.raises(AuditFailure, match=f"{ADA} has DEFAULT_ADMIN_ROLE of the timelock"):
        check_roles(Deployed(("timelock", bytes(32), ADA)).history())


def test_a_role_that_is_stored_otherwise_is_named() -> None:
    proposer = keccak(text="PROPOSER_ROLE")
    stored = dict.fromkeys(designed_roles(DEPLOYMENT), True)
    stored["timelock", proposer, BEN] = True
    with pytest.raises(AuditFailure, match=f"hether {BEN} has PROPOSER_ROLE"):
        check_roles(Deployed().history(roles=stored))


def test_a_role_that_is_missing_is_named() -> None:
    script, proposer = Deployed(), keccak(text="PROPOSER_ROLE")
    script.block().add(RoleRevoked, "timelock", role=proposer, account=DEPLOYMENT.governor, sender=ADA)
    with pytest.raises(AuditFailure, match="CANCELLER_ROLE of the timelock"):
        check_roles(script.history())


# Endpoints


def test_endpoints_that_agree_pass_and_the_odd_one_is_named() -> None:
    script = Script()
    right = script.history()
    compare_histories(["a", "b"], [right, right])
    wrong = script.history(total_supply=5)
    with pytest.raises(AuditFailure, match="he stored total supply at c is not what"):
        compare_histories(["a", "b", "c"], [right, right, wrong])
    with pytest.raises(AuditFailure, match="he stored total supply at a is not what"):
        compare_histories(["a", "b", "c"], [wrong, right, right])
    with pytest.raises(AuditFailure, match=r"at b .*as a says"):
        compare_histories(["a", "b"], [right, wrong])


def test_the_most_telling_difference_comes_first() -> None:
    script = Script()
    one = script.history()
    other = replace(one, head=Block(one.head.number, b"\1" * 32, one.head.timestamp))
    assert next(differences(one, other))[0] == f"block {one.head.number}"
    shorter = replace(one, events=one.events[:-1])
    what, expected, found = next(differences(one, shorter))
    assert what == f"event {one.events[-1].log_index} of block {one.events[-1].block}"
    assert (expected, found) == (one.events[-1].name, None)
    altered = replace(one, events=(*one.events[:-1], replace(one.events[-1], account=BEN)))
    assert next(differences(one, altered))[0].startswith("the account of event 0 of block 6 (RoleGranted in")
    late = replace(one, times={**one.times, 1: 7})
    assert next(differences(one, late))[0] == "the block times"


# Words


def test_a_failure_says_what_it_is_about() -> None:
    script = Script()
    event = script.events[0]
    subject = Subject(
        check="entries", round=3, contributor=ADA, artifact="ab" * 32, proposal=10**70, event=event
    )
    failure = mismatch(subject, "the thing", b"\1\2", None)
    assert failure.message == (
        f"Round 3, contributor {ADA}, proposal 10000000, file {'ab' * 32}, event RoleGranted in transaction "
        f"0x{event.transaction.hex()}: the thing is not what it must be. Expected: 0x0102. Found: nothing."
    )
    assert failure.details == {
        "check": "entries",
        "round": 3,
        "contributor": ADA,
        "artifact": "ab" * 32,
        "proposal": str(10**70),
        "event": "RoleGranted",
        "transaction": "0x" + event.transaction.hex(),
        "block": 1,
        "what": "the thing",
        "expected": "0x0102",
        "found": "nothing",
    }
    assert failure.code == "audit-mismatch"
    with pytest.raises(
        AuditFailure, match=r"^The thing is not what it must be. Expected: \[1, 2\]. Found: \[3\]."
    ):
        require(Subject(check="x"), "the thing", [1, 2], {3})


def test_values_are_shown_as_people_read_them() -> None:
    assert [shown(value) for value in (b"\xff", (1, b"\0"), {2, 1}, None, "text")] == [
        "0xff",
        "[1, 0x00]",
        "[1, 2]",
        "nothing",
        "text",
    ]


# The report

SUMMARY = Summary(
    head=Block(9, b"\1" * 32, 5),
    rounds=Counter(final=2, open=1),
    recomputed=2,
    updates=7,
    entries=EntryCounts(5, 1, 1),
    hashed=3 * 2**20,
    votes=4,
    proposals=2,
    rewards=5 * 10**17,
    model_head=2,
    state_root=b"\2" * 32,
    active=(1, b"\3" * 32),
    seconds=1.25,
)


def test_the_summary_is_told_to_people_and_machines() -> None:
    found = rows(SUMMARY)
    assert found["rounds"] == "3 (2 final, 1 open)"
    assert found["recomputed"] == "2 rounds, 7 updates, 3.0 MiB"
    assert found["entries"] == "5 signed, 1 sent by their contributor, 1 relied on the ledger"
    assert found["rewards"] == "0.5 MOOT claimed"
    assert found["active"] == "version 1"
    assert rows(replace(SUMMARY, rounds=Counter(), active=None))["rounds"] == "0 (none yet)"
    assert rows(replace(SUMMARY, active=None))["active"] == "no version yet"
    assert "memories" not in found
    assert rows(replace(SUMMARY, memories=3))["memories"].startswith(
        "3 entries name what their contributor's"
    )
    assert rows(replace(SUMMARY, hashed=5))["recomputed"].endswith("5 bytes")
    assert rows(replace(SUMMARY, hashed=2**50))["recomputed"].endswith("1024.0 TiB")
    document = SUMMARY.to_json()
    assert document["rounds"] == {"final": 2, "open": 1}
    assert document["activeReport"] == "0x" + "03" * 32
    assert replace(SUMMARY, active=None).to_json()["activeVersion"] is None


class Screen(io.StringIO):
    """Standard error that is a terminal, or a file."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "quiet", "shown"),
    [(True, False, True), (True, True, False), (False, False, False), (False, True, False)],
)
def test_progress_is_shown_on_a_terminal_only(
    terminal: bool, quiet: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    screen = Screen(terminal)
    monkeypatch.setattr("sys.stderr", screen)
    with shown_progress(quiet) as progress:
        progress.step("checking the genesis")
        progress.round(1, 2)
    written = screen.getvalue()
    if shown:
        assert "Checking the genesis" in written
        assert "1/2" in written
    else:
        assert written == ""


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (True, True), (False, False), (False, True)])
def test_a_remark_is_written_with_and_without_progress(
    terminal: bool, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(terminal)
    monkeypatch.setattr("sys.stderr", screen)
    with shown_progress(quiet) as progress:
        progress.say("Round 2 was [slashed].")
    assert "Round 2 was [slashed]." in screen.getvalue()
