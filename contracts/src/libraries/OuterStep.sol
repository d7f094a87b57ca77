// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The outer step and the rule of the next exponents (docs/protocol.md, sections 9 and 10).
/// @dev Reference functions for fraud proofs. Divisions round towards minus infinity.
library OuterStep {
    /// @notice Fractional bits of the state.
    int256 internal constant FRACTION_BITS = 26;
    /// @notice Largest absolute value of the state.
    int256 internal constant STATE_BOUND = 2 ** 48 - 1;
    /// @notice Smallest and largest exponent.
    int8 internal constant MIN_EXPONENT = -40;
    int8 internal constant MAX_EXPONENT = 4;
    /// @notice Mean of |q| that the exponents aim at.
    uint256 internal constant TARGET = 16;
    /// @dev Rate and momentum count in 1/1024; a shift to the right rounds towards minus infinity.
    uint256 private constant UNIT_BITS = 10;

    /// @notice What the step of one coordinate depends on, beside its own values.
    struct Settings {
        /// @notice Sum of the weights.
        uint32 weightSum;
        /// @notice Exponent of the coordinate's tensor.
        int8 exponent;
        /// @notice Learning rate in 1/1024.
        uint16 rate;
        /// @notice Momentum in 1/1024.
        uint16 momentum;
    }

    /// @notice Thrown when an exponent is outside of its range.
    error OuterStepExponentOutOfRange(int256 exponent);
    /// @notice Thrown when there is nothing to divide by, or no sum to take the median of.
    error OuterStepEmpty();

    /// @notice Theta and momentum of one coordinate after the round.
    /// @param aggregate `A_j`, the weighted sum of the coordinate.
    function step(int64 theta, int64 momentum, int256 aggregate, Settings memory settings)
        internal
        pure
        returns (int64 nextTheta, int64 nextMomentum)
    {
        (int256 rate, int256 decay) = (int256(uint256(settings.rate)), int256(uint256(settings.momentum)));
        int256 gradient = mean(aggregate, settings.weightSum, settings.exponent);
        nextMomentum = _clamp(((int256(momentum) * decay) >> UNIT_BITS) + gradient);
        int256 ahead = gradient + ((int256(nextMomentum) * decay) >> UNIT_BITS);
        nextTheta = _clamp(int256(theta) - ((rate * ahead) >> UNIT_BITS));
    }

    /// @notice The weighted mean of a coordinate in the state's unit, rounded to the nearest, halves up.
    function mean(int256 aggregate, uint32 weightSum, int8 exponent) internal pure returns (int256) {
        if (exponent < MIN_EXPONENT || exponent > MAX_EXPONENT) revert OuterStepExponentOutOfRange(exponent);
        if (weightSum == 0) revert OuterStepEmpty();
        int256 shift = FRACTION_BITS + exponent;
        int256 numerator = aggregate;
        int256 denominator = int256(uint256(weightSum));
        if (shift >= 0) numerator *= _powerOfTwo(shift);
        else denominator *= _powerOfTwo(-shift);
        return _floorDivide(2 * numerator + denominator, 2 * denominator);
    }

    /// @notice The exponent of a tensor in the next round.
    /// @param elements Elements of the tensor, without padding.
    /// @param absolute Lower median of the updates' sums of |q| over the tensor.
    function nextExponent(int8 exponent, uint256 elements, uint256 absolute) internal pure returns (int8) {
        // The condition `left >= right * 4^d`, with both sides times 4^3 so that d = -3 is where the powers start. It
        // holds for all smaller d when it holds for one.
        uint256 left = 2 * absolute * absolute * 64;
        uint256 right = (elements * TARGET) ** 2;
        int8 change = -3;
        for (uint256 power = 4; change < 3 && left >= right * power; power *= 4) {
            ++change;
        }
        int8 next = exponent + change;
        if (next < MIN_EXPONENT) return MIN_EXPONENT;
        return next > MAX_EXPONENT ? MAX_EXPONENT : next;
    }

    /// @notice The lower median: of an even number of values, the smaller of the two in the middle.
    /// @dev Sorts in place by insertion; for the few hundred updates of a round.
    function lowerMedian(uint256[] memory values) internal pure returns (uint256) {
        if (values.length == 0) revert OuterStepEmpty();
        for (uint256 i = 1; i < values.length; ++i) {
            uint256 value = values[i];
            uint256 place = i;
            for (; place > 0 && values[place - 1] > value; --place) {
                values[place] = values[place - 1];
            }
            values[place] = value;
        }
        return values[(values.length - 1) / 2];
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

    /// @dev Solidity rounds towards zero. `denominator` is positive.
    function _floorDivide(int256 numerator, int256 denominator) private pure returns (int256 quotient) {
        quotient = numerator / denominator;
        if (numerator % denominator < 0) --quotient;
    }
}
