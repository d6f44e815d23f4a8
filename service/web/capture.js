// The part of a class card that makes pictures: a pad to draw on, or the camera. One of them is open at a time.

import { pause } from "./api.js";
import { Camera } from "./camera.js";
import { h } from "./dom.js";
import { Pad } from "./pad.js";

const BURST_MS = 180;
const LEAD_S = 3;
const HANDS_FREE_S = 4;

const HANDS_FREE = "Hands free";

/** @type {Capture | null} */
let opened = null;
/** @type {(() => void) | null} */
let cameraElsewhere = null;

/** @param {() => void} stop what stops a camera outside of the cards when one of theirs starts */
export function sharesCamera(stop) {
  cameraElsewhere = stop;
}

/** Stops the camera of the cards, for another part of the page. */
export function releaseCamera() {
  if (opened?.camera) opened.close();
}

/** Whether the last examples were drawn, so that a person will want to draw what is to be labelled. */
export const made = { byDrawing: false };

export class Capture {
  /**
   * @param {HTMLElement} place
   * @param {(files: File[]) => Promise<void>} add
   */
  constructor(place, add) {
    this.place = place;
    this.add = add;
    /** @type {"pad" | "camera" | null} */
    this.tool = null;
    /** @type {Camera | null} */
    this.camera = null;
    this.isPressed = false;
  }

  /**
   * Shows a tool, or takes it away if it is there.
   * @param {"pad" | "camera"} tool
   * @param {string} label
   */
  async toggle(tool, label) {
    const isSame = this.tool === tool;
    opened?.close();
    if (isSame) return;
    opened = this;
    this.tool = tool;
    this.place.hidden = false;
    if (tool === "pad") this.openPad(label);
    else await this.openCamera(label);
  }

  close() {
    this.camera?.stop();
    this.camera = null;
    if (opened === this) opened = null;
    this.tool = null;
    this.place.replaceChildren();
    this.place.hidden = true;
  }

  /** @param {string} label */
  openPad(label) {
    const addDrawing = async () => {
      if (pad.isEmpty) return;
      const file = await pad.picture();
      pad.clear();
      made.byDrawing = true;
      await this.add([file]);
    };
    const addButton = h("button", { type: "button", class: "primary", text: "Add drawing", disabled: true, on: { click: addDrawing } });
    const pad = new Pad({ name: `Drawing of ${label}`, onChange: () => { addButton.disabled = pad.isEmpty; }, onEnter: addDrawing });
    this.place.append(pad.element, h("div", { class: "row" }, addButton, this.closeButton()));
    pad.canvas.focus({ preventScroll: true });
  }

  /** @param {string} label */
  async openCamera(label) {
    cameraElsewhere?.();
    const camera = new Camera();
    this.camera = camera;
    const hold = h("button", { type: "button", class: "primary", text: "Hold to take pictures", disabled: true, "aria-label": `Take a picture of ${label}; hold for more` });
    const handsFree = h("button", { type: "button", text: HANDS_FREE, disabled: true, "aria-label": `Hands free: take pictures of ${label} for ${HANDS_FREE_S} seconds, ${LEAD_S} seconds from now`, on: { click: () => this.takeHandsFree(handsFree, camera) } });
    this.place.append(camera.element, h("div", { class: "row" }, hold, handsFree, camera.flipButton, this.closeButton()));
    hold.disabled = handsFree.disabled = !(await camera.start());
    if (this.camera !== camera) camera.stop();
    made.byDrawing = false;
    this.holdToTake(hold, camera);
  }

  /**
   * One picture at a press, more while it lasts; with the space bar or Enter too.
   * @param {HTMLElement} button
   * @param {Camera} camera
   */
  holdToTake(button, camera) {
    const press = () => this.take(camera);
    const release = () => {
      this.isPressed = false;
    };
    const isKey = (/** @type {KeyboardEvent} */ event) => event.key === " " || event.key === "Enter";
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      press();
    });
    for (const end of ["pointerup", "pointercancel", "blur"]) button.addEventListener(end, release);
    button.addEventListener("keydown", (event) => {
      if (!isKey(event)) return;
      event.preventDefault();
      press();
    });
    button.addEventListener("keyup", (event) => isKey(event) && release());
    button.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /**
   * Takes pictures for a while, after a moment to get before the camera.
   * @param {HTMLElement} button
   * @param {Camera} camera
   */
  async takeHandsFree(button, camera) {
    if (button.textContent !== HANDS_FREE) return;
    for (let left = LEAD_S; left > 0; left -= 1) {
      button.textContent = `In ${left} s …`;
      await pause(1000);
    }
    button.textContent = "Taking pictures …";
    setTimeout(() => { this.isPressed = false; }, 1000 * HANDS_FREE_S);
    await this.take(camera);
    button.textContent = HANDS_FREE;
  }

  /** Takes pictures as long as it is pressed. @param {Camera} camera */
  async take(camera) {
    if (this.isPressed) return;
    this.isPressed = true;
    while (this.isPressed && camera.isOn) {
      const picture = await camera.picture();
      if (picture) this.add([picture]);
      await pause(BURST_MS);
    }
    this.isPressed = false;
  }

  closeButton() {
    return h("button", { type: "button", class: "quiet", text: "Close", on: { click: () => this.close() } });
  }
}
