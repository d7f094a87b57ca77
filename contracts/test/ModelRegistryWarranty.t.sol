// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IModelRegistry } from "../src/interfaces/IModelRegistry.sol";
import { Deployment } from "./utils/Deployment.sol";

/// @dev Tokens behind versions: who answers for a release, and when the tokens come back.
contract ModelRegistryWarrantyTest is Deployment {
    uint256 private constant AMOUNT = 50e18;

    function setUp() public override {
        super.setUp();
        vm.prank(address(ledger));
        registry.register(id(1), id(0), keccak256("state 1"));
        _fund(alice);
        _fund(bob);
    }

    function _fund(Actor memory who) private {
        vm.prank(treasury.addr);
        assertTrue(token.transfer(who.addr, AMOUNT), "funded");
        vm.prank(who.addr);
        token.approve(address(registry), AMOUNT);
    }

    function assertTrue(bool value, string memory what) private pure {
        vm.assertTrue(value, what);
    }

    function _post(Actor memory who, uint256 amount) private {
        vm.prank(who.addr);
        registry.postWarranty(id(1), amount);
    }

    function _withdraw(Actor memory who) private returns (uint256) {
        vm.prank(who.addr);
        return registry.withdrawWarranty(id(1));
    }

    function _forfeit(uint256 version, address beneficiary) private {
        vm.prank(address(timelock));
        registry.forfeitWarranties(id(version), beneficiary);
    }

    function _activate(uint256 version) private {
        vm.prank(address(timelock));
        registry.activate(id(version), bytes32(0));
    }

    function _requireCover(uint256 expected, bool taken) private view {
        (uint256 total, bool forfeited) = registry.warrantiesOf(id(1));
        vm.assertEq(total, expected, "behind the version");
        vm.assertTrue(forfeited == taken, "forfeited");
    }

    function test_postWarranty_putsTokensBehindAVersion() public {
        vm.expectEmit(address(registry));
        emit IModelRegistry.WarrantyPosted(id(1), alice.addr, 20e18);
        _post(alice, 20e18);
        vm.warp(START + 5);
        _post(alice, 1);
        _post(bob, AMOUNT);
        _requireCover(AMOUNT + 20e18 + 1, false);
        vm.assertEq(token.balanceOf(address(registry)), AMOUNT + 20e18 + 1, "held");
        (uint256 amount, uint40 releaseAt) = registry.warrantyOf(id(1), alice.addr);
        vm.assertEq(amount, 20e18 + 1, "hers");
        vm.assertEq(uint256(releaseAt), START + 5 + WARRANTY_PERIOD, "more restarts the period");
    }

    function test_postWarranty_failsForNothingOrNoVersion() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryZeroAmount.selector));
        _post(alice, 0);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(2)));
        vm.prank(alice.addr);
        registry.postWarranty(id(2), 1);
        vm.prank(address(timelock));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryUnknownVersion.selector, id(2)));
        registry.forfeitWarranties(id(2), bob.addr);
    }

    function test_postWarranty_failsForARecalledVersion() public {
        _activate(1);
        vm.prank(address(timelock));
        registry.recall(id(1), bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryRecalled.selector, id(1)));
        _post(alice, 1);
    }

    function test_postWarrantyWithPermit_needsOneTransaction() public {
        vm.prank(alice.addr);
        token.approve(address(registry), 0);
        uint256 deadline = START + 1;
        bytes32 kind = keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 permit = keccak256(abi.encode(kind, alice.addr, address(registry), AMOUNT, 0, deadline));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(alice.key, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), permit)));
        vm.prank(alice.addr);
        registry.postWarrantyWithPermit(id(1), AMOUNT, deadline, v, r, s);
        _requireCover(AMOUNT, false);
    }

    function test_postWarrantyWithPermit_passesOverABadPermit() public {
        vm.prank(alice.addr);
        registry.postWarrantyWithPermit(id(1), AMOUNT, START, 27, bytes32(0), bytes32(0));
        _requireCover(AMOUNT, false);
    }

    function test_withdrawWarranty_waitsForThePeriod() public {
        _post(alice, AMOUNT);
        vm.warp(START + WARRANTY_PERIOD - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IModelRegistry.ModelRegistryWarrantyHeld.selector, id(1), uint40(START + WARRANTY_PERIOD)
            )
        );
        _withdraw(alice);
        vm.warp(START + WARRANTY_PERIOD);
        vm.expectEmit(address(registry));
        emit IModelRegistry.WarrantyWithdrawn(id(1), alice.addr, AMOUNT);
        vm.assertEq(_withdraw(alice), AMOUNT, "whole");
        vm.assertEq(token.balanceOf(alice.addr), AMOUNT, "back");
        _requireCover(0, false);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryNoWarranty.selector, id(1), alice.addr));
        _withdraw(alice);
    }

    function test_withdrawWarranty_waitsAnewAfterAnActivation() public {
        _post(alice, AMOUNT);
        vm.warp(START + 10 days);
        _activate(1);
        (, uint40 releaseAt) = registry.warrantyOf(id(1), alice.addr);
        vm.assertEq(uint256(releaseAt), START + 10 days + WARRANTY_PERIOD, "from the activation on");
        vm.warp(START + WARRANTY_PERIOD);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryWarrantyHeld.selector, id(1), releaseAt));
        _withdraw(alice);
        vm.warp(releaseAt);
        vm.assertEq(_withdraw(alice), AMOUNT, "whole");
    }

    function test_activate_needsTheLeastWarranty() public {
        vm.expectEmit(address(registry));
        emit IModelRegistry.MinWarrantySet(uint96(AMOUNT));
        vm.prank(address(timelock));
        registry.setMinWarranty(uint96(AMOUNT));
        _post(alice, AMOUNT - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelRegistryWarrantyTooSmall.selector, id(1), AMOUNT - 1, AMOUNT)
        );
        _activate(1);
        _post(bob, 1);
        _activate(1);
    }

    /// @dev The way back to a version that was active needs nobody's tokens.
    function test_activate_goesBackWithoutAWarranty() public {
        _activate(0);
        _activate(1);
        vm.prank(address(timelock));
        registry.setMinWarranty(uint96(AMOUNT));
        _activate(0);
    }

    function test_setMinWarranty_failsForOthers() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IModelRegistry.ModelRegistryNotGovernance.selector, address(ledger), address(timelock)
            )
        );
        vm.prank(address(ledger));
        registry.setMinWarranty(1);
    }

    function test_forfeitWarranties_paysHalfAndBurnsTheRest() public {
        _post(alice, 20e18 + 1);
        _post(bob, 10e18);
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(registry));
        emit IModelRegistry.WarrantiesForfeited(id(1), carol.addr, 15e18, 15e18 + 1);
        _forfeit(1, carol.addr);
        vm.assertEq(token.balanceOf(carol.addr), 15e18, "half");
        vm.assertEq(token.totalSupply(), supply - 15e18 - 1, "burnt");
        vm.assertEq(token.balanceOf(address(registry)), 0, "nothing stays");
        _requireCover(0, true);
        (uint256 amount, uint40 releaseAt) = registry.warrantyOf(id(1), alice.addr);
        vm.assertEq(amount + releaseAt, 0, "nothing is hers");
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryNoWarranty.selector, id(1), alice.addr));
        _withdraw(alice);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryForfeited.selector, id(1)));
        _post(alice, 1);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRegistryForfeited.selector, id(1)));
        _activate(1);
    }

    function test_forfeitWarranties_burnsAllWithoutABeneficiary() public {
        _post(alice, AMOUNT);
        vm.expectEmit(address(registry));
        emit IModelRegistry.WarrantiesForfeited(id(1), address(0), 0, AMOUNT);
        _forfeit(1, address(0));
        vm.assertEq(token.totalSupply(), GENESIS_SUPPLY - AMOUNT, "burnt");
    }

    /// @dev Otherwise a withdrawal just before the execution would block the recall in the same proposal.
    function test_forfeitWarranties_neverFailsForWantOfTokens() public {
        vm.expectEmit(address(registry));
        emit IModelRegistry.WarrantiesForfeited(id(1), carol.addr, 0, 0);
        _forfeit(1, carol.addr);
        _forfeit(1, carol.addr);
    }

    function test_forfeitWarranties_failsForOthers() public {
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelRegistryNotGovernance.selector, alice.addr, address(timelock))
        );
        vm.prank(alice.addr);
        registry.forfeitWarranties(id(1), alice.addr);
    }

    /// @dev Warranties of other versions are out of reach of a vote about one.
    function testFuzz_forfeitWarranties_leavesOtherVersionsAlone(uint96 first, uint96 second) public {
        uint256 one = 1 + first % AMOUNT;
        uint256 two = 1 + second % AMOUNT;
        vm.prank(alice.addr);
        registry.postWarranty(id(0), one);
        _post(bob, two);
        _forfeit(1, carol.addr);
        vm.assertEq(token.balanceOf(address(registry)), one, "the other stays");
        vm.warp(START + WARRANTY_PERIOD);
        vm.prank(alice.addr);
        vm.assertEq(registry.withdrawWarranty(id(0)), one, "and comes back");
    }
}
