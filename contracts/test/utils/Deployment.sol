// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ModelRegistry } from "../../src/ModelRegistry.sol";
import { MootToken } from "../../src/MootToken.sol";
import { Policies } from "../../src/Policies.sol";
import { Rewards } from "../../src/Rewards.sol";
import { RoundLedger } from "../../src/RoundLedger.sol";
import { StakeVault } from "../../src/StakeVault.sol";
import { MootGovernor } from "../../src/governance/MootGovernor.sol";
import { MootTimelock } from "../../src/governance/MootTimelock.sol";
import { IAdmission } from "../../src/interfaces/IAdmission.sol";
import { IMootToken } from "../../src/interfaces/IMootToken.sol";
import { IPolicies } from "../../src/interfaces/IPolicies.sol";
import { IRoundLedger } from "../../src/interfaces/IRoundLedger.sol";
import { RoundId } from "../../src/libraries/Types.sol";
import { Everybody } from "./Everybody.sol";
import { Test } from "./Test.sol";

/// @notice The whole system as it is deployed for real, with named actors and round numbers.
abstract contract Deployment is Test {
    uint256 internal constant START = 1_800_000_000;
    uint256 internal constant GENESIS_SUPPLY = 1_000_000e18;
    uint40 internal constant UNBONDING_PERIOD = 7 days;
    uint32 internal constant COMMIT_WINDOW = 10 minutes;
    uint32 internal constant ANCHOR_WINDOW = 5 minutes;
    uint32 internal constant CHALLENGE_WINDOW = 1 days;
    uint128 internal constant MIN_STAKE = 100e18;
    uint128 internal constant BOND = 1000e18;
    uint128 internal constant REWARD = 225e18;
    uint64 internal constant MAX_SUM_SQUARES = 1_000_000;
    uint256 internal constant TIMELOCK_DELAY = 2 days;
    uint48 internal constant VOTING_DELAY = 1 hours;
    uint32 internal constant VOTING_PERIOD = 3 days;
    uint256 internal constant PROPOSAL_THRESHOLD = 50e18;
    uint256 internal constant QUORUM_PERCENT = 20;
    uint48 internal constant VOTE_EXTENSION = 1 days;
    uint48 internal constant SEASONING = 7 days;
    uint40 internal constant WARRANTY_PERIOD = 30 days;
    uint96 internal constant MIN_WARRANTY = 0;
    uint128 internal constant MAX_REWARD = 2 * REWARD;
    uint128 internal constant MIN_BOND = BOND / 2;
    uint128 internal constant MAX_MIN_STAKE = 4 * MIN_STAKE;
    uint32 internal constant MIN_COMMIT_WINDOW = 1 seconds;
    uint32 internal constant MIN_CHALLENGE_WINDOW = 1 hours;
    /// @notice Slot of the ledger's rounds, and that of the hash in a round (snapshots/storage/RoundLedger.txt).
    uint256 internal constant ROUNDS_SLOT = 4;
    uint256 private constant ENTRIES_HASH_OFFSET = 3;
    /// @notice Admits everybody, for federations that are closed so that no places are drawn.
    IAdmission internal constant EVERYBODY = IAdmission(address(0xad));
    bytes32 internal constant MANIFEST_HASH = keccak256("manifest");
    bytes32 internal constant GENESIS_HASH = keccak256("genesis file");
    bytes32 internal constant GENESIS_STATE = keccak256("genesis state");

    MootToken internal token;
    StakeVault internal vault;
    ModelRegistry internal registry;
    Policies internal policies;
    RoundLedger internal ledger;
    Rewards internal rewards;
    MootTimelock internal timelock;
    MootGovernor internal governor;

    Actor internal deployer;
    Actor internal treasury;
    Actor internal coordinator;
    Actor internal verifier;
    Actor internal challenger;
    Actor internal stranger;
    Actor internal alice;
    Actor internal bob;
    Actor internal carol;

    function setUp() public virtual {
        vm.warp(START);
        deployer = actor("deployer");
        treasury = actor("treasury");
        coordinator = actor("coordinator");
        verifier = actor("verifier");
        challenger = actor("challenger");
        stranger = actor("stranger");
        alice = actor("alice");
        bob = actor("bob");
        carol = actor("carol");
        vm.etch(address(EVERYBODY), type(Everybody).runtimeCode);
        deploy();
        vm.prank(treasury.addr);
        token.approve(address(vault), type(uint256).max);
    }

    /// @notice Deploy from one account, every peer at its predicted address.
    function deploy() internal {
        uint256 nonce = vm.getNonce(deployer.addr);
        address ledgerAddress = vm.computeCreateAddress(deployer.addr, nonce + 4);
        address rewardsAddress = vm.computeCreateAddress(deployer.addr, nonce + 5);
        address timelockAddress = vm.computeCreateAddress(deployer.addr, nonce + 6);
        address governorAddress = vm.computeCreateAddress(deployer.addr, nonce + 7);
        IMootToken.Allocation[] memory genesis = new IMootToken.Allocation[](1);
        genesis[0] = IMootToken.Allocation(treasury.addr, GENESIS_SUPPLY);

        vm.startPrank(deployer.addr);
        token = new MootToken(rewardsAddress, genesis);
        vault = new StakeVault(token, ledgerAddress, UNBONDING_PERIOD);
        registry = new ModelRegistry(
            timelockAddress, ledgerAddress, address(token), genesisState(), WARRANTY_PERIOD, MIN_WARRANTY
        );
        policies = new Policies(timelockAddress, vault, policy(), bounds());
        ledger = new RoundLedger(vault, registry, policies, coordinator.addr, manifestHash(), GENESIS_HASH, admission());
        rewards = new Rewards(ledger, token);
        timelock = new MootTimelock(TIMELOCK_DELAY, governorAddress);
        governor = new MootGovernor(
            vault,
            timelock,
            VOTING_DELAY,
            VOTING_PERIOD,
            PROPOSAL_THRESHOLD,
            QUORUM_PERCENT,
            VOTE_EXTENSION,
            SEASONING,
            guardian(),
            guardianTerm()
        );
        vm.stopPrank();
    }

    /// @notice State root of version 0.
    function genesisState() internal view virtual returns (bytes32) {
        return GENESIS_STATE;
    }

    /// @notice Hash of the model's layout.
    function manifestHash() internal view virtual returns (bytes32) {
        return MANIFEST_HASH;
    }

    /// @notice The first policy.
    function policy() internal view virtual returns (IPolicies.Policy memory) {
        uint32[] memory parameters = new uint32[](2);
        parameters[0] = 1;
        return IPolicies.Policy({
            rule: "mean",
            parameters: parameters,
            maxSumSquares: MAX_SUM_SQUARES,
            minContributors: 2,
            maxContributors: 128,
            width: 8,
            meanScale: 1,
            rate: 717,
            momentum: 922,
            commitWindow: COMMIT_WINDOW,
            anchorWindow: ANCHOR_WINDOW,
            challengeWindow: CHALLENGE_WINDOW,
            interval: 0,
            minSumSquares: 0,
            noise1024: 0,
            steps: 0,
            privacyCap: 0,
            retainRounds: 0,
            minStake: MIN_STAKE,
            bond: BOND,
            reward: REWARD,
            verifier: verifier.addr,
            bundleHash: 0
        });
    }

    /// @notice Who may enrol: everybody.
    function admission() internal view virtual returns (IAdmission) {
        return IAdmission(address(0));
    }

    /// @notice Who may cancel proposals: nobody.
    function guardian() internal view virtual returns (address) {
        return address(0);
    }

    /// @notice For how long.
    function guardianTerm() internal view virtual returns (uint48) {
        return 0;
    }

    /// @notice What no policy may go beyond.
    function bounds() internal pure returns (IPolicies.Bounds memory) {
        return IPolicies.Bounds(MAX_REWARD, MIN_BOND, MAX_MIN_STAKE, MIN_COMMIT_WINDOW, MIN_CHALLENGE_WINDOW, 0);
    }

    /// @notice Hash of a round's entries, as the ledger has it. Read from its storage, because a call would take the place
    /// of the one that a prank or an expected revert is for.
    function entriesHashOf(RoundId round) internal view returns (bytes32) {
        uint256 roundSlot = uint256(keccak256(abi.encode(round, ROUNDS_SLOT)));
        return vm.load(address(ledger), bytes32(roundSlot + ENTRIES_HASH_OFFSET));
    }

    /// @notice Stake for somebody, from the treasury.
    function giveStake(address account, uint256 amount) internal {
        vm.prank(treasury.addr);
        vault.stake(account, amount);
    }

    /// @notice Enrol somebody with the minimum stake, or what it has of it, in the second before: a round that is opened now has a place for it.
    function enrol(address account) internal {
        uint256 time = block.timestamp;
        uint256 amount = vault.stakeOf(account) < MIN_STAKE ? vault.stakeOf(account) : MIN_STAKE;
        vm.warp(time - 1);
        vm.prank(account);
        ledger.enrol(amount);
        vm.warp(time);
    }
}
