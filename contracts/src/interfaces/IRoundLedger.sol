// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Places } from "../libraries/Places.sol";
import { IAdmission } from "./IAdmission.sol";
import { IAttendance } from "./IAttendance.sol";
import { IOdometer } from "./IOdometer.sol";
import { IPolicies } from "./IPolicies.sol";
import { PolicyId, RoundId } from "../libraries/Types.sol";

/// @title The record of training: rounds, commitments, anchors and finality.
/// @notice A round goes Open -> (commit window ends) Committed -> Anchored -> (challenge window ends) Final, or it ends
/// as Cancelled or Slashed. Training moves the head forward round by round. The ModelRegistry stores the released
/// version, which needs a vote.
/// @dev The formats behind every hash are fixed in docs/protocol.md. EIP-712 domain: name "Folkmoot", version "2".
interface IRoundLedger {
    /// @notice Phase of a round. `Committed` is never stored: it is `Open` with the commit window over.
    enum Phase {
        None,
        Open,
        Committed,
        Anchored,
        Final,
        Cancelled,
        Slashed
    }

    /// @notice Why a round was cancelled.
    enum CancelReason {
        TooFewUpdates,
        AnchorLate,
        BaseVoided,
        Empty
    }

    /// @notice Why an account is no longer enrolled.
    enum LeaveReason {
        Own,
        StakeTooLow,
        Absent,
        NotAdmitted
    }

    /// @notice A round in the ledger's storage.
    struct Round {
        /// @notice Policy of the round.
        PolicyId policy;
        /// @notice Phase, without `Committed`, which `phase()` derives.
        Phase phase;
        /// @notice Number of commitments recorded.
        uint16 entries;
        /// @notice Unix time of the opening.
        uint40 openedAt;
        /// @notice Unix time from which no commitment is taken. `closeCommits` can move it forward to its own time.
        uint40 commitDeadline;
        /// @notice Unix time from which the anchor is late.
        uint40 anchorDeadline;
        /// @notice Unix time from which the round may be finalized. Zero until anchored; `postpone` moves it.
        uint40 challengeDeadline;
        /// @notice Account that opened the round and whose bond answers for it.
        address coordinator;
        /// @notice Round of the base state.
        RoundId base;
        /// @notice Place among the rounds that stand, the genesis being at 0; zero until anchored.
        uint24 position;
        /// @notice keccak256 of the round header.
        bytes32 headerHash;
        /// @notice Rolling hash of the entries, see `entriesHash` in docs/protocol.md.
        bytes32 entriesHash;
        /// @notice State root after the round; of the genesis for round 0; zero until anchored.
        bytes32 stateRoot;
        /// @notice Hash of the `Anchor`, see section 11 of docs/protocol.md; zero until anchored.
        bytes32 anchorHash;
    }

    /// @notice The message that a contributor signs.
    struct Commitment {
        /// @notice Account that commits; the signer, or a contract that accepts the signature by ERC-1271.
        address contributor;
        /// @notice Round that the update is for.
        RoundId round;
        /// @notice State root of the base.
        bytes32 baseStateRoot;
        /// @notice Root of the update's Merkle-sum tree.
        bytes32 updateRoot;
        /// @notice Sum of squares of the update's integers, as the tree binds it.
        uint64 sumSquares;
        /// @notice Hash of what the contributor's training keeps from round to round, or zero. Only the contributor can
        /// check it.
        bytes32 memoryHash;
        /// @notice sha256 of the Flower App Bundle that ran, zero if none.
        bytes32 bundleHash;
    }

    /// @notice A recorded commitment, for the settlement (`IRewards`).
    struct Entry {
        /// @notice Account that committed.
        address contributor;
        /// @notice EIP-712 struct hash of its commitment.
        bytes32 commitmentHash;
    }

    /// @notice The coordinator's claims about a round.
    struct Anchor {
        /// @notice One weight per entry, in the order of the entries.
        uint32[] weights;
        /// @notice Under the rule `clamped_mean` one pay per entry: the part of a full place that it gets, in 1/65536. It is
        /// 0 where the weight is 0. Empty under other rules, which pay by weight.
        uint32[] pays;
        /// @notice One bit per entry, the lowest for the first: whether the committed update was delivered.
        uint256 delivered;
        /// @notice Root of the mean's Merkle tree.
        bytes32 meanRoot;
        /// @notice State root after the outer step.
        bytes32 stateRoot;
        /// @notice Root of the tree over the leaves' partial Gram matrices, where the policy's rule can be proven by it
        /// (docs/protocol.md, section 3); zero elsewhere.
        bytes32 gramRoot;
        /// @notice keccak256 of the verdicts file.
        bytes32 verdictHash;
        /// @notice keccak256 of the artifacts file, which lists the sha256 of every public file of the round.
        bytes32 artifactsHash;
        /// @notice Root of the tree over the entries and their weights (docs/protocol.md, section 3).
        bytes32 entriesRoot;
    }

    /// @notice Emitted when the coordinator is appointed (also at deployment, with `previous` zero).
    event CoordinatorAppointed(address indexed previous, address indexed coordinator);
    /// @notice Emitted when a round opens.
    event RoundOpened(
        RoundId indexed round,
        PolicyId indexed policyId,
        address indexed coordinator,
        RoundId base,
        bytes32 baseStateRoot,
        bytes32 headerHash,
        uint40 commitDeadline,
        uint40 anchorDeadline
    );
    /// @notice Emitted when commitments are recorded, once a call. The entries of a round are numbered from 0, and `first`
    /// is the number of the first of these. Each has 92 bytes in `entries`: 20 of its `contributor`, 32 of `updateRoot`, 8
    /// of `sumSquares` and 32 of `memoryHash`, numbers big-endian.
    event UpdatesCommitted(RoundId indexed round, uint16 first, bytes32 bundleHash, bytes entries);
    /// @notice Emitted when an account enrols with so much of its stake, or changes how much.
    event Enrolled(address indexed account, uint256 amount);
    /// @notice Emitted when more stake is enrolled than a round has places: an account has a place if it has `quota`
    /// enrolled since before `at`, or a part of it and its lot, drawn from `seed`, says so (`Places`). The seed is the
    /// lowest 120 bits of the hash of the block of the last anchor, or of the last `IStakeVault.Redrawn` if that came later.
    event PlacesDrawn(RoundId indexed round, uint96 quota, uint40 at, uint120 seed);
    /// @notice Emitted when an account is not enrolled any more. No round waits for it from then on, and it can't commit.
    event Left(address indexed account, LeaveReason reason);
    /// @notice Emitted when the coordinator ends a commit window early; the two deadlines are the new ones.
    event CommitsClosed(RoundId indexed round, uint40 commitDeadline, uint40 anchorDeadline);
    /// @notice Emitted when the coordinator anchors a round.
    event RoundAnchored(RoundId indexed round, Anchor anchor, uint40 challengeDeadline);
    /// @notice Emitted when a round becomes final: its state is a candidate version.
    event RoundFinalized(RoundId indexed round, bytes32 stateRoot);
    /// @notice Emitted when a round is cancelled; the head stays where it was.
    event RoundCancelled(RoundId indexed round, CancelReason reason);
    /// @notice Emitted when a verifier proved fraud. All anchored rounds that build on it are void from now on: their
    /// phase is `Cancelled`, and `RoundCancelled` follows for the open round alone. The head is the round's base again.
    event RoundSlashed(RoundId indexed round, address indexed verifier, address indexed challenger, uint256 bond);
    /// @notice Emitted when a fault of a contributor was proven; `taken` is what could be taken. The round stands.
    event ContributorSlashed(
        RoundId indexed round, address indexed contributor, address indexed challenger, uint256 taken
    );
    /// @notice Emitted when a round can become final only later than it could before, or earlier again.
    event RoundPostponed(RoundId indexed round, uint40 challengeDeadline);

    /// @notice Thrown when somebody other than governance appoints a coordinator.
    error RoundLedgerNotGovernance(address caller, address governance);
    /// @notice Thrown when somebody other than the coordinator opens or anchors.
    error RoundLedgerNotCoordinator(address caller, address coordinator);
    /// @notice Thrown when the expected number of the next round is not the real one.
    error RoundLedgerUnexpectedRound(RoundId expected, RoundId next);
    /// @notice Thrown when a batch of commitments is not a whole number of entries.
    error RoundLedgerMalformedBatch(uint256 length, uint256 entryBytes);
    /// @notice Thrown when a round is to be opened while the previous one is still open.
    error RoundLedgerRoundStillOpen(RoundId round);
    /// @notice Thrown when too many anchored rounds wait to become final; finalize first.
    error RoundLedgerTooManyPending(uint256 pending, uint256 max);
    /// @notice Thrown when a round with too few commitments is to be anchored.
    error RoundLedgerTooFewUpdates(RoundId round, uint16 entries, uint16 minContributors);
    /// @notice Thrown when a base state root is not the one of the round's base (or of the head, when opening).
    error RoundLedgerWrongBase(bytes32 given, bytes32 required);
    /// @notice Thrown when the round is not in the phase that the call needs.
    error RoundLedgerWrongPhase(RoundId round, Phase current, Phase required);
    /// @notice Thrown when a call comes before its time.
    error RoundLedgerTooEarly(RoundId round, uint256 time, uint256 notBefore);
    /// @notice Thrown when a call comes after its time.
    error RoundLedgerTooLate(RoundId round, uint256 time, uint256 deadline);
    /// @notice Thrown when stake is below what the policy asks.
    error RoundLedgerStakeTooLow(address account, uint256 stake, uint256 required);
    /// @notice Thrown when an account that has committed in a round commits on its own again.
    error RoundLedgerAlreadyCommitted(RoundId round, address contributor);
    /// @notice Thrown when the signature is not the contributor's.
    error RoundLedgerInvalidSignature(address contributor);
    /// @notice Thrown when the caller of `commitUpdate` is not the contributor of the commitment.
    error RoundLedgerNotContributor(address caller, address contributor);
    /// @notice Thrown when the sum of squares is above the policy's cap.
    error RoundLedgerNormTooLarge(address contributor, uint64 sumSquares, uint64 cap);
    /// @notice Thrown when the sum of squares is below the policy's floor.
    error RoundLedgerNormTooSmall(address contributor, uint64 sumSquares, uint64 minSumSquares);
    /// @notice Thrown when an update would take what a member has spent of its privacy budget beyond the policy's cap. The
    /// member is named by its number (`IStakeVault.members`).
    error RoundLedgerBudgetSpent(uint256 member, uint256 spent, uint256 cost, uint256 cap);
    /// @notice Thrown when the round already has as many commitments as its policy takes.
    error RoundLedgerRoundFull(RoundId round, uint256 places);
    /// @notice Thrown when an account that is not enrolled with a quota was not drawn for a place in the round.
    error RoundLedgerNoPlace(RoundId round, address account, uint256 enrolled, uint256 quota);
    /// @notice Thrown when an account enrolled, or enrolled more, too late: when the round was open already, or in a crowd
    /// when the basis of its draw was noted.
    error RoundLedgerEnrolledTooLate(RoundId round, address account, uint256 since, uint256 enrolledBy);
    /// @notice Thrown when the admission contract does not admit an account, or gives no answer.
    error RoundLedgerNotAdmitted(address account, address admission);
    /// @notice Thrown when a commit window is to be closed in a crowd while places are left.
    error RoundLedgerPlacesLeft(RoundId round, uint256 entries, uint256 places);
    /// @notice Thrown when a commit window is to be closed while enrolled accounts can still commit.
    /// @param wordIndex Index of the first word of member numbers in which some are missing.
    /// @param members One bit a missing member: that of number `256 * wordIndex + i` is bit `i`.
    error RoundLedgerMembersMissing(RoundId round, uint256 wordIndex, uint256 members);
    /// @notice Thrown when a commit window is to be closed and no enrolled account counts in the round.
    error RoundLedgerNobodyEnrolled(RoundId round);
    /// @notice Thrown when an account must be enrolled but is not.
    error RoundLedgerNotEnrolled(address account);
    /// @notice Thrown when an enrolled account is to be removed that has the stake and has not missed enough rounds.
    error RoundLedgerNotAbsent(address account, uint256 missed, uint256 required);
    /// @notice Thrown when a round that has commitments is to be cancelled as an empty one.
    error RoundLedgerNotEmpty(RoundId round, uint16 entries);
    /// @notice Thrown when two lists that belong together differ in length.
    error RoundLedgerLengthMismatch(uint256 given, uint256 required);
    /// @notice Thrown when weights add up to zero, or to more than 32-bit lanes can carry.
    error RoundLedgerInvalidWeights(uint256 sum, uint256 max);
    /// @notice Thrown when an entry's pay is above a full place, or above zero for an entry that does not count.
    error RoundLedgerInvalidPay(uint256 entry, uint256 pay, uint256 max);
    /// @notice Thrown when a root that must be set is zero.
    error RoundLedgerZeroRoot();
    /// @notice Thrown when a round can't be finalized because the round it builds on is not final.
    error RoundLedgerBaseNotFinal(RoundId round, RoundId base);
    /// @notice Thrown when a round with enough updates and time left is asked to be cancelled.
    error RoundLedgerNotCancellable(RoundId round);
    /// @notice Thrown when the bond of a round is to be released that is not void, or was released before.
    error RoundLedgerNotVoid(RoundId round, Phase current);
    /// @notice Thrown when a fault is reported of an account that has no commitment in the round.
    error RoundLedgerNotCommitted(RoundId round, address contributor);
    /// @notice Thrown on a second report of one contributor in one round.
    error RoundLedgerAlreadyReported(RoundId round, address contributor);
    /// @notice Thrown when somebody other than the policy's verifier reports fraud or a fault, or postpones.
    error RoundLedgerNotVerifier(address caller, address verifier);
    /// @notice Thrown when entries are not the recorded ones.
    error RoundLedgerRecordMismatch(bytes32 given, bytes32 recorded);
    /// @notice Thrown when an address that must be set is zero.
    error RoundLedgerZeroAddress();

    /// @notice Appoint the coordinator of future rounds.
    /// @dev Only governance. Warning: a round under way stays with the coordinator that opened it.
    function appointCoordinator(address appointed) external;

    /// @notice Open the next round on the head.
    /// @dev Only the coordinator, and only when no round is open. Locks the policy's bond, on top of those of all rounds
    /// that are not final yet, until the round is over.
    /// @param expected Number that the caller expects the round to get.
    /// @param baseStateRoot State root of the head, as the caller sees it.
    /// @param headerHash keccak256 of the round header (docs/protocol.md).
    function openRound(RoundId expected, bytes32 baseStateRoot, bytes32 headerHash) external;

    /// @notice Record a batch of commitments, signed by the contributors' keys. Anybody may send it, because the signatures
    /// are checked. For a contributor that is a contract there is `commitUpdateFor`.
    /// @dev Passes over accounts that have committed in the round, and signed entries of accounts that have no place in it
    /// (`hasPlace`) or find it full: nobody makes a batch fail by committing first, by leaving or by taking stake out. What
    /// no contributor can change once the coordinator has its commitment makes the whole batch revert, with the error that
    /// names the entry: the signature, the norm, the root and the privacy budget. The signed commitments name this round,
    /// its base and this bundle: with others, the signatures are not the contributors'.
    /// Warning: a batch in which nobody was recorded does not revert. `UpdatesCommitted` has the entries that were recorded.
    /// Warning: whoever signs two commitments for one round lets others choose which one counts.
    /// Entries cost less when members of one 256 of numbers (`IStakeVault.members`) follow each other.
    /// @param bundleHash The `bundleHash` of all commitments of the batch.
    /// @param batch The entries, of 156 bytes each: 20 of `contributor`, 32 of `updateRoot`, 8 of `sumSquares`, 32 of
    /// `memoryHash`, numbers big-endian, and a compact signature (ERC-2098) of 64 bytes.
    function commitUpdates(RoundId round, bytes32 bundleHash, bytes calldata batch) external;

    /// @notice Record the caller's own commitment.
    function commitUpdate(Commitment calldata commitment) external;

    /// @notice Record one signed commitment. Anybody may send it. The signature is of 65 bytes, or whatever a contributor
    /// that is a contract accepts (ERC-1271).
    /// @dev Warning: a contributor that is a contract is called to check its signature and can waste gas; simulate first.
    function commitUpdateFor(Commitment calldata commitment, bytes calldata signature) external;

    /// @notice Enrol the caller with so much of its stake: it may commit in the rounds that open from the next second on.
    /// @dev Needs the minimum stake of the current policy, and in a closed federation the word of the admission contract.
    /// A round waits for everybody who is enrolled, unless there is a crowd or all places are taken. Calling again sets
    /// another amount: with more than before the caller does not count in the round that is open.
    /// Enrolled stake stays the caller's and votes. It can be taken out as any other, which makes the enrolment smaller.
    /// In a crowd, the share of the places that the caller gets follows from the amount.
    /// Warning: whoever is enrolled and absent lets each round last for its whole commit window, until it is removed.
    function enrol(uint256 amount) external;

    /// @notice Remove the caller from the enrolled accounts. It can't commit any more, in the open round either, and
    /// enrolling again does not change that.
    function leave() external;

    /// @notice Remove an enrolled account that can't commit, that misses rounds, or that is admitted no more.
    /// @dev Anybody. Either its enrolled stake is below the minimum: of the open round's policy if a commit window runs,
    /// else of the current policy. Or, while no commit window runs, the admission contract says that the account is not
    /// admitted. Or it is absent: since it enrolled, and since it last committed, three rounds were anchored
    /// in which a place was left for it, among the 256 newest rounds; all of these ran for their whole window. Rounds
    /// that are cancelled or void, full ones, and crowded ones in which it was not drawn, are not counted as missed, so a
    /// coordinator can't get rid of an account by rounds that it opens and cancels, or fills with accounts of its own. An
    /// absent account can't be removed while a commit window runs: who is training has its whole window. It loses no
    /// stake, and can enrol again.
    function remove(address account) external;

    /// @notice End the commit window of a round now. The anchor window begins at once.
    /// @dev Only the coordinator that opened the round, while commitments are taken. Either all places are taken, or
    /// there is no crowd and enough commitments to anchor the round, somebody counts in it (see `counts`), and everybody
    /// who counts has committed. Not for anybody: the coordinator may wait for its own root update.
    /// Warning: an enrolled contributor that wants to deliver on chain (`IDataAvailability.deliver`) must do so before
    /// it commits: its commitment may be the one that the window waits for.
    function closeCommits(RoundId round) external;

    /// @notice Anchor the outcome of a round. The new state becomes the head at once; it is final after the challenge
    /// window.
    /// @dev Only the coordinator that opened the round, between the commit and the anchor deadline.
    /// Warning: a wrong anchor costs the whole bond once a verifier proves it.
    /// @param entriesHash Hash of the entries that the anchor is about. If a reorganisation of the chain has changed their
    /// order, the weights would be on the wrong entries, and the call reverts.
    function anchor(RoundId round, bytes32 entriesHash, Anchor calldata anchor_) external;

    /// @notice Make a round final after its challenge window and register its state as a candidate version.
    /// @dev Anybody. Rounds become final in order: the base must be final.
    function finalize(RoundId round) external;

    /// @notice Cancel a round with too few commitments after its commit window, or without an anchor after its anchor
    /// window. The head stays where it was and the next round can be opened.
    /// @dev Anybody. Warning: the work that contributors put into a cancelled round is not paid.
    function cancel(RoundId round) external;

    /// @notice Cancel an open round in which nobody has committed, at any time.
    /// @dev Only the coordinator that opened the round. It takes nothing from anybody: there is no commitment to pay.
    function cancelEmpty(RoundId round) external;

    /// @notice Unlock the bond of a void round: it was anchored on a round that was proven wrong.
    /// @dev Anybody, once a round. Emits `RoundCancelled`; the round was void before.
    function releaseVoid(RoundId round) external;

    /// @notice Void a round whose anchor was proven wrong, take the bond, and put the head back to the round's base.
    /// @dev Only the verifier that the round's policy names, before the round is final. All rounds on top of it are void in
    /// the same call, however many; the open one is cancelled. A quarter of the bond goes to the challenger, the rest is
    /// burnt; if the challenger is zero (a vote convicts), all of it is burnt. The bonds of void rounds stay locked until
    /// `releaseVoid`: nobody could prove anything against them any more.
    /// Warning: contributors of voided rounds are not paid for them.
    /// Warning: the verifier is trusted; one that reports honest rounds burns honest bonds. No vote can replace it.
    function reportFraud(RoundId round, address challenger) external;

    /// @notice Take the policy's minimum stake from a contributor whose fault in a round was proven. The round stands.
    /// @dev Only the verifier that the round's policy names, once a round and contributor, and for as long as stake that
    /// was there at the opening can't have left: the vault's unbonding time, from the opening on. Whatever became of the
    /// round, the contributor's signature stands. A quarter of what is taken goes to the challenger, the rest is burnt.
    /// Warning: as with `reportFraud`, the verifier is trusted.
    function reportFault(RoundId round, address contributor, address challenger) external;

    /// @notice Let a round become final from `until` on. An earlier time than the present deadline takes a postponement
    /// back.
    /// @dev Only the verifier that the round's policy names, before the round is final. Never beyond two unbonding times
    /// after the opening, so nobody can hold a round for ever; as the windows fit into the first of them, a judge always
    /// has one unbonding time from the end of the challenge window. The bond is locked until the round is final, however
    /// long the deadline moves.
    /// Warning: the verifier is trusted with the deadline. `Arbiter` moves it back only to where it would be without a hold.
    /// Warning: rounds that build on this one wait with it, and so do their rewards and bonds.
    function postpone(RoundId round, uint40 until) external;

    /// @notice Phase of a round, with `Committed` derived from the time.
    function phase(RoundId round) external view returns (Phase);

    /// @notice What is stored of a round; all zero if it does not exist.
    function rounds(RoundId round) external view returns (Round memory);

    /// @notice Head: the base of the next round, and its state root.
    function head() external view returns (RoundId round, bytes32 stateRoot);

    /// @notice Number of anchored rounds that are not final yet.
    function pendingRounds() external view returns (uint256);

    /// @notice Number that the next round gets.
    function nextRound() external view returns (RoundId);

    /// @notice Coordinator of the next round.
    function coordinator() external view returns (address);

    /// @notice Whether `contributor` has a commitment in `round`.
    function hasCommitted(RoundId round, address contributor) external view returns (bool);

    /// @notice Whether `account` is on the list of the enrolled.
    function isEnrolled(address account) external view returns (bool);

    /// @notice Whether `account` has a place in `round`: it may commit as long as the round is not full.
    function hasPlace(RoundId round, address account) external view returns (bool);

    /// @notice The draw of a round's places; all zero if there was no crowd.
    function draws(RoundId round) external view returns (Places.Draw memory);

    /// @notice Who admits accounts; zero if everybody is admitted who has the stake. Fixed at deployment.
    function admission() external view returns (IAdmission);

    /// @notice EIP-712 struct hash of a commitment (without the domain).
    function hashCommitment(Commitment calldata commitment) external pure returns (bytes32);

    /// @notice EIP-712 digest of a commitment: what is signed.
    function commitmentDigest(Commitment calldata commitment) external view returns (bytes32);

    /// @notice Hash of the manifest (docs/protocol.md), fixed at deployment.
    function manifestHash() external view returns (bytes32);

    /// @notice keccak256 of the genesis file (docs/protocol.md section 11), fixed at deployment. It names the manifest,
    /// the initial state and the first exponents.
    function genesisHash() external view returns (bytes32);

    /// @notice Who appoints coordinators: the timelock, which also adds policies. Fixed at deployment, as all that follow.
    function governance() external view returns (address);

    /// @notice The policies that rounds pin.
    function policies() external view returns (IPolicies);

    /// @notice The verifier of every policy: the arbiter.
    function verifier() external view returns (address);

    /// @notice What each contributor has spent of its privacy budget, in all rounds of this ledger.
    function odometer() external view returns (IOdometer);

    /// @notice How many rounds an enrolled account has missed.
    function attendance() external view returns (IAttendance);
}
