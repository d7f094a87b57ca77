// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { OuterStep } from "../../src/libraries/OuterStep.sol";
import { Libraries } from "../utils/Libraries.sol";
import { Test } from "../utils/Test.sol";

/// @notice The outer step and the next exponents.
contract OuterStepTest is Test {
    int64 private constant BOUND = 2 ** 48 - 1;

    Libraries private _libraries;

    function setUp() public {
        _libraries = new Libraries();
    }

    /// @dev FedAvg: momentum 0, rate 1, and an exponent that makes the shift zero.
    function _plain(uint8 meanScale) private pure returns (OuterStep.Settings memory) {
        return OuterStep.Settings({ meanScale: meanScale, exponent: -26, rate: 1024, momentum: 0 });
    }

    // The mean.

    function test_inStateUnits_roundsToTheNearestHalvesUp() public view {
        int256[9] memory sums = [int256(-6), -5, -3, -2, 2, 3, 5, 6, 7];
        int256[9] memory quarters = [int256(-1), -1, -1, 0, 1, 1, 1, 2, 2];
        for (uint256 i = 0; i < sums.length; ++i) {
            vm.assertEq(_libraries.inStateUnits(sums[i], 4, -26), quarters[i], "of four");
        }
    }

    function test_inStateUnits_shiftsByTheExponent() public view {
        vm.assertEq(_libraries.inStateUnits(3, 1, 4), 3 * 2 ** 30, "the largest exponent");
        vm.assertEq(_libraries.inStateUnits(-3, 2, -25), -3, "one bit");
        vm.assertEq(_libraries.inStateUnits(8192, 1, -40), 1, "half of the smallest unit rounds up");
        vm.assertEq(_libraries.inStateUnits(8191, 1, -40), 0, "less than half rounds down");
        vm.assertEq(_libraries.inStateUnits(-8192, 1, -40), 0, "minus half rounds up");
        vm.assertEq(_libraries.inStateUnits(-8193, 1, -40), -1, "below minus half");
    }

    function testFuzz_inStateUnits_isWithinHalfAUnit(int8 mean, uint8 meanScale, int8 exponent) public view {
        meanScale = uint8(bound(meanScale, 1, 127));
        exponent = int8(int256(bound(uint8(exponent), 0, 44)) - 40);
        int256 result = _libraries.inStateUnits(mean, meanScale, exponent);
        // In units of 2^-14, in which every shift is a whole number.
        int256 exact = int256(mean) * int256(2) ** uint256(int256(exponent) + 40);
        int256 gap = 2 * (result * int256(uint256(meanScale)) * 2 ** 14 - exact);
        int256 unit = int256(uint256(meanScale)) * 2 ** 14;
        vm.assertTrue(gap <= unit && gap > -unit, "the nearest, halves up");
    }

    function test_inStateUnits_failsWithAnImpossibleExponent() public {
        vm.expectRevert(abi.encodeWithSelector(OuterStep.OuterStepExponentOutOfRange.selector, int256(5)));
        _libraries.inStateUnits(1, 1, 5);
        vm.expectRevert(abi.encodeWithSelector(OuterStep.OuterStepExponentOutOfRange.selector, int256(-41)));
        _libraries.inStateUnits(1, 1, -41);
    }

    function test_inStateUnits_failsWithoutAScale() public {
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x12));
        _libraries.inStateUnits(1, 0, 0);
    }

    // The step.

    function test_step_isFedAvgWithoutMomentum() public view {
        (int64 theta, int64 momentum) = _libraries.step(1000, 7, -30, _plain(3));
        vm.assertEq(int256(theta), 1010, "theta goes against the mean");
        vm.assertEq(int256(momentum), -10, "momentum is the mean");
    }

    function test_step_isNesterovsWithMomentum() public view {
        OuterStep.Settings memory settings = _plain(1);
        (settings.momentum, settings.rate) = (512, 512);
        (int64 theta, int64 momentum) = _libraries.step(1000, 100, 10, settings);
        vm.assertEq(int256(momentum), 60, "half of 100, and 10");
        vm.assertEq(int256(theta), 980, "half of 10 and half of 60");
    }

    function test_step_roundsTowardsMinusInfinity() public view {
        OuterStep.Settings memory settings = _plain(1);
        settings.momentum = 1;
        (, int64 momentum) = _libraries.step(0, -1, 0, settings);
        vm.assertEq(int256(momentum), -1, "floor of -1/1024");
        settings.rate = 1;
        (int64 theta,) = _libraries.step(0, 0, -1, settings);
        vm.assertEq(int256(theta), 1, "minus the floor of -2/1024");
        (theta,) = _libraries.step(0, 0, 1, settings);
        vm.assertEq(int256(theta), 0, "minus the floor of 1/1024");
    }

    function test_step_staysInsideOfTheBound() public view {
        OuterStep.Settings memory settings = OuterStep.Settings(1, 4, 4096, 1024);
        (int64 theta, int64 momentum) = _libraries.step(-BOUND, BOUND, 127, settings);
        vm.assertEq(int256(theta), -BOUND, "theta below");
        vm.assertEq(int256(momentum), BOUND, "momentum above");
        (theta, momentum) = _libraries.step(BOUND, -BOUND, -127, settings);
        vm.assertEq(int256(theta), BOUND, "theta above");
        vm.assertEq(int256(momentum), -BOUND, "momentum below");
    }

    function test_step_leavesPaddingAtZero() public view {
        (int64 theta, int64 momentum) = _libraries.step(0, 0, 0, OuterStep.Settings(7, -9, 717, 922));
        vm.assertEq(int256(theta), 0, "theta");
        vm.assertEq(int256(momentum), 0, "momentum");
    }
}
