// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../interfaces/IRoundLedger.sol";

/// @title Hashes of commitments, of a round's list of them, and of its anchor.
library Commitments {
    /// @notice EIP-712 type of a commitment.
    bytes32 internal constant TYPEHASH = keccak256(
        "Commitment(address contributor,uint64 round,bytes32 baseStateRoot,bytes32 updateRoot,uint64 sumSquares,uint32 numExamples,bytes32 bundleHash)"
    );

    /// @notice EIP-712 struct hash of a commitment.
    /// @dev Every member is one word of the call data, so the hash is taken of the call data as they are: a third of the
    /// gas of `abi.encode`. Bits outside of a member's type would be hashed along; Solidity reverts on them wherever a
    /// member is read, and the ledger reads every member of a commitment that it records.
    function hash(IRoundLedger.Commitment calldata commitment) internal pure returns (bytes32 structHash) {
        bytes32 typehash = TYPEHASH;
        assembly ("memory-safe") {
            // The 256 bytes after the free memory pointer are scratch: nothing is allocated in between.
            let pointer := mload(0x40)
            mstore(pointer, typehash)
            calldatacopy(add(pointer, 0x20), commitment, 0xe0)
            structHash := keccak256(pointer, 0x100)
        }
    }

    /// @notice Rolling hash of a list of entries after one more entry. The hash of the empty list is zero.
    function append(bytes32 previous, address contributor, bytes32 commitmentHash) internal pure returns (bytes32) {
        return keccak256(abi.encode(previous, contributor, commitmentHash));
    }

    /// @notice Rolling hash of a whole list.
    function hashEntries(IRoundLedger.Entry[] calldata entries) internal pure returns (bytes32 rolling) {
        for (uint256 i = 0; i < entries.length; ++i) {
            rolling = append(rolling, entries[i].contributor, entries[i].commitmentHash);
        }
    }

    /// @notice Hash that the ledger keeps of an anchor.
    function hashAnchor(IRoundLedger.Anchor calldata anchor) internal pure returns (bytes32) {
        return keccak256(abi.encode(anchor));
    }

    /// @notice Sum of weights. It cannot overflow: there are far fewer than 2^224 of them.
    function sumWeights(uint32[] calldata weights) internal pure returns (uint256 sum) {
        for (uint256 i = 0; i < weights.length; ++i) {
            sum += weights[i];
        }
    }
}
