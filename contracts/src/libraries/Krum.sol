// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { GramTree } from "./GramTree.sol";

/// @title Multi-Krum on a small Gram matrix (docs/protocol.md, section 8).
library Krum {
    /// @notice Whether the rule selects an update.
    /// @param matrix Lower triangle of the Gram matrix, of the size that `count` updates have.
    /// @param count Number of updates, at least 1.
    /// @param attackers Parameter f.
    /// @param wanted Parameter m.
    /// @param index Number of the update.
    function selects(bytes calldata matrix, uint256 count, uint256 attackers, uint256 wanted, uint256 index)
        internal
        pure
        returns (bool)
    {
        if (count < 2 * attackers + 3) attackers = count < 3 ? 0 : (count - 3) / 2;
        uint256 most = count - attackers;
        uint256 selected = wanted == 0 || count <= 2 || wanted > most ? most : wanted;
        uint256 neighbours = count <= 2 ? count - 1 : most - 2;
        int256[] memory norms = new int256[](count);
        for (uint256 i = 0; i < count; ++i) {
            norms[i] = GramTree.entry(matrix, i, i);
        }
        int256 own = _score(matrix, norms, index, neighbours);
        uint256 before = 0;
        for (uint256 i = 0; i < count; ++i) {
            if (i == index) continue;
            int256 score = _score(matrix, norms, i, neighbours);
            if (score < own || (score == own && i < index)) ++before;
        }
        return before < selected;
    }

    /// @dev Sum of the smallest distances of update i. A matrix that is none may have negative ones; that changes nothing:
    /// entries have 192 bits, so that nothing runs over.
    function _score(bytes calldata matrix, int256[] memory norms, uint256 i, uint256 neighbours)
        private
        pure
        returns (int256 score)
    {
        unchecked {
            int256[] memory sorted = new int256[](norms.length - 1);
            for (uint256 j = 0; j < norms.length; ++j) {
                if (j == i) continue;
                int256 inner = i > j ? GramTree.entry(matrix, i, j) : GramTree.entry(matrix, j, i);
                int256 distance = norms[i] + norms[j] - 2 * inner;
                uint256 place = j < i ? j : j - 1;
                for (; place > 0 && sorted[place - 1] > distance; --place) {
                    sorted[place] = sorted[place - 1];
                }
                sorted[place] = distance;
            }
            for (uint256 j = 0; j < neighbours; ++j) {
                score += sorted[j];
            }
        }
    }
}
