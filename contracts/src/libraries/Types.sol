// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Number of a round. Round 0 is the genesis: final, without updates, its state is the initial model.
/// A model version has the number of the round that made it.
type RoundId is uint64;

/// @notice Number of a policy. The first policy is 1.
type PolicyId is uint32;

using { sameRound as ==, differentRound as != } for RoundId global;

function sameRound(RoundId a, RoundId b) pure returns (bool) {
    return RoundId.unwrap(a) == RoundId.unwrap(b);
}

function differentRound(RoundId a, RoundId b) pure returns (bool) {
    return RoundId.unwrap(a) != RoundId.unwrap(b);
}
