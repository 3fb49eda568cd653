// The page: the state, what happens, and the form.
import { make, plain, hue, name, number, row } from "/assets/text.js";
import { follow } from "/assets/feed.js";
import { move } from "/assets/motion.js";
import { watch } from "/assets/state.js";
import { charts } from "/assets/charts.js";
import { asking } from "/assets/ask.js";
import { audit } from "/assets/audit.js";

const staff = document.body.dataset.staff === "true";
const $ = (selector) => document.querySelector(selector);
const pipe = (inbox) => $(`[data-stream="${inbox}"]`);
const desk = $("#desk"), front = $("#front"), shelves = $("#shelves"), hand = $("#hand");
const SLIP = "#f4ead2";

// chip is where an instance is shown in a room, or the room.
function chip(room, by) {
  const found = by && [...document.querySelectorAll(`#${room} .instance`)].find((one) => one.dataset.instance === by);
  if (found) { found.classList.add("works"); setTimeout(() => found.classList.remove("works"), 700); }
  return found || $(`#${room}`);
}

const short = (text) => { const all = [...plain(text)]; return all.length > 18 ? all.slice(0, 17).join("") + "…" : all.join(""); };

const story = {
  lent(e) {
    move({ from: desk, pipe: pipe("lending:requests"), to: chip("lending", e.by), colour: SLIP, slip: true, label: short(e.user) }, () => {
      const who = chip("lending", e.by); // a newer look of the state may have replaced the one before
      for (const line of e.receipt?.books || []) {
        if (line.from === "front") move({ from: front, pipe: hand, to: desk, colour: hue(line.book), label: short(line.book) });
        if (line.from === "shelves") move({ from: who, pipe: pipe("shelving:fetches"), to: chip("shelving"), colour: SLIP, slip: true, label: short(line.book) });
      }
    });
    card(e.user, (books) => (e.receipt?.books || []).forEach((line) => line.result === "lent" && books.add(line.book)));
  },
  denied(e) {
    move({ from: desk, pipe: pipe("lending:requests"), to: chip("lending", e.by), colour: SLIP, slip: true, label: short(e.user) }, () => move({ from: chip("lending", e.by), pipe: hand, to: desk, colour: "#e05a3c", slip: true, label: "denied" }));
  },
  returned(e) {
    const back = (e.receipt?.books || []).filter((line) => line.result === "returned");
    back.forEach((line) => move({ from: desk, pipe: pipe("lending:returns"), to: front, colour: hue(line.book), label: short(line.book) }));
    chip("lending", e.by);
    card(e.user, (books) => back.forEach((line) => books.delete(line.book)));
  },
  refused(e) { move({ from: desk, pipe: pipe("lending:returns"), to: chip("lending", e.by), colour: "#e05a3c", slip: true, label: "refused" }); },
  shelved(e) { (e.books || []).forEach((book) => move({ from: front, pipe: pipe("shelving:stores"), to: chip("shelving"), colour: hue(book), label: short(book) })); },
  stored(e) { (e.books || []).forEach((book) => move({ from: chip("shelving", e.by), to: shelves, colour: hue(book) })); },
  fetched(e) { (e.books || []).forEach((book) => move({ from: shelves, pipe: pipe("lending:deliveries"), to: $("#lending h2"), colour: hue(book), label: short(book) })); chip("shelving", e.by); },
  handed_on(e) { story.fetched(e); },
  delivered(e) { (e.books || []).forEach((book) => move({ from: chip("lending", e.by), pipe: hand, to: desk, colour: hue(book), label: short(book) })); },
  rejected(e) { chip("lending", e.by); },
};

const cards = new Map(); // user -> books, as far as they were seen
function card(user, change) {
  if (!user) return;
  const books = cards.get(user) || new Set();
  cards.delete(user);
  change(books);
  cards.set(user, books);
  if (cards.size > 5) cards.delete(cards.keys().next().value);
  $("#cards").replaceChildren(...[...cards].reverse().map(([user, books]) => make("li", {}, name("users", user), make("span", {}, books.size ? [...books].map(plain).join(", ") : "brought all back"))));
}

const log = $("#log");
function seen(event) {
  story[event.event]?.(event);
  if (!log) return;
  log.prepend(row(event));
  while (log.children.length > 40) log.lastChild.remove();
}

// Which pipe an event flowed through, for the flows at high rates.
const through = { lent: "lending:requests", denied: "lending:requests", returned: "lending:returns", refused: "lending:returns", fetched: "shelving:fetches", stored: "shelving:stores", delivered: "lending:deliveries" };
function counted(counts, mode) {
  const sum = Object.values(counts.events).reduce((a, b) => a + b, 0), many = mode === "counts";
  const rate = $("#rate");
  rate.textContent = `${number(sum)} ${sum === 1 ? "event" : "events"} a second` + (many && staff ? ": flows and counts, not single entries" : "");
  rate.classList.toggle("busy", many && sum > 30);
  const flows = {};
  for (const [event, n] of Object.entries(counts.events)) if (through[event]) flows[through[event]] = (flows[through[event]] || 0) + n;
  for (const element of document.querySelectorAll("[data-stream]")) element.classList.toggle("flows", many && flows[element.dataset.stream] > 0);
  hand.classList.toggle("flows", many && sum > 0);
  hand.querySelector(".name").textContent = "into readers' hands" + (many && counts.events.delivered ? `, ${number(counts.events.delivered)} a second from the shelves` : "");
  if (many && log && sum > 30) {
    log.prepend(make("li", {}, make("time", {}, new Date().toLocaleTimeString("en-GB")), make("span", { class: "kind" }, "a second"), make("span", {}, Object.entries(counts.events).sort((a, b) => b[1] - a[1]).map(([event, n]) => `${plain(event)} ${number(n)}`).join(", "))));
    while (log.children.length > 40) log.lastChild.remove();
  }
}

const spines = $(".spines");
for (let i = 0; i < 90; i++) { const spine = make("i", { hue: hue("spine" + i * 91) }); spine.style.height = `${26 + (i * 37) % 14}px`; spines.append(spine); }

watch(() => {});
follow({
  staff, seen, counted,
  gap: (gap) => log?.prepend(make("li", { class: "none" }, `the log was cut: nothing is known from ${plain(gap.from)} to ${plain(gap.to)}`)),
  open: (is) => { document.body.dataset.feed = is ? "open" : "closed"; },
});
charts($("#charts"));
audit($("#audit"), staff);
if (staff) asking($("#ask"), $("#chain"), $("#refused"));
