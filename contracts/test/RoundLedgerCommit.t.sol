// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAdmission } from "../src/interfaces/IAdmission.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";
import { Answering } from "./utils/Twins.sol";
import { OwnedWallet } from "./utils/Wallets.sol";

/// @notice What a commitment must be, by either way into a round.
contract RoundLedgerCommitTest is RoundTest {
    /// @dev The two ways into a round; a rule that holds for one must hold for the other.
    enum Way {
        Signed,
        Own
    }

    RoundId private round;

    function setUp() public override {
        super.setUp();
        round = open();
    }

    /// @dev Hands `commitment` in, expecting `failure` (empty: success), by the way given.
    function _handIn(Way way, Actor memory contributor, IRoundLedger.Commitment memory commitment, bytes memory failure)
        private
    {
        (IRoundLedger.Commitment[] memory commitments, bytes[] memory signatures) = batchOf(contributor, commitment);
        if (failure.length > 0) vm.expectRevert(failure);
        if (way == Way.Own) {
            vm.prank(contributor.addr);
            ledger.commitUpdate(commitment);
        } else {
            vm.prank(stranger.addr);
            ledger.commitUpdates(round, commitments, signatures);
        }
    }

    function _failsBothWays(Actor memory contributor, IRoundLedger.Commitment memory commitment, bytes memory failure)
        private
    {
        _handIn(Way.Own, contributor, commitment, failure);
        _handIn(Way.Signed, contributor, commitment, failure);
    }

    function _expectRecorded(IRoundLedger.Commitment memory commitment, uint16 index) private {
        vm.expectEmit(address(ledger));
        emit IRoundLedger.UpdateCommitted(
            commitment.round,
            commitment.contributor,
            index,
            commitment.updateRoot,
            commitment.sumSquares,
            commitment.numExamples,
            commitment.bundleHash
        );
    }

    // Hashes, written out a second time here on purpose.

    function test_hashCommitment_isTheEip712StructHash() public view {
        IRoundLedger.Commitment memory c = commitmentOf(alice.addr, round);
        bytes32 typehash = keccak256(
            "Commitment(address contributor,uint64 round,bytes32 baseStateRoot,bytes32 updateRoot,uint64 sumSquares,uint32 numExamples,bytes32 bundleHash)"
        );
        bytes32 expected = keccak256(
            abi.encode(
                typehash,
                c.contributor,
                c.round,
                c.baseStateRoot,
                c.updateRoot,
                c.sumSquares,
                c.numExamples,
                c.bundleHash
            )
        );
        vm.assertEq(ledger.hashCommitment(c), expected, "struct hash");
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Folkmoot"),
                keccak256("1"),
                block.chainid,
                address(ledger)
            )
        );
        vm.assertEq(ledger.commitmentDigest(c), keccak256(abi.encodePacked("\x19\x01", domain, expected)), "digest");
    }

    function test_commitmentDigest_isAnotherOnAnotherChain() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        bytes32 here = ledger.commitmentDigest(commitment);
        vm.chainId(block.chainid + 1);
        vm.assertFalse(ledger.commitmentDigest(commitment) == here, "a signature for one chain is worthless on another");
    }

    // What is recorded.

    function test_commitUpdate_recordsTheCommitment() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        vm.assertFalse(ledger.hasCommitted(round, alice.addr), "not yet");
        _expectRecorded(commitment, 0);
        _handIn(Way.Own, alice, commitment, "");
        vm.assertTrue(ledger.hasCommitted(round, alice.addr), "recorded");
        vm.assertFalse(ledger.hasCommitted(round, bob.addr), "nobody else");
        vm.assertEq(uint256(ledger.rounds(round).entries), 1, "entries");
        bytes32 expected = keccak256(abi.encode(bytes32(0), alice.addr, ledger.hashCommitment(commitment)));
        vm.assertEq(ledger.rounds(round).entriesHash, expected, "rolling hash");
    }

    function test_commitUpdates_recordsABatchInOrder() public {
        Actor[3] memory contributors = [alice, bob, carol];
        IRoundLedger.Commitment[] memory commitments = new IRoundLedger.Commitment[](3);
        bytes[] memory signatures = new bytes[](3);
        bytes32 rolling;
        for (uint16 i = 0; i < 3; ++i) {
            commitments[i] = commitmentOf(contributors[i].addr, round);
            signatures[i] = signed(contributors[i], commitments[i]);
            bytes32 commitmentHash = ledger.hashCommitment(commitments[i]);
            rolling = keccak256(abi.encode(rolling, contributors[i].addr, commitmentHash));
        }
        for (uint16 i = 0; i < 3; ++i) {
            _expectRecorded(commitments[i], i);
        }
        vm.prank(stranger.addr);
        ledger.commitUpdates(round, commitments, signatures);
        vm.assertEq(uint256(ledger.rounds(round).entries), 3, "entries");
        vm.assertEq(ledger.rounds(round).entriesHash, rolling, "rolling hash");
    }

    function test_commitUpdates_andOwnCommitmentsShareOneList() public {
        commitOwn(bob, round);
        _handIn(Way.Signed, alice, commitmentOf(alice.addr, round), "");
        commitOwn(carol, round);
        bytes32 rolling;
        address[3] memory order = [bob.addr, alice.addr, carol.addr];
        for (uint256 i = 0; i < 3; ++i) {
            bytes32 commitmentHash = ledger.hashCommitment(commitmentOf(order[i], round));
            rolling = keccak256(abi.encode(rolling, order[i], commitmentHash));
        }
        vm.assertEq(ledger.rounds(round).entriesHash, rolling, "rolling hash");
    }

    function test_commitUpdates_takesAnEmptyBatchForNothing() public {
        ledger.commitUpdates(round, new IRoundLedger.Commitment[](0), new bytes[](0));
        vm.assertEq(uint256(ledger.rounds(round).entries), 0, "entries");
        vm.assertEq(ledger.rounds(round).entriesHash, bytes32(0), "rolling hash");
    }

    /// @dev Commitments are kept as bits, 256 members a word. Dave and Erin are in the second word.
    function test_commitUpdates_keepsMembersOfDifferentWordsApart() public {
        for (uint160 i = 1; i < 256; ++i) {
            vm.prank(address(ledger));
            vault.enrol(address(i << 80), 0);
        }
        Actor memory dave = actor("dave");
        Actor memory erin = actor("erin");
        giveStake(dave.addr, MIN_STAKE);
        giveStake(erin.addr, MIN_STAKE);
        enrol(dave.addr);
        enrol(erin.addr);
        Actor[4] memory order = [alice, dave, bob, erin];
        IRoundLedger.Commitment[] memory commitments = new IRoundLedger.Commitment[](4);
        bytes[] memory signatures = new bytes[](4);
        for (uint256 i = 0; i < 4; ++i) {
            commitments[i] = commitmentOf(order[i].addr, round);
            signatures[i] = signed(order[i], commitments[i]);
        }
        ledger.commitUpdates(round, commitments, signatures);
        for (uint256 i = 0; i < 4; ++i) {
            vm.assertTrue(ledger.hasCommitted(round, order[i].addr), "recorded");
            _recordsNoSecond(order[i], commitments[i]);
        }
        vm.assertFalse(ledger.hasCommitted(round, carol.addr), "carol is not recorded");
        vm.assertFalse(ledger.hasCommitted(round, address(uint160(1) << 80)), "nor is a member between them");
        commitOwn(carol, round);
        vm.assertTrue(ledger.hasCommitted(round, dave.addr), "and her commitment changes nothing for others");
    }

    function testFuzz_commitUpdate_recordsAnyNumbers(uint64 sumSquares, uint32 numExamples, bytes32 updateRoot) public {
        vm.assume(updateRoot != bytes32(0));
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        commitment.sumSquares = uint64(bound(sumSquares, 0, MAX_SUM_SQUARES));
        commitment.numExamples = numExamples;
        commitment.updateRoot = updateRoot;
        _expectRecorded(commitment, 0);
        _handIn(Way.Signed, alice, commitment, "");
        bytes32 expected = keccak256(abi.encode(bytes32(0), alice.addr, ledger.hashCommitment(commitment)));
        vm.assertEq(ledger.rounds(round).entriesHash, expected, "rolling hash");
    }

    // Who may.

    function test_commitUpdates_takesAContractAsContributor() public {
        OwnedWallet wallet = new OwnedWallet(alice.addr);
        giveStake(address(wallet), MIN_STAKE);
        enrol(address(wallet));
        IRoundLedger.Commitment memory commitment = commitmentOf(address(wallet), round);
        (IRoundLedger.Commitment[] memory commitments, bytes[] memory signatures) = batchOf(alice, commitment);
        _expectRecorded(commitment, 0);
        ledger.commitUpdates(round, commitments, signatures);
        vm.assertTrue(ledger.hasCommitted(round, address(wallet)), "recorded");
    }

    function test_commitUpdates_failsWhenTheContractRefuses() public {
        OwnedWallet wallet = new OwnedWallet(alice.addr);
        giveStake(address(wallet), MIN_STAKE);
        enrol(address(wallet));
        IRoundLedger.Commitment memory commitment = commitmentOf(address(wallet), round);
        (IRoundLedger.Commitment[] memory commitments, bytes[] memory signatures) = batchOf(bob, commitment);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, address(wallet)));
        ledger.commitUpdates(round, commitments, signatures);
    }

    function test_commitUpdate_isOpenToContracts() public {
        OwnedWallet wallet = new OwnedWallet(alice.addr);
        giveStake(address(wallet), MIN_STAKE);
        enrol(address(wallet));
        wallet.commit(ledger, commitmentOf(address(wallet), round));
        vm.assertTrue(ledger.hasCommitted(round, address(wallet)), "recorded");
    }

    function test_commitUpdates_takesAKeyWhoseAccountHasCode() public {
        // An account that delegated its code (EIP-7702) to a wallet of somebody else still signs with its own key.
        vm.etch(alice.addr, abi.encodePacked(hex"ef0100", address(new OwnedWallet(bob.addr))));
        _handIn(Way.Signed, alice, commitmentOf(alice.addr, round), "");
        vm.assertTrue(ledger.hasCommitted(round, alice.addr), "recorded");
    }

    function test_commitUpdates_failsWithAnothersSignature() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        (IRoundLedger.Commitment[] memory commitments, bytes[] memory signatures) = batchOf(bob, commitment);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, alice.addr));
        ledger.commitUpdates(round, commitments, signatures);
    }

    function test_commitUpdates_failsWithAMalformedSignature() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        (IRoundLedger.Commitment[] memory commitments, bytes[] memory signatures) = batchOf(alice, commitment);
        signatures[0] = hex"0102";
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, alice.addr));
        ledger.commitUpdates(round, commitments, signatures);
    }

    function test_commitUpdates_failsWhenTheMessageWasChanged() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        (IRoundLedger.Commitment[] memory commitments, bytes[] memory signatures) = batchOf(alice, commitment);
        commitments[0].sumSquares += 1;
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, alice.addr));
        ledger.commitUpdates(round, commitments, signatures);
    }

    function test_commitUpdate_failsForAnother() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotContributor.selector, bob.addr, alice.addr));
        vm.prank(bob.addr);
        ledger.commitUpdate(commitment);
    }

    function test_commitUpdates_failsWithListsOfDifferentLength() public {
        (IRoundLedger.Commitment[] memory commitments,) = batchOf(alice, commitmentOf(alice.addr, round));
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerLengthMismatch.selector, 2, 1));
        ledger.commitUpdates(round, commitments, new bytes[](2));
    }

    // What is refused, by both ways.

    /// @dev Call data of `commitUpdate`, with `bits` set in one of the commitment's seven words, and the commitment's hash
    /// as it is with these bits.
    function _widened(IRoundLedger.Commitment memory commitment, uint256 member, uint256 bits)
        private
        pure
        returns (uint256[7] memory words, bytes32 commitmentHash)
    {
        words = abi.decode(abi.encode(commitment), (uint256[7]));
        words[member] |= bits;
        bytes32 typehash = keccak256(
            "Commitment(address contributor,uint64 round,bytes32 baseStateRoot,bytes32 updateRoot,uint64 sumSquares,uint32 numExamples,bytes32 bundleHash)"
        );
        commitmentHash = keccak256(abi.encode(typehash, words));
    }

    function _digest(bytes32 commitmentHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Folkmoot"),
                keccak256("1"),
                block.chainid,
                address(ledger)
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, commitmentHash));
    }

    /// @dev `commitUpdates` with one commitment of these words, signed by alice.
    function _signedCall(uint256[7] memory words, bytes32 commitmentHash) private view returns (bytes memory) {
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = sign(alice, _digest(commitmentHash));
        bytes memory tail = abi.encode(signatures);
        // The head has the lists' offsets; `tail` begins with the offset that the second list has to itself.
        bytes memory list = new bytes(tail.length - 32);
        for (uint256 i = 0; i < list.length; ++i) {
            list[i] = tail[32 + i];
        }
        bytes memory head = abi.encode(round, uint256(0x60), uint256(0x160), uint256(1), words);
        return bytes.concat(IRoundLedger.commitUpdates.selector, head, list);
    }

    function _refusesWithoutData(bytes memory data) private {
        vm.prank(alice.addr);
        (bool success, bytes memory answer) = address(ledger).call(data);
        vm.assertFalse(success, "bits above the member's type are refused");
        vm.assertEq(answer.length, 0, "as Solidity refuses them: without data");
    }

    /// @dev Signed with the bits that are too many, so that the signature is not what fails.
    function test_commit_failsOnBitsAboveAMembersType() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        uint256[7] memory widths = [uint256(160), 64, 256, 256, 64, 32, 256];
        for (uint256 member = 0; member < 7; ++member) {
            for (uint256 bit = widths[member]; bit < 256; bit += 5) {
                (uint256[7] memory words, bytes32 commitmentHash) = _widened(commitment, member, 1 << bit);
                _refusesWithoutData(abi.encodePacked(IRoundLedger.commitUpdate.selector, words));
                _refusesWithoutData(_signedCall(words, commitmentHash));
            }
        }
        (uint256[7] memory sound, bytes32 soundHash) = _widened(commitment, 5, type(uint32).max);
        (bool success,) = address(ledger).call(_signedCall(sound, soundHash));
        vm.assertTrue(success, "all bits of the type are fine");
    }

    /// @dev The call fails before the round is looked at, as it did when Solidity read the contributors.
    function test_commitUpdates_failsFirstOnAContributorThatIsNone() public {
        skipCommitWindow(round);
        (uint256[7] memory words, bytes32 commitmentHash) = _widened(commitmentOf(alice.addr, round), 0, 1 << 160);
        _refusesWithoutData(_signedCall(words, commitmentHash));
    }

    function testFuzz_commitUpdates_takesSignaturesWhereverTheyAre(uint256 gap) public {
        gap = 32 * bound(gap, 0, 9);
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        (uint256[7] memory words,) = _widened(commitment, 0, 0);
        bytes memory signature = signed(alice, commitment);
        bytes memory data = bytes.concat(
            abi.encodePacked(IRoundLedger.commitUpdates.selector),
            abi.encode(round, uint256(0x60), 0x160 + gap, uint256(1), words),
            new bytes(gap),
            abi.encode(uint256(1), uint256(0x40 + gap), uint256(0)),
            new bytes(gap),
            bytes32(uint256(65)),
            signature,
            new bytes(31)
        );
        _expectRecorded(commitment, 0);
        (bool success,) = address(ledger).call(data);
        vm.assertTrue(success, "an encoding with gaps is an encoding");
    }

    /// @dev The ledger takes the vault's answer as it is laid out, so another layout must not pass.
    function test_commitUpdates_failsOnAnotherAnswerOfTheVault() public {
        (uint256[7] memory words, bytes32 commitmentHash) = _widened(commitmentOf(alice.addr, round), 0, 0);
        bytes memory data = _signedCall(words, commitmentHash);
        vm.etch(address(vault), address(new Answering(1, 0xa0)).code);
        _refusesWithoutData(data);
        vm.etch(address(vault), address(new Answering(1, 0xe0)).code);
        _refusesWithoutData(data);
        vm.etch(address(vault), address(new Answering(0, 0xc0)).code);
        _refusesWithoutData(data);
        vm.etch(address(vault), address(new Answering(2, 0xc0)).code);
        _refusesWithoutData(data);
        vm.etch(address(vault), hex"fe");
        _refusesWithoutData(data);
        vm.etch(address(vault), "");
        _refusesWithoutData(data);
        vm.etch(address(vault), address(new Answering(1, 0xc0)).code);
        (bool success,) = address(ledger).call(data);
        vm.assertTrue(success, "the layout of the vault");
    }

    function test_commit_failsTwiceInARound() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        _handIn(Way.Own, alice, commitment, "");
        _recordsNoSecond(alice, commitment);
        commitment.updateRoot = keccak256("another update");
        _recordsNoSecond(alice, commitment);
    }

    /// @dev Its own transaction fails; in a batch it is passed over, whatever its signature.
    function _recordsNoSecond(Actor memory who, IRoundLedger.Commitment memory commitment) private {
        IRoundLedger.Round memory before = ledger.rounds(round);
        bytes memory failure =
            abi.encodeWithSelector(IRoundLedger.RoundLedgerAlreadyCommitted.selector, round, who.addr);
        _handIn(Way.Own, who, commitment, failure);
        _handIn(Way.Signed, who, commitment, "");
        vm.assertEq(uint256(ledger.rounds(round).entries), before.entries, "entries");
        vm.assertEq(ledger.rounds(round).entriesHash, before.entriesHash, "hash of the entries");
    }

    /// @dev Audit M2: somebody commits one of a batch's entries first, ten times over. All others are recorded at once.
    function test_commitUpdates_isNotSpoiltByWhoCommitsFirst() public {
        Actor[3] memory order = [alice, bob, carol];
        IRoundLedger.Commitment[] memory commitments = new IRoundLedger.Commitment[](3);
        bytes[] memory signatures = new bytes[](3);
        for (uint256 i = 0; i < 3; ++i) {
            commitments[i] = commitmentOf(order[i].addr, round);
            signatures[i] = signed(order[i], commitments[i]);
        }
        commitOwn(bob, round);
        ledger.commitUpdates(round, commitments, signatures);
        vm.assertEq(uint256(ledger.rounds(round).entries), 3, "entries");
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertTrue(ledger.hasCommitted(round, order[i].addr), "recorded");
        }
    }

    function test_commitUpdates_takesTheFirstOfOneContributorTwiceInABatch() public {
        IRoundLedger.Commitment[] memory commitments = new IRoundLedger.Commitment[](2);
        bytes[] memory signatures = new bytes[](2);
        for (uint256 i = 0; i < 2; ++i) {
            commitments[i] = commitmentOf(alice.addr, round);
            commitments[i].updateRoot = keccak256(abi.encode(i));
            signatures[i] = signed(alice, commitments[i]);
        }
        vm.expectEmit(address(ledger));
        emit IRoundLedger.UpdateCommitted(
            round,
            alice.addr,
            0,
            commitments[0].updateRoot,
            commitments[0].sumSquares,
            commitments[0].numExamples,
            commitments[0].bundleHash
        );
        ledger.commitUpdates(round, commitments, signatures);
        vm.assertEq(uint256(ledger.rounds(round).entries), 1, "entries");
    }

    function test_commit_failsForAnotherRound() public {
        // By `commitUpdate` the commitment itself names the round, so a false number means a round that is not open.
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        commitment.round = id(7);
        _handIn(
            Way.Signed,
            alice,
            commitment,
            abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundMismatch.selector, id(7), round)
        );
        _handIn(
            Way.Own,
            alice,
            commitment,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector, id(7), IRoundLedger.Phase.None, IRoundLedger.Phase.Open
            )
        );
    }

    function test_commit_failsOnAnotherBase() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        commitment.baseStateRoot = keccak256("a stale state");
        _failsBothWays(
            alice,
            commitment,
            abi.encodeWithSelector(IRoundLedger.RoundLedgerWrongBase.selector, commitment.baseStateRoot, GENESIS_STATE)
        );
    }

    function test_commit_failsWithoutARoot() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        commitment.updateRoot = bytes32(0);
        _failsBothWays(alice, commitment, abi.encodeWithSelector(IRoundLedger.RoundLedgerZeroRoot.selector));
    }

    function test_commit_failsAboveTheNormCap() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        commitment.sumSquares = MAX_SUM_SQUARES + 1;
        _failsBothWays(
            alice,
            commitment,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerNormTooLarge.selector, alice.addr, MAX_SUM_SQUARES + 1, MAX_SUM_SQUARES
            )
        );
        commitment.sumSquares = MAX_SUM_SQUARES;
        _handIn(Way.Own, alice, commitment, "");
    }

    function test_commit_failsBelowTheMinimumStake() public {
        vm.prank(carol.addr);
        vault.requestUnbond(1);
        _failsBothWays(
            carol,
            commitmentOf(carol.addr, round),
            abi.encodeWithSelector(IRoundLedger.RoundLedgerStakeTooLow.selector, carol.addr, MIN_STAKE - 1, MIN_STAKE)
        );
        _failsBothWays(
            stranger,
            commitmentOf(stranger.addr, round),
            abi.encodeWithSelector(IRoundLedger.RoundLedgerStakeTooLow.selector, stranger.addr, 0, MIN_STAKE)
        );
    }

    function test_commit_failsAfterTheDeadline() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        uint256 deadline = START + COMMIT_WINDOW;
        vm.warp(deadline);
        assertPhase(round, IRoundLedger.Phase.Committed, "the commit window is over");
        _failsBothWays(
            alice,
            commitment,
            abi.encodeWithSelector(IRoundLedger.RoundLedgerTooLate.selector, round, deadline, deadline)
        );
        vm.warp(deadline - 1);
        _handIn(Way.Signed, alice, commitment, "");
    }

    function test_commit_failsInARoundThatIsOver() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        skipCommitWindow(round);
        ledger.cancel(round);
        _failsBothWays(
            alice,
            commitment,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerWrongPhase.selector,
                round,
                IRoundLedger.Phase.Cancelled,
                IRoundLedger.Phase.Open
            )
        );
    }

    function test_commitUpdates_aBadEntryLeavesNothingBehind() public {
        IRoundLedger.Commitment[] memory commitments = new IRoundLedger.Commitment[](2);
        bytes[] memory signatures = new bytes[](2);
        commitments[0] = commitmentOf(alice.addr, round);
        commitments[1] = commitmentOf(bob.addr, round);
        signatures[0] = signed(alice, commitments[0]);
        signatures[1] = signed(carol, commitments[1]);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, bob.addr));
        ledger.commitUpdates(round, commitments, signatures);
        vm.assertFalse(ledger.hasCommitted(round, alice.addr), "alice is not recorded");
        vm.assertEq(uint256(ledger.rounds(round).entries), 0, "entries");
    }
}

/// @notice A closed federation with more members than places: who comes first has one.
contract RoundLedgerFullTest is RoundTest {
    function policy() internal view override returns (IRoundLedger.Policy memory made) {
        made = super.policy();
        made.maxContributors = 2;
    }

    function admission() internal pure override returns (IAdmission) {
        return EVERYBODY;
    }

    function test_commit_failsWhenTheRoundIsFull() public {
        RoundId round = open();
        vm.assertEq(uint256(ledger.draws(round).quota), 0, "nobody is drawn");
        commitOwn(alice, round);
        commitOwn(bob, round);
        IRoundLedger.Commitment memory late = commitmentOf(carol.addr, round);
        bytes memory failure = abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundFull.selector, round, 2);
        (IRoundLedger.Commitment[] memory commitments, bytes[] memory signatures) = batchOf(carol, late);
        vm.expectRevert(failure);
        ledger.commitUpdates(round, commitments, signatures);
        vm.expectRevert(failure);
        vm.prank(carol.addr);
        ledger.commitUpdate(late);
    }
}
