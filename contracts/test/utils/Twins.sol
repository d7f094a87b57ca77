// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { Commitments } from "../../src/libraries/Commitments.sol";
import { Signatures } from "../../src/libraries/Signatures.sol";

/// @notice What is written in assembly in src/, in assembly and in plain Solidity.
interface ITwin {
    function hash(IRoundLedger.Commitment calldata commitment) external pure returns (bytes32);

    function append(bytes32 previous, address contributor, bytes32 commitmentHash) external pure returns (bytes32);

    function encodeAnchor(IRoundLedger.Anchor calldata anchor) external pure returns (bytes memory, uint256, bytes32);

    function isBy(address account, bytes32 digest, bytes calldata signature) external view returns (bool);
}

/// @notice The libraries.
contract AssemblyTwin is ITwin {
    function hash(IRoundLedger.Commitment calldata commitment) external pure returns (bytes32) {
        return Commitments.hash(commitment);
    }

    function append(bytes32 previous, address contributor, bytes32 commitmentHash) external pure returns (bytes32) {
        return Commitments.append(previous, contributor, commitmentHash);
    }

    function encodeAnchor(IRoundLedger.Anchor calldata anchor)
        external
        pure
        returns (bytes memory encoded, uint256 sum, bytes32 anchorHash)
    {
        (encoded, sum, anchorHash) = Commitments.encodeAnchor(anchor);
        // Hashed after another allocation, which must not touch the encoding.
        bytes memory next = abi.encode(sum);
        return (encoded, uint256(bytes32(next)), anchorHash);
    }

    function isBy(address account, bytes32 digest, bytes calldata signature) external view returns (bool) {
        return Signatures.isBy(account, digest, signature);
    }
}

/// @notice The same without assembly of ours.
contract PlainTwin is ITwin {
    function hash(IRoundLedger.Commitment calldata c) external pure returns (bytes32) {
        return keccak256(
            abi.encode(
                Commitments.TYPEHASH,
                c.contributor,
                c.round,
                c.baseStateRoot,
                c.updateRoot,
                c.sumSquares,
                c.memoryHash,
                c.bundleHash
            )
        );
    }

    function append(bytes32 previous, address contributor, bytes32 commitmentHash) external pure returns (bytes32) {
        return keccak256(abi.encode(previous, contributor, commitmentHash));
    }

    function encodeAnchor(IRoundLedger.Anchor calldata anchor)
        external
        pure
        returns (bytes memory encoded, uint256 sum, bytes32 anchorHash)
    {
        for (uint256 i = 0; i < anchor.weights.length; ++i) {
            sum += anchor.weights[i];
        }
        // As plainAnchorHash, but from calldata, which the twins read: that one takes memory.
        anchorHash = keccak256(
            abi.encode(
                keccak256(abi.encodePacked(anchor.weights)),
                keccak256(abi.encodePacked(anchor.pays)),
                anchor.delivered,
                anchor.meanRoot,
                anchor.stateRoot,
                anchor.gramRoot,
                anchor.verdictHash,
                anchor.artifactsHash,
                anchor.entriesRoot
            )
        );
        return (abi.encode(anchor), sum, anchorHash);
    }

    function isBy(address account, bytes32 digest, bytes calldata signature) external view returns (bool) {
        (address signer, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (failure == ECDSA.RecoverError.NoError && signer == account) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(account, digest, signature);
    }
}

/// @notice Answers every call with two lists of one word each, laid out as `StakeVault.members` does, or nearly so.
contract Answering {
    uint256 private immutable _count;
    uint256 private immutable _size;

    constructor(uint256 count, uint256 size) {
        (_count, _size) = (count, size);
    }

    fallback() external {
        (uint256 count, uint256 size) = (_count, _size);
        uint256 most = type(uint96).max;
        bytes memory answer = abi.encode(uint256(0x20), count, most, most, uint256(1), uint256(1), size);
        assembly ("memory-safe") {
            return(add(answer, 0x20), size)
        }
    }
}
