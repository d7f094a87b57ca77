// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import { IModelRegistry } from "./interfaces/IModelRegistry.sol";
import { IMootToken } from "./interfaces/IMootToken.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title The lineage of model versions, the active version, and who answers for it.
contract ModelRegistry is IModelRegistry {
    using SafeERC20 for IERC20;

    /// @dev A released version's place among those that can be active, which are listed by their last activation.
    struct Place {
        RoundId older;
        RoundId newer;
        uint40 activatedAt;
        Standing standing;
    }

    /// @dev The warranties behind a version together. None counts once they are forfeited, so no list is walked.
    struct Cover {
        uint96 total;
        bool forfeited;
    }

    /// @dev What an account has put behind a version.
    struct Warranty {
        uint96 amount;
        uint40 postedAt;
    }

    /// @inheritdoc IModelRegistry
    address public immutable override ledger;
    /// @inheritdoc IModelRegistry
    address public immutable override governance;
    /// @inheritdoc IModelRegistry
    address public immutable override token;
    /// @inheritdoc IModelRegistry
    uint40 public immutable override warrantyPeriod;

    /// @dev End of the list: no round has this number.
    RoundId private constant _NONE = RoundId.wrap(type(uint64).max);

    mapping(RoundId version => Version) private _versions;
    mapping(RoundId version => Place) private _places;
    mapping(RoundId version => bytes32) private _reportHashes;
    mapping(RoundId version => Cover) private _covers;
    mapping(RoundId version => mapping(address account => Warranty)) private _warranties;
    RoundId private _active;
    /// @inheritdoc IModelRegistry
    uint96 public override minWarranty;

    /// @param governance_ Who makes versions active: the timelock.
    /// @param ledger_ Who registers versions: the ledger, at its predicted address.
    /// @param token_ Token of the warranties.
    /// @param genesisStateRoot State root of version 0, the initial model. The ledger starts from it.
    /// @param warrantyPeriod_ Seconds for which a warranty stays at least; a vote with all its delays must fit.
    /// @param minWarranty_ Tokens that must be behind a version at its first activation, until a vote changes it.
    constructor(
        address governance_,
        address ledger_,
        address token_,
        bytes32 genesisStateRoot,
        uint40 warrantyPeriod_,
        uint96 minWarranty_
    ) {
        if (genesisStateRoot == bytes32(0)) revert ModelRegistryZeroRoot();
        if (governance_ == address(0) || ledger_ == address(0) || token_ == address(0)) {
            revert ModelRegistryZeroAddress();
        }
        governance = governance_;
        ledger = ledger_;
        token = token_;
        warrantyPeriod = warrantyPeriod_;
        minWarranty = minWarranty_;
        emit MinWarrantySet(minWarranty_);
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
        else _requireWarranty(version);
        RoundId older = _active;
        _places[version] =
            Place({ older: older, newer: _NONE, activatedAt: uint40(block.timestamp), standing: Standing.Released });
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
    function setMinWarranty(uint96 amount) external {
        _onlyGovernance();
        minWarranty = amount;
        emit MinWarrantySet(amount);
    }

    /// @inheritdoc IModelRegistry
    function postWarranty(RoundId version, uint256 amount) external {
        _post(version, amount);
    }

    /// @inheritdoc IModelRegistry
    function postWarrantyWithPermit(RoundId version, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        // Somebody may have used the permit already, as in `StakeVault`. The token is our own and makes no calls.
        // slither-disable-next-line unused-return,reentrancy-benign,reentrancy-events
        try IERC20Permit(token).permit(msg.sender, address(this), amount, deadline, v, r, s) { } catch { }
        _post(version, amount);
    }

    /// @inheritdoc IModelRegistry
    function withdrawWarranty(RoundId version) external returns (uint256 amount) {
        uint40 releaseAt;
        (amount, releaseAt) = warrantyOf(version, msg.sender);
        // slither-disable-next-line incorrect-equality
        if (amount == 0) revert ModelRegistryNoWarranty(version, msg.sender);
        if (block.timestamp < releaseAt) revert ModelRegistryWarrantyHeld(version, releaseAt);
        _covers[version].total -= uint96(amount);
        delete _warranties[version][msg.sender];
        emit WarrantyWithdrawn(version, msg.sender, amount);
        IERC20(token).safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IModelRegistry
    function forfeitWarranties(RoundId version, address beneficiary) external {
        _onlyGovernance();
        if (!_exists(version)) revert ModelRegistryUnknownVersion(version);
        uint256 burnt = _covers[version].total;
        _covers[version] = Cover({ total: 0, forfeited: true });
        uint256 reward = beneficiary == address(0) ? 0 : burnt / 2;
        burnt -= reward;
        emit WarrantiesForfeited(version, beneficiary, reward, burnt);
        if (burnt > 0) IMootToken(token).burn(burnt);
        if (reward > 0) IERC20(token).safeTransfer(beneficiary, reward);
    }

    /// @inheritdoc IModelRegistry
    function warrantiesOf(RoundId version) external view returns (uint256 total, bool forfeited) {
        Cover memory cover = _covers[version];
        return (cover.total, cover.forfeited);
    }

    /// @inheritdoc IModelRegistry
    function warrantyOf(RoundId version, address account) public view returns (uint256 amount, uint40 releaseAt) {
        Warranty memory warranty = _warranties[version][account];
        // slither-disable-next-line incorrect-equality
        if (warranty.amount == 0 || _covers[version].forfeited) return (0, 0);
        uint40 activatedAt = _places[version].activatedAt;
        uint40 since = activatedAt > warranty.postedAt ? activatedAt : warranty.postedAt;
        return (warranty.amount, since + warrantyPeriod);
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

    /// @dev The token is our own, so the amount arrives whole, and nothing is called back.
    function _post(RoundId version, uint256 amount) private {
        if (amount == 0) revert ModelRegistryZeroAmount();
        if (!_exists(version)) revert ModelRegistryUnknownVersion(version);
        if (_covers[version].forfeited) revert ModelRegistryForfeited(version);
        if (_places[version].standing == Standing.Recalled) revert ModelRegistryRecalled(version);
        uint96 added = SafeCast.toUint96(amount);
        _covers[version].total += added;
        Warranty storage warranty = _warranties[version][msg.sender];
        warranty.amount += added;
        warranty.postedAt = uint40(block.timestamp);
        emit WarrantyPosted(version, msg.sender, amount);
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
    }

    function _requireWarranty(RoundId version) private view {
        Cover memory cover = _covers[version];
        if (cover.forfeited) revert ModelRegistryForfeited(version);
        if (cover.total < minWarranty) revert ModelRegistryWarrantyTooSmall(version, cover.total, minWarranty);
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
