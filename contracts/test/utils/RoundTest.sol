// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { PolicyId, RoundId } from "../../src/libraries/Types.sol";
import { Deployment } from "./Deployment.sol";

/// @notice A staked coordinator, three staked contributors, and every step of a round in one line.
abstract contract RoundTest is Deployment {
    bytes32 internal constant HEADER_HASH = keccak256("header");
    bytes32 internal constant BUNDLE_HASH = keccak256("bundle");
    /// @dev contracts/snapshots/storage/StakeVault.txt.
    bytes32 private constant MEMBER_COUNT_SLOT = bytes32(uint256(9));

    function setUp() public virtual override {
        super.setUp();
        giveStake(coordinator.addr, 5 * BOND);
        giveStake(alice.addr, 5 * MIN_STAKE);
        giveStake(bob.addr, 3 * MIN_STAKE);
        giveStake(carol.addr, MIN_STAKE);
        enrol(alice.addr);
        enrol(bob.addr);
        enrol(carol.addr);
    }

    /// @notice Enrol a new account with the minimum stake and this number, as if those before it were given to others.
    function enrolAs(address account, uint256 number) internal {
        giveStake(account, MIN_STAKE);
        vm.store(address(vault), MEMBER_COUNT_SLOT, bytes32(number - 1));
        enrol(account);
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        vm.assertEq(uint256(vault.members(accounts)[0].id), number, "number");
    }

    function headRoot() internal view returns (bytes32 root) {
        (, root) = ledger.head();
    }

    function headRound() internal view returns (RoundId round) {
        (round,) = ledger.head();
    }

    function open() internal returns (RoundId round) {
        round = ledger.nextRound();
        bytes32 root = headRoot();
        vm.prank(coordinator.addr);
        ledger.openRound(round, root, HEADER_HASH);
    }

    /// @notice An acceptable commitment of `contributor`.
    function commitmentOf(address contributor, RoundId round) internal view returns (IRoundLedger.Commitment memory) {
        return IRoundLedger.Commitment({
            contributor: contributor,
            round: round,
            baseStateRoot: ledger.rounds(ledger.rounds(round).base).stateRoot,
            updateRoot: keccak256(abi.encode("update", contributor, round)),
            sumSquares: 12_345,
            memoryHash: keccak256("memory"),
            bundleHash: BUNDLE_HASH
        });
    }

    function signed(Actor memory signer, IRoundLedger.Commitment memory commitment)
        internal
        view
        returns (bytes memory)
    {
        return sign(signer, ledger.commitmentDigest(commitment));
    }

    /// @notice An entry of an event.
    function listed(IRoundLedger.Commitment memory commitment) internal pure returns (bytes memory) {
        return
            abi.encodePacked(
                commitment.contributor, commitment.updateRoot, commitment.sumSquares, commitment.memoryHash
            );
    }

    /// @notice An entry of a batch; a batch of several is one after the other.
    function batchOf(Actor memory signer, IRoundLedger.Commitment memory commitment)
        internal
        view
        returns (bytes memory)
    {
        return bytes.concat(listed(commitment), compact(signed(signer, commitment)));
    }

    /// @notice A signature of 65 bytes as ERC-2098 writes it.
    function compact(bytes memory signature) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        uint256 parity = uint256(uint8(signature[64])) - 27;
        return abi.encodePacked(r, uint256(s) | (parity << 255));
    }

    function commitOwn(Actor memory contributor, RoundId round) internal {
        IRoundLedger.Commitment memory commitment = commitmentOf(contributor.addr, round);
        vm.prank(contributor.addr);
        ledger.commitUpdate(commitment);
    }

    function commitThree(RoundId round) internal {
        commitOwn(alice, round);
        commitOwn(bob, round);
        commitOwn(carol, round);
    }

    /// @notice The entries that `commitThree` records.
    function threeEntries(RoundId round) internal view returns (IRoundLedger.Entry[] memory entries) {
        entries = new IRoundLedger.Entry[](3);
        address[3] memory contributors = [alice.addr, bob.addr, carol.addr];
        for (uint256 i = 0; i < 3; ++i) {
            entries[i] =
                IRoundLedger.Entry(contributors[i], ledger.hashCommitment(commitmentOf(contributors[i], round)));
        }
    }

    /// @notice An acceptable anchor for three entries, with weights 5, 3 and 1.
    function anchorFor(RoundId round) internal pure returns (IRoundLedger.Anchor memory) {
        uint32[] memory weights = new uint32[](3);
        (weights[0], weights[1], weights[2]) = (5, 3, 1);
        return anchorWith(round, weights);
    }

    function anchorWith(RoundId round, uint32[] memory weights) internal pure returns (IRoundLedger.Anchor memory) {
        return IRoundLedger.Anchor({
            weights: weights,
            pays: new uint32[](0),
            delivered: type(uint256).max,
            meanRoot: keccak256(abi.encode("mean", round)),
            stateRoot: keccak256(abi.encode("state", round)),
            gramRoot: bytes32(0),
            verdictHash: keccak256(abi.encode("verdicts", round)),
            artifactsHash: keccak256(abi.encode("artifacts", round)),
            entriesRoot: keccak256(abi.encode("entries", round))
        });
    }

    /// @notice Whether the coordinator of the round can close its commit window now.
    function canClose(RoundId round) internal returns (bool closable) {
        uint256 state = vm.snapshotState();
        vm.prank(ledger.rounds(round).coordinator);
        (closable,) = address(ledger).call(abi.encodeCall(IRoundLedger.closeCommits, (round)));
        vm.revertToState(state);
    }

    /// @notice Whether the early end of the commit window waits for the account.
    function counts(RoundId round, address account) internal view returns (bool) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        return ledger.isEnrolled(account) && vault.members(accounts)[0].since < ledger.rounds(round).openedAt;
    }

    function skipCommitWindow(RoundId round) internal {
        vm.warp(ledger.rounds(round).commitDeadline);
    }

    function skipChallengeWindow(RoundId round) internal {
        vm.warp(ledger.rounds(round).challengeDeadline);
    }

    function anchorNow(RoundId round) internal {
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchorFor(round));
    }

    /// @notice Anchor a round with two commitments of equal weight.
    function anchorTwo(RoundId round) internal {
        uint32[] memory weights = new uint32[](2);
        (weights[0], weights[1]) = (1, 1);
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchorWith(round, weights));
    }

    /// @notice Open a round, fill it with three commitments and anchor it.
    function anchored() internal returns (RoundId round) {
        round = open();
        commitThree(round);
        skipCommitWindow(round);
        anchorNow(round);
    }

    function finalized() internal returns (RoundId round) {
        round = anchored();
        skipChallengeWindow(round);
        ledger.finalize(round);
    }

    function report(RoundId round) internal {
        vm.prank(verifier.addr);
        ledger.reportFraud(round, challenger.addr);
    }

    function assertPhase(RoundId round, IRoundLedger.Phase expected, string memory message) internal view {
        vm.assertEq(uint256(ledger.phase(round)), uint256(expected), message);
    }

    function assertHead(RoundId round, string memory message) internal view {
        assertEq(headRound(), round, message);
        vm.assertEq(headRoot(), ledger.rounds(round).stateRoot, message);
    }

    function policyId(uint32 number) internal pure returns (PolicyId) {
        return PolicyId.wrap(number);
    }
}
