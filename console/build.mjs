// SPDX-License-Identifier: Apache-2.0
// Build folkmoot/web/check.js and check.html; with --check, compare them with what is committed. With --vectors FILE,
// build the test of the shared vectors instead.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
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
const node = banner + bundle("src/node", { platform: "node", format: "cjs" });
const worker = bundle("src/worker", { format: "iife" });
const script = bundle("src/page", { format: "iife", define: { WORKER: JSON.stringify(worker) } });
const style = read("../folkmoot/web/templates/style.css") + read("page.css");
const icon = /_ICON = \(([^)]*)\)/.exec(read("../folkmoot/web/pages.py"))[1].match(/"(.*)"/g).map((part) => part.slice(1, -1)).join("");
const policy =
  `default-src 'none'; style-src ${hash(style)}; script-src ${hash(script)}; worker-src blob:; img-src data:; ` +
  "connect-src 'none'; base-uri 'none'; form-action 'none'";
const values = { POLICY: policy, ICON: icon, STYLE: style, SCRIPT: script };
const page = read("page.html").replace(/%([A-Z]+)%/g, (_, name) => values[name]);

const vectors = process.argv.indexOf("--vectors");
if (vectors > 0) {
  writeFileSync(process.argv[vectors + 1], bundle("test/vectors", { platform: "node", format: "esm" }));
  process.exit();
}
let stale = 0;
for (const [name, text] of [["check.js", node], ["check.html", page]]) {
  const path = here(`../folkmoot/web/${name}`);
  if (!process.argv.includes("--check")) writeFileSync(path, text);
  else if (readFileSync(path, "utf8") !== text) {
    stale = 1;
    console.error(`folkmoot/web/${name} is not what console/ builds. Run: make console`);
  }
}
process.exitCode = stale;
