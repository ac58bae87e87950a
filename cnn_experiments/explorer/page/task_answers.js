/**
 * How the learner's own run answers the tasks. Each function makes one that asks, and returns the answer with the
 * numbers of its explanation.
 *
 * @typedef {object} Asker
 * @property {object} run the run
 * @property {(kind: string, fields: object, changes?: object) => Promise<object>} ask with changes of the situation, in
 *   which nothing is off or hidden
 * @property {(layer: string) => object} layer of the run
 */

import { asBase64 } from "./address.js";
import { SIDE, inkOf } from "./drawing.js";
import { decimal, layerName, percent, shortCount } from "./numbers.js";

const FEW = 3;

function best(probabilities) {
  return probabilities.indexOf(Math.max(...probabilities));
}

function amount(number) {
  if (number === 0) return "none";
  return number <= FEW ? "few" : "many";
}

/** Which of several changes takes most from the answer: from its probability, or where that stays, from its lead. */
async function mostNeeded(ask, changes) {
  const before = await ask("look", { layers: [] });
  const answer = best(before.probabilities.values);
  const lead = ({ scores }) =>
    scores.values[answer] - Math.max(...[...scores.values].filter((_, index) => index !== answer));
  const found = [];
  for (const [name, change] of changes) {
    const look = await ask("look", { layers: [] }, change);
    found.push({ name, probability: look.probabilities.values[answer], lead: lead(look) });
  }
  found.sort((one, other) => one.probability - other.probability || one.lead - other.lead);
  return { answer, before: before.probabilities.values[answer], ...found[0] };
}

export function inputsOf(layer, map, below) {
  return async ({ ask }) => {
    const { fields } = await ask("fields", { layer, map, row: 0, column: 0 });
    const { maps, pixels } = fields.find((field) => field.layer === below);
    const [height, width] = [pixels[2] - pixels[0], pixels[3] - pixels[1]];
    return {
      answer: maps.length * height * width,
      values: { maps: maps.length, height, width, below: layerName(below) },
    };
  };
}

export function inputsBelow(layer, map) {
  return async ({ ask }) => {
    const value = await ask("value", { layer, map, row: 2, column: 2 });
    const { maps, kernels, source } = value.steps.find(({ kind }) => kind === "convolution");
    const [height, width] = [kernels[0].length, kernels[0][0].length];
    return {
      answer: maps.length * height * width,
      values: { maps: maps.length, height, width, below: layerName(source) },
    };
  };
}

export function fieldWidth(layer) {
  return async ({ ask, run }) => {
    const { geometry } = await ask("fields", { layer, map: null, row: 0, column: 0 });
    const width = geometry === null ? run.input_shape[2] : geometry.size[1];
    return {
      answer: width,
      values: { stride: geometry === null ? "–" : geometry.stride[1], side: run.input_shape[2] },
    };
  };
}

export function largestLayer(what) {
  return async ({ run }) => {
    const top = run.layers.filter(({ parent }) => parent === null);
    const largest = top.reduce((one, other) => (other[what] > one[what] ? other : one));
    const total = top.reduce((sum, layer) => sum + layer[what], 0);
    return {
      answer: largest.name,
      values: {
        layer: layerName(largest.name),
        number: shortCount(largest[what]),
        share: percent(largest[what] / total, 0),
      },
    };
  };
}

export function secondClass() {
  return async ({ ask, run }) => {
    const { probabilities, scores } = await ask("look", { layers: [] });
    const order = [...scores.values.keys()].sort((one, other) => scores.values[other] - scores.values[one]);
    return {
      answer: String(order[1]),
      values: {
        first: run.classes[order[0]],
        second: run.classes[order[1]],
        probability: percent(probabilities.values[order[1]], 3),
      },
    };
  };
}

export function mostNeededMap(layer) {
  return async ({ ask, run }) => {
    const { maps, before, class: index } = await ask("ranking", { class: null, layers: [layer], to: "zero" });
    return {
      answer: String(maps[0].map),
      values: {
        map: maps[0].map,
        class: run.classes[index],
        before: percent(before),
        after: percent(before - maps[0].drop),
        lead: decimal(maps[0].score_drop, 1),
        then: run.classes[maps[0].class_index],
      },
    };
  };
}

export function turningMaps(layer) {
  return async ({ ask, run }) => {
    const { maps, class: index } = await ask("ranking", { class: null, layers: [layer], to: "zero" });
    const turning = maps.filter((one) => one.class_index !== index);
    return {
      answer: amount(turning.length),
      values: {
        number: turning.length,
        class: run.classes[index],
        maps:
          turning
            .map(({ map }) => map)
            .slice(0, 8)
            .join(", ") || "–",
      },
    };
  };
}

export function mostNeededBranch(layer) {
  return async ({ ask, run }) => {
    const branches = run.layers.filter(({ parent }) => parent === layer);
    const changes = branches.map(({ name }) => [name, { off: [{ layer: name, maps: "all", to: "zero" }] }]);
    const { name, answer, before, probability } = await mostNeeded(ask, changes);
    return {
      answer: name,
      values: {
        branch: name.split("/").at(-1),
        class: run.classes[answer],
        before: percent(before),
        after: percent(probability),
      },
    };
  };
}

export function mostNeededHalf(layer) {
  return async ({ ask, run, layer: layerOf }) => {
    const [maps] = layerOf(layer).shape;
    const half = Array.from({ length: maps >> 1 }, (_, map) => map);
    const off = (numbers) => ({ off: [{ layer, maps: numbers, to: "zero" }] });
    const { name, answer, before, probability } = await mostNeeded(ask, [
      ["first_half", off(half)],
      ["second_half", off(half.map((map) => map + half.length))],
    ]);
    return {
      answer: name,
      values: { class: run.classes[answer], before: percent(before), after: percent(probability) },
    };
  };
}

export function mostNeededQuarter() {
  return async ({ ask, run }) => {
    const [, height, width] = run.input_shape;
    const side = Math.min(height, width) >> 1;
    const corners = [
      ["top_left", 0, 0],
      ["top_right", 0, width - side],
      ["bottom_left", height - side, 0],
      ["bottom_right", height - side, width - side],
    ];
    const changes = corners.map(([name, top, left]) => [name, { square: { top, left, side } }]);
    const { name, answer, before, probability } = await mostNeeded(ask, changes);
    return {
      answer: name,
      values: { class: run.classes[answer], before: percent(before), after: percent(probability) },
    };
  };
}

export function surenessOfNothing() {
  return async ({ ask, run }) => {
    const { probabilities } = await ask(
      "look",
      { layers: [] },
      { image: { drawn: asBase64(new Uint8Array(SIDE * SIDE)) } },
    );
    const index = best(probabilities.values);
    const probability = probabilities.values[index];
    const answer = probability < 0.5 ? "unsure" : probability < 0.9 ? "rather" : "sure";
    return { answer, values: { class: run.classes[index], probability: percent(probability) } };
  };
}

export function movedBy(pixels) {
  return async ({ ask, run }) => {
    const before = await ask("look", { layers: [] });
    const { shown, margin } = await ask("image", {});
    const ink = inkOf(shown, margin);
    const moved = new Uint8Array(SIDE * SIDE);
    for (let row = 0; row < SIDE; row += 1) {
      for (let column = pixels; column < SIDE; column += 1)
        moved[row * SIDE + column] = ink[row * SIDE + column - pixels];
    }
    const after = await ask("look", { layers: [] }, { image: { drawn: asBase64(moved) } });
    const [was, is] = [best(before.probabilities.values), best(after.probabilities.values)];
    return {
      answer: was === is ? "yes" : "no",
      values: {
        before: run.classes[was],
        after: run.classes[is],
        probability: percent(after.probabilities.values[is]),
      },
    };
  };
}

export function deadMaps(layer) {
  return async ({ ask, layer: layerOf }) => {
    const { dead } = await ask("look", { layers: [] });
    return {
      answer: amount(dead[layer].length),
      values: { number: dead[layer].length, maps: layerOf(layer).shape[0] },
    };
  };
}

export function shareOfDense() {
  return async ({ run }) => {
    const top = run.layers.filter(({ parent }) => parent === null);
    const sum = (layers) => layers.reduce((total, { parameters }) => total + parameters, 0);
    const share = sum(top.filter(({ kind }) => kind === "dense")) / sum(top);
    return {
      answer: share < 0.4 ? "less_half" : share < 0.6 ? "half" : "nearly_all",
      values: { share: decimal(share * 100, 1) },
    };
  };
}
