// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "./MerkleSum.sol";

/// @title The weighted sum of updates, leaf by leaf (docs/protocol.md, sections 3 and 9).
/// @notice An aggregate's leaf has one 32-bit lane a coordinate, `U_j = sum_i w_i * (q_ij + 128)`. Eight lanes are
/// summed by one addition; they can't run over as long as the weights add up to at most MAX_WEIGHT_SUM.
/// @dev Reference functions for fraud proofs.
library WeightedSum {
    /// @notice Bytes of an aggregate's leaf.
    uint256 internal constant LEAF_BYTES = 1024;
    /// @notice Largest sum of weights: 255 times it is the largest 32-bit number.
    uint256 internal constant MAX_WEIGHT_SUM = 16_843_009;
    /// @dev The lowest byte of each lane. A product would be easier to count, but assembly takes only a literal.
    // slither-disable-next-line too-many-digits
    uint256 private constant LOW_BYTES = 0x000000ff000000ff000000ff000000ff000000ff000000ff000000ff000000ff;

    /// @notice Thrown when there is not one weight for each leaf.
    error WeightedSumLengthMismatch(uint256 weights, uint256 leaves);
    /// @notice Thrown when weights add up to more than lanes can carry.
    error WeightedSumTooLarge(uint256 sum, uint256 max);
    /// @notice Thrown when a leaf has another length than the protocol's.
    error WeightedSumLeafSize(uint256 given, uint256 required);

    /// @notice The aggregate's leaf of these updates' leaves, all of one place.
    function leaf(uint32[] memory weights, bytes[] memory leaves) internal pure returns (bytes memory aggregate) {
        if (weights.length != leaves.length) revert WeightedSumLengthMismatch(weights.length, leaves.length);
        uint256 sum = 0;
        aggregate = new bytes(LEAF_BYTES);
        for (uint256 i = 0; i < weights.length; ++i) {
            if (leaves[i].length != MerkleSum.LEAF_BYTES) {
                revert WeightedSumLeafSize(leaves[i].length, MerkleSum.LEAF_BYTES);
            }
            sum += weights[i];
            if (sum > MAX_WEIGHT_SUM) revert WeightedSumTooLarge(sum, MAX_WEIGHT_SUM);
            _add(aggregate, weights[i], leaves[i]);
        }
    }

    /// @notice `A_j`, the weighted sum of a coordinate, out of an aggregate's leaf.
    /// @param coordinate Place in the leaf, from 0.
    /// @param weightSum Sum of all weights, which the bias of 128 was multiplied with.
    function valueAt(bytes memory aggregate, uint256 coordinate, uint256 weightSum) internal pure returns (int256) {
        if (aggregate.length != LEAF_BYTES) revert WeightedSumLeafSize(aggregate.length, LEAF_BYTES);
        uint256 word = 4 * (coordinate >> 5) + 3 - (coordinate & 3);
        uint256 start = 32 * word + 4 * ((coordinate & 31) >> 2);
        uint256 lane = 0;
        for (uint256 i = 0; i < 4; ++i) {
            lane = (lane << 8) | uint8(aggregate[start + i]);
        }
        // casting to 'int256' is safe because both numbers have at most 40 bits
        // forge-lint: disable-next-line(unsafe-typecast)
        return int256(lane) - int256(MerkleSum.BIAS * weightSum);
    }

    /// @dev Adds `weight` times one update's leaf to all lanes. A lane gets at most 255 times the sum of the weights.
    function _add(bytes memory aggregate, uint256 weight, bytes memory update) private pure {
        assembly ("memory-safe") {
            let target := add(aggregate, 0x20)
            for { let source := add(update, 0x20) } lt(source, add(update, 0x120)) { source := add(source, 0x20) } {
                let bytes32Word := mload(source)
                for { let shift := 0 } lt(shift, 32) { shift := add(shift, 8) } {
                    let lanes := mul(weight, and(shr(shift, bytes32Word), LOW_BYTES))
                    mstore(target, add(mload(target), lanes))
                    target := add(target, 0x20)
                }
            }
        }
    }
}
