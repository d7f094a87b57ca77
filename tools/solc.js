// SPDX-License-Identifier: Apache-2.0
// A command-line face for the WebAssembly solc, with the flags that forge, py-solc-x and slither use.
// npm's own `solcjs` refuses --allow-paths, and no native solc is published on npm.
'use strict';
const fs = require('fs');
const path = require('path');

function write(text) {
  const bytes = Buffer.from(text);
  for (let offset = 0; offset < bytes.length; ) {
    try {
      offset += fs.writeSync(1, bytes, offset);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

// process.stdin would make the pipe non-blocking, so read the descriptor itself.
function readStdin() {
  const chunks = [];
  const chunk = Buffer.alloc(1 << 16);
  for (;;) {
    let count;
    try {
      count = fs.readSync(0, chunk, 0, chunk.length, null);
    } catch (error) {
      if (error.code === 'EAGAIN') continue;
      if (error.code === 'EOF') break;
      throw error;
    }
    if (count === 0) break;
    chunks.push(Buffer.from(chunk.subarray(0, count)));
  }
  return Buffer.concat(chunks).toString();
}

const options = { basePath: process.cwd(), includePaths: [], allowPaths: [], files: [], remappings: [] };
const argv = process.argv.slice(2);
while (argv.length > 0) {
  const flag = argv.shift();
  if (flag === '--version') options.version = true;
  else if (flag === '--help' || flag === '-h') options.help = true;
  else if (flag === '--standard-json') options.standardJson = true;
  else if (flag === '--combined-json') options.combined = argv.shift();
  else if (flag === '--base-path') options.basePath = path.resolve(argv.shift());
  else if (flag === '--include-path') options.includePaths.push(path.resolve(argv.shift()));
  else if (flag === '--allow-paths') options.allowPaths.push(...argv.shift().split(',').filter(Boolean).map((p) => path.resolve(p)));
  else if (flag === '--optimize') options.optimize = true;
  else if (flag === '--optimize-runs') options.runs = Number(argv.shift());
  else if (flag === '--evm-version') options.evmVersion = argv.shift();
  else if (flag === '--via-ir') options.viaIR = true;
  else if (flag === '-') options.files.push('-');
  else if (flag.startsWith('-')) { process.stderr.write(`solc.js: unknown flag ${flag}\n`); process.exit(2); }
  else if (flag.includes('=')) options.remappings.push(flag);
  else options.files.push(flag);
}

if (options.help) {
  // py-solc-x reads the list of outputs from the line that starts with two blanks and --combined-json.
  write('solc, the Solidity commandline compiler (WebAssembly)\n  --combined-json abi,asm,ast,bin,bin-runtime,devdoc,hashes,metadata,opcodes,srcmap,srcmap-runtime,userdoc\n');
  process.exit(0);
}

const solc = require(path.join(process.env.SOLCJS_DIR || path.join(__dirname, '..', 'node_modules', 'solc')));
// solc installs a handler that hides errors of this script.
process.removeAllListeners('uncaughtException');

if (options.version) {
  write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
  process.exit(0);
}

const roots = [options.basePath, ...options.includePaths];
const allowed = [...roots, ...options.allowPaths];
function readImport(name) {
  for (const root of roots) {
    const candidate = path.resolve(root, name);
    if (!fs.existsSync(candidate)) continue;
    const real = fs.realpathSync(candidate);
    const inside = allowed.some((base) => {
      const relative = path.relative(fs.existsSync(base) ? fs.realpathSync(base) : base, real);
      return relative === '' || (!relative.startsWith('..') && !path.isAbsolute(relative));
    });
    if (!inside) return { error: `${name} lies outside the allowed paths` };
    return { contents: fs.readFileSync(real, 'utf8') };
  }
  return { error: `File not found: ${name}` };
}

if (options.standardJson) {
  write(solc.compile(readStdin(), { import: readImport }) + '\n');
  process.exit(0);
}

// --combined-json and plain file arguments, for py-solc-x compile_files and compile_source.
const sources = {};
for (const file of options.files) {
  if (file === '-') sources['<stdin>'] = { content: readStdin() };
  else sources[path.relative(options.basePath, path.resolve(file)) || file] = { content: fs.readFileSync(file, 'utf8') };
}
const settings = {
  remappings: options.remappings,
  outputSelection: { '*': { '*': ['*'], '': ['ast'] } },
  optimizer: { enabled: Boolean(options.optimize), runs: options.runs || 200 },
};
if (options.evmVersion) settings.evmVersion = options.evmVersion;
if (options.viaIR) settings.viaIR = true;
const result = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources, settings }), { import: readImport }));
const messages = result.errors || [];
for (const message of messages) process.stderr.write(message.formattedMessage + '\n');
if (messages.some((message) => message.severity === 'error')) process.exit(1);

const wanted = new Set((options.combined || '').split(','));
const contracts = {};
for (const [file, units] of Object.entries(result.contracts || {})) {
  for (const [name, unit] of Object.entries(units)) {
    const entry = {};
    const put = (key, value) => { if (wanted.has(key)) entry[key] = value; };
    put('abi', unit.abi);
    put('bin', unit.evm.bytecode.object);
    put('bin-runtime', unit.evm.deployedBytecode.object);
    put('srcmap', unit.evm.bytecode.sourceMap);
    put('srcmap-runtime', unit.evm.deployedBytecode.sourceMap);
    put('opcodes', unit.evm.bytecode.opcodes);
    put('hashes', unit.evm.methodIdentifiers);
    put('metadata', unit.metadata);
    put('devdoc', unit.devdoc);
    put('userdoc', unit.userdoc);
    put('asm', unit.evm.legacyAssembly);
    contracts[`${file}:${name}`] = entry;
  }
}
const asts = {};
for (const [file, unit] of Object.entries(result.sources || {})) asts[file] = { AST: unit.ast };
write(JSON.stringify({ contracts, sources: wanted.has('ast') ? asts : undefined, sourceList: Object.keys(result.sources || {}), version: solc.version() }) + '\n');
