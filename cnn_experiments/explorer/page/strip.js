/** The whole network as one strip, in the paper's order and names; branches unfold. */

import { paintPhoto, picture, rangeOf, scaleFor } from "./colours.js";
import { button, fill, make } from "./elements.js";
import { layerName, shapeText, shortCount } from "./numbers.js";
import { layerOf } from "./questions.js";
import { text } from "./texts.js";
import { isUnits, sheets, unitColumns } from "./units.js";

const MOST_MAPS = 36; // in a layer's small picture
const CELL = 28; // pixels of a map in it, at most
const GAP = 2;
const ZOOM = { least: 0.7, most: 2.5, step: 1.25 };

export class Strip {
  constructor(root, state) {
    this.root = root;
    this.state = state;
    this.tiles = new Map();
    this.zoom = 1;
    this.scrolledTo = null;
    state.watch(["order", "unfolded"], () => this.render());
    state.watch(["looks", "shown"], () => requestAnimationFrame(() => this.show()));
    state.watch(["layer", "off"], () => this.showChosen());
    state.watch(["fields"], () => this.showFields());
  }

  get run() {
    return this.state.get("runs")[this.state.get("order")[0]];
  }

  render() {
    this.tiles.clear();
    const { layers } = this.run;
    const top = layers.filter(({ parent }) => parent === null);
    this.rail = make(
      "div.rail",
      { role: "group", ariaLabel: text("strip.title") },
      this.inputTile(),
      top.map((layer) => [make("span.arrow", { ariaHidden: "true" }, "›"), this.tileWithParts(layer)]),
    );
    this.rail.style.setProperty("--zoom", this.zoom);
    const total = top.reduce(
      (sums, layer) => ({
        parameters: sums.parameters + layer.parameters,
        operations: sums.operations + layer.multiply_adds,
      }),
      { parameters: 0, operations: 0 },
    );
    fill(
      this.root,
      make(
        "div.heading",
        {},
        make("h2", {}, text("strip.title")),
        make(
          "p.hint",
          {},
          text("strip.total", {
            parameters: shortCount(total.parameters),
            operations: shortCount(total.operations),
          }),
        ),
        make(
          "span.buttons",
          {},
          this.zoomButton("−", 1 / ZOOM.step, "strip.smaller"),
          this.zoomButton("+", ZOOM.step, "strip.larger"),
        ),
      ),
      this.rail,
    );
    this.rail.addEventListener("keydown", (event) => this.key(event));
    this.show();
    this.showChosen();
    this.showFields();
  }

  zoomButton(sign, factor, label) {
    return button(
      sign,
      () => {
        this.zoom = Math.min(ZOOM.most, Math.max(ZOOM.least, this.zoom * factor));
        this.rail.style.setProperty("--zoom", this.zoom);
      },
      { ariaLabel: text(label), title: text(label) },
    );
  }

  key(event) {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    const tiles = [...this.rail.querySelectorAll("button.tile")];
    const next = tiles[tiles.indexOf(document.activeElement) + (event.key === "ArrowRight" ? 1 : -1)];
    if (next === undefined) return;
    event.preventDefault();
    next.focus();
  }

  inputTile() {
    const [channels, height, width] = this.run.input_shape;
    const tile = this.tile("input", text("layer.input"), [shapeText([channels, height, width])]);
    tile.element.disabled = true;
    return tile.element;
  }

  tileWithParts(layer) {
    const parts = this.run.layers.filter(({ parent }) => parent === layer.name);
    const element = this.layerTile(layer);
    if (parts.length === 0) return element;
    const open = this.state.get("unfolded").includes(layer.name);
    const unfold = button(open ? "◂" : "▸", () => this.unfold(layer.name, !open), {
      id: `unfold_${layer.name}`,
      ariaExpanded: String(open),
      ariaLabel: text(open ? "strip.fold" : "strip.unfold", { layer: layerName(layer.name) }),
      title: text(open ? "strip.fold" : "strip.unfold", { layer: layerName(layer.name) }),
    });
    unfold.classList.add("unfold");
    return make(
      "div.with_parts",
      {},
      open
        ? make(
            "div.branches",
            {},
            parts.map((part) => this.branch(part)),
          )
        : null,
      make("div.whole", {}, element, unfold),
    );
  }

  branch(part) {
    const inner = this.run.layers.filter(({ parent }) => parent === part.name);
    return make(
      "div.branch",
      {},
      inner.length > 0
        ? inner.map((layer, at) => [
            at > 0 ? make("span.arrow", { ariaHidden: "true" }, "›") : null,
            this.layerTile(layer, true),
          ])
        : this.layerTile(part, true),
    );
  }

  unfold(name, open) {
    const others = this.state.get("unfolded").filter((other) => other !== name);
    this.state.set({ unfolded: open ? [...others, name] : others });
    this.scrollTo(name);
  }

  layerTile(layer, small = false) {
    const counts =
      layer.parameters > 0
        ? text("strip.parameters", { parameters: shortCount(layer.parameters) })
        : text("strip.no_parameters");
    const operations =
      layer.multiply_adds > 0 ? text("strip.operations", { operations: shortCount(layer.multiply_adds) }) : null;
    const name = small ? layer.name.split("/").slice(1).join(" / ") : layerName(layer.name);
    const { element } = this.tile(
      layer.name,
      name,
      small ? [shapeText(layer.shape)] : [shapeText(layer.shape), counts, operations],
    );
    element.classList.toggle("small", small);
    element.addEventListener("click", () =>
      this.state.set({ layer: layer.name, value: null, probabilityOf: null, hover: null }),
    );
    return element;
  }

  tile(name, shown, lines) {
    const canvas = make("canvas.pixels", { width: 1, height: 1 });
    const marks = make("canvas.overlay", { width: 1, height: 1 });
    const element = make(
      "button.tile",
      { type: "button", dataLayer: name, ariaPressed: "false" },
      make("span.tile_picture", { ariaHidden: "true" }, canvas, marks),
      make("strong", {}, shown),
      lines.filter((line) => line !== null).map((line) => make("small", {}, line)),
    );
    const tile = { element, canvas, marks };
    this.tiles.set(name, tile);
    return tile;
  }

  show() {
    const { looks, order, shown } = this.state.values;
    const look = looks[order[0]];
    if (shown !== null) {
      const { canvas, marks } = this.tiles.get("input");
      const [height, width] = shown.shown.shape;
      paintPhoto(canvas, shown.shown.values, width, height);
      this.tiles.get("input").layout = {
        columns: 1,
        number: 1,
        cellHeight: height,
        cellWidth: width,
        height,
        width,
      };
      sharpen(marks, canvas);
    }
    if (look === undefined) return;
    for (const [name, tile] of this.tiles) {
      if (look.maps[name] !== undefined) this.paintTile(tile, name, look);
    }
    this.showFields();
  }

  paintTile(tile, name, look) {
    const layer = layerOf(this.run, name);
    const pages = sheets(look.maps[name], layer.shape);
    const number = Math.min(pages.number, MOST_MAPS);
    const columns = number <= 3 ? number : number <= 8 ? Math.ceil(number / 2) : Math.ceil(Math.sqrt(number));
    const rows = Math.ceil(number / columns);
    const step = Math.max(1, Math.ceil(Math.max(pages.height, pages.width) / (isUnits(layer.shape) ? 64 : CELL)));
    const cellHeight = Math.ceil(pages.height / step);
    const cellWidth = Math.ceil(pages.width / step);
    const { canvas, marks } = tile;
    canvas.width = columns * (cellWidth + GAP) - GAP;
    canvas.height = rows * (cellHeight + GAP) - GAP;
    const context = canvas.getContext("2d");
    const scale = scaleFor(...(look.range[name] ?? rangeOf(look.maps[name].values)));
    for (let map = 0; map < number; map += 1) {
      const values = thinned(pages.values(map), pages.width, pages.height, step);
      context.putImageData(
        picture(values, cellWidth, cellHeight, scale),
        (map % columns) * (cellWidth + GAP),
        Math.floor(map / columns) * (cellHeight + GAP),
      );
    }
    tile.layout = { columns, number, cellHeight, cellWidth, height: pages.height, width: pages.width };
    sharpen(marks, canvas);
  }

  showChosen() {
    const { layer, off } = this.state.values;
    if (layer !== this.scrolledTo) this.scrollTo(layer);
    for (const [name, { element }] of this.tiles) {
      element.setAttribute("aria-pressed", String(name === layer));
      element.classList.toggle(
        "has_off",
        off.some((one) => one.layer === name),
      );
    }
  }

  /** Move the strip, not the page, so that a layer can be seen. */
  scrollTo(layer) {
    const box = this.tiles.get(layer)?.element.getBoundingClientRect();
    const frame = this.rail.getBoundingClientRect();
    if (box === undefined || frame.width === 0) return;
    this.scrolledTo = layer;
    if (box.left < frame.left || box.right > frame.right)
      this.rail.scrollLeft += box.left - frame.left - frame.width / 3;
  }

  /** Outline what the value that is pointed at sees in each layer. */
  showFields() {
    const fields = this.state.get("fields");
    for (const [name, { marks, layout }] of this.tiles) {
      const context = marks.getContext("2d");
      context.clearRect(0, 0, marks.width, marks.height);
      const field = fields?.of.get(name);
      if (field === undefined || layout === undefined) continue;
      const layer = layerOf(this.run, name);
      if (layer !== undefined && isUnits(layer.shape)) markUnits(context, field.maps, layer.shape, layout, marks.width);
      else markRectangles(context, name === "input" ? [0] : field.maps, field.pixels, layout, marks.width);
    }
  }
}

/** Give the marks over a picture more pixels than the picture has, for fine lines. */
function sharpen(marks, canvas) {
  const factor = Math.max(2, Math.ceil(240 / Math.max(canvas.width, canvas.height)));
  marks.width = canvas.width * factor;
  marks.height = canvas.height * factor;
}

/** Every so many values of a map, so that the map is no larger than its place. */
function thinned(values, width, height, step) {
  if (step === 1) return values;
  const thin = new Float32Array(Math.ceil(height / step) * Math.ceil(width / step));
  let at = 0;
  for (let row = 0; row < height; row += step) {
    for (let column = 0; column < width; column += step) {
      thin[at] = values[row * width + column];
      at += 1;
    }
  }
  return thin;
}

function lines(context, width) {
  context.strokeStyle = "#e6007e";
  context.lineWidth = Math.max(2, width / 90);
}

function markRectangles(context, maps, [top, left, bottom, right], layout, width) {
  const { columns, number, cellHeight, cellWidth } = layout;
  const factor = width / (columns * (cellWidth + GAP) - GAP);
  lines(context, width);
  for (const map of maps.filter((one) => one < number)) {
    const x = (map % columns) * (cellWidth + GAP) + (left / layout.width) * cellWidth;
    const y = Math.floor(map / columns) * (cellHeight + GAP) + (top / layout.height) * cellHeight;
    const [across, down] = [((right - left) / layout.width) * cellWidth, ((bottom - top) / layout.height) * cellHeight];
    context.strokeRect(x * factor, y * factor, across * factor, down * factor);
  }
}

function markUnits(context, units, shape, layout, width) {
  const factor = width / layout.cellWidth;
  lines(context, width);
  if (units.length === shape[0]) {
    context.strokeRect(1, 1, width - 2, context.canvas.height - 2);
    return;
  }
  const columns = unitColumns(shape[0]);
  const size = (layout.cellWidth / layout.width) * factor;
  for (const unit of units) context.strokeRect((unit % columns) * size, Math.floor(unit / columns) * size, size, size);
}
