// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundId } from "../libraries/Types.sol";
import { IJudge } from "./IJudge.sol";

/// @title Proofs that weights differ from those of the policy's rule.
/// @notice A rule weighs the entries that were delivered and are not the coordinator's own, of entries with equal roots
/// the first. For `mean` the weights follow from that. For `multi_krum` of 1 to 32 updates they follow from the Gram
/// matrix, which the anchor commits to by the root of a tree: either the rule yields other weights on that matrix, or
/// the matrix is false, and then one block of products, or one sum of two matrices, is.
/// In all proofs, the entries are all of the round, in order, without leaves.
/// @dev Stateless. A rule that this contract can't evaluate makes a proof revert.
/// Warning: the reward goes to whoever's transaction is included first, and a proof can be copied from the public
/// mempool. Send it privately where that matters; the round is void either way.
interface IGramProofs is IJudge {
    /// @notice A node of the Gram tree.
    struct GramOpening {
        /// @notice Hashes of its children; zero for a leaf. Behind the last leaf `left` is the hash that the tree has there.
        bytes32 left;
        bytes32 right;
        /// @notice Its matrix: entries (a, b), a >= b, row by row, 24 bytes each.
        bytes matrix;
        /// @notice From its level up: the sibling's hash, and keccak256 of the matrix of the node above; 64 bytes a level.
        bytes path;
    }

    /// @notice One update of a pair: its leaves of a block.
    struct Update {
        /// @notice The leaves of the block, 256 bytes each.
        bytes leaves;
        /// @notice Sums of |q| and q^2 of all nodes of the block, level by level from the leaves up, the top included; 16
        /// bytes each.
        bytes sums;
        /// @notice Siblings from the block's top up, 48 bytes each: hash, uint64 sum of |q|, uint64 sum of q^2.
        bytes siblings;
    }

    /// @notice Two updates and their product.
    struct Pair {
        /// @notice Number of the one among the updates that the rule weighs.
        uint256 a;
        /// @notice Number of the other, at most a.
        uint256 b;
        /// @notice The encoded RoundHeader.
        bytes header;
        /// @notice The updates a and b.
        Update[2] updates;
    }

    /// @notice An entry of a node's matrix and of its children's.
    struct Sum {
        /// @notice Level of the node, at least 1.
        uint256 level;
        /// @notice Its index within the level.
        uint256 index;
        /// @notice Row of the entry.
        uint256 a;
        /// @notice Column of the entry, at most a.
        uint256 b;
        /// @notice The node.
        GramOpening node;
        /// @notice Its children, without paths; an empty one with nothing in it.
        GramOpening[2] children;
    }

    /// @notice Kinds of errors.
    enum Lie {
        Weight,
        Root,
        Leaf,
        Node
    }

    /// @notice Emitted when a proof holds, beside what arbiter, ledger and vault emit.
    /// @param place Entry (Weight) or index within its level (Leaf, Node).
    event GramFraudProven(RoundId indexed round, address indexed challenger, Lie indexed lie, uint256 place);

    /// @notice Thrown when the anchor is right at this place.
    error GramProofsNoFraud(Lie lie, uint256 place);
    /// @notice Thrown when the round's rule is not the one that the proof is for.
    error GramProofsRule(bytes32 rule);
    /// @notice Thrown when the rule has so many updates to weigh, or so many parameters, that it can't be evaluated.
    error GramProofsCount(uint256 given, uint256 most);
    /// @notice Thrown when an exponent is outside of its range. Use `proveHeader`.
    error GramProofsExponent(int256 exponent);

    /// @notice Prove, under `mean`, that an entry has another weight than 1 (the rule weighs it) or 0 (else).
    /// @param entry Number of the entry.
    function proveMeanWeight(Case calldata case_, Entry[] calldata entries, uint256 entry) external;

    /// @notice Prove, under `multi_krum`, that an entry has another weight than the rule gives it on the anchored matrix.
    /// @param root The root of the Gram tree.
    function proveKrum(Case calldata case_, Entry[] calldata entries, uint256 entry, GramOpening calldata root) external;

    /// @notice Prove, under `multi_krum`, that there is no Gram root where there must be one, or one where there must be
    /// none.
    function proveGramRoot(Case calldata case_, Entry[] calldata entries) external;

    /// @notice Prove that a leaf of the Gram tree has a false product of two updates, a matrix of a wrong size, or is not
    /// empty behind the last block.
    /// @param place Index of the leaf.
    /// @param claimed The leaf.
    /// @param pair The updates. Nothing is read of it where the size is wrong, or behind the last block.
    function proveGramLeaf(
        Case calldata case_,
        Entry[] calldata entries,
        uint256 place,
        GramOpening calldata claimed,
        Pair calldata pair
    ) external;

    /// @notice Prove that a node of the Gram tree is not the sum of its children at one entry, or that one of the three has a
    /// matrix of a wrong size.
    function proveGramNode(Case calldata case_, Entry[] calldata entries, Sum calldata sum) external;
}
