// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { RoundId } from "../libraries/Types.sol";
import { IJudge } from "./IJudge.sol";
import { IRoundLedger } from "./IRoundLedger.sol";

/// @title Anchored data must be published on demand, and delivered updates must be counted as delivered.
/// @notice **Demands.** While a round may be challenged, anybody may demand, with a deposit, one leaf of a delivered
/// update, of the aggregate or of the new state, or a small file. Whoever answers on chain in time gets the deposit. If
/// nobody does, the round is void, the coordinator pays, and the demander has the deposit back and half of the bond.
///
/// **Deliveries.** A contributor that fears to be left out commits on its own (`commitUpdate`) and delivers the whole
/// update on chain within the commit window, part by part; the contract checks every byte against the update's root. A
/// coordinator that then anchors it as not delivered loses its bond. A mere *offer* to answer demands for single leaves
/// would not do: a contributor could answer those and withhold all others, and an honest coordinator, who can't sum what
/// it has not got, would pay. With every byte on chain there is nothing to argue about.
/// @dev Who could do harm to whom, and what stops it:
/// - *Demands to hold a round.* An answer window bounds each; demands end with the regular challenge window, so a round
///   is held for two answer windows beyond it at most, whoever demands however often.
/// - *Demands to overrun an honest coordinator.* Strangers have at most MAX_OPEN demands open a round, all together, and
///   a committer of the round MAX_A_CALLER in all. Each answer is paid by the deposit, which should cover its gas.
/// - *Demands of one's own, to keep others from demanding.* A coordinator can fill the strangers' places with its own.
///   It can't take the places of the round's contributors: those who have reason to look can always ask.
/// - *Demands for what an honest coordinator can't show.* Only for places that exist, in trees that it built or checked
///   itself, and for files that fit into a transaction.
/// - *Racing.* A conviction is possible from the end of the answer window on, and the round can't become final for
///   another answer window. Answers come before the end of the answer window only. Neither can be outrun.
/// - *Deliveries to trip an honest coordinator.* They end with the commit window, so it has the whole anchor window to
///   read them; the bytes are in the events. A tree that does not add up can't be delivered.
/// Warning: a coordinator must watch this contract: for demands while its rounds can be challenged, and for deliveries
/// before it anchors.
/// Warning: the answer to a demand is public, and so are delivered updates, as all updates are after their round.
interface IDataAvailability is IJudge {
    /// @notice Kinds of demanded data.
    enum What {
        Update,
        Aggregate,
        Theta,
        Momentum,
        Header,
        Verdicts,
        Artifacts
    }

    /// @notice Status of a demand. `Convicted` and `Returned`: the deposit went back to the demander.
    enum Status {
        None,
        Open,
        Answered,
        Convicted,
        Returned
    }

    /// @notice One demand.
    struct Demand {
        /// @notice Round of the demanded data.
        RoundId round;
        /// @notice Unix time until which it can be answered.
        uint40 answerBy;
        /// @notice Kind of the demanded data.
        What what;
        /// @notice Status of the demand.
        Status status;
        /// @notice Whether it counts among the open demands of accounts that are not contributors of the round.
        bool stranger;
        /// @notice Depth of the tree; zero for a file.
        uint8 depth;
        /// @notice Account that demands.
        address demander;
        /// @notice Index of the leaf; zero for a file.
        uint64 place;
        /// @notice What the answer must lead to: a root, the state root for theta and momentum, a file's keccak256.
        bytes32 root;
    }

    /// @notice How much of an update was delivered on chain.
    struct Delivery {
        /// @notice Parts that it has; zero if nothing came yet.
        uint32 parts;
        /// @notice Parts that are missing.
        uint32 missing;
        /// @notice Sum of squares that its tree has.
        uint64 sumSquares;
    }

    /// @notice Emitted for each demand.
    /// @param entry Number of the entry of which a leaf is demanded; zero for everything else.
    event Demanded(
        uint256 indexed demand,
        RoundId indexed round,
        address indexed demander,
        What what,
        uint256 entry,
        uint256 place,
        uint40 answerBy
    );
    /// @notice Emitted with what was demanded: the leaf or file, and the siblings of a leaf one after the other, from
    /// the lowest up (48 bytes each for an update, 32 for everything else).
    event Answered(uint256 indexed demand, address indexed answerer, bytes values, bytes siblings);
    /// @notice Emitted when nobody answered in time, beside what the ledger and the vault emit.
    event Withheld(uint256 indexed demand, RoundId indexed round, address indexed demander);
    /// @notice Emitted when a deposit went back because the round is over.
    event Returned(uint256 indexed demand, address indexed demander);
    /// @notice Emitted with the bytes of one part of an update. `missing` parts are still to come.
    event Delivered(
        RoundId indexed round,
        address indexed contributor,
        bytes32 indexed updateRoot,
        uint256 part,
        uint256 missing,
        bytes values
    );
    /// @notice Emitted when a delivered update was anchored as not delivered, beside what the ledger and the vault emit.
    event Censored(RoundId indexed round, address indexed contributor, uint256 entry);

    /// @notice Thrown when a demand comes after the regular challenge window.
    error DataAvailabilityTooLate(RoundId round, uint256 time, uint256 deadline);
    /// @notice Thrown when all places for demands of strangers are taken; wait, or demand as a contributor.
    error DataAvailabilityTooManyOpen(RoundId round, uint256 max);
    /// @notice Thrown when the caller has made all demands that it may make in a round.
    error DataAvailabilityTooManyDemands(RoundId round, address caller, uint256 max);
    /// @notice Thrown when a leaf is demanded by the function for files, or the other way round, or the verdicts of a
    /// round with more than MAX_VERDICTS entries.
    error DataAvailabilityNotDemandable(What what);
    /// @notice Thrown when a leaf of an update is demanded that the anchor says did not arrive.
    error DataAvailabilityNotDelivered(uint256 entry);
    /// @notice Thrown when a demand does not have the status that the call needs.
    error DataAvailabilityWrongStatus(uint256 demand, Status current);
    /// @notice Thrown when an answer comes too late, or a conviction too early.
    error DataAvailabilityWrongTime(uint256 demand, uint256 time, uint256 answerBy);
    /// @notice Thrown when a demand is to be closed while its round may still be convicted for it.
    error DataAvailabilityStillJudged(uint256 demand);
    /// @notice Thrown when an update is delivered outside of the commit window.
    error DataAvailabilityNotOpen(RoundId round, IRoundLedger.Phase phase);
    /// @notice Thrown when a part is delivered twice.
    error DataAvailabilityAlreadyDelivered(uint256 part);
    /// @notice Thrown when padding is not zero.
    error DataAvailabilityInvalidPadding(uint256 leaf, uint256 coordinate);
    /// @notice Thrown when an entry was counted as delivered, or not all of it was delivered here.
    error DataAvailabilityNotCensored(uint256 entry);
    /// @notice Thrown at deployment when two answer windows are longer than the vault's unbonding time, or zero.
    error DataAvailabilityInvalidWindow(uint256 given, uint256 max);

    /// @notice Token of the deposits.
    function token() external view returns (IERC20);

    /// @notice Tokens that a demand costs until it is answered.
    function deposit() external view returns (uint256);

    /// @notice Seconds in which a demand can be answered. A conviction has as many again.
    function answerWindow() external view returns (uint40);

    /// @notice Number of demands made. They count from 1.
    function demandCount() external view returns (uint256);

    /// @notice A demand; all zero if there is none.
    function demands(uint256 demand) external view returns (Demand memory);

    /// @notice What is delivered of an update.
    function deliveries(RoundId round, address contributor, bytes32 updateRoot) external view returns (Delivery memory);

    /// @notice Open demands of strangers about a round.
    function openDemands(RoundId round) external view returns (uint256);

    /// @notice Demands that `caller` made about a round.
    function demandsBy(RoundId round, address caller) external view returns (uint256);

    /// @notice Demand a leaf of an update that the anchor says arrived.
    /// @dev Needs an allowance of the deposit. Warning: the deposit is gone if the demand is answered.
    /// @param entries All of the round, in order, without leaves.
    /// @param entry Number of the entry.
    /// @param place Index of the leaf.
    function demandUpdate(Case calldata case_, Entry[] calldata entries, uint256 entry, uint256 place)
        external
        returns (uint256 demand);

    /// @notice Demand a leaf of the aggregate, or of theta or momentum after the round.
    /// @dev As `demandUpdate`.
    function demandLeaf(Case calldata case_, What what, uint256 place) external returns (uint256 demand);

    /// @notice Demand the round header, the artifacts file, or the verdicts file of a round with at most MAX_VERDICTS
    /// entries.
    /// @dev As `demandUpdate`. Warning to coordinators: an artifacts file or header that is too large for a transaction
    /// can't be answered with. The formats keep both far below that, for up to 256 entries and some thousand tensors.
    function demandFile(RoundId round, IRoundLedger.Anchor calldata anchor, What what) external returns (uint256 demand);

    /// @notice Answer a demand for a leaf of an update. Anybody may, and gets the deposit.
    /// @dev Warning: an answer can be copied from the public mempool, and the deposit with it. The demand is answered
    /// either way.
    /// @param absolute Sum of |q| over the leaf, as the tree has it.
    /// @param squares Sum of q^2 over the leaf, as the tree has it.
    /// @param siblings From the lowest up, 48 bytes each: hash, uint64 sum of |q|, uint64 sum of q^2.
    function answerUpdate(
        uint256 demand,
        bytes calldata values,
        uint64 absolute,
        uint64 squares,
        bytes calldata siblings
    ) external;

    /// @notice Answer a demand for a leaf of the aggregate, theta or momentum.
    /// @dev As `answerUpdate`.
    /// @param siblings From the lowest up.
    /// @param other Root of the momentum tree for theta, of the theta tree for momentum; ignored for the aggregate.
    function answerLeaf(uint256 demand, bytes calldata values, bytes32[] calldata siblings, bytes32 other) external;

    /// @notice Answer a demand for a file.
    /// @dev As `answerUpdate`.
    function answerFile(uint256 demand, bytes calldata values) external;

    /// @notice Void a round because a demand was not answered in time. Anybody may call; the demander is the challenger.
    function proveWithheld(uint256 demand) external;

    /// @notice Give the deposit of an open demand back whose round is over: final, void or cancelled. Anybody may call.
    function release(uint256 demand) external;

    /// @notice Deliver a part of one's own update on chain, within the commit window.
    /// @dev A part has 2^PART_DEPTH leaves; the last one those that are left. All parts may come in any order. It counts
    /// once all are there and the round has an entry of the caller with this root. An enrolled account should deliver
    /// before it commits: its commitment may be the one without which the coordinator can't end the window.
    /// Warning: it costs about as much gas as everything else together; it is meant for those who would be left out.
    /// @param updateRoot Root of the update tree.
    /// @param layout Elements of each tensor, a big-endian uint64 each.
    /// @param manifestDocument keccak256 of the manifest file.
    /// @param part Number of the part.
    /// @param values Its leaves.
    /// @param siblings Siblings of the part's node, from the lowest up, 48 bytes each.
    function deliver(
        RoundId round,
        bytes32 updateRoot,
        bytes calldata layout,
        bytes32 manifestDocument,
        uint256 part,
        bytes calldata values,
        bytes calldata siblings
    ) external;

    /// @notice Void a round in which an update that was delivered here was anchored as not delivered. Anybody may call;
    /// the contributor is the challenger.
    /// @dev Until the round is final. Not for an entry whose own sum of squares its tree refutes, which a coordinator
    /// rightly refuses.
    /// @param entries All of the round, in order, without leaves.
    /// @param entry Number of the entry.
    function proveCensored(RoundId round, IRoundLedger.Anchor calldata anchor, Entry[] calldata entries, uint256 entry)
        external;
}
