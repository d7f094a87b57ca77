// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MemberList } from "../src/MemberList.sol";
import { IAdmission } from "../src/interfaces/IAdmission.sol";
import { IMemberList } from "../src/interfaces/IMemberList.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice The list itself, and a federation that is closed by it.
contract MemberListTest is RoundTest {
    MemberList internal list;
    address internal owner;
    Actor internal dave;

    function setUp() public override {
        dave = actor("dave");
        address[] memory first = new address[](3);
        first[0] = actor("alice").addr;
        first[1] = actor("bob").addr;
        first[2] = actor("carol").addr;
        // Where `deploy` is going to put the timelock.
        address deployer_ = actor("deployer").addr;
        owner = vm.computeCreateAddress(deployer_, vm.getNonce(deployer_) + 6);
        list = new MemberList(owner, first);
        super.setUp();
        giveStake(dave.addr, MIN_STAKE);
    }

    /// @dev Two entries at most, so that three members are more than a round takes.
    function policy() internal view override returns (IPolicies.Policy memory small) {
        small = super.policy();
        small.maxContributors = 2;
    }

    function admission() internal view override returns (IAdmission) {
        return list;
    }

    function _set(address account, bool member) private {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        vm.prank(owner);
        list.setMembers(accounts, member);
    }

    function _enrolNow(Actor memory account) private {
        uint256 amount = vault.stakeOf(account.addr);
        vm.prank(account.addr);
        ledger.enrol(amount);
    }

    // The list.

    function test_list_startsWithItsFirstMembers() public {
        vm.assertEq(list.governance(), address(timelock), "governance");
        vm.assertTrue(list.admits(alice.addr), "a first member");
        vm.assertTrue(list.admits(carol.addr), "the last of them");
        vm.assertFalse(list.admits(dave.addr), "another");
        vm.assertFalse(list.admits(address(0)), "nobody");

        address[] memory first = new address[](1);
        first[0] = dave.addr;
        vm.expectEmit();
        emit IMemberList.MemberSet(dave.addr, true);
        new MemberList(owner, first);
        vm.assertFalse(new MemberList(owner, new address[](0)).admits(dave.addr), "an empty list");
    }

    function test_list_failsToBeDeployedWithoutAnAddress() public {
        vm.expectRevert(abi.encodeWithSelector(IMemberList.MemberListZeroAddress.selector));
        new MemberList(address(0), new address[](0));
        vm.expectRevert(abi.encodeWithSelector(IMemberList.MemberListZeroAddress.selector));
        new MemberList(owner, new address[](1));
    }

    function test_setMembers_addsAndEnds() public {
        address[] memory accounts = new address[](2);
        (accounts[0], accounts[1]) = (dave.addr, alice.addr);
        vm.expectEmit(address(list));
        emit IMemberList.MemberSet(dave.addr, true);
        vm.expectEmit(address(list));
        emit IMemberList.MemberSet(alice.addr, true);
        vm.prank(owner);
        list.setMembers(accounts, true);
        vm.assertTrue(list.admits(dave.addr), "added");
        vm.assertTrue(list.admits(alice.addr), "still there");

        vm.expectEmit(address(list));
        emit IMemberList.MemberSet(dave.addr, false);
        vm.prank(owner);
        list.setMembers(accounts, false);
        vm.assertFalse(list.admits(dave.addr), "ended");
        vm.assertFalse(list.admits(alice.addr), "ended as well");
        vm.assertTrue(list.admits(bob.addr), "others stay");
        vm.prank(owner);
        list.setMembers(new address[](0), false);
        vm.assertTrue(list.admits(bob.addr), "nobody named, nobody changed");
    }

    function test_setMembers_failsForTheZeroAddress() public {
        address[] memory accounts = new address[](2);
        accounts[0] = dave.addr;
        vm.expectRevert(abi.encodeWithSelector(IMemberList.MemberListZeroAddress.selector));
        vm.prank(owner);
        list.setMembers(accounts, true);
        vm.assertFalse(list.admits(dave.addr), "as a whole");
    }

    function test_setMembers_failsForOthers() public {
        vm.expectRevert(
            abi.encodeWithSelector(IMemberList.MemberListNotGovernance.selector, coordinator.addr, address(timelock))
        );
        vm.prank(coordinator.addr);
        list.setMembers(new address[](0), true);
    }

    // A closed federation.

    function test_closed_onlyMembersEnrol() public {
        vm.assertEq(address(ledger.admission()), address(list), "admission");
        vm.assertTrue(ledger.isEnrolled(alice.addr), "a member");
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAdmitted.selector, dave.addr, address(list)));
        vm.prank(dave.addr);
        ledger.enrol(MIN_STAKE);
        _set(dave.addr, true);
        _enrolNow(dave);
        vm.assertTrue(ledger.isEnrolled(dave.addr), "a new member");
    }

    /// @dev Three minimum stakes are enrolled for one place and the coordinator's: in an open federation a crowd.
    function test_closed_drawsNoPlaces() public {
        RoundId round = open();
        vm.assertEq(ledger.draws(round).quota, 0, "no quota");
        vm.assertEq(ledger.draws(round).at, 0, "no time");
        vm.assertEq(ledger.draws(round).seed, 0, "no seed");
        vm.assertTrue(ledger.hasPlace(round, alice.addr), "Alice has a place");
        vm.assertTrue(ledger.hasPlace(round, carol.addr), "Carol has a place with less");
        commitOwn(carol, round);
        vm.assertFalse(canClose(round), "a place is left");
        commitOwn(bob, round);
        vm.assertTrue(canClose(round), "all places are taken, also that of the coordinator");
        IRoundLedger.Commitment memory third = commitmentOf(alice.addr, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundFull.selector, round, uint256(2)));
        vm.prank(alice.addr);
        ledger.commitUpdate(third);
        vm.prank(coordinator.addr);
        ledger.closeCommits(round);
    }

    /// @dev Nor does it need a basis: not in its block, and not one whose hash is known.
    function test_closed_opensInWhateverBlock() public {
        RoundId round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        skipCommitWindow(round);
        anchorTwo(round);
        vm.assertEq(vault.basis().total, 3 * MIN_STAKE, "the basis of a crowd for one place");
        vm.assertEq(vault.basis().blockNumber, block.number, "in this block");
        round = open();
        vm.assertEq(ledger.draws(round).quota, 0, "in the block of the basis");
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
        vm.roll(block.number + 100_000);
        round = open();
        vm.assertEq(ledger.draws(round).quota, 0, "long after");
        vm.assertTrue(ledger.hasPlace(round, carol.addr), "all have a place");
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
        vault.redraw();
        vm.roll(block.number + 1);
        vm.assertEq(ledger.draws(open()).quota, 0, "after drawing again");
    }

    /// @dev A full round had no place left for who did not come.
    function test_closed_fullRoundsCountAsMissedByNobody() public {
        for (uint256 i = 0; i < 4; ++i) {
            RoundId round = open();
            commitOwn(alice, round);
            commitOwn(bob, round);
            vm.prank(coordinator.addr);
            ledger.closeCommits(round);
            anchorTwo(round);
        }
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAbsent.selector, carol.addr, uint256(0), uint256(3))
        );
        ledger.remove(carol.addr);
    }

    /// @dev An account that a vote takes off the list can be removed by anybody, but not while a commit window runs.
    function test_closed_removesWhoIsNoMemberAnyMore() public {
        RoundId round = open();
        _set(carol.addr, false);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(carol.addr);
        commitOwn(carol, round);
        vm.assertTrue(ledger.hasCommitted(round, carol.addr), "the round goes on without asking");
        skipCommitWindow(round);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(carol.addr, IRoundLedger.LeaveReason.NotAdmitted);
        vm.prank(stranger.addr);
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "enrolled");
        vm.assertEq(vault.stakeOf(carol.addr), MIN_STAKE, "the stake stays");
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAdmitted.selector, carol.addr, address(list)));
        vm.prank(carol.addr);
        ledger.enrol(MIN_STAKE);
    }

    function test_closed_removesNoMember() public {
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAbsent.selector, carol.addr, uint256(0), uint256(3))
        );
        ledger.remove(carol.addr);
    }

    function test_closed_removesNobodyTwice() public {
        _set(carol.addr, false);
        ledger.remove(carol.addr);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotEnrolled.selector, carol.addr));
        ledger.remove(carol.addr);
    }

    /// @dev Too little stake is the first reason, and it asks nobody.
    function test_closed_tooLittleStakeComesFirst() public {
        _set(carol.addr, false);
        vm.prank(carol.addr);
        vault.requestUnbond(1);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(carol.addr, IRoundLedger.LeaveReason.StakeTooLow);
        ledger.remove(carol.addr);
    }

    /// @dev Changing the amount is enrolling: who is no member any more can leave, and not stay with less.
    function test_closed_asksAtEveryChange() public {
        _set(alice.addr, false);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAdmitted.selector, alice.addr, address(list)));
        vm.prank(alice.addr);
        ledger.enrol(MIN_STAKE);
        vm.prank(alice.addr);
        ledger.leave();
        vm.assertFalse(ledger.isEnrolled(alice.addr), "enrolled");
    }
}
