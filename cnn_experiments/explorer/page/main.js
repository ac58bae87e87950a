/** The page: connects, reads the address, and puts the views in place. */

import { readAddress, writeAddress } from "./address.js";
import { ArithmeticView } from "./arithmetic.js";
import { button, fill, make } from "./elements.js";
import { openHelp } from "./help.js";
import { ImageChoice } from "./image_choice.js";
import { Likes } from "./likes.js";
import { Maps } from "./maps.js";
import { NetworkInput } from "./network_input.js";
import { Probabilities, runMark } from "./probabilities.js";
import { Questions, hasValue, layerOf } from "./questions.js";
import { savePage } from "./saved_page.js";
import { Connection } from "./socket.js";
import { State } from "./state.js";
import { Strip } from "./strip.js";
import { SwitchOff } from "./switch_off.js";
import { TaskList } from "./task_list.js";
import { LANGUAGES, preferredLanguage, text, useLanguage, writeTexts } from "./texts.js";
import { Time } from "./time.js";
import { TwoRuns } from "./two_runs.js";
import { WhereItLooks } from "./where_it_looks.js";

const TOOLS = { tasks: TaskList, off: SwitchOff, looks: WhereItLooks, likes: Likes, runs: TwoRuns, time: Time };
const WIDE_TOOLS = ["runs"]; // which stand in the middle of a wide screen, where there is room for them
const WIDE = matchMedia("(min-width: 1200px)");
const SHOWN = ["image", "layer", "value", "probabilityOf", "off", "square", "epoch", "tool", "language", "order"];

const FARTHEST = 10_000; // pixels of a square from the image's corner

const place = (name) => document.getElementById(name);

/** A value that the browser kept, if it keeps any. */
function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // a browser that keeps nothing
  }
}

function useTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

function preferredTheme() {
  return kept("cnn-explore theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

/** The situation that is shown when the address says nothing. */
function beginning(runs) {
  const [run] = runs;
  const wrong = run.tests.right[0] ?? run.tests.wrong[0];
  const convolution =
    run.layers.find(({ parent, kind }) => parent === null && kind.startsWith("convolution")) ?? run.layers[0];
  return {
    order: runs.map((_, index) => index),
    image: wrong === undefined ? { drawn: new Uint8Array(28 * 28) } : { test: wrong },
    layer: convolution.name,
  };
}

/** Whether the server takes a square. */
function isSquare({ top, left, side }) {
  return side > 0 && [top, left, side].every((number) => Math.abs(number) <= FARTHEST);
}

/** What of an address makes sense for these runs. */
function sensible(changes, runs, first) {
  const { layers, tests, epochs, classes } = runs[(changes.order ?? first.order)[0]];
  const layer = layers.find(({ name }) => name === (changes.layer ?? first.layer));
  if (layer === undefined) {
    delete changes.layer;
    delete changes.value;
  } else if (changes.value != null && !hasValue(runs[(changes.order ?? first.order)[0]], layer.name, changes.value))
    delete changes.value;
  if (changes.image?.test >= tests.count) delete changes.image;
  if (changes.image?.drawn !== undefined && !runs[0].drawable) delete changes.image;
  if (changes.probabilityOf != null && classes[changes.probabilityOf] === undefined) delete changes.probabilityOf;
  if (changes.square != null && !isSquare(changes.square)) delete changes.square;
  if (changes.epoch != null && !epochs.includes(changes.epoch)) delete changes.epoch;
  if (!Object.hasOwn(TOOLS, changes.tool)) delete changes.tool;
  if (!Object.hasOwn(LANGUAGES, changes.language)) delete changes.language;
  changes.off = (changes.off ?? []).filter(({ layer: name, maps }) => {
    const found = layers.find((one) => one.name === name);
    return found !== undefined && (maps === "all" || maps.every((map) => map < found.shape[0]));
  });
  return changes;
}

class Page {
  constructor(connection, answer) {
    const first = beginning(answer.runs);
    this.state = new State({
      runs: answer.runs,
      differences: answer.differences,
      looks: {},
      shown: null,
      fields: null,
      hover: null,
      explanation: null,
      value: null,
      probabilityOf: null,
      off: [],
      offTo: "zero",
      square: null,
      squareSide: null,
      epoch: null,
      tool: "tasks",
      sort: "index",
      unfolded: [],
      moving: false,
      message: null,
      language: preferredLanguage(),
      ...first,
      ...sensible(readAddress(location.hash), answer.runs, first),
    });
    const { state } = this;
    this.first = first;
    this.questions = new Questions(state, connection);
    this.views = [
      new ImageChoice(place("image"), state, this.questions),
      new NetworkInput(place("input"), state),
      new Probabilities(place("answer"), state),
      new Strip(place("strip"), state),
      new Maps(place("layer"), state),
      new ArithmeticView(place("arithmetic"), state),
    ];
    this.panels = Object.fromEntries(
      Object.keys(TOOLS).map((tool) => [
        tool,
        make("div.panel", { id: `panel_${tool}`, role: "tabpanel", tabIndex: 0 }),
      ]),
    );
    this.tools = Object.fromEntries(
      Object.entries(TOOLS).map(([tool, View]) => [tool, new View(this.panels[tool], state, this.questions)]),
    );
    state.watch(["language"], () => this.speak());
    state.watch(["tool"], () => this.showTool());
    state.watch(["order"], () => this.showRuns());
    state.watch(["message"], () => this.showMessage());
    state.watch(SHOWN, () => this.remember());
    WIDE.addEventListener("change", () => this.showTool());
    this.address = location.hash; // as it was written or followed last
    window.addEventListener("hashchange", () => this.follow());
  }

  /** Put everything on the page in the chosen language. */
  async speak() {
    await useLanguage(this.state.get("language"));
    document.title = `cnn-explore · ${this.state.get("runs")[0].title}`;
    writeTexts();
    this.showMenu();
    this.showRuns();
    this.showTabs();
    for (const view of [...this.views, ...Object.values(this.tools)]) view.render();
    this.showTool();
  }

  showMenu() {
    const { state } = this;
    const language = state.get("language");
    const dark = document.documentElement.dataset.theme === "dark";
    const label = (name, symbol, onclick) =>
      button(symbol, onclick, {
        ariaLabel: text(`menu.${name}`),
        title: text(`menu.${name}`),
        id: `menu_${name}`,
      });
    fill(
      place("menu"),
      make(
        "span.buttons.languages",
        { role: "group", ariaLabel: text("menu.language") },
        Object.entries(LANGUAGES).map(([code, name]) =>
          button(name, () => state.set({ language: code }), {
            ariaPressed: String(code === language),
            lang: code,
            id: `language_${code}`,
          }),
        ),
      ),
      label("theme", dark ? "☀" : "☾", () => {
        const theme = dark ? "light" : "dark";
        keep("cnn-explore theme", theme);
        useTheme(theme);
        this.showMenu();
      }),
      label("save", "⤓", () => savePage(`cnn-explore_${state.get("runs")[0].title}`)),
      label("help", "?", () => openHelp(place("help"))),
    );
  }

  showRuns() {
    const { runs, order } = this.state.values;
    fill(
      place("runs"),
      order.map((run, at) => make("span.run", {}, order.length > 1 ? runMark(at) : null, ` ${runs[run].title}`)),
    );
  }

  showTabs() {
    const keys = Object.keys(TOOLS);
    this.tabs = keys.map((tool) =>
      button(text(`tools.${tool}`), () => this.state.set({ tool }), {
        role: "tab",
        id: `tab_${tool}`,
        ariaControls: `panel_${tool}`,
      }),
    );
    const list = make("div.tabs", { role: "tablist", ariaLabel: text("tools.title") }, this.tabs);
    list.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      const next = (keys.indexOf(this.state.get("tool")) + by + keys.length) % keys.length;
      this.state.set({ tool: keys[next] });
      this.tabs[next].focus();
    });
    for (const [tool, panel] of Object.entries(this.panels)) panel.setAttribute("aria-labelledby", `tab_${tool}`);
    this.elsewhere = make("p.hint", { hidden: true }, text("tools.in_the_middle"));
    fill(place("tools"), list, this.elsewhere, Object.values(this.panels));
  }

  showTool() {
    const tool = this.state.get("tool");
    const inTheMiddle = WIDE_TOOLS.includes(tool) && WIDE.matches;
    place("wide_tool").hidden = !inTheMiddle;
    this.elsewhere.hidden = !inTheMiddle;
    place(inTheMiddle ? "wide_tool" : "tools").append(this.panels[tool]);
    Object.keys(TOOLS).forEach((name, at) => {
      this.panels[name].hidden = name !== tool;
      this.tabs[at].setAttribute("aria-selected", String(name === tool));
      this.tabs[at].tabIndex = name === tool ? 0 : -1;
    });
  }

  showMessage() {
    const message = this.state.get("message");
    place("message").hidden = message === null;
    place("message").textContent = message ?? "";
  }

  /** Write the situation into the address, without a new entry in the history for every stroke. */
  remember() {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => {
      if (location.hash !== this.address) return; // it was changed from outside, and is about to be followed
      const hash = `#${writeAddress(this.state)}`;
      if (hash !== location.hash) history.replaceState(null, "", hash);
      this.address = location.hash;
    }, 150);
  }

  /** Show what a changed address says. */
  follow() {
    this.address = location.hash;
    const { runs } = this.state.values;
    const nothing = { value: null, probabilityOf: null, square: null, epoch: null, hover: null };
    const changes = { ...nothing, ...sensible(readAddress(location.hash), runs, this.first) };
    if (
      layerOf(runs[(changes.order ?? this.state.get("order"))[0]], changes.layer ?? this.state.get("layer")) ===
      undefined
    )
      changes.layer = this.first.layer;
    this.state.set(changes);
  }
}

async function begin() {
  useTheme(preferredTheme());
  await useLanguage(preferredLanguage());
  writeTexts();
  const closed = () => {
    place("message").hidden = false;
    fill(
      place("message"),
      text("closed"),
      " ",
      button(text("again"), () => location.reload()),
    );
  };
  const connection = new Connection(`ws://${location.host}/socket`, closed);
  const answer = await connection.ask("runs");
  for (const run of answer.runs) run.layers = run.layers.filter(({ name }) => name !== "input");
  const page = new Page(connection, answer);
  await page.speak();
  page.remember();
  page.questions.begin();
  document.documentElement.dataset.ready = "true";
}

begin().catch((error) => {
  place("message").hidden = false;
  if (place("message").textContent === "") place("message").textContent = error.message;
});
