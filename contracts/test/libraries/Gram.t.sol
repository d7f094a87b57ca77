// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { Openings } from "../../src/libraries/Openings.sol";
import { Libraries } from "../utils/Libraries.sol";
import { Test } from "../utils/Test.sol";
import { Trees } from "../utils/Trees.sol";

/// @notice The libraries behind the Gram proofs, each against a plain twin.
contract GramTest is Test {
    Libraries private _libraries;

    function setUp() public {
        _libraries = new Libraries();
    }

    function _bytes(uint256 seed, uint256 length) private pure returns (bytes memory data) {
        data = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            data[i] = bytes1(uint8(uint256(keccak256(abi.encode(seed, i / 32))) >> (8 * (i % 32))));
        }
    }

    function _plainProduct(bytes memory left, bytes memory right, uint256 index) private pure returns (int256 sum) {
        for (uint256 i = 256 * index; i < 256 * (index + 1); ++i) {
            sum += (int256(uint256(uint8(left[i]))) - 128) * (int256(uint256(uint8(right[i]))) - 128);
        }
    }

    function testFuzz_product_isTheSumOfTheProducts(uint256 seed, uint256 index) public view {
        index = bound(index, 0, 2);
        (bytes memory left, bytes memory right) = (_bytes(seed, 768), _bytes(~seed, 768));
        vm.assertEq(_libraries.product(left, right, index), _plainProduct(left, right, index), "product");
        vm.assertEq(_libraries.product(left, left, index), _plainProduct(left, left, index), "square");
    }

    function test_product_fillsItsLanesAndNoMore() public view {
        bytes[4] memory fills = [bytes(hex"00"), hex"01", hex"80", hex"ff"];
        for (uint256 i = 0; i < 16; ++i) {
            (bytes memory left, bytes memory right) = (new bytes(256), new bytes(256));
            for (uint256 c = 0; c < 256; ++c) {
                (left[c], right[c]) = (fills[i / 4][0], fills[i % 4][0]);
            }
            vm.assertEq(_libraries.product(left, right, 0), _plainProduct(left, right, 0), "equal bytes");
        }
    }

    function testFuzz_top_isTheNodeOfTheTree(uint256 seed, uint256 levels, uint256 count) public view {
        levels = bound(levels, 0, 4);
        count = bound(count, 1, 1 << levels);
        MerkleSum.Node[] memory nodes = new MerkleSum.Node[](count);
        bytes memory leaves;
        for (uint256 i = 0; i < count; ++i) {
            bytes memory leaf = _bytes(uint256(keccak256(abi.encode(seed, i))), 256);
            for (uint256 c = 0; c < 256; ++c) {
                if (leaf[c] == 0) leaf[c] = 0x01;
            }
            nodes[i] = MerkleSum.leaf(leaf);
            leaves = bytes.concat(leaves, leaf);
        }
        MerkleSum.Node[][] memory tree = Trees.sums(nodes, levels);
        MerkleSum.Node memory top = _libraries.top(leaves, _sums(tree), levels, count);
        vm.assertEq(top.hash, tree[levels][0].hash, "hash");
        vm.assertEq(uint256(top.absolute), uint256(tree[levels][0].absolute), "sum of |q|");
        vm.assertEq(uint256(top.squares), uint256(tree[levels][0].squares), "sum of q^2");
    }

    function _sums(MerkleSum.Node[][] memory tree) private pure returns (bytes memory sums) {
        for (uint256 level = 0; level < tree.length; ++level) {
            for (uint256 i = 0; i < tree[level].length; ++i) {
                sums = abi.encodePacked(sums, tree[level][i].absolute, tree[level][i].squares);
            }
        }
    }

    function test_top_failsForOtherSizes() public {
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsLeafSize.selector, 255, 256));
        _libraries.top(new bytes(255), new bytes(48), 1, 1);
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsPathLength.selector, 47, 48));
        _libraries.top(new bytes(256), new bytes(47), 1, 1);
    }

    // Multi-Krum.

    function _matrix(int256[][] memory gram) private pure returns (bytes memory matrix) {
        for (uint256 i = 0; i < gram.length; ++i) {
            for (uint256 j = 0; j <= i; ++j) {
                matrix = bytes.concat(matrix, bytes24(uint192(int192(gram[i][j]))));
            }
        }
    }

    /// @dev The rule as docs/protocol.md says it, in signed numbers and without shortcuts.
    function _plainKrum(int256[][] memory gram, int256 f, int256 m) private pure returns (bool[] memory chosen) {
        int256 n = int256(gram.length);
        if (n < 2 * f + 3) f = n < 3 ? int256(0) : (n - 3) / 2;
        int256 selected = m == 0 || n <= 2 ? n - f : (m < n - f ? m : n - f);
        int256 neighbours = n - f - 2 < 1 ? int256(1) : n - f - 2;
        int256[] memory scores = new int256[](gram.length);
        for (uint256 i = 0; i < gram.length; ++i) {
            bool[] memory used = new bool[](gram.length);
            used[i] = true;
            for (int256 round = 0; round < neighbours && round < n - 1; ++round) {
                uint256 nearest = gram.length;
                for (uint256 j = 0; j < gram.length; ++j) {
                    if (used[j]) continue;
                    if (nearest == gram.length || _distance(gram, i, j) < _distance(gram, i, nearest)) nearest = j;
                }
                used[nearest] = true;
                scores[i] += _distance(gram, i, nearest);
            }
        }
        chosen = new bool[](gram.length);
        for (int256 round = 0; round < selected; ++round) {
            uint256 best = gram.length;
            for (uint256 i = 0; i < gram.length; ++i) {
                if (!chosen[i] && (best == gram.length || scores[i] < scores[best])) best = i;
            }
            chosen[best] = true;
        }
    }

    function _distance(int256[][] memory gram, uint256 i, uint256 j) private pure returns (int256) {
        return gram[i][i] + gram[j][j] - 2 * gram[i][j];
    }

    /// @notice Small entries, so that ties are common; the matrix need not be one of products.
    function testFuzz_selects_followsTheRule(uint256 seed, uint256 count, uint256 f, uint256 m, uint256 span)
        public
        view
    {
        (count, f, m, span) = (bound(count, 1, 12), bound(f, 0, 7), bound(m, 0, 14), bound(span, 1, 60));
        int256[][] memory gram = new int256[][](count);
        for (uint256 i = 0; i < count; ++i) {
            gram[i] = new int256[](count);
        }
        for (uint256 i = 0; i < count; ++i) {
            for (uint256 j = 0; j <= i; ++j) {
                int256 value = int256(uint256(keccak256(abi.encode(seed, i, j))) % span) - int256(span / 2);
                (gram[i][j], gram[j][i]) = (value, value);
            }
        }
        _compare(gram, f, m);
    }

    function _compare(int256[][] memory gram, uint256 f, uint256 m) private view {
        bytes memory matrix = _matrix(gram);
        bool[] memory chosen = _plainKrum(gram, int256(f), int256(m));
        for (uint256 i = 0; i < gram.length; ++i) {
            vm.assertEq(_libraries.selects(matrix, gram.length, f, m, i), chosen[i], "selected");
        }
    }

    function test_selects_takesTheLargestEntriesThereAre() public view {
        int256[][] memory gram = new int256[][](3);
        for (uint256 i = 0; i < 3; ++i) {
            gram[i] = new int256[](3);
            for (uint256 j = 0; j < 3; ++j) {
                gram[i][j] = i == j ? int256(type(int192).max) : int256(type(int192).min);
            }
        }
        (gram[2][1], gram[1][2]) = (type(int192).max, type(int192).max);
        bytes memory matrix = _matrix(gram);
        vm.assertFalse(_libraries.selects(matrix, 3, 1, 2, 0), "far from both");
        vm.assertTrue(_libraries.selects(matrix, 3, 1, 2, 1), "near");
        vm.assertTrue(_libraries.selects(matrix, 3, 1, 2, 2), "near");
    }
}
