// On every page.
import { updateAges } from "./lib.js";

document.documentElement.classList.add("js");
setInterval(updateAges, 5000);
document.querySelector("#errors, #conflict")?.scrollIntoView({ block: "start" });
