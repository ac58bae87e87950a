/** The tool that hides parts of the image: a grey square to drag, a heat map of it, and Grad-CAM beside it. */

import { overlayScale, paint, paintPhoto } from "./colours.js";
import { button, fill, make, progressBar, selection, slider } from "./elements.js";
import { legend } from "./legend.js";
import { layerName, percent } from "./numbers.js";
import { layerOf } from "./questions.js";
import { text } from "./texts.js";
import { isUnits } from "./units.js";

export class WhereItLooks {
  constructor(root, state, questions) {
    this.root = root;
    this.state = state;
    this.questions = questions;
    this.class = null;
    this.heat = null;
    this.cam = null;
    this.computing = null; // what is being computed, while it is wanted
    state.watch(["image", "order", "off", "epoch"], () => this.forget());
    state.watch(["looks", "square"], () => this.showWords());
    state.watch(["tool", "order"], () => this.render());
    state.watch(["shown"], () => this.maps === undefined && this.render());
  }

  get run() {
    return this.state.get("runs")[this.state.get("order")[0]];
  }

  /** The class that is asked about: the chosen one, or that of the answer without the square. */
  get chosenClass() {
    if (this.class !== null && this.class < this.run.classes.length) return this.class;
    const look = this.state.get("looks")[this.state.get("order")[0]];
    const values = (look?.before ?? look)?.probabilities.values;
    return values === undefined ? 0 : values.indexOf(Math.max(...values));
  }

  forget() {
    if (this.computing !== null) {
      this.questions.connection.stop("heat");
      this.computing = null;
      this.progress.hide();
    }
    if (this.heat === null && this.cam === null) return;
    this.heat = null;
    this.cam = null;
    this.showMaps();
  }

  render() {
    const { shown, squareSide, tool } = this.state.values;
    if (shown === null || tool !== "looks") return;
    const [, height, width] = shown.input.shape;
    const usual = Math.max(1, Math.min(height, width) >> 2);
    this.words = make("p.words", { ariaLive: "polite" });
    this.progress = progressBar(text("looks.heat"), text("stop"), () => this.questions.connection.stop("heat"));
    this.maps = make("div.pair");
    const side = slider(text("looks.side"), {
      minimum: 1,
      maximum: Math.min(height, width) >> 1,
      value: squareSide ?? usual,
      oninput: (value) => {
        const square = this.state.get("square");
        const centre =
          square === null ? null : { row: square.top + (square.side >> 1), column: square.left + (square.side >> 1) };
        this.state.set({
          squareSide: value,
          square:
            centre === null
              ? null
              : { top: centre.row - (value >> 1), left: centre.column - (value >> 1), side: value },
        });
      },
    });
    const classes = [["", text("looks.answer")], ...this.run.classes.map((name, index) => [String(index), name])];
    fill(
      this.root,
      make("p.hint", {}, text("looks.words")),
      side,
      this.words,
      button(text("looks.remove"), () => this.state.set({ square: null })),
      make("h3", {}, text("looks.maps")),
      make("p.hint", {}, text("looks.maps_words")),
      make(
        "div.buttons",
        {},
        selection(text("looks.class"), classes, this.class === null ? "" : String(this.class), (value) => {
          this.class = value === "" ? null : Number(value);
          this.forget();
          this.showWords();
        }),
        button(text("looks.compute"), () => this.compute(), { className: "main" }),
      ),
      this.progress.element,
      this.maps,
    );
    this.showWords();
    this.showMaps();
  }

  showWords() {
    const look = this.state.get("looks")[this.state.get("order")[0]];
    if (look === undefined || this.words === undefined) return;
    const name = this.run.classes[this.chosenClass];
    const now = look.probabilities.values[this.chosenClass];
    const square = this.state.get("square");
    this.words.textContent =
      square === null
        ? text("looks.drag", { class: name, probability: percent(now) })
        : text("looks.behind", {
            class: name,
            before: percent(look.before?.probabilities.values[this.chosenClass] ?? now),
            after: percent(now),
          });
  }

  async compute() {
    this.forget();
    const computing = (this.computing = {});
    const index = this.chosenClass;
    const { layer, squareSide } = this.state.values;
    const found = layerOf(this.run, layer);
    this.progress.show(0, 1);
    await this.questions.guarded(async () => {
      const hasMaps = found !== undefined && !isUnits(found.shape);
      const cam = await this.questions.ask("gradcam", {
        class: index,
        layer: hasMaps ? layer : null,
        square: null,
      });
      if (computing !== this.computing) return; // the image is another by now
      this.cam = cam;
      this.showMaps();
      const onProgress = (done, total, soFar) => {
        if (computing !== this.computing) return;
        this.progress.show(done, total);
        this.heat = soFar;
        this.showMaps();
      };
      const what = { class: index, side: squareSide, stride: null, square: null };
      const heat = await this.questions.ask("heat", what, onProgress);
      if (computing === this.computing) this.heat = heat;
    });
    if (computing !== this.computing) return;
    this.computing = null;
    this.progress.hide();
    this.showMaps();
  }

  showMaps() {
    const { shown } = this.state.values;
    if (this.maps === undefined || shown === null) return;
    fill(this.maps, this.heat === null ? null : this.heatMap(shown), this.cam === null ? null : this.gradCam(shown));
  }

  heatMap(shown) {
    const { probabilities, rows, columns, before } = this.heat;
    const lost = probabilities.values.map((value) => before - value);
    const scale = overlayScale(lost);
    const [, height, width] = shown.input.shape;
    const over = make("canvas.pixels.overlay", { width: 1, height: 1 });
    paint(over, lost, columns.length, rows.length, scale);
    placeOver(over, rows, columns, { height, width });
    return this.picture(
      shown,
      over,
      text("looks.heat"),
      legend(text("looks.heat_legend", { class: this.run.classes[this.heat.class] }), scale),
    );
  }

  gradCam(shown) {
    const [height, width] = this.cam.map.shape;
    const scale = overlayScale(this.cam.map.values);
    const over = make("canvas.overlay", { width: 1, height: 1 });
    paint(over, this.cam.map.values, width, height, scale);
    return this.picture(
      shown,
      over,
      text("looks.gradcam"),
      legend(text("looks.gradcam_legend", { layer: layerName(this.cam.layer) }), scale),
    );
  }

  picture(shown, over, title, scaleLegend) {
    const below = make("canvas.pixels", { width: 1, height: 1 });
    paintPhoto(below, shown.shown.values, shown.shown.shape[1], shown.shown.shape[0]);
    over.classList.add("heat");
    return make(
      "figure.heat_map",
      {},
      make("figcaption", {}, title),
      make("div.picture", {}, below, over),
      scaleLegend,
    );
  }
}

/** Lay a grid of values over a picture so that each value covers the pixels around its centre. */
function placeOver(canvas, rows, columns, { height, width }) {
  const step = (centres, side) => (centres.length > 1 ? centres[1] - centres[0] : side);
  const [down, across] = [step(rows, height), step(columns, width)];
  canvas.style.top = `${((rows[0] - down / 2) / height) * 100}%`;
  canvas.style.left = `${((columns[0] - across / 2) / width) * 100}%`;
  canvas.style.height = `${((rows.length * down) / height) * 100}%`;
  canvas.style.width = `${((columns.length * across) / width) * 100}%`;
}
