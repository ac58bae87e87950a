/** What is asked of the server whenever the situation changes. */

import { asBase64 } from "./address.js";
import { isOutdated, newestOnly } from "./socket.js";

const MANY_VALUES = 200_000; // of maps; so many are fetched once a movement is over

/** The situation as the server reads it. */
export function situation(state, run = state.get("order")[0]) {
  const { image, off, square, epoch } = state.values;
  const { test, drawn, upload } = image;
  return {
    run,
    image: drawn !== undefined ? { drawn: asBase64(drawn) } : upload !== undefined ? { upload } : { test },
    off: offIn(state.get("runs")[run], off),
    square,
    epoch: state.get("runs")[run].epochs.includes(epoch) ? epoch : null,
  };
}

/** What of the switched-off maps exists in a run; the other run may be another network. */
function offIn(run, off) {
  return off.filter(({ layer, maps }) => {
    const found = run.layers.find(({ name }) => name === layer);
    return found !== undefined && (maps === "all" || maps.every((map) => map < found.shape[0]));
  });
}

/** The layers that the strip shows: those without parents, and the parts of those that are unfolded. */
function shownLayers(run, unfolded) {
  const open = new Set(unfolded);
  return run.layers.filter(({ parent }) => {
    for (let above = parent; above !== null; above = layerOf(run, above)?.parent ?? null) {
      if (open.has(above.split("/")[0])) return true;
    }
    return parent === null;
  });
}

/** A layer of a run by its name. */
export function layerOf(run, name) {
  return run.layers.find((layer) => layer.name === name);
}

/** Whether a layer of a run has a value. */
export function hasValue(run, name, { map, row, column }) {
  const shape = layerOf(run, name)?.shape;
  return shape !== undefined && [map, row, column].every((number, side) => number >= 0 && number < shape[side]);
}

export class Questions {
  constructor(state, connection) {
    this.state = state;
    this.connection = connection;
    this.look = newestOnly(() => this.guarded(() => this.lookNow()));
    this.image = newestOnly(() => this.guarded(() => this.imageNow()));
    this.fields = newestOnly(() => this.guarded(() => this.fieldsNow()));
    this.value = newestOnly(() => this.guarded(() => this.valueNow()));
    state.watch(["image", "order"], () => this.image());
    state.watch(["image", "order", "off", "square", "epoch", "layer", "unfolded", "moving"], () => this.look());
    state.watch(["hover", "value", "layer", "order"], () => this.fields());
    state.watch(["value", "probabilityOf", "layer", "image", "order", "off", "square", "epoch"], () => this.value());
  }

  /** Ask everything that the first view of the page needs. */
  begin() {
    this.look();
    this.image();
    this.value();
    this.fields();
  }

  /** Ask about the present situation. */
  ask(kind, fields = {}, onProgress = undefined, run = undefined) {
    return this.connection.ask(kind, { ...situation(this.state, run), ...fields }, onProgress);
  }

  /** Do something that asks; show a refusal as a message. */
  async guarded(work) {
    try {
      await work();
    } catch (error) {
      if (isOutdated(error)) return;
      if (!(error instanceof Error)) throw error;
      this.state.set({ message: error.message });
    }
  }

  async lookNow() {
    const { order, runs, moving, layer, unfolded } = this.state.values;
    for (const run of order) {
      const wanted = new Set(shownLayers(runs[run], unfolded).map(({ name }) => name));
      if (layerOf(runs[run], layer) !== undefined) wanted.add(layer);
      const values = [...wanted].reduce((sum, name) => sum + size(layerOf(runs[run], name).shape), 0);
      const layers = moving && values > MANY_VALUES ? [] : [...wanted];
      const look = await this.ask("look", { layers }, undefined, run);
      if (layers.length === 0) look.maps = this.state.get("looks")[run]?.maps ?? {};
      this.state.set({ looks: { ...this.state.get("looks"), [run]: look }, message: null });
    }
  }

  async imageNow() {
    this.state.set({ shown: await this.ask("image", { square: null }) }); // the square is laid over it
  }

  async fieldsNow() {
    const { hover, value, layer } = this.state.values;
    const target = hover ?? (value === null ? null : { layer, ...value });
    const { explained } = this.state.get("runs")[this.state.get("order")[0]];
    if (target === null || target.layer === "input" || explained) {
      this.state.set({ fields: null });
      return;
    }
    const { fields, geometry } = await this.ask("fields", target);
    this.state.set({ fields: { target, geometry, of: new Map(fields.map((field) => [field.layer, field])) } });
  }

  async valueNow() {
    const { value, layer, probabilityOf } = this.state.values;
    if (probabilityOf !== null) {
      const softmax = { layer: "softmax", map: probabilityOf, row: 0, column: 0 };
      this.state.set({ explanation: await this.ask("value", softmax) });
      return;
    }
    if (value === null || this.state.get("runs")[this.state.get("order")[0]].explained) {
      this.state.set({ explanation: null });
      return;
    }
    this.state.set({ explanation: await this.ask("value", { layer, ...value }) });
  }
}

function size([maps, height, width]) {
  return maps * height * width;
}
