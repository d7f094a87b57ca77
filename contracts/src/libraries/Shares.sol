// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IJudge } from "../interfaces/IJudge.sol";

/// @title Which entries of a round the rule weighs: equal roots share one share (docs/protocol.md, section 8).
library Shares {
    /// @notice Whether the rule weighs an entry: it was delivered, is not the coordinator's own, and is the first such
    /// entry with its root.
    /// @param coordinator Account that opened the round.
    /// @param delivered One bit an entry, as anchored. Entries are at most 256.
    /// @param entries All of the round, in order.
    /// @param entry Number of the entry, which there is.
    function isWeighed(address coordinator, uint256 delivered, IJudge.Entry[] calldata entries, uint256 entry)
        internal
        pure
        returns (bool)
    {
        if (!_isEligible(coordinator, delivered, entries[entry].contributor, entry)) return false;
        bytes32 root = entries[entry].updateRoot;
        for (uint256 i = 0; i < entry; ++i) {
            IJudge.Entry calldata earlier = entries[i];
            if (earlier.updateRoot == root && _isEligible(coordinator, delivered, earlier.contributor, i)) {
                return false;
            }
        }
        return true;
    }

    function _isEligible(address coordinator, uint256 delivered, address contributor, uint256 entry)
        private
        pure
        returns (bool)
    {
        return (delivered >> entry) & 1 == 1 && contributor != coordinator;
    }
}
