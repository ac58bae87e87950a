/** The answer: a bar for the probability of each class, with numbers, before and after a change, of one or two runs. */

import { button, fill, make } from "./elements.js";
import { decimal, percent } from "./numbers.js";
import { text } from "./texts.js";

const MOST_CLASSES = 12;

export class Probabilities {
  constructor(root, state) {
    this.root = root;
    this.state = state;
    this.verdict = make("p.verdict", { ariaLive: "polite" });
    this.rows = [];
    state.watch(["looks", "shown"], () => this.show());
    state.watch(["order"], () => this.render());
  }

  render() {
    const { runs, order } = this.state.values;
    const list = make(order.length > 1 ? "ol.bars.of_two" : "ol.bars");
    this.list = list;
    this.shownClasses = null;
    this.legend = make("p.hint");
    fill(
      this.root,
      make("h2", {}, text("answer.title")),
      this.verdict,
      order.length > 1
        ? make(
            "p.runs_legend",
            {},
            order.map((run, place) => make("span", {}, runMark(place), ` ${runs[run].title}`)),
          )
        : null,
      list,
      this.legend,
      make("p.hint", {}, text("answer.softmax")),
    );
    this.show();
  }

  show() {
    const { looks, order, runs, shown } = this.state.values;
    const look = looks[order[0]];
    if (look === undefined || this.list === undefined) return;
    const { classes } = runs[order[0]];
    const probabilities = look.probabilities.values;
    const best = probabilities.indexOf(Math.max(...probabilities));
    this.showVerdict(classes, best, probabilities[best], shown?.label ?? null);
    const shownClasses = this.chosenClasses(classes, probabilities);
    if (shownClasses.join() !== this.shownClasses) {
      this.shownClasses = shownClasses.join();
      this.rows = shownClasses.map((index) => this.row(index, classes[index], order));
      fill(
        this.list,
        this.rows.map(({ element }) => element),
      );
    }
    shownClasses.forEach((index, at) => this.showRow(this.rows[at], index, best));
    this.legend.textContent = look.before === null ? text("answer.click") : text("answer.before_after");
  }

  chosenClasses(classes, probabilities) {
    const all = classes.map((_, index) => index);
    if (classes.length <= MOST_CLASSES) return all;
    return all.sort((one, other) => probabilities[other] - probabilities[one]).slice(0, MOST_CLASSES);
  }

  showVerdict(classes, best, probability, label) {
    const answer = text("answer.says", { class: classes[best], probability: percent(probability) });
    const judged =
      label === null ? "" : label === best ? text("answer.right") : text("answer.wrong", { class: classes[label] });
    fill(this.verdict, make("strong.big", {}, classes[best]), make("span", {}, `${answer} ${judged}`));
  }

  row(index, name, order) {
    const bars = order.map((run, place) => {
      const before = make("span.bar.before", { hidden: true });
      const after = make(`span.bar.run${place}`);
      const number = make("span.number");
      return {
        run,
        before,
        after,
        number,
        element: make("span.bar_line", {}, make("span.track", {}, before, after), number),
      };
    });
    const pick = button(name, () => this.state.set({ probabilityOf: index }));
    return {
      bars,
      pick,
      element: make(
        "li",
        {},
        pick,
        make(
          "span.tracks",
          {},
          bars.map(({ element }) => element),
        ),
      ),
    };
  }

  showRow({ bars, pick, element }, index, best) {
    const { looks, order, runs } = this.state.values;
    const name = runs[order[0]].classes[index];
    element.classList.toggle("best", index === best);
    const spoken = [];
    bars.forEach(({ run, before, after, number }) => {
      const look = looks[run];
      if (look === undefined) return;
      const probability = look.probabilities.values[index] ?? 0;
      after.style.width = `${probability * 100}%`;
      number.textContent = percent(probability);
      before.hidden = look.before === null;
      if (look.before !== null) before.style.width = `${(look.before.probabilities.values[index] ?? 0) * 100}%`;
      const score = decimal(look.scores.values[index] ?? NaN, 2);
      spoken.push(text("answer.class_label", { class: name, probability: percent(probability), score }));
      if (look.before !== null) {
        const was = look.before.probabilities.values[index];
        number.textContent = `${percent(was)} → ${percent(probability)}`;
        spoken.push(text("answer.before", { probability: percent(was) }));
      }
    });
    pick.title = spoken.join(" · ");
    pick.setAttribute("aria-label", spoken.join(" · "));
  }
}

/** The mark of the first or the second run: a letter on its colour. */
export function runMark(place) {
  return make(`span.run_mark.run${place}`, {}, "AB"[place]);
}
