// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The tree over the partial Gram matrices of a round (docs/protocol.md, section 3).
/// @notice A leaf is the matrix of a block of 16 leaves of the updates, a node's matrix the sum of its children's, and the
/// root's the round's Gram matrix. Of k updates a matrix has the entries (a, b), a >= b, row by row, an int192 each.
/// @dev A node binds its children and its own matrix, so that a path has 64 bytes a level whatever k is.
library GramTree {
    /// @notice Levels of the update trees that a block covers, or all of them if there are fewer.
    uint256 internal constant BLOCK_LEVELS = 4;
    /// @notice Maximum number of updates in a tree.
    uint256 internal constant MAX_UPDATES = 32;
    /// @notice Bytes of an entry.
    uint256 internal constant ENTRY_BYTES = 24;
    /// @notice Bytes a level of a path: the sibling's hash, and keccak256 of the matrix of the node above.
    uint256 internal constant STEP_BYTES = 64;

    /// @notice Thrown when the length of a path differs from the depth of the tree.
    error GramTreePathLength(uint256 given, uint256 required);
    /// @notice Thrown when an index is out of range for a tree of this depth.
    error GramTreeIndexOutOfRange(uint256 index, uint256 depth);

    /// @notice Bytes of the matrix of so many updates.
    function size(uint256 count) internal pure returns (uint256) {
        return ENTRY_BYTES * count * (count + 1) / 2;
    }

    /// @notice Hash of a leaf.
    function leaf(bytes calldata matrix) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x12), matrix));
    }

    /// @notice Hash of a node.
    /// @param digest keccak256 of its matrix.
    function node(bytes32 left, bytes32 right, bytes32 digest) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x13), left, right, digest));
    }

    /// @notice The root that a node at `index` of its level has with this path.
    /// @param path From the lowest level up, STEP_BYTES each.
    /// @param height Levels above the node.
    function climb(bytes32 hash, uint256 index, bytes calldata path, uint256 height) internal pure returns (bytes32) {
        if (path.length != STEP_BYTES * height) revert GramTreePathLength(path.length, STEP_BYTES * height);
        if (index >> height != 0) revert GramTreeIndexOutOfRange(index, height);
        for (uint256 level = 0; level < height; ++level) {
            uint256 start = STEP_BYTES * level;
            bytes32 sibling = bytes32(path[start:start + 32]);
            bytes32 digest = bytes32(path[start + 32:start + 64]);
            hash = (index >> level) & 1 == 1 ? node(sibling, hash, digest) : node(hash, sibling, digest);
        }
        return hash;
    }

    /// @notice Entry (a, b), a >= b, of a matrix that has it.
    function entry(bytes calldata matrix, uint256 a, uint256 b) internal pure returns (int256 value) {
        uint256 start = ENTRY_BYTES * (a * (a + 1) / 2 + b);
        assembly ("memory-safe") {
            // The upper 24 bytes of the word, with their sign.
            value := sar(64, calldataload(add(matrix.offset, start)))
        }
    }
}
