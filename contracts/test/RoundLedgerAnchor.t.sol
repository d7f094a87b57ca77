// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IModelRegistry } from "../src/interfaces/IModelRegistry.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { plainAnchorHash } from "./utils/Anchors.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice Anchoring and finality.
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
        (anchor.weights, anchor.pays) = (weights, new uint32[](0));
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

    /// @dev A new round of three under the rule that has pays.
    function _paidRound() private returns (RoundId paid) {
        vm.warp(ledger.rounds(round).anchorDeadline);
        ledger.cancel(round);
        IPolicies.Policy memory clamped = policy();
        clamped.rule = "clamped_mean";
        vm.prank(address(timelock));
        policies.addPolicy(clamped);
        paid = open();
        commitThree(paid);
        skipCommitWindow(paid);
    }

    function test_anchor_hasAsManyPaysAsItsRule() public {
        IRoundLedger.Anchor memory anchor = anchorFor(round);
        anchor.pays = new uint32[](3);
        uint256 before = vm.snapshotState();
        skipCommitWindow(round);
        _expectAnchorFailure(anchor, abi.encodeWithSelector(IRoundLedger.RoundLedgerLengthMismatch.selector, 3, 0));
        vm.revertToState(before);
        round = _paidRound();
        anchor = anchorFor(round);
        for (uint256 count = 0; count < 6; ++count) {
            anchor.pays = new uint32[](count);
            if (count == 3) continue;
            _expectAnchorFailure(
                anchor, abi.encodeWithSelector(IRoundLedger.RoundLedgerLengthMismatch.selector, count, 3)
            );
        }
        anchor.pays = new uint32[](3);
        (anchor.pays[0], anchor.pays[2]) = (65_536, 1);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundAnchored(round, anchor, uint40(block.timestamp) + CHALLENGE_WINDOW);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        vm.assertEq(ledger.rounds(round).anchorHash, plainAnchorHash(anchor), "anchor hash");
    }

    function testFuzz_anchor_failsForAPayAboveAPlace(uint256 entry, uint32 pay, bool counts) public {
        round = _paidRound();
        entry = bound(entry, 0, 2);
        IRoundLedger.Anchor memory anchor = anchorFor(round);
        anchor.pays = new uint32[](3);
        anchor.pays[entry] = pay;
        if (!counts) anchor.weights[entry] = 0;
        uint256 max = counts ? 65_536 : 0;
        if (pay > max) {
            _expectAnchorFailure(
                anchor, abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidPay.selector, entry, pay, max)
            );
            return;
        }
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        assertPhase(round, IRoundLedger.Phase.Anchored, "phase");
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
}
