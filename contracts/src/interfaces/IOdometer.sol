// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "./IRoundLedger.sol";

/// @title What each contributor has spent of its privacy budget.
/// @notice The ledger charges the cost of an update (`Budget`) when it records its commitment, under a policy with noise.
/// The update is public from then on, so nothing is given back: not when the round is cancelled or void, nor when the
/// account leaves. An account is charged by its number, which it keeps for ever.
/// @dev What a vote can do: a new policy can have another cap, another noise and another number of steps, or no noise at
/// all, and rounds that open after it follow it. So a vote can raise the cap, and what an account has spent can then
/// pass the cap of an older policy. What no vote can do: lower what an account has spent, or charge it for a round in
/// which it has not committed. A contributor that wants a cap which no vote can raise sets it in its own signer.
/// The counters say what updates cost if their noise was drawn as the policy says. Nobody else can see whether it was.
interface IOdometer {
    /// @notice Thrown when somebody other than the ledger charges.
    error OdometerNotLedger(address caller, address ledger);

    /// @notice Charge members of one word for an update each. For the ledger alone. Reverts as a whole with
    /// `IRoundLedger.RoundLedgerBudgetSpent`, which names the first member whom it would take beyond the cap.
    /// @param wordIndex The word: the members with the numbers from 256 times it on.
    /// @param members One bit a member, the lowest for the first.
    /// @param noise1024 The policy's noise, not zero.
    /// @param steps The policy's steps.
    /// @param cap The policy's cap.
    function charge(uint256 wordIndex, uint256 members, uint256 noise1024, uint256 steps, uint256 cap) external;

    /// @notice What an account has spent, in units of 2^-32 of zCDP's rho.
    function spent(address account) external view returns (uint64);

    /// @notice The ledger that charges.
    function ledger() external view returns (IRoundLedger);
}
