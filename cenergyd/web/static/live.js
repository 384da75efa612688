// Server-sent events while the page is visible; polling if they are not available.

const RETRY_SECONDS = 60;
const POLL_SECONDS = 15;

/**
 * @param api address of the customer in the API.
 * @param on handlers by event name (settings, latest, readings, status), gone() when the session is over, lost() when the daemon does not
 *   answer, and back() when it does again.
 */
export function follow(api, on) {
  let source = null;
  let poll = null;
  let retry = null;

  async function pollOnce() {
    const answer = await fetch(`${api}/latest`, { credentials: "same-origin" }).catch(() => null);
    if (answer === null) on.lost?.();
    else on.back?.();
    if (answer?.status === 401) on.gone();
    if (answer?.ok) on.latest(await answer.json(), true);
  }

  function close() {
    source?.close();
    source = null;
    clearInterval(poll);
    clearTimeout(retry);
    poll = retry = null;
  }

  function fallBack() {
    close();
    pollOnce();
    poll = setInterval(pollOnce, POLL_SECONDS * 1000);
    retry = setTimeout(open, RETRY_SECONDS * 1000);
  }

  function open() {
    close();
    source = new EventSource(`${api}/events`);
    for (const name of ["settings", "latest", "readings", "status"]) {
      source.addEventListener(name, (event) => on[name]?.(JSON.parse(event.data), false));
    }
    source.addEventListener("open", () => on.back?.());
    source.addEventListener("error", () => {
      on.lost?.();
      // A lost connection is tried again by the browser; a refused one is not.
      if (source !== null && source.readyState === EventSource.CLOSED) fallBack();
    });
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  if (!document.hidden) open();
}
