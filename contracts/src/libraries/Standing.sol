// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundId } from "./Types.sol";

/// @title The rounds that stand: the genesis has position 0, and each anchored round the next one.
/// @notice An anchored round stands if its position is below the length of the list and the list has it there. To cut
/// the list off voids all rounds from a position on at once, in whatever number.
/// @dev After any calls that keep to what is said of their callers, finals <= length <= finals + MAX_PENDING, and no
/// place of the ring is used by two rounds that stand and are not final (test/symbolic/Standing.t.sol).
library Standing {
    /// @notice Maximum number of rounds that stand and are not final: the size of the ring.
    uint16 internal constant MAX_PENDING = 256;

    /// @dev The list. Only rounds that are not final are kept, in a ring: positions that are MAX_PENDING apart share a
    /// place, and the lower one is final before the higher one is used.
    struct List {
        /// @dev The last round of the list: the base of the next.
        RoundId head;
        /// @dev Number of rounds, the genesis included: the position of the next one.
        uint24 length;
        /// @dev Number of final rounds, the genesis included. They are the first of the list.
        uint24 finals;
        /// @dev By position modulo MAX_PENDING.
        mapping(uint256 place => RoundId) ring;
    }

    /// @notice Begin a new list with the genesis.
    function begin(List storage list) internal {
        (list.length, list.finals) = (1, 1);
    }

    /// @notice Append a round. The caller has seen that fewer than MAX_PENDING rounds are pending.
    function append(List storage list, RoundId round) internal returns (uint24 position) {
        position = list.length;
        list.head = round;
        list.length = position + 1;
        list.ring[_place(position)] = round;
    }

    /// @notice Note that the first of the pending rounds is final. The caller has seen that there is one.
    function finish(List storage list) internal {
        unchecked {
            ++list.finals;
        }
    }

    /// @notice Cut the list off before the position of a pending round.
    /// @param head The round before that position.
    function cut(List storage list, uint24 position, RoundId head) internal {
        list.length = position;
        list.head = head;
    }

    /// @notice Number of rounds that stand and are not final.
    function pending(List storage list) internal view returns (uint256) {
        unchecked {
            return list.length - list.finals;
        }
    }

    /// @notice Whether a round that was appended at a position, and is not final, stands.
    function has(List storage list, RoundId round, uint24 position) internal view returns (bool) {
        return position < list.length && list.ring[_place(position)] == round;
    }

    function _place(uint24 position) private pure returns (uint256) {
        return position % MAX_PENDING;
    }
}
