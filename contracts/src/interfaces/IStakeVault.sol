// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { Places } from "../libraries/Places.sol";

/// @title Stakes of contributors, coordinators and voters.
/// @notice Stake is voting power (one vote per token unit, self-delegated on the first stake). It is required to
/// contribute, and it is slashed for a proven fault.
/// @dev Clock: timestamps (ERC-6372). Unbonding stake neither votes nor counts as stake, but can still be slashed. Bonds
/// are part of the stake: they don't vote, can't be taken out, and are slashed for the round that they answer for alone.
/// Enrolled stake is another part of it: bonds and enrolled stake together are never more than the stake.
interface IStakeVault {
    /// @notice What the vault knows of an account.
    struct Member {
        /// @notice Present stake, with bonds and enrolled stake, without what is unbonding.
        uint96 stake;
        /// @notice Stake that is enrolled: by it the ledger gives places in rounds.
        uint96 enrolled;
        /// @notice Number from 1 on, given when the account enrols or locks a bond for the first time; zero before.
        uint24 id;
        /// @notice Unix time from which the enrolled stake has been as much or more.
        uint40 since;
    }

    /// @notice A pending withdrawal.
    struct Unbonding {
        /// @notice Amount of tokens.
        uint128 amount;
        /// @notice Unix time from which they can be withdrawn.
        uint40 releaseAt;
    }

    /// @notice Emitted when `account` gains stake.
    event Staked(address indexed account, address indexed payer, uint256 amount);
    /// @notice Emitted when `account` starts to take stake out.
    event UnbondingRequested(address indexed account, uint256 amount, uint40 releaseAt);
    /// @notice Emitted when released stake was paid out.
    event Withdrawn(address indexed account, uint256 amount);
    /// @notice Emitted when stake was slashed: `reward` went to `beneficiary`, `burnt` was burnt.
    event Slashed(address indexed account, address indexed beneficiary, uint256 reward, uint256 burnt);
    /// @notice Emitted when a part of the stake of `account` is locked as the bond of a round.
    event BondLocked(address indexed account, uint256 amount);
    /// @notice Emitted when the bond of a round is unlocked: the round is over, or its bond is slashed in the same call.
    event BondUnlocked(address indexed account, uint256 amount);

    /// @notice Emitted when a new basis for draws is noted although no round was anchored.
    event Redrawn(uint96 total);

    /// @notice Thrown on an amount of zero.
    error StakeVaultZeroAmount();
    /// @notice Thrown when an account has less stake than is to be taken out or locked; `unlocked` leaves out its bonds.
    error StakeVaultInsufficientStake(address account, uint256 unlocked, uint256 requested);
    /// @notice Thrown when an account has too many withdrawals under way; withdraw or wait first.
    error StakeVaultTooManyUnbondings(address account, uint256 max);
    /// @notice Thrown when nothing is released yet; `nextReleaseAt` is zero if nothing is under way.
    error StakeVaultNothingReleased(address account, uint256 nextReleaseAt);
    /// @notice Thrown when somebody other than the ledger slashes, locks, unlocks or enrols.
    error StakeVaultNotLedger(address caller, address ledger);
    /// @notice Thrown when places are to be drawn in the block of their basis, or `redraw` comes too early.
    error StakeVaultDrawTooEarly(uint256 blockNumber, uint256 notBefore);
    /// @notice Thrown when places are to be drawn and the basis is older than the hashes of blocks that contracts know.
    /// Call `redraw`, and open the round in a later block.
    error StakeVaultDrawTooOld(uint256 blockNumber);
    /// @notice Thrown when a new basis is to be noted although places were drawn on this one, so everybody knows the lots.
    error StakeVaultSeedKept(uint256 time, uint256 notBefore);
    /// @notice Thrown when an address that must be set is zero.
    error StakeVaultZeroAddress();

    /// @notice Stake `amount` of the caller's tokens for `account`.
    /// @dev Needs an allowance. If the account has no stake and no delegate, it becomes its own delegate. Later payments,
    /// also by others, leave the delegate as it is.
    /// Warning: the stake belongs to `account` from then on, and only `account` can take it out.
    function stake(address account, uint256 amount) external;

    /// @notice Stake with an EIP-2612 permit in one transaction, for the caller itself.
    /// @dev A permit that somebody used first, or a bad one, is passed over: what counts is the allowance.
    function stakeWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Start to take `amount` out. It stops to vote and to count at once.
    /// @dev Bonds stay: they can be taken out once their rounds are over. Enrolled stake shrinks to what is left.
    /// Warning: it can be slashed until it is withdrawn, even after its release.
    function requestUnbond(uint256 amount) external;

    /// @notice Pay out everything of the caller's that is released.
    function withdraw() external returns (uint256 amount);

    /// @notice Take up to `amount` from `account`, first from its stake without bonds, then from what is unbonding.
    /// @dev Only the ledger, which no vote can replace. To slash a bond, the ledger unlocks it in the same call. A quarter
    /// of what was taken goes to `beneficiary`, and the rest is burnt: an account that reports itself, or that copies the
    /// proof of somebody else, still loses what burns. Without a beneficiary (zero) all of it is burnt.
    /// Takes the youngest withdrawal first.
    /// @return taken Amount that was taken.
    function slash(address account, uint256 amount, address beneficiary) external returns (uint256 taken);

    /// @notice Lock a part of the stake of `account` as the bond of a round.
    /// @dev Only the ledger. Reverts if the account has less stake that is not locked. Enrolled stake shrinks to what is
    /// left.
    function lockBond(address account, uint256 amount) external;

    /// @notice Unlock the bond of a round.
    /// @dev Only the ledger, which unlocks for each round what it locked for it.
    function unlockBond(address account, uint256 amount) external;

    /// @notice Sum of the bonds of an account: those of its rounds that are open or anchored, or void and not released.
    function bondOf(address account) external view returns (uint256);

    /// @notice Set the enrolled stake of an account; zero ends it.
    /// @dev Only the ledger, which emits the event. More than before restarts `since`. Bonds can't be enrolled.
    /// @return id The number of the account, new if it enrols for the first time.
    function enrol(address account, uint256 amount) external returns (uint24 id);

    /// @notice Note the basis of the next draws of places: the enrolled stake, the time, and the block whose hash is the seed.
    /// @dev Only the ledger, at every anchor. Once the hash is known, enrolling, leaving, reopening a round or reverting
    /// changes no lot and no quota. Warning: the builder of the block can try several hashes. Warning: stake that enrols in
    /// the second of the anchor counts in the quota, although it is not drawn.
    function noteBasis() external;

    /// @notice Note a new basis if the last one is so old that contracts can't know the hash of its block.
    /// @dev Anybody, 257 blocks after the last basis at the earliest: trying until the lots suit somebody takes that long
    /// each time. Needed only in a crowd, when no round was opened for so long after an anchor. Once places were drawn on
    /// a basis, it stays until the next anchor: a coordinator that lets its rounds be cancelled gets the same lots again.
    /// After one unbonding period, in which every round ends, anybody may end that: else a crowd that has left could
    /// stop the federation for ever.
    function redraw() external;

    /// @notice Draw the places of a round that is opened now; all zero if there is no crowd and was none at the basis.
    /// @dev Only the ledger. The first draw of places on a basis keeps the seed, for every later one on it.
    function draw(uint256 maxContributors, uint256 minStake) external returns (Places.Draw memory);

    /// @notice The basis of the next draw.
    function basis() external view returns (Places.Basis memory);

    /// @notice Sum of the enrolled stake of all accounts.
    function totalEnrolled() external view returns (uint256);

    /// @notice The only account that slashes, locks, unlocks and enrols.
    function ledger() external view returns (address);

    /// @notice Token that is staked.
    function token() external view returns (IERC20);

    /// @notice Present stake of an account, with its bonds and without what is unbonding.
    function stakeOf(address account) external view returns (uint256);

    /// @notice What the vault knows of a list of accounts, in one call.
    function members(address[] calldata accounts) external view returns (Member[] memory);

    /// @notice Sum of all stakes that vote: without bonds and what is unbonding.
    function totalStaked() external view returns (uint256);

    /// @notice Withdrawals of an account that are under way.
    function unbondings(address account) external view returns (Unbonding[] memory);

    /// @notice Seconds from the request to the release.
    function unbondingPeriod() external view returns (uint40);
}
