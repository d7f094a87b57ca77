// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../interfaces/IRoundLedger.sol";

/// @title Pays: what an anchor says that each entry gets of a full place (docs/protocol.md, section 8).
/// @notice Under `clamped_mean` an anchor has one pay an entry. Under other rules it has none, and the weights say what
/// an entry gets.
library Pays {
    /// @notice The pay that is a full place.
    uint32 internal constant FULL = 1 << 16;
    /// @notice The rule that has pays.
    bytes32 internal constant CLAMPED_MEAN = "clamped_mean";

    /// @notice Revert unless there are as many pays as the rule has, none is above a full place, and an entry that does
    /// not count gets none. Weights and entries must be equally many.
    function requireSound(IRoundLedger.Anchor calldata anchor, bool hasPays) internal pure {
        uint32[] calldata weights = anchor.weights;
        uint32[] calldata pays = anchor.pays;
        uint256 required = hasPays ? weights.length : 0;
        if (pays.length != required) revert IRoundLedger.RoundLedgerLengthMismatch(pays.length, required);
        for (uint256 i = 0; i < required; ++i) {
            uint256 max = weights[i] == 0 ? 0 : FULL;
            if (pays[i] > max) revert IRoundLedger.RoundLedgerInvalidPay(i, pays[i], max);
        }
    }

    /// @notice What the entries of a recorded anchor get: `parts[i] / whole` of a place. `whole` is not zero, because the
    /// ledger refuses weights that add up to zero.
    function parts(IRoundLedger.Anchor calldata anchor) internal pure returns (uint32[] calldata, uint256 whole) {
        if (anchor.pays.length > 0) return (anchor.pays, FULL);
        uint32[] calldata weights = anchor.weights;
        for (uint256 i = 0; i < weights.length; ++i) {
            if (weights[i] > whole) whole = weights[i];
        }
        return (weights, whole);
    }
}
