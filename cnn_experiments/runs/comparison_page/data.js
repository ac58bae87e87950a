/** What was measured, and which configurations are shown of it. */

import { State } from "./state.js";

export const data = JSON.parse(document.getElementById("data").textContent);
export const configurations = data.configurations.map((one, number) => ({
    ...one,
    number,
    runs: one.runs.map((run) => ({ ...run, configuration: number })),
    words: `${one.label} ${one.settings} ${data.common_settings}`.toLowerCase(),
}));

/**
 * ``matching``: the configurations that the filter lets through, ``visible``: those of them that are drawn, both the
 * best first. ``logLoss``, ``logError``: logarithmic scales. ``smoothing``: the weight of an exponential mean.
 * ``cost``: what accuracy is drawn against. ``reference``: the number of the configuration that confusion is compared
 * with, or null. ``pair``: the numbers of the two configurations whose mistakes are shown.
 */
export const state = new State({
    matching: [],
    visible: [],
    logLoss: false,
    logError: false,
    smoothing: 0,
    cost: null,
    reference: null,
    pair: [0, 1],
});

const choices = new Map(); // by number: whether its checkbox was ticked or cleared
let typed = [];

/** Let through the configurations whose label or settings hold all these words. */
export function filterBy(text) {
    typed = text.toLowerCase().split(/\s+/).filter(Boolean);
    settle();
}

/** Draw a configuration, or do not. */
export function choose(number, isDrawn) {
    choices.set(number, isDrawn);
    settle();
}

/** Draw the best of those that the filter lets through, and no others. */
export function chooseTheBest() {
    choices.clear();
    settle();
}

/** Draw none. */
export function chooseNone() {
    for (const { number } of configurations) choices.set(number, false);
    settle();
}

/** Find out what is shown; called once before anything is drawn. */
export function settle() {
    const matching = configurations.filter(({ words }) => typed.every((word) => words.includes(word)));
    const best = new Set(matching.slice(0, data.most_drawn));
    const visible = matching.filter((one) => choices.get(one.number) ?? best.has(one));
    giveStyles(visible);
    state.set({ matching, visible });
}

const styles = new Map(); // by number of configuration: a number for its colour and dashes

/** Colours and dashes stay with a configuration while it is drawn; those of others that are not are given away. */
function giveStyles(visible) {
    const kept = visible.filter(({ number }) => styles.has(number)).map(({ number }) => [number, styles.get(number)]);
    const used = new Set(kept.map(([, style]) => style));
    styles.clear();
    for (const [number, style] of kept) styles.set(number, style);
    let next = 0;
    for (const { number } of visible) {
        if (styles.has(number)) continue;
        while (used.has(next)) next += 1;
        used.add(next);
        styles.set(number, next);
    }
}

/** How many seeds a mean is of; if some runs share one, how many runs. */
export function howMany({ runs }) {
    return `${runs.length} ${new Set(runs.map(({ seed }) => seed)).size === runs.length ? "seeds" : "runs"}`;
}

/** The number of the colours and dashes of a configuration that is drawn. */
export function styleOf(configuration) {
    return styles.get(configuration.number);
}
