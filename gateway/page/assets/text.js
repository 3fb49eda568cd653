// What several pages need to show what came from outside: always as text, never as HTML.

export const library = document.body.dataset.library;

// path is the address of the page of a user, a book or an order. Browsers take dots for a
// step up the path, however they are escaped.
export function path(kind, name) {
  if (name === "." || name === "..") return `/${kind}/?` + new URLSearchParams({ name, library });
  return `/${kind}/${encodeURIComponent(name)}?library=${encodeURIComponent(library)}`;
}

// make is a new element with children, which are elements or texts.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "hue") element.style.setProperty("--hue", value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

// plain shows what does not print as an escape, so that no name can hide or turn text around.
export function plain(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu, (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");
}

export function name(kind, text) {
  return make("a", { href: path(kind, text) }, make("bdi", {}, plain(text)));
}

// hue is a colour that stays the same for a name.
export function hue(text) {
  let n = 2166136261;
  for (const c of String(text)) n = Math.imul(n ^ c.codePointAt(0), 16777619) >>> 0;
  return `hsl(${Math.round((n * 0.6180339887) % 360)} 55% 58%)`;
}

export const number = (n) => Number(n).toLocaleString("en");

export function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 3_600_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

const bad = new Set(["denied", "refused", "rejected", "sent_back", "shed"]);
const faint = new Set(["fetched", "awaited", "stored", "handed_on", "shelved", "retried"]);

export function kind(event) {
  const look = bad.has(event.event) ? "bad" : faint.has(event.event) ? "faint" : "";
  return make("span", { class: "kind " + look }, plain(event.event.replaceAll("_", " ")));
}

// words tell an event in one line.
export function words(event) {
  const line = make("span");
  if (event.user) line.append(name("users", event.user), " ");
  const books = event.receipt ? event.receipt.books : (event.books || []).map((book) => ({ book }));
  books.slice(0, 6).forEach((one, i) => {
    line.append(i ? ", " : "", name("books", one.book));
    if (one.result && one.result !== "lent" && one.result !== "returned") line.append(" " + plain(one.result.replaceAll("_", " ")));
    if (one.from) line.append(one.from === "front" ? " from front storage" : " from the shelves");
  });
  if (books.length > 6) line.append(` and ${books.length - 6} more`);
  if (event.reason) line.append(" " + plain(event.reason));
  if (event.by) line.append(make("span", { class: "sub" }, " by " + plain(event.by)));
  return line;
}

export function row(event) {
  const time = new Date(event.time);
  return make("li", {}, make("time", { datetime: event.time }, time.toLocaleTimeString("en-GB") + "." + String(time.getMilliseconds()).padStart(3, "0")), kind(event), words(event));
}
