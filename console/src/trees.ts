// SPDX-License-Identifier: Apache-2.0
// Trees (docs/protocol section 3).
import { at, big, joined, keccak, Refused } from "./bytes.js";

export const LEAF = 256;
const EMPTY = new Uint8Array(32);

export const depthOf = (leaves: number): number => {
  let depth = 0;
  while (2 ** depth < leaves) depth++;
  return depth;
};

/** Tags of the leaves of plain trees; that of a node is one more. */
export const TAG = { mean: 0x02, theta: 0x04, momentum: 0x06, entries: 0x14 } as const;

/** The root of a plain tree; leaf(i) gives the bytes of a leaf. */
export function plainRoot(tag: number, count: number, leaf: (i: number) => Uint8Array): Uint8Array {
  let nodes = Array.from({ length: count }, (_, i) => keccak(Uint8Array.of(tag), leaf(i)));
  for (let level = depthOf(count); level > 0; level--) {
    nodes = Array.from({ length: 2 ** (level - 1) }, (_, i) =>
      keccak(Uint8Array.of(tag + 1), nodes[2 * i] ?? EMPTY, nodes[2 * i + 1] ?? EMPTY),
    );
  }
  return at(nodes, 0);
}

export interface SumNode {
  hash: Uint8Array; abs: number; sq: number;
}

const NOTHING: SumNode = { hash: EMPTY, abs: 0, sq: 0 };
const packed = (node: SumNode): Uint8Array => joined(node.hash, big(node.abs, 8), big(node.sq, 8));

/** A leaf of an update; its bytes are q + 128. All sums of a model fit 53 bits: at most 2^32 coordinates of 2^14. */
export function sumLeaf(bytes: Uint8Array): SumNode {
  let [abs, sq] = [0, 0];
  for (const byte of bytes) {
    if (byte === 0) throw new Refused("update", "A leaf of an update has the byte 0.");
    const q = byte - 128;
    abs += Math.abs(q);
    sq += q * q;
  }
  return { hash: keccak(Uint8Array.of(0), bytes), abs, sq };
}

export const sumNode = (left: SumNode, right: SumNode): SumNode => ({
  hash: keccak(Uint8Array.of(1), packed(left), packed(right)),
  abs: left.abs + right.abs,
  sq: left.sq + right.sq,
});

/** The root of an update's tree, over bytes q + 128. */
export function sumRoot(bytes: Uint8Array): SumNode {
  const count = bytes.length / LEAF;
  let nodes = Array.from({ length: count }, (_, i) => sumLeaf(bytes.subarray(LEAF * i, LEAF * (i + 1))));
  for (let level = depthOf(count); level > 0; level--) {
    nodes = Array.from({ length: 2 ** (level - 1) }, (_, i) =>
      sumNode(nodes[2 * i] ?? NOTHING, nodes[2 * i + 1] ?? NOTHING),
    );
  }
  return at(nodes, 0);
}

/** 256 values of the state, as a leaf hashes them: int64, big-endian. */
export function stateLeaf(values: Float64Array, leaf: number): Uint8Array {
  const bytes = new Uint8Array(8 * LEAF);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < LEAF; i++) {
    const value = at(values, LEAF * leaf + i);
    const high = Math.floor(value / 2 ** 32);
    view.setInt32(8 * i, high);
    view.setUint32(8 * i + 4, value - high * 2 ** 32);
  }
  return bytes;
}

export function stateRoots(theta: Float64Array, momentum: Float64Array): { theta: Uint8Array; momentum: Uint8Array } {
  const leaves = theta.length / LEAF;
  return {
    theta: plainRoot(TAG.theta, leaves, (i) => stateLeaf(theta, i)),
    momentum: plainRoot(TAG.momentum, leaves, (i) => stateLeaf(momentum, i)),
  };
}

export const stateRoot = (manifestHash: Uint8Array, theta: Uint8Array, momentum: Uint8Array): Uint8Array =>
  keccak(Uint8Array.of(8), manifestHash, theta, momentum);

