// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "../libraries/MerkleSum.sol";
import { RoundId } from "../libraries/Types.sol";
import { IRoundLedger } from "./IRoundLedger.sol";

/// @title Common types of the judges: how a proof presents a round.
/// @notice A judge trusts no argument: entries, anchor, header and layout are checked against hashes that the
/// ledger stores. What follows from a verdict goes through the arbiter that the round's policy names as its verifier, so
/// judges are replaced with the policy, and a round keeps those that it was opened with.
interface IJudge {
    /// @notice The round, in every proof about an anchor.
    struct Case {
        /// @notice The anchored round.
        RoundId round;
        /// @notice Its anchor, as in the event.
        IRoundLedger.Anchor anchor;
        /// @notice Elements of each tensor, a big-endian uint64 each.
        bytes layout;
        /// @notice keccak256 of the manifest file.
        bytes32 manifestDocument;
    }

    /// @notice A commitment without what the round knows already, and its update's leaf.
    struct Entry {
        /// @notice Account that committed.
        address contributor;
        /// @notice Root of its update tree.
        bytes32 updateRoot;
        /// @notice Sum of squares that it committed to.
        uint64 sumSquares;
        /// @notice Hash of the memory that it committed to.
        bytes32 memoryHash;
        /// @notice Hash of the bundle that ran.
        bytes32 bundleHash;
        /// @notice The update's leaf, 256 bytes; empty where none is needed (weight 0).
        bytes leaf;
        /// @notice Sum of |q| over the leaf, as the tree has it.
        uint64 absolute;
        /// @notice Sum of q^2 over the leaf, as the tree has it.
        uint64 squares;
        /// @notice The leaf's siblings from the lowest up, 48 bytes each: hash, uint64 sum of |q|, uint64 sum of q^2.
        bytes siblings;
    }

    /// @notice A leaf's hash with its path in a plain tree.
    struct Opening {
        /// @notice Hash of the leaf.
        bytes32 leaf;
        /// @notice Siblings from the lowest up.
        bytes32[] siblings;
    }

    /// @notice A leaf with its path in a plain tree.
    struct Leaf {
        /// @notice Its bytes.
        bytes values;
        /// @notice Siblings from the lowest up.
        bytes32[] siblings;
    }

    /// @notice An error in an update tree.
    struct Fault {
        /// @notice Number of the entry.
        uint256 entry;
        /// @notice Level of the node, 0 for a leaf.
        uint256 level;
        /// @notice Its index within the level.
        uint256 index;
        /// @notice The node, as the tree has it.
        MerkleSum.Node node;
        /// @notice Its siblings from its level up, 48 bytes each.
        bytes siblings;
        /// @notice At level 0: the leaf's bytes. Empty otherwise, and for a place behind the last leaf.
        bytes leaf;
        /// @notice Above level 0: the node's children.
        MerkleSum.Node left;
        MerkleSum.Node right;
    }

    /// @notice Thrown when the round can't be challenged: it is not anchored, or closed.
    error JudgeNotAnchored(RoundId round, IRoundLedger.Phase phase);
    /// @notice Thrown when an argument differs from the ledger's records.
    error JudgeRecordMismatch(bytes32 given, bytes32 recorded);
    /// @notice Thrown when a path does not lead to the root that was committed to.
    error JudgeWrongPath(bytes32 given, bytes32 committed);
    /// @notice Thrown when an entry, leaf or node does not exist.
    error JudgeOutOfRange(uint256 given, uint256 count);
    /// @notice Thrown when the length of a value differs from the protocol's.
    error JudgeSize(uint256 given, uint256 required);

    /// @notice The ledger whose rounds are judged.
    function ledger() external view returns (IRoundLedger);
}
