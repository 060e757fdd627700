// Run with: VAULTS=$(what vault-harness serve prints after "vaults at") node --test lending.test.mjs
import assert from "node:assert";
import { test } from "node:test";

const vaults = process.env.VAULTS;

async function call(method, url, body, headers = {}) {
  const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status}: ${text}`);
  return text && JSON.parse(text);
}

async function read(vault, path) {
  const inside = { "X-Vault-Namespace": vault.namespace };
  const ids = { role_id: vault.role_id, secret_id: vault.secret_id };
  const login = await call("POST", `${vault.address}/v1/auth/approle/login`, ids, inside);
  const own = { ...inside, "X-Vault-Token": login.auth.client_token };
  return (await call("GET", `${vault.address}/v1/secret/data/${path}`, undefined, own)).data.data;
}

test("a login that fails", async () => {
  const secrets = { secret: { "shop/db": { PASSWORD: "s3cret" } } };
  const vault = await call("POST", vaults, { secrets, token_ttl: "5s" });
  const mine = `${vaults}/${vault.id}`;
  await fetch(`${mine}/hold`); // it is mine as long as this is open
  assert.deepEqual(await read(vault, "shop/db"), { PASSWORD: "s3cret" });
  const fault = await call("POST", `${mine}/faults`, { fault: "fail", target: "login", status: 500 });
  await assert.rejects(read(vault, "shop/db"), /500/);
  await call("DELETE", `${mine}/faults/${fault.id}`);
  assert.deepEqual(await read(vault, "shop/db"), { PASSWORD: "s3cret" });
  await call("DELETE", mine);
});
