// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DataAvailability } from "../src/DataAvailability.sol";
import { IDataAvailability } from "../src/interfaces/IDataAvailability.sol";
import { IJudge } from "../src/interfaces/IJudge.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { MerkleSum } from "../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../src/libraries/MerkleTree.sol";
import { Openings } from "../src/libraries/Openings.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";
import { Trees } from "./utils/Trees.sol";

/// @notice Demands and answers over a real round.
contract DataAvailabilityTest is FraudWorld {
    uint256 private constant FUNDS = 100 * DEPOSIT;

    IDataAvailability.What private constant UPDATE = IDataAvailability.What.Update;
    IDataAvailability.What private constant AGGREGATE = IDataAvailability.What.Aggregate;
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

    function _demandUpdate(World memory world, uint256 entry, uint256 place) private returns (uint256) {
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        vm.prank(challenger.addr);
        return availability.demandUpdate(caseOf(world), entries, entry, place);
    }

    function _demand(World memory world, IDataAvailability.What what, uint256 place) private returns (uint256) {
        return _demandBy(challenger.addr, world, what, place);
    }

    function _demandBy(address account, World memory world, IDataAvailability.What what, uint256 place)
        private
        returns (uint256)
    {
        vm.prank(account);
        if (what >= HEADER) return availability.demandFile(world.round, world.anchor, what);
        return availability.demandLeaf(caseOf(world), what, place);
    }

    // Answering, as an honest coordinator does.

    function _answer(World memory world, uint256 demand, uint256 entry) private {
        IDataAvailability.Demand memory open = availability.demands(demand);
        uint256 place = open.place;
        vm.startPrank(coordinator.addr);
        if (open.what == UPDATE) {
            MerkleSum.Node memory node = world.updateTrees[entry][0][place];
            bytes memory siblings = Trees.path(world.updateTrees[entry], 0, place);
            availability.answerUpdate(demand, world.updates[entry][place], node.absolute, node.squares, siblings);
        } else if (open.what == AGGREGATE) {
            bytes32[] memory path = Trees.path(world.aggregateTree, place);
            availability.answerLeaf(demand, world.aggregate[place], path, bytes32(0));
        } else if (open.what == THETA) {
            bytes32[] memory path = Trees.path(world.nextThetaTree, place);
            availability.answerLeaf(demand, world.nextTheta[place], path, world.nextMomentumTree[DEPTH][0]);
        } else if (open.what == MOMENTUM) {
            bytes32[] memory path = Trees.path(world.nextMomentumTree, place);
            availability.answerLeaf(demand, world.nextMomentum[place], path, world.nextThetaTree[DEPTH][0]);
        } else {
            bytes memory file = open.what == HEADER ? world.header : bytes("verdicts");
            availability.answerFile(demand, open.what == ARTIFACTS ? bytes("artifacts") : file);
        }
        vm.stopPrank();
    }

    function _assertAnswered(uint256 demand, uint256 answers) private view {
        vm.assertEq(uint256(availability.demands(demand).status), uint256(IDataAvailability.Status.Answered), "status");
        vm.assertEq(token.balanceOf(coordinator.addr), answers * DEPOSIT, "who answers is paid");
    }

    function test_everyLeafOfEveryUpdateCanBeDemandedAndAnswered() public {
        World memory world = _world();
        for (uint256 place = 0; place < LEAVES; ++place) {
            uint256 entry = place % CONTRIBUTORS;
            if (place == 4) _fund(address(this));
            IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
            vm.prank(place == 4 ? address(this) : challenger.addr);
            uint256 demand = availability.demandUpdate(caseOf(world), entries, entry, place);
            _answer(world, demand, entry);
            _assertAnswered(demand, place + 1);
        }
    }

    function test_everyLeafOfAggregateAndStateCanBeDemandedAndAnswered() public {
        World memory world = _world();
        uint256 answers;
        for (uint256 what = 1; what <= 3; ++what) {
            address demander = address(uint160(0x1000 + what));
            _fund(demander);
            for (uint256 place = 1; place < LEAVES; ++place) {
                uint256 demand = _demandBy(demander, world, IDataAvailability.What(what), place);
                _answer(world, demand, 0);
                _assertAnswered(demand, ++answers);
            }
        }
    }

    function test_filesCanBeDemandedAndAnswered() public {
        World memory world = _world();
        for (uint256 what = 4; what <= 6; ++what) {
            uint256 demand = _demand(world, IDataAvailability.What(what), 0);
            _answer(world, demand, 0);
            _assertAnswered(demand, what - 3);
        }
    }

    function test_demand_announcesItAndLetsTheRoundWait() public {
        World memory world = _world();
        uint256 end = ledger.rounds(world.round).challengeDeadline;
        vm.warp(end - 1);
        uint40 answerBy = uint40(block.timestamp) + ANSWER_WINDOW;
        vm.expectEmit(address(availability));
        emit IDataAvailability.Demanded(1, world.round, challenger.addr, UPDATE, 2, 3, answerBy);
        uint256 demand = _demandUpdate(world, 2, 3);
        vm.assertEq(demand, 1, "number");
        vm.assertEq(availability.demandCount(), 1, "count");
        IDataAvailability.Demand memory made = availability.demands(1);
        assertEq(made.round, world.round, "round");
        vm.assertEq(made.demander, challenger.addr, "demander");
        vm.assertEq(made.root, world.updateTrees[2][DEPTH][0].hash, "root");
        vm.assertEq(uint256(made.place), 3, "place");
        vm.assertEq(uint256(made.depth), DEPTH, "depth");
        vm.assertTrue(made.stranger, "a stranger");
        vm.assertEq(token.balanceOf(address(availability)), DEPOSIT, "deposit");
        uint256 until = answerBy + ANSWER_WINDOW;
        vm.assertEq(uint256(ledger.rounds(world.round).challengeDeadline), until, "finality waits");
        vm.assertEq(vault.bondOf(coordinator.addr), BOND, "and so does the bond");
    }

    function test_answer_isPublic() public {
        World memory world = _world();
        uint256 demand = _demand(world, AGGREGATE, 4);
        bytes32[] memory path = Trees.path(world.aggregateTree, 4);
        vm.expectEmit(address(availability));
        emit IDataAvailability.Answered(demand, stranger.addr, world.aggregate[4], abi.encodePacked(path));
        vm.prank(stranger.addr);
        availability.answerLeaf(demand, world.aggregate[4], path, bytes32(0));
        vm.assertEq(token.balanceOf(stranger.addr), DEPOSIT, "anybody may answer");
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
        availability.demandUpdate(caseOf(world), entries, 0, 0);
        vm.expectRevert(expected);
        availability.demandLeaf(caseOf(world), AGGREGATE, 0);
        vm.expectRevert(expected);
        availability.demandFile(world.round, world.anchor, HEADER);
    }

    function test_demand_failsForAnotherAnchorOrOtherEntries() public {
        World memory world = _world();
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        IJudge.Case memory case_ = caseOf(world);
        bytes32 recorded = ledger.rounds(world.round).entriesHash;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, bytes32(0), recorded));
        availability.demandUpdate(case_, new IJudge.Entry[](0), 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, 3, 3));
        availability.demandUpdate(case_, entries, 3, 0);
        case_.anchor.delivered = 0;
        bytes32 given = keccak256(abi.encode(case_.anchor));
        recorded = ledger.rounds(world.round).anchorHash;
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeRecordMismatch.selector, given, recorded));
        availability.demandUpdate(case_, entries, 0, 0);
    }

    function test_demand_failsForAnUpdateThatDidNotArrive() public {
        World memory world = invent(1);
        world.delivered = 5;
        _publish(world);
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityNotDelivered.selector, 1));
        availability.demandUpdate(caseOf(world), entries, 1, 0);
    }

    function test_demand_failsForAPlaceWithoutALeaf() public {
        World memory world = _world();
        IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
        bytes memory expected = abi.encodeWithSelector(IJudge.JudgeOutOfRange.selector, LEAVES, LEAVES);
        vm.expectRevert(expected);
        availability.demandUpdate(caseOf(world), entries, 0, LEAVES);
        vm.expectRevert(expected);
        availability.demandLeaf(caseOf(world), THETA, LEAVES);
    }

    function test_demand_failsForAnotherKind() public {
        World memory world = _world();
        bytes4 error = IDataAvailability.DataAvailabilityNotDemandable.selector;
        vm.expectRevert(abi.encodeWithSelector(error, UPDATE));
        availability.demandLeaf(caseOf(world), UPDATE, 0);
        vm.expectRevert(abi.encodeWithSelector(error, HEADER));
        availability.demandLeaf(caseOf(world), HEADER, 0);
        vm.expectRevert(abi.encodeWithSelector(error, THETA));
        availability.demandFile(world.round, world.anchor, THETA);
    }

    function test_demand_failsAfterTheWindow() public {
        World memory world = _world();
        uint256 deadline = ledger.rounds(world.round).challengeDeadline;
        vm.warp(deadline);
        vm.expectRevert(
            abi.encodeWithSelector(IDataAvailability.DataAvailabilityTooLate.selector, world.round, deadline, deadline)
        );
        _demand(world, HEADER, 0);
    }

    /// @notice Demands that postpone a round don't make room for more and more of them.
    function test_demand_canNotHoldARoundForEver() public {
        World memory world = _world();
        uint256 last = uint256(ledger.rounds(world.round).anchorDeadline) + CHALLENGE_WINDOW;
        _demand(world, HEADER, 0);
        while (block.timestamp < last - 1) {
            vm.warp(block.timestamp + 3 hours < last ? block.timestamp + 3 hours : last - 1);
            if (block.timestamp >= ledger.rounds(world.round).challengeDeadline) break;
            address demander = address(uint160(block.timestamp));
            _fund(demander);
            _answer(world, _demandBy(demander, world, HEADER, 0), 0);
        }
        vm.assertLe(uint256(ledger.rounds(world.round).challengeDeadline), last + 2 * ANSWER_WINDOW, "held no longer");
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
        _demand(world, HEADER, 0);
    }

    function test_demand_isBoundedACaller() public {
        World memory world = _world();
        for (uint256 i = 0; i < availability.MAX_A_CALLER(); ++i) {
            _answer(world, _demand(world, AGGREGATE, i), 0);
        }
        vm.assertEq(availability.demandsBy(world.round, challenger.addr), 4, "answered ones count too");
        vm.expectRevert(
            abi.encodeWithSelector(
                IDataAvailability.DataAvailabilityTooManyDemands.selector, world.round, challenger.addr, 4
            )
        );
        _demand(world, AGGREGATE, 4);
    }

    /// @notice Whoever takes all places of strangers does not keep the round's contributors from asking.
    function test_demand_isBoundedForStrangersButNotForContributors() public {
        World memory world = _world();
        uint256 max = availability.MAX_OPEN();
        uint256 first;
        for (uint256 i = 0; i < max; ++i) {
            address demander = address(uint160(0x2000 + i / 4));
            if (i % 4 == 0) _fund(demander);
            uint256 demand = _demandBy(demander, world, AGGREGATE, i % 4);
            if (i == 0) first = demand;
        }
        vm.assertEq(availability.openDemands(world.round), max, "open");
        vm.expectRevert(
            abi.encodeWithSelector(IDataAvailability.DataAvailabilityTooManyOpen.selector, world.round, max)
        );
        _demand(world, AGGREGATE, 4);
        uint256 own = _demandBy(alice.addr, world, AGGREGATE, 4);
        vm.assertFalse(availability.demands(own).stranger, "alice is none");
        _answer(world, own, 0);
        vm.assertEq(availability.openDemands(world.round), max, "her answer makes no room");
        _answer(world, first, 0);
        vm.assertEq(availability.openDemands(world.round), max - 1, "an answer makes room");
        _demand(world, AGGREGATE, 4);
    }

    // What is no answer.

    function test_answer_failsWithOtherBytes() public {
        World memory world = _world();
        uint256 demand = _demandUpdate(world, 0, 2);
        MerkleSum.Node memory node = world.updateTrees[0][0][2];
        bytes memory siblings = Trees.path(world.updateTrees[0], 0, 2);
        bytes memory leaf = world.updates[0][2];
        leaf[7] ^= 0x01;
        MerkleSum.Node[] memory path = new MerkleSum.Node[](DEPTH);
        (path[0], path[1]) = (world.updateTrees[0][0][3], world.updateTrees[0][1][0]);
        path[2] = world.updateTrees[0][2][1];
        MerkleSum.Node memory wrong =
            MerkleSum.Node(keccak256(abi.encodePacked(bytes1(0), leaf)), node.absolute, node.squares);
        vm.expectRevert(
            abi.encodeWithSelector(
                IJudge.JudgeWrongPath.selector,
                MerkleSum.climb(wrong, 2, path).hash,
                world.updateTrees[0][DEPTH][0].hash
            )
        );
        availability.answerUpdate(demand, leaf, node.absolute, node.squares, siblings);
    }

    function test_answer_failsWithAnotherFileOrRoot() public {
        World memory world = _world();
        uint256 file = _demand(world, VERDICTS, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, keccak256("other"), world.anchor.verdictHash)
        );
        availability.answerFile(file, "other");

        uint256 leaf = _demand(world, THETA, 1);
        bytes32[] memory path = Trees.path(world.nextThetaTree, 1);
        bytes32 root = MerkleTree.stateRoot(manifestHash(), world.nextThetaTree[DEPTH][0], bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeWrongPath.selector, root, world.anchor.stateRoot));
        availability.answerLeaf(leaf, world.nextTheta[1], path, bytes32(0));
    }

    function test_answer_failsWithAnotherSizeOrPath() public {
        World memory world = _world();
        uint256 theta = _demand(world, THETA, 1);
        uint256 aggregate = _demand(world, AGGREGATE, 1);
        bytes32[] memory path = new bytes32[](DEPTH);
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeSize.selector, 1024, 2048));
        availability.answerLeaf(theta, new bytes(1024), path, bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(IJudge.JudgeSize.selector, 2048, 1024));
        availability.answerLeaf(aggregate, new bytes(2048), path, bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(Openings.OpeningsPathLength.selector, DEPTH + 1, DEPTH));
        availability.answerLeaf(aggregate, new bytes(1024), new bytes32[](DEPTH + 1), bytes32(0));
    }

    function test_answer_failsByTheWrongFunction() public {
        World memory world = _world();
        uint256 update = _demandUpdate(world, 0, 0);
        uint256 file = _demand(world, HEADER, 0);
        bytes4 error = IDataAvailability.DataAvailabilityNotDemandable.selector;
        vm.expectRevert(abi.encodeWithSelector(error, UPDATE));
        availability.answerFile(update, "");
        vm.expectRevert(abi.encodeWithSelector(error, UPDATE));
        availability.answerLeaf(update, "", new bytes32[](0), bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(error, HEADER));
        availability.answerLeaf(file, "", new bytes32[](0), bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(error, HEADER));
        availability.answerUpdate(file, "", 0, 0, "");
    }

    function _wrongStatus(uint256 demand, IDataAvailability.Status status) private {
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityWrongStatus.selector, demand, status));
    }

    function test_answer_failsTwiceAndForNothing() public {
        World memory world = _world();
        uint256 demand = _demand(world, HEADER, 0);
        _answer(world, demand, 0);
        _wrongStatus(demand, IDataAvailability.Status.Answered);
        availability.answerFile(demand, world.header);
        _wrongStatus(9, IDataAvailability.Status.None);
        availability.answerFile(9, world.header);
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
        uint256 demand = _demand(world, THETA, 0);
        uint256 answerBy = availability.demands(demand).answerBy;
        vm.warp(answerBy - 1);
        _wrongTime(demand, answerBy - 1, answerBy);
        availability.proveWithheld(demand);
        vm.warp(answerBy);
        bytes32[] memory path = Trees.path(world.nextThetaTree, 0);
        bytes32 other = world.nextMomentumTree[DEPTH][0];
        _wrongTime(demand, answerBy, answerBy);
        availability.answerLeaf(demand, world.nextTheta[0], path, other);
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
        uint256 first = _demand(world, HEADER, 0);
        uint256 second = _demand(world, ARTIFACTS, 0);
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
        vm.assertEq(availability.openDemands(world.round), 0, "open");
    }

    function test_release_waitsForTheRound() public {
        World memory world = _world();
        uint256 demand = _demand(world, HEADER, 0);
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
        for (uint256 i = 0; i < 6; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.warp(block.timestamp + bound(seed >> 128, 0, 3 hours));
            address demander = seed & 1 == 0 ? challenger.addr : alice.addr;
            IDataAvailability.What what = IDataAvailability.What((seed >> 8) % 7);
            if (block.timestamp >= ledger.rounds(world.round).challengeDeadline) break;
            if (availability.demandsBy(world.round, demander) == 4) continue;
            uint256 entry = (seed >> 16) % CONTRIBUTORS;
            uint256 demand;
            IJudge.Entry[] memory entries = entriesOf(world, LEAVES);
            if (what == UPDATE) {
                vm.prank(demander);
                demand = availability.demandUpdate(caseOf(world), entries, entry, (seed >> 24) % LEAVES);
            } else {
                demand = _demandBy(demander, world, what, (seed >> 24) % LEAVES);
            }
            vm.assertEq(token.balanceOf(address(availability)), DEPOSIT, "one deposit is open");
            vm.warp(block.timestamp + bound(seed >> 192, 0, ANSWER_WINDOW - 1));
            _answer(world, demand, entry);
            ++answered;
        }
        vm.assertEq(token.balanceOf(coordinator.addr), answered * DEPOSIT, "paid for each");
        vm.assertEq(token.balanceOf(address(availability)), 0, "nothing is left");
        skipChallengeWindow(world.round);
        ledger.finalize(world.round);
        vm.assertEq(vault.stakeOf(coordinator.addr), 5 * BOND, "the stake is untouched");
    }

    function test_constructor_failsWithAnImpossibleWindow() public {
        uint40 max = UNBONDING_PERIOD / 2;
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
        (entries[0].numExamples, entries[1].numExamples) = (600, 600);
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
        (entries[0].numExamples, entries[1].numExamples) = (600, 600);
        (entries[0].bundleHash, entries[1].bundleHash) = (keccak256("bundle"), keccak256("bundle"));
        vm.expectRevert(abi.encodeWithSelector(IDataAvailability.DataAvailabilityNotCensored.selector, 0));
        availability.proveCensored(round, anchor, entries, 0);
    }
}

/// @notice The verdicts of a crowd don't fit into a transaction.
contract DataAvailabilityCrowdTest is FraudWorld {
    function policy() internal view override returns (IRoundLedger.Policy memory made) {
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
