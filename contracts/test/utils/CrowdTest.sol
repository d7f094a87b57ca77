// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../../src/interfaces/IStakeVault.sol";
import { Places } from "../../src/libraries/Places.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { RoundTest } from "./RoundTest.sol";

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

    function policy() internal view override returns (IPolicies.Policy memory small) {
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

    /// @dev What is enrolled now is the basis of draws in the next block. If places were drawn on the one before, it
    /// stays for an unbonding period.
    function _redraw() internal {
        Places.Basis memory basis = vault.basis();
        vm.roll(basis.blockNumber + REDRAW);
        vm.warp(block.timestamp + 1);
        uint256 keptUntil = uint256(basis.at) + UNBONDING_PERIOD;
        bool isKept = ledger.draws(_lastRound()).at == basis.at;
        if (isKept && block.timestamp < keptUntil) vm.warp(keptUntil);
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
