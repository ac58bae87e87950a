/** Lines and points in the style of a configuration: six colours that the colour-blind can tell apart, four dashes. */

import { styleOf } from "./data.js";
import { makeSvg } from "./elements.js";

const COLOURS = 6;
const SHAPES = [
    (size) => `M${-size} 0A${size} ${size} 0 1 1 ${size} 0A${size} ${size} 0 1 1 ${-size} 0Z`,
    (size) => `M${-0.9 * size} ${-0.9 * size}H${0.9 * size}V${0.9 * size}H${-0.9 * size}Z`,
    (size) => `M0 ${-1.2 * size}L${1.15 * size} ${0.85 * size}H${-1.15 * size}Z`,
    (size) => `M0 ${-1.3 * size}L${1.3 * size} 0L0 ${1.3 * size}L${-1.3 * size} 0Z`,
];

/** The classes of its colour and its dashes. */
export function classesOf(configuration) {
    const style = styleOf(configuration);
    return `c${style % COLOURS} d${Math.floor(style / COLOURS) % SHAPES.length}`;
}

/** A point; its shape goes with the dashes. */
export function mark(configuration, left, top, size, more = "") {
    const shape = SHAPES[Math.floor(styleOf(configuration) / COLOURS) % SHAPES.length];
    const attributes = { class: `mark ${classesOf(configuration)} ${more}`, d: shape(size) };
    return makeSvg("path", { ...attributes, transform: `translate(${left.toFixed(1)} ${top.toFixed(1)})` });
}

/** A line through places in pixels; of a single one, a point. */
export function line(configuration, places, more = "") {
    if (places.length === 1) return mark(configuration, ...places[0], 3, more);
    return makeSvg("path", { class: `line ${classesOf(configuration)} ${more}`, d: through(places) });
}

/** The area between two lines through places in pixels. */
export function area(configuration, above, below) {
    return makeSvg("path", {
        class: `band ${classesOf(configuration)}`,
        d: `${through(above)}L${through(below.toReversed()).slice(1)}Z`,
    });
}

function through(places) {
    return places.map(([left, top], at) => `${at === 0 ? "M" : "L"}${left.toFixed(1)} ${top.toFixed(1)}`).join("");
}

/** A short line with a point, for legends and tables. */
export function key(configuration) {
    const size = { width: 30, height: 12, "aria-hidden": "true" };
    return makeSvg(
        "svg",
        { class: "key", ...size },
        line(configuration, [
            [0, 6],
            [30, 6],
        ]),
        mark(configuration, 15, 6, 3.5),
    );
}
