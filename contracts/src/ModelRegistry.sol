// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { AccessControl } from "@openzeppelin/contracts/access/AccessControl.sol";

import { IModelRegistry } from "./interfaces/IModelRegistry.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title The lineage of model versions, and the active version.
contract ModelRegistry is IModelRegistry, AccessControl {
    /// @notice Role that may register versions: the ledger.
    bytes32 public constant LEDGER_ROLE = keccak256("LEDGER_ROLE");
    /// @notice Role that may make a version active: the timelock.
    bytes32 public constant GOVERNANCE_ROLE = keccak256("GOVERNANCE_ROLE");

    mapping(RoundId version => Version) private _versions;
    RoundId private _active;
    bool private _hasActive;
    bytes32 private _reportHash;

    /// @param governance Administrator of the roles, and the one who makes versions active: the timelock.
    /// @param ledger Account that registers versions: the ledger, at its predicted address.
    /// @param genesisStateRoot State root of version 0, the initial model. The ledger starts from it.
    constructor(address governance, address ledger, bytes32 genesisStateRoot) {
        if (genesisStateRoot == bytes32(0)) revert ModelRegistryZeroRoot();
        _grantRole(DEFAULT_ADMIN_ROLE, governance);
        _grantRole(GOVERNANCE_ROLE, governance);
        _grantRole(LEDGER_ROLE, ledger);
        _store(RoundId.wrap(0), RoundId.wrap(0), genesisStateRoot);
    }

    /// @inheritdoc IModelRegistry
    function register(RoundId version, RoundId parent, bytes32 stateRoot) external onlyRole(LEDGER_ROLE) {
        if (_exists(version)) revert ModelRegistryAlreadyRegistered(version);
        if (!_exists(parent)) revert ModelRegistryUnknownVersion(parent);
        _store(version, parent, stateRoot);
    }

    /// @inheritdoc IModelRegistry
    function activate(RoundId version, bytes32 reportHash) external onlyRole(GOVERNANCE_ROLE) {
        if (!_exists(version)) revert ModelRegistryUnknownVersion(version);
        _active = version;
        _hasActive = true;
        _reportHash = reportHash;
        emit VersionActivated(version, reportHash);
    }

    /// @inheritdoc IModelRegistry
    function versions(RoundId version) external view returns (Version memory) {
        if (!_exists(version)) revert ModelRegistryUnknownVersion(version);
        return _versions[version];
    }

    /// @inheritdoc IModelRegistry
    function active() external view returns (RoundId version, bytes32 reportHash) {
        if (!_hasActive) revert ModelRegistryNoActiveVersion();
        return (_active, _reportHash);
    }

    function _store(RoundId version, RoundId parent, bytes32 stateRoot) private {
        _versions[version] = Version({ parent: parent, registeredAt: uint40(block.timestamp), stateRoot: stateRoot });
        emit VersionRegistered(version, parent, stateRoot);
    }

    function _exists(RoundId version) private view returns (bool) {
        return _versions[version].registeredAt != 0;
    }
}
