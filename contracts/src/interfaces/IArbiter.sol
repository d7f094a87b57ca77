// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundId } from "../libraries/Types.sol";
import { IRoundLedger } from "./IRoundLedger.sol";

/// @title The verifier of all policies: it forwards the decisions of a fixed list of judges to the ledger.
/// @notice A judge finds the arbiter as the `verifier` of its round's policy, which is the same for all policies.
/// @dev Warning: each judge on the list can take the bond of any round. Neither the list nor the arbiter can be changed,
/// by a vote or otherwise: new judges need a new deployment.
interface IArbiter {
    /// @notice Thrown when an account other than a judge gives a verdict.
    error ArbiterNotJudge(address caller);
    /// @notice Thrown at deployment for an empty or too long list of judges, a zero address, or a repeated judge.
    error ArbiterInvalidJudges(uint256 place);

    /// @notice Thrown when a round is to be resumed that is not held.
    error ArbiterNotHeld(RoundId round);

    /// @notice The ledger to which decisions are forwarded.
    function ledger() external view returns (IRoundLedger);

    /// @notice All judges.
    function judges() external view returns (address[] memory);

    /// @notice Whether an account is a judge.
    function isJudge(address account) external view returns (bool);

    /// @notice Void a round and take its coordinator's bond (`IRoundLedger.reportFraud`). Only judges. With a challenger of
    /// zero all of the bond is burnt.
    function convict(RoundId round, address challenger) external;

    /// @notice Take a contributor's minimum stake (`IRoundLedger.reportFault`). Only judges.
    function convictContributor(RoundId round, address contributor, address challenger) external;

    /// @notice Let a round become final no earlier than `until` (`IRoundLedger.postpone`). Only judges.
    function postpone(RoundId round, uint40 until) external;

    /// @notice As `postpone`, until `resume` takes it back. Only judges.
    /// @dev A round has one hold: of two judges that hold, the first that resumes ends it for both.
    function hold(RoundId round, uint40 until) external;

    /// @notice Let a held round become final when it would without the hold. What was postponed otherwise stays. Only
    /// judges.
    function resume(RoundId round) external;
}
