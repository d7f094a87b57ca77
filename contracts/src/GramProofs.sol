// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Judge } from "./Judge.sol";
import { IArbiter } from "./interfaces/IArbiter.sol";
import { IGramProofs } from "./interfaces/IGramProofs.sol";
import { IPolicies } from "./interfaces/IPolicies.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { GramBlocks } from "./libraries/GramBlocks.sol";
import { GramTree } from "./libraries/GramTree.sol";
import { Krum } from "./libraries/Krum.sol";
import { Layout } from "./libraries/Layout.sol";
import { MerkleSum } from "./libraries/MerkleSum.sol";
import { Openings } from "./libraries/Openings.sol";
import { OuterStep } from "./libraries/OuterStep.sol";
import { Shares } from "./libraries/Shares.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title Proofs that weights differ from those of the policy's rule.
contract GramProofs is IGramProofs, Judge {
    /// @dev Data of a round that the proofs need.
    struct Facts {
        RoundId round;
        IRoundLedger.Round stored;
        IPolicies.Policy policy;
        /// @dev The entries that the rule weighs, in order. Empty under `mean`.
        uint256[] members;
        /// @dev Leaves and depth of the updates' trees.
        uint256 leaves;
        uint256 depth;
        /// @dev Levels of a block, and leaves of the Gram tree.
        uint256 blockLevels;
        uint256 blocks;
    }

    bytes32 private constant MEAN = "mean";
    bytes32 private constant MULTI_KRUM = "multi_krum";
    /// @dev Parameters of multi_krum: f and m.
    uint256 private constant KRUM_PARAMETERS = 2;

    /// @param ledger_ The ledger whose anchors are judged.
    constructor(IRoundLedger ledger_) Judge(ledger_) { }

    // The proofs.

    /// @inheritdoc IGramProofs
    function proveMeanWeight(Case calldata case_, Entry[] calldata entries, uint256 entry) external {
        Facts memory facts = _open(case_, entries, MEAN);
        _requireIndex(entry, entries.length);
        bool isWeighed = Shares.isWeighed(facts.stored.coordinator, case_.anchor.delivered, entries, entry);
        _report(facts, Lie.Weight, entry, case_.anchor.weights[entry] != (isWeighed ? 1 : 0));
    }

    /// @inheritdoc IGramProofs
    function proveKrum(Case calldata case_, Entry[] calldata entries, uint256 entry, GramOpening calldata root)
        external
    {
        Facts memory facts = _openKrum(case_, entries);
        _requireIndex(entry, entries.length);
        _requireCount(facts);
        uint32[] memory parameters = facts.policy.parameters;
        if (parameters.length != KRUM_PARAMETERS) revert GramProofsCount(parameters.length, KRUM_PARAMETERS);
        uint256 top = _gramDepth(facts);
        _requirePath(_climb(facts, _hashOf(root, top), top, 0, root.path), case_.anchor.gramRoot);
        _requireSize(root.matrix.length, GramTree.size(facts.members.length));
        (uint256 number, bool isMember) = _numberOf(facts, entry);
        bool selected =
            isMember && Krum.selects(root.matrix, facts.members.length, parameters[0], parameters[1], number);
        _report(facts, Lie.Weight, entry, case_.anchor.weights[entry] != (selected ? 1 : 0));
    }

    /// @inheritdoc IGramProofs
    function proveGramRoot(Case calldata case_, Entry[] calldata entries) external {
        Facts memory facts = _openKrum(case_, entries);
        bool wanted = facts.members.length > 0;
        _report(facts, Lie.Root, 0, wanted == (case_.anchor.gramRoot == bytes32(0)));
    }

    /// @inheritdoc IGramProofs
    function proveGramLeaf(
        Case calldata case_,
        Entry[] calldata entries,
        uint256 place,
        GramOpening calldata claimed,
        Pair calldata pair
    ) external {
        Facts memory facts = _openKrum(case_, entries);
        _requireCount(facts);
        bool isBlock = place < facts.blocks;
        bytes32 hash = isBlock ? _hashOf(claimed, 0) : claimed.left;
        _requirePath(_climb(facts, hash, 0, place, claimed.path), case_.anchor.gramRoot);
        bool wrong = isBlock ? !_fits(facts, claimed) : hash != bytes32(0);
        if (isBlock && !wrong) {
            _requirePair(facts, pair.a, pair.b);
            int256 product = _product(facts, case_.layout, entries, place, pair);
            wrong = GramTree.entry(claimed.matrix, pair.a, pair.b) != product;
        }
        _report(facts, Lie.Leaf, place, wrong);
    }

    /// @inheritdoc IGramProofs
    function proveGramNode(Case calldata case_, Entry[] calldata entries, Sum calldata sum) external {
        Facts memory facts = _openKrum(case_, entries);
        _requireCount(facts);
        uint256 top = _gramDepth(facts);
        if (sum.level == 0 || sum.level > top) revert JudgeOutOfRange(sum.level, top + 1);
        bytes32 hash = _hashOf(sum.node, sum.level);
        _requirePath(_climb(facts, hash, sum.level, sum.index, sum.node.path), case_.anchor.gramRoot);
        (bool leftIsEmpty, bool leftFits) = _child(facts, sum, 0, sum.node.left);
        (bool rightIsEmpty, bool rightFits) = _child(facts, sum, 1, sum.node.right);
        bool wrong = !(leftFits && rightFits && _fits(facts, sum.node));
        if (!wrong) {
            _requirePair(facts, sum.a, sum.b);
            int256 total = leftIsEmpty ? int256(0) : GramTree.entry(sum.children[0].matrix, sum.a, sum.b);
            if (!rightIsEmpty) total += GramTree.entry(sum.children[1].matrix, sum.a, sum.b);
            wrong = GramTree.entry(sum.node.matrix, sum.a, sum.b) != total;
        }
        _report(facts, Lie.Node, sum.index, wrong);
    }

    // What is brought against what is recorded.

    function _open(Case calldata case_, Entry[] calldata entries, bytes32 rule)
        private
        view
        returns (Facts memory facts)
    {
        facts.round = case_.round;
        facts.stored = _anchored(case_.round);
        facts.policy = _policies.policies(facts.stored.policy);
        if (facts.policy.rule != rule) revert GramProofsRule(facts.policy.rule);
        _requireAnchor(case_.anchor, facts.stored);
        _requireLayout(case_.layout, case_.manifestDocument);
        _requireEntries(case_.round, facts.stored, _baseStateRoot(facts.stored), entries);
    }

    function _openKrum(Case calldata case_, Entry[] calldata entries) private view returns (Facts memory facts) {
        facts = _open(case_, entries, MULTI_KRUM);
        // The place of a leaf is of no interest here.
        // slither-disable-next-line unused-return
        (facts.leaves, facts.depth,) = Layout.find(case_.layout, 0);
        facts.blockLevels = facts.depth < GramTree.BLOCK_LEVELS ? facts.depth : GramTree.BLOCK_LEVELS;
        facts.blocks = ((facts.leaves - 1) >> facts.blockLevels) + 1;
        facts.members = _members(facts.stored.coordinator, case_.anchor.delivered, entries);
    }

    function _members(address coordinator, uint256 delivered, Entry[] calldata entries)
        private
        pure
        returns (uint256[] memory members)
    {
        members = new uint256[](entries.length);
        uint256 count = 0;
        for (uint256 i = 0; i < entries.length; ++i) {
            if (Shares.isWeighed(coordinator, delivered, entries, i)) members[count++] = i;
        }
        assembly ("memory-safe") {
            // Cut to what is used.
            mstore(members, count)
        }
    }

    /// @dev Number of an entry among those that the rule weighs, if it is one of them.
    function _numberOf(Facts memory facts, uint256 entry) private pure returns (uint256 number, bool isMember) {
        for (; number < facts.members.length; ++number) {
            if (facts.members[number] == entry) return (number, true);
        }
    }

    function _gramDepth(Facts memory facts) private pure returns (uint256) {
        return facts.depth - facts.blockLevels;
    }

    /// @dev Hash of a node as it is opened. That it is in the tree is for the caller to see.
    function _hashOf(GramOpening calldata opening, uint256 level) private pure returns (bytes32) {
        if (level == 0) return GramTree.leaf(opening.matrix);
        return GramTree.node(opening.left, opening.right, keccak256(opening.matrix));
    }

    function _climb(Facts memory facts, bytes32 hash, uint256 level, uint256 index, bytes calldata path)
        private
        pure
        returns (bytes32)
    {
        return GramTree.climb(hash, index, path, _gramDepth(facts) - level);
    }

    /// @dev Whether a child of a node is empty, and whether its matrix has the right size.
    function _child(Facts memory facts, Sum calldata sum, uint256 side, bytes32 committed)
        private
        pure
        returns (bool isEmpty, bool fits)
    {
        GramOpening calldata child = sum.children[side];
        isEmpty = sum.level == 1 && 2 * sum.index + side >= facts.blocks;
        _requirePath(isEmpty ? bytes32(0) : _hashOf(child, sum.level - 1), committed);
        fits = isEmpty || _fits(facts, child);
    }

    function _fits(Facts memory facts, GramOpening calldata opening) private pure returns (bool) {
        return opening.matrix.length == GramTree.size(facts.members.length);
    }

    // What must be.

    /// @dev The product of two updates over a block, in units of `4^e_min`.
    function _product(
        Facts memory facts,
        bytes calldata layout,
        Entry[] calldata entries,
        uint256 place,
        Pair calldata pair
    ) private pure returns (int256 product) {
        _requireBlock(facts, entries[facts.members[pair.a]].updateRoot, pair.updates[0], place);
        _requireBlock(facts, entries[facts.members[pair.b]].updateRoot, pair.updates[1], place);
        (bytes memory exponents, int256 lowest) = _exponents(facts, layout.length / Layout.TENSOR_BYTES, pair.header);
        // The size of the trees is known.
        // slither-disable-next-line unused-return
        (,, Layout.Place memory at) = Layout.find(layout, place << facts.blockLevels);
        for (uint256 leaf = 0; leaf < _leavesOf(facts, place); ++leaf) {
            int256 part = GramBlocks.product(pair.updates[0].leaves, pair.updates[1].leaves, leaf);
            // The exponent is not below the lowest, and both are in their range: the shift is at most 88.
            // forge-lint: disable-next-line(unsafe-typecast)
            product += part << uint256(2 * (int8(uint8(exponents[at.tensor])) - lowest));
            Layout.advance(layout, at);
        }
    }

    /// @dev The exponents of the round, one a tensor, and the lowest of them.
    function _exponents(Facts memory facts, uint256 tensors, bytes calldata header)
        private
        pure
        returns (bytes memory exponents, int256 lowest)
    {
        _requireRecord(keccak256(header), facts.stored.headerHash);
        (,,,,,, exponents) = abi.decode(header, (uint64, bytes32, bytes32, uint32, uint8, bytes32, bytes));
        _requireSize(exponents.length, tensors);
        lowest = OuterStep.MAX_EXPONENT;
        for (uint256 i = 0; i < exponents.length; ++i) {
            int256 exponent = int8(uint8(exponents[i]));
            if (exponent < OuterStep.MIN_EXPONENT || exponent > OuterStep.MAX_EXPONENT) {
                revert GramProofsExponent(exponent);
            }
            if (exponent < lowest) lowest = exponent;
        }
    }

    /// @dev The leaves are those of a block of the update that was committed to.
    function _requireBlock(Facts memory facts, bytes32 updateRoot, Update calldata update, uint256 place) private pure {
        MerkleSum.Node memory node =
            GramBlocks.top(update.leaves, update.sums, facts.blockLevels, _leavesOf(facts, place));
        bytes32 root = Openings.climb(node, place, update.siblings, _gramDepth(facts)).hash;
        _requirePath(root, updateRoot);
    }

    /// @dev Leaves of the model in a block that there is.
    function _leavesOf(Facts memory facts, uint256 place) private pure returns (uint256) {
        uint256 left = facts.leaves - (place << facts.blockLevels);
        uint256 most = 1 << facts.blockLevels;
        return left < most ? left : most;
    }

    // Small things.

    function _report(Facts memory facts, Lie lie, uint256 place, bool proven) private {
        if (!proven) revert GramProofsNoFraud(lie, place);
        emit GramFraudProven(facts.round, msg.sender, lie, place);
        IArbiter(facts.policy.verifier).convict(facts.round, msg.sender);
    }

    function _requireCount(Facts memory facts) private pure {
        // There are never more than GramTree.MAX_UPDATES: no policy of the rule allows more contributors.
        if (facts.members.length == 0) revert GramProofsCount(0, GramTree.MAX_UPDATES);
    }

    function _requirePair(Facts memory facts, uint256 a, uint256 b) private pure {
        _requireIndex(a, facts.members.length);
        _requireIndex(b, a + 1);
    }
}
