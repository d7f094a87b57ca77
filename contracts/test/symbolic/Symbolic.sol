// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Vm } from "../utils/Vm.sol";

/// @notice The cheat codes of halmos that the proofs use.
interface Svm {
    /// @notice From now on mappings, and every other slot that was not written yet, hold unknown values.
    function enableSymbolicStorage(address account) external;
}

/// @title Base of the proofs.
/// @notice A `check_` function must hold for all of its arguments; a call that reverts ends a path and proves nothing. A
/// `refute_` function must be refuted: it claims that something never happens that does, and so shows that the proofs
/// beside it do not hold merely because every path reverts.
abstract contract Symbolic {
    Vm internal constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    Svm internal constant SVM = Svm(address(uint160(uint256(keccak256("svm cheat code")))));

    /// @dev The operators of Solidity would branch on an unknown, and every branch doubles the paths.
    function _and(bool a, bool b) internal pure returns (bool both) {
        assembly ("memory-safe") {
            both := and(a, b)
        }
    }
}
