// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title How a model is laid out in leaves (docs/protocol.md, section 2).
/// @notice The layout is one big-endian uint64 a tensor: its number of elements. It is bound by the manifest's hash, so
/// whoever brings it can't choose the depth of a tree, the tensor of a leaf, or what is padding.
library Layout {
    /// @notice Coordinates of a leaf.
    uint256 internal constant LEAF = 256;
    /// @notice Bytes of a tensor in the layout.
    uint256 internal constant TENSOR_BYTES = 8;

    /// @notice Where a leaf lies.
    struct Place {
        /// @notice Number of the tensor; the number of tensors for a leaf behind the last one.
        uint256 tensor;
        /// @notice Coordinates of the leaf that are no padding; zero for a leaf behind the last one.
        uint256 values;
    }

    /// @notice Thrown when the layout is none: empty, cut off, or with a tensor of nothing.
    error LayoutInvalid(uint256 length);

    /// @notice The manifest's hash.
    /// @param documentHash keccak256 of the manifest file.
    function manifestHash(bytes calldata layout, bytes32 documentHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(layout), documentHash));
    }

    /// @notice Leaves of one tensor of a layout that `find` took.
    function leavesOf(bytes calldata layout, uint256 tensor) internal pure returns (uint256) {
        uint256 start = TENSOR_BYTES * tensor;
        return (uint256(uint64(bytes8(layout[start:start + TENSOR_BYTES]))) + LEAF - 1) / LEAF;
    }

    /// @notice Depth of the trees, and the place of one leaf.
    /// @dev One pass over all tensors, whose number the manifest fixes.
    function find(bytes calldata layout, uint256 leaf)
        internal
        pure
        returns (uint256 leaves, uint256 depth, Place memory place)
    {
        uint256 tensors = layout.length / TENSOR_BYTES;
        if (tensors == 0 || layout.length % TENSOR_BYTES != 0) revert LayoutInvalid(layout.length);
        place.tensor = tensors;
        for (uint256 tensor = 0; tensor < tensors; ++tensor) {
            uint256 start = TENSOR_BYTES * tensor;
            uint256 elements = uint64(bytes8(layout[start:start + TENSOR_BYTES]));
            if (elements == 0) revert LayoutInvalid(layout.length);
            uint256 end = leaves + (elements + LEAF - 1) / LEAF;
            if (leaf >= leaves && leaf < end) {
                uint256 left = elements - LEAF * (leaf - leaves);
                (place.tensor, place.values) = (tensor, left < LEAF ? left : LEAF);
            }
            leaves = end;
        }
        for (; (1 << depth) < leaves;) {
            ++depth;
        }
    }
}
