// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Whose signature it is.
library Signatures {
    /// @notice Whether `account` signed `digest`: by its key, or as a contract that says so (ERC-1271).
    /// @dev Tries the key first: it is cheap, and it serves accounts that have code by EIP-7702. Nobody signs for the
    /// zero address: it is what the precompile's silence reads as.
    function isBy(address account, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        if (_isByKey(account, digest, signature)) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(account, digest, signature);
    }

    /// @dev Whether OpenZeppelin's `ECDSA.tryRecoverCalldata` returns `account` and no failure, at a fifth of the gas
    /// around the precompile: a signature has 65 bytes, and its `s` is in the lower half of the order, because the other
    /// half would give a second signature of the same message.
    function _isByKey(address account, bytes32 digest, bytes calldata signature) private view returns (bool success) {
        // Widened before, because assembly could see bits above an address.
        uint256 wanted = uint160(account);
        assembly ("memory-safe") {
            let s := calldataload(add(signature.offset, 0x20))
            let high := gt(s, 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0)
            if gt(eq(signature.length, 65), high) {
                // The 128 bytes after the free memory pointer are scratch: nothing is allocated in between. So are the
                // first 32 bytes of memory. The precompile answers an address or nothing, and then the zero stays.
                let pointer := mload(0x40)
                mstore(pointer, digest)
                mstore(add(pointer, 0x20), byte(0, calldataload(add(signature.offset, 0x40))))
                mstore(add(pointer, 0x40), calldataload(signature.offset))
                mstore(add(pointer, 0x60), s)
                mstore(0x00, 0)
                pop(staticcall(gas(), 1, pointer, 0x80, 0x00, 0x20))
                let signer := mload(0x00)
                success := gt(eq(signer, wanted), iszero(signer))
            }
        }
    }
}
