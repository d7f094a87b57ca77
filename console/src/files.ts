// SPDX-License-Identifier: Apache-2.0
// Formats (docs/protocol sections 2, 4, 5, 6, 11 and appendix A).
import { Abi, address, at, bare, big, joined, keccak, Refused, toBig, unhex, utf8, word } from "./bytes.js";
import { Fields, parse, write, type Json } from "./json.js";
import { LEAF, depthOf } from "./trees.js";

export const STATE_BOUND = 2 ** 48 - 1;
const HASH = /^[0-9a-f]{64}$/;
const U64 = 2n ** 64n - 1n;

/** How coordinates lie in the leaves of a model. */
export class Layout {
  readonly first: number[] = [];
  readonly leaves: number;
  readonly depth: number;
  constructor(readonly elements: number[]) {
    let leaves = 0;
    for (const size of elements) {
      this.first.push(LEAF * leaves);
      leaves += Math.ceil(size / LEAF);
    }
    if (!elements.length || elements.length > 4096 || leaves > 2 ** 24 || elements.some((size) => size < 1)) {
      throw new Refused("manifest", "The model has no tensor, too many tensors, or too many leaves.");
    }
    this.leaves = leaves;
    this.depth = depthOf(leaves);
  }

  /** The tensor of each leaf. */
  get tensors(): Uint16Array {
    const found = new Uint16Array(this.leaves);
    this.elements.forEach((size, tensor) => {
      const leaf = at(this.first, tensor) / LEAF;
      found.fill(tensor, leaf, leaf + Math.ceil(size / LEAF));
    });
    return found;
  }

  /** One after the last coordinate of a tensor that is no padding. */
  end(tensor: number): number {
    return at(this.first, tensor) + at(this.elements, tensor);
  }

  /** Whether all padding of some values has one value. */
  padded(values: ArrayLike<number>, padding: number): boolean {
    return this.elements.every((size, tensor) => {
      for (let i = this.end(tensor); i < at(this.first, tensor) + LEAF * Math.ceil(size / LEAF); i++) {
        if (values[i] !== padding) return false;
      }
      return true;
    });
  }

  get hash(): Uint8Array {
    return keccak(joined(...this.elements.map((size) => big(size, 8))));
  }
}

const SIZES: Record<string, number> = {
  float16: 2, float32: 4, float64: 8, bool: 1, int8: 1, int16: 2, int32: 4, int64: 8, uint8: 1, uint16: 2, uint32: 4, uint64: 8,
}; // prettier-ignore

export class Manifest {
  readonly layout: Layout;
  readonly hash: Uint8Array;
  readonly task: string;
  /** Whether contributors train with differential privacy (section 2.2). */
  readonly private: boolean;

  constructor(readonly bytes: Uint8Array) {
    const fields = Fields.of("manifest", parse(bytes), "format", "task", "arrays", "training");
    fields.text("format", /^folkmoot\/manifest\/2$/);
    this.task = fields.text("task", /^[^]{1,64}$/u);
    const names = new Set<string>(["", "__metadata__"]);
    const elements: number[] = [];
    for (const array of fields.list("arrays")) {
      const held = ["data", "hash"].filter((name) => array !== null && typeof array === "object" && name in array);
      const entry = Fields.of("array", array, "name", "shape", "dtype", ...held);
      const name = entry.text("name", /^[^]*$/);
      if (names.has(name) || held.length > 1) throw new Refused("manifest", "A name or the values of an array are none.");
      names.add(name);
      const shape = entry.integers("shape", 1n, 2n ** 32n);
      if (shape.length > 32) throw new Refused("manifest", "An array has more than 32 dimensions.");
      const count = shape.reduce((product, size) => product * size, 1);
      const size = SIZES[entry.text("dtype", /^[a-z0-9]+$/)];
      const float = entry.text("dtype", /^/).startsWith("float");
      if (size === undefined || (!held.length && !float)) throw new Refused("manifest", "An array has another dtype.");
      if (held[0] === "hash") entry.text("hash", HASH);
      if (held[0] === "data" && base64Size(entry.text("data", /^/)) !== count * size) throw new Refused("manifest", "A carried array has another size.");
      if (!held.length) elements.push(count);
    }
    this.layout = new Layout(elements);
    const training = fields.get("training");
    if (training === null || typeof training !== "object" || Array.isArray(training)) throw new Refused("manifest", "The training settings are no object.");
    this.private = "privacy" in training;
    this.hash = keccak(Uint8Array.of(0x10), this.layout.hash, keccak(bytes));
  }
}

/** How many bytes base64 stands for; refuses what is not in its one form. */
function base64Size(text: string): number {
  let data = "";
  try {
    data = atob(text);
  } catch {
    throw new Refused("manifest", "An array's data are not base64.");
  }
  if (btoa(data) !== text) throw new Refused("manifest", "An array's data are not base64 in its one form.");
  return data.length;
}

export interface State {
  theta: Float64Array; momentum: Float64Array;
}

export function readState(bytes: Uint8Array, layout: Layout): State {
  const count = LEAF * layout.leaves;
  if (bytes.length !== 4 + 16 * count || bare(bytes.subarray(0, 4)) !== bare(utf8("FMS1"))) throw new Refused("state file", "The state file has another size or form.");
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const read = (from: number): Float64Array => {
    const values = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const value = view.getInt32(from + 8 * i + 4, true) * 2 ** 32 + view.getUint32(from + 8 * i, true);
      if (Math.abs(value) > STATE_BOUND) throw new Refused("state file", "A value of the state is out of its bounds.");
      values[i] = value;
    }
    if (!layout.padded(values, 0)) throw new Refused("state file", "The padding of the state is not 0.");
    return values;
  };
  return { theta: read(4), momentum: read(4 + 8 * count) };
}

export function writeState(state: State): Uint8Array {
  const count = state.theta.length;
  const bytes = new Uint8Array(4 + 16 * count);
  bytes.set(utf8("FMS1"));
  const view = new DataView(bytes.buffer);
  [state.theta, state.momentum].forEach((values, part) => {
    for (let i = 0; i < count; i++) {
      const value = at(values, i);
      const high = Math.floor(value / 2 ** 32);
      view.setUint32(4 + 8 * (part * count + i), value - high * 2 ** 32, true);
      view.setInt32(8 + 8 * (part * count + i), high, true);
    }
  });
  return bytes;
}

export const largest = (width: number): number => 2 ** (width - 1) - 1;

/** The bytes q + 128 of all coordinates of a packed file. Whether they are in bounds is for the caller. */
export function unpack(file: Uint8Array, width: number): Uint8Array {
  const each = 8 / width;
  const out = new Uint8Array(file.length * each);
  const half = 2 ** (width - 1);
  for (let i = 0; i < out.length; i++) {
    const shift = 8 - width * ((i % each) + 1);
    out[i] = ((at(file, Math.floor(i / each)) >> shift) & (2 ** width - 1)) - half + 128;
  }
  return out;
}

export function pack(values: Uint8Array, width: number): Uint8Array {
  const each = 8 / width;
  const out = new Uint8Array(values.length / each);
  const half = 2 ** (width - 1);
  for (let i = 0; i < values.length; i++) {
    const place = Math.floor(i / each);
    out[place] = at(out, place) | ((at(values, i) - 128 + half) << (8 - width * ((i % each) + 1)));
  }
  return out;
}

export interface Header {
  round: bigint; manifestHash: Uint8Array; baseStateRoot: Uint8Array; policyId: number; width: number;
  seed: Uint8Array; exponents: number[];
}

export function writeHeader(header: Header): Uint8Array {
  const exponents = Uint8Array.from(header.exponents, (e) => e & 255);
  const tail = new Uint8Array(Math.ceil(exponents.length / 32) * 32);
  tail.set(exponents);
  return joined(
    word(header.round), header.manifestHash, header.baseStateRoot, word(header.policyId), word(header.width), header.seed,
    word(7 * 32), word(exponents.length), tail,
  ); // prettier-ignore
}

export function readHeader(bytes: Uint8Array): Header {
  const abi = new Abi(bytes);
  const header = {
    round: abi.uint(0, 64),
    manifestHash: abi.word(1),
    baseStateRoot: abi.word(2),
    policyId: abi.number(3, 32),
    width: abi.number(4, 8),
    seed: abi.word(5),
    exponents: Array.from(abi.bytes(6), (byte) => (byte << 24) >> 24),
  };
  if (bare(writeHeader(header)) !== bare(bytes) || header.exponents.some((e) => e < -40 || e > 4)) {
    throw new Refused("header", "The round header is not in its one form.");
  }
  return header;
}

export const seedOf = (chainId: bigint, ledger: Uint8Array, round: bigint, baseStateRoot: Uint8Array): Uint8Array =>
  keccak(Uint8Array.of(0x11), word(chainId), ledger, big(round, 8), baseStateRoot);

export interface Commitment {
  contributor: Uint8Array; round: bigint; baseStateRoot: Uint8Array; updateRoot: Uint8Array;
  sumSquares: bigint; memoryHash: Uint8Array; bundleHash: Uint8Array;
}

const COMMITMENT = keccak(
  utf8(
    "Commitment(address contributor,uint64 round,bytes32 baseStateRoot,bytes32 updateRoot,uint64 sumSquares,bytes32 memoryHash,bytes32 bundleHash)",
  ),
);
const DOMAIN = keccak(utf8("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"));

export const commitmentHash = (one: Commitment): Uint8Array =>
  keccak(
    COMMITMENT, word(one.contributor), word(one.round), one.baseStateRoot, one.updateRoot, word(one.sumSquares),
    one.memoryHash, one.bundleHash,
  ); // prettier-ignore

/** What an account signs of a struct hash. */
export const digestOf = (chainId: bigint, ledger: Uint8Array, struct: Uint8Array): Uint8Array =>
  keccak(
    utf8("\x19\x01"),
    keccak(DOMAIN, keccak(utf8("Folkmoot")), keccak(utf8("2")), word(chainId), word(ledger)),
    struct,
  );

export const entriesHash = (entries: Commitment[]): Uint8Array =>
  entries.reduce<Uint8Array>((hash, one) => keccak(hash, word(one.contributor), commitmentHash(one)), new Uint8Array(32));

export const entryLeaf = (one: Commitment, weight: number): Uint8Array =>
  joined(one.contributor, commitmentHash(one), big(weight, 4));

export interface Anchor {
  weights: number[]; pays: number[]; delivered: bigint; meanRoot: Uint8Array; stateRoot: Uint8Array;
  gramRoot: Uint8Array; verdictHash: Uint8Array; artifactsHash: Uint8Array; entriesRoot: Uint8Array;
}

const words = (values: number[]): Uint8Array => keccak(joined(new Uint8Array(0), ...values.map(word)));

export const anchorHash = (one: Anchor): Uint8Array =>
  keccak(
    words(one.weights), words(one.pays), word(one.delivered), one.meanRoot, one.stateRoot, one.gramRoot,
    one.verdictHash, one.artifactsHash, one.entriesRoot,
  ); // prettier-ignore

export function readAnchor(abi: Abi): Anchor {
  const [meanRoot, stateRoot, gramRoot, verdictHash, artifactsHash, entriesRoot] = [3, 4, 5, 6, 7, 8].map((i) => abi.word(i)) as [
    Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array,
  ]; // prettier-ignore
  return {
    weights: abi.numbers(0), pays: abi.numbers(1), delivered: abi.uint(2),
    meanRoot, stateRoot, gramRoot, verdictHash, artifactsHash, entriesRoot,
  }; // prettier-ignore
}

export interface Policy {
  id: number; rule: string; parameters: number[]; maxSumSquares: bigint; minSumSquares: bigint;
  maxContributors: number; width: number; meanScale: number; rate: number; momentum: number;
  noise1024: number; reward: bigint;
}

/** What `policies(id)` returns: one tuple with the fields of A.2. */
export function readPolicy(id: number, data: Uint8Array): Policy {
  const abi = new Abi(data).inner(0);
  const name = abi.word(0);
  return {
    id,
    rule: new TextDecoder().decode(name.subarray(0, name.indexOf(0) < 0 ? 32 : name.indexOf(0))),
    parameters: abi.numbers(1),
    maxSumSquares: abi.uint(2, 64),
    maxContributors: abi.number(4, 16),
    width: abi.number(5, 8),
    meanScale: abi.number(6, 8),
    rate: abi.number(7, 16),
    momentum: abi.number(8, 16),
    minSumSquares: abi.uint(13, 64),
    noise1024: abi.number(14, 32),
    reward: abi.uint(20, 128),
  };
}

export interface Artifacts {
  round: bigint; header: Uint8Array; manifest: string; baseState: string; updates: (string | null)[];
  mean: string; state: string; verdicts: string; nextExponents: number[];
}

export function readArtifacts(bytes: Uint8Array): Artifacts {
  const names = ["format", "round", "header", "manifest", "baseState", "updates", "mean", "state", "verdicts", "nextExponents"];
  const fields = Fields.of("artifacts file", parse(bytes), ...names);
  fields.text("format", /^folkmoot\/artifacts\/2$/);
  return {
    round: fields.integer("round", 0n, U64),
    header: unhex(fields.text("header", /^([0-9a-f]{2})*$/)),
    manifest: fields.text("manifest", HASH),
    baseState: fields.text("baseState", HASH),
    updates: fields.list("updates").map((name) => {
      if (name !== null && (typeof name !== "string" || !HASH.test(name))) throw new Refused("artifacts file", "The name of an update is none.");
      return name;
    }),
    mean: fields.text("mean", HASH),
    state: fields.text("state", HASH),
    verdicts: fields.text("verdicts", HASH),
    nextExponents: fields.integers("nextExponents", -40n, 4n),
  };
}

const integers = (values: number[]): Json[] => values.map((value) => BigInt(value));

export const writeArtifacts = (one: Artifacts): Uint8Array =>
  utf8(
    write({
      format: "folkmoot/artifacts/2",
      ...one,
      header: bare(one.header),
      nextExponents: integers(one.nextExponents),
    }),
  );

export interface Verdict {
  contributor: Uint8Array; weight: number; pay: number | null; reason: string; numbers: Map<string, bigint>;
}

export const writeVerdicts = (round: bigint, rule: string, parameters: number[], verdicts: Verdict[]): Uint8Array =>
  utf8(
    write({
      format: "folkmoot/verdicts/2",
      round,
      rule,
      parameters: integers(parameters),
      verdicts: verdicts.map((one, index) => ({
        index: BigInt(index),
        contributor: address(one.contributor),
        weight: BigInt(one.weight),
        pay: one.pay === null ? null : BigInt(one.pay),
        reason: one.reason,
        numbers: Object.fromEntries([...one.numbers].map(([name, value]) => [name, String(value)])),
      })),
    }),
  );

export function readGenesis(bytes: Uint8Array): { manifest: string; state: string; exponents: number[] } {
  const fields = Fields.of("genesis file", parse(bytes), "format", "manifest", "state", "exponents");
  fields.text("format", /^folkmoot\/genesis\/1$/);
  return {
    manifest: fields.text("manifest", HASH),
    state: fields.text("state", HASH),
    exponents: fields.integers("exponents", -40n, 4n),
  };
}

/** The first 92 bytes of each entry of a batch, as an event lists them, or the 156 of the call. */
export function readEntries(data: Uint8Array, size: 92 | 156): (Pick<Commitment, "contributor" | "updateRoot" | "sumSquares" | "memoryHash"> & { rest: Uint8Array })[] {
  if (data.length % size) throw new Refused("entries", "A list of entries has another size.");
  return Array.from({ length: data.length / size }, (_, i) => {
    const entry = data.subarray(size * i, size * (i + 1));
    return {
      contributor: entry.subarray(0, 20),
      updateRoot: entry.subarray(20, 52),
      sumSquares: toBig(entry.subarray(52, 60)),
      memoryHash: entry.subarray(60, 92),
      rest: entry.subarray(92),
    };
  });
}

