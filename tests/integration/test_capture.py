# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --cheat capture`: what a vote that one account decides alone can do, and what no vote can."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from folkmoot_lab.stories.capture import PASSED, Capture
from folkmoot_lab.stories.federation import Story
from rich.console import Console

from folkmoot.runtime.units import UNIT

FORBIDDEN = {
    "take a contributor's stake": "StakeVaultNotLedger",
    "make a million tokens": "MootTokenNotMinter",
    "raise the reward beyond its bound": "PoliciesInvalidPolicy(reward)",
    "lower the bond below its bound": "PoliciesInvalidPolicy(bond)",
    "raise the minimum stake beyond its bound": "PoliciesInvalidPolicy(minStake)",
    "shorten the commit window": "PoliciesInvalidPolicy(commitWindow)",
    "shorten the challenge window": "PoliciesInvalidPolicy(challengeWindow)",
    "let the attacker judge": "PoliciesInvalidPolicy(verifier)",
    "become a proposer of the timelock": "AccessControlUnauthorizedAccount",
    "end the governor's power": "AccessControlUnauthorizedAccount",
    "execute without a delay": "MootTimelockFixed",
    "replace the timelock": "MootGovernorFixed",
    "let nobody else propose": "MootGovernorFixed",
    "raise the quorum to all of the stake": "MootGovernorFixed",
    "become the guardian": "MootGovernorNoNewGuardian",
}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_captured_vote_takes_no_stake_and_makes_no_token(tmp_path: Path) -> None:
    shown = Console(file=io.StringIO(), width=120)
    plan = Capture.staged(Story(tmp_path / "demo", task="digits", contributors=3))
    summary = Capture(plan, 1, shown).run()
    proposals = summary["proposals"]
    assert {title: end for title, end in proposals.items() if end != PASSED} == FORBIDDEN
    assert len(proposals) == len(FORBIDDEN) + 2
    assert (summary["earned"], summary["lost"], summary["net"]) == ("0", "0", "0")
    assert int(summary["gasCoins"]) > 0
    assert int(summary["share"]) * 10 >= 3 * (800 * UNIT + int(summary["share"]))
