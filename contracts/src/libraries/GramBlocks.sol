// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "./MerkleSum.sol";
import { Openings } from "./Openings.sol";

/// @title A block of consecutive leaves of an update: its place in the update's tree, and products of two.
/// @dev Straight from call data, 32 bytes at a time; fuzzing compares it with plain twins.
library GramBlocks {
    /// @dev The lowest byte of each lane of 32 bits, a one in each, and the lower half of each pair of lanes.
    // slither-disable-next-line too-many-digits
    uint256 private constant LOW_BYTES = 0x000000ff000000ff000000ff000000ff000000ff000000ff000000ff000000ff;
    // slither-disable-next-line too-many-digits
    uint256 private constant ONES = 0x0000000100000001000000010000000100000001000000010000000100000001;
    // slither-disable-next-line too-many-digits
    uint256 private constant LOW_32 = 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
    // slither-disable-next-line too-many-digits
    uint256 private constant LOW_64 = 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
    /// @dev Bytes of the two sums of a node.
    uint256 private constant SUMS_BYTES = 16;
    uint256 private constant NODE_BYTES = 48;

    /// @notice The node of an update's tree above a block.
    /// @param leaves The bytes of the block's leaves, 256 each, without places behind the last leaf of the model.
    /// @param sums For each node of the block, level by level from the leaves up and with the one above all: uint64 sum of
    /// |q| and uint64 sum of q^2, as the tree has them. Zeros for an empty place.
    /// @param levels Levels of the block: it has `2^levels` places.
    /// @param count How many of them are leaves of the model.
    function top(bytes calldata leaves, bytes calldata sums, uint256 levels, uint256 count)
        internal
        pure
        returns (MerkleSum.Node memory node)
    {
        if (leaves.length != MerkleSum.LEAF_BYTES * count) {
            revert Openings.OpeningsLeafSize(leaves.length, MerkleSum.LEAF_BYTES * count);
        }
        uint256 width = 1 << levels;
        uint256 size = SUMS_BYTES * (2 * width - 1);
        if (sums.length != size) revert Openings.OpeningsPathLength(sums.length, size);
        // A node spills 16 bytes when it is written; they belong to the next one, which is written later.
        bytes memory row = new bytes(NODE_BYTES * width + SUMS_BYTES);
        for (uint256 i = 0; i < count; ++i) {
            _put(row, i, Openings.hashLeaf(leaves[MerkleSum.LEAF_BYTES * i:MerkleSum.LEAF_BYTES * (i + 1)]), sums, i);
        }
        for (uint256 i = count; i < width; ++i) {
            _put(row, i, bytes32(0), sums, i);
        }
        uint256 done = width;
        for (; width > 1;) {
            width /= 2;
            for (uint256 i = 0; i < width; ++i) {
                _put(row, i, _hashPair(row, i), sums, done + i);
            }
            done += width;
        }
        assembly ("memory-safe") {
            mstore(node, mload(add(row, 0x20)))
            let word := mload(add(row, 0x40))
            mstore(add(node, 0x20), shr(192, word))
            mstore(add(node, 0x40), and(shr(128, word), 0xffffffffffffffff))
        }
    }

    /// @notice Inner product of the integers of leaf `index` of two blocks that have it.
    /// @dev Eight bytes of either side in lanes of 32 bits, those of one side in reverse: the highest lane of the product
    /// is the sum of the products lane by lane, and no lane runs over (8 * 255^2 < 2^20).
    function product(bytes calldata left, bytes calldata right, uint256 index) internal pure returns (int256) {
        uint256 products = 0;
        uint256 lanes = 0;
        unchecked {
            for (uint256 at = MerkleSum.LEAF_BYTES * index; at < MerkleSum.LEAF_BYTES * (index + 1); at += 32) {
                (uint256 x, uint256 y) = (_word(left, at), _reverse(_word(right, at)));
                for (uint256 group = 0; group < 4; ++group) {
                    (uint256 xs, uint256 ys) = (x & LOW_BYTES, y & LOW_BYTES);
                    products += (xs * ys) >> 224;
                    lanes += xs + ys;
                    (x, y) = (x >> 8, y >> 8);
                }
            }
            // sum (x - 128) (y - 128) = sum x y - 128 sum (x + y) + 256 * 128^2; the sum of all lanes is in the highest.
            // casting to 'int256' is safe because neither sum leaves 32 bits
            // forge-lint: disable-next-line(unsafe-typecast)
            return int256(products) - int256(((lanes * ONES) >> 224) * MerkleSum.BIAS)
                + int256(MerkleSum.LEAF_BYTES * MerkleSum.BIAS * MerkleSum.BIAS);
        }
    }

    /// @dev The eight lanes of 32 bits in reverse order.
    function _reverse(uint256 word) private pure returns (uint256) {
        word = (word >> 128) | (word << 128);
        word = ((word >> 64) & LOW_64) | ((word & LOW_64) << 64);
        return ((word >> 32) & LOW_32) | ((word & LOW_32) << 32);
    }

    function _word(bytes calldata values, uint256 start) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(values.offset, start))
        }
    }

    /// @dev Write node `index` of a row, with the sums at `place` of the list.
    function _put(bytes memory row, uint256 index, bytes32 hash, bytes calldata sums, uint256 place) private pure {
        assembly ("memory-safe") {
            let target := add(add(row, 0x20), mul(NODE_BYTES, index))
            mstore(target, hash)
            mstore(add(target, 0x20), shl(128, shr(128, calldataload(add(sums.offset, mul(SUMS_BYTES, place))))))
        }
    }

    /// @dev Hash of the node above nodes `2 index` and `2 index + 1` of a row.
    function _hashPair(bytes memory row, uint256 index) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            // Scratch behind the free memory pointer: nothing is allocated in between.
            let pointer := mload(0x40)
            mstore8(pointer, 1)
            mcopy(add(pointer, 1), add(add(row, 0x20), mul(96, index)), 96)
            hash := keccak256(pointer, 97)
        }
    }
}
