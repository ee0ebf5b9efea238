// Runs the built Worker in the real Workers runtime until standard input ends. Arguments: the folder of the build and what to
// start as JSON. WORKER_RUNTIME is the folder in which the runtime is installed. On each line of standard input stands a
// command as JSON, on each line of standard output its answer; the first line names the address.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

const require = createRequire(`${process.env.WORKER_RUNTIME}/package.json`);
const { Log, LogLevel, Miniflare } = require('miniflare');

const [folder, given] = process.argv.slice(2);
const COMPATIBILITY = '2026-07-01';

const built = ['index.js', 'glue.js', 'index.wasm'].map((name) => ({
  type: name.endsWith('.wasm') ? 'CompiledWasm' : 'ESModule',
  path: join(folder, name),
}));

// Before the Worker: a request with x-trap makes the next look at the clock end the program as a trap does, in the middle of
// its work and without a destructor. The runtime cannot be asked for that.
const trap = `
import worker, { SnapshotObject } from './index.js';
let armed = false;
globalThis.Date = class extends Date {
  constructor(...time) {
    if (armed) {
      armed = false;
      throw new WebAssembly.RuntimeError('unreachable');
    }
    super(...time);
  }
};
export { SnapshotObject };
export default {
  fetch(request, env, context) {
    armed = request.headers.has('x-trap');
    return worker.fetch(request, env, context);
  },
};`;

// A Durable Object that never answers, and one that fails.
const broken = `
export class Hangs { async fetch() { await scheduler.wait(600_000); } }
export class Fails { async fetch() { throw new Error('out of order'); } }
export default { fetch: () => new Response('none', { status: 404 }) };`;

// With other bindings it is another start of the same Worker: what the object and KV keep stays, memory does not.
const options = ({ bindings, object, services, trap: isTrapped, hasTwin, port = 0 }) => {
  const classes = {
    bound: { className: 'SnapshotObject', useSQLite: true },
    hangs: { className: 'Hangs', scriptName: 'broken', useSQLite: true },
    fails: { className: 'Fails', scriptName: 'broken', useSQLite: true },
  };
  const worker = {
    name: 'worker',
    modules: isTrapped ? [{ type: 'ESModule', path: join(folder, 'trap.js'), contents: trap }, ...built] : built,
    modulesRoot: folder,
    compatibilityDate: COMPATIBILITY,
    bindings,
    kvNamespaces: ['COPIES'],
    durableObjects: classes[object] ? { SNAPSHOT: classes[object] } : {},
    serviceBindings: Object.fromEntries(
      Object.entries(services).map(([name, address]) => [name, { external: { address, http: {} } }]),
    ),
  };
  const others = [
    { name: 'broken', modules: [{ type: 'ESModule', path: 'broken.mjs', contents: broken }], compatibilityDate: COMPATIBILITY,
      durableObjects: { HANGS: { className: 'Hangs', useSQLite: true }, FAILS: { className: 'Fails', useSQLite: true } } },
  ];
  // Another isolate with the same object.
  if (hasTwin) {
    others.push({
      ...worker,
      name: 'twin',
      routes: ['twin.example/*'],
      durableObjects: { SNAPSHOT: { className: 'SnapshotObject', scriptName: 'worker', useSQLite: true } },
    });
  }
  return { log: new Log(LogLevel.ERROR), host: '127.0.0.1', port, cf: false, workers: [worker, ...others] };
};

const runtime = new Miniflare(options(JSON.parse(given)));
const say = (answer) => console.log(JSON.stringify(answer));
say({ url: String(await runtime.ready) });

const commands = {
  copy: async () => {
    const copies = await runtime.getKVNamespace('COPIES', 'worker');
    return { copy: await copies.get('snapshot') };
  },
  restart: async ({ setup }) => {
    await runtime.setOptions(options(setup));
    return { url: String(await runtime.ready) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  say(await commands[command](rest));
}
await runtime.dispose();
process.exit(0);
