// SPDX-License-Identifier: Apache-2.0
// What the page says, in English, and how it writes numbers and times. The compiler refuses a language that lacks a sentence.
import { formatUnits } from "viem";
import { fr } from "./french.js";

const en = {
  language: "en",
  other: "Français",
  title: "Votes",
  about: "What the members decide: which model is released, who coordinates, under which rules. Who has staked tokens votes.",
  noWallet: "This browser has no wallet, so you can read here and not vote. Install a wallet as an extension, or open this page in the browser of a wallet on your phone. Without a wallet: folkmoot vote.",
  connect: (name: string) => `Connect ${name}`,
  unread: "What you see now is the coordinator's word. With a wallet this page reads the chain through the wallet's own node.",
  read: "States and amounts below are read from the chain, through your wallet's node.",
  account: (account: string, votes: string) => `${account} votes with ${votes}.`,
  chain: (wallet: number, here: number) => `Your wallet is on the chain ${wallet}, and this federation is on the chain ${here}.`,
  switchTo: "Switch the wallet",
  chainUnknown: (here: number) => `Your wallet does not know the chain ${here}. Add it in the wallet, with the URL of a node that you trust, and try again.`,
  forget: "Disconnect",
  moved: (before: string) => `The coordinator names another governor than at your last visit, when it was ${before}. Ask another member which one is right before you vote.`,
  compare: (governor: string, chain: number) => `Governor ${governor} on the chain ${chain}. The coordinator names this address: compare it with the deployment.json of another member.`,
  own: (governor: string, chain: number) => `Governor ${governor} on the chain ${chain}, from your own deployment.json.`,
  none: "There are no proposals yet. A member makes one with folkmoot propose.",
  more: (shown: number) => `The newest ${shown} proposals are shown.`,
  leftOut: (count: number) => `The coordinator left out ${count === 1 ? "a proposal" : `${count} proposals`} that your wallet's node has. You find ${count === 1 ? "it" : "them"} below.`,
  state: { pending: "not open yet", active: "open", canceled: "cancelled", defeated: "rejected", succeeded: "accepted", queued: "waiting", expired: "expired", executed: "done" } as Record<string, string>,
  when: {
    pending: (time: string, left: string) => `Voting begins ${time}${left}.`,
    active: (time: string, left: string) => `Voting ends ${time}${left}.`,
    succeeded: () => "Accepted. Anybody can now put it into the timelock: the time in which those who disagree can leave.",
    queued: (time: string, left: string) => `It can be carried out from ${time}${left}.`,
    ended: (time: string) => `Voting ended ${time}.`,
  },
  left: (duration: string) => ` (in ${duration})`,
  units: ["d", "h", "min", "s"],
  whole: "Nothing was left out or changed: the proposal's number is the hash of what it does and says.",
  notWhole: "The coordinator shows something else than the proposal with this number. Do not vote on it here: folkmoot proposals shows what it is.",
  absent: "Your wallet's node has no proposal of this number: the coordinator made it up, or the node is behind.",
  replaced: "The coordinator shows something else than this proposal. What you see is what your wallet's node has.",
  doing: { open: "If it is accepted:", executed: "What it did:", over: "What it would have done:" },
  wholeText: "Its text, its number and its calls",
  by: (account: string) => `Proposed by ${account}`,
  does: {
    activate: (version: bigint) => `version ${version} becomes the active model`,
    recall: (version: bigint) => `version ${version} is recalled for good: nobody should use it any more`,
    forfeit: (version: bigint, to: string | null) => `the tokens that answer for version ${version} are taken: ${to === null ? "all are burnt" : `half goes to ${to}, half is burnt`}`,
    minWarranty: (tokens: string) => `a version needs ${tokens} that answer for it before it becomes active for the first time`,
    policy: (rule: string, reward: string) => `new rounds follow another policy: rule ${rule}, at most ${reward} for each contributor's place`,
    appoint: (account: string) => `${account} becomes the coordinator`,
    removeGuardian: "the guardian is removed for good",
    members: (accounts: string, member: boolean) => (member ? `new members: ${accounts}` : `no members any more: ${accounts}`),
    uphold: (round: bigint) => `the dispute about round ${round} is upheld: the round is void, and its coordinator loses the bond`,
    dismiss: (round: bigint) => `the dispute about round ${round} is dismissed: the round goes on`,
    unknown: (target: string, data: string) => `a call that this page has no words for: ${target}, ${data.slice(0, 10)} (${(data.length - 2) / 2} bytes)`,
  },
  unknownCall: "Ask the proposer what this call does before you vote for it.",
  evidence: "What is known of this version",
  noModel: "The coordinator has no model of this number.",
  report: (numbers: string, examples: number) => `The proposer's report: ${numbers}${examples ? `, on ${examples} examples` : ""}. The report is the one that the proposal names.`,
  worst: (name: string, recall: string, examples: number) => `Its worst class is ${name}: ${recall} of ${examples} examples are right.`,
  noReport: "The proposer gives no report.",
  reportAbsent: "The proposal names a report that the coordinator does not have. Ask the proposer for it.",
  reportOther: "The coordinator serves another report than the one that the proposal names.",
  reportUnknown: "The proposal names a report in a form that this page does not know.",
  sites: (count: number) => `${count === 1 ? "One site has" : `${count} sites have`} measured it on their own examples.`,
  noSites: "No site has measured it on its own examples.",
  warranty: (tokens: string) => `${tokens} answer for it: a vote takes them if it does harm.`,
  noWarranty: "Nobody answers for it with tokens.",
  download: "Download this version",
  tally: { for: "for", against: "against", abstain: "abstain" },
  quorum: (have: string, need: string) => `Quorum: ${have} of ${need}, for it and abstained.`,
  vote: { for: "Vote for", against: "Vote against", abstain: "Abstain" },
  reason: "Why (public, may be empty)",
  mine: (votes: string) => `You have ${votes} on this one. A vote can't be changed.`,
  noVotes: "You have no votes on this one: stake counts if it was there before the vote began. What you stake now votes on later proposals.",
  voted: "You have voted.",
  queue: "Put it into the timelock",
  execute: "Carry it out",
  yours: "Your account",
  balance: (staked: string, free: string) => `${staked} staked, ${free} in the wallet.`,
  delegated: (account: string) => `Your stake votes through ${account}.`,
  leaving: (tokens: string, time: string) => `${tokens} are leaving until ${time}.`,
  stake: "Stake",
  stakeNote: "Staked tokens vote. They come back after a waiting time.",
  unstake: "Take out",
  unstakeNote: (duration: string) => `They wait ${duration} and can be taken meanwhile if you broke a rule. Then withdraw them.`,
  withdraw: (tokens: string) => `Withdraw ${tokens}`,
  claim: (tokens: string) => `Claim ${tokens} of pay`,
  delegate: "Let another account vote",
  delegateNote: "Your tokens stay yours. Give your own address to vote yourself again.",
  tokens: "Tokens",
  address: "Address",
  badAmount: (text: string) => `“${text}” is no amount. Write a number such as 250 or 0.5.`,
  badAddress: (text: string) => `“${text}” is no address. Write 0x and 40 hexadecimal digits.`,
  step: {
    asking: "Asking the contract ...",
    confirm: "Confirm it in your wallet.",
    confirmFirst: "Confirm in your wallet that the vault may take the tokens. A second question follows.",
    sent: (hash: string) => `Sent: ${hash}. Waiting for a block.`,
    done: (block: bigint) => `Done, in block ${block}.`,
  },
  rejected: "You rejected it in the wallet. Nothing was sent.",
  reverted: (hash: string) => `The chain refused the transaction ${hash}. Nothing has changed but its fee.`,
  refused: (error: string) => `The contract refuses this: ${error}.`,
  refusals: {
    GovernorAlreadyCastVote: "This account has voted already, and a vote can't be changed.",
    GovernorUnexpectedProposalState: "The proposal is in another state now. This page reads it again.",
    TimelockUnexpectedOperationState: "It waits in the timelock still, or it was carried out already.",
    ERC20InsufficientBalance: "The wallet has fewer tokens than that.",
  } as Record<string, string>,
  noContract: "There is no such contract at this address on this chain. The coordinator names a wrong address, or the wallet's node is one of another chain.",
  walletFails: (text: string) => `The wallet or its node fails: ${text}`,
  coordinatorAway: "The coordinator does not answer. This page tries again.",
  coordinatorRefuses: (status: number, text: string) => `The coordinator answers ${status}. ${text}`,
  notJson: "The coordinator answers with something that this page can't read. Is there another server between?",
  footer: "This page is one file without others. Which file it is: compare its sha256 with that of folkmoot/web/vote.html in a release.",
};

export type Words = typeof en;

export const LANGUAGES: Record<string, Words> = { en, fr };

/** An amount in units of 1e-18 tokens, exactly. */
export function amount(units: bigint, words: Words): string {
  const [whole, part] = formatUnits(units, 18).split(".");
  const separator = words.language === "fr" ? "," : ".";
  return `${BigInt(whole!).toLocaleString(words.language)}${part ? separator + part : ""} MOOT`;
}

export function duration(seconds: number, words: Words): string {
  const sizes = [86400, 3600, 60, 1];
  const first = Math.max(0, sizes.findIndex((size) => seconds >= size));
  const shown = sizes.slice(first, first + 2).map((size, place) => {
    const rest = place ? seconds % sizes[first]! : seconds;
    return [Math.floor(rest / size), words.units[first + place]] as const;
  });
  return shown.filter(([count], place) => count || !place).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

export const moment = (time: number, words: Words): string =>
  new Date(time * 1000).toLocaleString(words.language, { dateStyle: "medium", timeStyle: "short" });

/** A stranger's text without control characters, marks of text direction, and lone surrogates. */
export const visible = (text: string): string => text.replace(/[^\P{C}\n\t]/gu, "\ufffd");
