// SPDX-License-Identifier: Apache-2.0
// Weights and pays (docs/protocol sections 8 and 8.7). All numbers are exact integers.
import { at, bigMax, bigMin, floorDiv, isqrt, median, Unknown } from "./bytes.js";
import { cosine, U } from "./products.js";

export interface Weighed {
  weight: number; reason: string; numbers: Map<string, bigint>;
}

/** An update of an earlier round, with its products with the updates of this one. */
export interface Earlier {
  /** Place of its round in the lineage, the oldest first. */
  round: number;
  /** Place of its account among the weighed updates, -1 if it is none of theirs. */
  account: number; repeat: bigint; products: bigint[]; squares: bigint[]; square: bigint;
}

export interface Single {
  products: bigint[]; square: bigint;
}

export interface Facts {
  gram: bigint[][];
  /** The sum of |q| of each update in each tensor. */
  absolute: number[][]; elements: number[]; noisy: boolean; repeats: bigint[]; earlier: Earlier[];
  root: Single | null; trajectory: Single | null;
  window: { gram: bigint[][]; counts: number[] };
}

const MOST = 16843009n;

/** Weigh by the policy's rule; throws Unknown for a rule that is not one of these. */
export function weigh(rule: string, parameters: number[], facts: Facts): Weighed[] {
  if (rule === "mean") {
    if (parameters.length) throw new Unknown("The rule `mean` has parameters here, and the protocol knows none.");
    return facts.gram.map(() => ({ weight: 1, reason: "accepted", numbers: new Map() }));
  }
  if (rule !== "clamped_mean") throw new Unknown(`This page does not compute the rule ${rule}.`);
  const share = parameters[0] ?? 0;
  if (parameters.length > 1 || share > 512 || (parameters.length === 1 && share < 1)) {
    throw new Unknown("The rule clamped_mean has parameters here that the protocol does not know.");
  }
  const state = new Weighting(facts);
  copies(state, 160n);
  if (!facts.noisy) uncorrelated(state, 64n);
  const sums = facts.window.gram;
  byLikeness(state, sums);
  byMedianCosine(state, sums);
  byTrajectory(state, sums);
  byRoot(state);
  if (share) shareByRoot(state, BigInt(share));
  byPresence(state);
  clip(state);
  return state.end();
}

const diagonal = (gram: bigint[][], i: number): bigint => gram[i]![i]!;
const cosineOf = (gram: bigint[][], i: number, j: number): bigint => cosine(gram[i]![j]!, diagonal(gram, i), diagonal(gram, j));

/** The weighting state that stages change (section 8.1). */
class Weighting {
  readonly k: number;
  readonly v: bigint[];
  readonly c: bigint[];
  readonly reasons: string[];
  readonly numbers: Map<string, bigint>[];
  /** The coordinates that updates change. */
  readonly d: bigint;

  constructor(readonly facts: Facts) {
    const k = facts.gram.length;
    this.k = k;
    this.v = facts.gram.map((row, i) => (row[i] ? 1n : 0n));
    this.c = facts.gram.map(() => U);
    this.reasons = this.v.map((v) => (v ? "accepted" : "zero-update"));
    this.numbers = facts.gram.map(() => new Map());
    this.d = facts.elements.reduce((sum, size, b) => {
      const changed = facts.absolute.filter((one) => at(one, b) > 0).length;
      return 2 * changed > k ? sum + BigInt(size) : sum;
    }, 0n);
  }

  get included(): number[] {
    return this.v.flatMap((v, i) => (v > 0n ? [i] : []));
  }

  note(i: number, numbers: Record<string, bigint>): void {
    for (const [name, value] of Object.entries(numbers)) this.numbers[i]!.set(name, value);
  }

  exclude(entries: Iterable<number>, reason: string): void {
    const out = new Set(entries);
    if (!this.included.some((i) => !out.has(i))) return;
    for (const i of out) {
      this.v[i] = 0n;
      this.reasons[i] = reason;
    }
  }

  set(values: Map<number, bigint>): void {
    const next = this.v.map((_, i) => values.get(i) ?? 0n);
    if (next.every((value) => value === 0n)) return;
    for (const i of this.included) if (next[i] === 0n) this.reasons[i] = "outlier";
    next.forEach((value, i) => (this.v[i] = value));
  }

  scale(factors: Map<number, bigint>): void {
    this.set(new Map(this.included.map((i) => [i, this.v[i]! * (factors.get(i) ?? 0n)])));
  }

  end(): Weighed[] {
    const x = this.v.map((v, i) => v * this.c[i]!);
    const most = x.reduce(bigMax, 0n);
    const each = bigMin(U, MOST / BigInt(this.k));
    return x.map((value, i) => {
      const weight = most === 0n ? 1 : Number((value * each) / most);
      const reason = most === 0n ? "accepted" : weight === 0 && this.reasons[i] === "accepted" ? "outlier" : this.reasons[i]!;
      return { weight, reason, numbers: this.numbers[i]! };
    });
  }
}

interface Likeness {
  c: bigint; k: bigint; x: bigint;
}

function copies(state: Weighting, most: bigint): void {
  const { gram, repeats, earlier } = state.facts;
  const included = state.included;
  const a = included.length;
  if (!a) return;
  const like = (c: bigint, one: bigint, other: bigint): Likeness => {
    const k = isqrt(one * other);
    return { c, k, x: floorDiv(U * c, k) };
  };
  const pair = (i: number, j: number): Likeness => like(cosineOf(gram, i, j), repeats[i]!, repeats[j]!);
  const old = included.map((i) => earlier.map((e) => like(cosine(e.products[i]!, e.squares[i]!, e.square), repeats[i]!, e.repeat)));
  const likes = new Map(included.map((i, place) => [i, at(old, place)]));
  const better = (one: Likeness, other: Likeness): boolean => one.x > other.x || (one.x === other.x && one.c > other.c);
  const d = state.d;
  const r = bigMax(1n, bigMin(most, d / 16n));
  const less = a >= 3 ? r / 4n : 0n;
  const scatter = (k: bigint): bigint => (U * isqrt((U * U - k * k) / bigMax(1n, bigMin(d, 2n ** 18n)))) / k;
  const s = scatter(median(included.map((i) => repeats[i]!)));
  const threshold = (m: bigint, y: bigint, ratio: bigint, k: bigint): bigint => {
    const middle = bigMax(m, 0n);
    const near = U - (ratio * (U - middle)) / 1024n;
    const t = bigMax(near, near + bigMax(0n, scatter(k) - s) / 2n);
    return s > 0n ? [t, middle + 6n * s, y + 3n * s].reduce(bigMax) : t;
  };
  const found = new Set<number>();

  // Replays.
  if (earlier.length) {
    const best = included.map((i) => likes.get(i)!.reduce((one, other) => (better(other, one) ? other : one)));
    const m = median(best.map((one) => one.x));
    included.forEach((i, place) => {
      const one = at(best, place);
      if (one.c === U || (less > 0n && one.x >= threshold(m, U - U / 48n, less, one.k))) {
        found.add(i);
        state.note(i, { copyCosine: one.c, copyRepeat: one.k, copyRatio: less });
      }
    });
  }

  // Derived updates.
  let near = (_: bigint): bigint => 0n;
  if (a >= 3) {
    const m = median(included.flatMap((i) => included.filter((j) => j < i).map((j) => pair(i, j).x)));
    near = (k) => threshold(m, (4n * U) / 5n, r, k);
    for (const i of included.filter((one) => !found.has(one))) {
      const own = (n: number): bigint | null => {
        const sent = earlier.flatMap((f, e) => (f.account === i && f.round <= n ? [isqrt(U * bigMax(0n, likes.get(i)![e]!.x))] : []));
        return sent.length ? sent.reduce(bigMax) : null;
      };
      let best: Likeness | null = null;
      earlier.forEach((e, place) => {
        if (e.account === i) return;
        const [one, mine] = [likes.get(i)![place]!, own(e.round)];
        if (mine !== null && mine + 3n * s < one.x && (best === null || better(one, best))) best = one;
      });
      const one = best as Likeness | null;
      if (one && (one.c === U || one.x >= near(one.k))) {
        found.add(i);
        state.note(i, { copyCosine: one.c, copySource: one.x, copyRepeat: one.k, copyRatio: r });
      }
    }
  }

  // Pairs within the round.
  const past = (x: number, y: number): bigint => {
    const sent = earlier.flatMap((f, e) => (f.account === y ? [likes.get(x)![e]!.x] : []));
    return sent.length ? sent.reduce(bigMax) : 0n;
  };
  for (const i of included) {
    for (const j of included.filter((one) => one < i)) {
      if (found.has(i) || found.has(j)) continue;
      const { c, k, x } = pair(i, j);
      if (!(c === U || (a >= 3 && x >= near(k)))) continue;
      let one = i;
      if (past(j, i) < bigMax(x, past(i, j))) {
        state.note(i, { copyOf: BigInt(j) });
      } else if (!earlier.some((e) => e.account === j)) {
        one = j;
        state.note(j, { copyOf: BigInt(i), copySource: past(j, i) });
      } else continue;
      found.add(one);
      state.note(one, { copyCosine: c, copyRepeat: k, copyRatio: a >= 3 ? r : 0n });
    }
  }
  state.exclude(found, "copy");
}

const others = (list: number[], i: number): number[] => list.filter((j) => j !== i);
const sum = (values: bigint[]): bigint => values.reduce((total, value) => total + value, 0n);

function uncorrelated(state: Weighting, ratio: bigint): void {
  const [list, gram] = [state.included, state.facts.gram];
  const a = BigInt(list.length);
  if (a < 3n) return;
  const r = list.map((i) => sum(others(list, i).map((j) => cosineOf(gram, i, j) ** 2n)));
  const m = median(r);
  const s = bigMin(ratio, bigMax((a - 1n) ** 2n, state.d / 32n));
  if (s * m * state.d < 1024n * (a - 1n) * U * U) return;
  const noise = 16n * (a - 1n) * U * U;
  const out = list.filter((_, place) => 1024n * at(r, place) < s * m && at(r, place) * state.d < noise);
  out.forEach((i) => state.note(i, { squaredCosineSum: at(r, list.indexOf(i)), squaredCosineRatio: s }));
  state.exclude(out, "uncorrelated");
}

function clip(state: Weighting): void {
  const [list, gram] = [state.included, state.facts.gram];
  if (!list.length) return;
  const m = median(list.map((i) => diagonal(gram, i)));
  for (const i of list) {
    const c = bigMin(U, isqrt((2n ** 32n * m) / diagonal(gram, i)));
    state.c[i] = c;
    if (c < U) state.note(i, { clipFactor: c });
  }
}

const about = (z: bigint, h: bigint): bigint => floorDiv(U * (z + h), 2n * h);

function byRoot(state: Weighting): void {
  const [list, root, gram] = [state.included, state.facts.root, state.facts.gram];
  if (!list.length || !root || root.square === 0n) return;
  const z = list.map((i) => cosine(root.products[i]!, diagonal(gram, i), root.square));
  const h = bigMax(0n, median(z));
  list.forEach((i, place) => state.note(i, { rootCosine: at(z, place), rootMedian: h }));
  if (h > 0n) state.scale(new Map(list.map((i, place) => [i, bigMax(2n ** 14n, bigMin(U, about(at(z, place), h)))])));
}

function shareByRoot(state: Weighting, s: bigint): void {
  const [list, root, gram] = [state.included, state.facts.root, state.facts.gram];
  if (!list.length || !root || root.square === 0n) return;
  const z = list.map((i) => bigMax(0n, cosine(root.products[i]!, diagonal(gram, i), root.square)));
  const total = sum(z);
  if (total === 0n) return;
  const w = sum(list.map((i) => state.v[i]!));
  const y = list.map((i, place) => (1024n - s) * state.v[i]! * total + s * w * at(z, place));
  state.set(new Map(list.map((i, place) => [i, at(y, place)])));
  list.forEach((i, place) => state.note(i, { rootShare: (U * s * w * at(z, place)) / at(y, place) }));
}

function byTrajectory(state: Weighting, gram: bigint[][]): void {
  const [list, path] = [state.included, state.facts.trajectory];
  const a = BigInt(list.length);
  if (!list.length || !path) return;
  const z = list.map((i) => cosine(path.products[i]!, diagonal(gram, i), path.square));
  const h = bigMax(0n, median(z));
  list.forEach((i, place) => state.note(i, { trajectoryCosine: at(z, place), trajectoryMedian: h }));
  if (h === 0n) return;
  const spread = median(z.map((one) => (one > h ? one - h : h - one)));
  const most = a === 1n ? h : bigMax(h, (4n * spread * (a + 3n)) / (a - 1n));
  const x = z.map((one) => bigMax(bigMin(U, about(one, h)), one > -most ? 2n ** 13n : 0n));
  list.forEach((i) => state.note(i, { trajectoryThreshold: most }));
  state.exclude(list.filter((_, place) => at(x, place) === 0n), "against-trajectory");
  state.scale(new Map(list.map((i, place) => [i, at(x, place)])));
}

function byLikeness(state: Weighting, gram: bigint[][]): void {
  const list = state.included;
  if (list.length < 3) return;
  const r = list.map((i) => sum(others(list, i).map((j) => bigMax(0n, cosineOf(gram, i, j)) ** 2n)));
  const m = median(r);
  if (m === 0n) return;
  const x = r.map((one) => (one <= m ? U : bigMax(1n, bigMin(U, isqrt((2n ** 32n * m) / one)))));
  state.scale(new Map(list.map((i, place) => [i, at(x, place)])));
  list.forEach((i, place) => {
    if (at(x, place) < U) state.note(i, { likeness: at(r, place), likenessMedian: m });
  });
}

function byMedianCosine(state: Weighting, gram: bigint[][]): void {
  const list = state.included;
  if (list.length < 3) return;
  const z = list.map((i) => {
    const sorted = others(list, i).map((j) => cosineOf(gram, i, j)).sort((x, y) => (x < y ? -1 : x > y ? 1 : 0));
    return at(sorted, sorted.length >> 1);
  });
  const h = bigMax(0n, median(z));
  list.forEach((i, place) => state.note(i, { medianCosine: at(z, place), medianCosineMedian: h }));
  if (h > 0n) state.scale(new Map(list.map((i, place) => [i, bigMax(2n ** 13n, bigMin(U, about(at(z, place), h)))])));
}

function byPresence(state: Weighting): void {
  const list = state.included;
  if (!list.length) return;
  const counts = list.map((i) => BigInt(at(state.facts.window.counts, i)));
  const most = counts.reduce(bigMax);
  state.scale(new Map(list.map((i, place) => [i, (U * at(counts, place)) / most])));
  list.forEach((i, place) => state.note(i, { windowRounds: at(counts, place), windowRoundsMost: most }));
}

export interface Pays {
  /** R of the updates. */
  parts: bigint[][]; confirmed: bigint[]; noise: bigint[]; shares: bigint[]; pays: bigint[];
}

/** Pays from the cosines of the k updates (first) and of the public vectors behind them (section 8.7). */
export function pays(table: bigint[][], weights: number[], dimensions: bigint): Pays {
  const k = weights.length;
  const count = table.length - k;
  const clamp = (x: bigint): bigint => bigMax(-2n * U, bigMin(2n * U, x));
  const l: bigint[][] = table.map(() => new Array<bigint>(count).fill(0n)); // L, and Y in the rows of the updates
  for (let c = 0; c < count; c++) {
    const own = l[k + c]!;
    const square = U * (table[k + c]![k + c]! + U / 1024n) - sum(own.slice(0, c).map((x) => x * x));
    if (square < (U * U) / 4096n) continue;
    const root = isqrt(square);
    l.forEach((row, place) => {
      if (place >= k && place <= k + c) return;
      const rest = U * table[place]![k + c]! - sum(row.slice(0, c).map((x, i) => x * own[i]!));
      row[c] = clamp(floorDiv(rest, root));
    });
    own[c] = root;
  }
  const parts = weights.map((_, i) =>
    weights.map((__, j) => {
      const shared = floorDiv(sum(l[i]!.map((x, c) => x * l[j]![c]!)), U);
      return bigMax(-U, bigMin(U, table[i]![j]! - shared));
    }),
  );
  const s = Math.max(0, k - 1 - Math.floor(k / 3));
  const sizes = parts.map((row, i) => bigMax(0n, row[i]!));
  const noise = sizes.map((size) => (U * size * BigInt(s)) / bigMax(1n, dimensions));
  const confirmed = parts.map((row, i) => {
    const e = row.flatMap((r, j) => (j === i ? [] : [(U * r * r) / bigMax(1n, parts[j]![j]!)]));
    e.sort((x, y) => (x < y ? -1 : x > y ? 1 : 0));
    return sum(e.slice(0, s)) - noise[i]!;
  });
  const kept = weights.flatMap((w, i) => (w > 0 ? [i] : []));
  const middle = (values: bigint[]): bigint => median(kept.map((i) => values[i]!));
  const part = (values: bigint[]): bigint[] => {
    const m = middle(values);
    return values.map((x) => (m <= 0n ? U : bigMax(0n, floorDiv(U * x, m))));
  };
  const h = middle(noise) / 2n;
  const news = part(confirmed.map((e) => e + h));
  const long = part(sizes);
  const shares = weights.map((w, i) => (w > 0 ? bigMin(news[i]!, long[i]!) : 0n));
  const byWeight = part(weights.map(BigInt));
  return { parts, confirmed, noise, shares, pays: shares.map((n, i) => bigMin(U, bigMin(2n * n, 2n * byWeight[i]!))) };
}

/** What each entry is credited (section 16). */
export function payments(reward: bigint, places: number, weights: number[], pay: number[], paid: boolean[]): bigint[] {
  const parts = pay.length ? pay : weights;
  const whole = pay.length ? U : BigInt(Math.max(...weights));
  return parts.map((one, i) => (paid[i] ? (reward * BigInt(one)) / (BigInt(places) * whole) : 0n));
}
