// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundId } from "../libraries/Types.sol";
import { IMootToken } from "./IMootToken.sol";
import { IRoundLedger } from "./IRoundLedger.sol";

/// @title What final rounds pay: the only contract that mints.
/// @notice It reads the ledger, which knows nothing of it: nothing that is paid can change a round.
interface IRewards {
    /// @notice Emitted when the rewards of a final round were credited.
    event RoundSettled(RoundId indexed round);
    /// @notice Emitted for each contributor with a reward above zero when a round is settled.
    event RewardCredited(RoundId indexed round, address indexed contributor, uint256 amount);
    /// @notice Emitted when an account takes its rewards.
    event RewardClaimed(address indexed account, uint256 amount);

    /// @notice Thrown at deployment when an address is zero.
    error RewardsZeroAddress();
    /// @notice Thrown when a round that is not final is to be settled.
    error RewardsNotFinal(RoundId round, IRoundLedger.Phase current);
    /// @notice Thrown when a round was settled before.
    error RewardsAlreadySettled(RoundId round);
    /// @notice Thrown when entries or anchor are not the recorded ones.
    error RewardsRecordMismatch(bytes32 given, bytes32 recorded);
    /// @notice Thrown when there is nothing to claim.
    error RewardsNothingToClaim(address account);

    /// @notice Credit the rewards of a final round: `floor(reward * pay_i / (places * 65536))` to each entry, with `places`
    /// the `maxContributors` of the round's policy. Where the anchor has no pays, the weights say what an entry gets:
    /// `floor(reward * w_i / (places * max_j w_j))`. The coordinator's own entry is never paid.
    /// @dev Anybody. Needs the whole list of entries and the anchor, which are checked against the recorded hashes.
    /// The share of a place, `reward / places`, is the most that anybody gets. A full pay is that, or the largest weight.
    /// A place that is empty, or whose entry has less, pays nobody: what is not paid is not minted. So whether
    /// others are recorded changes nobody's pay, and k entries earn at most k shares, even if others are left out.
    /// Warning: a round with few entries pays few shares. The policy's `maxContributors` should be near the number of
    /// contributors that are expected.
    /// Warning: without pays, weights are relative to the largest of the round. Without its entry, the others are paid as
    /// if they were better than they are, up to the share of a place.
    function settle(RoundId round, IRoundLedger.Entry[] calldata entries, IRoundLedger.Anchor calldata anchor) external;

    /// @notice Mint to `account` what settled rounds credited to it. Anybody may send it.
    function claim(address account) external returns (uint256 amount);

    /// @notice Rewards credited to `account` and not yet claimed, in token units of 1e-18.
    function claimable(address account) external view returns (uint256);

    /// @notice Whether the rewards of a round were credited.
    function isSettled(RoundId round) external view returns (bool);

    /// @notice Ledger of the rounds.
    function ledger() external view returns (IRoundLedger);

    /// @notice Token of the rewards; this contract is its minter.
    function token() external view returns (IMootToken);
}
