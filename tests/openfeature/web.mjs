// Evaluates flags with the web SDK: questions as JSON per line of standard input, answers and events per line of
// standard output. A question without a key sets the context. Arguments: URL, token, first context.
// OPENFEATURE_CLIENTS is the folder in which the clients are installed.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.OPENFEATURE_CLIENTS}/package.json`);
// Browsers have it; it sends no headers of ours, as theirs does not.
globalThis.EventSource = require('eventsource').EventSource;
const { OpenFeature, ProviderEvents } = require('@openfeature/web-sdk');
const { OFREPWebProvider } = require('@openfeature/ofrep-web-provider');

const say = (line) => console.log(JSON.stringify(line));
const [baseUrl, token, context] = process.argv.slice(2);
const provider = new OFREPWebProvider({ baseUrl, headers: [['Authorization', `Bearer ${token}`]] });
OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, (event) => say({ event: 'changed', flags: event.flagsChanged }));
await OpenFeature.setContext(JSON.parse(context));
try {
  await OpenFeature.setProviderAndWait(provider);
  say({ event: 'ready' });
} catch (error) {
  say({ event: 'error', message: String(error) });
}
const client = OpenFeature.getClient();
const ask = {
  boolean: client.getBooleanDetails,
  string: client.getStringDetails,
  number: client.getNumberDetails,
  object: client.getObjectDetails,
};

for await (const line of createInterface({ input: process.stdin })) {
  const { type, key, fallback, context } = JSON.parse(line);
  if (key === undefined) {
    await OpenFeature.setContext(context);
    say({ event: 'context' });
    continue;
  }
  const { value, variant, reason, errorCode, flagMetadata } = ask[type].call(client, key, fallback);
  say({ value, variant, reason, errorCode, metadata: flagMetadata });
}
process.exit(0);
