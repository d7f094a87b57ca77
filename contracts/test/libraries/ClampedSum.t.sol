// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ClampedSum } from "../../src/libraries/ClampedSum.sol";
import { WeightedSum } from "../../src/libraries/WeightedSum.sol";
import { Libraries } from "../utils/Libraries.sol";
import { Test } from "../utils/Test.sol";

/// @notice The clamped sum in lanes against sorting, clamping and adding one coordinate at a time.
contract ClampedSumTest is Test {
    Libraries private _libraries;

    function setUp() public {
        _libraries = new Libraries();
    }

    /// @dev Values of all sizes, or small ones with a few large ones among them, or hardly any that is not 0.
    function _values(uint256 seed, uint256 span) private pure returns (bytes memory values) {
        values = new bytes(256);
        for (uint256 c = 0; c < 256; ++c) {
            uint256 own = uint256(keccak256(abi.encode(seed, c)));
            uint256 magnitude = (own >> 8) % (own % 5 == 0 ? 128 : span);
            values[c] = bytes1(uint8(own >> 16 & 1 == 0 ? 128 + magnitude : 128 - magnitude));
        }
    }

    function _filled(bytes1 value) private pure returns (bytes memory values) {
        values = new bytes(256);
        for (uint256 c = 0; c < 256; ++c) {
            values[c] = value;
        }
    }

    function _magnitude(bytes1 value) private pure returns (uint256) {
        return uint8(value) < 128 ? 128 - uint8(value) : uint8(value) - 128;
    }

    /// @dev The lower median of the magnitudes of each coordinate.
    function _ranked(bytes[] memory leaves) private pure returns (bytes memory ranked) {
        ranked = new bytes(256);
        for (uint256 c = 0; c < 256; ++c) {
            uint256[] memory values = new uint256[](leaves.length);
            for (uint256 i = 0; i < values.length; ++i) {
                uint256 value = _magnitude(leaves[i][c]);
                uint256 at = i;
                for (; at > 0 && values[at - 1] < value; --at) {
                    values[at] = values[at - 1];
                }
                values[at] = value;
            }
            ranked[c] = bytes1(uint8(values[leaves.length / 2]));
        }
    }

    /// @dev One coordinate's sum of clamped values.
    function _plain(uint32[] memory weights, bytes[] memory leaves, uint256 c, uint256 magnitude)
        private
        pure
        returns (int256 sum)
    {
        int256 limit = magnitude == 0 ? int256(1) : 8 * int256(magnitude);
        for (uint256 i = 0; i < leaves.length; ++i) {
            int256 value = int256(uint256(uint8(leaves[i][c]))) - 128;
            if (value > limit) value = limit;
            if (value < -limit) value = -limit;
            sum += int256(uint256(weights[i])) * value;
        }
    }

    function _crowd(uint256 seed, uint256 count)
        private
        pure
        returns (uint32[] memory weights, bytes[] memory leaves, uint256 weightSum)
    {
        (weights, leaves) = (new uint32[](count), new bytes[](count));
        uint256 span = [uint256(1), 2, 8, 20, 128][seed % 5];
        for (uint256 i = 0; i < count; ++i) {
            uint256 own = uint256(keccak256(abi.encode(seed, i)));
            weights[i] = uint32(1 + own % 65_536);
            weightSum += weights[i];
            leaves[i] = _values(own, span);
        }
    }

    /// forge-config: default.fuzz.runs = 24
    function testFuzz_sum_isThatOfTheClampedValues(uint256 seed, uint256 count) public view {
        count = bound(count, 1, 12);
        (uint32[] memory weights, bytes[] memory leaves, uint256 weightSum) = _crowd(seed, count);
        bytes memory ranked = _ranked(leaves);
        bytes memory lanes = _libraries.clampedSum(weights, leaves, ranked);
        for (uint256 c = 0; c < 256; ++c) {
            int256 wanted = _plain(weights, leaves, c, uint8(ranked[c]));
            vm.assertEq(WeightedSum.valueAt(lanes, c, weightSum), wanted, "coordinate");
        }
    }

    /// forge-config: default.fuzz.runs = 24
    function testFuzz_sum_takesNoOtherMagnitude(uint256 seed, uint256 count, uint256 at, uint8 other) public {
        count = bound(count, 1, 9);
        (uint32[] memory weights, bytes[] memory leaves,) = _crowd(seed, count);
        bytes memory ranked = _ranked(leaves);
        at = bound(at, 0, 255);
        vm.assume(bytes1(other) != ranked[at]);
        ranked[at] = bytes1(other);
        // The sixteen lanes of a word's bytes at odd places come first, then those at even ones.
        uint256 group = 2 * (at / 32) + (at % 2 == 0 ? 1 : 0);
        vm.expectRevert(abi.encodeWithSelector(ClampedSum.ClampedSumWrongHint.selector, group));
        _libraries.clampedSum(weights, leaves, ranked);
    }

    /// @notice Half of the updates decide nothing: what they send beyond eight times what another one has is cut.
    function testFuzz_sum_noHalfCountsForMoreThanItsLimit(uint256 seed, uint256 count) public view {
        count = bound(count, 2, 12);
        (uint32[] memory weights, bytes[] memory leaves, uint256 weightSum) = _crowd(seed, count);
        uint256 attackers = count / 2;
        uint256 theirs = 0;
        for (uint256 i = 0; i < attackers; ++i) {
            leaves[i] = _filled(i % 2 == 0 ? bytes1(0xff) : bytes1(0x01));
            theirs += weights[i];
        }
        bytes memory lanes = _libraries.clampedSum(weights, leaves, _ranked(leaves));
        for (uint256 c = 0; c < 256; ++c) {
            uint256 most = 0;
            for (uint256 i = attackers; i < count; ++i) {
                uint256 magnitude = _magnitude(leaves[i][c]);
                if (magnitude > most) most = magnitude;
            }
            int256 sum = WeightedSum.valueAt(lanes, c, weightSum);
            uint256 distance = uint256(sum < 0 ? -sum : sum);
            if (most == 0) vm.assertLe(distance, theirs, "a step of each attacker");
            else vm.assertLe(distance, 8 * most * weightSum, "eight times what an honest one has");
        }
    }

    /// @dev 256 updates with values at both edges, and the largest sum of weights that a rule gives.
    function test_sum_holdsTheLargestRound() public view {
        bytes[] memory leaves = new bytes[](256);
        uint32[] memory weights = new uint32[](256);
        for (uint256 high = 0; high < 2; ++high) {
            for (uint256 i = 0; i < 256; ++i) {
                leaves[i] = _filled(high == 1 ? bytes1(0xff) : bytes1(0x01));
                weights[i] = 65_536;
            }
            bytes memory lanes = _libraries.clampedSum(weights, leaves, _filled(0x7f));
            for (uint256 c = 0; c < 256; ++c) {
                vm.assertEq(WeightedSum.valueAt(lanes, c, 0), int256(uint256(high == 1 ? 255 : 1) << 24), "coordinate");
            }
        }
    }

    function test_sum_isTheWeightedSumOfOne() public view {
        (uint32[] memory weights, bytes[] memory leaves,) = _crowd(4, 1);
        bytes memory wanted = WeightedSum.sum(weights, leaves);
        vm.assertEq(_libraries.clampedSum(weights, leaves, _ranked(leaves)), wanted, "lanes");
    }

    function test_everyLeafHas256Bytes() public {
        bytes[] memory leaves = new bytes[](1);
        leaves[0] = new bytes(257);
        vm.expectRevert(abi.encodeWithSelector(ClampedSum.ClampedSumSize.selector, 257, 256));
        _libraries.clampedSum(new uint32[](1), leaves, new bytes(256));
        vm.expectRevert(abi.encodeWithSelector(ClampedSum.ClampedSumSize.selector, 255, 256));
        _libraries.clampedSum(new uint32[](1), leaves, new bytes(255));
    }

    function test_sum_ofNothingIsNone() public {
        vm.expectRevert(abi.encodeWithSelector(ClampedSum.ClampedSumWrongHint.selector, 0));
        _libraries.clampedSum(new uint32[](0), new bytes[](0), new bytes(256));
    }
}
