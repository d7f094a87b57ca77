// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The outer step (docs/protocol.md, section 9).
/// @dev Reference functions for fraud proofs. Divisions round towards minus infinity.
library OuterStep {
    /// @notice Fractional bits of the state.
    int256 internal constant FRACTION_BITS = 26;
    /// @notice Largest absolute value of the state.
    int256 internal constant STATE_BOUND = 2 ** 48 - 1;
    /// @notice Smallest and largest exponent.
    int8 internal constant MIN_EXPONENT = -40;
    int8 internal constant MAX_EXPONENT = 4;
    /// @dev Rate and momentum count in 1/1024; a shift to the right rounds towards minus infinity.
    uint256 private constant UNIT_BITS = 10;

    /// @notice What the step of one coordinate depends on, beside its own values.
    struct Settings {
        /// @notice The policy's `meanScale`, at least 1.
        uint8 meanScale;
        /// @notice Exponent of the coordinate's tensor.
        int8 exponent;
        /// @notice Learning rate in 1/1024.
        uint16 rate;
        /// @notice Momentum in 1/1024.
        uint16 momentum;
    }

    /// @notice Thrown when an exponent is outside of its range.
    error OuterStepExponentOutOfRange(int256 exponent);

    /// @notice Theta and momentum of one coordinate after the round.
    /// @param mean `B_j`, the coordinate of the published mean.
    function step(int64 theta, int64 momentum, int256 mean, Settings memory settings)
        internal
        pure
        returns (int64 nextTheta, int64 nextMomentum)
    {
        (int256 rate, int256 decay) = (int256(uint256(settings.rate)), int256(uint256(settings.momentum)));
        int256 gradient = inStateUnits(mean, settings.meanScale, settings.exponent);
        nextMomentum = _clamp(((int256(momentum) * decay) >> UNIT_BITS) + gradient);
        int256 ahead = gradient + ((int256(nextMomentum) * decay) >> UNIT_BITS);
        nextTheta = _clamp(int256(theta) - ((rate * ahead) >> UNIT_BITS));
    }

    /// @notice The mean of a coordinate in the state's unit, rounded to the nearest, halves up.
    function inStateUnits(int256 mean, uint8 meanScale, int8 exponent) internal pure returns (int256) {
        if (exponent < MIN_EXPONENT || exponent > MAX_EXPONENT) revert OuterStepExponentOutOfRange(exponent);
        int256 shift = FRACTION_BITS + exponent;
        int256 numerator = mean;
        int256 denominator = int256(uint256(meanScale));
        if (shift >= 0) numerator *= _powerOfTwo(shift);
        else denominator *= _powerOfTwo(-shift);
        return floorDivide(2 * numerator + denominator, 2 * denominator);
    }

    /// @notice A quotient, rounded towards minus infinity: Solidity rounds towards zero. `denominator` is positive.
    function floorDivide(int256 numerator, int256 denominator) internal pure returns (int256 quotient) {
        quotient = numerator / denominator;
        if (numerator % denominator < 0) --quotient;
    }

    function _clamp(int256 value) private pure returns (int64) {
        if (value > STATE_BOUND) value = STATE_BOUND;
        if (value < -STATE_BOUND) value = -STATE_BOUND;
        // casting to 'int64' is safe because the bound has 48 bits
        // forge-lint: disable-next-line(unsafe-typecast)
        return int64(value);
    }

    /// @dev `exponent` is between 0 and 30 wherever this is called.
    function _powerOfTwo(int256 exponent) private pure returns (int256) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return int256(1) << uint256(exponent);
    }
}
