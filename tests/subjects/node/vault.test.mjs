// node --test tests/subjects/node/vault.test.mjs
// What calls share outlives the call that began it; a token's life is counted from its request.
import assert from "node:assert";
import { once } from "node:events";
import http from "node:http";
import { test } from "node:test";

import { Unavailable } from "./errors.mjs";
import { Vault } from "./vault.mjs";
import { Wire } from "./wire.mjs";

const LOGIN = "/v1/auth/approle/login";
const SECRET = "/v1/ecommerce/data/a";

/**
 * A Vault that answers nothing at `path` until `release` is called, and then `instead`; `asked` counts
 * the requests there. Its tokens live for so many seconds.
 */
async function holding(t, path, ttl = 600) {
  const one = { asked: 0 };
  const released = new Promise((resolve) => (one.release = resolve));
  const server = http.createServer(async (request, response) => {
    if (request.url === path) {
      one.asked += 1;
      await released;
    }
    if (one.instead && request.url === path) {
      response.writeHead(one.instead[0], one.instead[2]);
      return response.end(JSON.stringify(one.instead[1]));
    }
    const auth = { client_token: "a", lease_duration: ttl, renewable: true };
    response.end(JSON.stringify(request.url === LOGIN ? { auth } : { data: { data: { K: "v" } } }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const vault = new Vault(
    {
      VAULT_ADDR: `http://127.0.0.1:${server.address().port}`,
      VAULT_ROLE_ID: "role",
      VAULT_SECRET_ID: "secret",
      VAULT_CLIENT_TIMEOUT: "60",
    },
    () => {},
  );
  t.after(async () => {
    one.release();
    await vault.close();
    vault.wire.agent.destroy();
    server.close();
  });
  return Object.assign(one, { vault });
}

/** Make a call that has less time than what it asks for. */
async function shortCall(vault, call) {
  const { timeout } = vault;
  vault.timeout = 300;
  const made = call();
  vault.timeout = timeout;
  await assert.rejects(made, Unavailable);
}

for (const status of [403, 404]) {
  test(`a ${status} that a gateway says in JSON is no word about a secret`, async (t) => {
    const server = await holding(t, SECRET);
    server.release();
    assert.equal((await server.vault.read("a", "K")).value, "v");
    server.instead = [status, { message: "no Route matched with those values" }];
    server.vault.timeout = 300;
    await assert.rejects(server.vault.readAll("a"), Unavailable);
    assert.equal((await server.vault.read("a", "K")).stale, true);
  });
}

test("a server that asks to wait for years is asked again", async (t) => {
  const server = await holding(t, SECRET);
  server.release();
  server.instead = [429, { errors: ["too many requests"] }, { "Retry-After": "1764370000" }];
  const failed = await server.vault.read("a", "K").catch((error) => error);
  assert.ok(failed instanceof Unavailable);
  assert.ok(server.vault.gate.opens <= performance.now() + 15 * 60 * 1000);
});

test("a notice that is answered to a login refuses no secret-id", async (t) => {
  const server = await holding(t, LOGIN);
  server.release();
  server.instead = [200, { status: "maintenance", retry: true }];
  server.vault.timeout = 300;
  await assert.rejects(server.vault.read("a", "K"), Unavailable);
  server.instead = null;
  server.vault.timeout = 60000;
  assert.equal((await server.vault.read("a", "K")).value, "v");
});

test("a file of TLS that is not there is an outage", async () => {
  const wire = new Wire({ VAULT_ADDR: "https://127.0.0.1:1", VAULT_CACERT: "/dev/null/ca.pem" });
  const sent = wire.send("GET", "sys/x", { deadline: performance.now() + 5000 });
  await assert.rejects(sent, Unavailable);
});

test("a login outlives the call that made it", async (t) => {
  const server = await holding(t, LOGIN);
  await shortCall(server.vault, () => server.vault.read("a", "K"));
  server.release();
  assert.equal((await server.vault.read("a", "K")).value, "v");
  assert.equal(server.asked, 1);
});

test("who joins a read has its own time for it", async (t) => {
  const server = await holding(t, SECRET);
  const first = shortCall(server.vault, () => server.vault.readCached("a", "K"));
  const second = server.vault.readCached("a", "K");
  await first;
  server.release();
  assert.equal((await second).value, "v");
});

test("a token's life begins when it is asked for, not when a wait for that began", async (t) => {
  const server = await holding(t, LOGIN, 3);
  server.release();
  const limited = server.vault.gate.pass(Infinity, "other", async () => {
    throw new Unavailable("too many requests", 3000);
  });
  await assert.rejects(limited, Unavailable);
  for (const _ of [1, 2]) assert.equal((await server.vault.read("a", "K")).value, "v");
  assert.equal(server.asked, 1);
});

test("a life of months makes no loop of renewals", async (t) => {
  const server = await holding(t, SECRET, 90 * 24 * 3600);
  server.release();
  const set = t.mock.method(globalThis, "setTimeout");
  await server.vault.read("a", "K");
  const delays = set.mock.calls.map(({ arguments: [, delay] }) => delay);
  assert.ok(Math.max(...delays) > 1e9); // that of the renewal is among them
  assert.ok(Math.max(...delays) < 2 ** 31); // a longer one is over at once
});

test("no time in the cache, and none for an old value, are none", () => {
  const env = { VAULT_CACHE_TTL: "0", VAULT_MAX_STALE: "0", VAULT_CLIENT_TIMEOUT: "0" };
  const { refresh, maxStale, timeout } = new Vault(env, () => {});
  assert.deepEqual([refresh, maxStale, timeout], [0, 0, 10000]);
});
