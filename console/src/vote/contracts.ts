// SPDX-License-Identifier: Apache-2.0
// What the page calls, and the calls of proposals that it has words for. A test compares each line with the contracts.
import { type Abi, parseAbi } from "viem";

/** The custom errors of all contracts, which the build takes from their ABI. */
declare const ERRORS: Abi;

export const GOVERNOR = parseAbi([
  "function state(uint256 proposalId) view returns (uint8)",
  "function proposalVotes(uint256 proposalId) view returns (uint256 againstVotes, uint256 forVotes, uint256 abstainVotes)",
  "function proposalSnapshot(uint256 proposalId) view returns (uint256)",
  "function proposalDeadline(uint256 proposalId) view returns (uint256)",
  "function proposalEta(uint256 proposalId) view returns (uint256)",
  "function quorum(uint256 timepoint) view returns (uint256)",
  "function getVotes(address account, uint256 timepoint) view returns (uint256)",
  "function hasVoted(uint256 proposalId, address account) view returns (bool)",
  "function castVote(uint256 proposalId, uint8 support) returns (uint256)",
  "function castVoteWithReason(uint256 proposalId, uint8 support, string reason) returns (uint256)",
  "function queue(address[] targets, uint256[] values, bytes[] calldatas, bytes32 descriptionHash) returns (uint256)",
  "function execute(address[] targets, uint256[] values, bytes[] calldatas, bytes32 descriptionHash) payable returns (uint256)",
  "event ProposalCreated(uint256 proposalId, address proposer, address[] targets, uint256[] values, string[] signatures, bytes[] calldatas, uint256 voteStart, uint256 voteEnd, string description)",
]);

export const VAULT = parseAbi([
  "struct Unbonding { uint128 amount; uint40 releaseAt; }",
  "function stakeOf(address account) view returns (uint256)",
  "function getVotes(address account) view returns (uint256)",
  "function delegates(address account) view returns (address)",
  "function unbondings(address account) view returns (Unbonding[])",
  "function unbondingPeriod() view returns (uint40)",
  "function stake(address account, uint256 amount)",
  "function requestUnbond(uint256 amount)",
  "function withdraw() returns (uint256)",
  "function delegate(address delegatee)",
]);

export const TOKEN = parseAbi([
  "function balanceOf(address account) view returns (uint256)",
  "function allowance(address owner, address spender) view returns (uint256)",
  "function approve(address spender, uint256 value) returns (bool)",
]);

export const REWARDS = parseAbi([
  "function claimable(address account) view returns (uint256)",
  "function claim(address account) returns (uint256)",
]);

/** Calls of proposals, by the contract's name in deployment.json. */
export const DECIDED = {
  registry: parseAbi([
    "function activate(uint64 version, bytes32 reportHash)",
    "function recall(uint64 version, bytes32 reportHash)",
    "function forfeitWarranties(uint64 version, address beneficiary)",
    "function setMinWarranty(uint96 amount)",
  ]),
  policies: parseAbi([
    "struct Policy { bytes32 rule; uint32[] parameters; uint64 maxSumSquares; uint16 minContributors; uint16 maxContributors; uint8 width; uint8 meanScale; uint16 rate; uint16 momentum; uint32 commitWindow; uint32 anchorWindow; uint32 challengeWindow; uint32 interval; uint64 minSumSquares; uint32 noise1024; uint32 steps; uint64 privacyCap; uint32 retainRounds; uint128 minStake; uint128 bond; uint128 reward; address verifier; bytes32 bundleHash; }",
    "function addPolicy(Policy policy) returns (uint32)",
  ]),
  ledger: parseAbi(["function appointCoordinator(address appointed)"]),
  governor: parseAbi(["function setProposalGuardian(address guardian)"]),
  members: parseAbi(["function setMembers(address[] accounts, bool member)"]),
  disputes: parseAbi(["function uphold(uint64 round)", "function dismiss(uint64 round)"]),
};

export const withErrors = <T extends Abi>(abi: T): T => [...abi, ...ERRORS] as unknown as T;
