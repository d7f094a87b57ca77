// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { RoundTest } from "../utils/RoundTest.sol";

/// @notice What a privacy budget costs: batches under a policy with noise, whose members have spent before.
contract OdometerGasTest is RoundTest {
    /// @dev What each update of a batch may cost more than without noise.
    uint256 private constant GAS_OF_A_CHARGE = 3000;
    /// @dev What a batch may cost more for each word of 256 members after the first: the odometer is called once a word.
    uint256 private constant GAS_OF_A_WORD = 1000;

    Actor[] private crowd;

    function policy() internal view override returns (IPolicies.Policy memory noisy) {
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

    /// @dev Gas of a batch in the second round; in the first, counters are still zero.
    /// @param number Of the first member.
    /// @param name Of the snapshots; empty for none.
    function _commit(uint256 size, uint256 number, string memory name) private returns (uint256 first, uint256 later) {
        for (uint256 i = 0; i < size; ++i) {
            Actor memory member = actor(string.concat("contributor ", vm.toString(i)));
            crowd.push(member);
            enrolAs(member.addr, number + i);
        }
        first = _round(name, " with noise, the first time");
        later = _round(name, " with noise");
    }

    function _round(string memory name, string memory suffix) private returns (uint256 gas) {
        RoundId round = open();
        bytes memory batch;
        for (uint256 i = 0; i < crowd.length; ++i) {
            batch = bytes.concat(batch, batchOf(crowd[i], commitmentOf(crowd[i].addr, round)));
        }
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        gas = vm.lastCallGas().gasTotalUsed;
        if (bytes(name).length > 0) vm.snapshotGasLastCall("RoundLedger", string.concat(name, suffix));
        vm.warp(ledger.rounds(round).anchorDeadline);
        ledger.cancel(round);
    }

    /// @dev A batch of all members who have spent, under a policy without noise.
    function _withoutNoise(string memory name, string memory suffix) private returns (uint256 gas) {
        IPolicies.Policy memory plain = super.policy();
        vm.prank(address(timelock));
        policies.addPolicy(plain);
        return _round(name, suffix);
    }

    function test_gas_ofFive() public {
        (, uint256 gas) = _commit(5, 4, "commitUpdates, 5 signed");
        uint256 without = _withoutNoise("commitUpdates, 5 signed", "");
        vm.assertLe(gas, without + 5 * GAS_OF_A_CHARGE, "a batch of 5");
    }

    /// @dev Their bits are as far from the lowest as five can be.
    function test_gas_ofFiveWithTheLastNumbersOfAWord() public {
        (, uint256 gas) = _commit(5, 251, "");
        vm.assertLe(gas, _withoutNoise("", "") + 5 * GAS_OF_A_CHARGE, "a batch of 5");
    }

    function test_gas_ofFiveInTwoWords() public {
        (, uint256 gas) = _commit(5, 254, "");
        vm.assertLe(gas, _withoutNoise("", "") + 5 * GAS_OF_A_CHARGE + GAS_OF_A_WORD, "a batch of 5");
    }

    /// @dev Nobody shares the price of a storage slot with it.
    function test_gas_ofOne() public {
        _commit(2, 4, "");
        RoundId round = open();
        commitOwn(crowd[0], round);
        commitOwn(crowd[1], round);
        vm.snapshotGasLastCall("RoundLedger", "commitUpdate with noise, a later one");
    }

    function test_gas_ofAHundred() public {
        (, uint256 gas) = _commit(100, 4, "commitUpdates, 100 signed");
        uint256 without = _withoutNoise("commitUpdates, 100 signed", " of who have spent");
        vm.assertLe(gas, without + 100 * GAS_OF_A_CHARGE, "a batch of 100");
    }

    function test_gas_aFullRoundFitsATransaction() public {
        (uint256 first,) = _commit(255, 4, "commitUpdates, 255 signed");
        vm.assertLe(first, 16_777_216, "the cap of a transaction (EIP-7825)");
    }
}
