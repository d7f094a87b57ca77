// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Arbiter } from "../../src/Arbiter.sol";
import { FraudProofs } from "../../src/FraudProofs.sol";
import { IFraudProofs } from "../../src/interfaces/IFraudProofs.sol";
import { IJudge } from "../../src/interfaces/IJudge.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { PolicyId, RoundId } from "../../src/libraries/Types.sol";
import { Deployment } from "../utils/Deployment.sol";

/// @notice What a proof costs, by contributors and size of the model: whole transactions, call data included.
/// @dev Paths are random siblings, which cost what real ones do. Weights are above 0 for everybody: the dearest case.
abstract contract FraudGasTest is Deployment {
    bytes32 private constant DOCUMENT = keccak256("manifest.json");
    /// @notice EIP-7825.
    uint256 private constant TRANSACTION_CAP = 16_777_216;

    FraudProofs private _fraud;
    Actor[] private _crowd;

    function elements() internal pure virtual returns (uint64);

    function name() internal pure virtual returns (string memory);

    function rule() internal pure virtual returns (bytes32) {
        return "guided_mean";
    }

    function _layout() private pure returns (bytes memory) {
        return abi.encodePacked(elements());
    }

    function _depth() private pure returns (uint256 depth) {
        while ((uint256(256) << depth) < elements()) {
            ++depth;
        }
    }

    function manifestHash() internal pure override returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(_layout()), DOCUMENT));
    }

    function genesisState() internal pure override returns (bytes32) {
        bytes memory zeros = new bytes(2048);
        bytes32 theta =
            MerkleTree.climb(MerkleTree.Kind.Theta, MerkleTree.leaf(MerkleTree.Kind.Theta, zeros), 5, _path(1));
        bytes32 momentum =
            MerkleTree.climb(MerkleTree.Kind.Momentum, MerkleTree.leaf(MerkleTree.Kind.Momentum, zeros), 5, _path(2));
        return MerkleTree.stateRoot(manifestHash(), theta, momentum);
    }

    function policy() internal view override returns (IRoundLedger.Policy memory made) {
        made = super.policy();
        made.rule = rule();
        made.parameters = new uint32[](1);
        made.parameters[0] = 2;
        made.maxSumSquares = type(uint64).max;
        made.verifier = vm.computeCreateAddress(address(this), 2);
    }

    function setUp() public override {
        super.setUp();
        _fraud = new FraudProofs(ledger);
        address[] memory judges = new address[](1);
        judges[0] = address(_fraud);
        new Arbiter(ledger, judges);
        giveStake(coordinator.addr, 5 * BOND);
        for (uint256 i = 0; i < 100; ++i) {
            Actor memory member = actor(string.concat("contributor ", vm.toString(i)));
            _crowd.push(member);
            giveStake(member.addr, MIN_STAKE);
        }
    }

    function _path(uint256 seed) private pure returns (bytes32[] memory siblings) {
        siblings = new bytes32[](_depth());
        for (uint256 level = 0; level < siblings.length; ++level) {
            siblings[level] = keccak256(abi.encode("sibling", seed, level));
        }
    }

    /// @dev An update's leaf with a path of siblings with sums as real ones have them.
    function _entry(uint256 i) private view returns (IJudge.Entry memory entry) {
        bytes memory leaf = new bytes(256);
        for (uint256 c = 0; c < 256; ++c) {
            leaf[c] = bytes1(uint8(1 + uint256(keccak256(abi.encode(i, c))) % 255));
        }
        MerkleSum.Node memory node = MerkleSum.leaf(leaf);
        (entry.leaf, entry.absolute, entry.squares) = (leaf, node.absolute, node.squares);
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](_depth());
        for (uint256 level = 0; level < siblings.length; ++level) {
            siblings[level] = MerkleSum.Node(
                keccak256(abi.encode(i, "sibling", level)),
                node.absolute << uint64(level),
                node.squares << uint64(level)
            );
            entry.siblings = abi.encodePacked(
                entry.siblings, siblings[level].hash, siblings[level].absolute, siblings[level].squares
            );
        }
        MerkleSum.Node memory root = MerkleSum.climb(node, 5, siblings);
        entry.contributor = _crowd[i].addr;
        (entry.updateRoot, entry.sumSquares) = (root.hash, root.squares);
        (entry.numExamples, entry.bundleHash) = (600, keccak256("bundle"));
    }

    function _commit(RoundId round, IJudge.Entry[] memory entries) private {
        for (uint256 i = 0; i < entries.length; ++i) {
            IRoundLedger.Commitment memory commitment = IRoundLedger.Commitment(
                entries[i].contributor,
                round,
                genesisState(),
                entries[i].updateRoot,
                entries[i].sumSquares,
                entries[i].numExamples,
                entries[i].bundleHash
            );
            vm.prank(entries[i].contributor);
            ledger.commitUpdate(commitment);
        }
    }

    function _lie(uint256 contributors)
        private
        returns (IJudge.Case memory case_, IJudge.Entry[] memory entries, bytes memory header)
    {
        RoundId round = ledger.nextRound();
        header = abi.encode(
            RoundId.unwrap(round), manifestHash(), genesisState(), uint32(1), uint8(8), keccak256("seed"), hex"f6"
        );
        vm.prank(coordinator.addr);
        ledger.openRound(round, genesisState(), keccak256(header));
        entries = new IJudge.Entry[](contributors);
        uint32[] memory weights = new uint32[](contributors);
        for (uint256 i = 0; i < contributors; ++i) {
            entries[i] = _entry(i);
            weights[i] = rule() == "guided_mean" ? uint32(60_000 + i) : 1;
        }
        _commit(round, entries);
        vm.warp(ledger.rounds(round).commitDeadline);
        IRoundLedger.Anchor memory anchor = IRoundLedger.Anchor({
            weights: weights,
            delivered: type(uint256).max,
            aggregateRoot: MerkleTree.climb(
                MerkleTree.Kind.Aggregate, MerkleTree.leaf(MerkleTree.Kind.Aggregate, new bytes(1024)), 5, _path(3)
            ),
            stateRoot: MerkleTree.stateRoot(
                manifestHash(),
                MerkleTree.climb(MerkleTree.Kind.Theta, keccak256("a lie"), 5, _path(4)),
                MerkleTree.climb(MerkleTree.Kind.Momentum, keccak256("another"), 5, _path(5))
            ),
            gramRoot: bytes32(0),
            verdictHash: keccak256("verdicts"),
            artifactsHash: keccak256("artifacts")
        });
        vm.prank(coordinator.addr);
        ledger.anchor(round, anchor);
        case_ = IJudge.Case(round, anchor, _layout(), DOCUMENT);
    }

    function _hints(IJudge.Entry[] memory entries) private pure returns (bytes memory hints) {
        hints = new bytes(512);
        uint256 trim = (entries.length - 1) / 2 < 2 ? (entries.length - 1) / 2 : 2;
        uint8[] memory values = new uint8[](entries.length);
        for (uint256 c = 0; c < 256; ++c) {
            for (uint256 i = 0; i < values.length; ++i) {
                uint8 value = uint8(entries[i].leaf[c]);
                uint256 at = i;
                for (; at > 0 && values[at - 1] > value; --at) {
                    values[at] = values[at - 1];
                }
                values[at] = value;
            }
            (hints[c], hints[256 + c]) = (bytes1(values[trim]), bytes1(values[values.length - 1 - trim]));
        }
    }

    function _proveAggregate(uint256 contributors) internal returns (uint256 gas) {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(contributors);
        IJudge.Opening memory claimed =
            IJudge.Opening(MerkleTree.leaf(MerkleTree.Kind.Aggregate, new bytes(1024)), _path(3));
        bytes memory hints = rule() == "guided_mean" ? bytes("") : _hints(entries);
        vm.prank(challenger.addr);
        _fraud.proveAggregate(case_, entries, 5, claimed, hints);
        gas = vm.snapshotGasLastCall(
            "FraudProofs", string.concat("proveAggregate, ", name(), ", ", vm.toString(contributors))
        );
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
    }

    function test_gas_proveAggregate_5() public {
        _proveAggregate(5);
    }

    function test_gas_proveAggregate_10() public {
        _proveAggregate(10);
    }

    function test_gas_proveAggregate_50() public {
        _proveAggregate(50);
    }

    function test_gas_proveAggregate_100() public virtual {
        _proveAggregate(100);
    }

    function test_gas_proveOuterStep() public {
        if (rule() != "guided_mean") return;
        (IJudge.Case memory case_,, bytes memory header) = _lie(2);
        bytes memory zeros = new bytes(2048);
        IFraudProofs.Step memory made = IFraudProofs.Step({
            header: header,
            theta: IJudge.Leaf(zeros, _path(1)),
            momentum: IJudge.Leaf(zeros, _path(2)),
            aggregate: IJudge.Leaf(new bytes(1024), _path(3)),
            nextTheta: IJudge.Opening(keccak256("a lie"), _path(4)),
            nextMomentum: IJudge.Opening(keccak256("another"), _path(5))
        });
        vm.prank(challenger.addr);
        _fraud.proveOuterStep(case_, 5, made);
        vm.snapshotGasLastCall("FraudProofs", string.concat("proveOuterStep, ", name()));
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

    function test_gas_proveAggregate_100() public override {
        vm.assertLe(_proveAggregate(100), 4_500_000, "the bound that issues and design count on");
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

contract FraudGasTrimmedTest is FraudGasTest {
    function elements() internal pure override returns (uint64) {
        return 1_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "1 M, trimmed";
    }

    function rule() internal pure override returns (bytes32) {
        return "trimmed_mean";
    }
}
