"use strict";
// The page: the summary or one scenario, and the list of scenarios. All times are in milliseconds.
(async () => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const heads = JSON.parse($("#heads").textContent);

  // Made by text, never by markup: what a client said must not become a part of the page.
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }
  const SVG = "http://www.w3.org/2000/svg";
  function shape(name, attributes = {}, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  async function unpacked() {
    const bytes = Uint8Array.from(atob($("#data").textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }
  let data = null;
  const ready = unpacked().then((content) => { data = content; });

  // The table

  const trs = $$("#table tbody tr");
  function narrow() {
    const text = $("#find").value.trim().toLowerCase();
    const words = new Set($$("[name=word]:checked").map((box) => box.value));
    let count = 0;
    for (const tr of trs) {
      const its = tr.dataset.words.split("|");
      const shown = (!text || tr.dataset.text.includes(text)) && its.some((word) => words.has(word));
      tr.hidden = !shown;
      count += shown;
    }
    $("#shown").textContent = count === trs.length ? `${count} scenarios` : `${count} of ${trs.length} scenarios`;
  }
  $(".filters").addEventListener("input", narrow);
  $(".filters").addEventListener("submit", (event) => event.preventDefault());

  // Events of one scenario: from the journal's rows to what can be drawn and listed.

  const hundredths = (ms) => (Math.round(ms / 10) / 100).toFixed(2); // 5 ms always up: the page's data have seen to that
  const seconds = (ms) => `${hundredths(ms)} s`;
  const took = (began, ended) => (ended === null ? "had not ended" : `took ${seconds(ended - began)}`);
  const nothing = (value) => value === null || value === undefined;
  const valued = (value) => (value === "unknown" ? ", a value that nobody ever wrote" : value ? `, the value ${value}` : "");
  const UNREAD = 0.1; // seconds for which a request lay unread that are told: it is judged by when it came
  const STOOD = 0.1; // and for which the machine stood still: shorter ones are in every run
  const HTTP = ["login", "renew", "lookup", "read", "write", "revoke", "other"];

  function eventsOf(run) {
    const events = [];
    const add = (event) => { events.push(event); return event; };
    for (const [name, began, ended, detail] of run.faults) {
      const extra = Object.entries(detail || {}).map(([key, value]) => `${key} ${value}`).join(", ");
      add({ lane: "faults", began, ended, shape: "fault", label: name,
        what: `fault: ${name}${extra ? ` (${extra})` : ""}`, end: ended === null ? "not undone" : `lasted ${seconds(ended - began)}` });
    }
    for (const [at, done, path, value] of run.rotations) {
      add({ lane: "values", began: at, ended: done ?? at, shape: "value", label: String(value).endsWith("seeded") ? "" : String(value),
        what: `${path} is given the value ${value}`, end: "" });
    }
    for (const [verb, path, began, ended, outcome, value, message, caller, key] of run.operations) {
      const own = verb === "start" || verb === "close" || verb === "health";
      const kind = outcome === "ok" ? "good" : outcome === "stale" ? "old" : outcome === null ? "open" : "bad";
      add({ lane: own ? "subject" : `caller ${caller}`, began, ended, shape: kind,
        what: `${verb} ${path}${key ? ` (${key})` : ""}`.trim(),
        end: `${outcome ?? "not ended"}${valued(value)}, ${took(began, ended)}${message ? `: ${message}` : ""}` });
    }
    for (const [toxic, opened, closed] of run.touches) {
      add({ lane: "proxy", began: opened, ended: closed, shape: "touch", what: `toxic ${toxic} acts on a connection`,
        end: closed === null ? "open to the end" : `for ${seconds(closed - opened)}` });
    }
    run.connections.forEach((at, index) => add({ lane: "proxy", began: at, ended: at, shape: "open",
      what: `connection ${index + 1} to Vault is opened`, end: "" }));
    for (const [at, connection, protocol, refused] of run.handshakes) {
      add({ lane: "proxy", began: at, ended: at, shape: refused ? "bad" : "open",
        what: `TLS handshake of connection ${connection}`, end: refused ? `refused: ${refused}` : `good, it speaks ${protocol ?? "HTTP"}` });
    }
    for (const [began, ended, credential, accepted] of run.uses) {
      add({ lane: "database", began, ended, shape: accepted ? "good" : "bad",
        what: `login at the database with ${credential}`, end: accepted ? "accepted" : "refused" });
    }
    for (const [at, length] of run.stalls) {
      if (length < STOOD) continue;
      add({ lane: "machine", began: at, ended: at + length * 1000, shape: "touch",
        what: "the machine stood still", end: `for ${length.toFixed(2)} s` });
    }
    for (const [kind, method, path, began, ended, status, token, secretId, ttl, retryAfter, errors, by, closed, connection, waited,
      credential, namespace, renewable, interference] of run.exchanges) {
      const refused = status === null || status >= 400;
      const lane = HTTP.includes(kind) ? kind : "other";
      const said = [
        status === null ? `no answer${closed ? `, the ${closed} closed it` : ""}` : `answered ${status}`,
        took(began, ended), ttl ? `TTL ${ttl} s` : null, ttl && renewable === false ? "not renewable" : null,
        nothing(retryAfter) ? null : `Retry-After ${retryAfter} s`,
        errors && errors.length ? `“${[errors].flat().join("; ")}”` : null,
        by === "stub" ? "by the harness in Vault's place" : null, interference ? `under the fault “${interference}”` : null,
        waited >= UNREAD ? `${waited.toFixed(2)} s after it came` : null,
      ];
      add({ lane: `HTTP ${lane}`, began, ended, shape: refused ? "bad" : lane === "login" || lane === "renew" ? lane : "good",
        what: [`${method} ${path}`, namespace ? `in namespace ${namespace}` : null, secretId || token ? `with ${secretId || token}` : null,
          credential ? `about ${credential}` : null, `(connection ${connection})`].filter(Boolean).join(" "),
        end: said.filter(Boolean).join(", ") });
    }
    for (const [at, operation, path, error] of run.audit) {
      add({ lane: "audit", began: at, ended: at, shape: error ? "bad" : "audit", what: `${operation} ${path}`, end: error ?? "" });
    }
    for (const life of lives(run)) add(life);
    for (const [at, text] of run.marks) add({ lane: "subject", began: at, ended: at, shape: "mark", what: text, end: "" });
    events.sort((a, b) => a.began - b.began);
    events.forEach((event, index) => { event.row = index; });
    return events;
  }

  // A token lives from its login to the end that Vault named last, or to its revocation.
  function lives(run) {
    const found = new Map();
    let unnamed = 0;
    for (const [kind, , , began, ended, status, token, secretId, ttl] of run.exchanges) {
      if (status === null || status >= 300) continue;
      if (kind === "login" && ttl) {
        unnamed += 1; // by its own name: of logins that overlap the later answer may come first
        found.set(token ?? `token-${unnamed}`, { began: ended, ended: ended + ttl * 1000, renewals: 0 });
      } else if (kind === "renew" && found.has(token) && ttl) {
        const life = found.get(token);
        life.ended = ended + ttl * 1000;
        life.renewals += 1;
      } else if (kind === "revoke" && found.has(token)) found.get(token).ended = ended;
    }
    return [...found].map(([name, life]) => ({ lane: "tokens", began: life.began, ended: life.ended, shape: "token", label: name,
      what: `${name} lives, by what Vault said`, end: `${seconds(life.ended - life.began)}, renewed ${life.renewals}×` }));
  }

  // The timeline

  const ORDER = ["faults", "values", "caller", "subject", "database", "machine", "proxy", "HTTP login", "HTTP renew", "HTTP lookup", "HTTP read",
    "HTTP write", "HTTP revoke", "HTTP other", "audit", "tokens"];
  const rank = (lane) => ORDER.indexOf(lane.startsWith("caller ") ? "caller" : lane);
  const MORE = new Set(["proxy", "machine", "audit"]); // lanes of witnesses that few questions need

  // Events that overlap stand in rows below each other; past `most` rows they share the last.
  function stacked(events, most) {
    const ends = [];
    for (const event of events) {
      let row = ends.findIndex((end) => end <= event.began);
      if (row < 0) row = ends.length < most ? ends.length : most - 1;
      ends[row] = Math.max(ends[row] ?? 0, (event.ended ?? Infinity) + 1);
      event.line = row;
    }
    return Math.max(1, ends.length);
  }

  function lanesOf(events) {
    const callers = new Set(events.map((event) => event.lane).filter((lane) => lane.startsWith("caller ")));
    const joined = callers.size > 8; // fifty callers are one lane, which shows how many waited at once
    const lanes = new Map();
    for (const event of events) {
      const name = joined && event.lane.startsWith("caller ") ? `${callers.size} callers` : event.lane;
      if (!lanes.has(name)) lanes.set(name, []);
      lanes.get(name).push(event);
    }
    const place = (name) => (name.endsWith(" callers") ? ORDER.indexOf("caller") : rank(name));
    const number = (name) => Number(name.split(" ")[1]) || 0;
    return [...lanes].sort(([a], [b]) => place(a) - place(b) || number(a) - number(b));
  }

  const ROW = 12, TOP = 20, PAPER = 560; // of a sheet's width, what a picture may have beside its lanes' names
  let paper = false; // whether it is being printed
  let zoom = 1, cursor = null, active = null; // how far in, the moment that was chosen, the event that the keys are at
  let more = false; // whether the lanes in MORE are shown
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "11px system-ui, sans-serif"; // as page.css has it for a timeline

  // As much of a label as there is room for: beyond its bar it would stand on a ground that it is not coloured for.
  function fitted(label, room) {
    if (pen.measureText(label).width <= room) return label;
    let length = label.length;
    while (length > 0 && pen.measureText(`${label.slice(0, length)}…`).width > room) length -= 1;
    return length > 0 ? `${label.slice(0, length)}…` : "";
  }

  function draw(run, events, choose) {
    const end = Math.max(1000, ...events.filter((e) => e.lane !== "tokens").map((e) => Math.max(e.began, e.ended ?? 0))) * 1.01;
    const lanes = lanesOf(events);
    let height = TOP, drawn = [];
    const box = element("div", { class: "scroll", tabindex: "0", role: "listbox",
      "aria-label": "Timeline: left and right go from event to event, up and down from lane to lane, Enter finds one in the list of events" });
    const names = shape("svg", { class: "names", width: 84, "aria-hidden": "true" }); // each event says its lane
    const frame = element("div", { class: "timeline" }, names, box);

    function lay() {
      height = TOP;
      drawn = lanes.filter(([name]) => more || !MORE.has(name)).map(([name, its]) => {
        const lines = stacked(its, name.endsWith("callers") ? 14 : name === "values" ? 3 : 6);
        const top = height;
        height += lines * ROW + 8;
        return { name, its, top, lines };
      });
      names.setAttribute("height", height);
      names.replaceChildren(...drawn.map(({ name, top }) => shape("text", { x: 6, y: top + ROW }, name)));
    }
    function showMore(value) {
      more = value;
      lay();
      paint();
    }
    lay();

    function paint() {
      const width = paper ? PAPER : Math.max(200, (box.clientWidth || 800) - 2) * zoom;
      const x = (ms) => (Math.min(Math.max(ms, 0), end) / end) * (width - 8) + 4;
      const svg = shape("svg", { width, height, role: "presentation" });
      const scale = shape("g", { "aria-hidden": "true" });
      const step = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 60000].find((s) => x(s) - x(0) > 62) ?? 120000;
      for (let at = 0; at <= end; at += step) {
        scale.append(shape("line", { class: "tick", x1: x(at), x2: x(at), y1: TOP - 4, y2: height }));
        scale.append(shape("text", { x: x(at) + 2, y: 12 }, `+${+(at / 1000).toFixed(2)} s`));
      }
      svg.append(scale);
      for (const [, began, ended] of run.faults) {
        svg.append(shape("rect", { class: "band", x: x(began), width: Math.max(1, x(ended ?? end) - x(began)), y: TOP, height: height - TOP }));
      }
      for (const { its, top, lines } of drawn) {
        svg.append(shape("line", { class: "lane", x1: 0, x2: width, y1: top + lines * ROW + 5, y2: top + lines * ROW + 5 }));
        const taken = []; // up to where names stand in each row: of two that would overlap the second is left to the list
        for (const event of its) {
          const left = x(event.began), wide = Math.max(2.5, x(event.ended ?? end) - left);
          const rect = shape("rect", { class: event.shape, x: left, y: top + event.line * ROW + 1, width: wide, height: ROW - 3, rx: 1.5,
            "data-row": event.row, id: `event-${event.row}`, role: "option", "aria-selected": "false" });
          rect.append(shape("title", {}, `+${seconds(event.began)}  ${event.lane}: ${event.what}\n${event.end}`)); // its name, too
          svg.append(rect);
          const beside = event.shape === "value";
          let label = beside ? event.label : event.label && wide > 40 ? fitted(event.label, wide - 8) : "", before = false;
          if (beside && label) {
            // What comes last of all, as the closing act does, has its name before it: beyond is the picture's end.
            const long = pen.measureText(label).width;
            before = left + wide + 3 + long > width;
            const from = before ? left - 3 - long : left + wide + 3;
            if (from < (taken[event.line] ?? 0)) label = "";
            else taken[event.line] = from + long;
          }
          if (label) {
            svg.append(shape("text", { class: beside ? "beside" : "inside", x: left + (before ? -3 : beside ? wide + 3 : 4),
              y: top + event.line * ROW + ROW - 3, "text-anchor": before ? "end" : "start", "pointer-events": "none", "aria-hidden": "true" }, label));
          }
        }
      }
      if (cursor !== null) svg.append(shape("line", { class: "cursor", x1: x(cursor), x2: x(cursor), y1: TOP, y2: height }));
      svg.addEventListener("click", (click) => {
        const row = click.target.dataset?.row;
        if (row !== undefined) choose(events[row], true);
      });
      const middle = cursor !== null ? x(cursor) : null;
      box.replaceChildren(svg);
      if (middle !== null) box.scrollLeft = middle - box.clientWidth / 2;
      mark();
    }

    // The focus stays on the box; which event it is at is told by aria-activedescendant.
    function mark() {
      for (const old of $$(".active", box)) {
        old.classList.remove("active");
        old.setAttribute("aria-selected", "false");
      }
      const rect = active === null ? null : $(`#event-${active}`, box);
      rect?.classList.add("active");
      rect?.setAttribute("aria-selected", "true");
      if (rect) box.setAttribute("aria-activedescendant", rect.id);
      return rect;
    }
    function point(event) {
      active = event.row;
      if (!more && MORE.has(event.lane)) {
        $("#more").checked = true;
        showMore(true);
      }
      mark().scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    function reached(key) {
      const there = drawn.flatMap(({ its }) => its).sort((a, b) => a.row - b.row);
      const at = active ?? -1, last = there.length - 1, place = there.indexOf(events[at]);
      const next = { ArrowRight: Math.min(last, place + 1), ArrowLeft: Math.max(0, place - 1), Home: 0, End: last }[key];
      if (next !== undefined) return there[next];
      const step = { ArrowDown: 1, ArrowUp: -1 }[key];
      if (!step) return null;
      const lane = drawn.findIndex(({ its }) => its.includes(events[at])) + step;
      const far = (event) => Math.abs(event.began - (events[at]?.began ?? 0));
      return drawn[Math.min(drawn.length - 1, Math.max(0, lane))].its.reduce((best, one) => (far(one) < far(best) ? one : best));
    }
    box.addEventListener("focus", () => {
      if (active === null && box.matches(":focus-visible")) point(reached("Home"));
    });
    box.addEventListener("keydown", (key) => {
      if (key.ctrlKey || key.metaKey || key.altKey) return;
      const next = reached(key.key);
      if (next) point(next);
      else if ((key.key === "Enter" || key.key === " ") && active !== null) choose(events[active], true);
      else return;
      key.preventDefault();
    });
    box.addEventListener("wheel", (wheel) => {
      if (!wheel.ctrlKey) return;
      wheel.preventDefault();
      const at = (wheel.offsetX / Math.max(1, $("svg", box).clientWidth)) * end;
      setZoom(zoom * (wheel.deltaY < 0 ? 1.25 : 0.8), at);
    }, { passive: false });
    function setZoom(value, around) {
      zoom = Math.min(200, Math.max(1, value));
      if (around !== undefined) cursor = around;
      paint();
    }
    return { frame, paint, point, setZoom, showMore, end };
  }

  // One scenario

  // The row of the scenario that is open.
  function here(id) {
    for (const tr of trs) {
      const link = $("a", tr), its = link.hash === `#${id}`;
      tr.classList.toggle("here", its);
      if (its) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  // The address of this moment of this run, to send to a colleague.
  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  function linkTo(id, index, ms) {
    const letter = heads.runs.length > 1 ? `/${LETTERS[index]}` : "";
    const at = ms === null ? "" : `@${hundredths(ms)}`;
    try {
      history.replaceState(null, "", `#${id}${letter}${at}`);
    } catch { /* a browser that lets no file have another address */ }
  }
  function linked() {
    const [, id, letter, at] = /^#([^\/@%]*)(?:\/([a-z]))?(?:(?:@|%40)(\d+(?:\.\d+)?))?$/i.exec(location.hash) ?? [];
    return { id: (id ?? "").toUpperCase(), index: letter ? LETTERS.indexOf(letter.toUpperCase()) : 0, ms: at ? Number(at) * 1000 : null };
  }

  // Show another run. The button that was pressed is a new one, so it gets the focus again.
  function pick(id, index) {
    show(id, index);
    linkTo(id, index, null);
    $("#detail .runpick [aria-pressed=true]").focus();
  }

  const back = () => element("p", { class: "back" }, element("a", { href: "#", onclick: (click) => { click.preventDefault(); location.hash = ""; } }, "← Summary"));
  // What the colours in this picture mean. The list says the same in words.
  const COLOURS = {
    good: "a good answer", bad: "an error or no answer (right for a deleted secret)", old: "an old value from memory (stale)",
    open: "not ended, or a connection", login: "a login", renew: "a renewal", touch: "the fault acts on a connection, or the machine stood still",
    token: "the life of a token", value: "a new value", audit: "Vault's audit log", mark: "a step of the scenario",
  };
  function keys(events) {
    const there = new Set(events.map((event) => event.shape));
    return Object.entries(COLOURS).filter(([name]) => there.has(name)).map(([name, said]) => {
      const sample = shape("svg", { class: "key", width: 14, height: 9, "aria-hidden": "true" });
      sample.append(shape("rect", { class: name, width: 14, height: 9, rx: 1.5 }));
      return element("span", { class: "key" }, sample, ` ${said} `);
    });
  }
  // To compare with another log.
  function dayOf(run) {
    const day = new Date(run.started ?? NaN);
    return Number.isNaN(day.getTime()) ? "" : day.toISOString().replace("T", " ").replace("Z", " UTC");
  }
  const TIMES = { ttl: "life of a token (T)", max_ttl: "longest life", deadline: "deadline of a call" };
  const WEIGHT = { critical: "MUST", high: "MUST", medium: "SHOULD", low: "SHOULD" };

  function show(id, index = 0, ms = null) {
    const runs = data[id];
    const detail = $("#detail");
    if (!runs) return hide();
    const present = runs.map((run, at) => [run, at]).filter(([run]) => run !== null);
    const [run, which] = present.find(([, at]) => at === index) ?? present[0];
    const head = heads.scenarios[id];
    zoom = 1; cursor = null; active = null; more = false;
    const events = eventsOf(run);
    const why = run.reason?.at ?? null; // the moment that decided
    cursor = why;
    const body = element("tbody");
    const table = element("table", { class: "events" },
      element("caption", { class: "unseen" }, `Everything that happened in ${id}`),
      element("thead", {}, element("tr", {}, ...["at", "lane", "what", "how it ended"].map((name) => element("th", { scope: "col" }, name)))), body);
    const picture = draw(run, events, choose);
    for (const event of events) {
      body.append(element("tr", { "data-row": event.row },
        element("td", {}, element("button", { onclick: () => choose(event, false), "aria-label": `show +${seconds(event.began)} in the timeline` }, `+${seconds(event.began)}`)),
        element("td", {}, event.lane), element("td", {}, event.what), element("td", {}, event.end)));
    }
    function chosen(event) {
      for (const tr of $$("tr.chosen", body)) tr.classList.remove("chosen");
      const tr = body.children[event.row];
      tr.classList.add("chosen");
      picture.point(event);
      return tr;
    }
    function choose(event, fromPicture) {
      cursor = event.began;
      linkTo(id, which, event.began);
      picture.paint();
      list.open = true;
      const tr = chosen(event);
      if (fromPicture) {
        tr.scrollIntoView({ block: "center" });
        $("button", tr).focus({ preventScroll: true }); // which leads back
      } else picture.frame.scrollIntoView({ block: "nearest" });
    }
    function moment(ms) {
      cursor = ms;
      linkTo(id, which, ms);
      picture.setZoom(Math.max(zoom, picture.end / 4000));
      picture.frame.scrollIntoView({ block: "nearest" });
      const hundredth = (time) => Math.round(time / 10); // all that a link, or a text, has of it
      const next = events.find((event) => event.began === ms) ?? events.find((event) => hundredth(event.began) >= hundredth(ms));
      if (next) chosen(next);
    }
    const fold = (title, ...children) => element("details", {}, element("summary", {}, title), ...children);
    const bulleted = (items) => element("ul", { class: "findings" }, ...items.map((one) => element("li", {}, ...[one].flat())));
    const leadTo = (at) => (nothing(at) ? null : element("button", { onclick: () => moment(at), "aria-label": `show +${seconds(at)} in the timeline` }, `+${seconds(at)}`));
    const told = ({ seen, at, promise, harm, note }) => [
      element("p", {}, leadTo(at), nothing(at) ? null : " ", harm ? element("strong", {}, "Harm: ") : null, seen),
      promise ? element("p", { class: "meta" }, `Promised: ${promise}`) : null, note ? element("p", { class: "meta" }, note) : null,
    ].filter(Boolean);
    const list = fold(`All ${events.length} events in words${run.left ? `, and ${run.left} more in the journal` : ""}`, table);
    const about = [
      head.severity ? `Severity: ${head.severity}${WEIGHT[head.severity] ? ` (${WEIGHT[head.severity]})` : ""}` : null,
      head.source ? `Guards against: ${head.source}` : null,
      ...Object.entries(TIMES).filter(([name]) => name in run.times).map(([name, called]) => `${called[0].toUpperCase()}${called.slice(1)}: ${run.times[name]} s`),
      dayOf(run) ? `+0.00 s is ${dayOf(run)}, by the clock of the machine that ran the suite` : null,
      run.no_closing ? `The closing act was left out: ${run.no_closing}` : null,
      "What is asked, and why: vault-harness docs judging",
    ].filter(Boolean);
    detail.replaceChildren(
      back(),
      element("h2", {}, `${id} `, element("span", { class: `verdict ${run.word.replace(" ", "-")}` }, run.word), run.rate ? ` (${run.rate} runs pass)` : ""),
      element("p", { class: "promise" }, head.promise),
      present.length > 1 ? element("div", { class: "runpick", role: "group", "aria-label": "Which run" }, ...present.map(([one, at]) =>
        element("button", { "aria-pressed": String(at === which), onclick: () => pick(id, at) }, `${heads.runs[at]}: ${one.word}`))) : "",
      run.reason ? element("div", { class: `reason ${run.reason.harm ? "fail" : run.word.replace(" ", "-")}` }, ...told(run.reason)) : "",
      run.known ? element("p", { class: "notice" }, `This failure is known: ${run.known}`) : "",
      ...(events.length ? [
        element("h3", {}, "Timeline"),
        element("div", { class: "zoom" },
          element("button", { onclick: () => picture.setZoom(zoom * 1.6), "aria-label": "zoom in" }, "+"),
          element("button", { onclick: () => picture.setZoom(zoom / 1.6), "aria-label": "zoom out" }, "−"),
          element("button", { onclick: () => { cursor = why; picture.setZoom(1); } }, "whole"),
          events.some(({ lane }) => MORE.has(lane))
            ? element("label", {}, element("input", { type: "checkbox", id: "more", onchange: ({ target }) => picture.showMore(target.checked) }), " proxy, audit log, machine") : ""),
        picture.frame,
        fold("How to read the timeline", element("p", { class: "legend" }, ...keys(events)), element("p", { class: "legend" },
          "A red band is a fault. The blue line is the moment that decided, or the one that you chose. Click an event to find it in the list below, or go to it with the arrow keys and press Enter. Ctrl and the wheel zoom.")),
        list] : []),
      ...run.folds.map(([title, items]) => fold(`${title} (${items.length})`, bulleted(items.map(told)))),
      run.log ? fold("What the client logged", element("pre", {}, run.log)) : "",
      run.trace ? fold("Where the harness broke down", element("pre", {}, run.trace)) : "",
      run.again ? fold("Run it again", element("pre", {}, run.again), element("p", { class: "meta" }, "Add --repeat 3 to see whether it always fails.")) : "",
      fold("About this scenario", bulleted(about)));
    detail.hidden = false;
    $("main").classList.add("open");
    here(id);
    document.title = `${id} ${run.word}: ${head.promise}`;
    picture.paint();
    detail.focus({ preventScroll: true });
    scrollTo(0, 0);
    onresize = () => picture.paint();
    if (ms !== null && events.length) moment(ms);
  }

  function hide() {
    const detail = $("#detail");
    const last = $("tr.here a");
    detail.hidden = true;
    detail.replaceChildren();
    $("main").classList.remove("open");
    here(null);
    document.title = heads.title;
    last?.focus();
  }

  heads.title = document.title;
  async function route() {
    await ready;
    const { id, index, ms } = linked(); // as it is spoken of, too: #tok-11
    if (!Object.hasOwn(heads.scenarios, id)) return hide();
    try {
      show(id, index, ms);
    } catch (error) { // of a journal that was merged by hand: no other scenario may stand there under its name
      const text = `The history of ${id} is not as a run leaves it, and cannot be shown: ${error.message}`;
      $("#detail").replaceChildren(back(), element("h2", {}, id), element("p", { class: "notice" }, text));
      $("#detail").hidden = false;
      $("main").classList.add("open");
      here(id);
      document.title = id;
      onresize = null;
    }
  }
  for (const [name, printing] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(name, () => { paper = printing; onresize?.(); });
  }
  addEventListener("hashchange", route);
  addEventListener("keydown", (key) => {
    if (key.target.matches("input") || key.ctrlKey || key.metaKey || key.altKey) return;
    if (key.key === "Escape") location.hash = "";
    const step = { j: 1, k: -1 }[key.key];
    if (!step) return;
    const links = trs.filter((tr) => !tr.hidden).map((tr) => $("a", tr).hash);
    const at = links.indexOf(`#${linked().id}`);
    const next = links[at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + step))];
    if (next) location.hash = next;
  });
  if (Object.hasOwn(heads.scenarios, linked().id)) $("main").classList.add("open"); // the summary would flash by
  try {
    await route();
  } catch (error) {
    $("#pane").prepend(element("p", { class: "notice" }, `The timelines cannot be shown by this browser: ${error.message}`));
  }
})();
