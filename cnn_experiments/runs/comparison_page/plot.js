/** A chart: axes, what is drawn in them, and a readout of the point that is pointed at with mouse, finger or keys. */

import { fill, make, makeSvg } from "./elements.js";

const EDGE = { left: 58, right: 12, top: 10, bottom: 44 };
const HINT = "Point at it, or use the arrow keys.";
const KEYS = "Left and right: along a line. Up and down: to the next one. Escape: none.";

export class Plot {
    /**
     * @param {string} title
     * @param {number} height in pixels
     */
    constructor(title, height = 300) {
        this.height = height;
        this.width = 0;
        this.content = null;
        this.chosen = null;
        this.svg = makeSvg("svg", {
            class: "plot",
            tabindex: 0,
            role: "application",
            "aria-label": `${title}. ${KEYS}`,
        });
        this.pointer = makeSvg("g", { class: "pointer" });
        this.readout = make("p.readout", { ariaLive: "polite" }, HINT);
        this.element = make("figure.chart", {}, make("figcaption", {}, title), this.svg, this.readout);
        for (const kind of ["pointermove", "pointerdown"]) {
            this.svg.addEventListener(kind, (event) => this.pointAt(event));
        }
        this.svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.choose(null));
        this.svg.addEventListener("keydown", (event) => this.press(event));
        new ResizeObserver(() => this.element.clientWidth !== this.width && this.draw()).observe(this.element);
    }

    /**
     * Show something else.
     * @param {object} content ``x`` and ``y``: scales; ``xName``, ``yName``: words at the axes; ``series``: each with its
     *   ``points`` (``x``, ``y`` and ``words`` for the readout, a function) and ``draw``, a function that gets two
     *   functions from values to pixels and gives elements
     */
    show(content) {
        this.content = content;
        this.draw();
    }

    draw() {
        this.width = this.element.clientWidth;
        if (this.content === null || this.width === 0) return;
        const { x, y, xName, yName, series } = this.content;
        const [width, height] = [this.width, this.height];
        const across = width - EDGE.left - EDGE.right;
        const down = height - EDGE.top - EDGE.bottom;
        this.x = (value) => EDGE.left + x.place(value) * across;
        this.y = (value) => EDGE.top + (1 - y.place(value)) * down;
        this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
        this.svg.setAttribute("height", height);
        this.placed = series.map(({ points }) =>
            points
                .map((point) => ({ point, left: this.x(point.x), top: this.y(point.y) }))
                .filter(({ left, top }) => Number.isFinite(left) && Number.isFinite(top)),
        );
        const words = (text, attributes) => makeSvg("text", attributes, text);
        fill(
            this.svg,
            x.ticks.map(({ value, text }) => [
                makeSvg("line", {
                    class: "grid",
                    x1: this.x(value),
                    x2: this.x(value),
                    y1: EDGE.top,
                    y2: EDGE.top + down,
                }),
                words(text, { x: this.x(value), y: height - EDGE.bottom + 17, "text-anchor": "middle" }),
            ]),
            y.ticks.map(({ value, text }) => [
                makeSvg("line", {
                    class: "grid",
                    x1: EDGE.left,
                    x2: width - EDGE.right,
                    y1: this.y(value),
                    y2: this.y(value),
                }),
                words(text, { x: EDGE.left - 6, y: this.y(value) + 4, "text-anchor": "end" }),
            ]),
            words(xName, { x: EDGE.left + across / 2, y: height - 8, "text-anchor": "middle" }),
            words(yName, { transform: `translate(13 ${EDGE.top + down / 2}) rotate(-90)`, "text-anchor": "middle" }),
            series.length === 0 && words("nothing to draw", { x: width / 2, y: height / 2, "text-anchor": "middle" }),
            series.map((one) => makeSvg("g", { class: "series" }, one.draw(this.x, this.y))).reverse(),
            this.pointer,
        );
        this.groups = [...this.svg.querySelectorAll(".series")].reverse();
        this.choose(null);
    }

    /** Choose the point that is nearest to the pointer. */
    pointAt(event) {
        const box = this.svg.getBoundingClientRect();
        const scale = this.width / box.width;
        const [left, top] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
        let [nearest, distance] = [null, Infinity];
        this.placed?.forEach((points, line) =>
            points.forEach((point, at) => {
                const own = Math.hypot(point.left - left, point.top - top);
                if (own < distance) [nearest, distance] = [{ line, at }, own];
            }),
        );
        this.choose(nearest);
    }

    /** Move with the keys. */
    press(event) {
        if (event.ctrlKey || event.altKey || event.metaKey) return;
        const lines = (this.placed ?? [])
            .map((points, line) => ({ points, line }))
            .filter(({ points }) => points.length > 0);
        const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-1e9, 0] };
        const [along, over] = { ...moves, End: [1e9, 0] }[event.key] ?? [0, 0];
        if (event.key === "Escape") this.choose(null);
        if ((along === 0 && over === 0) || lines.length === 0) return;
        event.preventDefault();
        if (this.chosen === null) {
            this.choose({
                line: lines[0].line,
                at: event.key === "ArrowRight" || event.key === "Home" ? 0 : lines[0].points.length - 1,
            });
            return;
        }
        const now = lines.findIndex(({ line }) => line === this.chosen.line);
        const next = lines[(now + over + lines.length) % lines.length];
        const { left } = this.placed[this.chosen.line][this.chosen.at];
        const at = over === 0 ? this.chosen.at + along : nearestTo(left, next.points);
        this.choose({ line: next.line, at: Math.min(Math.max(at, 0), next.points.length - 1) });
    }

    /** Mark a point and say what it is; null for none. */
    choose(chosen) {
        if (chosen?.line === this.chosen?.line && chosen?.at === this.chosen?.at && chosen !== null) return;
        this.groups?.forEach((group, line) => group.classList.toggle("near", line === chosen?.line));
        this.svg.classList.toggle("pointed", chosen !== null);
        this.chosen = chosen;
        if (chosen === null) {
            fill(this.pointer);
            fill(this.readout, HINT);
            return;
        }
        const { point, left, top } = this.placed[chosen.line][chosen.at];
        fill(
            this.pointer,
            makeSvg("line", { x1: left, x2: left, y1: EDGE.top, y2: this.height - EDGE.bottom }),
            makeSvg("circle", { cx: left, cy: top, r: 5 }),
        );
        fill(this.readout, point.words());
    }
}

/** The place in a line of the point that is nearest to a place on the axis. */
function nearestTo(left, points) {
    let best = 0;
    points.forEach((point, at) => {
        if (Math.abs(point.left - left) < Math.abs(points[best].left - left)) best = at;
    });
    return best;
}
