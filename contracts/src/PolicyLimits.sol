// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPolicyLimits } from "./interfaces/IPolicyLimits.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { Policies } from "./libraries/Policies.sol";

/// @title What every policy of a ledger must keep to, fixed at deployment.
/// @dev A part of the ledger, which creates it and asks it whenever a policy is added. It is a contract of its own because
/// a contract may have 24,576 bytes of code.
contract PolicyLimits is IPolicyLimits {
    /// @inheritdoc IPolicyLimits
    address public immutable override verifier;
    /// @inheritdoc IPolicyLimits
    uint40 public immutable override maxWindows;
    uint128 private immutable _maxReward;
    uint128 private immutable _minBond;
    uint128 private immutable _maxMinStake;
    uint32 private immutable _minCommitWindow;
    uint32 private immutable _minChallengeWindow;

    /// @param bounds_ What no vote can go beyond.
    /// @param verifier_ The verifier of every policy.
    /// @param maxWindows_ Seconds that the windows of a policy may have together.
    constructor(IRoundLedger.Bounds memory bounds_, address verifier_, uint40 maxWindows_) {
        // Zero is a verifier: no proof is accepted.
        // slither-disable-next-line missing-zero-check
        verifier = verifier_;
        maxWindows = maxWindows_;
        _maxReward = bounds_.maxReward;
        _minBond = bounds_.minBond;
        _maxMinStake = bounds_.maxMinStake;
        _minCommitWindow = bounds_.minCommitWindow;
        _minChallengeWindow = bounds_.minChallengeWindow;
    }

    /// @inheritdoc IPolicyLimits
    function check(IRoundLedger.Policy calldata policy) external view {
        Policies.validate(policy, maxWindows);
        Policies.validateBounds(policy, bounds(), verifier);
    }

    /// @inheritdoc IPolicyLimits
    function bounds() public view returns (IRoundLedger.Bounds memory) {
        return IRoundLedger.Bounds(_maxReward, _minBond, _maxMinStake, _minCommitWindow, _minChallengeWindow);
    }
}
