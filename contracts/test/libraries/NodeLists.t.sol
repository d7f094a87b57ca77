// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { NodeLists } from "../../src/libraries/NodeLists.sol";
import { Test } from "../utils/Test.sol";
import { Trees } from "../utils/Trees.sol";

/// @notice The library's functions, called from outside.
contract NodeListsCaller {
    function plain(MerkleTree.Kind kind, bytes calldata list, uint256 height) external pure returns (bytes32) {
        return NodeLists.plain(kind, list, height);
    }

    function sums(bytes calldata list, uint256 height) external pure returns (bytes32) {
        return NodeLists.sums(list, height);
    }
}

/// @notice Lists against whole trees.
contract NodeListsTest is Test {
    NodeListsCaller private _caller = new NodeListsCaller();

    function testFuzz_plain_isTheNodeOfAWholeTree(uint256 seed, uint256 height, uint256 kind) public view {
        height = bound(height, 1, NodeLists.HEIGHT);
        MerkleTree.Kind tree = MerkleTree.Kind(bound(kind, 0, 2));
        bytes32[] memory nodes = new bytes32[](1 << height);
        for (uint256 i = 0; i < nodes.length; ++i) {
            nodes[i] = keccak256(abi.encode(seed, i));
        }
        bytes32 whole = Trees.hashes(tree, nodes, height)[height][0];
        vm.assertEq(_caller.plain(tree, abi.encodePacked(nodes), height), whole, "node");
    }

    function testFuzz_sums_isTheNodeOfAWholeTree(uint256 seed, uint256 height) public view {
        height = bound(height, 1, NodeLists.HEIGHT);
        MerkleSum.Node[] memory nodes = new MerkleSum.Node[](1 << height);
        for (uint256 i = 0; i < nodes.length; ++i) {
            uint256 word = uint256(keccak256(abi.encode(seed, i)));
            // Sums of up to 2^59, of which 32 fit into 64 bits.
            nodes[i] = MerkleSum.Node(bytes32(word), uint64(word >> 69) >> 5, uint64(word >> 133) >> 5);
        }
        bytes32 whole = Trees.sums(nodes, height)[height][0].hash;
        vm.assertEq(_caller.sums(Trees.list(nodes, 0, nodes.length), height), whole, "node");
    }

    function test_heightOf_isThatOfAListOrWhatIsLeft() public pure {
        vm.assertEq(NodeLists.heightOf(12), 5, "a whole list");
        vm.assertEq(NodeLists.heightOf(5), 5, "just one");
        vm.assertEq(NodeLists.heightOf(2), 2, "what is left");
    }

    function test_lists_needANodeForEachPlace() public {
        vm.expectRevert(abi.encodeWithSelector(NodeLists.NodeListsSize.selector, 127, 128));
        _caller.plain(MerkleTree.Kind.Theta, new bytes(127), 2);
        vm.expectRevert(abi.encodeWithSelector(NodeLists.NodeListsSize.selector, 193, 192));
        _caller.sums(new bytes(193), 2);
    }
}
