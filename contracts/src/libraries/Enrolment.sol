// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundId } from "./Types.sol";

/// @title The list of enrolled accounts, as bitmaps by member number.
/// @notice Bitmaps and not counters: recording a commitment sets a bit that the ledger sets anyway and costs nothing
/// more, and leaving, enrolling again or being removed in the middle of a round can't make two counts disagree.
library Enrolment {
    /// @dev One bit a member, by its number, in words of 256.
    struct Roll {
        /// @dev Accounts that are enrolled now.
        mapping(uint256 wordIndex => uint256) enrolled;
        /// @dev Accounts that enrolled while a round was open. They don't count in it, even if enrolled before.
        mapping(RoundId round => mapping(uint256 wordIndex => uint256)) late;
        /// @dev First round in which an enrolled account counts; zero if it is not enrolled.
        mapping(address account => RoundId) from;
        /// @dev Number of words that ever had an enrolled member: what a look at all of them reads.
        uint32 words;
    }

    /// @notice Enrol a member from a round on.
    /// @param open Round that is open, in which the member does not count; zero if there is none.
    function add(Roll storage roll, address account, uint256 memberId, RoundId from, RoundId open) internal {
        (uint256 wordIndex, uint256 mask) = place(memberId);
        roll.from[account] = from;
        roll.enrolled[wordIndex] |= mask;
        // casting to 'uint32' is safe because a member's number has 32 bits, and the index of its word 24
        // forge-lint: disable-next-line(unsafe-typecast)
        if (wordIndex >= roll.words) roll.words = uint32(wordIndex + 1);
        if (RoundId.unwrap(open) != 0) roll.late[open][wordIndex] |= mask;
    }

    /// @notice Remove an enrolled member from the list.
    function take(Roll storage roll, address account, uint256 memberId) internal {
        (uint256 wordIndex, uint256 mask) = place(memberId);
        roll.from[account] = RoundId.wrap(0);
        roll.enrolled[wordIndex] &= ~mask;
    }

    /// @notice Members that count in a round and have not committed.
    /// @param committed The round's bitmap of commitments.
    /// @return counted Whether anybody counts in the round.
    /// @return wordIndex First word in which members are missing.
    /// @return missing Those members; zero if none is missing.
    function findMissing(Roll storage roll, mapping(uint256 => uint256) storage committed, RoundId round)
        internal
        view
        returns (bool counted, uint256 wordIndex, uint256 missing)
    {
        uint256 words = roll.words;
        for (; wordIndex < words; ++wordIndex) {
            uint256 word = roll.enrolled[wordIndex];
            if (word == 0) continue;
            word &= ~roll.late[round][wordIndex];
            counted = counted || word != 0;
            missing = word & ~committed[wordIndex];
            if (missing != 0) break;
        }
    }

    /// @notice Whether an enrolled member counts in a round.
    function counts(Roll storage roll, address account, RoundId round) internal view returns (bool) {
        uint64 from = RoundId.unwrap(roll.from[account]);
        return from != 0 && from <= RoundId.unwrap(round);
    }

    /// @notice Word and bit of a member.
    function place(uint256 memberId) internal pure returns (uint256 wordIndex, uint256 mask) {
        return (memberId >> 8, bit(memberId));
    }

    /// @notice Bit of a member in its word.
    function bit(uint256 memberId) internal pure returns (uint256) {
        // forge-lint: disable-next-line(incorrect-shift)
        return 1 << (memberId & 0xff);
    }
}
