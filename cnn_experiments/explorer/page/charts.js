/** Small drawings: a curve with a point on it, lines over epochs, bars of a histogram. */

import { makeSvg } from "./elements.js";
import { figure } from "./numbers.js";

/** A function of one number, with the point (value, result) on it. */
export function functionChart(of, value, result, label) {
  const reach = Math.max(3, Math.abs(value) * 1.15);
  const steps = Array.from({ length: 81 }, (_, step) => -reach + (step / 40) * reach);
  const height = Math.max(...steps.map((step) => Math.abs(of(step))), 1) * 1.1;
  const x = (place) => 80 + (place / reach) * 76;
  const y = (place) => 50 - (place / height) * 46;
  return makeSvg(
    "svg",
    { viewBox: "0 0 160 100", class: "chart function", role: "img", "aria-label": label },
    makeSvg("path", { class: "axis", d: `M4 50H156M80 4V96` }),
    makeSvg("path", {
      class: "line run0",
      d: steps.map((step, at) => `${at === 0 ? "M" : "L"}${x(step).toFixed(1)} ${y(of(step)).toFixed(1)}`).join(""),
    }),
    makeSvg("path", { class: "guide", d: `M${x(value)} 50V${y(result)}H80` }),
    makeSvg("circle", { class: "point", cx: x(value), cy: y(result), r: 3.5 }),
  );
}

/**
 * Lines over the same places.
 * @param {{x: number, y: number}[][]} lines of the first and second run
 * @param {object} options ``label``; ``at``, a place to mark; the network before training has none on the axis
 */
export function lineChart(lines, { label, at = null }) {
  const points = lines.flat();
  const [low, high] = [Math.min(...points.map(({ y }) => y)), Math.max(...points.map(({ y }) => y))];
  const [first, last] = [Math.min(...points.map(({ x }) => x)), Math.max(...points.map(({ x }) => x))];
  const x = (place) => 40 + ((place - first) / (last - first || 1)) * 250;
  const y = (place) => 90 - ((place - low) / (high - low || 1)) * 80;
  const path = (line) =>
    line
      .map((point, number) => `${number === 0 ? "M" : "L"}${x(point.x).toFixed(1)} ${y(point.y).toFixed(1)}`)
      .join("");
  const words = (value, left, top, anchor) => makeSvg("text", { x: left, y: top, "text-anchor": anchor }, value);
  return makeSvg(
    "svg",
    { viewBox: "0 0 300 110", class: "chart", role: "img", "aria-label": label },
    makeSvg("path", { class: "axis", d: "M40 8V90H292" }),
    ...lines.map((line, run) => makeSvg("path", { class: `line run${run}`, d: path(line) })),
    ...(at === null || at < first || at > last ? [] : [makeSvg("path", { class: "guide", d: `M${x(at)} 8V90` })]),
    words(figure(high, 3), 36, 16, "end"),
    words(figure(low, 3), 36, 90, "end"),
    words(String(first), 40, 104, "middle"),
    words(String(last), 288, 104, "middle"),
  );
}

/**
 * How often values lie where: steps of the first and the second run over the same bins.
 * @param {Float32Array} edges of the bins
 * @param {Float32Array[]} shares of each run
 * @param {string} label
 */
export function histogram(edges, shares, label) {
  const highest = Math.max(...shares.flatMap((of) => [...of]), 1e-9);
  const x = (edge) => 6 + ((edge - edges[0]) / (edges.at(-1) - edges[0] || 1)) * 288;
  const y = (share) => 84 - Math.sqrt(share / highest) * 76;
  const outline = (of) =>
    `M${x(edges[0])} 84${[...of].map((share, bin) => `V${y(share).toFixed(1)}H${x(edges[bin + 1]).toFixed(1)}`).join("")}V84Z`;
  const zero = edges[0] < 0 && edges.at(-1) > 0 ? [makeSvg("path", { class: "guide", d: `M${x(0)} 4V84` })] : [];
  return makeSvg(
    "svg",
    { viewBox: "0 0 300 100", class: "chart", role: "img", "aria-label": label },
    ...shares.map((of, run) => makeSvg("path", { class: `area run${run}`, d: outline(of) })),
    ...zero,
    makeSvg("path", { class: "axis", d: "M6 84H294" }),
    makeSvg("text", { x: 6, y: 97 }, figure(edges[0], 2)),
    makeSvg("text", { x: 294, y: 97, "text-anchor": "end" }, figure(edges.at(-1), 2)),
  );
}
