/** The beginning: what is drawn in which element of the page. */

import { showConfusion } from "./confusion.js";
import { showCosts } from "./costs.js";
import { showCurves } from "./curves.js";
import { settle, state } from "./data.js";
import { showImages } from "./images.js";
import { showLegend } from "./legend.js";
import { showSearch } from "./search.js";
import { makeSortable, showFilter } from "./table.js";

const place = (id) => document.getElementById(id);

settle();
place("drawn").hidden = false;
for (const table of document.querySelectorAll("#configurations table, #classes table")) makeSortable(table);
showFilter(place("configurations"));
showLegend(place("legend"));
showCurves(place("curves"));
showCosts(place("costs"));
if (place("search") !== null) showSearch(place("search"));
showConfusion(place("confusion"));
showImages(place("images"));

// What scrolls must be reachable by keyboard, also in browsers that do not see to it themselves.
const scrolls = (area) => area.scrollWidth > area.clientWidth || area.scrollHeight > area.clientHeight;
const watcher = new ResizeObserver((entries) => {
    for (const { target } of entries) {
        if (scrolls(target)) target.tabIndex = 0;
        else target.removeAttribute("tabindex");
    }
});
function watchAreas() {
    watcher.disconnect();
    for (const area of document.querySelectorAll(".wide, .gallery")) watcher.observe(area);
}
watchAreas();
state.watch(["visible", "reference"], watchAreas); // the confusion matrices have been made anew
addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
});
document.documentElement.dataset.ready = "";
