// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IStakeVault } from "../../src/interfaces/IStakeVault.sol";
import { MootToken } from "../../src/MootToken.sol";
import { StakeVault } from "../../src/StakeVault.sol";
import { Deployment } from "../utils/Deployment.sol";
import { Test } from "../utils/Test.sol";

/// @notice Whatever members of the vault may do, in any order. Every call succeeds (`fail_on_revert`), so no step of a
/// run is wasted; an action that is impossible at the moment is passed over.
contract VaultHandler is Test {
    uint256 public constant MEMBERS = 5;
    uint256 private constant LARGEST = 10_000e18;

    MootToken private immutable _token;
    StakeVault private immutable _vault;
    address private immutable _treasury;
    address private immutable _slasher;

    address[] private _members;
    /// @notice Everything that slashing took, and the part of it that was burnt.
    uint256 public taken;
    uint256 public burnt;
    /// @notice What is locked of an account.
    mapping(address account => uint256) public bonds;

    constructor(MootToken token_, StakeVault vault_, address treasury, address slasher) {
        (_token, _vault, _treasury, _slasher) = (token_, vault_, treasury, slasher);
        for (uint256 i = 0; i < MEMBERS; ++i) {
            _members.push(actor(string.concat("member ", vm.toString(i))).addr);
        }
    }

    function stake(uint256 who, uint256 amount) external {
        amount = bound(amount, 1, LARGEST);
        if (_token.balanceOf(_treasury) < amount) return;
        vm.prank(_treasury);
        _vault.stake(member(who), amount);
    }

    function requestUnbond(uint256 who, uint256 amount) external {
        address account = member(who);
        uint256 present = _vault.stakeOf(account) - _vault.bondOf(account);
        if (present == 0 || _vault.unbondings(account).length == _vault.MAX_UNBONDINGS()) return;
        vm.prank(account);
        _vault.requestUnbond(bound(amount, 1, present));
    }

    function withdraw(uint256 who) external {
        address account = member(who);
        IStakeVault.Unbonding[] memory queue = _vault.unbondings(account);
        if (queue.length == 0 || queue[0].releaseAt > block.timestamp) return;
        vm.prank(account);
        _vault.withdraw();
    }

    function slash(uint256 who, uint256 amount, bool paid) external {
        uint256 supply = _token.totalSupply();
        vm.prank(_slasher);
        taken += _vault.slash(member(who), bound(amount, 0, LARGEST), paid ? _treasury : address(0));
        burnt += supply - _token.totalSupply();
    }

    function lockBond(uint256 who, uint256 amount) external {
        address account = member(who);
        amount = bound(amount, 0, _vault.stakeOf(account) - _vault.bondOf(account));
        vm.prank(_slasher);
        _vault.lockBond(account, amount);
        bonds[account] += amount;
    }

    function unlockBond(uint256 who, uint256 amount) external {
        address account = member(who);
        amount = bound(amount, 0, bonds[account]);
        vm.prank(_slasher);
        _vault.unlockBond(account, amount);
        bonds[account] -= amount;
    }

    /// @dev To one of the members, never to nobody: the sum of all votes is then the sum of all stakes.
    function delegate(uint256 who, uint256 to) external {
        vm.prank(member(who));
        _vault.delegate(member(to));
    }

    function wait(uint256 time) external {
        vm.warp(block.timestamp + bound(time, 1, 3 days));
    }

    function member(uint256 who) public view returns (address) {
        return _members[who % MEMBERS];
    }
}

/// @notice What holds of the vault after any sequence of actions. PROPERTIES.md lists these.
contract VaultInvariants is Deployment {
    VaultHandler private _handler;

    function setUp() public override {
        super.setUp();
        _handler = new VaultHandler(token, vault, treasury.addr, address(ledger));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @dev The handler passes over what is impossible; this shows that what is possible does happen.
    function test_handler_reachesEveryAction() external {
        _handler.stake(0, 1000);
        _handler.requestUnbond(0, 400);
        _handler.slash(0, 700, true);
        vm.assertEq(_handler.taken(), 700, "taken");
        vm.assertEq(_handler.burnt(), 525, "burnt");
        vm.warp(block.timestamp + UNBONDING_PERIOD);
        _handler.withdraw(0);
        vm.assertEq(token.balanceOf(_handler.member(0)), 300, "withdrawn");
        _handler.stake(1, 5);
        _handler.lockBond(1, 3);
        _handler.unlockBond(1, 1);
        vm.assertEq(vault.bondOf(_handler.member(1)), 2, "locked");
        _handler.delegate(1, 2);
        vm.assertEq(vault.getVotes(_handler.member(2)), 3, "delegated, without the bond");
    }

    /// @dev One campaign for all: forge runs a campaign for each invariant, and with one seed they would be the same.
    function invariant_theVaultIsSound() external view {
        _balanceIsStakesPlusUnbonding();
        _totalIsTheSumOfStakes();
        _votesAreTheStakesOfTheDelegators();
        _queuesAreShortSortedAndWithoutHoles();
        _bondsAreWhatIsLockedAndWithinTheStake();
        _supplyShrinksByWhatIsBurnt();
    }

    function _balanceIsStakesPlusUnbonding() private view {
        uint256 owed;
        for (uint256 i = 0; i < _handler.MEMBERS(); ++i) {
            owed += vault.stakeOf(_handler.member(i)) + _unbonding(_handler.member(i));
        }
        vm.assertEq(token.balanceOf(address(vault)), owed, "the vault holds what it owes, and nothing else");
    }

    function _totalIsTheSumOfStakes() private view {
        uint256 sum;
        uint256 votes;
        for (uint256 i = 0; i < _handler.MEMBERS(); ++i) {
            sum += vault.stakeOf(_handler.member(i)) - vault.bondOf(_handler.member(i));
            votes += vault.getVotes(_handler.member(i));
        }
        vm.assertEq(vault.totalStaked(), sum, "total");
        vm.assertEq(votes, sum, "every unit of stake is one vote");
    }

    function _votesAreTheStakesOfTheDelegators() private view {
        for (uint256 i = 0; i < _handler.MEMBERS(); ++i) {
            address delegatee = _handler.member(i);
            uint256 expected;
            for (uint256 j = 0; j < _handler.MEMBERS(); ++j) {
                address account = _handler.member(j);
                if (vault.delegates(account) == delegatee) {
                    expected += vault.stakeOf(account) - vault.bondOf(account);
                }
            }
            vm.assertEq(vault.getVotes(delegatee), expected, "votes");
        }
    }

    function _queuesAreShortSortedAndWithoutHoles() private view {
        for (uint256 i = 0; i < _handler.MEMBERS(); ++i) {
            IStakeVault.Unbonding[] memory queue = vault.unbondings(_handler.member(i));
            vm.assertLe(queue.length, vault.MAX_UNBONDINGS(), "length");
            for (uint256 j = 0; j < queue.length; ++j) {
                vm.assertGt(queue[j].amount, 0, "amount");
                if (j > 0) vm.assertLe(queue[j - 1].releaseAt, queue[j].releaseAt, "order");
            }
        }
    }

    function _bondsAreWhatIsLockedAndWithinTheStake() private view {
        for (uint256 i = 0; i < _handler.MEMBERS(); ++i) {
            address account = _handler.member(i);
            vm.assertEq(vault.bondOf(account), _handler.bonds(account), "slashing and withdrawing leave bonds alone");
            vm.assertLe(vault.bondOf(account), vault.stakeOf(account), "bonds are stake");
        }
    }

    function _supplyShrinksByWhatIsBurnt() private view {
        vm.assertEq(token.totalSupply() + _handler.burnt(), GENESIS_SUPPLY, "supply");
        vm.assertLe(_handler.burnt(), _handler.taken(), "no more is burnt than was taken");
    }

    function _unbonding(address account) private view returns (uint256 sum) {
        IStakeVault.Unbonding[] memory queue = vault.unbondings(account);
        for (uint256 i = 0; i < queue.length; ++i) {
            sum += queue[i].amount;
        }
    }
}
