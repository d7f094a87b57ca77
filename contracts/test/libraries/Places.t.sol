// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Places } from "../../src/libraries/Places.sol";
import { Test } from "../utils/Test.sol";

/// @notice Who has a place, by enrolled stake.
contract PlacesTest is Test {
    uint256 private constant MIN_STAKE = 100e18;
    /// @dev No supply is larger, and so no sum of stakes.
    uint256 private constant MAX_TOTAL = type(uint96).max / 4;
    uint256 private constant MAX_QUOTA = type(uint96).max;
    uint40 private constant AT = 1_800_000_000;
    bytes32 private constant HASH = keccak256("block");
    uint120 private constant SEED = uint120(uint256(HASH));

    function _account(uint256 number) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("account", number)))));
    }

    function _seed(uint256 number) private pure returns (uint120) {
        return uint120(uint256(keccak256(abi.encode("seed", number))));
    }

    function _draw(uint96 quota, uint120 seed) private pure returns (Places.Draw memory) {
        return Places.Draw({ quota: quota, at: AT, seed: seed });
    }

    function _quotaOf(uint256 total, uint256 maxContributors, uint256 minStake) private pure returns (uint256) {
        // casting to 'uint96' is safe because no total is larger than MAX_TOTAL
        // forge-lint: disable-next-line(unsafe-typecast)
        return Places.draw(Places.Basis(uint96(total), AT, 7), Places.seedOf(HASH), maxContributors, minStake).quota;
    }

    // Crowds.

    function test_available_leavesOneForTheCoordinator() public pure {
        vm.assertEq(Places.available(100), 99, "of many");
        vm.assertEq(Places.available(2), 1, "of two");
        vm.assertEq(Places.available(1), 1, "of one");
    }

    function test_isCrowd_atTheLimit() public pure {
        vm.assertFalse(Places.isCrowd(0, 100, MIN_STAKE), "nobody");
        vm.assertFalse(Places.isCrowd(99 * MIN_STAKE, 100, MIN_STAKE), "all have a place");
        vm.assertTrue(Places.isCrowd(99 * MIN_STAKE + 1, 100, MIN_STAKE), "one unit more is a crowd");
        vm.assertFalse(Places.isCrowd(MIN_STAKE, 1, MIN_STAKE), "one place");
        vm.assertTrue(Places.isCrowd(MIN_STAKE + 1, 1, MIN_STAKE), "more for one place");
        vm.assertFalse(Places.isCrowd(MAX_TOTAL, type(uint16).max, type(uint128).max), "no overflow");
    }

    /// @notice Without a crowd, a minimum for everybody who is enrolled is never more than there are places.
    function testFuzz_isCrowd_leavesAPlaceForAllOtherwise(uint256 total, uint16 maxContributors, uint128 minStake)
        public
        pure
    {
        total = bound(total, 0, MAX_TOTAL);
        uint256 max = bound(maxContributors, 1, type(uint16).max);
        uint256 min = bound(minStake, 1, type(uint128).max);
        uint256 places = max > 1 ? max - 1 : 1;
        vm.assertEq(Places.isCrowd(total, max, min), total > places * min, "more than a minimum for each place");
        if (!Places.isCrowd(total, max, min)) vm.assertLe(total / min, places, "accounts with the minimum");
    }

    // The draw.

    function test_draw_isThreeQuartersOfThePlaces() public pure {
        vm.assertEq(_quotaOf(99 * MIN_STAKE + 1, 100, MIN_STAKE), MIN_STAKE * 4 / 3, "one unit is a crowd");
        vm.assertEq(_quotaOf(198 * MIN_STAKE, 100, MIN_STAKE), MIN_STAKE * 8 / 3, "twice as much");
        vm.assertEq(_quotaOf(75 * MIN_STAKE, 11, MIN_STAKE), 10 * MIN_STAKE, "ten places");
        vm.assertEq(_quotaOf(3 * MIN_STAKE, 1, MIN_STAKE), 4 * MIN_STAKE, "one place");
        vm.assertEq(_quotaOf(3 * MIN_STAKE, 2, MIN_STAKE), 4 * MIN_STAKE, "two, of which one is the coordinator's");
        vm.assertEq(_quotaOf(MAX_TOTAL, 1, MIN_STAKE), MAX_TOTAL * 4 / 3, "the largest");
        vm.assertEq(_quotaOf(type(uint96).max, 3, MIN_STAKE), uint256(type(uint96).max) * 2 / 3, "of any total");
    }

    function test_draw_isForAllWhoWereThereBeforeTheCrowd() public pure {
        vm.assertEq(_quotaOf(0, 100, MIN_STAKE), 1, "at the deployment");
        vm.assertEq(_quotaOf(99 * MIN_STAKE, 100, MIN_STAKE), 1, "a minimum for each place");
        vm.assertEq(_quotaOf(MIN_STAKE, 1, MIN_STAKE), 1, "one place");
        vm.assertTrue(Places.has(_draw(1, SEED), _account(1), MIN_STAKE), "whoever is enrolled has a place");
        vm.assertFalse(Places.has(_draw(1, SEED), _account(1), 0), "and nobody else");
    }

    function testFuzz_draw_keepsTimeAndHash(Places.Basis memory basis, bytes32 blockHash) public pure {
        basis.total = uint96(bound(basis.total, 0, MAX_TOTAL));
        Places.Draw memory draw = Places.draw(basis, Places.seedOf(blockHash), 100, MIN_STAKE);
        vm.assertEq(draw.at, basis.at, "time");
        vm.assertEq(draw.seed, uint256(blockHash) % (1 << 120), "the lowest 120 bits");
        basis.blockNumber ^= 1;
        vm.assertEq(
            draw.quota, Places.draw(basis, Places.seedOf(~blockHash), 100, MIN_STAKE).quota, "the quota is no lot"
        );
    }

    /// @notice The quota divides the total by three quarters of the places, rounded down, and is more than the
    /// minimum.
    function testFuzz_draw_dividesTheTotal(uint256 total, uint16 maxContributors, uint128 minStake) public pure {
        total = bound(total, 0, MAX_TOTAL);
        uint256 max = bound(maxContributors, 1, type(uint16).max);
        uint256 min = bound(minStake, 1, type(uint96).max / max);
        uint256 places = max > 1 ? max - 1 : 1;
        uint256 quota = _quotaOf(total, max, min);
        if (total <= places * min) {
            vm.assertEq(quota, 1, "no crowd");
            return;
        }
        vm.assertLe(min * 4 / 3, quota, "four thirds of the minimum, at least");
        vm.assertLe(quota * places * 3, total * 4, "the share of a place, rounded down");
        vm.assertGt((quota + 1) * places * 3, total * 4, "by less than a unit");
    }

    /// @notice The expected number of accounts with a place is at most three quarters of the places: the sum of
    /// min(1, e / q).
    /// @dev In units of 1 / q, so that nothing is rounded. The quota is rounded down, by which the sum can be above
    /// three quarters of the places by less than that many units.
    function testFuzz_draw_expectsThreeQuartersOfThePlaces(uint256 seed, uint8 count, uint8 maxContributors)
        public
        pure
    {
        uint256 max = bound(maxContributors, 1, 256);
        uint256 number = bound(count, 1, 64);
        uint256[] memory enrolled = new uint256[](number);
        uint256 total;
        for (uint256 i = 0; i < number; ++i) {
            enrolled[i] = MIN_STAKE + uint256(keccak256(abi.encode(seed, i))) % (MIN_STAKE << (i % 12));
            total += enrolled[i];
        }
        uint256 quota = _quotaOf(total, max, MIN_STAKE);
        uint256 places = Places.available(max);
        uint256 sum;
        uint256 certain;
        for (uint256 i = 0; i < number; ++i) {
            if (enrolled[i] >= quota) ++certain;
            sum += enrolled[i] < quota ? enrolled[i] : quota;
        }
        if (quota == 1) {
            vm.assertLe(number, places, "a place for everybody");
        } else {
            vm.assertLe(sum * 4, places * 3 * (quota + 1), "expected");
            vm.assertLe(certain * 4, places * 3, "those with a quota");
        }
    }

    // How often more win than there are places.

    /// @dev Rounds of `n` in which more of `accounts` win than there are places. All have the same, which is the worst
    /// for a number of accounts: an account with a quota does not vary.
    function _overfull(uint256 places, uint256 accounts, uint256 n) private pure returns (uint256 rounds) {
        uint96 quota = uint96(_quotaOf(accounts * MIN_STAKE, places + 1, MIN_STAKE));
        address[] memory all = new address[](accounts);
        for (uint256 i = 0; i < accounts; ++i) {
            all[i] = _account(i);
        }
        for (uint256 i = 0; i < n; ++i) {
            Places.Draw memory draw = _draw(quota, _seed(i));
            uint256 won;
            for (uint256 j = 0; j < accounts; ++j) {
                if (Places.has(draw, all[j], MIN_STAKE)) ++won;
            }
            if (won > places) ++rounds;
        }
    }

    /// @notice With a hundred places it is rare.
    /// @dev By the binomial distribution: 0.0008 of 400 lots of 3 in 16, and 0.002 of any number of smaller ones.
    function test_overfull_ofAHundredPlaces() public pure {
        vm.assertLe(_overfull(100, 400, 500), 3, "overfull rounds");
    }

    /// @notice With ten places it is not: an eighth of the rounds, if everybody has a small part of a quota.
    /// @dev By the binomial distribution 0.129 of 100 lots of 3 in 40; four standard deviations are 42 of 1000.
    function test_overfull_ofTenPlaces() public pure {
        _near(_overfull(10, 100, 1000), 129, 42, "overfull rounds");
    }

    /// @notice The larger the parts of a quota, the rarer.
    /// @dev By the binomial distribution 0.085 of 20 lots of 3 in 8, and 0.015 of 11 lots of 15 in 22, the fewest of a
    /// crowd.
    function test_overfull_ofLargeParts() public pure {
        _near(_overfull(10, 20, 1000), 85, 35, "twice as much as there is room for");
        _near(_overfull(10, 11, 1000), 15, 15, "one more than there is room for");
    }

    // Places.

    function testFuzz_has_everybodyWithoutACrowd(address account, uint120 seed, uint96 enrolled) public pure {
        vm.assertTrue(Places.has(_draw(0, seed), account, enrolled), "has a place");
    }

    function testFuzz_has_whoeverHasAQuota(address account, uint120 seed, uint96 quota, uint96 more) public pure {
        uint256 enrolled = bound(uint256(quota) + more, quota, MAX_QUOTA);
        vm.assertTrue(Places.has(_draw(quota, seed), account, enrolled), "has a place");
    }

    function testFuzz_has_nobodyWithNothing(address account, uint120 seed, uint96 quota) public pure {
        quota = uint96(bound(quota, 1, MAX_QUOTA));
        vm.assertFalse(Places.has(_draw(quota, seed), account, 0), "has no place");
    }

    /// @notice Who has a place with some stake has it with more.
    function testFuzz_has_isMonotone(address account, uint120 seed, uint96 quota, uint96 less, uint96 more)
        public
        pure
    {
        if (less > more) (less, more) = (more, less);
        Places.Draw memory draw = _draw(quota, seed);
        if (Places.has(draw, account, less)) vm.assertTrue(Places.has(draw, account, more), "with more as well");
        // A larger quota takes places and gives none.
        Places.Draw memory dearer = _draw(uint96(bound(more, quota, MAX_QUOTA)), seed);
        if (!Places.has(draw, account, less)) vm.assertFalse(Places.has(dearer, account, less), "nor with more asked");
    }

    /// @notice The lot is the upper 96 bits of a hash, and the account has a place if lot / 2^96 < enrolled / quota.
    function testFuzz_has_comparesTheLot(address account, uint120 seed, uint96 quota, uint96 enrolled) public pure {
        quota = uint96(bound(quota, 1, MAX_QUOTA));
        uint256 lot = uint256(keccak256(abi.encode(uint256(seed), account))) >> 160;
        // The least stake for which lot * quota < stake * 2^96.
        uint256 least = ((lot * quota) >> 96) + 1;
        vm.assertLe(least, quota, "never more than a quota");
        Places.Draw memory draw = _draw(quota, seed);
        vm.assertTrue(Places.has(draw, account, least), "the least");
        if (least < quota) vm.assertFalse(Places.has(draw, account, least - 1), "one unit less");
        vm.assertEq(Places.has(draw, account, enrolled), enrolled >= least, "any");
    }

    function test_has_atTheLargestNumbers() public pure {
        Places.Draw memory draw = _draw(type(uint96).max, type(uint120).max);
        vm.assertTrue(Places.has(draw, address(type(uint160).max), MAX_QUOTA), "all");
        vm.assertTrue(Places.has(draw, address(type(uint160).max), MAX_QUOTA - 1), "but a unit");
        vm.assertFalse(Places.has(draw, address(type(uint160).max), 1), "a unit");
    }

    /// @notice The chance is enrolled / quota, over accounts in one draw and for one account over draws.
    /// @dev Fixed seeds, and a margin of four standard errors: sqrt(p (1 - p) / n).
    function test_has_chanceIsTheShareOfAQuota() public pure {
        uint256 n = 1000;
        // In thousandths: the chance, and four standard errors rounded up.
        uint16[2][6] memory cases = [
            [uint16(10), 13],
            [uint16(100), 38],
            [uint16(333), 60],
            [uint16(500), 64],
            [uint16(900), 38],
            [uint16(990), 13]
        ];
        uint96 quota = 1000e18;
        for (uint256 i = 0; i < cases.length; ++i) {
            uint256 enrolled = uint256(cases[i][0]) * 1e18;
            uint256 overAccounts;
            uint256 overDraws;
            for (uint256 j = 0; j < n; ++j) {
                if (Places.has(_draw(quota, _seed(i)), _account(j), enrolled)) ++overAccounts;
                if (Places.has(_draw(quota, _seed(j)), _account(i), enrolled)) ++overDraws;
            }
            _near(overAccounts * 1000, cases[i][0] * n, cases[i][1] * n, "over accounts");
            _near(overDraws * 1000, cases[i][0] * n, cases[i][1] * n, "over draws");
        }
    }

    function _near(uint256 value, uint256 wanted, uint256 margin, string memory message) private pure {
        vm.assertLe(wanted < margin ? 0 : wanted - margin, value, message);
        vm.assertLe(value, wanted + margin, message);
    }

    /// @dev Audit H1: whoever divided its stake had as many places as accounts. Divided or not, a share of the
    /// enrolled stake is worth at most that share of the places, in expectation: the sum of min(1, e_i / q) is at most
    /// e / q.
    function testFuzz_split_neverRaisesTheShare(uint96 enrolled, uint96 quota, uint8 parts, uint256 seed) public pure {
        uint256 whole = bound(enrolled, MIN_STAKE, 1e9 * 1e18);
        uint256 q = bound(quota, MIN_STAKE, 1e9 * 1e18);
        uint256 k = bound(parts, 1, 64);
        uint256 left = whole;
        // In units of 1 / q.
        uint256 expected;
        for (uint256 i = 0; i < k; ++i) {
            uint256 part = i == k - 1 ? left : uint256(keccak256(abi.encode(seed, i))) % (left + 1);
            left -= part;
            expected += part < q ? part : q;
        }
        vm.assertLe(expected, whole, "at most the share");
        // An account that has no more than a quota gains nothing by dividing itself: it has its share as it is.
        if (whole <= q) vm.assertEq(expected, whole, "as before");
    }

    /// @notice The same in draws: an account with half a quota, and its fifty parts, over many rounds.
    function test_split_isWorthTheSameOverManyDraws() public pure {
        uint96 quota = 1000e18;
        uint256 whole;
        uint256 divided;
        for (uint256 i = 0; i < 500; ++i) {
            Places.Draw memory draw = _draw(quota, _seed(i));
            if (Places.has(draw, _account(0), 500e18)) ++whole;
            for (uint256 j = 1; j <= 50; ++j) {
                if (Places.has(draw, _account(j), 10e18)) ++divided;
            }
        }
        // Four standard deviations: sqrt(500 / 4) and sqrt(25000 * 0.0099).
        _near(whole, 250, 45, "whole");
        _near(divided, 250, 63, "divided");
    }
}
