// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The tree over the entries of a round and their weights (docs/protocol.md, section 3).
/// @notice Its root is in the anchor: a path of at most eight hashes proves that an account's update is in a round, and with
/// which weight it counts.
library EntryTree {
    uint8 private constant LEAF = 0x14;
    uint8 private constant NODE = 0x15;

    /// @notice Hash of an entry with its weight.
    function leaf(address contributor, bytes32 commitmentHash, uint32 weight) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(LEAF, contributor, commitmentHash, weight));
    }

    /// @notice Root over leaves, of which there must be at least one. Overwrites them.
    function root(bytes32[] memory nodes) internal pure returns (bytes32) {
        bytes32 empty = bytes32(0);
        uint256 count = nodes.length;
        while (count > 1) {
            for (uint256 i = 0; i < count; i += 2) {
                nodes[i / 2] = _parent(nodes[i], i + 1 < count ? nodes[i + 1] : empty);
            }
            empty = _parent(empty, empty);
            count = (count + 1) / 2;
        }
        return nodes[0];
    }

    function _parent(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(NODE, left, right));
    }
}
