// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { RoundId } from "../libraries/Types.sol";
import { IJudge } from "./IJudge.sol";
import { IRoundLedger } from "./IRoundLedger.sol";

/// @title Anchored data must be published on demand, and delivered updates must be counted as delivered.
/// @notice **Demands.** While a round may be challenged, anybody may demand, with a deposit, a small file, or the root of
/// the tree of a delivered update, of the mean or of the new state. A root is answered with the list of the nodes a
/// few levels below it (`NodeLists`), from which the contract rebuilds it. Anybody may descend from a shown list to a node
/// on it, list by list, down to a leaf, which is answered with its bytes. So whoever knows what a tree must be follows
/// the nodes that differ, and comes to a place that can be proven wrong. There is one demand for a node, which serves all
/// who want it. Whoever answers on chain in time gets the deposit. If nobody does, the round is void, the coordinator
/// pays, and the demander has the deposit back and a share of the bond.
///
/// **Deliveries.** A contributor that fears to be left out commits on its own (`commitUpdate`) and delivers the whole
/// update on chain within the commit window, part by part; the contract checks every byte against the update's root. A
/// coordinator that then anchors it as not delivered loses its bond. A mere *offer* to answer demands for single leaves
/// would not do: a contributor could answer those and withhold all others, and an honest coordinator, who can't sum what
/// it has not got, would pay. With every byte on chain there is nothing to argue about.
/// @dev Who could do harm to whom, and what stops it:
/// - *Demands to hold a round.* An answer window bounds each. Roots and files are demanded within the regular challenge
///   window, and a list leads on until its end, or for one answer window after the list was shown. A tree has at most
///   MAX_STEPS lists and leaves one below the other, so a round is held for two answer windows a step beyond its own
///   window at most, whoever demands however often.
/// - *Demands to overrun an honest coordinator.* Each node is demanded once, and each answer is paid by the deposit, which
///   should cover its gas. There is no limit to their number: the deposit is what bounds it.
/// - *Demands of one's own, to keep others from demanding.* There are no places to fill. What somebody else demanded is
///   shown to all, and whoever shows it late gives all as much time to go on from there.
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
        Mean,
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
        /// @notice Unix time until which it can be answered. Once it is: until which anybody may descend from it at least.
        uint40 until;
        /// @notice Kind of the demanded data.
        What what;
        /// @notice Status of the demand.
        Status status;
        /// @notice Number of the entry of an update; zero for everything else.
        uint16 entry;
        /// @notice Depth of the tree; zero for a file.
        uint8 depth;
        /// @notice Level of the node: 0 for a leaf or file, the depth for the root.
        uint8 level;
        /// @notice Index of the node within its level; zero for a file.
        uint64 index;
        /// @notice Account that demands.
        address demander;
        /// @notice What the answer must have as its hash: the node, or a file's keccak256; the state root for the roots of
        /// theta and momentum. Once a list was shown: keccak256 of that.
        bytes32 hash;
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
    /// @param entry Number of the entry whose update is demanded; zero for everything else.
    /// @param level Level of the node; zero for a leaf or file.
    /// @param index Index of the node within its level.
    event Demanded(
        uint256 indexed demand,
        RoundId indexed round,
        address indexed demander,
        What what,
        uint256 entry,
        uint256 level,
        uint256 index,
        uint40 answerBy
    );
    /// @notice Emitted with what was demanded: the list, leaf or file.
    /// @param other Root of the momentum tree beside the root of theta, and the other way round; of no meaning otherwise.
    event Answered(uint256 indexed demand, address indexed answerer, bytes values, bytes32 other);
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

    /// @notice Thrown when a demand comes after its time: the regular challenge window, or what a shown list gives.
    error DataAvailabilityTooLate(RoundId round, uint256 time, uint256 deadline);
    /// @notice Thrown when something is demanded a second time. `demand` is the first, which serves all.
    error DataAvailabilityAlreadyDemanded(uint256 demand);
    /// @notice Thrown when a list is left for a place that the tree shows empty.
    error DataAvailabilityEmpty(uint256 index);
    /// @notice Thrown when a tree is demanded by the function for files, or the other way round, when the demand to descend
    /// from is for a leaf or file, and for the verdicts of a round with more than MAX_VERDICTS entries.
    error DataAvailabilityNotDemandable(What what);
    /// @notice Thrown when an update is demanded that the anchor says did not arrive.
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
    /// @notice Thrown at deployment when the answer window is zero, or two for each of MAX_STEPS demands are longer than the
    /// vault's unbonding time.
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

    /// @notice Number of the demand for a node or file; zero if there is none.
    /// @param entry Number of the entry of an update; zero for everything else.
    function demandOf(RoundId round, What what, uint256 entry, uint256 level, uint256 index)
        external
        view
        returns (uint256);

    /// @notice Demand the root of an update that the anchor says arrived.
    /// @dev Needs an allowance of the deposit. Warning: the deposit is gone if the demand is answered.
    /// @param entries All of the round, in order, without leaves.
    /// @param entry Number of the entry.
    function demandUpdate(Case calldata case_, Entry[] calldata entries, uint256 entry)
        external
        returns (uint256 demand);

    /// @notice Demand the root of the mean, or of theta or momentum after the round.
    /// @dev As `demandUpdate`.
    function demandTree(Case calldata case_, What what) external returns (uint256 demand);

    /// @notice Demand the round header, the artifacts file, or the verdicts file of a round with at most MAX_VERDICTS
    /// entries.
    /// @dev As `demandUpdate`. Warning to coordinators: an artifacts file or header that is too large for a transaction
    /// can't be answered with. The formats keep both far below that, for up to 256 entries and some thousand tensors.
    function demandFile(RoundId round, IRoundLedger.Anchor calldata anchor, What what) external returns (uint256 demand);

    /// @notice Demand a node on a list that was shown. Anybody may, whoever demanded the list.
    /// @dev As `demandUpdate`. Possible until the end of the regular challenge window, and for one answer window after the
    /// list was shown.
    /// @param demand The answered demand for the node above.
    /// @param list Its answer.
    /// @param index Place on the list.
    function descend(uint256 demand, bytes calldata list, uint256 index) external returns (uint256 child);

    /// @notice Answer a demand. Anybody may, and gets the deposit.
    /// @dev Warning: an answer can be copied from the public mempool, and the deposit with it. The demand is answered
    /// either way.
    /// @param values For a node: the nodes NodeLists.HEIGHT levels below it, or the leaves if they are nearer, from left to
    /// right (48 bytes each for an update: hash, uint64 sum of |q|, uint64 sum of q^2; 32 for everything else). For a leaf
    /// or a file: its bytes.
    /// @param other For the root of theta: that of momentum. For the root of momentum: that of theta. Ignored otherwise.
    function show(uint256 demand, bytes calldata values, bytes32 other) external;

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
