// The feed of events. A browser goes on by itself where it was; above a rate that it can
// take, the feed is of counts.
import { library } from "/assets/text.js";

const RATE_MAX = 60; // events a second that are shown one by one
const RATE_BACK = 30;

export function address(parameters) {
  return "/events?" + new URLSearchParams({ library, ...parameters });
}

// follow calls seen with each event and counted with the counts of each second. A page
// that nobody looks at closes its feed, for a browser opens few connections to one host.
export function follow({ staff, seen, counted, gap, open }) {
  let source, mode = staff ? "events" : "counts", last = "", inSecond = 0, quiet = 0, tally = { events: {}, by: {} };
  const add = (event) => {
    tally.events[event.event] = (tally.events[event.event] || 0) + 1;
    if (event.by) tally.by[event.by] = (tally.by[event.by] || 0) + 1;
  };
  const connect = () => {
    source?.close();
    const parameters = mode === "counts" ? { rate: "counts" } : last ? { since: last } : {};
    source = new EventSource(address(parameters));
    source.onopen = () => open(true, mode);
    source.onerror = () => { open(false, mode); if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000); };
    source.onmessage = (message) => {
      last = message.lastEventId || last;
      const event = JSON.parse(message.data);
      add(event);
      if (++inSecond <= RATE_MAX) seen(event);
      if (inSecond > RATE_MAX * 2 && mode === "events") change("counts");
    };
    source.addEventListener("gap", (message) => gap(JSON.parse(message.data)));
    source.addEventListener("counts", (message) => {
      const counts = JSON.parse(message.data);
      const sum = Object.values(counts.events).reduce((a, b) => a + b, 0);
      counted(counts, mode);
      quiet = sum < RATE_BACK ? quiet + 1 : 0;
      if (staff && quiet >= 3) change("events");
    });
  };
  const change = (to) => { mode = to; last = ""; quiet = 0; connect(); };
  setInterval(() => {
    if (mode === "events") counted(tally, mode);
    if (inSecond > RATE_MAX && mode === "events") change("counts");
    inSecond = 0;
    tally = { events: {}, by: {} };
  }, 1000);
  document.addEventListener("visibilitychange", () => document.hidden ? source.close() : connect());
  addEventListener("pagehide", () => source.close());
  connect();
}
