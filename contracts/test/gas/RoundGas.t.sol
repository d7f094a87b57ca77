// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { fullPays } from "../utils/Anchors.sol";
import { RoundTest } from "../utils/RoundTest.sol";

/// @dev What each of a hundred updates may cost. A byte of an entry costs 16 in the call data and 8 in the event.
uint256 constant GAS_OF_AN_UPDATE = 11_700;

/// @notice What a round costs. The figures are whole transactions, call data included, and are kept in snapshots/.
/// @dev With FORGE_SNAPSHOT_CHECK=true a figure that changes fails; without it the new ones are written. Say in the
/// commit why they changed. The bounds that are asserted are the ones that the design counts on.
contract RoundGasTest is RoundTest {
    uint256 private constant CONTRIBUTORS = 100;

    Actor[] private crowd;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            Actor memory member = actor(string.concat("contributor ", vm.toString(i)));
            crowd.push(member);
            giveStake(member.addr, MIN_STAKE);
            enrol(member.addr);
        }
    }

    function _batch(RoundId round, uint256 size)
        private
        view
        returns (IRoundLedger.Commitment[] memory commitments, bytes memory batch)
    {
        commitments = new IRoundLedger.Commitment[](size);
        for (uint256 i = 0; i < size; ++i) {
            commitments[i] = commitmentOf(crowd[i].addr, round);
            batch = bytes.concat(batch, batchOf(crowd[i], commitments[i]));
        }
    }

    function _anchorOf(RoundId round) private pure returns (IRoundLedger.Anchor memory) {
        uint32[] memory weights = new uint32[](CONTRIBUTORS);
        for (uint32 i = 0; i < CONTRIBUTORS; ++i) {
            weights[i] = 1000 + i;
        }
        return _paid(round, weights);
    }

    function _paid(RoundId round, uint32[] memory weights) private pure returns (IRoundLedger.Anchor memory made) {
        made = anchorWith(round, weights);
        made.pays = fullPays("clamped_mean", weights);
    }

    function _entries(IRoundLedger.Commitment[] memory commitments)
        private
        view
        returns (IRoundLedger.Entry[] memory entries)
    {
        entries = new IRoundLedger.Entry[](commitments.length);
        for (uint256 i = 0; i < commitments.length; ++i) {
            entries[i] = IRoundLedger.Entry(commitments[i].contributor, ledger.hashCommitment(commitments[i]));
        }
    }

    /// @dev Under the default rule, whose anchors have pays.
    function test_gas_aRoundOfAHundred() public {
        IPolicies.Policy memory clamped = policy();
        clamped.rule = "clamped_mean";
        vm.prank(address(timelock));
        policies.addPolicy(clamped);
        RoundId round = open();
        vm.snapshotGasLastCall("RoundLedger", "openRound, the first of a policy");

        (IRoundLedger.Commitment[] memory commitments, bytes memory batch) = _batch(round, CONTRIBUTORS);
        vm.prank(stranger.addr);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        uint256 gas = vm.snapshotGasLastCall("RoundLedger", "commitUpdates, 100 signed");
        vm.assertLe(gas, CONTRIBUTORS * GAS_OF_AN_UPDATE, "a batch of 100 signed commitments");

        skipCommitWindow(round);
        IRoundLedger.Anchor memory anchor = _anchorOf(round);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        vm.assertLe(vm.snapshotGasLastCall("RoundLedger", "anchor, 100 entries"), 300_000, "anchor");

        skipChallengeWindow(round);
        ledger.finalize(round);
        vm.snapshotGasLastCall("RoundLedger", "finalize");

        rewards.settle(round, _entries(commitments), anchor);
        vm.snapshotGasLastCall("Rewards", "settle, 100 entries");

        rewards.claim(crowd[0].addr);
        vm.snapshotGasLastCall("Rewards", "claim");

        open();
        vm.snapshotGasLastCall("RoundLedger", "openRound");
    }

    function test_gas_ofOpeningWithADraw() public {
        IPolicies.Policy memory small = policy();
        (small.minContributors, small.maxContributors) = (1, 64);
        vm.prank(address(timelock));
        policies.addPolicy(small);
        vm.roll(block.number + 1);
        RoundId round = open();
        commitOwn(coordinator, round);
        skipCommitWindow(round);
        uint32[] memory weights = new uint32[](1);
        weights[0] = 1;
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchorWith(round, weights));
        vm.roll(block.number + 1);
        round = open();
        vm.snapshotGasLastCall("RoundLedger", "openRound, places drawn");
        vm.assertGt(ledger.draws(round).quota, 0, "places were drawn");
    }

    function test_gas_oneCommitment() public {
        RoundId round = open();
        IRoundLedger.Commitment memory commitment = commitmentOf(crowd[0].addr, round);
        vm.prank(crowd[0].addr);
        ledger.commitUpdate(commitment);
        vm.snapshotGasLastCall("RoundLedger", "commitUpdate, the first of a round");
        commitment = commitmentOf(crowd[1].addr, round);
        vm.prank(crowd[1].addr);
        ledger.commitUpdate(commitment);
        vm.snapshotGasLastCall("RoundLedger", "commitUpdate, a later one");
    }

    function test_gas_aFullRoundOf256FitsATransaction() public {
        IPolicies.Policy memory large = policy();
        (large.maxContributors, large.rule) = (256, "clamped_mean");
        vm.prank(address(timelock));
        policies.addPolicy(large);
        Actor[3] memory others = [alice, bob, carol];
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(others[i].addr);
            ledger.leave();
        }
        for (uint256 i = CONTRIBUTORS; i < 255; ++i) {
            Actor memory member = actor(string.concat("contributor ", vm.toString(i)));
            crowd.push(member);
            giveStake(member.addr, MIN_STAKE);
            enrol(member.addr);
        }
        crowd.push(coordinator);
        RoundId round = open();
        (IRoundLedger.Commitment[] memory commitments, bytes memory batch) = _batch(round, 256);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        uint256 gas = vm.snapshotGasLastCall("RoundLedger", "commitUpdates, 256 signed");
        vm.assertLe(gas, 16_777_216, "the cap of a transaction (EIP-7825)");

        skipCommitWindow(round);
        uint32[] memory weights = new uint32[](256);
        for (uint256 i = 0; i < 256; ++i) {
            weights[i] = 65_000;
        }
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), _paid(round, weights));
        skipChallengeWindow(round);
        ledger.finalize(round);
        rewards.settle(round, _entries(commitments), _paid(round, weights));
        uint256 settlement = vm.snapshotGasLastCall("Rewards", "settle, 256 entries");
        vm.assertLe(settlement, 16_777_216, "the cap of a transaction (EIP-7825)");
    }

    function test_gas_theLongestFallBackFitsATransaction() public {
        IPolicies.Policy memory quick = policy();
        (quick.commitWindow, quick.challengeWindow) = (1, 6 days);
        vm.prank(address(timelock));
        policies.addPolicy(quick);
        giveStake(coordinator.addr, 256 * BOND);
        for (uint256 i = 0; i < ledger.MAX_PENDING_ROUNDS(); ++i) {
            anchored();
        }
        report(id(1));
        uint256 gas = vm.snapshotGasLastCall("RoundLedger", "reportFraud, 256 pending rounds");
        vm.assertLe(gas, 250_000, "gas of the longest fall-back");
        assertHead(id(0), "head");
    }

    function test_gas_ofClosingEarly() public {
        Actor[2] memory added = [actor("added"), actor("added later")];
        for (uint256 i = 0; i < 2; ++i) {
            giveStake(added[i].addr, MIN_STAKE);
            vm.prank(added[i].addr);
            ledger.enrol(MIN_STAKE);
            vm.snapshotGasLastCall("RoundLedger", i == 0 ? "enrol, first of a second" : "enrol, a later one");
            vm.prank(added[i].addr);
            ledger.leave();
        }
        RoundId round = open();
        address last = crowd[CONTRIBUTORS - 1].addr;
        vm.prank(last);
        ledger.leave();
        vm.snapshotGasLastCall("RoundLedger", "leave");
        vm.prank(last);
        ledger.enrol(MIN_STAKE);
        vm.snapshotGasLastCall("RoundLedger", "enrol, while a round is open");
        (, bytes memory batch) = _batch(round, CONTRIBUTORS - 1);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        commitThree(round);
        vm.prank(coordinator.addr);
        ledger.closeCommits(round);
        uint256 close = vm.snapshotGasLastCall("RoundLedger", "closeCommits, 100 enrolled");
        vm.assertLe(close, 60_000, "closeCommits");

        vm.warp(ledger.rounds(round).anchorDeadline);
        ledger.cancel(round);
        round = open();
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
        vm.snapshotGasLastCall("RoundLedger", "cancelEmpty");
    }

    function test_gas_ofRemoving() public {
        for (uint256 i = 0; i < 3; ++i) {
            anchored();
        }
        vm.prank(stranger.addr);
        ledger.remove(crowd[0].addr);
        vm.snapshotGasLastCall("RoundLedger", "remove, absent for three rounds");
    }

    function test_gas_ofStaking() public {
        vm.prank(treasury.addr);
        vault.stake(treasury.addr, 10e18);
        vm.snapshotGasLastCall("StakeVault", "stake, the first time");
        vm.prank(treasury.addr);
        vault.requestUnbond(5e18);
        vm.snapshotGasLastCall("StakeVault", "requestUnbond");
        vm.warp(block.timestamp + UNBONDING_PERIOD);
        vm.prank(treasury.addr);
        vault.withdraw();
        vm.snapshotGasLastCall("StakeVault", "withdraw");
    }
}

/// @notice A hundred members whose numbers are in several words of 256, each of which is a storage slot more.
contract SpreadRoundGasTest is RoundTest {
    uint256 private constant CONTRIBUTORS = 100;

    /// @dev Record a hundred members of so many words, as if all other numbers of these were given to somebody else.
    /// Either by their numbers, or so that no two that follow each other are of one word.
    function _commitSpread(uint256 words, bool byNumber, string memory name) private returns (uint256 gas) {
        Actor[] memory crowd = new Actor[](CONTRIBUTORS);
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            crowd[i] = actor(string.concat("contributor ", vm.toString(i)));
            uint256 word = byNumber ? (i * words) / CONTRIBUTORS : i % words;
            enrolAs(crowd[i].addr, 256 * (word + 1) + i);
        }
        RoundId round = open();
        bytes memory batch;
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            batch = bytes.concat(batch, batchOf(crowd[i], commitmentOf(crowd[i].addr, round)));
        }
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        gas = vm.snapshotGasLastCall("RoundLedger", name);
        vm.assertEq(uint256(ledger.rounds(round).entries), CONTRIBUTORS, "entries");
    }

    function test_gas_ofMembersByTheirNumbers() public {
        uint256 gas = _commitSpread(3, true, "commitUpdates, 100 signed of 768 members, by number");
        vm.assertLe(gas, CONTRIBUTORS * GAS_OF_AN_UPDATE, "three words");
    }

    function test_gas_ofMembersInTheDearestOrder() public {
        uint256 gas = _commitSpread(3, false, "commitUpdates, 100 signed of 768 members, in the dearest order");
        vm.assertLe(gas, CONTRIBUTORS * (GAS_OF_AN_UPDATE + 360), "three words, again and again");
    }

    /// @dev Of at least 25,600 members, each of whom enrolled with the minimum stake at some time.
    function test_gas_ofMembersOfAsManyWords() public {
        uint256 gas = _commitSpread(CONTRIBUTORS, true, "commitUpdates, 100 signed of 25,600 members, one a word");
        vm.assertLe(gas, CONTRIBUTORS * (GAS_OF_AN_UPDATE + 22_100), "a storage slot more for each");
    }
}
