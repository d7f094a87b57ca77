// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IGovernor } from "@openzeppelin/contracts/governance/IGovernor.sol";

import { DataAvailability } from "../../src/DataAvailability.sol";
import { Disputes } from "../../src/Disputes.sol";
import { FraudProofs } from "../../src/FraudProofs.sol";
import { MootToken } from "../../src/MootToken.sol";
import { Rewards } from "../../src/Rewards.sol";
import { RoundLedger } from "../../src/RoundLedger.sol";
import { StakeVault } from "../../src/StakeVault.sol";
import { MootGovernor } from "../../src/governance/MootGovernor.sol";
import { IDataAvailability } from "../../src/interfaces/IDataAvailability.sol";
import { IDisputes } from "../../src/interfaces/IDisputes.sol";
import { IFraudProofs } from "../../src/interfaces/IFraudProofs.sol";
import { IJudge } from "../../src/interfaces/IJudge.sol";
import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../../src/interfaces/IStakeVault.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { OuterStep } from "../../src/libraries/OuterStep.sol";
import { Places } from "../../src/libraries/Places.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { GameWorld, SmallModel } from "../utils/GameWorld.sol";

/// @notice Honest people (three contributors, a coordinator, a watcher) and attackers (a coordinator, an accomplice,
/// three Sybils) who act on the same contracts in any order. The attackers lie in anchors, copy updates and proofs,
/// accuse, dispute, demand, withhold and vote; the honest ones answer in time and report some of the lies.
/// @dev Beside the contracts it keeps books of its own: what everybody should have.
contract GameHandler is SmallModel {
    struct Parts {
        RoundLedger ledger;
        StakeVault vault;
        MootToken token;
        Rewards rewards;
        FraudProofs fraud;
        DataAvailability availability;
        Disputes disputes;
        MootGovernor governor;
        address timelock;
        address treasury;
    }

    /// @dev A round as its coordinator knows it.
    struct Played {
        IRoundLedger.Anchor anchor;
        bytes header;
        bytes mean;
        State state;
        IJudge.Entry[] entries;
    }

    /// @notice Why a round's coordinator may lose its bond.
    enum Lie {
        None,
        Mean,
        State,
        Weight
    }

    /// @dev What one account should have, apart from what it was given.
    struct Book {
        uint256 credited;
        uint256 prizes;
        uint256 won;
        uint256 slashed;
        uint256 forfeited;
    }

    uint256 public constant PEOPLE = 10;
    /// @notice The first attacker; everybody before is honest.
    uint256 public constant ATTACKERS = 5;
    uint256 private constant HONEST_COORDINATOR = 3;
    uint256 private constant WATCHER = 4;
    uint256 private constant LIAR = 5;
    uint256 private constant ACCOMPLICE = 6;
    uint256 public constant GRANT = 30_000e18;

    Parts private _parts;
    address[PEOPLE] public people;
    mapping(uint256 who => Book) private _books;
    mapping(uint256 round => Played) private _played;
    mapping(uint256 round => Lie) public lies;
    mapping(address account => uint256) private _number;
    /// @dev Demands that are neither answered nor over.
    uint256[] private _due;
    uint256[] private _disputed;
    /// @dev Who has a deposit in the dispute about a round, or had one in the last.
    mapping(uint256 round => uint256[]) private _challengers;
    /// @notice Lies that were proven, and rounds that were lost because nobody answered.
    uint256 public caught;
    /// @notice What attackers were credited for honest rounds.
    uint256 public earned;
    uint256 public credited;
    uint256 public claimed;
    uint256 public burnt;
    /// @notice How often each thing happened.
    uint256 public finalLies;
    uint256 public copiedProofs;
    uint256 public falseProofs;
    uint256 public withheld;
    uint256 public decided;
    uint256 public votes;
    uint256 public crowds;
    uint256 public fullQuotas;
    uint256 public released;

    constructor(Parts memory parts, address[PEOPLE] memory people_) {
        _parts = parts;
        people = people_;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            _number[people_[i]] = i;
        }
        _played[0].state = firstState();
    }

    /// @dev A block for each action: draws need the hash of an earlier one.
    modifier nextBlock() {
        vm.roll(block.number + 1);
        _;
    }

    // Rounds.

    function openRound(bool honest) public nextBlock {
        if (_phase(_last()) == IRoundLedger.Phase.Open || _phase(_last()) == IRoundLedger.Phase.Committed) return;
        (RoundId head, bytes32 base) = _parts.ledger.head();
        // An honest coordinator recomputes the head before it builds on it.
        if (lies[RoundId.unwrap(head)] != Lie.None) honest = false;
        address who = people[honest ? HONEST_COORDINATOR : LIAR];
        if (_unlocked(who) < _policy().bond) return;
        if (_parts.ledger.coordinator() != who) {
            vm.prank(_parts.timelock);
            _parts.ledger.appointCoordinator(who);
        }
        RoundId round = _parts.ledger.nextRound();
        bytes memory header = headerOf(_parts.ledger, round, base, _parts.ledger.policies().currentPolicy());
        _played[RoundId.unwrap(round)].header = header;
        _redrawIfItCan();
        if (block.number <= _parts.vault.basis().blockNumber + 1) vm.roll(block.number + 1);
        vm.prank(who);
        _parts.ledger.openRound(round, base, keccak256(header));
        if (_parts.ledger.draws(round).quota > 0) ++crowds;
        _requireFullQuotasFit(round);
    }

    function _redrawIfItCan() private {
        if (block.number <= _parts.vault.basis().blockNumber + 256) return;
        // It fails while the seed of a draw is kept.
        try _parts.vault.redraw() { } catch { }
    }

    /// @dev Whoever has a full quota since before the draw has a place, and there are places for all of them.
    function _requireFullQuotasFit(RoundId round) private {
        Places.Draw memory drawn = _parts.ledger.draws(round);
        if (drawn.quota == 0) return;
        uint256 full;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            IStakeVault.Member memory member = _member(people[i]);
            if (member.since >= drawn.at || member.enrolled < drawn.quota || member.enrolled < _policy().minStake) {
                continue;
            }
            ++full;
            ++fullQuotas;
            vm.assertTrue(_parts.ledger.hasPlace(round, people[i]), "a full quota has a place");
        }
        vm.assertLe(full, Places.available(_policy().maxContributors), "places for all full quotas");
    }

    /// @param what Its lowest bits say whether an attacker copies the entry before.
    function commit(uint256 who, uint256 what) public nextBlock {
        who %= PEOPLE;
        RoundId round = _last();
        address account = people[who];
        if (who == HONEST_COORDINATOR || who == WATCHER || _phase(round) != IRoundLedger.Phase.Open) return;
        if (!_parts.ledger.hasPlace(round, account) || _parts.ledger.hasCommitted(round, account)) return;
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        bool crowd = _parts.ledger.draws(round).quota > 0;
        uint256 places = crowd ? Places.available(_policy().maxContributors) : _policy().maxContributors;
        if (stored.entries >= (account == stored.coordinator ? _policy().maxContributors : places)) return;
        IJudge.Entry[] storage entries = _played[RoundId.unwrap(round)].entries;
        uint256 seed = uint256(keccak256(abi.encode(round, who)));
        IJudge.Entry memory entry = entryOf(account, seed);
        if (who >= ATTACKERS && what % 2 == 0 && entries.length > 0) {
            entry = entries[entries.length - 1];
            entry.contributor = account;
        }
        bytes32 base = _base(stored);
        vm.prank(account);
        _parts.ledger.commitUpdate(commitmentOf(entry, round, base));
        entries.push(entry);
    }

    /// @dev Goes to the end of the commit window by itself: left to chance, few rounds would get this far.
    function anchor(uint256 seed) public nextBlock {
        RoundId round = _last();
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        if (stored.phase != IRoundLedger.Phase.Open || stored.entries < _policy().minContributors) return;
        if (block.timestamp < stored.commitDeadline) _warp(stored.commitDeadline);
        if (block.timestamp >= stored.anchorDeadline) return;
        uint256 number = RoundId.unwrap(round);
        bool honest = stored.coordinator == people[HONEST_COORDINATOR];
        if (!honest) lies[number] = Lie(seed % 4);
        if (!_compute(number, stored, seed >> 8)) return;
        IRoundLedger.Anchor memory made = _played[number].anchor;
        vm.prank(stored.coordinator);
        _parts.ledger.anchor(round, stored.entriesHash, made);
    }

    /// @dev The anchor, with its lie; false if nothing can be anchored.
    function _compute(uint256 number, IRoundLedger.Round memory stored, uint256 seed) private returns (bool) {
        Played storage played = _played[number];
        IJudge.Entry[] memory entries = played.entries;
        (uint32[] memory weights, uint32 sum, uint256 left) = _weigh(entries, stored.coordinator);
        IRoundLedger.Anchor storage made = played.anchor;
        made.delivered = type(uint256).max;
        if (lies[number] == Lie.Weight) {
            if (left == entries.length) lies[number] = Lie.None;
            else (weights[left], sum) = (1, sum + 1);
        }
        if (sum == 0) return false;
        bytes memory mean = meanOf(weights, entries);
        if (lies[number] == Lie.Mean) mean[seed % 256] ^= 0x01;
        State memory state = stepOf(
            _played[RoundId.unwrap(stored.base)].state,
            mean,
            OuterStep.Settings(1, EXPONENT, _policy().rate, _policy().momentum)
        );
        if (lies[number] == Lie.State) state.theta[seed % 2048] ^= 0x01;
        (played.mean, played.state) = (mean, state);
        made.weights = weights;
        made.meanRoot = MerkleTree.leaf(MerkleTree.Kind.Mean, mean);
        made.stateRoot = rootOf(state);
        (made.verdictHash, made.artifactsHash) = (keccak256("verdicts"), keccak256("artifacts"));
        return true;
    }

    /// @dev The rule `mean`: 1 for each root, but for the coordinator's own; `left` is the first entry without a weight.
    function _weigh(IJudge.Entry[] memory entries, address coordinator)
        private
        pure
        returns (uint32[] memory weights, uint32 sum, uint256 left)
    {
        weights = new uint32[](entries.length);
        left = entries.length;
        for (uint256 i = 0; i < entries.length; ++i) {
            bool counts = entries[i].contributor != coordinator;
            for (uint256 j = 0; j < i; ++j) {
                if (entries[j].updateRoot == entries[i].updateRoot && entries[j].contributor != coordinator) {
                    counts = false;
                }
            }
            if (counts) (weights[i], sum) = (1, sum + 1);
            else if (left == entries.length) left = i;
        }
    }

    /// @notice A whole round: left to chance, few would have anything to lose.
    function play(uint256 seed) external {
        openRound(seed & 1 == 1);
        for (uint256 i = 0; i < PEOPLE; ++i) {
            if ((seed >> (1 + i)) & 1 == 1) commit(i, seed >> (16 + i));
        }
        anchor(seed >> 32);
    }

    function finalize(uint256 which) public nextBlock {
        RoundId round = _find(which, IRoundLedger.Phase.Anchored);
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        if (stored.phase != IRoundLedger.Phase.Anchored) return;
        if (_phase(stored.base) != IRoundLedger.Phase.Final) return;
        if (block.timestamp < stored.challengeDeadline) _warp(stored.challengeDeadline);
        _punishWithheld();
        if (_phase(round) != IRoundLedger.Phase.Anchored) return;
        _parts.ledger.finalize(round);
        if (lies[RoundId.unwrap(round)] != Lie.None) ++finalLies;
    }

    function settle(uint256 which) public nextBlock {
        RoundId round = _find(which, IRoundLedger.Phase.Final);
        uint256 number = RoundId.unwrap(round);
        if (number == 0 || _parts.rewards.isSettled(round)) return;
        uint256[PEOPLE] memory before;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            before[i] = _parts.rewards.claimable(people[i]);
        }
        Played storage played = _played[number];
        IRoundLedger.Entry[] memory entries = new IRoundLedger.Entry[](played.entries.length);
        bytes32 base = _base(_parts.ledger.rounds(round));
        for (uint256 i = 0; i < entries.length; ++i) {
            IRoundLedger.Commitment memory commitment = commitmentOf(played.entries[i], round, base);
            entries[i] = IRoundLedger.Entry(commitment.contributor, _parts.ledger.hashCommitment(commitment));
        }
        _parts.rewards.settle(round, entries, played.anchor);
        uint256 all;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            uint256 amount = _parts.rewards.claimable(people[i]) - before[i];
            vm.assertLe(amount, _policy().reward / _policy().maxContributors, "no more than the share of a place");
            _books[i].credited += amount;
            all += amount;
            if (i >= ATTACKERS && lies[number] == Lie.None) earned += amount;
        }
        vm.assertLe(all, _policy().reward, "no more than the reward");
        credited += all;
    }

    function claim(uint256 who) public nextBlock {
        if (_parts.rewards.claimable(people[who % PEOPLE]) == 0) return;
        claimed += _parts.rewards.claim(people[who % PEOPLE]);
    }

    function cancel() public nextBlock {
        try _parts.ledger.cancel(_last()) { } catch { }
    }

    function releaseVoid(uint256 which) public nextBlock {
        uint256 count = RoundId.unwrap(_parts.ledger.nextRound());
        for (uint256 i = 0; i < count; ++i) {
            try _parts.ledger.releaseVoid(id((which % count + i) % count)) {
                ++released;
                return;
            } catch { }
        }
    }

    // Proofs.

    /// @notice The watcher proves a lie; or the liar's accomplice was faster, with the same proof.
    function watch(uint256 which, bool copied) public nextBlock {
        uint256 number = _findLie(which);
        if (number == 0) return;
        uint256 who = copied ? ACCOMPLICE : WATCHER;
        uint256 supply = _parts.token.totalSupply();
        uint256 bond = _policy().bond;
        vm.assertTrue(_prove(who, number, lies[number]), "every lie can be proven");
        _books[_number[_parts.ledger.rounds(id(number)).coordinator]].slashed += bond;
        _books[who].prizes += bond / 4;
        burnt += supply - _parts.token.totalSupply();
        ++caught;
        if (!copied) return;
        ++copiedProofs;
        vm.assertFalse(_prove(WATCHER, number, lies[number]), "a lie pays one challenger");
    }

    /// @notice Attackers bring every proof against a round that holds what they prove to be false.
    function accuse(uint256 which, uint256 how) public nextBlock {
        RoundId round = _find(which, IRoundLedger.Phase.Anchored);
        uint256 number = RoundId.unwrap(round);
        if (_phase(round) != IRoundLedger.Phase.Anchored || lies[number] != Lie.None) return;
        // One byte of an update, of what was anchored, or of the base is another one.
        vm.assertFalse(_prove(ACCOMPLICE, number, Lie(1 + how % 3)), "an honest round was struck");
        vm.assertFalse(_proveGarbled(number, how), "an honest round was struck by a garbled proof");
        ++falseProofs;
    }

    function _prove(uint256 who, uint256 number, Lie lie) private returns (bool) {
        IJudge.Case memory case_ = IJudge.Case(id(number), _played[number].anchor, layoutOf(), DOCUMENT);
        IJudge.Entry[] memory entries = _played[number].entries;
        if (lie == Lie.State) return _proveStep(who, case_, _stepOf(number));
        if (lie == Lie.Mean) return _proveMean(who, case_, entries);
        bool proven = false;
        for (uint256 i = 0; i < entries.length && !proven; ++i) {
            vm.prank(people[who]);
            try _parts.fraud.proveWeight(case_, entries, i) {
                proven = true;
            } catch { }
        }
        return proven;
    }

    function _proveGarbled(uint256 number, uint256 how) private returns (bool) {
        IJudge.Case memory case_ = IJudge.Case(id(number), _played[number].anchor, layoutOf(), DOCUMENT);
        IJudge.Entry[] memory entries = _played[number].entries;
        uint256 at = (how >> 8) % 256;
        uint256 entry = (how >> 16) % entries.length;
        if (how % 4 == 0) {
            entries[entry].leaf[at] ^= 0x01;
            return _proveMean(ACCOMPLICE, case_, entries);
        }
        if (how % 4 == 1) {
            // Two entries that were committed in another order.
            (entries[0], entries[entry]) = (entries[entry], entries[0]);
            return entry > 0 && _proveMean(ACCOMPLICE, case_, entries);
        }
        IFraudProofs.Step memory step = _stepOf(number);
        if (how % 4 == 2) step.theta.values[at] ^= 0x01;
        else step.mean.values[at] ^= 0x01;
        return _proveStep(ACCOMPLICE, case_, step);
    }

    function _proveMean(uint256 who, IJudge.Case memory case_, IJudge.Entry[] memory entries) private returns (bool) {
        IJudge.Opening memory opened = IJudge.Opening(case_.anchor.meanRoot, new bytes32[](0));
        vm.prank(people[who]);
        try _parts.fraud.proveMean(case_, entries, 0, opened, "") {
            return true;
        } catch {
            return false;
        }
    }

    function _proveStep(uint256 who, IJudge.Case memory case_, IFraudProofs.Step memory step) private returns (bool) {
        vm.prank(people[who]);
        try _parts.fraud.proveOuterStep(case_, 0, step) {
            return true;
        } catch {
            return false;
        }
    }

    function _stepOf(uint256 number) private view returns (IFraudProofs.Step memory step) {
        bytes32[] memory none = new bytes32[](0);
        State memory base = _played[RoundId.unwrap(_parts.ledger.rounds(id(number)).base)].state;
        step.header = _played[number].header;
        step.theta = IJudge.Leaf(base.theta, none);
        step.momentum = IJudge.Leaf(base.momentum, none);
        step.mean = IJudge.Leaf(_played[number].mean, none);
        State memory next = _played[number].state;
        step.nextTheta = IJudge.Opening(MerkleTree.leaf(MerkleTree.Kind.Theta, next.theta), none);
        step.nextMomentum = IJudge.Opening(MerkleTree.leaf(MerkleTree.Kind.Momentum, next.momentum), none);
    }

    // Demands and disputes.

    function demand(uint256 who, uint256 which) public nextBlock {
        RoundId round = _find(which, IRoundLedger.Phase.Anchored);
        who = WATCHER + who % (PEOPLE - WATCHER);
        if (_phase(round) != IRoundLedger.Phase.Anchored) return;
        IRoundLedger.Anchor memory made = _played[RoundId.unwrap(round)].anchor;
        vm.prank(people[who]);
        try _parts.availability.demandFile(round, made, IDataAvailability.What.Header) returns (uint256 number) {
            _due.push(number);
        } catch { }
    }

    /// @notice The coordinator answers; whoever does gets the deposit.
    function answer(uint256 which) public nextBlock {
        if (_due.length > 0) _answer(which % _due.length);
    }

    function _answer(uint256 index) private {
        uint256 number = _due[index];
        IDataAvailability.Demand memory made = _parts.availability.demands(number);
        if (block.timestamp >= made.until) return;
        address coordinator = _parts.ledger.rounds(made.round).coordinator;
        vm.prank(coordinator);
        _parts.availability.show(number, _played[RoundId.unwrap(made.round)].header, 0);
        _books[_number[coordinator]].won += _parts.availability.deposit();
        _books[_number[made.demander]].forfeited += _parts.availability.deposit();
        _drop(index);
    }

    /// @dev Demands that the liar let pass cost it its bond; those of rounds that are over go back.
    function _punishWithheld() private {
        for (uint256 i = _due.length; i > 0; --i) {
            IDataAvailability.Demand memory made = _parts.availability.demands(_due[i - 1]);
            if (_parts.ledger.rounds(made.round).phase != IRoundLedger.Phase.Anchored) {
                _parts.availability.release(_due[i - 1]);
                _drop(i - 1);
                continue;
            }
            if (block.timestamp < made.until) continue;
            uint256 supply = _parts.token.totalSupply();
            uint256 who = _number[_parts.ledger.rounds(made.round).coordinator];
            vm.assertEq(who, LIAR, "whoever answers is never convicted");
            _parts.availability.proveWithheld(_due[i - 1]);
            _books[who].slashed += _policy().bond;
            _books[_number[made.demander]].prizes += _policy().bond / 4;
            burnt += supply - _parts.token.totalSupply();
            ++caught;
            ++withheld;
            _drop(i - 1);
        }
    }

    function convictWithheld() public nextBlock {
        _punishWithheld();
    }

    function _drop(uint256 index) private {
        _due[index] = _due[_due.length - 1];
        _due.pop();
    }

    function dispute(uint256 who, uint256 which) public nextBlock {
        RoundId round = _find(which, IRoundLedger.Phase.Anchored);
        who = WATCHER + who % (PEOPLE - WATCHER);
        if (_phase(round) != IRoundLedger.Phase.Anchored) return;
        vm.prank(people[who]);
        try _parts.disputes.open(round, "") {
            uint256 number = RoundId.unwrap(round);
            if (_parts.disputes.disputes(round).challengers == 1) {
                delete _challengers[number];
                _disputed.push(number);
            }
            _challengers[number].push(who);
        } catch { }
    }

    /// @notice Voters who recompute the round decide what is true, or do not come to a decision.
    function decide(uint256 which, bool inTime) public nextBlock {
        if (_disputed.length == 0) return;
        which %= _disputed.length;
        uint256 number = _disputed[which];
        IDisputes.Dispute memory made = _parts.disputes.disputes(id(number));
        uint256 supply = _parts.token.totalSupply();
        uint256 coordinator = _number[_parts.ledger.rounds(id(number)).coordinator];
        uint256 deposit = _parts.disputes.deposit(id(number));
        uint256 forfeited;
        if (!inTime && block.timestamp < made.decideBy) _warp(made.decideBy);
        if (!inTime || _phase(id(number)) != IRoundLedger.Phase.Anchored) {
            IRoundLedger.Phase phase = _phase(id(number));
            bool stood = phase == IRoundLedger.Phase.Anchored || phase == IRoundLedger.Phase.Final;
            if (stood) forfeited = deposit;
            _releaseDeposits(number);
        } else if (lies[number] == Lie.None) {
            vm.prank(_parts.timelock);
            _parts.disputes.dismiss(id(number));
            forfeited = deposit;
            _books[coordinator].won += made.challengers * deposit / 2;
        } else {
            vm.prank(_parts.timelock);
            _parts.disputes.uphold(id(number));
            _books[coordinator].slashed += _policy().bond;
            ++caught;
            _releaseDeposits(number);
        }
        for (uint256 i = 0; i < _challengers[number].length; ++i) {
            _books[_challengers[number][i]].forfeited += forfeited;
        }
        burnt += supply - _parts.token.totalSupply();
        ++decided;
        _disputed[which] = _disputed[_disputed.length - 1];
        _disputed.pop();
    }

    function _releaseDeposits(uint256 number) private {
        for (uint256 i = 0; i < _challengers[number].length; ++i) {
            _parts.disputes.release(id(number), people[_challengers[number][i]]);
        }
    }

    // Stakes and votes.

    function enrol(uint256 who, uint256 amount) public nextBlock {
        address account = people[who % PEOPLE];
        uint256 unlocked = _unlocked(account);
        if (unlocked < _policy().minStake) return;
        amount = bound(amount, _policy().minStake, unlocked);
        // The honest ones stay above any quota that attackers can make of what they have.
        if (who % PEOPLE < ATTACKERS && amount < _member(account).enrolled) return;
        vm.prank(account);
        _parts.ledger.enrol(amount);
    }

    function leave(uint256 who) public nextBlock {
        address account = people[ATTACKERS + who % (PEOPLE - ATTACKERS)];
        if (!_parts.ledger.isEnrolled(account)) return;
        vm.prank(account);
        _parts.ledger.leave();
    }

    function unbond(uint256 who, uint256 amount) public nextBlock {
        address account = people[ATTACKERS + who % (PEOPLE - ATTACKERS)];
        uint256 unlocked = _unlocked(account);
        if (unlocked == 0 || _parts.vault.unbondings(account).length == 16) return;
        vm.prank(account);
        _parts.vault.requestUnbond(bound(amount, 1, unlocked));
    }

    function withdraw(uint256 who) public nextBlock {
        vm.prank(people[who % PEOPLE]);
        try _parts.vault.withdraw() { } catch { }
    }

    function stake(uint256 who, uint256 amount) public nextBlock {
        address account = people[who % PEOPLE];
        uint256 balance = _parts.token.balanceOf(account);
        // Deposits need something that is not staked, and honest stake must outvote the rest.
        if (balance < 2_000e18 || who % PEOPLE >= ATTACKERS && _parts.vault.stakeOf(account) > 8_000e18) return;
        vm.prank(account);
        _parts.vault.stake(account, bound(amount, 1, 1_000e18));
    }

    /// @notice Attackers propose that an honest round be void, and vote for it with all that they have.
    function vote(uint256 which) public nextBlock {
        // One call in four: a vote takes days.
        if (which % 4 != 0 || _parts.vault.getVotes(people[LIAR]) < 1_000e18) return;
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) =
            (new address[](1), new uint256[](1), new bytes[](1));
        targets[0] = address(_parts.disputes);
        calls[0] = abi.encodeCall(IDisputes.uphold, (_find(which / 4, IRoundLedger.Phase.Anchored)));
        _warp(block.timestamp + 1);
        vm.prank(people[LIAR]);
        uint256 proposal = _parts.governor.propose(targets, values, calls, vm.toString(votes));
        _warp(_parts.governor.proposalSnapshot(proposal) + 1);
        for (uint256 i = 0; i < PEOPLE; ++i) {
            vm.prank(people[i]);
            _parts.governor.castVote(proposal, i < ATTACKERS ? 0 : 1);
        }
        _warp(_parts.governor.proposalDeadline(proposal) + 1);
        bool defeated = _parts.governor.state(proposal) == IGovernor.ProposalState.Defeated;
        vm.assertTrue(defeated, "those with less stake decide nothing");
        ++votes;
    }

    function wait(uint256 time) public nextBlock {
        _warp(block.timestamp + bound(time, 1, 12 hours));
    }

    // Views.

    /// @notice What an account has, wherever it is.
    function wealthOf(uint256 who) public view returns (uint256 wealth) {
        address account = people[who];
        wealth = _parts.token.balanceOf(account) + _parts.vault.stakeOf(account) + _parts.rewards.claimable(account);
        IStakeVault.Unbonding[] memory queue = _parts.vault.unbondings(account);
        for (uint256 i = 0; i < queue.length; ++i) {
            wealth += queue[i].amount;
        }
        for (uint256 i = 0; i < _due.length; ++i) {
            if (_parts.availability.demands(_due[i]).demander == account) wealth += _parts.availability.deposit();
        }
        for (uint256 i = 0; i < _disputed.length; ++i) {
            if (_parts.disputes.hasDeposit(id(_disputed[i]), account)) {
                wealth += _parts.disputes.deposit(id(_disputed[i]));
            }
        }
    }

    /// @notice What an account should have.
    function owed(uint256 who) external view returns (uint256) {
        Book memory book = _books[who];
        return GRANT + book.credited + book.prizes + book.won - book.slashed - book.forfeited;
    }

    function books(uint256 who) external view returns (Book memory) {
        return _books[who];
    }

    function _phase(RoundId round) private view returns (IRoundLedger.Phase) {
        return _parts.ledger.phase(round);
    }

    function _base(IRoundLedger.Round memory stored) private view returns (bytes32) {
        return _parts.ledger.rounds(stored.base).stateRoot;
    }

    function _last() private view returns (RoundId) {
        return id(RoundId.unwrap(_parts.ledger.nextRound()) - 1);
    }

    function _policy() private view returns (IPolicies.Policy memory) {
        return _parts.ledger.policies().policies(_parts.ledger.policies().currentPolicy());
    }

    function _member(address account) private view returns (IStakeVault.Member memory) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        return _parts.vault.members(accounts)[0];
    }

    function _unlocked(address account) private view returns (uint256) {
        return _parts.vault.stakeOf(account) - _parts.vault.bondOf(account);
    }

    /// @dev The first round in a phase from a chosen one on, going round; round 0 if there is none.
    function _find(uint256 from, IRoundLedger.Phase phase) private view returns (RoundId) {
        uint256 count = RoundId.unwrap(_parts.ledger.nextRound());
        for (uint256 i = 0; i < count; ++i) {
            uint256 number = (from % count + i) % count;
            if (number != 0 && _phase(id(number)) == phase) return id(number);
        }
        return id(0);
    }

    function _findLie(uint256 from) private view returns (uint256) {
        uint256 count = RoundId.unwrap(_parts.ledger.nextRound());
        for (uint256 i = 0; i < count; ++i) {
            uint256 number = (from % count + i) % count;
            if (lies[number] != Lie.None && _phase(id(number)) == IRoundLedger.Phase.Anchored) return number;
        }
        return 0;
    }

    /// @dev Time does not pass an answer's deadline before the honest coordinator has answered.
    function _warp(uint256 time) private {
        for (uint256 i = _due.length; i > 0; --i) {
            IDataAvailability.Demand memory made = _parts.availability.demands(_due[i - 1]);
            bool honest = _parts.ledger.rounds(made.round).coordinator == people[HONEST_COORDINATOR];
            if (honest && made.until <= time) _answer(i - 1);
        }
        if (time > block.timestamp) vm.warp(time);
    }
}

/// @notice What holds of all accounts, whatever attackers do. PROPERTIES.md lists these.
contract GameInvariants is GameWorld {
    GameHandler private _handler;

    function setUp() public override {
        super.setUp();
        address[10] memory people = [
            alice.addr,
            bob.addr,
            carol.addr,
            coordinator.addr,
            challenger.addr,
            actor("liar").addr,
            actor("accomplice").addr,
            actor("sybil 1").addr,
            actor("sybil 2").addr,
            actor("sybil 3").addr
        ];
        _handler = new GameHandler(
            GameHandler.Parts(
                ledger, vault, token, rewards, fraud, availability, disputes, governor, address(timelock), treasury.addr
            ),
            people
        );
        uint256 grant = _handler.GRANT();
        for (uint256 i = 0; i < people.length; ++i) {
            vm.prank(treasury.addr);
            token.transfer(people[i], grant);
            vm.startPrank(people[i]);
            token.approve(address(vault), type(uint256).max);
            token.approve(address(availability), type(uint256).max);
            token.approve(address(disputes), type(uint256).max);
            vault.stake(people[i], i < 5 ? 20_000e18 : i == 5 ? 8_000e18 : 300e18);
            vm.stopPrank();
        }
        for (uint256 i = 0; i < people.length; ++i) {
            if (i > 2 && i < 6) continue;
            vm.prank(people[i]);
            ledger.enrol(MIN_STAKE);
        }
        vm.warp(START + 1);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function _round(bool honest, uint256 kind) private returns (RoundId round) {
        round = ledger.nextRound();
        _handler.openRound(honest);
        for (uint256 i = 0; i < 3; ++i) {
            _handler.commit(i, 1);
        }
        _handler.commit(7, 0);
        _handler.anchor(kind);
        assertPhase(round, IRoundLedger.Phase.Anchored);
    }

    function assertPhase(RoundId round, IRoundLedger.Phase expected) private view {
        vm.assertEq(uint256(ledger.phase(round)), uint256(expected), "phase");
    }

    /// @dev The handler passes over what is impossible; this shows that what is possible does happen.
    function test_handler_reachesEveryEnd() external {
        // An honest round is accused, demanded and disputed in vain.
        RoundId round = _round(true, 1);
        for (uint256 how = 0; how < 12; ++how) {
            _handler.accuse(1, how + (1 << 16));
        }
        vm.assertEq(_handler.falseProofs(), 12, "false proofs");
        _handler.demand(1, 1);
        _handler.answer(0);
        _handler.dispute(2, 1);
        _handler.decide(0, true);
        _handler.finalize(1);
        _handler.settle(1);
        _handler.claim(0);
        assertPhase(round, IRoundLedger.Phase.Final);
        vm.assertEq(_handler.books(0).credited, REWARD / policy().maxContributors, "the share of a place");
        vm.assertEq(_handler.books(7).credited, 0, "a copy has no share");
        vm.assertEq(_handler.books(5).forfeited, DEPOSIT, "a demand that was answered");
        vm.assertEq(_handler.books(6).forfeited, BOND / 4, "a dispute that was dismissed");
        // Lies of each kind, proven by the watcher and by a copy; what builds on one is void.
        for (uint256 kind = 1; kind < 4; ++kind) {
            _round(false, kind);
            _round(false, 0);
            _handler.watch(0, kind == 1);
            _handler.releaseVoid(0);
        }
        vm.assertEq(_handler.caught(), 3, "caught");
        vm.assertEq(_handler.copiedProofs(), 1, "copied");
        vm.assertEq(_handler.released(), 3, "released");
        // One that nobody proves, one that a vote decides, and one that is withheld.
        _round(false, 1);
        _handler.finalize(0);
        vm.assertEq(_handler.finalLies(), 1, "final lies");
        _round(false, 2);
        _handler.dispute(0, 0);
        _handler.decide(0, true);
        _round(false, 0);
        _handler.demand(0, 0);
        _handler.wait(3 hours);
        _handler.convictWithheld();
        vm.assertEq(_handler.withheld(), 1, "withheld");
        vm.assertEq(_handler.caught(), 5, "caught");
        // A crowd, a vote, and stake that comes and goes.
        for (uint256 i = 0; i < 3; ++i) {
            _handler.enrol(i, 20_000e18);
        }
        _handler.openRound(true);
        _handler.commit(7, 1);
        _handler.commit(8, 1);
        _handler.anchor(0);
        _handler.finalize(0);
        _round(true, 0);
        vm.assertGt(_handler.crowds(), 0, "a crowd");
        vm.assertGt(_handler.fullQuotas(), 0, "a full quota");
        _handler.stake(5, 1_000e18);
        _handler.vote(0);
        vm.assertEq(_handler.votes(), 1, "a vote");
        _handler.play(type(uint256).max);
        _handler.leave(3);
        _handler.unbond(3, 1e18);
        _handler.wait(12 hours);
        _handler.withdraw(8);
        this.invariant_theGameIsSound();
    }

    /// @notice What k lies bring that are pending together, if each is caught with the probability r / (r + b B), r being
    /// what its puppets are paid: nothing, whatever k is. Each outcome is played on the contracts; the probability is 1/16
    /// here, for two of nine places.
    function test_aLiePaysOnlyBelowItsProbability() external {
        uint256 paid = 2 * (REWARD / MAX_ENTRIES);
        vm.assertEq(16 * paid, paid + BOND * 3 / 4, "r / (r + b B) = 1 / 16");
        for (uint256 k = 1; k <= 4; ++k) {
            int256 expected;
            for (uint256 first = 0; first <= k; ++first) {
                uint256 state = vm.snapshotState();
                int256 gain = _gainOfLies(k, first);
                vm.assertTrue(vm.revertToState(state), "back");
                // The first that is caught is number `first`, or none is.
                expected += gain * int256(first == 0 ? 15 ** k : 15 ** (first - 1) * 16 ** (k - first));
            }
            vm.assertEq(expected, 0, "neither gain nor loss at this probability");
        }
    }

    /// @dev All are pending before the first is caught: by the accomplice, who has what a challenger gets.
    function _gainOfLies(uint256 k, uint256 first) private returns (int256 gain) {
        RoundId before = ledger.nextRound();
        for (uint256 i = 0; i < k; ++i) {
            RoundId round = ledger.nextRound();
            _handler.openRound(false);
            _handler.commit(7, 1);
            _handler.commit(8, 1);
            _handler.anchor(1);
            assertPhase(round, IRoundLedger.Phase.Anchored);
        }
        if (first > 0) _handler.watch(RoundId.unwrap(before) + first - 1, true);
        for (uint256 i = 0; i < k; ++i) {
            _handler.finalize(RoundId.unwrap(before));
            _handler.settle(RoundId.unwrap(before) + i);
            _handler.releaseVoid(0);
        }
        for (uint256 i = 5; i < 10; ++i) {
            gain += int256(_handler.wealthOf(i)) - int256(_handler.GRANT());
        }
    }

    /// @dev One campaign for all: what costs is to play.
    function invariant_theGameIsSound() external view {
        everybodyHasWhatTheBooksSay();
        attackersGainNoMoreThanTheBound();
        tokensAreConserved();
        bondsAndEnrolledStakeAreWithinTheStake();
        bondsAreThoseOfTheRoundsThatAreNotOver();
    }

    /// @notice Nobody loses but by a lie of its own, proven, or a deposit that it staked on a wrong claim.
    function everybodyHasWhatTheBooksSay() private view {
        for (uint256 i = 0; i < _handler.PEOPLE(); ++i) {
            vm.assertEq(_handler.wealthOf(i), _handler.owed(i), "wealth");
            if (i < _handler.ATTACKERS()) vm.assertEq(_handler.books(i).slashed, 0, "an honest account was slashed");
            else if (i > 5) vm.assertEq(_handler.books(i).slashed, 0, "somebody who did not lie was slashed");
        }
    }

    /// @notice Final lies times the reward, less the burnt part of the bond for each that was caught, whatever else is
    /// pending; beside what they earned by honest rounds and won from challengers.
    function attackersGainNoMoreThanTheBound() private view {
        int256 gain;
        int256 deposits;
        for (uint256 i = _handler.ATTACKERS(); i < _handler.PEOPLE(); ++i) {
            gain += int256(_handler.wealthOf(i)) - int256(_handler.GRANT());
            deposits += int256(_handler.books(i).won);
        }
        int256 bound_ = int256(_handler.finalLies() * REWARD) - int256(_handler.caught() * (BOND * 3 / 4));
        vm.assertTrue(gain <= bound_ + int256(_handler.earned()) + deposits, "combined profit of the attackers");
    }

    function tokensAreConserved() private view {
        uint256 sum = token.balanceOf(treasury.addr);
        for (uint256 i = 0; i < _handler.PEOPLE(); ++i) {
            sum += _handler.wealthOf(i) - rewards.claimable(_handler.people(i));
        }
        vm.assertEq(sum, token.totalSupply(), "somebody has every token");
        uint256 minted = _handler.claimed();
        vm.assertEq(token.totalSupply() + _handler.burnt(), GENESIS_SUPPLY + minted, "minted and burnt");
        vm.assertLe(minted, _handler.credited(), "only rewards are minted");
    }

    function bondsAndEnrolledStakeAreWithinTheStake() private view {
        uint256 enrolled;
        for (uint256 i = 0; i < _handler.PEOPLE(); ++i) {
            address[] memory accounts = new address[](1);
            accounts[0] = _handler.people(i);
            IStakeVault.Member memory member = vault.members(accounts)[0];
            vm.assertLe(vault.bondOf(accounts[0]) + member.enrolled, member.stake, "bonds and enrolled stake");
            enrolled += member.enrolled;
        }
        vm.assertEq(vault.totalEnrolled(), enrolled, "the total is the sum");
    }

    /// @notice A bond for each round that is open or anchored, and for each void one until it is released.
    function bondsAreThoseOfTheRoundsThatAreNotOver() private view {
        uint256[10] memory locked;
        for (uint256 number = 1; number < RoundId.unwrap(ledger.nextRound()); ++number) {
            IRoundLedger.Round memory round = ledger.rounds(id(number));
            // As stored: a void round is still anchored there.
            uint256 stored = uint256(vm.load(address(ledger), keccak256(abi.encode(number, ROUNDS_SLOT)))) >> 32 & 0xff;
            bool open = stored == uint256(IRoundLedger.Phase.Open);
            if (!open && stored != uint256(IRoundLedger.Phase.Anchored)) continue;
            locked[round.coordinator == coordinator.addr ? 3 : 5] += BOND;
        }
        for (uint256 i = 0; i < _handler.PEOPLE(); ++i) {
            vm.assertEq(vault.bondOf(_handler.people(i)), locked[i], "bonds");
        }
    }
}
