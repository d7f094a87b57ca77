// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Arbiter } from "../../src/Arbiter.sol";
import { ContributorFaults } from "../../src/ContributorFaults.sol";
import { DataAvailability } from "../../src/DataAvailability.sol";
import { Disputes } from "../../src/Disputes.sol";
import { FraudProofs } from "../../src/FraudProofs.sol";
import { IJudge } from "../../src/interfaces/IJudge.sol";
import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { MerkleSum } from "../../src/libraries/MerkleSum.sol";
import { MerkleTree } from "../../src/libraries/MerkleTree.sol";
import { PolicyId, RoundId } from "../../src/libraries/Types.sol";
import { fullPays } from "./Anchors.sol";
import { Deployment } from "./Deployment.sol";
import { MAX_TENSORS, Trees } from "./Trees.sol";

/// @notice The size of a model.
abstract contract Size {
    /// @notice Elements of each of MAX_TENSORS tensors in the largest model: 2^24 leaves, and three bytes above 0, which
    /// is the dearest layout.
    uint64 internal constant MANY_ELEMENTS = (1 << 20) - 1;
    string internal constant MANY_NAME = "4.3 B in 4096 tensors";

    /// @notice Elements of each tensor.
    function elements() internal pure virtual returns (uint64);

    function name() internal pure virtual returns (string memory);
}

/// @notice The largest model, in as many tensors as a manifest may have.
abstract contract LargestModel is Size {
    function elements() internal pure override returns (uint64) {
        return MANY_ELEMENTS;
    }

    function name() internal pure virtual override returns (string memory) {
        return MANY_NAME;
    }
}

/// @notice A round of a hundred contributors and a model of any size, with all judges.
/// @dev Paths are random siblings, which cost what real ones do. Weights are above 0 for everybody: the dearest case.
abstract contract GasWorld is Deployment, Size {
    bytes32 internal constant DOCUMENT = keccak256("manifest.json");
    /// @notice EIP-7825.
    uint256 internal constant TRANSACTION_CAP = 16_777_216;

    uint256 internal constant DEPOSIT = 10e18;

    FraudProofs internal _fraud;
    ContributorFaults internal _faults;
    DataAvailability internal _availability;
    Disputes internal _disputes;
    Actor[] internal _crowd;

    /// @notice Tensors of the model, a power of two.
    function tensors() internal pure returns (uint256) {
        return elements() == MANY_ELEMENTS ? MAX_TENSORS : 1;
    }

    /// @notice The leaf that all paths are of.
    function place() internal pure virtual returns (uint256) {
        return 5;
    }

    function rule() internal pure virtual returns (bytes32) {
        return "guided_mean";
    }

    function _layout() internal pure returns (bytes memory) {
        return Trees.repeated(abi.encodePacked(elements()), tensors());
    }

    function _depth() internal pure returns (uint256 depth) {
        while ((uint256(256) << depth) < elements() * tensors()) {
            ++depth;
        }
    }

    function manifestHash() internal pure override returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(_layout()), DOCUMENT));
    }

    function genesisState() internal pure override returns (bytes32) {
        bytes memory zeros = new bytes(2048);
        bytes32 theta =
            MerkleTree.climb(MerkleTree.Kind.Theta, MerkleTree.leaf(MerkleTree.Kind.Theta, zeros), place(), _path(1));
        bytes32 momentum = MerkleTree.climb(
            MerkleTree.Kind.Momentum, MerkleTree.leaf(MerkleTree.Kind.Momentum, zeros), place(), _path(2)
        );
        return MerkleTree.stateRoot(manifestHash(), theta, momentum);
    }

    function policy() internal view virtual override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.rule = rule();
        made.parameters = new uint32[](1);
        made.parameters[0] = 2;
        made.maxSumSquares = type(uint64).max;
        made.verifier = vm.computeCreateAddress(address(this), 5);
    }

    function setUp() public virtual override {
        super.setUp();
        _fraud = new FraudProofs(ledger);
        _faults = new ContributorFaults(ledger);
        _availability = new DataAvailability(ledger, token, vault, DEPOSIT, 2 hours);
        _disputes = new Disputes(ledger, token, vault, address(timelock), UNBONDING_PERIOD);
        address[] memory judges = new address[](4);
        (judges[0], judges[1]) = (address(_fraud), address(_faults));
        (judges[2], judges[3]) = (address(_availability), address(_disputes));
        new Arbiter(ledger, judges);
        giveStake(coordinator.addr, 5 * BOND);
        _addContributors(100);
    }

    /// @dev Enrol accounts until there are so many.
    function _addContributors(uint256 count) internal {
        for (uint256 i = _crowd.length; i < count; ++i) {
            Actor memory member = actor(string.concat("contributor ", vm.toString(i)));
            _crowd.push(member);
            giveStake(member.addr, MIN_STAKE);
            enrol(member.addr);
        }
    }

    function _path(uint256 seed) internal pure returns (bytes32[] memory siblings) {
        siblings = new bytes32[](_depth());
        for (uint256 level = 0; level < siblings.length; ++level) {
            siblings[level] = keccak256(abi.encode("sibling", seed, level));
        }
    }

    /// @dev An update's leaf with a path of siblings with sums as real ones have them.
    function _entry(uint256 i) internal view virtual returns (IJudge.Entry memory entry) {
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
        MerkleSum.Node memory root = MerkleSum.climb(node, place(), siblings);
        entry.contributor = _crowd[i].addr;
        (entry.updateRoot, entry.sumSquares) = (root.hash, root.squares);
        (entry.memoryHash, entry.bundleHash) = (keccak256("memory"), keccak256("bundle"));
    }

    /// @notice What `proveMean` needs under the policy's rule.
    function hintsOf(IJudge.Entry[] memory entries) internal pure returns (bytes memory) {
        return rule() == "clamped_mean" ? _magnitudes(entries) : bytes("");
    }

    /// @dev By coordinate the median magnitude.
    function _magnitudes(IJudge.Entry[] memory entries) private pure returns (bytes memory hints) {
        hints = new bytes(256);
        for (uint256 c = 0; c < 256; ++c) {
            uint256[] memory counts = new uint256[](128);
            for (uint256 i = 0; i < entries.length; ++i) {
                uint8 byte_ = uint8(entries[i].leaf[c]);
                ++counts[byte_ < 128 ? 128 - byte_ : byte_ - 128];
            }
            uint256 magnitude = 127;
            for (uint256 reached = counts[127]; reached <= entries.length / 2; reached += counts[magnitude]) {
                --magnitude;
            }
            hints[c] = bytes1(uint8(magnitude));
        }
    }

    function _commit(RoundId round, IJudge.Entry[] memory entries) internal {
        bytes32 base = genesisState();
        for (uint256 i = 0; i < entries.length; ++i) {
            IRoundLedger.Commitment memory commitment = IRoundLedger.Commitment(
                entries[i].contributor,
                round,
                base,
                entries[i].updateRoot,
                entries[i].sumSquares,
                entries[i].memoryHash,
                entries[i].bundleHash
            );
            vm.prank(entries[i].contributor);
            ledger.commitUpdate(commitment);
        }
    }

    /// @dev Root of a mean that is wrong at the leaf that all paths are of.
    function _meanRoot() internal pure virtual returns (bytes32) {
        MerkleTree.Kind kind = MerkleTree.Kind.Mean;
        return MerkleTree.climb(kind, MerkleTree.leaf(kind, new bytes(256)), place(), _path(3));
    }

    function _lie(uint256 contributors)
        internal
        returns (IJudge.Case memory case_, IJudge.Entry[] memory entries, bytes memory header)
    {
        RoundId round = ledger.nextRound();
        header = abi.encode(
            RoundId.unwrap(round),
            manifestHash(),
            genesisState(),
            uint32(1),
            uint8(8),
            keccak256("seed"),
            Trees.repeated(hex"f6", tensors())
        );
        vm.prank(coordinator.addr);
        ledger.openRound(round, genesisState(), keccak256(header));
        entries = new IJudge.Entry[](contributors);
        uint32[] memory weights = new uint32[](contributors);
        for (uint256 i = 0; i < contributors; ++i) {
            entries[i] = _entry(i);
            weights[i] = uint32(60_000 + i);
        }
        _commit(round, entries);
        vm.warp(ledger.rounds(round).commitDeadline);
        IRoundLedger.Anchor memory anchor = IRoundLedger.Anchor({
            weights: weights,
            pays: fullPays(rule(), weights),
            delivered: type(uint256).max,
            meanRoot: _meanRoot(),
            stateRoot: MerkleTree.stateRoot(
                manifestHash(),
                MerkleTree.climb(MerkleTree.Kind.Theta, keccak256("a lie"), place(), _path(4)),
                MerkleTree.climb(MerkleTree.Kind.Momentum, keccak256("another"), place(), _path(5))
            ),
            gramRoot: bytes32(0),
            verdictHash: keccak256("verdicts"),
            artifactsHash: keccak256("artifacts"),
            entriesRoot: keccak256("entries")
        });
        vm.prank(coordinator.addr);
        ledger.anchor(round, entriesHashOf(round), anchor);
        case_ = IJudge.Case(round, anchor, _layout(), DOCUMENT);
    }
}
