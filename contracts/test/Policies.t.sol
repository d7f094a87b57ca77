// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Policies } from "../src/Policies.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { Budget } from "../src/libraries/Budget.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice What a policy may say, who adds one, and which rounds pin it.
contract PoliciesTest is RoundTest {
    function _expectInvalid(string memory field, uint256 value) private {
        vm.expectRevert(abi.encodeWithSelector(IPolicies.PoliciesInvalidPolicy.selector, field, value));
    }

    function _add(IPolicies.Policy memory added) private {
        vm.prank(address(timelock));
        policies.addPolicy(added);
    }

    // Construction.

    function test_constructor_keepsWhatItWasGiven() public view {
        assertEq(policies.currentPolicy(), policyId(1), "current policy");
        vm.assertEq(abi.encode(policies.policies(policyId(1))), abi.encode(policy()), "first policy");
        vm.assertEq(policies.governance(), address(timelock), "governance");
        vm.assertEq(abi.encode(policies.bounds()), abi.encode(bounds()), "bounds");
        vm.assertEq(policies.verifier(), verifier.addr, "verifier");
        vm.assertEq(uint256(policies.maxWindows()), UNBONDING_PERIOD, "longest windows");
    }

    function test_constructor_announcesTheFirstPolicy() public {
        vm.expectEmit();
        emit IPolicies.PolicyAdded(policyId(1), policy());
        new Policies(address(timelock), vault, policy(), bounds());
    }

    function test_constructor_failsWithoutAGovernance() public {
        vm.expectRevert(abi.encodeWithSelector(IPolicies.PoliciesZeroAddress.selector));
        new Policies(address(0), vault, policy(), bounds());
    }

    function test_constructor_failsBeyondItsOwnBounds() public {
        IPolicies.Bounds memory narrow = bounds();
        narrow.maxReward = REWARD - 1;
        _expectInvalid("reward", REWARD);
        new Policies(address(timelock), vault, policy(), narrow);
    }

    // What the ledger reads.

    /// @dev Each field is another value, so none can stand for another.
    function test_terms_areTheFieldsOfThePolicy() public {
        IPolicies.Policy memory added = policy();
        (added.minSumSquares, added.minContributors, added.maxContributors) = (7, 3, 130);
        (added.noise1024, added.steps, added.privacyCap) = (512, 9, type(uint64).max);
        (added.interval, added.rule) = (11, "clamped_mean");
        _add(added);
        IPolicies.Terms memory expected;
        expected.maxSumSquares = added.maxSumSquares;
        expected.minSumSquares = added.minSumSquares;
        expected.minContributors = added.minContributors;
        expected.maxContributors = added.maxContributors;
        expected.commitWindow = added.commitWindow;
        expected.anchorWindow = added.anchorWindow;
        expected.challengeWindow = added.challengeWindow;
        expected.privacyCap = added.privacyCap;
        expected.noise1024 = added.noise1024;
        expected.steps = added.steps;
        expected.interval = added.interval;
        expected.hasPays = true;
        expected.minStake = added.minStake;
        expected.bond = added.bond;
        vm.assertEq(abi.encode(policies.terms(policyId(2))), abi.encode(expected), "terms");
        (added.rule, added.maxContributors) = ("mean", 32);
        _add(added);
        added.rule = "multi_krum";
        _add(added);
        vm.assertFalse(policies.terms(policyId(3)).hasPays, "no pays under mean");
        vm.assertFalse(policies.terms(policyId(4)).hasPays, "nor under multi_krum");
    }

    /// @dev The ledger keeps the terms of a policy from its first round on. Those of another are never mixed in.
    function test_terms_areThoseOfTheRoundsPolicy() public {
        RoundId first = open();
        IPolicies.Policy memory added = policy();
        added.commitWindow = 2 * COMMIT_WINDOW;
        added.bond = 2 * BOND;
        added.minStake = 2 * MIN_STAKE;
        vm.assertEq(policies.minStake(), MIN_STAKE, "the least stake");
        _add(added);
        vm.assertEq(policies.minStake(), 2 * MIN_STAKE, "the least stake of the next round");
        vm.assertTrue(ledger.hasPlace(first, carol.addr), "the minimum of the first");
        skipCommitWindow(first);
        ledger.cancel(first);
        vm.assertEq(vault.bondOf(coordinator.addr), 0, "the bond of the first");
        for (uint256 i = 0; i < 2; ++i) {
            RoundId round = open();
            vm.assertEq(ledger.rounds(round).commitDeadline, block.timestamp + 2 * COMMIT_WINDOW, "window");
            vm.assertEq(vault.bondOf(coordinator.addr), 2 * BOND, "bond");
            vm.assertFalse(ledger.hasPlace(round, carol.addr), "minimum");
            vm.prank(coordinator.addr);
            ledger.cancelEmpty(round);
        }
    }

    // Adding.

    function test_addPolicy_isPinnedByLaterRoundsOnly() public {
        RoundId before = open();
        IPolicies.Policy memory added = policy();
        added.rule = "guided_mean";
        added.parameters = new uint32[](0);
        vm.expectEmit(address(policies));
        emit IPolicies.PolicyAdded(policyId(2), added);
        _add(added);
        vm.assertEq(policies.policies(policyId(2)).rule, bytes32("guided_mean"), "rule of the new policy");
        vm.assertEq(policies.policies(policyId(1)).rule, bytes32("mean"), "rule of the old policy");
        vm.assertEq(uint256(policies.policies(policyId(1)).parameters[0]), 1, "parameter of the old policy");
        assertEq(policies.currentPolicy(), policyId(2), "current policy");
        assertEq(ledger.rounds(before).policy, policyId(1), "policy of the open round");
        skipCommitWindow(before);
        ledger.cancel(before);
        assertEq(ledger.rounds(open()).policy, policyId(2), "policy of the next round");
    }

    function test_addPolicy_failsForOthers() public {
        IPolicies.Policy memory added = policy();
        vm.expectRevert(
            abi.encodeWithSelector(IPolicies.PoliciesNotGovernance.selector, coordinator.addr, address(timelock))
        );
        vm.prank(coordinator.addr);
        policies.addPolicy(added);
    }

    /// @notice A vote can't make rounds that nobody has the time to check, mint without limit, or appoint a judge.
    function test_addPolicy_failsBeyondTheBounds() public {
        IPolicies.Policy memory bad = policy();
        (bad.reward, bad.bond) = (MAX_REWARD + 1, 4 * (MAX_REWARD + 1));
        _expectInvalid("reward", MAX_REWARD + 1);
        _add(bad);
        bad = policy();
        (bad.reward, bad.bond) = (0, MIN_BOND - 1);
        _expectInvalid("bond", MIN_BOND - 1);
        _add(bad);
        bad = policy();
        bad.minStake = MAX_MIN_STAKE + 1;
        _expectInvalid("minStake", MAX_MIN_STAKE + 1);
        _add(bad);
        bad = policy();
        bad.challengeWindow = MIN_CHALLENGE_WINDOW - 1;
        _expectInvalid("challengeWindow", MIN_CHALLENGE_WINDOW - 1);
        _add(bad);
        bad = policy();
        bad.verifier = stranger.addr;
        _expectInvalid("verifier", uint160(stranger.addr));
        _add(bad);
        bad.verifier = address(0);
        _expectInvalid("verifier", 0);
        _add(bad);
    }

    function test_addPolicy_failsWithACommitWindowBelowTheBound() public {
        IPolicies.Bounds memory narrow = bounds();
        narrow.minCommitWindow = COMMIT_WINDOW;
        Policies strict = new Policies(address(timelock), vault, policy(), narrow);
        IPolicies.Policy memory bad = policy();
        bad.commitWindow = COMMIT_WINDOW - 1;
        _expectInvalid("commitWindow", COMMIT_WINDOW - 1);
        vm.prank(address(timelock));
        strict.addPolicy(bad);
    }

    function test_N1_addPolicy_failsWithAnIntervalBelowTheBound() public {
        IPolicies.Bounds memory narrow = bounds();
        narrow.minInterval = 1 hours;
        IPolicies.Policy memory added = policy();
        added.interval = 1 hours - 1;
        _expectInvalid("interval", added.interval);
        new Policies(address(timelock), vault, added, narrow);
        added.interval = 1 hours;
        Policies strict = new Policies(address(timelock), vault, added, narrow);
        vm.assertEq(abi.encode(strict.bounds()), abi.encode(narrow), "bounds");
    }

    function test_addPolicy_failsWithAnIntervalBeyondTheUnbondingPeriod() public {
        IPolicies.Policy memory bad = policy();
        bad.interval = uint32(UNBONDING_PERIOD) + 1;
        _expectInvalid("interval", bad.interval);
        _add(bad);
        bad.interval -= 1;
        _add(bad);
        assertEq(policies.currentPolicy(), policyId(2), "an interval as long as the unbonding period");
    }

    /// @notice A name that no reader could decode would stop every audit, watcher and mirror for ever.
    function test_addPolicy_failsWithARuleThatIsNoName() public {
        IPolicies.Policy memory bad = policy();
        bytes32[6] memory names = [bytes32("m\xffan"), "two words", "tab\t", "a\x00b", bytes32(uint256(1)), "\x7f"];
        for (uint256 i = 0; i < names.length; ++i) {
            bad.rule = names[i];
            _expectInvalid("rule", uint256(names[i]));
            _add(bad);
        }
        bad.rule = "!thirty_two_characters_are_fine~";
        _add(bad);
    }

    function test_addPolicy_failsWithoutARule() public {
        IPolicies.Policy memory bad = policy();
        bad.rule = bytes32(0);
        _expectInvalid("rule", 0);
        _add(bad);
    }

    function test_addPolicy_failsWithTooManyParameters() public {
        IPolicies.Policy memory bad = policy();
        bad.parameters = new uint32[](33);
        _expectInvalid("parameters", 33);
        _add(bad);
    }

    function test_addPolicy_failsWithoutANormCap() public {
        IPolicies.Policy memory bad = policy();
        bad.maxSumSquares = 0;
        _expectInvalid("maxSumSquares", 0);
        _add(bad);
    }

    function test_addPolicy_failsWithImpossibleContributors() public {
        IPolicies.Policy memory bad = policy();
        bad.minContributors = 0;
        _expectInvalid("minContributors", 0);
        _add(bad);
        bad.minContributors = 129;
        _expectInvalid("minContributors", 129);
        _add(bad);
        bad.maxContributors = 257;
        _expectInvalid("maxContributors", 257);
        _add(bad);
    }

    function test_addPolicy_takesWidthsOfEightFourAndTwo() public {
        IPolicies.Policy memory added = policy();
        for (uint256 width = 0; width < 256; ++width) {
            added.width = uint8(width);
            if (width != 8 && width != 4 && width != 2) _expectInvalid("width", width);
            _add(added);
        }
        assertEq(policies.currentPolicy(), policyId(4), "three were added");
    }

    /// @dev The noise of a private federation needs the whole range.
    function test_addPolicy_failsWithNoiseAndASmallerWidth() public {
        IPolicies.Policy memory bad = policy();
        (bad.noise1024, bad.steps, bad.privacyCap) = (2745, 1, 298_844_372);
        bad.width = 4;
        _expectInvalid("width", 4);
        _add(bad);
        bad.width = 8;
        _add(bad);
        assertEq(policies.currentPolicy(), policyId(2), "width 8");
    }

    function test_addPolicy_failsWithAMeanThatNoByteHolds() public {
        IPolicies.Policy memory bad = policy();
        for (uint8 scale = 0; scale < 4; scale += 2) {
            bad.meanScale = scale;
            _expectInvalid("meanScale", scale);
            _add(bad);
        }
        bad.meanScale = 255;
        _expectInvalid("meanScale", 255);
        _add(bad);
        bad.width = 4;
        bad.meanScale = 19; // 133
        _expectInvalid("meanScale", 19);
        _add(bad);
        bad.meanScale = 18; // 126
        _add(bad);
        bad.width = 2;
        bad.meanScale = 128;
        _expectInvalid("meanScale", 128);
        _add(bad);
        bad.meanScale = 127;
        _add(bad);
        assertEq(policies.currentPolicy(), policyId(3), "two were added");
    }

    function test_addPolicy_failsWithAFloorAboveTheNormCap() public {
        IPolicies.Policy memory bad = policy();
        bad.minSumSquares = MAX_SUM_SQUARES + 1;
        _expectInvalid("minSumSquares", MAX_SUM_SQUARES + 1);
        _add(bad);
        bad.minSumSquares = MAX_SUM_SQUARES;
        _add(bad);
        assertEq(policies.currentPolicy(), policyId(2), "one norm alone");
    }

    /// @dev Noise, steps and cap are all there or none is.
    function test_addPolicy_failsWithAPartOfAPrivacyBudget() public {
        IPolicies.Policy memory bad = policy();
        bad.steps = 1;
        _expectInvalid("steps", 1);
        _add(bad);
        (bad.steps, bad.privacyCap) = (0, 7);
        _expectInvalid("privacyCap", 7);
        _add(bad);
        bad.noise1024 = 2745;
        _expectInvalid("steps", 0);
        _add(bad);
        (bad.steps, bad.privacyCap) = (1, 0);
        _expectInvalid("privacyCap", 0);
        _add(bad);
    }

    function test_addPolicy_failsWithMoreStepsThanFit64Bits() public {
        IPolicies.Policy memory bad = policy();
        (bad.noise1024, bad.steps, bad.privacyCap) = (1, Budget.MAX_STEPS + 1, type(uint64).max);
        _expectInvalid("steps", Budget.MAX_STEPS + 1);
        _add(bad);
        bad.steps = Budget.MAX_STEPS;
        _add(bad);
        assertEq(policies.currentPolicy(), policyId(2), "the largest cost");
    }

    /// @dev The example of docs/protocol.md: 2^51 / 2745^2, rounded up.
    function test_addPolicy_failsWithACapBelowOneRound() public {
        IPolicies.Policy memory bad = policy();
        (bad.noise1024, bad.steps, bad.privacyCap) = (2745, 1, 298_844_371);
        _expectInvalid("privacyCap", 298_844_371);
        _add(bad);
        bad.privacyCap = 298_844_372;
        _add(bad);
        assertEq(policies.currentPolicy(), policyId(2), "a budget of one round");
    }

    function test_addPolicy_failsWithImpossibleRates() public {
        IPolicies.Policy memory bad = policy();
        bad.rate = 0;
        _expectInvalid("rate", 0);
        _add(bad);
        bad.rate = 4097;
        _expectInvalid("rate", 4097);
        _add(bad);
        bad.rate = 4096;
        bad.momentum = 1025;
        _expectInvalid("momentum", 1025);
        _add(bad);
    }

    function test_addPolicy_failsWithoutAMinimumStake() public {
        IPolicies.Policy memory bad = policy();
        bad.minStake = 0;
        _expectInvalid("minStake", 0);
        _add(bad);
    }

    /// @dev Audit M1: the price of a lie is what burns of the bond, three rewards at least.
    function test_addPolicy_failsWithABondBelowFourRewards() public {
        IPolicies.Policy memory bad = policy();
        bad.bond = 4 * REWARD - 1;
        _expectInvalid("bond", 4 * REWARD - 1);
        _add(bad);
        bad.bond = 4 * REWARD;
        _add(bad);
        assertEq(policies.currentPolicy(), policyId(2), "a bond of four rewards");
    }

    /// @dev Audit M7: the weights of a larger round could be wrong, and nobody could prove it.
    function test_addPolicy_failsWithMoreKrumContributorsThanCanBeProven() public {
        IPolicies.Policy memory bad = policy();
        (bad.rule, bad.maxContributors) = ("multi_krum", 33);
        _expectInvalid("maxContributors", 33);
        _add(bad);
        bad.maxContributors = 32;
        _add(bad);
        assertEq(policies.currentPolicy(), policyId(2), "as many as can be proven");
    }

    function test_addPolicy_failsWithoutAWindow() public {
        IPolicies.Policy memory bad = policy();
        bad.commitWindow = 0;
        _expectInvalid("commitWindow", 0);
        _add(bad);
        bad = policy();
        bad.anchorWindow = 0;
        _expectInvalid("anchorWindow", 0);
        _add(bad);
        bad = policy();
        bad.challengeWindow = 0;
        _expectInvalid("challengeWindow", 0);
        _add(bad);
    }

    function test_addPolicy_failsWhenABondCouldLeaveBeforeTheEnd() public {
        IPolicies.Policy memory bad = policy();
        bad.challengeWindow = uint32(UNBONDING_PERIOD) - COMMIT_WINDOW - ANCHOR_WINDOW + 1;
        _expectInvalid("windows", uint256(UNBONDING_PERIOD) + 1);
        _add(bad);
        bad.challengeWindow -= 1;
        _add(bad);
        assertEq(policies.currentPolicy(), policyId(2), "windows as long as the unbonding period");
    }

    function testFuzz_addPolicy_acceptsWhatIsWithinBounds(uint256 seed) public {
        IPolicies.Policy memory added = policy();
        added.maxContributors = uint16(bound(seed, 1, policies.MAX_CONTRIBUTORS()));
        added.minContributors = uint16(bound(seed >> 16, 1, added.maxContributors));
        added.rate = uint16(bound(seed >> 32, 1, policies.MAX_RATE()));
        added.momentum = uint16(bound(seed >> 48, 0, policies.MAX_MOMENTUM()));
        added.commitWindow = uint32(bound(seed >> 64, 1, 1 days));
        added.anchorWindow = uint32(bound(seed >> 96, 1, 1 days));
        added.challengeWindow = uint32(bound(seed >> 128, MIN_CHALLENGE_WINDOW, 5 days));
        added.parameters = new uint32[](bound(seed >> 160, 0, policies.MAX_PARAMETERS()));
        added.interval = uint32(bound(seed >> 152, 0, UNBONDING_PERIOD));
        added.minSumSquares = uint64(bound(seed >> 168, 0, MAX_SUM_SQUARES));
        added.noise1024 = uint32(seed >> 176) & (seed & 1 == 0 ? 0 : type(uint32).max);
        added.width = added.noise1024 > 0 ? 8 : [8, 4, 2][seed % 3];
        if (added.noise1024 > 0) {
            added.steps = uint32(bound(seed >> 208, 1, Budget.MAX_STEPS));
            added.privacyCap = uint64(bound(seed, Budget.cost(added.noise1024, added.steps), type(uint64).max));
        }
        added.retainRounds = uint32(seed >> 224);
        added.bundleHash = keccak256(abi.encode(seed));
        _add(added);
        vm.assertEq(
            keccak256(abi.encode(policies.policies(policyId(2)))), keccak256(abi.encode(added)), "stored as given"
        );
    }

    function test_policies_failsForAnUnknownPolicy() public {
        vm.expectRevert(abi.encodeWithSelector(IPolicies.PoliciesUnknownPolicy.selector, policyId(0)));
        policies.policies(policyId(0));
        vm.expectRevert(abi.encodeWithSelector(IPolicies.PoliciesUnknownPolicy.selector, policyId(2)));
        policies.policies(policyId(2));
    }

    function test_terms_failForAnUnknownPolicy() public {
        vm.expectRevert(abi.encodeWithSelector(IPolicies.PoliciesUnknownPolicy.selector, policyId(2)));
        policies.terms(policyId(2));
    }
}
