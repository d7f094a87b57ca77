// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IArbiter } from "./interfaces/IArbiter.sol";
import { IDisputes } from "./interfaces/IDisputes.sol";
import { IMootToken } from "./interfaces/IMootToken.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title Disputes about values that no contract can compute, decided by a vote.
contract Disputes is IDisputes {
    using SafeERC20 for IERC20;

    /// @inheritdoc IDisputes
    IRoundLedger public immutable override ledger;
    /// @inheritdoc IDisputes
    IERC20 public immutable override token;
    /// @inheritdoc IDisputes
    address public immutable override governance;
    /// @inheritdoc IDisputes
    uint256 public immutable override deposit;
    /// @inheritdoc IDisputes
    uint40 public immutable override decisionWindow;

    mapping(RoundId round => Dispute) private _disputes;

    /// @param ledger_ The ledger whose rounds are disputed.
    /// @param token_ Token of the deposits; it must be burnable by its holder.
    /// @param vault Vault of the ledger: a decision must fit into its unbonding time.
    /// @param governance_ Account that decides: the timelock.
    /// @param deposit_ Tokens of a deposit.
    /// @param decisionWindow_ Seconds that a round waits for a vote.
    constructor(
        IRoundLedger ledger_,
        IERC20 token_,
        IStakeVault vault,
        address governance_,
        uint256 deposit_,
        uint40 decisionWindow_
    ) {
        uint40 max = vault.unbondingPeriod();
        if (decisionWindow_ == 0 || decisionWindow_ > max) revert DisputesInvalidWindow(decisionWindow_, max);
        if (governance_ == address(0)) revert DisputesNotGovernance(address(0), governance_);
        ledger = ledger_;
        token = token_;
        governance = governance_;
        deposit = deposit_;
        decisionWindow = decisionWindow_;
    }

    modifier onlyGovernance() {
        if (msg.sender != governance) revert DisputesNotGovernance(msg.sender, governance);
        _;
    }

    /// @inheritdoc IDisputes
    function open(RoundId round, string calldata reason) external {
        IRoundLedger.Round memory stored = ledger.rounds(round);
        if (stored.phase != IRoundLedger.Phase.Anchored) revert DisputesNotAnchored(round, stored.phase);
        _require(round, Status.None);
        IRoundLedger.Policy memory policy = ledger.policies(stored.policy);
        uint256 deadline = Math.min(stored.challengeDeadline, uint256(stored.anchorDeadline) + policy.challengeWindow);
        if (block.timestamp >= deadline) revert DisputesTooLate(round, block.timestamp, deadline);

        uint40 decideBy = uint40(block.timestamp) + decisionWindow;
        _disputes[round] = Dispute(msg.sender, decideBy, Status.Open);
        emit DisputeOpened(round, msg.sender, decideBy, reason);
        IArbiter(policy.verifier).postpone(round, decideBy);
        token.safeTransferFrom(msg.sender, address(this), deposit);
    }

    /// @inheritdoc IDisputes
    function uphold(RoundId round) external onlyGovernance {
        address challenger = _end(round, Status.Upheld);
        emit DisputeUpheld(round, challenger);
        IArbiter(ledger.policies(ledger.rounds(round).policy).verifier).convict(round, address(0));
        token.safeTransfer(challenger, deposit);
    }

    /// @inheritdoc IDisputes
    function dismiss(RoundId round) external onlyGovernance {
        address challenger = _end(round, Status.Dismissed);
        uint256 burnt = deposit - deposit / 2;
        emit DisputeDismissed(round, challenger, burnt);
        token.safeTransfer(ledger.rounds(round).coordinator, deposit - burnt);
        IMootToken(address(token)).burn(burnt);
    }

    /// @inheritdoc IDisputes
    function release(RoundId round) external {
        address challenger = _end(round, Status.Returned);
        uint40 decideBy = _disputes[round].decideBy;
        bool waits = ledger.rounds(round).phase == IRoundLedger.Phase.Anchored && block.timestamp < decideBy;
        if (waits) revert DisputesTooEarly(round, block.timestamp, decideBy);
        emit DisputeReturned(round, challenger);
        token.safeTransfer(challenger, deposit);
    }

    /// @inheritdoc IDisputes
    function disputes(RoundId round) external view returns (Dispute memory) {
        return _disputes[round];
    }

    function _end(RoundId round, Status status) private returns (address challenger) {
        _require(round, Status.Open);
        _disputes[round].status = status;
        return _disputes[round].challenger;
    }

    function _require(RoundId round, Status required) private view {
        Status current = _disputes[round].status;
        if (current != required) revert DisputesWrongStatus(round, current);
    }
}
