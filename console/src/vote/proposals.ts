// SPDX-License-Identifier: Apache-2.0
// Proposals as the coordinator lists them: whether each is what its number says, what it would do, and the evidence.
import { type Address, type Hex, decodeFunctionData, encodeAbiParameters, hexToString, keccak256, parseAbiParameters, sha256, stringToBytes, zeroAddress } from "viem";
import { DECIDED } from "./contracts.js";
import { type Words, amount } from "./words.js";

export interface Deployment {
  chainId: number;
  block: number;
  governor: Address;
  vault: Address;
  token: Address;
  rewards: Address;
  [name: string]: unknown;
}

export interface Proposal {
  id: bigint;
  proposer: string;
  description: string;
  targets: readonly Address[];
  values: readonly bigint[];
  calldatas: readonly Hex[];
}

/** How a proposal stands. Times are Unix times, amounts are in units of 1e-18 tokens. */
export interface Standing {
  state: string;
  start: number;
  end: number;
  eta: number;
  against: bigint;
  for: bigint;
  abstain: bigint;
  quorum: bigint;
  /** Votes of the wallet's account on it, and whether it has voted; undefined if no wallet is connected. */
  mine?: bigint;
  voted?: boolean;
}

export const STATES = ["pending", "active", "canceled", "defeated", "succeeded", "queued", "expired", "executed"];
export const OPEN = ["pending", "active", "succeeded", "queued"];

/** A failure whose text is for people. */
export class Failure extends Error {}

/** The JSON that the coordinator answers; null if it has no such thing. */
export async function asked(path: string, words: Words): Promise<any> {
  let answer: Response;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" } });
  } catch {
    throw new Failure(words.coordinatorAway);
  }
  if (answer.status === 404 || answer.status === 410) return null;
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Failure(words.coordinatorRefuses(answer.status, `${body?.detail ?? ""} ${body?.remedy ?? ""}`.trim()));
  if (body === null || typeof body !== "object") throw new Failure(words.notJson);
  return body;
}

export async function listed(words: Words, most = 50): Promise<[Proposal, Standing][]> {
  const answer = await asked(`v1/proposals?limit=${most}`, words);
  try {
    return answer.items.map((one: any): [Proposal, Standing] => [
      {
        id: BigInt(one.id), proposer: String(one.proposer), description: String(one.description), targets: one.targets.map(String),
        values: one.values.map(BigInt), calldatas: one.calldatas.map(String),
      },
      {
        state: String(one.state), start: Number(one.voteStart), end: Number(one.voteEnd), eta: Number(one.eta ?? 0), against: BigInt(one.votesAgainst),
        for: BigInt(one.votesFor), abstain: BigInt(one.votesAbstain), quorum: BigInt(one.quorum),
      },
    ]);
  } catch {
    throw new Failure(words.notJson);
  }
}

export const descriptionHash = (one: Proposal): Hex => keccak256(stringToBytes(one.description));

/** Whether a proposal's number is the hash of what it does and says (OpenZeppelin's Governor). */
export function isWhole(one: Proposal): boolean {
  try {
    const values = [one.targets, one.values, one.calldatas, descriptionHash(one)] as const;
    return BigInt(keccak256(encodeAbiParameters(parseAbiParameters("address[], uint256[], bytes[], bytes32"), values))) === one.id;
  } catch {
    return false; // an address or a number that is none
  }
}

const isAt = (deployment: Deployment, role: string, target: string): boolean =>
  String(deployment[role]).toLowerCase() === target.toLowerCase();

/** What one call of a proposal does, in words, and whether the page has words for it. */
export function described(deployment: Deployment, one: Proposal, place: number, words: Words): { text: string; known: boolean } {
  const [target, data] = [one.targets[place]!, one.calldatas[place]!];
  const role = Object.keys(deployment).find((name) => isAt(deployment, name, target));
  const unknown = { text: words.does.unknown(role ?? target, data), known: false };
  if (!role || !(role in DECIDED) || one.values[place]) return unknown;
  try {
    const { functionName, args } = decodeFunctionData({ abi: DECIDED[role as keyof typeof DECIDED], data } as { abi: any; data: Hex });
    const [first, second] = args as [any, any];
    const text = (): string | null => {
      switch (functionName) {
        case "activate": return words.does.activate(first);
        case "recall": return words.does.recall(first);
        case "forfeitWarranties": return words.does.forfeit(first, second === zeroAddress ? null : second);
        case "setMinWarranty": return words.does.minWarranty(amount(first, words));
        case "addPolicy": return words.does.policy(hexToString(first.rule, { size: 32 }), amount(first.reward, words));
        case "appointCoordinator": return words.does.appoint(first);
        case "setProposalGuardian": return first === zeroAddress ? words.does.removeGuardian : null;
        case "setMembers": return words.does.members(first.join(", "), second);
        case "uphold": return words.does.uphold(first);
        case "dismiss": return words.does.dismiss(first);
        default: return null;
      }
    };
    const made = text();
    return made === null ? unknown : { text: made, known: true };
  } catch {
    return unknown;
  }
}

/** The version that a proposal would make active, with the hash of its report (zero if it has none); null for others. */
export function activated(deployment: Deployment, one: Proposal): [bigint, Hex] | null {
  for (const [place, data] of one.calldatas.entries()) {
    if (!isAt(deployment, "registry", one.targets[place]!)) continue;
    try {
      const { functionName, args } = decodeFunctionData({ abi: DECIDED.registry, data });
      if (functionName === "activate") return [args[0], args[1]];
    } catch {
      // it calls something else
    }
  }
  return null;
}

const percent = (value: unknown): string => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "–");

/** What the coordinator has of a version, and what the proposer's report says, if it is the one that the call names. */
export async function evidence(version: bigint, report: Hex, words: Words): Promise<string[]> {
  const facts = await asked(`v1/models/${version}`, words);
  const lines = facts === null ? [words.noModel] : [
    facts.warranty === "0" ? words.noWarranty : words.warranty(amount(BigInt(facts.warranty), words)),
    facts.sites ? words.sites(facts.sites) : words.noSites,
  ];
  if (/^0x0*$/.test(report)) return [words.noReport, ...lines];
  const answer = await fetch(`v1/artifacts/${report.slice(2)}`).catch(() => null);
  if (!answer?.ok) return [words.reportAbsent, ...lines];
  const data = new Uint8Array(await answer.arrayBuffer());
  if (sha256(data) !== report) return [words.reportOther, ...lines];
  try {
    const { metrics, examples, classes, worstClass } = JSON.parse(new TextDecoder().decode(data));
    const worst = (classes as { class: string; recall: number; support: number }[] | undefined)?.find((one) => one.class === worstClass);
    const numbers = Object.entries(metrics as Record<string, number>).map(([name, value]) => `${name} ${value}`).join(", ");
    const last = worst ? [words.worst(worst.class, percent(worst.recall), worst.support)] : [];
    return [words.report(numbers, examples), ...last, ...lines];
  } catch {
    return [words.reportUnknown, ...lines];
  }
}
