// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ERC20Burnable } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import { ERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

import { IMootToken } from "./interfaces/IMootToken.sol";

/// @title The token of stakes and rewards.
contract MootToken is IMootToken, ERC20, ERC20Burnable, ERC20Permit {
    /// @notice Largest supply, in units of 1e-18 tokens: stakes and sums of stakes have 96 bits each.
    uint256 public constant MAX_SUPPLY = type(uint96).max;

    /// @inheritdoc IMootToken
    address public immutable override minter;

    /// @param minter_ The only account that mints, for ever: `Rewards`, at its predicted address.
    /// @param genesis Tokens that exist from the start.
    constructor(address minter_, Allocation[] memory genesis) ERC20("Moot", "MOOT") ERC20Permit("Moot") {
        if (minter_ == address(0)) revert MootTokenZeroAddress();
        minter = minter_;
        for (uint256 i = 0; i < genesis.length; ++i) {
            _create(genesis[i].account, genesis[i].amount);
        }
    }

    /// @inheritdoc IMootToken
    function mint(address account, uint256 amount) external {
        if (msg.sender != minter) revert MootTokenNotMinter(msg.sender, minter);
        _create(account, amount);
    }

    /// @inheritdoc IMootToken
    function burn(uint256 amount) public override(IMootToken, ERC20Burnable) {
        super.burn(amount);
    }

    function _create(address account, uint256 amount) private {
        _mint(account, amount);
        if (totalSupply() > MAX_SUPPLY) revert MootTokenSupplyTooLarge(totalSupply(), MAX_SUPPLY);
    }
}
