/** Tasks: predict first, then reveal. How far a person is stays in this browser. */

import { button, fill, make, selection } from "./elements.js";
import { layerName } from "./numbers.js";
import { layerOf, situation } from "./questions.js";
import { TASKS } from "./tasks.js";
import { text } from "./texts.js";

const STORED = "cnn-explore tasks";

export class TaskList {
  constructor(root, state, questions) {
    this.root = root;
    this.state = state;
    this.questions = questions;
    this.at = 0;
    this.guesses = {};
    state.watch(["order"], () => {
      this.at = 0;
      this.guesses = {};
      this.render();
    });
  }

  get run() {
    return this.state.get("runs")[this.state.get("order")[0]];
  }

  /** The tasks of the network that can be asked of this run: its layers may be others than the paper's. */
  get tasks() {
    const all = (TASKS[this.run.model] ?? []).map((task, number) => ({ ...task, number }));
    return all.filter(({ values, options }) => {
      if (values.layer !== undefined && layerOf(this.run, values.layer) === undefined) return false;
      return typeof options !== "string" || this.options(options).length > 1;
    });
  }

  get done() {
    try {
      return JSON.parse(localStorage.getItem(STORED) ?? "{}")[this.run.model] ?? {};
    } catch {
      return {};
    }
  }

  remember(number, right) {
    try {
      const all = JSON.parse(localStorage.getItem(STORED) ?? "{}");
      all[this.run.model] = { ...all[this.run.model], [number]: right };
      localStorage.setItem(STORED, JSON.stringify(all));
    } catch {
      // a browser that keeps nothing: the tasks work all the same
    }
  }

  render() {
    const { tasks, done } = this;
    if (tasks.length === 0) {
      fill(this.root, make("p.hint", {}, text("tasks.none")));
      return;
    }
    const dots = tasks.map((task, number) => {
      const state = done[task.number] === undefined ? "open" : done[task.number] ? "right" : "wrong";
      const dot = button(
        String(number + 1),
        () => {
          this.at = number;
          this.render();
        },
        {
          ariaLabel: text(`tasks.dot_${state}`, { number: number + 1 }),
          ariaCurrent: number === this.at ? "step" : undefined,
        },
      );
      dot.classList.add("dot", state);
      return dot;
    });
    this.card = make("div.task");
    fill(
      this.root,
      make("p.hint", {}, text("tasks.words")),
      make("div.dots", { role: "group", ariaLabel: text("tasks.title") }, dots),
      this.card,
    );
    this.showTask();
  }

  options(options) {
    const { layers, classes } = this.run;
    const [what, , layer] = typeof options === "string" ? options.split(" ") : [];
    if (what === "classes") return classes.map((name, index) => [String(index), name]);
    if (what === "layers")
      return layers
        .filter(({ parent, parameters, multiply_adds: operations }) => parent === null && parameters + operations > 0)
        .map(({ name }) => [name, layerName(name)]);
    if (what === "maps")
      return Array.from({ length: layerOf(this.run, layer)?.shape[0] ?? 0 }, (_, map) => [
        String(map),
        text("tasks.map", { map }),
      ]);
    if (what === "branches")
      return layers.filter(({ parent }) => parent === layer).map(({ name }) => [name, name.split("/").at(-1)]);
    return options.map((option) => [option, text(`task.option.${option}`)]);
  }

  showTask() {
    const task = this.tasks[this.at];
    const values = { ...task.values, layer: layerName(task.values.layer ?? "") };
    const options = task.kind === "choice" ? this.options(task.options) : [];
    const guess = this.guesses[this.at];
    const reveal = button(text("tasks.reveal"), () => this.reveal(task, options), {
      className: "main",
      disabled: guess === undefined,
    });
    const say = (value) => {
      this.guesses[this.at] = value;
      reveal.disabled = value === "";
    };
    const prediction =
      task.kind === "number"
        ? make(
            "label.choice",
            {},
            make("span", {}, text("tasks.prediction")),
            make("input", {
              type: "number",
              min: 0,
              value: guess ?? "",
              oninput: (event) => say(event.target.value),
              onkeydown: (event) => event.key === "Enter" && !reveal.disabled && reveal.click(),
            }),
          )
        : options.length > 5
          ? selection(text("tasks.prediction"), [["", "…"], ...options], guess ?? "", say)
          : make(
              "fieldset",
              {},
              make("legend", {}, text("tasks.prediction")),
              options.map(([value, label]) =>
                make(
                  "label",
                  {},
                  make("input", {
                    type: "radio",
                    name: "prediction",
                    value,
                    checked: guess === value,
                    onchange: () => say(value),
                  }),
                  label,
                ),
              ),
            );
    this.result = make("div.revealed", { ariaLive: "polite" });
    const shows = Object.keys(task.shows).length > 0;
    fill(
      this.card,
      make("h3", {}, text("tasks.number", { number: this.at + 1, total: this.tasks.length })),
      make("p.question", {}, text(`task.${task.words}.question`, values)),
      shows ? button(text("tasks.show"), () => this.show(task)) : null,
      prediction,
      make("div.buttons", {}, reveal),
      this.result,
    );
  }

  /** Bring the page to the situation that a task is about; the image stays if it asks for none. */
  show(task) {
    const { image, layer, value } = task.shows;
    const changes = { off: [], square: null, epoch: null, hover: null, probabilityOf: null };
    if (image !== undefined) Object.assign(changes, this.imageOf(image));
    if (layer !== undefined) Object.assign(changes, { layer, value: value ?? null });
    this.state.set(changes);
  }

  /** The first test image of a class that the run has right; of any class for "". */
  imageOf(name) {
    const { tests, classes } = this.run;
    const index = tests.right.find((one) => name === "" || classes[tests.labels[one]] === name);
    return index === undefined ? {} : { image: { test: index } };
  }

  async reveal(task, options) {
    const guess = this.guesses[this.at];
    const number = this.at;
    this.show(task);
    const { run, result } = this;
    fill(result, make("p.hint", {}, text("tasks.computing")));
    const posed = { ...situation(this.state), off: [], square: null, epoch: null };
    const asker = {
      run,
      layer: (name) => layerOf(run, name),
      ask: (kind, fields, changes = {}) => this.questions.connection.ask(kind, { ...posed, ...changes, ...fields }),
    };
    await this.questions.guarded(async () => {
      const { answer, values } = await task.answer(asker);
      if (run !== this.run) return;
      const right = task.kind === "number" ? Number(guess) === answer : guess === answer;
      this.remember(task.number, right);
      const shown =
        task.kind === "number" ? String(answer) : (options.find(([value]) => value === answer)?.[1] ?? answer);
      this.render();
      if (number !== this.at) return; // another task is shown by now
      fill(
        this.result,
        make(
          `p.outcome.${right ? "right" : "wrong"}`,
          { dataAnswer: answer },
          make("strong", {}, text(right ? "tasks.right" : "tasks.wrong")),
          " ",
          text("tasks.answer", { answer: shown }),
        ),
        make(
          "p",
          {},
          text(`task.${task.words}.why`, {
            ...task.values,
            layer: layerName(task.values.layer ?? ""),
            ...values,
          }),
        ),
        number + 1 < this.tasks.length
          ? button(text("tasks.next"), () => {
              this.at = number + 1;
              this.render();
            })
          : null,
      );
    });
    fill(result); // of a question that was refused; otherwise it is no longer on the page
  }
}
