// Requests to Vault: kept-alive connections, one deadline for each request, whole answers or none.

import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

import { Unavailable } from "./errors.mjs";

const LARGEST = 32 * 1024 * 1024; // bytes
const LONGEST_WAIT = 15 * 60; // s; more is not plausible

export class Wire {
  constructor(env) {
    this.base = new URL(env.VAULT_ADDR || "http://127.0.0.1:8200");
    this.namespace = env.VAULT_NAMESPACE || "";
    this.env = env;
    this.secure = this.base.protocol === "https:";
    this.http = this.secure ? https : http;
    this.agent = new this.http.Agent({ keepAlive: true, maxSockets: 64 });
  }

  /** Certificates from the present files; new ones mean new connections. */
  #tls() {
    const file = (name) => (this.env[name] ? readFileSync(this.env[name]) : undefined);
    return this.secure
      ? { ca: file("VAULT_CACERT"), cert: file("VAULT_CLIENT_CERT"), key: file("VAULT_CLIENT_KEY") }
      : {};
  }

  /** Resolves to `{status, body}`; rejects with `Unavailable` without an answer. */
  async send(method, path, { deadline, token, body }) {
    try {
      return await this.#once(method, path, { deadline, token, body }, this.agent);
    } catch (error) {
      // The peer closed an idle connection before it saw the request.
      if (method !== "GET" || !error.stale) throw error;
      return await this.#once(method, path, { deadline, token, body }, false);
    }
  }

  /** Ends idle connections: one cause may have killed them all. */
  #leaveIdle() {
    for (const idle of Object.values(this.agent.freeSockets)) for (const socket of [...idle]) socket.destroy();
  }

  #once(method, path, { deadline, token, body }, agent, leader) {
    const data = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const headers = { "X-Vault-Request": "true" };
    if (token) headers["X-Vault-Token"] = token;
    if (this.namespace) headers["X-Vault-Namespace"] = this.namespace;
    if (data) headers["Content-Length"] = data.length;
    const url = leader ?? new URL(`/v1/${path.split("/").map(encodeURIComponent).join("/")}`, this.base);
    return new Promise((resolve, reject) => {
      const fail = (why, stale = false) => {
        clearTimeout(timer);
        request.destroy();
        this.#leaveIdle();
        reject(Object.assign(new Unavailable(`${why} at ${this.base.host}`), { stale }));
      };
      let request;
      try {
        request = this.http.request(url, { method, headers, agent, ...this.#tls() });
      } catch (error) {
        // A TLS file may be missing while it is replaced, or its key not fit.
        reject(new Unavailable(`${error.code || error.name} before ${this.base.host} was asked`));
        return;
      }
      const timer = setTimeout(() => fail("no answer in time"), deadline - performance.now());
      request.on("error", (error) => fail(error.code || error.name, request.reusedSocket));
      request.on("response", (response) => {
        const there = response.statusCode === 307 && !leader && response.headers.location;
        if (there && new URL(there, url).protocol === url.protocol) {
          // A standby that cannot forward redirects once to its leader.
          clearTimeout(timer);
          response.resume();
          resolve(this.#once(method, path, { deadline, token, body }, agent, new URL(there, url)));
          return;
        }
        const parts = [];
        let length = 0;
        response.on("error", (error) => fail(error.code || error.name));
        response.on("data", (part) => {
          length += part.length;
          parts.push(part);
          if (length > LARGEST) fail("an answer without end");
        });
        response.on("end", () => {
          clearTimeout(timer);
          try {
            if (!response.complete) throw new Unavailable("the answer was cut short");
            resolve(understand(response, Buffer.concat(parts)));
          } catch (error) {
            reject(error);
          }
        });
      });
      request.end(data);
    });
  }
}

/** Whether it is Vault's: a gateway's refusal says nothing about a secret. */
function isVaults(status, body) {
  if (body === null || typeof body !== "object" || !Array.isArray(body.errors ?? [])) return false;
  const refused = [400, 401, 403, 404].includes(status);
  return !refused || Boolean(body.errors || body.data?.metadata || body.request_id);
}

function understand(response, content) {
  const status = response.statusCode;
  let body = {};
  if (status !== 204) {
    try {
      body = JSON.parse(content.toString("utf8"));
    } catch {
      throw new Unavailable(`the answer (${status}) is none of Vault's`);
    }
    if (!isVaults(status, body)) throw new Unavailable(`the answer (${status}) is none of Vault's`);
  }
  if (status >= 500 || [307, 412, 429, 472, 473].includes(status)) {
    const seconds = Math.min(Number(response.headers["retry-after"]), LONGEST_WAIT);
    const why = (body.errors || []).join(" ").slice(0, 200);
    throw new Unavailable(`Vault answered ${status}: ${why}`, seconds > 0 ? seconds * 1000 : 0);
  }
  return { status, body };
}
