// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IJudge } from "../src/interfaces/IJudge.sol";
import { MerkleSum } from "../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../src/libraries/MerkleTree.sol";
import { Libraries } from "./utils/Libraries.sol";
import { Test } from "./utils/Test.sol";
import { MAX_TENSORS, Trees } from "./utils/Trees.sol";

/// @notice What the judges compute with, against the valid and invalid cases that every implementation of docs/protocol.md
/// is to pass: those of tests/vectors/cases.json, which tools/contract_cases.py writes in columns.
/// @dev Left out, by name: what a library is not told (the number of leaves, the largest sum of weights). The contracts
/// that call it hold that; their tests have it.
contract CasesTest is Test {
    Libraries private _libraries;
    string private _json;

    function setUp() public {
        _libraries = new Libraries();
        _json = vm.readFile("../tests/vectors/contract_cases.json");
    }

    // Reading.

    /// @dev One column of the siblings of one case.
    function _siblings(string memory group, uint256 i, string memory column) private pure returns (string memory) {
        return string.concat(group, ".siblings[", vm.toString(i), "]", column);
    }

    /// @dev One field of all cases of a group.
    function _all(string memory group, string memory field) private pure returns (string memory) {
        return string.concat(group, ".", field);
    }

    function _check(string memory result, bool accepted, string memory comment) private pure {
        vm.assertEq(accepted, _same(result, "valid"), comment);
    }

    function _same(string memory left, string memory right) private pure returns (bool) {
        return keccak256(bytes(left)) == keccak256(bytes(right));
    }

    function _endsWith(string memory text, string memory end) private pure returns (bool) {
        bytes memory whole = bytes(text);
        bytes memory last = bytes(end);
        if (whole.length < last.length) return false;
        for (uint256 i = 0; i < last.length; ++i) {
            if (whole[whole.length - last.length + i] != last[i]) return false;
        }
        return true;
    }

    function _needsLeaves(string memory comment) private pure returns (bool) {
        return _endsWith(comment, "another number of leaves") || _endsWith(comment, "an index behind the last leaf")
            || _endsWith(comment, "a leaf that is too short, in a tree of its own");
    }

    // Groups.

    /// @dev What is too much no contract refuses: the manifest, whose hash a layout must have, limits it. So the limit is
    /// compared with the one that the tests of gas have.
    function test_Layouts() public view {
        string memory group = ".layout";
        string[] memory results = vm.parseJsonStringArray(_json, _all(group, "result"));
        string[] memory comments = vm.parseJsonStringArray(_json, _all(group, "comment"));
        uint256[] memory elements = vm.parseJsonUintArray(_json, _all(group, "elements"));
        uint256[] memory tensors = vm.parseJsonUintArray(_json, _all(group, "tensors"));
        uint256[] memory leaves = vm.parseJsonUintArray(_json, _all(group, "leaves"));
        uint256[] memory depths = vm.parseJsonUintArray(_json, _all(group, "depth"));
        bytes32[] memory hashes = vm.parseJsonBytes32Array(_json, _all(group, "layoutHash"));
        uint256 most;
        uint256 refused;
        for (uint256 i = 0; i < results.length; ++i) {
            if (i >= hashes.length) {
                _check(results[i], false, comments[i]);
                if (tensors[i] > refused) refused = tensors[i];
                continue;
            }
            bytes memory layout = Trees.repeated(abi.encodePacked(uint64(elements[i])), tensors[i]);
            (uint256 found, uint256 depth) = _libraries.layoutOf(layout);
            vm.assertEq(found, leaves[i], comments[i]);
            vm.assertEq(depth, depths[i], comments[i]);
            vm.assertEq(keccak256(layout), hashes[i], comments[i]);
            if (tensors[i] > most) most = tensors[i];
        }
        vm.assertEq(most, MAX_TENSORS, "the most tensors");
        vm.assertEq(refused, MAX_TENSORS + 1, "one more");
    }

    function test_PathsOfUpdateTrees() public view {
        string memory group = ".updateProof";
        string[] memory results = vm.parseJsonStringArray(_json, _all(group, "result"));
        string[] memory comments = vm.parseJsonStringArray(_json, _all(group, "comment"));
        bytes32[] memory roots = vm.parseJsonBytes32Array(_json, _all(group, "root"));
        bytes[] memory leaves = vm.parseJsonBytesArray(_json, _all(group, "leaf"));
        uint256[] memory squares = vm.parseJsonUintArray(_json, _all(group, "sumSquares"));
        uint256[] memory indices = vm.parseJsonUintArray(_json, _all(group, "index"));
        uint256 checked;
        for (uint256 i = 0; i < results.length; ++i) {
            if (_needsLeaves(comments[i])) continue;
            bool accepted = _opensUpdate(group, i, roots[i], squares[i], leaves[i], indices[i]);
            _check(results[i], accepted, comments[i]);
            ++checked;
        }
        vm.assertEq(checked, uint256(16), "number of cases");
    }

    function _opensUpdate(
        string memory group,
        uint256 i,
        bytes32 root,
        uint256 squares,
        bytes memory leaf,
        uint256 index
    ) private view returns (bool) {
        bytes32[] memory hashes = vm.parseJsonBytes32Array(_json, _siblings(group, i, ".hash"));
        uint256[] memory absolute = vm.parseJsonUintArray(_json, _siblings(group, i, ".absolute"));
        uint256[] memory squared = vm.parseJsonUintArray(_json, _siblings(group, i, ".squares"));
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](hashes.length);
        for (uint256 level = 0; level < hashes.length; ++level) {
            // A transaction with more has no such call: its decoder refuses it.
            if (absolute[level] > type(uint64).max || squared[level] > type(uint64).max) return false;
            siblings[level] = MerkleSum.Node(hashes[level], uint64(absolute[level]), uint64(squared[level]));
        }
        try _libraries.sumLeaf(leaf) returns (MerkleSum.Node memory node) {
            try _libraries.sumClimb(node, index, siblings) returns (MerkleSum.Node memory top) {
                return top.hash == root && top.squares == squares;
            } catch {
                return false;
            }
        } catch {
            return false;
        }
    }

    function test_PathsOfPlainTrees() public view {
        string memory group = ".treeProof";
        string[] memory results = vm.parseJsonStringArray(_json, _all(group, "result"));
        string[] memory comments = vm.parseJsonStringArray(_json, _all(group, "comment"));
        string[] memory trees = vm.parseJsonStringArray(_json, _all(group, "tree"));
        bytes32[] memory roots = vm.parseJsonBytes32Array(_json, _all(group, "root"));
        bytes[] memory leaves = vm.parseJsonBytesArray(_json, _all(group, "leaf"));
        uint256[] memory indices = vm.parseJsonUintArray(_json, _all(group, "index"));
        uint256 checked;
        for (uint256 i = 0; i < results.length; ++i) {
            if (_needsLeaves(comments[i])) continue;
            bytes32[] memory siblings = vm.parseJsonBytes32Array(_json, _siblings(group, i, ""));
            MerkleTree.Kind kind = _kind(trees[i]);
            bool accepted;
            try _libraries.treeClimb(kind, _libraries.treeLeaf(kind, leaves[i]), indices[i], siblings) returns (
                bytes32 top
            ) {
                accepted = top == roots[i];
            } catch { }
            _check(results[i], accepted, comments[i]);
            ++checked;
        }
        vm.assertEq(checked, uint256(17), "number of cases");
    }

    function _kind(string memory tree) private pure returns (MerkleTree.Kind) {
        if (_same(tree, "mean")) return MerkleTree.Kind.Mean;
        return _same(tree, "theta") ? MerkleTree.Kind.Theta : MerkleTree.Kind.Momentum;
    }

    /// @dev Finding M5, in the cases that Python has too.
    function test_M5_copiesShareOneShare() public view {
        string memory group = ".shares";
        string[] memory comments = vm.parseJsonStringArray(_json, _all(group, "comment"));
        address[] memory coordinators = vm.parseJsonAddressArray(_json, _all(group, "coordinator"));
        uint256[] memory delivered = vm.parseJsonUintArray(_json, _all(group, "delivered"));
        uint256[] memory weighed = vm.parseJsonUintArray(_json, _all(group, "weighed"));
        vm.assertEq(comments.length, uint256(12), "number of cases");
        for (uint256 i = 0; i < comments.length; ++i) {
            string memory place = string.concat("[", vm.toString(i), "]");
            address[] memory contributors =
                vm.parseJsonAddressArray(_json, string.concat(group, ".contributors", place));
            bytes32[] memory roots = vm.parseJsonBytes32Array(_json, string.concat(group, ".roots", place));
            IJudge.Entry[] memory entries = new IJudge.Entry[](roots.length);
            for (uint256 j = 0; j < roots.length; ++j) {
                (entries[j].contributor, entries[j].updateRoot) = (contributors[j], roots[j]);
            }
            uint256 found = 0;
            for (uint256 j = 0; j < roots.length; ++j) {
                if (_libraries.isWeighed(coordinators[i], delivered[i], entries, j)) found |= 1 << j;
            }
            vm.assertEq(found, weighed[i], comments[i]);
        }
    }

    function test_OuterSteps() public view {
        string memory group = ".outerStep";
        string[] memory results = vm.parseJsonStringArray(_json, _all(group, "result"));
        string[] memory comments = vm.parseJsonStringArray(_json, _all(group, "comment"));
        string[7] memory names = ["theta", "momentum", "mean", "meanScale", "exponent", "rate", "decay"];
        int256[][7] memory inputs;
        for (uint256 k = 0; k < names.length; ++k) {
            inputs[k] = vm.parseJsonIntArray(_json, _all(group, names[k]));
        }
        // Valid cases come first, so that the place of a result is that of its case.
        int256[] memory thetas = vm.parseJsonIntArray(_json, _all(group, "newTheta"));
        int256[] memory momenta = vm.parseJsonIntArray(_json, _all(group, "newMomentum"));
        vm.assertEq(thetas.length, uint256(35), "number of valid cases");
        uint256 checked;
        for (uint256 i = 0; i < results.length; ++i) {
            if (_same(comments[i], "the mean scale is above 127")) continue;
            (bool done, bytes memory answer) = _step(inputs, i);
            _check(results[i], done, comments[i]);
            if (done) vm.assertEq(answer, abi.encode(thetas[i], momenta[i]), comments[i]);
            ++checked;
        }
        vm.assertEq(checked, uint256(40), "number of cases");
    }

    /// @dev Sends words, so that the contract's own decoder sees what does not fit its types.
    function _step(int256[][7] memory inputs, uint256 i) private view returns (bool, bytes memory) {
        bytes memory call = abi.encodePacked(Libraries.step.selector);
        for (uint256 k = 0; k < inputs.length; ++k) {
            call = bytes.concat(call, abi.encode(inputs[k][i]));
        }
        return address(_libraries).staticcall(call);
    }
}
