// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";

/// @notice Hash of an anchor in plain Solidity.
function plainAnchorHash(IRoundLedger.Anchor memory anchor) pure returns (bytes32) {
    return keccak256(
        abi.encode(
            keccak256(abi.encodePacked(anchor.weights)),
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
