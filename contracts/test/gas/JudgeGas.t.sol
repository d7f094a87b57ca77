// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IDataAvailability } from "../../src/interfaces/IDataAvailability.sol";
import { IJudge } from "../../src/interfaces/IJudge.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { GasWorld, LargestModel } from "../utils/GasWorld.sol";
import { Trees } from "../utils/Trees.sol";

/// @notice What demands, disputes and faults cost in a round of a hundred contributors.
contract JudgeGasTest is GasWorld {
    uint256 private constant CONTRIBUTORS = 100;

    function elements() internal pure override returns (uint64) {
        return 1_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "1 M";
    }

    function setUp() public override {
        super.setUp();
        vm.prank(treasury.addr);
        token.transfer(challenger.addr, 100 * DEPOSIT);
        vm.startPrank(challenger.addr);
        token.approve(address(_availability), type(uint256).max);
        token.approve(address(_disputes), type(uint256).max);
        vm.stopPrank();
    }

    function _snapshot(string memory what) private {
        uint256 gas = vm.snapshotGasLastCall("Judges", what);
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
    }

    function _bareOf(IJudge.Entry[] memory entries) private pure returns (IJudge.Entry[] memory bare) {
        bare = new IJudge.Entry[](entries.length);
        for (uint256 i = 0; i < entries.length; ++i) {
            bare[i].contributor = entries[i].contributor;
            bare[i].updateRoot = entries[i].updateRoot;
            bare[i].sumSquares = entries[i].sumSquares;
            bare[i].memoryHash = entries[i].memoryHash;
            bare[i].bundleHash = entries[i].bundleHash;
        }
    }

    /// @dev The lists from the root down to leaf 0, of 32, 32 and 4 random nodes but for the first of each.
    function _plainLists() private pure returns (bytes32[][3] memory lists, bytes32 node) {
        MerkleTree.Kind kind = MerkleTree.Kind.Mean;
        node = MerkleTree.leaf(kind, new bytes(256));
        for (uint256 step = 3; step > 0; --step) {
            uint256 height = step == 3 ? 2 : 5;
            bytes32[] memory list = new bytes32[](1 << height);
            list[0] = node;
            for (uint256 i = 1; i < list.length; ++i) {
                list[i] = keccak256(abi.encode("node", step, i));
            }
            lists[step - 1] = list;
            node = Trees.hashes(kind, list, height)[height][0];
        }
    }

    function _meanRoot() internal pure override returns (bytes32 root) {
        (, root) = _plainLists();
    }

    function _sumList() private pure returns (MerkleSum.Node[] memory list) {
        list = new MerkleSum.Node[](32);
        for (uint256 i = 0; i < 32; ++i) {
            list[i] = MerkleSum.Node(keccak256(abi.encode("sum", i)), uint64(1_000_000 + i), uint64(90_000_000 + i));
        }
    }

    /// @dev The update of entry 7 is one whose root's list is known.
    function _entry(uint256 i) internal view override returns (IJudge.Entry memory entry) {
        entry = super._entry(i);
        if (i != 7) return entry;
        MerkleSum.Node memory root = Trees.sums(_sumList(), 5)[5][0];
        (entry.updateRoot, entry.sumSquares) = (root.hash, root.squares);
    }

    function test_gas_demandUpdate() public {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(CONTRIBUTORS);
        IJudge.Entry[] memory bare = _bareOf(entries);
        vm.prank(challenger.addr);
        uint256 demand = _availability.demandUpdate(case_, bare, 7);
        _snapshot("demandUpdate, 1 M, 100");
        vm.prank(coordinator.addr);
        _availability.show(demand, Trees.list(_sumList(), 0, 32), bytes32(0));
        _snapshot("show, list of an update");
    }

    function test_gas_demandTree() public {
        (IJudge.Case memory case_,,) = _lie(CONTRIBUTORS);
        (bytes32[][3] memory lists,) = _plainLists();
        vm.prank(challenger.addr);
        uint256 demand = _availability.demandTree(case_, IDataAvailability.What.Mean);
        _snapshot("demandTree, 1 M, 100");
        for (uint256 step = 0; step < 3; ++step) {
            bytes memory list = abi.encodePacked(lists[step]);
            vm.prank(coordinator.addr);
            _availability.show(demand, list, bytes32(0));
            if (step == 1) _snapshot("show, list of the mean");
            vm.prank(challenger.addr);
            demand = _availability.descend(demand, list, 0);
            if (step == 1) _snapshot("descend, list of the mean");
        }
        vm.prank(coordinator.addr);
        _availability.show(demand, new bytes(256), bytes32(0));
        _snapshot("show, leaf of the mean");
    }

    function test_gas_demandFile() public {
        (IJudge.Case memory case_,, bytes memory header) = _lie(CONTRIBUTORS);
        vm.prank(challenger.addr);
        uint256 demand = _availability.demandFile(case_.round, case_.anchor, IDataAvailability.What.Header);
        _snapshot("demandFile, 100");
        vm.prank(coordinator.addr);
        _availability.show(demand, header, bytes32(0));
        _snapshot("show, header");
    }

    function test_gas_proveWithheld() public {
        (IJudge.Case memory case_,,) = _lie(CONTRIBUTORS);
        vm.prank(challenger.addr);
        uint256 demand = _availability.demandFile(case_.round, case_.anchor, IDataAvailability.What.Header);
        vm.warp(block.timestamp + 2 hours);
        vm.prank(stranger.addr);
        _availability.proveWithheld(demand);
        _snapshot("proveWithheld");
    }

    function test_gas_release() public {
        (IJudge.Case memory case_,,) = _lie(CONTRIBUTORS);
        vm.prank(challenger.addr);
        uint256 demand = _availability.demandFile(case_.round, case_.anchor, IDataAvailability.What.Header);
        vm.warp(ledger.rounds(case_.round).challengeDeadline);
        ledger.finalize(case_.round);
        vm.prank(stranger.addr);
        _availability.release(demand);
        _snapshot("release of a demand");
    }

    function test_gas_dispute() public {
        (IJudge.Case memory case_,,) = _lie(2);
        vm.prank(challenger.addr);
        _disputes.open(case_.round, "the weights are not those of the rule");
        _snapshot("open a dispute");
        uint256 state = vm.snapshotState();
        vm.prank(address(timelock));
        _disputes.uphold(case_.round);
        _snapshot("uphold a dispute");
        vm.revertToState(state);
        state = vm.snapshotState();
        vm.prank(address(timelock));
        _disputes.dismiss(case_.round);
        _snapshot("dismiss a dispute");
        vm.revertToState(state);
        vm.warp(block.timestamp + UNBONDING_PERIOD);
        vm.prank(stranger.addr);
        _disputes.release(case_.round, challenger.addr);
        _snapshot("release of a dispute");
    }

    function test_gas_proveTwoCommitments() public {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(2);
        IRoundLedger.Commitment memory first = IRoundLedger.Commitment(
            entries[0].contributor,
            case_.round,
            genesisState(),
            entries[0].updateRoot,
            entries[0].sumSquares,
            entries[0].memoryHash,
            entries[0].bundleHash
        );
        bytes memory firstSignature = sign(_crowd[0], ledger.commitmentDigest(first));
        IRoundLedger.Commitment memory second = first;
        second.updateRoot = keccak256("another");
        bytes memory secondSignature = sign(_crowd[0], ledger.commitmentDigest(second));
        IRoundLedger.Commitment memory again = abi.decode(abi.encode(second), (IRoundLedger.Commitment));
        again.updateRoot = entries[0].updateRoot;
        vm.prank(challenger.addr);
        _faults.proveTwoCommitments(again, firstSignature, second, secondSignature);
        _snapshot("proveTwoCommitments");
    }

    /// @dev A commitment to one less than the tree has.
    function test_gas_proveFalseTree() public {
        RoundId round = ledger.nextRound();
        vm.prank(coordinator.addr);
        ledger.openRound(round, genesisState(), keccak256("header"));
        IJudge.Entry[] memory entries = new IJudge.Entry[](CONTRIBUTORS);
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            entries[i] = _entry(i);
        }
        entries[0].sumSquares -= 1;
        _commit(round, entries);
        IJudge.Fault memory fault;
        (fault.index, fault.leaf, fault.siblings) = (5, entries[0].leaf, entries[0].siblings);
        fault.node = MerkleSum.leaf(fault.leaf);
        IJudge.Entry[] memory bare = _bareOf(entries);
        vm.prank(challenger.addr);
        _faults.proveFalseTree(round, _layout(), DOCUMENT, bare, fault);
        _snapshot("proveFalseTree, 1 M, 100");
    }

    function test_gas_proveReplay() public {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries,) = _lie(CONTRIBUTORS);
        RoundId round = ledger.nextRound();
        vm.prank(coordinator.addr);
        ledger.openRound(round, case_.anchor.stateRoot, keccak256("header"));
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            vm.prank(entries[i].contributor);
            ledger.commitUpdate(
                IRoundLedger.Commitment(
                    entries[i].contributor,
                    round,
                    case_.anchor.stateRoot,
                    entries[i].updateRoot,
                    entries[i].sumSquares,
                    entries[i].memoryHash,
                    entries[i].bundleHash
                )
            );
        }
        IJudge.Entry[] memory bare = _bareOf(entries);
        vm.prank(challenger.addr);
        _faults.proveReplay(round, bare, 7, case_.round, bare, 7);
        _snapshot("proveReplay, 100");
    }
}

/// @notice What it costs to deliver a part of an update on the chain.
abstract contract DeliveryGasTest is GasWorld {
    function test_gas_deliver() public {
        RoundId round = ledger.nextRound();
        vm.prank(coordinator.addr);
        ledger.openRound(round, genesisState(), keccak256("header"));
        MerkleSum.Node[] memory leaves = new MerkleSum.Node[](64);
        bytes memory values;
        for (uint256 i = 0; i < 64; ++i) {
            bytes memory leaf = _entry(i).leaf;
            leaves[i] = MerkleSum.leaf(leaf);
            values = bytes.concat(values, leaf);
        }
        MerkleSum.Node memory node = Trees.sums(leaves, 6)[6][0];
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](_depth() - 6);
        bytes memory packed;
        for (uint256 level = 0; level < siblings.length; ++level) {
            siblings[level] = MerkleSum.Node(keccak256(abi.encode(level)), node.absolute, node.squares);
            packed = abi.encodePacked(packed, siblings[level].hash, node.absolute, node.squares);
        }
        bytes32 root = MerkleSum.climb(node, 3, siblings).hash;
        vm.prank(_crowd[0].addr);
        _availability.deliver(round, root, _layout(), DOCUMENT, 3, values, packed);
        uint256 gas = vm.snapshotGasLastCall("Judges", string.concat("deliver, 16 KiB of ", name()));
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
    }
}

contract DeliveryGas1MTest is DeliveryGasTest {
    function elements() internal pure override returns (uint64) {
        return 1_000_000;
    }

    function name() internal pure override returns (string memory) {
        return "1 M";
    }
}

contract DeliveryGasLargestTest is DeliveryGasTest, LargestModel { }

/// @notice What the proof of a censored update costs; the size of the model does not matter to it.
contract DataAvailabilityGasTest is GasWorld {
    uint256 private constant CONTRIBUTORS = 100;

    function elements() internal pure override returns (uint64) {
        return 256;
    }

    function name() internal pure override returns (string memory) {
        return "one leaf";
    }

    function place() internal pure override returns (uint256) {
        return 0;
    }

    function test_gas_proveCensored() public {
        RoundId round = ledger.nextRound();
        vm.prank(coordinator.addr);
        ledger.openRound(round, genesisState(), keccak256("header"));
        IJudge.Entry[] memory entries = new IJudge.Entry[](CONTRIBUTORS);
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            entries[i] = _entry(i);
        }
        _commit(round, entries);
        vm.prank(_crowd[7].addr);
        _availability.deliver(round, entries[7].updateRoot, _layout(), DOCUMENT, 0, entries[7].leaf, "");
        vm.warp(ledger.rounds(round).commitDeadline);
        IRoundLedger.Anchor memory anchor = IRoundLedger.Anchor({
            weights: new uint32[](CONTRIBUTORS),
            pays: new uint32[](0),
            delivered: type(uint256).max ^ (1 << 7),
            meanRoot: keccak256("mean"),
            stateRoot: keccak256("state"),
            gramRoot: bytes32(0),
            verdictHash: keccak256("verdicts"),
            artifactsHash: keccak256("artifacts"),
            entriesRoot: keccak256("entries")
        });
        anchor.weights[0] = 1;
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        for (uint256 i = 0; i < CONTRIBUTORS; ++i) {
            (entries[i].leaf, entries[i].siblings) = ("", "");
        }
        vm.prank(stranger.addr);
        _availability.proveCensored(round, anchor, entries, 7);
        uint256 gas = vm.snapshotGasLastCall("Judges", "proveCensored, 100");
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
    }
}
