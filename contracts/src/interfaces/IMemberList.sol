// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAdmission } from "./IAdmission.sol";

/// @title A list of the members of a closed federation, which votes change.
interface IMemberList is IAdmission {
    /// @notice Emitted when an account becomes a member, or stops being one.
    event MemberSet(address indexed account, bool member);

    /// @notice Thrown when somebody other than governance changes the list.
    error MemberListNotGovernance(address caller, address governance);
    /// @notice Thrown when an address that must be set is zero.
    error MemberListZeroAddress();

    /// @notice Make accounts members, or end their membership.
    /// @dev Only governance. An account that is enrolled stays so until somebody calls `IRoundLedger.remove`.
    function setMembers(address[] calldata accounts, bool member) external;

    /// @notice Who changes the list: the timelock. Fixed at deployment.
    function governance() external view returns (address);
}
