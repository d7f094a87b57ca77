// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundId } from "../libraries/Types.sol";
import { IJudge } from "./IJudge.sol";
import { IRoundLedger } from "./IRoundLedger.sol";

/// @title Faults of contributors: two commitments for one round, an invalid update tree, a replay.
/// @notice Each is a fact that signatures and hashes prove. An unusual update is not a fault: suspicion costs
/// weight (the policy's rule), never stake. Whoever proves a fault gets half of the policy's minimum stake, the rest is
/// burnt; the round stands, and one round costs a contributor that much once at most.
/// @dev Stateless. Warning: as with all proofs, the reward goes to whoever's transaction is included first.
interface IContributorFaults is IJudge {
    /// @notice What the contributor did.
    enum Kind {
        TwoCommitments,
        FalseTree,
        Replay
    }

    /// @notice Emitted when a proof holds, beside what the ledger and the vault emit.
    event FaultProven(RoundId indexed round, address indexed contributor, address indexed challenger, Kind kind);

    /// @notice Thrown when the arguments prove no fault.
    error ContributorFaultsNoFault(Kind kind);
    /// @notice Thrown when a signature is not the contributor's.
    error ContributorFaultsInvalidSignature(address contributor, bytes32 digest);

    /// @notice Prove that a contributor signed two different commitments for one round, both for the round's base.
    /// @dev One of them is usually the recorded one, but need not be. That the bases are the round's excuses a contributor
    /// whose chain was reorganised: a round that was opened anew on another base is another round to it.
    /// Warning: a node that forgets what it signed and trains again is at fault; it must keep what it signed before it
    /// sends it. The contributor must have a commitment in the round.
    function proveTwoCommitments(
        IRoundLedger.Commitment calldata first,
        bytes calldata firstSignature,
        IRoundLedger.Commitment calldata second,
        bytes calldata secondSignature
    ) external;

    /// @notice Prove that a committed update tree is invalid: an integer beyond the width, padding that is not zero, sums
    /// that do not add up, or another sum of squares than the committed one. Whatever the entry's weight.
    /// @param layout Elements of each tensor, a big-endian uint64 each.
    /// @param manifestDocument keccak256 of the manifest file.
    /// @param entries All of the round that are recorded, in order, without leaves.
    function proveFalseTree(
        RoundId round,
        bytes calldata layout,
        bytes32 manifestDocument,
        Entry[] calldata entries,
        Fault calldata fault
    ) external;

    /// @notice Prove that an entry's update is, to the bit, one of an earlier round, its own or another's.
    /// @dev Not if the two rounds have the same base: who trains again after a cancelled round may send the same. Not
    /// below a sum of squares of MIN_REPLAY_SQUARES. Whoever was first is never at fault, and nobody can be first in a
    /// round that is over.
    /// Warning: for a model of a handful of parameters, all of them cut off at the largest value, equal updates can be
    /// honest; a policy for such a model should not name this judge.
    /// @param entries All of the round that are recorded, in order, without leaves.
    /// @param entry Number of the copy.
    /// @param earlier The earlier round.
    /// @param earlierEntries All of it, likewise.
    /// @param earlierEntry Number of the update that was copied.
    function proveReplay(
        RoundId round,
        Entry[] calldata entries,
        uint256 entry,
        RoundId earlier,
        Entry[] calldata earlierEntries,
        uint256 earlierEntry
    ) external;
}
