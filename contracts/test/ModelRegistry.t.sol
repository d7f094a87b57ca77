// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ModelRegistry } from "../src/ModelRegistry.sol";
import { IModelRegistry } from "../src/interfaces/IModelRegistry.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { Deployment } from "./utils/Deployment.sol";

contract ModelRegistryTest is Deployment {
    bytes32 private constant ROOT = keccak256("state 1");
    bytes32 private constant REPORT = keccak256("report");
    bytes32 private constant EVIDENCE = keccak256("evidence");

    function _register(uint256 version, uint256 parent) private {
        vm.prank(address(ledger));
        registry.register(id(version), id(parent), ROOT);
    }

    function _fresh(address governance, address ledger_, bytes32 root, address token_) private returns (ModelRegistry) {
        return new ModelRegistry(governance, ledger_, token_, root, WARRANTY_PERIOD, 7);
    }

    function test_constructor_registersTheGenesis() public {
        vm.expectEmit();
        emit IModelRegistry.MinWarrantySet(7);
        vm.expectEmit();
        emit IModelRegistry.VersionRegistered(id(0), id(0), GENESIS_STATE);
        ModelRegistry fresh = _fresh(address(timelock), address(ledger), GENESIS_STATE, address(token));
        vm.assertEq(fresh.versions(id(0)).stateRoot, GENESIS_STATE, "state root");
        vm.assertEq(uint256(fresh.versions(id(0)).registeredAt), START, "time");
    }

    function test_constructor_failsWithoutAGenesis() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryZeroRoot.selector));
        _fresh(address(timelock), address(ledger), bytes32(0), address(token));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryZeroAddress.selector));
        _fresh(address(0), address(ledger), GENESIS_STATE, address(token));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryZeroAddress.selector));
        _fresh(address(timelock), address(0), GENESIS_STATE, address(token));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryZeroAddress.selector));
        _fresh(address(timelock), address(ledger), GENESIS_STATE, address(0));
    }

    function test_active_failsBeforeTheFirstVote() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryNoActiveVersion.selector));
        registry.active();
    }

    function test_register_keepsTheLineage() public {
        vm.warp(START + 9);
        vm.expectEmit(address(registry));
        emit IModelRegistry.VersionRegistered(id(3), id(0), ROOT);
        _register(3, 0);
        IModelRegistry.Version memory version = registry.versions(id(3));
        assertEq(version.parent, id(0), "parent");
        vm.assertEq(version.stateRoot, ROOT, "state root");
        vm.assertEq(uint256(version.registeredAt), START + 9, "time");
    }

    function test_register_failsTwice() public {
        _register(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryAlreadyRegistered.selector, id(1)));
        _register(1, 0);
    }

    function test_register_failsForTheGenesis() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryAlreadyRegistered.selector, id(0)));
        _register(0, 0);
    }

    function test_register_failsWithoutTheParent() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(1)));
        _register(2, 1);
    }

    function test_register_failsForOthers() public {
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelRegistryNotLedger.selector, address(timelock), address(ledger))
        );
        vm.prank(address(timelock));
        registry.register(id(1), id(0), ROOT);
    }

    function test_activate_makesAVersionActive() public {
        _register(1, 0);
        vm.expectEmit(address(registry));
        emit IModelRegistry.VersionActivated(id(1), REPORT);
        vm.prank(address(timelock));
        registry.activate(id(1), REPORT);
        (, bytes32 reportHash) = registry.active();
        vm.assertEq(reportHash, REPORT, "report");
    }

    function test_activate_canGoBackToTheGenesis() public {
        _register(1, 0);
        vm.prank(address(timelock));
        registry.activate(id(1), REPORT);
        vm.prank(address(timelock));
        registry.activate(id(0), bytes32(0));
        (, bytes32 reportHash) = registry.active();
        vm.assertEq(reportHash, bytes32(0), "report");
        (bool ok, bytes memory data) = address(registry).staticcall(abi.encodeCall(registry.active, ()));
        vm.assertTrue(ok, "there is an active version");
        vm.assertEq(data, abi.encode(0, 0), "version 0 without a report");
    }

    function test_activate_failsForAnUnknownVersion() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(1)));
        vm.prank(address(timelock));
        registry.activate(id(1), REPORT);
    }

    function test_activate_failsForOthers() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IModelRegistry.ModelRegistryNotGovernance.selector, address(ledger), address(timelock)
            )
        );
        vm.prank(address(ledger));
        registry.activate(id(0), REPORT);
    }

    function _activate(uint256 version, bytes32 reportHash) private {
        vm.prank(address(timelock));
        registry.activate(id(version), reportHash);
    }

    function _recall(uint256 version) private {
        vm.prank(address(timelock));
        registry.recall(id(version), EVIDENCE);
    }

    function _requireActive(uint256 version, bytes32 reportHash) private view {
        (RoundId now_, bytes32 report) = registry.active();
        assertEq(now_, id(version), "active version");
        vm.assertEq(report, reportHash, "report");
    }

    function test_recall_bringsTheEarlierVersionBackWithItsReport() public {
        _register(1, 0);
        _activate(0, REPORT);
        _activate(1, bytes32(0));
        vm.expectEmit(address(registry));
        emit IModelRegistry.VersionRecalled(id(1), EVIDENCE, true, id(0));
        _recall(1);
        _requireActive(0, REPORT);
        vm.assertTrue(registry.standing(id(1)) == IModelRegistry.Standing.Recalled, "recalled");
        vm.assertTrue(registry.standing(id(0)) == IModelRegistry.Standing.Released, "released");
    }

    function test_recall_leavesNoVersionActiveIfThereIsNoOther() public {
        _register(1, 0);
        _activate(1, REPORT);
        vm.expectEmit(address(registry));
        emit IModelRegistry.VersionRecalled(id(1), EVIDENCE, false, id(0));
        _recall(1);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryNoActiveVersion.selector));
        registry.active();
        _activate(0, REPORT);
        _requireActive(0, REPORT);
    }

    function test_recall_passesOverRecalledVersions() public {
        _register(1, 0);
        _register(2, 1);
        _activate(0, REPORT);
        _activate(1, bytes32(0));
        _activate(2, bytes32(0));
        vm.expectEmit(address(registry));
        emit IModelRegistry.VersionRecalled(id(1), EVIDENCE, true, id(2));
        _recall(1);
        _requireActive(2, bytes32(0));
        _recall(2);
        _requireActive(0, REPORT);
    }

    function test_recall_bringsTheMostRecentBackThatWasActiveTwice() public {
        _register(1, 0);
        _register(2, 1);
        _activate(0, REPORT);
        _activate(1, bytes32(0));
        _activate(0, bytes32(uint256(7)));
        _activate(2, bytes32(0));
        _recall(2);
        _requireActive(0, bytes32(uint256(7)));
        _recall(0);
        _requireActive(1, bytes32(0));
    }

    function test_recall_failsForAVersionThatWasNeverActive() public {
        _register(1, 0);
        vm.assertTrue(registry.standing(id(1)) == IModelRegistry.Standing.Candidate, "candidate");
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryNeverActive.selector, id(1)));
        _recall(1);
    }

    function test_recall_failsTwice() public {
        _activate(0, REPORT);
        _recall(0);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryRecalled.selector, id(0)));
        _recall(0);
    }

    function test_recall_failsForAnUnknownVersion() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(1)));
        _recall(1);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(1)));
        registry.standing(id(1));
    }

    function test_recall_failsForOthers() public {
        _activate(0, REPORT);
        vm.expectRevert(
            abi.encodeWithSelector(
                IModelRegistry.ModelRegistryNotGovernance.selector, address(ledger), address(timelock)
            )
        );
        vm.prank(address(ledger));
        registry.recall(id(0), EVIDENCE);
    }

    function test_activate_failsForARecalledVersion() public {
        _activate(0, REPORT);
        _recall(0);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryRecalled.selector, id(0)));
        _activate(0, REPORT);
    }

    /// @dev Whatever votes do, in whatever order: the active version is the newest activation that is not recalled.
    function testFuzz_recall_agreesWithAHistory(uint8[] memory acts) public {
        uint256[] memory activated = new uint256[](acts.length);
        uint256 length;
        bool[5] memory wasActive;
        bool[5] memory recalled;
        for (uint256 i = 1; i < 5; ++i) {
            _register(i, i - 1);
        }
        for (uint256 i; i < acts.length; ++i) {
            uint256 version = acts[i] % 5;
            if (acts[i] < 192) {
                if (recalled[version]) continue;
                _activate(version, bytes32(i));
                activated[length++] = i;
                wasActive[version] = true;
            } else if (wasActive[version] && !recalled[version]) {
                _recall(version);
                recalled[version] = true;
            }
            uint256 newest = length;
            while (newest != 0 && recalled[acts[activated[newest - 1]] % 5]) --newest;
            if (newest != 0) {
                _requireActive(acts[activated[newest - 1]] % 5, bytes32(activated[newest - 1]));
            } else {
                vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryNoActiveVersion.selector));
                registry.active();
            }
        }
    }

    /// @dev The price does not grow with the number of versions.
    function test_recall_costsTheSameAfterManyActivations() public {
        _activate(0, REPORT);
        for (uint256 i = 1; i < 65; ++i) {
            _register(i, i - 1);
            _activate(i, REPORT);
        }
        vm.startPrank(address(timelock));
        registry.recall(id(63), EVIDENCE);
        uint256 before = gasleft();
        registry.recall(id(64), EVIDENCE);
        vm.assertLe(before - gasleft(), 60_000, "gas");
        vm.stopPrank();
        _requireActive(62, REPORT);
    }

    function test_versions_failsForAnUnknownVersion() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(7)));
        registry.versions(id(7));
    }
}
