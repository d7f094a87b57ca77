// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The token of stakes and rewards.
/// @notice An ERC-20 with EIP-2612 permits. The supply is the genesis allocation plus claimed rewards minus what was burnt.
/// Tokens have no votes: stake in the vault does.
/// @dev No vote can appoint another minter.
interface IMootToken {
    /// @notice One line of the genesis allocation.
    struct Allocation {
        /// @notice Account that receives the tokens.
        address account;
        /// @notice Tokens, in units of 1e-18.
        uint256 amount;
    }

    /// @notice Thrown at deployment when the minter is zero.
    error MootTokenZeroAddress();
    /// @notice Thrown when somebody other than the minter mints.
    error MootTokenNotMinter(address caller, address minter);
    /// @notice Thrown when there would be more tokens than the vault's words hold. At a claim: later, after tokens were burnt,
    /// the same claim works.
    error MootTokenSupplyTooLarge(uint256 supply, uint256 maxSupply);

    /// @notice The only account that mints after the genesis: `Rewards`.
    function minter() external view returns (address);

    /// @notice Create `amount` tokens for `account`. Only the minter.
    function mint(address account, uint256 amount) external;

    /// @notice Destroy `amount` of the caller's tokens.
    /// @dev Warning: burnt tokens are gone.
    function burn(uint256 amount) external;
}
