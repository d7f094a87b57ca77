// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ModelRegistry } from "../../src/ModelRegistry.sol";
import { MootToken } from "../../src/MootToken.sol";
import { IModelRegistry } from "../../src/interfaces/IModelRegistry.sol";
import { IMootToken } from "../../src/interfaces/IMootToken.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { Test } from "../utils/Test.sol";

/// @dev Somebody who puts tokens behind versions and takes them out as early as possible.
contract Warrantor {
    ModelRegistry private immutable _registry;

    constructor(ModelRegistry registry, MootToken token) {
        _registry = registry;
        token.approve(address(registry), type(uint256).max);
    }

    function post(uint64 version, uint256 amount) external {
        _registry.postWarranty(RoundId.wrap(version), amount);
    }

    function withdraw(uint64 version) external returns (uint256) {
        return _registry.withdrawWarranty(RoundId.wrap(version));
    }
}

/// @dev Governance, the ledger and two warrantors, who do whatever they may to a registry of a few versions.
contract Voters is Test {
    uint40 public constant PERIOD = 1000;
    uint96 public constant LEAST = 5;
    MootToken public immutable token;
    ModelRegistry public immutable registry;
    Warrantor[2] public warrantors;
    /// @notice What each warrantor has behind each version, as this contract counts it.
    mapping(uint64 version => uint256[2]) public behind;
    mapping(uint64 version => bool) public taken;
    mapping(uint64 version => uint256) private _activatedAt;
    uint256 public burnt;
    bool public tooEarly;
    bool public uncovered;
    uint64 public versions = 1;
    mapping(uint64 version => bool) public recalled;
    mapping(uint64 version => uint256) public lastActive;
    uint256 public acts;

    constructor() {
        IMootToken.Allocation[] memory genesis = new IMootToken.Allocation[](1);
        genesis[0] = IMootToken.Allocation(address(this), 1000);
        token = new MootToken(address(this), genesis);
        registry = new ModelRegistry(address(this), address(this), address(token), keccak256("genesis"), PERIOD, LEAST);
        for (uint256 i = 0; i < 2; ++i) {
            warrantors[i] = new Warrantor(registry, token);
            require(token.transfer(address(warrantors[i]), 500), "funded");
        }
    }

    function total(uint64 version) public view returns (uint256) {
        return behind[version][0] + behind[version][1];
    }

    function pass(uint16 time) external {
        vm.warp(block.timestamp + time);
    }

    function post(uint64 version, uint8 who, uint8 amount) external {
        version %= versions;
        try warrantors[who % 2].post(version, amount) {
            behind[version][who % 2] += amount;
        } catch { }
    }

    function withdraw(uint64 version, uint8 who) external {
        version %= versions;
        try warrantors[who % 2].withdraw(version) returns (uint256 amount) {
            if (amount != behind[version][who % 2]) tooEarly = true;
            behind[version][who % 2] = 0;
            if (_activatedAt[version] != 0 && block.timestamp < _activatedAt[version] + PERIOD) tooEarly = true;
        } catch { }
    }

    function forfeit(uint64 version, uint8 beneficiary) external {
        version %= versions;
        uint256 there = total(version);
        address to = beneficiary % 3 == 2 ? address(0) : address(warrantors[beneficiary % 3]);
        registry.forfeitWarranties(RoundId.wrap(version), to);
        burnt += to == address(0) ? there : there - there / 2;
        delete behind[version];
        taken[version] = true;
    }

    function register(uint64 parent) external {
        if (versions == 9) return;
        registry.register(RoundId.wrap(versions), RoundId.wrap(parent % versions), keccak256(abi.encode(versions)));
        ++versions;
    }

    function activate(uint64 version) external {
        version %= versions;
        try registry.activate(RoundId.wrap(version), bytes32(++acts)) {
            if (lastActive[version] == 0 && (total(version) < LEAST || taken[version])) uncovered = true;
            lastActive[version] = acts;
            _activatedAt[version] = block.timestamp;
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

    /// @dev Tokens behind versions are there to the last unit, and a vote about one version reaches no other.
    function invariant_eachWarrantyIsThere() public view {
        uint256 held;
        for (uint64 version; version < voters.versions(); ++version) {
            (uint256 total, bool forfeited) = registry.warrantiesOf(RoundId.wrap(version));
            vm.assertEq(total, voters.total(version), "behind the version");
            vm.assertTrue(forfeited == voters.taken(version), "forfeited");
            held += total;
        }
        MootToken token = voters.token();
        vm.assertEq(token.balanceOf(address(registry)), held, "held");
        vm.assertEq(token.totalSupply(), 1000 - voters.burnt(), "half of what votes took is burnt, or all");
    }

    /// @dev No version becomes active without its warranty, and none is taken out within its period.
    function invariant_aReleaseIsAnsweredFor() public view {
        vm.assertTrue(!voters.uncovered(), "a version without a warranty became active");
        vm.assertTrue(!voters.tooEarly(), "a warranty was taken out too early");
    }
}
