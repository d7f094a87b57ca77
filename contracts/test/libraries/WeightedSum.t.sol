// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { WeightedSum } from "../../src/libraries/WeightedSum.sol";
import { Libraries } from "../utils/Libraries.sol";
import { Test } from "../utils/Test.sol";

/// @notice The sum in lanes against the sum one coordinate at a time.
contract WeightedSumTest is Test {
    Libraries private _libraries;

    function setUp() public {
        _libraries = new Libraries();
    }

    function _values(uint256 seed) private pure returns (bytes memory values) {
        values = new bytes(256);
        for (uint256 i = 0; i < 256; ++i) {
            values[i] = bytes1(uint8(1 + uint256(keccak256(abi.encode(seed, i))) % 255));
        }
    }

    function _filled(bytes1 value) private pure returns (bytes memory values) {
        values = new bytes(256);
        for (uint256 i = 0; i < 256; ++i) {
            values[i] = value;
        }
    }

    /// @dev The layout of the lanes, written out one by one.
    function _expected(uint32[] memory weights, bytes[] memory leaves) private pure returns (bytes memory lanes) {
        lanes = new bytes(1024);
        for (uint256 word = 0; word < 32; ++word) {
            for (uint256 lane = 0; lane < 8; ++lane) {
                uint256 coordinate = 32 * (word / 4) + 4 * lane + 3 - word % 4;
                uint256 sum = 0;
                for (uint256 i = 0; i < leaves.length; ++i) {
                    sum += uint256(weights[i]) * uint8(leaves[i][coordinate]);
                }
                for (uint256 i = 0; i < 4; ++i) {
                    lanes[32 * word + 4 * lane + i] = bytes1(uint8(sum >> (24 - 8 * i)));
                }
            }
        }
    }

    function testFuzz_sum_isTheSumCoordinateByCoordinate(uint256 seed, uint256 count) public view {
        count = bound(count, 0, 6);
        uint32[] memory weights = new uint32[](count);
        bytes[] memory leaves = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            weights[i] = uint32(bound(uint256(keccak256(abi.encode(seed, i))), 0, 2_800_000));
            leaves[i] = _values(uint256(keccak256(abi.encode(seed, i, "leaf"))));
        }
        vm.assertEq(_libraries.weightedSum(weights, leaves), _expected(weights, leaves), "lanes");
    }

    function testFuzz_value_isTheSignedSum(uint256 seed) public view {
        uint32[] memory weights = new uint32[](2);
        bytes[] memory leaves = new bytes[](2);
        (weights[0], weights[1]) = (uint32(bound(seed, 0, 1 << 22)), uint32(bound(seed >> 64, 1, 1 << 22)));
        (leaves[0], leaves[1]) = (_values(seed), _values(seed ^ 1));
        bytes memory lanes = _libraries.weightedSum(weights, leaves);
        uint256 weightSum = uint256(weights[0]) + weights[1];
        for (uint256 j = 0; j < 256; ++j) {
            int256 expected = int256(uint256(weights[0])) * (int256(uint256(uint8(leaves[0][j]))) - 128)
                + int256(uint256(weights[1])) * (int256(uint256(uint8(leaves[1][j]))) - 128);
            vm.assertEq(_libraries.weightedValue(lanes, j, weightSum), expected, "signed sum");
        }
    }

    /// @dev The nearest integer, halves up: the error is below half a unit, or half a unit below.
    function testFuzz_meanAt_isWithinHalfAUnit(uint256 seed, uint256 weightSum, uint256 scale) public view {
        weightSum = bound(weightSum, 1, WeightedSum.MAX_WEIGHT_SUM);
        scale = bound(scale, 1, 127);
        int256 most = int256(127 / scale * weightSum);
        int256 aggregate = int256(bound(seed, 0, 2 * uint256(most))) - most;
        int256 mean = _libraries.meanAt(aggregate, weightSum, scale);
        int256 gap = 2 * (mean * int256(weightSum) - int256(scale) * aggregate);
        vm.assertTrue(gap <= int256(weightSum) && gap > -int256(weightSum), "the nearest, halves up");
        vm.assertTrue(mean <= 127 && mean >= -127, "a byte holds it");
    }

    function test_mean_failsWithAnotherLength() public {
        vm.expectRevert(abi.encodeWithSelector(WeightedSum.WeightedSumSize.selector, 256, 1024));
        _libraries.plainMean(new bytes(256), 1, 1);
    }

    function test_sum_fillsItsLanesAndNoMore() public view {
        uint32[] memory weights = new uint32[](2);
        bytes[] memory leaves = new bytes[](2);
        (weights[0], weights[1]) = (16_843_000, 9);
        (leaves[0], leaves[1]) = (_filled(0xff), _filled(0xff));
        bytes memory full = new bytes(1024);
        for (uint256 i = 0; i < 1024; ++i) {
            full[i] = 0xff;
        }
        vm.assertEq(_libraries.weightedSum(weights, leaves), full, "the largest sum in every lane");
    }

    function test_sum_failsWhenLanesCouldRunOver() public {
        uint32[] memory weights = new uint32[](2);
        bytes[] memory leaves = new bytes[](2);
        (weights[0], weights[1]) = (16_843_009, 1);
        (leaves[0], leaves[1]) = (_filled(0x01), _filled(0x01));
        vm.expectRevert(abi.encodeWithSelector(WeightedSum.WeightedSumTooLarge.selector, 16_843_010, 16_843_009));
        _libraries.weightedSum(weights, leaves);
    }

    function test_sum_failsWithListsOfDifferentLength() public {
        vm.expectRevert(abi.encodeWithSelector(WeightedSum.WeightedSumLengthMismatch.selector, 1, 2));
        _libraries.weightedSum(new uint32[](1), new bytes[](2));
    }

    function test_sum_failsWithAnotherLength() public {
        bytes[] memory leaves = new bytes[](1);
        leaves[0] = new bytes(257);
        vm.expectRevert(abi.encodeWithSelector(WeightedSum.WeightedSumSize.selector, 257, 256));
        _libraries.weightedSum(new uint32[](1), leaves);
    }

    function test_value_failsWithAnotherLength() public {
        vm.expectRevert(abi.encodeWithSelector(WeightedSum.WeightedSumSize.selector, 1023, 1024));
        _libraries.weightedValue(new bytes(1023), 0, 1);
    }

    function test_value_failsBeyondTheLeaf() public {
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x32));
        _libraries.weightedValue(new bytes(1024), 256, 1);
    }
}
