/** Test accuracy against what it costs, with the configurations that nobody cheaper outdoes. */

import { configurations, howMany, state } from "./data.js";
import { fill, make, makeSvg, radios } from "./elements.js";
import { key, mark } from "./marks.js";
import { duration, figure, inUnits } from "./numbers.js";
import { Plot } from "./plot.js";
import { errorScale, isSpread, linearScale, logScale, uprightScale } from "./scales.js";

const COSTS = {
    parameters: "parameters",
    multiply_adds: "multiply-adds per image",
    train_seconds: "seconds of training",
    training_operations: "floating-point operations of the training",
};

/** Put the chart and its controls into an element. */
export function showCosts(element) {
    const measured = (cost) => configurations.some(({ runs }) => meanOver(runs, cost) !== null);
    const options = Object.entries(COSTS).map(([value, text]) => ({ value, text, disabled: !measured(value) }));
    state.set({ cost: options.find(({ disabled }) => !disabled)?.value ?? "parameters" });
    const plot = new Plot("Test accuracy against cost", 340);
    const front = make("div.wide");
    fill(
        element,
        make(
            "div.controls",
            {},
            radios("cost", "cost", options, state.get("cost"), (cost) => state.set({ cost })),
        ),
        make("div.charts.one", {}, plot.element),
        front,
        make(
            "p.note",
            {},
            "Large points: means over seeds; small ones: runs. Ringed and joined by a line: the configurations that no ",
            "cheaper one outdoes (the Pareto front). Floating-point operations of the training = 3 × 2 × multiply-adds × ",
            "images seen: two for each multiply-add, once forwards and about twice as much backwards; images seen = ",
            "images/s × seconds of training.",
        ),
    );
    const draw = () => {
        const cost = state.get("cost");
        const means = meansOf(state.get("visible"), cost);
        const best = frontOf(means);
        plot.show(chartOf(means, best, cost));
        fill(front, means.length > 0 && frontTable(best, cost));
    };
    state.watch(["visible", "cost", "logError"], draw);
    draw();
}

/** The mean of a figure over runs; null if one lacks it. */
function meanOver(runs, name) {
    const values = runs.map((run) => run[name]).filter((value) => value !== null);
    return values.length === runs.length ? values.reduce((sum, value) => sum + value, 0) / runs.length : null;
}

function meansOf(shown, cost) {
    return shown
        .map((configuration) => ({
            configuration,
            x: meanOver(configuration.runs, cost),
            y: meanOver(configuration.runs, "accuracy"),
        }))
        .filter(({ x, y }) => x !== null && y !== null);
}

/** Those that none outdoes that costs no more, the cheapest first. */
export function frontOf(means) {
    const outdoes = (one, other) => one.x <= other.x && one.y >= other.y && (one.x < other.x || one.y > other.y);
    return means.filter((other) => !means.some((one) => outdoes(one, other))).sort((one, other) => one.x - other.x);
}

function chartOf(means, best, cost) {
    const runs = means.flatMap(({ configuration }) => configuration.runs);
    const costs = [...means.map(({ x }) => x), ...runs.map((run) => run[cost])];
    const accuracies = [...means.map(({ y }) => y), ...runs.map((run) => run.accuracy)];
    const isLog = isSpread(costs);
    const isError = state.get("logError");
    return {
        x: padded(isLog ? logScale(costs, inUnits) : linearScale(costs, { text: inUnits })),
        y: padded(isError ? errorScale(accuracies) : uprightScale(accuracies)),
        xName: COSTS[cost] + (isLog ? " (log)" : ""),
        yName: `test accuracy${isError ? " (log)" : ""}`,
        series: [
            ...means.map((mean) => seriesOfMean(mean, cost, best.includes(mean))),
            ...(best.length > 1 ? [{ points: [], draw: (x, y) => staircase(best, x, y) }] : []),
        ],
    };
}

/** A scale with some room at its ends. */
function padded({ place, ticks }) {
    return { ticks, place: (value) => 0.05 + 0.9 * place(value) };
}

/** The points of a configuration: its mean, and its runs. */
function seriesOfMean({ configuration, x, y }, cost, isBest) {
    const { runs } = configuration;
    const says = (who, across, up) =>
        `${configuration.label} · ${who} · ${amount(across, cost)} · test accuracy ${figure(up, 5)}`;
    const single = runs.length === 1;
    const who =
        (single ? `seed ${runs[0].seed ?? "?"}` : `mean of ${howMany(configuration)}`) +
        (isBest ? " · on the front" : "");
    const own = single ? [] : runs.map((run) => ({ x: run[cost], y: run.accuracy, seed: run.seed ?? "?" }));
    return {
        points: [
            { x, y, words: () => says(who, x, y) },
            ...own.map((run) => ({ ...run, words: () => says(`seed ${run.seed}`, run.x, run.y) })),
        ],
        draw: (left, top) => [
            own.map((run) => mark(configuration, left(run.x), top(run.y), 2.5, "faint")),
            isBest ? makeSvg("circle", { class: "ring", cx: left(x), cy: top(y), r: 10 }) : [],
            mark(configuration, left(x), top(y), 5),
        ],
    };
}

/** The front: what is to be had for each cost. */
function staircase(best, x, y) {
    const corners = best.map((mean, at) => `${at === 0 ? "M" : "H"}${x(mean.x)}${at === 0 ? " " : "V"}${y(mean.y)}`);
    return makeSvg("path", { class: "front", d: corners.join("") });
}

function frontTable(best, cost) {
    const rows = best.map(({ configuration, x, y }) =>
        make(
            "tr",
            {},
            make("th", { scope: "row" }, key(configuration), configuration.label),
            make("td", {}, amount(x, cost)),
            make("td", {}, figure(y, 4)),
        ),
    );
    const headings = ["no cheaper one is better", COSTS[cost], "test accuracy"];
    return make(
        "table.front_table",
        {},
        make(
            "thead",
            {},
            make(
                "tr",
                {},
                headings.map((text) => make("th", { scope: "col" }, text)),
            ),
        ),
        make("tbody", {}, rows),
    );
}

function amount(value, cost) {
    return cost === "train_seconds" ? duration(value) : inUnits(value);
}
