/** Parts that the arithmetic of every kind of layer has. */

import { make } from "./elements.js";
import { decimal } from "./numbers.js";
import { text } from "./texts.js";

/** A line of terms with the bias, and what they add up to. */
export function sum(terms, bias, result, firstName = null) {
  const total = terms.reduce((sum, one) => sum + one, 0) + bias;
  const parts = terms.map((term, at) => [
    at > 0 ? " + " : null,
    bracketed(term),
    firstName === null ? null : make("small", {}, ` (${firstName})`),
  ]);
  return make(
    "p.equation",
    { dataSum: total },
    parts,
    " + ",
    bracketed(bias),
    make("small", {}, ` (${text("arithmetic.bias")})`),
    " = ",
    make("strong", {}, decimal(result, 4)),
  );
}

/** The first line of a table: its headings. */
export function headings(titles) {
  const cells = titles.map((title) => make("th", {}, title));
  return make("thead", {}, make("tr", {}, cells));
}

export function labelled(label, table) {
  return make("figure.labelled", {}, table, make("figcaption", {}, label));
}

/** A number for a formula: those below 0 in brackets. */
export function bracketed(value) {
  return value < 0 ? `(${decimal(value, 4)})` : decimal(value, 4);
}

/** The server sends rectangles as lists: top, left, bottom, right. */
export function rectangle([top, left, bottom, right]) {
  return { top, left, bottom, right };
}
