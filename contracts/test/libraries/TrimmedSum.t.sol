// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { TrimmedSum } from "../../src/libraries/TrimmedSum.sol";
import { WeightedSum } from "../../src/libraries/WeightedSum.sol";
import { Libraries } from "../utils/Libraries.sol";
import { Test } from "../utils/Test.sol";

/// @notice The trimmed sum in lanes against a plain sort, one coordinate at a time.
contract TrimmedSumTest is Test {
    Libraries private _libraries;

    function setUp() public {
        _libraries = new Libraries();
    }

    /// @dev Values of all sizes, or of few, so that many are equal.
    function _values(uint256 seed) private pure returns (bytes memory values) {
        values = new bytes(256);
        uint256 span = seed % 2 == 0 ? 255 : 3;
        for (uint256 i = 0; i < 256; ++i) {
            values[i] = bytes1(uint8(1 + uint256(keccak256(abi.encode(seed, i))) % span));
        }
    }

    function _filled(bytes1 value) private pure returns (bytes memory values) {
        values = new bytes(256);
        for (uint256 i = 0; i < 256; ++i) {
            values[i] = value;
        }
    }

    function _all(uint256 count) private pure returns (uint32[] memory weights) {
        weights = new uint32[](count);
        for (uint256 i = 0; i < count; ++i) {
            weights[i] = 1;
        }
    }

    /// @dev Sort, cut, add: the sum of the middle of one coordinate.
    function _sorted(uint256 trim, uint32[] memory weights, bytes[] memory leaves, uint256 coordinate)
        private
        pure
        returns (uint256 sum, uint256 count)
    {
        uint256[] memory values = new uint256[](leaves.length);
        for (uint256 i = 0; i < leaves.length; ++i) {
            if (weights[i] == 0) continue;
            uint256 place = count;
            uint256 value = uint8(leaves[i][coordinate]);
            for (; place > 0 && values[place - 1] > value; --place) {
                values[place] = values[place - 1];
            }
            values[place] = value;
            ++count;
        }
        while (trim > (count - 1) / 2) {
            --trim;
        }
        for (uint256 i = trim; i < count - trim; ++i) {
            sum += values[i];
        }
        count -= 2 * trim;
    }

    function testFuzz_sum_isTheMiddleOfTheSortedValues(uint256 seed, uint256 count, uint256 trim) public view {
        count = bound(count, 1, 9);
        trim = bound(trim, 0, 6);
        uint32[] memory weights = new uint32[](count);
        bytes[] memory leaves = new bytes[](count);
        weights[seed % count] = 1;
        for (uint256 i = 0; i < count; ++i) {
            uint256 own = uint256(keccak256(abi.encode(seed, i)));
            if (own % 4 != 0) weights[i] = 1;
            leaves[i] = _values(own >> 2);
        }
        uint256 counted = 0;
        for (uint256 i = 0; i < count; ++i) {
            counted += weights[i];
        }
        bytes memory lanes = _libraries.trimmedSum(trim, weights, leaves);
        uint256 divisor = _libraries.trimmedDivisor(trim, counted);
        // Another quarter of the coordinates in each run.
        for (uint256 j = seed % 4; j < 256; j += 4) {
            (uint256 sum, uint256 left) = _sorted(trim, weights, leaves, j);
            vm.assertEq(divisor, left, "how many values are left");
            vm.assertEq(_libraries.weightedValue(lanes, j, divisor), int256(sum) - int256(128 * left), "coordinate");
        }
    }

    function testFuzz_sum_isTheWeightedSumWithoutTrimming(uint256 seed, uint256 count) public view {
        count = bound(count, 1, 6);
        bytes[] memory leaves = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            leaves[i] = _values(uint256(keccak256(abi.encode(seed, i))));
        }
        vm.assertEq(_libraries.trimmedSum(0, _all(count), leaves), _libraries.weightedSum(_all(count), leaves), "lanes");
    }

    function testFuzz_divisor_leavesSomething(uint256 trim, uint256 count) public view {
        count = bound(count, 1, TrimmedSum.MAX_COUNT);
        uint256 left = _libraries.trimmedDivisor(trim, count);
        vm.assertLe(left, count, "not more than there are");
        vm.assertGt(left, 0, "at least one");
        if (trim <= (count - 1) / 2) vm.assertEq(left, count - 2 * trim, "as asked for");
        else vm.assertLe(left, 2, "one or two");
    }

    /// @dev A full round with values at both edges: the sums reach into the upper half of a lane of 32 bits.
    function test_sum_holdsAFullRound() public view {
        bytes[] memory leaves = new bytes[](600);
        for (uint256 i = 0; i < 600; ++i) {
            leaves[i] = _filled(i % 3 == 0 ? bytes1(0x01) : bytes1(0xff));
        }
        bytes memory lanes = _libraries.trimmedSum(50, _all(600), leaves);
        for (uint256 j = 0; j < 256; ++j) {
            vm.assertEq(_libraries.weightedValue(lanes, j, 0), int256(150 + 350 * 255), "coordinate");
        }
    }

    function test_sum_doesNotLookAtWhatDoesNotCount() public view {
        bytes[] memory leaves = new bytes[](3);
        (leaves[0], leaves[2]) = (_filled(0x05), _filled(0x07));
        uint32[] memory weights = new uint32[](3);
        (weights[0], weights[2]) = (1, 1);
        vm.assertEq(_libraries.weightedValue(_libraries.trimmedSum(4, weights, leaves), 0, 0), 12, "sum of two");
    }

    function test_sum_failsWhenNothingCounts() public {
        vm.expectRevert(abi.encodeWithSelector(TrimmedSum.TrimmedSumNothingCounts.selector));
        _libraries.trimmedSum(1, new uint32[](2), new bytes[](2));
    }

    function test_sum_failsWithAnotherWeight() public {
        uint32[] memory weights = new uint32[](2);
        weights[1] = 2;
        vm.expectRevert(abi.encodeWithSelector(TrimmedSum.TrimmedSumInvalidWeight.selector, 2));
        _libraries.trimmedSum(1, weights, new bytes[](2));
    }

    function test_sum_failsWithListsOfDifferentLength() public {
        vm.expectRevert(abi.encodeWithSelector(WeightedSum.WeightedSumLengthMismatch.selector, 1, 2));
        _libraries.trimmedSum(1, new uint32[](1), new bytes[](2));
    }

    function test_sum_failsWithAnotherLength() public {
        bytes[] memory leaves = new bytes[](1);
        leaves[0] = new bytes(255);
        vm.expectRevert(abi.encodeWithSelector(WeightedSum.WeightedSumSize.selector, 255, 256));
        _libraries.trimmedSum(0, _all(1), leaves);
    }

    function test_sum_failsWithMoreThanLanesCarry() public {
        vm.expectRevert(abi.encodeWithSelector(TrimmedSum.TrimmedSumTooMany.selector, 0x8000, 0x7fff));
        _libraries.trimmedSum(0, _all(0x8000), new bytes[](0x8000));
    }
}
