/** Exactly what the network gets, with what a value sees of it, a grey square and heat maps over it. */

import { paintPhoto } from "./colours.js";
import { fill, make, MOVES } from "./elements.js";
import { decimal } from "./numbers.js";
import { text } from "./texts.js";

export class NetworkInput {
  constructor(root, state) {
    this.root = root;
    this.state = state;
    this.canvas = make("canvas.pixels", { tabIndex: 0, role: "application" });
    this.overlay = make("canvas.pixels.overlay", { hidden: true, width: 1, height: 1 });
    this.field = make("div.outline", { hidden: true });
    this.square = make("div.square", { hidden: true });
    this.words = make("p.caption", { ariaLive: "polite" });
    this.explanation = make("p.hint");
    this.picture = make("div.picture", {}, this.canvas, this.overlay, this.square, this.field);
    this.place = null;
    this.dragging = false;
    this.listen();
    state.watch(["shown"], () => this.showInput());
    state.watch(["fields"], () => this.showField());
    state.watch(["square", "shown"], () => this.showSquare());
    state.watch(["tool", "squareSide"], () => this.showMode());
  }

  render() {
    fill(this.root, make("h2", {}, text("input.title")), this.picture, this.words, this.explanation);
    this.showInput();
    this.showMode();
  }

  get size() {
    const grid = this.state.get("shown")?.input;
    return grid === undefined ? null : { height: grid.shape[1], width: grid.shape[2] };
  }

  listen() {
    const placeOf = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const { height, width } = this.size;
      const within = (place, side) => Math.min(side - 1, Math.max(0, Math.floor(place)));
      return {
        row: within(((event.clientY - box.top) / box.height) * height, height),
        column: within(((event.clientX - box.left) / box.width) * width, width),
      };
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (this.size === null || this.state.get("tool") !== "looks") return;
      event.preventDefault();
      this.canvas.focus({ preventScroll: true });
      this.canvas.setPointerCapture(event.pointerId);
      this.dragging = true;
      this.putSquare(placeOf(event), true);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.size === null) return;
      this.place = placeOf(event);
      this.showWords();
      if (this.dragging) this.putSquare(this.place, true);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => {
        this.dragging = false;
        this.state.set({ moving: false });
      });
    }
    this.canvas.addEventListener("pointerleave", () => {
      this.place = null;
      this.showWords();
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const move = MOVES[event.key];
    if (this.size === null) return;
    if (event.key === "Escape") {
      this.state.set({ square: null });
      return;
    }
    if (move === undefined) return;
    event.preventDefault();
    const { height, width } = this.size;
    const step = event.shiftKey ? 4 : 1;
    const square = this.state.get("tool") === "looks" ? this.state.get("square") : null;
    const from =
      square === null
        ? (this.place ?? { row: height >> 1, column: width >> 1 })
        : { row: square.top + (square.side >> 1), column: square.left + (square.side >> 1) };
    this.place = {
      row: Math.min(height - 1, Math.max(0, from.row + move[0] * step)),
      column: Math.min(width - 1, Math.max(0, from.column + move[1] * step)),
    };
    this.showWords();
    if (this.state.get("tool") === "looks") this.putSquare(this.place, false);
  }

  putSquare({ row, column }, moving) {
    const side = this.state.get("squareSide") ?? this.usualSide();
    this.state.set({ square: { top: row - (side >> 1), left: column - (side >> 1), side }, moving });
  }

  /** A quarter of the image. */
  usualSide() {
    return Math.max(1, Math.min(this.size.height, this.size.width) >> 2);
  }

  showMode() {
    this.picture.classList.toggle("draggable", this.state.get("tool") === "looks");
    this.canvas.setAttribute(
      "aria-label",
      text(this.state.get("tool") === "looks" ? "input.square_label" : "input.label"),
    );
  }

  showInput() {
    const shown = this.state.get("shown");
    if (shown === null) return;
    paintPhoto(this.canvas, shown.shown.values, shown.shown.shape[1], shown.shown.shape[0]);
    const [channels, height, width] = shown.input.shape;
    const values = { channels, height, width };
    if (shown.ink !== null) {
      this.explanation.textContent = text("input.greys", {
        ...values,
        paper: decimal(shown.background, 1),
        ink: decimal(shown.ink, 3),
      });
    } else if (shown.mean !== null) {
      const list = (numbers) => numbers.map((number) => decimal(number, 3)).join(", ");
      this.explanation.textContent = text("input.colours", {
        ...values,
        mean: list(shown.mean),
        deviation: list(shown.std),
      });
    } else this.explanation.textContent = text("input.plain", values);
    this.showWords();
    this.showField();
  }

  showWords() {
    const shown = this.state.get("shown");
    if (shown === null) return;
    if (this.place === null) {
      this.words.textContent = text("input.hover");
      return;
    }
    const { row, column } = this.place;
    const [channels, height, width] = shown.input.shape;
    const at = row * width + column;
    const numbers = Array.from({ length: channels }, (_, channel) =>
      decimal(shown.input.values[channel * height * width + at], 3),
    );
    this.words.textContent = text("input.value", { row, column, value: numbers.join(", ") });
  }

  showField() {
    const field = this.state.get("fields")?.of.get("input");
    this.field.hidden = field === undefined || this.size === null;
    if (!this.field.hidden) placeBox(this.field, field.pixels, this.size);
  }

  showSquare() {
    const square = this.state.get("square");
    this.square.hidden = square === null || this.size === null;
    if (this.square.hidden) return;
    const { height, width } = this.size;
    const [top, left] = [Math.max(0, square.top), Math.max(0, square.left)];
    const [bottom, right] = [Math.min(height, square.top + square.side), Math.min(width, square.left + square.side)];
    placeBox(this.square, [top, left, bottom, right], this.size);
    this.square.hidden = bottom <= top || right <= left;
  }
}

/** Lay a box over pixels of a picture that fills its parent. */
export function placeBox(box, [top, left, bottom, right], { height, width }) {
  box.style.top = `${(top / height) * 100}%`;
  box.style.left = `${(left / width) * 100}%`;
  box.style.height = `${((bottom - top) / height) * 100}%`;
  box.style.width = `${((right - left) / width) * 100}%`;
}
