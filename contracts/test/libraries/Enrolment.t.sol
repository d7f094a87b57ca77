// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Enrolment } from "../../src/libraries/Enrolment.sol";
import { Test } from "../utils/Test.sol";

/// @notice The list of enrolled accounts against one that is kept account by account.
contract EnrolmentTest is Test {
    using Enrolment for Enrolment.Roll;

    /// @dev Members around the ends of words, and one far away.
    uint256[8] private _members = [uint256(1), 2, 255, 256, 257, 511, 512, 2000];
    uint256 private constant OPENED_AT = 1_800_000_000;

    Enrolment.Roll private _roll;
    mapping(uint256 => uint256) private _committed;

    function _commit(uint256 member) private {
        (uint256 wordIndex, uint256 mask) = Enrolment.place(member);
        _committed[wordIndex] |= mask;
    }

    function _missing() private view returns (bool counted, uint256 wordIndex, uint256 missing) {
        return _roll.findMissing(_committed, OPENED_AT);
    }

    function _expect(bool counted, uint256 wordIndex, uint256 missing, string memory message) private view {
        (bool counted_, uint256 wordIndex_, uint256 missing_) = _missing();
        vm.assertEq(counted_, counted, message);
        vm.assertEq(missing_, missing, message);
        if (missing != 0) vm.assertEq(wordIndex_, wordIndex, message);
    }

    function test_place_isWordAndBit() public pure {
        (uint256 wordIndex, uint256 mask) = Enrolment.place(1);
        vm.assertEq(wordIndex, 0, "word of the first");
        vm.assertEq(mask, 2, "bit of the first");
        (wordIndex, mask) = Enrolment.place(255);
        vm.assertEq(wordIndex, 0, "last of a word");
        vm.assertEq(mask, 1 << 255, "its bit");
        (wordIndex, mask) = Enrolment.place(type(uint24).max);
        vm.assertEq(wordIndex, type(uint16).max, "word of the last");
        vm.assertEq(mask, 1 << 255, "bit of the last");
    }

    function test_findMissing_nobody() public {
        _expect(false, 0, 0, "an empty list");
        _commit(1);
        _expect(false, 0, 0, "who commits does not count by that");
        _roll.add(2);
        _roll.take(2);
        _expect(false, 0, 0, "who left does not count");
        _roll.add(3);
        _roll.addLate(3, OPENED_AT);
        _expect(false, 0, 0, "who was late does not count");
        _roll.take(3);
        _roll.add(3);
        _expect(false, 0, 0, "for good");
    }

    function test_findMissing_isLateForOneOpeningAlone() public {
        _roll.add(3);
        _roll.addLate(3, OPENED_AT + 1);
        _expect(true, 0, 1 << 3, "late for another");
        _commit(3);
        _expect(true, 0, 0, "counts and has committed");
    }

    function test_findMissing_stopsAtTheFirstWord() public {
        _roll.add(300);
        _roll.add(20);
        _roll.add(700);
        _expect(true, 0, 1 << 20, "first word");
        _commit(20);
        _expect(true, 1, 1 << 44, "second word");
        _commit(300);
        _expect(true, 2, 1 << 188, "third word");
        _commit(700);
        _expect(true, 0, 0, "none");
        // The list has not become shorter, and empty words are passed over.
        _roll.take(300);
        _roll.take(20);
        _expect(true, 0, 0, "the last alone");
        _roll.take(700);
        _expect(false, 0, 0, "nobody");
    }

    function test_words_neverShrink() public {
        _roll.add(700);
        vm.assertEq(_roll.words, 3, "three words");
        _roll.add(1);
        vm.assertEq(_roll.words, 3, "not fewer");
        _roll.take(700);
        vm.assertEq(_roll.words, 3, "nor by leaving");
        _roll.add(768);
        vm.assertEq(_roll.words, 4, "the first of the fourth");
    }

    /// @param actions Eight bits an action: who, and what.
    function testFuzz_findMissing_whateverHappens(uint256 actions) public {
        bool[8] memory enrolled;
        bool[8] memory late;
        bool[8] memory committed;
        for (uint256 step = 0; step < 32; ++step) {
            uint256 action = actions >> (8 * step);
            uint256 who = action & 7;
            uint256 what = (action >> 3) & 3;
            if (what == 0) {
                _roll.add(_members[who]);
                enrolled[who] = true;
            } else if (what == 1) {
                _roll.add(_members[who]);
                _roll.addLate(_members[who], OPENED_AT);
                (enrolled[who], late[who]) = (true, true);
            } else if (what == 2) {
                _roll.take(_members[who]);
                enrolled[who] = false;
            } else {
                _commit(_members[who]);
                committed[who] = true;
            }
            _compare(enrolled, late, committed);
        }
    }

    function _compare(bool[8] memory enrolled, bool[8] memory late, bool[8] memory committed) private view {
        (bool counted, uint256 wordIndex, uint256 missing) = _missing();
        uint256 first = type(uint256).max;
        uint256 bits;
        bool counts;
        for (uint256 i = 0; i < 8; ++i) {
            if (!enrolled[i] || late[i]) continue;
            counts = true;
            if (committed[i]) continue;
            uint256 word = _members[i] / 256;
            if (first == type(uint256).max) first = word;
            if (word == first) bits |= 1 << (_members[i] % 256);
        }
        vm.assertEq(counted, counts, "counted");
        vm.assertEq(missing, bits, "missing");
        if (bits != 0) vm.assertEq(wordIndex, first, "word");
    }
}
