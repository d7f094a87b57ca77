// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "./MerkleSum.sol";
import { WeightedSum } from "./WeightedSum.sol";

/// @title The trimmed sum of updates, leaf by leaf (docs/protocol.md, section 9).
/// @notice Per coordinate the `t` smallest and the `t` largest of the counted values are left out and the others are
/// added. The sum is laid out as the one of `WeightedSum`, whose functions read it, with `divisor` for the sum of the
/// weights.
/// @dev Reference functions for fraud proofs. Sixteen coordinates share a word, in lanes of 16 bits, so that one
/// operation serves them all. The values at the ends of the middle are found bit by bit: the cost grows with the number
/// of updates and not with what is trimmed. Once every value is moved into the range between these two, each trimmed one
/// counts as an end of it; the sum is right when they are taken off again.
library TrimmedSum {
    /// @notice Most updates that can count. A lane's highest bit says how a comparison ended.
    uint256 internal constant MAX_COUNT = 0x7fff;
    /// @dev 1 in each lane of 16 bits.
    uint256 private constant ONES = type(uint256).max / 0xffff;
    /// @dev The highest bit of each lane.
    uint256 private constant HIGHEST = ONES << 15;
    /// @dev The lowest byte of each lane.
    uint256 private constant LOW_BYTES = type(uint256).max / 0x101;
    /// @dev Every second lane: the lower half of each lane of 32 bits.
    uint256 private constant EVEN_LANES = type(uint256).max / 0x10001;

    /// @notice Thrown when no update counts.
    error TrimmedSumNothingCounts();
    /// @notice Thrown when a weight is neither 0 nor 1.
    error TrimmedSumInvalidWeight(uint32 weight);
    /// @notice Thrown when more updates count than lanes can carry.
    error TrimmedSumTooMany(uint256 count, uint256 max);

    /// @notice How many values are left out at each end: `t`, or as many as leave one or two of `count`.
    /// @param trim The policy's parameter `t`.
    function ends(uint256 trim, uint256 count) internal pure returns (uint256) {
        if (count == 0) revert TrimmedSumNothingCounts();
        uint256 most = (count - 1) / 2;
        return trim < most ? trim : most;
    }

    /// @notice What the sum is divided by: how many of `count` values are left.
    function divisor(uint256 trim, uint256 count) internal pure returns (uint256) {
        return count - 2 * ends(trim, count);
    }

    /// @notice The sum of these updates' leaves, all of one place.
    /// @param weights 1 for each update that counts, 0 for the others, whose leaves are not looked at.
    function sum(uint256 trim, uint32[] memory weights, bytes[] memory leaves)
        internal
        pure
        returns (bytes memory lanes)
    {
        bytes[] memory counted = _counted(weights, leaves);
        uint256 out = ends(trim, counted.length);
        uint256[] memory values = new uint256[](counted.length);
        lanes = new bytes(WeightedSum.SUM_BYTES);
        for (uint256 word = 0; word < 8; ++word) {
            for (uint256 shift = 0; shift < 2; ++shift) {
                _load(values, counted, word, shift);
                (uint256 even, uint256 odd) = _middle(values, out);
                _store(lanes, 4 * word + shift, even);
                _store(lanes, 4 * word + shift + 2, odd);
            }
        }
    }

    function _counted(uint32[] memory weights, bytes[] memory leaves) private pure returns (bytes[] memory counted) {
        if (weights.length != leaves.length) {
            revert WeightedSum.WeightedSumLengthMismatch(weights.length, leaves.length);
        }
        uint256 count = 0;
        for (uint256 i = 0; i < weights.length; ++i) {
            if (weights[i] > 1) revert TrimmedSumInvalidWeight(weights[i]);
            count += weights[i];
        }
        if (count > MAX_COUNT) revert TrimmedSumTooMany(count, MAX_COUNT);
        counted = new bytes[](count);
        uint256 next = 0;
        for (uint256 i = 0; i < weights.length; ++i) {
            if (weights[i] == 0) continue;
            if (leaves[i].length != MerkleSum.LEAF_BYTES) {
                revert WeightedSum.WeightedSumSize(leaves[i].length, MerkleSum.LEAF_BYTES);
            }
            counted[next] = leaves[i];
            ++next;
        }
    }

    /// @dev Every second byte of a word of each leaf, in lanes.
    function _load(uint256[] memory values, bytes[] memory counted, uint256 word, uint256 shift) private pure {
        for (uint256 i = 0; i < values.length; ++i) {
            bytes memory update = counted[i];
            uint256 whole;
            assembly ("memory-safe") {
                whole := mload(add(add(update, 0x20), mul(0x20, word)))
            }
            values[i] = (whole >> (8 * shift)) & LOW_BYTES;
        }
    }

    function _store(bytes memory lanes, uint256 word, uint256 sums) private pure {
        assembly ("memory-safe") {
            mstore(add(add(lanes, 0x20), mul(0x20, word)), sums)
        }
    }

    /// @dev Sums of the middle values in lanes of 32 bits: those of the even 16-bit lanes, and of the odd ones. No lane
    /// runs over or below zero: a sum has at most 23 bits, and what is taken off was added before.
    function _middle(uint256[] memory values, uint256 out) private pure returns (uint256 even, uint256 odd) {
        uint256 low = _ranked(values, values.length - out);
        uint256 high = _ranked(values, out + 1);
        unchecked {
            for (uint256 i = 0; i < values.length; ++i) {
                uint256 value = values[i];
                value = _choose(_notBelow(value, low), value, low);
                value = _choose(_notBelow(high, value), value, high);
                even += value & EVEN_LANES;
                odd += (value >> 16) & EVEN_LANES;
            }
            uint256 both = low + high;
            even -= out * (both & EVEN_LANES);
            odd -= out * ((both >> 16) & EVEN_LANES);
        }
    }

    /// @dev In each lane the largest number that at least `required` values are not below, bit by bit.
    function _ranked(uint256[] memory values, uint256 required) private pure returns (uint256 found) {
        unchecked {
            for (uint256 bit = 128; bit > 0; bit >>= 1) {
                uint256 tried = found | (bit * ONES);
                found |= bit * _notBelow(_countNotBelow(values, tried), required * ONES);
            }
        }
    }

    /// @dev In each lane how many values are not below the one tried: `_notBelow` added up, without checks of the index.
    function _countNotBelow(uint256[] memory values, uint256 tried) private pure returns (uint256 count) {
        (uint256 highest, uint256 ones) = (HIGHEST, ONES);
        assembly ("memory-safe") {
            let end := add(add(values, 0x20), mul(0x20, mload(values)))
            for { let source := add(values, 0x20) } lt(source, end) { source := add(source, 0x20) } {
                count := add(count, and(shr(15, sub(or(mload(source), highest), tried)), ones))
            }
        }
    }

    /// @dev 1 in each lane where `a >= b`, else 0; both have 15 bits a lane. A lane never borrows from its neighbour,
    /// because its highest bit is set first.
    function _notBelow(uint256 a, uint256 b) private pure returns (uint256) {
        unchecked {
            return (((a | HIGHEST) - b) & HIGHEST) >> 15;
        }
    }

    /// @dev `a` in each lane where `flags` is 1, `b` where it is 0.
    function _choose(uint256 flags, uint256 a, uint256 b) private pure returns (uint256) {
        unchecked {
            uint256 mask = flags * 0xffff;
            return (a & mask) | (b & ~mask);
        }
    }
}
