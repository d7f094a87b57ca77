// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { Libraries } from "../utils/Libraries.sol";
import { Test } from "../utils/Test.sol";

/// @notice The Merkle-sum tree of updates, and the plain trees.
contract TreesTest is Test {
    Libraries private _libraries;

    function setUp() public {
        _libraries = new Libraries();
    }

    /// @dev 256 bytes, none of them zero, that differ from seed to seed.
    function _values(uint256 seed) private pure returns (bytes memory values) {
        values = new bytes(256);
        for (uint256 i = 0; i < 256; ++i) {
            values[i] = bytes1(uint8(1 + uint256(keccak256(abi.encode(seed, i))) % 255));
        }
    }

    /// @dev Levels of a tree over `count` leaves, from the leaves up, by a way of building other than climbing.
    function _levels(uint256 count, uint256 depth) private view returns (MerkleSum.Node[][] memory levels) {
        levels = new MerkleSum.Node[][](depth + 1);
        levels[0] = new MerkleSum.Node[](1 << depth);
        for (uint256 i = 0; i < count; ++i) {
            levels[0][i] = _libraries.sumLeaf(_values(i));
        }
        for (uint256 level = 1; level <= depth; ++level) {
            levels[level] = new MerkleSum.Node[](1 << (depth - level));
            for (uint256 i = 0; i < levels[level].length; ++i) {
                levels[level][i] = _libraries.sumParent(levels[level - 1][2 * i], levels[level - 1][2 * i + 1]);
            }
        }
    }

    function _assertNode(MerkleSum.Node memory given, MerkleSum.Node memory expected, string memory message)
        private
        pure
    {
        vm.assertEq(keccak256(abi.encode(given)), keccak256(abi.encode(expected)), message);
    }

    // Leaves.

    function test_leaf_countsItsSums() public view {
        bytes memory values = new bytes(256);
        for (uint256 i = 0; i < 256; ++i) {
            values[i] = 0x80;
        }
        MerkleSum.Node memory zero = _libraries.sumLeaf(values);
        vm.assertEq(uint256(zero.absolute), 0, "of zeros");
        vm.assertEq(zero.hash, keccak256(bytes.concat(hex"00", values)), "hash");
        (values[0], values[7], values[255]) = (0x01, 0xff, 0x7d);
        MerkleSum.Node memory node = _libraries.sumLeaf(values);
        vm.assertEq(uint256(node.absolute), 127 + 127 + 3, "of -127, 127 and -3");
        vm.assertEq(uint256(node.squares), 127 * 127 * 2 + 9, "squares of -127, 127 and -3");
    }

    function test_leaf_failsWithAnotherLength() public {
        vm.expectRevert(abi.encodeWithSelector(MerkleSum.MerkleSumLeafSize.selector, 255, 256));
        _libraries.sumLeaf(new bytes(255));
    }

    function test_leaf_failsOnTheByteThatNoCoordinateHas() public {
        bytes memory values = _values(0);
        values[200] = 0x00;
        vm.expectRevert(abi.encodeWithSelector(MerkleSum.MerkleSumInvalidByte.selector, 200));
        _libraries.sumLeaf(values);
    }

    function testFuzz_leaf_boundsItsSums(uint256 seed) public view {
        MerkleSum.Node memory node = _libraries.sumLeaf(_values(seed));
        vm.assertLe(node.absolute, 256 * 127, "sum of |q|");
        vm.assertLe(node.squares, 127 * uint256(node.absolute), "sum of squares");
        vm.assertLe(uint256(node.absolute) ** 2, 256 * uint256(node.squares), "Cauchy and Schwarz");
    }

    // Nodes and paths.

    function test_parent_bindsHashesAndSums() public view {
        MerkleSum.Node memory left = MerkleSum.Node(keccak256("left"), 3, 5);
        MerkleSum.Node memory right = MerkleSum.Node(keccak256("right"), 7, 11);
        MerkleSum.Node memory node = _libraries.sumParent(left, right);
        bytes memory preimage = bytes.concat(
            hex"01", left.hash, hex"00000000000000030000000000000005", right.hash, hex"0000000000000007000000000000000b"
        );
        vm.assertEq(node.hash, keccak256(preimage), "hash");
        vm.assertEq(uint256(node.absolute), 10, "sum of |q|");
        vm.assertEq(uint256(node.squares), 16, "sum of squares");
        left.squares += 1;
        vm.assertFalse(_libraries.sumParent(left, right).hash == node.hash, "another sum is another node");
    }

    function test_parent_failsWhenASumOverflows() public {
        MerkleSum.Node memory large = MerkleSum.Node(bytes32(0), type(uint64).max, 0);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        _libraries.sumParent(large, MerkleSum.Node(bytes32(0), 1, 0));
    }

    function testFuzz_climb_reachesTheRootFromEveryLeaf(uint256 count) public view {
        count = bound(count, 1, 9);
        uint256 depth = 0;
        while (1 << depth < count) ++depth;
        MerkleSum.Node[][] memory levels = _levels(count, depth);
        for (uint256 i = 0; i < count; ++i) {
            MerkleSum.Node[] memory siblings = new MerkleSum.Node[](depth);
            for (uint256 level = 0; level < depth; ++level) {
                siblings[level] = levels[level][(i >> level) ^ 1];
            }
            _assertNode(_libraries.sumClimb(levels[0][i], i, siblings), levels[depth][0], "root");
            if (depth == 0) continue;
            MerkleSum.Node memory misplaced = _libraries.sumClimb(levels[0][i], i ^ 1, siblings);
            vm.assertFalse(misplaced.hash == levels[depth][0].hash, "a leaf has one place");
        }
    }

    function test_climb_failsForAnIndexWithoutAPlace() public {
        vm.expectRevert(abi.encodeWithSelector(MerkleSum.MerkleSumIndexOutOfRange.selector, 4, 2));
        _libraries.sumClimb(MerkleSum.Node(bytes32(0), 0, 0), 4, new MerkleSum.Node[](2));
        vm.expectRevert(abi.encodeWithSelector(MerkleTree.MerkleTreeIndexOutOfRange.selector, 1, 0));
        _libraries.treeClimb(MerkleTree.Kind.Theta, bytes32(0), 1, new bytes32[](0));
    }

    // Plain trees.

    function test_trees_haveTheirOwnPrefixes() public view {
        bytes memory values = hex"0102";
        (bytes32 left, bytes32 right) = (keccak256("left"), keccak256("right"));
        bytes[3] memory leaves = [bytes(hex"02"), hex"04", hex"06"];
        bytes[3] memory nodes = [bytes(hex"03"), hex"05", hex"07"];
        for (uint8 i = 0; i < 3; ++i) {
            MerkleTree.Kind kind = MerkleTree.Kind(i);
            vm.assertEq(_libraries.treeLeaf(kind, values), keccak256(bytes.concat(leaves[i], values)), "leaf");
            vm.assertEq(
                _libraries.treeParent(kind, left, right), keccak256(bytes.concat(nodes[i], left, right)), "node"
            );
        }
        vm.assertEq(
            _libraries.stateRoot(bytes32(uint256(1)), left, right),
            keccak256(bytes.concat(hex"08", bytes32(uint256(1)), left, right)),
            "state root"
        );
    }

    function test_climb_isDirectedByTheIndex() public view {
        MerkleTree.Kind kind = MerkleTree.Kind.Mean;
        bytes32[] memory siblings = new bytes32[](2);
        (siblings[0], siblings[1]) = (keccak256("near"), keccak256("far"));
        bytes32 node = keccak256("node");
        bytes32 low = _libraries.treeParent(kind, siblings[0], node);
        vm.assertEq(_libraries.treeClimb(kind, node, 1, siblings), _libraries.treeParent(kind, low, siblings[1]), "01");
        low = _libraries.treeParent(kind, node, siblings[0]);
        vm.assertEq(_libraries.treeClimb(kind, node, 2, siblings), _libraries.treeParent(kind, siblings[1], low), "10");
    }
}
