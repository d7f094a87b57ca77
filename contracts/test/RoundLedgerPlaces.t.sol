// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { Places } from "../src/libraries/Places.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { CrowdTest, VmHashes } from "./utils/CrowdTest.sol";
import { Vm } from "./utils/Vm.sol";

/// @notice Who has a place in a crowd, and what a crowd changes.
contract RoundLedgerPlacesTest is CrowdTest {
    /// @dev contracts/snapshots/storage/StakeVault.txt.
    uint256 private constant MEMBERS_SLOT = 6;

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
        IPolicies.Policy memory changed = policy();
        changed.maxContributors = 101;
        vm.prank(address(timelock));
        policies.addPolicy(changed);
        RoundId round = open();
        vm.assertEq(ledger.draws(round).quota, 0, "a hundred places, so no crowd");
        _cancelEmpty(round);
        changed.maxContributors = 51;
        vm.prank(address(timelock));
        policies.addPolicy(changed);
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

    /// @dev N4: who was not drawn, was late or never enrolled is passed over, and spoils no batch.
    function test_n4_whoHasNoPlaceInACrowdSpoilsNoBatch() public {
        RoundId round = _openWithDrawn(2);
        (, Actor[] memory others) = _split(round);
        vm.warp(block.timestamp + 2);
        giveStake(carol.addr, 1);
        _enrolWith(carol, QUOTA + 1);
        Actor[5] memory all = [alice, others[0], carol, stranger, bob];
        bytes memory batch;
        for (uint256 i = 0; i < 5; ++i) {
            batch = bytes.concat(batch, batchOf(all[i], commitmentOf(all[i].addr, round)));
        }
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        for (uint256 i = 0; i < 5; ++i) {
            vm.assertEq(
                ledger.hasCommitted(round, all[i].addr), ledger.hasPlace(round, all[i].addr), "as it has a place"
            );
        }
        vm.assertEq(ledger.rounds(round).entries, 2, "entries");
    }

    /// @dev N4: the coordinator's place is found behind one that finds no place left.
    function test_n4_aFullCrowdLeavesTheCoordinatorItsPlace() public {
        RoundId round = _openWithDrawn(6);
        (Actor[] memory drawn,) = _split(round);
        for (uint256 i = 0; i < 6; ++i) {
            commitOwn(drawn[i], round);
        }
        Actor[6] memory rest = [honest[0], honest[1], honest[2], honest[3], honest[4], coordinator];
        bytes memory batch;
        for (uint256 i = 0; i < 6; ++i) {
            batch = bytes.concat(batch, batchOf(rest[i], commitmentOf(rest[i].addr, round)));
        }
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertFalse(ledger.hasCommitted(round, honest[4].addr), "none is left");
        vm.assertTrue(ledger.hasCommitted(round, coordinator.addr), "but the coordinator's own");
        vm.assertEq(ledger.rounds(round).entries, PLACES + 1, "entries");
    }

    /// @dev Its bond is never less here, so the vault's storage is changed.
    function test_place_ofTheCoordinatorAsksForItsStake() public {
        IPolicies.Policy memory dear = policy();
        dear.minStake = MAX_MIN_STAKE;
        vm.prank(address(timelock));
        policies.addPolicy(dear);
        RoundId round = open();
        vm.store(address(vault), keccak256(abi.encode(coordinator.addr, MEMBERS_SLOT)), bytes32(uint256(MIN_STAKE)));
        _refusesCommit(
            coordinator,
            round,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerStakeTooLow.selector, coordinator.addr, MIN_STAKE, uint256(MAX_MIN_STAKE)
            )
        );
        ledger.commitUpdates(round, BUNDLE_HASH, batchOf(coordinator, commitmentOf(coordinator.addr, round)));
        vm.assertEq(ledger.rounds(round).entries, 0, "passed over");
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
        IPolicies.Policy memory changed = policy();
        changed.minStake = MAX_MIN_STAKE;
        changed.reward = 0;
        changed.bond = MIN_BOND;
        vm.prank(address(timelock));
        policies.addPolicy(changed);
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
            uint256 state = vm.snapshotState();
            open();
            // Quotas are larger by its own now, so it may have no luck.
            bytes32 lucky = _luckyFor(late);
            vm.revertToState(state);
            VmHashes(address(vm)).setBlockhash(vault.basis().blockNumber, lucky);
            round = open();
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
