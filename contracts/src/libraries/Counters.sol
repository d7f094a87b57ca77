// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Four counters of 64 bits in a word, added to and compared with a cap at once.
/// @dev Pure, so that a solver can look at every word (test/symbolic/Counters.t.sol).
library Counters {
    /// @notice Counters in a word.
    uint256 internal constant LANES = 4;
    /// @dev The lowest bit of each counter.
    uint256 private constant ONES = 1 | 1 << 64 | 1 << 128 | 1 << 192;
    /// @dev Times four bits, it has bit i of them at the place of ONES for counter i, and others elsewhere.
    uint256 private constant SPREAD = 1 | 1 << 63 | 1 << 126 | 1 << 189;
    /// @dev The first and the third counter: each has as many bits free above it.
    uint256 private constant HALVES = ((1 << 64) - 1) * (1 | 1 << 128);
    /// @dev The highest of these free bits.
    uint256 private constant GUARDS = 1 << 127 | 1 << 255;

    /// @notice Add a cost to some of the counters.
    /// @param word Four counters.
    /// @param which Bit i for counter i; higher bits are not looked at.
    /// @param cost What is added, of 64 bits.
    /// @param cap Largest value of a counter that is added to, of 64 bits.
    /// @return sum The counters after it; meaningless unless `isWithin`.
    /// @return isWithin Whether each counter that was added to is within the cap.
    function add(uint256 word, uint256 which, uint256 cost, uint256 cap)
        internal
        pure
        returns (uint256 sum, bool isWithin)
    {
        unchecked {
            uint256 caps = GUARDS | cap | cap << 128;
            uint256 chosen = (which & 0xf) * SPREAD & ONES;
            uint256 added = chosen * cost;
            // Two counters at a time, those of others as zero: no sum has more than 65 bits. A guard that a sum is
            // taken from stays if the sum is within the cap.
            uint256 before = word & chosen * type(uint64).max;
            uint256 even = (before & HALVES) + (added & HALVES);
            uint256 odd = (before >> 64 & HALVES) + (added >> 64 & HALVES);
            isWithin = (caps - even) & (caps - odd) & GUARDS == GUARDS;
            sum = word + added;
        }
    }

    /// @notice Leave out words in which no counter is chosen.
    /// @param which Bits of all words, four each, not all of them zero.
    /// @param place Number of the word that the lowest four bits are for.
    /// @return The bits from the first word on in which a counter is chosen, and its number.
    function skip(uint256 which, uint256 place) internal pure returns (uint256, uint256) {
        unchecked {
            if (uint128(which) == 0) (which, place) = (which >> 128, place + 32);
            if (uint64(which) == 0) (which, place) = (which >> 64, place + 16);
            if (uint32(which) == 0) (which, place) = (which >> 32, place + 8);
            if (uint16(which) == 0) (which, place) = (which >> 16, place + 4);
            if (uint8(which) == 0) (which, place) = (which >> 8, place + 2);
            if (which & 0xf == 0) (which, place) = (which >> 4, place + 1);
        }
        return (which, place);
    }
}
