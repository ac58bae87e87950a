/** The arithmetic of one value: which numbers were multiplied and added, step by step, down to the value on the map. */

import { dense, distance, softmax } from "./arithmetic_units.js";
import { activation, batchNormalisation, normalisation, unchanged } from "./arithmetic_values.js";
import { averagePooling, convolution, maxPooling, subsampling } from "./arithmetic_windows.js";
import { scaleFor } from "./colours.js";
import { button, fill, make } from "./elements.js";
import { scaleOf } from "./number_grid.js";
import { figure, layerName } from "./numbers.js";
import { text } from "./texts.js";

export class ArithmeticView {
  constructor(root, state) {
    this.root = root;
    this.state = state;
    state.watch(["explanation"], () => this.render());
  }

  get run() {
    return this.state.get("runs")[this.state.get("order")[0]];
  }

  get classes() {
    return this.run.classes;
  }

  render() {
    const explanation = this.state.get("explanation");
    this.root.hidden = false;
    if (explanation === null) {
      const { explained } = this.run; // why not, of a network that cannot be explained
      fill(
        this.root,
        make("h2", {}, text("arithmetic.title")),
        make("p.hint", {}, explained ?? text("arithmetic.none")),
      );
      return;
    }
    const { steps } = explanation;
    const cards = steps.map((step, at) => this.step(step, at, steps.length, explanation));
    fill(
      this.root,
      make(
        "div.heading",
        {},
        make("h2", {}, text("arithmetic.title"), " ", make("small", {}, this.where(explanation))),
        button(text("arithmetic.close"), () => this.state.set({ value: null, probabilityOf: null })),
      ),
      explanation.off == null ? null : make("p.missing", {}, text("arithmetic.off")),
      cards,
      make(
        "p.result",
        { dataResult: explanation.result, dataLayer: explanation.layer },
        text("arithmetic.result", { value: figure(explanation.result, 6) }),
      ),
    );
  }

  where({ layer, map, row, column }) {
    if (layer === "softmax") return text("arithmetic.probability_of", { class: this.classes[map] });
    const grid = this.run.layers.find(({ name }) => name === layer)?.shape;
    if (grid !== undefined && grid[1] === 1 && grid[2] === 1)
      return text("arithmetic.unit", { layer: layerName(layer), unit: map });
    return text("arithmetic.place", { layer: layerName(layer), map, row, column });
  }

  step(step, at, total, explanation) {
    const kind = step.kind.replace(/[ -]/g, "_").toLowerCase();
    const bodies = {
      convolution: () => convolution(step, this),
      sub_sampling: () => subsampling(step, this),
      max_pooling: () => maxPooling(step, this),
      average_pooling: () => averagePooling(step, this),
      lrn: () => normalisation(step, this),
      batch_normalisation: () => batchNormalisation(step, this),
      activation: () => activation(step, this),
      dense: () => dense(step, this),
      rbf: () => distance(step, explanation.map, this),
      unchanged: () => unchanged(step, this),
      softmax: () => softmax(step, this),
    };
    const title = text(`arithmetic.${kind}`);
    return make(
      "section.step",
      { dataKind: step.kind, dataResult: step.result },
      make("h3", {}, total > 1 ? `${at + 1}. ${title}` : title),
      make("p.hint", {}, text(`arithmetic.${kind}_words`, { source: layerName(step.source ?? "") })),
      bodies[kind]?.() ?? make("p", {}, JSON.stringify(step)),
    );
  }

  /** The colours that the values of a layer have on its maps. */
  sourceScale(source, ...grids) {
    const { looks, order } = this.state.values;
    const range = looks[order[0]]?.range[source];
    return range === undefined ? scaleOf(...grids) : scaleFor(...range);
  }

  /** Go to a value of the layer below. */
  goTo(layer, map, row, column) {
    if (layer === "input") return;
    this.state.set({ layer, value: { map, row, column }, probabilityOf: null, hover: null });
  }
}
