/** What the colours mean: a bar from the lowest to the highest number. */

import { paint } from "./colours.js";
import { make } from "./elements.js";
import { figure } from "./numbers.js";

export function legend(label, scale) {
  const canvas = make("canvas", { width: 1, height: 1, ariaHidden: "true" });
  const steps = Float32Array.from({ length: 128 }, (_, step) => scale.low + ((scale.high - scale.low) * step) / 127);
  paint(canvas, steps, 128, 1, scale);
  const middle = scale.kind === "signed" ? 0 : (scale.low + scale.high) / 2;
  return make(
    "figure.legend",
    {},
    make("figcaption", {}, label),
    canvas,
    make(
      "div.legend_numbers",
      {},
      [scale.low, middle, scale.high].map((value) => make("span.number", {}, figure(value, 2))),
    ),
  );
}
