// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Arbiter } from "../../src/Arbiter.sol";
import { GramProofs } from "../../src/GramProofs.sol";
import { IAdmission } from "../../src/interfaces/IAdmission.sol";
import { IGramProofs } from "../../src/interfaces/IGramProofs.sol";
import { IJudge } from "../../src/interfaces/IJudge.sol";
import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { fullPays } from "../utils/Anchors.sol";
import { Deployment } from "../utils/Deployment.sol";
import { Libraries } from "../utils/Libraries.sol";
import { MAX_TENSORS, Trees } from "../utils/Trees.sol";

/// @notice What a proof about weights costs, by contributors and size of the model: whole transactions, call data
/// included.
/// @dev Paths are random siblings, which cost what real ones do, and matrices have entries of up to 64 bits and a sign.
abstract contract GramGasTest is Deployment {
    bytes32 private constant DOCUMENT = keccak256("manifest.json");
    /// @notice EIP-7825.
    uint256 private constant TRANSACTION_CAP = 16_777_216;

    GramProofs private _judge;
    Libraries private _libraries;
    Actor[] private _crowd;

    function depth() internal pure virtual returns (uint256);

    /// @notice Tensors of the model, a power of two.
    function tensors() internal pure virtual returns (uint256) {
        return 1;
    }

    /// @notice The block that is opened.
    function place() internal pure virtual returns (uint256) {
        return 5;
    }

    function rule() internal pure virtual returns (bytes32) {
        return "multi_krum";
    }

    /// @notice Name of the model's size in the snapshots.
    function sizeName() internal pure virtual returns (string memory) {
        return string.concat("depth ", vm.toString(depth()));
    }

    /// @notice Contributors that there are.
    function crowd() internal pure virtual returns (uint256) {
        return 100;
    }

    /// @notice Root that an entry commits to where it is no real block's.
    function rootOf(uint256 i) internal pure virtual returns (bytes32) {
        return _random("update", i);
    }

    /// @dev Of several tensors each lacks one value: its number of elements has as many bytes above 0 as there can be.
    function _layout() private pure returns (bytes memory) {
        // forge-lint: disable-next-line(unsafe-typecast)
        uint64 elements = uint64((256 << depth()) / tensors() - (tensors() > 1 ? 1 : 0));
        return Trees.repeated(abi.encodePacked(elements), tensors());
    }

    function manifestHash() internal pure override returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(_layout()), DOCUMENT));
    }

    function admission() internal pure override returns (IAdmission) {
        return EVERYBODY;
    }

    function policy() internal view override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.rule = rule();
        made.parameters[0] = 3;
        made.maxContributors = made.rule == "multi_krum" ? 32 : uint16(crowd());
        made.maxSumSquares = type(uint64).max;
        made.verifier = vm.computeCreateAddress(address(this), 2);
    }

    function setUp() public override {
        super.setUp();
        _judge = new GramProofs(ledger);
        address[] memory judges = new address[](1);
        judges[0] = address(_judge);
        vm.assertEq(address(new Arbiter(ledger, judges)), policy().verifier, "the address that the policy names");
        _libraries = new Libraries();
        giveStake(coordinator.addr, 5 * BOND);
        for (uint256 i = 0; i < crowd(); ++i) {
            Actor memory member = actor(string.concat("contributor ", vm.toString(i)));
            _crowd.push(member);
            giveStake(member.addr, MIN_STAKE);
            enrol(member.addr);
        }
    }

    function _random(string memory what, uint256 i) private pure returns (bytes32) {
        return keccak256(abi.encode(what, i));
    }

    /// @dev Large squares, and products that are small beside them.
    function _matrix(uint256 count, uint256 seed) private pure returns (bytes memory matrix) {
        for (uint256 a = 0; a < count; ++a) {
            for (uint256 b = 0; b <= a; ++b) {
                int256 entry = int64(uint64(uint256(keccak256(abi.encode(seed, a, b))) >> 193));
                if (a != b) entry = (entry - int256(1 << 62)) / 1024;
                matrix = bytes.concat(matrix, bytes24(uint192(int192(entry))));
            }
        }
    }

    function _path(uint256 levels) private pure returns (bytes memory path) {
        for (uint256 level = 0; level < levels; ++level) {
            path = bytes.concat(path, _random("sibling", level), _random("matrix", level));
        }
    }

    /// @dev A block of random leaves in an update of which the rest is a path.
    function _update(uint256 i)
        private
        view
        returns (IGramProofs.Update memory update, bytes32 updateRoot, uint64 squares)
    {
        update.leaves = new bytes(16 * 256);
        for (uint256 c = 0; c < update.leaves.length; ++c) {
            update.leaves[c] = bytes1(uint8(1 + uint256(keccak256(abi.encode(i, c))) % 255));
        }
        for (uint256 node = 0; node < 31; ++node) {
            update.sums = abi.encodePacked(update.sums, uint64(16_000 + node), uint64(1_000_000 + node));
        }
        MerkleSum.Node memory top = _libraries.top(update.leaves, update.sums, 4, 16);
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](depth() - 4);
        for (uint256 level = 0; level < siblings.length; ++level) {
            siblings[level] = MerkleSum.Node(
                keccak256(abi.encode(i, "sibling", level)), top.absolute << uint64(level), top.squares << uint64(level)
            );
            update.siblings = abi.encodePacked(
                update.siblings, siblings[level].hash, siblings[level].absolute, siblings[level].squares
            );
        }
        MerkleSum.Node memory root = MerkleSum.climb(top, place(), siblings);
        (updateRoot, squares) = (root.hash, root.squares);
    }

    function _header() private pure returns (bytes memory) {
        bytes memory exponents = Trees.repeated(hex"f6", tensors());
        return abi.encode(uint64(1), manifestHash(), GENESIS_STATE, uint32(1), uint8(8), keccak256("seed"), exponents);
    }

    /// @dev A round in which the first and the last commit to real blocks, if it has no more than 100 entries.
    function _round(uint256 count, bytes32 gramRoot)
        private
        returns (IJudge.Case memory case_, IJudge.Entry[] memory entries)
    {
        RoundId round = ledger.nextRound();
        vm.prank(coordinator.addr);
        ledger.openRound(round, GENESIS_STATE, keccak256(_header()));
        entries = new IJudge.Entry[](count);
        for (uint256 i = 0; i < count; ++i) {
            (bytes32 updateRoot, uint64 squares) = (rootOf(i), 0);
            if (count <= 100 && (i == 0 || i == count - 1)) (, updateRoot, squares) = _update(i);
            bytes32 bundleHash = keccak256("bundle");
            vm.prank(_crowd[i].addr);
            ledger.commitUpdate(
                IRoundLedger.Commitment(
                    _crowd[i].addr, round, GENESIS_STATE, updateRoot, squares, keccak256("memory"), bundleHash
                )
            );
            entries[i] =
                IJudge.Entry(_crowd[i].addr, updateRoot, squares, keccak256("memory"), bundleHash, "", 0, 0, "");
        }
        vm.warp(ledger.rounds(round).commitDeadline);
        uint32[] memory weights = new uint32[](count);
        // No rule that is judged here gives a 2.
        (weights[0], weights[count - 1]) = (1, 2);
        IRoundLedger.Anchor memory anchor = IRoundLedger.Anchor({
            weights: weights,
            pays: fullPays(rule(), weights),
            delivered: type(uint256).max,
            meanRoot: keccak256("mean"),
            stateRoot: keccak256("state"),
            gramRoot: gramRoot,
            verdictHash: keccak256("verdicts"),
            artifactsHash: keccak256("artifacts"),
            entriesRoot: keccak256("entries")
        });
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        case_ = IJudge.Case(round, anchor, _layout(), DOCUMENT);
        vm.startPrank(challenger.addr);
    }

    function _measure(string memory what, uint256 count) private {
        string memory size = string.concat(", ", sizeName(), ", ", vm.toString(count));
        uint256 gas = vm.snapshotGasLastCall("GramProofs", string.concat(what, size));
        vm.assertLe(gas, TRANSACTION_CAP, "the cap of a transaction (EIP-7825)");
    }

    function _proveMeanWeight(uint256 count) internal {
        (IJudge.Case memory case_, IJudge.Entry[] memory entries) = _round(count, bytes32(0));
        _judge.proveMeanWeight(case_, entries, count - 1);
        _measure("proveMeanWeight", count);
    }

    function _proveKrum(uint256 count) internal {
        IGramProofs.GramOpening memory root =
            IGramProofs.GramOpening(_random("left", 0), _random("right", 0), _matrix(count, 1), "");
        bytes32 hash = _libraries.gramNode(root.left, root.right, keccak256(root.matrix));
        (IJudge.Case memory case_, IJudge.Entry[] memory entries) = _round(count, hash);
        _judge.proveKrum(case_, entries, count - 1, root);
        _measure("proveKrum", count);
    }

    function _proveGramLeaf(uint256 count) internal {
        uint256 levels = depth() - 4;
        IGramProofs.GramOpening memory leaf =
            IGramProofs.GramOpening(bytes32(0), bytes32(0), _matrix(count, 2), _path(levels));
        bytes32 root = _libraries.gramClimb(_libraries.gramLeaf(leaf.matrix), place(), leaf.path, levels);
        (IJudge.Case memory case_, IJudge.Entry[] memory entries) = _round(count, root);
        IGramProofs.Pair memory pair;
        (pair.a, pair.b, pair.header) = (count - 1, 0, _header());
        (pair.updates[0],,) = _update(count - 1);
        (pair.updates[1],,) = _update(0);
        _judge.proveGramLeaf(case_, entries, place(), leaf, pair);
        _measure("proveGramLeaf", count);
    }

    function _proveGramNode(uint256 count) internal {
        uint256 levels = depth() - 5;
        IGramProofs.Sum memory sum;
        (sum.level, sum.index, sum.a) = (1, place(), count - 1);
        for (uint256 side = 0; side < 2; ++side) {
            sum.children[side].matrix = _matrix(count, 3 + side);
        }
        sum.node = IGramProofs.GramOpening(
            _libraries.gramLeaf(sum.children[0].matrix),
            _libraries.gramLeaf(sum.children[1].matrix),
            _matrix(count, 5),
            _path(levels)
        );
        bytes32 root = _libraries.gramNode(sum.node.left, sum.node.right, keccak256(sum.node.matrix));
        root = _libraries.gramClimb(root, place(), sum.node.path, levels);
        (IJudge.Case memory case_, IJudge.Entry[] memory entries) = _round(count, root);
        _judge.proveGramNode(case_, entries, sum);
        _measure("proveGramNode", count);
    }
}

abstract contract GramGasKrumTest is GramGasTest {
    function test_gas_proveKrum_5() public {
        _proveKrum(5);
    }

    function test_gas_proveKrum_10() public {
        _proveKrum(10);
    }

    function test_gas_proveKrum_20() public {
        _proveKrum(20);
    }

    function test_gas_proveKrum_32() public {
        _proveKrum(32);
    }

    function test_gas_proveGramLeaf_5() public {
        _proveGramLeaf(5);
    }

    function test_gas_proveGramLeaf_10() public {
        _proveGramLeaf(10);
    }

    function test_gas_proveGramLeaf_20() public {
        _proveGramLeaf(20);
    }

    function test_gas_proveGramLeaf_32() public {
        _proveGramLeaf(32);
    }

    function test_gas_proveGramNode_5() public {
        _proveGramNode(5);
    }

    function test_gas_proveGramNode_10() public {
        _proveGramNode(10);
    }

    function test_gas_proveGramNode_20() public {
        _proveGramNode(20);
    }

    function test_gas_proveGramNode_32() public {
        _proveGramNode(32);
    }
}

contract GramGas12Test is GramGasKrumTest {
    function depth() internal pure override returns (uint256) {
        return 12;
    }
}

contract GramGas20Test is GramGasKrumTest {
    function depth() internal pure override returns (uint256) {
        return 20;
    }
}

/// @notice The last block of the largest model, in as many tensors as a manifest may have.
contract GramGasManyTensorsTest is GramGasTest {
    function depth() internal pure override returns (uint256) {
        return 24;
    }

    function tensors() internal pure override returns (uint256) {
        return MAX_TENSORS;
    }

    function place() internal pure override returns (uint256) {
        return (1 << (depth() - 4)) - 1;
    }

    function sizeName() internal pure override returns (string memory) {
        return "depth 24 in 4096 tensors";
    }

    function test_gas_proveGramLeaf_32() public {
        _proveGramLeaf(32);
    }
}

contract GramGasMeanTest is GramGasTest {
    function depth() internal pure override returns (uint256) {
        return 20;
    }

    function rule() internal pure override returns (bytes32) {
        return "mean";
    }

    function test_gas_proveMeanWeight_5() public {
        _proveMeanWeight(5);
    }

    function test_gas_proveMeanWeight_32() public {
        _proveMeanWeight(32);
    }

    function test_gas_proveMeanWeight_100() public {
        _proveMeanWeight(100);
    }
}

/// @notice The most entries that a round can have.
abstract contract GramGasCrowdTest is GramGasTest {
    function depth() internal pure override returns (uint256) {
        return 20;
    }

    function crowd() internal pure override returns (uint256) {
        return 256;
    }
}

/// @notice An entry is compared with all before it.
contract GramGasMeanCrowdTest is GramGasCrowdTest {
    function rule() internal pure override returns (bytes32) {
        return "mean";
    }

    function test_gas_proveMeanWeight_256() public {
        _proveMeanWeight(256);
    }
}
