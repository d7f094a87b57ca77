// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { TimelockController } from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title The timelock: carries out what was voted, after a delay.
/// @notice OpenZeppelin's timelock, with roles and a delay that nobody can change: the governor proposes and cancels,
/// anybody executes. So no vote can put an account in the governor's place, or skip the time in which others may leave.
contract MootTimelock is TimelockController {
    /// @notice Thrown when a vote tries to change the delay.
    error MootTimelockFixed();

    /// @param delay Seconds from the end of a vote to its execution, at least.
    /// @param governor The only account that proposes and cancels.
    constructor(uint256 delay, address governor)
        TimelockController(delay, _only(governor), _only(address(0)), address(0))
    {
        // Without an administrator nobody can grant or revoke a role.
        _revokeRole(DEFAULT_ADMIN_ROLE, address(this));
    }

    /// @notice Reverts with `MootTimelockFixed`.
    function updateDelay(uint256) public pure override {
        revert MootTimelockFixed();
    }

    function _only(address account) private pure returns (address[] memory accounts) {
        accounts = new address[](1);
        accounts[0] = account;
    }
}
