// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Judge } from "./Judge.sol";
import { IArbiter } from "./interfaces/IArbiter.sol";
import { IFraudProofs } from "./interfaces/IFraudProofs.sol";
import { IPolicies } from "./interfaces/IPolicies.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { ClampedSum } from "./libraries/ClampedSum.sol";
import { EntryTree } from "./libraries/EntryTree.sol";
import { Layout } from "./libraries/Layout.sol";
import { MerkleSum } from "./libraries/MerkleSum.sol";
import { MerkleTree } from "./libraries/MerkleTree.sol";
import { Openings } from "./libraries/Openings.sol";
import { OuterStep } from "./libraries/OuterStep.sol";
import { Pays } from "./libraries/Pays.sol";
import { Shares } from "./libraries/Shares.sol";
import { PolicyId, RoundId } from "./libraries/Types.sol";
import { WeightedSum } from "./libraries/WeightedSum.sol";
import { Widths } from "./libraries/Widths.sol";

/// @title Proofs that an anchor is wrong, by one leaf.
contract FraudProofs is IFraudProofs, Judge {
    /// @dev Data of a round that the proofs need.
    struct Facts {
        RoundId round;
        IRoundLedger.Round stored;
        IPolicies.Policy policy;
        bytes32 baseStateRoot;
        uint256 leaves;
        uint256 depth;
        uint256 tensors;
        Layout.Place place;
    }

    /// @dev Maximum weight under any rule.
    uint256 private constant MAX_WEIGHT = 1 << 16;
    /// @dev Bytes of a leaf of theta or momentum.
    uint256 private constant STATE_LEAF_BYTES = 8 * Layout.LEAF;
    /// @dev Bytes of an encoded header before its exponents: seven words, and their number.
    uint256 private constant HEADER_BYTES = 256;
    /// @dev Rules whose weights are 0 or 1.
    bytes32 private constant MEAN = "mean";
    bytes32 private constant MULTI_KRUM = "multi_krum";

    /// @param ledger_ The ledger whose anchors are judged.
    constructor(IRoundLedger ledger_) Judge(ledger_) { }

    // The proofs.

    /// @inheritdoc IFraudProofs
    function proveMean(
        Case calldata case_,
        Entry[] calldata entries,
        uint256 place,
        Opening calldata claimed,
        bytes calldata hints
    ) external {
        Facts memory facts = _open(case_, place);
        _requireEntries(facts, entries);
        _requirePath(
            MerkleTree.climb(MerkleTree.Kind.Mean, claimed.leaf, place, _path(facts, claimed.siblings)),
            case_.anchor.meanRoot
        );
        bytes32 truth = bytes32(0);
        if (place < facts.leaves) {
            (bytes memory sum, uint256 weightSum) = _sum(facts, case_.anchor.weights, entries, place, hints);
            truth = MerkleTree.leaf(MerkleTree.Kind.Mean, Openings.mean(sum, weightSum, facts.policy.meanScale));
        }
        bool isPadded = MerkleTree.endsEmpty(MerkleTree.Kind.Mean, facts.leaves, place, claimed.siblings);
        _report(facts, Lie.Mean, place, !isPadded || claimed.leaf != truth);
    }

    /// @inheritdoc IFraudProofs
    function proveOuterStep(Case calldata case_, uint256 place, Step calldata step) external {
        Facts memory facts = _open(case_, place);
        _requireNextState(facts, place, step);
        bytes32 theta = bytes32(0);
        bytes32 momentum = bytes32(0);
        if (place < facts.leaves) {
            _requireBase(facts, case_.anchor, place, step);
            (theta, momentum) = _stepLeaf(_settings(facts, step.header), step);
        }
        bool isPadded = MerkleTree.endsEmpty(MerkleTree.Kind.Theta, facts.leaves, place, step.nextTheta.siblings)
            && MerkleTree.endsEmpty(MerkleTree.Kind.Momentum, facts.leaves, place, step.nextMomentum.siblings);
        _report(
            facts, Lie.OuterStep, place, !isPadded || step.nextTheta.leaf != theta || step.nextMomentum.leaf != momentum
        );
    }

    /// @inheritdoc IFraudProofs
    function proveUpdate(Case calldata case_, Entry[] calldata entries, Fault calldata fault) external {
        Facts memory facts = _open(case_, fault.level == 0 ? fault.index : 0);
        _requireEntries(facts, entries);
        _requireIndex(fault.entry, entries.length);
        // A weight of 0 harms nobody: refusing such an update is what a coordinator should do.
        bool counted = case_.anchor.weights[fault.entry] > 0;
        _report(
            facts,
            Lie.Update,
            fault.entry,
            counted
                && _isFaulty(
                    facts.leaves,
                    facts.depth,
                    facts.place.values,
                    Widths.largest(facts.policy.width),
                    entries[fault.entry],
                    fault
                )
        );
    }

    /// @inheritdoc IFraudProofs
    function proveWeight(Case calldata case_, Entry[] calldata entries, uint256 entry) external {
        Facts memory facts = _open(case_, 0);
        _requireEntries(facts, entries);
        _requireIndex(entry, entries.length);
        uint256 weight = case_.anchor.weights[entry];
        bytes32 rule = facts.policy.rule;
        uint256 most = rule == MEAN || rule == MULTI_KRUM ? 1 : MAX_WEIGHT;
        if (!Shares.isWeighed(facts.stored.coordinator, case_.anchor.delivered, entries, entry)) most = 0;
        _report(facts, Lie.Weight, entry, weight > most);
    }

    /// @inheritdoc IFraudProofs
    function proveEntries(Case calldata case_, Entry[] calldata entries) external {
        Facts memory facts = _open(case_, 0);
        _requireEntries(facts, entries);
        bytes32[] memory leaves = new bytes32[](entries.length);
        for (uint256 i = 0; i < entries.length; ++i) {
            bytes32 commitment = _commitmentHash(facts.round, facts.baseStateRoot, entries[i]);
            leaves[i] = EntryTree.leaf(entries[i].contributor, commitment, case_.anchor.weights[i]);
        }
        _report(facts, Lie.Entries, 0, EntryTree.root(leaves) != case_.anchor.entriesRoot);
    }

    /// @inheritdoc IFraudProofs
    function proveHeader(Case calldata case_, bytes calldata header) external {
        Facts memory facts = _open(case_, 0);
        _requireRecord(keccak256(header), facts.stored.headerHash);
        _report(facts, Lie.Header, 0, !_isHeader(facts, header));
    }

    // What is brought against what is recorded.

    function _open(Case calldata case_, uint256 place) private view returns (Facts memory facts) {
        facts.round = case_.round;
        facts.stored = _anchored(case_.round);
        _requireAnchor(case_.anchor, facts.stored);
        _requireLayout(case_.layout, case_.manifestDocument);
        facts.policy = _policies.policies(facts.stored.policy);
        facts.baseStateRoot = _baseStateRoot(facts.stored);
        facts.tensors = case_.layout.length / 8;
        (facts.leaves, facts.depth, facts.place) = Layout.find(case_.layout, place);
    }

    function _requireEntries(Facts memory facts, Entry[] calldata entries) private pure {
        _requireEntries(facts.round, facts.stored, facts.baseStateRoot, entries);
    }

    /// @dev The exponents of a header that decodes; one that does not is for `proveHeader`.
    function _exponents(Facts memory facts, bytes calldata header) private pure returns (bytes memory exponents) {
        _requireRecord(keccak256(header), facts.stored.headerHash);
        (,,,,,, exponents) = abi.decode(header, (uint64, bytes32, bytes32, uint32, uint8, bytes32, bytes));
    }

    /// @dev Whether these bytes are the only ones that the round's header can be. They are not decoded: what does not
    /// decode is no header, and to revert on it would protect it.
    function _isHeader(Facts memory facts, bytes calldata header) private view returns (bool) {
        uint256 tensors = facts.tensors;
        // Rounded up to whole words on purpose.
        // slither-disable-next-line divide-before-multiply
        if (header.length != HEADER_BYTES + 32 * ((tensors + 31) / 32)) return false;
        bytes memory exponents = header[HEADER_BYTES:HEADER_BYTES + tensors];
        for (uint256 i = 0; i < tensors; ++i) {
            int8 exponent = int8(uint8(exponents[i]));
            if (exponent < OuterStep.MIN_EXPONENT || exponent > OuterStep.MAX_EXPONENT) return false;
        }
        uint64 number = RoundId.unwrap(facts.round);
        bytes32 seed =
            keccak256(abi.encodePacked(bytes1(0x11), block.chainid, address(ledger), number, facts.baseStateRoot));
        bytes memory must = abi.encode(
            number,
            _manifestHash,
            facts.baseStateRoot,
            PolicyId.unwrap(facts.stored.policy),
            facts.policy.width,
            seed,
            exponents
        );
        return keccak256(must) == facts.stored.headerHash;
    }

    /// @dev The base's leaves lead to the base's state root, and the mean's to the anchored root.
    function _requireBase(Facts memory facts, IRoundLedger.Anchor calldata anchor, uint256 place, Step calldata step)
        private
        view
    {
        bytes32 thetaRoot = _rootOf(facts, MerkleTree.Kind.Theta, place, step.theta, STATE_LEAF_BYTES);
        bytes32 momentumRoot = _rootOf(facts, MerkleTree.Kind.Momentum, place, step.momentum, STATE_LEAF_BYTES);
        _requirePath(MerkleTree.stateRoot(_manifestHash, thetaRoot, momentumRoot), facts.baseStateRoot);
        bytes32 meanRoot = _rootOf(facts, MerkleTree.Kind.Mean, place, step.mean, Layout.LEAF);
        _requirePath(meanRoot, anchor.meanRoot);
    }

    function _requireNextState(Facts memory facts, uint256 place, Step calldata step) private view {
        bytes32 thetaRoot = MerkleTree.climb(
            MerkleTree.Kind.Theta, step.nextTheta.leaf, place, _path(facts, step.nextTheta.siblings)
        );
        bytes32 momentumRoot = MerkleTree.climb(
            MerkleTree.Kind.Momentum, step.nextMomentum.leaf, place, _path(facts, step.nextMomentum.siblings)
        );
        _requirePath(MerkleTree.stateRoot(_manifestHash, thetaRoot, momentumRoot), facts.stored.stateRoot);
    }

    function _rootOf(Facts memory facts, MerkleTree.Kind kind, uint256 place, Leaf calldata leaf, uint256 size)
        private
        pure
        returns (bytes32)
    {
        _requireSize(leaf.values.length, size);
        return MerkleTree.climb(kind, MerkleTree.leaf(kind, leaf.values), place, _path(facts, leaf.siblings));
    }

    /// @dev A path of the tree's depth. The index is checked by the climb.
    function _path(Facts memory facts, bytes32[] calldata siblings) private pure returns (bytes32[] memory) {
        if (siblings.length != facts.depth) {
            revert Openings.OpeningsPathLength(siblings.length, facts.depth);
        }
        return siblings;
    }

    // What must be.

    /// @dev The sum in the form of the policy's rule, and the sum of the weights.
    function _sum(
        Facts memory facts,
        uint32[] calldata weights,
        Entry[] calldata entries,
        uint256 place,
        bytes calldata hints
    ) private pure returns (bytes memory sum, uint256 weightSum) {
        if (facts.policy.rule == Pays.CLAMPED_MEAN) {
            return _clampedSum(facts, weights, entries, place, hints);
        }
        return _weightedSum(facts, weights, entries, place);
    }

    /// @dev The sum of the leaves of all updates that count, and of their weights.
    function _weightedSum(Facts memory facts, uint32[] calldata weights, Entry[] calldata entries, uint256 place)
        private
        pure
        returns (bytes memory sum, uint256 weightSum)
    {
        sum = new bytes(WeightedSum.SUM_BYTES);
        for (uint256 i = 0; i < entries.length; ++i) {
            if (weights[i] == 0) continue;
            _requireLeaf(facts, entries[i], place);
            Openings.addWeighted(sum, weights[i], entries[i].leaf);
            weightSum += weights[i];
        }
    }

    /// @dev The same of a rule that clamps.
    function _clampedSum(
        Facts memory facts,
        uint32[] calldata weights,
        Entry[] calldata entries,
        uint256 place,
        bytes calldata hints
    ) private pure returns (bytes memory lanes, uint256 weightSum) {
        ClampedSum.Sum memory sum = ClampedSum.start(hints);
        uint256 count = 0;
        for (uint256 i = 0; i < entries.length; ++i) {
            if (weights[i] == 0) continue;
            _requireLeaf(facts, entries[i], place);
            ClampedSum.addLeaf(sum, weights[i], entries[i].leaf);
            weightSum += weights[i];
            ++count;
        }
        return (ClampedSum.finish(sum, count), weightSum);
    }

    /// @dev The leaf is at this place of the update that was committed to.
    function _requireLeaf(Facts memory facts, Entry calldata entry, uint256 place) private pure {
        MerkleSum.Node memory node = MerkleSum.Node(Openings.hashLeaf(entry.leaf), entry.absolute, entry.squares);
        _requirePath(Openings.climb(node, place, entry.siblings, facts.depth).hash, entry.updateRoot);
    }

    function _settings(Facts memory facts, bytes calldata header)
        private
        pure
        returns (OuterStep.Settings memory settings)
    {
        bytes memory exponents = _exponents(facts, header);
        _requireIndex(facts.place.tensor, exponents.length);
        settings.meanScale = facts.policy.meanScale;
        settings.exponent = int8(uint8(exponents[facts.place.tensor]));
        settings.rate = facts.policy.rate;
        settings.momentum = facts.policy.momentum;
    }

    function _stepLeaf(OuterStep.Settings memory settings, Step calldata step)
        private
        pure
        returns (bytes32 theta, bytes32 momentum)
    {
        bytes calldata mean = step.mean.values;
        bytes memory nextTheta = new bytes(STATE_LEAF_BYTES);
        bytes memory nextMomentum = new bytes(STATE_LEAF_BYTES);
        for (uint256 i = 0; i < Layout.LEAF; ++i) {
            (int64 t, int64 m) = OuterStep.step(
                _int64(step.theta.values, i),
                _int64(step.momentum.values, i),
                int256(uint256(uint8(mean[i]))) - int256(MerkleSum.BIAS),
                settings
            );
            _put(nextTheta, i, t);
            _put(nextMomentum, i, m);
        }
        theta = MerkleTree.leaf(MerkleTree.Kind.Theta, nextTheta);
        momentum = MerkleTree.leaf(MerkleTree.Kind.Momentum, nextMomentum);
    }

    // Small things.

    function _report(Facts memory facts, Lie lie, uint256 place, bool proven) private {
        if (!proven) revert FraudProofsNoFraud(lie, place);
        emit FraudProven(facts.round, msg.sender, lie, place);
        IArbiter(facts.policy.verifier).convict(facts.round, msg.sender);
    }

    function _int64(bytes calldata values, uint256 index) private pure returns (int64) {
        return int64(uint64(bytes8(values[8 * index:8 * index + 8])));
    }

    function _put(bytes memory values, uint256 index, int64 value) private pure {
        uint64 bits = uint64(value);
        assembly ("memory-safe") {
            // The eight bytes at the place, and no other: the rest of the word is kept.
            let target := add(add(values, 0x20), mul(8, index))
            mstore(target, or(shl(192, bits), and(mload(target), 0xffffffffffffffffffffffffffffffffffffffffffffffff)))
        }
    }
}
