// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../interfaces/IRoundLedger.sol";

/// @title Hashes of commitments, of a round's list of them, and of its anchor.
library Commitments {
    /// @notice EIP-712 type of a commitment.
    bytes32 internal constant TYPEHASH = keccak256(
        "Commitment(address contributor,uint64 round,bytes32 baseStateRoot,bytes32 updateRoot,uint64 sumSquares,uint32 numExamples,bytes32 bundleHash)"
    );

    /// @notice EIP-712 struct hash of a commitment. Every member is one word, so its ABI encoding is the EIP-712 one.
    function hash(IRoundLedger.Commitment calldata commitment) internal pure returns (bytes32) {
        return keccak256(abi.encode(TYPEHASH, commitment));
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
