/** Validation accuracy of the runs of a search against each of its settings. */

import { configurations, data, state } from "./data.js";
import { fill, make } from "./elements.js";
import { mark } from "./marks.js";
import { figure } from "./numbers.js";
import { Plot } from "./plot.js";
import { isSpread, linearScale, logScale, uprightScale } from "./scales.js";

const MOST_NAMES = 8; // beside each other below a chart

/** Put a chart for each setting into an element. */
export function showSearch(element) {
    const plots = data.search.map((setting) => ({
        setting,
        plot: new Plot(`Validation accuracy against ${setting.key}`, 260),
    }));
    fill(
        element,
        make(
            "div.charts",
            {},
            plots.map(({ plot }) => plot.element),
        ),
    );
    const draw = () => {
        for (const { setting, plot } of plots) plot.show(settingChart(setting));
    };
    state.watch(["visible"], draw);
    draw();
}

function settingChart({ key: name, values, accuracies, configurations: places }) {
    const isNumber = values.every((value) => typeof value === "number");
    const names = [...new Set(values)];
    const visible = new Set(state.get("visible").map(({ number }) => number));
    const points = values
        .map((value, at) => ({
            x: isNumber ? value : names.indexOf(value),
            y: accuracies[at],
            configuration: configurations[places[at]],
            words: () => `${name}=${isNumber ? figure(value) : value} · validation accuracy ${figure(accuracies[at])}`,
        }))
        .filter(({ configuration }) => visible.has(configuration.number));
    const isLog = isNumber && isSpread(values);
    const step = Math.ceil(names.length / MOST_NAMES);
    const beside = {
        place: (number) => (number + 0.5) / names.length,
        ticks: names
            .map((text, value) => ({ text: text.slice?.(0, 12), value }))
            .filter(({ value }) => value % step === 0),
    };
    return {
        x: isNumber ? (isLog ? logScale(values) : linearScale(values)) : beside,
        y: uprightScale(accuracies),
        xName: name.slice(0, 60) + (isLog ? " (log)" : ""),
        yName: "validation accuracy",
        series: points.map((point) => ({
            points: [point],
            draw: (x, y) => mark(point.configuration, x(point.x), y(point.y), 4),
        })),
    };
}
