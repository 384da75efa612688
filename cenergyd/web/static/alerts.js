// Keeps alerts, messages and the state of test messages up to date; the secret field is shown for kinds of channels that have one.
import { refresh, sessionOver, whileVisible } from "./lib.js";

const kind = document.getElementById("type");
const secret = document.querySelector(".add-channel .secret");
const showSecret = () => {
  secret.hidden = !secret.dataset.kinds.split(" ").includes(kind.value);
};
if (kind !== null) {
  kind.addEventListener("change", showSecret);
  showSecret();
}

whileVisible(5, async () => {
  if (!(await refresh(location.pathname))) sessionOver();
});
