/**
 * Colours for numbers. Two scales, which people with any kind of colour vision can read: blue, white, orange for numbers
 * with a sign, white being 0; and from dark violet to yellow (viridis) for numbers that are never below 0. What lies over
 * a picture has the upper half of the first, so that the picture is seen where nothing is.
 */

const SIGNED = ["#08306b", "#2468b0", "#6ba7d6", "#bcd9ee", "#f7f7f5", "#fdd3a2", "#f49a45", "#cf6310", "#7a3003"];
const POSITIVE = [
  "#440154",
  "#482878",
  "#3e4989",
  "#31688e",
  "#26828e",
  "#1f9e89",
  "#35b779",
  "#6ece58",
  "#b5de2b",
  "#fde725",
];
const GREYS = ["#000000", "#ffffff"];
const STEPS = 256;

function table(stops) {
  const colours = new Uint8ClampedArray(STEPS * 3);
  const channels = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  for (let step = 0; step < STEPS; step += 1) {
    const place = (step / (STEPS - 1)) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    for (let channel = 0; channel < 3; channel += 1) {
      const from = channels[below][channel];
      colours[step * 3 + channel] = from + (channels[below + 1][channel] - from) * (place - below);
    }
  }
  return colours;
}

const TABLES = { signed: table(SIGNED), warm: table(SIGNED.slice(4)), positive: table(POSITIVE), grey: table(GREYS) };

/**
 * A scale for numbers between two bounds: signed and even about 0 if they lie on both sides of it; from 0 up if none is
 * below, and from the lowest to the highest if all are.
 */
export function scaleFor(lowest, highest) {
  if (highest < 0 && lowest < highest) return { kind: "positive", low: lowest, high: highest };
  if (lowest === 0 && highest === 0) return { kind: "signed", low: -1, high: 1 };
  if (lowest >= 0) return { kind: "positive", low: 0, high: highest };
  const bound = Math.max(-lowest, highest, 1e-12);
  return { kind: "signed", low: -bound, high: bound };
}

/** A scale for numbers that lie over a picture, white where they are 0. */
export function overlayScale(values) {
  const [low, high] = rangeOf(values.filter((value) => !Number.isNaN(value)));
  if (low < -0.02 * high) return scaleFor(low, high);
  return { kind: "warm", low: 0, high: high > 0 ? high : 1 };
}

/** A scale of greys. */
export function greys(low, high) {
  return { kind: "grey", low, high };
}

/** The lowest and highest of some numbers. */
export function rangeOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 0];
}

function stepOf(value, { low, high }) {
  const share = (value - low) / (high - low);
  return Math.min(STEPS - 1, Math.max(0, Math.round(share * (STEPS - 1))));
}

/** A number's colour for styles. */
export function colourOf(value, scale) {
  const at = stepOf(value, scale) * 3;
  const colours = TABLES[scale.kind];
  return `rgb(${colours[at]} ${colours[at + 1]} ${colours[at + 2]})`;
}

/** Whether black letters are read more easily than white ones on a number's colour. */
export function wantsDarkText(value, scale) {
  const at = stepOf(value, scale) * 3;
  const [red, green, blue] = TABLES[scale.kind].subarray(at, at + 3);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}

/** Numbers as a picture. What is not a number stays transparent. */
export function picture(values, width, height, scale) {
  const image = new ImageData(width, height);
  const colours = TABLES[scale.kind];
  for (let place = 0; place < width * height; place += 1) {
    const value = values[place];
    if (Number.isNaN(value)) continue;
    const at = stepOf(value, scale) * 3;
    image.data.set(colours.subarray(at, at + 3), place * 4);
    image.data[place * 4 + 3] = 255;
  }
  return image;
}

/** Paint numbers on a canvas, a pixel each. */
export function paint(canvas, values, width, height, scale) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext("2d").putImageData(picture(values, width, height, scale), 0, 0);
}

/** Paint a photo (height, width, 3) of bytes on a canvas. */
export function paintPhoto(canvas, bytes, width, height) {
  const image = new ImageData(width, height);
  for (let place = 0; place < width * height; place += 1) {
    for (let channel = 0; channel < 3; channel += 1) image.data[place * 4 + channel] = bytes[place * 3 + channel];
    image.data[place * 4 + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}
