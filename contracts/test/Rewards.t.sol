// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Rewards } from "../src/Rewards.sol";
import { IMootToken } from "../src/interfaces/IMootToken.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRewards } from "../src/interfaces/IRewards.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { plainAnchorHash } from "./utils/Anchors.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice What a final round pays, to whom, and once.
contract RewardsTest is RoundTest {
    /// @dev What an entry of full weight is paid.
    uint256 private constant SHARE = uint256(REWARD) / 128;

    RoundId private round;

    function setUp() public override {
        super.setUp();
        round = open();
        commitThree(round);
    }

    function test_constructor_failsWithoutWhatItNeeds() public {
        vm.expectRevert(abi.encodeWithSelector(IRewards.RewardsZeroAddress.selector));
        new Rewards(IRoundLedger(address(0)), token);
        vm.expectRevert(abi.encodeWithSelector(IRewards.RewardsZeroAddress.selector));
        new Rewards(ledger, IMootToken(address(0)));
    }

    function _settled() private returns (IRoundLedger.Entry[] memory entries) {
        entries = threeEntries(round);
        skipCommitWindow(round);
        anchorNow(round);
        skipChallengeWindow(round);
        ledger.finalize(round);
        rewards.settle(round, entries, anchorFor(round));
    }

    function test_settle_creditsByWeightRelativeToTheLargest() public {
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        skipCommitWindow(round);
        anchorNow(round);
        skipChallengeWindow(round);
        ledger.finalize(round);
        vm.expectEmit(address(rewards));
        emit IRewards.RewardCredited(round, alice.addr, SHARE);
        vm.expectEmit(address(rewards));
        emit IRewards.RewardCredited(round, bob.addr, SHARE * 3 / 5);
        vm.expectEmit(address(rewards));
        emit IRewards.RewardCredited(round, carol.addr, SHARE / 5);
        vm.expectEmit(address(rewards));
        emit IRewards.RoundSettled(round);
        vm.prank(stranger.addr);
        rewards.settle(round, entries, anchorFor(round));
        vm.assertEq(rewards.claimable(alice.addr), SHARE, "claimable by alice");
        vm.assertTrue(rewards.isSettled(round), "settled");
    }

    function test_settle_creditsNothingForWeightZero() public {
        uint32[] memory weights = new uint32[](3);
        weights[1] = 7;
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        skipCommitWindow(round);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchorWith(round, weights));
        skipChallengeWindow(round);
        ledger.finalize(round);
        vm.recordLogs();
        rewards.settle(round, entries, anchorWith(round, weights));
        vm.assertEq(vm.getRecordedLogs().length, 2, "one credit, and the settlement");
        vm.assertEq(rewards.claimable(alice.addr), 0, "claimable by alice");
        vm.assertEq(rewards.claimable(bob.addr), SHARE, "the share of a place: bob gains nothing by the others' loss");
    }

    function test_settle_failsTwice() public {
        IRoundLedger.Entry[] memory entries = _settled();
        vm.expectRevert(abi.encodeWithSelector(IRewards.RewardsAlreadySettled.selector, round));
        rewards.settle(round, entries, anchorFor(round));
    }

    function test_settle_failsBeforeTheRoundIsFinal() public {
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        skipCommitWindow(round);
        anchorNow(round);
        vm.expectRevert(abi.encodeWithSelector(IRewards.RewardsNotFinal.selector, round, IRoundLedger.Phase.Anchored));
        rewards.settle(round, entries, anchorFor(round));
    }

    function test_settle_failsWithOtherEntriesOrWeights() public {
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        bytes32 recorded = ledger.rounds(round).entriesHash;
        skipCommitWindow(round);
        anchorNow(round);
        skipChallengeWindow(round);
        ledger.finalize(round);

        IRoundLedger.Entry[] memory fewer = new IRoundLedger.Entry[](0);
        vm.expectRevert(abi.encodeWithSelector(IRewards.RewardsRecordMismatch.selector, bytes32(0), recorded));
        rewards.settle(round, fewer, anchorFor(round));

        IRoundLedger.Anchor memory other = anchorFor(round);
        other.weights[2] = 9;
        bytes32 anchorHash = ledger.rounds(round).anchorHash;
        vm.expectRevert(
            abi.encodeWithSelector(IRewards.RewardsRecordMismatch.selector, plainAnchorHash(other), anchorHash)
        );
        rewards.settle(round, entries, other);
    }

    function test_settle_theGenesisPaysNobody() public {
        // Nothing hashes to the zero that the genesis has for an anchor.
        bytes32 given = plainAnchorHash(anchorFor(id(0)));
        vm.expectRevert(abi.encodeWithSelector(IRewards.RewardsRecordMismatch.selector, given, bytes32(0)));
        rewards.settle(id(0), new IRoundLedger.Entry[](0), anchorFor(id(0)));
    }

    function test_claim_mintsWhatWasCredited() public {
        _settled();
        vm.expectEmit(address(rewards));
        emit IRewards.RewardClaimed(alice.addr, SHARE);
        vm.prank(stranger.addr);
        uint256 amount = rewards.claim(alice.addr);
        vm.assertEq(amount, SHARE, "claimed");
        vm.assertEq(token.balanceOf(alice.addr), SHARE, "balance");
        vm.assertEq(token.totalSupply(), GENESIS_SUPPLY + SHARE, "supply");
        vm.assertEq(rewards.claimable(alice.addr), 0, "claimable");
    }

    function test_claim_failsWithNothingToClaim() public {
        _settled();
        rewards.claim(alice.addr);
        vm.expectRevert(abi.encodeWithSelector(IRewards.RewardsNothingToClaim.selector, alice.addr));
        rewards.claim(alice.addr);
    }

    function test_claim_addsUpOverRounds() public {
        _settled();
        RoundId second = open();
        commitThree(second);
        IRoundLedger.Entry[] memory entries = threeEntries(second);
        skipCommitWindow(second);
        anchorNow(second);
        skipChallengeWindow(second);
        ledger.finalize(second);
        rewards.settle(second, entries, anchorFor(second));
        vm.assertEq(rewards.claim(bob.addr), 2 * (SHARE * 3 / 5), "of two rounds");
    }

    // What pays and what does not, for any weights.

    /// @dev What alice, bob and carol are credited for a round with these weights. A fourth weight is the coordinator's.
    function _credited(uint32[] memory weights) private returns (uint256[3] memory credits) {
        return _credited(weights, new uint32[](0));
    }

    /// @dev The same for a round under the rule of the current policy, with these pays.
    function _credited(uint32[] memory weights, uint32[] memory pays) private returns (uint256[3] memory credits) {
        RoundId latest = open();
        commitThree(latest);
        IRoundLedger.Entry[] memory entries = threeEntries(latest);
        if (weights.length == 4) {
            commitOwn(coordinator, latest);
            entries = new IRoundLedger.Entry[](4);
            for (uint256 i = 0; i < 3; ++i) {
                entries[i] = threeEntries(latest)[i];
            }
            entries[3] =
                IRoundLedger.Entry(coordinator.addr, ledger.hashCommitment(commitmentOf(coordinator.addr, latest)));
        }
        skipCommitWindow(latest);
        IRoundLedger.Anchor memory anchor = anchorWith(latest, weights);
        anchor.pays = pays;
        vm.prank(coordinator.addr);
        ledger.anchor(latest, entriesHashOf(latest), anchor);
        skipChallengeWindow(latest);
        ledger.finalize(latest);
        uint256[3] memory before = _claimable();
        rewards.settle(latest, entries, anchor);
        uint256[3] memory afterwards = _claimable();
        for (uint256 i = 0; i < 3; ++i) {
            credits[i] = afterwards[i] - before[i];
        }
        vm.assertEq(rewards.claimable(coordinator.addr), 0, "the coordinator's own entry is never paid");
    }

    function _claimable() private view returns (uint256[3] memory) {
        return [rewards.claimable(alice.addr), rewards.claimable(bob.addr), rewards.claimable(carol.addr)];
    }

    function _cancelFirst() private {
        vm.warp(ledger.rounds(round).anchorDeadline);
        ledger.cancel(round);
    }

    /// @dev Weights of alice, bob and carol; all below a third of what they may add up to, with one above zero.
    function _three(uint32 a, uint32 b, uint32 c) private pure returns (uint32[] memory weights) {
        weights = new uint32[](3);
        weights[0] = uint32(bound(a, 0, 5_000_000));
        weights[1] = uint32(bound(b, 0, 5_000_000));
        weights[2] = uint32(bound(c, 1, 5_000_000));
    }

    function testFuzz_settle_neverCreditsMoreThanTheReward(uint32 a, uint32 b, uint32 c) public {
        _cancelFirst();
        uint32[] memory weights = _three(a, b, c);
        uint256 largest = weights[0] > weights[1] ? weights[0] : weights[1];
        if (weights[2] > largest) largest = weights[2];
        uint256[3] memory credits = _credited(weights);
        vm.assertLe(credits[0] + credits[1] + credits[2], REWARD, "credited");
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertLe(credits[i], SHARE, "nobody gets more than the share of a place");
            vm.assertEq(credits[i], uint256(REWARD) * weights[i] / (128 * largest), "the formula");
            if (weights[i] == largest) {
                vm.assertEq(credits[i], SHARE, "the largest weight is paid in full");
            }
            if (weights[i] == 0) vm.assertEq(credits[i], 0, "weight zero");
        }
    }

    function testFuzz_settle_paysNobodyForAnothersLoss(uint32 a, uint32 b, uint32 c, uint32 lower) public {
        _cancelFirst();
        uint32[] memory weights = _three(a, b, c);
        uint256[3] memory full = _credited(weights);
        bool largest = weights[1] > weights[0] && weights[1] > weights[2];
        weights[1] = uint32(bound(lower, 0, weights[1]));
        uint256[3] memory left = _credited(weights);
        vm.assertLe(left[1], full[1], "who counts less is not paid more");
        if (!largest) {
            vm.assertEq(left[0], full[0], "alice gets what she got");
            vm.assertEq(left[2], full[2], "carol gets what she got");
        }
        vm.assertLe(left[0] + left[1] + left[2], REWARD, "credited");
    }

    function testFuzz_settle_leavesOutTheCoordinatorsOwnEntry(uint32 a, uint32 b, uint32 c) public {
        _cancelFirst();
        uint32[] memory weights = _three(a, b, c);
        uint256[3] memory without = _credited(weights);
        uint32[] memory withRoot = new uint32[](4);
        (withRoot[0], withRoot[1], withRoot[2]) = (weights[0], weights[1], weights[2]);
        uint256[3] memory credits = _credited(withRoot);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(credits[i], without[i], "a root update changes no payment");
        }
    }

    function _usePays() private {
        IPolicies.Policy memory clamped = policy();
        clamped.rule = "clamped_mean";
        vm.prank(address(timelock));
        policies.addPolicy(clamped);
    }

    function testFuzz_settle_paysByThePaysWhereThereAreSome(uint32[4] memory given, uint32[4] memory heavy) public {
        _cancelFirst();
        _usePays();
        (uint32[] memory weights, uint32[] memory pays) = (new uint32[](4), new uint32[](4));
        for (uint256 i = 0; i < 4; ++i) {
            weights[i] = uint32(bound(heavy[i], 1, 4_000_000));
            pays[i] = uint32(bound(given[i], 0, 65_536));
        }
        uint256[3] memory credits = _credited(weights, pays);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(credits[i], uint256(REWARD) * pays[i] / (128 * 65_536), "the formula, whatever the weights");
            vm.assertLe(credits[i], SHARE, "nobody gets more than the share of a place");
        }
        vm.assertLe(credits[0] + credits[1] + credits[2], REWARD, "credited");
    }

    function test_settle_paysAPlaceForAFullPay() public {
        _cancelFirst();
        _usePays();
        (uint32[] memory weights, uint32[] memory pays) = (new uint32[](3), new uint32[](3));
        for (uint256 i = 0; i < 3; ++i) {
            (weights[i], pays[i]) = (1, 65_536);
        }
        uint256[3] memory credits = _credited(weights, pays);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(credits[i], SHARE, "a full place");
        }
    }

    function test_settle_failsWithOtherPays() public {
        _cancelFirst();
        _usePays();
        RoundId latest = open();
        commitThree(latest);
        skipCommitWindow(latest);
        IRoundLedger.Anchor memory anchor = anchorFor(latest);
        anchor.pays = new uint32[](3);
        vm.prank(coordinator.addr);
        ledger.anchor(latest, entriesHashOf(latest), anchor);
        bytes32 recorded = plainAnchorHash(anchor);
        skipChallengeWindow(latest);
        ledger.finalize(latest);
        IRoundLedger.Entry[] memory entries = threeEntries(latest);
        anchor.pays[0] = 1;
        bytes memory failure =
            abi.encodeWithSelector(IRewards.RewardsRecordMismatch.selector, plainAnchorHash(anchor), recorded);
        vm.expectRevert(failure);
        rewards.settle(latest, entries, anchor);
        anchor.pays = new uint32[](0);
        failure = abi.encodeWithSelector(IRewards.RewardsRecordMismatch.selector, plainAnchorHash(anchor), recorded);
        vm.expectRevert(failure);
        rewards.settle(latest, entries, anchor);
    }

    function test_settle_paysNothingForAWeightThatTheCoordinatorGivesItself() public {
        _cancelFirst();
        uint32[] memory weights = new uint32[](4);
        (weights[0], weights[3]) = (1, 4);
        uint256[3] memory credits = _credited(weights);
        vm.assertEq(credits[0], SHARE / 4, "alice");
        vm.assertEq(credits[1] + credits[2], 0, "the others");
    }

    function test_settle_paysNobodyWhereAllEntriesAreTheCoordinators() public {
        _cancelFirst();
        IPolicies.Policy memory lonely = policy();
        lonely.minContributors = 1;
        vm.prank(address(timelock));
        policies.addPolicy(lonely);
        RoundId latest = open();
        commitOwn(coordinator, latest);
        IRoundLedger.Entry[] memory entries = new IRoundLedger.Entry[](1);
        entries[0] = IRoundLedger.Entry(coordinator.addr, ledger.hashCommitment(commitmentOf(coordinator.addr, latest)));
        uint32[] memory weights = new uint32[](1);
        weights[0] = 1;
        skipCommitWindow(latest);
        vm.prank(coordinator.addr);
        ledger.anchor(latest, entriesHashOf(latest), anchorWith(latest, weights));
        skipChallengeWindow(latest);
        ledger.finalize(latest);
        rewards.settle(latest, entries, anchorWith(latest, weights));
        vm.assertEq(rewards.claimable(coordinator.addr), 0, "claimable");
        vm.assertTrue(rewards.isSettled(latest), "settled");
    }

    // N1: leaving others out.

    /// @dev A round in which the accounts commit, all with one weight, and what the first two are paid for it.
    function _paidToTwo(Actor[] memory recorded) private returns (uint256) {
        uint256 before = rewards.claimable(recorded[0].addr) + rewards.claimable(recorded[1].addr);
        RoundId latest = open();
        IRoundLedger.Entry[] memory entries = new IRoundLedger.Entry[](recorded.length);
        uint32[] memory weights = new uint32[](recorded.length);
        for (uint256 i = 0; i < recorded.length; ++i) {
            commitOwn(recorded[i], latest);
            bytes32 hash = ledger.hashCommitment(commitmentOf(recorded[i].addr, latest));
            (entries[i], weights[i]) = (IRoundLedger.Entry(recorded[i].addr, hash), 7);
        }
        skipCommitWindow(latest);
        vm.prank(coordinator.addr);
        ledger.anchor(latest, entriesHashOf(latest), anchorWith(latest, weights));
        skipChallengeWindow(latest);
        ledger.finalize(latest);
        rewards.settle(latest, entries, anchorWith(latest, weights));
        return rewards.claimable(recorded[0].addr) + rewards.claimable(recorded[1].addr) - before;
    }

    /// @notice Two puppets whose coordinator leaves three others out earn what they earn beside them.
    function test_N1_twoPuppetsThatLeaveThreeOthersOutEarnNoMore() public {
        _cancelFirst();
        Actor[] memory all = new Actor[](5);
        (all[0], all[1], all[2], all[3], all[4]) = (actor("puppet 1"), actor("puppet 2"), alice, bob, carol);
        for (uint256 i = 0; i < 2; ++i) {
            giveStake(all[i].addr, MIN_STAKE);
            enrol(all[i].addr);
        }
        Actor[] memory puppets = new Actor[](2);
        (puppets[0], puppets[1]) = (all[0], all[1]);
        uint256 fair = _paidToTwo(all);
        vm.assertEq(fair, 2 * SHARE, "two shares beside the others");
        vm.assertEq(_paidToTwo(puppets), fair, "two shares without them");
    }

    /// @notice Pay is in proportion to the places that an account gets, so where places go by lots of enrolled stake,
    /// an account earns on average by its stake alone, as a full quota or as many small ones (N8).
    function testFuzz_N8_aShareDoesNotDependOnHowManyAreRecorded(uint256 count) public {
        _cancelFirst();
        count = bound(count, 2, 20);
        Actor[] memory recorded = new Actor[](count);
        for (uint256 i = 0; i < count; ++i) {
            recorded[i] = actor(string.concat("member ", vm.toString(i)));
            giveStake(recorded[i].addr, MIN_STAKE);
            enrol(recorded[i].addr);
        }
        vm.assertEq(_paidToTwo(recorded), 2 * SHARE, "two shares");
    }
}
