// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The list of enrolled accounts, as bitmaps by member number.
/// @notice Bitmaps and not counters: recording a commitment sets a bit that the ledger sets anyway and costs nothing
/// more, and leaving, enrolling again or being removed in the middle of a round can't make two counts disagree.
library Enrolment {
    /// @notice Number of rounds missed in a row after which anybody can remove an enrolled account.
    uint256 internal constant MAX_MISSED = 3;

    /// @notice Number of rounds, from the newest, among which missed ones are counted: to look at one costs gas.
    uint256 internal constant MAX_LOOKED = 256;

    /// @dev One bit a member, by its number, in words of 256.
    struct Roll {
        /// @dev Accounts that are enrolled now.
        mapping(uint256 wordIndex => uint256) enrolled;
        /// @dev Accounts that enrolled when it was too late for a round, by the time of its opening: while it was open, or
        /// in the second in which it was opened. They don't count in it, even if they were enrolled before.
        mapping(uint256 openedAt => mapping(uint256 wordIndex => uint256)) late;
        /// @dev Number of words that ever had an enrolled member: what a look at all of them reads.
        uint32 words;
    }

    /// @notice Put a member on the list.
    function add(Roll storage roll, uint256 memberId) internal {
        (uint256 wordIndex, uint256 mask) = place(memberId);
        roll.enrolled[wordIndex] |= mask;
        // casting to 'uint32' is safe because a member's number has 24 bits
        // forge-lint: disable-next-line(unsafe-typecast)
        if (wordIndex >= roll.words) roll.words = uint32(wordIndex + 1);
    }

    /// @notice Note that a member enrolled too late for a round.
    /// @param openedAt Opening of that round: the one that is open, or one that may be opened in this second.
    function addLate(Roll storage roll, uint256 memberId, uint256 openedAt) internal {
        (uint256 wordIndex, uint256 mask) = place(memberId);
        roll.late[openedAt][wordIndex] |= mask;
    }

    /// @notice Remove an enrolled member from the list.
    function take(Roll storage roll, uint256 memberId) internal {
        (uint256 wordIndex, uint256 mask) = place(memberId);
        roll.enrolled[wordIndex] &= ~mask;
    }

    /// @notice Members that count in a round and have not committed.
    /// @param committed The round's bitmap of commitments.
    /// @return counted Whether anybody counts in the round.
    /// @return wordIndex First word in which members are missing.
    /// @return missing Those members; zero if none is missing.
    function findMissing(Roll storage roll, mapping(uint256 => uint256) storage committed, uint256 openedAt)
        internal
        view
        returns (bool counted, uint256 wordIndex, uint256 missing)
    {
        uint256 words = roll.words;
        for (; wordIndex < words; ++wordIndex) {
            uint256 word = roll.enrolled[wordIndex];
            if (word == 0) continue;
            word &= ~roll.late[openedAt][wordIndex];
            counted = counted || word != 0;
            missing = word & ~committed[wordIndex];
            if (missing != 0) break;
        }
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
