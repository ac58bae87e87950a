/** Scales: where a value stands on an axis, as a share of its length, and which values are written on it. */

import { figure } from "./numbers.js";

const TICKS = 5; // about, on an axis that runs across
const UPWARDS = 8;

/** The smallest and the largest of some values; of none, 0 and 1. */
export function rangeOf(values) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
        if (value < low) low = value;
        if (value > high) high = value;
    }
    return low > high ? [0, 1] : [low, high];
}

/** Whether values are positive and so far apart that a logarithmic scale suits them better. */
export function isSpread(values) {
    const [low, high] = rangeOf(values);
    return low > 0 && high > 10 * low;
}

/**
 * Equal distances for equal differences.
 * @param {number[]} values that must find room
 * @param {object} options ``whole``: only whole numbers are written; ``unit``: values are written as multiples of it;
 *   ``text``: how; ``wanted``: about how many
 */
export function linearScale(values, { whole = false, unit = 1, text = figure, wanted = TICKS } = {}) {
    const [low, high] = widened(...rangeOf(values));
    const rough = (high - low) / unit / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    let step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
    if (whole) step = Math.max(1, Math.round(step));
    const ticks = [];
    for (let number = Math.ceil(low / unit / step - 1e-9); number * step * unit <= high * (1 + 1e-12); number += 1) {
        ticks.push({ value: number * step * unit, text: text(Number((number * step).toPrecision(12))) });
        if (ticks.length > 2 * wanted + 2) break;
    }
    return { place: (value) => (value - low) / (high - low), ticks };
}

/** Equal distances for equal differences on an axis that runs upwards, where there is room for more numbers. */
export function uprightScale(values) {
    return linearScale(values, { wanted: UPWARDS });
}

/** A range that is not empty. */
function widened(low, high) {
    if (high > low) return [low, high];
    const margin = Math.abs(low) * 0.1 || 0.5;
    return [low - margin, high + margin];
}

/** Equal distances for equal ratios; values that are not above 0 have no place. */
export function logScale(values, text = figure) {
    const positive = values.filter((value) => value > 0);
    const [low, high] = rangeOf(positive.map(Math.log10));
    const [first, last] = high > low ? [low, high] : [low - 0.5, high + 0.5];
    const place = (value) => (value > 0 ? (Math.log10(value) - first) / (last - first) : NaN);
    const round = powers(first, last);
    if (round.length < 2 && positive.length > 0) return { place, ticks: linearScale(positive, { text }).ticks };
    return { place, ticks: round.map((value) => ({ value, text: text(value) })) };
}

/** Accuracies by their distance from 1: as much room from 0.9 to 0.99 as from 0.99 to 0.999. All right is at the top. */
export function errorScale(accuracies) {
    const errors = accuracies.map((accuracy) => 1 - accuracy).filter((error) => error > 1e-12);
    const smallest = errors.length > 0 ? rangeOf(errors)[0] : 0.01;
    const error = (accuracy) => Math.max(1 - accuracy, smallest / 2);
    const { place, ticks } = logScale(accuracies.map(error));
    return {
        place: (accuracy) => 1 - place(error(accuracy)),
        ticks: ticks.map(({ value }) => ({ value: 1 - value, text: figure(1 - value, 6) })),
    };
}

/** Powers of ten between two exponents; of few, also multiples of these. */
function powers(first, last) {
    const factors = last - first < 1.2 ? [1, 2, 3, 5, 7] : last - first < 2.5 ? [1, 2, 5] : [1];
    const every = Math.ceil((last - first) / 6);
    const found = [];
    for (let power = Math.floor(first); power <= last; power += 1) {
        if (factors.length === 1 && power % every !== 0) continue;
        for (const factor of factors) {
            const exponent = power + Math.log10(factor);
            if (exponent >= first - 1e-9 && exponent <= last + 1e-9) found.push(factor * 10 ** power);
        }
    }
    return found;
}
