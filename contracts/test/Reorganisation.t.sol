// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IJudge } from "../src/interfaces/IJudge.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { MerkleTree } from "../src/libraries/MerkleTree.sol";
import { OuterStep } from "../src/libraries/OuterStep.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { plainAnchorHash } from "./utils/Anchors.sol";
import { GameWorld } from "./utils/GameWorld.sol";

/// @notice The chain forgets its last blocks, and the transactions that were in them come again: the same ones, signed
/// before, in another order and at other times. A transaction that fails then is lost, as on a real chain.
contract ReorganisationTest is GameWorld {
    struct Transaction {
        address from;
        address to;
        bytes data;
    }

    RoundId private _round;
    IJudge.Entry[3] private _entries;
    /// @dev State roots after the round, by who has a weight: one bit each.
    mapping(uint256 counted => bytes32) private _nextRoots;

    function setUp() public override {
        super.setUp();
        giveStake(coordinator.addr, 5 * BOND);
        address[3] memory contributors = [alice.addr, bob.addr, carol.addr];
        for (uint256 i = 0; i < 3; ++i) {
            giveStake(contributors[i], MIN_STAKE);
            enrol(contributors[i]);
            _entries[i] = entryOf(contributors[i], i);
        }
        for (uint256 counted = 1; counted < 4; ++counted) {
            _nextRoots[counted] = _nextRoot(counted);
        }
        vm.roll(block.number + 1);
        _round = _open();
    }

    function _nextRoot(uint256 counted) private view returns (bytes32) {
        IJudge.Entry[] memory entries = new IJudge.Entry[](2);
        uint32[] memory weights = new uint32[](2);
        for (uint256 i = 0; i < 2; ++i) {
            entries[i] = _entries[i];
            weights[i] = uint32((counted >> i) & 1);
        }
        OuterStep.Settings memory settings = OuterStep.Settings(1, EXPONENT, policy().rate, policy().momentum);
        return rootOf(stepOf(firstState(), meanOf(weights, entries), settings));
    }

    function _open() private returns (RoundId round) {
        Transaction memory made = _opening();
        round = ledger.nextRound();
        vm.assertTrue(_send(made), "opened");
    }

    function _opening() private view returns (Transaction memory) {
        (, bytes32 base) = ledger.head();
        RoundId round = ledger.nextRound();
        bytes32 header = keccak256(headerOf(ledger, round, base, policies.currentPolicy()));
        return Transaction(coordinator.addr, address(ledger), abi.encodeCall(ledger.openRound, (round, base, header)));
    }

    // Transactions.

    function _send(Transaction memory made) private returns (bool success) {
        vm.prank(made.from);
        (success,) = made.to.call(made.data);
    }

    function _commit(uint256 who, RoundId round, bytes32 base) private view returns (Transaction memory) {
        return Transaction(
            _entries[who].contributor,
            address(ledger),
            abi.encodeCall(ledger.commitUpdate, (commitmentOf(_entries[who], round, base)))
        );
    }

    /// @dev The anchor of a coordinator that saw these entries, of which carol's did not arrive; one bit of the mean
    /// may be wrong.
    function _anchorOf(uint256[] memory order, bool isTrue) private view returns (IRoundLedger.Anchor memory made) {
        (made.weights, made.delivered) = (new uint32[](order.length), 0);
        uint256 counted;
        for (uint256 i = 0; i < order.length; ++i) {
            if (order[i] == 2) continue;
            made.weights[i] = 1;
            made.delivered |= 1 << i;
            counted |= 1 << order[i];
        }
        bytes memory mean = meanOf(made.weights, _inOrder(order));
        if (!isTrue) mean[7] ^= 0x01;
        made.meanRoot = MerkleTree.leaf(MerkleTree.Kind.Mean, mean);
        made.stateRoot = _nextRoots[counted];
        (made.verdictHash, made.artifactsHash) = (keccak256("verdicts"), keccak256("artifacts"));
    }

    function _inOrder(uint256[] memory order) private view returns (IJudge.Entry[] memory entries) {
        entries = new IJudge.Entry[](order.length);
        for (uint256 i = 0; i < order.length; ++i) {
            entries[i] = _entries[order[i]];
        }
    }

    function _anchoring(uint256[] memory order, bytes32 entriesHash, bool isTrue)
        private
        view
        returns (Transaction memory)
    {
        return Transaction(
            coordinator.addr,
            address(ledger),
            abi.encodeCall(ledger.anchor, (_round, entriesHash, _anchorOf(order, isTrue)))
        );
    }

    /// @dev A proof that the mean is wrong, by a watcher who saw these entries and this anchor.
    function _report(uint256[] memory order, IRoundLedger.Anchor memory made)
        private
        view
        returns (Transaction memory)
    {
        IJudge.Case memory case_ = IJudge.Case(_round, made, layoutOf(), DOCUMENT);
        IJudge.Opening memory claimed = IJudge.Opening(made.meanRoot, new bytes32[](0));
        return Transaction(
            challenger.addr, address(fraud), abi.encodeCall(fraud.proveMean, (case_, _inOrder(order), 0, claimed, ""))
        );
    }

    /// @dev What the ledger would have recorded, found by sending the commitments and forgetting them again.
    function _hashOf(uint256[] memory order) private returns (bytes32 entriesHash) {
        uint256 before = vm.snapshotState();
        for (uint256 i = 0; i < order.length; ++i) {
            vm.assertTrue(_send(_commit(order[i], _round, genesisState())), "committed");
        }
        entriesHash = entriesHashOf(_round);
        vm.assertTrue(vm.revertToState(before), "forgotten");
    }

    function _abc() private pure returns (uint256[] memory order) {
        order = new uint256[](3);
        (order[0], order[1], order[2]) = (0, 1, 2);
    }

    /// @dev The n-th order of so many things.
    function _permutation(uint256 n, uint256 count) private pure returns (uint256[] memory order) {
        order = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            order[i] = i;
        }
        for (uint256 i = 0; i < count; ++i) {
            uint256 j = i + n % (count - i);
            n /= count - i;
            (order[i], order[j]) = (order[j], order[i]);
        }
    }

    /// @dev Send them in an order; the first `early` of them before the end of the commit window.
    /// @return committed Who is recorded, in order.
    function _replay(Transaction[] memory all, uint256[] memory order, uint256 early)
        private
        returns (uint256[] memory committed)
    {
        uint256[] memory found = new uint256[](3);
        uint256 count;
        for (uint256 i = 0; i < order.length; ++i) {
            if (i == early) vm.warp(ledger.rounds(_round).commitDeadline);
            if (_send(all[order[i]]) && order[i] < 3) found[count++] = order[i];
        }
        committed = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            committed[i] = found[i];
        }
    }

    /// @dev The coordinator sees what is there now, and brings the round to an end.
    function _conclude(uint256[] memory committed) private {
        IRoundLedger.Round memory stored = ledger.rounds(_round);
        vm.assertEq(uint256(stored.entries), committed.length, "entries");
        if (stored.phase == IRoundLedger.Phase.Open) {
            if (block.timestamp < stored.commitDeadline) vm.warp(stored.commitDeadline);
            bool enough = committed.length >= policy().minContributors;
            if (enough) vm.assertTrue(_send(_anchoring(committed, stored.entriesHash, true)), "anchored anew");
            else ledger.cancel(_round);
        }
        if (ledger.phase(_round) != IRoundLedger.Phase.Anchored) return;
        // Nobody proves anything against it, whatever order of the entries is brought.
        IRoundLedger.Anchor memory made = _anchorOf(committed, true);
        vm.assertEq(ledger.rounds(_round).anchorHash, plainAnchorHash(made), "the anchor of the order that stands");
        vm.assertFalse(_send(_report(committed, made)), "an honest anchor was struck");
        vm.assertFalse(_send(_report(_abc(), _anchorOf(_abc(), true))), "an honest anchor was struck by an old proof");
        vm.warp(ledger.rounds(_round).challengeDeadline);
        ledger.finalize(_round);
        _settle(committed, made);
    }

    /// @dev Whoever had a weight is paid for it, and nobody else.
    function _settle(uint256[] memory committed, IRoundLedger.Anchor memory made) private {
        IRoundLedger.Entry[] memory entries = new IRoundLedger.Entry[](committed.length);
        uint256 paid;
        for (uint256 i = 0; i < committed.length; ++i) {
            IJudge.Entry memory entry = _entries[committed[i]];
            bytes32 hash = ledger.hashCommitment(commitmentOf(entry, _round, genesisState()));
            entries[i] = IRoundLedger.Entry(entry.contributor, hash);
        }
        rewards.settle(_round, entries, made);
        for (uint256 i = 0; i < committed.length; ++i) {
            uint256 amount = rewards.claimable(_entries[committed[i]].contributor);
            vm.assertEq(amount, committed[i] == 2 ? 0 : REWARD / policy().maxContributors, "who delivered is paid");
            paid += amount;
        }
        vm.assertLe(paid, REWARD, "paid");
    }

    /// @dev All stake is there, nothing is locked, and all of it can leave.
    function _assertNothingIsLocked(uint256 stake) private {
        vm.assertEq(vault.bondOf(coordinator.addr), 0, "no bond is locked");
        vm.assertEq(vault.stakeOf(coordinator.addr), stake, "stake of the coordinator");
        vm.prank(coordinator.addr);
        vault.requestUnbond(stake);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(vault.stakeOf(_entries[i].contributor), MIN_STAKE, "stake of a contributor");
            vm.prank(_entries[i].contributor);
            vault.requestUnbond(MIN_STAKE);
        }
    }

    /// @notice Audit M4: weights on the wrong entries, and an honest bond lost to `proveMean`.
    function test_M4_swappedCommitsMakeTheOldAnchorFail() public {
        uint256[] memory order = _abc();
        bytes32 seen = _hashOf(order);
        (order[1], order[2]) = (2, 1);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertTrue(_send(_commit(order[i], _round, genesisState())), "committed");
        }
        vm.warp(ledger.rounds(_round).commitDeadline);
        bytes32 recorded = entriesHashOf(_round);
        vm.prank(coordinator.addr);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRecordMismatch.selector, seen, recorded));
        ledger.anchor(_round, seen, _anchorOf(_abc(), true));
        _conclude(order);
        _assertNothingIsLocked(5 * BOND);
    }

    /// @notice Three commitments, an honest anchor and a proof against it, in all 120 orders, with the end of the commit
    /// window after two of them or later: before, too few would be recorded.
    function test_M4_noOrderTakesAnHonestBondOrLocksIt() public {
        uint256 anchored;
        for (uint256 n = 0; n < 120; ++n) {
            for (uint256 early = 2; early <= 5; ++early) {
                uint256 before = vm.snapshotState();
                // A call of its own, for its memory.
                if (this.replayAll(n, early)) ++anchored;
                vm.assertTrue(vm.revertToState(before), "the chain forgets");
            }
        }
        // The three in their order and within the window, the anchor after its end, the proof anywhere.
        vm.assertEq(anchored, 6, "orders in which the old anchor is right");
    }

    function replayAll(uint256 n, uint256 early) external returns (bool anchored) {
        Transaction[] memory all = new Transaction[](5);
        for (uint256 i = 0; i < 3; ++i) {
            all[i] = _commit(i, _round, genesisState());
        }
        all[3] = _anchoring(_abc(), _hashOf(_abc()), true);
        all[4] = _report(_abc(), _anchorOf(_abc(), true));
        uint256[] memory committed = _replay(all, _permutation(n, 5), early);
        anchored = ledger.phase(_round) == IRoundLedger.Phase.Anchored;
        _conclude(committed);
        _assertNothingIsLocked(5 * BOND);
    }

    /// @notice A coordinator lied on the chain that is gone and says the truth now: the report of the lie strikes it not.
    function test_M4_theReportOfALieDoesNotStrikeTheTruth() public {
        bytes32 entriesHash = _hashOf(_abc());
        Transaction memory report = _report(_abc(), _anchorOf(_abc(), false));
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertTrue(_send(_commit(i, _round, genesisState())), "committed");
        }
        vm.warp(ledger.rounds(_round).commitDeadline);
        uint256 before = vm.snapshotState();
        vm.assertTrue(_send(_anchoring(_abc(), entriesHash, false)), "a lie");
        vm.assertTrue(_send(report), "proven");
        vm.assertTrue(vm.revertToState(before), "the chain forgets");
        vm.assertFalse(_send(report), "a report before the anchor");
        vm.assertTrue(_send(_anchoring(_abc(), entriesHash, true)), "the truth");
        vm.assertFalse(_send(report), "a report of what was not anchored");
        _conclude(_abc());
        _assertNothingIsLocked(5 * BOND);
    }

    /// @notice A lie, the round that builds on it, a commitment to that one and the report, in each order that keeps the
    /// order of each sender: the lie costs one bond, once the report can be sent again, and nothing stays locked.
    function test_M4_noOrderSavesALieOrLocksWhatBuildsOnIt() public {
        bytes32 entriesHash = _hashOf(_abc());
        Transaction[] memory all = new Transaction[](4);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertTrue(_send(_commit(i, _round, genesisState())), "committed");
        }
        vm.warp(ledger.rounds(_round).commitDeadline);
        IRoundLedger.Anchor memory lie = _anchorOf(_abc(), false);
        all[0] = _anchoring(_abc(), entriesHash, false);
        all[3] = _report(_abc(), lie);
        uint256 start = vm.snapshotState();
        vm.assertTrue(_send(all[0]), "a lie");
        vm.roll(block.number + 1);
        RoundId next = ledger.nextRound();
        all[1] = _opening();
        all[2] = _commit(0, next, lie.stateRoot);
        vm.assertTrue(vm.revertToState(start), "the chain forgets");
        uint256 opened;
        for (uint256 n = 0; n < 24; ++n) {
            start = vm.snapshotState();
            uint256[] memory order = _permutation(n, 4);
            for (uint256 i = 0; i < 4; ++i) {
                vm.roll(block.number + 1);
                vm.warp(block.timestamp + 1);
                if (_send(all[order[i]]) && order[i] == 1) ++opened;
            }
            if (ledger.phase(_round) == IRoundLedger.Phase.Anchored) vm.assertTrue(_send(all[3]), "sent again");
            vm.assertEq(
                uint256(ledger.phase(_round)), uint256(IRoundLedger.Phase.Slashed), "the lie is caught in the end"
            );
            vm.assertEq(token.balanceOf(challenger.addr), BOND / 4, "once");
            _assertNothingIsLocked(4 * BOND);
            vm.assertTrue(vm.revertToState(start), "the chain forgets");
        }
        vm.assertGt(opened, 0, "orders in which the next round was opened");
    }
}
