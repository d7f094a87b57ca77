// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice What a proven fraud costs, and where training goes on.
contract RoundLedgerFraudTest is RoundTest {
    function _expectWrongPhase(RoundId round, IRoundLedger.Phase current) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector, round, current, IRoundLedger.Phase.Anchored
            )
        );
    }

    function test_reportFraud_takesTheBondAndTheHead() public {
        RoundId round = anchored();
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundSlashed(round, verifier.addr, challenger.addr, BOND);
        vm.expectEmit(address(vault));
        emit IStakeVault.BondUnlocked(coordinator.addr, BOND);
        vm.expectEmit(address(vault));
        emit IStakeVault.Slashed(coordinator.addr, challenger.addr, BOND / 4, (3 * BOND) / 4);
        report(round);
        assertPhase(round, IRoundLedger.Phase.Slashed, "phase");
        assertHead(id(0), "the head is the base again");
        vm.assertEq(vault.stakeOf(coordinator.addr), 4 * BOND, "stake of the coordinator");
        vm.assertEq(token.balanceOf(challenger.addr), BOND / 4, "to the challenger");
        vm.assertEq(token.totalSupply(), supply - (3 * BOND) / 4, "burnt");
        vm.assertEq(uint256(ledger.pendingRounds()), 0, "pending rounds");
    }

    /// @dev Audit H3: with one bond staked, three pending rounds had one bond behind them.
    function test_bond_answersForEachPendingRound() public {
        for (uint256 i = 0; i < 3; ++i) {
            anchored();
        }
        vm.assertEq(vault.bondOf(coordinator.addr), 3 * BOND, "a bond for each");
        vm.prank(coordinator.addr);
        vault.requestUnbond(2 * BOND);
        vm.expectRevert(
            abi.encodeWithSelector(IStakeVault.StakeVaultInsufficientStake.selector, coordinator.addr, 0, 1)
        );
        vm.prank(coordinator.addr);
        vault.requestUnbond(1);
        RoundId next = ledger.nextRound();
        bytes32 root = headRoot();
        vm.expectRevert(
            abi.encodeWithSelector(IStakeVault.StakeVaultInsufficientStake.selector, coordinator.addr, 0, BOND)
        );
        vm.prank(coordinator.addr);
        ledger.openRound(next, root, HEADER_HASH);
        report(id(3));
        report(id(2));
        report(id(1));
        vm.assertEq(token.balanceOf(challenger.addr), (3 * BOND) / 4, "each lie costs its own bond");
        vm.assertEq(vault.stakeOf(coordinator.addr), 0, "nothing is left");
    }

    /// @dev Audit H3: a puppet reports the first of three lies. The others are void with it, and none becomes final.
    function test_bond_selfReportCostsWhatBurns() public {
        RoundId first = anchored();
        anchored();
        RoundId third = anchored();
        uint256 supply = token.totalSupply();
        report(first);
        vm.assertEq(supply - token.totalSupply(), (3 * BOND) / 4, "burnt");
        skipChallengeWindow(third);
        _expectWrongPhase(third, IRoundLedger.Phase.Cancelled);
        ledger.finalize(third);
    }

    function test_bond_isUnlockedWhenTheRoundIsOver() public {
        finalized();
        vm.assertEq(vault.bondOf(coordinator.addr), 0, "final");
        RoundId empty = open();
        vm.assertEq(vault.bondOf(coordinator.addr), BOND, "open");
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(empty);
        vm.assertEq(vault.bondOf(coordinator.addr), 0, "cancelled");
    }

    function test_releaseVoid_unlocksTheBondOfAVoidRound() public {
        RoundId bad = anchored();
        RoundId child = anchored();
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotVoid.selector, child, IRoundLedger.Phase.Anchored)
        );
        ledger.releaseVoid(child);
        report(bad);
        vm.assertEq(vault.bondOf(coordinator.addr), BOND, "that of the void round");
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundCancelled(child, IRoundLedger.CancelReason.BaseVoided);
        vm.prank(stranger.addr);
        ledger.releaseVoid(child);
        vm.assertEq(vault.bondOf(coordinator.addr), 0, "released");
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotVoid.selector, child, IRoundLedger.Phase.Cancelled)
        );
        ledger.releaseVoid(child);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotVoid.selector, bad, IRoundLedger.Phase.Slashed)
        );
        ledger.releaseVoid(bad);
    }

    /// @dev A void round's position is taken by another round: it must not stand again.
    function test_reportFraud_voidsForGood() public {
        RoundId bad = anchored();
        RoundId child = anchored();
        report(bad);
        anchored();
        RoundId second = anchored();
        vm.assertEq(
            uint256(ledger.rounds(second).position), uint256(ledger.rounds(child).position), "the same position"
        );
        assertPhase(child, IRoundLedger.Phase.Cancelled, "void");
        assertPhase(second, IRoundLedger.Phase.Anchored, "stands");
        _expectWrongPhase(child, IRoundLedger.Phase.Cancelled);
        report(child);
    }

    function test_reportFraud_letsTrainingGoOnFromTheBase() public {
        RoundId good = finalized();
        RoundId bad = anchored();
        report(bad);
        assertHead(good, "the head is the last good round");
        RoundId next = anchored();
        assertEq(ledger.rounds(next).base, good, "base of the next round");
        skipChallengeWindow(next);
        ledger.finalize(next);
        assertEq(registry.versions(next).parent, good, "lineage passes the bad round by");
    }

    function test_reportFraud_voidsWhatBuildsOnIt() public {
        RoundId good = anchored();
        RoundId bad = anchored();
        RoundId child = anchored();
        RoundId grandchild = anchored();
        report(bad);
        assertPhase(child, IRoundLedger.Phase.Cancelled, "child");
        assertPhase(grandchild, IRoundLedger.Phase.Cancelled, "grandchild");
        assertHead(good, "head");
        vm.assertEq(uint256(ledger.pendingRounds()), 1, "only the good round waits");
        vm.warp(block.timestamp + 2 days);
        ledger.finalize(good);
        _expectWrongPhase(child, IRoundLedger.Phase.Cancelled);
        ledger.finalize(child);
    }

    function test_reportFraud_voidsTheOpenRound() public {
        RoundId bad = anchored();
        RoundId opened = open();
        commitThree(opened);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundCancelled(opened, IRoundLedger.CancelReason.BaseVoided);
        report(bad);
        assertPhase(opened, IRoundLedger.Phase.Cancelled, "the open round");
        RoundId next = open();
        assertEq(ledger.rounds(next).base, id(0), "base of the next round");
        assertEq(next, id(3), "numbers are not used again");
    }

    function test_reportFraud_leavesCancelledRoundsAlone() public {
        RoundId bad = anchored();
        RoundId cancelled = open();
        skipCommitWindow(cancelled);
        ledger.cancel(cancelled);
        report(bad);
        assertPhase(cancelled, IRoundLedger.Phase.Cancelled, "phase");
        assertEq(ledger.rounds(open()).base, id(0), "base of the next round");
    }

    function test_reportFraud_canStrikeTheChainTwice() public {
        RoundId first = anchored();
        RoundId second = anchored();
        report(second);
        RoundId third = anchored();
        assertEq(ledger.rounds(third).base, first, "base of the third");
        report(first);
        assertPhase(third, IRoundLedger.Phase.Cancelled, "the third built on the first");
        assertHead(id(0), "head");
        vm.assertEq(vault.stakeOf(coordinator.addr), 3 * BOND, "two bonds are gone");
    }

    function test_reportFraud_failsForAVoidedRound() public {
        RoundId bad = anchored();
        RoundId child = anchored();
        report(bad);
        _expectWrongPhase(child, IRoundLedger.Phase.Cancelled);
        report(child);
        _expectWrongPhase(bad, IRoundLedger.Phase.Slashed);
        report(bad);
    }

    function test_reportFraud_worksUntilTheRoundIsFinal() public {
        RoundId round = anchored();
        vm.warp(ledger.rounds(round).challengeDeadline + 1 hours);
        report(round);
        assertPhase(round, IRoundLedger.Phase.Slashed, "late, but not final yet");
    }

    function test_reportFraud_failsOnceFinal() public {
        RoundId round = finalized();
        _expectWrongPhase(round, IRoundLedger.Phase.Final);
        report(round);
    }

    function test_reportFraud_failsForAnOpenRound() public {
        RoundId round = open();
        _expectWrongPhase(round, IRoundLedger.Phase.Open);
        report(round);
    }

    function test_reportFraud_failsForOthers() public {
        RoundId round = anchored();
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotVerifier.selector, address(timelock), verifier.addr)
        );
        vm.prank(address(timelock));
        ledger.reportFraud(round, challenger.addr);
    }

    function test_reportFraud_failsForARoundThatDoesNotExist() public {
        _expectWrongPhase(id(9), IRoundLedger.Phase.None);
        vm.prank(verifier.addr);
        ledger.reportFraud(id(9), challenger.addr);
        _expectWrongPhase(id(0), IRoundLedger.Phase.Final);
        vm.prank(verifier.addr);
        ledger.reportFraud(id(0), challenger.addr);
    }

    function test_reportFault_failsForTheGenesis() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCommitted.selector, id(0), alice.addr));
        vm.prank(verifier.addr);
        ledger.reportFault(id(0), alice.addr, challenger.addr);
    }

    function test_reportFraud_burnsAllWithoutAChallenger() public {
        RoundId round = anchored();
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundSlashed(round, verifier.addr, address(0), BOND);
        vm.prank(verifier.addr);
        ledger.reportFraud(round, address(0));
        vm.assertEq(token.totalSupply(), supply - BOND, "the whole bond is burnt");
    }

    function test_openRound_failsWithTooManyPendingRounds() public {
        IPolicies.Policy memory quick = policy();
        (quick.commitWindow, quick.challengeWindow) = (1, 6 days);
        vm.prank(address(timelock));
        policies.addPolicy(quick);
        giveStake(coordinator.addr, 256 * BOND);
        uint256 max = ledger.MAX_PENDING_ROUNDS();
        for (uint256 i = 0; i < max; ++i) {
            anchored();
        }
        RoundId next = ledger.nextRound();
        bytes32 root = headRoot();
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerTooManyPending.selector, max, max));
        vm.prank(coordinator.addr);
        ledger.openRound(next, root, HEADER_HASH);

        skipChallengeWindow(id(1));
        ledger.finalize(id(1));
        assertEq(open(), next, "a final round makes room");
    }
}
