// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice Who is enrolled, and when a commit window may end early.
contract RoundLedgerCloseTest is RoundTest {
    function _enrol(Actor memory account) private {
        vm.prank(account.addr);
        ledger.enrol();
    }

    function _leave(Actor memory account) private {
        vm.prank(account.addr);
        ledger.leave();
    }

    function _close(RoundId round) private {
        vm.prank(coordinator.addr);
        ledger.closeCommits(round);
    }

    function _unstake(Actor memory account, uint256 amount) private {
        vm.prank(account.addr);
        vault.requestUnbond(amount);
    }

    function _newPolicy(IRoundLedger.Policy memory changed) private {
        vm.prank(address(timelock));
        ledger.addPolicy(changed);
    }

    /// @dev A round in which everybody but Carol commits, and which runs for its whole window.
    function _missedByCarol() private returns (RoundId round) {
        round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        skipCommitWindow(round);
        uint32[] memory weights = new uint32[](2);
        (weights[0], weights[1]) = (1, 1);
        vm.prank(coordinator.addr);
        ledger.anchor(round, anchorWith(round, weights));
    }

    /// @dev Members of the first word, as `RoundLedgerMembersMissing` has them.
    function _bits(Actor memory account) private view returns (uint256) {
        address[] memory accounts = new address[](1);
        accounts[0] = account.addr;
        (, uint32[] memory numbers) = vault.members(accounts);
        return 1 << numbers[0];
    }

    function _refusesMissing(RoundId round, uint256 members) private {
        vm.assertFalse(ledger.canClose(round), "can't be closed");
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

    // Enrolling and leaving.

    function test_enrol_countsFromTheNextRound() public {
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Enrolled(alice.addr, id(1));
        _enrol(alice);
        assertEq(ledger.enrolledFrom(alice.addr), id(1), "from");
        RoundId round = open();
        _enrol(bob);
        assertEq(ledger.enrolledFrom(bob.addr), id(2), "from");
        vm.assertTrue(ledger.counts(round, alice.addr), "enrolled before the opening");
        vm.assertFalse(ledger.counts(round, bob.addr), "enrolled after the opening");
        vm.assertTrue(ledger.counts(id(2), bob.addr), "counts in the next one");
        vm.assertFalse(ledger.counts(round, carol.addr), "not enrolled");
    }

    function test_enrol_failsWithTooLittleStake() public {
        _unstake(carol, 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, carol.addr, MIN_STAKE - 1, uint256(MIN_STAKE)
            )
        );
        _enrol(carol);
    }

    function test_enrol_failsTwice() public {
        _enrol(alice);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerAlreadyEnrolled.selector, alice.addr));
        _enrol(alice);
    }

    function test_leave_takesTheAccountOffTheList() public {
        _enrol(alice);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(alice.addr, IRoundLedger.LeaveReason.Own);
        _leave(alice);
        assertEq(ledger.enrolledFrom(alice.addr), id(0), "from");
        _enrol(alice);
        assertEq(ledger.enrolledFrom(alice.addr), id(1), "again");
    }

    function test_leave_failsForOneWhoIsNotEnrolled() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotEnrolled.selector, alice.addr));
        _leave(alice);
    }

    // Closing.

    function test_close_endsTheWindowWhenAllEnrolledHaveCommitted() public {
        _enrol(alice);
        _enrol(bob);
        RoundId round = open();
        vm.warp(block.timestamp + 7);
        commitOwn(alice, round);
        commitOwn(bob, round);
        vm.assertTrue(ledger.canClose(round), "can be closed");
        uint40 time = uint40(block.timestamp);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.CommitsClosed(round, time, time + ANCHOR_WINDOW);
        _close(round);

        assertPhase(round, IRoundLedger.Phase.Committed, "phase");
        vm.assertFalse(ledger.canClose(round), "not twice");
        IRoundLedger.Round memory stored = ledger.rounds(round);
        vm.assertEq(stored.commitDeadline, time, "commit deadline");
        vm.assertEq(stored.anchorDeadline, time + ANCHOR_WINDOW, "anchor deadline");
        IRoundLedger.Commitment memory late = commitmentOf(carol.addr, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerTooLate.selector, round, time, time));
        vm.prank(carol.addr);
        ledger.commitUpdate(late);
    }

    function test_close_letsTheAnchorFollowAtOnceAndBeLate() public {
        _enrol(alice);
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
        _enrol(alice);
        _enrol(bob);
        _enrol(carol);
        RoundId round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        _refusesMissing(round, _bits(carol));
        vm.warp(ledger.rounds(round).commitDeadline - 1);
        _refusesMissing(round, _bits(carol));
        commitOwn(carol, round);
        _close(round);
        assertPhase(round, IRoundLedger.Phase.Committed, "phase");
    }

    function test_close_doesNotWaitForThoseWhoEnrolledLater() public {
        _enrol(alice);
        RoundId round = open();
        _enrol(carol);
        commitOwn(alice, round);
        commitOwn(bob, round);
        _close(round);
        anchorTwo(round);
        round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        _refusesMissing(round, _bits(carol));
    }

    function test_close_doesNotWaitForThoseWhoLeft() public {
        _enrol(alice);
        _enrol(carol);
        RoundId round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        _refusesMissing(round, _bits(carol));
        _leave(carol);
        vm.assertTrue(ledger.canClose(round), "nobody is missing");
        _enrol(carol);
        vm.assertFalse(ledger.counts(round, carol.addr), "enrolling again does not count");
        _close(round);
        anchorTwo(round);
        round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        _refusesMissing(round, _bits(carol));
    }

    /// @dev With counters this is where the sums could go wrong: one who has committed leaves, and another is missing.
    function test_close_isNotFooledByOneWhoCommitsAndLeaves() public {
        _enrol(alice);
        _enrol(bob);
        _enrol(carol);
        RoundId round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        _leave(alice);
        _refusesMissing(round, _bits(carol));
        _enrol(alice);
        _refusesMissing(round, _bits(carol));
        _leave(bob);
        _leave(alice);
        _refusesMissing(round, _bits(carol));
    }

    function test_close_needsSomebodyWhoCounts() public {
        RoundId round = open();
        commitThree(round);
        vm.assertFalse(ledger.canClose(round), "nobody enrolled");
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNobodyEnrolled.selector, round));
        _close(round);
        _enrol(alice);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNobodyEnrolled.selector, round));
        _close(round);
    }

    function test_close_needsEnoughCommitments() public {
        _enrol(alice);
        RoundId round = open();
        commitOwn(alice, round);
        vm.assertFalse(ledger.canClose(round), "too few");
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooFewUpdates.selector, round, uint16(1), uint16(2))
        );
        _close(round);
    }

    function test_close_endsAFullRoundWhoeverIsMissing() public {
        IRoundLedger.Policy memory small = policy();
        small.maxContributors = 2;
        _newPolicy(small);
        _enrol(carol);
        RoundId round = open();
        commitOwn(alice, round);
        vm.assertFalse(ledger.canClose(round), "a place is left");
        commitOwn(bob, round);
        vm.assertTrue(ledger.canClose(round), "full");
        _close(round);
        assertPhase(round, IRoundLedger.Phase.Committed, "phase");
    }

    function test_close_looksAtEveryWordOfMembers() public {
        Actor memory last;
        for (uint256 i = 0; i < 600; ++i) {
            last = actor(string.concat("member ", vm.toString(i)));
            giveStake(last.addr, 1);
        }
        giveStake(last.addr, MIN_STAKE);
        _enrol(alice);
        _enrol(last);
        _enrol(bob);
        RoundId round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        vm.assertFalse(ledger.canClose(round), "one of the third word is missing");
        commitOwn(last, round);
        _close(round);
        assertPhase(round, IRoundLedger.Phase.Committed, "phase");
    }

    function test_close_failsForOthers() public {
        _enrol(alice);
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
        _enrol(alice);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector, id(1), IRoundLedger.Phase.None, IRoundLedger.Phase.Open
            )
        );
        _close(id(1));
        RoundId round = open();
        commitThree(round);
        skipCommitWindow(round);
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

    // Removing.

    function test_remove_takesOneWhoMissedThreeRounds() public {
        _enrol(carol);
        for (uint256 i = 0; i < 3; ++i) {
            _refusesNotAbsent(carol, i);
            _missedByCarol();
        }
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(carol.addr, IRoundLedger.LeaveReason.Absent);
        vm.prank(stranger.addr);
        ledger.remove(carol.addr);
        assertEq(ledger.enrolledFrom(carol.addr), id(0), "from");
        vm.assertEq(vault.stakeOf(carol.addr), MIN_STAKE, "the stake stays");
        _enrol(carol);
        _refusesNotAbsent(carol, 0);
    }

    function test_remove_countsFinalRoundsToo() public {
        _enrol(carol);
        RoundId first = _missedByCarol();
        RoundId second = _missedByCarol();
        _missedByCarol();
        skipChallengeWindow(second);
        ledger.finalize(first);
        ledger.finalize(second);
        ledger.remove(carol.addr);
    }

    function test_remove_countsInARowOnly() public {
        _enrol(carol);
        _missedByCarol();
        _missedByCarol();
        anchored();
        _missedByCarol();
        _refusesNotAbsent(carol, 1);
    }

    function test_remove_seesACommitmentInTheLastRound() public {
        _enrol(carol);
        _missedByCarol();
        _missedByCarol();
        _missedByCarol();
        RoundId round = open();
        commitOwn(carol, round);
        skipCommitWindow(round);
        _refusesNotAbsent(carol, 0);
    }

    function test_remove_waitsForTheEndOfTheCommitWindow() public {
        _enrol(carol);
        for (uint256 i = 0; i < 3; ++i) {
            _missedByCarol();
        }
        RoundId round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(carol.addr);
        _refusesMissing(round, _bits(carol));
        skipCommitWindow(round);
        ledger.remove(carol.addr);
    }

    /// @dev A coordinator can't get rid of an enrolled account by rounds that are quick, fail, or are full of puppets.
    function test_remove_countsNoRoundThatACoordinatorMadeShort() public {
        _enrol(carol);
        _enrol(alice);
        for (uint256 i = 0; i < 4; ++i) {
            RoundId round = open();
            vm.prank(coordinator.addr);
            ledger.cancelEmpty(round);

            round = open();
            commitOwn(alice, round);
            skipCommitWindow(round);
            ledger.cancel(round);

            round = open();
            commitOwn(alice, round);
            commitOwn(bob, round);
            vm.warp(ledger.rounds(round).anchorDeadline);
            ledger.cancel(round);
        }
        _refusesNotAbsent(carol, 0);

        IRoundLedger.Policy memory small = policy();
        small.maxContributors = 2;
        _newPolicy(small);
        for (uint256 i = 0; i < 2; ++i) {
            _missedByCarol();
            RoundId round = open();
            commitOwn(alice, round);
            commitOwn(bob, round);
            _close(round);
            anchorTwo(round);
        }
        _refusesNotAbsent(carol, 0);
    }

    function test_remove_countsNoRoundThatIsVoid() public {
        _enrol(carol);
        _missedByCarol();
        RoundId second = _missedByCarol();
        _missedByCarol();
        report(second);
        _refusesNotAbsent(carol, 1);
    }

    function test_remove_countsNoRoundBeforeTheEnrolment() public {
        for (uint256 i = 0; i < 3; ++i) {
            _missedByCarol();
        }
        _enrol(carol);
        _refusesNotAbsent(carol, 0);
        _missedByCarol();
        _refusesNotAbsent(carol, 1);
    }

    function test_remove_takesOneWithoutTheStakeAtAnyTime() public {
        _enrol(alice);
        _enrol(carol);
        RoundId round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(carol.addr);
        _unstake(carol, 1);
        _refusesMissing(round, _bits(carol));
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(carol.addr, IRoundLedger.LeaveReason.StakeTooLow);
        ledger.remove(carol.addr);
        _close(round);
    }

    /// @dev A vote that raises the stake in the middle of a round shuts nobody out of it who can still commit.
    function test_remove_measuresTheStakeByTheOpenRound() public {
        _enrol(carol);
        RoundId round = open();
        IRoundLedger.Policy memory dear = policy();
        dear.minStake = 2 * MIN_STAKE;
        _newPolicy(dear);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(carol.addr);
        skipCommitWindow(round);
        ledger.remove(carol.addr);
        assertEq(ledger.enrolledFrom(carol.addr), id(0), "from");
    }

    function test_remove_failsForOneWhoIsNotEnrolled() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotEnrolled.selector, alice.addr));
        ledger.remove(alice.addr);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotEnrolled.selector, stranger.addr));
        ledger.remove(stranger.addr);
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

    /// @notice However many enrol, leave, enrol again and commit in a round: it can be closed exactly if enough have
    /// committed, somebody counts, and everybody has committed who was enrolled all the time since before the opening.
    /// @param actions Three bits an action: who, and what.
    function testFuzz_close_waitsForWhomItMust(uint256 actions, uint256 before) public {
        Actor[3] memory people = [alice, bob, carol];
        bool[3] memory counted;
        bool[3] memory enrolled;
        bool[3] memory committed;
        uint256 entries;
        for (uint256 i = 0; i < 3; ++i) {
            if ((before >> i) & 1 == 0) continue;
            _enrol(people[i]);
            (counted[i], enrolled[i]) = (true, true);
        }
        RoundId round = open();
        for (uint256 step = 0; step < 12; ++step) {
            uint256 who = (actions >> (8 * step)) % 3;
            if ((actions >> (8 * step + 4)) & 1 == 0) {
                if (!committed[who]) {
                    commitOwn(people[who], round);
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
            for (uint256 i = 0; i < 3; ++i) {
                vm.assertEq(ledger.counts(round, people[i].addr), counted[i], "counts");
                if (counted[i] && !committed[i]) closable = false;
            }
            vm.assertEq(ledger.canClose(round), closable, "can be closed");
        }
    }

    function anchorTwo(RoundId round) private {
        uint32[] memory weights = new uint32[](2);
        (weights[0], weights[1]) = (1, 1);
        vm.prank(coordinator.addr);
        ledger.anchor(round, anchorWith(round, weights));
    }
}
