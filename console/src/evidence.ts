// SPDX-License-Identifier: Apache-2.0
// Checks the evidence of a round (docs/protocol sections 13.1, 11.6). Three outcomes: recomputed and right,
// provably wrong, cannot be checked here. The first step that is not right ends the check.
import { Abi, address, at, bare, hex, keccak, Refused, same, sha256Hex, unhex, Unknown } from "./bytes.js";
import * as files from "./files.js";
import { Fields, parse, type Json } from "./json.js";
import { checkUpdate, compute, type Inputs, type Outcome, type Past, type Update } from "./round.js";
import { payments } from "./rules.js";
import { expanded, signer } from "./signatures.js";
import { LEAF, stateRoot, stateRoots } from "./trees.js";

export type Verdict = "right" | "wrong" | "cannot";

export interface Step {
  /** Short name, which does not change. */
  name: string;
  /** `none`: the round has nothing of this; `skipped`: not reached. */
  verdict: Verdict | "none" | "skipped"; text: string;
  expected?: string;
  found?: string;
}

export interface Report {
  verdict: Verdict; steps: Step[];
  /** What only the chain can say: to be compared there. */
  compare: [string, string][]; about: [string, string][];
}

/** Steps in their order, with what each says when it holds. */
const STEPS: [string, string][] = [
  ["file", "The file is whole: each file in it has the hash in its name."],
  ["events", "The events of the round agree with what the ledger stores of it."],
  ["anchor", "The anchor has the hash that the ledger stores."],
  ["manifest", "Manifest and genesis are those of the ledger."],
  ["header", "The round header is the right one for this round, its base and its policy."],
  ["signatures", "Each entry is signed by its contributor's key."],
  ["base", "The state that the round trained from has the root on the ledger."],
  ["updates", "Each delivered update is the one that its contributor committed to."],
  ["earlier", "The updates of earlier rounds that the rule compares with are those on the ledger."],
  ["weights", "Weights recomputed: the same."],
  ["pays", "Pays recomputed: the same."],
  ["verdicts", "The verdicts file is the same, byte for byte."],
  ["entries", "The root over entries and weights is the same."],
  ["aggregate", "Aggregate and mean recomputed: the same."],
  ["state", "New state recomputed: the same root."],
  ["exponents", "Next exponents recomputed: the same."],
  ["artifacts", "The list of the round's files is the same, byte for byte."],
  ["rewards", "What each contributor was credited follows from weights and pays."],
];

const EVENTS = {
  opened: "0x5dacf30b6c816efe5ca53ff3fa51b97339d5c2be1db166d9b8557f5c136e49a4",
  committed: "0xbc08b07ddc364968ed5feaa857154e581d040f0d600e82b97f3ce5f7c2b8bec5",
  anchored: "0x8433e9cb2fcca27fd425d09015b50ce548d1bfcae0e886735ef4e35ae8181591",
  credited: "0xb744215ffc4ea84ff4f0b73f1defaec95a84e312dcbf9b331fe3ddb9277be2a5",
};
const CALLS = { own: "0x780fd1c9", contract: "0x7e5b22fb", batch: "0xf612af8d" };

interface Log {
  address: string; topics: string[]; data: Uint8Array; transaction: string;
}

interface Evidence {
  chainId: bigint; ledger: Uint8Array; rewards: string; block: [bigint, string]; round: bigint;
  genesisHash: Uint8Array; manifestHash: Uint8Array; settled: boolean; policy: files.Policy;
  policyHash: Uint8Array; rounds: Map<bigint, Abi>; logs: Log[];
  transactions: Map<string, { to: string; input: Uint8Array }>;
  bySha: Map<string, Uint8Array>; byKeccak: Map<string, Uint8Array>;
}

const FORMAT = "folkmoot/evidence/1";
const DATA = /^0x([0-9a-f]{2})*$/;
const WORD = /^0x[0-9a-f]{64}$/;
const ACCOUNT = /^0x[0-9a-f]{40}$/;
const U64 = 2n ** 64n - 1n;

/** Read an evidence file: a line of canonical JSON, then the bytes of the files that it lists. */
export function readEvidence(bytes: Uint8Array): Evidence {
  const end = bytes.indexOf(10);
  const start = new TextDecoder().decode(bytes.subarray(0, 400));
  if (end < 0 || !start.startsWith("{") || !start.includes('"block"')) {
    throw new Unknown("This is not an evidence file. Make one with: folkmoot export evidence --round N --to FILE");
  }
  const json = parse(bytes.subarray(0, end));
  const form = (json as { [key: string]: Json }).format;
  if (form !== FORMAT) throw new Unknown(`This page reads ${FORMAT}, and the file is ${String(form)}. Use the page of the release that made it.`);
  const names = ["format", "chainId", "ledger", "rewards", "block", "round", "genesisHash", "manifestHash", "policy", "settled", "rounds", "logs", "transactions", "files"];
  const fields = Fields.of("evidence", json, ...names);
  const block = Fields.of("block", fields.get("block"), "number", "hash");
  const policy = Fields.of("policy", fields.get("policy"), "id", "data");
  const evidence: Evidence = {
    chainId: fields.integer("chainId", 0n, 2n ** 256n - 1n),
    ledger: unhex(fields.text("ledger", ACCOUNT)),
    rewards: fields.text("rewards", ACCOUNT),
    block: [block.integer("number", 0n, U64), block.text("hash", WORD)],
    round: fields.integer("round", 1n, U64),
    genesisHash: unhex(fields.text("genesisHash", WORD)),
    manifestHash: unhex(fields.text("manifestHash", WORD)),
    settled: fields.get("settled") === true,
    policy: files.readPolicy(Number(policy.integer("id", 0n, 2n ** 32n - 1n)), unhex(policy.text("data", DATA))),
    policyHash: keccak(unhex(policy.text("data", DATA))),
    rounds: new Map(),
    logs: fields.list("logs").map((one) => {
      const log = Fields.of("log", one, "address", "topics", "data", "block", "blockHash", "transaction", "index");
      const topics = log.list("topics").map((topic) => (typeof topic === "string" && WORD.test(topic) ? topic : ""));
      return { address: log.text("address", ACCOUNT), topics, data: unhex(log.text("data", DATA)), transaction: log.text("transaction", WORD) };
    }),
    transactions: new Map(),
    bySha: new Map(),
    byKeccak: new Map(),
  };
  for (const one of fields.list("rounds")) {
    const stored = Fields.of("stored round", one, "round", "data");
    evidence.rounds.set(stored.integer("round", 0n, U64), new Abi(unhex(stored.text("data", DATA))));
  }
  for (const one of fields.list("transactions")) {
    const sent = Fields.of("transaction", one, "hash", "to", "input");
    evidence.transactions.set(sent.text("hash", WORD), { to: sent.text("to", ACCOUNT), input: unhex(sent.text("input", DATA)) });
  }
  let place = end + 1;
  for (const one of fields.list("files")) {
    const file = Fields.of("file", one, "sha256", "size");
    const [name, size] = [file.text("sha256", /^[0-9a-f]{64}$/), Number(file.integer("size", 0n, 2n ** 40n))];
    const data = bytes.subarray(place, place + size);
    if (data.length !== size || sha256Hex(data) !== name) {
      throw new Unknown(`The evidence was altered or cut: of the file ${name} it has ${data.length} bytes with the sha256 ${sha256Hex(data)}. Get the evidence again.`);
    }
    evidence.bySha.set(name, data);
    if (size < 2 ** 24) evidence.byKeccak.set(hex(keccak(data)), data);
    place += size;
  }
  if (place !== bytes.length) throw new Unknown(`The evidence lists ${place} bytes, and has ${bytes.length}. Get it again.`);
  return evidence;
}

/** A round of the evidence, from its events and what the ledger stores of it. */
interface Known {
  base: bigint; baseStateRoot: Uint8Array; coordinator: Uint8Array; policyId: number;
  headerHash: Uint8Array; commitments: files.Commitment[];
  /** The transaction that recorded each. */
  recorded: string[]; anchor: files.Anchor;
  /** The anchor's hash on the ledger. */
  anchorHash: Uint8Array; entriesHash: Uint8Array;
}

function compareText(where: string, what: string, expected: string, found: string): void {
  if (expected === found) return;
  let from = 0; // of long texts, what is around the first difference
  if (expected.length > 300) while (expected[from] === found[from]) from++;
  const part = (text: string): string => (from > 60 ? "... " : "") + text.slice(Math.max(0, from - 60), from + 240);
  throw new Refused(where, `${what} differs.`, part(expected), part(found));
}
const compareBytes = (where: string, what: string, expected: Uint8Array, found: Uint8Array): void =>
  compareText(where, what, hex(expected), hex(found));

function known(evidence: Evidence, round: bigint): Known {
  const stored = evidence.rounds.get(round);
  const of = (topic: string): Log[] =>
    evidence.logs.filter((log) => log.address === hex(evidence.ledger) && log.topics[0] === topic && BigInt(log.topics[1] || 0) === round);
  const [open, anchored] = [of(EVENTS.opened)[0], of(EVENTS.anchored)[0]];
  if (!stored || !open || !anchored) throw new Unknown(`The events of round ${round} are not in this file.`);
  const data = new Abi(open.data);
  const coordinator = unhex(open.topics[3]!).subarray(12);
  const baseStateRoot = data.word(1);
  const commitments: files.Commitment[] = [];
  const recorded: string[] = [];
  for (const log of of(EVENTS.committed)) {
    const abi = new Abi(log.data);
    compareText("events", `The number of the first entry of an event of round ${round}`, String(commitments.length), String(abi.number(0, 16)));
    for (const { rest: _, ...one } of files.readEntries(abi.bytes(2), 92)) {
      commitments.push({ ...one, round, baseStateRoot, bundleHash: abi.word(1) });
      recorded.push(log.transaction);
    }
  }
  const anchor = files.readAnchor(new Abi(anchored.data).inner(0));
  const found: Known = {
    base: data.uint(0, 64), baseStateRoot, coordinator, policyId: Number(BigInt(open.topics[2]!)), headerHash: data.word(2),
    commitments, recorded, anchor, anchorHash: stored.word(13), entriesHash: stored.word(11),
  }; // prettier-ignore
  const about = (what: string): string => `${what} of round ${round}`;
  compareText("events", about("The policy"), String(stored.number(0)), String(found.policyId));
  compareText("events", about("The number of entries"), String(stored.number(2)), String(commitments.length));
  compareText("events", about("The coordinator"), address(stored.address(7)), address(coordinator));
  compareText("events", about("The base"), String(stored.uint(8)), String(found.base));
  compareBytes("events", about("The hash of the header"), stored.word(10), found.headerHash);
  compareBytes("events", about("The hash of the entries"), found.entriesHash, files.entriesHash(commitments));
  compareBytes("events", about("The state root"), stored.word(12), anchor.stateRoot);
  if (anchor.weights.length !== commitments.length) throw new Refused("events", about("The number of weights"), String(commitments.length), String(anchor.weights.length));
  return found;
}

function checkSignatures(evidence: Evidence, round: Known): void {
  const signed = new Map<string, Map<string, Uint8Array>>();
  const others: string[] = [];
  round.commitments.forEach((one, index) => {
    const hash = round.recorded[index]!;
    const sent = evidence.transactions.get(hash);
    if (!sent) throw new Unknown(`The transaction of entry ${index} is not in this file.`);
    const selector = hex(sent.input.subarray(0, 4));
    const direct = sent.to === hex(evidence.ledger);
    if (!direct || selector !== CALLS.batch) {
      if (direct && (selector === CALLS.own || selector === CALLS.contract)) {
        const own = new Abi(sent.input.subarray(4));
        const values = [one.contributor, one.updateRoot, one.memoryHash, one.bundleHash].map(hex).join();
        compareText("signatures", `Entry ${index} and the call that recorded it`, values, [own.address(0), own.word(3), own.word(5), own.word(6)].map(hex).join());
      }
      others.push(`entry ${index} (${address(one.contributor)})`);
      return;
    }
    let batch = signed.get(hash);
    if (!batch) {
      const call = new Abi(sent.input.subarray(4));
      batch = new Map();
      for (const { rest, ...entry } of files.readEntries(call.bytes(2), 156)) {
        const commitment = { ...entry, round: call.uint(0, 64), baseStateRoot: round.baseStateRoot, bundleHash: call.word(1) };
        const key = hex(files.commitmentHash(commitment));
        if (!batch.has(key)) batch.set(key, rest);
      }
      signed.set(hash, batch);
    }
    const struct = files.commitmentHash(one);
    const compact = batch.get(hex(struct));
    if (!compact) throw new Refused("signatures", `Entry ${index} is not in the call that recorded it.`, hex(struct), [...batch.keys()].join(" "));
    const who = signer(files.digestOf(evidence.chainId, evidence.ledger, struct), expanded(compact));
    compareText("signatures", `The signature of entry ${index} is not its contributor's: the signer`, address(one.contributor), who ? address(who) : "nobody");
  });
  if (others.length) {
    throw new Unknown(`The signature of ${others.join(", ")} is not in a batch: the account, or a contract, recorded the entry itself. Only the chain can say so.`);
  }
}

/** The integers of the updates that an anchor says were delivered; a file that is not here throws. */
function delivered(evidence: Evidence, number: bigint, round: Known, list: files.Artifacts, width: number, layout: files.Layout, where: string): (Update | null)[] {
  if (round.anchor.delivered >> BigInt(round.commitments.length)) throw new Refused(where, "A bit of `delivered` has no entry.");
  compareText(where, `The number of updates of round ${number}`, String(round.commitments.length), String(list.updates.length));
  return round.commitments.map((one, i) => {
    const bit = (round.anchor.delivered >> BigInt(i)) & 1n;
    const name = at(list.updates, i);
    if ((name !== null) !== (bit === 1n)) throw new Refused(where, `The list of files and the anchor differ on whether the update of entry ${i} was delivered.`, String(bit), String(name));
    if (name === null) return null;
    const file = evidence.bySha.get(name);
    if (!file) throw new Unknown(`The update of entry ${i} of round ${number} is not in this file: it was deleted, or nobody had it.`);
    const update = checkUpdate(layout, width, file, one.updateRoot, one.sumSquares);
    if (typeof update === "string") throw new Refused(where, `The update of entry ${i} of round ${number} counts as delivered, and it is not what was committed (${update}).`, hex(one.updateRoot), name);
    return update;
  });
}

function document(evidence: Evidence, hash: Uint8Array, what: string): Uint8Array {
  return evidence.byKeccak.get(hex(hash)) ?? fail(`${what} is not in this file.`);
}
const fail = (text: string): never => {
  throw new Unknown(text);
};

/** The rounds of the window of a base, the oldest first: at most 8. */
export function windowOf(base: bigint, baseOf: (round: bigint) => bigint): bigint[] {
  const found: bigint[] = [];
  for (let round = base; round !== 0n && found.length < 8; round = baseOf(round)) found.unshift(round);
  return found;
}

/** Check a round. `tell` hears the name of each step when it begins. */
export function check(bytes: Uint8Array, tell: (name: string) => void = () => {}): Report {
  const report: Report = { verdict: "right", steps: [], compare: [], about: [] };
  let now = "file";
  let nothing = "";
  const step = (name: string): void => {
    const text = STEPS.find(([one]) => one === now)![1];
    if (name !== now) report.steps.push(nothing ? { name: now, verdict: "none", text: nothing } : { name: now, verdict: "right", text });
    nothing = "";
    tell((now = name));
  };
  try {
    run(bytes, step, report, (text) => (nothing = text));
    step("");
  } catch (error) {
    const named = error instanceof Refused && STEPS.some(([name]) => name === error.where);
    const name = named ? error.where : now;
    if (error instanceof Refused) {
      report.verdict = "wrong";
      report.steps.push({ name, verdict: "wrong", text: error.message, expected: error.expected, found: error.found });
    } else {
      report.verdict = "cannot";
      const text = error instanceof Unknown ? error.message : `The check itself failed: ${String(error)}. This says nothing about the round.`;
      report.steps.push({ name, verdict: "cannot", text });
    }
  }
  const done = new Set(report.steps.map((one) => one.name));
  for (const [name] of STEPS) if (!done.has(name)) report.steps.push({ name, verdict: "skipped", text: "" });
  return report;
}

function run(bytes: Uint8Array, step: (name: string) => void, report: Report, none: (text: string) => void): void {
  const evidence = readEvidence(bytes);
  const { policy } = evidence;
  report.about.push(["Round", String(evidence.round)], ["Chain", String(evidence.chainId)], ["Ledger", address(evidence.ledger)], ["Rule", policy.rule]);
  step("events");
  const round = known(evidence, evidence.round);
  const { anchor } = round;
  const phase = evidence.rounds.get(evidence.round)!.number(1, 8);
  report.about.push(["Phase", ["none", "open", "committed", "anchored", "final", "cancelled", "slashed"][phase] ?? "unknown"]);
  if (phase !== 3 && phase !== 4) throw new Unknown("The round is not anchored, or it is void: nothing of it counts.");
  report.compare.push(
    ["Block", `${evidence.block[0]}  ${evidence.block[1]}`],
    ["anchorHash of rounds(" + String(evidence.round) + ")", hex(round.anchorHash)],
    ["entriesHash", hex(round.entriesHash)],
    ["stateRoot", hex(anchor.stateRoot)],
    ["keccak of what policies(" + String(policy.id) + ") returns", hex(evidence.policyHash)],
  );
  compareText("events", "The number of the policy", String(round.policyId), String(policy.id));
  step("anchor");
  compareBytes("anchor", "The hash of the anchor", round.anchorHash, files.anchorHash(anchor));
  const artifactsFile = document(evidence, anchor.artifactsHash, "The artifacts file");
  const verdictsFile = document(evidence, anchor.verdictHash, "The verdicts file");
  const list = files.readArtifacts(artifactsFile);

  step("manifest");
  const genesis = files.readGenesis(document(evidence, evidence.genesisHash, "The genesis file"));
  const manifest = new files.Manifest(evidence.bySha.get(genesis.manifest) ?? fail("The manifest is not in this file."));
  compareBytes("manifest", "The hash of the manifest", evidence.manifestHash, manifest.hash);
  const { layout } = manifest;
  report.about.push(["Task", manifest.task], ["Coordinates", String(layout.elements.reduce((a, b) => a + b, 0))], ["Entries", String(round.commitments.length)]);

  step("header");
  compareBytes("header", "The hash of the header", round.headerHash, keccak(list.header));
  const header = files.readHeader(list.header);
  const base = round.base ? known(evidence, round.base) : null;
  const baseList = base ? files.readArtifacts(document(evidence, base.anchor.artifactsHash, "The artifacts file of the base")) : null;
  if (base) {
    compareBytes("header", "The hash of the base's anchor", base.anchorHash, files.anchorHash(base.anchor));
    compareBytes("header", "The root of the base's state", base.anchor.stateRoot, round.baseStateRoot);
  }
  const right: files.Header = {
    round: evidence.round, manifestHash: manifest.hash, baseStateRoot: round.baseStateRoot, policyId: round.policyId, width: policy.width,
    seed: files.seedOf(evidence.chainId, evidence.ledger, evidence.round, round.baseStateRoot),
    exponents: baseList?.nextExponents ?? genesis.exponents,
  }; // prettier-ignore
  compareBytes("header", "The header", files.writeHeader(right), list.header);
  if (header.exponents.length !== layout.elements.length) throw new Refused("header", "There is not one exponent for each tensor.");

  step("signatures");
  let unsigned: Unknown | null = null;
  try {
    checkSignatures(evidence, round);
  } catch (error) {
    if (!(error instanceof Unknown)) throw error;
    unsigned = error;
  }

  step("base");
  const state = (name: string, root: Uint8Array, what: string): files.State => {
    const file = evidence.bySha.get(name) ?? fail(`This file does not have ${what}.`);
    const found = files.readState(file, layout);
    const roots = stateRoots(found.theta, found.momentum);
    compareBytes("base", `The root of ${what}`, root, stateRoot(manifest.hash, roots.theta, roots.momentum));
    return found;
  };
  const baseState = state(list.baseState, round.baseStateRoot, "the state that the round trained from");

  step("updates");
  const updates = delivered(evidence, evidence.round, round, list, header.width, layout, "updates");
  round.commitments.forEach((one, i) => {
    if (one.sumSquares > policy.maxSumSquares || one.sumSquares < policy.minSumSquares) {
      throw new Refused("updates", `The sum of squares of entry ${i} is out of the policy's bounds.`, `${policy.minSumSquares} to ${policy.maxSumSquares}`, String(one.sumSquares));
    }
  });

  step("earlier");
  if (policy.rule !== "clamped_mean" || !round.base) none("This round is compared with no earlier one.");
  const past: Past[] = [];
  let before: Float64Array | null = null;
  if (policy.rule === "clamped_mean") {
    for (const number of windowOf(round.base, (one) => known(evidence, one).base)) {
      const old = known(evidence, number);
      compareBytes("earlier", `The anchor's hash of round ${number}`, old.anchorHash, files.anchorHash(old.anchor));
      const its = files.readArtifacts(document(evidence, old.anchor.artifactsHash, `The artifacts file of round ${number}`));
      compareBytes("earlier", `The hash of the header of round ${number}`, old.headerHash, keccak(its.header));
      const head = files.readHeader(its.header);
      const sent = delivered(evidence, number, old, its, head.width, layout, "earlier");
      past.push({
        exponents: head.exponents, width: head.width, seed: head.seed, coordinator: old.coordinator,
        entries: old.commitments.map((one, i) => ({ ...one, update: at(sent, i) })),
      }); // prettier-ignore
      if (past.length === 1) before = state(its.baseState, old.baseStateRoot, `the state that round ${number} trained from`).theta;
    }
  }

  step("weights");
  const inputs: Inputs = {
    manifest, header, policy, base: baseState, baseName: list.baseState, commitments: round.commitments, updates, names: list.updates,
    coordinator: round.coordinator, past, before,
  }; // prettier-ignore
  const outcome = compute(inputs);
  compareOutcome(evidence, round, outcome, step, none, { list, artifactsFile, verdictsFile, layout });

  step("rewards");
  if (!evidence.settled) none("The round is not settled: nothing was credited yet.");
  const credited = evidence.logs.filter((log) => log.address === evidence.rewards && log.topics[0] === EVENTS.credited && BigInt(log.topics[1] || 0) === evidence.round);
  const paid = round.commitments.map((one) => !same(one.contributor, round.coordinator));
  const owed = payments(policy.reward, policy.maxContributors, anchor.weights, anchor.pays, paid);
  const expected = round.commitments.map((one, i) => `${address(one.contributor)} ${at(owed, i)}`).filter((_, i) => at(owed, i) > 0n);
  const found = credited.map((log) => `${address(unhex(log.topics[2]!).subarray(12))} ${new Abi(log.data).uint(0)}`);
  compareText("rewards", "What was credited", evidence.settled ? expected.sort().join("\n") : "", found.sort().join("\n"));
  if (unsigned) {
    report.verdict = "cannot";
    Object.assign(report.steps.find((one) => one.name === "signatures")!, { verdict: "cannot", text: unsigned.message });
  }
}

interface Claimed {
  list: files.Artifacts; artifactsFile: Uint8Array; verdictsFile: Uint8Array; layout: files.Layout;
}

function compareOutcome(evidence: Evidence, round: Known, outcome: Outcome, step: (name: string) => void, none: (text: string) => void, claimed: Claimed): void {
  const { anchor } = round;
  const each = (where: string, what: string, right: number[], found: number[]): void => {
    compareText(where, `The number of ${what}s`, String(right.length), String(found.length));
    right.forEach((value, i) => compareText(where, `The ${what} of entry ${i} (${address(at(round.commitments, i).contributor)})`, String(value), String(at(found, i))));
  };
  each("weights", "weight", outcome.anchor.weights, anchor.weights);
  compareBytes("weights", "The root of the products", outcome.anchor.gramRoot, anchor.gramRoot);
  step("pays");
  if (!outcome.anchor.pays.length) none("The rule has no pays: the weights say what an entry gets.");
  each("pays", "pay", outcome.anchor.pays, anchor.pays);
  step("verdicts");
  compareText("verdicts", "The verdicts file", new TextDecoder().decode(outcome.verdictsFile), new TextDecoder().decode(claimed.verdictsFile));
  step("entries");
  compareBytes("entries", "The root over entries and weights", outcome.anchor.entriesRoot, anchor.entriesRoot);
  step("aggregate");
  const mean = evidence.bySha.get(claimed.list.mean);
  if (mean && !same(mean, outcome.meanFile)) {
    const place = outcome.meanFile.findIndex((value, i) => value !== mean[i]);
    const leaf = Math.floor((place * claimed.layout.leaves * LEAF) / outcome.meanFile.length / LEAF);
    throw new Refused("aggregate", `The mean file differs, first in leaf ${leaf}.`, bare(outcome.meanFile.subarray(place, place + 16)), bare(mean.subarray(place, place + 16)));
  }
  compareBytes("aggregate", "The root of the mean", outcome.anchor.meanRoot, anchor.meanRoot);
  compareText("aggregate", "The name of the mean file", outcome.artifacts.mean, claimed.list.mean);
  step("state");
  compareBytes("state", "The root of the new state", outcome.anchor.stateRoot, anchor.stateRoot);
  step("exponents");
  compareText("exponents", "The next exponents", outcome.artifacts.nextExponents.join(" "), claimed.list.nextExponents.join(" "));
  step("artifacts");
  compareText("artifacts", "The artifacts file", new TextDecoder().decode(outcome.artifactsFile), new TextDecoder().decode(claimed.artifactsFile));
}
