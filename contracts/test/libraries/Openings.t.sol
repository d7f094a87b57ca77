// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { Openings } from "../../src/libraries/Openings.sol";
import { WeightedSum } from "../../src/libraries/WeightedSum.sol";
import { Test } from "../utils/Test.sol";

/// @notice The functions that read call data against their plain twins.
contract OpeningsTest is Test {
    Caller private _caller;

    function setUp() public {
        _caller = new Caller();
    }

    function _leaf(uint256 seed) private pure returns (bytes memory leaf) {
        leaf = new bytes(256);
        for (uint256 c = 0; c < 256; ++c) {
            leaf[c] = bytes1(uint8(uint256(keccak256(abi.encode(seed, c)))));
        }
    }

    function testFuzz_hashLeaf_isTheLeafOfTheTree(uint256 seed) public view {
        bytes memory leaf = _leaf(seed);
        vm.assertEq(_caller.hashLeaf(leaf), keccak256(abi.encodePacked(bytes1(0), leaf)), "hash");
    }

    function testFuzz_leaf_isThePlainLeaf(uint256 seed, uint8 place) public {
        bytes memory values = _leaf(seed);
        for (uint256 c = 0; c < 256; ++c) {
            if (values[c] == 0) values[c] = 0x80;
        }
        MerkleSum.Node memory expected = MerkleSum.leaf(values);
        MerkleSum.Node memory given = _caller.leaf(values);
        vm.assertEq(given.hash, expected.hash, "hash");
        vm.assertEq(uint256(given.absolute), expected.absolute, "sum of |q|");
        vm.assertEq(uint256(given.squares), expected.squares, "sum of q^2");
        values[place] = 0;
        vm.expectRevert(abi.encodeWithSelector(MerkleSum.MerkleSumInvalidByte.selector, place));
        _caller.leaf(values);
    }

    function testFuzz_requireRange_findsWhatIsBeyond(uint256 seed, uint8 place, uint8 value, bool narrow) public {
        uint256 largest = narrow ? 1 : 7;
        bytes memory values = new bytes(512);
        for (uint256 c = 0; c < 512; ++c) {
            seed = uint256(keccak256(abi.encode(seed)));
            values[c] = bytes1(uint8(128 - largest + seed % (2 * largest + 1)));
        }
        _caller.requireRange(values, largest);
        values[256 + uint256(place)] = bytes1(value);
        if (value < 128 - largest || value > 128 + largest) {
            uint256 word = 256 + uint256(place) / 32 * 32;
            vm.expectRevert(abi.encodeWithSelector(MerkleSum.MerkleSumInvalidByte.selector, word));
        }
        _caller.requireRange(values, largest);
    }

    function testFuzz_climb_isThePlainClimb(uint256 seed, uint256 index, uint256 height) public view {
        height = bound(height, 0, 24);
        index = bound(index, 0, (1 << height) - 1);
        MerkleSum.Node memory node = _node(seed, 99);
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](height);
        bytes memory packed;
        for (uint256 level = 0; level < height; ++level) {
            siblings[level] = _node(seed, level);
            packed = abi.encodePacked(packed, siblings[level].hash, siblings[level].absolute, siblings[level].squares);
        }
        MerkleSum.Node memory expected = MerkleSum.climb(node, index, siblings);
        MerkleSum.Node memory given = _caller.climb(node, index, packed, height);
        vm.assertEq(given.hash, expected.hash, "hash");
        vm.assertEq(uint256(given.absolute), expected.absolute, "sum of |q|");
        vm.assertEq(uint256(given.squares), expected.squares, "sum of q^2");
    }

    function _node(uint256 seed, uint256 level) private pure returns (MerkleSum.Node memory) {
        uint256 word = uint256(keccak256(abi.encode(seed, level)));
        // 25 of them stay below 2^64.
        return MerkleSum.Node(keccak256(abi.encode(word)), uint64(word >> 197), uint64(uint128(word) >> 69));
    }

    function test_climb_failsWhenASumRunsOver() public {
        bytes memory sibling = abi.encodePacked(keccak256("b"), uint64(1), uint64(1));
        MerkleSum.Node memory node = MerkleSum.Node(keccak256("a"), 1, type(uint64).max);
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsSumTooLarge.selector, uint256(1) << 64));
        _caller.climb(node, 1, sibling, 1);
    }

    function test_climb_failsWithoutAPlace() public {
        MerkleSum.Node memory node = MerkleSum.Node(keccak256("a"), 1, 1);
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsIndexOutOfRange.selector, 2, 1));
        _caller.climb(node, 2, new bytes(48), 1);
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsPathLength.selector, 47, 48));
        _caller.climb(node, 0, new bytes(47), 1);
    }

    function testFuzz_addWeighted_isThePlainSum(uint256 seed, uint24 first, uint24 second) public view {
        bytes[] memory leaves = new bytes[](2);
        uint32[] memory weights = new uint32[](2);
        (leaves[0], leaves[1]) = (_leaf(seed), _leaf(seed ^ 1));
        (weights[0], weights[1]) = (uint32(first) / 2, uint32(second) / 2);
        bytes memory given = _caller.sum(weights, leaves);
        vm.assertEq(given, WeightedSum.sum(weights, leaves), "lanes");
    }

    /// @dev Updates of at most `steps`, and scales up to 127 / steps: means reach the ends of a byte.
    function testFuzz_mean_isThePlainMean(uint256 seed, uint8 steps, uint24 first, uint24 second, bool one)
        public
        view
    {
        steps = uint8(bound(steps, 1, 127));
        bytes[] memory leaves = new bytes[](2);
        uint32[] memory weights = new uint32[](2);
        (weights[0], weights[1]) = (1 + uint32(first) / 2, one ? 0 : uint32(second) / 2);
        for (uint256 i = 0; i < 2; ++i) {
            leaves[i] = _leaf(seed ^ i);
            for (uint256 c = 0; c < 256; ++c) {
                leaves[i][c] = bytes1(128 - steps + uint8(leaves[i][c]) % (2 * steps + 1));
            }
        }
        bytes memory lanes = _caller.sum(weights, leaves);
        uint256 weightSum = uint256(weights[0]) + weights[1];
        for (uint256 scale = 1; scale <= 127 / steps; scale += 1 + scale / 2) {
            bytes memory given = _caller.mean(lanes, weightSum, scale);
            vm.assertEq(given, WeightedSum.mean(lanes, weightSum, scale), "mean");
        }
    }

    function test_mean_holdsTheEndsOfEveryLane() public view {
        uint32[] memory weights = new uint32[](1);
        bytes[] memory leaves = new bytes[](1);
        weights[0] = uint32(WeightedSum.MAX_WEIGHT_SUM);
        for (uint256 high = 0; high < 2; ++high) {
            leaves[0] = new bytes(256);
            bytes memory most = new bytes(256);
            for (uint256 c = 0; c < 256; ++c) {
                (leaves[0][c], most[c]) = high == 1 ? (bytes1(0x81), bytes1(0xff)) : (bytes1(0x7f), bytes1(0x01));
            }
            vm.assertEq(_caller.mean(_caller.sum(weights, leaves), weights[0], 127), most, "127 steps of one");
            vm.assertEq(_caller.mean(_caller.sum(weights, leaves), weights[0], 1), leaves[0], "one step of one");
        }
    }

    function test_everyLeafHas256Bytes() public {
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsLeafSize.selector, 255, 256));
        _caller.hashLeaf(new bytes(255));
        bytes[] memory leaves = new bytes[](1);
        leaves[0] = new bytes(257);
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsLeafSize.selector, 257, 256));
        _caller.sum(new uint32[](1), leaves);
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsLeafSize.selector, 1023, 1024));
        _caller.add(new bytes(1023), new bytes(256));
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsLeafSize.selector, 256, 1024));
        _caller.mean(new bytes(256), 1, 1);
    }
}

/// @notice Call data for the library.
contract Caller {
    function hashLeaf(bytes calldata values) external pure returns (bytes32) {
        return Openings.hashLeaf(values);
    }

    function leaf(bytes calldata values) external pure returns (MerkleSum.Node memory) {
        return Openings.leaf(values);
    }

    function requireRange(bytes calldata values, uint256 largest) external pure {
        Openings.requireRange(values, largest);
    }

    function climb(MerkleSum.Node calldata node, uint256 index, bytes calldata siblings, uint256 height)
        external
        pure
        returns (MerkleSum.Node memory)
    {
        return Openings.climb(node, index, siblings, height);
    }

    function sum(uint32[] calldata weights, bytes[] calldata leaves) external pure returns (bytes memory lanes) {
        lanes = new bytes(1024);
        for (uint256 i = 0; i < leaves.length; ++i) {
            Openings.addWeighted(lanes, weights[i], leaves[i]);
        }
    }

    function add(bytes memory lanes, bytes calldata leaf) external pure {
        Openings.addWeighted(lanes, 1, leaf);
    }

    function mean(bytes memory lanes, uint256 divisor, uint256 scale) external pure returns (bytes memory) {
        return Openings.mean(lanes, divisor, scale);
    }
}
