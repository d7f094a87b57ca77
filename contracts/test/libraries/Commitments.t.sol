// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { plainAnchorHash } from "../utils/Anchors.sol";
import { Test } from "../utils/Test.sol";
import { AssemblyTwin, ITwin, PlainTwin } from "../utils/Twins.sol";
import { OwnedWallet } from "../utils/Wallets.sol";

/// @notice Assembly against plain Solidity: for any call data both answer the same, or both revert with the same.
contract CommitmentsTest is Test {
    ITwin private _assembly;
    ITwin private _plain;

    function setUp() public {
        (_assembly, _plain) = (new AssemblyTwin(), new PlainTwin());
    }

    /// @return success Whether both succeeded.
    function _callBoth(bytes memory data) private view returns (bool success, bytes memory answer) {
        (success, answer) = address(_assembly).staticcall(data);
        (bool expected, bytes memory wanted) = address(_plain).staticcall(data);
        vm.assertEq(success, expected, "both succeed or neither");
        vm.assertEq(answer, wanted, "the same answer, or the same reason");
    }

    /// @dev `data` with the word at `offset` behind the selector replaced.
    function _with(bytes memory data, uint256 offset, uint256 value) private pure returns (bytes memory changed) {
        changed = bytes.concat(data);
        for (uint256 i = 0; i < 32; ++i) {
            changed[4 + offset + i] = bytes1(uint8(value >> (248 - 8 * i)));
        }
    }

    function _cut(bytes memory data, uint256 length) private pure returns (bytes memory shorter) {
        shorter = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            shorter[i] = data[i];
        }
    }

    function _anchor(uint256 seed, uint32[] memory weights, uint32[] memory pays)
        private
        pure
        returns (IRoundLedger.Anchor memory)
    {
        return IRoundLedger.Anchor({
            weights: weights,
            pays: pays,
            delivered: seed,
            meanRoot: keccak256(abi.encode(seed, "mean")),
            stateRoot: keccak256(abi.encode(seed, "state")),
            gramRoot: keccak256(abi.encode(seed, "gram")),
            verdictHash: keccak256(abi.encode(seed, "verdicts")),
            artifactsHash: keccak256(abi.encode(seed, "artifacts")),
            entriesRoot: keccak256(abi.encode(seed, "entries"))
        });
    }

    function _threeWeights() private pure returns (bytes memory) {
        uint32[] memory weights = new uint32[](3);
        (weights[0], weights[1], weights[2]) = (5, type(uint32).max, 1);
        uint32[] memory pays = new uint32[](2);
        (pays[0], pays[1]) = (type(uint32).max, 7);
        return abi.encodeCall(ITwin.encodeAnchor, (_anchor(1, weights, pays)));
    }

    // Anchors. In the call data: the anchor's offset, nine words with the lists' offsets first, the length of the
    // weights, the weights, the length of the pays, the pays.

    function testFuzz_encodeAnchor_isTheAbiEncoding(uint256 seed, uint32[] calldata weights, uint32[] calldata pays)
        public
        view
    {
        IRoundLedger.Anchor memory anchor = _anchor(seed, weights, pays);
        (bool success, bytes memory answer) = _callBoth(abi.encodeCall(ITwin.encodeAnchor, (anchor)));
        vm.assertTrue(success, "an anchor can be encoded");
        (bytes memory encoded,, bytes32 anchorHash) = abi.decode(answer, (bytes, uint256, bytes32));
        vm.assertEq(encoded, abi.encode(anchor), "encoding");
        vm.assertEq(anchorHash, plainAnchorHash(anchor), "hash");
    }

    function testFuzz_encodeAnchor_takesAnyCallDataAsSolidityDoes(uint256 place, uint256 value, uint256 length)
        public
        view
    {
        bytes memory data = _threeWeights();
        uint256 words = (data.length - 4) / 32;
        data = _with(data, 32 * (place % words), value);
        _callBoth(_cut(data, bound(length, 4, data.length)));
        // Small values are the offsets and lengths that nearly fit.
        _callBoth(_with(data, 32 * (place % words), value % 0x2e0));
    }

    function test_encodeAnchor_refusesWeightsAndPaysWiderThan32Bits() public view {
        bytes memory data = _threeWeights();
        // After the word at 0x1c0, which is the length of the pays.
        uint16[5] memory places = [0x160, 0x180, 0x1a0, 0x1e0, 0x200];
        for (uint256 i = 0; i < places.length; ++i) {
            for (uint256 bit = 32; bit < 256; bit += 7) {
                (bool success, bytes memory answer) = _callBoth(_with(data, places[i], 1 << bit));
                vm.assertFalse(success, "a weight and a pay have 32 bits");
                vm.assertEq(answer.length, 0, "without data");
            }
        }
    }

    function test_encodeAnchor_isTheSameWhereverTheListsAre() public view {
        (, bytes memory canonical) = _callBoth(_threeWeights());
        // The same lists after a gap, the pays first, and with something behind them.
        bytes memory data = bytes.concat(
            _cut(_threeWeights(), 4 + 0x140),
            bytes32(uint256(77)),
            abi.encode(uint256(2), type(uint32).max, uint256(7)),
            abi.encode(uint256(3), uint256(5), type(uint32).max, uint256(1)),
            bytes32(uint256(78))
        );
        data = _with(_with(data, 0x20, 0x1a0), 0x40, 0x140);
        (bool success, bytes memory answer) = _callBoth(data);
        vm.assertTrue(success, "the lists may be anywhere in the call data");
        vm.assertEq(answer, canonical, "and the encoding is the canonical one");
        (success,) = _callBoth(_with(data, 0x20, 0x220));
        vm.assertFalse(success, "but not beyond their end");
        (success,) = _callBoth(_with(data, 0x40, 0x220));
        vm.assertFalse(success, "neither of them");
    }

    // Commitments.

    function testFuzz_hash_isTheHashOfTheAbiEncoding(IRoundLedger.Commitment calldata commitment) public view {
        (bool success,) = _callBoth(abi.encodeCall(ITwin.hash, (commitment)));
        vm.assertTrue(success, "a commitment can be hashed");
    }

    function testFuzz_append_isTheHashOfTheAbiEncoding(bytes32 previous, address contributor, bytes32 commitmentHash)
        public
        view
    {
        (bool success,) = _callBoth(abi.encodeCall(ITwin.append, (previous, contributor, commitmentHash)));
        vm.assertTrue(success, "an entry can be appended");
    }

    // Signatures.

    function _isBy(address account, bytes32 digest, bytes memory signature) private view returns (bool by) {
        (bool success, bytes memory answer) = _callBoth(abi.encodeCall(ITwin.isBy, (account, digest, signature)));
        vm.assertTrue(success, "there is an answer to everything");
        by = abi.decode(answer, (bool));
    }

    function testFuzz_isBy_isWhatOpenZeppelinSays(uint256 key, bytes32 digest, uint256 bit, uint256 length)
        public
        view
    {
        key = bound(key, 1, 1 << 255);
        Actor memory signer = Actor(vm.addr(key), key);
        bytes memory signature = sign(signer, digest);
        vm.assertTrue(_isBy(signer.addr, digest, signature), "the signer");
        vm.assertFalse(_isBy(address(this), digest, signature), "a contract that answers nothing of the kind");
        vm.assertFalse(_isBy(signer.addr, keccak256(abi.encode(digest)), signature), "another message");
        vm.assertFalse(_isBy(address(0), digest, signature), "nobody");
        vm.assertFalse(_isBy(signer.addr, digest, bytes.concat(signature, hex"00")), "a byte more");
        vm.assertFalse(_isBy(signer.addr, digest, _cut(signature, length % 65)), "bytes less");
        bit %= 8 * 65;
        signature[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.assertFalse(_isBy(signer.addr, digest, signature), "another bit");
        vm.assertFalse(_isBy(address(0), digest, signature), "nobody by another bit");
    }

    function testFuzz_isBy_refusesTheSecondSignature(uint256 key, bytes32 digest) public view {
        key = bound(key, 1, 1 << 255);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        bytes memory second = abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27));
        vm.assertEq(ecrecover(digest, v == 27 ? 28 : 27, r, bytes32(order - uint256(s))), vm.addr(key), "it recovers");
        vm.assertFalse(_isBy(vm.addr(key), digest, second), "but does not count");
    }

    function test_isBy_asksContracts() public {
        Actor memory owner = actor("owner");
        OwnedWallet wallet = new OwnedWallet(owner.addr);
        bytes32 digest = keccak256("message");
        vm.assertTrue(_isBy(address(wallet), digest, sign(owner, digest)), "its owner signs for it");
        vm.assertFalse(_isBy(address(wallet), digest, sign(actor("other"), digest)), "another does not");
    }
}
