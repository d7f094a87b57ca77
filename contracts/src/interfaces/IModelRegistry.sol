// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundId } from "../libraries/Types.sol";

/// @title The lineage of model versions, and the active version.
/// @notice Every final round is a candidate version with the round's number. A version becomes active only by an
/// executed vote; an earlier version can be made active again in the same way, and one that was active can be recalled.
/// @dev Released versions that are not recalled are a doubly linked list in the order of their last activation, so that
/// activation and recall touch at most four places, however many versions there are: a slot more for each version that
/// was ever active, and one for its report, instead of a loop.
interface IModelRegistry {
    /// @notice A version of the model.
    struct Version {
        /// @notice Version from which it was trained.
        RoundId parent;
        /// @notice Unix time of the registration; zero if there is no such version.
        uint40 registeredAt;
        /// @notice State root (docs/protocol.md).
        bytes32 stateRoot;
    }

    /// @notice What votes have made of a version.
    enum Standing {
        /// @notice No vote has made it active yet.
        Candidate,
        /// @notice It is or was active, and may be active again.
        Released,
        /// @notice It was called back, and can never be active again.
        Recalled
    }

    /// @notice Emitted when a round became final, and for the genesis at deployment.
    event VersionRegistered(RoundId indexed version, RoundId indexed parent, bytes32 stateRoot);
    /// @notice Emitted when a vote made a version active.
    event VersionActivated(RoundId indexed version, bytes32 indexed reportHash);
    /// @notice Emitted when a vote recalled a version.
    /// @param hasActive Whether any version is active now.
    /// @param active The version that is active now; 0 if there is none.
    event VersionRecalled(RoundId indexed version, bytes32 indexed reportHash, bool hasActive, RoundId active);

    /// @notice Thrown when a version is registered twice.
    error ModelRegistryAlreadyRegistered(RoundId version);
    /// @notice Thrown when there is no such version.
    error ModelRegistryUnknownVersion(RoundId version);
    /// @notice Thrown when a version is recalled that no vote ever made active.
    error ModelRegistryNeverActive(RoundId version);
    /// @notice Thrown when a recalled version is activated, or recalled again.
    error ModelRegistryRecalled(RoundId version);
    /// @notice Thrown when no vote has made a version active yet, or all that were active are recalled.
    error ModelRegistryNoActiveVersion();
    /// @notice Thrown when the genesis has no state root.
    error ModelRegistryZeroRoot();
    /// @notice Thrown at deployment when the ledger or governance is zero.
    error ModelRegistryZeroAddress();
    /// @notice Thrown when somebody other than the ledger registers a version.
    error ModelRegistryNotLedger(address caller, address ledger);
    /// @notice Thrown when somebody other than governance makes a version active or recalls one.
    error ModelRegistryNotGovernance(address caller, address governance);

    /// @notice The only account that registers versions.
    function ledger() external view returns (address);

    /// @notice The only account that makes a version active or recalls one: the timelock, by an executed vote.
    function governance() external view returns (address);

    /// @notice Register a final round's state. Only the ledger.
    /// @dev The parent must be registered, so that the lineage of every version goes back to the genesis.
    function register(RoundId version, RoundId parent, bytes32 stateRoot) external;

    /// @notice Make a version the one that is served. Only governance, by an executed proposal.
    /// @dev Warning: it is served from then on; a worse model stays until another vote passes its timelock.
    /// @param reportHash sha256 of the evaluation report that the voters were shown, zero if there was none.
    function activate(RoundId version, bytes32 reportHash) external;

    /// @notice Call a version back for good. Only governance, by an executed proposal.
    /// @dev If it is the active one, the version that was active most recently and is not recalled is active again, with
    /// the report of its last activation. It can't take back copies: readers must refuse a recalled version.
    /// @param reportHash sha256 of the evidence that the voters were shown, zero if there was none.
    function recall(RoundId version, bytes32 reportHash) external;

    /// @notice What votes have made of a version; reverts if there is no such version.
    function standing(RoundId version) external view returns (Standing);

    /// @notice A version; reverts if there is none.
    function versions(RoundId version) external view returns (Version memory);

    /// @notice The active version; reverts if there is none: before the first vote, or after a recall of all.
    function active() external view returns (RoundId version, bytes32 reportHash);
}
