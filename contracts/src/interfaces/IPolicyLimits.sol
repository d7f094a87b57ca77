// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "./IRoundLedger.sol";

/// @title What every policy of a ledger must keep to, fixed at deployment.
interface IPolicyLimits {
    /// @notice Revert with `IRoundLedger.RoundLedgerInvalidPolicy`, which names the first field that is out of its range.
    function check(IRoundLedger.Policy calldata policy) external view;

    /// @notice What no vote can go beyond.
    function bounds() external view returns (IRoundLedger.Bounds memory);

    /// @notice The verifier of every policy: the arbiter.
    function verifier() external view returns (address);

    /// @notice Seconds that the windows of a policy may have together: the unbonding period of the vault.
    function maxWindows() external view returns (uint40);
}
