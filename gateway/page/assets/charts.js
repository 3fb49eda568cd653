// The last 15 minutes as SVG, from the samples that the gateways keep in Redis.
import { library, make, number, span, plain } from "/assets/text.js";

const SVG = "http://www.w3.org/2000/svg", WIDTH = 300, HEIGHT = 80, MINUTES = 15;
const colours = ["var(--teal)", "var(--red)", "var(--blue)", "var(--amber)", "var(--soft)"];
const inboxes = ["requests", "returns", "deliveries", "fetches", "stores"];
const of = (sample, part) => (inbox) => Object.entries(sample.inboxes || {}).find(([name]) => name.endsWith(":" + inbox))?.[1]?.[part] || 0;

const kinds = [
  { title: "Orders decided a second", unit: number, lines: Object.fromEntries(["lent", "denied", "returned", "refused"].map((event) => [event, (s) => (s.events?.[event] || 0) / s.seconds])) },
  { title: "Unread", unit: number, lines: Object.fromEntries(inboxes.map((inbox) => [inbox, (s) => of(s, "unread")(inbox)])) },
  { title: "Pending", unit: number, lines: Object.fromEntries(inboxes.map((inbox) => [inbox, (s) => of(s, "pending")(inbox)])) },
  { title: "Age of the oldest", unit: span, lines: Object.fromEntries(inboxes.map((inbox) => [inbox, (s) => of(s, "oldest_ms")(inbox)])) },
  { title: "Lent from front storage", unit: (n) => `${Math.round(n)} %`, most: 100, lines: { share: (s) => s.front + s.shelves ? 100 * s.front / (s.front + s.shelves) : null } },
  { title: "From decision to hand", unit: span, lines: { median: (s) => s.hands ? s.hand_ms : null, longest: (s) => s.hands ? s.hand_max_ms : null } },
];

export function charts(place) {
  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch("/samples?library=" + encodeURIComponent(library));
        if (answer.ok) show(place, await answer.json());
      } catch { /* the state says that nobody answers */ }
    }
    setTimeout(look, 5000);
  };
  look();
}

function show(place, samples) {
  if (!samples.length) return place.replaceChildren(make("p", { class: "none" }, "There is no sample yet; the first comes within seconds."));
  const now = Math.max(Date.now(), samples.at(-1).at), begin = now - MINUTES * 60_000;
  const recent = samples.filter((s) => s.at >= begin);
  place.replaceChildren(...kinds.map((kind) => chart(kind, recent, begin, now)));
}

function chart(kind, samples, begin, now) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const names = Object.keys(kind.lines);
  let most = kind.most || 0;
  for (const sample of samples) for (const name of names) most = Math.max(most, kind.lines[name](sample) || 0);
  for (const y of [HEIGHT - 1, HEIGHT / 2]) {
    const line = document.createElementNS(SVG, "line");
    for (const [at, value] of Object.entries({ x1: 0, x2: WIDTH, y1: y, y2: y, class: "grid" })) line.setAttribute(at, value);
    svg.append(line);
  }
  const latest = [];
  names.forEach((name, i) => {
    const points = [];
    for (const sample of samples) {
      const value = kind.lines[name](sample);
      if (value !== null) points.push(`${((sample.at - begin) / (now - begin) * WIDTH).toFixed(1)},${(HEIGHT - 1 - (most ? value / most : 0) * (HEIGHT - 6)).toFixed(1)}`);
    }
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", points.join(" "));
    line.style.stroke = colours[i];
    svg.append(line);
    const value = samples.length ? kind.lines[name](samples.at(-1)) : null;
    latest.push(make("span", { class: "key", hue: colours[i] }, `${plain(name)} ${value === null ? "–" : kind.unit(Math.round(value * 10) / 10)}`));
  });
  svg.setAttribute("aria-label", `${kind.title}, at most ${kind.unit(Math.round(most * 10) / 10)} in 15 minutes`);
  return make("figure", {}, make("figcaption", {}, make("b", {}, kind.title), make("span", {}, "max " + kind.unit(Math.round(most * 10) / 10))), svg, make("figcaption", {}, ...latest));
}
