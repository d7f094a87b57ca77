// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "./IRoundLedger.sol";

/// @title How many rounds an enrolled account has missed.
interface IAttendance {
    /// @notice Rounds in a row that the account has missed, from the newest backwards, up to `Enrolment.MAX_MISSED`. The
    /// caller pays for each round that is read. The walk ends at the genesis, which was opened before any account enrolled.
    function missed(address account) external view returns (uint256 count);

    /// @notice The ledger whose rounds are counted.
    function ledger() external view returns (IRoundLedger);
}
