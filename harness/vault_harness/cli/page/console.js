"use strict";

const at = (id) => document.getElementById(id);
const SHOWN = 200; // rows of requests
let last = null; // the newest event
let held = false; // whether requests wait
let waiting = []; // requests that came meanwhile
let known = new Map(); // when each token was renewed
let soFar = ""; // what is broken, as it was last read aloud

/** Make an element with text or children; everything from Vault goes in as text. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function tell(text, bad = false) {
  at("said").textContent = text;
  at("said").classList.toggle("bad", bad);
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

function length(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.round(whole / 60)} min`;
  return whole < 172800 ? `${Math.round(whole / 3600)} h` : `${Math.round(whole / 86400)} d`;
}

async function order(place, body, button) {
  button.disabled = true;
  try {
    const answer = await fetch(place, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const told = await answer.json();
    const remedy = told.remedy ? `. What to do: ${told.remedy}` : "";
    tell(answer.ok ? told.done : told.error + remedy, !answer.ok);
  } catch {
    tell("The console does not answer. Start it again in the terminal.", true);
  } finally {
    button.disabled = false;
  }
}

/** Show the faults that can be put, each with its fields. */
async function showVerbs() {
  for (const one of await (await fetch("verbs")).json()) {
    const name = one.verb.replace("break.", "");
    const button = make("button", { type: "submit", class: "break", "aria-label": `Break: ${name}` }, "Break");
    const fields = one.fields.map((field) =>
      make("label", { title: field.help }, field.label,
        make("input", {
          name: field.name, inputmode: field.number ? "numeric" : null, required: field.needed, autocomplete: "off",
          value: field.name === "target" ? "any" : null, placeholder: field.needed ? "needed" : "default",
        })));
    const form = make("form", { class: "verb" },
      make("div", { class: "row" },
        make("div", {}, make("code", {}, name), make("small", {}, one.says)), button));
    if (fields.length) {
      const open = one.fields.some((field) => field.needed && field.name !== "target");
      form.append(make("details", { open }, make("summary", {}, "options", make("span", { class: "unseen" }, ` of ${name}`)),
        make("div", { class: "fields" }, ...fields)));
    }
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const options = {};
      for (const [field, value] of new FormData(form)) if (value) options[field] = value;
      order("break", { verb: one.verb, options, for: at("for").value }, button);
    });
    at("verbs").append(form);
  }
}

/** Change children only where they differ, so that the focus stays. */
function keep(list, items, key, draw, update) {
  const present = new Map([...list.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    let child = present.get(key(item));
    present.delete(key(item));
    if (!child) {
      child = draw(item);
      child.dataset.key = key(item);
    }
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
    update(child, item);
  });
  for (const gone of present.values()) {
    if (gone.contains(document.activeElement)) at("heal").focus();
    gone.remove();
  }
}

function showBroken({ faults, broken, counts }) {
  const items = [
    ...faults,
    ...broken.map((one) => ({ id: one.text, text: `status: ${one.text}`, since: one.since })),
    ...counts.map((text) => ({ id: text.split(":")[0], text, since: 0 })),
  ];
  keep(at("faults"), items.length ? items : [{ id: "none", text: "Nothing is broken.", since: 0, none: true }],
    (one) => one.id,
    (one) => {
      const item = make("li", { class: one.none ? "none" : one.until ? "put" : "seen" },
        make("div", {}, make("span"), make("small")));
      if (one.until) {
        const button = make("button", { type: "button", "aria-label": `Mend: ${one.text}` }, "Mend");
        button.addEventListener("click", () => order("mend", { fault: one.id }, button));
        item.append(button);
      }
      return item;
    },
    (item, one) => {
      item.querySelector("span").textContent = one.text;
      const left = one.until ? `, ${length(one.until - Date.now() / 1000)} left` : "";
      item.querySelector("small").textContent = one.since ? `since ${clock(one.since)}${left}` : "";
    });
  const now = (faults.length ? faults : broken).map((one) => one.text).join("; ");
  if (now !== soFar && last) tell(now ? `Broken now: ${now}` : "Nothing is broken.");
  soFar = now;
}

function showTokens(tokens) {
  const items = tokens.length ? tokens : [{ id: "none" }];
  keep(at("tokens"), items, (one) => one.id,
    (one) => one.id === "none"
      ? make("li", { class: "none" }, "No token is known.")
      : make("li", {}, make("span", {}, one.who), make("progress", { max: 1, "aria-label": `Life of a token of ${one.who}` }), make("span")),
    (item, one) => {
      if (one.id === "none") return;
      const left = one.until - Date.now() / 1000;
      const bar = item.querySelector("progress");
      bar.value = one.until ? Math.max(0, left / (one.until - one.renewed)) : 1;
      bar.classList.toggle("low", one.until > 0 && bar.value < 0.25);
      item.lastChild.textContent = one.until ? (left > 0 ? `${length(left)} left` : "has ended") : "never ends";
      const before = known.get(one.id);
      known.set(one.id, one.renewed);
      if (before !== undefined && before < one.renewed) {
        item.classList.remove("renewed");
        void item.offsetWidth; // lets the animation run again
        item.classList.add("renewed");
      }
    });
}

function showRequests(requests) {
  if (held) {
    waiting = [...waiting, ...requests].slice(-SHOWN);
    return;
  }
  for (const one of requests) {
    const time = make("time", { datetime: new Date(one.time * 1000).toISOString() }, clock(one.time));
    at("requests").prepend(make("tr", { class: `${one.status} new` },
      make("td", {}, time), make("td", {}, one.who), make("td", {}, one.what),
      make("td", { title: one.error || null }, one.node ? `${one.path} (${one.node})` : one.path),
      make("td", {}, one.status), make("td", { class: "number" }, one.ms === null ? "" : String(one.ms))));
  }
  while (at("requests").children.length > SHOWN) at("requests").lastChild.remove();
  at("quiet").hidden = at("requests").children.length > 0;
}

function show(event) {
  const good = event.state === "ready" && !event.broken.length && !event.faults.length;
  at("state").textContent = event.trouble || (good || event.state !== "ready" ? event.state : "broken");
  at("state").className = `pill ${good ? "good" : "bad"}`;
  at("where").textContent = [event.product, event.address].filter(Boolean).join(" at ");
  document.title = `${at("state").textContent} · vault-harness`;
  keep(at("servers"), event.servers, (one) => one.name, (one) => make("li"),
    (item, one) => {
      item.textContent = `${one.name} ${one.state}`;
      item.className = ["runs", "unsealed", "leader", "standby"].includes(one.state) ? "" : "bad";
    });
  showBroken(event);
  showTokens(event.tokens);
  showRequests(event.requests);
  last = event;
}

at("heal").addEventListener("click", () => order("mend", {}, at("heal")));
at("hold").addEventListener("click", () => {
  held = !held;
  at("hold").setAttribute("aria-pressed", held);
  if (!held) showRequests(waiting.splice(0));
});
setInterval(() => { if (last) { showTokens(last.tokens); showBroken(last); } }, 250);
showVerbs();
const events = new EventSource("events");
events.onopen = () => at("requests").replaceChildren(); // a new stream begins with the latest ones
events.onmessage = (message) => show(JSON.parse(message.data));
events.onerror = () => {
  at("state").textContent = "console ended";
  at("state").className = "pill bad";
};
