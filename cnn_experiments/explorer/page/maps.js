/** The chosen layer: its maps by number or by strength; pointing at a value shows what it sees, a click its arithmetic. */

import { rangeOf, scaleFor } from "./colours.js";
import { button, fill, make } from "./elements.js";
import { legend } from "./legend.js";
import { MapPicture } from "./map_picture.js";
import { count, figure, layerName, shapeText } from "./numbers.js";
import { layerOf } from "./questions.js";
import { firstText, kindKey, kindText, text } from "./texts.js";
import { isUnits, placeOfUnit, sheets, unitAt } from "./units.js";

const AT_ONCE = 64; // maps on the page before more are asked for
const ZOOM = { least: 0.5, most: 4, step: 1.4 };

export class Maps {
  constructor(root, state) {
    this.root = root;
    this.state = state;
    this.zoom = 1;
    this.number = AT_ONCE;
    this.pictures = new Map();
    this.shown = "";
    state.watch(["layer", "order"], () => {
      this.number = AT_ONCE;
      this.render();
    });
    state.watch(["looks"], () => requestAnimationFrame(() => this.show()));
    state.watch(["sort"], () => this.show());
    state.watch(["off", "tool"], () => this.showOff());
    state.watch(["fields", "value", "hover", "layer"], () => this.showPlaces());
  }

  get run() {
    return this.state.get("runs")[this.state.get("order")[0]];
  }

  get layer() {
    return layerOf(this.run, this.state.get("layer"));
  }

  render() {
    const { layer } = this;
    this.shown = "";
    this.pictures.clear();
    if (layer === undefined) {
      fill(this.root, make("h2", {}, text("maps.title")), make("p.hint", {}, text("maps.choose")));
      return;
    }
    const units = isUnits(layer.shape);
    this.grid = make("div.maps", {
      role: "group",
      ariaLabel: text(units ? "maps.units_label" : "maps.maps_label", { layer: layerName(layer.name) }),
    });
    this.grid.classList.toggle("units", units);
    this.more = make("div.buttons");
    this.words = make("p.caption", { ariaLive: "polite" });
    this.legend = make("div");
    fill(
      this.root,
      make(
        "div.heading",
        {},
        make("h2", {}, layerName(layer.name), " ", make("small", {}, kindText(layer.kind))),
        make("p.number", {}, facts(layer)),
      ),
      make("p.explanation", {}, explain(layer)),
      make(
        "div.bar_of_tools",
        {},
        units ? null : this.sorting(),
        make(
          "span.buttons",
          {},
          this.zoomButton("−", 1 / ZOOM.step, "maps.smaller"),
          this.zoomButton("+", ZOOM.step, "maps.larger"),
        ),
        this.legend,
      ),
      this.words,
      this.grid,
      this.more,
    );
    this.showZoom();
    this.show();
    this.showPlaces();
  }

  sorting() {
    return make(
      "span.buttons",
      { role: "group", ariaLabel: text("maps.sort") },
      ["index", "strength"].map((sort) =>
        button(
          text(`maps.by_${sort}`),
          (event) => {
            for (const other of event.target.parentElement.children)
              other.setAttribute("aria-pressed", String(other === event.target));
            this.state.set({ sort });
          },
          { ariaPressed: String(this.state.get("sort") === sort), title: text(`maps.by_${sort}_title`) },
        ),
      ),
    );
  }

  zoomButton(sign, factor, label) {
    return button(
      sign,
      () => {
        this.zoom = Math.min(ZOOM.most, Math.max(ZOOM.least, this.zoom * factor));
        this.showZoom();
      },
      { ariaLabel: text(label), title: text(label) },
    );
  }

  showZoom() {
    const [maps] = this.layer.shape;
    this.grid.style.setProperty("--side", `${(maps <= 8 ? 124 : maps <= 20 ? 116 : 92) * this.zoom}px`);
  }

  /** The numbers of the maps in the order in which they stand. */
  sorted(look, number) {
    const indices = Array.from({ length: number }, (_, index) => index);
    if (this.state.get("sort") === "strength" && number > 1) {
      const strengths = look.strengths[this.layer.name].values;
      indices.sort((one, other) => strengths[other] - strengths[one]);
    }
    return indices;
  }

  show() {
    const { layer } = this;
    const look = this.state.get("looks")[this.state.get("order")[0]];
    const grid = look?.maps[layer?.name];
    if (grid === undefined) return;
    const pages = sheets(grid, layer.shape);
    const scale = scaleFor(...(look.range[layer.name] ?? rangeOf(grid.values)));
    const indices = this.sorted(look, pages.number);
    const visible = indices.slice(0, this.number);
    if (visible.join() !== this.shown) this.arrange(visible, pages);
    const dead = new Set(look.dead[layer.name]);
    const strongest = Math.max(...look.strengths[layer.name].values, 1e-12);
    for (const index of visible) {
      const { picture, strength, element, note } = this.pictures.get(index);
      picture.show(pages.values(index), pages.width, pages.height, scale);
      if (isUnits(layer.shape)) continue;
      strength.style.width = `${(look.strengths[layer.name].values[index] / strongest) * 100}%`;
      element.classList.toggle("dead", dead.has(index));
      note.textContent = dead.has(index) ? text("maps.dead") : "";
    }
    fill(this.legend, legend(text("maps.legend", { layer: layerName(layer.name) }), scale));
    const rest = indices.length - visible.length;
    fill(
      this.more,
      rest === 0
        ? null
        : button(text("maps.more", { more: Math.min(rest, AT_ONCE), total: count(indices.length) }), () => {
            this.number += AT_ONCE;
            this.show();
          }),
    );
    this.showOff();
    this.showPlaces();
  }

  arrange(visible, pages) {
    this.shown = visible.join();
    for (const index of visible) {
      if (!this.pictures.has(index)) this.pictures.set(index, this.figure(index));
    }
    fill(
      this.grid,
      visible.map((index) => this.pictures.get(index).element),
    );
    const chosen = this.state.get("value")?.map ?? visible[0];
    for (const index of visible)
      this.pictures.get(index).picture.canvas.tabIndex = index === chosen || pages.number === 1 ? 0 : -1;
    if (!visible.includes(chosen)) this.pictures.get(visible[0]).picture.canvas.tabIndex = 0;
  }

  figure(index) {
    const { layer } = this;
    const units = isUnits(layer.shape);
    const valueAt = (row, column) => (units ? unitAt(layer.shape, row, column) : { map: index, row, column });
    const picture = new MapPicture({
      point: (row, column) => {
        const value = valueAt(row, column);
        this.state.set({ hover: value === null ? null : { layer: layer.name, ...value } });
      },
      leave: () => this.state.set({ hover: null }),
      pick: (row, column) => {
        const value = valueAt(row, column);
        if (value !== null) this.state.set({ value, probabilityOf: null });
      },
    });
    picture.canvas.setAttribute(
      "aria-label",
      units
        ? text("maps.units_label", { layer: layerName(layer.name) })
        : text("maps.map_label", { layer: layerName(layer.name), map: index }),
    );
    picture.canvas.addEventListener("keydown", (event) => this.pageKey(event, index));
    if (units) return { picture, element: make("figure", {}, picture.element) };
    const strength = make("span.strength_bar");
    const note = make("span.note");
    const off = button("", () => this.toggle(index), { ariaPressed: "false" });
    off.classList.add("switch");
    const caption = make(
      "figcaption",
      {},
      make("span.number", {}, String(index)),
      make("span.strength", { title: text("maps.strength") }, strength),
      note,
      off,
    );
    return { picture, strength, note, off, element: make("figure", { dataMap: index }, picture.element, caption) };
  }

  /** Page up and Page down go to the map before and after. */
  pageKey(event, index) {
    const by = { PageUp: -1, PageDown: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const order = this.shown.split(",").map(Number);
    const next = this.pictures.get(order[order.indexOf(index) + by]);
    if (next === undefined) return;
    next.picture.cursor = this.pictures.get(index).picture.cursor;
    this.pictures.get(index).picture.canvas.tabIndex = -1;
    next.picture.canvas.tabIndex = 0;
    next.picture.canvas.focus();
  }

  toggle(map) {
    this.state.set({ off: toggled(this.state.get("off"), this.layer, map, this.state.get("offTo")) });
  }

  showOff() {
    const { layer } = this;
    if (layer === undefined || this.grid === undefined) return;
    const { off, tool } = this.state.values;
    this.grid.classList.toggle("switching", tool === "off");
    for (const [index, { element, off: offButton }] of this.pictures) {
      if (offButton === undefined) continue;
      const isOff = off.some((one) => one.layer === layer.name && (one.maps === "all" || one.maps.includes(index)));
      element.classList.toggle("off", isOff);
      offButton.setAttribute("aria-pressed", String(isOff));
      offButton.textContent = text(isOff ? "off.turn_on" : "off.turn_off");
      offButton.setAttribute(
        "aria-label",
        text(isOff ? "off.turn_on_label" : "off.turn_off_label", { layer: layerName(layer.name), map: index }),
      );
    }
  }

  showPlaces() {
    const { layer } = this;
    if (layer === undefined || this.grid === undefined) return;
    const { fields, value, hover } = this.state.values;
    const field = fields?.target.layer === layer.name ? undefined : fields?.of.get(layer.name);
    const pointed = hover?.layer === layer.name ? hover : value;
    for (const [index, { picture, element }] of this.pictures) {
      if (picture.height === undefined) continue;
      const units = isUnits(layer.shape);
      const isPlace = pointed !== null && (units || pointed.map === index);
      picture.mark(isPlace ? (units ? placeOfUnit(layer.shape, pointed.map) : pointed) : null);
      picture.outline(field !== undefined && !units && field.maps.includes(index) ? field.pixels : null);
      element.classList.toggle("chosen", !units && value?.map === index);
    }
    this.showWords(pointed);
  }

  showWords(pointed) {
    const { layer } = this;
    const grid = this.state.get("looks")[this.state.get("order")[0]]?.maps[layer.name];
    if (pointed === null || grid === undefined) {
      this.words.textContent = text(isUnits(layer.shape) ? "maps.hover_unit" : "maps.hover");
      return;
    }
    const { map, row, column } = pointed;
    const [, height, width] = layer.shape;
    const value = grid.values[(map * height + row) * width + column];
    const where = isUnits(layer.shape)
      ? text("maps.unit_value", { unit: map, value: figure(value, 4) })
      : text("maps.value", { map, row, column, value: figure(value, 4) });
    const { fields } = this.state.values;
    const input = fields?.target.layer === layer.name ? fields.of.get("input") : undefined;
    this.words.textContent = input === undefined ? where : `${where} ${seesText(input.pixels)}`;
  }
}

function seesText([top, left, bottom, right]) {
  return text("maps.sees", {
    height: bottom - top,
    width: right - left,
    top,
    bottom: bottom - 1,
    left,
    right: right - 1,
  });
}

/** The list of what is off, with one map of a layer switched over. */
export function toggled(off, layer, map, to) {
  const others = off.filter((one) => one.layer !== layer.name);
  const before = off.find((one) => one.layer === layer.name);
  const all = Array.from({ length: layer.shape[0] }, (_, index) => index);
  const maps = before === undefined ? [] : before.maps === "all" ? all : before.maps;
  const after = maps.includes(map)
    ? maps.filter((other) => other !== map)
    : [...maps, map].sort((one, other) => one - other);
  if (after.length === 0) return others;
  return [...others, { layer: layer.name, maps: after.length === all.length ? "all" : after, to }];
}

function facts(layer) {
  const parts = [shapeText(layer.shape)];
  if (layer.parameters > 0) parts.push(text("strip.parameters", { parameters: count(layer.parameters) }));
  if (layer.multiply_adds > 0) parts.push(text("strip.operations", { operations: count(layer.multiply_adds) }));
  if (layer.connections > 0) parts.push(text("maps.connections", { connections: count(layer.connections) }));
  return parts.join(" · ");
}

function explain(layer) {
  const [maps, height, width] = layer.shape;
  const what = firstText([`explain.${kindKey(layer.kind)}`, "explain.other"], {
    maps,
    height,
    width,
    kernel: layer.kernel,
    stride: layer.stride,
  });
  if (layer.activation === "" || layer.activation.startsWith("p =")) return what;
  return `${what} ${text("explain.then", { activation: kindText(layer.activation) })}`;
}
