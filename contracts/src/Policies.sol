// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPolicies } from "./interfaces/IPolicies.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { Budget } from "./libraries/Budget.sol";
import { GramTree } from "./libraries/GramTree.sol";
import { Pays } from "./libraries/Pays.sol";
import { PolicyId } from "./libraries/Types.sol";
import { Widths } from "./libraries/Widths.sol";

/// @title The policies of a federation, and what every one must keep to.
contract Policies is IPolicies {
    /// @notice Most contributors of one round: what one word of a bitmap holds, and what a settlement can pay at once.
    uint16 public constant MAX_CONTRIBUTORS = 256;
    /// @notice Most parameters of a rule.
    uint256 public constant MAX_PARAMETERS = 32;
    /// @notice Largest outer momentum: 1, in 1/1024.
    uint16 public constant MAX_MOMENTUM = 1024;
    /// @notice Largest outer learning rate: 4, in 1/1024.
    uint16 public constant MAX_RATE = 4096;
    /// @notice Largest number of a mean.
    uint256 public constant MAX_MEAN = 127;
    /// @notice Least bond, in rewards. Three quarters of a bond burn, so a lie costs three rewards if it is proven.
    uint256 public constant BOND_FACTOR = 4;

    /// @inheritdoc IPolicies
    address public immutable override governance;
    /// @inheritdoc IPolicies
    address public immutable override verifier;
    /// @inheritdoc IPolicies
    uint40 public immutable override maxWindows;
    uint128 private immutable _maxReward;
    uint128 private immutable _minBond;
    uint128 private immutable _maxMinStake;
    uint32 private immutable _minCommitWindow;
    uint32 private immutable _minChallengeWindow;
    uint32 private immutable _minInterval;

    /// @inheritdoc IPolicies
    PolicyId public override currentPolicy;
    mapping(PolicyId policyId => Policy) private _policies;

    /// @param governance_ Who adds policies: the timelock.
    /// @param vault Vault whose stakes answer for rounds.
    /// @param firstPolicy Policy until governance adds another. Its verifier is that of all policies.
    /// @param bounds_ What no later policy may go beyond.
    constructor(address governance_, IStakeVault vault, Policy memory firstPolicy, Bounds memory bounds_) {
        if (governance_ == address(0)) revert PoliciesZeroAddress();
        governance = governance_;
        // Zero is a verifier: no proof is accepted.
        // slither-disable-next-line missing-zero-check
        verifier = firstPolicy.verifier;
        maxWindows = vault.unbondingPeriod();
        _maxReward = bounds_.maxReward;
        _minBond = bounds_.minBond;
        _maxMinStake = bounds_.maxMinStake;
        _minCommitWindow = bounds_.minCommitWindow;
        _minChallengeWindow = bounds_.minChallengeWindow;
        _minInterval = bounds_.minInterval;
        _add(firstPolicy);
    }

    /// @inheritdoc IPolicies
    function addPolicy(Policy calldata policy) external returns (PolicyId policyId) {
        if (msg.sender != governance) revert PoliciesNotGovernance(msg.sender, governance);
        return _add(policy);
    }

    /// @inheritdoc IPolicies
    function policies(PolicyId policyId) external view returns (Policy memory) {
        return _found(policyId);
    }

    /// @inheritdoc IPolicies
    function terms(PolicyId policyId) external view returns (Terms memory found) {
        Policy storage policy = _found(policyId);
        found.maxSumSquares = policy.maxSumSquares;
        found.minSumSquares = policy.minSumSquares;
        found.minContributors = policy.minContributors;
        found.maxContributors = policy.maxContributors;
        found.commitWindow = policy.commitWindow;
        found.anchorWindow = policy.anchorWindow;
        found.challengeWindow = policy.challengeWindow;
        found.privacyCap = policy.privacyCap;
        found.noise1024 = policy.noise1024;
        found.steps = policy.steps;
        found.interval = policy.interval;
        found.hasPays = policy.rule == Pays.CLAMPED_MEAN;
        found.minStake = policy.minStake;
        found.bond = policy.bond;
    }

    /// @inheritdoc IPolicies
    function minStake() external view returns (uint128) {
        return _policies[currentPolicy].minStake;
    }

    /// @inheritdoc IPolicies
    function bounds() external view returns (Bounds memory) {
        return Bounds(_maxReward, _minBond, _maxMinStake, _minCommitWindow, _minChallengeWindow, _minInterval);
    }

    function _add(Policy memory policy) private returns (PolicyId policyId) {
        _validate(policy);
        policyId = PolicyId.wrap(PolicyId.unwrap(currentPolicy) + 1);
        _policies[policyId] = policy;
        currentPolicy = policyId;
        emit PolicyAdded(policyId, policy);
    }

    function _found(PolicyId policyId) private view returns (Policy storage policy) {
        policy = _policies[policyId];
        if (policy.rule == bytes32(0)) revert PoliciesUnknownPolicy(policyId);
    }

    /// @dev Revert with the first field that has an impossible value.
    function _validate(Policy memory policy) private view {
        _require(_isName(policy.rule), "rule", uint256(policy.rule));
        _require(policy.parameters.length <= MAX_PARAMETERS, "parameters", policy.parameters.length);
        _require(policy.maxSumSquares > 0, "maxSumSquares", 0);
        _require(
            policy.minContributors > 0 && policy.minContributors <= policy.maxContributors,
            "minContributors",
            policy.minContributors
        );
        // With more, the weights of `multi_krum` can't be proven.
        uint256 most = policy.rule == "multi_krum" ? GramTree.MAX_UPDATES : MAX_CONTRIBUTORS;
        _require(policy.maxContributors <= most, "maxContributors", policy.maxContributors);
        _require(policy.width == Widths.MAX || policy.width == 4 || policy.width == 2, "width", policy.width);
        _require(
            policy.meanScale > 0 && policy.meanScale * Widths.largest(policy.width) <= MAX_MEAN,
            "meanScale",
            policy.meanScale
        );
        _require(policy.rate > 0 && policy.rate <= MAX_RATE, "rate", policy.rate);
        _require(policy.momentum <= MAX_MOMENTUM, "momentum", policy.momentum);
        _require(policy.minStake > 0, "minStake", 0);
        _require(policy.bond >= BOND_FACTOR * policy.reward, "bond", policy.bond);
        _validateWindows(policy);
        _validatePrivacy(policy);
        _validateBounds(policy);
    }

    /// @dev What the deployment has fixed for ever.
    function _validateBounds(Policy memory policy) private view {
        _require(policy.reward <= _maxReward, "reward", policy.reward);
        _require(policy.bond >= _minBond, "bond", policy.bond);
        _require(policy.minStake <= _maxMinStake, "minStake", policy.minStake);
        _require(policy.commitWindow >= _minCommitWindow, "commitWindow", policy.commitWindow);
        _require(policy.challengeWindow >= _minChallengeWindow, "challengeWindow", policy.challengeWindow);
        _require(policy.interval >= _minInterval, "interval", policy.interval);
        _require(policy.verifier == verifier, "verifier", uint160(policy.verifier));
    }

    /// @dev They must not be longer together than the unbonding period: the stake of a contributor that was there at the
    /// opening could be gone before the end of the challenge window.
    function _validateWindows(Policy memory policy) private view {
        _require(policy.commitWindow > 0, "commitWindow", 0);
        _require(policy.anchorWindow > 0, "anchorWindow", 0);
        _require(policy.challengeWindow > 0, "challengeWindow", 0);
        uint256 windows = uint256(policy.commitWindow) + policy.anchorWindow + policy.challengeWindow;
        _require(windows <= maxWindows, "windows", windows);
        _require(policy.interval <= maxWindows, "interval", policy.interval);
    }

    /// @dev Noise, steps and cap are all there or none is. A cap below the cost of one round would take no update.
    function _validatePrivacy(Policy memory policy) private pure {
        _require(policy.minSumSquares <= policy.maxSumSquares, "minSumSquares", policy.minSumSquares);
        if (policy.noise1024 == 0) {
            _require(policy.steps == 0, "steps", policy.steps);
            _require(policy.privacyCap == 0, "privacyCap", policy.privacyCap);
            return;
        }
        // A smaller range would clamp the noise.
        _require(policy.width == Widths.MAX, "width", policy.width);
        _require(policy.steps > 0 && policy.steps <= Budget.MAX_STEPS, "steps", policy.steps);
        uint256 cost = Budget.cost(policy.noise1024, policy.steps);
        _require(policy.privacyCap >= cost, "privacyCap", policy.privacyCap);
    }

    /// @dev 1 to 32 printable ASCII characters without spaces, and zeros behind them: readers of the chain read each
    /// policy, and must be able to read its name.
    function _isName(bytes32 name) private pure returns (bool) {
        uint256 length = 0;
        for (; length < 32 && name[length] != 0; ++length) {
            if (name[length] < 0x21 || name[length] > 0x7e) return false;
        }
        return length > 0 && name << (8 * length) == 0;
    }

    function _require(bool valid, string memory field, uint256 value) private pure {
        if (!valid) revert PoliciesInvalidPolicy(field, value);
    }
}
