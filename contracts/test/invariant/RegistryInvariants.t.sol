// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ModelRegistry } from "../../src/ModelRegistry.sol";
import { IModelRegistry } from "../../src/interfaces/IModelRegistry.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { Test } from "../utils/Test.sol";

/// @dev Governance, the ledger and a stranger, who do whatever they may to a registry of a few versions.
contract Voters {
    ModelRegistry public immutable registry = new ModelRegistry(address(this), address(this), keccak256("genesis"));
    uint64 public versions = 1;
    mapping(uint64 version => bool) public recalled;
    mapping(uint64 version => uint256) public lastActive;
    uint256 public acts;

    function register(uint64 parent) external {
        if (versions == 9) return;
        registry.register(RoundId.wrap(versions), RoundId.wrap(parent % versions), keccak256(abi.encode(versions)));
        ++versions;
    }

    function activate(uint64 version) external {
        version %= versions;
        try registry.activate(RoundId.wrap(version), bytes32(++acts)) {
            lastActive[version] = acts;
        } catch { }
    }

    function recall(uint64 version) external {
        version %= versions;
        try registry.recall(RoundId.wrap(version), bytes32(0)) {
            recalled[version] = true;
        } catch { }
    }
}

contract RegistryInvariantsTest is Test {
    Voters private voters;
    ModelRegistry private registry;

    function setUp() public {
        voters = new Voters();
        registry = voters.registry();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(voters);
    }

    /// @dev A recalled version is never active; the active one is that of the newest activation of all others.
    function invariant_aRecalledVersionIsNeverActive() public view {
        uint256 newest;
        for (uint64 version; version < voters.versions(); ++version) {
            bool recalled = voters.recalled(version);
            uint256 last = voters.lastActive(version);
            if (!recalled && last > newest) newest = last;
            IModelRegistry.Standing expected = recalled
                ? IModelRegistry.Standing.Recalled
                : last != 0 ? IModelRegistry.Standing.Released : IModelRegistry.Standing.Candidate;
            vm.assertTrue(registry.standing(RoundId.wrap(version)) == expected, "standing");
        }
        try registry.active() returns (RoundId active, bytes32 reportHash) {
            vm.assertTrue(!voters.recalled(RoundId.unwrap(active)), "a recalled version is active");
            vm.assertEq(uint256(reportHash), newest, "the newest activation that was not recalled");
        } catch {
            vm.assertEq(newest, uint256(0), "a version could be active");
        }
    }
}
