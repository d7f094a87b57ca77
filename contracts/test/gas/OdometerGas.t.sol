// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { RoundTest } from "../utils/RoundTest.sol";

/// @notice What a privacy budget costs: batches under a policy with noise, whose members have spent before.
contract OdometerGasTest is RoundTest {
    /// @dev What each of a hundred updates may cost more than without noise.
    uint256 private constant GAS_OF_A_CHARGE = 3000;

    Actor[] private crowd;

    function policy() internal view override returns (IRoundLedger.Policy memory noisy) {
        noisy = super.policy();
        noisy.maxContributors = 256;
        (noisy.noise1024, noisy.steps, noisy.privacyCap) = (6146, 5, type(uint64).max);
    }

    function setUp() public override {
        super.setUp();
        Actor[3] memory others = [alice, bob, carol];
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(others[i].addr);
            ledger.leave();
        }
    }

    /// @dev Gas of a batch in the second round, by the name of its snapshot; in the first, counters are still zero.
    function _commit(uint256 size, string memory name) private returns (uint256 first, uint256 later) {
        for (uint256 i = 0; i < size; ++i) {
            Actor memory member = actor(string.concat("contributor ", vm.toString(i)));
            crowd.push(member);
            giveStake(member.addr, MIN_STAKE);
            enrol(member.addr);
        }
        first = _round(string.concat(name, " with noise, the first time"));
        later = _round(string.concat(name, " with noise"));
    }

    function _round(string memory name) private returns (uint256 gas) {
        RoundId round = open();
        bytes memory batch;
        for (uint256 i = 0; i < crowd.length; ++i) {
            batch = bytes.concat(batch, batchOf(crowd[i], commitmentOf(crowd[i].addr, round)));
        }
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        gas = vm.snapshotGasLastCall("RoundLedger", name);
        vm.warp(ledger.rounds(round).anchorDeadline);
        ledger.cancel(round);
    }

    function test_gas_ofFive() public {
        _commit(5, "commitUpdates, 5 signed");
        IRoundLedger.Policy memory plain = super.policy();
        vm.prank(address(timelock));
        ledger.addPolicy(plain);
        _round("commitUpdates, 5 signed");
    }

    function test_gas_ofAHundred() public {
        (, uint256 gas) = _commit(100, "commitUpdates, 100 signed");
        IRoundLedger.Policy memory plain = super.policy();
        vm.prank(address(timelock));
        ledger.addPolicy(plain);
        uint256 without = _round("commitUpdates, 100 signed of who have spent");
        vm.assertLe(gas, without + 100 * GAS_OF_A_CHARGE, "a batch of 100 signed commitments with noise");
    }

    function test_gas_aFullRoundFitsATransaction() public {
        (uint256 first,) = _commit(255, "commitUpdates, 255 signed");
        vm.assertLe(first, 16_777_216, "the cap of a transaction (EIP-7825)");
    }
}
