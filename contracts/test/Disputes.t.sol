// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Disputes } from "../src/Disputes.sol";
import { IDisputes } from "../src/interfaces/IDisputes.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";

/// @notice A round that waits for the voters.
contract DisputesTest is FraudWorld {
    uint256 private constant FUNDS = 5 * DEPOSIT;

    function setUp() public override {
        super.setUp();
        vm.stopPrank();
        vm.prank(treasury.addr);
        token.transfer(challenger.addr, FUNDS);
        vm.prank(challenger.addr);
        token.approve(address(disputes), type(uint256).max);
    }

    function _open(RoundId round) private {
        vm.prank(challenger.addr);
        disputes.open(round, "the weights are not those of the rule");
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
        vm.assertEq(token.balanceOf(address(disputes)), DEPOSIT, "deposit");
        vm.assertEq(disputes.disputes(round).challenger, challenger.addr, "challenger");
        vm.assertEq(uint256(disputes.disputes(round).decideBy), decideBy, "time for the vote");
    }

    function test_open_takesOneARound() public {
        RoundId round = _disputed();
        _expectStatus(round, IDisputes.Status.Open);
        _open(round);
        vm.prank(address(timelock));
        disputes.dismiss(round);
        _expectStatus(round, IDisputes.Status.Dismissed);
        _open(round);
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
        _assertOver(round, IDisputes.Status.Upheld, FUNDS);
        _expectStatus(round, IDisputes.Status.Upheld);
        disputes.release(round);
    }

    function test_dismiss_splitsTheDeposit() public {
        RoundId round = _disputed();
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(disputes));
        emit IDisputes.DisputeDismissed(round, challenger.addr, DEPOSIT - DEPOSIT / 2);
        vm.prank(address(timelock));
        disputes.dismiss(round);
        _assertOver(round, IDisputes.Status.Dismissed, FUNDS - DEPOSIT);
        vm.assertEq(token.balanceOf(coordinator.addr), DEPOSIT / 2, "half to the coordinator");
        vm.assertEq(token.totalSupply(), supply - (DEPOSIT - DEPOSIT / 2), "half burnt, the odd one too");
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
        vm.prank(address(timelock));
        disputes.uphold(none);
    }

    function test_release_givesBackWhenTheTimeIsUp() public {
        RoundId round = _disputed();
        uint256 decideBy = disputes.disputes(round).decideBy;
        vm.warp(decideBy - 1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesTooEarly.selector, round, decideBy - 1, decideBy));
        disputes.release(round);
        vm.warp(decideBy);
        vm.expectEmit(address(disputes));
        emit IDisputes.DisputeReturned(round, challenger.addr);
        disputes.release(round);
        _assertOver(round, IDisputes.Status.Returned, FUNDS);
        ledger.finalize(round);
        assertPhase(round, IRoundLedger.Phase.Final, "the round went on");
    }

    function test_release_givesBackWhenTheRoundIsOver() public {
        RoundId round = _disputed();
        vm.prank(address(arbiter));
        ledger.reportFraud(round, stranger.addr);
        disputes.release(round);
        _assertOver(round, IDisputes.Status.Returned, FUNDS);
    }

    function test_constructor_failsWithoutGovernanceOrWithAnImpossibleWindow() public {
        IStakeVault vault_ = vault;
        uint40 long_ = UNBONDING_PERIOD + 1;
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesInvalidWindow.selector, long_, UNBONDING_PERIOD));
        new Disputes(ledger, token, vault_, address(timelock), DEPOSIT, long_);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesInvalidWindow.selector, 0, UNBONDING_PERIOD));
        new Disputes(ledger, token, vault_, address(timelock), DEPOSIT, 0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DisputesNotGovernance.selector, address(0), address(0)));
        new Disputes(ledger, token, vault_, address(0), DEPOSIT, 1);
        vm.assertEq(disputes.governance(), address(timelock), "governance");
        vm.assertEq(address(disputes.ledger()), address(ledger), "ledger");
        vm.assertEq(uint256(disputes.decisionWindow()), DECISION_WINDOW, "window");
    }
}
