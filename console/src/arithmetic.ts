// SPDX-License-Identifier: Apache-2.0
// Aggregate, mean, outer step and next exponents (docs/protocol sections 9 and 10).
import { at, median, Refused } from "./bytes.js";
import { largest, STATE_BOUND, type Layout, type State } from "./files.js";
import { LEAF } from "./trees.js";
import type { Values } from "./products.js";

const MOST = 16843009;

export function weightSum(weights: number[]): number {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  if (sum < 1 || sum > MOST || weights.some((weight) => weight < 0)) throw new Refused("weights", "The sum of the weights is out of its bounds.");
  return sum;
}

/** The aggregate A of some coordinates, from the updates with a weight above 0. At most 127 * 16843009. */
export function aggregate(clamped: boolean, updates: Values[], weights: number[], from: number, to: number): Float64Array {
  const out = new Float64Array(to - from);
  const kept = weights.flatMap((w, i) => (w > 0 ? [{ w, values: at(updates, i) }] : []));
  const sizes = new Array<number>(kept.length);
  for (let c = from; c < to; c++) {
    let bound = 127;
    if (clamped) {
      for (let i = 0; i < kept.length; i++) sizes[i] = Math.abs(kept[i]!.values[c]!);
      sizes.sort((x, y) => x - y);
      bound = Math.max(1, 8 * sizes[(sizes.length - 1) >> 1]!);
    }
    let sum = 0;
    for (const { w, values } of kept) sum += w * Math.max(-bound, Math.min(bound, values[c]!));
    out[c - from] = sum;
  }
  return out;
}

/** The mean B of an aggregate with the weights' sum. */
export const meanOf = (a: number, sum: number, scale: number): number => Math.floor((2 * scale * a + sum) / (2 * sum));

/** The smallest width whose integers hold S Q. */
export const meanWidth = (width: number, scale: number): number => {
  const found = [2, 4, 8].find((one) => largest(one) >= scale * largest(width));
  if (found === undefined || scale < 1) throw new Refused("policy", "The mean scale of the policy is none for its width.");
  return found;
};

const clamp = (x: number): number => Math.max(-STATE_BOUND, Math.min(STATE_BOUND, x));

/** floor(x k / 1024), exact: in numbers where the product fits 53 bits. */
function scaled(x: number, k: number): number {
  const product = x * k;
  return Math.abs(product) <= Number.MAX_SAFE_INTEGER ? Math.floor(product / 1024) : Number((BigInt(x) * BigInt(k)) >> 10n);
}

export interface Step {
  scale: number; exponent: number; rate: number; momentum: number;
}

/** One coordinate of the outer step, exact: sums are below 2^53 where rate <= 4096 and momentum <= 1024 (A.2). */
export function outerStep(theta: number, m: number, mean: number, { scale, exponent, rate, momentum }: Step): [number, number] {
  if (scale < 1 || scale > 127 || exponent < -40 || exponent > 4 || rate >>> 16 || momentum >>> 16) {
    throw new Refused("policy", "A number of the outer step is out of its range.");
  }
  const s = 26 + exponent;
  const [n, d] = s >= 0 ? [mean * 2 ** s, scale] : [mean, scale * 2 ** -s];
  const g = Math.floor((2 * n + d) / (2 * d));
  const next = clamp(scaled(m, momentum) + g);
  return [clamp(theta - scaled(g + scaled(next, momentum), rate)), next];
}

/** The state after a round with this mean (B of all coordinates). */
export function nextState(layout: Layout, base: State, mean: Int8Array, policy: Omit<Step, "exponent">, exponents: number[]): State {
  if (policy.rate > 4096 || policy.momentum > 1024) throw new Refused("policy", "The policy's rate or momentum is out of its range.");
  const [theta, momentum] = [new Float64Array(mean.length), new Float64Array(mean.length)];
  const tensors = layout.tensors;
  for (let leaf = 0; leaf < layout.leaves; leaf++) {
    const step = { ...policy, exponent: at(exponents, at(tensors, leaf)) };
    for (let i = LEAF * leaf; i < LEAF * (leaf + 1); i++) {
      [theta[i], momentum[i]] = outerStep(base.theta[i]!, base.momentum[i]!, mean[i]!, step);
    }
  }
  return { theta, momentum };
}

/** A, S, M and N of an update in a tensor. */
export interface Sums {
  a: number; s: number; m: number; n: number;
}

export function sumsOf(layout: Layout, values: Values, tensor: number): Sums {
  const sums = { a: 0, s: 0, m: 0, n: 0 };
  const end = layout.end(tensor);
  for (let block = at(layout.first, tensor); block < end; block += 8) {
    const last = Math.min(block + 8, end);
    let some = false;
    for (let i = block; i < last; i++) {
      const size = Math.abs(values[i]!);
      if (size) some = true;
      sums.a += size;
      sums.s += size * size;
      if (size > sums.m) sums.m = size;
    }
    if (some) sums.n += last - block;
  }
  return sums;
}

export function vote({ a, s, m, n }: Sums, width: number): number {
  if (a === 0) return 0;
  const [A, S, M, N] = [BigInt(a), BigInt(s), BigInt(m), BigInt(n)];
  const saturated = width === 2 ? 8n * A >= 7n * N : m >= (width === 8 ? 64 : 4) && 8n * S >= 7n * M * A;
  if (saturated) return 4;
  const [left, right] = width === 2 ? [2n * (4n * A) ** 2n, N * N] : [2n * S * S, (BigInt(width === 8 ? 16 : 3) * A) ** 2n];
  for (let d = 3; d >= -4; d--) {
    if (d >= 0 ? left >= right * 4n ** BigInt(d) : left * 4n ** BigInt(-d) >= right) return d;
  }
  return -4;
}

/** The next exponent of a tensor, from the entries with a weight above 0. */
export function nextExponent(e: number, entries: Sums[], width: number): number {
  if (entries.every((one) => one.a === 0)) return e > -12 ? e - 1 : e;
  return Math.max(-40, Math.min(4, e + median(entries.map((one) => vote(one, width)))));
}
