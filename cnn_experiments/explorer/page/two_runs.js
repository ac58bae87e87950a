/** The tool that puts two runs side by side: settings that differ, the same layer in one scale, figures of all layers. */

import { paint, scaleFor } from "./colours.js";
import { histogram } from "./charts.js";
import { button, fill, make } from "./elements.js";
import { legend } from "./legend.js";
import { figure, layerName, percent } from "./numbers.js";
import { runMark } from "./probabilities.js";
import { hasValue, layerOf } from "./questions.js";
import { text } from "./texts.js";
import { isUnits, sheets } from "./units.js";

const MOST_MAPS = 16;

/** What to type to see a run beside this one; the run that the package carries has no name. */
function secondRun(directory) {
  return `cnn-explore ${directory === "" ? "" : `run=${directory} `}with=RUN_DIRECTORY`;
}

export class TwoRuns {
  constructor(root, state, questions) {
    this.root = root;
    this.state = state;
    this.questions = questions;
    this.statistics = null;
    this.wanted = 0; // how many situations there have been of which the statistics are wanted
    state.watch(["tool", "layer"], () => this.render());
    state.watch(["order", "epoch"], () => {
      this.statistics = null;
      this.wanted += 1;
      this.render();
    });
    state.watch(["looks"], () => this.state.get("tool") === "runs" && requestAnimationFrame(() => this.showMaps()));
  }

  render() {
    if (this.state.get("tool") !== "runs") return;
    const { runs, order } = this.state.values;
    this.maps = make("div");
    this.figures = make("div.figures");
    const alone = runs.length < 2;
    fill(
      this.root,
      alone ? make("p.hint", {}, text("runs.alone")) : make("p.hint", {}, text("runs.words")),
      alone
        ? make("pre", {}, make("code", {}, secondRun(runs[0].directory)))
        : null,
      make(
        "div.run_cards",
        {},
        order.map((run, place) => this.card(runs[run], place)),
      ),
      alone ? null : button(text("runs.swap"), () => this.swap()),
      alone ? null : this.differences(),
      this.maps,
      make("h3", {}, text("runs.layers")),
      make("p.hint", {}, text("runs.layers_words")),
      this.figures,
    );
    this.showMaps();
    this.showFigures();
  }

  /** Put the other run first; a value or a class that it lacks is no longer explained. */
  swap() {
    const { runs, order, layer, value, probabilityOf } = this.state.values;
    const first = runs[order[1]];
    this.state.set({
      order: [order[1], order[0]],
      value: value !== null && hasValue(first, layer, value) ? value : null,
      probabilityOf: probabilityOf < first.classes.length ? probabilityOf : null,
      hover: null,
    });
  }

  card(run, place) {
    const accuracy = run.metrics["test/accuracy"];
    return make(
      "div.run_card",
      {},
      runMark(place),
      make("strong", {}, run.title),
      accuracy === undefined || accuracy === null
        ? null
        : make("span.number", {}, text("runs.accuracy", { accuracy: percent(accuracy, 2) })),
    );
  }

  differences() {
    const { differences, order } = this.state.values;
    if (differences.length === 0) return make("p", {}, text("runs.same"));
    const heads = [make("th", {}, text("runs.setting")), ...order.map((_, place) => make("th", {}, runMark(place)))];
    return make(
      "div.scrolling",
      { tabIndex: 0, role: "group", ariaLabel: text("runs.setting") },
      make(
        "table.list.words",
        {},
        make("thead", {}, make("tr", {}, heads)),
        make(
          "tbody",
          {},
          differences.map(({ key, values }) =>
            make(
              "tr",
              {},
              make("td", {}, breakable(key)),
              order.map((run) => make("td", {}, String(values[run] ?? "–"))),
            ),
          ),
        ),
      ),
    );
  }

  /** The same layer of both runs, its maps in one scale. */
  showMaps() {
    const { runs, order, looks, layer: name } = this.state.values;
    const layers = order.map((run) => layerOf(runs[run], name));
    const grids = order.map((run) => looks[run]?.maps[name]);
    if (order.length < 2 || layers.includes(undefined) || grids.includes(undefined)) {
      fill(this.maps);
      return;
    }
    const ranges = order.map((run) => looks[run].range[name]);
    const scale = scaleFor(Math.min(...ranges.map(([low]) => low)), Math.max(...ranges.map(([, high]) => high)));
    const rows = order.map((run, place) => {
      const pages = sheets(grids[place], layers[place].shape);
      const pictures = Array.from({ length: Math.min(pages.number, MOST_MAPS) }, (_, map) => {
        const canvas = make("canvas.pixels", { width: 1, height: 1 });
        paint(canvas, pages.values(map), pages.width, pages.height, scale);
        return make(
          "figure.kernel",
          {},
          canvas,
          isUnits(layers[place].shape) ? null : make("figcaption", {}, String(map)),
        );
      });
      return make("div.kernel_row.of_run", { ariaLabel: runs[run].title, role: "img" }, runMark(place), pictures);
    });
    fill(
      this.maps,
      make("h3", {}, text("runs.same_layer", { layer: layerName(name) })),
      make("p.hint", {}, text("runs.same_scale")),
      rows,
      legend(text("maps.legend", { layer: layerName(name) }), scale),
    );
  }

  async showFigures() {
    const { order } = this.state.values;
    const place = this.figures;
    if (this.statistics === null) {
      fill(place, make("p.hint", {}, text("runs.computing")));
      const { wanted } = this;
      await this.questions.guarded(async () => {
        const found = [];
        for (const run of order) found.push(await this.questions.ask("statistics", { layers: null }, undefined, run));
        if (wanted === this.wanted) this.statistics = found; // otherwise they are of another epoch
      });
    }
    if (place !== this.figures) return;
    if (this.statistics === null) {
      fill(place); // it was refused, and the message says why
      return;
    }
    const names = this.statistics[0].layers.map(({ name }) => name).filter((name) => !name.includes("/"));
    fill(
      place,
      make("p.caption", {}, text("runs.over_images", { images: this.statistics[0].images })),
      names.map((name) => this.ofLayer(name)),
    );
  }

  ofLayer(name) {
    const found = this.statistics.map(({ layers }) => layers.find((layer) => layer.name === name));
    const present = found.filter((one) => one !== undefined);
    const share = (value) => (value === null || value === undefined ? "–" : percent(value));
    const size = (value) => (value === null || value === undefined ? "–" : figure(value, 2));
    const rows = [
      ["runs.spread", ({ mean, std }) => `${figure(mean, 2)} ± ${figure(std, 2)}`],
      ["runs.dead", ({ dead }) => share(dead)],
      ["runs.saturated", ({ saturated }) => share(saturated)],
      ["runs.gradient_output", (of) => size(of.gradient_output)],
      ["runs.gradient_weights", (of) => size(of.gradient_weights)],
    ].filter(([, value]) => present.some((one) => value(one) !== "–"));
    return make(
      "section.layer_figures",
      { dataLayer: name },
      make(
        "h4",
        {},
        button(layerName(name), () => this.state.set({ layer: name, value: null, probabilityOf: null })),
      ),
      histogram(
        present[0].edges.values,
        found.map((one) => one?.counts.values ?? new Float32Array()),
        text("runs.histogram", { layer: layerName(name) }),
      ),
      make(
        "table.list",
        {},
        found.length > 1
          ? make(
              "thead",
              {},
              make(
                "tr",
                {},
                make("th"),
                found.map((_, place) => make("th", {}, runMark(place))),
              ),
            )
          : null,
        make(
          "tbody",
          {},
          rows.map(([key, value]) =>
            make(
              "tr",
              {},
              make("td", {}, text(key)),
              found.map((one) => make("td.number", {}, one === undefined ? "–" : value(one))),
            ),
          ),
        ),
      ),
    );
  }
}

/** A setting's key that may go on in the next line behind a point or a dash. */
function breakable(key) {
  return key.split(/(?<=[._])/).map((part) => [part, make("wbr")]);
}
