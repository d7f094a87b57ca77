// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BitMaps } from "@openzeppelin/contracts/utils/structs/BitMaps.sol";

import { IMootToken } from "./interfaces/IMootToken.sol";
import { IPolicies } from "./interfaces/IPolicies.sol";
import { IRewards } from "./interfaces/IRewards.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { Commitments } from "./libraries/Commitments.sol";
import { Pays } from "./libraries/Pays.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title What final rounds pay.
contract Rewards is IRewards {
    using BitMaps for BitMaps.BitMap;

    /// @inheritdoc IRewards
    IRoundLedger public immutable override ledger;
    /// @inheritdoc IRewards
    IMootToken public immutable override token;
    IPolicies private immutable _policies;

    BitMaps.BitMap private _settled;
    /// @inheritdoc IRewards
    mapping(address account => uint256) public override claimable;

    /// @param ledger_ Ledger of the rounds.
    /// @param token_ Token of the rewards; this contract must be its minter.
    constructor(IRoundLedger ledger_, IMootToken token_) {
        if (address(ledger_) == address(0) || address(token_) == address(0)) revert RewardsZeroAddress();
        ledger = ledger_;
        token = token_;
        _policies = ledger_.policies();
    }

    /// @inheritdoc IRewards
    function settle(RoundId id, IRoundLedger.Entry[] calldata entries, IRoundLedger.Anchor calldata anchor) external {
        IRoundLedger.Round memory round = ledger.rounds(id);
        if (round.phase != IRoundLedger.Phase.Final) revert RewardsNotFinal(id, round.phase);
        if (isSettled(id)) revert RewardsAlreadySettled(id);
        _requireRecorded(Commitments.hashEntries(entries), round.entriesHash);
        _requireRecorded(Commitments.hashAnchor(anchor), round.anchorHash);

        _settled.set(RoundId.unwrap(id));
        _credit(id, round.coordinator, _policies.policies(round.policy), entries, anchor);
        emit RoundSettled(id);
    }

    /// @inheritdoc IRewards
    function claim(address account) external returns (uint256 amount) {
        amount = claimable[account];
        if (amount == 0) revert RewardsNothingToClaim(account);
        delete claimable[account];
        emit RewardClaimed(account, amount);
        token.mint(account, amount);
    }

    /// @inheritdoc IRewards
    function isSettled(RoundId id) public view returns (bool) {
        return _settled.get(RoundId.unwrap(id));
    }

    /// @dev Neither product can overflow: a reward has 128 bits, a part 32, and the number of places 16. No part is above
    /// the whole: the ledger bounds pays.
    function _credit(
        RoundId id,
        address coordinator,
        IPolicies.Policy memory policy,
        IRoundLedger.Entry[] calldata entries,
        IRoundLedger.Anchor calldata anchor
    ) private {
        (uint32[] calldata parts, uint256 whole) = Pays.parts(anchor);
        uint256 reward = policy.reward;
        uint256 divisor = policy.maxContributors * whole;
        for (uint256 i = 0; i < parts.length; ++i) {
            address contributor = entries[i].contributor;
            if (contributor == coordinator) continue;
            uint256 amount = (reward * parts[i]) / divisor;
            if (amount == 0) continue;
            claimable[contributor] += amount;
            emit RewardCredited(id, contributor, amount);
        }
    }

    function _requireRecorded(bytes32 given, bytes32 recorded) private pure {
        if (given != recorded) revert RewardsRecordMismatch(given, recorded);
    }
}
