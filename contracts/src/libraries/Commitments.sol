// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../interfaces/IRoundLedger.sol";

/// @title Hashes of commitments, of a round's list of them, and of its anchor; and how a batch of them is packed.
/// @notice An entry of a batch has 156 bytes: 20 of `contributor`, 32 of `updateRoot`, 8 of `sumSquares`, 32 of
/// `memoryHash`, and a compact signature (ERC-2098) of 64. Events have the same without the signature. Numbers are
/// big-endian. The entries of a batch share the round, its base and the bundle.
library Commitments {
    /// @notice What is hashed of a commitment: the type hash and the seven members.
    struct Form {
        bytes32 typehash;
        uint256 contributor;
        uint256 round;
        bytes32 baseStateRoot;
        bytes32 updateRoot;
        uint256 sumSquares;
        bytes32 memoryHash;
        bytes32 bundleHash;
    }

    /// @notice Bytes of an entry of a batch.
    uint256 internal constant ENTRY_BYTES = 156;
    /// @notice Bytes of an entry of an event.
    uint256 internal constant LISTED_BYTES = 92;
    /// @notice EIP-712 type of a commitment.
    bytes32 internal constant TYPEHASH = keccak256(
        "Commitment(address contributor,uint64 round,bytes32 baseStateRoot,bytes32 updateRoot,uint64 sumSquares,bytes32 memoryHash,bytes32 bundleHash)"
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

    /// @notice Number of entries of a batch, whose length must be a multiple of `ENTRY_BYTES`.
    function countOf(bytes calldata batch) internal pure returns (uint256) {
        if (batch.length % ENTRY_BYTES != 0) revert IRoundLedger.RoundLedgerMalformedBatch(batch.length, ENTRY_BYTES);
        return batch.length / ENTRY_BYTES;
    }

    /// @notice Where in the call data the first entry of a batch begins, and where the last one ends.
    function placesOf(bytes calldata batch) internal pure returns (uint256 first, uint256 end) {
        assembly ("memory-safe") {
            first := batch.offset
            end := add(first, batch.length)
        }
    }

    /// @notice Data of an event of recorded commitments, with room for entries.
    /// @return list Where in memory they begin.
    /// @return end Where the first entry goes.
    function newList(uint256 count) internal pure returns (uint256 list, uint256 end) {
        assembly ("memory-safe") {
            // Index, bundle, offset and length come before the entries.
            list := mload(0x40)
            end := add(list, 0x80)
            // Whole words, and at least one word more than the entries have: `closeList` clears what is behind the last one.
            mstore(0x40, and(add(add(end, 0x3f), mul(count, LISTED_BYTES)), not(0x1f)))
        }
    }

    /// @notice Complete the data of an event: `abi.encode(first, bundleHash, entries)`.
    /// @param end Where the last entry ends.
    /// @return size Bytes of the data.
    function closeList(uint256 list, uint256 end, uint256 first, bytes32 bundleHash)
        internal
        pure
        returns (uint256 size)
    {
        assembly ("memory-safe") {
            // Writes the words that `newList` left free. The data are padded with zeros to whole words.
            size := sub(end, list)
            mstore(list, first)
            mstore(add(list, 0x20), bundleHash)
            mstore(add(list, 0x40), 0x60)
            mstore(add(list, 0x60), sub(size, 0x80))
            mstore(end, 0)
            size := and(add(size, 0x1f), not(0x1f))
        }
    }

    /// @notice Read a batch's entry into a form, copy it, without the signature, to the end of a list, and say whether the
    /// contributor's key signed it.
    /// @dev Accepts what OpenZeppelin's `ECDSA.tryRecover(digest, r, vs)` does: `s` must be in the lower half of the order,
    /// because the other half would give a second signature of the same message. Nobody signs for the zero address: it is
    /// what the precompile's silence reads as.
    /// @param listEnd Where in memory the copy goes; the caller has found room there.
    /// @param entry Where in the call data the entry begins; the caller has found it to be in the batch.
    /// @param domain EIP-712 domain separator.
    /// @return contributor Contributor of the entry.
    /// @return structHash EIP-712 struct hash of its commitment.
    /// @return isSigned Whether the signature is the contributor's.
    function take(Form memory form, uint256 listEnd, uint256 entry, bytes32 domain)
        internal
        view
        returns (address contributor, bytes32 structHash, bool isSigned)
    {
        assembly ("memory-safe") {
            calldatacopy(listEnd, entry, LISTED_BYTES)
            // A form has the type hash and the seven members of a commitment, a word each.
            contributor := shr(96, calldataload(entry))
            mstore(add(form, 0x20), contributor)
            mstore(add(form, 0x80), calldataload(add(entry, 0x14)))
            mstore(add(form, 0xa0), shr(192, calldataload(add(entry, 0x34))))
            mstore(add(form, 0xc0), calldataload(add(entry, 0x3c)))
            structHash := keccak256(form, 0x100)

            // The 128 bytes after the free memory pointer are scratch: nothing is allocated in between. So are the first
            // 32 bytes of memory. The precompile answers an address or nothing, and then the zero stays.
            let pointer := mload(0x40)
            mstore(pointer, hex"1901")
            mstore(add(pointer, 0x02), domain)
            mstore(add(pointer, 0x22), structHash)
            mstore(pointer, keccak256(pointer, 0x42))
            let vs := calldataload(add(entry, 0x7c))
            let s := shr(1, shl(1, vs))
            mstore(add(pointer, 0x20), add(27, shr(255, vs)))
            mstore(add(pointer, 0x40), calldataload(add(entry, 0x5c)))
            mstore(add(pointer, 0x60), s)
            mstore(0x00, 0)
            pop(staticcall(gas(), 1, pointer, 0x80, 0x00, 0x20))
            let signer := mload(0x00)
            let high := gt(s, 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0)
            isSigned := gt(eq(signer, contributor), or(iszero(signer), high))
        }
    }

    /// @notice `take` for a whole commitment, whose round, base and bundle are those of the form.
    /// @dev Its contributor was read before, and made it. Reverts without data on bits above the type of a number, as
    /// Solidity does.
    function takeWhole(Form memory form, uint256 listEnd, IRoundLedger.Commitment calldata commitment)
        internal
        pure
        returns (bytes32 structHash)
    {
        assembly ("memory-safe") {
            let contributor := calldataload(commitment)
            let updateRoot := calldataload(add(commitment, 0x60))
            let sumSquares := calldataload(add(commitment, 0x80))
            let memoryHash := calldataload(add(commitment, 0xa0))
            if shr(64, sumSquares) { revert(0, 0) }
            // Each word overwrites the zeros that the one before has behind its member.
            mstore(listEnd, shl(96, contributor))
            mstore(add(listEnd, 0x14), updateRoot)
            mstore(add(listEnd, 0x34), shl(192, sumSquares))
            mstore(add(listEnd, 0x3c), memoryHash)
            mstore(add(form, 0x20), contributor)
            calldatacopy(add(form, 0x80), add(commitment, 0x60), 0x60)
            structHash := keccak256(form, 0x100)
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

    /// @notice Hash that the ledger keeps of an anchor: that of its members, with the hashes of weights and of pays for the
    /// lists, as EIP-712 does it. So that hash can be checked from nine words, without the lists.
    function hashAnchor(IRoundLedger.Anchor calldata anchor) internal pure returns (bytes32 anchorHash) {
        (,, anchorHash) = encodeAnchor(anchor);
    }

    /// @notice ABI encoding of an anchor (`abi.encode(anchor)`), the sum of its weights, and its hash, in one pass over them.
    /// @dev The encoding is built here, with the offsets and the order that it can have, whatever offsets the call data
    /// use. Solidity bounds both lists by the call data before; weights and pays wider than 32 bits revert without data,
    /// as they do wherever Solidity reads one. All other members are whole words. The sum can't overflow: there are far
    /// fewer than 2^224 weights.
    function encodeAnchor(IRoundLedger.Anchor calldata anchor)
        internal
        pure
        returns (bytes memory encoded, uint256 sum, bytes32 anchorHash)
    {
        uint32[] calldata weights = anchor.weights;
        uint32[] calldata pays = anchor.pays;
        assembly ("memory-safe") {
            // Written from the free memory pointer on, which is moved to the end of what is written.
            encoded := mload(0x40)
            let size := shl(5, weights.length)
            let paysSize := shl(5, pays.length)
            let paysPlace := add(add(encoded, 0x180), size)
            mstore(encoded, add(0x180, add(size, paysSize)))
            mstore(add(encoded, 0x20), 0x20)
            calldatacopy(add(encoded, 0x80), add(anchor, 0x40), 0xe0)
            mstore(add(encoded, 0x160), weights.length)
            calldatacopy(add(encoded, 0x180), weights.offset, size)
            mstore(paysPlace, pays.length)
            calldatacopy(add(paysPlace, 0x20), pays.offset, paysSize)
            // The hashes of the lists are for a moment where the offsets of the lists belong.
            mstore(add(encoded, 0x40), keccak256(add(encoded, 0x180), size))
            mstore(add(encoded, 0x60), keccak256(add(paysPlace, 0x20), paysSize))
            anchorHash := keccak256(add(encoded, 0x40), 0x120)
            mstore(add(encoded, 0x40), 0x120)
            mstore(add(encoded, 0x60), add(0x140, size))
            let bits := 0
            let end := add(weights.offset, size)
            for { let cursor := weights.offset } lt(cursor, end) { cursor := add(cursor, 0x20) } {
                let weight := calldataload(cursor)
                bits := or(bits, weight)
                sum := add(sum, weight)
            }
            end := add(pays.offset, paysSize)
            for { let cursor := pays.offset } lt(cursor, end) { cursor := add(cursor, 0x20) } {
                bits := or(bits, calldataload(cursor))
            }
            if shr(32, bits) { revert(0, 0) }
            mstore(0x40, add(add(paysPlace, 0x20), paysSize))
        }
    }
}
