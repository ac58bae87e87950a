/** Making elements of the page. Styles are classes; the content-security policy allows no others in the markup. */

/**
 * Make an element.
 * @param {string} tag with classes, as ``div.card.wide``
 * @param {object} properties of the element; ``aria…`` and ``data…`` become attributes, ``on…`` listeners
 * @param {...(Node|string|null|undefined|Array)} children
 * @returns {HTMLElement}
 */
export function make(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length > 0) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) give(element, key, value);
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

function give(element, key, value) {
  if (value === undefined) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else if (key.startsWith("aria") && key !== "aria") element.setAttribute(`aria-${key.slice(4).toLowerCase()}`, value);
  else if (key.startsWith("data") && key !== "data") element.dataset[key[4].toLowerCase() + key.slice(5)] = value;
  else if (key === "role" || key === "for") element.setAttribute(key, value);
  else element[key] = value;
}

/** Make an element of a drawing. */
export function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Rows and columns that an arrow key moves by. */
export const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const FOCUSABLE = "button:enabled, input:enabled, select:enabled, [tabindex]";

/** Put other children in place of an element's own. The focus of the keyboard stays in its place. */
export function fill(element, ...children) {
  const focused = document.activeElement;
  const at = element.contains(focused) ? [...element.querySelectorAll(FOCUSABLE)].indexOf(focused) : -1;
  element.replaceChildren(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  if (at >= 0) queueMicrotask(() => focusAgain(element, focused, at)); // once all that belongs to it has been put in
}

/** Focus what had the focus, or what came in its stead: the element of the same id, or else the one that is as far on. */
function focusAgain(element, focused, at) {
  if (document.activeElement !== document.body) return;
  const all = [...element.querySelectorAll(FOCUSABLE)];
  const same = focused.isConnected ? focused : all.find(({ id }) => id !== "" && id === focused.id);
  (same ?? all[at] ?? all.at(-1))?.focus({ preventScroll: true });
}

/** Make a button with a text. */
export function button(label, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, label);
}

/** Make a choice of several options as a labelled list. */
export function selection(label, options, chosen, onchoice) {
  const select = make("select", { onchange: () => onchoice(select.value) });
  for (const [value, text] of options) select.append(make("option", { value, selected: value === chosen }, text));
  return make("label.choice", {}, make("span", {}, label), select);
}

/** Make a slider with a label and its number beside it. */
export function slider(label, { minimum, maximum, step = 1, value, shown = String, oninput }) {
  const number = make("output", {}, shown(value));
  const range = make("input", {
    type: "range",
    min: minimum,
    max: maximum,
    step,
    ariaLabel: label,
    oninput: () => {
      number.textContent = shown(range.valueAsNumber);
      oninput(range.valueAsNumber);
    },
  });
  range.value = value;
  return make("label.choice", {}, make("span", {}, label), range, number);
}

/** A bar of progress with a button that stops. */
export function progressBar(label, stopText, onstop) {
  const bar = make("progress", { max: 1, value: 0, ariaLabel: label });
  const text = make("span.number");
  const element = make("div.progress", { hidden: true }, bar, text, button(stopText, onstop));
  return {
    element,
    show(done, total) {
      element.hidden = false;
      bar.max = total;
      bar.value = done;
      text.textContent = `${done.toLocaleString()} / ${total.toLocaleString()}`;
    },
    hide() {
      element.hidden = true;
    },
  };
}
