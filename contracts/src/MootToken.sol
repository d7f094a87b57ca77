// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Votes } from "@openzeppelin/contracts/governance/utils/Votes.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ERC20Burnable } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import { ERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import { ERC20Votes } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import { ERC6372Utils } from "@openzeppelin/contracts/utils/ERC6372Utils.sol";
import { Nonces } from "@openzeppelin/contracts/utils/Nonces.sol";
import { Time } from "@openzeppelin/contracts/utils/types/Time.sol";

import { IMootToken } from "./interfaces/IMootToken.sol";

/// @title The token of stakes and rewards.
contract MootToken is IMootToken, ERC20, ERC20Burnable, ERC20Permit, ERC20Votes {
    /// @inheritdoc IMootToken
    address public immutable override minter;

    /// @param minter_ The only account that mints, for ever: the ledger, at its predicted address.
    /// @param genesis Tokens that exist from the start.
    constructor(address minter_, Allocation[] memory genesis) ERC20("Moot", "MOOT") ERC20Permit("Moot") {
        if (minter_ == address(0)) revert MootTokenZeroAddress();
        minter = minter_;
        for (uint256 i = 0; i < genesis.length; ++i) {
            _mint(genesis[i].account, genesis[i].amount);
        }
    }

    /// @inheritdoc IMootToken
    function mint(address account, uint256 amount) external {
        if (msg.sender != minter) revert MootTokenNotMinter(msg.sender, minter);
        _mint(account, amount);
    }

    /// @inheritdoc IMootToken
    function burn(uint256 amount) public override(IMootToken, ERC20Burnable) {
        super.burn(amount);
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

    /// @inheritdoc ERC20Permit
    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Votes) {
        super._update(from, to, value);
    }
}
