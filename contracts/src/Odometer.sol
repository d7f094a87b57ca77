// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IOdometer } from "./interfaces/IOdometer.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { Budget } from "./libraries/Budget.sol";

/// @title What each contributor has spent of its privacy budget.
/// @dev A part of the ledger, which creates it. It is a contract of its own because a contract may have 24,576 bytes of
/// code. Four members share a word of storage, so neighbours cost no more than one of them.
contract Odometer is IOdometer {
    /// @dev Members whose counters share a word of storage.
    uint256 private constant LANES = 4;
    /// @dev Numbers of members, of 24 bits, divided by LANES.
    uint256 private constant PLACES = 1 << 22;
    /// @dev The lowest bit of each counter.
    uint256 private constant ONES = 1 | 1 << 64 | 1 << 128 | 1 << 192;
    /// @dev Times four bits, it has bit i of them at the place of ONES for counter i, and others elsewhere.
    uint256 private constant SPREAD = 1 | 1 << 63 | 1 << 126 | 1 << 189;
    /// @dev The first and the third counter: each has as many bits free above it.
    uint256 private constant HALVES = ((1 << 64) - 1) * (1 | 1 << 128);
    /// @dev The highest of these free bits.
    uint256 private constant GUARDS = 1 << 127 | 1 << 255;

    /// @inheritdoc IOdometer
    IRoundLedger public immutable override ledger;
    IStakeVault private immutable _vault;
    /// @dev Counters of 64 bits, by the member's number divided by LANES.
    uint256[PLACES] private _spent;

    /// @param vault_ Vault that numbers the members.
    constructor(IStakeVault vault_) {
        ledger = IRoundLedger(msg.sender);
        _vault = vault_;
    }

    /// @inheritdoc IOdometer
    function charge(uint256 wordIndex, uint256 members, uint256 noise1024, uint256 steps, uint256 cap) external {
        if (msg.sender != address(ledger)) revert OdometerNotLedger(msg.sender, address(ledger));
        uint256 cost = Budget.cost(noise1024, steps);
        uint256 caps = GUARDS | cap | cap << 128;
        unchecked {
            // Ends after 64 turns at most: `members` has 256 bits.
            for (uint256 place = wordIndex << 6; members != 0; ++place) {
                if (members & 0xf == 0) (members, place) = _skip(members, place);
                uint256 chosen = (members & 0xf) * SPREAD & ONES;
                uint256 added = chosen * cost;
                uint256 word = _spent[place];
                // Two counters at a time, those of others as zero: no sum has more than 65 bits. A guard that a sum is
                // taken from stays if the sum is within the cap.
                uint256 before = word & chosen * type(uint64).max;
                uint256 even = (before & HALVES) + (added & HALVES);
                uint256 odd = (before >> 64 & HALVES) + (added >> 64 & HALVES);
                if ((caps - even) & (caps - odd) & GUARDS != GUARDS) _refuse(members, place, word, cost, cap);
                _spent[place] = word + added;
                members >>= LANES;
            }
        }
    }

    /// @inheritdoc IOdometer
    function spent(address account) external view returns (uint64) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        uint256 member = _vault.members(accounts)[0].id;
        return uint64(_spent[member / LANES] >> (64 * (member % LANES)));
    }

    /// @dev Leave out places without a member. There is a member.
    function _skip(uint256 members, uint256 place) private pure returns (uint256, uint256) {
        unchecked {
            if (uint128(members) == 0) (members, place) = (members >> 128, place + 32);
            if (uint64(members) == 0) (members, place) = (members >> 64, place + 16);
            if (uint32(members) == 0) (members, place) = (members >> 32, place + 8);
            if (uint16(members) == 0) (members, place) = (members >> 16, place + 4);
            if (uint8(members) == 0) (members, place) = (members >> 8, place + 2);
            if (members & 0xf == 0) (members, place) = (members >> 4, place + 1);
        }
        return (members, place);
    }

    /// @dev Revert with the first of the four members in a word that has not enough left. One of them has not.
    function _refuse(uint256 members, uint256 place, uint256 word, uint256 cost, uint256 cap) private pure {
        uint256 member = LANES * place;
        while (members & 1 == 0 || uint64(word) + cost <= cap) {
            (members, word, member) = (members >> 1, word >> 64, member + 1);
        }
        revert IRoundLedger.RoundLedgerBudgetSpent(member, uint64(word), cost, cap);
    }
}
