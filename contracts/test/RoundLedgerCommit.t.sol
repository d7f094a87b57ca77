// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IAdmission } from "../src/interfaces/IAdmission.sol";
import { IPolicies } from "../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { RoundTest } from "./utils/RoundTest.sol";
import { Answering } from "./utils/Twins.sol";
import { Agreeing, OwnedWallet } from "./utils/Wallets.sol";

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
        bytes memory batch = batchOf(contributor, commitment);
        if (failure.length > 0) vm.expectRevert(failure);
        if (way == Way.Own) {
            vm.prank(contributor.addr);
            ledger.commitUpdate(commitment);
        } else {
            vm.prank(stranger.addr);
            ledger.commitUpdates(round, commitment.bundleHash, batch);
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
        emit IRoundLedger.UpdatesCommitted(round, index, commitment.bundleHash, listed(commitment));
    }

    // Hashes, written out a second time here on purpose.

    function test_hashCommitment_isTheEip712StructHash() public view {
        IRoundLedger.Commitment memory c = commitmentOf(alice.addr, round);
        bytes32 typehash = keccak256(
            "Commitment(address contributor,uint64 round,bytes32 baseStateRoot,bytes32 updateRoot,uint64 sumSquares,bytes32 memoryHash,bytes32 bundleHash)"
        );
        bytes32 expected = keccak256(
            abi.encode(
                typehash,
                c.contributor,
                c.round,
                c.baseStateRoot,
                c.updateRoot,
                c.sumSquares,
                c.memoryHash,
                c.bundleHash
            )
        );
        vm.assertEq(ledger.hashCommitment(c), expected, "struct hash");
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Folkmoot"),
                keccak256("2"),
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

    /// @dev Entries of the three, and what a batch of them has.
    function _three() private view returns (bytes memory batch, bytes memory entries, bytes32 rolling) {
        Actor[3] memory contributors = [alice, bob, carol];
        for (uint256 i = 0; i < 3; ++i) {
            IRoundLedger.Commitment memory commitment = commitmentOf(contributors[i].addr, round);
            batch = bytes.concat(batch, batchOf(contributors[i], commitment));
            entries = bytes.concat(entries, listed(commitment));
            rolling = keccak256(abi.encode(rolling, contributors[i].addr, ledger.hashCommitment(commitment)));
        }
    }

    function test_commitUpdates_recordsABatchInOrder() public {
        (bytes memory batch, bytes memory entries, bytes32 rolling) = _three();
        vm.assertEq(batch.length, 3 * 156, "bytes of a batch");
        vm.expectEmit(address(ledger));
        emit IRoundLedger.UpdatesCommitted(round, 0, BUNDLE_HASH, entries);
        vm.prank(stranger.addr);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertEq(uint256(ledger.rounds(round).entries), 3, "entries");
        vm.assertEq(ledger.rounds(round).entriesHash, rolling, "rolling hash");
    }

    function test_commitUpdates_numbersEntriesAcrossBatches() public {
        commitOwn(bob, round);
        IRoundLedger.Commitment memory commitment = commitmentOf(carol.addr, round);
        commitment.bundleHash = 0;
        _expectRecorded(commitment, 1);
        _handIn(Way.Signed, carol, commitment, "");
        commitment = commitmentOf(alice.addr, round);
        _expectRecorded(commitment, 2);
        _handIn(Way.Own, alice, commitment, "");
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
        vm.recordLogs();
        ledger.commitUpdates(round, BUNDLE_HASH, "");
        vm.assertEq(vm.getRecordedLogs().length, 0, "no event");
        vm.assertEq(uint256(ledger.rounds(round).entries), 0, "entries");
        vm.assertEq(ledger.rounds(round).entriesHash, bytes32(0), "rolling hash");
    }

    function test_commitUpdates_failsOnAPartOfAnEntry() public {
        (bytes memory batch,,) = _three();
        uint256[5] memory lengths = [uint256(1), 155, 157, 3 * 156 - 1, 92];
        for (uint256 i = 0; i < lengths.length; ++i) {
            bytes memory part = new bytes(lengths[i]);
            for (uint256 j = 0; j < part.length; ++j) {
                part[j] = batch[j];
            }
            vm.expectRevert(
                abi.encodeWithSelector(IRoundLedger.RoundLedgerMalformedBatch.selector, lengths[i], uint256(156))
            );
            ledger.commitUpdates(round, BUNDLE_HASH, part);
        }
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
        bytes memory batch;
        for (uint256 i = 0; i < 4; ++i) {
            batch = bytes.concat(batch, batchOf(order[i], commitmentOf(order[i].addr, round)));
        }
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        for (uint256 i = 0; i < 4; ++i) {
            vm.assertTrue(ledger.hasCommitted(round, order[i].addr), "recorded");
            _recordsNoSecond(order[i], commitmentOf(order[i].addr, round));
        }
        vm.assertFalse(ledger.hasCommitted(round, carol.addr), "carol is not recorded");
        vm.assertFalse(ledger.hasCommitted(round, address(uint160(1) << 80)), "nor is a member between them");
        commitOwn(carol, round);
        vm.assertTrue(ledger.hasCommitted(round, dave.addr), "and her commitment changes nothing for others");
    }

    function testFuzz_commitUpdates_recordsAnyMembers(uint64 sumSquares, bytes32 memoryHash, bytes32 updateRoot)
        public
    {
        vm.assume(updateRoot != bytes32(0));
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        commitment.sumSquares = uint64(bound(sumSquares, 0, MAX_SUM_SQUARES));
        commitment.memoryHash = memoryHash;
        commitment.updateRoot = updateRoot;
        _expectRecorded(commitment, 0);
        _handIn(Way.Signed, alice, commitment, "");
        bytes32 expected = keccak256(abi.encode(bytes32(0), alice.addr, ledger.hashCommitment(commitment)));
        vm.assertEq(ledger.rounds(round).entriesHash, expected, "rolling hash");
    }

    // Who may.

    function _wallet() private returns (address wallet, IRoundLedger.Commitment memory commitment) {
        wallet = address(new OwnedWallet(alice.addr));
        giveStake(wallet, MIN_STAKE);
        enrol(wallet);
        commitment = commitmentOf(wallet, round);
    }

    function test_commitUpdateFor_takesAContractAsContributor() public {
        (address wallet, IRoundLedger.Commitment memory commitment) = _wallet();
        bytes memory signature = signed(alice, commitment);
        _expectRecorded(commitment, 0);
        vm.prank(stranger.addr);
        ledger.commitUpdateFor(commitment, signature);
        vm.assertTrue(ledger.hasCommitted(round, wallet), "recorded");
        bytes32 expected = keccak256(abi.encode(bytes32(0), wallet, ledger.hashCommitment(commitment)));
        vm.assertEq(ledger.rounds(round).entriesHash, expected, "rolling hash");
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerAlreadyCommitted.selector, round, wallet));
        ledger.commitUpdateFor(commitment, signature);
    }

    function test_commitUpdateFor_failsWhenTheContractRefuses() public {
        (address wallet, IRoundLedger.Commitment memory commitment) = _wallet();
        bytes memory signature = signed(bob, commitment);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, wallet));
        ledger.commitUpdateFor(commitment, signature);
        signature = signed(alice, commitment);
        commitment.sumSquares += 1;
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, wallet));
        ledger.commitUpdateFor(commitment, signature);
    }

    function test_commitUpdateFor_isForContractsAlone() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        bytes memory signature = signed(alice, commitment);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, alice.addr));
        ledger.commitUpdateFor(commitment, signature);
    }

    function test_commitUpdates_asksNoContract() public {
        (address wallet, IRoundLedger.Commitment memory commitment) = _wallet();
        bytes memory batch = batchOf(alice, commitment);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, wallet));
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
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

    function _refusesSignature(bytes32 bundleHash, bytes memory batch) private {
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, alice.addr));
        ledger.commitUpdates(round, bundleHash, batch);
    }

    function test_commitUpdates_failsWithAnothersSignature() public {
        _refusesSignature(BUNDLE_HASH, batchOf(bob, commitmentOf(alice.addr, round)));
    }

    function testFuzz_commitUpdates_failsOnAnotherBit(uint256 bit) public {
        // Behind the contributor, whose other bit would be another account.
        bit = bound(bit, 160, 8 * 156 - 1);
        bytes memory batch = batchOf(alice, commitmentOf(alice.addr, round));
        batch[bit / 8] ^= bytes1(uint8(1 << (7 - bit % 8)));
        _refusesSignature(BUNDLE_HASH, batch);
    }

    function test_commitUpdates_failsWithTheSecondSignature() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(alice.key, ledger.commitmentDigest(commitment));
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        // The compact form has no room for the highest bit of the other s; without it, it is a number in the upper half
        // or another one.
        bytes memory second = abi.encodePacked(r, (order - uint256(s)) << 1 >> 1 | uint256(28 - v) << 255);
        _refusesSignature(BUNDLE_HASH, bytes.concat(listed(commitment), second));
    }

    function test_commitUpdates_failsForAnotherBundle() public {
        _refusesSignature(keccak256("another bundle"), batchOf(alice, commitmentOf(alice.addr, round)));
    }

    function test_commitUpdate_failsForAnother() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerNotContributor.selector, bob.addr, alice.addr));
        vm.prank(bob.addr);
        ledger.commitUpdate(commitment);
    }

    // What is refused, by both ways.

    function _refusesWithoutData(bytes memory data) private {
        vm.prank(alice.addr);
        (bool success, bytes memory answer) = address(ledger).call(data);
        vm.assertFalse(success, "refused");
        vm.assertEq(answer.length, 0, "as Solidity refuses it: without data");
    }

    /// @dev By both functions that take a whole commitment. Signed for the second, by a wallet that says yes to all.
    function test_commit_failsOnBitsAboveAMembersType() public {
        vm.etch(alice.addr, address(new Agreeing()).code);
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        uint256[7] memory widths = [uint256(160), 64, 256, 256, 64, 256, 256];
        for (uint256 member = 0; member < 7; ++member) {
            for (uint256 bit = widths[member]; bit < 256; bit += 5) {
                uint256[7] memory words = abi.decode(abi.encode(commitment), (uint256[7]));
                words[member] |= 1 << bit;
                _refusesWithoutData(abi.encodePacked(IRoundLedger.commitUpdate.selector, words));
                _refusesWithoutData(
                    abi.encodePacked(IRoundLedger.commitUpdateFor.selector, words, uint256(0x100), uint256(0))
                );
            }
        }
        commitment.memoryHash = bytes32(type(uint256).max);
        _expectRecorded(commitment, 0);
        ledger.commitUpdateFor(commitment, "");
    }

    /// @dev The ledger takes the vault's answer as it is laid out, so another layout must not pass.
    function test_commit_failsOnAnotherAnswerOfTheVault() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        bytes memory own = abi.encodeCall(IRoundLedger.commitUpdate, (commitment));
        bytes memory batch =
            abi.encodeCall(IRoundLedger.commitUpdates, (round, BUNDLE_HASH, batchOf(alice, commitment)));
        bytes[6] memory others = [
            address(new Answering(1, 0xa0)).code,
            address(new Answering(1, 0xe0)).code,
            address(new Answering(0, 0xc0)).code,
            address(new Answering(2, 0xc0)).code,
            hex"fe",
            bytes("")
        ];
        for (uint256 i = 0; i < 6; ++i) {
            vm.etch(address(vault), others[i]);
            _refusesWithoutData(own);
            _refusesWithoutData(batch);
        }
        vm.etch(address(vault), address(new Answering(1, 0xc0)).code);
        (bool success,) = address(ledger).call(batch);
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

    /// @dev Audit M2: somebody commits one of a batch's entries first. All others are recorded at once.
    function test_commitUpdates_isNotSpoiltByWhoCommitsFirst() public {
        (bytes memory batch,,) = _three();
        commitOwn(bob, round);
        bytes memory others =
            bytes.concat(listed(commitmentOf(alice.addr, round)), listed(commitmentOf(carol.addr, round)));
        vm.expectEmit(address(ledger));
        emit IRoundLedger.UpdatesCommitted(round, 1, BUNDLE_HASH, others);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertEq(uint256(ledger.rounds(round).entries), 3, "entries");
        IRoundLedger.Round memory before = ledger.rounds(round);
        vm.recordLogs();
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertEq(vm.getRecordedLogs().length, 0, "nothing is recorded, so there is no event");
        vm.assertEq(ledger.rounds(round).entriesHash, before.entriesHash, "hash of the entries");
    }

    function test_commitUpdates_takesTheFirstOfOneContributorTwiceInABatch() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        bytes memory batch = batchOf(alice, commitment);
        _expectRecorded(commitment, 0);
        commitment.updateRoot = keccak256("another update");
        ledger.commitUpdates(round, BUNDLE_HASH, bytes.concat(batch, batchOf(alice, commitment)));
        vm.assertEq(uint256(ledger.rounds(round).entries), 1, "entries");
    }

    function test_commit_failsForAnotherRound() public {
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        commitment.round = id(7);
        // A batch has one round, that of the call: what was signed for another is not signed for this one.
        _refusesSignature(BUNDLE_HASH, batchOf(alice, commitment));
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
        _refusesSignature(BUNDLE_HASH, batchOf(alice, commitment));
        _handIn(
            Way.Own,
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

    function test_commit_failsBelowTheNormFloor() public {
        skipCommitWindow(round);
        ledger.cancel(round);
        IPolicies.Policy memory noisy = policy();
        noisy.minSumSquares = 5000;
        vm.prank(address(timelock));
        policies.addPolicy(noisy);
        round = open();
        IRoundLedger.Commitment memory commitment = commitmentOf(alice.addr, round);
        commitment.sumSquares = 4999;
        _failsBothWays(
            alice,
            commitment,
            abi.encodeWithSelector(
                IRoundLedger.RoundLedgerNormTooSmall.selector, alice.addr, uint64(4999), uint64(5000)
            )
        );
        commitment.sumSquares = 5000;
        _handIn(Way.Own, alice, commitment, "");
    }

    /// @dev Its own transaction fails; in a batch between two others it is passed over.
    function _hasNoPlace(Actor memory who, bytes memory failure) private {
        IRoundLedger.Commitment memory commitment = commitmentOf(who.addr, round);
        _handIn(Way.Own, who, commitment, failure);
        uint256 state = vm.snapshotState();
        IRoundLedger.Commitment[2] memory others = [commitmentOf(alice.addr, round), commitmentOf(bob.addr, round)];
        bytes memory batch = bytes.concat(batchOf(alice, others[0]), batchOf(who, commitment), batchOf(bob, others[1]));
        vm.expectEmit(address(ledger));
        emit IRoundLedger.UpdatesCommitted(round, 0, BUNDLE_HASH, bytes.concat(listed(others[0]), listed(others[1])));
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertFalse(ledger.hasCommitted(round, who.addr), "passed over");
        vm.assertEq(uint256(ledger.rounds(round).entries), 2, "entries");
        bytes32 rolling;
        for (uint256 i = 0; i < 2; ++i) {
            bytes32 commitmentHash = ledger.hashCommitment(others[i]);
            rolling = keccak256(abi.encode(rolling, others[i].contributor, commitmentHash));
        }
        vm.assertEq(ledger.rounds(round).entriesHash, rolling, "rolling hash");
        vm.revertToState(state);
    }

    function _stakeTooLow(Actor memory who, uint256 staked) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IRoundLedger.RoundLedgerStakeTooLow.selector, who.addr, staked, MIN_STAKE);
    }

    /// @dev N4 of the game of November 2026: a signer left in front of a batch, and all of it reverted. However many
    /// do so in a row, the batch records all others.
    function test_n4_whoLeavesSpoilsNoBatch() public {
        bytes memory batch = batchOf(alice, commitmentOf(alice.addr, round));
        Actor[10] memory leavers;
        for (uint256 i = 0; i < 10; ++i) {
            leavers[i] = actor(string.concat("leaver ", vm.toString(i)));
            giveStake(leavers[i].addr, MIN_STAKE);
            enrol(leavers[i].addr);
            batch = bytes.concat(batch, batchOf(leavers[i], commitmentOf(leavers[i].addr, round)));
        }
        batch = bytes.concat(batch, batchOf(bob, commitmentOf(bob.addr, round)));
        for (uint256 i = 0; i < 10; ++i) {
            vm.prank(leavers[i].addr);
            ledger.leave();
        }
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertTrue(ledger.hasCommitted(round, alice.addr), "the first");
        vm.assertTrue(ledger.hasCommitted(round, bob.addr), "the last");
        vm.assertEq(uint256(ledger.rounds(round).entries), 2, "entries");
    }

    function test_n4_whoTakesStakeOutSpoilsNoBatch() public {
        vm.prank(carol.addr);
        vault.requestUnbond(1);
        _hasNoPlace(carol, _stakeTooLow(carol, MIN_STAKE - 1));
    }

    function test_n4_whoNeverEnrolledSpoilsNoBatch() public {
        _hasNoPlace(stranger, _stakeTooLow(stranger, 0));
        giveStake(stranger.addr, MIN_STAKE);
        _hasNoPlace(stranger, _stakeTooLow(stranger, 0));
    }

    function test_n4_whoEnrolsAgainSpoilsNoBatch() public {
        vm.prank(carol.addr);
        ledger.leave();
        vm.warp(block.timestamp + 5);
        enrol(carol.addr);
        bytes memory failure = abi.encodeWithSelector(
            IRoundLedger.RoundLedgerEnrolledTooLate.selector, round, carol.addr, block.timestamp - 1, START
        );
        _hasNoPlace(carol, failure);
    }

    function test_n4_aCoordinatorWithoutStakeSpoilsNoBatch() public {
        uint256 unlocked = vault.stakeOf(coordinator.addr) - BOND;
        vm.prank(coordinator.addr);
        vault.requestUnbond(unlocked);
        vm.assertGt(BOND, MIN_STAKE, "its bond is stake");
        _handIn(Way.Signed, coordinator, commitmentOf(coordinator.addr, round), "");
        vm.assertTrue(ledger.hasCommitted(round, coordinator.addr), "recorded");
    }

    /// @dev A batch in which nobody has a place records nothing, as one in which all have committed.
    function test_n4_aBatchOfWhoHaveNoPlaceRecordsNothing() public {
        vm.recordLogs();
        _handIn(Way.Signed, stranger, commitmentOf(stranger.addr, round), "");
        vm.assertEq(vm.getRecordedLogs().length, 0, "no event");
        vm.assertEq(ledger.rounds(round).entriesHash, bytes32(0), "rolling hash");
    }

    /// @dev Nobody else can make it bad, so the sender hears of it.
    function test_n4_aBadSignatureStillFailsOfWhoHasNoPlace() public {
        bytes memory batch = batchOf(alice, commitmentOf(stranger.addr, round));
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, stranger.addr));
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
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
        bytes memory batch = bytes.concat(
            batchOf(alice, commitmentOf(alice.addr, round)), batchOf(carol, commitmentOf(bob.addr, round))
        );
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerInvalidSignature.selector, bob.addr));
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertFalse(ledger.hasCommitted(round, alice.addr), "alice is not recorded");
        vm.assertEq(uint256(ledger.rounds(round).entries), 0, "entries");
    }
}

/// @notice A closed federation with more members than places: who comes first has one.
contract RoundLedgerFullTest is RoundTest {
    function policy() internal view override returns (IPolicies.Policy memory made) {
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
        vm.expectRevert(failure);
        vm.prank(carol.addr);
        ledger.commitUpdate(late);
    }

    /// @dev N4: who takes the last places first leaves the others of a batch without one, and spoils nothing.
    function test_n4_aFullRoundSpoilsNoBatch() public {
        RoundId round = open();
        bytes memory batch = bytes.concat(
            batchOf(alice, commitmentOf(alice.addr, round)), batchOf(carol, commitmentOf(carol.addr, round))
        );
        commitOwn(bob, round);
        ledger.commitUpdates(round, BUNDLE_HASH, batch);
        vm.assertTrue(ledger.hasCommitted(round, alice.addr), "the last place");
        vm.assertFalse(ledger.hasCommitted(round, carol.addr), "none is left");
        IRoundLedger.Commitment memory own = commitmentOf(coordinator.addr, round);
        vm.expectRevert(abi.encodeWithSelector(IRoundLedger.RoundLedgerRoundFull.selector, round, 2));
        vm.prank(coordinator.addr);
        ledger.commitUpdate(own);
    }
}
