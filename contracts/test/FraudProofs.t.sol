// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IFraudProofs } from "../src/interfaces/IFraudProofs.sol";
import { IJudge } from "../src/interfaces/IJudge.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { Layout } from "../src/libraries/Layout.sol";
import { MerkleSum } from "../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../src/libraries/MerkleTree.sol";
import { Openings } from "../src/libraries/Openings.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { plainAnchorHash } from "./utils/Anchors.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";
import { Trees } from "./utils/Trees.sol";

/// @notice Each lie is proven by one leaf; nothing else is proven by anything.
contract FraudProofsTest is FraudWorld {
    function _wrongPath(bytes32 given, bytes32 committed) private {
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, given, committed));
    }

    function _wrongRecord(bytes32 given, bytes32 recorded) private {
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, given, recorded));
    }

    function _honest() private returns (World memory world) {
        world = invent(1);
        compute(world);
        publish(world);
    }

    function _proveMean(World memory world, uint256 place) private {
        fraud.proveMean(caseOf(world), entriesOf(world, place), place, opening(world.meanTree, place), "");
    }

    // An honest round.

    function test_anHonestRoundIsNotStruck() public {
        World memory world = _honest();
        for (uint256 place = 0; place < 1 << DEPTH; ++place) {
            IJudge.Case memory case_ = caseOf(world);
            IJudge.Entry[] memory entries = entriesOf(world, place);
            IJudge.Opening memory claimed = opening(world.meanTree, place);
            expectNoFraud(IFraudProofs.Lie.Mean, place);
            fraud.proveMean(case_, entries, place, claimed, "");
            IFraudProofs.Step memory made = stepOf(world, place);
            expectNoFraud(IFraudProofs.Lie.OuterStep, place);
            fraud.proveOuterStep(case_, place, made);
        }
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        for (uint256 entry = 0; entry < CONTRIBUTORS; ++entry) {
            for (uint256 level = 0; level <= DEPTH; ++level) {
                for (uint256 index = 0; index < 1 << (DEPTH - level); ++index) {
                    IJudge.Fault memory fault = faultAt(world, entry, level, index);
                    IJudge.Case memory case_ = caseOf(world);
                    expectNoFraud(IFraudProofs.Lie.Update, entry);
                    fraud.proveUpdate(case_, bare, fault);
                }
            }
            expectNoFraud(IFraudProofs.Lie.Weight, entry);
            fraud.proveWeight(caseOf(world), bare, entry);
        }
        expectNoFraud(IFraudProofs.Lie.Header, 0);
        fraud.proveHeader(caseOf(world), world.header);
        assertPhase(world.round, IRoundLedger.Phase.Anchored, "it stands");
    }

    // A wrong mean.

    /// forge-config: default.fuzz.runs = 24
    function testFuzz_proveMean_findsAnyWrongLeaf(uint256 seed, uint256 place, uint256 at) public {
        World memory world = invent(seed);
        compute(world);
        (place, at) = (bound(place, 0, LEAVES - 1), bound(at, 0, 255));
        world.mean[place][at] = bytes1(uint8(world.mean[place][at]) ^ uint8(1 + (seed % 255)));
        build(world);
        publish(world);
        vm.expectEmit(address(fraud));
        emit IFraudProofs.FraudProven(world.round, challenger.addr, IFraudProofs.Lie.Mean, place);
        _proveMean(world, place);
        assertSlashed(world);
    }

    function test_proveMean_findsALeafOfAnotherLength() public {
        World memory world = invent(2);
        compute(world);
        world.meanTree[0][1] = keccak256("no leaf at all");
        _rehash(MerkleTree.Kind.Mean, world.meanTree);
        seal(world);
        publish(world);
        _proveMean(world, 1);
        assertSlashed(world);
    }

    /// @notice Nobody can open what is behind the last leaf, but the path of the last leaf shows it.
    function test_proveMean_findsWhatIsBehindTheLastLeaf() public {
        World memory world = invent(3);
        compute(world);
        _hide(MerkleTree.Kind.Mean, world.meanTree);
        seal(world);
        publish(world);
        _proveMean(world, LEAVES - 1);
        assertSlashed(world);
    }

    /// @dev Put a hash of which nobody knows more over the last two places.
    function _hide(MerkleTree.Kind kind, bytes32[][] memory tree) private pure {
        tree[1][3] = keccak256("of what nobody knows");
        tree[2][1] = MerkleTree.parent(kind, tree[1][2], tree[1][3]);
        tree[3][0] = MerkleTree.parent(kind, tree[2][0], tree[2][1]);
    }

    /// forge-config: default.fuzz.runs = 4
    function testFuzz_proveOuterStep_findsWhatIsBehindTheLastLeaf(bool inTheta) public {
        World memory world = invent(3);
        compute(world);
        if (inTheta) _hide(MerkleTree.Kind.Theta, world.nextThetaTree);
        else _hide(MerkleTree.Kind.Momentum, world.nextMomentumTree);
        seal(world);
        publish(world);
        fraud.proveOuterStep(caseOf(world), LEAVES - 1, stepOf(world, LEAVES - 1));
        assertSlashed(world);
    }

    function test_proveMean_findsAPlaceThatShouldBeEmpty() public {
        World memory world = invent(3);
        compute(world);
        world.meanTree[0][LEAVES] = keccak256("hidden");
        _rehash(MerkleTree.Kind.Mean, world.meanTree);
        seal(world);
        publish(world);
        _proveMean(world, LEAVES);
        assertSlashed(world);
    }

    function _rehash(MerkleTree.Kind kind, bytes32[][] memory levels) private pure {
        for (uint256 level = 1; level < levels.length; ++level) {
            for (uint256 i = 0; i < levels[level].length; ++i) {
                levels[level][i] = MerkleTree.parent(kind, levels[level - 1][2 * i], levels[level - 1][2 * i + 1]);
            }
        }
    }

    function test_proveMean_needsEveryLeafThatCounts() public {
        World memory world = _honest();
        IJudge.Entry[] memory entries = entriesOf(world, 0);
        entries[2].leaf = world.updates[2][1];
        bytes32 given = _climb(world, 2, entries[2], 0);
        _wrongPath(given, entries[2].updateRoot);
        fraud.proveMean(caseOf(world), entries, 0, opening(world.meanTree, 0), "");

        entries = entriesOf(world, 0);
        entries[2].absolute += 1;
        given = _climb(world, 2, entries[2], 0);
        _wrongPath(given, entries[2].updateRoot);
        fraud.proveMean(caseOf(world), entries, 0, opening(world.meanTree, 0), "");

        entries = entriesOf(world, 0);
        entries[2].leaf = "";
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsLeafSize.selector, 0, 256));
        fraud.proveMean(caseOf(world), entries, 0, opening(world.meanTree, 0), "");

        entries = entriesOf(world, 0);
        entries[2].siblings = abi.encodePacked(entries[2].siblings, new bytes(48));
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsPathLength.selector, 48 * 4, 48 * 3));
        fraud.proveMean(caseOf(world), entries, 0, opening(world.meanTree, 0), "");
    }

    function _climb(World memory world, uint256 entry, IJudge.Entry memory given, uint256 index)
        private
        pure
        returns (bytes32)
    {
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](DEPTH);
        for (uint256 level = 0; level < DEPTH; ++level) {
            siblings[level] = world.updateTrees[entry][level][(index >> level) ^ 1];
        }
        bytes32 hash = keccak256(abi.encodePacked(bytes1(0), given.leaf));
        return MerkleSum.climb(MerkleSum.Node(hash, given.absolute, given.squares), index, siblings).hash;
    }

    function test_proveMean_takesNoOtherPlace() public {
        World memory world = _honest();
        uint256 outside = 1 << DEPTH;
        vm.expectRevert(abi.encodeWithSelector(MerkleTree.MerkleTreeIndexOutOfRange.selector, outside, DEPTH));
        fraud.proveMean(caseOf(world), entriesOf(world, LEAVES), outside, opening(world.meanTree, 0), "");
        IJudge.Opening memory short = opening(world.meanTree, 0);
        short.siblings = new bytes32[](DEPTH - 1);
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsPathLength.selector, DEPTH - 1, DEPTH));
        fraud.proveMean(caseOf(world), entriesOf(world, 0), 0, short, "");
        IJudge.Opening memory moved = opening(world.meanTree, 1);
        bytes32 elsewhere = MerkleTree.climb(MerkleTree.Kind.Mean, moved.leaf, 0, moved.siblings);
        _wrongPath(elsewhere, world.anchor.meanRoot);
        fraud.proveMean(caseOf(world), entriesOf(world, 0), 0, moved, "");
    }

    // A wrong step.

    /// forge-config: default.fuzz.runs = 24
    function testFuzz_proveOuterStep_findsAnyWrongState(uint256 seed, uint256 place, uint256 at, bool momentum) public {
        World memory world = invent(seed);
        compute(world);
        (place, at) = (bound(place, 0, LEAVES - 1), bound(at, 0, 2047));
        bytes memory leaf = momentum ? world.nextMomentum[place] : world.nextTheta[place];
        leaf[at] = bytes1(uint8(leaf[at]) ^ uint8(1 + (seed % 255)));
        build(world);
        publish(world);
        vm.expectEmit(address(fraud));
        emit IFraudProofs.FraudProven(world.round, challenger.addr, IFraudProofs.Lie.OuterStep, place);
        fraud.proveOuterStep(caseOf(world), place, stepOf(world, place));
        assertSlashed(world);
    }

    function test_proveOuterStep_findsAPlaceThatShouldBeEmpty() public {
        World memory world = invent(4);
        compute(world);
        world.nextMomentumTree[0][7] = keccak256("hidden");
        _rehash(MerkleTree.Kind.Momentum, world.nextMomentumTree);
        seal(world);
        publish(world);
        fraud.proveOuterStep(caseOf(world), 7, stepOf(world, 7));
        assertSlashed(world);
    }

    function test_proveOuterStep_needsTheBaseAndTheAnchor() public {
        World memory world = _honest();
        IJudge.Case memory case_ = caseOf(world);
        IFraudProofs.Step memory made = stepOf(world, 2);
        made.theta.values = world.momentum[2];
        bytes32 root = MerkleTree.stateRoot(
            manifestHash(),
            MerkleTree.climb(
                MerkleTree.Kind.Theta, MerkleTree.leaf(MerkleTree.Kind.Theta, world.momentum[2]), 2, made.theta.siblings
            ),
            treeOf(MerkleTree.Kind.Momentum, world.momentum)[DEPTH][0]
        );
        _wrongPath(root, genesisState());
        fraud.proveOuterStep(case_, 2, made);

        made = stepOf(world, 2);
        made.mean.values = world.mean[1];
        root = MerkleTree.climb(
            MerkleTree.Kind.Mean, MerkleTree.leaf(MerkleTree.Kind.Mean, world.mean[1]), 2, made.mean.siblings
        );
        _wrongPath(root, world.anchor.meanRoot);
        fraud.proveOuterStep(case_, 2, made);

        made = stepOf(world, 2);
        made.nextTheta.leaf = keccak256("another");
        root = MerkleTree.stateRoot(
            manifestHash(),
            MerkleTree.climb(MerkleTree.Kind.Theta, made.nextTheta.leaf, 2, made.nextTheta.siblings),
            world.nextMomentumTree[DEPTH][0]
        );
        _wrongPath(root, world.anchor.stateRoot);
        fraud.proveOuterStep(case_, 2, made);

        made = stepOf(world, 2);
        made.header = headerOf(world.round, new bytes(4));
        _wrongRecord(keccak256(made.header), keccak256(world.header));
        fraud.proveOuterStep(case_, 2, made);

        made = stepOf(world, 2);
        made.theta.values = new bytes(2040);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeSize.selector, 2040, 2048));
        fraud.proveOuterStep(case_, 2, made);
    }

    /// @notice A header without an exponent for the tensor proves itself, not a step.
    function test_proveOuterStep_needsAnExponent() public {
        World memory world = invent(5);
        world.header = headerOf(world.round, hex"00");
        compute(world);
        publish(world);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 3, 1));
        fraud.proveOuterStep(caseOf(world), 4, stepOf(world, 4));
        fraud.proveHeader(caseOf(world), world.header);
        assertSlashed(world);
    }

    // An update that is none.

    function _withTree(World memory world) private {
        compute(world);
        publish(world);
    }

    function _proveUpdate(World memory world, IJudge.Fault memory fault) private {
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        fraud.proveUpdate(caseOf(world), bare, fault);
        assertSlashed(world);
    }

    /// @dev Put a leaf with claimed sums into an update's tree.
    function _plant(
        World memory world,
        uint256 entry,
        uint256 leaf,
        bytes memory values,
        uint64 absolute,
        uint64 squares
    ) private pure {
        world.updates[entry][leaf] = values;
        MerkleSum.Node[][] memory tree = world.updateTrees[entry];
        tree[0][leaf] = MerkleSum.Node(keccak256(abi.encodePacked(bytes1(0), values)), absolute, squares);
        for (uint256 level = 1; level <= DEPTH; ++level) {
            Trees.rehash(tree, level);
        }
    }

    /// forge-config: default.fuzz.runs = 24
    function testFuzz_proveUpdate_findsALeafWithFalseSums(uint256 seed, uint256 leaf, uint64 absolute, uint64 squares)
        public
    {
        World memory world = invent(seed);
        leaf = bound(leaf, 0, LEAVES - 1);
        MerkleSum.Node memory truth = world.updateTrees[2][0][leaf];
        (absolute, squares) = (absolute >> 8, squares >> 8);
        vm.assume(absolute != truth.absolute || squares != truth.squares);
        _plant(world, 2, leaf, world.updates[2][leaf], absolute, squares);
        _withTree(world);
        _proveUpdate(world, faultAt(world, 2, 0, leaf));
    }

    /// @notice Nobody can open what is behind the last leaf, but the path of the last leaf shows it.
    function test_proveUpdate_findsWhatIsBehindTheLastLeaf() public {
        World memory world = invent(6);
        world.updateTrees[0][1][3] = MerkleSum.Node(keccak256("of what nobody knows"), 0, 1);
        Trees.rehash(world.updateTrees[0], 2);
        Trees.rehash(world.updateTrees[0], 3);
        _withTree(world);
        _proveUpdate(world, faultAt(world, 0, 0, LEAVES - 1));
    }

    function test_proveUpdate_findsSumsOfWhatHasNoLeaf() public {
        World memory world = invent(6);
        world.updateTrees[0][1][3].squares = 1;
        Trees.rehash(world.updateTrees[0], 2);
        Trees.rehash(world.updateTrees[0], 3);
        _withTree(world);
        _proveUpdate(world, faultAt(world, 0, 1, 2));
    }

    /// @notice Two nodes that claim so much that their sum runs over can be opened all the same.
    function test_proveUpdate_findsClaimsThatRunOver() public {
        World memory world = invent(6);
        MerkleSum.Node[][] memory tree = world.updateTrees[0];
        (tree[2][0].absolute, tree[2][1].absolute) = (1 << 63, 1 << 63);
        tree[3][0].hash = MerkleSum.hashParent(tree[2][0], tree[2][1]);
        _withTree(world);
        _proveUpdate(world, faultAt(world, 0, 2, 0));
    }

    function test_proveUpdate_findsAByteThatNoCoordinateHas() public {
        World memory world = invent(6);
        bytes memory values = world.updates[0][3];
        values[9] = 0x00;
        _plant(world, 0, 3, values, 100, 200);
        _withTree(world);
        _proveUpdate(world, faultAt(world, 0, 0, 3));
    }

    function _proveInteger(uint8 width, uint8 value) private returns (World memory world, IJudge.Fault memory fault) {
        narrow(width);
        world = invent(6);
        bytes memory values = edgeLeaf(width, 256);
        values[9] = bytes1(value);
        MerkleSum.Node memory node = MerkleSum.leaf(values);
        _plant(world, 2, 0, values, node.absolute, node.squares);
        _withTree(world);
        fault = faultAt(world, 2, 0, 0);
    }

    function test_proveUpdate_findsAnIntegerAboveTheWidth() public {
        (World memory world, IJudge.Fault memory fault) = _proveInteger(4, 0x88);
        _proveUpdate(world, fault);
    }

    function test_proveUpdate_findsAnIntegerBelowTheWidth() public {
        (World memory world, IJudge.Fault memory fault) = _proveInteger(2, 0x7e);
        _proveUpdate(world, fault);
    }

    function test_proveUpdate_takesTheLargestIntegerOfTheWidth() public {
        (World memory world, IJudge.Fault memory fault) = _proveInteger(4, 0x87);
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        IJudge.Case memory case_ = caseOf(world);
        expectNoFraud(IFraudProofs.Lie.Update, 2);
        fraud.proveUpdate(case_, bare, fault);
    }

    function test_proveUpdate_findsPaddingThatIsNotZero() public {
        World memory world = invent(7);
        bytes memory values = world.updates[0][3];
        values[10] = 0x81;
        MerkleSum.Node memory node = MerkleSum.leaf(values);
        _plant(world, 0, 3, values, node.absolute, node.squares);
        _withTree(world);
        _proveUpdate(world, faultAt(world, 0, 0, 3));
    }

    function test_proveUpdate_findsALeafBehindTheLast() public {
        World memory world = invent(8);
        MerkleSum.Node[][] memory tree = world.updateTrees[0];
        tree[0][LEAVES + 1] = MerkleSum.Node(keccak256("hidden"), 0, 0);
        for (uint256 level = 1; level <= DEPTH; ++level) {
            Trees.rehash(tree, level);
        }
        _withTree(world);
        _proveUpdate(world, faultAt(world, 0, 0, LEAVES + 1));
    }

    function test_proveUpdate_findsSumsBehindTheLastLeaf() public {
        World memory world = invent(9);
        MerkleSum.Node[][] memory tree = world.updateTrees[0];
        tree[0][LEAVES + 1] = MerkleSum.Node(bytes32(0), 0, 1);
        for (uint256 level = 1; level <= DEPTH; ++level) {
            Trees.rehash(tree, level);
        }
        _withTree(world);
        _proveUpdate(world, faultAt(world, 0, 0, LEAVES + 1));
    }

    /// forge-config: default.fuzz.runs = 24
    function testFuzz_proveUpdate_findsANodeThatDoesNotAddUp(uint256 index, uint256 level, uint32 more, bool squares)
        public
    {
        World memory world = invent(10);
        level = bound(level, 1, DEPTH - 1);
        index = bound(index, 0, (1 << (DEPTH - level)) - 1);
        more = uint32(bound(more, 1, type(uint32).max));
        MerkleSum.Node[][] memory tree = world.updateTrees[0];
        MerkleSum.Node memory node = tree[level][index];
        if (squares) node.squares += more;
        else node.absolute += more;
        for (uint256 above = level + 1; above <= DEPTH; ++above) {
            Trees.rehash(tree, above);
        }
        _withTree(world);
        _proveUpdate(world, faultAt(world, 0, level, index));
    }

    function test_proveUpdate_findsChildrenWhoseSumsRunOver() public {
        World memory world = invent(11);
        MerkleSum.Node[][] memory tree = world.updateTrees[0];
        tree[0][0].squares = type(uint64).max;
        tree[1][0].hash = MerkleSum.hashParent(tree[0][0], tree[0][1]);
        Trees.rehash(tree, 2);
        Trees.rehash(tree, 3);
        _withTree(world);
        _proveUpdate(world, faultAt(world, 0, 1, 0));
    }

    /// @notice The root's sum of squares is what the commitment says, and its children say something else.
    function test_proveUpdate_findsACommitmentThatIsNotTheSum() public {
        World memory world = invent(12);
        world.updateTrees[2][DEPTH][0].squares -= 1;
        _withTree(world);
        _proveUpdate(world, faultAt(world, 2, DEPTH, 0));
    }

    function test_proveUpdate_findsItByAnyNodeBelow() public {
        World memory world = invent(12);
        world.updateTrees[2][DEPTH][0].squares -= 1;
        _withTree(world);
        _proveUpdate(world, faultAt(world, 2, 0, 4));
    }

    function test_proveUpdate_leavesAloneWhatCountsNothing() public {
        World memory world = invent(13);
        _plant(world, 1, 0, world.updates[1][0], 1, 1);
        _withTree(world);
        IJudge.Fault memory fault = faultAt(world, 1, 0, 0);
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        expectNoFraud(IFraudProofs.Lie.Update, 1);
        fraud.proveUpdate(caseOf(world), bare, fault);
    }

    function test_proveUpdate_needsWhatWasCommittedTo() public {
        World memory world = _honest();
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        IJudge.Case memory case_ = caseOf(world);

        IJudge.Fault memory fault = faultAt(world, 0, 0, 0);
        fault.leaf = world.updates[0][1];
        _wrongPath(world.updateTrees[0][0][1].hash, world.updateTrees[0][0][0].hash);
        fraud.proveUpdate(case_, bare, fault);

        fault = faultAt(world, 0, 1, 0);
        fault.left.squares += 1;
        _wrongPath(MerkleSum.hashParent(fault.left, fault.right), fault.node.hash);
        fraud.proveUpdate(case_, bare, fault);

        fault = faultAt(world, 0, DEPTH, 0);
        fault.node.hash = keccak256("another root");
        _wrongPath(fault.node.hash, bare[0].updateRoot);
        fraud.proveUpdate(case_, bare, fault);

        fault = faultAt(world, 0, DEPTH, 0);
        fault.level = DEPTH + 1;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, DEPTH + 1, DEPTH));
        fraud.proveUpdate(case_, bare, fault);

        fault = faultAt(world, 0, 0, 0);
        fault.entry = CONTRIBUTORS;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, CONTRIBUTORS, CONTRIBUTORS));
        fraud.proveUpdate(case_, bare, fault);
    }

    // A weight that no rule gives.

    function test_proveWeight_findsMoreThanAnyRuleGives() public {
        World memory world = invent(14);
        world.weights[2] = 65_537;
        compute(world);
        publish(world);
        fraud.proveWeight(caseOf(world), entriesOf(world, LEAVES), 2);
        assertSlashed(world);
    }

    // The root over the entries.

    function test_proveEntries_findsAFalseRoot() public {
        World memory world = invent(15);
        compute(world);
        world.anchor.entriesRoot = keccak256("other entries");
        publish(world);
        fraud.proveEntries(caseOf(world), entriesOf(world, LEAVES));
        assertSlashed(world);
    }

    /// @dev The weights are in the tree, so a root over other weights is false too.
    function test_proveEntries_findsOtherWeights() public {
        World memory world = invent(16);
        compute(world);
        bytes32 honest = world.anchor.entriesRoot;
        world.weights[2] -= 1;
        world.anchor.weights = world.weights;
        vm.assertEq(world.anchor.entriesRoot, honest, "the root is that of the weights before");
        publish(world);
        fraud.proveEntries(caseOf(world), entriesOf(world, LEAVES));
        assertSlashed(world);
    }

    function test_proveEntries_sparesAnHonestRoot() public {
        World memory world = _honest();
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.FraudProofsNoFraud.selector, IFraudProofs.Lie.Entries, 0));
        fraud.proveEntries(caseOf(world), bare);
    }

    function test_proveWeight_needsAnEntry() public {
        World memory world = _honest();
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 3, 3));
        fraud.proveWeight(caseOf(world), bare, 3);
    }

    // A wrong header.

    function _wrongHeader(World memory world, bytes memory header) private {
        world.header = header;
        compute(world);
        publish(world);
        fraud.proveHeader(caseOf(world), world.header);
        assertSlashed(world);
    }

    function _headerWith(World memory world, uint256 field) private view returns (bytes memory) {
        uint64 number = RoundId.unwrap(world.round);
        bytes32 base = headRoot();
        bytes32 seed = keccak256(abi.encodePacked(bytes1(0x11), block.chainid, address(ledger), number, base));
        return abi.encode(
            field == 0 ? number + 1 : number,
            field == 1 ? keccak256("another") : manifestHash(),
            field == 2 ? keccak256("another") : base,
            field == 3 ? 2 : 1,
            field == 4 ? 4 : 8,
            field == 5 ? keccak256("another") : seed,
            field == 6 ? abi.encodePacked(exponents(), int8(1)) : exponents()
        );
    }

    /// forge-config: default.fuzz.runs = 24
    function testFuzz_proveHeader_findsEveryField(uint256 field) public {
        World memory world = invent(15);
        _wrongHeader(world, _headerWith(world, bound(field, 0, 6)));
    }

    function test_proveHeader_findsAnExponentOutOfRange() public {
        World memory world = invent(16);
        _wrongHeader(world, headerOf(world.round, abi.encodePacked(int8(0), int8(0), int8(0), int8(5))));
    }

    function test_proveHeader_findsAnExponentTooLow() public {
        World memory world = invent(16);
        _wrongHeader(world, headerOf(world.round, abi.encodePacked(int8(0), int8(-41), int8(0), int8(0))));
    }

    /// @notice What does not decode is no header: were a proof to revert on it, any outer step could hide behind it.
    function test_proveHeader_findsBytesThatDoNotDecode() public {
        World memory world = invent(17);
        bytes memory header = headerOf(world.round, exponents());
        // A bit outside of the round's number.
        header[0] = 0x01;
        _wrongHeader(world, header);
        world = invent(17);
        world.header = "no header at all";
        compute(world);
        publish(world);
        fraud.proveHeader(caseOf(world), world.header);
        assertPhase(world.round, IRoundLedger.Phase.Slashed, "void");
    }

    /// @notice Two encodings of the same fields are two hashes, and only one of them is the round's.
    function test_proveHeader_findsAnotherEncodingOfTheSame() public {
        World memory world = invent(18);
        _wrongHeader(world, bytes.concat(headerOf(world.round, exponents()), bytes32(0)));
        world = invent(18);
        world.header = headerOf(world.round, exponents());
        // Behind the last exponent.
        world.header[world.header.length - 1] = 0x01;
        compute(world);
        publish(world);
        fraud.proveHeader(caseOf(world), world.header);
        assertPhase(world.round, IRoundLedger.Phase.Slashed, "void");
    }

    function test_proveHeader_needsTheRoundsHeader() public {
        World memory world = _honest();
        bytes memory other = headerOf(world.round, new bytes(4));
        _wrongRecord(keccak256(other), keccak256(world.header));
        fraud.proveHeader(caseOf(world), other);
    }

    // The case.

    function test_aCaseIsWhatTheLedgerRecorded() public {
        World memory world = _honest();
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);

        IJudge.Case memory case_ = caseOf(world);
        case_.anchor.verdictHash = keccak256("another");
        _wrongRecord(plainAnchorHash(case_.anchor), ledger.rounds(world.round).anchorHash);
        fraud.proveWeight(case_, bare, 0);
        case_.anchor.verdictHash = keccak256("verdicts");

        case_.layout = abi.encodePacked(uint64(1));
        _wrongRecord(keccak256(abi.encodePacked(bytes1(0x10), keccak256(case_.layout), DOCUMENT)), manifestHash());
        fraud.proveWeight(case_, bare, 0);

        bytes32 recorded = ledger.rounds(world.round).entriesHash;
        (bare[0], bare[1]) = (bare[1], bare[0]);
        bytes32 rolling = _rolling(world, bare);
        _wrongRecord(rolling, recorded);
        fraud.proveWeight(caseOf(world), bare, 0);
    }

    function _rolling(World memory world, IJudge.Entry[] memory entries) private view returns (bytes32 rolling) {
        for (uint256 i = 0; i < entries.length; ++i) {
            IRoundLedger.Commitment memory commitment = IRoundLedger.Commitment(
                entries[i].contributor,
                world.round,
                genesisState(),
                entries[i].updateRoot,
                entries[i].sumSquares,
                entries[i].memoryHash,
                entries[i].bundleHash
            );
            rolling = keccak256(abi.encode(rolling, entries[i].contributor, ledger.hashCommitment(commitment)));
        }
    }

    function test_aRoundIsStruckOnce() public {
        World memory world = invent(17);
        world.weights[0] = 70_000;
        compute(world);
        publish(world);
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        fraud.proveWeight(caseOf(world), bare, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IJudge.JudgeNotAnchored.selector, world.round, IRoundLedger.Phase.Slashed)
        );
        fraud.proveWeight(caseOf(world), bare, 0);
    }

    function test_aFinalRoundIsNotStruck() public {
        World memory world = invent(18);
        world.weights[0] = 70_000;
        compute(world);
        publish(world);
        skipChallengeWindow(world.round);
        ledger.finalize(world.round);
        IJudge.Entry[] memory bare = entriesOf(world, LEAVES);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeNotAnchored.selector, world.round, IRoundLedger.Phase.Final));
        fraud.proveWeight(caseOf(world), bare, 0);
    }

    function test_theLedgerIsKnown() public view {
        vm.assertEq(address(fraud.ledger()), address(ledger), "ledger");
    }

    // Layouts that are none can't have a hash that the ledger knows, unless the manifest itself has one.

    function test_layout_failsWhenItIsNone() public {
        LayoutCaller caller = new LayoutCaller();
        vm.expectRevert(abi.encodeWithSelector(Layout.LayoutInvalid.selector, 0));
        caller.find("", 0);
        vm.expectRevert(abi.encodeWithSelector(Layout.LayoutInvalid.selector, 9));
        caller.find(new bytes(9), 0);
        vm.expectRevert(abi.encodeWithSelector(Layout.LayoutInvalid.selector, 8));
        caller.find(new bytes(8), 0);
    }

    function test_layout_findsEveryLeaf() public {
        LayoutCaller caller = new LayoutCaller();
        (,, Layout.Place memory reached) = caller.find(layout(), 0);
        for (uint256 leaf = 0; leaf < 7; ++leaf) {
            (uint256 leaves, uint256 depth, Layout.Place memory place) = caller.find(layout(), leaf);
            vm.assertEq(leaves, LEAVES, "leaves");
            vm.assertEq(depth, DEPTH, "depth");
            vm.assertEq(place.tensor, leaf < LEAVES ? tensorOf(leaf) : 4, "tensor");
            vm.assertEq(place.values, leaf < LEAVES ? valuesIn(leaf) : 0, "values");
            vm.assertEq(abi.encode(reached), abi.encode(place), "leaf by leaf");
            reached = caller.advance(abi.encodePacked(layout(), uint64(1)), reached);
        }
        (, uint256 none,) = caller.find(abi.encodePacked(uint64(1)), 0);
        vm.assertEq(none, 0, "one leaf is its own root");
    }

    /// @notice Against a list of the values in each leaf.
    function testFuzz_layout_isThatOfAList(uint16[6] memory sizes) public {
        LayoutCaller caller = new LayoutCaller();
        bytes memory made;
        uint256[3][] memory list = new uint256[3][](64);
        uint256 count = 0;
        for (uint256 tensor = 0; tensor < 6; ++tensor) {
            uint256 left = 1 + uint256(sizes[tensor]) % 2500;
            // forge-lint: disable-next-line(unsafe-typecast)
            made = abi.encodePacked(made, uint64(left));
            for (; left > 0; ++count) {
                uint256 values = left < 256 ? left : 256;
                left -= values;
                list[count] = [tensor, values, left];
            }
        }
        list[count] = [uint256(6), 0, 0];
        (,, Layout.Place memory reached) = caller.find(made, 0);
        for (uint256 leaf = 0; leaf <= count; ++leaf) {
            (uint256 leaves, uint256 depth, Layout.Place memory place) = caller.find(made, leaf);
            vm.assertEq(leaves, count, "leaves");
            vm.assertTrue(1 << depth >= count && (depth == 0 || 1 << (depth - 1) < count), "depth");
            vm.assertEq(abi.encode(place), abi.encode(list[leaf]), "place");
            vm.assertEq(abi.encode(reached), abi.encode(list[leaf]), "leaf by leaf");
            reached = caller.advance(abi.encodePacked(made, uint64(1)), reached);
        }
    }

    function test_layout_sumsDoNotRunOver() public {
        bytes memory largest = abi.encodePacked(type(uint64).max, type(uint64).max);
        (uint256 leaves, uint256 depth, Layout.Place memory place) = new LayoutCaller().find(largest, (1 << 57) - 1);
        vm.assertEq(leaves, 1 << 57, "leaves");
        vm.assertEq(depth, 57, "depth");
        vm.assertEq(abi.encode(place), abi.encode(uint256(1), uint256(255), uint256(0)), "the last leaf");
        (,, place) = new LayoutCaller().find(largest, type(uint256).max);
        vm.assertEq(place.tensor, 2, "behind the last one");
    }
}

contract LayoutCaller {
    function find(bytes calldata layout, uint256 leaf)
        external
        pure
        returns (uint256 leaves, uint256 depth, Layout.Place memory place)
    {
        return Layout.find(layout, leaf);
    }

    /// @param followed A layout, and behind it one number more, which is no part of it.
    function advance(bytes calldata followed, Layout.Place memory place) external pure returns (Layout.Place memory) {
        Layout.advance(followed[:followed.length - Layout.TENSOR_BYTES], place);
        return place;
    }
}

/// @notice Proofs where a step of an update has seven steps of the mean.
contract FraudProofsMeanScaleTest is FraudWorld {
    uint8 private constant SCALE = 7;
    uint8 private _scale = SCALE;

    function policy() internal view override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.width = 2;
        made.meanScale = _scale;
    }

    /// @dev From -1 to 1.
    function updateLeaf(uint256 seed, uint256 values) internal pure override returns (bytes memory leaf) {
        leaf = super.updateLeaf(seed, values);
        for (uint256 c = 0; c < values; ++c) {
            leaf[c] = bytes1(127 + uint8(leaf[c]) % 3);
        }
    }

    function test_anHonestRoundIsNotStruck() public {
        World memory world = invent(1);
        compute(world);
        publish(world);
        bool isFine = false;
        for (uint256 place = 0; place < LEAVES; ++place) {
            for (uint256 c = 0; c < valuesIn(place); ++c) {
                uint8 value = uint8(world.mean[place][c]);
                vm.assertTrue(value >= 128 - SCALE && value <= 128 + SCALE, "inside of the range");
                isFine = isFine || value == 127 + SCALE;
            }
            IFraudProofs.Step memory made = stepOf(world, place);
            IJudge.Opening memory claimed = opening(world.meanTree, place);
            IJudge.Entry[] memory entries = entriesOf(world, place);
            expectNoFraud(IFraudProofs.Lie.Mean, place);
            fraud.proveMean(caseOf(world), entries, place, claimed, "");
            expectNoFraud(IFraudProofs.Lie.OuterStep, place);
            fraud.proveOuterStep(caseOf(world), place, made);
        }
        vm.assertTrue(isFine, "a mean between two numbers of an update");
    }

    function test_proveMean_findsAnotherScale() public {
        World memory world = invent(2);
        compute(world);
        for (uint256 c = 0; c < 256; ++c) {
            // The mean in whole steps of an update.
            int256 fine = int256(uint256(uint8(world.mean[1][c]))) - 128;
            world.mean[1][c] = bytes1(uint8(uint256(128 + fine / int256(uint256(SCALE)))));
        }
        build(world);
        publish(world);
        fraud.proveMean(caseOf(world), entriesOf(world, 1), 1, opening(world.meanTree, 1), "");
        assertSlashed(world);
    }

    function test_proveOuterStep_findsAnotherScale() public {
        World memory world = invent(3);
        compute(world);
        // The step of a mean in whole steps of an update.
        _scale = 1;
        step(world);
        build(world);
        _scale = SCALE;
        publish(world);
        fraud.proveOuterStep(caseOf(world), 1, stepOf(world, 1));
        assertSlashed(world);
    }
}
