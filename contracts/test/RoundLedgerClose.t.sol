// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice Who is enrolled, and when a commit window may end early.
contract RoundLedgerCloseTest is RoundTest {
    Actor internal dave;

    function setUp() public override {
        super.setUp();
        dave = actor("dave");
        giveStake(dave.addr, 2 * MIN_STAKE);
        _enrolAll(alice);
        _enrolAll(bob);
    }

    /// @dev In this very second.
    function _enrol(Actor memory account) private {
        _enrolWith(account, vault.stakeOf(account.addr));
    }

    /// @dev All of its stake, in the second before.
    function _enrolAll(Actor memory account) private {
        uint256 time = block.timestamp;
        uint256 amount = vault.stakeOf(account.addr);
        vm.warp(time - 1);
        _enrolWith(account, amount);
        vm.warp(time);
    }

    function _enrolWith(Actor memory account, uint256 amount) private {
        vm.prank(account.addr);
        ledger.enrol(amount);
    }

    function _leave(Actor memory account) private {
        vm.prank(account.addr);
        ledger.leave();
    }

    function _close(RoundId round) private {
        vm.prank(coordinator.addr);
        ledger.closeCommits(round);
    }

    function _cancelEmpty(RoundId round) private {
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
    }

    function _unstake(Actor memory account, uint256 amount) private {
        vm.prank(account.addr);
        vault.requestUnbond(amount);
    }

    function _newPolicy(IPolicies.Policy memory changed) private {
        vm.prank(address(timelock));
        policies.addPolicy(changed);
    }

    function _commitTwo(RoundId round) private {
        commitOwn(alice, round);
        commitOwn(bob, round);
    }

    /// @dev A round in which everybody but Carol commits, and which runs for its whole window.
    function _missedByCarol() private returns (RoundId round) {
        round = open();
        _commitTwo(round);
        skipCommitWindow(round);
        anchorTwo(round);
    }

    function _memberOf(Actor memory account) private view returns (IStakeVault.Member memory) {
        address[] memory accounts = new address[](1);
        accounts[0] = account.addr;
        return vault.members(accounts)[0];
    }

    /// @dev Members of the first word, as `RoundLedgerMembersMissing` has them.
    function _bits(Actor memory account) private view returns (uint256) {
        return 1 << _memberOf(account).id;
    }

    function _refusesMissing(RoundId round, uint256 members) private {
        vm.assertFalse(canClose(round), "can't be closed");
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerMembersMissing.selector, round, uint256(0), members)
        );
        _close(round);
    }

    function _refusesNotAbsent(Actor memory account, uint256 missed) private {
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAbsent.selector, account.addr, missed, uint256(3))
        );
        ledger.remove(account.addr);
    }

    function _refusesCommit(Actor memory account, RoundId round, bytes memory reason) private {
        IRoundLedger.Commitment memory commitment = commitmentOf(account.addr, round);
        vm.expectRevert(reason);
        vm.prank(account.addr);
        ledger.commitUpdate(commitment);
    }

    function _refusesNotEnrolled(Actor memory account) private {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotEnrolled.selector, account.addr));
    }

    /// @dev The ways to learn of it agree: the account enrolled when it was too late for the round.
    function _isLateFor(RoundId round, Actor memory account) private {
        vm.assertFalse(ledger.hasPlace(round, account.addr), "has no place");
        vm.assertFalse(counts(round, account.addr), "does not count");
        uint256 since = _memberOf(account).since;
        uint256 openedAt = ledger.rounds(round).openedAt;
        _refusesCommit(
            account,
            round,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerEnrolledTooLate.selector, round, account.addr, since, openedAt
            )
        );
    }

    function _hasPlaceIn(RoundId round, Actor memory account) private view {
        vm.assertTrue(ledger.hasPlace(round, account.addr), "has a place");
        vm.assertTrue(counts(round, account.addr), "counts");
    }

    // Enrolling and leaving.

    function test_enrol_countsFromTheNextRound() public {
        RoundId round = open();
        vm.warp(block.timestamp + 5);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Enrolled(dave.addr, MIN_STAKE);
        _enrolWith(dave, MIN_STAKE);
        vm.assertTrue(ledger.isEnrolled(dave.addr), "enrolled");
        vm.assertEq(_memberOf(dave).enrolled, MIN_STAKE, "amount");
        vm.assertEq(_memberOf(dave).since, block.timestamp, "since");
        vm.assertEq(vault.totalEnrolled(), 10 * MIN_STAKE, "sum");
        _isLateFor(round, dave);
        _hasPlaceIn(round, alice);
        _cancelEmpty(round);
        vm.warp(block.timestamp + 1);
        _hasPlaceIn(open(), dave);
    }

    function test_enrol_failsWithLessThanTheMinimum() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, dave.addr, MIN_STAKE - 1, uint256(MIN_STAKE)
            )
        );
        _enrolWith(dave, MIN_STAKE - 1);
    }

    function test_enrol_failsWithMoreThanTheStake() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IStakeVault.StakeVaultInsufficientStake.selector, dave.addr, 2 * MIN_STAKE, 2 * MIN_STAKE + 1
            )
        );
        _enrolWith(dave, 2 * MIN_STAKE + 1);
        vm.assertFalse(ledger.isEnrolled(dave.addr), "not enrolled");
    }

    function test_enrol_asksForTheMinimumOfTheCurrentPolicy() public {
        RoundId round = open();
        IPolicies.Policy memory dear = policy();
        dear.minStake = 2 * MIN_STAKE;
        _newPolicy(dear);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, dave.addr, uint256(MIN_STAKE), 2 * uint256(MIN_STAKE)
            )
        );
        _enrolWith(dave, MIN_STAKE);
        vm.assertTrue(ledger.hasPlace(round, carol.addr), "the open round keeps its own");
    }

    /// @dev Audit: dust made members, and every look at all of them read their words.
    function test_enrol_givesNumbersAndDustDoesNot() public {
        Actor memory dust = actor("dust");
        giveStake(dust.addr, 1);
        vm.assertEq(_memberOf(dust).id, 0, "no number by stake alone");
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, dust.addr, uint256(1), uint256(MIN_STAKE)
            )
        );
        _enrolWith(dust, 1);
        vm.assertEq(_memberOf(dust).id, 0, "no number by trying");
        vm.assertEq(_memberOf(dave).id, 0, "no number by enough stake");
        _enrol(dave);
        vm.assertEq(_memberOf(dave).id, 4, "the fourth to enrol");
        _leave(dave);
        _enrol(dave);
        vm.assertEq(_memberOf(dave).id, 4, "the same again");
    }

    function test_enrol_moreRestartsTheTime() public {
        _enrolAll(carol);
        giveStake(carol.addr, 1);
        RoundId round = open();
        _hasPlaceIn(round, carol);
        vm.warp(block.timestamp + 3);
        _enrolWith(carol, MIN_STAKE + 1);
        vm.assertEq(_memberOf(carol).since, block.timestamp, "since");
        _isLateFor(round, carol);
        _commitTwo(round);
        _close(round);
    }

    function test_enrol_asMuchOrLessKeepsTheTime() public {
        uint256 since = _memberOf(alice).since;
        RoundId round = open();
        vm.warp(block.timestamp + 3);
        _enrolWith(alice, 5 * MIN_STAKE);
        vm.assertEq(_memberOf(alice).since, since, "as much");
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Enrolled(alice.addr, MIN_STAKE);
        _enrolWith(alice, MIN_STAKE);
        vm.assertEq(_memberOf(alice).since, since, "less");
        vm.assertEq(vault.totalEnrolled(), 5 * MIN_STAKE, "sum");
        _hasPlaceIn(round, alice);
        commitOwn(alice, round);
        // What was let go of is new when it comes back.
        _enrolWith(alice, MIN_STAKE + 1);
        vm.assertEq(_memberOf(alice).since, block.timestamp, "more again");
    }

    function test_leave_takesTheAccountOffTheList() public {
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(alice.addr, IRoundLedger.LeaveReason.Own);
        _leave(alice);
        vm.assertFalse(ledger.isEnrolled(alice.addr), "enrolled");
        vm.assertEq(_memberOf(alice).enrolled, 0, "amount");
        vm.assertEq(vault.totalEnrolled(), 4 * MIN_STAKE, "sum");
        vm.assertEq(vault.stakeOf(alice.addr), 5 * MIN_STAKE, "the stake stays");
        _enrol(alice);
        vm.assertTrue(ledger.isEnrolled(alice.addr), "again");
    }

    function test_leave_failsForOneWhoIsNotEnrolled() public {
        _refusesNotEnrolled(dave);
        _leave(dave);
        _leave(alice);
        _refusesNotEnrolled(alice);
        _leave(alice);
    }

    function test_leave_endsThePlaceInTheOpenRound() public {
        RoundId round = open();
        _leave(carol);
        vm.assertFalse(ledger.hasPlace(round, carol.addr), "has no place");
        _refusesCommit(
            carol,
            round,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, carol.addr, uint256(0), uint256(MIN_STAKE)
            )
        );
        _enrol(carol);
        _isLateFor(round, carol);
    }

    function test_commit_failsForOneWhoNeverEnrolled() public {
        RoundId round = open();
        vm.assertFalse(ledger.hasPlace(round, dave.addr), "has no place");
        _refusesCommit(
            dave,
            round,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, dave.addr, uint256(0), uint256(MIN_STAKE)
            )
        );
        _refusesCommit(
            stranger,
            round,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, stranger.addr, uint256(0), uint256(MIN_STAKE)
            )
        );
    }

    // Too late for a round.

    /// @dev Audit H1: the opening transaction could fill its own round with accounts that it enrolled itself.
    function test_late_inTheSecondOfTheOpening() public {
        _enrol(dave);
        RoundId round = open();
        _isLateFor(round, dave);
        _commitTwo(round);
        _refusesMissing(round, _bits(carol));
        commitOwn(carol, round);
        _close(round);
    }

    function test_late_afterTheOpeningInItsSecond() public {
        RoundId round = open();
        _enrol(dave);
        _isLateFor(round, dave);
        commitThree(round);
        _close(round);
    }

    function test_late_whileTheRoundWaitsForItsAnchor() public {
        RoundId round = open();
        _commitTwo(round);
        skipCommitWindow(round);
        _enrol(dave);
        vm.assertFalse(counts(round, dave.addr), "does not count");
        anchorTwo(round);
        vm.warp(block.timestamp + 1);
        _hasPlaceIn(open(), dave);
    }

    function test_late_forBothRoundsThatOpenInOneSecond() public {
        RoundId first = open();
        _enrol(dave);
        _isLateFor(first, dave);
        _cancelEmpty(first);
        RoundId second = open();
        _isLateFor(second, dave);
        commitThree(second);
        _close(second);
    }

    function test_late_betweenTwoRoundsOfOneSecond() public {
        _cancelEmpty(open());
        _enrol(dave);
        RoundId second = open();
        _isLateFor(second, dave);
        commitThree(second);
        _close(second);
    }

    /// @dev The window waited for one who enrolled while a round was open that ended in the second of the next opening:
    /// it had no place there, and could enrol with a unit more before every opening.
    function test_late_ifTheRoundBeforeIsAnchoredInTheSecondOfTheOpening() public {
        RoundId round = open();
        commitThree(round);
        skipCommitWindow(round);
        _enrol(dave);
        anchorNow(round);
        round = open();
        _isLateFor(round, dave);
        commitThree(round);
        _close(round);
    }

    function test_late_ifTheRoundBeforeIsCancelledInTheSecondOfTheOpening() public {
        RoundId first = open();
        vm.warp(block.timestamp + 5);
        _enrol(dave);
        _isLateFor(first, dave);
        _cancelEmpty(first);
        RoundId second = open();
        _isLateFor(second, dave);
        commitThree(second);
        _close(second);
    }

    function test_late_oneSecondEarlierIsInTime() public {
        _enrol(dave);
        vm.warp(block.timestamp + 1);
        RoundId round = open();
        _hasPlaceIn(round, dave);
        commitThree(round);
        _refusesMissing(round, _bits(dave));
        commitOwn(dave, round);
        _close(round);
    }

    /// @dev Who was late once is not late for ever, nor by enrolling with less.
    function test_late_doesNotLast() public {
        RoundId round = open();
        vm.warp(block.timestamp + 1);
        _enrol(dave);
        _cancelEmpty(round);
        vm.warp(block.timestamp + 1);
        _enrolWith(dave, MIN_STAKE);
        _hasPlaceIn(open(), dave);
    }

    // Closing.

    function test_close_endsTheWindowWhenAllEnrolledHaveCommitted() public {
        _leave(carol);
        RoundId round = open();
        vm.warp(block.timestamp + 7);
        commitOwn(alice, round);
        commitOwn(bob, round);
        vm.assertTrue(canClose(round), "can be closed");
        uint40 time = uint40(block.timestamp);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.CommitsClosed(round, time, time + ANCHOR_WINDOW);
        _close(round);

        assertPhase(round, IRoundLedger.Phase.Committed, "phase");
        vm.assertFalse(canClose(round), "not twice");
        IRoundLedger.Round memory stored = ledger.rounds(round);
        vm.assertEq(stored.commitDeadline, time, "commit deadline");
        vm.assertEq(stored.anchorDeadline, time + ANCHOR_WINDOW, "anchor deadline");
        IRoundLedger.Commitment memory late = commitmentOf(coordinator.addr, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerTooLate.selector, round, time, time));
        vm.prank(coordinator.addr);
        ledger.commitUpdate(late);
    }

    function test_close_letsTheAnchorFollowAtOnceAndBeLate() public {
        RoundId round = open();
        commitThree(round);
        _close(round);
        uint256 state = vm.snapshotState();
        anchorNow(round);
        assertHead(round, "anchored in the same block");
        vm.revertToState(state);
        vm.warp(block.timestamp + ANCHOR_WINDOW);
        ledger.cancel(round);
        assertPhase(round, IRoundLedger.Phase.Cancelled, "late");
    }

    function test_close_waitsForEveryEnrolledAccount() public {
        RoundId round = open();
        _commitTwo(round);
        _refusesMissing(round, _bits(carol));
        vm.warp(ledger.rounds(round).commitDeadline - 1);
        _refusesMissing(round, _bits(carol));
        commitOwn(carol, round);
        _close(round);
        assertPhase(round, IRoundLedger.Phase.Committed, "phase");
    }

    function test_close_doesNotWaitForThoseWhoEnrolledLater() public {
        RoundId round = open();
        _enrol(dave);
        commitThree(round);
        _close(round);
        anchorNow(round);
        vm.warp(block.timestamp + 1);
        round = open();
        commitThree(round);
        _refusesMissing(round, _bits(dave));
    }

    function test_close_waitsForThoseWhoEnrolledWithLess() public {
        giveStake(carol.addr, MIN_STAKE);
        _enrolAll(carol);
        RoundId round = open();
        _enrolWith(carol, MIN_STAKE);
        _commitTwo(round);
        _hasPlaceIn(round, carol);
        _refusesMissing(round, _bits(carol));
        commitOwn(carol, round);
        _close(round);
    }

    function test_close_doesNotWaitForThoseWhoLeft() public {
        RoundId round = open();
        _commitTwo(round);
        _refusesMissing(round, _bits(carol));
        _leave(carol);
        vm.assertTrue(canClose(round), "nobody is missing");
        _enrol(carol);
        _isLateFor(round, carol);
        _close(round);
        anchorTwo(round);
        vm.warp(block.timestamp + 1);
        round = open();
        _commitTwo(round);
        _refusesMissing(round, _bits(carol));
    }

    /// @dev With counters this is where the sums could go wrong: one who has committed leaves, and another is missing.
    function test_close_isNotFooledByOneWhoCommitsAndLeaves() public {
        RoundId round = open();
        _commitTwo(round);
        _leave(alice);
        _refusesMissing(round, _bits(carol));
        _enrol(alice);
        _refusesMissing(round, _bits(carol));
        _leave(bob);
        _leave(alice);
        _refusesMissing(round, _bits(carol));
    }

    /// @dev The coordinator needs no enrolment, and the window does not wait for its entry.
    function test_close_doesNotWaitForTheCoordinator() public {
        RoundId round = open();
        vm.assertTrue(ledger.hasPlace(round, coordinator.addr), "has a place");
        vm.assertFalse(counts(round, coordinator.addr), "does not count");
        commitOwn(coordinator, round);
        _commitTwo(round);
        _refusesMissing(round, _bits(carol));
        commitOwn(carol, round);
        _close(round);
    }

    function test_close_needsSomebodyWhoCounts() public {
        RoundId round = open();
        commitThree(round);
        _leave(alice);
        _leave(bob);
        vm.assertTrue(canClose(round), "Carol counts");
        _leave(carol);
        vm.assertFalse(canClose(round), "nobody is enrolled");
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNobodyEnrolled.selector, round));
        _close(round);
        _enrol(alice);
        vm.assertFalse(canClose(round), "late");
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNobodyEnrolled.selector, round));
        _close(round);
    }

    function test_close_needsEnoughCommitments() public {
        _leave(bob);
        _leave(carol);
        RoundId round = open();
        commitOwn(alice, round);
        vm.assertFalse(canClose(round), "too few");
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooFewUpdates.selector, round, uint16(1), uint16(2))
        );
        _close(round);
    }

    /// @dev Without a crowd all who can commit have a place, so whom a full round leaves out has lost its stake.
    function test_close_endsAFullRoundWhoeverIsMissing() public {
        IPolicies.Policy memory small = policy();
        small.maxContributors = 4;
        _newPolicy(small);
        _enrolWith(alice, MIN_STAKE);
        _enrolWith(bob, MIN_STAKE);
        _enrolAll(dave);
        _unstake(dave, 2 * MIN_STAKE);
        RoundId round = open();
        vm.assertEq(ledger.draws(round).quota, 0, "no crowd");
        commitThree(round);
        vm.assertFalse(canClose(round), "a place is left");
        _refusesMissing(round, _bits(dave));
        commitOwn(coordinator, round);
        vm.assertTrue(counts(round, dave.addr), "still on the list");
        vm.assertTrue(canClose(round), "full");
        _close(round);
        assertPhase(round, IRoundLedger.Phase.Committed, "phase");
    }

    function test_close_looksAtEveryWordOfMembers() public {
        Actor memory last;
        for (uint256 i = 0; i < 600; ++i) {
            last = actor(string.concat("member ", vm.toString(i)));
            giveStake(last.addr, MIN_STAKE);
            _enrol(last);
            _leave(last);
        }
        vm.warp(block.timestamp + 2);
        _enrolAll(last);
        vm.assertEq(_memberOf(last).id, 603, "number");
        RoundId round = open();
        commitThree(round);
        vm.assertFalse(canClose(round), "one of the third word is missing");
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerMembersMissing.selector, round, uint256(2), uint256(1) << (603 - 512)
            )
        );
        _close(round);
        commitOwn(last, round);
        _close(round);
        assertPhase(round, IRoundLedger.Phase.Committed, "phase");
    }

    function test_close_failsForOthers() public {
        RoundId round = open();
        commitThree(round);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCoordinator.selector, alice.addr, coordinator.addr)
        );
        vm.prank(alice.addr);
        ledger.closeCommits(round);
        // The round stays with who opened it.
        vm.prank(address(timelock));
        ledger.appointCoordinator(bob.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCoordinator.selector, bob.addr, coordinator.addr)
        );
        vm.prank(bob.addr);
        ledger.closeCommits(round);
        _close(round);
    }

    function test_close_failsOutsideOfTheCommitWindow() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector, id(1), IRoundLedger.Phase.None, IRoundLedger.Phase.Open
            )
        );
        _close(id(1));
        RoundId round = open();
        commitThree(round);
        skipCommitWindow(round);
        vm.assertFalse(canClose(round), "the window is over");
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector,
                round,
                IRoundLedger.Phase.Committed,
                IRoundLedger.Phase.Open
            )
        );
        _close(round);
    }

    function test_counts_nobodyInARoundThatDoesNotExist() public {
        vm.assertFalse(counts(id(1), alice.addr), "counts");
        vm.assertFalse(ledger.hasPlace(id(1), alice.addr), "has a place");
        vm.assertFalse(canClose(id(1)), "can be closed");
    }

    // Removing.

    function test_remove_takesOneWhoMissedThreeRounds() public {
        for (uint256 i = 0; i < 3; ++i) {
            _refusesNotAbsent(carol, i);
            _missedByCarol();
        }
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(carol.addr, IRoundLedger.LeaveReason.Absent);
        vm.prank(stranger.addr);
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "enrolled");
        vm.assertEq(_memberOf(carol).enrolled, 0, "amount");
        vm.assertEq(vault.stakeOf(carol.addr), MIN_STAKE, "the stake stays");
        _enrol(carol);
        _refusesNotAbsent(carol, 0);
    }

    /// @notice Rounds that the coordinator opens and cancels can't make a look back cost more than a block has.
    function test_N9_removeLooksAtTheNewest256RoundsOnly() public {
        giveStake(coordinator.addr, 5 * BOND);
        for (uint256 i = 0; i < 3; ++i) {
            _missedByCarol();
        }
        for (uint256 i = 0; i < 253; ++i) {
            _cancelledEmpty();
        }
        vm.assertEq(ledger.attendance().missed(carol.addr), 3, "the oldest of 256");
        _cancelledEmpty();
        uint256 before = gasleft();
        vm.assertEq(ledger.attendance().missed(carol.addr), 2, "one is out of sight");
        vm.assertLe(before - gasleft(), 10_000_000, "gas");
        for (uint256 i = 0; i < 3; ++i) {
            _missedByCarol();
        }
        ledger.remove(carol.addr);
    }

    function _cancelledEmpty() private {
        RoundId round = open();
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
    }

    function test_remove_countsFinalRoundsToo() public {
        RoundId first = _missedByCarol();
        RoundId second = _missedByCarol();
        _missedByCarol();
        skipChallengeWindow(second);
        ledger.finalize(first);
        ledger.finalize(second);
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "enrolled");
    }

    function test_remove_countsInARowOnly() public {
        _missedByCarol();
        _missedByCarol();
        anchored();
        _missedByCarol();
        _refusesNotAbsent(carol, 1);
    }

    function test_remove_seesACommitmentInTheLastRound() public {
        _missedByCarol();
        _missedByCarol();
        _missedByCarol();
        RoundId round = open();
        commitOwn(carol, round);
        skipCommitWindow(round);
        _refusesNotAbsent(carol, 0);
    }

    function test_remove_waitsForTheEndOfTheCommitWindow() public {
        for (uint256 i = 0; i < 3; ++i) {
            _missedByCarol();
        }
        RoundId round = open();
        _commitTwo(round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(carol.addr);
        _refusesMissing(round, _bits(carol));
        skipCommitWindow(round);
        ledger.remove(carol.addr);
    }

    /// @dev A coordinator can't get rid of an enrolled account by rounds that are quick or fail.
    function test_remove_countsNoRoundThatACoordinatorMadeShort() public {
        for (uint256 i = 0; i < 4; ++i) {
            _cancelEmpty(open());

            RoundId round = open();
            commitOwn(alice, round);
            skipCommitWindow(round);
            ledger.cancel(round);

            round = open();
            _commitTwo(round);
            vm.warp(ledger.rounds(round).anchorDeadline);
            ledger.cancel(round);
        }
        _refusesNotAbsent(carol, 0);
    }

    /// @dev Whom a crowd leaves without a place has missed nothing, and who had one has missed it like any other.
    function test_remove_countsACrowdedRoundByItsLot() public {
        giveStake(coordinator.addr, 45 * BOND);
        giveStake(bob.addr, 2 * MIN_STAKE);
        _enrolAll(bob);
        _missedByCarol();
        IPolicies.Policy memory small = policy();
        small.maxContributors = 4;
        _newPolicy(small);
        uint256 missed = 1;
        bool unlucky;
        for (uint256 i = 0; missed < 3; ++i) {
            vm.assertLe(i, 40, "a fifth of the rounds");
            _refusesNotAbsent(carol, missed);
            // A draw knows the block of the last anchor only later.
            vm.roll(block.number + 1);
            RoundId round = _missedByCarol();
            vm.assertEq(ledger.draws(round).quota, uint256(11 * MIN_STAKE) * 4 / 9, "a crowd");
            vm.assertTrue(ledger.hasPlace(round, bob.addr), "Bob has a quota");
            if (ledger.hasPlace(round, carol.addr)) ++missed;
            else unlucky = true;
        }
        vm.assertTrue(unlucky, "some of each");
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "enrolled");
    }

    function test_remove_countsNoRoundThatIsVoid() public {
        _missedByCarol();
        RoundId second = _missedByCarol();
        _missedByCarol();
        report(second);
        _refusesNotAbsent(carol, 1);
    }

    function test_remove_countsNoRoundBeforeTheEnrolment() public {
        _leave(carol);
        for (uint256 i = 0; i < 3; ++i) {
            _missedByCarol();
        }
        _enrol(carol);
        _refusesNotAbsent(carol, 0);
        vm.warp(block.timestamp + 1);
        _missedByCarol();
        _refusesNotAbsent(carol, 1);
    }

    function test_remove_countsNoRoundBeforeMoreWasEnrolled() public {
        giveStake(carol.addr, 1);
        for (uint256 i = 0; i < 3; ++i) {
            _missedByCarol();
        }
        _enrol(carol);
        _refusesNotAbsent(carol, 0);
    }

    function test_remove_countsRoundsBeforeLessWasEnrolled() public {
        giveStake(carol.addr, MIN_STAKE);
        _enrolAll(carol);
        for (uint256 i = 0; i < 3; ++i) {
            _missedByCarol();
        }
        _enrolWith(carol, MIN_STAKE);
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "enrolled");
    }

    // Too little stake.

    /// @dev The place is gone at once, the window waits until somebody removes the account, and anybody can.
    function _losesItsPlace(RoundId round, Actor memory account) private {
        uint256 enrolled = _memberOf(account).enrolled;
        vm.assertFalse(ledger.hasPlace(round, account.addr), "has no place");
        _refusesCommit(
            account,
            round,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, account.addr, enrolled, uint256(MIN_STAKE)
            )
        );
        vm.assertTrue(counts(round, account.addr), "the window waits");
        uint256 total = vault.totalEnrolled();
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(account.addr, IRoundLedger.LeaveReason.StakeTooLow);
        vm.prank(stranger.addr);
        ledger.remove(account.addr);
        vm.assertFalse(ledger.isEnrolled(account.addr), "enrolled");
        vm.assertFalse(counts(round, account.addr), "the window waits no more");
        vm.assertEq(_memberOf(account).enrolled, 0, "amount");
        vm.assertEq(vault.totalEnrolled(), total - enrolled, "sum");
    }

    function test_remove_takesOneWithoutTheStakeAtAnyTime() public {
        RoundId round = open();
        _commitTwo(round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(carol.addr);
        _unstake(carol, 1);
        _refusesMissing(round, _bits(carol));
        _losesItsPlace(round, carol);
        _close(round);
    }

    function test_remove_takesOneWhoWasSlashed() public {
        RoundId first = anchored();
        RoundId round = open();
        vm.prank(verifier.addr);
        ledger.reportFault(first, carol.addr, challenger.addr);
        _losesItsPlace(round, carol);
    }

    /// @dev Stake that is not enrolled is slashed first.
    function test_remove_leavesOneWhoWasSlashedAndHasEnough() public {
        RoundId first = anchored();
        RoundId round = open();
        giveStake(carol.addr, MIN_STAKE);
        vm.prank(verifier.addr);
        ledger.reportFault(first, carol.addr, challenger.addr);
        _hasPlaceIn(round, carol);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(carol.addr);
    }

    /// @dev A coordinator that is enrolled, and replaced: the stake that became a bond is not enrolled any more.
    function test_remove_takesOneWhoseStakeIsABond() public {
        giveStake(dave.addr, BOND);
        _enrolAll(dave);
        vm.prank(address(timelock));
        ledger.appointCoordinator(dave.addr);
        RoundId round = ledger.nextRound();
        bytes32 root = headRoot();
        vm.prank(dave.addr);
        ledger.openRound(round, root, HEADER_HASH);
        vm.assertEq(_memberOf(dave).enrolled, 2 * MIN_STAKE, "what is left beside the bond");
        vm.prank(dave.addr);
        ledger.cancelEmpty(round);
        vm.assertEq(_memberOf(dave).enrolled, 2 * MIN_STAKE, "it does not come back by itself");
        _unstake(dave, BOND + MIN_STAKE + 1);
        vm.prank(address(timelock));
        ledger.appointCoordinator(coordinator.addr);
        round = open();
        _losesItsPlace(round, dave);
    }

    /// @dev A vote that raises the stake in the middle of a round shuts nobody out of it who can still commit.
    function test_remove_measuresTheStakeByTheOpenRound() public {
        RoundId round = open();
        IPolicies.Policy memory dear = policy();
        dear.minStake = 2 * MIN_STAKE;
        _newPolicy(dear);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(carol.addr);
        skipCommitWindow(round);
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "enrolled");
    }

    function test_remove_failsForOneWhoIsNotEnrolled() public {
        _refusesNotEnrolled(dave);
        ledger.remove(dave.addr);
        _refusesNotEnrolled(stranger);
        ledger.remove(stranger.addr);
        _leave(alice);
        _refusesNotEnrolled(alice);
        ledger.remove(alice.addr);
    }

    // Cancelling an empty round.

    function test_cancelEmpty_endsARoundAtOnce() public {
        RoundId round = open();
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundCancelled(round, IRoundLedger.CancelReason.Empty);
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
        assertPhase(round, IRoundLedger.Phase.Cancelled, "phase");
        assertHead(id(0), "the head stays");
        assertEq(open(), id(2), "the next round opens");
    }

    function test_cancelEmpty_failsWithACommitment() public {
        RoundId round = open();
        commitOwn(alice, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotEmpty.selector, round, uint16(1)));
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
    }

    function test_cancelEmpty_failsForOthers() public {
        RoundId round = open();
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCoordinator.selector, stranger.addr, coordinator.addr)
        );
        vm.prank(stranger.addr);
        ledger.cancelEmpty(round);
    }

    function test_cancelEmpty_failsForARoundThatIsNotOpen() public {
        RoundId round = anchored();
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector, round, IRoundLedger.Phase.Anchored, IRoundLedger.Phase.Open
            )
        );
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
    }

    // Any order.

    /// @notice However many enrol, leave, enrol again and commit in a round: who was enrolled all the time since before
    /// the opening has a place, and nobody else; and the round can be closed exactly if enough have committed, somebody
    /// counts, and everybody has committed who counts.
    /// @param actions Eight bits an action: who, and what.
    function testFuzz_close_waitsForWhomItMust(uint256 actions, uint256 before) public {
        Actor[4] memory people = [alice, bob, carol, dave];
        bool[4] memory counted = [true, true, true, false];
        bool[4] memory enrolled = [true, true, true, false];
        bool[4] memory committed;
        uint256 entries;
        for (uint256 i = 0; i < 3; ++i) {
            if ((before >> i) & 1 == 0) continue;
            _leave(people[i]);
            (counted[i], enrolled[i]) = (false, false);
            if ((before >> (i + 4)) & 1 == 0) continue;
            _enrol(people[i]);
            enrolled[i] = true;
        }
        RoundId round = open();
        for (uint256 step = 0; step < 16; ++step) {
            uint256 action = actions >> (8 * step);
            uint256 who = action & 3;
            if ((action >> 4) & 1 == 0) {
                vm.assertEq(_commits(people[who], round), counted[who] && !committed[who], "committed");
                if (!committed[who] && counted[who]) {
                    committed[who] = true;
                    ++entries;
                }
            } else if (enrolled[who]) {
                _leave(people[who]);
                (counted[who], enrolled[who]) = (false, false);
            } else {
                _enrol(people[who]);
                enrolled[who] = true;
            }
            bool closable = entries >= 2 && (counted[0] || counted[1] || counted[2]);
            for (uint256 i = 0; i < 4; ++i) {
                vm.assertEq(counts(round, people[i].addr), counted[i], "counts");
                vm.assertEq(ledger.hasPlace(round, people[i].addr), counted[i], "has a place");
                if (counted[i] && !committed[i]) closable = false;
            }
            vm.assertEq(canClose(round), closable, "can be closed");
            if ((action >> 5) & 1 == 1) vm.warp(block.timestamp + 1);
        }
    }

    function _commits(Actor memory account, RoundId round) private returns (bool recorded) {
        IRoundLedger.Commitment memory commitment = commitmentOf(account.addr, round);
        vm.prank(account.addr);
        try ledger.commitUpdate(commitment) {
            recorded = true;
        } catch { }
    }
}
