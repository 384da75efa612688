// The power view: ranges, zoom and pan, live values, the table and the CSV of what is shown.
import { ESTIMATED, NAMES, PowerChart, ROLES, UNITS, isComputed } from "./chart.js";
import { ageText, connectionBack, connectionLost, knownZone, localText, number, refresh, sessionOver, spanText, whenText, whileVisible } from "./lib.js";
import { follow } from "./live.js";
import { followFingers } from "./touch.js";

const LONGEST = 20 * 366 * 86400;
const SHORTEST = 60;
const WHOLE_DAYS = 100 * 86400;
const MAX_BACK = 50;
const element = document.getElementById("chart");
const summary = document.getElementById("chart-summary");
const legend = document.getElementById("legend");
const channelSelect = document.getElementById("channel");
const { api } = element.dataset;
const presentSeconds = Number(document.getElementById("tiles").dataset.presentSeconds);
const zone = knownZone(element.dataset.zone);
const skew = Number(element.dataset.now) - Date.now() / 1000;
const now = () => Math.floor(Date.now() / 1000 + skew);
const ranges = new Map(
  [...document.querySelectorAll("#ranges [data-range]")].map((link) => [link.dataset.range, Number(link.dataset.seconds)]),
);

const asked = element.dataset.range;
let view = { key: ranges.has(asked) ? asked : "", start: Number(element.dataset.start), end: Number(element.dataset.end) };
let shown = null;
let loading = null;
let settings = null;
let timer = null;
let loaded = 0;
let summarised = false;
let unannounced = false;
let tables = 0;
let opening = false;
const before = [];

const original = element.dataset.original === "1" ? "&original=1" : "";
const selectWrong = document.getElementById("select-wrong");
const selecting = () => selectWrong.getAttribute("aria-pressed") === "true";

const chart = new PowerChart(element, zone, {
  select: (start, end) => {
    if (selecting()) location.assign(`${element.dataset.correct}?start=${start}&end=${end}`);
    else go({ key: "", start, end: Math.max(end, start + SHORTEST) });
  },
  zoomOut: () => zoom(2),
  cursor: (index) => showLegend(index),
});

/** The view's times; a named range goes up to now. */
function times() {
  if (!view.key) return [view.start, view.end];
  const end = now() + 1;
  return [end - ranges.get(view.key), end];
}

function go(next, remember = true) {
  if (remember) {
    before.push(view);
    if (before.length > MAX_BACK) before.shift();
  }
  view = next;
  showView();
  return load(true);
}

function zoom(factor) {
  const [start, end] = times();
  const length = Math.min(Math.max((end - start) * factor, SHORTEST), LONGEST);
  const middle = (start + end) / 2;
  // Zooming a range that goes up to now keeps its end there.
  const from = view.key ? end - length : middle - length / 2;
  go({ key: "", start: Math.max(0, Math.round(from)), end: Math.max(SHORTEST, Math.round(from + length)) });
}

function pan(part) {
  const [start, end] = times();
  const by = Math.round((end - start) * part);
  if (start + by < 0) return;
  go({ key: "", start: start + by, end: end + by });
}

function toNow() {
  const [start, end] = times();
  go({ key: "", start: now() + 1 - (end - start), end: now() + 1 });
}

function back() {
  if (before.length) go(before.pop(), false);
}

const actions = { left: () => pan(-0.5), right: () => pan(0.5), in: () => zoom(0.5), out: () => zoom(2), back, now: toNow };

/** Everything on the page that names the range. */
function showView() {
  const [start, end] = times();
  const quantity = channelSelect.value === "P" ? "" : `&quantity=${channelSelect.value}`;
  const range = (view.key ? `range=${view.key}` : `start=${start}&end=${end}`) + quantity;
  const query = range + original;
  document.getElementById("correct").href = `${element.dataset.correct}?start=${start}&end=${end}`;
  const other = document.getElementById("other");
  if (other !== null) other.href = `?${range}${original ? "" : "&original=1"}`;
  history.replaceState(null, "", `?${query}`);
  for (const link of document.querySelectorAll("#ranges [data-range]")) {
    if (link.dataset.range === view.key) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  const local = (time) => localText(time, zone).slice(0, 16).replace(" ", "T");
  document.getElementById("from").value = local(start);
  document.getElementById("to").value = local(end);
  const link = document.getElementById("show-table");
  if (link !== null) link.href = `?${query}&table=1#values`;
}

/** The server's choice, but whole days instead of half days, whose means would only show day and night. */
function resolutionFor(seconds) {
  return seconds > WHOLE_DAYS ? Math.ceil(seconds / WHOLE_DAYS / 10) * 86400 : "auto";
}

async function load(wanted) {
  // A live update that comes first takes the place of what a person asked for, and must not silence it.
  unannounced ||= wanted;
  clearTimeout(timer);
  timer = null;
  loading?.abort();
  const mine = (loading = new AbortController());
  const [start, end] = times();
  element.setAttribute("aria-busy", "true");
  try {
    const asked = `start=${start}&end=${end}&channel=${channelSelect.value}&resolution=${resolutionFor(end - start)}${original}`;
    const answer = await fetch(`${api}/readings?${asked}`, { signal: mine.signal, credentials: "same-origin" });
    if (answer.status === 401) return sessionOver();
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    shown = await answer.json();
    element.classList.remove("unknown");
    loaded = Date.now();
    draw(start, end);
    // Of live readings only the first is announced to screen readers.
    if (unannounced || !summarised) summarise();
    showCsv();
    if (unannounced) reloadTable();
    unannounced = false;
  } catch (error) {
    if (error.name === "AbortError") return;
    if (unannounced) element.classList.add("unknown");
    if (error instanceof TypeError) connectionLost();
    summary.textContent = `The readings cannot be loaded (${error.message}); trying again.`;
    timer = setTimeout(() => load(true), 10000);
  } finally {
    if (loading === mine) element.removeAttribute("aria-busy");
  }
}

function draw(start, end) {
  chart.show(shown, channelSelect.value, start, end);
  element.setAttribute("aria-label", `${channelSelect.selectedOptions[0].text} over time`);
  showLegend(chart.plot?.cursor.idx ?? null);
  showNote();
}

function showNote() {
  const estimated = chart.curves.filter((curve) => curve.estimated.includes(true)).map((curve) => NAMES[curve.role]);
  document.getElementById("chart-note").textContent = [
    chart.curves.some((curve) => isComputed(curve) !== false) ? "Dashed: computed from the other two meters." : "",
    hiddenText(),
    chart.changes().length ? "Upright line: meters were changed." : "",
    chart.hasCorrected() ? "Strip at the top: readings were corrected." : "",
    shown.resolution ? "Band: lowest to highest." : "",
    estimated.length ? estimatedText(estimated.join(", ")) : "",
  ].filter(Boolean).join(" ");
}

function hiddenText() {
  const names = chart.curves.filter((curve) => chart.hidden.has(curve.role)).map((curve) => NAMES[curve.role]);
  return names.length ? `Hidden: ${names.join(", ")}; press the name to show it.` : "";
}

function estimatedText(names) {
  if (ESTIMATED.includes(channelSelect.value)) return `Strip at the bottom: ${names} estimated, from the power factor.`;
  return channelSelect.value === "P" ? `Reactive power and power factor of ${names} are estimated; power is not.` : "";
}

/** The curve's name, and whether it is computed. */
function nameOf(curve) {
  return NAMES[curve.role] + { true: " (computed)", false: "", null: " (partly computed)" }[isComputed(curve)];
}

/** The mean over all readings; a window's point is weighted by its readings. */
function meanOf(curve, values) {
  let [sum, count] = [0, 0];
  values.forEach((value, i) => {
    if (value === null) return;
    sum += value * curve.readings[i];
    count += curve.readings[i];
  });
  return count ? `mean ${number(sum / count)} ${UNITS[channelSelect.value]}` : null;
}

/** Lowest and highest power factor, because a mean of power factors has no meaning. */
function spread(columns) {
  const [low, high] = [columns.min ?? columns.mean, columns.max ?? columns.mean].map((each) => each.filter((value) => value !== null));
  if (!low.length) return null;
  return `${number(low.reduce((a, b) => Math.min(a, b)))} to ${number(high.reduce((a, b) => Math.max(a, b)))}`;
}

function summarise() {
  const parts = chart.curves.map((curve) => {
    const value = channelSelect.value === "L1_PF" ? spread(curve.L1_PF) : meanOf(curve, curve[channelSelect.value].mean);
    if (value === null) return `${NAMES[curve.role]}: no readings`;
    const gaps = curve.gaps.length ? `, ${curve.gaps.length} ${curve.gaps.length === 1 ? "gap" : "gaps"}` : "";
    return `${nameOf(curve)}: ${value}${gaps}`;
  });
  const changes = chart.changes().map((time) => whenText(time, zone));
  if (changes.length) parts.push(`meters changed on ${changes.slice(-3).join(" and ")}${changes.length > 3 ? " and before" : ""}`);
  const step = shown.resolution ? `One point per ${spanText(shown.resolution)}.` : "Every reading.";
  summarised = chart.curves.some((curve) => curve.time.length);
  summary.textContent = summarised ? `${parts.join("; ")}. ${step}` : "No readings in this range. Choose another one, or see the site's state above.";
}

function showLegend(index) {
  const unit = UNITS[channelSelect.value];
  const buttons = chart.curves.map((curve, i) => {
    const button = legend.querySelector(`[data-role="${curve.role}"]`) ?? makeLegendButton(curve.role);
    button.setAttribute("aria-pressed", String(!chart.hidden.has(curve.role)));
    button.querySelector(".swatch").classList.toggle("dashed", curve.computed);
    button.querySelector(".name").textContent = nameOf(curve);
    button.querySelector(".value").textContent = index === null ? "" : `${number(chart.valueAt(i, index))} ${unit}`.trim();
    return button;
  });
  const time = legend.querySelector(".at") ?? Object.assign(document.createElement("span"), { className: "at muted" });
  time.textContent = index === null ? "" : whenText(chart.data[0][index], zone);
  const wanted = [...buttons, time];
  if (wanted.some((node, i) => legend.children[i] !== node) || legend.children.length !== wanted.length) legend.replaceChildren(...wanted);
}

function makeLegendButton(role) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small";
  button.dataset.role = role;
  for (const name of [`swatch ${role}`, "name", "value"]) {
    button.append(Object.assign(document.createElement("span"), { className: name }));
  }
  button.addEventListener("click", () => {
    chart.toggle(role);
    showLegend(null);
    showNote();
  });
  return button;
}

function showCsv() {
  const resolution = shown.resolution ?? "raw";
  document.getElementById("csv").href = `${api}/readings.csv?start=${shown.start}&end=${shown.end}&resolution=${resolution}${original}`;
}

async function reloadTable(open = false) {
  opening ||= open;
  if (!opening && document.querySelector("#values table, #values .empty") === null) return;
  const mine = ++tables;
  const [start, end] = times();
  const answer = await fetch(`${location.pathname}?start=${start}&end=${end}&table=1${original}`, { credentials: "same-origin" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (mine !== tables) return;
  const fresh = page.getElementById("values");
  if (fresh === null) return sessionOver();
  document.getElementById("values").replaceWith(document.adoptNode(fresh));
  if (opening) document.querySelector("#values .scroll")?.focus();
  opening = false;
}

function showReading(role, reading) {
  const tile = document.querySelector(`.tile[data-role="${role}"]`);
  const part = (name) => tile.querySelector(`[data-part="${name}"]`);
  if (reading === null) return;
  part("P").textContent = number(reading.P);
  part("computed").hidden = !reading.computed;
  part("estimated").hidden = !reading.estimated;
  tile.querySelector(".swatch").classList.toggle("dashed", reading.computed);
  if (role === "utility") part("direction").textContent = reading.P > 0 ? "from the grid" : reading.P < 0 ? "to the grid" : "";
  const time = Object.assign(document.createElement("time"), { dateTime: new Date(reading.time * 1000).toISOString() });
  time.dataset.ago = "";
  time.title = `${whenText(reading.time, zone)} (${zone})`;
  time.textContent = ageText(now() - reading.time);
  part("time").replaceChildren(time);
  if (now() - reading.time > presentSeconds) tile.classList.add("stale");
}

/** Load again soon, but not more often than the curves could change visibly. */
function loadSoon() {
  if (timer !== null || !view.key) return;
  const least = Math.min(Math.max((shown?.resolution ?? 0) / 20, 2), 120) * 1000;
  timer = setTimeout(() => load(false), Math.max(300, loaded + least - Date.now()));
}

document.addEventListener("connectionback", () => load(false));

follow(api, {
  gone: sessionOver,
  lost: connectionLost,
  back: connectionBack,
  latest(data, polled) {
    for (const role of ROLES) showReading(role, data.roles[role]);
    if (polled || loaded) loadSoon();
  },
  readings(data) {
    for (const [role, readings] of Object.entries(data)) showReading(role, readings.at(-1));
    loadSoon();
  },
  settings(data) {
    if (settings !== null && settings.etag !== data.etag) {
      refresh(location.pathname);
      load(true);
    }
    settings = data;
  },
});

document.getElementById("ranges").addEventListener("click", (event) => {
  const link = event.target.closest("[data-range]");
  if (link === null) return;
  event.preventDefault();
  go({ key: link.dataset.range, start: 0, end: 0 });
});
document.getElementById("tools").addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button !== null) actions[button.dataset.do]();
});
document.addEventListener("click", (event) => {
  if (event.target.closest("#show-table") === null) return;
  event.preventDefault();
  reloadTable(true);
});
selectWrong.addEventListener("click", () => {
  const pressed = !selecting();
  selectWrong.setAttribute("aria-pressed", String(pressed));
  summary.textContent = pressed ? "Drag over the readings that are wrong." : "";
  if (!pressed) summarise();
});
channelSelect.addEventListener("change", () => {
  showView();
  load(true);
});
followFingers(element, {
  times,
  preview: (start, end) => chart.preview(start, end),
  choose: (start, end) => go({ key: "", start: Math.max(0, start), end: Math.min(Math.max(end, start + SHORTEST), start + LONGEST) }),
});

const KEYS = { ArrowLeft: "left", ArrowRight: "right", "+": "in", "=": "in", "-": "out", Backspace: "back", End: "now" };

function readValue(step) {
  const from = chart.plot?.cursor.idx ?? (step > 0 ? -1 : chart.data[0].length);
  let index = from + step;
  // Points inside a gap have no value to read.
  while (index > 0 && index < chart.data[0].length - 1 && chart.curves.every((_, i) => chart.valueAt(i, index) === null)) index += step;
  const at = chart.point(index);
  if (at === null) return;
  const values = chart.curves.map((curve, i) => `${NAMES[curve.role]} ${number(chart.valueAt(i, at))} ${UNITS[channelSelect.value]}`.trim());
  summary.textContent = `${whenText(chart.data[0][at], zone)}: ${values.join(", ")}`;
}

element.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const action = actions[KEYS[event.key]];
  if (step === undefined && action === undefined) return;
  event.preventDefault();
  if (event.shiftKey && step !== undefined) readValue(step);
  else action();
});

/** Mark the tiles whose readings are old, as the diagram of the present flows has them. */
function markOldTiles() {
  for (const row of document.querySelectorAll("#flow tr[data-role]")) {
    document.querySelector(`.tile[data-role="${row.dataset.role}"]`).classList.toggle("stale", row.classList.contains("stale"));
  }
}

whileVisible(30, async () => {
  if (!(await refresh(location.pathname, ["energy", "problems", "flow"]))) sessionOver();
  markOldTiles();
  if (view.key) loadSoon();
});
load(true);
