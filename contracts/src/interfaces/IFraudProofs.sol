// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundId } from "../libraries/Types.sol";
import { IJudge } from "./IJudge.sol";

/// @title Proofs that an anchor is wrong.
/// @notice Anybody brings one leaf of a round with its paths; the contract computes what the leaf must be. If the
/// anchor says something else, the round is void and its bond is taken, a quarter of it for the caller. A call that
/// proves nothing reverts and costs its gas: an honest anchor can't be struck, whatever is brought.
/// @dev Stateless. Everything that is brought is bound by a hash that the ledger stores: entries, anchor, header and
/// layout. Depth, tensor, padding and weights follow from those, never from the proof's own word.
/// Warning: the reward goes to whoever's transaction is included first, and a proof can be copied from the public
/// mempool. Send it privately where that matters; the round is void either way.
interface IFraudProofs is IJudge {
    /// @notice Input and result of an outer step, at one leaf.
    struct Step {
        /// @notice The encoded RoundHeader.
        bytes header;
        /// @notice Theta of the base.
        Leaf theta;
        /// @notice Momentum of the base.
        Leaf momentum;
        /// @notice The mean.
        Leaf mean;
        /// @notice Theta after the round, as anchored.
        Opening nextTheta;
        /// @notice Momentum after the round, as anchored.
        Opening nextMomentum;
    }

    /// @notice Kinds of errors.
    enum Lie {
        Mean,
        OuterStep,
        Update,
        Weight,
        Header,
        Entries
    }

    /// @notice Emitted when a proof holds, beside what the ledger and the vault emit.
    /// @param place Leaf, entry or field that is wrong, as the lie's function says.
    event FraudProven(RoundId indexed round, address indexed challenger, Lie indexed lie, uint256 place);

    /// @notice Thrown when the anchor is right at this place.
    error FraudProofsNoFraud(Lie lie, uint256 place);

    /// @notice Prove that a leaf of the mean is not the (weighted or clamped) mean of the updates' leaves, or that
    /// a place behind the last leaf is not empty.
    /// @param entries All of the round, in order. Those with a weight above 0 with leaf and path, unless the place is
    /// behind the last leaf.
    /// @param place Index of the leaf.
    /// @param claimed The leaf's hash in the anchored tree.
    /// @param hints Under `clamped_mean`: for each of the 256 coordinates the lower median of the absolute values of the
    /// updates that count, a byte each. Empty under other rules.
    function proveMean(
        Case calldata case_,
        Entry[] calldata entries,
        uint256 place,
        Opening calldata claimed,
        bytes calldata hints
    ) external;

    /// @notice Prove that the state after the round is not the outer step of its base, at one leaf, or that a place
    /// behind the last leaf is not empty.
    /// @dev It takes the anchored mean for granted: if that is wrong, `proveMean` is the way.
    function proveOuterStep(Case calldata case_, uint256 place, Step calldata step) external;

    /// @notice Prove that an update with a weight above 0 is invalid: an integer beyond the width, padding that is not
    /// zero, or sums that do not add up. The coordinator sees every byte before it gives a weight.
    /// @param entries All of the round, in order, without leaves.
    function proveUpdate(Case calldata case_, Entry[] calldata entries, Fault calldata fault) external;

    /// @notice Prove that an entry has a weight that the policy's rule never gives: above 0 for the coordinator's own, for
    /// one that did not arrive or for a copy of an earlier one, above 1 under a rule with equal weights, or above 65536.
    /// @param entries All of the round, in order, without leaves.
    /// @param entry Number of the entry.
    function proveWeight(Case calldata case_, Entry[] calldata entries, uint256 entry) external;

    /// @notice Prove that the anchor's `entriesRoot` is not that of the round's entries with the anchor's weights.
    /// @param entries All of the round, in order, without leaves.
    function proveEntries(Case calldata case_, Entry[] calldata entries) external;

    /// @notice Prove that the header is not the round's: another number, manifest, base, policy, width or seed, not
    /// one exponent a tensor from -40 to 4, or bytes that are not the encoding of these.
    /// @dev Exponents that are wrong within that range are found by an audit, not by this proof.
    function proveHeader(Case calldata case_, bytes calldata header) external;
}
