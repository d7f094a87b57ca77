// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";

/// @dev Most tensors of a manifest (docs/protocol.md, section 2).
uint256 constant MAX_TENSORS = 4096;

/// @notice Whole trees and paths in them, as files of artifacts have them, and what they are made of.
library Trees {
    /// @notice Some bytes again and again.
    /// @param times A power of two.
    function repeated(bytes memory values, uint256 times) internal pure returns (bytes memory) {
        for (; times > 1; times /= 2) {
            values = bytes.concat(values, values);
        }
        return values;
    }

    /// @notice All levels of an update tree, the leaves first.
    function sums(MerkleSum.Node[] memory leaves, uint256 depth)
        internal
        pure
        returns (MerkleSum.Node[][] memory levels)
    {
        levels = new MerkleSum.Node[][](depth + 1);
        levels[0] = new MerkleSum.Node[](1 << depth);
        for (uint256 i = 0; i < leaves.length; ++i) {
            levels[0][i] = leaves[i];
        }
        for (uint256 level = 1; level <= depth; ++level) {
            levels[level] = new MerkleSum.Node[](1 << (depth - level));
            rehash(levels, level);
        }
    }

    /// @notice Compute a level anew from the one below.
    function rehash(MerkleSum.Node[][] memory levels, uint256 level) internal pure {
        for (uint256 i = 0; i < levels[level].length; ++i) {
            levels[level][i] = MerkleSum.parent(levels[level - 1][2 * i], levels[level - 1][2 * i + 1]);
        }
    }

    /// @notice Siblings of a node from its level up, 48 bytes each.
    function path(MerkleSum.Node[][] memory levels, uint256 level, uint256 index)
        internal
        pure
        returns (bytes memory siblings)
    {
        for (; level + 1 < levels.length; ++level) {
            MerkleSum.Node memory sibling = levels[level][index ^ 1];
            siblings = abi.encodePacked(siblings, sibling.hash, sibling.absolute, sibling.squares);
            index >>= 1;
        }
    }

    /// @notice A part of a level, 48 bytes a node.
    function list(MerkleSum.Node[] memory level, uint256 first, uint256 count)
        internal
        pure
        returns (bytes memory nodes)
    {
        for (uint256 i = first; i < first + count; ++i) {
            nodes = abi.encodePacked(nodes, level[i].hash, level[i].absolute, level[i].squares);
        }
    }

    /// @notice A part of a level, 32 bytes a node.
    function list(bytes32[] memory level, uint256 first, uint256 count) internal pure returns (bytes memory nodes) {
        for (uint256 i = first; i < first + count; ++i) {
            nodes = abi.encodePacked(nodes, level[i]);
        }
    }

    /// @notice All levels of a plain tree, the leaves first.
    function hashes(MerkleTree.Kind kind, bytes32[] memory leaves, uint256 depth)
        internal
        pure
        returns (bytes32[][] memory levels)
    {
        levels = new bytes32[][](depth + 1);
        levels[0] = new bytes32[](1 << depth);
        for (uint256 i = 0; i < leaves.length; ++i) {
            levels[0][i] = leaves[i];
        }
        for (uint256 level = 1; level <= depth; ++level) {
            levels[level] = new bytes32[](1 << (depth - level));
            for (uint256 i = 0; i < levels[level].length; ++i) {
                levels[level][i] = MerkleTree.parent(kind, levels[level - 1][2 * i], levels[level - 1][2 * i + 1]);
            }
        }
    }

    /// @notice Siblings of a leaf from the lowest up.
    function path(bytes32[][] memory levels, uint256 index) internal pure returns (bytes32[] memory siblings) {
        siblings = new bytes32[](levels.length - 1);
        for (uint256 level = 0; level < siblings.length; ++level) {
            siblings[level] = levels[level][(index >> level) ^ 1];
        }
    }
}
