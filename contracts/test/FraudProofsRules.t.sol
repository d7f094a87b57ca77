// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IFraudProofs } from "../src/interfaces/IFraudProofs.sol";
import { IJudge } from "../src/interfaces/IJudge.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { Openings } from "../src/libraries/Openings.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";

/// @notice What depends on the policy's rule: trimmed sums, and which weights there are.
abstract contract FraudProofsRulesTest is FraudWorld {
    function rule() internal pure virtual returns (bytes32);

    function policy() internal view override returns (IRoundLedger.Policy memory made) {
        made = super.policy();
        made.rule = rule();
        if (made.rule == "multi_krum") made.maxContributors = 32;
    }

    function equal(World memory world) internal pure {
        (world.weights[0], world.weights[1], world.weights[2]) = (1, 1, 1);
    }

    function test_aWeightAboveOneIsALie() public {
        World memory world = invent(1);
        equal(world);
        world.weights[1] = 2;
        compute(world);
        publish(world);
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        expectNoFraud(IFraudProofs.Lie.Weight, 0);
        fraud.proveWeight(caseOf(world), bare, 0);
        fraud.proveWeight(caseOf(world), bare, 1);
        assertSlashed(world);
    }
}

/// @notice A weight for a copy is a lie under every rule (finding M5).
contract FraudProofsCopiesTest is FraudWorld {
    function _invent() private view returns (World memory world) {
        world = invent(1);
        (world.updates[2], world.updateTrees[2]) = (world.updates[0], world.updateTrees[0]);
    }

    function test_M5_aWeightForACopyIsALie() public {
        World memory world = _invent();
        compute(world);
        publish(world);
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        expectNoFraud(IFraudProofs.Lie.Weight, 0);
        fraud.proveWeight(caseOf(world), bare, 0);
        fraud.proveWeight(caseOf(world), bare, 2);
        assertSlashed(world);
    }

    function test_M5_aCopyOfWhatDidNotArriveMayCount() public {
        World memory world = _invent();
        (world.weights[0], world.delivered) = (0, 6);
        compute(world);
        publish(world);
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        for (uint256 entry = 0; entry < CONTRIBUTORS; ++entry) {
            expectNoFraud(IFraudProofs.Lie.Weight, entry);
            fraud.proveWeight(caseOf(world), bare, entry);
        }
    }
}

contract FraudProofsMeanTest is FraudProofsRulesTest {
    function rule() internal pure override returns (bytes32) {
        return "mean";
    }
}

contract FraudProofsMultiKrumTest is FraudProofsRulesTest {
    function rule() internal pure override returns (bytes32) {
        return "multi_krum";
    }
}

/// @notice Any weight of the coordinator's own entry is a lie.
contract FraudProofsOwnEntryTest is FraudWorld {
    function setUp() public override {
        super.setUp();
        vm.stopPrank();
        vm.prank(address(timelock));
        ledger.appointCoordinator(alice.addr);
        coordinator = alice;
        giveStake(alice.addr, 5 * BOND);
        vm.startPrank(challenger.addr);
    }

    function test_proveWeight_findsTheCoordinatorsOwn() public {
        World memory world = invent(1);
        world.weights[0] = 1;
        compute(world);
        publish(world);
        fraud.proveWeight(caseOf(world), entriesOf(world, LEAVES), 0);
        assertSlashed(world);
    }

    function test_proveWeight_findsAWeightForWhatDidNotArrive() public {
        World memory world = invent(1);
        (world.weights[0], world.delivered) = (0, 3);
        compute(world);
        publish(world);
        fraud.proveWeight(caseOf(world), entriesOf(world, LEAVES), 2);
        assertSlashed(world);
    }

    function test_proveWeight_leavesAZeroAlone() public {
        World memory world = invent(1);
        (world.weights[0], world.weights[1], world.weights[2]) = (0, 65_536, 0);
        world.delivered = 3;
        compute(world);
        publish(world);
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        for (uint256 entry = 0; entry < CONTRIBUTORS; ++entry) {
            expectNoFraud(IFraudProofs.Lie.Weight, entry);
            fraud.proveWeight(caseOf(world), bare, entry);
        }
    }
}

abstract contract FraudProofsTrimmedTest is FraudProofsRulesTest {
    function trim() internal pure virtual returns (uint256) {
        return 1;
    }

    function _middle(World memory world, uint256 j, uint256 c) private pure returns (uint256 low, uint256 high) {
        (uint256 a, uint256 b, uint256 d) =
            (uint8(world.updates[0][j][c]), uint8(world.updates[1][j][c]), uint8(world.updates[2][j][c]));
        uint256 least = a < b ? (a < d ? a : d) : (b < d ? b : d);
        uint256 most = a > b ? (a > d ? a : d) : (b > d ? b : d);
        if (trim() == 0) return (least, most);
        (low, high) = (a + b + d - least - most, a + b + d - least - most);
    }

    function _hints(World memory world, uint256 j) private pure returns (bytes memory hints) {
        hints = new bytes(512);
        for (uint256 c = 0; c < 256; ++c) {
            (uint256 low, uint256 high) = _middle(world, j, c);
            (hints[c], hints[256 + c]) = (bytes1(uint8(low)), bytes1(uint8(high)));
        }
    }

    function compute(World memory world) internal view override {
        world.mean = new bytes[](LEAVES);
        for (uint256 j = 0; j < LEAVES; ++j) {
            bytes memory leaf = new bytes(256);
            for (uint256 c = 0; c < 256; ++c) {
                (uint256 sum,) = _middle(world, j, c);
                if (trim() == 0) {
                    sum = uint256(uint8(world.updates[0][j][c])) + uint8(world.updates[1][j][c])
                        + uint8(world.updates[2][j][c]);
                }
                uint256 left = 3 - 2 * trim();
                leaf[c] = bytes1(uint8((2 * sum + left) / (2 * left)));
            }
            world.mean[j] = leaf;
        }
        step(world);
        build(world);
    }

    function test_anHonestTrimmedRoundIsNotStruck() public {
        World memory world = invent(2);
        equal(world);
        compute(world);
        publish(world);
        for (uint256 place = 0; place < LEAVES; ++place) {
            IJudge.Case memory case_ = caseOf(world);
            IJudge.Entry[] memory entries = entriesOf(world, place);
            bytes memory hints = _hints(world, place);
            expectNoFraud(IFraudProofs.Lie.Mean, place);
            fraud.proveMean(case_, entries, place, opening(world.meanTree, place), hints);
            IFraudProofs.Step memory made = stepOf(world, place);
            expectNoFraud(IFraudProofs.Lie.OuterStep, place);
            fraud.proveOuterStep(case_, place, made);
        }
    }

    function test_proveMean_findsAWrongLeaf() public {
        World memory world = invent(3);
        equal(world);
        compute(world);
        world.mean[1][7] ^= 0x01;
        build(world);
        publish(world);
        fraud.proveMean(caseOf(world), entriesOf(world, 1), 1, opening(world.meanTree, 1), _hints(world, 1));
        assertSlashed(world);
    }

    function test_proveMean_takesNoWrongHint() public {
        World memory world = invent(4);
        equal(world);
        compute(world);
        publish(world);
        bytes memory hints = _hints(world, 0);
        hints[40] = bytes1(uint8(hints[40]) ^ 1);
        IJudge.Entry[] memory entries = entriesOf(world, 0);
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsWrongHint.selector, 3));
        fraud.proveMean(caseOf(world), entries, 0, opening(world.meanTree, 0), hints);
    }

    /// @notice Whoever counts for nothing is not among those of whom the extremes are taken away.
    function test_proveMean_trimsOnlyAmongWhatCounts() public {
        World memory world = invent(5);
        (world.weights[0], world.weights[1], world.weights[2]) = (0, 1, 0);
        for (uint256 j = 0; j < LEAVES; ++j) {
            // With one that counts nothing is taken away: the middle of three equal ones is that one, too.
            world.updates[0][j] = world.updates[1][j];
            world.updates[2][j] = world.updates[1][j];
        }
        world.mean = new bytes[](LEAVES);
        compute(world);
        if (trim() == 0) return;
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world, 0);
        bytes memory hints = _hints(world, 0);
        expectNoFraud(IFraudProofs.Lie.Mean, 0);
        fraud.proveMean(caseOf(world), entries, 0, opening(world.meanTree, 0), hints);
    }
}

contract FraudProofsTrimmedMeanTest is FraudProofsTrimmedTest {
    function rule() internal pure override returns (bytes32) {
        return "trimmed_mean";
    }
}

contract FraudProofsGuardedTrimmedMeanTest is FraudProofsTrimmedTest {
    function rule() internal pure override returns (bytes32) {
        return "guarded_trimmed_mean";
    }
}

/// @notice A policy that forgot how much to trim: nothing is trimmed.
contract FraudProofsUntrimmedTest is FraudProofsTrimmedTest {
    function rule() internal pure override returns (bytes32) {
        return "trimmed_mean";
    }

    function trim() internal pure override returns (uint256) {
        return 0;
    }

    function setUp() public override {
        super.setUp();
        IRoundLedger.Policy memory without = policy();
        without.parameters = new uint32[](0);
        vm.stopPrank();
        vm.prank(address(timelock));
        ledger.addPolicy(without);
        vm.startPrank(challenger.addr);
    }
}
