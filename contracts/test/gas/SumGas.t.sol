// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Libraries } from "../utils/Libraries.sol";
import { Test } from "../utils/Test.sol";

/// @notice What a fraud proof would pay for the sum of one leaf of 100 updates, apart from the hashing.
contract SumGasTest is Test {
    uint256 private constant UPDATES = 100;
    /// @notice The cap of a transaction (EIP-7825).
    uint256 private constant CAP = 16_777_216;

    Libraries private _libraries;
    uint32[] private _weights;
    bytes[] private _leaves;

    function setUp() public {
        _libraries = new Libraries();
        for (uint256 i = 0; i < UPDATES; ++i) {
            bytes memory values = new bytes(256);
            for (uint256 j = 0; j < 256; ++j) {
                values[j] = bytes1(uint8(1 + uint256(keccak256(abi.encode(i, j))) % 255));
            }
            _weights.push(1);
            _leaves.push(values);
        }
    }

    function test_gas_weightedSum() public {
        _libraries.weightedSum(_weights, _leaves);
        vm.assertLe(vm.snapshotGasLastCall("Sums", "weighted sum, a leaf of 100 updates"), CAP, "gas");
    }

    function test_gas_trimmedSum() public {
        _libraries.trimmedSum(30, _weights, _leaves);
        vm.assertLe(vm.snapshotGasLastCall("Sums", "trimmed sum, a leaf of 100 updates"), CAP, "gas");
    }
}
