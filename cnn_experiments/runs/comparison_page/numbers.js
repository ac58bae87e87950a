/** Numbers as people read them. */

const MINUS = "−";
const UNITS = [
    [1e18, "E"],
    [1e15, "P"],
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
];

/** A number with so many digits after the point and a true minus sign. */
export function decimal(value, digits) {
    const text = Math.abs(value).toFixed(digits);
    return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

/** A number with at most so many digits that mean something: 0.0123, 45.6, 1.2e−5. */
export function figure(value, digits = 4) {
    const rounded = Number(value.toPrecision(digits));
    const size = Math.abs(rounded);
    const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? rounded.toExponential() : String(rounded);
    return text.replace("e+", "e").replaceAll("-", MINUS);
}

/** A large number in short: 415.7 k, 1.58 G. */
export function inUnits(number, digits = 3) {
    const [size, unit] = UNITS.find(([smallest]) => Math.abs(number) >= smallest) ?? [1, ""];
    return unit === "" ? figure(number, digits) : `${figure(number / size, digits)} ${unit}`;
}

/** Seconds in a unit that suits the longest of them. */
export function unitOfTime(longest) {
    if (longest < 180) return { size: 1, name: "s" };
    return longest < 7200 ? { size: 60, name: "min" } : { size: 3600, name: "h" };
}

/** Seconds in a readable unit: 45 s, 12 min, 3.4 h. */
export function duration(seconds) {
    const { size, name } = unitOfTime(seconds);
    return `${figure(seconds / size, 3)} ${name}`;
}
