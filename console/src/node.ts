// SPDX-License-Identifier: Apache-2.0
// `node check.js FILE [--json]`: exit 0 right, 1 provably wrong, 2 cannot be checked.
import { readFileSync } from "node:fs";
import { check, type Report } from "./evidence.js";
import { lines } from "./words.js";

const names = process.argv.slice(2).filter((one) => one !== "--json");
let report: Report | null = null;
try {
  if (names.length !== 1) throw new Error("Usage: node check.js FILE [--json]");
  report = check(new Uint8Array(readFileSync(names[0]!)));
} catch (error) {
  process.stderr.write(`The check could not begin: ${(error as Error).message}\n`);
}
if (report) process.stdout.write(process.argv.includes("--json") ? JSON.stringify(report) + "\n" : lines(report).join("\n") + "\n");
process.exitCode = report ? { right: 0, wrong: 1, cannot: 2 }[report.verdict] : 2;
