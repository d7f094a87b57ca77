// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IModelRegistry } from "../../src/interfaces/IModelRegistry.sol";
import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../../src/interfaces/IStakeVault.sol";
import { ModelRegistry } from "../../src/ModelRegistry.sol";
import { MootToken } from "../../src/MootToken.sol";
import { Rewards } from "../../src/Rewards.sol";
import { RoundLedger } from "../../src/RoundLedger.sol";
import { StakeVault } from "../../src/StakeVault.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { RoundTest } from "../utils/RoundTest.sol";
import { Test } from "../utils/Test.sol";

/// @notice Coordinator, contributors, verifier and passers-by, who do what they may in any order.
contract LedgerHandler is Test {
    struct Parts {
        RoundLedger ledger;
        StakeVault vault;
        MootToken token;
        Rewards rewards;
        address coordinator;
        address verifier;
        address treasury;
    }

    Parts private _parts;
    /// @dev The last one is the coordinator, whose own entries are never paid.
    address[4] private _contributors;

    mapping(uint256 round => IRoundLedger.Phase) private _lastPhase;
    mapping(uint256 round => uint256) public timesFinal;
    mapping(uint256 round => IRoundLedger.Entry[]) private _entries;
    mapping(uint256 round => uint32[]) private _weights;
    mapping(uint256 round => uint32[]) private _pays;
    /// @notice What was credited for a round, claimed by everybody, and burnt by slashing.
    mapping(uint256 round => uint256) public credited;
    /// @notice Largest amount that one account was credited for a round.
    mapping(uint256 round => uint256) public largest;
    uint256 public claimed;
    uint256 public burnt;
    /// @dev Who has been enrolled all the time since before a round was opened.
    mapping(uint256 round => mapping(address account => bool)) public counted;
    /// @notice When an account enrolled, or enrolled more.
    mapping(address account => uint256) public enrolledAt;
    /// @notice Commit windows that were closed early; those closed without somebody who had a right to its window.
    uint256 public closed;
    uint256 public closedTooEarly;
    /// @notice Void rounds whose bond was released.
    uint256 public released;
    /// @notice Whether a round was anchored and its bond was never released after that, unless it is final or slashed.
    mapping(uint256 round => bool) public held;
    /// @notice Rounds that were to be opened before their time.
    uint256 public tooEarly;
    /// @notice Accounts that were removed for being absent.
    uint256 public removed;
    /// @notice Anchors, finalizations and settlements that had to be refused, and were.
    uint256[3] public refused;

    constructor(Parts memory parts, address[4] memory contributors) {
        _parts = parts;
        _contributors = contributors;
        _lastPhase[0] = IRoundLedger.Phase.Final;
        timesFinal[0] = 1;
    }

    /// @dev After each action, every round must be where it was or in a phase that may follow.
    modifier phasesMoveForward() {
        _;
        for (uint256 i = 0; i < rounds(); ++i) {
            IRoundLedger.Phase current = _parts.ledger.phase(id(i));
            vm.assertTrue(_mayFollow(_lastPhase[i], current), "a phase only moves forward");
            if (current == IRoundLedger.Phase.Final && _lastPhase[i] != current) ++timesFinal[i];
            _lastPhase[i] = current;
        }
    }

    function openRound() external phasesMoveForward {
        _openRound();
    }

    function _openRound() private {
        uint256 next = rounds();
        if (_parts.ledger.rounds(id(next - 1)).phase == IRoundLedger.Phase.Open) return;
        if (_parts.vault.stakeOf(_parts.coordinator) < _parts.vault.bondOf(_parts.coordinator) + _policy().bond) {
            return;
        }
        // Goes to the first moment by itself: left to chance, most calls would come before it.
        uint256 earliest = _earliest();
        if (block.timestamp < earliest) vm.warp(earliest);
        (, bytes32 root) = _parts.ledger.head();
        for (uint256 i = 0; i < 4; ++i) {
            counted[next][_contributors[i]] = _mayCount(_contributors[i]);
        }
        vm.prank(_parts.coordinator);
        _parts.ledger.openRound(id(next), root, keccak256("header"));
    }

    function openTooEarly() external phasesMoveForward {
        RoundId next = _parts.ledger.nextRound();
        uint256 earliest = _earliest();
        if (_parts.ledger.rounds(_last()).phase == IRoundLedger.Phase.Open || block.timestamp >= earliest) return;
        (, bytes32 root) = _parts.ledger.head();
        ++tooEarly;
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooEarly.selector, next, block.timestamp, earliest)
        );
        vm.prank(_parts.coordinator);
        _parts.ledger.openRound(next, root, keccak256("header"));
    }

    /// @dev When the next round may be opened.
    function _earliest() private view returns (uint256) {
        (RoundId head,) = _parts.ledger.head();
        return RoundId.unwrap(head) == 0 ? 0 : uint256(_parts.ledger.rounds(head).openedAt) + _policy().interval;
    }

    function enrol(uint256 who) external phasesMoveForward {
        address account = _contributors[who % 4];
        uint256 unlocked = _parts.vault.stakeOf(account) - _parts.vault.bondOf(account);
        if (unlocked < _policy().minStake) return;
        // With more there would be a crowd, and no window would close.
        if (unlocked > 500e18) unlocked = 500e18;
        bool isMore = unlocked > _member(account).enrolled;
        vm.prank(account);
        _parts.ledger.enrol(unlocked);
        if (!isMore) return;
        enrolledAt[account] = block.timestamp;
        counted[rounds() - 1][account] = false;
    }

    function leave(uint256 who) external phasesMoveForward {
        // One call in four: else few would be enrolled at any time.
        address account = _contributors[who / 4 % 4];
        if (who % 4 != 0 || !_parts.ledger.isEnrolled(account)) return;
        vm.prank(account);
        _parts.ledger.leave();
        counted[rounds() - 1][account] = false;
    }

    function remove(uint256 who) external phasesMoveForward {
        address account = _contributors[who % 4];
        bool canCommit = _member(account).enrolled >= _policy().minStake;
        bool taking = _parts.ledger.phase(_last()) == IRoundLedger.Phase.Open;
        try _parts.ledger.remove(account) {
            vm.assertFalse(canCommit && taking, "nobody who can commit is removed while a window runs");
            if (canCommit) ++removed;
            counted[rounds() - 1][account] = false;
        } catch { }
    }

    /// @dev Takes half of the stake of one of them out, and later back in by `stakeAgain`.
    function unstake(uint256 who) external phasesMoveForward {
        if (who % 8 != 0) return;
        address account = _contributors[who / 8 % 3];
        uint256 stake = _parts.vault.stakeOf(account);
        if (stake < 2 || _parts.vault.unbondings(account).length == 16) return;
        vm.prank(account);
        _parts.vault.requestUnbond(stake / 2);
    }

    function stakeAgain(uint256 who) external phasesMoveForward {
        vm.prank(_parts.treasury);
        _parts.vault.stake(_contributors[who % 3], 100e18);
    }

    /// @dev Opens a round by itself and lets some commit: left to chance, few rounds would have anything to close. Then
    /// it tries whatever the state is: what must not be closed must be refused.
    function closeCommits(uint256 who) external phasesMoveForward {
        if (who & 1 == 0) _openRound();
        for (uint256 i = 0; i < 4; ++i) {
            if ((who >> (1 + i)) & 1 == 1) _commit(i, 1);
        }
        RoundId round = _last();
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        (bool anybody, bool missing) = _awaited(round);
        bool full = stored.entries >= _policy().maxContributors;
        bool due = full || (anybody && !missing && stored.entries >= _policy().minContributors);
        bool expected = due && _parts.ledger.phase(round) == IRoundLedger.Phase.Open;
        vm.prank(stored.coordinator);
        try _parts.ledger.closeCommits(round) {
            vm.assertTrue(expected, "closed though it can't be");
            ++closed;
            if (missing && !full) ++closedTooEarly;
        } catch {
            vm.assertFalse(expected, "refused though it can be closed");
        }
    }

    /// @dev Whether anybody has been enrolled since before the opening, and whether one of those has not committed.
    function _awaited(RoundId round) private view returns (bool anybody, bool missing) {
        for (uint256 i = 0; i < 4; ++i) {
            if (!counted[RoundId.unwrap(round)][_contributors[i]]) continue;
            anybody = true;
            if (!_parts.ledger.hasCommitted(round, _contributors[i])) missing = true;
        }
    }

    function cancelEmpty() external phasesMoveForward {
        RoundId round = _last();
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        if (stored.phase != IRoundLedger.Phase.Open || stored.entries > 0 || block.timestamp % 4 != 0) return;
        vm.prank(stored.coordinator);
        _parts.ledger.cancelEmpty(round);
    }

    function commit(uint256 who, uint64 sumSquares) external phasesMoveForward {
        _commit(who, sumSquares);
    }

    function _commit(uint256 who, uint64 sumSquares) private {
        RoundId round = _last();
        address contributor = _contributors[who % 4];
        if (_parts.ledger.phase(round) != IRoundLedger.Phase.Open) return;
        if (!_parts.ledger.hasPlace(round, contributor)) return;
        if (_parts.ledger.hasCommitted(round, contributor)) return;
        IRoundLedger.Commitment memory commitment = IRoundLedger.Commitment({
            contributor: contributor,
            round: round,
            baseStateRoot: _parts.ledger.rounds(_parts.ledger.rounds(round).base).stateRoot,
            updateRoot: keccak256(abi.encode(round, who)),
            sumSquares: uint64(bound(sumSquares, 0, _policy().maxSumSquares)),
            memoryHash: bytes32(uint256(1)),
            bundleHash: bytes32(0)
        });
        vm.prank(contributor);
        _parts.ledger.commitUpdate(commitment);
        _entries[rounds() - 1].push(IRoundLedger.Entry(contributor, _parts.ledger.hashCommitment(commitment)));
    }

    /// @dev Goes to the end of the commit window by itself: left to chance, few rounds would get this far.
    function anchor(uint256 seed) external phasesMoveForward {
        RoundId round = _last();
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        if (stored.phase != IRoundLedger.Phase.Open || stored.entries < _policy().minContributors) return;
        if (block.timestamp >= stored.anchorDeadline) return;
        if (block.timestamp < stored.commitDeadline) vm.warp(stored.commitDeadline);
        uint32[] storage weights = _weights[rounds() - 1];
        for (uint256 i = 0; i < stored.entries; ++i) {
            // casting to 'uint32' is safe because the value is bounded just here
            // forge-lint: disable-next-line(unsafe-typecast)
            weights.push(uint32(bound(seed >> (32 * i), i == 0 ? 1 : 0, 1_000_000)));
            _pays[rounds() - 1].push(weights[i] == 0 ? 0 : uint32(bound(seed >> (24 * i), i == 0 ? 1 : 0, 65_536)));
        }
        IRoundLedger.Anchor memory anchor_ = _anchor(rounds() - 1);
        vm.prank(_parts.coordinator);
        _parts.ledger.anchor(round, stored.entriesHash, anchor_);
        held[rounds() - 1] = true;
    }

    function finalize(uint256 which) external phasesMoveForward {
        RoundId round = _find(which, IRoundLedger.Phase.Anchored);
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        if (stored.phase != IRoundLedger.Phase.Anchored) return;
        if (_parts.ledger.rounds(stored.base).phase != IRoundLedger.Phase.Final) return;
        if (block.timestamp < stored.challengeDeadline) vm.warp(stored.challengeDeadline);
        _parts.ledger.finalize(round);
    }

    function cancel() external phasesMoveForward {
        RoundId round = _last();
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        if (stored.phase != IRoundLedger.Phase.Open || block.timestamp < stored.commitDeadline) return;
        if (stored.entries >= _policy().minContributors && block.timestamp < stored.anchorDeadline) return;
        _parts.ledger.cancel(round);
    }

    function reportFraud(uint256 which) external phasesMoveForward {
        // One call in four: fraud at every turn would leave no chain to speak of.
        if (which % 4 != 0) return;
        RoundId round = _find(which / 4, IRoundLedger.Phase.Anchored);
        if (_parts.ledger.rounds(round).phase != IRoundLedger.Phase.Anchored) return;
        bool[] memory falls = _walk(round);
        IRoundLedger.Phase[] memory before = new IRoundLedger.Phase[](rounds());
        for (uint256 i = 0; i < rounds(); ++i) {
            before[i] = _parts.ledger.rounds(id(i)).phase;
        }
        uint256 supply = _parts.token.totalSupply();
        vm.prank(_parts.verifier);
        _parts.ledger.reportFraud(round, _parts.treasury);
        burnt += supply - _parts.token.totalSupply();
        for (uint256 i = 0; i < rounds(); ++i) {
            IRoundLedger.Phase expected = before[i];
            if (id(i) == round) expected = IRoundLedger.Phase.Slashed;
            else if (falls[i] && before[i] != IRoundLedger.Phase.Slashed) expected = IRoundLedger.Phase.Cancelled;
            vm.assertEq(uint256(_parts.ledger.rounds(id(i)).phase), uint256(expected), "as the naive walk says");
        }
    }

    /// @dev Which rounds build on one, found from the bases alone. Bases come before what builds on them.
    function _walk(RoundId round) private view returns (bool[] memory falls) {
        falls = new bool[](rounds());
        for (uint256 i = RoundId.unwrap(round) + 1; i < falls.length; ++i) {
            RoundId base = _parts.ledger.rounds(id(i)).base;
            falls[i] = base == round || falls[RoundId.unwrap(base)];
        }
    }

    function releaseVoid(uint256 which) external phasesMoveForward {
        for (uint256 i = 0; i < rounds(); ++i) {
            RoundId round = id((which % rounds() + i) % rounds());
            try _parts.ledger.releaseVoid(round) {
                ++released;
                held[RoundId.unwrap(round)] = false;
                return;
            } catch { }
        }
    }

    function settle(uint256 which) external phasesMoveForward {
        RoundId round = _find(which, IRoundLedger.Phase.Final);
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        if (RoundId.unwrap(round) == 0 || stored.phase != IRoundLedger.Phase.Final || _parts.rewards.isSettled(round)) {
            return;
        }
        uint256 number = RoundId.unwrap(round);
        uint256[4] memory before = _claimable();
        _parts.rewards.settle(round, _entries[number], _anchor(number));
        uint256[4] memory afterwards = _claimable();
        for (uint256 i = 0; i < 4; ++i) {
            uint256 credit = afterwards[i] - before[i];
            credited[number] += credit;
            if (credit > largest[number]) largest[number] = credit;
        }
    }

    /// @dev Anchor, finalize and settle any round as it is, each where that must be refused: without enough commitments,
    /// outside of its window, off the chain, or a second time.
    function attempt(uint256 which) external phasesMoveForward {
        uint256 number = which % rounds();
        if (number == 0) return;
        IRoundLedger.Round memory stored = _parts.ledger.rounds(id(number));
        bool isBaseFinal = _parts.ledger.rounds(stored.base).phase == IRoundLedger.Phase.Final;
        // Its own window is over before its base is final: left to chance, that hardly happens.
        if (stored.phase == IRoundLedger.Phase.Anchored && !isBaseFinal && block.timestamp < stored.challengeDeadline) {
            vm.warp(stored.challengeDeadline);
        }
        IRoundLedger.Anchor memory anchor_ = _anchor(number);
        if (!_canAnchor(stored)) {
            uint32[] memory ones = new uint32[](stored.entries == 0 ? 1 : stored.entries);
            ones[0] = 1;
            (anchor_.weights, anchor_.pays) = (ones, ones);
            vm.prank(stored.coordinator);
            vm.expectRevert();
            _parts.ledger.anchor(id(number), stored.entriesHash, anchor_);
            ++refused[0];
        }
        bool isOver = block.timestamp >= stored.challengeDeadline;
        if (stored.phase != IRoundLedger.Phase.Anchored || !isOver || !isBaseFinal) {
            vm.expectRevert();
            _parts.ledger.finalize(id(number));
            ++refused[1];
        }
        if (stored.phase != IRoundLedger.Phase.Final || _parts.rewards.isSettled(id(number))) {
            vm.expectRevert();
            _parts.rewards.settle(id(number), _entries[number], _anchor(number));
            ++refused[2];
        }
    }

    function _canAnchor(IRoundLedger.Round memory stored) private view returns (bool) {
        return stored.phase == IRoundLedger.Phase.Open && stored.entries >= _policy().minContributors
            && block.timestamp >= stored.commitDeadline && block.timestamp < stored.anchorDeadline;
    }

    function claim(uint256 who) external phasesMoveForward {
        address account = _contributors[who % 4];
        if (_parts.rewards.claimable(account) == 0) return;
        claimed += _parts.rewards.claim(account);
    }

    function restake(uint256 amount) external phasesMoveForward {
        vm.prank(_parts.treasury);
        _parts.vault.stake(_parts.coordinator, bound(amount, 1, 2000e18));
    }

    function wait(uint256 time) external phasesMoveForward {
        vm.warp(block.timestamp + bound(time, 1, 10 minutes));
    }

    function _member(address account) private view returns (IStakeVault.Member memory) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        return _parts.vault.members(accounts)[0];
    }

    /// @dev Whether an account is on the list since before this second.
    function _mayCount(address account) private view returns (bool) {
        return _parts.ledger.isEnrolled(account) && enrolledAt[account] < block.timestamp;
    }

    /// @notice Number of rounds, the genesis included.
    function rounds() public view returns (uint256) {
        return RoundId.unwrap(_parts.ledger.nextRound());
    }

    function _mayFollow(IRoundLedger.Phase previous, IRoundLedger.Phase current) private pure returns (bool) {
        if (previous == current) return true;
        if (previous == IRoundLedger.Phase.None) return true;
        if (previous == IRoundLedger.Phase.Open || previous == IRoundLedger.Phase.Committed) {
            return current == IRoundLedger.Phase.Committed || current == IRoundLedger.Phase.Anchored
                || current == IRoundLedger.Phase.Cancelled;
        }
        if (previous == IRoundLedger.Phase.Anchored) {
            return current == IRoundLedger.Phase.Final || current == IRoundLedger.Phase.Slashed
                || current == IRoundLedger.Phase.Cancelled;
        }
        return false;
    }

    function _anchor(uint256 number) private view returns (IRoundLedger.Anchor memory) {
        return IRoundLedger.Anchor({
            weights: _weights[number],
            pays: _pays[number],
            delivered: type(uint256).max,
            meanRoot: keccak256(abi.encode("mean", number)),
            stateRoot: keccak256(abi.encode("state", number)),
            gramRoot: bytes32(0),
            verdictHash: keccak256("verdicts"),
            artifactsHash: keccak256("artifacts"),
            entriesRoot: keccak256("entries")
        });
    }

    /// @dev The first round in `phase_` from a chosen place on, going round; round 0 if there is none.
    function _find(uint256 from, IRoundLedger.Phase phase_) private view returns (RoundId) {
        uint256 count = rounds();
        for (uint256 i = 0; i < count; ++i) {
            uint256 number = (from % count + i) % count;
            if (number != 0 && _parts.ledger.rounds(id(number)).phase == phase_) return id(number);
        }
        return id(0);
    }

    function _last() private view returns (RoundId) {
        return id(rounds() - 1);
    }

    function _policy() private view returns (IPolicies.Policy memory) {
        return _parts.ledger.policies().policies(_parts.ledger.policies().currentPolicy());
    }

    function _claimable() private view returns (uint256[4] memory amounts) {
        for (uint256 i = 0; i < 4; ++i) {
            amounts[i] = _parts.rewards.claimable(_contributors[i]);
        }
    }
}

/// @notice What holds of the ledger after any sequence of actions. PROPERTIES.md lists these. That phases only move
/// forward is checked by the handler after every single action.
contract LedgerInvariants is RoundTest {
    LedgerHandler private _handler;

    function setUp() public override {
        super.setUp();
        giveStake(coordinator.addr, 5 * BOND);
        _handler = new LedgerHandler(
            LedgerHandler.Parts(ledger, vault, token, rewards, coordinator.addr, verifier.addr, treasury.addr),
            [alice.addr, bob.addr, carol.addr, coordinator.addr]
        );
    }

    /// @dev An interval longer than a commit window, which counts also where a window is ended early; and the rule with
    /// pays. `GameInvariants` has one that pays by weight.
    function policy() internal view override returns (IPolicies.Policy memory changed) {
        changed = super.policy();
        changed.rule = "clamped_mean";
        changed.interval = COMMIT_WINDOW + 1 minutes;
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @dev The handler passes over what is impossible; this shows that what is possible does happen.
    function test_handler_reachesEveryEnd() external {
        for (uint256 i = 0; i < 3; ++i) {
            _handler.openRound();
            _handler.commit(0, 1);
            _handler.commit(1, 1);
            _handler.commit(3, 1);
            _handler.anchor(i);
            _handler.openTooEarly();
        }
        _handler.attempt(1);
        _handler.attempt(3);
        _handler.finalize(1);
        _handler.settle(1);
        _handler.attempt(1);
        _handler.claim(0);
        _handler.reportFraud(4 * 2);
        _handler.openRound();
        vm.warp(block.timestamp + COMMIT_WINDOW);
        _handler.cancel();
        _handler.unstake(8 * 2);
        _handler.remove(2);
        _handler.stakeAgain(2);
        _handler.enrol(2);
        _handler.wait(1);
        for (uint256 i = 0; i < 3; ++i) {
            _handler.openRound();
            _handler.commit(0, 1);
            _handler.commit(1, 1);
            _handler.closeCommits(1);
            _handler.anchor(i);
        }
        vm.assertEq(_handler.closed(), 0, "one is missing");
        _handler.remove(2);
        vm.assertEq(_handler.removed(), 1, "removed");
        _handler.openRound();
        _handler.commit(0, 1);
        _handler.commit(1, 1);
        _handler.closeCommits(1);
        vm.assertEq(_handler.closed(), 1, "closed");
        _handler.releaseVoid(0);
        vm.assertEq(_handler.released(), 1, "released");
        assertPhase(id(1), IRoundLedger.Phase.Final, "finalized");
        assertPhase(id(2), IRoundLedger.Phase.Slashed, "reported");
        assertPhase(id(3), IRoundLedger.Phase.Cancelled, "voided");
        assertPhase(id(4), IRoundLedger.Phase.Cancelled, "cancelled");
        vm.assertGt(_handler.credited(1), 0, "settled");
        vm.assertGt(_handler.largest(1), 0, "somebody was paid");
        vm.assertGt(_handler.claimed(), 0, "claimed");
        vm.assertGt(_handler.burnt(), 0, "burnt");
        vm.assertGt(_handler.tooEarly(), 0, "tried before its time");
        vm.assertEq(_handler.refused(0), 3, "anchors of anchored rounds and a final one");
        vm.assertEq(_handler.refused(1), 3, "before the deadline, before its base, and a second time");
        vm.assertEq(_handler.refused(2), 3, "before it is final, and a second time");
    }

    /// @dev One campaign for all: forge runs a campaign for each invariant, and with one seed they would be the same.
    function invariant_theLedgerIsSound() external view {
        _everyRoundIsFinalAtMostOnce();
        _phasesHaveWhatTheyNeed();
        _anchoredRoundsAreTheChainBelowTheHead();
        _bondsAnswerForEachRoundThatIsNotOver();
        _theOpenRoundBuildsOnTheHead();
        _finalRoundsAreTheVersions();
        _noWindowClosesWithoutTheEnrolled();
        _roundsCountWhomTheyMust();
        _noMoreIsCreditedThanTheReward();
        _supplyIsGenesisPlusClaimedMinusBurnt();
        _noMoreRoundsArePaidThanTheIntervalAllows();
    }

    /// @dev Between any two of the openings, whatever was cancelled, slashed or void in between, and also of what is not
    /// final yet and stands.
    function _noMoreRoundsArePaidThanTheIntervalAllows() private view {
        uint256 interval = policy().interval;
        for (uint256 i = 1; i < _handler.rounds(); ++i) {
            if (!_standsOrIsFinal(i)) continue;
            uint256 since = ledger.rounds(id(i)).openedAt;
            uint256 paid = 0;
            for (uint256 j = i; j < _handler.rounds(); ++j) {
                if (!_standsOrIsFinal(j)) continue;
                ++paid;
                uint256 time = ledger.rounds(id(j)).openedAt - since;
                vm.assertLe(paid, 1 + time / interval, "rounds that are paid in a time");
            }
        }
    }

    function _standsOrIsFinal(uint256 number) private view returns (bool) {
        IRoundLedger.Phase phase = ledger.phase(id(number));
        return phase == IRoundLedger.Phase.Anchored || phase == IRoundLedger.Phase.Final;
    }

    function _everyRoundIsFinalAtMostOnce() private view {
        for (uint256 i = 0; i < _handler.rounds(); ++i) {
            bool isFinal = ledger.phase(id(i)) == IRoundLedger.Phase.Final;
            vm.assertEq(_handler.timesFinal(i), isFinal ? 1 : 0, "times that the round became final");
        }
    }

    /// @dev That nothing comes too early is seen at once, since this is checked after each action.
    function _phasesHaveWhatTheyNeed() private view {
        for (uint256 i = 1; i < _handler.rounds(); ++i) {
            IRoundLedger.Round memory round = ledger.rounds(id(i));
            if (round.anchorHash == bytes32(0)) continue;
            vm.assertLe(policy().minContributors, round.entries, "an anchor has enough commitments");
            uint256 window = round.challengeDeadline - round.commitDeadline;
            vm.assertLe(policy().challengeWindow, window, "a window after the last commitment");
            if (round.phase != IRoundLedger.Phase.Final) continue;
            vm.assertLe(round.challengeDeadline, block.timestamp, "a final round had its window");
        }
    }

    function _anchoredRoundsAreTheChainBelowTheHead() private view {
        uint256 onChain;
        RoundId cursor = headRound();
        while (ledger.rounds(cursor).phase == IRoundLedger.Phase.Anchored) {
            ++onChain;
            cursor = ledger.rounds(cursor).base;
        }
        vm.assertEq(uint256(ledger.phase(cursor)), uint256(IRoundLedger.Phase.Final), "below them all is final");
        uint256 all;
        for (uint256 i = 0; i < _handler.rounds(); ++i) {
            if (ledger.phase(id(i)) == IRoundLedger.Phase.Anchored) ++all;
        }
        vm.assertEq(onChain, all, "no anchored round is off the chain");
        vm.assertEq(uint256(ledger.pendingRounds()), all, "pending rounds");
    }

    function _bondsAnswerForEachRoundThatIsNotOver() private view {
        uint256 owed;
        for (uint256 i = 1; i < _handler.rounds(); ++i) {
            IRoundLedger.Phase phase = ledger.rounds(id(i)).phase;
            bool void_ = phase == IRoundLedger.Phase.Cancelled && _handler.held(i);
            if (phase == IRoundLedger.Phase.Open || phase == IRoundLedger.Phase.Anchored || void_) owed += BOND;
        }
        vm.assertEq(vault.bondOf(coordinator.addr), owed, "a bond for each round that is open, anchored or void");
        vm.assertLe(owed, vault.stakeOf(coordinator.addr), "bonds are stake");
    }

    function _theOpenRoundBuildsOnTheHead() private view {
        for (uint256 i = 0; i < _handler.rounds(); ++i) {
            IRoundLedger.Round memory round = ledger.rounds(id(i));
            if (round.phase != IRoundLedger.Phase.Open) continue;
            assertEq(round.base, headRound(), "base of the open round");
            vm.assertEq(i, _handler.rounds() - 1, "only the last round can be open");
        }
    }

    function _finalRoundsAreTheVersions() private view {
        for (uint256 i = 0; i < _handler.rounds(); ++i) {
            IRoundLedger.Round memory round = ledger.rounds(id(i));
            (bool known, bytes memory data) = address(registry).staticcall(abi.encodeCall(registry.versions, (id(i))));
            vm.assertEq(known, round.phase == IRoundLedger.Phase.Final, "a version is a final round");
            if (!known) continue;
            IModelRegistry.Version memory version = abi.decode(data, (IModelRegistry.Version));
            vm.assertEq(version.stateRoot, round.stateRoot, "state root");
            assertEq(version.parent, round.base, "parent");
            bool parentIsFinal = ledger.phase(round.base) == IRoundLedger.Phase.Final;
            vm.assertTrue(parentIsFinal, "the parent is final");
        }
    }

    function _noWindowClosesWithoutTheEnrolled() private view {
        vm.assertEq(_handler.closedTooEarly(), 0, "closed while an enrolled account could still commit");
    }

    function _roundsCountWhomTheyMust() private view {
        RoundId round = id(_handler.rounds() - 1);
        if (round == id(0)) return;
        address[4] memory people = [alice.addr, bob.addr, carol.addr, coordinator.addr];
        for (uint256 i = 0; i < 4; ++i) {
            bool counted = _handler.counted(RoundId.unwrap(round), people[i]);
            vm.assertEq(counts(round, people[i]), counted, "counts in the last round");
        }
    }

    function _noMoreIsCreditedThanTheReward() private view {
        uint256 all;
        for (uint256 i = 0; i < _handler.rounds(); ++i) {
            vm.assertLe(_handler.credited(i), REWARD, "credited for a round");
            vm.assertLe(_handler.largest(i), REWARD / policy().maxContributors, "no more than the share of a place");
            all += _handler.credited(i);
        }
        vm.assertEq(rewards.claimable(coordinator.addr), 0, "the coordinator's own entries are never paid");
        uint256 open_ = rewards.claimable(alice.addr) + rewards.claimable(bob.addr) + rewards.claimable(carol.addr);
        vm.assertEq(_handler.claimed() + open_, all, "credited is claimed or claimable");
    }

    function _supplyIsGenesisPlusClaimedMinusBurnt() private view {
        vm.assertEq(token.totalSupply() + _handler.burnt(), GENESIS_SUPPLY + _handler.claimed(), "supply");
    }
}
