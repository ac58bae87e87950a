/** The test images that one configuration gets right and another wrong. */

import { configurations, data, state } from "./data.js";
import { button, fill, make } from "./elements.js";

/** Put the choice of two configurations, and the images that they disagree on, into an element. */
export function showImages(element) {
    const tested = [...new Set(data.disagreements.map(([one]) => one))].sort((one, other) => one - other);
    if (tested.length < 2) {
        element.closest("section").hidden = true;
        return;
    }
    const first = choiceOf(tested, "right with", (number) => state.set({ pair: [number, state.get("pair")[1]] }));
    const second = choiceOf(tested, "wrong with", (number) => state.set({ pair: [state.get("pair")[0], number] }));
    const swap = button("swap", () => state.set({ pair: state.get("pair").toReversed() }));
    const note = make("p.note", { ariaLive: "polite" });
    const gallery = make("div.gallery");
    fill(element, make("div.controls", {}, first.label, second.label, swap), note, gallery);
    const draw = () => {
        const [one, other] = state.get("pair");
        first.select.value = String(one);
        second.select.value = String(other);
        const shown = imagesOf(one, other);
        const [, , total] = data.disagreements.find(([right, wrong]) => right === one && wrong === other) ?? [0, 0, 0];
        fill(note, sentence(one, other, total, shown.length));
        fill(
            gallery,
            shown.map((image) => cardOf(image, one, other)),
        );
    };
    state.watch(["pair"], draw);
    state.set({ pair: tested.slice(0, 2) });
    draw();
}

function choiceOf(numbers, text, onchoice) {
    const options = numbers.map((number) => make("option", { value: String(number) }, configurations[number].label));
    const select = make("select", { onchange: () => onchoice(Number(select.value)) }, options);
    return { select, label: make("label.choice", {}, `${text} `, select) };
}

/** The images with a picture that most runs of one configuration get right, and most runs of the other wrong. */
function imagesOf(one, other) {
    const gap = (image) => shareOf(image, one) - shareOf(image, other);
    return data.images
        .filter((image) => shareOf(image, one) > 0.5 && shareOf(image, other) < 0.5)
        .sort((first, second) => gap(second) - gap(first));
}

/** The share of a configuration's runs that get an image right; not a number if it was not tested on it. */
function shareOf({ label, predicted }, number) {
    const own = predicted[number];
    return own === undefined ? NaN : own.filter((each) => each === label).length / own.length;
}

function sentence(one, other, total, shown) {
    if (one === other) return "Choose two that differ.";
    const several = [one, other].some((number) => configurations[number].runs.length > 1);
    const images = total === 1 ? "1 test image" : `${total.toLocaleString("en-US")} test images`;
    const most = several ? " (each in most of its runs)" : "";
    const fact = `${configurations[one].label} gets ${images} right that ${configurations[other].label} gets wrong${most}.`;
    if (shown === total) return fact;
    if (shown > 0) return `${fact} ${shown.toLocaleString("en-US")} of them are shown.`;
    return `${fact} There are no pictures of them: cnn-test run=… adds them to a run of an earlier version.`;
}

/** A picture with its class, and what the other configuration took it for. */
function cardOf(image, one, other) {
    const name = nameOf(image, one);
    const wrong = mostFrequent(image.predicted[other].filter((each) => each !== image.label));
    const text = `${name(image.label)}, not ${name(wrong)}`;
    const kind = image.picture.startsWith("iVBOR") ? "png" : "jpeg";
    const picture = make("img", { src: `data:image/${kind};base64,${image.picture}`, alt: text });
    const details = [one, other].map((number) => {
        const own = image.predicted[number];
        const right = own.filter((each) => each === image.label).length;
        return `${configurations[number].label}: ${right} of ${own.length} right`;
    });
    return make("figure", { title: details.join("\n") }, picture, make("figcaption", {}, text));
}

/** The names of the classes, where a configuration knows them; their numbers otherwise. */
function nameOf(image, number) {
    const { classes } = configurations[number];
    return (label) => classes?.[label] ?? String(label);
}

function mostFrequent(values) {
    const count = (value) => values.filter((each) => each === value).length;
    return values.reduce((best, value) => (count(value) > count(best) ? value : best));
}
