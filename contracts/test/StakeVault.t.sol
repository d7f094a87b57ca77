// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import { StakeVault } from "../src/StakeVault.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { Deployment } from "./utils/Deployment.sol";

contract StakeVaultTest is Deployment {
    function setUp() public override {
        super.setUp();
        vm.prank(treasury.addr);
        require(token.transfer(alice.addr, 1000e18));
        vm.prank(alice.addr);
        token.approve(address(vault), type(uint256).max);
    }

    function _stake(Actor memory account, uint256 amount) private {
        vm.prank(account.addr);
        vault.stake(account.addr, amount);
    }

    function _unbond(Actor memory account, uint256 amount) private {
        vm.prank(account.addr);
        vault.requestUnbond(amount);
    }

    function _slash(address account, uint256 amount, address beneficiary) private returns (uint256) {
        vm.prank(address(ledger));
        return vault.slash(account, amount, beneficiary);
    }

    function _memberId(address account) private view returns (uint256) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        return vault.members(accounts)[0].id;
    }

    function _permit(uint256 amount) private view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(
            abi.encode(typehash, bob.addr, address(vault), amount, token.nonces(bob.addr), block.timestamp + 60)
        );
        return vm.sign(bob.key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
    }

    // Construction.

    function test_constructor_failsWithoutATokenOrALedger() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultZeroAddress.selector));
        new StakeVault(IERC20(address(0)), address(ledger), 1 days);
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultZeroAddress.selector));
        new StakeVault(token, address(0), 1 days);
    }

    function test_constructor_keepsTheUnbondingPeriod() public view {
        vm.assertEq(uint256(vault.unbondingPeriod()), UNBONDING_PERIOD, "unbonding period");
    }

    function test_clock_isTime() public view {
        vm.assertEq(uint256(vault.clock()), START, "clock");
        vm.assertEq(vault.CLOCK_MODE(), "mode=timestamp", "mode");
    }

    // Staking.

    function test_stake_movesTokensAndGivesVotes() public {
        vm.expectEmit(address(vault));
        emit IStakeVault.Staked(alice.addr, alice.addr, 40e18);
        vm.expectEmit(address(token));
        emit IERC20.Transfer(alice.addr, address(vault), 40e18);
        _stake(alice, 40e18);
        vm.assertEq(vault.stakeOf(alice.addr), 40e18, "stake");
        vm.assertEq(vault.totalStaked(), 40e18, "total");
        vm.assertEq(vault.getVotes(alice.addr), 40e18, "votes");
        vm.assertEq(vault.delegates(alice.addr), alice.addr, "delegate");
        vm.assertEq(token.balanceOf(address(vault)), 40e18, "balance of the vault");
    }

    function test_stake_forAnotherBelongsToTheOther() public {
        vm.expectEmit(address(vault));
        emit IStakeVault.Staked(bob.addr, alice.addr, 10e18);
        vm.prank(alice.addr);
        vault.stake(bob.addr, 10e18);
        vm.assertEq(vault.stakeOf(bob.addr), 10e18, "stake of bob");
        vm.assertEq(vault.stakeOf(alice.addr), 0, "stake of alice");
        vm.assertEq(vault.getVotes(bob.addr), 10e18, "votes of bob");
    }

    function test_stake_keepsADelegationMadeBefore() public {
        vm.prank(alice.addr);
        vault.delegate(carol.addr);
        _stake(alice, 7e18);
        vm.assertEq(vault.delegates(alice.addr), carol.addr, "delegate");
        vm.assertEq(vault.getVotes(carol.addr), 7e18, "votes of carol");
        vm.assertEq(vault.getVotes(alice.addr), 0, "votes of alice");
    }

    function test_stake_doesNotDelegateAgainAfterTheFirstTime() public {
        _stake(alice, 7e18);
        vm.prank(alice.addr);
        vault.delegate(address(0));
        vm.prank(alice.addr);
        vault.stake(alice.addr, 1e18);
        vm.assertEq(vault.delegates(alice.addr), address(0), "alice chose not to vote");
        vm.assertEq(vault.getVotes(alice.addr), 0, "votes");
    }

    // Enrolling.

    function _enrol(address account, uint256 amount) private returns (uint256) {
        vm.prank(address(ledger));
        return vault.enrol(account, amount);
    }

    function _memberOf(address account) private view returns (IStakeVault.Member memory) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        return vault.members(accounts)[0];
    }

    function _assertEnrolled(uint256 amount, uint256 since, string memory message) private view {
        IStakeVault.Member memory member = _memberOf(alice.addr);
        vm.assertEq(uint256(member.enrolled), amount, message);
        vm.assertEq(uint256(member.since), since, message);
        vm.assertEq(vault.totalEnrolled(), amount, message);
    }

    /// @dev Audit, low: dust of one unit made members, and their numbers made the bits of others dear.
    function test_stake_givesNoNumber() public {
        _stake(alice, 1);
        vm.assertEq(_memberId(alice.addr), 0, "stake alone");
        vm.assertEq(_enrol(alice.addr, 1), 1, "alice");
        vm.prank(alice.addr);
        vault.stake(bob.addr, 2);
        _lock(bob.addr, 1);
        vm.assertEq(_memberId(bob.addr), 2, "who locks a bond has one too");
        vm.assertEq(_enrol(bob.addr, 1), 2, "and keeps it");
        vm.assertEq(_enrol(alice.addr, 0), 1, "for good");
    }

    function test_enrol_restartsWithMoreStakeOnly() public {
        _stake(alice, 100);
        _enrol(alice.addr, 40);
        _assertEnrolled(40, START, "enrolled");
        vm.warp(START + 1);
        _enrol(alice.addr, 30);
        _assertEnrolled(30, START, "less");
        _enrol(alice.addr, 30);
        _assertEnrolled(30, START, "the same");
        _enrol(alice.addr, 31);
        _assertEnrolled(31, START + 1, "more");
        _enrol(alice.addr, 0);
        _assertEnrolled(0, START + 1, "nothing");
        _expectInsufficient(100, 101);
        _enrol(alice.addr, 101);
    }

    function test_enrol_shrinksToWhatIsThere() public {
        _stake(alice, 100);
        _enrol(alice.addr, 90);
        _unbond(alice, 10);
        _assertEnrolled(90, START, "the rest left first");
        _unbond(alice, 10);
        _assertEnrolled(80, START, "then what is enrolled");
        _lock(alice.addr, 50);
        _assertEnrolled(30, START, "beside a bond");
        _unlock(alice.addr, 50);
        _assertEnrolled(30, START, "it does not grow by itself");
        _slash(alice.addr, 70, address(0));
        _assertEnrolled(10, START, "slashed");
        _expectInsufficient(10, 11);
        _enrol(alice.addr, 11);
    }

    function test_enrol_failsForOthers() public {
        _stake(alice, 1);
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultNotLedger.selector, alice.addr, address(ledger)));
        vm.prank(alice.addr);
        vault.enrol(alice.addr, 1);
    }

    function test_members_answersForManyAtOnce() public {
        _stake(alice, 5);
        address[] memory accounts = new address[](3);
        (accounts[0], accounts[1], accounts[2]) = (bob.addr, alice.addr, alice.addr);
        _enrol(alice.addr, 3);
        IStakeVault.Member[] memory members = vault.members(accounts);
        vm.assertEq(uint256(members[0].stake), 0, "stake of a stranger");
        vm.assertEq(uint256(members[0].id), 0, "number of a stranger");
        vm.assertEq(uint256(members[1].stake), 5, "stake of alice");
        vm.assertEq(uint256(members[1].enrolled), 3, "of which is enrolled");
        vm.assertEq(uint256(members[2].id), 1, "number of alice");
        vm.assertEq(uint256(members[2].since), START, "since when");
    }

    /// @dev Against the same answer from the views of one account, encoded by Solidity.
    function testFuzz_members_isTheAbiEncoding(uint128[4] memory amounts, uint256 order) public {
        Actor[4] memory actors = [alice, bob, carol, treasury];
        IStakeVault.Member[5] memory enrolled;
        for (uint256 i = 0; i < 4; ++i) {
            uint256 amount = bound(amounts[i], 1, 5e18);
            vm.prank(treasury.addr);
            vault.stake(actors[i].addr, amount);
            vm.warp(block.timestamp + (order % 1000));
            _enrol(actors[i].addr, amount / 2);
            enrolled[i] = IStakeVault.Member(uint96(amount), uint96(amount / 2), uint24(i + 1), 0);
            if (amount > 1) enrolled[i].since = uint40(block.timestamp);
        }
        uint256 count = order % 7;
        address[] memory accounts = new address[](count);
        IStakeVault.Member[] memory members = new IStakeVault.Member[](count);
        for (uint256 i = 0; i < count; ++i) {
            uint256 who = uint256(keccak256(abi.encode(order, i))) % 5;
            accounts[i] = who == 4 ? stranger.addr : actors[who].addr;
            members[i] = enrolled[who];
        }
        (bool success, bytes memory answer) = address(vault).staticcall(abi.encodeCall(IStakeVault.members, (accounts)));
        vm.assertTrue(success, "any accounts can be asked for");
        vm.assertEq(answer, abi.encode(members), "the answer");
    }

    function test_members_failsOnAnAccountThatIsNone() public view {
        for (uint256 bit = 160; bit < 256; ++bit) {
            (bool success, bytes memory answer) = address(vault)
                .staticcall(
                    abi.encodePacked(IStakeVault.members.selector, uint256(0x20), uint256(2), uint256(1), 1 << bit)
                );
            vm.assertFalse(success, "an address has 160 bits");
            vm.assertEq(answer.length, 0, "without data");
        }
    }

    function test_stake_failsOnZeroAmount() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultZeroAmount.selector));
        _stake(alice, 0);
    }

    function test_stake_failsForTheZeroAddress() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultZeroAddress.selector));
        vm.prank(alice.addr);
        vault.stake(address(0), 1);
    }

    function test_stake_failsBeyond96Bits() public {
        uint256 amount = uint256(type(uint96).max) + 1;
        vm.expectRevert(abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 96, amount));
        _stake(alice, amount);
    }

    function test_stake_failsWithoutTheTokens() public {
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice.addr, 1000e18, 1001e18)
        );
        _stake(alice, 1001e18);
    }

    function test_stakeWithPermit_needsNoAllowance() public {
        vm.prank(alice.addr);
        require(token.transfer(bob.addr, 6e18));
        (uint8 v, bytes32 r, bytes32 s) = _permit(6e18);
        vm.expectEmit(address(vault));
        emit IStakeVault.Staked(bob.addr, bob.addr, 6e18);
        vm.prank(bob.addr);
        vault.stakeWithPermit(6e18, block.timestamp + 60, v, r, s);
        vm.assertEq(vault.stakeOf(bob.addr), 6e18, "stake");
    }

    function test_stakeWithPermit_survivesAFrontRunPermit() public {
        vm.prank(alice.addr);
        require(token.transfer(bob.addr, 6e18));
        (uint8 v, bytes32 r, bytes32 s) = _permit(6e18);
        vm.prank(stranger.addr);
        token.permit(bob.addr, address(vault), 6e18, block.timestamp + 60, v, r, s);
        vm.prank(bob.addr);
        vault.stakeWithPermit(6e18, block.timestamp + 60, v, r, s);
        vm.assertEq(vault.stakeOf(bob.addr), 6e18, "stake");
    }

    function test_stakeWithPermit_failsWhenThePermitIsForLess() public {
        vm.prank(alice.addr);
        require(token.transfer(bob.addr, 6e18));
        (uint8 v, bytes32 r, bytes32 s) = _permit(5e18);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(vault), 0, 6e18)
        );
        vm.prank(bob.addr);
        vault.stakeWithPermit(6e18, block.timestamp + 60, v, r, s);
    }

    // Leaving.

    function test_requestUnbond_takesStakeAndVotesAtOnce() public {
        _stake(alice, 10e18);
        vm.expectEmit(address(vault));
        emit IStakeVault.UnbondingRequested(alice.addr, 4e18, uint40(START) + UNBONDING_PERIOD);
        _unbond(alice, 4e18);
        vm.assertEq(vault.stakeOf(alice.addr), 6e18, "stake");
        vm.assertEq(vault.getVotes(alice.addr), 6e18, "votes");
        vm.assertEq(vault.totalStaked(), 6e18, "total");
        vm.assertEq(token.balanceOf(address(vault)), 10e18, "tokens stay");
        IStakeVault.Unbonding[] memory queue = vault.unbondings(alice.addr);
        vm.assertEq(queue.length, 1, "withdrawals under way");
        vm.assertEq(uint256(queue[0].amount), 4e18, "amount");
        vm.assertEq(uint256(queue[0].releaseAt), START + UNBONDING_PERIOD, "release");
    }

    function test_requestUnbond_failsOnZeroAmount() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultZeroAmount.selector));
        _unbond(alice, 0);
    }

    function test_requestUnbond_failsBeyondTheStake() public {
        _stake(alice, 3);
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultInsufficientStake.selector, alice.addr, 3, 4));
        _unbond(alice, 4);
    }

    function test_requestUnbond_failsWhenTheQueueIsFull() public {
        uint256 max = vault.MAX_UNBONDINGS();
        _stake(alice, 100);
        for (uint256 i = 0; i < max; ++i) {
            _unbond(alice, 1);
        }
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultTooManyUnbondings.selector, alice.addr, max));
        _unbond(alice, 1);
    }

    function test_withdraw_failsBeforeTheRelease() public {
        _stake(alice, 10);
        _unbond(alice, 10);
        vm.warp(START + UNBONDING_PERIOD - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IStakeVault.StakeVaultNothingReleased.selector, alice.addr, START + UNBONDING_PERIOD)
        );
        vm.prank(alice.addr);
        vault.withdraw();
    }

    function test_withdraw_failsWithNothingUnderWay() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultNothingReleased.selector, alice.addr, 0));
        vm.prank(alice.addr);
        vault.withdraw();
    }

    function test_withdraw_paysWhatIsReleasedAndKeepsTheRest() public {
        _stake(alice, 60);
        _unbond(alice, 10);
        vm.warp(START + 1 hours);
        _unbond(alice, 20);
        vm.warp(START + 2 hours);
        _unbond(alice, 30);
        vm.warp(START + 1 hours + UNBONDING_PERIOD);
        vm.expectEmit(address(vault));
        emit IStakeVault.Withdrawn(alice.addr, 30);
        vm.prank(alice.addr);
        uint256 amount = vault.withdraw();
        vm.assertEq(amount, 30, "paid");
        vm.assertEq(token.balanceOf(alice.addr), 1000e18 - 30, "balance");
        IStakeVault.Unbonding[] memory queue = vault.unbondings(alice.addr);
        vm.assertEq(queue.length, 1, "withdrawals left");
        vm.assertEq(uint256(queue[0].amount), 30, "amount left");
    }

    function test_withdraw_makesRoomInTheQueue() public {
        _stake(alice, 100);
        for (uint256 i = 0; i < vault.MAX_UNBONDINGS(); ++i) {
            _unbond(alice, 1);
        }
        vm.warp(START + UNBONDING_PERIOD);
        vm.prank(alice.addr);
        vault.withdraw();
        _unbond(alice, 1);
        vm.assertEq(vault.unbondings(alice.addr).length, 1, "withdrawals under way");
    }

    // Slashing.

    function test_slash_splitsBetweenBeneficiaryAndFire() public {
        _stake(alice, 100);
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(vault));
        emit IStakeVault.Slashed(alice.addr, challenger.addr, 10, 31);
        uint256 taken = _slash(alice.addr, 41, challenger.addr);
        vm.assertEq(taken, 41, "taken");
        vm.assertEq(vault.stakeOf(alice.addr), 59, "stake");
        vm.assertEq(vault.getVotes(alice.addr), 59, "votes");
        vm.assertEq(token.balanceOf(challenger.addr), 10, "to the challenger");
        vm.assertEq(token.totalSupply(), supply - 31, "burnt");
    }

    function test_slash_reachesWhatIsUnbondingYoungestFirst() public {
        _stake(alice, 100);
        _unbond(alice, 30);
        vm.warp(START + 1);
        _unbond(alice, 20);
        uint256 taken = _slash(alice.addr, 75, address(0));
        vm.assertEq(taken, 75, "taken");
        vm.assertEq(vault.stakeOf(alice.addr), 0, "stake");
        IStakeVault.Unbonding[] memory queue = vault.unbondings(alice.addr);
        vm.assertEq(queue.length, 1, "withdrawals left");
        vm.assertEq(uint256(queue[0].amount), 25, "left of the older withdrawal");
    }

    function test_slash_reachesWhatIsReleasedButNotWithdrawn() public {
        _stake(alice, 10);
        _unbond(alice, 10);
        vm.warp(START + UNBONDING_PERIOD + 1);
        vm.assertEq(_slash(alice.addr, 10, address(0)), 10, "taken");
        vm.assertEq(vault.unbondings(alice.addr).length, 0, "withdrawals left");
    }

    function test_slash_takesOnlyWhatIsThere() public {
        _stake(alice, 10);
        _unbond(alice, 4);
        vm.assertEq(_slash(alice.addr, 1000, challenger.addr), 10, "taken");
        vm.assertEq(token.balanceOf(challenger.addr), 2, "to the challenger");
        vm.assertEq(_slash(alice.addr, 1000, challenger.addr), 0, "nothing is left");
    }

    function test_slash_failsForOthers() public {
        address[2] memory callers = [deployer.addr, address(timelock)];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IStakeVault.StakeVaultNotLedger.selector, callers[i], address(ledger))
            );
            vm.prank(callers[i]);
            vault.slash(alice.addr, 1, callers[i]);
        }
    }

    function test_slash_burnsAllWithoutABeneficiary() public {
        _stake(alice, 100);
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(vault));
        emit IStakeVault.Slashed(alice.addr, address(0), 0, 41);
        vm.assertEq(_slash(alice.addr, 41, address(0)), 41, "taken");
        vm.assertEq(token.totalSupply(), supply - 41, "burnt");
    }

    // Whatever the amounts.

    function testFuzz_slash_conservesTokens(uint256 staked, uint256 unbonding, uint256 amount, bool paid) public {
        staked = bound(staked, 1, 1000e18);
        unbonding = bound(unbonding, 0, staked);
        amount = bound(amount, 0, 2000e18);
        _stake(alice, staked);
        if (unbonding > 0) _unbond(alice, unbonding);
        uint256 supply = token.totalSupply();
        uint256 taken = _slash(alice.addr, amount, paid ? challenger.addr : address(0));
        uint256 reward = paid ? taken / 4 : 0;

        vm.assertEq(taken, amount < staked ? amount : staked, "taken");
        vm.assertEq(token.balanceOf(address(vault)), staked - taken, "balance of the vault");
        vm.assertEq(token.balanceOf(challenger.addr), reward, "to the challenger");
        vm.assertEq(supply - token.totalSupply(), taken - reward, "burnt");
        vm.assertEq(vault.getVotes(alice.addr), vault.stakeOf(alice.addr), "votes");
        uint256 fromStake = taken < staked - unbonding ? taken : staked - unbonding;
        vm.assertEq(vault.stakeOf(alice.addr), staked - unbonding - fromStake, "stake is taken first");
    }

    function testFuzz_withdraw_returnsEverythingThatWasStaked(uint256 staked, uint256 part) public {
        staked = bound(staked, 2, 1000e18);
        part = bound(part, 1, staked - 1);
        _stake(alice, staked);
        _unbond(alice, part);
        _unbond(alice, staked - part);
        vm.warp(START + UNBONDING_PERIOD);
        vm.prank(alice.addr);
        vm.assertEq(vault.withdraw(), staked, "paid");
        vm.assertEq(token.balanceOf(alice.addr), 1000e18, "balance");
    }

    // Bonds.

    function _lock(address account, uint256 amount) private {
        vm.prank(address(ledger));
        vault.lockBond(account, amount);
    }

    function _unlock(address account, uint256 amount) private {
        vm.prank(address(ledger));
        vault.unlockBond(account, amount);
    }

    function _expectInsufficient(uint256 unlocked, uint256 requested) private {
        vm.expectRevert(
            abi.encodeWithSelector(IStakeVault.StakeVaultInsufficientStake.selector, alice.addr, unlocked, requested)
        );
    }

    function test_lockBond_holdsWhatAnswersForARound() public {
        _stake(alice, 100);
        vm.expectEmit(address(vault));
        emit IStakeVault.BondLocked(alice.addr, 60);
        _lock(alice.addr, 60);
        vm.assertEq(vault.bondOf(alice.addr), 60, "bonds");
        vm.assertEq(vault.stakeOf(alice.addr), 100, "bonds are stake");
        vm.assertEq(vault.getVotes(alice.addr), 40, "that does not vote");
        _expectInsufficient(40, 41);
        _unbond(alice, 41);
        _unbond(alice, 40);
        _expectInsufficient(0, 1);
        _lock(alice.addr, 1);
    }

    function test_unlockBond_releasesIt() public {
        _stake(alice, 100);
        _lock(alice.addr, 60);
        _lock(alice.addr, 40);
        vm.expectEmit(address(vault));
        emit IStakeVault.BondUnlocked(alice.addr, 60);
        _unlock(alice.addr, 60);
        vm.assertEq(vault.bondOf(alice.addr), 40, "the other bond");
        vm.assertEq(vault.getVotes(alice.addr), 60, "votes again");
        _unbond(alice, 60);
        vm.expectRevert();
        _unlock(alice.addr, 41);
    }

    function test_slash_doesNotTouchBonds() public {
        _stake(alice, 100);
        _unbond(alice, 10);
        _lock(alice.addr, 60);
        vm.assertEq(_slash(alice.addr, 1000, address(0)), 40, "what is not locked, and what is leaving");
        vm.assertEq(vault.stakeOf(alice.addr), 60, "the bond is left");
        _unlock(alice.addr, 60);
        vm.assertEq(_slash(alice.addr, 60, address(0)), 60, "unlocked, it is taken whole");
    }

    function test_lockBond_failsForOthers() public {
        _stake(alice, 1);
        vm.expectRevert(
            abi.encodeWithSelector(IStakeVault.StakeVaultNotLedger.selector, stranger.addr, address(ledger))
        );
        vm.prank(stranger.addr);
        vault.lockBond(alice.addr, 1);
        vm.expectRevert(
            abi.encodeWithSelector(IStakeVault.StakeVaultNotLedger.selector, address(timelock), address(ledger))
        );
        vm.prank(address(timelock));
        vault.unlockBond(alice.addr, 0);
    }
}
