// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IContributorFaults } from "../src/interfaces/IContributorFaults.sol";
import { IJudge } from "../src/interfaces/IJudge.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { MerkleSum } from "../src/libraries/MerkleSum.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";
import { Trees } from "./utils/Trees.sol";
import { OwnedWallet } from "./utils/Wallets.sol";

/// @notice What a contributor pays for, and what it does not.
contract ContributorFaultsTest is FraudWorld {
    function setUp() public override {
        super.setUp();
        vm.stopPrank();
    }

    function _noFault(IContributorFaults.Kind kind) private {
        vm.expectRevert(abi.encodeWithSelector(IContributorFaults.ContributorFaultsNoFault.selector, kind));
    }

    function _assertStruck(address contributor, uint256 left, string memory message) private view {
        vm.assertEq(vault.stakeOf(contributor), left, message);
        vm.assertEq(token.balanceOf(challenger.addr), MIN_STAKE / 4, message);
        vm.assertEq(vault.stakeOf(coordinator.addr), 5 * BOND, "the coordinator has nothing to do with it");
    }

    // Two commitments.

    function _pair(RoundId round)
        private
        view
        returns (IRoundLedger.Commitment memory first, IRoundLedger.Commitment memory second)
    {
        first = commitmentOf(alice.addr, round);
        second = commitmentOf(alice.addr, round);
        second.updateRoot = keccak256("another");
    }

    function _proveTwo(Actor memory signer, IRoundLedger.Commitment memory first, IRoundLedger.Commitment memory second)
        private
    {
        _proveTwo(signer, first, second, "");
    }

    function _notTwo(IRoundLedger.Commitment memory first, IRoundLedger.Commitment memory second) private {
        bytes4 error = IContributorFaults.ContributorFaultsNoFault.selector;
        _proveTwo(alice, first, second, abi.encodeWithSelector(error, IContributorFaults.Kind.TwoCommitments));
    }

    function _proveTwo(
        Actor memory signer,
        IRoundLedger.Commitment memory first,
        IRoundLedger.Commitment memory second,
        bytes memory expected
    ) private {
        bytes memory firstSignature = signed(signer, first);
        bytes memory secondSignature = signed(signer, second);
        if (expected.length > 0) vm.expectRevert(expected);
        vm.prank(challenger.addr);
        faults.proveTwoCommitments(first, firstSignature, second, secondSignature);
    }

    function test_proveTwoCommitments_strikes() public {
        RoundId round = open();
        commitOwn(alice, round);
        (IRoundLedger.Commitment memory first, IRoundLedger.Commitment memory second) = _pair(round);
        (bytes memory firstSignature, bytes memory secondSignature) = (signed(alice, first), signed(alice, second));
        vm.expectEmit(address(faults));
        emit IContributorFaults.FaultProven(round, alice.addr, challenger.addr, IContributorFaults.Kind.TwoCommitments);
        vm.prank(challenger.addr);
        faults.proveTwoCommitments(first, firstSignature, second, secondSignature);
        _assertStruck(alice.addr, 4 * MIN_STAKE, "once");
        bytes4 again = IRoundLedger.RoundLedgerAlreadyReported.selector;
        _proveTwo(alice, second, first, abi.encodeWithSelector(again, round, alice.addr));
    }

    function test_proveTwoCommitments_worksAfterTheEndOfTheRound() public {
        RoundId round = finalized();
        (IRoundLedger.Commitment memory first, IRoundLedger.Commitment memory second) = _pair(round);
        _proveTwo(alice, first, second);
        _assertStruck(alice.addr, 4 * MIN_STAKE, "a signature stands");
    }

    function test_proveTwoCommitments_strikesAContract() public {
        OwnedWallet wallet = new OwnedWallet(bob.addr);
        giveStake(address(wallet), MIN_STAKE);
        enrol(address(wallet));
        RoundId round = open();
        IRoundLedger.Commitment memory first = commitmentOf(address(wallet), round);
        wallet.commit(ledger, first);
        IRoundLedger.Commitment memory second = commitmentOf(address(wallet), round);
        second.memoryHash = keccak256("another memory");
        _proveTwo(bob, first, second);
        _assertStruck(address(wallet), 0, "a contract's word counts too");
    }

    function test_proveTwoCommitments_failsForWhatIsNone() public {
        RoundId round = open();
        commitOwn(alice, round);
        (IRoundLedger.Commitment memory first, IRoundLedger.Commitment memory second) = _pair(round);
        _notTwo(first, first);

        IRoundLedger.Commitment memory other = commitmentOf(bob.addr, round);
        _notTwo(first, other);
        // Signed for a history that is no more: the same number, another base.
        second.baseStateRoot = keccak256("before a reorganisation");
        _notTwo(first, second);
        _notTwo(second, first);
    }

    function test_proveTwoCommitments_failsForTwoRounds() public {
        RoundId round = open();
        commitOwn(alice, round);
        (IRoundLedger.Commitment memory first, IRoundLedger.Commitment memory second) = _pair(round);
        second.round = id(2);
        _notTwo(first, second);
    }

    function test_proveTwoCommitments_failsWithoutBothSignatures() public {
        RoundId round = open();
        commitOwn(alice, round);
        (IRoundLedger.Commitment memory first, IRoundLedger.Commitment memory second) = _pair(round);
        (bytes memory right, bytes memory wrong) = (signed(alice, first), signed(bob, second));
        bytes32 digest = ledger.commitmentDigest(second);
        bytes memory expected =
            abi.encodeWithSelector(IContributorFaults.ContributorFaultsInvalidSignature.selector, alice.addr, digest);
        vm.expectRevert(expected);
        faults.proveTwoCommitments(first, right, second, wrong);
        vm.expectRevert(expected);
        faults.proveTwoCommitments(second, wrong, first, right);
    }

    function test_proveTwoCommitments_failsForWhoHasNoEntry() public {
        RoundId round = open();
        (IRoundLedger.Commitment memory first, IRoundLedger.Commitment memory second) = _pair(round);
        bytes4 none = IRoundLedger.RoundLedgerNotCommitted.selector;
        _proveTwo(alice, first, second, abi.encodeWithSelector(none, round, alice.addr));
    }

    // False trees. What is found where is FraudProofs.t.sol's matter: the code is the same.

    function _publish(World memory world) private {
        compute(world);
        publish(world);
        vm.stopPrank();
    }

    function _proveTree(World memory world, IJudge.Fault memory fault) private {
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        vm.prank(challenger.addr);
        faults.proveFalseTree(world.round, layout(), DOCUMENT, entries, fault);
    }

    /// @dev Carol commits to her leaf 3 as it is now.
    function _proveLeaf(World memory world) private {
        world.updateTrees[2][0][3] = MerkleSum.leaf(world.updates[2][3]);
        for (uint256 level = 1; level <= DEPTH; ++level) {
            Trees.rehash(world.updateTrees[2], level);
        }
        _publish(world);
        _proveTree(world, faultAt(world, 2, 0, 3));
    }

    function test_proveFalseTree_strikesWhateverTheWeight() public {
        World memory world = invent(1);
        world.updateTrees[1][1][2].squares += 1;
        Trees.rehash(world.updateTrees[1], 2);
        Trees.rehash(world.updateTrees[1], 3);
        vm.assertEq(uint256(world.weights[1]), 0, "bob counts for nothing");
        _publish(world);
        vm.expectEmit(address(faults));
        emit IContributorFaults.FaultProven(world.round, bob.addr, challenger.addr, IContributorFaults.Kind.FalseTree);
        _proveTree(world, faultAt(world, 1, 1, 2));
        _assertStruck(bob.addr, 2 * MIN_STAKE, "bob");
        assertPhase(world.round, IRoundLedger.Phase.Anchored, "the round stands");
    }

    function test_proveFalseTree_findsAByteThatNoCoordinateHas() public {
        World memory world = invent(2);
        world.updates[2][3][200] = 0x81;
        _proveLeaf(world);
        _assertStruck(carol.addr, 0, "padding that is not zero");
    }

    function test_proveFalseTree_findsAnIntegerBeyondTheWidth() public {
        narrow(2);
        vm.stopPrank();
        World memory world = invent(2);
        world.updates[2][3] = edgeLeaf(2, valuesIn(3));
        world.updates[2][3][4] = 0x82;
        _proveLeaf(world);
        _assertStruck(carol.addr, 0, "two steps at width 2");
    }

    function test_proveFalseTree_leavesHonestOnesAlone() public {
        World memory world = invent(3);
        _publish(world);
        for (uint256 entry = 0; entry < CONTRIBUTORS; ++entry) {
            for (uint256 level = 0; level <= DEPTH; ++level) {
                for (uint256 index = 0; index < 1 << (DEPTH - level); ++index) {
                    IJudge.Fault memory fault = faultAt(world, entry, level, index);
                    IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
                    _noFault(IContributorFaults.Kind.FalseTree);
                    faults.proveFalseTree(world.round, layout(), DOCUMENT, entries, fault);
                }
            }
        }
    }

    function test_proveFalseTree_failsWithOtherRecords() public {
        World memory world = invent(4);
        _publish(world);
        IJudge.Fault memory fault = faultAt(world, 0, 0, 0);
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        bytes memory other = abi.encodePacked(uint64(1));
        vm.expectRevert(
            abi.encodeWithSelector(
                IJudge.JudgeRecordMismatch.selector,
                keccak256(abi.encodePacked(bytes1(0x10), keccak256(other), DOCUMENT)),
                manifestHash()
            )
        );
        faults.proveFalseTree(world.round, other, DOCUMENT, entries, fault);
        fault.entry = CONTRIBUTORS;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, CONTRIBUTORS, CONTRIBUTORS));
        faults.proveFalseTree(world.round, layout(), DOCUMENT, entries, fault);
    }

    // Replays.

    /// @dev Entries of a round as the judge wants them; `roots` are the updates of alice, bob and carol.
    function _entries(bytes32[3] memory roots, uint64 sumSquares) private view returns (IJudge.Entry[] memory entries) {
        entries = new IJudge.Entry[](3);
        address[3] memory contributors = [alice.addr, bob.addr, carol.addr];
        for (uint256 i = 0; i < 3; ++i) {
            entries[i].contributor = contributors[i];
            entries[i].updateRoot = roots[i];
            (entries[i].sumSquares, entries[i].memoryHash) = (sumSquares, keccak256("memory"));
            entries[i].bundleHash = keccak256("bundle");
        }
    }

    function _commitAll(RoundId round, IJudge.Entry[] memory entries) private {
        for (uint256 i = 0; i < entries.length; ++i) {
            IRoundLedger.Commitment memory commitment = commitmentOf(entries[i].contributor, round);
            (commitment.updateRoot, commitment.sumSquares) = (entries[i].updateRoot, entries[i].sumSquares);
            vm.prank(entries[i].contributor);
            ledger.commitUpdate(commitment);
        }
    }

    /// @dev Two rounds on different bases; bob's second update is alice's first.
    function _replayed(uint64 sumSquares)
        private
        returns (RoundId first, RoundId second, IJudge.Entry[] memory earlier, IJudge.Entry[] memory later)
    {
        earlier = _entries([bytes32("a"), "b", "c"], sumSquares);
        later = _entries([bytes32("d"), "a", "f"], sumSquares);
        first = open();
        _commitAll(first, earlier);
        skipCommitWindow(first);
        anchorNow(first);
        second = open();
        _commitAll(second, later);
    }

    function _proveReplay(
        RoundId round,
        IJudge.Entry[] memory entries,
        uint256 entry,
        RoundId earlier,
        IJudge.Entry[] memory earlierEntries,
        uint256 earlierEntry
    ) private {
        vm.prank(challenger.addr);
        faults.proveReplay(round, entries, entry, earlier, earlierEntries, earlierEntry);
    }

    function test_proveReplay_strikesTheCopy() public {
        (RoundId first, RoundId second, IJudge.Entry[] memory earlier, IJudge.Entry[] memory later) = _replayed(256);
        vm.expectEmit(address(faults));
        emit IContributorFaults.FaultProven(second, bob.addr, challenger.addr, IContributorFaults.Kind.Replay);
        _proveReplay(second, later, 1, first, earlier, 0);
        _assertStruck(bob.addr, 2 * MIN_STAKE, "bob");
    }

    function test_proveReplay_failsForWhatIsNone() public {
        (RoundId first, RoundId second, IJudge.Entry[] memory earlier, IJudge.Entry[] memory later) = _replayed(256);
        _noFault(IContributorFaults.Kind.Replay);
        _proveReplay(second, later, 0, first, earlier, 0);
        _noFault(IContributorFaults.Kind.Replay);
        _proveReplay(first, earlier, 0, second, later, 1);
        _noFault(IContributorFaults.Kind.Replay);
        _proveReplay(first, earlier, 0, first, earlier, 0);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 3, 3));
        _proveReplay(second, later, 3, first, earlier, 0);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 3, 3));
        _proveReplay(second, later, 1, first, earlier, 3);
    }

    function test_proveReplay_leavesSmallUpdatesAlone() public {
        (RoundId first, RoundId second, IJudge.Entry[] memory earlier, IJudge.Entry[] memory later) = _replayed(255);
        _noFault(IContributorFaults.Kind.Replay);
        _proveReplay(second, later, 1, first, earlier, 0);
    }

    function test_proveReplay_leavesASecondTryOnTheSameBaseAlone() public {
        IJudge.Entry[] memory entries = _entries([bytes32("a"), "b", "c"], 300);
        RoundId first = open();
        _commitAll(first, entries);
        vm.warp(ledger.rounds(first).anchorDeadline);
        ledger.cancel(first);
        RoundId second = open();
        _commitAll(second, entries);
        _noFault(IContributorFaults.Kind.Replay);
        _proveReplay(second, entries, 1, first, entries, 1);
    }

    function test_proveReplay_failsWithOtherEntries() public {
        (RoundId first, RoundId second, IJudge.Entry[] memory earlier, IJudge.Entry[] memory later) = _replayed(256);
        earlier[2].updateRoot = later[2].updateRoot;
        bytes32 recorded = ledger.rounds(first).entriesHash;
        bytes32 given;
        for (uint256 i = 0; i < 3; ++i) {
            IRoundLedger.Commitment memory commitment = commitmentOf(earlier[i].contributor, first);
            (commitment.updateRoot, commitment.sumSquares) = (earlier[i].updateRoot, earlier[i].sumSquares);
            given = keccak256(abi.encode(given, earlier[i].contributor, ledger.hashCommitment(commitment)));
        }
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, given, recorded));
        _proveReplay(second, later, 2, first, earlier, 2);
    }
}
