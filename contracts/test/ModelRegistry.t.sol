// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ModelRegistry } from "../src/ModelRegistry.sol";
import { IModelRegistry } from "../src/interfaces/IModelRegistry.sol";
import { Deployment } from "./utils/Deployment.sol";

contract ModelRegistryTest is Deployment {
    bytes32 private constant ROOT = keccak256("state 1");
    bytes32 private constant REPORT = keccak256("report");

    function _register(uint256 version, uint256 parent) private {
        vm.prank(address(ledger));
        registry.register(id(version), id(parent), ROOT);
    }

    function test_constructor_registersTheGenesis() public {
        vm.expectEmit();
        emit IModelRegistry.VersionRegistered(id(0), id(0), GENESIS_STATE);
        ModelRegistry fresh = new ModelRegistry(address(timelock), address(ledger), GENESIS_STATE);
        vm.assertEq(fresh.versions(id(0)).stateRoot, GENESIS_STATE, "state root");
        vm.assertEq(uint256(fresh.versions(id(0)).registeredAt), START, "time");
    }

    function test_constructor_failsWithoutAGenesis() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryZeroRoot.selector));
        new ModelRegistry(address(timelock), address(ledger), bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryZeroAddress.selector));
        new ModelRegistry(address(0), address(ledger), GENESIS_STATE);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryZeroAddress.selector));
        new ModelRegistry(address(timelock), address(0), GENESIS_STATE);
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

    function test_versions_failsForAnUnknownVersion() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(7)));
        registry.versions(id(7));
    }
}
