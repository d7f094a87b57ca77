// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Arbiter } from "../../src/Arbiter.sol";
import { GramProofs } from "../../src/GramProofs.sol";
import { IGramProofs } from "../../src/interfaces/IGramProofs.sol";
import { IJudge } from "../../src/interfaces/IJudge.sol";
import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { PolicyId, RoundId } from "../../src/libraries/Types.sol";
import { RoundTest } from "./RoundTest.sol";
import { Trees } from "./Trees.sol";

/// @notice Rounds with real updates and their Gram tree: six entries, of which one is the coordinator's own and one did not
/// arrive, so that four are weighed.
abstract contract GramWorld is RoundTest {
    uint256 internal constant ENTRIES = 6;
    /// @notice The coordinator's own entry, and the one that did not arrive.
    uint256 internal constant OWN = 1;
    uint256 internal constant LOST = 4;
    bytes32 internal constant DOCUMENT = keccak256("manifest.json");

    /// @notice Everything about a round. A test changes something, and anchors that.
    struct World {
        RoundId round;
        bytes header;
        bytes[][] updates;
        MerkleSum.Node[][][] updateTrees;
        uint32[] weights;
        uint256 delivered;
        bytes[][] matrices;
        bytes32[][] hashes;
        IRoundLedger.Anchor anchor;
    }

    GramProofs internal judge;
    Arbiter internal arbiter;
    Actor[] private _contributors;
    bytes[] private _kept;

    function setUp() public virtual override {
        super.setUp();
        judge = new GramProofs(ledger);
        address[] memory judges = new address[](1);
        judges[0] = address(judge);
        arbiter = new Arbiter(ledger, judges);
        vm.assertEq(address(arbiter), policy().verifier, "the address that the policy names");
        Actor[6] memory actors = [alice, coordinator, bob, carol, actor("dora"), actor("emil")];
        for (uint256 i = 0; i < ENTRIES; ++i) {
            _contributors.push(actors[i]);
            giveStake(actors[i].addr, MIN_STAKE);
            enrol(actors[i].addr);
        }
    }

    // What it is made of.

    /// @notice Elements of each tensor.
    function elements() internal pure virtual returns (uint64[3] memory);

    function exponents() internal view virtual returns (bytes memory) {
        return abi.encodePacked(int8(-12), int8(4), int8(-40));
    }

    function exponentOf(uint256 leaf) internal view returns (int256) {
        uint64[3] memory sizes = elements();
        uint256 end = 0;
        for (uint256 tensor = 0; tensor < 3; ++tensor) {
            end += (sizes[tensor] + 255) / 256;
            if (leaf < end) return int8(uint8(exponents()[tensor]));
        }
        revert("no such leaf");
    }

    function leaves() internal pure returns (uint256 count) {
        uint64[3] memory sizes = elements();
        for (uint256 tensor = 0; tensor < 3; ++tensor) {
            count += (sizes[tensor] + 255) / 256;
        }
    }

    function depth() internal pure returns (uint256 levels) {
        while ((1 << levels) < leaves()) {
            ++levels;
        }
    }

    function blockLevels() internal pure returns (uint256) {
        return depth() < 4 ? depth() : 4;
    }

    function gramDepth() internal pure returns (uint256) {
        return depth() - blockLevels();
    }

    function blocks() internal pure returns (uint256) {
        return (leaves() + (1 << blockLevels()) - 1) >> blockLevels();
    }

    function layout() internal pure returns (bytes memory) {
        uint64[3] memory sizes = elements();
        return abi.encodePacked(sizes[0], sizes[1], sizes[2]);
    }

    function manifestHash() internal pure override returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(layout()), DOCUMENT));
    }

    function policy() internal view virtual override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.maxSumSquares = type(uint64).max;
        // The test contract deploys judge and arbiter once the ledger is there.
        made.verifier = vm.computeCreateAddress(address(this), 2);
    }

    // A round.

    /// @notice Keep a world, as it takes long to make one.
    function store(World memory world) internal {
        _kept.push(abi.encode(world.anchor));
        _kept.push(world.header);
        for (uint256 i = 0; i < ENTRIES; ++i) {
            _kept.push(abi.encode(world.updates[i]));
            for (uint256 level = 0; level <= depth(); ++level) {
                _kept.push(abi.encode(world.updateTrees[i][level]));
            }
        }
        for (uint256 level = 0; level < world.matrices.length; ++level) {
            _kept.push(abi.encode(world.matrices[level]));
            _kept.push(abi.encode(world.hashes[level]));
        }
    }

    /// @notice The world that was kept.
    function load() internal view returns (World memory world) {
        world.round = id(1);
        world.anchor = abi.decode(_kept[0], (IRoundLedger.Anchor));
        (world.weights, world.delivered) = (world.anchor.weights, world.anchor.delivered);
        world.header = _kept[1];
        world.updates = new bytes[][](ENTRIES);
        world.updateTrees = new MerkleSum.Node[][][](ENTRIES);
        uint256 at = 2;
        for (uint256 i = 0; i < ENTRIES; ++i) {
            world.updates[i] = abi.decode(_kept[at++], (bytes[]));
            world.updateTrees[i] = new MerkleSum.Node[][](depth() + 1);
            for (uint256 level = 0; level <= depth(); ++level) {
                world.updateTrees[i][level] = abi.decode(_kept[at++], (MerkleSum.Node[]));
            }
        }
        uint256 levels = (_kept.length - at) / 2;
        (world.matrices, world.hashes) = (new bytes[][](levels), new bytes32[][](levels));
        for (uint256 level = 0; level < levels; ++level) {
            world.matrices[level] = abi.decode(_kept[at++], (bytes[]));
            world.hashes[level] = abi.decode(_kept[at++], (bytes32[]));
        }
    }

    /// @notice Numbers of the entries that the rule weighs.
    function members(World memory world) internal view returns (uint256[] memory found) {
        uint256 count = 0;
        found = new uint256[](ENTRIES);
        for (uint256 i = 0; i < ENTRIES; ++i) {
            bool isWeighed = contributorOf(i) != coordinator.addr && (world.delivered >> i) & 1 == 1;
            for (uint256 j = 0; j < count; ++j) {
                if (rootOf(world, found[j]) == rootOf(world, i)) isWeighed = false;
            }
            if (isWeighed) found[count++] = i;
        }
        assembly ("memory-safe") {
            mstore(found, count)
        }
    }

    function rootOf(World memory world, uint256 i) internal pure returns (bytes32) {
        return world.updateTrees[i][depth()][0].hash;
    }

    /// @notice Let an entry commit to another one's update.
    function copy(World memory world, uint256 from, uint256 to) internal pure {
        (world.updates[to], world.updateTrees[to]) = (world.updates[from], world.updateTrees[from]);
    }

    function contributorOf(uint256 entry) internal view returns (address) {
        return _contributors[entry].addr;
    }

    /// @notice Random updates with their trees, the Gram tree, and the weights that the rule yields.
    function invent(uint256 seed) internal view returns (World memory world) {
        world.round = ledger.nextRound();
        world.header = abi.encode(
            RoundId.unwrap(world.round),
            manifestHash(),
            headRoot(),
            PolicyId.unwrap(policies.currentPolicy()),
            uint8(8),
            keccak256("seed"),
            exponents()
        );
        world.delivered = (1 << ENTRIES) - 1 - (1 << LOST);
        world.weights = new uint32[](ENTRIES);
        world.updates = new bytes[][](ENTRIES);
        world.updateTrees = new MerkleSum.Node[][][](ENTRIES);
        for (uint256 i = 0; i < ENTRIES; ++i) {
            world.updates[i] = new bytes[](leaves());
            MerkleSum.Node[] memory nodes = new MerkleSum.Node[](leaves());
            for (uint256 j = 0; j < leaves(); ++j) {
                // The last one is far from the others, and so the outlier.
                world.updates[i][j] = _updateLeaf(uint256(keccak256(abi.encode(seed, i, j))), i == 5 ? 255 : 32);
                nodes[j] = MerkleSum.leaf(world.updates[i][j]);
            }
            world.updateTrees[i] = Trees.sums(nodes, depth());
        }
    }

    function _updateLeaf(uint256 seed, uint256 span) private pure returns (bytes memory leaf) {
        leaf = new bytes(256);
        uint256 word = 0;
        for (uint256 c = 0; c < 256; ++c) {
            if (c & 31 == 0) word = uint256(keccak256(abi.encode(seed, c)));
            leaf[c] = bytes1(uint8(128 - span / 2 + ((word >> (8 * (c & 31))) & 0xff) % span));
        }
    }

    /// @notice The matrices of the Gram tree, from the updates, in plain arithmetic.
    function multiply(World memory world) internal view {
        uint256[] memory chosen = members(world);
        world.matrices = new bytes[][](gramDepth() + 1);
        world.matrices[0] = new bytes[](1 << gramDepth());
        for (uint256 place = 0; place < world.matrices[0].length; ++place) {
            int256[] memory entries = new int256[](chosen.length * (chosen.length + 1) / 2);
            uint256 at = 0;
            for (uint256 a = 0; a < chosen.length; ++a) {
                for (uint256 b = 0; b <= a; ++b) {
                    entries[at++] = _product(world.updates[chosen[a]], world.updates[chosen[b]], place);
                }
            }
            world.matrices[0][place] = encode(entries);
        }
        for (uint256 level = 1; level <= gramDepth(); ++level) {
            world.matrices[level] = new bytes[](1 << (gramDepth() - level));
            for (uint256 i = 0; i < world.matrices[level].length; ++i) {
                int256[] memory left = decode(world.matrices[level - 1][2 * i]);
                int256[] memory right = decode(world.matrices[level - 1][2 * i + 1]);
                for (uint256 at = 0; at < left.length; ++at) {
                    left[at] += right[at];
                }
                world.matrices[level][i] = encode(left);
            }
        }
    }

    function _product(bytes[] memory left, bytes[] memory right, uint256 place) private view returns (int256 sum) {
        for (uint256 j = place << blockLevels(); j < (place + 1) << blockLevels() && j < leaves(); ++j) {
            int256 part = 0;
            for (uint256 c = 0; c < 256; ++c) {
                part += (int256(uint256(uint8(left[j][c]))) - 128) * (int256(uint256(uint8(right[j][c]))) - 128);
            }
            sum += part * int256(4 ** uint256(exponentOf(j) + 40));
        }
    }

    function encode(int256[] memory entries) internal pure returns (bytes memory matrix) {
        for (uint256 i = 0; i < entries.length; ++i) {
            matrix = bytes.concat(matrix, bytes24(uint192(int192(entries[i]))));
        }
    }

    function decode(bytes memory matrix) internal pure returns (int256[] memory entries) {
        entries = new int256[](matrix.length / 24);
        for (uint256 i = 0; i < entries.length; ++i) {
            uint256 word = 0;
            assembly ("memory-safe") {
                word := mload(add(add(matrix, 0x20), mul(24, i)))
            }
            entries[i] = int256(word) >> 64;
        }
    }

    /// @notice Add to an entry of a matrix.
    function bend(World memory world, uint256 level, uint256 index, uint256 at, int256 change) internal pure {
        int256[] memory entries = decode(world.matrices[level][index]);
        entries[at] += change;
        world.matrices[level][index] = encode(entries);
    }

    /// @notice The tree over the matrices as they are, and the anchor over it.
    function seal(World memory world) internal pure {
        world.hashes = new bytes32[][](gramDepth() + 1);
        for (uint256 level = 0; level <= gramDepth(); ++level) {
            world.hashes[level] = new bytes32[](1 << (gramDepth() - level));
            for (uint256 i = 0; i < world.hashes[level].length; ++i) {
                world.hashes[level][i] = _hash(world, level, i);
            }
        }
        anchorWith(world, world.hashes[gramDepth()][0]);
    }

    function _hash(World memory world, uint256 level, uint256 i) private pure returns (bytes32) {
        if (level == 0) {
            if (i >= blocks()) return bytes32(0);
            return keccak256(abi.encodePacked(bytes1(0x12), world.matrices[0][i]));
        }
        return keccak256(
            abi.encodePacked(
                bytes1(0x13),
                world.hashes[level - 1][2 * i],
                world.hashes[level - 1][2 * i + 1],
                keccak256(world.matrices[level][i])
            )
        );
    }

    function anchorWith(World memory world, bytes32 gramRoot) internal pure {
        world.anchor = IRoundLedger.Anchor({
            weights: world.weights,
            pays: new uint32[](0),
            delivered: world.delivered,
            meanRoot: keccak256("mean"),
            stateRoot: keccak256("state"),
            gramRoot: gramRoot,
            verdictHash: keccak256("verdicts"),
            artifactsHash: keccak256("artifacts"),
            entriesRoot: keccak256("entries")
        });
    }

    /// @notice Weight 1 for these entries.
    function weigh(World memory world, uint256[3] memory entries) internal pure {
        for (uint256 i = 0; i < entries.length; ++i) {
            world.weights[entries[i]] = 1;
        }
    }

    function commitmentOf(World memory world, uint256 i) internal view returns (IRoundLedger.Commitment memory) {
        MerkleSum.Node memory root = world.updateTrees[i][depth()][0];
        return IRoundLedger.Commitment({
            contributor: contributorOf(i),
            round: world.round,
            baseStateRoot: genesisState(),
            updateRoot: root.hash,
            sumSquares: root.squares,
            memoryHash: keccak256(abi.encode("memory", i)),
            bundleHash: keccak256("bundle")
        });
    }

    /// @notice Put the world on the chain: open, commit, anchor.
    function publish(World memory world) internal {
        vm.prank(coordinator.addr);
        ledger.openRound(world.round, genesisState(), keccak256(world.header));
        for (uint256 i = 0; i < ENTRIES; ++i) {
            IRoundLedger.Commitment memory commitment = commitmentOf(world, i);
            vm.prank(commitment.contributor);
            ledger.commitUpdate(commitment);
        }
        skipCommitWindow(world.round);
        vm.prank(coordinator.addr);
        ledger.anchor(world.round, entriesHashOf(world.round), world.anchor);
        vm.startPrank(challenger.addr);
    }

    // Proofs.

    function caseOf(World memory world) internal pure returns (IJudge.Case memory) {
        return IJudge.Case(world.round, world.anchor, layout(), DOCUMENT);
    }

    function entriesOf(World memory world) internal view returns (IJudge.Entry[] memory entries) {
        entries = new IJudge.Entry[](ENTRIES);
        for (uint256 i = 0; i < ENTRIES; ++i) {
            entries[i] = entryOf(commitmentOf(world, i));
        }
    }

    function entryOf(IRoundLedger.Commitment memory commitment) internal pure returns (IJudge.Entry memory entry) {
        entry.contributor = commitment.contributor;
        entry.updateRoot = commitment.updateRoot;
        entry.sumSquares = commitment.sumSquares;
        entry.memoryHash = commitment.memoryHash;
        entry.bundleHash = commitment.bundleHash;
    }

    function opening(World memory world, uint256 level, uint256 index)
        internal
        pure
        returns (IGramProofs.GramOpening memory made)
    {
        made.matrix = world.matrices[level][index];
        if (level > 0) {
            (made.left, made.right) = (world.hashes[level - 1][2 * index], world.hashes[level - 1][2 * index + 1]);
        } else if (index >= blocks()) {
            (made.left, made.matrix) = (world.hashes[0][index], "");
        }
        for (; level < gramDepth(); ++level) {
            made.path = abi.encodePacked(
                made.path, world.hashes[level][index ^ 1], keccak256(world.matrices[level + 1][index / 2])
            );
            index /= 2;
        }
    }

    function sumAt(World memory world, uint256 level, uint256 index, uint256 a, uint256 b)
        internal
        pure
        returns (IGramProofs.Sum memory sum)
    {
        (sum.level, sum.index, sum.a, sum.b) = (level, index, a, b);
        sum.node = opening(world, level, index);
        for (uint256 side = 0; side < 2; ++side) {
            sum.children[side] = opening(world, level - 1, 2 * index + side);
            sum.children[side].path = "";
        }
    }

    function pairAt(World memory world, uint256 place, uint256 a, uint256 b)
        internal
        view
        returns (IGramProofs.Pair memory pair)
    {
        (pair.a, pair.b, pair.header) = (a, b, world.header);
        uint256[] memory chosen = members(world);
        pair.updates = [_updateAt(world, chosen[a], place), _updateAt(world, chosen[b], place)];
    }

    function _updateAt(World memory world, uint256 i, uint256 place)
        private
        pure
        returns (IGramProofs.Update memory update)
    {
        uint256 levels = blockLevels();
        for (uint256 j = place << levels; j < (place + 1) << levels && j < leaves(); ++j) {
            update.leaves = bytes.concat(update.leaves, world.updates[i][j]);
        }
        for (uint256 level = 0; level <= levels; ++level) {
            for (uint256 j = place << (levels - level); j < (place + 1) << (levels - level); ++j) {
                MerkleSum.Node memory node = world.updateTrees[i][level][j];
                update.sums = abi.encodePacked(update.sums, node.absolute, node.squares);
            }
        }
        update.siblings = Trees.path(world.updateTrees[i], levels, place);
    }

    // What must follow.

    function expectNoFraud(IGramProofs.Lie lie, uint256 place) internal {
        vm.expectRevert(abi.encodeWithSelector(IGramProofs.GramProofsNoFraud.selector, lie, place));
    }

    function assertSlashed(World memory world) internal view {
        assertPhase(world.round, IRoundLedger.Phase.Slashed, "the round is void");
        vm.assertEq(token.balanceOf(challenger.addr), BOND / 4, "the challenger is paid");
    }
}
