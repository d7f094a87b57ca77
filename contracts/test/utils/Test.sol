// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { PolicyId, RoundId } from "../../src/libraries/Types.sol";
import { Vm } from "./Vm.sol";

/// @notice What every test has: the cheat codes, named actors, and assertions on our own types.
abstract contract Test {
    /// @notice An account of which the test knows the key.
    struct Actor {
        address addr;
        uint256 key;
    }

    /// @dev Where forge answers cheat codes.
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function actor(string memory name) internal returns (Actor memory made) {
        made.key = uint256(keccak256(bytes(name)));
        made.addr = vm.addr(made.key);
        vm.label(made.addr, name);
    }

    function sign(Actor memory signer, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(signer.key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @notice `value` brought into [low, high], so that no fuzz run is thrown away.
    function bound(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        if (value >= low && value <= high) return value;
        uint256 size = high - low + 1;
        return size == 0 ? value : low + value % size;
    }

    function id(uint256 number) internal pure returns (RoundId) {
        // casting to 'uint64' is safe because tests count rounds by the dozen
        // forge-lint: disable-next-line(unsafe-typecast)
        return RoundId.wrap(uint64(number));
    }

    function assertEq(RoundId left, RoundId right, string memory message) internal pure {
        vm.assertEq(uint256(RoundId.unwrap(left)), uint256(RoundId.unwrap(right)), message);
    }

    function assertEq(PolicyId left, PolicyId right, string memory message) internal pure {
        vm.assertEq(uint256(PolicyId.unwrap(left)), uint256(PolicyId.unwrap(right)), message);
    }
}
