/** The arithmetic of many units at once: dense layers, distances to bitmaps, softmax. */

import { bracketed, headings, labelled, sum } from "./arithmetic_parts.js";
import { button, fill, make } from "./elements.js";
import { numberGrid, scaleOf } from "./number_grid.js";
import { count, decimal, figure, layerName } from "./numbers.js";
import { text } from "./texts.js";

const TERMS_FIRST = 8; // of a dense layer, before more are asked for
const TERMS_MORE = 200;

export function dense(step, view) {
  const [maps, height, width] = step.shape;
  const units = height === 1 && width === 1;
  const place = (unit) => [Math.floor(unit / (height * width)), Math.floor(unit / width) % height, unit % width];
  const name = (unit) =>
    units
      ? String(unit)
      : text("arithmetic.place_short", { map: place(unit)[0], row: place(unit)[1], column: place(unit)[2] });
  const body = make("tbody");
  const more = make("div.buttons");
  const show = (number) => {
    const [shown, hidden] = [step.largest.slice(0, number), step.largest.slice(number)];
    const rest = hidden.reduce((sum, unit) => sum + step.products[unit], 0);
    fill(
      body,
      shown.map((unit) =>
        make(
          "tr",
          {},
          make(
            "td",
            {},
            button(name(unit), () => view.goTo(step.source, ...place(unit))),
          ),
          make("td.number", {}, decimal(step.inputs[unit], 4)),
          make("td.number", {}, `× ${decimal(step.weights[unit], 4)}`),
          make("td.number", {}, decimal(step.products[unit], 4)),
        ),
      ),
      hidden.length === 0
        ? null
        : make(
            "tr",
            {},
            make("td", { colSpan: 3 }, text("arithmetic.other_terms", { number: count(hidden.length) })),
            make("td.number", {}, decimal(rest, 4)),
          ),
    );
    fill(
      more,
      hidden.length === 0
        ? null
        : button(text("arithmetic.show_terms", { number: Math.min(hidden.length, TERMS_MORE) }), () =>
            show(number + TERMS_MORE),
          ),
    );
  };
  show(TERMS_FIRST);
  const total = step.products.reduce((sum, product) => sum + product, 0);
  const heads = [
    units
      ? text("arithmetic.unit_of", { layer: layerName(step.source) })
      : text("arithmetic.value_of", { layer: layerName(step.source), maps }),
    text("arithmetic.value"),
    text("arithmetic.weight"),
    text("arithmetic.product"),
  ];
  return [
    make(
      "table.list",
      {},
      headings(heads),
      body,
    ),
    more,
    sum([total], step.bias, step.result, text("arithmetic.all_terms", { number: count(step.products.length) })),
  ];
}

export function distance(step, digit, view) {
  const squares = step.differences.map((line) => line.map((value) => value * value));
  const scale = scaleOf(step.units, step.bitmap);
  const words = (row, column) =>
    `(${decimal(step.units[row][column], 3)} − ${bracketed(step.bitmap[row][column])})² = ${decimal(squares[row][column], 4)}`;
  const small = { numbers: false, titles: words };
  return [
    make(
      "div.equation_of_grids.rbf",
      {},
      labelled(
        text("arithmetic.units_of", { layer: layerName(step.source) }),
        numberGrid(step.units, scale, {
          ...small,
          label: layerName(step.source),
          onpick: (row, column) => view.goTo(step.source, row * 7 + column, 0, 0),
        }),
      ),
      make("span.sign", {}, "−"),
      labelled(
        text("arithmetic.bitmap", { class: view.classes[digit] ?? digit }),
        numberGrid(step.bitmap, scale, { ...small, label: text("arithmetic.bitmap", { class: digit }) }),
      ),
      make("span.sign", {}, "→"),
      labelled(
        text("arithmetic.squares"),
        numberGrid(squares, scaleOf(squares), { ...small, label: text("arithmetic.squares") }),
      ),
    ),
    make(
      "p.equation",
      { dataSum: -squares.flat().reduce((sum, one) => sum + one, 0) },
      text("arithmetic.distance", { distance: decimal(step.distance, 4) }),
      " ",
      make("strong", {}, decimal(step.result, 4)),
    ),
  ];
}

export function softmax(step, view) {
  const heads = ["class", "score", "minus_highest", "exponential", "probability"].map((name) =>
    make("th", {}, text(`arithmetic.${name}`)),
  );
  const scorer = view.run.layers.filter(({ parent }) => parent === null).at(-1).name;
  const lines = step.scores.map((score, index) => {
    const line = make(
      "tr",
      {},
      make(
        "td",
        {},
        button(view.classes[index], () => view.goTo(scorer, index, 0, 0)),
      ),
      make("td.number", {}, decimal(score, 3)),
      make("td.number", {}, decimal(score - step.highest, 3)),
      make("td.number", {}, figure(step.exponentials[index], 3)),
      make("td.number", {}, figure(step.exponentials[index] / step.sum, 3)),
    );
    line.classList.toggle("marked", index === step.class_index);
    return line;
  });
  return [
    make("table.list", {}, make("thead", {}, make("tr", {}, heads)), make("tbody", {}, lines)),
    make(
      "p.equation",
      { dataSum: step.exponentials[step.class_index] / step.sum },
      `${figure(step.exponentials[step.class_index], 4)} / ${figure(step.sum, 4)} = `,
      make("strong", {}, figure(step.result, 4)),
    ),
  ];
}
