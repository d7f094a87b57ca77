// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAdmission } from "../../src/interfaces/IAdmission.sol";

/// @notice A closed federation in which everybody is admitted: no places are drawn.
contract Everybody is IAdmission {
    function admits(address) external pure returns (bool) {
        return true;
    }
}
