// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RoundLedger } from "../src/RoundLedger.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { Budget } from "../src/libraries/Budget.sol";
import { EntryTree } from "../src/libraries/EntryTree.sol";
import { MerkleSum } from "../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../src/libraries/MerkleTree.sol";
import { OuterStep } from "../src/libraries/OuterStep.sol";
import { Places } from "../src/libraries/Places.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { Deployment } from "./utils/Deployment.sol";
import { Libraries } from "./utils/Libraries.sol";

/// @notice The contracts and libraries against the vectors of docs/protocol.md, which Python reads as well: what one
/// side hashes or computes, the other does too, to the bit.
contract VectorsTest is Deployment {
    Libraries private _libraries;
    string private _json;

    function setUp() public override {
        super.setUp();
        _libraries = new Libraries();
        _json = vm.readFile("../tests/vectors/protocol.json");
    }

    // Reading.

    function _uint(string memory key) private view returns (uint256) {
        return vm.parseJsonUint(_json, key);
    }

    function _word(string memory key) private view returns (bytes32) {
        return vm.parseJsonBytes32(_json, key);
    }

    function _words(string memory key) private view returns (bytes32[] memory) {
        return vm.parseJsonBytes32Array(_json, key);
    }

    function _uints(string memory key) private view returns (uint256[] memory) {
        return vm.parseJsonUintArray(_json, key);
    }

    function _ints(string memory key) private view returns (int256[] memory) {
        return vm.parseJsonIntArray(_json, key);
    }

    function _bytes(string memory key) private view returns (bytes memory) {
        return vm.parseJsonBytes(_json, key);
    }

    function _leaves(string memory key) private view returns (bytes[] memory) {
        return vm.parseJsonBytesArray(_json, key);
    }

    function _weights(string memory key) private view returns (uint32[] memory weights) {
        uint256[] memory values = _uints(key);
        weights = new uint32[](values.length);
        for (uint256 i = 0; i < values.length; ++i) {
            weights[i] = uint32(values[i]);
        }
    }

    /// @dev `depth` words of a proof list, for the leaf `index`.
    function _proof(bytes32[] memory all, uint256 index, uint256 depth) private pure returns (bytes32[] memory proof) {
        proof = new bytes32[](depth);
        for (uint256 level = 0; level < depth; ++level) {
            proof[level] = all[index * depth + level];
        }
    }

    // Trees.

    function _checkSumTree(string memory name) private view {
        string memory base = string.concat(".updateTree.", name);
        bytes[] memory leaves = _leaves(string.concat(base, ".leaves"));
        bytes32[] memory hashes = _words(string.concat(base, ".leafHashes"));
        uint256[] memory absolute = _uints(string.concat(base, ".leafAbsolute"));
        uint256[] memory squares = _uints(string.concat(base, ".leafSquares"));
        MerkleSum.Node[] memory proof = _sumProof(base);
        uint256 depth = _uint(string.concat(base, ".depth"));
        for (uint256 i = 0; i < leaves.length; ++i) {
            MerkleSum.Node memory leaf = _libraries.sumLeaf(leaves[i]);
            vm.assertEq(leaf.hash, hashes[i], "hash of a leaf");
            vm.assertEq(uint256(leaf.absolute), absolute[i], "sum of |q|");
            vm.assertEq(uint256(leaf.squares), squares[i], "sum of squares");
            _checkRoot(base, _libraries.sumClimb(leaf, i, _sumSlice(proof, i * depth, depth)));
        }
    }

    function _sumProof(string memory base) private view returns (MerkleSum.Node[] memory proof) {
        bytes32[] memory hashes = _words(string.concat(base, ".proofHashes"));
        uint256[] memory absolute = _uints(string.concat(base, ".proofAbsolute"));
        uint256[] memory squares = _uints(string.concat(base, ".proofSquares"));
        return _nodes(hashes, absolute, squares);
    }

    function _nodes(bytes32[] memory hashes, uint256[] memory absolute, uint256[] memory squares)
        private
        pure
        returns (MerkleSum.Node[] memory nodes)
    {
        nodes = new MerkleSum.Node[](hashes.length);
        for (uint256 i = 0; i < hashes.length; ++i) {
            nodes[i] = MerkleSum.Node(hashes[i], uint64(absolute[i]), uint64(squares[i]));
        }
    }

    function _sumSlice(MerkleSum.Node[] memory all, uint256 from, uint256 count)
        private
        pure
        returns (MerkleSum.Node[] memory slice)
    {
        slice = new MerkleSum.Node[](count);
        for (uint256 i = 0; i < count; ++i) {
            slice[i] = all[from + i];
        }
    }

    function _checkRoot(string memory base, MerkleSum.Node memory root) private view {
        vm.assertEq(root.hash, _word(string.concat(base, ".root")), "root");
        vm.assertEq(uint256(root.absolute), _uint(string.concat(base, ".sumAbsolute")), "sum of |q| of the update");
        vm.assertEq(uint256(root.squares), _uint(string.concat(base, ".sumSquares")), "sum of squares of the update");
    }

    function _checkTree(MerkleTree.Kind kind, string memory base) private view {
        bytes[] memory leaves = _leaves(string.concat(base, ".leaves"));
        bytes32[] memory hashes = _words(string.concat(base, ".leafHashes"));
        bytes32[] memory proofs = _words(string.concat(base, ".proofHashes"));
        uint256 depth = _uint(string.concat(base, ".depth"));
        bytes32 root = _word(string.concat(base, ".root"));
        for (uint256 i = 0; i < leaves.length; ++i) {
            vm.assertEq(_libraries.treeLeaf(kind, leaves[i]), hashes[i], "hash of a leaf");
            vm.assertEq(_libraries.treeClimb(kind, hashes[i], i, _proof(proofs, i, depth)), root, "root");
        }
    }

    function test_vectors_updateTree() public view {
        _checkSumTree("one");
        _checkSumTree("three");
        _checkSumTree("five");
    }

    function test_vectors_meanTree() public view {
        _checkTree(MerkleTree.Kind.Mean, ".meanTree.one");
        _checkTree(MerkleTree.Kind.Mean, ".meanTree.three");
        _checkTree(MerkleTree.Kind.Mean, ".meanTree.five");
    }

    function test_vectors_state() public view {
        _checkTree(MerkleTree.Kind.Theta, ".state.theta");
        _checkTree(MerkleTree.Kind.Theta, ".state.thetaThree");
        _checkTree(MerkleTree.Kind.Momentum, ".state.momentum");
        bytes32 root = _libraries.stateRoot(
            _word(".state.manifestHash"), _word(".state.theta.root"), _word(".state.momentum.root")
        );
        vm.assertEq(root, _word(".state.stateRoot"), "state root");
    }

    function test_vectors_manifest() public view {
        vm.assertEq(keccak256(_bytes(".manifest.layout")), _word(".manifest.layoutHash"), "hash of the layout");
        bytes32 jsonHash = keccak256(bytes(vm.parseJsonString(_json, ".manifest.json")));
        vm.assertEq(jsonHash, _word(".manifest.jsonHash"), "hash of the text");
        bytes memory preimage = abi.encodePacked(bytes1(0x10), _word(".manifest.layoutHash"), jsonHash);
        vm.assertEq(keccak256(preimage), _word(".manifest.manifestHash"), "hash of the manifest");
    }

    function test_vectors_header() public view {
        bytes32 baseStateRoot = _word(".header.baseStateRoot");
        bytes32 seed = keccak256(
            abi.encodePacked(
                bytes1(0x11),
                _uint(".header.chainId"),
                vm.parseJsonAddress(_json, ".header.ledger"),
                uint64(_uint(".header.round")),
                baseStateRoot
            )
        );
        vm.assertEq(seed, _word(".header.seed"), "seed");
        bytes memory encoded = abi.encode(
            uint64(_uint(".header.round")),
            _word(".header.manifestHash"),
            baseStateRoot,
            uint32(_uint(".header.policyId")),
            uint8(_uint(".header.width")),
            seed,
            _bytes(".header.exponentBytes")
        );
        vm.assertEq(encoded, _bytes(".header.encoded"), "encoding");
        vm.assertEq(keccak256(encoded), _word(".header.headerHash"), "hash");
    }

    // Commitments and anchors.

    function _commitment(uint256 i) private view returns (IRoundLedger.Commitment memory) {
        return IRoundLedger.Commitment({
            contributor: vm.parseJsonAddressArray(_json, ".commitment.contributors")[i],
            round: RoundId.wrap(uint64(_uints(".commitment.rounds")[i])),
            baseStateRoot: _words(".commitment.baseStateRoots")[i],
            updateRoot: _words(".commitment.updateRoots")[i],
            sumSquares: uint64(_uints(".commitment.sumSquares")[i]),
            memoryHash: _words(".commitment.memoryHashes")[i],
            bundleHash: _words(".commitment.bundleHashes")[i]
        });
    }

    /// @dev The real ledger, put at the address and on the chain of the vectors. EIP712 notices and builds its domain anew.
    function test_vectors_commitment() public {
        vm.chainId(_uint(".commitment.chainId"));
        RoundLedger there = RoundLedger(vm.parseJsonAddress(_json, ".commitment.verifyingContract"));
        vm.etch(address(there), address(ledger).code);
        bytes32[] memory hashes = _words(".commitment.commitmentHashes");
        bytes32[] memory digests = _words(".commitment.digests");
        uint256[] memory keys = _uints(".commitment.privateKeys");
        bytes32[] memory rolling = _words(".commitment.entriesHashes");
        bytes[] memory signatures = _leaves(".commitment.signatures");
        vm.assertEq(rolling[0], bytes32(0), "the empty list");
        for (uint256 i = 0; i < hashes.length; ++i) {
            IRoundLedger.Commitment memory commitment = _commitment(i);
            vm.assertEq(there.hashCommitment(commitment), hashes[i], "struct hash");
            vm.assertEq(there.commitmentDigest(commitment), digests[i], "digest");
            vm.assertEq(vm.addr(keys[i]), commitment.contributor, "contributor");
            vm.assertEq(sign(Actor(commitment.contributor, keys[i]), digests[i]), signatures[i], "signature");
            bytes32 next = _libraries.append(rolling[i], commitment.contributor, hashes[i]);
            vm.assertEq(next, rolling[i + 1], "rolling hash");
        }
    }

    function test_vectors_quotas() public view {
        uint256[] memory totals = _uints(".places.totals");
        uint256[] memory most = _uints(".places.maxContributors");
        uint256[] memory least = _uints(".places.minStakes");
        uint256[] memory nows = _uints(".places.nows");
        uint256[] memory quotas = _uints(".places.quotas");
        bytes32 blockHash = _word(".places.blockHash");
        for (uint256 i = 0; i < quotas.length; ++i) {
            uint256 larger = nows[i] > totals[i] ? nows[i] : totals[i];
            bool crowd = _libraries.isCrowd(larger, most[i], least[i]);
            vm.assertEq(crowd, quotas[i] > 0, "crowd");
            if (!crowd) continue;
            Places.Basis memory basis = Places.Basis(uint96(totals[i]), uint40(i), 0);
            Places.Draw memory drawn = _libraries.draw(basis, blockHash, most[i], least[i]);
            vm.assertEq(uint256(drawn.quota), quotas[i], "quota");
            vm.assertEq(uint256(drawn.at), i, "time");
            vm.assertEq(uint256(drawn.seed), _uint(".places.seed"), "seed");
        }
    }

    function test_vectors_budget() public view {
        uint256[] memory noises = _uints(".budget.noise1024");
        uint256[] memory steps = _uints(".budget.steps");
        uint256[] memory costs = _uints(".budget.costs");
        for (uint256 i = 0; i < costs.length; ++i) {
            vm.assertEq(Budget.cost(noises[i], steps[i]), costs[i], "cost");
        }
        vm.assertGt(costs.length, 50, "costs");
    }

    function test_vectors_places() public view {
        Places.Draw memory drawn = Places.Draw(uint96(_uint(".places.quota")), 0, uint120(_uint(".places.seed")));
        address[] memory accounts = vm.parseJsonAddressArray(_json, ".places.accounts");
        uint256[] memory enrolled = _uints(".places.enrolled");
        uint256[] memory places = _uints(".places.places");
        Places.Draw memory nobody;
        for (uint256 i = 0; i < accounts.length; ++i) {
            vm.assertEq(_libraries.hasPlace(drawn, accounts[i], enrolled[i]), places[i] == 1, "place");
            vm.assertTrue(_libraries.hasPlace(nobody, accounts[i], enrolled[i]), "no draw");
        }
    }

    function _anchor(string memory base, uint32[] memory weights, uint32[] memory pays)
        private
        view
        returns (IRoundLedger.Anchor memory)
    {
        return IRoundLedger.Anchor({
            weights: weights,
            pays: pays,
            delivered: _uint(string.concat(base, ".delivered")),
            meanRoot: _word(string.concat(base, ".meanRoot")),
            stateRoot: _word(string.concat(base, ".stateRoot")),
            gramRoot: _word(string.concat(base, ".gramRoot")),
            verdictHash: _word(string.concat(base, ".verdictHash")),
            artifactsHash: _word(string.concat(base, ".artifactsHash")),
            entriesRoot: _word(string.concat(base, ".entriesRoot"))
        });
    }

    function test_vectors_anchor() public view {
        uint32[] memory none = new uint32[](0);
        uint32[] memory weights = _weights(".anchor.weights");
        IRoundLedger.Anchor memory anchor = _anchor(".anchor", weights, _weights(".anchor.pays"));
        vm.assertEq(_libraries.hashAnchor(anchor), _word(".anchor.anchorHash"), "with pays");
        anchor = _anchor(".anchor", weights, none);
        vm.assertEq(_libraries.hashAnchor(anchor), _word(".anchor.unpaidAnchorHash"), "without pays");
        anchor = _anchor(".anchor", none, none);
        vm.assertEq(_libraries.hashAnchor(anchor), _word(".anchor.emptyAnchorHash"), "without entries");
    }

    function test_vectors_entriesTree() public view {
        address[] memory contributors = vm.parseJsonAddressArray(_json, ".entriesTree.contributors");
        bytes32[] memory hashes = _words(".entriesTree.commitmentHashes");
        uint32[] memory weights = _weights(".entriesTree.weights");
        bytes32[] memory roots = _words(".entriesTree.roots");
        for (uint256 count = 1; count <= roots.length; ++count) {
            bytes32[] memory leaves = new bytes32[](count);
            for (uint256 i = 0; i < count; ++i) {
                leaves[i] = EntryTree.leaf(contributors[i], hashes[i], weights[i]);
            }
            vm.assertEq(EntryTree.root(leaves), roots[count - 1], "root");
        }
    }

    // Arithmetic.

    function test_vectors_weightedSum() public view {
        bytes memory lanes = _libraries.weightedSum(_weights(".weightedSum.weights"), _leaves(".weightedSum.updates"));
        _checkMean(lanes, ".weightedSum", _uint(".weightedSum.weightSum"), 1);
    }

    function test_vectors_clampedSum() public view {
        string[7] memory cases = ["usual", "half", "majority", "edges", "nibbles", "steps", "two"];
        for (uint256 i = 0; i < cases.length; ++i) {
            string memory base = string.concat(".clampedSum.", cases[i]);
            (uint32[] memory weights, bytes[] memory updates) =
                _counted(_weights(string.concat(base, ".weights")), _leaves(string.concat(base, ".updates")));
            bytes memory lanes = _libraries.clampedSum(weights, updates, _bytes(string.concat(base, ".magnitudes")));
            uint256 weightSum = _uint(string.concat(base, ".weightSum"));
            _checkMean(lanes, base, weightSum, _uint(string.concat(base, ".meanScale")));
        }
    }

    /// @dev What has a weight above 0, in the same order.
    function _counted(uint32[] memory weights, bytes[] memory updates)
        private
        pure
        returns (uint32[] memory, bytes[] memory)
    {
        uint256 count = 0;
        for (uint256 i = 0; i < weights.length; ++i) {
            if (weights[i] == 0) continue;
            (weights[count], updates[count]) = (weights[i], updates[i]);
            ++count;
        }
        assembly ("memory-safe") {
            mstore(weights, count)
            mstore(updates, count)
        }
        return (weights, updates);
    }

    /// @dev Lanes, aggregate and mean of one leaf.
    function _checkMean(bytes memory sum, string memory base, uint256 divisor, uint256 scale) private view {
        uint256[] memory lanes = _uints(string.concat(base, ".lanes"));
        int256[] memory aggregate = _ints(string.concat(base, ".aggregate"));
        vm.assertEq(aggregate.length, 256, "coordinates");
        for (uint256 j = 0; j < aggregate.length; ++j) {
            vm.assertEq(_libraries.weightedValue(sum, j, 0), int256(lanes[j]), "lane");
            vm.assertEq(_libraries.weightedValue(sum, j, divisor), aggregate[j], "coordinate");
        }
        bytes memory leaf = _bytes(string.concat(base, ".leaf"));
        vm.assertEq(_libraries.meanLeaf(sum, divisor, scale), leaf, "leaf of the mean");
        vm.assertEq(_libraries.plainMean(sum, divisor, scale), leaf, "the same, coordinate by coordinate");
    }

    function test_vectors_mean() public view {
        int256[] memory aggregate = _ints(".mean.aggregate");
        uint256[] memory weightSums = _uints(".mean.weightSum");
        uint256[] memory scales = _uints(".mean.meanScale");
        int256[] memory mean = _ints(".mean.mean");
        vm.assertGt(mean.length, 500, "there are cases");
        for (uint256 i = 0; i < mean.length; ++i) {
            vm.assertEq(_libraries.meanAt(aggregate[i], weightSums[i], scales[i]), mean[i], "mean");
        }
    }

    function test_vectors_outerStep() public view {
        int256[] memory theta = _ints(".outerStep.theta");
        int256[] memory momentum = _ints(".outerStep.momentum");
        int256[] memory mean = _ints(".outerStep.mean");
        OuterStep.Settings[] memory settings = _settings(theta.length);
        int256[] memory newTheta = _ints(".outerStep.newTheta");
        int256[] memory newMomentum = _ints(".outerStep.newMomentum");
        vm.assertGt(theta.length, 0, "there are cases");
        for (uint256 i = 0; i < theta.length; ++i) {
            (int64 nextTheta, int64 nextMomentum) =
                _libraries.step(int64(theta[i]), int64(momentum[i]), mean[i], settings[i]);
            vm.assertEq(int256(nextTheta), newTheta[i], "theta");
            vm.assertEq(int256(nextMomentum), newMomentum[i], "momentum");
        }
    }

    function _settings(uint256 count) private view returns (OuterStep.Settings[] memory settings) {
        uint256[] memory scales = _uints(".outerStep.meanScale");
        int256[] memory exponents = _ints(".outerStep.exponent");
        uint256[] memory rates = _uints(".outerStep.rate");
        uint256[] memory decays = _uints(".outerStep.decay");
        settings = new OuterStep.Settings[](count);
        for (uint256 i = 0; i < count; ++i) {
            settings[i] = OuterStep.Settings({
                meanScale: uint8(scales[i]),
                exponent: int8(exponents[i]),
                rate: uint16(rates[i]),
                momentum: uint16(decays[i])
            });
        }
    }

    // A whole round: what a fraud proof of any leaf would recompute.

    function test_vectors_round_entries() public view {
        address[] memory contributors = vm.parseJsonAddressArray(_json, ".round.contributors");
        bytes32[] memory hashes = _words(".round.commitmentHashes");
        bytes32 rolling;
        for (uint256 i = 0; i < contributors.length; ++i) {
            rolling = _libraries.append(rolling, contributors[i], hashes[i]);
        }
        vm.assertEq(rolling, _word(".round.entriesHash"), "rolling hash");
        bytes32 anchorHash = _libraries.hashAnchor(_anchor(".round", _weights(".round.weights"), new uint32[](0)));
        vm.assertEq(anchorHash, _word(".round.anchorHash"), "anchor hash");
        vm.assertEq(keccak256(_bytes(".round.header")), _word(".round.headerHash"), "header hash");
    }

    function test_vectors_round_updates() public view {
        bytes[] memory updates = _leaves(".round.updates");
        bytes32[] memory roots = _words(".round.updateRoots");
        uint256[] memory squares = _uints(".round.sumSquares");
        (uint256 leaves, uint256 depth) = (_uint(".round.leaves"), _uint(".round.depth"));
        MerkleSum.Node[] memory proofs = _nodes(
            _words(".round.updateProofHashes"),
            _uints(".round.updateProofAbsolute"),
            _uints(".round.updateProofSquares")
        );
        for (uint256 i = 0; i < updates.length; ++i) {
            for (uint256 j = 0; j < leaves; ++j) {
                MerkleSum.Node[] memory siblings = _sumSlice(proofs, (i * leaves + j) * depth, depth);
                MerkleSum.Node memory root =
                    _libraries.sumClimb(_libraries.sumLeaf(_slice(updates[i], 256 * j, 256)), j, siblings);
                vm.assertEq(root.hash, roots[i], "root of an update");
                vm.assertEq(uint256(root.squares), squares[i], "sum of squares of an update");
            }
        }
    }

    function test_vectors_round_meanAndStep() public view {
        uint32[] memory weights = _weights(".round.weights");
        bytes[] memory updates = _leaves(".round.updates");
        bytes memory mean = _bytes(".round.mean");
        uint256 leaves = _uint(".round.leaves");
        uint8 scale = uint8(_uint(".round.meanScale"));
        uint256 weightSum = 0;
        for (uint256 i = 0; i < weights.length; ++i) {
            weightSum += weights[i];
        }
        for (uint256 j = 0; j < leaves; ++j) {
            bytes[] memory column = new bytes[](updates.length);
            for (uint256 i = 0; i < updates.length; ++i) {
                column[i] = _slice(updates[i], 256 * j, 256);
            }
            bytes memory lanes = _libraries.weightedSum(weights, column);
            bytes memory leaf = _libraries.meanLeaf(lanes, weightSum, scale);
            vm.assertEq(leaf, _slice(mean, 256 * j, 256), "leaf of the mean");
            _checkPlace(MerkleTree.Kind.Mean, leaf, j, ".round.meanProofs", ".round.meanRoot");
            _checkStep(leaf, j, scale);
        }
    }

    function test_vectors_round_states() public view {
        bytes32 root =
            _libraries.stateRoot(_word(".round.manifestHash"), _word(".round.thetaRoot"), _word(".round.momentumRoot"));
        vm.assertEq(root, _word(".round.stateRoot"), "state root");
        root = _libraries.stateRoot(
            _word(".round.manifestHash"), _word(".round.baseThetaRoot"), _word(".round.baseMomentumRoot")
        );
        vm.assertEq(root, _word(".round.baseStateRoot"), "base state root");
    }

    function _checkStep(bytes memory mean, uint256 j, uint8 scale) private view {
        bytes memory theta = _leaves(".round.baseTheta")[j];
        bytes memory momentum = _leaves(".round.baseMomentum")[j];
        _checkPlace(MerkleTree.Kind.Theta, theta, j, ".round.baseThetaProofs", ".round.baseThetaRoot");
        _checkPlace(MerkleTree.Kind.Momentum, momentum, j, ".round.baseMomentumProofs", ".round.baseMomentumRoot");
        (bytes memory nextTheta, bytes memory nextMomentum) = _stepLeaf(theta, momentum, mean, _roundSettings(j, scale));
        vm.assertEq(nextTheta, _leaves(".round.newTheta")[j], "theta");
        vm.assertEq(nextMomentum, _leaves(".round.newMomentum")[j], "momentum");
        _checkPlace(MerkleTree.Kind.Theta, nextTheta, j, ".round.thetaProofs", ".round.thetaRoot");
        _checkPlace(MerkleTree.Kind.Momentum, nextMomentum, j, ".round.momentumProofs", ".round.momentumRoot");
    }

    /// @dev The tensor of a leaf is found in the layout, as a fraud proof would find it.
    function _roundSettings(uint256 j, uint8 scale) private view returns (OuterStep.Settings memory) {
        bytes memory layout = _bytes(".round.layout");
        uint256 tensor = 0;
        uint256 end = (uint64(bytes8(_slice(layout, 0, 8))) + 255) / 256;
        while (j >= end) {
            ++tensor;
            end += (uint64(bytes8(_slice(layout, 8 * tensor, 8))) + 255) / 256;
        }
        return OuterStep.Settings({
            meanScale: scale,
            exponent: int8(_ints(".round.exponents")[tensor]),
            rate: uint16(_uint(".round.rate")),
            momentum: uint16(_uint(".round.momentum"))
        });
    }

    function _stepLeaf(bytes memory theta, bytes memory momentum, bytes memory mean, OuterStep.Settings memory settings)
        private
        view
        returns (bytes memory nextTheta, bytes memory nextMomentum)
    {
        for (uint256 c = 0; c < 256; ++c) {
            (int64 t, int64 m) = _libraries.step(
                _int64(theta, c), _int64(momentum, c), int256(uint256(uint8(mean[c]))) - 128, settings
            );
            nextTheta = bytes.concat(nextTheta, bytes8(uint64(t)));
            nextMomentum = bytes.concat(nextMomentum, bytes8(uint64(m)));
        }
    }

    // The Gram tree.

    function test_vectors_gramTree() public view {
        bytes[] memory matrices = _leaves(".gramTree.leafMatrices");
        bytes[] memory paths = _leaves(".gramTree.leafPaths");
        bytes32[] memory hashes = _words(".gramTree.leafHashes");
        bytes32 root = _word(".gramTree.gramRoot");
        for (uint256 place = 0; place < matrices.length; ++place) {
            vm.assertEq(_libraries.gramLeaf(matrices[place]), hashes[place], "leaf");
            vm.assertEq(_libraries.gramClimb(hashes[place], place, paths[place], 2), root, "path");
        }
        vm.assertEq(_libraries.gramClimb(bytes32(0), 3, _pathOfTheLast(hashes), 2), root, "the empty place");
        bytes32[] memory nodes = _words(".gramTree.nodeHashes");
        root = _libraries.gramNode(nodes[0], nodes[1], keccak256(_bytes(".gramTree.rootMatrix")));
        vm.assertEq(root, _word(".gramTree.gramRoot"), "root");
        int256[] memory gram = _ints(".gramTree.gram");
        for (uint256 a = 0; a < 3; ++a) {
            for (uint256 b = 0; b <= a; ++b) {
                vm.assertEq(_libraries.gramEntry(_bytes(".gramTree.rootMatrix"), a, b), gram[3 * a + b], "entry");
            }
        }
    }

    function _pathOfTheLast(bytes32[] memory hashes) private view returns (bytes memory) {
        bytes[] memory matrices = _leaves(".gramTree.nodeMatrices");
        return abi.encodePacked(
            hashes[2],
            keccak256(matrices[1]),
            _words(".gramTree.nodeHashes")[0],
            keccak256(_bytes(".gramTree.rootMatrix"))
        );
    }

    function test_vectors_gramTree_blocks() public view {
        bytes[] memory leaves = _leaves(".gramTree.blockLeaves");
        bytes[] memory sums = _leaves(".gramTree.blockSums");
        bytes[] memory siblings = _leaves(".gramTree.blockSiblings");
        for (uint256 i = 0; i < leaves.length; ++i) {
            MerkleSum.Node memory top = _libraries.top(leaves[i], sums[i], 4, leaves[i].length / 256);
            MerkleSum.Node memory root = _libraries.climb(top, i / 3, siblings[i], 2);
            vm.assertEq(root.hash, _words(".gramTree.updateRoots")[i % 3], "root of the update");
        }
        for (uint256 place = 0; place < 3; ++place) {
            _checkProducts(leaves, place);
        }
    }

    function _checkProducts(bytes[] memory leaves, uint256 place) private view {
        int256[] memory exponents = _ints(".gramTree.exponents");
        bytes memory matrix = _leaves(".gramTree.leafMatrices")[place];
        for (uint256 a = 0; a < 3; ++a) {
            for (uint256 b = 0; b <= a; ++b) {
                int256 sum = 0;
                for (uint256 j = 0; j < leaves[3 * place].length / 256; ++j) {
                    uint256 leaf = 16 * place + j;
                    uint256 tensor = leaf < 2 ? 0 : leaf < 33 ? 1 : 2;
                    sum += _libraries.product(leaves[3 * place + a], leaves[3 * place + b], j)
                        << uint256(2 * (exponents[tensor] + 40));
                }
                vm.assertEq(_libraries.gramEntry(matrix, a, b), sum, "product");
            }
        }
    }

    function test_vectors_multiKrum() public view {
        string[9] memory cases = [
            "krumTwoFar",
            "krumThree",
            "krumCapped",
            "krumTie",
            "krumAllEqual",
            "krumLowered",
            "krumLoweredToOne",
            "krumOne",
            "krumTwo"
        ];
        for (uint256 i = 0; i < cases.length; ++i) {
            _checkKrum(string.concat(".weights.", cases[i]));
        }
        _checkKrum(".weights.krumThreeUpdates");
    }

    function _checkKrum(string memory key) private view {
        uint256 count = _uint(string.concat(key, ".count"));
        int256[] memory gram = _ints(string.concat(key, ".gram"));
        uint256[] memory parameters = _uints(string.concat(key, ".parameters"));
        uint256[] memory weights = _uints(string.concat(key, ".weights"));
        bytes memory matrix;
        for (uint256 a = 0; a < count; ++a) {
            for (uint256 b = 0; b <= a; ++b) {
                matrix = bytes.concat(matrix, bytes24(uint192(int192(gram[count * a + b]))));
            }
        }
        for (uint256 i = 0; i < count; ++i) {
            bool selected = _libraries.selects(matrix, count, parameters[0], parameters[1], i);
            vm.assertEq(selected, weights[i] == 1, key);
        }
    }

    function _checkPlace(MerkleTree.Kind kind, bytes memory leaf, uint256 j, string memory proofs, string memory root)
        private
        view
    {
        bytes32[] memory siblings = _proof(_words(proofs), j, _uint(".round.depth"));
        vm.assertEq(_libraries.treeClimb(kind, _libraries.treeLeaf(kind, leaf), j, siblings), _word(root), root);
    }

    function _int64(bytes memory leaf, uint256 c) private pure returns (int64) {
        return int64(uint64(bytes8(_slice(leaf, 8 * c, 8))));
    }

    function _slice(bytes memory data, uint256 from, uint256 length) private pure returns (bytes memory slice) {
        slice = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            slice[i] = data[from + i];
        }
    }
}
