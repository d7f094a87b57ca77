// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { RoundId } from "../libraries/Types.sol";
import { IRoundLedger } from "./IRoundLedger.sol";

/// @title Disputes about values that no contract can compute, decided by a vote.
/// @notice For rules whose weights are too costly to compute on chain. A challenger opens a dispute with a deposit; the
/// round can't become final, and the coordinator's stake can't leave, until a vote has decided or the time is up. Anybody
/// can recompute the weights from public data, so voters decide about a fact. Others may join with deposits of their own
/// while the round may be challenged, and each gives the vote its whole time again.
/// @dev Who could do harm to whom, and what stops it:
/// - *Disputes to hold a round.* For a bounded time. Voters can dismiss, which costs the deposits and gives the round its
///   time back; if they don't care, all deposits are burnt. A deposit is a part of the bond, so that holding rounds costs
///   in proportion to the bonds that it holds. A policy whose rule can be judged otherwise should not have this judge.
/// - *A sham dispute, to start the only clock.* Whoever comes later joins, and the vote has its whole time from then on;
///   after a dismissal a dispute can be opened anew. Voters uphold it if the round is wrong, whatever reason was given.
/// - *A captured vote.* It can burn the bond of a coordinator, and gains nothing: what a vote convicts of is burnt whole.
interface IDisputes {
    /// @notice Status of a dispute. `Returned`: the round was over before a decision. `Undecided`: the time was up.
    enum Status {
        None,
        Open,
        Upheld,
        Dismissed,
        Returned,
        Undecided
    }

    /// @notice The dispute about a round; the last one if one was dismissed.
    struct Dispute {
        /// @notice Account that opened it.
        address challenger;
        /// @notice Unix time until which the round waits for a vote.
        uint40 decideBy;
        /// @notice Status of the dispute.
        Status status;
        /// @notice Number of the dispute among those about the round, from 1.
        uint16 number;
        /// @notice Number of accounts with a deposit in it.
        uint16 challengers;
    }

    /// @notice Emitted when a dispute opens, or somebody joins it, with the challenger's reason.
    event DisputeOpened(RoundId indexed round, address indexed challenger, uint40 decideBy, string reason);
    /// @notice Emitted when a vote upheld it, beside what the ledger and the vault emit.
    event DisputeUpheld(RoundId indexed round, address indexed challenger);
    /// @notice Emitted when a vote dismissed it: half of all deposits went to the coordinator, half was burnt.
    event DisputeDismissed(RoundId indexed round, address indexed challenger, uint256 burnt);
    /// @notice Emitted when a deposit went back, or was burnt because nobody decided: `burnt` is then all of it, else zero.
    event DisputeReturned(RoundId indexed round, address indexed challenger, uint256 burnt);

    /// @notice Thrown when the round can't be challenged: it is not anchored, or closed.
    error DisputesNotAnchored(RoundId round, IRoundLedger.Phase phase);
    /// @notice Thrown when a dispute comes after the regular challenge window.
    error DisputesTooLate(RoundId round, uint256 time, uint256 deadline);
    /// @notice Thrown when the dispute does not have the status that the call needs.
    error DisputesWrongStatus(RoundId round, Status current);
    /// @notice Thrown when an account joins a dispute in which it has a deposit.
    error DisputesAlreadyJoined(RoundId round, address challenger);
    /// @notice Thrown when an account has no deposit in the dispute, or has it back.
    error DisputesNotChallenger(RoundId round, address challenger);
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

    /// @notice Tokens that a dispute about a round costs until it is decided: a fixed part of the round's bond.
    function deposit(RoundId round) external view returns (uint256);

    /// @notice Seconds that a round waits for a vote: voting delay, period, extension and the timelock's delay fit in.
    function decisionWindow() external view returns (uint40);

    /// @notice The dispute about a round; all zero if there was none.
    function disputes(RoundId round) external view returns (Dispute memory);

    /// @notice Whether an account has a deposit in the dispute about a round.
    function hasDeposit(RoundId round, address challenger) external view returns (bool);

    /// @notice Dispute an anchored round, or join the dispute about it: the vote has its whole time from now on.
    /// @dev Needs an allowance of the deposit. Warning: half of the deposit is burnt and half goes to the coordinator if
    /// voters dismiss the dispute, and all of it is burnt if they don't decide.
    /// @param reason What is wrong, for the voters.
    function open(RoundId round, string calldata reason) external;

    /// @notice Void the round and burn the bond. Only governance, while the round is anchored.
    /// @dev Warning: a majority of the votes can burn a coordinator's bond by this. Nobody is paid from it. The challengers
    /// have their deposits back by `release`.
    function uphold(RoundId round) external;

    /// @notice Let the round go on as if it had not been disputed, and take all deposits. Only governance.
    /// @dev The round becomes final when it would have without the dispute, or at once if that time is over.
    function dismiss(RoundId round) external;

    /// @notice Give a challenger's deposit back: the dispute was upheld, or the round is void. Burn it if the time is up or
    /// the round is final. Anybody may call.
    function release(RoundId round, address challenger) external;
}
