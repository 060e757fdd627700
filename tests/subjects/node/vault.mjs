// A Vault client: AppRole login, background renewal, a cache for short outages.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

import { ClientError, Deleted, Denied, GivenUp, LoginRefused, Missing, Unavailable } from "./errors.mjs";
import { Gate, Queue, within } from "./gate.mjs";
import { Wire } from "./wire.mjs";

const LONGEST_PAUSE = 2000; // ms between tries while something fails
const TRIES = 3; // with one secret-id; the fifth failure locks the role for everybody
const PAST_MAX_TTL = "past the max TTL"; // answered with 500, in the last second of a token
const LOCKOUT = 15 * 60 * 1000; // ms until Vault forgets failed logins
const DENIAL_KEPT = 5000; // ms until a denied path is asked for again
const GOODBYE = 2000; // ms for the last revocation
const LONGEST_TIMER = 2 ** 31 - 1; // ms, some 25 days; a longer one is over at once

const digest = (text) => createHash("sha256").update(text).digest("hex");
const seconds = (text, otherwise) => (text?.trim() && Number(text) >= 0 ? Number(text) : otherwise);

export class Vault {
  #token = null; // {value, firstTtl, ttl, since, renewable, batch, uses}
  #timer = null;
  #pause = 0;
  #closed = false;
  #changing = new Queue(); // changes of the token
  #cache = new Map(); // path -> {data, at}: when it was asked for
  #fetching = new Map(); // path -> promise
  #denied = new Map(); // path -> {mark, until}
  #refused = new Map(); // digest of a secret-id -> times
  #ids = {};
  #lastGood = -Infinity;
  #loginRefused = false;

  constructor(env, log) {
    this.env = env;
    this.log = log;
    this.on = !["false", "0", "no", "off"].includes((env.USE_VAULT || "true").toLowerCase());
    this.mount = env.VAULT_MOUNT_POINT || "ecommerce";
    this.timeout = (seconds(env.VAULT_CLIENT_TIMEOUT) || 10) * 1000;
    this.refresh = seconds(env.VAULT_CACHE_TTL, 3) * 1000;
    this.maxStale = seconds(env.VAULT_MAX_STALE, 60) * 1000;
    this.longestPause = Math.min(LONGEST_PAUSE, this.timeout / 2);
    this.gate = new Gate(this.longestPause);
    this.wire = new Wire(env);
  }

  get declares() {
    return {
      deadline: this.timeout / 1000,
      refresh: this.refresh / 1000,
      max_stale: this.maxStale / 1000,
      backoff_cap: this.longestPause / 1000,
    };
  }

  async read(path, key) {
    if (!this.on) return { value: this.#fromEnvironment(key), stale: false };
    const deadline = performance.now() + this.timeout * 0.95;
    try {
      return { value: pick(await this.#fetch(path, deadline), path, key), stale: false };
    } catch (error) {
      return this.#instead(error, path, key);
    }
  }

  /** From the cache if it was read a short while ago; one request for all simultaneous callers. */
  async readCached(path, key) {
    const kept = this.#cache.get(path);
    if (kept && performance.now() - kept.at < this.refresh) {
      return { value: pick(kept.data, path, key), stale: false };
    }
    if (!this.on) return this.read(path, key);
    const deadline = performance.now() + this.timeout * 0.95;
    for (;;) {
      const another = this.#fetching.get(path);
      try {
        const data = await within(another ?? this.#shared(path, deadline), deadline);
        return { value: pick(data, path, key), stale: false };
      } catch (error) {
        // It ended with its first caller's time; this one may have time left.
        const again = another && error instanceof Unavailable && performance.now() + 100 < deadline;
        if (!again || this.#cache.has(path)) return this.#instead(error, path, key);
      }
    }
  }

  /** All keys of one answer; nothing stands in for that. */
  async readAll(path) {
    if (!this.on) throw new Missing(`Vault is not used, and no variable has all of ${path}`);
    const data = await this.#fetch(path, performance.now() + this.timeout * 0.95);
    return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, String(value)]));
  }

  /** Sent once: only the caller can find out what a lost answer meant. */
  async write(path, data) {
    const deadline = performance.now() + this.timeout * 0.95;
    const { status, body } = await this.#authorised("POST", `${this.mount}/data/${path}`, deadline, {
      data,
    });
    if (status === 403) throw new Denied(`the policy denies writing ${path}`);
    if (status !== 200) throw new ClientError(`Vault answered ${status}: ${(body.errors || []).join(" ")}`);
    this.#cache.delete(path);
  }

  /** Whether a read would succeed now, as far as two seconds tell. */
  async healthy() {
    if (!this.on) return true;
    if (this.#loginRefused) return false;
    const token = this.#token;
    if (token && !this.gate.open) return false;
    if (token && token.uses === 0 && performance.now() - this.#lastGood > 500) {
      const deadline = performance.now() + Math.min(this.timeout, 2000);
      try {
        const { status } = await this.#ask("GET", "auth/token/lookup-self", deadline, token);
        return status === 200;
      } catch {
        return false;
      }
    }
    return this.#lives(token);
  }

  /** Revoke the token if Vault answers soon, and end in any case. */
  async close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    const deadline = performance.now() + GOODBYE;
    try {
      await within(this.#changing.idle, deadline); // a login in flight leaves a token too
      const token = this.#token;
      this.#token = null;
      if (token && !token.batch && this.#lives(token)) {
        await this.wire.send("POST", "auth/token/revoke-self", { deadline, token: token.value, body: {} });
      }
    } catch (error) {
      this.log(`the token was not revoked: ${error.message}`);
    }
  }

  // Reading

  #shared(path, deadline) {
    const fetched = this.#fetch(path, deadline).finally(() => this.#fetching.delete(path));
    this.#fetching.set(path, fetched);
    return fetched;
  }

  async #fetch(path, deadline) {
    const known = this.#cache.has(path);
    // A late answer is better than an old value, which is better than more tries.
    const patience = known ? deadline - this.timeout * 0.15 : deadline;
    const enough = known ? deadline - this.timeout * 0.55 : deadline;
    for (;;) {
      try {
        const asked = performance.now();
        const answer = await this.#authorised("GET", `${this.mount}/data/${path}`, patience);
        const data = this.#secret(answer, path);
        this.#keep(path, data, asked);
        return data;
      } catch (error) {
        const again = error instanceof Unavailable && !(error instanceof GivenUp);
        if (!again || performance.now() + 100 >= enough) throw error;
      }
    }
  }

  /** Keep the answer to the latest request; an earlier one's may come later. */
  #keep(path, data, asked) {
    const kept = this.#cache.get(path);
    if (!kept || kept.at <= asked) this.#cache.set(path, { data, at: asked });
  }

  #secret({ status, body }, path) {
    const inner = body.data || {};
    if (status === 403) throw new Denied(`the policy denies ${path}`);
    if (status === 404) {
      this.#cache.delete(path);
      if (inner.metadata) throw new Deleted(`${path} is deleted`);
      throw new Missing(`there is no ${path}`);
    }
    if (status !== 200) throw new ClientError(`Vault answered ${status}: ${(body.errors || []).join(" ")}`);
    if (inner.data === null || typeof inner.data !== "object") {
      throw new GivenUp("the answer is none of Vault's");
    }
    return inner.data;
  }

  /** The last good value, or else the environment's. */
  #instead(error, path, key) {
    const unknown = error instanceof Unavailable;
    if (!unknown && !(error instanceof LoginRefused)) throw error;
    const kept = this.#cache.get(path);
    if (kept && performance.now() - kept.at < this.maxStale) {
      this.log(`serving an old value of ${path}: ${error.message}`);
      return { value: pick(kept.data, path, key), stale: true };
    }
    if (unknown && this.env[key] !== undefined) {
      this.log(`serving ${key} from the environment: ${error.message}`);
      return { value: this.env[key], stale: false };
    }
    throw error;
  }

  #fromEnvironment(key) {
    if (this.env[key] === undefined) throw new Missing(`${key} is not set, and Vault is not used`);
    return this.env[key];
  }

  /** A dead token costs one login and one repetition. */
  async #authorised(method, path, deadline, body) {
    const token = await this.#valid(deadline);
    const answer = await this.#ask(method, path, deadline, token, body);
    if (answer.status !== 403 || !(await this.#wasDead(path, token, deadline))) return answer;
    return this.#ask(method, path, deadline, await this.#valid(deadline), body);
  }

  async #ask(method, path, deadline, token, body) {
    if (token.uses > 0) token.uses = token.uses > 1 ? token.uses - 1 : -1;
    const answer = await this.gate.pass(deadline, path, () =>
      this.#sent(method, path, { deadline, token: token.value, body }),
    );
    if (answer.status < 400) this.#lastGood = performance.now();
    return answer;
  }

  /** The answer, and when it was asked for: after the gate, or a renewal that waited there is repeated. */
  async #sent(method, path, options) {
    const asked = performance.now();
    return { ...(await this.wire.send(method, path, options)), asked };
  }

  /**
   * Change the token, one call after the other. A request has an end of its own: Vault may have granted a
   * login whose answer a call did not await, so the call leaves, and the next one gets the result.
   */
  #change(deadline, task) {
    return within(this.#changing.run(deadline, task), deadline);
  }

  /** That end, unless the caller is gone before anything is sent. */
  #ownEnd(deadline) {
    if (this.gate.opens >= deadline) throw new GivenUp("Vault does not answer in time");
    return performance.now() + this.timeout;
  }

  /** Whether a 403 was the token's fault; the first to find out drops it. */
  #wasDead(path, token, deadline) {
    return this.#change(deadline, async () => {
      if (this.#token !== token) return true;
      const denied = this.#denied.get(path);
      if (denied && denied.mark === digest(token.value) && performance.now() < denied.until) return false;
      const end = this.#ownEnd(deadline);
      const { status, body } = await this.#ask("GET", "auth/token/lookup-self", end, token);
      // "1 error occurred" is a policy's denial: the token lives.
      if (status === 403 && !(body.errors || []).join(" ").includes("1 error occurred")) {
        this.log("the token is dead before its time, logging in again");
        this.#token = null;
        return true;
      }
      this.#denied.set(path, { mark: digest(token.value), until: performance.now() + DENIAL_KEPT });
      return false;
    });
  }

  // The token's life

  #lives(token) {
    return Boolean(token) && token.uses >= 0 && (!token.ttl || performance.now() < token.since + token.ttl);
  }

  async #valid(deadline) {
    if (this.#lives(this.#token)) return this.#token;
    return this.#change(deadline, async () => {
      if (!this.#lives(this.#token)) await this.#logIn(deadline);
      return this.#token;
    });
  }

  async #logIn(deadline) {
    if (this.#closed) throw new GivenUp("the client is closed");
    const roleId = this.#id("VAULT_ROLE_ID");
    const secretId = this.#id("VAULT_SECRET_ID");
    const mark = digest(secretId);
    const failed = (this.#refused.get(mark) || []).filter((at) => performance.now() - at < LOCKOUT);
    if (failed.length >= TRIES || performance.now() - (failed.at(-1) ?? -Infinity) < 1000 * 2 ** failed.length) {
      throw new LoginRefused("Vault refuses this secret-id; more tries would lock the role");
    }
    const end = this.#ownEnd(deadline);
    const answer = await this.gate.pass(end, "login", async () => {
      const body = { role_id: roleId, secret_id: secretId };
      const got = await this.#sent("POST", "auth/approle/login", { deadline: end, body });
      if (got.status === 403) throw new Unavailable("Vault takes no login of this role at present");
      if (got.status === 200 && !got.body.auth?.client_token) throw new Unavailable("that login was none of Vault's");
      return got;
    });
    const auth = answer.body.auth;
    if (answer.status !== 200) {
      if (answer.status === 400) this.#refused.set(mark, [...failed, performance.now()]);
      this.#loginRefused = true;
      this.log(`Vault refused the login (${answer.status}); it needs a new secret-id`);
      throw new LoginRefused("Vault refused role-id or secret-id");
    }
    this.#loginRefused = false;
    this.#lastGood = performance.now();
    const ttl = (auth.lease_duration || 0) * 1000;
    this.#token = {
      value: auth.client_token,
      firstTtl: ttl,
      ttl,
      since: answer.asked,
      renewable: auth.renewable === true,
      batch: auth.token_type === "batch",
      uses: auth.num_uses || 0,
    };
    this.#pause = 0;
    this.#arm();
    this.log(`logged in, the token lives ${ttl / 1000} s`);
  }

  #id(name) {
    let value = this.env[name] || "";
    if (this.env[`${name}_FILE`]) {
      try {
        value = readFileSync(this.env[`${name}_FILE`], "utf8").trim() || value;
      } catch {
        // It is being replaced; the last one holds.
      }
    }
    if (value) this.#ids[name] = value;
    if (!this.#ids[name]) throw new LoginRefused(`there is no ${name}`);
    return this.#ids[name];
  }

  #arm(pause) {
    clearTimeout(this.#timer);
    const token = this.#token;
    if (this.#closed || !token || !token.ttl) return;
    const due = token.since + token.ttl * (0.56 + 0.12 * Math.random()) - performance.now();
    this.#timer = setTimeout(() => this.#tick(), Math.min(Math.max(0, pause ?? due), LONGEST_TIMER));
  }

  /** Renew, or log in while the old token lives. */
  async #tick() {
    try {
      const deadline = performance.now() + this.timeout;
      await this.#changing.run(deadline, async () => {
        const token = this.#token;
        if (this.#closed || !this.#lives(token)) return; // the next call logs in
        if (!(await this.#renewed(token, deadline))) await this.#logIn(deadline);
      });
    } catch (error) {
      this.log(`the token was not renewed: ${error.message}`);
      this.#pause = Math.min(this.#pause * 2 || 400, this.longestPause);
      this.#arm(this.#pause * (0.9 + 0.2 * Math.random()));
    }
  }

  /** Whether this token lives on; if not, another is needed. */
  async #renewed(token, deadline) {
    if (!token.renewable || token.batch) return false;
    const { status, body, asked } = await this.#ask("POST", "auth/token/renew-self", deadline, token, {}).catch(
      (error) => {
        if (!error.message.includes(PAST_MAX_TTL)) throw error; // otherwise a refusal, in spite of its status
        return { status: 500 };
      },
    );
    if (status !== 200) {
      token.renewable = false;
      return false;
    }
    if (!body.auth) throw new Unavailable("the answer to the renewal is none of Vault's");
    token.since = asked;
    token.ttl = (body.auth?.lease_duration || 0) * 1000;
    this.#pause = 0;
    token.renewable = token.ttl >= token.firstTtl * 0.9; // less: its max TTL is near
    if (token.renewable) this.#arm();
    return token.renewable;
  }
}

function pick(data, path, key) {
  if (!Object.hasOwn(data, key)) throw new Missing(`there is no ${key} in ${path}`);
  return String(data[key]);
}
