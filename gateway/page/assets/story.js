// What the log knows of one user, book or order, and what comes.
import { row } from "/assets/text.js";
import { address } from "/assets/feed.js";

const list = document.getElementById("story"), { filter, value } = list.dataset;
const source = new EventSource(address({ [filter]: value, since: "1h" }));
source.onmessage = (message) => {
  list.querySelector(".none")?.remove();
  list.prepend(row(JSON.parse(message.data)));
  while (list.children.length > 200) list.lastChild.remove();
};
addEventListener("pagehide", () => source.close());
