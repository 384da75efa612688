// Functions that the pages' scripts share. Importing it has no side effects.

const MINUS = "\u2212";
const NOTHING = "\u2013";

/** "2 min ago", as the server writes it. */
export function ageText(seconds) {
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

/** A number with a true minus sign and fewer decimals as it grows. */
export function number(value, digits = 2) {
  if (value === null || value === undefined) return NOTHING;
  const size = Math.abs(value);
  const places = Math.max(0, digits - (size >= 100 ? 1 : 0) - (size >= 1000 ? 1 : 0));
  const shown = size.toFixed(places).replace(/\B(?=(\d{3})+(?!\d)(?=\.|$))/g, "\u202f");
  return value < 0 && Number(size.toFixed(places)) ? MINUS + shown : shown;
}

/** Seconds in words: "5 min". */
export function spanText(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${seconds / 60} min`;
  if (seconds < 86400) return `${seconds / 3600} h`;
  return seconds === 86400 ? "day" : `${seconds / 86400} days`;
}

/** UTC seconds as "YYYY-MM-DD HH:MM:SS" in a time zone. */
export function localText(time, zone) {
  return new Date(time * 1000).toLocaleString("sv-SE", { timeZone: zone });
}

/** UTC seconds as people write them: "28 Nov 2026, 08:45". */
export function whenText(time, zone) {
  const parts = { timeZone: zone, day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const found = Object.fromEntries(new Intl.DateTimeFormat("en-US", parts).formatToParts(time * 1000).map((part) => [part.type, part.value]));
  return `${found.day} ${found.month} ${found.year}, ${found.hour}:${found.minute}`;
}

/** The zone if the browser knows it, else UTC. */
export function knownZone(zone) {
  try {
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return zone;
  } catch {
    return "UTC";
  }
}

export function updateAges(root = document) {
  for (const element of root.querySelectorAll("time[data-ago]")) {
    const text = ageText((Date.now() - Date.parse(element.dateTime)) / 1000);
    if (element.textContent !== text) element.textContent = text;
  }
}

let asked = 0;
let shown = 0;

/**
 * Fetch the page again and replace its data-live regions, except one that has the focus; an answer that a later one has overtaken is left out.
 * Returns false if the session has ended.
 */
export async function refresh(url, names = null) {
  const mine = ++asked;
  const answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") return false;
  if (!answer.ok) return true;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (mine < shown) return true;
  shown = mine;
  for (const fresh of page.querySelectorAll("[data-live]")) {
    if (names !== null && !names.includes(fresh.dataset.live)) continue;
    const old = document.querySelector(`[data-live="${CSS.escape(fresh.dataset.live)}"]`);
    if (old === null || old.contains(document.activeElement) || old.innerHTML === fresh.innerHTML) continue;
    old.replaceWith(document.adoptNode(fresh));
  }
  updateAges();
  return true;
}

let lostAt = null;

/** Show that the daemon does not answer. */
export function connectionLost() {
  const box = document.getElementById("lost");
  if (box === null || lostAt !== null) return;
  lostAt = new Date();
  box.querySelector('[data-part="lost-since"]').textContent = lostAt.toTimeString().slice(0, 5);
  box.hidden = false;
}

/** Hide that again; returns whether it was shown. */
export function connectionBack() {
  if (lostAt === null) return false;
  lostAt = null;
  document.getElementById("lost").hidden = true;
  document.dispatchEvent(new Event("connectionback"));
  return true;
}

/** Show that the session has ended. The page stays: what was typed must not be lost. */
export function sessionOver() {
  const box = document.getElementById("gone");
  if (box === null) return;
  box.querySelector("a").href = `/sign-in?why=ended&next=${encodeURIComponent(location.pathname + location.search)}`;
  box.hidden = false;
}

/** Call again and again while the page is visible; at once when it becomes visible after a pause. */
export function whileVisible(seconds, action) {
  let last = Date.now();
  const run = () => {
    if (document.hidden || Date.now() - last < seconds * 900) return;
    last = Date.now();
    Promise.resolve(action()).catch(() => {});
  };
  setInterval(run, seconds * 1000);
  document.addEventListener("visibilitychange", run);
}
