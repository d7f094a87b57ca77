// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "./MerkleSum.sol";
import { WeightedSum } from "./WeightedSum.sol";

/// @title The clamped sum of updates, leaf by leaf, straight from call data (docs/protocol/arithmetic.md, section 9).
/// @notice Per coordinate no update counts for more than eight times the lower median of the magnitudes of the counted
/// updates, or for one step where that median is 0. The sum is laid out as the one of `WeightedSum`, whose functions read
/// it. A proof brings the median of each coordinate, and the library counts whether it is right: so each leaf is read
/// once.
/// @dev Sixteen coordinates share a word, in lanes of 16 bits: the bytes at odd places of each 32-byte word of a leaf, then
/// those at even ones. With values of 8 bits, bit 8 of `x + 256 - y` says `x >= y`.
library ClampedSum {
    /// @notice A sum under way.
    struct Sum {
        /// @notice For each group of sixteen coordinates six words: `128 - m`, `384 - m`, `256 - high`, `256 + low` for the
        /// magnitude m and the limits of a byte, then how many updates reach m, and how many are beyond it.
        uint256[96] groups;
        /// @notice The lanes of the weighted sum of the clamped values.
        bytes lanes;
    }

    /// @notice How many times the median magnitude an update's coordinate may be.
    uint256 internal constant FACTOR = 8;

    /// @dev Masks of 16-bit lanes: the low byte, one, bit 8 and bit 15.
    uint256 private constant EVEN = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
    // slither-disable-next-line too-many-digits
    uint256 private constant ONES = 0x0001000100010001000100010001000100010001000100010001000100010001;
    uint256 private constant BIT_8 = ONES << 8;
    uint256 private constant BIT_15 = ONES << 15;
    /// @dev The lower half of each lane of 32 bits.
    // slither-disable-next-line too-many-digits
    uint256 private constant LOW_HALVES = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
    /// @dev Largest magnitude of a coordinate.
    uint256 private constant LARGEST = 127;

    /// @notice Thrown when a magnitude is not the one that it must be; `group` says in which sixteen coordinates.
    error ClampedSumWrongHint(uint256 group);
    /// @notice Thrown when a leaf, or the magnitudes, have another length than they must have.
    error ClampedSumSize(uint256 given, uint256 required);

    /// @notice Begin: no update was added yet.
    /// @param magnitudes One byte for each of the 256 coordinates: the lower median of `|q|` over the updates that count.
    function start(bytes calldata magnitudes) internal pure returns (Sum memory sum) {
        if (magnitudes.length != MerkleSum.LEAF_BYTES) {
            revert ClampedSumSize(magnitudes.length, MerkleSum.LEAF_BYTES);
        }
        sum.lanes = new bytes(WeightedSum.SUM_BYTES);
        for (uint256 group = 0; group < 16; ++group) {
            uint256 word = uint256(bytes32(magnitudes[32 * (group / 2):32 * (group / 2) + 32]));
            uint256 magnitude = (group % 2 == 0 ? word : word >> 8) & EVEN;
            if (magnitude & (ONES << 7) != 0) revert ClampedSumWrongHint(group);
            uint256 limit = bound(magnitude);
            unchecked {
                sum.groups[6 * group] = MerkleSum.BIAS * ONES - magnitude;
                sum.groups[6 * group + 1] = BIT_8 + MerkleSum.BIAS * ONES - magnitude;
                sum.groups[6 * group + 2] = MerkleSum.BIAS * ONES - limit;
                sum.groups[6 * group + 3] = BIT_8 + MerkleSum.BIAS * ONES - limit;
            }
        }
    }

    /// @notice In each lane `max(1, min(127, 8 m))`: what a magnitude may be at most.
    /// @param magnitude `m`, at most 127 in each lane of 16 bits.
    function bound(uint256 magnitude) internal pure returns (uint256 limit) {
        unchecked {
            limit = FACTOR * magnitude;
            uint256 isTooLarge = (((limit + BIT_15 - LARGEST * ONES) >> 15) & ONES) * 0xffff;
            limit = (limit & ~isTooLarge) | ((LARGEST * ONES) & isTooLarge);
            uint256 isPositive = ((magnitude + BIT_15 - ONES) >> 15) & ONES;
            limit |= ONES - isPositive;
        }
    }

    /// @notice Add `weight` times an update's leaf.
    /// @dev A lane gets at most 255 times the sum of the weights, which the caller bounds; a lane of the counts at most the
    /// number of updates. `x - max(0, x - high) + max(0, low - x)` is x, clamped.
    function addLeaf(Sum memory sum, uint256 weight, bytes calldata values) internal pure {
        if (values.length != MerkleSum.LEAF_BYTES) revert ClampedSumSize(values.length, MerkleSum.LEAF_BYTES);
        assembly ("memory-safe") {
            let group := mload(sum)
            let target := add(mload(add(sum, 0x20)), 0x20)
            for { let at := 0 } lt(at, 256) { at := add(at, 0x20) } {
                let word := calldataload(add(values.offset, at))
                for { let half := 0 } lt(half, 2) { half := add(half, 1) } {
                    let x := and(word, EVEN)
                    // Bit 8: whether the value is at or above 128 + m, or at or below 128 - m; then the same for m + 1.
                    let above := add(x, mload(group))
                    let below := sub(mload(add(group, 0x20)), x)
                    mstore(add(group, 0x80), add(mload(add(group, 0x80)), and(shr(8, or(above, below)), ONES)))
                    above := or(sub(above, ONES), sub(below, ONES))
                    mstore(add(group, 0xa0), add(mload(add(group, 0xa0)), and(shr(8, above), ONES)))
                    above := add(x, mload(add(group, 0x40)))
                    below := sub(mload(add(group, 0x60)), x)
                    x := sub(x, and(above, mul(and(shr(8, above), ONES), 0xff)))
                    x := add(x, and(below, mul(and(shr(8, below), ONES), 0xff)))
                    mstore(target, add(mload(target), mul(weight, and(x, LOW_HALVES))))
                    above := add(target, 0x40)
                    mstore(above, add(mload(above), mul(weight, and(shr(16, x), LOW_HALVES))))
                    group := add(group, 0xc0)
                    target := add(target, 0x20)
                    word := shr(8, word)
                }
                target := add(target, 0x40)
            }
        }
    }

    /// @notice End: the lanes.
    /// @dev m is the lower median, the (count / 2 + 1)-th largest, if more than count / 2 values reach it, and no more are
    /// beyond it. An update with the byte 0, whose magnitude would be 128, is for `proveUpdate`.
    /// @param count How many updates were added, at most 256.
    function finish(Sum memory sum, uint256 count) internal pure returns (bytes memory lanes) {
        unchecked {
            // Half of an odd number is meant to be cut.
            // slither-disable-next-line divide-before-multiply
            uint256 beyond = (count / 2) * ONES;
            for (uint256 group = 0; group < 16; ++group) {
                uint256 fits = (sum.groups[6 * group + 4] + BIT_15 - ONES - beyond)
                    & (beyond + BIT_15 - sum.groups[6 * group + 5]);
                if (fits & BIT_15 != BIT_15) revert ClampedSumWrongHint(group);
            }
        }
        return sum.lanes;
    }
}
