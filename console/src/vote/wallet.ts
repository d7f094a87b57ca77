// SPDX-License-Identifier: Apache-2.0
// Wallets of the browser (EIP-6963, EIP-1193), what is read through them, and what they sign.
import {
  type Abi, type Address, BaseError, type Client, ContractFunctionRevertedError, ContractFunctionZeroDataError, type EIP1193Provider, type Hex,
  UserRejectedRequestError, createClient, custom,
} from "viem";
import { getBlock, getLogs, readContract, simulateContract, waitForTransactionReceipt, writeContract } from "viem/actions";
import { GOVERNOR, REWARDS, TOKEN, VAULT, withErrors } from "./contracts.js";
import { type Deployment, Failure, type Proposal, STATES, type Standing } from "./proposals.js";
import type { Words } from "./words.js";

export interface Wallet {
  name: string;
  rdns: string;
  provider: EIP1193Provider;
}

/** Ask the browser's wallets to say who they are; each calls `found`, now or later. */
export function discover(found: (wallet: Wallet) => void): void {
  addEventListener("eip6963:announceProvider", (event) => {
    const { info, provider } = (event as CustomEvent).detail;
    found({ name: String(info.name), rdns: String(info.rdns), provider });
  });
  dispatchEvent(new Event("eip6963:requestProvider"));
}

/** What an account owns and may do. Amounts are in units of 1e-18 tokens. */
export interface Holding {
  staked: bigint;
  free: bigint;
  votes: bigint;
  claimable: bigint;
  delegate: Address;
  ready: bigint;
  leaving: { amount: bigint; releaseAt: number }[];
  period: number;
}

/** A contract's function and its arguments. */
export interface Call {
  address: Address;
  abi: Abi;
  functionName: string;
  args: readonly unknown[];
}

/** The federation's contracts, read and called through a wallet. */
export class Chain {
  private readonly client: Client;
  private tag: "pending" | "latest" = "pending";

  constructor(provider: EIP1193Provider, private readonly deployment: Deployment, readonly account: Address) {
    this.client = createClient({ transport: custom(provider), pollingInterval: 1000, account });
  }

  private async read(address: Address, abi: Abi, functionName: string, ...args: unknown[]): Promise<any> {
    return readContract(this.client, { address, abi, functionName, args, blockTag: this.tag });
  }

  private governor(name: string, ...args: unknown[]): Promise<any> {
    return this.read(this.deployment.governor, GOVERNOR, name, ...args);
  }

  /** The chain's time: of the block that is next, as no block may come for a while; of the last one where a node has no such block. */
  async now(): Promise<number> {
    try {
      return Number((await getBlock(this.client, { blockTag: this.tag })).timestamp);
    } catch (error) {
      if (this.tag === "latest") throw error;
      this.tag = "latest";
      return this.now();
    }
  }

  /** How a proposal stands; null if the node has none of this number. */
  async standing(id: bigint): Promise<Standing | null> {
    if ((await this.governor("proposalSnapshot", id)) === 0n) return null;
    const [now, state, [against, for_, abstain], start, end, eta, voted] = await Promise.all([
      this.now(), this.governor("state", id), this.governor("proposalVotes", id), this.governor("proposalSnapshot", id),
      this.governor("proposalDeadline", id), this.governor("proposalEta", id), this.governor("hasVoted", id, this.account),
    ]);
    const [begun, past] = [now > Number(start), Math.min(Number(start), now - 1)];
    const [quorum, mine] = await Promise.all([
      this.governor("quorum", BigInt(past)),
      begun ? this.governor("getVotes", this.account, start) : this.read(this.deployment.vault, VAULT, "getVotes", this.account),
    ]);
    return { state: STATES[state]!, start: Number(start), end: Number(end), eta: Number(eta), against, for: for_, abstain, quorum, mine, voted };
  }

  /** All proposals that the wallet's node has; null if it does not search so far back. */
  async proposals(): Promise<Proposal[] | null> {
    const event = GOVERNOR.find((one) => one.type === "event")!;
    try {
      const logs = await getLogs(this.client, { address: this.deployment.governor, event, fromBlock: BigInt(this.deployment.block), strict: true });
      return logs.map(({ args }) => ({ ...args, id: args.proposalId }));
    } catch {
      return null;
    }
  }

  async holding(): Promise<Holding> {
    const { vault, token, rewards } = this.deployment;
    const [staked, free, votes, claimable, delegate, unbondings, period, now] = await Promise.all([
      this.read(vault, VAULT, "stakeOf", this.account), this.read(token, TOKEN, "balanceOf", this.account),
      this.read(vault, VAULT, "getVotes", this.account), this.read(rewards, REWARDS, "claimable", this.account),
      this.read(vault, VAULT, "delegates", this.account), this.read(vault, VAULT, "unbondings", this.account),
      this.read(vault, VAULT, "unbondingPeriod"), this.now(),
    ]);
    const waiting = (unbondings as { amount: bigint; releaseAt: number }[]).filter((one) => one.releaseAt > now);
    const ready = (unbondings as { amount: bigint }[]).reduce((sum, one) => sum + one.amount, 0n) - waiting.reduce((sum, one) => sum + one.amount, 0n);
    return { staked, free, votes, claimable, delegate, ready, leaving: waiting, period };
  }

  /** What must be called so that the account stakes an amount: first an approval, where the vault may not take as much. */
  async staking(amount: bigint): Promise<Call[]> {
    const { vault, token } = this.deployment;
    const allowed = await this.read(token, TOKEN, "allowance", this.account, vault);
    const approval = { address: token, abi: TOKEN as Abi, functionName: "approve", args: [vault, amount] };
    return [...(allowed < amount ? [approval] : []), { address: vault, abi: VAULT, functionName: "stake", args: [this.account, amount] }];
  }

  /** Send calls one after the other, each after the block of the one before. */
  async send(calls: Call[], words: Words, say: (text: string) => void): Promise<void> {
    for (const [place, call] of calls.entries()) {
      const whole = { ...call, abi: withErrors(call.abi), account: this.account };
      say(words.step.asking);
      await simulateContract(this.client, { ...whole, blockTag: this.tag } as any);
      say(place < calls.length - 1 ? words.step.confirmFirst : words.step.confirm);
      const hash: Hex = await writeContract(this.client, { ...whole, chain: null });
      say(words.step.sent(hash));
      const receipt = await waitForTransactionReceipt(this.client, { hash });
      if (receipt.status !== "success") throw new Failure(words.reverted(hash));
      if (place === calls.length - 1) say(words.step.done(receipt.blockNumber));
    }
  }
}

/** Why something failed, for people. */
export function why(error: unknown, words: Words): string {
  if (error instanceof Failure) return error.message;
  const found = <T extends Error>(kind: new (...a: any[]) => T): T | null =>
    error instanceof BaseError ? (error.walk((one) => one instanceof kind) as T | null) : null;
  if (found(UserRejectedRequestError) || (error as { code?: number })?.code === 4001) return words.rejected;
  const refusal = found(ContractFunctionRevertedError);
  const name = refusal?.data?.errorName;
  if (name) return words.refusals[name] ?? words.refused(`${name}(${(refusal.data?.args ?? []).join(", ")})`);
  if (refusal || found(ContractFunctionZeroDataError)) return words.noContract;
  return words.walletFails(error instanceof BaseError ? error.shortMessage : String((error as Error)?.message ?? error));
}
