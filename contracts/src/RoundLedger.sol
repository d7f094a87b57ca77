// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { Attendance } from "./Attendance.sol";
import { Odometer } from "./Odometer.sol";
import { IAdmission } from "./interfaces/IAdmission.sol";
import { IAttendance } from "./interfaces/IAttendance.sol";
import { IModelRegistry } from "./interfaces/IModelRegistry.sol";
import { IOdometer } from "./interfaces/IOdometer.sol";
import { IPolicies } from "./interfaces/IPolicies.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { Commitments } from "./libraries/Commitments.sol";
import { Enrolment } from "./libraries/Enrolment.sol";
import { Pays } from "./libraries/Pays.sol";
import { Places } from "./libraries/Places.sol";
import { Standing } from "./libraries/Standing.sol";
import { PolicyId, RoundId } from "./libraries/Types.sol";
import { WeightedSum } from "./libraries/WeightedSum.sol";

/// @title The record of training: rounds, commitments, anchors and finality.
/// @dev Each anchor appends a round to the list of those that stand. A fraud report cuts the list off at the reported
/// round, which voids all rounds on top of it. The base of the open round is the head, the last of the list.
contract RoundLedger is IRoundLedger, EIP712 {
    using Enrolment for Enrolment.Roll;
    using Standing for Standing.List;

    /// @dev What recording commitments needs of a round and its policy, read once a batch. In whole words: Solidity masks
    /// a narrower type at every read.
    struct Intake {
        uint256 entries;
        uint256 places;
        uint256 maxContributors;
        uint256 minSumSquares;
        /// @dev What the largest sum of squares is more than the smallest.
        uint256 normSpan;
        uint256 minStake;
        /// @dev Enrolled stake that has a place, if one is left, whatever the lot.
        uint256 sureStake;
        uint256 enrolledBy;
        address coordinator;
        Places.Draw draw;
        bytes32 entriesHash;
        uint256 bitmap;
        uint256 wordIndex;
        uint256 word;
        /// @dev The word as it was loaded.
        uint256 loaded;
        /// @dev The policy's. No noise, no charge.
        uint256 noise1024;
        uint256 steps;
        uint256 privacyCap;
        /// @dev The commitment that is recorded now. Round, base and bundle stay for the batch.
        Commitments.Form form;
        /// @dev The event's data, and where in memory the next entry goes.
        uint256 list;
        uint256 listEnd;
    }

    /// @dev Whether an account can take part in a round now, or why it can't.
    enum PlaceStatus {
        Free,
        EnrolledTooLate,
        StakeTooLow,
        NotDrawn,
        Full
    }

    string private constant DOMAIN_NAME = "Folkmoot";
    string private constant DOMAIN_VERSION = "2";
    /// @notice Largest sum of weights: 255 times it still fits a 32-bit lane.
    uint256 public constant MAX_WEIGHT_SUM = WeightedSum.MAX_WEIGHT_SUM;
    /// @notice Maximum number of anchored rounds that are not final.
    uint16 public constant MAX_PENDING_ROUNDS = Standing.MAX_PENDING;
    /// @dev Gas for an answer of the admission contract: enough for a proof that is verified on chain before.
    uint256 private constant ADMISSION_GAS = 200_000;
    /// @notice Number of rounds missed in a row after which anybody can remove an enrolled account.
    uint256 public constant MAX_MISSED = Enrolment.MAX_MISSED;

    /// @inheritdoc IRoundLedger
    bytes32 public immutable override manifestHash;
    /// @inheritdoc IRoundLedger
    bytes32 public immutable override genesisHash;
    /// @inheritdoc IRoundLedger
    address public immutable override governance;
    /// @inheritdoc IRoundLedger
    address public immutable override verifier;
    /// @inheritdoc IRoundLedger
    IPolicies public immutable override policies;
    /// @inheritdoc IRoundLedger
    IOdometer public immutable override odometer;
    /// @inheritdoc IRoundLedger
    IAttendance public immutable override attendance;
    /// @inheritdoc IRoundLedger
    IAdmission public immutable override admission;
    /// @notice Vault whose stakes count.
    IStakeVault public immutable vault;
    /// @notice Registry that final rounds are registered with.
    IModelRegistry public immutable registry;

    RoundId private _nextRound;
    address private _coordinator;
    /// @dev Of the policies of which a round was opened. They never change, so they are asked for once.
    mapping(PolicyId policyId => IPolicies.Terms) private _terms;
    mapping(RoundId round => Round) private _rounds;
    /// @dev One bit a member, by its number: 256 contributors share the price of one storage slot.
    mapping(RoundId round => mapping(uint256 wordIndex => uint256)) private _committed;
    /// @dev Like `_committed`: of whom a fault was reported.
    mapping(RoundId round => mapping(uint256 wordIndex => uint256)) private _faulted;
    Enrolment.Roll private _roll;
    Standing.List private _standing;
    mapping(RoundId round => Places.Draw) private _draws;

    /// @param vault_ Vault whose stakes count; this contract must be its ledger.
    /// @param registry_ Registry of versions, whose version 0 is the genesis; this contract must be its ledger.
    /// @param policies_ Policies of the rounds; their governance appoints coordinators.
    /// @param firstCoordinator Coordinator until governance appoints another.
    /// @param manifestHash_ Hash of the manifest that lays the model out.
    /// @param genesisHash_ Hash of the genesis file, which names the manifest, the initial state and the exponents.
    /// @param admission_ Who may enrol; zero in an open federation, where everybody may who has the stake.
    constructor(
        IStakeVault vault_,
        IModelRegistry registry_,
        IPolicies policies_,
        address firstCoordinator,
        bytes32 manifestHash_,
        bytes32 genesisHash_,
        IAdmission admission_
    ) EIP712(DOMAIN_NAME, DOMAIN_VERSION) {
        if (manifestHash_ == bytes32(0) || genesisHash_ == bytes32(0)) {
            revert RoundLedgerZeroRoot();
        }
        vault = vault_;
        registry = registry_;
        manifestHash = manifestHash_;
        genesisHash = genesisHash_;
        policies = policies_;
        governance = policies_.governance();
        verifier = policies_.verifier();
        admission = admission_;
        odometer = new Odometer(vault_);
        attendance = new Attendance(vault_, policies_);

        Round storage genesis = _rounds[RoundId.wrap(0)];
        genesis.phase = Phase.Final;
        genesis.openedAt = uint40(block.timestamp);
        genesis.stateRoot = registry_.versions(RoundId.wrap(0)).stateRoot;
        _standing.begin();
        _nextRound = RoundId.wrap(1);
        _appointCoordinator(firstCoordinator);
    }

    // Governance.

    /// @inheritdoc IRoundLedger
    function appointCoordinator(address appointed) external {
        if (msg.sender != governance) revert RoundLedgerNotGovernance(msg.sender, governance);
        _appointCoordinator(appointed);
    }

    // The life of a round.

    /// @inheritdoc IRoundLedger
    function openRound(RoundId expected, bytes32 baseStateRoot, bytes32 headerHash) external {
        RoundId id = _nextRound;
        RoundId base = _standing.head;
        _requireCoordinator(_coordinator);
        if (expected != id) revert RoundLedgerUnexpectedRound(expected, id);
        RoundId previous = _lastRound();
        if (_rounds[previous].phase == Phase.Open) revert RoundLedgerRoundStillOpen(previous);
        uint256 pending = pendingRounds();
        if (pending >= MAX_PENDING_ROUNDS) revert RoundLedgerTooManyPending(pending, MAX_PENDING_ROUNDS);
        if (headerHash == bytes32(0)) revert RoundLedgerZeroRoot();
        bytes32 required = _rounds[base].stateRoot;
        if (baseStateRoot != required) revert RoundLedgerWrongBase(baseStateRoot, required);
        (PolicyId policyId, IPolicies.Terms storage terms) = _pinPolicy();
        // The genesis was not opened. A round that is cancelled or slashed is no base, so the next need not wait for it.
        uint256 earliest = RoundId.unwrap(base) == 0 ? 0 : uint256(_rounds[base].openedAt) + terms.interval;
        if (block.timestamp < earliest) revert RoundLedgerTooEarly(id, block.timestamp, earliest);

        _nextRound = RoundId.wrap(RoundId.unwrap(id) + 1);
        Round storage round = _rounds[id];
        round.policy = policyId;
        round.phase = Phase.Open;
        round.openedAt = uint40(block.timestamp);
        round.commitDeadline = uint40(block.timestamp) + terms.commitWindow;
        round.anchorDeadline = uint40(block.timestamp) + terms.commitWindow + terms.anchorWindow;
        round.coordinator = msg.sender;
        round.base = base;
        round.headerHash = headerHash;
        _emitOpened(id, round, required);
        _drawPlaces(id, terms);
        vault.lockBond(msg.sender, terms.bond);
    }

    /// @inheritdoc IRoundLedger
    function commitUpdates(RoundId round, bytes32 bundleHash, bytes calldata batch) external {
        uint256 count = Commitments.countOf(batch);
        IStakeVault.Member memory member = _membersOf(batch, count);
        Intake memory intake = _startIntake(round, bundleHash, count);
        bytes32 domain = _domainSeparatorV4();
        (uint256 entry, uint256 end) = Commitments.placesOf(batch);
        while (entry < end) {
            uint256 bit = _loadWord(intake, member.id);
            if (intake.word & bit == 0) {
                (address contributor, bytes32 commitmentHash, bool isSigned) =
                    Commitments.take(intake.form, intake.listEnd, entry, domain);
                if (!isSigned) revert RoundLedgerInvalidSignature(contributor);
                _record(intake, contributor, commitmentHash, member, bit);
            }
            assembly ("memory-safe") {
                // The next ones; after the last entry the member is not read.
                entry := add(entry, 0x9c)
                member := add(member, 0x80)
            }
        }
        _endIntake(intake);
    }

    /// @inheritdoc IRoundLedger
    function commitUpdate(Commitment calldata commitment) external {
        if (msg.sender != commitment.contributor) {
            revert RoundLedgerNotContributor(msg.sender, commitment.contributor);
        }
        _commitOne(commitment, msg.sender);
    }

    /// @inheritdoc IRoundLedger
    function commitUpdateFor(Commitment calldata commitment, bytes calldata signature) external {
        address contributor = commitment.contributor;
        bytes32 digest = commitmentDigest(commitment);
        if (!SignatureChecker.isValidERC1271SignatureNowCalldata(contributor, digest, signature)) {
            revert RoundLedgerInvalidSignature(contributor);
        }
        _commitOne(commitment, contributor);
    }

    /// @inheritdoc IRoundLedger
    function enrol(uint256 amount) external {
        uint256 required = policies.minStake();
        if (amount < required) revert RoundLedgerStakeTooLow(msg.sender, amount, required);
        (bool answered, bool admitted) = _askAdmission(msg.sender);
        if (!answered || !admitted) revert RoundLedgerNotAdmitted(msg.sender, address(admission));

        emit Enrolled(msg.sender, amount);
        bool isMore = amount > _member(msg.sender).enrolled;
        uint24 memberId = vault.enrol(msg.sender, amount);
        _roll.add(memberId);
        if (!isMore) return;
        // Too late for a round that is opened in this second, and for one that is open.
        _roll.addLate(memberId, block.timestamp);
        Round storage last = _rounds[_lastRound()];
        // An enum is compared, no balance that somebody could shift by one.
        // slither-disable-next-line incorrect-equality
        if (last.phase == Phase.Open && last.openedAt < block.timestamp) _roll.addLate(memberId, last.openedAt);
    }

    /// @inheritdoc IRoundLedger
    function leave() external {
        _leave(msg.sender, _member(msg.sender), LeaveReason.Own);
    }

    /// @inheritdoc IRoundLedger
    function remove(address account) external {
        IStakeVault.Member memory member = _member(account);
        RoundId last = _lastRound();
        bool taking = phase(last) == Phase.Open;
        if (member.enrolled < (taking ? _termsOf(_rounds[last]).minStake : policies.minStake())) {
            _leave(account, member, LeaveReason.StakeTooLow);
            return;
        }
        if (taking) revert RoundLedgerRoundStillOpen(last);
        (bool answered, bool admitted) = _askAdmission(account);
        if (answered && !admitted) {
            _leave(account, member, LeaveReason.NotAdmitted);
            return;
        }
        uint256 missed = attendance.missed(account);
        if (missed < MAX_MISSED) revert RoundLedgerNotAbsent(account, missed, MAX_MISSED);
        _leave(account, member, LeaveReason.Absent);
    }

    /// @inheritdoc IRoundLedger
    function closeCommits(RoundId id) external {
        Round storage round = _rounds[id];
        _requirePhase(id, Phase.Open);
        _requireCoordinator(round.coordinator);
        IPolicies.Terms storage terms = _termsOf(round);
        uint256 places = _placesOf(id, terms.maxContributors);
        if (round.entries < places) {
            uint16 min = terms.minContributors;
            if (round.entries < min) revert RoundLedgerTooFewUpdates(id, round.entries, min);
            // Who was not drawn can't commit, and the bitmaps do not say who that is.
            if (_draws[id].quota > 0) revert RoundLedgerPlacesLeft(id, round.entries, places);
            (bool counted, uint256 wordIndex, uint256 missing) = _roll.findMissing(_committed[id], round.openedAt);
            if (!counted) revert RoundLedgerNobodyEnrolled(id);
            if (missing != 0) revert RoundLedgerMembersMissing(id, wordIndex, missing);
        }

        uint40 commitDeadline = uint40(block.timestamp);
        uint40 anchorDeadline = commitDeadline + terms.anchorWindow;
        (round.commitDeadline, round.anchorDeadline) = (commitDeadline, anchorDeadline);
        emit CommitsClosed(id, commitDeadline, anchorDeadline);
    }

    /// @inheritdoc IRoundLedger
    function anchor(RoundId id, bytes32 entriesHash, Anchor calldata anchor_) external {
        Round storage round = _rounds[id];
        IPolicies.Terms storage terms = _termsOf(round);
        _requireAnchorable(id, round, terms.minContributors);
        _requireRecorded(entriesHash, round.entriesHash);
        (bytes memory encoded, bytes32 anchorHash) = _requireSound(anchor_, round.entries, terms.hasPays);

        uint40 challengeDeadline = uint40(block.timestamp) + terms.challengeWindow;
        round.phase = Phase.Anchored;
        round.challengeDeadline = challengeDeadline;
        round.position = _standing.append(id);
        round.stateRoot = anchor_.stateRoot;
        round.anchorHash = anchorHash;
        _emitAnchored(id, encoded, challengeDeadline);
        vault.noteBasis();
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
        _standing.finish();
        emit RoundFinalized(id, round.stateRoot);
        registry.register(id, base, round.stateRoot);
        _unlockBond(round);
    }

    /// @inheritdoc IRoundLedger
    function cancel(RoundId id) external {
        Round storage round = _rounds[id];
        _requireOpen(id, round, Phase.Open);
        if (block.timestamp < round.commitDeadline) revert RoundLedgerNotCancellable(id);
        if (round.entries < _termsOf(round).minContributors) {
            _cancel(id, round, CancelReason.TooFewUpdates);
        } else if (block.timestamp >= round.anchorDeadline) {
            _cancel(id, round, CancelReason.AnchorLate);
        } else {
            revert RoundLedgerNotCancellable(id);
        }
    }

    /// @inheritdoc IRoundLedger
    function cancelEmpty(RoundId id) external {
        Round storage round = _rounds[id];
        _requireOpen(id, round, Phase.Open);
        _requireCoordinator(round.coordinator);
        if (round.entries > 0) revert RoundLedgerNotEmpty(id, round.entries);
        _cancel(id, round, CancelReason.Empty);
    }

    /// @inheritdoc IRoundLedger
    function releaseVoid(RoundId id) external {
        Round storage round = _rounds[id];
        // A void round is still stored as anchored.
        if (round.phase != Phase.Anchored || _standing.has(id, round.position)) {
            revert RoundLedgerNotVoid(id, phase(id));
        }
        _cancel(id, round, CancelReason.BaseVoided);
    }

    /// @inheritdoc IRoundLedger
    function reportFraud(RoundId id, address challenger) external {
        Round storage round = _rounds[id];
        _requireVerifier();
        _requirePhase(id, Phase.Anchored);
        uint128 bond = _termsOf(round).bond;

        round.phase = Phase.Slashed;
        _standing.cut(round.position, round.base);
        emit RoundSlashed(id, msg.sender, challenger, bond);
        RoundId last = _lastRound();
        Round storage open = _rounds[last];
        // An enum is compared, no balance that somebody could shift by one.
        // slither-disable-next-line incorrect-equality
        if (open.phase == Phase.Open) _cancel(last, open, CancelReason.BaseVoided);
        _unlockBond(round);
        // The whole bond is there: it was locked until this moment.
        // slither-disable-next-line unused-return
        vault.slash(round.coordinator, bond, challenger);
    }

    /// @inheritdoc IRoundLedger
    function reportFault(RoundId id, address contributor, address challenger) external {
        Round storage round = _rounds[id];
        _requireVerifier();
        if (challenger == address(0)) revert RoundLedgerZeroAddress();
        uint256 deadline = uint256(round.openedAt) + vault.unbondingPeriod();
        if (block.timestamp >= deadline) revert RoundLedgerTooLate(id, block.timestamp, deadline);
        (uint256 wordIndex, uint256 bit) = Enrolment.place(_member(contributor).id);
        if (_committed[id][wordIndex] & bit == 0) revert RoundLedgerNotCommitted(id, contributor);
        uint256 word = _faulted[id][wordIndex];
        if (word & bit != 0) revert RoundLedgerAlreadyReported(id, contributor);

        _faulted[id][wordIndex] = word | bit;
        // As in `reportFraud`.
        // slither-disable-next-line reentrancy-events
        uint256 taken = vault.slash(contributor, _termsOf(round).minStake, challenger);
        emit ContributorSlashed(id, contributor, challenger, taken);
    }

    /// @inheritdoc IRoundLedger
    function postpone(RoundId id, uint40 until) external {
        Round storage round = _rounds[id];
        _requireVerifier();
        _requirePhase(id, Phase.Anchored);
        uint40 latest = round.openedAt + 2 * vault.unbondingPeriod();
        if (until > latest) revert RoundLedgerTooLate(id, until, latest);
        round.challengeDeadline = until;
        emit RoundPostponed(id, until);
    }

    // Views.

    /// @inheritdoc IRoundLedger
    function phase(RoundId id) public view returns (Phase) {
        Round storage round = _rounds[id];
        if (round.phase == Phase.Open && block.timestamp >= round.commitDeadline) return Phase.Committed;
        return _storedPhase(id, round);
    }

    /// @inheritdoc IRoundLedger
    function rounds(RoundId id) external view returns (Round memory round) {
        round = _rounds[id];
        round.phase = _storedPhase(id, _rounds[id]);
    }

    /// @inheritdoc IRoundLedger
    function head() external view returns (RoundId round, bytes32 stateRoot) {
        round = _standing.head;
        return (round, _rounds[round].stateRoot);
    }

    /// @inheritdoc IRoundLedger
    function pendingRounds() public view returns (uint256) {
        return _standing.pending();
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
        (uint256 wordIndex, uint256 bit) = Enrolment.place(_member(contributor).id);
        return _committed[round][wordIndex] & bit != 0;
    }

    /// @inheritdoc IRoundLedger
    function isEnrolled(address account) external view returns (bool) {
        return _isEnrolled(_member(account).id);
    }

    /// @inheritdoc IRoundLedger
    function hasPlace(RoundId id, address account) external view returns (bool) {
        Round storage round = _rounds[id];
        IStakeVault.Member memory member = _member(account);
        uint256 minStake = _termsOf(round).minStake;
        if (round.openedAt == 0) return false;
        if (account == round.coordinator) return member.stake >= minStake;
        Places.Draw memory drawn = _draws[id];
        return member.since < (drawn.quota > 0 ? drawn.at : round.openedAt) && member.enrolled >= minStake
            && Places.has(drawn, account, member.enrolled);
    }

    /// @inheritdoc IRoundLedger
    function draws(RoundId round) external view returns (Places.Draw memory) {
        return _draws[round];
    }

    /// @inheritdoc IRoundLedger
    function hashCommitment(Commitment calldata commitment) external pure returns (bytes32) {
        return Commitments.hash(commitment);
    }

    /// @inheritdoc IRoundLedger
    function commitmentDigest(Commitment calldata commitment) public view returns (bytes32) {
        return _hashTypedDataV4(Commitments.hash(commitment));
    }

    /// @inheritdoc EIP712
    /// @dev Both names are short, so the storage that OpenZeppelin reads long ones from is empty.
    function eip712Domain()
        public
        view
        override
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (hex"0f", DOMAIN_NAME, DOMAIN_VERSION, block.chainid, address(this), salt, extensions);
    }

    // Inside.

    /// @dev The policy of a round that opens now, with its terms, which are kept from its first round on.
    function _pinPolicy() private returns (PolicyId policyId, IPolicies.Terms storage terms) {
        policyId = policies.currentPolicy();
        terms = _terms[policyId];
        // No policy has room for nobody.
        // slither-disable-next-line incorrect-equality
        if (terms.maxContributors == 0) _terms[policyId] = policies.terms(policyId);
    }

    /// @dev Of a round that was opened.
    function _termsOf(Round storage round) private view returns (IPolicies.Terms storage) {
        return _terms[round.policy];
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

    function _leave(address account, IStakeVault.Member memory member, LeaveReason reason) private {
        if (!_isEnrolled(member.id)) revert RoundLedgerNotEnrolled(account);
        _roll.take(member.id);
        emit Left(account, reason);
        // The number is known.
        // slither-disable-next-line unused-return
        vault.enrol(account, 0);
    }

    function _isEnrolled(uint256 memberId) private view returns (bool) {
        (uint256 wordIndex, uint256 bit) = Enrolment.place(memberId);
        return _roll.enrolled[wordIndex] & bit != 0;
    }

    /// @dev The answer of the admission contract, if there is one. It may be anybody's: it gets a limited amount of gas,
    /// and no more of its answer is read than a word.
    function _askAdmission(address account) private view returns (bool answered, bool admitted) {
        address asked = address(admission);
        if (asked == address(0)) return (true, true);
        bytes memory question = abi.encodeCall(IAdmission.admits, (account));
        uint256 gasLimit = ADMISSION_GAS;
        uint256 answer = 0;
        assembly ("memory-safe") {
            // The answer goes into scratch space.
            answered := staticcall(gasLimit, asked, add(question, 0x20), mload(question), 0x00, 0x20)
            answered := and(answered, eq(returndatasize(), 0x20))
            answer := mload(0x00)
        }
        return (answered && answer <= 1, answer == 1);
    }

    /// @dev Draw places if there is a crowd. In a closed federation nobody is drawn.
    function _drawPlaces(RoundId id, IPolicies.Terms storage terms) private {
        if (address(admission) != address(0)) return;
        // The vault calls nobody here.
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
        Places.Draw memory drawn = vault.draw(terms.maxContributors, terms.minStake);
        if (drawn.quota == 0) return;
        _draws[id] = drawn;
        emit PlacesDrawn(id, drawn.quota, drawn.at, drawn.seed);
    }

    /// @dev Entries that make a round full for contributors: in a crowd, one place is left for the coordinator's.
    function _placesOf(RoundId id, uint256 maxContributors) private view returns (uint256) {
        return _draws[id].quota > 0 ? Places.available(maxContributors) : maxContributors;
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

    function _startIntake(RoundId id, bytes32 bundleHash, uint256 count) private view returns (Intake memory intake) {
        Round storage round = _rounds[id];
        _requireOpen(id, round, Phase.Open);
        if (block.timestamp >= round.commitDeadline) {
            revert RoundLedgerTooLate(id, block.timestamp, round.commitDeadline);
        }
        IPolicies.Terms storage terms = _termsOf(round);
        intake.entries = round.entries;
        intake.maxContributors = terms.maxContributors;
        intake.places = _placesOf(id, terms.maxContributors);
        intake.coordinator = round.coordinator;
        intake.draw = _draws[id];
        intake.enrolledBy = intake.draw.quota > 0 ? intake.draw.at : round.openedAt;
        intake.minSumSquares = terms.minSumSquares;
        intake.normSpan = terms.maxSumSquares - terms.minSumSquares;
        intake.noise1024 = terms.noise1024;
        intake.steps = terms.steps;
        intake.privacyCap = terms.privacyCap;
        intake.minStake = terms.minStake;
        intake.sureStake = Math.max(intake.draw.quota, terms.minStake);
        intake.form.typehash = Commitments.TYPEHASH;
        intake.form.round = RoundId.unwrap(id);
        intake.form.baseStateRoot = _rounds[round.base].stateRoot;
        intake.form.bundleHash = bundleHash;
        intake.entriesHash = round.entriesHash;
        mapping(uint256 => uint256) storage committed = _committed[id];
        uint256 bitmap;
        assembly ("memory-safe") {
            bitmap := committed.slot
        }
        intake.bitmap = bitmap;
        intake.word = intake.loaded = committed[0];
        (intake.list, intake.listEnd) = Commitments.newList(count);
    }

    /// @dev Store what was recorded and emit it. If nothing was, nothing changes.
    function _endIntake(Intake memory intake) private {
        RoundId id = _roundOf(intake);
        Round storage round = _rounds[id];
        uint16 first = round.entries;
        // slither-disable-next-line incorrect-equality
        if (intake.entries == first) return;
        // casting to 'uint16' is safe because `_record` keeps `entries` at most at `maxContributors`
        // forge-lint: disable-next-line(unsafe-typecast)
        round.entries = uint16(intake.entries);
        round.entriesHash = intake.entriesHash;
        if (intake.noise1024 != 0) _charge(intake);
        _committed[id][intake.wordIndex] = intake.word;
        bytes32 topic = UpdatesCommitted.selector;
        uint256 list = intake.list;
        uint256 size = Commitments.closeList(list, intake.listEnd, first, intake.form.bundleHash);
        uint256 topicRound = intake.form.round;
        assembly ("memory-safe") {
            // `emit UpdatesCommitted(...)`: reads the list alone.
            log2(list, size, topic, topicRound)
        }
    }

    function _roundOf(Intake memory intake) private pure returns (RoundId) {
        // casting to 'uint64' is safe because `_startIntake` has set it from a RoundId
        // forge-lint: disable-next-line(unsafe-typecast)
        return RoundId.wrap(uint64(intake.form.round));
    }

    /// @dev Record one commitment that its contributor is known to have made.
    function _commitOne(Commitment calldata commitment, address contributor) private {
        Intake memory intake = _startIntake(commitment.round, commitment.bundleHash, 1);
        IStakeVault.Member memory member = _member(contributor);
        uint256 bit = _loadWord(intake, member.id);
        if (intake.word & bit != 0) revert RoundLedgerAlreadyCommitted(commitment.round, contributor);
        bytes32 baseStateRoot = intake.form.baseStateRoot;
        if (commitment.baseStateRoot != baseStateRoot) {
            revert RoundLedgerWrongBase(commitment.baseStateRoot, baseStateRoot);
        }
        _requirePlace(intake, contributor, member);
        _record(intake, contributor, Commitments.takeWhole(intake.form, intake.listEnd, commitment), member, bit);
        _endIntake(intake);
    }

    /// @dev Record the commitment in the form, which is at the end of the list, if its account has a place.
    /// @param bit The member's, in the word that `_loadWord` has brought into memory.
    function _record(
        Intake memory intake,
        address contributor,
        bytes32 commitmentHash,
        IStakeVault.Member memory member,
        uint256 bit
    ) private pure {
        uint256 index = intake.entries;
        // Most accounts have a place whatever their lot, and need no second look.
        if (member.enrolled < intake.sureStake || member.since >= intake.enrolledBy || index >= intake.places) {
            if (_placeStatus(intake, contributor, member) != PlaceStatus.Free) return;
        }
        Commitments.Form memory form = intake.form;
        if (form.updateRoot == 0) revert RoundLedgerZeroRoot();
        unchecked {
            // Below the smallest it runs over, and is more than any span.
            if (form.sumSquares - intake.minSumSquares > intake.normSpan) _refuseNorm(intake, contributor);
        }
        intake.word |= bit;
        unchecked {
            // `index` is below `maxContributors`, which has 16 bits, and the list has room for all entries of the call.
            intake.entries = index + 1;
            intake.listEnd += Commitments.LISTED_BYTES;
        }
        intake.entriesHash = Commitments.append(intake.entriesHash, contributor, commitmentHash);
    }

    function _refuseNorm(Intake memory intake, address contributor) private pure {
        // casting to 'uint64' is safe because each had 64 bits before
        // forge-lint: disable-next-item(unsafe-typecast)
        (uint64 norm, uint64 least) = (uint64(intake.form.sumSquares), uint64(intake.minSumSquares));
        if (norm < least) revert RoundLedgerNormTooSmall(contributor, norm, least);
        // forge-lint: disable-next-line(unsafe-typecast)
        revert RoundLedgerNormTooLarge(contributor, norm, least + uint64(intake.normSpan));
    }

    /// @dev Bring the member's word of the bitmap into memory, and return the member's bit in it. The word of the last
    /// member stays in memory: neighbours cost no storage access.
    function _loadWord(Intake memory intake, uint256 memberId) private returns (uint256 bit) {
        uint256 wordIndex = memberId >> 8;
        if (wordIndex != intake.wordIndex) {
            bool isCharged = intake.noise1024 != 0;
            if (isCharged) _charge(intake);
            (uint256 bitmap, uint256 before, uint256 word) = (intake.bitmap, intake.wordIndex, intake.word);
            assembly ("memory-safe") {
                // `_committed[round][...]`: a mapping's slot is the hash of key and slot, in the first 64 bytes of memory.
                mstore(0x20, bitmap)
                mstore(0x00, before)
                sstore(keccak256(0x00, 0x40), word)
                mstore(0x00, wordIndex)
                word := sload(keccak256(0x00, 0x40))
            }
            (intake.wordIndex, intake.word) = (wordIndex, word);
            if (isCharged) intake.loaded = word;
        }
        return Enrolment.bit(memberId);
    }

    /// @dev Charge the members that were recorded since their word was loaded.
    function _charge(Intake memory intake) private {
        uint256 members = intake.word ^ intake.loaded;
        if (members == 0) return;
        // The odometer is this contract's own and calls nobody. There is a call a word of members, for each that changes.
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events,calls-loop
        odometer.charge(intake.wordIndex, members, intake.noise1024, intake.steps, intake.privacyCap);
    }

    /// @dev Whether the account has a place in the round, and whether one is left.
    function _placeStatus(Intake memory intake, address contributor, IStakeVault.Member memory member)
        private
        pure
        returns (PlaceStatus)
    {
        if (contributor == intake.coordinator) {
            if (member.stake < intake.minStake) return PlaceStatus.StakeTooLow;
            return intake.entries < intake.maxContributors ? PlaceStatus.Free : PlaceStatus.Full;
        }
        if (member.since >= intake.enrolledBy) return PlaceStatus.EnrolledTooLate;
        if (member.enrolled < intake.minStake) return PlaceStatus.StakeTooLow;
        if (!Places.has(intake.draw, contributor, member.enrolled)) return PlaceStatus.NotDrawn;
        return intake.entries < intake.places ? PlaceStatus.Free : PlaceStatus.Full;
    }

    function _requirePlace(Intake memory intake, address contributor, IStakeVault.Member memory member) private pure {
        PlaceStatus status = _placeStatus(intake, contributor, member);
        if (status == PlaceStatus.Free) return;
        RoundId id = _roundOf(intake);
        if (status == PlaceStatus.EnrolledTooLate) {
            revert RoundLedgerEnrolledTooLate(id, contributor, member.since, intake.enrolledBy);
        }
        if (status == PlaceStatus.NotDrawn) {
            revert RoundLedgerNoPlace(id, contributor, member.enrolled, intake.draw.quota);
        }
        bool isCoordinator = contributor == intake.coordinator;
        if (status == PlaceStatus.Full) {
            revert RoundLedgerRoundFull(id, isCoordinator ? intake.maxContributors : intake.places);
        }
        uint256 staked = isCoordinator ? member.stake : member.enrolled;
        revert RoundLedgerStakeTooLow(contributor, staked, intake.minStake);
    }

    function _requireAnchorable(RoundId id, Round storage round, uint16 minContributors) private view {
        _requireOpen(id, round, Phase.Committed);
        _requireCoordinator(round.coordinator);
        if (block.timestamp < round.commitDeadline) {
            revert RoundLedgerTooEarly(id, block.timestamp, round.commitDeadline);
        }
        if (block.timestamp >= round.anchorDeadline) {
            revert RoundLedgerTooLate(id, block.timestamp, round.anchorDeadline);
        }
        if (round.entries < minContributors) revert RoundLedgerTooFewUpdates(id, round.entries, minContributors);
    }

    /// @return encoded The anchor's ABI encoding.
    /// @return anchorHash Its hash.
    function _requireSound(Anchor calldata anchor_, uint16 entries, bool hasPays)
        private
        pure
        returns (bytes memory encoded, bytes32 anchorHash)
    {
        if (anchor_.weights.length != entries) revert RoundLedgerLengthMismatch(anchor_.weights.length, entries);
        uint256 sum;
        (encoded, sum, anchorHash) = Commitments.encodeAnchor(anchor_);
        if (sum == 0 || sum > MAX_WEIGHT_SUM) revert RoundLedgerInvalidWeights(sum, MAX_WEIGHT_SUM);
        Pays.requireSound(anchor_, hasPays);
        if (
            anchor_.meanRoot == bytes32(0) || anchor_.stateRoot == bytes32(0) || anchor_.verdictHash == bytes32(0)
                || anchor_.artifactsHash == bytes32(0)
        ) revert RoundLedgerZeroRoot();
    }

    function _requireVerifier() private view {
        if (msg.sender != verifier) revert RoundLedgerNotVerifier(msg.sender, verifier);
    }

    function _requireCoordinator(address expected) private view {
        if (msg.sender != expected) revert RoundLedgerNotCoordinator(msg.sender, expected);
    }

    /// @dev For an open round, whatever the time; `required` is what the error says.
    function _requireOpen(RoundId id, Round storage round, Phase required) private view {
        if (round.phase != Phase.Open) revert RoundLedgerWrongPhase(id, round.phase, required);
    }

    function _requirePhase(RoundId id, Phase required) private view {
        Phase current = phase(id);
        if (current != required) revert RoundLedgerWrongPhase(id, current, required);
    }

    function _requireRecorded(bytes32 given, bytes32 recorded) private pure {
        if (given != recorded) revert RoundLedgerRecordMismatch(given, recorded);
    }

    function _cancel(RoundId id, Round storage round, CancelReason reason) private {
        round.phase = Phase.Cancelled;
        emit RoundCancelled(id, reason);
        _unlockBond(round);
    }

    function _unlockBond(Round storage round) private {
        vault.unlockBond(round.coordinator, _termsOf(round).bond);
    }

    /// @dev The phase without `Committed`: an anchored round that does not stand is cancelled.
    function _storedPhase(RoundId id, Round storage round) private view returns (Phase current) {
        current = round.phase;
        // slither-disable-next-line incorrect-equality
        if (current == Phase.Anchored && !_standing.has(id, round.position)) return Phase.Cancelled;
    }

    function _member(address account) private view returns (IStakeVault.Member memory member) {
        // Widened before, because assembly could see bits above an address.
        uint256 word = uint160(account);
        assembly ("memory-safe") {
            // Where `_askMembers` expects it.
            mstore(add(mload(0x40), 0x44), word)
        }
        uint256 place = _askMembers(1);
        assembly ("memory-safe") {
            member := place
        }
    }

    /// @return member The first of a batch's contributors; the others follow it in memory, in four words each.
    function _membersOf(bytes calldata batch, uint256 count) private view returns (IStakeVault.Member memory member) {
        assembly ("memory-safe") {
            // Where `_askMembers` expects them.
            let to := add(mload(0x40), 0x44)
            let from := batch.offset
            for { let end := add(from, mul(count, 0x9c)) } lt(from, end) { from := add(from, 0x9c) } {
                mstore(to, shr(96, calldataload(from)))
                to := add(to, 0x20)
            }
        }
        uint256 place = _askMembers(count);
        assembly ("memory-safe") {
            member := place
        }
    }

    /// @dev `vault.members` of the accounts that the caller has written from 0x44 bytes after the free memory pointer on,
    /// without decoding. An answer of another shape reverts without data.
    /// @return place Where the members are in memory, four words each.
    function _askMembers(uint256 count) private view returns (uint256 place) {
        address vault_ = address(vault);
        bytes32 selector = IStakeVault.members.selector;
        assembly ("memory-safe") {
            // Request and answer are written in the same place. The free memory pointer is moved to the answer's end.
            let request := mload(0x40)
            mstore(request, selector)
            mstore(add(request, 0x04), 0x20)
            mstore(add(request, 0x24), count)
            let size := add(0x40, shl(7, count))
            let sound := staticcall(gas(), vault_, request, add(0x44, shl(5, count)), request, size)
            sound := and(sound, eq(returndatasize(), size))
            sound := and(sound, eq(mload(add(request, 0x20)), count))
            if iszero(sound) { revert(0, 0) }
            place := add(request, 0x40)
            mstore(0x40, add(request, size))
        }
    }
}
