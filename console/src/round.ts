// SPDX-License-Identifier: Apache-2.0
// What follows from the entries of a round and from what came before (docs/protocol sections 7 to 11).
import { at, hex, keccak, Refused, same, sha256Hex } from "./bytes.js";
import { aggregate, meanOf, meanWidth, nextExponent, nextState, sumsOf, weightSum } from "./arithmetic.js";
import * as files from "./files.js";
import * as products from "./products.js";
import { pays, weigh, type Earlier, type Single } from "./rules.js";
import { LEAF, plainRoot, stateRoot, stateRoots, sumRoot, TAG } from "./trees.js";

/** An update that passed the checks of section 7, as integers of all coordinates. */
export type Update = Int8Array;

/** Check a file against its commitment: its integers, or the code of the reason why it is not delivered. */
export function checkUpdate(
  layout: files.Layout,
  width: number,
  file: Uint8Array,
  root: Uint8Array,
  sumSquares: bigint,
): Update | string {
  if (file.length !== 32 * layout.leaves * width) return "wrong-size";
  const bytes = files.unpack(file, width);
  const never = 128 - 2 ** (width - 1);
  if (bytes.includes(never) || !layout.padded(bytes, 128)) return "invalid-encoding";
  const tree = sumRoot(bytes);
  if (!same(tree.hash, root)) return "wrong-root";
  if (BigInt(tree.sq) !== sumSquares) return "wrong-norm";
  return Int8Array.from(bytes, (byte) => byte - 128);
}

export interface Entry {
  contributor: Uint8Array; updateRoot: Uint8Array; sumSquares: bigint;
  /** Null where it was not delivered. */
  update: Update | null;
}

/** A round of the window; what is needed of it. */
export interface Past {
  exponents: number[]; width: number; seed: Uint8Array; coordinator: Uint8Array; entries: Entry[];
}

/** The weighed entries of a round, and for each copy the entry that it is one of (section 8). */
export function weighedOf(entries: Entry[], coordinator: Uint8Array): { weighed: number[]; copies: Map<number, number> } {
  const first = new Map<string, number>();
  const copies = new Map<number, number>();
  entries.forEach((entry, i) => {
    if (!entry.update || same(entry.contributor, coordinator)) return;
    const before = first.get(hex(entry.updateRoot));
    if (before === undefined) first.set(hex(entry.updateRoot), i);
    else copies.set(i, before);
  });
  return { weighed: [...first.values()], copies };
}

export interface Inputs {
  manifest: files.Manifest; header: files.Header; policy: files.Policy; base: files.State;
  /** sha256 of the base's state file. */
  baseName: string; commitments: files.Commitment[]; updates: (Update | null)[];
  /** sha256 of each delivered update. */
  names: (string | null)[]; coordinator: Uint8Array;
  /** The rounds of the window, the oldest first. */
  past: Past[];
  /** Theta of the state that the oldest of them trained from. */
  before: Float64Array | null;
}

export interface Outcome {
  anchor: files.Anchor; verdicts: files.Verdict[]; verdictsFile: Uint8Array; artifacts: files.Artifacts;
  artifactsFile: Uint8Array; meanFile: Uint8Array; state: files.State; thetaRoot: Uint8Array;
  momentumRoot: Uint8Array;
}

const key = (account: Uint8Array): string => hex(account);

/** Weigh and pay the weighed entries; what the rule uses of earlier rounds must be there. */
function judge(inputs: Inputs, entries: Entry[], weighed: number[]) {
  const { manifest, header, policy, past } = inputs;
  const { layout } = manifest;
  const updates = weighed.map((i) => at(entries, i).update!);
  const accounts = weighed.map((i) => key(at(entries, i).contributor));
  const { exponents, width } = header;
  const facts = {
    gram: products.matrix(layout, exponents, updates),
    absolute: updates.map((update) => layout.elements.map((_, b) => sumsOf(layout, update, b).a)),
    elements: layout.elements,
    noisy: manifest.private,
    repeats: [] as bigint[],
    earlier: [] as Earlier[],
    root: null as Single | null,
    trajectory: null as Single | null,
    window: { gram: [] as bigint[][], counts: [] as number[] },
  };
  if (policy.rule !== "clamped_mean") return { results: weigh(policy.rule, policy.parameters, facts), paid: null };
  const leaves = products.sample(layout.leaves, files.entriesHash(inputs.commitments));
  const keys = (seed: Uint8Array, who: Uint8Array[]): bigint[] => who.map((one) => products.roundingKey(seed, one));
  facts.repeats = products.repeatCosines(
    layout, exponents, updates, keys(header.seed, weighed.map((i) => at(entries, i).contributor)), leaves,
  ); // prettier-ignore
  past.forEach((round, place) => {
    const sent = round.entries.filter((one) => one.update);
    const theirs = keys(round.seed, sent.map((one) => one.contributor));
    const repeats = products.repeatCosines(layout, round.exponents, sent.map((one) => one.update!), theirs, leaves);
    const bound = files.largest(Math.max(width, round.width));
    sent.forEach((one, i) => {
      const other = { values: one.update!, exponents: round.exponents };
      facts.earlier.push({
        round: place,
        account: accounts.indexOf(key(one.contributor)),
        repeat: at(repeats, i),
        ...products.compare(layout, exponents, updates, other, bound, leaves),
      });
    });
  });
  const own = entries.find((one) => same(one.contributor, inputs.coordinator))?.update;
  if (own) {
    facts.root = products.compare(layout, exponents, updates, { values: own, exponents }, files.largest(width), null);
  }
  const path = past.length ? products.trajectory(layout, exponents, width, inputs.before!, inputs.base.theta) : null;
  const sentBy = (list: Entry[], coordinator: Uint8Array): products.Sent[] =>
    weighedOf(list, coordinator).weighed.map((i) => {
      const one = at(list, i);
      return { account: key(one.contributor), values: one.update!, sumSquares: one.sumSquares };
    });
  const sums = products.windowSums(
    [
      ...past.slice(-7).filter((round) => round.width === width).map((round) => sentBy(round.entries, round.coordinator)),
      sentBy(entries, inputs.coordinator),
    ],
    LEAF * layout.leaves,
  ); // prettier-ignore
  facts.window = { gram: products.matrix(layout, exponents, sums.sums), counts: sums.counts };
  if (path) {
    facts.trajectory = {
      products: sums.sums.map((sum) => products.product(layout, exponents, sum, path)),
      square: products.product(layout, exponents, path, path),
    };
  }
  const results = weigh(policy.rule, policy.parameters, facts);

  const vectors: products.Reference[] = updates.map((values) => ({ values, exponents }));
  if (path) vectors.push({ values: path, exponents });
  for (const round of past) {
    for (const one of sentBy(round.entries, round.coordinator)) vectors.push({ values: one.values, exponents: round.exponents });
  }
  const few = products.thinned(leaves, 512);
  const table = products.cosines(products.publicProducts(layout, vectors, few));
  const tensors = layout.tensors;
  const dimensions = few.reduce((count, leaf) => {
    return count + Math.min(LEAF, layout.end(at(tensors, leaf)) - LEAF * leaf);
  }, 0);
  return { results, paid: pays(table, results.map((one) => one.weight), BigInt(dimensions)) }; // prettier-ignore
}

/** Compute a round. Throws Unknown where this program lacks what it takes, Refused where the round has no outcome. */
export function compute(inputs: Inputs): Outcome {
  const { manifest, header, policy } = inputs;
  const { layout } = manifest;
  const entries: Entry[] = inputs.commitments.map((one, i) => ({ ...one, update: at(inputs.updates, i) }));
  const { weighed, copies } = weighedOf(entries, inputs.coordinator);
  if (!weighed.length) throw new Refused("entries", "Nobody but the coordinator delivered an update.");
  const fileWidth = meanWidth(policy.width, policy.meanScale);
  const { results, paid } = judge(inputs, entries, weighed);
  const verdicts = entries.map((entry, i): files.Verdict => {
    const place = weighed.indexOf(i);
    const result = results[place];
    const own = entry.update && same(entry.contributor, inputs.coordinator);
    const numbers = new Map([["sumSquares", entry.sumSquares]]);
    result?.numbers.forEach((value, name) => numbers.set(name, value));
    const copy = copies.get(i);
    if (copy !== undefined) numbers.set("copyOfEntry", BigInt(copy));
    if (result && paid) numbers.set("novelty", at(paid.shares, place));
    return {
      contributor: entry.contributor,
      weight: result?.weight ?? 0,
      pay: paid ? (result ? Number(at(paid.pays, place)) : 0) : null,
      reason: result?.reason ?? (own ? "root" : copy !== undefined ? "copy" : "not-delivered"),
      numbers,
    };
  });
  const weights = verdicts.map((one) => one.weight);
  const sum = weightSum(weights);
  const kept = entries.flatMap((entry, i) => (at(weights, i) > 0 ? [entry.update!] : []));
  const total = aggregate(policy.rule === "clamped_mean", kept, weights.filter((w) => w > 0), 0, LEAF * layout.leaves);
  const mean = Int8Array.from(total, (a) => meanOf(a, sum, policy.meanScale));
  const meanBytes = Uint8Array.from(mean, (b) => b + 128);
  const state = nextState(layout, inputs.base, mean, { ...policy, scale: policy.meanScale }, header.exponents);
  const roots = stateRoots(state.theta, state.momentum);
  const nextExponents = manifest.private
    ? header.exponents
    : header.exponents.map((e, b) => nextExponent(e, kept.map((update) => sumsOf(layout, update, b)), header.width));
  const verdictsFile = files.writeVerdicts(header.round, policy.rule, policy.parameters, verdicts);
  const meanFile = files.pack(meanBytes, fileWidth);
  const artifacts: files.Artifacts = {
    round: header.round,
    header: files.writeHeader(header),
    manifest: sha256Hex(manifest.bytes),
    baseState: inputs.baseName,
    updates: inputs.names.map((name, i) => (inputs.updates[i] ? name : null)),
    mean: sha256Hex(meanFile),
    state: sha256Hex(files.writeState(state)),
    verdicts: sha256Hex(verdictsFile),
    nextExponents,
  };
  const artifactsFile = files.writeArtifacts(artifacts);
  return {
    anchor: {
      weights,
      pays: paid ? verdicts.map((one) => one.pay ?? 0) : [],
      delivered: inputs.updates.reduce<bigint>((bits, update, i) => (update ? bits | (1n << BigInt(i)) : bits), 0n),
      meanRoot: plainRoot(TAG.mean, layout.leaves, (i) => meanBytes.subarray(LEAF * i, LEAF * (i + 1))),
      stateRoot: stateRoot(manifest.hash, roots.theta, roots.momentum),
      gramRoot: new Uint8Array(32),
      verdictHash: keccak(verdictsFile),
      artifactsHash: keccak(artifactsFile),
      entriesRoot: plainRoot(TAG.entries, entries.length, (i) => files.entryLeaf(at(inputs.commitments, i), at(weights, i))),
    },
    verdicts, verdictsFile, artifacts, artifactsFile, meanFile, state, thetaRoot: roots.theta, momentumRoot: roots.momentum,
  }; // prettier-ignore
}
