// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Disputes } from "../src/Disputes.sol";
import { IArbiter } from "../src/interfaces/IArbiter.sol";
import { IDisputes } from "../src/interfaces/IDisputes.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";

/// @notice A round that waits for the voters.
contract DisputesTest is FraudWorld {
    uint256 private constant FUNDS = 5 * DISPUTE_DEPOSIT;

    function setUp() public override {
        super.setUp();
        vm.stopPrank();
        vm.prank(treasury.addr);
        token.transfer(challenger.addr, FUNDS);
        vm.prank(challenger.addr);
        token.approve(address(disputes), type(uint256).max);
        vm.prank(treasury.addr);
        token.transfer(stranger.addr, FUNDS);
        vm.prank(stranger.addr);
        token.approve(address(disputes), type(uint256).max);
    }

    function _open(RoundId round) private {
        _openBy(challenger.addr, round);
    }

    function _openBy(address account, RoundId round) private {
        vm.prank(account);
        disputes.open(round, "the weights are not those of the rule");
    }

    function _dismiss(RoundId round) private {
        vm.prank(address(timelock));
        disputes.dismiss(round);
    }

    function _disputed() private returns (RoundId round) {
        round = anchored();
        _open(round);
    }

    function _expectStatus(RoundId round, IDisputes.Status status) private {
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesWrongStatus.selector, round, status));
    }

    function _assertOver(RoundId round, IDisputes.Status status, uint256 funds) private view {
        vm.assertEq(uint256(disputes.disputes(round).status), uint256(status), "status");
        vm.assertEq(token.balanceOf(challenger.addr), funds, "funds of the challenger");
        vm.assertEq(token.balanceOf(address(disputes)), 0, "no deposit is left");
    }

    function test_open_letsTheRoundWait() public {
        RoundId round = anchored();
        uint40 decideBy = uint40(block.timestamp + DECISION_WINDOW);
        vm.expectEmit(address(disputes));
        emit IDisputes.DisputeOpened(round, challenger.addr, decideBy, "the weights are not those of the rule");
        _open(round);
        vm.assertEq(uint256(ledger.rounds(round).challengeDeadline), decideBy, "finality waits");
        vm.assertEq(vault.bondOf(coordinator.addr), BOND, "and so does the bond");
        vm.assertEq(token.balanceOf(address(disputes)), DISPUTE_DEPOSIT, "deposit");
        vm.assertEq(disputes.disputes(round).challenger, challenger.addr, "challenger");
        vm.assertEq(uint256(disputes.disputes(round).decideBy), decideBy, "time for the vote");
    }

    function test_open_takesOneDepositAnAccount() public {
        vm.assertFalse(disputes.hasDeposit(ledger.nextRound(), challenger.addr), "nothing is disputed");
        RoundId round = _disputed();
        vm.assertTrue(disputes.hasDeposit(round, challenger.addr), "has a deposit");
        vm.assertFalse(disputes.hasDeposit(round, stranger.addr), "has none");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesAlreadyJoined.selector, round, challenger.addr));
        _open(round);
    }

    function test_open_failsOnceItIsUpheld() public {
        RoundId round = _disputed();
        vm.prank(address(timelock));
        disputes.uphold(round);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.DisputesNotAnchored.selector, round, IRoundLedger.Phase.Slashed)
        );
        _openBy(stranger.addr, round);
    }

    /// @notice M6: a sham dispute starts no clock that a real challenger has to live with.
    function test_M6_aLaterChallengerJoinsAndHasTheWholeTime() public {
        RoundId round = _disputed();
        vm.warp(ledger.rounds(round).anchorDeadline + CHALLENGE_WINDOW - 1);
        uint40 decideBy = uint40(block.timestamp + DECISION_WINDOW);
        vm.assertTrue(decideBy > disputes.disputes(round).decideBy, "the sham's time ends earlier");
        vm.expectEmit(address(disputes));
        emit IDisputes.DisputeOpened(round, stranger.addr, decideBy, "the weights are not those of the rule");
        _openBy(stranger.addr, round);
        IDisputes.Dispute memory dispute = disputes.disputes(round);
        vm.assertEq(uint256(dispute.decideBy), decideBy, "time for the vote");
        vm.assertEq(uint256(dispute.challengers), 2, "two deposits");
        vm.assertEq(dispute.challenger, challenger.addr, "the first stays");
        vm.assertEq(uint256(ledger.rounds(round).challengeDeadline), decideBy, "finality waits");
        vm.warp(decideBy - 1);
        vm.prank(address(timelock));
        disputes.uphold(round);
        disputes.release(round, stranger.addr);
        disputes.release(round, challenger.addr);
        vm.assertEq(token.balanceOf(stranger.addr), FUNDS, "the joiner's deposit");
        _assertOver(round, IDisputes.Status.Upheld, FUNDS);
    }

    /// @notice M6: nor does a sham that was dismissed in time close the way.
    function test_M6_aDismissedDisputeCanBeOpenedAnew() public {
        RoundId round = _disputed();
        _dismiss(round);
        vm.assertFalse(disputes.hasDeposit(round, challenger.addr), "its deposit is gone");
        _openBy(stranger.addr, round);
        vm.assertEq(uint256(disputes.disputes(round).number), 2, "the second");
        vm.assertEq(uint256(disputes.disputes(round).challengers), 1, "one deposit");
        vm.assertFalse(disputes.hasDeposit(round, challenger.addr), "the first is no part of it");
        _open(round);
        vm.prank(address(timelock));
        disputes.uphold(round);
        disputes.release(round, stranger.addr);
        disputes.release(round, challenger.addr);
        vm.assertEq(token.balanceOf(stranger.addr), FUNDS, "whole");
        _assertOver(round, IDisputes.Status.Upheld, FUNDS - DISPUTE_DEPOSIT);
    }

    /// @notice M3: a dismissal gives the round the time back that the dispute took.
    function test_M3_aDismissalRestoresTheDeadline() public {
        RoundId round = anchored();
        uint256 deadline = ledger.rounds(round).challengeDeadline;
        _open(round);
        _openBy(stranger.addr, round);
        vm.warp(deadline + 1);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundPostponed(round, uint40(deadline));
        _dismiss(round);
        vm.assertEq(token.balanceOf(coordinator.addr), 2 * DISPUTE_DEPOSIT / 2, "half of both deposits");
        vm.assertEq(token.balanceOf(address(disputes)), 0, "no deposit is left");
        ledger.finalize(round);
        assertPhase(round, IRoundLedger.Phase.Final, "at once");
    }

    /// @notice M3: what a demand needs stays, whether it came before the dispute or in between.
    function test_M3_aDismissalTakesBackNoDemand() public {
        RoundId round = anchored();
        uint256 deadline = ledger.rounds(round).challengeDeadline;
        _open(round);
        vm.warp(deadline - 1);
        uint40 until = uint40(block.timestamp + 2 * ANSWER_WINDOW);
        vm.startPrank(address(availability));
        arbiter.postpone(round, uint40(deadline));
        arbiter.postpone(round, until);
        arbiter.postpone(round, until - 1);
        vm.stopPrank();
        vm.assertTrue(ledger.rounds(round).challengeDeadline > until, "the dispute waits longer");
        _dismiss(round);
        vm.assertEq(uint256(ledger.rounds(round).challengeDeadline), until, "the demand's time");
    }

    function test_resume_failsWithoutAHold() public {
        RoundId round = anchored();
        vm.expectRevert(abi.encodeWithSelector(IArbiter.ArbiterNotHeld.selector, round));
        vm.prank(address(disputes));
        arbiter.resume(round);
    }

    function test_open_failsUnlessAnchored() public {
        RoundId round = open();
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesNotAnchored.selector, round, IRoundLedger.Phase.Open));
        _open(round);
    }

    function test_open_failsAfterTheChallengeWindow() public {
        RoundId round = anchored();
        uint256 deadline = ledger.rounds(round).challengeDeadline;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesTooLate.selector, round, deadline, deadline));
        _open(round);
    }

    /// @notice What is postponed for other reasons takes no disputes for longer than a round can ever be challenged.
    function test_open_failsAfterTheLastRegularMoment() public {
        RoundId round = anchored();
        uint256 deadline = uint256(ledger.rounds(round).anchorDeadline) + CHALLENGE_WINDOW;
        vm.prank(address(arbiter));
        ledger.postpone(round, uint40(deadline + 1 days));
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesTooLate.selector, round, deadline, deadline));
        _open(round);
        vm.warp(deadline - 1);
        _open(round);
    }

    /// @dev By a real vote: delay, period and timelock fit into the time that the round waits.
    function test_uphold_byAVoteVoidsTheRound() public {
        RoundId round = _disputed();
        address[] memory targets = new address[](1);
        bytes[] memory calls = new bytes[](1);
        uint256[] memory values = new uint256[](1);
        targets[0] = address(disputes);
        calls[0] = abi.encodeCall(disputes.uphold, (round));
        vm.warp(block.timestamp + 1);
        vm.prank(alice.addr);
        uint256 proposal = governor.propose(targets, values, calls, "uphold");
        vm.warp(governor.proposalSnapshot(proposal) + 1);
        vm.prank(alice.addr);
        governor.castVote(proposal, 1);
        vm.prank(coordinator.addr);
        governor.castVote(proposal, 1);
        vm.warp(governor.proposalDeadline(proposal) + 1);
        governor.queue(targets, values, calls, keccak256("uphold"));
        vm.warp(block.timestamp + TIMELOCK_DELAY);
        vm.assertTrue(block.timestamp < disputes.disputes(round).decideBy, "in time");
        vm.expectEmit(address(disputes));
        emit IDisputes.DisputeUpheld(round, challenger.addr);
        governor.execute(targets, values, calls, keccak256("uphold"));
        assertPhase(round, IRoundLedger.Phase.Slashed, "void");
        vm.expectEmit(address(disputes));
        emit IDisputes.DisputeReturned(round, challenger.addr, 0);
        disputes.release(round, challenger.addr);
        _assertOver(round, IDisputes.Status.Upheld, FUNDS);
        bytes memory expected = abi.encodeWithSelector(IDisputes.DisputesNotChallenger.selector, round, challenger.addr);
        vm.expectRevert(expected);
        disputes.release(round, challenger.addr);
    }

    function test_dismiss_splitsTheDeposit() public {
        RoundId round = _disputed();
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(disputes));
        emit IDisputes.DisputeDismissed(round, challenger.addr, DISPUTE_DEPOSIT - DISPUTE_DEPOSIT / 2);
        _dismiss(round);
        _assertOver(round, IDisputes.Status.Dismissed, FUNDS - DISPUTE_DEPOSIT);
        _expectStatus(round, IDisputes.Status.Dismissed);
        disputes.release(round, challenger.addr);
        vm.assertEq(token.balanceOf(coordinator.addr), DISPUTE_DEPOSIT / 2, "half to the coordinator");
        vm.assertEq(token.totalSupply(), supply - (DISPUTE_DEPOSIT - DISPUTE_DEPOSIT / 2), "half burnt");
        assertPhase(round, IRoundLedger.Phase.Anchored, "the round goes on");
        skipChallengeWindow(round);
        ledger.finalize(round);
    }

    function test_decisions_areGovernances() public {
        RoundId round = _disputed();
        bytes memory expected =
            abi.encodeWithSelector(IDisputes.DisputesNotGovernance.selector, challenger.addr, address(timelock));
        vm.startPrank(challenger.addr);
        vm.expectRevert(expected);
        disputes.uphold(round);
        vm.expectRevert(expected);
        disputes.dismiss(round);
        vm.stopPrank();
        RoundId none = id(9);
        _expectStatus(none, IDisputes.Status.None);
        vm.startPrank(address(timelock));
        disputes.uphold(none);
        _expectStatus(none, IDisputes.Status.None);
        disputes.dismiss(none);
        vm.stopPrank();
        _expectStatus(none, IDisputes.Status.None);
        disputes.release(none, challenger.addr);
    }

    /// @notice A vote that comes after the round is final takes the deposit all the same.
    function test_dismiss_afterTheRoundIsFinal() public {
        RoundId round = _disputed();
        vm.warp(ledger.rounds(round).challengeDeadline);
        ledger.finalize(round);
        _dismiss(round);
        _assertOver(round, IDisputes.Status.Dismissed, FUNDS - DISPUTE_DEPOSIT);
    }

    /// @notice M3: nobody decided, and the deposit is the price of the time.
    function test_M3_release_costsTheDepositWhenTheTimeIsUp() public {
        RoundId round = _disputed();
        uint256 decideBy = disputes.disputes(round).decideBy;
        vm.warp(decideBy - 1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesTooEarly.selector, round, decideBy - 1, decideBy));
        disputes.release(round, challenger.addr);
        vm.warp(decideBy);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesNotChallenger.selector, round, stranger.addr));
        disputes.release(round, stranger.addr);
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(disputes));
        emit IDisputes.DisputeReturned(round, challenger.addr, DISPUTE_DEPOSIT);
        disputes.release(round, challenger.addr);
        _assertOver(round, IDisputes.Status.Undecided, FUNDS - DISPUTE_DEPOSIT);
        vm.assertEq(token.totalSupply(), supply - DISPUTE_DEPOSIT, "burnt");
        ledger.finalize(round);
        assertPhase(round, IRoundLedger.Phase.Final, "the round went on");
    }

    /// @notice N5: what holds the bonds of all later rounds, time after time, costs a quarter of one each time.
    function test_N5_holdingFinalityCostsInProportionToTheBond() public {
        uint256 supply = token.totalSupply();
        for (uint256 i = 1; i <= 3; ++i) {
            RoundId round = _disputed();
            vm.assertEq(disputes.deposit(round), BOND / 4, "a quarter of the bond");
            uint256 decideBy = disputes.disputes(round).decideBy;
            vm.warp(decideBy - 1);
            vm.expectRevert(
                abi.encodeWithSelector(IRoundLedger.RoundLedgerTooEarly.selector, round, decideBy - 1, decideBy)
            );
            ledger.finalize(round);
            vm.warp(decideBy);
            ledger.finalize(round);
            disputes.release(round, challenger.addr);
            vm.assertEq(token.balanceOf(challenger.addr), FUNDS - i * BOND / 4, "nothing comes back");
            vm.assertEq(token.totalSupply(), supply - i * BOND / 4, "it is burnt");
        }
    }

    /// @notice N5: who is right has all of it back, when the voters say so, or a proof comes first.
    function test_N5_aTrueClaimCostsNothing() public {
        RoundId round = _disputed();
        vm.prank(address(timelock));
        disputes.uphold(round);
        disputes.release(round, challenger.addr);
        _assertOver(round, IDisputes.Status.Upheld, FUNDS);
    }

    function test_release_givesBackWhenTheRoundIsOver() public {
        RoundId round = _disputed();
        vm.prank(address(arbiter));
        ledger.reportFraud(round, stranger.addr);
        disputes.release(round, challenger.addr);
        _assertOver(round, IDisputes.Status.Returned, FUNDS);
    }

    function test_release_costsTheDepositWhenTheRoundIsFinal() public {
        RoundId round = _disputed();
        vm.warp(ledger.rounds(round).challengeDeadline);
        ledger.finalize(round);
        disputes.release(round, challenger.addr);
        _assertOver(round, IDisputes.Status.Undecided, FUNDS - DISPUTE_DEPOSIT);
    }

    function test_constructor_failsWithoutGovernanceOrWithAnImpossibleWindow() public {
        IStakeVault vault_ = vault;
        uint40 long_ = UNBONDING_PERIOD + 1;
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesInvalidWindow.selector, long_, UNBONDING_PERIOD));
        new Disputes(ledger, token, vault_, address(timelock), long_);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesInvalidWindow.selector, 0, UNBONDING_PERIOD));
        new Disputes(ledger, token, vault_, address(timelock), 0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesNotGovernance.selector, address(0), address(0)));
        new Disputes(ledger, token, vault_, address(0), 1);
        vm.assertEq(disputes.governance(), address(timelock), "governance");
        vm.assertEq(address(disputes.ledger()), address(ledger), "ledger");
        vm.assertEq(uint256(disputes.decisionWindow()), DECISION_WINDOW, "window");
    }
}
