// VAULT_CASES=$(the URL of vault-harness serve) SCENARIO=KV-01 node --test tests/subjects/node/case.test.mjs
import assert from "node:assert";
import { test } from "node:test";

import { Vault } from "./vault.mjs";

const { VAULT_CASES: base, SCENARIO: scenario } = process.env;

test("a case of the suite", { skip: !base }, async (t) => {
  const post = (url, body) => fetch(url, { method: "POST", body: JSON.stringify(body ?? {}) });
  const started = await (await post(`${base}/cases/${scenario}`)).json();
  assert.ok(started.id, started.error); // no such scenario, or it is under way already
  const at = `${base}/cases/${started.id}`;
  let vault = started.env && new Vault(started.env, () => {}); // null: it ends before it needs a client
  const does = {
    configure: ({ environ }) => void (vault = new Vault(environ, () => {})),
    read: ({ path, key }) => vault.read(path, key),
    close: () => vault.close(),
  };
  for (let next; (next = await fetch(`${at}/next`)).ok; ) {
    if (next.status === 204) continue;
    const op = await next.json();
    Promise.resolve()
      .then(() => does[op.op]?.(op))
      .then((said) => ({ ok: true, ...said }), (error) => ({ ok: false, error: error.outcome, message: error.message }))
      .then((said) => post(`${at}/answers`, { id: op.id, ...said }));
  }
  const verdict = await (await fetch(`${at}/verdict`)).json();
  if (verdict.word === "skipped") return t.skip(verdict.why);
  assert.equal(verdict.word, "pass", verdict.text);
});
