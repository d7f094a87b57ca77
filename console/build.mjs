// SPDX-License-Identifier: Apache-2.0
// Build folkmoot/web/check.js, check.html and vote.html; with --check, compare them with what is committed. With --vectors FILE,
// build the test of the shared vectors instead.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const read = (name) => readFileSync(here(name), "utf8");
const bundle = (entry, options) =>
  buildSync({
    entryPoints: [here(`${entry}.ts`)], bundle: true, minify: true, write: false, target: "es2022", legalComments: "inline",
    charset: "ascii", absWorkingDir: here("."), ...options,
  }).outputFiles[0].text;
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const banner = "// SPDX-License-Identifier: Apache-2.0\n// Built from console/ by `make console`. Third parties: noble-curves, noble-hashes (MIT, Paul Miller).\n";
const VIEM = "// Third parties: viem (MIT, weth, LLC), abitype and ox (MIT, wevm), noble-curves, noble-hashes (MIT, Paul Miller).";
const node = banner + bundle("src/node", { platform: "node", format: "cjs" });
const worker = bundle("src/worker", { format: "iife" });
const icon = /_ICON = \(([^)]*)\)/.exec(read("../folkmoot/web/pages.py"))[1].match(/"(.*)"/g).map((part) => part.slice(1, -1)).join("");

/** The custom errors of all contracts, each once. */
function errors() {
  const folder = here("../folkmoot/ledger/abi");
  const all = readdirSync(folder).sort().flatMap((name) => JSON.parse(readFileSync(`${folder}/${name}`, "utf8")).abi);
  const found = all.filter((item) => item.type === "error").map(({ name, inputs }) => ({ type: "error", name, inputs: inputs.map(({ name, type }) => ({ name, type })) }));
  return [...new Map(found.map((item) => [JSON.stringify(item), item])).values()];
}

/** A page that is one file: its policy names its script and its style by their hashes. */
function page(name, script, connects) {
  const style = read("../folkmoot/web/templates/style.css") + read(`${name}.css`);
  const policy =
    `default-src 'none'; style-src ${hash(style)}; script-src ${hash(script)}; worker-src blob:; img-src data:; ` +
    `connect-src '${connects}'; base-uri 'none'; form-action 'none'`;
  const values = { POLICY: policy, ICON: icon, STYLE: style, SCRIPT: script };
  return read(`${name}.html`).replace(/%([A-Z]+)%/g, (_, name) => values[name]);
}

const vectors = process.argv.indexOf("--vectors");
if (vectors > 0) {
  writeFileSync(process.argv[vectors + 1], bundle("test/vectors", { platform: "node", format: "esm" }));
  process.exit();
}
let stale = 0;
const built = [
  ["check.js", node],
  ["check.html", page("check", bundle("src/page", { format: "iife", define: { WORKER: JSON.stringify(worker) } }), "none")],
  ["vote.html", page("vote", bundle("src/vote/page", { format: "iife", banner: { js: VIEM }, define: { ERRORS: JSON.stringify(errors()) } }), "self")],
];
for (const [name, text] of built) {
  const path = here(`../folkmoot/web/${name}`);
  if (!process.argv.includes("--check")) writeFileSync(path, text);
  else if (readFileSync(path, "utf8") !== text) {
    stale = 1;
    console.error(`folkmoot/web/${name} is not what console/ builds. Run: make console`);
  }
}
process.exitCode = stale;
