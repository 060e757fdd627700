// Answers the line protocol of vault-harness with a Vault client: node-vault.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import NodeVault from "node-vault";
const env = process.env; // some scenarios give an id in a file, and replace that
const credential = (name) => (env[`${name}_FILE`] ? readFileSync(env[`${name}_FILE`], "utf8").trim() : env[name]);

class Client { // Put your own client here: it needs read() and close().
  vault = NodeVault({ endpoint: env.VAULT_ADDR, requestOptions: { timeout: 1000 * env.VAULT_CLIENT_TIMEOUT } });
  async logIn() {
    try {
      await this.vault.approleLogin({ role_id: credential("VAULT_ROLE_ID"), secret_id: credential("VAULT_SECRET_ID") });
    } finally { this.login = undefined; }
  }
  async read(path, key) {
    if (!this.vault.token) await (this.login ??= this.logIn()); // one login for all callers
    const { data } = await this.vault.read(`${env.VAULT_MOUNT_POINT}/data/${encodeURI(path)}`);
    if (typeof data.data[key] !== "string") throw new Error("no such key");
    return data.data[key];
  }
  async close() { if (this.vault.token) await this.vault.tokenRevokeSelf(); }
}

const client = new Client(), pending = new Set();
let ended;
const end = () => (ended ??= client.close().catch(() => {}).then(() => process.exit(0)));
async function answer({ id, op, path, key }) {
  let said = { ok: false, message: `there is no operation ${op}` };
  if (op === "hello") said = { ok: true, capabilities: ["read"] }; // and what you add below
  if (op === "read") said = await client.read(path, key).then(
    (value) => ({ ok: true, value }), (error) => ({ ok: false, message: error.name })); // its text may have a token in it
  process.stdout.write(JSON.stringify({ id, ...said }) + "\n"); // logs go to standard error
}
process.on("SIGTERM", end);
for await (const line of createInterface({ input: process.stdin })) {
  if (JSON.parse(line).op === "close") break;
  pending.add(answer(JSON.parse(line)));
}
await Promise.allSettled(pending);
await end();
