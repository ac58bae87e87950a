/** The situation in the page's address, behind the ``#``, so that a link leads to it. */

const SIDE = 28;

/** A drawing (28 × 28 bytes, each a multiple of 17) as letters: pairs of a grey and how often it comes. */
function packDrawing(bytes) {
  const packed = [];
  for (let start = 0; start < bytes.length;) {
    const level = Math.round(bytes[start] / 17);
    let end = start + 1;
    while (end < bytes.length && end - start < 16 && Math.round(bytes[end] / 17) === level) end += 1;
    packed.push((level << 4) | (end - start - 1));
    start = end;
  }
  return btoa(String.fromCharCode(...packed))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** What `packDrawing` packed; null if it is something else. */
function unpackDrawing(letters) {
  if (letters.length > 2 * SIDE * SIDE) return null;
  let packed;
  try {
    packed = atob(letters.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return null;
  }
  const bytes = new Uint8Array(SIDE * SIDE);
  let place = 0;
  for (const letter of packed) {
    const pair = letter.charCodeAt(0);
    const end = place + (pair & 15) + 1;
    bytes.fill((pair >> 4) * 17, place, end);
    place = end;
  }
  return place === SIDE * SIDE ? bytes : null;
}

/** Bytes as letters of base64, as the server reads a drawing. */
export function asBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

function writeImage(image) {
  if (image.test !== undefined) return String(image.test);
  return image.drawn === undefined ? "" : `drawn.${packDrawing(image.drawn)}`;
}

function readImage(words) {
  if (/^\d{1,7}$/.test(words)) return { test: Number(words) };
  const drawn = words.startsWith("drawn.") ? unpackDrawing(words.slice("drawn.".length)) : null;
  return drawn === null ? undefined : { drawn };
}

function writeOff(off) {
  return off.map(({ layer, maps, to }) => `${layer}.${maps === "all" ? maps : maps.join("+")}.${to}`).join(",");
}

function readOff(words) {
  const found = [];
  for (const [, layer, maps, to] of words.matchAll(/([\w/]+)\.(all|\d+(?:\+\d+)*)\.(zero|mean)/g)) {
    found.push({ layer, maps: maps === "all" ? maps : maps.split("+").map(Number), to });
  }
  return found;
}

/**
 * Write what is shown as words for the address.
 * @param {import("./state.js").State} state
 * @returns {string} what follows the ``#``
 */
export function writeAddress(state) {
  const words = new URLSearchParams();
  const give = (name, value) => value !== null && value !== undefined && value !== "" && words.set(name, value);
  if (state.get("runs").length > 1) give("runs", state.get("order").join(","));
  give("image", writeImage(state.get("image")));
  give("layer", state.get("layer"));
  const value = state.get("value");
  if (value !== null) give("value", `${value.map},${value.row},${value.column}`);
  give("probability", state.get("probabilityOf"));
  give("off", writeOff(state.get("off")));
  const square = state.get("square");
  if (square !== null) give("square", `${square.top},${square.left},${square.side}`);
  give("epoch", state.get("epoch"));
  give("tool", state.get("tool"));
  give("language", state.get("language"));
  return words.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%2B", "+");
}

function numbers(words, howMany) {
  const found = (words ?? "").split(",");
  return found.length === howMany && found.every((word) => /^-?\d{1,6}$/.test(word)) ? found.map(Number) : null;
}

/**
 * Read the words of an address. What is missing or makes no sense is left out.
 * @param {string} hash
 * @returns {object} changes of the state
 */
export function readAddress(hash) {
  const words = new URLSearchParams(hash.replace(/^#/, "").replaceAll("+", "%2B"));
  const changes = {};
  const order = numbers(words.get("runs"), 2);
  if (order !== null && order.includes(0) && order.includes(1)) changes.order = order;
  const image = readImage(words.get("image") ?? "");
  if (image !== undefined) changes.image = image;
  if (words.has("layer")) changes.layer = words.get("layer");
  const value = numbers(words.get("value"), 3);
  if (value !== null) changes.value = { map: value[0], row: value[1], column: value[2] };
  const probability = numbers(words.get("probability"), 1);
  if (probability !== null) [changes.probabilityOf] = probability;
  if (words.has("off")) changes.off = readOff(words.get("off"));
  const square = numbers(words.get("square"), 3);
  if (square !== null) changes.square = { top: square[0], left: square[1], side: square[2] };
  const epoch = numbers(words.get("epoch"), 1);
  if (epoch !== null) [changes.epoch] = epoch;
  for (const name of ["tool", "language"]) if (words.has(name)) changes[name] = words.get(name);
  return changes;
}
