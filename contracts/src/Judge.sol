// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IArbiter } from "./interfaces/IArbiter.sol";
import { IJudge } from "./interfaces/IJudge.sol";
import { IPolicies } from "./interfaces/IPolicies.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { Commitments } from "./libraries/Commitments.sol";
import { Layout } from "./libraries/Layout.sol";
import { MerkleSum } from "./libraries/MerkleSum.sol";
import { Openings } from "./libraries/Openings.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title Base of the judges: compares the arguments of a proof with the records of the ledger.
abstract contract Judge is IJudge {
    /// @dev Stands for the sums of what is no leaf: more than a node can claim.
    uint256 private constant INVALID = type(uint256).max;

    /// @inheritdoc IJudge
    IRoundLedger public immutable override ledger;
    bytes32 internal immutable _manifestHash;
    IPolicies internal immutable _policies;

    /// @param ledger_ The ledger; the arbiter that its policies name must have this contract on its list.
    constructor(IRoundLedger ledger_) {
        ledger = ledger_;
        _manifestHash = ledger_.manifestHash();
        _policies = ledger_.policies();
    }

    /// @dev The verifier of every policy.
    function _arbiter() internal view returns (IArbiter) {
        return IArbiter(ledger.verifier());
    }

    function _anchored(RoundId round) internal view returns (IRoundLedger.Round memory stored) {
        stored = ledger.rounds(round);
        IRoundLedger.Phase phase = stored.phase;
        if (phase != IRoundLedger.Phase.Anchored) revert JudgeNotAnchored(round, phase);
    }

    /// @dev State root that a round's contributors trained from.
    function _baseStateRoot(IRoundLedger.Round memory stored) internal view returns (bytes32) {
        return ledger.rounds(stored.base).stateRoot;
    }

    /// @dev The layout is the one that the ledger's manifest has.
    function _requireLayout(bytes calldata layout, bytes32 manifestDocument) internal view {
        _requireRecord(Layout.manifestHash(layout, manifestDocument), _manifestHash);
    }

    function _requireAnchor(IRoundLedger.Anchor calldata anchor, IRoundLedger.Round memory stored) internal pure {
        _requireRecord(Commitments.hashAnchor(anchor), stored.anchorHash);
    }

    /// @dev The entries are all that the round recorded, in order. `baseStateRoot` is the base's.
    function _requireEntries(
        RoundId round,
        IRoundLedger.Round memory stored,
        bytes32 baseStateRoot,
        Entry[] calldata entries
    ) internal pure {
        bytes32 rolling = bytes32(0);
        for (uint256 i = 0; i < entries.length; ++i) {
            bytes32 commitment = _commitmentHash(round, baseStateRoot, entries[i]);
            rolling = Commitments.append(rolling, entries[i].contributor, commitment);
        }
        _requireRecord(rolling, stored.entriesHash);
    }

    function _commitmentHash(RoundId round, bytes32 baseStateRoot, Entry calldata entry)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                Commitments.TYPEHASH,
                entry.contributor,
                round,
                baseStateRoot,
                entry.updateRoot,
                entry.sumSquares,
                entry.memoryHash,
                entry.bundleHash
            )
        );
    }

    /// @dev Whether the node is in the committed tree (it must be) and wrong.
    /// @param leaves Leaves of the tree.
    /// @param depth Depth of the tree.
    /// @param values At level 0: coordinates of the leaf that are no padding.
    /// @param largest Largest absolute value that a coordinate may have.
    function _isFaulty(
        uint256 leaves,
        uint256 depth,
        uint256 values,
        uint256 largest,
        Entry calldata entry,
        Fault calldata fault
    ) internal pure returns (bool) {
        if (fault.level > depth) revert JudgeOutOfRange(fault.level, depth);
        uint256 height = depth - fault.level;
        MerkleSum.Node memory node = fault.node;
        if (height == 0) node.squares = entry.sumSquares;
        MerkleSum.Node memory root = Openings.climb(node, fault.index, fault.siblings, height);
        _requirePath(root.hash, entry.updateRoot);
        if (root.squares != entry.sumSquares) return true;
        // What is behind the last leaf may be a hash of which nobody can show more.
        if (!Openings.endsEmpty(leaves, fault.level, fault.index, fault.siblings)) return true;
        (uint256 absolute, uint256 squares) =
            fault.level == 0 ? _leafSums(values, largest, node.hash, fault.leaf) : _childrenSums(node.hash, fault);
        // Nothing above the root binds its sum of |q|.
        return squares != node.squares || (height > 0 && absolute != node.absolute);
    }

    /// @dev The sums of a leaf's bytes; INVALID, which no node claims, if a byte is not allowed.
    function _leafSums(uint256 values, uint256 largest, bytes32 hash, bytes calldata leaf)
        private
        pure
        returns (uint256 absolute, uint256 squares)
    {
        if (values == 0) return hash == bytes32(0) ? (0, 0) : (INVALID, INVALID);
        _requirePath(Openings.hashLeaf(leaf), hash);
        if (!_isValid(leaf, values, largest)) return (INVALID, INVALID);
        MerkleSum.Node memory node = Openings.leaf(leaf);
        return (node.absolute, node.squares);
    }

    /// @dev The sums of a node's children, in more bits than a node has: they may run over.
    function _childrenSums(bytes32 hash, Fault calldata fault)
        private
        pure
        returns (uint256 absolute, uint256 squares)
    {
        _requirePath(MerkleSum.hashParent(fault.left, fault.right), hash);
        absolute = uint256(fault.left.absolute) + fault.right.absolute;
        squares = uint256(fault.left.squares) + fault.right.squares;
    }

    /// @dev No coordinate is beyond the range, and all from `values` on are 0.
    function _isValid(bytes calldata leaf, uint256 values, uint256 largest) private pure returns (bool) {
        (uint256 lowest, uint256 highest) = (MerkleSum.BIAS - largest, MerkleSum.BIAS + largest);
        for (uint256 i = 0; i < values; ++i) {
            uint256 value = uint8(leaf[i]);
            if (value < lowest || value > highest) return false;
        }
        for (uint256 i = values; i < leaf.length; ++i) {
            if (uint8(leaf[i]) != MerkleSum.BIAS) return false;
        }
        return true;
    }

    function _requireRecord(bytes32 given, bytes32 recorded) internal pure {
        if (given != recorded) revert JudgeRecordMismatch(given, recorded);
    }

    function _requirePath(bytes32 given, bytes32 committed) internal pure {
        if (given != committed) revert JudgeWrongPath(given, committed);
    }

    function _requireIndex(uint256 given, uint256 count) internal pure {
        if (given >= count) revert JudgeOutOfRange(given, count);
    }

    function _requireSize(uint256 given, uint256 required) internal pure {
        if (given != required) revert JudgeSize(given, required);
    }
}
