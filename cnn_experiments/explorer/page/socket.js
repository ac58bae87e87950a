/** The one connection to the server: questions as text, answers as a header of JSON with arrays behind it. */

import { text } from "./texts.js";

const KINDS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

/** An array as the server sent it: numbers one after another, and how many there are along each side. */
export class Grid {
  constructor(values, shape) {
    this.values = values;
    this.shape = shape;
  }

  /** The numbers of one entry of the first side, such as one map of (maps, rows, columns). */
  part(index) {
    const [, ...rest] = this.shape;
    const size = rest.reduce((product, side) => product * side, 1);
    return new Grid(this.values.subarray(index * size, (index + 1) * size), rest);
  }
}

export class Refused extends Error {}
class Superseded extends Error {}
class Closed extends Error {}

export class Connection {
  /**
   * @param {string} address of the socket
   * @param {() => void} onClosed called once when the server is gone
   */
  constructor(address, onClosed) {
    this.waiting = new Map();
    this.lastOfKind = new Map();
    this.number = 0;
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.opened = new Promise((resolve, reject) => {
      this.socket.addEventListener("open", resolve, { once: true });
      this.socket.addEventListener("close", () => reject(new Closed()), { once: true });
    });
    this.opened.catch(() => {});
    this.socket.addEventListener("message", (event) => this.receive(event.data));
    this.socket.addEventListener("close", () => {
      for (const { reject } of this.waiting.values()) reject(new Closed());
      this.waiting.clear();
      onClosed();
    });
  }

  /**
   * Ask the server. Questions of one kind go one after another, since it computes only the newest of those that wait.
   * @param {string} kind what is asked
   * @param {object} fields the rest of the question
   * @param {(done: number, total: number, soFar: object) => void} [onProgress]
   * @returns {Promise<object>} the answer
   */
  async ask(kind, fields = {}, onProgress = undefined) {
    await this.opened;
    const before = this.lastOfKind.get(kind) ?? Promise.resolve();
    const answer = before.then(() => this.send((id) => JSON.stringify({ id, ask: kind, ...fields }), onProgress));
    this.lastOfKind.set(
      kind,
      answer.catch(() => {}),
    );
    return answer;
  }

  /** Hand a file over, for as long as this page is open. */
  async upload(run, file) {
    await this.opened;
    const bytes = new Uint8Array(await file.arrayBuffer());
    return this.send((id) => {
      const header = new TextEncoder().encode(JSON.stringify({ id, ask: "upload", run }));
      const frame = new Uint8Array(4 + header.length + bytes.length);
      new DataView(frame.buffer).setUint32(0, header.length, true);
      frame.set(header, 4);
      frame.set(bytes, 4 + header.length);
      return frame;
    });
  }

  /** Stop what is being computed of a kind. */
  stop(kind) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.number += 1;
    this.socket.send(JSON.stringify({ id: this.number, ask: "stop", kind }));
  }

  send(frameOf, onProgress) {
    this.number += 1;
    const id = this.number;
    return new Promise((resolve, reject) => {
      if (this.socket.readyState !== WebSocket.OPEN) {
        reject(new Closed());
        return;
      }
      this.waiting.set(id, { resolve, reject, onProgress });
      this.socket.send(frameOf(id));
    });
  }

  receive(buffer) {
    const { header, arraysFrom } = readHeader(buffer);
    const waiting = this.waiting.get(header.id);
    if (waiting === undefined) return;
    const answer = withArrays(header.answer, buffer, arraysFrom);
    if (header.progress !== undefined) {
      waiting.onProgress?.(...header.progress, answer);
      return;
    }
    this.waiting.delete(header.id);
    if (header.refused !== undefined) waiting.reject(new Refused(sentence(header)));
    else if (header.superseded) waiting.reject(new Superseded());
    else waiting.resolve(answer);
  }
}

/** Why something is not answered, in the page's language where the page has a text for it. */
function sentence({ refused, text: key, values }) {
  return key === undefined ? refused : text(key, values).trim();
}

function readHeader(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { header, arraysFrom: Math.ceil((4 + length) / 4) * 4 };
}

/** Put arrays in place of their descriptions, wherever they stand in an answer. */
function withArrays(value, buffer, arraysFrom) {
  if (Array.isArray(value)) return value.map((part) => withArrays(part, buffer, arraysFrom));
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value.array)) {
    const [offset, kind, shape] = value.array;
    const size = shape.reduce((product, side) => product * side, 1);
    return new Grid(new KINDS[kind](buffer, arraysFrom + offset, size), shape);
  }
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withArrays(part, buffer, arraysFrom)]));
}

/** Whether an error only says that the question is no longer of interest. */
export function isOutdated(error) {
  return error instanceof Superseded || error instanceof Closed;
}

/**
 * Make a function that runs one call at a time: of the calls that come while one runs, the newest runs next and the
 * others never do.
 */
export function newestOnly(work) {
  let running = false;
  let next = null;
  return async function call(...given) {
    if (running) {
      next = given;
      return;
    }
    running = true;
    try {
      for (next = given; next !== null;) {
        const now = next;
        next = null;
        await work(...now);
      }
    } finally {
      running = false;
    }
  };
}
