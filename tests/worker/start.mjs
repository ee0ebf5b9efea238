// The processor time of a start: `start.mjs FOLDER`, in a fresh process. Prints milliseconds for compiling the WebAssembly, and for
// evaluating the modules with the first instance, which is what an isolate does before its first request.
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = process.argv[2];
const used = (since) => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
};

// In the runtime the import gives the compiled module; Node has another idea of that.
const scratch = mkdtempSync(join(tmpdir(), 'bascule-start-'));
const entry = readFileSync(join(folder, 'index.js'), 'utf8');
const imported = 'import module from "./index.wasm";';
if (!entry.includes(imported)) throw new Error('the entry imports its module in another way');
writeFileSync(join(scratch, 'index.mjs'), entry.replace(imported, 'const module = globalThis.compiled;').replace('./glue.js', './glue.mjs'));
copyFileSync(join(folder, 'glue.js'), join(scratch, 'glue.mjs'));

const bytes = readFileSync(join(folder, 'index.wasm'));
let before = process.cpuUsage();
globalThis.compiled = new WebAssembly.Module(bytes);
const compile = used(before);
before = process.cpuUsage();
await import(pathToFileURL(join(scratch, 'index.mjs')));
console.log(JSON.stringify({ compile, evaluate: used(before) }));
rmSync(scratch, { recursive: true });
process.exit(0);
