// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Whose signature it is.
library Signatures {
    /// @notice Whether `account` signed `digest`: by its key, or as a contract that says so (ERC-1271).
    /// @dev Tries the key first: it is cheap, and it serves accounts that have code by EIP-7702.
    function isBy(address account, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        // The third value only explains the failure.
        // slither-disable-next-line unused-return
        (address signer, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (failure == ECDSA.RecoverError.NoError && signer == account) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(account, digest, signature);
    }
}
