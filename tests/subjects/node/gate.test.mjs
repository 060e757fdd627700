// node --test tests/subjects/node/gate.test.mjs
// Nobody is the probe again and again while others wait.
import assert from "node:assert";
import { test } from "node:test";

import { GivenUp, Unavailable } from "./errors.mjs";
import { Gate } from "./gate.mjs";

const PAUSE = 20; // ms between probes at most
const soon = () => performance.now() + 5000; // far away

/** Asks for `what`, and notes in `asked` when that is sent; it fails if it is sick. */
function ask(gate, asked, what, sick = []) {
  return gate.pass(soon(), what, async () => {
    asked.push(what);
    if (sick.includes(what)) throw new Unavailable(`${what} is sick`);
    return what;
  });
}

/** A closed gate: what was asked for has failed, one after the other. */
async function closed(...sick) {
  const gate = new Gate(PAUSE);
  for (const what of sick) await assert.rejects(ask(gate, [], what, [what]), Unavailable);
  assert.equal(gate.open, false);
  return gate;
}

test("everybody passes while nothing fails", async () => {
  const gate = new Gate(PAUSE);
  const asked = [];
  await Promise.all([ask(gate, asked, "a"), ask(gate, asked, "b")]);
  assert.deepEqual(asked, ["a", "b"]);
});

test("what has not failed is asked for first, whoever came first", async () => {
  const gate = await closed("sick");
  const asked = [];
  const calls = ["sick", "sick", "fine"].map((what) => ask(gate, asked, what, ["sick"]));
  const [first, second, fine] = await Promise.allSettled(calls);
  assert.equal(asked[0], "fine"); // the first in the line would be the sick one
  assert.equal(fine.value, "fine");
  assert.ok(first.reason instanceof Unavailable && second.reason instanceof Unavailable);
});

test("of what has failed the one is asked for that failed longest ago", async () => {
  const gate = await closed("a", "b");
  const asked = [];
  await Promise.allSettled(["b", "a"].map((what) => ask(gate, asked, what, ["a", "b"])));
  assert.deepEqual(asked, ["a", "b"]);
});

test("of those that are alike the first in the line is", async () => {
  const gate = await closed("sick");
  const asked = [];
  await Promise.all(["a", "b", "c"].map((what) => ask(gate, asked, what)));
  assert.deepEqual(asked, ["a", "b", "c"]);
});

test("one probe at a time passes, and a good one opens the gate for all", async () => {
  const gate = await closed("sick");
  let underWay = 0;
  let most = 0;
  const probe = (what, sick) =>
    gate.pass(soon(), what, async () => {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setTimeout(resolve, 5));
      underWay -= 1;
      if (sick) throw new Unavailable("still sick");
    });
  await Promise.allSettled(["a", "b", "c"].map((what) => probe(what, true)));
  assert.equal(most, 1);
  await probe("d", false);
  assert.equal(gate.open, true);
});

test("who has no time for its turn gives up", async () => {
  const gate = await closed("sick");
  await assert.rejects(
    gate.pass(performance.now() + 1, "a", () => assert.fail("it was sent")),
    GivenUp,
  );
});

test("what was on its way and succeeds does not shorten a wait that Vault has asked for", async () => {
  const gate = new Gate(PAUSE);
  let release;
  const fine = gate.pass(soon(), "fine", () => new Promise((resolve) => (release = resolve)));
  const refused = gate.pass(soon(), "refused", async () => {
    throw new Unavailable("too many requests", 60);
  });
  await assert.rejects(refused, Unavailable);
  const told = performance.now();
  release("fine");
  assert.equal(await fine, "fine");
  assert.equal(gate.open, false);
  await ask(gate, [], "other");
  assert.ok(performance.now() - told >= 50);
  assert.equal(gate.open, true);
});
