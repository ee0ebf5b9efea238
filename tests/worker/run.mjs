// Runs the built Worker in the real Workers runtime until standard input ends. Arguments: the folder of the build and the
// bindings as JSON. WORKER_RUNTIME is the folder in which the runtime is installed. On each line of standard input stands a
// command as JSON, on each line of standard output its answer; the first line names the address.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

const require = createRequire(`${process.env.WORKER_RUNTIME}/package.json`);
const { Log, LogLevel, Miniflare } = require('miniflare');

const [folder, given] = process.argv.slice(2);
const { bindings, objectIsBound } = JSON.parse(given);

// With other bindings it is another start of the same Worker: what the object and KV keep stays, memory does not.
const options = (bindings, objectIsBound) => ({
  log: new Log(LogLevel.ERROR),
  host: '127.0.0.1',
  port: 0,
  cf: false,
  modules: ['index.js', 'glue.js', 'index.wasm'].map((name) => ({
    type: name.endsWith('.wasm') ? 'CompiledWasm' : 'ESModule',
    path: join(folder, name),
  })),
  modulesRoot: folder,
  compatibilityDate: '2026-07-01',
  bindings,
  kvNamespaces: ['COPIES'],
  durableObjects: objectIsBound ? { SNAPSHOT: { className: 'SnapshotObject', useSQLite: true } } : {},
});

const runtime = new Miniflare(options(bindings, objectIsBound));
const say = (answer) => console.log(JSON.stringify(answer));
say({ url: String(await runtime.ready) });

const commands = {
  copy: async () => {
    const copies = await runtime.getKVNamespace('COPIES');
    return { copy: await copies.get('snapshot') };
  },
  restart: async ({ bindings, objectIsBound }) => {
    await runtime.setOptions(options(bindings, objectIsBound));
    return { url: String(await runtime.ready) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  say(await commands[command](rest));
}
await runtime.dispose();
process.exit(0);
