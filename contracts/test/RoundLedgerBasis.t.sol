// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { Places } from "../src/libraries/Places.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { CrowdTest } from "./utils/CrowdTest.sol";
import { Deployment } from "./utils/Deployment.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice What a draw rests on: nobody who has seen the hash of the block of the basis can change it any more.
contract RoundLedgerBasisTest is CrowdTest {
    // Audit H1: an attacker that knew the seed chose who enrolled, and with how much.

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
        _redraw();
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
        anchorTwo(round);
        uint256 number = block.number;
        vm.assertEq(vault.basis().blockNumber, number, "block");
        _refusesOpen(abi.encodeWithSelector(IStakeVault.StakeVaultDrawTooEarly.selector, number, number + 1));
        _nextBlock();
        open();
    }

    function test_open_failsWithABasisThatIsTooOld() public {
        uint256 number = vault.basis().blockNumber;
        vm.roll(number + REDRAW - 1);
        uint256 state = vm.snapshotState();
        open();
        vm.revertToState(state);
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

    function test_draw_isForTheLedgerAlone() public {
        vm.expectRevert(
            abi.encodeWithSelector(IStakeVault.StakeVaultNotLedger.selector, coordinator.addr, address(ledger))
        );
        vm.prank(coordinator.addr);
        vault.draw(PLACES + 1, MIN_STAKE);
    }

    // N7 of the game of November 2026: a coordinator that lets a round last for more than 256 blocks, and does not
    // anchor it, had other accounts drawn.

    function _refusesRedraw(uint256 keptUntil) private {
        vm.expectRevert(abi.encodeWithSelector(IStakeVault.StakeVaultSeedKept.selector, block.timestamp, keptUntil));
        vault.redraw();
    }

    function test_n7_noCancelledRoundChangesALot() public {
        uint256 keptUntil = vault.basis().at + UNBONDING_PERIOD;
        RoundId round = open();
        Places.Draw memory known = ledger.draws(round);
        bool[PARTS] memory lots = _lots(round);
        while (true) {
            commitOwn(alice, round);
            skipCommitWindow(round);
            vm.roll(block.number + 2 * REDRAW);
            if (block.timestamp >= keptUntil) break;
            _refusesRedraw(keptUntil);
            ledger.cancel(round);
            vm.warp(block.timestamp + 1 days);
            round = open();
            _assertSame(ledger.draws(round), known, "the same draw");
            _assertLots(round, lots);
        }
        vm.assertGt(uint256(RoundId.unwrap(round)), 6, "as often as it likes");
    }

    /// @dev A crowd that has left can't keep its places for ever: else nobody could ever commit again.
    function test_n7_aCrowdThatHasLeftEndsAfterAnUnbondingPeriod() public {
        uint256 keptUntil = vault.basis().at + UNBONDING_PERIOD;
        _cancelEmpty(open());
        for (uint256 i = 0; i < HONEST; ++i) {
            _leave(honest[i]);
        }
        vm.roll(block.number + REDRAW);
        vm.warp(keptUntil - 1);
        _refusesRedraw(keptUntil);
        vm.warp(keptUntil);
        vault.redraw();
        _nextBlock();
        vm.assertEq(ledger.draws(open()).quota, uint256(PARTS * MIN_STAKE) * 4 / 30, "of those who are there");
    }

    function test_n7_anAnchorEndsTheDraw() public {
        RoundId round = open();
        Places.Draw memory known = ledger.draws(round);
        commitOwn(alice, round);
        commitOwn(bob, round);
        skipCommitWindow(round);
        vm.roll(block.number + 2 * REDRAW);
        _anchorAll(round);
        vm.assertTrue(ledger.draws(open()).seed != known.seed, "another seed");
    }

    /// @dev Whatever is drawn later: the seed is that of the block, as on the first time.
    function test_n7_theSeedIsKeptForEveryPolicy() public {
        uint120 seed = ledger.draws(open()).seed;
        _cancelEmpty(_lastRound());
        vm.roll(block.number + 2 * REDRAW);
        IPolicies.Policy memory smaller = policy();
        smaller.maxContributors = 4;
        vm.prank(address(timelock));
        policies.addPolicy(smaller);
        Places.Draw memory draw = ledger.draws(open());
        vm.assertEq(draw.seed, seed, "seed");
        vm.assertEq(draw.quota, uint256(75 * MIN_STAKE) * 4 / 9, "quota of three places");
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
        uint256 state = vm.snapshotState();
        uint120 seed = ledger.draws(open()).seed;
        vm.revertToState(state);
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

    function policy() internal view override returns (IPolicies.Policy memory small) {
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
