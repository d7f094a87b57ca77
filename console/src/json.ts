// SPDX-License-Identifier: Apache-2.0
// Canonical JSON (docs/protocol section 2.1). Integers are bigint, numbers with a point or an exponent are number.
import { at, Refused, same, utf8 } from "./bytes.js";

export type Json = null | boolean | bigint | number | string | Json[] | { [key: string]: Json };

const bad = (message: string): never => {
  throw new Refused("json", `The JSON is not canonical: ${message}.`);
};

/** Parse canonical JSON, and refuse any other. */
export function parse(data: Uint8Array): Json {
  let text = "";
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    bad("it is not UTF-8");
  }
  const reader = new Reader(text);
  const value = reader.value(0);
  if (!reader.done || !same(utf8(write(value)), data)) bad("it has another form");
  return value;
}

class Reader {
  private place = 0;
  constructor(private readonly text: string) {}

  get done(): boolean {
    return this.place === this.text.length;
  }

  private take(wanted: RegExp): string {
    wanted.lastIndex = this.place;
    const found = wanted.exec(this.text)?.[0] ?? bad(`unexpected character at ${this.place}`);
    this.place += found.length;
    return found;
  }

  value(level: number): Json {
    const first = this.text[this.place];
    if (first === "{" || first === "[") {
      if (level >= 64) bad("more than 64 levels");
      this.place++;
      return first === "[" ? this.list(level + 1) : this.object(level + 1);
    }
    if (first === '"') return this.string();
    if (first === "t" || first === "f" || first === "n") {
      const word = this.take(/true|false|null/y);
      return word === "null" ? null : word === "true";
    }
    const digits = this.take(/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y);
    if (/[.eE]/.test(digits)) {
      const value = Number(digits);
      return Number.isFinite(value) ? value : bad("a number is too large");
    }
    if (digits === "-0" || digits.replace("-", "").length > 4300) bad("an integer has another form");
    return BigInt(digits);
  }

  private string(): string {
    const raw = this.take(/"([^"\\\u0000-\u001f]|\\(["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y);
    return JSON.parse(raw) as string;
  }

  private list(level: number): Json[] {
    const values: Json[] = [];
    if (this.text[this.place] === "]") return this.place++, values;
    for (;;) {
      values.push(this.value(level));
      if (this.take(/[\],]/y) === "]") return values;
    }
  }

  private object(level: number): { [key: string]: Json } {
    const found: { [key: string]: Json } = Object.create(null) as { [key: string]: Json };
    if (this.text[this.place] === "}") return this.place++, found;
    for (;;) {
      const key = this.string();
      if (key in found) bad("a key appears twice");
      this.take(/:/y);
      found[key] = this.value(level);
      if (this.take(/[},]/y) === "}") return found;
    }
  }
}

const byPoint = (a: string, b: string): number => {
  const [x, y] = [[...a], [...b]];
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    const difference = at(x, i).codePointAt(0)! - at(y, i).codePointAt(0)!;
    if (difference) return difference;
  }
  return x.length - y.length;
};

/** Write a value in canonical form. */
export function write(value: Json): string {
  if (value === null || typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value === "number") return float(value);
  if (typeof value === "string") return quoted(value);
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  const keys = Object.keys(value).sort(byPoint);
  return `{${keys.map((key) => `${quoted(key)}:${write(value[key] as Json)}`).join(",")}}`;
}

function quoted(text: string): string {
  if (/\p{Surrogate}/u.test(text)) bad("a lone surrogate");
  // JSON.stringify escapes the same characters in the same form, all others it leaves as they are
  return JSON.stringify(text);
}

function float(value: number): string {
  if (Object.is(value, -0)) return "-0.0";
  const [digits, exponent] = value.toExponential().split("e") as [string, string];
  const x = Number(exponent);
  if (value !== 0 && (x < -4 || x >= 16)) return `${digits}e${x < 0 ? "-" : "+"}${String(Math.abs(x)).padStart(2, "0")}`;
  const sign = value < 0 ? "-" : "";
  const all = digits.replace(/[-.]/g, "");
  if (x < 0) return `${sign}0.${"0".repeat(-x - 1)}${all}`;
  const whole = all.slice(0, x + 1).padEnd(x + 1, "0");
  return `${sign}${whole}.${all.slice(x + 1) || "0"}`;
}

export class Fields {
  constructor(
    private readonly what: string,
    private readonly value: { [key: string]: Json },
  ) {}

  /** An object with exactly these fields. */
  static of(what: string, value: Json | undefined, ...names: string[]): Fields {
    if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Refused(what, `The ${what} is not an object.`);
    const keys = Object.keys(value);
    if (keys.length !== names.length || !names.every((name) => keys.includes(name))) {
      throw new Refused(what, `The ${what} has other fields.`, names.join(" "), keys.join(" "));
    }
    return new Fields(what, value);
  }

  get(name: string): Json {
    return this.value[name] as Json;
  }

  private refuse(name: string): never {
    throw new Refused(this.what, `The field ${name} of the ${this.what} is none.`);
  }

  integer(name: string, low: bigint, high: bigint): bigint {
    const value = this.get(name);
    return typeof value === "bigint" && value >= low && value <= high ? value : this.refuse(name);
  }

  text(name: string, pattern: RegExp): string {
    const value = this.get(name);
    return typeof value === "string" && pattern.test(value) ? value : this.refuse(name);
  }

  list(name: string): Json[] {
    const value = this.get(name);
    return Array.isArray(value) ? value : this.refuse(name);
  }

  integers(name: string, low: bigint, high: bigint): number[] {
    return this.list(name).map((value) =>
      typeof value === "bigint" && value >= low && value <= high ? Number(value) : this.refuse(name),
    );
  }
}
