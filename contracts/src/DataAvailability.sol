// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { Judge } from "./Judge.sol";
import { IArbiter } from "./interfaces/IArbiter.sol";
import { IDataAvailability } from "./interfaces/IDataAvailability.sol";
import { IPolicies } from "./interfaces/IPolicies.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { Layout } from "./libraries/Layout.sol";
import { MerkleSum } from "./libraries/MerkleSum.sol";
import { MerkleTree } from "./libraries/MerkleTree.sol";
import { NodeLists } from "./libraries/NodeLists.sol";
import { Openings } from "./libraries/Openings.sol";
import { RoundId } from "./libraries/Types.sol";
import { Widths } from "./libraries/Widths.sol";

/// @title Anchored data must be published on demand, and delivered updates must be counted as delivered.
// Two mappings with keys of a type of ours implement functions of the interface, which slither does not see.
// slither-disable-next-line unimplemented-functions
contract DataAvailability is IDataAvailability, Judge {
    using SafeERC20 for IERC20;

    /// @dev What a demand is about. `index` counts the nodes of the level from the left.
    struct Subject {
        What what;
        uint256 entry;
        uint256 depth;
        uint256 level;
        uint256 index;
        bytes32 node;
    }

    /// @notice Maximum number of demands, one below the other, from a root to a leaf: of a tree of 2^30 leaves.
    uint40 public constant MAX_STEPS = 7;
    /// @notice Maximum number of entries of a round whose verdicts file can be demanded. It must fit a transaction.
    uint256 public constant MAX_VERDICTS = 128;
    /// @notice A part of a delivery has 2^PART_DEPTH leaves: 16 KiB.
    uint256 public constant PART_DEPTH = 6;
    /// @dev Bytes of a leaf of theta or momentum.
    uint256 private constant STATE_LEAF_BYTES = 8 * Layout.LEAF;

    /// @inheritdoc IDataAvailability
    IERC20 public immutable override token;
    /// @inheritdoc IDataAvailability
    uint256 public immutable override deposit;
    /// @inheritdoc IDataAvailability
    uint40 public immutable override answerWindow;

    /// @inheritdoc IDataAvailability
    uint256 public override demandCount;
    mapping(uint256 demand => Demand) private _demands;
    /// @dev The number of the demand for a node or file, by its key.
    mapping(bytes32 key => uint256) private _demandOf;
    mapping(RoundId round => mapping(address contributor => mapping(bytes32 updateRoot => Delivery))) private
        _deliveries;
    /// @dev One bit a part of a delivery, by the delivery's key.
    mapping(bytes32 key => mapping(uint256 wordIndex => uint256)) private _arrived;

    /// @param ledger_ The ledger whose rounds are judged.
    /// @param token_ Token of the deposits.
    /// @param vault Vault of the ledger: MAX_STEPS demands, two answer windows each, must fit into its unbonding time,
    /// which is what the ledger lets a round wait beyond its own windows.
    /// @param deposit_ Tokens of a deposit. Should cover the gas of an answer.
    /// @param answerWindow_ Seconds in which a demand can be answered.
    constructor(IRoundLedger ledger_, IERC20 token_, IStakeVault vault, uint256 deposit_, uint40 answerWindow_)
        Judge(ledger_)
    {
        uint40 max = vault.unbondingPeriod() / (2 * MAX_STEPS);
        if (answerWindow_ == 0 || answerWindow_ > max) revert DataAvailabilityInvalidWindow(answerWindow_, max);
        token = token_;
        deposit = deposit_;
        answerWindow = answerWindow_;
    }

    // Demands.

    /// @inheritdoc IDataAvailability
    function demandUpdate(Case calldata case_, Entry[] calldata entries, uint256 entry) external returns (uint256) {
        IRoundLedger.Round memory stored = _open(case_.round, case_.anchor);
        _requireEntries(case_.round, stored, _baseStateRoot(stored), entries);
        _requireIndex(entry, entries.length);
        if (!_isDelivered(case_.anchor, entry)) revert DataAvailabilityNotDelivered(entry);
        uint256 depth = _depthOf(case_);
        return _demandRoot(case_.round, stored, Subject(What.Update, entry, depth, depth, 0, entries[entry].updateRoot));
    }

    /// @inheritdoc IDataAvailability
    function demandTree(Case calldata case_, What what) external returns (uint256) {
        IRoundLedger.Round memory stored = _open(case_.round, case_.anchor);
        if (!_isPlainTree(what)) revert DataAvailabilityNotDemandable(what);
        uint256 depth = _depthOf(case_);
        bytes32 root = what == What.Mean ? case_.anchor.meanRoot : stored.stateRoot;
        return _demandRoot(case_.round, stored, Subject(what, 0, depth, depth, 0, root));
    }

    /// @inheritdoc IDataAvailability
    function demandFile(RoundId round, IRoundLedger.Anchor calldata anchor, What what) external returns (uint256) {
        IRoundLedger.Round memory stored = _open(round, anchor);
        bytes32 hash = bytes32(0);
        if (what == What.Header) hash = stored.headerHash;
        else if (what == What.Artifacts) hash = anchor.artifactsHash;
        else if (what == What.Verdicts && stored.entries <= MAX_VERDICTS) hash = anchor.verdictHash;
        else revert DataAvailabilityNotDemandable(what);
        return _demandRoot(round, stored, Subject(what, 0, 0, 0, 0, hash));
    }

    /// @inheritdoc IDataAvailability
    function descend(uint256 demand, bytes calldata list, uint256 index) external returns (uint256) {
        Demand storage parent = _demands[demand];
        if (parent.status != Status.Answered) revert DataAvailabilityWrongStatus(demand, parent.status);
        What what = parent.what;
        if (parent.level == 0) revert DataAvailabilityNotDemandable(what);
        _requireRecord(keccak256(list), parent.hash);
        uint256 height = NodeLists.heightOf(parent.level);
        _requireIndex(index, 1 << height);

        uint256 level = parent.level - height;
        bytes32 node =
            NodeLists.hashAt(list, index, what == What.Update ? Openings.SIBLING_BYTES : NodeLists.HASH_BYTES);
        index += uint256(parent.index) << height;
        if (level == 0 && node == bytes32(0)) revert DataAvailabilityEmpty(index);
        RoundId round = parent.round;
        IRoundLedger.Round memory stored = _anchored(round);
        IPolicies.Policy memory policy = _policies.policies(stored.policy);
        return _demand(
            round,
            policy.verifier,
            Math.max(_regularDeadline(stored, policy), parent.until),
            Subject(what, parent.entry, parent.depth, level, index, node)
        );
    }

    /// @inheritdoc IDataAvailability
    function show(uint256 demand, bytes calldata values, bytes32 other) external {
        Demand storage open = _requireOpen(demand);
        if (block.timestamp >= open.until) revert DataAvailabilityWrongTime(demand, block.timestamp, open.until);
        _requirePath(_hashOf(open, values, other), open.hash);
        // What is shown late leaves time to descend from it: the regular challenge window may be over by then.
        (open.status, open.until) = (Status.Answered, uint40(block.timestamp) + answerWindow);
        if (open.level > 0) open.hash = keccak256(values);
        emit Answered(demand, msg.sender, values, other);
        token.safeTransfer(msg.sender, deposit);
    }

    /// @inheritdoc IDataAvailability
    function proveWithheld(uint256 demand) external {
        Demand storage open = _requireOpen(demand);
        if (block.timestamp < open.until) revert DataAvailabilityWrongTime(demand, block.timestamp, open.until);
        (RoundId round, address demander) = (open.round, open.demander);
        open.status = Status.Convicted;
        emit Withheld(demand, round, demander);
        _arbiter().convict(round, demander);
        token.safeTransfer(demander, deposit);
    }

    /// @inheritdoc IDataAvailability
    function release(uint256 demand) external {
        Demand storage open = _requireOpen(demand);
        if (ledger.rounds(open.round).phase == IRoundLedger.Phase.Anchored) revert DataAvailabilityStillJudged(demand);
        address demander = open.demander;
        open.status = Status.Returned;
        emit Returned(demand, demander);
        token.safeTransfer(demander, deposit);
    }

    // Deliveries.

    /// @inheritdoc IDataAvailability
    function deliver(
        RoundId round,
        bytes32 updateRoot,
        bytes calldata layout,
        bytes32 manifestDocument,
        uint256 part,
        bytes calldata values,
        bytes calldata siblings
    ) external {
        IRoundLedger.Phase phase = ledger.phase(round);
        if (phase != IRoundLedger.Phase.Open) revert DataAvailabilityNotOpen(round, phase);
        _requireLayout(layout, manifestDocument);
        _requireRange(round, values);
        (uint256 parts, MerkleSum.Node memory root) = _climbFromPart(layout, part, values, siblings);
        _requirePath(root.hash, updateRoot);
        uint256 missing = _record(round, updateRoot, part, parts, root.squares);
        emit Delivered(round, msg.sender, updateRoot, part, missing, values);
    }

    /// @inheritdoc IDataAvailability
    function proveCensored(RoundId round, IRoundLedger.Anchor calldata anchor, Entry[] calldata entries, uint256 entry)
        external
    {
        IRoundLedger.Round memory stored = _open(round, anchor);
        _requireEntries(round, stored, _baseStateRoot(stored), entries);
        _requireIndex(entry, entries.length);
        address contributor = entries[entry].contributor;
        Delivery memory delivery = _deliveries[round][contributor][entries[entry].updateRoot];
        if (
            _isDelivered(anchor, entry) || delivery.parts == 0 || delivery.missing > 0
                || delivery.sumSquares != entries[entry].sumSquares
        ) revert DataAvailabilityNotCensored(entry);
        emit Censored(round, contributor, entry);
        _arbiter().convict(round, contributor);
    }

    // Views.

    /// @inheritdoc IDataAvailability
    function demands(uint256 demand) external view returns (Demand memory) {
        return _demands[demand];
    }

    /// @inheritdoc IDataAvailability
    function demandOf(RoundId round, What what, uint256 entry, uint256 level, uint256 index)
        external
        view
        returns (uint256)
    {
        return _demandOf[_keyOf(round, what, entry, level, index)];
    }

    /// @inheritdoc IDataAvailability
    function deliveries(RoundId round, address contributor, bytes32 updateRoot)
        external
        view
        returns (Delivery memory)
    {
        return _deliveries[round][contributor][updateRoot];
    }

    // Inside.

    function _open(RoundId round, IRoundLedger.Anchor calldata anchor)
        private
        view
        returns (IRoundLedger.Round memory stored)
    {
        stored = _anchored(round);
        _requireAnchor(anchor, stored);
    }

    /// @dev Depth of the trees.
    function _depthOf(Case calldata case_) private view returns (uint256 depth) {
        _requireLayout(case_.layout, case_.manifestDocument);
        // Only the size of the trees is wanted.
        // slither-disable-next-line unused-return
        (, depth,) = Layout.find(case_.layout, 0);
    }

    /// @dev Unix time until which roots and files can be demanded. What the window can be at most without
    /// postponements: a round that was anchored early and postponed since takes demands for a little longer than it would
    /// have, and never for longer than this.
    function _regularDeadline(IRoundLedger.Round memory stored, IPolicies.Policy memory policy)
        private
        pure
        returns (uint256)
    {
        return Math.min(stored.challengeDeadline, uint256(stored.anchorDeadline) + policy.challengeWindow);
    }

    function _demandRoot(RoundId round, IRoundLedger.Round memory stored, Subject memory subject)
        private
        returns (uint256)
    {
        IPolicies.Policy memory policy = _policies.policies(stored.policy);
        return _demand(round, policy.verifier, _regularDeadline(stored, policy), subject);
    }

    function _demand(RoundId round, address verifier, uint256 deadline, Subject memory subject)
        private
        returns (uint256 demand)
    {
        if (block.timestamp >= deadline) revert DataAvailabilityTooLate(round, block.timestamp, deadline);
        bytes32 key = _keyOf(round, subject.what, subject.entry, subject.level, subject.index);
        if (_demandOf[key] != 0) revert DataAvailabilityAlreadyDemanded(_demandOf[key]);

        demand = ++demandCount;
        _demandOf[key] = demand;
        uint40 answerBy = uint40(block.timestamp) + answerWindow;
        _demands[demand] = Demand({
            round: round,
            until: answerBy,
            what: subject.what,
            status: Status.Open,
            // casting is safe because a round has at most 256 entries, and a tree of 2^256 leaves has a depth of 256
            // forge-lint: disable-next-line(unsafe-typecast)
            entry: uint16(subject.entry),
            // forge-lint: disable-next-line(unsafe-typecast)
            depth: uint8(subject.depth),
            // forge-lint: disable-next-line(unsafe-typecast)
            level: uint8(subject.level),
            // casting to 'uint64' is safe because a level has at most as many places as there are leaves, rounded up to a
            // power of two: a sum of a few uint64 divided by 256
            // forge-lint: disable-next-line(unsafe-typecast)
            index: uint64(subject.index),
            demander: msg.sender,
            hash: subject.node
        });
        emit Demanded(demand, round, msg.sender, subject.what, subject.entry, subject.level, subject.index, answerBy);
        IArbiter(verifier).postpone(round, answerBy + answerWindow);
        token.safeTransferFrom(msg.sender, address(this), deposit);
    }

    function _keyOf(RoundId round, What what, uint256 entry, uint256 level, uint256 index)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(round, what, entry, level, index));
    }

    function _requireOpen(uint256 demand) private view returns (Demand storage open) {
        open = _demands[demand];
        if (open.status != Status.Open) revert DataAvailabilityWrongStatus(demand, open.status);
    }

    /// @dev What the demanded node would be if it had this list or were this leaf, or the hash of a file.
    function _hashOf(Demand storage open, bytes calldata values, bytes32 other) private view returns (bytes32 hash) {
        (What what, uint256 level) = (open.what, open.level);
        if (what >= What.Header) return keccak256(values);
        if (what == What.Update) {
            return level == 0 ? Openings.hashLeaf(values) : NodeLists.sums(values, NodeLists.heightOf(level));
        }
        MerkleTree.Kind kind = MerkleTree.Kind(uint8(what) - uint8(What.Mean));
        if (level > 0) {
            hash = NodeLists.plain(kind, values, NodeLists.heightOf(level));
        } else {
            _requireSize(values.length, what == What.Mean ? Layout.LEAF : STATE_LEAF_BYTES);
            hash = MerkleTree.leaf(kind, values);
        }
        // The anchor has the two roots of the state as one.
        if (level < open.depth || what == What.Mean) return hash;
        return what == What.Theta
            ? MerkleTree.stateRoot(_manifestHash, hash, other)
            : MerkleTree.stateRoot(_manifestHash, other, hash);
    }

    /// @dev All integers are within the range of the round's width. With 8 bits `Openings.leaf` refuses the only other one.
    function _requireRange(RoundId round, bytes calldata values) private view {
        uint8 width = _policies.policies(ledger.rounds(round).policy).width;
        if (width < Widths.MAX) Openings.requireRange(values, Widths.largest(width));
    }

    /// @dev The root that a part has with these siblings. The part is one of the tree, and all of its bytes are allowed.
    function _climbFromPart(bytes calldata layout, uint256 part, bytes calldata values, bytes calldata siblings)
        private
        pure
        returns (uint256 parts, MerkleSum.Node memory root)
    {
        uint256 leaves = 0;
        uint256 depth = 0;
        (leaves, depth, parts, root) = _partOf(layout, part, values);
        uint256 partDepth = Math.min(PART_DEPTH, depth);
        root = Openings.climb(root, part, siblings, depth - partDepth);
        // No part covers these places: whatever stood there, the update would count as delivered, and no coordinator
        // could compute its root.
        if (!Openings.endsEmpty(leaves, partDepth, part, siblings)) revert DataAvailabilityInvalidPadding(leaves, 0);
    }

    /// @dev Size of the trees and number of parts, and the node of a part with these leaves.
    function _partOf(bytes calldata layout, uint256 part, bytes calldata values)
        private
        pure
        returns (uint256 leaves, uint256 depth, uint256 parts, MerkleSum.Node memory node)
    {
        // A part of a smaller tree has its number 0, and so the same first leaf.
        Layout.Place memory place;
        (leaves, depth, place) = Layout.find(layout, part << PART_DEPTH);
        uint256 size = 1 << Math.min(PART_DEPTH, depth);
        parts = Math.ceilDiv(leaves, size);
        _requireIndex(part, parts);
        _requireSize(values.length, Layout.LEAF * Math.min(size, leaves - part * size));
        node = _partNode(layout, place, part * size, size, values);
    }

    /// @dev The node above `size` places from `first` on, of which the first ones have these leaves. `place` is where
    /// `first` lies: one pass over the tensors is enough for all leaves.
    function _partNode(
        bytes calldata layout,
        Layout.Place memory place,
        uint256 first,
        uint256 size,
        bytes calldata values
    ) private pure returns (MerkleSum.Node memory) {
        MerkleSum.Node[] memory nodes = new MerkleSum.Node[](size);
        for (uint256 i = 0; i < values.length / Layout.LEAF; ++i) {
            bytes calldata leaf = values[Layout.LEAF * i:Layout.LEAF * (i + 1)];
            _requirePadding(leaf, first + i, place.values);
            nodes[i] = Openings.leaf(leaf);
            Layout.advance(layout, place);
        }
        for (; size > 1; size /= 2) {
            for (uint256 i = 0; i < size / 2; ++i) {
                nodes[i] = MerkleSum.parent(nodes[2 * i], nodes[2 * i + 1]);
            }
        }
        return nodes[0];
    }

    function _requirePadding(bytes calldata leaf, uint256 index, uint256 values) private pure {
        for (uint256 c = values; c < Layout.LEAF; ++c) {
            if (uint8(leaf[c]) != MerkleSum.BIAS) revert DataAvailabilityInvalidPadding(index, c);
        }
    }

    function _record(RoundId round, bytes32 updateRoot, uint256 part, uint256 parts, uint64 sumSquares)
        private
        returns (uint256 missing)
    {
        bytes32 key = keccak256(abi.encode(round, msg.sender, updateRoot));
        uint256 word = _arrived[key][part >> 8];
        // forge-lint: disable-next-line(incorrect-shift)
        uint256 bit = 1 << (part & 0xff);
        if (word & bit != 0) revert DataAvailabilityAlreadyDelivered(part);
        _arrived[key][part >> 8] = word | bit;
        Delivery storage delivery = _deliveries[round][msg.sender][updateRoot];
        missing = (delivery.parts == 0 ? parts : delivery.missing) - 1;
        // casting to 'uint32' is safe because 2^32 parts of 16 KiB are more than any chain holds
        // forge-lint: disable-next-line(unsafe-typecast)
        (delivery.parts, delivery.missing, delivery.sumSquares) = (uint32(parts), uint32(missing), sumSquares);
    }

    function _isDelivered(IRoundLedger.Anchor calldata anchor, uint256 entry) private pure returns (bool) {
        // Entries are at most 256, so the bit is there.
        return (anchor.delivered >> entry) & 1 == 1;
    }

    function _isPlainTree(What what) private pure returns (bool) {
        return what == What.Mean || what == What.Theta || what == What.Momentum;
    }
}
