/** The image: drawn, chosen among the run's test images, or a photo that is dropped, pasted or chosen. */

import { greys, paint, paintPhoto } from "./colours.js";
import { Drawing, SIDE, inkOf } from "./drawing.js";
import { button, fill, make } from "./elements.js";
import { count } from "./numbers.js";
import { Refused, isOutdated } from "./socket.js";
import { text } from "./texts.js";

const A_PAGE = 20; // test images shown at once
const MOST_BYTES = 20 * 2 ** 20;

export class ImageChoice {
  constructor(root, state, questions) {
    this.root = root;
    this.state = state;
    this.questions = questions;
    this.part = "right";
    this.page = 0;
    this.pictures = new Map();
    this.canvas = make("canvas.pixels", { tabIndex: 0 });
    this.canvas.getContext("2d", { willReadFrequently: true });
    this.cursor = make("div.cursor", { hidden: true });
    this.drawing = new Drawing(this.canvas, (drawn, moving) => state.set({ image: { drawn }, moving }));
    this.canvas.addEventListener("cursor", (event) => this.showCursor(event.detail));
    this.canvas.addEventListener("blur", () => (this.cursor.hidden = true));
    this.file = make("input", {
      type: "file",
      accept: "image/*",
      hidden: true,
      onchange: () => this.choose(this.file.files[0]),
    });
    this.acceptFiles();
    state.watch(["image"], () => this.showImage());
    state.watch(["shown"], () => this.showImage());
    state.watch(["order"], () => this.render());
  }

  get run() {
    return this.state.get("runs")[this.state.get("order")[0]];
  }

  acceptFiles() {
    const over = (event) => {
      event.preventDefault();
      this.root.classList.add("dropping");
    };
    this.root.addEventListener("dragover", over);
    this.root.addEventListener("dragleave", () => this.root.classList.remove("dropping"));
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      this.root.classList.remove("dropping");
      this.choose(event.dataTransfer.files[0]);
    });
    for (const event of ["dragover", "drop"]) document.addEventListener(event, (other) => other.preventDefault());
    document.addEventListener("paste", (event) => {
      const [file] = event.clipboardData.files;
      if (file !== undefined) this.choose(file);
    });
  }

  async choose(file) {
    this.file.value = "";
    if (file === undefined) return;
    if (file.size > MOST_BYTES) {
      this.state.set({ message: text("image.too_large", { megabytes: 20 }) });
      return;
    }
    try {
      const { key } = await this.questions.connection.upload(this.state.get("order")[0], file);
      this.state.set({ image: { upload: key }, moving: false, message: null });
    } catch (error) {
      if (isOutdated(error)) return;
      const message = error instanceof Refused ? error.message : text("refusal.file.unknown"); // such as a folder
      this.state.set({ message });
    }
  }

  render() {
    const { drawable } = this.run;
    this.drawing.enabled = drawable;
    this.canvas.classList.toggle("drawable", drawable);
    this.canvas.setAttribute("role", drawable ? "application" : "img");
    this.canvas.setAttribute("aria-label", text(drawable ? "image.draw_label" : "image.photo_label"));
    const pen = this.toolButton("pen");
    const rubber = this.toolButton("rubber");
    const tools = make(
      "div.buttons",
      {},
      pen,
      rubber,
      button(text("image.undo"), () => this.drawing.undo()),
      button(text("image.clear"), () => this.drawing.clear()),
    );
    const photo = button(text("image.choose_photo"), () => this.file.click());
    this.thumbnails = make("div.thumbnails");
    this.tabs = make("div.buttons", { role: "group", ariaLabel: text("image.tests") });
    this.pages = make("div.pages");
    this.caption = make("p.caption");
    fill(
      this.root,
      make("h2", {}, text("image.title")),
      make("div.picture", {}, this.canvas, this.cursor),
      this.caption,
      drawable ? tools : null,
      make("div.buttons", {}, photo, make("span.hint", {}, text("image.drop")), this.file),
      this.run.tests.count > 0 ? [make("h3", {}, text("image.tests")), this.tabs, this.thumbnails, this.pages] : null,
      this.run.problem === null ? null : make("p.hint", {}, this.run.problem),
    );
    this.showTests();
    this.showImage();
  }

  toolButton(tool) {
    return button(
      text(`image.${tool}`),
      (event) => {
        this.drawing.tool = tool;
        for (const other of event.target.parentElement.querySelectorAll("[aria-pressed]")) {
          other.setAttribute("aria-pressed", String(other === event.target));
        }
      },
      { ariaPressed: String(this.drawing.tool === tool) },
    );
  }

  showCursor({ row, column }) {
    this.cursor.hidden = false;
    this.cursor.style.left = `${((column + 0.5) / SIDE) * 100}%`;
    this.cursor.style.top = `${((row + 0.5) / SIDE) * 100}%`;
  }

  showImage() {
    const { image, shown } = this.state.values;
    if (this.caption === undefined) return;
    if (image.drawn !== undefined) {
      this.drawing.bytes = image.drawn.slice();
      paint(this.canvas, image.drawn, SIDE, SIDE, greys(255, 0));
    } else if (shown !== null) {
      const [height, width] = shown.given.shape;
      if (this.run.drawable) this.drawing.set(inkOf(shown.shown, shown.margin));
      if (this.run.drawable && image.test !== undefined)
        paint(this.canvas, this.drawing.bytes, SIDE, SIDE, greys(255, 0));
      else paintPhoto(this.canvas, shown.given.values, width, height);
    }
    this.caption.textContent = this.describe(image);
    for (const thumbnail of this.thumbnails.children) {
      thumbnail.setAttribute("aria-pressed", String(Number(thumbnail.dataset.index) === image.test));
    }
  }

  describe(image) {
    if (image.drawn !== undefined) return text("image.drawn");
    if (image.upload !== undefined) return text("image.uploaded");
    const label = this.run.tests.labels[image.test];
    if (label === undefined) return text("image.test", { index: image.test });
    return text("image.test_of", { index: image.test, label: this.run.classes[label] });
  }

  showTests() {
    const { tests, classes } = this.run;
    const parts = ["right", "wrong"].filter((part) => tests[part].length > 0);
    const listed = (part) => {
      const [some, all] = [tests[part].length, tests.counts[part]];
      return some < all ? `${count(some)} / ${count(all)}` : count(all);
    };
    if (!parts.includes(this.part)) [this.part] = parts;
    fill(
      this.tabs,
      parts.map((part) =>
        button(
          text(`image.${part}`, { count: listed(part) }),
          () => {
            this.part = part;
            this.page = 0;
            this.showTests();
          },
          { ariaPressed: String(part === this.part) },
        ),
      ),
    );
    const of = tests[this.part] ?? [];
    const pages = Math.ceil(of.length / A_PAGE);
    this.page = Math.max(0, Math.min(this.page, pages - 1)); // another run may have fewer
    const indices = of.slice(this.page * A_PAGE, (this.page + 1) * A_PAGE);
    const turn = (by) => {
      this.page = (this.page + by + pages) % pages;
      this.showTests();
    };
    fill(
      this.pages,
      pages < 2
        ? null
        : [
            button("‹", () => turn(-1), { ariaLabel: text("image.previous") }),
            make("span.number", {}, `${this.page + 1} / ${pages}`),
            button("›", () => turn(1), { ariaLabel: text("image.next") }),
          ],
    );
    fill(
      this.thumbnails,
      indices.map((index) => this.thumbnail(index, tests, classes)),
    );
    this.fetchPictures(indices);
  }

  thumbnail(index, tests, classes) {
    const [label, predicted] = [classes[tests.labels[index]] ?? "?", classes[tests.predictions[index]] ?? "?"];
    const name = this.part === "wrong" ? `${label} → ${predicted}` : label;
    return make(
      "button.thumbnail",
      {
        type: "button",
        dataIndex: index,
        ariaPressed: String(this.state.get("image").test === index),
        ariaLabel: text(`image.thumbnail_${this.part}`, { index, label, predicted }),
        onclick: () => this.state.set({ image: { test: index }, moving: false }),
      },
      make("canvas.pixels", { width: 1, height: 1 }),
      make("span", { ariaHidden: "true" }, name),
    );
  }

  async fetchPictures(indices) {
    const run = this.state.get("order")[0];
    const missing = indices.filter((index) => !this.pictures.has(`${run}.${index}`));
    await this.questions.guarded(async () => {
      if (missing.length === 0) return;
      const { pictures } = await this.questions.connection.ask("thumbnails", { run, indices: missing });
      missing.forEach((index, at) => this.pictures.set(`${run}.${index}`, pictures.part(at)));
    });
    for (const thumbnail of this.thumbnails.children) {
      const picture = this.pictures.get(`${run}.${thumbnail.dataset.index}`);
      if (picture !== undefined)
        paintPhoto(thumbnail.querySelector("canvas"), picture.values, picture.shape[1], picture.shape[0]);
    }
  }
}
