/** Drawing a digit of 28 × 28 pixels with pen, mouse, finger or keys. */

import { MOVES } from "./elements.js";

export const SIDE = 28;
const GREYS = 15; // steps of grey, so that a drawing fits into the page's address
const RADIUS = { pen: 1.15, rubber: 1.8 };
const MOST_STEPS = 40; // that can be undone

/** The pixels of a drawing, and the strokes on it. */
export class Drawing {
  /**
   * @param {HTMLCanvasElement} canvas on which it is drawn
   * @param {(bytes: Uint8Array, moving: boolean) => void} whenChanged
   */
  constructor(canvas, whenChanged) {
    this.canvas = canvas;
    this.whenChanged = whenChanged;
    this.bytes = new Uint8Array(SIDE * SIDE);
    this.enabled = true;
    this.tool = "pen";
    this.steps = [];
    this.last = null;
    this.cursor = { row: 14, column: 14 };
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.end(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** Go on from other pixels, such as those of a test image. */
  set(bytes) {
    this.bytes = Uint8Array.from(bytes, (byte) => Math.round((byte / 255) * GREYS) * (255 / GREYS));
  }

  clear() {
    this.remember();
    this.bytes = new Uint8Array(SIDE * SIDE);
    this.changed(false);
  }

  undo() {
    const before = this.steps.pop();
    if (before === undefined) return;
    this.bytes = before;
    this.changed(false);
  }

  remember() {
    this.steps.push(this.bytes.slice());
    if (this.steps.length > MOST_STEPS) this.steps.shift();
  }

  changed(moving) {
    this.whenChanged(this.bytes.slice(), moving);
  }

  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      column: ((event.clientX - box.left) / box.width) * SIDE,
      row: ((event.clientY - box.top) / box.height) * SIDE,
    };
  }

  begin(event) {
    if (!this.enabled || event.button > 0 || !event.isPrimary) return; // a second finger draws nothing
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.remember();
    this.last = this.placeOf(event);
    this.stroke(this.last, this.last);
    this.changed(true);
  }

  move(event) {
    if (this.last === null || !event.isPrimary) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length > 0 ? events : [event]) {
      const place = this.placeOf(one);
      this.stroke(this.last, place);
      this.last = place;
    }
    this.changed(true);
  }

  end(event) {
    if (this.last === null || !event.isPrimary) return;
    this.last = null;
    this.changed(false);
  }

  key(event) {
    if (!this.enabled) return;
    const move = MOVES[event.key];
    if (move === undefined && event.key !== " ") return;
    event.preventDefault();
    const from = { ...this.cursor };
    if (move !== undefined) {
      this.cursor.row = Math.min(SIDE - 1, Math.max(0, this.cursor.row + move[0]));
      this.cursor.column = Math.min(SIDE - 1, Math.max(0, this.cursor.column + move[1]));
    }
    if (event.key === " " || event.shiftKey) {
      this.remember();
      this.stroke(centre(from), centre(this.cursor));
      this.changed(false);
    }
    this.canvas.dispatchEvent(new CustomEvent("cursor", { detail: this.cursor }));
  }

  /** Lay ink along a line, softer towards its edge; or take it away. */
  stroke(from, to) {
    const radius = RADIUS[this.tool];
    const reach = radius + 1;
    const [top, bottom] = [Math.min(from.row, to.row) - reach, Math.max(from.row, to.row) + reach];
    const [left, right] = [Math.min(from.column, to.column) - reach, Math.max(from.column, to.column) + reach];
    for (let row = Math.max(0, Math.floor(top)); row < Math.min(SIDE, bottom); row += 1) {
      for (let column = Math.max(0, Math.floor(left)); column < Math.min(SIDE, right); column += 1) {
        const share = Math.min(1, Math.max(0, radius + 0.5 - distance(row + 0.5, column + 0.5, from, to)));
        const ink = Math.round(share * GREYS) * (255 / GREYS);
        const at = row * SIDE + column;
        this.bytes[at] = this.tool === "pen" ? Math.max(this.bytes[at], ink) : Math.min(this.bytes[at], 255 - ink);
      }
    }
  }
}

function centre({ row, column }) {
  return { row: row + 0.5, column: column + 0.5 };
}

/**
 * The ink of a picture of what the network gets, dark on white, without the paper around it: what a person draws on.
 * @param {import("./socket.js").Grid} picture (rows, columns, 3)
 * @param {number} margin pixels of paper on each side
 */
export function inkOf(picture, margin) {
  const [, width] = picture.shape;
  const at = (row, column) => ((row + margin) * width + column + margin) * 3;
  return Uint8Array.from(
    { length: SIDE * SIDE },
    (_, place) => 255 - picture.values[at(Math.floor(place / SIDE), place % SIDE)],
  );
}

/** How far a point is from a line between two others. */
function distance(row, column, from, to) {
  const [down, across] = [to.row - from.row, to.column - from.column];
  const length = down * down + across * across;
  const along = length === 0 ? 0 : ((row - from.row) * down + (column - from.column) * across) / length;
  const share = Math.min(1, Math.max(0, along));
  return Math.hypot(row - from.row - share * down, column - from.column - share * across);
}
