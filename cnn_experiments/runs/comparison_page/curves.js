/** Curves over epochs and over seconds: a line for each run, or mean and range where there are three or more. */

import { configurations, howMany, state } from "./data.js";
import { checkbox, fill, make } from "./elements.js";
import { area, line } from "./marks.js";
import { duration, figure, unitOfTime } from "./numbers.js";
import { Plot } from "./plot.js";
import { errorScale, isSpread, linearScale, logScale, uprightScale } from "./scales.js";

const FEWEST_RUNS = 3; // of which a mean is drawn
const CHARTS = [
    { column: "val/accuracy", over: "epoch", title: "Validation accuracy by epoch" },
    { column: "val/accuracy", over: "seconds", title: "Validation accuracy by seconds of training" },
    { column: "train/loss", over: "epoch", title: "Training loss by epoch" },
    { column: "val/loss", over: "epoch", title: "Validation loss by epoch" },
];

/** Put the charts and their controls into an element. */
export function showCurves(element) {
    const losses = configurations.flatMap(({ runs }) => runs.flatMap((run) => valuesOf(run, "train/loss")));
    state.set({ logLoss: isSpread(losses) });
    const weight = make("output", {}, "none");
    const slider = make("input", {
        type: "range",
        min: 0,
        max: 0.95,
        step: 0.05,
        oninput: () => {
            fill(weight, slider.valueAsNumber === 0 ? "none" : `weight ${slider.valueAsNumber.toFixed(2)}`);
            state.set({ smoothing: slider.valueAsNumber });
        },
    });
    slider.value = 0;
    const plots = CHARTS.map((chart) => ({ ...chart, plot: new Plot(chart.title) }));
    fill(
        element,
        make(
            "div.controls",
            {},
            checkbox("logarithmic loss", state.get("logLoss"), (logLoss) => state.set({ logLoss })),
            checkbox("logarithmic error (of accuracies)", false, (logError) => state.set({ logError })),
            make("label.choice", {}, "smoothing ", slider, weight),
        ),
        make(
            "div.charts",
            {},
            plots.map(({ plot }) => plot.element),
        ),
        make(
            "p.note",
            {},
            `Of ${FEWEST_RUNS} or more runs of a configuration, the mean is drawn, and a band from their smallest to their `,
            "largest value, as far as all of them go. Smoothing is an exponential mean: with a weight w, a point k points ",
            "earlier counts w to the power k times as much.",
        ),
    );
    const draw = () => {
        for (const { column, over, plot } of plots) plot.show(contentOf(column, over));
    };
    state.watch(["visible", "logLoss", "logError", "smoothing"], draw);
    draw();
}

/** What a chart shows now. */
function contentOf(column, over) {
    const series = state.get("visible").flatMap((one) => seriesOf(one, column, over));
    const points = series.flatMap((one) => one.points);
    const across = points.map(({ x }) => x);
    const values = points.flatMap(({ y, low = y, high = y }) => [y, low, high]);
    const isAccuracy = column === "val/accuracy";
    const isLog = state.get(isAccuracy ? "logError" : "logLoss");
    const time = unitOfTime(across.reduce((longest, x) => Math.max(longest, x), 0));
    const logarithmic = isAccuracy ? errorScale : logScale;
    return {
        x: over === "epoch" ? linearScale(across, { whole: true }) : linearScale([0, ...across], { unit: time.size }),
        y: isLog ? logarithmic(values) : uprightScale(values),
        xName: over === "epoch" ? "epoch" : `training (${time.name})`,
        yName: column.replace("val/", "validation ").replace("train/", "training ") + (isLog ? " (log)" : ""),
        series,
    };
}

/** The lines of a configuration. */
function seriesOf(configuration, column, over) {
    const curves = configuration.runs
        .map((run) => curveOf(run, column, over))
        .filter(({ points }) => points.length > 0);
    const mean = curves.length >= FEWEST_RUNS && curves.length === configuration.runs.length ? meanOf(curves) : [];
    if (mean.length > 1) return [bandOf(configuration, mean)];
    return curves.map(({ run, points }) => ({
        points: points.map((point) => ({ ...point, words: () => wordsOf(configuration, run, point, over) })),
        draw: (x, y) => line(configuration, placesOf(points, x, y)),
    }));
}

/** A curve of a run, smoothed: ``y`` is drawn, ``value`` was measured. */
export function curveOf(run, column, over) {
    const weight = state.get("smoothing");
    const points = [];
    let [sum, weights] = [0, 0];
    run.epoch.forEach((epoch, at) => {
        const value = run[column]?.[at] ?? null;
        if (value === null) return;
        [sum, weights] = [weight * sum + value, weight * weights + 1];
        points.push({ x: run[over][at], y: sum / weights, epoch, value });
    });
    return { run, points };
}

function valuesOf(run, column) {
    return (run[column] ?? []).filter((value) => value !== null);
}

/** Mean, smallest and largest value of several curves, at the epochs that all of them have. */
function meanOf(curves) {
    const byEpoch = new Map();
    for (const { points } of curves) {
        for (const point of points) {
            if (!byEpoch.has(point.epoch)) byEpoch.set(point.epoch, []);
            byEpoch.get(point.epoch).push(point);
        }
    }
    const of = (points, name) => points.reduce((sum, point) => sum + point[name], 0) / points.length;
    return [...byEpoch]
        .filter(([, points]) => points.length === curves.length)
        .map(([epoch, points]) => {
            const values = points.map(({ y }) => y);
            const range = { low: Math.min(...values), high: Math.max(...values) };
            return { epoch, x: of(points, "x"), y: of(points, "y"), ...range };
        });
}

function bandOf(configuration, mean) {
    const words = ({ epoch, y, low, high }) =>
        `${configuration.label} · mean of ${howMany(configuration)} · epoch ${epoch} · ${figure(y)} (${figure(low)} to ${figure(high)})`;
    const ends = (x, y, end) =>
        placesOf(
            mean.map((point) => ({ x: point.x, y: point[end] })),
            x,
            y,
        );
    return {
        points: mean.map((point) => ({ ...point, words: () => words(point) })),
        draw: (x, y) => [
            area(configuration, ends(x, y, "high"), ends(x, y, "low")),
            line(configuration, placesOf(mean, x, y), "mean"),
        ],
    };
}

/** Places in pixels of those points that have one. */
function placesOf(points, x, y) {
    return points.map((point) => [x(point.x), y(point.y)]).filter((place) => place.every(Number.isFinite));
}

function wordsOf(configuration, run, { x, y, epoch, value }, over) {
    const when = over === "epoch" ? `epoch ${epoch}` : `epoch ${epoch}, ${duration(x)}`;
    const smoothed = state.get("smoothing") > 0 ? `, smoothed ${figure(y)}` : "";
    return `${configuration.label} · seed ${run.seed ?? "?"} · ${when} · ${figure(value)}${smoothed}`;
}
