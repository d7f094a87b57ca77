// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IJudge } from "../../src/interfaces/IJudge.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { ClampedSum } from "../../src/libraries/ClampedSum.sol";
import { Commitments } from "../../src/libraries/Commitments.sol";
import { GramBlocks } from "../../src/libraries/GramBlocks.sol";
import { GramTree } from "../../src/libraries/GramTree.sol";
import { Krum } from "../../src/libraries/Krum.sol";
import { Layout } from "../../src/libraries/Layout.sol";
import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { Openings } from "../../src/libraries/Openings.sol";
import { OuterStep } from "../../src/libraries/OuterStep.sol";
import { Places } from "../../src/libraries/Places.sol";
import { Shares } from "../../src/libraries/Shares.sol";
import { WeightedSum } from "../../src/libraries/WeightedSum.sol";

/// @notice The libraries behind external calls, so that a test can expect their reverts and measure their gas.
contract Libraries {
    function append(bytes32 previous, address contributor, bytes32 commitmentHash) external pure returns (bytes32) {
        return Commitments.append(previous, contributor, commitmentHash);
    }

    function isWeighed(address coordinator, uint256 delivered, IJudge.Entry[] calldata entries, uint256 entry)
        external
        pure
        returns (bool)
    {
        return Shares.isWeighed(coordinator, delivered, entries, entry);
    }

    function hashAnchor(IRoundLedger.Anchor calldata anchor) external pure returns (bytes32) {
        return Commitments.hashAnchor(anchor);
    }

    function isCrowd(uint256 total, uint256 maxContributors, uint256 minStake) external pure returns (bool) {
        return Places.isCrowd(total, maxContributors, minStake);
    }

    function draw(Places.Basis calldata basis, bytes32 blockHash, uint256 maxContributors, uint256 minStake)
        external
        pure
        returns (Places.Draw memory)
    {
        return Places.draw(basis, Places.seedOf(blockHash), maxContributors, minStake);
    }

    function hasPlace(Places.Draw calldata drawn, address account, uint256 enrolled) external pure returns (bool) {
        return Places.has(drawn, account, enrolled);
    }

    function layoutOf(bytes calldata layout) external pure returns (uint256 leaves, uint256 depth) {
        (leaves, depth,) = Layout.find(layout, 0);
    }

    function sumLeaf(bytes calldata values) external pure returns (MerkleSum.Node memory) {
        return MerkleSum.leaf(values);
    }

    function sumParent(MerkleSum.Node calldata left, MerkleSum.Node calldata right)
        external
        pure
        returns (MerkleSum.Node memory)
    {
        return MerkleSum.parent(left, right);
    }

    function sumClimb(MerkleSum.Node calldata node, uint256 index, MerkleSum.Node[] calldata siblings)
        external
        pure
        returns (MerkleSum.Node memory)
    {
        return MerkleSum.climb(node, index, siblings);
    }

    function treeLeaf(MerkleTree.Kind kind, bytes calldata values) external pure returns (bytes32) {
        return MerkleTree.leaf(kind, values);
    }

    function treeParent(MerkleTree.Kind kind, bytes32 left, bytes32 right) external pure returns (bytes32) {
        return MerkleTree.parent(kind, left, right);
    }

    function treeClimb(MerkleTree.Kind kind, bytes32 node, uint256 index, bytes32[] calldata siblings)
        external
        pure
        returns (bytes32)
    {
        return MerkleTree.climb(kind, node, index, siblings);
    }

    function stateRoot(bytes32 manifestHash, bytes32 thetaRoot, bytes32 momentumRoot) external pure returns (bytes32) {
        return MerkleTree.stateRoot(manifestHash, thetaRoot, momentumRoot);
    }

    function weightedSum(uint32[] calldata weights, bytes[] calldata leaves) external pure returns (bytes memory) {
        return WeightedSum.sum(weights, leaves);
    }

    function weightedValue(bytes calldata lanes, uint256 coordinate, uint256 weightSum) external pure returns (int256) {
        return WeightedSum.valueAt(lanes, coordinate, weightSum);
    }

    function meanAt(int256 aggregate, uint256 weightSum, uint256 scale) external pure returns (int256) {
        return WeightedSum.meanAt(aggregate, weightSum, scale);
    }

    function plainMean(bytes calldata lanes, uint256 weightSum, uint256 scale) external pure returns (bytes memory) {
        return WeightedSum.mean(lanes, weightSum, scale);
    }

    function meanLeaf(bytes calldata lanes, uint256 divisor, uint256 scale) external pure returns (bytes memory) {
        return Openings.mean(lanes, divisor, scale);
    }

    function clampedSum(uint32[] calldata weights, bytes[] calldata leaves, bytes calldata magnitudes)
        external
        pure
        returns (bytes memory)
    {
        ClampedSum.Sum memory sum = ClampedSum.start(magnitudes);
        for (uint256 i = 0; i < leaves.length; ++i) {
            ClampedSum.addLeaf(sum, weights[i], leaves[i]);
        }
        return ClampedSum.finish(sum, leaves.length);
    }

    function step(int64 theta, int64 momentum, int256 mean, OuterStep.Settings calldata settings)
        external
        pure
        returns (int64, int64)
    {
        return OuterStep.step(theta, momentum, mean, settings);
    }

    function inStateUnits(int256 mean, uint8 meanScale, int8 exponent) external pure returns (int256) {
        return OuterStep.inStateUnits(mean, meanScale, exponent);
    }

    function product(bytes calldata left, bytes calldata right, uint256 index) external pure returns (int256) {
        return GramBlocks.product(left, right, index);
    }

    function top(bytes calldata leaves, bytes calldata sums, uint256 levels, uint256 count)
        external
        pure
        returns (MerkleSum.Node memory)
    {
        return GramBlocks.top(leaves, sums, levels, count);
    }

    function climb(MerkleSum.Node calldata node, uint256 index, bytes calldata siblings, uint256 height)
        external
        pure
        returns (MerkleSum.Node memory)
    {
        return Openings.climb(node, index, siblings, height);
    }

    function selects(bytes calldata matrix, uint256 count, uint256 attackers, uint256 wanted, uint256 index)
        external
        pure
        returns (bool)
    {
        return Krum.selects(matrix, count, attackers, wanted, index);
    }

    function gramLeaf(bytes calldata matrix) external pure returns (bytes32) {
        return GramTree.leaf(matrix);
    }

    function gramNode(bytes32 left, bytes32 right, bytes32 digest) external pure returns (bytes32) {
        return GramTree.node(left, right, digest);
    }

    function gramClimb(bytes32 hash, uint256 index, bytes calldata path, uint256 height)
        external
        pure
        returns (bytes32)
    {
        return GramTree.climb(hash, index, path, height);
    }

    function gramEntry(bytes calldata matrix, uint256 a, uint256 b) external pure returns (int256) {
        return GramTree.entry(matrix, a, b);
    }
}
