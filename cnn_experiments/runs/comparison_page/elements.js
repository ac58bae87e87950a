/** Making elements of the page. Styles are classes; the content-security policy allows no others in the markup. */

/**
 * Make an element.
 * @param {string} tag with classes, as ``div.card.wide``
 * @param {object} properties of the element; ``aria…`` become attributes, ``on…`` listeners
 * @param {...(Node|string|null|Array)} children null and false are left out
 * @returns {HTMLElement}
 */
export function make(tag, properties = {}, ...children) {
    const [name, ...classes] = tag.split(".");
    const element = document.createElement(name);
    if (classes.length > 0) element.className = classes.join(" ");
    for (const [key, value] of Object.entries(properties)) give(element, key, value);
    fill(element, ...children);
    return element;
}

function give(element, key, value) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith("aria")) element.setAttribute(`aria-${key.slice(4).toLowerCase()}`, value);
    else if (key === "role" || key === "scope") element.setAttribute(key, value);
    else element[key] = value;
}

/** Make an element of a drawing. */
export function makeSvg(tag, attributes = {}, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children.flat(Infinity));
    return element;
}

/** Put other children in place of an element's own. */
export function fill(element, ...children) {
    element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== false));
}

/** Make a button with a text. */
export function button(label, onclick) {
    return make("button", { type: "button", onclick }, label);
}

/** Make a checkbox with a label. */
export function checkbox(label, checked, onchoice) {
    const box = make("input", { type: "checkbox", checked, onchange: () => onchoice(box.checked) });
    return make("label.choice", {}, box, label);
}

/** Make a choice of one of several options, all in sight. */
export function radios(legend, name, options, chosen, onchoice) {
    const choices = options.map(({ value, text, disabled = false }) => {
        const radio = make("input", { type: "radio", name, value, disabled, checked: value === chosen });
        radio.addEventListener("change", () => onchoice(value));
        return make("label.choice", {}, radio, text);
    });
    return make("fieldset.choices", {}, make("legend", {}, legend), choices);
}
