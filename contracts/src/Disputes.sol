// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IArbiter } from "./interfaces/IArbiter.sol";
import { IDisputes } from "./interfaces/IDisputes.sol";
import { IMootToken } from "./interfaces/IMootToken.sol";
import { IPolicies } from "./interfaces/IPolicies.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { IStakeVault } from "./interfaces/IStakeVault.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title Disputes about values that no contract can compute, decided by a vote.
contract Disputes is IDisputes {
    using SafeERC20 for IERC20;

    /// @notice A deposit is 1/DEPOSIT_SHARE of the bond of the round: as much as a proof pays.
    uint256 public constant DEPOSIT_SHARE = 4;

    /// @inheritdoc IDisputes
    IRoundLedger public immutable override ledger;
    /// @inheritdoc IDisputes
    IERC20 public immutable override token;
    /// @inheritdoc IDisputes
    address public immutable override governance;
    /// @inheritdoc IDisputes
    uint40 public immutable override decisionWindow;
    IPolicies private immutable _policies;

    mapping(RoundId round => Dispute) private _disputes;
    /// @dev The dispute about the round, by its number, in which an account has a deposit; zero if it has none.
    mapping(RoundId round => mapping(address challenger => uint256)) private _depositIn;

    /// @param ledger_ The ledger whose rounds are disputed.
    /// @param token_ Token of the deposits; it must be burnable by its holder.
    /// @param vault Vault of the ledger: a decision must fit into its unbonding time.
    /// @param governance_ Account that decides: the timelock.
    /// @param decisionWindow_ Seconds that a round waits for a vote.
    constructor(IRoundLedger ledger_, IERC20 token_, IStakeVault vault, address governance_, uint40 decisionWindow_) {
        uint40 max = vault.unbondingPeriod();
        if (decisionWindow_ == 0 || decisionWindow_ > max) revert DisputesInvalidWindow(decisionWindow_, max);
        if (governance_ == address(0)) revert DisputesNotGovernance(address(0), governance_);
        ledger = ledger_;
        token = token_;
        governance = governance_;
        decisionWindow = decisionWindow_;
        _policies = ledger_.policies();
    }

    modifier onlyGovernance() {
        if (msg.sender != governance) revert DisputesNotGovernance(msg.sender, governance);
        _;
    }

    /// @inheritdoc IDisputes
    function open(RoundId round, string calldata reason) external {
        IRoundLedger.Round memory stored = ledger.rounds(round);
        if (stored.phase != IRoundLedger.Phase.Anchored) revert DisputesNotAnchored(round, stored.phase);
        IPolicies.Policy memory policy = _policies.policies(stored.policy);
        uint256 deadline = Math.min(stored.challengeDeadline, uint256(stored.anchorDeadline) + policy.challengeWindow);
        if (block.timestamp >= deadline) revert DisputesTooLate(round, block.timestamp, deadline);

        uint40 decideBy = uint40(block.timestamp) + decisionWindow;
        Dispute storage dispute = _disputes[round];
        if (dispute.status == Status.Open) {
            if (_depositIn[round][msg.sender] == dispute.number) revert DisputesAlreadyJoined(round, msg.sender);
        } else {
            // Nobody who comes after a dismissal pays for what was dismissed.
            if (dispute.status != Status.Dismissed) _require(round, Status.None);
            (dispute.challenger, dispute.status, dispute.challengers) = (msg.sender, Status.Open, 0);
            ++dispute.number;
        }
        dispute.decideBy = decideBy;
        ++dispute.challengers;
        _depositIn[round][msg.sender] = dispute.number;
        emit DisputeOpened(round, msg.sender, decideBy, reason);
        IArbiter(policy.verifier).hold(round, decideBy);
        token.safeTransferFrom(msg.sender, address(this), policy.bond / DEPOSIT_SHARE);
    }

    /// @inheritdoc IDisputes
    function uphold(RoundId round) external onlyGovernance {
        _require(round, Status.Open);
        _disputes[round].status = Status.Upheld;
        emit DisputeUpheld(round, _disputes[round].challenger);
        IArbiter(ledger.verifier()).convict(round, address(0));
    }

    /// @inheritdoc IDisputes
    function dismiss(RoundId round) external onlyGovernance {
        _require(round, Status.Open);
        Dispute storage dispute = _disputes[round];
        dispute.status = Status.Dismissed;
        uint256 taken = dispute.challengers * deposit(round);
        uint256 burnt = taken - taken / 2;
        emit DisputeDismissed(round, dispute.challenger, burnt);
        IRoundLedger.Round memory stored = ledger.rounds(round);
        if (stored.phase == IRoundLedger.Phase.Anchored) IArbiter(ledger.verifier()).resume(round);
        token.safeTransfer(stored.coordinator, taken - burnt);
        IMootToken(address(token)).burn(burnt);
    }

    /// @inheritdoc IDisputes
    function release(RoundId round, address challenger) external {
        Dispute storage dispute = _disputes[round];
        if (dispute.status == Status.Open) dispute.status = _end(round, dispute.decideBy);
        Status status = dispute.status;
        if (status < Status.Upheld || status == Status.Dismissed) revert DisputesWrongStatus(round, status);
        if (_depositIn[round][challenger] != dispute.number) revert DisputesNotChallenger(round, challenger);
        delete _depositIn[round][challenger];
        uint256 amount = deposit(round);
        bool burns = status == Status.Undecided;
        emit DisputeReturned(round, challenger, burns ? amount : 0);
        if (burns) IMootToken(address(token)).burn(amount);
        else token.safeTransfer(challenger, amount);
    }

    /// @inheritdoc IDisputes
    function disputes(RoundId round) external view returns (Dispute memory) {
        return _disputes[round];
    }

    /// @inheritdoc IDisputes
    function hasDeposit(RoundId round, address challenger) external view returns (bool) {
        Dispute storage dispute = _disputes[round];
        if (dispute.status == Status.None || dispute.status == Status.Dismissed) return false;
        return _depositIn[round][challenger] == dispute.number;
    }

    /// @inheritdoc IDisputes
    function deposit(RoundId round) public view returns (uint256) {
        return _policies.policies(ledger.rounds(round).policy).bond / DEPOSIT_SHARE;
    }

    /// @dev How an open dispute ends without a decision: its time is up, or the round is over.
    function _end(RoundId round, uint40 decideBy) private view returns (Status) {
        IRoundLedger.Phase phase = ledger.rounds(round).phase;
        bool stands = phase == IRoundLedger.Phase.Anchored;
        if (stands && block.timestamp < decideBy) revert DisputesTooEarly(round, block.timestamp, decideBy);
        return stands || phase == IRoundLedger.Phase.Final ? Status.Undecided : Status.Returned;
    }

    function _require(RoundId round, Status required) private view {
        Status current = _disputes[round].status;
        if (current != required) revert DisputesWrongStatus(round, current);
    }
}
