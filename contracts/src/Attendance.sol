// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAttendance } from "./interfaces/IAttendance.sol";
import { IPolicies } from "./interfaces/IPolicies.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { Enrolment } from "./libraries/Enrolment.sol";
import { Places } from "./libraries/Places.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title How many rounds an enrolled account has missed.
/// @dev A part of the ledger, which creates it. It is a contract of its own because a contract may have 24,576 bytes of
/// code.
contract Attendance is IAttendance {
    /// @inheritdoc IAttendance
    IRoundLedger public immutable override ledger;
    IStakeVault private immutable _vault;
    IPolicies private immutable _policies;

    /// @param vault_ Vault whose stakes count.
    /// @param policies_ Policies of the rounds.
    constructor(IStakeVault vault_, IPolicies policies_) {
        ledger = IRoundLedger(msg.sender);
        _vault = vault_;
        _policies = policies_;
    }

    /// @inheritdoc IAttendance
    function missed(address account) external view returns (uint256 count) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        IStakeVault.Member memory member = _vault.members(accounts)[0];
        uint64 last = RoundId.unwrap(ledger.nextRound()) - 1;
        uint64 first = last > Enrolment.MAX_LOOKED ? last - uint64(Enrolment.MAX_LOOKED) : 0;
        for (uint64 number = last; number > first && count < Enrolment.MAX_MISSED; --number) {
            RoundId id = RoundId.wrap(number);
            // Reads of the ledger that created this contract, a few for each round; the caller pays for them.
            // slither-disable-next-line calls-loop
            IRoundLedger.Round memory round = ledger.rounds(id);
            // slither-disable-next-line calls-loop
            if (round.openedAt <= member.since || ledger.hasCommitted(id, account)) break;
            if (_couldBeMissed(id, round, account, member)) ++count;
        }
    }

    /// @dev Whether a round went well and had a place left for the account. It then ran for its whole window for an account
    /// that counts in it and has not committed: only a full round closes without it.
    function _couldBeMissed(
        RoundId id,
        IRoundLedger.Round memory round,
        address account,
        IStakeVault.Member memory member
    ) private view returns (bool) {
        if (round.phase != IRoundLedger.Phase.Final && round.phase != IRoundLedger.Phase.Anchored) {
            return false;
        }
        // slither-disable-next-line calls-loop
        Places.Draw memory drawn = ledger.draws(id);
        // slither-disable-next-line calls-loop
        uint256 places = _policies.terms(round.policy).maxContributors;
        if (drawn.quota > 0) {
            if (member.since >= drawn.at || !Places.has(drawn, account, member.enrolled)) return false;
            places = Places.available(places);
        }
        return round.entries < places;
    }
}
