// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundLedger } from "../src/RoundLedger.sol";
import { IModelRegistry } from "../src/interfaces/IModelRegistry.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { IStakeVault } from "../src/interfaces/IStakeVault.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice Construction, the coordinator, and opening and cancelling rounds.
contract RoundLedgerTest is RoundTest {
    function _construct(address coordinator_, bytes32 manifestHash, bytes32 genesisHash) private {
        new RoundLedger(vault, registry, policies, coordinator_, manifestHash, genesisHash, admission());
    }

    // Construction.

    function test_constructor_startsFromTheGenesis() public view {
        IRoundLedger.Round memory genesis = ledger.rounds(id(0));
        assertPhase(id(0), IRoundLedger.Phase.Final, "the genesis is final");
        vm.assertEq(genesis.stateRoot, GENESIS_STATE, "its state");
        vm.assertEq(uint256(genesis.openedAt), START, "its time");
        assertHead(id(0), "the head is the genesis");
        assertEq(ledger.nextRound(), id(1), "next round");
        vm.assertEq(ledger.coordinator(), coordinator.addr, "coordinator");
        vm.assertEq(ledger.manifestHash(), MANIFEST_HASH, "manifest");
        vm.assertEq(ledger.genesisHash(), GENESIS_HASH, "genesis file");
        vm.assertEq(ledger.governance(), address(timelock), "governance");
        vm.assertEq(ledger.verifier(), verifier.addr, "verifier");
        vm.assertEq(address(ledger.policies()), address(policies), "policies");
        vm.assertEq(uint256(ledger.pendingRounds()), 0, "pending rounds");
    }

    function test_constructor_announcesTheCoordinator() public {
        vm.expectEmit();
        emit IRoundLedger.CoordinatorAppointed(address(0), bob.addr);
        _construct(bob.addr, MANIFEST_HASH, GENESIS_HASH);
    }

    function test_constructor_failsWithoutWhatItNeeds() public {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroAddress.selector));
        _construct(address(0), MANIFEST_HASH, GENESIS_HASH);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroRoot.selector));
        _construct(coordinator.addr, bytes32(0), GENESIS_HASH);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroRoot.selector));
        _construct(coordinator.addr, MANIFEST_HASH, bytes32(0));
    }

    function test_constructor_failsOnARegistryWithoutAGenesis() public {
        EmptyRegistry empty = new EmptyRegistry();
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(0)));
        new RoundLedger(
            vault, IModelRegistry(address(empty)), policies, coordinator.addr, MANIFEST_HASH, GENESIS_HASH, admission()
        );
    }

    function test_eip712Domain_isTheOneOfTheProtocol() public view {
        (, string memory name, string memory version, uint256 chain, address contract_,,) = ledger.eip712Domain();
        vm.assertEq(name, "Folkmoot", "name");
        vm.assertEq(version, "2", "version");
        vm.assertEq(chain, block.chainid, "chain");
        vm.assertEq(contract_, address(ledger), "contract");
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

    // The pace.

    function _setInterval(uint32 interval) private {
        IPolicies.Policy memory slow = policy();
        slow.interval = interval;
        vm.prank(address(timelock));
        policies.addPolicy(slow);
    }

    function _expectTooEarly(RoundId base, uint32 interval) private {
        RoundId next = ledger.nextRound();
        bytes32 root = headRoot();
        uint256 earliest = uint256(ledger.rounds(base).openedAt) + interval;
        vm.expectRevert(
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooEarly.selector, next, block.timestamp, earliest)
        );
        vm.prank(coordinator.addr);
        ledger.openRound(next, root, HEADER_HASH);
    }

    function test_N1_openRound_waitsForTheIntervalFromTheOpeningOfItsBase() public {
        _setInterval(1 hours);
        RoundId first = anchored();
        _expectTooEarly(first, 1 hours);
        vm.warp(ledger.rounds(first).openedAt + 1 hours - 1);
        _expectTooEarly(first, 1 hours);
        vm.warp(ledger.rounds(first).openedAt + 1 hours);
        assertEq(ledger.rounds(open()).base, first, "in the second in which it may");
    }

    function test_openRound_doesNotWaitAfterTheDeployment() public {
        _setInterval(uint32(UNBONDING_PERIOD));
        assertEq(open(), id(1), "the genesis was not opened");
    }

    function test_openRound_doesNotWaitForARoundThatWasCancelled() public {
        _setInterval(1 hours);
        RoundId first = anchored();
        vm.warp(ledger.rounds(first).openedAt + 1 hours);
        RoundId empty = open();
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(empty);
        assertEq(ledger.rounds(open()).base, first, "a second try at once");
    }

    function test_openRound_waitsThoughARoundWasCancelledSince() public {
        _setInterval(1 hours);
        RoundId empty = open();
        vm.prank(coordinator.addr);
        ledger.cancelEmpty(empty);
        RoundId second = anchored();
        _expectTooEarly(second, 1 hours);
    }

    function test_openRound_waitsForTheBaseAgainAfterAFraud() public {
        _setInterval(1 hours);
        RoundId first = anchored();
        vm.warp(ledger.rounds(first).openedAt + 1 hours);
        report(anchored());
        assertEq(ledger.rounds(open()).base, first, "the slashed round is never paid, and needs no pause");
    }

    function test_openRound_waitsAsThePolicyThatItPinsSays() public {
        RoundId first = anchored();
        _setInterval(2 hours);
        _expectTooEarly(first, 2 hours);
        _setInterval(0);
        assertEq(ledger.rounds(open()).base, first, "a vote can take the interval away");
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
contract EmptyRegistry {
    function versions(RoundId version) external pure returns (IModelRegistry.Version memory) {
        revert IModelRegistry.ModelRegistryUnknownVersion(version);
    }
}
