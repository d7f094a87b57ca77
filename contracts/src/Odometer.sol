// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IOdometer } from "./interfaces/IOdometer.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { Budget } from "./libraries/Budget.sol";
import { Counters } from "./libraries/Counters.sol";

/// @title What each contributor has spent of its privacy budget.
/// @dev A part of the ledger, which creates it. It is a contract of its own because a contract may have 24,576 bytes of
/// code. Four members share a word of storage, so neighbours cost no more than one of them.
contract Odometer is IOdometer {
    /// @dev Numbers of members, of 24 bits, divided by those who share a word.
    uint256 private constant PLACES = 1 << 22;

    /// @inheritdoc IOdometer
    IRoundLedger public immutable override ledger;
    IStakeVault private immutable _vault;
    /// @dev Counters of 64 bits, by the member's number divided by those who share a word.
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
        unchecked {
            // Ends after 64 turns at most: `members` has 256 bits.
            for (uint256 place = wordIndex << 6; members != 0; ++place) {
                if (members & 0xf == 0) (members, place) = Counters.skip(members, place);
                uint256 word = _spent[place];
                (uint256 sum, bool isWithin) = Counters.add(word, members, cost, cap);
                if (!isWithin) _refuse(members, place, word, cost, cap);
                _spent[place] = sum;
                members >>= Counters.LANES;
            }
        }
    }

    /// @inheritdoc IOdometer
    function spent(address account) external view returns (uint64) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        uint256 member = _vault.members(accounts)[0].id;
        return uint64(_spent[member / Counters.LANES] >> (64 * (member % Counters.LANES)));
    }

    /// @dev Revert with the first of the four members in a word that has not enough left. One of them has not.
    function _refuse(uint256 members, uint256 place, uint256 word, uint256 cost, uint256 cap) private pure {
        uint256 member = Counters.LANES * place;
        while (members & 1 == 0 || uint64(word) + cost <= cap) {
            (members, word, member) = (members >> 1, word >> 64, member + 1);
        }
        revert IRoundLedger.RoundLedgerBudgetSpent(member, uint64(word), cost, cap);
    }
}
