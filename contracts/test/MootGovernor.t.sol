// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAccessControl } from "@openzeppelin/contracts/access/IAccessControl.sol";
import { IGovernor } from "@openzeppelin/contracts/governance/IGovernor.sol";
import { TimelockController } from "@openzeppelin/contracts/governance/TimelockController.sol";
import { GovernorPreventLateQuorum } from "@openzeppelin/contracts/governance/extensions/GovernorPreventLateQuorum.sol";

import { MootGovernor } from "../src/governance/MootGovernor.sol";
import { MootTimelock } from "../src/governance/MootTimelock.sol";
import { IModelRegistry } from "../src/interfaces/IModelRegistry.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice How the assembly decides, from the proposal to the change that it makes.
contract MootGovernorTest is RoundTest {
    uint8 private constant AGAINST = 0;
    uint8 private constant FOR = 1;
    uint8 private constant ABSTAIN = 2;
    bytes32 private constant REPORT = keccak256("evaluation report");
    string private constant DESCRIPTION = "Make the next version active";

    struct Proposal {
        address[] targets;
        uint256[] values;
        bytes[] calls;
        string description;
    }

    /// @dev 5000 of the coordinator, 500, 300 and 100: the quorum of 20 % is 1180.
    function setUp() public override {
        super.setUp();
        vm.warp(START + 1);
    }

    function _call(address target, bytes memory data) private pure returns (Proposal memory proposal) {
        proposal.targets = new address[](1);
        proposal.values = new uint256[](1);
        proposal.calls = new bytes[](1);
        proposal.targets[0] = target;
        proposal.calls[0] = data;
        proposal.description = DESCRIPTION;
    }

    function _activation(RoundId version) private view returns (Proposal memory) {
        return _call(address(registry), abi.encodeCall(registry.activate, (version, REPORT)));
    }

    function _propose(Actor memory proposer, Proposal memory proposal) private returns (uint256 proposalId) {
        vm.prank(proposer.addr);
        proposalId = governor.propose(proposal.targets, proposal.values, proposal.calls, proposal.description);
    }

    function _vote(Actor memory voter, uint256 proposalId, uint8 support) private {
        vm.prank(voter.addr);
        governor.castVote(proposalId, support);
    }

    function _startVote(uint256 proposalId) private {
        vm.warp(governor.proposalSnapshot(proposalId) + 1);
    }

    function _endVote(uint256 proposalId) private {
        vm.warp(governor.proposalDeadline(proposalId) + 1);
    }

    function _queue(Proposal memory proposal) private {
        governor.queue(proposal.targets, proposal.values, proposal.calls, keccak256(bytes(proposal.description)));
    }

    function _execute(Proposal memory proposal) private {
        vm.prank(stranger.addr);
        governor.execute(proposal.targets, proposal.values, proposal.calls, keccak256(bytes(proposal.description)));
    }

    /// @dev Carries a proposal through every step, with the votes of the coordinator and of alice.
    function _carry(Proposal memory proposal) private {
        uint256 proposalId = _propose(alice, proposal);
        _startVote(proposalId);
        _vote(coordinator, proposalId, FOR);
        _vote(alice, proposalId, FOR);
        _endVote(proposalId);
        _queue(proposal);
        vm.warp(governor.proposalEta(proposalId));
        _execute(proposal);
    }

    function _assertState(uint256 proposalId, IGovernor.ProposalState expected, string memory message) private view {
        vm.assertEq(uint256(governor.state(proposalId)), uint256(expected), message);
    }

    function test_settings_areThoseOfTheDeployment() public view {
        vm.assertEq(governor.name(), "MootGovernor", "name");
        vm.assertEq(governor.votingDelay(), VOTING_DELAY, "voting delay");
        vm.assertEq(governor.votingPeriod(), VOTING_PERIOD, "voting period");
        vm.assertEq(governor.proposalThreshold(), PROPOSAL_THRESHOLD, "proposal threshold");
        vm.assertEq(governor.quorumNumerator(), QUORUM_PERCENT, "quorum");
        vm.assertEq(uint256(governor.lateQuorumVoteExtension()), VOTE_EXTENSION, "extension");
        vm.assertEq(governor.CLOCK_MODE(), "mode=timestamp", "clock");
        vm.assertEq(uint256(governor.seasoning()), SEASONING, "seasoning");
        vm.assertEq(uint256(governor.launchedAt()), START, "launch");
        vm.assertEq(timelock.getMinDelay(), TIMELOCK_DELAY, "delay of the timelock");
        vm.assertEq(governor.quorum(START), vault.totalStaked() / 5, "a fifth of what is staked");
    }

    function test_activation_goesThroughVoteAndTimelock() public {
        RoundId version = finalized();
        Proposal memory proposal = _activation(version);
        uint256 proposalId = _propose(carol, proposal);
        _assertState(proposalId, IGovernor.ProposalState.Pending, "after the proposal");
        _startVote(proposalId);
        _assertState(proposalId, IGovernor.ProposalState.Active, "after the delay");
        _vote(coordinator, proposalId, FOR);
        _vote(alice, proposalId, AGAINST);
        _vote(bob, proposalId, ABSTAIN);
        (uint256 against, uint256 inFavour, uint256 abstained) = governor.proposalVotes(proposalId);
        vm.assertEq(against, 5 * MIN_STAKE, "stake of alice");
        vm.assertEq(inFavour, 4 * BOND, "stake of the coordinator when its bond was locked");
        vm.assertEq(abstained, 3 * MIN_STAKE, "stake of bob");
        _endVote(proposalId);
        _assertState(proposalId, IGovernor.ProposalState.Succeeded, "after the vote");
        vm.assertTrue(governor.proposalNeedsQueuing(proposalId), "a timelock stands in between");
        _queue(proposal);
        _assertState(proposalId, IGovernor.ProposalState.Queued, "in the timelock");
        uint256 eta = governor.proposalEta(proposalId);
        vm.assertEq(eta, block.timestamp + TIMELOCK_DELAY, "time of the execution");
        vm.warp(eta);
        vm.expectEmit(address(registry));
        emit IModelRegistry.VersionActivated(version, REPORT);
        _execute(proposal);
        _assertState(proposalId, IGovernor.ProposalState.Executed, "carried out");
        (RoundId active, bytes32 reportHash) = registry.active();
        assertEq(active, version, "active version");
        vm.assertEq(reportHash, REPORT, "report");
    }

    function test_activation_failsBeforeTheTimelockIsOver() public {
        Proposal memory proposal = _activation(finalized());
        uint256 proposalId = _propose(alice, proposal);
        _startVote(proposalId);
        _vote(coordinator, proposalId, FOR);
        _endVote(proposalId);
        _queue(proposal);
        vm.warp(governor.proposalEta(proposalId) - 1);
        bytes32 operation = timelock.hashOperationBatch(
            proposal.targets,
            proposal.values,
            proposal.calls,
            0,
            bytes32(bytes20(address(governor))) ^ keccak256(bytes(proposal.description))
        );
        vm.expectRevert(
            abi.encodeWithSelector(
                TimelockController.TimelockUnexpectedOperationState.selector,
                operation,
                bytes32(1 << uint8(TimelockController.OperationState.Ready))
            )
        );
        _execute(proposal);
    }

    function test_activation_ofAVersionThatIsNotFinalCanNotBeCarriedOut() public {
        RoundId round = anchored();
        Proposal memory proposal = _activation(round);
        uint256 proposalId = _propose(alice, proposal);
        _startVote(proposalId);
        _vote(coordinator, proposalId, FOR);
        _endVote(proposalId);
        _queue(proposal);
        vm.warp(governor.proposalEta(proposalId));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, round));
        _execute(proposal);
    }

    function test_proposal_isDefeatedWithoutTheQuorum() public {
        uint256 proposalId = _propose(alice, _activation(finalized()));
        _startVote(proposalId);
        _vote(alice, proposalId, FOR);
        _vote(bob, proposalId, FOR);
        _endVote(proposalId);
        _assertState(proposalId, IGovernor.ProposalState.Defeated, "900 of 5900 is under a fifth");
    }

    function test_proposal_isDefeatedByTheMajority() public {
        uint256 proposalId = _propose(alice, _activation(finalized()));
        _startVote(proposalId);
        _vote(alice, proposalId, FOR);
        _vote(coordinator, proposalId, AGAINST);
        _endVote(proposalId);
        _assertState(proposalId, IGovernor.ProposalState.Defeated, "more against than for");
    }

    function test_propose_failsBelowTheThreshold() public {
        Proposal memory proposal = _activation(finalized());
        vm.expectRevert(
            abi.encodeWithSelector(
                IGovernor.GovernorInsufficientProposerVotes.selector, stranger.addr, 0, PROPOSAL_THRESHOLD
            )
        );
        _propose(stranger, proposal);
    }

    function test_vote_countsTheStakeAtTheSnapshot() public {
        uint256 proposalId = _propose(alice, _activation(finalized()));
        uint256 stakeBefore = vault.stakeOf(bob.addr);
        _startVote(proposalId);
        giveStake(bob.addr, 100_000e18);
        _vote(bob, proposalId, FOR);
        (, uint256 inFavour,) = governor.proposalVotes(proposalId);
        vm.assertEq(inFavour, stakeBefore, "stake that came later does not vote");
    }

    /// @dev Audit L4: who takes its stake out has nothing to lose by a bad vote.
    function test_vote_countsNoStakeThatLeavesAfterTheSnapshot() public {
        uint256 proposalId = _propose(alice, _activation(finalized()));
        _startVote(proposalId);
        vm.prank(bob.addr);
        vault.requestUnbond(2 * MIN_STAKE);
        _vote(bob, proposalId, FOR);
        (, uint256 inFavour,) = governor.proposalVotes(proposalId);
        vm.assertEq(inFavour, MIN_STAKE, "only what stays votes");
    }

    /// @dev Audit L4.
    function test_vote_countsNoStakeThatWasSlashed() public {
        uint256 proposalId = _propose(alice, _activation(finalized()));
        _startVote(proposalId);
        vm.prank(address(ledger));
        vault.slash(bob.addr, MIN_STAKE, address(0));
        _vote(bob, proposalId, FOR);
        (, uint256 inFavour,) = governor.proposalVotes(proposalId);
        vm.assertEq(inFavour, 2 * MIN_STAKE, "what is left");
    }

    /// @dev Audit L4: stake of one second at the snapshot, and of one second less than must be.
    function test_vote_countsNoFreshStake() public {
        vm.warp(START + 30 days);
        giveStake(stranger.addr, 100_000e18);
        vm.warp(block.timestamp + SEASONING - 1);
        vm.assertEq(governor.getVotes(stranger.addr, block.timestamp - 1), 0, "a second too young");
        vm.warp(block.timestamp + 2);
        vm.assertEq(governor.getVotes(stranger.addr, block.timestamp - 1), 100_000e18, "old enough");
    }

    /// @notice A young federation can decide: half of its age is enough.
    function test_vote_seasonsForHalfTheAgeAtFirst() public {
        vm.warp(START + 2 days);
        giveStake(stranger.addr, 7e18);
        vm.warp(START + 4 days - 1);
        vm.assertEq(governor.getVotes(stranger.addr, START + 4 days - 2), 0, "younger than half of the age");
        vm.warp(START + 4 days + 1);
        vm.assertEq(governor.getVotes(stranger.addr, START + 4 days), 7e18, "as old as half of the age");
        vm.assertEq(governor.getVotes(stranger.addr, START - 1), 0, "before the deployment");
    }

    /// @dev Audit N2, as it was shown: four times the active stake, made in the second of the snapshot and unbonded a second
    /// later. Everybody else votes for.
    function test_N2_freshStakeDoesNotRaiseTheQuorum() public {
        vm.warp(START + 30 days);
        uint256 active = vault.totalStaked();
        uint256 proposalId = _propose(alice, _call(address(policies), abi.encodeCall(policies.addPolicy, (policy()))));
        vm.warp(governor.proposalSnapshot(proposalId));
        giveStake(stranger.addr, 4 * active);
        _startVote(proposalId);
        vm.prank(stranger.addr);
        vault.requestUnbond(4 * active);
        vm.assertEq(governor.quorum(governor.proposalSnapshot(proposalId)), active / 5, "a fifth of those who can vote");
        _vote(coordinator, proposalId, FOR);
        _vote(alice, proposalId, FOR);
        _vote(bob, proposalId, FOR);
        _vote(carol, proposalId, FOR);
        _endVote(proposalId);
        _assertState(proposalId, IGovernor.ProposalState.Succeeded, "all who could vote were for it");
    }

    /// @notice The other direction: an account that takes its stake out before a vote, or puts it in again after the seasoning has
    /// begun, lowers the quorum by its own share and no further, and gives its own votes for it.
    function testFuzz_N2_theQuorumIsAFifthOfThoseWhoCanVoteAtLeast(
        uint256 old,
        uint256 left,
        uint256 fresh,
        uint256 leftWhen,
        uint256 freshWhen
    ) public {
        old = bound(old, 1, GENESIS_SUPPLY / 4);
        left = bound(left, 1, old);
        fresh = bound(fresh, 1, GENESIS_SUPPLY / 4);
        uint256 snapshot = START + 30 days;
        uint256 others = vault.totalStaked();
        giveStake(stranger.addr, old);
        leftWhen = bound(leftWhen, START + 20 days, snapshot);
        freshWhen = bound(freshWhen, leftWhen, snapshot);
        vm.warp(leftWhen);
        vm.prank(stranger.addr);
        vault.requestUnbond(left);
        vm.warp(freshWhen);
        giveStake(stranger.addr, fresh);
        vm.warp(snapshot + 1);
        uint256 voting = others + governor.getVotes(stranger.addr, snapshot);
        vm.assertTrue(governor.quorum(snapshot) >= voting / 5, "a fifth of those who can vote");
        vm.assertTrue(governor.quorum(snapshot) <= vault.getPastTotalSupply(snapshot) / 5, "no more than before");
    }

    /// @notice What it takes to pass with the others asleep: a fifth of what can vote, however much was unbonded before.
    function test_N2_unbondingBeforehandPassesNothingWithFewVotes() public {
        giveStake(stranger.addr, 20 * vault.totalStaked());
        vm.warp(START + 30 days - SEASONING - 1);
        uint256 leaving = vault.stakeOf(stranger.addr) - 5 * MIN_STAKE;
        vm.prank(stranger.addr);
        vault.requestUnbond(leaving);
        vm.warp(START + 30 days);
        uint256 proposalId = _propose(alice, _activation(finalized()));
        _startVote(proposalId);
        _vote(stranger, proposalId, FOR);
        _endVote(proposalId);
        _assertState(proposalId, IGovernor.ProposalState.Defeated, "its own share is under a fifth of what is left");
    }

    /// @dev Audit H2: a fifth of the stake with the others asleep. What it can carry out takes nobody's stake.
    function test_capture_takesNoStake() public {
        vm.prank(coordinator.addr);
        vault.requestUnbond(4500e18);
        uint256 before = vault.stakeOf(alice.addr);
        _expectFails(address(vault), abi.encodeCall(vault.slash, (alice.addr, before, bob.addr)));
        _expectFails(address(vault), abi.encodeCall(vault.lockBond, (alice.addr, before)));
        _expectFails(address(token), abi.encodeCall(token.mint, (bob.addr, 1)));
        IPolicies.Policy memory captured = policy();
        captured.verifier = bob.addr;
        _expectFails(address(policies), abi.encodeCall(policies.addPolicy, (captured)));
        _expectFails(address(ledger), abi.encodeCall(ledger.reportFraud, (RoundId.wrap(1), bob.addr)));
        _expectFails(address(ledger), abi.encodeCall(ledger.reportFault, (RoundId.wrap(1), alice.addr, bob.addr)));
        vm.assertEq(vault.stakeOf(alice.addr), before, "stake of alice");
    }

    /// @dev The vote passes and can't be carried out, for whatever reason.
    function _expectFails(address target, bytes memory data) private {
        Proposal memory proposal = _decided(target, data);
        vm.expectRevert();
        _execute(proposal);
    }

    /// @dev The vote passes and can't be carried out for this reason.
    function _expectReverts(address target, bytes memory data, bytes memory reason) private {
        Proposal memory proposal = _decided(target, data);
        vm.expectRevert(reason);
        _execute(proposal);
    }

    /// @dev A vote that passed and may be executed.
    function _decided(address target, bytes memory data) private returns (Proposal memory proposal) {
        proposal = _call(target, data);
        uint256 proposalId = _propose(bob, proposal);
        _startVote(proposalId);
        _vote(bob, proposalId, FOR);
        _endVote(proposalId);
        _queue(proposal);
        vm.warp(governor.proposalEta(proposalId));
    }

    function test_vote_isProlongedByALateQuorum() public {
        uint256 proposalId = _propose(alice, _activation(finalized()));
        uint256 deadline = governor.proposalDeadline(proposalId);
        vm.warp(deadline - 1 hours);
        uint256 prolonged = deadline - 1 hours + VOTE_EXTENSION;
        vm.expectEmit(address(governor));
        emit GovernorPreventLateQuorum.ProposalExtended(proposalId, uint64(prolonged));
        _vote(coordinator, proposalId, FOR);
        vm.assertEq(governor.proposalDeadline(proposalId), prolonged, "deadline");
    }

    function test_cancel_isForTheProposerBeforeTheVote() public {
        Proposal memory proposal = _activation(finalized());
        uint256 proposalId = _propose(alice, proposal);
        bytes32 descriptionHash = keccak256(bytes(proposal.description));
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorUnableToCancel.selector, proposalId, coordinator.addr));
        vm.prank(coordinator.addr);
        governor.cancel(proposal.targets, proposal.values, proposal.calls, descriptionHash);
        vm.prank(alice.addr);
        governor.cancel(proposal.targets, proposal.values, proposal.calls, descriptionHash);
        _assertState(proposalId, IGovernor.ProposalState.Canceled, "taken back");
    }

    function test_governance_addsAPolicy() public {
        IPolicies.Policy memory added = policy();
        added.rule = "mean";
        _carry(_call(address(policies), abi.encodeCall(policies.addPolicy, (added))));
        assertEq(policies.currentPolicy(), policyId(2), "current policy");
    }

    function test_governance_replacesTheCoordinator() public {
        _carry(_call(address(ledger), abi.encodeCall(ledger.appointCoordinator, (bob.addr))));
        vm.assertEq(ledger.coordinator(), bob.addr, "coordinator");
    }

    /// @dev Every function by which a vote could make itself the last one: all refuse, and a later vote undoes the rest.
    function test_capture_lastsUntilTheNextVote() public {
        vm.prank(coordinator.addr);
        vault.requestUnbond(4500e18);
        bytes32 proposer = timelock.PROPOSER_ROLE();
        bytes memory noAdmin = abi.encodeWithSelector(
            IAccessControl.AccessControlUnauthorizedAccount.selector, address(timelock), bytes32(0)
        );
        _expectReverts(address(timelock), abi.encodeCall(timelock.grantRole, (proposer, bob.addr)), noAdmin);
        _expectReverts(address(timelock), abi.encodeCall(timelock.revokeRole, (proposer, address(governor))), noAdmin);
        bytes memory fixedDelay = abi.encodeWithSelector(MootTimelock.MootTimelockFixed.selector);
        _expectReverts(address(timelock), abi.encodeCall(timelock.updateDelay, (0)), fixedDelay);
        bytes[] memory changes = new bytes[](7);
        changes[0] = abi.encodeCall(governor.setVotingDelay, (1));
        changes[1] = abi.encodeCall(governor.setVotingPeriod, (1));
        changes[2] = abi.encodeCall(governor.setProposalThreshold, (GENESIS_SUPPLY));
        changes[3] = abi.encodeCall(governor.updateQuorumNumerator, (100));
        changes[4] = abi.encodeCall(governor.setLateQuorumVoteExtension, (1));
        changes[5] = abi.encodeCall(governor.updateTimelock, (TimelockController(payable(bob.addr))));
        changes[6] = abi.encodeCall(
            governor.relay, (address(timelock), 0, abi.encodeCall(timelock.renounceRole, (proposer, address(governor))))
        );
        for (uint256 i = 0; i < changes.length; ++i) {
            bytes memory reason = abi.encodeWithSelector(MootGovernor.MootGovernorFixed.selector, bytes4(changes[i]));
            _expectReverts(address(governor), changes[i], reason);
            vm.expectRevert(reason);
            vm.prank(coordinator.addr);
            (bool success,) = address(governor).call(changes[i]);
            vm.assertTrue(success, "expected to revert");
        }
        _carry(_call(address(ledger), abi.encodeCall(ledger.appointCoordinator, (bob.addr))));
        _carry(_call(address(ledger), abi.encodeCall(ledger.appointCoordinator, (coordinator.addr))));
        vm.assertEq(ledger.coordinator(), coordinator.addr, "voted back");
    }
}
