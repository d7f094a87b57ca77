// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IFraudProofs } from "../../src/interfaces/IFraudProofs.sol";
import { IJudge } from "../../src/interfaces/IJudge.sol";
import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { fullPays } from "../utils/Anchors.sol";
import { GasWorld, LargestModel, Size } from "../utils/GasWorld.sol";

/// @notice What a proof costs, by contributors and size of the model: whole transactions, call data included.
abstract contract FraudGasTest is GasWorld {
    function _proveMean(uint256 contributors) internal returns (uint256 gas) {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(contributors);
        IJudge.Opening memory claimed = IJudge.Opening(MerkleTree.leaf(MerkleTree.Kind.Mean, new bytes(256)), _path(3));
        bytes memory hints = hintsOf(entries);
        vm.prank(challenger.addr);
        _fraud.proveMean(case_, entries, 5, claimed, hints);
        gas = vm.snapshotGasLastCall(
            "FraudProofs", string.concat("proveMean, ", name(), ", ", vm.toString(contributors))
        );
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
    }

    function test_gas_proveMean_5() public {
        _proveMean(5);
    }

    function test_gas_proveMean_20() public {
        _proveMean(20);
    }

    function test_gas_proveMean_50() public {
        _proveMean(50);
    }

    function test_gas_proveMean_100() public virtual {
        _proveMean(100);
    }

    function test_gas_proveEntries() public {
        if (rule() != "guided_mean" || elements() != 1_000_000) return;
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(100);
        for (uint256 i = 0; i < entries.length; ++i) {
            (entries[i].leaf, entries[i].siblings) = ("", "");
        }
        vm.prank(challenger.addr);
        _fraud.proveEntries(case_, entries);
        vm.snapshotGasLastCall("FraudProofs", "proveEntries, 100");
    }

    function test_gas_proveOuterStep() public {
        if (rule() != "guided_mean") return;
        (IJudge.Case memory case_,, bytes memory header) = _lie(2);
        bytes memory zeros = new bytes(2048);
        IFraudProofs.Step memory made = IFraudProofs.Step({
            header: header,
            theta: IJudge.Leaf(zeros, _path(1)),
            momentum: IJudge.Leaf(zeros, _path(2)),
            mean: IJudge.Leaf(new bytes(256), _path(3)),
            nextTheta: IJudge.Opening(keccak256("a lie"), _path(4)),
            nextMomentum: IJudge.Opening(keccak256("another"), _path(5))
        });
        vm.prank(challenger.addr);
        _fraud.proveOuterStep(case_, 5, made);
        uint256 gas = vm.snapshotGasLastCall("FraudProofs", string.concat("proveOuterStep, ", name()));
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
    }

    function test_gas_proveHeader() public {
        if (rule() != "guided_mean") return;
        (IJudge.Case memory case_,, bytes memory header) = _lie(2);
        vm.prank(challenger.addr);
        _fraud.proveHeader(case_, header);
        uint256 gas = vm.snapshotGasLastCall("FraudProofs", string.concat("proveHeader, ", name()));
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
    }

    function test_gas_proveUpdate() public {
        if (rule() != "guided_mean") return;
        IJudge.Fault memory fault;
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(100);
        fault.index = 5;
        fault.leaf = entries[0].leaf;
        fault.siblings = entries[0].siblings;
        fault.node = MerkleSum.leaf(fault.leaf);
        for (uint256 i = 0; i < entries.length; ++i) {
            (entries[i].leaf, entries[i].siblings) = ("", "");
        }
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.FraudProofsNoFraud.selector, IFraudProofs.Lie.Update, 0));
        _fraud.proveUpdate(case_, entries, fault);
    }
}

contract FraudGas1MTest is FraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 1_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "1 M";
    }

    function test_gas_proveMean_100() public override {
        vm.assertLe(_proveMean(100), 4_500_000, "the bound that issues and design count on");
    }
}

contract FraudGas100MTest is FraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 100_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "100 M";
    }
}

contract FraudGasLargestTest is FraudGasTest, LargestModel { }

contract FraudGasClampedTest is FraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 1_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "1 M, clamped";
    }

    function rule() internal pure override returns (bytes32) {
        return "clamped_mean";
    }
}

/// @notice Audit, low: the largest round there is, with as many rounds on top of it as there may be.
/// @dev Of 256 entries one is the coordinator's, which has its place without enrolling.
abstract contract FullFraudGasTest is GasWorld {
    function policy() internal view override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.maxContributors = 256;
        (made.commitWindow, made.challengeWindow) = (1, 6 days);
    }

    function setUp() public override {
        super.setUp();
        giveStake(coordinator.addr, 256 * BOND);
        _addContributors(255);
        _crowd.push(coordinator);
    }

    function test_gas_proveMean_256() public {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(256);
        while (ledger.pendingRounds() < ledger.MAX_PENDING_ROUNDS()) {
            _buildOn(case_.anchor.stateRoot);
        }
        bytes memory hints = hintsOf(entries);
        IJudge.Opening memory claimed = IJudge.Opening(MerkleTree.leaf(MerkleTree.Kind.Mean, new bytes(256)), _path(3));
        vm.prank(challenger.addr);
        _fraud.proveMean(case_, entries, 5, claimed, hints);
        uint256 gas =
            vm.snapshotGasLastCall("FraudProofs", string.concat("proveMean, ", name(), ", 256, 255 rounds above"));
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
        (RoundId head,) = ledger.head();
        vm.assertEq(RoundId.unwrap(head), 0, "all are void");
    }

    /// @dev A round with two entries, on top of all others.
    function _buildOn(bytes32 stateRoot) private {
        RoundId round = ledger.nextRound();
        vm.prank(coordinator.addr);
        ledger.openRound(round, stateRoot, keccak256("header"));
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(_crowd[i].addr);
            ledger.commitUpdate(
                IRoundLedger.Commitment(
                    _crowd[i].addr, round, stateRoot, keccak256(abi.encode(i)), 1, keccak256("memory"), 0
                )
            );
        }
        vm.warp(ledger.rounds(round).commitDeadline);
        uint32[] memory weights = new uint32[](2);
        (weights[0], weights[1]) = (1, 1);
        IRoundLedger.Anchor memory anchor = IRoundLedger.Anchor({
            weights: weights,
            pays: fullPays(rule(), weights),
            delivered: 3,
            meanRoot: keccak256("mean"),
            stateRoot: stateRoot,
            gramRoot: bytes32(0),
            verdictHash: keccak256("verdicts"),
            artifactsHash: keccak256("artifacts"),
            entriesRoot: keccak256("entries")
        });
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
    }
}

contract FullFraudGas100MTest is FullFraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 100_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "100 M";
    }
}

contract FullFraudGasClampedTest is FullFraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 100_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "100 M, clamped";
    }

    function rule() internal pure override returns (bytes32) {
        return "clamped_mean";
    }
}

contract FullFraudGas4BTest is FullFraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 1 << 32;
    }

    function name() internal pure override returns (string memory) {
        return "4.3 B";
    }
}

contract FullFraudGasLargestTest is FullFraudGasTest, LargestModel { }

contract FullFraudGasLargestClampedTest is FullFraudGasTest, LargestModel {
    function name() internal pure override(Size, LargestModel) returns (string memory) {
        return string.concat(MANY_NAME, ", clamped");
    }

    function rule() internal pure override returns (bytes32) {
        return "clamped_mean";
    }
}
