// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IGovernor } from "@openzeppelin/contracts/governance/IGovernor.sol";
import { GovernorProposalGuardian } from "@openzeppelin/contracts/governance/extensions/GovernorProposalGuardian.sol";

import { MootGovernor } from "../src/governance/MootGovernor.sol";
import { RoundTest } from "./utils/RoundTest.sol";

/// @notice A guardian, which may cancel proposals until its term ends and do nothing else.
contract GovernorGuardianTest is RoundTest {
    uint48 private constant TERM = 30 days;
    uint8 private constant FOR = 1;
    string private constant DESCRIPTION = "Change something";

    address private _guardian;
    address[] private _targets;
    uint256[] private _values;
    bytes[] private _calls;

    function setUp() public override {
        _guardian = actor("guardian").addr;
        super.setUp();
        vm.warp(START + 1);
    }

    function guardian() internal view override returns (address) {
        return _guardian;
    }

    function guardianTerm() internal pure override returns (uint48) {
        return TERM;
    }

    function _propose(address target, bytes memory data) private returns (uint256 proposalId) {
        (_targets, _values, _calls) = (new address[](1), new uint256[](1), new bytes[](1));
        (_targets[0], _calls[0]) = (target, data);
        vm.prank(alice.addr);
        proposalId = governor.propose(_targets, _values, _calls, DESCRIPTION);
    }

    function _proposeSomething() private returns (uint256 proposalId) {
        return _propose(address(ledger), abi.encodeCall(ledger.appointCoordinator, (stranger.addr)));
    }

    function _accept(uint256 proposalId) private {
        vm.warp(governor.proposalSnapshot(proposalId) + 1);
        vm.prank(coordinator.addr);
        governor.castVote(proposalId, FOR);
        vm.warp(governor.proposalDeadline(proposalId) + 1);
    }

    function _queue() private {
        governor.queue(_targets, _values, _calls, keccak256(bytes(DESCRIPTION)));
    }

    function _execute() private {
        governor.execute(_targets, _values, _calls, keccak256(bytes(DESCRIPTION)));
    }

    function _carry(address target, bytes memory data) private {
        uint256 proposalId = _propose(target, data);
        _accept(proposalId);
        _queue();
        vm.warp(governor.proposalEta(proposalId));
        _execute();
    }

    function _cancel(address caller) private {
        vm.prank(caller);
        governor.cancel(_targets, _values, _calls, keccak256(bytes(DESCRIPTION)));
    }

    function _refusesToCancel(uint256 proposalId, address caller) private {
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorUnableToCancel.selector, proposalId, caller));
        _cancel(caller);
    }

    function _assertState(uint256 proposalId, IGovernor.ProposalState expected, string memory message) private view {
        vm.assertEq(uint256(governor.state(proposalId)), uint256(expected), message);
    }

    /// @dev Brings a proposal to a stage: pending, active, succeeded, queued.
    function _bring(uint256 proposalId, uint256 stage) private {
        if (stage == 1) vm.warp(governor.proposalSnapshot(proposalId) + 1);
        if (stage >= 2) _accept(proposalId);
        if (stage == 3) _queue();
    }

    function test_guardian_isThatOfTheDeployment() public {
        vm.assertEq(governor.proposalGuardian(), _guardian, "guardian");
        vm.assertEq(governor.guardianUntil(), START + TERM, "end of the term");
        vm.expectEmit();
        emit GovernorProposalGuardian.ProposalGuardianSet(address(0), _guardian);
        new MootGovernor(vault, timelock, 0, 1, 0, 0, 0, 0, _guardian, TERM);
    }

    function test_guardian_needsATermAndATermAGuardian() public {
        vm.expectRevert(abi.encodeWithSelector(MootGovernor.MootGovernorInvalidGuardian.selector, _guardian, 0));
        new MootGovernor(vault, timelock, 0, 1, 0, 0, 0, 0, _guardian, 0);
        vm.expectRevert(abi.encodeWithSelector(MootGovernor.MootGovernorInvalidGuardian.selector, address(0), 1));
        new MootGovernor(vault, timelock, 0, 1, 0, 0, 0, 0, address(0), 1);
        vm.warp(START + 2);
        MootGovernor without = new MootGovernor(vault, timelock, 0, 1, 0, 0, 0, 0, address(0), 0);
        vm.assertEq(without.proposalGuardian(), address(0), "no guardian");
        vm.assertEq(without.guardianUntil(), START + 2, "no term");
    }

    function test_guardian_cancelsInEveryStage() public {
        for (uint256 stage = 0; stage < 4; ++stage) {
            uint256 state = vm.snapshotState();
            uint256 proposalId = _proposeSomething();
            _bring(proposalId, stage);
            vm.expectEmit(address(governor));
            emit IGovernor.ProposalCanceled(proposalId);
            _cancel(_guardian);
            _assertState(proposalId, IGovernor.ProposalState.Canceled, "cancelled");
            vm.warp(START + 20 days);
            vm.expectRevert();
            _execute();
            vm.assertEq(ledger.coordinator(), coordinator.addr, "nothing changed");
            vm.revertToState(state);
        }
    }

    function test_guardian_doesNothingElse() public {
        uint256 proposalId = _proposeSomething();
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorOnlyExecutor.selector, _guardian));
        vm.prank(_guardian);
        governor.setProposalGuardian(address(0));
        vm.expectRevert(
            abi.encodeWithSelector(
                IGovernor.GovernorInsufficientProposerVotes.selector, _guardian, uint256(0), PROPOSAL_THRESHOLD
            )
        );
        vm.prank(_guardian);
        governor.propose(_targets, _values, _calls, "Another");
        vm.assertFalse(timelock.hasRole(timelock.CANCELLER_ROLE(), _guardian), "no role in the timelock");
        vm.warp(governor.proposalSnapshot(proposalId) + 1);
        vm.prank(_guardian);
        governor.castVote(proposalId, 0);
        (uint256 against,,) = governor.proposalVotes(proposalId);
        vm.assertEq(against, 0, "no votes");
    }

    /// @dev It can cancel its own removal for as long as its term lasts, and not longer. No vote makes the term longer.
    function test_guardian_canNotKeepItself() public {
        bytes memory removal = abi.encodeCall(governor.setProposalGuardian, (address(0)));
        uint256 proposalId = _propose(address(governor), removal);
        _accept(proposalId);
        _cancel(_guardian);
        vm.warp(START + TERM - 1);
        vm.assertEq(governor.proposalGuardian(), _guardian, "in the last second");
        vm.warp(START + TERM);
        vm.assertEq(governor.proposalGuardian(), address(0), "after the term");
        proposalId = _proposeSomething();
        _refusesToCancel(proposalId, _guardian);
        _accept(proposalId);
        _refusesToCancel(proposalId, _guardian);
        _queue();
        _refusesToCancel(proposalId, _guardian);
        vm.warp(governor.proposalEta(proposalId));
        _execute();
        vm.assertEq(ledger.coordinator(), stranger.addr, "carried out");
    }

    function test_guardian_isRemovedByAVote() public {
        _carry(address(governor), abi.encodeCall(governor.setProposalGuardian, (address(0))));
        vm.assertEq(governor.proposalGuardian(), address(0), "removed");
        uint256 proposalId = _proposeSomething();
        _accept(proposalId);
        _refusesToCancel(proposalId, _guardian);
        // Without a guardian the proposer has no more power than before: what was voted for goes on.
        _refusesToCancel(proposalId, alice.addr);
    }

    /// @dev Else a captured vote could put its own account there, and cancel all votes that would undo what it did.
    function test_guardian_isNotReplacedByAVote() public {
        uint256 proposalId = _propose(address(governor), abi.encodeCall(governor.setProposalGuardian, (bob.addr)));
        _accept(proposalId);
        _queue();
        vm.warp(governor.proposalEta(proposalId));
        vm.expectRevert(abi.encodeWithSelector(MootGovernor.MootGovernorNoNewGuardian.selector, bob.addr));
        _execute();
        vm.assertEq(governor.proposalGuardian(), _guardian, "as before");
    }

    function test_guardian_isNeverTheCoordinator() public {
        _carry(address(ledger), abi.encodeCall(ledger.appointCoordinator, (_guardian)));
        vm.assertEq(governor.proposalGuardian(), address(0), "it is the coordinator");
        uint256 proposalId = _proposeSomething();
        _refusesToCancel(proposalId, _guardian);
        vm.warp(START + 15 days);
        _carry(address(ledger), abi.encodeCall(ledger.appointCoordinator, (bob.addr)));
        vm.assertEq(governor.proposalGuardian(), _guardian, "it is not any more");
    }

    function test_proposer_cancelsBeforeTheVoteOnly() public {
        uint256 proposalId = _proposeSomething();
        uint256 state = vm.snapshotState();
        _cancel(alice.addr);
        _assertState(proposalId, IGovernor.ProposalState.Canceled, "taken back");
        vm.revertToState(state);
        vm.warp(governor.proposalSnapshot(proposalId) + 1);
        _refusesToCancel(proposalId, alice.addr);
    }

    /// @dev Whoever calls, in whatever stage and second: the guardian in its term, and the proposer before the vote.
    function testFuzz_cancel_isForTheGuardianInItsTermAndTheProposerBeforeTheVote(
        uint256 who,
        uint256 stage,
        uint256 later,
        address anybody
    ) public {
        address[5] memory callers = [_guardian, alice.addr, coordinator.addr, bob.addr, anybody];
        address caller = callers[who % 5];
        vm.warp(START + 1 + later % (2 * TERM));
        uint256 proposalId = _proposeSomething();
        _bring(proposalId, stage % 4);
        bool ofGuardian = caller == _guardian && block.timestamp < START + TERM;
        bool ofProposer = caller == alice.addr && stage % 4 == 0;
        if (!ofGuardian && !ofProposer) {
            _refusesToCancel(proposalId, caller);
            return;
        }
        _cancel(caller);
        _assertState(proposalId, IGovernor.ProposalState.Canceled, "cancelled");
    }
}
