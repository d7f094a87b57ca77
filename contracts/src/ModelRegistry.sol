// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IModelRegistry } from "./interfaces/IModelRegistry.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title The lineage of model versions, and the active version.
contract ModelRegistry is IModelRegistry {
    /// @dev A released version's place among those that can be active, which are listed by their last activation.
    struct Place {
        RoundId older;
        RoundId newer;
        Standing standing;
    }

    /// @inheritdoc IModelRegistry
    address public immutable override ledger;
    /// @inheritdoc IModelRegistry
    address public immutable override governance;

    /// @dev End of the list: no round has this number.
    RoundId private constant _NONE = RoundId.wrap(type(uint64).max);

    mapping(RoundId version => Version) private _versions;
    mapping(RoundId version => Place) private _places;
    mapping(RoundId version => bytes32) private _reportHashes;
    RoundId private _active;

    /// @param governance_ Who makes versions active: the timelock.
    /// @param ledger_ Who registers versions: the ledger, at its predicted address.
    /// @param genesisStateRoot State root of version 0, the initial model. The ledger starts from it.
    constructor(address governance_, address ledger_, bytes32 genesisStateRoot) {
        if (genesisStateRoot == bytes32(0)) revert ModelRegistryZeroRoot();
        if (governance_ == address(0) || ledger_ == address(0)) revert ModelRegistryZeroAddress();
        governance = governance_;
        ledger = ledger_;
        _active = _NONE;
        _store(RoundId.wrap(0), RoundId.wrap(0), genesisStateRoot);
    }

    /// @inheritdoc IModelRegistry
    function register(RoundId version, RoundId parent, bytes32 stateRoot) external {
        if (msg.sender != ledger) revert ModelRegistryNotLedger(msg.sender, ledger);
        if (_exists(version)) revert ModelRegistryAlreadyRegistered(version);
        if (!_exists(parent)) revert ModelRegistryUnknownVersion(parent);
        _store(version, parent, stateRoot);
    }

    /// @inheritdoc IModelRegistry
    function activate(RoundId version, bytes32 reportHash) external {
        _onlyGovernance();
        if (!_exists(version)) revert ModelRegistryUnknownVersion(version);
        Standing before = _places[version].standing;
        if (before == Standing.Recalled) revert ModelRegistryRecalled(version);
        if (before == Standing.Released) _unlink(version);
        RoundId older = _active;
        _places[version] = Place({ older: older, newer: _NONE, standing: Standing.Released });
        if (older != _NONE) _places[older].newer = version;
        _active = version;
        _reportHashes[version] = reportHash;
        emit VersionActivated(version, reportHash);
    }

    /// @inheritdoc IModelRegistry
    function recall(RoundId version, bytes32 reportHash) external {
        _onlyGovernance();
        if (!_exists(version)) revert ModelRegistryUnknownVersion(version);
        Standing before = _places[version].standing;
        if (before == Standing.Recalled) revert ModelRegistryRecalled(version);
        if (before == Standing.Candidate) revert ModelRegistryNeverActive(version);
        _unlink(version);
        _places[version].standing = Standing.Recalled;
        RoundId newest = _active;
        emit VersionRecalled(version, reportHash, newest != _NONE, newest == _NONE ? RoundId.wrap(0) : newest);
    }

    /// @inheritdoc IModelRegistry
    function standing(RoundId version) external view returns (Standing) {
        if (!_exists(version)) revert ModelRegistryUnknownVersion(version);
        return _places[version].standing;
    }

    /// @inheritdoc IModelRegistry
    function versions(RoundId version) external view returns (Version memory) {
        if (!_exists(version)) revert ModelRegistryUnknownVersion(version);
        return _versions[version];
    }

    /// @inheritdoc IModelRegistry
    function active() external view returns (RoundId version, bytes32 reportHash) {
        version = _active;
        if (version == _NONE) revert ModelRegistryNoActiveVersion();
        return (version, _reportHashes[version]);
    }

    /// @dev Takes a released version out of the list of those that can be active.
    function _unlink(RoundId version) private {
        Place memory place = _places[version];
        if (place.older != _NONE) _places[place.older].newer = place.newer;
        if (place.newer != _NONE) _places[place.newer].older = place.older;
        else _active = place.older;
    }

    function _onlyGovernance() private view {
        if (msg.sender != governance) revert ModelRegistryNotGovernance(msg.sender, governance);
    }

    function _store(RoundId version, RoundId parent, bytes32 stateRoot) private {
        _versions[version] = Version({ parent: parent, registeredAt: uint40(block.timestamp), stateRoot: stateRoot });
        emit VersionRegistered(version, parent, stateRoot);
    }

    function _exists(RoundId version) private view returns (bool) {
        return _versions[version].registeredAt != 0;
    }
}
