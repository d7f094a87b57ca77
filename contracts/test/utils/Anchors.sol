// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";

/// @notice Hash of an anchor in plain Solidity.
function plainAnchorHash(IRoundLedger.Anchor memory anchor) pure returns (bytes32) {
    return keccak256(
        abi.encode(
            keccak256(abi.encodePacked(anchor.weights)),
            keccak256(abi.encodePacked(anchor.pays)),
            anchor.delivered,
            anchor.meanRoot,
            anchor.stateRoot,
            anchor.gramRoot,
            anchor.verdictHash,
            anchor.artifactsHash,
            anchor.entriesRoot
        )
    );
}

/// @notice The pays that an anchor must have under a rule: a full place for each entry that counts, or none at all.
function fullPays(bytes32 rule, uint32[] memory weights) pure returns (uint32[] memory pays) {
    pays = new uint32[](rule == "clamped_mean" ? weights.length : 0);
    for (uint256 i = 0; i < pays.length; ++i) {
        pays[i] = weights[i] == 0 ? 0 : 65_536;
    }
}
