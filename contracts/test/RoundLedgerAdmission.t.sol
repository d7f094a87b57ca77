// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAdmission } from "../src/interfaces/IAdmission.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { Deployment } from "./utils/Deployment.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice An admission contract that answers as it is told.
contract Doorkeeper is IAdmission {
    enum Mood {
        Honest,
        Reverting,
        Burning,
        Spinning,
        TwoWord,
        LargeWord,
        HalfWord,
        ShortByOne,
        Empty,
        Megabyte,
        QuarterMegabyte,
        Refusing
    }

    Mood private _mood;

    function turn(Mood mood) external {
        _mood = mood;
    }

    function admits(address) external view returns (bool) {
        Mood mood = _mood;
        if (mood == Mood.Honest) return true;
        if (mood == Mood.Refusing) return false;
        if (mood == Mood.Reverting) revert("no answer");
        uint256 size = 32;
        uint256 word = 1;
        if (mood == Mood.TwoWord) size = 64;
        if (mood == Mood.LargeWord) word = 2;
        if (mood == Mood.HalfWord) word = 1 << 255 | 1;
        if (mood == Mood.ShortByOne) size = 31;
        if (mood == Mood.Empty) size = 0;
        if (mood == Mood.Megabyte) size = 1 << 20;
        if (mood == Mood.QuarterMegabyte) size = 1 << 18;
        if (mood == Mood.Spinning) {
            while (true) ++word;
        }
        assembly ("memory-safe") {
            if eq(mood, 2) { invalid() }
            mstore(0, word)
            return(0, size)
        }
    }
}

/// @notice A closed federation whose admission contract is anybody's.
contract RoundLedgerAdmissionTest is RoundTest {
    uint256 private constant FIRST = uint256(Doorkeeper.Mood.Reverting);
    /// @dev Every mood from the first to this one is no answer.
    uint256 private constant LAST = uint256(Doorkeeper.Mood.QuarterMegabyte);

    Doorkeeper internal doorkeeper;
    Actor internal dave;

    function setUp() public override {
        doorkeeper = new Doorkeeper();
        super.setUp();
        dave = actor("dave");
        giveStake(dave.addr, MIN_STAKE);
    }

    function admission() internal view override returns (IAdmission) {
        return doorkeeper;
    }

    function _refusesDave() private {
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAdmitted.selector, dave.addr, address(doorkeeper))
        );
        vm.prank(dave.addr);
        ledger.enrol(MIN_STAKE);
        vm.assertFalse(ledger.isEnrolled(dave.addr), "enrolled");
    }

    function _refusesNotAbsent(address account, uint256 missed) private {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAbsent.selector, account, missed, uint256(3)));
        ledger.remove(account);
    }

    function test_admission_letsIn() public {
        vm.assertEq(address(ledger.admission()), address(doorkeeper), "admission");
        vm.prank(dave.addr);
        ledger.enrol(MIN_STAKE);
        vm.assertTrue(ledger.isEnrolled(dave.addr), "enrolled");
    }

    function test_admission_keepsOut() public {
        doorkeeper.turn(Doorkeeper.Mood.Refusing);
        _refusesDave();
    }

    /// @dev Nobody new enrols, and nobody who is enrolled is removed; the same for every way not to answer.
    function test_admission_thatFailsChangesNothing() public {
        for (uint256 mood = FIRST; mood <= LAST; ++mood) {
            doorkeeper.turn(Doorkeeper.Mood(mood));
            _refusesDave();
            _refusesNotAbsent(alice.addr, 0);
            vm.assertTrue(ledger.isEnrolled(alice.addr), "enrolled");
        }
    }

    /// @dev It gets 200,000 units of gas, and what it returns is not copied: asking costs no more whatever it does.
    function test_admission_thatFailsCostsLittle() public {
        for (uint256 mood = FIRST; mood <= LAST; ++mood) {
            doorkeeper.turn(Doorkeeper.Mood(mood));
            vm.prank(dave.addr);
            (bool enrolled, bytes memory reason) =
                address(ledger).call{ gas: 300_000 }(abi.encodeCall(ledger.enrol, (MIN_STAKE)));
            vm.assertFalse(enrolled, "enrolled");
            vm.assertEq(
                reason,
                abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAdmitted.selector, dave.addr, address(doorkeeper)),
                "for lack of an answer, not of gas"
            );
        }
        for (uint256 mood = FIRST; mood <= LAST; ++mood) {
            doorkeeper.turn(Doorkeeper.Mood(mood));
            vm.prank(carol.addr);
            vault.requestUnbond(1);
            uint256 state = vm.snapshotState();
            // Too little stake: nobody is asked.
            ledger.remove{ gas: 150_000 }(carol.addr);
            vm.revertToState(state);
        }
    }

    /// @dev The admission contract is asked about enrolled accounts by `remove` only: not to open, commit or close.
    function test_admission_thatFailsStopsNoRound() public {
        for (uint256 mood = FIRST; mood <= uint256(Doorkeeper.Mood.Refusing); ++mood) {
            doorkeeper.turn(Doorkeeper.Mood(mood));
            RoundId round = open();
            commitOwn(alice, round);
            bytes memory batch = batchOf(bob, commitmentOf(bob.addr, round));
            ledger.commitUpdates(round, BUNDLE_HASH, batch);
            commitOwn(carol, round);
            vm.prank(coordinator.addr);
            ledger.closeCommits(round);
            anchorNow(round);
            skipChallengeWindow(round);
            ledger.finalize(round);
        }
    }

    /// @dev Leaving asks nobody, and neither does removing one without the stake.
    function test_admission_thatFailsKeepsNobodyIn() public {
        doorkeeper.turn(Doorkeeper.Mood.Spinning);
        vm.prank(alice.addr);
        ledger.leave();
        vm.assertFalse(ledger.isEnrolled(alice.addr), "left");
        vm.prank(carol.addr);
        vault.requestUnbond(1);
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "removed");
    }

    /// @dev One that fails is no excuse: who is absent can be removed as ever.
    function test_admission_thatFailsKeepsNoAbsentAccount() public {
        for (uint256 i = 0; i < 3; ++i) {
            RoundId round = open();
            commitOwn(alice, round);
            commitOwn(bob, round);
            skipCommitWindow(round);
            anchorTwo(round);
        }
        doorkeeper.turn(Doorkeeper.Mood.Burning);
        _refusesNotAbsent(alice.addr, 0);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(carol.addr, IRoundLedger.LeaveReason.Absent);
        ledger.remove(carol.addr);
    }

    /// @dev It may change its mind, honestly or not: then anybody can remove the account, though not during a window.
    function test_admission_thatLiesLater() public {
        RoundId round = open();
        doorkeeper.turn(Doorkeeper.Mood.Refusing);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(alice.addr);
        commitThree(round);
        skipCommitWindow(round);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(alice.addr, IRoundLedger.LeaveReason.NotAdmitted);
        vm.prank(stranger.addr);
        ledger.remove(alice.addr);
        vm.assertEq(vault.stakeOf(alice.addr), 5 * MIN_STAKE, "the stake stays");
        anchorNow(round);
        assertHead(round, "and so does what it committed");
        // An account that is not enrolled can't be removed.
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotEnrolled.selector, alice.addr));
        ledger.remove(alice.addr);
    }
}

/// @notice A closed federation that was deployed with an address at which there is no contract.
contract RoundLedgerNobodyAtTheDoorTest is RoundTest {
    function setUp() public override {
        Deployment.setUp();
        giveStake(alice.addr, MIN_STAKE);
    }

    function admission() internal pure override returns (IAdmission) {
        return IAdmission(address(0xdead));
    }

    function test_admission_thatIsNotThereAdmitsNobody() public {
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAdmitted.selector, alice.addr, address(0xdead))
        );
        vm.prank(alice.addr);
        ledger.enrol(MIN_STAKE);
    }
}
