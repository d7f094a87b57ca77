// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MootToken } from "../src/MootToken.sol";
import { IMootToken } from "../src/interfaces/IMootToken.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import { Deployment } from "./utils/Deployment.sol";

contract MootTokenTest is Deployment {
    function test_genesis_goesToTheListedAccounts() public view {
        vm.assertEq(token.name(), "Moot", "name");
        vm.assertEq(token.symbol(), "MOOT", "symbol");
        vm.assertEq(token.totalSupply(), GENESIS_SUPPLY, "supply");
        vm.assertEq(token.balanceOf(treasury.addr), GENESIS_SUPPLY, "balance of the treasury");
    }

    function test_clock_isTime() public {
        vm.warp(START + 77);
        vm.assertEq(uint256(token.clock()), START + 77, "clock");
        vm.assertEq(token.CLOCK_MODE(), "mode=timestamp", "mode");
    }

    function test_constructor_failsWithoutAMinter() public {
        vm.expectRevert(abi.encodeWithSelector(IMootToken.MootTokenZeroAddress.selector));
        new MootToken(address(0), new IMootToken.Allocation[](0));
    }

    function test_mint_isForTheMinter() public {
        vm.expectEmit(address(token));
        emit IERC20.Transfer(address(0), alice.addr, 5e18);
        vm.prank(address(ledger));
        token.mint(alice.addr, 5e18);
        vm.assertEq(token.balanceOf(alice.addr), 5e18, "balance of alice");
        vm.assertEq(token.totalSupply(), GENESIS_SUPPLY + 5e18, "supply");
    }

    function test_mint_failsForOthers() public {
        address[3] memory callers = [deployer.addr, address(timelock), treasury.addr];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IMootToken.MootTokenNotMinter.selector, callers[i], address(ledger)));
            vm.prank(callers[i]);
            token.mint(alice.addr, 1);
        }
    }

    function test_burn_takesFromTheCaller() public {
        vm.expectEmit(address(token));
        emit IERC20.Transfer(treasury.addr, address(0), 3e18);
        vm.prank(treasury.addr);
        token.burn(3e18);
        vm.assertEq(token.totalSupply(), GENESIS_SUPPLY - 3e18, "supply");
    }

    function test_burn_failsBeyondTheBalance() public {
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice.addr, 0, 1));
        vm.prank(alice.addr);
        token.burn(1);
    }

    function test_permit_countsNonces() public {
        uint256 deadline = block.timestamp + 1 hours;
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(abi.encode(typehash, alice.addr, bob.addr, 9, 0, deadline));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(alice.key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
        token.permit(alice.addr, bob.addr, 9, deadline, v, r, s);
        vm.assertEq(token.allowance(alice.addr, bob.addr), 9, "allowance");
        vm.assertEq(token.nonces(alice.addr), 1, "nonce");
    }

    function testFuzz_votes_followDelegatedBalances(uint256 sent) public {
        sent = bound(sent, 0, GENESIS_SUPPLY);
        vm.prank(treasury.addr);
        token.delegate(treasury.addr);
        vm.prank(alice.addr);
        token.delegate(bob.addr);
        vm.prank(treasury.addr);
        require(token.transfer(alice.addr, sent));
        vm.assertEq(token.getVotes(treasury.addr), GENESIS_SUPPLY - sent, "votes of the treasury");
        vm.assertEq(token.getVotes(bob.addr), sent, "votes of bob, for alice");
        vm.warp(START + 1);
        vm.assertEq(token.getPastVotes(bob.addr, START), sent, "votes of bob in the past");
    }
}
