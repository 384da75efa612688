// The curves, drawn by uPlot: gaps stay gaps, computed is dashed, estimated has a strip, min and max are a band, and where meters were
// changed there is an upright line.
/* global uPlot */

export const ROLES = ["utility", "load", "solar"];
export const NAMES = { utility: "Utility", load: "Load", solar: "Solar" };
export const UNITS = { P: "kW", Q: "kvar", L1_PF: "", L1_V: "V" };
const SIGNED = ["P", "Q"];
export const ESTIMATED = ["Q", "L1_PF"];

const TICKS = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
];

/** Whether a curve is computed: true, false, or null for part of the range. */
export function isComputed(curve) {
  const kinds = new Set(curve.segments.map((segment) => segment.computed));
  return kinds.size === 1 ? curve.computed : null;
}

/** Index of each point's segment; a window in which it changes belongs to the later one. */
function segmentOf(curve, resolution) {
  let at = 0;
  return curve.time.map((time) => {
    while (at + 1 < curve.segments.length && curve.segments[at + 1].start < time + (resolution ?? 1)) at++;
    return at;
  });
}

/**
 * Columns of the measured or the computed part of a curve, with an explicit null inside every gap and where the other part
 * begins, so that no line crosses it.
 */
function columnsOf(line, channel, resolution) {
  const { curve } = line;
  const parts = curve[channel];
  const names = parts.min ? ["mean", "min", "max"] : ["mean"];
  const starts = new Set(curve.gaps.map((gap) => gap[0]));
  const segments = segmentOf(curve, resolution);
  const columns = [[], ...names.map(() => [])];
  const add = (time, values) => [time, ...values].forEach((value, n) => columns[n].push(value));
  const none = names.map(() => null);
  let mine = false;
  curve.time.forEach((time, i) => {
    const ends = mine;
    mine = curve.segments[segments[i]].computed === line.computed;
    if (mine) add(time, names.map((name) => parts[name][i]));
    else if (ends) add(time, none);
    if (mine && starts.has(time)) add(time + 1, none);
  });
  return columns;
}

/** Other curves' times within a gap belong to the gap as well: uPlot ends a gap at the next value that is not null. */
function fillGaps(values) {
  let inGap = false;
  for (let i = 0; i < values.length; i++) {
    if (values[i] === undefined) values[i] = inGap ? null : undefined;
    else inGap = values[i] === null;
  }
}

/** Points without a line: alone between two gaps. */
function alone(plot, index, show) {
  if (show === false) return [];
  const values = plot.data[index];
  const known = [];
  for (let i = 0; i < values.length; i++) if (values[i] !== undefined) known.push(i);
  const there = (k) => k >= 0 && k < known.length && values[known[k]] !== null;
  return known.filter((_, k) => there(k) && !there(k - 1) && !there(k + 1));
}

/** Texts of an axis' ticks, with as many digits as they need: 2.5 must not be shown as 3. */
export function tickTexts(_, ticks) {
  const needsMore = (digits) => ticks.some((tick) => Math.abs(tick * 10 ** digits - Math.round(tick * 10 ** digits)) > 1e-6);
  let digits = 0;
  while (digits < 6 && needsMore(digits)) digits++;
  return ticks.map((tick) => (tick < 0 ? "\u2212" : "") + Math.abs(tick).toFixed(digits));
}

export class PowerChart {
  /**
   * @param element where it is drawn.
   * @param zone the site's time zone.
   * @param on {select(start, end), zoomOut(), cursor(index)}
   */
  constructor(element, zone, on) {
    this.element = element;
    this.zone = zone;
    this.on = on;
    this.plot = null;
    this.hidden = new Set();
    this.data = [[]];
    this.curves = [];
    this.lines = [];
    this.corrected = JSON.parse(element.dataset.corrected);
    new ResizeObserver(() => this.resize()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(answer, channel, start, end) {
    Object.assign(this, { answer, channel, start, end });
    this.draw();
  }

  draw() {
    if (!this.answer) return;
    this.style = getComputedStyle(document.documentElement);
    this.curves = ROLES.map((role) => this.answer.curves.find((curve) => curve.role === role)).filter(Boolean);
    // A line is dashed as a whole, so a curve that is computed for part of the range is drawn as two lines.
    this.lines = this.curves.flatMap((curve) => {
      const kinds = new Set(curve.segments.map((segment) => segment.computed));
      return [...kinds].map((computed) => ({ curve, computed }));
    });
    const tables = this.lines.map((line) => columnsOf(line, this.channel, this.answer.resolution));
    this.data = tables.some((table) => table[0].length) ? uPlot.join(tables) : [[], ...tables.flatMap((table) => table.slice(1))];
    this.data.slice(1).forEach(fillGaps);
    const cursor = this.plot?.cursor.idx ?? null;
    this.plot?.destroy();
    this.element.querySelector(".uplot")?.remove();
    this.plot = new uPlot(this.options(), this.data, this.element);
    if (cursor !== null && document.activeElement === this.element) this.point(cursor);
  }

  colour(name) {
    return this.style.getPropertyValue(`--${name}`).trim();
  }

  /** Index of each line's mean in the data. */
  places() {
    let next = 1;
    return this.lines.map((line) => {
      const place = next;
      next += line.curve[this.channel].min ? 3 : 1;
      return place;
    });
  }

  options() {
    const series = [{}];
    const bands = [];
    for (const { curve, computed } of this.lines) {
      const show = !this.hidden.has(curve.role);
      const colour = this.colour(curve.role);
      const mean = series.length;
      series.push({
        label: NAMES[curve.role], show, stroke: colour, width: 1.75, dash: computed ? [7, 4] : [],
        points: { show: true, filter: alone, size: 5, fill: colour, width: 0 },
      });
      if (curve[this.channel].min) {
        const edge = { show, stroke: "transparent", width: 0, points: { show: false } };
        series.push({ ...edge }, { ...edge });
        bands.push({ series: [mean + 2, mean + 1], fill: this.colour(`${curve.role}-band`) });
      }
    }
    const [text, grid] = [this.colour("muted"), { stroke: this.colour("grid"), width: 1 }];
    const axis = { stroke: text, grid, ticks: grid, font: "12px system-ui, sans-serif" };
    return {
      ...this.size(), series, bands,
      tzDate: (time) => uPlot.tzDate(new Date(time * 1000), this.zone),
      legend: { show: false },
      padding: [10, 22, 0, 0],
      scales: { x: { time: true, range: () => [this.start, this.end] }, y: { range: (_, low, high) => this.heights(low, high) } },
      axes: [
        { ...axis, values: TICKS, space: 64 },
        // Without values there is no scale.
        { ...axis, size: 52, show: this.data[0].length > 0, label: UNITS[this.channel] || null, labelSize: 18, labelFont: axis.font, values: tickTexts },
      ],
      cursor: {
        y: false, drag: { x: true, y: false, setScale: false }, points: { size: 7 },
        bind: { dblclick: () => () => (this.on.zoomOut(), null) },
      },
      hooks: {
        setSelect: [(plot) => this.selected(plot)],
        setCursor: [(plot) => this.on.cursor(plot.cursor.idx ?? null)],
        drawAxes: [(plot) => this.drawZero(plot), (plot) => this.drawChanges(plot)],
        draw: [(plot) => this.drawEstimated(plot), (plot) => this.drawCorrected(plot)],
      },
    };
  }

  heights(low, high) {
    if (low === null || high === null) return [0, 1];
    if (SIGNED.includes(this.channel)) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    return [low < 0 || !SIGNED.includes(this.channel) ? low - room : low, high + room];
  }

  selected(plot) {
    const { left, width } = plot.select;
    if (width < 6) return;
    const [start, end] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.on.select(Math.floor(start), Math.ceil(end));
  }

  drawZero(plot) {
    const { min, max } = plot.scales.y;
    if (!(min < 0 && max > 0)) return;
    const y = Math.round(plot.valToPos(0, "y", true));
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.fillStyle = this.colour("zero");
    ctx.fillRect(bbox.left, y, bbox.width, Math.max(1, Math.round(devicePixelRatio)));
    ctx.restore();
  }

  /** Times within the range at which meters were changed. */
  changes() {
    // The first segment may begin within the range: before it there was no meter, so nothing changed.
    const starts = this.curves.flatMap((curve) => curve.segments.slice(1).map((segment) => segment.start));
    return [...new Set(starts)].filter((time) => time > this.answer.start).sort((a, b) => a - b);
  }

  drawChanges(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = this.colour("muted");
    ctx.lineWidth = Math.max(1, Math.round(devicePixelRatio));
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const time of this.changes()) {
      const x = Math.round(plot.valToPos(time, "x", true)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** Only the reactive power is ever estimated, and the power factor with it. */
  drawEstimated(plot) {
    if (!ESTIMATED.includes(this.channel)) return;
    const { ctx, bbox } = plot;
    const height = 3 * devicePixelRatio;
    ctx.save();
    for (const curve of this.curves) {
      if (this.hidden.has(curve.role)) continue;
      ctx.fillStyle = this.colour(curve.role);
      const step = curve.time.length > 1 ? curve.time[1] - curve.time[0] : 60;
      curve.estimated.forEach((estimated, i) => {
        if (!estimated) return;
        const left = Math.max(Math.floor(plot.valToPos(curve.time[i], "x", true)), bbox.left);
        const right = Math.min(Math.ceil(plot.valToPos(curve.time[i] + step, "x", true)), bbox.left + bbox.width);
        ctx.fillRect(left, bbox.top + bbox.height - height, Math.max(right - left, 1), height);
      });
    }
    ctx.restore();
  }

  /** Whether any range of corrected readings is shown. */
  hasCorrected() {
    return this.corrected.some(([start, end]) => start < this.end && end > this.start);
  }

  drawCorrected(plot) {
    const { ctx, bbox } = plot;
    const at = (time) => Math.min(Math.max(plot.valToPos(time, "x", true), bbox.left), bbox.left + bbox.width);
    ctx.save();
    ctx.fillStyle = this.colour("muted");
    for (const [start, end] of this.corrected) {
      if (start >= this.end || end <= this.start) continue;
      const left = Math.floor(at(start));
      ctx.fillRect(left, bbox.top, Math.max(Math.ceil(at(end)) - left, 1), 4 * devicePixelRatio);
    }
    ctx.restore();
  }

  size() {
    return { width: Math.max(this.element.clientWidth, 200), height: this.element.clientHeight || 300 };
  }

  resize() {
    const { width, height } = this.size();
    if (this.plot && (this.plot.width !== width || this.plot.height !== height)) this.plot.setSize({ width, height });
  }

  /** Show another range while fingers move, with the readings already loaded. */
  preview(start, end) {
    Object.assign(this, { start, end });
    this.plot?.setScale("x", { min: start, max: end });
  }

  toggle(role) {
    if (!this.hidden.delete(role)) this.hidden.add(role);
    this.draw();
  }

  /** Put the cursor on a point; the index is clamped to the data. Returns the index or null. */
  point(index) {
    const count = this.data[0].length;
    if (!count || !this.plot) return null;
    const at = Math.min(Math.max(index, 0), count - 1);
    this.plot.setCursor({ left: this.plot.valToPos(this.data[0][at], "x"), top: 10 });
    return at;
  }

  /** Value of a curve at or just before an index of the data; null in a gap. */
  valueAt(curveIndex, index) {
    const places = this.places().filter((_, n) => this.lines[n].curve === this.curves[curveIndex]);
    for (let i = index; i >= 0 && i > index - 4; i--) {
      const known = places.map((place) => this.data[place][i]).filter((value) => value !== undefined);
      // Where one line ends the other may begin.
      if (known.length) return known.find((value) => value !== null) ?? null;
    }
    return null;
  }
}
