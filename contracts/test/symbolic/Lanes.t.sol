// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { Openings } from "../../src/libraries/Openings.sol";
import { WeightedSum } from "../../src/libraries/WeightedSum.sol";
import { Vm } from "../utils/Vm.sol";

/// @title The packed weighted sum is the weighted sum of each coordinate, for all updates, sums and weights.
/// @notice A proof in three steps, each decided by a solver for all inputs (`make prove`):
/// 1. `check_weightsAdd`: adding an update with the weight a + b is adding it with a, then with b.
/// 2. `check_powerOfTwo`: with a weight of one bit, each lane gets that weight times its byte, and nothing else
///    changes, as long as the lane has room for 255 times the weight.
/// 3. `check_roomIsEnough`: a lane that holds at most 255 times the weights so far has that room, if all weights add up
///    to at most MAX_WEIGHT_SUM.
/// A weight is the sum of its bits, so 1 takes it apart, 2 says what each bit adds, and 3 keeps the condition of 2.
/// @dev Solvers can't multiply two unknown words lane by lane; with a weight of one bit the product is a shift. Nothing
/// below branches on an unknown but the one place that says so: every branch would double the paths.
contract LanesProof {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant LANE = 0xffffffff;

    /// @notice Step 1.
    function check_weightsAdd(uint256[32] calldata start, uint256[8] calldata leaf, uint256 a, uint256 b) public pure {
        bytes memory once = _copy(start);
        bytes memory twice = _copy(start);
        unchecked {
            Openings.addWeighted(once, a + b, _bytes(leaf));
        }
        Openings.addWeighted(twice, a, _bytes(leaf));
        Openings.addWeighted(twice, b, _bytes(leaf));
        for (uint256 i = 0; i < 32; ++i) {
            assert(_word(once, i) == _word(twice, i));
        }
    }

    /// @notice Step 2, for each word of the sum and each bit that a weight can have.
    /// @param index The word that is looked at: a path of its own for each, which a solver decides sooner than all in one.
    function check_powerOfTwo(uint256[32] calldata start, uint256[8] calldata leaf, uint256 index) public pure {
        assert(WeightedSum.MAX_WEIGHT_SUM < 1 << 25);
        for (uint256 i = 0; i < 32; ++i) {
            if (index == i) _powerOfTwo(start, leaf, i);
        }
    }

    /// @notice Step 3.
    function check_roomIsEnough(uint256 lane, uint256 sum, uint256 weight) public pure {
        unchecked {
            VM.assume(sum <= WeightedSum.MAX_WEIGHT_SUM);
            VM.assume(weight <= WeightedSum.MAX_WEIGHT_SUM - sum);
            // 255 x as 256 x - x: a solver shifts sooner than it multiplies.
            VM.assume(lane <= (sum << 8) - sum);
            assert(lane + (weight << 8) - weight <= LANE);
        }
    }

    /// @notice That a check can fail: without room, a lane runs over into its neighbour. Must be refuted.
    function refute_noRoom(uint256[32] calldata start, uint256[8] calldata leaf) public pure {
        bytes memory sum = _copy(start);
        Openings.addWeighted(sum, 2, _bytes(leaf));
        assert(_isRight(sum, start, leaf, 1, 0));
    }

    /// @notice That a check can fail: the next power of two. Must be refuted.
    function refute_otherWeight(uint256[32] calldata start, uint256[8] calldata leaf) public pure {
        bytes memory sum = _copy(start);
        Openings.addWeighted(sum, 2, _bytes(leaf));
        assert(_or(_lacksRoom(start, 1, 31), _isRight(sum, start, leaf, 2, 31)));
    }

    function _powerOfTwo(uint256[32] calldata start, uint256[8] calldata leaf, uint256 i) private pure {
        for (uint256 bit = 0; bit < 25; ++bit) {
            bytes memory sum = _copy(start);
            Openings.addWeighted(sum, 1 << bit, _bytes(leaf));
            assert(_or(_lacksRoom(start, bit, i), _isRight(sum, start, leaf, bit, i)));
        }
    }

    /// @dev Whether a lane of word i holds so much that 255 times the weight does not fit.
    function _lacksRoom(uint256[32] calldata start, uint256 bit, uint256 i) private pure returns (bool lacks) {
        unchecked {
            for (uint256 lane = 0; lane < 8; ++lane) {
                lacks = _or(lacks, _lane(start[i], lane) > LANE - (255 << bit));
            }
        }
    }

    /// @dev Whether each lane of word i got its byte, shifted, and nothing else.
    function _isRight(bytes memory sum, uint256[32] calldata start, uint256[8] calldata leaf, uint256 bit, uint256 i)
        private
        pure
        returns (bool)
    {
        unchecked {
            uint256 wrong = 0;
            uint256 word = _word(sum, i);
            for (uint256 lane = 0; lane < 8; ++lane) {
                uint256 value = (leaf[i >> 2] >> (8 * (i & 3) + 32 * lane)) & 0xff;
                wrong |= _lane(word, lane) ^ (_lane(start[i], lane) + (value << bit));
            }
            return wrong == 0;
        }
    }

    function _or(bool a, bool b) private pure returns (bool either) {
        assembly ("memory-safe") {
            either := or(a, b)
        }
    }

    function _and(bool a, bool b) private pure returns (bool both) {
        assembly ("memory-safe") {
            both := and(a, b)
        }
    }

    function _lane(uint256 word, uint256 lane) private pure returns (uint256) {
        return (word >> (32 * lane)) & LANE;
    }

    function _word(bytes memory values, uint256 index) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(values, 0x20), mul(0x20, index)))
        }
    }

    function _copy(uint256[32] calldata words) private pure returns (bytes memory values) {
        values = new bytes(WeightedSum.SUM_BYTES);
        assembly ("memory-safe") {
            calldatacopy(add(values, 0x20), words, 1024)
        }
    }

    function _bytes(uint256[8] calldata words) private pure returns (bytes calldata values) {
        assembly ("memory-safe") {
            values.offset := words
            values.length := 256
        }
    }
}
