// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { MessageHashUtils } from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import { IModelRegistry } from "./interfaces/IModelRegistry.sol";
import { IMootToken } from "./interfaces/IMootToken.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { Commitments } from "./libraries/Commitments.sol";
import { Enrolment } from "./libraries/Enrolment.sol";
import { Policies } from "./libraries/Policies.sol";
import { Signatures } from "./libraries/Signatures.sol";
import { PolicyId, RoundId } from "./libraries/Types.sol";
import { WeightedSum } from "./libraries/WeightedSum.sol";

/// @title The record of training: policies, rounds, commitments, anchors, finality and rewards.
/// @dev Two facts keep the fall-back after a fraud simple, and every function preserves them: each `Anchored` round is
/// the head or one of its ancestors, and the base of the open round is the head. What a fraud report voids is thus the
/// chain from the head down to the reported round, plus the open round; it is cancelled there and then, and nothing
/// half-void is left that could become final later.
contract RoundLedger is IRoundLedger, EIP712 {
    using Enrolment for Enrolment.Roll;

    /// @dev What recording commitments needs of a round and its policy, read once a batch. In whole words: Solidity masks
    /// a narrower type at every read.
    struct Intake {
        uint256 round;
        uint256 entries;
        uint256 maxContributors;
        uint256 maxSumSquares;
        uint256 minStake;
        bytes32 baseStateRoot;
        bytes32 entriesHash;
        uint256 wordIndex;
        uint256 word;
    }

    /// @notice Largest sum of weights: 255 times it still fits a 32-bit lane.
    uint256 public constant MAX_WEIGHT_SUM = WeightedSum.MAX_WEIGHT_SUM;
    /// @notice Maximum number of anchored rounds that are not final. Bounds the walk of a fraud report.
    uint16 public constant MAX_PENDING_ROUNDS = 256;
    /// @notice Number of rounds missed in a row after which anybody can remove an enrolled account.
    uint256 public constant MAX_MISSED = 3;

    /// @inheritdoc IRoundLedger
    bytes32 public immutable override manifestHash;
    /// @inheritdoc IRoundLedger
    bytes32 public immutable override genesisHash;
    /// @inheritdoc IRoundLedger
    address public immutable override governance;
    /// @inheritdoc IRoundLedger
    address public immutable override verifier;
    /// @inheritdoc IRoundLedger
    uint128 public immutable override maxReward;
    /// @inheritdoc IRoundLedger
    uint32 public immutable override minCommitWindow;
    /// @inheritdoc IRoundLedger
    uint32 public immutable override minChallengeWindow;
    /// @notice Vault whose stakes count.
    IStakeVault public immutable vault;
    /// @notice Token that rewards are minted in.
    IMootToken public immutable token;
    /// @notice Registry that final rounds are registered with.
    IModelRegistry public immutable registry;

    RoundId private _head;
    RoundId private _nextRound;
    PolicyId private _currentPolicy;
    uint16 private _pending;
    address private _coordinator;
    mapping(PolicyId policyId => Policy) private _policies;
    mapping(RoundId round => Round) private _rounds;
    /// @dev One bit a member, by its number: 256 contributors share the price of one storage slot.
    mapping(RoundId round => mapping(uint256 wordIndex => uint256)) private _committed;
    mapping(address account => uint256) private _claimable;
    /// @dev Like `_committed`: of whom a fault was reported.
    mapping(RoundId round => mapping(uint256 wordIndex => uint256)) private _faulted;
    Enrolment.Roll private _roll;

    /// @param governance_ Who adds policies and appoints coordinators: the timelock.
    /// @param vault_ Vault whose stakes count; this contract must be its slasher.
    /// @param token_ Token of the rewards; this contract must be its minter.
    /// @param registry_ Registry of versions, whose version 0 is the genesis; this contract must be its ledger.
    /// @param firstCoordinator Coordinator until governance appoints another.
    /// @param manifestHash_ Hash of the manifest that lays the model out.
    /// @param genesisHash_ Hash of the genesis file, which names the manifest, the initial state and the exponents.
    /// @param firstPolicy Policy until governance adds another. Its verifier is that of all policies.
    /// @param bounds What no later policy may go beyond.
    constructor(
        address governance_,
        IStakeVault vault_,
        IMootToken token_,
        IModelRegistry registry_,
        address firstCoordinator,
        bytes32 manifestHash_,
        bytes32 genesisHash_,
        Policy memory firstPolicy,
        Bounds memory bounds
    ) EIP712("Folkmoot", "1") {
        if (manifestHash_ == bytes32(0) || genesisHash_ == bytes32(0)) {
            revert RoundLedgerZeroRoot();
        }
        if (address(token_) == address(0) || governance_ == address(0)) revert RoundLedgerZeroAddress();
        vault = vault_;
        token = token_;
        registry = registry_;
        manifestHash = manifestHash_;
        genesisHash = genesisHash_;
        governance = governance_;
        verifier = firstPolicy.verifier;
        maxReward = bounds.maxReward;
        minCommitWindow = bounds.minCommitWindow;
        minChallengeWindow = bounds.minChallengeWindow;

        Round storage genesis = _rounds[RoundId.wrap(0)];
        genesis.phase = Phase.Final;
        genesis.openedAt = uint40(block.timestamp);
        genesis.stateRoot = registry_.versions(RoundId.wrap(0)).stateRoot;
        _nextRound = RoundId.wrap(1);
        _addPolicy(firstPolicy);
        _appointCoordinator(firstCoordinator);
    }

    // Governance.

    /// @inheritdoc IRoundLedger
    function addPolicy(Policy calldata policy) external returns (PolicyId policyId) {
        _requireGovernance();
        return _addPolicy(policy);
    }

    /// @inheritdoc IRoundLedger
    function appointCoordinator(address appointed) external {
        _requireGovernance();
        _appointCoordinator(appointed);
    }

    // The life of a round.

    /// @inheritdoc IRoundLedger
    function openRound(RoundId expected, bytes32 baseStateRoot, bytes32 headerHash) external {
        RoundId id = _nextRound;
        RoundId base = _head;
        if (msg.sender != _coordinator) revert RoundLedgerNotCoordinator(msg.sender, _coordinator);
        if (expected != id) revert RoundLedgerUnexpectedRound(expected, id);
        RoundId previous = _lastRound();
        if (_rounds[previous].phase == Phase.Open) revert RoundLedgerRoundStillOpen(previous);
        if (_pending >= MAX_PENDING_ROUNDS) revert RoundLedgerTooManyPending(_pending, MAX_PENDING_ROUNDS);
        if (headerHash == bytes32(0)) revert RoundLedgerZeroRoot();
        bytes32 required = _rounds[base].stateRoot;
        if (baseStateRoot != required) revert RoundLedgerWrongBase(baseStateRoot, required);
        PolicyId policyId = _currentPolicy;
        Policy storage policy = _policies[policyId];
        _requireBond(msg.sender, policy.bond);

        _nextRound = RoundId.wrap(RoundId.unwrap(id) + 1);
        Round storage round = _rounds[id];
        round.policy = policyId;
        round.phase = Phase.Open;
        round.openedAt = uint40(block.timestamp);
        round.commitDeadline = uint40(block.timestamp) + policy.commitWindow;
        round.anchorDeadline = uint40(block.timestamp) + policy.commitWindow + policy.anchorWindow;
        round.coordinator = msg.sender;
        round.base = base;
        round.headerHash = headerHash;
        _emitOpened(id, round, required);
    }

    /// @inheritdoc IRoundLedger
    function commitUpdates(RoundId round, Commitment[] calldata commitments, bytes[] calldata signatures) external {
        if (signatures.length != commitments.length) {
            revert RoundLedgerLengthMismatch(signatures.length, commitments.length);
        }
        (uint256[] memory stakes, uint32[] memory memberIds) = _membersOf(commitments);
        Intake memory intake = _startIntake(round);
        bytes32 domain = _domainSeparatorV4();
        for (uint256 i = 0; i < commitments.length; ++i) {
            Commitment calldata commitment = Commitments.at(commitments, i);
            (uint256 stake, uint256 memberId) = _memberAt(stakes, memberIds, i);
            if (_loadRecorded(intake, memberId)) continue;
            // `_membersOf` has checked the width.
            address contributor = address(uint160(Commitments.word(commitment, 0)));
            bytes32 commitmentHash = Commitments.hash(commitment);
            bytes32 digest = MessageHashUtils.toTypedDataHash(domain, commitmentHash);
            if (!Signatures.isBy(contributor, digest, signatures[i])) revert RoundLedgerInvalidSignature(contributor);
            _record(intake, commitment, contributor, commitmentHash, stake, memberId);
        }
        _endIntake(intake);
    }

    /// @inheritdoc IRoundLedger
    function commitUpdate(Commitment calldata commitment) external {
        if (msg.sender != commitment.contributor) {
            revert RoundLedgerNotContributor(msg.sender, commitment.contributor);
        }
        Intake memory intake = _startIntake(commitment.round);
        (uint256 stake, uint32 memberId) = _member(msg.sender);
        if (_loadRecorded(intake, memberId)) revert RoundLedgerAlreadyCommitted(commitment.round, msg.sender);
        _record(intake, commitment, msg.sender, Commitments.hash(commitment), stake, memberId);
        _endIntake(intake);
    }

    /// @inheritdoc IRoundLedger
    function enrol() external {
        (uint256 stake, uint32 memberId) = _member(msg.sender);
        uint256 required = _policies[_currentPolicy].minStake;
        if (stake < required) revert RoundLedgerStakeTooLow(msg.sender, stake, required);
        if (RoundId.unwrap(_roll.from[msg.sender]) != 0) revert RoundLedgerAlreadyEnrolled(msg.sender);

        RoundId from = _nextRound;
        RoundId last = _lastRound();
        // An enum is compared, no balance that somebody could shift by one.
        // slither-disable-next-line incorrect-equality
        RoundId open = _rounds[last].phase == Phase.Open ? last : RoundId.wrap(0);
        _roll.add(msg.sender, memberId, from, open);
        emit Enrolled(msg.sender, from);
    }

    /// @inheritdoc IRoundLedger
    function leave() external {
        (, uint32 memberId) = _member(msg.sender);
        _leave(msg.sender, memberId, LeaveReason.Own);
    }

    /// @inheritdoc IRoundLedger
    function remove(address account) external {
        (uint256 stake, uint32 memberId) = _member(account);
        RoundId last = _lastRound();
        bool taking = phase(last) == Phase.Open;
        if (stake < _policies[taking ? _rounds[last].policy : _currentPolicy].minStake) {
            _leave(account, memberId, LeaveReason.StakeTooLow);
            return;
        }
        if (taking) revert RoundLedgerRoundStillOpen(last);
        uint256 missed = _countMissed(account, memberId, last);
        if (missed < MAX_MISSED) revert RoundLedgerNotAbsent(account, missed, MAX_MISSED);
        _leave(account, memberId, LeaveReason.Absent);
    }

    /// @inheritdoc IRoundLedger
    function closeCommits(RoundId id) external {
        Round storage round = _rounds[id];
        _requirePhase(id, Phase.Open);
        if (msg.sender != round.coordinator) revert RoundLedgerNotCoordinator(msg.sender, round.coordinator);
        Policy storage policy = _policies[round.policy];
        if (round.entries < policy.maxContributors) {
            uint16 min = policy.minContributors;
            if (round.entries < min) revert RoundLedgerTooFewUpdates(id, round.entries, min);
            (bool counted, uint256 wordIndex, uint256 missing) = _roll.findMissing(_committed[id], id);
            if (!counted) revert RoundLedgerNobodyEnrolled(id);
            if (missing != 0) revert RoundLedgerMembersMissing(id, wordIndex, missing);
        }

        uint40 commitDeadline = uint40(block.timestamp);
        uint40 anchorDeadline = commitDeadline + policy.anchorWindow;
        (round.commitDeadline, round.anchorDeadline) = (commitDeadline, anchorDeadline);
        emit CommitsClosed(id, commitDeadline, anchorDeadline);
    }

    /// @inheritdoc IRoundLedger
    function anchor(RoundId id, Anchor calldata anchor_) external {
        Round storage round = _rounds[id];
        Policy storage policy = _policies[round.policy];
        _requireAnchorable(id, round, policy.minContributors);
        bytes memory encoded = _requireSound(anchor_, round.entries);
        _requireBond(msg.sender, policy.bond);

        uint40 challengeDeadline = uint40(block.timestamp) + policy.challengeWindow;
        round.phase = Phase.Anchored;
        round.challengeDeadline = challengeDeadline;
        round.stateRoot = anchor_.stateRoot;
        round.anchorHash = keccak256(encoded);
        _head = id;
        ++_pending;
        _emitAnchored(id, encoded, challengeDeadline);
    }

    /// @inheritdoc IRoundLedger
    function finalize(RoundId id) external {
        Round storage round = _rounds[id];
        _requirePhase(id, Phase.Anchored);
        if (block.timestamp < round.challengeDeadline) {
            revert RoundLedgerTooEarly(id, block.timestamp, round.challengeDeadline);
        }
        RoundId base = round.base;
        if (_rounds[base].phase != Phase.Final) revert RoundLedgerBaseNotFinal(id, base);

        round.phase = Phase.Final;
        --_pending;
        emit RoundFinalized(id, round.stateRoot);
        registry.register(id, base, round.stateRoot);
    }

    /// @inheritdoc IRoundLedger
    function cancel(RoundId id) external {
        Round storage round = _rounds[id];
        if (round.phase != Phase.Open) revert RoundLedgerWrongPhase(id, round.phase, Phase.Open);
        if (block.timestamp < round.commitDeadline) revert RoundLedgerNotCancellable(id);
        if (round.entries < _policies[round.policy].minContributors) {
            _cancel(id, CancelReason.TooFewUpdates);
        } else if (block.timestamp >= round.anchorDeadline) {
            _cancel(id, CancelReason.AnchorLate);
        } else {
            revert RoundLedgerNotCancellable(id);
        }
    }

    /// @inheritdoc IRoundLedger
    function cancelEmpty(RoundId id) external {
        Round storage round = _rounds[id];
        if (round.phase != Phase.Open) revert RoundLedgerWrongPhase(id, round.phase, Phase.Open);
        if (msg.sender != round.coordinator) revert RoundLedgerNotCoordinator(msg.sender, round.coordinator);
        if (round.entries > 0) revert RoundLedgerNotEmpty(id, round.entries);
        _cancel(id, CancelReason.Empty);
    }

    /// @inheritdoc IRoundLedger
    function reportFraud(RoundId id, address challenger) external {
        Round storage round = _rounds[id];
        Policy storage policy = _requireVerifier(round);
        _requirePhase(id, Phase.Anchored);

        _voidDescendants(id);
        round.phase = Phase.Slashed;
        --_pending;
        _head = round.base;
        // The vault says how much of the bond was left to take, so the event follows the call. The vault calls only the
        // token, and neither calls anybody else.
        // slither-disable-next-line reentrancy-events
        uint256 taken = vault.slash(round.coordinator, policy.bond, challenger);
        emit RoundSlashed(id, msg.sender, challenger, taken);
    }

    /// @inheritdoc IRoundLedger
    function reportFault(RoundId id, address contributor, address challenger) external {
        Round storage round = _rounds[id];
        Policy storage policy = _requireVerifier(round);
        if (challenger == address(0)) revert RoundLedgerZeroAddress();
        uint256 deadline = uint256(round.openedAt) + vault.unbondingPeriod();
        if (block.timestamp >= deadline) revert RoundLedgerTooLate(id, block.timestamp, deadline);
        (, uint32 memberId) = _member(contributor);
        (uint256 wordIndex, uint256 bit) = (memberId >> 8, Enrolment.bit(memberId));
        if (_committed[id][wordIndex] & bit == 0) revert RoundLedgerNotCommitted(id, contributor);
        uint256 word = _faulted[id][wordIndex];
        if (word & bit != 0) revert RoundLedgerAlreadyReported(id, contributor);

        _faulted[id][wordIndex] = word | bit;
        // As in `reportFraud`.
        // slither-disable-next-line reentrancy-events
        uint256 taken = vault.slash(contributor, policy.minStake, challenger);
        emit ContributorSlashed(id, contributor, challenger, taken);
    }

    /// @inheritdoc IRoundLedger
    function postpone(RoundId id, uint40 until) external {
        Round storage round = _rounds[id];
        _requireVerifier(round);
        _requirePhase(id, Phase.Anchored);
        uint40 latest = round.openedAt + 2 * vault.unbondingPeriod();
        if (until > latest) revert RoundLedgerTooLate(id, until, latest);
        if (until <= round.challengeDeadline) return;

        round.challengeDeadline = until;
        emit RoundPostponed(id, until);
        vault.freeze(round.coordinator, until);
    }

    // Rewards.

    /// @inheritdoc IRoundLedger
    function settle(RoundId id, Entry[] calldata entries, Anchor calldata anchor_) external {
        Round storage round = _rounds[id];
        _requirePhase(id, Phase.Final);
        if (round.settled) revert RoundLedgerAlreadySettled(id);
        _requireRecorded(Commitments.hashEntries(entries), round.entriesHash);
        _requireRecorded(Commitments.hashAnchor(anchor_), round.anchorHash);

        round.settled = true;
        _credit(id, round, entries, anchor_.weights);
        emit RoundSettled(id);
    }

    /// @inheritdoc IRoundLedger
    function claim(address account) external returns (uint256 amount) {
        amount = _claimable[account];
        if (amount == 0) revert RoundLedgerNothingToClaim(account);
        delete _claimable[account];
        emit RewardClaimed(account, amount);
        token.mint(account, amount);
    }

    // Views.

    /// @inheritdoc IRoundLedger
    function phase(RoundId id) public view returns (Phase) {
        Round storage round = _rounds[id];
        if (round.phase == Phase.Open && block.timestamp >= round.commitDeadline) return Phase.Committed;
        return round.phase;
    }

    /// @inheritdoc IRoundLedger
    function rounds(RoundId id) external view returns (Round memory) {
        return _rounds[id];
    }

    /// @inheritdoc IRoundLedger
    function policies(PolicyId policyId) external view returns (Policy memory policy) {
        policy = _policies[policyId];
        if (policy.rule == bytes32(0)) revert RoundLedgerUnknownPolicy(policyId);
    }

    /// @inheritdoc IRoundLedger
    function currentPolicy() external view returns (PolicyId) {
        return _currentPolicy;
    }

    /// @inheritdoc IRoundLedger
    function head() external view returns (RoundId round, bytes32 stateRoot) {
        return (_head, _rounds[_head].stateRoot);
    }

    /// @inheritdoc IRoundLedger
    function pendingRounds() external view returns (uint16) {
        return _pending;
    }

    /// @inheritdoc IRoundLedger
    function nextRound() external view returns (RoundId) {
        return _nextRound;
    }

    /// @inheritdoc IRoundLedger
    function coordinator() external view returns (address) {
        return _coordinator;
    }

    /// @inheritdoc IRoundLedger
    function hasCommitted(RoundId round, address contributor) external view returns (bool) {
        (, uint32 memberId) = _member(contributor);
        return _committed[round][memberId >> 8] & Enrolment.bit(memberId) != 0;
    }

    /// @inheritdoc IRoundLedger
    function enrolledFrom(address account) external view returns (RoundId) {
        return _roll.from[account];
    }

    /// @inheritdoc IRoundLedger
    function counts(RoundId round, address account) external view returns (bool) {
        return _roll.counts(account, round);
    }

    /// @inheritdoc IRoundLedger
    function canClose(RoundId id) external view returns (bool) {
        if (phase(id) != Phase.Open) return false;
        Round storage round = _rounds[id];
        Policy storage policy = _policies[round.policy];
        if (round.entries >= policy.maxContributors) return true;
        if (round.entries < policy.minContributors) return false;
        // Where members are missing does not matter.
        // slither-disable-next-line unused-return
        (bool counted,, uint256 missing) = _roll.findMissing(_committed[id], id);
        return counted && missing == 0;
    }

    /// @inheritdoc IRoundLedger
    function claimable(address account) external view returns (uint256) {
        return _claimable[account];
    }

    /// @inheritdoc IRoundLedger
    function hashCommitment(Commitment calldata commitment) external pure returns (bytes32) {
        return Commitments.hash(commitment);
    }

    /// @inheritdoc IRoundLedger
    function commitmentDigest(Commitment calldata commitment) external view returns (bytes32) {
        return _hashTypedDataV4(Commitments.hash(commitment));
    }

    // Inside.

    function _addPolicy(Policy memory policy) private returns (PolicyId policyId) {
        Policies.validate(policy, vault.unbondingPeriod());
        Bounds memory bounds = Bounds(maxReward, minCommitWindow, minChallengeWindow);
        Policies.validateBounds(policy, bounds, verifier);
        policyId = PolicyId.wrap(PolicyId.unwrap(_currentPolicy) + 1);
        _policies[policyId] = policy;
        _currentPolicy = policyId;
        emit PolicyAdded(policyId, policy);
    }

    function _appointCoordinator(address appointed) private {
        if (appointed == address(0)) revert RoundLedgerZeroAddress();
        address previous = _coordinator;
        _coordinator = appointed;
        emit CoordinatorAppointed(previous, appointed);
    }

    function _lastRound() private view returns (RoundId) {
        return RoundId.wrap(RoundId.unwrap(_nextRound) - 1);
    }

    function _leave(address account, uint256 memberId, LeaveReason reason) private {
        if (RoundId.unwrap(_roll.from[account]) == 0) revert RoundLedgerNotEnrolled(account);
        _roll.take(account, memberId);
        emit Left(account, reason);
    }

    /// @dev Rounds that the account has missed in a row, back from `last`, as far as it matters. Whoever calls pays for
    /// each look; the first round is 1, so the walk ends.
    function _countMissed(address account, uint256 memberId, RoundId last) private view returns (uint256 missed) {
        (uint256 wordIndex, uint256 bit) = Enrolment.place(memberId);
        uint64 from = RoundId.unwrap(_roll.from[account]);
        if (from == 0) revert RoundLedgerNotEnrolled(account);
        for (uint64 number = RoundId.unwrap(last); number >= from && missed < MAX_MISSED; --number) {
            RoundId id = RoundId.wrap(number);
            if (_committed[id][wordIndex] & bit != 0) break;
            if (_couldBeMissed(_rounds[id])) ++missed;
        }
    }

    /// @dev Whether a round went well and had a place left. It then ran for its whole window for an account that counts in
    /// it and has not committed: only a full round closes without it.
    function _couldBeMissed(Round storage round) private view returns (bool) {
        if (round.phase != Phase.Anchored && round.phase != Phase.Final) return false;
        return round.entries < _policies[round.policy].maxContributors;
    }

    function _emitOpened(RoundId id, Round storage round, bytes32 baseStateRoot) private {
        emit RoundOpened(
            id,
            round.policy,
            round.coordinator,
            round.base,
            baseStateRoot,
            round.headerHash,
            round.commitDeadline,
            round.anchorDeadline
        );
    }

    /// @dev `emit UpdateCommitted(...)`: both topics and four of the five words of its data are in the call data. Of the
    /// members narrower than a word, `contributor` was checked, `round` and `sumSquares` compared, before.
    function _emitCommitted(Commitment calldata commitment, uint256 index) private {
        bytes32 topic = UpdateCommitted.selector;
        assembly ("memory-safe") {
            // `numExamples` has 32 bits.
            if shr(32, calldataload(add(commitment, 0xa0))) { revert(0, 0) }
            // The 160 bytes after the free memory pointer are scratch: nothing is allocated in between.
            let pointer := mload(0x40)
            mstore(pointer, index)
            calldatacopy(add(pointer, 0x20), add(commitment, 0x60), 0x80)
            log3(pointer, 0xa0, topic, calldataload(add(commitment, 0x20)), calldataload(commitment))
        }
    }

    /// @dev `emit RoundAnchored(id, anchor, challengeDeadline)`, from the anchor's ABI encoding. The event's data are the
    /// same words after two others, so these take the place of the encoding's length and first word for a moment.
    function _emitAnchored(RoundId id, bytes memory encoded, uint256 challengeDeadline) private {
        bytes32 topic = RoundAnchored.selector;
        uint256 round = RoundId.unwrap(id);
        assembly ("memory-safe") {
            // Writes inside of `encoded` alone, and leaves it as it was.
            let size := mload(encoded)
            mstore(encoded, 0x40)
            mstore(add(encoded, 0x20), challengeDeadline)
            log2(encoded, add(size, 0x20), topic, round)
            mstore(encoded, size)
            mstore(add(encoded, 0x20), 0x20)
        }
    }

    function _startIntake(RoundId id) private view returns (Intake memory intake) {
        Round storage round = _rounds[id];
        if (round.phase != Phase.Open) revert RoundLedgerWrongPhase(id, round.phase, Phase.Open);
        if (block.timestamp >= round.commitDeadline) {
            revert RoundLedgerTooLate(id, block.timestamp, round.commitDeadline);
        }
        Policy storage policy = _policies[round.policy];
        intake.round = RoundId.unwrap(id);
        intake.entries = round.entries;
        intake.maxContributors = policy.maxContributors;
        intake.maxSumSquares = policy.maxSumSquares;
        intake.minStake = policy.minStake;
        intake.baseStateRoot = _rounds[round.base].stateRoot;
        intake.entriesHash = round.entriesHash;
        intake.word = _committed[id][0];
    }

    function _endIntake(Intake memory intake) private {
        RoundId id = _roundOf(intake);
        Round storage round = _rounds[id];
        // casting to 'uint16' is safe because `_record` keeps `entries` at most at `maxContributors`
        // forge-lint: disable-next-line(unsafe-typecast)
        round.entries = uint16(intake.entries);
        round.entriesHash = intake.entriesHash;
        _committed[id][intake.wordIndex] = intake.word;
    }

    function _roundOf(Intake memory intake) private pure returns (RoundId) {
        // casting to 'uint64' is safe because `_startIntake` has set it from a RoundId
        // forge-lint: disable-next-line(unsafe-typecast)
        return RoundId.wrap(uint64(intake.round));
    }

    function _record(
        Intake memory intake,
        Commitment calldata commitment,
        address contributor,
        bytes32 commitmentHash,
        uint256 stake,
        uint256 memberId
    ) private {
        _requireAcceptable(intake, commitment, stake);
        // `_loadRecorded` has brought the member's word into memory.
        intake.word |= Enrolment.bit(memberId);
        uint256 index = intake.entries;
        _emitCommitted(commitment, index);
        unchecked {
            // `_requireAcceptable` has found it below `maxContributors`, which has 16 bits.
            intake.entries = index + 1;
        }
        intake.entriesHash = Commitments.append(intake.entriesHash, contributor, commitmentHash);
    }

    /// @dev Bring the member's word of the bitmap into memory, and return whether the member has committed. The word of
    /// the last member stays in memory: neighbours cost no storage access.
    function _loadRecorded(Intake memory intake, uint256 memberId) private returns (bool) {
        uint256 wordIndex = memberId >> 8;
        if (wordIndex != intake.wordIndex) {
            RoundId id = _roundOf(intake);
            _committed[id][intake.wordIndex] = intake.word;
            intake.wordIndex = wordIndex;
            intake.word = _committed[id][wordIndex];
        }
        return intake.word & Enrolment.bit(memberId) != 0;
    }

    /// @dev Members are compared as the words that they come in: with bits above its type none passes, and where one
    /// does not pass Solidity reads it for the error, and reverts without data on such bits.
    function _requireAcceptable(Intake memory intake, Commitment calldata commitment, uint256 stake) private pure {
        if (Commitments.word(commitment, 1) != intake.round) {
            revert RoundLedgerRoundMismatch(commitment.round, _roundOf(intake));
        }
        if (Commitments.word(commitment, 2) != uint256(intake.baseStateRoot)) {
            revert RoundLedgerWrongBase(commitment.baseStateRoot, intake.baseStateRoot);
        }
        if (Commitments.word(commitment, 3) == 0) revert RoundLedgerZeroRoot();
        if (Commitments.word(commitment, 4) > intake.maxSumSquares) {
            // casting to 'uint64' is safe because `_startIntake` has set it from a policy's 64 bits
            // forge-lint: disable-next-line(unsafe-typecast)
            uint64 cap = uint64(intake.maxSumSquares);
            revert RoundLedgerNormTooLarge(commitment.contributor, commitment.sumSquares, cap);
        }
        if (stake < intake.minStake) {
            revert RoundLedgerStakeTooLow(commitment.contributor, stake, intake.minStake);
        }
        if (intake.entries >= intake.maxContributors) {
            // casting to 'uint16' is safe because `_startIntake` has set it from a policy's 16 bits
            // forge-lint: disable-next-line(unsafe-typecast)
            revert RoundLedgerRoundFull(_roundOf(intake), uint16(intake.maxContributors));
        }
    }

    function _requireAnchorable(RoundId id, Round storage round, uint16 minContributors) private view {
        if (round.phase != Phase.Open) revert RoundLedgerWrongPhase(id, round.phase, Phase.Committed);
        if (msg.sender != round.coordinator) revert RoundLedgerNotCoordinator(msg.sender, round.coordinator);
        if (block.timestamp < round.commitDeadline) {
            revert RoundLedgerTooEarly(id, block.timestamp, round.commitDeadline);
        }
        if (block.timestamp >= round.anchorDeadline) {
            revert RoundLedgerTooLate(id, block.timestamp, round.anchorDeadline);
        }
        if (round.entries < minContributors) revert RoundLedgerTooFewUpdates(id, round.entries, minContributors);
    }

    /// @return encoded The anchor's ABI encoding.
    function _requireSound(Anchor calldata anchor_, uint16 entries) private pure returns (bytes memory encoded) {
        if (anchor_.weights.length != entries) revert RoundLedgerLengthMismatch(anchor_.weights.length, entries);
        uint256 sum;
        (encoded, sum) = Commitments.encodeAnchor(anchor_);
        if (sum == 0 || sum > MAX_WEIGHT_SUM) revert RoundLedgerInvalidWeights(sum, MAX_WEIGHT_SUM);
        if (
            anchor_.aggregateRoot == bytes32(0) || anchor_.stateRoot == bytes32(0) || anchor_.verdictHash == bytes32(0)
                || anchor_.artifactsHash == bytes32(0)
        ) revert RoundLedgerZeroRoot();
    }

    function _requireGovernance() private view {
        if (msg.sender != governance) revert RoundLedgerNotGovernance(msg.sender, governance);
    }

    function _requireVerifier(Round storage round) private view returns (Policy storage policy) {
        policy = _policies[round.policy];
        if (msg.sender != policy.verifier) revert RoundLedgerNotVerifier(msg.sender, policy.verifier);
    }

    function _requireBond(address account, uint256 bond) private view {
        uint256 stake = vault.stakeOf(account);
        if (stake < bond) revert RoundLedgerStakeTooLow(account, stake, bond);
    }

    function _requirePhase(RoundId id, Phase required) private view {
        Phase current = phase(id);
        if (current != required) revert RoundLedgerWrongPhase(id, current, required);
    }

    function _requireRecorded(bytes32 given, bytes32 recorded) private pure {
        if (given != recorded) revert RoundLedgerRecordMismatch(given, recorded);
    }

    function _cancel(RoundId id, CancelReason reason) private {
        _rounds[id].phase = Phase.Cancelled;
        emit RoundCancelled(id, reason);
    }

    /// @dev Cancels the open round and every anchored round above `id`. `id` is anchored, so the walk down from the head
    /// meets it, after at most MAX_PENDING_ROUNDS steps.
    function _voidDescendants(RoundId id) private {
        RoundId last = _lastRound();
        // An enum is compared, no balance that somebody could shift by one.
        // slither-disable-next-line incorrect-equality
        if (_rounds[last].phase == Phase.Open) _cancel(last, CancelReason.BaseVoided);
        uint16 voided = 0;
        RoundId cursor = _head;
        while (cursor != id) {
            _cancel(cursor, CancelReason.BaseVoided);
            ++voided;
            cursor = _rounds[cursor].base;
        }
        _pending -= voided;
    }

    /// @dev Neither product can overflow: a reward has 128 bits, a weight 32, and a round at most 2^16 entries. The
    /// largest weight is not zero, because `anchor` refuses weights that add up to zero.
    function _credit(RoundId id, Round storage round, Entry[] calldata entries, uint32[] calldata weights) private {
        address coordinator_ = round.coordinator;
        uint256 paid = 0;
        uint256 largest = 0;
        for (uint256 i = 0; i < weights.length; ++i) {
            if (entries[i].contributor != coordinator_) ++paid;
            if (weights[i] > largest) largest = weights[i];
        }
        uint256 reward = _policies[round.policy].reward;
        for (uint256 i = 0; i < weights.length; ++i) {
            address contributor = entries[i].contributor;
            if (contributor == coordinator_) continue;
            uint256 amount = (reward * weights[i]) / (paid * largest);
            if (amount == 0) continue;
            _claimable[contributor] += amount;
            emit RewardCredited(id, contributor, amount);
        }
    }

    function _member(address account) private view returns (uint256 stake, uint32 memberId) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        (uint256[] memory stakes, uint32[] memory memberIds) = vault.members(accounts);
        return (stakes[0], memberIds[0]);
    }

    /// @dev `vault.members` of the contributors. What it returns is laid out as arrays in memory are, so nothing is
    /// decoded: the two arrays are where the answer was written. An answer of another shape reverts without data.
    function _membersOf(Commitment[] calldata commitments)
        private
        view
        returns (uint256[] memory stakes, uint32[] memory memberIds)
    {
        address vault_ = address(vault);
        bytes32 selector = IStakeVault.members.selector;
        assembly ("memory-safe") {
            // Request and answer are written from the free memory pointer on, which is moved to the answer's end.
            let request := mload(0x40)
            mstore(request, selector)
            mstore(add(request, 0x04), 0x20)
            mstore(add(request, 0x24), commitments.length)
            let width := shl(5, commitments.length)
            let cursor := add(request, 0x44)
            let end := add(cursor, width)
            for { let from := commitments.offset } lt(cursor, end) {
                from := add(from, 0xe0)
                cursor := add(cursor, 0x20)
            } {
                let contributor := calldataload(from)
                if shr(160, contributor) { revert(0, 0) }
                mstore(cursor, contributor)
            }
            let size := add(0x80, shl(1, width))
            let sound := staticcall(gas(), vault_, request, sub(end, request), request, size)
            stakes := add(request, 0x40)
            memberIds := add(request, add(0x60, width))
            sound := and(sound, eq(returndatasize(), size))
            sound := and(sound, eq(mload(stakes), commitments.length))
            sound := and(sound, eq(mload(memberIds), commitments.length))
            if iszero(sound) { revert(0, 0) }
            mstore(0x40, add(request, size))
        }
    }

    /// @dev One of the members that `_membersOf` returned, by its place in the batch: the lists are as long.
    function _memberAt(uint256[] memory stakes, uint32[] memory memberIds, uint256 index)
        private
        pure
        returns (uint256 stake, uint256 memberId)
    {
        assembly ("memory-safe") {
            // Reads two words of lists of which `_membersOf` has checked the length.
            let place := shl(5, add(index, 1))
            stake := mload(add(stakes, place))
            memberId := mload(add(memberIds, place))
        }
    }
}
