// The present state: asked for twice a second while somebody looks.
import { library, make, plain, hue, number, span } from "/assets/text.js";

const seenLocks = new Map(); // instance -> the longest its lock lived
const held = new Map(); // inbox, instance -> pending
const gone = new Map(); // instance -> when its lock was gone, and its services
let known = new Map();

export function watch(shown) {
  const look = async () => {
    if (!document.hidden) {
      let state;
      try {
        const answer = await fetch("/state?library=" + encodeURIComponent(library));
        state = await answer.json();
        if (!answer.ok) state = { error: state.detail };
      } catch {
        state = { error: "the gateway does not answer", down: true };
      }
      show(state);
      shown(state);
    }
    setTimeout(look, 500);
  };
  look();
}

const set = (name, text) => document.querySelectorAll(`[data-${name}]`).forEach((element) => { element.textContent = text; });

function show(state) {
  const link = document.getElementById("link");
  link.textContent = state.down ? "the gateway does not answer; trying again" : state.error ? "Redis cannot tell everything just now: what is shown may be old" : "Redis answers";
  link.className = "pill " + (state.error ? "bad" : "good");
  document.getElementById("error").textContent = state.error && !state.down ? plain(state.error) : "";
  if (!state.status) return;
  const { instances, streams, lending, shelving, rejected } = state.status;
  const known = (counts, name) => counts ? number(counts[name]) : "–";
  set("lent", known(lending, "loans")); set("way", known(lending, "on_their_way"));
  set("front", known(lending, "front")); set("front-max", known(lending, "front_max"));
  set("out", known(shelving, "out")); set("awaited", known(shelving, "awaited"));
  set("rejected", number(Object.values(rejected).reduce((a, b) => a + b, 0)));
  if (lending) slots(lending);
  for (const stream of streams) pipe(stream, instances);
  rooms(instances, streams);
}

function slots({ front, front_max }) {
  const shelf = document.querySelector(".slots"), size = Math.min(front_max || 0, 60), full = front_max ? Math.round(front / front_max * size) : 0;
  while (shelf.children.length > size) shelf.lastChild.remove();
  while (shelf.children.length < size) shelf.append(make("i", { hue: hue("slot" + shelf.children.length * 37) }));
  [...shelf.children].forEach((slot, i) => slot.classList.toggle("full", i < full));
}

const DOTS_MAX = 16;

function pipe(stream, instances) {
  const inbox = stream.stream.slice(stream.stream.indexOf(":") + 1);
  const element = document.querySelector(`[data-stream="${CSS.escape(inbox)}"]`);
  if (!element) return;
  const dots = [];
  for (const consumer of stream.consumers) {
    for (let i = 0; i < consumer.pending && dots.length < DOTS_MAX; i++) dots.push(make("i", { class: "held", hue: hue(consumer.name), title: "pending for " + plain(consumer.name) }));
  }
  for (let i = 0; i < stream.unread && dots.length < DOTS_MAX; i++) dots.unshift(make("i", { title: "unread" }));
  const more = stream.unread + stream.pending - dots.length;
  if (more > 0) dots.unshift(make("em", {}, "+" + number(more)));
  const holders = stream.consumers.filter((c) => c.pending).map((c) => `${plain(c.name)} has ${number(c.pending)}`);
  const age = stream.oldest_ns / 1e6;
  element.classList.toggle("late", age > 3000);
  element.replaceChildren(
    make("div", { class: "name" }, make("span", {}, inbox.split(":")[1]), make("b", {}, `${number(stream.unread)} unread`), make("span", {}, `${number(stream.pending)} pending`)),
    make("div", { class: "tube" }, ...dots),
    make("div", { class: "under" }, holders.length ? make("span", {}, holders.slice(0, 3).join(", ")) : "", age ? make("span", {}, "oldest " + span(age)) : ""));
}

function rooms(instances, streams) {
  const now = performance.now(), present = new Map(instances.map((one) => [one.name, one]));
  for (const [name, one] of known) if (!present.has(name)) gone.set(name, { at: now, one });
  for (const name of present.keys()) gone.delete(name);
  for (const [name, { at }] of gone) if (now - at > 8000) gone.delete(name);
  known = present;
  const pending = new Map(), took = new Set();
  for (const stream of streams) for (const consumer of stream.consumers) {
    pending.set(consumer.name, (pending.get(consumer.name) || 0) + consumer.pending);
    const key = stream.stream + " " + consumer.name;
    if (consumer.pending > (held.get(key) || 0) && gone.size) took.add(consumer.name);
    held.set(key, consumer.pending);
  }
  for (const list of document.querySelectorAll(".instances")) {
    const service = list.dataset.service;
    const inside = [...instances, ...[...gone.values()].map(({ one }) => one)].filter((one) => !one.services?.length || one.services.includes(service));
    inside.sort((a, b) => a.name < b.name ? -1 : 1);
    list.replaceChildren(...inside.map((one) => chip(one, pending.get(one.name) || 0, gone.has(one.name), took.has(one.name))));
    if (!inside.length) list.append(make("li", { class: "none" }, `nobody runs ${service}: its entries wait`));
  }
}

function chip(one, pending, isGone, takes) {
  const most = Math.max(seenLocks.get(one.name) || 1, one.lock_ms);
  seenLocks.set(one.name, most);
  const left = isGone ? 0 : one.lock_ms < 0 ? 1 : one.lock_ms / most;
  const since = new Date(one.since).getFullYear() > 1 ? new Date(one.since).toLocaleTimeString("en-GB") : "";
  const element = make("li", { class: "instance" + (isGone ? " gone" : left < .55 ? " fades" : "") + (takes ? " takes" : ""), hue: hue(one.name), "data-instance": one.name },
    make("b", {}, plain(one.name)),
    make("span", {}, isGone ? "its lock ran out; others take over" : `${plain(one.host)} · pid ${one.pid}${since ? " · since " + since : ""}`),
    make("span", {}, takes ? `takes over · ${number(pending)} in hand` : `${number(pending)} in hand`));
  const lock = make("i", { class: "lock", title: `its lock lives ${span(Math.max(0, one.lock_ms))}` });
  lock.style.width = `${Math.round(left * 100)}%`;
  element.append(lock);
  return element;
}
