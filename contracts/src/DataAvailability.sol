// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { Judge } from "./Judge.sol";
import { IDataAvailability } from "./interfaces/IDataAvailability.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { Layout } from "./libraries/Layout.sol";
import { MerkleSum } from "./libraries/MerkleSum.sol";
import { MerkleTree } from "./libraries/MerkleTree.sol";
import { Openings } from "./libraries/Openings.sol";
import { RoundId } from "./libraries/Types.sol";
import { WeightedSum } from "./libraries/WeightedSum.sol";

/// @title Anchored data must be published on demand, and delivered updates must be counted as delivered.
// Two mappings with keys of a type of ours implement functions of the interface, which slither does not see.
// slither-disable-next-line unimplemented-functions
contract DataAvailability is IDataAvailability, Judge {
    using SafeERC20 for IERC20;

    /// @dev What a demand is about.
    struct Subject {
        What what;
        uint256 entry;
        uint256 place;
        uint256 depth;
        bytes32 root;
    }

    /// @notice Maximum number of open demands about a round from accounts that are not its contributors.
    uint256 public constant MAX_OPEN = 16;
    /// @notice Maximum number of demands of one account about one round, open or not.
    uint256 public constant MAX_A_CALLER = 4;
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
    /// @inheritdoc IDataAvailability
    mapping(RoundId round => uint256) public override openDemands;
    /// @inheritdoc IDataAvailability
    mapping(RoundId round => mapping(address caller => uint256)) public override demandsBy;
    mapping(RoundId round => mapping(address contributor => mapping(bytes32 updateRoot => Delivery))) private
        _deliveries;
    /// @dev One bit a part of a delivery, by the delivery's key.
    mapping(bytes32 key => mapping(uint256 wordIndex => uint256)) private _arrived;

    /// @param ledger_ The ledger whose rounds are judged.
    /// @param token_ Token of the deposits.
    /// @param vault Vault of the ledger: two answer windows must fit into its unbonding time.
    /// @param deposit_ Tokens of a deposit. Should cover the gas of an answer.
    /// @param answerWindow_ Seconds in which a demand can be answered.
    constructor(IRoundLedger ledger_, IERC20 token_, IStakeVault vault, uint256 deposit_, uint40 answerWindow_)
        Judge(ledger_)
    {
        uint40 max = vault.unbondingPeriod() / 2;
        if (answerWindow_ == 0 || answerWindow_ > max) revert DataAvailabilityInvalidWindow(answerWindow_, max);
        token = token_;
        deposit = deposit_;
        answerWindow = answerWindow_;
    }

    // Demands.

    /// @inheritdoc IDataAvailability
    function demandUpdate(Case calldata case_, Entry[] calldata entries, uint256 entry, uint256 place)
        external
        returns (uint256)
    {
        IRoundLedger.Round memory stored = _open(case_.round, case_.anchor);
        _requireEntries(case_.round, stored, _baseStateRoot(stored), entries);
        _requireIndex(entry, entries.length);
        if (!_isDelivered(case_.anchor, entry)) revert DataAvailabilityNotDelivered(entry);
        uint256 depth = _requirePlace(case_, place);
        return _demand(case_.round, stored, Subject(What.Update, entry, place, depth, entries[entry].updateRoot));
    }

    /// @inheritdoc IDataAvailability
    function demandLeaf(Case calldata case_, What what, uint256 place) external returns (uint256) {
        IRoundLedger.Round memory stored = _open(case_.round, case_.anchor);
        if (!_isPlainLeaf(what)) revert DataAvailabilityNotDemandable(what);
        uint256 depth = _requirePlace(case_, place);
        bytes32 root = what == What.Aggregate ? case_.anchor.aggregateRoot : stored.stateRoot;
        return _demand(case_.round, stored, Subject(what, 0, place, depth, root));
    }

    /// @inheritdoc IDataAvailability
    function demandFile(RoundId round, IRoundLedger.Anchor calldata anchor, What what) external returns (uint256) {
        IRoundLedger.Round memory stored = _open(round, anchor);
        bytes32 hash = bytes32(0);
        if (what == What.Header) hash = stored.headerHash;
        else if (what == What.Artifacts) hash = anchor.artifactsHash;
        else if (what == What.Verdicts && stored.entries <= MAX_VERDICTS) hash = anchor.verdictHash;
        else revert DataAvailabilityNotDemandable(what);
        return _demand(round, stored, Subject(what, 0, 0, 0, hash));
    }

    /// @inheritdoc IDataAvailability
    function answerUpdate(
        uint256 demand,
        bytes calldata values,
        uint64 absolute,
        uint64 squares,
        bytes calldata siblings
    ) external {
        Demand storage open = _requireOpen(demand);
        if (open.what != What.Update) revert DataAvailabilityNotDemandable(open.what);
        MerkleSum.Node memory node = MerkleSum.Node(Openings.hashLeaf(values), absolute, squares);
        _requirePath(Openings.climb(node, open.place, siblings, open.depth).hash, open.root);
        _answered(demand, open, values, siblings);
    }

    /// @inheritdoc IDataAvailability
    function answerLeaf(uint256 demand, bytes calldata values, bytes32[] calldata siblings, bytes32 other) external {
        Demand storage open = _requireOpen(demand);
        What what = open.what;
        if (!_isPlainLeaf(what)) revert DataAvailabilityNotDemandable(what);
        _requireSize(values.length, what == What.Aggregate ? WeightedSum.LEAF_BYTES : STATE_LEAF_BYTES);
        if (siblings.length != open.depth) revert Openings.OpeningsPathLength(siblings.length, open.depth);
        MerkleTree.Kind kind = MerkleTree.Kind(uint8(what) - uint8(What.Aggregate));
        bytes32 root = MerkleTree.climb(kind, MerkleTree.leaf(kind, values), open.place, siblings);
        if (what == What.Theta) root = MerkleTree.stateRoot(_manifestHash, root, other);
        else if (what == What.Momentum) root = MerkleTree.stateRoot(_manifestHash, other, root);
        _requirePath(root, open.root);
        _answered(demand, open, values, abi.encodePacked(siblings));
    }

    /// @inheritdoc IDataAvailability
    function answerFile(uint256 demand, bytes calldata values) external {
        Demand storage open = _requireOpen(demand);
        if (open.what < What.Header) revert DataAvailabilityNotDemandable(open.what);
        _requirePath(keccak256(values), open.root);
        _answered(demand, open, values, "");
    }

    /// @inheritdoc IDataAvailability
    function proveWithheld(uint256 demand) external {
        Demand storage open = _requireOpen(demand);
        if (block.timestamp < open.answerBy) {
            revert DataAvailabilityWrongTime(demand, block.timestamp, open.answerBy);
        }
        (RoundId round, address demander) = (open.round, open.demander);
        _close(open, Status.Convicted);
        emit Withheld(demand, round, demander);
        _arbiterOf(ledger.rounds(round)).convict(round, demander);
        token.safeTransfer(demander, deposit);
    }

    /// @inheritdoc IDataAvailability
    function release(uint256 demand) external {
        Demand storage open = _requireOpen(demand);
        if (ledger.rounds(open.round).phase == IRoundLedger.Phase.Anchored) revert DataAvailabilityStillJudged(demand);
        address demander = open.demander;
        _close(open, Status.Returned);
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
        _arbiterOf(stored).convict(round, contributor);
    }

    // Views.

    /// @inheritdoc IDataAvailability
    function demands(uint256 demand) external view returns (Demand memory) {
        return _demands[demand];
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

    /// @dev Depth of the trees; the place has a leaf.
    function _requirePlace(Case calldata case_, uint256 place) private view returns (uint256 depth) {
        _requireLayout(case_.layout, case_.manifestDocument);
        uint256 leaves = 0;
        // Where the leaf lies does not matter.
        // slither-disable-next-line unused-return
        (leaves, depth,) = Layout.find(case_.layout, place);
        _requireIndex(place, leaves);
    }

    function _demand(RoundId round, IRoundLedger.Round memory stored, Subject memory subject)
        private
        returns (uint256 demand)
    {
        IRoundLedger.Policy memory policy = ledger.policies(stored.policy);
        // What the window can be at most without postponements: a round that was anchored early and postponed since
        // takes demands for a little longer than it would have, and never for longer than this.
        uint256 deadline = Math.min(stored.challengeDeadline, uint256(stored.anchorDeadline) + policy.challengeWindow);
        if (block.timestamp >= deadline) revert DataAvailabilityTooLate(round, block.timestamp, deadline);
        bool stranger = !ledger.hasCommitted(round, msg.sender);
        _count(round, stranger);

        demand = ++demandCount;
        uint40 answerBy = uint40(block.timestamp) + answerWindow;
        _demands[demand] = Demand({
            round: round,
            answerBy: answerBy,
            what: subject.what,
            status: Status.Open,
            stranger: stranger,
            // casting to 'uint8' is safe because a tree of 2^256 leaves has a depth of 256, and none has so many
            // forge-lint: disable-next-line(unsafe-typecast)
            depth: uint8(subject.depth),
            demander: msg.sender,
            // casting to 'uint64' is safe because the place is below the number of leaves, which is a sum of a few uint64
            // divided by 256
            // forge-lint: disable-next-line(unsafe-typecast)
            place: uint64(subject.place),
            root: subject.root
        });
        emit Demanded(demand, round, msg.sender, subject.what, subject.entry, subject.place, answerBy);
        _arbiterOf(stored).postpone(round, answerBy + answerWindow);
        token.safeTransferFrom(msg.sender, address(this), deposit);
    }

    /// @dev Takes one of the caller's places, and of the strangers' places if it is one.
    function _count(RoundId round, bool stranger) private {
        uint256 made = demandsBy[round][msg.sender];
        if (made >= MAX_A_CALLER) revert DataAvailabilityTooManyDemands(round, msg.sender, MAX_A_CALLER);
        demandsBy[round][msg.sender] = made + 1;
        if (!stranger) return;
        uint256 open = openDemands[round];
        if (open >= MAX_OPEN) revert DataAvailabilityTooManyOpen(round, MAX_OPEN);
        openDemands[round] = open + 1;
    }

    function _requireOpen(uint256 demand) private view returns (Demand storage open) {
        open = _demands[demand];
        if (open.status != Status.Open) revert DataAvailabilityWrongStatus(demand, open.status);
    }

    function _answered(uint256 demand, Demand storage open, bytes calldata values, bytes memory siblings) private {
        if (block.timestamp >= open.answerBy) {
            revert DataAvailabilityWrongTime(demand, block.timestamp, open.answerBy);
        }
        _close(open, Status.Answered);
        emit Answered(demand, msg.sender, values, siblings);
        token.safeTransfer(msg.sender, deposit);
    }

    function _close(Demand storage open, Status status) private {
        open.status = status;
        if (open.stranger) --openDemands[open.round];
    }

    /// @dev The root that a part has with these siblings. The part is one of the tree, and all of its bytes are allowed.
    function _climbFromPart(bytes calldata layout, uint256 part, bytes calldata values, bytes calldata siblings)
        private
        pure
        returns (uint256 parts, MerkleSum.Node memory root)
    {
        // As above.
        // slither-disable-next-line unused-return
        (uint256 leaves, uint256 depth,) = Layout.find(layout, 0);
        uint256 partDepth = Math.min(PART_DEPTH, depth);
        uint256 size = 1 << partDepth;
        parts = Math.ceilDiv(leaves, size);
        _requireIndex(part, parts);
        _requireSize(values.length, Layout.LEAF * Math.min(size, leaves - part * size));
        root = Openings.climb(_partNode(layout, part * size, size, values), part, siblings, depth - partDepth);
        // No part covers these places: whatever stood there, the update would count as delivered, and no coordinator
        // could compute its root.
        if (!Openings.endsEmpty(leaves, partDepth, part, siblings)) revert DataAvailabilityInvalidPadding(leaves, 0);
    }

    /// @dev The node above `size` places from `first` on, of which the first ones have these leaves.
    function _partNode(bytes calldata layout, uint256 first, uint256 size, bytes calldata values)
        private
        pure
        returns (MerkleSum.Node memory)
    {
        MerkleSum.Node[] memory nodes = new MerkleSum.Node[](size);
        for (uint256 i = 0; i < values.length / Layout.LEAF; ++i) {
            bytes calldata leaf = values[Layout.LEAF * i:Layout.LEAF * (i + 1)];
            // The size of the trees is known.
            // slither-disable-next-line unused-return
            (,, Layout.Place memory place) = Layout.find(layout, first + i);
            for (uint256 c = place.values; c < Layout.LEAF; ++c) {
                if (uint8(leaf[c]) != MerkleSum.BIAS) revert DataAvailabilityInvalidPadding(first + i, c);
            }
            nodes[i] = Openings.leaf(leaf);
        }
        for (; size > 1; size /= 2) {
            for (uint256 i = 0; i < size / 2; ++i) {
                nodes[i] = MerkleSum.parent(nodes[2 * i], nodes[2 * i + 1]);
            }
        }
        return nodes[0];
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

    function _isPlainLeaf(What what) private pure returns (bool) {
        return what == What.Aggregate || what == What.Theta || what == What.Momentum;
    }
}
