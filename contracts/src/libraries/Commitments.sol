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

    /// @notice Commitment of a list by its place, which the caller has found to be in the list.
    function at(IRoundLedger.Commitment[] calldata commitments, uint256 index)
        internal
        pure
        returns (IRoundLedger.Commitment calldata commitment)
    {
        assembly ("memory-safe") {
            // Solidity has found the whole list to be in the call data. Each takes seven words.
            commitment := add(commitments.offset, mul(index, 0xe0))
        }
    }

    /// @notice A member of a commitment as the word that the call data have for it.
    /// @dev Without the check of its width that Solidity makes: compare it with something that has no bits above the
    /// width, and let Solidity read the member itself where the two differ.
    /// @param member Number of the member, from 0 for `contributor` to 6 for `bundleHash`.
    function word(IRoundLedger.Commitment calldata commitment, uint256 member) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            // Reads call data alone.
            value := calldataload(add(commitment, shl(5, member)))
        }
    }

    /// @notice Rolling hash of a list of entries after one more entry. The hash of the empty list is zero.
    /// @dev keccak256 of the ABI encoding of the three.
    function append(bytes32 previous, address contributor, bytes32 commitmentHash)
        internal
        pure
        returns (bytes32 next)
    {
        // Widened before, because assembly could see bits above an address.
        uint256 account = uint160(contributor);
        assembly ("memory-safe") {
            // The 96 bytes after the free memory pointer are scratch: nothing is allocated in between.
            let pointer := mload(0x40)
            mstore(pointer, previous)
            mstore(add(pointer, 0x20), account)
            mstore(add(pointer, 0x40), commitmentHash)
            next := keccak256(pointer, 0x60)
        }
    }

    /// @notice Rolling hash of a whole list.
    function hashEntries(IRoundLedger.Entry[] calldata entries) internal pure returns (bytes32 rolling) {
        for (uint256 i = 0; i < entries.length; ++i) {
            rolling = append(rolling, entries[i].contributor, entries[i].commitmentHash);
        }
    }

    /// @notice Hash that the ledger keeps of an anchor.
    function hashAnchor(IRoundLedger.Anchor calldata anchor) internal pure returns (bytes32) {
        (bytes memory encoded,) = encodeAnchor(anchor);
        return keccak256(encoded);
    }

    /// @notice ABI encoding of an anchor (`abi.encode(anchor)`), and the sum of its weights, in one pass over them.
    /// @dev The encoding is built here, with the one offset and order that it can have, whatever offsets the call data
    /// use. Solidity bounds the list by the call data before; weights wider than 32 bits revert without data, as they
    /// do wherever Solidity reads one. All other members are whole words. The sum can't overflow, see `sumWeights`.
    function encodeAnchor(IRoundLedger.Anchor calldata anchor)
        internal
        pure
        returns (bytes memory encoded, uint256 sum)
    {
        uint32[] calldata weights = anchor.weights;
        assembly ("memory-safe") {
            // Written from the free memory pointer on, which is moved to the end of what is written.
            encoded := mload(0x40)
            let size := shl(5, weights.length)
            mstore(encoded, add(0x120, size))
            mstore(add(encoded, 0x20), 0x20)
            mstore(add(encoded, 0x40), 0xe0)
            calldatacopy(add(encoded, 0x60), add(anchor, 0x20), 0xc0)
            mstore(add(encoded, 0x120), weights.length)
            calldatacopy(add(encoded, 0x140), weights.offset, size)
            let bits := 0
            let end := add(weights.offset, size)
            for { let cursor := weights.offset } lt(cursor, end) { cursor := add(cursor, 0x20) } {
                let weight := calldataload(cursor)
                bits := or(bits, weight)
                sum := add(sum, weight)
            }
            if shr(32, bits) { revert(0, 0) }
            mstore(0x40, add(add(encoded, 0x140), size))
        }
    }

    /// @notice Sum of weights. It cannot overflow: there are far fewer than 2^224 of them.
    function sumWeights(uint32[] calldata weights) internal pure returns (uint256 sum) {
        for (uint256 i = 0; i < weights.length; ++i) {
            sum += weights[i];
        }
    }
}
