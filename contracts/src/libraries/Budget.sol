// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What noisy updates cost of a contributor's privacy budget.
/// @notice zCDP (Bun and Steinke 2016): a Gaussian whose standard deviation is `s` times the sensitivity costs
/// rho = 1 / (2 s^2), and costs add up. They are counted in units of 2^-32 of rho. With `s = noise1024 / 1024` a sum costs
/// 2^51 / noise1024^2 of them.
library Budget {
    /// @notice Largest number of steps: with more, `steps * 2^51` would not fit 64 bits.
    uint32 internal constant MAX_STEPS = 8191;

    /// @notice Cost of one update, rounded up; it has 64 bits.
    /// @param noise1024 The noise, not zero, of 32 bits.
    /// @param steps Noised sums of the update, at most MAX_STEPS.
    function cost(uint256 noise1024, uint256 steps) internal pure returns (uint256) {
        unchecked {
            // Neither has more than 64 bits.
            uint256 square = noise1024 * noise1024;
            return ((steps << 51) + square - 1) / square;
        }
    }
}
