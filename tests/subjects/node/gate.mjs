// Lets everybody pass while Vault answers. After a failure one probe at a time passes, ever less often:
// first for what has not failed yet, or else failed longest ago. So one sick secret does not hold up all.

import { GivenUp, Unavailable } from "./errors.mjs";

const FIRST = 400; // ms

export class Gate {
  #failures = 0;
  #opens = 0;
  #told = 0; // until when Vault has asked to wait, even if an earlier request succeeds
  #probing = false;
  #waiting = new Set();
  #line = []; // those that wait, in order
  #failed = new Map(); // what was asked for -> when it failed last

  constructor(longest) {
    this.longest = longest; // ms between probes at most
  }

  get open() {
    return this.#failures === 0;
  }

  /** When the next one passes; long past while the gate is open. */
  get opens() {
    return this.open ? -Infinity : this.#opens;
  }

  /** Run `request` in its turn; `Unavailable` closes the gate, every other end opens it. */
  async pass(deadline, what, request) {
    const probe = await this.#enter(deadline, what);
    try {
      const result = await request();
      this.#open(what);
      return result;
    } catch (error) {
      if (error instanceof Unavailable) this.#close(what, probe, error.retryAfter);
      else this.#open(what);
      throw error;
    } finally {
      if (probe) this.#probing = false;
      this.#wake();
    }
  }

  async #enter(deadline, what) {
    if (this.#failures === 0) return false;
    const mine = { what };
    this.#line.push(mine);
    try {
      while (this.#failures > 0) {
        const now = performance.now();
        if (Math.max(now, this.#opens) >= deadline) throw new GivenUp("Vault does not answer in time");
        if (now >= this.#opens && !this.#probing && this.#next() === mine) {
          this.#probing = true;
          return true;
        }
        await this.#change((now < this.#opens ? this.#opens : deadline) - now);
      }
      return false;
    } finally {
      this.#line.splice(this.#line.indexOf(mine), 1);
      this.#wake(); // another one may be the probe now
    }
  }

  /** Who is the next probe; the first of several that are alike. */
  #next() {
    const failed = ({ what }) => this.#failed.get(what) ?? -Infinity;
    return this.#line.reduce((best, one) => (failed(one) < failed(best) ? one : best));
  }

  #open(what) {
    this.#failed.delete(what);
    if (performance.now() >= this.#told) this.#failures = 0;
  }

  #close(what, probe, retryAfter) {
    this.#failed.set(what, performance.now());
    this.#told = Math.max(this.#told, performance.now() + retryAfter);
    this.#opens = Math.max(this.#opens, this.#told);
    if (!probe && this.#failures > 0) return; // requests that failed together count once
    const pause = Math.min(FIRST * 2 ** this.#failures, this.longest) * (0.95 + 0.1 * Math.random());
    this.#failures += 1;
    this.#opens = Math.max(performance.now() + pause, this.#told);
  }

  #change(longest) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, Math.max(1, longest));
      this.#waiting.add(done);
    });
  }

  #wake() {
    for (const done of [...this.#waiting]) done();
  }
}

/** Runs one task after the other. */
export class Queue {
  #last = Promise.resolve();

  /** Run `task` after all before it, unless that is after `deadline`. */
  async run(deadline, task) {
    const before = this.#last;
    let leave;
    this.#last = new Promise((resolve) => (leave = resolve));
    try {
      await within(before, deadline);
      return await task();
    } finally {
      before.then(leave);
    }
  }

  /** Resolves when nothing runs. */
  get idle() {
    return this.#last;
  }
}

export async function within(promise, deadline) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(
      () => reject(new GivenUp("an earlier request still waits for Vault")),
      Math.max(1, deadline - performance.now()),
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
