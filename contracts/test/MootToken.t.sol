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

    function test_constructor_failsWithoutAMinter() public {
        vm.expectRevert(abi.encodeWithSelector(IMootToken.MootTokenZeroAddress.selector));
        new MootToken(address(0), new IMootToken.Allocation[](0));
    }

    function test_mint_isForTheMinter() public {
        vm.expectEmit(address(token));
        emit IERC20.Transfer(address(0), alice.addr, 5e18);
        vm.prank(address(rewards));
        token.mint(alice.addr, 5e18);
        vm.assertEq(token.balanceOf(alice.addr), 5e18, "balance of alice");
        vm.assertEq(token.totalSupply(), GENESIS_SUPPLY + 5e18, "supply");
    }

    function test_mint_failsForOthers() public {
        address[3] memory callers = [deployer.addr, address(timelock), treasury.addr];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IMootToken.MootTokenNotMinter.selector, callers[i], address(rewards))
            );
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

    /// @dev Audit N9: more would cut the sums of the vault's words.
    function test_N9_constructor_refusesMoreThanTheVaultsWordsHold() public {
        uint256 max = type(uint96).max;
        IMootToken.Allocation[] memory genesis = new IMootToken.Allocation[](2);
        genesis[0] = IMootToken.Allocation(alice.addr, max - 1);
        genesis[1] = IMootToken.Allocation(bob.addr, 2);
        vm.expectRevert(abi.encodeWithSelector(IMootToken.MootTokenSupplyTooLarge.selector, max + 1, max));
        new MootToken(address(rewards), genesis);
        genesis[1].amount = 1;
        vm.assertEq(new MootToken(address(rewards), genesis).totalSupply(), max, "all that fits");
    }

    /// @dev Audit N9: rewards come on top of the genesis.
    function test_N9_mint_refusesMoreThanTheVaultsWordsHold() public {
        uint256 max = token.MAX_SUPPLY();
        vm.startPrank(address(rewards));
        vm.expectRevert(abi.encodeWithSelector(IMootToken.MootTokenSupplyTooLarge.selector, max + 1, max));
        token.mint(alice.addr, max - GENESIS_SUPPLY + 1);
        token.mint(alice.addr, max - GENESIS_SUPPLY);
        vm.assertEq(token.totalSupply(), max, "all that fits");
    }
}
