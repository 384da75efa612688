// Keeps alerts, messages and the state of test messages up to date; the secret is asked for with webhooks only.
import { refresh, whileVisible } from "./lib.js";

const kind = document.getElementById("type");
const secret = document.querySelector(".add-channel .secret");
const showSecret = () => {
  secret.hidden = kind.value !== "webhook";
};
if (kind !== null) {
  kind.addEventListener("change", showSecret);
  showSecret();
}

whileVisible(5, async () => {
  if (!(await refresh(location.pathname))) location.reload();
});
