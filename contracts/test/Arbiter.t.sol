// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Arbiter } from "../src/Arbiter.sol";
import { IArbiter } from "../src/interfaces/IArbiter.sol";
import { RoundId } from "../src/libraries/Types.sol";
import { FraudWorld } from "./utils/FraudWorld.sol";

/// @notice Judges speak, nobody else. What their verdicts do is tested with each of them.
contract ArbiterTest is FraudWorld {
    function _expectInvalid(address[] memory judges, uint256 place) private {
        vm.expectRevert(abi.encodeWithSelector(IArbiter.ArbiterInvalidJudges.selector, place));
        new Arbiter(ledger, judges);
    }

    function test_constructor_failsWithoutProperJudges() public {
        vm.stopPrank();
        _expectInvalid(new address[](0), 0);
        _expectInvalid(new address[](17), 17);
        address[] memory judges = new address[](2);
        (judges[0], judges[1]) = (alice.addr, alice.addr);
        _expectInvalid(judges, 1);
        judges[0] = address(0);
        _expectInvalid(judges, 0);
    }

    function test_judges_areThoseOfTheDeployment() public view {
        address[] memory judges = arbiter.judges();
        vm.assertEq(judges.length, 4, "number");
        for (uint256 i = 0; i < judges.length; ++i) {
            vm.assertTrue(arbiter.isJudge(judges[i]), "is a judge");
        }
        vm.assertFalse(arbiter.isJudge(address(arbiter)), "the arbiter is none itself");
        vm.assertEq(address(arbiter.ledger()), address(ledger), "ledger");
    }

    function test_verdicts_areForJudges() public {
        bytes memory notJudge = abi.encodeWithSelector(IArbiter.ArbiterNotJudge.selector, challenger.addr);
        RoundId round = id(1);
        vm.expectRevert(notJudge);
        arbiter.convict(round, challenger.addr);
        vm.expectRevert(notJudge);
        arbiter.convictContributor(round, alice.addr, challenger.addr);
        vm.expectRevert(notJudge);
        arbiter.postpone(round, 1);
        vm.expectRevert(notJudge);
        arbiter.hold(round, 1);
        vm.expectRevert(notJudge);
        arbiter.resume(round);
    }
}
