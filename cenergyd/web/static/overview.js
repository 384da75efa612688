// Keeps the lists of customers and rejected loggers up to date.
import { refresh, sessionOver, whileVisible } from "./lib.js";

whileVisible(15, async () => {
  if (!(await refresh(location.href))) sessionOver();
});
