// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DataAvailability } from "../src/DataAvailability.sol";
import { IDataAvailability } from "../src/interfaces/IDataAvailability.sol";
import { IJudge } from "../src/interfaces/IJudge.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { MerkleSum } from "../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../src/libraries/MerkleTree.sol";
import { NodeLists } from "../src/libraries/NodeLists.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { plainAnchorHash } from "./utils/Anchors.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";
import { Trees } from "./utils/Trees.sol";

/// @notice Demands and answers over a real round.
contract DataAvailabilityTest is FraudWorld {
    uint256 private constant FUNDS = 100 * DEPOSIT;

    IDataAvailability.What private constant UPDATE = IDataAvailability.What.Update;
    IDataAvailability.What private constant MEAN = IDataAvailability.What.Mean;
    IDataAvailability.What private constant THETA = IDataAvailability.What.Theta;
    IDataAvailability.What private constant MOMENTUM = IDataAvailability.What.Momentum;
    IDataAvailability.What private constant HEADER = IDataAvailability.What.Header;
    IDataAvailability.What private constant VERDICTS = IDataAvailability.What.Verdicts;
    IDataAvailability.What private constant ARTIFACTS = IDataAvailability.What.Artifacts;

    function setUp() public override {
        super.setUp();
        vm.stopPrank();
        _fund(challenger.addr);
        _fund(alice.addr);
    }

    function _fund(address account) private {
        vm.prank(treasury.addr);
        token.transfer(account, FUNDS);
        vm.prank(account);
        token.approve(address(availability), type(uint256).max);
    }

    function _world() private returns (World memory world) {
        world = invent(1);
        _publish(world);
    }

    function _publish(World memory world) private {
        compute(world);
        publish(world);
        vm.stopPrank();
    }

    // Demanding.

    function _demandUpdate(World memory world, uint256 entry) private returns (uint256) {
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        vm.prank(challenger.addr);
        return availability.demandUpdate(caseOf(world), entries, entry);
    }

    function _demand(World memory world, IDataAvailability.What what) private returns (uint256) {
        return _demandBy(challenger.addr, world, what);
    }

    function _demandBy(address account, World memory world, IDataAvailability.What what) private returns (uint256) {
        vm.prank(account);
        if (what >= HEADER) return availability.demandFile(world.round, world.anchor, what);
        return availability.demandTree(caseOf(world), what);
    }

    function _descend(World memory world, uint256 demand, uint256 place) private returns (uint256) {
        (bytes memory list,) = _valuesOf(world, availability.demands(demand));
        vm.prank(challenger.addr);
        return availability.descend(demand, list, place);
    }

    // Answering, as an honest coordinator does.

    /// @dev The tree is as deep as one list.
    function _valuesOf(World memory world, IDataAvailability.Demand memory open)
        private
        pure
        returns (bytes memory values, bytes32 other)
    {
        uint256 place = open.index;
        if (open.what == UPDATE) {
            if (open.level == 0) return (world.updates[open.entry][place], other);
            return (Trees.list(world.updateTrees[open.entry][0], 0, 1 << DEPTH), other);
        }
        if (open.what == MEAN) {
            return (open.level == 0 ? world.mean[place] : abi.encodePacked(world.meanTree[0]), other);
        }
        if (open.what == THETA) {
            other = world.nextMomentumTree[DEPTH][0];
            return (open.level == 0 ? world.nextTheta[place] : abi.encodePacked(world.nextThetaTree[0]), other);
        }
        if (open.what == MOMENTUM) {
            other = world.nextThetaTree[DEPTH][0];
            return (open.level == 0 ? world.nextMomentum[place] : abi.encodePacked(world.nextMomentumTree[0]), other);
        }
        if (open.what == HEADER) return (world.header, other);
        return (open.what == ARTIFACTS ? bytes("artifacts") : bytes("verdicts"), other);
    }

    function _answer(World memory world, uint256 demand) private {
        (bytes memory values, bytes32 other) = _valuesOf(world, availability.demands(demand));
        vm.prank(coordinator.addr);
        availability.show(demand, values, other);
    }

    function _assertAnswered(uint256 demand, uint256 answers) private view {
        vm.assertEq(uint256(availability.demands(demand).status), uint256(IDataAvailability.Status.Answered), "status");
        vm.assertEq(token.balanceOf(coordinator.addr), answers * DEPOSIT, "who answers is paid");
    }

    function test_everyLeafOfEveryTreeCanBeDescendedToAndAnswered() public {
        World memory world = _world();
        uint256 answers;
        for (uint256 tree = 0; tree < CONTRIBUTORS + 3; ++tree) {
            uint256 what = tree < CONTRIBUTORS ? 0 : tree - CONTRIBUTORS + 1;
            uint256 root = what == 0 ? _demandUpdate(world, tree) : _demand(world, IDataAvailability.What(what));
            _answer(world, root);
            _assertAnswered(root, ++answers);
            for (uint256 place = 0; place < LEAVES; ++place) {
                uint256 demand = _descend(world, root, place);
                _answer(world, demand);
                _assertAnswered(demand, ++answers);
            }
        }
    }

    function test_filesCanBeDemandedAndAnswered() public {
        World memory world = _world();
        for (uint256 what = 4; what <= 6; ++what) {
            uint256 demand = _demand(world, IDataAvailability.What(what));
            _answer(world, demand);
            _assertAnswered(demand, what - 3);
        }
    }

    function test_demand_announcesItAndLetsTheRoundWait() public {
        World memory world = _world();
        uint256 end = ledger.rounds(world.round).challengeDeadline;
        vm.warp(end - 1);
        uint40 answerBy = uint40(block.timestamp) + ANSWER_WINDOW;
        vm.expectEmit(address(availability));
        emit IDataAvailability.Demanded(1, world.round, challenger.addr, UPDATE, 2, DEPTH, 0, answerBy);
        uint256 demand = _demandUpdate(world, 2);
        vm.assertEq(demand, 1, "number");
        vm.assertEq(availability.demandCount(), 1, "count");
        vm.assertEq(availability.demandOf(world.round, UPDATE, 2, DEPTH, 0), 1, "by its key");
        IDataAvailability.Demand memory made = availability.demands(1);
        assertEq(made.round, world.round, "round");
        vm.assertEq(made.demander, challenger.addr, "demander");
        vm.assertEq(made.hash, world.updateTrees[2][DEPTH][0].hash, "root");
        vm.assertEq(uint256(made.entry), 2, "entry");
        vm.assertEq(uint256(made.level), DEPTH, "level");
        vm.assertEq(uint256(made.depth), DEPTH, "depth");
        vm.assertEq(uint256(made.until), answerBy, "until");
        vm.assertEq(token.balanceOf(address(availability)), DEPOSIT, "deposit");
        uint256 until = answerBy + ANSWER_WINDOW;
        vm.assertEq(uint256(ledger.rounds(world.round).challengeDeadline), until, "finality waits");
        vm.assertEq(vault.bondOf(coordinator.addr), BOND, "and so does the bond");
    }

    function test_answer_isPublic() public {
        World memory world = _world();
        uint256 demand = _demand(world, MEAN);
        bytes memory list = abi.encodePacked(world.meanTree[0]);
        vm.expectEmit(address(availability));
        emit IDataAvailability.Answered(demand, stranger.addr, list, bytes32(0));
        vm.prank(stranger.addr);
        availability.show(demand, list, bytes32(0));
        vm.assertEq(token.balanceOf(stranger.addr), DEPOSIT, "anybody may answer");
        vm.assertEq(availability.demands(demand).hash, keccak256(list), "the list stays");
    }

    // Descending.

    function test_descend_announcesTheNode() public {
        World memory world = _world();
        uint256 root = _demandUpdate(world, 1);
        _answer(world, root);
        bytes memory list = Trees.list(world.updateTrees[1][0], 0, 1 << DEPTH);
        uint40 answerBy = uint40(block.timestamp) + ANSWER_WINDOW;
        vm.expectEmit(address(availability));
        emit IDataAvailability.Demanded(2, world.round, alice.addr, UPDATE, 1, 0, 4, answerBy);
        vm.prank(alice.addr);
        uint256 leaf = availability.descend(root, list, 4);
        vm.assertEq(availability.demands(leaf).hash, world.updateTrees[1][0][4].hash, "the leaf's hash");
    }

    function test_descend_needsAListThatWasShown() public {
        World memory world = _world();
        uint256 root = _demand(world, MEAN);
        bytes memory list = abi.encodePacked(world.meanTree[0]);
        _wrongStatus(root, IDataAvailability.Status.Open);
        availability.descend(root, list, 0);
        _wrongStatus(9, IDataAvailability.Status.None);
        availability.descend(9, list, 0);
        _answer(world, root);
        bytes memory other = abi.encodePacked(world.nextThetaTree[0]);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, keccak256(other), keccak256(list)));
        availability.descend(root, other, 0);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 8, 8));
        availability.descend(root, list, 8);
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityEmpty.selector, LEAVES));
        availability.descend(root, list, LEAVES);
    }

    function test_descend_failsFromALeafOrFile() public {
        World memory world = _world();
        uint256 root = _demand(world, MEAN);
        uint256 file = _demand(world, HEADER);
        _answer(world, root);
        _answer(world, file);
        uint256 leaf = _descend(world, root, 0);
        _answer(world, leaf);
        bytes4 error = IDataAvailability.DataAvailabilityNotDemandable.selector;
        vm.expectRevert(abi.encodeWithSelector(error, MEAN));
        availability.descend(leaf, world.mean[0], 0);
        vm.expectRevert(abi.encodeWithSelector(error, HEADER));
        availability.descend(file, world.header, 0);
    }

    function test_descend_failsOnceTheRoundIsOver() public {
        World memory world = _world();
        uint256 root = _demand(world, MEAN);
        _answer(world, root);
        skipChallengeWindow(world.round);
        ledger.finalize(world.round);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeNotAnchored.selector, world.round, IRoundLedger.Phase.Final));
        availability.descend(root, abi.encodePacked(world.meanTree[0]), 0);
    }

    /// @notice An answer in the last second leaves an answer window to descend, whatever the regular window says.
    function test_descend_hasTimeAfterALateAnswer() public {
        World memory world = _world();
        vm.warp(ledger.rounds(world.round).challengeDeadline - 1);
        uint256 root = _demand(world, MEAN);
        vm.warp(block.timestamp + ANSWER_WINDOW - 1);
        _answer(world, root);
        uint256 until = block.timestamp + ANSWER_WINDOW;
        vm.warp(until - 1);
        uint256 state = vm.snapshotState();
        _descend(world, root, 0);
        vm.assertLe(until - 1 + 2 * ANSWER_WINDOW, uint256(ledger.rounds(world.round).challengeDeadline), "it waits");
        vm.revertToState(state);
        vm.warp(until);
        bytes memory list = abi.encodePacked(world.meanTree[0]);
        vm.expectRevert(
            abi.encodeWithSelector(IDataAvailability.DataAvailabilityTooLate.selector, world.round, until, until)
        );
        availability.descend(root, list, 0);
    }

    /// @notice A demand of the coordinator's own, early and answered at once, closes nothing: the regular window counts.
    function test_descend_hasTheRegularWindowAfterAnEarlyAnswer() public {
        World memory world = _world();
        uint256 root = _demand(world, MEAN);
        _answer(world, root);
        uint256 last = ledger.rounds(world.round).challengeDeadline;
        vm.assertLe(block.timestamp + ANSWER_WINDOW + 1, last, "the window is longer than an answer's");
        vm.warp(last - 1);
        _descend(world, root, 0);
    }

    /// @notice H4: a coordinator that is everybody asks for all that it likes, and answers in the last second. It keeps
    /// nobody from the place that it hides, and what it does not show there costs it the bond.
    function test_H4_ownDemandsKeepNobodyFromAsking() public {
        World memory world = _world();
        address puppet = address(0x2000);
        _fund(puppet);
        uint256 end = ledger.rounds(world.round).challengeDeadline;
        vm.warp(end - 1);
        uint256 root = _demandBy(puppet, world, THETA);
        for (uint256 what = 4; what <= 6; ++what) {
            _demandBy(puppet, world, IDataAvailability.What(what));
        }
        vm.warp(block.timestamp + ANSWER_WINDOW - 1);
        for (uint256 demand = 1; demand <= 4; ++demand) {
            _answer(world, demand);
        }
        bytes memory list = abi.encodePacked(world.nextThetaTree[0]);
        for (uint256 place = 0; place < LEAVES - 1; ++place) {
            vm.prank(puppet);
            availability.descend(root, list, place);
        }
        vm.warp(block.timestamp + ANSWER_WINDOW - 1);
        for (uint256 demand = 5; demand <= 8; ++demand) {
            _answer(world, demand);
        }
        uint256 hidden = _descend(world, root, LEAVES - 1);
        vm.warp(availability.demands(hidden).until);
        vm.prank(stranger.addr);
        availability.proveWithheld(hidden);
        assertPhase(world.round, IRoundLedger.Phase.Slashed, "void");
        vm.assertEq(token.balanceOf(challenger.addr), FUNDS + BOND / 4, "deposit and a quarter of the bond");
    }

    // What can't be demanded.

    function test_demand_failsUnlessAnchored() public {
        World memory world = _world();
        skipChallengeWindow(world.round);
        ledger.finalize(world.round);
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        bytes memory expected =
            abi.encodeWithSelector(IJudge.JudgeNotAnchored.selector, world.round, IRoundLedger.Phase.Final);
        vm.expectRevert(expected);
        availability.demandUpdate(caseOf(world), entries, 0);
        vm.expectRevert(expected);
        availability.demandTree(caseOf(world), MEAN);
        vm.expectRevert(expected);
        availability.demandFile(world.round, world.anchor, HEADER);
    }

    function test_demand_failsForAnotherAnchorOrOtherEntries() public {
        World memory world = _world();
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        IJudge.Case memory case_ = caseOf(world);
        bytes32 recorded = ledger.rounds(world.round).entriesHash;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, bytes32(0), recorded));
        availability.demandUpdate(case_, new IJudge.Entry[](0), 0);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 3, 3));
        availability.demandUpdate(case_, entries, 3);
        case_.anchor.delivered = 0;
        bytes32 given = plainAnchorHash(case_.anchor);
        recorded = ledger.rounds(world.round).anchorHash;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, given, recorded));
        availability.demandUpdate(case_, entries, 0);
    }

    function test_demand_failsForAnUpdateThatDidNotArrive() public {
        World memory world = invent(1);
        world.delivered = 5;
        _publish(world);
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityNotDelivered.selector, 1));
        availability.demandUpdate(caseOf(world), entries, 1);
    }

    function test_demand_failsForAnotherKind() public {
        World memory world = _world();
        bytes4 error = IDataAvailability.DataAvailabilityNotDemandable.selector;
        vm.expectRevert(abi.encodeWithSelector(error, UPDATE));
        availability.demandTree(caseOf(world), UPDATE);
        vm.expectRevert(abi.encodeWithSelector(error, HEADER));
        availability.demandTree(caseOf(world), HEADER);
        vm.expectRevert(abi.encodeWithSelector(error, THETA));
        availability.demandFile(world.round, world.anchor, THETA);
    }

    function test_demand_servesAllWhoWantIt() public {
        World memory world = _world();
        uint256 demand = _demand(world, HEADER);
        bytes memory expected =
            abi.encodeWithSelector(IDataAvailability.DataAvailabilityAlreadyDemanded.selector, demand);
        vm.prank(alice.addr);
        vm.expectRevert(expected);
        availability.demandFile(world.round, world.anchor, HEADER);
        _answer(world, demand);
        vm.prank(alice.addr);
        vm.expectRevert(expected);
        availability.demandFile(world.round, world.anchor, HEADER);
    }

    function test_demand_failsAfterTheWindow() public {
        World memory world = _world();
        uint256 deadline = ledger.rounds(world.round).challengeDeadline;
        vm.warp(deadline);
        vm.expectRevert(
            abi.encodeWithSelector(IDataAvailability.DataAvailabilityTooLate.selector, world.round, deadline, deadline)
        );
        _demand(world, HEADER);
    }

    /// @notice Whoever demands all that there is, as late as possible, holds a round for two answer windows a step.
    function test_demand_canNotHoldARoundForEver() public {
        World memory world = _world();
        uint256 last = ledger.rounds(world.round).challengeDeadline;
        vm.warp(last - 1);
        uint256 root = _demand(world, THETA);
        vm.warp(block.timestamp + ANSWER_WINDOW - 1);
        _answer(world, root);
        vm.warp(availability.demands(root).until - 1);
        uint256 leaf = _descend(world, root, 0);
        vm.warp(block.timestamp + ANSWER_WINDOW - 1);
        _answer(world, leaf);
        vm.assertLe(uint256(ledger.rounds(world.round).challengeDeadline), last + 4 * ANSWER_WINDOW, "held no longer");
        vm.warp(ledger.rounds(world.round).challengeDeadline);
        ledger.finalize(world.round);
    }

    function test_demand_failsAfterTheLastRegularMoment() public {
        World memory world = _world();
        uint256 last = uint256(ledger.rounds(world.round).anchorDeadline) + CHALLENGE_WINDOW;
        vm.prank(address(arbiter));
        ledger.postpone(world.round, uint40(last + 1 days));
        vm.warp(last);
        vm.expectRevert(
            abi.encodeWithSelector(IDataAvailability.DataAvailabilityTooLate.selector, world.round, last, last)
        );
        _demand(world, HEADER);
    }

    // What is no answer.

    function test_show_failsWithOtherBytes() public {
        World memory world = _world();
        uint256 root = _demandUpdate(world, 0);
        MerkleSum.Node[] memory row = world.updateTrees[0][0];
        row[2].squares += 1;
        bytes32 wrong = Trees.sums(row, DEPTH)[DEPTH][0].hash;
        vm.expectRevert(
            abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, wrong, world.updateTrees[0][DEPTH][0].hash)
        );
        availability.show(root, Trees.list(row, 0, 1 << DEPTH), bytes32(0));
        row[2].squares -= 1;
        _answer(world, root);

        uint256 demand = _descend(world, root, 2);
        bytes memory leaf = bytes.concat(world.updates[0][2]);
        leaf[7] ^= 0x01;
        wrong = keccak256(abi.encodePacked(bytes1(0), leaf));
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, wrong, row[2].hash));
        availability.show(demand, leaf, bytes32(0));
    }

    function test_show_failsWithAnotherFileOrRoot() public {
        World memory world = _world();
        uint256 file = _demand(world, VERDICTS);
        vm.expectRevert(
            abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, keccak256("other"), world.anchor.verdictHash)
        );
        availability.show(file, "other", bytes32(0));

        uint256 theta = _demand(world, THETA);
        bytes32 root = MerkleTree.stateRoot(manifestHash(), world.nextThetaTree[DEPTH][0], bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, root, world.anchor.stateRoot));
        availability.show(theta, abi.encodePacked(world.nextThetaTree[0]), bytes32(0));
    }

    function test_show_failsWithAnotherSize() public {
        World memory world = _world();
        uint256 theta = _demand(world, THETA);
        uint256 update = _demandUpdate(world, 0);
        vm.expectRevert(abi.encodeWithSelector(NodeLists.NodeListsSize.selector, 9 * 32, 8 * 32));
        availability.show(theta, new bytes(9 * 32), bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(NodeLists.NodeListsSize.selector, 8 * 32, 8 * 48));
        availability.show(update, new bytes(8 * 32), bytes32(0));
        _answer(world, theta);
        uint256 leaf = _descend(world, theta, 1);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeSize.selector, 256, 2048));
        availability.show(leaf, new bytes(256), bytes32(0));
        uint256 mean = _demand(world, MEAN);
        _answer(world, mean);
        leaf = _descend(world, mean, 1);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeSize.selector, 2048, 256));
        availability.show(leaf, new bytes(2048), bytes32(0));
    }

    function _wrongStatus(uint256 demand, IDataAvailability.Status status) private {
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityWrongStatus.selector, demand, status));
    }

    function test_answer_failsTwiceAndForNothing() public {
        World memory world = _world();
        uint256 demand = _demand(world, HEADER);
        _answer(world, demand);
        _wrongStatus(demand, IDataAvailability.Status.Answered);
        availability.show(demand, world.header, bytes32(0));
        _wrongStatus(9, IDataAvailability.Status.None);
        availability.show(9, world.header, bytes32(0));
        _wrongStatus(demand, IDataAvailability.Status.Answered);
        availability.proveWithheld(demand);
        _wrongStatus(demand, IDataAvailability.Status.Answered);
        availability.release(demand);
    }

    function _wrongTime(uint256 demand, uint256 time, uint256 answerBy) private {
        vm.expectRevert(
            abi.encodeWithSelector(IDataAvailability.DataAvailabilityWrongTime.selector, demand, time, answerBy)
        );
    }

    // Withheld.

    function test_proveWithheld_takesTheBondAfterTheAnswerWindow() public {
        World memory world = _world();
        vm.warp(ledger.rounds(world.round).challengeDeadline - 1);
        uint256 demand = _demand(world, THETA);
        uint256 answerBy = availability.demands(demand).until;
        vm.warp(answerBy - 1);
        _wrongTime(demand, answerBy - 1, answerBy);
        availability.proveWithheld(demand);
        vm.warp(answerBy);
        bytes32 other = world.nextMomentumTree[DEPTH][0];
        _wrongTime(demand, answerBy, answerBy);
        availability.show(demand, abi.encodePacked(world.nextThetaTree[0]), other);
        vm.warp(answerBy + ANSWER_WINDOW - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerTooEarly.selector, world.round, block.timestamp, answerBy + ANSWER_WINDOW
            )
        );
        ledger.finalize(world.round);
        vm.expectEmit(address(availability));
        emit IDataAvailability.Withheld(demand, world.round, challenger.addr);
        vm.prank(stranger.addr);
        availability.proveWithheld(demand);
        assertPhase(world.round, IRoundLedger.Phase.Slashed, "void");
        vm.assertEq(token.balanceOf(challenger.addr), FUNDS + BOND / 4, "deposit and a quarter of the bond");
        vm.assertEq(token.balanceOf(address(availability)), 0, "no deposit is left");
        _wrongStatus(demand, IDataAvailability.Status.Convicted);
        availability.proveWithheld(demand);
    }

    function test_proveWithheld_worksOnceARound() public {
        World memory world = _world();
        uint256 first = _demand(world, HEADER);
        uint256 second = _demand(world, ARTIFACTS);
        vm.warp(block.timestamp + ANSWER_WINDOW);
        availability.proveWithheld(first);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector,
                world.round,
                IRoundLedger.Phase.Slashed,
                IRoundLedger.Phase.Anchored
            )
        );
        availability.proveWithheld(second);
        vm.expectEmit(address(availability));
        emit IDataAvailability.Returned(second, challenger.addr);
        availability.release(second);
        vm.assertEq(token.balanceOf(address(availability)), 0, "no deposit is left");
    }

    function test_release_waitsForTheRound() public {
        World memory world = _world();
        uint256 demand = _demand(world, HEADER);
        vm.warp(block.timestamp + ANSWER_WINDOW);
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityStillJudged.selector, demand));
        availability.release(demand);
        skipChallengeWindow(world.round);
        ledger.finalize(world.round);
        availability.release(demand);
        vm.assertEq(token.balanceOf(challenger.addr), FUNDS, "nobody proved it, and the deposit is back");
    }

    /// @notice Whatever is demanded, by strangers and contributors, at any time: a coordinator that answers keeps its
    /// bond, the round becomes final, and the deposits are its own.
    /// forge-config: default.fuzz.runs = 24
    /// forge-config: ci.fuzz.runs = 100
    function testFuzz_whoeverAnswersIsNeverConvicted(uint256 seed) public {
        World memory world = invent(seed);
        _publish(world);
        uint256 answered;
        for (uint256 i = 0; i < 8; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.warp(block.timestamp + bound(seed >> 128, 0, 3 hours));
            uint256 demand = _demandAnything(world, seed);
            if (demand == 0) continue;
            vm.assertEq(token.balanceOf(address(availability)), DEPOSIT, "one deposit is open");
            vm.warp(block.timestamp + bound(seed >> 192, 0, ANSWER_WINDOW - 1));
            _answer(world, demand);
            ++answered;
        }
        vm.assertEq(token.balanceOf(coordinator.addr), answered * DEPOSIT, "paid for each");
        vm.assertEq(token.balanceOf(address(availability)), 0, "nothing is left");
        skipChallengeWindow(world.round);
        ledger.finalize(world.round);
        vm.assertEq(vault.stakeOf(coordinator.addr), 5 * BOND, "the stake is untouched");
    }

    /// @dev A root, a file, or a node below a list that was shown; zero if that is not possible any more.
    function _demandAnything(World memory world, uint256 seed) private returns (uint256 demand) {
        address demander = seed & 1 == 0 ? challenger.addr : alice.addr;
        IDataAvailability.What what = IDataAvailability.What((seed >> 8) % 7);
        uint256 entry = what == UPDATE ? (seed >> 16) % CONTRIBUTORS : 0;
        uint256 root = availability.demandOf(world.round, what, entry, what < HEADER ? DEPTH : 0, 0);
        IJudge.Case memory case_ = caseOf(world);
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        (bytes memory list,) = _valuesOf(world, availability.demands(root));
        vm.startPrank(demander);
        if (root != 0) {
            try availability.descend(root, list, (seed >> 24) % LEAVES) returns (uint256 made) {
                demand = made;
            } catch { }
        } else if (what == UPDATE) {
            try availability.demandUpdate(case_, entries, entry) returns (uint256 made) {
                demand = made;
            } catch { }
        } else if (what < HEADER) {
            try availability.demandTree(case_, what) returns (uint256 made) {
                demand = made;
            } catch { }
        } else {
            try availability.demandFile(world.round, world.anchor, what) returns (uint256 made) {
                demand = made;
            } catch { }
        }
        vm.stopPrank();
    }

    function test_constructor_failsWithAnImpossibleWindow() public {
        uint40 max = UNBONDING_PERIOD / 14;
        IStakeVault vault_ = vault;
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityInvalidWindow.selector, max + 1, max));
        new DataAvailability(ledger, token, vault_, DEPOSIT, max + 1);
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityInvalidWindow.selector, 0, max));
        new DataAvailability(ledger, token, vault_, DEPOSIT, 0);
        vm.assertEq(uint256(availability.answerWindow()), ANSWER_WINDOW, "window");
        vm.assertEq(availability.deposit(), DEPOSIT, "deposit");
        vm.assertEq(address(availability.token()), address(token), "token");
    }

    // Deliveries of a model that is one part.

    function _deliver(World memory world, uint256 entry, address account) private {
        bytes memory values;
        for (uint256 j = 0; j < LEAVES; ++j) {
            values = bytes.concat(values, world.updates[entry][j]);
        }
        bytes32 root = world.updateTrees[entry][DEPTH][0].hash;
        vm.prank(account);
        availability.deliver(world.round, root, layout(), DOCUMENT, 0, values, "");
    }

    /// @dev Open, deliver by `account` what entry `entry` commits to, commit and anchor.
    function _publishDelivered(World memory world, uint256 entry, address account) private {
        compute(world);
        vm.prank(coordinator.addr);
        ledger.openRound(world.round, genesisState(), keccak256(world.header));
        IRoundLedger.Commitment[] memory commitments = commitmentsOf(world);
        for (uint256 i = 0; i < commitments.length; ++i) {
            vm.prank(commitments[i].contributor);
            ledger.commitUpdate(commitments[i]);
        }
        _deliver(world, entry, account);
        skipCommitWindow(world.round);
        vm.prank(coordinator.addr);
        ledger.anchor(world.round, entriesHashOf(world.round), world.anchor);
    }

    function _notCensored(World memory world, uint256 entry) private {
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityNotCensored.selector, entry));
        availability.proveCensored(world.round, world.anchor, entries, entry);
    }

    function test_proveCensored_takesTheBondForTheContributor() public {
        World memory world = invent(1);
        world.delivered = 5;
        _publishDelivered(world, 1, bob.addr);
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        vm.expectEmit(address(availability));
        emit IDataAvailability.Censored(world.round, bob.addr, 1);
        vm.prank(stranger.addr);
        availability.proveCensored(world.round, world.anchor, entries, 1);
        assertPhase(world.round, IRoundLedger.Phase.Slashed, "void");
        vm.assertEq(token.balanceOf(bob.addr), BOND / 4, "to the contributor");
    }

    function test_proveCensored_leavesACoordinatorAloneThatCounts() public {
        World memory world = invent(1);
        _publishDelivered(world, 1, bob.addr);
        _notCensored(world, 1);
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 3, 3));
        availability.proveCensored(world.round, world.anchor, entries, 3);
    }

    function test_proveCensored_needsADeliveryOfTheContributor() public {
        World memory world = invent(1);
        world.delivered = 0;
        _publishDelivered(world, 1, stranger.addr);
        _notCensored(world, 1);
        _notCensored(world, 0);
    }

    /// @notice An honest coordinator refuses an update whose commitment says another norm than its tree has.
    function test_proveCensored_doesNotHelpAFalseNorm() public {
        World memory world = invent(1);
        world.delivered = 5;
        world.updateTrees[1][DEPTH][0].squares -= 1;
        _publishDelivered(world, 1, bob.addr);
        _notCensored(world, 1);
    }
}

/// @notice Deliveries of a model of two parts: 65 leaves, so that the second part is one leaf.
contract DataAvailabilityDeliveryTest is FraudWorld {
    uint256 private constant TREE_DEPTH = 7;

    bytes[2] private _parts;
    MerkleSum.Node[][] private _tree;
    RoundId private _round;

    function setUp() public override {
        super.setUp();
        vm.stopPrank();
        MerkleSum.Node[] memory leaves = new MerkleSum.Node[](65);
        for (uint256 j = 0; j < 65; ++j) {
            bytes memory leaf = updateLeaf(j, j == 64 ? 10 : 256);
            leaves[j] = MerkleSum.leaf(leaf);
            _parts[j / 64] = bytes.concat(_parts[j / 64], leaf);
        }
        MerkleSum.Node[][] memory tree = Trees.sums(leaves, TREE_DEPTH);
        for (uint256 level = 0; level <= TREE_DEPTH; ++level) {
            _tree.push();
            for (uint256 i = 0; i < tree[level].length; ++i) {
                _tree[level].push(tree[level][i]);
            }
        }
        _round = open();
    }

    function _layout() private pure returns (bytes memory) {
        return abi.encodePacked(uint64(64 * 256), uint64(10));
    }

    function manifestHash() internal pure override returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(_layout()), DOCUMENT));
    }

    function _siblings(uint256 part) private view returns (bytes memory) {
        MerkleSum.Node memory other = _tree[6][1 - part];
        return abi.encodePacked(other.hash, other.absolute, other.squares);
    }

    function _root() private view returns (bytes32) {
        return _tree[TREE_DEPTH][0].hash;
    }

    function _deliver(uint256 part) private {
        bytes memory siblings = _siblings(part & 1);
        bytes32 root = _root();
        bytes memory values = _parts[part & 1];
        vm.prank(alice.addr);
        availability.deliver(_round, root, _layout(), DOCUMENT, part, values, siblings);
    }

    function test_deliver_takesPartsInAnyOrder() public {
        vm.expectEmit(address(availability));
        emit IDataAvailability.Delivered(_round, alice.addr, _root(), 1, 1, _parts[1]);
        _deliver(1);
        IDataAvailability.Delivery memory half = availability.deliveries(_round, alice.addr, _root());
        vm.assertEq(uint256(half.parts), 2, "parts");
        vm.assertEq(uint256(half.missing), 1, "one is missing");
        _deliver(0);
        IDataAvailability.Delivery memory whole = availability.deliveries(_round, alice.addr, _root());
        vm.assertEq(uint256(whole.missing), 0, "none is missing");
        vm.assertEq(uint256(whole.sumSquares), _tree[TREE_DEPTH][0].squares, "sum of squares");
    }

    function test_deliver_takesEachPartOnce() public {
        _deliver(1);
        bytes memory siblings = _siblings(1);
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityAlreadyDelivered.selector, 1));
        vm.prank(alice.addr);
        availability.deliver(_round, _tree[TREE_DEPTH][0].hash, _layout(), DOCUMENT, 1, _parts[1], siblings);
    }

    function test_deliver_failsOutsideOfTheCommitWindow() public {
        skipCommitWindow(_round);
        bytes memory siblings = _siblings(0);
        vm.expectRevert(
            abi.encodeWithSelector(
                IDataAvailability.DataAvailabilityNotOpen.selector, _round, IRoundLedger.Phase.Committed
            )
        );
        availability.deliver(_round, _tree[TREE_DEPTH][0].hash, _layout(), DOCUMENT, 0, _parts[0], siblings);
    }

    function test_deliver_failsForAnotherPlaceSizeOrRoot() public {
        bytes memory siblings = _siblings(0);
        bytes32 root = _root();
        bytes memory values = _parts[0];
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 2, 2));
        availability.deliver(_round, root, _layout(), DOCUMENT, 2, values, siblings);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeSize.selector, 64 * 256, 256));
        availability.deliver(_round, root, _layout(), DOCUMENT, 1, values, siblings);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, root, keccak256("another")));
        availability.deliver(_round, keccak256("another"), _layout(), DOCUMENT, 0, values, siblings);
        bytes32 given = keccak256(abi.encodePacked(bytes1(0x10), keccak256(layout()), DOCUMENT));
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, given, manifestHash()));
        availability.deliver(_round, root, layout(), DOCUMENT, 0, values, siblings);
    }

    function test_deliver_failsForBytesThatAreNotAllowed() public {
        bytes memory siblings = _siblings(1);
        bytes32 root = _root();
        bytes memory values = _parts[1];
        values[10] = 0x81;
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityInvalidPadding.selector, 64, 10));
        availability.deliver(_round, root, _layout(), DOCUMENT, 1, values, siblings);
        (values[10], values[3]) = (0x80, 0x00);
        vm.expectRevert(abi.encodeWithSelector(MerkleSum.MerkleSumInvalidByte.selector, 3));
        availability.deliver(_round, root, _layout(), DOCUMENT, 1, values, siblings);
    }

    /// @dev What can't be in an update file can't be delivered either.
    function test_deliver_keepsToTheWidthOfTheRound() public {
        vm.warp(ledger.rounds(_round).anchorDeadline);
        ledger.cancel(_round);
        narrow(4);
        vm.stopPrank();
        _round = open();
        bytes memory values = edgeLeaf(4, 10);
        MerkleSum.Node[] memory leaves = new MerkleSum.Node[](65);
        for (uint256 j = 0; j < 64; ++j) {
            leaves[j] = _tree[0][j];
        }
        leaves[64] = MerkleSum.leaf(values);
        MerkleSum.Node[][] memory tree = Trees.sums(leaves, TREE_DEPTH);
        bytes32 root = tree[TREE_DEPTH][0].hash;
        MerkleSum.Node memory other = tree[6][0];
        bytes memory siblings = abi.encodePacked(other.hash, other.absolute, other.squares);
        availability.deliver(_round, root, _layout(), DOCUMENT, 1, values, siblings);
        values[5] = 0x88;
        vm.expectRevert(abi.encodeWithSelector(MerkleSum.MerkleSumInvalidByte.selector, 0));
        availability.deliver(_round, root, _layout(), DOCUMENT, 1, values, siblings);
    }

    function test_proveCensored_needsEveryPart() public {
        _deliver(1);
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, _round);
        (commitment.updateRoot, commitment.sumSquares) = (_root(), _tree[TREE_DEPTH][0].squares);
        vm.prank(alice.addr);
        ledger.commitUpdate(commitment);
        commitOwn(bob, _round);
        skipCommitWindow(_round);
        uint32[] memory weights = new uint32[](2);
        weights[1] = 1;
        IRoundLedger.Anchor memory anchor = anchorWith(_round, weights);
        anchor.delivered = 2;
        vm.prank(coordinator.addr);
        ledger.anchor(_round, entriesHashOf(_round), anchor);
        IJudge.Entry[] memory entries = new IJudge.Entry[](2);
        IRoundLedger.Commitment memory second = commitmentOf(bob.addr, _round);
        (entries[0].contributor, entries[0].updateRoot) = (alice.addr, commitment.updateRoot);
        (entries[1].contributor, entries[1].updateRoot) = (bob.addr, second.updateRoot);
        (entries[0].sumSquares, entries[1].sumSquares) = (commitment.sumSquares, second.sumSquares);
        (entries[0].memoryHash, entries[1].memoryHash) = (keccak256("memory"), keccak256("memory"));
        (entries[0].bundleHash, entries[1].bundleHash) = (keccak256("bundle"), keccak256("bundle"));
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityNotCensored.selector, 0));
        availability.proveCensored(_round, anchor, entries, 0);
    }
}

/// @notice Deliveries of a model of three parts: a fourth part of the tree has no leaf.
contract DataAvailabilityPaddingTest is FraudWorld {
    uint256 private constant TREE_DEPTH = 8;

    bytes[3] private _parts;

    function _layout() private pure returns (bytes memory) {
        return abi.encodePacked(uint64(129 * 256));
    }

    function manifestHash() internal pure override returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(_layout()), DOCUMENT));
    }

    function _tree() private returns (MerkleSum.Node[][] memory) {
        MerkleSum.Node[] memory leaves = new MerkleSum.Node[](129);
        for (uint256 j = 0; j < 129; ++j) {
            bytes memory leaf = updateLeaf(j, 256);
            leaves[j] = MerkleSum.leaf(leaf);
            _parts[j / 64] = bytes.concat(_parts[j / 64], leaf);
        }
        return Trees.sums(leaves, TREE_DEPTH);
    }

    function _deliver(RoundId round, MerkleSum.Node[][] memory tree, uint256 part) private {
        bytes32 root = tree[TREE_DEPTH][0].hash;
        bytes memory siblings = Trees.path(tree, 6, part);
        bytes memory values = _parts[part];
        vm.prank(alice.addr);
        availability.deliver(round, root, _layout(), DOCUMENT, part, values, siblings);
    }

    function test_deliver_takesAllPartsThatHaveALeaf() public {
        vm.stopPrank();
        MerkleSum.Node[][] memory tree = _tree();
        RoundId round = open();
        for (uint256 part = 0; part < 3; ++part) {
            _deliver(round, tree, part);
        }
        bytes32 root = tree[TREE_DEPTH][0].hash;
        vm.assertEq(uint256(availability.deliveries(round, alice.addr, root).missing), 0, "none is missing");
    }

    /// @notice An honest coordinator can't compute the root of such a tree: it must not pay for leaving it out.
    function test_deliver_failsWithSomethingBehindTheLastLeaf() public {
        vm.stopPrank();
        MerkleSum.Node[][] memory tree = _tree();
        tree[6][3] = MerkleSum.Node(keccak256("of what nobody knows"), 0, 0);
        Trees.rehash(tree, 7);
        Trees.rehash(tree, 8);
        RoundId round = open();
        _deliver(round, tree, 0);
        _deliver(round, tree, 1);
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityInvalidPadding.selector, 129, 0));
        _deliver(round, tree, 2);
        _leaveOut(round, tree[TREE_DEPTH][0]);
    }

    function _leaveOut(RoundId round, MerkleSum.Node memory root) private {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        (commitment.updateRoot, commitment.sumSquares) = (root.hash, root.squares);
        vm.prank(alice.addr);
        ledger.commitUpdate(commitment);
        commitOwn(bob, round);
        skipCommitWindow(round);
        uint32[] memory weights = new uint32[](2);
        weights[1] = 1;
        IRoundLedger.Anchor memory anchor = anchorWith(round, weights);
        anchor.delivered = 2;
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        IJudge.Entry[] memory entries = new IJudge.Entry[](2);
        IRoundLedger.Commitment memory second = commitmentOf(bob.addr, round);
        (entries[0].contributor, entries[0].updateRoot) = (alice.addr, root.hash);
        (entries[1].contributor, entries[1].updateRoot) = (bob.addr, second.updateRoot);
        (entries[0].sumSquares, entries[1].sumSquares) = (root.squares, second.sumSquares);
        (entries[0].memoryHash, entries[1].memoryHash) = (keccak256("memory"), keccak256("memory"));
        (entries[0].bundleHash, entries[1].bundleHash) = (keccak256("bundle"), keccak256("bundle"));
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityNotCensored.selector, 0));
        availability.proveCensored(round, anchor, entries, 0);
    }
}

/// @notice The verdicts of a crowd don't fit into a transaction.
contract DataAvailabilityCrowdTest is FraudWorld {
    function policy() internal view override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.maxContributors = 256;
    }

    function test_demandFile_isForVerdictsThatFitIntoATransaction() public {
        vm.stopPrank();
        RoundId round = open();
        uint32[] memory weights = new uint32[](129);
        for (uint256 i = 0; i < 129; ++i) {
            Actor memory member = actor(string.concat("member ", vm.toString(i)));
            giveStake(member.addr, MIN_STAKE);
            enrol(member.addr);
            commitOwn(member, round);
            weights[i] = 1;
        }
        skipCommitWindow(round);
        IRoundLedger.Anchor memory anchor = anchorWith(round, weights);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        bytes4 error = IDataAvailability.DataAvailabilityNotDemandable.selector;
        vm.expectRevert(abi.encodeWithSelector(error, IDataAvailability.What.Verdicts));
        availability.demandFile(round, anchor, IDataAvailability.What.Verdicts);
    }
}

/// @notice A tree of two lists: 40 leaves, so that the root's list has 32 nodes, and each of these a list of two leaves.
contract DataAvailabilityDescentTest is FraudWorld {
    uint256 private constant WIDTH = 40;
    uint256 private constant TREE_DEPTH = 6;

    RoundId private _round;
    IRoundLedger.Anchor private _anchor;
    bytes32[][] private _tree;
    MerkleSum.Node[][] private _updateTree;

    function _layout() private pure returns (bytes memory) {
        return abi.encodePacked(uint64(WIDTH * 256));
    }

    function manifestHash() internal pure override returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(_layout()), DOCUMENT));
    }

    function _leaf(uint256 index) private pure returns (bytes memory leaf) {
        leaf = new bytes(256);
        leaf[0] = bytes1(uint8(index));
    }

    function setUp() public override {
        super.setUp();
        vm.stopPrank();
        vm.prank(treasury.addr);
        token.transfer(challenger.addr, 100 * DEPOSIT);
        vm.prank(challenger.addr);
        token.approve(address(availability), type(uint256).max);
        bytes32[] memory hashes = new bytes32[](WIDTH);
        MerkleSum.Node[] memory leaves = new MerkleSum.Node[](WIDTH);
        for (uint256 i = 0; i < WIDTH; ++i) {
            hashes[i] = MerkleTree.leaf(MerkleTree.Kind.Mean, _leaf(i));
            leaves[i] = MerkleSum.leaf(updateLeaf(i, 256));
        }
        _tree = Trees.hashes(MerkleTree.Kind.Mean, hashes, TREE_DEPTH);
        MerkleSum.Node[][] memory updateTree = Trees.sums(leaves, TREE_DEPTH);
        for (uint256 level = 0; level <= TREE_DEPTH; ++level) {
            _updateTree.push();
            for (uint256 i = 0; i < updateTree[level].length; ++i) {
                _updateTree[level].push(updateTree[level][i]);
            }
        }
        _publish();
    }

    function _publish() private {
        _round = open();
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, _round);
        (commitment.updateRoot, commitment.sumSquares) =
        (_updateTree[TREE_DEPTH][0].hash, _updateTree[TREE_DEPTH][0].squares);
        vm.prank(alice.addr);
        ledger.commitUpdate(commitment);
        commitOwn(bob, _round);
        skipCommitWindow(_round);
        uint32[] memory weights = new uint32[](2);
        (weights[0], weights[1]) = (1, 1);
        _anchor = anchorWith(_round, weights);
        (_anchor.delivered, _anchor.meanRoot) = (3, _tree[TREE_DEPTH][0]);
        vm.prank(coordinator.addr);
        ledger.anchor(_round, entriesHashOf(_round), _anchor);
    }

    function _entries() private view returns (IJudge.Entry[] memory entries) {
        IRoundLedger.Commitment memory second = commitmentOf(bob.addr, _round);
        entries = new IJudge.Entry[](2);
        (entries[0].contributor, entries[0].updateRoot) = (alice.addr, _updateTree[TREE_DEPTH][0].hash);
        (entries[1].contributor, entries[1].updateRoot) = (bob.addr, second.updateRoot);
        (entries[0].sumSquares, entries[1].sumSquares) = (_updateTree[TREE_DEPTH][0].squares, second.sumSquares);
        (entries[0].memoryHash, entries[1].memoryHash) = (keccak256("memory"), keccak256("memory"));
        (entries[0].bundleHash, entries[1].bundleHash) = (keccak256("bundle"), keccak256("bundle"));
    }

    function _case() private view returns (IJudge.Case memory) {
        return IJudge.Case(_round, _anchor, _layout(), DOCUMENT);
    }

    function _assertNode(uint256 demand, uint256 level, uint256 index, bytes32 node) private view {
        IDataAvailability.Demand memory made = availability.demands(demand);
        vm.assertEq(uint256(made.level), level, "level");
        vm.assertEq(uint256(made.index), index, "index");
        vm.assertEq(made.hash, node, "node");
    }

    function test_descend_leadsListByListToEveryLeafOfTheMean() public {
        vm.startPrank(challenger.addr);
        uint256 root = availability.demandTree(_case(), IDataAvailability.What.Mean);
        bytes memory first = Trees.list(_tree[1], 0, 32);
        availability.show(root, first, bytes32(0));
        for (uint256 place = 0; place < WIDTH; place += 13) {
            uint256 middle = availability.descend(root, first, place / 2);
            _assertNode(middle, 1, place / 2, _tree[1][place / 2]);
            bytes memory second = Trees.list(_tree[0], place & ~uint256(1), 2);
            availability.show(middle, second, bytes32(0));
            uint256 leaf = availability.descend(middle, second, place & 1);
            _assertNode(leaf, 0, place, _tree[0][place]);
            availability.show(leaf, _leaf(place), bytes32(0));
        }
        vm.assertEq(token.balanceOf(challenger.addr), 100 * DEPOSIT, "each answer had its deposit");
    }

    function test_descend_leadsListByListToEveryLeafOfAnUpdate() public {
        IJudge.Entry[] memory entries = _entries();
        vm.startPrank(challenger.addr);
        uint256 root = availability.demandUpdate(_case(), entries, 0);
        bytes memory first = Trees.list(_updateTree[1], 0, 32);
        availability.show(root, first, bytes32(0));
        for (uint256 place = 0; place < WIDTH; place += 13) {
            uint256 middle = availability.descend(root, first, place / 2);
            _assertNode(middle, 1, place / 2, _updateTree[1][place / 2].hash);
            bytes memory second = Trees.list(_updateTree[0], place & ~uint256(1), 2);
            availability.show(middle, second, bytes32(0));
            uint256 leaf = availability.descend(middle, second, place & 1);
            _assertNode(leaf, 0, place, _updateTree[0][place].hash);
            availability.show(leaf, updateLeaf(place, 256), bytes32(0));
        }
    }

    /// @notice What a coordinator hides behind the last leaf can be come to as well: empty nodes have lists like others.
    function test_descend_leadsBehindTheLastLeaf() public {
        vm.startPrank(challenger.addr);
        uint256 root = availability.demandTree(_case(), IDataAvailability.What.Mean);
        bytes memory first = Trees.list(_tree[1], 0, 32);
        availability.show(root, first, bytes32(0));
        uint256 middle = availability.descend(root, first, 31);
        availability.show(middle, new bytes(64), bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityEmpty.selector, 63));
        availability.descend(middle, new bytes(64), 1);
    }
}
