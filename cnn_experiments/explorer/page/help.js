/** What there is on the page, in a few sentences. */

import { button, fill, make } from "./elements.js";
import { text } from "./texts.js";

const TOPICS = ["image", "answer", "strip", "maps", "arithmetic", "tools", "keys", "address", "privacy"];

/** Open the help. */
export function openHelp(dialog) {
  fill(
    dialog,
    make("h2", {}, text("help.title")),
    make(
      "dl",
      {},
      TOPICS.map((topic) => [make("dt", {}, text(`help.${topic}`)), make("dd", {}, text(`help.${topic}_words`))]),
    ),
    button(text("help.close"), () => dialog.close(), { className: "main" }),
  );
  dialog.showModal();
}
