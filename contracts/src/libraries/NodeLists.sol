// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleTree } from "./MerkleTree.sol";
import { Openings } from "./Openings.sol";

/// @title Lists of the nodes below a node: what a tree is shown by, a few levels at a time.
/// @notice The list of a node has all nodes that are `height` levels below it, from left to right. Nodes of an update tree
/// have 48 bytes: hash, uint64 sum of |q|, uint64 sum of q^2. Those of the plain trees have 32.
/// @dev Pure: whether a rebuilt hash is a node's is for the caller to see.
library NodeLists {
    /// @notice Levels that a list leads down, or all that there are if they are fewer.
    uint256 internal constant HEIGHT = 5;
    /// @notice Bytes of a node of a plain tree.
    uint256 internal constant HASH_BYTES = 32;

    /// @notice Thrown when a list does not have a node for each place.
    error NodeListsSize(uint256 given, uint256 required);

    /// @notice Levels that the list of a node leads down.
    /// @param level Level of the node, above 0.
    function heightOf(uint256 level) internal pure returns (uint256) {
        return level < HEIGHT ? level : HEIGHT;
    }

    /// @notice Hash of the node of a plain tree that has this list.
    function plain(MerkleTree.Kind kind, bytes calldata list, uint256 height) internal pure returns (bytes32 hash) {
        uint256 width = _requireNodes(list, height, HASH_BYTES);
        uint256 prefix = MerkleTree.nodePrefix(kind);
        bytes memory row = list;
        for (; width > 1; width /= 2) {
            for (uint256 i = 0; i < width / 2; ++i) {
                assembly ("memory-safe") {
                    // Scratch behind the free memory pointer: nothing is allocated in between.
                    let pointer := mload(0x40)
                    mstore8(pointer, prefix)
                    let nodes := add(row, 0x20)
                    mcopy(add(pointer, 1), add(nodes, mul(64, i)), 64)
                    mstore(add(nodes, mul(32, i)), keccak256(pointer, 65))
                }
            }
        }
        assembly ("memory-safe") {
            hash := mload(add(row, 0x20))
        }
    }

    /// @notice Hash of the node of an update tree that has this list. Sums that leave 64 bits are cut: no honest tree comes
    /// near.
    function sums(bytes calldata list, uint256 height) internal pure returns (bytes32 hash) {
        uint256 width = _requireNodes(list, height, Openings.SIBLING_BYTES);
        bytes memory row = list;
        for (; width > 1; width /= 2) {
            for (uint256 i = 0; i < width / 2; ++i) {
                assembly ("memory-safe") {
                    // As above. A node that is written spills 16 bytes, into the second of the pair that it is made of or
                    // into what was read before.
                    let pointer := mload(0x40)
                    mstore8(pointer, 1)
                    let pair := add(add(row, 0x20), mul(96, i))
                    mcopy(add(pointer, 1), pair, 96)
                    let left := mload(add(pair, 32))
                    let right := mload(add(pair, 80))
                    let absolute := add(shr(192, left), shr(192, right))
                    let squares := and(add(shr(128, left), shr(128, right)), 0xffffffffffffffff)
                    let node := add(add(row, 0x20), mul(48, i))
                    mstore(node, keccak256(pointer, 97))
                    mstore(add(node, 32), or(shl(192, absolute), shl(128, squares)))
                }
            }
        }
        assembly ("memory-safe") {
            hash := mload(add(row, 0x20))
        }
    }

    /// @notice Hash of one node of a list whose size was checked.
    function hashAt(bytes calldata list, uint256 index, uint256 nodeBytes) internal pure returns (bytes32) {
        return bytes32(list[nodeBytes * index:nodeBytes * index + 32]);
    }

    function _requireNodes(bytes calldata list, uint256 height, uint256 nodeBytes)
        private
        pure
        returns (uint256 width)
    {
        width = 1 << height;
        if (list.length != nodeBytes * width) revert NodeListsSize(list.length, nodeBytes * width);
    }
}
