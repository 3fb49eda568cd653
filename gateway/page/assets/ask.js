// The form, and the order's chain: step by step as it happens.
import { make, plain, span, kind, words } from "/assets/text.js";
import { address } from "/assets/feed.js";

export function asking(form, chain, refused) {
  let source;
  form.addEventListener("submit", async (submit) => {
    submit.preventDefault();
    refused.textContent = "";
    source?.close();
    const fields = new URLSearchParams(new FormData(form, submit.submitter)), asked = Date.now();
    const waits = make("li", { class: "waits" }, "sending");
    chain.replaceChildren(waits);
    let sent;
    try {
      const answer = await fetch(form.getAttribute("action"), { method: "POST", headers: { Accept: "application/json" }, body: fields });
      sent = await answer.json();
      if (!answer.ok) throw new Error(sent.detail);
    } catch (error) {
      chain.replaceChildren();
      refused.textContent = plain(error.message);
      return;
    }
    waits.before(make("li", {}, make("b", {}, "appended"), " to its inbox", make("span", { class: "sub" }, `after ${span(Date.now() - asked)} · `, make("a", { href: sent.page }, "order " + sent.id))));
    waits.textContent = "waits for an instance";
    steps(chain, waits, sent.id, asked, (from) => { source = from; });
  });
}

// steps shows the events of an order in a list until nothing more is to come.
function steps(chain, waits, id, asked, opened) {
  const source = new EventSource(address({ order: id, since: "1m" }));
  opened(source);
  let left = 0;
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    const at = new Date(event.time).getTime() - asked;
    waits.before(make("li", {}, kind(event), " ", words(event), make("span", { class: "sub" }, `after ${span(Math.max(0, at))}`)));
    if (event.receipt) left += event.receipt.books.filter((line) => line.from === "shelves").length;
    if (event.event === "delivered" || event.event === "sent_back") left -= (event.books || []).length;
    if (left > 0) waits.textContent = left === 1 ? "one book is on its way from the shelves" : `${left} books are on their way from the shelves`;
    else { waits.remove(); source.close(); chain.append(make("li", {}, "done")); }
  };
}
