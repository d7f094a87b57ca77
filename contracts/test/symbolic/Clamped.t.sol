// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ClampedSum } from "../../src/libraries/ClampedSum.sol";
import { Vm } from "../utils/Vm.sol";

/// @title The packed clamped sum does in each lane what it says, for all magnitudes and updates.
/// @notice Decided by a solver for all inputs (`make prove`). With a weight of 1 and no sum so far, what an update adds is
/// its clamped bytes; that weights multiply and lanes do not run over is the proof of `LanesProof`, whose sum is laid out
/// the same. The magnitude is a rank: it is proven that the counts are those that `finish` compares.
contract ClampedProof {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice In each lane `max(1, min(127, 8 m))`, for all magnitudes that `start` lets through.
    function check_bound(uint256 word) public pure {
        uint256 magnitudes = word & _repeat(0x7f);
        uint256 limits = ClampedSum.bound(magnitudes);
        uint256 wrong = 0;
        for (uint256 lane = 0; lane < 16; ++lane) {
            wrong |= _lane(limits, lane) ^ _limit(_lane(magnitudes, lane));
        }
        assert(wrong == 0);
    }

    /// @notice An update adds its clamped bytes, 1 to the count of those that reach the magnitude, and to the count of
    /// those beyond it, for every magnitude and every byte, in each lane.
    /// @param index The byte that is looked at: a path of its own for each, which a solver decides sooner than all in one.
    function check_addLeaf(uint256[8] calldata magnitudes, uint256[8] calldata leaf, uint256 index) public pure {
        for (uint256 i = 0; i < 32; ++i) {
            if (index == i) assert(_added(magnitudes, leaf, i, 0) == 0);
        }
    }

    /// @notice That a check can fail: one more is clamped. Must be refuted.
    function refute_otherLimit(uint256[8] calldata magnitudes, uint256[8] calldata leaf) public pure {
        assert(_added(magnitudes, leaf, 5, 1) == 0);
    }

    /// @dev What is wrong at a place of the leaf's first word; the others are the same code.
    function _added(uint256[8] calldata magnitudes, uint256[8] calldata leaf, uint256 place, uint256 slack)
        private
        pure
        returns (uint256 wrong)
    {
        for (uint256 i = 0; i < 8; ++i) {
            VM.assume(magnitudes[i] & ((type(uint256).max / 0xff) << 7) == 0); // `start` refuses others
        }
        ClampedSum.Sum memory sum = ClampedSum.start(_bytes(magnitudes));
        ClampedSum.addLeaf(sum, 1, _bytes(leaf));
        // From the lowest byte up: group 0 has the even places, and a word of 32-bit lanes every fourth.
        uint256 m = (magnitudes[0] >> (8 * place)) & 0xff;
        uint256 x = (leaf[0] >> (8 * place)) & 0xff;
        uint256 lane = (_word(sum.lanes, place % 4) >> (32 * (place / 4))) & 0xffffffff;
        wrong = _clamped(x, _limit(m) + slack) ^ lane;
        wrong |= _flag(_reaches(x, m)) ^ _lane(sum.groups[6 * (place % 2) + 4], place / 2);
        wrong |= _flag(_reaches(x, m + 1)) ^ _lane(sum.groups[6 * (place % 2) + 5], place / 2);
    }

    function _reaches(uint256 x, uint256 m) private pure returns (bool either) {
        assembly ("memory-safe") {
            either := or(iszero(lt(x, add(128, m))), iszero(lt(128, add(x, m))))
        }
    }

    function _limit(uint256 m) private pure returns (uint256 limit) {
        assembly ("memory-safe") {
            limit := shl(3, m)
            // Without a branch, which would double the paths.
            let isLarge := gt(limit, 127)
            limit := add(mul(iszero(isLarge), limit), mul(isLarge, 127))
            limit := add(limit, iszero(limit))
        }
    }

    function _clamped(uint256 x, uint256 limit) private pure returns (uint256 y) {
        assembly ("memory-safe") {
            let high := add(128, limit)
            let low := sub(128, limit)
            let isAbove := gt(x, high)
            let isBelow := lt(x, low)
            y := add(mul(isAbove, high), mul(isBelow, low))
            y := add(y, mul(iszero(or(isAbove, isBelow)), x))
        }
    }

    function _flag(bool value) private pure returns (uint256 flag) {
        assembly ("memory-safe") {
            flag := value
        }
    }

    function _repeat(uint256 value) private pure returns (uint256) {
        return value * (type(uint256).max / 0xffff);
    }

    function _lane(uint256 word, uint256 lane) private pure returns (uint256) {
        return (word >> (16 * lane)) & 0xffff;
    }

    function _word(bytes memory values, uint256 index) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(values, 0x20), mul(0x20, index)))
        }
    }

    function _bytes(uint256[8] calldata words) private pure returns (bytes calldata values) {
        assembly ("memory-safe") {
            values.offset := words
            values.length := 256
        }
    }
}
