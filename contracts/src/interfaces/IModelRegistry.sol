// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundId } from "../libraries/Types.sol";

/// @title The lineage of model versions, the active version, and who answers for it.
/// @notice Every final round is a candidate version with the round's number. A version becomes active only by an
/// executed vote; an earlier version can be made active again in the same way, and one that was active can be recalled.
/// Anybody may put tokens behind a version, as a warranty. If it does harm, a vote takes them.
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

    /// @notice Emitted when `account` puts tokens behind a version.
    event WarrantyPosted(RoundId indexed version, address indexed account, uint256 amount);
    /// @notice Emitted when `account` has taken its tokens out from behind a version.
    event WarrantyWithdrawn(RoundId indexed version, address indexed account, uint256 amount);
    /// @notice Emitted when a vote took all warranties behind a version: `reward` went to `beneficiary`, `burnt` was burnt.
    event WarrantiesForfeited(RoundId indexed version, address indexed beneficiary, uint256 reward, uint256 burnt);
    /// @notice Emitted at the deployment, and when a vote changes what must be behind a version that is made active.
    event MinWarrantySet(uint96 amount);

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

    /// @notice Thrown on an amount of zero.
    error ModelRegistryZeroAmount();
    /// @notice Thrown when fewer tokens are behind a version than it needs to become active.
    error ModelRegistryWarrantyTooSmall(RoundId version, uint256 total, uint256 minimum);
    /// @notice Thrown when a vote has taken the warranties behind a version: no others can be put there.
    error ModelRegistryForfeited(RoundId version);
    /// @notice Thrown when an account has nothing behind a version.
    error ModelRegistryNoWarranty(RoundId version, address account);
    /// @notice Thrown when a warranty is to be taken out too early.
    error ModelRegistryWarrantyHeld(RoundId version, uint40 releaseAt);

    /// @notice The only account that registers versions.
    function ledger() external view returns (address);

    /// @notice The only account that makes a version active or recalls one: the timelock, by an executed vote.
    function governance() external view returns (address);

    /// @notice Register a final round's state. Only the ledger.
    /// @dev The parent must be registered, so that the lineage of every version goes back to the genesis.
    function register(RoundId version, RoundId parent, bytes32 stateRoot) external;

    /// @notice Make a version the one that is served. Only governance, by an executed proposal.
    /// @dev At its first activation at least `minWarranty` must be behind it. One that was active before needs nothing, so
    /// that the way back is always open.
    /// Warning: it is served from then on; a worse model stays until another vote passes its timelock.
    /// @param reportHash sha256 of the evaluation report that the voters were shown, zero if there was none.
    function activate(RoundId version, bytes32 reportHash) external;

    /// @notice Call a version back for good. Only governance, by an executed proposal.
    /// @dev If it is the active one, the version that was active most recently and is not recalled is active again, with
    /// the report of its last activation. It can't take back copies: readers must refuse a recalled version.
    /// @param reportHash sha256 of the evidence that the voters were shown, zero if there was none.
    function recall(RoundId version, bytes32 reportHash) external;

    /// @notice Change what must be behind a version at its first activation. Only governance.
    function setMinWarranty(uint96 amount) external;

    /// @notice Put `amount` of the caller's tokens behind a version, as a warranty that it does no harm.
    /// @dev Needs an allowance. More can be added, which restarts the caller's period.
    /// Warning: a vote can take the whole of it with `forfeitWarranties`, for any reason that convinces the voters. It pays
    /// nothing back but itself.
    function postWarranty(RoundId version, uint256 amount) external;

    /// @notice Post a warranty with an EIP-2612 permit in one transaction.
    /// @dev A permit that somebody used first, or a bad one, is passed over: what counts is the allowance.
    function postWarrantyWithPermit(RoundId version, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;

    /// @notice Take the caller's warranty out from behind a version, once its period is over.
    /// @dev The period begins at the posting, and anew at each activation of the version. It is over at some time, whatever
    /// others do: only a vote can make the version active again or take the warranty.
    function withdrawWarranty(RoundId version) external returns (uint256 amount);

    /// @notice Take all warranties behind a version: half for the beneficiary, the rest is burnt. Only governance.
    /// @dev Without a beneficiary (zero) all of it is burnt. It never reverts because nothing is there, so that nobody can
    /// hinder a recall in the same proposal by taking a warranty out. No warranty can be posted for the version afterwards,
    /// and a candidate can't become active any more.
    function forfeitWarranties(RoundId version, address beneficiary) external;

    /// @notice Tokens behind a version, and whether a vote took what was there.
    function warrantiesOf(RoundId version) external view returns (uint256 total, bool forfeited);

    /// @notice What an account has behind a version, and from when it can take that out; zeros if it has nothing.
    function warrantyOf(RoundId version, address account) external view returns (uint256 amount, uint40 releaseAt);

    /// @notice Tokens that must be behind a version at its first activation.
    function minWarranty() external view returns (uint96);

    /// @notice Seconds for which a warranty stays, from its posting and from each activation of the version.
    function warrantyPeriod() external view returns (uint40);

    /// @notice Token of the warranties.
    function token() external view returns (address);

    /// @notice What votes have made of a version; reverts if there is no such version.
    function standing(RoundId version) external view returns (Standing);

    /// @notice A version; reverts if there is none.
    function versions(RoundId version) external view returns (Version memory);

    /// @notice The active version; reverts if there is none: before the first vote, or after a recall of all.
    function active() external view returns (RoundId version, bytes32 reportHash);
}
