// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Deployment } from "../utils/Deployment.sol";

contract RegistryGasTest is Deployment {
    /// @dev A vote's call costs the same, however many versions were active before.
    function test_gas_releaseAndRecall() public {
        vm.prank(address(timelock));
        registry.activate(id(0), keccak256("report"));
        for (uint256 i = 1; i < 9; ++i) {
            vm.prank(address(ledger));
            registry.register(id(i), id(i - 1), keccak256(abi.encode(i)));
            vm.prank(address(timelock));
            registry.activate(id(i), keccak256("report"));
        }
        vm.snapshotGasLastCall("ModelRegistry", "activate");
        vm.prank(address(timelock));
        registry.recall(id(4), keccak256("evidence"));
        vm.snapshotGasLastCall("ModelRegistry", "recall an earlier version");
        vm.prank(address(timelock));
        registry.recall(id(8), keccak256("evidence"));
        vm.snapshotGasLastCall("ModelRegistry", "recall the active version");
    }

    /// @dev A vote takes all warranties at once, however many accounts have some.
    function test_gas_warranty() public {
        for (uint256 i = 0; i < 9; ++i) {
            address payer = vm.addr(i + 1);
            vm.prank(treasury.addr);
            vm.assertTrue(token.transfer(payer, 2), "funded");
            vm.prank(payer);
            token.approve(address(registry), 2);
            vm.prank(payer);
            registry.postWarranty(id(0), 2);
        }
        vm.snapshotGasLastCall("ModelRegistry", "post a warranty");
        vm.warp(START + WARRANTY_PERIOD);
        vm.prank(vm.addr(1));
        registry.withdrawWarranty(id(0));
        vm.snapshotGasLastCall("ModelRegistry", "withdraw a warranty");
        vm.prank(address(timelock));
        registry.forfeitWarranties(id(0), challenger.addr);
        vm.snapshotGasLastCall("ModelRegistry", "forfeit the warranties of eight");
    }
}
