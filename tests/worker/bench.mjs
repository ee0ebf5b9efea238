// Runs one Worker of the comparison in the real runtime until standard input ends: `bench.mjs KIND FOLDER OPTIONS`. Prints its
// address and the runtime's process as one line of JSON. KIND is `ours`, with the document of OPTIONS as its snapshot;
// `split`, which splits by a hash and knows no flags; or `flagd`, which evaluates the flags of OPTIONS with flagd's evaluator.
import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const installed = process.env.WORKER_RUNTIME;
const require = createRequire(`${installed}/package.json`);
const { Log, LogLevel, Miniflare } = require('miniflare');

const [kind, folder, given] = process.argv.slice(2);
const { document, flags, blue, green } = JSON.parse(given);

// FNV-1a over the unit, as a team would write it: a tenth goes to green.
const split = `
const at = (unit) => {
  let hash = 0x811c9dc5;
  for (let i = 0; i < unit.length; i += 1) hash = Math.imul(hash ^ unit.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % 1000000;
};
const cookie = (request) => /(?:^|; )uid=([^;]*)/.exec(request.headers.get('cookie') ?? '')?.[1] ?? '';
const target = (request, env) => {
  const url = new URL(request.url);
  return (at(cookie(request)) < 100000 ? env.GREEN : env.BLUE) + url.pathname + url.search;
};`;

const sources = {
  split: `${split}
export default { fetch: (request, env) => fetch(new Request(target(request, env), request)) };`,
  flagd: `import { FlagdCore } from '@openfeature/flagd-core';
${split}
let core;
export default {
  fetch(request, env) {
    if (!core) {
      core = new FlagdCore(undefined, undefined, { disableDynamicCodeGeneration: true });
      core.setConfigurations(env.FLAGS);
    }
    const context = { targetingKey: cookie(request) };
    for (const name of ['x-country', 'x-plan', 'x-version', 'user-agent', 'accept-language'])
      context[name] = request.headers.get(name) ?? '';
    const variants = core.resolveAll(context).map(({ flagKey, variant }) => flagKey + '=' + variant);
    const sent = new Request(target(request, env), request);
    sent.headers.set('x-bascule-flags', variants.join(','));
    return fetch(sent);
  },
};`,
};

// Everything in one file; esbuild comes with wrangler.
const bundled = (source) =>
  execFileSync(join(installed, 'node_modules/.bin/esbuild'), ['--bundle', '--format=esm', '--platform=browser'], {
    input: source,
    cwd: installed,
    encoding: 'utf8',
  });

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const key = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);

const sealed = (text) => {
  const { app, environment, number, bucketingKeyId } = JSON.parse(text);
  const head = {
    app,
    environment,
    number,
    previous: '',
    keyId: createHash('sha256').update(key).digest('hex').slice(0, 16),
    signature: sign(null, Buffer.from(`bascule-snapshot-v1\n\n${text}`), privateKey).toString('hex'),
    bucketingKey: { id: bucketingKeyId, key: '07'.repeat(16) },
  };
  return `${JSON.stringify(head)}\n${text}`;
};

const built = () =>
  readdirSync(folder)
    .filter((name) => /\.(js|wasm)$/.test(name))
    .sort((a, b) => (b === 'index.js') - (a === 'index.js'))
    .map((name) => ({ type: name.endsWith('.wasm') ? 'CompiledWasm' : 'ESModule', path: join(folder, name) }));

const runtime = new Miniflare({
  log: new Log(LogLevel.ERROR),
  host: '127.0.0.1',
  port: 0,
  cf: false,
  modules: kind === 'ours' ? built() : [{ type: 'ESModule', path: join(folder, 'peer.js'), contents: bundled(sources[kind]) }],
  modulesRoot: folder,
  compatibilityDate: '2026-07-01',
  bindings: {
    APP: 'web', ENVIRONMENT: 'production', PUBLIC_KEYS: key.toString('hex'), EDGE_TOKEN: 'bench', ORIGIN: blue,
    BLUE: blue, GREEN: green, FLAGS: JSON.stringify({ flags }),
  },
  kvNamespaces: kind === 'ours' ? ['COPIES'] : [],
  durableObjects: kind === 'ours' ? { SNAPSHOT: { className: 'SnapshotObject', useSQLite: true } } : {},
});

const url = await runtime.ready;
if (kind === 'ours') {
  const body = sealed(readFileSync(document, 'utf8'));
  const headers = { authorization: 'Bearer bench' };
  const answer = await fetch(new URL('/.bascule/v1/snapshot', url), { method: 'PUT', headers, body });
  if (!answer.ok) throw new Error(`the snapshot was not taken: ${await answer.text()}`);
}
const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ');
const pid = children.find((child) => readFileSync(`/proc/${child}/comm`, 'utf8').startsWith('workerd'));
console.log(JSON.stringify({ address: url.host, pid: Number(pid) }));

for await (const _ of process.stdin);
await runtime.dispose();
process.exit(0);
