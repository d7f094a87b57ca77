// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Governor } from "@openzeppelin/contracts/governance/Governor.sol";
import { TimelockController } from "@openzeppelin/contracts/governance/TimelockController.sol";
import { GovernorCountingSimple } from "@openzeppelin/contracts/governance/extensions/GovernorCountingSimple.sol";
import { GovernorPreventLateQuorum } from "@openzeppelin/contracts/governance/extensions/GovernorPreventLateQuorum.sol";
import { GovernorProposalGuardian } from "@openzeppelin/contracts/governance/extensions/GovernorProposalGuardian.sol";
import { GovernorSettings } from "@openzeppelin/contracts/governance/extensions/GovernorSettings.sol";
import { GovernorTimelockControl } from "@openzeppelin/contracts/governance/extensions/GovernorTimelockControl.sol";
import { GovernorVotes } from "@openzeppelin/contracts/governance/extensions/GovernorVotes.sol";
import {
    GovernorVotesQuorumFraction
} from "@openzeppelin/contracts/governance/extensions/GovernorVotesQuorumFraction.sol";
import { IVotes } from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IRoundLedger } from "../interfaces/IRoundLedger.sol";
import { IStakeVault } from "../interfaces/IStakeVault.sol";

/// @title The assembly: stakers propose and vote, the timelock carries out.
/// @notice Voting power is the least of three amounts of stake (StakeVault): at the proposal's snapshot, `seasoning`
/// seconds before it, and now. So stake that came for a vote does not vote, nor does stake that was slashed or is leaving.
/// In a young federation half of its age takes the place of `seasoning`. A late quorum prolongs the vote.
/// The quorum is a share of the lesser of the staked totals at these two times before the vote: stake that can't vote yet
/// does not raise it, and stake that left lowers it by no more than its own share.
/// A guardian, if there is one, may cancel proposals until its term ends, and do nothing else. A vote may remove it, and
/// put nobody in its place. No vote and no guardian can make the term longer, so a guardian can't keep itself in office
/// by cancelling.
/// Everything else of this contract is fixed: no vote can change how later votes are taken, so each can be undone.
/// @dev Warning: the quorum is a share of what is staked. Where little is staked, little is needed; the proposal
/// threshold is a fixed amount and keeps a nearly empty vault from being ruled by dust.
contract MootGovernor is
    Governor,
    GovernorSettings,
    GovernorCountingSimple,
    GovernorVotes,
    GovernorVotesQuorumFraction,
    GovernorTimelockControl,
    GovernorPreventLateQuorum,
    GovernorProposalGuardian
{
    /// @notice Seconds for which stake must have been there at a snapshot to vote.
    uint48 public immutable seasoning;
    /// @notice Unix time of the deployment.
    uint48 public immutable launchedAt;
    /// @notice Unix time from which there is no guardian any more, whoever was set.
    uint48 public immutable guardianUntil;

    /// @notice Thrown when the deployment names a guardian without a term, or a term without a guardian.
    error MootGovernorInvalidGuardian(address guardian, uint256 term);
    /// @notice Thrown when a vote tries to change this contract by the function `selector`.
    error MootGovernorFixed(bytes4 selector);
    /// @notice Thrown when a vote names another guardian: it can only remove the one there is.
    error MootGovernorNoNewGuardian(address guardian);

    /// @param vault Vault whose stakes are the votes.
    /// @param timelock_ Timelock that carries out what was voted, and that governs this contract.
    /// @param votingDelay_ Seconds from a proposal to its vote.
    /// @param votingPeriod_ Seconds in which votes are taken.
    /// @param proposalThreshold_ Votes that a proposer must have, in units of stake.
    /// @param quorumPercent Share of the staked total that must vote for or abstain, in percent.
    /// @param voteExtension Seconds that a vote stays open at least after the quorum is reached.
    /// @param seasoning_ Seconds for which stake must have been there at a snapshot to vote.
    /// @param guardian Who may cancel proposals, zero for nobody.
    /// @param guardianTerm Seconds from now for which there may be a guardian, zero for none.
    constructor(
        IVotes vault,
        TimelockController timelock_,
        uint48 votingDelay_,
        uint32 votingPeriod_,
        uint256 proposalThreshold_,
        uint256 quorumPercent,
        uint48 voteExtension,
        uint48 seasoning_,
        address guardian,
        uint48 guardianTerm
    )
        Governor("MootGovernor")
        GovernorSettings(votingDelay_, votingPeriod_, proposalThreshold_)
        GovernorVotes(vault)
        GovernorVotesQuorumFraction(quorumPercent)
        GovernorTimelockControl(timelock_)
        GovernorPreventLateQuorum(voteExtension)
    {
        seasoning = seasoning_;
        launchedAt = uint48(block.timestamp);
        guardianUntil = uint48(block.timestamp) + guardianTerm;
        if ((guardian == address(0)) != (guardianTerm == 0)) {
            revert MootGovernorInvalidGuardian(guardian, guardianTerm);
        }
        if (guardian != address(0)) _setProposalGuardian(guardian);
    }

    /// @notice Who may cancel proposals now; zero if nobody may but a proposer before the vote.
    /// @dev The coordinator is never the guardian: while one account is both, there is none.
    function proposalGuardian() public view override returns (address guardian) {
        guardian = super.proposalGuardian();
        if (block.timestamp >= guardianUntil || guardian == _coordinator()) return address(0);
    }

    /// @notice Removes the guardian, by a vote. `guardian` must be zero.
    function setProposalGuardian(address guardian) public override onlyGovernance {
        if (guardian != address(0)) revert MootGovernorNoNewGuardian(guardian);
        _setProposalGuardian(guardian);
    }

    /// @inheritdoc Governor
    function proposalThreshold() public view override(Governor, GovernorSettings) returns (uint256) {
        return super.proposalThreshold();
    }

    /// @inheritdoc Governor
    function state(uint256 proposalId) public view override(Governor, GovernorTimelockControl) returns (ProposalState) {
        return super.state(proposalId);
    }

    /// @inheritdoc Governor
    function proposalNeedsQueuing(uint256 proposalId)
        public
        view
        override(Governor, GovernorTimelockControl)
        returns (bool)
    {
        return super.proposalNeedsQueuing(proposalId);
    }

    /// @inheritdoc Governor
    function proposalDeadline(uint256 proposalId)
        public
        view
        override(Governor, GovernorPreventLateQuorum)
        returns (uint256)
    {
        return super.proposalDeadline(proposalId);
    }

    /// @notice Votes for and abstained that a proposal with its snapshot at `timepoint` needs.
    /// @dev Never less than the quorum's share of all the stake that can vote: that stake is in both totals.
    function quorum(uint256 timepoint) public view override(Governor, GovernorVotesQuorumFraction) returns (uint256) {
        return Math.min(super.quorum(timepoint), super.quorum(_seasoned(timepoint)));
    }

    /// @dev All functions by which votes change a governor of OpenZeppelin's ask this: settings, timelock and `relay`.
    function _checkGovernance() internal override {
        if (msg.sig != this.setProposalGuardian.selector) revert MootGovernorFixed(msg.sig);
        super._checkGovernance();
    }

    /// @dev The least of three: what an account has now is never more than what it could lose by a bad vote.
    function _getVotes(address account, uint256 timepoint, bytes memory params)
        internal
        view
        override(Governor, GovernorVotes)
        returns (uint256)
    {
        uint256 atSnapshot = super._getVotes(account, timepoint, params);
        uint256 before = super._getVotes(account, _seasoned(timepoint), params);
        return Math.min(Math.min(atSnapshot, before), token().getVotes(account));
    }

    /// @dev Not OpenZeppelin's rule for no guardian, under which a proposer could cancel what was voted for.
    function _validateCancel(uint256 proposalId, address caller)
        internal
        view
        override(Governor, GovernorProposalGuardian)
        returns (bool)
    {
        return caller == proposalGuardian() || Governor._validateCancel(proposalId, caller);
    }

    /// @dev When stake must have been there to count at `timepoint`.
    function _seasoned(uint256 timepoint) private view returns (uint256) {
        return timepoint - Math.min(seasoning, Math.saturatingSub(timepoint, launchedAt) / 2);
    }

    function _coordinator() private view returns (address) {
        return IRoundLedger(IStakeVault(address(token())).ledger()).coordinator();
    }

    function _tallyUpdated(uint256 proposalId) internal override(Governor, GovernorPreventLateQuorum) {
        super._tallyUpdated(proposalId);
    }

    function _queueOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint48) {
        return super._queueOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _executeOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) {
        super._executeOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _cancel(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint256) {
        return super._cancel(targets, values, calldatas, descriptionHash);
    }

    function _executor() internal view override(Governor, GovernorTimelockControl) returns (address) {
        return super._executor();
    }
}
