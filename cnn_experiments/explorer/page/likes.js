/** The tool that shows what a map likes: its kernels, and the nine test images that excite it most. */

import { greys, paint, paintPhoto, rangeOf, scaleFor } from "./colours.js";
import { fill, make, button, progressBar } from "./elements.js";
import { legend } from "./legend.js";
import { placeBox } from "./network_input.js";
import { figure, layerName } from "./numbers.js";
import { layerOf } from "./questions.js";
import { isOutdated, newestOnly } from "./socket.js";
import { text } from "./texts.js";
import { isUnits } from "./units.js";

const MOST_KERNELS = 64;

export class Likes {
  constructor(root, state, questions) {
    this.root = root;
    this.state = state;
    this.questions = questions;
    this.found = new Map();
    this.showKernels = newestOnly(() => questions.guarded(() => this.kernelsNow()));
    state.watch(["tool", "layer", "order", "value", "epoch"], () => this.render());
  }

  get run() {
    return this.state.get("runs")[this.state.get("order")[0]];
  }

  get map() {
    return this.state.get("value")?.map ?? 0;
  }

  render() {
    if (this.state.get("tool") !== "likes") return;
    const layer = layerOf(this.run, this.state.get("layer"));
    if (layer === undefined) {
      fill(this.root, make("p.hint", {}, text("maps.choose")));
      return;
    }
    const turn = (by) => {
      const { row, column } = this.state.get("value") ?? { row: 0, column: 0 };
      this.state.set({
        value: { map: (this.map + by + layer.shape[0]) % layer.shape[0], row, column },
        probabilityOf: null,
      });
    };
    this.kernels = make("div.kernels");
    this.images = make("div.nine");
    this.imagesLegend = make("p.caption");
    this.progress = progressBar(text("likes.images"), text("stop"), () => this.questions.connection.stop("exciting"));
    const name = text(isUnits(layer.shape) ? "likes.of_unit" : "likes.of_map", {
      layer: layerName(layer.name),
      map: this.map,
    });
    this.find = button(text("likes.find"), () => this.findImages(layer), { className: "main" });
    fill(
      this.root,
      make(
        "div.pages",
        {},
        button("‹", () => turn(-1), { ariaLabel: text("likes.previous") }),
        make("strong", {}, name),
        button("›", () => turn(1), { ariaLabel: text("likes.next") }),
      ),
      make("h3", {}, text("likes.kernels")),
      this.kernels,
      make("h3", {}, text("likes.images")),
      make("p.hint", {}, text("likes.images_words")),
      make("div.buttons", {}, this.find),
      this.progress.element,
      this.images,
      this.imagesLegend,
    );
    this.showKernels();
    this.showImages(layer);
  }

  async kernelsNow() {
    const layer = layerOf(this.run, this.state.get("layer"));
    const { map, kernels } = this;
    if (this.run.layers.some(({ parent }) => parent === layer.name)) {
      fill(kernels, make("p.hint", {}, text("likes.several", { layer: layerName(layer.name) })));
      return;
    }
    const answer = await this.questions.ask("kernels", { layer: layer.name, maps: [map] });
    if (kernels !== this.kernels) return;
    fill(kernels, kernelPictures(answer, map, layer, this.run));
  }

  async findImages(layer) {
    this.find.disabled = true;
    this.progress.show(0, 1);
    const key = this.key(layer);
    try {
      const found = await this.questions.ask("exciting", { layer: layer.name }, (done, total) =>
        this.progress.show(done, total),
      );
      this.found.set(key, found);
    } catch (error) {
      if (!isOutdated(error)) this.state.set({ message: error.message });
    }
    this.progress.hide();
    this.find.disabled = false;
    const now = layerOf(this.run, this.state.get("layer"));
    if (now !== undefined) this.showImages(now);
  }

  key(layer) {
    return `${this.state.get("order")[0]} ${this.state.get("epoch")} ${layer.name}`;
  }

  async showImages(layer) {
    const found = this.found.get(this.key(layer));
    this.find.hidden = found !== undefined;
    if (found === undefined) return;
    const { map, images: place } = this;
    const of = [...found.images.part(map).values];
    const indices = of.filter((index) => index >= 0);
    if (indices.length === 0) return;
    await this.questions.guarded(async () => {
      const { pictures } = await this.questions.connection.ask("thumbnails", {
        run: this.state.get("order")[0],
        indices,
      });
      if (place !== this.images) return;
      const [, height, width] = this.run.input_shape;
      fill(
        place,
        indices.map((index, at) => {
          const picture = pictures.part(at);
          const field = [...found.fields.part(map).part(at).values];
          return this.image(index, picture, found.values.part(map).values[at], field, { height, width });
        }),
      );
      this.imagesLegend.textContent = text("likes.outline");
    });
  }

  image(index, picture, value, field, size) {
    const canvas = make("canvas.pixels", { width: 1, height: 1 });
    paintPhoto(canvas, picture.values, picture.shape[1], picture.shape[0]);
    const outline = make("div.outline");
    placeBox(outline, field, size);
    return make(
      "button.thumbnail",
      {
        type: "button",
        onclick: () => this.state.set({ image: { test: index }, moving: false }),
        ariaLabel: text("likes.image_label", { index, value: figure(value, 3) }),
      },
      make("span.picture", {}, canvas, outline),
      make("span.number", {}, figure(value, 3)),
    );
  }
}

/** The weights of one map as pictures. */
function kernelPictures(answer, map, layer, run) {
  if (answer.bitmaps !== null) {
    const canvas = make("canvas.pixels", { width: 1, height: 1 });
    paint(canvas, answer.bitmaps.part(map).values, 7, 12, greys(1, -1));
    return [
      make("p.hint", {}, text("likes.bitmap", { class: run.classes[map] })),
      make("figure.kernel.bitmap", {}, canvas),
    ];
  }
  if (answer.coefficients !== null) {
    return make(
      "p",
      {},
      text("likes.coefficient", {
        coefficient: figure(answer.coefficients.values[map], 4),
        bias: figure(answer.biases.values[map], 4),
      }),
    );
  }
  if (answer.weights === null || layer.kind === "dense")
    return make("p.hint", {}, text("likes.no_kernels", { layer: layerName(layer.name) }));
  const place = answer.maps.indexOf(map);
  const kernels = answer.weights.part(place);
  const [inputs, height, width] = kernels.shape;
  const scale = scaleFor(...rangeOf([...kernels.values, -1e-9]));
  const connected = answer.connections?.[map] ?? null;
  const words = { inputs: connected?.length ?? inputs, height, width };
  const draw = (at, name) => {
    const canvas = make("canvas.pixels", { width: 1, height: 1 });
    paint(canvas, kernels.part(at).values, width, height, scale);
    return make("figure.kernel", {}, canvas, make("figcaption", {}, String(name)));
  };
  const pictures = Array.from({ length: Math.min(inputs, MOST_KERNELS) }, (_, at) => {
    if (connected === null) return draw(at, at);
    if (connected.length === inputs) return draw(at, connected[at]); // a group: only its own maps have kernels
    return connected.includes(at)
      ? draw(at, at)
      : make("figure.kernel", {}, make("span.empty"), make("figcaption", {}, String(at)));
  });
  return [
    make("p.hint", {}, text(connected === null ? "likes.kernels_words" : "likes.kernels_partial", words)),
    inputs > MOST_KERNELS ? make("p.hint", {}, text("likes.first_kernels", { shown: MOST_KERNELS, inputs })) : null,
    make("div.kernel_row", {}, pictures),
    legend(text("likes.weights"), scale),
    answer.biases === null
      ? null
      : make("p.number", {}, text("likes.bias", { bias: figure(answer.biases.values[place], 4) })),
  ];
}
