// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Stakes of contributors, coordinators and voters.
/// @notice Stake is voting power (one vote per token unit, self-delegated on the first stake). It is required to
/// contribute, and it is slashed for a proven fault.
/// @dev Clock: timestamps (ERC-6372). Unbonding stake neither votes nor counts as stake, but can still be slashed.
interface IStakeVault {
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
    /// @notice Emitted when withdrawals of `account` have to wait for longer than before.
    event Frozen(address indexed account, uint40 until);

    /// @notice Thrown on an amount of zero.
    error StakeVaultZeroAmount();
    /// @notice Thrown when an account asks for more than its stake.
    error StakeVaultInsufficientStake(address account, uint256 stake, uint256 requested);
    /// @notice Thrown when an account has too many withdrawals under way; withdraw or wait first.
    error StakeVaultTooManyUnbondings(address account, uint256 max);
    /// @notice Thrown when nothing is released yet; `nextReleaseAt` is zero if nothing is under way.
    error StakeVaultNothingReleased(address account, uint256 nextReleaseAt);
    /// @notice Thrown on a withdrawal of an account while one of its rounds is being judged.
    error StakeVaultFrozen(address account, uint256 until);
    /// @notice Thrown when somebody other than the ledger slashes or freezes.
    error StakeVaultNotLedger(address caller, address ledger);
    /// @notice Thrown when an address that must be set is zero.
    error StakeVaultZeroAddress();

    /// @notice Stake `amount` of the caller's tokens for `account`.
    /// @dev Needs an allowance. The first stake of an account makes it a member with the next number, and delegates its
    /// votes to itself unless it has delegated before; whoever pays later changes nothing of that.
    /// Warning: the stake belongs to `account` from then on, and only `account` can take it out.
    function stake(address account, uint256 amount) external;

    /// @notice Stake with an EIP-2612 permit in one transaction, for the caller itself.
    /// @dev A permit that somebody used first, or a bad one, is passed over: what counts is the allowance.
    function stakeWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Start to take `amount` out. It stops to vote and to count at once.
    /// @dev Warning: it can be slashed until it is withdrawn, even after its release.
    function requestUnbond(uint256 amount) external;

    /// @notice Pay out everything of the caller's that is released.
    /// @dev Warning: it waits while a round of the caller's is being judged (`freeze`).
    function withdraw() external returns (uint256 amount);

    /// @notice Take up to `amount` from `account`, first from its stake, then from what is unbonding.
    /// @dev Only the ledger, which no vote can replace. Half of what was taken goes to `beneficiary`, and the rest is
    /// burnt, so that nobody gets a whole bond back by reporting itself. Without a beneficiary (zero) all of it is burnt.
    /// Takes the youngest withdrawal first.
    /// @return taken Amount that was taken.
    function slash(address account, uint256 amount, address beneficiary) external returns (uint256 taken);

    /// @notice Block all withdrawals of `account` before `until`. An earlier time than the present one changes nothing.
    /// @dev Only the ledger. What is unbonding can be slashed until it is withdrawn, so holding the withdrawal is enough:
    /// unbonding can be asked for meanwhile, and its time runs. The ledger bounds the time (`IRoundLedger.postpone`).
    /// Warning: all withdrawals of the account wait, those of stake that it never needed for a round included.
    function freeze(address account, uint40 until) external;

    /// @notice Unix time before which `account` can't withdraw; zero or in the past if it can.
    function frozenUntil(address account) external view returns (uint40);

    /// @notice The only account that slashes and freezes.
    function ledger() external view returns (address);

    /// @notice Token that is staked.
    function token() external view returns (IERC20);

    /// @notice Present stake of an account, without what is unbonding.
    function stakeOf(address account) external view returns (uint256);

    /// @notice Stake and member number for a list of accounts, in one call. Numbers start at 1; 0: never staked.
    function members(address[] calldata accounts)
        external
        view
        returns (uint256[] memory stakes, uint32[] memory memberIds);

    /// @notice Sum of all stakes, without what is unbonding.
    function totalStaked() external view returns (uint256);

    /// @notice Withdrawals of an account that are under way.
    function unbondings(address account) external view returns (Unbonding[] memory);

    /// @notice Seconds from the request to the release.
    function unbondingPeriod() external view returns (uint40);
}
