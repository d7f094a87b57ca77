// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Counters } from "../../src/libraries/Counters.sol";
import { Symbolic } from "./Symbolic.sol";

/// @title Four counters in a word are four counters: none runs into its neighbour, and each keeps its own cap.
/// @notice Each of the 16 choices is a path of its own: a solver multiplies by a known number only.
/// @dev Not here: that several counters are within the cap if each of them is. A solver decides that for some choices
/// and not for others within five minutes; `Odometer.t.sol` has it fuzzed.
contract CountersProof is Symbolic {
    /// @notice A counter that is chosen alone is within the cap if its sum is.
    function check_add_judgesOne(uint256 word, uint64 cost, uint64 cap) public pure {
        for (uint256 i = 0; i < Counters.LANES; ++i) {
            (, bool isWithin) = Counters.add(word, 1 << i, cost, cap);
            unchecked {
                assert(isWithin == (uint256(uint64(word >> (i << 6))) + cost <= cap));
            }
        }
    }

    /// @notice Each chosen counter gets the cost, and no other changes, as long as none has more than 64 bits then.
    function check_add_addsToEach(uint256 word, uint256 which, uint64 cost, uint64 cap) public pure {
        for (uint256 chosen = 0; chosen < 16; ++chosen) {
            if (which == chosen) _addsToEach(word, chosen, cost, cap);
        }
    }

    /// @notice Bits above the lowest four change nothing.
    function check_add_looksAtFourBits(uint256 word, uint256 which, uint64 cost, uint64 cap) public pure {
        (uint256 sum, bool isWithin) = Counters.add(word, which, cost, cap);
        (uint256 same, bool isSame) = Counters.add(word, which & 0xf, cost, cap);
        assert(_and(sum == same, isWithin == isSame));
    }

    /// @notice The first chosen counter is found, and none before it is lost.
    function check_skip(uint256 which, uint256 place) public pure {
        VM.assume(which != 0);
        (uint256 left, uint256 there) = Counters.skip(which, place);
        unchecked {
            uint256 moved = (there - place) << 2;
            assert(_and(left & 0xf != 0, _and(moved < 256, which == left << moved)));
        }
    }

    /// @notice That no counter is ever above the cap: one that is not chosen may be. Must be refuted.
    function refute_allWithin(uint256 word, uint64 cost, uint64 cap) public pure {
        (uint256 sum, bool isWithin) = Counters.add(word, 1, cost, cap);
        VM.assume(isWithin);
        assert(uint64(sum >> 64) <= cap);
    }

    function _addsToEach(uint256 word, uint256 chosen, uint256 cost, uint256 cap) private pure {
        (uint256 sum,) = Counters.add(word, chosen, cost, cap);
        bool areRight = true;
        unchecked {
            for (uint256 i = 0; i < Counters.LANES; ++i) {
                uint256 right = uint64(word >> (i << 6)) + (chosen >> i & 1 == 1 ? cost : 0);
                VM.assume(right <= type(uint64).max);
                areRight = _and(areRight, uint64(sum >> (i << 6)) == right);
            }
        }
        assert(areRight);
    }
}
