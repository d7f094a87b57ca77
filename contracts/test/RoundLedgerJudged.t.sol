// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice What a policy's verifier may do besides voiding a round: strike a contributor, and let a round wait.
contract RoundLedgerJudgedTest is RoundTest {
    function _fault(RoundId round, address contributor) private {
        vm.prank(verifier.addr);
        ledger.reportFault(round, contributor, challenger.addr);
    }

    function _postpone(RoundId round, uint256 until) private {
        vm.prank(verifier.addr);
        ledger.postpone(round, uint40(until));
    }

    // Faults.

    function test_reportFault_takesTheMinimumStakeAndLeavesTheRound() public {
        RoundId round = anchored();
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(vault));
        emit IStakeVault.Slashed(alice.addr, challenger.addr, MIN_STAKE / 4, (3 * MIN_STAKE) / 4);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.ContributorSlashed(round, alice.addr, challenger.addr, MIN_STAKE);
        _fault(round, alice.addr);
        vm.assertEq(vault.stakeOf(alice.addr), 4 * MIN_STAKE, "stake");
        vm.assertEq(token.balanceOf(challenger.addr), MIN_STAKE / 4, "to the challenger");
        vm.assertEq(token.totalSupply(), supply - (3 * MIN_STAKE) / 4, "burnt");
        assertPhase(round, IRoundLedger.Phase.Anchored, "the round stands");
        assertHead(round, "and so does the head");
    }

    function test_reportFault_takesItOnceARoundAndContributor() public {
        RoundId first = finalized();
        RoundId second = open();
        commitOwn(alice, second);
        _fault(first, alice.addr);
        _fault(first, bob.addr);
        _fault(second, alice.addr);
        vm.assertEq(vault.stakeOf(alice.addr), 3 * MIN_STAKE, "two rounds");
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerAlreadyReported.selector, first, alice.addr));
        _fault(first, alice.addr);
    }

    function test_reportFault_reachesStakeThatIsLeaving() public {
        RoundId round = anchored();
        vm.prank(alice.addr);
        vault.requestUnbond(5 * MIN_STAKE);
        _fault(round, alice.addr);
        vm.assertEq(token.balanceOf(challenger.addr), MIN_STAKE / 4, "to the challenger");
    }

    function test_reportFault_takesWhatIsLeft() public {
        RoundId round = anchored();
        vm.prank(address(ledger));
        vault.slash(carol.addr, MIN_STAKE - 7, address(0));
        vm.expectEmit(address(ledger));
        emit IRoundLedger.ContributorSlashed(round, carol.addr, challenger.addr, 7);
        _fault(round, carol.addr);
    }

    function test_reportFault_failsForWhoDidNotCommit() public {
        RoundId round = open();
        commitOwn(alice, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCommitted.selector, round, bob.addr));
        _fault(round, bob.addr);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCommitted.selector, round, stranger.addr));
        _fault(round, stranger.addr);
    }

    function test_reportFault_endsWhenStakeCouldHaveLeft() public {
        RoundId round = anchored();
        uint256 end = uint256(ledger.rounds(round).openedAt) + UNBONDING_PERIOD;
        vm.warp(end);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerTooLate.selector, round, end, end));
        _fault(round, alice.addr);
        vm.warp(end - 1);
        _fault(round, alice.addr);
    }

    function test_reportFault_failsForOthersAndWithoutAChallenger() public {
        RoundId round = anchored();
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotVerifier.selector, stranger.addr, verifier.addr)
        );
        vm.prank(stranger.addr);
        ledger.reportFault(round, alice.addr, challenger.addr);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroAddress.selector));
        vm.prank(verifier.addr);
        ledger.reportFault(round, alice.addr, address(0));
    }

    // Waiting.

    function test_postpone_movesTheDeadlineAndKeepsTheBond() public {
        RoundId round = anchored();
        uint40 until = uint40(block.timestamp + UNBONDING_PERIOD);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundPostponed(round, until);
        _postpone(round, until);
        vm.assertEq(uint256(ledger.rounds(round).challengeDeadline), until, "deadline");
        vm.warp(until - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooEarly.selector, round, block.timestamp, until)
        );
        ledger.finalize(round);
        vm.assertEq(vault.bondOf(coordinator.addr), BOND, "the bond waits with the round");
        vm.warp(until);
        ledger.finalize(round);
        vm.assertEq(vault.bondOf(coordinator.addr), 0, "free again");
    }

    function test_postpone_keepsTheBondBeyondTheUnbondingTime() public {
        RoundId round = anchored();
        vm.prank(coordinator.addr);
        vault.requestUnbond(4 * BOND);
        _postpone(round, block.timestamp + UNBONDING_PERIOD + 1 hours);
        vm.warp(block.timestamp + UNBONDING_PERIOD + 30 minutes);
        vm.prank(coordinator.addr);
        vault.withdraw();
        report(round);
        vm.assertEq(token.balanceOf(challenger.addr), BOND / 4, "the bond was there");
    }

    function test_postpone_canBeTakenBack() public {
        RoundId round = anchored();
        uint256 deadline = ledger.rounds(round).challengeDeadline;
        _postpone(round, deadline + 1 days);
        _postpone(round, deadline);
        vm.assertEq(uint256(ledger.rounds(round).challengeDeadline), deadline, "deadline");
        vm.warp(deadline);
        ledger.finalize(round);
    }

    function test_postpone_endsTwoUnbondingTimesAfterTheOpening() public {
        RoundId round = anchored();
        uint256 latest = uint256(ledger.rounds(round).openedAt) + 2 * uint256(UNBONDING_PERIOD);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerTooLate.selector, round, latest + 1, latest));
        _postpone(round, latest + 1);
        _postpone(round, latest);
    }

    function test_postpone_failsInOtherPhasesAndForOthers() public {
        RoundId round = open();
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector, round, IRoundLedger.Phase.Open, IRoundLedger.Phase.Anchored
            )
        );
        _postpone(round, block.timestamp + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotVerifier.selector, coordinator.addr, verifier.addr)
        );
        vm.prank(coordinator.addr);
        ledger.postpone(round, 1);
    }
}
