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
import { Openings } from "../../src/libraries/Openings.sol";
import { OuterStep } from "../../src/libraries/OuterStep.sol";
import { PolicyId, RoundId } from "../../src/libraries/Types.sol";
import { WeightedSum } from "../../src/libraries/WeightedSum.sol";
import { Deployment } from "./Deployment.sol";
import { Test } from "./Test.sol";

/// @notice A model of one leaf: trees of depth zero, so that whole rounds are computed in a moment.
abstract contract SmallModel is Test {
    bytes32 internal constant DOCUMENT = keccak256("manifest.json");
    int8 internal constant EXPONENT = -12;

    /// @notice Theta and momentum.
    struct State {
        bytes theta;
        bytes momentum;
    }

    function layoutOf() internal pure returns (bytes memory) {
        return abi.encodePacked(uint64(256));
    }

    function manifestOf() internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x10), keccak256(layoutOf()), DOCUMENT));
    }

    function firstState() internal pure returns (State memory) {
        return State(new bytes(2048), new bytes(2048));
    }

    function rootOf(State memory state) internal pure returns (bytes32) {
        return MerkleTree.stateRoot(
            manifestOf(),
            MerkleTree.leaf(MerkleTree.Kind.Theta, state.theta),
            MerkleTree.leaf(MerkleTree.Kind.Momentum, state.momentum)
        );
    }

    function headerOf(IRoundLedger ledger, RoundId round, bytes32 base, PolicyId policyId)
        internal
        view
        returns (bytes memory)
    {
        uint64 number = RoundId.unwrap(round);
        bytes32 seed = keccak256(abi.encodePacked(bytes1(0x11), block.chainid, address(ledger), number, base));
        return abi.encode(number, manifestOf(), base, policyId, uint8(8), seed, abi.encodePacked(EXPONENT));
    }

    /// @notice An update of 256 values, as an entry with its leaf.
    function entryOf(address contributor, uint256 seed) internal pure returns (IJudge.Entry memory entry) {
        for (uint256 i = 0; i < 8; ++i) {
            // No byte may be zero.
            uint256 word = uint256(keccak256(abi.encode(seed, i))) | (type(uint256).max / 0xff);
            entry.leaf = abi.encodePacked(entry.leaf, word);
        }
        MerkleSum.Node memory node = MerkleSum.leaf(entry.leaf);
        (entry.contributor, entry.updateRoot, entry.sumSquares) = (contributor, node.hash, node.squares);
        (entry.absolute, entry.squares, entry.bundleHash) = (node.absolute, node.squares, keccak256("bundle"));
    }

    function commitmentOf(IJudge.Entry memory entry, RoundId round, bytes32 base)
        internal
        pure
        returns (IRoundLedger.Commitment memory)
    {
        return IRoundLedger.Commitment({
            contributor: entry.contributor,
            round: round,
            baseStateRoot: base,
            updateRoot: entry.updateRoot,
            sumSquares: entry.sumSquares,
            memoryHash: entry.memoryHash,
            bundleHash: entry.bundleHash
        });
    }

    /// @notice The mean of the entries, with a mean scale of 1.
    function meanOf(uint32[] memory weights, IJudge.Entry[] memory entries) internal pure returns (bytes memory) {
        bytes[] memory leaves = new bytes[](entries.length);
        uint256 weightSum = 0;
        for (uint256 i = 0; i < entries.length; ++i) {
            leaves[i] = entries[i].leaf;
            weightSum += weights[i];
        }
        return Openings.mean(WeightedSum.sum(weights, leaves), weightSum, 1);
    }

    /// @notice The state after the round.
    function stepOf(State memory state, bytes memory mean, OuterStep.Settings memory settings)
        internal
        pure
        returns (State memory next)
    {
        next = firstState();
        for (uint256 c = 0; c < 256; ++c) {
            (int64 theta, int64 momentum) = OuterStep.step(
                _int64(state.theta, c), _int64(state.momentum, c), int256(uint256(uint8(mean[c]))) - 128, settings
            );
            _put(next.theta, c, theta);
            _put(next.momentum, c, momentum);
        }
    }

    function _put(bytes memory leaf, uint256 c, int64 value) private pure {
        assembly ("memory-safe") {
            let place := add(add(leaf, 0x20), mul(8, c))
            mstore(place, or(shl(192, value), shr(64, shl(64, mload(place)))))
        }
    }

    function _int64(bytes memory leaf, uint256 c) private pure returns (int64 value) {
        assembly ("memory-safe") {
            value := sar(192, mload(add(add(leaf, 0x20), mul(8, c))))
        }
    }
}

/// @notice A federation with this model and the real judges, for whole games.
abstract contract GameWorld is Deployment, SmallModel {
    uint256 internal constant DEPOSIT = 10e18;
    uint16 internal constant MAX_ENTRIES = 9;

    FraudProofs internal fraud;
    DataAvailability internal availability;
    Disputes internal disputes;

    function setUp() public virtual override {
        super.setUp();
        fraud = new FraudProofs(ledger);
        ContributorFaults faults = new ContributorFaults(ledger);
        availability = new DataAvailability(ledger, token, vault, DEPOSIT, 2 hours);
        disputes = new Disputes(ledger, token, vault, address(timelock), UNBONDING_PERIOD);
        address[] memory judges = new address[](4);
        (judges[0], judges[1]) = (address(fraud), address(faults));
        (judges[2], judges[3]) = (address(availability), address(disputes));
        Arbiter arbiter = new Arbiter(ledger, judges);
        vm.assertEq(address(arbiter), policy().verifier, "the address that the policy names");
    }

    function manifestHash() internal pure override returns (bytes32) {
        return manifestOf();
    }

    function genesisState() internal pure override returns (bytes32) {
        return rootOf(firstState());
    }

    function policy() internal view override returns (IPolicies.Policy memory made) {
        made = super.policy();
        made.maxSumSquares = type(uint64).max;
        made.maxContributors = MAX_ENTRIES;
        // The test contract deploys four judges and the arbiter once the ledger is there.
        made.verifier = vm.computeCreateAddress(address(this), 5);
    }
}
