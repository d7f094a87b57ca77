// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { PolicyId } from "../libraries/Types.sol";

/// @title The policies of a federation: the rules of its rounds. Governance adds them; nothing changes or removes one.
/// @dev The ledger asks for the policy of a round that opens. Rounds that are under way keep theirs.
interface IPolicies {
    /// @notice The rules of a round. A round pins one policy for its whole life; only governance adds one.
    struct Policy {
        /// @notice Name of the aggregation rule in ASCII, left-aligned, e.g. "mean" or "multi_krum" (docs/protocol.md).
        bytes32 rule;
        /// @notice Parameters of the rule, by position, as the rule's section of docs/protocol.md lists them.
        uint32[] parameters;
        /// @notice Largest sum of squares (in units of the encoded integers) that an update may have.
        uint64 maxSumSquares;
        /// @notice Minimum number of commitments of an anchored round. With fewer, anybody may cancel it.
        uint16 minContributors;
        /// @notice Maximum number of commitments of a round. Bounds every loop of the ledger. In a crowd (`Places`) the
        /// last one can be the coordinator's alone.
        uint16 maxContributors;
        /// @notice Bits of one encoded coordinate: 8, 4 or 2. With noise it must be 8.
        uint8 width;
        /// @notice Steps of the published mean in one step of an update. At least 1; times the largest number of an update
        /// at most 127.
        uint8 meanScale;
        /// @notice Outer learning rate in 1/1024.
        uint16 rate;
        /// @notice Outer momentum in 1/1024.
        uint16 momentum;
        /// @notice Seconds from the opening in which commitments are taken.
        uint32 commitWindow;
        /// @notice Seconds after the commit window in which the coordinator may anchor.
        uint32 anchorWindow;
        /// @notice Seconds after the anchor in which the anchor may be challenged.
        uint32 challengeWindow;
        /// @notice Seconds from the opening of a round to the opening of the next one on top of it, at least; 0 for none.
        /// Only rounds that stand on top of each other can all become final, so of the rounds that are opened within `t`
        /// seconds at most 1 + `t` / `interval` are ever paid. At most the vault's unbonding period.
        uint32 interval;
        /// @notice Smallest sum of squares that an update may have, at most `maxSumSquares`; 0 for none. Noise of the size
        /// that the policy asks for gives an update at least this norm, save by an improbable chance.
        uint64 minSumSquares;
        /// @notice Standard deviation of the noise in 1/1024 of the largest norm that one record can have in a sum of
        /// gradients; 0 where updates need no noise. The ledger can't see noise: it counts what it costs.
        uint32 noise1024;
        /// @notice Noised sums of an update: steps of training. Each costs on its own. Below 8192; 0 without noise.
        uint32 steps;
        /// @notice Most that a contributor can spend of its privacy budget, in units of 2^-32 of zCDP's rho, over all
        /// rounds of the ledger (`Budget`); at least the cost of one round, 0 without noise.
        uint64 privacyCap;
        /// @notice Rounds after which updates may be deleted; 0 for never.
        uint32 retainRounds;
        /// @notice Stake (in token units of 1e-18) that a contributor must have enrolled to commit. Not zero.
        uint128 minStake;
        /// @notice Stake of the coordinator that is locked from the opening of a round until it is over, for each round on
        /// its own; lost when fraud is proven. At least four rewards. Three quarters of it burn and a quarter goes to the
        /// challenger, which can be the coordinator itself: the price of a lie is what burns. A lie pays if it is proven
        /// with a probability below R / (R + 3/4 B), R being what the lie brings in, at most 1 in 4 for the reward
        /// alone. What it is worth to steer the model comes on top, and no bond covers that without limit.
        uint128 bond;
        /// @notice Most tokens that are minted for a final round, in which all places are taken: each place has an equal
        /// share, which an entry of full weight gets (`IRewards.settle`).
        uint128 reward;
        /// @notice Contract that may call `reportFraud`, `reportFault` and `postpone`: an `Arbiter`. Zero: no proof is
        /// accepted. All policies of a ledger have the same.
        address verifier;
        /// @notice sha256 of the only Flower App Bundle that nodes may run; zero for any. The ledger can't see what ran and
        /// does not enforce it; a signer does.
        bytes32 bundleHash;
    }

    /// @notice Limits of all policies of a ledger. They are fixed at deployment: a vote can't make rounds so short that
    /// nobody can check them, nor mint without limit.
    struct Bounds {
        /// @notice Largest reward of a round.
        uint128 maxReward;
        /// @notice Least bond of a round.
        uint128 minBond;
        /// @notice Largest minimum stake of a contributor: more could keep everybody out.
        uint128 maxMinStake;
        /// @notice Shortest commit window, in seconds.
        uint32 minCommitWindow;
        /// @notice Shortest challenge window, in seconds.
        uint32 minChallengeWindow;
        /// @notice Shortest interval, in seconds. With the largest reward it is the most that votes can have minted in a time.
        uint32 minInterval;
    }

    /// @notice What the ledger needs of a policy.
    /// @dev The fields of `Policy` with the same names, and what follows from its rule, in three words of storage.
    struct Terms {
        uint64 maxSumSquares;
        uint64 minSumSquares;
        uint16 minContributors;
        uint16 maxContributors;
        uint32 commitWindow;
        uint32 anchorWindow;
        uint32 challengeWindow;
        uint64 privacyCap;
        uint32 noise1024;
        uint32 steps;
        uint32 interval;
        /// @notice Whether an anchor has one pay an entry (`IRoundLedger.Anchor`): the rule is `clamped_mean`.
        bool hasPays;
        uint128 minStake;
        uint128 bond;
    }

    /// @notice Emitted when governance adds a policy; new rounds pin it from then on.
    event PolicyAdded(PolicyId indexed policyId, Policy policy);

    /// @notice Thrown when somebody other than governance adds a policy.
    error PoliciesNotGovernance(address caller, address governance);
    /// @notice Thrown when a policy has an impossible value; `field` names it.
    error PoliciesInvalidPolicy(string field, uint256 value);
    /// @notice Thrown when there is no such policy.
    error PoliciesUnknownPolicy(PolicyId policyId);
    /// @notice Thrown when an address that must be set is zero.
    error PoliciesZeroAddress();

    /// @notice Add a policy; rounds opened from now on pin it.
    /// @dev Only governance. The windows together must not be longer than the vault's unbonding time, or a contributor's
    /// stake could leave before it can be slashed. Reverts with the first field that is out of its range, of what makes
    /// sense and of what the deployment fixed (`Bounds`).
    function addPolicy(Policy calldata policy) external returns (PolicyId policyId);

    /// @notice Policy of the next round.
    function currentPolicy() external view returns (PolicyId);

    /// @notice A policy; reverts if there is none.
    function policies(PolicyId policyId) external view returns (Policy memory);

    /// @notice What the ledger needs of a policy; reverts if there is none.
    function terms(PolicyId policyId) external view returns (Terms memory);

    /// @notice Stake that a contributor must have enrolled for the next round, in token units of 1e-18.
    function minStake() external view returns (uint128);

    /// @notice What no vote can go beyond.
    function bounds() external view returns (Bounds memory);

    /// @notice Who adds policies: the timelock. Fixed at deployment, as all that follow.
    function governance() external view returns (address);

    /// @notice The verifier of every policy: the arbiter.
    function verifier() external view returns (address);

    /// @notice Seconds that the windows of a policy may have together: the unbonding period of the vault.
    function maxWindows() external view returns (uint40);
}
