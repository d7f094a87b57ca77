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
import { Places } from "./libraries/Places.sol";

/// @title Stakes of contributors, coordinators and voters.
contract StakeVault is IStakeVault, Votes {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    /// @notice Maximum number of pending withdrawals of an account. Bounds the loops of withdrawing and slashing.
    uint256 public constant MAX_UNBONDINGS = 16;
    /// @dev Number of blocks for which contracts know the hash of a block.
    uint256 private constant BLOCKHASH_AGE = 256;
    /// @notice Of slashed stake, a beneficiary gets one part in so many. The rest is burnt.
    uint256 public constant CHALLENGER_DIVISOR = 4;

    /// @inheritdoc IStakeVault
    IERC20 public immutable override token;
    /// @inheritdoc IStakeVault
    address public immutable override ledger;
    /// @inheritdoc IStakeVault
    uint40 public immutable override unbondingPeriod;

    /// @dev One slot each, so that a round's commitments cost one storage read each.
    mapping(address account => Member) private _members;
    /// @inheritdoc IStakeVault
    mapping(address account => uint256) public override bondOf;
    // Written through a reference to one account's queue, which slither does not follow.
    // slither-disable-next-line uninitialized-state
    mapping(address account => Unbonding[]) private _unbondings;
    uint24 private _memberCount;
    /// @inheritdoc IStakeVault
    uint256 public override totalEnrolled;
    Places.Basis private _basis;
    Places.Seed private _seed;

    /// @param token_ Token that is staked; it must be burnable by its holder.
    /// @param ledger_ The only account that slashes, for ever: the ledger, at its predicted address.
    /// @param unbondingPeriod_ Seconds from a request to the release.
    constructor(IERC20 token_, address ledger_, uint40 unbondingPeriod_) EIP712("Folkmoot StakeVault", "1") {
        if (address(token_) == address(0) || ledger_ == address(0)) revert StakeVaultZeroAddress();
        token = token_;
        ledger = ledger_;
        unbondingPeriod = unbondingPeriod_;
        _noteBasis();
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
        Unbonding[] storage queue = _unbondings[msg.sender];
        uint256 unlocked = _unlockedOf(msg.sender);
        if (amount > unlocked) revert StakeVaultInsufficientStake(msg.sender, unlocked, amount);
        if (queue.length == MAX_UNBONDINGS) revert StakeVaultTooManyUnbondings(msg.sender, MAX_UNBONDINGS);

        uint96 leaving = amount.toUint96();
        uint40 releaseAt = uint40(block.timestamp) + unbondingPeriod;
        _shrink(_members[msg.sender], msg.sender, leaving);
        queue.push(Unbonding({ amount: leaving, releaseAt: releaseAt }));
        _transferVotingUnits(msg.sender, address(0), amount);
        emit UnbondingRequested(msg.sender, amount, releaseAt);
    }

    /// @inheritdoc IStakeVault
    function withdraw() external returns (uint256 amount) {
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

        uint256 reward = beneficiary == address(0) ? 0 : taken / CHALLENGER_DIVISOR;
        uint256 burnt = taken - reward;
        emit Slashed(account, beneficiary, reward, burnt);
        if (reward > 0) token.safeTransfer(beneficiary, reward);
        IMootToken(address(token)).burn(burnt);
    }

    /// @inheritdoc IStakeVault
    function lockBond(address account, uint256 amount) external onlyLedger {
        uint256 unlocked = _unlockedOf(account);
        if (amount > unlocked) revert StakeVaultInsufficientStake(account, unlocked, amount);
        bondOf[account] += amount;
        _shrink(_numbered(account), account, 0);
        _transferVotingUnits(account, address(0), amount);
        emit BondLocked(account, amount);
    }

    /// @inheritdoc IStakeVault
    function unlockBond(address account, uint256 amount) external onlyLedger {
        bondOf[account] -= amount;
        _transferVotingUnits(address(0), account, amount);
        emit BondUnlocked(account, amount);
    }

    /// @inheritdoc IStakeVault
    function enrol(address account, uint256 amount) external onlyLedger returns (uint24 id) {
        uint256 unlocked = _unlockedOf(account);
        if (amount > unlocked) revert StakeVaultInsufficientStake(account, unlocked, amount);
        Member memory member = _numbered(account);
        if (amount > member.enrolled) member.since = uint40(block.timestamp);
        // The ledger emits it.
        // slither-disable-next-line events-maths
        totalEnrolled = totalEnrolled + amount - member.enrolled;
        // casting to 'uint96' is safe because the amount is at most the stake, which has 96 bits
        // forge-lint: disable-next-line(unsafe-typecast)
        member.enrolled = uint96(amount);
        _members[account] = member;
        return member.id;
    }

    /// @inheritdoc IStakeVault
    function noteBasis() external onlyLedger {
        _noteBasis();
    }

    /// @inheritdoc IStakeVault
    function redraw() external {
        Places.Basis memory found = _basis;
        uint256 notBefore = found.blockNumber + BLOCKHASH_AGE + 1;
        if (block.number < notBefore) revert StakeVaultDrawTooEarly(block.number, notBefore);
        uint256 keptUntil = uint256(found.at) + unbondingPeriod;
        if (_isKept(found) && block.timestamp < keptUntil) revert StakeVaultSeedKept(block.timestamp, keptUntil);
        _noteBasis();
        emit Redrawn(_basis.total);
    }

    /// @inheritdoc IStakeVault
    function draw(uint256 maxContributors, uint256 minStake) external onlyLedger returns (Places.Draw memory drawn) {
        Places.Basis memory found = _basis;
        if (!Places.isCrowd(Math.max(totalEnrolled, found.total), maxContributors, minStake)) return drawn;
        bool isKept = _isKept(found);
        uint120 seed = isKept ? _seed.value : _seedOf(found);
        // If there was no crowd at the basis, there are no lots, and newcomers need another basis.
        if (!isKept && Places.isCrowd(found.total, maxContributors, minStake)) {
            _seed = Places.Seed(seed, found.blockNumber);
        }
        return Places.draw(found, seed, maxContributors, minStake);
    }

    /// @inheritdoc IStakeVault
    function basis() external view returns (Places.Basis memory) {
        return _basis;
    }

    /// @inheritdoc IStakeVault
    function stakeOf(address account) external view returns (uint256) {
        return _members[account].stake;
    }

    /// @inheritdoc IStakeVault
    function members(address[] calldata accounts) external view returns (Member[] memory found) {
        assembly ("memory-safe") {
            // The call ends here, so what is written from the free memory pointer on is in nobody's way: the answer's
            // ABI encoding, in which a member takes four words.
            found := mload(0x40)
            mstore(found, 0x20)
            mstore(add(found, 0x20), accounts.length)
            let to := add(found, 0x40)
            // A mapping's slot is the hash of key and slot; the first 64 bytes of memory are scratch.
            mstore(0x20, _members.slot)
            let end := add(accounts.offset, shl(5, accounts.length))
            for { let from := accounts.offset } lt(from, end) { from := add(from, 0x20) } {
                let account := calldataload(from)
                if shr(160, account) { revert(0, 0) }
                mstore(0x00, account)
                let member := sload(keccak256(0x00, 0x40))
                // `stake` has the lowest 96 bits of a Member, then come 96 of `enrolled`, 24 of `id` and 40 of `since`.
                mstore(to, and(member, 0xffffffffffffffffffffffff))
                mstore(add(to, 0x20), and(shr(96, member), 0xffffffffffffffffffffffff))
                mstore(add(to, 0x40), and(shr(192, member), 0xffffff))
                mstore(add(to, 0x60), shr(216, member))
                to := add(to, 0x80)
            }
            return(found, sub(to, found))
        }
    }

    /// @inheritdoc IStakeVault
    function totalStaked() external view returns (uint256) {
        return _getTotalSupply();
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

    function _noteBasis() private {
        // casting to 'uint96' is safe because enrolled stake is a part of the stakes, which have 96 bits each of one supply
        // forge-lint: disable-next-line(unsafe-typecast)
        _basis = Places.Basis(uint96(totalEnrolled), uint40(block.timestamp), uint40(block.number));
    }

    /// @dev Whether places were drawn on this basis.
    function _isKept(Places.Basis memory found) private view returns (bool) {
        // Numbers of blocks are compared.
        // slither-disable-next-line incorrect-equality
        return _seed.blockNumber == found.blockNumber;
    }

    function _seedOf(Places.Basis memory found) private view returns (uint120) {
        if (block.number <= found.blockNumber) revert StakeVaultDrawTooEarly(block.number, found.blockNumber + 1);
        bytes32 blockHash = blockhash(found.blockNumber);
        // The hash of an old block is zero, and that of no other.
        // slither-disable-next-line incorrect-equality
        if (blockHash == 0) revert StakeVaultDrawTooOld(found.blockNumber);
        return Places.seedOf(blockHash);
    }

    /// @dev The account with its number, a new one if it has none. The caller stores it.
    function _numbered(address account) private returns (Member memory member) {
        member = _members[account];
        // A number is compared, no balance that somebody could shift by one.
        // slither-disable-next-line incorrect-equality
        if (member.id == 0) member.id = ++_memberCount;
    }

    /// @dev Take stake away, and of the enrolled stake what is not there any more beside the bonds.
    function _shrink(Member memory member, address account, uint96 amount) private {
        member.stake -= amount;
        uint256 unlocked = member.stake - bondOf[account];
        if (member.enrolled > unlocked) {
            totalEnrolled -= member.enrolled - unlocked;
            // casting to 'uint96' is safe because it is less than the enrolled stake, which has 96 bits
            // forge-lint: disable-next-line(unsafe-typecast)
            member.enrolled = uint96(unlocked);
        }
        _members[account] = member;
    }

    /// @dev Stake that answers for no pending round. Never below zero: bonds are locked and slashed within the stake.
    function _unlockedOf(address account) private view returns (uint256) {
        return _members[account].stake - bondOf[account];
    }

    function _getVotingUnits(address account) internal view override returns (uint256) {
        return _unlockedOf(account);
    }

    function _stake(address account, uint256 amount) private {
        if (amount == 0) revert StakeVaultZeroAmount();
        if (account == address(0)) revert StakeVaultZeroAddress();
        Member storage member = _members[account];
        // Stake that nobody speaks for would only raise the quorum. Choices of an account with stake are its own.
        if (member.stake == 0 && delegates(account) == address(0)) _delegate(account, account);
        member.stake += amount.toUint96();
        _transferVotingUnits(address(0), account, amount);
        emit Staked(account, msg.sender, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    function _slashStake(address account, uint256 amount) private returns (uint256 taken) {
        taken = Math.min(amount, _unlockedOf(account));
        // casting to 'uint96' is safe because `taken` is at most the stake, which has 96 bits
        // forge-lint: disable-next-line(unsafe-typecast)
        _shrink(_members[account], account, uint96(taken));
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
            // Nothing but this loop and the owner's withdrawal changes the amount.
            // slither-disable-next-line incorrect-equality
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
