/** Tables that are sorted by a click on a heading, and a field that says which rows are shown. */

import { configurations, filterBy, state } from "./data.js";
import { fill, make } from "./elements.js";
import { key } from "./marks.js";

/** Give the main table a field to filter it, and its rows the colours of the charts. */
export function showFilter(section) {
    const field = make("input", {
        type: "search",
        placeholder: "words of a label or a setting",
        oninput: () => filterBy(field.value),
    });
    const count = make("output", { ariaLive: "polite" });
    const filter = make("label.choice", {}, "filter ", field);
    section.querySelector("h2").after(make("div.controls", {}, filter, count));
    const swatches = [...section.querySelectorAll("tbody tr")].map((row) => {
        const swatch = make("span.swatch");
        row.firstElementChild.prepend(swatch);
        return { swatch, configuration: configurations[row.dataset.configuration] };
    });
    const rows = [...document.querySelectorAll("tr[data-configuration]")];
    const draw = () => {
        const matching = new Set(state.get("matching"));
        const visible = new Set(state.get("visible"));
        for (const row of rows) row.hidden = !matching.has(configurations[row.dataset.configuration]);
        for (const { swatch, configuration } of swatches)
            fill(swatch, visible.has(configuration) && key(configuration));
        fill(count, `${matching.size} of ${configurations.length} shown`);
    };
    state.watch(["visible", "matching"], draw);
    draw();
}

/** Let the rows of a table be sorted by any of its columns. */
export function makeSortable(table) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
        const sort = make("button.sort", { type: "button", onclick: () => sortBy(table, column) });
        sort.append(...heading.childNodes);
        heading.append(sort);
    });
}

function sortBy(table, column) {
    const headings = [...table.tHead.rows[0].cells];
    const isAscending = headings[column].getAttribute("aria-sort") !== "ascending";
    for (const heading of headings) heading.removeAttribute("aria-sort");
    headings[column].setAttribute("aria-sort", isAscending ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: valueOf(row.cells[column]) }));
    rows.sort((one, other) => compareValues(one.value, other.value, isAscending ? 1 : -1));
    table.tBodies[0].append(...rows.map(({ row }) => row));
}

/** The number of a cell, or its text, or null if it is empty. */
function valueOf(cell) {
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
}

/** Numbers by value, text as people sort it, numbers before text; what is missing last in any case. */
function compareValues(one, other, sign) {
    if (one === null || other === null) return (one === null) - (other === null);
    if (typeof one === "number" && typeof other === "number") return sign * (one === other ? 0 : one - other);
    if (typeof one !== typeof other) return sign * (typeof one === "number" ? -1 : 1);
    return sign * one.localeCompare(other, "en", { numeric: true });
}
