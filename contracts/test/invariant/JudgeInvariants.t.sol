// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { DataAvailability } from "../../src/DataAvailability.sol";
import { Disputes } from "../../src/Disputes.sol";
import { MootToken } from "../../src/MootToken.sol";
import { RoundLedger } from "../../src/RoundLedger.sol";
import { IDataAvailability } from "../../src/interfaces/IDataAvailability.sol";
import { IDisputes } from "../../src/interfaces/IDisputes.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { FraudWorld } from "../utils/FraudWorld.sol";
import { Test } from "../utils/Test.sol";

/// @notice An honest coordinator, which answers every demand before its time is up, and challengers who demand, dispute
/// and accuse whatever they like, in any order. What is impossible is tried all the same, and has to fail.
contract JudgeHandler is Test {
    struct Parts {
        RoundLedger ledger;
        MootToken token;
        DataAvailability availability;
        Disputes disputes;
        address coordinator;
        address timelock;
        address treasury;
    }

    /// @dev What a challenger has put into a dispute.
    struct Deposit {
        RoundId round;
        address challenger;
    }

    bytes private constant HEADER = "header";

    Parts private _parts;
    address[4] private _challengers;
    address[3] private _contributors;
    /// @dev Demands that the coordinator has not answered yet.
    uint256[] private _due;
    Deposit[] private _deposits;
    /// @notice How often each thing happened.
    uint256 public demanded;
    uint256 public answered;
    uint256 public finals;
    uint256 public decided;

    constructor(Parts memory parts, address[4] memory challengers, address[3] memory contributors) {
        _parts = parts;
        _challengers = challengers;
        _contributors = contributors;
    }

    /// @dev A round from its opening to its anchor: what comes before is the ledger's own matter.
    function nextRound() public {
        IRoundLedger.Phase last = _parts.ledger.phase(_last());
        if (last != IRoundLedger.Phase.Final) return;
        RoundId round = _parts.ledger.nextRound();
        (, bytes32 root) = _parts.ledger.head();
        vm.prank(_parts.coordinator);
        _parts.ledger.openRound(round, root, keccak256(HEADER));
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(_contributors[i]);
            _parts.ledger
                .commitUpdate(
                    IRoundLedger.Commitment(_contributors[i], round, root, keccak256(abi.encode(round, i)), 1, 0, 0)
                );
        }
        _warp(_parts.ledger.rounds(round).commitDeadline);
        IRoundLedger.Anchor memory anchor = anchorOf(round);
        bytes32 entriesHash = _parts.ledger.rounds(round).entriesHash;
        vm.prank(_parts.coordinator);
        _parts.ledger.anchor(round, entriesHash, anchor);
    }

    /// @dev Files only: that leaves can be answered is tested where the trees are real.
    function demand(uint256 who, uint256 what) public {
        address challenger = who % 7 < 4 ? _challengers[who % 7] : _contributors[who % 7 - 4];
        RoundId round = _last();
        IDataAvailability.What wanted = IDataAvailability.What(4 + what % 3);
        IRoundLedger.Anchor memory anchor = anchorOf(round);
        vm.prank(challenger);
        try _parts.availability.demandFile(round, anchor, wanted) returns (uint256 made) {
            ++demanded;
            _due.push(made);
        } catch { }
    }

    function answer(uint256 which) public {
        if (_due.length == 0) return;
        which %= _due.length;
        uint256 made = _due[which];
        IDataAvailability.What what = _parts.availability.demands(made).what;
        bytes memory file = what == IDataAvailability.What.Header ? HEADER : bytes("verdicts");
        if (what == IDataAvailability.What.Artifacts) file = "artifacts";
        vm.prank(_parts.coordinator);
        _parts.availability.show(made, file, bytes32(0));
        ++answered;
        _due[which] = _due[_due.length - 1];
        _due.pop();
    }

    function accuse(uint256 which) external {
        uint256 made = 1 + which % (_parts.availability.demandCount() + 1);
        try _parts.availability.proveWithheld(made) {
            revert("an honest coordinator is convicted");
        } catch { }
    }

    function release(uint256 which) external {
        uint256 made = 1 + which % (_parts.availability.demandCount() + 1);
        try _parts.availability.release(made) {
            for (uint256 i = 0; i < _due.length; ++i) {
                if (_due[i] != made) continue;
                _due[i] = _due[_due.length - 1];
                _due.pop();
                return;
            }
        } catch { }
    }

    function dispute(uint256 who) external {
        RoundId round = _last();
        vm.prank(_challengers[who % 4]);
        try _parts.disputes.open(round, "") {
            _deposits.push(Deposit(round, _challengers[who % 4]));
        } catch { }
    }

    /// @dev Voters who recompute the weights never uphold what an honest coordinator anchored.
    function decide(bool dismiss) external {
        RoundId round = _last();
        if (_parts.disputes.disputes(round).status != IDisputes.Status.Open) return;
        ++decided;
        if (dismiss) {
            vm.prank(_parts.timelock);
            _parts.disputes.dismiss(round);
            _forget(round, false);
        } else {
            _warp(_parts.disputes.disputes(round).decideBy);
            _forget(round, true);
        }
    }

    function finalize() external {
        RoundId round = _last();
        IRoundLedger.Round memory stored = _parts.ledger.rounds(round);
        if (stored.phase != IRoundLedger.Phase.Anchored) return;
        _warp(stored.challengeDeadline);
        _parts.ledger.finalize(round);
        ++finals;
        _forget(round, true);
    }

    function wait(uint256 time) external {
        _warp(block.timestamp + bound(time, 1, 12 hours));
    }

    /// @notice Number of deposits in disputes.
    function openDisputes() external view returns (uint256) {
        return _deposits.length;
    }

    function due() external view returns (uint256) {
        return _due.length;
    }

    function anchorOf(RoundId round) public pure returns (IRoundLedger.Anchor memory) {
        uint32[] memory weights = new uint32[](3);
        weights[0] = 1;
        return IRoundLedger.Anchor({
            weights: weights,
            pays: new uint32[](0),
            delivered: 7,
            meanRoot: keccak256(abi.encode("mean", round)),
            stateRoot: keccak256(abi.encode("state", round)),
            gramRoot: bytes32(0),
            verdictHash: keccak256("verdicts"),
            artifactsHash: keccak256("artifacts"),
            entriesRoot: keccak256("entries")
        });
    }

    /// @dev Time does not pass an answer's deadline before the coordinator has answered.
    function _warp(uint256 time) private {
        if (time <= block.timestamp) return;
        for (uint256 i = _due.length; i > 0; --i) {
            if (_parts.availability.demands(_due[i - 1]).until <= time) answer(i - 1);
        }
        vm.warp(time);
    }

    /// @dev The deposits about a round are over: taken by a dismissal, or given back.
    function _forget(RoundId round, bool release_) private {
        for (uint256 i = _deposits.length; i > 0; --i) {
            Deposit memory made = _deposits[i - 1];
            if (RoundId.unwrap(made.round) != RoundId.unwrap(round)) continue;
            if (release_) _parts.disputes.release(round, made.challenger);
            _deposits[i - 1] = _deposits[_deposits.length - 1];
            _deposits.pop();
        }
    }

    function _last() private view returns (RoundId) {
        return id(RoundId.unwrap(_parts.ledger.nextRound()) - 1);
    }
}

/// @notice What holds however the judges are called. PROPERTIES.md lists these.
contract JudgeInvariants is FraudWorld {
    JudgeHandler private _handler;

    function setUp() public override {
        super.setUp();
        vm.stopPrank();
        address[4] memory challengers = [challenger.addr, stranger.addr, verifier.addr, deployer.addr];
        address[7] memory all =
            [challengers[0], challengers[1], challengers[2], challengers[3], alice.addr, bob.addr, carol.addr];
        for (uint256 i = 0; i < all.length; ++i) {
            vm.prank(treasury.addr);
            token.transfer(all[i], 10_000e18);
            vm.startPrank(all[i]);
            token.approve(address(availability), type(uint256).max);
            token.approve(address(disputes), type(uint256).max);
            vm.stopPrank();
        }
        _handler = new JudgeHandler(
            JudgeHandler.Parts(
                ledger, token, availability, disputes, coordinator.addr, address(timelock), treasury.addr
            ),
            challengers,
            [alice.addr, bob.addr, carol.addr]
        );
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @dev The handler passes over what is impossible; this shows that what is possible does happen.
    function test_handler_reachesEveryEnd() external {
        _handler.nextRound();
        _handler.demand(0, 0);
        _handler.demand(4, 1);
        vm.assertEq(_handler.due(), 2, "two demands");
        _handler.answer(0);
        _handler.accuse(0);
        _handler.dispute(1);
        vm.assertEq(_handler.openDisputes(), 1, "a dispute");
        _handler.wait(3 hours);
        vm.assertEq(_handler.answered(), 2, "answered in time");
        _handler.decide(true);
        _handler.finalize();
        _handler.release(0);
        _handler.nextRound();
        _handler.dispute(1);
        _handler.decide(false);
        vm.assertEq(_handler.decided(), 2, "two ends of disputes");
        vm.assertEq(_handler.finals(), 1, "a final round");
        vm.assertEq(_handler.demanded(), 2, "two demands in all");
    }

    /// @dev One campaign for all: forge runs a campaign for each invariant, and with one seed they would be the same.
    function invariant_demandsAndDisputesAreSound() external view {
        _whoeverAnswersIsNeverConvicted();
        _depositsAreThoseOfOpenDemandsAndDisputes();
        _noRoundWaitsLongerThanItMay();
        _nothingIsDemandedTwice();
    }

    function _whoeverAnswersIsNeverConvicted() private view {
        vm.assertEq(vault.stakeOf(coordinator.addr), 5 * BOND, "stake of the coordinator");
        for (uint256 i = 1; i < RoundId.unwrap(ledger.nextRound()); ++i) {
            vm.assertTrue(ledger.phase(id(i)) != IRoundLedger.Phase.Slashed, "no round is void");
        }
    }

    function _depositsAreThoseOfOpenDemandsAndDisputes() private view {
        vm.assertEq(token.balanceOf(address(availability)), _handler.due() * DEPOSIT, "demands");
        vm.assertEq(token.balanceOf(address(disputes)), _handler.openDisputes() * DISPUTE_DEPOSIT, "disputes");
    }

    function _noRoundWaitsLongerThanItMay() private view {
        for (uint256 i = 1; i < RoundId.unwrap(ledger.nextRound()); ++i) {
            IRoundLedger.Round memory round = ledger.rounds(id(i));
            vm.assertLe(
                uint256(round.challengeDeadline),
                uint256(round.openedAt) + 2 * uint256(UNBONDING_PERIOD),
                "two unbonding times from the opening"
            );
        }
    }

    /// @dev H4: a node has one demand, which serves all who want it.
    function _nothingIsDemandedTwice() private view {
        for (uint256 i = 1; i <= availability.demandCount(); ++i) {
            IDataAvailability.Demand memory made = availability.demands(i);
            vm.assertEq(
                availability.demandOf(made.round, made.what, made.entry, made.level, made.index), i, "by its key"
            );
        }
    }
}
