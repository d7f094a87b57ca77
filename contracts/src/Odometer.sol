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

    /// @inheritdoc IOdometer
    IRoundLedger public immutable override ledger;
    IStakeVault private immutable _vault;
    /// @dev Counters of 64 bits, by the member's number divided by LANES.
    mapping(uint256 place => uint256) private _spent;

    /// @param vault_ Vault that numbers the members.
    constructor(IStakeVault vault_) {
        ledger = IRoundLedger(msg.sender);
        _vault = vault_;
    }

    /// @inheritdoc IOdometer
    function charge(uint256 wordIndex, uint256 members, uint256 noise1024, uint256 steps, uint256 cap) external {
        if (msg.sender != address(ledger)) revert OdometerNotLedger(msg.sender, address(ledger));
        uint256 cost = Budget.cost(noise1024, steps);
        // Ends after 64 turns at most: `members` has 256 bits.
        for (uint256 place = wordIndex << 6; members != 0; ++place) {
            if (members & 0xf != 0) _spent[place] = _charged(_spent[place], place, members & 0xf, cost, cap);
            members >>= LANES;
        }
    }

    /// @inheritdoc IOdometer
    function spent(address account) external view returns (uint64) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        uint256 member = _vault.members(accounts)[0].id;
        return uint64(_spent[member / LANES] >> (64 * (member % LANES)));
    }

    /// @dev The word after its members were charged. No counter runs into the next one: none passes the cap, which has 64
    /// bits.
    /// @param members The lowest four bits.
    function _charged(uint256 word, uint256 place, uint256 members, uint256 cost, uint256 cap)
        private
        pure
        returns (uint256)
    {
        unchecked {
            for (uint256 lane = 0; lane < LANES; ++lane) {
                if ((members >> lane) & 1 == 0) continue;
                uint256 before = uint64(word >> (64 * lane));
                if (before + cost > cap) {
                    revert IRoundLedger.RoundLedgerBudgetSpent(LANES * place + lane, before, cost, cap);
                }
                word += cost << (64 * lane);
            }
        }
        return word;
    }
}
