// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Standing } from "../../src/libraries/Standing.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { Symbolic } from "./Symbolic.sol";

/// @title The list of rounds that stand, from any storage: no round gets lost in the ring, and none that was cut off
/// comes back.
/// @notice One step of an induction for each function. The list's storage is unknown, but for its lengths, of which is
/// assumed what has to hold again afterwards; a new list has them. A round and its position are any that stand for all.
/// @dev Each function has what its callers see to before: `openRound` counts pending rounds, `finalize` and `reportFraud`
/// ask for a round that stands and is not final. That they do is `LedgerInvariants`.
contract StandingProof is Symbolic {
    using Standing for Standing.List;

    Standing.List private _list;

    function setUp() public {
        _list.begin();
        assert(_isSound());
        SVM.enableSymbolicStorage(address(this));
    }

    /// @notice The new round stands, at the end of the list. For no other round that is not final does anything change.
    function check_append(uint64 lengths, RoundId added, RoundId round, uint24 position) public {
        _begin(lengths);
        VM.assume(_list.pending() < Standing.MAX_PENDING);
        VM.assume(RoundId.unwrap(added) != RoundId.unwrap(round));
        VM.assume(position >= _list.finals);
        uint24 length = _list.length;
        bool stood = _list.has(round, position);
        uint24 at = _list.append(added);
        bool isLast = _and(at == length, _and(_list.length == length + 1, _list.has(added, at)));
        bool isHead = RoundId.unwrap(_list.head) == RoundId.unwrap(added);
        assert(_and(_and(_isSound(), isHead), _and(isLast, _list.has(round, position) == stood)));
    }

    /// @notice A final round changes who is pending, and nothing else.
    function check_finish(uint64 lengths, RoundId round, uint24 position) public {
        _begin(lengths);
        uint256 pending = _list.pending();
        VM.assume(pending > 0);
        bool stood = _list.has(round, position);
        uint24 length = _list.length;
        _list.finish();
        unchecked {
            bool isLess = _and(_list.pending() == pending - 1, _list.length == length);
            assert(_and(_isSound(), _and(isLess, _list.has(round, position) == stood)));
        }
    }

    /// @notice Those before the position stand as before, those from it on do not.
    function check_cut(uint64 lengths, uint24 at, RoundId head, RoundId round, uint24 position) public {
        _begin(lengths);
        VM.assume(_and(at >= _list.finals, at < _list.length));
        bool stood = _list.has(round, position);
        _list.cut(at, head);
        bool isHead = _and(_list.length == at, RoundId.unwrap(_list.head) == RoundId.unwrap(head));
        assert(_and(_isSound(), _and(isHead, _list.has(round, position) == _and(stood, position < at))));
    }

    /// @notice That a full ring has room for one more round: the oldest pending one gets lost. Must be refuted.
    function refute_appendToAFullRing(uint64 lengths, RoundId added, RoundId round, uint24 position) public {
        _begin(lengths);
        VM.assume(RoundId.unwrap(added) != RoundId.unwrap(round));
        VM.assume(_and(position >= _list.finals, _list.has(round, position)));
        _list.append(added);
        assert(_list.has(round, position));
    }

    /// @dev Any sound list.
    function _begin(uint64 lengths) private {
        _list.length = uint24(lengths);
        _list.finals = uint24(lengths >> 24);
        VM.assume(_isSound());
    }

    function _isSound() private view returns (bool) {
        (uint256 length, uint256 finals) = (_list.length, _list.finals);
        unchecked {
            return _and(finals > 0, _and(finals <= length, length <= finals + Standing.MAX_PENDING));
        }
    }
}
