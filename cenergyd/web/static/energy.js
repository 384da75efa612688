// The energy page: fetches another period in place of the one that is shown. The address changes, and the back button works.
// Without this script the same links and forms load the page.
import { connectionBack, connectionLost, sessionOver, updateAges } from "./lib.js";
import { followFingers } from "./touch.js";

const AWAY = 0.5;
let wanted = 0;

const region = () => document.getElementById("energy");

/** Fetch a page and show its figures. Returns false if that is not possible, so that the browser loads the page. */
async function show(url) {
  const mine = ++wanted;
  region().setAttribute("aria-busy", "true");
  let answer;
  try {
    answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  } catch {
    if (mine === wanted) unknown();
    return true;
  }
  if (mine !== wanted) return true;
  connectionBack();
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") {
    sessionOver();
    unknown();
    return true;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("energy");
  if (fresh === null) return false;
  if (mine !== wanted) return true;
  const focused = document.activeElement?.dataset?.key;
  region().replaceWith(document.adoptNode(fresh));
  document.title = page.title;
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  document.getElementById("energy-announced").textContent = region().querySelector("h1").textContent.replace(/\s+/g, " ").trim();
  updateAges();
  ready();
  return true;
}

/** The figures of the requested period are not known: another period's must not be shown under its name. */
function unknown() {
  connectionLost();
  region().removeAttribute("aria-busy");
  region().querySelector(".energy-figures")?.classList.add("unknown");
}

function go(url) {
  history.pushState(null, "", url);
  show(url).then((done) => done || location.assign(url));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("#energy a[data-period]");
  if (link === null || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.href);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#energy form[data-period]");
  if (form === null) return;
  event.preventDefault();
  go(`${location.pathname}?${new URLSearchParams(new FormData(form))}`);
});

addEventListener("popstate", () => show(location.href).then((done) => done || location.reload()));
document.addEventListener("connectionback", () => {
  if (region().querySelector(".energy-figures.unknown")) show(location.href);
});

/** A swipe goes to the period before or after, as the arrows do. */
function ready() {
  const picture = region().querySelector(".energy-chart");
  if (picture === null) return;
  followFingers(picture, {
    times: () => [0, 1],
    preview: (start) => {
      picture.style.translate = `${-start * 100}% 0`;
    },
    choose: (start) => {
      picture.style.translate = "";
      const [from, to] = [start, start + 1];
      const link = region().querySelector(from < 0 ? "a[rel=prev]" : "a[rel=next]");
      if (Math.max(-from, to - 1) >= AWAY / 2 && link !== null) go(link.href);
    },
    exact: true,
  });
}

ready();
