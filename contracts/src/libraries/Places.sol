// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who has a place in a round: everybody who is enrolled, or in a crowd a part of them by enrolled stake.
/// @notice A round has room for a limited number of updates. If more stake is enrolled than that many minimum stakes, the
/// places are given by stake: three quarters of the places divide the enrolled stake into quotas, an account with a quota
/// has a place, and one with a part of a quota has one with that probability. So a share of the enrolled stake gets at
/// most that share of the places on average, into however many accounts it is divided. The last quarter is for rounds in
/// which more lots win than on average.
library Places {
    /// @notice What the next draw rests on, noted before anybody can know the lots.
    struct Basis {
        /// @notice Enrolled stake of all accounts, in token units of 1e-18.
        uint96 total;
        /// @notice Unix time: who enrolled later, or enrolled more, is not drawn.
        uint40 at;
        /// @notice Number of the block that has the seed as its hash.
        uint40 blockNumber;
    }

    /// @notice What the lots are drawn from, kept from the first draw on a basis on.
    struct Seed {
        /// @notice Lowest 120 bits of the hash of the block of the basis.
        uint120 value;
        /// @notice Number of that block.
        uint40 blockNumber;
    }

    /// @notice The draw of one round.
    struct Draw {
        /// @notice Enrolled stake that has a place for certain, in token units of 1e-18; zero if nobody is drawn.
        uint96 quota;
        /// @notice Unix time: only who is enrolled since before has a place.
        uint40 at;
        /// @notice What the lots of accounts with less are drawn from.
        uint120 seed;
    }

    /// @notice Places for contributors: all but one, which the coordinator's root update may need, and at least one.
    function available(uint256 maxContributors) internal pure returns (uint256) {
        return maxContributors > 1 ? maxContributors - 1 : 1;
    }

    /// @notice Whether more is enrolled than there are places for accounts with the minimum stake.
    function isCrowd(uint256 total, uint256 maxContributors, uint256 minStake) internal pure returns (bool) {
        return total > available(maxContributors) * minStake;
    }

    /// @notice Seed of the draws on a basis, from the hash of its block.
    function seedOf(bytes32 blockHash) internal pure returns (uint120) {
        // casting to 'uint120' takes the lowest bits of a hash
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint120(uint256(blockHash));
    }

    /// @notice The draw of a round in a crowd.
    /// @dev If there was no crowd when the basis was noted, everybody who was enrolled by then has a place.
    function draw(Basis memory basis, uint120 seed, uint256 maxContributors, uint256 minStake)
        internal
        pure
        returns (Draw memory)
    {
        uint256 quota = 1;
        if (isCrowd(basis.total, maxContributors, minStake)) {
            quota = uint256(basis.total) * 4 / (available(maxContributors) * 3);
        }
        // casting to 'uint96' is safe because the crowd has more than one minimum stake a place: the quota is at most the
        // total, for two places or more, and 4/3 of it for one, of a supply that is below 2^94
        // forge-lint: disable-next-line(unsafe-typecast)
        return Draw(uint96(quota), basis.at, seed);
    }

    /// @notice Whether an account with this enrolled stake has a place. It is enrolled since before the draw.
    /// @dev The lot is uniform over 96 bits: the chance is `enrolled / quota`, up to 2^-96. No product has over 192 bits.
    function has(Draw memory drawn, address account, uint256 enrolled) internal pure returns (bool) {
        if (enrolled >= drawn.quota) return true;
        uint256 lot = uint256(keccak256(abi.encode(drawn.seed, account))) >> 160;
        return lot * drawn.quota < enrolled << 96;
    }
}
