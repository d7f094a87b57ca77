// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who may enrol in a closed federation: a list, an attestation, a proof of personhood.
/// @notice The ledger asks when an account enrols, and when somebody wants it removed. It asks with limited gas, and an
/// answer that fails changes nothing: nobody new enrols, and nobody who is enrolled is removed.
interface IAdmission {
    /// @notice Whether `account` may enrol.
    function admits(address account) external view returns (bool);
}
