/** The page's texts in English and Korean. */

export const LANGUAGES = { en: "English", ko: "한국어" };

const loaded = {};
let current = {};

/** Fetch the texts of a language and use them from now on. */
export async function useLanguage(language) {
  if (loaded[language] === undefined) {
    const response = await fetch(`/page/texts/${language}.json`);
    loaded[language] = await response.json();
  }
  current = loaded[language];
  document.documentElement.lang = language;
}

/** The language that the person's browser asks for, if there are texts in it. */
export function preferredLanguage() {
  return navigator.languages.map((language) => language.slice(0, 2)).find((language) => language in LANGUAGES) ?? "en";
}

/**
 * A text with values in place of its ``{names}``.
 * @param {string} key
 * @param {object} values
 */
export function text(key, values = {}) {
  const found = current[key] ?? key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** The first of some texts that there is. */
export function firstText(keys, values = {}) {
  return text(keys.find((key) => key in current) ?? keys[0], values);
}

/** Write the texts that stand in the markup: ``data-text`` for content, ``data-label`` for what is read aloud. */
export function writeTexts(root = document) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
    if (element.tagName === "BUTTON") element.title = text(element.dataset.label);
  }
}

/** A kind of layer as part of a key: ``max_pooling`` for "max pooling". */
export function kindKey(kind) {
  return kind
    .replace(/ in \d+ groups|,? training only/g, "")
    .trim()
    .replace(/[ -]/g, "_")
    .toLowerCase();
}

/** A kind of layer, or an activation, in words; its own name where there are none. */
export function kindText(kind) {
  const key = `kind.${kindKey(kind)}`;
  return key in current ? current[key] : kind;
}
