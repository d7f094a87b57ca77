// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Votes } from "@openzeppelin/contracts/governance/utils/Votes.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ERC6372Utils } from "@openzeppelin/contracts/utils/ERC6372Utils.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import { Time } from "@openzeppelin/contracts/utils/types/Time.sol";

import { IMootToken } from "./interfaces/IMootToken.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";

/// @title Stakes of contributors, coordinators and voters.
contract StakeVault is IStakeVault, Votes {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    /// @dev One slot, so that a round's commitments cost one storage read each.
    struct Member {
        uint128 stake;
        uint32 id;
        uint40 frozenUntil;
    }

    /// @notice Maximum number of pending withdrawals of an account. Bounds the loops of withdrawing and slashing.
    uint256 public constant MAX_UNBONDINGS = 16;
    /// @notice Share of slashed stake that goes to a beneficiary, in 1/SHARE_DENOMINATOR. The rest is burnt.
    uint256 public constant CHALLENGER_SHARE = 5_000;
    /// @notice Denominator of the share of a beneficiary.
    uint256 public constant SHARE_DENOMINATOR = 10_000;

    /// @inheritdoc IStakeVault
    IERC20 public immutable override token;
    /// @inheritdoc IStakeVault
    address public immutable override ledger;
    /// @inheritdoc IStakeVault
    uint40 public immutable override unbondingPeriod;

    mapping(address account => Member) private _members;
    // Written through a reference to one account's queue, which slither does not follow.
    // slither-disable-next-line uninitialized-state
    mapping(address account => Unbonding[]) private _unbondings;
    uint32 private _memberCount;

    /// @param token_ Token that is staked; it must be burnable by its holder.
    /// @param ledger_ The only account that slashes, for ever: the ledger, at its predicted address.
    /// @param unbondingPeriod_ Seconds from a request to the release.
    constructor(IERC20 token_, address ledger_, uint40 unbondingPeriod_) EIP712("Folkmoot StakeVault", "1") {
        if (address(token_) == address(0) || ledger_ == address(0)) revert StakeVaultZeroAddress();
        token = token_;
        ledger = ledger_;
        unbondingPeriod = unbondingPeriod_;
    }

    modifier onlyLedger() {
        if (msg.sender != ledger) revert StakeVaultNotLedger(msg.sender, ledger);
        _;
    }

    /// @inheritdoc IStakeVault
    function stake(address account, uint256 amount) external {
        _stake(account, amount);
    }

    /// @inheritdoc IStakeVault
    function stakeWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        // Whoever sees the permit may use it first; the allowance is then there already, and staking must go on.
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) { } catch { }
        _stake(msg.sender, amount);
    }

    /// @inheritdoc IStakeVault
    function requestUnbond(uint256 amount) external {
        if (amount == 0) revert StakeVaultZeroAmount();
        Member storage member = _members[msg.sender];
        Unbonding[] storage queue = _unbondings[msg.sender];
        uint256 present = member.stake;
        if (amount > present) revert StakeVaultInsufficientStake(msg.sender, present, amount);
        if (queue.length == MAX_UNBONDINGS) revert StakeVaultTooManyUnbondings(msg.sender, MAX_UNBONDINGS);

        uint128 leaving = amount.toUint128();
        uint40 releaseAt = uint40(block.timestamp) + unbondingPeriod;
        member.stake -= leaving;
        queue.push(Unbonding({ amount: leaving, releaseAt: releaseAt }));
        _transferVotingUnits(msg.sender, address(0), amount);
        emit UnbondingRequested(msg.sender, amount, releaseAt);
    }

    /// @inheritdoc IStakeVault
    function withdraw() external returns (uint256 amount) {
        uint40 frozen = _members[msg.sender].frozenUntil;
        if (block.timestamp < frozen) revert StakeVaultFrozen(msg.sender, frozen);
        Unbonding[] storage queue = _unbondings[msg.sender];
        uint256 released;
        // The period never changes, so the queue is sorted by release and what is released is its front.
        while (released < queue.length && queue[released].releaseAt <= block.timestamp) {
            amount += queue[released].amount;
            ++released;
        }
        if (released == 0) {
            revert StakeVaultNothingReleased(msg.sender, queue.length == 0 ? 0 : queue[0].releaseAt);
        }
        _removeFront(queue, released);
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IStakeVault
    function slash(address account, uint256 amount, address beneficiary) external onlyLedger returns (uint256 taken) {
        taken = _slashStake(account, amount);
        taken += _slashUnbonding(account, amount - taken);

        uint256 reward = beneficiary == address(0) ? 0 : (taken * CHALLENGER_SHARE) / SHARE_DENOMINATOR;
        uint256 burnt = taken - reward;
        emit Slashed(account, beneficiary, reward, burnt);
        if (reward > 0) token.safeTransfer(beneficiary, reward);
        IMootToken(address(token)).burn(burnt);
    }

    /// @inheritdoc IStakeVault
    function freeze(address account, uint40 until) external onlyLedger {
        Member storage member = _members[account];
        if (until <= member.frozenUntil) return;
        member.frozenUntil = until;
        emit Frozen(account, until);
    }

    /// @inheritdoc IStakeVault
    function stakeOf(address account) external view returns (uint256) {
        return _members[account].stake;
    }

    /// @inheritdoc IStakeVault
    function members(address[] calldata accounts)
        external
        view
        returns (uint256[] memory stakes, uint32[] memory memberIds)
    {
        assembly ("memory-safe") {
            // The call ends here, so what is written from the free memory pointer on is in nobody's way: the answer's
            // ABI encoding, in which the arrays are laid out as they are in memory.
            let answer := mload(0x40)
            let width := shl(5, accounts.length)
            stakes := add(answer, 0x40)
            memberIds := add(answer, add(0x60, width))
            mstore(answer, 0x40)
            mstore(add(answer, 0x20), add(0x60, width))
            mstore(stakes, accounts.length)
            mstore(memberIds, accounts.length)
            // A mapping's slot is the hash of key and slot; the first 64 bytes of memory are scratch.
            mstore(0x20, _members.slot)
            for { let place := 0 } lt(place, width) { } {
                let account := calldataload(add(accounts.offset, place))
                if shr(160, account) { revert(0, 0) }
                mstore(0x00, account)
                let member := sload(keccak256(0x00, 0x40))
                place := add(place, 0x20)
                // `stake` is the lowest 128 bits of a Member, `id` the next 32.
                mstore(add(stakes, place), and(member, 0xffffffffffffffffffffffffffffffff))
                mstore(add(memberIds, place), and(shr(128, member), 0xffffffff))
            }
            return(answer, add(0x80, shl(1, width)))
        }
    }

    /// @inheritdoc IStakeVault
    function totalStaked() external view returns (uint256) {
        return _getTotalSupply();
    }

    /// @inheritdoc IStakeVault
    function frozenUntil(address account) external view returns (uint40) {
        return _members[account].frozenUntil;
    }

    /// @inheritdoc IStakeVault
    function unbondings(address account) external view returns (Unbonding[] memory) {
        return _unbondings[account];
    }

    /// @inheritdoc Votes
    function clock() public view override returns (uint48) {
        return Time.timestamp();
    }

    /// @inheritdoc Votes
    // The name is ERC-6372's.
    // slither-disable-next-line naming-convention
    function CLOCK_MODE() public view override returns (string memory) {
        return ERC6372Utils.timestampClockMode(clock);
    }

    function _getVotingUnits(address account) internal view override returns (uint256) {
        return _members[account].stake;
    }

    function _stake(address account, uint256 amount) private {
        if (amount == 0) revert StakeVaultZeroAmount();
        if (account == address(0)) revert StakeVaultZeroAddress();
        Member storage member = _members[account];
        if (member.id == 0) {
            member.id = ++_memberCount;
            // Stake that nobody speaks for would only raise the quorum. Later choices of the account are its own.
            if (delegates(account) == address(0)) _delegate(account, account);
        }
        member.stake += amount.toUint128();
        _transferVotingUnits(address(0), account, amount);
        emit Staked(account, msg.sender, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    function _slashStake(address account, uint256 amount) private returns (uint256 taken) {
        Member storage member = _members[account];
        taken = Math.min(amount, member.stake);
        // casting to 'uint128' is safe because `taken` is at most the stake, which has 128 bits
        // forge-lint: disable-next-line(unsafe-typecast)
        member.stake -= uint128(taken);
        _transferVotingUnits(account, address(0), taken);
    }

    /// @dev Takes from the youngest entry first: that shortens the queue without moving it.
    function _slashUnbonding(address account, uint256 amount) private returns (uint256 taken) {
        Unbonding[] storage queue = _unbondings[account];
        while (taken < amount && queue.length > 0) {
            Unbonding storage last = queue[queue.length - 1];
            uint256 part = Math.min(amount - taken, last.amount);
            taken += part;
            // casting to 'uint128' is safe because `part` is at most the entry's amount, which has 128 bits
            // forge-lint: disable-next-line(unsafe-typecast)
            last.amount -= uint128(part);
            if (last.amount == 0) queue.pop();
        }
    }

    function _removeFront(Unbonding[] storage queue, uint256 count) private {
        uint256 left = queue.length - count;
        for (uint256 i = 0; i < left; ++i) {
            queue[i] = queue[i + count];
        }
        for (uint256 i = 0; i < count; ++i) {
            queue.pop();
        }
    }
}
