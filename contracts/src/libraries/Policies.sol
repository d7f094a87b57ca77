// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../interfaces/IRoundLedger.sol";
import { Budget } from "./Budget.sol";
import { GramTree } from "./GramTree.sol";

/// @title What a policy may say.
library Policies {
    /// @notice Most contributors of one round: what one word of a bitmap holds, and what a settlement can pay at once.
    uint16 internal constant MAX_CONTRIBUTORS = 256;
    /// @notice Most parameters of a rule.
    uint256 internal constant MAX_PARAMETERS = 32;
    /// @notice Largest outer momentum: 1, in 1/1024.
    uint16 internal constant MAX_MOMENTUM = 1024;
    /// @notice Largest outer learning rate: 4, in 1/1024.
    uint16 internal constant MAX_RATE = 4096;
    /// @notice The only width of a coordinate so far.
    uint8 internal constant WIDTH = 8;
    /// @notice Largest number of a mean.
    uint256 internal constant MAX_MEAN = 127;
    /// @notice Least bond, in rewards. Three quarters of a bond burn, so a lie costs three rewards if it is proven.
    uint256 internal constant BOND_FACTOR = 4;

    /// @notice Revert with the first field that has an impossible value.
    /// @param unbondingPeriod Seconds after which stake can leave. The windows must not be longer together: the stake of a
    /// contributor that was there at the opening could be gone before the end of the challenge window.
    function validate(IRoundLedger.Policy memory policy, uint256 unbondingPeriod) internal pure {
        _require(policy.rule != bytes32(0), "rule", 0);
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
        _require(policy.width == WIDTH, "width", policy.width);
        _require(
            policy.meanScale > 0 && policy.meanScale * largest(policy.width) <= MAX_MEAN, "meanScale", policy.meanScale
        );
        _require(policy.rate > 0 && policy.rate <= MAX_RATE, "rate", policy.rate);
        _require(policy.momentum <= MAX_MOMENTUM, "momentum", policy.momentum);
        _require(policy.minStake > 0, "minStake", 0);
        _require(policy.bond >= BOND_FACTOR * policy.reward, "bond", policy.bond);
        _validateWindows(policy, unbondingPeriod);
        _validatePrivacy(policy);
    }

    /// @notice Revert with the first field that goes beyond what the deployment has fixed for ever.
    function validateBounds(IRoundLedger.Policy memory policy, IRoundLedger.Bounds memory bounds, address verifier)
        internal
        pure
    {
        _require(policy.reward <= bounds.maxReward, "reward", policy.reward);
        _require(policy.bond >= bounds.minBond, "bond", policy.bond);
        _require(policy.minStake <= bounds.maxMinStake, "minStake", policy.minStake);
        _require(policy.commitWindow >= bounds.minCommitWindow, "commitWindow", policy.commitWindow);
        _require(policy.challengeWindow >= bounds.minChallengeWindow, "challengeWindow", policy.challengeWindow);
        _require(policy.verifier == verifier, "verifier", uint160(policy.verifier));
    }

    /// @notice Largest absolute value of an update's numbers of so many bits.
    function largest(uint8 width) internal pure returns (uint256) {
        return (1 << (width - 1)) - 1;
    }

    function _validateWindows(IRoundLedger.Policy memory policy, uint256 unbondingPeriod) private pure {
        _require(policy.commitWindow > 0, "commitWindow", 0);
        _require(policy.anchorWindow > 0, "anchorWindow", 0);
        _require(policy.challengeWindow > 0, "challengeWindow", 0);
        uint256 windows = uint256(policy.commitWindow) + policy.anchorWindow + policy.challengeWindow;
        _require(windows <= unbondingPeriod, "windows", windows);
    }

    /// @dev Noise, steps and cap are all there or none is. A cap below the cost of one round would take no update.
    function _validatePrivacy(IRoundLedger.Policy memory policy) private pure {
        _require(policy.minSumSquares <= policy.maxSumSquares, "minSumSquares", policy.minSumSquares);
        if (policy.noise1024 == 0) {
            _require(policy.steps == 0, "steps", policy.steps);
            _require(policy.privacyCap == 0, "privacyCap", policy.privacyCap);
            return;
        }
        _require(policy.steps > 0 && policy.steps <= Budget.MAX_STEPS, "steps", policy.steps);
        uint256 cost = Budget.cost(policy.noise1024, policy.steps);
        _require(policy.privacyCap >= cost, "privacyCap", policy.privacyCap);
    }

    function _require(bool valid, string memory field, uint256 value) private pure {
        if (!valid) revert IRoundLedger.RoundLedgerInvalidPolicy(field, value);
    }
}
