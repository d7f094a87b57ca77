// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "./MerkleSum.sol";
import { WeightedSum } from "./WeightedSum.sol";

/// @title What MerkleSum and WeightedSum do, straight from call data.
/// @notice A proof brings a leaf and a path of every update. These functions touch each byte once; the plain functions
/// of the two other libraries are their twins, and fuzzing compares them.
library Openings {
    /// @notice Bytes of one sibling: hash, sum of |q|, sum of q^2, as nodes hash them.
    uint256 internal constant SIBLING_BYTES = 48;
    /// @dev The lowest byte of each lane, as in WeightedSum.
    // slither-disable-next-line too-many-digits
    uint256 private constant LOW_BYTES = 0x000000ff000000ff000000ff000000ff000000ff000000ff000000ff000000ff;

    /// @dev Masks of 16-bit lanes: the low byte, one, bit 8.
    uint256 private constant EVEN = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
    // slither-disable-next-line too-many-digits
    uint256 private constant ONES = 0x0001000100010001000100010001000100010001000100010001000100010001;
    uint256 private constant BIT_8 = ONES << 8;
    /// @dev A whole lane of 32 bits.
    uint256 private constant LANE = 0xffffffff;

    /// @notice Thrown when a path has another length than the tree is deep.
    error OpeningsPathLength(uint256 given, uint256 required);
    /// @notice Thrown when an index has no place in a tree of this depth.
    error OpeningsIndexOutOfRange(uint256 index, uint256 depth);
    /// @notice Thrown when a leaf or a sum has another length than it must have.
    error OpeningsLeafSize(uint256 given, uint256 required);

    /// @notice Thrown when a sum leaves 64 bits: no honest tree comes near.
    error OpeningsSumTooLarge(uint256 sum);

    /// @notice Hash of an update's leaf.
    function hashLeaf(bytes calldata values) internal pure returns (bytes32 hash) {
        if (values.length != MerkleSum.LEAF_BYTES) revert OpeningsLeafSize(values.length, MerkleSum.LEAF_BYTES);
        assembly ("memory-safe") {
            // Scratch behind the free memory pointer: nothing is allocated in between.
            let pointer := mload(0x40)
            mstore8(pointer, 0)
            calldatacopy(add(pointer, 1), values.offset, 256)
            hash := keccak256(pointer, 257)
        }
    }

    /// @notice The node of an update's leaf, its sums counted anew.
    function leaf(bytes calldata values) internal pure returns (MerkleSum.Node memory node) {
        node.hash = hashLeaf(values);
        uint256 absolute = 0;
        uint256 squares = 0;
        unchecked {
            for (uint256 start = 0; start < MerkleSum.LEAF_BYTES; start += 32) {
                uint256 word = uint256(bytes32(values[start:start + 32]));
                for (uint256 i = 32; i > 0; --i) {
                    uint256 value = word & 0xff;
                    if (value == 0) revert MerkleSum.MerkleSumInvalidByte(start + i - 1);
                    uint256 magnitude = value < MerkleSum.BIAS ? MerkleSum.BIAS - value : value - MerkleSum.BIAS;
                    absolute += magnitude;
                    squares += magnitude * magnitude;
                    word >>= 8;
                }
            }
        }
        // casting to 'uint64' is safe because 256 * 127^2 is below 2^23
        // forge-lint: disable-next-line(unsafe-typecast)
        (node.absolute, node.squares) = (uint64(absolute), uint64(squares));
    }

    /// @notice Revert if a coordinate of an update's leaves is beyond a range.
    /// @dev Sixteen coordinates at a time. With lanes of 16 bits and values of 8, bit 8 of `x + 256 - y` says `x >= y`.
    /// @param values Whole leaves.
    /// @param largest Largest absolute value that a coordinate may have.
    function requireRange(bytes calldata values, uint256 largest) internal pure {
        unchecked {
            uint256 most = BIT_8 + (MerkleSum.BIAS + largest) * ONES;
            uint256 least = BIT_8 - (MerkleSum.BIAS - largest) * ONES;
            for (uint256 start = 0; start < values.length; start += 32) {
                uint256 word = uint256(bytes32(values[start:start + 32]));
                (uint256 even, uint256 odd) = (word & EVEN, (word >> 8) & EVEN);
                uint256 within = (even + least) & (most - even) & (odd + least) & (most - odd);
                if (within & BIT_8 != BIT_8) revert MerkleSum.MerkleSumInvalidByte(start);
            }
        }
    }

    /// @notice The root that a node at `index` of its level has with these siblings.
    /// @param siblings From the lowest up, SIBLING_BYTES each.
    /// @param height Levels above the node.
    function climb(MerkleSum.Node memory node, uint256 index, bytes calldata siblings, uint256 height)
        internal
        pure
        returns (MerkleSum.Node memory root)
    {
        if (siblings.length != SIBLING_BYTES * height) {
            revert OpeningsPathLength(siblings.length, SIBLING_BYTES * height);
        }
        if (index >> height != 0) revert OpeningsIndexOutOfRange(index, height);
        bytes32 hash = node.hash;
        // Sums stay apart in one word, the one of q^2 below; a carry out of 64 bits is what `lost` collects.
        uint256 absolute = node.absolute;
        uint256 squares = node.squares;
        assembly ("memory-safe") {
            let pointer := mload(0x40)
            mstore8(pointer, 1)
            let source := siblings.offset
            let end := add(source, siblings.length)
            for { } lt(source, end) { source := add(source, SIBLING_BYTES) } {
                // The node is written first and the sibling over what it spilled, or the other way round: the node is
                // 48 bytes, and its last word spills 16.
                let isRight := and(index, 1)
                let own := add(pointer, add(1, mul(48, isRight)))
                mstore(own, hash)
                mstore(add(own, 32), or(shl(192, absolute), shl(128, squares)))
                calldatacopy(add(pointer, sub(49, mul(48, isRight))), source, 48)
                hash := keccak256(pointer, 97)
                let sums := calldataload(add(source, 32))
                absolute := add(absolute, shr(192, sums))
                squares := add(squares, and(shr(128, sums), 0xffffffffffffffff))
                index := shr(1, index)
            }
        }
        // No honest tree comes near 2^64, and the wide sums can't run over; a hash over cut sums would not be a node's.
        root.hash = hash;
        // Nothing binds the root's sum of |q|: if two nodes below it claim too much together, they must open all the same,
        // or nobody could show that they are wrong.
        // forge-lint: disable-next-line(unsafe-typecast)
        root.absolute = uint64(absolute);
        root.squares = _narrow(squares);
    }

    /// @notice Whether all places behind the last leaf are empty, as far as a path shows: each sibling that holds nothing
    /// else must be the empty node of its level. The path of the last leaf shows all of them.
    /// @param leaves Leaves of the tree; those of the manifest.
    /// @param level Level of the node that the path starts from.
    /// @param siblings A path that was climbed.
    function endsEmpty(uint256 leaves, uint256 level, uint256 index, bytes calldata siblings)
        internal
        pure
        returns (bool)
    {
        MerkleSum.Node memory empty = MerkleSum.Node(bytes32(0), 0, 0);
        uint256 height = level + siblings.length / SIBLING_BYTES;
        for (uint256 at = 0; at < height; ++at) {
            // The neighbour's index: the lowest bit is turned over, nothing is raised to a power.
            // slither-disable-next-line incorrect-exp
            if (at >= level && ((index >> (at - level)) ^ 1) << at >= leaves) {
                bytes calldata sibling = siblings[SIBLING_BYTES * (at - level):SIBLING_BYTES * (at - level + 1)];
                if (bytes32(sibling[:32]) != empty.hash || bytes16(sibling[32:]) != 0) return false;
            }
            empty.hash = MerkleSum.hashParent(empty, empty);
        }
        return true;
    }

    /// @notice Add `weight` times an update's leaf to a sum of 1024 bytes.
    /// @dev A lane gets at most 255 times the sum of the weights, which the caller bounds.
    function addWeighted(bytes memory lanes, uint256 weight, bytes calldata values) internal pure {
        if (values.length != MerkleSum.LEAF_BYTES) revert OpeningsLeafSize(values.length, MerkleSum.LEAF_BYTES);
        _requireSum(lanes);
        assembly ("memory-safe") {
            let target := add(lanes, 0x20)
            let end := add(values.offset, 256)
            for { let source := values.offset } lt(source, end) { source := add(source, 0x20) } {
                let word := calldataload(source)
                mstore(target, add(mload(target), mul(weight, and(word, LOW_BYTES))))
                target := add(target, 0x20)
                mstore(target, add(mload(target), mul(weight, and(shr(8, word), LOW_BYTES))))
                target := add(target, 0x20)
                mstore(target, add(mload(target), mul(weight, and(shr(16, word), LOW_BYTES))))
                target := add(target, 0x20)
                mstore(target, add(mload(target), mul(weight, and(shr(24, word), LOW_BYTES))))
                target := add(target, 0x20)
            }
        }
    }

    /// @notice The mean's leaf: `B_j + 128` of each coordinate, in the order of an update's leaf.
    /// @dev `floor((2 S A + W) / (2 W)) + 128 = floor((2 S U + (257 - 256 S) W) / (2 W))`, where A = U - 128 W. What is
    /// added to 2 S U can be below zero, but the dividend is not, for updates within their width: `A >= -127 W / S`. No
    /// other update can count, which `proveUpdate` is for, so it does not matter what comes out of one.
    /// @param lanes A weighted or clamped sum.
    /// @param weightSum Sum of the weights.
    /// @param scale The policy's `meanScale`.
    function mean(bytes memory lanes, uint256 weightSum, uint256 scale) internal pure returns (bytes memory values) {
        _requireSum(lanes);
        values = new bytes(MerkleSum.LEAF_BYTES);
        assembly ("memory-safe") {
            let offset := mul(sub(257, mul(256, scale)), weightSum)
            scale := mul(2, scale)
            let divisor := mul(2, weightSum)
            let source := add(lanes, 0x20)
            let end := add(source, 1024)
            for { let target := add(values, 0x20) } lt(source, end) { target := add(target, 0x20) } {
                // Four words of sums have the bytes of one word, its last byte in the first of them.
                let word := 0
                for { let lane := 0 } lt(lane, 256) { lane := add(lane, 32) } {
                    let four := div(add(mul(and(shr(lane, mload(add(source, 0x60))), LANE), scale), offset), divisor)
                    four := or(
                        shl(8, four),
                        div(add(mul(and(shr(lane, mload(add(source, 0x40))), LANE), scale), offset), divisor)
                    )
                    four := or(
                        shl(8, four),
                        div(add(mul(and(shr(lane, mload(add(source, 0x20))), LANE), scale), offset), divisor)
                    )
                    four := or(shl(8, four), div(add(mul(and(shr(lane, mload(source)), LANE), scale), offset), divisor))
                    word := or(word, shl(lane, four))
                }
                mstore(target, word)
                source := add(source, 0x80)
            }
        }
    }

    function _requireSum(bytes memory lanes) private pure {
        if (lanes.length != WeightedSum.SUM_BYTES) revert OpeningsLeafSize(lanes.length, WeightedSum.SUM_BYTES);
    }

    function _narrow(uint256 sum) private pure returns (uint64) {
        if (sum > type(uint64).max) revert OpeningsSumTooLarge(sum);
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint64(sum);
    }
}
