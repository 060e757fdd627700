// The client as a subject: one JSON object a line, requests on standard input, answers on standard output.
//
//     pytest scenarios/ --vault-subject 'command:node tests/subjects/node/subject.mjs'

import { createInterface } from "node:readline";

import { Vault } from "./vault.mjs";

const log = (line) => process.stderr.write(`${new Date().toISOString()} ${line}\n`);
const vault = new Vault(process.env, log);
const herd = [vault]; // more on request

function client(number = 0) {
  if (!herd[number]) throw new Error(`there is no client ${number}`);
  return herd[number];
}

const operations = {
  hello: () => ({
    capabilities: ["read", "read_all", "cached", "fallback", "health", "write", "outcomes", "tls", "herd"],
    auth: ["approle", "namespace"],
    declares: vault.declares,
  }),
  herd: ({ clients }) => {
    while (herd.length < clients) herd.push(new Vault(process.env, log));
  },
  read: ({ path, key, client: number }) => client(number).read(path, key),
  read_cached: ({ path, key }) => vault.readCached(path, key),
  read_all: async ({ path }) => ({ value: await vault.readAll(path) }),
  write: ({ path, data }) => vault.write(path, data),
  health: async () => ({ value: await vault.healthy() }),
  close: leave,
};

async function answer(request) {
  try {
    if (!Object.hasOwn(operations, request.op)) throw new Error(`there is no operation ${request.op}`);
    return { id: request.id, ok: true, ...(await operations[request.op](request)) };
  } catch (error) {
    return { id: request.id, ok: false, error: error.outcome, message: error.message };
  }
}

let leaving;
function leave() {
  leaving ??= Promise.allSettled(herd.map((one) => one.close())).finally(() => setImmediate(() => process.exit(0)));
  return leaving;
}

const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
const pending = new Set(); // all input is answered before the end
lines.on("line", (line) => {
  if (!line.trim()) return;
  const answered = answer(JSON.parse(line)).then((said) => process.stdout.write(`${JSON.stringify(said)}\n`));
  pending.add(answered);
  answered.finally(() => pending.delete(answered));
});
lines.on("close", () => Promise.allSettled(pending).then(leave));
process.on("SIGTERM", leave);
