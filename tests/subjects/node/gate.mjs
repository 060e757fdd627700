// Lets everybody pass while Vault answers. After a failure one probe at a time passes, ever less often.

import { GivenUp, Unavailable } from "./errors.mjs";

const FIRST = 400; // ms

export class Gate {
  #failures = 0;
  #opens = 0;
  #probing = false;
  #waiting = new Set();
  #line = []; // who comes first is the next probe; who has failed stands at the end again

  constructor(longest) {
    this.longest = longest; // ms between probes at most
  }

  get open() {
    return this.#failures === 0;
  }

  /** Run `request` when it is its turn; `Unavailable` closes the gate, every other end opens it. */
  async pass(deadline, request) {
    const probe = await this.#enter(deadline);
    try {
      const result = await request();
      this.#succeeded();
      return result;
    } catch (error) {
      if (error instanceof Unavailable) this.#failed(probe, error.retryAfter);
      else this.#succeeded();
      throw error;
    } finally {
      if (probe) this.#probing = false;
      this.#wake();
    }
  }

  async #enter(deadline) {
    if (this.#failures === 0) return false;
    const mine = {};
    this.#line.push(mine);
    try {
      while (this.#failures > 0) {
        const now = performance.now();
        if (Math.max(now, this.#opens) >= deadline) throw new GivenUp("Vault does not answer in time");
        if (now >= this.#opens && !this.#probing && this.#line[0] === mine) {
          this.#probing = true;
          return true;
        }
        await this.#change((now < this.#opens ? this.#opens : deadline) - now);
      }
      return false;
    } finally {
      const first = this.#line[0] === mine;
      this.#line.splice(this.#line.indexOf(mine), 1);
      if (first) this.#wake(); // the next one may be the probe now
    }
  }

  #succeeded() {
    this.#failures = 0;
  }

  #failed(probe, retryAfter) {
    if (!probe && this.#failures > 0) return; // those who failed together count once
    const pause = Math.min(FIRST * 2 ** this.#failures, this.longest) * (0.95 + 0.1 * Math.random());
    this.#failures += 1;
    this.#opens = performance.now() + Math.max(pause, retryAfter);
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

  /** Run `task` when all before it have ended, unless that is after `deadline`. */
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
