// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Judge } from "./Judge.sol";
import { IContributorFaults } from "./interfaces/IContributorFaults.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { Layout } from "./libraries/Layout.sol";
import { Signatures } from "./libraries/Signatures.sol";
import { RoundId } from "./libraries/Types.sol";
import { Widths } from "./libraries/Widths.sol";

/// @title Faults of contributors: two commitments for one round, an invalid update tree, a replay.
contract ContributorFaults is IContributorFaults, Judge {
    /// @notice Minimum sum of squares for a replay. Smaller updates can be equal by chance.
    uint64 public constant MIN_REPLAY_SQUARES = 256;

    /// @param ledger_ The ledger whose rounds are judged.
    constructor(IRoundLedger ledger_) Judge(ledger_) { }

    /// @inheritdoc IContributorFaults
    function proveTwoCommitments(
        IRoundLedger.Commitment calldata first,
        bytes calldata firstSignature,
        IRoundLedger.Commitment calldata second,
        bytes calldata secondSignature
    ) external {
        bytes32 base = _baseStateRoot(ledger.rounds(first.round));
        // The ledger's own digests: bound to its domain, and it reverts on a member that does not fit its type.
        bytes32 firstDigest = ledger.commitmentDigest(first);
        bytes32 secondDigest = ledger.commitmentDigest(second);
        if (
            firstDigest == secondDigest || first.contributor != second.contributor || first.round != second.round
                || first.baseStateRoot != base || second.baseStateRoot != base
        ) revert ContributorFaultsNoFault(Kind.TwoCommitments);
        _requireSignature(first.contributor, firstDigest, firstSignature);
        _requireSignature(first.contributor, secondDigest, secondSignature);
        _report(first.round, first.contributor, Kind.TwoCommitments);
    }

    /// @inheritdoc IContributorFaults
    function proveFalseTree(
        RoundId round,
        bytes calldata layout,
        bytes32 manifestDocument,
        Entry[] calldata entries,
        Fault calldata fault
    ) external {
        (IRoundLedger.Round memory stored,) = _recorded(round, entries);
        _requireLayout(layout, manifestDocument);
        _requireIndex(fault.entry, entries.length);
        (uint256 leaves, uint256 depth, Layout.Place memory place) =
            Layout.find(layout, fault.level == 0 ? fault.index : 0);
        uint256 largest = Widths.largest(_policies.policies(stored.policy).width);
        if (!_isFaulty(leaves, depth, place.values, largest, entries[fault.entry], fault)) {
            revert ContributorFaultsNoFault(Kind.FalseTree);
        }
        _report(round, entries[fault.entry].contributor, Kind.FalseTree);
    }

    /// @inheritdoc IContributorFaults
    function proveReplay(
        RoundId round,
        Entry[] calldata entries,
        uint256 entry,
        RoundId earlier,
        Entry[] calldata earlierEntries,
        uint256 earlierEntry
    ) external {
        _requireIndex(entry, entries.length);
        _requireIndex(earlierEntry, earlierEntries.length);
        (, bytes32 base) = _recorded(round, entries);
        (, bytes32 earlierBase) = _recorded(earlier, earlierEntries);
        Entry calldata copy = entries[entry];
        if (
            RoundId.unwrap(earlier) >= RoundId.unwrap(round) || base == earlierBase
                || copy.updateRoot != earlierEntries[earlierEntry].updateRoot || copy.sumSquares < MIN_REPLAY_SQUARES
        ) revert ContributorFaultsNoFault(Kind.Replay);
        _report(round, copy.contributor, Kind.Replay);
    }

    /// @dev A round, whatever its phase, of which the entries are all that are recorded.
    function _recorded(RoundId round, Entry[] calldata entries)
        private
        view
        returns (IRoundLedger.Round memory stored, bytes32 base)
    {
        stored = ledger.rounds(round);
        base = _baseStateRoot(stored);
        _requireEntries(round, stored, base, entries);
    }

    function _requireSignature(address contributor, bytes32 digest, bytes calldata signature) private view {
        if (!Signatures.isBy(contributor, digest, signature)) {
            revert ContributorFaultsInvalidSignature(contributor, digest);
        }
    }

    function _report(RoundId round, address contributor, Kind kind) private {
        emit FaultProven(round, contributor, msg.sender, kind);
        _arbiter().convictContributor(round, contributor, msg.sender);
    }
}
