// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "./MerkleSum.sol";
import { OuterStep } from "./OuterStep.sol";

/// @title The weighted sum of updates, and the mean that is published of it, leaf by leaf (docs/protocol.md, section 9).
/// @notice A sum has one 32-bit lane a coordinate, `U_j = sum_i w_i * (q_ij + 128)`. Eight lanes are summed by one
/// addition; they can't run over as long as the weights add up to at most MAX_WEIGHT_SUM.
/// @dev Reference functions for fraud proofs.
library WeightedSum {
    /// @notice Bytes of the sum of one leaf.
    uint256 internal constant SUM_BYTES = 1024;
    /// @notice Largest sum of weights: 255 times it is the largest 32-bit number.
    uint256 internal constant MAX_WEIGHT_SUM = 16_843_009;
    /// @dev The lowest byte of each lane. A product would be easier to count, but assembly takes only a literal.
    // slither-disable-next-line too-many-digits
    uint256 private constant LOW_BYTES = 0x000000ff000000ff000000ff000000ff000000ff000000ff000000ff000000ff;

    /// @notice Thrown when there is not one weight for each leaf.
    error WeightedSumLengthMismatch(uint256 weights, uint256 leaves);
    /// @notice Thrown when weights add up to more than lanes can carry.
    error WeightedSumTooLarge(uint256 sum, uint256 max);
    /// @notice Thrown when a leaf or a sum has another length than it must have.
    error WeightedSumSize(uint256 given, uint256 required);

    /// @notice The sum of these updates' leaves, all of one place.
    function sum(uint32[] memory weights, bytes[] memory leaves) internal pure returns (bytes memory lanes) {
        if (weights.length != leaves.length) revert WeightedSumLengthMismatch(weights.length, leaves.length);
        uint256 weightSum = 0;
        lanes = new bytes(SUM_BYTES);
        for (uint256 i = 0; i < weights.length; ++i) {
            if (leaves[i].length != MerkleSum.LEAF_BYTES) {
                revert WeightedSumSize(leaves[i].length, MerkleSum.LEAF_BYTES);
            }
            weightSum += weights[i];
            if (weightSum > MAX_WEIGHT_SUM) revert WeightedSumTooLarge(weightSum, MAX_WEIGHT_SUM);
            _add(lanes, weights[i], leaves[i]);
        }
    }

    /// @notice `A_j`, the aggregate of a coordinate, out of a sum.
    /// @param coordinate Place in the leaf, from 0.
    /// @param weightSum Sum of all weights, which the bias of 128 was multiplied with.
    function valueAt(bytes memory lanes, uint256 coordinate, uint256 weightSum) internal pure returns (int256) {
        if (lanes.length != SUM_BYTES) revert WeightedSumSize(lanes.length, SUM_BYTES);
        uint256 word = 4 * (coordinate >> 5) + 3 - (coordinate & 3);
        uint256 start = 32 * word + 4 * ((coordinate & 31) >> 2);
        uint256 lane = 0;
        for (uint256 i = 0; i < 4; ++i) {
            lane = (lane << 8) | uint8(lanes[start + i]);
        }
        // casting to 'int256' is safe because both numbers have at most 40 bits
        // forge-lint: disable-next-line(unsafe-typecast)
        return int256(lane) - int256(MerkleSum.BIAS * weightSum);
    }

    /// @notice The leaf of the mean: `B_j + 128` of each coordinate, one byte each, as a leaf of an update.
    /// @param weightSum Sum of all weights.
    /// @param scale The policy's `meanScale`.
    function mean(bytes memory lanes, uint256 weightSum, uint256 scale) internal pure returns (bytes memory values) {
        values = new bytes(MerkleSum.LEAF_BYTES);
        for (uint256 j = 0; j < MerkleSum.LEAF_BYTES; ++j) {
            int256 biased = meanAt(valueAt(lanes, j, weightSum), weightSum, scale) + int256(MerkleSum.BIAS);
            // casting to 'uint8' is safe because the mean of valid updates is at most 127, above or below zero
            // forge-lint: disable-next-line(unsafe-typecast)
            values[j] = bytes1(uint8(uint256(biased)));
        }
    }

    /// @notice `B_j`, the mean of a coordinate, rounded to the nearest, halves up. Its unit is a step of an update, divided
    /// by the scale.
    /// @param aggregate `A_j`.
    function meanAt(int256 aggregate, uint256 weightSum, uint256 scale) internal pure returns (int256) {
        // casting to 'int256' is safe because the sum has 25 bits and the scale 8
        // forge-lint: disable-next-line(unsafe-typecast)
        (int256 divisor, int256 factor) = (int256(weightSum), int256(scale));
        return OuterStep.floorDivide(2 * factor * aggregate + divisor, 2 * divisor);
    }

    /// @dev Adds `weight` times one update's leaf to all lanes. A lane gets at most 255 times the sum of the weights.
    function _add(bytes memory lanes, uint256 weight, bytes memory update) private pure {
        assembly ("memory-safe") {
            let target := add(lanes, 0x20)
            for { let source := add(update, 0x20) } lt(source, add(update, 0x120)) { source := add(source, 0x20) } {
                let bytes32Word := mload(source)
                for { let shift := 0 } lt(shift, 32) { shift := add(shift, 8) } {
                    let products := mul(weight, and(shr(shift, bytes32Word), LOW_BYTES))
                    mstore(target, add(mload(target), products))
                    target := add(target, 0x20)
                }
            }
        }
    }
}
