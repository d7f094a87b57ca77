// SPDX-License-Identifier: Apache-2.0
// The outcome in words, for the page and for node.
import type { Report, Verdict } from "./evidence.js";

export const OUTCOME: Record<Verdict, [string, string]> = {
  right: ["Recomputed and right", "Everything in this file was computed again, and is the same."],
  wrong: ["Provably wrong", "What the file claims does not follow from what it holds."],
  cannot: ["Cannot be checked here", "This is no statement for or against the round."],
};

export const SIGN = { right: "✓", wrong: "✗", cannot: "?", none: "–", skipped: "–" } as const;

export const FETCHED =
  "This page fetches the evidence of a round from the coordinator that serves it, and computes the round again on your machine. It can reach no other place.";

/** What no file can say by itself. */
export const LIMITS = [
  "That the events, the round and the policy in the file are those on the chain. Compare the hashes that are shown with a node or a block explorer that you trust.",
  "Whether an update that counts as not delivered never arrived: that is the coordinator's word.",
  "From which data a contributor trained, and whether it added the noise that it promised.",
  "Whether earlier rounds were right: their anchors are taken as the ledger stores them. Check each with its own file.",
];

export const lines = (report: Report): string[] => [
  ...report.about.map(([name, value]) => `${name}: ${value}`),
  "",
  ...report.steps.flatMap((one) => [
    `${SIGN[one.verdict]} ${one.name}: ${one.text || "not reached"}`,
    ...(one.expected || one.found ? [`    expected ${one.expected}`, `    found    ${one.found}`] : []),
  ]),
  "",
  `${OUTCOME[report.verdict][0]}. ${OUTCOME[report.verdict][1]}`,
  "",
  ...(report.compare.length ? ["Compare on the chain:"] : []),
  ...report.compare.map(([name, value]) => `  ${name}: ${value}`),
  "This file can't say:",
  ...LIMITS.map((one) => `  - ${one}`),
];
