// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundLedger } from "../src/RoundLedger.sol";
import { IModelRegistry } from "../src/interfaces/IModelRegistry.sol";
import { IMootToken } from "../src/interfaces/IMootToken.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { Budget } from "../src/libraries/Budget.sol";
import { Policies } from "../src/libraries/Policies.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice Construction, policies, the coordinator, and opening and cancelling rounds.
contract RoundLedgerTest is RoundTest {
    function _expectInvalid(string memory field, uint256 value) private {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidPolicy.selector, field, value));
    }

    function _add(IRoundLedger.Policy memory added) private {
        vm.prank(address(timelock));
        ledger.addPolicy(added);
    }

    function _construct(IMootToken token_, address coordinator_, bytes32 manifestHash, bytes32 genesisHash) private {
        new RoundLedger(
            address(timelock),
            vault,
            token_,
            registry,
            coordinator_,
            manifestHash,
            genesisHash,
            policy(),
            bounds(),
            admission()
        );
    }

    // Construction.

    function test_constructor_startsFromTheGenesis() public view {
        IRoundLedger.Round memory genesis = ledger.rounds(id(0));
        assertPhase(id(0), IRoundLedger.Phase.Final, "the genesis is final");
        vm.assertEq(genesis.stateRoot, GENESIS_STATE, "its state");
        vm.assertEq(uint256(genesis.openedAt), START, "its time");
        assertHead(id(0), "the head is the genesis");
        assertEq(ledger.nextRound(), id(1), "next round");
        assertEq(ledger.currentPolicy(), policyId(1), "current policy");
        vm.assertEq(ledger.coordinator(), coordinator.addr, "coordinator");
        vm.assertEq(ledger.manifestHash(), MANIFEST_HASH, "manifest");
        vm.assertEq(ledger.genesisHash(), GENESIS_HASH, "genesis file");
        vm.assertEq(ledger.governance(), address(timelock), "governance");
        vm.assertEq(ledger.verifier(), verifier.addr, "verifier");
        vm.assertEq(abi.encode(ledger.limits().bounds()), abi.encode(bounds()), "bounds");
        vm.assertEq(ledger.limits().verifier(), verifier.addr, "verifier of the limits");
        vm.assertEq(uint256(ledger.limits().maxWindows()), UNBONDING_PERIOD, "longest windows");
        vm.assertEq(uint256(ledger.pendingRounds()), 0, "pending rounds");
    }

    function test_constructor_announcesPolicyAndCoordinator() public {
        vm.expectEmit();
        emit IRoundLedger.PolicyAdded(policyId(1), policy());
        vm.expectEmit();
        emit IRoundLedger.CoordinatorAppointed(address(0), bob.addr);
        _construct(token, bob.addr, MANIFEST_HASH, GENESIS_HASH);
    }

    function test_constructor_failsWithoutWhatItNeeds() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroAddress.selector));
        _construct(IMootToken(address(0)), coordinator.addr, MANIFEST_HASH, GENESIS_HASH);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroAddress.selector));
        _construct(token, address(0), MANIFEST_HASH, GENESIS_HASH);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroRoot.selector));
        _construct(token, coordinator.addr, bytes32(0), GENESIS_HASH);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroRoot.selector));
        _construct(token, coordinator.addr, MANIFEST_HASH, bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroAddress.selector));
        new RoundLedger(
            address(0),
            vault,
            token,
            registry,
            coordinator.addr,
            MANIFEST_HASH,
            GENESIS_HASH,
            policy(),
            bounds(),
            admission()
        );
    }

    function test_constructor_failsBeyondItsOwnBounds() public {
        IRoundLedger.Bounds memory narrow = bounds();
        narrow.maxReward = REWARD - 1;
        _expectInvalid("reward", REWARD);
        new RoundLedger(
            address(timelock),
            vault,
            token,
            registry,
            coordinator.addr,
            MANIFEST_HASH,
            GENESIS_HASH,
            policy(),
            narrow,
            admission()
        );
    }

    function test_constructor_failsOnARegistryWithoutAGenesis() public {
        EmptyRegistry empty = new EmptyRegistry();
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(0)));
        new RoundLedger(
            address(timelock),
            vault,
            token,
            empty,
            coordinator.addr,
            MANIFEST_HASH,
            GENESIS_HASH,
            policy(),
            bounds(),
            admission()
        );
    }

    function test_eip712Domain_isTheOneOfTheProtocol() public view {
        (, string memory name, string memory version, uint256 chain, address contract_,,) = ledger.eip712Domain();
        vm.assertEq(name, "Folkmoot", "name");
        vm.assertEq(version, "2", "version");
        vm.assertEq(chain, block.chainid, "chain");
        vm.assertEq(contract_, address(ledger), "contract");
    }

    // Policies.

    function test_addPolicy_isPinnedByLaterRoundsOnly() public {
        RoundId before = open();
        IRoundLedger.Policy memory added = policy();
        added.rule = "trimmed_mean";
        added.parameters = new uint32[](0);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.PolicyAdded(policyId(2), added);
        _add(added);
        vm.assertEq(ledger.policies(policyId(2)).rule, bytes32("trimmed_mean"), "rule of the new policy");
        vm.assertEq(ledger.policies(policyId(1)).rule, bytes32("mean"), "rule of the old policy");
        vm.assertEq(uint256(ledger.policies(policyId(1)).parameters[0]), 1, "parameter of the old policy");
        assertEq(ledger.currentPolicy(), policyId(2), "current policy");
        assertEq(ledger.rounds(before).policy, policyId(1), "policy of the open round");
        skipCommitWindow(before);
        ledger.cancel(before);
        assertEq(ledger.rounds(open()).policy, policyId(2), "policy of the next round");
    }

    function test_addPolicy_failsForOthers() public {
        IRoundLedger.Policy memory added = policy();
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotGovernance.selector, coordinator.addr, address(timelock))
        );
        vm.prank(coordinator.addr);
        ledger.addPolicy(added);
    }

    /// @notice A vote can't make rounds that nobody has the time to check, mint without limit, or appoint a judge.
    function test_addPolicy_failsBeyondTheBounds() public {
        IRoundLedger.Policy memory bad = policy();
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
        IRoundLedger.Bounds memory narrow = bounds();
        narrow.minCommitWindow = COMMIT_WINDOW;
        RoundLedger strict = new RoundLedger(
            address(timelock),
            vault,
            token,
            registry,
            coordinator.addr,
            MANIFEST_HASH,
            GENESIS_HASH,
            policy(),
            narrow,
            admission()
        );
        IRoundLedger.Policy memory bad = policy();
        bad.commitWindow = COMMIT_WINDOW - 1;
        _expectInvalid("commitWindow", COMMIT_WINDOW - 1);
        vm.prank(address(timelock));
        strict.addPolicy(bad);
    }

    function test_addPolicy_failsWithoutARule() public {
        IRoundLedger.Policy memory bad = policy();
        bad.rule = bytes32(0);
        _expectInvalid("rule", 0);
        _add(bad);
    }

    function test_addPolicy_failsWithTooManyParameters() public {
        IRoundLedger.Policy memory bad = policy();
        bad.parameters = new uint32[](33);
        _expectInvalid("parameters", 33);
        _add(bad);
    }

    function test_addPolicy_failsWithoutANormCap() public {
        IRoundLedger.Policy memory bad = policy();
        bad.maxSumSquares = 0;
        _expectInvalid("maxSumSquares", 0);
        _add(bad);
    }

    function test_addPolicy_failsWithImpossibleContributors() public {
        IRoundLedger.Policy memory bad = policy();
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

    function test_addPolicy_failsWithAnotherWidth() public {
        IRoundLedger.Policy memory bad = policy();
        bad.width = 4;
        _expectInvalid("width", 4);
        _add(bad);
    }

    function test_addPolicy_failsWithAMeanThatNoByteHolds() public {
        IRoundLedger.Policy memory bad = policy();
        for (uint8 scale = 0; scale < 4; scale += 2) {
            bad.meanScale = scale;
            _expectInvalid("meanScale", scale);
            _add(bad);
        }
        bad.meanScale = 255;
        _expectInvalid("meanScale", 255);
        _add(bad);
    }

    function test_addPolicy_failsWithAFloorAboveTheNormCap() public {
        IRoundLedger.Policy memory bad = policy();
        bad.minSumSquares = MAX_SUM_SQUARES + 1;
        _expectInvalid("minSumSquares", MAX_SUM_SQUARES + 1);
        _add(bad);
        bad.minSumSquares = MAX_SUM_SQUARES;
        _add(bad);
        assertEq(ledger.currentPolicy(), policyId(2), "one norm alone");
    }

    /// @dev Noise, steps and cap are all there or none is.
    function test_addPolicy_failsWithAPartOfAPrivacyBudget() public {
        IRoundLedger.Policy memory bad = policy();
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
        IRoundLedger.Policy memory bad = policy();
        (bad.noise1024, bad.steps, bad.privacyCap) = (1, Budget.MAX_STEPS + 1, type(uint64).max);
        _expectInvalid("steps", Budget.MAX_STEPS + 1);
        _add(bad);
        bad.steps = Budget.MAX_STEPS;
        _add(bad);
        assertEq(ledger.currentPolicy(), policyId(2), "the largest cost");
    }

    /// @dev The example of docs/protocol.md: 2^51 / 2745^2, rounded up.
    function test_addPolicy_failsWithACapBelowOneRound() public {
        IRoundLedger.Policy memory bad = policy();
        (bad.noise1024, bad.steps, bad.privacyCap) = (2745, 1, 298_844_371);
        _expectInvalid("privacyCap", 298_844_371);
        _add(bad);
        bad.privacyCap = 298_844_372;
        _add(bad);
        assertEq(ledger.currentPolicy(), policyId(2), "a budget of one round");
    }

    function test_addPolicy_failsWithImpossibleRates() public {
        IRoundLedger.Policy memory bad = policy();
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
        IRoundLedger.Policy memory bad = policy();
        bad.minStake = 0;
        _expectInvalid("minStake", 0);
        _add(bad);
    }

    /// @dev Audit M1: the price of a lie is what burns of the bond, three rewards at least.
    function test_addPolicy_failsWithABondBelowFourRewards() public {
        IRoundLedger.Policy memory bad = policy();
        bad.bond = 4 * REWARD - 1;
        _expectInvalid("bond", 4 * REWARD - 1);
        _add(bad);
        bad.bond = 4 * REWARD;
        _add(bad);
        assertEq(ledger.currentPolicy(), policyId(2), "a bond of four rewards");
    }

    /// @dev Audit M7: the weights of a larger round could be wrong, and nobody could prove it.
    function test_addPolicy_failsWithMoreKrumContributorsThanCanBeProven() public {
        IRoundLedger.Policy memory bad = policy();
        (bad.rule, bad.maxContributors) = ("multi_krum", 33);
        _expectInvalid("maxContributors", 33);
        _add(bad);
        bad.maxContributors = 32;
        _add(bad);
        assertEq(ledger.currentPolicy(), policyId(2), "as many as can be proven");
    }

    function test_addPolicy_failsWithoutAWindow() public {
        IRoundLedger.Policy memory bad = policy();
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
        IRoundLedger.Policy memory bad = policy();
        bad.challengeWindow = uint32(UNBONDING_PERIOD) - COMMIT_WINDOW - ANCHOR_WINDOW + 1;
        _expectInvalid("windows", uint256(UNBONDING_PERIOD) + 1);
        _add(bad);
        bad.challengeWindow -= 1;
        _add(bad);
        assertEq(ledger.currentPolicy(), policyId(2), "windows as long as the unbonding period");
    }

    function testFuzz_addPolicy_acceptsWhatIsWithinBounds(uint256 seed) public {
        IRoundLedger.Policy memory added = policy();
        added.maxContributors = uint16(bound(seed, 1, Policies.MAX_CONTRIBUTORS));
        added.minContributors = uint16(bound(seed >> 16, 1, added.maxContributors));
        added.rate = uint16(bound(seed >> 32, 1, Policies.MAX_RATE));
        added.momentum = uint16(bound(seed >> 48, 0, Policies.MAX_MOMENTUM));
        added.commitWindow = uint32(bound(seed >> 64, 1, 1 days));
        added.anchorWindow = uint32(bound(seed >> 96, 1, 1 days));
        added.challengeWindow = uint32(bound(seed >> 128, MIN_CHALLENGE_WINDOW, 5 days));
        added.parameters = new uint32[](bound(seed >> 160, 0, Policies.MAX_PARAMETERS));
        added.minSumSquares = uint64(bound(seed >> 168, 0, MAX_SUM_SQUARES));
        added.noise1024 = uint32(seed >> 176);
        if (added.noise1024 > 0) {
            added.steps = uint32(bound(seed >> 208, 1, Budget.MAX_STEPS));
            added.privacyCap = uint64(bound(seed, Budget.cost(added.noise1024, added.steps), type(uint64).max));
        }
        added.retainRounds = uint32(seed >> 224);
        added.bundleHash = keccak256(abi.encode(seed));
        _add(added);
        vm.assertEq(
            keccak256(abi.encode(ledger.policies(policyId(2)))), keccak256(abi.encode(added)), "stored as given"
        );
    }

    function test_policies_failsForAnUnknownPolicy() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerUnknownPolicy.selector, policyId(0)));
        ledger.policies(policyId(0));
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerUnknownPolicy.selector, policyId(2)));
        ledger.policies(policyId(2));
    }

    // The coordinator.

    function test_appointCoordinator_countsForLaterRoundsOnly() public {
        RoundId round = open();
        commitThree(round);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.CoordinatorAppointed(coordinator.addr, alice.addr);
        vm.prank(address(timelock));
        ledger.appointCoordinator(alice.addr);
        vm.assertEq(ledger.coordinator(), alice.addr, "coordinator");
        skipCommitWindow(round);
        anchorNow(round);
        assertPhase(round, IRoundLedger.Phase.Anchored, "the old coordinator ended its round");

        RoundId next = ledger.nextRound();
        bytes32 root = headRoot();
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCoordinator.selector, coordinator.addr, alice.addr)
        );
        vm.prank(coordinator.addr);
        ledger.openRound(next, root, HEADER_HASH);
    }

    function test_appointCoordinator_failsForNobody() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroAddress.selector));
        vm.prank(address(timelock));
        ledger.appointCoordinator(address(0));
    }

    function test_appointCoordinator_failsForOthers() public {
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerNotGovernance.selector, deployer.addr, address(timelock))
        );
        vm.prank(deployer.addr);
        ledger.appointCoordinator(deployer.addr);
    }

    // Opening.

    function test_openRound_recordsTheRound() public {
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundOpened(
            id(1),
            policyId(1),
            coordinator.addr,
            id(0),
            GENESIS_STATE,
            HEADER_HASH,
            uint40(START) + COMMIT_WINDOW,
            uint40(START) + COMMIT_WINDOW + ANCHOR_WINDOW
        );
        IRoundLedger.Round memory round = ledger.rounds(open());
        assertEq(round.policy, policyId(1), "policy");
        vm.assertEq(round.coordinator, coordinator.addr, "coordinator");
        vm.assertEq(round.headerHash, HEADER_HASH, "header");
        vm.assertEq(round.entriesHash, bytes32(0), "entries");
        vm.assertEq(uint256(round.openedAt), START, "opening");
        vm.assertEq(uint256(round.commitDeadline), START + COMMIT_WINDOW, "commit deadline");
        vm.assertEq(uint256(round.anchorDeadline), START + COMMIT_WINDOW + ANCHOR_WINDOW, "anchor deadline");
        vm.assertEq(uint256(round.challengeDeadline), 0, "challenge deadline");
        assertPhase(id(1), IRoundLedger.Phase.Open, "phase");
        assertEq(ledger.nextRound(), id(2), "next round");
    }

    function test_openRound_failsWithAnotherNumber() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerUnexpectedRound.selector, id(2), id(1)));
        vm.prank(coordinator.addr);
        ledger.openRound(id(2), GENESIS_STATE, HEADER_HASH);
    }

    function test_openRound_failsOnAnotherBase() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerWrongBase.selector, HEADER_HASH, GENESIS_STATE));
        vm.prank(coordinator.addr);
        ledger.openRound(id(1), HEADER_HASH, HEADER_HASH);
    }

    function test_openRound_failsWithoutAHeader() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroRoot.selector));
        vm.prank(coordinator.addr);
        ledger.openRound(id(1), GENESIS_STATE, bytes32(0));
    }

    function test_openRound_failsWhileOneIsOpen() public {
        open();
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundStillOpen.selector, id(1)));
        vm.prank(coordinator.addr);
        ledger.openRound(id(2), GENESIS_STATE, HEADER_HASH);
    }

    function test_openRound_failsWithoutTheBond() public {
        vm.prank(coordinator.addr);
        vault.requestUnbond(4 * BOND + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IStakeVault.StakeVaultInsufficientStake.selector, coordinator.addr, BOND - 1, BOND)
        );
        vm.prank(coordinator.addr);
        ledger.openRound(id(1), GENESIS_STATE, HEADER_HASH);
    }

    function test_openRound_buildsOnAnAnchoredHeadAtOnce() public {
        RoundId first = anchored();
        RoundId second = open();
        assertEq(ledger.rounds(second).base, first, "base");
        vm.assertEq(uint256(ledger.pendingRounds()), 1, "pending rounds");
    }

    // Cancelling.

    function test_cancel_endsARoundWithTooFewUpdates() public {
        RoundId round = open();
        commitOwn(alice, round);
        skipCommitWindow(round);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundCancelled(round, IRoundLedger.CancelReason.TooFewUpdates);
        vm.prank(stranger.addr);
        ledger.cancel(round);
        assertPhase(round, IRoundLedger.Phase.Cancelled, "phase");
        assertHead(id(0), "the head stays");
        assertEq(open(), id(2), "the next round opens");
    }

    function test_cancel_endsARoundWithALateAnchor() public {
        RoundId round = open();
        commitThree(round);
        vm.warp(ledger.rounds(round).anchorDeadline);
        vm.expectEmit(address(ledger));
        emit IRoundLedger.RoundCancelled(round, IRoundLedger.CancelReason.AnchorLate);
        ledger.cancel(round);
        assertPhase(round, IRoundLedger.Phase.Cancelled, "phase");
    }

    function test_cancel_failsDuringTheCommitWindow() public {
        RoundId round = open();
        vm.warp(ledger.rounds(round).commitDeadline - 1);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCancellable.selector, round));
        ledger.cancel(round);
    }

    function test_cancel_failsWhileTheAnchorCanStillCome() public {
        RoundId round = open();
        commitThree(round);
        vm.warp(ledger.rounds(round).anchorDeadline - 1);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotCancellable.selector, round));
        ledger.cancel(round);
    }

    function test_cancel_failsForARoundThatIsNotOpen() public {
        RoundId round = anchored();
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector, round, IRoundLedger.Phase.Anchored, IRoundLedger.Phase.Open
            )
        );
        ledger.cancel(round);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector, id(9), IRoundLedger.Phase.None, IRoundLedger.Phase.Open
            )
        );
        ledger.cancel(id(9));
    }
}

/// @notice A registry that nothing was registered with.
contract EmptyRegistry is IModelRegistry {
    address public ledger;
    address public governance;

    function register(RoundId, RoundId, bytes32) external { }

    function activate(RoundId, bytes32) external { }

    function active() external pure returns (RoundId, bytes32) {
        revert ModelRegistryNoActiveVersion();
    }

    function versions(RoundId version) external pure returns (Version memory) {
        revert ModelRegistryUnknownVersion(version);
    }
}
