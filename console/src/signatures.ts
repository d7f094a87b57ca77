// SPDX-License-Identifier: Apache-2.0
// Who signed (docs/protocol section 6).
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { joined, keccak, toBig } from "./bytes.js";

const ORDER = secp256k1.Point.Fn.ORDER;

/** The account behind 65 bytes r || s || v of a digest; null if they are none of the form that is taken. */
export function signer(digest: Uint8Array, signature: Uint8Array): Uint8Array | null {
  const v = signature[64];
  if (signature.length !== 65 || (v !== 27 && v !== 28)) return null;
  const [r, s] = [toBig(signature.subarray(0, 32)), toBig(signature.subarray(32, 64))];
  if (r < 1n || r >= ORDER || s < 1n || s > ORDER / 2n) return null;
  try {
    const point = new secp256k1.Signature(r, s, v - 27).recoverPublicKey(digest);
    return keccak(point.toBytes(false).subarray(1)).subarray(12);
  } catch {
    return null;
  }
}

/** r || s || v of r || vs (ERC-2098). */
export function expanded(compact: Uint8Array): Uint8Array {
  const whole = joined(compact, Uint8Array.of(compact[32]! >> 7 ? 28 : 27));
  whole[32]! &= 127;
  return whole;
}
