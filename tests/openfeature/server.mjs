// Evaluates flags with the server SDK: one question as JSON per line of standard input, one answer per line of standard
// output. Arguments: URL, token. OPENFEATURE_CLIENTS is the folder in which the clients are installed.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.OPENFEATURE_CLIENTS}/package.json`);
const { OpenFeature } = require('@openfeature/server-sdk');
const { OFREPProvider } = require('@openfeature/ofrep-provider');

const [baseUrl, token] = process.argv.slice(2);
const provider = new OFREPProvider({ baseUrl, headers: [['Authorization', `Bearer ${token}`]] });
await OpenFeature.setProviderAndWait(provider);
const client = OpenFeature.getClient();
const ask = {
  boolean: client.getBooleanDetails,
  string: client.getStringDetails,
  number: client.getNumberDetails,
  object: client.getObjectDetails,
};

for await (const line of createInterface({ input: process.stdin })) {
  const { type, key, fallback, context } = JSON.parse(line);
  const { value, variant, reason, errorCode, flagMetadata } = await ask[type].call(client, key, fallback, context ?? {});
  console.log(JSON.stringify({ value, variant, reason, errorCode, metadata: flagMetadata }));
}
process.exit(0);
