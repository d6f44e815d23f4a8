// A canvas to draw on, with mouse, finger, pen or arrow keys. Ink is black on white whatever the page's colours are.

import { h } from "./dom.js";

const SIDE_PX = 280;
const STEP_PX = 10;

/** @typedef {{width: number, points: [number, number][]}} Stroke */

/** A drawing that is made on the screen. */
export class Pad {
  /** @param {{name: string, onChange?: () => void, onEnter?: () => void}} about `name` is what it is for, for screen readers */
  constructor({ name, onChange = () => {}, onEnter = () => {} }) {
    /** @type {Stroke[]} */
    this.strokes = [];
    /** @type {Stroke | null} */
    this.current = null;
    this.pen = { x: SIDE_PX / 2, y: SIDE_PX / 2 };
    this.onChange = onChange;
    this.onEnter = onEnter;
    this.canvas = h("canvas", {
      class: "pad", width: SIDE_PX, height: SIDE_PX, tabIndex: 0, role: "img",
      "aria-label": `${name}: draw with mouse, finger or pen; or move with the arrow keys and hold Shift to draw`,
      on: {
        pointerdown: (/** @type {PointerEvent} */ event) => this.start(event),
        pointermove: (/** @type {PointerEvent} */ event) => this.extend(event),
        pointerup: () => this.end(),
        pointercancel: () => this.end(),
        keydown: (/** @type {KeyboardEvent} */ event) => this.press(event),
        keyup: (/** @type {KeyboardEvent} */ event) => event.key === "Shift" && this.end(),
        blur: () => this.paint(),
        focus: () => this.paint(),
      },
    });
    this.brush = h("input", { type: "range", min: "4", max: "28", value: "11", "aria-label": "Brush size" });
    this.undoButton = h("button", { type: "button", class: "quiet", text: "Undo", on: { click: () => this.undo() } });
    this.clearButton = h("button", { type: "button", class: "quiet", text: "Clear", on: { click: () => this.clear() } });
    this.element = h("div", { class: "pad-frame" }, this.canvas,
      h("div", { class: "row pad-tools" }, h("label", { class: "brush" }, h("span", { text: "Brush" }), this.brush), this.undoButton, this.clearButton));
    this.paint();
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  undo() {
    this.strokes.pop();
    this.paint();
    this.onChange();
  }

  clear() {
    this.strokes = [];
    this.paint();
    this.onChange();
  }

  /**
   * The drawing as a PNG.
   * @returns {Promise<File>}
   */
  async picture() {
    this.paint(false);
    /** @type {Blob} */
    const blob = await new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
    this.paint();
    return new File([blob], "drawing.png", { type: "image/png" });
  }

  /** @param {PointerEvent} event */
  start(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.current = { width: Number(this.brush.value), points: [this.place(event)] };
    this.strokes.push(this.current);
    this.paint();
    this.onChange();
  }

  /** @param {PointerEvent} event */
  extend(event) {
    if (!this.current) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length > 0 ? events : [event]) this.current.points.push(this.place(each));
    this.paint();
    this.onChange();
  }

  end() {
    if (!this.current) return;
    this.current = null;
    this.onChange();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[/** @type {keyof typeof moves} */ (event.key)];
    if (event.key === "Enter") this.onEnter();
    else if (event.key === "Backspace" || (event.key === "z" && (event.ctrlKey || event.metaKey))) this.undo();
    else if (move) this.moveBy(move[0], move[1], event.shiftKey);
    else return;
    event.preventDefault();
  }

  /**
   * @param {number} dx
   * @param {number} dy
   * @param {boolean} draws
   */
  moveBy(dx, dy, draws) {
    if (draws && !this.current) {
      this.current = { width: Number(this.brush.value), points: [[this.pen.x, this.pen.y]] };
      this.strokes.push(this.current);
    }
    if (!draws) this.current = null;
    this.pen.x = Math.min(SIDE_PX, Math.max(0, this.pen.x + dx * STEP_PX));
    this.pen.y = Math.min(SIDE_PX, Math.max(0, this.pen.y + dy * STEP_PX));
    this.current?.points.push([this.pen.x, this.pen.y]);
    this.paint();
    if (draws) this.onChange();
  }

  /** @param {PointerEvent} event @returns {[number, number]} */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE_PX) / box.width, ((event.clientY - box.top) * SIDE_PX) / box.height];
  }

  /** @param {boolean} [withPen] show where the arrow keys draw */
  paint(withPen = document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
    const ink = this.canvas.getContext("2d");
    ink.fillStyle = "#fff";
    ink.fillRect(0, 0, SIDE_PX, SIDE_PX);
    ink.strokeStyle = "#000";
    ink.lineCap = ink.lineJoin = "round";
    for (const { width, points } of this.strokes) {
      ink.lineWidth = width;
      ink.beginPath();
      ink.moveTo(points[0][0], points[0][1]);
      for (const [x, y] of points.length > 1 ? points.slice(1) : points) ink.lineTo(x, y);
      ink.stroke();
    }
    this.undoButton.disabled = this.clearButton.disabled = this.isEmpty;
    if (!withPen) return;
    ink.fillStyle = "#1f6f5c";
    ink.beginPath();
    ink.arc(this.pen.x, this.pen.y, 5, 0, 2 * Math.PI);
    ink.fill();
  }
}
