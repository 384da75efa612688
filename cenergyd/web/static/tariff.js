// The tariff's form: rows are added and removed, and the week drawn, without losing the scroll position. The server does the work.
let drawing = 0;
let timer = 0;

const form = () => document.getElementById("tariff");

async function post(name, value) {
  const data = new URLSearchParams(new FormData(form()));
  data.append(name, value);
  const answer = await fetch(form().action, { method: "POST", body: data, credentials: "same-origin" });
  if (!answer.ok || new URL(answer.url).pathname !== new URL(form().action).pathname) throw new Error("no page");
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

/** Draw the week of what was typed, unless it has changed meanwhile. */
async function draw() {
  const mine = ++drawing;
  const page = await post("draw", "1");
  if (mine !== drawing) return;
  const old = document.getElementById("picture");
  const fresh = page.getElementById("picture");
  const focused = document.activeElement;
  if (old.contains(focused)) return;
  // What is below must not move under the pointer: the diagram never becomes lower again, and if it grows the page is scrolled by that.
  const before = focused.getBoundingClientRect().top;
  fresh.style.minHeight = `${old.offsetHeight}px`;
  old.replaceWith(document.adoptNode(fresh));
  window.scrollBy(0, focused.getBoundingClientRect().top - before);
}

async function changeRows(button) {
  drawing += 1;
  clearTimeout(timer);
  // What was typed until the answer comes would be lost with the form that it replaces.
  form().inert = true;
  const { name, value } = button;
  const section = value.split(".")[0];
  const page = await post(name, value);
  form().replaceWith(document.adoptNode(page.getElementById("tariff")));
  const rows = document.querySelectorAll(`#${section} .entry`);
  const place = name === "add" ? rows[rows.length - 1]?.querySelector("input:not([type=hidden]), select") : null;
  (place ?? document.querySelector(`#${section} button[name=add]`)).focus();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("#tariff button[name=add], #tariff button[name=remove]");
  if (button === null) return;
  event.preventDefault();
  changeRows(button).catch(() => {
    form().inert = false;
    form().requestSubmit(button);
  });
});

document.addEventListener("input", (event) => {
  if (event.target.closest("#seasons, #schedules") === null) return;
  clearTimeout(timer);
  timer = setTimeout(() => draw().catch(() => {}), 400);
});
