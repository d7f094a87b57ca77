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
}
