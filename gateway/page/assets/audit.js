// Whether all is as the log says.
import { library, make, number, plain } from "/assets/text.js";

const address = "/audit?library=" + encodeURIComponent(library);

export function audit(badge, staff) {
  const show = (report) => {
    badge.className = "pill";
    if (report.running) badge.textContent = "auditing…";
    else if (report.error) { badge.textContent = "the audit failed: " + plain(report.error); badge.classList.add("bad"); }
    else if (!report.at) badge.textContent = "not audited: the log is long";
    else if (report.wrong) { badge.textContent = `✗ ${number(report.wrong)} wrong: ${(report.findings || []).slice(0, 3).map(plain).join("; ") || "staff see what"}`; badge.classList.add("bad"); }
    else { badge.textContent = report.facts ? `✓ nothing is wrong: ${number(report.facts)} facts agree with the log` : "✓ nothing is wrong: nothing has happened yet"; badge.classList.add("good"); badge.title = "audited " + new Date(report.at).toLocaleTimeString("en-GB"); }
    if (staff && !report.running && (report.long || report.error)) {
      const button = make("button", { class: "quiet", type: "button" }, "audit now");
      button.addEventListener("click", () => ask("POST"));
      badge.append(button);
    }
  };
  const ask = async (method) => {
    try {
      const answer = await fetch(address, { method });
      if (answer.ok) show(await answer.json());
    } catch { /* the state says that nobody answers */ }
  };
  const look = () => { if (!document.hidden) ask("GET"); setTimeout(look, 10_000); };
  setTimeout(look, 500);
}
