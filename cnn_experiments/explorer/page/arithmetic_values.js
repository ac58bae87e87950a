/** The arithmetic of one value and its neighbours: activations, normalisation, and what is passed on. */

import { bracketed, headings } from "./arithmetic_parts.js";
import { functionChart } from "./charts.js";
import { button, make } from "./elements.js";
import { decimal, figure, layerName } from "./numbers.js";
import { text } from "./texts.js";

export function normalisation(step) {
  return [
    make(
      "table.list",
      {},
      headings([text("arithmetic.map"), text("arithmetic.value"), text("arithmetic.square")]),
      make(
        "tbody",
        {},
        step.maps.map((map, at) =>
          make(
            "tr",
            {},
            make("td", {}, String(map)),
            make("td.number", {}, decimal(step.values[at], 4)),
            make("td.number", {}, decimal(step.squares[at], 4)),
          ),
        ),
      ),
    ),
    make(
      "p.equation",
      {},
      `Σ = ${decimal(step.sum_of_squares, 4)};  k + α Σ = ${figure(step.k, 3)} + ${figure(step.alpha, 3)} × ${decimal(step.sum_of_squares, 4)} = ${decimal(step.base, 6)}`,
    ),
    make(
      "p.equation",
      { dataSum: step.value / step.base ** step.beta },
      `${decimal(step.value, 4)} / ${decimal(step.base, 6)}`,
      make("sup", {}, `β = ${figure(step.beta, 2)}`),
      ` = ${decimal(step.value, 4)} / ${decimal(step.power, 6)} = `,
      make("strong", {}, decimal(step.result, 4)),
    ),
  ];
}

export function batchNormalisation(step) {
  const result = ((step.value - step.mean) / Math.sqrt(step.variance + step.epsilon)) * step.weight + step.bias;
  return make(
    "p.equation",
    { dataSum: result },
    `(${decimal(step.value, 4)} − ${bracketed(step.mean)}) / √(${figure(step.variance, 4)} + ${figure(step.epsilon, 2)}) × ${bracketed(step.weight)} + ${bracketed(step.bias)} = `,
    make("strong", {}, decimal(step.result, 4)),
  );
}

export function activation(step) {
  const functions = {
    "scaled tanh": [(value) => 1.7159 * Math.tanh((2 / 3) * value), `1.7159 · tanh(⅔ · ${bracketed(step.value)})`],
    tanh: [Math.tanh, `tanh(${decimal(step.value, 4)})`],
    ReLU: [(value) => Math.max(0, value), `max(0, ${decimal(step.value, 4)})`],
  };
  const [of, formula] = functions[step.function] ?? [null, `${step.function}(${decimal(step.value, 4)})`];
  return make(
    "div.with_chart",
    {},
    make(
      "p.equation",
      { dataSum: of === null ? step.result : of(step.value) },
      formula,
      " = ",
      make("strong", {}, decimal(step.result, 4)),
    ),
    of === null
      ? null
      : functionChart(of, step.value, step.result, text("arithmetic.curve", { function: step.function })),
  );
}

export function unchanged(step, view) {
  const [map, row, column] = step.place;
  return make(
    "p.equation",
    { dataSum: step.result },
    text(`arithmetic.unchanged_${step.function}`, { source: layerName(step.source), map, row, column }),
    " ",
    make("strong", {}, decimal(step.result, 4)),
    " ",
    step.source === "input" ? null : button(text("arithmetic.go"), () => view.goTo(step.source, map, row, column)),
  );
}
