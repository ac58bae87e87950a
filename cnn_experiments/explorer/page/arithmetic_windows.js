/** The arithmetic of a window of a map: convolution, sub-sampling and pooling. */

import { bracketed, labelled, rectangle, sum } from "./arithmetic_parts.js";
import { button, fill, make } from "./elements.js";
import { numberGrid, scaleOf } from "./number_grid.js";
import { decimal, layerName } from "./numbers.js";
import { text } from "./texts.js";

const MAPS_FIRST = 6; // input maps of a convolution that are shown before more are asked for

export function convolution(step, view) {
  const order = step.maps.map((_, at) => at);
  const many = order.length > MAPS_FIRST;
  if (many) order.sort((one, other) => Math.abs(step.sums[other]) - Math.abs(step.sums[one]));
  const scales = { patch: view.sourceScale(step.source, ...step.patches), kernel: scaleOf(...step.kernels) };
  const products = step.patches.map((patch, at) =>
    patch.map((line, row) => line.map((value, column) => (value ?? 0) * step.kernels[at][row][column])),
  );
  scales.product = scaleOf(...products);
  const list = make("div.terms");
  const [columns] = step.kernels.map(([line]) => line.length);
  list.style.setProperty("--term", `${3 * columns * (columns > 7 ? 14 : 33) + 170}px`);
  const rest = make("p.caption");
  const more = make("div.buttons");
  const show = (number) => {
    fill(
      list,
      order.slice(0, number).map((at) => convolved(view, step, at, products[at], scales)),
    );
    const hidden = order.slice(number);
    rest.hidden = hidden.length === 0;
    rest.textContent = text("arithmetic.other_maps", {
      number: hidden.length,
      sum: decimal(
        hidden.reduce((sum, at) => sum + step.sums[at], 0),
        4,
      ),
    });
    fill(
      more,
      hidden.length === 0
        ? null
        : button(text("arithmetic.show_maps", { number: Math.min(hidden.length, 32) }), () => show(number + 32)),
    );
  };
  show(many ? MAPS_FIRST : order.length);
  const missing =
    step.missing.length === 0 || step.missing.length > 64
      ? null
      : make(
          "p.missing",
          {},
          text("arithmetic.missing", { maps: step.missing.join(", "), source: layerName(step.source) }),
        );
  const total = step.sums.reduce((sum, one) => sum + one, 0);
  return [
    missing,
    list,
    rest,
    more,
    sum(
      many ? [total] : step.sums,
      step.bias,
      step.result,
      many ? text("arithmetic.all_maps", { number: step.maps.length }) : null,
    ),
  ];
}

function convolved(view, step, at, products, scales) {
  const [map, patch, kernel] = [step.maps[at], step.patches[at], step.kernels[at]];
  const { top, left } = rectangle(step.place);
  const [down, across] = step.dilation ?? [1, 1];
  const term = make("p.term", { ariaLive: "off" }, " ");
  const words = (row, column) =>
    `${patch[row][column] === null ? text("arithmetic.padding") : decimal(patch[row][column], 4)} × ${decimal(kernel[row][column], 4)} = ${decimal(products[row][column], 4)}`;
  const pick =
    step.source === "input"
      ? undefined
      : (row, column) => view.goTo(step.source, map, top + row * down, left + column * across);
  const element = make(
    "div.convolved",
    { dataMap: map, dataSum: step.sums[at] },
    make(
      "h4",
      {},
      step.source === "input"
        ? text("arithmetic.channel", { map })
        : text("arithmetic.map_of", { layer: layerName(step.source), map }),
    ),
    make(
      "div.equation_of_grids",
      {},
      labelled(
        text("arithmetic.patch"),
        numberGrid(patch, scales.patch, { label: text("arithmetic.patch"), titles: words, onpick: pick }),
      ),
      make("span.sign", {}, "×"),
      labelled(
        text("arithmetic.kernel"),
        numberGrid(kernel, scales.kernel, { label: text("arithmetic.kernel"), titles: words }),
      ),
      make("span.sign", {}, "="),
      labelled(
        text("arithmetic.products"),
        numberGrid(products, scales.product, { label: text("arithmetic.products"), titles: words }),
      ),
      make("span.sum_of_map", {}, "Σ = ", make("strong.number", {}, decimal(step.sums[at], 4))),
    ),
    term,
  );
  const point = (event) => {
    const place = event.target.dataset?.place;
    for (const cell of element.querySelectorAll("td"))
      cell.classList.toggle("pointed", place !== undefined && cell.dataset.place === place);
    term.textContent = place === undefined ? " " : words(...place.split(",").map(Number));
  };
  element.addEventListener("pointerover", point);
  element.addEventListener("focusin", point);
  return element;
}

export function subsampling(step, view) {
  const { top, left } = rectangle(step.place);
  const scale = view.sourceScale(step.source, step.values);
  return [
    make(
      "div.equation_of_grids",
      {},
      labelled(
        text("arithmetic.map_of", { layer: layerName(step.source), map: step.map }),
        numberGrid(step.values, scale, {
          label: text("arithmetic.patch"),
          onpick: (row, column) => view.goTo(step.source, step.map, top + row, left + column),
        }),
      ),
    ),
    make(
      "p.equation",
      {},
      `(${step.values
        .flat()
        .map((value) => bracketed(value))
        .join(" + ")}) / 4 = ${decimal(step.mean, 4)}`,
      make("small", {}, ` (${text("arithmetic.mean")})`),
    ),
    make(
      "p.equation",
      { dataSum: step.mean * step.coefficient + step.bias },
      decimal(step.mean, 4),
      " × ",
      bracketed(step.coefficient),
      make("small", {}, ` (${text("arithmetic.coefficient")})`),
      " + ",
      bracketed(step.bias),
      make("small", {}, ` (${text("arithmetic.bias")})`),
      " = ",
      make("strong", {}, decimal(step.result, 4)),
    ),
  ];
}

/** The values that a pool sees of a map. */
function windowOf(step, view, options) {
  return labelled(
    text("arithmetic.map_of", { layer: layerName(step.source), map: step.map }),
    numberGrid(step.values, view.sourceScale(step.source, step.values), {
      label: text("arithmetic.patch"),
      ...options,
    }),
  );
}

export function maxPooling(step, view) {
  const { top, left } = rectangle(step.place);
  const [down, across] = step.dilation ?? [1, 1];
  const marked = [(step.winner[0] - top) / down, (step.winner[1] - left) / across];
  const largest = Math.max(...step.values.flat().filter((value) => value !== null));
  return [
    make(
      "div.equation_of_grids",
      {},
      windowOf(step, view, {
        marked,
        onpick: (row, column) => view.goTo(step.source, step.map, top + row * down, left + column * across),
      }),
    ),
    make(
      "p.equation",
      { dataSum: largest },
      text("arithmetic.winner", { row: step.winner[0], column: step.winner[1] }),
      " ",
      make("strong", {}, decimal(step.result, 4)),
    ),
  ];
}

export function averagePooling(step, view) {
  const { top, left } = rectangle(step.place);
  const small = step.values.length * step.values[0].length <= 9;
  return [
    make(
      "div.equation_of_grids",
      {},
      windowOf(step, view, {
        onpick: (row, column) => view.goTo(step.source, step.map, top + row, left + column),
      }),
    ),
    make(
      "p.equation",
      { dataSum: step.sum / step.divisor },
      small
        ? `(${step.values
            .flat()
            .map((value) => bracketed(value ?? 0))
            .join(" + ")})`
        : text("arithmetic.sum_of", { number: step.divisor, sum: decimal(step.sum, 4) }),
      ` / ${step.divisor} = `,
      make("strong", {}, decimal(step.result, 4)),
    ),
  ];
}
