// SPDX-License-Identifier: Apache-2.0
// Products of updates and references (docs/protocol sections 5, 8 and 8.3). Sums over coordinates are numbers: their
// bounds are below 2^53 (at most 2^32 coordinates, integers of at most 1016 = 8 * 127). Sums over tensors are bigint.
import { at, bigMin, bigMax, floorDiv, isqrt, keccak, big, median, toBig } from "./bytes.js";
import { LEAF } from "./trees.js";
import type { Layout } from "./files.js";

export const U = 65536n;

/** Integers of all coordinates, padding included. */
export type Values = Int8Array | Int16Array | Int32Array;

/** Sums of products by tensor, over some leaves (all if null). */
function dots(layout: Layout, a: Values, b: Values, leaves: number[] | null): number[] {
  const tensors = layout.tensors;
  const sums = layout.elements.map(() => 0);
  const add = (leaf: number): void => {
    let sum = 0;
    for (let i = LEAF * leaf; i < LEAF * (leaf + 1); i++) sum += a[i]! * b[i]!;
    const tensor = at(tensors, leaf);
    sums[tensor] = at(sums, tensor) + sum;
  };
  if (leaves) leaves.forEach(add);
  else for (let leaf = 0; leaf < layout.leaves; leaf++) add(leaf);
  return sums;
}

/** The sum over tensors of 4^(e - e_min) times the sum of each. */
export function weighted(sums: (number | bigint)[], exponents: number[]): bigint {
  const least = Math.min(...exponents);
  return sums.reduce<bigint>((total, sum, b) => total + (BigInt(sum) << BigInt(2 * (at(exponents, b) - least))), 0n);
}

export const product = (layout: Layout, exponents: number[], a: Values, b: Values, leaves: number[] | null = null): bigint =>
  weighted(dots(layout, a, b, leaves), exponents);

/** All products with all. */
export function matrix(layout: Layout, exponents: number[], vectors: Values[], leaves: number[] | null = null): bigint[][] {
  const found: bigint[][] = vectors.map(() => []);
  vectors.forEach((a, i) => {
    for (let j = 0; j <= i; j++) {
      const value = product(layout, exponents, a, at(vectors, j), leaves);
      found[i]![j] = value;
      found[j]![i] = value;
    }
  });
  return found;
}

export function cosine(p: bigint, s: bigint, t: bigint): bigint {
  if (s <= 0n || t <= 0n) return 0n;
  const size = bigMin(U, isqrt((p * p * 2n ** 32n) / (s * t)));
  return p < 0n ? -size : p > 0n ? size : 0n;
}

/** Integers in a smaller unit, clamped; the same array where nothing changes. */
function refined(layout: Layout, values: Values, shifts: number[], bound: number): Values {
  if (shifts.every((shift) => shift === 0)) return values;
  const out = new Int16Array(values.length);
  const tensors = layout.tensors;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]! * 2 ** at(shifts, at(tensors, i >> 8));
    out[i] = Math.max(-bound, Math.min(bound, value));
  }
  return out;
}

export interface Reference {
  values: Values; exponents: number[];
}

export interface Compared {
  products: bigint[];
  /** Of the reference. */
  square: bigint;
  /** Of the updates, in the unit and on the leaves of the comparison. */
  squares: bigint[];
}

export function compare(layout: Layout, exponents: number[], updates: Values[], other: Reference, bound: number, leaves: number[] | null): Compared {
  const finer = exponents.map((e, b) => Math.min(e, at(other.exponents, b)));
  const shift = (own: number[]): number[] => own.map((e, b) => e - at(finer, b));
  const theirs = refined(layout, other.values, shift(other.exponents), bound);
  const ours = updates.map((update) => refined(layout, update, shift(exponents), bound));
  return {
    products: ours.map((one) => product(layout, finer, one, theirs, leaves)),
    square: product(layout, finer, theirs, theirs, leaves),
    squares: ours.map((one) => product(layout, finer, one, one, leaves)),
  };
}

/** One integer of the trajectory. */
export function moved(before: number, base: number, exponent: number, width: number): number {
  const x = before - base;
  const s = 26 + exponent - (8 - width);
  const q = s >= 0 ? Math.floor((2 * x + 2 ** s) / 2 ** (s + 1)) : x * 2 ** -s;
  return Math.max(-127, Math.min(127, q));
}

export function trajectory(layout: Layout, exponents: number[], width: number, before: Float64Array, base: Float64Array): Values {
  const tensors = layout.tensors;
  const out = new Int8Array(base.length);
  for (let i = 0; i < out.length; i++) {
    out[i] = moved(at(before, i), at(base, i), at(exponents, at(tensors, i >> 8)), width);
  }
  return out;
}

/** The leaves that are compared with earlier rounds, ascending. */
export function sample(leaves: number, entriesHash: Uint8Array): number[] {
  const s = Math.ceil(leaves / 4096);
  const found: number[] = [];
  for (let k = 0; k < Math.ceil(leaves / s); k++) {
    const leaf = k * s + (s === 1 ? 0 : Number(toBig(keccak(entriesHash, big(k, 4))) % BigInt(s)));
    if (leaf < leaves) found.push(leaf);
  }
  return found;
}

/** The first of some leaves, and then each one after as many as leave at most `most`. */
export const thinned = (leaves: number[], most: number): number[] => {
  const stride = Math.ceil(leaves.length / most);
  return leaves.filter((_, i) => i % stride === 0);
};

/** A product of two uint64, mod 2^64, as halves of 32 bits. */
function times(h: number, l: number, mh: number, ml: number): [number, number] {
  const [l0, l1, m0, m1] = [l & 0xffff, l >>> 16, ml & 0xffff, ml >>> 16];
  const low = l0 * m0;
  const middle = l1 * m0 + Math.floor(low / 65536);
  const other = l0 * m1 + (middle % 65536);
  const carry = l1 * m1 + Math.floor(middle / 65536) + Math.floor(other / 65536);
  return [(carry + Math.imul(h, ml) + Math.imul(l, mh)) >>> 0, Math.imul(l, ml) >>> 0];
}

/** The highest 32 bits of mix(key + (j + 1) * 0x9E3779B97F4A7C15) of section 5; the key comes in halves. */
export function mixed(keyHigh: number, keyLow: number, j: number): number {
  let [h, l] = times(Math.floor((j + 1) / 2 ** 32), (j + 1) >>> 0, 0x9e3779b9, 0x7f4a7c15);
  h = (h + keyHigh + Math.floor((l + keyLow) / 2 ** 32)) >>> 0;
  l = (l + keyLow) >>> 0;
  [h, l] = times((h ^ (h >>> 30)) >>> 0, (l ^ ((l >>> 30) | (h << 2))) >>> 0, 0xbf58476d, 0x1ce4e5b9);
  [h, l] = times((h ^ (h >>> 27)) >>> 0, (l ^ ((l >>> 27) | (h << 5))) >>> 0, 0x94d049bb, 0x133111eb);
  return (h ^ (h >>> 31)) >>> 0;
}

export const roundingKey = (seed: Uint8Array, contributor: Uint8Array): bigint =>
  toBig(keccak(seed, contributor).subarray(0, 8));

/** The repeat cosines of the updates of one round, with the keys of their accounts. */
export function repeatCosines(layout: Layout, exponents: number[], updates: Values[], keys: bigint[], compared: number[]): bigint[] {
  const leaves = thinned(compared, 1024);
  const tensors = layout.tensors;
  const raw = updates.map((update, i) => {
    const key = at(keys, i);
    const [high, low] = [Number(key >> 32n), Number(key & 0xffffffffn)];
    const squares = layout.elements.map(() => 0); // of v: below 2^32 each, on at most 2^18 coordinates
    const sizes = layout.elements.map(() => 0);
    const counts = layout.elements.map(() => 0);
    for (const leaf of leaves) {
      const tensor = at(tensors, leaf);
      const end = Math.min(LEAF * (leaf + 1), layout.end(tensor));
      for (let j = LEAF * leaf; j < end; j++) {
        const q = update[j]!;
        const v = 512 * q + 255 - 2 * (mixed(high, low, j) >>> 24);
        squares[tensor]! += v * v;
        sizes[tensor]! += q * q;
        counts[tensor]! += 1;
      }
    }
    const l = weighted(squares.map((sum, b) => 12n * BigInt(sum) - 2n ** 18n * BigInt(at(counts, b))), exponents);
    const s = weighted(sizes.map((sum) => 12n * 2n ** 18n * BigInt(sum)), exponents);
    return { x: s === 0n ? U : bigMax(0n, bigMin(U, floorDiv(U * l, s))), counts: s > 0n };
  });
  const known = raw.filter((one) => one.counts).map((one) => one.x);
  const m = known.length ? median(known) : U;
  return raw.map(({ x }) => [m - m / 4n, U / 16n, bigMin(x, U - (U - m) / 2n)].reduce(bigMax));
}

export interface Sent {
  account: string; values: Values; sumSquares: bigint;
}

/** The window sums of the accounts of the last round; the rounds are what was weighed, the oldest first. */
export function windowSums(rounds: Sent[][], size: number): { sums: Values[]; counts: number[] } {
  const last = at(rounds, rounds.length - 1);
  const sums = last.map(() => new Int16Array(size));
  const counts = last.map(() => 0);
  for (const sent of rounds) {
    const above = sent.filter((one) => one.sumSquares > 0n);
    if (!above.length) continue;
    const m = median(above.map((one) => one.sumSquares));
    for (const one of above) {
      const place = last.findIndex((other) => other.account === one.account);
      const sum = sums[place];
      if (!sum) continue;
      counts[place]! += 1;
      const c = Number(bigMin(U, isqrt((2n ** 32n * m) / one.sumSquares)));
      for (let i = 0; i < size; i++) sum[i]! += Math.floor((2 * c * one.values[i]! + 65536) / 131072);
    }
  }
  return { sums, counts };
}

/** All products of updates and public vectors, whose units may differ (section 8.7). */
export function publicProducts(layout: Layout, vectors: Reference[], leaves: number[] | null): bigint[][] {
  const least = layout.elements.map((_, b) => Math.min(...vectors.map((one) => at(one.exponents, b))));
  const rows = vectors.map((one) =>
    refined(layout, one.values, least.map((m, b) => Math.min(8, at(one.exponents, b) - m)), 2 ** 15),
  ); // 127 * 2^8 is below 2^15
  return matrix(layout, least, rows, leaves);
}

export const cosines = (table: bigint[][]): bigint[][] =>
  table.map((row, i) => row.map((p, j) => cosine(p, table[i]![i]!, table[j]![j]!)));
