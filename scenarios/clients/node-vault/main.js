// node-vault as its documentation shows: log in with an AppRole, let startTokenRenewal renew the
// token, log in again when it says that this is over or has failed. Nothing more.
"use strict";

const { readFileSync } = require("node:fs");
const { createInterface } = require("node:readline");
const { version } = require("node-vault/package.json");

const env = process.env;
const PAUSE = 2000; // after a login that failed, in milliseconds

const requestOptions = { timeout: Number(env.VAULT_CLIENT_TIMEOUT || 30) * 1000 };
if (env.VAULT_CACERT) requestOptions.ca = readFileSync(env.VAULT_CACERT);
if (env.VAULT_CLIENT_CERT) requestOptions.cert = readFileSync(env.VAULT_CLIENT_CERT);
if (env.VAULT_CLIENT_KEY) requestOptions.key = readFileSync(env.VAULT_CLIENT_KEY);
const vault = require("node-vault")({ requestOptions }); // VAULT_ADDR, VAULT_NAMESPACE: its own

const credential = (name) =>
  env[`${name}_FILE`] ? readFileSync(env[`${name}_FILE`], "utf8").trim() : env[name];

let ending = false;

async function logIn() {
  while (!ending) {
    try {
      const { auth } = await vault.approleLogin({
        role_id: credential("VAULT_ROLE_ID"),
        secret_id: credential("VAULT_SECRET_ID"),
      });
      await vault.startTokenRenewal({ ttl: auth.lease_duration });
      return;
    } catch (error) {
      console.error(`unable to log in to Vault: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}

vault.on("token:error:renew", (error) => {
  console.error(`failed to renew the token: ${error.message}; logging in again`);
  logIn();
});
vault.on("token:expired", logIn);

async function read(path, key) {
  // vault.read() puts its path into the URL as it is (src/index.js:264), so its caller encodes it.
  const encoded = path.split("/").map(encodeURIComponent).join("/");
  const { data } = await vault.read(`${env.VAULT_MOUNT_POINT}/data/${encoded}`);
  if (!(key in data.data)) throw Object.assign(new Error(`${path} has no key ${key}`), { word: "missing" });
  return data.data[key];
}

// What the harness calls a failure. node-vault gives the status and the body of the answer (src/index.js:13);
// a body without Vault's `errors` or `data` was sent by somebody else.
function word(error) {
  const { statusCode, body } = error.response || {};
  if (error.word) return error.word;
  if (statusCode === 403 && body?.errors) return "denied";
  if (statusCode === 404 && body?.data?.metadata) return "deleted";
  if (statusCode === 404 && body?.errors) return "missing";
  return "unavailable";
}

const loggedIn = logIn();

async function answer({ op, path, key }) {
  if (op === "hello") {
    await loggedIn; // an application serves once it has logged in
    return { ok: true, capabilities: ["read"], version };
  }
  if (op !== "read") return { ok: false, message: `there is no operation ${op}` };
  try {
    return { ok: true, value: await read(path, key) };
  } catch (error) {
    return { ok: false, error: word(error), message: error.message };
  }
}

async function leave() {
  if (ending) return;
  ending = true;
  await Promise.allSettled(pending);
  vault.stopAllRenewals();
  try {
    if (vault.token) await vault.tokenRevokeSelf();
  } catch (error) {
    console.error(`the token was not revoked: ${error.message}`);
  }
  process.exit(0);
}

const pending = new Set();
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const asked = JSON.parse(line);
  if (asked.op === "close") return leave();
  const one = answer(asked).then((said) => {
    process.stdout.write(`${JSON.stringify({ id: asked.id, ...said })}\n`);
    pending.delete(one);
  });
  pending.add(one);
});
lines.on("close", leave);
process.on("SIGTERM", leave);
