// Fingers on a chart: one moves it sideways, two zoom. Vertical movement scrolls the page.

const LEAST_PIXELS = 24;

/**
 * @param element the chart's; its style has touch-action: pan-y.
 * @param chart times() -> [start, end]; preview(start, end) while fingers move; choose(start, end) when they are lifted, in whole
 *   seconds unless exact.
 */
export function followFingers(element, chart) {
  const fingers = new Map();
  let from = null;

  const places = () => [...fingers.values()].sort((a, b) => a - b);

  function begin() {
    const [start, end] = chart.times();
    from = { start, end, places: places(), moved: false };
  }

  /** The range that keeps the same times under the fingers. */
  function range() {
    const box = element.getBoundingClientRect();
    const perPixel = (from.end - from.start) / box.width;
    const [now, then] = [places(), from.places];
    if (now.length < 2) {
      const by = (then[0] - now[0]) * perPixel;
      return [from.start + by, from.end + by];
    }
    const factor = Math.min(Math.max((then[1] - then[0]) / Math.max(now[1] - now[0], 20), 0.1), 10);
    const middle = (then[0] + then[1]) / 2 - box.left;
    const fixed = from.start + middle * perPixel;
    const length = (from.end - from.start) * factor;
    const start = fixed - ((now[0] + now[1]) / 2 - box.left) * (length / box.width);
    return [start, start + length];
  }

  element.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch" || fingers.size === 2) return;
    fingers.set(event.pointerId, event.clientX);
    begin();
  });
  element.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, event.clientX);
    from.moved ||= places().some((place, i) => Math.abs(place - from.places[i]) > LEAST_PIXELS);
    if (from.moved) chart.preview(...range());
  });
  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, (event) => {
      if (!fingers.has(event.pointerId)) return;
      const [moved, chosen] = [from.moved, range()];
      fingers.delete(event.pointerId);
      if (moved && name === "pointerup") {
        fingers.clear();
        chart.choose(...(chart.exact ? chosen : chosen.map(Math.round)));
      } else if (moved) {
        chart.preview(from.start, from.end);
      } else if (fingers.size) {
        begin();
      }
    });
  }
}
