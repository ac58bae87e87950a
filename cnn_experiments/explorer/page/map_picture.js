/** One map, on which each value can be pointed at, clicked and reached with the arrow keys. */

import { paint } from "./colours.js";
import { make, MOVES } from "./elements.js";
import { placeBox } from "./network_input.js";

export class MapPicture {
  /**
   * @param {object} listeners
   * @param {(row: number, column: number) => void} listeners.point at a value
   * @param {() => void} listeners.leave
   * @param {(row: number, column: number) => void} listeners.pick a value
   */
  constructor(listeners) {
    this.listeners = listeners;
    this.canvas = make("canvas.pixels", { role: "application", tabIndex: -1 });
    this.field = make("div.outline", { hidden: true });
    this.place = make("div.place", { hidden: true });
    this.element = make("div.map", {}, this.canvas, this.field, this.place);
    this.cursor = { row: 0, column: 0 };
    this.canvas.addEventListener("pointermove", (event) => this.at(event, listeners.point));
    this.canvas.addEventListener("pointerleave", () => listeners.leave());
    this.canvas.addEventListener("click", (event) => {
      this.at(event, listeners.point); // a finger has not pointed there before
      this.at(event, listeners.pick);
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => listeners.point(this.cursor.row, this.cursor.column));
    this.canvas.addEventListener("blur", () => listeners.leave());
  }

  show(values, width, height, scale) {
    this.height = height;
    this.width = width;
    paint(this.canvas, values, width, height, scale);
  }

  at(event, listener) {
    const box = this.canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * this.height);
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.width);
    if (row < 0 || column < 0 || row >= this.height || column >= this.width) return;
    this.cursor = { row, column };
    listener(row, column);
  }

  key(event) {
    const move = MOVES[event.key];
    if (move !== undefined) {
      const row = Math.min(this.height - 1, Math.max(0, this.cursor.row + move[0]));
      const column = Math.min(this.width - 1, Math.max(0, this.cursor.column + move[1]));
      this.cursor = { row, column };
      this.listeners.point(row, column);
    } else if (event.key === "Enter" || event.key === " ") this.listeners.pick(this.cursor.row, this.cursor.column);
    else return;
    event.preventDefault();
  }

  /** Outline what is seen of this map; null for nothing. */
  outline(pixels) {
    this.field.hidden = pixels === null;
    if (pixels !== null) placeBox(this.field, pixels, this);
  }

  /** Mark one value; null for none. */
  mark(place) {
    this.place.hidden = place === null;
    if (place === null) return;
    this.cursor = place;
    placeBox(this.place, [place.row, place.column, place.row + 1, place.column + 1], this);
  }
}
