/** The present situation as one file that opens without a server: pictures, texts and numbers, no scripts. */

import { text } from "./texts.js";

const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/** The page as it is shown now, as the text of an HTML file. */
async function savedPage() {
  const style = await (await fetch("/page/style.css")).text();
  const page = document.documentElement.cloneNode(true);
  replaceCanvases(document.documentElement, page);
  keepChoices(document.documentElement, page);
  for (const element of page.querySelectorAll("script, link, dialog, input[type=file], [data-unsaved]"))
    element.remove();
  for (const element of page.querySelectorAll("button, input, select")) element.disabled = true;
  for (const element of page.querySelectorAll("[tabindex]")) element.removeAttribute("tabindex");
  page.classList.add("saved");
  const head = page.querySelector("head");
  head.prepend(meta({ charset: "utf-8" }), meta({ "http-equiv": "Content-Security-Policy", content: POLICY }));
  const styles = document.createElement("style");
  styles.textContent = style;
  head.append(styles);
  const note = document.createElement("p");
  note.className = "saved_note";
  note.textContent = text("save.note", { date: new Date().toLocaleString(document.documentElement.lang) });
  page.querySelector("header").after(note);
  return `<!doctype html>\n${page.outerHTML}\n`;
}

/** Hand the page to the browser as a file to keep. */
export async function savePage(name) {
  const content = await savedPage();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "text/html" }));
  link.download = `${name.replace(/[^\w-]+/g, "_").slice(0, 60)}.html`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function replaceCanvases(original, copy) {
  const copies = [...copy.querySelectorAll("canvas")];
  [...original.querySelectorAll("canvas")].forEach((canvas, at) => {
    const image = document.createElement("img");
    image.className = canvas.className;
    image.hidden = canvas.hidden;
    image.style.cssText = canvas.style.cssText; // as an attribute, the content-security policy would refuse it
    if (canvas.width > 0 && canvas.height > 0) image.src = canvas.toDataURL();
    image.alt = canvas.getAttribute("aria-label") ?? "";
    copies[at].replaceWith(image);
  });
}

/** What was typed or chosen is no attribute yet, and a copy has attributes alone. */
function keepChoices(original, copy) {
  const copies = [...copy.querySelectorAll("input, select")];
  [...original.querySelectorAll("input, select")].forEach((element, at) => {
    if (element.tagName === "SELECT") copies[at].options[element.selectedIndex]?.setAttribute("selected", "");
    else if (element.type === "radio") copies[at].toggleAttribute("checked", element.checked);
    else if (element.type !== "file") copies[at].setAttribute("value", element.value);
  });
}

function meta(attributes) {
  const element = document.createElement("meta");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
