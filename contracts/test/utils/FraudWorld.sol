// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Arbiter } from "../../src/Arbiter.sol";
import { ContributorFaults } from "../../src/ContributorFaults.sol";
import { DataAvailability } from "../../src/DataAvailability.sol";
import { Disputes } from "../../src/Disputes.sol";
import { FraudProofs } from "../../src/FraudProofs.sol";
import { IFraudProofs } from "../../src/interfaces/IFraudProofs.sol";
import { IJudge } from "../../src/interfaces/IJudge.sol";
import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { EntryTree } from "../../src/libraries/EntryTree.sol";
import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { OuterStep } from "../../src/libraries/OuterStep.sol";
import { Widths } from "../../src/libraries/Widths.sol";
import { PolicyId, RoundId } from "../../src/libraries/Types.sol";
import { WeightedSum } from "../../src/libraries/WeightedSum.sol";
import { fullPays } from "./Anchors.sol";
import { RoundTest } from "./RoundTest.sol";
import { Trees } from "./Trees.sol";

/// @notice A federation with real updates, trees, header, mean and states: a small model of four tensors in five
/// leaves, so that there are padding, a tensor of two leaves, and three empty places.
abstract contract FraudWorld is RoundTest {
    uint256 internal constant LEAVES = 5;
    uint256 internal constant DEPTH = 3;
    uint256 internal constant CONTRIBUTORS = 3;
    bytes32 internal constant DOCUMENT = keccak256("manifest.json");
    uint256 internal constant DEPOSIT = 10e18 + 1;
    uint256 internal constant DISPUTE_DEPOSIT = BOND / 4;
    uint40 internal constant ANSWER_WINDOW = 2 hours;
    uint40 internal constant DECISION_WINDOW = UNBONDING_PERIOD;

    /// @notice Everything about a round. A test changes something, builds the rest on it, and anchors that.
    struct World {
        RoundId round;
        bytes[LEAVES][CONTRIBUTORS] updates;
        MerkleSum.Node[][][CONTRIBUTORS] updateTrees;
        uint32[] weights;
        uint256 delivered;
        bytes header;
        bytes[] mean;
        bytes[] theta;
        bytes[] momentum;
        bytes[] nextTheta;
        bytes[] nextMomentum;
        bytes32[][] meanTree;
        bytes32[][] nextThetaTree;
        bytes32[][] nextMomentumTree;
        IRoundLedger.Anchor anchor;
    }

    FraudProofs internal fraud;
    ContributorFaults internal faults;
    DataAvailability internal availability;
    Disputes internal disputes;
    Arbiter internal arbiter;
    bytes32 private _genesisState;

    function setUp() public virtual override {
        (bytes[] memory theta, bytes[] memory momentum) = genesis();
        _genesisState = stateRootOf(theta, momentum);
        super.setUp();
        fraud = new FraudProofs(ledger);
        faults = new ContributorFaults(ledger);
        availability = new DataAvailability(ledger, token, vault, DEPOSIT, ANSWER_WINDOW);
        disputes = new Disputes(ledger, token, vault, address(timelock), DECISION_WINDOW);
        address[] memory judges = new address[](4);
        (judges[0], judges[1]) = (address(fraud), address(faults));
        (judges[2], judges[3]) = (address(availability), address(disputes));
        arbiter = new Arbiter(ledger, judges);
        vm.assertEq(address(arbiter), policy().verifier, "the address that the policy names");
        vm.startPrank(challenger.addr);
    }

    // What it is made of.

    function layout() internal pure returns (bytes memory) {
        return abi.encodePacked(uint64(300), uint64(256), uint64(10), uint64(1));
    }

    function valuesIn(uint256 leaf) internal pure returns (uint256) {
        return [uint256(256), 44, 256, 10, 1][leaf];
    }

    function tensorOf(uint256 leaf) internal pure returns (uint256) {
        return [uint256(0), 0, 1, 2, 3][leaf];
    }

    function exponents() internal pure returns (bytes memory) {
        return abi.encodePacked(int8(-12), int8(-3), int8(-40), int8(4));
    }

    function manifestHash() internal pure virtual override returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(layout()), DOCUMENT));
    }

    function genesisState() internal view override returns (bytes32) {
        return _genesisState;
    }

    function policy() internal view virtual override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.rule = "guided_mean";
        made.maxSumSquares = type(uint64).max;
        // The test contract deploys judges and arbiter once the ledger is there.
        made.verifier = vm.computeCreateAddress(address(this), 5);
    }

    function genesis() internal pure returns (bytes[] memory theta, bytes[] memory momentum) {
        (theta, momentum) = (new bytes[](LEAVES), new bytes[](LEAVES));
        for (uint256 j = 0; j < LEAVES; ++j) {
            (theta[j], momentum[j]) = (stateLeaf("theta", j), stateLeaf("momentum", j));
        }
    }

    /// @notice 256 values of up to 40 bits, zeros in the padding.
    function stateLeaf(string memory what, uint256 j) internal pure returns (bytes memory leaf) {
        leaf = new bytes(2048);
        uint256 word = 0;
        for (uint256 c = 0; c < valuesIn(j); ++c) {
            if (c & 7 == 0) word = uint256(keccak256(abi.encode(what, j, c)));
            int64 value = int64(int256((word >> (32 * (c & 7))) & 0xffffffff)) * 257 - int64(1 << 39);
            putInt64(leaf, c, value);
        }
    }

    function putInt64(bytes memory leaf, uint256 c, int64 value) internal pure {
        uint64 raw = uint64(value);
        assembly ("memory-safe") {
            let place := add(add(leaf, 0x20), mul(8, c))
            mstore(place, or(shl(192, raw), shr(64, shl(64, mload(place)))))
        }
    }

    function int64At(bytes memory leaf, uint256 c) internal pure returns (int64) {
        uint256 word = 0;
        assembly ("memory-safe") {
            word := mload(add(add(leaf, 0x20), mul(8, c)))
        }
        return int64(uint64(word >> 192));
    }

    function stateRootOf(bytes[] memory theta, bytes[] memory momentum) internal pure returns (bytes32) {
        return MerkleTree.stateRoot(
            manifestHash(),
            treeOf(MerkleTree.Kind.Theta, theta)[DEPTH][0],
            treeOf(MerkleTree.Kind.Momentum, momentum)[DEPTH][0]
        );
    }

    function treeOf(MerkleTree.Kind kind, bytes[] memory leaves) internal pure returns (bytes32[][] memory) {
        bytes32[] memory hashes = new bytes32[](leaves.length);
        for (uint256 j = 0; j < leaves.length; ++j) {
            hashes[j] = MerkleTree.leaf(kind, leaves[j]);
        }
        return Trees.hashes(kind, hashes, DEPTH);
    }

    // A round.

    /// @notice Updates of random bytes, with their trees; nothing is on the chain yet.
    function invent(uint256 seed) internal view returns (World memory world) {
        world.round = ledger.nextRound();
        (world.theta, world.momentum) = genesis();
        world.weights = new uint32[](CONTRIBUTORS);
        (world.weights[0], world.weights[1], world.weights[2]) = (65_536, 0, 12_345);
        world.delivered = (1 << CONTRIBUTORS) - 1;
        world.header = headerOf(world.round, exponents());
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            MerkleSum.Node[] memory leaves = new MerkleSum.Node[](LEAVES);
            for (uint256 j = 0; j < LEAVES; ++j) {
                world.updates[i][j] = updateLeaf(uint256(keccak256(abi.encode(seed, i, j))), valuesIn(j));
                leaves[j] = MerkleSum.leaf(world.updates[i][j]);
            }
            world.updateTrees[i] = Trees.sums(leaves, DEPTH);
        }
    }

    /// @notice Rounds from the next one on have this width.
    function narrow(uint8 width) internal {
        IPolicies.Policy memory added = policy();
        added.width = width;
        vm.stopPrank();
        vm.prank(address(timelock));
        policies.addPolicy(added);
        vm.startPrank(challenger.addr);
    }

    /// @notice A leaf with the smallest and the largest integers of a width, and its padding.
    function edgeLeaf(uint8 width, uint256 values) internal pure returns (bytes memory leaf) {
        leaf = new bytes(256);
        uint256 largest = Widths.largest(width);
        for (uint256 c = 0; c < 256; ++c) {
            leaf[c] = bytes1(uint8(c >= values ? 128 : c & 1 == 0 ? 128 - largest : 128 + largest));
        }
    }

    function updateLeaf(uint256 seed, uint256 values) internal pure virtual returns (bytes memory leaf) {
        leaf = new bytes(256);
        uint256 word = 0;
        for (uint256 c = 0; c < 256; ++c) {
            if (c & 31 == 0) word = uint256(keccak256(abi.encode(seed, c)));
            leaf[c] = c < values ? bytes1(uint8(1 + ((word >> (8 * (c & 31))) & 0xff) % 255)) : bytes1(0x80);
        }
    }

    function headerOf(RoundId round, bytes memory exponents_) internal view returns (bytes memory) {
        bytes32 base = headRoot();
        uint64 number = RoundId.unwrap(round);
        bytes32 seed = keccak256(abi.encodePacked(bytes1(0x11), block.chainid, address(ledger), number, base));
        uint32 policyId_ = PolicyId.unwrap(policies.currentPolicy());
        uint8 width = policies.policies(policies.currentPolicy()).width;
        return abi.encode(number, manifestHash(), base, policyId_, width, seed, exponents_);
    }

    function commitmentsOf(World memory world) internal view returns (IRoundLedger.Commitment[] memory commitments) {
        commitments = new IRoundLedger.Commitment[](CONTRIBUTORS);
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            MerkleSum.Node memory root = world.updateTrees[i][DEPTH][0];
            commitments[i] = IRoundLedger.Commitment({
                contributor: [alice.addr, bob.addr, carol.addr][i],
                round: world.round,
                baseStateRoot: genesisState(),
                updateRoot: root.hash,
                sumSquares: root.squares,
                memoryHash: keccak256(abi.encode("memory", i)),
                bundleHash: keccak256("bundle")
            });
        }
    }

    /// @notice What an honest coordinator computes from updates and weights.
    function compute(World memory world) internal view virtual {
        world.mean = new bytes[](LEAVES);
        uint256 weightSum = 0;
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            weightSum += world.weights[i];
        }
        for (uint256 j = 0; j < LEAVES; ++j) {
            bytes[] memory column = new bytes[](CONTRIBUTORS);
            for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
                column[i] = world.updates[i][j];
            }
            world.mean[j] = WeightedSum.mean(WeightedSum.sum(world.weights, column), weightSum, policy().meanScale);
        }
        step(world);
        build(world);
    }

    /// @notice The outer step from the mean.
    function step(World memory world) internal view {
        (world.nextTheta, world.nextMomentum) = (new bytes[](LEAVES), new bytes[](LEAVES));
        for (uint256 j = 0; j < LEAVES; ++j) {
            OuterStep.Settings memory settings = OuterStep.Settings({
                meanScale: policy().meanScale,
                exponent: int8(uint8(exponents()[tensorOf(j)])),
                rate: policy().rate,
                momentum: policy().momentum
            });
            (world.nextTheta[j], world.nextMomentum[j]) = (new bytes(2048), new bytes(2048));
            for (uint256 c = 0; c < 256; ++c) {
                (int64 theta, int64 momentum) = OuterStep.step(
                    int64At(world.theta[j], c),
                    int64At(world.momentum[j], c),
                    int256(uint256(uint8(world.mean[j][c]))) - 128,
                    settings
                );
                putInt64(world.nextTheta[j], c, theta);
                putInt64(world.nextMomentum[j], c, momentum);
            }
        }
    }

    /// @notice The trees and the anchor over what the world says.
    function build(World memory world) internal view {
        world.meanTree = treeOf(MerkleTree.Kind.Mean, world.mean);
        world.nextThetaTree = treeOf(MerkleTree.Kind.Theta, world.nextTheta);
        world.nextMomentumTree = treeOf(MerkleTree.Kind.Momentum, world.nextMomentum);
        seal(world);
    }

    /// @notice The anchor over the trees as they are.
    function seal(World memory world) internal view {
        world.anchor = IRoundLedger.Anchor({
            weights: world.weights,
            pays: fullPays(policy().rule, world.weights),
            delivered: world.delivered,
            meanRoot: world.meanTree[DEPTH][0],
            stateRoot: MerkleTree.stateRoot(
                manifestHash(), world.nextThetaTree[DEPTH][0], world.nextMomentumTree[DEPTH][0]
            ),
            gramRoot: bytes32(0),
            verdictHash: keccak256("verdicts"),
            artifactsHash: keccak256("artifacts"),
            entriesRoot: entriesRootOf(world)
        });
    }

    /// @notice Root over the entries and their weights.
    function entriesRootOf(World memory world) internal view returns (bytes32) {
        IRoundLedger.Commitment[] memory commitments = commitmentsOf(world);
        bytes32[] memory leaves = new bytes32[](commitments.length);
        for (uint256 i = 0; i < leaves.length; ++i) {
            bytes32 hash = ledger.hashCommitment(commitments[i]);
            leaves[i] = EntryTree.leaf(commitments[i].contributor, hash, world.weights[i]);
        }
        return EntryTree.root(leaves);
    }

    /// @notice Put the world on the chain: open, commit, anchor.
    function publish(World memory world) internal {
        vm.stopPrank();
        vm.prank(coordinator.addr);
        ledger.openRound(world.round, genesisState(), keccak256(world.header));
        IRoundLedger.Commitment[] memory commitments = commitmentsOf(world);
        for (uint256 i = 0; i < commitments.length; ++i) {
            vm.prank(commitments[i].contributor);
            ledger.commitUpdate(commitments[i]);
        }
        skipCommitWindow(world.round);
        vm.prank(coordinator.addr);
        ledger.anchor(world.round, entriesHashOf(world.round), world.anchor);
        vm.startPrank(challenger.addr);
    }

    // Proofs.

    function caseOf(World memory world) internal pure returns (IJudge.Case memory) {
        return IJudge.Case(world.round, world.anchor, layout(), DOCUMENT);
    }

    /// @notice Entries with their leaves at a place, or without leaves.
    function entriesOf(World memory world, uint256 place) internal view returns (IJudge.Entry[] memory entries) {
        IRoundLedger.Commitment[] memory commitments = commitmentsOf(world);
        entries = new IJudge.Entry[](CONTRIBUTORS);
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            entries[i].contributor = commitments[i].contributor;
            entries[i].updateRoot = commitments[i].updateRoot;
            entries[i].sumSquares = commitments[i].sumSquares;
            entries[i].memoryHash = commitments[i].memoryHash;
            entries[i].bundleHash = commitments[i].bundleHash;
            if (place >= LEAVES || world.weights[i] == 0) continue;
            MerkleSum.Node memory node = world.updateTrees[i][0][place];
            entries[i].leaf = world.updates[i][place];
            (entries[i].absolute, entries[i].squares) = (node.absolute, node.squares);
            entries[i].siblings = Trees.path(world.updateTrees[i], 0, place);
        }
    }

    function opening(bytes32[][] memory tree, uint256 place) internal pure returns (IJudge.Opening memory) {
        return IJudge.Opening(tree[0][place], Trees.path(tree, place));
    }

    function stepOf(World memory world, uint256 place) internal pure returns (IFraudProofs.Step memory made) {
        made.header = world.header;
        made.nextTheta = opening(world.nextThetaTree, place);
        made.nextMomentum = opening(world.nextMomentumTree, place);
        if (place >= LEAVES) return made;
        made.theta = leafOf(MerkleTree.Kind.Theta, world.theta, place);
        made.momentum = leafOf(MerkleTree.Kind.Momentum, world.momentum, place);
        made.mean = IJudge.Leaf(world.mean[place], Trees.path(world.meanTree, place));
    }

    function leafOf(MerkleTree.Kind kind, bytes[] memory leaves, uint256 place)
        internal
        pure
        returns (IJudge.Leaf memory)
    {
        return IJudge.Leaf(leaves[place], Trees.path(treeOf(kind, leaves), place));
    }

    function faultAt(World memory world, uint256 entry, uint256 level, uint256 index)
        internal
        pure
        returns (IJudge.Fault memory fault)
    {
        MerkleSum.Node[][] memory tree = world.updateTrees[entry];
        (fault.entry, fault.level, fault.index) = (entry, level, index);
        fault.node = tree[level][index];
        fault.siblings = Trees.path(tree, level, index);
        if (level > 0) (fault.left, fault.right) = (tree[level - 1][2 * index], tree[level - 1][2 * index + 1]);
        else if (index < LEAVES) fault.leaf = world.updates[entry][index];
    }

    // What must follow.

    function expectNoFraud(IFraudProofs.Lie lie, uint256 place) internal {
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.FraudProofsNoFraud.selector, lie, place));
    }

    function assertSlashed(World memory world) internal view {
        assertPhase(world.round, IRoundLedger.Phase.Slashed, "the round is void");
        vm.assertEq(token.balanceOf(challenger.addr), BOND / 4, "the challenger is paid");
        assertHead(id(0), "training goes on from the base");
    }
}
