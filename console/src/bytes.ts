// SPDX-License-Identifier: Apache-2.0
// Bytes, hashes, words of the ABI, and what a check says when something does not hold.
import { keccak_256 } from "@noble/hashes/sha3.js";
import { sha256 as sha2 } from "@noble/hashes/sha2.js";

/** The input is not what the protocol allows. `where` names the part, in words. */
export class Refused extends Error {
  constructor(
    readonly where: string,
    message: string,
    readonly expected = "",
    readonly found = "",
  ) {
    super(message);
  }
}

/** What would be needed is not there, or this program does not compute it. */
export class Unknown extends Error {}

export const keccak = (...parts: Uint8Array[]): Uint8Array => keccak_256(joined(...parts));
export const sha256Hex = (data: Uint8Array): string => bare(sha2(data));

/** The element at a place that is known to exist. */
export function at<T>(list: ArrayLike<T>, place: number): T {
  const value = list[place];
  if (value === undefined) throw new RangeError(`there is no element ${place}`);
  return value;
}

export function joined(...parts: Uint8Array[]): Uint8Array {
  if (parts.length === 1) return at(parts, 0);
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

const DIGITS = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, "0"));

/** Lower-case hex without 0x. */
export function bare(data: Uint8Array): string {
  let text = "";
  for (const value of data) text += at(DIGITS, value);
  return text;
}

export const hex = (data: Uint8Array): string => "0x" + bare(data);

export function unhex(text: string, size = -1): Uint8Array {
  const digits = text.startsWith("0x") ? text.slice(2) : text;
  if (!/^([0-9a-fA-F]{2})*$/.test(digits) || (size >= 0 && digits.length !== 2 * size)) {
    throw new Refused("hex", "A value is not hex of its size.", size < 0 ? "hex" : `${size} bytes`, text.slice(0, 80));
  }
  const data = new Uint8Array(digits.length / 2);
  for (let i = 0; i < data.length; i++) data[i] = parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  return data;
}

export function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A big-endian unsigned integer of some bytes; negative values in two's complement. */
export function big(value: bigint | number, size: number): Uint8Array {
  let rest = BigInt.asUintN(8 * size, BigInt(value));
  const data = new Uint8Array(size);
  for (let i = size - 1; i >= 0; i--, rest >>= 8n) data[i] = Number(rest & 255n);
  return data;
}

export const toBig = (data: Uint8Array): bigint => (data.length ? BigInt(hex(data)) : 0n);

/** A word of 32 bytes: an integer, or bytes on its right side as an address has them. */
export const word = (value: bigint | number | Uint8Array): Uint8Array =>
  value instanceof Uint8Array ? joined(new Uint8Array(32 - value.length), value) : big(value, 32);

/** An address with its checksum (EIP-55). */
export function address(data: Uint8Array): string {
  const digits = bare(data);
  const sum = bare(keccak(utf8(digits)));
  return "0x" + [...digits].map((digit, i) => (parseInt(at(sum, i), 16) >= 8 ? digit.toUpperCase() : digit)).join("");
}

/** Reads ABI data, strictly: every word where it must be, in its range. */
export class Abi {
  constructor(
    readonly data: Uint8Array,
    private readonly base = 0,
  ) {}

  word(place: number): Uint8Array {
    const from = this.base + 32 * place;
    if (from + 32 > this.data.length) throw new Refused("abi", "ABI data end too early.");
    return this.data.subarray(from, from + 32);
  }

  uint(place: number, bits = 256): bigint {
    const value = toBig(this.word(place));
    if (value >> BigInt(bits)) throw new Refused("abi", `A value does not fit ${bits} bits.`);
    return value;
  }

  number(place: number, bits = 32): number {
    return Number(this.uint(place, bits));
  }

  address(place: number): Uint8Array {
    this.uint(place, 160);
    return this.word(place).subarray(12);
  }

  /** What a word with an offset points at. */
  inner(place: number): Abi {
    return new Abi(this.data, this.base + Number(this.uint(place, 32)));
  }

  bytes(place: number): Uint8Array {
    const inner = this.inner(place);
    const size = inner.number(0);
    const from = inner.base + 32;
    if (from + size > this.data.length) throw new Refused("abi", "ABI data end too early.");
    return this.data.subarray(from, from + size);
  }

  numbers(place: number): number[] {
    const inner = this.inner(place);
    const count = inner.number(0, 16);
    return Array.from({ length: count }, (_, i) => inner.number(i + 1));
  }
}

export const bigMin = (a: bigint, b: bigint): bigint => (a < b ? a : b);
export const bigMax = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** The quotient, rounded towards minus infinity. */
export function floorDiv(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b !== 0n && a < 0n !== b < 0n ? quotient - 1n : quotient;
}

/** The floor of the square root. */
export function isqrt(value: bigint): bigint {
  if (value < 2n) return value;
  let root = 1n << BigInt((value.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** The lower median. */
export function median<T extends bigint | number>(values: T[]): T {
  return at(
    [...values].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)),
    (values.length - 1) >> 1,
  );
}
