// Draws each figure of a page from the numbers in #data: the kinds are told in frame.py.
// Colours are CSS variables and text is set as text, so that nothing of the data is markup or style.
"use strict";
document.documentElement.classList.add("scripted");

const SMALL_PX = 2; // a change of width that is not worth a new drawing
const whole = new Intl.NumberFormat("en-US", {maximumFractionDigits: 0});
const four = new Intl.NumberFormat("en-US", {maximumSignificantDigits: 4});
const short = new Intl.NumberFormat("en-US", {notation: "compact", maximumSignificantDigits: 3});
const percent = new Intl.NumberFormat("en-US", {style: "percent", maximumFractionDigits: 1});

const number = (x) => (Math.abs(x) >= 10000 ? whole : four).format(x);
const axis = (x) => (Math.abs(x) >= 10000 ? short.format(x) : String(+x.toPrecision(9)));
const tone = (name) => `var(--${name})`;
const longest = (texts) => Math.max(0, ...texts.map((text) => text.length));
const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const base = (width, spec) => ({width, className: "plot", ariaLabel: spec.label, style: {overflow: "visible"}});
const tip = {channels: {}, tip: {fontSize: 12, lineHeight: 1.25, stroke: "var(--line)", textPadding: 9}};

/** Bars over edges: the first side stands, the second hangs; each adds up to 1 of its own. */
function histogram(spec, width) {
  const [low, high] = [spec.edges[0], spec.edges.at(-1)];
  const gap = width / spec.edges.length > 5 ? 0.5 : 0;
  const bins = spec.sides.flatMap(({name, tone, counts}, side) => {
    const all = counts.reduce((a, b) => a + b, 0);
    return counts.flatMap((count, i) => count === 0 ? [] : [{
      from: spec.edges[i], to: spec.edges[i + 1], tone, share: (side ? -1 : 1) * count / all,
      title: `${number(spec.edges[i])} … ${number(spec.edges[i + 1])}\n${number(count)} ${name}, ${percent.format(count / all)} of these`,
    }]);
  });
  const tallest = Math.max(0, ...bins.map((bin) => bin.share));
  const deepest = Math.max(0, ...bins.map((bin) => -bin.share));
  const limits = spec.limits.filter(({at}) => low <= at && at <= high);
  const beyond = limits.map(({side, at}) => (side === "min" ? {from: low, to: at} : {from: at, to: high}));
  const rightwards = ({side, at}) => (side === "max" && at < low + 0.72 * (high - low)) || at < low + 0.28 * (high - low);
  const limitText = (right) => Plot.text(limits.filter((limit) => rightwards(limit) === right), {
    x: "at", text: "label", frameAnchor: "top", textAnchor: right ? "start" : "end",
    dx: right ? 4 : -4, dy: -13, fill: tone("ink"), fontWeight: 600,
  });
  return Plot.plot({
    ...base(width, spec), height: 178, marginLeft: 42, marginRight: 6, marginTop: 22, marginBottom: 34,
    x: {domain: [low, high], label: null},
    y: {domain: [-(deepest || 0), tallest || 1e-9], label: null},
    marks: [
      Plot.rect(beyond, {x1: "from", x2: "to", fill: tone("rejected"), fillOpacity: 0.1}),
      Plot.gridY({ticks: 4, stroke: tone("line"), strokeOpacity: 1}),
      Plot.axisY({ticks: 4, tickSize: 0, tickFormat: (x) => percent.format(Math.abs(x))}),
      Plot.axisX({ticks: Math.min(6, width / 60), tickFormat: axis}),
      Plot.rect(bins, {x1: "from", x2: "to", y1: 0, y2: "share", fill: (d) => tone(d.tone), insetLeft: gap, insetRight: gap, title: "title", ...tip}),
      Plot.ruleY([0], {stroke: tone("soft")}),
      Plot.ruleX(limits, {x: "at", stroke: tone("ink"), strokeWidth: 1.5, strokeDasharray: "4,3"}),
      limitText(true), limitText(false),
    ],
  });
}

/** Bars by name, in the given order; lying, or standing over a row of names. Behind each, its whole. */
function bars(spec, width) {
  const rows = spec.rows.map((row, i) => ({...row, i, title: `${row.label}\n${number(row.value)} ${spec.x}${row.of === undefined ? "" : ` of ${number(row.of)}`}`}));
  const most = Math.max(0, ...rows.map(({value, of}) => Math.max(value, of ?? 0))) || 1;
  const wholes = rows.filter(({of}) => of !== undefined);
  if (spec.upright) {
    const chars = Math.min(12, longest(rows.map(({label}) => label)));
    const every = Math.ceil((7 * chars + 6) / ((width - 52) / rows.length)); // as many names as there is room for
    return Plot.plot({
      ...base(width, spec), height: 190, marginLeft: 46, marginRight: 6, marginBottom: 30,
      x: {type: "band", domain: rows.map(({i}) => i), label: null, padding: 0.2}, y: {domain: [0, most]},
      marks: [
        Plot.gridY({ticks: 4, stroke: tone("line"), strokeOpacity: 1}),
        Plot.axisY({ticks: 4, tickSize: 0, tickFormat: axis, label: spec.x, labelArrow: "none"}),
        Plot.axisX({tickSize: 0, tickFormat: (i) => (i % every ? "" : shortened(rows[i].label, chars))}),
        Plot.barY(wholes, {x: "i", y: "of", fill: tone("behind")}),
        Plot.barY(rows, {x: "i", y: "value", fill: (d) => tone(d.tone), title: "title", ...tip}),
        Plot.ruleY([0], {stroke: tone("soft")}),
      ],
    });
  }
  const chars = Math.min(longest(rows.map(({label}) => label)), Math.floor(width / 16));
  return Plot.plot({
    ...base(width, spec), height: 24 * rows.length + 18, marginTop: 18, marginLeft: 18 + 6.8 * chars, marginRight: 56, marginBottom: 0,
    x: {domain: [0, most], axis: null}, y: {type: "band", domain: rows.map(({i}) => i), label: null, padding: 0.3},
    marks: [
      Plot.text([spec.x], {frameAnchor: "top-left", dy: -16, fill: tone("soft")}),
      Plot.axisY({tickSize: 0, tickFormat: (i) => shortened(rows[i].label, chars), fill: tone("ink"), fontSize: 12}),
      Plot.barX(wholes, {y: "i", x: "of", fill: tone("behind")}),
      Plot.barX(rows, {y: "i", x: "value", fill: (d) => tone(d.tone), title: "title", ...tip}),
      Plot.text(rows, {y: "i", x: ({value, of}) => Math.max(value, of ?? 0), text: (d) => number(d.value), textAnchor: "start", dx: 5, fill: tone("ink")}),
    ],
  });
}

/** Powers of ten from just below to just above some numbers, which are above 0. */
function tensAround(values) {
  const [low, high] = [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)))];
  return Array.from({length: high - low + 1}, (_, i) => 10 ** (low + i));
}

/** Lines through points, on plain or logarithmic axes. */
function lines(spec, width) {
  const scale = (name) => (spec.log.includes(name) ? "log" : "linear");
  const points = spec.series.flatMap(({name, tone, bare, points}) => points.map(([x, y]) => ({name, tone, bare, x, y, title: `${name}\n${number(x)} ${spec.x}\n${number(y)} ${spec.y}`})));
  const ticks = (name, most) => (spec.log.includes(name) ? tensAround(points.map((point) => point[name])) : most);
  const marks = spec.marks ?? [];
  const furthest = Math.max(...points.map(({x}) => x));
  const markText = (right) => Plot.text(marks.filter(({x}) => (x < 0.7 * furthest) === right), {
    x: "x", text: "label", frameAnchor: "top", textAnchor: right ? "start" : "end",
    dx: right ? 4 : -4, fill: tone("ink"), fontWeight: 600,
  });
  return Plot.plot({
    ...base(width, spec), height: 260, marginLeft: 52, marginBottom: 40, marginRight: 12,
    x: {type: scale("x"), label: spec.x, nice: true}, y: {type: scale("y"), label: spec.y, nice: true},
    marks: [
      Plot.gridY({ticks: ticks("y", 5), stroke: tone("line"), strokeOpacity: 1}),
      Plot.axisY({ticks: ticks("y", 5), tickSize: 0, tickFormat: axis, label: spec.y}),
      Plot.axisX({ticks: ticks("x", Math.min(6, width / 80)), tickFormat: axis, label: spec.x}),
      Plot.ruleX(marks, {x: "x", stroke: tone("ink"), strokeDasharray: "4,3"}),
      markText(true), markText(false),
      Plot.lineY(points, {x: "x", y: "y", z: "name", stroke: (d) => tone(d.tone), strokeWidth: 2}),
      Plot.dot(points.filter(({bare}) => !bare), {x: "x", y: "y", r: 2.5, fill: (d) => tone(d.tone), title: "title", ...tip}),
    ],
  });
}

/** A field of cells, the darker the more; an unknown one is hatched by a stroke alone. */
function heat(spec, width) {
  const known = spec.cells.filter(({value}) => value !== null).map(({value}) => value);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const depth = ({value}) => (high > low ? (value - low) / (high - low) : 1);
  const fill = (d) => (d.value === null ? "transparent" : `color-mix(in oklab, var(--kept) ${(12 + 83 * depth(d)).toFixed(1)}%, var(--card))`);
  const ys = [...new Set(spec.cells.map(({y}) => y))];
  const cells = spec.cells.map((cell) => ({...cell, title: `${spec.x} ${cell.x}\n${spec.y} ${cell.y}\n${cell.text}`}));
  return Plot.plot({
    ...base(width, spec), height: 30 * ys.length + 76, marginTop: 28, marginLeft: 20 + 7 * longest(ys.map(String)), marginBottom: 42,
    x: {type: "band", domain: [...new Set(spec.cells.map(({x}) => x))], label: spec.x, padding: 0.06},
    y: {type: "band", domain: ys, label: spec.y, padding: 0.06},
    marks: [
      Plot.axisX({tickSize: 0, label: spec.x}), Plot.axisY({tickSize: 0, label: spec.y, labelAnchor: "top", labelArrow: "none"}),
      Plot.cell(cells, {x: "x", y: "y", fill, stroke: tone("line"), title: "title", ...tip}),
      Plot.text(cells, {x: "x", y: "y", text: "text", fill: (d) => (d.value !== null && depth(d) > 0.55 ? tone("card") : tone("ink"))}),
    ],
  });
}

/** Values by name, each with its interval where it has one. */
function dots(spec, width) {
  const rows = spec.rows.map((row, i) => ({...row, i, title: `${row.label}\n${number(row.value)} ${spec.x}`}));
  const chars = Math.min(longest(rows.map(({label}) => label)), Math.floor(width / 16));
  return Plot.plot({
    ...base(width, spec), height: 24 * rows.length + 44, marginTop: 8, marginLeft: 14 + 6.4 * chars, marginRight: 16, marginBottom: 36,
    x: {label: spec.x, nice: true}, y: {type: "band", domain: rows.map(({i}) => i), label: null},
    marks: [
      Plot.gridX({stroke: tone("line"), strokeOpacity: 1}),
      Plot.axisX({ticks: Math.min(6, width / 80), tickFormat: axis, label: spec.x}),
      Plot.axisY({tickSize: 0, tickFormat: (i) => shortened(rows[i].label, chars), fill: tone("ink"), fontSize: 12}),
      Plot.ruleX(spec.marks ?? [], {stroke: tone("ink"), strokeDasharray: "4,3"}),
      Plot.link(rows.filter(({low}) => low !== null), {x1: "low", x2: "high", y1: "i", y2: "i", stroke: tone("kept"), strokeWidth: 2}),
      Plot.dot(rows, {x: "value", y: "i", r: 4, fill: tone("kept"), title: "title", ...tip}),
    ],
  });
}

const KINDS = {histogram, bars, lines, heat, dots};

function draw(place, spec) {
  const width = Math.round(place.clientWidth);
  if (width === 0 || Math.abs(width - (place.drawnWidth ?? 0)) <= SMALL_PX) return;
  place.drawnWidth = width;
  const svg = KINDS[spec.kind](spec, width);
  svg.setAttribute("role", "img");
  place.replaceChildren(svg);
}

const page = JSON.parse(document.getElementById("data").textContent);
const wider = new ResizeObserver((entries) => entries.forEach(({target}) => draw(target, target.spec)));
for (const figure of document.querySelectorAll("[data-chart]")) {
  const spec = page.charts[figure.dataset.chart];
  const place = figure.querySelector(".drawing");
  if (!spec || !place) continue;
  place.spec = spec;
  draw(place, spec);
  wider.observe(place);
}
