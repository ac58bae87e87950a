/** Numbers as people read them. */

const MINUS = "−";

/** A number with so many digits after the point and a true minus sign; null stands for what is no number. */
export function decimal(value, digits = 2) {
  if (!Number.isFinite(value)) return value === Infinity ? "∞" : value === -Infinity ? `${MINUS}∞` : "–";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

/** A number with about so many digits that mean something. */
export function figure(value, digits = 3) {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return decimal(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) {
    return value
      .toExponential(digits - 1)
      .replace("e-", `e${MINUS}`)
      .replace("e+", "e")
      .replace(/^-/, MINUS);
  }
  const leading = size === 0 ? 0 : Math.floor(Math.log10(size));
  return decimal(value, Math.max(0, digits - 1 - leading));
}

/** A share as percent: 99.4 %. */
export function percent(share, digits = 1) {
  return `${decimal(share * 100, digits)} %`;
}

/** A count with separators: 48,120. */
export function count(number) {
  return Number(number).toLocaleString("en-US");
}

/** A large count in short: 151.6 k, 1.58 G. */
export function shortCount(number) {
  const units = [
    [1e9, "G"],
    [1e6, "M"],
    [1e4, "k"],
  ];
  for (const [size, unit] of units) {
    if (number >= size) {
      const value = number / (unit === "k" ? 1e3 : size);
      return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${unit}`;
    }
  }
  return count(number);
}

/** The name of a layer as the paper prints it: C1 for c1; the last part alone where that is meant. */
export function layerName(name, short = false) {
  const text = short ? name.split("/").at(-1) : name.replaceAll("/", " / ");
  return /^[csf]\d$/.test(text) ? text.toUpperCase() : text;
}

/** 6@28×28, or 84 for units. */
export function shapeText([maps, height, width]) {
  return height === 1 && width === 1 ? String(maps) : `${maps}@${height}×${width}`;
}
