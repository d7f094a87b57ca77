// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The Merkle-sum tree of an update (docs/protocol.md, section 3).
/// @notice Each node binds its children's hashes and their sums of |q| and q^2. Paths are directed by the leaf's index,
/// so that a leaf has one place; the depth must come from the manifest, never from whoever brings the path.
/// @dev Reference functions for fraud proofs: pure, and free of any trust in their caller.
library MerkleSum {
    /// @notice A node: its hash, and the sums over all coordinates below it.
    struct Node {
        /// @notice Zero for an empty place.
        bytes32 hash;
        /// @notice Sum of |q|.
        uint64 absolute;
        /// @notice Sum of q^2.
        uint64 squares;
    }

    /// @notice Bytes of a leaf: one a coordinate.
    uint256 internal constant LEAF_BYTES = 256;
    /// @notice What is added to a coordinate to make its byte.
    uint256 internal constant BIAS = 128;

    /// @notice Thrown when a leaf has another length than the protocol's.
    error MerkleSumLeafSize(uint256 given, uint256 required);
    /// @notice Thrown on the byte of an integer beyond the range of a coordinate, or at the word that has it.
    error MerkleSumInvalidByte(uint256 place);
    /// @notice Thrown when an index has no place in a tree of this depth.
    error MerkleSumIndexOutOfRange(uint256 index, uint256 depth);

    /// @notice The node of a leaf, its sums counted anew.
    function leaf(bytes memory values) internal pure returns (Node memory node) {
        if (values.length != LEAF_BYTES) revert MerkleSumLeafSize(values.length, LEAF_BYTES);
        uint256 absolute = 0;
        uint256 squares = 0;
        for (uint256 i = 0; i < LEAF_BYTES; ++i) {
            uint256 value = uint8(values[i]);
            if (value == 0) revert MerkleSumInvalidByte(i);
            uint256 magnitude = value < BIAS ? BIAS - value : value - BIAS;
            absolute += magnitude;
            squares += magnitude * magnitude;
        }
        node.hash = keccak256(abi.encodePacked(bytes1(0x00), values));
        // casting to 'uint64' is safe because 256 * 127^2 is below 2^23
        // forge-lint: disable-next-line(unsafe-typecast)
        (node.absolute, node.squares) = (uint64(absolute), uint64(squares));
    }

    /// @notice The node above two nodes. Reverts when a sum leaves 64 bits: no honest tree comes near.
    function parent(Node memory left, Node memory right) internal pure returns (Node memory node) {
        node.hash = hashParent(left, right);
        node.absolute = left.absolute + right.absolute;
        node.squares = left.squares + right.squares;
    }

    /// @notice Hash of the node above two nodes, whatever sums it claims.
    function hashParent(Node memory left, Node memory right) internal pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                bytes1(0x01), left.hash, left.absolute, left.squares, right.hash, right.absolute, right.squares
            )
        );
    }

    /// @notice The root that a node at `index` of the lowest level has with these siblings, from the lowest up.
    /// @param siblings As many as the tree is deep.
    function climb(Node memory node, uint256 index, Node[] memory siblings) internal pure returns (Node memory) {
        if (index >> siblings.length != 0) revert MerkleSumIndexOutOfRange(index, siblings.length);
        for (uint256 level = 0; level < siblings.length; ++level) {
            bool isRight = (index >> level) & 1 == 1;
            node = isRight ? parent(siblings[level], node) : parent(node, siblings[level]);
        }
        return node;
    }
}
