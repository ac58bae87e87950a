/** The tool that switches maps off: what is off, and which single map the answer depends on most. */

import { button, fill, make, progressBar } from "./elements.js";
import { count, decimal, layerName, percent } from "./numbers.js";
import { layerOf } from "./questions.js";
import { text } from "./texts.js";
import { isUnits } from "./units.js";
import { toggled } from "./maps.js";

const BEST = 10; // of the ranking

export class SwitchOff {
  constructor(root, state, questions) {
    this.root = root;
    this.state = state;
    this.questions = questions;
    state.watch(["off", "offTo", "layer", "value", "order"], () => this.render());
    state.watch(["image", "order", "epoch", "offTo"], () => this.forgetRanking());
    this.ranking = null; // what is being ranked, while it is wanted
  }

  get run() {
    return this.state.get("runs")[this.state.get("order")[0]];
  }

  render() {
    const { off, offTo } = this.state.values;
    const layer = layerOf(this.run, this.state.get("layer"));
    this.progress ??= progressBar(text("off.ranking"), text("stop"), () => this.questions.connection.stop("ranking"));
    this.list ??= make("div");
    fill(
      this.root,
      make("p.hint", {}, text("off.words")),
      make(
        "div.buttons",
        { role: "group", ariaLabel: text("off.to") },
        make("span", {}, text("off.to")),
        ["zero", "mean"].map((to) =>
          button(text(`off.${to}`), () => this.switchTo(to), {
            ariaPressed: String(offTo === to),
            title: text(`off.${to}_title`),
          }),
        ),
      ),
      layer === undefined ? null : this.ofLayer(layer),
      make("h3", {}, text("off.list")),
      off.length === 0
        ? make("p.hint", {}, text("off.none"))
        : make(
            "ul.chips",
            {},
            off.map((one) => this.chip(one)),
          ),
      off.length === 0 ? null : button(text("off.all_on"), () => this.state.set({ off: [] })),
      make("h3", {}, text("off.ranking")),
      make("p.hint", {}, text("off.ranking_words")),
      make(
        "div.buttons",
        {},
        button(text("off.rank"), () => this.rank(), { className: "main" }),
      ),
      this.progress.element,
      this.list,
    );
  }

  switchTo(to) {
    this.state.set({ offTo: to, off: this.state.get("off").map((one) => ({ ...one, to })) });
  }

  ofLayer(layer) {
    const { off, offTo, value } = this.state.values;
    const name = layerName(layer.name);
    const current = off.find((one) => one.layer === layer.name);
    const isOff = (map) => current !== undefined && (current.maps === "all" || current.maps.includes(map));
    const what = isUnits(layer.shape) ? "unit" : "map";
    const single =
      value === null
        ? null
        : button(
            text(isOff(value.map) ? `off.on_${what}` : `off.off_${what}`, { layer: name, map: value.map }),
            () => this.state.set({ off: toggled(off, layer, value.map, offTo) }),
            { ariaPressed: String(isOff(value.map)) },
          );
    const all = current?.maps === "all";
    const whole = button(
      text(all ? "off.on_layer" : "off.off_layer", { layer: name }),
      () => {
        const others = off.filter((one) => one.layer !== layer.name);
        this.state.set({ off: all ? others : [...others, { layer: layer.name, maps: "all", to: offTo }] });
      },
      { ariaPressed: String(all) },
    );
    const branches = this.run.layers
      .filter(({ parent }) => parent === layer.name)
      .map((branch) => {
        const gone = off.some((one) => one.layer === branch.name && one.maps === "all");
        return button(
          text(gone ? "off.on_layer" : "off.off_layer", { layer: branch.name.split("/").at(-1) }),
          () => {
            const others = off.filter((one) => one.layer !== branch.name);
            this.state.set({
              off: gone ? others : [...others, { layer: branch.name, maps: "all", to: offTo }],
            });
          },
          { ariaPressed: String(gone) },
        );
      });
    return make("div.buttons", {}, single, whole, branches);
  }

  chip({ layer, maps }) {
    const label =
      maps === "all"
        ? text("off.chip_all", { layer: layerName(layer) })
        : text("off.chip", { layer: layerName(layer), maps: maps.join(", ") });
    const remove = button(
      "×",
      () => this.state.set({ off: this.state.get("off").filter((one) => one.layer !== layer) }),
      { ariaLabel: text("off.remove", { layer: layerName(layer) }) },
    );
    return make("li", {}, make("span", {}, label), remove);
  }

  forgetRanking() {
    if (this.ranking !== null) {
      this.questions.connection.stop("ranking");
      this.ranking = null;
      this.progress.hide();
    }
    if (this.list !== undefined) fill(this.list);
  }

  async rank() {
    const what = { class: null, layers: null, to: this.state.get("offTo") };
    this.forgetRanking();
    const ranking = (this.ranking = {});
    this.progress.show(0, 1);
    await this.questions.guarded(async () => {
      const answer = await this.questions.ask("ranking", what, (done, total, soFar) => {
        if (ranking !== this.ranking) return; // the image is another by now
        this.progress.show(done, total);
        this.showRanking(soFar);
      });
      if (ranking === this.ranking) this.showRanking(answer);
    });
    if (ranking !== this.ranking) return;
    this.ranking = null;
    this.progress.hide();
  }

  showRanking(ranking) {
    const { classes } = this.run;
    const heads = ["map", "drop", "lead", "then"].map((head) => make("th", {}, text(`off.${head}`)));
    const row = ({ layer, map, drop, score_drop: lead, class_index: index, probability }) =>
      make(
        "tr",
        {},
        make(
          "td",
          {},
          button(`${layerName(layer)} · ${map}`, () =>
            this.state.set({
              layer,
              value: { map, row: 0, column: 0 },
              probabilityOf: null,
              off: [{ layer, maps: [map], to: this.state.get("offTo") }],
            }),
          ),
        ),
        make("td.number", {}, decimal(drop * 100, 1)),
        make("td.number", {}, decimal(lead, 1)),
        make("td", {}, `${classes[index]} `, make("span.number", {}, percent(probability))),
      );
    fill(
      this.list,
      make(
        "p",
        {},
        text("off.ranked", {
          class: classes[ranking.class],
          before: percent(ranking.before),
          count: count(ranking.count ?? ranking.maps.length),
        }),
      ),
      make(
        "table.list",
        {},
        make("thead", {}, make("tr", {}, heads)),
        make("tbody", {}, ranking.maps.slice(0, BEST).map(row)),
      ),
    );
  }
}
