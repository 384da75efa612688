// Runs on every page: keeps ages current, shows a lost connection, copies secrets.
import { connectionBack, connectionLost, updateAges } from "./lib.js";

document.documentElement.classList.add("js");
setInterval(updateAges, 5000);
// On a phone the rows of links scroll: the link of the current page must be visible.
for (const link of document.querySelectorAll("header nav a[aria-current], .tabs a[aria-current]")) {
  const row = link.closest("ul");
  row.scrollLeft = link.parentElement.offsetLeft - row.offsetLeft - (row.clientWidth - link.clientWidth) / 2;
}
document.querySelector("#errors, #conflict")?.scrollIntoView({ block: "start" });

// A daemon that is down or hangs is noticed within ten seconds: five to the next request and four for its answer.
async function ask() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(4000) });
    if (answer.status >= 500) connectionLost();
    else connectionBack();
  } catch {
    connectionLost();
  }
}
if (document.getElementById("lost") !== null) setInterval(ask, 5000);

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // Without TLS a browser may refuse: then the text is selected, to be copied by hand.
      getSelection().selectAllChildren(source);
      button.textContent = "Selected: press Ctrl+C";
    }
  });
}
