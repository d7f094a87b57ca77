// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAdmission } from "../src/interfaces/IAdmission.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { Places } from "../src/libraries/Places.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { Deployment } from "./utils/Deployment.sol";
import { RoundTest } from "./utils/RoundTest.sol";
import { Vm } from "./utils/Vm.sol";

/// @notice A cheat code of these tests alone.
interface VmHashes {
    function setBlockhash(uint256 number, bytes32 value) external;
}

/// @notice A crowd: more stake is enrolled than a round has places, which go by stake.
/// @dev Eleven updates at most, so ten places, and quotas for seven and a half. Five honest accounts have a quota
/// each, and one owner has the other third in twenty-five accounts of a tenth of a quota.
abstract contract CrowdTest is RoundTest {
    uint256 internal constant PLACES = 10;
    uint256 internal constant QUOTA = 10 * MIN_STAKE;
    uint256 internal constant HONEST = 5;
    uint256 internal constant PARTS = 25;
    /// @dev Blocks after which a basis can be replaced.
    uint256 internal constant REDRAW = 257;

    Actor[] internal honest;
    Actor[] internal parts;

    function setUp() public override {
        super.setUp();
        giveStake(coordinator.addr, 20 * BOND);
        string[HONEST] memory names = ["alice", "bob", "carol", "doris", "emil"];
        for (uint256 i = 0; i < HONEST; ++i) {
            honest.push(actor(names[i]));
            giveStake(honest[i].addr, QUOTA - vault.stakeOf(honest[i].addr));
            _enrolAll(honest[i]);
        }
        for (uint256 i = 0; i < PARTS; ++i) {
            parts.push(actor(string.concat("part ", vm.toString(i))));
            giveStake(parts[i].addr, MIN_STAKE);
            _enrolAll(parts[i]);
        }
        _redraw();
    }

    function policy() internal view override returns (IRoundLedger.Policy memory small) {
        small = super.policy();
        small.maxContributors = uint16(PLACES + 1);
    }

    function _memberOf(Actor memory account) internal view returns (IStakeVault.Member memory) {
        address[] memory accounts = new address[](1);
        accounts[0] = account.addr;
        return vault.members(accounts)[0];
    }

    function _leave(Actor memory account) internal {
        vm.prank(account.addr);
        ledger.leave();
    }

    /// @dev All of its stake, in the second before.
    function _enrolAll(Actor memory account) internal {
        uint256 time = block.timestamp;
        uint256 amount = vault.stakeOf(account.addr);
        vm.warp(time - 1);
        _enrolWith(account, amount);
        vm.warp(time);
    }

    function _enrolWith(Actor memory account, uint256 amount) internal {
        vm.prank(account.addr);
        ledger.enrol(amount);
    }

    /// @dev What is enrolled now is the basis of draws in the next block.
    function _redraw() internal {
        vm.roll(vault.basis().blockNumber + REDRAW);
        vm.warp(block.timestamp + 1);
        vault.redraw();
        _nextBlock();
    }

    /// @dev In the same second, as if blocks were that fast.
    function _nextBlock() internal {
        vm.roll(block.number + 1);
    }

    function _lastRound() internal view returns (RoundId) {
        return id(RoundId.unwrap(ledger.nextRound()) - 1);
    }

    /// @dev What cancelling and opening again gives.
    function _reopen(RoundId round) internal returns (RoundId) {
        _cancelEmpty(round);
        return open();
    }

    /// @dev After the commit window: the round is anchored with equal weights, and the next block begins.
    function _anchorAll(RoundId round) internal {
        uint32[] memory weights = new uint32[](ledger.rounds(round).entries);
        for (uint256 i = 0; i < weights.length; ++i) {
            weights[i] = 1;
        }
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchorWith(round, weights));
        _nextBlock();
    }

    function _refusesNotAbsent(Actor memory account, uint256 missed) internal {
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAbsent.selector, account.addr, missed, uint256(3))
        );
        ledger.remove(account.addr);
    }

    function _assertSame(Places.Draw memory draw, Places.Draw memory other, string memory message) internal pure {
        vm.assertEq(abi.encode(draw), abi.encode(other), message);
    }

    function _refusesLate(Actor memory account, RoundId round) internal {
        vm.assertFalse(ledger.hasPlace(round, account.addr), "has no place");
        _refusesCommit(
            account,
            round,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerEnrolledTooLate.selector,
                round,
                account.addr,
                uint256(_memberOf(account).since),
                uint256(ledger.draws(round).at)
            )
        );
    }

    function _cancelEmpty(RoundId round) internal {
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
    }

    function _close(RoundId round) internal {
        vm.prank(coordinator.addr);
        ledger.closeCommits(round);
    }

    function _refusesCommit(Actor memory account, RoundId round, bytes memory reason) internal {
        IRoundLedger.Commitment memory commitment = commitmentOf(account.addr, round);
        vm.expectRevert(reason);
        vm.prank(account.addr);
        ledger.commitUpdate(commitment);
    }

    function _noPlace(RoundId round, Actor memory account) internal view returns (bytes memory) {
        return abi.encodeWithSelector(
            IRoundLedger.RoundLedgerNoPlace.selector,
            round,
            account.addr,
            uint256(_memberOf(account).enrolled),
            uint256(ledger.draws(round).quota)
        );
    }

    /// @dev The parts that were drawn, and those that were not.
    function _split(RoundId round) internal view returns (Actor[] memory drawn, Actor[] memory others) {
        drawn = new Actor[](PARTS);
        others = new Actor[](PARTS);
        uint256 count;
        for (uint256 i = 0; i < PARTS; ++i) {
            if (ledger.hasPlace(round, parts[i].addr)) drawn[count++] = parts[i];
            else others[i - count] = parts[i];
        }
        assembly ("memory-safe") {
            mstore(drawn, count)
            mstore(others, sub(PARTS, count))
        }
    }

    /// @dev A round in which exactly so many parts were drawn. Here the hash of a block follows from its number, so
    /// the search finds the same round each time.
    function _openWithDrawn(uint256 wanted) internal returns (RoundId round) {
        for (uint256 i = 0; i < 200; ++i) {
            round = open();
            (Actor[] memory drawn,) = _split(round);
            if (drawn.length == wanted) return round;
            _cancelEmpty(round);
            _redraw();
        }
        vm.assertTrue(false, "no such round");
    }
}

/// @notice Who has a place in a crowd, and what a crowd changes.
contract RoundLedgerPlacesTest is CrowdTest {
    // The draw.

    function test_draw_isRecordedAndEmitted() public {
        vm.recordLogs();
        RoundId round = open();
        Places.Draw memory draw = ledger.draws(round);
        vm.assertEq(draw.quota, QUOTA, "quota");
        vm.assertGt(draw.seed, 0, "seed");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 found;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IRoundLedger.PlacesDrawn.selector) continue;
            ++found;
            vm.assertEq(logs[i].emitter, address(ledger), "emitter");
            vm.assertEq(logs[i].topics[1], bytes32(uint256(RoundId.unwrap(round))), "round");
            vm.assertEq(logs[i].data, abi.encode(draw.quota, draw.at, draw.seed), "data");
        }
        vm.assertEq(found, 1, "emitted once");
    }

    /// @notice Anybody can compute the draw again from the basis and the hash of its block.
    function test_draw_isWhatTheProtocolSays() public {
        bytes32 blockHash = keccak256("block");
        Places.Basis memory basis = vault.basis();
        VmHashes(address(vm)).setBlockhash(basis.blockNumber, blockHash);
        Places.Draw memory draw = ledger.draws(open());
        vm.assertEq(draw.quota, vault.totalEnrolled() * 4 / (3 * PLACES), "quota");
        vm.assertEq(draw.at, block.timestamp, "time of the basis");
        vm.assertEq(draw.seed, uint120(uint256(blockHash)), "seed");
    }

    function test_draw_dependsOnTheBlockOfTheBasis() public {
        uint256 state = vm.snapshotState();
        uint120 seed = ledger.draws(open()).seed;
        vm.revertToState(state);
        vm.assertEq(ledger.draws(open()).seed, seed, "the same again");
        vm.revertToState(state);
        VmHashes(address(vm)).setBlockhash(vault.basis().blockNumber, keccak256("another block"));
        vm.assertTrue(ledger.draws(open()).seed != seed, "another block, another seed");
    }

    function test_draw_noneAtTheLimitOfACrowd() public {
        for (uint256 i = 0; i < HONEST; ++i) {
            _enrolWith(honest[i], MIN_STAKE);
        }
        for (uint256 i = HONEST; i < PARTS; ++i) {
            _leave(parts[i]);
        }
        vm.assertEq(vault.totalEnrolled(), PLACES * MIN_STAKE, "a minimum for each place");
        RoundId round = open();
        vm.assertEq(ledger.draws(round).quota, QUOTA, "there was a crowd at the basis");
        _cancelEmpty(round);
        _redraw();
        round = open();
        vm.assertEq(ledger.draws(round).quota, 0, "no quota");
        vm.assertEq(ledger.draws(round).at, 0, "no time");
        vm.assertEq(ledger.draws(round).seed, 0, "no seed");
        vm.assertTrue(ledger.hasPlace(round, parts[0].addr), "a place for all");
        vm.assertFalse(ledger.hasPlace(round, parts[HONEST].addr), "who is enrolled");
        _cancelEmpty(round);

        giveStake(parts[0].addr, 1);
        _enrolWith(parts[0], MIN_STAKE + 1);
        round = open();
        vm.assertEq(ledger.draws(round).quota, 1, "one unit more, and none at the basis");
        vm.assertEq(ledger.draws(round).at, vault.basis().at, "time of the basis");
        vm.assertTrue(ledger.hasPlace(round, parts[1].addr), "who was there before has a place");
        _refusesLate(parts[0], round);
        _cancelEmpty(round);

        _redraw();
        round = open();
        vm.assertEq(ledger.draws(round).quota, MIN_STAKE * 4 / 3, "a crowd at the basis");
        vm.assertTrue(ledger.draws(round).at > 0, "time");
    }

    /// @dev The policy of the round says how many places there are, and what the minimum is.
    function test_draw_goesByThePolicyOfTheRound() public {
        IRoundLedger.Policy memory changed = policy();
        changed.maxContributors = 101;
        vm.prank(address(timelock));
        ledger.addPolicy(changed);
        RoundId round = open();
        vm.assertEq(ledger.draws(round).quota, 0, "a hundred places, so no crowd");
        _cancelEmpty(round);
        changed.maxContributors = 51;
        vm.prank(address(timelock));
        ledger.addPolicy(changed);
        vm.assertEq(ledger.draws(open()).quota, 2 * MIN_STAKE, "fifty places");
    }

    // Who has a place.

    /// @dev Audit H1: the opening transaction could fill its own round with accounts that it enrolled itself. In a crowd,
    /// what it enrols has no place before the next basis either.
    function test_place_noneInTheSecondOfTheOpening() public {
        Actor memory rich = actor("rich");
        giveStake(rich.addr, 100 * QUOTA);
        _enrolWith(rich, 100 * QUOTA);
        RoundId round = open();
        vm.assertFalse(counts(round, rich.addr), "counts");
        _refusesLate(rich, round);
        _cancelEmpty(round);
        vm.warp(block.timestamp + 1);
        round = open();
        vm.assertTrue(counts(round, rich.addr), "on the list the second after");
        _refusesLate(rich, round);
        _cancelEmpty(round);
        _redraw();
        vm.assertTrue(ledger.hasPlace(open(), rich.addr), "the next basis");
    }

    /// @dev Who enrols in the second of the basis is a part of the total, and has no place: it may have come after it,
    /// in a block of the same second.
    function test_place_noneInTheSecondOfTheBasis() public {
        Actor memory early = actor("early");
        Actor memory late = actor("late");
        giveStake(early.addr, QUOTA);
        giveStake(late.addr, QUOTA);
        vm.roll(vault.basis().blockNumber + REDRAW);
        vm.warp(block.timestamp + 1);
        _enrolWith(early, QUOTA);
        vault.redraw();
        vm.assertEq(vault.basis().total, vault.totalEnrolled(), "total");
        _nextBlock();
        _enrolWith(late, QUOTA);
        RoundId round = open();
        _refusesLate(early, round);
        _refusesLate(late, round);
        vm.assertEq(ledger.draws(round).quota, uint256(85 * MIN_STAKE) * 4 / 30, "with the one, not with the other");
    }

    /// @dev Audit H1: whoever divided its stake had as many places as accounts. Over many rounds, a third of the stake
    /// in twenty-five accounts has a quarter of the places, and who has a quota always has its own.
    function test_place_theShareOfOneWhoDividedItsStake() public {
        uint256 n = 200;
        uint256 drawn;
        for (uint256 i = 0; i < n; ++i) {
            RoundId round = open();
            for (uint256 j = 0; j < PARTS; ++j) {
                if (ledger.hasPlace(round, parts[j].addr)) ++drawn;
            }
            for (uint256 j = 0; j < HONEST; ++j) {
                vm.assertTrue(ledger.hasPlace(round, honest[j].addr), "a quota is a place");
            }
            _cancelEmpty(round);
            _redraw();
        }
        // 2.5 of 10 places: 500, and four standard deviations of 5000 draws of 1 in 10: 4 sqrt(450).
        vm.assertLe(500 - 85, drawn, "not less than its share");
        vm.assertLe(drawn, 500 + 85, "not more than its share");
    }

    /// @dev In one account, the same stake has one place and no more.
    function test_place_oneForOneAccount() public {
        for (uint256 i = 0; i < PARTS; ++i) {
            _leave(parts[i]);
        }
        Actor memory rich = actor("rich");
        giveStake(rich.addr, PARTS * MIN_STAKE);
        _enrolAll(rich);
        RoundId round = open();
        vm.assertEq(ledger.draws(round).quota, QUOTA, "the same quota");
        vm.assertTrue(ledger.hasPlace(round, rich.addr), "has a place");
        commitOwn(rich, round);
        IRoundLedger.Commitment memory again = commitmentOf(rich.addr, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerAlreadyCommitted.selector, round, rich.addr));
        vm.prank(rich.addr);
        ledger.commitUpdate(again);
    }

    /// @notice Views and commitments agree for every account.
    function test_place_isWhatTheViewSays() public {
        RoundId round = _openWithDrawn(5);
        for (uint256 i = 0; i < HONEST; ++i) {
            commitOwn(honest[i], round);
        }
        for (uint256 i = 0; i < PARTS; ++i) {
            vm.assertTrue(counts(round, parts[i].addr), "on the list in time, drawn or not");
            if (ledger.hasPlace(round, parts[i].addr)) commitOwn(parts[i], round);
            else _refusesCommit(parts[i], round, _noPlace(round, parts[i]));
        }
        vm.assertEq(ledger.rounds(round).entries, PLACES, "all places are taken");
    }

    /// @dev A place is measured by what is enrolled now: taking stake out costs it, and bringing it back is late.
    function test_place_goesWithTheQuota() public {
        RoundId round = _openWithDrawn(3);
        uint256 least = QUOTA;
        while (true) {
            _enrolWith(alice, least);
            if (!ledger.hasPlace(round, alice.addr)) break;
            vm.assertTrue(least > MIN_STAKE, "found with more than the minimum");
            least -= MIN_STAKE;
        }
        vm.assertTrue(least < QUOTA, "a quota is a place");
        _refusesCommit(alice, round, _noPlace(round, alice));
        vm.warp(block.timestamp + 1);
        _enrolWith(alice, QUOTA);
        _refusesLate(alice, round);
    }

    /// @dev Below the minimum there is no lot, however lucky: the error says what is missing.
    function test_place_noneBelowTheMinimum() public {
        RoundId round = _openWithDrawn(3);
        (Actor[] memory drawn, Actor[] memory others) = _split(round);
        Actor[2] memory both = [drawn[0], others[0]];
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(both[i].addr);
            vault.requestUnbond(1);
            vm.assertFalse(ledger.hasPlace(round, both[i].addr), "has a place");
            _refusesCommit(
                both[i],
                round,
                abi.encodeWithSelector(
                    IRoundLedger.RoundLedgerStakeTooLow.selector, both[i].addr, MIN_STAKE - 1, uint256(MIN_STAKE)
                )
            );
            ledger.remove(both[i].addr);
        }
    }

    /// @dev Whoever unbonds a part of its quota does not keep the place by it, but by its lot.
    function test_place_shrinksWithTheStake() public {
        RoundId round = open();
        uint256 lot = uint256(keccak256(abi.encode(uint256(ledger.draws(round).seed), alice.addr))) >> 160;
        uint256 least = ((lot * QUOTA) >> 96) + 1;
        vm.assertGt(least, MIN_STAKE, "a lot that asks for more than the minimum");
        vm.prank(alice.addr);
        vault.requestUnbond(QUOTA - least);
        vm.assertTrue(ledger.hasPlace(round, alice.addr), "the least that the lot asks for");
        vm.prank(alice.addr);
        vault.requestUnbond(1);
        vm.assertFalse(ledger.hasPlace(round, alice.addr), "one unit less");
        _refusesCommit(alice, round, _noPlace(round, alice));
    }

    function test_place_failsABatchWithTheErrorThatNamesIt() public {
        RoundId round = _openWithDrawn(2);
        (, Actor[] memory others) = _split(round);
        Actor memory unlucky = others[0];
        bytes memory batch = batchOf(alice, commitmentOf(alice.addr, round));
        bytes memory last = batchOf(bob, commitmentOf(bob.addr, round));
        bytes memory spoilt = bytes.concat(batch, batchOf(unlucky, commitmentOf(unlucky.addr, round)), last);
        bytes memory reason = _noPlace(round, unlucky);
        vm.expectRevert(reason);
        ledger.commitUpdates(round, BUNDLE_HASH, spoilt);
        vm.assertFalse(ledger.hasCommitted(round, alice.addr), "as a whole");

        // Without it the batch goes through.
        batch = bytes.concat(batch, batchOf(carol, commitmentOf(carol.addr, round)), last);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertEq(ledger.rounds(round).entries, 3, "entries");
    }

    function test_place_failsABatchWithOneWhoIsLate() public {
        RoundId round = open();
        uint256 at = ledger.draws(round).at;
        vm.warp(block.timestamp + 2);
        giveStake(bob.addr, 1);
        _enrolWith(bob, QUOTA + 1);
        bytes memory batch = batchOf(bob, commitmentOf(bob.addr, round));
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerEnrolledTooLate.selector, round, bob.addr, block.timestamp, at
            )
        );
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
    }

    function test_place_failsABatchWithOneWhoNeverEnrolled() public {
        RoundId round = open();
        bytes memory batch = batchOf(stranger, commitmentOf(stranger.addr, round));
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, stranger.addr, uint256(0), uint256(MIN_STAKE)
            )
        );
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
    }

    // The coordinator's own entry.

    /// @dev Audit H1: others could take all places, and the coordinator's root update had none.
    function test_coordinator_findsItsPlaceInACrowd() public {
        RoundId round = _openWithDrawn(6);
        (Actor[] memory drawn,) = _split(round);
        for (uint256 i = 0; i < 6; ++i) {
            commitOwn(drawn[i], round);
        }
        for (uint256 i = 0; i < 4; ++i) {
            commitOwn(honest[i], round);
        }
        _refusesCommit(
            honest[4], round, abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundFull.selector, round, uint256(PLACES))
        );
        vm.assertEq(_memberOf(coordinator).enrolled, 0, "not enrolled");
        vm.assertTrue(ledger.hasPlace(round, coordinator.addr), "has a place");
        commitOwn(coordinator, round);
        vm.assertEq(ledger.rounds(round).entries, PLACES + 1, "entries");
        _close(round);
    }

    /// @dev Its signature will do, as anybody's.
    function test_coordinator_findsItsPlaceInABatch() public {
        RoundId round = open();
        bytes memory batch = batchOf(coordinator, commitmentOf(coordinator.addr, round));
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertTrue(ledger.hasCommitted(round, coordinator.addr), "committed");
    }

    /// @dev It needs the minimum of stake, locked or not: the bond, which is never less here, will do.
    function test_coordinator_needsNoMoreThanItsBond() public {
        IRoundLedger.Policy memory changed = policy();
        changed.minStake = MAX_MIN_STAKE;
        changed.reward = 0;
        changed.bond = MIN_BOND;
        vm.prank(address(timelock));
        ledger.addPolicy(changed);
        uint256 unlocked = vault.stakeOf(coordinator.addr) - MIN_BOND;
        RoundId round = open();
        vm.prank(coordinator.addr);
        vault.requestUnbond(unlocked);
        vm.assertEq(vault.stakeOf(coordinator.addr), MIN_BOND, "the bond alone");
        vm.assertTrue(ledger.hasPlace(round, coordinator.addr), "a bond is stake");
        commitOwn(coordinator, round);
        vm.assertTrue(ledger.hasCommitted(round, coordinator.addr), "committed");
    }

    /// @dev Whoever opened the round has the place, not whoever is appointed while it is open.
    function test_coordinator_isWhoOpenedTheRound() public {
        RoundId round = open();
        vm.prank(address(timelock));
        ledger.appointCoordinator(stranger.addr);
        vm.assertFalse(ledger.hasPlace(round, stranger.addr), "the next one");
        vm.assertTrue(ledger.hasPlace(round, coordinator.addr), "this one");
    }

    /// @dev Its enrolled stake is no help and no harm: enrolled too late, its entry is taken all the same.
    function test_coordinator_isNeverLate() public {
        RoundId round = open();
        _enrolWith(coordinator, MIN_STAKE);
        vm.assertTrue(ledger.hasPlace(round, coordinator.addr), "has a place");
        commitOwn(coordinator, round);
        vm.assertTrue(ledger.hasCommitted(round, coordinator.addr), "committed");
    }

    // Closing.

    /// @dev Whoever was not drawn is on the list like the others, and the list does not say who it was.
    function test_close_needsAFullRoundInACrowd() public {
        RoundId round = _openWithDrawn(5);
        (Actor[] memory drawn,) = _split(round);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooFewUpdates.selector, round, uint16(0), uint16(2))
        );
        _close(round);
        for (uint256 i = 0; i < HONEST; ++i) {
            commitOwn(honest[i], round);
        }
        for (uint256 i = 0; i < 4; ++i) {
            commitOwn(drawn[i], round);
        }
        vm.assertFalse(canClose(round), "a place is left");
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerPlacesLeft.selector, round, uint256(9), uint256(PLACES))
        );
        _close(round);
        commitOwn(drawn[4], round);
        vm.assertTrue(canClose(round), "full for contributors");
        _close(round);
        assertPhase(round, IRoundLedger.Phase.Committed, "phase");
    }

    /// @dev Fewer drawn than places: the round runs for its whole window, and is anchored like any other.
    function test_close_waitsForTheWindowIfFewerWereDrawn() public {
        RoundId round = _openWithDrawn(1);
        (Actor[] memory drawn,) = _split(round);
        for (uint256 i = 0; i < HONEST; ++i) {
            commitOwn(honest[i], round);
        }
        commitOwn(drawn[0], round);
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerPlacesLeft.selector, round, uint256(6), uint256(PLACES))
        );
        _close(round);
        skipCommitWindow(round);
        _anchorAll(round);
        assertPhase(round, IRoundLedger.Phase.Anchored, "phase");
    }

    /// @dev The draw was made at the opening: that the crowd goes home changes nothing for this round.
    function test_close_isACrowdUntilTheEnd() public {
        RoundId round = _openWithDrawn(3);
        commitOwn(alice, round);
        commitOwn(bob, round);
        for (uint256 i = 2; i < HONEST; ++i) {
            _leave(honest[i]);
        }
        for (uint256 i = 0; i < PARTS; ++i) {
            _leave(parts[i]);
        }
        vm.assertEq(ledger.draws(round).quota, QUOTA, "quota");
        vm.assertFalse(canClose(round), "places are left");
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerPlacesLeft.selector, round, uint256(2), uint256(PLACES))
        );
        _close(round);
    }

    // Removing.

    /// @dev Sleepers made a crowd that nobody could end, in which no round closed early: crowded rounds were missed by
    /// nobody, also not by who had a place for certain in a round that never was full.
    function test_remove_takesSleepersWhoHadAPlaceInACrowd() public {
        for (uint256 i = 0; i < 3; ++i) {
            _refusesNotAbsent(carol, i);
            RoundId round = open();
            vm.assertTrue(ledger.hasPlace(round, carol.addr), "has a place");
            _anchorWithTwo(round);
        }
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(carol.addr, IRoundLedger.LeaveReason.Absent);
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "enrolled");
        _refusesNotAbsent(alice, 0);
    }

    /// @dev Of small accounts, each has missed the rounds in which it was drawn, and no others.
    function test_remove_countsTheRoundsInWhichAnAccountWasDrawn() public {
        uint256[PARTS] memory missed;
        bool[4] memory seen;
        for (uint256 i = 0; i < 12; ++i) {
            RoundId round = open();
            for (uint256 j = 0; j < PARTS; ++j) {
                if (ledger.hasPlace(round, parts[j].addr)) ++missed[j];
            }
            _anchorWithTwo(round);
        }
        for (uint256 j = 0; j < PARTS; ++j) {
            seen[missed[j] < 3 ? missed[j] : 3] = true;
            if (missed[j] < 3) _refusesNotAbsent(parts[j], missed[j]);
            else ledger.remove(parts[j].addr);
            vm.assertEq(ledger.isEnrolled(parts[j].addr), missed[j] < 3, "enrolled");
        }
        vm.assertTrue(seen[0] && seen[1] && seen[2] && seen[3], "some of each");
    }

    /// @dev A full round had no place left, in a crowd without the one of the coordinator.
    function test_remove_countsNoFullRoundOfACrowd() public {
        for (uint256 i = 0; i < 3; ++i) {
            RoundId round = _openWithDrawn(6);
            vm.assertTrue(ledger.hasPlace(round, carol.addr), "has a place");
            (Actor[] memory drawn,) = _split(round);
            for (uint256 j = 0; j < 6; ++j) {
                commitOwn(drawn[j], round);
            }
            commitOwn(alice, round);
            commitOwn(bob, round);
            commitOwn(honest[3], round);
            commitOwn(honest[4], round);
            _close(round);
            _anchorAll(round);
        }
        _refusesNotAbsent(carol, 0);
    }

    /// @dev Who enrolled after the basis had no place, though it was on the list before the opening.
    function test_remove_countsNoRoundForWhichTheBasisWasTooOld() public {
        Actor memory late = actor("late");
        giveStake(late.addr, QUOTA);
        _enrolWith(late, QUOTA);
        vm.warp(block.timestamp + 1);
        RoundId round = open();
        vm.assertTrue(counts(round, late.addr), "on the list");
        _refusesLate(late, round);
        _anchorWithTwo(round);
        _refusesNotAbsent(late, 0);
        for (uint256 i = 0; i < 3; ++i) {
            _refusesNotAbsent(late, i);
            round = open();
            // Quotas are larger by its own now, so it may have no luck.
            VmHashes(address(vm)).setBlockhash(vault.basis().blockNumber, _luckyFor(late));
            round = _reopen(round);
            vm.assertTrue(ledger.hasPlace(round, late.addr), "has a place");
            _anchorWithTwo(round);
        }
        ledger.remove(late.addr);
        vm.assertFalse(ledger.isEnrolled(late.addr), "enrolled");
    }

    /// @dev Without a crowd at the basis, whoever was there before it has a place, and misses the round.
    function test_remove_countsARoundWithoutACrowdAtItsBasis() public {
        for (uint256 i = 0; i < PARTS; ++i) {
            _leave(parts[i]);
        }
        for (uint256 i = 0; i < HONEST; ++i) {
            _enrolWith(honest[i], MIN_STAKE);
        }
        Actor memory rich = actor("rich");
        giveStake(rich.addr, QUOTA);
        _redraw();
        for (uint256 i = 0; i < 3; ++i) {
            _refusesNotAbsent(carol, i);
            // After the basis, and before the next one it is gone.
            _enrolWith(rich, QUOTA);
            RoundId round = open();
            vm.assertEq(ledger.draws(round).quota, 1, "a crowd since");
            _leave(rich);
            _anchorWithTwo(round);
        }
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "enrolled");
    }

    function _anchorWithTwo(RoundId round) private {
        commitOwn(alice, round);
        commitOwn(bob, round);
        skipCommitWindow(round);
        _anchorAll(round);
    }

    /// @dev A hash with which Alice, Bob and this account have places although they have a part of a quota.
    function _luckyFor(Actor memory account) private view returns (bytes32 blockHash) {
        uint96 quota = uint96(vault.totalEnrolled() * 4 / (3 * PLACES));
        for (uint256 i = 0;; ++i) {
            blockHash = keccak256(abi.encode(i));
            Places.Draw memory draw = Places.Draw(quota, 0, uint120(uint256(blockHash)));
            if (
                Places.has(draw, account.addr, QUOTA) && Places.has(draw, alice.addr, QUOTA)
                    && Places.has(draw, bob.addr, QUOTA)
            ) return blockHash;
        }
    }
}

/// @notice What a draw rests on: nobody who has seen the hash of the block of the basis can change it any more.
contract RoundLedgerBasisTest is CrowdTest {
    // Audit H1: whoever knew the seed chose who enrolled, and with how much.

    /// @dev Everything that anybody can do with its own accounts between the basis and the opening.
    function test_basis_isChangedByNothingThatComesAfter() public {
        Places.Draw memory known = ledger.draws(open());
        RoundId last = _lastRound();
        bool[PARTS] memory lots = _lots(last);

        // Enrolling.
        Actor memory rich = actor("rich");
        giveStake(rich.addr, 100 * QUOTA);
        _enrolWith(rich, 100 * QUOTA);
        last = _reopen(last);
        _assertSame(ledger.draws(last), known, "enrolling");
        _assertLots(last, lots);
        _refusesLate(rich, last);

        // Enrolling with less, and leaving.
        _enrolWith(rich, QUOTA);
        last = _reopen(last);
        _assertSame(ledger.draws(last), known, "less");
        _refusesLate(rich, last);
        _leave(rich);
        _leave(honest[4]);
        last = _reopen(last);
        _assertSame(ledger.draws(last), known, "leaving");
        _assertLots(last, lots);

        // Topping up: a place is lost and none is won.
        _topUp(0);
        last = _reopen(last);
        _assertSame(ledger.draws(last), known, "topping up");
        _refusesLate(parts[0], last);
        lots[0] = false;
        _assertLots(last, lots);

        // Leaving and enrolling again is no better.
        _leave(parts[1]);
        _enrolWith(parts[1], MIN_STAKE);
        last = _reopen(last);
        _assertSame(ledger.draws(last), known, "again");
        _refusesLate(parts[1], last);
        lots[1] = false;
        _assertLots(last, lots);

        // Other stake, other seconds, other blocks.
        vm.prank(parts[2].addr);
        vault.requestUnbond(MIN_STAKE);
        vm.warp(block.timestamp + 100);
        vm.roll(vault.basis().blockNumber + REDRAW - 1);
        last = _reopen(last);
        _assertSame(ledger.draws(last), known, "the last block that knows the hash");
        lots[2] = false;
        _assertLots(last, lots);
    }

    /// @dev Nor does what comes after the opening.
    function test_basis_isNotChangedForAnOpenRound() public {
        RoundId round = open();
        Places.Draw memory known = ledger.draws(round);
        bool[PARTS] memory lots = _lots(round);
        _topUp(0);
        lots[0] = false;
        Actor memory rich = actor("rich");
        giveStake(rich.addr, QUOTA);
        _enrolWith(rich, QUOTA);
        vm.roll(vault.basis().blockNumber + REDRAW);
        vm.warp(block.timestamp + 1);
        vault.redraw();
        _nextBlock();
        _assertSame(ledger.draws(round), known, "redrawing");
        _assertLots(round, lots);
        _cancelEmpty(round);
        round = open();
        vm.assertTrue(ledger.draws(round).seed != known.seed, "the next round has another seed");
        vm.assertGt(ledger.draws(round).quota, known.quota, "and another quota");
    }

    /// @dev A round that is reported takes the open one with it. The next is opened on the base before, by the same
    /// draw.
    function test_basis_isNotChangedByAReport() public {
        RoundId first = open();
        commitOwn(alice, first);
        commitOwn(bob, first);
        skipCommitWindow(first);
        _anchorAll(first);
        RoundId second = open();
        Places.Draw memory known = ledger.draws(second);
        report(first);
        assertPhase(second, IRoundLedger.Phase.Cancelled, "void");
        _assertSame(ledger.draws(open()), known, "the same draw");
    }

    /// @notice Anchoring notes the next basis: total, time and block. No seed is known in that block.
    function test_basis_isNotedByEveryAnchor() public {
        RoundId round = open();
        uint120 seed = ledger.draws(round).seed;
        commitOwn(alice, round);
        commitOwn(bob, round);
        skipCommitWindow(round);
        Places.Basis memory before = vault.basis();
        _leave(honest[4]);
        vm.roll(block.number + 5);
        uint256 anchoredIn = block.number;
        _anchorAll(round);
        Places.Basis memory basis = vault.basis();
        vm.assertEq(before.total, 75 * MIN_STAKE, "total before");
        vm.assertEq(basis.total, 65 * MIN_STAKE, "total");
        vm.assertEq(basis.at, block.timestamp, "time");
        vm.assertEq(basis.blockNumber, anchoredIn, "block");
        round = open();
        vm.assertEq(ledger.draws(round).quota, uint256(65 * MIN_STAKE) * 4 / 30, "quota");
        vm.assertEq(ledger.draws(round).at, basis.at, "time of the draw");
        vm.assertEq(ledger.draws(round).seed, uint120(uint256(blockhash(anchoredIn))), "seed");
        vm.assertTrue(ledger.draws(round).seed != seed, "another seed");
    }

    function test_basis_isNotedByTheLedgerAlone() public {
        vm.expectRevert(
            abi.encodeWithSelector(IStakeVault.StakeVaultNotLedger.selector, coordinator.addr, address(ledger))
        );
        vm.prank(coordinator.addr);
        vault.noteBasis();
    }

    /// @dev The hash of a block is known in the next one.
    function test_open_failsInTheBlockOfTheBasis() public {
        RoundId round = open();
        commitOwn(alice, round);
        commitOwn(bob, round);
        skipCommitWindow(round);
        uint32[] memory weights = new uint32[](2);
        (weights[0], weights[1]) = (1, 1);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchorWith(round, weights));
        uint256 number = block.number;
        vm.assertEq(vault.basis().blockNumber, number, "block");
        _refusesOpen(abi.encodeWithSelector(IStakeVault.StakeVaultDrawTooEarly.selector, number, number + 1));
        _nextBlock();
        open();
    }

    function test_open_failsWithABasisThatIsTooOld() public {
        uint256 number = vault.basis().blockNumber;
        vm.roll(number + REDRAW - 1);
        _cancelEmpty(open());
        vm.roll(number + REDRAW);
        _refusesOpen(abi.encodeWithSelector(IStakeVault.StakeVaultDrawTooOld.selector, number));
        vm.roll(number + 100_000);
        _refusesOpen(abi.encodeWithSelector(IStakeVault.StakeVaultDrawTooOld.selector, number));
        vault.redraw();
        _nextBlock();
        open();
    }

    /// @dev That all have left since the basis, or were fewer at it, is still a crowd: one of the two is enough.
    function test_open_needsABasisIfThereWasACrowdAtIt() public {
        for (uint256 i = 0; i < PARTS; ++i) {
            _leave(parts[i]);
        }
        for (uint256 i = 1; i < HONEST; ++i) {
            _leave(honest[i]);
        }
        vm.roll(vault.basis().blockNumber + REDRAW);
        _refusesOpen(
            abi.encodeWithSelector(IStakeVault.StakeVaultDrawTooOld.selector, uint256(vault.basis().blockNumber))
        );
        _enrolWith(alice, MIN_STAKE);
        vm.warp(block.timestamp + 1);
        vault.redraw();
        // No crowd now and at the basis: nothing is drawn, in whatever block.
        vm.assertEq(ledger.draws(open()).quota, 0, "in the block of the basis");
        _cancelEmpty(_lastRound());
        vm.roll(block.number + 100_000);
        vm.assertEq(ledger.draws(open()).quota, 0, "long after");
    }

    function test_draw_isTheLedgersViewOfTheVault() public {
        Places.Draw memory draw = vault.draw(PLACES + 1, MIN_STAKE);
        _assertSame(ledger.draws(open()), draw, "the same");
        _assertSame(vault.draw(101, MIN_STAKE), Places.Draw(0, 0, 0), "no crowd");
    }

    // Drawing again.

    function test_redraw_failsTooEarly() public {
        uint256 number = vault.basis().blockNumber;
        uint256[3] memory early = [number, number + 1, number + REDRAW - 1];
        for (uint256 i = 0; i < 3; ++i) {
            vm.roll(early[i]);
            vm.expectRevert(
                abi.encodeWithSelector(IStakeVault.StakeVaultDrawTooEarly.selector, early[i], number + REDRAW)
            );
            vault.redraw();
        }
    }

    /// @dev By anybody; 257 blocks after the basis its hash is not known any more.
    function test_redraw_makesANewBasis() public {
        uint120 seed = ledger.draws(open()).seed;
        _cancelEmpty(_lastRound());
        _leave(honest[4]);
        uint256 number = vault.basis().blockNumber + REDRAW;
        vm.roll(number);
        vm.warp(block.timestamp + 10);
        vm.expectEmit(address(vault));
        emit IStakeVault.Redrawn(65 * uint96(MIN_STAKE));
        vm.prank(stranger.addr);
        vault.redraw();
        vm.assertEq(vault.basis().total, 65 * MIN_STAKE, "total");
        vm.assertEq(vault.basis().at, block.timestamp, "time");
        vm.assertEq(vault.basis().blockNumber, number, "block");
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultDrawTooEarly.selector, number, number + REDRAW));
        vault.redraw();
        _refusesOpen(abi.encodeWithSelector(IStakeVault.StakeVaultDrawTooEarly.selector, number, number + 1));

        _nextBlock();
        vm.warp(block.timestamp + 2);
        Places.Draw memory draw = ledger.draws(open());
        vm.assertEq(draw.quota, uint256(65 * MIN_STAKE) * 4 / 30, "quota");
        vm.assertEq(draw.at, block.timestamp - 2, "time of the draw");
        vm.assertEq(draw.seed, uint120(uint256(blockhash(number))), "seed");
        vm.assertTrue(draw.seed != seed, "another seed");
    }

    // What an attacker gets.

    /// @notice With 30 % of the enrolled stake in thirty accounts, and whatever it does after the seed is known:
    /// enrolling, topping up, leaving and opening again, as long as that gives it a place more.
    function test_attack_getsNoMoreThanItsShare() public {
        _enrolTheRest();
        for (uint256 i = 0; i < 15; ++i) {
            giveStake(parts[i].addr, 1);
        }
        uint256 n = 100;
        uint256 drawn;
        uint256 first;
        for (uint256 i = 0; i < n; ++i) {
            RoundId round = open();
            (uint256 won, bool[] memory lots) = _count(round);
            first += won;
            uint256 best = won;
            // Losers go: less is enrolled.
            for (uint256 j = 0; j < 15; ++j) {
                if (!lots[j]) _leave(parts[j]);
            }
            round = _reopen(round);
            (won,) = _count(round);
            if (won > best) best = won;
            // They come again with more.
            for (uint256 j = 0; j < 15; ++j) {
                if (!lots[j]) _enrolWith(parts[j], MIN_STAKE + 1);
            }
            vm.warp(block.timestamp + 1);
            round = _reopen(round);
            (won,) = _count(round);
            if (won > best) best = won;
            // And with what they had.
            for (uint256 j = 0; j < 15; ++j) {
                if (!lots[j]) _enrolWith(parts[j], MIN_STAKE);
            }
            round = _reopen(round);
            (won,) = _count(round);
            if (won > best) best = won;
            _cancelEmpty(round);
            drawn += best;
            _redraw();
        }
        vm.assertEq(drawn, first, "nothing is gained by knowing the seed");
        // 3 of 10 places in 100 rounds, and four standard deviations: 4 sqrt(3000 * 0.075 * 0.925).
        vm.assertLe(drawn, 300 + 58, "not more than its share");
        // Three quarters of that are drawn on average.
        vm.assertLe(225 - 58, drawn, "a fair draw gives it as much");
        vm.assertLe(drawn, 225 + 58, "and no more");
    }

    /// @dev The two ways in which it got more: those with bad lots left in the second of the opening, so that the
    /// quota fell and others won; and who opened enrolled so much in that second that nobody's quota was a place.
    function test_attack_isNotWonByLeavingInTheSecondOfTheOpening() public {
        for (uint256 i = 0; i < 20; ++i) {
            uint256 state = vm.snapshotState();
            RoundId round = open();
            (uint256 won, bool[] memory lots) = _count(round);
            uint256 quota = ledger.draws(round).quota;
            vm.revertToState(state);
            for (uint256 j = 0; j < PARTS; ++j) {
                if (!lots[j]) _leave(parts[j]);
            }
            round = open();
            (uint256 after_,) = _count(round);
            vm.assertEq(after_, won, "as many places");
            vm.assertEq(ledger.draws(round).quota, quota, "the same quota");
            vm.revertToState(state);
            _redraw();
        }
    }

    function test_attack_isNotWonByEnrollingInTheSecondOfTheOpening() public {
        Actor memory rich = actor("rich");
        giveStake(rich.addr, 100 * QUOTA);
        for (uint256 i = 0; i < 10; ++i) {
            _enrolWith(rich, 100 * QUOTA);
            RoundId round = open();
            _leave(rich);
            for (uint256 j = 0; j < HONEST; ++j) {
                vm.assertTrue(ledger.hasPlace(round, honest[j].addr), "who has a quota has a place");
            }
            _cancelEmpty(round);
            _redraw();
        }
    }

    /// @notice Whatever is done in whatever order after the basis: the draw is the same, and who is drawn was drawn
    /// before.
    /// @param actions Eight bits an action: who, and what.
    function testFuzz_basis_isChangedByNothingThatComesAfter(uint256 actions) public {
        RoundId round = open();
        Places.Draw memory known = ledger.draws(round);
        (, bool[] memory lots) = _count(round);
        for (uint256 step = 0; step < 12; ++step) {
            uint256 action = actions >> (8 * step);
            uint256 who = action & 7;
            uint256 what = (action >> 3) & 3;
            address account = parts[who].addr;
            if (what == 0 && ledger.isEnrolled(account)) {
                _leave(parts[who]);
            } else if (what == 1 && vault.stakeOf(account) >= MIN_STAKE) {
                _enrolWith(parts[who], MIN_STAKE);
            } else if (what == 2) {
                _topUp(who);
            } else {
                vm.warp(block.timestamp + 1);
                _nextBlock();
            }
            if ((action >> 5) & 1 == 1) round = _reopen(round);
            _assertSame(ledger.draws(round), known, "draw");
            for (uint256 j = 0; j < 8; ++j) {
                if (ledger.hasPlace(round, parts[j].addr)) vm.assertTrue(lots[j], "drawn before");
            }
        }
    }

    /// @dev Five parts and two honest accounts more: 30 of 100 minimum stakes are the attacker's.
    function _enrolTheRest() private {
        for (uint256 i = PARTS; i < 30; ++i) {
            parts.push(actor(string.concat("part ", vm.toString(i))));
            giveStake(parts[i].addr, MIN_STAKE);
            _enrolAll(parts[i]);
        }
        string[2] memory names = ["frida", "gustav"];
        for (uint256 i = 0; i < 2; ++i) {
            Actor memory more = actor(names[i]);
            honest.push(more);
            giveStake(more.addr, QUOTA);
            _enrolAll(more);
        }
        vm.assertEq(vault.totalEnrolled(), 100 * MIN_STAKE, "total");
        _redraw();
    }

    function _topUp(uint256 part) private {
        giveStake(parts[part].addr, 1);
        _enrolWith(parts[part], vault.stakeOf(parts[part].addr));
    }

    function _count(RoundId round) private view returns (uint256 won, bool[] memory lots) {
        lots = new bool[](parts.length);
        for (uint256 i = 0; i < lots.length; ++i) {
            lots[i] = ledger.hasPlace(round, parts[i].addr);
            if (lots[i]) ++won;
        }
    }

    function _lots(RoundId round) private view returns (bool[PARTS] memory lots) {
        for (uint256 i = 0; i < PARTS; ++i) {
            lots[i] = ledger.hasPlace(round, parts[i].addr);
        }
    }

    function _assertLots(RoundId round, bool[PARTS] memory lots) private view {
        for (uint256 i = 0; i < PARTS; ++i) {
            vm.assertEq(ledger.hasPlace(round, parts[i].addr), lots[i], "lot");
        }
        for (uint256 i = 0; i < HONEST; ++i) {
            if (!ledger.isEnrolled(honest[i].addr)) continue;
            vm.assertTrue(ledger.hasPlace(round, honest[i].addr), "a quota");
        }
    }

    function _refusesOpen(bytes memory reason) private {
        RoundId round = ledger.nextRound();
        bytes32 root = headRoot();
        vm.expectRevert(reason);
        vm.prank(coordinator.addr);
        ledger.openRound(round, root, HEADER_HASH);
    }
}

/// @notice The time before the first anchor. The basis is that of the deployment, when nobody was enrolled.
contract RoundLedgerFirstBasisTest is RoundTest {
    Actor internal dave;

    function setUp() public override {
        Deployment.setUp();
        dave = actor("dave");
        giveStake(coordinator.addr, 5 * BOND);
        giveStake(alice.addr, 2 * MIN_STAKE);
        giveStake(dave.addr, 2 * MIN_STAKE);
    }

    function policy() internal view override returns (IRoundLedger.Policy memory small) {
        small = super.policy();
        small.maxContributors = 4;
    }

    function _enrolWith(Actor memory account, uint256 amount) private {
        vm.prank(account.addr);
        ledger.enrol(amount);
    }

    function test_basis_ofTheDeployment() public view {
        vm.assertEq(vault.basis().total, 0, "total");
        vm.assertEq(vault.basis().at, START, "time");
        vm.assertEq(vault.basis().blockNumber, block.number, "block");
    }

    function test_hasPlace_nobodyInARoundThatDoesNotExist() public view {
        vm.assertFalse(ledger.hasPlace(id(7), address(0)), "nobody's address, no minimum");
        vm.assertFalse(ledger.hasPlace(id(7), alice.addr), "an account with stake");
        vm.assertFalse(ledger.hasPlace(id(1), coordinator.addr), "the coordinator of the next");
    }

    /// @dev Without a crowd no basis is needed, in whatever block.
    function test_open_needsNoBasisWithoutACrowd() public {
        vm.warp(START + 1);
        _enrolWith(alice, MIN_STAKE);
        _enrolWith(dave, 2 * MIN_STAKE);
        vm.warp(START + 2);
        RoundId round = open();
        vm.assertEq(ledger.draws(round).quota, 0, "in the block of the basis");
        vm.assertTrue(ledger.hasPlace(round, dave.addr), "has a place");
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);
        vm.roll(block.number + 100_000);
        vm.assertEq(ledger.draws(open()).quota, 0, "long after");
    }

    /// @dev In a crowd that came before the first anchor nobody has a place, until the vault draws again.
    function test_open_needsARedrawInAFirstCrowd() public {
        vm.warp(START + 1);
        _enrolWith(alice, 2 * MIN_STAKE);
        _enrolWith(dave, 2 * MIN_STAKE);
        uint256 number = vault.basis().blockNumber;
        vm.roll(number + 1);
        vm.warp(START + 2);
        RoundId round = open();
        vm.assertEq(ledger.draws(round).quota, 1, "no crowd at the basis");
        vm.assertEq(ledger.draws(round).at, START, "time of the deployment");
        vm.assertTrue(counts(round, alice.addr), "on the list");
        vm.assertFalse(ledger.hasPlace(round, alice.addr), "too late");
        vm.assertTrue(ledger.hasPlace(round, coordinator.addr), "the coordinator needs no lot");
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(round);

        vm.roll(number + 257);
        vault.redraw();
        vm.roll(number + 258);
        round = open();
        vm.assertEq(ledger.draws(round).quota, uint256(4 * MIN_STAKE) * 4 / 9, "three places");
        vm.assertTrue(ledger.hasPlace(round, alice.addr), "has a quota");
        vm.assertTrue(ledger.hasPlace(round, dave.addr), "has a quota too");
    }
}

/// @notice An admission contract that answers as it is told.
contract Doorkeeper is IAdmission {
    enum Mood {
        Honest,
        Reverting,
        Burning,
        Spinning,
        TwoWord,
        LargeWord,
        HalfWord,
        ShortByOne,
        Empty,
        Megabyte,
        QuarterMegabyte,
        Refusing
    }

    Mood private _mood;

    function turn(Mood mood) external {
        _mood = mood;
    }

    function admits(address) external view returns (bool) {
        Mood mood = _mood;
        if (mood == Mood.Honest) return true;
        if (mood == Mood.Refusing) return false;
        if (mood == Mood.Reverting) revert("no answer");
        uint256 size = 32;
        uint256 word = 1;
        if (mood == Mood.TwoWord) size = 64;
        if (mood == Mood.LargeWord) word = 2;
        if (mood == Mood.HalfWord) word = 1 << 255 | 1;
        if (mood == Mood.ShortByOne) size = 31;
        if (mood == Mood.Empty) size = 0;
        if (mood == Mood.Megabyte) size = 1 << 20;
        if (mood == Mood.QuarterMegabyte) size = 1 << 18;
        if (mood == Mood.Spinning) {
            while (true) ++word;
        }
        assembly ("memory-safe") {
            if eq(mood, 2) { invalid() }
            mstore(0, word)
            return(0, size)
        }
    }
}

/// @notice A closed federation whose admission contract is anybody's.
contract RoundLedgerAdmissionTest is RoundTest {
    uint256 private constant FIRST = uint256(Doorkeeper.Mood.Reverting);
    /// @dev Every mood from the first to this one is no answer.
    uint256 private constant LAST = uint256(Doorkeeper.Mood.QuarterMegabyte);

    Doorkeeper internal doorkeeper;
    Actor internal dave;

    function setUp() public override {
        doorkeeper = new Doorkeeper();
        super.setUp();
        dave = actor("dave");
        giveStake(dave.addr, MIN_STAKE);
    }

    function admission() internal view override returns (IAdmission) {
        return doorkeeper;
    }

    function _refusesDave() private {
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAdmitted.selector, dave.addr, address(doorkeeper))
        );
        vm.prank(dave.addr);
        ledger.enrol(MIN_STAKE);
        vm.assertFalse(ledger.isEnrolled(dave.addr), "enrolled");
    }

    function _refusesNotAbsent(address account, uint256 missed) private {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAbsent.selector, account, missed, uint256(3)));
        ledger.remove(account);
    }

    function test_admission_letsIn() public {
        vm.assertEq(address(ledger.admission()), address(doorkeeper), "admission");
        vm.prank(dave.addr);
        ledger.enrol(MIN_STAKE);
        vm.assertTrue(ledger.isEnrolled(dave.addr), "enrolled");
    }

    function test_admission_keepsOut() public {
        doorkeeper.turn(Doorkeeper.Mood.Refusing);
        _refusesDave();
    }

    /// @dev Nobody new enrols, and nobody who is enrolled is removed; the same for every way not to answer.
    function test_admission_thatFailsChangesNothing() public {
        for (uint256 mood = FIRST; mood <= LAST; ++mood) {
            doorkeeper.turn(Doorkeeper.Mood(mood));
            _refusesDave();
            _refusesNotAbsent(alice.addr, 0);
            vm.assertTrue(ledger.isEnrolled(alice.addr), "enrolled");
        }
    }

    /// @dev It gets 200,000 units of gas, and what it returns is not copied: asking costs no more whatever it does.
    function test_admission_thatFailsCostsLittle() public {
        for (uint256 mood = FIRST; mood <= LAST; ++mood) {
            doorkeeper.turn(Doorkeeper.Mood(mood));
            vm.prank(dave.addr);
            (bool enrolled, bytes memory reason) =
                address(ledger).call{ gas: 300_000 }(abi.encodeCall(ledger.enrol, (MIN_STAKE)));
            vm.assertFalse(enrolled, "enrolled");
            vm.assertEq(
                reason,
                abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAdmitted.selector, dave.addr, address(doorkeeper)),
                "for lack of an answer, not of gas"
            );
        }
        for (uint256 mood = FIRST; mood <= LAST; ++mood) {
            doorkeeper.turn(Doorkeeper.Mood(mood));
            vm.prank(carol.addr);
            vault.requestUnbond(1);
            uint256 state = vm.snapshotState();
            // Too little stake: nobody is asked.
            ledger.remove{ gas: 150_000 }(carol.addr);
            vm.revertToState(state);
        }
    }

    /// @dev Who has no answer to fear is whoever is enrolled: opening, committing and closing ask nobody.
    function test_admission_thatFailsStopsNoRound() public {
        for (uint256 mood = FIRST; mood <= uint256(Doorkeeper.Mood.Refusing); ++mood) {
            doorkeeper.turn(Doorkeeper.Mood(mood));
            RoundId round = open();
            commitOwn(alice, round);
            bytes memory batch = batchOf(bob, commitmentOf(bob.addr, round));
            ledger.commitUpdates(round, BUNDLE_HASH, batch);
            commitOwn(carol, round);
            vm.prank(coordinator.addr);
            ledger.closeCommits(round);
            anchorNow(round);
            skipChallengeWindow(round);
            ledger.finalize(round);
        }
    }

    /// @dev Leaving asks nobody, and neither does removing one without the stake.
    function test_admission_thatFailsKeepsNobodyIn() public {
        doorkeeper.turn(Doorkeeper.Mood.Spinning);
        vm.prank(alice.addr);
        ledger.leave();
        vm.assertFalse(ledger.isEnrolled(alice.addr), "left");
        vm.prank(carol.addr);
        vault.requestUnbond(1);
        ledger.remove(carol.addr);
        vm.assertFalse(ledger.isEnrolled(carol.addr), "removed");
    }

    /// @dev One that fails is no excuse: who is absent can be removed as ever.
    function test_admission_thatFailsKeepsNoAbsentAccount() public {
        for (uint256 i = 0; i < 3; ++i) {
            RoundId round = open();
            commitOwn(alice, round);
            commitOwn(bob, round);
            skipCommitWindow(round);
            uint32[] memory weights = new uint32[](2);
            (weights[0], weights[1]) = (1, 1);
            vm.prank(coordinator.addr);
            ledger.anchor(round, entriesHashOf(round), anchorWith(round, weights));
        }
        doorkeeper.turn(Doorkeeper.Mood.Burning);
        _refusesNotAbsent(alice.addr, 0);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(carol.addr, IRoundLedger.LeaveReason.Absent);
        ledger.remove(carol.addr);
    }

    /// @dev It may change its mind, honestly or not: then anybody can remove the account, though not during a window.
    function test_admission_thatLiesLater() public {
        RoundId round = open();
        doorkeeper.turn(Doorkeeper.Mood.Refusing);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, round));
        ledger.remove(alice.addr);
        commitThree(round);
        skipCommitWindow(round);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.Left(alice.addr, IRoundLedger.LeaveReason.NotAdmitted);
        vm.prank(stranger.addr);
        ledger.remove(alice.addr);
        vm.assertEq(vault.stakeOf(alice.addr), 5 * MIN_STAKE, "the stake stays");
        anchorNow(round);
        assertHead(round, "and so does what it committed");
        // Whoever is not enrolled is not removed by it.
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotEnrolled.selector, alice.addr));
        ledger.remove(alice.addr);
    }
}

/// @notice A closed federation that was deployed with an address at which there is no contract.
contract RoundLedgerNobodyAtTheDoorTest is RoundTest {
    function setUp() public override {
        Deployment.setUp();
        giveStake(alice.addr, MIN_STAKE);
    }

    function admission() internal pure override returns (IAdmission) {
        return IAdmission(address(0xdead));
    }

    function test_admission_thatIsNotThereAdmitsNobody() public {
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotAdmitted.selector, alice.addr, address(0xdead))
        );
        vm.prank(alice.addr);
        ledger.enrol(MIN_STAKE);
    }
}
