// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IModelRegistry } from "../src/interfaces/IModelRegistry.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { plainAnchorHash } from "./utils/Anchors.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice Anchoring, finality and rewards.
contract RoundLedgerAnchorTest is RoundTest {
    RoundId private round;

    function setUp() public override {
        super.setUp();
        round = open();
        commitThree(round);
    }

    function _expectAnchorFailure(IRoundLedger.Anchor memory anchor, bytes memory failure) private {
        vm.expectRevert(failure);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
    }

    function _settled() private returns (IRoundLedger.Entry[] memory entries) {
        entries = threeEntries(round);
        skipCommitWindow(round);
        anchorNow(round);
        skipChallengeWindow(round);
        ledger.finalize(round);
        ledger.settle(round, entries, anchorFor(round));
    }

    // Anchoring.

    function test_anchor_movesTheHead() public {
        skipCommitWindow(round);
        IRoundLedger.Anchor memory anchor = anchorFor(round);
        uint40 deadline = uint40(block.timestamp) + CHALLENGE_WINDOW;
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundAnchored(round, anchor, deadline);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        IRoundLedger.Round memory stored = ledger.rounds(round);
        assertPhase(round, IRoundLedger.Phase.Anchored, "phase");
        vm.assertEq(stored.stateRoot, anchor.stateRoot, "state root");
        vm.assertEq(stored.anchorHash, plainAnchorHash(anchor), "anchor hash");
        vm.assertEq(uint256(stored.challengeDeadline), deadline, "challenge deadline");
        assertHead(round, "head");
    }

    /// @dev The event's data against what Solidity encodes, and the hash with it.
    function testFuzz_anchor_recordsAnyAnchor(IRoundLedger.Anchor memory anchor, uint32[3] memory given) public {
        uint32[] memory weights = new uint32[](3);
        for (uint256 i = 0; i < 3; ++i) {
            weights[i] = uint32(bound(given[i], 1, 5_000_000));
        }
        anchor.weights = weights;
        vm.assume(anchor.meanRoot != 0 && anchor.stateRoot != 0);
        vm.assume(anchor.verdictHash != 0 && anchor.artifactsHash != 0);
        skipCommitWindow(round);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundAnchored(round, anchor, uint40(block.timestamp) + CHALLENGE_WINDOW);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        vm.assertEq(ledger.rounds(round).anchorHash, plainAnchorHash(anchor), "anchor hash");
    }

    function test_anchor_failsForAnotherCoordinator() public {
        skipCommitWindow(round);
        IRoundLedger.Anchor memory anchor = anchorFor(round);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCoordinator.selector, alice.addr, coordinator.addr)
        );
        vm.prank(alice.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
    }

    function test_anchor_failsDuringTheCommitWindow() public {
        uint256 deadline = START + COMMIT_WINDOW;
        vm.warp(deadline - 1);
        _expectAnchorFailure(
            anchorFor(round),
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooEarly.selector, round, deadline - 1, deadline)
        );
    }

    function test_anchor_failsAfterTheAnchorWindow() public {
        uint256 deadline = START + COMMIT_WINDOW + ANCHOR_WINDOW;
        vm.warp(deadline);
        _expectAnchorFailure(
            anchorFor(round),
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooLate.selector, round, deadline, deadline)
        );
        vm.warp(deadline - 1);
        anchorNow(round);
        assertPhase(round, IRoundLedger.Phase.Anchored, "in the last second");
    }

    function test_anchor_failsTwice() public {
        skipCommitWindow(round);
        anchorNow(round);
        _expectAnchorFailure(
            anchorFor(round),
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector,
                round,
                IRoundLedger.Phase.Anchored,
                IRoundLedger.Phase.Committed
            )
        );
    }

    function test_anchor_failsWithTooFewUpdates() public {
        skipCommitWindow(round);
        vm.warp(ledger.rounds(round).anchorDeadline);
        ledger.cancel(round);
        round = open();
        commitOwn(alice, round);
        skipCommitWindow(round);
        uint32[] memory weights = new uint32[](1);
        weights[0] = 1;
        _expectAnchorFailure(
            anchorWith(round, weights),
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooFewUpdates.selector, round, 1, 2)
        );
    }

    function test_anchor_failsWithAWeightMissing() public {
        skipCommitWindow(round);
        _expectAnchorFailure(
            anchorWith(round, new uint32[](2)),
            abi.encodeWithSelector(IRoundLedger.RoundLedgerLengthMismatch.selector, 2, 3)
        );
    }

    function test_anchor_failsWithImpossibleWeights() public {
        skipCommitWindow(round);
        uint256 max = ledger.MAX_WEIGHT_SUM();
        uint32[] memory weights = new uint32[](3);
        _expectAnchorFailure(
            anchorWith(round, weights), abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidWeights.selector, 0, max)
        );
        (weights[0], weights[2]) = (16_843_009, 1);
        _expectAnchorFailure(
            anchorWith(round, weights),
            abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidWeights.selector, max + 1, max)
        );
        weights[2] = 0;
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchorWith(round, weights));
        vm.assertEq(255 * max, uint256(type(uint32).max), "the largest sum fills a lane exactly");
    }

    function test_anchor_failsWithoutARoot() public {
        skipCommitWindow(round);
        bytes memory failure = abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroRoot.selector);
        IRoundLedger.Anchor memory anchor = anchorFor(round);
        anchor.meanRoot = bytes32(0);
        _expectAnchorFailure(anchor, failure);
        anchor = anchorFor(round);
        anchor.stateRoot = bytes32(0);
        _expectAnchorFailure(anchor, failure);
        anchor = anchorFor(round);
        anchor.verdictHash = bytes32(0);
        _expectAnchorFailure(anchor, failure);
        anchor = anchorFor(round);
        anchor.artifactsHash = bytes32(0);
        _expectAnchorFailure(anchor, failure);
    }

    /// @dev Audit M4: a reorganisation of the chain that swaps two commitments would put weights on the wrong entries.
    function test_anchor_isBoundToTheEntries() public {
        bytes32 expected = ledger.rounds(round).entriesHash;
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        (entries[0], entries[1]) = (entries[1], entries[0]);
        bytes32 swapped = 0;
        for (uint256 i = 0; i < 3; ++i) {
            swapped = keccak256(abi.encode(swapped, entries[i].contributor, entries[i].commitmentHash));
        }
        skipCommitWindow(round);
        IRoundLedger.Anchor memory anchor = anchorFor(round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRecordMismatch.selector, swapped, expected));
        vm.prank(coordinator.addr);
        ledger.anchor(round, swapped, anchor);
        vm.prank(coordinator.addr);
        ledger.anchor(round, expected, anchor);
    }

    // Finality.

    function test_finalize_registersACandidate() public {
        skipCommitWindow(round);
        anchorNow(round);
        skipChallengeWindow(round);
        bytes32 root = ledger.rounds(round).stateRoot;
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundFinalized(round, root);
        vm.expectEmit(address(registry));
        emit IModelRegistry.VersionRegistered(round, id(0), root);
        vm.prank(stranger.addr);
        ledger.finalize(round);
        assertPhase(round, IRoundLedger.Phase.Final, "phase");
        vm.assertEq(registry.versions(round).stateRoot, root, "version");
        vm.assertEq(uint256(ledger.pendingRounds()), 0, "pending rounds");
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryNoActiveVersion.selector));
        registry.active();
    }

    function test_finalize_failsDuringTheChallengeWindow() public {
        skipCommitWindow(round);
        anchorNow(round);
        uint256 deadline = ledger.rounds(round).challengeDeadline;
        vm.warp(deadline - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooEarly.selector, round, deadline - 1, deadline)
        );
        ledger.finalize(round);
    }

    function test_finalize_failsTwice() public {
        skipCommitWindow(round);
        anchorNow(round);
        skipChallengeWindow(round);
        ledger.finalize(round);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector,
                round,
                IRoundLedger.Phase.Final,
                IRoundLedger.Phase.Anchored
            )
        );
        ledger.finalize(round);
    }

    function test_finalize_failsForAnOpenRound() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector, round, IRoundLedger.Phase.Open, IRoundLedger.Phase.Anchored
            )
        );
        ledger.finalize(round);
        skipCommitWindow(round);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector,
                round,
                IRoundLedger.Phase.Committed,
                IRoundLedger.Phase.Anchored
            )
        );
        ledger.finalize(round);
    }

    function test_finalize_goesInOrder() public {
        skipCommitWindow(round);
        anchorNow(round);
        RoundId second = anchored();
        skipChallengeWindow(second);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerBaseNotFinal.selector, second, round));
        ledger.finalize(second);
        ledger.finalize(round);
        ledger.finalize(second);
        assertEq(registry.versions(second).parent, round, "lineage");
    }

    // Rewards.

    function test_settle_creditsByWeightRelativeToTheLargest() public {
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        skipCommitWindow(round);
        anchorNow(round);
        skipChallengeWindow(round);
        ledger.finalize(round);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RewardCredited(round, alice.addr, 75e18);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RewardCredited(round, bob.addr, 45e18);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RewardCredited(round, carol.addr, 15e18);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundSettled(round);
        vm.prank(stranger.addr);
        ledger.settle(round, entries, anchorFor(round));
        vm.assertEq(ledger.claimable(alice.addr), 75e18, "claimable by alice");
        vm.assertTrue(ledger.rounds(round).settled, "settled");
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
        ledger.settle(round, entries, anchorWith(round, weights));
        vm.assertEq(vm.getRecordedLogs().length, 2, "one credit, and the settlement");
        vm.assertEq(ledger.claimable(alice.addr), 0, "claimable by alice");
        vm.assertEq(ledger.claimable(bob.addr), REWARD / 3, "an equal share: bob gains nothing by the others' loss");
    }

    function test_settle_failsTwice() public {
        IRoundLedger.Entry[] memory entries = _settled();
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerAlreadySettled.selector, round));
        ledger.settle(round, entries, anchorFor(round));
    }

    function test_settle_failsBeforeTheRoundIsFinal() public {
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        skipCommitWindow(round);
        anchorNow(round);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector,
                round,
                IRoundLedger.Phase.Anchored,
                IRoundLedger.Phase.Final
            )
        );
        ledger.settle(round, entries, anchorFor(round));
    }

    function test_settle_failsWithOtherEntriesOrWeights() public {
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        bytes32 recorded = ledger.rounds(round).entriesHash;
        skipCommitWindow(round);
        anchorNow(round);
        skipChallengeWindow(round);
        ledger.finalize(round);

        IRoundLedger.Entry[] memory fewer = new IRoundLedger.Entry[](0);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRecordMismatch.selector, bytes32(0), recorded));
        ledger.settle(round, fewer, anchorFor(round));

        IRoundLedger.Anchor memory other = anchorFor(round);
        other.weights[2] = 9;
        bytes32 anchorHash = ledger.rounds(round).anchorHash;
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerRecordMismatch.selector, plainAnchorHash(other), anchorHash)
        );
        ledger.settle(round, entries, other);
    }

    function test_settle_theGenesisPaysNobody() public {
        // Nothing hashes to the zero that the genesis has for an anchor.
        bytes32 given = plainAnchorHash(anchorFor(id(0)));
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRecordMismatch.selector, given, bytes32(0)));
        ledger.settle(id(0), new IRoundLedger.Entry[](0), anchorFor(id(0)));
    }

    function test_claim_mintsWhatWasCredited() public {
        _settled();
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RewardClaimed(alice.addr, 75e18);
        vm.prank(stranger.addr);
        uint256 amount = ledger.claim(alice.addr);
        vm.assertEq(amount, 75e18, "claimed");
        vm.assertEq(token.balanceOf(alice.addr), 75e18, "balance");
        vm.assertEq(token.totalSupply(), GENESIS_SUPPLY + 75e18, "supply");
        vm.assertEq(ledger.claimable(alice.addr), 0, "claimable");
    }

    function test_claim_failsWithNothingToClaim() public {
        _settled();
        ledger.claim(alice.addr);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNothingToClaim.selector, alice.addr));
        ledger.claim(alice.addr);
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
        ledger.settle(second, entries, anchorFor(second));
        vm.assertEq(ledger.claim(bob.addr), 90e18, "of two rounds");
    }

    // What pays and what does not, for any weights.

    /// @dev What alice, bob and carol are credited for a round with these weights. A fourth weight is the coordinator's.
    function _credited(uint32[] memory weights) private returns (uint256[3] memory credits) {
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
        vm.prank(coordinator.addr);
        ledger.anchor(latest, entriesHashOf(latest), anchorWith(latest, weights));
        skipChallengeWindow(latest);
        ledger.finalize(latest);
        uint256[3] memory before = _claimable();
        ledger.settle(latest, entries, anchorWith(latest, weights));
        uint256[3] memory afterwards = _claimable();
        for (uint256 i = 0; i < 3; ++i) {
            credits[i] = afterwards[i] - before[i];
        }
        vm.assertEq(ledger.claimable(coordinator.addr), 0, "the coordinator's own entry is never paid");
    }

    function _claimable() private view returns (uint256[3] memory) {
        return [ledger.claimable(alice.addr), ledger.claimable(bob.addr), ledger.claimable(carol.addr)];
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
            vm.assertLe(credits[i], uint256(REWARD) / 3, "nobody gets more than an equal share");
            vm.assertEq(credits[i], uint256(REWARD) * weights[i] / (3 * largest), "the formula");
            if (weights[i] == largest) {
                vm.assertEq(credits[i], uint256(REWARD) / 3, "the largest weight is paid in full");
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

    function test_settle_paysNothingForAWeightThatTheCoordinatorGivesItself() public {
        _cancelFirst();
        uint32[] memory weights = new uint32[](4);
        (weights[0], weights[3]) = (1, 4);
        uint256[3] memory credits = _credited(weights);
        vm.assertEq(credits[0], uint256(REWARD) / 12, "alice");
        vm.assertEq(credits[1] + credits[2], 0, "the others");
    }

    function test_settle_paysNobodyWhereAllEntriesAreTheCoordinators() public {
        _cancelFirst();
        IRoundLedger.Policy memory lonely = policy();
        lonely.minContributors = 1;
        vm.prank(address(timelock));
        ledger.addPolicy(lonely);
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
        ledger.settle(latest, entries, anchorWith(latest, weights));
        vm.assertEq(ledger.claimable(coordinator.addr), 0, "claimable");
        vm.assertTrue(ledger.rounds(latest).settled, "settled");
    }
}
