// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The token of stakes and rewards.
/// @notice An ERC-20 with EIP-2612 permits and vote checkpoints (ERC-5805, clock: timestamps). The supply is the genesis
/// allocation plus claimed rewards minus what slashing burnt.
/// @dev Warning: governance administers the roles of this contract, so an executed vote can appoint another minter.
interface IMootToken {
    /// @notice One line of the genesis allocation.
    struct Allocation {
        /// @notice Account that receives the tokens.
        address account;
        /// @notice Tokens, in units of 1e-18.
        uint256 amount;
    }

    /// @notice Create `amount` tokens for `account`. Only minters: after the genesis that is the ledger, for rewards.
    function mint(address account, uint256 amount) external;

    /// @notice Destroy `amount` of the caller's tokens.
    /// @dev Warning: burnt tokens are gone.
    function burn(uint256 amount) external;
}
