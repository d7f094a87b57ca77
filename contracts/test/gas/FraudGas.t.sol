// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IFraudProofs } from "../../src/interfaces/IFraudProofs.sol";
import { IJudge } from "../../src/interfaces/IJudge.sol";
import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { GasWorld } from "../utils/GasWorld.sol";

/// @notice What a proof costs, by contributors and size of the model: whole transactions, call data included.
abstract contract FraudGasTest is GasWorld {
    function _hints(IJudge.Entry[] memory entries) private pure returns (bytes memory hints) {
        hints = new bytes(512);
        uint256 trim = (entries.length - 1) / 2 < 2 ? (entries.length - 1) / 2 : 2;
        uint8[] memory values = new uint8[](entries.length);
        for (uint256 c = 0; c < 256; ++c) {
            for (uint256 i = 0; i < values.length; ++i) {
                uint8 value = uint8(entries[i].leaf[c]);
                uint256 at = i;
                for (; at > 0 && values[at - 1] > value; --at) {
                    values[at] = values[at - 1];
                }
                values[at] = value;
            }
            (hints[c], hints[256 + c]) = (bytes1(values[trim]), bytes1(values[values.length - 1 - trim]));
        }
    }

    function _proveAggregate(uint256 contributors) internal returns (uint256 gas) {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(contributors);
        IJudge.Opening memory claimed =
            IJudge.Opening(MerkleTree.leaf(MerkleTree.Kind.Aggregate, new bytes(1024)), _path(3));
        bytes memory hints = rule() == "guided_mean" ? bytes("") : _hints(entries);
        vm.prank(challenger.addr);
        _fraud.proveAggregate(case_, entries, 5, claimed, hints);
        gas = vm.snapshotGasLastCall(
            "FraudProofs", string.concat("proveAggregate, ", name(), ", ", vm.toString(contributors))
        );
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
    }

    function test_gas_proveAggregate_5() public {
        _proveAggregate(5);
    }

    function test_gas_proveAggregate_10() public {
        _proveAggregate(10);
    }

    function test_gas_proveAggregate_50() public {
        _proveAggregate(50);
    }

    function test_gas_proveAggregate_100() public virtual {
        _proveAggregate(100);
    }

    function test_gas_proveOuterStep() public {
        if (rule() != "guided_mean") return;
        (IJudge.Case memory case_,, bytes memory header) = _lie(2);
        bytes memory zeros = new bytes(2048);
        IFraudProofs.Step memory made = IFraudProofs.Step({
            header: header,
            theta: IJudge.Leaf(zeros, _path(1)),
            momentum: IJudge.Leaf(zeros, _path(2)),
            aggregate: IJudge.Leaf(new bytes(1024), _path(3)),
            nextTheta: IJudge.Opening(keccak256("a lie"), _path(4)),
            nextMomentum: IJudge.Opening(keccak256("another"), _path(5))
        });
        vm.prank(challenger.addr);
        _fraud.proveOuterStep(case_, 5, made);
        vm.snapshotGasLastCall("FraudProofs", string.concat("proveOuterStep, ", name()));
    }

    function test_gas_proveUpdate() public {
        if (rule() != "guided_mean") return;
        IJudge.Fault memory fault;
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(100);
        fault.index = 5;
        fault.leaf = entries[0].leaf;
        fault.siblings = entries[0].siblings;
        fault.node = MerkleSum.leaf(fault.leaf);
        for (uint256 i = 0; i < entries.length; ++i) {
            (entries[i].leaf, entries[i].siblings) = ("", "");
        }
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.FraudProofsNoFraud.selector, IFraudProofs.Lie.Update, 0));
        _fraud.proveUpdate(case_, entries, fault);
    }
}

contract FraudGas1MTest is FraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 1_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "1 M";
    }

    function test_gas_proveAggregate_100() public override {
        vm.assertLe(_proveAggregate(100), 4_500_000, "the bound that issues and design count on");
    }
}

contract FraudGas100MTest is FraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 100_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "100 M";
    }
}

contract FraudGasTrimmedTest is FraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 1_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "1 M, trimmed";
    }

    function rule() internal pure override returns (bytes32) {
        return "trimmed_mean";
    }
}
