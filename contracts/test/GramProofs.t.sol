// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAdmission } from "../src/interfaces/IAdmission.sol";
import { IGramProofs } from "../src/interfaces/IGramProofs.sol";
import { IJudge } from "../src/interfaces/IJudge.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { GramTree } from "../src/libraries/GramTree.sol";
import { Openings } from "../src/libraries/Openings.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { plainAnchorHash } from "./utils/Anchors.sol";
import { GramWorld } from "./utils/GramWorld.sol";

/// @notice Weights under `mean`: everybody's whose update arrived.
contract GramProofsMeanTest is GramWorld {
    function elements() internal pure override returns (uint64[3] memory) {
        return [uint64(300), 256, 7];
    }

    function policy() internal view override returns (IPolicies.Policy memory made) {
        made = super.policy();
        (made.rule, made.parameters) = ("mean", new uint32[](0));
    }

    function setUp() public override {
        super.setUp();
        World memory world = invent(1);
        weigh(world, [uint256(0), 2, 3]);
        world.weights[5] = 1;
        anchorWith(world, bytes32(0));
        store(world);
    }

    function test_proveMeanWeight_leavesHonestWeightsAlone() public {
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        for (uint256 entry = 0; entry < ENTRIES; ++entry) {
            expectNoFraud(IGramProofs.Lie.Weight, entry);
            judge.proveMeanWeight(caseOf(world), entries, entry);
        }
    }

    function testFuzz_proveMeanWeight_findsEveryOtherWeight(uint256 entry, uint32 weight) public {
        World memory world = load();
        entry = bound(entry, 0, ENTRIES - 1);
        weight = uint32(bound(weight, 0, 65_536));
        if (weight == world.weights[entry]) weight = 2;
        world.weights[entry] = weight;
        anchorWith(world, bytes32(0));
        publish(world);
        judge.proveMeanWeight(caseOf(world), entriesOf(world), entry);
        assertSlashed(world);
    }

    /// @dev Finding M5: k copies earned k shares, and to leave them out cost the bond. Of the entries with one root the first
    /// that was delivered and is not the coordinator's own counts.
    function test_M5_copiesShareOneShareUnderMean() public {
        World memory world = load();
        // The coordinator's own entry and the lost one are before the copies, and take nothing from them.
        copy(world, 2, OWN);
        copy(world, 2, 3);
        copy(world, 5, LOST);
        copy(world, 2, 5);
        (world.weights[3], world.weights[5]) = (0, 0);
        anchorWith(world, bytes32(0));
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        for (uint256 entry = 0; entry < ENTRIES; ++entry) {
            expectNoFraud(IGramProofs.Lie.Weight, entry);
            judge.proveMeanWeight(caseOf(world), entries, entry);
        }
    }

    function test_M5_aShareForACopyIsALie() public {
        World memory world = load();
        copy(world, 0, 5);
        publish(world);
        judge.proveMeanWeight(caseOf(world), entriesOf(world), 5);
        assertSlashed(world);
    }

    function test_M5_aCopyOfWhatDidNotArriveCounts() public {
        World memory world = load();
        copy(world, LOST, 5);
        world.weights[5] = 0;
        anchorWith(world, bytes32(0));
        publish(world);
        judge.proveMeanWeight(caseOf(world), entriesOf(world), 5);
        assertSlashed(world);
    }

    function test_proveMeanWeight_saysWhatWasWrong() public {
        World memory world = load();
        world.weights[2] = 0;
        anchorWith(world, bytes32(0));
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        vm.expectEmit(address(judge));
        emit IGramProofs.GramFraudProven(world.round, challenger.addr, IGramProofs.Lie.Weight, 2);
        judge.proveMeanWeight(caseOf(world), entries, 2);
    }

    function test_proveMeanWeight_failsForAnEntryThatIsNot() public {
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, ENTRIES, ENTRIES));
        judge.proveMeanWeight(caseOf(world), entries, ENTRIES);
    }

    function test_otherProofs_failUnderMean() public {
        World memory world = load();
        publish(world);
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.GramOpening memory none;
        IGramProofs.Pair memory pair;
        IGramProofs.Sum memory sum;
        bytes memory wanted = abi.encodeWithSelector(IGramProofs.GramProofsRule.selector, bytes32("mean"));
        vm.expectRevert(wanted);
        judge.proveKrum(case_, entries, 0, none);
        vm.expectRevert(wanted);
        judge.proveGramRoot(case_, entries);
        vm.expectRevert(wanted);
        judge.proveGramLeaf(case_, entries, 0, none, pair);
        vm.expectRevert(wanted);
        judge.proveGramNode(case_, entries, sum);
    }

    function test_proveMeanWeight_failsForWhatIsNotOnRecord() public {
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IJudge.Case memory case_ = caseOf(world);
        bytes32 recorded = ledger.rounds(world.round).anchorHash;
        case_.anchor.weights[0] = 0;
        vm.expectRevert(
            abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, plainAnchorHash(case_.anchor), recorded)
        );
        judge.proveMeanWeight(case_, entries, 0);
        case_ = caseOf(world);
        case_.anchor.weights[0] = 1;
        case_.manifestDocument = keccak256("another");
        vm.expectRevert(
            abi.encodeWithSelector(
                IJudge.JudgeRecordMismatch.selector,
                keccak256(abi.encodePacked(bytes1(0x10), keccak256(layout()), keccak256("another"))),
                manifestHash()
            )
        );
        judge.proveMeanWeight(case_, entries, 0);
        case_.manifestDocument = DOCUMENT;
        (entries[0], entries[1]) = (entries[1], entries[0]);
        (bool done,) = address(judge).call(abi.encodeCall(judge.proveMeanWeight, (case_, entries, 0)));
        vm.assertFalse(done, "entries in another order");
    }

    function test_proveMeanWeight_failsForARoundThatIsNotAnchored() public {
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        skipChallengeWindow(world.round);
        ledger.finalize(world.round);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeNotAnchored.selector, world.round, IRoundLedger.Phase.Final));
        judge.proveMeanWeight(caseOf(world), entries, 0);
    }
}

/// @notice The rule is `multi_krum`.
abstract contract GramProofsKrumPolicy is GramWorld {
    function admission() internal pure override returns (IAdmission) {
        return EVERYBODY;
    }

    function policy() internal view virtual override returns (IPolicies.Policy memory made) {
        made = super.policy();
        (made.rule, made.maxContributors) = ("multi_krum", 32);
    }
}

/// @notice An honest round under `multi_krum`.
abstract contract GramProofsKrumWorld is GramProofsKrumPolicy {
    function setUp() public virtual override {
        super.setUp();
        World memory world = invent(1);
        // f = 1 becomes 0 with four updates, and m = 3 leaves out the one that is far away.
        weigh(world, [uint256(0), 2, 3]);
        multiply(world);
        seal(world);
        store(world);
    }

    function policy() internal view override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.parameters[1] = 3;
    }

    function root(World memory world) internal pure returns (IGramProofs.GramOpening memory) {
        return opening(world, gramDepth(), 0);
    }
}

/// @notice Weights under `multi_krum`, in a model of any size.
abstract contract GramProofsKrumTest is GramProofsKrumWorld {
    function test_anHonestRoundIsNotStruck() public {
        World memory world = load();
        publish(world);
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        for (uint256 entry = 0; entry < ENTRIES; ++entry) {
            IGramProofs.GramOpening memory top = root(world);
            expectNoFraud(IGramProofs.Lie.Weight, entry);
            judge.proveKrum(case_, entries, entry, top);
        }
        expectNoFraud(IGramProofs.Lie.Root, 0);
        judge.proveGramRoot(case_, entries);
        for (uint256 a = 0; a < 4; ++a) {
            for (uint256 b = 0; b <= a; ++b) {
                for (uint256 place = 0; place < blocks(); ++place) {
                    IGramProofs.GramOpening memory claimed = opening(world, 0, place);
                    IGramProofs.Pair memory pair = pairAt(world, place, a, b);
                    expectNoFraud(IGramProofs.Lie.Leaf, place);
                    judge.proveGramLeaf(case_, entries, place, claimed, pair);
                }
                for (uint256 level = 1; level <= gramDepth(); ++level) {
                    for (uint256 index = 0; index < 1 << (gramDepth() - level); ++index) {
                        IGramProofs.Sum memory sum = sumAt(world, level, index, a, b);
                        expectNoFraud(IGramProofs.Lie.Node, index);
                        judge.proveGramNode(case_, entries, sum);
                    }
                }
            }
        }
    }

    /// forge-config: ci.fuzz.runs = 500
    function testFuzz_proveKrum_findsEveryOtherWeight(uint256 entry, uint32 weight) public {
        World memory world = load();
        entry = bound(entry, 0, ENTRIES - 1);
        weight = uint32(bound(weight, 0, 65_536));
        if (weight == world.weights[entry]) weight = 2;
        world.weights[entry] = weight;
        seal(world);
        publish(world);
        judge.proveKrum(caseOf(world), entriesOf(world), entry, root(world));
        assertSlashed(world);
    }

    function test_M5_copiesShareOneShareUnderKrum() public {
        World memory world = load();
        // Three updates are left to weigh, all of which m = 3 selects.
        copy(world, 2, 3);
        (world.weights[3], world.weights[5]) = (0, 1);
        multiply(world);
        seal(world);
        publish(world);
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.GramOpening memory top = root(world);
        for (uint256 entry = 0; entry < ENTRIES; ++entry) {
            expectNoFraud(IGramProofs.Lie.Weight, entry);
            judge.proveKrum(case_, entries, entry, top);
        }
        expectNoFraud(IGramProofs.Lie.Root, 0);
        judge.proveGramRoot(case_, entries);
        IGramProofs.GramOpening memory claimed = opening(world, 0, 0);
        IGramProofs.Pair memory pair = pairAt(world, 0, 2, 1);
        expectNoFraud(IGramProofs.Lie.Leaf, 0);
        judge.proveGramLeaf(case_, entries, 0, claimed, pair);
    }

    function test_M5_aShareForACopyIsALieUnderKrum() public {
        World memory world = load();
        copy(world, 2, 3);
        world.weights[5] = 1;
        multiply(world);
        seal(world);
        publish(world);
        judge.proveKrum(caseOf(world), entriesOf(world), 3, root(world));
        assertSlashed(world);
    }

    /// forge-config: ci.fuzz.runs = 500
    function testFuzz_proveGramLeaf_findsAFalseProduct(uint256 place, uint256 a, uint256 b, int64 change) public {
        World memory world = load();
        (place, a) = (bound(place, 0, blocks() - 1), bound(a, 0, 3));
        b = bound(b, 0, a);
        if (change == 0) change = 1;
        for (uint256 level = 0; level <= gramDepth(); ++level) {
            bend(world, level, place >> level, a * (a + 1) / 2 + b, change);
        }
        seal(world);
        publish(world);
        judge.proveGramLeaf(
            caseOf(world), entriesOf(world), place, opening(world, 0, place), pairAt(world, place, a, b)
        );
        assertSlashed(world);
    }

    function test_proveGramLeaf_findsAMatrixOfAWrongSize() public {
        World memory world = load();
        world.matrices[0][0] = bytes.concat(world.matrices[0][0], bytes1(0));
        seal(world);
        publish(world);
        IGramProofs.Pair memory none;
        judge.proveGramLeaf(caseOf(world), entriesOf(world), 0, opening(world, 0, 0), none);
        assertSlashed(world);
    }

    function test_proveGramRoot_findsThatThereIsNone() public {
        World memory world = load();
        anchorWith(world, bytes32(0));
        publish(world);
        judge.proveGramRoot(caseOf(world), entriesOf(world));
        assertSlashed(world);
    }

    function test_proveKrum_failsWithoutItsParameters() public {
        IPolicies.Policy memory without = policy();
        without.parameters = new uint32[](1);
        vm.prank(address(timelock));
        policies.addPolicy(without);
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        vm.expectRevert(abi.encodeWithSelector(IGramProofs.GramProofsCount.selector, 1, 2));
        judge.proveKrum(caseOf(world), entries, 0, root(world));
    }

    function test_proofs_failUnderOtherRules() public {
        IPolicies.Policy memory other = policy();
        other.rule = "guided_mean";
        vm.prank(address(timelock));
        policies.addPolicy(other);
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        vm.expectRevert(abi.encodeWithSelector(IGramProofs.GramProofsRule.selector, bytes32("guided_mean")));
        judge.proveKrum(caseOf(world), entries, 0, root(world));
        vm.expectRevert(abi.encodeWithSelector(IGramProofs.GramProofsRule.selector, bytes32("guided_mean")));
        judge.proveMeanWeight(caseOf(world), entries, 0);
    }

    function test_proofs_failForWhatIsNot() public {
        World memory world = load();
        publish(world);
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.GramOpening memory top = root(world);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, ENTRIES, ENTRIES));
        judge.proveKrum(case_, entries, ENTRIES, top);
        IGramProofs.Pair memory pair = pairAt(world, 0, 1, 0);
        IGramProofs.GramOpening memory claimed = opening(world, 0, 0);
        pair.a = 4;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 4, 4));
        judge.proveGramLeaf(case_, entries, 0, claimed, pair);
        (pair.a, pair.b) = (0, 1);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 1, 1));
        judge.proveGramLeaf(case_, entries, 0, claimed, pair);
        uint256 beyond = 1 << gramDepth();
        pair = pairAt(world, 0, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(GramTree.GramTreeIndexOutOfRange.selector, beyond, gramDepth()));
        judge.proveGramLeaf(case_, entries, beyond, claimed, pair);
        claimed.path = bytes.concat(claimed.path, bytes32(0), bytes32(0));
        vm.expectRevert(
            abi.encodeWithSelector(GramTree.GramTreePathLength.selector, 64 * (gramDepth() + 1), 64 * gramDepth())
        );
        judge.proveGramLeaf(case_, entries, 0, claimed, pair);
        IGramProofs.Sum memory sum;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 0, gramDepth() + 1));
        judge.proveGramNode(case_, entries, sum);
        sum.level = gramDepth() + 1;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, sum.level, gramDepth() + 1));
        judge.proveGramNode(case_, entries, sum);
    }

    function test_proveGramLeaf_takesNoOtherHeader() public {
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.Pair memory pair = pairAt(world, 0, 1, 0);
        pair.header = bytes.concat(pair.header, bytes1(0));
        vm.expectRevert(
            abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, keccak256(pair.header), keccak256(world.header))
        );
        judge.proveGramLeaf(caseOf(world), entries, 0, opening(world, 0, 0), pair);
    }

    function test_proveGramLeaf_takesNoOtherUpdate() public {
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.Pair memory pair = pairAt(world, 0, 1, 0);
        pair.updates[1] = pair.updates[0];
        vm.expectRevert(
            abi.encodeWithSelector(
                IJudge.JudgeWrongPath.selector, rootOf(world, members(world)[1]), rootOf(world, members(world)[0])
            )
        );
        judge.proveGramLeaf(caseOf(world), entries, 0, opening(world, 0, 0), pair);
    }

    function test_proveGramLeaf_takesNoBlockOfAWrongSize() public {
        World memory world = load();
        publish(world);
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.GramOpening memory claimed = opening(world, 0, 0);
        IGramProofs.Pair memory pair = pairAt(world, 0, 1, 0);
        uint256 length = pair.updates[0].leaves.length;
        pair.updates[0].leaves = bytes.concat(pair.updates[0].leaves, bytes1(0x80));
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsLeafSize.selector, length + 1, length));
        judge.proveGramLeaf(case_, entries, 0, claimed, pair);
        pair = pairAt(world, 0, 1, 0);
        length = pair.updates[0].sums.length;
        pair.updates[0].sums = bytes.concat(pair.updates[0].sums, bytes1(0));
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsPathLength.selector, length + 1, length));
        judge.proveGramLeaf(case_, entries, 0, claimed, pair);
    }

    function test_proveKrum_takesNoOtherMatrix() public {
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        bend(world, gramDepth(), 0, 3, 1);
        IJudge.Case memory case_ = caseOf(world);
        IGramProofs.GramOpening memory top = root(world);
        bytes32 given = gramDepth() == 0
            ? keccak256(abi.encodePacked(bytes1(0x12), top.matrix))
            : keccak256(abi.encodePacked(bytes1(0x13), top.left, top.right, keccak256(top.matrix)));
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, given, world.anchor.gramRoot));
        judge.proveKrum(case_, entries, 0, top);
    }

    function test_proveKrum_failsForAMatrixOfAWrongSize() public {
        World memory world = load();
        world.matrices[gramDepth()][0] = bytes.concat(world.matrices[gramDepth()][0], bytes1(0));
        seal(world);
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeSize.selector, 241, 240));
        judge.proveKrum(caseOf(world), entries, 0, root(world));
    }
}

/// @notice A model of 43 leaves: three blocks, and one place behind them.
contract GramProofsTreeTest is GramProofsKrumTest {
    function elements() internal pure override returns (uint64[3] memory) {
        return [uint64(300), 40 * 256, 7];
    }

    /// forge-config: ci.fuzz.runs = 500
    function testFuzz_proveGramNode_findsAFalseSum(uint256 level, uint256 index, uint256 a, uint256 b, int64 change)
        public
    {
        World memory world = load();
        level = bound(level, 1, gramDepth());
        index = bound(index, 0, (1 << (gramDepth() - level)) - 1);
        a = bound(a, 0, 3);
        b = bound(b, 0, a);
        if (change == 0) change = 1;
        for (uint256 above = level; above <= gramDepth(); ++above) {
            bend(world, above, index >> (above - level), a * (a + 1) / 2 + b, change);
        }
        seal(world);
        publish(world);
        judge.proveGramNode(caseOf(world), entriesOf(world), sumAt(world, level, index, a, b));
        assertSlashed(world);
    }

    function _expectSize(uint256 level, uint256 index) private {
        World memory world = load();
        world.matrices[level][index] = bytes.concat(world.matrices[level][index], bytes1(0));
        seal(world);
        publish(world);
        judge.proveGramNode(caseOf(world), entriesOf(world), sumAt(world, 2, 0, 9, 9));
        assertSlashed(world);
    }

    function test_proveGramNode_findsAMatrixOfAWrongSize() public {
        _expectSize(2, 0);
    }

    function test_proveGramNode_findsAWrongSizeOnTheLeft() public {
        _expectSize(1, 0);
    }

    function test_proveGramNode_findsAWrongSizeOnTheRight() public {
        _expectSize(1, 1);
    }

    function test_proveGramLeaf_findsSomethingBehindTheLastBlock() public {
        World memory world = load();
        world.hashes[0][3] = keccak256("something");
        world.hashes[1][1] = keccak256(
            abi.encodePacked(bytes1(0x13), world.hashes[0][2], world.hashes[0][3], keccak256(world.matrices[1][1]))
        );
        world.hashes[2][0] = keccak256(
            abi.encodePacked(bytes1(0x13), world.hashes[1][0], world.hashes[1][1], keccak256(world.matrices[2][0]))
        );
        anchorWith(world, world.hashes[2][0]);
        publish(world);
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.Sum memory sum = sumAt(world, 1, 1, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, bytes32(0), world.hashes[0][3]));
        judge.proveGramNode(case_, entries, sum);
        IGramProofs.Pair memory none;
        judge.proveGramLeaf(case_, entries, 3, opening(world, 0, 3), none);
        assertSlashed(world);
    }

    function test_proveGramLeaf_leavesAnEmptyPlaceAlone() public {
        World memory world = load();
        publish(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.Pair memory none;
        expectNoFraud(IGramProofs.Lie.Leaf, 3);
        judge.proveGramLeaf(caseOf(world), entries, 3, opening(world, 0, 3), none);
    }

    function test_proveGramLeaf_failsForALeafInAnotherPlace() public {
        World memory world = load();
        publish(world);
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.GramOpening memory claimed = opening(world, 0, 0);
        IGramProofs.Pair memory pair = pairAt(world, 0, 1, 0);
        (bool done,) = address(judge).call(abi.encodeCall(judge.proveGramLeaf, (case_, entries, 1, claimed, pair)));
        vm.assertFalse(done, "the Gram leaf of block 0 at place 1");
        claimed = opening(world, 0, 1);
        (done,) = address(judge).call(abi.encodeCall(judge.proveGramLeaf, (case_, entries, 1, claimed, pair)));
        vm.assertFalse(done, "the update leaves of block 0 at place 1");
    }
}

/// @notice An honest round, and whatever a malicious challenger sends.
contract GramProofsGarbledTest is GramProofsKrumWorld {
    /// @dev Proofs that hold as far as they go, encoded, for the fuzzer to garble.
    bytes[] private _calls;

    function elements() internal pure override returns (uint64[3] memory) {
        return [uint64(300), 40 * 256, 7];
    }

    function _encode(World memory world) private {
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world);
        _calls.push(abi.encodeCall(judge.proveKrum, (case_, entries, 0, root(world))));
        _calls.push(abi.encodeCall(judge.proveGramRoot, (case_, entries)));
        _calls.push(
            abi.encodeCall(judge.proveGramLeaf, (case_, entries, 1, opening(world, 0, 1), pairAt(world, 1, 2, 1)))
        );
        _calls.push(
            abi.encodeCall(judge.proveGramLeaf, (case_, entries, 3, opening(world, 0, 3), pairAt(world, 2, 3, 3)))
        );
        _calls.push(abi.encodeCall(judge.proveGramNode, (case_, entries, sumAt(world, 1, 1, 3, 2))));
        _calls.push(abi.encodeCall(judge.proveGramNode, (case_, entries, sumAt(world, 2, 0, 1, 1))));
    }

    function setUp() public override {
        super.setUp();
        World memory world = load();
        publish(world);
        _encode(world);
        vm.stopPrank();
    }

    function testFuzz_aGarbledProofStrikesNoHonestRound(uint256 which, uint256 place, uint8 bits) public {
        bytes memory data = _calls[which % _calls.length];
        // The selector stays.
        data[4 + place % (data.length - 4)] ^= bytes1(bits);
        vm.prank(challenger.addr);
        (bool done,) = address(judge).call(data);
        vm.assertFalse(done, "struck");
    }

    function testFuzz_anotherNumberInAProofStrikesNoHonestRound(uint256 which, uint256 place, uint256 word) public {
        bytes memory data = _calls[which % _calls.length];
        place = place % ((data.length - 4) / 32);
        assembly ("memory-safe") {
            mstore(add(add(data, 0x24), mul(0x20, place)), word)
        }
        vm.prank(challenger.addr);
        (bool done,) = address(judge).call(data);
        vm.assertFalse(done, "struck");
    }
}

/// @notice A model of two leaves: one block, whose matrix is the root's.
contract GramProofsBlockTest is GramProofsKrumTest {
    function elements() internal pure override returns (uint64[3] memory) {
        return [uint64(1), 7, 256];
    }
}

/// @notice Headers that no honest coordinator writes: another proof finds them, and this one divides by nothing.
contract GramProofsHeaderTest is GramProofsKrumPolicy {
    bytes private _exponents;

    function elements() internal pure override returns (uint64[3] memory) {
        return [uint64(1), 7, 256];
    }

    function exponents() internal view override returns (bytes memory) {
        return _exponents;
    }

    function _prove() private returns (World memory world) {
        world = invent(1);
        weigh(world, [uint256(0), 2, 3]);
        world.matrices = new bytes[][](1);
        world.matrices[0] = new bytes[](1);
        world.matrices[0][0] = new bytes(240);
        seal(world);
        publish(world);
    }

    function _expect(bytes memory given, bytes memory error) private {
        _exponents = given;
        World memory world = _prove();
        IJudge.Entry[] memory entries = entriesOf(world);
        IGramProofs.Pair memory pair = pairAt(world, 0, 0, 0);
        vm.expectRevert(error);
        judge.proveGramLeaf(caseOf(world), entries, 0, opening(world, 0, 0), pair);
    }

    function test_proveGramLeaf_failsForTooFewExponents() public {
        _expect(hex"f6f6", abi.encodeWithSelector(IJudge.JudgeSize.selector, 2, 3));
    }

    function test_proveGramLeaf_failsForAnExponentThatIsTooLow() public {
        _expect(
            abi.encodePacked(int8(-41), int8(0), int8(0)),
            abi.encodeWithSelector(IGramProofs.GramProofsExponent.selector, int256(-41))
        );
    }

    function test_proveGramLeaf_failsForAnExponentThatIsTooHigh() public {
        _expect(
            abi.encodePacked(int8(0), int8(0), int8(5)),
            abi.encodeWithSelector(IGramProofs.GramProofsExponent.selector, int256(5))
        );
    }
}

/// @notice Rounds with nobody to weigh, and with as many as there can be.
contract GramProofsCrowdTest is GramProofsKrumPolicy {
    function elements() internal pure override returns (uint64[3] memory) {
        return [uint64(1), 7, 256];
    }

    function _round(uint256 count, uint256 delivered, bytes32 gramRoot)
        private
        returns (IJudge.Case memory case_, IJudge.Entry[] memory entries)
    {
        RoundId round = open();
        entries = new IJudge.Entry[](count);
        for (uint256 i = 0; i < count; ++i) {
            Actor memory member = actor(string.concat("member ", vm.toString(i)));
            giveStake(member.addr, MIN_STAKE);
            enrol(member.addr);
            commitOwn(member, round);
            entries[i] = entryOf(commitmentOf(member.addr, round));
        }
        skipCommitWindow(round);
        uint32[] memory weights = new uint32[](count);
        weights[0] = 1;
        IRoundLedger.Anchor memory anchor = anchorWith(round, weights);
        (anchor.gramRoot, anchor.delivered) = (gramRoot, delivered);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        case_ = IJudge.Case(round, anchor, layout(), DOCUMENT);
        vm.startPrank(challenger.addr);
    }

    function _expectCount(uint256 count) private {
        vm.expectRevert(abi.encodeWithSelector(IGramProofs.GramProofsCount.selector, count, 32));
    }

    function test_proveGramRoot_wantsOneOfThirtyTwo() public {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries) = _round(32, type(uint256).max, bytes32(0));
        judge.proveGramRoot(case_, entries);
        assertPhase(case_.round, IRoundLedger.Phase.Slashed, "the round is void");
    }

    function test_proofs_failForNobody() public {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries) = _round(2, 0, bytes32(0));
        IGramProofs.GramOpening memory none;
        _expectCount(0);
        judge.proveKrum(case_, entries, 0, none);
        expectNoFraud(IGramProofs.Lie.Root, 0);
        judge.proveGramRoot(case_, entries);
    }

    function test_proveGramRoot_findsOneOfNobody() public {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries) = _round(2, 0, bytes32(uint256(1)));
        judge.proveGramRoot(case_, entries);
        assertPhase(case_.round, IRoundLedger.Phase.Slashed, "the round is void");
    }
}
