// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IModelRegistry } from "../src/interfaces/IModelRegistry.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
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
        ledger.anchor(round, anchor);
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
        ledger.anchor(round, anchor);
        IRoundLedger.Round memory stored = ledger.rounds(round);
        assertPhase(round, IRoundLedger.Phase.Anchored, "phase");
        vm.assertEq(stored.stateRoot, anchor.stateRoot, "state root");
        vm.assertEq(stored.anchorHash, keccak256(abi.encode(anchor)), "anchor hash");
        vm.assertEq(uint256(stored.challengeDeadline), deadline, "challenge deadline");
        assertHead(round, "head");
    }

    function test_anchor_failsForAnotherCoordinator() public {
        skipCommitWindow(round);
        IRoundLedger.Anchor memory anchor = anchorFor(round);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCoordinator.selector, alice.addr, coordinator.addr)
        );
        vm.prank(alice.addr);
        ledger.anchor(round, anchor);
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
        ledger.anchor(round, anchorWith(round, weights));
        vm.assertEq(255 * max, uint256(type(uint32).max), "the largest sum fills a lane exactly");
    }

    function test_anchor_failsWithoutARoot() public {
        skipCommitWindow(round);
        bytes memory failure = abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroRoot.selector);
        IRoundLedger.Anchor memory anchor = anchorFor(round);
        anchor.aggregateRoot = bytes32(0);
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

    function test_anchor_failsWithoutTheBond() public {
        vm.prank(coordinator.addr);
        vault.requestUnbond(4 * BOND + 1);
        skipCommitWindow(round);
        _expectAnchorFailure(
            anchorFor(round),
            abi.encodeWithSelector(IRoundLedger.RoundLedgerStakeTooLow.selector, coordinator.addr, BOND - 1, BOND)
        );
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

    function test_settle_creditsByWeight() public {
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        skipCommitWindow(round);
        anchorNow(round);
        skipChallengeWindow(round);
        ledger.finalize(round);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RewardCredited(round, alice.addr, 500e18);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RewardCredited(round, bob.addr, 300e18);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RewardCredited(round, carol.addr, 100e18);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundSettled(round);
        vm.prank(stranger.addr);
        ledger.settle(round, entries, anchorFor(round));
        vm.assertEq(ledger.claimable(alice.addr), 500e18, "claimable by alice");
        vm.assertTrue(ledger.rounds(round).settled, "settled");
    }

    function test_settle_creditsNothingForWeightZero() public {
        uint32[] memory weights = new uint32[](3);
        weights[1] = 7;
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        skipCommitWindow(round);
        vm.prank(coordinator.addr);
        ledger.anchor(round, anchorWith(round, weights));
        skipChallengeWindow(round);
        ledger.finalize(round);
        vm.recordLogs();
        ledger.settle(round, entries, anchorWith(round, weights));
        vm.assertEq(vm.getRecordedLogs().length, 2, "one credit, and the settlement");
        vm.assertEq(ledger.claimable(alice.addr), 0, "claimable by alice");
        vm.assertEq(ledger.claimable(bob.addr), REWARD, "claimable by bob");
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
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerRecordMismatch.selector, keccak256(abi.encode(other)), anchorHash
            )
        );
        ledger.settle(round, entries, other);
    }

    function test_settle_theGenesisPaysNobody() public {
        // Nothing hashes to the zero that the genesis has for an anchor.
        bytes32 given = keccak256(abi.encode(anchorFor(id(0))));
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRecordMismatch.selector, given, bytes32(0)));
        ledger.settle(id(0), new IRoundLedger.Entry[](0), anchorFor(id(0)));
    }

    function test_claim_mintsWhatWasCredited() public {
        _settled();
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RewardClaimed(alice.addr, 500e18);
        vm.prank(stranger.addr);
        uint256 amount = ledger.claim(alice.addr);
        vm.assertEq(amount, 500e18, "claimed");
        vm.assertEq(token.balanceOf(alice.addr), 500e18, "balance");
        vm.assertEq(token.totalSupply(), GENESIS_SUPPLY + 500e18, "supply");
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
        vm.assertEq(ledger.claim(bob.addr), 600e18, "of two rounds");
    }

    function testFuzz_settle_neverCreditsMoreThanTheReward(uint32 a, uint32 b, uint32 c) public {
        uint32[] memory weights = new uint32[](3);
        weights[0] = uint32(bound(a, 0, 5_000_000));
        weights[1] = uint32(bound(b, 0, 5_000_000));
        weights[2] = uint32(bound(c, 1, 5_000_000));
        IRoundLedger.Entry[] memory entries = threeEntries(round);
        skipCommitWindow(round);
        vm.prank(coordinator.addr);
        ledger.anchor(round, anchorWith(round, weights));
        skipChallengeWindow(round);
        ledger.finalize(round);
        ledger.settle(round, entries, anchorWith(round, weights));
        uint256 sum = uint256(weights[0]) + weights[1] + weights[2];
        uint256 credited = ledger.claimable(alice.addr) + ledger.claimable(bob.addr) + ledger.claimable(carol.addr);
        vm.assertLe(credited, REWARD, "credited");
        vm.assertLe(REWARD - credited, 2, "dust is under one unit a contributor");
        vm.assertEq(ledger.claimable(alice.addr), uint256(REWARD) * weights[0] / sum, "share of alice");
    }
}
