// The settings form: shows which meter will be computed while typing, buttons to choose meters, and keeps the connection's state up to date.
import { refresh, sessionOver, whileVisible } from "./lib.js";

const NAMES = { utility: "Utility", load: "Load", solar: "Solar" };
const EQUATIONS = { utility: "load \u2212 solar", load: "utility + solar", solar: "load \u2212 utility" };
const FIELDS = ["facility", "load", "solar"];
const field = (name) => document.getElementById(name);
const plain = (name) => field(name).value.trim().replace(/^0+(?=\d+$)/, "");
const SUM = /^[+-]? *\d+ *(\* *\d{1,7}(\.\d{1,6})? *)?([+-] *\d+ *(\* *\d{1,7}(\.\d{1,6})? *)?){0,15}$/;
const termsOf = (text) => text.replace(/^[+-]/, "").split(/[+-]/).map((term) => term.split("*").map(Number));

function isWrong(text) {
  return !SUM.test(text) || termsOf(text).some(([meter, factor]) => meter < 1 || meter > 255 || factor === 0);
}

function computedMeter() {
  const fitted = FIELDS.map(plain).filter((meter) => meter !== "");
  const wrong = fitted.find(isWrong);
  if (wrong !== undefined) {
    return ["warn", `Nothing is computed: ${wrong} is not a ${/[+*-]/.test(wrong) ? "sum of meters" : "Modbus address"}.`];
  }
  const meters = fitted.flatMap((text) => termsOf(text).map(([meter]) => meter));
  const doubled = meters.find((meter, index) => meters.indexOf(meter) !== index);
  if (doubled !== undefined) return ["warn", `Nothing is computed: meter ${doubled} is named more than once.`];
  if (fitted.length < 2) return ["warn", "Nothing is computed yet: two of the three meters are needed."];
  if (fitted.length === 3) return ["ok", "All three meters are measured; nothing needs to be computed."];
  const role = field(FIELDS.find((name) => plain(name) === "")).dataset.role;
  return ["ok", `${NAMES[role]} will be computed: ${EQUATIONS[role]}.`];
}

const ICONS = { ok: "M3.5 8.5l3 3 6-7", warn: "M8 2.2l6.3 11.3H1.7zM8 6.5v3.2M8 11.6v.1" };

function showWhatIsComputed() {
  const [level, text] = computedMeter();
  const target = document.getElementById("computed-meter");
  const shown = target.querySelector("span");
  if (shown.textContent !== text) shown.textContent = text;
  target.className = `verdict ${level}`;
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[level]);
  target.querySelector("svg").replaceChildren(path);
  for (const button of document.querySelectorAll("button[name=use]")) {
    button.setAttribute("aria-pressed", String(plain(button.dataset.field) === button.dataset.meter));
  }
}

document.querySelector("form.settings").addEventListener("input", showWhatIsComputed);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[name=use]");
  if (button === null) return;
  event.preventDefault();
  const { meter, field: name } = button.dataset;
  const pressed = plain(name) === meter;
  for (const other of FIELDS) if (plain(other) === meter) field(other).value = "";
  if (!pressed) field(name).value = meter;
  showWhatIsComputed();
});

function addReveal() {
  const input = field("logger_password");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small reveal";
  button.textContent = "Show";
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", "Show the password");
  button.addEventListener("click", () => {
    const show = input.type === "password";
    input.type = show ? "text" : "password";
    button.textContent = show ? "Hide" : "Show";
    button.setAttribute("aria-pressed", String(show));
  });
  const wrapper = document.createElement("div");
  wrapper.className = "with-button";
  input.replaceWith(wrapper);
  wrapper.append(input, button);
}

/** A new customer is usually in its operator's time zone. */
function guessZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const choice = field("time_zone");
  if ([...choice.options].some((option) => option.value === zone)) choice.value = zone;
}

addReveal();
if (location.pathname === "/customers/new" && document.getElementById("errors") === null) guessZone();
showWhatIsComputed();
if (document.getElementById("connection") !== null) {
  whileVisible(4, async () => {
    if (!(await refresh(location.pathname))) sessionOver();
    showWhatIsComputed();
  });
}
