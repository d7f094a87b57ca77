// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { RoundId } from "../libraries/Types.sol";
import { IRoundLedger } from "./IRoundLedger.sol";

/// @title Disputes about values that no contract can compute, decided by a vote.
/// @notice For rules whose weights are too costly to compute on chain. A challenger opens a dispute with a deposit; the
/// round can't become final, and the coordinator's stake can't leave, until a vote has decided or the time is up. Anybody
/// can recompute the weights from public data, so voters decide about a fact.
/// @dev Who could do harm to whom, and what stops it:
/// - *Disputes to hold a round.* Once a round, for a bounded time. Voters can dismiss, which costs the deposit; if they
///   don't care, holding a round costs the challenger its deposit for that time and nothing else. A policy whose rule can
///   be judged otherwise should not have this judge.
/// - *A sham dispute, to take the only place.* Voters uphold it all the same if the round is wrong: the vote is about the
///   round, not about the reason given.
/// - *A captured vote.* It can burn the bond of a coordinator, and gains nothing: what a vote convicts of is burnt whole.
interface IDisputes {
    /// @notice Status of a dispute. `Returned`: nobody decided; the deposit went back.
    enum Status {
        None,
        Open,
        Upheld,
        Dismissed,
        Returned
    }

    /// @notice The dispute about a round.
    struct Dispute {
        /// @notice Account that opened it.
        address challenger;
        /// @notice Unix time until which the round waits for a vote.
        uint40 decideBy;
        /// @notice Status of the dispute.
        Status status;
    }

    /// @notice Emitted when a dispute opens, with the challenger's reason.
    event DisputeOpened(RoundId indexed round, address indexed challenger, uint40 decideBy, string reason);
    /// @notice Emitted when a vote upheld it, beside what the ledger and the vault emit.
    event DisputeUpheld(RoundId indexed round, address indexed challenger);
    /// @notice Emitted when a vote dismissed it: half of the deposit went to the coordinator, half was burnt.
    event DisputeDismissed(RoundId indexed round, address indexed challenger, uint256 burnt);
    /// @notice Emitted when the deposit went back without a decision.
    event DisputeReturned(RoundId indexed round, address indexed challenger);

    /// @notice Thrown when the round can't be challenged: it is not anchored, or closed.
    error DisputesNotAnchored(RoundId round, IRoundLedger.Phase phase);
    /// @notice Thrown when a dispute comes after the regular challenge window.
    error DisputesTooLate(RoundId round, uint256 time, uint256 deadline);
    /// @notice Thrown when the dispute does not have the status that the call needs. A round is disputed once.
    error DisputesWrongStatus(RoundId round, Status current);
    /// @notice Thrown when somebody other than the timelock decides.
    error DisputesNotGovernance(address caller, address governance);
    /// @notice Thrown when the deposit is to go back while a vote may still decide.
    error DisputesTooEarly(RoundId round, uint256 time, uint256 decideBy);
    /// @notice Thrown at deployment when the time for a decision is longer than the vault's unbonding time, or zero.
    error DisputesInvalidWindow(uint256 given, uint256 max);

    /// @notice The ledger whose rounds are disputed.
    function ledger() external view returns (IRoundLedger);

    /// @notice Token of the deposits.
    function token() external view returns (IERC20);

    /// @notice Account that decides: the timelock, by an executed vote.
    function governance() external view returns (address);

    /// @notice Tokens that a dispute costs until it is decided.
    function deposit() external view returns (uint256);

    /// @notice Seconds that a round waits for a vote: voting delay, period, extension and the timelock's delay fit in.
    function decisionWindow() external view returns (uint40);

    /// @notice The dispute about a round; all zero if there was none.
    function disputes(RoundId round) external view returns (Dispute memory);

    /// @notice Dispute an anchored round.
    /// @dev Needs an allowance of the deposit. Warning: half of the deposit is burnt and half goes to the coordinator if
    /// voters dismiss the dispute.
    /// @param reason What is wrong, for the voters.
    function open(RoundId round, string calldata reason) external;

    /// @notice Void the round, burn the bond, give the deposit back. Only governance, while the round is anchored.
    /// @dev Warning: a majority of the votes can burn a coordinator's bond by this. Nobody is paid from it.
    function uphold(RoundId round) external;

    /// @notice Let the round go on, and take the deposit. Only governance.
    /// @dev What the round had waited for stays: it becomes final at `decideBy`, no earlier.
    function dismiss(RoundId round) external;

    /// @notice Give the deposit back: the time is up, or the round is over. Anybody may call.
    function release(RoundId round) external;
}
