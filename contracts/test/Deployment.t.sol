// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAccessControl } from "@openzeppelin/contracts/access/IAccessControl.sol";

import { IJudge } from "../src/interfaces/IJudge.sol";
import { Deployment } from "./utils/Deployment.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";
import { Vm } from "./utils/Vm.sol";

/// @notice Who holds which role once everything is deployed.
contract DeploymentTest is Deployment {
    struct Role {
        address target;
        bytes32 role;
        address holder;
    }

    /// @dev Every role that there is, and its only holder.
    function _roles() private view returns (Role[] memory roles) {
        roles = new Role[](2);
        roles[0] = Role(address(timelock), timelock.PROPOSER_ROLE(), address(governor));
        roles[1] = Role(address(timelock), timelock.CANCELLER_ROLE(), address(governor));
    }

    /// @notice Who slashes, mints, registers, activates and judges is in the code: no vote can change it.
    function test_deployment_powersAreFixed() public view {
        vm.assertEq(vault.ledger(), address(ledger), "slashes");
        vm.assertEq(token.minter(), address(rewards), "mints");
        vm.assertEq(registry.ledger(), address(ledger), "registers");
        vm.assertEq(registry.governance(), address(timelock), "activates");
        vm.assertEq(ledger.governance(), address(timelock), "adds policies");
        vm.assertEq(ledger.verifier(), verifier.addr, "judges");
    }

    function test_deployment_everyRoleIsWithItsHolder() public view {
        Role[] memory roles = _roles();
        for (uint256 i = 0; i < roles.length; ++i) {
            vm.assertTrue(IAccessControl(roles[i].target).hasRole(roles[i].role, roles[i].holder), "role of its holder");
        }
    }

    function test_deployment_theDeployerHoldsNoRole() public view {
        Role[] memory roles = _roles();
        for (uint256 i = 0; i < roles.length; ++i) {
            vm.assertFalse(
                IAccessControl(roles[i].target).hasRole(roles[i].role, deployer.addr), "role of the deployer"
            );
        }
        vm.assertFalse(timelock.hasRole(timelock.EXECUTOR_ROLE(), deployer.addr), "executor role by name");
        vm.assertEq(token.balanceOf(deployer.addr), 0, "tokens of the deployer");
    }

    function test_deployment_nobodyAdministersRoles() public view {
        bytes32 admin = timelock.DEFAULT_ADMIN_ROLE();
        vm.assertFalse(timelock.hasRole(admin, address(timelock)), "timelock");
        vm.assertFalse(timelock.hasRole(admin, deployer.addr), "deployer");
    }

    /// @dev The list above is complete: the deployment emits exactly its grants, that of execution to everybody, and
    /// that of administration to the timelock, which it revokes.
    function test_deployment_grantsNothingElse() public {
        vm.recordLogs();
        deploy();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        Role[] memory roles = _roles();
        uint256 granted;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IAccessControl.RoleGranted.selector) continue;
            ++granted;
            if (logs[i].topics[1] == timelock.EXECUTOR_ROLE()) {
                vm.assertEq(logs[i].topics[2], bytes32(0), "anybody executes");
            } else if (logs[i].topics[1] == timelock.DEFAULT_ADMIN_ROLE()) {
                vm.assertEq(logs[i].topics[2], bytes32(uint256(uint160(address(timelock)))), "revoked at once");
            } else {
                vm.assertTrue(_listed(roles, logs[i]), "grant is on the list");
            }
        }
        vm.assertEq(granted, roles.length + 2, "number of grants");
    }

    function test_deployment_peersAreWhereTheyWerePredicted() public view {
        vm.assertEq(address(vault.token()), address(token), "token of the vault");
        vm.assertEq(address(ledger.vault()), address(vault), "vault of the ledger");
        vm.assertEq(address(rewards.token()), address(token), "token of the rewards");
        vm.assertEq(address(rewards.ledger()), address(ledger), "ledger of the rewards");
        vm.assertEq(address(ledger.registry()), address(registry), "registry of the ledger");
        vm.assertEq(address(governor.token()), address(vault), "votes of the governor");
        vm.assertEq(governor.timelock(), address(timelock), "timelock of the governor");
    }

    function test_deployment_fitsTheSizeLimit() public view {
        uint256 limit = 24_576;
        vm.assertLe(address(token).code.length, limit, "token");
        vm.assertLe(address(vault).code.length, limit, "vault");
        vm.assertLe(address(registry).code.length, limit, "registry");
        vm.assertLe(address(ledger).code.length, limit, "ledger");
        vm.assertLe(address(rewards).code.length, limit, "rewards");
        vm.assertLe(address(timelock).code.length, limit, "timelock");
        vm.assertLe(address(governor).code.length, limit, "governor");
    }

    function _listed(Role[] memory roles, Vm.Log memory log) private pure returns (bool) {
        address holder = address(uint160(uint256(log.topics[2])));
        for (uint256 i = 0; i < roles.length; ++i) {
            if (roles[i].target == log.emitter && roles[i].role == log.topics[1] && roles[i].holder == holder) {
                return true;
            }
        }
        return false;
    }
}

/// @notice The judges, beside the system that they judge.
contract JudgesDeploymentTest is FraudWorld {
    function test_judges_fitTheSizeLimit() public view {
        uint256 limit = 24_576;
        vm.assertLe(address(fraud).code.length, limit, "fraud proofs");
        vm.assertLe(address(faults).code.length, limit, "contributor faults");
        vm.assertLe(address(availability).code.length, limit, "data availability");
        vm.assertLe(address(disputes).code.length, limit, "disputes");
        vm.assertLe(address(arbiter).code.length, limit, "arbiter");
    }

    function test_judges_judgeTheLedger() public view {
        address[] memory judges = arbiter.judges();
        for (uint256 i = 0; i < judges.length; ++i) {
            vm.assertEq(address(IJudge(judges[i]).ledger()), address(ledger), "ledger");
        }
        vm.assertEq(ledger.verifier(), address(arbiter), "the arbiter is the verifier for ever");
    }
}
