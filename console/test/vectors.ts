// SPDX-License-Identifier: Apache-2.0
// The shared vectors (docs/protocol section 15) against this implementation. Prints what failed, and what it skips.
import { readFileSync } from "node:fs";
import * as arithmetic from "../src/arithmetic.js";
import { address, at, big, hex, joined, keccak, same, sha256Hex, unhex, utf8 } from "../src/bytes.js";
import * as files from "../src/files.js";
import { windowOf } from "../src/evidence.js";
import { parse } from "../src/json.js";
import * as products from "../src/products.js";
import { checkUpdate, compute, weighedOf, type Past, type Update } from "../src/round.js";
import { pays, payments, weigh, type Earlier } from "../src/rules.js";
import { expanded, signer } from "../src/signatures.js";
import * as trees from "../src/trees.js";

type Any = any; // eslint-disable-line
const [cases, protocol] = ["cases", "protocol"].map((name) =>
  JSON.parse(readFileSync(`${process.argv[2]}/${name}.json`, "utf8")),
) as [Any, Any];

const ints = (list: string[]): bigint[] => list.map(BigInt);
const nums = (list: string[]): number[] => list.map(Number);
const strings = (value: Any): Any =>
  typeof value === "bigint" || typeof value === "number" ? String(value)
  : value instanceof Uint8Array ? hex(value)
  : value instanceof Map ? strings(Object.fromEntries(value))
  : Array.isArray(value) || ArrayBuffer.isView(value) ? Array.from(value as Any, strings)
  : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, strings(v)]))
  : value; // prettier-ignore
const sorted = (value: Any): Any =>
  Array.isArray(value) ? value.map(sorted)
  : value && typeof value === "object" ? Object.fromEntries(Object.keys(value).sort().map((k) => [k, sorted(value[k])]))
  : value; // prettier-ignore
const equal = (a: Any, b: Any): boolean => JSON.stringify(sorted(strings(a))) === JSON.stringify(sorted(strings(b)));
const layoutOf = (elements: string[]): files.Layout => new files.Layout(nums(elements));
const manifestOf = (elements: string[]): files.Manifest =>
  new files.Manifest(
    utf8(
      `{"arrays":[${nums(elements).map((n, i) => `{"dtype":"float32","name":"t${i}","shape":[${n}]}`).join(",")}],"format":"folkmoot/manifest/2","task":"cases","training":{}}`,
    ),
  );
const unpacked = (text: string, width: number): Update => Int8Array.from(files.unpack(unhex(text), width), (b) => b - 128);
const dot = (a: bigint[], b: bigint[], e: bigint[] = a.map(() => 1n)): bigint => a.reduce((s, x, i) => s + x * b[i]! * e[i]!, 0n);
const commitmentOf = (g: Any): files.Commitment => ({
  contributor: unhex(g.contributor), round: BigInt(g.round), baseStateRoot: unhex(g.baseStateRoot), updateRoot: unhex(g.updateRoot),
  sumSquares: BigInt(g.sumSquares), memoryHash: unhex(g.memoryHash), bundleHash: unhex(g.bundleHash),
}); // prettier-ignore

function weights(g: Any): Any {
  const vectors: bigint[][] = g.vectors.map(ints);
  const tensors = nums(g.tensors);
  const gram = vectors.map((a) => vectors.map((b) => dot(a, b)));
  const window: bigint[][] = (g.window ?? []).map(ints);
  const single = (text: string[], of: bigint[][]) =>
    text.length ? { products: of.map((one) => dot(one, ints(text))), square: dot(ints(text), ints(text)) } : null;
  const repeats = (list: string[] | undefined, count: number): bigint[] => (list?.length ? ints(list) : Array(count).fill(65536n));
  const found = weigh(g.rule, nums(g.parameters), {
    gram,
    absolute: vectors.map((one) => g.elements.map((_: Any, b: number) => one.reduce((s, x, c) => (tensors[c] === b ? s + Math.abs(Number(x)) : s), 0))),
    elements: nums(g.elements),
    noisy: Boolean(g.private),
    repeats: repeats(g.repeats, vectors.length),
    earlier: (g.earlier ?? []).map((text: string[], i: number): Earlier => ({
      round: Number(g.earlierRounds?.[i] ?? 0),
      account: Number(g.earlierContributors?.[i] ?? -1),
      repeat: repeats(g.earlierRepeats, g.earlier.length)[i]!,
      products: vectors.map((one) => dot(one, ints(text))),
      squares: vectors.map((one) => dot(one, one)),
      square: dot(ints(text), ints(text)),
    })),
    root: single(g.root ?? [], vectors),
    trajectory: single(g.trajectory ?? [], window.length ? window : vectors),
    window: { gram: window.map((a) => window.map((b) => dot(a, b))), counts: nums(g.windowRounds ?? []) },
  });
  return { gram, weights: found.map((w) => w.weight), reasons: found.map((w) => w.reason), numbers: found.map((w) => w.numbers) };
}

function round(g: Any, common: Any): Any {
  const manifest = manifestOf(g.elements);
  const { layout } = manifest;
  const baseFile = unhex(common.baseState);
  const base = files.readState(baseFile, layout);
  const before = files.readState(unhex(common.stateBefore), layout);
  const roots = trees.stateRoots(base.theta, base.momentum);
  const baseStateRoot = trees.stateRoot(manifest.hash, roots.theta, roots.momentum);
  const number = BigInt(g.round);
  const seed = files.seedOf(BigInt(protocol.header.chainId), unhex(protocol.header.ledger), number, baseStateRoot);
  const width = Number(g.width);
  const header = { round: number, manifestHash: manifest.hash, baseStateRoot, policyId: 1, width, seed, exponents: nums(g.exponents) };
  const zero = new Uint8Array(32);
  const commitments: files.Commitment[] = g.entries.map((one: Any) => ({
    contributor: unhex(one.contributor), round: number, baseStateRoot, updateRoot: unhex(one.updateRoot), sumSquares: BigInt(one.sumSquares),
    memoryHash: zero, bundleHash: zero,
  })); // prettier-ignore
  const updates = g.updates.map((text: string | null, i: number) => {
    if (text === null) return null;
    const update = checkUpdate(layout, width, unhex(text), commitments[i]!.updateRoot, commitments[i]!.sumSquares);
    return typeof update === "string" ? null : update;
  });
  const coordinator = unhex(g.coordinator);
  const past: Past[] = g.earlier.map((one: Any) => ({
    exponents: nums(one.exponents), width: Number(one.width), seed: unhex(one.seed), coordinator,
    entries: one.updates.map((text: string, i: number) => {
      const tree = trees.sumRoot(files.unpack(unhex(text), Number(one.width)));
      return { contributor: unhex(one.contributors[i]), updateRoot: tree.hash, sumSquares: BigInt(tree.sq), update: unpacked(text, Number(one.width)) };
    }),
  })).slice(-8); // prettier-ignore
  const policy = {
    id: 1, rule: g.rule, parameters: nums(g.parameters), width, meanScale: Number(g.meanScale), rate: Number(g.rate),
    momentum: Number(g.decay),
  } as files.Policy; // prettier-ignore
  const found = compute({
    manifest, header, policy, base, baseName: sha256Hex(baseFile), commitments, updates, coordinator, past, before: before.theta,
    names: g.updates.map((text: string | null) => (text === null ? null : sha256Hex(unhex(text)))),
  }); // prettier-ignore
  const { anchor } = found;
  return {
    headerHash: keccak(files.writeHeader(header)), entriesHash: files.entriesHash(commitments), weights: anchor.weights, pays: anchor.pays,
    delivered: anchor.delivered, meanRoot: anchor.meanRoot, thetaRoot: found.thetaRoot, momentumRoot: found.momentumRoot,
    stateRoot: anchor.stateRoot, gramRoot: anchor.gramRoot, nextExponents: found.artifacts.nextExponents,
    verdicts: new TextDecoder().decode(found.verdictsFile), artifacts: new TextDecoder().decode(found.artifactsFile), anchorHash: files.anchorHash(anchor),
  }; // prettier-ignore
}

const KINDS: Record<string, (data: Uint8Array) => Any> = {
  json: parse,
  manifest: (data) => ({ manifestHash: new files.Manifest(data).hash }),
  genesis: files.readGenesis,
  artifacts: files.readArtifacts,
  header: files.readHeader,
  state: (data) => {
    const manifest = manifestOf(["3"]);
    const state = files.readState(data, manifest.layout);
    const roots = trees.stateRoots(state.theta, state.momentum);
    return { stateRoot: trees.stateRoot(manifest.hash, roots.theta, roots.momentum) };
  },
};

class Skip extends Error {}
/** A verdicts file is never read: it is written again and compared. */
const skip = (): never => {
  throw new Skip();
};

const must = (holds: boolean): void => {
  if (!holds) throw new Error("it does not hold");
};

const GROUPS: Record<string, (g: Any, common: Any) => Any> = {
  canonicalJson: (g) => (KINDS.json!(unhex(g.data)), {}),
  documents: (g) => (KINDS[g.kind] ?? skip)(unhex(g.data)),
  updateProof: (g) => {
    const siblings = g.siblings.map(([hash, abs, sq]: string[]) => ({ hash: unhex(hash!), abs: Number(abs), sq: Number(sq) }));
    const leaf = unhex(g.leaf, 256);
    const root = climb(trees.sumLeaf(leaf), Number(g.index), siblings, Number(g.leaves), trees.sumNode);
    must(same(root.hash, unhex(g.root)) && root.sq === Number(g.sumSquares));
    return {};
  },
  treeProof: (g) => {
    const tag = (trees.TAG as Any)[g.tree];
    const leaf = keccak(Uint8Array.of(tag), unhex(g.leaf, { mean: 256, theta: 2048, momentum: 2048, entries: 56 }[g.tree as "mean"]));
    must(same(climb(leaf, Number(g.index), g.siblings.map((s: string) => unhex(s, 32)), Number(g.leaves), (left, right) => keccak(Uint8Array.of(tag + 1), left, right)), unhex(g.root)));
    return {};
  }, // prettier-ignore
  signature: (g) => {
    const digest = files.digestOf(BigInt(g.chainId), unhex(g.verifyingContract), files.commitmentHash(commitmentOf(g)));
    const who = signer(digest, unhex(g.signature));
    must(who !== null && address(who) === g.contributor);
    return { digest };
  },
  batch: (g) => {
    const made = files.readEntries(unhex(g.batch), 156).map((one) => {
      const commitment = { ...one, round: BigInt(g.round), baseStateRoot: unhex(g.baseStateRoot), bundleHash: unhex(g.bundleHash) };
      const hash = files.commitmentHash(commitment);
      const who = signer(files.digestOf(BigInt(g.chainId), unhex(g.verifyingContract), hash), expanded(one.rest));
      must(who !== null && same(who, one.contributor));
      return { who: address(one.contributor), hash, listed: joined(one.contributor, one.updateRoot, big(one.sumSquares, 8), one.memoryHash) };
    });
    return { contributors: made.map((m) => m.who), commitmentHashes: made.map((m) => m.hash), event: joined(new Uint8Array(0), ...made.map((m) => m.listed)) };
  },
  updateBytes: (g) => {
    const layout = layoutOf(g.elements);
    const update = checkUpdate(layout, Number(g.width), unhex(g.data), unhex(g.updateRoot), BigInt(g.sumSquares));
    if (typeof update === "string") throw new Error(update);
    return { tensors: layout.elements.map((_, b) => Object.values(arithmetic.sumsOf(layout, update, b))) };
  },
  weights,
  repeatCosines: (g) => {
    const layout = layoutOf(g.elements);
    const keys = g.contributors.map((who: string) => products.roundingKey(unhex(g.seed), unhex(who)));
    const leaves = g.sample.length ? nums(g.sample) : Array.from({ length: layout.leaves }, (_, i) => i);
    return { cosines: products.repeatCosines(layout, nums(g.exponents), g.updates.map((u: string) => unpacked(u, Number(g.width))), keys, leaves) };
  },
  repeatCosinesAtStride: (g) => {
    const leaves = Number(g.leaves);
    const layout = new files.Layout([256 * leaves]);
    const keys = g.contributors.map((who: string) => products.roundingKey(unhex(g.seed), unhex(who)));
    const updates = g.usual.map((usual: string, u: number) => {
      const values = new Int8Array(256 * leaves);
      for (let i = 0; i < leaves; i++) values.set(unpacked(i === Number(g.place[u]) ? g.other[u] : usual, Number(g.width)), 256 * i);
      return values;
    });
    return { cosines: products.repeatCosines(layout, [-10], updates, keys, Array.from({ length: leaves }, (_, i) => i)) };
  },
  comparedLeaves: (g) => {
    const found = products.sample(Number(g.leaves), unhex(g.entriesHash));
    return {
      s: Math.ceil(Number(g.leaves) / 4096), count: found.length, first: found.slice(0, 5), last: found.slice(-5),
      digest: keccak(joined(...found.map((leaf) => big(leaf, 4)))),
    }; // prettier-ignore
  },
  compare: (g) => {
    const other = { values: unpacked(g.reference, Number(g.referenceWidth)), exponents: nums(g.referenceExponents) };
    const bound = files.largest(Math.max(Number(g.width), Number(g.referenceWidth)));
    const updates = g.updates.map((u: string) => unpacked(u, Number(g.width)));
    return products.compare(layoutOf(g.elements), nums(g.exponents), updates, other, bound, g.sample.length ? nums(g.sample) : null);
  },
  trajectory: (g) => ({ q: products.moved(Number(g.thetaBefore), Number(g.thetaBase), Number(g.exponent), Number(g.width)) }),
  windowSums: (g) => {
    const layout = layoutOf(g.elements);
    const rounds = g.rounds.map((one: Any) =>
      one.updates.map((u: string, i: number) => ({ account: one.contributors[i], values: unpacked(u, 8), sumSquares: BigInt(one.sumSquares?.[i] ?? trees.sumRoot(unhex(u)).sq) })),
    );
    const { sums, counts } = products.windowSums(rounds, 256 * layout.leaves);
    const path = g.trajectory === "0x" ? null : unpacked(g.trajectory, 8);
    const product = (a: Any, b: Any) => products.product(layout, nums(g.exponents), a, b);
    return {
      gram: products.matrix(layout, nums(g.exponents), sums), rounds: counts,
      ...(path && { products: sums.map((s) => product(s, path)), square: product(path, path) }),
    }; // prettier-ignore
  },
  window: (g) => ({ rounds: windowOf(BigInt(g.base), (round) => BigInt(g.bases[Number(round) - 1])) }),
  weightSum: (g) => ({ sum: arithmetic.weightSum(nums(g.weights)) }),
  outerStep: (g) => {
    const step = { scale: Number(g.meanScale), exponent: Number(g.exponent), rate: Number(g.rate), momentum: Number(g.decay) };
    const [newTheta, newMomentum] = arithmetic.outerStep(Number(g.theta), Number(g.momentum), Number(g.mean), step);
    return { newTheta, newMomentum };
  },
  nextExponent: (g) => {
    const sums = g.sums.map(nums).map(([a, s, m, n]: number[]) => ({ a, s, m, n }));
    return {
      votes: sums.map((one: Any) => arithmetic.vote(one, Number(g.width))),
      next: arithmetic.nextExponent(Number(g.exponent), sums, Number(g.width)),
    }; // prettier-ignore
  },
  publicProducts: (g) => ({
    products: products.publicProducts(
      layoutOf(g.elements),
      g.vectors.map((v: string, i: number) => ({ values: unpacked(v, 8), exponents: nums(g.exponents[i]) })),
      null,
    ),
  }),
  pays: (g) => {
    const found = pays(g.table.map(ints), nums(g.weights), BigInt(g.dimensions));
    return { newParts: found.parts, confirmed: found.confirmed, noise: found.noise, shares: found.shares, pays: found.pays };
  },
  payments: (g) => ({ payments: payments(BigInt(g.reward), Number(g.places), nums(g.weights), nums(g.pays), g.paid) }),
  round,
  shares: (g) => {
    const list = g.roots.map((root: string, i: number) => ({
      contributor: unhex(g.contributors[i]), updateRoot: unhex(root), sumSquares: 0n,
      update: (BigInt(g.delivered) >> BigInt(i)) & 1n ? new Int8Array(0) : null,
    })); // prettier-ignore
    return { weighed: weighedOf(list, unhex(g.coordinator)).weighed.reduce((bits, i) => bits | (1n << BigInt(i)), 0n) };
  },
  layout: (g) => {
    const layout = new files.Layout(Array(Number(g.tensors)).fill(Number(g.elements)));
    return { leaves: layout.leaves, depth: layout.depth, layoutHash: layout.hash };
  },
  meanLeaves: (g) => {
    const layout = layoutOf(g.elements);
    const data = unhex(g.data);
    const bytes = new Uint8Array(256 * layout.leaves).fill(128);
    bytes.set(data, 256 * Number(g.first));
    must(bytes.every((b) => Math.abs(b - 128) <= Number(g.bound)) && layout.padded(bytes, 128));
    return {};
  },
};

/** Where a path from a leaf leads. The number of leaves fixes the length of the path. A check of a round reads no path. */
function climb<T>(leaf: T, index: number, siblings: T[], leaves: number, node: (l: T, r: T) => T): T {
  must(index < leaves && siblings.length === trees.depthOf(leaves));
  return siblings.reduce((place, sibling, level) => (Math.floor(index / 2 ** level) % 2 ? node(sibling, place) : node(place, sibling)), leaf);
}

/** Skipped groups, with the reason. */
const SKIPPED: Record<string, string> = {
  encode: "a contributor encodes; a check reads what was encoded",
  cost: "the privacy budget is the ledger's",
  standing: "reputation is a report over many rounds",
  privacySettings: "settings of a contributor's training",
  floor: "settings of a contributor's training",
  privateBounds: "settings of a contributor's training",
  closeCommits: "the ledger's clock",
  missed: "the ledger's places",
  retention: "which files a coordinator may delete",
  wish: "which files a coordinator may delete",
  files: "reports, receipts and acknowledgements are no part of a round",
  canary: "reports are no part of a round",
  lossUnits: "reports are no part of a round",
  model: "the safetensors file is made from the state, which is checked",
};

/** Rules that this implementation does not compute: it must say so. */
const UNKNOWN = new Set(["multi_krum"]);
const report: Record<string, { passed: number; unknown: number; failed: string[] }> = {};
const note = (group: string, run: () => void): void => {
  const to = (report[group] ??= { passed: 0, unknown: 0, failed: [] });
  try {
    run();
    to.passed++;
  } catch (error) {
    to.failed.push(String((error as Error).message).slice(0, 600));
  }
};

for (const group of cases.groups) {
  const compute = GROUPS[group.group];
  if (!compute) {
    if (!(group.group in SKIPPED)) note(group.group, () => { throw new Error("no twin, and no reason to skip it"); }); // prettier-ignore
    continue;
  }
  for (const one of group.tests) {
    note(group.group, () => {
      let found: Any = null;
      let refused: Error | null = null;
      try {
        found = compute(one.input, group.common);
      } catch (error) {
        if (error instanceof Skip) return;
        refused = error as Error;
      }
      if (UNKNOWN.has(one.input.rule)) {
        if (!/does not compute the rule/.test(refused?.message ?? "")) throw new Error(`${one.id} ${one.comment}: it is not said that this rule is unknown`);
        report[group.group]!.unknown++;
        return;
      }
      if ((one.result === "valid") !== (refused === null)) {
        throw new Error(`${one.id} ${one.comment}: ${refused ? refused.stack : "it is not refused"}`);
      }
      for (const [name, value] of refused ? [] : Object.entries(one.expected)) {
        if (name in strings(found) && !equal(found[name], value)) {
          throw new Error(`${one.id} ${one.comment}: ${name} is ${JSON.stringify(strings(found[name])).slice(0, 200)}, not ${JSON.stringify(value).slice(0, 200)}`);
        }
      }
    });
  }
}

/** Vectors of protocol.json. */
const P = protocol;
note("protocol.header", () => {
  const h = P.header;
  const made = { round: BigInt(h.round), manifestHash: unhex(h.manifestHash), baseStateRoot: unhex(h.baseStateRoot), policyId: Number(h.policyId), width: Number(h.width), seed: files.seedOf(BigInt(h.chainId), unhex(h.ledger), BigInt(h.round), unhex(h.baseStateRoot)), exponents: nums(h.exponents) };
  must(hex(files.writeHeader(made)) === h.encoded && hex(made.seed) === h.seed && equal(files.readHeader(unhex(h.encoded)), made));
}); // prettier-ignore
note("protocol.packing", () => {
  for (const [name, one] of Object.entries<Any>(P.packing)) {
    if (name === "about") continue;
    const width = Number(name.slice(5));
    const leaves = [one.leaves].flat();
    must(hex(files.pack(joined(...leaves.map((l: string) => unhex(l))), width)) === one.data);
    must(hex(files.unpack(unhex(one.data), width)) === hex(joined(...leaves.map((l: string) => unhex(l)))));
  }
});
for (const name of ["one", "three", "five"]) {
  note("protocol.updateTree", () => {
    const one = P.updateTree[name];
    const root = trees.sumRoot(joined(...one.leaves.map((l: string) => unhex(l))));
    must(hex(root.hash) === one.root && root.abs === Number(one.sumAbsolute) && root.sq === Number(one.sumSquares));
  });
  note("protocol.meanTree", () => {
    const one = P.meanTree[name];
    const leaves = one.leaves.map((l: string) => unhex(l));
    must(hex(trees.plainRoot(trees.TAG.mean, leaves.length, (i) => at(leaves, i))) === one.root);
  });
}
note("protocol.anchor", () => {
  const a = P.anchor;
  const bytes = Object.fromEntries(["meanRoot", "stateRoot", "gramRoot", "verdictHash", "artifactsHash", "entriesRoot"].map((n) => [n, unhex(a[n])]));
  const anchor = { weights: nums(a.weights), pays: nums(a.pays), delivered: BigInt(a.delivered), ...bytes } as Any;
  must(hex(files.anchorHash(anchor)) === a.anchorHash);
  must(hex(files.anchorHash({ ...anchor, pays: [] })) === a.unpaidAnchorHash);
  must(hex(files.anchorHash({ ...anchor, weights: [], pays: [] })) === a.emptyAnchorHash);
});
note("protocol.entriesTree", () => {
  P.entriesTree.roots.forEach((root: string, n: number) => {
    const leaf = (i: number) => joined(unhex(P.entriesTree.contributors[i]), unhex(P.entriesTree.commitmentHashes[i]), big(Number(P.entriesTree.weights[i]), 4));
    must(hex(trees.plainRoot(trees.TAG.entries, n + 1, leaf)) === root);
  });
});
note("protocol.commitment", () => {
  const c = P.commitment;
  c.commitmentHashes.forEach((hash: string, i: number) => {
    const one = commitmentOf({ contributor: c.contributors[i], round: c.rounds[i], baseStateRoot: c.baseStateRoots[i], updateRoot: c.updateRoots[i], sumSquares: c.sumSquares[i], memoryHash: c.memoryHashes[i], bundleHash: c.bundleHashes[i] });
    must(hex(files.commitmentHash(one)) === hash);
  });
}); // prettier-ignore
for (const [name, one] of Object.entries<Any>(P.clampedSum)) {
  if (name === "about") continue;
  note("protocol.clampedSum", () => {
    const values = [one.updates].flat().map((u: string) => Int8Array.from(unhex(u), (b) => b - 128));
    const found = arithmetic.aggregate(true, values, nums(one.weights), 0, 256);
    must(equal(found, one.aggregate));
    const sum = arithmetic.weightSum(nums(one.weights));
    must(hex(Uint8Array.from(found, (a) => arithmetic.meanOf(a, sum, Number(one.meanScale)) + 128)) === one.leaf);
  });
}
for (const [name, one] of Object.entries<Any>(P.stages)) {
  if (name === "about") continue;
  note("protocol.stages", () => {
    const k = Number(one.count);
    const square = (flat: string[]) => Array.from({ length: k }, (_, i) => ints(flat.slice(k * i, k * (i + 1))));
    const single = (list: string[], value: string, there: boolean) => (there ? { products: ints(list), square: BigInt(value) } : null);
    const found = weigh("clamped_mean", Number(one.rootShare) ? [Number(one.rootShare)] : [], {
      gram: square(one.gram), elements: nums(one.elements), noisy: false, repeats: Array(k).fill(65536n), earlier: [],
      absolute: Array.from({ length: k }, (_, i) => nums(one.sumAbsolute.slice(one.elements.length * i, one.elements.length * (i + 1)))),
      root: single(one.rootProducts, one.rootSquare, one.rootProducts.length > 0),
      trajectory: single(one.trajectoryProducts, one.trajectorySquare, one.trajectoryProducts.length > 0),
      window: { gram: square(one.windowGram), counts: nums(one.windowRounds) },
    }); // prettier-ignore
    must(equal(found.map((w) => w.weight), one.weights) && equal(found.map((w) => w.reason), one.reasons));
  });
}
console.log(JSON.stringify({ groups: report, skipped: SKIPPED }));
