/** Confusion matrices: the counts, or how the shares differ from those of another configuration. */

import { configurations, state } from "./data.js";
import { fill, make } from "./elements.js";
import { key } from "./marks.js";
import { decimal } from "./numbers.js";

const MOST_CELLS = 12_000; // on the page at once
const STRONG = 0.8; // shades above this share are so dark that light text reads better

/** Put the matrices and the choice of a reference into an element. */
export function showConfusion(element) {
    const known = configurations.filter(({ confusion }) => confusion !== null);
    if (known.length === 0) {
        element.closest("section").hidden = true;
        return;
    }
    const select = make(
        "select",
        { onchange: () => state.set({ reference: select.value === "" ? null : Number(select.value) }) },
        make("option", { value: "" }, "numbers of test images"),
        known.map(({ number, label }) => make("option", { value: String(number) }, `difference from ${label}`)),
    );
    const note = make("p.note", { ariaLive: "polite" });
    const matrices = make("div.matrices");
    fill(element, make("div.controls", {}, make("label.choice", {}, "shown as ", select)), note, matrices);
    const draw = () => {
        const reference = configurations[state.get("reference")] ?? null;
        const { shown, left } = asManyAsFit(shownWith(reference));
        fill(
            matrices,
            shown.map((one) => matrixOf(one, reference)),
        );
        fill(
            note,
            reference === null
                ? "Test images of all seeds"
                : `Shares of each class in percent, less those of ${reference.label}`,
        );
        note.append(": a row for the true class, a column for the predicted one.");
        if (reference !== null) note.append(" Blue: more often than there. Orange: more rarely.");
        if (left > 0) note.append(` ${left} more would fill the page: hide others to see them.`);
    };
    state.watch(["visible", "reference"], draw);
    draw();
}

/** The visible configurations that have a matrix, and one of the same classes as the reference. */
function shownWith(reference) {
    return state.get("visible").filter(({ number, confusion, classes }) => {
        if (confusion === null) return false;
        return reference === null || (number !== reference.number && String(classes) === String(reference.classes));
    });
}

function asManyAsFit(candidates) {
    let cells = 0;
    const shown = candidates.filter(({ classes }) => (cells += classes.length ** 2) <= MOST_CELLS);
    return { shown, left: candidates.length - shown.length };
}

function matrixOf(configuration, reference) {
    const { confusion, classes } = configuration;
    const shares = sharesOf(confusion);
    const others = reference === null ? null : sharesOf(reference.confusion);
    const differences =
        others === null ? null : shares.map((row, at) => row.map((share, to) => share - others[at][to]));
    const largest = Math.max(0.01, ...(differences ?? []).flat().map(Math.abs));
    const rows = classes.map((name, at) =>
        make(
            "tr",
            {},
            make("th", { scope: "row" }, name),
            confusion[at].map((count, to) =>
                differences === null
                    ? shaded("more", shares[at][to], count.toLocaleString("en-US"))
                    : shaded(
                          differences[at][to] < 0 ? "less" : "more",
                          Math.abs(differences[at][to]) / largest,
                          points(differences[at][to]),
                      ),
            ),
        ),
    );
    const heading = make(
        "tr",
        {},
        make("td"),
        classes.map((name) => make("th", { scope: "col" }, name)),
    );
    return make(
        "figure",
        {},
        make("figcaption", {}, key(configuration), configuration.label),
        make("div.wide", {}, make("table", {}, make("thead", {}, heading), make("tbody", {}, rows))),
    );
}

/** The share of each predicted class in the images of each true one. */
function sharesOf(counts) {
    return counts.map((row) => {
        const total = row.reduce((sum, count) => sum + count, 0);
        return row.map((count) => (total === 0 ? 0 : count / total));
    });
}

/** A difference of shares in points of a hundred. */
function points(difference) {
    const text = decimal(100 * difference, 1);
    if (Number(text.replace("−", "-")) === 0) return "0";
    return difference > 0 ? `+${text}` : text;
}

function shaded(kind, share, text) {
    const cell = make(`td.${kind}${share > STRONG ? ".strong" : ""}`, {}, text);
    cell.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
    return cell;
}
