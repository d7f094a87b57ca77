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
        /// @notice Elements of the tensor behind the leaf.
        uint256 left;
    }

    /// @notice Thrown when the layout is none: empty, cut off, or with a tensor of nothing.
    error LayoutInvalid(uint256 length);

    /// @notice The manifest's hash.
    /// @param documentHash keccak256 of the manifest file.
    function manifestHash(bytes calldata layout, bytes32 documentHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(layout), documentHash));
    }

    /// @notice Depth of the trees, and the place of one leaf.
    /// @dev One pass over all tensors, whose number the manifest fixes and limits. Unchecked, because each tensor costs
    /// gas: it has at most 2^56 leaves, and call data has room for far fewer than 2^64 tensors.
    function find(bytes calldata layout, uint256 leaf)
        internal
        pure
        returns (uint256 leaves, uint256 depth, Place memory place)
    {
        uint256 tensors = layout.length / TENSOR_BYTES;
        if (tensors == 0 || layout.length % TENSOR_BYTES != 0) revert LayoutInvalid(layout.length);
        place.tensor = tensors;
        unchecked {
            for (uint256 tensor = 0; tensor < tensors; ++tensor) {
                uint256 elements = _elementsOf(layout, tensor);
                if (elements == 0) revert LayoutInvalid(layout.length);
                uint256 end = leaves + (elements + LEAF - 1) / LEAF;
                if (leaf < end && leaf >= leaves) _put(place, tensor, elements - LEAF * (leaf - leaves));
                leaves = end;
            }
        }
        for (; (1 << depth) < leaves;) {
            ++depth;
        }
    }

    /// @notice Move a place of a layout that `find` took to the next leaf.
    function advance(bytes calldata layout, Place memory place) internal pure {
        if (place.left > 0) {
            _put(place, place.tensor, place.left);
        } else if (TENSOR_BYTES * (place.tensor + 1) < layout.length) {
            _put(place, place.tensor + 1, _elementsOf(layout, place.tensor + 1));
        } else {
            (place.tensor, place.values) = (layout.length / TENSOR_BYTES, 0);
        }
    }

    /// @dev A leaf of a tensor that has so many elements from it on.
    function _put(Place memory place, uint256 tensor, uint256 elements) private pure {
        uint256 values = elements < LEAF ? elements : LEAF;
        (place.tensor, place.values, place.left) = (tensor, values, elements - values);
    }

    /// @dev Elements of a tensor that there is.
    function _elementsOf(bytes calldata layout, uint256 tensor) private pure returns (uint256 elements) {
        assembly ("memory-safe") {
            // The eight bytes at the place are the highest of the word.
            elements := shr(192, calldataload(add(layout.offset, mul(8, tensor))))
        }
    }
}
