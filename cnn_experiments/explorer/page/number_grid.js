/** Numbers in rows and columns, each on its colour. */

import { colourOf, scaleFor, rangeOf, wantsDarkText } from "./colours.js";
import { make, MOVES } from "./elements.js";
import { decimal } from "./numbers.js";

const MOST_COLUMNS_WITH_NUMBERS = 7;

/** One scale for all numbers of some grids. */
export function scaleOf(...grids) {
  return scaleFor(...rangeOf(grids.flat(2).filter((value) => value !== null)));
}

/**
 * A table of numbers. Where cells can be picked, one is reached with the Tab key, the others with the arrow keys.
 * @param {(number|null)[][]} grid rows; null is padding
 * @param {object} scale of the colours
 * @param {object} options ``label`` for screen readers; ``numbers``, whether to write them; ``marked``, a [row, column];
 *   ``titles``, what to say of each cell; ``onpick``, called with row and column
 */
export function numberGrid(
  grid,
  scale,
  { label, numbers = grid[0].length <= MOST_COLUMNS_WITH_NUMBERS, marked, titles, onpick } = {},
) {
  const cell = (value, row, column) => {
    const properties = { dataPlace: `${row},${column}` };
    if (titles !== undefined) properties.title = titles(row, column);
    if (onpick !== undefined && value !== null) properties.onclick = () => onpick(row, column);
    const td = make("td", properties, numbers ? (value === null ? "0" : decimal(value, 2)) : "");
    if (value === null) td.classList.add("padding");
    else {
      td.style.backgroundColor = colourOf(value, scale);
      td.style.color = wantsDarkText(value, scale) ? "#111" : "#fff";
    }
    if (marked !== undefined && marked[0] === row && marked[1] === column) td.classList.add("marked");
    return td;
  };
  const table = make(
    "table.numbers",
    { ariaLabel: label },
    make(
      "tbody",
      {},
      grid.map((line, row) =>
        make(
          "tr",
          {},
          line.map((value, column) => cell(value, row, column)),
        ),
      ),
    ),
  );
  table.classList.toggle("with_numbers", numbers);
  table.classList.toggle("clickable", onpick !== undefined);
  if (onpick !== undefined) makeWalkable(table);
  return table;
}

function makeWalkable(table) {
  table.setAttribute("role", "grid");
  for (const cell of table.querySelectorAll("td")) cell.tabIndex = -1;
  const first = table.querySelector("td.marked") ?? table.querySelector("td:not(.padding)");
  if (first !== null) first.tabIndex = 0;
  table.addEventListener("focusin", (event) => {
    for (const cell of table.querySelectorAll("td")) cell.tabIndex = cell === event.target ? 0 : -1;
  });
  table.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const cell = event.target;
    if (event.key === "Enter" || event.key === " ") cell.click();
    else if (event.key in MOVES) {
      const [down, across] = MOVES[event.key];
      table.rows[cell.parentNode.rowIndex + down]?.cells[cell.cellIndex + across]?.focus();
    } else return;
    event.preventDefault();
  });
}
