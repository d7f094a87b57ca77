// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Widths of an encoded coordinate: 8, 4 or 2 bits.
library Widths {
    /// @notice Largest width.
    uint8 internal constant MAX = 8;

    /// @notice Largest absolute value of an encoded coordinate: 127, 7 or 1.
    /// @param width Bits of a coordinate, of a policy that was added.
    function largest(uint8 width) internal pure returns (uint256) {
        return (1 << (width - 1)) - 1;
    }
}
