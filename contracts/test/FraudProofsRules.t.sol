// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IFraudProofs } from "../src/interfaces/IFraudProofs.sol";
import { IJudge } from "../src/interfaces/IJudge.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { ClampedSum } from "../src/libraries/ClampedSum.sol";
import { MerkleSum } from "../src/libraries/MerkleSum.sol";
import { Openings } from "../src/libraries/Openings.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";
import { Trees } from "./utils/Trees.sol";

/// @notice What depends on the policy's rule: the clamped sum, and which weights there are.
abstract contract FraudProofsRulesTest is FraudWorld {
    function rule() internal pure virtual returns (bytes32);

    function policy() internal view override returns (IPolicies.Policy memory made) {
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

/// @notice The mean of a clamped sum: of three updates that count, two must reach a magnitude for it to be the limit.
contract FraudProofsClampedTest is FraudWorld {
    function policy() internal view override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.rule = "clamped_mean";
    }

    /// @dev A world of small values, in which the first update plants large ones in every other coordinate.
    function _world(uint256 seed) private view returns (World memory world) {
        world = invent(seed);
        (world.weights[0], world.weights[1], world.weights[2]) = (65_536, 12_345, 30_000);
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            MerkleSum.Node[] memory leaves = new MerkleSum.Node[](LEAVES);
            for (uint256 j = 0; j < LEAVES; ++j) {
                for (uint256 c = 0; c < valuesIn(j); ++c) {
                    uint256 own = uint256(keccak256(abi.encode(seed, i, j, c)));
                    world.updates[i][j][c] = bytes1(uint8(i == 0 && c % 2 == 0 ? 255 : 126 + own % 5));
                }
                leaves[j] = MerkleSum.leaf(world.updates[i][j]);
            }
            world.updateTrees[i] = Trees.sums(leaves, DEPTH);
        }
    }

    function _magnitudes(World memory world, uint256 j) private pure returns (bytes memory ranked) {
        ranked = new bytes(256);
        for (uint256 c = 0; c < 256; ++c) {
            (uint256 first, uint256 second, uint256 count) = (0, 0, 0);
            for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
                if (world.weights[i] == 0) continue;
                ++count;
                uint256 value = uint8(world.updates[i][j][c]);
                value = value < 128 ? 128 - value : value - 128;
                if (value > first) (first, second) = (value, first);
                else if (value > second) second = value;
            }
            ranked[c] = bytes1(uint8(count < 2 ? first : second));
        }
    }

    function compute(World memory world) internal view override {
        world.mean = new bytes[](LEAVES);
        for (uint256 j = 0; j < LEAVES; ++j) {
            bytes memory ranked = _magnitudes(world, j);
            bytes memory leaf = new bytes(256);
            for (uint256 c = 0; c < 256; ++c) {
                int256 limit = ranked[c] == 0 ? int256(1) : 8 * int256(uint256(uint8(ranked[c])));
                (int256 sum, int256 weightSum) = (0, 0);
                for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
                    int256 value = int256(uint256(uint8(world.updates[i][j][c]))) - 128;
                    value = value > limit ? limit : (value < -limit ? -limit : value);
                    sum += int256(uint256(world.weights[i])) * value;
                    weightSum += int256(uint256(world.weights[i]));
                }
                // A bias of 128 keeps the dividend above 0, so that the division rounds down.
                int256 mean = (2 * (sum + 128 * weightSum) + weightSum) / (2 * weightSum);
                leaf[c] = bytes1(uint8(uint256(mean)));
            }
            world.mean[j] = leaf;
        }
        step(world);
        build(world);
    }

    function _expectHonest(World memory world) private {
        compute(world);
        publish(world);
        for (uint256 place = 0; place < LEAVES; ++place) {
            IJudge.Case memory case_ = caseOf(world);
            IJudge.Entry[] memory entries = entriesOf(world, place);
            bytes memory hints = _magnitudes(world, place);
            expectNoFraud(IFraudProofs.Lie.Mean, place);
            fraud.proveMean(case_, entries, place, opening(world.meanTree, place), hints);
        }
    }

    function test_anHonestClampedRoundIsNotStruck() public {
        _expectHonest(_world(2));
    }

    /// @notice An update of weight 0 is not among those whose magnitudes are ranked.
    function test_proveMean_ranksOnlyWhatCounts() public {
        World memory world = _world(3);
        world.weights[1] = 0;
        _expectHonest(world);
    }

    /// @notice The plain mean of what counts, which the planted values move further, is a lie.
    function test_proveMean_findsASumThatWasNotClamped() public {
        World memory world = _world(4);
        compute(world);
        bytes memory clamped = world.mean[0];
        super.compute(world);
        vm.assertTrue(keccak256(world.mean[0]) != keccak256(clamped), "clamped or not is not the same");
        publish(world);
        fraud.proveMean(caseOf(world), entriesOf(world, 0), 0, opening(world.meanTree, 0), _magnitudes(world, 0));
        assertSlashed(world);
    }

    function test_proveMean_findsAWrongCoordinate() public {
        World memory world = _world(5);
        compute(world);
        world.mean[1][7] ^= 0x01;
        build(world);
        publish(world);
        fraud.proveMean(caseOf(world), entriesOf(world, 1), 1, opening(world.meanTree, 1), _magnitudes(world, 1));
        assertSlashed(world);
    }

    /// @notice No other magnitude convicts, so nobody can be struck for a sum that was clamped rightly.
    function test_proveMean_takesNoWrongMagnitude() public {
        World memory world = _world(6);
        compute(world);
        publish(world);
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world, 0);
        IJudge.Opening memory claimed = opening(world.meanTree, 0);
        bytes memory hints = _magnitudes(world, 0);
        hints[40] = bytes1(uint8(hints[40]) + 1);
        vm.expectRevert(abi.encodeWithSelector(ClampedSum.ClampedSumWrongHint.selector, 3));
        fraud.proveMean(case_, entries, 0, claimed, hints);
        vm.expectRevert(abi.encodeWithSelector(ClampedSum.ClampedSumSize.selector, 0, 256));
        fraud.proveMean(case_, entries, 0, claimed, "");
    }

    /// @notice The weights of this rule go up to 2^16.
    function test_proveWeight_leavesLargeWeightsAlone() public {
        World memory world = _world(7);
        world.weights[0] = 65_536;
        compute(world);
        publish(world);
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        expectNoFraud(IFraudProofs.Lie.Weight, 0);
        fraud.proveWeight(caseOf(world), bare, 0);
    }
}
