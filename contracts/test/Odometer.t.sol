// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IOdometer } from "../src/interfaces/IOdometer.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { Budget } from "../src/libraries/Budget.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";
import { OwnedWallet } from "./utils/Wallets.sol";

/// @notice A federation whose policy asks for noise: an update costs COST, and the budget is enough for three.
contract OdometerTest is RoundTest {
    uint64 private constant COST = 298_844_372;
    uint64 private constant CAP = 3 * COST + 7;

    IOdometer private odometer;
    RoundId private round;

    function setUp() public override {
        super.setUp();
        odometer = ledger.odometer();
        round = open();
    }

    function policy() internal view override returns (IPolicies.Policy memory noisy) {
        noisy = super.policy();
        (noisy.noise1024, noisy.steps, noisy.privacyCap) = (2745, 1, CAP);
    }

    function _vote(IPolicies.Policy memory added) private {
        vm.prank(address(timelock));
        policies.addPolicy(added);
    }

    function _next() private {
        vm.warp(ledger.rounds(round).anchorDeadline);
        ledger.cancel(round);
        round = open();
    }

    function _batch(Actor[3] memory contributors) private view returns (bytes memory batch) {
        for (uint256 i = 0; i < 3; ++i) {
            batch = bytes.concat(batch, batchOf(contributors[i], commitmentOf(contributors[i].addr, round)));
        }
    }

    function _numberOf(address account) private view returns (uint256) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        return vault.members(accounts)[0].id;
    }

    function test_odometer_isTheLedgersOwn() public view {
        vm.assertEq(address(odometer.ledger()), address(ledger), "ledger");
        vm.assertEq(address(ledger.attendance().ledger()), address(ledger), "ledger of the attendance");
    }

    function test_commit_chargesEveryWay() public {
        commitOwn(alice, round);
        ledger.commitUpdates(round, BUNDLE_HASH, batchOf(bob, commitmentOf(bob.addr, round)));
        address wallet = address(new OwnedWallet(carol.addr));
        giveStake(wallet, MIN_STAKE);
        enrol(wallet);
        _next();
        IRoundLedger.Commitment memory commitment = commitmentOf(wallet, round);
        ledger.commitUpdateFor(commitment, signed(carol, commitment));
        address[3] memory charged = [alice.addr, bob.addr, wallet];
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(odometer.spent(charged[i]), COST, "one update");
        }
        vm.assertEq(odometer.spent(carol.addr), 0, "the owner of a wallet is another account");
        vm.assertEq(odometer.spent(stranger.addr), 0, "nobody's number");
    }

    function test_commitUpdates_chargesNobodyWhoIsPassedOver() public {
        commitOwn(bob, round);
        bytes memory batch = _batch([alice, bob, carol]);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertEq(odometer.spent(alice.addr), COST, "Alice");
        vm.assertEq(odometer.spent(bob.addr), COST, "Bob, who was there before");
        vm.assertEq(odometer.spent(carol.addr), COST, "Carol");
    }

    /// @dev The update is public, whatever becomes of the round.
    function test_spent_staysAfterARoundThatChangesNothing() public {
        commitThree(round);
        skipCommitWindow(round);
        anchorNow(round);
        report(round);
        vm.assertEq(odometer.spent(alice.addr), COST, "slashed");
        round = open();
        commitOwn(alice, round);
        _next();
        vm.assertEq(odometer.spent(alice.addr), 2 * COST, "cancelled");
        vm.prank(alice.addr);
        ledger.leave();
        enrol(alice.addr);
        vm.assertEq(odometer.spent(alice.addr), 2 * COST, "left, and back");
    }

    function test_commit_failsBeyondTheCap() public {
        for (uint256 i = 0; i < 3; ++i) {
            commitOwn(alice, round);
            _next();
        }
        vm.assertEq(odometer.spent(alice.addr), 3 * COST, "the whole budget");
        bytes memory failure = abi.encodeWithSelector(
            IRoundLedger.RoundLedgerBudgetSpent.selector, _numberOf(alice.addr), 3 * COST, COST, CAP
        );
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        bytes memory batch = _batch([bob, alice, carol]);
        vm.expectRevert(failure);
        vm.prank(alice.addr);
        ledger.commitUpdate(commitment);
        vm.expectRevert(failure);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertEq(odometer.spent(bob.addr), 0, "the batch was refused as a whole");
        commitOwn(bob, round);
        vm.assertEq(odometer.spent(bob.addr), COST, "others go on");
    }

    /// @dev What a vote can do, and what it can't.
    function test_addPolicy_canRaiseTheCapAndNotLowerWhatIsSpent() public {
        commitOwn(alice, round);
        IPolicies.Policy memory other = policy();
        (other.noise1024, other.steps, other.privacyCap) = (1024, 4, COST + (2 << 32));
        _vote(other);
        _next();
        commitOwn(alice, round);
        vm.assertEq(odometer.spent(alice.addr), COST + (2 << 32), "by the new policy, beyond the old cap");
        _vote(policy());
        _next();
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerBudgetSpent.selector, _numberOf(alice.addr), COST + (2 << 32), COST, CAP
            )
        );
        vm.prank(alice.addr);
        ledger.commitUpdate(commitment);
    }

    function test_commit_withoutNoiseAsksNoOdometer() public {
        IPolicies.Policy memory plain = super.policy();
        _vote(plain);
        _next();
        commitOwn(bob, round);
        vm.etch(address(odometer), hex"fe");
        ledger.commitUpdates(round, BUNDLE_HASH, _batch([alice, bob, carol]));
        vm.assertEq(uint256(ledger.rounds(round).entries), 3, "entries");
    }

    /// @dev Dave and Erin are in the second word of 256 members, and no two that follow each other share one.
    function test_commitUpdates_chargesMembersOfDifferentWords() public {
        for (uint160 i = 1; i < 256; ++i) {
            vm.prank(address(ledger));
            vault.enrol(address(i << 80), 0);
        }
        Actor memory dave = actor("dave");
        Actor memory erin = actor("erin");
        giveStake(dave.addr, MIN_STAKE);
        giveStake(erin.addr, MIN_STAKE);
        enrol(dave.addr);
        enrol(erin.addr);
        _next();
        Actor[5] memory order = [alice, dave, bob, erin, alice];
        bytes memory batch;
        for (uint256 i = 0; i < 5; ++i) {
            batch = bytes.concat(batch, batchOf(order[i], commitmentOf(order[i].addr, round)));
        }
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        for (uint256 i = 0; i < 4; ++i) {
            vm.assertEq(odometer.spent(order[i].addr), COST, "charged once");
        }
        vm.assertEq(odometer.spent(carol.addr), 0, "Carol is not in the batch");
    }

    function test_charge_isForTheLedgerAlone() public {
        vm.expectRevert(abi.encodeWithSelector(IOdometer.OdometerNotLedger.selector, stranger.addr, address(ledger)));
        vm.prank(stranger.addr);
        odometer.charge(0, 2, 2745, 1, CAP);
    }

    /// @dev The largest cost and the largest cap: a counter that would pass 64 bits is refused, and its neighbours stay.
    function test_charge_neverRunsIntoTheNextCounter() public {
        uint256 most = type(uint64).max;
        uint256 large = uint256(Budget.MAX_STEPS) << 51;
        vm.startPrank(address(ledger));
        odometer.charge(0, 0x1e, 1, Budget.MAX_STEPS, most);
        for (uint256 member = 1; member < 5; ++member) {
            vm.expectRevert(
                abi.encodeWithSelector(IRoundLedger.RoundLedgerBudgetSpent.selector, member, large, large, most)
            );
            odometer.charge(0, 1 << member, 1, Budget.MAX_STEPS, most);
        }
        vm.stopPrank();
        Actor[4] memory people = [alice, bob, carol, coordinator];
        for (uint256 i = 0; i < 4; ++i) {
            uint256 number = _numberOf(people[i].addr);
            if (number > 0 && number < 5) vm.assertEq(odometer.spent(people[i].addr), large, "as charged");
        }
    }

    /// @dev Each member of a word alone and then with the last one: from none to 63 places are left out before it, or
    /// between the two.
    function test_charge_findsEachMember() public {
        vm.startPrank(address(ledger));
        for (uint256 i = 0; i < 255; ++i) {
            odometer.charge(3, 1 << i, 2745, 1, CAP);
            odometer.charge(3, 1 << i | 1 << 255, 2745, 1, type(uint64).max);
        }
        vm.stopPrank();
        for (uint256 i = 0; i < 255; ++i) {
            vm.assertEq(_counter(768 + i), 2 * COST, "counter");
        }
        vm.assertEq(_counter(1023), 255 * COST, "the last one's");
        vm.assertEq(_counter(767) + _counter(1024), 0, "members of other words");
    }

    /// @dev Every member of a word by itself, against a plain list. Two caps of three are what a member reaches, or one
    /// less.
    function testFuzz_charge_isPlainAddition(uint256[4] memory members, uint32[4] memory noises, uint64[4] memory seeds)
        public
    {
        uint256[256] memory plain;
        for (uint256 step = 0; step < 4; ++step) {
            uint256 noise = bound(noises[step], 1 << 10, 1 << 20);
            uint256 kind = seeds[step] % 3;
            uint256 cap = kind == 2 ? seeds[step] : plain[seeds[step] % 256] + _cost(noise) - kind;
            _chargeBoth(plain, members[step], noise, cap);
        }
        _assertCounters(plain, 0, 256);
    }

    /// @dev Any four counters, of which those that are charged decide alone: each as drawn, or one below what the cap
    /// leaves, or just that, or one above it.
    function testFuzz_charge_judgesEachCounterByItself(
        uint64[4] memory counters,
        uint32 noise,
        uint256 seed,
        uint64 cap
    ) public {
        noise = uint32(bound(noise >> (seed % 32), 1, type(uint32).max));
        uint256 cost = _cost(noise);
        uint256 place = (seed >> 8) % 64;
        uint256[256] memory plain;
        uint256 word = 0;
        for (uint256 lane = 0; lane < 4; ++lane) {
            uint256 kind = (seed >> (16 + 2 * lane)) % 4;
            uint256 before = counters[lane];
            if (kind > 0 && cap > cost && cap < type(uint64).max) before = cap - cost + kind - 2;
            plain[4 * place + lane] = before;
            word |= before << (64 * lane);
        }
        vm.store(address(odometer), bytes32(place), bytes32(word));
        _chargeBoth(plain, (1 + (seed >> 24) % 15) << (4 * place), noise, cap);
        _assertCounters(plain, 4 * place, 4 * place + 4);
    }

    function _cost(uint256 noise) private pure returns (uint256) {
        return (5 * uint256(1 << 51) + noise * noise - 1) / (noise * noise);
    }

    /// @dev Charge the contract and, if nobody passes the cap, the list.
    function _chargeBoth(uint256[256] memory plain, uint256 members, uint256 noise, uint256 cap) private {
        uint256 cost = _cost(noise);
        bytes memory refusal;
        for (uint256 i = 0; i < 256 && refusal.length == 0; ++i) {
            if ((members >> i) & 1 == 0 || plain[i] + cost <= cap) continue;
            refusal = abi.encodeWithSelector(IRoundLedger.RoundLedgerBudgetSpent.selector, i, plain[i], cost, cap);
        }
        vm.prank(address(ledger));
        (bool success, bytes memory answer) =
            address(odometer).call(abi.encodeCall(IOdometer.charge, (0, members, noise, 5, cap)));
        vm.assertEq(success, refusal.length == 0, "refused as a whole, or charged as a whole");
        vm.assertEq(answer, refusal, "the first member beyond the cap");
        for (uint256 i = 0; i < 256 && success; ++i) {
            if ((members >> i) & 1 == 1) plain[i] += cost;
        }
    }

    function _assertCounters(uint256[256] memory plain, uint256 first, uint256 end) private view {
        for (uint256 i = first; i < end; ++i) {
            vm.assertEq(_counter(i), plain[i], "counter");
        }
    }

    function _counter(uint256 member) private view returns (uint256) {
        uint256 word = uint256(vm.load(address(odometer), bytes32(member / 4)));
        return uint64(word >> (64 * (member % 4)));
    }
}

/// @notice Rounds under policies with and without noise, with commitments of four accounts and caps that a vote moves.
contract OdometerHandler is RoundTest {
    address[4] private _contributors;
    RoundId private _round;
    /// @notice Costs of the entries that were recorded, by account, and the largest cap under which one was.
    mapping(address account => uint256) public sum;
    mapping(address account => uint256) public largestCap;
    /// @notice Commitments that were refused for the budget.
    uint256 public refused;

    constructor() {
        setUp();
        _contributors = [alice.addr, bob.addr, carol.addr, coordinator.addr];
        _round = open();
    }

    /// @dev For the constructor alone: forge calls every function of a handler.
    function setUp() public override {
        if (address(ledger) == address(0)) super.setUp();
    }

    function contributors() external view returns (address[4] memory) {
        return _contributors;
    }

    function odometer() external view returns (IOdometer) {
        return ledger.odometer();
    }

    function vote(uint32 noise, uint32 steps, uint64 more) external {
        IPolicies.Policy memory added = policy();
        if (noise % 4 != 0) {
            added.noise1024 = uint32(bound(noise, 512, 4096));
            added.steps = uint32(bound(steps, 1, 8));
            uint256 cost = Budget.cost(added.noise1024, added.steps);
            added.privacyCap = uint64(cost + bound(more, 0, 4 * cost));
        }
        vm.prank(address(timelock));
        policies.addPolicy(added);
    }

    function next() external {
        vm.warp(ledger.rounds(_round).anchorDeadline);
        ledger.cancel(_round);
        _round = open();
    }

    function commit(uint256 who) external {
        address account = _contributors[who % 4];
        if (ledger.hasCommitted(_round, account)) return;
        IPolicies.Policy memory pinned = policies.policies(ledger.rounds(_round).policy);
        uint256 cost = pinned.noise1024 == 0 ? 0 : Budget.cost(pinned.noise1024, pinned.steps);
        IRoundLedger.Commitment memory commitment = commitmentOf(account, _round);
        vm.prank(account);
        try ledger.commitUpdate(commitment) {
            vm.assertTrue(cost == 0 || sum[account] + cost <= pinned.privacyCap, "within the cap");
            sum[account] += cost;
            if (cost > 0 && pinned.privacyCap > largestCap[account]) largestCap[account] = pinned.privacyCap;
        } catch {
            vm.assertGt(sum[account] + cost, pinned.privacyCap, "nothing but the cap refuses");
            ++refused;
        }
    }
}

contract OdometerInvariants is RoundTest {
    OdometerHandler private _handler;

    function setUp() public override {
        _handler = new OdometerHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @dev The handler passes over what is impossible; this shows that what is possible does happen.
    function test_handler_spendsABudgetAndIsRefused() external {
        _handler.vote(1025, 1, 0);
        for (uint256 i = 0; i < 2; ++i) {
            _handler.next();
            _handler.commit(0);
        }
        vm.assertEq(_handler.refused(), 1, "a budget of one round");
        vm.assertGt(_handler.sum(_handler.contributors()[0]), 0, "spent");
    }

    function invariant_spentIsTheSumOverRecordedEntriesBelowACap() external view {
        address[4] memory accounts = _handler.contributors();
        for (uint256 i = 0; i < 4; ++i) {
            uint256 spent = _handler.odometer().spent(accounts[i]);
            vm.assertEq(spent, _handler.sum(accounts[i]), "sum over the entries");
            vm.assertLe(spent, _handler.largestCap(accounts[i]), "the largest cap");
        }
    }
}
