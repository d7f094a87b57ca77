// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Standing } from "../../src/libraries/Standing.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { Test } from "../utils/Test.sol";

/// @notice The list of rounds that stand against one that is kept whole; `StandingProof` has each step for any storage.
contract StandingTest is Test {
    using Standing for Standing.List;

    Standing.List private _list;
    /// @dev The twin: the rounds that stand, by position, and how many are final. Positions that rounds had, by round.
    RoundId[] private _rounds;
    uint256 private _finals = 1;
    uint24[] private _positions;

    function setUp() public {
        _list.begin();
        _rounds.push(RoundId.wrap(0));
        _positions.push(0);
    }

    function test_append_fillsTheRingMoreThanOnce() public {
        for (uint256 i = 0; i < 2 * uint256(Standing.MAX_PENDING) + 3; ++i) {
            _append();
            if (_list.pending() == Standing.MAX_PENDING) _finish();
        }
        _requireSame();
        vm.assertEq(_list.pending(), Standing.MAX_PENDING - 1, "pending");
    }

    function test_cut_voidsAllAboveAtOnce() public {
        for (uint256 i = 0; i < Standing.MAX_PENDING; ++i) {
            _append();
        }
        _cut(1);
        _requireSame();
        vm.assertEq(_list.pending(), 0, "pending");
        _append();
        _requireSame();
    }

    function testFuzz_isTheListThatIsKeptWhole(uint256 seed) public {
        for (uint256 i = 0; i < 64; ++i) {
            uint256 move = seed % 8;
            uint256 pending = _rounds.length - _finals;
            if (move == 0 && pending > 0) _cut(_finals + (seed >> 3) % pending);
            else if (move <= 2 && pending > 0) _finish();
            else _append();
            seed = uint256(keccak256(abi.encode(seed)));
        }
        _requireSame();
    }

    function _append() private {
        RoundId round = RoundId.wrap(uint64(_positions.length));
        uint24 position = _list.append(round);
        vm.assertEq(position, _rounds.length, "position");
        _rounds.push(round);
        _positions.push(position);
    }

    function _finish() private {
        _list.finish();
        ++_finals;
    }

    function _cut(uint256 position) private {
        _list.cut(uint24(position), _rounds[position - 1]);
        while (_rounds.length > position) {
            _rounds.pop();
        }
    }

    function _requireSame() private view {
        assertEq(_list.head, _rounds[_rounds.length - 1], "head");
        vm.assertEq(_list.pending(), _rounds.length - _finals, "pending");
        for (uint64 i = 0; i < _positions.length; ++i) {
            uint24 position = _positions[i];
            bool stands = position < _rounds.length && RoundId.unwrap(_rounds[position]) == i;
            if (stands && position < _finals) continue;
            vm.assertEq(_list.has(RoundId.wrap(i), position), stands, "stands");
        }
    }
}
