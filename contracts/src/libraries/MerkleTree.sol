// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The plain trees of the protocol: mean, theta and momentum (docs/protocol.md, section 3).
/// @notice Each tree has its own prefixes for leaves and nodes, so that no part of one can pass for a part of another.
/// @dev Reference functions for fraud proofs.
library MerkleTree {
    /// @notice Which tree; the prefix of its leaves. The prefix of its nodes is one more.
    enum Kind {
        Mean,
        Theta,
        Momentum
    }

    /// @notice Thrown when an index has no place in a tree of this depth.
    error MerkleTreeIndexOutOfRange(uint256 index, uint256 depth);

    /// @notice Hash of a leaf's bytes.
    function leaf(Kind kind, bytes memory values) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(_leafPrefix(kind)), values));
    }

    /// @notice Hash of the node above two.
    function parent(Kind kind, bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(nodePrefix(kind)), left, right));
    }

    /// @notice The root that a node at `index` of the lowest level has with these siblings, from the lowest up.
    /// @param siblings As many as the tree is deep; the depth must come from the manifest.
    function climb(Kind kind, bytes32 node, uint256 index, bytes32[] memory siblings) internal pure returns (bytes32) {
        if (index >> siblings.length != 0) revert MerkleTreeIndexOutOfRange(index, siblings.length);
        for (uint256 level = 0; level < siblings.length; ++level) {
            bool isRight = (index >> level) & 1 == 1;
            node = isRight ? parent(kind, siblings[level], node) : parent(kind, node, siblings[level]);
        }
        return node;
    }

    /// @notice Whether all places behind the last leaf are empty, as far as a path shows: each sibling that holds nothing
    /// else must be the empty node of its level. The path of the last leaf shows all of them.
    /// @param leaves Leaves of the tree; those of the manifest.
    function endsEmpty(Kind kind, uint256 leaves, uint256 index, bytes32[] memory siblings)
        internal
        pure
        returns (bool)
    {
        bytes32 empty = bytes32(0);
        for (uint256 level = 0; level < siblings.length; ++level) {
            // The neighbour's index: the lowest bit is turned over, nothing is raised to a power.
            // slither-disable-next-line incorrect-exp
            if (((index >> level) ^ 1) << level >= leaves && siblings[level] != empty) return false;
            empty = parent(kind, empty, empty);
        }
        return true;
    }

    /// @notice The root that stands for a whole state.
    function stateRoot(bytes32 manifestHash, bytes32 thetaRoot, bytes32 momentumRoot) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x08), manifestHash, thetaRoot, momentumRoot));
    }

    /// @notice First byte under a node's hash.
    function nodePrefix(Kind kind) internal pure returns (uint8) {
        return _leafPrefix(kind) + 1;
    }

    function _leafPrefix(Kind kind) private pure returns (uint8) {
        return 2 + 2 * uint8(kind);
    }
}
