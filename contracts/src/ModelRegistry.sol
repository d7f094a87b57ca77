// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IModelRegistry } from "./interfaces/IModelRegistry.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title The lineage of model versions, and the active version.
contract ModelRegistry is IModelRegistry {
    /// @inheritdoc IModelRegistry
    address public immutable override ledger;
    /// @inheritdoc IModelRegistry
    address public immutable override governance;

    mapping(RoundId version => Version) private _versions;
    RoundId private _active;
    bool private _hasActive;
    bytes32 private _reportHash;

    /// @param governance_ Who makes versions active: the timelock.
    /// @param ledger_ Who registers versions: the ledger, at its predicted address.
    /// @param genesisStateRoot State root of version 0, the initial model. The ledger starts from it.
    constructor(address governance_, address ledger_, bytes32 genesisStateRoot) {
        if (genesisStateRoot == bytes32(0)) revert ModelRegistryZeroRoot();
        if (governance_ == address(0) || ledger_ == address(0)) revert ModelRegistryZeroAddress();
        governance = governance_;
        ledger = ledger_;
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
        if (msg.sender != governance) revert ModelRegistryNotGovernance(msg.sender, governance);
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
