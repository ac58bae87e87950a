/** The tool that goes through training: a slider over the epochs of which the run kept the weights. */

import { lineChart } from "./charts.js";
import { rangeOf, scaleFor, paint } from "./colours.js";
import { button, fill, make } from "./elements.js";
import { figure, layerName, percent } from "./numbers.js";
import { newestOnly } from "./socket.js";
import { text } from "./texts.js";

const PAUSE = 450; // milliseconds from one epoch to the next
const MOST_KERNELS = 64;

export class Time {
  constructor(root, state, questions) {
    this.root = root;
    this.state = state;
    this.questions = questions;
    this.playing = null;
    this.showKernels = newestOnly(() => questions.guarded(() => this.kernelsNow()));
    state.watch(["order"], () => this.render());
    state.watch(["epoch"], () => this.show());
    state.watch(["tool"], () => {
      if (state.get("tool") === "time") this.render();
      else this.stop();
    });
  }

  get run() {
    return this.state.get("runs")[this.state.get("order")[0]];
  }

  render() {
    this.stop();
    const { epochs, history } = this.run;
    if (epochs.length === 0) {
      fill(
        this.root,
        make("p.hint", {}, text("time.none")),
        make("pre", {}, make("code", {}, "cnn-train trainer.snapshots=1")),
        this.chart(history),
      );
      return;
    }
    this.range = make("input", {
      type: "range",
      min: 0,
      max: epochs.length,
      step: 1,
      ariaLabel: text("time.slider"),
      oninput: () => {
        this.stop();
        this.go(this.range.valueAsNumber);
      },
    });
    this.number = make("output");
    this.play = button(text("time.play"), () => (this.playing === null ? this.start() : this.stop()), {
      className: "main",
    });
    this.words = make("p.caption");
    this.curve = make("div");
    this.kernels = make("div.kernel_row");
    fill(
      this.root,
      make("p.hint", {}, text("time.words")),
      make("div.time", {}, this.range, this.number),
      make(
        "div.buttons",
        {},
        this.play,
        button(text("time.last"), () => {
          this.stop();
          this.state.set({ epoch: null });
        }),
      ),
      this.words,
      this.curve,
      make("h3", {}, text("time.kernels", { layer: layerName(this.firstLayer) })),
      this.kernels,
    );
    this.show();
  }

  get firstLayer() {
    return this.run.layers.find(({ parent }) => parent === null).name;
  }

  /** Go to a place of the slider; the one after the last epoch kept is the network that the page shows otherwise. */
  go(place) {
    const { epochs } = this.run;
    this.state.set({ epoch: place >= epochs.length ? null : epochs[place] });
  }

  start() {
    const { epochs } = this.run;
    let place = this.range.valueAsNumber >= epochs.length ? 0 : this.range.valueAsNumber;
    this.play.textContent = text("time.pause");
    const step = () => {
      this.go(place);
      place += 1;
      if (place > epochs.length) this.stop();
    };
    step();
    this.playing = setInterval(step, PAUSE);
  }

  stop() {
    clearInterval(this.playing);
    this.playing = null;
    if (this.play !== undefined) this.play.textContent = text("time.play");
  }

  show() {
    const { epochs, history } = this.run;
    if (epochs.length === 0 || this.range === undefined) return;
    const { epoch } = this.state.values;
    const place = epochs.indexOf(epoch);
    this.range.value = place < 0 ? epochs.length : place;
    this.number.textContent = place < 0 ? text("time.best") : text("time.epoch", { epoch });
    this.range.setAttribute("aria-valuetext", this.number.textContent);
    const row = history.find((one) => one.epoch === epoch);
    const accuracy = row?.["val/accuracy"];
    this.words.textContent =
      epoch === 0
        ? text("time.zero")
        : accuracy === undefined
          ? " "
          : text("time.accuracy", { epoch, accuracy: percent(accuracy, 2) });
    fill(this.curve, this.chart(history, epoch));
    if (this.state.get("tool") === "time") this.showKernels();
  }

  chart(history, at = null) {
    const points = history
      .map((row) => ({ x: row.epoch, y: row["val/accuracy"] }))
      .filter(({ y }) => Number.isFinite(y));
    if (points.length < 2) return null;
    return make(
      "figure.chart_box",
      {},
      make("figcaption", {}, text("time.chart")),
      lineChart([points], {
        label: text("time.chart_label", { from: figure(points[0].y), to: figure(points.at(-1).y) }),
        at,
      }),
    );
  }

  async kernelsNow() {
    const layer = this.run.layers.find(({ parent }) => parent === null);
    const maps = Array.from({ length: Math.min(layer.shape[0], MOST_KERNELS) }, (_, map) => map);
    const { weights } = await this.questions.ask("kernels", { layer: layer.name, maps });
    if (weights === null) return;
    const [number, inputs, height, width] = weights.shape;
    const scale = scaleFor(...rangeOf([...weights.values, -1e-9]));
    fill(
      this.kernels,
      Array.from({ length: Math.min(number, MOST_KERNELS) }, (_, map) => {
        const canvas = make("canvas.pixels", { width: 1, height: 1 });
        const kernel = weights.part(map);
        if (inputs === 3) paintColours(canvas, kernel, scale);
        else paint(canvas, kernel.part(0).values, width, height, scale);
        return make("figure.kernel", {}, canvas, make("figcaption", {}, String(map)));
      }),
    );
  }
}

/** A kernel over red, green and blue as one picture in colours. */
function paintColours(canvas, kernel, { low, high }) {
  const [, height, width] = kernel.shape;
  const image = new ImageData(width, height);
  for (let place = 0; place < height * width; place += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      image.data[place * 4 + channel] = ((kernel.values[channel * height * width + place] - low) / (high - low)) * 255;
    }
    image.data[place * 4 + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}
